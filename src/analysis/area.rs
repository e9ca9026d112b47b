//! Shrinking by averaging areas, at any ratio: what OpenCV's `INTER_AREA` does, several times as fast.
//!
//! OpenCV goes through the source pixel by pixel unless the ratio is exactly two. Here whole rows are summed first, which
//! the compiler turns into vector instructions; then columns, for eight rows of sums at a time, which lie side by side for that.

use super::frame::Plane;

/// Weights are whole numbers of this part of a pixel.
const ONE: u32 = 256;
/// Sums of rows are kept in 16 bits, which suffices up to this ratio.
const GREATEST_RATIO: usize = 250;
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

/// The pixels that one output pixel covers along one axis: some in whole, and a part of one at either end.
#[derive(Clone, Copy)]
struct Span {
    /// Index and weight of the pixel before those covered in whole; weight 0 if there is none.
    head: (u32, u32),
    /// The pixels covered in whole.
    first: u32,
    end: u32,
    /// Index and weight of the pixel after them; weight 0 if there is none.
    tail: (u32, u32),
    /// 1 / sum of all weights.
    scale: f32,
}

impl Span {
    /// Of output pixel `index` of `target`, from `source` ≥ `target` pixels.
    fn of(index: usize, source: usize, target: usize) -> Self {
        let edge = |index: usize| (index * source * ONE as usize / target) as u32;
        let (start, stop) = (edge(index), edge(index + 1));
        let (first, end) = (start.div_ceil(ONE), stop / ONE);
        let last = source as u32 - 1;
        let scale = 1.0 / (stop - start) as f32;
        // An index with weight 0 is read too: it must lie inside.
        let head = ((start / ONE).min(last), first * ONE - start);
        Self { head, first, end, tail: (end.min(last), stop - end * ONE), scale }
    }

    fn all(source: usize, target: usize, spans: &mut Vec<Self>) {
        spans.clear();
        spans.extend((0..target).map(|index| Self::of(index, source, target)));
    }
}

/// What is shrunk: samples of a plane, and around them as many as it takes to come to a size, all like the nearest one of the plane.
pub struct Part<'a> {
    pub plane: Plane<'a>,
    /// Columns and rows of the plane.
    pub inner: (usize, usize),
    /// Columns to the left of it and rows above it.
    pub before: (usize, usize),
    /// Columns and rows in all.
    pub size: (usize, usize),
}

impl<'a> Part<'a> {
    /// The `length` bytes of the plane that lie in row `index` of all rows.
    #[inline(always)]
    fn row(&self, index: u32, length: usize) -> &'a [u8] {
        let inner = (index as usize).saturating_sub(self.before.1).min(self.inner.1 - 1);
        &self.plane.data[inner * self.plane.stride..][..length]
    }
}

/// Shrinks planes. Keeps its buffers between calls.
#[derive(Default)]
pub struct Shrinker {
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

impl Shrinker {
    /// Whether [`shrink`](Self::shrink) takes these sizes: (columns, rows) before and after.
    pub fn takes(source: (usize, usize), target: (usize, usize)) -> bool {
        let fits = |source: usize, target: usize| target > 0 && source >= target && source / target < GREATEST_RATIO;
        fits(source.0, target.0) && fits(source.1, target.1)
    }

    /// Shrinks samples of `CHANNELS` bytes to `width` columns of as many [levels](Level), and as many rows as `target` has, without gaps.
    ///
    /// # Panics
    /// If the plane is too short, or the sizes are not [taken](Self::takes).
    pub fn shrink<const CHANNELS: usize, L: Level>(&mut self, source: &Part, width: usize, target: &mut [L]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { self.shrink_avx2::<CHANNELS, L>(source, width, target) };
        }
        self.shrink_anywhere::<CHANNELS, L>(source, width, target);
    }

