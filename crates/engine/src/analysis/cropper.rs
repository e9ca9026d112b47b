//! From a face to the picture of it that a model takes.

use opencv::core::{self, Mat, Scalar, Size};
use opencv::imgproc;
use opencv::prelude::*;
use serde::{Deserialize, Serialize};

use super::AnalysisError;
use super::alignment::Similarity;
use super::frame::FrameView;
use super::geometry::{Landmarks, Point, Rect};
use super::sampler::{ChannelOrder, Sampler};

/// What a crop looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropSpec {
    /// Size of the crop in pixels.
    pub width: u32,
    pub height: u32,
    pub alignment: Alignment,
    /// Side of the square that [`Alignment::Box`] takes, as a multiple of the box's longer side.
    pub margin: f32,
    pub order: ChannelOrder,
}

/// How a face lies in its crop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alignment {
    /// Upright: a square around the box's middle.
    #[default]
    Box,
    /// Turned and scaled so that eyes, nose and mouth come nearest to fixed places: see [`Similarity::to_template`].
    FivePoint,
}

/// Where in the frame a crop lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// A square, in pixels of the frame.
    Upright(Rect),
    /// From pixels of the frame to pixels of the crop.
    Turned(Similarity),
}

impl CropSpec {
    /// Where a crop of the face lies. `landmarks` count only with [`Alignment::FivePoint`], the box only with [`Alignment::Box`].
    ///
    /// # Errors
    /// [`AnalysisError::NoLandmarks`] if they are needed and there are none, or all are at one place.
    pub fn place(&self, face: &Rect, landmarks: Option<&Landmarks>) -> Result<Place, AnalysisError> {
        match self.alignment {
            Alignment::Box => Ok(Place::Upright(face.square(self.margin))),
            Alignment::FivePoint => landmarks
                .and_then(|landmarks| Similarity::to_template(landmarks, self.width, self.height))
                .map(Place::Turned)
                .ok_or(AnalysisError::NoLandmarks),
        }
    }

    /// Where a point of the frame lies in the crop at `place`, in pixels of the crop.
    pub fn to_crop(&self, place: &Place, point: Point) -> Point {
        match place {
            Place::Upright(part) => Point {
                x: (point.x - part.x) * self.width as f32 / part.width,
                y: (point.y - part.y) * self.height as f32 / part.height,
            },
            Place::Turned(similarity) => similarity.apply(point),
        }
    }

    /// The smallest upright box, in pixels of the frame, around the crop at `place`.
    fn bounds(&self, place: &Place) -> Rect {
        let similarity = match place {
            Place::Upright(part) => return *part,
            Place::Turned(similarity) => similarity,
        };
        let (to_frame, width, height) = (similarity.inverse(), self.width as f32, self.height as f32);
        let corners =
            [(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)].map(|(x, y)| to_frame.apply(Point { x, y }));
        let min = |of: fn(&Point) -> f32| corners.iter().map(of).fold(f32::INFINITY, f32::min);
        let max = |of: fn(&Point) -> f32| corners.iter().map(of).fold(f32::NEG_INFINITY, f32::max);
        let (left, top) = (min(|p| p.x), min(|p| p.y));
        Rect::new(left, top, max(|p| p.x) - left, max(|p| p.y) - top)
    }
}

/// Cuts crops out of frames. Keeps its buffers between calls.
#[derive(Default)]
pub struct Cropper {
    sampler: Sampler,
    turned: Mat,
}

