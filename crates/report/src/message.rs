//! The report and the alerts as element messages on the bus.

use gst::prelude::*;

use super::alert::{Action, Alert, Kind};
use super::structure::{StructureError, required};
use super::{FrameReport, structure};

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

/// `deepfake-alert`: all fields of the alert, and as `face` the report's entry of the face, absent
/// once it has left.
pub fn alert(source: &impl IsA<gst::Object>, alert: &Alert) -> gst::Message {
    gst::message::Element::builder(alert_structure(alert)).src(source).build()
}

fn alert_structure(alert: &Alert) -> gst::Structure {
    let mut report = gst::Structure::new_empty(REPORT);
    structure::write(&alert.report, &mut report);
    let face = alert.report.faces.iter().find(|face| face.track_id == alert.track_id);
    gst::Structure::builder(ALERT)
        .field("id", alert.id)
        .field("action", alert.action.as_str())
        .field("kind", alert.kind.as_str())
        .field("track_id", alert.track_id)
        .field("since", alert.since)
        .field("peak", alert.peak)
        .field_if_some("face", face.map(structure::face_structure))
        .field("report", report)
        .build()
}

/// The report that a message carries; `None` for any other message.
pub fn read_report(message: &gst::MessageRef) -> Option<Result<FrameReport, StructureError>> {
    message.structure().filter(|fields| fields.has_name(REPORT)).map(structure::read)
}

/// The alert that a message carries; `None` for any other message.
pub fn read_alert(message: &gst::MessageRef) -> Option<Result<Alert, StructureError>> {
    message.structure().filter(|fields| fields.has_name(ALERT)).map(read_alert_structure)
}

fn read_alert_structure(fields: &gst::StructureRef) -> Result<Alert, StructureError> {
    Ok(Alert {
        id: required(fields, "id")?,
        action: Action::parse(&required::<String>(fields, "action")?),
        kind: Kind::parse(&required::<String>(fields, "kind")?),
        track_id: required(fields, "track_id")?,
        since: required(fields, "since")?,
        peak: required(fields, "peak")?,
        report: structure::read(required::<gst::Structure>(fields, "report")?.as_ref())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn an_alert_survives_the_message() {
        gst::init().unwrap();
        let source = gst::Bus::new();
        for action in Action::ALL {
            let report = testing::reports().remove(1);
            let given = Alert { id: 3, action, kind: Kind::Sustained, track_id: 2, since: 5, peak: 0.9375, report };
            let message = alert(&source, &given);
            assert_eq!(read_alert(&message).unwrap().unwrap(), given);
            assert!(message.structure().unwrap().has_field("face"));
            assert!(read_report(&message).is_none());
        }
    }
}
