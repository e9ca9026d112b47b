//! From a frame's pixels to what is said about its faces. Nothing in here knows GStreamer.
//!
//! | module | what lives there |
//! |---|---|
//! | [`analysis`] | faces found, followed, cropped and judged |
//! | [`inference`] | ONNX Runtime, model packages, and the workers that own sessions |

pub mod analysis;
pub mod inference;
