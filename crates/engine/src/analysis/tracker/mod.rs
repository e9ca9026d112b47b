//! Following faces: the same id for the same face from frame to frame.
//!
//! | file | what it holds |
//! |---|---|
//! | [`motion`] | where a face will be (Kalman filter) |
//! | [`association`] | which detection belongs to which track (Kuhn-Munkres) |
//! | [`smooth`] | the box and the landmarks that are shown and cropped (One-Euro filter) |
//! | [`cut`] | whether a new shot begins, where all tracks end |
//!
//! Detections are taken in two steps, as in ByteTrack (Zhang et al., ECCV 2022): the sure ones first; then the doubtful
//! ones, mostly half-hidden faces, which may continue a track but never begin one. A track that finds no detection
//! goes on by itself, ever slower, for [`TrackerSettings::max_missed`].
//!
//! A new face is followed in silence until it was seen [`TrackerSettings::min_hits`] times in a row, and only then gets an
//! id, so that a detector's blunder in a single frame burns none. The first faces of a stream, and the first after
//! a [reset](Tracker::reset), get theirs at once: where a shot begins nearly every sure detection is a face, and waiting
//! would leave the frame without any.

mod association;
pub mod cut;
mod motion;
mod smooth;

use std::cmp::Ordering;

use self::{
    association::{Assigner, Expected},
    motion::Motion,
    smooth::Smoother,
};
use super::{
    detector::Detection,
    geometry::{Landmarks, Rect},
};

/// A detection that covers another one by more than this (IoU) is the same face twice.
const DUPLICATE_OVERLAP: f32 = 0.9;
/// No track begins on a box that covers a followed one by more than this (IoU): it is a second box for the same face.
const BIRTH_OVERLAP: f32 = 0.5;
/// Boxes beyond this many pixels from the origin, or smaller than this side, are garbage. Keeps all arithmetic finite.
const FARTHEST_PIXEL: f32 = 1e6;
const SMALLEST_SIDE: f32 = 1e-2;

/// How faces are followed.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackerSettings {
    /// Detections of at least this confidence begin tracks and are matched first. 0..1
    pub high_confidence: f32,
    /// Detections below this are ignored; those between the two only continue tracks. 0..1
    pub low_confidence: f32,
    /// How long a track outlives its last detection, in nanoseconds.
    pub max_missed: u64,
    /// Detections in a row after which a new face is reported; 1 reports at once.
    pub min_hits: u32,
    /// Follow no more faces than this, hidden ones included: those that were seen last.
    pub max_tracks: usize,
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self {
            high_confidence: 0.5,
            low_confidence: 0.25,
            max_missed: 1_000_000_000,
            min_hits: 2,
            max_tracks: usize::MAX,
        }
    }
}

/// One followed face.
#[derive(Clone, Debug)]
pub struct Track {
    /// From 1; never given twice by one [`Tracker`].
    pub id: u32,
    /// Smoothed box in pixels of the frame. May lie partly outside it.
    pub rect: Rect,
    /// Smoothed landmarks; `None` if no detection of this face had any.
    pub landmarks: Option<Landmarks>,
    /// Of the newest matched detection, 0..1.
    pub confidence: f32,
    /// A detection was found in the newest [`Tracker::update`]. [`Tracker::coast`] leaves it as it is.
    pub seen: bool,
    /// PTS in nanoseconds of the newest matched detection.
    pub last_seen: u64,
    /// PTS in nanoseconds of the first one.
    pub born: u64,
    /// Number of detections matched so far.
    pub hits: u32,
    motion: Motion,
    smoother: Smoother,
    /// When last seen, in box sides per second.
    speed: f32,
}

/// Follows faces through one stream. Time is the frames' PTS in nanoseconds, at any frame rate.
///
/// Never panics, whatever it is given: boxes that are not finite, empty or beyond ±10⁶ pixels are ignored, and so is a confidence
/// that is no number. Time that stands still or goes back counts as no time passed.
#[derive(Debug)]
pub struct Tracker {
    settings: TrackerSettings,
    /// In the order of their ids.
    tracks: Vec<Track>,
    /// Not seen often enough yet; ids are 0.
    tentative: Vec<Track>,
    next_id: u32,
    /// PTS of the newest frame; `None` at the start of a shot.
    now: Option<u64>,
    /// At least one update had detections since the start of the shot.
    shot_populated: bool,
    assigner: Assigner,
    /// Kept only for its memory.
    faces: Vec<Candidate>,
}

impl Tracker {
    pub fn new(settings: TrackerSettings) -> Self {
        Self {
            settings,
            tracks: vec![],
            tentative: vec![],
            next_id: 1,
            now: None,
            shot_populated: false,
            assigner: Assigner::default(),
            faces: vec![],
        }
    }

    /// Changes how faces are followed from the next frame on.
    pub fn set_settings(&mut self, settings: TrackerSettings) {
        self.settings = settings;
    }

