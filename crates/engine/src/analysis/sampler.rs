//! Taking a part of a frame, at a wanted size, as RGB: straight from the planes of whatever format it has.
//!
//! Each plane's part is scaled on its own and only the small result is converted, so that the work
//! depends on the part and the size wanted, never on the frame. It may lie anywhere, also at sub-pixel places. Levels are rounded once,
//! in the end, since models see the difference.

use opencv::core::{self, Mat, Scalar, Size, Vector};
use opencv::prelude::*;
use serde::Deserialize;

use super::AnalysisError;
use super::depth::Unpacked;
use super::frame::{ColorRange, Depth, FrameView, Orientation, PixelFormat, Share};
use super::geometry::Rect;
use super::light;
use super::resampler::{FINE, Part, Resampler, Stretch};

/// Order of the three channels of a sampled picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    #[default]
    Rgb,
    Bgr,
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
        const fn chroma(plane: usize, sub_x: i32, sub_y: i32) -> Samples {
            Samples { plane, channels: 1, sub_x, sub_y }
        }
        const PLANAR_420: &[Samples] = &[LUMA, chroma(1, 2, 2), chroma(2, 2, 2)];
        const PLANAR_422: &[Samples] = &[LUMA, chroma(1, 2, 1), chroma(2, 2, 1)];
        const PLANAR_444: &[Samples] = &[LUMA, chroma(1, 1, 1), chroma(2, 1, 1)];
        const SEMI_PLANAR_420: &[Samples] = &[LUMA, Samples { plane: 1, channels: 2, sub_x: 2, sub_y: 2 }];
        // The same bytes seen twice: as one luma and one chroma byte a pixel, and as four bytes every two pixels.
        const PACKED_422: &[Samples] = &[
            Samples { plane: 0, channels: 2, sub_x: 1, sub_y: 1 },
            Samples { plane: 0, channels: 4, sub_x: 2, sub_y: 1 },
        ];
        const PACKED_3: &[Samples] = &[Samples { plane: 0, channels: 3, sub_x: 1, sub_y: 1 }];
        const PACKED_4: &[Samples] = &[Samples { plane: 0, channels: 4, sub_x: 1, sub_y: 1 }];

        let (samples, channels) = match format {
            PixelFormat::I420 | PixelFormat::Yv12 | PixelFormat::I42010 => (PLANAR_420, [0, 1, 2]),
            PixelFormat::Y42b | PixelFormat::I42210 => (PLANAR_422, [0, 1, 2]),
            PixelFormat::Y444 => (PLANAR_444, [0, 1, 2]),
            PixelFormat::Nv12 | PixelFormat::P010 => (SEMI_PLANAR_420, [0, 1, 2]),
            PixelFormat::Yuy2 => (PACKED_422, [0, 3, 5]),
            PixelFormat::Uyvy => (PACKED_422, [1, 2, 4]),
            _ => {
                let (samples, channels) = match format.rgb_order() {
                    Some((3, order)) => (PACKED_3, order),
                    Some((_, order)) => (PACKED_4, order),
                    None => (&[LUMA][..], [0; 3]),
                };
                return Self { samples, channels: channels.map(|channel| channel as i32), yuv: false };
            }
        };
        Self { samples, channels, yuv: true }
    }
}

/// Samples parts of frames. Keeps its buffers, so that sampling the same format and size again allocates nothing.
#[derive(Default)]
pub struct Sampler {
    resampler: Resampler,
    scaled: Vector<Mat>,
    merged: Mat,
    converted: Mat,
    picture: Mat,
    unpacked: Unpacked,
    /// What the lower bits of samples of 10 bits add.
    lower: Vec<u16>,
    mirrored: Mat,
    upright: Mat,
}

