//! Where boxes and labels go. Whole pixels, no drawing.
//!
//! Everything sits on even coordinates with even sizes: formats with subsampled chroma keep colour
//! for every second pixel only, and a line between two of them would lose it.

use deepfake_report::FaceReport;

/// A rectangle in whole pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Area {
    pub x: i32,
    pub y: i32,
    pub width: i32,
    pub height: i32,
}

impl Area {
    pub fn new(x: i32, y: i32, width: i32, height: i32) -> Self {
        Self { x, y, width, height }
    }

    pub fn right(&self) -> i32 {
        self.x + self.width
    }

    pub fn bottom(&self) -> i32 {
        self.y + self.height
    }

    pub fn overlaps(&self, other: &Area) -> bool {
        self.x < other.right() && other.x < self.right() && self.y < other.bottom() && other.y < self.bottom()
    }

    fn within(&self, frame: Size) -> bool {
        self.x >= 0 && self.y >= 0 && self.right() <= frame.width && self.bottom() <= frame.height
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Size {
    pub width: i32,
    pub height: i32,
}

/// The nearest even number, upwards on a tie.
pub fn even(value: f64) -> i32 {
    (value / 2.0).round() as i32 * 2
}

/// A normalised box in pixels, cut to the frame; `None` if nothing of it can be seen, or if it is
/// no box at all.
pub fn face_area(face: &FaceReport, frame: Size) -> Option<Area> {
    area([face.x, face.y, face.x + face.width, face.y + face.height], frame)
}

/// The same from normalised left, top, right and bottom.
pub fn area(edges: [f64; 4], frame: Size) -> Option<Area> {
    if edges.iter().any(|edge| !edge.is_finite()) {
        return None;
    }
    let [x, y, right, bottom] = edges.map(|edge| edge.clamp(0.0, 1.0));
    let (x, right) = (even(x * f64::from(frame.width)), even(right * f64::from(frame.width)));
    let (y, bottom) = (even(y * f64::from(frame.height)), even(bottom * f64::from(frame.height)));
    let (right, bottom) = (right.min(frame.width), bottom.min(frame.height));
    (right - x >= 2 && bottom - y >= 2).then(|| Area::new(x, y, right - x, bottom - y))
}

/// Where a label sits relative to its face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Above,
    Below,
    Right,
    Left,
    /// At the foot of the box, over the face.
    Inside,
}

const SIDES: [Side; 5] = [Side::Above, Side::Below, Side::Right, Side::Left, Side::Inside];

/// A face that wants a label.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub face: Area,
    /// Sizes of the label's forms, the preferred one first.
    pub forms: [Option<Size>; 2],
    /// Where this face's label was in the frame before: kept if possible, labels that jump are hard
    /// to read.
    pub before: Option<Place>,
    /// Give it room even over other faces.
    pub important: bool,
}

/// Which form of a label was taken, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub form: usize,
    pub side: Side,
    pub area: Area,
}

/// Finds a place for each label, the most important wish first: never outside the frame, never over
/// another label, and not over another face unless the wish is important. A label that finds none
/// is left out; its box still tells the state.
pub fn place(frame: Size, gap: i32, faces: &[Area], wishes: &[Wish]) -> Vec<Option<Place>> {
    let mut taken: Vec<Area> = Vec::with_capacity(wishes.len());
    wishes
        .iter()
        .map(|wish| {
            let free = |place: &Place, over_faces: bool| {
                place.area.within(frame)
                    && !taken.iter().any(|label| label.overlaps(&place.area))
                    && (over_faces || !faces.iter().any(|face| *face != wish.face && face.overlaps(&place.area)))
            };
            let found = candidates(frame, gap, wish).find(|place| free(place, false)).or_else(|| {
                candidates(frame, gap, wish).find(|place| wish.important && place.form == 1 && free(place, true))
            });
            taken.extend(found.map(|place| place.area));
            found
        })
        .collect()
}

fn candidates(frame: Size, gap: i32, wish: &Wish) -> impl Iterator<Item = Place> {
    let wish = *wish;
    let at = move |form: usize, side: Side| {
        wish.forms[form]
            .and_then(|size| beside(frame, gap, wish.face, size, side).map(|area| Place { form, side, area }))
    };
    let before = wish.before.and_then(move |place| at(place.form, place.side));
    let rest = (0..wish.forms.len()).flat_map(move |form| SIDES.into_iter().filter_map(move |side| at(form, side)));
    // The place of before counts only while the form is the preferred one: a label that had to
    // shrink may grow again.
    before.filter(|place| place.form == 0).into_iter().chain(rest)
}

