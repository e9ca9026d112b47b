//! From calibrated scores to what is said about a face.

use deepfake_report::{Reason, State};

/// Scores between which a face is neither, and how far a score must come back for the verdict to change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// At or above this P(fake) a face is fake.
    pub fake: f64,
    /// At or below this P(fake) a face is authentic.
    pub authentic: f64,
    /// A verdict is taken back only when the score is this far on the other side of its threshold.
    pub hysteresis: f64,
}

/// How long, in nanoseconds of stream time, crops must be rejected before a judged face is called `rejected`.
const REJECTION_PATIENCE_NS: u64 = 1_000_000_000;
/// The same for a face that is not seen: shorter than it is followed unseen, so that reports say so.
const UNSEEN_PATIENCE_NS: u64 = 500_000_000;

/// The verdict on one face, which remembers enough not to flicker.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What the last score said; `Warming` before the first.
    judged: State,
    /// Since when all crops have been rejected, and why the newest was.
    rejected: Option<(u64, Reason)>,
}

impl Default for Verdict {
    fn default() -> Self {
        Self { judged: State::Warming, rejected: None }
    }
}

impl Verdict {
    /// The newest crop at `pts` could not be judged.
    pub fn reject(&mut self, pts: u64, reason: Reason) {
        let since = self.rejected.map_or(pts, |(since, _)| since);
        self.rejected = Some((since, reason));
    }

    /// The newest crop was good, and the window scores so; `None` while it does not hold enough crops.
    pub fn judge(&mut self, score: Option<f64>, thresholds: &Thresholds) {
        self.rejected = None;
        let Some(score) = score else {
            self.judged = State::Warming;
            return;
        };
        let Thresholds { fake, authentic, hysteresis } = *thresholds;
        self.judged = match self.judged {
            State::Fake if score >= fake - hysteresis => State::Fake,
            State::Authentic if score <= authentic + hysteresis => State::Authentic,
            _ if score >= fake => State::Fake,
            _ if score <= authentic => State::Authentic,
            _ => State::Uncertain,
        };
    }

    /// For how long, in nanoseconds, what was said before outlives this reason to say nothing.
    fn patience(&self, reason: Reason) -> u64 {
        match (reason, self.judged) {
            (Reason::NotSeen, _) => UNSEEN_PATIENCE_NS,
            (_, State::Warming) => 0,
            _ => REJECTION_PATIENCE_NS,
        }
    }

    /// What to say of the face at `pts`.
    ///
    /// A face never judged is rejected with its first bad crop. A judged one keeps its verdict for a second of bad crops, and any
    /// keeps what was said for half a second of not being seen.
    pub fn state(&self, pts: u64) -> (State, Option<Reason>) {
        match self.rejected {
            Some((since, reason)) if pts.saturating_sub(since) >= self.patience(reason) => {
                (State::Rejected, Some(reason))
            }
            _ => (self.judged, None),
        }
    }
}

/// How much a score is worth, 0..1: its distance from "I don't know" (½), scaled by how full the window is.
pub fn certainty(score: Option<f64>, fill: usize, size: usize) -> f64 {
    score.map_or(0.0, |score| (2.0 * score - 1.0).abs() * fill as f64 / size as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { fake: 0.8, authentic: 0.3, hysteresis: 0.1 };

    fn states(scores: &[f64]) -> Vec<State> {
        let mut verdict = Verdict::default();
        scores
            .iter()
            .map(|score| {
                verdict.judge(Some(*score), &THRESHOLDS);
                verdict.state(0).0
            })
            .collect()
    }

    #[test]
    fn three_outcomes_with_hysteresis() {
        use State::{Authentic, Fake, Uncertain};
        assert_eq!(states(&[0.1, 0.35, 0.41, 0.35]), [Authentic, Authentic, Uncertain, Uncertain]);
        assert_eq!(states(&[0.79, 0.8, 0.71, 0.69, 0.75]), [Uncertain, Fake, Fake, Uncertain, Uncertain]);
        assert_eq!(states(&[0.9, 0.2]), [Fake, Authentic]);
    }

    #[test]
    fn a_face_without_score_warms_up() {
        let mut verdict = Verdict::default();
        assert_eq!(verdict.state(0), (State::Warming, None));
        verdict.judge(None, &THRESHOLDS);
        assert_eq!(verdict.state(0), (State::Warming, None));
    }

    #[test]
    fn bad_crops_reject_a_new_face_at_once_and_a_judged_one_after_a_second() {
        let mut new = Verdict::default();
        new.reject(5, Reason::Blurred);
        assert_eq!(new.state(5), (State::Rejected, Some(Reason::Blurred)));

        let mut judged = Verdict::default();
        judged.judge(Some(0.9), &THRESHOLDS);
        judged.reject(0, Reason::Blurred);
        assert_eq!(judged.state(0), (State::Fake, None));
        judged.reject(1_000_000_000, Reason::Profile);
        assert_eq!(judged.state(1_000_000_000), (State::Rejected, Some(Reason::Profile)));
        judged.judge(Some(0.9), &THRESHOLDS);
        assert_eq!(judged.state(1_100_000_000), (State::Fake, None));
    }

    #[test]
    fn a_verdict_on_a_face_that_is_not_seen_ages_out_in_half_a_second() {
        for score in [None, Some(0.9)] {
            let mut verdict = Verdict::default();
            verdict.judge(score, &THRESHOLDS);
            let before = verdict.state(0);
            verdict.reject(100, Reason::NotSeen);
            assert_eq!(verdict.state(500_000_099), before);
            verdict.reject(500_000_100, Reason::NotSeen);
            assert_eq!(verdict.state(500_000_100), (State::Rejected, Some(Reason::NotSeen)));
        }
    }

    #[test]
    fn certainty_grows_with_distance_and_filling() {
        assert_eq!(certainty(None, 40, 40), 0.0);
        assert_eq!(certainty(Some(0.5), 40, 40), 0.0);
        assert_eq!(certainty(Some(1.0), 40, 40), 1.0);
        assert_eq!(certainty(Some(0.0), 10, 40), 0.25);
    }
}
