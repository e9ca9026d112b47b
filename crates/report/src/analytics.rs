//! The report as `GstAnalyticsRelationMeta`, which stock elements of GStreamer 1.24 and newer understand.
//!
//! Each face becomes an object detection, and what it is related to, by `RELATE_TO` as well as `CONTAIN` since readers look
//! for either:
//!
//! ```text
//! object detection "face" ─┬─ tracking: the track's id
//!                          └─ classification: "fake", then "real"; absent until there is a score
//! ```
//!
//! A buffer has at most one relation meta, which all elements share, and GStreamer has no call to take an entry out again. A
//! mark, one more entry, of a type of our own, therefore `CONTAIN`s all of ours: by it they are told from those of others.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ptr;

use gst::glib::{self, translate::IntoGlib};
use gst::meta::{MetaTransform, MetaTransformCopy};
use gst_analytics::{
    AnalyticsAnyMtd, AnalyticsODLocation, AnalyticsODMtd, AnalyticsRelationMeta, AnalyticsRelationMetaInitParams,
    AnalyticsTrackingMtd, RelTypes, ffi, prelude::*,
};

use super::{FaceReport, FrameReport, meta};

/// Type of the object detections: a detector upstream says it like this, too.
pub const FACE: &str = meta::ROI_TYPE;
/// Name of the entry type of the mark.
pub const MARK: &CStr = c"deepfake-report";
/// First class of a classification; its level is the score. Stock overlays show the first class only.
pub const FAKE: &str = "fake";
/// Second class: 1 − score.
pub const REAL: &str = "real";

/// Room for an entry, in bytes: more than any of ours takes. The meta grows if it has to.
const ENTRY_BYTES: usize = 128;

type MetaRef<'a> = gst::MetaRef<'a, AnalyticsRelationMeta>;
type MetaRefMut<'a> = gst::MetaRefMut<'a, AnalyticsRelationMeta, gst::meta::Standalone>;

/// Adds the faces of `report` to the relation meta of `buffer`, whose frame is `width`×`height` pixels. Earlier ones of ours
/// must have been [removed](remove).
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

/// Takes what [`attach`] has written off `buffer`. What others have written stays, with its ids.
pub(super) fn remove(buffer: &mut gst::BufferRef) {
    let Some(relations) = buffer.meta::<AnalyticsRelationMeta>() else { return };
    let own = own_entries(&relations);
    if !own.contains(&true) {
        return;
    }
    let rest = own.iter().rposition(|own| !own).map(|last| copy_without(buffer, &relations, &own[..=last]));
    let relations = buffer.meta_mut::<AnalyticsRelationMeta>().expect("it was just read");
    relations.remove().expect("a relation meta is never locked");
    if let Some(rest) = rest {
        rest.copy_into(buffer, gst::BufferCopyFlags::META, ..).expect("a relation meta can be copied");
    }
}

/// Boxes of the faces that `buffer`'s relation meta holds, in pixels; not those that this plugin itself attached.
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

/// For each entry, by its id, whether it is ours, or nobody's: an entry that did not survive a transform loses its type.
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

/// A buffer that carries a copy of `relations`, which belong to `buffer`, up to as many entries as `own` tells of. In the place
/// of own entries there are marks that contain nothing, so that the ids of others stay.
fn copy_without(buffer: &gst::BufferRef, relations: &MetaRef, own: &[bool]) -> gst::Buffer {
    let mut carrier = gst::Buffer::new();
    let carrier_head = carrier.get_mut().expect("it is new");
    let carrier_ptr = carrier_head.as_mut_ptr();
    let mut copy = AnalyticsRelationMeta::add_full(carrier_head, &room(own.len()));
    for (id, own) in own.iter().enumerate() {
        if *own {
            add_mark(&mut copy).expect("there is room for every entry");
        } else {
            copy_entry(buffer, relations, id as u32, carrier_ptr, &mut copy);
        }
    }
    let others = |id: &u32| !own[*id as usize];
    let ids = 0..own.len() as u32;
    for first in ids.clone().filter(others) {
        for second in ids.clone().filter(others) {
            let relation = relations.relation(first, second);
            if !relation.is_empty() {
                copy.set_relation(relation, first, second).expect("both entries were added");
            }
        }
    }
    carrier
}

/// Appends a copy of entry `id` of `relations` to `copy`, whatever its type: as GStreamer itself does when it copies a buffer,
/// byte by byte, and then the type's own function takes what references it needs.
fn copy_entry(
    buffer: &gst::BufferRef,
    relations: &MetaRef,
    id: u32,
    carrier: *mut gst::ffi::GstBuffer,
    copy: &mut MetaRefMut,
) {
    // SAFETY: the id is that of an entry; an entry's type is the address of its description, which is never freed; source and
    // destination are both of the entry's size, and apart. A transform of type "gst-copy" takes a GstMetaTransformCopy.
    unsafe {
        let from = relations.as_mut_ptr();
        let source = ffi::GstAnalyticsMtd { id, meta: from };
        let kind = ffi::gst_analytics_mtd_get_mtd_type(&source) as *const ffi::GstAnalyticsMtdImpl;
        let size = ffi::gst_analytics_mtd_get_size(&source);
        let mut target = MaybeUninit::uninit();
        let to = ffi::gst_analytics_relation_meta_add_mtd(copy.as_mut_ptr(), kind, size, target.as_mut_ptr());
        let data = ffi::gst_analytics_relation_meta_get_mtd_data(from, id);
        ptr::copy_nonoverlapping(data.cast::<u8>(), to.cast::<u8>(), size);
        if let Some(transform) = (*kind).mtd_meta_transform {
            let whole = MetaTransformCopy::new(..);
            transform(
                carrier,
                target.as_mut_ptr(),
                buffer.as_ptr().cast_mut(),
                MetaTransformCopy::quark().into_glib(),
                whole.as_ptr().cast_mut().cast(),
            );
        }
    }
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
