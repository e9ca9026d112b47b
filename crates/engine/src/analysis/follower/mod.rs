//! From frames to followed faces: where the detector looks, scene cuts, detections and tracks.
//!
//! Looking at all of a frame closely enough to find small faces costs far more than everything else, and is done now and then only:
//! faces are *discovered* at a low rate. In between each is *followed*: looked for around the place where it is expected, at the scale
//! at which it is seen well. See [`window`].

mod turn;
pub mod window;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::AnalysisError;
use super::detector::{Detection, FaceDetector, Picture};
use super::frame::FrameView;
use super::geometry::Rect;
use super::sampler::{ChannelOrder, Sampler};
use super::tracker::cut::{self, CutDetector, Shot};
use super::tracker::{Track, Tracker, TrackerSettings};
use crate::inference::Placement;
use turn::Turn;
use window::{Levels, Window};

/// Longer side, in pixels, of the picture in which most faces are followed: one that is large enough there is seen no better in a
/// larger one. Faces that are large even in a picture half as large are followed in that one.
pub const FOLLOWING_SIZE: u32 = 320;
/// A track is continued, though never begun, by detections down to this part of the detection threshold.
const DOUBTFUL: f32 = 0.5;
/// While faces are discovered, a find down to this part of the detection threshold is worth a closer look, which decides. CenterFace
/// finds 66 % of faces 21 pixels high with a confidence of 0.5, 99 % with 0.15, and one thing that is no face in three pictures.
const PROPOSED: f32 = 0.3;
/// Rows of the frame that are averaged to one of the thumbnail, at least.
const THUMBNAIL_ROWS: u32 = 4;
/// Boxes that share more than this (intersection over union), seen in different windows, are the same face.
const SAME_FACE_IOU: f32 = 0.3;

/// How faces are found and followed.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowerSettings {
    /// Longer side, in pixels, of the picture in which new faces are looked for. Smaller frames are not enlarged.
    pub detection_size: u32,
    /// Nanoseconds from one search of the whole frame for new faces to the next.
    pub discovery_interval: u64,
    /// Smallest confidence of a new face, 0..1.
    pub detection_threshold: f32,
    /// The detector runs on every n-th frame that is given; in between, tracks move on as they moved before.
    pub detect_interval: u32,
    /// Follow no more than this many faces: the largest.
    pub max_faces: usize,
}

impl Default for FollowerSettings {
    fn default() -> Self {
        Self {
            detection_size: 640,
            discovery_interval: 900_000_000,
            detection_threshold: 0.5,
            detect_interval: 1,
            max_faces: 16,
        }
    }
}

/// Finds faces in the frames of one stream and follows them.
pub struct FaceFollower {
    settings: FollowerSettings,
    detector: Option<FaceDetector>,
    samplers: Samplers,
    shots: ShotWatch,
    /// What was said of the newest frame.
    shot: Shot,
    tracker: Tracker,
    until_detection: u32,
    /// PTS in nanoseconds of the frame in which faces were last discovered; `None` at the start of a shot.
    discovered: Option<u64>,
    takes_turns: bool,
    /// Kept only for their memory.
    windows: Vec<Window>,
    sightings: Vec<Sighting>,
}

/// One for each size of window, since each keeps the memory for one size.
#[derive(Default)]
struct Samplers(BTreeMap<(u32, u32), Sampler>);

impl Samplers {
    /// More sizes than a scene has at a time.
    const MAX: usize = 16;

    fn of(&mut self, width: u32, height: u32) -> &mut Sampler {
        if self.0.len() >= Self::MAX && !self.0.contains_key(&(width, height)) {
            self.0.clear();
        }
        self.0.entry((width, height)).or_default()
    }
}

/// A face as it was seen in one window.
struct Sighting {
    /// In pixels of the frame.
    face: Detection,
    /// Large enough, and with how much of what is around it, 0..1: what decides where a face was seen in several windows.
    well: bool,
    room: f32,
}

impl FaceFollower {
    /// Without a detector only faces that are [given](Self::follow_given) are followed.
    pub fn new(detector: Option<FaceDetector>, settings: FollowerSettings) -> Self {
        let tracker = Tracker::new(tracker_settings(&settings));
        Self {
            settings,
            detector,
            samplers: Samplers::default(),
            shots: ShotWatch::default(),
            shot: Shot::Same,
            tracker,
            until_detection: 0,
            discovered: None,
            takes_turns: false,
            windows: vec![],
            sightings: vec![],
        }
    }

