//! Which parts of the metadata come out at the other end of common pipelines: the whole report (custom meta), and of
//! the region-of-interest metas box and id, and the parameters.
//!
//!     videotestsrc ! identity (here a probe attaches a report) ! PATH ! appsink (here it is read back)

use std::sync::mpsc;

use deepfake_report::testing::with;
use deepfake_report::{FaceReport, FrameReport, State, meta};
use gst::prelude::*;
use gst_video::VideoRegionOfInterestMeta;

const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;
const FPS: u64 = 30;
const FRAMES: u64 = 24;

/// The report of the frame at `pts`: two faces whose boxes lie on whole pixels, also in half and double size.
fn report(pts: u64) -> FrameReport {
    let face = |track_id, x: f64, y: f64| {
        with(FaceReport::new(track_id), |face| {
            face.x = x;
            face.y = y;
            face.width = 0.25;
            face.height = 0.25;
            face.detection = 0.75;
            face.state = State::Authentic;
            face.score = Some(0.125);
            face.certainty = 0.5;
            face.window_fill = 40;
            face.window_size = 40;
            face.window_start = Some(0);
            face.window_end = Some(pts);
        })
    };
    FrameReport::new(pts, "test@1.0.0", "cpu", vec![face(3, 0.125, 0.25), face(8, 0.5, 0.5)])
}

/// What came out with one buffer.
#[derive(Debug)]
struct Arrived {
    running_time: u64,
    width: u32,
    height: u32,
    report: Option<FrameReport>,
    regions: Vec<Region>,
}

#[derive(Debug, PartialEq)]
struct Region {
    id: i32,
    rect: (u32, u32, u32, u32),
    has_params: bool,
}

fn init() {
    gst::init().unwrap();
    gstdeepfake::plugin_register_static().unwrap();
}

/// Parses `description`; `None`, loudly, if it needs an element that this machine does not have.
fn parse(description: &str) -> Option<gst::Pipeline> {
    let mut context = gst::ParseContext::new();
    match gst::parse::launch_full(description, Some(&mut context), gst::ParseFlags::FATAL_ERRORS) {
        Ok(pipeline) => Some(pipeline.downcast().unwrap()),
        Err(_) if !context.missing_elements().is_empty() => {
            eprintln!("SKIPPED: no element {} for {description}", context.missing_elements().join(", "));
            None
        }
        Err(error) => panic!("{description}: {error}"),
    }
}

/// Attaches a report to each buffer that leaves `element`.
fn attach_reports(pipeline: &gst::Pipeline, element: &str) {
    let pad = pipeline.by_name(element).unwrap().static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        let buffer = info.buffer_mut().unwrap();
        let pts = buffer.pts().unwrap().nseconds();
        meta::attach(buffer.make_mut(), &report(pts), WIDTH, HEIGHT).unwrap();
        gst::PadProbeReturn::Ok
    });
}

