//! Reports for tests.

use crate::{FaceReport, FrameReport, Reason, SCHEMA, State};

pub fn face(track_id: u32) -> FaceReport {
    FaceReport {
        track_id,
        x: 0.25,
        y: 0.125,
        width: 0.5,
        height: 0.5,
        detection: 0.75,
        state: State::Fake,
        reason: None,
        score: Some(0.9375),
        frame_score: Some(0.5),
        certainty: 0.875,
        window_fill: 40,
        window_size: 40,
        window_start: Some(0),
        window_end: Some(2_600_000_000),
    }
}

/// One report without faces, one with every optional field, one with none.
pub fn reports() -> Vec<FrameReport> {
    let bare = FaceReport {
        state: State::Rejected,
        reason: Some(Reason::TooSmall),
        score: None,
        frame_score: None,
        window_fill: 0,
        window_start: None,
        window_end: None,
        ..face(7)
    };
    [vec![], vec![face(1), face(2)], vec![bare]]
        .into_iter()
        .map(|faces| FrameReport {
            schema: SCHEMA,
            pts: 40_000_000,
            model: "cnn-lstm@1.0.0".into(),
            device: "cpu".into(),
            faces,
        })
        .collect()
}
