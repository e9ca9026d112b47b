//! Taking RGB back to the YUV that it was computed from, where `videoconvert` did it.
//!
//! GStreamer's `videoconvert` has one quick way from 8-bit YUV to RGB, whatever the formats (`video_orc_convert_I420_ARGB` and its like in
//! gst-plugins-base). It multiplies bytes and cuts the products off, and so comes out 1 to 4 levels darker than the standards' formulas
//! say, with an edge of one level where luma or chroma pass their middle. Models see that.
//!
//! But nothing is lost unless a channel ends at 0 or 255: no two colours of YUV share the differences of R and G from B, nor two lumas a
//! product. So they can be looked up, and whoever samples them gets what he would have got from the YUV frame. And only one in six
//! colours of RGB can come of that arithmetic, by which a picture that does is recognised.

use std::sync::LazyLock;

use super::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat, Plane};
use super::geometry::Rect;

/// Pixels that are looked at to recognise where a part comes from: up to this many across and down.
const LOOKS: usize = 20;
/// At least so many must say something, …
const LEAST_COLORS: usize = 32;
/// … and such a share of them must be possible. Others may have been drawn over the picture later.
const LEAST_POSSIBLE: f32 = 0.75;
/// Parts that become this many times smaller are restored at half their size, which takes less time.
const HALVED_FROM: f32 = 3.0;
/// Pixels around a part that count for what is interpolated at its edges. Even.
const MARGIN: usize = 4;

/// Restores parts of frames. Keeps its buffers between calls.
#[derive(Default)]
pub struct Restorer {
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

impl Restorer {
    /// What `rect` covers of an RGB frame, as the YUV frame that it was computed from, and where `rect` lies in that. `None` if the frame
    /// is not RGB, or was not computed that way, or shows nothing by which that could be told.
    ///
    /// If `rect` is to become `width`×`height` pixels, so few that it does not matter, the YUV frame is half as wide and high.
    pub fn restore<'a>(
        &'a mut self,
        frame: &FrameView,
        rect: &Rect,
        (width, height): (u32, u32),
    ) -> Option<(FrameView<'a>, Rect)> {
        let halved = rect.width >= HALVED_FROM * width as f32 && rect.height >= HALVED_FROM * height as f32;
        let pixels = Pixels::of(frame)?;
        let (left, width) = span(rect.x, rect.width, frame.width as usize)?;
        let (top, height) = span(rect.y, rect.height, frame.height as usize)?;
        let area = Area { left, top, width, height };
        let origin = recognize(&pixels, &area)?;
        let mut place = Rect::new(rect.x - left as f32, rect.y - top as f32, rect.width, rect.height);
        let (columns, rows) = (width.div_ceil(2), height.div_ceil(2));
        self.u.resize(columns * rows, 0);
        self.v.resize(columns * rows, 0);
        let (format, size, stride) = if halved {
            self.y.resize(columns * rows, 0);
            self.fill::<true>(&pixels, &area, origin);
            place = Rect::new(place.x / 2.0, place.y / 2.0, place.width / 2.0, place.height / 2.0);
            (PixelFormat::Y444, (columns, rows), columns)
        } else {
            self.y.resize(4 * columns * rows, 0);
            self.fill::<false>(&pixels, &area, origin);
            (PixelFormat::I420, (width, height), 2 * columns)
        };
        let planes = [(&self.y, stride), (&self.u, columns), (&self.v, columns)];
        let planes = planes.map(|(data, stride)| Plane { data, stride });
        let (width, height) = (size.0 as u32, size.1 as u32);
        let restored = FrameView::new(format, width, height, &planes, origin.matrix, origin.range, frame.pts);
        Some((restored.ok()?, place))
    }

