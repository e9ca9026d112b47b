//! The sessions of some graphs, shared by everybody in the process who wants the same graphs on the same device.
//!
//! An ONNX Runtime session takes `&mut self` to run, so whoever shares one must queue. Nobody hands his work to another
//! thread, which would cost two wake-ups and a copy of everything for each run: who finds a session idle runs it himself, on
//! views of his own memory, and reads the outputs where ONNX Runtime has left them. Who does not waits in the order of coming, so
//! that no channel can starve another; a caller waits for one run at a time, so that the queue is never longer than there
//! are channels.
//!
//! A device has one session of each graph, since it does one thing at a time. On the CPU each further user brings one more,
//! until there are as many as can run at once: with one session for all, cores would be idle while channels wait.
//!
//! A device that is lost on the way is the [`standby`](super::standby)'s matter.
//!
//! Where the device gains by it (a GPU; on CPUs a batch of eight takes eight times as long as one), those that wait when a
//! session comes free are joined into one batch, which the first of them runs for all. Nobody waits for a batch to fill.
//!
//! # Who holds what
//! A session is in exactly one place: idle in its `QueueState`, on its way in the `Outcome` of one `Waiter`, or in the hands of the one caller
//! who runs it. It moves by value, so that no two can run it, and no lock is held while a graph runs.
//!
//! - `QueueState` is guarded by its queue's lock. One of `idle` and `waiting` is always empty: `enter` takes an idle runner or queues, and
//!   `leave` calls the first of the queue or puts the runner back, each in one go under the lock. So nobody queues for a session
//!   that is idle.
//! - A `Waiter`'s outcome is guarded by the waiter's lock, and given once: whoever calls a waiter has first taken it out of the queue. Its owner
//!   waits for the outcome itself, not for the call, so that a call before the wait is not lost.
//!
//! Locks are taken in the order watch (of the [`standby`](super::standby)), then queue or placement or waiter; of these three nobody holds two.
//! The one exception to short holding is the watch: it is held while sessions are made on the CPU for a device that was lost, which
//! only those wait for whose run has failed as well. `WORKERS` is let go before a slot is locked for long: under it a slot is
//! locked only if nobody else has it.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use ndarray::{ArrayD, ArrayViewD, Axis, Slice, concatenate};

use super::device::{Device, DeviceRequest, Placement, SessionOptions, cores};
use super::error::InferenceError;
use super::graph::{self, GraphFile, GraphInfo, Outputs, Port, panic_text, show_shape};
use super::runner::{Installed, Plan, Runner};
use super::runtime;
use super::standby::Standby;

/// Rows of a joined batch: with more, those at its end would wait longer than by themselves.
const MAX_ROWS: usize = 32;

/// Some graphs, loaded on one device. Kept alive by its `Arc`s.
pub struct Worker {
    graphs: Arc<[GraphInfo]>,
    queues: Arc<[Queue]>,
    placement: Arc<Mutex<Placement>>,
    /// `None` on the CPU, than which nothing is safer.
    standby: Option<Arc<Standby>>,
    /// Of each graph.
    sessions: AtomicUsize,
}

/// One graph's sessions, and those who wait for one.
struct Queue {
    state: Mutex<QueueState>,
    /// Several requests may be run as one batch.
    joins: bool,
}

struct QueueState {
    /// Those that nobody runs. Idle only while nobody waits; the last one back is taken first, since its memory is still in the caches.
    idle: Vec<Runner>,
    /// What is to take a device's session's place once that run is over.
    successor: Option<Runner>,
    waiting: VecDeque<Arc<Waiter>>,
}

/// Where one caller waits.
struct Waiter {
    outcome: Mutex<Option<Outcome>>,
    called: Condvar,
    /// For whoever runs it in his batch; `None` where nothing is joined.
    input: Option<ArrayD<f32>>,
}

