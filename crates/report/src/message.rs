//! The report and the alerts as element messages on the bus.

use gst::prelude::*;

use super::alert::Alert;
use super::{FaceReport, FrameReport, structure};

/// Name of the message's structure that carries a whole [`FrameReport`].
pub const REPORT: &str = "deepfake-report";
/// Name of the message's structure that carries an [`Alert`].
pub const ALERT: &str = "deepfake-alert";

/// `deepfake-report`: all fields of the report.
pub fn report(source: &impl IsA<gst::Object>, report: &FrameReport) -> gst::Message {
    let mut fields = gst::Structure::new_empty(REPORT);
    structure::write(report, &mut fields);
    gst::message::Element::builder(fields).src(source).build()
}

/// `deepfake-alert`: `action`, `kind`, `track_id`, the face as it is now (`face`, absent once it left) and the whole report (`report`).
pub fn alert(
    source: &impl IsA<gst::Object>,
    alert: &Alert,
    face: Option<&FaceReport>,
    report: &FrameReport,
) -> gst::Message {
    let mut inner = gst::Structure::new_empty(REPORT);
    structure::write(report, &mut inner);
    let fields = gst::Structure::builder(ALERT)
        .field("action", alert.action.as_str())
        .field("kind", alert.kind.as_str())
        .field("track_id", alert.track_id)
        .field_if_some("face", face.map(structure::face_structure))
        .field("report", inner)
        .build();
    gst::message::Element::builder(fields).src(source).build()
}
