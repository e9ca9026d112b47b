//! Which parts of a frame the detector looks at, and how large it sees them.
//!
//! A frame is thought of as several pictures of itself, each twice as large as the one before: the *levels*. A face is looked for in
//! the smallest picture in which it is large enough to be seen well, and there in a *window* around the place where it is expected.
//! Windows lie on a grid of the detector's own coarsest cells, so that a face is seen in a window as in the whole picture.

use crate::analysis::detector::GRANULARITY;
use crate::analysis::frame::FrameView;
use crate::analysis::geometry::Rect;

// Set on CenterFace's boxes. Of faces 24 pixels high it finds 88 %, of 28 and more all, up to 700. The other figures are those that
// `cargo run --example window_boxes` prints, for eight frames each of 126 real and fake clips, against the boxes found in the whole of
// the usual picture:
//
// | found in windows of      | lost | elsewhere, in sides  | larger or smaller    | all to one side |
// |--------------------------|------|----------------------|----------------------|-----------------|
// | the usual picture        | none | 0.15 % (95 %: 0.4 %) | 0.5 % (95 %: 2.1 %)  | -0.2 %          |
// | the one half as large    | none | 1.2 % (95 %: 2.8 %)  | 1.7 % (95 %: 5.0 %)  | -0.3 %          |
//
// CenterFace itself is no more exact than that: from one frame to the next its boxes shake as much in either picture. What counts is
// that they are on the average as large as in the usual picture, since crops for training were cut out of boxes found there. This
// is so in half of it alone: in pictures of sizes between the two, and in the half where faces have less than 40 pixels, the boxes of
// faces of some size are all too large, those of others all too small; in a quarter most are too small.
//
// With a context of 32 pixels in the usual picture sizes differ by twice as much, and some clips' all to one side.

/// A face is looked for where its side has at least this many pixels, …
const MIN_SIDE: f32 = 24.0;
/// … in the smallest picture this many; …
const MIN_SIDE_OF_LARGE: f32 = 40.0;
/// … and with as many pixels around it; …
const CONTEXT: f32 = 32.0;
/// … in the two smallest pictures with more, so that large faces, which are seen best, are seen as in the whole of them.
const CONTEXT_OF_LARGE: f32 = 48.0;

/// The pictures of a frame.
#[derive(Clone, Copy)]
pub struct Levels {
    frame: (u32, u32),
    /// Size of the usual picture for each size of the frame, 0..1. One picture is half as large, the others are larger.
    scale: f32,
}

impl Levels {
    /// The usual picture has `longest` pixels at its longer side; no picture is larger than the frame.
    pub fn of(frame: &FrameView, longest: u32) -> Self {
        let scale = (longest as f32 / frame.width.max(frame.height) as f32).min(1.0);
        Self { frame: (frame.width, frame.height), scale }
    }

    /// The picture in which a face of this side, in pixels of the frame, is looked for, whole.
    pub fn picture_for(&self, side: f32) -> Window {
        let half = self.scale / 2.0;
        if side * half >= MIN_SIDE_OF_LARGE {
            return Window { min_side: MIN_SIDE_OF_LARGE, ..self.picture(half) };
        }
        let mut scale = self.scale;
        while scale < 1.0 && side * scale < MIN_SIDE {
            scale = (scale * 2.0).min(1.0);
        }
        self.picture(scale)
    }

    /// The usual picture, whole.
    pub fn usual(&self) -> Window {
        self.picture(self.scale)
    }

    fn picture(&self, scale: f32) -> Window {
        let side = |pixels: u32| ((pixels as f32 * scale).round() as u32).max(1);
        let (right, bottom) = (side(self.frame.0), side(self.frame.1));
        Window { frame: self.frame, picture: (right, bottom), min_side: MIN_SIDE, left: 0, top: 0, right, bottom }
    }

