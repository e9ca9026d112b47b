//! From pixels to verdicts. Nothing in here knows GStreamer.
//!
//! The way of one frame, which [`analyzer`] shows as one page:
//! [`frame`] → [`detector`] → [`tracker`] → [`cropper`] → encoder → [`window`] → head → [`verdict`].
//!
//! [`follower`] is the first half of it, up to followed faces: all that making training crops needs.

pub mod alignment;
pub mod analyzer;
mod area;
pub mod cropper;
pub mod detector;
pub mod follower;
pub mod frame;
pub mod geometry;
pub mod planar;
pub mod quality;
pub mod sampler;
pub mod tracker;
pub mod verdict;
pub mod window;

use crate::inference::InferenceError;

/// Why a frame could not be analysed.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    #[error("the frame's memory cannot be read")]
    Unreadable,
    #[error("the part asked for lies outside the frame")]
    Outside,
    #[error("the face has no landmarks that its crop could be aligned by")]
    NoLandmarks,
    #[error(
        "the model {model} takes crops aligned by a face's five landmarks, and faces from upstream have none. Set \
         face-source=detect, or use a model whose model.toml says alignment = \"box\""
    )]
    LandmarksNeeded { model: String },
    #[error("OpenCV failed: {0}")]
    OpenCv(#[from] opencv::Error),
    #[error(transparent)]
    Detector(#[from] detector::DetectorError),
    #[error(transparent)]
    Inference(#[from] InferenceError),
}
