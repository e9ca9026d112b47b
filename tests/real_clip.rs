//! `deepfakedetect` on video of a real person, with the installed detector and model.

mod common;
#[path = "common/video.rs"]
mod video;

use common::{clip, init};
use deepfake_engine::analysis::detector::{Detection, FaceDetector, Picture};
use deepfake_engine::inference::{DeviceRequest, SessionOptions, places};
use deepfake_report::State;
use deepfake_report::{FrameReport, meta};
use gst::prelude::*;
use gst_video::prelude::*;

/// Runs `frames` frames of a clip through `deepfakedetect` behind `before`, and returns what each buffer carries.
#[track_caller]
fn reports(name: &str, frames: usize, before: &str, properties: &str) -> Vec<FrameReport> {
    init();
    let pipeline = gst::parse::launch(&format!(
        "filesrc location=\"{}\" ! decodebin ! {before} deepfakedetect name=detect \
         device=cpu threads=1 mode=sync on-error=fail {properties} ! appsink name=sink sync=false",
        clip(name).display()
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

/// Where the face is in each report, as it is stored.
fn places(reports: &[FrameReport]) -> Vec<[f64; 4]> {
    let place = |report: &FrameReport| {
        let [face] = &report.faces[..] else { panic!("one face: {:?}", report.faces) };
        [face.x, face.y, face.width, face.height]
    };
    reports.iter().map(place).collect()
}

#[test]
fn a_picture_that_was_turned_upstream_is_not_turned_once_more() {
    let upright = places(&reports(WOMAN, 12, "", ""));
    // As a phone stores it, and then put upright by an element that leaves the tag.
    let before = "videoflip video-direction=90l ! taginject tags=image-orientation=rotate-90 ! \
                  videoflip video-direction=auto !";
    assert_eq!(places(&reports(WOMAN, 12, before, "video-direction=identity")), upright);
}

#[test]
fn a_picture_without_a_tag_is_turned_as_the_property_says() {
    let upright = places(&reports(WOMAN, 12, "", ""));
    let lying = places(&reports(WOMAN, 12, "videoflip video-direction=90l !", "video-direction=90r"));
    for ([x, y, width, height], lying) in upright.into_iter().zip(lying) {
        let expected = [y, 1.0 - x - width, height, width];
        assert!(lying.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.02), "{lying:?} is not {expected:?}");
    }
}

#[test]
fn a_clip_without_a_face_has_none() {
    let faces: usize = reports("no_face.mp4", 100, "", "").iter().map(|report| report.faces.len()).sum();
    assert_eq!(faces, 0);
}

#[test]
fn the_same_clip_gives_the_same_scores_bit_for_bit() {
    // All but when and by whom they were made.
    let run = || reports(WOMAN, 90, "", "").into_iter().map(|report| (report.pts, report.faces)).collect::<Vec<_>>();
    assert!(run() == run(), "two runs differ");
}

/// Frames of the clip, 320 pixels wide, as the detector sees them.
fn pictures(name: &str, frames: usize) -> Vec<gst_video::video_frame::VideoFrame<gst_video::video_frame::Readable>> {
    let elements = format!(
        "filesrc location=\"{}\" ! decodebin ! videoscale ! videoconvert ! video/x-raw,format=RGB,width=320,height=180",
        clip(name).display()
    );
    video::samples(&elements, frames).iter().map(video::frame).collect()
}

#[test]
fn noise_of_one_grey_level_does_not_move_a_box() {
    let options = SessionOptions { device: DeviceRequest::Cpu, require_device: true, threads: 1 };
    let mut detector = FaceDetector::load(&places::find_detector("centerface.onnx").unwrap(), &options).unwrap();
    let mut face = |pixels: &[u8]| -> Detection {
        let mut faces = detector.detect(Picture { pixels, width: 320, height: 180 }, 0.25).unwrap();
        assert_eq!(faces.len(), 1);
        faces.remove(0)
    };
    let mut worst: f32 = 0.0;
    for (index, frame) in pictures(WOMAN, 100).iter().enumerate() {
        let plain = frame.plane_data(0).unwrap();
        let noise = |place: usize| ((place + 7919 * index) as u32).wrapping_mul(2_654_435_761) >> 16;
        let noisy: Vec<u8> = plain
            .iter()
            .enumerate()
            .map(|(place, value)| value.saturating_add((noise(place) % 3) as u8).saturating_sub(1))
            .collect();
        let (a, b) = (face(plain), face(&noisy));
        let side = (a.rect.width * a.rect.height).sqrt();
        let moved = (a.rect.center().x - b.rect.center().x).hypot(a.rect.center().y - b.rect.center().y);
        let points = a.landmarks.iter().flatten().zip(b.landmarks.iter().flatten());
        let landmark = points.map(|(a, b)| (a.x - b.x).hypot(a.y - b.y)).fold(0.0, f32::max);
        worst = worst.max(moved / side).max(landmark / side).max((a.rect.width / b.rect.width).ln().abs());
    }
    // 3 % when the best cell alone decided.
    println!("boxes and landmarks move by up to {:.2} % of a side", worst * 100.0);
    assert!(worst < 0.01, "{worst}");
}

/// The mean difference between two scores of the same frame.
fn mean_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

/// The largest difference between two scores of the same frame.
fn farthest(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
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
    farthest(&plain, &converted)
}

/// Formats of the clip's own pixels: nothing is converted on the way.
#[test]
fn the_same_pixels_give_the_same_scores_however_they_are_stored() {
    for format in ["NV12", "YV12"] {
        let worst = difference("l40", &format!("videoconvert ! video/x-raw,format={format} !"), "");
        assert!(worst < 1e-6, "{format} differs by {worst}");
    }
}

/// Chroma is stored otherwise, but no arithmetic is done on levels.
const REPACKED: [&str; 3] = ["format=YUY2", "format=UYVY", "format=Y42B"];
const CONVERTED: [&str; 9] = [
    "format=Y444",
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
    for caps in REPACKED.into_iter().chain(CONVERTED) {
        let convert = format!("videoconvert ! video/x-raw,{caps} !");
        let worst = difference(&package.dir.path().display().to_string(), &convert, "");
        assert!(worst <= 0.01, "{caps} differs by {worst}");
    }
}

#[test]
fn repacked_pixels_give_the_same_scores() {
    for caps in REPACKED {
        let worst = difference("l40", &format!("videoconvert ! video/x-raw,{caps} !"), "");
        assert!(worst <= 0.01, "{caps} differs by {worst}");
    }
}

/// The clip's I420 frames, limited range, with the PTS of each.
fn decoded(frames: usize) -> (gst_video::VideoInfo, Vec<gst::Buffer>) {
    init();
    let elements = format!("filesrc location=\"{}\" ! decodebin ! video/x-raw,format=I420", clip(WOMAN).display());
    let samples = video::samples(&elements, frames);
    let info = gst_video::VideoInfo::from_caps(samples[0].caps().unwrap()).unwrap();
    (info, samples.iter().map(|sample| sample.buffer_owned().unwrap()).collect())
}

/// R, G, B of each pixel as the formulas of ITU-R BT.601 say, rounded once. Chroma lies in the middle of the four pixels that share it, and
/// is interpolated between.
fn exactly_converted(info: &gst_video::VideoInfo, buffer: &gst::Buffer) -> gst::Buffer {
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).unwrap();
    let (width, height) = (info.width() as usize, info.height() as usize);
    let plane = |plane: u32, width: usize, height: usize| -> Vec<f32> {
        let (data, stride) = (frame.plane_data(plane).unwrap(), frame.plane_stride()[plane as usize] as usize);
        data.chunks(stride).take(height).flat_map(|row| row[..width].iter().map(|value| f32::from(*value))).collect()
    };
    let (luma, u, v) = (plane(0, width, height), plane(1, width / 2, height / 2), plane(2, width / 2, height / 2));
    // The two samples around a pixel, in a direction in which there are `half` of them: a quarter of one, three of the other.
    let around = |pixel: usize, half: usize| {
        let near = pixel / 2;
        let far = if pixel.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(half - 1) };
        [(near, 0.75), (far, 0.25)]
    };
    let chroma = |plane: &[f32], x: usize, y: usize| -> f32 {
        let rows = around(y, height / 2).into_iter();
        let row = |(row, weight): (usize, f32)| {
            let sum: f32 =
                around(x, width / 2).map(|(column, weight)| weight * plane[row * (width / 2) + column]).iter().sum();
            weight * sum
        };
        (rows.map(row).sum::<f32>() - 128.0) / 224.0
    };
    let stride = (3 * width).next_multiple_of(4);
    let mut pixels = vec![0; stride * height];
    for (y, line) in pixels.chunks_mut(stride).enumerate() {
        for (x, pixel) in line.chunks_exact_mut(3).take(width).enumerate() {
            let (luma, u, v) = ((luma[y * width + x] - 16.0) / 219.0, chroma(&u, x, y), chroma(&v, x, y));
            let rgb = [luma + 1.402 * v, luma - 0.344_136 * u - 0.714_136 * v, luma + 1.772 * u];
            pixel.copy_from_slice(&rgb.map(|value| (255.0 * value).round().clamp(0.0, 255.0) as u8));
        }
    }
    let mut converted = gst::Buffer::from_slice(pixels);
    converted.get_mut().unwrap().set_pts(buffer.pts());
    converted
}

