//! The scripts of `pipelines/`, run as a user runs them; those of the network against servers on
//! the loopback, started here. What they do when a connection breaks stands in `reconnect.rs`.

mod common;
#[path = "common/scripts.rs"]
mod scripts;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use common::rtsp::Server;
use deepfake_report::FrameReport;
use scripts::*;

fn scripts() -> Vec<String> {
    let names = fs::read_dir(script("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".sh") && name != "common.sh").collect()
}

#[test]
fn every_script_explains_itself() {
    let names = scripts();
    assert_eq!(names.len(), 6, "{names:?}");
    for name in names {
        let text = fs::read_to_string(script(&name)).unwrap();
        let help = succeeds(Command::new(script(&name)).arg("--help"));
        // The head comment, which draws the pipeline.
        assert!(text.lines().nth(1).is_some_and(|line| help.starts_with(line.trim_start_matches("# "))), "{name}");
        for part in ["! deepfakedetect ", "! deepfakeoverlay", &format!("usage: {name} ")] {
            assert!(help.contains(part), "{name} --help has no {part:?}");
        }
        for option in text.lines().filter_map(|line| line.trim_start().strip_prefix("--")?.split_once(')')) {
            assert!(help.contains(&format!("--{} ", option.0)), "{name} --help does not name --{}", option.0);
        }
        let wrong = fails(Command::new(script(&name)).arg("--colour"));
        assert!(wrong.contains("no option --colour; see --help"), "{wrong}");
    }
}

#[test]
fn the_scripts_please_shellcheck() {
    if Command::new("shellcheck").arg("--version").output().is_err() {
        return skip("shellcheck is missing");
    }
    let names = scripts();
    let root = env!("CARGO_MANIFEST_DIR");
    succeeds(Command::new("shellcheck").arg("-x").args(names.iter().map(|name| script(name))).current_dir(root));
}

#[test]
fn a_missing_plugin_is_told_with_its_fix() {
    let Some(stage) = stage(&[]) else { return };
    let empty = tempfile::tempdir().unwrap();
    let mut command = stage.script("file.sh");
    command.env("GST_PLUGIN_PATH", empty.path()).env("GST_REGISTRY", empty.path().join("registry.bin"));
    command.env("GST_PLUGIN_SYSTEM_PATH", empty.path());
    let error = fails(command.arg(stage.clip()).current_dir(empty.path()));
    assert!(error.contains("no deepfakedetect") && error.contains("make build"), "{error}");
}

#[test]
fn file_annotates_a_video_and_logs_each_frame() {
    let Some(stage) = stage(&["x264enc", "mp4mux"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    // A name as users have them.
    let video = folder.path().join(r#"Ann's "talk" \ 50 % ! (1).mp4"#);
    fs::copy(stage.clip(), &video).unwrap();
    succeeds(stage.script("file.sh").arg(&video).current_dir(folder.path()));

    let out = folder.path().join(r#"Ann's "talk" \ 50 % ! (1)-annotated.mp4"#);
    let log = out.with_extension("jsonl");
    let written = logged(&log);
    assert_eq!(written.len(), CLIP_REPORTS);
    assert_one_face(&written);

    let plain = folder.path().join("plain.mp4");
    fs::copy(stage.clip(), &plain).unwrap();
    fs::rename(&out, folder.path().join("annotated.mp4")).unwrap();
    let (before, after) = (luma(&plain), luma(&folder.path().join("annotated.mp4")));
    assert_eq!((before.len(), after.len()), (CLIP_FRAMES, CLIP_FRAMES));
    // Boxes and words differ much more from what was there than the codec's traces do.
    let [before, after] = [&before[60], &after[60]].map(|frame| frame.buffer().unwrap().map_readable().unwrap());
    assert_eq!(before.len(), after.len());
    let drawn = before.iter().zip(after.iter()).filter(|(a, b)| a.abs_diff(**b) > 60).count();
    assert!(drawn > 200, "only {drawn} pixels were drawn over");

    // Once more: the same lines, in place of the old ones, if that is asked for.
    let error = fails(stage.script("file.sh").args([&video, &out]).current_dir(folder.path()));
    assert!(error.contains("exists already; --force writes over it"), "{error}");
    succeeds(stage.script("file.sh").arg("--force").args([&video, &out]).current_dir(folder.path()));
    assert_eq!(without_run(logged(&log)), without_run(written));
}

/// What is the same in each run.
fn without_run(mut reports: Vec<FrameReport>) -> Vec<FrameReport> {
    let value = |report: &FrameReport| serde_json::to_value(report).unwrap();
    let of_a_run = ["run", "utc", "element", "stream"];
    for report in &mut reports {
        let mut value = value(report);
        value.as_object_mut().unwrap().retain(|name, _| !of_a_run.contains(&name.as_str()));
        *report = serde_json::from_value(value).unwrap();
    }
    reports
}

#[test]
fn file_leaves_what_is_there_alone() {
    let Some(stage) = stage(&["x264enc", "mp4mux"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (out, log) = (folder.path().join("out.mp4"), folder.path().join("out.jsonl"));
    for (existing, other) in [(&out, &log), (&log, &out)] {
        fs::write(existing, "precious").unwrap();
        let error = fails(stage.script("file.sh").arg(stage.clip()).arg(&out));
        assert!(error.contains(existing.to_str().unwrap()) && error.contains("--force"), "{error}");
        assert_eq!(fs::read_to_string(existing).unwrap(), "precious");
        assert!(!other.exists(), "{} was written", other.display());
        fs::remove_file(existing).unwrap();
    }

    // One that fails destroys nothing, even where it may.
    fs::write(&out, "precious").unwrap();
    let broken = folder.path().join("broken.mp4");
    fs::write(&broken, &fs::read(stage.clip()).unwrap()[..2000]).unwrap();
    fails(stage.script("file.sh").arg("--force").arg(&broken).arg(&out));
    assert_eq!(fs::read_to_string(&out).unwrap(), "precious");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().ends_with(".part")), "{left:?}");
}

#[test]
fn file_says_when_there_is_nothing_to_judge() {
    let Some(stage) = stage(&["x264enc", "mp4mux", "avenc_aac"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = stage.script("file.sh").arg(stage.clips.join("no_face.mp4")).arg(folder.path().join("a.mp4")).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no face was seen in "), "{}", said(&output));

    let sound = folder.path().join("sound.mp4");
    let make = "audiotestsrc num-buffers=50 ! avenc_aac ! aacparse ! mp4mux ! filesink";
    let mut command = stage.command("gst-launch-1.0");
    succeeds(command.args(make.split_whitespace()).arg(format!("location={}", sound.display())));
    let error = fails(stage.script("file.sh").arg(&sound).arg(folder.path().join("b.mp4")));
    assert!(error.contains("there is no video in it"), "{error}");
}

/// Writes into an MP4 file that its pictures are to be turned a quarter to the right, as phones do.
fn tag_as_turned(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let header = bytes.windows(4).position(|name| name == b"tkhd").unwrap();
    assert_eq!(bytes[header + 4], 0, "version of the track's header");
    // Version and flags, five numbers, eight bytes of nothing, four short numbers: then the matrix.
    let matrix: [u32; 9] = [0, 1 << 16, 0, (-1i32 << 16) as u32, 0, 0, 0, 0, 1 << 30];
    let start = header + 4 + 4 + 5 * 4 + 8 + 4 * 2;
    bytes[start..start + 36].copy_from_slice(&matrix.map(u32::to_be_bytes).concat());
    fs::write(file, bytes).unwrap();
}

#[test]
fn file_puts_a_picture_upright_that_is_stored_turned() {
    let Some(stage) = stage(&["x264enc", "mp4mux", "qtdemux", "videoflip"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let turned = folder.path().join("turned.mp4");
    let make = "! decodebin ! videoconvert ! videoflip video-direction=90l ! x264enc ! h264parse ! mp4mux ! filesink";
    let mut command = stage.command("gst-launch-1.0");
    command.args(["filesrc", &format!("location={}", stage.clip().display())]);
    succeeds(command.args(make.split_whitespace()).arg(format!("location={}", turned.display())));
    tag_as_turned(&turned);

    let out = folder.path().join("out.mp4");
    succeeds(stage.script("file.sh").arg(&turned).arg(&out));
    let written = logged(&out.with_extension("jsonl"));
    assert_one_face(&written);
    let size = |path: &Path| {
        let info = gst_video::VideoInfo::from_caps(luma(path)[0].caps().unwrap()).unwrap();
        (info.width(), info.height())
    };
    assert_eq!(size(&out), size(&stage.clip()));
    // Where the woman of the clip is, in the upright picture.
    let face = &written.last().unwrap().faces[0];
    assert!((0.3..0.4).contains(&face.x) && (0.1..0.3).contains(&face.y), "{face:?}");
}

#[test]
fn file_leaves_a_playable_video_and_no_process_when_it_is_stopped() {
    let Some(stage) = stage(&["x264enc", "mp4mux"]) else { return };
    // As Ctrl-C and as a service manager do.
    for sent in [libc::SIGINT, libc::SIGTERM] {
        let folder = tempfile::tempdir().unwrap();
        let (out, fifo) = (folder.path().join("out.mp4"), folder.path().join("log"));
        succeeds(stage.command("mkfifo").arg(&fifo));
        let mut command = stage.script("file.sh");
        command.arg("--log").arg(&fifo).arg(stage.clips.join("WolfgangLanger_Pexels.mp4")).arg(&out);
        let child = command.spawn().unwrap();
        // Lines come while it runs.
        let mut lines = BufReader::new(fs::File::open(&fifo).unwrap()).lines().map_while(Result::ok);
        assert_eq!(lines.by_ref().take(20).count(), 20);
        signal(&child, sent);
        let reports = 20 + lines.count();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(processes_naming(folder.path()), Vec::<String>::new());
        let frames = luma(&out).len();
        assert!(frames < 472, "it was not interrupted");
        assert!(frames >= reports, "{frames} frames, {reports} reports");
    }
}

#[test]
fn file_refuses_to_write_over_what_it_reads() {
    let Some(stage) = stage(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let video = folder.path().join("talk.mp4");
    fs::copy(stage.clip(), &video).unwrap();
    let error = fails(stage.script("file.sh").args([&video, &video]));
    assert!(error.contains("is the file that is to be read"), "{error}");
    assert_eq!(fs::read(&video).unwrap(), fs::read(stage.clip()).unwrap());
    let error = fails(stage.script("file.sh").arg(folder.path().join("none.mp4")));
    assert!(error.contains("no such file"), "{error}");
}

#[test]
fn webcam_takes_another_source_and_keeps_the_standard_output_for_lines() {
    let Some(stage) = stage(&["videotestsrc"]) else { return };
    let source = format!("filesrc location={}", stage.clip().display());
    let lines =
        succeeds(stage.script("webcam.sh").args(["--source", &source, "--sink", "fakesink sync=true", "--log", "-"]));
    let written = reports(&lines);
    assert_eq!(written.len(), CLIP_REPORTS);
    assert_one_face(&written);

    let live = ["--source", "videotestsrc is-live=true num-buffers=45", "--sink", "fakesink", "--log", "-"];
    let written = reports(&succeeds(stage.script("webcam.sh").args(live)));
    // Live frames do not wait for the analysis, so the first ones have no report.
    assert!((1..=45).contains(&written.len()), "{}", written.len());
    assert!(written.iter().all(|report| report.faces.is_empty()), "a face in the test picture");

    let error = fails(stage.script("webcam.sh").args(["--camera", "/dev/no-such-camera"]));
    assert!(error.contains("is the camera plugged in?"), "{error}");
}

#[test]
fn rtsp_finds_the_face_of_a_camera() {
    let Some(stage) = stage(&["rtspsrc", "rtph264pay", "rtph264depay", "qtdemux"]) else { return };
    let server = Server::new(&stage.clips.join("WolfgangLanger_Pexels.mp4"), 0);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let mut command = stage.script("rtsp.sh");
    command.args(["--latency", "50", "--sink", "fakesink", "--log"]).arg(&log).arg(&server.url);
    succeeds(&mut command);
    let written = logged(&log);
    // Live frames do not wait for the analysis, so the first ones have no report.
    assert!(!written.is_empty());
    assert_one_face_is_followed(&written[written.len() / 2..]);
}

#[test]
fn srt_sends_the_annotated_picture_on() {
    let Some(stage) = stage(&["srtsrc", "srtsink", "mpegtsmux", "tsdemux", "x264enc", "qtdemux"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (log, received) = (folder.path().join("log.jsonl"), folder.path().join("received.ts"));
    let (here, there) = (free_port(), free_port());
    // Against the stream's direction, so that each end finds the other.
    let viewer = playing(stage.command("gst-launch-1.0").args([
        "srtsrc",
        &format!("uri=srt://127.0.0.1:{there}?mode=listener"),
        "!",
        "filesink",
        &format!("location={}", received.display()),
    ]));
    let mut command = stage.script("srt.sh");
    command.arg("--log").arg(&log).arg(format!("srt://127.0.0.1:{here}?mode=listener"));
    let script = playing(command.arg(format!("srt://127.0.0.1:{there}")));
    // As fast as the clip plays: 8 s of it.
    let sender = format!(
        "filesrc location={} ! qtdemux ! h264parse config-interval=-1 ! identity eos-after=200 \
         ! mpegtsmux alignment=7 ! srtsink uri=srt://127.0.0.1:{here}",
        stage.clips.join("WolfgangLanger_Pexels.mp4").display()
    );
    succeeds(stage.command("gst-launch-1.0").args(sender.split_whitespace()));
    // Its end is the end of the script, and that the viewer's.
    for child in [script, viewer] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }

    let written = logged(&log);
    assert!(!written.is_empty());
    assert_one_face_is_followed(&written[written.len() / 2..]);
    let frames = luma(&received);
    assert!(frames.len() >= 30, "{} frames came through", frames.len());
    let caps = gst_video::VideoInfo::from_caps(frames[0].caps().unwrap()).unwrap();
    assert_eq!((caps.width(), caps.height()), (640, 360));
}

/// Serves a folder on a port of its own choice; the URL.
fn http_server(folder: &Path) -> (Killed, String) {
    let mut child = Command::new("python3")
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"])
        .args([folder, Path::new("0")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    // Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ...
    let url = line.split(['(', ')']).nth(1).unwrap_or_else(|| panic!("{line}")).to_owned();
    (Killed(child), url)
}

#[test]
fn hls_finds_the_face_of_a_recording() {
    let elements = ["uridecodebin3", "souphttpsrc", "hlsdemux", "tsdemux", "mpegtsmux", "qtdemux"];
    let Some(stage) = stage(&elements) else { return };
    let folder = tempfile::tempdir().unwrap();
    // Recorded in one piece and cut between packets: hlssink2 now and then hangs in GStreamer 1.22.
    let whole = folder.path().join("whole.ts");
    let record = format!(
        "filesrc location={} ! qtdemux ! h264parse config-interval=-1 ! mpegtsmux ! filesink location={}",
        stage.clip().display(),
        whole.display()
    );
    succeeds(stage.command("gst-launch-1.0").args(record.split_whitespace()));
    let stream = fs::read(whole).unwrap();
    let mut playlist = String::from("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-PLAYLIST-TYPE:VOD\n");
    for (number, segment) in stream.chunks(stream.len().div_ceil(3).next_multiple_of(188)).enumerate() {
        fs::write(folder.path().join(format!("{number}.ts")), segment).unwrap();
        playlist += &format!("#EXTINF:0.8,\n{number}.ts\n");
    }
    fs::write(folder.path().join("index.m3u8"), playlist + "#EXT-X-ENDLIST\n").unwrap();

    let (_server, url) = http_server(folder.path());
    let log = folder.path().join("log.jsonl");
    let mut command = stage.script("hls.sh");
    command.args(["--sink", "fakesink", "--log"]).arg(&log).arg(format!("{url}index.m3u8"));
    succeeds(&mut command);
    let written = logged(&log);
    assert!((CLIP_REPORTS - 5..=CLIP_REPORTS).contains(&written.len()), "{} lines", written.len());
    assert_one_face(&written);
}

#[test]
fn mosaic_shows_four_channels_and_logs_each() {
    let Some(stage) = stage(&["compositor", "x264enc", "matroskamux"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("50 % 'odd' é.mp4");
    fs::copy(stage.clip(), &odd).unwrap();
    let out = folder.path().join("mosaic.mkv");
    let sink = format!("x264enc speed-preset=ultrafast ! matroskamux ! filesink location={}", out.display());
    let mut command = stage.script("mosaic.sh");
    command.args(["--size", "320x180", "--sink", &sink, "--log"]).arg(folder.path().join("channel"));
    command.args([stage.clip(), stage.clips.join("no_face.mp4"), odd]);
    command.arg(format!("file://{}", stage.clip().display()));
    succeeds(&mut command);

    let logs = [1, 2, 3, 4].map(|number| logged(&folder.path().join(format!("channel-{number}.jsonl"))));
    for (number, log) in logs.iter().enumerate() {
        assert!(log.len() >= CLIP_REPORTS - 3, "channel {number}: {} lines", log.len());
    }
    assert_one_face(&logs[0]);
    assert!(logs[1].iter().all(|report| report.faces.is_empty()), "a face where there is none");
    let [first, _, third, fourth] = logs.map(without_run);
    assert_eq!(third, first);
    assert_eq!(fourth, first);

    let frames = luma(&out);
    assert!(frames.len() >= 30, "{} frames", frames.len());
    let frame = frames[20].buffer().unwrap().map_readable().unwrap();
    assert_eq!(frame.len(), 640 * 360);
    let quarter = |right: usize, below: usize| -> u64 {
        let rows = frame.chunks(640).skip(below * 180).take(180);
        rows.flat_map(|row| &row[right * 320..][..320]).map(|value| u64::from(*value)).sum::<u64>() / (320 * 180)
    };
    // The same clip at three places, another one at the fourth.
    let (first, second, third, fourth) = (quarter(0, 0), quarter(1, 0), quarter(0, 1), quarter(1, 1));
    assert!(first.abs_diff(third) <= 1 && first.abs_diff(fourth) <= 1, "{first} {third} {fourth}");
    assert!(first.abs_diff(second) > 2, "{first} {second}");
}
