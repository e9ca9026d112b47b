//! The report as one line of JSON.

use super::FrameReport;

/// One JSON object without line breaks; fields in snake_case, `null` where nothing is known.
pub fn line(report: &FrameReport) -> String {
    serde_json::to_string(report).expect("a report holds nothing that JSON cannot say")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_report_survives_the_line() {
        for report in testing::reports() {
            let line = line(&report);
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<FrameReport>(&line).unwrap(), report);
        }
    }
}
