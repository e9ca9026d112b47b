//! From a face's box to the square picture of it that a model takes.

use super::AnalysisError;
use super::frame::FrameView;
use super::geometry::{Point, Rect};
use super::sampler::{ChannelOrder, PixelRect, Sampler};

/// What a crop looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropSpec {
    /// Size of the crop in pixels.
    pub width: u32,
    pub height: u32,
    /// Side of the square taken, as a multiple of the box's longer side.
    pub margin: f32,
    pub order: ChannelOrder,
}

impl CropSpec {
    /// The part of the frame that a crop of `face` shows: a square with even corners, so that the chroma of
    /// subsampled formats is cut at the same place as the luma.
    pub fn part(&self, face: &Rect) -> PixelRect {
        let square = face.square(self.margin);
        let even = |value: f32| (value / 2.0).round() as i32 * 2;
        let side = even(square.width).max(2);
        let center = square.center();
        let half = side as f32 / 2.0;
        PixelRect { x: even(center.x - half), y: even(center.y - half), width: side, height: side }
    }

    /// Where a point of the frame lies in the crop of `face`, in pixels of the crop.
    pub fn to_crop(&self, face: &Rect, point: Point) -> Point {
        let part = self.part(face);
        Point {
            x: (point.x - part.x as f32) * self.width as f32 / part.width as f32,
            y: (point.y - part.y as f32) * self.height as f32 / part.height as f32,
        }
    }
}

/// Cuts crops out of frames. Keeps its buffers between calls.
#[derive(Default)]
pub struct Cropper {
    sampler: Sampler,
}

impl Cropper {
    /// The crop of `face` (in pixels of the frame): interleaved 8-bit pixels, `height` × `width` × 3. What lies outside the frame repeats its edge.
    ///
    /// # Errors
    /// [`AnalysisError::Outside`] if the box is no box, is several times larger than the frame or does not touch it.
    pub fn crop(&mut self, frame: &FrameView, face: &Rect, spec: &CropSpec) -> Result<&[u8], AnalysisError> {
        let largest = (frame.width.max(frame.height) * 4) as f32;
        if !face.is_valid() || face.width.max(face.height) * spec.margin > largest {
            return Err(AnalysisError::Outside);
        }
        self.sampler.sample(frame, spec.part(face), spec.width, spec.height, spec.order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::frame::{ColorMatrix, ColorRange, PixelFormat, Plane};

    const SPEC: CropSpec = CropSpec { width: 32, height: 32, margin: 1.5, order: ChannelOrder::Rgb };

    #[test]
    fn the_part_is_an_even_square_around_the_face() {
        let face = Rect::new(101.0, 57.5, 61.0, 80.3);
        let part = SPEC.part(&face);
        assert_eq!([part.x % 2, part.y % 2, part.width % 2], [0, 0, 0]);
        assert_eq!(part.width, part.height);
        assert!((part.width as f32 - 80.3 * 1.5).abs() <= 1.0);
        let center = Point { x: part.x as f32 + part.width as f32 / 2.0, y: part.y as f32 + part.height as f32 / 2.0 };
        assert!((center.x - face.center().x).abs() <= 1.0 && (center.y - face.center().y).abs() <= 1.0);
    }

    #[test]
    fn the_face_is_in_the_middle_of_its_crop() {
        let face = Rect::new(101.0, 57.5, 61.0, 80.3);
        let middle = SPEC.to_crop(&face, face.center());
        assert!((middle.x - 16.0).abs() < 0.5 && (middle.y - 16.0).abs() < 0.5, "{middle:?}");
    }

    #[test]
    fn strange_boxes_are_errors_not_crashes() {
        let data = vec![0; 64 * 64 * 3];
        let planes = [Plane { data: &data, stride: 64 * 3 }];
        let frame = FrameView::new(PixelFormat::Rgb, 64, 64, &planes, ColorMatrix::Bt601, ColorRange::Full, 0).unwrap();
        let mut cropper = Cropper::default();
        for (x, y, width, height) in [
            (f32::NAN, 0.0, 10.0, 10.0),
            (0.0, 0.0, f32::INFINITY, 10.0),
            (0.0, 0.0, 0.0, 0.0),
            (0.0, 0.0, -5.0, 5.0),
            (1e9, 1e9, 10.0, 10.0),
            (0.0, 0.0, 1e9, 1e9),
        ] {
            let face = Rect::new(x, y, width, height);
            assert!(cropper.crop(&frame, &face, &SPEC).is_err(), "{face:?}");
        }
        let tiny = cropper.crop(&frame, &Rect::new(10.0, 10.0, 0.1, 0.1), &SPEC).unwrap();
        assert_eq!(tiny.len(), 32 * 32 * 3);
    }
}
