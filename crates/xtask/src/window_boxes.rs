//! How far the boxes found in windows, as the follower takes them, lie from those found in the
//! whole picture: what the constants of `analysis::follower::window` were set on.
//!
//! ```text
//! cargo xtask window-boxes FRAMES CLIP…
//! ```
//!
//! Takes the first FRAMES frames of each clip, 15 a second. Lengths are in percent of the face's
//! side, the square root of its box's area; `size` is the box's side, `bias` the mean with its
//! sign, `landmarks` the mean of the five distances.

use std::path::Path;

use anyhow::{Context, anyhow};
use deepfake_engine::analysis::detector::{Detection, FaceDetector, Picture};
use deepfake_engine::analysis::follower::window::{Levels, Window};
use deepfake_engine::analysis::follower::{FOLLOWING_SIZE, place};
use deepfake_engine::analysis::frame::FrameView;
use deepfake_engine::analysis::sampler::Sampler;
use deepfake_engine::inference::{DeviceRequest, SessionOptions, places};
use gst::prelude::*;
use gst_video::video_frame::{Readable, VideoFrame};
use gstdeepfake::elements::frame;

/// A face is expected to have strayed by this part of its side, as one that was seen in the last
/// frame and rests.
const REACH: f32 = 0.45;
/// Sides of faces in the picture that they are looked for in: one row each, from one to the next.
const SIDES: [f32; 9] = [24.0, 32.0, 40.0, 48.0, 64.0, 80.0, 96.0, 128.0, f32::INFINITY];
const SURE: f32 = 0.5;
const SAME_FACE_IOU: f32 = 0.3;

/// How a face was seen in its window, against the whole picture.
struct Difference {
    /// Width of the picture that the window is of, and the face's side in it.
    picture: u32,
    side: f32,
    /// `None` if it was not found.
    of: Option<Values>,
}

/// In sides of the face.
#[derive(Clone, Copy)]
struct Values {
    x: f32,
    y: f32,
    size: f32,
    landmarks: f32,
}

pub fn run(count: usize, clips: &[&str]) -> anyhow::Result<()> {
    gst::init()?;
    let options = SessionOptions { device: DeviceRequest::Cpu, require_device: true, threads: 1 };
    let mut detector = FaceDetector::load(&places::find_detector("centerface.onnx")?, &options)?;
    let mut differences = vec![];
    for clip in clips {
        for video in frames(Path::new(clip), count)? {
            let video = video.as_video_frame_ref();
            compare(&mut detector, &frame::view(&video, 0)?, &mut differences)?;
        }
    }
    print(&differences);
    Ok(())
}

fn frames(clip: &Path, count: usize) -> anyhow::Result<Vec<VideoFrame<Readable>>> {
    let pipeline = gst::parse::launch(&format!(
        "filesrc location=\"{}\" ! decodebin ! videorate ! videoconvert ! video/x-raw,format=I420,framerate=15/1 ! \
         appsink name=sink sync=false",
        clip.display()
    ))?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("more than one element");
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("it is called so");
    pipeline.set_state(gst::State::Playing)?;
    let samples = std::iter::from_fn(|| sink.pull_sample().ok()).take(count);
    let frames = samples.map(|sample| {
        let info = gst_video::VideoInfo::from_caps(sample.caps().context("no caps")?)?;
        let buffer = sample.buffer().context("no buffer")?.copy_deep()?;
        VideoFrame::from_buffer_readable(buffer, &info).map_err(|_| anyhow!("a frame that cannot be read"))
    });
    let frames = frames.collect();
    pipeline.set_state(gst::State::Null)?;
    frames
}

fn compare(detector: &mut FaceDetector, frame: &FrameView, differences: &mut Vec<Difference>) -> anyhow::Result<()> {
    let levels = Levels::of(frame, FOLLOWING_SIZE);
    let known = look(detector, frame, &levels.usual())?;
    for face in known.iter().filter(|face| face.confidence > SURE) {
        let side = face.rect.area().sqrt();
        let Some(window) = levels.window(&face.rect, side * REACH) else { continue };
        let seen = look(detector, frame, &window)?;
        let overlap = |seen: &Detection| seen.rect.iou(&face.rect);
        let found = seen.iter().filter(|seen| overlap(seen) > SAME_FACE_IOU);
        let found = found.max_by(|a, b| overlap(a).total_cmp(&overlap(b)));
        differences.push(Difference {
            picture: window.picture.0.max(window.picture.1),
            side: side * window.picture.0 as f32 / frame.width as f32,
            of: found.map(|found| values(face, found, side)),
        });
    }
    Ok(())
}

fn values(face: &Detection, found: &Detection, side: f32) -> Values {
    let (from, to) = (face.rect.center(), found.rect.center());
    let points = face.landmarks.iter().flatten().zip(found.landmarks.iter().flatten());
    Values {
        x: (to.x - from.x) / side,
        y: (to.y - from.y) / side,
        size: (found.rect.area().sqrt() / side).ln(),
        landmarks: points.map(|(from, to)| (to.x - from.x).hypot(to.y - from.y) / side).sum::<f32>() / 5.0,
    }
}

/// What the detector finds in a window, in pixels of the frame.
fn look(detector: &mut FaceDetector, frame: &FrameView, window: &Window) -> anyhow::Result<Vec<Detection>> {
    let (part, width, height) = (window.part(), window.width(), window.height());
    let mut sampler = Sampler::default();
    let pixels = sampler.sample(frame, &part, width, height, detector.order())?;
    let mut faces = detector.detect(Picture { pixels, width: width as usize, height: height as usize }, SURE / 2.0)?;
    faces.iter_mut().for_each(|face| place(face, &part, width, height));
    Ok(faces)
}

fn print(differences: &[Difference]) {
    println!(
        "| picture | side in it | faces | lost | elsewhere, median | 95 % | size, median | 95 % | bias | landmarks, median | 95 % |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let is_half = |difference: &Difference| difference.picture <= FOLLOWING_SIZE / 2;
    for (name, half) in [("half", true), ("usual", false)] {
        for bounds in SIDES.windows(2).map(|bounds| bounds[0]..bounds[1]).chain([SIDES[0]..f32::INFINITY]) {
            let row = differences.iter().filter(|it| is_half(it) == half && it.picture <= FOLLOWING_SIZE);
            let row: Vec<_> = row.filter(|difference| bounds.contains(&difference.side)).collect();
            let values: Vec<_> = row.iter().filter_map(|difference| difference.of).collect();
            if values.is_empty() {
                continue;
            }
            let pair = |value: &dyn Fn(&Values) -> f32| {
                let mut sorted: Vec<_> = values.iter().map(value).collect();
                sorted.sort_by(f32::total_cmp);
                let at = |share: f32| sorted[((sorted.len() - 1) as f32 * share) as usize] * 100.0;
                format!("{:.2} | {:.2}", at(0.5), at(0.95))
            };
            let bias = values.iter().map(|values| values.size).sum::<f32>() / values.len() as f32 * 100.0;
            println!(
                "| {name} | {} to {} | {} | {} | {} | {} | {bias:+.2} | {} |",
                bounds.start,
                bounds.end,
                row.len(),
                row.len() - values.len(),
                pair(&|values| values.x.hypot(values.y)),
                pair(&|values| values.size.abs()),
                pair(&|values| values.landmarks),
            );
        }
    }
}
