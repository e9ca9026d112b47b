//! The report as metadata of a buffer.
//!
//! Written several times, because each form survives somewhere else: as the custom meta [`NAME`],
//! which outlives conversion, scaling and in-process encoders, and as one
//! `GstVideoRegionOfInterestMeta` of type `face` per face, which stock elements understand; with
//! the cargo feature `v1_24` also as `GstAnalyticsRelationMeta`, see `report::analytics`. [`read`]
//! takes the custom meta.

use std::sync::{Arc, Once};

use gst_video::VideoRegionOfInterestMeta;

use super::{FaceReport, FrameReport, structure};

/// Name of the custom meta.
pub const NAME: &str = "deepfake-meta";
/// `roi_type` of the region-of-interest metas.
pub const ROI_TYPE: &str = "face";
/// Name of the parameter structure inside each region-of-interest meta.
pub const ROI_PARAM: &str = "deepfake";

/// Makes the custom meta known to this process. Called by the plugin; an application that reads
/// metadata through this crate without loading the plugin calls it itself. May be called again.
pub fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The library may be in the process twice: as the plugin and linked into an application.
        if !gst::meta::CustomMeta::is_registered(NAME) {
            // The tag `video` alone: with `size` too, videoscale would drop it.
            gst::meta::CustomMeta::register(NAME, &["video"]);
        }
    });
}

/// A report made ready to be attached to any number of buffers.
pub struct Attachable {
    report: Arc<FrameReport>,
    /// The fields of the custom meta.
    fields: gst::Structure,
    /// The parameter of each face's region of interest.
    params: Vec<gst::Structure>,
}

impl Attachable {
    pub fn new(report: Arc<FrameReport>) -> Self {
        let mut fields = gst::Structure::new_empty(NAME);
        let params: Vec<_> = report.faces.iter().map(structure::face_structure).collect();
        structure::write_with_faces(&report, params.iter().cloned(), &mut fields);
        let renamed = params.into_iter().map(|mut param| {
            param.set_name(ROI_PARAM);
            param.set_if_some("element", report.element.as_deref());
            param
        });
        Self { params: renamed.collect(), fields, report }
    }

    pub fn report(&self) -> &Arc<FrameReport> {
        &self.report
    }

    /// Attaches the report to `buffer`, whose frame is `width`×`height` pixels. One of the same
    /// element that the buffer carries already is replaced; those of others, and all analytics
    /// entries, stay.
    ///
    /// # Errors
    /// If the custom meta was not [registered](register), or GStreamer has no room for the
    /// analytics entries.
    pub fn attach(&self, buffer: &mut gst::BufferRef, width: u32, height: u32) -> Result<(), gst::glib::BoolError> {
        remove(buffer, self.report.element.as_deref());
        let mut meta = gst::meta::CustomMeta::add(buffer, NAME)?;
        let fields = meta.mut_structure();
        self.fields.iter().for_each(|(name, value)| fields.set_value(name, value.clone()));
        for (face, param) in self.report.faces.iter().zip(&self.params) {
            let mut roi = VideoRegionOfInterestMeta::add(buffer, ROI_TYPE, pixels(face, width, height));
            roi.set_id(i32::try_from(face.track_id).unwrap_or(i32::MAX));
            roi.add_param(param.clone());
        }
        #[cfg(feature = "v1_24")]
        super::analytics::attach(buffer, &self.report, width, height)?;
        Ok(())
    }
}

/// Attaches `report` to one buffer, as [`Attachable::attach`] does.
///
/// # Errors
/// As there.
pub fn attach(
    buffer: &mut gst::BufferRef,
    report: &FrameReport,
    width: u32,
    height: u32,
) -> Result<(), gst::glib::BoolError> {
    Attachable::new(Arc::new(report.clone())).attach(buffer, width, height)
}

/// The report that a buffer carries, or `None`. Of several it is the one attached first. A
/// malformed one counts as none.
pub fn read(buffer: &gst::BufferRef) -> Option<FrameReport> {
    reports(buffer).next()
}

/// The report that a buffer carries of the `deepfakedetect` of this name.
pub fn read_from(buffer: &gst::BufferRef, element: &str) -> Option<FrameReport> {
    reports(buffer).find(|report| report.element.as_deref() == Some(element))
}

