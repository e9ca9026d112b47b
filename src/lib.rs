//! GStreamer elements that tell, live, whether a face on a video feed is real.
//!
//! | module | what lives there |
//! |---|---|
//! | [`elements`] | `deepfakedetect`, `deepfakeoverlay`, `deepfakelog`: glue to GStreamer, one folder each |
//! | [`analysis`] | from a frame's pixels to verdicts about its faces; knows no GStreamer |
//! | [`inference`] | ONNX Runtime, model packages, and the workers that own sessions |
//! | [`report`] | what is known of a frame, and its forms: metadata, bus message, JSON |

pub mod analysis;
pub mod elements;
pub mod inference;
pub mod report;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
    report::meta::register();
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
    env!("CARGO_PKG_NAME"),
    env!("BUILD_REL_DATE")
);