    /// Around a face that is expected at `rect`, or up to `reach` beyond it, in pixels of the frame. `None` outside the frame.
    pub fn window(&self, rect: &Rect, reach: f32) -> Option<Window> {
        let whole = self.picture_for(rect.area().sqrt());
        let (scale_x, scale_y) = whole.scale();
        let context = if whole.picture <= self.usual().picture { CONTEXT_OF_LARGE } else { CONTEXT };
        let (margin_x, margin_y) = ((reach * scale_x).max(context), (reach * scale_y).max(context));
        let cell = GRANULARITY as f32;
        let from = |at: f32| ((at / cell).floor().max(0.0) * cell) as u32;
        let to = |at: f32, most: u32| ((at / cell).ceil().max(0.0) * cell).min(most as f32) as u32;
        let window = Window {
            left: from(rect.x * scale_x - margin_x),
            top: from(rect.y * scale_y - margin_y),
            right: to(rect.right() * scale_x + margin_x, whole.right),
            bottom: to(rect.bottom() * scale_y + margin_y, whole.bottom),
            ..whole
        };
        (window.left < window.right && window.top < window.bottom).then_some(window)
    }
}

/// A part of one of a frame's pictures, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    frame: (u32, u32),
    /// Width and height of the whole picture.
    pub picture: (u32, u32),
    /// Of faces that are looked for in that picture.
    min_side: f32,
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

impl Window {
    /// All of its picture.
    fn widened(&self) -> Self {
        Self { left: 0, top: 0, right: self.picture.0, bottom: self.picture.1, ..*self }
    }

    pub fn width(&self) -> u32 {
        self.right - self.left
    }

    pub fn height(&self) -> u32 {
        self.bottom - self.top
    }

    /// Pixels that the detector computes on.
    fn area(&self) -> u32 {
        let padded = |side: u32| side.next_multiple_of(GRANULARITY as u32);
        padded(self.width()) * padded(self.height())
    }

    fn union(&self, other: &Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
            ..*self
        }
    }

    /// Pixels of the picture for each pixel of the frame.
    fn scale(&self) -> (f32, f32) {
        (self.picture.0 as f32 / self.frame.0 as f32, self.picture.1 as f32 / self.frame.1 as f32)
    }

    /// The part of the frame that it shows.
    pub fn part(&self) -> Rect {
        let (scale_x, scale_y) = self.scale();
        let (left, top) = (self.left as f32 / scale_x, self.top as f32 / scale_y);
        Rect::new(left, top, self.width() as f32 / scale_x, self.height() as f32 / scale_y)
    }

    /// How much of its [`CONTEXT`] a box found at `rect` (in pixels of the window) has between itself and the window's edges, 0..1.
    /// Edges of the picture do not count: there is nothing behind them. 0 is a box that the window cuts off.
    pub fn room(&self, rect: &Rect) -> f32 {
        let (width, height) = (self.width() as f32, self.height() as f32);
        let mut room = CONTEXT;
        for (is_inner, distance) in [
            (self.left > 0, rect.x),
            (self.top > 0, rect.y),
            (self.right < self.picture.0, width - rect.right()),
            (self.bottom < self.picture.1, height - rect.bottom()),
        ] {
            if is_inner {
                room = room.min(distance);
            }
        }
        (room / CONTEXT).max(0.0)
    }

    /// Whether a box of this side, in pixels of the window, is seen well. Somewhat smaller ones than those that are looked for here
    /// are, so that a face does not go to and fro between two pictures.
    pub fn sees_well(&self, rect: &Rect) -> bool {
        rect.area().sqrt() >= self.min_side * 0.75
    }
}

/// Takes the whole picture for each window.
pub(super) fn widen(windows: &mut Vec<Window>) {
    windows.iter_mut().for_each(|window| *window = window.widened());
    windows.sort_by_key(|window| window.picture);
    windows.dedup();
}

