//! One ONNX graph: its file, a session of it on one device, and what comes out of that.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use memmap2::MmapMut;
use ndarray::ArrayViewD;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{TensorElementType, TensorRef, ValueType};
use sha2::{Digest, Sha256};

use super::device::{Device, cores};
use super::error::InferenceError;
use super::runtime;

/// ONNX files larger than this are refused: no live model is, and a wrong path may be.
const MAX_BYTES: u64 = 1 << 30;
/// Threads of a session where sessions cannot share them: there is a session for each core.
const MAX_OWN_THREADS: usize = 4;

/// An ONNX file, read once, so that what was checked is what runs.
pub struct GraphFile {
    pub path: PathBuf,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// What stands in its place on these devices.
    pub on: BTreeMap<Device, GraphFile>,
    bytes: MmapMut,
}

impl GraphFile {
    /// # Errors
    /// [`InferenceError::File`] if it cannot be read, is empty, no regular file or larger than 1 GiB.
    pub fn read(path: &Path) -> Result<Self, InferenceError> {
        let (file, length) = open_limited(path, MAX_BYTES)?;
        if length == 0 {
            return Err(other_file(path, "it is empty".into()));
        }
        Self::of(path, &file, length as usize).map_err(|error| unreadable(path, &error))
    }

    fn of(path: &Path, mut source: impl Read, length: usize) -> std::io::Result<Self> {
        // Memory, not the file itself: one that shrinks while it is mapped is a crash.
        let mut bytes = MmapMut::map_anon(length)?;
        source.read_exact(&mut bytes)?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path: path.into(), sha256, on: BTreeMap::new(), bytes })
    }

    /// The file that this device runs.
    pub fn on(&self, device: Device) -> &Self {
        self.on.get(&device).unwrap_or(self)
    }

    /// What tells it from others: the checksums of all that it may be.
    pub(super) fn identity(&self) -> Vec<(Option<Device>, String)> {
        let on = self.on.iter().map(|(device, file)| (Some(*device), file.sha256.clone()));
        on.chain([(None, self.sha256.clone())]).collect()
    }
}

/// Reads a regular file of at most `most` bytes.
pub(super) fn read_limited(path: &Path, most: u64) -> Result<Vec<u8>, InferenceError> {
    let (file, length) = open_limited(path, most)?;
    let mut bytes = Vec::with_capacity(length as usize);
    // It may grow meanwhile.
    file.take(length).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

/// A regular file of at most `most` bytes, and how many it has.
fn open_limited(path: &Path, most: u64) -> Result<(File, u64), InferenceError> {
    let failed = |error: std::io::Error| unreadable(path, &error);
    // Opening a pipe would wait for somebody to write to it.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(other_file(path, "it is not a regular file".into()));
    }
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length > most {
        return Err(other_file(path, format!("it has {length} bytes, more than {most}")));
    }
    Ok((file, length))
}

fn other_file(path: &Path, cause: String) -> InferenceError {
    InferenceError::File { path: path.into(), cause, fix: "Name another file" }
}

fn unreadable(path: &Path, error: &std::io::Error) -> InferenceError {
    InferenceError::File { path: path.into(), cause: error.to_string(), fix: "Check the path and its permissions" }
}

/// One input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// `None` where the dimension is free.
    pub shape: Vec<Option<usize>>,
}

/// What a graph says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphInfo {
    pub path: PathBuf,
    pub input: Port,
    pub outputs: Vec<Port>,
}

impl GraphInfo {
    pub(super) fn failed(&self, error: &ort::Error) -> InferenceError {
        InferenceError::Run { path: self.path.clone(), cause: cause_of(error) }
    }

    /// # Errors
    /// If the other graph cannot take this one's place.
    pub(super) fn check_ports(&self, other: &Self) -> Result<(), String> {
        // Outputs are known by their places: more of them behind do no harm.
        if self.input == other.input && other.outputs.starts_with(&self.outputs) {
            return Ok(());
        }
        Err(format!("{} has other inputs or outputs than {}", other.path.display(), self.path.display()))
    }
}

/// A session of the graph on this device.
///
/// # Errors
/// What ONNX Runtime says; also where `ort` panics, as it does over types that it does not know.
pub(super) fn open(file: &GraphFile, device: Device, threads: usize) -> Result<Session, String> {
    match std::panic::catch_unwind(|| open_unguarded(file, device, threads)) {
        Ok(session) => session.map_err(|error| cause_of(&error)),
        Err(panic) => Err(panic_text(&*panic)),
    }
}

fn open_unguarded(file: &GraphFile, device: Device, threads: usize) -> Result<Session, ort::Error> {
    let runtime = runtime::get().map_err(|error| ort::Error::new(error.to_string()))?;
    let mut builder =
        SessionBuilder::new(&runtime.environment)?.with_execution_providers(device.providers(threads, &file.sha256))?;
    if runtime.is_own {
        builder = builder.with_log_level(runtime::log_level())?;
    }
    let own_threads = match threads {
        // Of an environment that somebody else made.
        0 if !runtime.shares_threads => cores().min(MAX_OWN_THREADS),
        threads => threads,
    };
    if own_threads > 0 {
        // Not those of the runtime's pool. They do not spin either.
        builder = builder.with_independent_thread_pool()?;
        builder = builder.with_intra_threads(own_threads)?.with_inter_threads(1)?.with_intra_op_spinning(false)?;
    }
    if threads == 1 {
        builder = builder.with_deterministic_compute(true)?;
    }
    builder.commit_from_memory(&file.bytes)
}

