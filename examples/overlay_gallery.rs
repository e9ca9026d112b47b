//! Draws made-up verdicts on a real clip and saves pictures, to judge the overlay's looks by eye.
//!
//!     filesrc ! decodebin ! videoconvertscale ! caps ! [probe: made-up report] ! deepfakeoverlay ! videoconvert ! pngenc ! appsink
//!
//!     cargo run --example overlay_gallery -- CLIP.mp4 out/

use std::path::Path;

use deepfake_report::testing::with;
use deepfake_report::{self as report, FaceReport, FrameReport};
use deepfake_report::{Reason, State};
use gst::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The clip's face, normalised.
const FACE: [f64; 4] = [0.525, 0.02, 0.345, 0.90];

fn face(track_id: u32, [x, y, width, height]: [f64; 4], state: State, score: Option<f64>, fill: u32) -> FaceReport {
    with(FaceReport::new(track_id), |face| {
        face.x = x;
        face.y = y;
        face.width = width;
        face.height = height;
        face.detection = 0.9;
        face.state = state;
        face.reason = (state == State::Rejected).then_some(Reason::TooSmall);
        face.score = score;
        face.frame_score = score;
        face.certainty = 0.5;
        face.window_fill = fill;
        face.window_size = 40;
    })
}

/// A score that wanders around `middle`.
fn wander(middle: f64, seconds: f64, phase: f64) -> f64 {
    let wave =
        (seconds * 1.3 + phase).sin() * 0.09 + (seconds * 3.1 + phase).sin() * 0.05 + (seconds * 11.0).sin() * 0.02;
    (middle + wave).clamp(0.0, 1.0)
}

/// What `scene` shows at a time.
fn faces(scene: &str, pts: u64) -> Vec<FaceReport> {
    let seconds = pts as f64 / 1e9;
    let single = |state, middle: f64| vec![face(3, FACE, state, Some(wander(middle, seconds, 0.0)), 40)];
    match scene {
        "authentic" => single(State::Authentic, 0.12),
        "uncertain" => single(State::Uncertain, 0.52),
        "fake" => {
            // Warms up, then drifts from real to fake.
            if seconds < 2.0 {
                return vec![face(3, FACE, State::Warming, None, (seconds * 15.0) as u32)];
            }
            let score = wander(0.1 + (seconds - 2.0) * 0.12, seconds, 0.0).min(0.97);
            let state = match score {
                s if s < 0.35 => State::Authentic,
                s if s < 0.7 => State::Uncertain,
                _ => State::Fake,
            };
            vec![face(3, FACE, state, Some(score), 40)]
        }
        "warming" => vec![face(3, FACE, State::Warming, None, ((seconds * 3.0) as u32).min(40))],
        "rejected" => vec![face(3, FACE, State::Rejected, None, 0)],
        "close" => vec![face(3, [0.05, 0.02, 0.9, 0.97], State::Fake, Some(wander(0.9, seconds, 1.0)), 40)],
        "row" => State::ALL
            .into_iter()
            .enumerate()
            .map(|(i, state)| {
                let at = [0.03 + i as f64 * 0.195, 0.42, 0.14, 0.34];
                let score = [None, Some(0.1), Some(0.5), Some(0.93), None][i];
                face(i as u32 + 1, at, state, score.map(|s| wander(s, seconds, i as f64)), [17, 40, 40, 40, 0][i])
            })
            .collect(),
        "crowd" => (0..60)
            .map(|i| {
                let (column, row) = (f64::from(i % 10), f64::from(i / 10));
                let state = State::ALL[i as usize * 7 % 5];
                let score = matches!(state, State::Authentic | State::Uncertain | State::Fake).then_some(0.5);
                let at = [0.01 + column * 0.1, 0.02 + row * 0.165, 0.045, 0.11];
                face(i + 1, at, state, score, 30)
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn shoot(
    clip: &Path,
    scene: &'static str,
    width: i32,
    height: i32,
    format: &str,
    at_frame: u32,
    out: &Path,
) -> Result<()> {
    let launch = format!(
        "filesrc location={clip} ! decodebin ! videoconvertscale add-borders=false ! video/x-raw,format={format},width={width},height={height} \
         ! deepfakeoverlay name=overlay ! videoconvert ! video/x-raw,format=RGB ! appsink name=sink sync=false max-buffers=2",
        clip = clip.display()
    );
    let pipeline = gst::parse::launch(&launch)?.downcast::<gst::Pipeline>().expect("a pipeline");
    let overlay = pipeline.by_name("overlay").ok_or("overlay")?;
    overlay.static_pad("sink").ok_or("pad")?.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            let pts = buffer.pts().map_or(0, gst::ClockTime::nseconds);
            let report = FrameReport::new(pts, "made-up@1", "cpu", faces(scene, pts));
            if scene == "plain" {
                let (w, h) = (f64::from(width), f64::from(height));
                let rect = [FACE[0] * w, FACE[1] * h, FACE[2] * w, FACE[3] * h].map(|v| v as u32);
                let roi = (rect[0], rect[1], rect[2], rect[3]);
                gst_video::VideoRegionOfInterestMeta::add(buffer.make_mut(), "face", roi).set_id(7);
            } else {
                let _ = report::meta::attach(buffer.make_mut(), &report, width as u32, height as u32);
            }
        }
        gst::PadProbeReturn::Ok
    });
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().ok_or("appsink")?;
    pipeline.set_state(gst::State::Playing)?;
    let mut last = None;
    for _ in 0..at_frame {
        match sink.pull_sample() {
            Ok(sample) => last = Some(sample),
            Err(_) => break,
        }
    }
    pipeline.set_state(gst::State::Null)?;
    let png = gst_video::convert_sample(
        &last.ok_or("the clip gave no frame")?,
        &gst::Caps::builder("image/png").build(),
        Some(gst::ClockTime::from_seconds(20)),
    )?;
    let path = out.join(format!("{scene}-{width}x{height}-{format}.png"));
    std::fs::write(&path, png.buffer().ok_or("no picture")?.map_readable()?.as_slice())?;
    println!("{}", path.display());
    Ok(())
}

fn main() -> Result<()> {
    gst::init()?;
    gstdeepfake::plugin_register_static()?;
    let mut args = std::env::args().skip(1);
    let clip = args.next().ok_or("usage: overlay_gallery CLIP OUT")?;
    let out = args.next().ok_or("usage: overlay_gallery CLIP OUT")?;
    let wanted: Vec<_> = args.collect();
    std::fs::create_dir_all(&out)?;
    for (scene, width, height, format) in [
        ("fake", 1280, 720, "I420"),
        ("authentic", 640, 360, "I420"),
        ("uncertain", 640, 360, "NV12"),
        ("warming", 640, 360, "YUY2"),
        ("rejected", 640, 360, "RGB"),
        ("plain", 640, 360, "I420"),
        ("close", 1280, 720, "BGRx"),
        ("row", 1920, 1080, "I420"),
        ("row", 640, 360, "I420"),
        ("crowd", 1280, 720, "I420"),
        ("fake", 320, 180, "I420"),
        ("fake", 3840, 2160, "I420"),
        ("fake", 640, 360, "GRAY8"),
    ] {
        let name = format!("{scene}-{width}x{height}-{format}");
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            let frames = if width > 2000 { 30 } else { 290 };
            shoot(Path::new(&clip), scene, width, height, format, frames, Path::new(&out))?;
        }
    }
    Ok(())
}