    /// Once for each order of channels, so that the compiler knows it.
    fn fill<const HALVED: bool>(&mut self, pixels: &Pixels, area: &Area, origin: &Origin) {
        match (pixels.channels, pixels.order) {
            (3, [0, ..]) => self.fill_from::<HALVED, 3, 0, 1, 2>(pixels, area, origin),
            (3, _) => self.fill_from::<HALVED, 3, 2, 1, 0>(pixels, area, origin),
            (_, [0, ..]) => self.fill_from::<HALVED, 4, 0, 1, 2>(pixels, area, origin),
            (_, [1, ..]) => self.fill_from::<HALVED, 4, 1, 2, 3>(pixels, area, origin),
            (_, [2, ..]) => self.fill_from::<HALVED, 4, 2, 1, 0>(pixels, area, origin),
            _ => self.fill_from::<HALVED, 4, 3, 2, 1>(pixels, area, origin),
        }
    }

    /// Two rows and two columns at a time, which mostly share their chroma.
    fn fill_from<const HALVED: bool, const CHANNELS: usize, const R: usize, const G: usize, const B: usize>(
        &mut self,
        pixels: &Pixels,
        area: &Area,
        origin: &Origin,
    ) {
        let rgb = |pixel: &[u8; CHANNELS]| [pixel[R], pixel[G], pixel[B]];
        let columns = area.width.div_ceil(2);
        let luma = self.y.chunks_exact_mut(if HALVED { columns } else { 4 * columns });
        let chroma = self.u.chunks_exact_mut(columns).zip(self.v.chunks_exact_mut(columns));
        for (index, (luma, (u, v))) in luma.zip(chroma).enumerate() {
            // The last of an odd number of rows, or columns, stands for the next as well.
            let rows = [2 * index, (2 * index + 1).min(area.height - 1)];
            let [above, below] = rows.map(|row| pixels.row(area.top + row, area).as_chunks::<CHANNELS>().0.chunks(2));
            for (column, ((above, below), (u, v))) in above.zip(below).zip(u.iter_mut().zip(v)).enumerate() {
                let block = match (above, below) {
                    ([a, b], [c, d]) => [a, b, c, d],
                    (above, below) => [&above[0], &above[0], &below[0], &below[0]],
                };
                let slowly = || origin.restore(&block.map(rgb));
                if HALVED {
                    let mean = origin.restore_mean(rgb(block[0]), block.map(|pixel| pixel[G]));
                    (luma[column], [*u, *v]) = mean.unwrap_or_else(|| {
                        let (luma, chroma) = slowly();
                        (mean_of(luma), chroma)
                    });
                } else {
                    let ([a, b, c, d], chroma) = origin.restore_alike(block.map(rgb)).unwrap_or_else(slowly);
                    let (left, below) = (2 * column, 2 * (columns + column));
                    (luma[left], luma[left + 1], luma[below], luma[below + 1]) = (a, b, c, d);
                    [*u, *v] = chroma;
                }
            }
        }
    }
}

fn mean_of(values: [u8; 4]) -> u8 {
    ((values.iter().map(|value| u16::from(*value)).sum::<u16>() + 2) / 4) as u8
}

/// The part of an axis, from an even place on, that a stretch of it needs; `None` if it does not touch the axis.
fn span(start: f32, length: f32, size: usize) -> Option<(usize, usize)> {
    let first = (start.floor().max(0.0) as usize).saturating_sub(MARGIN) & !1;
    let end = ((start + length).ceil().max(0.0) as usize).saturating_add(MARGIN).min(size);
    (start < size as f32 && start + length > 0.0 && first < end).then(|| (first, end - first))
}

/// Whole pixels of a frame.
struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// An RGB frame's only plane.
struct Pixels<'a> {
    plane: Plane<'a>,
    /// Bytes of a pixel.
    channels: usize,
    /// Which of them are red, green and blue.
    order: [usize; 3],
}

impl<'a> Pixels<'a> {
    fn of(frame: &FrameView<'a>) -> Option<Self> {
        let (channels, order) = frame.format.rgb_order()?;
        Some(Self { plane: frame.plane(0), channels, order })
    }

    /// The area's share of a row.
    fn row(&self, row: usize, area: &Area) -> &'a [u8] {
        let start = row * self.plane.stride + area.left * self.channels;
        &self.plane.data[start..start + area.width * self.channels]
    }
}

