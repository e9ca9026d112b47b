//! Taking a part of a frame, at a wanted size, as RGB: straight from the planes of whatever format it has.
//!
//! Each plane's part is resized on its own and only the small result is converted, so that the work
//! depends on the part and the size wanted, never on the frame. OpenCV does what it does fast; [`area`](super::area) the rest.

use std::ffi::c_void;

use opencv::core::{self, Mat, Scalar, Size, Vector};
use opencv::imgproc;
use opencv::prelude::*;
use serde::Deserialize;

use super::AnalysisError;
use super::area::{self, FINE, Level, Part, Shrinker};
use super::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat, Plane};

/// Order of the three channels of a sampled picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    #[default]
    Rgb,
    Bgr,
}

/// A part of a frame in whole pixels. May reach over the frame's edges: what lies outside repeats the edge.
///
/// For formats with subsampled chroma the sampler needs even coordinates, except at the frame's own right and bottom edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelRect {
    pub x: i32,
    pub y: i32,
    pub width: i32,
    pub height: i32,
}

impl PixelRect {
    /// The whole frame.
    pub fn of(frame: &FrameView) -> Self {
        Self { x: 0, y: 0, width: frame.width as i32, height: frame.height as i32 }
    }
}

/// How samples lie in one plane: `channels` bytes each, one for every `sub_x`×`sub_y` pixels of the frame.
struct Samples {
    plane: usize,
    channels: i32,
    sub_x: i32,
    sub_y: i32,
}

/// How to get three channels out of a format: the planes to resize, and which of their channels
/// (counted through all of them) become Y, U, V or R, G, B.
struct Layout {
    samples: &'static [Samples],
    channels: [i32; 3],
    yuv: bool,
}

impl Layout {
    fn of(format: PixelFormat) -> Self {
        const LUMA: Samples = Samples { plane: 0, channels: 1, sub_x: 1, sub_y: 1 };
        const PLANAR_420: &[Samples] = &[
            LUMA,
            Samples { plane: 1, channels: 1, sub_x: 2, sub_y: 2 },
            Samples { plane: 2, channels: 1, sub_x: 2, sub_y: 2 },
        ];
        const SEMI_PLANAR_420: &[Samples] = &[LUMA, Samples { plane: 1, channels: 2, sub_x: 2, sub_y: 2 }];
        // The same bytes seen twice: as one luma and one chroma byte a pixel, and as four bytes every two pixels.
        const PACKED_422: &[Samples] = &[
            Samples { plane: 0, channels: 2, sub_x: 1, sub_y: 1 },
            Samples { plane: 0, channels: 4, sub_x: 2, sub_y: 1 },
        ];
        const PACKED_3: &[Samples] = &[Samples { plane: 0, channels: 3, sub_x: 1, sub_y: 1 }];
        const PACKED_4: &[Samples] = &[Samples { plane: 0, channels: 4, sub_x: 1, sub_y: 1 }];

        let (samples, channels, yuv) = match format {
            PixelFormat::I420 | PixelFormat::Yv12 => (PLANAR_420, [0, 1, 2], true),
            PixelFormat::Nv12 => (SEMI_PLANAR_420, [0, 1, 2], true),
            PixelFormat::Yuy2 => (PACKED_422, [0, 3, 5], true),
            PixelFormat::Uyvy => (PACKED_422, [1, 2, 4], true),
            PixelFormat::Gray8 => (&[LUMA][..], [0, 0, 0], false),
            PixelFormat::Rgb => (PACKED_3, [0, 1, 2], false),
            PixelFormat::Bgr => (PACKED_3, [2, 1, 0], false),
            PixelFormat::Rgbx | PixelFormat::Rgba => (PACKED_4, [0, 1, 2], false),
            PixelFormat::Bgrx | PixelFormat::Bgra => (PACKED_4, [2, 1, 0], false),
            PixelFormat::Xrgb | PixelFormat::Argb => (PACKED_4, [1, 2, 3], false),
            PixelFormat::Xbgr | PixelFormat::Abgr => (PACKED_4, [3, 2, 1], false),
        };
        Self { samples, channels, yuv }
    }
}

/// Samples parts of frames. Keeps its buffers, so that sampling the same format and size again allocates nothing.
#[derive(Default)]
pub struct Sampler {
    fine: bool,
    resizer: Resizer,
    resized: Vector<Mat>,
    merged: Mat,
    converted: Mat,
    picture: Mat,
}

