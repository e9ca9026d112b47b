//! Faces that an element upstream has found.

use gst_video::VideoRegionOfInterestMeta;

use deepfake_engine::analysis::detector::Detection;
use deepfake_engine::analysis::geometry::Rect;
use deepfake_report::meta;

/// The faces that `buffer` carries, in pixels; not those that this plugin itself attached. Detectors that write both forms mean
/// the same faces: analytics entries, which have a confidence, are taken before regions of interest.
pub fn faces(buffer: &gst::BufferRef) -> Vec<Detection> {
    #[cfg(feature = "v1_24")]
    {
        let analytics = analytics_faces(buffer);
        if !analytics.is_empty() {
            return analytics;
        }
    }
    region_faces(buffer)
}

/// Object detections of type `face` in the relation meta.
#[cfg(feature = "v1_24")]
fn analytics_faces(buffer: &gst::BufferRef) -> Vec<Detection> {
    let boxes = deepfake_report::analytics::faces_of_others(buffer).into_iter().filter(|face| face.w > 0 && face.h > 0);
    let faces = boxes.map(|face| Detection {
        rect: Rect::new(face.x as f32, face.y as f32, face.w as f32, face.h as f32),
        landmarks: None,
        // Some detectors do not say, in one way or another.
        confidence: if face.loc_conf_lvl > 0.0 { face.loc_conf_lvl.min(1.0) } else { 1.0 },
    });
    faces.collect()
}

/// Regions of interest of type `face`.
fn region_faces(buffer: &gst::BufferRef) -> Vec<Detection> {
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
