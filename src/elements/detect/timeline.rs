//! The times of the buffers: what to take where one is missing, which frames are stamped wrongly, and where the stream jumps.
//!
//! Cameras stamp single frames early, or hours away. Such a *stray* frame changes nothing; only several frames in a row that stay
//! elsewhere are a jump.

/// A frame this far (ns) ahead of the stream is elsewhere, unless frames are rare.
const MAX_AHEAD_NS: u64 = 2_000_000_000;
/// A step back of so many nanoseconds is jitter.
const MAX_BACK_NS: u64 = 500_000_000;
/// So many frames in a row must stay elsewhere for the stream to have jumped there.
const FRAMES_OF_JUMP: u32 = 3;
/// A frame's duration where neither the buffer nor the caps know it.
const DEFAULT_DURATION_NS: u64 = 40_000_000;

/// When a frame is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// In nanoseconds, made up from the last one where the buffer has none. Never earlier than half a second before the latest.
    pub pts: u64,
    /// The stream jumped here: nothing seen before belongs to this frame.
    pub jump: bool,
}

/// Follows the times of a stream.
#[derive(Debug, Default)]
pub struct Timeline {
    /// The latest time that the stream has reached.
    front: Option<u64>,
    frame_duration: Option<u64>,
    /// From one frame to the next, as seen at the newest jump. Longer than a known duration where frames are rare.
    interval: u64,
    elsewhere: Option<Elsewhere>,
}

/// Where the newest frames are, if not where the stream is.
#[derive(Debug)]
struct Elsewhere {
    time: u64,
    frames: u32,
}

impl Timeline {
    /// New caps: `frame_duration` in nanoseconds, `None` for a variable frame rate.
    pub fn set_frame_duration(&mut self, frame_duration: Option<u64>) {
        self.frame_duration = frame_duration;
    }

    /// The next buffer, with its time and duration where it has them. `None` for a stray frame.
    pub fn next(&mut self, time: Option<u64>, duration: Option<u64>) -> Option<Moment> {
        let step = self.step(duration);
        let Some(front) = self.front else {
            let pts = time.unwrap_or(0);
            self.front = Some(pts);
            return Some(Moment { pts, jump: false });
        };
        let pts = time.unwrap_or(front.saturating_add(step));
        let max_ahead = self.max_ahead(step);
        if is_near(front, pts, max_ahead) {
            self.front = Some(front.max(pts));
            self.elsewhere = None;
            return Some(Moment { pts, jump: false });
        }
        let elsewhere = match self.elsewhere.take() {
            // Where frames are rare the next is as far away again.
            Some(last) if is_near(last.time, pts, max_ahead.max(last.time.saturating_sub(front).saturating_mul(2))) => {
                self.interval = pts.saturating_sub(last.time);
                Elsewhere { time: pts, frames: last.frames + 1 }
            }
            _ => Elsewhere { time: pts, frames: 1 },
        };
        if elsewhere.frames < FRAMES_OF_JUMP {
            self.elsewhere = Some(elsewhere);
            return None;
        }
        self.front = Some(pts);
        Some(Moment { pts, jump: true })
    }

    /// There is no picture from `time` on, for so long.
    pub fn skip(&mut self, time: u64, duration: Option<u64>) {
        let end = time.saturating_add(duration.unwrap_or(0));
        match self.front {
            Some(front) if is_near(front, time, self.max_ahead(self.step(duration))) => {
                self.front = Some(front.max(end));
            }
            Some(_) => {}
            None => self.front = Some(end),
        }
    }

    pub fn reset(&mut self) {
        self.front = None;
        self.elsewhere = None;
        self.interval = 0;
    }

    fn step(&self, duration: Option<u64>) -> u64 {
        duration.filter(|ns| *ns > 0).or(self.frame_duration).unwrap_or(DEFAULT_DURATION_NS)
    }

    /// Frames five durations apart are late, not elsewhere.
    fn max_ahead(&self, step: u64) -> u64 {
        MAX_AHEAD_NS.max(step.max(self.interval).saturating_mul(5))
    }
}