impl Sampler {
    /// One that rounds once, in the end: neither what is scaled in YUV nor what comes of it is rounded before it is RGB at its size. A
    /// model sees the difference; it takes a tenth more time.
    pub fn fine() -> Self {
        Self { fine: true, ..Self::default() }
    }

    /// The part `rect` of `frame`, scaled to `width`×`height` pixels: interleaved 8-bit RGB or BGR, full range, rows without gaps.
    ///
    /// Shrinking averages areas, enlarging interpolates linearly.
    ///
    /// # Errors
    /// [`AnalysisError::Outside`] if `rect` does not touch the frame, [`AnalysisError::OpenCv`] if OpenCV fails.
    pub fn sample(
        &mut self,
        frame: &FrameView,
        rect: PixelRect,
        width: u32,
        height: u32,
        order: ChannelOrder,
    ) -> Result<&[u8], AnalysisError> {
        let layout = Layout::of(frame.format);
        let size = Size::new(width as i32, height as i32);
        let convert = layout.yuv || (frame.format == PixelFormat::Gray8 && frame.range == ColorRange::Limited);
        let depth = if self.fine && convert { core::CV_16U } else { core::CV_8U };
        self.make_room(&layout, depth, size)?;
        for (index, samples) in layout.samples.iter().enumerate() {
            // A Mat is a counted reference: this writes into the one that the vector holds.
            let mut resized = self.resized.get(index)?;
            resize_part(frame, samples, rect, &mut self.resizer, &mut resized)?;
        }

        let [first, second, third] = layout.channels;
        if convert {
            if layout.samples.len() == 3 {
                core::merge(&self.resized, &mut self.merged)?;
            } else {
                core::mix_channels(&self.resized, &mut self.merged, &[first, 0, second, 1, third, 2])?;
            }
            if depth == core::CV_16U {
                let one = f64::from(FINE);
                core::transform(&self.merged, &mut self.converted, &conversion(frame, order, one)?)?;
                self.converted.convert_to(&mut self.picture, core::CV_8U, 1.0 / one, 0.0)?;
            } else {
                core::transform(&self.merged, &mut self.picture, &conversion(frame, order, 1.0)?)?;
            }
        } else {
            let (r, b) = match order {
                ChannelOrder::Rgb => (0, 2),
                ChannelOrder::Bgr => (2, 0),
            };
            core::mix_channels(&self.resized, &mut self.picture, &[first, r, second, 1, third, b])?;
        }
        Ok(self.picture.data_bytes()?)
    }

    /// Makes the buffers fit the format and size. Does nothing when they do already.
    fn make_room(&mut self, layout: &Layout, depth: i32, size: Size) -> Result<(), AnalysisError> {
        let fits = self.picture.size()? == size
            && self.resized.len() == layout.samples.len()
            && layout.samples.iter().enumerate().all(|(index, samples)| {
                let typ = core::CV_MAKETYPE(depth, samples.channels);
                self.resized.get(index).is_ok_and(|resized| resized.typ() == typ)
            });
        if fits {
            return Ok(());
        }
        let blank =
            |depth, channels| Mat::new_size_with_default(size, core::CV_MAKETYPE(depth, channels), Scalar::default());
        self.resized = layout.samples.iter().map(|samples| blank(depth, samples.channels)).collect::<Result<_, _>>()?;
        self.merged = blank(depth, 3)?;
        self.picture = blank(core::CV_8U, 3)?;
        Ok(())
    }
}

