//! `deepfake scan`, as a user runs it: on real clips, on bad input, and interrupted.

#[path = "../../../tests/common/mod.rs"]
mod common;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use common::Package;
use deepfake_report::{FrameReport, State, meta};
use gst::prelude::*;
use serde_json::Value;

const CLIP: &str = "WolfgangLanger_Pexels.mp4";

fn scan(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deepfake"));
    command.arg("scan").args(arguments).env_remove("GST_DEBUG").env_remove("RUST_LOG").output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn exits(arguments: &[&str], code: i32) -> Output {
    let output = scan(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{error}", out(&output));
    assert!(!error.contains("panicked"), "{error}");
    output
}

/// The folder of real clips, where they and the detector are installed.
fn clips() -> Option<PathBuf> {
    common::detector()?;
    Some(common::clip(CLIP).parent()?.to_owned())
}

fn json(output: &Output) -> Vec<Value> {
    out(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The tiny model with a threshold that skin passes, so that a real clip "looks fake"; or one that nothing passes.
fn model(fake: f64, authentic: f64) -> Package {
    let mut package = Package::sequence();
    package.toml += &format!("[calibration]\nfake_threshold = {fake}\nauthentic_threshold = {authentic}\n");
    package.read().unwrap();
    package
}

/// Makes a file with GStreamer; `false`, loudly, where an element is missing.
fn made(description: &str) -> bool {
    gst::init().unwrap();
    let pipeline = match gst::parse::launch(description) {
        Ok(pipeline) => pipeline,
        Err(error) => {
            eprintln!("SKIPPED: {description}: {error}");
            return false;
        }
    };
    runs(&pipeline);
    true
}

/// Runs a pipeline to its end.
fn runs(pipeline: &gst::Element) {
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(matches!(message.unwrap().view(), gst::MessageView::Eos(_)), "{}", pipeline.name());
}

#[test]
fn verdicts_and_exit_codes_follow_the_models_thresholds() {
    let Some(clips) = clips() else { return };
    let clip = clips.join("single_face.mp4");
    let clip = clip.to_str().unwrap();
    // The tiny model says a little more than one half of any skin.
    for (fake, authentic, code, words) in
        [(0.9, 0.8, 0, "nothing found"), (0.9, 0.1, 0, "cannot say"), (0.4, 0.1, 1, "looks fake")]
    {
        let model = model(fake, authentic);
        let output = exits(&[clip, "--model", &model.path()], code);
        let text = out(&output);
        assert!(text.contains("single_face.mp4") && text.contains("face 1") && text.contains(words), "{text}");
        assert!(text.contains("judged ") && text.contains("nobody has measured"), "{text}");
    }
}

#[test]
fn a_score_is_that_of_the_live_element_bit_for_bit() {
    let Some(clips) = clips() else { return };
    common::init();
    let model = model(0.7, 0.3);
    let clip = clips.join("single_face.mp4");
    let output = exits(&[clip.to_str().unwrap(), "--json", "--model", &model.path()], 0);
    let finding = json(&output).remove(0);

    let description = format!(
        "filesrc location=\"{}\" ! decodebin ! videoconvert ! deepfakedetect mode=sync threads=1 device=cpu on-error=fail \
         model={} {} ! appsink name=sink sync=false",
        clip.display(),
        model.path(),
        common::faces()
    );
    let pipeline = gst::parse::launch(&description).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut logits: BTreeMap<u32, BTreeMap<u64, f64>> = BTreeMap::new();
    while let Ok(sample) = sink.pull_sample() {
        let report: FrameReport = meta::read(sample.buffer().unwrap()).unwrap();
        for face in report.faces.iter().filter(|face| !matches!(face.state, State::Rejected | State::Warming)) {
            if let (Some(score), Some(end)) = (face.score, face.window_end) {
                logits.entry(face.track_id).or_default().insert(end, (score / (1.0 - score)).ln());
            }
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(!logits.is_empty());
    for (id, logits) in logits {
        let mean = logits.values().sum::<f64>() / logits.len() as f64;
        let faces = finding["faces"].as_array().unwrap();
        let face = faces.iter().find(|face| face["track_id"] == id).unwrap();
        assert_eq!(face["windows"], logits.len());
        let highest = logits.values().copied().fold(f64::NEG_INFINITY, f64::max);
        let probability = |logit: f64| 1.0 / (1.0 + (-logit).exp());
        assert_eq!(face["score"].as_f64().unwrap(), probability(mean));
        assert_eq!(face["highest"]["score"].as_f64().unwrap(), probability(highest));
    }
}

#[test]
fn bad_input_is_a_row_that_says_what_happened_and_never_ends_the_others() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("text.mp4"), "this is no video\n").unwrap();
    std::fs::write(at("empty.mp4"), "").unwrap();
    let whole = std::fs::read(clips.join("single_face.mp4")).unwrap();
    std::fs::write(at("head.mp4"), &whole[..2000]).unwrap();
    let good = clips.join("single_face.mp4").display().to_string();
    let nobody = clips.join("no_face.mp4").display().to_string();
    std::fs::create_dir(at("nothing")).unwrap();
    let mut files = vec![at("text.mp4"), at("empty.mp4"), at("gone.mp4"), at("head.mp4"), nobody, good, at("nothing")];
    let mut expected =
        vec!["", "is empty", "No such file", "", "no face was seen", "", "a folder in which there is no video"];
    if made(&format!("audiotestsrc num-buffers=20 ! wavenc ! filesink location=\"{}\"", at("sound.wav"))) {
        files.push(at("sound.wav"));
        expected.push("no video stream");
    }
    let tiny = "videotestsrc num-buffers=5 ! video/x-raw,width=14,height=8 ! jpegenc ! matroskamux";
    if made(&format!("{tiny} ! filesink location=\"{}\"", at("tiny.mkv"))) {
        files.push(at("tiny.mkv"));
        expected.push("frames of 14x8 cannot be analysed: sizes from 16x16 to");
    }
    let model = model(0.9, 0.8);
    let path = model.path();
    let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    arguments.extend(["--json", "--model", &path]);
    let output = exits(&arguments, 2);
    let findings = json(&output);
    assert_eq!(findings.len(), files.len());
    for ((finding, file), expected) in findings.iter().zip(&files).zip(&expected) {
        assert_eq!(finding["file"], *file, "in the order given");
        if file.ends_with("single_face.mp4") {
            assert_eq!((&finding["verdict"], &finding["failed"]), (&"nothing-found".into(), &false.into()));
            continue;
        }
        let message = finding["message"].as_str().unwrap();
        assert!(message.contains(expected), "{file}: {message:?} does not say {expected:?}");
        assert!(!message.is_empty() && finding["verdict"] == "not-judged" && finding["score"].is_null(), "{finding}");
        assert_eq!(finding["failed"], !file.ends_with("no_face.mp4"), "{finding}");
    }
    // For people, too, what was not judged is not cleared.
    let text = out(&exits(&[&files[4], "--model", &path], 2));
    assert!(text.contains("not judged") && text.contains("no face was seen"), "{text}");
    assert!(text.contains("neither called fake nor cleared") && !text.contains("nothing found"), "{text}");
}

#[test]
fn a_clip_that_breaks_off_keeps_what_was_judged_and_says_so() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.ts").display().to_string();
    let source = clips.join("single_face.mp4");
    if !made(&format!(
        "filesrc location=\"{}\" ! qtdemux ! h264parse ! matroskamux ! filesink location=\"{whole}\"",
        source.display()
    )) {
        return;
    }
    let bytes = std::fs::read(&whole).unwrap();
    let part = folder.path().join("part.mkv");
    std::fs::write(&part, &bytes[..bytes.len() * 3 / 4]).unwrap();
    let model = model(0.9, 0.8);
    let output = scan(&[part.to_str().unwrap(), "--json", "--model", &model.path()]);
    let finding = json(&output).remove(0);
    assert_eq!(finding["verdict"], "nothing-found", "{finding}");
    let seconds = finding["media"]["seconds"].as_f64().unwrap();
    let all = json(&scan(&[source.to_str().unwrap(), "--json", "--model", &model.path()])).remove(0);
    let of = all["media"]["seconds"].as_f64().unwrap();
    assert!((0.3..0.95).contains(&(seconds / of)), "{seconds} of {of}");
}

/// Whether a value is what a JSON Schema says, as far as `deepfake scan --schema` makes use of that language. A keyword that is
/// not known here is an error.
fn conforms(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    for (keyword, says) in schema.as_object().unwrap() {
        let number = || says.as_f64().unwrap();
        let fine = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "examples" => true,
            "$ref" => {
                let pointer = says.as_str().unwrap().strip_prefix('#').unwrap();
                conforms(value, root.pointer(pointer).unwrap(), root)?;
                true
            }
            "type" => {
                let is = |word: &Value| match word.as_str().unwrap() {
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "string" => value.is_string(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("no type {other}"),
                };
                says.as_array().map_or_else(|| is(says), |words| words.iter().any(is))
            }
            "minimum" => value.as_f64().is_none_or(|value| value >= number()),
            "maximum" => value.as_f64().is_none_or(|value| value <= number()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= number()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as f64 <= number()),
            "pattern" => {
                assert_eq!(says, "^[0-9a-f]{64}$");
                let hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
                value.as_str().is_none_or(hex)
            }
            "required" => says
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.as_object().is_none_or(|object| object.contains_key(name.as_str().unwrap()))),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    conforms(item, says, root)?;
                }
                true
            }
            "properties" | "additionalProperties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    let schema = if keyword == "properties" { says.get(name) } else { Some(says) };
                    if let Some(schema) = schema {
                        conforms(inner, schema, root).map_err(|error| format!("{name}: {error}"))?;
                    }
                }
                true
            }
            other => panic!("the keyword {other} is not known here"),
        };
        if !fine {
            return Err(format!("{value} is against {keyword} {says}"));
        }
    }
    Ok(())
}