/// What [`Outputs`] show.
#[derive(Debug, PartialEq)]
struct OwnedOutputs {
    values: Vec<ArrayD<f32>>,
}

/// What a caller has waited for.
enum Outcome {
    /// The session is the caller's.
    Acquired(Runner),
    /// Somebody ran the caller's input in a batch.
    Done(Result<OwnedOutputs, InferenceError>),
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    files: Vec<Vec<(Option<Device>, String)>>,
    device: DeviceRequest,
    /// Without the CPU to fall back on it is another worker.
    required: bool,
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
        let device = match options.device.candidates()[..] {
            // Where only the CPU is left, "auto" and "cpu" are the same worker.
            [only] => only.into(),
            _ => options.device,
        };
        let key = Key {
            files: files.iter().map(GraphFile::identity).collect(),
            device,
            required: device.named().is_some_and(|device| options.requires(device)),
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
        let plan = Plan { files, threads: options.threads, devices: Box::new(Installed) };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = slot.upgrade() {
            worker.grow(&plan, Arc::strong_count(&worker));
            return Ok(worker);
        }
        let worker = Arc::new(Self::start(plan, options)?);
        *slot = Arc::downgrade(&worker);
        Ok(worker)
    }

    /// One more session of each graph, if these `users` could run it at the same time as the others. Only one thread may be here.
    fn grow(&self, plan: &Plan, users: usize) {
        let sessions = self.sessions.load(Ordering::Relaxed);
        if self.standby.is_some() || sessions >= users.min(at_once(plan.threads)) {
            return;
        }
        // Without it the users share what there is, as more users than cores do anyway.
        let Ok(more) = plan.open(Device::Cpu) else { return };
        for (queue, runner) in self.queues.iter().zip(more) {
            self.leave(queue, runner);
        }
        self.sessions.store(sessions + 1, Ordering::Relaxed);
    }

    /// On what the graphs run right now. A device may be lost and come back.
    pub fn placement(&self) -> Placement {
        lock(&self.placement).clone()
    }

    /// Device that runs the graphs, or did until it was lost.
    pub fn device(&self) -> Device {
        let lost = || self.standby.as_ref().map_or(Device::Cpu, |standby| standby.device);
        lock(&self.placement).active.unwrap_or_else(lost)
    }

    /// The graphs, in the order of the files.
    pub fn graphs(&self) -> &[GraphInfo] {
        &self.graphs
    }

    /// Runs graph number `graph` over `input` and has `read` look at its outputs, in the graph's order.
    ///
    /// # Errors
    /// [`InferenceError::Input`] if the input's shape does not fit, [`InferenceError::Run`] if ONNX Runtime fails,
    /// [`InferenceError::NotFinite`] if an output holds NaN or infinity, [`InferenceError::Device`] while a required device is
    /// lost, [`InferenceError::Panicked`] after a panic in ONNX Runtime's bindings or in `read`, which costs this run alone.
    pub fn run<R>(
        &self,
        graph: usize,
        input: ArrayViewD<f32>,
        read: impl FnOnce(&Outputs) -> R,
    ) -> Result<R, InferenceError> {
        let (info, queue) = (&self.graphs[graph], &self.queues[graph]);
        let fits = info.input.shape.len() == input.ndim()
            && info.input.shape.iter().zip(input.shape()).all(|(want, have)| want.is_none_or(|want| want == *have))
            && !input.is_empty();
        if !fits {
            return Err(InferenceError::Input {
                path: info.path.clone(),
                cause: format!("takes {}, given {:?}", show_shape(&info.input.shape), input.shape()),
            });
        }
        self.refuse()?;
        let mut runner = match self.enter(queue, &input) {
            Outcome::Acquired(runner) => runner,
            Outcome::Done(outputs) => return Ok(outputs?.show(read)),
        };
        let others = queue.others(input.shape());
        let mut read = Some(read);
        let result = catch_unwind(AssertUnwindSafe(|| {
            if !others.is_empty() {
                if let Some(result) = run_joined(&mut runner, info, &input, &others, &mut read) {
                    return result;
                }
                // Each by itself: one of them may have spoilt it for all.
                for waiter in &others {
                    let own = waiter.input.as_ref().expect("only who brought his input is joined").view();
                    waiter.call(Outcome::Done(self.run_safely(graph, &mut runner, &own, &mut Some(OwnedOutputs::of))));
                }
            }
            self.run_safely(graph, &mut runner, &input, &mut read)
        }));
        match result {
            Ok(result) => {
                self.leave(queue, runner);
                result
            }
            Err(panic) => {
                // The session has not failed: whoever is next gets it.
                let error = InferenceError::Panicked { path: info.path.clone(), cause: panic_text(&*panic) };
                self.leave(queue, runner);
                others.iter().for_each(|waiter| waiter.call(Outcome::Done(Err(error.clone()))));
                Err(error)
            }
        }
    }

