//! The newest while of a feed, as it arrived, in bounded memory. It always starts with a picture
//! that can be decoded by itself, so whole groups of pictures go at once.

use std::collections::VecDeque;

/// A step back of more milliseconds is another time, not another order.
const SAME_TIME: i64 = 2000;
/// So few milliseconds are not missed.
const SLACK: i64 = 200;

pub struct Unit<T> {
    /// Running time in milliseconds.
    pub at: i64,
    /// Whether it can be decoded without what came before.
    pub key: bool,
    pub bytes: usize,
    pub item: T,
}

pub struct Ring<T> {
    units: VecDeque<Unit<T>>,
    bytes: usize,
    max_bytes: usize,
    /// What was given up for want of room since the last key picture came.
    overrun: bool,
}

impl<T> Ring<T> {
    pub fn new(max_bytes: usize) -> Self {
        Self { units: VecDeque::new(), bytes: 0, max_bytes, overrun: false }
    }

    /// Takes the next unit of the feed; what lies wholly before `needed_from` may go.
    pub fn push(&mut self, unit: Unit<T>, needed_from: i64) {
        if self.units.back().is_some_and(|last| unit.at < last.at - SAME_TIME) {
            self.clear();
        }
        if self.units.is_empty() && !unit.key {
            return;
        }
        self.overrun &= !unit.key;
        self.bytes += unit.bytes;
        self.units.push_back(unit);
        loop {
            let full = self.bytes > self.max_bytes;
            match self.units.iter().skip(1).position(|unit| unit.key) {
                Some(before) if full || self.units[before + 1].at <= needed_from => {
                    let gone = self.units.drain(..=before);
                    self.bytes -= gone.map(|unit| unit.bytes).sum::<usize>();
                }
                None if full => {
                    self.clear();
                    self.overrun = true;
                    return;
                }
                _ => return,
            }
        }
    }

    pub fn clear(&mut self) {
        self.units.clear();
        self.bytes = 0;
        self.overrun = false;
    }

    pub fn units(&self) -> impl Iterator<Item = &Unit<T>> {
        self.units.iter()
    }

    /// Why there is nothing from `wanted` on, if so.
    pub fn missing(&self, wanted: i64) -> Option<String> {
        match self.units.front() {
            Some(first) if first.at <= wanted + SLACK => None,
            Some(first) => Some(format!(
                "{:.1} s of the pre-roll: {}",
                (first.at - wanted) as f64 / 1000.0,
                if self.bytes > self.max_bytes / 4 * 3 {
                    "more does not fit into ring-mib"
                } else {
                    "the feed was not open before, or sent no key picture"
                }
            )),
            None if self.overrun => {
                Some("the pre-roll: pictures between two key pictures take more than ring-mib".into())
            }
            None => Some("the pre-roll: no key picture has come yet".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_kept_is_bounded_decodable_whole_and_the_newest(
            feed in proptest::collection::vec((0i64..200, proptest::bool::weighted(0.2), 1usize..50), 1..200),
            max_bytes in 10usize..2000, keep in 0i64..5000,
        ) {
            let mut ring = Ring::new(max_bytes);
            let (mut now, mut all) = (0, Vec::new());
            for (number, (pause, key, bytes)) in feed.into_iter().enumerate() {
                now += pause;
                all.push((now, key, bytes));
                ring.push(Unit { at: now, key, bytes, item: number }, now - keep);
                let kept: Vec<_> = ring.units().map(|unit| unit.item).collect();
                let size: usize = ring.units().map(|unit| unit.bytes).sum();
                prop_assert_eq!(size, ring.bytes);
                prop_assert!(size <= max_bytes);
                prop_assert!(ring.units().next().is_none_or(|first| first.key));
                if let Some(first) = kept.first() {
                    prop_assert_eq!(&kept, &(*first..=number).collect::<Vec<_>>());
                }
                // What went was not needed, or did not fit.
                let from = kept.first().copied().unwrap_or(all.len());
                let group = all[..from].iter().rposition(|(_, key, _)| *key);
                if let Some(group) = group {
                    let would_be: usize = all[group..].iter().map(|(.., bytes)| bytes).sum();
                    let covered = all.get(from).is_some_and(|(at, ..)| *at <= now - keep);
                    prop_assert!(covered || would_be > max_bytes, "{} bytes from {}", would_be, group);
                }
            }
        }
    }

    #[test]
    fn time_that_begins_anew_is_not_mixed_with_the_time_before() {
        let mut ring = Ring::new(1000);
        for at in [0, 40, 80, 10_000, 0, 40] {
            ring.push(Unit { at, key: true, bytes: 1, item: at }, -1);
        }
        assert_eq!(ring.units().map(|unit| unit.at).collect::<Vec<_>>(), [0, 40]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut ring = Ring::new(100);
        assert!(ring.missing(0).unwrap().contains("no key picture"));
        ring.push(Unit { at: 5000, key: true, bytes: 10, item: () }, 0);
        assert_eq!(ring.missing(5000), None);
        assert!(ring.missing(1000).unwrap().starts_with("4.0 s of the pre-roll: the feed was not open"));
        for at in 1..20 {
            ring.push(Unit { at: 5000 + at * 40, key: false, bytes: 10, item: () }, 0);
        }
        assert!(ring.missing(5000).unwrap().contains("ring-mib"));
    }
}
