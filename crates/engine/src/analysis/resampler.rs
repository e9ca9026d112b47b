//! Scaling a part of a plane, which may begin and end at sub-pixel places and reach over the plane's edge.
//!
//! Along an axis along which it shrinks, areas are averaged, as OpenCV's `INTER_AREA` does from whole samples; along one along which it
//! grows, samples are interpolated linearly. OpenCV goes through the source pixel by pixel unless the ratio is exactly two, and
//! begins at whole samples only. Here whole rows are summed first, which the compiler turns into vector instructions; then
//! columns, for eight rows of sums at a time, which lie side by side for that.

use std::ops::Range;

use super::frame::Plane;

/// Places and weights are whole numbers of this part of a sample.
const ONE: u32 = 256;
/// Sums of rows are kept in 16 bits, which suffices up to this ratio.
const GREATEST_RATIO: u64 = 250;
/// Output rows that are made together: 32-bit numbers in the widest vectors that many processors have.
const LANES: usize = 8;

/// Added to a float that 16 bits can hold, this leaves it in the lowest bits, rounded; halves to even numbers, without which
/// chroma that is halved in one direction alone would be too high by a quarter on average.
const ROUNDS: f32 = (3 << 22) as f32;

/// What an average of bytes is rounded to.
pub trait Level: Copy + Default {
    /// Of a level of 0..255.
    fn rounded(level: f32) -> Self;
}

/// Whole levels.
impl Level for u8 {
    #[inline(always)]
    fn rounded(level: f32) -> Self {
        (level + ROUNDS).to_bits() as Self
    }
}

/// Levels times [`FINE`].
impl Level for u16 {
    #[inline(always)]
    fn rounded(level: f32) -> Self {
        (level * FINE as f32 + ROUNDS).to_bits() as Self
    }
}

/// Parts of a level that 16 bits tell apart.
pub const FINE: u16 = 256;

/// A stretch of one axis of a plane, in [`ONE`]ths of a sample. May reach over the plane's ends: what lies outside is like the nearest
/// sample inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    start: i64,
    length: u64,
    /// Of the plane along this axis.
    samples: usize,
}

impl Stretch {
    /// `start` and `length` in samples. `None` if it does not touch the plane.
    pub fn new(start: f32, length: f32, samples: usize) -> Option<Self> {
        let parts = |samples: f32| (f64::from(samples) * f64::from(ONE)).round();
        let stretch = Self { start: parts(start) as i64, length: parts(length).max(1.0) as u64, samples };
        let (start, end) = (stretch.start, stretch.start + stretch.length as i64);
        (start < samples as i64 * i64::from(ONE) && end > 0).then_some(stretch)
    }

    /// Whether `target` output samples are more than what it holds.
    fn grows_to(&self, target: usize) -> bool {
        self.length < target as u64 * u64::from(ONE)
    }

    /// The samples that count for `target` output samples, also outside the plane.
    fn touched(&self, target: usize) -> Range<i64> {
        // Interpolation looks from the middle of one sample to that of the next.
        let reach = if self.grows_to(target) { i64::from(ONE / 2) } else { 0 };
        let (start, end) = (self.start - reach, self.start + self.length as i64 + reach);
        start.div_euclid(ONE.into())..-(-end).div_euclid(ONE.into())
    }

    /// Those of them that lie in the plane.
    pub fn inside(&self, target: usize) -> Range<usize> {
        let Range { start, end } = self.touched(target);
        start.max(0) as usize..(end as usize).min(self.samples)
    }

    /// The same stretch of a plane of which only `samples`, those [inside](Self::inside), are there.
    pub fn starting_at(&self, samples: &Range<usize>) -> Self {
        let start = self.start - samples.start as i64 * i64::from(ONE);
        Self { start, samples: samples.len(), ..*self }
    }