    /// Waits for the session, or for somebody who runs the input along with his own.
    fn enter(&self, queue: &Queue, input: &ArrayViewD<f32>) -> Outcome {
        let mut state = queue.state();
        if let Some(runner) = state.idle.pop() {
            return Outcome::Acquired(runner);
        }
        let input = queue.joins.then(|| input.to_owned());
        let waiter = Arc::new(Waiter { outcome: Mutex::new(None), called: Condvar::new(), input });
        state.waiting.push_back(waiter.clone());
        drop(state);
        waiter.wait()
    }

    /// Gives the session to the next who waits.
    fn leave(&self, queue: &Queue, runner: Runner) {
        let mut state = queue.state();
        let successor = state.successor.take();
        // Dropped after the lock.
        let (runner, _retired) = match successor {
            Some(successor) => (successor, Some(runner)),
            None => (runner, None),
        };
        match state.waiting.pop_front() {
            Some(waiter) => {
                drop(state);
                waiter.call(Outcome::Acquired(runner));
            }
            None => {
                state.idle.push(runner);
                drop(state);
            }
        }
    }

    /// Runs it; where a device fails that can be done without, on the CPU.
    fn run_safely<R, F: FnOnce(&Outputs) -> R>(
        &self,
        graph: usize,
        runner: &mut Runner,
        input: &ArrayViewD<f32>,
        read: &mut Option<F>,
    ) -> Result<R, InferenceError> {
        let mut once = |runner: &mut Runner| {
            let read = |outputs: &Outputs| read.take().expect("nobody has read yet")(outputs);
            graph::run(&mut runner.session, &self.graphs[graph], input.view(), read)
        };
        match (once(runner), &self.standby) {
            (Err(error), Some(standby)) if runner.device != Device::Cpu => {
                self.rescue(standby, graph, runner, input, error, once)
            }
            (result, _) => result,
        }
    }

    /// A run has failed with `error` on a device that may be lost. `once` runs it on another session.
    fn rescue<R>(
        &self,
        standby: &Arc<Standby>,
        graph: usize,
        runner: &mut Runner,
        input: &ArrayViewD<f32>,
        error: InferenceError,
        mut once: impl FnMut(&mut Runner) -> Result<R, InferenceError>,
    ) -> Result<R, InferenceError> {
        let mut watch = standby.watch();
        // Of two graphs that fail at the same time the second finds what has been done about the first.
        self.refuse()?;
        let successor = self.queues[graph].state().successor.take();
        if let Some(successor) = successor {
            drop(watch);
            *runner = successor;
            return once(runner);
        }
        let Ok(mut runners) = watch.on_cpu(standby) else { return Err(error) };
        let result = once(&mut runners[graph]);
        if result.is_err() {
            // It is not the device's fault.
            watch.keep(runners);
            return Err(error);
        }
        let placement = self.placement.clone();
        *lock(&placement) = standby.lost(&error);
        if !standby.required {
            replace(&self.queues, runners);
            if let Some(successor) = self.queues[graph].state().successor.take() {
                *runner = successor;
            }
        }
        let (graphs, queues, input, device) =
            (self.graphs.clone(), self.queues.clone(), input.to_owned(), standby.device);
        let try_out = move |runners: &mut [Runner]| {
            let again = graph::run(&mut runners[graph].session, &graphs[graph], input.view(), |_| ());
            again.map_err(|error| error.to_string())
        };
        let take_over = move |runners| {
            replace(&queues, runners);
            *lock(&placement) = Placement::on(device);
        };
        watch.regain(standby, try_out, take_over);
        drop(watch);
        self.refuse()?;
        result
    }

