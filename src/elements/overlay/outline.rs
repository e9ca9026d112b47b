//! The box around a face, as its four edges.
//!
//! Four narrow pictures instead of one as large as the face: nearly all of that one would be empty,
//! and yet be uploaded or blended for every frame. Corners are brackets in a heavier stroke;
//! between them runs the line of the state.

use cairo::Context;

use super::canvas::{Canvas, Pixels, Shape};
use super::layout::{Area, Size};
use super::theme::{self, Line};
use deepfake_report::State;

/// Stroke widths in pixels, all from the text's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pen {
    pub thin: i32,
    pub heavy: i32,
    /// Dark seam on both sides of a line, so that it shows on any background.
    pub casing: i32,
}

impl Pen {
    pub fn new(em: f64) -> Self {
        let thin = super::layout::even(em * 0.115).max(2);
        Self { thin, heavy: 2 * thin, casing: (thin / 2).max(1) }
    }

    /// Breadth of an edge's picture.
    pub fn breadth(&self) -> i32 {
        self.heavy + 2 * self.casing
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edge {
    Top,
    Bottom,
    Left,
    Right,
}

/// What an edge's picture shows; equal ones look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stroke {
    pub edge: Edge,
    pub state: Option<State>,
    /// Length of the picture in pixels.
    pub length: i32,
    /// Length of the corner brackets in pixels.
    pub corner: i32,
    pub pen: Pen,
}

/// The edges of the box around `face`, and where each goes. The lines' outer rims lie on the face's
/// box, moved inwards where the frame ends.
pub fn strokes(face: Area, frame: Size, state: Option<State>, pen: Pen) -> Vec<(Stroke, Area)> {
    let Pen { heavy, casing, .. } = pen;
    let breadth = pen.breadth();
    let left = (face.x - casing).max(0);
    let top = (face.y - casing).max(0);
    let right = (face.right() + casing).min(frame.width);
    let bottom = (face.bottom() + casing).min(frame.height);
    let (width, height) = (right - left, bottom - top);
    if width < breadth || height < breadth {
        return Vec::new();
    }
    let corner = (width.min(height) / 5).min(heavy * 6).max(breadth);
    let stroke = |edge, length| Stroke { edge, state, length, corner, pen };
    let mut strokes = vec![(stroke(Edge::Top, width), Area::new(left, top, width, breadth))];
    if height >= 2 * breadth {
        strokes.push((stroke(Edge::Bottom, width), Area::new(left, bottom - breadth, width, breadth)));
    }
    // The upright edges begin where the lying ones' colour ends.
    let between = height - 2 * (heavy + casing);
    if between > 0 {
        let y = top + casing + heavy;
        strokes.push((stroke(Edge::Left, between), Area::new(left, y, breadth, between)));
        if width >= 2 * breadth {
            strokes.push((stroke(Edge::Right, between), Area::new(right - breadth, y, breadth, between)));
        }
    }
    strokes
}

impl Stroke {
    pub fn size(&self) -> Size {
        let breadth = self.pen.breadth();
        match self.edge {
            Edge::Top | Edge::Bottom => Size { width: self.length, height: breadth },
            Edge::Left | Edge::Right => Size { width: breadth, height: self.length },
        }
    }

    pub fn paint(&self, shape: Shape) -> Result<Pixels, cairo::Error> {
        let canvas = Canvas::new(self.size(), shape)?;
        let look = theme::look(self.state);
        let runs = self.runs(look.line);
        // All seams first: a seam must not darken the line beside it.
        for (color, alpha, grow) in [(theme::PLATE, theme::CASING_ALPHA, self.pen.casing), (look.color, 1.0, 0)] {
            canvas.cr.set_source_rgba(color.0, color.1, color.2, alpha);
            for &(start, end, breadth) in &runs {
                self.rectangle(&canvas.cr, start, end, breadth, grow);
            }
            canvas.cr.fill()?;
        }
        canvas.finish()
    }

