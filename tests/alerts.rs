//! Alerts of `deepfakedetect`: in pairs, in order, after their time and for their time, whatever happens to the stream.

mod common;

use std::sync::{Arc, Mutex};

use common::{Package, init};
use deepfake_report::alert::{Action, Alert};
use deepfake_report::{message, meta};
use gst::prelude::*;
use gst_video::{VideoFormat, VideoRegionOfInterestMeta};

const WIDTH: u32 = 160;
const HEIGHT: u32 = 120;
const FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);
const FACE: (u32, u32, u32, u32) = (40, 20, 80, 80);

/// A colour that the tiny model calls fake (more red than green), and one it calls authentic. Equally bright, so that the
/// change from one to the other is no scene cut.
const RED: [u8; 3] = [200, 60, 60];
const GREEN: [u8; 3] = [20, 110, 140];

/// `deepfakedetect` with the tiny model, and faces from upstream.
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
        let package = Package::sequence();
        package.read().unwrap();
        let element = gst::parse::launch(&format!(
            "deepfakedetect name=detect model={} face-source=upstream device=cpu threads=1 min-sharpness=0 \
             fake-threshold=0.6 authentic-threshold=0.42 hysteresis=0.02 {properties}",
            package.path()
        ));
        let element = element.unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        let caps =
            gst_video::VideoCapsBuilder::new().format(VideoFormat::Rgb).width(WIDTH as i32).height(HEIGHT as i32);
        harness.set_src_caps(caps.framerate(gst::Fraction::new(25, 1)).build());
        Self { harness, element, bus, _package: package }
    }

    /// Pushes frame `index` of the stream, all of one colour.
    #[track_caller]
    fn push(&mut self, index: u64, color: [u8; 3], has_face: bool) -> gst::Buffer {
        let pixels: Vec<u8> = color.into_iter().cycle().take((WIDTH * HEIGHT * 3) as usize).collect();
        let mut buffer = gst::Buffer::from_slice(pixels);
        let head = buffer.get_mut().unwrap();
        head.set_pts(FRAME * index);
        head.set_duration(FRAME);
        if has_face {
            VideoRegionOfInterestMeta::add(head, "face", FACE);
        }
        self.harness.push_and_pull(buffer).unwrap()
    }

    fn push_all(&mut self, indices: std::ops::Range<u64>, color: [u8; 3]) {
        indices.for_each(|index| drop(self.push(index, color, true)));
    }

    /// The alerts posted since the last call.
    fn alerts(&self) -> Vec<Alert> {
        let messages = std::iter::from_fn(|| self.bus.pop());
        messages.filter_map(|message| message::read_alert(&message)).map(Result::unwrap).collect()
    }

    fn actions(&self) -> Vec<(u64, Action)> {
        self.alerts().into_iter().map(|alert| (alert.id, alert.action)).collect()
    }

    fn flush(&mut self) {
        assert!(self.harness.push_event(gst::event::FlushStart::new()));
        assert!(self.harness.push_event(gst::event::FlushStop::new(true)));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(self.harness.push_event(gst::event::Segment::new(&segment)));
    }
}

#[test]
fn an_alert_is_raised_after_two_seconds_and_cleared_after_five() {
    let mut rig = Rig::new("mode=sync");
    rig.push_all(0..50, RED);
    assert_eq!(rig.actions(), [], "not before two seconds of scores");
    rig.push_all(50..60, RED);
    let raised = rig.alerts();
    let [raised] = &raised[..] else { panic!("{raised:?}") };
    assert_eq!((raised.id, raised.action), (1, Action::Raised));
    let seconds = |time: u64| time as f64 / 1e9;
    assert!(seconds(raised.since) < 0.3, "{}", raised.since);
    assert!(seconds(raised.report.time()) >= seconds(raised.since) + 2.0);
    let face = &raised.report.faces[0];
    assert_eq!((face.track_id, face.score), (raised.track_id, Some(raised.peak)));
    rig.push_all(60..180, GREEN);
    assert_eq!(rig.actions(), [], "held for five seconds");
    rig.push_all(180..240, GREEN);
    assert_eq!(rig.actions(), [(1, Action::Cleared)]);
}

#[test]
fn a_short_excursion_is_a_spike_in_the_report_and_no_alert() {
    let mut rig = Rig::new("mode=sync");
    for second in 0..8 {
        rig.push_all(second * 50..second * 50 + 30, GREEN);
        rig.push_all(second * 50 + 30..second * 50 + 50, RED);
    }
    assert_eq!(rig.actions(), []);
}

#[test]
fn the_end_a_flush_and_stopping_clear_what_was_raised_once() {
    let mut rig = Rig::new("mode=sync");
    for (id, end) in [1, 2, 3].into_iter().zip([
        (|rig: &mut Rig| assert!(rig.harness.push_event(gst::event::Eos::new()))) as fn(&mut Rig),
        Rig::flush,
        |rig| assert!(rig.element.set_state(gst::State::Null).is_ok()),
    ]) {
        rig.push_all(0..60, RED);
        assert_eq!(rig.actions(), [(id, Action::Raised)]);
        end(&mut rig);
        assert_eq!(rig.actions(), [(id, Action::Cleared)]);
        if id == 1 {
            rig.flush();
        }
    }
}

#[test]
fn a_face_that_left_is_cleared_after_the_hold() {
    let mut rig = Rig::new("mode=sync");
    rig.push_all(0..60, RED);
    assert_eq!(rig.actions(), [(1, Action::Raised)]);
    (60..180).for_each(|index| drop(rig.push(index, RED, false)));
    assert_eq!(rig.actions(), []);
    (180..200).for_each(|index| drop(rig.push(index, RED, false)));
    assert_eq!(rig.actions(), [(1, Action::Cleared)]);
}

