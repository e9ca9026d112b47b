//! `deepfakelog`: what it writes, and that no file system or reader ever holds up the stream.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use deepfake_report::State;
use deepfake_report::json::{self, Line};
use deepfake_report::testing::with;
use deepfake_report::{FaceReport, FrameReport, SCHEMA, meta};
use gst::prelude::*;
use gst_check::Harness;

/// No test waits longer than this for anything; none of them should come near it.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(20);

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstdeepfake::plugin_register_static().unwrap();
    });
}

fn face(track_id: u32, window_end: u64) -> FaceReport {
    with(FaceReport::new(track_id), |face| {
        face.x = 0.25;
        face.y = 0.125;
        face.width = 0.5;
        face.height = 0.5;
        face.detection = 0.75;
        face.state = State::Authentic;
        face.score = Some(0.0625);
        face.certainty = 0.875;
        face.window_fill = 40;
        face.window_size = 40;
        face.window_start = Some(0);
        face.window_end = Some(window_end);
    })
}

fn report(frame: u64) -> FrameReport {
    let pts = frame * 40_000_000;
    let faces = vec![face(1, pts), face(2, pts)];
    FrameReport::new(pts, "test@1.0.0", "cpu", faces)
}

fn bare_buffer(frame: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::with_size(16).unwrap();
    buffer.get_mut().unwrap().set_pts(frame * 40.mseconds());
    buffer
}

fn buffer(frame: u64) -> gst::Buffer {
    let mut buffer = bare_buffer(frame);
    meta::attach(buffer.get_mut().unwrap(), &report(frame), 640, 360).unwrap();
    buffer
}

/// The element in a harness, with a bus.
struct Log {
    harness: Harness,
    bus: gst::Bus,
}

impl Log {
    fn new(location: &str, properties: &[(&str, &dyn ToSendValue)]) -> Self {
        init();
        let element = gst::ElementFactory::make("deepfakelog").property("location", location).build().unwrap();
        for (name, value) in properties {
            element.set_property_from_value(name, &value.to_send_value());
        }
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps_str("video/x-raw,format=I420,width=640,height=360,framerate=25/1");
        harness.play();
        Self { harness, bus }
    }

    fn push(&mut self, buffer: gst::Buffer) {
        self.harness.push(buffer).unwrap();
    }

    /// Pushes EOS; true if it came out.
    fn end(&mut self) {
        assert!(self.harness.push_event(gst::event::Eos::new()));
        while self.harness.pull_event().unwrap().type_() != gst::EventType::Eos {}
    }

    fn stop(&self) {
        self.harness.element().unwrap().set_state(gst::State::Null).unwrap();
    }

    #[track_caller]
    fn assert_stats(&self, expected: &[(&str, u64)]) {
        let stats = self.harness.element().unwrap().property::<gst::Structure>("stats");
        for (name, value) in expected {
            assert_eq!(stats.get::<u64>(*name).unwrap(), *value, "{name} in {stats}");
        }
    }

    fn stat(&self, name: &str) -> u64 {
        self.harness.element().unwrap().property::<gst::Structure>("stats").get(name).unwrap()
    }

    /// Waits for a message of that type; its text.
    #[track_caller]
    fn wait(&self, kind: gst::MessageType) -> String {
        let message = self.bus.timed_pop_filtered(PATIENCE, &[kind]).expect("no message in time");
        text(&message)
    }

    /// The texts of all messages of that type that are on the bus now.
    fn messages(&self, kind: gst::MessageType) -> Vec<String> {
        std::iter::from_fn(|| self.bus.pop_filtered(&[kind])).map(|message| text(&message)).collect()
    }
}

fn text(message: &gst::Message) -> String {
    match message.view() {
        gst::MessageView::Warning(warning) => warning.error().to_string(),
        gst::MessageView::Info(info) => info.error().to_string(),
        gst::MessageView::Error(error) => error.error().to_string(),
        _ => panic!("{message:?}"),
    }
}

