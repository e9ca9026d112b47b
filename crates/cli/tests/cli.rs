//! The command `deepfake`, as a user runs it: on real clips, on bad input, and interrupted.

#[path = "../../../tests/common/mod.rs"]
mod common;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use common::Package;

const CLIPS: &str = "WolfgangLanger_Pexels.mp4";

fn deepfake(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deepfake"));
    command.args(arguments).env_remove("GST_DEBUG").env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str]) -> Output {
    deepfake(arguments).output().unwrap()
}

/// stdout and stderr.
fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> Output {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}\n{}", output.status, text(&output));
    output
}

#[track_caller]
fn fails(arguments: &[&str], because: &str) {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(because), "{error:?} does not say {because:?}");
    assert!(!error.contains("panicked"), "{error}");
}

/// A file that `make deps` fetches, or `None`, loudly.
fn fetched(name: &str) -> Option<PathBuf> {
    let path = common::root().join(".deps").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there; `make deps` fetches it", path.display());
    None
}

/// What every run over clips needs: the clips, the detector.
fn clips_and_detector() -> Option<PathBuf> {
    fetched("detectors/centerface.onnx")?;
    fetched("onnxruntime")?;
    Some(fetched(&format!("clips/{CLIPS}"))?.parent()?.to_owned())
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

fn rows(csv: &str) -> Vec<csv::StringRecord> {
    csv::Reader::from_reader(csv.as_bytes()).records().map(Result::unwrap).collect()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn help_teaches_every_command_with_an_example() {
    for command in
        [&["--help"][..], &["doctor", "--help"], &["extract", "--help"], &["evaluate", "--help"], &["scan", "--help"]]
    {
        let help = text(&succeeds(command));
        assert!(help.contains("Examples:\n  deepfake "), "{help}");
        assert!(!help.contains("worker"), "the workers' door is not for users: {help}");
    }
}

#[test]
fn wrong_arguments_are_told_and_exit_with_two() {
    for arguments in [
        &["extract"][..],
        &["extract", "--clips", "x.csv", "--out", "y", "--size", "0"],
        &["extract", "--clips", "x.csv", "--out", "y", "--margin", "wide"],
        &["extract", "--clips", "x.csv", "--out", "y", "--rate", "-1"],
        &["evaluate", "--clips", "x.csv", "--out", "y", "--jobs", "0"],
        &["evaluate", "--clips", "x.csv", "--out", "y", "--device", "gpu"],
        &["evaluate", "--clips", "x.csv", "--out", "y", "--degrade", "h264=70"],
        &["dance"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn bad_lists_of_clips_are_refused_by_both_commands() {
    let folder = Folder::new();
    folder.write("a.mp4", "");
    let out = folder.path("out");
    for (name, list, because) in [
        ("empty.csv", "", "no column `file`"),
        ("bare.csv", "file,label\n", "lists no clip"),
        ("label.csv", "file,label\na.mp4,maybe\n", "\"maybe\" is no label"),
        ("gone.csv", "file,label\ngone.mp4,real\n", "--root"),
        ("leak.csv", "file,label,split,group\na.mp4,real,train,g\nb.mp4,fake,test,g\n", "group g is in split"),
    ] {
        let list = folder.write(name, list);
        for command in ["extract", "evaluate"] {
            fails(&[command, "--clips", &list, "--out", &out], because);
        }
    }
    let list = folder.write("split.csv", "file,label,split\na.mp4,real,train\n");
    fails(&["extract", "--clips", &list, "--split", "dev", "--out", &out], "no clip of split \"dev\"; it has: train");
    fails(&["extract", "--clips", &folder.path("none.csv"), "--out", &out], "none.csv");
}

#[test]
fn an_unknown_model_is_refused_with_the_places_searched() {
    let Some(clips) = clips_and_detector() else { return };
    let folder = Folder::new();
    let list = folder.write("clips.csv", &format!("file,label\n{CLIPS},real\n"));
    let root = clips.to_str().unwrap();
    let out = folder.path("out");
    fails(&["evaluate", "--clips", &list, "--root", root, "--model", "no-such-model", "--out", &out], "Searched:");
}

#[test]
fn doctor_says_in_json_what_it_says_in_words() {
    let output = run(&["doctor", "--json"]);
    let findings = json(&String::from_utf8_lossy(&output.stdout));
    let checks = findings["checks"].as_array().unwrap();
    assert_eq!(output.status.success(), findings["ok"].as_bool().unwrap());
    let needed_fails = |check: &&serde_json::Value| check["state"] == "failed" && check["optional"] == false;
    assert_eq!(findings["ok"].as_bool().unwrap(), !checks.iter().any(|check| needed_fails(&check)));
    assert!(checks.iter().any(|check| check["name"] == "ONNX Runtime"));

    let words = run(&["doctor"]);
    assert_eq!(words.status.code(), output.status.code());
    let words = text(&words);
    for check in checks {
        assert!(words.contains(check["name"].as_str().unwrap()), "{check} is not in {words}");
    }
}

#[test]
fn doctor_says_which_file_other_programs_load_the_plugin_from() {
    let built = std::env::current_exe().unwrap().parent().unwrap().join("libgstdeepfake.so");
    assert!(built.is_file(), "no {}: run the tests with cargo", built.display());
    let folder = Folder::new();
    let plugins = folder.path("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let file = format!("{plugins}/libgstdeepfake.so");
    std::fs::copy(built, &file).unwrap();
    let plugin = |path: &str| {
        let mut command = deepfake(&["doctor", "--json"]);
        let output =
            command.env("GST_PLUGIN_PATH", path).env("GST_REGISTRY", folder.path("registry")).output().unwrap();
        let findings = json(&String::from_utf8_lossy(&output.stdout));
        let checks = findings["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == "plugin").unwrap().clone()
    };
    let found = plugin(&plugins);
    assert_eq!(found["state"], "ok", "{found}");
    assert!(found["detail"].as_str().unwrap().contains(&file), "{found}");

    // The head of a library: the scanner cannot load it.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..4096]).unwrap();
    let broken = plugin(&plugins);
    assert_eq!(broken["state"], "failed", "{broken}");
    assert!(!broken["fix"].as_str().unwrap().is_empty(), "{broken}");
}

#[test]
fn doctor_without_onnx_runtime_fails_and_says_how_to_fix_it() {
    let output = deepfake(&["doctor"]).env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output);
    assert!(words.contains("✗ ONNX Runtime") && words.contains("/nowhere/libonnxruntime.so"), "{words}");
    assert!(words.contains("make deps"), "{words}");
}

#[test]
fn doctor_says_of_each_device_why_it_does_not_work() {
    if clips_and_detector().is_none() {
        return;
    }
    let output = run(&["doctor", "--json"]);
    let findings = json(&String::from_utf8_lossy(&output.stdout));
    let devices: Vec<_> =
        findings["checks"].as_array().unwrap().iter().filter(|check| check["group"] == "Devices").collect();
    let names: Vec<_> = devices.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["cpu", "cuda", "tensorrt", "openvino"]);
    assert_eq!(devices[0]["state"], "ok");
    for device in devices.iter().filter(|device| device["state"] == "failed") {
        assert!(!device["detail"].as_str().unwrap().is_empty() && !device["fix"].as_str().unwrap().is_empty());
    }
}

#[test]
fn extract_writes_crops_that_agree_with_their_descriptions_and_does_nothing_twice() {
    let Some(clips) = clips_and_detector() else { return };
    let folder = Folder::new();
    let list = folder.write("clips.csv", &format!("file,label,split,group\n{CLIPS},real,dev,g\ngone.mp4,fake,dev,h\n"));
    let out = folder.path("crops");
    let arguments = ["extract", "--clips", &list, "--root", clips.to_str().unwrap(), "--size", "96", "--out", &out];
    let output = text(&succeeds(&arguments));
    assert!(output.contains("gone.mp4: cannot open"), "{output}");

    let stem = CLIPS.trim_end_matches(".mp4");
    let manifest = rows(&folder.read("crops/manifest.csv"));
    assert_eq!(manifest.len(), 1, "one woman, one track: {manifest:?}");
    assert_eq!(&manifest[0][0], format!("dev/real/{stem}/track-0001.npy"));
    let npy = Path::new(&out).join(&manifest[0][0]);
    let pixels: ndarray::Array4<u8> = ndarray_npy::read_npy(&npy).unwrap();
    let about = json(&folder.read(&format!("crops/{}", &manifest[0][1])));
    let crops = about["crops"].as_array().unwrap();
    assert_eq!(pixels.shape(), [crops.len(), 96, 96, 3]);
    assert_eq!(manifest[0][9], crops.len().to_string());
    // 19.7 s at 15 Hz, less the frames until the track is sure.
    assert!((285..=296).contains(&crops.len()), "{}", crops.len());
    let times: Vec<u64> = crops.iter().map(|crop| crop["pts"].as_u64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[1] > pair[0]));
    assert_eq!((&about["label"], &about["group"], &about["width"]), (&"real".into(), &"g".into(), &640.into()));
    for crop in crops {
        for point in crop["landmarks_crop"].as_array().unwrap() {
            let inside = |value: &serde_json::Value| (0.0..96.0).contains(&value.as_f64().unwrap());
            assert!(inside(&point[0]) && inside(&point[1]), "{crop}");
        }
    }
    // A face is there: the middle of a crop is skin, redder than it is blue.
    let middle = pixels.slice(ndarray::s![.., 40..56, 40..56, ..]).mapv(f64::from);
    let mean = |channel| middle.index_axis(ndarray::Axis(3), channel).mean().unwrap();
    assert!(mean(0) > mean(2) + 5.0, "red {}, blue {}", mean(0), mean(2));

    let written = std::fs::metadata(&npy).unwrap().modified().unwrap();
    let again = text(&succeeds(&arguments));
    assert!(again.contains("1 of 2 clips are done already"), "{again}");
    assert_eq!(std::fs::metadata(&npy).unwrap().modified().unwrap(), written);
    assert_eq!(rows(&folder.read("crops/manifest.csv")), manifest);

    let other = ["extract", "--clips", &list, "--root", clips.to_str().unwrap(), "--size", "64", "--out", &out];
    fails(&other, "made with other settings");
}

#[test]
fn extract_fails_only_if_every_clip_fails_and_leaves_nothing_half_done() {
    let Some(_) = clips_and_detector() else { return };
    let folder = Folder::new();
    folder.write("bad.mp4", "this is no video\n");
    let list = folder.write("clips.csv", "file,label\nbad.mp4,real\n");
    let out = folder.path("crops");
    fails(&["extract", "--clips", &list, "--out", &out], "bad.mp4");
    let left: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| name == "manifest.csv" || name == ".lock"), "{left:?}");
}

/// The tiny model: logit = mean red − mean green of the crop, both 0..1.
fn tiny() -> Package {
    let package = Package::sequence();
    package.read().unwrap();
    package
}

#[test]
fn evaluate_scores_clips_the_same_twice_and_explains_those_without_a_score() {
    let Some(clips) = clips_and_detector() else { return };
    let folder = Folder::new();
    let list = folder.write(
        "clips.csv",
        &format!("file,label,method,dataset,group\n{CLIPS},real,-,D,g\nsingle_face.mp4,fake,M,D,h\nno_face.mp4,real,-,E,i\ngone.mp4,fake,M,E,j\n"),
    );
    let model = tiny();
    let score = |out: &str| {
        let root = clips.to_str().unwrap();
        let model = model.dir.path().to_str().unwrap();
        succeeds(&["evaluate", "--clips", &list, "--root", root, "--model", model, "--out", &folder.path(out)])
    };
    let table = text(&score("one"));
    assert!(table.contains("tiny@1.0") && table.contains("dataset D") && table.contains("method M"), "{table}");

    let text = folder.read("one/scores.csv");
    assert!(text.starts_with("file,label,method,dataset,group,score,state,faces,windows,reason\n"), "{text}");
    let scores = rows(&text);
    let files: Vec<_> = scores.iter().map(|row| &row[0]).collect();
    assert_eq!(files, [CLIPS, "single_face.mp4", "no_face.mp4", "gone.mp4"]);
    for row in &scores[..2] {
        let value: f64 = row[5].parse().unwrap();
        // Skin is redder than green, never by all the scale.
        assert!((0.5..0.75).contains(&value), "{row:?}");
        assert!(row[8].parse::<usize>().unwrap() > 10 && row[9].is_empty(), "{row:?}");
    }
    assert_eq!((&scores[2][5], &scores[2][9]), ("", "no face"));
    assert!(scores[3][5].is_empty() && scores[3][9].contains("cannot open"), "{:?}", scores[3]);

    let metrics = json(&folder.read("one/metrics.json"));
    assert_eq!((&metrics["clips"], &metrics["abstained"]), (&4.into(), &2.into()));
    assert!(metrics["auc"].is_f64(), "{metrics}");
    assert!(metrics["by"]["dataset"]["E"]["auc"].is_null(), "{metrics}");
    assert_eq!(metrics["by"]["method"]["M"]["fake"], 1);
    for plot in ["roc", "det", "reliability"] {
        let png = std::fs::read(folder.path(&format!("one/{plot}.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 5000, "{plot}");
        assert!(folder.read(&format!("one/{plot}.svg")).contains("</svg>"), "{plot}");
    }
    assert!(!Path::new(&folder.path("one/.scores.partial")).exists());

    score("two");
    assert_eq!(folder.read("two/scores.csv"), text, "bit for bit");
    assert_eq!(folder.read("two/metrics.json"), folder.read("one/metrics.json"));
}

#[test]
fn evaluate_sets_models_beside_each_other_and_makes_clips_worse() {
    let Some(clips) = clips_and_detector() else { return };
    let folder = Folder::new();
    let list = folder.write(
        "clips.csv",
        &format!("file,label,dataset\n{CLIPS},real,D\nsingle_face.mp4,fake,D\nno_face.mp4,real,E\n"),
    );
    let model = Package::sequence().change("feature_length = 3", "feature_length = 3\nframe_output = \"frame_scores\"");
    model.read().unwrap();
    // Says of a window the mean of what it says of its crops; so does the other.
    let peer = Package::new("frame", &common::table("encoder", "encoder.onnx", "crops", "frame_scores"));
    peer.read().unwrap();
    let (root, model) = (clips.to_str().unwrap(), model.dir.path().to_str().unwrap());
    let peer = peer.dir.path().join("model.toml");
    let out = folder.path("out");
    let arguments = ["evaluate", "--clips", &list, "--root", root, "--model", model, "--out", &out];
    fails(&[&arguments[..], &["--model", model]].concat(), "given twice");
    fails(&[&arguments[..], &["--peer", "no/model.toml"]].concat(), "no peer no/model.toml");
    fails(&[&arguments[..], &["--pool", "both=D,F"]].concat(), "no clip is of the dataset `F`; there are D, E");
    let further = ["--peer", peer.to_str().unwrap(), "--degrade", "jpeg=30", "--pool", "both=D, E"];
    let said = text(&succeeds(&[&arguments[..], &further].concat()));
    assert!(said.contains("| tiny@1.0-2 (peer) |"), "{said}");

    let scores = |name: &str| -> Vec<Option<f64>> {
        rows(&folder.read(&format!("out/{name}/scores.csv"))).iter().map(|row| row[5].parse().ok()).collect()
    };
    let (own, peers) = (scores("tiny"), scores("tiny-2"));
    assert_eq!((own.len(), own[2], peers[2]), (3, None, None));
    for clip in 0..2 {
        assert!((own[clip].unwrap() - peers[clip].unwrap()).abs() < 1e-5, "{own:?} {peers:?}");
    }
    let worse = scores("tiny/degraded/jpeg-30");
    assert!(worse[0] != own[0] && (worse[0].unwrap() - own[0].unwrap()).abs() < 0.05, "{own:?} {worse:?}");

    let comparison = json(&folder.read("out/comparison.json"));
    let models = comparison["models"].as_array().unwrap();
    assert_eq!((&models[0]["peer"], &models[1]["peer"]), (&false.into(), &true.into()));
    assert!(models.iter().all(|model| model["ms_per_face"].as_f64().unwrap() > 0.0), "{comparison}");
    assert!(models[0]["frame_mean"]["window_less_frame"]["auc_difference"].is_f64(), "{comparison}");
    assert!(models[1]["frame_mean"].is_null(), "single crops are all that a frame model has");
    let parts = comparison["parts"].as_array().unwrap();
    assert_eq!(parts.iter().map(|part| &part["name"]).collect::<Vec<_>>(), ["all clips", "D", "E", "both"]);
    assert_eq!(parts[3]["metrics"], parts[0]["metrics"], "both datasets are all there is");
    assert_eq!(parts[0]["first_less_other"][0]["auc_difference"], 0.0);
    assert!(parts[2]["first_less_other"][0].is_null(), "one clip is of one class");
    assert_eq!(comparison["controls"]["face_size"].as_f64().map(|auc| auc == 0.0 || auc == 1.0), Some(true));
    let robustness = rows(&folder.read("out/robustness.csv"));
    let kinds: Vec<_> = robustness.iter().map(|row| (&row[0], &row[1], &row[2])).collect();
    assert_eq!(
        kinds,
        [
            ("tiny@1.0", "none", ""),
            ("tiny@1.0", "jpeg", "30"),
            ("tiny@1.0-2", "none", ""),
            ("tiny@1.0-2", "jpeg", "30")
        ]
    );
    for plot in ["comparison-roc", "robustness-jpeg", "tiny/roc"] {
        let png = std::fs::read(folder.path(&format!("out/{plot}.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 5000, "{plot}");
    }
    assert!(!Path::new(&folder.path("out/tiny/.scores.partial")).exists());
}

#[test]
fn evaluate_fails_if_every_clip_fails_and_says_why_of_each() {
    let Some(_) = clips_and_detector() else { return };
    let folder = Folder::new();
    folder.write("bad.mp4", "this is no video\n");
    folder.write("empty.mp4", "");
    let list = folder.write("clips.csv", "file,label\nbad.mp4,real\nempty.mp4,fake\n");
    let model = tiny();
    let model = model.dir.path().to_str().unwrap();
    let out = folder.path("out");
    fails(&["evaluate", "--clips", &list, "--model", model, "--out", &out], "all 2 clip(s) failed; the first: ");
    let scores = rows(&folder.read("out/scores.csv"));
    assert!(scores[0][9].contains("bad.mp4") && scores[1][9].contains("is empty"), "{scores:?}");
    let file = folder.write("file", "");
    fails(&["evaluate", "--clips", &list, "--model", model, "--out", &file], "cannot make the folder");
}

#[test]
fn evaluate_of_one_class_says_so_and_has_no_auc() {
    let Some(clips) = clips_and_detector() else { return };
    let folder = Folder::new();
    let list = folder.write("clips.csv", "file,label\nsingle_face.mp4,fake\n");
    let model = tiny();
    let (root, model) = (clips.to_str().unwrap(), model.dir.path().to_str().unwrap());
    let out = folder.path("out");
    let table = text(&succeeds(&["evaluate", "--clips", &list, "--root", root, "--model", model, "--out", &out]));
    assert!(table.contains("no real clip has a score"), "{table}");
    let metrics = json(&folder.read("out/metrics.json"));
    assert!(metrics["auc"].is_null() && metrics["eer"].is_null() && metrics["fpr"].is_null(), "{metrics}");
    assert!(metrics["tpr"].is_f64());
}

/// Sends a signal to a process as Ctrl-C (SIGINT) or `kill` (SIGTERM) does.
fn signal(process: &std::process::Child, signal: i32) {
    // SAFETY: the child was not waited for yet, so its id is its own.
    assert_eq!(unsafe { libc::kill(process.id() as i32, signal) }, 0);
}

/// A list of many links to one clip: enough work that a run is in its midst after the first ones.
fn many(folder: &Folder, clips: &Path) -> String {
    let mut list = "file,label\n".to_owned();
    for index in 0..10 {
        let name = format!("clip-{index}.mp4");
        std::os::unix::fs::symlink(clips.join("single_face.mp4"), folder.path(&name)).unwrap();
        list += &format!("{name},real\n");
    }
    folder.write("clips.csv", &list)
}

#[test]
fn a_worker_that_dies_takes_one_clip_with_it_and_not_the_run() {
    let Some(clips) = clips_and_detector() else { return };
    let folder = Folder::new();
    let list = many(&folder, &clips);
    let arguments = ["extract", "--clips", &list, "--size", "32", "--jobs", "1", "--out", &folder.path("crops")];
    let mut child = deepfake(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("1/10 clips"), "{first}");
    let workers: Vec<i32> = std::fs::read_dir(format!("/proc/{}/task", child.id()))
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).ok())
        .flat_map(|ids| ids.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    assert_eq!(workers.len(), 1);
    // SAFETY: the worker is a child of a process that is alive and waits for it.
    assert_eq!(unsafe { libc::kill(workers[0], libc::SIGKILL) }, 0);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("1 clip(s) failed")), "{rest:?}");
    assert!(rest.last().unwrap().contains("worker process"), "{rest:?}");
    assert_eq!(rows(&folder.read("crops/manifest.csv")).len(), 9);
}

#[test]
fn an_interrupted_run_ends_with_130_and_goes_on_where_it_was() {
    let Some(clips) = clips_and_detector() else { return };
    let folder = Folder::new();
    let list = many(&folder, &clips);
    let out = folder.path("crops");
    let arguments = ["extract", "--clips", &list, "--size", "32", "--jobs", "1", "--out", &out];
    let mut child = deepfake(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("1/10 clips"), "{first}");
    signal(&child, libc::SIGINT);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.last().unwrap().contains("stopped as asked"), "{rest:?}");
    let done = rows(&folder.read("crops/manifest.csv")).len();
    assert!((1..10).contains(&done), "{done} clips were done");
    assert!(!Path::new(&folder.path("crops/.partial")).exists());

    let again = text(&succeeds(&arguments));
    assert!(again.contains("of 10 clips are done already"), "{again}");
    assert_eq!(rows(&folder.read("crops/manifest.csv")).len(), 10);
}
