//! `deepfakedetect`: what it says, when it says it, and what it leaves alone.

mod common;

use common::{Package, init};
use deepfake_report::{FrameReport, meta};
use deepfake_report::{Reason, State};
use gst::prelude::*;
use gst_video::{VideoFormat, VideoRegionOfInterestMeta};

const WIDTH: u32 = 160;
const HEIGHT: u32 = 120;
const FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);
const FACE: (u32, u32, u32, u32) = (40, 20, 80, 80);

/// A colour the tiny model calls fake (more red than green), and one it calls authentic. Equally bright, so that the change
/// from one to the other is no scene cut.
const RED: [u8; 3] = [200, 60, 60];
const GREEN: [u8; 3] = [20, 110, 140];

/// `deepfakedetect` with the tiny model, which gives logit = mean red − mean green in 0..1, and faces from upstream.
struct Rig {
    harness: gst_check::Harness,
    element: gst::Element,
    bus: gst::Bus,
    /// Kept for its folder.
    _package: Package,
}

impl Rig {
    fn new(properties: &str) -> Self {
        init();
        let package =
            Package::sequence().change("feature_length = 3", "feature_length = 3\nframe_output = \"frame_scores\"");
        package.read().unwrap();
        let description = format!(
            "deepfakedetect model={} face-source=upstream device=cpu threads=1 min-sharpness=0 fake-threshold=0.6 \
             authentic-threshold=0.42 hysteresis=0.02 {properties}",
            package.dir.path().display()
        );
        let element = gst::parse::launch(&description).unwrap();
        // Messages end up on the element's own bus: no pipeline is around it.
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps(caps(VideoFormat::Rgb, WIDTH, HEIGHT));
        Self { harness, element, bus, _package: package }
    }

    /// Pushes frame `index` of the stream, all of one colour, with a face in it, and returns what comes out.
    #[track_caller]
    fn push(&mut self, index: u64, color: [u8; 3]) -> gst::Buffer {
        self.harness.push_and_pull(frame(index, color, &[FACE])).unwrap()
    }

    /// The messages posted so far that have this name.
    fn messages(&self, name: &str) -> Vec<gst::Structure> {
        let mut found = Vec::new();
        while let Some(message) = self.bus.pop() {
            found.extend(message.structure().filter(|fields| fields.name() == name).map(|fields| fields.to_owned()));
        }
        found
    }
}

fn caps(format: VideoFormat, width: u32, height: u32) -> gst::Caps {
    gst_video::VideoCapsBuilder::new()
        .format(format)
        .width(width as i32)
        .height(height as i32)
        .framerate(gst::Fraction::new(25, 1))
        .build()
}

fn frame(index: u64, color: [u8; 3], faces: &[(u32, u32, u32, u32)]) -> gst::Buffer {
    let pixels: Vec<u8> = color.into_iter().cycle().take((WIDTH * HEIGHT * 3) as usize).collect();
    let mut buffer = gst::Buffer::from_slice(pixels);
    let head = buffer.get_mut().unwrap();
    head.set_pts(FRAME * index);
    head.set_duration(FRAME);
    for face in faces {
        VideoRegionOfInterestMeta::add(head, "face", *face);
    }
    buffer
}

#[track_caller]
fn report(buffer: &gst::Buffer) -> FrameReport {
    meta::read(buffer).expect("the buffer carries a report")
}

