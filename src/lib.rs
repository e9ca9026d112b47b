//! GStreamer elements that tell, live, whether a face on a video feed is real.
//!
//! | where | what lives there |
//! |---|---|
//! | [`elements`] | `deepfakedetect`, `deepfakeoverlay`, `deepfakelog`: glue to GStreamer, one folder each |
//! | [`deepfake_engine`] | from a frame's pixels to verdicts about its faces, and ONNX Runtime; knows no GStreamer |
//! | [`deepfake_report`] | what is known of a frame, and its forms: metadata, bus message, JSON |
//!
//! An application reads reports with `deepfake_report` alone. What it needs of this crate is [`plugin_register_static`], where it
//! brings the plugin along.

pub mod elements;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    deepfake_report::meta::register();
    elements::register(plugin)
}

gst::plugin_define!(
    deepfake,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_HOMEPAGE"),
    env!("BUILD_REL_DATE")
);