/// Of which YUV the area was computed. Told by pixels spread over it.
fn recognize(pixels: &Pixels, area: &Area) -> Option<&'static Origin> {
    let mut colors = [[0; 3]; LOOKS * LOOKS];
    let mut count = 0;
    for row in (0..area.height).step_by(area.height.div_ceil(LOOKS)) {
        let row = pixels.row(area.top + row, area);
        for pixel in row.chunks_exact(pixels.channels).step_by(area.width.div_ceil(LOOKS)) {
            let color @ [r, g, b] = pixels.order.map(|channel| pixel[channel]);
            let says = color.iter().all(|channel| is_inside(*channel)) && (r != g || g != b);
            // Of one colour all over, one pixel counts.
            if says && (count == 0 || colors[count - 1] != color) {
                colors[count] = color;
                count += 1;
            }
        }
    }
    let colors = &colors[..count];
    let possible = |origin: &Origin| colors.iter().filter(|color| origin.is_possible(**color)).count();
    let found = |origin| (possible(origin), origin);
    let (possible, origin) = ORIGINS.iter().map(found).max_by_key(|(possible, _)| *possible)?;
    (count >= LEAST_COLORS && possible as f32 >= LEAST_POSSIBLE * count as f32).then_some(origin)
}

/// Every YUV that RGB may have been computed from.
static ORIGINS: LazyLock<Vec<Origin>> = LazyLock::new(|| {
    let matrices = [ColorMatrix::Bt601, ColorMatrix::Bt709, ColorMatrix::Bt2020];
    let ranges = [ColorRange::Limited, ColorRange::Full];
    matrices.iter().flat_map(|matrix| ranges.map(|range| Origin::new(*matrix, range))).collect()
});

/// One kind of YUV, how RGB is computed from it, and how to get back.
struct Origin {
    matrix: ColorMatrix,
    range: ColorRange,
    /// Coefficients of luma, and of U and V in each of R, G and B.
    luma: i32,
    chroma: [[i32; 2]; 3],
    /// U and V by the differences R − B and G − B, both from −[`DIFFERENCES`] on; [`NONE`] where no colour has them.
    chroma_of: Box<[[u8; 2]; SPAN * SPAN]>,
    /// The luma that comes nearest to a product, from −[`DIFFERENCES`] on.
    luma_of: [u8; SPAN],
}

/// No two channels that are neither 0 nor 255 differ by so much.
const DIFFERENCES: i32 = 256;
const SPAN: usize = 2 * DIFFERENCES as usize;

/// No colour has this chroma.
const NONE: [u8; 2] = [0, 0];

/// What `videoconvert` makes of a byte and a coefficient: the byte less 128 stands in both halves of 16 bits, and of their product the
/// upper 16 bits are taken.
fn product(byte: u8, coefficient: i32) -> i32 {
    let byte = byte.wrapping_sub(128);
    (i32::from(i16::from_be_bytes([byte, byte])) * coefficient) >> 16
}

fn is_inside(channel: u8) -> bool {
    (1..255).contains(&channel)
}

impl Origin {
    fn new(matrix: ColorMatrix, range: ColorRange) -> Self {
        let coefficient = |weight: f32| (256.0 * weight).round() as i32;
        let (luma_scale, chroma_scale) = range.scales();
        let chroma_of = vec![NONE; SPAN * SPAN].try_into().expect("it is as long");
        let chroma = matrix.chroma_weights().map(|row| row.map(|weight| coefficient(weight * chroma_scale)));
        let mut origin = Self { matrix, range, luma: coefficient(luma_scale), chroma, chroma_of, luma_of: [0; SPAN] };
        for (u, v) in (1..=255).flat_map(|u| (1..=255).map(move |v| (u, v))) {
            let [r, g, b] = origin.added([u, v]);
            if (r - b).abs() < DIFFERENCES && (g - b).abs() < DIFFERENCES {
                origin.chroma_of[differences(r - b, g - b)] = [u, v];
            }
        }
        let products: Vec<_> = (0..=255).map(|luma| product(luma, origin.luma)).collect();
        let nearest = |wanted: i32| (0..=255).min_by_key(|luma| (products[usize::from(*luma)] - wanted).abs());
        origin.luma_of = std::array::from_fn(|place| nearest(place as i32 - DIFFERENCES).expect("there are some"));
        origin
    }

