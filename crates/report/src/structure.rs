//! `FrameReport` ⇄ `GstStructure`: the form that both the custom meta and the bus message carry.
//!
//! Field names are the report's own. A field that is `None` is left out.

use gst::glib::{prelude::*, value::FromValue};

use super::{FaceReport, FrameReport};
use crate::{Reason, State};

/// Why a structure is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StructureError {
    #[error("report schema {0} is not known to this version (it knows {known})", known = super::SCHEMA)]
    Schema(u32),
    #[error("field {field:?} is missing, or holds no {kind}")]
    Field { field: &'static str, kind: &'static str },
    #[error("field {field:?} holds {value:?}, which is no known word")]
    Word { field: &'static str, value: String },
}

/// Writes all fields of `report` into `structure`, whose name stays.
pub fn write(report: &FrameReport, structure: &mut gst::StructureRef) {
    write_with_faces(report, report.faces.iter().map(face_structure), structure);
}

/// The same with the [structures](face_structure) of its faces.
pub(super) fn write_with_faces(
    report: &FrameReport,
    faces: impl IntoIterator<Item = gst::Structure>,
    structure: &mut gst::StructureRef,
) {
    structure.set("schema", report.schema);
    structure.set("pts", report.pts);
    structure.set("model", &report.model);
    structure.set("device", &report.device);
    structure.set("faces", gst::Array::new(faces));
}

/// The fields of one face as a structure named `face`.
pub fn face_structure(face: &FaceReport) -> gst::Structure {
    gst::Structure::builder("face")
        .field("track_id", face.track_id)
        .field("x", face.x)
        .field("y", face.y)
        .field("width", face.width)
        .field("height", face.height)
        .field("detection", face.detection)
        .field("state", face.state.as_str())
        .field_if_some("reason", face.reason.map(Reason::as_str))
        .field_if_some("score", face.score)
        .field_if_some("frame_score", face.frame_score)
        .field("certainty", face.certainty)
        .field("window_fill", face.window_fill)
        .field("window_size", face.window_size)
        .field_if_some("window_start", face.window_start)
        .field_if_some("window_end", face.window_end)
        .build()
}

/// Reads a report back.
///
/// # Errors
/// [`StructureError`] if the schema is unknown, a field is missing or of another type, or a word is unknown.
pub fn read(structure: &gst::StructureRef) -> Result<FrameReport, StructureError> {
    let schema = required::<u32>(structure, "schema")?;
    if schema != super::SCHEMA {
        return Err(StructureError::Schema(schema));
    }
    let faces = required::<gst::Array>(structure, "faces")?
        .iter()
        .map(|face| {
            let face = face.get::<gst::Structure>();
            let face = face.map_err(|_| StructureError::Field { field: "faces", kind: "structure" })?;
            read_face(&face)
        })
        .collect::<Result<_, _>>()?;
    Ok(FrameReport {
        schema,
        pts: required(structure, "pts")?,
        model: required(structure, "model")?,
        device: required(structure, "device")?,
        faces,
    })
}

fn read_face(face: &gst::StructureRef) -> Result<FaceReport, StructureError> {
    let state = required::<String>(face, "state")?;
    let reason = optional::<String>(face, "reason")?;
    Ok(FaceReport {
        track_id: required(face, "track_id")?,
        x: required(face, "x")?,
        y: required(face, "y")?,
        width: required(face, "width")?,
        height: required(face, "height")?,
        detection: required(face, "detection")?,
        state: State::parse(&state).ok_or(StructureError::Word { field: "state", value: state })?,
        reason: reason
            .map(|word| Reason::parse(&word).ok_or(StructureError::Word { field: "reason", value: word }))
            .transpose()?,
        score: optional(face, "score")?,
        frame_score: optional(face, "frame_score")?,
        certainty: required(face, "certainty")?,
        window_fill: required(face, "window_fill")?,
        window_size: required(face, "window_size")?,
        window_start: optional(face, "window_start")?,
        window_end: optional(face, "window_end")?,
    })
}

/// The field as `T`; an error if it is missing or of another type.
fn required<T>(structure: &gst::StructureRef, field: &'static str) -> Result<T, StructureError>
where
    T: for<'v> FromValue<'v> + StaticType,
{
    optional(structure, field)?.ok_or(StructureError::Field { field, kind: std::any::type_name::<T>() })
}

/// The field as `T`, `None` if it is missing; an error if it is of another type.
fn optional<T>(structure: &gst::StructureRef, field: &'static str) -> Result<Option<T>, StructureError>
where
    T: for<'v> FromValue<'v> + StaticType,
{
    let Ok(value) = structure.value(field) else { return Ok(None) };
    let mismatch = StructureError::Field { field, kind: std::any::type_name::<T>() };
    if !value.type_().is_a(T::static_type()) {
        return Err(mismatch);
    }
    value.get::<T>().map(Some).map_err(|_| mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_report_survives_the_structure() {
        gst::init().unwrap();
        for report in testing::reports() {
            let mut structure = gst::Structure::new_empty("deepfake-report");
            write(&report, &mut structure);
            assert_eq!(read(&structure).unwrap(), report);
        }
    }

    #[test]
    fn an_unknown_schema_or_word_is_an_error() {
        gst::init().unwrap();
        let report = testing::reports().pop().unwrap();
        let mut structure = gst::Structure::new_empty("deepfake-report");
        write(&report, &mut structure);
        structure.set("schema", 99u32);
        assert!(matches!(read(&structure), Err(StructureError::Schema(99))));

        let mut face = face_structure(&report.faces[0]);
        face.set("state", "bewildered");
        assert!(matches!(read_face(&face), Err(StructureError::Word { field: "state", .. })));
    }
}