/// Resizes the part of one plane that `rect` covers into `resized`, repeating the plane's edge where `rect` reaches over it.
fn resize_part(
    frame: &FrameView,
    samples: &Samples,
    rect: PixelRect,
    resizer: &mut Resizer,
    resized: &mut Mat,
) -> Result<(), AnalysisError> {
    let columns = (frame.width as i32).div_ceil_euclid(samples.sub_x);
    let rows = (frame.height as i32).div_ceil_euclid(samples.sub_y);
    let left = rect.x.div_euclid(samples.sub_x);
    let top = rect.y.div_euclid(samples.sub_y);
    let right = (rect.x + rect.width).div_ceil_euclid(samples.sub_x);
    let bottom = (rect.y + rect.height).div_ceil_euclid(samples.sub_y);

    let (inner_left, inner_top) = (left.max(0), top.max(0));
    let (inner_right, inner_bottom) = (right.min(columns), bottom.min(rows));
    if inner_left >= inner_right || inner_top >= inner_bottom {
        return Err(AnalysisError::Outside);
    }

    let plane = frame.plane(samples.plane);
    let depth = samples.channels as usize;
    let offset = inner_top as usize * plane.stride + inner_left as usize * depth;
    // SAFETY: `FrameView::new` has checked that the plane holds `rows` rows of `columns` samples, within which
    // the inner part lies. The Mat is only read, and lives no longer than this call borrows the frame.
    let inner = unsafe {
        Mat::new_rows_cols_with_data_unsafe(
            inner_bottom - inner_top,
            inner_right - inner_left,
            core::CV_8UC(samples.channels),
            plane.data[offset..].as_ptr().cast_mut().cast::<c_void>(),
            plane.stride,
        )?
    };
    let border = Border {
        left: inner_left - left,
        top: inner_top - top,
        right: right - inner_right,
        bottom: bottom - inner_bottom,
    };
    resizer.resize(&inner, border, resized)
}

/// Columns and rows around a picture, in which its edge is repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Border {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

impl Border {
    const NONE: Self = Self { left: 0, top: 0, right: 0, bottom: 0 };

    /// The size with it of a picture that has this size without.
    fn around(&self, size: Size) -> Size {
        Size::new(self.left + size.width + self.right, self.top + size.height + self.bottom)
    }
}

/// Scales pictures. Keeps its buffers between calls.
#[derive(Default)]
struct Resizer {
    padded: Mat,
    halved: [Mat; 2],
    widened: Mat,
    shrinker: Shrinker,
}

impl Resizer {
    /// Scales `source`, of 8 bits, with its border to the size that `target` has. If that has 16 bits, to parts of levels.
    fn resize(&mut self, source: &Mat, border: Border, target: &mut Mat) -> Result<(), AnalysisError> {
        let Self { padded, halved: [halved, spare], widened, shrinker } = self;
        let is_fine = target.depth() == core::CV_16U;
        let (whole, size) = (border.around(source.size()?), target.size()?);
        // OpenCV has vector instructions for the ratio 2 alone, and rounds after each halving.
        let is_even =
            |source: Size| !is_fine && source.width % (2 * size.width) == 0 && source.height % (2 * size.height) == 0;
        let (mut source, mut border) = (source, border);
        if border != Border::NONE && (is_even(whole) || !Shrinker::takes(sizes(whole), sizes(size))) {
            let Border { left, top, right, bottom } = std::mem::replace(&mut border, Border::NONE);
            let (kind, unused) = (core::BORDER_REPLICATE, Scalar::default());
            core::copy_make_border(source, padded, top, bottom, left, right, kind, unused)?;
            source = padded;
        }
        if border == Border::NONE {
            if source.size()? == size {
                return Ok(source.convert_to(target, target.depth(), if is_fine { FINE.into() } else { 1.0 }, 0.0)?);
            }
            while is_even(source.size()?) {
                let half = Size::new(source.cols() / 2, source.rows() / 2);
                if half == size {
                    return halve(source, target, size);
                }
                halve(source, spare, half)?;
                std::mem::swap(halved, spare);
                source = halved;
            }
        }
        if Shrinker::takes(sizes(border.around(source.size()?)), sizes(size)) {
            return shrink(shrinker, source, border, target);
        }
        if is_fine {
            source.convert_to(widened, core::CV_16U, FINE.into(), 0.0)?;
            source = widened;
        }
        let shrinks = source.cols() > size.width || source.rows() > size.height;
        let interpolation = if shrinks { imgproc::INTER_AREA } else { imgproc::INTER_LINEAR };
        Ok(imgproc::resize(source, target, size, 0.0, 0.0, interpolation)?)
    }
}

/// Columns and rows.
fn sizes(size: Size) -> (usize, usize) {
    (size.width as usize, size.height as usize)
}

