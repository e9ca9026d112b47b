//! From a frame's pixels to what is said about its faces. Nothing in here knows GStreamer.
//!
//! | module | what lives there |
//! |---|---|
//! | [`analysis`] | faces found, followed, cropped and judged |
//! | [`executor`] | when which stream's frame is analysed: one executor for the process |
//! | [`inference`] | ONNX Runtime, model packages, and the workers that own sessions |

pub mod analysis;
pub mod executor;
pub mod inference;
