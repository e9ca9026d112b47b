//! `deepfakedetect`: finds faces, follows them, and says of each how likely it is fake.
//!
//! Attaches a report to every buffer (see [`deepfake_report`]), posts messages, and never changes a pixel,
//! drops a frame or changes their order.
//!
//! ```text
//! gst-launch-1.0 filesrc location=clip.mp4 ! decodebin ! deepfakedetect ! deepfakeoverlay ! videoconvert ! autovideosink
//! ```
//!
//! # Messages
//! Element messages on the bus: `deepfake-alert` when a face has looked fake for `alert-after` and when it has not for
//! `alert-hold` (see [`deepfake_report::alert`]; each raised one is cleared exactly once, in order), and with
//! `post-messages=true` a `deepfake-report` for each analysed frame. With `stats-interval` a `deepfakedetect-stats` now and
//! then, with the fields of the property `stats`.
//!
//! # Starting and changing models
//! Nothing in the application's thread waits for a model: state changes, seeks, flushes and properties return at once. Frames do not
//! wait for it either unless they wait for their analysis anyway (`mode=sync`): until it is there they pass without a report, and
//! `active-device` is unset. A new `model` set while frames flow is loaded beside the old one, which judges on meanwhile; if it
//! cannot be loaded, a warning is posted and the old one stays. Where the first one could not be loaded, a new `model` is loaded with
//! all else it needs, and frames pass until it is there.
//!
//! # Time
//! The analysis works in running time, at any rate and in either direction. A step back of up to half a second is jitter. A frame
//! that is further away from the stream than that, or more than two seconds ahead, is stray: it passes without a report and changes
//! nothing. The third of such frames in a row that belong together is a jump: all faces are forgotten. `stats` counts both.
//!
//! # Latency
//! `mode=sync` reports what 19 of 20 of the newest frames took, and a quarter more, up to a second; or `processing-deadline`.
//! `mode=async` reports nothing.
//!
//! # Many channels
//! Elements of one process that want the same model on the same device share it, and one [executor](deepfake_engine::executor)
//! analyses for all, with as many threads as there are cores. Where there is more to do than there is time each channel may use the
//! same share of it: an expensive one slows down first, and frames that are not analysed are counted as shed. These threads have a
//! lower priority than all others, also those of other programs: frames go on first.

mod engine;
mod imp;
mod outlet;
mod properties;
mod publisher;
mod settings;
mod stats;
mod threads;
pub mod timeline;
mod upstream;

use gst::prelude::*;

/// When a frame is analysed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstDeepfakeMode")]
#[repr(i32)]
pub enum Mode {
    /// Sync when upstream is not live, async when it is.
    #[default]
    #[enum_value(name = "Async when upstream is live, else sync", nick = "auto")]
    Auto,
    /// Each frame waits for its own analysis and leaves with it.
    #[enum_value(name = "Each frame waits for its own analysis", nick = "sync")]
    Sync,
    /// Frames never wait: they are analysed beside the stream and carry the newest finished report.
    #[enum_value(name = "Frames never wait and carry the newest finished report", nick = "async")]
    Async,
}

/// What to run the model on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstDeepfakeDevice")]
#[repr(i32)]
pub enum Device {
    #[default]
    #[enum_value(name = "CUDA if it works, else OpenVINO if it works, else the CPU", nick = "auto")]
    Auto,
    #[enum_value(name = "CPU", nick = "cpu")]
    Cpu,
    #[enum_value(name = "NVIDIA GPU through CUDA", nick = "cuda")]
    Cuda,
    #[enum_value(name = "NVIDIA GPU through TensorRT (builds its engine on first use: minutes)", nick = "tensorrt")]
    TensorRt,
    #[enum_value(name = "Intel processors through OpenVINO", nick = "openvino")]
    OpenVino,
}

/// What to do when something cannot be analysed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstDeepfakeOnError")]
#[repr(i32)]
pub enum OnError {
    #[default]
    #[enum_value(name = "Post a warning and let frames pass without analysis", nick = "passthrough")]
    Passthrough,
    #[enum_value(name = "Post an error and stop the stream", nick = "fail")]
    Fail,
}

/// Where faces come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstDeepfakeFaceSource")]
#[repr(i32)]
pub enum FaceSource {
    #[default]
    #[enum_value(name = "The element's own face detector", nick = "detect")]
    Detect,
    #[enum_value(
        name = "Metadata of type 'face' on the buffers: regions of interest, or analytics in builds for GStreamer 1.24 and newer",
        nick = "upstream"
    )]
    Upstream,
}

glib::wrapper! {
    /// The element.
    pub struct DeepfakeDetect(ObjectSubclass<imp::DeepfakeDetect>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    for doc_type in [Mode::static_type(), Device::static_type(), OnError::static_type(), FaceSource::static_type()] {
        doc_type.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(Some(plugin), "deepfakedetect", gst::Rank::NONE, DeepfakeDetect::static_type())
}
