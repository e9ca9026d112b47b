//! The scripts of `pipelines/` and the applications of `pipelines/apps/`, run as a user runs them; those of the network
//! against servers on the loopback, started here.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use deepfake_report::FrameReport;
use gst::prelude::*;

use common::Package;
use common::rtsp::Server;

/// Frames in the clip with a face, at 30 frames/s.
const CLIP_FRAMES: usize = 72;

/// What the scripts need around them.
struct Stage {
    plugins: PathBuf,
    registry: PathBuf,
    /// Small enough that no test waits for it.
    model: Package,
    clips: PathBuf,
}

/// `None`, said loudly, where something is missing that `make deps` installs.
fn stage(elements: &[&str]) -> Option<Stage> {
    gst::init().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clips = root.join(".deps/clips");
    let files = [clips.join("single_face.mp4"), root.join(".deps/onnxruntime")];
    let missing_files = files.iter().filter(|path| !path.exists()).map(|path| path.display().to_string());
    let missing_elements = elements.iter().filter(|name| gst::ElementFactory::find(name).is_none());
    let missing: Vec<_> = missing_files.chain(missing_elements.map(|name| format!("GStreamer's {name}"))).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: {} is missing; make deps installs it", missing.join(", "));
        return None;
    }
    Some(Stage::new(clips))
}

impl Stage {
    fn new(clips: PathBuf) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pipelines");
        let plugins = folder.join("plugins");
        fs::create_dir_all(&plugins).unwrap();
        // In a folder of its own: beside it lie libraries that are no plugins, all of which GStreamer would open.
        let built = std::env::current_exe().unwrap().with_file_name("libgstdeepfake.so");
        assert!(built.exists(), "{} was not built", built.display());
        link(&built, &plugins.join("libgstdeepfake.so"));
        let model = Package::sequence();
        model.read().unwrap();
        Self { plugins, registry: folder.join("registry.bin"), model, clips }
    }

    fn clip(&self) -> PathBuf {
        self.clips.join("single_face.mp4")
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        // Whatever hangs is ended, and fails the test by its exit code 124.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "180"]).arg(program);
        command.env("GST_PLUGIN_PATH", &self.plugins).env("GST_REGISTRY", &self.registry);
        // The servers are on this machine.
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.env_remove("GST_DEBUG").env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A script with the tests' model.
    fn script(&self, name: &str) -> Command {
        let mut command = self.command(script(name));
        command.arg("--model").arg(self.model.dir.path()).args(["--device", "cpu"]);
        command
    }
}

/// Starts a command, and comes back when its pipeline plays.
#[track_caller]
fn playing(command: &mut Command) -> Child {
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let plays = lines.map_while(Result::ok).any(|line| line.contains("to PLAYING"));
    if !plays {
        panic!("{command:?} does not play: {}", said(&child.wait_with_output().unwrap()));
    }
    child
}

/// The same from several processes, or threads, at once.
fn link(to: &Path, link: &Path) {
    if fs::read_link(link).is_ok_and(|now| now == to) {
        return;
    }
    let new = link.with_extension(format!("{}-{:?}", std::process::id(), std::thread::current().id()));
    std::os::unix::fs::symlink(to, &new).unwrap();
    fs::rename(new, link).unwrap();
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name)
}

