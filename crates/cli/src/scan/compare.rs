//! A reference beside the video: which moment of it shows the same picture.

use anyhow::Result;
use deepfake_engine::analysis::{frame::FrameView, sampler::ChannelOrder, sampler::Sampler};

use super::{finding::Verdict, pictures::Album};

/// Size of the pictures that are compared, and seconds from one to the next.
const WIDTH: u32 = 32;
const HEIGHT: u32 = 18;
const INTERVAL: f64 = 0.2;
/// Seconds of a video that are looked at for a match.
const MAX_SECONDS: f64 = 600.0;
/// Moments that must be there in both for a match, and how alike they must be.
const MIN_PAIRS: usize = 10;
const ALIKE: f64 = 0.9;
/// Moments of the video that are tried at each offset.
const TRIED: usize = 80;

/// Small grey pictures of a video, five a second, each with mean 0 and length 1.
#[derive(Default)]
pub struct Thumbnails {
    pictures: Vec<(f64, Vec<f32>)>,
    sampler: Sampler,
}

impl Thumbnails {
    /// Whether the frame at `time` is to be [taken](Self::take).
    pub fn wants(&self, time: f64) -> bool {
        time <= MAX_SECONDS && self.pictures.last().is_none_or(|(last, _)| time - last >= INTERVAL - 0.005)
    }

    pub fn take(&mut self, time: f64, frame: &FrameView) -> Result<()> {
        let pixels = self.sampler.sample(frame, &frame.bounds(), WIDTH, HEIGHT, ChannelOrder::Rgb)?;
        let grey: Vec<f32> =
            pixels.chunks_exact(3).map(|rgb| rgb.iter().map(|value| f32::from(*value)).sum()).collect();
        self.pictures.push((time, normal(grey)));
        Ok(())
    }

    fn near(&self, time: f64) -> Option<&[f32]> {
        let index = self.pictures.partition_point(|(at, _)| *at < time);
        let around =
            [index.checked_sub(1), Some(index)].into_iter().flatten().filter_map(|index| self.pictures.get(index));
        let nearest = around.min_by(|a, b| (a.0 - time).abs().total_cmp(&(b.0 - time).abs()))?;
        ((nearest.0 - time).abs() <= INTERVAL * 0.75).then_some(&nearest.1[..])
    }

    fn end(&self) -> f64 {
        self.pictures.last().map_or(0.0, |(time, _)| *time)
    }
}

fn normal(mut values: Vec<f32>) -> Vec<f32> {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    values.iter_mut().for_each(|value| *value -= mean);
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    // A picture of one colour is like no other.
    if length > 1.0 {
        values.iter_mut().for_each(|value| *value /= length);
    }
    values
}

/// Where the reference shows what the video shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// Seconds to add to a time of the video for that of the reference.
    pub offset: f64,
    /// Part of the video's moments that have their like there, 0..1.
    pub matched: f64,
}

/// The offset at which most of the video is like the reference; `None` if less than half of what overlaps is.
pub fn align(video: &Thumbnails, reference: &Thumbnails) -> Option<Alignment> {
    let step = video.pictures.len().div_ceil(TRIED).max(1);
    let tried: Vec<_> = video.pictures.iter().step_by(step).collect();
    let steps = |seconds: f64| (seconds / INTERVAL).ceil() as i64;
    let mut best: Option<(f64, Alignment)> = None;
    for index in -steps(video.end())..=steps(reference.end()) {
        let offset = index as f64 * INTERVAL;
        let likeness = tried.iter().filter_map(|(time, picture)| {
            let other = reference.near(time + offset)?;
            Some(picture.iter().zip(other).map(|(a, b)| f64::from(a * b)).sum::<f64>())
        });
        let likeness: Vec<f64> = likeness.collect();
        if likeness.len() < MIN_PAIRS.min(tried.len()) || likeness.is_empty() {
            continue;
        }
        let alike = likeness.iter().filter(|value| **value >= ALIKE).count();
        if alike * 2 < likeness.len() {
            continue;
        }
        // The whole of the video counts: a short overlap is easily alike. Still pictures are alike at any offset, so the
        // smallest one is taken.
        let sum = likeness.iter().sum::<f64>() / tried.len() as f64 - offset.abs() * 1e-4;
        if best.is_none_or(|(highest, _)| sum > highest) {
            best = Some((sum, Alignment { offset, matched: alike as f64 / tried.len() as f64 }));
        }
    }
    best.map(|(_, alignment)| alignment)
}

/// What is known of the reference.
pub struct Reference {
    pub name: String,
    pub verdict: Verdict,
    pub score: Option<f64>,
    pub thumbnails: Thumbnails,
    pub album: Album,
    /// Tracks of its faces, the highest score first.
    pub faces: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A video of moving noise: each moment is like itself alone.
    fn thumbnails(from: u32, count: u32, contrast: f32) -> Thumbnails {
        let picture = |moment: u32| -> Vec<f32> {
            (0..WIDTH * HEIGHT)
                .map(|pixel| {
                    let hash = (pixel ^ moment.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
                    (hash >> 24) as f32 * contrast + 40.0
                })
                .collect()
        };
        let pictures = (0..count).map(|index| (f64::from(index) * INTERVAL, normal(picture(from + index)))).collect();
        Thumbnails { pictures, sampler: Sampler::default() }
    }

    #[test]
    fn a_part_is_found_in_the_whole_also_with_less_contrast() {
        let alignment = align(&thumbnails(30, 40, 0.6), &thumbnails(0, 200, 1.0)).unwrap();
        assert!((alignment.offset - 6.0).abs() < 1e-9 && alignment.matched > 0.99, "{alignment:?}");
        let earlier = align(&thumbnails(0, 100, 1.0), &thumbnails(25, 100, 1.0)).unwrap();
        assert!((earlier.offset + 5.0).abs() < 1e-9, "{earlier:?}");
        assert!((0.7..0.8).contains(&earlier.matched), "{earlier:?}");
    }

    #[test]
    fn another_video_matches_nowhere() {
        assert_eq!(align(&thumbnails(0, 50, 1.0), &thumbnails(1000, 200, 1.0)), None);
        assert_eq!(align(&Thumbnails::default(), &thumbnails(0, 20, 1.0)), None);
    }
}
