//! The sessions of some graphs, shared by everybody in the process who wants the same graphs on the same device.
//!
//! An ONNX Runtime session takes `&mut self` to run, so whoever shares one must queue. Nobody hands his work to another
//! thread, which would cost two wake-ups and a copy of everything for each run: who finds a session idle runs it himself, on
//! views of his own memory, and reads the outputs where ONNX Runtime has left them. Who does not waits in the order of coming, so
//! that no channel can starve another; a caller waits for one run at a time, so that the queue is never longer than there
//! are channels.
//!
//! Where the device gains by it (a GPU; on CPUs a batch of eight takes eight times as long as one), those that wait when a
//! session comes free are joined into one batch, which the first of them runs for all. Nobody waits for a batch to fill.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use ndarray::{ArrayD, ArrayViewD, Axis, Slice, concatenate};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{TensorElementType, TensorRef, ValueType};
use sha2::{Digest, Sha256};

use super::device::{Device, DeviceRequest, SessionOptions};
use super::error::InferenceError;
use super::runtime;

/// Rows of a joined batch: with more, those at its end would wait longer than by themselves.
const MOST_ROWS: usize = 32;

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

/// Some graphs, loaded on one device. Kept alive by its `Arc`s.
pub struct Worker {
    graphs: Vec<GraphInfo>,
    lanes: Vec<Lane>,
    device: Device,
    fallback: Option<String>,
    /// Why no session can be trusted any more.
    death: OnceLock<String>,
}

/// One graph's session, and those who wait for it.
struct Lane {
    state: Mutex<LaneState>,
    /// Several requests may be run as one batch.
    joins: bool,
}

struct LaneState {
    /// `None` while somebody runs it. Idle only while nobody waits.
    session: Option<Session>,
    queue: VecDeque<Arc<Seat>>,
}

/// Where one caller waits.
struct Seat {
    turn: Mutex<Option<Turn>>,
    called: Condvar,
    /// For whoever runs it in his batch; `None` where nothing is joined.
    input: Option<ArrayD<f32>>,
}

/// What a caller has waited for.
enum Turn {
    /// The session is his.
    Lead(Session),
    /// Somebody ran his input in a batch.
    Done(Result<Vec<ArrayD<f32>>, InferenceError>),
    /// The worker is dead.
    Gone,
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
        let worker = Arc::new(Self::start(&files, options)?);
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

    /// Runs graph number `graph` over `input` and has `read` look at its outputs, in the graph's order.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if the input's shape does not fit, [`InferenceError::Run`] if ONNX Runtime fails,
    /// [`InferenceError::NotFinite`] if an output holds NaN or infinity, [`InferenceError::WorkerGone`] after a panic
    /// in ONNX Runtime or a reader.
    pub fn run<R>(
        &self,
        graph: usize,
        input: ArrayViewD<f32>,
        read: impl FnOnce(&[ArrayViewD<f32>]) -> R,
    ) -> Result<R, InferenceError> {
        let (info, lane) = (&self.graphs[graph], &self.lanes[graph]);
        let fits = info.input.shape.len() == input.ndim()
            && info.input.shape.iter().zip(input.shape()).all(|(want, have)| want.is_none_or(|want| want == *have))
            && !input.is_empty();
        if !fits {
            return Err(InferenceError::Input {
                path: info.path.clone(),
                cause: format!("takes {}, given {:?}", show_shape(&info.input.shape), input.shape()),
            });
        }
        let mut session = match self.enter(lane, &input) {
            Turn::Lead(session) => session,
            Turn::Done(outputs) => {
                let outputs = outputs?;
                return Ok(read(&outputs.iter().map(|array| array.view()).collect::<Vec<_>>()));
            }
            Turn::Gone => return Err(self.gone()),
        };
        let others = lane.others(input.shape());
        let mut read = Some(read);
        let result = catch_unwind(AssertUnwindSafe(|| {
            if !others.is_empty() {
                if let Some(result) = run_joined(&mut session, info, &input, &others, &mut read) {
                    return result;
                }
                // Each by itself: one of them may have spoilt it for all.
                for seat in &others {
                    let own = seat.input.as_ref().expect("only who brought his input is joined");
                    seat.call(Turn::Done(run(&mut session, info, own.view(), owned)));
                }
            }
            run(&mut session, info, input, read.take().expect("nobody has read yet"))
        }));
        match result {
            Ok(result) => {
                self.leave(lane, session);
                result
            }
            Err(panic) => {
                self.die(panic_text(&*panic));
                others.iter().for_each(|seat| seat.call(Turn::Gone));
                Err(self.gone())
            }
        }
    }