#[test]
fn what_json_prints_is_what_the_schema_says() {
    let schema: Value = serde_json::from_str(&out(&exits(&["--schema"], 0))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone.mp4").display().to_string();
    let mut files = vec![gone];
    files.extend(clips().map(|clips| clips.join("single_face.mp4").display().to_string()));
    let model = model(0.4, 0.1);
    let path = model.path();
    let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    arguments.extend(["--json", "--model", &path]);
    let findings = json(&scan(&arguments));
    assert_eq!(findings.len(), files.len());
    for finding in &findings {
        conforms(finding, &schema, &schema).unwrap_or_else(|error| panic!("{error}: {finding}"));
        for name in finding.as_object().unwrap().keys() {
            let mut without = finding.clone();
            without.as_object_mut().unwrap().remove(name);
            assert!(conforms(&without, &schema, &schema).is_err(), "{name} is not in the schema");
        }
    }
}

#[test]
fn seconds_limit_what_is_looked_at() {
    let Some(clips) = clips() else { return };
    let model = model(0.9, 0.8);
    let clip = clips.join(CLIP).display().to_string();
    let finding = json(&scan(&[&clip, "--seconds", "3", "--json", "--model", &model.path()])).remove(0);
    let seconds = finding["media"]["seconds"].as_f64().unwrap();
    assert!((2.9..3.2).contains(&seconds), "{seconds}");
}

#[test]
fn standard_input_is_scanned_as_a_file_is() {
    let Some(clips) = clips() else { return };
    let model = model(0.9, 0.8);
    let clip = clips.join("single_face.mp4");
    let output = Command::new(env!("CARGO_BIN_EXE_deepfake"))
        .args(["scan", "-", "--json", "--model", &model.path()])
        .stdin(std::fs::File::open(&clip).unwrap())
        .output()
        .unwrap();
    let piped = json(&output).remove(0);
    let file = json(&scan(&[clip.to_str().unwrap(), "--json", "--model", &model.path()])).remove(0);
    assert_eq!(piped["file"], "standard input");
    assert_eq!((&piped["faces"], &piped["media"]), (&file["faces"], &file["media"]));
}

#[test]
fn an_unknown_model_is_refused_with_two() {
    let output = exits(&["clip.mp4", "--model", "no-such-model"], 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Searched:"));
}

/// Tags of a page that must be closed, and everything that a page opens.
fn links(page: &str) -> Vec<String> {
    let dom = tl::parse(page, tl::ParserOptions::default()).unwrap();
    let attributes = dom.nodes().iter().filter_map(|node| node.as_tag()).flat_map(|tag| {
        ["src", "href", "data", "action"]
            .map(|name| tag.attributes().get(name).flatten().map(|value| value.as_utf8_str().into_owned()))
    });
    attributes.flatten().collect()
}

#[test]
fn a_report_opens_from_the_disk_and_shows_what_was_found() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("<img src=x onerror=alert(1)>.mp4");
    std::os::unix::fs::symlink(clips.join("single_face.mp4"), &named).unwrap();
    let report = folder.path().join("report");
    let model = model(0.4, 0.1);
    let nobody = clips.join("no_face.mp4").display().to_string();
    let arguments = [named.to_str().unwrap(), &nobody, "--model", &model.path(), "--report", report.to_str().unwrap()]
        .map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    exits(&arguments, 1);
    let results: Vec<Value> = std::fs::read_to_string(report.join("results.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(results.len(), 2);
    let read = |page: &str| std::fs::read_to_string(report.join(page)).unwrap();
    let page = read(results[0]["page"].as_str().unwrap());
    for part in [
        "Most suspicious",
        "Most ordinary",
        "class=\"chart\"",
        results[0]["media"]["sha256"].as_str().unwrap(),
        results[0]["program"]["sha256"].as_str().unwrap(),
        results[0]["model"]["sha256"]["encoder.onnx"].as_str().unwrap(),
        "What a score is worth",
    ] {
        assert!(page.contains(part), "{part} is not in the page");
    }
    assert!(!page.contains("<img src=x"), "a file name became markup");
    let dom = tl::parse(&page, tl::ParserOptions::default()).unwrap();
    let moments = dom.query_selector("button[data-time]").unwrap().count();
    assert!(moments >= 3, "{moments}");
    let without = read(results[1]["page"].as_str().unwrap());
    assert!(without.contains("no face was seen") && without.contains("neither called fake nor cleared"));
    let index = read("index.html");
    for page in [&page, &without, &index] {
        for link in links(page) {
            let inside = link.starts_with("data:image/jpeg") || (!link.contains("://") && report.join(&link).is_file());
            assert!(inside, "{link} leads out of the report");
        }
    }
    let dom = tl::parse(&index, tl::ParserOptions::default()).unwrap();
    assert_eq!(dom.query_selector("tr[data-verdict]").unwrap().count(), 2);

    // Nothing is done twice, and a page that was lost is made again.
    let written = |page: &str| std::fs::metadata(report.join(page)).unwrap().modified().unwrap();
    let (first, second) = (results[0]["page"].as_str().unwrap(), results[1]["page"].as_str().unwrap());
    let before = written(first);
    std::fs::remove_file(report.join(second)).unwrap();
    let again = exits(&arguments, 1);
    assert!(String::from_utf8_lossy(&again.stderr).contains("1 of 2 files are done already"));
    assert_eq!(written(first), before);
    assert!(report.join(second).is_file());
}

#[test]
fn a_full_disk_is_a_row_and_what_was_found_is_said_all_the_same() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let model = model(0.4, 0.1);
    // No file can be longer than 16 KiB, which a page with pictures is; as on a full disk, that is an error and no signal.
    let output = Command::new("bash")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 16; exec \"$@\"",
            "bash",
            env!("CARGO_BIN_EXE_deepfake"),
            "scan",
            "--json",
        ])
        .arg("--report")
        .arg(&report)
        .args(["--model", &model.path()])
        .args([clips.join("single_face.mp4"), clips.join("no_face.mp4")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let findings = json(&output);
    assert_eq!((&findings[0]["verdict"], &findings[0]["failed"]), (&"fake".into(), &true.into()));
    assert!(findings[0]["message"].as_str().unwrap().contains("cannot write"), "{}", findings[0]["message"]);
    assert!(findings[0]["page"].is_null());
    assert_eq!(findings[1]["message"], "no face was seen");
    assert!(report.join(findings[1]["page"].as_str().unwrap()).is_file());
    let left = std::fs::read_dir(&report).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = left.filter(|name| name.ends_with(".partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What a page is like once `script` has run in it, in Chromium; `None`, loudly, where that is missing.
fn in_browser(page: &Path, script: &str) -> Option<String> {
    let browser = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()));
    let Some(browser) = browser else {
        let why = "there is no Chromium";
        assert!(std::env::var_os("DEEPFAKE_REQUIRE_ALL").is_none(), "nothing may be left out, but {why}");
        eprintln!("SKIPPED: {why}");
        return None;
    };
    let text = std::fs::read_to_string(page).unwrap();
    let tried = page.with_extension("tried.html");
    std::fs::write(&tried, text.replace("</body>", &format!("<script>{script}</script></body>"))).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"])
        .args(["--disable-background-networking", "--virtual-time-budget=2000", "--window-size=1000,2000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", tried.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(tried).unwrap();
    Some(out(&output))
}

#[test]
fn pages_work_in_a_browser_by_mouse_and_by_keyboard() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = model(0.4, 0.1);
    let report = folder.path().join("report");
    let files = ["no_face.mp4", "single_face.mp4"].map(|name| clips.join(name).display().to_string());
    let arguments = ["--model", &model.path(), "--report", report.to_str().unwrap(), "--json"].map(str::to_owned);
    let arguments: Vec<&str> = files.iter().chain(&arguments).map(String::as_str).collect();
    let findings = json(&exits(&arguments, 1));

    let page = report.join(findings[1]["page"].as_str().unwrap());
    // A click into the middle of the chart, then an arrow key on the moment that it chose.
    let script = "const chart = document.querySelector('svg.chart'), box = chart.getBoundingClientRect();\
        chart.dispatchEvent(new MouseEvent('click', {clientX: box.left + box.width / 2, clientY: box.top + 9, bubbles: true}));\
        const pressed = () => document.querySelector('button[aria-pressed=true]');\
        const first = pressed();\
        document.body.dataset.first = first.dataset.time;\
        first.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));\
        document.body.dataset.next = pressed().dataset.time;\
        document.body.dataset.chosen = document.querySelectorAll('.chosen img').length;\
        document.body.dataset.shown = document.querySelector('.chosen p').textContent;\
        document.body.dataset.cursor = document.querySelector('.cursor').getAttribute('x1');\
        document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;";
    let Some(text) = in_browser(&page, script) else { return };
    let dom = tl::parse(&text, tl::ParserOptions::default()).unwrap();
    let body = dom.query_selector("body").unwrap().next().unwrap().get(dom.parser()).unwrap().as_tag().unwrap();
    let data = |name: &str| {
        let name = format!("data-{name}");
        let value = body.attributes().get(name.as_str()).flatten();
        value.unwrap_or_else(|| panic!("no {name}")).as_utf8_str().into_owned()
    };
    let number = |name: &str| data(name).parse::<f64>().unwrap_or_else(|_| panic!("{}", data(name)));
    let seconds = findings[1]["media"]["seconds"].as_f64().unwrap();
    // The nearest picture: they are half a second apart, and the first moments have none.
    assert!((number("first") - seconds / 2.0).abs() < 0.6, "{} of {seconds}", number("first"));
    assert!(number("next") > number("first"));
    assert_eq!((data("chosen"), data("wide")), ("1".into(), "false".into()), "one large picture, nothing too wide");
    assert!(data("shown").contains("score 0."), "{}", data("shown"));
    let expected = 40.0 + number("next") / seconds * 960.0;
    assert!((number("cursor") - expected).abs() < 1.0, "{} is not {expected}", number("cursor"));

    let script = "document.querySelector('#search').value = 'NO_FACE';\
        document.querySelector('form').dispatchEvent(new Event('input'));\
        const head = document.querySelectorAll('th button')[0]; head.click(); head.click();";
    let text = in_browser(&report.join("index.html"), script).unwrap();
    assert!(text.contains("1 of 2 shown"), "{text}");
    let rows: Vec<&str> =
        text.split("<tr data-verdict").skip(1).map(|row| row.split("</tr>").next().unwrap_or_default()).collect();
    // What looks fake stands first; by name, from Z to A, it does too, so the sign at the heading says that it was sorted.
    assert!(rows[0].contains("single_face") && rows[1].contains("no_face"), "{text}");
    assert!(
        text.contains("aria-sort=\"descending\"")
            && rows[0].contains("hidden=\"\"")
            && !rows[1].contains("hidden=\"\"")
    );
}

#[test]
fn a_stopped_scan_keeps_what_is_done_and_goes_on_from_there() {
    use std::io::{BufRead, BufReader};
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("clips");
    std::fs::create_dir(&inside).unwrap();
    for index in 0..10 {
        std::os::unix::fs::symlink(clips.join("single_face.mp4"), inside.join(format!("clip-{index}.mp4"))).unwrap();
    }
    let (model, report) = (model(0.9, 0.8), folder.path().join("report"));
    let path = model.path();
    let arguments =
        ["scan", inside.to_str().unwrap(), "--jobs", "1", "--model", &path, "--report", report.to_str().unwrap()];
    let mut child = Command::new(env!("CARGO_BIN_EXE_deepfake"))
        .args(arguments)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("1/10 files"), "{first}");
    // SAFETY: the child was not waited for yet, so its id is its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    let done = std::fs::read_to_string(report.join("results.jsonl")).unwrap().lines().count();
    assert!((1..10).contains(&done), "{done}");
    assert!(report.join("index.html").is_file());

    let again = exits(&arguments[1..], 0);
    assert!(String::from_utf8_lossy(&again.stderr).contains("of 10 files are done already"));
    assert_eq!(std::fs::read_to_string(report.join("results.jsonl")).unwrap().lines().count(), 10);
}

#[test]
fn crops_are_pictures_named_by_time_and_score() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = model(0.9, 0.8);
    let clip = clips.join("single_face.mp4").display().to_string();
    let crops = folder.path().join("crops");
    exits(&[&clip, "--model", &model.path(), "--crops", crops.to_str().unwrap()], 0);
    let inside = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let faces = inside(&inside(&crops)[0]);
    assert!(!faces.is_empty());
    for picture in faces.iter().flat_map(|face| inside(face)) {
        assert!(std::fs::read(&picture).unwrap().starts_with(&[0xff, 0xd8]), "{}", picture.display());
    }
}

/// Python, or `None`, loudly, where there is none.
fn python() -> Option<Command> {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: no python3");
        return None;
    }
    let mut command = Command::new("python3");
    let built = Path::new(env!("CARGO_BIN_EXE_deepfake")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", built.display()));
    Some(command)
}

#[test]
fn the_python_script_says_what_the_command_says() {
    let (Some(clips), Some(mut python)) = (clips(), python()) else { return };
    let script = common::root().join("pipelines/apps/scan.py");
    let model = model(0.9, 0.8);
    let nobody = clips.join("no_face.mp4");
    let good = clips.join("single_face.mp4");
    let output = python.arg(script).args([&good, &nobody]).args(["--model", &model.path()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let text = out(&output);
    assert!(text.contains("single_face.mp4\tnothing-found\tscore 0.5"), "{text}");
    assert!(text.contains("no_face.mp4\tnot-judged\tno score\tno face was seen"), "{text}");
}

#[test]
fn every_cell_of_the_notebook_runs() {
    let (Some(clips), Some(mut python)) = (clips(), python()) else { return };
    let text = std::fs::read_to_string(common::root().join("pipelines/apps/scan.ipynb")).unwrap();
    let notebook: Value = serde_json::from_str(&text).unwrap();
    let mut program = String::new();
    for cell in notebook["cells"].as_array().unwrap() {
        assert!(cell["outputs"].as_array().is_none_or(Vec::is_empty), "outputs are not kept");
        if cell["cell_type"] == "code" {
            program.extend(cell["source"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()));
            program.push('\n');
        }
    }
    let output = python
        .args(["-c", &program])
        .env("VIDEOS", clips.join("single_face.mp4"))
        .env("MPLBACKEND", "agg")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(out(&output).contains("face 1: "), "{}", out(&output));
}

#[test]
fn save_writes_a_video_of_the_same_length_and_overwrites_nothing() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = model(0.9, 0.8);
    let clip = clips.join("single_face.mp4").display().to_string();
    let saved = folder.path().join("annotated.mp4").display().to_string();
    let arguments = [&clip, "--json", "--model", &model.path(), "--save", &saved].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let finding = json(&exits(&arguments, 0)).remove(0);
    let again = json(&exits(&[&saved, "--json", "--model", &model.path()], 0)).remove(0);
    assert_eq!(again["media"]["frames"], finding["media"]["frames"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");

    let before = std::fs::read(&saved).unwrap();
    let refused = json(&exits(&arguments, 2)).remove(0);
    assert!(refused["message"].as_str().unwrap().contains("is there already"), "{refused}");
    assert_eq!(refused["faces"], finding["faces"], "it was judged all the same");
    assert_eq!(std::fs::read(&saved).unwrap(), before);
}

#[test]
fn thorough_looks_at_every_frame_and_says_which_model_judged() {
    let Some(clips) = clips() else { return };
    let model = model(0.9, 0.8);
    let clip = clips.join("single_face.mp4").display().to_string();
    let once = json(&exits(&[&clip, "--json", "--model", &model.path()], 0)).remove(0);
    let all = json(&exits(&[&clip, "--json", "--thorough", "--model", &model.path()], 0)).remove(0);
    let windows = |finding: &Value| finding["faces"][0]["windows"].as_u64().unwrap();
    // Plain and mirrored, on the grid of times and between.
    assert!(windows(&all) > windows(&once) * 3, "{} {}", windows(&all), windows(&once));
    let score = |finding: &Value| finding["score"].as_f64().unwrap();
    assert!((score(&all) - score(&once)).abs() < 0.02, "the tiny model sees colours only");
    assert!(all["notes"][0].as_str().unwrap().contains("mirrored"), "{}", all["notes"]);
}

#[test]
fn a_watched_folder_is_scanned_and_what_is_put_there_after() {
    use std::io::{BufRead, BufReader};
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (inside, report) = (folder.path().join("in"), folder.path().join("report"));
    std::fs::create_dir(&inside).unwrap();
    let model = model(0.9, 0.8);
    std::fs::copy(clips.join("single_face.mp4"), inside.join("first.mp4")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_deepfake"))
        .args(["scan", "--json", "--jobs", "1", "--model", &model.path(), "--watch"])
        .arg(&inside)
        .arg("--report")
        .arg(&report)
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert!(next()["file"].as_str().unwrap().ends_with("first.mp4"));
    // Written elsewhere and moved in, and copied in.
    let elsewhere = folder.path().join("second.mp4");
    std::fs::copy(clips.join("no_face.mp4"), &elsewhere).unwrap();
    std::fs::rename(&elsewhere, inside.join("second.mp4")).unwrap();
    let second = next();
    assert!(second["file"].as_str().unwrap().ends_with("second.mp4") && second["verdict"] == "not-judged");
    std::fs::write(inside.join("notes.txt"), "no video").unwrap();
    std::fs::copy(clips.join("single_face.mp4"), inside.join("third.mp4")).unwrap();
    assert!(next()["file"].as_str().unwrap().ends_with("third.mp4"));
    // SAFETY: the child was not waited for yet, so its id is its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(std::fs::read_to_string(report.join("index.html")).unwrap().contains("second.mp4"));
}

#[test]
fn a_reference_is_shown_beside_at_the_same_moments() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = model(0.9, 0.8);
    let whole = clips.join(CLIP).display().to_string();
    // The same clip from its third second on, in another compression.
    let part = folder.path().join("part.mkv").display().to_string();
    let report = folder.path().join("report");
    let elements = format!(
        "filesrc location=\"{whole}\" ! decodebin ! videoconvert ! x264enc name=first speed-preset=ultrafast ! matroskamux ! \
         filesink location=\"{part}\""
    );
    let Some(expected) = made_from(&elements, 3) else { return };
    let path = model.path();
    let arguments = ["--json", "--seconds", "8", "--model", &path, "--report", report.to_str().unwrap()];
    let finding = json(&exits(&[&[part.as_str(), "--compare", &whole], &arguments[..]].concat(), 0)).remove(0);
    let reference = &finding["reference"];
    assert_eq!(reference["file"], whole);
    let offset = reference["offset"].as_f64().unwrap();
    // The clip has 24 frames a second.
    assert!((offset - expected).abs() < 0.02, "{expected}: {reference}");
    assert!(reference["matched"].as_f64().unwrap() > 0.5, "{reference}");
    let page = std::fs::read_to_string(report.join(finding["page"].as_str().unwrap())).unwrap();
    let dom = tl::parse(&page, tl::ParserOptions::default()).unwrap();
    let pictures: Vec<Vec<u8>> = dom
        .query_selector("img[width=\"112\"]")
        .unwrap()
        .map(|node| node.get(dom.parser()).unwrap().as_tag().unwrap().attributes().get("src").flatten().unwrap())
        .map(|source| STANDARD.decode(source.as_utf8_str().split_once(',').unwrap().1).unwrap())
        .collect();
    assert!(pictures.len() >= 8 && page.contains("Beside the reference"), "{}", pictures.len());
    // To the frame: both show the same but for what compression makes of it.
    for pair in pictures.chunks_exact(2) {
        let [left, right] = [&pair[0], &pair[1]].map(|jpeg| grey(jpeg));
        let apart = left.iter().zip(&right).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / left.len() as f64;
        assert!(apart < 2.5, "{apart}");
    }
}

/// As [`made`], from this second of the source on: its element `first` gets no earlier frame. How many seconds of the source
/// that leaves out.
fn made_from(description: &str, second: u64) -> Option<f64> {
    gst::init().unwrap();
    let pipeline = match gst::parse::launch(description) {
        Ok(pipeline) => pipeline.downcast::<gst::Pipeline>().unwrap(),
        Err(error) => {
            eprintln!("SKIPPED: {description}: {error}");
            return None;
        }
    };
    let times = std::sync::Arc::new(std::sync::Mutex::new((None, None)));
    let seen = times.clone();
    let entry = pipeline.by_name("first").unwrap().static_pad("sink").unwrap();
    entry.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let pts = info.buffer().unwrap().pts().unwrap();
        let (first, passed) = &mut *seen.lock().unwrap();
        first.get_or_insert(pts);
        if pts < gst::ClockTime::from_seconds(second) {
            return gst::PadProbeReturn::Handled;
        }
        passed.get_or_insert(pts);
        gst::PadProbeReturn::Ok
    });
    runs(pipeline.upcast_ref());
    let (first, passed) = *times.lock().unwrap();
    Some((passed? - first?).nseconds() as f64 / 1e9)
}

/// The grey pixels of a JPEG picture.
fn grey(jpeg: &[u8]) -> Vec<u8> {
    let elements =
        "appsrc name=source ! jpegdec ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=sink sync=false";
    let pipeline = gst::parse::launch(elements).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("source").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    source.set_caps(Some(&gst::Caps::new_empty_simple("image/jpeg")));
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    source.push_buffer(gst::Buffer::from_slice(jpeg.to_vec())).unwrap();
    source.end_of_stream().unwrap();
    let pixels = sink.pull_sample().unwrap().buffer().unwrap().map_readable().unwrap().to_vec();
    pipeline.set_state(gst::State::Null).unwrap();
    pixels
}

/// Writes into an MP4 file that its pictures are to be turned a quarter to the right, as phones do.
fn tag_as_turned(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let header = bytes.windows(4).position(|name| name == b"tkhd").unwrap();
    assert_eq!(bytes[header + 4], 0, "version of the track's header");
    // Version and flags, five numbers, eight bytes of nothing, four short numbers: then the matrix.
    let matrix: [u32; 9] = [0, 1 << 16, 0, (-1i32 << 16) as u32, 0, 0, 0, 0, 1 << 30];
    let start = header + 4 + 4 + 5 * 4 + 8 + 4 * 2;
    bytes[start..start + 36].copy_from_slice(&matrix.map(u32::to_be_bytes).concat());
    std::fs::write(file, bytes).unwrap();
}

/// The middle of an extracted clip's crops: mean over time.
fn mean_crop(out: &Path) -> ndarray::Array3<f64> {
    let manifest = std::fs::read_to_string(out.join("manifest.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(manifest.as_bytes());
    let row = rows.records().next().expect("no face was followed").unwrap();
    let crops: ndarray::Array4<u8> = ndarray_npy::read_npy(out.join(&row[0])).unwrap();
    crops.mapv(f64::from).mean_axis(ndarray::Axis(0)).unwrap()
}

#[test]
fn a_clip_that_is_stored_on_its_side_is_judged_and_cut_as_it_is_shown() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let source = clips.join("single_face.mp4");
    for (name, turn) in [("upright.mp4", "identity"), ("turned.mp4", "90l")] {
        let elements = format!(
            "filesrc location=\"{}\" ! decodebin ! videoconvert ! videoflip video-direction={turn} ! \
             x264enc speed-preset=veryfast pass=quant quantizer=12 ! mp4mux ! filesink location=\"{}\"",
            source.display(),
            at(name).display()
        );
        if !made(&elements) {
            return;
        }
    }
    tag_as_turned(&at("turned.mp4"));
    let model = model(0.9, 0.8);
    let files = [at("upright.mp4"), at("turned.mp4")].map(|path| path.display().to_string());
    let findings = json(&exits(&[&files[0], &files[1], "--json", "--model", &model.path()], 0));
    let score = |index: usize| findings[index]["faces"][0]["score"].as_f64().expect("a face was judged");
    assert!((score(0) - score(1)).abs() < 0.01, "{} {}", score(0), score(1));

    let mut means = Vec::new();
    for name in ["upright", "turned"] {
        let list = at(&format!("{name}.csv"));
        std::fs::write(&list, format!("file,label\n{name}.mp4,real\n")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_deepfake"))
            .args(["extract", "--size", "64", "--clips"])
            .arg(&list)
            .arg("--out")
            .arg(at(name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        means.push(mean_crop(&at(name)));
    }
    let centred = |crop: &ndarray::Array3<f64>| crop - crop.mean().unwrap();
    let (upright, turned) = (centred(&means[0]), centred(&means[1]));
    let product = |a: &ndarray::Array3<f64>, b: &ndarray::Array3<f64>| (a * b).sum();
    let correlation = product(&upright, &turned) / (product(&upright, &upright) * product(&turned, &turned)).sqrt();
    assert!(correlation >= 0.98, "{correlation}");
}
