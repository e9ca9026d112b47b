//! `deepfakedetect` with everything that a bad source may send: each buffer must come out, in order, with the pixels and
//! times that it went in with.

mod common;

use std::collections::HashSet;

use common::{Package, detector, init, model};
use deepfake_report::State;
use deepfake_report::{FrameReport, meta};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo, VideoRegionOfInterestMeta};
use proptest::prelude::*;

const FRAME: u64 = 1_000_000_000 / 30;
const TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// Faces come from upstream; whatever the crops look like, they are judged.
const GIVEN_FACES: &str = "mode=sync face-source=upstream min-face-size=0 min-sharpness=0 min-luma=0";

/// The element between a source and a sink that the test plays.
struct Bench {
    harness: Harness,
    bus: gst::Bus,
    info: VideoInfo,
    _model: Package,
}

impl Bench {
    fn new(properties: &str) -> Self {
        init();
        let model = model("tiny");
        let element = gst::parse::launch(&format!("deepfakedetect model={} {properties}", model.path())).unwrap();
        let harness = Harness::with_element(&element, Some("sink"), Some("src"));
        let mut bench = Self {
            harness,
            bus: gst::Bus::new(),
            info: VideoInfo::builder(VideoFormat::I420, 320, 240).fps((30, 1)).build().unwrap(),
            _model: model,
        };
        bench.harness.element().unwrap().set_bus(Some(&bench.bus));
        bench.harness.play();
        bench.caps(VideoFormat::I420, 320, 240, 30);
        bench
    }

    fn caps(&mut self, format: VideoFormat, width: u32, height: u32, fps: i32) {
        self.info = VideoInfo::builder(format, width, height).fps((fps, 1)).build().unwrap();
        self.harness.set_src_caps(self.info.to_caps().unwrap());
    }

    /// A frame full of noise, another one each time.
    fn frame(&self, pts: Option<u64>) -> gst::Buffer {
        let mut buffer = gst::Buffer::with_size(self.info.size()).unwrap();
        let fresh = buffer.get_mut().unwrap();
        fresh.set_pts(pts.map(gst::ClockTime::from_nseconds));
        let mut state = pts.unwrap_or(7) as u32 | 1;
        for byte in fresh.map_writable().unwrap().iter_mut() {
            // xorshift32 (Marsaglia, 2003).
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            *byte = state as u8;
        }
        buffer
    }

    fn frame_with_faces(&self, pts: Option<u64>, faces: &[(u32, u32, u32, u32)]) -> gst::Buffer {
        let mut buffer = self.frame(pts);
        for face in faces {
            VideoRegionOfInterestMeta::add(buffer.get_mut().unwrap(), meta::ROI_TYPE, *face);
        }
        buffer
    }

    /// Sends a buffer; the same must come out. Returns what it now carries.
    #[track_caller]
    fn pass(&mut self, buffer: gst::Buffer) -> Option<FrameReport> {
        let before = (pixels(&buffer), buffer.pts(), buffer.dts(), buffer.duration(), buffer.flags());
        assert_eq!(self.harness.push(buffer), Ok(gst::FlowSuccess::Ok));
        let buffer = self.harness.try_pull().expect("each buffer comes out at once");
        assert_eq!(self.harness.buffers_in_queue(), 0);
        let after = (pixels(&buffer), buffer.pts(), buffer.dts(), buffer.duration(), buffer.flags());
        assert!(before == after, "the buffer was changed");
        meta::read(&buffer)
    }

    /// Sends one face in the middle at each of these times. Returns the last report.
    #[track_caller]
    fn pass_face(&mut self, times: impl IntoIterator<Item = u64>) -> FrameReport {
        times.into_iter().map(|pts| self.pass_one_face(pts).expect("a report")).last().unwrap()
    }

    #[track_caller]
    fn pass_one_face(&mut self, pts: u64) -> Option<FrameReport> {
        self.pass(self.frame_with_faces(Some(pts), &[(100, 60, 100, 100)]))
    }

