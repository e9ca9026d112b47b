//! The times of the buffers: what to take where one is missing, and where the stream jumps.

/// A PTS this far (ns) from where the last frame left off is a jump, unless frames are rare.
const JUMP_NS: u64 = 2_000_000_000;
/// A frame's duration where neither the buffer nor the caps know it.
const DEFAULT_DURATION_NS: u64 = 40_000_000;

/// When a frame is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// PTS in nanoseconds, made up from the last one where the buffer has none.
    pub pts: u64,
    /// The stream jumped here: nothing seen before belongs to this frame.
    pub jump: bool,
}

/// Follows the PTS of a stream.
#[derive(Debug, Default)]
pub struct Timeline {
    last: Option<u64>,
    frame_duration: Option<u64>,
}

impl Timeline {
    /// New caps: `frame_duration` in nanoseconds, `None` for a variable frame rate.
    pub fn set_frame_duration(&mut self, frame_duration: Option<u64>) {
        self.frame_duration = frame_duration;
    }

    /// The next buffer, with its PTS and duration where it has them.
    pub fn next(&mut self, pts: Option<u64>, duration: Option<u64>) -> Moment {
        let step = duration.filter(|ns| *ns > 0).or(self.frame_duration).unwrap_or(DEFAULT_DURATION_NS);
        let Some(last) = self.last else {
            let pts = pts.unwrap_or(0);
            self.last = Some(pts);
            return Moment { pts, jump: false };
        };
        let pts = pts.unwrap_or(last.saturating_add(step));
        // Frames five durations apart are late, not elsewhere.
        let longest = JUMP_NS.max(step.saturating_mul(5));
        let jump = pts < last || pts - last > longest;
        self.last = Some(pts);
        Moment { pts, jump }
    }

    pub fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn missing_times_follow_the_last() {
        let mut timeline = Timeline::default();
        timeline.set_frame_duration(Some(20 * MS));
        assert_eq!(timeline.next(None, None), Moment { pts: 0, jump: false });
        assert_eq!(timeline.next(None, None), Moment { pts: 20 * MS, jump: false });
        assert_eq!(timeline.next(None, Some(30 * MS)), Moment { pts: 50 * MS, jump: false });
        timeline.set_frame_duration(None);
        assert_eq!(timeline.next(None, None), Moment { pts: 90 * MS, jump: false });
    }

    #[test]
    fn jumps_are_backwards_or_far_ahead() {
        let mut timeline = Timeline::default();
        timeline.next(Some(10_000 * MS), None);
        assert!(!timeline.next(Some(10_040 * MS), None).jump);
        assert!(timeline.next(Some(10_000 * MS), None).jump);
        assert!(!timeline.next(Some(11_900 * MS), None).jump);
        assert!(timeline.next(Some(14_000 * MS), None).jump);
        timeline.reset();
        assert!(!timeline.next(Some(0), None).jump);
    }

    #[test]
    fn slow_feeds_do_not_jump() {
        let mut timeline = Timeline::default();
        timeline.set_frame_duration(Some(5_000 * MS));
        timeline.next(Some(0), None);
        assert!(!timeline.next(Some(5_000 * MS), None).jump);
    }
}