    /// Of `target` output samples, the one with this number.
    fn span(&self, index: usize, target: usize) -> Span {
        let touched = self.touched(target);
        let last = (touched.end - touched.start) as u32 - 1;
        let (index, target, begin) = (index as i64, target as i64, self.start - touched.start * i64::from(ONE));
        let length = self.length as i64;
        if self.grows_to(target as usize) {
            let middle = begin + ((2 * index + 1) * length + target) / (2 * target) - i64::from(ONE / 2);
            let (place, share) = (middle as u32 / ONE, middle as u32 % ONE);
            let (head, tail) = ((place, ONE - share), ((place + 1).min(last), share));
            return Span { head, whole: (place, place), tail, scale: 1.0 / ONE as f32 };
        }
        let edge = |index: i64| (begin + index * length / target) as u32;
        let (start, stop) = (edge(index), edge(index + 1));
        let (first, end) = (start.div_ceil(ONE), stop / ONE);
        // An index with weight 0 is read too: it must lie inside.
        let (head, tail) = (((start / ONE).min(last), first * ONE - start), (end.min(last), stop - end * ONE));
        Span { head, whole: (first, end), tail, scale: 1.0 / (stop - start) as f32 }
    }

    /// How many whole samples each of `target` output samples is the mean of, if it is.
    fn whole_ratio(&self, target: usize) -> Option<usize> {
        let (one, target) = (u64::from(ONE), target as u64);
        let is_whole = self.start.rem_euclid(ONE.into()) == 0 && self.length.is_multiple_of(one * target);
        is_whole.then_some((self.length / (one * target)) as usize)
    }

    fn spans(&self, target: usize, spans: &mut Vec<Span>) {
        spans.clear();
        spans.extend((0..target).map(|index| self.span(index, target)));
    }
}

/// The samples that one output sample is made of along one axis: some in whole, and a part of one at either end. Counted from the first that
/// the stretch touches.
#[derive(Clone, Copy)]
struct Span {
    /// Index and weight, up to [`ONE`], of the sample before those in whole; weight 0 if there is none.
    head: (u32, u32),
    /// The first that counts in whole, and the one after the last.
    whole: (u32, u32),
    /// Index and weight of the sample after them; weight 0 if there is none.
    tail: (u32, u32),
    /// 1 / sum of all weights.
    scale: f32,
}

/// What is scaled: a stretch of a plane in either direction.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub plane: Plane<'a>,
    pub across: Stretch,
    pub down: Stretch,
}

impl Part<'_> {
    /// Whether it can be scaled to so many columns and rows: up to [`GREATEST_RATIO`] times smaller.
    pub fn scales_to(&self, width: usize, height: usize) -> bool {
        let fits = |stretch: &Stretch, target: usize| {
            target > 0 && stretch.length / (target as u64 * u64::from(ONE)) < GREATEST_RATIO
        };
        fits(&self.across, width) && fits(&self.down, height)
    }
}

/// Scales parts of planes. Keeps its buffers between calls.
#[derive(Default)]
pub struct Resampler {
    across: Vec<Span>,
    down: Vec<Span>,
    /// Sum of the rows that an output row covers in whole.
    whole_rows: Vec<u16>,
    /// The same with the parts of rows at either end, in steps of 1/128 to 1/256 of an average grey level.
    sums: Vec<i32>,
    /// For each sample of a row, those sums for [`LANES`] output rows.
    row_sums: Vec<[i32; LANES]>,
    /// What comes out for each sample of those rows.
    block: Vec<[f32; LANES]>,
}

impl Resampler {
    /// Scales samples of `channels` bytes, one to four, to `width` columns of as many [levels](Level), and as many rows as `target` has,
    /// without gaps.
    ///
    /// # Panics
    /// If the plane is too short, or the part [does not scale](Part::scales_to) to this.
    pub fn resample<L: Level>(&mut self, part: &Part, channels: usize, width: usize, target: &mut [L]) {
        match channels {
            1 => self.resample_channels::<1, L>(part, width, target),
            2 => self.resample_channels::<2, L>(part, width, target),
            3 => self.resample_channels::<3, L>(part, width, target),
            4 => self.resample_channels::<4, L>(part, width, target),
            _ => unreachable!("no format has {channels} channels"),
        }
    }

