//! Makes the demo's manipulated clips: every face of IN is replaced, in part or whole, by a changed copy of itself.
//!
//!     filesrc ! decodebin ! RGB ! appsink → find, follow, blend → appsrc ! x264enc ! mp4mux ! filesink
//!
//!     cargo xtask manipulate swap IN OUT.mp4        # inner face: another colour, resolution, sharpness, and a seam
//!     cargo xtask manipulate mouth IN OUT.mp4       # mouth and chin only: lips that move by themselves, redrawn coarsely
//!     cargo xtask manipulate generated IN OUT.mp4   # the whole head, redrawn by a generator's last steps
//!     cargo xtask manipulate as-is IN OUT.mp4       # untouched, through the same decoder and encoder
//!
//! A face swap leaves three things behind: skin of another colour, a patch of another resolution
//! and sharpness, and a seam that does not quite follow the head. Here the same three are made on
//! purpose, from the person's own face, as in K. Shiohara and T. Yamasaki, "Detecting Deepfakes
//! with Self-Blended Images" (arXiv 2204.08376). Lip-sync programs redraw the lower face at some
//! 96 pixels a face (K R Prajwal et al., Wav2Lip, arXiv 2008.10010). Generators decode a small
//! picture: fine texture is lost and drawn anew, everywhere and without a seam; no decoder of one
//! may be passed on here, so that the same loss is made by smoothing and enlarging. All three are
//! stand-ins made for a demo, and no forgeries of another person: how well real ones are found is
//! measured with `deepfake evaluate`. No model was trained or tuned on any of them.
//!
//! The clips differ in nothing else, so that a verdict cannot come from the encoder. The same
//! input gives the same pictures every time.

use std::path::Path;

use anyhow::{Context, bail};
use deepfake_engine::analysis::detector::{FaceDetector, Picture};
use deepfake_engine::analysis::geometry::{Landmarks, Point};
use deepfake_engine::analysis::tracker::{Tracker, TrackerSettings};
use deepfake_engine::inference::{SessionOptions, places};
use gst::prelude::*;
use gst_video::prelude::*;
use opencv::core::{self, Mat, Point2f, Scalar, Size, Vector};
use opencv::imgproc;
use opencv::prelude::*;

/// `look`: `None` for the untouched clip.
pub fn run(input: &Path, output: &Path, look: Option<&'static Look>) -> anyhow::Result<()> {
    gst::init()?;
    let mut blender = look.map(Blender::new).transpose()?;

    let source = gst::parse::launch(
        "filesrc name=file ! decodebin ! videoconvert ! video/x-raw,format=RGB ! appsink name=out sync=false max-buffers=4",
    )?;
    let source = source.downcast::<gst::Bin>().expect("several elements make a bin");
    source.by_name("file").expect("named above").set_property("location", input);
    let frames = source.by_name("out").expect("named above").downcast::<gst_app::AppSink>().expect("an appsink");

    // A constant, fine quantizer: what the blending leaves behind survives, as in a clip passed on
    // in good quality.
    let sink = gst::parse::launch(
        "appsrc name=in format=time block=true max-bytes=8000000 ! videoconvert ! video/x-raw,format=I420 \
         ! x264enc pass=quant quantizer=20 speed-preset=fast key-int-max=50 ! h264parse ! mp4mux faststart=true ! filesink name=file",
    )?;
    let sink = sink.downcast::<gst::Bin>().expect("several elements make a bin");
    sink.by_name("file").expect("named above").set_property("location", output);
    let encoder = sink.by_name("in").expect("named above").downcast::<gst_app::AppSrc>().expect("an appsrc");

    source.set_state(gst::State::Playing)?;
    sink.set_state(gst::State::Playing)?;

    while let Ok(sample) = frames.pull_sample() {
        let Some(blender) = &mut blender else {
            encoder.push_sample(&sample)?;
            continue;
        };
        let caps = sample.caps_owned().context("frame without caps")?;
        let info = gst_video::VideoInfo::from_caps(&caps)?;
        let mut buffer = sample.buffer_owned().context("sample without frame")?;
        let pts = buffer.pts().map_or(0, gst::ClockTime::nseconds);
        {
            let buffer = buffer.make_mut();
            let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, &info)?;
            blender.blend_frame(&mut frame, pts)?;
        }
        encoder.push_sample(&gst::Sample::builder().buffer(&buffer).caps(&caps).build())?;
    }
    // No more samples: the clip's end, or something broke.
    finish(&source).with_context(|| format!("{} cannot be read", input.display()))?;
    encoder.end_of_stream()?;
    finish(&sink).with_context(|| format!("{} cannot be written", output.display()))?;

    if let Some(blender) = blender
        && blender.blended == 0
    {
        bail!("no face was found in {}: nothing was changed", input.display());
    }
    Ok(())
}

