//! Pictures of faces for the page: at their most suspicious and most ordinary moment, and now and then in between.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use deepfake_engine::analysis::{
    frame::{FrameView, Share},
    geometry::Rect,
    sampler::{ChannelOrder, Sampler},
};
use deepfake_report::{FaceReport, FrameReport, State};

/// Side of a picture of a face, and of the box that it shows as a multiple of the face's.
const SIDE: u32 = 176;
const MARGIN: f32 = 1.6;
/// Side of the pictures between.
const SMALL: u32 = 112;
/// Longer side of the picture of a whole frame.
const FRAME: u32 = 480;
const QUALITY: u8 = 85;
/// Pictures between: at most so many a face, of at most so many faces at once.
const MAX_BETWEEN: usize = 48;
const MAX_FACES: usize = 12;
/// A score must be so much higher (in logits) for a new picture: neighbours look alike.
const MARKED: f64 = 0.05;

/// A JPEG picture of a face.
#[derive(Clone)]
pub struct Picture {
    pub time: f64,
    /// None where nobody judged the face at this moment.
    pub score: Option<f64>,
    pub jpeg: Vec<u8>,
    /// The face's box in the shown frame: x, y, width, height, each 0..1.
    pub face: [f64; 4],
    /// Pixels across and down.
    pub side: u32,
}

/// The frame that a face was seen in.
#[derive(Clone)]
pub struct Scene {
    pub jpeg: Vec<u8>,
    pub width: u32,
    pub height: u32,
    /// The face's box: x, y, width, height, each 0..1.
    pub face: [f64; 4],
}

/// All pictures of one face.
#[derive(Default)]
pub struct Pictures {
    pub suspicious: Option<Picture>,
    pub scene: Option<Scene>,
    pub ordinary: Option<Picture>,
    pub between: Vec<Picture>,
    /// Seconds from one picture between to the next.
    interval: f64,
}

/// Takes pictures as frames pass.
pub struct Album {
    faces: BTreeMap<u32, Pictures>,
    sampler: Sampler,
}

impl Album {
    pub fn new() -> Self {
        Self { faces: BTreeMap::new(), sampler: Sampler::default() }
    }

    /// Whether a frame with this report would be photographed: frames that are not need not be mapped.
    pub fn wants(&self, time: f64, report: &FrameReport) -> bool {
        report.faces.iter().any(|face| {
            let Some(score) = judged(face) else { return false };
            let Some(known) = self.faces.get(&face.track_id) else { return true };
            known.wants_suspicious(score) || known.wants_ordinary(score) || known.wants_between(time)
        })
    }

    /// Photographs the faces of a frame that its report calls for.
    ///
    /// # Errors
    /// If OpenCV fails.
    pub fn take(&mut self, time: f64, frame: &FrameView, report: &FrameReport) -> Result<()> {
        let count = report.faces.len();
        for face in &report.faces {
            let Some(score) = judged(face) else { continue };
            let known = self.faces.entry(face.track_id).or_default();
            let (suspicious, ordinary) = (known.wants_suspicious(score), known.wants_ordinary(score));
            if suspicious || ordinary {
                let bounds = bounds(frame, face);
                let jpeg = crop(&mut self.sampler, frame, &bounds, SIDE)?;
                let picture = Picture { time, score: Some(score), jpeg, face: share(frame, &bounds), side: SIDE };
                if suspicious {
                    known.scene = Some(scene(&mut self.sampler, frame, face)?);
                    known.suspicious = Some(picture.clone());
                }
                if ordinary {
                    known.ordinary = Some(picture);
                }
            }
            let place = bounds(frame, face);
            if count <= MAX_FACES && known.wants_between(time) {
                let jpeg = crop(&mut self.sampler, frame, &place, SMALL)?;
                let face = share(frame, &place);
                known.between.push(Picture { time, score: Some(score), jpeg, face, side: SMALL });
                known.thin();
            }
        }
        Ok(())
    }