/// Scales `source` with its border to the size that `target` has, which `shrinker` must take.
fn shrink(shrinker: &mut Shrinker, source: &Mat, border: Border, target: &mut Mat) -> Result<(), AnalysisError> {
    let inner = source.size()?;
    let part = Part {
        plane: plane(source)?,
        inner: sizes(inner),
        before: (border.left as usize, border.top as usize),
        size: sizes(border.around(inner)),
    };
    let width = target.cols() as usize;
    match target.depth() {
        core::CV_16U => {
            // SAFETY: the Mat owns that many samples of 16 bits, without gaps, and nobody else writes them.
            let levels = unsafe { std::slice::from_raw_parts_mut(target.data_mut().cast::<u16>(), levels(target)) };
            shrink_to(shrinker, &part, source.channels(), width, levels);
        }
        _ => shrink_to(shrinker, &part, source.channels(), width, target.data_bytes_mut()?),
    }
    Ok(())
}

/// Numbers in a Mat.
fn levels(mat: &Mat) -> usize {
    mat.total() * mat.channels() as usize
}

fn shrink_to<L: Level>(shrinker: &mut Shrinker, part: &Part, channels: i32, width: usize, target: &mut [L]) {
    match channels {
        1 => shrinker.shrink::<1, L>(part, width, target),
        2 => shrinker.shrink::<2, L>(part, width, target),
        3 => shrinker.shrink::<3, L>(part, width, target),
        _ => shrinker.shrink::<4, L>(part, width, target),
    }
}

/// Halves `source` to this size, in `target`.
fn halve(source: &Mat, target: &mut Mat, half: Size) -> Result<(), AnalysisError> {
    if source.channels() != 2 {
        return Ok(imgproc::resize(source, target, half, 0.0, 0.0, imgproc::INTER_AREA)?);
    }
    // SAFETY: every byte of it is written before any is read.
    unsafe { target.create_size(half, source.typ())? };
    area::halve_pairs(plane(source)?, half.width as usize, target.data_bytes_mut()?);
    Ok(())
}

/// The bytes of a Mat of one to four 8-bit channels.
fn plane(mat: &Mat) -> Result<Plane<'_>, AnalysisError> {
    let stride = mat.step1(0)?;
    let length = stride * (mat.rows() as usize - 1) + mat.cols() as usize * mat.channels() as usize;
    // SAFETY: that much memory a Mat of this size, step and depth has, and the plane borrows it.
    let data = unsafe { std::slice::from_raw_parts(mat.data(), length) };
    Ok(Plane { data, stride })
}

/// The 3×4 matrix that turns Y, U, V and 1 (each 0..255 times `one`) into R, G, B, or B, G, R. ITU-R BT.601, BT.709, BT.2020
/// (non-constant luminance).
fn conversion(frame: &FrameView, order: ChannelOrder, one: f64) -> Result<Mat, AnalysisError> {
    let (luma_black, luma_scale, chroma_scale) = match frame.range {
        ColorRange::Full => (0.0, 1.0, 1.0),
        ColorRange::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
    };
    let (kr, kb) = match frame.matrix {
        ColorMatrix::Bt601 => (0.299, 0.114),
        ColorMatrix::Bt709 => (0.2126, 0.0722),
        ColorMatrix::Bt2020 => (0.2627, 0.0593),
    };
    let kg = 1.0 - kr - kb;
    // Weight of U and V in each of R, G, B. A grey frame has its luma in all three channels, and no chroma.
    let mut rows = if frame.format == PixelFormat::Gray8 {
        [[0.0; 2]; 3]
    } else {
        [[0.0, 2.0 * (1.0 - kr)], [-2.0 * kb * (1.0 - kb) / kg, -2.0 * kr * (1.0 - kr) / kg], [2.0 * (1.0 - kb), 0.0]]
    }
    .map(|[u, v]: [f32; 2]| {
        let (u, v) = (u * chroma_scale, v * chroma_scale);
        [luma_scale, u, v, one as f32 * (-luma_black * luma_scale - 128.0 * (u + v))]
    });
    if order == ChannelOrder::Bgr {
        rows.swap(0, 2);
    }
    Ok(Mat::from_slice_2d(&rows)?)
}

/// Division that rounds up, for divisors above zero.
trait DivCeil {
    fn div_ceil_euclid(self, divisor: Self) -> Self;
}