/// Waits for the pipeline's end and takes it down.
fn finish(pipeline: &gst::Bin) -> anyhow::Result<()> {
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null)?;
    if let Some(gst::MessageView::Error(error)) = message.as_deref().map(gst::MessageRef::view) {
        bail!("{} ({})", error.error(), error.debug().unwrap_or_default());
    }
    Ok(())
}

/// Width in pixels of the picture in which faces are looked for.
const DETECTION_WIDTH: i32 = 320;
const DETECTION_THRESHOLD: f32 = 0.5;

/// What is replaced.
#[derive(Clone, Copy, PartialEq)]
enum Region {
    /// From the brows to the chin.
    Face,
    /// Mouth and chin.
    Mouth,
    /// Hair and neck too.
    Head,
}

/// What the "other" face looks like, the same through the whole clip as a generator's output would
/// be. Lengths are in units of the distance between the eyes.
pub struct Look {
    region: Region,
    /// Gain of red, green and blue, and what is added, of 255.
    gain: [f32; 3],
    offset: f32,
    /// Pixels between the eyes in the face before it is pasted: a generator's resolution.
    eye_distance: f32,
    /// Strength of an edge-preserving filter that takes fine texture away, of 255; 0: none.
    smoothing: f64,
    /// How much the enlarged face is sharpened; 0: not.
    sharpening: f64,
    scale: f32,
    rotation_degrees: f32,
    /// By how much the mouth opens and closes by itself, of its height, and how often a second.
    speech: (f32, f32),
    /// Share of the pasted face at the middle of the mask.
    opacity: f32,
    /// Width of the seam.
    seam: f64,
    /// How far the pasted face is off from frame to frame.
    jitter: f32,
}

/// The face as it is, pasted whole.
const UNCHANGED: Look = Look {
    region: Region::Face,
    gain: [1.0, 1.0, 1.0],
    offset: 0.0,
    eye_distance: f32::INFINITY,
    smoothing: 0.0,
    sharpening: 0.0,
    scale: 1.0,
    rotation_degrees: 0.0,
    speech: (0.0, 0.0),
    opacity: 1.0,
    seam: 0.0,
    jitter: 0.0,
};

/// A face swap.
pub const SWAP: Look = Look {
    gain: [1.07, 0.98, 0.93],
    offset: 4.0,
    eye_distance: 26.0,
    sharpening: 0.8,
    scale: 1.05,
    rotation_degrees: 1.5,
    opacity: 0.95,
    seam: 0.10,
    jitter: 0.02,
    ..UNCHANGED
};

/// Lip-sync.
pub const MOUTH: Look = Look {
    region: Region::Mouth,
    gain: [1.01, 1.0, 0.99],
    offset: 1.0,
    eye_distance: 34.0,
    smoothing: 12.0,
    sharpening: 0.5,
    speech: (0.25, 3.5),
    seam: 0.16,
    jitter: 0.01,
    ..UNCHANGED
};

/// A head that a generator has redrawn.
pub const GENERATED: Look = Look {
    region: Region::Head,
    eye_distance: 40.0,
    smoothing: 20.0,
    sharpening: 1.0,
    seam: 0.35,
    jitter: 0.006,
    ..UNCHANGED
};

struct Blender {
    look: &'static Look,
    detector: FaceDetector,
    tracker: Tracker,
    random: Random,
    /// Faces changed so far.
    blended: u64,
}

impl Blender {
    fn new(look: &'static Look) -> anyhow::Result<Self> {
        let file = places::find_detector("centerface.onnx")?;
        Ok(Self {
            look,
            // One thread gives the same clip on every run.
            detector: FaceDetector::load(&file, &SessionOptions { threads: 1, ..SessionOptions::default() })?,
            tracker: Tracker::new(TrackerSettings::default()),
            random: Random(0x5eed),
            blended: 0,
        })
    }