fn logistic(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[test]
fn scores_come_from_the_model_and_verdicts_from_the_thresholds() {
    for (color, state) in [(RED, State::Fake), (GREEN, State::Authentic), ([90, 90, 90], State::Uncertain)] {
        let mut rig = Rig::new("mode=sync");
        let first = report(&rig.push(0, color));
        assert_eq!(first.faces[0].state, State::Warming);
        assert_eq!(first.faces[0].score, None);
        let last = (1..10).map(|index| report(&rig.push(index, color))).last().unwrap();
        let face = &last.faces[0];
        let expected = logistic((f64::from(color[0]) - f64::from(color[1])) / 255.0);
        assert!((face.score.unwrap() - expected).abs() < 1e-3, "{:?} is not {expected}", face.score);
        assert!((face.frame_score.unwrap() - expected).abs() < 1e-3);
        assert_eq!(face.state, state);
        assert_eq!((last.model.as_str(), last.device.as_str()), ("tiny@1.0", "cpu"));
        assert_eq!((face.window_fill, face.window_size), (4, 4));
        assert_eq!((face.x, face.y), (40.0 / 160.0, 20.0 / 120.0));
    }
}

#[test]
fn crops_are_taken_on_the_models_grid() {
    // 15 Hz out of 25 fps: the first frame in each slot of 66.7 ms.
    let mut rig = Rig::new("mode=sync");
    let analysed: Vec<u64> = (0..25).map(|index| report(&rig.push(index, RED)).pts / 1_000_000).collect();
    let mut distinct = analysed.clone();
    distinct.dedup();
    assert_eq!(distinct, [0, 80, 160, 200, 280, 360, 400, 480, 560, 600, 680, 760, 800, 880, 960]);
}

#[test]
fn pixels_times_and_flags_stay() {
    for mode in ["sync", "async"] {
        let mut rig = Rig::new(&format!("mode={mode}"));
        for index in 0..10 {
            let given = frame(index, [index as u8, 100, 7], &[FACE]);
            let pixels = given.map_readable().unwrap().to_vec();
            let taken = rig.harness.push_and_pull(given).unwrap();
            assert_eq!(taken.map_readable().unwrap().as_slice(), pixels);
            assert_eq!(taken.pts(), Some(FRAME * index));
            assert_eq!(taken.duration(), Some(FRAME));
        }
    }
}

#[test]
fn reports_are_posted_when_asked_for() {
    let mut rig = Rig::new("mode=sync");
    rig.push(0, RED);
    assert_eq!(rig.messages("deepfake-report").len(), 0);
    rig.element.set_property("post-messages", true);
    let buffer = rig.push(5, RED);
    let posted = rig.messages("deepfake-report");
    let [posted] = &posted[..] else { panic!("{posted:?}") };
    assert_eq!(deepfake_report::structure::read(posted).unwrap(), report(&buffer));
}

#[test]
fn thresholds_change_while_playing() {
    let mut rig = Rig::new("mode=sync");
    let state = |rig: &mut Rig, frames: std::ops::Range<u64>| {
        frames.map(|index| report(&rig.push(index, RED)).faces[0].state).last().unwrap()
    };
    assert_eq!(state(&mut rig, 0..10), State::Fake);
    rig.element.set_property("fake-threshold", 0.9);
    assert_eq!(state(&mut rig, 10..20), State::Uncertain);
    rig.element.set_property("min-face-size", 100u32);
    let face = &report(&rig.push(50, RED)).faces[0];
    assert_eq!((face.state, face.reason), (State::Uncertain, None), "one bad crop is no verdict");
    let face = (51..80).map(|index| report(&rig.push(index, RED)).faces.remove(0)).last().unwrap();
    assert_eq!((face.state, face.reason), (State::Rejected, Some(Reason::TooSmall)));
    assert_eq!((face.score, face.frame_score, face.certainty), (None, None, 0.0), "what is not judged has no score");
}

#[test]
fn a_face_that_is_not_seen_says_so_and_its_verdict_ages_out() {
    let mut rig = Rig::new("mode=sync");
    let seen = (0..10).map(|index| report(&rig.push(index, RED)).faces.remove(0)).last().unwrap();
    assert_eq!((seen.seen, seen.state), (true, State::Fake));
    let mut without = |index| report(&rig.harness.push_and_pull(frame(index, RED, &[])).unwrap()).faces.remove(0);
    let hidden = without(10);
    assert_eq!((hidden.seen, hidden.state, hidden.score), (false, State::Fake, seen.score));
    let gone = (11..26).map(&mut without).last().unwrap();
    assert_eq!((gone.seen, gone.state, gone.reason), (false, State::Rejected, Some(Reason::NotSeen)));
    assert_eq!((gone.score, gone.certainty), (None, 0.0));
    let back = report(&rig.push(27, RED)).faces.remove(0);
    // The same face, but what was seen of it is too old to judge it by.
    assert_eq!((back.seen, back.state, back.track_id), (true, State::Warming, seen.track_id));
}

#[test]
fn a_stream_in_which_nothing_was_judged_says_so_at_its_end() {
    let end = |rig: &mut Rig| {
        rig.harness.push_event(gst::event::Eos::new());
        let info = rig.bus.pop_filtered(&[gst::MessageType::Info])?;
        let gst::MessageView::Info(info) = info.view() else { unreachable!() };
        Some(info.error().message().to_owned())
    };
    let mut rig = Rig::new("mode=sync");
    for index in 0..5 {
        rig.harness.push_and_pull(frame(index, RED, &[])).unwrap();
    }
    let message = end(&mut rig).unwrap();
    assert!(message.starts_with("No face was seen in 3 analysed frames"), "{message}");

    let mut rig = Rig::new("mode=sync min-face-size=200");
    (0..10).for_each(|index| drop(rig.push(index, RED)));
    let message = end(&mut rig).unwrap();
    assert!(message.starts_with("No face could be judged"), "{message}");

    let mut rig = Rig::new("mode=sync");
    (0..10).for_each(|index| drop(rig.push(index, RED)));
    assert_eq!(end(&mut rig), None);
    // Neither where there was nothing to look at.
    assert_eq!(end(&mut Rig::new("mode=sync")), None);
}

#[test]
fn gaps_pass_and_never_enter_the_window() {
    let mut rig = Rig::new("mode=sync");
    rig.push(0, RED);
    let mut gap = frame(2, GREEN, &[FACE]);
    gap.get_mut().unwrap().set_flags(gst::BufferFlags::GAP);
    assert!(rig.harness.push_and_pull(gap).unwrap().flags().contains(gst::BufferFlags::GAP));
    let face = report(&rig.push(4, RED)).faces.remove(0);
    assert_eq!(face.window_fill, 2);
}

#[test]
fn flushes_jumps_and_new_caps_empty_the_window() {
    let fill = |rig: &mut Rig, index| report(&rig.push(index, RED)).faces[0].window_fill;
    let warm = |rig: &mut Rig, from| (from..from + 10).map(|index| fill(rig, index)).last().unwrap();

    let mut rig = Rig::new("mode=sync");
    assert_eq!(warm(&mut rig, 0), 4);
    // Two frames elsewhere may be stray ones.
    let jump = |rig: &mut Rig, from| {
        assert!((from..from + 2).all(|index| meta::read(&rig.push(index, RED)).is_none()));
        fill(rig, from + 2)
    };
    assert_eq!(jump(&mut rig, 200), 1, "a jump ahead");
    assert_eq!(warm(&mut rig, 203), 4);
    assert_eq!(jump(&mut rig, 3), 1, "a jump back");

    assert_eq!(warm(&mut rig, 10), 4);
    rig.harness.push_event(gst::event::FlushStart::new());
    rig.harness.push_event(gst::event::FlushStop::new(false));
    rig.harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    assert_eq!(fill(&mut rig, 20), 1, "a flush");

    assert_eq!(warm(&mut rig, 21), 4);
    rig.harness.set_src_caps(caps(VideoFormat::Rgb, HEIGHT, WIDTH));
    assert_eq!(fill(&mut rig, 31), 1, "new caps");
    rig.harness.push_event(gst::event::Caps::new(&caps(VideoFormat::Rgb, HEIGHT, WIDTH)));
    assert_eq!(fill(&mut rig, 33), 2, "the same caps again");
}

#[test]
fn ids_are_never_used_twice_in_a_stream() {
    let mut rig = Rig::new("mode=sync");
    let first = report(&rig.push(0, RED)).faces[0].track_id;
    let second = (500..503).filter_map(|index| meta::read(&rig.push(index, RED))).last().unwrap().faces[0].track_id;
    assert!(second > first, "{second} after {first}");
}

#[test]
fn sync_adds_its_latency_and_async_none() {
    for (mode, live, adds) in
        [("sync", true, true), ("async", true, false), ("auto", true, false), ("auto", false, true)]
    {
        let mut rig = Rig::new(&format!("mode={mode}"));
        rig.harness.set_upstream_latency(gst::ClockTime::from_mseconds(7));
        let upstream = move |_: &gst::Pad, info: &mut gst::PadProbeInfo| {
            if let Some(gst::PadProbeData::Query(query)) = &mut info.data
                && let gst::QueryViewMut::Latency(query) = query.view_mut()
            {
                query.set(live, gst::ClockTime::from_mseconds(7), None::<gst::ClockTime>);
                return gst::PadProbeReturn::Handled;
            }
            gst::PadProbeReturn::Ok
        };
        let peer = rig.element.static_pad("sink").unwrap().peer().unwrap();
        peer.add_probe(gst::PadProbeType::QUERY_UPSTREAM, upstream).unwrap();
        rig.push(0, RED);
        let mut query = gst::query::Latency::new();
        assert!(rig.element.static_pad("src").unwrap().query(&mut query));
        let (is_live, min, _) = query.result();
        assert_eq!(is_live, live);
        assert_eq!(min > gst::ClockTime::from_mseconds(7), adds, "mode={mode} live={live} adds {min}");
    }
}

#[test]
fn async_frames_carry_the_newest_finished_report() {
    let mut rig = Rig::new("mode=async post-messages=true");
    rig.push(0, RED);
    // The report is on the bus as soon as it is finished: from then on frames carry it.
    let message = rig.bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Element]).unwrap();
    assert_eq!(message.structure().unwrap().name(), "deepfake-report");
    let carried = report(&rig.push(1, RED));
    assert_eq!(carried.pts, 0);
    // EOS waits for what is still being analysed.
    (2..10).for_each(|index| drop(rig.push(index, RED)));
    rig.harness.push_event(gst::event::Eos::new());
    let stats = rig.element.property::<gst::Structure>("stats");
    let count = |name| stats.get::<u64>(name).unwrap();
    assert_eq!(count("frames"), 10);
    assert_eq!(count("analysed") + count("shed"), 6, "{stats}");
}