    /// Texts of the errors and warnings posted since the last call.
    fn warnings(&self) -> Vec<String> {
        let kinds = [gst::MessageType::Error, gst::MessageType::Warning];
        std::iter::from_fn(|| self.bus.pop_filtered(&kinds))
            .map(|message| match message.view() {
                gst::MessageView::Error(error) => format!("error: {}", error.error()),
                gst::MessageView::Warning(warning) => format!("warning: {}", warning.error()),
                _ => unreachable!(),
            })
            .collect()
    }
}

fn pixels(buffer: &gst::BufferRef) -> Vec<u8> {
    buffer.map_readable().unwrap().to_vec()
}

fn bench_with_detector() -> Option<Bench> {
    Some(Bench::new(&format!("mode=sync face-detector={}", detector()?.display())))
}

#[test]
fn a_face_is_followed_and_judged() {
    let mut bench = Bench::new(GIVEN_FACES);
    let report = bench.pass_face((0..20).map(|frame| frame * FRAME));
    let face = &report.faces[0];
    assert_eq!((face.track_id, face.window_fill), (1, 4));
    assert!(face.score.is_some() && face.state != State::Warming && face.state != State::Rejected);
    assert_eq!(bench.warnings(), [""; 0]);
}

#[test]
fn missing_times_stay_missing_and_are_analysed() {
    let mut bench = Bench::new(GIVEN_FACES);
    let mut report = None;
    for _ in 0..20 {
        report = bench.pass(bench.frame_with_faces(None, &[(100, 60, 100, 100)]));
    }
    let report = report.unwrap();
    assert_eq!(report.faces[0].window_fill, 4);
    assert!(report.pts > 15 * FRAME, "time stands still at {}", report.pts);
}

#[test]
fn times_that_jump_begin_anew_with_new_ids() {
    let hour = 3_600_000_000_000;
    for (name, to) in [("back", 0), ("ahead", 2 * hour)] {
        let mut bench = Bench::new(GIVEN_FACES);
        let before = bench.pass_face((0..20).map(|frame| hour + frame * FRAME));
        assert_eq!((before.faces[0].track_id, before.faces[0].window_fill), (1, 4), "{name}");
        // Two frames elsewhere may be stray ones.
        assert_eq!([0, 1].map(|frame| bench.pass_one_face(to + frame * FRAME)), [None, None]);
        let after = bench.pass_face([to + 2 * FRAME]);
        assert_eq!((after.faces[0].track_id, after.faces[0].window_fill), (2, 1), "{name}");
        assert_eq!(after.faces[0].score, None);
        assert_eq!(bench.warnings(), [""; 0]);
    }
}

#[test]
fn times_at_the_end_of_the_range_do_no_harm() {
    let mut bench = Bench::new(GIVEN_FACES);
    // u64::MAX itself means "no time".
    for pts in [0, u64::MAX - 1, 1, u64::MAX - 1, u64::MAX - 1, u64::MAX / 2, 0, 0, 0] {
        bench.pass_one_face(pts);
    }
    for _ in 0..5 {
        bench.pass(bench.frame(None));
    }
    (0..3).for_each(|_| drop(bench.pass_one_face(u64::MAX - 1)));
    bench.pass(bench.frame(None));
    bench.pass(bench.frame(None));
}

#[test]
fn a_frame_rate_of_zero_is_a_variable_one() {
    let mut bench = Bench::new(GIVEN_FACES);
    bench.caps(VideoFormat::I420, 320, 240, 0);
    let report = bench.pass_face([0, 10, 200, 260, 330, 390, 400, 460].map(|ms| ms * 1_000_000));
    assert_eq!((report.faces[0].track_id, report.faces[0].window_fill), (1, 4));
    for _ in 0..5 {
        bench.pass(bench.frame_with_faces(None, &[(100, 60, 100, 100)]));
    }
}

