//! The thread that owns the sessions of some graphs.
//!
//! An ONNX Runtime session takes `&mut self` to run, so whoever shares one must queue. Here everybody in the process
//! who wants the same graphs on the same device gets the same [`Worker`]: one thread, one copy of the weights, one
//! queue. Requests carry a batch dimension, and the thread sees the queue: the place to join requests of several
//! channels into one batch is the function `serve`.

use std::any::Any;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;

use ndarray::ArrayD;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{TensorElementType, TensorRef, ValueType};
use sha2::{Digest, Sha256};

use super::device::{Device, DeviceRequest, SessionOptions};
use super::error::InferenceError;
use super::runtime;

/// Requests that may wait before callers do.
const QUEUE: usize = 16;

/// ONNX files larger than this are refused: no live model is, and a wrong path may be.
const MOST_BYTES: u64 = 1 << 30;

/// An ONNX file, read once, so that what was checked is what runs.
pub struct GraphFile {
    pub path: PathBuf,
    /// Lower-case hexadecimal.
    pub sha256: String,
    bytes: Vec<u8>,
}

impl GraphFile {
    /// # Errors
    /// [`InferenceError::File`] if it cannot be read, is no regular file or is larger than 1 GiB.
    pub fn read(path: &Path) -> Result<Self, InferenceError> {
        let bytes = read_limited(path, MOST_BYTES)?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path: path.into(), sha256, bytes })
    }
}

/// Reads a regular file of at most `most` bytes.
pub(super) fn read_limited(path: &Path, most: u64) -> Result<Vec<u8>, InferenceError> {
    let fault = |cause: String, mend| InferenceError::File { path: path.into(), cause, mend };
    let failed = |error: std::io::Error| fault(error.to_string(), "Check the path and its permissions");
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(fault("it is not a regular file".into(), "Name a file"));
    }
    if metadata.len() > most {
        return Err(fault(format!("it has {} bytes, more than {most}", metadata.len()), "Name another file"));
    }
    std::fs::read(path).map_err(failed)
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

/// Some graphs, loaded on one device, and the thread that runs them. Kept alive by its `Arc`s; the thread ends with
/// the last of them.
pub struct Worker {
    graphs: Vec<GraphInfo>,
    device: Device,
    fallback: Option<String>,
    /// `None` only while dropping.
    requests: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
    /// Why the thread ended before its time.
    death: Arc<OnceLock<String>>,
}

type Reply = Result<Vec<ArrayD<f32>>, InferenceError>;

enum Request {
    Run {
        graph: usize,
        input: ArrayD<f32>,
        reply: SyncSender<Reply>,
    },
    #[cfg(test)]
    Die,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    sha256s: Vec<String>,
    device: DeviceRequest,
    threads: usize,
}

/// A slot is locked while its worker is made, so that two who want the same wait for one, and others do not.
type Slot = Arc<Mutex<Weak<Worker>>>;

static WORKERS: Mutex<Option<HashMap<Key, Slot>>> = Mutex::new(None);

impl Worker {
    /// The process's worker for these files, device and number of threads; makes it if there is none.
    ///
    /// Each graph must have one float32 input and only float32 outputs; [`Worker::run`] knows them by their index.
    ///
    /// # Errors
    /// If ONNX Runtime or a file is missing or broken, or the device does not work and is required.
    pub fn shared<P: AsRef<Path>>(files: &[P], options: &SessionOptions) -> Result<Arc<Self>, InferenceError> {
        let graphs = files.iter().map(|file| GraphFile::read(file.as_ref())).collect::<Result<_, _>>()?;
        Self::shared_graphs(graphs, options)
    }

