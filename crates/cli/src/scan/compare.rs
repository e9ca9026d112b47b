//! A reference beside the video: which moment of it shows the same picture.

use anyhow::Result;
use deepfake_engine::analysis::{frame::FrameView, sampler::ChannelOrder, sampler::Sampler};

use super::{
    finding::{Step, Verdict},
    inputs::Input,
    pictures::{Album, Picture, Pictures},
};

/// Size of the pictures that are compared, and the shortest time from one to the next: every frame of most videos.
const WIDTH: u32 = 32;
const HEIGHT: u32 = 18;
const INTERVAL: f64 = 1.0 / 31.0;
/// Seconds of a video that are looked at for a match.
const MAX_SECONDS: f64 = 600.0;
/// Seconds from one offset that is tried to the next, at first and then around the best.
const COARSE: f64 = 0.1;
const FINE: f64 = 0.005;
/// Pictures further apart are of different moments.
pub const MAX_APART: f64 = 0.05;
/// Pictures of a feed, which cannot be looked at once more, are kept now and then only.
const MAX_APART_OF_FEED: f64 = 0.3;
/// Pairs of faces that are shown.
pub const MAX_PAIRS: usize = 12;
/// Moments that must be there in both for a match, and how alike they must be.
const MIN_PAIRS: usize = 10;
const ALIKE: f64 = 0.9;
/// Moments of the video that are tried at each offset.
const TRIED: usize = 80;

/// Small grey pictures of a video, of every frame or nearly so.
#[derive(Default)]
pub struct Thumbnails {
    pictures: Vec<Thumbnail>,
    sampler: Sampler,
}

struct Thumbnail {
    time: f64,
    grey: Box<[u8]>,
    /// Sum of its pixels, and the length of what they differ by from their mean.
    sum: f64,
    length: f64,
}

impl Thumbnail {
    fn new(time: f64, grey: Box<[u8]>) -> Self {
        let sum: u32 = grey.iter().map(|value| u32::from(*value)).sum();
        let squares: u32 = grey.iter().map(|value| u32::from(*value).pow(2)).sum();
        let (sum, count) = (f64::from(sum), grey.len() as f64);
        let length = (f64::from(squares) - sum * sum / count).max(0.0).sqrt();
        Self { time, grey, sum, length }
    }

    /// The correlation of two pictures, -1..1. A picture of one colour is like no other.
    fn likeness(&self, other: &Self) -> f64 {
        let product: u32 = self.grey.iter().zip(&other.grey).map(|(a, b)| u32::from(*a) * u32::from(*b)).sum();
        let lengths = self.length * other.length;
        if lengths < 1.0 {
            return 0.0;
        }
        (f64::from(product) - self.sum * other.sum / self.grey.len() as f64) / lengths
    }
}

impl Thumbnails {
    /// Whether the frame at `time` is to be [taken](Self::take).
    pub fn wants(&self, time: f64) -> bool {
        time <= MAX_SECONDS && self.pictures.last().is_none_or(|last| time - last.time >= INTERVAL)
    }

    pub fn take(&mut self, time: f64, frame: &FrameView) -> Result<()> {
        let pixels = self.sampler.sample(frame, &frame.bounds(), WIDTH, HEIGHT, ChannelOrder::Rgb)?;
        let grey = pixels.chunks_exact(3).map(|rgb| (rgb.iter().map(|value| u16::from(*value)).sum::<u16>() / 3) as u8);
        self.pictures.push(Thumbnail::new(time, grey.collect()));
        Ok(())
    }

    fn near(&self, time: f64) -> Option<&Thumbnail> {
        let index = self.pictures.partition_point(|picture| picture.time < time);
        let around =
            [index.checked_sub(1), Some(index)].into_iter().flatten().filter_map(|index| self.pictures.get(index));
        let away = |picture: &Thumbnail| (picture.time - time).abs();
        around.min_by(|a, b| away(a).total_cmp(&away(b))).filter(|nearest| away(nearest) <= MAX_APART)
    }