/// A folder, and the location of a file in it.
fn place() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let location = path(&folder, "log.jsonl");
    (folder, location)
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn mkfifo(path: &str) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[track_caller]
fn reports(text: &str) -> Vec<FrameReport> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {text:?}");
    let read = |line| match json::read(line).expect(line) {
        // Which buffer carried it is a matter of the log, not of the report.
        Line::Report(report) => with(report, |report| report.buffer_pts = None),
        other => panic!("{other:?}"),
    };
    text.lines().map(read).collect()
}

#[track_caller]
fn assert_frames(location: &str, frames: impl IntoIterator<Item = u64>) {
    let written = reports(&fs::read_to_string(location).unwrap());
    assert_eq!(written, frames.into_iter().map(report).collect::<Vec<_>>());
}

#[test]
fn each_analysed_buffer_gives_one_line_and_passes_untouched() {
    let (_folder, location) = place();
    let mut log = Log::new(&location, &[]);
    for frame in 0..100 {
        log.push(bare_buffer(1000 + frame));
        let buffer = buffer(frame);
        let pointer = buffer.as_ptr();
        log.push(buffer);
        assert_eq!(log.harness.pull().unwrap().pts(), Some((1000 + frame) * 40.mseconds()));
        let out = log.harness.pull().unwrap();
        assert_eq!(out.as_ptr(), pointer, "the buffer was copied");
        assert_eq!(meta::read(&out), Some(report(frame)));
    }
    log.end();
    // EOS came out, so everything is in the file, before the element stops.
    assert_frames(&location, 0..100);
    log.assert_stats(&[("lines-written", 100), ("lines-dropped", 0), ("duplicates", 0), ("troubles", 0)]);
}

#[test]
fn stopping_without_eos_writes_everything_and_keeps_the_statistics() {
    let (_folder, location) = place();
    let mut log = Log::new(&location, &[]);
    (0..5000).for_each(|frame| log.push(buffer(frame)));
    log.stop();
    assert_frames(&location, 0..5000);
    log.assert_stats(&[("lines-written", 5000), ("lines-dropped", 0)]);
}

#[test]
fn buffers_that_were_not_analysed_give_lines_on_request() {
    let (_folder, location) = place();
    let mut log = Log::new(&location, &[("all-buffers", &true)]);
    log.push(bare_buffer(1));
    log.push(gst::Buffer::new());
    log.push(buffer(2));
    log.end();
    let text = fs::read_to_string(&location).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["buffer_pts"], 40_000_000);
    assert!(lines[0]["pts"].is_null());
    assert_eq!(lines[0]["schema"], SCHEMA);
    assert_eq!(lines[0]["faces"], serde_json::json!([]));
    assert!(lines[0]["model"].is_null() && lines[0]["device"].is_null());
    assert!(lines[1]["buffer_pts"].is_null());
    let read: Vec<_> = text.lines().map(|line| json::read(line).unwrap()).collect();
    let reported = with(report(2), |report| report.buffer_pts = Some(80_000_000));
    assert_eq!(
        read,
        [
            Line::NotAnalysed { buffer_pts: Some(40_000_000) },
            Line::NotAnalysed { buffer_pts: None },
            Line::Report(reported)
        ]
    );
}

/// What reaches the log of eight copies of a buffer, as a payloader makes them, of two newer buffers with the same report, as
/// `mode=async` has them, and of another report.
fn copies_and_repeats(log: &mut Log) {
    (0..8).for_each(|_| log.push(buffer(1)));
    for (frame, pts) in [(1, 2), (1, 3), (5, 3)] {
        let mut newer = buffer(frame);
        newer.get_mut().unwrap().set_pts(pts * 40.mseconds());
        log.push(newer);
    }
    for _ in 0..2 {
        let mut untimed = buffer(6);
        untimed.get_mut().unwrap().set_pts(gst::ClockTime::NONE);
        log.push(untimed);
    }
    log.end();
}

#[test]
fn a_report_gives_one_line_however_many_buffers_carry_it() {
    let (_folder, location) = place();
    let mut log = Log::new(&location, &[]);
    copies_and_repeats(&mut log);
    assert_frames(&location, [1, 5, 6]);
    log.assert_stats(&[("duplicates", 10), ("lines-written", 3)]);
    let first = fs::read_to_string(&location).unwrap();
    let first: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(first["buffer_pts"], 40_000_000);
}