    pub fn of(&self, track_id: u32) -> Option<&Pictures> {
        self.faces.get(&track_id)
    }

    /// The same place as in a picture of another video, as large, since people compare how sharp they are.
    ///
    /// # Errors
    /// If OpenCV fails.
    pub fn same_place(&mut self, frame: &FrameView, picture: &Picture) -> Result<Vec<u8>> {
        let (across, down) = (frame.width as f32, frame.height as f32);
        let [x, y, width, height] = picture.face.map(|value| value as f32);
        let place = Rect::new(x * across, y * down, width * across, height * down);
        crop(&mut self.sampler, frame, &place, picture.side)
    }
}

impl Pictures {
    /// In the order of their times.
    pub fn all(&self) -> Vec<&Picture> {
        let mut all: Vec<&Picture> = self.suspicious.iter().chain(&self.ordinary).chain(&self.between).collect();
        all.sort_by(|a, b| a.time.total_cmp(&b.time));
        all
    }

    fn wants_suspicious(&self, score: f64) -> bool {
        let logit = crate::evaluate::metrics::logit;
        self.suspicious
            .as_ref()
            .and_then(|picture| picture.score)
            .is_none_or(|known| logit(score) > logit(known) + MARKED)
    }

    fn wants_ordinary(&self, score: f64) -> bool {
        let logit = crate::evaluate::metrics::logit;
        self.ordinary
            .as_ref()
            .and_then(|picture| picture.score)
            .is_none_or(|known| logit(score) < logit(known) - MARKED)
    }

    fn wants_between(&self, time: f64) -> bool {
        self.between.last().is_none_or(|last| time - last.time >= self.interval.max(0.5))
    }

    /// Keeps every second one when there are too many: nobody knows beforehand how long a face stays.
    fn thin(&mut self) {
        if self.between.len() > MAX_BETWEEN {
            let mut index = 0;
            self.between.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.interval = self.interval.max(0.5) * 2.0;
        }
    }
}

/// The score of a face that is judged in this very frame.
fn judged(face: &FaceReport) -> Option<f64> {
    if matches!(face.state, State::Rejected | State::Warming) { None } else { face.score }
}

/// In pixels of the shown frame; reports speak of the stored one.
fn bounds(frame: &FrameView, face: &FaceReport) -> Rect {
    frame.from_stored(&Share { x: face.x, y: face.y, width: face.width, height: face.height })
}

/// Parts of the shown frame.
fn share(frame: &FrameView, bounds: &Rect) -> [f64; 4] {
    let (across, down) = (f64::from(frame.width), f64::from(frame.height));
    [
        f64::from(bounds.x) / across,
        f64::from(bounds.y) / down,
        f64::from(bounds.width) / across,
        f64::from(bounds.height) / down,
    ]
}

/// A square around a face, moved so that it lies in the frame: what is outside is nothing to look at.
fn crop(sampler: &mut Sampler, frame: &FrameView, bounds: &Rect, side: u32) -> Result<Vec<u8>> {
    let (across, down) = (frame.width as f32, frame.height as f32);
    let length = (bounds.width.max(bounds.height) * MARGIN).clamp(1.0, across.min(down));
    let center = bounds.center();
    let start = |center: f32, longest: f32| (center - length / 2.0).clamp(0.0, longest - length);
    let square = Rect::new(start(center.x, across), start(center.y, down), length, length);
    jpeg(sampler.sample(frame, &square, side, side, ChannelOrder::Rgb)?, side, side)
}

fn scene(sampler: &mut Sampler, frame: &FrameView, face: &FaceReport) -> Result<Scene> {
    let longer = frame.width.max(frame.height);
    let side = |pixels: u32| ((u64::from(pixels) * u64::from(FRAME.min(longer)) / u64::from(longer)) as u32).max(16);
    let (width, height) = (side(frame.width), side(frame.height));
    let pixels = sampler.sample(frame, &frame.bounds(), width, height, ChannelOrder::Rgb)?;
    let jpeg = jpeg(pixels, width, height)?;
    Ok(Scene { jpeg, width, height, face: share(frame, &bounds(frame, face)) })
}

