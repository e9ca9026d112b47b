//! The way of one frame, from its pixels to what is said about its faces.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ndarray::{Array2, Array4, ArrayViewMut3, ArrayViewMut4};

use super::AnalysisError;
use super::cropper::{CropSpec, Cropper, Place};
use super::detector::{Detection, FaceDetector};
use super::follower::{FaceFollower, FollowerSettings};
use super::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat, Plane, Share};
use super::geometry::{Point, Rect};
use super::heat;
use super::likeness::{self, Look};
use super::planar;
use super::quality::{QualityGate, QualityLimits};
use super::tracker::Track;
use super::verdict::{Thresholds, Verdict, certainty};
use super::window::{Grid, Window};
use crate::inference::{Model, Placement, Scored};
use deepfake_report::{FaceReport, FrameReport, KindScores, Reason, State};

/// How frames are analysed; everything a user may set but the model and the device.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalyzerSettings {
    pub follower: FollowerSettings,
    pub quality: QualityLimits,
    /// Overrides the thresholds that the model package comes with.
    pub fake_threshold: Option<f64>,
    pub authentic_threshold: Option<f64>,
    pub hysteresis: Option<f64>,
    /// Reports say where on a face the model sees a change, where it can.
    pub attach_where: bool,
}

/// Analyses the frames of one stream.
pub struct Analyzer {
    settings: AnalyzerSettings,
    thresholds: Thresholds,
    model: Model,
    crop_spec: CropSpec,
    follower: FaceFollower,
    cropper: Cropper,
    quality: QualityGate,
    /// What is remembered of each followed face, by track id.
    faces: BTreeMap<u32, Face>,
    took: Timings,
    /// The crops of one frame as the encoder takes them, [N, 3, height, width]. Kept only for its memory.
    crops: Vec<f32>,
}

/// What the newest frame took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Looking for faces and following them.
    pub find: Duration,
    /// Cutting out crops and looking at their quality.
    pub crop: Duration,
    /// From crops to features.
    pub encode: Duration,
    /// From windows to verdicts.
    pub judge: Duration,
}

/// What is remembered of one followed face.
struct Face {
    window: Window,
    /// PTS from which on all of its crops could be judged.
    since: Option<u64>,
    verdict: Verdict,
    score: Option<f64>,
    /// How likely each of the model's kinds is, by the last score.
    kinds: Vec<f32>,
    /// Where the newest crop looks changed, and where that crop lies.
    changed: Option<(Array2<f32>, Place)>,
    /// What the newest crop that could be judged looks like.
    look: Option<Look>,
}

impl Analyzer {
    /// `detector` may be `None` where faces are always given.
    pub fn new(model: Model, detector: Option<FaceDetector>, settings: AnalyzerSettings) -> Self {
        let package = model.package();
        Self {
            thresholds: thresholds(&settings, &model),
            crop_spec: package.input.crop_spec(),
            follower: FaceFollower::new(detector, settings.follower.clone()),
            cropper: Cropper::default(),
            quality: QualityGate::default(),
            faces: BTreeMap::new(),
            took: Timings::default(),
            crops: Vec::new(),
            settings,
            model,
        }
    }

    /// Changes the settings from the next frame on; followed faces and their windows stay.
    pub fn set_settings(&mut self, settings: AnalyzerSettings) {
        if settings == self.settings {
            return;
        }
        self.thresholds = thresholds(&settings, &self.model);
        self.follower.set_settings(settings.follower.clone());
        self.settings = settings;
    }

