//! What is known about the faces of a frame, and the forms in which it leaves the element.
//!
//! [`FrameReport`] is the one truth (schema 1). [`json`] makes a line of text of it, [`alert`] watches it for faces that begin to
//! look fake. With the feature `gst`, `meta` writes it on a buffer and reads it back, and `message` posts it on the bus.

pub mod alert;
#[cfg(feature = "v1_24")]
pub mod analytics;
pub mod json;
#[cfg(feature = "gst")]
pub mod message;
#[cfg(feature = "gst")]
pub mod meta;
#[cfg(feature = "gst")]
pub mod structure;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
mod verdict;

pub use verdict::{Reason, State};

use serde::{Deserialize, Serialize};

/// Version of the report's form. Raised when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// What the analysis says of one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameReport {
    /// Version of this form: [`SCHEMA`].
    pub schema: u32,
    /// PTS in nanoseconds of the newest analysed frame. In `mode=async` it may be older than the buffer that carries it.
    pub pts: u64,
    /// Model package, `name@version`.
    pub model: String,
    /// Device that ran the model: `cpu`, `cuda`, `tensorrt` or `openvino`.
    pub device: String,
    /// One entry for each face that is followed, in the order of their ids.
    pub faces: Vec<FaceReport>,
}

/// What the analysis says of one followed face.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaceReport {
    /// Stable for as long as the face is followed; never reused within a stream.
    pub track_id: u32,
    /// Left edge of the face's box, 0..1 of the frame's width; boxes are cut at the frame's edges.
    pub x: f64,
    /// Top edge, 0..1 of the frame's height.
    pub y: f64,
    /// Width, 0..1 of the frame's width.
    pub width: f64,
    /// Height, 0..1 of the frame's height.
    pub height: f64,
    /// Confidence of the face detector, 0..1.
    pub detection: f64,
    /// The verdict: `warming`, `authentic`, `uncertain`, `fake` or `rejected`.
    pub state: State,
    /// Why the state is `rejected`; `None` in any other state.
    pub reason: Option<Reason>,
    /// Calibrated probability that the face is fake, 0..1; `None` until the window holds the model's least frames.
    pub score: Option<f64>,
    /// The same for the newest crop alone, where the model can say.
    pub frame_score: Option<f64>,
    /// How much the score is worth, 0..1: distance from "don't know", scaled by the window's filling.
    pub certainty: f64,
    /// Crops in the window, at most `window_size`.
    pub window_fill: u32,
    /// Crops in a full window.
    pub window_size: u32,
    /// PTS in nanoseconds of the oldest crop in the window; `None` while it is empty.
    pub window_start: Option<u64>,
    /// PTS in nanoseconds of the newest crop in the window; `None` while it is empty.
    pub window_end: Option<u64>,
}
