//! State changes, seeks, flushes and the end of a stream while a model is being loaded, swapped, or a frame is analysed.
//!
//! What is waited for is held until the test is over, so that whoever waits for it waits for ever.

mod common;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Package, init, model};
use deepfake_report::meta;
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoRegionOfInterestMeta;

/// On a machine that does a lot else, and far from for ever.
const SOON: Duration = Duration::from_secs(5);

/// Holds whoever passes it, until it is dropped.
struct Hold {
    go: Option<Sender<()>>,
    held: Receiver<()>,
}

/// What passes: says that it is held, and waits.
#[derive(Clone)]
struct Barrier(Arc<(Mutex<Sender<()>>, Mutex<Receiver<()>>)>);

fn hold() -> (Hold, Barrier) {
    let ((go, wait), (say, held)) = (channel(), channel());
    (Hold { go: Some(go), held }, Barrier(Arc::new((Mutex::new(say), Mutex::new(wait)))))
}

impl Hold {
    #[track_caller]
    fn wait_until_held(&self) {
        self.held.recv_timeout(Duration::from_secs(60)).expect("nobody is held");
    }

    fn release(&mut self) {
        self.go = None;
    }
}

impl Barrier {
    fn pass(&self) {
        let _ = self.0.0.lock().unwrap().send(());
        let _ = self.0.1.lock().unwrap().recv();
    }
}

struct Rig {
    harness: Harness,
    element: gst::Element,
    bus: gst::Bus,
    next: u64,
    /// Kept for its folder.
    _package: Package,
}

impl Rig {
    fn new(properties: &str, prepare: impl FnOnce(&gst::Element, &gst::Bus)) -> Self {
        init();
        let package = model("tiny");
        let element = gst::parse::launch(&format!(
            "deepfakedetect model={} face-source=upstream device=cpu threads=1 min-sharpness=0 {properties}",
            package.path()
        ))
        .unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        prepare(&element, &bus);
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps_str("video/x-raw,format=RGB,width=160,height=120,framerate=25/1");
        Self { harness, element, bus, next: 0, _package: package }
    }

    /// One whose model is being loaded, by a thread that is held just before it is through.
    fn loading(mode: &str) -> (Self, Hold) {
        let (hold, barrier) = hold();
        let rig = Self::new(&format!("mode={mode}"), |element, _| {
            element.connect_notify(Some("active-device"), move |element, _| {
                if element.property::<Option<String>>("active-device").is_some() {
                    barrier.pass();
                }
            });
        });
        hold.wait_until_held();
        (rig, hold)
    }

    /// One whose first report is held by whoever hears of it first, in the midst of the analysis.
    fn analysing(mode: &str) -> (Self, Hold) {
        let (hold, barrier) = hold();
        let rig = Self::new(&format!("mode={mode} post-messages=true"), |_, bus| {
            bus.set_sync_handler(move |_, message| {
                if message.structure().is_some_and(|fields| fields.name() == "deepfake-report") {
                    barrier.pass();
                    // One that waits on the bus would hold on to the element.
                    return gst::BusSyncReply::Drop;
                }
                gst::BusSyncReply::Pass
            });
        });
        (rig, hold)
    }

    fn frame(&mut self) -> gst::Buffer {
        let mut buffer = gst::Buffer::from_slice(vec![90u8; 160 * 120 * 3]);
        let head = buffer.get_mut().unwrap();
        head.set_pts(gst::ClockTime::from_mseconds(40) * self.next);
        VideoRegionOfInterestMeta::add(head, meta::ROI_TYPE, (40, 20, 80, 80));
        self.next += 1;
        buffer
    }

    #[track_caller]
    fn push(&mut self) {
        let frame = self.frame();
        self.harness.push(frame).unwrap();
    }

    fn flush(&mut self) {
        assert!(self.harness.push_event(gst::event::FlushStart::new()));
        assert!(self.harness.push_event(gst::event::FlushStop::new(true)));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(self.harness.push_event(gst::event::Segment::new(&segment)));
    }

    /// Has another thread push a frame, which waits for its analysis.
    fn push_from_another_thread(&mut self) -> std::thread::JoinHandle<Result<gst::FlowSuccess, gst::FlowError>> {
        let frame = self.frame();
        let pad = self.element.static_pad("sink").unwrap();
        let pushing = std::thread::spawn(move || pad.chain(frame));
        let depth = || self.element.property::<gst::Structure>("stats").get::<u32>("queue-depth").unwrap();
        while depth() == 0 {
            std::thread::yield_now();
        }
        pushing
    }
}

#[track_caller]
fn soon<T>(what: &str, does: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = does();
    println!("{what}: {:?}", began.elapsed());
    assert!(began.elapsed() < SOON, "{what} took {:?}", began.elapsed());
    done
}

#[test]
fn nothing_waits_for_a_model_that_is_being_loaded() {
    let (mut rig, _hold) = Rig::loading("async");
    soon("frames", || (0..20).for_each(|_| rig.push()));
    soon("flush", || rig.flush());
    soon("frames", || (0..20).for_each(|_| rig.push()));
    soon("the end", || assert!(rig.harness.push_event(gst::event::Eos::new())));
    soon("stop", || rig.element.set_state(gst::State::Null).unwrap());
    assert_eq!(rig.element.property::<Option<String>>("active-device"), None);
}