    /// Changes every face in an RGB frame.
    fn blend_frame(
        &mut self,
        frame: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
        pts: u64,
    ) -> anyhow::Result<()> {
        let (width, height) = (frame.width() as i32, frame.height() as i32);
        let stride = frame.plane_stride()[0] as usize;
        let data = frame.plane_data_mut(0)?;
        // SAFETY: the mapped plane holds `height` rows of `stride` bytes, and outlives the Mat,
        // which ends with this call; nothing else touches it meanwhile.
        let mut picture = unsafe {
            Mat::new_rows_cols_with_data_unsafe(height, width, core::CV_8UC3, data.as_mut_ptr().cast(), stride)?
        };

        let mut small = Mat::default();
        let small_size = Size::new(DETECTION_WIDTH, (height * DETECTION_WIDTH / width).max(1));
        imgproc::resize(&picture, &mut small, small_size, 0.0, 0.0, imgproc::INTER_AREA)?;
        let view = Picture {
            pixels: small.data_bytes()?,
            width: small_size.width as usize,
            height: small_size.height as usize,
        };
        let mut faces = self.detector.detect(view, DETECTION_THRESHOLD)?;
        let scale = Point { x: width as f32 / small_size.width as f32, y: height as f32 / small_size.height as f32 };
        for face in &mut faces {
            face.rect.x *= scale.x;
            face.rect.width *= scale.x;
            face.rect.y *= scale.y;
            face.rect.height *= scale.y;
            for point in face.landmarks.iter_mut().flatten() {
                *point = Point { x: point.x * scale.x, y: point.y * scale.y };
            }
        }

        let landmarks: Vec<Landmarks> = self
            .tracker
            .update(pts, &faces)
            .iter()
            .filter(|track| track.seen)
            .filter_map(|track| track.landmarks)
            .collect();
        for landmarks in landmarks {
            let off = Point { x: self.random.around_zero(), y: self.random.around_zero() };
            let seconds = gst::ClockTime::from_nseconds(pts).seconds_f32();
            self.blended += u64::from(blend_face(&mut picture, self.look, &landmarks, off, seconds)?);
        }
        Ok(())
    }
}

/// Replaces the look's region. `off` is where the pasted face sits wrongly, -1..1 of the jitter.
/// False if the face is too small or too near the frame's edge.
fn blend_face(picture: &mut Mat, look: &Look, landmarks: &Landmarks, off: Point, seconds: f32) -> anyhow::Result<bool> {
    let [left_eye, right_eye, _, left_mouth, right_mouth] = *landmarks;
    let middle = |a: Point, b: Point| Point { x: (a.x + b.x) / 2.0, y: (a.y + b.y) / 2.0 };
    let distance = |a: Point, b: Point| (a.x - b.x).hypot(a.y - b.y);
    let (eyes, mouth) = (middle(left_eye, right_eye), middle(left_mouth, right_mouth));
    let center = middle(eyes, mouth);
    let (across, down) = (distance(left_eye, right_eye), distance(eyes, mouth));
    // Turned away, the distance between the eyes shrinks; the one down to the mouth does not.
    let unit = across.max(down * 0.9);

    // A square around the face, wide enough for the seam.
    let half = (unit * 2.2) as i32;
    let wanted = core::Rect::new(center.x as i32 - half, center.y as i32 - half, 2 * half, 2 * half);
    let part = wanted & core::Rect::new(0, 0, picture.cols(), picture.rows());
    if half < 8 || part.area() * 2 < wanted.area() {
        return Ok(false);
    }
    let local = |point: Point| Point2f::new(point.x - part.x as f32, point.y - part.y as f32);
    let original = picture.roi(part)?.try_clone()?;

    let (extent, often) = look.speech;
    let opening = 1.0 + extent * (std::f32::consts::TAU * often * seconds).sin();
    let pasted = other_face(&original, look, local(center), (local(mouth), opening), unit, off)?;
    let (middle, axes) = match look.region {
        Region::Face => (local(center), ((across * 0.95).max(unit * 0.5), down * 1.25)),
        Region::Mouth => (local(mouth), (across.max(unit * 0.6) * 0.7, down * 0.6)),
        Region::Head => (local(center), (unit * 1.45, unit * 1.9)),
    };
    let angle = (mouth.y - eyes.y).atan2(mouth.x - eyes.x).to_degrees() - 90.0;
    let mask = mask(&original, middle, axes, angle, f64::from(unit) * look.seam)?;

    let mut target = picture.roi_mut(part)?;
    for row in 0..part.height {
        let (pasted, mask) = (pasted.at_row::<core::Vec3b>(row)?, mask.at_row::<f32>(row)?);
        let target = target.at_row_mut::<core::Vec3b>(row)?;
        for ((target, pasted), share) in target.iter_mut().zip(pasted).zip(mask) {
            let share = share * look.opacity;
            for channel in 0..3 {
                let mixed = f32::from(pasted[channel]) * share + f32::from(target[channel]) * (1.0 - share);
                target[channel] = mixed.round() as u8;
            }
        }
    }
    Ok(true)
}