/// All reports that a buffer carries, one of each `deepfakedetect`. Copies, as payloaders make
/// them, count once.
pub fn read_all(buffer: &gst::BufferRef) -> Vec<FrameReport> {
    let mut all: Vec<FrameReport> = Vec::new();
    for report in reports(buffer) {
        if !all.iter().any(|known| known.element == report.element) {
            all.push(report);
        }
    }
    all
}

fn reports(buffer: &gst::BufferRef) -> impl Iterator<Item = FrameReport> {
    buffer.iter_meta::<gst::Meta>().filter_map(|meta| {
        let custom = meta.try_as_custom_meta().filter(|custom| custom.has_name(NAME))?;
        structure::read(custom.structure()).ok()
    })
}

/// Takes the report of the element of this name off a buffer: its custom meta and regions of
/// interest.
fn remove(buffer: &mut gst::BufferRef, element: Option<&str>) {
    let is_its = |fields: &gst::StructureRef| fields.get_optional::<&str>("element").ok().flatten() == element;
    buffer.foreach_meta_mut(|mut meta| {
        let is_report =
            meta.try_as_custom_meta().is_some_and(|custom| custom.has_name(NAME) && is_its(custom.structure()));
        let is_region = meta
            .downcast_ref::<VideoRegionOfInterestMeta>()
            .is_some_and(|roi| roi.param(ROI_PARAM).is_some_and(is_its));
        let action = if is_report || is_region {
            gst::buffer::BufferMetaForeachAction::Remove
        } else {
            gst::buffer::BufferMetaForeachAction::Keep
        };
        std::ops::ControlFlow::Continue(action)
    });
}

/// A face's box in whole pixels: x, y, width, height.
pub(super) fn pixels(face: &FaceReport, width: u32, height: u32) -> (u32, u32, u32, u32) {
    let scale = |value: f64, size: u32| (value.clamp(0.0, 1.0) * f64::from(size)).round() as u32;
    let (x, y) = (scale(face.x, width), scale(face.y, height));
    let (right, bottom) = (scale(face.x + face.width, width), scale(face.y + face.height, height));
    (x, y, right.saturating_sub(x), bottom.saturating_sub(y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn from(element: &str, mut report: FrameReport) -> FrameReport {
        report.element = Some(element.into());
        report
    }

    #[test]
    fn a_report_survives_the_buffer_and_is_replaced_not_doubled() {
        gst::init().unwrap();
        register();
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.get_mut().unwrap();
        assert_eq!(read(buffer), None);
        for report in testing::reports() {
            let report = from("one", report);
            attach(buffer, &report, 640, 360).unwrap();
            assert_eq!(read(buffer).as_ref(), Some(&report));
            assert_eq!(buffer.iter_meta::<VideoRegionOfInterestMeta>().count(), report.faces.len());
        }
    }

    #[test]
    fn several_detectors_keep_their_own_reports() {
        gst::init().unwrap();
        register();
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.get_mut().unwrap();
        let all = testing::reports();
        let (one, two) = (from("one", all[1].clone()), from("two", all[2].clone()));
        for report in [&one, &two, &two] {
            attach(buffer, report, 640, 360).unwrap();
        }
        assert_eq!(read_all(buffer), [one.clone(), two.clone()]);
        assert_eq!(read_from(buffer, "two"), Some(two));
        assert_eq!(read_from(buffer, "three"), None);
        assert_eq!(read(buffer), Some(one));
        assert_eq!(buffer.iter_meta::<VideoRegionOfInterestMeta>().count(), 3);
    }

    #[test]
    fn regions_of_others_stay() {
        gst::init().unwrap();
        register();
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.get_mut().unwrap();
        VideoRegionOfInterestMeta::add(buffer, ROI_TYPE, (1, 2, 3, 4));
        attach(buffer, &testing::reports()[2], 640, 360).unwrap();
        attach(buffer, &testing::reports()[0], 640, 360).unwrap();
        let left: Vec<_> = buffer.iter_meta::<VideoRegionOfInterestMeta>().map(|roi| roi.rect()).collect();
        assert_eq!(left, [(1, 2, 3, 4)]);
    }

    #[test]
    fn boxes_are_cut_to_the_frame() {
        let face = FaceReport { x: 0.9, y: -0.1, width: 0.5, height: 0.5, ..testing::face(1) };
        assert_eq!(pixels(&face, 100, 100), (90, 0, 10, 40));
    }
}
