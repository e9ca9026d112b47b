//! The times of a stream as sources really stamp them: jitter, stray frames, gaps, segments, rates.

mod common;

use common::{Package, init};
use deepfake_report::{FrameReport, Reason, State, meta};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoRegionOfInterestMeta;

const MS: u64 = 1_000_000;
const FRAME: u64 = 40 * MS;
const HOUR: u64 = 3_600_000 * MS;

/// The element with the tiny model, which looks at every frame of 15 a second and has a window of 4, and faces from upstream.
struct Rig {
    harness: Harness,
    _package: Package,
}

impl Rig {
    fn new() -> Self {
        init();
        let package = Package::sequence();
        package.read().unwrap();
        Self::with(package)
    }

    fn with(package: Package) -> Self {
        let element = gst::parse::launch(&format!(
            "deepfakedetect model={} face-source=upstream device=cpu threads=1 min-sharpness=0 mode=sync",
            package.path()
        ));
        let mut harness = Harness::with_element(&element.unwrap(), Some("sink"), Some("src"));
        harness.set_src_caps_str("video/x-raw,format=RGB,width=160,height=120,framerate=25/1");
        Self { harness, _package: package }
    }

    fn segment(&mut self, change: impl FnOnce(&mut gst::FormattedSegment<gst::ClockTime>)) {
        let mut segment = gst::FormattedSegment::new();
        change(&mut segment);
        assert!(self.harness.push_event(gst::event::Segment::new(&segment)));
    }

    /// A frame with a face in it.
    fn push(&mut self, pts: u64) -> Option<FrameReport> {
        let mut buffer = gst::Buffer::from_slice(vec![90u8; 160 * 120 * 3]);
        let head = buffer.get_mut().unwrap();
        head.set_pts(gst::ClockTime::from_nseconds(pts));
        VideoRegionOfInterestMeta::add(head, meta::ROI_TYPE, (40, 20, 80, 80));
        let buffer = self.harness.push_and_pull(buffer).expect("each frame goes on");
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_nseconds(pts)));
        meta::read(&buffer)
    }

    /// As many seconds of 25 frames, from `start` on, of which every 25th is stamped as `stamp` says. Returns all new reports.
    fn seconds(&mut self, start: u64, seconds: u64, stamp: impl Fn(u64) -> u64) -> Vec<FrameReport> {
        let mut reports: Vec<FrameReport> = vec![];
        for frame in 0..25 * seconds {
            let pts = start + frame * FRAME;
            let report = self.push(if frame % 25 == 24 { stamp(pts) } else { pts });
            reports.extend(report.filter(|report| reports.last().is_none_or(|last| last.pts != report.pts)));
        }
        reports
    }

    fn stat(&self, name: &str) -> u64 {
        self.harness.element().unwrap().property::<gst::Structure>("stats").get(name).unwrap()
    }
}

fn scored(reports: &[FrameReport]) -> usize {
    reports.iter().filter(|report| report.faces.iter().any(|face| face.score.is_some())).count()
}

#[track_caller]
fn assert_one_track(reports: &[FrameReport]) {
    let faces = reports.iter().flat_map(|report| &report.faces);
    assert!(faces.map(|face| face.track_id).all(|id| id == 1), "another track");
}

#[test]
fn one_wrong_stamp_a_second_costs_no_more_than_that_frame() {
    const START: u64 = 5 * HOUR;
    let in_order = scored(&Rig::new().seconds(START, 8, |pts| pts));
    assert!(in_order > 100, "{in_order}");
    for (name, offset) in [
        ("a nanosecond", -40_000_001i64),
        ("80 ms", -80_000_000),
        ("hours early", -9_800_000_000_000),
        ("late", 37_600_000_000_000),
    ] {
        let mut rig = Rig::new();
        let reports = rig.seconds(START, 8, |pts| pts.checked_add_signed(offset).unwrap());
        assert_one_track(&reports);
        assert!(scored(&reports) + 8 >= in_order, "{name}: {} of {in_order}", scored(&reports));
        let is_stray = offset.unsigned_abs() > HOUR;
        assert_eq!(rig.stat("strays"), if is_stray { 8 } else { 0 }, "{name}");
        assert_eq!(rig.stat("jumps"), 0, "{name}");
    }
}

#[test]
fn frames_in_the_wrong_order_are_no_jumps() {
    let mut rig = Rig::new();
    // As a decoder gives them that does not put them back in order.
    let order = (0..50).flat_map(|pair| [2 * pair + 1, 2 * pair]);
    let reports: Vec<_> = order.filter_map(|frame| rig.push(HOUR + frame * FRAME)).collect();
    assert_one_track(&reports);
    assert_eq!(reports.last().unwrap().faces[0].window_fill, 4);
    let newest = |face: &deepfake_report::FaceReport| face.window_end.unwrap();
    assert!(reports.windows(2).all(|pair| newest(&pair[0].faces[0]) <= newest(&pair[1].faces[0])));
}