/// What `deepfakedetect` with the default model scores in these frames.
fn scores(caps: gst::Caps, frames: Vec<gst::Buffer>) -> Vec<f64> {
    let element = gst::parse::launch("deepfakedetect model=l40 device=cpu threads=1 mode=sync on-error=fail").unwrap();
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps(caps);
    let reports = frames.into_iter().filter_map(|frame| meta::read(&harness.push_and_pull(frame).unwrap()));
    reports.flat_map(|report| report.faces).filter_map(|face| face.score).collect()
}

#[test]
fn exactly_converted_pixels_give_nearly_the_same_scores() {
    let (info, frames) = decoded(90);
    assert_eq!(info.colorimetry().matrix(), gst_video::VideoColorMatrix::Bt601);
    let rgb = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, info.width(), info.height()).fps(info.fps());
    let converted = frames.iter().map(|frame| exactly_converted(&info, frame)).collect();
    let converted = scores(rgb.build().unwrap().to_caps().unwrap(), converted);
    let plain = scores(info.to_caps().unwrap(), frames);
    assert!(plain.len() > 30, "{}", plain.len());
    assert_eq!(plain.len(), converted.len());
    let mean = mean_difference(&plain, &converted);
    println!("scores move by {mean:.4}, up to {:.4}", farthest(&plain, &converted));
    // What is left is that RGB was rounded before it was sampled, and its chroma interpolated.
    assert!(mean <= 0.02, "{mean}");
}
