//! `deepfakedetect` on video of a real person, with the installed detector and model.

mod common;

use gst::prelude::*;
use gstdeepfake::analysis::verdict::State;
use gstdeepfake::report::{FrameReport, meta};

/// A clip that `make deps` installs.
fn clip(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/clips").join(name);
    assert!(path.is_file(), "{} is missing: run `make deps`", path.display());
    path.display().to_string()
}

/// Runs `frames` frames of a clip through `deepfakedetect` behind `before`, and returns what each buffer carries.
#[track_caller]
fn reports(name: &str, frames: usize, before: &str, properties: &str) -> Vec<FrameReport> {
    gst::init().unwrap();
    gstdeepfake::plugin_register_static().unwrap();
    let pipeline = gst::parse::launch(&format!(
        "filesrc location=\"{}\" ! decodebin ! {before} deepfakedetect name=detect \
         device=cpu threads=1 mode=sync on-error=fail {properties} ! appsink name=sink sync=false",
        clip(name)
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let samples = std::iter::from_fn(|| sink.pull_sample().ok()).take(frames);
    let reports: Vec<_> = samples.filter_map(|sample| meta::read(sample.buffer().unwrap())).collect();
    let bus = pipeline.bus().unwrap();
    if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error]) {
        let gst::MessageView::Error(error) = message.view() else { unreachable!() };
        panic!("{}", error.error());
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(!reports.is_empty(), "no frame was analysed");
    reports
}

const WOMAN: &str = "WolfgangLanger_Pexels.mp4";

#[test]
fn one_person_is_one_track_with_a_full_window() {
    let reports = reports(WOMAN, 200, "", "");
    let ids: std::collections::BTreeSet<u32> =
        reports.iter().flat_map(|report| &report.faces).map(|face| face.track_id).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let last = &reports.last().unwrap().faces[0];
    assert_eq!(last.window_fill, last.window_size);
    assert!(last.score.is_some());
    // 15 Hz: a full window of 40 crops spans about 2.6 s.
    let span = last.window_end.unwrap() - last.window_start.unwrap();
    assert!((2_300_000_000..3_000_000_000).contains(&span), "{span}");
}

#[test]
fn a_real_person_is_not_called_fake() {
    let reports = reports(WOMAN, 472, "", "");
    let fake = reports.iter().flat_map(|report| &report.faces).filter(|face| face.state == State::Fake).count();
    assert_eq!(fake, 0, "of {} reports", reports.len());
}

#[test]
fn a_clip_without_a_face_has_none() {
    let faces: usize = reports("no_face.mp4", 100, "", "").iter().map(|report| report.faces.len()).sum();
    assert_eq!(faces, 0);
}

#[test]
fn the_same_clip_gives_the_same_scores_bit_for_bit() {
    let run = || reports(WOMAN, 90, "", "");
    assert!(run() == run(), "two runs differ");
}

/// The largest difference between the scores of the clip as it is and behind `convert`, frame by frame.
#[track_caller]
fn difference(model: &str, convert: &str, properties: &str) -> f64 {
    let scores = |convert: &str| -> Vec<f64> {
        let properties = format!("model={model} {properties}");
        reports(WOMAN, 90, convert, &properties).iter().flat_map(|r| &r.faces).filter_map(|face| face.score).collect()
    };
    let (plain, converted) = (scores(""), scores(convert));
    assert!(!plain.is_empty());
    assert_eq!(plain.len(), converted.len(), "{convert}");
    plain.iter().zip(&converted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Formats of the clip's own pixels: nothing is converted on the way.
#[test]
fn the_same_pixels_give_the_same_scores_however_they_are_stored() {
    for format in ["NV12", "YV12"] {
        let worst = difference("cnn-lstm", &format!("videoconvert ! video/x-raw,format={format} !"), "");
        assert!(worst < 1e-6, "{format} differs by {worst}");
    }
}

const CONVERTED: [&str; 10] = [
    "format=YUY2",
    "format=UYVY",
    "format=RGB",
    "format=BGR",
    "format=RGBx",
    "format=BGRA",
    "format=ARGB",
    "format=xBGR",
    "format=I420,colorimetry=bt709",
    "format=I420,colorimetry=1:4:0:0",
];

/// With a model that looks at nothing but colour, so that a wrong matrix, range or channel order would show.
#[test]
fn converted_pixels_give_the_same_colours() {
    let package = common::Package::sequence();
    package.read().unwrap();
    for caps in CONVERTED {
        let convert = format!("videoconvert ! video/x-raw,{caps} !");
        let worst = difference(&package.dir.path().display().to_string(), &convert, "");
        assert!(worst <= 0.01, "{caps} differs by {worst}");
    }
}

#[test]
#[ignore = "cnn-lstm is so unsteady that videoconvert's own rounding moves its scores by up to 0.03"]
fn converted_pixels_give_the_same_scores() {
    for caps in CONVERTED {
        let worst = difference("cnn-lstm", &format!("videoconvert ! video/x-raw,{caps} !"), "");
        assert!(worst <= 0.01, "{caps} differs by {worst}");
    }
}