    /// Changes how faces are found from the next frame on; followed faces stay.
    pub fn set_settings(&mut self, settings: FollowerSettings) {
        self.tracker.set_settings(tracker_settings(&settings));
        self.settings = settings;
    }

    /// From now on puts off the search of a whole frame while [others](turn) are at it: by no more than the interval once more, and
    /// never the first of a shot. What is found then depends on what others do.
    pub fn take_turns(&mut self) {
        self.takes_turns = true;
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
        self.shot = self.shots.look(frame)?;
        match self.shot {
            Shot::Same => {}
            Shot::Doubtful => return Ok(self.tracker.hide(frame.pts)),
            Shot::New => {
                self.tracker.reset();
                self.until_detection = 0;
                self.discovered = None;
            }
        }
        if self.until_detection > 0 {
            self.until_detection -= 1;
            return Ok(self.tracker.coast(frame.pts));
        }

        let FollowerSettings { detection_size, discovery_interval, detection_threshold, max_faces, .. } = self.settings;
        let is_over = |last: u64, interval: u64| frame.pts < last || frame.pts - last >= interval;
        let is_due = self.discovered.is_none_or(|last| is_over(last, discovery_interval));
        let can_wait = self.takes_turns && self.discovered.is_some_and(|last| !is_over(last, 2 * discovery_interval));
        let turn = if is_due { Turn::take() } else { None };
        let discovers = is_due && (turn.is_some() || !can_wait);
        let levels = Levels::of(frame, FOLLOWING_SIZE.min(detection_size));
        let discovery = Levels::of(frame, detection_size).usual();
        let arrange = if detector.wants_few_sizes() { window::widen } else { window::join };
        let samplers = &mut self.samplers;
        let mut look = |window: &Window, threshold: f32| look(detector, samplers, frame, window, threshold);

        // Where followed faces are expected.
        self.windows.clear();
        self.windows.extend(self.tracker.expected(frame.pts).filter_map(|(rect, reach)| levels.window(&rect, reach)));
        if discovers {
            self.windows.retain(|window| window.picture != discovery.picture);
        }
        arrange(&mut self.windows);
        self.sightings.clear();
        for window in &self.windows {
            self.sightings.extend(look(window, detection_threshold * DOUBTFUL)?);
        }

        // The whole frame. Faces that are better seen at another scale are only proposed by it.
        if discovers {
            let sure = |face: &Detection| face.confidence > detection_threshold;
            let picture_for = |face: &Detection| levels.picture_for(face.rect.area().sqrt()).picture;
            let (seen, mut proposed): (Vec<_>, Vec<_>) = look(&discovery, detection_threshold * PROPOSED)?
                .into_iter()
                .partition(|sighting| picture_for(&sighting.face) == discovery.picture);
            let seen = seen.into_iter().filter(|seen| seen.face.confidence > detection_threshold * DOUBTFUL);
            self.sightings.extend(seen);
            proposed.retain(|new| !self.sightings.iter().any(|known| known.well && is_same(&known.face, &new.face)));
            proposed.sort_by(|a, b| {
                let rank = |sighting: &Sighting| Reverse(sure(&sighting.face));
                rank(a).cmp(&rank(b)).then(b.face.rect.area().total_cmp(&a.face.rect.area()))
            });
            proposed.truncate(max_faces);
            self.windows.clear();
            self.windows.extend(proposed.iter().filter_map(|new| levels.window(&new.face.rect, 0.0)));
            arrange(&mut self.windows);
            for window in &self.windows {
                self.sightings.extend(look(window, detection_threshold * DOUBTFUL)?);
            }
            self.discovered = Some(frame.pts);
        }
        drop(turn);
        self.until_detection = self.settings.detect_interval.saturating_sub(1);

        let mut faces = best(&mut self.sightings);
        keep_largest(&mut faces, max_faces);
        Ok(self.tracker.update(frame.pts, &faces))
    }

    /// Follows faces that somebody else found in `frame`.
    ///
    /// # Errors
    /// If OpenCV fails.
    pub fn follow_given(&mut self, frame: &FrameView, faces: &[Detection]) -> Result<&[Track], AnalysisError> {
        self.shot = self.shots.look(frame)?;
        match self.shot {
            Shot::Same => {}
            Shot::Doubtful => return Ok(self.tracker.hide(frame.pts)),
            Shot::New => self.tracker.reset(),
        }
        let mut faces = faces.to_vec();
        keep_largest(&mut faces, self.settings.max_faces);
        Ok(self.tracker.update(frame.pts, &faces))
    }