impl Sampler {
    /// The part `rect` of `frame`, scaled to `width`×`height` pixels and upright: interleaved 8-bit RGB or BGR, full range, SDR
    /// light, rows without gaps. What of it lies outside the frame repeats the frame's edge. Chroma is taken to lie in the middle
    /// of the pixels that share it.
    ///
    /// Shrinking averages areas, enlarging interpolates linearly.
    ///
    /// # Errors
    /// [`AnalysisError::Outside`] if `rect` does not touch the frame or is hundreds of times as large as the picture, [`AnalysisError::OpenCv`] if OpenCV fails.
    pub fn sample(
        &mut self,
        frame: &FrameView,
        rect: &Rect,
        width: u32,
        height: u32,
        order: ChannelOrder,
    ) -> Result<&[u8], AnalysisError> {
        let layout = Layout::of(frame.format);
        let orientation = frame.orientation();
        let (width, height) = if orientation.transpose { (height, width) } else { (width, height) };
        let (width, height) = (width as usize, height as usize);
        let depth = frame.format.depth();
        let is_sdr = light::is_sdr(frame.transfer, frame.primaries);
        let convert = layout.yuv
            || depth != Depth::Eight
            || !is_sdr
            || (frame.format.is_grey() && frame.range == ColorRange::Limited);
        // What is converted is kept in parts of levels until then.
        let typ = if convert { core::CV_16U } else { core::CV_8U };
        self.make_room(&layout, typ, Size::new(width as i32, height as i32))?;
        let stored = frame.to_stored(rect);
        for (index, samples) in layout.samples.iter().enumerate() {
            // A Mat is a counted reference: this writes into the one that the vector holds.
            let mut scaled = self.scaled.get(index)?;
            let (part, channels) = (samples.part(frame, &stored)?, samples.channels as usize);
            if !part.scales_to(width, height) {
                return Err(AnalysisError::Outside);
            }
            match (convert, depth) {
                (false, _) => self.resampler.resample(&part, channels, width, scaled.data_bytes_mut()?),
                (true, Depth::Eight) => self.resampler.resample(&part, channels, width, levels_mut(&mut scaled)),
                (true, _) => {
                    let (upper, lower) = self.unpacked.of(&part, depth, channels, (width, height));
                    let levels = levels_mut(&mut scaled);
                    self.resampler.resample(&upper, channels, width, levels);
                    self.lower.resize(levels.len(), 0);
                    self.resampler.resample(&lower, channels, width, &mut self.lower);
                    for (level, lower) in levels.iter_mut().zip(&self.lower) {
                        *level += lower / 4;
                    }
                }
            }
        }

        let [first, second, third] = layout.channels;
        if convert {
            if layout.samples.len() == 3 {
                core::merge(&self.scaled, &mut self.merged)?;
            } else {
                core::mix_channels(&self.scaled, &mut self.merged, &[first, 0, second, 1, third, 2])?;
            }
            core::transform(&self.merged, &mut self.converted, &conversion(frame, &layout, order)?)?;
            if is_sdr {
                self.converted.convert_to(&mut self.picture, core::CV_8U, 1.0 / f64::from(FINE), 0.0)?;
            } else {
                let (transfer, primaries, bgr) = (frame.transfer, frame.primaries, order == ChannelOrder::Bgr);
                light::to_sdr(levels(&self.converted), transfer, primaries, bgr, self.picture.data_bytes_mut()?);
            }
        } else {
            let (r, b) = match order {
                ChannelOrder::Rgb => (0, 2),
                ChannelOrder::Bgr => (2, 0),
            };
            core::mix_channels(&self.scaled, &mut self.picture, &[first, r, second, 1, third, b])?;
        }
        self.turned(orientation)
    }

    /// The picture as it is shown.
    fn turned(&mut self, Orientation { mirror_x, mirror_y, transpose }: Orientation) -> Result<&[u8], AnalysisError> {
        let axes = match (mirror_x, mirror_y) {
            (false, false) => None,
            (true, false) => Some(1),
            (false, true) => Some(0),
            (true, true) => Some(-1),
        };
        let mut picture = &self.picture;
        if let Some(axes) = axes {
            core::flip(picture, &mut self.mirrored, axes)?;
            picture = &self.mirrored;
        }
        if transpose {
            core::transpose(picture, &mut self.upright)?;
            picture = &self.upright;
        }
        Ok(picture.data_bytes()?)
    }

    /// Makes the buffers fit the format and size. Does nothing when they do already.
    fn make_room(&mut self, layout: &Layout, depth: i32, size: Size) -> Result<(), AnalysisError> {
        let fits = self.picture.size()? == size
            && self.scaled.len() == layout.samples.len()
            && layout.samples.iter().enumerate().all(|(index, samples)| {
                let typ = core::CV_MAKETYPE(depth, samples.channels);
                self.scaled.get(index).is_ok_and(|scaled| scaled.typ() == typ)
            });
        if fits {
            return Ok(());
        }
        let blank =
            |depth, channels| Mat::new_size_with_default(size, core::CV_MAKETYPE(depth, channels), Scalar::default());
        self.scaled = layout.samples.iter().map(|samples| blank(depth, samples.channels)).collect::<Result<_, _>>()?;
        self.merged = blank(depth, 3)?;
        self.picture = blank(core::CV_8U, 3)?;
        Ok(())
    }
}