fn scripts() -> Vec<String> {
    let names = fs::read_dir(script("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".sh") && name != "common.sh").collect()
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    // Shown where the test fails later.
    eprintln!("{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {}", said(&output));
    String::from_utf8(output.stderr).unwrap()
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{}\n{out}\n{err}", output.status)
}

#[track_caller]
fn reports(lines: &str) -> Vec<FrameReport> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[track_caller]
fn logged(path: &Path) -> Vec<FrameReport> {
    reports(&fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// One face was followed and scored all along.
#[track_caller]
fn assert_one_face(reports: &[FrameReport]) {
    let with_face = reports.iter().filter(|report| report.faces.len() == 1).count();
    assert!(with_face > 0 && with_face * 10 >= reports.len() * 9, "{with_face} of {} reports", reports.len());
    assert!(reports.iter().flat_map(|report| &report.faces).all(|face| face.track_id == 1));
    assert!(reports.last().unwrap().faces[0].score.is_some(), "{:?}", reports.last());
}

/// Runs elements, which end in an appsink named `sink`, and gives the sink's frames.
fn frames(launch: &str) -> Vec<gst::Sample> {
    let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().unwrap();
    sink.set_sync(false);
    pipeline.set_state(gst::State::Playing).unwrap();
    let frames = std::iter::from_fn(|| sink.pull_sample().ok()).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    frames
}

/// The luma of a video's frames, in the size that it has.
fn luma(path: &Path) -> Vec<gst::Sample> {
    let launch = "! decodebin ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=sink";
    frames(&format!("filesrc location=\"{}\" {launch}", path.to_str().unwrap().replace('"', "\\\"")))
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
        return eprintln!("SKIPPED: shellcheck is missing");
    }
    let names = scripts();
    let root = env!("CARGO_MANIFEST_DIR");
    succeeds(Command::new("shellcheck").arg("-x").args(names.iter().map(|name| script(name))).current_dir(root));
}

#[test]
fn a_missing_plugin_is_told_with_its_mend() {
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
    assert_eq!(written.len(), CLIP_FRAMES);
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

    // Once more: the same lines, in place of the old ones.
    succeeds(stage.script("file.sh").args([&video, &out]).current_dir(folder.path()));
    assert_eq!(logged(&log), written);
}

#[test]
fn file_leaves_a_playable_video_when_interrupted() {
    let Some(stage) = stage(&["x264enc", "mp4mux"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (out, fifo) = (folder.path().join("out.mp4"), folder.path().join("log"));
    succeeds(stage.command("mkfifo").arg(&fifo));
    let mut command = stage.script("file.sh");
    command.arg("--log").arg(&fifo).arg(stage.clips.join("WolfgangLanger_Pexels.mp4")).arg(&out);
    let child = command.spawn().unwrap();
    // Lines come while it runs.
    let mut lines = BufReader::new(fs::File::open(&fifo).unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.by_ref().take(50).count(), 50);
    // As Ctrl-C does.
    assert_eq!(unsafe { libc::kill(child.id().try_into().unwrap(), libc::SIGINT) }, 0);
    let lines = 50 + lines.count();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(lines < 472, "it was not interrupted");
    assert_eq!(luma(&out).len(), lines);
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
    assert_eq!(written.len(), CLIP_FRAMES);
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
    let server = Server::new(&stage.clip(), 0);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let mut command = stage.script("rtsp.sh");
    command.args(["--latency", "50", "--sink", "fakesink", "--log"]).arg(&log).arg(&server.url);
    succeeds(&mut command);
    let written = logged(&log);
    // Live frames do not wait for the analysis, so the first ones have no report.
    assert!((10..=CLIP_FRAMES).contains(&written.len()), "{} lines", written.len());
    assert_one_face(&written[written.len() / 2..]);
}

#[test]
fn rtsp_connects_again_when_asked_to() {
    let Some(stage) = stage(&["rtspsrc", "rtph264pay", "rtph264depay", "qtdemux"]) else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("rtsp://127.0.0.1:{port}/clip");
    assert!(fails(stage.script("rtsp.sh").args(["--sink", "fakesink", &url])).contains("ERROR"), "nobody serves yet");

    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let mut command = stage.script("rtsp.sh");
    command.args(["--retry", "1", "--sink", "fakesink", "--log"]).arg(&log).arg(&url);
    let mut child = command.spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(errors.any(|line| line == "rtsp.sh: starting again in 1 s"));
    let _server = Server::new(&stage.clip(), port);
    let rest: Vec<_> = errors.collect();
    assert!(child.wait_with_output().unwrap().status.success(), "{rest:?}");
    assert!(!logged(&log).is_empty());
}

/// A UDP port on which nobody listens now.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
    assert!(written.len() >= 10, "{} lines", written.len());
    assert_one_face(&written[written.len() / 2..]);
    let frames = luma(&received);
    assert!(frames.len() >= 30, "{} frames came through", frames.len());
    let caps = gst_video::VideoInfo::from_caps(frames[0].caps().unwrap()).unwrap();
    assert_eq!((caps.width(), caps.height()), (640, 360));
}

/// Ends its process with the value.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
    assert!((CLIP_FRAMES - 10..=CLIP_FRAMES).contains(&written.len()), "{} lines", written.len());
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
        assert!(log.len() >= CLIP_FRAMES - 5, "channel {number}: {} lines", log.len());
    }
    assert_one_face(&logs[0]);
    assert!(logs[1].iter().all(|report| report.faces.is_empty()), "a face where there is none");
    assert_eq!(logs[2], logs[0]);
    assert_eq!(logs[3], logs[0]);

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

/// What the three applications print: each frame's face, from the metadata and, where it reads those, the messages.
#[track_caller]
fn assert_monitored(output: &str, messages: bool) {
    let count = |origin: &str| output.lines().filter(|line| line.starts_with(origin)).count();
    assert!(count("meta ") >= CLIP_FRAMES - 5, "{output}");
    assert_eq!(count("message ") > 0, messages, "{output}");
    for line in output.lines().filter(|line| !line.starts_with("alert ")) {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!((words[2], words[3], words[4]), ("face", "1", "at"), "{line}");
        let (x, y) = words[5].split_once(',').unwrap();
        let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
        // Where the woman of the clip is.
        assert!((0.3..0.4).contains(&x) && (0.1..0.3).contains(&y), "{line}");
        assert!(deepfake_report::State::parse(words[6]).is_some(), "{line}");
    }
    let last: f64 = output.lines().last().unwrap().split_whitespace().last().unwrap().parse().unwrap();
    assert!((0.0..=1.0).contains(&last));
}

#[test]
fn an_application_in_c_reads_metadata_and_messages() {
    let Some(stage) = stage(&["qtdemux"]) else { return };
    let source = script("apps/monitor.c");
    // As the comment at its head says.
    let text = fs::read_to_string(&source).unwrap();
    let build = text.lines().find_map(|line| line.strip_prefix(" * Build:  ")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(&source, folder.path().join("monitor.c")).unwrap();
    let build = format!("{build} -Werror");
    succeeds(stage.command("bash").args(["-c", &build]).current_dir(folder.path()));
    let monitor = folder.path().join("monitor");
    assert_monitored(&succeeds(stage.command(&monitor).arg(stage.clip()).arg(stage.model.dir.path())), true);

    let error = fails(stage.command(&monitor).arg(stage.clip()).arg("no-such-model"));
    assert!(error.contains("`no-such-model` is not installed"), "{error}");
}

#[test]
fn an_application_in_python_reads_metadata_and_messages() {
    let Some(stage) = stage(&["qtdemux"]) else { return };
    let has_gi = |python: &&&str| {
        let import = "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst";
        Command::new(python).args(["-c", import]).output().is_ok_and(|output| output.status.success())
    };
    // A Python of the user's own need not see the distribution's packages.
    let Some(python) = ["python3", "/usr/bin/python3"].iter().find(has_gi) else {
        return eprintln!("SKIPPED: no Python with GStreamer; apt-get install python3-gi gir1.2-gstreamer-1.0");
    };
    let mut command = stage.command(python);
    command.arg(script("apps/monitor.py")).arg(stage.clip()).arg(stage.model.dir.path());
    assert_monitored(&succeeds(&mut command), true);
}

#[test]
fn an_application_in_rust_reads_metadata() {
    let Some(stage) = stage(&["qtdemux"]) else { return };
    let monitor = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join("monitor");
    if !monitor.exists() {
        return eprintln!("SKIPPED: {} is missing; cargo build --examples makes it", monitor.display());
    }
    assert_monitored(&succeeds(stage.command(monitor).arg(stage.clip()).arg(stage.model.dir.path())), false);
}