    /// Takes in what the detector found in the frame at `pts`. The order of `detections` does not matter.
    ///
    /// Returns all followed faces in the order of their ids, also those hidden right now.
    pub fn update(&mut self, pts: u64, detections: &[Detection]) -> &[Track] {
        self.advance(pts);
        let mut faces = std::mem::take(&mut self.faces);
        select(detections, &self.settings, &mut faces);
        for track in self.tracks.iter_mut().chain(&mut self.tentative) {
            track.seen = false;
        }
        continue_tracks(&mut self.assigner, &mut self.tracks, &mut faces, pts, true);
        continue_tracks(&mut self.assigner, &mut self.tracks, &mut faces, pts, false);
        continue_tracks(&mut self.assigner, &mut self.tentative, &mut faces, pts, true);
        self.tentative.retain(|track| track.seen);
        self.begin_tracks(&faces, pts);
        self.faces = faces;
        self.drop_lost(pts);
        self.drop_beyond();
        &self.tracks
    }

    /// As [`coast`](Self::coast) where the frame shows something that may be no part of the shot: no face counts as seen.
    pub fn hide(&mut self, pts: u64) -> &[Track] {
        for track in self.tracks.iter_mut().chain(&mut self.tentative) {
            track.seen = false;
        }
        self.coast(pts)
    }

    /// Moves the tracks to `pts` where the detector was not run: no track counts as missed by it.
    pub fn coast(&mut self, pts: u64) -> &[Track] {
        self.advance(pts);
        self.drop_lost(pts);
        &self.tracks
    }

    /// Where each followed face is to be looked for at `pts`: the box that is expected then, and how far beyond its edges the face
    /// may be, in pixels. Nothing is changed by asking.
    pub fn expected(&self, pts: u64) -> impl Iterator<Item = (Rect, f32)> {
        let dt = self.step(pts);
        self.tracks.iter().chain(&self.tentative).map(move |track| {
            let mut moved = track.motion.clone();
            moved.predict(dt, side(&track.rect), !track.seen);
            let rect = Rect::from_center(moved.center(), track.rect.width, track.rect.height);
            let unseen_s = seconds(pts.saturating_sub(track.last_seen)) as f32;
            let reach = association::reach(&Expected { rect, unseen_s, speed: track.speed });
            (rect, reach * side(&rect) as f32)
        })
    }

    /// Drops all tracks: a new shot, a flush, a jump in time. Ids go on where they were.
    pub fn reset(&mut self) {
        self.tracks.clear();
        self.tentative.clear();
        self.now = None;
        self.shot_populated = false;
    }

    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// The face of the track `id` has turned out to be another one than before: it goes on under a new id, which is returned.
    pub fn renew(&mut self, id: u32) -> u32 {
        let place = self.tracks.iter().position(|track| track.id == id);
        let Some((place, next_id)) = place.zip(self.next_id.checked_add(1)) else { return id };
        let track =
            Track { id: self.next_id, born: self.now.unwrap_or_default(), hits: 1, ..self.tracks.remove(place) };
        self.next_id = next_id;
        self.tracks.push(track);
        next_id - 1
    }

    /// Seconds from the newest frame to the one at `pts`. After a longer hole a velocity says nothing any more.
    fn step(&self, pts: u64) -> f64 {
        let passed = self.now.map_or(0, |now| pts.saturating_sub(now));
        seconds(passed.min(self.settings.max_missed))
    }

    fn advance(&mut self, pts: u64) {
        let dt = self.step(pts);
        self.now = Some(pts);
        for track in self.tracks.iter_mut().chain(&mut self.tentative) {
            track.advance(pts, dt);
        }
    }

    fn drop_lost(&mut self, pts: u64) {
        let max_missed = self.settings.max_missed;
        self.tracks.retain(|track| track.seen || pts - track.last_seen <= max_missed);
    }

    /// Keeps as many tracks as are allowed: first those that were seen last, then the largest.
    fn drop_beyond(&mut self) {
        let max = self.settings.max_tracks;
        if self.tracks.len() > max {
            let worth =
                |a: &Track, b: &Track| b.last_seen.cmp(&a.last_seen).then(b.rect.area().total_cmp(&a.rect.area()));
            self.tracks.sort_by(worth);
            self.tracks.truncate(max);
            self.tracks.sort_unstable_by_key(|track| track.id);
        }
    }

    /// Follows the faces that are left, and gives ids to those seen often enough.
    fn begin_tracks(&mut self, faces: &[Candidate], pts: u64) {
        for Candidate { detection, .. } in faces.iter().filter(|face| face.sure && !face.taken) {
            let mut seen = self.tracks.iter().chain(&self.tentative).filter(|track| track.seen);
            if !seen.any(|track| track.rect.iou(&detection.rect) > BIRTH_OVERLAP) {
                self.tentative.push(Track::new(detection, pts));
            }
        }
        let needed = if self.shot_populated { self.settings.min_hits } else { 1 };
        self.shot_populated |= !self.tentative.is_empty();
        for mut track in self.tentative.extract_if(.., |track| track.hits >= needed) {
            // After four billion faces new ones stay unreported: an id is never given twice.
            let Some(next_id) = self.next_id.checked_add(1) else { return };
            track.id = self.next_id;
            self.next_id = next_id;
            self.tracks.push(track);
        }
    }
}

