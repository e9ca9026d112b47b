//! The scores of the last seconds, per track.

use std::collections::{HashMap, VecDeque};

use deepfake_report::FrameReport;
use deepfake_report::State;

/// More samples than this are not kept per track, however long the span is.
const SAMPLES_MAX: usize = 8192;
/// More tracks than this are not remembered; the ones longest unseen go first.
const TRACKS_MAX: usize = 512;

/// One score, or the lack of one, at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// PTS of the analysed frame in nanoseconds, and of the last one that said the same.
    pub pts: u64,
    pub until: u64,
    /// Calibrated P(fake), 0..1.
    pub score: Option<f64>,
    pub state: State,
}

#[derive(Default)]
struct Track {
    samples: VecDeque<Sample>,
    window_end: Option<u64>,
    last_seen: u64,
}

/// Rings of samples; fed with every report, also with the same one twice.
#[derive(Default)]
pub struct History {
    tracks: HashMap<u32, Track>,
    newest: Option<u64>,
}

impl History {
    pub fn clear(&mut self) {
        self.tracks.clear();
        self.newest = None;
    }

    /// Adds what `report` says and forgets what is older than `span_ns`.
    ///
    /// A track's sample is added once per window: metadata may be duplicated on its way, and in
    /// `mode=async` several buffers carry the same report. Time that goes back means another piece
    /// of stream: all is forgotten.
    pub fn push(&mut self, report: &FrameReport, span_ns: u64) {
        match self.newest {
            Some(newest) if report.pts < newest => self.clear(),
            Some(newest) if report.pts == newest => return,
            _ => {}
        }
        self.newest = Some(report.pts);
        let oldest = report.pts.saturating_sub(span_ns);

        for face in &report.faces {
            let track = self.tracks.entry(face.track_id).or_default();
            track.last_seen = report.pts;
            let score = face.score.filter(|score| score.is_finite()).map(|score| score.clamp(0.0, 1.0));
            if let Some(last) = track.samples.back_mut()
                && (track.window_end, last.state, last.score) == (face.window_end, face.state, score)
            {
                last.until = report.pts;
                continue;
            }
            track.window_end = face.window_end;
            if track.samples.len() == SAMPLES_MAX {
                track.samples.pop_front();
            }
            track.samples.push_back(Sample { pts: report.pts, until: report.pts, score, state: face.state });
        }

        for track in self.tracks.values_mut() {
            // One sample before the span stays, so that the line reaches the strip's edge.
            while track.samples.get(1).is_some_and(|second| second.pts <= oldest) {
                track.samples.pop_front();
            }
        }
        self.tracks.retain(|_, track| track.last_seen >= oldest);
        if self.tracks.len() > TRACKS_MAX {
            let mut seen: Vec<_> = self.tracks.values().map(|track| track.last_seen).collect();
            seen.sort_unstable();
            let limit = seen[seen.len() - TRACKS_MAX];
            self.tracks.retain(|_, track| track.last_seen >= limit);
        }
    }

    /// PTS of the newest report.
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// The samples of a track, oldest first.
    pub fn samples(&self, track_id: u32) -> impl Iterator<Item = &Sample> {
        self.tracks.get(&track_id).into_iter().flat_map(|track| &track.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deepfake_report::FaceReport;
    use deepfake_report::testing::{self, with};

    const SECOND: u64 = 1_000_000_000;

    fn report(pts: u64, faces: Vec<FaceReport>) -> FrameReport {
        with(testing::reports().remove(0), |report| {
            report.pts = pts;
            report.faces = faces;
        })
    }

    fn face(id: u32, window_end: u64, score: f64) -> FaceReport {
        with(testing::face(id), |face| {
            face.window_end = Some(window_end);
            face.score = Some(score);
        })
    }

    #[test]
    fn the_same_window_counts_once() {
        let mut history = History::default();
        for pts in [10, 20, 30] {
            history.push(&report(pts, vec![face(1, 10, 0.5)]), SECOND);
        }
        history.push(&report(40, vec![face(1, 40, 0.5)]), SECOND);
        history.push(&report(40, vec![face(1, 40, 0.5)]), SECOND);
        assert_eq!(history.samples(1).map(|s| s.pts).collect::<Vec<_>>(), [10, 40]);
    }

    #[test]
    fn samples_and_tracks_older_than_the_span_go_but_the_line_reaches_the_edge() {
        let mut history = History::default();
        for second in 0..10 {
            history.push(&report(second * SECOND, vec![face(1, second, 0.1)]), 3 * SECOND);
        }
        assert_eq!(history.samples(1).map(|s| s.pts / SECOND).collect::<Vec<_>>(), [6, 7, 8, 9]);
        history.push(&report(13 * SECOND, vec![face(2, 13, 0.1)]), 3 * SECOND);
        assert_eq!(history.samples(1).count(), 0);
        assert_eq!(history.tracks.len(), 1);
    }

    #[test]
    fn time_going_back_forgets_everything() {
        let mut history = History::default();
        history.push(&report(5 * SECOND, vec![face(1, 5, 0.1)]), SECOND);
        history.push(&report(SECOND, vec![face(1, 1, 0.2)]), SECOND);
        assert_eq!(history.samples(1).map(|s| s.pts).collect::<Vec<_>>(), [SECOND]);
    }

    #[test]
    fn memory_is_bounded_whatever_the_reports_say() {
        let mut history = History::default();
        for pts in 0..9_000u64 {
            history.push(&report(pts, vec![face(1, pts, 0.1), face(pts as u32 + 2, pts, f64::NAN)]), u64::MAX);
        }
        assert_eq!(history.samples(1).count(), SAMPLES_MAX);
        assert!(history.tracks.len() <= TRACKS_MAX + 1);
    }
}