impl DivCeil for i32 {
    fn div_ceil_euclid(self, divisor: i32) -> i32 {
        -((-self).div_euclid(divisor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::frame::Plane;

    const W: usize = 64;
    const H: usize = 48;

    /// A smooth colour picture as R, G, B at a pixel.
    fn color(x: usize, y: usize) -> [f32; 3] {
        let (x, y) = (x as f32 / W as f32, y as f32 / H as f32);
        [40.0 + 160.0 * x, 60.0 + 120.0 * y, 200.0 - 100.0 * x * y]
    }

    fn packed(channels: usize, place: [usize; 3]) -> Vec<u8> {
        let mut data = vec![99; W * H * channels];
        for y in 0..H {
            for x in 0..W {
                for (channel, value) in color(x, y).into_iter().enumerate() {
                    data[(y * W + x) * channels + place[channel]] = value.round() as u8;
                }
            }
        }
        data
    }

    /// The picture as full-size Y, U and V (BT.601, limited range).
    fn yuv(x: usize, y: usize) -> [u8; 3] {
        let [r, g, b] = color(x, y);
        let luma = 0.299 * r + 0.587 * g + 0.114 * b;
        let chroma = |c: f32, k: f32| (128.0 + (c - luma) / (2.0 * (1.0 - k)) * 224.0 / 255.0).round() as u8;
        [(16.0 + luma * 219.0 / 255.0).round() as u8, chroma(b, 0.114), chroma(r, 0.299)]
    }

    fn planes(format: PixelFormat) -> Vec<(Vec<u8>, usize)> {
        let plane = |channel: usize, sub: usize| -> Vec<u8> {
            (0..H / sub).flat_map(|y| (0..W / sub).map(move |x| yuv(x * sub, y * sub)[channel])).collect()
        };
        let interleave = |order: fn([u8; 3], [u8; 3]) -> [u8; 4]| -> Vec<u8> {
            (0..H).flat_map(|y| (0..W / 2).flat_map(move |x| order(yuv(2 * x, y), yuv(2 * x + 1, y)))).collect()
        };
        match format {
            PixelFormat::I420 | PixelFormat::Yv12 => {
                vec![(plane(0, 1), W), (plane(1, 2), W / 2), (plane(2, 2), W / 2)]
            }
            PixelFormat::Nv12 => {
                let uv = plane(1, 2).into_iter().zip(plane(2, 2)).flat_map(|(u, v)| [u, v]).collect();
                vec![(plane(0, 1), W), (uv, W)]
            }
            PixelFormat::Yuy2 => vec![(interleave(|a, b| [a[0], a[1], b[0], a[2]]), W * 2)],
            PixelFormat::Uyvy => vec![(interleave(|a, b| [a[1], a[0], a[2], b[0]]), W * 2)],
            PixelFormat::Gray8 => vec![(plane(0, 1), W)],
            PixelFormat::Rgb => vec![(packed(3, [0, 1, 2]), W * 3)],
            PixelFormat::Bgr => vec![(packed(3, [2, 1, 0]), W * 3)],
            PixelFormat::Rgbx | PixelFormat::Rgba => vec![(packed(4, [0, 1, 2]), W * 4)],
            PixelFormat::Bgrx | PixelFormat::Bgra => vec![(packed(4, [2, 1, 0]), W * 4)],
            PixelFormat::Xrgb | PixelFormat::Argb => vec![(packed(4, [1, 2, 3]), W * 4)],
            PixelFormat::Xbgr | PixelFormat::Abgr => vec![(packed(4, [3, 2, 1]), W * 4)],
        }
    }

    fn sampled(format: PixelFormat, rect: PixelRect, size: (u32, u32), order: ChannelOrder) -> Vec<u8> {
        let planes = planes(format);
        let views: Vec<_> = planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
        let frame =
            FrameView::new(format, W as u32, H as u32, &views, ColorMatrix::Bt601, ColorRange::Limited, 0).unwrap();
        Sampler::default().sample(&frame, rect, size.0, size.1, order).unwrap().to_vec()
    }

    #[track_caller]
    #[test]
    fn fine_samples_are_rounded_once() {
        let noise = |count: usize, seed: u32| -> Vec<u8> {
            (0..count)
                .map(|place| (place as u32 ^ seed).wrapping_mul(2_654_435_761).to_be_bytes()[0] / 8 + 112)
                .collect()
        };
        let planes = [(noise(W * H, 1), W), (noise(W * H / 4, 2), W / 2), (noise(W * H / 4, 3), W / 2)];
        let views: Vec<_> = planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
        let frame =
            FrameView::new(PixelFormat::I420, W as u32, H as u32, &views, ColorMatrix::Bt601, ColorRange::Limited, 0);
        let rect = PixelRect { x: 8, y: 4, width: 32, height: 32 };
        // Halved, shrunk at another ratio, as it is, and enlarged.
        for side in [16, 13, 32, 50] {
            let exact = planes.each_ref().map(|(data, stride)| -> Vec<f32> {
                let sub = (W / stride) as i32;
                let flat = Mat::from_slice(data).unwrap();
                let plane = flat.reshape(1, H as i32 / sub).unwrap();
                let place = core::Rect::new(rect.x / sub, rect.y / sub, rect.width / sub, rect.height / sub);
                let (mut part, mut scaled) = (Mat::default(), Mat::default());
                Mat::roi(&plane, place).unwrap().convert_to(&mut part, core::CV_32F, 1.0, 0.0).unwrap();
                let kind = if place.width > side { imgproc::INTER_AREA } else { imgproc::INTER_LINEAR };
                imgproc::resize(&part, &mut scaled, Size::new(side, side), 0.0, 0.0, kind).unwrap();
                scaled.data_typed().unwrap().to_vec()
            });
            let worst = |mut sampler: Sampler| -> f32 {
                let frame = frame.as_ref().unwrap();
                let pixels = sampler.sample(frame, rect, side as u32, side as u32, ChannelOrder::Rgb).unwrap();
                let off = pixels.chunks(3).enumerate().flat_map(|(place, pixel)| {
                    let [y, u, v] = exact.each_ref().map(|plane| plane[place]);
                    let (y, u, v) = ((y - 16.0) / 219.0, (u - 128.0) / 224.0, (v - 128.0) / 224.0);
                    let rgb = [y + 1.402 * v, y - 0.344_136 * u - 0.714_136 * v, y + 1.772 * u];
                    [0, 1, 2]
                        .map(|channel| (f32::from(pixel[channel]) - (255.0 * rgb[channel]).clamp(0.0, 255.0)).abs())
                });
                off.fold(0.0, f32::max)
            };
            let (fine, quick) = (worst(Sampler::fine()), worst(Sampler::default()));
            // Half a level, and what the areas' edges, known to a 256th of a pixel, make of noise.
            assert!(fine < 0.65, "{side}: off by {fine}");
            assert!(quick > 0.9, "{side}: off by {quick}");
        }
    }

    fn assert_close(a: &[u8], b: &[u8], tolerance: u8, what: &str) {
        assert_eq!(a.len(), b.len());
        let worst = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= tolerance, "{what}: off by {worst}");
    }

    const COLOUR_FORMATS: [PixelFormat; 15] = [
        PixelFormat::I420,
        PixelFormat::Yv12,
        PixelFormat::Nv12,
        PixelFormat::Yuy2,
        PixelFormat::Uyvy,
        PixelFormat::Rgb,
        PixelFormat::Bgr,
        PixelFormat::Rgbx,
        PixelFormat::Bgrx,
        PixelFormat::Xrgb,
        PixelFormat::Xbgr,
        PixelFormat::Rgba,
        PixelFormat::Bgra,
        PixelFormat::Argb,
        PixelFormat::Abgr,
    ];

    #[test]
    fn every_format_gives_the_same_picture() {
        let parts = [
            (PixelRect { x: 0, y: 0, width: 64, height: 48 }, (32, 24)),
            (PixelRect { x: 8, y: 10, width: 24, height: 24 }, (16, 16)),
            (PixelRect { x: 8, y: 10, width: 24, height: 24 }, (48, 48)),
            (PixelRect { x: -8, y: -6, width: 40, height: 40 }, (20, 20)),
            (PixelRect { x: 40, y: 30, width: 40, height: 40 }, (20, 20)),
        ];
        for (rect, size) in parts {
            let rgb = sampled(PixelFormat::Rgb, rect, size, ChannelOrder::Rgb);
            for format in COLOUR_FORMATS {
                // Chroma at half the size, in 8 bits, costs a few steps.
                let what = format!("{format:?} {rect:?}");
                assert_close(&sampled(format, rect, size, ChannelOrder::Rgb), &rgb, 5, &what);
            }
        }
    }

    #[test]
    fn bgr_is_rgb_backwards() {
        let rect = PixelRect { x: 4, y: 4, width: 32, height: 32 };
        for format in COLOUR_FORMATS {
            let rgb = sampled(format, rect, (16, 16), ChannelOrder::Rgb);
            let bgr = sampled(format, rect, (16, 16), ChannelOrder::Bgr);
            let turned: Vec<u8> = bgr.chunks(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
            assert_close(&rgb, &turned, 1, &format!("{format:?}"));
        }
    }

    #[test]
    fn grey_has_three_equal_channels_and_honours_the_range() {
        let rect = PixelRect { x: 0, y: 0, width: 64, height: 48 };
        let grey = sampled(PixelFormat::Gray8, rect, (64, 48), ChannelOrder::Rgb);
        assert!(grey.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]));
        let [luma, ..] = yuv(10, 10);
        let expected = ((f32::from(luma) - 16.0) * 255.0 / 219.0).round() as u8;
        assert_close(&grey[(10 * W + 10) * 3..][..1], &[expected], 1, "limited range");
    }

    #[test]
    fn matrix_and_range_are_honoured() {
        let grey = |value: u8| (vec![value; 256], vec![90; 64], vec![200; 64]);
        let (y, u, v) = grey(120);
        let planes = [Plane { data: &y, stride: 16 }, Plane { data: &u, stride: 8 }, Plane { data: &v, stride: 8 }];
        let pixel = |matrix, range| {
            let frame = FrameView::new(PixelFormat::I420, 16, 16, &planes, matrix, range, 0).unwrap();
            let rect = PixelRect::of(&frame);
            Sampler::default().sample(&frame, rect, 4, 4, ChannelOrder::Rgb).unwrap()[..3].to_vec()
        };
        // Worked out by hand from the standards' formulas.
        assert_close(&pixel(ColorMatrix::Bt601, ColorRange::Limited), &[236, 78, 44], 1, "601 limited");
        assert_close(&pixel(ColorMatrix::Bt709, ColorRange::Limited), &[250, 91, 41], 1, "709 limited");
        assert_close(&pixel(ColorMatrix::Bt601, ColorRange::Full), &[221, 82, 53], 1, "601 full");
    }

    /// Not only near: rounded as often up as down.
    #[test]
    fn conversion_is_the_standards_arithmetic() {
        let noise = |index: usize, low: u8, span: u32| {
            low + ((index as u32).wrapping_mul(2_654_435_761).rotate_left(11) % span) as u8
        };
        const SIDE: usize = 256;
        let luma: Vec<u8> = (0..SIDE * SIDE).map(|index| noise(index, 80, 100)).collect();
        let [u, v] = [1, 2].map(|k| (0..SIDE * SIDE / 4).map(|i| noise(i + k * 99_991, 108, 40)).collect::<Vec<_>>());
        let planes = [
            Plane { data: &luma, stride: SIDE },
            Plane { data: &u, stride: SIDE / 2 },
            Plane { data: &v, stride: SIDE / 2 },
        ];
        let (side, limited) = (SIDE as u32, ColorRange::Limited);
        let frame = FrameView::new(PixelFormat::I420, side, side, &planes, ColorMatrix::Bt601, limited, 0).unwrap();
        let mut sampler = Sampler::default();
        // Halved: chroma as it is, luma averaged.
        let rgb = sampler.sample(&frame, PixelRect::of(&frame), side / 2, side / 2, ChannelOrder::Rgb).unwrap();
        let mut bias = [0.0; 3];
        for (index, pixel) in rgb.as_chunks::<3>().0.iter().enumerate() {
            let (row, column) = (index / (SIDE / 2) * 2, index % (SIDE / 2) * 2);
            let at = |row: usize, column: usize| f64::from(luma[row * SIDE + column]);
            let mean = (at(row, column) + at(row, column + 1) + at(row + 1, column) + at(row + 1, column + 1)) / 4.0;
            let (y, u, v) =
                ((mean - 16.0) / 219.0, (f64::from(u[index]) - 128.0) / 224.0, (f64::from(v[index]) - 128.0) / 224.0);
            let exact = [y + 1.402 * v, y - 0.344_136 * u - 0.714_136 * v, y + 1.772 * u].map(|value| value * 255.0);
            for ((bias, value), exact) in bias.iter_mut().zip(pixel).zip(exact) {
                let error = f64::from(*value) - exact;
                assert!(error.abs() < 1.2, "{value} is not {exact}");
                *bias += error / (rgb.len() / 3) as f64;
            }
        }
        assert!(bias.iter().all(|bias| bias.abs() < 0.1), "{bias:?}");
    }

    #[test]
    fn odd_sizes_and_strides_are_read_within_bounds() {
        for (width, height) in [(17u32, 19u32), (1, 48), (16, 16), (33, 1)] {
            let stride = width as usize + 13;
            let half = width.div_ceil(2) as usize;
            let rows = height.div_ceil(2) as usize;
            let y = vec![100; stride * (height as usize - 1) + width as usize];
            let chroma = vec![128; half * rows];
            let planes = [
                Plane { data: &y, stride },
                Plane { data: &chroma, stride: half },
                Plane { data: &chroma, stride: half },
            ];
            let frame =
                FrameView::new(PixelFormat::I420, width, height, &planes, ColorMatrix::Bt601, ColorRange::Full, 0)
                    .unwrap();
            let mut sampler = Sampler::default();
            let whole = sampler.sample(&frame, PixelRect::of(&frame), 8, 8, ChannelOrder::Rgb).unwrap();
            assert!(whole.iter().all(|v| v.abs_diff(100) <= 1));
            let over = PixelRect { x: -2, y: -2, width: width as i32 + 5, height: height as i32 + 5 };
            let over = sampler.sample(&frame, over, 8, 8, ChannelOrder::Rgb).unwrap();
            assert!(over.iter().all(|v| v.abs_diff(100) <= 1));
        }
    }

    /// `data` with its edge repeated `by` times all around.
    fn widened(data: &[u8], (columns, rows): (usize, usize), by: usize) -> Vec<u8> {
        let nearest = |index: usize, length: usize| index.saturating_sub(by).min(length - 1);
        (0..rows + 2 * by)
            .flat_map(|y| (0..columns + 2 * by).map(move |x| data[nearest(y, rows) * columns + nearest(x, columns)]))
            .collect()
    }

    #[test]
    fn what_reaches_over_the_frame_repeats_its_edge() {
        const BY: usize = 32;
        let planes = planes(PixelFormat::I420);
        let wide: Vec<_> = [(0, 1), (1, 2), (2, 2)]
            .map(|(plane, sub)| widened(&planes[plane].0, (W / sub, H / sub), BY / sub))
            .into_iter()
            .zip([W + 2 * BY, (W + 2 * BY) / 2, (W + 2 * BY) / 2])
            .collect();
        let sample = |planes: &[(Vec<u8>, usize)], (width, height): (usize, usize), rect, side| {
            let views: Vec<_> = planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
            let (width, height) = (width as u32, height as u32);
            let (matrix, range) = (ColorMatrix::Bt601, ColorRange::Limited);
            let frame = FrameView::new(PixelFormat::I420, width, height, &views, matrix, range, 0).unwrap();
            Sampler::default().sample(&frame, rect, side, side, ChannelOrder::Rgb).unwrap().to_vec()
        };
        let over = [(-10, -6, 40), (40, 30, 40), (-20, -20, 88), (-6, 4, 60), (10, -30, 48), (-8, -8, 72)];
        for (x, y, side) in over {
            for target in [12, 13, 20, 30, 32, 36, 40, 48, 60, 64, 72, 88, 100] {
                let rect = PixelRect { x, y, width: side, height: side };
                let moved = PixelRect { x: x + BY as i32, y: y + BY as i32, ..rect };
                let ours = sample(&planes, (W, H), rect, target);
                assert!(ours == sample(&wide, (W + 2 * BY, H + 2 * BY), moved, target), "{rect:?} to {target}");
            }
        }
    }

    #[test]
    fn a_part_outside_the_frame_is_an_error() {
        let planes = planes(PixelFormat::Rgb);
        let views = [Plane { data: &planes[0].0, stride: planes[0].1 }];
        let frame =
            FrameView::new(PixelFormat::Rgb, W as u32, H as u32, &views, ColorMatrix::Bt601, ColorRange::Full, 0)
                .unwrap();
        let rect = PixelRect { x: 100, y: 0, width: 10, height: 10 };
        let sampled = Sampler::default().sample(&frame, rect, 8, 8, ChannelOrder::Rgb).map(<[u8]>::to_vec);
        assert!(matches!(sampled, Err(AnalysisError::Outside)));
    }
}