    /// What chroma adds to each of R, G and B.
    #[inline(always)]
    fn added(&self, [u, v]: [u8; 2]) -> [i32; 3] {
        self.chroma.map(|[of_u, of_v]| product(u, of_u) + product(v, of_v))
    }

    /// U and V of a colour, if it is one. They mean nothing if one of its channels is 0 or 255.
    fn chroma_of(&self, [r, g, b]: [u8; 3]) -> Option<[u8; 2]> {
        let [r, g, b] = [r, g, b].map(i32::from);
        Some(self.chroma_of[differences(r - b, g - b)]).filter(|chroma| *chroma != NONE)
    }

    /// The luma with which this channel comes nearest to its value.
    fn luma_of(&self, channel: u8, added: i32) -> u8 {
        let place = i32::from(channel) - 128 - added + DIFFERENCES;
        self.luma_of[place.clamp(0, 2 * DIFFERENCES - 1) as usize]
    }

    /// Whether this can come of the arithmetic. None of the channels may be 0 or 255.
    fn is_possible(&self, color: [u8; 3]) -> bool {
        self.chroma_of(color).is_some_and(|chroma| {
            let added = self.added(chroma)[0];
            i32::from(color[0]) - 128 - added == product(self.luma_of(color[0], added), self.luma)
        })
    }

    /// What [`restore`](Self::restore) gives, of pixels that have one chroma and no channel at 0 or 255, as nearly all have.
    #[inline(always)]
    fn restore_alike(&self, block: [[u8; 3]; 4]) -> Option<([u8; 4], [u8; 2])> {
        let chroma = self.chroma_of(block[0])?;
        let [r, g, b] = block[0].map(i32::from);
        // Pixels with one chroma are as much brighter in each channel.
        let brighter = block.map(|pixel| i32::from(pixel[1]) - g);
        let are_alike = block.iter().zip(brighter).fold(true, |alike, (pixel, brighter)| {
            alike & (i32::from(pixel[0]) == r + brighter) & (i32::from(pixel[2]) == b + brighter)
        });
        let [darkest, brightest] = brighter.iter().fold([0; 2], |[least, most], of| [least.min(*of), most.max(*of)]);
        let are_inside = r.min(g).min(b) + darkest > 0 && r.max(g).max(b) + brightest < 255;
        let [_, added, _] = self.added(chroma);
        let restored = (block.map(|[_, green, _]| self.luma_of(green, added)), chroma);
        (are_alike && are_inside).then_some(restored)
    }

    /// The mean Y of four pixels, told by their green, with the U and V of the `first`. `None` if one of these channels is 0 or 255.
    #[inline(always)]
    fn restore_mean(&self, first: [u8; 3], greens: [u8; 4]) -> Option<(u8, [u8; 2])> {
        let chroma = self.chroma_of(first)?;
        let [_, added, _] = self.added(chroma);
        let are_inside =
            greens.iter().fold(is_inside(first[0]) & is_inside(first[2]), |all, green| all & is_inside(*green));
        let luma = mean_of(greens.map(|green| self.luma_of(green, added)));
        are_inside.then_some((luma, chroma))
    }

    /// Y of each of four pixels, and the U and V that they share.
    #[cold]
    #[inline(never)]
    fn restore(&self, block: &[[u8; 3]; 4]) -> ([u8; 4], [u8; 2]) {
        let chroma = self.chroma(block);
        let added = self.added(chroma);
        (block.map(|pixel| self.luma(pixel, &added)), chroma)
    }