    /// # Errors
    /// [`InferenceError::Device`] while a required device is lost.
    fn refuse(&self) -> Result<(), InferenceError> {
        match (lock(&self.placement).clone(), &self.standby) {
            (Placement { active: None, reason }, Some(standby)) => {
                Err(InferenceError::Device { device: standby.device, cause: reason.unwrap_or_default() })
            }
            _ => Ok(()),
        }
    }

    fn start(plan: Plan, options: &SessionOptions) -> Result<Self, InferenceError> {
        Self::start_on(options.device.candidates(), plan, options)
    }

    /// Loads all graphs on the first of the `candidates` that takes them all.
    pub(super) fn start_on(
        candidates: Vec<Device>,
        plan: Plan,
        options: &SessionOptions,
    ) -> Result<Self, InferenceError> {
        let mut placement = Placement { active: None, reason: None };
        for device in candidates {
            match plan.open(device) {
                Ok(runners) => {
                    placement.active = Some(device);
                    return Self::with_runners(runners, device, placement, plan, options);
                }
                Err((file, cause)) if device == Device::Cpu => {
                    return Err(InferenceError::Graph { path: file.path.clone(), cause });
                }
                Err((_, cause)) if options.requires(device) => {
                    return Err(InferenceError::Device { device, cause });
                }
                Err((_, cause)) => {
                    let reason = format!("{device} does not work: {cause}");
                    let before = placement.reason.take();
                    placement.reason = Some(before.map_or(reason.clone(), |before| format!("{before}; {reason}")));
                }
            }
        }
        unreachable!("the CPU is the last of the candidates")
    }

    fn with_runners(
        runners: Vec<Runner>,
        device: Device,
        placement: Placement,
        plan: Plan,
        options: &SessionOptions,
    ) -> Result<Self, InferenceError> {
        let graphs = plan
            .files
            .iter()
            .zip(&runners)
            .map(|(file, runner)| graph::describe(&file.on(device).path, &runner.session))
            .collect::<Result<Arc<[_]>, _>>()?;
        let queue = |(runner, graph): (Runner, &GraphInfo)| {
            let is_free = |port: &Port| port.shape.first() == Some(&None);
            let joins = device.gains_by_batches() && is_free(&graph.input) && graph.outputs.iter().all(is_free);
            let idle = vec![runner];
            Queue { state: Mutex::new(QueueState { idle, successor: None, waiting: VecDeque::new() }), joins }
        };
        let queues = runners.into_iter().zip(&*graphs).map(queue).collect();
        let required = options.requires(device);
        let known = graphs.clone();
        let standby = || Arc::new(Standby::new(plan, known, device, required));
        Ok(Self {
            graphs,
            queues,
            placement: Arc::new(Mutex::new(placement)),
            standby: (device != Device::Cpu).then(standby),
            sessions: AtomicUsize::new(1),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(standby) = &self.standby {
            standby.close();
        }
    }
}

/// Puts each of these in the place of the one that its queue has; where that is being run, as soon as it is free.
fn replace(queues: &[Queue], runners: Vec<Runner>) {
    for (queue, runner) in queues.iter().zip(runners) {
        // Sessions are dropped after the lock.
        let _retired = {
            let mut state = queue.state();
            match state.idle.pop() {
                Some(retired) => {
                    state.idle.push(runner);
                    Some(retired)
                }
                None => state.successor.replace(runner),
            }
        };
    }
}

/// Runs that the CPU can do at the same time with so many threads each.
fn at_once(threads: usize) -> usize {
    (cores() / threads.max(1)).max(1)
}

fn lock(placement: &Mutex<Placement>) -> MutexGuard<'_, Placement> {
    placement.lock().expect("nothing panics while it holds the placement")
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().expect("nothing panics while it holds the queue")
    }