/// Runs the pipeline to its end; returns what each of the named sinks saw.
fn run<const N: usize>(pipeline: &gst::Pipeline, sinks: [&str; N]) -> [Vec<Arrived>; N] {
    let received = sinks.map(|name| {
        let (sender, receiver) = mpsc::channel();
        let sink = pipeline.by_name(name).unwrap().downcast::<gst_app::AppSink>().unwrap();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    sender.send(arrived(&sample)).unwrap();
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        receiver
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let message =
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => received.map(|receiver| receiver.try_iter().collect()),
        other => panic!("no end of stream, but {other:?}"),
    }
}

fn arrived(sample: &gst::Sample) -> Arrived {
    let buffer = sample.buffer().unwrap();
    let caps = sample.caps().unwrap().structure(0).unwrap();
    let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().unwrap();
    let regions = buffer.iter_meta::<VideoRegionOfInterestMeta>().map(|region| {
        assert_eq!(region.roi_type(), meta::ROI_TYPE);
        Region { id: region.id(), rect: region.rect(), has_params: region.param(meta::ROI_PARAM).is_some() }
    });
    Arrived {
        running_time: segment.to_running_time(buffer.pts()).unwrap().nseconds(),
        width: caps.get::<i32>("width").unwrap() as u32,
        height: caps.get::<i32>("height").unwrap() as u32,
        report: meta::read(buffer),
        regions: regions.collect(),
    }
}

fn pipeline_through(path: &str) -> Option<gst::Pipeline> {
    init();
    let pipeline = parse(&format!(
        "videotestsrc num-buffers={FRAMES} ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={FPS}/1 \
         ! identity name=attach ! {path} ! appsink name=out sync=false"
    ))?;
    attach_reports(&pipeline, "attach");
    Some(pipeline)
}

/// What a path keeps.
#[derive(Clone, Copy, Debug)]
struct Keeps {
    regions: bool,
    params: bool,
}

const ALL: Keeps = Keeps { regions: true, params: true };
const BOXES: Keeps = Keeps { regions: true, params: false };
const NO_REGIONS: Keeps = Keeps { regions: false, params: false };

/// Sends reports through `path` and checks that each buffer carries the whole report of its own frame, and of the
/// region metas what `keeps` says. What 1.22 loses a newer GStreamer may keep: losses are checked on 1.22 alone.
#[track_caller]
fn assert_survives(path: &str, keeps: Keeps) {
    let Some(pipeline) = pipeline_through(path) else { return };
    let [buffers] = run(&pipeline, ["out"]);
    assert_eq!(buffers.len() as u64, FRAMES, "{path}: buffers lost");
    for buffer in &buffers {
        assert_eq!(buffer.report, Some(report(buffer.running_time)), "{path}: another frame's report, or none");
        assert_regions(path, buffer, keeps);
    }
}

#[track_caller]
fn assert_regions(path: &str, buffer: &Arrived, keeps: Keeps) {
    let oldest = gst::version() < (1, 23, 0, 0);
    if keeps.regions {
        let boxes: Vec<_> = buffer.regions.iter().map(|region| (region.id, region.rect)).collect();
        let scaled = |value: f64, size: u32| (value * f64::from(size)) as u32;
        let expected: Vec<_> = report(0)
            .faces
            .iter()
            .map(|face| {
                let (x, width) = (scaled(face.x, buffer.width), scaled(face.width, buffer.width));
                let (y, height) = (scaled(face.y, buffer.height), scaled(face.height, buffer.height));
                (face.track_id as i32, (x, y, width, height))
            })
            .collect();
        assert_eq!(boxes, expected, "{path}");
    } else if oldest {
        assert_eq!(buffer.regions, [], "{path}");
    }
    if keeps.params {
        assert!(buffer.regions.iter().all(|region| region.has_params), "{path}: parameters lost");
    } else if oldest {
        assert!(buffer.regions.iter().all(|region| !region.has_params), "{path}: parameters survive");
    }
}

#[test]
fn everything_survives_elements_that_pass_buffers_on() {
    assert_survives("identity", ALL);
    assert_survives("queue", ALL);
    assert_survives("queue ! multiqueue ! queue", ALL);
    assert_survives("valve", ALL);
    assert_survives("videorate", ALL);
    assert_survives("deinterlace", ALL);
    assert_survives("videobalance saturation=0.5", ALL);
    assert_survives("timeoverlay", ALL);
    assert_survives("videoconvert ! videoscale", ALL);
}

#[test]
fn the_report_and_boxes_survive_conversion() {
    for format in ["NV12", "YUY2", "RGB", "BGRx", "GRAY8"] {
        assert_survives(&format!("videoconvert ! video/x-raw,format={format}"), BOXES);
    }
}

#[test]
fn boxes_stay_right_when_the_picture_is_scaled() {
    for (width, height) in [(640, 480), (160, 120), (1280, 480), (160, 480)] {
        let size = format!("video/x-raw,width={width},height={height},pixel-aspect-ratio=1/1");
        assert_survives(&format!("videoscale add-borders=false ! {size}"), BOXES);
    }
    assert_survives("videoscale ! video/x-raw,width=640,height=480 ! videoconvert ! video/x-raw,format=RGB", BOXES);
}

#[test]
fn the_report_survives_cropping_without_its_boxes() {
    // Stays normalised to the frame as it was: who crops downstream must know.
    assert_survives("videocrop left=32 right=32", NO_REGIONS);
}

#[test]
fn everything_survives_encoding_and_decoding_in_the_process() {
    assert_survives("x264enc tune=zerolatency ! h264parse ! avdec_h264", ALL);
    assert_survives("x264enc tune=zerolatency ! h264parse ! openh264dec", ALL);
    assert_survives("openh264enc ! h264parse ! openh264dec", ALL);
    assert_survives("x265enc speed-preset=ultrafast ! h265parse ! avdec_h265", ALL);
    assert_survives("vp8enc deadline=1 ! vp8dec", ALL);
    assert_survives("jpegenc ! jpegdec", ALL);
}

#[test]
fn reports_stay_with_their_frames_where_an_encoder_reorders() {
    assert_survives("x264enc bframes=3 b-adapt=false ! h264parse ! avdec_h264", ALL);
}

#[test]
fn both_branches_of_a_tee_get_the_report() {
    let Some(pipeline) = pipeline_through("tee name=t ! queue ! appsink name=other sync=false t. ! queue") else {
        return;
    };
    for buffers in run(&pipeline, ["out", "other"]) {
        assert_eq!(buffers.len() as u64, FRAMES);
        for buffer in &buffers {
            assert_eq!(buffer.report, Some(report(buffer.running_time)));
            assert_regions("tee", buffer, ALL);
        }
    }
}

#[test]
fn attaching_in_one_branch_of_a_tee_leaves_the_other_alone() {
    init();
    let Some(pipeline) = parse(&format!(
        "videotestsrc num-buffers={FRAMES} ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={FPS}/1 \
         ! tee name=t ! queue ! identity name=attach ! appsink name=with sync=false t. ! queue ! appsink name=without sync=false"
    )) else {
        return;
    };
    attach_reports(&pipeline, "attach");
    let [with, without] = run(&pipeline, ["with", "without"]);
    assert!(with.len() as u64 == FRAMES && with.iter().all(|buffer| buffer.report.is_some()));
    assert!(without.len() as u64 == FRAMES && without.iter().all(|b| b.report.is_none() && b.regions.is_empty()));
}

#[test]
fn frames_that_videorate_makes_carry_the_report_of_their_source() {
    for fps in [FPS / 2, FPS * 2] {
        let Some(pipeline) = pipeline_through(&format!("videorate ! video/x-raw,framerate={fps}/1")) else { return };
        let [buffers] = run(&pipeline, ["out"]);
        assert!(buffers.len() as u64 >= (FRAMES - 1) * fps / FPS, "{} buffers", buffers.len());
        for buffer in &buffers {
            let report = buffer.report.as_ref().expect("a report");
            let off = report.pts.abs_diff(buffer.running_time);
            assert!(off <= 1_000_000_000 / FPS + 1, "{fps} fps: the report is {off} ns away from its frame");
            assert_regions("videorate", buffer, ALL);
        }
    }
}