    /// U and V that pixels share: the mean of what they have. Where all of them have a channel at 0 or 255, or have been changed, by the
    /// standard's formulas.
    fn chroma(&self, block: &[[u8; 3]; 4]) -> [u8; 2] {
        let (mut sums, mut count) = ([0; 2], 0);
        for pixel in block {
            if pixel.iter().all(|channel| is_inside(*channel))
                && let Some([u, v]) = self.chroma_of(*pixel)
            {
                sums = [sums[0] + u32::from(u), sums[1] + u32::from(v)];
                count += 1;
            }
        }
        if count == 0 {
            return self.standard_chroma(block);
        }
        sums.map(|sum| ((sum + count / 2) / count) as u8)
    }

    fn standard_chroma(&self, block: &[[u8; 3]; 4]) -> [u8; 2] {
        let (kr, kb) = self.matrix.luma_weights();
        let (_, scale) = self.range.scales();
        let [r, g, b] = [0, 1, 2].map(|channel| block.iter().map(|pixel| f32::from(pixel[channel])).sum::<f32>() / 4.0);
        let luma = kr * r + (1.0 - kr - kb) * g + kb * b;
        [(b - luma) / (1.0 - kb), (r - luma) / (1.0 - kr)].map(|chroma| (128.0 + chroma / 2.0 / scale).round() as u8)
    }

    /// Of a pixel to which chroma adds this: told by a channel that is neither 0 nor 255.
    fn luma(&self, pixel: [u8; 3], added: &[i32; 3]) -> u8 {
        let told = [1, 0, 2].into_iter().find(|channel| is_inside(pixel[*channel]));
        match told {
            Some(channel) => self.luma_of(pixel[channel], added[channel]),
            None => {
                let (scale, _) = self.range.scales();
                (self.range.black() + f32::from(pixel[1]) / scale).round() as u8
            }
        }
    }
}