/// The label's area at `side` of the face, slid along that side into the frame.
fn beside(frame: Size, gap: i32, face: Area, size: Size, side: Side) -> Option<Area> {
    let slide = |wanted: i32, length: i32, limit: i32| wanted.min((limit - length) & !1).max(0);
    let x = slide(face.x, size.width, frame.width);
    let y = slide(face.y, size.height, frame.height);
    let (x, y) = match side {
        Side::Above => (x, face.y - gap - size.height),
        Side::Below => (x, face.bottom() + gap),
        Side::Right => (face.right() + gap, y),
        Side::Left => (face.x - gap - size.width, y),
        Side::Inside => {
            // Only where it leaves most of the face free.
            if size.height * 5 > face.height * 2 || size.width + 2 * gap > face.width {
                return None;
            }
            (face.x + gap, face.bottom() - gap - size.height)
        }
    };
    let area = Area::new(x & !1, y & !1, size.width, size.height);
    area.within(frame).then_some(area)
}

#[cfg(test)]
mod tests {
    use super::*;
    use deepfake_report::testing::{self, with};
    use proptest::prelude::*;

    const FRAME: Size = Size { width: 640, height: 360 };
    const CARD: Size = Size { width: 120, height: 60 };
    const TAG: Size = Size { width: 80, height: 20 };

    fn wish(face: Area) -> Wish {
        Wish { face, forms: [Some(CARD), Some(TAG)], before: None, important: false }
    }

    fn sides(frame: Size, faces: &[Area]) -> Vec<Option<(usize, Side)>> {
        let wishes: Vec<_> = faces.iter().copied().map(wish).collect();
        place(frame, 4, faces, &wishes).into_iter().map(|p| p.map(|p| (p.form, p.side))).collect()
    }

    #[test]
    fn a_label_goes_above_else_below_else_beside_else_inside() {
        assert_eq!(sides(FRAME, &[Area::new(200, 100, 100, 100)]), [Some((0, Side::Above))]);
        assert_eq!(sides(FRAME, &[Area::new(200, 10, 100, 100)]), [Some((0, Side::Below))]);
        assert_eq!(sides(FRAME, &[Area::new(200, 10, 100, 340)]), [Some((0, Side::Right))]);
        assert_eq!(sides(FRAME, &[Area::new(530, 10, 100, 340)]), [Some((0, Side::Left))]);
        assert_eq!(sides(FRAME, &[Area::new(0, 0, 640, 360)]), [Some((0, Side::Inside))]);
    }

    #[test]
    fn neighbours_labels_shrink_or_move_rather_than_overlap() {
        let row: Vec<_> = (0..6).map(|i| Area::new(20 + i * 100, 150, 90, 100)).collect();
        let placed = place(FRAME, 4, &row, &row.iter().copied().map(wish).collect::<Vec<_>>());
        assert!(placed.iter().all(Option::is_some), "{placed:?}");
    }

    #[test]
    fn a_label_stays_where_it_was_while_that_is_free() {
        let face = Area::new(200, 100, 100, 100);
        let before = Place { form: 0, side: Side::Below, area: Area::default() };
        let placed = place(FRAME, 4, &[face], &[Wish { before: Some(before), ..wish(face) }]);
        assert_eq!(placed[0].unwrap().side, Side::Below);
    }

    #[test]
    fn strange_boxes_are_no_boxes() {
        let face = |x, y, width, height| {
            with(testing::face(1), |face| {
                face.x = x;
                face.y = y;
                face.width = width;
                face.height = height;
            })
        };
        for strange in [
            face(f64::NAN, 0.0, 0.5, 0.5),
            face(0.0, 0.0, f64::INFINITY, 0.5),
            face(1.5, 0.5, 0.2, 0.2),
            face(0.5, 0.5, -0.2, 0.2),
            face(0.5, 0.5, 0.0, 0.2),
        ] {
            assert_eq!(face_area(&strange, FRAME), None, "{strange:?}");
        }
        assert_eq!(face_area(&face(-1.0, -1.0, 9.0, 9.0), FRAME), Some(Area::new(0, 0, 640, 360)));
        assert_eq!(face_area(&face(0.0, 0.0, 1.0, 1.0), Size { width: 17, height: 33 }), Some(Area::new(0, 0, 17, 33)));
    }

    proptest! {
        #[test]
        fn labels_never_leave_the_frame_nor_overlap(
            width in 16..2000i32,
            height in 16..2000i32,
            boxes in prop::collection::vec((0.0..1.0f64, 0.0..1.0f64, 0.01..0.6f64, 0.01..0.6f64), 0..40),
            important: bool,
        ) {
            let frame = Size { width, height };
            let faces: Vec<_> = boxes.iter().filter_map(|&(x, y, w, h)| area([x, y, x + w, y + h], frame)).collect();
            let wishes: Vec<_> = faces.iter().map(|&face| Wish { important, ..wish(face) }).collect();
            let placed: Vec<_> = place(frame, 4, &faces, &wishes).into_iter().flatten().map(|p| p.area).collect();
            for (i, a) in placed.iter().enumerate() {
                prop_assert!(a.within(frame));
                prop_assert!(placed[i + 1..].iter().all(|b| !a.overlaps(b)));
            }
        }
    }
}
