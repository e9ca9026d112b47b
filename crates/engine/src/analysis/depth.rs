//! Samples of 10 bits as bytes, which is what the [resampler](super::resampler) scales.
//!
//! Scaling is linear: the upper 8 bits are scaled by themselves, the lower 2 by themselves, and their sum is what scaling all 10
//! would have given. Only the part that is scaled is unpacked.

use super::frame::{Depth, Plane};
use super::resampler::Part;

/// The upper 8 and the lower 2 bits of the samples of a part. Keeps its memory.
#[derive(Default)]
pub struct Unpacked {
    upper: Vec<u8>,
    lower: Vec<u8>,
}

impl Unpacked {
    /// Unpacks what counts for `width` × `height` output samples of `channels` each. Returns the part's upper bits, and its lower.
    ///
    /// # Panics
    /// If the plane is too short.
    pub fn of(
        &mut self,
        part: &Part,
        depth: Depth,
        channels: usize,
        (width, height): (usize, usize),
    ) -> (Part<'_>, Part<'_>) {
        let (columns, rows) = (part.across.inside(width), part.down.inside(height));
        let stride = columns.len() * channels;
        self.upper.resize(stride * rows.len(), 0);
        self.lower.resize(stride * rows.len(), 0);
        let targets = self.upper.chunks_exact_mut(stride).zip(self.lower.chunks_exact_mut(stride));
        for (row, (upper, lower)) in rows.clone().zip(targets) {
            let row = &part.plane.data[row * part.plane.stride..];
            let mut put = |index: usize, value: u16| {
                upper[index] = (value >> 2) as u8;
                lower[index] = (value & 3) as u8;
            };
            match depth {
                Depth::Packed10 => {
                    let pixels = &row[columns.start * 4..columns.end * 4];
                    for (column, pixel) in pixels.as_chunks::<4>().0.iter().enumerate() {
                        let bits = u32::from_le_bytes(*pixel);
                        for channel in 0..channels.min(3) {
                            put(column * channels + channel, (bits >> (10 * channel) & 0x3ff) as u16);
                        }
                    }
                }
                _ => {
                    let shift = if depth == Depth::Upper10 { 6 } else { 0 };
                    let samples = &row[columns.start * channels * 2..columns.end * channels * 2];
                    for (index, sample) in samples.as_chunks::<2>().0.iter().enumerate() {
                        put(index, u16::from_le_bytes(*sample) >> shift & 0x3ff);
                    }
                }
            }
        }
        let (across, down) = (part.across.starting_at(&columns), part.down.starting_at(&rows));
        let bits = |data| Part { plane: Plane { data, stride }, across, down };
        (bits(&self.upper), bits(&self.lower))
    }
}