/// Place in [`Origin::chroma_of`].
fn differences(red: i32, green: i32) -> usize {
    (red + DIFFERENCES) as usize * SPAN + (green + DIFFERENCES) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const W: usize = 48;
    const H: usize = 40;

    /// What `videoconvert` makes of a colour.
    fn converted(origin: &Origin, y: u8, [u, v]: [u8; 2]) -> [u8; 3] {
        let luma = product(y, origin.luma);
        origin.added([u, v]).map(|added| ((luma + added).clamp(-128, 127) + 128) as u8)
    }

    /// A picture with many colours, of which `reach` says how far they go from grey: Y of each pixel, U and V of each four.
    fn picture(reach: f32, seed: usize) -> [Vec<u8>; 3] {
        let wave = |x: usize, y: usize, across: f32, down: f32| {
            let phase = (x + seed) as f32 * across + (y + 2 * seed) as f32 * down;
            (128.0 + reach * phase.sin()).round() as u8
        };
        let plane = |width: usize, height: usize, across: f32, down: f32| -> Vec<u8> {
            (0..width * height).map(|place| wave(place % width, place / width, across, down)).collect()
        };
        [plane(W, H, 0.31, 0.17), plane(W / 2, H / 2, 0.23, 0.4), plane(W / 2, H / 2, 0.11, -0.3)]
    }

    fn pixels(planes: &[Vec<u8>; 3], color: impl Fn(u8, [u8; 2]) -> [u8; 3]) -> Vec<[u8; 3]> {
        let pixel = |place: usize| {
            let chroma = place / W / 2 * (W / 2) + place % W / 2;
            color(planes[0][place], [planes[1][chroma], planes[2][chroma]])
        };
        (0..W * H).map(pixel).collect()
    }

    fn frame(format: PixelFormat, bytes: &[u8]) -> FrameView<'_> {
        let stride = bytes.len() / H;
        let planes = [Plane { data: bytes, stride }];
        FrameView::new(format, W as u32, H as u32, &planes, ColorMatrix::Bt601, ColorRange::Full, 7).unwrap()
    }

    /// A size to which nothing here is shrunk.
    const SAME: (u32, u32) = (48, 40);

    fn whole() -> Rect {
        Rect::new(0.0, 0.0, W as f32, H as f32)
    }

    #[test]
    fn every_colour_can_be_told_from_every_other() {
        for origin in &*ORIGINS {
            for (u, v) in (1..=255u8).flat_map(|u| (1..=255u8).map(move |v| (u, v))) {
                for y in (0..=255u8).step_by(15) {
                    let color = converted(origin, y, [u, v]);
                    if color.iter().all(|channel| is_inside(*channel)) {
                        assert_eq!(origin.chroma_of(color), Some([u, v]));
                        assert!((0..3).all(|c| origin.luma_of(color[c], origin.added([u, v])[c]) == y));
                        assert!(origin.is_possible(color));
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_computed_from_yuv_is_that_yuv_again(
            origin in 0usize..6, reach in 20.0..36.0f32, seed in 0usize..1000, format in 0usize..10,
            (x, y) in (-30.0..46.0f32, -30.0..38.0f32), (width, height) in (25.0..80.0f32, 25.0..80.0f32),
        ) {
            let origin = &ORIGINS[origin];
            let formats = [
                PixelFormat::Rgb, PixelFormat::Bgr, PixelFormat::Rgbx, PixelFormat::Bgrx, PixelFormat::Xrgb,
                PixelFormat::Xbgr, PixelFormat::Rgba, PixelFormat::Bgra, PixelFormat::Argb, PixelFormat::Abgr,
            ];
            let (channels, order) = formats[format].rgb_order().unwrap();
            let planes = picture(reach, seed);
            let mut bytes = vec![255; W * H * channels];
            for (place, color) in pixels(&planes, |y, chroma| converted(origin, y, chroma)).into_iter().enumerate() {
                prop_assert!(color.iter().all(|channel| is_inside(*channel)));
                (0..3).for_each(|channel| bytes[place * channels + order[channel]] = color[channel]);
            }
            let rect = Rect::new(x, y, width, height);
            let mut restorer = Restorer::default();
            let Some((restored, place)) = restorer.restore(&frame(formats[format], &bytes), &rect, SAME) else {
                // A part at the edge may show too few colours.
                let visible = rect.intersection(&whole());
                prop_assert!(visible.width.min(visible.height) < 10.0, "{rect:?}");
                return Ok(());
            };
            prop_assert_eq!((restored.matrix, restored.range, restored.pts), (origin.matrix, origin.range, 7));
            prop_assert_eq!((place.width, place.height), (width, height));
            let (left, top) = ((rect.x - place.x) as usize, (rect.y - place.y) as usize);
            for (index, (plane, sub)) in planes.iter().zip([1, 2, 2]).enumerate() {
                let (columns, rows) = (restored.width as usize / sub, restored.height as usize / sub);
                let have = restored.plane(index);
                for row in 0..rows {
                    let want = &plane[(top / sub + row) * (W / sub) + left / sub..][..columns];
                    prop_assert_eq!(&have.data[row * have.stride..][..columns], want);
                }
            }
            // All that is needed is there: the part touches no edge but the frame's.
            prop_assert!(place.x >= 0.0 || left == 0);
            prop_assert!(place.y >= 0.0 || top == 0);
            prop_assert!(place.right() <= restored.width as f32 || left + restored.width as usize == W);
            prop_assert!(place.bottom() <= restored.height as f32 || top + restored.height as usize == H);
        }

        #[test]
        fn other_pictures_are_left_alone(reach in 15.0..60.0f32, seed in 0usize..1000, matrix in 0usize..6) {
            let Origin { matrix, range, .. } = &ORIGINS[matrix];
            let (luma_scale, chroma_scale) = range.scales();
            // By the standard's formulas, rounded once.
            let exactly = |y: u8, chroma: [u8; 2]| {
                let [u, v] = chroma.map(|chroma| (f32::from(chroma) - 128.0) * chroma_scale);
                let luma = (f32::from(y) - range.black()) * luma_scale;
                matrix.chroma_weights().map(|[of_u, of_v]| (luma + of_u * u + of_v * v).round() as u8)
            };
            let bytes = pixels(&picture(reach, seed), exactly).concat();
            prop_assert!(Restorer::default().restore(&frame(PixelFormat::Rgb, &bytes), &whole(), SAME).is_none());
        }
    }

    #[test]
    fn what_becomes_much_smaller_is_restored_at_half_its_size() {
        let planes = picture(36.0, 5);
        let bytes = pixels(&planes, |y, chroma| converted(&ORIGINS[1], y, chroma)).concat();
        let mut restorer = Restorer::default();
        let frame = frame(PixelFormat::Rgb, &bytes);
        let (restored, place) = restorer.restore(&frame, &whole(), (12, 10)).unwrap();
        assert_eq!((restored.format, restored.width, restored.height), (PixelFormat::Y444, 24, 20));
        assert_eq!(place, Rect::new(0.0, 0.0, 24.0, 20.0));
        let mean = |at: usize| {
            let left = at / 24 * 2 * W + at % 24 * 2;
            mean_of([left, left + 1, left + W, left + W + 1].map(|place| planes[0][place]))
        };
        assert_eq!(restored.plane(0).data, (0..24 * 20).map(mean).collect::<Vec<_>>());
        assert_eq!([restored.plane(1).data, restored.plane(2).data], [&planes[1][..], &planes[2][..]]);
        for size in [(17, 10), (12, 14)] {
            let (restored, _) = restorer.restore(&frame, &whole(), size).unwrap();
            assert_eq!(restored.format, PixelFormat::I420, "{size:?}");
        }
    }

    #[test]
    fn what_shows_no_colours_is_left_alone() {
        let of_grey = |origin: &Origin| pixels(&picture(60.0, 0), |y, _| converted(origin, y, [128, 128])).concat();
        let one = vec![[90, 80, 70]; W * H].concat();
        for bytes in [of_grey(&ORIGINS[0]), one, vec![0; W * H * 3], vec![255; W * H * 3]] {
            assert!(Restorer::default().restore(&frame(PixelFormat::Rgb, &bytes), &whole(), SAME).is_none());
        }
    }

    #[test]
    fn a_part_outside_the_frame_is_none() {
        let bytes = pixels(&picture(40.0, 0), |y, chroma| converted(&ORIGINS[0], y, chroma)).concat();
        for rect in [Rect::new(48.0, 0.0, 9.0, 9.0), Rect::new(-9.0, 0.0, 9.0, 9.0), Rect::new(0.0, 1e9, 9.0, 9.0)] {
            assert!(Restorer::default().restore(&frame(PixelFormat::Rgb, &bytes), &rect, SAME).is_none());
        }
    }

    #[test]
    fn where_channels_end_at_their_limits_the_picture_is_nearly_the_same() {
        let origin = &ORIGINS[0];
        // From black to white, and from grey to a strong colour.
        let planes = [
            (0..W * H).map(|place| (16 + place % W * 219 / W) as u8).collect(),
            (0..W * H / 4).map(|place| 128 + (place / (W / 2) * 3) as u8).collect(),
            (0..W * H / 4).map(|place| 128 - (place / (W / 2)) as u8).collect(),
        ];
        let convert = |y, chroma| converted(origin, y, chroma);
        let bytes = pixels(&planes, convert).concat();
        assert!(bytes.contains(&0) && bytes.contains(&255));
        let mut restorer = Restorer::default();
        let (restored, _) = restorer.restore(&frame(PixelFormat::Rgb, &bytes), &whole(), SAME).unwrap();
        let again = pixels(&[0, 1, 2].map(|index| restored.plane(index).data.to_vec()), convert).concat();
        let off: Vec<_> = again.iter().zip(&bytes).map(|(again, byte)| again.abs_diff(*byte)).collect();
        // What went beyond a limit is not known, and half of this picture did.
        assert!(off.iter().all(|off| *off <= 8), "{:?}", off.iter().max());
        let mean = off.iter().map(|off| f32::from(*off)).sum::<f32>() / off.len() as f32;
        assert!(mean < 0.5, "{mean}");
    }
}
