//! Where on a face the model sees that something was changed, laid over the frame.

use ndarray::Array2;

use super::cropper::{CropSpec, Place};
use super::frame::FrameView;
use super::geometry::{Point, Rect};

/// How likely each part of a face was changed: a square grid of cells over a part of the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// The part that the grid covers, 0..1 of the frame's width and height. It may reach over the frame's edges.
    pub part: Rect,
    /// Cells in a row, and rows.
    pub size: usize,
    /// 0..1, row by row from the top.
    pub values: Vec<f32>,
}

impl Heat {
    /// Lays a map of a crop over the frame that the crop was taken from. Cells outside a turned crop are 0.
    pub fn new(map: &Array2<f32>, place: &Place, spec: &CropSpec, frame: &FrameView) -> Self {
        let bounds = spec.bounds(place);
        let size = map.nrows();
        let cell = |index: usize| (index as f32 + 0.5) / size as f32;
        let value = |row: usize, column: usize| {
            let at = Point { x: bounds.x + bounds.width * cell(column), y: bounds.y + bounds.height * cell(row) };
            let inside = spec.to_crop(place, at);
            interpolated(map, inside.x / spec.width as f32, inside.y / spec.height as f32)
        };
        Self {
            part: Rect::new(
                bounds.x / frame.width as f32,
                bounds.y / frame.height as f32,
                bounds.width / frame.width as f32,
                bounds.height / frame.height as f32,
            ),
            size,
            values: (0..size * size).map(|index| value(index / size, index % size)).collect(),
        }
    }
}

/// The map's value at a place, 0..1 of its width and height; 0 outside.
fn interpolated(map: &Array2<f32>, x: f32, y: f32) -> f32 {
    if !((0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y)) {
        return 0.0;
    }
    let along = |share: f32, cells: usize| {
        let place = (share * cells as f32 - 0.5).clamp(0.0, cells as f32 - 1.0);
        let first = place as usize;
        (first, (first + 1).min(cells - 1), place - first as f32)
    };
    let (left, right, across) = along(x, map.ncols());
    let (top, bottom, down) = along(y, map.nrows());
    let between = |a: f32, b: f32, share: f32| a + (b - a) * share;
    between(
        between(map[[top, left]], map[[top, right]], across),
        between(map[[bottom, left]], map[[bottom, right]], across),
        down,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::alignment::Similarity;
    use crate::analysis::cropper::Alignment;
    use crate::analysis::frame::{ColorMatrix, ColorRange, PixelFormat, Plane};
    use crate::analysis::sampler::ChannelOrder;

    const SPEC: CropSpec =
        CropSpec { width: 16, height: 16, alignment: Alignment::Box, margin: 1.0, order: ChannelOrder::Rgb };

    fn heat(map: &Array2<f32>, place: &Place) -> Heat {
        let data = vec![0; 200 * 100];
        let planes = [Plane { data: &data, stride: 200 }];
        let frame =
            FrameView::new(PixelFormat::Gray8, 200, 100, &planes, ColorMatrix::Bt601, ColorRange::Full, 0).unwrap();
        Heat::new(map, place, &SPEC, &frame)
    }

    #[test]
    fn an_upright_crop_keeps_its_cells() {
        let map = Array2::from_shape_fn((4, 4), |(row, column)| (4 * row + column) as f32 / 16.0);
        let heat = heat(&map, &Place::Upright(Rect::new(50.0, -10.0, 40.0, 40.0)));
        assert_eq!(heat.part, Rect::new(0.25, -0.1, 0.2, 0.4));
        for (index, value) in heat.values.iter().enumerate() {
            assert!((value - index as f32 / 16.0).abs() < 1e-5, "cell {index}: {value}");
        }
    }

    #[test]
    fn what_is_hot_in_a_turned_crop_is_hot_at_its_place_in_the_frame() {
        // The crop's upper left, turned by a right angle, is the upper right of the part.
        let mut map = Array2::zeros((4, 4));
        map[[0, 0]] = 1.0;
        let quarter = Similarity { a: 0.0, b: -0.4, x0: 0.0, y0: 40.0 };
        let heat = heat(&map, &Place::Turned(quarter));
        let hottest = (0..16).max_by(|a, b| heat.values[*a].total_cmp(&heat.values[*b])).unwrap();
        assert_eq!(hottest, 3, "{heat:?}");
        assert!(heat.values[3] > 0.99);
        let eighth = Similarity { a: 0.3, b: 0.3, x0: -10.0, y0: -20.0 };
        let corners =
            [0, 3, 12, 15].map(|index| self::heat(&Array2::ones((4, 4)), &Place::Turned(eighth)).values[index]);
        assert_eq!(corners, [0.0; 4], "outside the crop nothing is said");
    }
}