#[test]
fn gap_buffers_never_enter_the_window() {
    let mut bench = Bench::new(GIVEN_FACES);
    bench.pass_face([0, 2 * FRAME]);
    for frame in 3..12 {
        let mut gap = bench.frame_with_faces(Some(frame * FRAME), &[(100, 60, 100, 100)]);
        gap.get_mut().unwrap().set_flags(gst::BufferFlags::GAP);
        bench.pass(gap);
    }
    let stats: gst::Structure = bench.harness.element().unwrap().property("stats");
    assert_eq!((stats.get::<u64>("frames"), stats.get::<u64>("analysed")), (Ok(11), Ok(2)));
    let report = bench.pass_face([12 * FRAME]);
    assert_eq!(report.faces[0].window_fill, 3);
}

#[test]
fn a_new_frame_size_begins_anew() {
    let mut bench = Bench::new(GIVEN_FACES);
    bench.pass_face((0..20).map(|frame| frame * FRAME));
    for (round, (format, width, height)) in
        [(VideoFormat::I420, 640, 480), (VideoFormat::Rgb, 640, 480), (VideoFormat::Nv12, 201, 161)]
            .into_iter()
            .enumerate()
    {
        bench.caps(format, width, height, 30);
        let report = bench.pass_face([(20 + round as u64) * FRAME]);
        assert_eq!((report.faces[0].track_id as usize, report.faces[0].window_fill), (2 + round, 1));
        assert_eq!(report.faces[0].x, 100.0 / f64::from(width));
    }
    // The same caps again are no change.
    let caps = bench.info.to_caps().unwrap();
    assert!(bench.harness.push_event(gst::event::Caps::new(&caps)));
    assert_eq!(bench.pass_face([25 * FRAME]).faces[0].track_id, 4);
}

#[test]
fn odd_and_tiny_frames_pass_in_every_format() {
    let Some(mut bench) = bench_with_detector() else { return };
    let mut pts = 0;
    for (width, height) in [(17, 19), (16, 16), (16, 8192), (8192, 16), (33, 1001)] {
        for format in gstdeepfake::elements::frame::FORMATS {
            bench.caps(format, width, height, 30);
            for _ in 0..3 {
                pts += FRAME;
                let report = bench.pass(bench.frame(Some(pts))).expect("a report");
                let inside = |v: f64| (0.0..=1.0).contains(&v);
                assert!(report.faces.iter().all(|face| inside(face.x) && inside(face.x + face.width - 1e-9)));
            }
        }
    }
    assert_eq!(bench.warnings(), [""; 0]);
}

#[test]
fn frames_too_small_or_too_large_are_refused() {
    let mut bench = Bench::new(GIVEN_FACES);
    for (width, height) in [(1, 240), (15, 16), (16, 15), (1, 1), (8194, 16)] {
        bench.caps(VideoFormat::Gray8, width, height, 30);
        let buffer = bench.frame(Some(0));
        assert_eq!(bench.harness.push(buffer), Err(gst::FlowError::NotNegotiated), "{width}x{height}");
        assert!(bench.harness.try_pull().is_none());
    }
    bench.caps(VideoFormat::I420, 320, 240, 30);
    bench.pass_face([0]);
}

#[test]
fn two_hundred_faces_are_followed() {
    let mut bench = Bench::new(&format!("{GIVEN_FACES} max-faces=1000"));
    bench.caps(VideoFormat::I420, 1280, 720, 30);
    let faces: Vec<_> = (0..200).map(|n| (n % 20 * 64, n / 20 * 72, 50, 60)).collect();
    let mut ids = None;
    for frame in 0..10 {
        let report = bench.pass(bench.frame_with_faces(Some(frame * FRAME), &faces)).unwrap();
        assert_eq!(report.faces.len(), 200);
        let now: HashSet<_> = report.faces.iter().map(|face| face.track_id).collect();
        assert_eq!(now.len(), 200);
        assert_eq!(*ids.get_or_insert(now.clone()), now);
    }
    assert_eq!(bench.warnings(), [""; 0]);
}

