//! The supervisor with a worker that behaves as a test wants: a script instead of GStreamer.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deepfake_monitor::channel::clip::{Clip, ClipState};
use deepfake_monitor::channel::ledger::{Kind, totals};
use deepfake_monitor::channel::machine::State;
use deepfake_monitor::config;
use deepfake_monitor::store::sqlite::Sqlite;
use deepfake_monitor::store::{Filter, Store};
use deepfake_monitor::supervisor::view::View;
use deepfake_monitor::supervisor::{Command, Handle, Places, Supervisor};
use tokio::sync::oneshot;

/// Says that all is well and that a face is judged, until a file in its folder says otherwise.
const WORKER: &str = r#"#!/usr/bin/env python3
import json, os, select, struct, sys, time
folder = os.path.dirname(os.path.abspath(__file__))
asked = lambda name: os.path.exists(os.path.join(folder, name))
def say(**message):
    body = json.dumps(message).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(body)) + body)
    sys.stdout.buffer.flush()
def look():
    fine = dict(buffers=9, since_buffer=10, since_advance=10, since_change=10, black_for=0,
                arriving_for=100, changing_for=100, lit_for=100)
    return dict(signs=fine, activity=dict(analysed=3, judged=True, faces=1), scores=[[7, 0.95]],
                model="test@1", device="cpu", size=[640, 360])
if asked("greedy"): os.remove(os.path.join(folder, "greedy"))
say(say="ready", gstreamer="none")
print("the password is hunter2", file=sys.stderr, flush=True)
opened, alerted = {}, set()
while True:
    while select.select([sys.stdin.buffer], [], [], 0.1)[0]:
        length = os.read(0, 4)
        if len(length) < 4: sys.exit()
        told = json.loads(os.read(0, struct.unpack(">I", length)[0]))
        if told["say"] == "open": opened[told["channel"]] = told["run"]
        if told["say"] == "close":
            opened.pop(told["channel"], None)
            say(say="closed", channel=told["channel"], run=told["run"])
        if told["say"] == "exit": sys.exit()
        clip = {name: told[name] for name in ("channel", "incident", "part") if name in told}
        if told["say"] == "record":
            os.makedirs(told["folder"], exist_ok=True)
            with open(os.path.join(told["folder"], "%d.mp4" % told["part"]), "wb") as file: file.write(b"pictures")
            say(say="clip", **clip, news=dict(news="started", ago=4000, container="mp4", codec="video/x-h264",
                                               missing=["11.0 s of the pre-roll"]))
        if told["say"] == "stop-recording":
            say(say="clip", **clip, news=dict(news="ended", length=6000, missing=[]))
    if asked("hang"):
        os.remove(os.path.join(folder, "hang"))
        time.sleep(3600)
    if asked("nonsense"):
        os.remove(os.path.join(folder, "nonsense"))
        os.write(1, b"\xff" * 64)
        time.sleep(3600)
    say(say="beat", memory_bytes=(1 << 40) if asked("greedy") else 1 << 20)
    for channel, run in opened.items():
        say(say="look", channel=channel, run=run, look=look())
        if asked("alert") and (channel, run) not in alerted:
            alerted.add((channel, run))
            say(say="alert", channel=channel, run=run,
                alert=dict(action="raised", kind="sustained", track_id=7, score=0.9, model="test@1"))
"#;