    /// See [`FaceFollower::take_turns`]: for analyses beside a stream, which need not repeat bit for bit.
    pub fn take_turns(&mut self) {
        self.follower.take_turns();
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// On what the face detector runs right now; `None` where faces are given.
    pub fn detector_placement(&self) -> Option<Placement> {
        self.follower.placement()
    }

    /// Judges by another model from the next frame on, and gives the old one back. Faces are followed as before, with the same
    /// ids; their windows begin anew.
    pub fn set_model(&mut self, model: Model) -> Model {
        self.thresholds = thresholds(&self.settings, &model);
        self.crop_spec = model.package().input.crop_spec();
        self.faces.clear();
        std::mem::replace(&mut self.model, model)
    }

    /// What the newest frame took.
    pub fn took(&self) -> Timings {
        self.took
    }

    /// A grid at the model's rate: it says which frames are to be [analysed](Self::analyze).
    pub fn grid(&self) -> Grid {
        Grid::new(self.model.package().window.rate_hz)
    }

    /// P(fake) from which a face is called fake.
    pub fn fake_threshold(&self) -> f64 {
        self.thresholds.fake
    }

    /// Runs everything once over a blank frame and a blank face, so that the first real ones do not wait for what is only done
    /// once. Returns the time that a frame with one face in which new ones are looked for takes from then on.
    ///
    /// # Errors
    /// If a graph fails.
    pub fn warm_up(&mut self) -> Result<Duration, AnalysisError> {
        // As large as the picture in which new faces are looked for, which is the longest part of the longest analysis.
        let width = self.settings.follower.detection_size;
        let height = (width * 9 / 16).max(1);
        let grey = vec![128; (width * height) as usize];
        let planes = [Plane { data: &grey, stride: width as usize }];
        let frame =
            FrameView::new(PixelFormat::Gray8, width, height, &planes, ColorMatrix::default(), ColorRange::Full, 0)?;
        let mut took = Duration::ZERO;
        for _ in 0..2 {
            let began = Instant::now();
            self.analyze(&frame, None)?;
            let shape = (1, 3, self.crop_spec.height as usize, self.crop_spec.width as usize);
            let encoded = self.model.encode(Array4::zeros(shape).view_mut())?;
            let mut window = Window::new(self.model.package().window.frames, 1.0);
            for pts in 0..window.size() {
                window.push(pts as u64, &encoded[0]);
            }
            self.model.head(&[window.features()])?;
            took = began.elapsed();
            self.reset();
        }
        Ok(took)
    }

    /// Forgets all faces and windows: the next frame has nothing to do with the last. Track ids go on.
    pub fn reset(&mut self) {
        self.follower.reset();
        self.faces.clear();
    }

    /// Analyses one frame, which is due by the [grid](Self::grid). With `given` faces, in pixels of the frame as it came, the
    /// detector does not run.
    ///
    /// # Errors
    /// If a graph or OpenCV fails. Faces have been followed by then, and windows may hold the frame's crops; scores are those of
    /// before.
    pub fn analyze(&mut self, frame: &FrameView, given: Option<&[Detection]>) -> Result<FrameReport, AnalysisError> {
        let began = Instant::now();
        match given {
            Some(faces) => {
                let faces: Vec<_> = faces.iter().map(|face| shown(face, frame)).collect();
                self.follower.follow_given(frame, &faces)?;
            }
            None => {
                self.follower.follow(frame)?;
            }
        }
        let tracks = self.follower.tracks();
        self.faces.retain(|id, _| tracks.iter().any(|track| track.id == *id));

        let found = Instant::now();
        self.took = Timings { find: found - began, ..Timings::default() };

        // Crops of the faces that can be judged, one after the other as the encoder takes them.
        let mut cropped: Vec<u32> = Vec::with_capacity(tracks.len());
        let mut replaced: Vec<u32> = vec![];
        self.crops.clear();
        for track in tracks.iter() {
            if !track.seen {
                if let Some(face) = self.faces.get_mut(&track.id) {
                    face.reject(frame.pts, Reason::NotSeen);
                }
                continue;
            }
            let face = self.faces.entry(track.id).or_insert_with(|| Face::new(&self.model));
            // What is told without looking at pixels needs no crop.
            if let Some(reason) = self.settings.quality.rejects(&track.rect, track.landmarks.as_ref()) {
                face.reject(frame.pts, reason);
                continue;
            }
            let crop = match self.cropper.crop(frame, &track.rect, track.landmarks.as_ref(), &self.crop_spec) {
                Err(AnalysisError::Outside | AnalysisError::NoLandmarks) => continue,
                crop => crop?,
            };
            let rejection =
                self.quality.rejects(crop, self.crop_spec.width, self.crop_spec.order, &self.settings.quality)?;
            match rejection {
                Some(reason) => face.reject(frame.pts, reason),
                None => {
                    if track.rect.width.max(track.rect.height) >= likeness::MIN_FACE {
                        let look = Look::of(self.quality.grey(), frame.pts)?;
                        if face.look.as_ref().is_some_and(|before| look.shows_another_than(before)) {
                            *face = Face::new(&self.model);
                            replaced.push(track.id);
                        }
                        face.look = Some(look);
                    }
                    cropped.push(track.id);
                    let (width, height) = (self.crop_spec.width as usize, self.crop_spec.height as usize);
                    let begin = self.crops.len();
                    self.crops.resize(begin + 3 * height * width, 0.0);
                    let planes = ArrayViewMut3::from_shape((3, height, width), &mut self.crops[begin..]);
                    planar::split(crop, width, planes.expect("as many numbers as the shape says"))?;
                }
            }
        }

        for id in replaced {
            let new = self.follower.renew(id);
            let face = self.faces.remove(&id).expect("it was replaced right above");
            self.faces.insert(new, face);
            cropped.iter_mut().filter(|cropped| **cropped == id).for_each(|cropped| *cropped = new);
        }
        let tracks = self.follower.tracks();
        // A flash, or the first frame of another shot: the next ones tell.
        let shown_tracks = if self.follower.is_in_doubt() { &[] } else { tracks };
        self.took.crop = found.elapsed();
        if !cropped.is_empty() {
            let began = Instant::now();
            let shape = (cropped.len(), 3, self.crop_spec.height as usize, self.crop_spec.width as usize);
            let crops = ArrayViewMut4::from_shape(shape, &mut self.crops).expect("every crop has the model's size");
            for (id, encoded) in cropped.iter().zip(self.model.encode(crops)?) {
                let face = self.faces.get_mut(id).expect("every cropped track has a face");
                face.since.get_or_insert(frame.pts);
                face.window.push(frame.pts, &encoded);
                face.changed = encoded.where_map.and_then(|map| {
                    let track = tracks.iter().find(|track| track.id == *id)?;
                    let place = self.crop_spec.place(&track.rect, track.landmarks.as_ref()).ok()?;
                    Some((map, place))
                });
            }
            let encoded = Instant::now();
            self.took.encode = encoded - began;
            judge(&mut self.faces, &cropped, &self.model, &self.thresholds)?;
            self.took.judge = encoded.elapsed();
        }

        let faces = shown_tracks.iter().filter_map(|track| {
            let face = self.faces.get(&track.id)?;
            let mut report = report(track, face, frame, &self.model)?;
            if self.settings.attach_where && track.seen {
                report.heat = face.heat(&self.crop_spec, frame, &report);
            }
            Some(report)
        });
        let (name, device) = (self.model.package().full_name(), self.model.device().as_str());
        Ok(FrameReport::new(frame.pts, name, device, faces.collect()))
    }
}

impl Face {
    fn new(model: &Model) -> Self {
        let window = &model.package().window;
        Self {
            window: Window::new(window.frames, window.rate_hz),
            since: None,
            verdict: Verdict::default(),
            score: None,
            kinds: vec![],
            changed: None,
            look: None,
        }
    }

