//! The report as one line of JSON.

use serde::Serialize;

use super::{FrameReport, SCHEMA};

/// What a line of `deepfakelog` says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Line {
    Report(FrameReport),
    /// A buffer that carried no report.
    NotAnalysed {
        buffer_pts: Option<u64>,
    },
}

/// Why a line cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    #[error("the line is no report: {0}")]
    Json(#[from] serde_json::Error),
    #[error("report schema {0} is not known to this version (it knows {SCHEMA})")]
    Schema(u64),
}

/// One JSON object without line breaks; fields in snake_case, `null` where nothing is known.
pub fn line(report: &FrameReport) -> String {
    serde_json::to_string(report).expect("a report holds nothing that JSON cannot say")
}

/// The line of a buffer that carried no report: `null` for what is known of analysed frames only,
/// and no faces.
pub fn line_not_analysed(buffer_pts: Option<u64>) -> String {
    #[derive(Serialize)]
    struct NotAnalysed {
        schema: u32,
        buffer_pts: Option<u64>,
        pts: Option<u64>,
        model: Option<&'static str>,
        device: Option<&'static str>,
        faces: [(); 0],
    }
    let line = NotAnalysed { schema: SCHEMA, buffer_pts, pts: None, model: None, device: None, faces: [] };
    serde_json::to_string(&line).expect("nothing that JSON cannot say")
}

/// Reads a line of either kind.
///
/// # Errors
/// [`LineError`] if it is neither, or of a schema that this version does not know.
pub fn read(line: &str) -> Result<Line, LineError> {
    let value: serde_json::Value = serde_json::from_str(line)?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema != u64::from(SCHEMA) => return Err(LineError::Schema(schema)),
        _ => {}
    }
    if value.get("pts").is_some_and(serde_json::Value::is_null) {
        let buffer_pts = value.get("buffer_pts").and_then(serde_json::Value::as_u64);
        return Ok(Line::NotAnalysed { buffer_pts });
    }
    Ok(Line::Report(serde_json::from_value(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reason, State, testing};

    #[test]
    fn a_report_survives_the_line() {
        for report in testing::reports() {
            let line = line(&report);
            assert!(!line.contains('\n'));
            assert_eq!(read(&line).unwrap(), Line::Report(report));
        }
    }

    #[test]
    fn a_buffer_without_report_gives_a_line_that_can_be_read() {
        for buffer_pts in [Some(40), None] {
            assert_eq!(read(&line_not_analysed(buffer_pts)).unwrap(), Line::NotAnalysed { buffer_pts });
        }
    }

    /// What a later version may write: more fields, more words, more kinds.
    #[test]
    fn a_report_from_the_future_is_read_and_never_taken_for_authentic() {
        let future = include_str!("../tests/data/future.json");
        let Line::Report(report) = read(future).unwrap() else { panic!("it has a PTS") };
        let face = &report.faces[0];
        assert_eq!((face.state, face.reason), (State::Other, Some(Reason::Other)));
        assert!(!face.state.is_judged());
        assert_eq!(face.kind.unwrap().lips, 0.5);
        assert_eq!(face.score, Some(0.0));
    }

    #[test]
    fn a_line_of_before_is_read() {
        let old = r#"{"schema":1,"pts":1,"model":"m@1","device":"cpu","faces":[{"track_id":1,"x":0.0,"y":0.0,
            "width":0.5,"height":0.5,"detection":0.9,"state":"warming","reason":null,"score":null,"frame_score":null,
            "certainty":0.0,"window_fill":1,"window_size":40,"window_start":0,"window_end":0}]}"#;
        let Line::Report(report) = read(old).unwrap() else { panic!("it has a PTS") };
        assert!(report.faces[0].seen);
        assert_eq!(report.utc, None);
    }

    #[test]
    fn another_schema_is_an_error_that_says_so() {
        let error = read(r#"{"schema":2,"pts":1,"model":"m@1","device":"cpu","faces":[]}"#).unwrap_err();
        assert!(matches!(error, LineError::Schema(2)), "{error}");
    }
}