#[test]
fn a_stream_that_stays_elsewhere_begins_anew_and_is_counted() {
    let mut rig = Rig::new();
    rig.seconds(HOUR, 2, |pts| pts);
    let after: Vec<_> = (0..5).map(|frame| rig.push(frame * FRAME)).collect();
    assert!(after[0].is_none() && after[1].is_none());
    let face = &after[2].as_ref().unwrap().faces[0];
    assert_eq!((face.track_id, face.window_fill), (2, 1));
    assert_eq!((rig.stat("jumps"), rig.stat("strays")), (1, 2));
}

#[test]
fn the_same_segment_again_changes_nothing_and_another_begins_anew() {
    let mut rig = Rig::new();
    rig.seconds(0, 2, |pts| pts);
    rig.segment(|segment| segment.set_position(gst::ClockTime::from_seconds(2)));
    let face = rig.push(2000 * MS).unwrap().faces.remove(0);
    assert_eq!((face.track_id, face.window_fill), (1, 4));
    rig.segment(|segment| {
        segment.set_start(gst::ClockTime::from_seconds(100));
        segment.set_time(gst::ClockTime::from_seconds(100));
        segment.set_base(gst::ClockTime::from_seconds(2));
    });
    let report = rig.push(100_000 * MS).unwrap();
    assert_eq!((report.faces[0].track_id, report.faces[0].window_fill), (2, 1));
    assert_eq!(
        (report.pts, report.faces[0].window_end),
        (100_000 * MS, Some(100_000 * MS)),
        "in the stream's own time"
    );
    assert_eq!(rig.stat("jumps"), 0);
}

#[test]
fn played_backwards_or_fast_time_goes_on() {
    for rate in [-1.0, -2.0, 2.0, 0.5] {
        let mut rig = Rig::new();
        rig.segment(|segment| {
            segment.set_rate(rate);
            segment.set_start(gst::ClockTime::ZERO);
            segment.set_stop(gst::ClockTime::from_seconds(20));
        });
        let place = |frame: u64| if rate < 0.0 { 20_000 * MS - frame * FRAME } else { frame * FRAME };
        let reports: Vec<_> = (0..100).filter_map(|frame| rig.push(place(frame))).collect();
        assert_one_track(&reports);
        assert_eq!(reports.last().unwrap().faces[0].window_fill, 4, "rate {rate}");
        assert_eq!((rig.stat("jumps"), rig.stat("strays")), (0, 0), "rate {rate}");
    }
}

#[test]
fn a_gap_is_time_that_passes() {
    for as_event in [true, false] {
        let mut rig = Rig::new();
        rig.seconds(0, 2, |pts| pts);
        if as_event {
            let event = gst::event::Gap::builder(gst::ClockTime::from_seconds(2));
            assert!(rig.harness.push_event(event.duration(gst::ClockTime::from_seconds(5)).build()));
        } else {
            let mut gap = gst::Buffer::from_slice(vec![0u8; 160 * 120 * 3]);
            let head = gap.get_mut().unwrap();
            head.set_pts(gst::ClockTime::from_seconds(2));
            head.set_duration(gst::ClockTime::from_seconds(5));
            head.set_flags(gst::BufferFlags::GAP);
            rig.harness.push_and_pull(gap).unwrap();
        }
        assert!(rig.push(7000 * MS).is_some());
        assert_eq!((rig.stat("jumps"), rig.stat("strays")), (0, 0));
    }
}

#[test]
fn a_slow_camera_gets_verdicts_and_a_slower_one_is_told_why_not() {
    // A window of 40 crops at 15 a second that gives an early score after 20.
    let slow = |interval_ms: u64| {
        init();
        let package =
            Package::sequence().change("frames = 4", "frames = 40").change("least_frames = 2", "least_frames = 20");
        package.read().unwrap();
        let mut rig = Rig::with(package);
        (0..20).filter_map(|frame| rig.push(frame * interval_ms * MS)).collect::<Vec<_>>()
    };
    let face = slow(1000).last().unwrap().faces[0].clone();
    assert!(face.score.is_some() && face.reason.is_none(), "{face:?}");
    let face = slow(1900).last().unwrap().faces[0].clone();
    assert_eq!((face.score, face.state, face.reason), (None, State::Warming, Some(Reason::TooFewFrames)));
}