#[test]
fn with_all_buffers_each_buffer_gives_a_line_but_its_copies_do_not() {
    let (_folder, location) = place();
    let mut log = Log::new(&location, &[("all-buffers", &true)]);
    copies_and_repeats(&mut log);
    // Without PTS nothing tells a copy from the next buffer.
    assert_frames(&location, [1, 1, 1, 5, 6, 6]);
    log.assert_stats(&[("duplicates", 7), ("lines-written", 6)]);
}

#[test]
fn several_detectors_have_their_own_lines_unless_one_is_named() {
    for (detector, expected) in [(None, &["a", "b", "a", "b"][..]), (Some("b"), &["b", "b"][..])] {
        let (_folder, location) = place();
        let mut log = Log::new(&location, &[("detector", &detector)]);
        for frame in [1, 1, 2] {
            let mut buffer = bare_buffer(frame);
            for element in ["a", "b"] {
                let report = with(report(frame), |report| report.element = Some(element.into()));
                meta::attach(buffer.get_mut().unwrap(), &report, 640, 360).unwrap();
            }
            log.push(buffer);
        }
        log.end();
        let written = reports(&fs::read_to_string(&location).unwrap());
        let elements: Vec<_> = written.iter().map(|report| report.element.as_deref().unwrap()).collect();
        assert_eq!(elements, expected);
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_where_that_is_asked_for() {
    init();
    let (folder, _) = place();
    let element = gst::ElementFactory::make("deepfakelog")
        .property("location", path(&folder, "missing/log.jsonl"))
        .property_from_str("on-error", "fail")
        .build()
        .unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let error = text(&bus.pop_filtered(&[gst::MessageType::Error]).expect("an error is posted"));
    assert!(error.contains("missing/log.jsonl") && error.contains("on-error"), "{error}");
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_log_that_cannot_be_written_ends_the_stream_where_that_is_asked_for() {
    init();
    let element = gst::ElementFactory::make("deepfakelog")
        .property("location", "/dev/full")
        .property_from_str("on-error", "fail")
        .build()
        .unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str("video/x-raw,format=I420,width=640,height=360,framerate=25/1");
    harness.play();
    harness.push(buffer(0)).unwrap();
    let error = bus.timed_pop_filtered(PATIENCE, &[gst::MessageType::Error]).expect("an error is posted");
    assert!(text(&error).contains("No space left"), "{error:?}");
    assert_eq!(harness.push(buffer(1)), Err(gst::FlowError::Error));
}

#[test]
fn the_same_frame_after_a_flush_is_a_new_one() {
    let (_folder, location) = place();
    let mut log = Log::new(&location, &[]);
    log.push(buffer(1));
    assert!(log.harness.push_event(gst::event::FlushStart::new()));
    assert!(log.harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(log.harness.push_event(gst::event::Segment::new(&segment)));
    log.push(buffer(1));
    log.stop();
    assert_frames(&location, [1, 1]);
}

#[test]
fn reports_behind_a_payloader_are_written_once_a_frame() {
    init();
    let (_folder, location) = place();
    let pipeline = gst::parse::launch(
        "videotestsrc num-buffers=20 pattern=snow ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 \
         ! identity name=mark ! x264enc speed-preset=ultrafast tune=zerolatency ! deepfakelog name=behind-encoder \
         ! rtph264pay mtu=500 ! deepfakelog name=behind-payloader ! fakesink",
    );
    let Ok(pipeline) = pipeline else { return eprintln!("SKIPPED: x264enc or rtph264pay is missing") };
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let encoded = format!("{location}.encoded");
    pipeline.by_name("behind-encoder").unwrap().set_property("location", &encoded);
    pipeline.by_name("behind-payloader").unwrap().set_property("location", &location);
    let pad = pipeline.by_name("mark").unwrap().static_pad("src").unwrap();
    let count = std::sync::atomic::AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        meta::attach(info.buffer_mut().unwrap().make_mut(), &report(number), 320, 240).unwrap();
        gst::PadProbeReturn::Ok
    });
    run_to_eos(&pipeline);
    assert_frames(&encoded, 0..20);
    assert_frames(&location, 0..20);
    let stats = pipeline.by_name("behind-payloader").unwrap().property::<gst::Structure>("stats");
    assert!(stats.get::<u64>("duplicates").unwrap() > 20, "the payloader made no copies: {stats}");
    pipeline.set_state(gst::State::Null).unwrap();
}

#[track_caller]
fn run_to_eos(pipeline: &gst::Pipeline) {
    pipeline.set_state(gst::State::Playing).unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(PATIENCE, &kinds).expect("no EOS in time");
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
}

#[test]
fn any_caps_pass_even_none_and_memory_features() {
    init();
    let (_folder, location) = place();
    for caps in [
        "video/x-raw(memory:GLMemory),format=RGBA,width=64,height=64,framerate=25/1,texture-target=2D",
        "video/x-raw,format=A420_10LE,width=7680,height=4320,framerate=0/1",
        "video/x-h265,stream-format=byte-stream,alignment=au",
        "audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved",
    ] {
        let mut log = Log::new(&location, &[("append", &false)]);
        log.harness.set_src_caps_str(caps);
        log.push(buffer(3));
        log.end();
        assert_frames(&location, [3]);
    }
}

#[test]
fn a_file_is_appended_to_or_emptied_as_asked() {
    let (_folder, location) = place();
    let once = |frame, append: bool| {
        let mut log = Log::new(&location, &[("append", &append)]);
        log.push(buffer(frame));
        log.end();
    };
    once(1, true);
    once(2, true);
    assert_frames(&location, [1, 2]);
    once(3, false);
    assert_frames(&location, [3]);
}

#[test]
fn a_line_torn_by_a_crash_spoils_no_other() {
    let (_folder, location) = place();
    fs::write(&location, "{\"schema\":1,\"pt").unwrap();
    let mut log = Log::new(&location, &[]);
    log.push(buffer(1));
    log.end();
    let text = fs::read_to_string(&location).unwrap();
    assert_eq!(reports(text.split_once('\n').unwrap().1), [report(1)]);
}

#[test]
fn rotation_bounds_each_file_and_loses_no_line_while_files_are_kept() {
    let (folder, location) = place();
    let mut log = Log::new(&location, &[("max-size-bytes", &4096u64), ("max-files", &1000u32)]);
    (0..200).for_each(|frame| log.push(buffer(frame)));
    log.end();
    let rotations = log.stat("rotations");
    assert!(rotations > 10);
    let mut all = Vec::new();
    for number in (1..=rotations).rev() {
        let text = fs::read_to_string(format!("{location}.{number}")).unwrap();
        assert!(text.len() <= 4096);
        all.extend(reports(&text));
    }
    all.extend(reports(&fs::read_to_string(&location).unwrap()));
    assert_eq!(all, (0..200).map(report).collect::<Vec<_>>());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count() as u64, rotations + 1);
}

#[test]
fn a_rotation_that_fails_is_warned_of_once_and_the_file_grows_on() {
    let (_folder, location) = place();
    fs::create_dir_all(format!("{location}.1/in the way")).unwrap();
    let mut log = Log::new(&location, &[("max-size-bytes", &1000u64), ("max-files", &1u32)]);
    (0..50).for_each(|frame| log.push(buffer(frame)));
    log.end();
    assert_frames(&location, 0..50);
    let warnings = log.messages(gst::MessageType::Warning);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("Cannot rename"), "{warnings:?}");
    log.assert_stats(&[("rotations", 0), ("lines-dropped", 0)]);
}