    fn resample_channels<const CHANNELS: usize, L: Level>(&mut self, part: &Part, width: usize, target: &mut [L]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { self.resample_avx2::<CHANNELS, L>(part, width, target) };
        }
        self.resample_anywhere::<CHANNELS, L>(part, width, target);
    }

    /// The same code with vectors twice as wide as those that every x86-64 has.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn resample_avx2<const CHANNELS: usize, L: Level>(&mut self, part: &Part, width: usize, target: &mut [L]) {
        self.resample_anywhere::<CHANNELS, L>(part, width, target);
    }

    /// Inlined, as what it calls, so that it is compiled for whatever the caller is.
    #[inline(always)]
    fn resample_anywhere<const CHANNELS: usize, L: Level>(&mut self, part: &Part, width: usize, target: &mut [L]) {
        let Part { plane, across, down } = part;
        let height = target.len() / (width * CHANNELS);
        assert!(part.scales_to(width, height), "{across:?}, {down:?} to {width}×{height}");
        let (columns, inside) = (across.touched(width), across.inside(width));
        let first_row = down.touched(height).start;
        let length = inside.len() * CHANNELS;
        let left = (inside.start as i64 - columns.start) as usize * CHANNELS;
        let right = left + length;
        // The bytes of the plane that lie in the touched row of this number.
        let row = |index: u32| {
            let row = (first_row + i64::from(index)).clamp(0, down.samples as i64 - 1) as usize;
            &plane.data[row * plane.stride + inside.start * CHANNELS..][..length]
        };
        // How most pictures for the detector are made: five times as fast.
        if let (Some(high), Some(wide)) = (down.whole_ratio(height), across.whole_ratio(width)) {
            let whole_rows = &mut self.whole_rows;
            whole_rows.resize((columns.end - columns.start) as usize * CHANNELS, 0);
            for (index, target) in target.chunks_exact_mut(width * CHANNELS).enumerate() {
                let (first, end) = ((index * high) as u32, ((index + 1) * high) as u32);
                sum_rows((first..end).map(row), &mut whole_rows[left..right]);
                repeat_edges::<CHANNELS, _>(whole_rows, left, right);
                let scale = 1.0 / (high * wide) as f32;
                // The ratios of common sizes, once more so that the compiler knows them.
                match wide {
                    1 => mean_columns::<CHANNELS, L>(whole_rows, 1, scale, target),
                    2 => mean_columns::<CHANNELS, L>(whole_rows, 2, scale, target),
                    3 => mean_columns::<CHANNELS, L>(whole_rows, 3, scale, target),
                    4 => mean_columns::<CHANNELS, L>(whole_rows, 4, scale, target),
                    _ => mean_columns::<CHANNELS, L>(whole_rows, wide, scale, target),
                }
            }
            return;
        }
        across.spans(width, &mut self.across);
        down.spans(height, &mut self.down);
        // Brings sums of any number of rows to about the same size.
        let rows = down.length.div_ceil(u64::from(ONE) * height as u64);
        let shift = rows.next_power_of_two().trailing_zeros();
        self.row_sums.resize((columns.end - columns.start) as usize * CHANNELS, [0; LANES]);
        self.block.resize(width * CHANNELS, [0.0; LANES]);
        self.whole_rows.resize(length, 0);
        self.sums.resize(length, 0);
        let strips = self.down.chunks(LANES).zip(target.chunks_mut(width * CHANNELS * LANES));
        for (spans, target) in strips {
            let mut scales = [0.0; LANES];
            for (lane, span) in spans.iter().enumerate() {
                sum_rows((span.whole.0..span.whole.1).map(row), &mut self.whole_rows);
                let (head, tail) = (row(span.head.0), row(span.tail.0));
                let (head_weight, tail_weight) = (span.head.1 as u16, span.tail.1 as u16);
                for (((sum, whole), head), tail) in self.sums.iter_mut().zip(&self.whole_rows).zip(head).zip(tail) {
                    // No more than 255 × 256 each: 16-bit products are the ones that every processor has vector instructions for.
                    let (head, tail) = (u16::from(*head) * head_weight, u16::from(*tail) * tail_weight);
                    *sum = ((u32::from(*whole) * ONE + u32::from(head) + u32::from(tail)) >> shift) as i32;
                }
                for (sums, sum) in self.row_sums[left..right].iter_mut().zip(&self.sums) {
                    sums[lane] = *sum;
                }
                scales[lane] = span.scale * (1 << shift) as f32;
            }
            repeat_edges::<CHANNELS, _>(&mut self.row_sums, left, right);
            for (span, block) in self.across.iter().zip(self.block.as_chunks_mut::<CHANNELS>().0) {
                resample_columns::<CHANNELS>(&self.row_sums, span, &scales, block);
            }
            for (lane, target) in target.chunks_exact_mut(width * CHANNELS).enumerate() {
                for (target, block) in target.iter_mut().zip(&self.block) {
                    *target = L::rounded(block[lane]);
                }
            }
        }
    }
}