fn jpeg(rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let side = |pixels: u32| u16::try_from(pixels).expect("pictures are small");
    jpeg_encoder::Encoder::new(&mut bytes, QUALITY)
        .encode(rgb, side(width), side(height), jpeg_encoder::ColorType::Rgb)
        .context("a picture cannot be encoded")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use deepfake_engine::analysis::frame::{ColorMatrix, ColorRange, PixelFormat, Plane};
    use deepfake_report::testing;

    fn report(score: f64) -> FrameReport {
        let mut report = testing::reports().remove(0);
        let mut face = testing::face(1);
        face.state = State::Uncertain;
        face.score = Some(score);
        report.faces = vec![face];
        report
    }

    fn grey(level: u8, album: &mut Album, time: f64, score: f64) {
        let data = vec![level; 640 * 360];
        let planes = [Plane { data: &data, stride: 640 }];
        let frame =
            FrameView::new(PixelFormat::Gray8, 640, 360, &planes, ColorMatrix::default(), ColorRange::Full, 0).unwrap();
        let report = report(score);
        if album.wants(time, &report) {
            album.take(time, &frame, &report).unwrap();
        }
    }

    #[test]
    fn the_highest_and_the_lowest_moment_have_pictures_and_many_between_are_thinned() {
        let mut album = Album::new();
        for second in 0..400u32 {
            let score = match second {
                123 => 0.9,
                321 => 0.1,
                _ => 0.5,
            };
            grey(100, &mut album, f64::from(second), score);
        }
        let face = album.of(1).unwrap();
        let (high, low) = (face.suspicious.as_ref().unwrap(), face.ordinary.as_ref().unwrap());
        assert_eq!((high.time, high.score, low.time, low.score), (123.0, Some(0.9), 321.0, Some(0.1)));
        assert!(high.jpeg.starts_with(&[0xff, 0xd8]) && high.jpeg.ends_with(&[0xff, 0xd9]));
        assert!((MAX_BETWEEN / 2..=MAX_BETWEEN).contains(&face.between.len()), "{}", face.between.len());
        assert!(face.between.last().unwrap().time > 380.0, "thinned all along");
        let scene = face.scene.as_ref().unwrap();
        assert_eq!((scene.width, scene.height, scene.face), (480, 270, [0.25, 0.125, 0.5, 0.5]));
    }

    #[test]
    fn a_picture_of_a_face_at_the_edge_shows_nothing_from_outside_the_frame() {
        // Each row has its own grey: what is outside would repeat the last one.
        let data: Vec<u8> = (0..200u32 * 100).map(|at| (at / 200 * 2) as u8).collect();
        let planes = [Plane { data: &data, stride: 200 }];
        let frame =
            FrameView::new(PixelFormat::Gray8, 200, 100, &planes, ColorMatrix::default(), ColorRange::Full, 0).unwrap();
        let mut sampler = Sampler::default();
        let bottom = Rect::new(80.0, 70.0, 30.0, 40.0);
        let low = crop(&mut sampler, &frame, &bottom, 64).unwrap();
        // 64 pixels of the frame, the last of them its last row.
        let expected = sampler.sample(&frame, &Rect::new(63.0, 36.0, 64.0, 64.0), 64, 64, ChannelOrder::Rgb).unwrap();
        assert_eq!(low, jpeg(expected, 64, 64).unwrap());
        // Larger than the frame.
        crop(&mut sampler, &frame, &Rect::new(-10.0, -10.0, 300.0, 300.0), 64).unwrap();
    }

    #[test]
    fn a_rejected_face_is_not_photographed() {
        let mut report = report(0.5);
        report.faces[0].state = State::Rejected;
        assert!(!Album::new().wants(0.0, &report));
    }
}