/// The face as a generator would have made it: moved a little, of low resolution, sharpened, in
/// another colour. `mouth`: its middle, and the factor by which it is higher.
fn other_face(
    original: &Mat,
    look: &Look,
    center: Point2f,
    mouth: (Point2f, f32),
    unit: f32,
    off: Point,
) -> anyhow::Result<Mat> {
    let mut moved = Mat::default();
    let mut affine = imgproc::get_rotation_matrix_2d(center, f64::from(look.rotation_degrees), f64::from(look.scale))?;
    *affine.at_2d_mut::<f64>(0, 2)? += f64::from(off.x * look.jitter * unit);
    *affine.at_2d_mut::<f64>(1, 2)? += f64::from(off.y * look.jitter * unit);
    let (place, opening) = (f64::from(mouth.0.y), f64::from(mouth.1));
    for column in 0..3 {
        *affine.at_2d_mut::<f64>(1, column)? *= opening;
    }
    *affine.at_2d_mut::<f64>(1, 2)? += place * (1.0 - opening);
    imgproc::warp_affine(
        original,
        &mut moved,
        &affine,
        original.size()?,
        imgproc::INTER_CUBIC,
        core::BORDER_REFLECT_101,
        Scalar::default(),
    )?;

    let shrink = f64::from(look.eye_distance / unit).min(1.0);
    let (mut small, mut large) = (Mat::default(), Mat::default());
    imgproc::resize(&moved, &mut small, Size::default(), shrink, shrink, imgproc::INTER_AREA)?;
    if look.smoothing > 0.0 {
        let rough = small.try_clone()?;
        imgproc::bilateral_filter_def(&rough, &mut small, 5, look.smoothing, 2.0)?;
    }
    imgproc::resize(&small, &mut large, original.size()?, 0.0, 0.0, imgproc::INTER_CUBIC)?;

    let (mut soft, mut sharp) = (Mat::default(), Mat::default());
    let sigma = f64::from(unit) / 20.0;
    imgproc::gaussian_blur_def(&large, &mut soft, Size::default(), sigma)?;
    core::add_weighted_def(&large, 1.0 + look.sharpening, &soft, -look.sharpening, 0.0, &mut sharp)?;

    for row in 0..sharp.rows() {
        for pixel in sharp.at_row_mut::<core::Vec3b>(row)? {
            for (value, gain) in pixel.iter_mut().zip(look.gain) {
                *value = (f32::from(*value) * gain + look.offset).round().clamp(0.0, 255.0) as u8;
            }
        }
    }
    Ok(sharp)
}

/// How much of the pasted face shows at each pixel, 0..1: an ellipse with a soft seam. `axes` across and down the face.
fn mask(original: &Mat, center: Point2f, axes: (f32, f32), angle_degrees: f32, seam: f64) -> anyhow::Result<Mat> {
    let axes = Size::new(axes.0 as i32, axes.1 as i32);
    let mut outline = Vector::<core::Point>::new();
    imgproc::ellipse_2_poly(
        core::Point::new(center.x as i32, center.y as i32),
        axes,
        angle_degrees as i32,
        0,
        360,
        4,
        &mut outline,
    )?;
    let mut hard = Mat::new_size_with_default(original.size()?, core::CV_32F, Scalar::default())?;
    imgproc::fill_convex_poly_def(&mut hard, &outline, Scalar::all(1.0))?;
    let mut soft = Mat::default();
    imgproc::gaussian_blur_def(&hard, &mut soft, Size::default(), seam)?;
    Ok(soft)
}

/// SplitMix64: the jitter must be the same on every run, no more.
struct Random(u64);

impl Random {
    /// -1..1
    fn around_zero(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