/// What the graph says of itself.
///
/// # Errors
/// [`InferenceError::GraphForm`] if it has other than one float32 input and float32 outputs.
pub(super) fn describe(path: &Path, session: &Session) -> Result<GraphInfo, InferenceError> {
    let fault = |cause: String| InferenceError::GraphForm { path: path.into(), cause };
    let port = |side: &str, name: &str, value: &ValueType| match value {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => {
            Ok(Port { name: name.into(), shape: shape.iter().map(|size| usize::try_from(*size).ok()).collect() })
        }
        ValueType::Tensor { ty, .. } => Err(fault(format!("{side} `{name}` holds {ty:?}, not float32"))),
        _ => Err(fault(format!("{side} `{name}` is not a tensor"))),
    };
    let [input] = session.inputs() else {
        let names: Vec<_> = session.inputs().iter().map(|input| input.name()).collect();
        return Err(fault(format!("it has {} inputs ({}), not one", names.len(), names.join(", "))));
    };
    Ok(GraphInfo {
        path: path.into(),
        input: port("input", input.name(), input.dtype())?,
        outputs: session
            .outputs()
            .iter()
            .map(|output| port("output", output.name(), output.dtype()))
            .collect::<Result<_, _>>()?,
    })
}

/// ONNX Runtime's words without the place in its source, to be followed by our own.
fn cause_of(error: &ort::Error) -> String {
    readable(error.message())
}

fn readable(message: &str) -> String {
    // "/onnxruntime_src/….cc:2043 … [ONNXRuntimeError] : 1 : FAIL : what happened."
    let cause = match message.rsplit_once("[ONNXRuntimeError] : ") {
        Some((_, coded)) => coded.splitn(3, " : ").last().unwrap_or(coded),
        None => message,
    };
    let cause = cause.trim_end().trim_end_matches('.');
    if cause.contains("cannot open shared object file") {
        return format!("{cause} (install that library, or add its folder to LD_LIBRARY_PATH)");
    }
    cause.to_owned()
}

/// A shape as people write it: `[?, 3, 64, 64]`.
pub(super) fn show_shape(shape: &[Option<usize>]) -> String {
    let sizes: Vec<_> = shape.iter().map(|size| size.map_or("?".to_string(), |size| size.to_string())).collect();
    format!("[{}]", sizes.join(", "))
}

/// What a run leaves to be looked at: the graph's outputs, in its order, on the host.
pub struct Outputs<'a> {
    values: &'a [ArrayViewD<'a, f32>],
}

impl<'a> Outputs<'a> {
    pub(super) fn new(values: &'a [ArrayViewD<'a, f32>]) -> Self {
        Self { values }
    }
}

impl<'a> Deref for Outputs<'a> {
    type Target = [ArrayViewD<'a, f32>];

    fn deref(&self) -> &Self::Target {
        self.values
    }
}

/// Runs the graph over `input` and has `read` look at its outputs.
///
/// # Errors
/// [`InferenceError::Run`] if ONNX Runtime fails, [`InferenceError::NotFinite`] if an output holds NaN or infinity.
pub(super) fn run<R>(
    session: &mut Session,
    info: &GraphInfo,
    input: ArrayViewD<f32>,
    read: impl FnOnce(&Outputs) -> R,
) -> Result<R, InferenceError> {
    let input = input.as_standard_layout();
    let tensor = TensorRef::from_array_view(&input).map_err(|error| info.failed(&error))?;
    let values = session.run(ort::inputs![tensor]).map_err(|error| info.failed(&error))?;
    let mut outputs = Vec::with_capacity(info.outputs.len());
    for (index, port) in info.outputs.iter().enumerate() {
        let output = values[index].try_extract_array::<f32>().map_err(|error| info.failed(&error))?;
        if !all_finite(&output) {
            return Err(InferenceError::NotFinite { path: info.path.clone(), output: port.name.clone() });
        }
        outputs.push(output);
    }
    Ok(read(&Outputs::new(&outputs)))
}

/// Looks at blocks of values at a time, which the compiler turns into vector instructions.
fn all_finite(values: &ArrayViewD<f32>) -> bool {
    const BLOCK: usize = 1024;
    let block_is_finite = |block: &[f32]| block.iter().fold(true, |finite, value| finite & value.is_finite());
    match values.as_slice() {
        Some(values) => values.chunks(BLOCK).all(block_is_finite),
        None => values.iter().all(|value| value.is_finite()),
    }
}

/// What a caught panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a panic: {}", text.unwrap_or_else(|| "no message".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_onnx_runtime_are_cut_down_to_what_happened() {
        let cuda = "/onnxruntime_src/core/provider_bridge_ort.cc:2043 onnxruntime::Provider& Get() [ONNXRuntimeError] : 1 : \
                    FAIL : Failed to load library /x/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: \
                    cannot open shared object file: No such file or directory\n";
        assert_eq!(
            readable(cuda),
            "Failed to load library /x/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open \
             shared object file: No such file or directory (install that library, or add its folder to LD_LIBRARY_PATH)"
        );
        assert_eq!(readable("No graph was found in the protobuf."), "No graph was found in the protobuf");
    }

    #[test]
    fn shapes_are_shown_as_people_write_them() {
        assert_eq!(show_shape(&[None, Some(3), Some(16)]), "[?, 3, 16]");
        assert_eq!(show_shape(&[]), "[]");
    }
}
