//! From pixels to verdicts. Nothing in here knows GStreamer.
//!
//! The way of one frame, which [`analyzer`] shows as one page:
//! [`frame`] → [`detector`] → [`tracker`] → [`cropper`] → encoder → [`window`] → head → [`verdict`].
//!
//! [`follower`] is the first half of it, up to followed faces: all that making training crops needs.

pub mod alignment;
pub mod analyzer;
pub mod cropper;
mod depth;
pub mod detector;
pub mod follower;
pub mod frame;
pub mod geometry;
pub mod heat;
mod light;
mod likeness;
pub mod planar;
pub mod quality;
mod resampler;
pub mod sampler;
pub mod tracker;
pub mod verdict;
pub mod window;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::inference::InferenceError;
use crate::inference::graph::panic_text;

/// Why a frame could not be analysed.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    #[error("the frame's memory cannot be read")]
    Unreadable,
    #[error("the part asked for lies outside the frame, or is hundreds of times as large as its picture")]
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
    #[error("a fault of the analysis, which forgets all faces and goes on ({0}). Please report it")]
    Panicked(String),
}

/// Does `work`; a panic in it, always a fault of ours, is an error like any other.
///
/// # Errors
/// Those of `work`, and [`AnalysisError::Panicked`]: what `work` was changing then is in no known state and must be reset.
pub fn catch_panic<T>(work: impl FnOnce() -> Result<T, AnalysisError>) -> Result<T, AnalysisError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(AnalysisError::Panicked(panic_text(&*panic))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_says_what_it_said() {
        let failed = catch_panic::<()>(|| panic!("index {} of {}", 3, 2)).unwrap_err();
        assert!(matches!(&failed, AnalysisError::Panicked(said) if said == "a panic: index 3 of 2"), "{failed}");
        assert!(matches!(catch_panic::<()>(|| Err(AnalysisError::Outside)), Err(AnalysisError::Outside)));
        assert_eq!(catch_panic(|| Ok(7)).unwrap(), 7);
    }
}