    /// Pieces of line as (start, end, breadth) along the edge.
    fn runs(&self, line: Line) -> Vec<(i32, i32, i32)> {
        let Pen { thin, heavy, casing } = self.pen;
        let lying = matches!(self.edge, Edge::Top | Edge::Bottom);
        // A lying edge's picture has the seam of the corner at its ends, an upright one's begins
        // inside the corner.
        let (first, last) = if lying { (casing, self.length - casing) } else { (0, self.length) };
        let corner = if lying { self.corner } else { (self.corner - heavy).max(0) };
        if line == Line::Heavy || last - first <= 2 * corner {
            return vec![(first, last, heavy)];
        }
        let mut runs = vec![(first, first + corner, heavy), (last - corner, last, heavy)];
        let (start, end) = (first + corner, last - corner);
        let pattern: &[i32] = match line {
            Line::None | Line::Heavy => return runs,
            Line::Solid => {
                runs.push((start, end, thin));
                return runs;
            }
            // On, off, on, off, … in widths of the thin line.
            Line::Dashed => &[7, 5],
            Line::Dotted => &[1, 3],
            Line::DashDotted => &[7, 4, 1, 4],
        };
        let period: i32 = pattern.iter().sum::<i32>() * thin;
        let off = pattern.last().map_or(0, |off| off * thin);
        // Centred, so that both ends look alike: `count` periods, the last one without its gap,
        // with a gap before the corners.
        let count = ((end - start - off) / period).max(0);
        let mut at = start + (end - start - count * period + off) / 2;
        at &= !1;
        for _ in 0..count {
            for [on, off] in pattern.as_chunks::<2>().0 {
                runs.push((at, at + on * thin, thin));
                at += (on + off) * thin;
            }
        }
        runs
    }

    /// Adds a piece of line, `grow` larger on all sides, to the path.
    fn rectangle(&self, cr: &Context, start: i32, end: i32, breadth: i32, grow: i32) {
        let casing = self.pen.casing;
        let across = match self.edge {
            Edge::Top | Edge::Left => casing,
            Edge::Bottom | Edge::Right => self.pen.breadth() - casing - breadth,
        };
        let along = (f64::from(start - grow), f64::from(end - start + 2 * grow));
        let across = (f64::from(across - grow), f64::from(breadth + 2 * grow));
        match self.edge {
            Edge::Top | Edge::Bottom => cr.rectangle(along.0, across.0, along.1, across.1),
            Edge::Left | Edge::Right => cr.rectangle(across.0, along.0, across.1, along.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Size = Size { width: 640, height: 360 };

    #[test]
    fn edges_stay_in_the_frame_and_clear_of_the_face() {
        let pen = Pen::new(18.0);
        for face in [Area::new(0, 0, 640, 360), Area::new(100, 100, 80, 90), Area::new(600, 300, 40, 60)] {
            let strokes = strokes(face, FRAME, Some(State::Fake), pen);
            assert_eq!(strokes.len(), 4);
            let middle = Area::new(face.x + face.width / 2 - 2, face.y + face.height / 2 - 2, 4, 4);
            for (stroke, area) in strokes {
                assert_eq!(stroke.size(), Size { width: area.width, height: area.height });
                assert!(area.x >= 0 && area.y >= 0 && area.right() <= 640 && area.bottom() <= 360, "{area:?}");
                assert!(!area.overlaps(&middle));
            }
        }
    }

    #[test]
    fn patterns_are_even_symmetrical_and_end_before_the_corners() {
        for line in [Line::Dashed, Line::Dotted, Line::DashDotted] {
            for length in [40, 61, 200, 402] {
                let stroke = Stroke {
                    edge: Edge::Top,
                    state: None,
                    length,
                    corner: 14,
                    pen: Pen { thin: 2, heavy: 4, casing: 1 },
                };
                let runs = stroke.runs(line);
                assert_eq!(&runs[..2], &[(1, 15, 4), (length - 15, length - 1, 4)]);
                for pair in runs[2..].windows(2) {
                    assert!(pair[0].1 < pair[1].0);
                }
                for run in &runs[2..] {
                    assert!(run.0 > 15 && run.1 < length - 15 && run.0 % 2 == 0, "{line:?} {length} {run:?}");
                }
            }
        }
    }

    #[test]
    fn a_box_too_small_for_its_lines_is_not_drawn() {
        assert!(strokes(Area::new(10, 10, 2, 2), FRAME, None, Pen::new(18.0)).is_empty());
    }
}
