//! What can go wrong between a model's name and its logits. Every message says the cause and how to fix it.

use std::fmt;
use std::path::PathBuf;

use super::device::Device;

/// One place in which something was looked for, and why it was not taken from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    pub path: PathBuf,
    pub cause: String,
}

/// Prints one place a line.
struct Places<'a>(&'a [Searched]);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.0 {
            write!(f, "\n  {}: {}", place.path.display(), place.cause)?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InferenceError {
    /// No usable library in any of the places, or not in the one that `ORT_DYLIB_PATH` names.
    #[error(
        "no usable ONNX Runtime (1.{min} or newer). Searched:{}\n\
         Run `make deps` in the checkout, or `pip install onnxruntime` and set ORT_DYLIB_PATH to the file \
         onnxruntime/capi/libonnxruntime.so.1.* that it installs.",
        Places(searched), min = super::runtime::MIN_MINOR
    )]
    RuntimeNotFound { searched: Vec<Searched> },

    /// The library was found and is new enough, but does not start.
    #[error(
        "ONNX Runtime at {} does not start: {cause}. Install another build of it: `make deps` in the checkout, or `pip install onnxruntime`.", path.display()
    )]
    RuntimeStart { path: PathBuf, cause: String },

    #[error(
        "{what} `{name}` is not installed. Searched:{}\n\
         Give the path of a folder or file, or set DEEPFAKE_PATH to the folder that holds `models/` and `detectors/`; \
         in a checkout, `make deps` fetches the detectors.",
        Places(searched)
    )]
    NotInstalled { what: &'static str, name: String, searched: Vec<Searched> },

    #[error("{} cannot be read: {cause}. {fix}.", path.display())]
    File { path: PathBuf, cause: String, fix: &'static str },

    /// `model.toml` is not TOML, or has a key too many or too few.
    #[error("{} is not a model description: {cause}\nThe format is in the documentation of deepfake_engine::inference::package.", path.display())]
    Toml { path: PathBuf, cause: String },

    /// A value of `model.toml` makes no sense, or does not fit the graph.
    #[error("{}: {key}: {cause}. {fix}.", path.display())]
    Package { path: PathBuf, key: String, cause: String, fix: String },

    #[error(
        "{} is not the file that model.toml describes: its sha256 is {actual}, expected {expected}. \
         Copy the package again, or write the new sha256 into model.toml if the change was meant.", path.display()
    )]
    Sha256 { path: PathBuf, expected: String, actual: String },

    /// ONNX Runtime does not take the file.
    #[error("{} is not a usable ONNX graph: {cause}. Copy or export it again.", path.display())]
    Graph { path: PathBuf, cause: String },

    /// A graph that can run but has other inputs or outputs than the worker serves.
    #[error("{}: {cause}. Export it with one float32 input and float32 outputs.", path.display())]
    GraphForm { path: PathBuf, cause: String },

    #[error(
        "device {device} does not work: {cause}. Run `deepfake doctor` to see what does, or allow the CPU (require-device=false, device=auto)."
    )]
    Device { device: Device, cause: String },

    /// The caller's array does not fit; a fault of the program, not of its user.
    #[error("{}: {cause}", path.display())]
    Input { path: PathBuf, cause: String },

    #[error(
        "{}: output `{output}` holds NaN or infinite values. The weights are broken: train or export the model again.", path.display()
    )]
    NotFinite { path: PathBuf, output: String },

    #[error(
        "{} failed while running: {cause}. If the device ran out of memory, use a smaller model or another device.", path.display()
    )]
    Run { path: PathBuf, cause: String },

    /// A fault of ours, or of ONNX Runtime's bindings, over this one run.
    #[error("a fault in running {}: {cause}. The next run is not affected. Please report it.", path.display())]
    Panicked { path: PathBuf, cause: String },
}