    /// Waits for the session, or for somebody who runs `input` along with his own.
    fn enter(&self, lane: &Lane, input: &ArrayViewD<f32>) -> Turn {
        let mut state = lane.state();
        if self.death.get().is_some() {
            return Turn::Gone;
        }
        if let Some(session) = state.session.take() {
            return Turn::Lead(session);
        }
        let input = lane.joins.then(|| input.to_owned());
        let seat = Arc::new(Seat { turn: Mutex::new(None), called: Condvar::new(), input });
        state.queue.push_back(seat.clone());
        drop(state);
        seat.wait()
    }

    /// Gives the session to the next who waits.
    fn leave(&self, lane: &Lane, session: Session) {
        let mut state = lane.state();
        if self.death.get().is_some() {
            return;
        }
        match state.queue.pop_front() {
            Some(seat) => {
                drop(state);
                seat.call(Turn::Lead(session));
            }
            None => state.session = Some(session),
        }
    }

    /// Ends it for all who wait and all who come.
    fn die(&self, cause: String) {
        // Said first, so that whoever is called can read why, and nobody joins a queue behind our back.
        let _ = self.death.set(cause);
        for lane in &self.lanes {
            let waiting = std::mem::take(&mut lane.state().queue);
            waiting.iter().for_each(|seat| seat.call(Turn::Gone));
        }
    }

    fn gone(&self) -> InferenceError {
        InferenceError::WorkerGone { cause: self.death.get().cloned().unwrap_or_default() }
    }

    fn serves(&self, options: &SessionOptions) -> bool {
        self.death.get().is_none() && !(options.require_device && self.fallback.is_some())
    }

    fn start(files: &[GraphFile], options: &SessionOptions) -> Result<Self, InferenceError> {
        let Loaded { sessions, graphs, device, fallback } = load(files, options)?;
        let lane = |(session, graph): (Session, &GraphInfo)| {
            let is_free = |port: &Port| port.shape.first() == Some(&None);
            let joins = device.gains_by_batches() && is_free(&graph.input) && graph.outputs.iter().all(is_free);
            Lane { state: Mutex::new(LaneState { session: Some(session), queue: VecDeque::new() }), joins }
        };
        let lanes = sessions.into_iter().zip(&graphs).map(lane).collect();
        Ok(Self { graphs, lanes, device, fallback, death: OnceLock::new() })
    }
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().expect("nothing panics while it holds the queue")
    }

    /// Takes those out of the queue whose inputs can be run together with one of this shape.
    fn others(&self, shape: &[usize]) -> Vec<Arc<Seat>> {
        let mut taken = Vec::new();
        if !self.joins {
            return taken;
        }
        let mut rows = shape[0];
        let mut state = self.state();
        while let Some(input) = state.queue.front().and_then(|seat| seat.input.as_ref()) {
            rows += input.shape()[0];
            if input.shape()[1..] != shape[1..] || rows > MOST_ROWS {
                break;
            }
            taken.extend(state.queue.pop_front());
        }
        taken
    }
}

impl Seat {
    fn call(&self, turn: Turn) {
        *self.turn.lock().expect("nothing panics while it holds a seat") = Some(turn);
        self.called.notify_one();
    }

