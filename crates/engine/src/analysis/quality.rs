//! Whether a crop shows enough of a face to judge it.

use opencv::core::{self, Mat};
use opencv::imgproc;
use opencv::prelude::*;

use super::AnalysisError;
use super::geometry::{Landmarks, Rect};
use super::sampler::ChannelOrder;
use deepfake_report::Reason;

/// Limits under which a face is not judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QualityLimits {
    /// Smallest longer side of the face's box, in pixels of the frame.
    pub min_face_size: f32,
    /// Smallest variance of the crop's Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000).
    pub min_sharpness: f64,
    /// Smallest mean luma of the crop, 0..255.
    pub min_luma: f64,
    /// Greatest turn of the head, 0 (frontal)..1 (the nose over one eye).
    pub max_turn: f32,
}

impl Default for QualityLimits {
    fn default() -> Self {
        Self { min_face_size: 64.0, min_sharpness: 10.0, min_luma: 25.0, max_turn: 0.85 }
    }
}

/// Looks at crops. Keeps its buffers between calls.
#[derive(Default)]
pub struct QualityGate {
    /// Of the newest crop.
    grey: Mat,
    laplacian: Mat,
}

impl QualityGate {
    /// Why the face should not be judged by this crop (`side` pixels a row), or `None` if it may.
    ///
    /// # Errors
    /// If OpenCV fails.
    pub fn rejects(
        &mut self,
        crop: &[u8],
        side: u32,
        order: ChannelOrder,
        limits: &QualityLimits,
    ) -> Result<Option<Reason>, AnalysisError> {
        let pixels =
            Mat::new_rows_cols_with_bytes::<core::Vec3b>(crop.len() as i32 / 3 / side as i32, side as i32, crop)?;
        let to_grey = match order {
            ChannelOrder::Rgb => imgproc::COLOR_RGB2GRAY,
            ChannelOrder::Bgr => imgproc::COLOR_BGR2GRAY,
        };
        imgproc::cvt_color_def(&pixels, &mut self.grey, to_grey)?;
        let luma = self.grey.data_bytes()?;
        if luma.iter().map(|value| u64::from(*value)).sum::<u64>() as f64 / (luma.len() as f64) < limits.min_luma {
            return Ok(Some(Reason::TooDark));
        }
        imgproc::laplacian_def(&self.grey, &mut self.laplacian, core::CV_16S)?;
        let sharpness = variance(self.laplacian.data_typed::<i16>()?);
        Ok((sharpness < limits.min_sharpness).then_some(Reason::Blurred))
    }

    /// The newest crop in grey.
    pub fn grey(&self) -> &Mat {
        &self.grey
    }
}

impl QualityLimits {
    /// Why the face should not be judged, whatever its crop shows.
    pub fn rejects(&self, rect: &Rect, landmarks: Option<&Landmarks>) -> Option<Reason> {
        if rect.width.max(rect.height) < self.min_face_size {
            return Some(Reason::TooSmall);
        }
        landmarks.is_some_and(|landmarks| turn(landmarks) > self.max_turn).then_some(Reason::Profile)
    }
}

/// Of the whole numbers that a Laplacian consists of, -1020..1020. Sums of short rows fit in 32 bits, which vectors are made for.
fn variance(values: &[i16]) -> f64 {
    let (mut sum, mut squares) = (0i64, 0i64);
    for row in values.chunks(1024) {
        sum += i64::from(row.iter().map(|value| i32::from(*value)).sum::<i32>());
        squares += i64::from(row.iter().map(|value| i32::from(*value) * i32::from(*value)).sum::<i32>());
    }
    let count = values.len() as f64;
    let mean = sum as f64 / count;
    squares as f64 / count - mean * mean
}

/// How far the head is turned: how much nearer the nose is to one eye than to the other. 0 for a frontal face, 1 when the nose is over an eye.
fn turn(landmarks: &Landmarks) -> f32 {
    let [left_eye, right_eye, nose, ..] = landmarks;
    let (dx, dy) = (right_eye.x - left_eye.x, right_eye.y - left_eye.y);
    let length = dx.hypot(dy);
    if length <= f32::EPSILON {
        return 1.0;
    }
    // The nose's place along the line of the eyes: 0 at the left one, 1 at the right one.
    let along = ((nose.x - left_eye.x) * dx + (nose.y - left_eye.y) * dy) / (length * length);
    ((along - 0.5).abs() * 2.0).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::geometry::Point;

    const LIMITS: QualityLimits =
        QualityLimits { min_face_size: 64.0, min_sharpness: 20.0, min_luma: 30.0, max_turn: 0.8 };
    const SIDE: u32 = 32;

    fn face(nose: f32) -> Landmarks {
        [(40.0, 50.0), (80.0, 50.0), (nose, 70.0), (45.0, 90.0), (75.0, 90.0)].map(|(x, y)| Point { x, y })
    }

    fn checker(low: u8, high: u8) -> Vec<u8> {
        (0..SIDE * SIDE).flat_map(|i| [if (i / 4 + i / SIDE / 4).is_multiple_of(2) { low } else { high }; 3]).collect()
    }

    #[track_caller]
    fn assert_rejected(size: f32, nose: f32, crop: &[u8], expected: Option<Reason>) {
        let rect = Rect::new(0.0, 0.0, size, size);
        let by_crop = || QualityGate::default().rejects(crop, SIDE, ChannelOrder::Rgb, &LIMITS).unwrap();
        assert_eq!(LIMITS.rejects(&rect, Some(&face(nose))).or_else(by_crop), expected);
    }

    #[test]
    fn each_reason_has_its_crop() {
        let sharp = checker(60, 200);
        assert_rejected(100.0, 60.0, &sharp, None);
        assert_rejected(50.0, 60.0, &sharp, Some(Reason::TooSmall));
        assert_rejected(100.0, 79.0, &sharp, Some(Reason::Profile));
        assert_rejected(100.0, 10.0, &sharp, Some(Reason::Profile));
        assert_rejected(100.0, 60.0, &checker(0, 20), Some(Reason::TooDark));
        assert_rejected(100.0, 60.0, &vec![128; (SIDE * SIDE * 3) as usize], Some(Reason::Blurred));
    }

    /// Blue is a tenth of brightness, red three tenths, whichever comes first.
    #[test]
    fn brightness_is_weighed_by_the_order_of_the_channels() {
        let blue: Vec<u8> = checker(60, 200).as_chunks::<3>().0.iter().flat_map(|[b, ..]| [*b, 0, 0]).collect();
        let rejects = |order| QualityGate::default().rejects(&blue, SIDE, order, &LIMITS).unwrap();
        assert_eq!(rejects(ChannelOrder::Bgr), Some(Reason::TooDark));
        assert_eq!(rejects(ChannelOrder::Rgb), None);
    }

    #[test]
    fn the_variance_is_that_of_opencv() {
        let values: Vec<i16> = (0..5000).map(|index: i32| (index * index % 2041 - 1020) as i16).collect();
        let (mut mean, mut deviation) = (Mat::default(), Mat::default());
        core::mean_std_dev_def(&Mat::from_slice(&values).unwrap(), &mut mean, &mut deviation).unwrap();
        let theirs = deviation.at::<f64>(0).unwrap().powi(2);
        assert!((variance(&values) - theirs).abs() < 1e-6 * theirs);
    }

    #[test]
    fn eyes_in_one_place_are_a_profile() {
        let mut landmarks = face(60.0);
        landmarks[1] = landmarks[0];
        assert_eq!(turn(&landmarks), 1.0);
    }
}