    /// As [`Worker::shared`], of files that are already read.
    ///
    /// # Errors
    /// As there.
    pub fn shared_graphs(files: Vec<GraphFile>, options: &SessionOptions) -> Result<Arc<Self>, InferenceError> {
        runtime::get()?;
        let key = Key {
            sha256s: files.iter().map(|file| file.sha256.clone()).collect(),
            device: match options.device.candidates()[..] {
                // Where only the CPU is left, "auto" and "cpu" are the same worker.
                [only] => only.into(),
                _ => options.device,
            },
            threads: options.threads,
        };
        let slot = {
            let mut workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
            let workers = workers.get_or_insert_default();
            // Forget the slots of workers that are gone; not those that somebody has just taken to fill them.
            workers.retain(|_, slot| {
                Arc::strong_count(slot) > 1 || slot.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
            });
            workers.entry(key).or_default().clone()
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = slot.upgrade().filter(|worker| worker.serves(options)) {
            return Ok(worker);
        }
        let worker = Arc::new(Self::start(files, options)?);
        *slot = Arc::downgrade(&worker);
        Ok(worker)
    }

    /// Device that runs the graphs.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Why it is not the device that was asked for; `None` if it is.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// The graphs, in the order of the files.
    pub fn graphs(&self) -> &[GraphInfo] {
        &self.graphs
    }

    /// Runs graph number `graph` and waits for its outputs, in the graph's order.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if the input's shape does not fit, [`InferenceError::Run`] if ONNX Runtime fails,
    /// [`InferenceError::NotFinite`] if an output holds NaN or infinity, [`InferenceError::WorkerGone`] if the
    /// worker's thread has died.
    pub fn run(&self, graph: usize, input: ArrayD<f32>) -> Result<Vec<ArrayD<f32>>, InferenceError> {
        let info = &self.graphs[graph];
        let fits = info.input.shape.len() == input.ndim()
            && info.input.shape.iter().zip(input.shape()).all(|(want, have)| want.is_none_or(|want| want == *have))
            && !input.is_empty();
        if !fits {
            return Err(InferenceError::Input {
                path: info.path.clone(),
                cause: format!("takes {}, given {:?}", show_shape(&info.input.shape), input.shape()),
            });
        }
        let (reply, answer) = sync_channel(1);
        let requests = self.requests.as_ref().expect("only taken in drop");
        // If the thread dies, it drops the queue and with it the reply's sender: neither call blocks for ever.
        requests.send(Request::Run { graph, input, reply }).map_err(|_| self.gone())?;
        answer.recv().map_err(|_| self.gone())?
    }

    fn gone(&self) -> InferenceError {
        let cause = self.death.get().cloned().unwrap_or_else(|| "its thread has ended".into());
        InferenceError::WorkerGone { cause }
    }

    fn serves(&self, options: &SessionOptions) -> bool {
        let alive = self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && self.death.get().is_none();
        alive && !(options.require_device && self.fallback.is_some())
    }

    fn start(files: Vec<GraphFile>, options: &SessionOptions) -> Result<Self, InferenceError> {
        let Loaded { sessions, graphs, device, fallback } = load(&files, options)?;
        let (requests, queue) = sync_channel(QUEUE);
        let death = Arc::new(OnceLock::new());
        let thread = std::thread::Builder::new()
            .name("deepfake-infer".into())
            .spawn({
                let (death, graphs) = (death.clone(), graphs.clone());
                move || serve(sessions, &graphs, &queue, &death)
            })
            .map_err(|error| InferenceError::WorkerGone { cause: format!("its thread does not start: {error}") })?;
        Ok(Self { graphs, device, fallback, requests: Some(requests), thread: Some(thread), death })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Ends the thread's loop. The thread itself holds no `Arc<Worker>`, so it never waits for itself here.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("graphs", &self.graphs).field("device", &self.device).finish_non_exhaustive()
    }
}

/// The worker's thread: one request after the other until nobody can send any more.
///
/// Batching across callers belongs here: take what waits in `queue`, join inputs of the same graph and shape along
/// their first dimension, and split the outputs again.
fn serve(mut sessions: Vec<Session>, graphs: &[GraphInfo], queue: &Receiver<Request>, death: &OnceLock<String>) {
    for request in queue {
        match request {
            Request::Run { graph, input, reply } => {
                let run = || run(&mut sessions[graph], &graphs[graph], &input);
                match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                    // A caller that has gone away in the meantime is no fault.
                    Ok(result) => drop(reply.send(result)),
                    Err(panic) => {
                        // Said before `reply` and the queue are dropped, so that whoever waits for them can read why.
                        let _ = death.set(panic_text(&*panic));
                        return;
                    }
                }
            }
            #[cfg(test)]
            Request::Die => {
                let _ = death.set("killed by a test".into());
                return;
            }
        }
    }
}

fn run(session: &mut Session, info: &GraphInfo, input: &ArrayD<f32>) -> Reply {
    let failed = |error: ort::Error| InferenceError::Run { path: info.path.clone(), cause: cause_of(&error) };
    let input = input.as_standard_layout();
    let tensor = TensorRef::from_array_view(&input).map_err(failed)?;
    let values = session.run(ort::inputs![tensor]).map_err(failed)?;
    let mut outputs = Vec::with_capacity(info.outputs.len());
    for (index, port) in info.outputs.iter().enumerate() {
        let output = values[index].try_extract_array::<f32>().map_err(failed)?.into_owned();
        if !all_finite(&output) {
            return Err(InferenceError::NotFinite { path: info.path.clone(), output: port.name.clone() });
        }
        outputs.push(output);
    }
    Ok(outputs)
}

/// Looks at blocks of values at a time, which the compiler turns into vector instructions.
fn all_finite(values: &ArrayD<f32>) -> bool {
    const BLOCK: usize = 1024;
    let block_is_finite = |block: &[f32]| block.iter().fold(true, |finite, value| finite & value.is_finite());
    match values.as_slice() {
        Some(values) => values.chunks(BLOCK).all(block_is_finite),
        None => values.iter().all(|value| value.is_finite()),
    }
}