#[test]
fn a_full_disk_is_warned_of_once_and_nothing_is_lost_when_it_has_room_again() {
    let (folder, location) = place();
    std::os::unix::fs::symlink("/dev/full", &location).unwrap();
    let mut log = Log::new(&location, &[]);
    (0..50).for_each(|frame| log.push(buffer(frame)));
    assert_eq!(log.harness.buffers_received(), 50, "the full disk held up the stream");
    let warning = log.wait(gst::MessageType::Warning);
    assert!(warning.contains("No space left") && warning.contains(&location), "{warning}");

    // Room again: the same name is now a file.
    let room = path(&folder, "room");
    std::os::unix::fs::symlink(&room, format!("{location}.new")).unwrap();
    fs::rename(format!("{location}.new"), &location).unwrap();
    (50..60).for_each(|frame| log.push(buffer(frame)));
    log.end();
    assert_frames(&room, 0..60);
    assert!(log.wait(gst::MessageType::Info).contains("written again"));
    assert!(log.messages(gst::MessageType::Warning).is_empty(), "warned twice in one trouble");
    log.assert_stats(&[("lines-written", 60), ("lines-dropped", 0), ("troubles", 1)]);
}

#[test]
fn a_disk_that_stays_full_delays_the_end_by_no_more_than_the_timeout() {
    let mut log = Log::new("/dev/full", &[("drain-timeout", &200u32)]);
    (0..50).for_each(|frame| log.push(buffer(frame)));
    let start = Instant::now();
    log.end();
    assert!(start.elapsed() >= Duration::from_millis(200), "nobody tried");
    log.stop();
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
    log.assert_stats(&[("lines-written", 0), ("lines-dropped", 50), ("troubles", 1)]);
    assert_eq!(log.messages(gst::MessageType::Warning).len(), 1);
}

