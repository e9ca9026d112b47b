//! What the scripts of `pipelines/` do when a connection breaks, ends or goes silent, against real
//! servers on the loopback.

mod common;
#[path = "common/scripts.rs"]
mod scripts;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Stdio};

use common::rtsp::Server;
use scripts::*;

/// A script that runs, and what it says.
struct Running {
    child: Child,
    errors: std::iter::MapWhile<std::io::Lines<BufReader<ChildStderr>>, fn(std::io::Result<String>) -> Option<String>>,
    output: Option<BufReader<ChildStdout>>,
}

impl Running {
    fn start(command: &mut std::process::Command) -> Self {
        let mut child = command.spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok as fn(_) -> _);
        let output = child.stdout.take().map(BufReader::new);
        Self { child, errors, output }
    }

    #[track_caller]
    fn wait_until_it_says(&mut self, text: &str) {
        let mut before = vec![];
        let is_it = |line: String| {
            let found = line.contains(text);
            before.push(line);
            found
        };
        assert!(self.errors.any(is_it), "never said {text:?}, but: {before:#?}");
    }

    #[track_caller]
    fn wait_until_it_plays(&mut self) {
        let lines = self.output.as_mut().unwrap().lines().map_while(Result::ok);
        assert!(lines.into_iter().any(|line| line.contains("to PLAYING")), "it does not play");
    }

    /// Ends it as a service manager does. Nothing of it may be left.
    #[track_caller]
    fn end(mut self, mark: &Path) {
        signal(&self.child, libc::SIGTERM);
        // Nobody may be kept from writing.
        let output = self.output.take().map(|output| std::thread::spawn(|| output.lines().count()));
        let errors: Vec<_> = self.errors.collect();
        output.map(|thread| thread.join().unwrap());
        let status = self.child.wait().unwrap();
        assert!(status.success() || status.code() == Some(130), "{status}: {errors:#?}");
        assert_eq!(processes_naming(mark), Vec::<String>::new());
    }
}

/// An RTSP server as a process of its own, which can be stopped. It is this test program once more.
fn rtsp_process(clip: &Path) -> (Killed, String) {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serves_rtsp_until_it_is_killed", "--ignored", "--nocapture"])
        .env("CLIP_TO_SERVE", clip)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let url = lines.find_map(|line| Some(line[line.find("rtsp://")?..].to_owned())).expect("the server starts");
    // Its output is read on, or it could not write.
    std::thread::spawn(move || lines.count());
    (Killed(child), url)
}

#[test]
#[ignore = "a helper of others, which start it as a process"]
fn serves_rtsp_until_it_is_killed() {
    let Some(clip) = std::env::var_os("CLIP_TO_SERVE") else { return };
    gst::init().unwrap();
    let server = Server::new(Path::new(&clip), 0);
    println!("{}", server.url);
    loop {
        std::thread::park();
    }
}

const RTSP: [&str; 5] = ["rtspsrc", "rtph264pay", "rtph264depay", "qtdemux", "watchdog"];

#[test]
fn rtsp_fails_where_nobody_serves() {
    let Some(stage) = stage(&RTSP) else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = fails(stage.script("rtsp.sh").args(["--sink", "fakesink", &format!("rtsp://127.0.0.1:{port}/clip")]));
    assert!(error.contains("ERROR"), "{error}");
}

#[test]
fn rtsp_connects_again_to_a_server_that_was_away_or_ended_the_stream() {
    let Some(stage) = stage(&RTSP) else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut lines = Fifo::new(&log);
    let mut command = stage.script("rtsp.sh");
    command.args(["--retry", "1", "--sink", "fakesink", "--log"]).arg(&log);
    command.arg(format!("rtsp://127.0.0.1:{port}/clip")).stdout(Stdio::null());
    let mut script = Running::start(&mut command);
    script.wait_until_it_says("rtsp.sh: starting again in 1 s");
    let _server = Server::new(&stage.clip(), port);
    // The clip has an end, which for a camera is a disconnect.
    for _ in 0..2 {
        lines.wait_for(1);
        script.wait_until_it_says("rtsp.sh: the other side has ended the stream");
        script.wait_until_it_says("rtsp.sh: starting again in 1 s");
        lines.drain();
    }
    script.end(folder.path());
}