    /// The same code with vectors twice as wide as those that every x86-64 has.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn shrink_avx2<const CHANNELS: usize, L: Level>(&mut self, source: &Part, width: usize, target: &mut [L]) {
        self.shrink_anywhere::<CHANNELS, L>(source, width, target);
    }

    /// Inlined, as what it calls, so that it is compiled for whatever the caller is.
    #[inline(always)]
    fn shrink_anywhere<const CHANNELS: usize, L: Level>(&mut self, source: &Part, width: usize, target: &mut [L]) {
        let (columns, rows) = source.size;
        let height = target.len() / (width * CHANNELS);
        assert!(Self::takes((columns, rows), (width, height)), "{columns}×{rows} to {width}×{height}");
        Span::all(columns, width, &mut self.across);
        Span::all(rows, height, &mut self.down);
        let length = source.inner.0 * CHANNELS;
        let (left, right) = (source.before.0 * CHANNELS, source.before.0 * CHANNELS + length);
        let row = |index: u32| source.row(index, length);
        // Brings sums of any number of rows to about the same size.
        let shift = rows.div_ceil(height).next_power_of_two().trailing_zeros();
        self.row_sums.resize(columns * CHANNELS, [0; LANES]);
        self.block.resize(width * CHANNELS, [0.0; LANES]);
        let strips = self.down.chunks(LANES).zip(target.chunks_mut(width * CHANNELS * LANES));
        for (spans, target) in strips {
            let mut scales = [0.0; LANES];
            for (lane, span) in spans.iter().enumerate() {
                sum_rows((span.first..span.end).map(row), length, &mut self.whole_rows);
                let (head, tail) = (row(span.head.0), row(span.tail.0));
                let (head_weight, tail_weight) = (span.head.1 as u16, span.tail.1 as u16);
                self.sums.resize(length, 0);
                for (((sum, whole), head), tail) in self.sums.iter_mut().zip(&self.whole_rows).zip(head).zip(tail) {
                    // Below 256 × 256 each: 16-bit products are the ones that every processor has vector instructions for.
                    let (head, tail) = (u16::from(*head) * head_weight, u16::from(*tail) * tail_weight);
                    *sum = ((u32::from(*whole) * ONE + u32::from(head) + u32::from(tail)) >> shift) as i32;
                }
                for (sums, sum) in self.row_sums[left..right].iter_mut().zip(&self.sums) {
                    sums[lane] = *sum;
                }
                scales[lane] = span.scale * (1 << shift) as f32;
            }
            repeat_edges::<CHANNELS>(&mut self.row_sums, left, right);
            for (span, block) in self.across.iter().zip(self.block.as_chunks_mut::<CHANNELS>().0) {
                shrink_columns::<CHANNELS>(&self.row_sums, span, &scales, block);
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
fn repeat_edges<const CHANNELS: usize>(row_sums: &mut [[i32; LANES]], left: usize, right: usize) {
    for place in (0..left).step_by(CHANNELS) {
        row_sums.copy_within(left..left + CHANNELS, place);
    }
    for place in (right..row_sums.len()).step_by(CHANNELS) {
        row_sums.copy_within(right - CHANNELS..right, place);
    }
}

/// One output pixel of [`LANES`] rows.
#[inline(always)]
fn shrink_columns<const CHANNELS: usize>(
    row_sums: &[[i32; LANES]],
    span: &Span,
    scales: &[f32; LANES],
    block: &mut [[f32; LANES]],
) {
    let at = |column: u32, channel: usize| &row_sums[column as usize * CHANNELS + channel];
    for (channel, block) in block.iter_mut().enumerate() {
        let mut whole = [0; LANES];
        let columns = &row_sums[span.first as usize * CHANNELS..span.end as usize * CHANNELS];
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

/// Halves a plane of two bytes a sample to `columns` columns, and as many rows as `target` has, without gaps: as OpenCV's `INTER_AREA`
/// does with those of one, three and four, so that NV12's chroma becomes what I420's does. OpenCV rounds halves up, but with two bytes
/// to even numbers.
pub fn halve_pairs(source: Plane, columns: usize, target: &mut [u8]) {
    for (index, target) in target.chunks_exact_mut(2 * columns).enumerate() {
        let row = |index: usize| source.data[index * source.stride..][..4 * columns].as_chunks::<4>().0;
        let rows = row(2 * index).iter().zip(row(2 * index + 1));
        for (target, (above, below)) in target.as_chunks_mut::<2>().0.iter_mut().zip(rows) {
            for (channel, target) in target.iter_mut().enumerate() {
                let sum: u16 =
                    [above, below].iter().flat_map(|row| [row[channel], row[channel + 2]]).map(u16::from).sum();
                *target = ((sum + 2) / 4) as u8;
            }
        }
    }
}

/// Sums rows of bytes, column by column, four rows at a time.
#[inline(always)]
fn sum_rows<'a>(mut rows: impl ExactSizeIterator<Item = &'a [u8]>, length: usize, sums: &mut Vec<u16>) {
    sums.clear();
    sums.resize(length, 0);
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

    fn shrunk(source: &[u8], columns: usize, channels: usize, width: usize, height: usize) -> Vec<u8> {
        let plane = Plane { data: source, stride: columns * channels };
        let size = (columns, source.len() / columns / channels);
        part_shrunk(&Part { plane, inner: size, before: (0, 0), size }, channels, width, height)
    }

    fn part_shrunk<L: Level + PartialEq>(part: &Part, channels: usize, width: usize, height: usize) -> Vec<L> {
        let mut target = vec![L::default(); width * height * channels];
        let mut plain = target.clone();
        let mut shrinker = Shrinker::default();
        match channels {
            1 => shrinker.shrink::<1, L>(part, width, &mut target),
            2 => shrinker.shrink::<2, L>(part, width, &mut target),
            3 => shrinker.shrink::<3, L>(part, width, &mut target),
            _ => shrinker.shrink::<4, L>(part, width, &mut target),
        }
        match channels {
            1 => shrinker.shrink_anywhere::<1, L>(part, width, &mut plain),
            2 => shrinker.shrink_anywhere::<2, L>(part, width, &mut plain),
            3 => shrinker.shrink_anywhere::<3, L>(part, width, &mut plain),
            _ => shrinker.shrink_anywhere::<4, L>(part, width, &mut plain),
        }
        assert!(target == plain, "what it is compiled for makes a difference");
        target
    }

    /// The same with what lies around it written out.
    fn padded(part: &Part, channels: usize) -> Vec<u8> {
        let nearest = |index: usize, before: usize, inner: usize| index.saturating_sub(before).min(inner - 1);
        let (columns, rows) = part.size;
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
        places
            .flat_map(|(column, row)| {
                let column = nearest(column, part.before.0, part.inner.0);
                let row = nearest(row, part.before.1, part.inner.1);
                part.plane.data[row * part.plane.stride + column * channels..][..channels].to_vec()
            })
            .collect()
    }

    #[test]
    fn pairs_are_halved_as_each_of_their_bytes_by_itself() {
        let (columns, rows) = (62, 10);
        let bytes = (0..columns * rows * 2).map(|place| (place as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]);
        let source: Vec<u8> = bytes.collect();
        let mut target = vec![0; columns * rows / 2];
        halve_pairs(Plane { data: &source, stride: columns * 2 }, columns / 2, &mut target);
        for channel in 0..2 {
            let of = |pairs: &[u8]| pairs.iter().skip(channel).step_by(2).copied().collect::<Vec<_>>();
            assert_eq!(of(&target), by_opencv(&of(&source), columns, 1, columns / 2, rows / 2));
        }
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
            let ours = shrunk(&source, columns, channels, width, height);
            let theirs = by_opencv(&source, columns, channels, width, height);
            let worst = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            prop_assert!(worst <= 1, "off by {}", worst);
            let size = (columns, rows);
            let part = Part { plane: Plane { data: &source, stride: columns * channels }, inner: size, before: (0, 0), size };
            let fine: Vec<u16> = part_shrunk(&part, channels, width, height);
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
            let part = Part { plane: Plane { data: &data, stride }, inner, before, size };
            let part_of = |whole: usize, share: f64| ((whole as f64 * share) as usize).max(1);
            let (width, height) = (part_of(size.0, smaller.0), part_of(size.1, smaller.1));
            prop_assert_eq!(part_shrunk::<u8>(&part, channels, width, height), shrunk(&padded(&part, channels), size.0, channels, width, height));
        }
    }

    #[test]
    fn even_colours_stay_at_the_greatest_ratios() {
        for value in [0, 1, 127, 254, 255] {
            let (columns, rows) = (7680, 4320);
            let source = vec![value; columns * rows];
            assert!(shrunk(&source, columns, 1, 32, 18).iter().all(|out| *out == value));
        }
        assert!(!Shrinker::takes((7680, 4320), (30, 18)));
        assert!(!Shrinker::takes((10, 10), (11, 10)));
    }
}