#[test]
fn a_start_does_not_wait_for_the_model_even_if_frames_do() {
    let (mut rig, mut hold) = Rig::loading("sync");
    // The frame waits for the model, until it is flushed away.
    let waiting = rig.push_from_another_thread();
    soon("flush", || rig.flush());
    soon("the frame", || waiting.join().unwrap().ok());
    // And the next one until the element is stopped.
    let waiting = rig.push_from_another_thread();
    soon("stop", || rig.element.set_state(gst::State::Null).unwrap());
    soon("the frame", || waiting.join().unwrap().ok());
    hold.release();
    // It starts anew, whatever became of the loading before.
    rig.element.set_state(gst::State::Playing).unwrap();
    while rig.element.property::<Option<String>>("active-device").is_none() {
        std::thread::yield_now();
    }
}

#[test]
fn nothing_waits_for_a_frame_that_is_being_analysed() {
    let (mut rig, hold) = Rig::analysing("async");
    rig.push();
    hold.wait_until_held();
    soon("frames", || (0..20).for_each(|_| rig.push()));
    soon("flush", || rig.flush());
    rig.push();
    let began = Instant::now();
    soon("the end", || assert!(rig.harness.push_event(gst::event::Eos::new())));
    assert!(began.elapsed() < SOON);
    soon("stop", || rig.element.set_state(gst::State::Null).unwrap());
}

#[test]
fn a_frame_that_waits_for_its_analysis_can_be_flushed_away() {
    for stops in [false, true] {
        let (mut rig, hold) = Rig::analysing("sync");
        let waiting = rig.push_from_another_thread();
        hold.wait_until_held();
        match stops {
            false => soon("flush", || rig.flush()),
            true => drop(soon("stop", || rig.element.set_state(gst::State::Null).unwrap())),
        }
        soon("the frame", || waiting.join().unwrap().ok());
    }
}

#[test]
fn nothing_waits_for_a_model_that_is_to_take_over() {
    let (hold, barrier) = hold();
    let mut rig = Rig::new("mode=sync", |_, _| {});
    rig.push();
    rig.element.connect_notify(Some("model"), move |_, _| {
        if std::thread::current().name() == Some("deepfake-load") {
            barrier.pass();
        }
    });
    // GObject may tell of it in this thread's name, where setting the property is still under way.
    let is_held = (0..30).any(|_| {
        rig.element.set_property("model", "there-is-no-such-model");
        hold.held.recv_timeout(Duration::from_secs(2)).is_ok()
    });
    assert!(is_held, "it never fails in its own thread");
    soon("frames", || (0..5).for_each(|_| rig.push()));
    soon("another model", || rig.element.set_property("model", "nor-is-there-this-one"));
    soon("flush", || rig.flush());
    soon("stop", || rig.element.set_state(gst::State::Null).unwrap());
}

#[test]
fn what_is_left_of_a_stopped_element_is_heard_no_more() {
    let (mut rig, mut hold) = Rig::analysing("async");
    rig.push();
    hold.wait_until_held();
    rig.push();
    rig.element.set_state(gst::State::Null).unwrap();
    assert_eq!(rig.element.property::<Option<String>>("active-device"), None);
    // Messages hold on to the element.
    rig.bus.set_flushing(true);
    hold.release();
    let weak = rig.element.downgrade();
    drop(rig);
    // The executor lets go of the element.
    let until = Instant::now() + Duration::from_secs(60);
    while weak.upgrade().is_some() {
        assert!(Instant::now() < until, "somebody holds on to the element");
        std::thread::yield_now();
    }
}

#[test]
fn beside_the_stream_no_latency_is_posted() {
    for (mode, posts) in [("async", false), ("sync", true)] {
        let mut rig = Rig::new(&format!("mode={mode}"), |_, _| {});
        (0..200).for_each(|_| rig.push());
        rig.element.send_event(gst::event::Eos::new());
        let posted = rig.bus.pop_filtered(&[gst::MessageType::Latency]).is_some();
        assert!(posts || !posted, "mode={mode}");
        let mut query = gst::query::Latency::new();
        assert!(rig.element.static_pad("src").unwrap().query(&mut query));
        let min = query.result().1;
        assert_eq!(min > gst::ClockTime::ZERO, posts, "mode={mode}: {min}");
        assert!(min <= gst::ClockTime::from_seconds(1));
    }
    let rig = Rig::new("mode=sync processing-deadline=70", |_, _| {});
    let mut query = gst::query::Latency::new();
    assert!(rig.element.static_pad("src").unwrap().query(&mut query));
    assert_eq!(query.result().1, gst::ClockTime::from_mseconds(70));
}

#[test]
fn a_model_of_null_is_the_default_one() {
    init();
    let element = gst::ElementFactory::make("deepfakedetect").build().unwrap();
    assert_eq!(element.property::<Option<String>>("model").as_deref(), Some("l40"));
    element.set_property("model", None::<String>);
    assert_eq!(element.property::<Option<String>>("model"), None);
}

#[test]
fn memory_of_hardware_is_refused_with_the_way_out() {
    let mut rig = Rig::new("mode=async", |_, _| {});
    for (memory, converter) in [("VAMemory", "vapostproc"), ("CUDAMemory", "cudadownload"), ("GLMemory", "gldownload")]
    {
        let caps = format!("video/x-raw(memory:{memory}),format=NV12,width=160,height=120,framerate=25/1");
        let caps: gst::Caps = caps.parse().unwrap();
        rig.harness.push_event(gst::event::Caps::new(&caps));
        let message = rig.bus.pop_filtered(&[gst::MessageType::Warning]).expect("it is told");
        let gst::MessageView::Warning(warning) = message.view() else { unreachable!() };
        assert!(warning.error().to_string().contains(converter), "{warning:?}");
    }
}
