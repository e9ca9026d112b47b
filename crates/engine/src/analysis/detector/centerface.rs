//! Decoding CenterFace's outputs (Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", arXiv:1911.03599).

use ndarray::ArrayViewD;

use super::{Detection, DetectorError, plausible};
use crate::analysis::geometry::{Point, Rect};

/// Pixels of the picture for each cell of the output maps.
const STRIDE: f32 = 4.0;

/// Faces from the four maps, each [1, C, H/4, W/4]: heatmap (C = 1), log size (2: height, width), offset (2: y, x)
/// and landmarks (10: y, x five times, relative to the box). In pixels of the picture, before suppression.
pub fn decode(maps: [ArrayViewD<f32>; 4], threshold: f32) -> Result<Vec<Detection>, DetectorError> {
    let [heatmap, size, offset, landmarks] = maps;
    let &[1, 1, rows, columns] = heatmap.shape() else { return Err(DetectorError::shape("heatmap", heatmap.shape())) };
    for (name, map, channels) in [("size", &size, 2), ("offset", &offset, 2), ("landmarks", &landmarks, 10)] {
        if map.shape() != [1, channels, rows, columns] {
            return Err(DetectorError::shape(name, map.shape()));
        }
    }

    let mut faces = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let confidence = heatmap[[0, 0, row, column]].clamp(0.0, 1.0);
            if confidence.is_nan() || confidence <= threshold {
                continue;
            }
            let at = |map: &ArrayViewD<f32>, channel: usize| map[[0, channel, row, column]];
            let height = at(&size, 0).exp() * STRIDE;
            let width = at(&size, 1).exp() * STRIDE;
            let center = Point {
                x: (column as f32 + at(&offset, 1) + 0.5) * STRIDE,
                y: (row as f32 + at(&offset, 0) + 0.5) * STRIDE,
            };
            let rect = Rect::from_center(center, width, height);
            let landmarks = std::array::from_fn(|index| Point {
                x: rect.x + at(&landmarks, 2 * index + 1) * width,
                y: rect.y + at(&landmarks, 2 * index) * height,
            });
            faces.extend(plausible(Detection { rect, landmarks: Some(landmarks), confidence }));
        }
    }
    Ok(faces)
}
