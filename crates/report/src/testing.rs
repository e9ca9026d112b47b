//! Reports for tests.

use crate::{FaceReport, FrameReport, KindScores, Reason, State};

/// `it` after a change: other crates cannot use `..` with types that may grow.
pub fn with<T>(mut it: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut it);
    it
}

/// A face called fake, with a full window.
pub fn face(track_id: u32) -> FaceReport {
    FaceReport {
        x: 0.25,
        y: 0.125,
        width: 0.5,
        height: 0.5,
        detection: 0.75,
        state: State::Fake,
        score: Some(0.9375),
        frame_score: Some(0.5),
        certainty: 0.875,
        window_fill: 40,
        window_size: 40,
        window_start: Some(0),
        window_end: Some(2_600_000_000),
        ..FaceReport::new(track_id)
    }
}

/// One report without faces, one with every optional field, one with none.
pub fn reports() -> Vec<FrameReport> {
    let full = FaceReport {
        seen: false,
        spike: true,
        kind: Some(KindScores::new(0.125, 0.75, 0.25)),
        heat: Some(vec![vec![0.0, 0.5], vec![1.0, 0.25]]),
        ..face(2)
    };
    let bare =
        FaceReport { state: State::Rejected, reason: Some(Reason::TooSmall), window_size: 40, ..FaceReport::new(7) };
    let report = |faces| FrameReport::new(40_000_000, "cnn-lstm@1.0.0", "cpu", faces);
    let placed = FrameReport {
        running_time: Some(40_000_001),
        utc: Some("2030-01-02T03:04:05.678901Z".into()),
        stream: Some("studio 1".into()),
        run: Some("7f9c24e8-3b12-4fae-9a12-0c5c5a6ff001".into()),
        element: Some("deepfakedetect0".into()),
        ..report(vec![face(1), full])
    };
    vec![report(vec![]), placed, report(vec![bare])]
}
