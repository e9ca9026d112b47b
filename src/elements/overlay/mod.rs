//! `deepfakeoverlay`: draws what `deepfakedetect` said onto the picture.
//!
//! Reads the report that each buffer carries (see [`deepfake_report`]) and draws, per face, a box
//! whose colour *and* line tell the state, and a label with the state in words, the calibrated fake
//! score, the track's number, how full its window is, and the score of the last seconds.
//!
//! | state | colour | line | mark |
//! |---|---|---|---|
//! | authentic | bluish green | thin, solid | tick |
//! | uncertain | yellow | dashed | question mark |
//! | fake | vermillion | thick, solid | exclamation mark |
//! | warming | sky blue | dotted | dots |
//! | rejected (too small, blurred, too dark, profile) | grey | dash-dotted | bar |
//!
//! The palette is Okabe and Ito's, which people with any of the common colour-vision deficiencies
//! can tell apart.
//!
//! It works wherever it sits downstream of `deepfakedetect`: the report outlives conversion,
//! scaling and in-process encoding. Where only region-of-interest metas of type `face` are left, or
//! come from another element, it draws plain boxes. A buffer with neither passes untouched.
//!
//! Where downstream draws overlays itself (`glimagesink` does), the drawing is attached as
//! `GstVideoOverlayCompositionMeta` and the picture's pixels stay as they are; else it is blended
//! into the frame.
//!
//! ## Example
//!
//! ```text
//! gst-launch-1.0 filesrc location=clip.mp4 ! decodebin ! videoconvert \
//!     ! deepfakedetect ! deepfakeoverlay ! videoconvert ! autovideosink
//! ```

mod canvas;
mod heat;
mod history;
mod imp;
mod label;
mod layout;
mod outline;
mod theme;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    pub struct DeepfakeOverlay(ObjectSubclass<imp::DeepfakeOverlay>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "deepfakeoverlay", gst::Rank::NONE, DeepfakeOverlay::static_type())
}
