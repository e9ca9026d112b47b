//! Time that only advances, and the time of day that goes with it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A time of day that is off by more was set, not just corrected.
const STEP: i64 = 500;

#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// Milliseconds since 1970 at `started`, as far as it is known now.
    offset: i64,
    steps: u64,
}

impl Clock {
    pub fn new() -> Self {
        Self { started: Instant::now(), offset: system_time(), steps: 0 }
    }

    /// Milliseconds since the program started.
    pub fn elapsed(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Milliseconds since 1970, UTC. Advances evenly between two calls of [`check`](Self::check).
    pub fn utc(&self) -> i64 {
        self.offset + self.elapsed()
    }

    /// How often the system's time of day was set.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Compares with the system's time of day. `Some` is by how many milliseconds it was set.
    pub fn check(&mut self) -> Option<i64> {
        self.compare(system_time())
    }

    fn compare(&mut self, system: i64) -> Option<i64> {
        let off = system - self.utc();
        if off.abs() <= STEP {
            return None;
        }
        self.offset += off;
        self.steps += 1;
        Some(off)
    }
}

/// Milliseconds since 1970 by the system's clock.
pub fn system_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_drifts_a_little_is_not() {
        let mut clock = Clock::new();
        assert_eq!(clock.compare(clock.utc() + 200), None);
        let off = clock.compare(clock.utc() + 3_600_000).unwrap();
        assert!((3_599_900..=3_600_000).contains(&off), "{off}");
        assert!(clock.compare(clock.utc()).is_none() && clock.steps() == 1);
        assert!(clock.compare(clock.utc() - 10_000).unwrap() < -9_000);
    }
}
