//! Which detection belongs to which track.
//!
//! One distance for position and size, squared, and the assignment that is best for all together (Kuhn-Munkres).
//! Squared, because with plain distances two faces that pass each other on a line can be swapped at no cost.

use pathfinding::{kuhn_munkres::kuhn_munkres, matrix::Matrix};

use crate::analysis::geometry::Rect;

/// How far a face may be from its prediction, in box sides. Two frames of a 10 Hz detector and a running person.
const NEAR: f32 = 0.7;
/// What each second without a sight adds to that for a face at rest, for each box side per second of its speed when it
/// was last seen (it may have gone on, or stopped), and the most it may come to.
const REACH_PER_SECOND: f32 = 0.3;
const REACH_PER_SPEED: f32 = 0.5;
const FARTHEST: f32 = 1.8;
/// How far a face strays from its prediction, in box sides: at once, since boxes tremble and faces start with a jerk, and each
/// second. One that goes further is not seen, and looked for further away in the next frame.
const STRAYS: f32 = 0.25;
const STRAYS_PER_SECOND: f32 = 3.0;
/// A face may be this much larger or smaller than its track (natural logarithm: ×1.8), …
const SIZE_GATE: f32 = 0.6;
/// … and what each second without a sight adds to that.
const SIZE_GATE_PER_SECOND: f32 = 0.3;
/// What a size ratio of e counts as in box sides, when candidates are compared.
const SIZE_WEIGHT: f32 = 0.6;
/// What a match beyond [`NEAR`] is worth beside a near one: less than any that it could push away.
const FAR_WORTH: f32 = 0.01;

/// Where a track should be now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub rect: Rect,
    /// Seconds since it was last seen.
    pub unseen_s: f32,
    /// When last seen, in box sides per second.
    pub speed: f32,
}

/// What it is worth to give `detection` to the track: 0..1, or `None` where it cannot be the same face.
pub(super) fn worth(track: &Expected, detection: &Rect) -> Option<f32> {
    let (from, to) = (track.rect.center(), detection.center());
    // In a crowd nearly all pairs are far apart, and need no roots and logarithms.
    let longest = track.rect.width.max(track.rect.height).max(detection.width).max(detection.height);
    if (to.x - from.x).abs().max((to.y - from.y).abs()) > FARTHEST * longest {
        return None;
    }
    let side = (track.rect.area() * detection.area()).sqrt().sqrt();
    let distance = (to.x - from.x).hypot(to.y - from.y) / side;
    let growth = (detection.area() / track.rect.area()).ln().abs() / 2.0;
    let gate = gate(track.unseen_s, track.speed);
    if distance >= gate || growth >= SIZE_GATE + SIZE_GATE_PER_SECOND * track.unseen_s {
        return None;
    }
    let squared = distance.powi(2) + (SIZE_WEIGHT * growth).powi(2);
    let near = (1.0 - squared / NEAR.powi(2)).max(0.0);
    Some(near * (1.0 - FAR_WORTH) + FAR_WORTH * (1.0 - distance / gate))
}

/// How far, in box sides, a face may be from where it is expected.
fn gate(unseen_s: f32, speed: f32) -> f32 {
    (NEAR + (REACH_PER_SECOND + REACH_PER_SPEED * speed) * unseen_s).min(FARTHEST)
}

/// How far from where it is expected a face is worth looking for, in box sides: further the longer it was not seen, and never
/// further than it would be [taken](worth).
pub(super) fn reach(track: &Expected) -> f32 {
    (STRAYS + STRAYS_PER_SECOND * track.unseen_s).min(gate(track.unseen_s, track.speed))
}

/// Finds assignments; keeps its memory from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Assigner {
    /// Row by row; 0 where the pair is impossible.
    worths: Vec<i64>,
    /// How many columns each row could take, and the other way round.
    choices_of_row: Vec<u32>,
    choices_of_column: Vec<u32>,
    pairs: Vec<(usize, usize)>,
}

impl Assigner {
    /// Pairs of (row, column) whose worth is largest in sum; no row or column twice. `worth` is 0..1, `None` for impossible.
    pub fn assign(
        &mut self,
        rows: usize,
        columns: usize,
        worth: impl Fn(usize, usize) -> Option<f32>,
    ) -> &[(usize, usize)] {
        self.pairs.clear();
        self.worths.clear();
        self.choices_of_row.clear();
        self.choices_of_row.resize(rows, 0);
        self.choices_of_column.clear();
        self.choices_of_column.resize(columns, 0);
        for row in 0..rows {
            for column in 0..columns {
                // The matching wants integers; a possible pair is never worth nothing.
                let worth = worth(row, column).map_or(0, |worth| ((f64::from(worth) * 1e9) as i64).max(1));
                self.worths.push(worth);
                self.choices_of_row[row] += u32::from(worth > 0);
                self.choices_of_column[column] += u32::from(worth > 0);
            }
        }
        // Faces apart from all others, the usual case, need no search.
        for row in 0..rows {
            if self.choices_of_row[row] != 1 {
                continue;
            }
            let line = &self.worths[row * columns..(row + 1) * columns];
            let column = line.iter().position(|&worth| worth > 0).expect("the row has one choice");
            if self.choices_of_column[column] == 1 {
                self.pairs.push((row, column));
                self.choices_of_row[row] = 0;
                self.choices_of_column[column] = 0;
            }
        }
        self.assign_crowded(columns);
        &self.pairs
    }