    fn wait(&self) -> Turn {
        let mut turn = self.turn.lock().expect("nothing panics while it holds a seat");
        loop {
            match turn.take() {
                Some(turn) => return turn,
                None => turn = self.called.wait(turn).expect("nothing panics while it holds a seat"),
            }
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("graphs", &self.graphs).field("device", &self.device).finish_non_exhaustive()
    }
}

fn run<R>(
    session: &mut Session,
    info: &GraphInfo,
    input: ArrayViewD<f32>,
    read: impl FnOnce(&[ArrayViewD<f32>]) -> R,
) -> Result<R, InferenceError> {
    let failed = |error: ort::Error| InferenceError::Run { path: info.path.clone(), cause: cause_of(&error) };
    let input = input.as_standard_layout();
    let tensor = TensorRef::from_array_view(&input).map_err(failed)?;
    let values = session.run(ort::inputs![tensor]).map_err(failed)?;
    let mut outputs = Vec::with_capacity(info.outputs.len());
    for (index, port) in info.outputs.iter().enumerate() {
        let output = values[index].try_extract_array::<f32>().map_err(failed)?;
        if !all_finite(&output) {
            return Err(InferenceError::NotFinite { path: info.path.clone(), output: port.name.clone() });
        }
        outputs.push(output);
    }
    Ok(read(&outputs))
}

/// Runs `input` and those of `others` as one batch, tells the others their outputs, and has `read` look at its own. `None`, and
/// nobody has been told anything, if that fails for whatever reason.
fn run_joined<R, F: FnOnce(&[ArrayViewD<f32>]) -> R>(
    session: &mut Session,
    info: &GraphInfo,
    input: &ArrayViewD<f32>,
    others: &[Arc<Seat>],
    read: &mut Option<F>,
) -> Option<Result<R, InferenceError>> {
    let theirs = others.iter().filter_map(|seat| seat.input.as_ref()).map(|array| array.view());
    let inputs: Vec<_> = std::iter::once(input.view()).chain(theirs).collect();
    let batch = concatenate(Axis(0), &inputs).ok()?;
    let rows = batch.len_of(Axis(0));
    let split = |outputs: &[ArrayViewD<f32>]| {
        if outputs.iter().any(|output| output.shape().first() != Some(&rows)) {
            return None;
        }
        let mut start = 0;
        let mut parts = inputs.iter().map(|input| {
            let end = start + input.len_of(Axis(0));
            let part = Slice::from(start..end);
            start = end;
            outputs.iter().map(|output| output.slice_axis(Axis(0), part).to_owned()).collect::<Vec<_>>()
        });
        let own = parts.next()?;
        others.iter().zip(parts).for_each(|(seat, part)| seat.call(Turn::Done(Ok(part))));
        Some(own)
    };
    let own = run(session, info, batch.view(), split).ok()??;
    let read = read.take()?;
    Some(Ok(read(&own.iter().map(|array| array.view()).collect::<Vec<_>>())))
}

fn owned(outputs: &[ArrayViewD<f32>]) -> Vec<ArrayD<f32>> {
    outputs.iter().map(|output| output.to_owned()).collect()
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

    fn run_head(worker: &Worker, input: &ArrayD<f32>) -> Result<Vec<ArrayD<f32>>, InferenceError> {
        worker.run(0, input.view(), owned)
    }

    /// The worker's only session, as if somebody were running it.
    fn take_session(worker: &Worker) -> Session {
        worker.lanes[0].state().session.take().unwrap()
    }

    fn wait_for_queue(worker: &Worker, length: usize) {
        while worker.lanes[0].state().queue.len() < length {
            std::thread::yield_now();
        }
    }

    #[test]
    fn callers_of_a_dead_worker_get_an_error_and_the_next_worker_is_a_new_one() {
        let worker = Worker::shared(&[head()], &OPTIONS).unwrap();
        run_head(&worker, &input()).unwrap();
        let session = take_session(&worker);
        let gone = Err(InferenceError::WorkerGone { cause: "killed by a test".into() });
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..3).map(|_| scope.spawn(|| run_head(&worker, &input()))).collect();
            wait_for_queue(&worker, 3);
            worker.die("killed by a test".into());
            for caller in callers {
                assert_eq!(caller.join().unwrap(), gone);
            }
        });
        worker.leave(&worker.lanes[0], session);
        assert_eq!(run_head(&worker, &input()), gone);
        let next = Worker::shared(&[head()], &OPTIONS).unwrap();
        assert!(!Arc::ptr_eq(&worker, &next));
        run_head(&next, &input()).unwrap();
    }

    #[test]
    fn a_panic_on_the_way_is_an_error_for_all() {
        let worker = Worker::start(&[GraphFile::read(&head()).unwrap()], &OPTIONS).unwrap();
        let gone = InferenceError::WorkerGone { cause: "a panic: of a test".into() };
        assert_eq!(worker.run(0, input().view(), |_| panic!("of a test")), Err::<(), _>(gone.clone()));
        assert_eq!(run_head(&worker, &input()), Err(gone));
    }

    #[test]
    fn who_comes_first_runs_first() {
        let worker = Worker::start(&[GraphFile::read(&head()).unwrap()], &OPTIONS).unwrap();
        let session = take_session(&worker);
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for caller in 0..5 {
                let (worker, order) = (&worker, &order);
                scope.spawn(move || worker.run(0, input().view(), |_| order.lock().unwrap().push(caller)).unwrap());
                wait_for_queue(worker, caller + 1);
            }
            worker.leave(&worker.lanes[0], session);
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn those_who_wait_are_run_as_one_batch_and_get_their_own_outputs() {
        let mut worker = Worker::start(&[GraphFile::read(&head()).unwrap()], &OPTIONS).unwrap();
        worker.lanes[0].joins = true;
        let window = |value: f32, rows: usize, frames: usize| ArrayD::from_elem(vec![rows, frames, 3], value);
        // The fourth has another length, and is not joined; the third spoils the batch, and alone gets an error.
        for spoilt in [false, true] {
            let third = if spoilt { f32::NAN } else { 0.75 };
            let inputs = [window(0.25, 1, 4), window(0.5, 2, 4), window(third, 1, 4), window(1.0, 1, 5)];
            let alone: Vec<_> = inputs.iter().map(|input| run_head(&worker, input)).collect();
            assert_eq!(alone[2].is_err(), spoilt);
            let session = take_session(&worker);
            std::thread::scope(|scope| {
                let callers: Vec<_> = (0..inputs.len())
                    .map(|caller| {
                        let (worker, input) = (&worker, &inputs[caller]);
                        let thread = scope.spawn(move || run_head(worker, input));
                        wait_for_queue(worker, caller + 1);
                        thread
                    })
                    .collect();
                let lane = &worker.lanes[0];
                let lead = lane.state().queue.front().cloned().unwrap();
                assert_eq!(lead.input.as_ref().unwrap(), &inputs[0]);
                worker.leave(lane, session);
                for (caller, alone) in callers.into_iter().zip(&alone) {
                    assert_eq!(&caller.join().unwrap(), alone);
                }
            });
        }
    }

    #[test]
    fn joined_inputs_are_those_of_one_shape_up_to_a_limit() {
        let lane = Lane { state: Mutex::new(LaneState { session: None, queue: VecDeque::new() }), joins: true };
        let queue = |rows: &[usize], frames: usize| {
            for &rows in rows {
                let input = Some(ArrayD::zeros(vec![rows, frames, 3]));
                let seat = Seat { turn: Mutex::new(None), called: Condvar::new(), input };
                lane.state().queue.push_back(Arc::new(seat));
            }
        };
        queue(&[1, 2], 4);
        queue(&[1], 5);
        assert_eq!(lane.others(&[1, 4, 3]).len(), 2);
        assert_eq!(lane.others(&[1, 4, 3]).len(), 0, "the next has another shape");
        assert_eq!(lane.others(&[MOST_ROWS, 5, 3]).len(), 0);
        assert_eq!(lane.others(&[MOST_ROWS - 1, 5, 3]).len(), 1);
    }

    #[test]
    fn the_slot_goes_with_the_last_user() {
        // A number of threads that no other test uses.
        let options = SessionOptions { threads: 3, ..OPTIONS };
        drop(Worker::shared(&[head()], &options).unwrap());
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