    /// Every followed face, as the newest frame left it.
    pub fn tracks(&self) -> &[Track] {
        self.tracker.tracks()
    }

    /// As [`Tracker::renew`].
    pub fn renew(&mut self, id: u32) -> u32 {
        self.tracker.renew(id)
    }

    /// Whether the newest frame may belong to another shot: nothing known of its faces holds for what it shows.
    pub fn is_in_doubt(&self) -> bool {
        self.shot == Shot::Doubtful
    }

    /// Forgets all faces: the next frame has nothing to do with the last. Ids go on.
    pub fn reset(&mut self) {
        self.tracker.reset();
        self.shots.reset();
        self.shot = Shot::Same;
        self.until_detection = 0;
        self.discovered = None;
    }
}

/// Watches a stream for cuts, frame by frame.
#[derive(Default)]
pub struct ShotWatch {
    thumbnails: Sampler,
    cut: CutDetector,
}

impl ShotWatch {
    /// Whether `frame` goes on with the shot of the frames before.
    ///
    /// # Errors
    /// If OpenCV fails.
    pub fn look(&mut self, frame: &FrameView) -> Result<Shot, AnalysisError> {
        Ok(self.cut.look(&thumbnail(&mut self.thumbnails, frame)?))
    }

    /// The next frame is the first.
    pub fn reset(&mut self) {
        self.cut.reset();
    }
}

/// Finds the faces in a window whose confidence is above `threshold`. Those that the window cuts off are left out.
fn look(
    detector: &mut FaceDetector,
    samplers: &mut Samplers,
    frame: &FrameView,
    window: &Window,
    threshold: f32,
) -> Result<Vec<Sighting>, AnalysisError> {
    let (part, width, height) = (window.part(), window.width(), window.height());
    let pixels = samplers.of(width, height).sample(frame, &part, width, height, detector.order())?;
    let picture = Picture { pixels, width: width as usize, height: height as usize };
    let mut sightings = Vec::new();
    for mut face in detector.detect(picture, threshold)? {
        let (well, room) = (window.sees_well(&face.rect), window.room(&face.rect));
        if room > 0.0 {
            place(&mut face, &part, width, height);
            sightings.push(Sighting { face, well, room });
        }
    }
    Ok(sightings)
}

/// Each face as it was seen best.
fn best(sightings: &mut [Sighting]) -> Vec<Detection> {
    sightings.sort_by(|a, b| {
        let by_view = b.well.cmp(&a.well).then(b.room.total_cmp(&a.room));
        by_view.then(b.face.confidence.total_cmp(&a.face.confidence))
    });
    let mut faces: Vec<Detection> = Vec::new();
    for Sighting { face, .. } in sightings {
        if faces.iter().all(|known| !is_same(known, face)) {
            faces.push(face.clone());
        }
    }
    faces
}

fn is_same(a: &Detection, b: &Detection) -> bool {
    a.rect.iou(&b.rect) > SAME_FACE_IOU
}

/// The frame as [`CutDetector`] takes it: grey, [`cut::WIDTH`] × [`cut::HEIGHT`] pixels.
///
/// # Errors
/// If OpenCV fails.
pub fn thumbnail(sampler: &mut Sampler, frame: &FrameView) -> Result<Vec<u8>, AnalysisError> {
    let (width, height) = (cut::WIDTH as u32, cut::HEIGHT as u32);
    let frame = &frame.rough(height * THUMBNAIL_ROWS);
    let pixels = sampler.sample(frame, &frame.bounds(), width, height, ChannelOrder::Rgb)?;
    let grey = |&[red, green, blue]: &[u8; 3]| ((u16::from(red) + 2 * u16::from(green) + u16::from(blue)) / 4) as u8;
    Ok(pixels.as_chunks::<3>().0.iter().map(grey).collect())
}

/// From pixels of a window `width`×`height` to pixels of the frame, of which the window shows `part`.
pub fn place(face: &mut Detection, part: &Rect, width: u32, height: u32) {
    let (scale_x, scale_y) = (part.width / width as f32, part.height / height as f32);
    face.rect.x = part.x + face.rect.x * scale_x;
    face.rect.y = part.y + face.rect.y * scale_y;
    face.rect.width *= scale_x;
    face.rect.height *= scale_y;
    for point in face.landmarks.iter_mut().flatten() {
        point.x = part.x + point.x * scale_x;
        point.y = part.y + point.y * scale_y;
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
        max_tracks: settings.max_faces,
        ..TrackerSettings::default()
    }
}