struct Loaded {
    sessions: Vec<Session>,
    graphs: Vec<GraphInfo>,
    device: Device,
    fallback: Option<String>,
}

/// Loads all graphs on the first device that takes them all.
fn load(files: &[GraphFile], options: &SessionOptions) -> Result<Loaded, InferenceError> {
    let mut fallback: Option<String> = None;
    let candidates = options.device.candidates();
    for &device in &candidates {
        let sessions = files
            .iter()
            .map(|file| open_guarded(file, device, options.threads).map_err(|cause| (file, cause)))
            .collect::<Result<Vec<_>, _>>();
        match sessions {
            Ok(sessions) => {
                let graphs = files
                    .iter()
                    .zip(&sessions)
                    .map(|(file, session)| describe(&file.path, session))
                    .collect::<Result<_, _>>()?;
                return Ok(Loaded { sessions, graphs, device, fallback });
            }
            Err((file, cause)) if device == Device::Cpu => {
                return Err(InferenceError::Graph { path: file.path.clone(), cause });
            }
            Err((_, cause)) if options.require_device && options.device.named() == Some(device) => {
                return Err(InferenceError::Device { device, cause });
            }
            Err((_, cause)) => {
                let reason = format!("{device} does not work: {cause}");
                fallback = Some(fallback.map_or(reason.clone(), |before| format!("{before}; {reason}")));
            }
        }
    }
    unreachable!("the CPU is the last of the candidates")
}

/// As [`open`]; `ort` panics over graphs with types that it does not know.
fn open_guarded(file: &GraphFile, device: Device, threads: usize) -> Result<Session, String> {
    match std::panic::catch_unwind(|| open(file, device, threads)) {
        Ok(session) => session.map_err(|error| cause_of(&error)),
        Err(panic) => Err(panic_text(&*panic)),
    }
}

fn open(file: &GraphFile, device: Device, threads: usize) -> Result<Session, ort::Error> {
    let environment = &runtime::get().map_err(|error| ort::Error::new(error.to_string()))?.environment;
    let mut builder = SessionBuilder::new(environment)?
        .with_log_level(runtime::log_level())?
        // Idle threads that spin would take the cores from decoding and drawing between two frames.
        .with_intra_op_spinning(false)?
        .with_inter_threads(1)?
        .with_execution_providers(device.providers(threads))?;
    if threads > 0 {
        builder = builder.with_intra_threads(threads)?;
    }
    if threads == 1 {
        builder = builder.with_deterministic_compute(true)?;
    }
    builder.commit_from_memory(&file.bytes)
}

fn describe(path: &Path, session: &Session) -> Result<GraphInfo, InferenceError> {
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

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a panic: {}", text.unwrap_or_else(|| "no message".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: SessionOptions = SessionOptions { device: DeviceRequest::Cpu, require_device: false, threads: 1 };

    fn head() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/head.onnx")
    }

    fn input() -> ArrayD<f32> {
        ArrayD::zeros(vec![1, 4, 3])
    }

    #[test]
    fn callers_of_a_dead_worker_get_an_error_and_the_next_worker_is_a_new_one() {
        let worker = Worker::shared(&[head()], &OPTIONS).unwrap();
        worker.run(0, input()).unwrap();
        // More callers than the queue holds wait while it dies: none of them may hang.
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..2 * QUEUE)
                .map(|caller| {
                    let worker = &worker;
                    scope.spawn(move || {
                        if caller == QUEUE {
                            worker.requests.as_ref().unwrap().send(Request::Die).unwrap();
                        }
                        while worker.run(0, input()).is_ok() {}
                        worker.run(0, input()).unwrap_err()
                    })
                })
                .collect();
            for caller in callers {
                let error = caller.join().unwrap();
                assert_eq!(error, InferenceError::WorkerGone { cause: "killed by a test".into() });
            }
        });
        let next = Worker::shared(&[head()], &OPTIONS).unwrap();
        assert!(!Arc::ptr_eq(&worker, &next));
        next.run(0, input()).unwrap();
    }

    #[test]
    fn the_thread_ends_and_the_slot_goes_with_the_last_user() {
        // A number of threads that no other test uses.
        let options = SessionOptions { threads: 3, ..OPTIONS };
        let worker = Worker::shared(&[head()], &options).unwrap();
        let death = Arc::downgrade(&worker.death);
        drop(worker);
        assert!(death.upgrade().is_none(), "the thread still holds it");
        let _other = Worker::shared(&[head()], &SessionOptions { threads: 4, ..OPTIONS }).unwrap();
        let workers = WORKERS.lock().unwrap();
        assert!(!workers.as_ref().unwrap().keys().any(|key| key.threads == 3));
    }

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
