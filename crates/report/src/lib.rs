//! What is known about the faces of a frame, and the forms in which it leaves the element.
//!
//! [`FrameReport`] is the one truth (schema 1) and [`Alert`](alert::Alert) what happens over time.
//! [`json`] writes and reads lines of text. With the feature `gst`, `meta` reads reports from
//! buffers and `message` reports and alerts from the bus.
//!
//! Readers ignore fields and words that they do not know: a new field or word is no new schema, a
//! changed meaning is.

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
mod words;

pub use verdict::{Reason, State};

use serde::{Deserialize, Serialize};

/// Version of the report's form. Raised when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// What the analysis says of one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FrameReport {
    /// Version of this form: [`SCHEMA`].
    pub schema: u32,
    /// PTS in nanoseconds of the newest analysed frame. In `mode=async` it may be older than the
    /// buffer that carries it.
    pub pts: u64,
    /// Running time in nanoseconds of that frame: unlike PTS, it goes on over segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_time: Option<u64>,
    /// Wall clock when that frame reached the element: UTC as RFC 3339 has it, with microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc: Option<String>,
    /// Name of the stream: the element's property `stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Random id of this start of the element. Track and alert ids are unique within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Name of the element that made the report: it tells apart several detectors in one stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
    /// PTS in nanoseconds of the buffer that carried the report. In lines of `deepfakelog` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_pts: Option<u64>,
    /// Model package, `name@version`.
    pub model: String,
    /// Device that ran the model: `cpu`, `cuda`, `tensorrt` or `openvino`.
    pub device: String,
    /// One entry for each face that is followed, in the order of their ids.
    pub faces: Vec<FaceReport>,
}

/// What the analysis says of one followed face.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FaceReport {
    /// Stable for as long as the face is followed; never reused within a run.
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
    /// Whether the face was found in this frame. If not, its box is where it is expected, and its
    /// verdict is of before: it becomes `rejected` with reason `not-seen` after half a second.
    #[serde(default = "yes")]
    pub seen: bool,
    /// The verdict: `warming`, `authentic`, `uncertain`, `fake` or `rejected`.
    pub state: State,
    /// Why the state is `rejected`, or why it stays `warming`; `None` in any other state.
    pub reason: Option<Reason>,
    /// Calibrated probability that the face is fake, 0..1; `None` until the window holds the
    /// model's least frames, and while the state is `rejected`.
    pub score: Option<f64>,
    /// The same for the newest crop alone, where the model can say.
    pub frame_score: Option<f64>,
    /// How much the score is worth, 0..1: distance from "don't know", scaled by the window's
    /// filling.
    pub certainty: f64,
    /// Several crops in a row look fake each by itself while the window does not: a short
    /// manipulation, or none. No alert.
    #[serde(default)]
    pub spike: bool,
    /// Crops in the window, at most `window_size`.
    pub window_fill: u32,
    /// Crops in a full window.
    pub window_size: u32,
    /// Time in nanoseconds of the oldest crop in the window; `None` while it is empty.
    pub window_start: Option<u64>,
    /// Time in nanoseconds of the newest crop in the window; `None` while it is empty.
    pub window_end: Option<u64>,
    /// What was done to the face, should it be a fake; only where the model can say and the state
    /// is `uncertain` or `fake`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<KindScores>,
    /// Where in the box the model sees it, 0..1, in rows from top to bottom; only on demand.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub heat: Option<Vec<Vec<f64>>>,
}

/// How likely each kind of manipulation is, 0..1 each, should the face be a fake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct KindScores {
    /// Another person's face.
    pub swap: f64,
    /// This person's face with other lips.
    pub lips: f64,
    /// A face that was made up as a whole.
    pub generated: f64,
}

fn yes() -> bool {
    true
}

impl FrameReport {
    /// A report of the frame at `pts` with nothing else known.
    pub fn new(pts: u64, model: impl Into<String>, device: impl Into<String>, faces: Vec<FaceReport>) -> Self {
        Self {
            schema: SCHEMA,
            pts,
            running_time: None,
            utc: None,
            stream: None,
            run: None,
            element: None,
            buffer_pts: None,
            model: model.into(),
            device: device.into(),
            faces,
        }
    }

    /// Running time in nanoseconds, or PTS where that is not known.
    pub fn time(&self) -> u64 {
        self.running_time.unwrap_or(self.pts)
    }
}

impl FaceReport {
    /// A face that is seen, and of which nothing else is known.
    pub fn new(track_id: u32) -> Self {
        Self {
            track_id,
            x: 0.0,
            y: 0.0,
            width: 0.0,
            height: 0.0,
            detection: 0.0,
            seen: true,
            state: State::Warming,
            reason: None,
            score: None,
            frame_score: None,
            certainty: 0.0,
            spike: false,
            window_fill: 0,
            window_size: 0,
            window_start: None,
            window_end: None,
            kind: None,
            heat: None,
        }
    }
}

impl KindScores {
    pub fn new(swap: f64, lips: f64, generated: f64) -> Self {
        Self { swap, lips, generated }
    }

    /// The likeliest kind's word and score.
    pub fn likeliest(&self) -> (&'static str, f64) {
        let all = [("swap", self.swap), ("lips", self.lips), ("generated", self.generated)];
        all.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("there are three")
    }
}