#[test]
fn a_second_trouble_is_warned_of_again() {
    let (folder, location) = place();
    let point_at = |target: &str| {
        std::os::unix::fs::symlink(target, format!("{location}.new")).unwrap();
        fs::rename(format!("{location}.new"), &location).unwrap();
    };
    let fifo = path(&folder, "fifo");
    mkfifo(&fifo);
    point_at(&fifo);
    let mut log = Log::new(&location, &[]);
    for trouble in 1..=3 {
        // Nobody reads; then somebody does, takes all there is and goes.
        log.push(buffer(trouble));
        assert!(log.wait(gst::MessageType::Warning).contains("Cannot write the log"));
        let mut reader = BufReader::new(fs::File::open(&fifo).unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(reports(&line), [report(trouble)]);
        log.wait(gst::MessageType::Info);
    }
    log.assert_stats(&[("troubles", 3), ("lines-written", 3)]);
}

#[test]
fn a_missing_folder_is_warned_of_and_used_once_it_is_there() {
    let (folder, _) = place();
    let location = path(&folder, "later/log.jsonl");
    let mut log = Log::new(&location, &[]);
    (0..10).for_each(|frame| log.push(buffer(frame)));
    let warning = log.wait(gst::MessageType::Warning);
    assert!(warning.contains("No such file"), "{warning}");
    fs::create_dir(folder.path().join("later")).unwrap();
    log.end();
    assert_frames(&location, 0..10);
}

#[test]
fn lines_wait_for_the_reader_of_a_fifo() {
    let (_folder, location) = place();
    mkfifo(&location);
    let mut log = Log::new(&location, &[]);
    (0..2000).for_each(|frame| log.push(buffer(frame)));
    log.wait(gst::MessageType::Warning);
    let reader = std::thread::spawn(move || fs::read_to_string(location).unwrap());
    log.wait(gst::MessageType::Info);
    log.stop();
    let read = reports(&reader.join().unwrap());
    assert_eq!(read, (0..2000).map(report).collect::<Vec<_>>());
}

#[test]
fn a_reader_that_sleeps_costs_old_lines_but_holds_up_nothing() {
    let (_folder, location) = place();
    mkfifo(&location);
    // Open for both, so that the FIFO has a reader that does not read; and full, so that nothing can be written.
    let mut sleeper =
        fs::File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&location).unwrap();
    while sleeper.write(&[b'\n'; 4096]).is_ok() {}
    let mut log = Log::new(&location, &[("max-queue-bytes", &20_000u32), ("drain-timeout", &100u32)]);
    (0..2000).for_each(|frame| log.push(buffer(frame)));
    assert_eq!(log.harness.buffers_received(), 2000);
    assert!(log.wait(gst::MessageType::Warning).contains("cannot keep up"));
    let start = Instant::now();
    log.stop();
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
    assert!(log.messages(gst::MessageType::Warning).is_empty());
    log.assert_stats(&[("lines-written", 0), ("lines-dropped", 2000), ("troubles", 1)]);
    drop(sleeper);
}

