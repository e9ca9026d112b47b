//! Clips of a feed as a worker writes them, and what is left of them when it is killed.

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::clip;
use deepfake_monitor::channel::clip::News;
use deepfake_monitor::config::{Address, Transport};
use deepfake_monitor::protocol::{self, Feed, FromWorker, Ring, ToWorker};
use gst::prelude::*;
use uuid::Uuid;

struct Worker {
    process: Child,
    to: ChildStdin,
    from: ChildStdout,
    buffers: u64,
    news: Vec<News>,
}

impl Worker {
    /// A worker whose channel `one` is open.
    fn watching(source: &Path, ring: Option<Ring>) -> Self {
        let mut process = common::program().arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut worker = Self { process, to, from, buffers: 0, news: Vec::new() };
        let feed = Feed {
            source: Address::new(format!("file://{}", source.display())),
            looped: true,
            transport: Transport::Tcp,
            latency_ms: 200,
            model: None,
            device: "cpu".into(),
            fake_threshold: None,
            ring,
        };
        worker.tell(&ToWorker::Open { channel: "one".into(), run: 1, feed });
        worker
    }

    fn tell(&mut self, message: &ToWorker) {
        protocol::write(&mut self.to, message).unwrap();
    }

    fn record(&mut self, incident: Uuid, folder: &Path) {
        let (channel, folder) = ("one".into(), folder.to_owned());
        self.tell(&ToWorker::Record { channel, run: 1, incident, part: 1, folder });
    }

    /// Listens until it is so.
    #[track_caller]
    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + Duration::from_secs(20 * common::patience());
        while !done(self) {
            assert!(Instant::now() < limit, "waited in vain until {what}; {:?}", self.news);
            match protocol::read(&mut self.from).unwrap() {
                Some(FromWorker::Look { look, .. }) => self.buffers = look.signs.buffers,
                Some(FromWorker::Clip { news, .. }) => self.news.push(news),
                Some(FromWorker::Failed { reason, .. }) => panic!("{reason}"),
                Some(_) => {}
                None => panic!("the worker ended"),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

const KEEP: Ring = Ring { milliseconds: 2000, max_bytes: 16 << 20 };

/// The coded picture alone: parsers may put parameters of the stream before it, or leave them out.
fn slices(mut unit: &[u8]) -> Vec<u8> {
    let mut slices = Vec::new();
    while let Some((length, rest)) = unit.split_at_checked(4) {
        let (nal, rest) = rest.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize);
        if (1..=5).contains(&(nal[0] & 0x1f)) {
            slices.extend(nal);
        }
        unit = rest;
    }
    slices
}

/// Decodes a file to its end, or to where it breaks: each encoded picture, and how many came out.
fn played(file: &Path) -> (Vec<Vec<u8>>, usize) {
    gst::init().unwrap();
    let description = "filesrc name=file ! qtdemux ! h264parse name=parse ! video/x-h264,stream-format=avc,alignment=au \
                       ! avdec_h264 name=decoder ! fakesink";
    let pipeline = gst::parse::launch(description).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("file").unwrap().set_property("location", file.to_str().unwrap());
    let (encoded, decoded) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let (seen, shown) = (encoded.clone(), decoded.clone());
    let decoder = pipeline.by_name("decoder").unwrap();
    decoder.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let unit = info.buffer().unwrap().map_readable().unwrap();
        seen.lock().unwrap().push(slices(&unit));
        gst::PadProbeReturn::Ok
    });
    decoder.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        *shown.lock().unwrap() += 1;
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).unwrap();
    pipeline.set_state(gst::State::Null).unwrap();
    let encoded = encoded.lock().unwrap().clone();
    let decoded = *decoded.lock().unwrap();
    (encoded, decoded)
}

#[test]
fn a_clip_whose_writer_was_killed_plays_and_holds_the_original_bytes() {
    let source = clip();
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::watching(&source, Some(KEEP));
    worker.wait("pictures come", |worker| worker.buffers >= 50);
    let already = worker.buffers;
    worker.record(Uuid::now_v7(), folder.path());
    // Some fragments of a second each.
    worker.wait("the clip is some seconds long", |worker| worker.buffers >= already + 125);
    assert!(matches!(worker.news[..], [News::Started { .. }]), "{:?}", worker.news);
    worker.process.kill().unwrap();
    worker.process.wait().unwrap();

    let (kept, decoded) = played(&folder.path().join("1.mp4"));
    assert!(decoded >= 75, "{decoded} pictures of 125 and the pre-roll");
    let original: HashSet<_> = played(&source).0.into_iter().collect();
    assert_eq!(original.len(), 100);
    let strange = kept.iter().filter(|picture| !original.contains(*picture)).count();
    assert_eq!(strange, 0, "of {} pictures", kept.len());
}

#[test]
fn a_clip_that_is_ended_holds_the_pre_roll_and_reports_in_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::watching(&clip(), Some(KEEP));
    worker.wait("the pre-roll is there", |worker| worker.buffers >= 100);
    let incident = Uuid::now_v7();
    worker.record(incident, folder.path());
    let already = worker.buffers;
    worker.wait("two seconds more", |worker| worker.buffers >= already + 50);
    worker.tell(&ToWorker::StopRecording { channel: "one".into(), incident, part: 1 });
    worker.wait("the clip is over", |worker| worker.news.len() == 2);
    let [News::Started { ago, container, codec, missing }, News::Ended { length, missing: more }] = &worker.news[..]
    else {
        panic!("{:?}", worker.news)
    };
    assert_eq!((container.as_str(), codec.as_str()), ("mp4", "video/x-h264"));
    assert!(missing.is_empty() && more.is_empty(), "{:?}", worker.news);
    // A key picture comes twice a second.
    assert!((2000..=2700).contains(ago), "{ago} ms before");
    let (_, decoded) = played(&folder.path().join("1.mp4"));
    let seconds = decoded as f64 / 25.0;
    assert!((seconds - *length as f64 / 1000.0).abs() < 0.2 && seconds >= 3.9, "{seconds} s, {length} ms");

    let reports = std::fs::read_to_string(folder.path().join("1.jsonl")).unwrap();
    let times: Vec<f64> = reports
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["clip_time"].as_f64().unwrap())
        .collect();
    // How many there are is up to the machine.
    assert!(times.is_sorted() && !times.is_empty(), "{times:?}");
    assert!(times.iter().all(|time| (0.0..seconds + 0.2).contains(time)), "{times:?} of {seconds} s");
}

#[test]
fn what_cannot_be_kept_is_said() {
    let folder = tempfile::tempdir().unwrap();
    // Room for less than one picture.
    let mut worker = Worker::watching(&clip(), Some(Ring { max_bytes: 100, ..KEEP }));
    worker.wait("pictures come", |worker| worker.buffers >= 50);
    let incident = Uuid::now_v7();
    worker.record(incident, folder.path());
    worker.wait("the clip begins", |worker| !worker.news.is_empty());
    let News::Started { missing, .. } = &worker.news[0] else { panic!("{:?}", worker.news) };
    assert!(missing[0].contains("ring-mib"), "{missing:?}");

    let mut worker = Worker::watching(&clip(), None);
    worker.wait("pictures come", |worker| worker.buffers > 0);
    worker.record(incident, folder.path());
    worker.wait("it is refused", |worker| !worker.news.is_empty());
    let News::Ended { missing, .. } = &worker.news[0] else { panic!("{:?}", worker.news) };
    assert!(missing[0].contains("switched off"), "{missing:?}");
}
