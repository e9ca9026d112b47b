//! `deepfakedetect` beside a live stream: frames never wait, whatever is loaded, swapped, overloaded or torn down meanwhile.

mod common;

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::{Package, init, model};
use deepfake_report::{FrameReport, meta};
use gst::prelude::*;
use gst_video::VideoRegionOfInterestMeta;

const FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);
const TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// The element alone, with faces from upstream.
struct Rig {
    harness: gst_check::Harness,
    element: gst::Element,
    bus: gst::Bus,
    next: u64,
}

impl Rig {
    /// The element as it is before it starts.
    fn element(model: &Package, properties: &str) -> gst::Element {
        init();
        let description = format!(
            "deepfakedetect model={} face-source=upstream device=cpu threads=1 min-sharpness=0 {properties}",
            model.path()
        );
        gst::parse::launch(&description).unwrap()
    }

    fn start(element: gst::Element) -> Self {
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps_str("video/x-raw,format=RGB,width=160,height=120,framerate=25/1");
        Self { harness, element, bus, next: 0 }
    }

    /// Pushes the next frame, which must come out at once, and returns what it carries.
    #[track_caller]
    fn push(&mut self) -> Option<FrameReport> {
        let mut buffer = gst::Buffer::from_slice(vec![90u8; 160 * 120 * 3]);
        let head = buffer.get_mut().unwrap();
        head.set_pts(FRAME * self.next);
        VideoRegionOfInterestMeta::add(head, meta::ROI_TYPE, (40, 20, 80, 80));
        self.next += 1;
        self.harness.push(buffer).unwrap();
        meta::read(&self.harness.try_pull().expect("each frame comes out at once"))
    }

    /// Pushes frames until one carries a report that `is` so.
    #[track_caller]
    fn push_until(&mut self, is: impl Fn(&FrameReport) -> bool) -> FrameReport {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < Duration::from_secs(60), "no such report");
            match self.push() {
                Some(report) if is(&report) => return report,
                _ => std::thread::yield_now(),
            }
        }
    }

    fn stats(&self) -> gst::Structure {
        self.element.property("stats")
    }
}

#[test]
fn frames_flow_while_the_model_is_loaded() {
    for mode in ["async", "auto"] {
        let package = model("slow");
        let element = Rig::element(&package, &format!("mode={mode}"));
        // The thread that loads tells of the device before anything else can go on: it is held there.
        let (go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        element.connect_notify(Some("active-device"), move |element, _| {
            if element.property::<Option<String>>("active-device").is_some() {
                let _ = wait.lock().unwrap().recv();
            }
        });
        let mut rig = Rig::start(element);
        if mode == "async" {
            for _ in 0..50 {
                assert_eq!(rig.push(), None);
            }
            assert_eq!(rig.stats().get::<u64>("analysed"), Ok(0));
        }
        // Where frames wait for their analysis, the first one waits for the model.
        drop(go);
        let report = rig.push_until(|_| true);
        assert_eq!(report.model, "slow@1.0");
        assert_eq!(rig.stats().get::<&str>("state"), Ok("running"));
        // The newest frame that came meanwhile was kept.
        assert!(mode == "auto" || report.pts >= FRAME.nseconds() * 48, "{}", report.pts);
    }
}

#[test]
fn a_graph_that_does_not_load_is_an_error_or_a_warning_of_the_running_stream() {
    for (on_error, kind) in [("fail", gst::MessageType::Error), ("passthrough", gst::MessageType::Warning)] {
        let package = Package::sequence().change("feature_length = 3", "feature_length = 4");
        package.read().unwrap();
        let mut rig = Rig::start(Rig::element(&package, &format!("mode=async on-error={on_error}")));
        let message = rig.bus.timed_pop_filtered(TIMEOUT, &[kind]).expect("it is posted");
        let text = match message.view() {
            gst::MessageView::Error(error) => error.error().to_string(),
            gst::MessageView::Warning(warning) => warning.error().to_string(),
            _ => unreachable!(),
        };
        assert!(text.contains("feature_length"), "{text}");
        match on_error {
            "fail" => {
                let buffer = gst::Buffer::from_slice(vec![90u8; 160 * 120 * 3]);
                assert_eq!(rig.harness.push(buffer), Err(gst::FlowError::Error));
            }
            _ => assert_eq!(rig.push(), None),
        }
        assert_eq!(rig.stats().get::<&str>("state"), Ok("failed"));
    }
}

#[test]
fn another_model_takes_over_between_two_frames() {
    for mode in ["sync", "async"] {
        let (one, other) = (model("one"), model("other"));
        let mut rig = Rig::start(Rig::element(&one, &format!("mode={mode}")));
        let before = rig.push_until(|report| report.faces.iter().any(|face| face.window_fill == 4));
        assert_eq!(before.model, "one@1.0");
        rig.element.set_property("model", other.path());
        // The old one goes on until the new one is there.
        let after = rig.push_until(|report| report.model != "one@1.0");
        assert_eq!(after.model, "other@1.0");
        assert_eq!(after.faces[0].track_id, before.faces[0].track_id, "faces are followed as before");
        // Beside the stream a second crop may have been analysed before the first report was carried by a frame.
        let fill = after.faces[0].window_fill;
        assert!(if mode == "sync" { fill == 1 } else { fill < 4 }, "windows begin anew: {fill}");
        rig.push_until(|report| report.faces[0].window_fill == 4);
        assert_eq!(rig.stats().get::<&str>("model"), Ok("other@1.0"));
        let complaint = rig.bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Warning]);
        assert!(complaint.is_none(), "{complaint:?}");
    }
}

