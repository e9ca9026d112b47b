//! Where on a face the model sees that something was changed, laid over the face's box in the frame.

use ndarray::Array2;

use super::cropper::{CropSpec, Place};
use super::frame::{FrameView, Share};

/// How likely each part of `part`, a share of the stored frame, was changed: as many rows and columns as the map
/// of the crop at `place` has, from the top. What lies outside the crop is 0.
pub fn over(map: &Array2<f32>, place: &Place, spec: &CropSpec, frame: &FrameView, part: &Share) -> Vec<Vec<f64>> {
    let size = map.nrows();
    let (width, height) = (part.width / size as f64, part.height / size as f64);
    let value = |row: usize, column: usize| {
        let cell = Share { x: part.x + width * column as f64, y: part.y + height * row as f64, width, height };
        let inside = spec.to_crop(place, frame.from_stored(&cell).center());
        f64::from(interpolated(map, inside.x / spec.width as f32, inside.y / spec.height as f32))
    };
    (0..size).map(|row| (0..size).map(|column| value(row, column)).collect()).collect()
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
    use crate::analysis::frame::{ColorMatrix, ColorRange, Orientation, PixelFormat, Plane};
    use crate::analysis::geometry::Rect;
    use crate::analysis::sampler::ChannelOrder;

    const SPEC: CropSpec =
        CropSpec { width: 16, height: 16, alignment: Alignment::Box, margin: 1.0, order: ChannelOrder::Rgb };
    const TURNED: Orientation = Orientation { mirror_x: false, mirror_y: true, transpose: true };

    fn heat(map: &Array2<f32>, place: &Place, orientation: Orientation, part: Share) -> Vec<Vec<f64>> {
        let data = vec![0; 200 * 100];
        let planes = [Plane { data: &data, stride: 200 }];
        let frame =
            FrameView::new(PixelFormat::Gray8, 200, 100, &planes, ColorMatrix::Bt601, ColorRange::Full, 0).unwrap();
        over(map, place, &SPEC, &frame.shown(1.0, orientation), &part)
    }

    #[test]
    fn over_all_of_an_upright_crop_it_is_the_map() {
        let map = Array2::from_shape_fn((4, 4), |(row, column)| (4 * row + column) as f32 / 16.0);
        let place = Place::Upright(Rect::new(50.0, -10.0, 40.0, 40.0));
        let heat = heat(&map, &place, Orientation::default(), Share { x: 0.25, y: -0.1, width: 0.2, height: 0.4 });
        for (index, value) in heat.concat().iter().enumerate() {
            assert!((value - index as f64 / 16.0).abs() < 1e-5, "cell {index}: {value}");
        }
    }

    #[test]
    fn what_is_hot_in_a_turned_crop_is_hot_at_its_place_in_the_frame() {
        let mut map = Array2::zeros((4, 4));
        map[[0, 0]] = 1.0;
        // The crop's upper left, turned by a right angle, is the upper right of the part.
        let quarter = Similarity { a: 0.0, b: -0.4, x0: 0.0, y0: 40.0 };
        let all = Share { x: 0.3, y: 0.0, width: 0.2, height: 0.4 };
        let found = heat(&map, &Place::Turned(quarter), Orientation::default(), all);
        assert!(found[0][3] > 0.99 && found.concat().iter().sum::<f64>() < 1.01, "{found:?}");
        // Beside the crop nothing is said.
        let beside =
            heat(&Array2::ones((4, 4)), &Place::Turned(quarter), Orientation::default(), Share { x: 0.7, ..all });
        assert_eq!(beside.concat(), [0.0; 16]);
    }

    #[test]
    fn a_frame_that_is_stored_lying_has_its_heat_lying() {
        let mut map = Array2::zeros((4, 4));
        map[[0, 3]] = 1.0;
        // All of a square in the shown frame's upper left corner; what is at its upper right is stored in its upper left.
        let place = Place::Upright(Rect::new(0.0, 0.0, 40.0, 40.0));
        let found = heat(&map, &place, TURNED, Share { x: 0.0, y: 0.6, width: 0.2, height: 0.4 });
        assert!(found[0][0] > 0.99, "{found:?}");
    }
}