#[test]
fn the_same_frames_give_the_same_reports() {
    let run = || {
        let mut rig = Rig::new("mode=sync");
        let reports = (0..30).map(|index| report(&rig.push(index, [index as u8 * 8, 99, 3])));
        // All but when and by whom they were made.
        reports.map(|report| (report.pts, report.faces)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_face_larger_than_any_frame_is_no_error() {
    let mut rig = Rig::new("mode=sync on-error=fail");
    let buffer = frame(0, RED, &[(0, 0, 1_000_000, 1_000_000)]);
    assert!(report(&rig.harness.push_and_pull(buffer).unwrap()).faces.iter().all(|face| face.score.is_none()));
}

#[test]
fn what_onnx_runtime_logs_reaches_gstreamers_log() {
    init();
    let _rig = Rig::new("mode=sync");
    assert!(gst::DebugCategory::get("onnxruntime").is_some());
}

#[test]
fn a_missing_model_warns_and_frames_pass_or_stops_the_stream() {
    init();
    let element =
        gst::parse::launch("deepfakedetect model=there-is-no-such-model device=cpu face-source=upstream").unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps(caps(VideoFormat::Rgb, WIDTH, HEIGHT));
    let passed = harness.push_and_pull(frame(0, RED, &[])).unwrap();
    assert_eq!(meta::read(&passed), None);
    let warning = bus.pop_filtered(&[gst::MessageType::Warning]).expect("a warning is posted");
    let gst::MessageView::Warning(warning) = warning.view() else { unreachable!() };
    assert!(warning.error().message().contains("there-is-no-such-model"), "{}", warning.error());

    let strict = gst::parse::launch("deepfakedetect model=there-is-no-such-model device=cpu on-error=fail").unwrap();
    strict.set_bus(Some(&bus));
    assert!(strict.set_state(gst::State::Paused).is_err());
    let error = bus.pop_filtered(&[gst::MessageType::Error]).expect("an error is posted");
    let gst::MessageView::Error(error) = error.view() else { unreachable!() };
    assert!(error.error().message().contains("there-is-no-such-model"), "{}", error.error());
    strict.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_model_of_aligned_crops_is_refused_where_faces_come_without_landmarks() {
    init();
    let package = Package::sequence().change("margin = 1.3", "alignment = \"five-point\"");
    package.read().unwrap();
    let refused = |on_error: &str, kind: gst::MessageType| {
        let element = gst::parse::launch(&format!(
            "deepfakedetect model={} device=cpu face-source=upstream on-error={on_error}",
            package.dir.path().display()
        ))
        .unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let started = element.set_state(gst::State::Paused).is_ok();
        let message = bus.pop_filtered(&[kind]).expect("something is posted");
        element.set_state(gst::State::Null).unwrap();
        let text = match message.view() {
            gst::MessageView::Warning(warning) => warning.error().message().to_owned(),
            gst::MessageView::Error(error) => error.error().message().to_owned(),
            _ => unreachable!(),
        };
        assert!(text.contains("tiny@1.0") && text.contains("face-source=detect"), "{text}");
        started
    };
    assert!(refused("passthrough", gst::MessageType::Warning), "frames pass without analysis");
    assert!(!refused("fail", gst::MessageType::Error), "the element does not start");
}

#[test]
fn downstream_decides_what_memory_frames_may_lie_in() {
    for supported in [true, false] {
        let mut rig = Rig::new("mode=sync");
        if supported {
            rig.harness.add_propose_allocation_meta(gst_video::VideoMeta::meta_api(), None);
        }
        rig.push(0, RED);
        let mut query = gst::query::Allocation::new(Some(&caps(VideoFormat::Rgb, WIDTH, HEIGHT)), false);
        rig.element.static_pad("sink").unwrap().query(&mut query);
        assert_eq!(query.find_allocation_meta::<gst_video::VideoMeta>().is_some(), supported);
    }
}
