//! Whether a feed is alive: buffers arrive *and* their time advances *and* the picture changes.

use serde::{Deserialize, Serialize};

/// A coarse copy of a picture: enough to tell whether anything moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumb(pub [u8; Thumb::COLUMNS * Thumb::ROWS]);

impl Thumb {
    pub const COLUMNS: usize = 32;
    pub const ROWS: usize = 18;

    /// Spots that must differ, and by how many levels, for a picture to be another. Less is a
    /// decoder's or a sensor's noise; a clock in a corner or a mouth that speaks is more.
    const CHANGED_SPOTS: usize = 2;
    const CHANGED_LEVELS: u8 = 3;

    /// Samples `plane`, whose neighbouring samples lie `step` bytes apart, at the middle of each of
    /// its fields.
    pub fn sample(plane: &[u8], width: usize, height: usize, stride: usize, step: usize) -> Self {
        let mut spots = [0; Self::COLUMNS * Self::ROWS];
        for (index, spot) in spots.iter_mut().enumerate() {
            let (column, row) = (index % Self::COLUMNS, index / Self::COLUMNS);
            let x = (2 * column + 1) * width / (2 * Self::COLUMNS);
            let y = (2 * row + 1) * height / (2 * Self::ROWS);
            *spot = plane.get(y * stride + x * step).copied().unwrap_or(0);
        }
        Self(spots)
    }

    fn differs(&self, other: &Self) -> bool {
        let changed = self.0.iter().zip(&other.0).filter(|(one, other)| one.abs_diff(**other) >= Self::CHANGED_LEVELS);
        changed.take(Self::CHANGED_SPOTS).count() == Self::CHANGED_SPOTS
    }

    /// No spot is brighter than black with some noise, in limited and in full range.
    fn is_black(&self) -> bool {
        self.0.iter().all(|spot| *spot <= 24)
    }
}

/// A pause of so many milliseconds between two buffers, or two changes of the picture, counts as
/// one.
pub const PAUSE: i64 = 1000;

/// Watches the buffers of one opening of a source. Times are milliseconds of a clock that only
/// advances.
#[derive(Debug)]
pub struct Liveness {
    buffers: u64,
    arrived: Pulse,
    pts: Option<u64>,
    advanced: Pulse,
    picture: Option<Thumb>,
    changed: Pulse,
    black_since: Option<i64>,
    lit_since: i64,
}

/// Something that happens again and again.
#[derive(Debug)]
struct Pulse {
    last: i64,
    /// The first after the last pause.
    resumed: i64,
    beaten: bool,
}

impl Pulse {
    fn new(now: i64) -> Self {
        Self { last: now, resumed: now, beaten: false }
    }

    fn beat(&mut self, now: i64) {
        if !self.beaten || now - self.last >= PAUSE {
            self.resumed = now;
        }
        self.last = now;
        self.beaten = true;
    }
}

/// What [`Liveness`] knows at one moment. Ages are in milliseconds, counted from the source's
/// opening where nothing came yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signs {
    pub buffers: u64,
    /// Since the last buffer arrived.
    pub since_buffer: i64,
    /// Since the last buffer whose time was later than those before.
    pub since_advance: i64,
    /// Since the picture changed last.
    pub since_change: i64,
    /// Since the picture is black; 0 when it is not.
    pub black_for: i64,
    /// Since buffers arrive without a [pause](PAUSE).
    pub arriving_for: i64,
    /// Since the picture changes without a pause.
    pub changing_for: i64,
    /// Since the picture is not black; 0 when it is.
    pub lit_for: i64,
}

impl Liveness {
    pub fn new(now: i64) -> Self {
        Self {
            buffers: 0,
            arrived: Pulse::new(now),
            pts: None,
            advanced: Pulse::new(now),
            picture: None,
            changed: Pulse::new(now),
            black_since: None,
            lit_since: now,
        }
    }