fn is_near(front: u64, time: u64, max_ahead: u64) -> bool {
    time.saturating_add(MAX_BACK_NS) >= front && time.saturating_sub(front) <= max_ahead
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;
    const HOUR: u64 = 3_600_000 * MS;

    fn at(pts: u64) -> Option<Moment> {
        Some(Moment { pts, jump: false })
    }

    fn jump_to(pts: u64) -> Option<Moment> {
        Some(Moment { pts, jump: true })
    }

    /// A timeline that has seen ten seconds of 25 frames each, from this time on.
    fn running(start: u64) -> (Timeline, u64) {
        let mut timeline = Timeline::default();
        timeline.set_frame_duration(Some(40 * MS));
        for frame in 0..250 {
            assert_eq!(timeline.next(Some(start + frame * 40 * MS), None), at(start + frame * 40 * MS));
        }
        (timeline, start + 250 * 40 * MS)
    }

    #[test]
    fn missing_times_follow_the_last() {
        let mut timeline = Timeline::default();
        timeline.set_frame_duration(Some(20 * MS));
        assert_eq!(timeline.next(None, None), at(0));
        assert_eq!(timeline.next(None, None), at(20 * MS));
        assert_eq!(timeline.next(None, Some(30 * MS)), at(50 * MS));
        timeline.set_frame_duration(None);
        assert_eq!(timeline.next(None, None), at(90 * MS));
    }

    #[test]
    fn a_small_step_back_is_jitter() {
        let (mut timeline, now) = running(HOUR);
        for back in [1, MS, 80 * MS, 499 * MS] {
            assert_eq!(timeline.next(Some(now - back), None), at(now - back));
            assert_eq!(timeline.next(Some(now), None), at(now));
        }
    }

    #[test]
    fn a_stray_frame_changes_nothing() {
        let (mut timeline, start) = running(10 * HOUR);
        for (second, stray) in [0, HOUR, 9 * HOUR, 20 * HOUR, 100 * HOUR].into_iter().enumerate() {
            let start = start + second as u64 * 1000 * MS;
            for frame in 0..24 {
                assert_eq!(timeline.next(Some(start + frame * 40 * MS), None), at(start + frame * 40 * MS));
            }
            assert_eq!(timeline.next(Some(stray), None), None);
        }
    }

    #[test]
    fn every_other_frame_may_be_stray() {
        let (mut timeline, now) = running(10 * HOUR);
        for frame in 0..100 {
            assert_eq!(timeline.next(Some(now + frame * 40 * MS), None), at(now + frame * 40 * MS));
            assert_eq!(timeline.next(Some(frame * 40 * MS), None), None);
        }
    }

    #[test]
    fn frames_that_stay_elsewhere_are_a_jump() {
        for to in [0, HOUR, 50 * HOUR] {
            let (mut timeline, _) = running(10 * HOUR);
            assert_eq!(timeline.next(Some(to), None), None);
            assert_eq!(timeline.next(Some(to + 40 * MS), None), None);
            assert_eq!(timeline.next(Some(to + 80 * MS), None), jump_to(to + 80 * MS));
            assert_eq!(timeline.next(Some(to + 120 * MS), None), at(to + 120 * MS));
        }
    }

    #[test]
    fn rare_frames_do_not_jump() {
        let mut timeline = Timeline::default();
        timeline.set_frame_duration(Some(5_000 * MS));
        timeline.next(Some(0), None);
        assert_eq!(timeline.next(Some(5_000 * MS), None), at(5_000 * MS));
        // A rate that nobody knows is learnt.
        let mut timeline = Timeline::default();
        let moments: Vec<_> = (0..20).map(|frame| timeline.next(Some(frame * 5_000 * MS), None)).collect();
        assert_eq!(moments[1..4], [None, None, at(15_000 * MS)]);
        assert!(moments[4..].iter().all(|moment| moment.is_some_and(|moment| !moment.jump)), "{moments:?}");
    }

    #[test]
    fn a_gap_moves_time_on() {
        let (mut timeline, now) = running(HOUR);
        timeline.skip(now, Some(30_000 * MS));
        assert_eq!(timeline.next(Some(now + 30_000 * MS), None), at(now + 30_000 * MS));
        // But one that is itself stamped wrongly does not.
        timeline.skip(100 * HOUR, Some(40 * MS));
        assert_eq!(timeline.next(Some(now + 30_040 * MS), None), at(now + 30_040 * MS));
    }

    proptest! {
        #[test]
        fn whatever_comes_time_never_goes_far_back_but_by_a_jump(
            times in prop::collection::vec(prop::option::of(0u64..20_000_000_000), 1..200)
        ) {
            let mut timeline = Timeline::default();
            let mut latest: Option<u64> = None;
            for time in times {
                let Some(moment) = timeline.next(time, None) else { continue };
                if !moment.jump && let Some(latest) = latest {
                    prop_assert!(moment.pts + MAX_BACK_NS >= latest);
                }
                latest = Some(if moment.jump { moment.pts } else { latest.unwrap_or(0).max(moment.pts) });
            }
        }
    }
}