impl Samples {
    /// The part of their plane that this share of the stored frame covers.
    fn part<'a>(&self, frame: &FrameView<'a>, share: &Share) -> Result<Part<'a>, AnalysisError> {
        let stretch = |start: f64, length: f64, sub: i32, pixels: u32| {
            let samples = f64::from(pixels) / f64::from(sub);
            let (start, length) = ((start * samples) as f32, (length * samples) as f32);
            Stretch::new(start, length, pixels.div_ceil(sub as u32) as usize)
        };
        let (width, height) = frame.stored_size();
        let across = stretch(share.x, share.width, self.sub_x, width);
        let down = stretch(share.y, share.height, self.sub_y, height);
        let (across, down) = across.zip(down).ok_or(AnalysisError::Outside)?;
        Ok(Part { plane: frame.plane(self.plane), across, down })
    }
}

/// The levels of a Mat of 16 bits.
fn levels_mut(mat: &mut Mat) -> &mut [u16] {
    let count = level_count(mat);
    // SAFETY: the Mat owns that many numbers of 16 bits, without gaps, and is borrowed as long as they are.
    unsafe { std::slice::from_raw_parts_mut(mat.data_mut().cast(), count) }
}

fn levels(mat: &Mat) -> &[u16] {
    let count = level_count(mat);
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(mat.data().cast(), count) }
}

fn level_count(mat: &Mat) -> usize {
    assert!(mat.depth() == core::CV_16U && mat.is_continuous());
    mat.total() * mat.channels() as usize
}