#[test]
fn a_model_that_does_not_load_leaves_the_old_one_at_work() {
    for mode in ["sync", "async"] {
        let one = model("one");
        let mut rig = Rig::start(Rig::element(&one, &format!("mode={mode}")));
        rig.push_until(|report| report.faces.iter().any(|face| face.window_fill == 4));
        rig.element.set_property("model", "there-is-no-such-model");
        // A busy machine may have to say so first.
        let mut warnings = std::iter::from_fn(|| rig.bus.timed_pop_filtered(TIMEOUT, &[gst::MessageType::Warning]));
        let text = warnings.find_map(|message| {
            let gst::MessageView::Warning(warning) = message.view() else { unreachable!() };
            let error = warning.error();
            (!error.matches(gst::ResourceError::Busy)).then(|| error.to_string())
        });
        let text = text.expect("a warning is posted");
        assert!(text.contains("there-is-no-such-model") && text.contains(&one.path()), "{text}");
        assert_eq!(rig.element.property::<String>("model"), one.path());
        let report = rig.push().unwrap();
        assert_eq!((report.model.as_str(), report.faces[0].window_fill), ("one@1.0", 4));
    }
}

#[test]
fn the_last_of_several_models_wins() {
    let (one, two, three) = (model("one"), model("two"), model("three"));
    let mut rig = Rig::start(Rig::element(&one, "mode=async"));
    rig.push_until(|_| true);
    for package in [&two, &three, &two, &one, &three] {
        rig.element.set_property("model", package.path());
    }
    rig.push_until(|report| report.model == "three@1.0");
    assert_eq!(rig.element.property::<String>("model"), three.path());
}