    /// Where in the reported box the newest crop looks changed.
    fn heat(&self, spec: &CropSpec, frame: &FrameView, report: &FaceReport) -> Option<Vec<Vec<f64>>> {
        let (map, place) = self.changed.as_ref()?;
        let part = Share { x: report.x, y: report.y, width: report.width, height: report.height };
        Some(heat::over(map, place, spec, frame, &part))
    }
}

impl Face {
    /// The newest crop could not be judged.
    fn reject(&mut self, pts: u64, reason: Reason) {
        self.since = None;
        self.verdict.reject(pts, reason);
    }

    /// Whether its frames come too seldom for its window ever to be ready.
    fn is_starved(&self, pts: u64) -> bool {
        self.since.is_some_and(|since| self.window.is_overdue(since, pts))
    }
}

/// Runs the head over the windows of the faces named by `ids`, where they hold enough crops, and judges them.
fn judge(
    faces: &mut BTreeMap<u32, Face>,
    ids: &[u32],
    model: &Model,
    thresholds: &Thresholds,
) -> Result<(), AnalysisError> {
    let min_frames = model.package().window.least_frames;
    let ready: Vec<u32> = ids.iter().copied().filter(|id| faces[id].window.is_ready(min_frames)).collect();
    let windows: Vec<_> = ready.iter().map(|id| faces[id].window.features()).collect();
    let mut scored: BTreeMap<u32, Scored> = ready.into_iter().zip(model.judge(&windows)?).collect();
    for id in ids {
        let face = faces.get_mut(id).expect("every cropped track has a face");
        let scored = scored.remove(id);
        face.score = scored.as_ref().map(|scored| f64::from(model.probability(scored.logit)));
        face.kinds = scored.map_or_else(Vec::new, |scored| scored.kinds);
        face.verdict.judge(face.score, thresholds);
    }
    Ok(())
}

/// A face that somebody else found, in pixels of the shown frame.
fn shown(face: &Detection, frame: &FrameView) -> Detection {
    let landmarks = face.landmarks.map(|points| {
        points.map(|point| {
            let Rect { x, y, .. } = frame.from_coded(&Rect::new(point.x, point.y, 0.0, 0.0));
            Point { x, y }
        })
    });
    Detection { rect: frame.from_coded(&face.rect), landmarks, confidence: face.confidence }
}

/// `None` for a face that has left the picture.
fn report(track: &Track, face: &Face, frame: &FrameView, model: &Model) -> Option<FaceReport> {
    let visible = track.rect.intersection(&frame.bounds());
    if visible.area() <= 0.0 {
        return None;
    }
    let visible = frame.to_stored(&visible);
    let (state, mut reason) = face.verdict.state(frame.pts);
    if state == State::Warming && face.is_starved(frame.pts) {
        reason = Some(Reason::TooFewFrames);
    }
    // A face that cannot be judged has no score: the last one belongs to what was seen before.
    let is_rejected = state == State::Rejected;
    let score = face.score.filter(|_| !is_rejected);
    let span = face.window.span();
    let mut report = FaceReport::new(track.id);
    report.x = visible.x;
    report.y = visible.y;
    report.width = visible.width;
    report.height = visible.height;
    report.detection = f64::from(track.confidence);
    report.seen = track.seen;
    report.state = state;
    report.reason = reason;
    report.score = score;
    let newest = face.window.newest_logit().filter(|_| !is_rejected);
    report.frame_score = newest.map(|logit| f64::from(model.probability(logit)));
    report.certainty = certainty(score, face.window.fill(), face.window.size());
    report.window_fill = face.window.fill() as u32;
    report.window_size = face.window.size() as u32;
    report.window_start = span.map(|(start, _)| start);
    report.window_end = span.map(|(_, end)| end);
    if matches!(state, State::Uncertain | State::Fake) && !face.kinds.is_empty() {
        report.kind = Some(kind_scores(model.package().kinds(), &face.kinds));
    }
    Some(report)
}

/// The scores of the kinds that a report has a word for.
fn kind_scores(names: &[String], scores: &[f32]) -> KindScores {
    let mut kind = KindScores::default();
    for (name, score) in names.iter().zip(scores) {
        match name.as_str() {
            "swap" => kind.swap = f64::from(*score),
            "lips" => kind.lips = f64::from(*score),
            "generated" => kind.generated = f64::from(*score),
            _ => {}
        }
    }
    kind
}

fn thresholds(settings: &AnalyzerSettings, model: &Model) -> Thresholds {
    let calibration = &model.package().calibration;
    Thresholds {
        fake: settings.fake_threshold.unwrap_or(calibration.fake_threshold.into()),
        authentic: settings.authentic_threshold.unwrap_or(calibration.authentic_threshold.into()),
        hysteresis: settings.hysteresis.unwrap_or(calibration.hysteresis.into()),
    }
}