    fn end(&self) -> f64 {
        self.pictures.last().map_or(0.0, |picture| picture.time)
    }
}

/// Where the reference shows what the video shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// Seconds to add to a time of the video for that of the reference.
    pub offset: f64,
    /// Part of the video's moments that have their like there, 0..1.
    pub matched: f64,
}

/// What speaks for an offset.
struct Match {
    alignment: Alignment,
    weight: f64,
}

/// The offset, to the frame, at which most of the video is like the reference; `None` if less than half of what overlaps is.
pub fn align(video: &Thumbnails, reference: &Thumbnails) -> Option<Alignment> {
    let step = video.pictures.len().div_ceil(TRIED).max(1);
    let tried: Vec<_> = video.pictures.iter().step_by(step).collect();
    let best = |offsets: &mut dyn Iterator<Item = f64>| {
        let matches = offsets.filter_map(|offset| try_offset(&tried, reference, offset));
        matches.max_by(|a, b| a.weight.total_cmp(&b.weight))
    };
    let steps = |seconds: f64| (seconds / COARSE).ceil() as i64;
    let all = -steps(video.end())..=steps(reference.end());
    let coarse = best(&mut all.map(|index| index as f64 * COARSE))?.alignment.offset;
    let around = (COARSE / FINE) as i64;
    best(&mut (-around..=around).map(|index| coarse + index as f64 * FINE)).map(|found| found.alignment)
}

fn try_offset(tried: &[&Thumbnail], reference: &Thumbnails, offset: f64) -> Option<Match> {
    let mut pairs = Vec::with_capacity(tried.len());
    for picture in tried {
        if let Some(other) = reference.near(picture.time + offset) {
            pairs.push((other.time - picture.time, picture.likeness(other)));
        }
    }
    let alike = pairs.iter().filter(|(_, likeness)| *likeness >= ALIKE).count();
    if pairs.len() < MIN_PAIRS.min(tried.len()) || pairs.is_empty() || alike * 2 < pairs.len() {
        return None;
    }
    // A person who hardly moves is much like herself at all times: what counts is how far a pair is above that. The whole of
    // the video counts: a short overlap is easily alike. Still pictures are alike at any offset: the smallest one is taken.
    let above = |likeness: f64| ((likeness - ALIKE) / (1.0 - ALIKE)).max(0.0).powi(4);
    let weight = pairs.iter().map(|(_, likeness)| above(*likeness)).sum::<f64>() / tried.len() as f64;
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(Match {
        // From frame to frame, not from one tried offset to the next.
        alignment: Alignment { offset: pairs[pairs.len() / 2].0, matched: alike as f64 / tried.len() as f64 },
        weight: weight - offset.abs() * 1e-4,
    })
}

/// What is known of the reference.
pub struct Reference {
    pub input: Input,
    pub verdict: Verdict,
    pub score: Option<f64>,
    pub thumbnails: Thumbnails,
    pub album: Album,
    /// Tracks of its faces, the highest score first.
    pub faces: Vec<u32>,
    /// Scores of the first of them over time.
    pub timeline: Vec<Step>,
    /// Running time of its first report, from which its times count.
    pub start: u64,
}

/// A picture of the video, and one of the reference beside it.
pub type Pair = (Picture, Picture);

/// Pairs of pictures that were kept of nearly the same moments.
pub fn near_moments(own: &[&Picture], reference: &Reference, offset: f64) -> Vec<Pair> {
    let others = reference.pictures();
    let pair = |picture: &&Picture| {
        let away = |other: &&&Picture| (other.time - picture.time - offset).abs();
        let other = others.iter().min_by(|a, b| away(a).total_cmp(&away(b)))?;
        (away(&other) <= MAX_APART_OF_FEED).then(|| ((*picture).clone(), (*other).clone()))
    };
    own.iter().filter_map(pair).take(MAX_PAIRS).collect()
}

/// Pairs of a video and a reference that shows something else.
pub fn other_moments(own: &[&Picture], reference: &Reference) -> Vec<Pair> {
    let pair = |(picture, other): (&&Picture, &Picture)| ((*picture).clone(), other.clone());
    own.iter().zip(reference.pictures()).map(pair).take(MAX_PAIRS).collect()
}

