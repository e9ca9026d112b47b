//! Where on a face the model sees a change: a veil over the box, the denser the likelier.

use cairo::{Extend, Filter, Format, ImageSurface, SurfacePattern};

use super::canvas::{Canvas, Pixels, Shape};
use super::layout::{Area, Size};
use super::theme;
use deepfake_report::{FaceReport, State};

/// More cells than this, across or down, show nothing that a person could see.
const MAX_CELLS: usize = 64;
/// Opacity where a change is certain: the face stays visible.
const MAX_ALPHA: f64 = 0.6;

/// What a veil shows; equal ones look the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Veil {
    size: Size,
    columns: usize,
    /// Rows from the top, each 0..255.
    cells: Vec<u8>,
}

impl Veil {
    /// `None` where the model says nothing, and for faces that it does not suspect: a map of what might have been changed
    /// would contradict their verdict.
    pub fn over(face: &FaceReport, area: Area) -> Option<Self> {
        let rows = face.heat.as_ref().filter(|_| matches!(face.state, State::Uncertain | State::Fake))?;
        let columns = rows.first()?.len();
        let is_map = |length: usize| (1..=MAX_CELLS).contains(&length);
        if !is_map(rows.len()) || !is_map(columns) || rows.iter().any(|row| row.len() != columns) {
            return None;
        }
        let cells = rows.iter().flatten().map(|share| (share.clamp(0.0, 1.0) * 255.0) as u8).collect();
        Some(Self { size: Size { width: area.width, height: area.height }, columns, cells })
    }

    pub fn paint(&self, shape: Shape) -> Result<Pixels, cairo::Error> {
        let (columns, rows) = (self.columns as i32, (self.cells.len() / self.columns) as i32);
        let canvas = Canvas::new(self.size, shape)?;
        let stride = Format::A8.stride_for_width(columns as u32)?;
        let mut alpha = vec![0; (stride * rows) as usize];
        for (line, cells) in alpha.chunks_exact_mut(stride as usize).zip(self.cells.chunks_exact(self.columns)) {
            line[..self.columns].copy_from_slice(cells);
        }
        let pattern = SurfacePattern::create(ImageSurface::create_for_data(alpha, Format::A8, columns, rows, stride)?);
        pattern.set_extend(Extend::Pad);
        pattern.set_filter(Filter::Bilinear);
        let (red, green, blue) = theme::look(Some(State::Fake)).color;
        canvas.cr.scale(f64::from(self.size.width) / f64::from(columns), f64::from(self.size.height) / f64::from(rows));
        canvas.cr.set_source_rgba(red, green, blue, MAX_ALPHA);
        canvas.cr.mask(&pattern)?;
        canvas.finish()
    }
}
