//! Faces that an element upstream has found.

use gst_video::VideoRegionOfInterestMeta;

use crate::analysis::detector::Detection;
use crate::analysis::geometry::Rect;
use crate::report::meta;

/// The regions of interest of type `face` that `buffer` carries, in pixels; not those that this plugin itself attached.
pub fn faces(buffer: &gst::BufferRef) -> Vec<Detection> {
    let regions = buffer
        .iter_meta::<VideoRegionOfInterestMeta>()
        .filter(|roi| roi.roi_type() == meta::ROI_TYPE && roi.param(meta::ROI_PARAM).is_none())
        .map(|roi| {
            let (x, y, width, height) = roi.rect();
            let rect = Rect::new(x as f32, y as f32, width as f32, height as f32);
            Detection { rect, landmarks: None, confidence: 1.0 }
        });
    regions.collect()
}