/// A usable detection of the newest frame.
#[derive(Debug)]
struct Candidate {
    detection: Detection,
    /// Of high confidence.
    sure: bool,
    /// A track was found for it.
    taken: bool,
}

/// Puts the usable ones of `detections` into `faces`, each face once, in an order that depends on the faces alone.
fn select(detections: &[Detection], settings: &TrackerSettings, faces: &mut Vec<Candidate>) {
    faces.clear();
    let usable = detections.iter().filter(|face| face.confidence >= settings.low_confidence && is_usable(&face.rect));
    faces.extend(usable.map(|face| {
        let landmarks = face.landmarks.filter(|points| points.iter().all(|p| is_near(p.x) && is_near(p.y)));
        let sure = face.confidence >= settings.high_confidence;
        Candidate { detection: Detection { landmarks, ..*face }, sure, taken: false }
    }));
    let place = |face: &Candidate| {
        let Rect { x, y, width, height } = face.detection.rect;
        [x, y, width, height]
    };
    let by_place = |a: &Candidate, b: &Candidate| {
        place(a)
            .iter()
            .zip(place(b))
            .map(|(a, b)| a.total_cmp(&b))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    };
    faces.sort_unstable_by(|a, b| b.detection.confidence.total_cmp(&a.detection.confidence).then(by_place(a, b)));
    let mut kept = 0;
    for index in 0..faces.len() {
        let rect = &faces[index].detection.rect;
        if faces[..kept].iter().all(|face| face.detection.rect.iou(rect) <= DUPLICATE_OVERLAP) {
            faces.swap(kept, index);
            kept += 1;
        }
    }
    faces.truncate(kept);
    // New faces get their ids from left to right.
    faces.sort_unstable_by(by_place);
}

fn is_usable(rect: &Rect) -> bool {
    rect.is_valid()
        && is_near(rect.x)
        && is_near(rect.y)
        && (SMALLEST_SIDE..FARTHEST_PIXEL).contains(&rect.width)
        && (SMALLEST_SIDE..FARTHEST_PIXEL).contains(&rect.height)
}

fn is_near(pixel: f32) -> bool {
    pixel.abs() < FARTHEST_PIXEL
}

/// Gives the sure, or else the doubtful, faces to tracks that have none yet.
fn continue_tracks(assigner: &mut Assigner, tracks: &mut [Track], faces: &mut [Candidate], pts: u64, sure: bool) {
    let pairs = assigner.assign(tracks.len(), faces.len(), |row, column| {
        let (track, face) = (&tracks[row], &faces[column]);
        if track.seen || face.taken || face.sure != sure {
            return None;
        }
        // A doubtful face must be where it is expected, however long the track was hidden.
        let unseen_s = if sure { seconds(pts - track.last_seen) as f32 } else { 0.0 };
        association::worth(&track.expected(unseen_s), &face.detection.rect)
    });
    for &(row, column) in pairs {
        tracks[row].correct(&faces[column].detection, pts, sure);
        faces[column].taken = true;
    }
}

impl Track {
    fn new(detection: &Detection, pts: u64) -> Self {
        Self {
            id: 0,
            rect: detection.rect,
            landmarks: detection.landmarks,
            confidence: detection.confidence,
            seen: true,
            last_seen: pts,
            born: pts,
            hits: 1,
            motion: Motion::new(detection.rect.center(), side(&detection.rect)),
            smoother: Smoother::new(detection),
            speed: 0.0,
        }
    }

    /// Goes on by `dt` seconds without a detection.
    fn advance(&mut self, pts: u64, dt: f64) {
        // Where time went back, a track must not outlive its time.
        self.last_seen = self.last_seen.min(pts);
        self.born = self.born.min(pts);
        let moved = self.motion.predict(dt, side(&self.rect), !self.seen);
        self.smoother.carry(moved);
        self.show();
    }

    fn correct(&mut self, detection: &Detection, pts: u64, sure: bool) {
        let side = side(&detection.rect);
        self.motion.correct(detection.rect.center(), side, sure);
        let speed = self.motion.speed() / side;
        self.smoother.correct(detection, seconds(pts - self.last_seen), speed);
        self.speed = speed as f32;
        self.confidence = detection.confidence;
        self.seen = true;
        self.last_seen = pts;
        self.hits = self.hits.saturating_add(1);
        self.show();
    }

    fn show(&mut self) {
        self.rect = self.smoother.rect();
        self.landmarks = self.smoother.landmarks();
    }

    fn expected(&self, unseen_s: f32) -> Expected {
        let rect = Rect::from_center(self.motion.center(), self.rect.width, self.rect.height);
        Expected { rect, unseen_s, speed: self.speed }
    }
}

/// Side of the square of the same area, in pixels.
fn side(rect: &Rect) -> f64 {
    f64::from(rect.area()).sqrt()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 * 1e-9
}