/// Joins windows of the same picture wherever looking at both together costs no more than at each.
pub fn join(windows: &mut Vec<Window>) {
    let mut index = 0;
    while index < windows.len() {
        let window = windows[index];
        let other = (0..windows.len()).find(|&other| {
            let it = &windows[other];
            other != index && it.picture == window.picture && window.union(it).area() <= window.area() + it.area()
        });
        match other {
            Some(other) => {
                windows[index] = window.union(&windows[other]);
                windows.remove(other);
                // The larger one may take in some that the smaller one could not.
                index = 0;
            }
            None => index += 1,
        }
    }
    // Faces all over the picture.
    let sum = |windows: &[Window], picture| -> u32 {
        windows.iter().filter(|window| window.picture == picture).map(Window::area).sum()
    };
    let too_many = |windows: &[Window]| {
        windows.iter().map(Window::widened).find(|whole| sum(windows, whole.picture) > whole.area())
    };
    while let Some(whole) = too_many(windows) {
        windows.retain(|window| window.picture != whole.picture);
        windows.push(whole);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::frame::{ColorMatrix, ColorRange, PixelFormat, Plane};
    use crate::analysis::geometry::Point;

    const CELL: u32 = GRANULARITY as u32;

    fn levels(width: u32, height: u32, longest: u32) -> Levels {
        let data = vec![0; (width * height) as usize];
        let planes = [Plane { data: &data, stride: width as usize }];
        let format = PixelFormat::Gray8;
        let frame = FrameView::new(format, width, height, &planes, ColorMatrix::Bt601, ColorRange::Full, 0).unwrap();
        Levels::of(&frame, longest)
    }

    fn square(x: f32, y: f32, side: f32) -> Rect {
        Rect::from_center(Point { x, y }, side, side)
    }

    #[test]
    fn a_face_is_looked_for_in_the_smallest_picture_that_shows_it_well() {
        let levels = levels(1920, 1080, 320);
        for (side, picture) in
            [(480.0, (160, 90)), (479.0, (320, 180)), (144.0, (320, 180)), (143.0, (640, 360)), (30.0, (1920, 1080))]
        {
            assert_eq!(levels.picture_for(side).picture, picture, "{side}");
        }
    }

    #[test]
    fn small_frames_are_not_enlarged() {
        let levels = levels(200, 100, 320);
        assert_eq!(levels.picture_for(5.0), levels.usual());
        assert_eq!(levels.usual().part(), Rect::new(0.0, 0.0, 200.0, 100.0));
    }

    #[test]
    fn following_a_face_costs_less_than_looking_at_the_whole_picture() {
        // An anchor, a talking head, and the faces of a wide shot.
        for (width, height, side, percent) in
            [(1280, 720, 400.0, 25), (1280, 720, 250.0, 60), (1920, 1080, 370.0, 60), (1920, 1080, 64.0, 60)]
        {
            let levels = levels(width, height, 320);
            let (x, y) = (width as f32 / 2.0, height as f32 / 2.0);
            let window = levels.window(&square(x, y, side), side * 0.45).unwrap();
            assert!(window.area() * 100 <= levels.usual().area() * percent, "{window:?} for {side} of {width}");
        }
    }

    #[test]
    fn windows_are_joined_where_that_costs_nothing() {
        let levels = levels(1280, 720, 320);
        let of = |x: f32| levels.window(&square(x, 360.0, 100.0), 0.0).unwrap();
        let mut near = vec![of(200.0), of(250.0)];
        join(&mut near);
        let [one] = near[..] else { panic!("{near:?}") };
        assert_eq!(one, of(200.0).union(&of(250.0)));
        let mut far = vec![of(200.0), of(1100.0)];
        join(&mut far);
        assert_eq!(far, [of(200.0), of(1100.0)]);
        // A face in every corner and in the middle.
        let corners = [(100.0, 100.0), (1180.0, 100.0), (100.0, 620.0), (1180.0, 620.0), (640.0, 360.0)];
        let mut all: Vec<_> =
            corners.iter().filter_map(|(x, y)| levels.window(&square(*x, *y, 200.0), 200.0)).collect();
        join(&mut all);
        assert_eq!(all, [levels.usual()]);
    }

    #[test]
    fn whole_pictures_are_looked_at_once() {
        let levels = levels(1280, 720, 320);
        let of = |x: f32, side: f32| levels.window(&square(x, 360.0, side), 0.0).unwrap();
        let mut windows = vec![of(200.0, 300.0), of(700.0, 60.0), of(1000.0, 300.0), of(600.0, 400.0)];
        widen(&mut windows);
        let pictures: Vec<_> = windows.iter().map(|window| window.picture).collect();
        assert_eq!(pictures, [(160, 90), (320, 180), (640, 360)]);
        assert!(windows.iter().all(|window| (window.width(), window.height()) == window.picture));
    }

    #[test]
    fn a_box_at_an_inner_edge_has_no_room() {
        let levels = levels(1280, 720, 320);
        let window = levels.window(&square(640.0, 0.0, 240.0), 0.0).unwrap();
        let (width, height) = (window.width() as f32, window.height() as f32);
        assert_eq!(window.room(&Rect::new(40.0, 0.0, 30.0, 30.0)), 1.0, "the picture's own edge");
        assert_eq!(window.room(&Rect::new(0.0, 0.0, 30.0, 30.0)), 0.0);
        assert_eq!(window.room(&Rect::new(40.0, height - 30.0, 30.0, 30.0)), 0.0);
        assert_eq!(window.room(&Rect::new(width - 46.0, 0.0, 30.0, 30.0)), 0.5);
    }

    #[test]
    fn what_is_seen_well_depends_on_the_picture() {
        let levels = levels(1280, 720, 320);
        let seen = |window: &Window, side: f32| window.sees_well(&square(0.0, 0.0, side));
        // A face that is small beside a large one is better looked at in a larger picture.
        assert!(seen(&levels.picture_for(400.0), 31.0) && !seen(&levels.picture_for(400.0), 29.0));
        assert!(seen(&levels.usual(), 19.0) && !seen(&levels.usual(), 17.0));
    }

    proptest! {
        #[test]
        fn windows_hold_their_face_and_lie_in_the_picture(
            (width, height, longest) in (1u32..2000, 1u32..1200, 1u32..2000),
            (x, y, side, reach) in (-300.0..2300.0f32, -300.0..1500.0f32, 0.1..3000.0f32, 0.0..500.0f32),
        ) {
            let levels = levels(width, height, longest);
            let face = square(x, y, side);
            let Some(window) = levels.window(&face, reach) else {
                let bounds = Rect::new(0.0, 0.0, width as f32, height as f32);
                prop_assert!(face.intersection(&bounds).area() == 0.0, "a face within the frame has no window");
                return Ok(());
            };
            prop_assert!(window.right <= window.picture.0 && window.bottom <= window.picture.1);
            prop_assert!(window.left.is_multiple_of(CELL) && window.top.is_multiple_of(CELL));
            prop_assert!(window.right.is_multiple_of(CELL) || window.right == window.picture.0);
            let part = window.part();
            let bounds = Rect::new(0.0, 0.0, width as f32, height as f32);
            prop_assert!(part.is_valid() && part.intersection(&bounds).area() > 0.999 * part.area(), "{:?}", part);
            // The face, and as far as it may have strayed.
            let inside = |at: f32, from: f32, to: f32, most: u32| {
                let at = at.clamp(0.0, most as f32);
                at >= from - 0.01 && at <= to + 0.01
            };
            prop_assert!(inside(face.x - reach, part.x, part.right(), width), "{:?}", part);
            prop_assert!(inside(face.right() + reach, part.x, part.right(), width), "{:?}", part);
            prop_assert!(inside(face.bottom() + reach, part.y, part.bottom(), height), "{:?}", part);
        }
    }
}