    /// A buffer came. A step back of its time, as after a loop or a splice, counts as time that
    /// goes on.
    pub fn buffer(&mut self, now: i64, pts: Option<u64>, picture: Option<Thumb>) {
        self.buffers += 1;
        self.arrived.beat(now);
        if pts.is_none() || pts != self.pts {
            self.advanced.beat(now);
        }
        self.pts = pts;
        let Some(picture) = picture else { return };
        // Compared with the last that differed: a fade too slow for two neighbours still adds up.
        if self.picture.as_ref().is_none_or(|last| last.differs(&picture)) {
            self.changed.beat(now);
            let black = picture.is_black();
            if black != self.black_since.is_some() {
                self.black_since = black.then_some(now);
                self.lit_since = now;
            }
            self.picture = Some(picture);
        }
    }

    pub fn signs(&self, now: i64) -> Signs {
        let since = |at: i64| (now - at).max(0);
        Signs {
            buffers: self.buffers,
            since_buffer: since(self.arrived.last),
            since_advance: since(self.advanced.last),
            since_change: since(self.changed.last),
            black_for: self.black_since.map_or(0, since),
            arriving_for: since(self.arrived.resumed),
            changing_for: since(self.changed.resumed),
            lit_for: if self.black_since.is_some() { 0 } else { since(self.lit_since) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(level: u8) -> Option<Thumb> {
        Some(Thumb([level; Thumb::COLUMNS * Thumb::ROWS]))
    }

    #[test]
    fn a_source_that_repeats_one_buffer_is_not_alive() {
        let mut liveness = Liveness::new(0);
        for at in 1..=10 {
            liveness.buffer(at * 100, Some(40), grey(90));
        }
        let signs = liveness.signs(1000);
        assert_eq!((signs.since_buffer, signs.since_advance, signs.since_change), (0, 900, 900));
    }

    #[test]
    fn noise_is_no_change_but_a_slow_fade_is() {
        let mut liveness = Liveness::new(0);
        liveness.buffer(0, Some(0), grey(90));
        for at in 1..=10 {
            liveness.buffer(at * 100, Some(at as u64), grey(90 + (at % 2) as u8));
        }
        assert_eq!(liveness.signs(1000).since_change, 1000);
        for at in 11..=20 {
            liveness.buffer(at * 100, Some(at as u64), grey(90 + (at - 10) as u8));
        }
        assert!(liveness.signs(2000).since_change <= 200);
    }

    #[test]
    fn black_lasts_until_something_is_seen() {
        let mut liveness = Liveness::new(0);
        liveness.buffer(0, Some(0), grey(100));
        liveness.buffer(100, Some(1), grey(16));
        liveness.buffer(200, Some(2), grey(18));
        assert_eq!(liveness.signs(1100).black_for, 1000);
        liveness.buffer(1200, Some(3), grey(60));
        assert_eq!(liveness.signs(1300).black_for, 0);
    }

    #[test]
    fn a_return_after_a_pause_has_its_moment() {
        let mut liveness = Liveness::new(0);
        for at in [100, 200, 300, 2000, 2100, 2200] {
            liveness.buffer(at, Some(at as u64), grey((at % 199) as u8 + 30));
        }
        let signs = liveness.signs(2250);
        assert_eq!((signs.arriving_for, signs.changing_for, signs.since_buffer), (250, 250, 50));
    }

    #[test]
    fn ages_count_from_the_opening_while_nothing_comes() {
        assert_eq!(Liveness::new(500).signs(2500).since_buffer, 2000);
    }

    #[test]
    fn samples_lie_within_the_picture_whatever_its_size() {
        for (width, height) in [(1, 1), (16, 16), (1920, 1080), (33, 17)] {
            let plane: Vec<u8> = vec![7; width * height];
            assert_eq!(Thumb::sample(&plane, width, height, width, 1), grey(7).unwrap());
        }
    }
}
