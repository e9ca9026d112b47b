//! `FrameReport` ⇄ `GstStructure`: the form that both the custom meta and the bus message carry.
//!
//! Field names are the report's own. A field that is `None` is left out.

use gst::glib::{prelude::*, value::FromValue};

use super::{FaceReport, FrameReport};
use crate::{KindScores, Reason, State};

/// Why a structure is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StructureError {
    #[error("report schema {0} is not known to this version (it knows {known})", known = super::SCHEMA)]
    Schema(u32),
    #[error("field {field:?} is missing, or holds no {kind}")]
    Field { field: &'static str, kind: &'static str },
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
    structure.set_if_some("running_time", report.running_time);
    structure.set_if_some("utc", report.utc.as_deref());
    structure.set_if_some("stream", report.stream.as_deref());
    structure.set_if_some("run", report.run.as_deref());
    structure.set_if_some("element", report.element.as_deref());
    structure.set_if_some("buffer_pts", report.buffer_pts);
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
        .field("seen", face.seen)
        .field("state", face.state.as_str())
        .field_if_some("reason", face.reason.map(Reason::as_str))
        .field_if_some("score", face.score)
        .field_if_some("frame_score", face.frame_score)
        .field("certainty", face.certainty)
        .field("spike", face.spike)
        .field("window_fill", face.window_fill)
        .field("window_size", face.window_size)
        .field_if_some("window_start", face.window_start)
        .field_if_some("window_end", face.window_end)
        .field_if_some("kind", face.kind.map(kind_structure))
        .field_if_some("where", face.heat.as_ref().map(|rows| gst::Array::new(rows.iter().map(gst::Array::new))))
        .build()
}

fn kind_structure(kind: KindScores) -> gst::Structure {
    gst::Structure::builder("kind")
        .field("swap", kind.swap)
        .field("lips", kind.lips)
        .field("generated", kind.generated)
        .build()
}

/// Reads a report back. Fields and words that are not known are ignored.
///
/// # Errors
/// [`StructureError`] if the schema is unknown, or a field is missing or of another type.
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
        running_time: optional(structure, "running_time")?,
        utc: optional(structure, "utc")?,
        stream: optional(structure, "stream")?,
        run: optional(structure, "run")?,
        element: optional(structure, "element")?,
        buffer_pts: optional(structure, "buffer_pts")?,
        model: required(structure, "model")?,
        device: required(structure, "device")?,
        faces,
    })
}

/// Reads a face back, as [`read`] does a report.
///
/// # Errors
/// As there.
pub fn read_face(face: &gst::StructureRef) -> Result<FaceReport, StructureError> {
    Ok(FaceReport {
        track_id: required(face, "track_id")?,
        x: required(face, "x")?,
        y: required(face, "y")?,
        width: required(face, "width")?,
        height: required(face, "height")?,
        detection: required(face, "detection")?,
        seen: optional(face, "seen")?.unwrap_or(true),
        state: State::parse(&required::<String>(face, "state")?),
        reason: optional::<String>(face, "reason")?.map(|word| Reason::parse(&word)),
        score: optional(face, "score")?,
        frame_score: optional(face, "frame_score")?,
        certainty: required(face, "certainty")?,
        spike: optional(face, "spike")?.unwrap_or(false),
        window_fill: required(face, "window_fill")?,
        window_size: required(face, "window_size")?,
        window_start: optional(face, "window_start")?,
        window_end: optional(face, "window_end")?,
        kind: optional::<gst::Structure>(face, "kind")?.map(|kind| read_kind(&kind)).transpose()?,
        heat: optional::<gst::Array>(face, "where")?.map(|rows| read_rows(&rows)).transpose()?,
    })
}

fn read_kind(kind: &gst::StructureRef) -> Result<KindScores, StructureError> {
    let score = |field| Ok(optional(kind, field)?.unwrap_or(0.0));
    Ok(KindScores { swap: score("swap")?, lips: score("lips")?, generated: score("generated")? })
}

fn read_rows(rows: &gst::Array) -> Result<Vec<Vec<f64>>, StructureError> {
    const MISMATCH: StructureError = StructureError::Field { field: "where", kind: "array of arrays of doubles" };
    let row = |row: gst::Array| row.iter().map(|value| value.get().map_err(|_| MISMATCH)).collect::<Result<_, _>>();
    rows.iter().map(|value| row(value.get().map_err(|_| MISMATCH)?)).collect()
}

/// The field as `T`; an error if it is missing or of another type.
pub(super) fn required<T>(structure: &gst::StructureRef, field: &'static str) -> Result<T, StructureError>
where
    T: for<'v> FromValue<'v> + StaticType,
{
    optional(structure, field)?.ok_or(StructureError::Field { field, kind: std::any::type_name::<T>() })
}

/// The field as `T`, `None` if it is missing; an error if it is of another type.
pub(super) fn optional<T>(structure: &gst::StructureRef, field: &'static str) -> Result<Option<T>, StructureError>
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
    fn an_unknown_schema_is_an_error() {
        gst::init().unwrap();
        let mut structure = gst::Structure::new_empty("deepfake-report");
        write(&testing::reports()[0], &mut structure);
        structure.set("schema", 99u32);
        assert!(matches!(read(&structure), Err(StructureError::Schema(99))));
    }

    /// What a later version may write: more fields, more words, more kinds.
    #[test]
    fn a_report_from_the_future_is_read_and_never_taken_for_authentic() {
        gst::init().unwrap();
        let report = testing::reports().remove(1);
        let mut face = face_structure(&report.faces[1]);
        face.set("state", "puppet");
        face.set("reason", "sunglasses");
        face.set("roll", 3.5);
        let mut kind = kind_structure(KindScores::new(0.25, 0.5, 0.25));
        kind.set("relit", 0.75);
        face.set("kind", kind);
        let mut structure = gst::Structure::new_empty("deepfake-report");
        write(&report, &mut structure);
        structure.set("weather", "rain");
        structure.set("faces", gst::Array::new([face]));
        let face = read(&structure).unwrap().faces.remove(0);
        assert_eq!((face.state, face.reason), (State::Other, Some(Reason::Other)));
        assert!(!face.state.is_judged());
        assert_eq!(face.kind, Some(KindScores::new(0.25, 0.5, 0.25)));
    }

    #[test]
    fn a_report_of_before_is_read() {
        gst::init().unwrap();
        let mut face = face_structure(&testing::face(1));
        ["seen", "spike"].into_iter().for_each(|field| face.remove_field(field));
        assert_eq!(read_face(&face).unwrap(), testing::face(1));
    }
}