#[test]
fn rtsp_says_that_a_server_has_stalled_and_connects_again() {
    let Some(stage) = stage(&RTSP) else { return };
    // Long enough not to end before it is stopped.
    let (server, url) = rtsp_process(&stage.clips.join("WolfgangLanger_Pexels.mp4"));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut lines = Fifo::new(&log);
    let mut command = stage.script("rtsp.sh");
    command.args(["--retry", "1", "--timeout", "2", "--sink", "fakesink", "--log"]).arg(&log).arg(&url);
    let mut script = Running::start(command.stdout(Stdio::null()));
    lines.wait_for(2);
    signal(&server.0, libc::SIGSTOP);
    script.wait_until_it_says("rtsp.sh: nothing has come from the other side for 2 s");
    script.wait_until_it_says("rtsp.sh: starting again in 1 s");
    lines.drain();
    signal(&server.0, libc::SIGCONT);
    lines.wait_for(2);
    // Ended while nobody answers, too.
    signal(&server.0, libc::SIGSTOP);
    script.end(folder.path());
}

const SRT: [&str; 6] = ["srtsrc", "srtsink", "mpegtsmux", "tsdemux", "x264enc", "watchdog"];

/// A sender to, or a server at, that address: 15 pictures a second, with sound if wanted, which
/// then stands first in the stream's list.
fn sender(stage: &Stage, uri: &str, frames: u32, with_sound: bool) -> std::process::Command {
    let sound = if with_sound { "audiotestsrc is-live=true ! avenc_aac ! aacparse ! queue ! ts." } else { "" };
    let launch = format!(
        "-q mpegtsmux name=ts alignment=7 ! srtsink uri={uri} wait-for-connection=false {sound} \
         videotestsrc is-live=true num-buffers={frames} ! video/x-raw,width=320,height=240,framerate=15/1 \
         ! x264enc tune=zerolatency key-int-max=15 ! h264parse config-interval=-1 ! queue ! ts."
    );
    let mut command = stage.command("gst-launch-1.0");
    command.args(launch.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// `srt.sh` with a stream out at which nobody looks.
fn srt_script(stage: &Stage, log: &Path, options: &[&str], uri: &str) -> std::process::Command {
    let mut command = stage.script("srt.sh");
    command.args(options).arg("--log").arg(log).arg(uri).arg(format!("srt://127.0.0.1:{}?mode=listener", free_port()));
    command
}

#[test]
fn srt_takes_the_next_sender_when_one_has_ended() {
    let Some(stage) = stage(&SRT) else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut lines = Fifo::new(&log);
    let port = free_port();
    let mut command = srt_script(&stage, &log, &["--retry", "0"], &format!("srt://127.0.0.1:{port}?mode=listener"));
    let mut script = Running::start(&mut command);
    for _ in 0..2 {
        script.wait_until_it_plays();
        let mut sender = Killed(sender(&stage, &format!("srt://127.0.0.1:{port}"), 60, false).spawn().unwrap());
        lines.wait_for(2);
        assert!(sender.0.wait().unwrap().success());
        script.wait_until_it_says("srt.sh: the other side has ended the stream");
        lines.drain();
    }
    script.end(folder.path());
}

#[test]
fn srt_finds_the_picture_behind_the_sound() {
    let Some(stage) = stage(&SRT) else { return };
    if gst::ElementFactory::find("avenc_aac").is_none() {
        return skip("GStreamer's avenc_aac is missing; make deps installs it");
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut lines = Fifo::new(&log);
    let port = free_port();
    let mut command = srt_script(&stage, &log, &[], &format!("srt://127.0.0.1:{port}?mode=listener"));
    let mut script = Running::start(&mut command);
    script.wait_until_it_plays();
    let _sender = Killed(sender(&stage, &format!("srt://127.0.0.1:{port}"), 100_000, true).spawn().unwrap());
    lines.wait_for(2);
    script.end(folder.path());
}

#[test]
fn srt_says_that_a_server_has_stalled_and_calls_again() {
    let Some(stage) = stage(&SRT) else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut lines = Fifo::new(&log);
    let port = free_port();
    let uri = format!("srt://127.0.0.1:{port}?mode=listener");
    // Not under `timeout`, which would be stopped in its place.
    let with_limit = sender(&stage, &uri, 100_000, false);
    let mut arguments = with_limit.get_args().skip(2);
    let mut server = std::process::Command::new(arguments.next().unwrap());
    server.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Killed(server.spawn().unwrap());
    let options = ["--retry", "1", "--timeout", "2"];
    let mut script = Running::start(&mut srt_script(&stage, &log, &options, &format!("srt://127.0.0.1:{port}")));
    lines.wait_for(2);
    signal(&server.0, libc::SIGSTOP);
    script.wait_until_it_says("srt.sh: nothing has come from the other side for 2 s");
    script.wait_until_it_says("srt.sh: starting again in 1 s");
    lines.drain();
    signal(&server.0, libc::SIGCONT);
    lines.wait_for(2);
    script.end(folder.path());
}