    /// Takes those out of the queue whose inputs can be run together with one of this shape.
    fn others(&self, shape: &[usize]) -> Vec<Arc<Waiter>> {
        let mut taken = Vec::new();
        if !self.joins {
            return taken;
        }
        let mut rows = shape[0];
        let mut state = self.state();
        while let Some(input) = state.waiting.front().and_then(|waiter| waiter.input.as_ref()) {
            rows += input.shape()[0];
            if input.shape()[1..] != shape[1..] || rows > MAX_ROWS {
                break;
            }
            taken.extend(state.waiting.pop_front());
        }
        taken
    }
}

impl Waiter {
    fn call(&self, outcome: Outcome) {
        // What was said first holds.
        self.outcome.lock().expect("nothing panics while it holds a waiter").get_or_insert(outcome);
        self.called.notify_one();
    }

    fn wait(&self) -> Outcome {
        let mut outcome = self.outcome.lock().expect("nothing panics while it holds a waiter");
        loop {
            match outcome.take() {
                Some(outcome) => return outcome,
                None => outcome = self.called.wait(outcome).expect("nothing panics while it holds a waiter"),
            }
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("graphs", &self.graphs)
            .field("placement", &self.placement())
            .finish_non_exhaustive()
    }
}

impl OwnedOutputs {
    fn of(outputs: &Outputs) -> Self {
        Self { values: outputs.iter().map(|output| output.to_owned()).collect() }
    }