/// Gives what lies before `left` and from `right` on the values of the nearest sample between.
#[inline(always)]
fn repeat_edges<const CHANNELS: usize, T: Copy>(row: &mut [T], left: usize, right: usize) {
    for place in (0..left).step_by(CHANNELS) {
        row.copy_within(left..left + CHANNELS, place);
    }
    for place in (right..row.len()).step_by(CHANNELS) {
        row.copy_within(right - CHANNELS..right, place);
    }
}

/// Means of `wide` samples each.
#[inline(always)]
fn mean_columns<const CHANNELS: usize, L: Level>(row: &[u16], wide: usize, scale: f32, target: &mut [L]) {
    let samples = row.as_chunks::<CHANNELS>().0.chunks_exact(wide);
    for (target, samples) in target.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(samples) {
        for (channel, target) in target.iter_mut().enumerate() {
            let sum: u32 = samples.iter().map(|sample| u32::from(sample[channel])).sum();
            *target = L::rounded(sum as f32 * scale);
        }
    }
}

/// One output pixel of [`LANES`] rows.
#[inline(always)]
fn resample_columns<const CHANNELS: usize>(
    row_sums: &[[i32; LANES]],
    span: &Span,
    scales: &[f32; LANES],
    block: &mut [[f32; LANES]],
) {
    let at = |column: u32, channel: usize| &row_sums[column as usize * CHANNELS + channel];
    for (channel, block) in block.iter_mut().enumerate() {
        let mut whole = [0; LANES];
        let columns = &row_sums[span.whole.0 as usize * CHANNELS..span.whole.1 as usize * CHANNELS];
        for column in columns.as_chunks::<CHANNELS>().0 {
            for (sum, value) in whole.iter_mut().zip(&column[channel]) {
                *sum += value;
            }
        }
        let (head, tail) = (at(span.head.0, channel), at(span.tail.0, channel));
        for lane in 0..LANES {
            let ends = head[lane] * span.head.1 as i32 + tail[lane] * span.tail.1 as i32;
            let total = (whole[lane] as f32 * ONE as f32 + ends as f32) * span.scale;
            block[lane] = total * scales[lane];
        }
    }
}

