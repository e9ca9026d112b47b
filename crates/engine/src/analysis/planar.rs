//! From interleaved bytes to the planes of floats that graphs take.

use ndarray::ArrayViewMut3;
use opencv::core::{self, Mat, Vector};
use opencv::prelude::*;

use super::AnalysisError;

/// Writes the channels of `pixels` (interleaved, `width` pixels a row, no gaps) into the upper left of `planes`, [3, H, W], as
/// 0..255. What is left of the planes stays as it is.
///
/// # Errors
/// If OpenCV fails.
///
/// # Panics
/// If the planes are smaller than the picture, or their rows are no plain slices.
pub fn split(pixels: &[u8], width: usize, mut planes: ArrayViewMut3<f32>) -> Result<(), AnalysisError> {
    let height = pixels.len() / (width * 3);
    assert!(planes.dim().0 == 3 && planes.dim().1 >= height && planes.dim().2 >= width);
    let pixels = Mat::new_rows_cols_with_bytes::<core::Vec3b>(height as i32, width as i32, pixels)?;
    let mut channels = Vector::<Mat>::new();
    core::split(&pixels, &mut channels)?;
    for (channel, mut plane) in channels.iter().zip(planes.outer_iter_mut()) {
        for (from, mut to) in channel.data_bytes()?.chunks_exact(width).zip(plane.outer_iter_mut()) {
            let to = to.as_slice_mut().expect("rows are plain slices");
            for (to, from) in to.iter_mut().zip(from) {
                *to = f32::from(*from);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    #[test]
    fn channels_become_planes_and_the_rest_stays() {
        let pixels: Vec<u8> = (0..5 * 2 * 3).collect();
        let mut planes = Array3::from_elem((3, 3, 7), -1.0);
        split(&pixels, 5, planes.view_mut()).unwrap();
        for ((channel, row, column), value) in planes.indexed_iter() {
            let expected =
                if row < 2 && column < 5 { f32::from(pixels[(row * 5 + column) * 3 + channel]) } else { -1.0 };
            assert_eq!(*value, expected, "channel {channel}, row {row}, column {column}");
        }
    }
}
