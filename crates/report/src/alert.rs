//! Alerts: when a face begins, and ceases, to look fake.

use std::collections::BTreeMap;

use super::FrameReport;
use crate::State;

/// Single crops in a row that must look fake for a spike.
const SPIKE_CROPS: u32 = 3;

/// A face began, or ceased, to look fake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alert {
    pub action: Action,
    pub kind: Kind,
    pub track_id: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    Raised,
    Cleared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// The window's score holds the face in state `fake`.
    Sustained,
    /// Several single crops in a row look fake while the window does not: a short manipulation, or the begin of a long one.
    Spike,
}

impl Action {
    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
        }
    }
}

impl Kind {
    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sustained => "sustained",
            Self::Spike => "spike",
        }
    }
}

/// Watches the reports of one stream for alerts. Each one raised is cleared once, at the latest when its face is gone.
#[derive(Debug, Default)]
pub struct AlertWatch {
    faces: BTreeMap<u32, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    /// End of the newest window seen: a crop counts once.
    window_end: Option<u64>,
    fake_crops: u32,
    sustained: bool,
    spike: bool,
}

impl AlertWatch {
    /// The alerts that `report` raises and clears. `fake_threshold` is the P(fake) at which a single crop looks fake.
    pub fn update(&mut self, report: &FrameReport, fake_threshold: f64) -> Vec<Alert> {
        let mut alerts = self.clear(|id| !report.faces.iter().any(|face| face.track_id == id));
        for face in &report.faces {
            let watched = self.faces.entry(face.track_id).or_default();
            if face.window_end != watched.window_end {
                watched.window_end = face.window_end;
                let looks_fake = face.frame_score.is_some_and(|score| score >= fake_threshold);
                watched.fake_crops = if looks_fake { watched.fake_crops + 1 } else { 0 };
            }
            let sustained = face.state == State::Fake;
            let spike = !sustained && watched.fake_crops >= SPIKE_CROPS;
            let changes = [
                (Kind::Sustained, std::mem::replace(&mut watched.sustained, sustained), sustained),
                (Kind::Spike, std::mem::replace(&mut watched.spike, spike), spike),
            ];
            for (kind, before, now) in changes {
                if before != now {
                    let action = if now { Action::Raised } else { Action::Cleared };
                    alerts.push(Alert { action, kind, track_id: face.track_id });
                }
            }
        }
        alerts
    }

    /// Clears everything: the stream is over, or goes on elsewhere.
    pub fn reset(&mut self) -> Vec<Alert> {
        self.clear(|_| true)
    }

    /// Forgets the faces whose id is `gone` and clears their alerts.
    fn clear(&mut self, gone: impl Fn(u32) -> bool) -> Vec<Alert> {
        let mut alerts = Vec::new();
        self.faces.retain(|id, watched| {
            if gone(*id) {
                let raised = [(Kind::Sustained, watched.sustained), (Kind::Spike, watched.spike)];
                let cleared = |kind| Alert { action: Action::Cleared, kind, track_id: *id };
                alerts.extend(raised.into_iter().filter(|(_, raised)| *raised).map(|(kind, _)| cleared(kind)));
            }
            !gone(*id)
        });
        alerts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FaceReport, testing};

    fn report(end: u64, faces: &[(u32, State, Option<f64>)]) -> FrameReport {
        let faces = faces.iter().map(|(id, state, frame_score)| FaceReport {
            state: *state,
            frame_score: *frame_score,
            window_end: Some(end),
            ..testing::face(*id)
        });
        FrameReport { faces: faces.collect(), ..testing::reports().remove(0) }
    }

    fn raised(kind: Kind, track_id: u32) -> Alert {
        Alert { action: Action::Raised, kind, track_id }
    }

    fn cleared(kind: Kind, track_id: u32) -> Alert {
        Alert { action: Action::Cleared, kind, track_id }
    }

    #[test]
    fn a_sustained_alert_is_raised_once_and_cleared_once() {
        let mut watch = AlertWatch::default();
        let quiet = |watch: &mut AlertWatch, end, state| watch.update(&report(end, &[(1, state, None)]), 0.8);
        assert_eq!(quiet(&mut watch, 1, State::Uncertain), []);
        assert_eq!(quiet(&mut watch, 2, State::Fake), [raised(Kind::Sustained, 1)]);
        assert_eq!(quiet(&mut watch, 3, State::Fake), []);
        assert_eq!(quiet(&mut watch, 4, State::Authentic), [cleared(Kind::Sustained, 1)]);
    }

    #[test]
    fn a_face_that_leaves_clears_its_alerts() {
        let mut watch = AlertWatch::default();
        watch.update(&report(1, &[(1, State::Fake, None), (2, State::Fake, None)]), 0.8);
        assert_eq!(watch.update(&report(2, &[(2, State::Fake, None)]), 0.8), [cleared(Kind::Sustained, 1)]);
        assert_eq!(watch.reset(), [cleared(Kind::Sustained, 2)]);
        assert_eq!(watch.reset(), []);
    }

    #[test]
    fn a_spike_needs_several_new_crops_in_a_row() {
        let mut watch = AlertWatch::default();
        let mut step = |end, score, state| watch.update(&report(end, &[(1, state, Some(score))]), 0.8);
        assert_eq!(step(1, 0.9, State::Authentic), []);
        assert_eq!(step(2, 0.9, State::Authentic), []);
        assert_eq!(step(2, 0.9, State::Authentic), [], "the same crop again");
        assert_eq!(step(3, 0.9, State::Authentic), [raised(Kind::Spike, 1)]);
        assert_eq!(step(4, 0.9, State::Fake), [raised(Kind::Sustained, 1), cleared(Kind::Spike, 1)]);
        assert_eq!(step(5, 0.1, State::Uncertain), [cleared(Kind::Sustained, 1)]);
    }
}
