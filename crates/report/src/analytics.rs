//! The report as `GstAnalyticsRelationMeta`, which stock elements of GStreamer 1.24 and newer
//! understand.
//!
//! Each face becomes an object detection, and what it is related to, by `RELATE_TO` as well as
//! `CONTAIN` since readers look for either:
//!
//! ```text
//! object detection "face" ─┬─ tracking: the track's id
//!                          └─ classification: "fake", then "real"; absent until there is a score
//! ```
//!
//! A buffer has at most one relation meta, which all elements share, and GStreamer has no call to
//! take an entry out again: entries stay until the buffer is freed. A mark, one more entry, of a
//! type of our own, `CONTAIN`s all of ours, so that a detector does not take them for faces that an
//! element upstream has found.

use std::ffi::CStr;
use std::ptr;

use gst::glib;
use gst_analytics::{
    AnalyticsAnyMtd, AnalyticsODLocation, AnalyticsODMtd, AnalyticsRelationMeta, AnalyticsRelationMetaInitParams,
    AnalyticsTrackingMtd, RelTypes, ffi, prelude::*,
};

use super::{FaceReport, FrameReport, meta};

/// Type of the object detections: a detector upstream says it like this, too.
pub const FACE: &str = meta::ROI_TYPE;
/// Name of the entry type of the mark.
pub const MARK: &CStr = c"deepfake-report";
/// First class of a classification; its level is the score. Stock overlays show the first class
/// only.
pub const FAKE: &str = "fake";
/// Second class: 1 − score.
pub const REAL: &str = "real";

/// Room for an entry, in bytes: more than any of ours takes. The meta grows if it has to.
const ENTRY_BYTES: usize = 128;

type MetaRef<'a> = gst::MetaRef<'a, AnalyticsRelationMeta>;
type MetaRefMut<'a> = gst::MetaRefMut<'a, AnalyticsRelationMeta, gst::meta::Standalone>;

/// Adds the faces of `report` to the relation meta of `buffer`, whose frame is `width`×`height`
/// pixels.
///
/// # Errors
/// If GStreamer finds no room in the meta.
pub(super) fn attach(
    buffer: &mut gst::BufferRef,
    report: &FrameReport,
    width: u32,
    height: u32,
) -> Result<(), glib::BoolError> {
    if report.faces.is_empty() {
        return Ok(());
    }
    let related = RelTypes::RELATE_TO | RelTypes::CONTAIN;
    let mut relations = AnalyticsRelationMeta::add_full(buffer, &room(1 + 3 * report.faces.len()));
    let mark = add_mark(&mut relations)?;
    let mut last_seen = Vec::with_capacity(report.faces.len());
    for face in &report.faces {
        let (x, y, width, height) = meta::pixels(face, width, height);
        let [x, y, width, height] = [x, y, width, height].map(|pixels| i32::try_from(pixels).unwrap_or(i32::MAX));
        let kind = glib::Quark::from_str(FACE);
        let object = relations.add_od_mtd(kind, x, y, width, height, face.detection as f32)?.id();
        relations.set_relation(RelTypes::CONTAIN, mark, object)?;

        let (first, last) = seen(face, report);
        let tracking = relations.add_tracking_mtd(face.track_id.into(), first)?.id();
        relations.set_relation(RelTypes::CONTAIN, mark, tracking)?;
        relations.set_relation(related, object, tracking)?;
        last_seen.push((tracking, last));

        if let Some(score) = face.score {
            let classes = [FAKE, REAL].map(glib::Quark::from_str);
            let verdict = relations.add_cls_mtd(&[score as f32, (1.0 - score) as f32], &classes)?.id();
            relations.set_relation(RelTypes::CONTAIN, mark, verdict)?;
            relations.set_relation(related, object, verdict)?;
        }
    }
    for (id, last) in last_seen {
        let mut relations = buffer.meta_mut::<AnalyticsRelationMeta>().expect("it was just added");
        let mut tracking = relations.mtd_mut::<AnalyticsTrackingMtd>(id).expect("it was just added");
        tracking.update_last_seen(last)?;
    }
    Ok(())
}

/// Boxes of the faces that `buffer`'s relation meta holds, in pixels; not those that this plugin
/// itself attached.
pub fn faces_of_others(buffer: &gst::BufferRef) -> Vec<AnalyticsODLocation> {
    let Some(relations) = buffer.meta::<AnalyticsRelationMeta>() else { return Vec::new() };
    let own = own_entries(&relations);
    let face = glib::Quark::from_str(FACE);
    let objects = relations.iter::<AnalyticsODMtd>();
    objects
        .filter(|object| !own[object.id() as usize] && object.obj_type() == Some(face))
        .filter_map(|object| object.location().ok())
        .collect()
}

/// When a face was first and last seen, as far as its report tells.
fn seen(face: &FaceReport, report: &FrameReport) -> (gst::ClockTime, gst::ClockTime) {
    let time = |pts: Option<u64>| gst::ClockTime::from_nseconds(pts.unwrap_or(report.pts));
    (time(face.window_start), time(face.window_end))
}

fn room(entries: usize) -> AnalyticsRelationMetaInitParams {
    AnalyticsRelationMetaInitParams::new(entries, entries * ENTRY_BYTES)
}

/// For each entry, by its id, whether it is ours, or nobody's: an entry that did not survive a
/// transform loses its type.
fn own_entries(relations: &MetaRef) -> Vec<bool> {
    let mut own = vec![false; relations.len()];
    for entry in relations.iter::<AnalyticsAnyMtd>() {
        if entry.mtd_type() == 0 {
            own[entry.id() as usize] = true;
        } else if is_mark(entry.mtd_type()) {
            own[entry.id() as usize] = true;
            for marked in relations.iter_direct_related::<AnalyticsAnyMtd>(entry.id(), RelTypes::CONTAIN) {
                own[marked.id() as usize] = true;
            }
        }
    }
    own
}

/// What GStreamer asks of the description of an entry type.
struct EntryType(ffi::GstAnalyticsMtdImpl);

// SAFETY: it is constant.
unsafe impl Sync for EntryType {}

static MARK_TYPE: EntryType = EntryType(ffi::GstAnalyticsMtdImpl {
    name: MARK.as_ptr(),
    mtd_meta_transform: None,
    mtd_meta_clear: None,
    _reserved: [ptr::null_mut(); 19],
});

/// Appends a mark, and returns its id.
fn add_mark(relations: &mut MetaRefMut) -> Result<u32, glib::BoolError> {
    let mut mark = ffi::GstAnalyticsMtd { id: 0, meta: ptr::null_mut() };
    // SAFETY: the description is static, and the entry has no data that would have to be set.
    unsafe { ffi::gst_analytics_relation_meta_add_mtd(relations.as_mut_ptr(), &MARK_TYPE.0, 0, &mut mark) };
    if mark.meta.is_null() { Err(glib::bool_error!("no room in the relation meta")) } else { Ok(mark.id) }
}

/// By name: the library may be in the process twice, as the plugin and linked into an application.
fn is_mark(kind: ffi::GstAnalyticsMtdType) -> bool {
    // SAFETY: the type of an existing entry; its name is a string that is never freed.
    unsafe { CStr::from_ptr(ffi::gst_analytics_mtd_type_get_name(kind)) == MARK }
}
