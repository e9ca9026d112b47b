//! From pixels to verdicts. Nothing in here knows GStreamer.
//!
//! The way of one frame, which [`analyzer`] shows as one page:
//! [`frame`] → [`detector`] → [`tracker`] → [`cropper`] → encoder → [`window`] → head → [`verdict`].

pub mod analyzer;
pub mod cropper;
pub mod detector;
pub mod frame;
pub mod geometry;
pub mod tracker;
pub mod verdict;
pub mod window;
