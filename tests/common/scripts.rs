//! The scripts of `pipelines/` and the applications of `pipelines/apps/`, run as a user runs them.

// Every test is a crate of its own and uses only some of this.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use deepfake_report::FrameReport;
use gst::prelude::*;

use crate::common::{Package, root};

/// Frames in the clip with a face, at 30 frames/s.
pub const CLIP_FRAMES: usize = 72;
/// Those of them that are analysed, 15 a second: a line of the log each.
pub const CLIP_REPORTS: usize = 36;

/// Says that a test is left out; where nothing may be left out (`DEEPFAKE_REQUIRE_ALL`), it fails.
#[track_caller]
pub fn skip(why: &str) {
    assert!(std::env::var_os("DEEPFAKE_REQUIRE_ALL").is_none(), "nothing may be left out, but {why}");
    eprintln!("SKIPPED: {why}");
}

/// What the scripts need around them.
pub struct Stage {
    plugins: PathBuf,
    registry: PathBuf,
    /// Small enough that no test waits for it.
    pub model: Package,
    pub clips: PathBuf,
}

/// `None`, said loudly, where something is missing that `make deps` installs.
pub fn stage(elements: &[&str]) -> Option<Stage> {
    gst::init().unwrap();
    let root = root();
    let clips = root.join(".deps/clips");
    let files = [clips.join("single_face.mp4"), root.join(".deps/onnxruntime")];
    let missing_files = files.iter().filter(|path| !path.exists()).map(|path| path.display().to_string());
    let missing_elements = elements.iter().filter(|name| gst::ElementFactory::find(name).is_none());
    let missing: Vec<_> = missing_files.chain(missing_elements.map(|name| format!("GStreamer's {name}"))).collect();
    if !missing.is_empty() {
        skip(&format!("{} is missing; scripts/deps.sh test installs it", missing.join(", ")));
        return None;
    }
    Some(Stage::new(clips))
}

impl Stage {
    pub fn new(clips: PathBuf) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pipelines");
        let plugins = folder.join("plugins");
        fs::create_dir_all(&plugins).unwrap();
        // In a folder of its own: beside it lie libraries that are no plugins, all of which
        // GStreamer would open.
        let built = std::env::current_exe().unwrap().with_file_name("libgstdeepfake.so");
        assert!(built.exists(), "{} was not built", built.display());
        link(&built, &plugins.join("libgstdeepfake.so"));
        let model = Package::sequence();
        model.read().unwrap();
        Self { plugins, registry: folder.join("registry.bin"), model, clips }
    }

    pub fn clip(&self) -> PathBuf {
        self.clips.join("single_face.mp4")
    }

    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
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
    pub fn script(&self, name: &str) -> Command {
        let mut command = self.command(script(name));
        command.arg("--model").arg(self.model.dir.path()).args(["--device", "cpu"]);
        command
    }
}

/// Starts a command, and comes back when its pipeline plays.
#[track_caller]
pub fn playing(command: &mut Command) -> Child {
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let plays = lines.map_while(Result::ok).any(|line| line.contains("to PLAYING"));
    if !plays {
        panic!("{command:?} does not play: {}", said(&child.wait_with_output().unwrap()));
    }
    child
}

/// The same from several processes, or threads, at once.
pub fn link(to: &Path, link: &Path) {
    if fs::read_link(link).is_ok_and(|now| now == to) {
        return;
    }
    let new = link.with_extension(format!("{}-{:?}", std::process::id(), std::thread::current().id()));
    std::os::unix::fs::symlink(to, &new).unwrap();
    fs::rename(new, link).unwrap();
}

pub fn script(name: &str) -> PathBuf {
    root().join("pipelines").join(name)
}

#[track_caller]
pub fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    // Shown where the test fails later.
    eprintln!("{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {}", said(&output));
    String::from_utf8(output.stderr).unwrap()
}

pub fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{}\n{out}\n{err}", output.status)
}

#[track_caller]
pub fn reports(lines: &str) -> Vec<FrameReport> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[track_caller]
pub fn logged(path: &Path) -> Vec<FrameReport> {
    reports(&fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// One face was followed all along, and scored.
#[track_caller]
pub fn assert_one_face(reports: &[FrameReport]) {
    assert_one_face_is_followed(reports);
    let is_scored = |report: &FrameReport| report.faces.iter().any(|face| face.score.is_some());
    assert!(reports.iter().any(is_scored), "{:?}", reports.last());
}

/// One face was followed all along. Whether a live stream's windows fill depends on what else the machine does.
#[track_caller]
pub fn assert_one_face_is_followed(reports: &[FrameReport]) {
    let with_face = reports.iter().filter(|report| report.faces.len() == 1).count();
    assert!(with_face > 0 && with_face * 10 >= reports.len() * 9, "{with_face} of {} reports", reports.len());
    assert!(reports.iter().flat_map(|report| &report.faces).all(|face| face.track_id == 1));
}

/// Runs elements, which end in an appsink named `sink`, and gives the sink's frames.
pub fn frames(launch: &str) -> Vec<gst::Sample> {
    let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().unwrap();
    sink.set_sync(false);
    pipeline.set_state(gst::State::Playing).unwrap();
    let frames = std::iter::from_fn(|| sink.pull_sample().ok()).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    frames
}

/// The luma of a video's frames, in the size that it has.
pub fn luma(path: &Path) -> Vec<gst::Sample> {
    let launch = "! decodebin ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=sink";
    frames(&format!("filesrc location=\"{}\" {launch}", path.to_str().unwrap().replace('"', "\\\"")))
}

/// A UDP port on which nobody listens now.
pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Ends its process with the value.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal, as a terminal or a service manager does.
#[track_caller]
pub fn signal(child: &Child, signal: i32) {
    // SAFETY: a process of our own, which was not waited for.
    assert_eq!(unsafe { libc::kill(child.id().try_into().unwrap(), signal) }, 0);
}

/// Command lines of all processes that name `mark`, this one left out.
pub fn processes_naming(mark: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter(|process| process.file_name() != *std::process::id().to_string());
    let lines = lines.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(mark.to_str().unwrap())).collect()
}

/// Lines of a FIFO that a script writes its log to.
pub struct Fifo {
    /// Held open for writing too, so that the end of a pipeline is not the end of the lines.
    file: fs::File,
    lines: std::iter::MapWhile<std::io::Lines<BufReader<fs::File>>, fn(std::io::Result<String>) -> Option<String>>,
}

impl Fifo {
    const MARK: &str = "mark";

    pub fn new(path: &Path) -> Self {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        let file = fs::File::options().read(true).write(true).open(path).unwrap();
        let lines = BufReader::new(file.try_clone().unwrap()).lines().map_while(Result::ok as fn(_) -> _);
        Self { file, lines }
    }

    /// Waits for so many reports.
    pub fn wait_for(&mut self, count: usize) {
        assert_eq!(self.lines.by_ref().take(count).count(), count);
    }

    /// Takes all that was written until now.
    pub fn drain(&mut self) {
        use std::io::Write;
        writeln!(self.file, "{}", Self::MARK).unwrap();
        assert!(self.lines.any(|line| line == Self::MARK));
    }
}