#[test]
fn times_are_properties() {
    let mut rig = Rig::new("mode=sync alert-after=200 alert-hold=400");
    rig.push_all(0..15, RED);
    assert_eq!(rig.actions(), [(1, Action::Raised)]);
    rig.push_all(15..60, GREEN);
    assert_eq!(rig.actions(), [(1, Action::Cleared)]);
}

/// The order in which an application hears of alerts from several threads, which flush while others analyse.
#[test]
fn alerts_come_in_pairs_in_order_while_the_stream_is_flushed() {
    let mut rig = Rig::new("mode=async alert-after=0 alert-hold=0");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sender = heard.clone();
    rig.bus.set_sync_handler(move |_, message| {
        if let Some(alert) = message::read_alert(message) {
            let alert = alert.unwrap();
            sender.lock().unwrap().push((alert.track_id, alert.id, alert.action));
            // A slow application widens every gap between deciding and posting.
            std::thread::yield_now();
        }
        gst::BusSyncReply::Drop
    });
    for round in 0..40u64 {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        for index in 0.. {
            let report = meta::read(&rig.push(index, RED, true));
            // Some rounds end while an analysis is on its way, others after it.
            if index >= 4 + round % 7 && report.is_some_and(|it| it.faces.iter().any(|face| face.score.is_some())) {
                break;
            }
            assert!(std::time::Instant::now() < until, "nothing is analysed");
            std::thread::yield_now();
        }
        rig.flush();
    }
    rig.element.set_state(gst::State::Null).unwrap();
    let heard = heard.lock().unwrap();
    let mut open = std::collections::BTreeMap::new();
    for (track, id, action) in heard.iter() {
        match action {
            Action::Raised => assert_eq!(open.insert(*track, *id), None, "{heard:?}"),
            Action::Updated => assert_eq!(open.get(track), Some(id), "{heard:?}"),
            _ => assert_eq!(open.remove(track), Some(*id), "{heard:?}"),
        }
    }
    assert!(open.is_empty() && !heard.is_empty(), "{heard:?}");
}

#[test]
fn reports_say_when_where_and_by_whom() {
    let mut rig = Rig::new("mode=sync stream=studio");
    let segment = {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_base(gst::ClockTime::from_seconds(100));
        segment
    };
    assert!(rig.harness.push_event(gst::event::Segment::new(&segment)));
    let before = gst::glib::DateTime::now_utc().unwrap().format("%Y-%m-%dT%H:%M:%S").unwrap();
    let report = meta::read(&rig.push(5, RED, true)).unwrap();
    let after = gst::glib::DateTime::now_utc().unwrap().format("%Y-%m-%dT%H:%M:%S").unwrap();
    assert_eq!(report.pts, 200_000_000);
    assert_eq!(report.running_time, Some(100_200_000_000));
    assert_eq!((report.stream.as_deref(), report.element.as_deref()), (Some("studio"), Some("detect")));
    let utc = report.utc.unwrap();
    assert!(before.as_str()[..19] <= utc[..19] && utc[..19] <= after.as_str()[..19], "{before} {utc} {after}");
    assert!(utc.len() == 27 && utc.ends_with('Z'), "{utc}");
    let run = report.run.expect("each start has an id");
    rig.element.set_state(gst::State::Null).unwrap();
    let mut again = Rig::new("mode=sync");
    let report = meta::read(&again.push(0, RED, true)).unwrap();
    assert_ne!(report.run.unwrap(), run);
    assert_eq!(report.stream, None);
}

#[test]
fn a_report_that_is_too_old_is_not_attached() {
    let mut rig = Rig::new("mode=sync expire=300");
    assert!(meta::read(&rig.push(0, RED, true)).is_some());
    let gap = |rig: &mut Rig, index: u64| {
        let mut buffer = gst::Buffer::with_size((WIDTH * HEIGHT * 3) as usize).unwrap();
        let head = buffer.get_mut().unwrap();
        head.set_pts(FRAME * index);
        head.set_flags(gst::BufferFlags::GAP);
        meta::read(&rig.harness.push_and_pull(buffer).unwrap()).is_some()
    };
    assert!(gap(&mut rig, 7));
    assert!(!gap(&mut rig, 8), "320 ms old");
    rig.element.set_property("expire", 0u32);
    assert!(gap(&mut rig, 40), "0 = never");
}

#[test]
fn several_detectors_in_a_row_keep_their_own_reports() {
    init();
    let models = [common::model("one"), common::model("two")];
    let detector = |name: &str, model: &Package| {
        format!("deepfakedetect name={name} model={} face-source=upstream device=cpu mode=sync", model.path())
    };
    let mut harness = gst_check::Harness::new_parse(&format!(
        "{} ! {}",
        detector("first", &models[0]),
        detector("second", &models[1])
    ));
    harness.set_src_caps_str("video/x-raw,format=GRAY8,width=160,height=120,framerate=25/1");
    let mut buffer = gst::Buffer::from_slice(vec![128u8; (WIDTH * HEIGHT) as usize]);
    let head = buffer.get_mut().unwrap();
    head.set_pts(gst::ClockTime::ZERO);
    VideoRegionOfInterestMeta::add(head, "face", FACE);
    let buffer = harness.push_and_pull(buffer).unwrap();
    let reports = meta::read_all(&buffer);
    let said: Vec<_> = reports.iter().map(|it| (it.element.as_deref().unwrap(), it.model.as_str())).collect();
    assert_eq!(said, [("first", "one@1.0"), ("second", "two@1.0")]);
    assert_eq!(meta::read_from(&buffer, "second").unwrap().model, "two@1.0");
}