    fn show<R>(&self, read: impl FnOnce(&Outputs) -> R) -> R {
        let values: Vec<_> = self.values.iter().map(|array| array.view()).collect();
        read(&Outputs::new(&values))
    }
}

/// Runs `input` and those of `others` as one batch, tells the others their outputs, and has `read` look at its own. `None`, and
/// nobody has been told anything, if that fails for whatever reason.
fn run_joined<R, F: FnOnce(&Outputs) -> R>(
    runner: &mut Runner,
    info: &GraphInfo,
    input: &ArrayViewD<f32>,
    others: &[Arc<Waiter>],
    read: &mut Option<F>,
) -> Option<Result<R, InferenceError>> {
    let theirs = others.iter().filter_map(|waiter| waiter.input.as_ref());
    let inputs: Vec<_> = std::iter::once(input.view()).chain(theirs.map(|own| own.view())).collect();
    let batch = concatenate(Axis(0), &inputs).ok()?;
    let count = batch.len_of(Axis(0));
    let split = |outputs: &Outputs| {
        if outputs.iter().any(|output| output.shape().first() != Some(&count)) {
            return None;
        }
        let mut start = 0;
        let mut parts = inputs.iter().map(|input| {
            let end = start + input.len_of(Axis(0));
            let part = Slice::from(start..end);
            let values = outputs.iter().map(|output| output.slice_axis(Axis(0), part).to_owned()).collect();
            start = end;
            OwnedOutputs { values }
        });
        let own = parts.next()?;
        others.iter().zip(parts).for_each(|(waiter, part)| waiter.call(Outcome::Done(Ok(part))));
        Some(own)
    };
    let own = graph::run(&mut runner.session, info, batch.view(), split).ok()??;
    Some(Ok(own.show(read.take()?)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ndarray::IxDyn;

    use super::super::testing::{Fragile, data, on_cuda};
    use super::*;

    const OPTIONS: SessionOptions = SessionOptions { device: DeviceRequest::Cpu, require_device: false, threads: 1 };

    fn head() -> PathBuf {
        data("head.onnx")
    }

    fn input() -> ArrayD<f32> {
        ArrayD::zeros(vec![1, 4, 3])
    }

    fn run_head(worker: &Worker, input: &ArrayD<f32>) -> Result<OwnedOutputs, InferenceError> {
        worker.run(0, input.view(), OwnedOutputs::of)
    }

    /// A worker of this file alone, which nobody shares.
    fn own(file: PathBuf) -> Worker {
        let files = vec![GraphFile::read(&file).unwrap()];
        Worker::start(Plan { files, threads: 1, devices: Box::new(Installed) }, &OPTIONS).unwrap()
    }

    /// The worker's only session, as if somebody were running it.
    fn take_session(worker: &Worker) -> Runner {
        worker.queues[0].state().idle.pop().unwrap()
    }

    fn wait_for_queue(worker: &Worker, length: usize) {
        while worker.queues[0].state().waiting.len() < length {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_panic_costs_one_run_and_nobody_else() {
        let worker = own(head());
        let session = take_session(&worker);
        std::thread::scope(|scope| {
            let bad = scope.spawn(|| worker.run(0, input().view(), |_| panic!("of a test")));
            wait_for_queue(&worker, 1);
            let good = scope.spawn(|| run_head(&worker, &input()));
            wait_for_queue(&worker, 2);
            worker.leave(&worker.queues[0], session);
            let Err::<(), _>(InferenceError::Panicked { cause, .. }) = bad.join().unwrap() else { panic!("no error") };
            assert_eq!(cause, "a panic: of a test");
            assert!(good.join().unwrap().is_ok());
        });
        run_head(&worker, &input()).unwrap();
    }

    #[test]
    fn the_first_to_come_runs_first() {
        let worker = own(head());
        let session = take_session(&worker);
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for caller in 0..5 {
                let (worker, order) = (&worker, &order);
                scope.spawn(move || worker.run(0, input().view(), |_| order.lock().unwrap().push(caller)).unwrap());
                wait_for_queue(worker, caller + 1);
            }
            worker.leave(&worker.queues[0], session);
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn those_who_wait_are_run_as_one_batch_and_get_their_own_outputs() {
        let mut worker = own(head());
        Arc::get_mut(&mut worker.queues).unwrap()[0].joins = true;
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
                let queue = &worker.queues[0];
                let lead = queue.state().waiting.front().cloned().unwrap();
                assert_eq!(lead.input.as_ref(), Some(&inputs[0]));
                worker.leave(queue, session);
                for (caller, alone) in callers.into_iter().zip(&alone) {
                    assert_eq!(&caller.join().unwrap(), alone);
                }
            });
        }
    }

    #[test]
    fn joined_inputs_are_those_of_one_shape_up_to_a_limit() {
        let state = QueueState { idle: vec![], successor: None, waiting: VecDeque::new() };
        let queue = Queue { state: Mutex::new(state), joins: true };
        let wait = |rows: &[usize], frames: usize| {
            for &rows in rows {
                let input = Some(ArrayD::zeros(vec![rows, frames, 3]));
                let waiter = Waiter { outcome: Mutex::new(None), called: Condvar::new(), input };
                queue.state().waiting.push_back(Arc::new(waiter));
            }
        };
        wait(&[1, 2], 4);
        wait(&[1], 5);
        assert_eq!(queue.others(&[1, 4, 3]).len(), 2);
        assert_eq!(queue.others(&[1, 4, 3]).len(), 0, "the next has another shape");
        assert_eq!(queue.others(&[MAX_ROWS, 5, 3]).len(), 0);
        assert_eq!(queue.others(&[MAX_ROWS - 1, 5, 3]).len(), 1);
    }

    #[test]
    fn each_user_brings_a_session_until_no_more_can_run_at_once() {
        // A graph that no other test here shares.
        let users: Vec<_> = (0..4).map(|_| Worker::shared(&[data("whole.onnx")], &OPTIONS).unwrap()).collect();
        let worker = &users[0];
        let sessions = worker.queues[0].state().idle.len();
        assert_eq!(sessions, at_once(1).min(4));
        assert_eq!(worker.sessions.load(Ordering::Relaxed), sessions);

        // Nobody is through before all have begun.
        let began = AtomicUsize::new(0);
        let shape: Vec<_> = worker.graphs()[0].input.shape.iter().map(|size| size.unwrap_or(1)).collect();
        let input = ArrayD::zeros(shape);
        std::thread::scope(|scope| {
            for _ in 0..sessions {
                let (began, input) = (&began, &input);
                let read = move |_: &Outputs| {
                    began.fetch_add(1, Ordering::SeqCst);
                    wait_until(|| began.load(Ordering::SeqCst) == sessions);
                };
                scope.spawn(move || worker.run(0, input.view(), read).unwrap());
            }
        });
        assert_eq!(worker.queues[0].state().idle.len(), sessions);
    }

    #[test]
    fn more_threads_a_run_are_fewer_runs_at_once() {
        let cores = cores();
        assert_eq!([0, 1, cores, 2 * cores].map(at_once), [cores, cores, 1, 1]);
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

    /// What the encoder makes of crops of these values.
    fn encode(worker: &Worker, values: &[f32]) -> Result<Vec<f32>, InferenceError> {
        let crops = ArrayD::from_shape_fn(IxDyn(&[values.len(), 3, 16, 16]), |index| values[index[0]]);
        worker.run(0, crops.view(), |outputs| outputs[0].iter().step_by(3).copied().collect())
    }

    /// Values below 1 are dark.
    const DARK: f32 = 0.5;
    const BRIGHT: f32 = 1.0;

    fn wait_until(so: impl Fn() -> bool) {
        while !so() {
            std::thread::yield_now();
        }
    }

    fn devices(worker: &Worker) -> Vec<Device> {
        worker.queues.iter().map(|queue| queue.state().idle[0].device).collect()
    }

    #[test]
    fn the_cpu_takes_over_from_a_lost_device_until_it_is_back() {
        let device = Fragile::broken();
        let worker = device.worker(false);
        assert_eq!(encode(&worker, &[DARK]), Ok(vec![DARK]));
        assert_eq!(worker.placement(), Placement::on(Device::Cuda));

        assert_eq!(encode(&worker, &[BRIGHT, DARK]), Ok(vec![BRIGHT, DARK]), "nobody is to hear of it");
        assert_eq!(worker.placement().active, Some(Device::Cpu));
        let reason = worker.placement().reason.unwrap();
        assert!(
            reason.starts_with("cuda was lost in mid-stream: ") && reason.contains("out of data bounds"),
            "{reason}"
        );
        assert_eq!(devices(&worker), [Device::Cpu; 2], "the head goes along");
        assert_eq!(encode(&worker, &[BRIGHT]), Ok(vec![BRIGHT]));

        // New sessions are of no use until they can do what could not be done.
        wait_until(|| device.opened.load(Ordering::SeqCst) >= 3);
        assert_eq!(worker.placement().active, Some(Device::Cpu));
        device.broken.store(false, Ordering::SeqCst);
        wait_until(|| worker.placement() == Placement::on(Device::Cuda));
        assert_eq!(devices(&worker), [Device::Cuda; 2]);
        assert_eq!(encode(&worker, &[BRIGHT]), Ok(vec![BRIGHT]));
    }

    /// A worker of `cuda`, which is really the CPU, where the first file stands in the place of the second.
    fn with_other_file_on_cuda(other: &str, file: &str) -> Worker {
        let mut graph = GraphFile::read(&data(file)).unwrap();
        graph.on.insert(Device::Cuda, GraphFile::read(&data(other)).unwrap());
        on_cuda(vec![graph], Arc::new(Fragile::default()), false)
    }

    #[test]
    fn each_device_runs_the_file_that_is_meant_for_it() {
        let worker = with_other_file_on_cuda("encoder-lost.onnx", "encoder.onnx");
        assert!(worker.graphs()[0].path.ends_with("encoder-lost.onnx"));
        assert_eq!(encode(&worker, &[DARK]), Ok(vec![DARK]));
        assert_eq!(worker.placement(), Placement::on(Device::Cuda));
        assert_eq!(encode(&worker, &[BRIGHT]), Ok(vec![BRIGHT]), "the CPU's own can do it");
        assert_eq!(worker.placement().active, Some(Device::Cpu));
    }

    #[test]
    fn a_file_of_another_form_does_not_take_over() {
        let worker = with_other_file_on_cuda("encoder-lost.onnx", "encoder-20.onnx");
        assert_eq!(encode(&worker, &[DARK]), Ok(vec![DARK]));
        assert!(matches!(encode(&worker, &[BRIGHT]), Err(InferenceError::Run { .. })));
        assert_eq!(worker.placement(), Placement::on(Device::Cuda));
    }

    #[test]
    fn what_no_device_can_do_is_not_the_devices_fault() {
        let device = Fragile::broken();
        device.cursed.store(true, Ordering::SeqCst);
        let worker = device.worker(false);
        for _ in 0..2 {
            assert!(matches!(encode(&worker, &[BRIGHT]), Err(InferenceError::Run { .. })));
            assert_eq!(worker.placement(), Placement::on(Device::Cuda));
            assert_eq!(encode(&worker, &[DARK]), Ok(vec![DARK]));
        }
        assert_eq!(device.opened.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn the_cpu_does_not_take_over_from_a_required_device() {
        let device = Fragile::broken();
        let worker = device.worker(true);
        encode(&worker, &[DARK]).unwrap();
        for value in [BRIGHT, DARK] {
            let error = encode(&worker, &[value]).unwrap_err();
            assert!(matches!(&error, InferenceError::Device { device: Device::Cuda, .. }), "{error}");
            assert_eq!(worker.placement().active, None);
        }
        device.broken.store(false, Ordering::SeqCst);
        wait_until(|| worker.placement() == Placement::on(Device::Cuda));
        assert_eq!(encode(&worker, &[BRIGHT]), Ok(vec![BRIGHT]));
    }

    #[test]
    fn those_who_wait_while_a_device_is_lost_hear_nothing_of_it() {
        let device = Fragile::broken();
        let worker = device.worker(false);
        assert!(worker.queues[0].joins);
        let session = take_session(&worker);
        std::thread::scope(|scope| {
            let callers: Vec<_> = [DARK, BRIGHT, DARK, BRIGHT]
                .into_iter()
                .enumerate()
                .map(|(index, value)| {
                    let caller = scope.spawn({
                        let worker = &worker;
                        move || (value, encode(worker, &[value]))
                    });
                    wait_for_queue(&worker, index + 1);
                    caller
                })
                .collect();
            worker.leave(&worker.queues[0], session);
            for caller in callers {
                let (value, have) = caller.join().unwrap();
                assert_eq!(have, Ok(vec![value]));
            }
        });
        assert_eq!(worker.placement().active, Some(Device::Cpu));
    }

    #[test]
    fn nobody_tries_to_get_a_device_back_for_a_worker_that_is_gone() {
        let device = Fragile::broken();
        let worker = device.worker(false);
        encode(&worker, &[BRIGHT]).unwrap();
        drop(worker);
        assert_eq!(Arc::strong_count(&device), 1, "the thread is still there");
    }
}