#[test]
fn of_too_many_faces_the_largest_stay() {
    let mut bench = Bench::new(&format!("{GIVEN_FACES} max-faces=3"));
    bench.caps(VideoFormat::I420, 1280, 720, 30);
    let faces: Vec<_> = (0..12).map(|n| (n * 100, 100, 40 + 4 * n, 40 + 4 * n)).collect();
    for frame in 0..10 {
        let report = bench.pass(bench.frame_with_faces(Some(frame * FRAME), &faces)).unwrap();
        assert_eq!(report.faces.iter().map(|face| face.track_id).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(report.faces.iter().all(|face| face.x > 0.6));
    }
}

#[test]
fn garbage_faces_from_upstream_do_no_harm() {
    let mut bench = Bench::new(&format!("{GIVEN_FACES} max-faces=1000"));
    let most = u32::MAX;
    let garbage = [
        (0, 0, 0, 0),
        (10, 10, 0, 50),
        (most, most, most, most),
        (0, 0, most, most),
        (319, 239, 1, 1),
        (300, 200, 100, 100),
        (320, 240, 50, 50),
        (100, 60, 100, 100),
        (100, 60, 100, 100),
    ];
    for frame in 0..20 {
        let report = bench.pass(bench.frame_with_faces(Some(frame * FRAME), &garbage)).expect("a report");
        for face in &report.faces {
            assert!(face.x >= 0.0 && face.y >= 0.0 && face.width >= 0.0 && face.height >= 0.0, "{face:?}");
            assert!(face.x + face.width <= 1.0 + 1e-9 && face.y + face.height <= 1.0 + 1e-9, "{face:?}");
        }
        assert!(report.faces.iter().any(|face| (face.x - 100.0 / 320.0).abs() < 1e-6 && face.track_id > 0));
    }
    assert_eq!(bench.warnings(), [""; 0]);
}

#[test]
fn a_buffer_shorter_than_its_caps_passes_with_one_warning() {
    let mut bench = Bench::new(GIVEN_FACES);
    for frame in 0..6 {
        let mut short = gst::Buffer::with_size(100).unwrap();
        short.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(frame * FRAME));
        assert_eq!(bench.pass(short), None);
    }
    let complaints = bench.warnings();
    assert!(complaints.len() == 1 && complaints[0].starts_with("warning"), "{complaints:?}");
    // And recovers.
    assert_eq!(bench.pass_face([8 * FRAME]).faces.len(), 1);

    let mut bench = Bench::new(&format!("{GIVEN_FACES} on-error=fail"));
    let short = gst::Buffer::with_size(100).unwrap();
    assert_eq!(bench.harness.push(short), Err(gst::FlowError::Error));
    assert!(bench.warnings()[0].starts_with("error"));
}