/// The 3×4 matrix that turns Y, U, V and 1 (each 0..255 times [`FINE`]), or R, G, B and 1, into R, G, B, or B, G, R.
fn conversion(frame: &FrameView, layout: &Layout, order: ChannelOrder) -> Result<Mat, AnalysisError> {
    // White of 10 bits is 1023, and not four times 255, unless 16..235 are meant.
    let is_full = frame.range == ColorRange::Full || !(layout.yuv || frame.format.is_grey());
    let white = if is_full && frame.format.depth() != Depth::Eight { 1020.0 / 1023.0 } else { 1.0 };
    let mut rows = if layout.yuv || frame.format.is_grey() {
        let (luma_scale, chroma_scale) = frame.range.scales();
        let (luma_scale, chroma_scale) = (luma_scale * white, chroma_scale * white);
        // A grey frame has its luma in all three channels, and no chroma.
        let weights = if frame.format.is_grey() { [[0.0; 2]; 3] } else { frame.matrix.chroma_weights() };
        weights.map(|[u, v]| {
            let (u, v) = (u * chroma_scale, v * chroma_scale);
            [luma_scale, u, v, f32::from(FINE) * (-frame.range.black() * luma_scale - 128.0 * (u + v))]
        })
    } else {
        [[white, 0.0, 0.0, 0.0], [0.0, white, 0.0, 0.0], [0.0, 0.0, white, 0.0]]
    };
    if order == ChannelOrder::Bgr {
        rows.swap(0, 2);
    }
    Ok(Mat::from_slice_2d(&rows)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::frame::{ColorMatrix, Plane};

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
        let part = |channel: usize, sub_x: usize, sub_y: usize| -> Vec<u8> {
            (0..H / sub_y).flat_map(|y| (0..W / sub_x).map(move |x| yuv(x * sub_x, y * sub_y)[channel])).collect()
        };
        let plane = |channel: usize, sub: usize| part(channel, sub, sub);
        let interleave = |order: fn([u8; 3], [u8; 3]) -> [u8; 4]| -> Vec<u8> {
            (0..H).flat_map(|y| (0..W / 2).flat_map(move |x| order(yuv(2 * x, y), yuv(2 * x + 1, y)))).collect()
        };
        match format {
            PixelFormat::I420 | PixelFormat::Yv12 => {
                vec![(plane(0, 1), W), (plane(1, 2), W / 2), (plane(2, 2), W / 2)]
            }
            PixelFormat::Y42b => vec![(plane(0, 1), W), (part(1, 2, 1), W / 2), (part(2, 2, 1), W / 2)],
            PixelFormat::Y444 => (0..3).map(|channel| (plane(channel, 1), W)).collect(),
            PixelFormat::Nv12 => {
                let uv = plane(1, 2).into_iter().zip(plane(2, 2)).flat_map(|(u, v)| [u, v]).collect();
                vec![(plane(0, 1), W), (uv, W)]
            }
            PixelFormat::Yuy2 => vec![(interleave(|a, b| [a[0], a[1], b[0], a[2]]), W * 2)],
            PixelFormat::Uyvy => vec![(interleave(|a, b| [a[1], a[0], a[2], b[0]]), W * 2)],
            PixelFormat::Gray8 => vec![(plane(0, 1), W)],
            PixelFormat::I42010 => {
                let [y, u, v] = [plane(0, 1), plane(1, 2), plane(2, 2)].map(|plane| wide(&plane, 0));
                vec![(y, 2 * W), (u, W), (v, W)]
            }
            PixelFormat::I42210 => {
                let [y, u, v] = [plane(0, 1), part(1, 2, 1), part(2, 2, 1)].map(|plane| wide(&plane, 0));
                vec![(y, 2 * W), (u, W), (v, W)]
            }
            PixelFormat::P010 => {
                let uv: Vec<_> = plane(1, 2).into_iter().zip(plane(2, 2)).flat_map(|(u, v)| [u, v]).collect();
                vec![(wide(&plane(0, 1), 6), 2 * W), (wide(&uv, 6), 2 * W)]
            }
            PixelFormat::Gray10 => vec![(wide(&plane(0, 1), 0), 2 * W)],
            PixelFormat::Gray16 => vec![(wide(&plane(0, 1), 6), 2 * W)],
            PixelFormat::Rgb10a2 => vec![(packed_10([0, 10, 20]), 4 * W)],
            PixelFormat::Bgr10a2 => vec![(packed_10([20, 10, 0]), 4 * W)],
            PixelFormat::Rgb => vec![(packed(3, [0, 1, 2]), W * 3)],
            PixelFormat::Bgr => vec![(packed(3, [2, 1, 0]), W * 3)],
            PixelFormat::Rgbx | PixelFormat::Rgba => vec![(packed(4, [0, 1, 2]), W * 4)],
            PixelFormat::Bgrx | PixelFormat::Bgra => vec![(packed(4, [2, 1, 0]), W * 4)],
            PixelFormat::Xrgb | PixelFormat::Argb => vec![(packed(4, [1, 2, 3]), W * 4)],
            PixelFormat::Xbgr | PixelFormat::Abgr => vec![(packed(4, [3, 2, 1]), W * 4)],
        }
    }

    /// Samples of 10 bits in 16, from this bit on.
    fn wide(plane: &[u8], shift: u32) -> Vec<u8> {
        plane.iter().flat_map(|value| (u16::from(*value) << 2 << shift).to_le_bytes()).collect()
    }

    /// Red, green and blue from these bits on.
    fn packed_10(shifts: [u32; 3]) -> Vec<u8> {
        let ten = |value: f32| (value * 1023.0 / 255.0).round() as u32;
        let pixel =
            |x, y| color(x, y).into_iter().zip(shifts).fold(3 << 30, |bits, (value, by)| bits | ten(value) << by);
        (0..H).flat_map(|y| (0..W).flat_map(move |x| pixel(x, y).to_le_bytes())).collect()
    }

    fn sampled(format: PixelFormat, rect: &Rect, size: (u32, u32), order: ChannelOrder) -> Vec<u8> {
        let planes = planes(format);
        let views: Vec<_> = planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
        let frame =
            FrameView::new(format, W as u32, H as u32, &views, ColorMatrix::Bt601, ColorRange::Limited, 0).unwrap();
        Sampler::default().sample(&frame, rect, size.0, size.1, order).unwrap().to_vec()
    }

    /// R, G, B of Y, U, V (limited range) by the formulas of ITU-R BT.601, neither rounded nor cut off.
    fn standard([y, u, v]: [f64; 3]) -> [f64; 3] {
        let (y, u, v) = ((y - 16.0) / 219.0, (u - 128.0) / 224.0, (v - 128.0) / 224.0);
        [y + 1.402 * v, y - 0.344_136 * u - 0.714_136 * v, y + 1.772 * u].map(|value| 255.0 * value)
    }

    /// What lies at `index` of `target` samples along one axis of a plane, whose edge is repeated: shares of the samples, by their places.
    fn shares(start: f32, length: f32, index: usize, target: usize, samples: usize) -> Vec<(usize, f32)> {
        let step = length / target as f32;
        let begin = start + index as f32 * step;
        let inside = |place: f32| (place as i32).clamp(0, samples as i32 - 1) as usize;
        if step >= 1.0 {
            let touched = begin.floor() as i32..(begin + step).ceil() as i32;
            let covered = |place: i32| (begin + step).min(place as f32 + 1.0) - begin.max(place as f32);
            return touched.map(|place| (inside(place as f32), covered(place) / step)).collect();
        }
        let middle = begin + step / 2.0 - 0.5;
        let share = middle - middle.floor();
        vec![(inside(middle.floor()), 1.0 - share), (inside(middle.floor() + 1.0), share)]
    }

    proptest! {
        /// Wherever a part lies, and whatever its size: nothing is rounded but what comes out.
        #[test]
        fn samples_are_the_standards_arithmetic_rounded_once(
            (across, down) in (0.05..0.95f32, 0.05..0.95f32), (wide, high) in (0.4..5.0f32, 0.4..5.0f32),
            (columns, rows) in (4usize..14, 4usize..14), seed: u32,
        ) {
            let (width, height) = (wide * columns as f32, high * rows as f32);
            // From just inside the left edge to just inside the right one.
            let at = |share: f32, length: f32, frame: usize| share * (frame as f32 + length) - length;
            let rect = Rect::new(at(across, width, W), at(down, height, H), width, height);
            let noise = |count: usize, salt: u32| -> Vec<u8> {
                (0..count as u32)
                    .map(|place| (place ^ seed ^ salt).wrapping_mul(2_654_435_761).to_be_bytes()[0] / 32 + 124)
                    .collect()
            };
            let planes = [(noise(W * H, 1), W), (noise(W * H / 4, 2), W / 2), (noise(W * H / 4, 3), W / 2)];
            let views: Vec<_> = planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
            let (matrix, range) = (ColorMatrix::Bt601, ColorRange::Limited);
            let frame = FrameView::new(PixelFormat::I420, W as u32, H as u32, &views, matrix, range, 0).unwrap();
            let mut sampler = Sampler::default();
            let pixels = sampler.sample(&frame, &rect, columns as u32, rows as u32, ChannelOrder::Rgb).unwrap();
            for (place, pixel) in pixels.as_chunks::<3>().0.iter().enumerate() {
                let [y, u, v] = planes.each_ref().map(|(data, stride)| -> f64 {
                    let sub = (W / stride) as f32;
                    // Each axis by itself: a plane may shrink along one and grow along the other.
                    let down = shares(rect.y / sub, rect.height / sub, place / columns, rows, H / sub as usize);
                    let across = shares(rect.x / sub, rect.width / sub, place % columns, columns, *stride);
                    let row = |row: usize| -> f32 {
                        across.iter().map(|(column, share)| share * f32::from(data[row * stride + column])).sum()
                    };
                    down.iter().map(|(index, share)| f64::from(share * row(*index))).sum()
                });
                for (value, exact) in pixel.iter().zip(standard([y, u, v])) {
                    let off = (f64::from(*value) - exact.clamp(0.0, 255.0)).abs();
                    // Half a level, and what noise of eight levels makes of places that are known to a 256th of a pixel.
                    prop_assert!(off < 0.75, "off by {}", off);
                }
            }
        }
    }

    fn assert_close(a: &[u8], b: &[u8], tolerance: u8, what: &str) {
        assert_eq!(a.len(), b.len());
        let worst = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= tolerance, "{what}: off by {worst}");
    }

    const COLOUR_FORMATS: [PixelFormat; 22] = [
        PixelFormat::I420,
        PixelFormat::Yv12,
        PixelFormat::Nv12,
        PixelFormat::Yuy2,
        PixelFormat::Uyvy,
        PixelFormat::Y42b,
        PixelFormat::Y444,
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
        PixelFormat::I42010,
        PixelFormat::I42210,
        PixelFormat::P010,
        PixelFormat::Rgb10a2,
        PixelFormat::Bgr10a2,
    ];

    /// Ten bits are all used: between two levels of eight bits lie three more.
    #[test]
    fn ten_bits_are_not_cut_to_eight() {
        let (dark, bright) = (500u16, 503u16);
        let row: Vec<u8> = (0..64).flat_map(|x| if x % 2 == 0 { dark } else { bright }.to_le_bytes()).collect();
        let data: Vec<u8> = std::iter::repeat_n(row, 48).flatten().collect();
        let planes = [Plane { data: &data, stride: 128 }];
        let (matrix, range) = (ColorMatrix::Bt601, ColorRange::Full);
        let frame = FrameView::new(PixelFormat::Gray10, 64, 48, &planes, matrix, range, 0).unwrap();
        let mut sampler = Sampler::default();
        sampler.sample(&frame, &Rect::new(3.0, 5.0, 20.0, 20.0), 10, 10, ChannelOrder::Rgb).unwrap();
        let exact = 501.5 / 1023.0 * 255.0 * f32::from(FINE);
        for level in levels(&sampler.converted) {
            assert!((f32::from(*level) - exact).abs() < 0.02 * f32::from(FINE), "{level} is not {exact}");
        }
    }

    /// The picture turned before it is sampled, and turned by sampling.
    #[test]
    fn every_orientation_is_turned_upright() {
        let data = packed(3, [0, 1, 2]);
        let (matrix, range) = (ColorMatrix::Bt601, ColorRange::Full);
        for bits in 0..8 {
            let orientation = Orientation { mirror_x: bits & 1 > 0, mirror_y: bits & 2 > 0, transpose: bits & 4 > 0 };
            let (width, height) = if orientation.transpose { (H, W) } else { (W, H) };
            let mut turned = vec![0; data.len()];
            for y in 0..height {
                for x in 0..width {
                    let (sx, sy) = if orientation.transpose { (y, x) } else { (x, y) };
                    let sx = if orientation.mirror_x { W - 1 - sx } else { sx };
                    let sy = if orientation.mirror_y { H - 1 - sy } else { sy };
                    turned[(y * width + x) * 3..][..3].copy_from_slice(&data[(sy * W + sx) * 3..][..3]);
                }
            }
            let view = |data, width, height| {
                let planes = [Plane { data, stride: width as usize * 3 }];
                FrameView::new(PixelFormat::Rgb, width, height, &planes, matrix, range, 0).unwrap()
            };
            let rect = Rect::new(7.0, 4.5, 30.0, 33.0);
            let (mut one, mut other) = (Sampler::default(), Sampler::default());
            let stored = view(&data, W as u32, H as u32).shown(1.0, orientation);
            let found = one.sample(&stored, &rect, 20, 11, ChannelOrder::Rgb).unwrap();
            let upright = view(&turned, width as u32, height as u32);
            let expected = other.sample(&upright, &rect, 20, 11, ChannelOrder::Rgb).unwrap();
            assert_close(found, expected, 1, &format!("{orientation:?}"));
        }
    }

    /// Of a frame that is stored at half its width, and of one field of two.
    #[test]
    fn pixels_that_are_not_square_are_sampled_square() {
        let square = packed(3, [0, 1, 2]);
        let (matrix, range) = (ColorMatrix::Bt601, ColorRange::Full);
        let narrow: Vec<u8> = square.as_chunks::<3>().0.chunks(2).flat_map(|pair| pair[0]).collect();
        let view = |data, width| {
            let planes = [Plane { data, stride: width as usize * 3 }];
            FrameView::new(PixelFormat::Rgb, width, H as u32, &planes, matrix, range, 0).unwrap()
        };
        let rect = Rect::new(8.0, 8.0, 32.0, 32.0);
        let (mut one, mut other) = (Sampler::default(), Sampler::default());
        let expected = one.sample(&view(&square, W as u32), &rect, 16, 16, ChannelOrder::Rgb).unwrap();
        let frame = view(&narrow, W as u32 / 2).shown(2.0, Orientation::default());
        assert_eq!(frame.bounds(), Rect::new(0.0, 0.0, W as f32, H as f32));
        assert_close(other.sample(&frame, &rect, 16, 16, ChannelOrder::Rgb).unwrap(), expected, 4, "narrow");

        // The second field shows something else.
        let mut woven = square.clone();
        woven.chunks_exact_mut(W * 3).skip(1).step_by(2).for_each(|row| row.fill(255));
        let frame = view(&woven, W as u32).field();
        assert_close(other.sample(&frame, &rect, 16, 16, ChannelOrder::Rgb).unwrap(), expected, 4, "one field");
    }

    #[test]
    fn every_format_gives_the_same_picture() {
        let parts = [
            (Rect::new(0.0, 0.0, 64.0, 48.0), (32, 24)),
            (Rect::new(8.0, 10.0, 24.0, 24.0), (16, 16)),
            (Rect::new(8.0, 10.0, 24.0, 24.0), (48, 48)),
            (Rect::new(-8.0, -6.0, 40.0, 40.0), (20, 20)),
            (Rect::new(40.0, 30.0, 40.0, 40.0), (20, 20)),
        ];
        for (rect, size) in parts {
            let rgb = sampled(PixelFormat::Rgb, &rect, size, ChannelOrder::Rgb);
            for format in COLOUR_FORMATS {
                // Chroma at half the size, in 8 bits, costs a few steps.
                let what = format!("{format:?} {rect:?}");
                assert_close(&sampled(format, &rect, size, ChannelOrder::Rgb), &rgb, 5, &what);
            }
        }
    }

    #[test]
    fn bgr_is_rgb_backwards() {
        let rect = Rect::new(4.0, 4.0, 32.0, 32.0);
        for format in COLOUR_FORMATS {
            let rgb = sampled(format, &rect, (16, 16), ChannelOrder::Rgb);
            let bgr = sampled(format, &rect, (16, 16), ChannelOrder::Bgr);
            let turned: Vec<u8> = bgr.chunks(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
            assert_close(&rgb, &turned, 1, &format!("{format:?}"));
        }
    }

    #[test]
    fn grey_has_three_equal_channels_and_honours_the_range() {
        let rect = Rect::new(0.0, 0.0, 64.0, 48.0);
        let grey = sampled(PixelFormat::Gray8, &rect, (64, 48), ChannelOrder::Rgb);
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
            Sampler::default().sample(&frame, &frame.bounds(), 4, 4, ChannelOrder::Rgb).unwrap()[..3].to_vec()
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
        let rgb = sampler.sample(&frame, &frame.bounds(), side / 2, side / 2, ChannelOrder::Rgb).unwrap();
        let mut bias = [0.0; 3];
        for (index, pixel) in rgb.as_chunks::<3>().0.iter().enumerate() {
            let (row, column) = (index / (SIDE / 2) * 2, index % (SIDE / 2) * 2);
            let at = |row: usize, column: usize| f64::from(luma[row * SIDE + column]);
            let mean = (at(row, column) + at(row, column + 1) + at(row + 1, column) + at(row + 1, column + 1)) / 4.0;
            let exact = standard([mean, f64::from(u[index]), f64::from(v[index])]);
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
            let whole = sampler.sample(&frame, &frame.bounds(), 8, 8, ChannelOrder::Rgb).unwrap();
            assert!(whole.iter().all(|v| v.abs_diff(100) <= 1));
            let over = Rect::new(-2.0, -2.0, width as f32 + 5.0, height as f32 + 5.0);
            let over = sampler.sample(&frame, &over, 8, 8, ChannelOrder::Rgb).unwrap();
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
            Sampler::default().sample(&frame, &rect, side, side, ChannelOrder::Rgb).unwrap().to_vec()
        };
        let over = [
            (-10.0, -6.0, 40.0),
            (40.5, 30.2, 40.0),
            (-20.0, -20.0, 88.0),
            (-6.0, 4.0, 60.0),
            (10.7, -30.0, 48.9),
            (-8.0, -8.0, 72.0),
        ];
        for (x, y, side) in over {
            for target in [12, 13, 20, 30, 32, 36, 40, 48, 60, 64, 72, 88, 100] {
                let rect = Rect::new(x, y, side, side);
                let moved = Rect { x: x + BY as f32, y: y + BY as f32, ..rect };
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
        let rect = Rect::new(100.0, 0.0, 10.0, 10.0);
        let sampled = Sampler::default().sample(&frame, &rect, 8, 8, ChannelOrder::Rgb).map(<[u8]>::to_vec);
        assert!(matches!(sampled, Err(AnalysisError::Outside)));
    }
}