/// Sums rows of bytes, column by column, four rows at a time.
#[inline(always)]
fn sum_rows<'a>(mut rows: impl ExactSizeIterator<Item = &'a [u8]>, sums: &mut [u16]) {
    sums.fill(0);
    while rows.len() >= 4 {
        let [a, b, c, d] = std::array::from_fn(|_| rows.next().expect("four are left"));
        for ((((sum, a), b), c), d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *sum += u16::from(*a) + u16::from(*b) + u16::from(*c) + u16::from(*d);
        }
    }
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += u16::from(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::{self, Mat, Size};
    use opencv::imgproc;
    use opencv::prelude::*;
    use proptest::prelude::*;

    use super::*;

    /// The same by OpenCV.
    fn by_opencv(source: &[u8], columns: usize, channels: usize, width: usize, height: usize) -> Vec<u8> {
        let rows = source.len() / columns / channels;
        let flat = Mat::from_slice(source).unwrap();
        let source = flat.reshape(channels as i32, rows as i32).unwrap();
        let mut target = Mat::default();
        let size = Size::new(width as i32, height as i32);
        imgproc::resize(&source, &mut target, size, 0.0, 0.0, imgproc::INTER_AREA).unwrap();
        assert_eq!(target.typ(), core::CV_8UC(channels as i32));
        target.data_bytes().unwrap().to_vec()
    }

    fn scaled(source: &[u8], columns: usize, channels: usize, width: usize, height: usize) -> Vec<u8> {
        let plane = Plane { data: source, stride: columns * channels };
        part_scaled(&whole(plane, columns, source.len() / columns / channels), channels, width, height)
    }

    fn whole(plane: Plane<'_>, columns: usize, rows: usize) -> Part<'_> {
        let all = |samples: usize| Stretch::new(0.0, samples as f32, samples).unwrap();
        Part { plane, across: all(columns), down: all(rows) }
    }

    fn part_scaled<L: Level + PartialEq>(part: &Part, channels: usize, width: usize, height: usize) -> Vec<L> {
        let mut target = vec![L::default(); width * height * channels];
        let mut plain = target.clone();
        let mut resampler = Resampler::default();
        resampler.resample(part, channels, width, &mut target);
        match channels {
            1 => resampler.resample_anywhere::<1, L>(part, width, &mut plain),
            2 => resampler.resample_anywhere::<2, L>(part, width, &mut plain),
            3 => resampler.resample_anywhere::<3, L>(part, width, &mut plain),
            _ => resampler.resample_anywhere::<4, L>(part, width, &mut plain),
        }
        assert!(target == plain, "what it is compiled for makes a difference");
        target
    }

    /// The same with what lies around it written out.
    fn padded(
        data: &[u8],
        stride: usize,
        inner: (usize, usize),
        before: (usize, usize),
        size: (usize, usize),
        channels: usize,
    ) -> Vec<u8> {
        let nearest = |index: usize, before: usize, inner: usize| index.saturating_sub(before).min(inner - 1);
        let places = (0..size.1).flat_map(|row| (0..size.0).map(move |column| (column, row)));
        places
            .flat_map(|(column, row)| {
                let column = nearest(column, before.0, inner.0);
                let row = nearest(row, before.1, inner.1);
                data[row * stride + column * channels..][..channels].to_vec()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn it_is_what_opencv_does(
            (width, height) in (1usize..20, 1usize..20), (wider, higher) in (0usize..100, 0usize..100),
            channels in 1usize..5, seed: u32,
        ) {
            let (columns, rows) = (width + wider, height + higher);
            let noise = |index: usize| (index as u32 ^ seed).wrapping_mul(2_654_435_761).rotate_left(13) as u8;
            let source: Vec<u8> = (0..columns * rows * channels).map(noise).collect();
            let ours = scaled(&source, columns, channels, width, height);
            let theirs = by_opencv(&source, columns, channels, width, height);
            let worst = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            prop_assert!(worst <= 1, "off by {}", worst);
            let part = whole(Plane { data: &source, stride: columns * channels }, columns, rows);
            let fine: Vec<u16> = part_scaled(&part, channels, width, height);
            // To the nearest whole level of what was not rounded; the sums of rows keep 7 bits behind the point.
            let of_fine = fine.iter().zip(&ours).map(|(fine, ours)| (f32::from(*fine) / f32::from(FINE) - f32::from(*ours)).abs());
            prop_assert!(of_fine.fold(0.0, f32::max) <= 0.502);
        }
    }

    proptest! {
        #[test]
        fn what_lies_around_a_part_repeats_its_edge(
            inner in (1usize..40, 1usize..40), before in (0usize..30, 0usize..30), after in (0usize..30, 0usize..30),
            smaller in (0.0..1.0, 0.0..1.0), channels in 1usize..5, gap in 0usize..5, seed: u32,
        ) {
            let size = (before.0 + inner.0 + after.0, before.1 + inner.1 + after.1);
            let stride = inner.0 * channels + gap;
            let noise = |index: usize| (index as u32 ^ seed).wrapping_mul(2_654_435_761).rotate_left(13) as u8;
            let data: Vec<u8> = (0..stride * inner.1).map(noise).collect();
            let across = Stretch::new(-(before.0 as f32), size.0 as f32, inner.0).unwrap();
            let down = Stretch::new(-(before.1 as f32), size.1 as f32, inner.1).unwrap();
            let part = Part { plane: Plane { data: &data, stride }, across, down };
            let part_of = |whole: usize, share: f64| ((whole as f64 * share) as usize).max(1);
            let (width, height) = (part_of(size.0, smaller.0), part_of(size.1, smaller.1));
            let padded = padded(&data, stride, inner, before, size, channels);
            prop_assert_eq!(part_scaled::<u8>(&part, channels, width, height), scaled(&padded, size.0, channels, width, height));
        }
    }

    #[test]
    fn even_colours_stay_at_the_greatest_ratios() {
        for value in [0, 1, 127, 254, 255] {
            let (columns, rows) = (7680, 4320);
            let source = vec![value; columns * rows];
            assert!(scaled(&source, columns, 1, 32, 18).iter().all(|out| *out == value));
        }
        let plane = Plane { data: &[], stride: 0 };
        let scales = |length: f32, target: usize| {
            let stretch = Stretch::new(0.0, length, 7680).unwrap();
            Part { plane, across: stretch, down: stretch }.scales_to(target, 1000)
        };
        assert!(!scales(7680.0, 30) && scales(7680.0, 31) && scales(10.0, 11) && !scales(10.0, 0));
    }
}