#[test]
fn a_model_that_loads_does_what_the_first_one_could_not() {
    for mode in ["sync", "async"] {
        let broken = Package::sequence().change("feature_length = 3", "feature_length = 4");
        broken.read().unwrap();
        let good = model("good");
        for bad in [broken.path(), "there-is-no-such-model".into()] {
            let element = Rig::element(&good, &format!("mode={mode}"));
            element.set_property("model", &bad);
            let mut rig = Rig::start(element);
            rig.bus.timed_pop_filtered(TIMEOUT, &[gst::MessageType::Warning]).expect("a warning is posted");
            assert_eq!(rig.push(), None);
            // Nor does the next one.
            rig.element.set_property("model", "nor-this-one");
            let warning = rig.bus.timed_pop_filtered(TIMEOUT, &[gst::MessageType::Warning]).expect("another one");
            let gst::MessageView::Warning(warning) = warning.view() else { unreachable!() };
            assert!(warning.error().to_string().contains("nor-this-one"), "{warning:?}");
            assert_eq!(rig.push(), None);
            assert_eq!(rig.stats().get::<&str>("state"), Ok("failed"));
            rig.element.set_property("model", good.path());
            let report = rig.push_until(|report| report.faces.iter().any(|face| face.window_fill == 4));
            assert_eq!(report.model, "good@1.0", "{mode} after {bad}");
            assert_eq!(rig.stats().get::<&str>("state"), Ok("running"));
            // From there on all is as usual.
            let other = model("other");
            rig.element.set_property("model", other.path());
            rig.push_until(|report| report.model == "other@1.0");
        }
    }
}

#[test]
fn asking_for_another_model_does_not_wait_for_the_one_being_loaded() {
    let (one, other) = (model("one"), model("other"));
    let mut rig = Rig::start(Rig::element(&one, "mode=async"));
    rig.push_until(|_| true);
    // The thread that loads says that it has failed, and is held there.
    let (go, wait) = channel::<()>();
    let (held, is_held) = channel::<()>();
    let wait = Mutex::new(wait);
    rig.element.connect_notify(Some("model"), move |_, _| {
        if std::thread::current().name() == Some("deepfake-load") {
            // GObject tells once more what was told while somebody was told of another change.
            let _ = held.send(());
            let _ = wait.lock().unwrap().recv();
        }
    });
    // Where it fails before we are through with setting the property, GObject tells us in its place.
    let fails = |_| {
        rig.element.set_property("model", "there-is-no-such-model");
        is_held.recv_timeout(Duration::from_secs(2)).is_ok()
    };
    assert!((0..30).any(fails), "it never fails in its own thread");
    let (done, is_done) = channel();
    let (element, name) = (rig.element.clone(), other.path());
    let asking = std::thread::spawn(move || {
        element.set_property("model", name);
        done.send(()).unwrap();
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok(()), "it waits");
    rig.push_until(|report| report.model == "other@1.0");
    drop(go);
    asking.join().unwrap();
}

#[test]
fn statistics_are_posted_now_and_then() {
    let package = model("tiny");
    let mut rig = Rig::start(Rig::element(&package, "mode=sync"));
    (0..50).for_each(|_| drop(rig.push()));
    assert!(rig.bus.pop_filtered(&[gst::MessageType::Element]).is_none());
    rig.element.set_property("stats-interval", 1u32);
    std::thread::sleep(Duration::from_millis(2)); // An interval.
    rig.push();
    let message = rig.bus.pop_filtered(&[gst::MessageType::Element]).expect("it is posted");
    let told = message.structure().unwrap();
    assert_eq!(told.name(), "deepfakedetect-stats");
    assert_eq!((told.get::<u64>("frames"), told.get::<u64>("analysed")), (Ok(51), Ok(31)));
    assert_eq!((told.get::<u32>("tracks"), told.get::<u32>("queue-depth")), (Ok(1), Ok(0)));
    assert_eq!((told.get::<&str>("state"), told.get::<&str>("device")), (Ok("running"), Ok("cpu")));
    assert_eq!(told.get::<&str>("model"), Ok("tiny@1.0"));
    for stage in ["stream", "find", "crop", "encode", "judge", "analysis"] {
        let at = |percent: u32| told.get::<u64>(format!("{stage}-time-p{percent}")).unwrap();
        assert!(0 < at(50) && at(50) <= at(95) && at(95) <= at(99), "{stage}: {told}");
    }
    let time = |name: &str| told.get::<u64>(name).unwrap();
    let parts: u64 = ["find", "crop", "encode", "judge"].map(|stage| time(&format!("{stage}-time-p50"))).iter().sum();
    assert!(parts < 2 * time("analysis-time-p50"), "{told}");
}
