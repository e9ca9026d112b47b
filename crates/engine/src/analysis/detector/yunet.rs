//! Decoding YuNet's outputs (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023).

use ndarray::ArrayViewD;

use super::{Detection, DetectorError, plausible};
use crate::analysis::geometry::{Point, Rect};

/// One scale of the anchor-free head: a cell for every `stride`×`stride` pixels.
pub struct Scale<'a> {
    pub stride: usize,
    /// [1, cells, 1]: probability of the class, and that there is an object at all.
    pub class: ArrayViewD<'a, f32>,
    pub object: ArrayViewD<'a, f32>,
    /// [1, cells, 4]: offset x, y in cells; log width, height in cells.
    pub boxes: ArrayViewD<'a, f32>,
    /// [1, cells, 10]: offset x, y in cells, five times.
    pub landmarks: ArrayViewD<'a, f32>,
}

/// Faces of one scale, in pixels of a picture `width`×`height`, before suppression.
pub fn decode(scale: &Scale, width: usize, height: usize, threshold: f32) -> Result<Vec<Detection>, DetectorError> {
    let columns = width / scale.stride;
    let cells = columns * (height / scale.stride);
    for (name, map, channels) in
        [("cls", &scale.class, 1), ("obj", &scale.object, 1), ("bbox", &scale.boxes, 4), ("kps", &scale.landmarks, 10)]
    {
        if map.shape() != [1, cells, channels] {
            return Err(DetectorError::shape(name, map.shape()));
        }
    }

    let stride = scale.stride as f32;
    let mut faces = Vec::new();
    for cell in 0..cells {
        let product = scale.class[[0, cell, 0]].clamp(0.0, 1.0) * scale.object[[0, cell, 0]].clamp(0.0, 1.0);
        let confidence = product.sqrt();
        if confidence.is_nan() || confidence <= threshold {
            continue;
        }
        let (column, row) = ((cell % columns) as f32, (cell / columns) as f32);
        let of_box = |channel: usize| scale.boxes[[0, cell, channel]];
        let center = Point { x: (column + of_box(0)) * stride, y: (row + of_box(1)) * stride };
        let rect = Rect::from_center(center, of_box(2).exp() * stride, of_box(3).exp() * stride);
        let landmarks = std::array::from_fn(|index| Point {
            x: (column + scale.landmarks[[0, cell, 2 * index]]) * stride,
            y: (row + scale.landmarks[[0, cell, 2 * index + 1]]) * stride,
        });
        faces.extend(plausible(Detection { rect, landmarks: Some(landmarks), confidence }));
    }
    Ok(faces)
}
