//! ONNX Runtime, model packages, and the workers that own sessions.
//!
//! | module | what lives there |
//! |---|---|
//! | [`places`] | the folders in which models, detectors and ONNX Runtime are looked for |
//! | [`runtime`] | finding and loading ONNX Runtime, once per process, when it is first needed |
//! | [`device`] | which processor runs the graphs, and why it is not the one that was asked for |
//! | [`package`] | `model.toml`: **the format of a model package is written down there** |
//! | [`graph`] | one ONNX graph: its file, a session of it, a run |
//! | `runner` | a session, ready to run on its device; what it takes to make one |
//! | [`worker`] | the sessions of some graphs, shared by the whole process: whose turn it is |
//! | `standby` | a device that is lost in mid-stream: the CPU takes over until it is back |
//! | [`model`] | a package at work: crops in, features out; windows in, logits out |
//! | [`error`] | what can go wrong, each with its cause and how to fix it |
//!
//! Nothing in here knows GStreamer. Nothing in here touches ONNX Runtime before a model or a
//! detector is loaded, so a plugin without it can still be inspected.

pub mod device;
pub mod error;
pub mod graph;
pub mod model;
pub mod package;
pub mod places;
mod runner;
pub mod runtime;
mod standby;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
pub mod worker;

pub use device::{Device, DeviceRequest, Placement, SessionOptions, cores};
pub use error::InferenceError;
pub use model::{Encoded, Model, Scored};
pub use package::ModelPackage;
pub use worker::Worker;