impl Cropper {
    /// The crop of a face: interleaved 8-bit pixels, `height` × `width` × 3. What lies outside the frame repeats its edge. Box
    /// and landmarks, in pixels of the frame, are those of the [track](super::tracker::Track): both smoothed.
    ///
    /// # Errors
    /// [`AnalysisError::Outside`] if the box is no box, or the crop is several times larger than the frame or does not touch it;
    /// [`AnalysisError::NoLandmarks`] as [`CropSpec::place`].
    pub fn crop(
        &mut self,
        frame: &FrameView,
        face: &Rect,
        landmarks: Option<&Landmarks>,
        spec: &CropSpec,
    ) -> Result<&[u8], AnalysisError> {
        let largest = (frame.width.max(frame.height) * 4) as f32;
        if !face.is_valid() || face.width.max(face.height) * spec.margin > largest {
            return Err(AnalysisError::Outside);
        }
        match spec.place(face, landmarks)? {
            Place::Upright(part) => self.sampler.sample(frame, &part, spec.width, spec.height, spec.order),
            Place::Turned(similarity) => self.turn(frame, &similarity, spec),
        }
    }

    /// The crop to whose pixels `similarity` takes those of the frame: first the smallest upright part of the frame that holds
    /// it, then that part turned.
    fn turn(&mut self, frame: &FrameView, similarity: &Similarity, spec: &CropSpec) -> Result<&[u8], AnalysisError> {
        let to_frame = similarity.inverse();
        let bounds = spec.bounds(&Place::Turned(*similarity));
        let (left, right, top, bottom) = (bounds.x, bounds.right(), bounds.y, bounds.bottom());
        let largest = (frame.width.max(frame.height) * 4) as f32;
        if (right - left).max(bottom - top) > largest || left.abs().max(top.abs()) > 1e6 {
            return Err(AnalysisError::Outside);
        }
        // Turning interpolates between four pixels, which is right down to half the size. What is to become smaller than that is
        // shrunk before, by averaging areas, to twice its size in the end.
        let shrink = (0.5 / similarity.scale()).max(1.0);
        // From a whole pixel on: where nothing is shrunk nothing is interpolated before it is turned.
        let (x, y) = (f64::from(left.floor()) - 2.0 * shrink, f64::from(top.floor()) - 2.0 * shrink);
        let side = |length: f32| (f64::from(length) / shrink).ceil() + 5.0;
        let (columns, rows) = (side(right - left), side(bottom - top));
        let part = Rect::new(x as f32, y as f32, (columns * shrink) as f32, (rows * shrink) as f32);
        let upright = self.sampler.sample(frame, &part, columns as u32, rows as u32, spec.order)?;
        let upright = Mat::new_rows_cols_with_bytes::<core::Vec3b>(rows as i32, columns as i32, upright)?;

        // From indices of the crop's pixels to indices of the part's; a pixel's middle is half a pixel from its index.
        let Similarity { a, b, x0, y0 } = to_frame;
        let x = (x0 + (a - b) / 2.0 - x) / shrink - 0.5;
        let y = (y0 + (b + a) / 2.0 - y) / shrink - 0.5;
        let (a, b) = (a / shrink, b / shrink);
        let matrix = Mat::from_slice_2d(&[[a, -b, x], [b, a, y]])?;
        imgproc::warp_affine(
            &upright,
            &mut self.turned,
            &matrix,
            Size::new(spec.width as i32, spec.height as i32),
            imgproc::INTER_LINEAR | imgproc::WARP_INVERSE_MAP,
            core::BORDER_REPLICATE,
            Scalar::default(),
        )?;
        Ok(self.turned.data_bytes()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::frame::{ColorMatrix, ColorRange, PixelFormat, Plane};

    const SPEC: CropSpec =
        CropSpec { width: 32, height: 32, alignment: Alignment::Box, margin: 1.5, order: ChannelOrder::Rgb };
    const ALIGNED: CropSpec =
        CropSpec { width: 150, height: 150, alignment: Alignment::FivePoint, margin: 1.0, ..SPEC };

    #[test]
    fn the_part_is_a_square_around_the_face() {
        let face = Rect::new(101.0, 57.5, 61.0, 80.3);
        let Ok(Place::Upright(part)) = SPEC.place(&face, None) else { panic!("a box needs no landmarks") };
        assert_eq!(part.width, part.height);
        assert!((part.width - 80.3 * 1.5).abs() < 1e-3);
        let (center, expected) = (part.center(), face.center());
        assert!((center.x - expected.x).abs() < 1e-3 && (center.y - expected.y).abs() < 1e-3);
    }

    /// Moves as much as the box does, however little that is.
    #[test]
    fn a_crop_follows_its_box_by_parts_of_pixels() {
        let (face, landmarks) = turned(0.0, 0.8, (300.0, 200.0));
        let data = dotted(&landmarks, 3.0);
        let nose = |shift: f32| {
            let moved = Rect { x: face.x + shift, ..face };
            let spec = CropSpec { margin: 1.6, width: 128, height: 128, ..SPEC };
            let at = spec.to_crop(&spec.place(&moved, None).unwrap(), landmarks[2]);
            let found = dot(&crop(&data, &moved, None, &spec).unwrap(), 128, (at.x, at.y), 8.0);
            (found, at)
        };
        for step in 0..16 {
            let (found, at) = nose(step as f32 / 7.0);
            let miss = (found.x - at.x).hypot(found.y - at.y);
            assert!(miss < 0.05, "step {step}: {found:?} is {miss} px from {at:?}");
        }
    }

    #[test]
    fn the_face_is_in_the_middle_of_its_crop() {
        let face = Rect::new(101.0, 57.5, 61.0, 80.3);
        let middle = SPEC.to_crop(&SPEC.place(&face, None).unwrap(), face.center());
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
            assert!(cropper.crop(&frame, &face, None, &SPEC).is_err(), "{face:?}");
        }
        let tiny = cropper.crop(&frame, &Rect::new(10.0, 10.0, 0.1, 0.1), None, &SPEC).unwrap();
        assert_eq!(tiny.len(), 32 * 32 * 3);
    }

    /// The template's places on 150 × 150 pixels.
    const PLACES: [(f32, f32); 5] = [(46.4, 46.6), (104.0, 46.5), (74.8, 78.8), (50.4, 104.1), (99.9, 103.3)];
    const FRAME: (usize, usize) = (1280, 720);

    /// A face turned by `degrees`, `scale` times as large as the template, around `center`; box and landmarks.
    fn turned(degrees: f32, scale: f32, center: (f32, f32)) -> (Rect, Landmarks) {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let landmarks = PLACES.map(|(x, y)| {
            let (x, y) = ((x - 75.0) * scale, (y - 75.0) * scale);
            Point { x: cos * x - sin * y + center.0, y: sin * x + cos * y + center.1 }
        });
        (Rect::from_center(Point { x: center.0, y: center.1 }, 100.0 * scale, 100.0 * scale), landmarks)
    }

    /// An I420 frame, grey, with a bright soft dot on each landmark.
    fn dotted(landmarks: &Landmarks, radius: f32) -> Vec<u8> {
        let (width, height) = FRAME;
        let mut data = vec![128; width * height * 3 / 2];
        for (y, row) in data[..width * height].chunks_exact_mut(width).enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                let square = |p: &Point| (p.x - 0.5 - x as f32).powi(2) + (p.y - 0.5 - y as f32).powi(2);
                let nearest = landmarks.iter().map(square).fold(f32::INFINITY, f32::min);
                *value = (60.0 + 180.0 * (-nearest / (2.0 * radius * radius)).exp()) as u8;
            }
        }
        data
    }

    fn crop(
        data: &[u8],
        face: &Rect,
        landmarks: Option<&Landmarks>,
        spec: &CropSpec,
    ) -> Result<Vec<u8>, AnalysisError> {
        let (width, height) = FRAME;
        let (luma, chroma) = data.split_at(width * height);
        let (u, v) = chroma.split_at(width * height / 4);
        let planes = [
            Plane { data: luma, stride: width },
            Plane { data: u, stride: width / 2 },
            Plane { data: v, stride: width / 2 },
        ];
        let (width, height) = (width as u32, height as u32);
        let frame =
            FrameView::new(PixelFormat::I420, width, height, &planes, ColorMatrix::Bt601, ColorRange::Full, 0).unwrap();
        Cropper::default().crop(&frame, face, landmarks, spec).map(<[u8]>::to_vec)
    }

    /// The middle of the brightness around (x, y), in pixels.
    fn dot(crop: &[u8], side: usize, (x, y): (f32, f32), reach: f32) -> Point {
        let (mut sum, mut sum_x, mut sum_y) = (0.0, 0.0, 0.0);
        for (index, pixel) in crop.as_chunks::<3>().0.iter().enumerate() {
            let (px, py) = ((index % side) as f32 + 0.5, (index / side) as f32 + 0.5);
            if (px - x).hypot(py - y) <= reach {
                let weight = f32::from(pixel[1].saturating_sub(70));
                (sum, sum_x, sum_y) = (sum + weight, sum_x + weight * px, sum_y + weight * py);
            }
        }
        Point { x: sum_x / sum, y: sum_y / sum }
    }

    #[test]
    fn landmarks_of_a_turned_face_are_found_at_the_templates_places() {
        for (degrees, scale) in [(0.0, 1.0), (30.0, 1.3), (-45.0, 0.6), (170.0, 2.2), (12.0, 3.7), (90.0, 4.3)] {
            for side in [150, 64, 224] {
                let (face, landmarks) = turned(degrees, scale, (640.0, 360.0));
                let data = dotted(&landmarks, 2.5 * scale);
                let spec = CropSpec { width: side, height: side, ..ALIGNED };
                let crop = crop(&data, &face, Some(&landmarks), &spec).unwrap();
                let factor = side as f32 / 150.0;
                for place in PLACES {
                    let place = (place.0 * factor, place.1 * factor);
                    let found = dot(&crop, side as usize, place, 9.0 * factor);
                    let miss = (found.x - place.0).hypot(found.y - place.1);
                    assert!(miss < 0.5, "{degrees}°, ×{scale}, {side} px: {found:?} is {miss} px from {place:?}");
                }
            }
        }
    }

    #[test]
    fn a_fine_pattern_is_averaged_not_aliased() {
        let (width, height) = FRAME;
        let (face, landmarks) = turned(20.0, 4.0, (640.0, 360.0));
        let mut data = vec![128; width * height * 3 / 2];
        for (index, value) in data[..width * height].iter_mut().enumerate() {
            *value = if (index % width + index / width).is_multiple_of(2) { 0 } else { 255 };
        }
        let spec = CropSpec { width: 64, height: 64, ..ALIGNED };
        let crop = crop(&data, &face, Some(&landmarks), &spec).unwrap();
        let worst = crop.iter().map(|value| value.abs_diff(128)).max().unwrap();
        assert!(worst < 32, "a chequer of single pixels, ±127 levels, leaves ±{worst}");
    }

    #[test]
    fn a_crop_that_reaches_over_the_frame_repeats_its_edge() {
        let (face, landmarks) = turned(25.0, 1.5, (0.0, 719.0));
        let (width, height) = FRAME;
        let mut data = vec![128; width * height * 3 / 2];
        data[..width * height].fill(90);
        let crop = crop(&data, &face, Some(&landmarks), &ALIGNED).unwrap();
        assert!(crop.iter().all(|value| value.abs_diff(90) <= 1));
    }

    #[test]
    fn without_landmarks_there_is_no_aligned_crop() {
        let (face, landmarks) = turned(0.0, 1.0, (640.0, 360.0));
        let data = dotted(&landmarks, 3.0);
        assert!(matches!(crop(&data, &face, None, &ALIGNED), Err(AnalysisError::NoLandmarks)));
        let collapsed = [landmarks[0]; 5];
        assert!(matches!(crop(&data, &face, Some(&collapsed), &ALIGNED), Err(AnalysisError::NoLandmarks)));
        let (_, far) = turned(0.0, 1.0, (1e7, 0.0));
        assert!(matches!(crop(&data, &face, Some(&far), &ALIGNED), Err(AnalysisError::Outside)));
        let (_, beside) = turned(0.0, 1.0, (2000.0, 360.0));
        assert!(matches!(crop(&data, &face, Some(&beside), &ALIGNED), Err(AnalysisError::Outside)));
    }
}