    /// What is left after the simple ones: the true search, O(n³).
    fn assign_crowded(&mut self, columns: usize) {
        let open = |choices: &[u32]| -> Vec<usize> {
            choices.iter().enumerate().filter(|&(_, &choices)| choices > 0).map(|(index, _)| index).collect()
        };
        let (rows, cols) = (open(&self.choices_of_row), open(&self.choices_of_column));
        if rows.is_empty() || cols.is_empty() {
            return;
        }
        let at = |row: usize, column: usize| self.worths[rows[row] * columns + cols[column]];
        // The library assigns every row, so there must be no more rows than columns.
        let pairs: Vec<_> = if rows.len() <= cols.len() {
            let (_, chosen) = kuhn_munkres(&Matrix::from_fn(rows.len(), cols.len(), |(row, column)| at(row, column)));
            chosen.into_iter().enumerate().collect()
        } else {
            let (_, chosen) = kuhn_munkres(&Matrix::from_fn(cols.len(), rows.len(), |(column, row)| at(row, column)));
            chosen.into_iter().enumerate().map(|(column, row)| (row, column)).collect()
        };
        let possible = pairs.into_iter().filter(|&(row, column)| at(row, column) > 0);
        self.pairs.extend(possible.map(|(row, column)| (rows[row], cols[column])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(worths: &[&[f32]]) -> Vec<(usize, usize)> {
        let columns = worths.first().map_or(0, |row| row.len());
        let mut assigner = Assigner::default();
        let worth = |row: usize, column: usize| Some(worths[row][column]).filter(|&worth| worth > 0.0);
        let mut pairs = assigner.assign(worths.len(), columns, worth).to_vec();
        pairs.sort_unstable();
        pairs
    }

    #[test]
    fn the_sum_counts_not_the_first_come() {
        assert_eq!(assign(&[&[0.9, 0.8], &[0.8, 0.1]]), [(0, 1), (1, 0)]);
    }

    #[test]
    fn more_rows_than_columns_and_the_other_way_round() {
        assert_eq!(assign(&[&[0.5], &[0.9], &[0.7]]), [(1, 0)]);
        assert_eq!(assign(&[&[0.5, 0.9, 0.7]]), [(0, 1)]);
        assert_eq!(assign(&[]), []);
    }

    #[test]
    fn impossible_pairs_are_never_made() {
        assert_eq!(assign(&[&[0.0, 0.5], &[0.0, 0.6]]), [(1, 1)]);
        assert_eq!(assign(&[&[0.0, 0.0], &[0.0, 0.0]]), []);
    }

    fn at(x: f32, unseen_s: f32, speed: f32) -> Expected {
        Expected { rect: square(x, 100.0), unseen_s, speed }
    }

    fn square(x: f32, side: f32) -> Rect {
        Rect::new(x, 0.0, side, side)
    }

    #[test]
    fn a_near_match_is_never_given_up_for_far_ones() {
        // A track on its face, another one unseen for long beside it, and a new face on the other side.
        let tracks = [at(0.0, 0.0, 0.0), at(130.0, 0.9, 2.0)];
        let (face, stranger) = (square(2.0, 100.0), square(-65.0, 100.0));
        assert!(worth(&tracks[0], &stranger).is_some() && worth(&tracks[1], &face).is_some());
        let mut assigner = Assigner::default();
        let pairs = assigner.assign(2, 2, |row, column| worth(&tracks[row], &[face, stranger][column]));
        assert_eq!(pairs, [(0, 0)]);
    }

    #[test]
    fn the_gates_hold_and_open_with_time_and_speed() {
        assert!(worth(&at(0.0, 0.0, 0.0), &square(0.0, 100.0)).is_some_and(|worth| worth > 0.99));
        assert_eq!(worth(&at(0.0, 0.0, 0.0), &square(75.0, 100.0)), None);
        assert!(worth(&at(0.0, 0.5, 0.0), &square(75.0, 100.0)).is_some());
        assert_eq!(worth(&at(0.0, 0.5, 0.0), &square(100.0, 100.0)), None);
        assert!(worth(&at(0.0, 0.5, 2.0), &square(100.0, 100.0)).is_some());
        assert_eq!(worth(&at(0.0, 0.0, 0.0), &square(0.0, 200.0)), None);
    }
}