impl Reference {
    /// Of all its faces, the highest first.
    fn pictures(&self) -> Vec<&Picture> {
        self.faces.iter().filter_map(|id| self.album.of(*id)).flat_map(Pictures::all).collect()
    }

    /// The score of its highest face at about this time.
    pub fn score_at(&self, time: f64) -> Option<f64> {
        let away = |step: &&Step| (step.time - time).abs();
        let nearest = self.timeline.iter().min_by(|a, b| away(a).total_cmp(&away(b)))?;
        ((nearest.time - time).abs() <= 0.5).then_some(nearest.score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A video of moving noise, `count` frames from `from` seconds on, so many a second: each moment is like itself alone.
    fn thumbnails(from: f64, count: u32, fps: f64, contrast: f64) -> Thumbnails {
        moving(from, count, fps, |pixel, time| noise(pixel, (time * 10.0).round() as u32) * contrast)
    }

    fn moving(from: f64, count: u32, fps: f64, pixel: impl Fn(u32, f64) -> f64) -> Thumbnails {
        let picture = |index: u32| {
            let time = f64::from(index) / fps;
            let grey = (0..WIDTH * HEIGHT).map(|at| (pixel(at, from + time) + 40.0) as u8);
            Thumbnail::new(time, grey.collect())
        };
        Thumbnails { pictures: (0..count).map(picture).collect(), sampler: Sampler::default() }
    }

    fn noise(pixel: u32, moment: u32) -> f64 {
        let hash = (pixel ^ moment.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        f64::from((hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35) >> 24) * 0.8
    }

    #[test]
    fn a_part_is_found_in_the_whole_also_with_less_contrast() {
        let alignment = align(&thumbnails(6.0, 80, 10.0, 0.6), &thumbnails(0.0, 400, 10.0, 1.0)).unwrap();
        assert!((alignment.offset - 6.0).abs() < 1e-9 && alignment.matched > 0.99, "{alignment:?}");
        let earlier = align(&thumbnails(0.0, 200, 10.0, 1.0), &thumbnails(5.0, 200, 10.0, 1.0)).unwrap();
        assert!((earlier.offset + 5.0).abs() < 1e-9, "{earlier:?}");
        assert!((0.7..0.8).contains(&earlier.matched), "{earlier:?}");
    }

    #[test]
    fn a_face_that_hardly_moves_is_found_to_the_frame_also_at_another_frame_rate_and_where_little_overlaps() {
        // A ground that stays, and on it something that wanders slowly.
        let pixel = |at: u32, time: f64| {
            let (x, y) = (f64::from(at % WIDTH), f64::from(at / WIDTH));
            let (left, top) =
                (16.0 + 5.0 * (time * 1.3).sin() + 3.0 * (time * 0.37).cos(), 9.0 + 2.0 * (time * 0.9).cos());
            let face = 60.0 / (1.0 + ((x - left).powi(2) + (y - top).powi(2)) / 6.0);
            noise(at, 0) * 0.7 + face
        };
        for (fps, from) in [(25.0, 7.013), (30.0, 2.871), (23.976, 9.5)] {
            let whole = moving(0.0, 500, 25.0, pixel);
            let part = moving(from, (fps * 15.0) as u32, fps, pixel);
            let still = part.pictures[0].likeness(&part.pictures[40]);
            assert!(still > ALIKE, "a still face is like itself: {still}");
            let found = align(&part, &whole).unwrap();
            assert!((found.offset - from).abs() <= 0.021, "{fps} {from}: {found:?}");
        }
    }

    #[test]
    fn another_video_matches_nowhere() {
        assert_eq!(align(&thumbnails(0.0, 50, 10.0, 1.0), &thumbnails(100.0, 200, 10.0, 1.0)), None);
        assert_eq!(align(&Thumbnails::default(), &thumbnails(0.0, 20, 10.0, 1.0)), None);
    }
}
