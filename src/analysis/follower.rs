//! From frames to followed faces: the detector's small picture, scene cuts, detections and tracks.

use super::AnalysisError;
use super::detector::{Detection, FaceDetector, Picture};
use super::frame::{ColorRange, FrameView, PixelFormat, Plane};
use super::sampler::{ChannelOrder, PixelRect, Sampler};
use super::tracker::cut::{self, CutDetector};
use super::tracker::{Track, Tracker, TrackerSettings};
use crate::inference::Placement;

/// A track is continued, though never begun, by detections down to this part of the detection threshold.
const DOUBTFUL: f32 = 0.5;

/// How faces are found and followed.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowerSettings {
    /// Longer side, in pixels, of the picture that the detector sees. Smaller frames are not enlarged.
    pub detection_size: u32,
    /// Least confidence of a new face, 0..1.
    pub detection_threshold: f32,
    /// The detector runs on every n-th frame that is given; in between, tracks move on as they moved before.
    pub detect_interval: u32,
    /// Follow no more than this many faces: the largest.
    pub max_faces: usize,
}

impl Default for FollowerSettings {
    fn default() -> Self {
        Self { detection_size: 320, detection_threshold: 0.5, detect_interval: 1, max_faces: 16 }
    }
}

/// Finds faces in the frames of one stream and follows them.
pub struct FaceFollower {
    settings: FollowerSettings,
    detector: Option<FaceDetector>,
    sampler: Sampler,
    thumbnails: Sampler,
    cut: CutDetector,
    tracker: Tracker,
    until_detection: u32,
}

impl FaceFollower {
    /// Without a detector only faces that are [given](Self::follow_given) are followed.
    pub fn new(detector: Option<FaceDetector>, settings: FollowerSettings) -> Self {
        let tracker = Tracker::new(tracker_settings(&settings));
        Self {
            settings,
            detector,
            sampler: Sampler::default(),
            thumbnails: Sampler::default(),
            cut: CutDetector::default(),
            tracker,
            until_detection: 0,
        }
    }

    /// Changes how faces are found from the next frame on; followed faces stay.
    pub fn set_settings(&mut self, settings: FollowerSettings) {
        self.tracker.set_settings(tracker_settings(&settings));
        self.settings = settings;
    }

    /// On what the detector runs right now.
    pub fn placement(&self) -> Option<Placement> {
        self.detector.as_ref().map(FaceDetector::placement)
    }

    /// Finds and follows the faces of `frame`. Returns every followed face, in the order of ids, also those hidden right now.
    ///
    /// # Errors
    /// If the detector's graph or OpenCV fails. What was followed so far stays.
    pub fn follow(&mut self, frame: &FrameView) -> Result<&[Track], AnalysisError> {
        let Some(detector) = &mut self.detector else { return self.follow_given(frame, &[]) };
        let scale = (self.settings.detection_size as f32 / frame.width.max(frame.height) as f32).min(1.0);
        let side = |pixels: u32| ((pixels as f32 * scale).round() as u32).max(1);
        let (width, height) = (side(frame.width), side(frame.height));
        let pixels = self.sampler.sample(frame, PixelRect::of(frame), width, height, detector.order())?;

        let small = FrameView::new(
            PixelFormat::Rgb,
            width,
            height,
            &[Plane { data: pixels, stride: width as usize * 3 }],
            frame.matrix,
            ColorRange::Full,
            frame.pts,
        )?;
        if self.cut.is_cut(&thumbnail(&mut self.thumbnails, &small)?) {
            self.tracker.reset();
            self.until_detection = 0;
        }
        if self.until_detection > 0 {
            self.until_detection -= 1;
            return Ok(self.tracker.coast(frame.pts));
        }
        self.until_detection = self.settings.detect_interval.saturating_sub(1);

        let picture = Picture { pixels, width: width as usize, height: height as usize };
        let mut faces = detector.detect(picture, self.settings.detection_threshold * DOUBTFUL)?;
        let (scale_x, scale_y) = (frame.width as f32 / width as f32, frame.height as f32 / height as f32);
        faces.iter_mut().for_each(|face| enlarge(face, scale_x, scale_y));
        keep_largest(&mut faces, self.settings.max_faces);
        Ok(self.tracker.update(frame.pts, &faces))
    }

    /// Follows faces that somebody else found in `frame`.
    ///
    /// # Errors
    /// If OpenCV fails.
    pub fn follow_given(&mut self, frame: &FrameView, faces: &[Detection]) -> Result<&[Track], AnalysisError> {
        if self.cut.is_cut(&thumbnail(&mut self.thumbnails, frame)?) {
            self.tracker.reset();
        }
        let mut faces = faces.to_vec();
        keep_largest(&mut faces, self.settings.max_faces);
        Ok(self.tracker.update(frame.pts, &faces))
    }

    /// Forgets all faces: the next frame has nothing to do with the last. Ids go on.
    pub fn reset(&mut self) {
        self.tracker.reset();
        self.cut.reset();
        self.until_detection = 0;
    }
}

/// The frame as [`CutDetector`] takes it: grey, [`cut::WIDTH`] × [`cut::HEIGHT`] pixels.
///
/// # Errors
/// If OpenCV fails.
pub fn thumbnail(sampler: &mut Sampler, frame: &FrameView) -> Result<Vec<u8>, AnalysisError> {
    let (width, height) = (cut::WIDTH as u32, cut::HEIGHT as u32);
    let pixels = sampler.sample(frame, PixelRect::of(frame), width, height, ChannelOrder::Rgb)?;
    let grey = |&[red, green, blue]: &[u8; 3]| ((u16::from(red) + 2 * u16::from(green) + u16::from(blue)) / 4) as u8;
    Ok(pixels.as_chunks::<3>().0.iter().map(grey).collect())
}

/// From pixels of the small picture to pixels of the frame.
fn enlarge(face: &mut Detection, scale_x: f32, scale_y: f32) {
    face.rect.x *= scale_x;
    face.rect.y *= scale_y;
    face.rect.width *= scale_x;
    face.rect.height *= scale_y;
    for point in face.landmarks.iter_mut().flatten() {
        point.x *= scale_x;
        point.y *= scale_y;
    }
}

/// Drops all but the `count` largest faces.
fn keep_largest(faces: &mut Vec<Detection>, count: usize) {
    if faces.len() > count {
        faces.sort_by(|a, b| b.rect.area().total_cmp(&a.rect.area()));
        faces.truncate(count);
    }
}

fn tracker_settings(settings: &FollowerSettings) -> TrackerSettings {
    TrackerSettings {
        high_confidence: settings.detection_threshold,
        low_confidence: settings.detection_threshold * DOUBTFUL,
        ..TrackerSettings::default()
    }
}