#[test]
fn folders_sockets_and_no_location_are_refused_at_start() {
    init();
    let (folder, location) = place();
    let _listener = std::os::unix::net::UnixListener::bind(&location).unwrap();
    let folder = folder.path().to_str().unwrap();
    for (location, cause) in
        [(None, "no location"), (Some(folder), "is a folder"), (Some(location.as_str()), "neither a file")]
    {
        let element = gst::ElementFactory::make("deepfakelog").property("location", location).build().unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err());
        let error = bus.pop_filtered(&[gst::MessageType::Error]).expect("no error on the bus");
        assert!(text(&error).contains(cause), "{}", text(&error));
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn a_location_is_no_format_string_and_no_shell_word() {
    let (folder, _) = place();
    let location = path(&folder, "%05d $HOME `id` ~ \u{1F642}.jsonl");
    let mut log = Log::new(&location, &[]);
    log.push(buffer(1));
    log.end();
    assert_frames(&location, [1]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn it_starts_and_stops_in_a_loop() {
    let (_folder, location) = place();
    let log = Log::new(&location, &[]);
    let element = log.harness.element().unwrap();
    for _ in 0..50 {
        element.set_state(gst::State::Null).unwrap();
        element.set_state(gst::State::Playing).unwrap();
    }
    assert!(log.messages(gst::MessageType::Warning).is_empty());
}

/// Run by the tests below in a process of its own, whose standard output and signals they decide. No test by itself.
#[test]
#[ignore = "the child of the tests of stdout"]
fn child() {
    // An application in C has not told the kernel to ignore SIGPIPE, as Rust's main() does.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let mut log = Log::new("-", &[("drain-timeout", &200u32)]);
    let fifo = std::env::var("DEEPFAKELOG_TEST_FIFO");
    (0..10).for_each(|frame| log.push(buffer(frame)));
    if let Ok(fifo) = fifo {
        // Until the reader is gone.
        fs::read(fifo).unwrap();
        (10..20).for_each(|frame| log.push(buffer(frame)));
        assert!(log.wait(gst::MessageType::Warning).contains("Broken pipe"));
        log.end();
        log.stop();
        log.assert_stats(&[("lines-dropped", 10), ("troubles", 1)]);
    } else {
        log.end();
        return;
    }
    drop(log);
    // Not into the test harness again, which would print its result to the closed pipe.
    unsafe { libc::_exit(0) }
}

/// As `child`: what it does to itself would hit the other tests too.
#[test]
#[ignore = "the child of the test of a file size limit"]
fn child_with_a_limit() {
    let limit = |bytes| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    };
    let (_folder, location) = place();
    let mut log = Log::new(&location, &[]);
    log.push(buffer(0));
    log.end();
    let length = fs::metadata(&location).unwrap().len();
    log.stop();

    // Room for one and a half lines more.
    limit(length * 5 / 2);
    let mut log = Log::new(&location, &[]);
    (1..10).for_each(|frame| log.push(buffer(frame)));
    assert!(log.wait(gst::MessageType::Warning).contains("File too large"));
    // The half line was taken back.
    assert_frames(&location, [0, 1]);
    limit(libc::RLIM_INFINITY);
    log.end();
    assert_frames(&location, 0..10);
    log.assert_stats(&[("lines-written", 9), ("lines-dropped", 0), ("troubles", 1)]);
}

#[test]
fn a_line_for_which_there_is_half_the_room_is_written_whole_later() {
    let output = spawn_child("child_with_a_limit").output().unwrap();
    assert!(output.status.success(), "{} {}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

fn spawn_child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // With one thread, as on one processor, the child's name would stand before its first line.
    command
        .args(["--ignored", "--exact", name, "--nocapture", "--test-threads=2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn lines_on_the_standard_output_come_whole() {
    let output = spawn_child("child").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // The test harness of the child writes there too.
    let lines: String = text.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect();
    assert_eq!(reports(&lines), (0..10).map(report).collect::<Vec<_>>());
}

#[test]
fn a_closed_standard_output_ends_neither_the_process_nor_the_stream() {
    let (_folder, location) = place();
    mkfifo(&location);
    let mut child = spawn_child("child").env("DEEPFAKELOG_TEST_FIFO", &location).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"pts\":360000000,") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the child wrote too little");
    }
    drop(stdout);
    // Opening and closing it tells the child that nobody reads any more.
    drop(fs::File::options().write(true).open(&location).unwrap());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {stderr}");
}
