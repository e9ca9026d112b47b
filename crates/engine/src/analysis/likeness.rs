//! Whether two crops of one track show the same face: a person who takes another's place without a cut is not to inherit a verdict.

use opencv::core::{Mat, Size};
use opencv::imgproc;
use opencv::prelude::*;

use super::AnalysisError;

/// Pixels a row and rows of what is compared: coarse enough that a moving mouth or a turn of the head changes little.
const SIDE: i32 = 20;
/// A crop of a face that has fewer pixels, on its longer side, is enlarged noise.
pub const MIN_FACE: f32 = 64.0;
/// Crops further apart in time may differ by what happened in between, ns.
const MAX_APART: u64 = 250_000_000;
/// Pearson's correlation of two crops of one face a fifteenth of a second apart is above .84 on 120 real and fake clips; that of
/// two people's is below .7 in 19 of 20 cases, .24 in the middle.
const MIN_CORRELATION: f32 = 0.5;
/// Standard deviation of grey values below which a crop shows too little to compare. Of the same clips' crops none is below 23.
const MIN_CONTRAST: f32 = 16.0;

/// What a crop looks like from afar: grey, mean 0, standard deviation 1.
#[derive(Clone, Debug)]
pub struct Look {
    pts: u64,
    contrast: f32,
    grey: Vec<f32>,
}

impl Look {
    /// # Errors
    /// If OpenCV fails.
    pub fn of(grey: &Mat, pts: u64) -> Result<Self, AnalysisError> {
        let mut small = Mat::default();
        imgproc::resize(grey, &mut small, Size::new(SIDE, SIDE), 0.0, 0.0, imgproc::INTER_AREA)?;
        let values = small.data_bytes()?;
        let count = values.len() as f32;
        let mean = values.iter().map(|value| f32::from(*value)).sum::<f32>() / count;
        let mut grey: Vec<f32> = values.iter().map(|value| f32::from(*value) - mean).collect();
        let contrast = (grey.iter().map(|value| value * value).sum::<f32>() / count).sqrt();
        grey.iter_mut().for_each(|value| *value /= contrast.max(f32::EPSILON));
        Ok(Self { pts, contrast, grey })
    }

    /// Whether this crop, soon after `before`, shows another face.
    pub fn shows_another_than(&self, before: &Self) -> bool {
        let products: f32 = self.grey.iter().zip(&before.grey).map(|(a, b)| a * b).sum();
        self.pts.abs_diff(before.pts) <= MAX_APART
            && self.contrast.min(before.contrast) > MIN_CONTRAST
            && products / (self.grey.len() as f32) < MIN_CORRELATION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bright on one side, with a dark spot at `x`.
    fn crop(is_left: bool, x: i32, gain: f32) -> Mat {
        let value = |row: i32, column: i32| {
            let side = if (column < 40) == is_left { 150.0 } else { 60.0 };
            let spot = if (row - 40).abs() < 8 && (column - x).abs() < 8 { -50.0 } else { 0.0 };
            ((side + spot) * gain) as u8
        };
        let rows: Vec<Vec<u8>> = (0..80).map(|row| (0..80).map(|column| value(row, column)).collect()).collect();
        Mat::from_slice_2d(&rows).unwrap()
    }

    #[test]
    fn a_face_that_moves_or_is_lit_otherwise_stays_itself_and_another_does_not() {
        let before = Look::of(&crop(true, 30, 1.0), 0).unwrap();
        let soon = 66_000_000;
        assert!(!Look::of(&crop(true, 34, 1.0), soon).unwrap().shows_another_than(&before));
        assert!(!Look::of(&crop(true, 30, 0.5), soon).unwrap().shows_another_than(&before));
        assert!(Look::of(&crop(false, 30, 1.0), soon).unwrap().shows_another_than(&before));
        assert!(!Look::of(&crop(false, 30, 0.2), soon).unwrap().shows_another_than(&before), "too little is seen");
        // Much may have happened meanwhile.
        assert!(!Look::of(&crop(false, 30, 1.0), 1_000_000_000).unwrap().shows_another_than(&before));
    }
}