struct Watching {
    handle: Handle,
    store: Arc<dyn Store>,
    folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Watching {
    /// Of the newest incident.
    fn clips(&self) -> Vec<Clip> {
        let newest = self.store.incidents(&Filter { limit: 1, ..Filter::default() }).unwrap().pop();
        newest.map_or(Vec::new(), |incident| self.store.clips(&incident.id.to_string()).unwrap())
    }

    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("worker");
        std::fs::write(&program, WORKER).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join("monitor.toml");
        let text = format!(
            "[channel.studio]\nsource = \"rtsp://anna:hunter2@h/x\"\nkeep-for = \"1s\"\n[workers]\nheartbeat-timeout = \"2s\"\n{more}"
        );
        std::fs::write(&file, text).unwrap();
        let config = config::load(&file).unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&config.database()).unwrap());
        let places = Places { config_file: file, program };
        let (supervisor, handle) = Supervisor::new(config, places, store.clone()).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(supervisor.run(stopped));
        Self { handle, store, folder, stop: Some(stop), task }
    }

    fn ask_worker_to(&self, what: &str) {
        std::fs::write(self.path(what), "").unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn wait(&self, what: &str, done: impl Fn(&View) -> bool) {
        let limit = Instant::now() + Duration::from_secs(40);
        while !done(&self.handle.shared.view()) {
            assert!(Instant::now() < limit, "waited in vain until {what}: {:#?}", self.handle.shared.view());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn wait_until_running(&self) {
        self.wait("the channel runs", |view| view.channels[0].state == State::Running).await;
    }

    /// Ends the supervisor; returns milliseconds of each kind of coverage on record, and how much
    /// of the time has none.
    async fn end(mut self) -> ([i64; Kind::ALL.len()], i64) {
        let started = self.handle.shared.view().started;
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
        let spans = self.store.coverage("studio", 0, i64::MAX).unwrap();
        let sums = totals(&spans, 0, i64::MAX);
        let last = spans.last().unwrap().end;
        (sums, last - started - sums.iter().sum::<i64>())
    }
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed_and_replaced_and_the_gap_is_on_record() {
    let watching = Watching::start("");
    watching.wait_until_running().await;
    watching.ask_worker_to("hang");
    watching.wait("the worker is replaced", |view| view.workers[0].restarts == 1).await;
    watching.wait_until_running().await;
    let (sums, unrecorded) = watching.end().await;
    assert!(sums[Kind::WorkerLost as usize] >= 1000, "{sums:?}");
    assert!(unrecorded.abs() < 100, "{unrecorded} ms");
}

#[tokio::test]
async fn a_worker_that_talks_nonsense_or_takes_too_much_memory_is_replaced() {
    let watching = Watching::start("memory-limit-mib = 1024\n");
    watching.wait_until_running().await;
    watching.ask_worker_to("nonsense");
    watching.wait("the worker is replaced", |view| view.workers[0].restarts == 1).await;
    let end = watching.handle.shared.view().workers[0].last_end.clone().unwrap();
    assert!(end.contains("no message"), "{end}");
    watching.wait_until_running().await;
    watching.ask_worker_to("greedy");
    watching.wait("the worker is replaced again", |view| view.workers[0].restarts == 2).await;
    watching.wait_until_running().await;
    watching.end().await;
}

#[tokio::test]
async fn an_alert_opens_an_incident_whose_event_waits_for_its_sink() {
    let sink = "[sink.desk]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\nsecret = \"env:NONE\"\n";
    let watching = Watching::start(sink);
    watching.wait_until_running().await;
    watching.ask_worker_to("alert");
    watching.wait("the incident is open", |view| view.channels[0].incidents.contains_key("fake")).await;
    let mut newest = watching.handle.newest_event.clone();
    newest.wait_for(|number| *number > 0).await.unwrap();
    let open = watching.store.incidents(&Filter { open: true, limit: 10, ..Filter::default() }).unwrap();
    assert_eq!((open.len(), open[0].faces[0].track_id, open[0].model.as_deref()), (1, 7, Some("test@1")));
    let due = watching.store.due("desk", i64::MAX, 10).unwrap();
    assert_eq!(due[0].event.kind, "incident.opened");
    let scores = watching.store.clone();
    watching.wait("scores are recorded", |_| !scores.scores("studio", 0, i64::MAX / 2).unwrap().is_empty()).await;
    watching.end().await;
}

#[tokio::test]
async fn an_incident_keeps_a_clip_that_is_sealed_when_it_is_over() {
    let watching = Watching::start("[defaults]\nlongest-clip = \"1s\"\n[retention]\nmin-free-mib = 0\n");
    watching.wait_until_running().await;
    watching.ask_worker_to("alert");
    watching.wait("a clip is recorded", |view| view.channels[0].recording).await;
    watching
        .wait("it is sealed", |_| watching.clips().first().is_some_and(|clip| clip.state == ClipState::Ready))
        .await;
    let clip = watching.clips().remove(0);
    assert_eq!(clip.ended.unwrap() - clip.began, 6000);
    assert!((3500..=4000).contains(&clip.pre_roll), "four seconds and the time that the order took: {clip:?}");
    let whole = "the end: the clips of this incident are longest-clip long";
    assert_eq!(clip.missing, ["11.0 s of the pre-roll", whole]);
    let folder = watching.path("data/evidence").join(clip.incident.to_string());
    let check = std::process::Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&folder).status();
    assert!(check.unwrap().success());
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    assert!(manifest.contains("rtsp://***@h/x") && !manifest.contains("hunter2"), "{manifest}");
    assert_eq!(watching.handle.shared.view().channels[0].state, State::Running);
    watching.end().await;
}

#[tokio::test]
async fn a_worker_that_is_lost_while_it_records_leaves_a_clip_that_says_so() {
    let watching = Watching::start("[retention]\nmin-free-mib = 0\n");
    watching.wait_until_running().await;
    watching.ask_worker_to("alert");
    watching.wait("a clip is recorded", |view| view.channels[0].recording).await;
    watching.ask_worker_to("nonsense");
    watching
        .wait("two clips are there", |_| watching.clips().len() == 2 && watching.clips()[0].state == ClipState::Ready)
        .await;
    assert!(
        watching.clips()[0].missing.iter().any(|what| what.contains("worker that wrote it ended")),
        "{:?}",
        watching.clips()
    );
    watching.end().await;
}

#[tokio::test]
async fn a_full_disk_stops_clips_and_never_the_watching() {
    let watching = Watching::start("[retention]\nmin-free-mib = 1000000000\n");
    watching.wait_until_running().await;
    watching.wait("the page says so", |view| view.clip_trouble.is_some()).await;
    watching.ask_worker_to("alert");
    watching.wait("the incident is open", |view| view.channels[0].incidents.contains_key("fake")).await;
    watching.wait("it is on record", |_| !watching.clips().is_empty()).await;
    assert_eq!((watching.clips().len(), watching.clips()[0].state), (1, ClipState::Failed));
    assert!(watching.clips()[0].missing[0].contains("min-free-mib"), "{:?}", watching.clips());
    assert_eq!(watching.handle.shared.view().channels[0].state, State::Running);
    watching.end().await;
}

#[tokio::test]
async fn a_paused_channel_is_closed_and_counts_as_paused_until_it_is_resumed() {
    let watching = Watching::start("");
    watching.wait_until_running().await;
    for paused in [true, false] {
        let (done, answer) = oneshot::channel();
        let command = Command::Pause { channel: "studio".into(), paused, done };
        watching.handle.commands.send(command).await.unwrap();
        assert!(answer.await.unwrap());
        let wanted = if paused { State::Paused } else { State::Running };
        watching.wait("it is as it was asked", |view| view.channels[0].state == wanted).await;
    }
    let (sums, unrecorded) = watching.end().await;
    assert!(sums[Kind::Paused as usize] > 0 && sums[Kind::WorkerLost as usize] < 30_000, "{sums:?}");
    assert!(unrecorded.abs() < 100, "{unrecorded} ms");
}