#[test]
fn a_flush_begins_anew() {
    let mut bench = Bench::new(GIVEN_FACES);
    bench.pass_face((0..20).map(|frame| frame * FRAME));
    assert!(bench.harness.push_event(gst::event::FlushStart::new()));
    assert!(bench.harness.push_event(gst::event::FlushStop::new(true)));
    assert!(bench.harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    let report = bench.pass_face([21 * FRAME]);
    assert_eq!((report.faces[0].track_id, report.faces[0].window_fill), (2, 1));
}

#[test]
fn shared_pixels_are_not_copied() {
    let mut bench = Bench::new(GIVEN_FACES);
    let buffer = bench.frame(Some(0));
    let other_owner = buffer.copy();
    let before = buffer.peek_memory(0).as_ptr();
    bench.harness.push(buffer).unwrap();
    let out = bench.harness.pull().unwrap();
    assert_eq!(out.peek_memory(0).as_ptr(), before);
    assert!(meta::read(&out).is_some());
    assert!(meta::read(&other_owner).is_none());
}

/// One thing that a source may do.
#[derive(Clone, Debug)]
enum Step {
    Frame { pts: Option<u64>, faces: Vec<(u32, u32, u32, u32)>, gap: bool },
    Caps { format: usize, width: u32, height: u32, fps: i32 },
    Flush,
    Segment,
    Settings { detect_interval: u32, max_faces: u32, threshold: f64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let formats = gstdeepfake::elements::frame::FORMATS.len();
    let time = prop_oneof![4 => 0..5_000_000_000u64, 1 => any::<u64>().prop_map(|pts| pts.saturating_sub(1))];
    let face = (0..400u32, 0..300u32, 0..200u32, 0..200u32);
    let faces = proptest::collection::vec(face, 0..6);
    prop_oneof![
        12 => (proptest::option::of(time), faces, proptest::bool::weighted(0.1))
            .prop_map(|(pts, faces, gap)| Step::Frame { pts, faces, gap }),
        2 => (0..formats, 16..200u32, 16..200u32, 0..61i32)
            .prop_map(|(format, width, height, fps)| Step::Caps { format, width, height, fps }),
        1 => Just(Step::Flush),
        1 => Just(Step::Segment),
        1 => (1..5u32, 1..5u32, -1.0..1.0f64).prop_map(|(detect_interval, max_faces, threshold)| Step::Settings {
            detect_interval, max_faces, threshold
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_comes_out_as_it_went_in(steps in proptest::collection::vec(any_step(), 1..40), asynchronous: bool) {
        let mut bench = Bench::new(&format!("{GIVEN_FACES} mode={}", if asynchronous { "async" } else { "sync" }));
        let segment = || gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new());
        for step in steps {
            match step {
                Step::Frame { pts, faces, gap } => {
                    let mut buffer = bench.frame_with_faces(pts, &faces);
                    if gap {
                        buffer.get_mut().unwrap().set_flags(gst::BufferFlags::GAP);
                    }
                    if let Some(report) = bench.pass(buffer) {
                        let ids: HashSet<_> = report.faces.iter().map(|face| face.track_id).collect();
                        prop_assert_eq!(ids.len(), report.faces.len());
                        for face in &report.faces {
                            prop_assert!((0.0..=1.0).contains(&face.x) && (0.0..=1.0).contains(&face.y), "{:?}", face);
                            prop_assert!(face.score.is_none_or(|score| (0.0..=1.0).contains(&score)), "{:?}", face);
                            prop_assert!(face.window_fill <= face.window_size);
                        }
                    }
                }
                Step::Caps { format, width, height, fps } => {
                    bench.caps(gstdeepfake::elements::frame::FORMATS[format], width, height, fps);
                }
                Step::Flush => {
                    bench.harness.push_event(gst::event::FlushStart::new());
                    bench.harness.push_event(gst::event::FlushStop::new(true));
                    bench.harness.push_event(segment());
                }
                Step::Segment => prop_assert!(bench.harness.push_event(segment())),
                Step::Settings { detect_interval, max_faces, threshold } => {
                    let detect = bench.harness.element().unwrap();
                    detect.set_property("detect-interval", detect_interval);
                    detect.set_property("max-faces", max_faces);
                    detect.set_property("fake-threshold", threshold);
                }
            }
        }
        // A window of a quarter of a second cannot be filled by what comes once a second.
        let complaints: Vec<_> =
            bench.warnings().into_iter().filter(|text| !text.contains("Faces are not judged")).collect();
        prop_assert_eq!(complaints, [""; 0]);
    }
}

/// A pipeline of a test source and the elements between.
fn pipeline(description: &str) -> gst::Pipeline {
    init();
    gst::parse::launch(description).unwrap().downcast().unwrap()
}

#[track_caller]
fn wait_for_eos(pipeline: &gst::Pipeline) {
    let bus = pipeline.bus().unwrap();
    let message = bus.timed_pop_filtered(TIMEOUT, &[gst::MessageType::Eos, gst::MessageType::Error]);
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => {}
        other => panic!("no end of stream, but {other:?}"),
    }
}

#[test]
fn the_end_may_come_at_once() {
    let model = model("tiny");
    for mode in ["sync", "async"] {
        for caps in ["", "! video/x-raw,format=I420,width=64,height=64,framerate=30/1"] {
            let pipeline = pipeline(&format!(
                "appsrc name=in format=time ! deepfakedetect model={} face-source=upstream mode={mode} {caps} ! fakesink",
                model.path()
            ));
            pipeline.set_state(gst::State::Playing).unwrap();
            pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap().end_of_stream().unwrap();
            wait_for_eos(&pipeline);
            pipeline.set_state(gst::State::Null).unwrap();
        }
    }
}

#[test]
fn state_changes_in_a_loop_leave_it_working() {
    use gst::State::{Null, Paused, Playing, Ready};
    let model = model("tiny");
    let source = match detector() {
        Some(path) => format!("face-detector={}", path.display()),
        None => "face-source=upstream".into(),
    };
    for mode in ["sync", "async"] {
        let pipeline = pipeline(&format!(
            "videotestsrc is-live={} ! video/x-raw,width=64,height=64,framerate=1000/1 \
             ! deepfakedetect name=detect model={} {source} mode={mode} ! fakesink sync=false",
            mode == "async",
            model.path()
        ));
        for round in 0..12 {
            // Waits for each state in every other round only: the others go on while the change is under way.
            for state in [Paused, Playing, Paused, Ready, Playing, Null, Paused, Ready, Null] {
                pipeline.set_state(state).unwrap();
                if round % 2 == 0 {
                    pipeline.state(TIMEOUT).0.unwrap();
                }
            }
            let device: Option<String> = pipeline.by_name("detect").unwrap().property("active-device");
            assert_eq!(device, None);
        }
        let detect = pipeline.by_name("detect").unwrap();
        let (sender, frames) = std::sync::mpsc::channel();
        detect.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let _ = sender.send(meta::read(info.buffer().unwrap()).is_some());
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(Playing).unwrap();
        let timeout = std::time::Duration::from_secs(60);
        while !frames.recv_timeout(timeout).expect("frames flow") {}
        pipeline.set_state(Null).unwrap();
    }
}

#[test]
fn two_elements_with_different_models_live_in_one_process() {
    let (one, other) = (model("one"), model("other"));
    let pipeline = pipeline(&format!(
        "videotestsrc num-buffers=40 ! video/x-raw,width=64,height=64,framerate=30/1 ! tee name=t \
         t. ! queue ! deepfakedetect model={} {GIVEN_FACES} ! appsink name=a sync=false \
         t. ! queue ! deepfakedetect model={} {GIVEN_FACES} ! appsink name=b sync=false \
         t. ! queue ! deepfakedetect model={} {GIVEN_FACES} ! deepfakedetect model={} {GIVEN_FACES} ! appsink name=c sync=false",
        one.path(),
        other.path(),
        one.path(),
        other.path(),
    ));
    pipeline.set_state(gst::State::Playing).unwrap();
    // Elements in a row keep a report each.
    for (name, expected) in [("a", &["one@1.0"][..]), ("b", &["other@1.0"]), ("c", &["one@1.0", "other@1.0"])] {
        let sink = pipeline.by_name(name).unwrap().downcast::<gst_app::AppSink>().unwrap();
        let mut frames = 0;
        while let Ok(sample) = sink.pull_sample() {
            frames += 1;
            let reports = meta::read_all(sample.buffer().unwrap());
            assert_eq!(reports.iter().map(|report| report.model.as_str()).collect::<Vec<_>>(), expected);
        }
        assert_eq!(frames, 40);
    }
    pipeline.set_state(gst::State::Null).unwrap();
}
