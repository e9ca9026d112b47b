//! Analysis beside the stream: a thread that owns the analyzer, behind a short queue.
//!
//! The streaming thread only ever takes a lock that is held for a few instructions. It does not wait for the analyzer to be loaded
//! either: the newest frame waits for that in the queue.
//!
//! # Who holds what
//! The analyzer belongs to the thread, and nobody else ever sees it. All that both sides touch is in `Queue`, behind one lock, and
//! neither side takes another lock, runs a graph or drops a frame while it holds that. Every change somebody may wait for (`jobs`,
//! `busy`, `closed`) is made under the lock and followed by `notify_all`, and each wait looks again at what it waits for, so that no
//! call is missed. `closed` is set once, by whoever drops the [`Background`] or by the thread's own end, a panic included, and is never
//! taken back: from then on nothing is queued, and nobody waits.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use gst_video::VideoInfo;

use super::gate::Gate;
use super::loading::Loading;
use super::threads::{self, Priority, Task};
use deepfake_engine::analysis::analyzer::Analyzer;
use deepfake_engine::inference::{Device, Model};

/// Frames that wait while another is analysed: as many as come due in the longest analysis, which looks through a whole frame for new
/// faces, while other channels keep the cores busy. More would only make reports older.
const QUEUE_LENGTH: usize = 2;

/// Of all channels of the process.
static GATE: Gate = Gate::new();

/// A frame to analyse.
pub struct Job {
    pub buffer: gst::Buffer,
    pub info: VideoInfo,
    pub pts: u64,
    /// When it came.
    pub arrived: Instant,
}

/// What the thread does with a frame. `stale` tells, once the analysis is done, whether the stream has been reset meanwhile.
pub type Work = dyn FnMut(&mut Analyzer, &Job, &dyn Fn() -> bool) + Send;

struct Queue {
    jobs: VecDeque<Job>,
    /// To be judged by from the next frame on.
    model: Option<Box<Model>>,
    /// Forget all faces before the next frame.
    reset: bool,
    /// Raised by each reset.
    epoch: u64,
    busy: bool,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while it holds the queue")
    }
}

/// The thread and its queue. Dropping it ends the thread, after the frame it is at.
pub struct Background {
    shared: Arc<Shared>,
    thread: Option<Task<()>>,
}

impl Background {
    /// Starts the thread, which first waits for the analyzer. If there is none in the end, frames are let go.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(loading: Loading<Box<Analyzer>>, mut work: Box<Work>) -> std::io::Result<Self> {
        let queue = Queue { jobs: VecDeque::new(), model: None, reset: false, epoch: 0, busy: false, closed: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), changed: Condvar::new() });
        let theirs = shared.clone();
        let thread = threads::run(Priority::Behind, move || {
            // Also when `work` panics: whoever drains must not wait for a thread that is gone.
            let _closing = CloseOnDrop(&theirs);
            let Some(mut analyzer) = loading.wait() else { return };
            analyzer.take_turns();
            while let Some(Next { job, model, reset, epoch }) = next(&theirs) {
                if reset {
                    analyzer.reset();
                }
                if let Some(model) = model {
                    analyzer.set_model(*model);
                }
                // Another device does not take the cores' time.
                let _inside = (analyzer.model().device() == Device::Cpu).then(|| GATE.enter());
                work(&mut analyzer, &job, &|| theirs.queue().epoch != epoch);
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands over a frame without waiting. Returns how many older ones were dropped to make room.
    pub fn submit(&self, job: Job) -> u64 {
        let mut queue = self.shared.queue();
        if queue.closed {
            return 0;
        }
        let mut dropped = 0;
        while queue.jobs.len() >= QUEUE_LENGTH {
            queue.jobs.pop_front();
            dropped += 1;
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.changed.notify_all();
        dropped
    }

    /// Judges by `model` from the next frame on.
    pub fn set_model(&self, model: Box<Model>) {
        // One that was not taken up yet is let go after the lock.
        let _unused = self.shared.queue().model.replace(model);
    }

    /// Frames that wait or are being analysed.
    pub fn depth(&self) -> usize {
        let queue = self.shared.queue();
        queue.jobs.len() + usize::from(queue.busy)
    }

    /// Forgets the frames that wait, and all faces before the next one. What is being analysed now will be [stale](Work).
    pub fn reset(&self) {
        let mut queue = self.shared.queue();
        queue.jobs.clear();
        queue.reset = true;
        queue.epoch += 1;
    }

    /// Something to wait by for the frames handed over, without holding on to the thread.
    pub fn drain(&self) -> Drain {
        Drain(self.shared.clone())
    }
}

/// See [`Background::drain`].
pub struct Drain(Arc<Shared>);

impl Drain {
    /// Waits until every frame handed over has been analysed, for at most `patience`.
    pub fn wait(self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut queue = self.0.queue();
        while !queue.closed && (queue.busy || !queue.jobs.is_empty()) {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            queue = self.0.changed.wait_timeout(queue, left).expect("nothing panics while it holds the queue").0;
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.changed.notify_all();
        // The thread itself may hold the last reference to the element; it waits for nothing then.
        let _ = self.thread.take().map(Task::wait);
    }
}

struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closed = true;
        queue.busy = false;
        // Nobody will take them.
        let _jobs = std::mem::take(&mut queue.jobs);
        drop(queue);
        self.0.changed.notify_all();
    }
}

/// What the thread does next.
struct Next {
    job: Job,
    model: Option<Box<Model>>,
    reset: bool,
    epoch: u64,
}

/// Waits for a frame. `None` once the queue is closed.
fn next(shared: &Shared) -> Option<Next> {
    let mut queue = shared.queue();
    queue.busy = false;
    shared.changed.notify_all();
    loop {
        if queue.closed {
            return None;
        }
        if let Some(job) = queue.jobs.pop_front() {
            queue.busy = true;
            let reset = std::mem::take(&mut queue.reset);
            return Some(Next { job, model: queue.model.take(), reset, epoch: queue.epoch });
        }
        queue = shared.changed.wait(queue).expect("nothing panics while it holds the queue");
    }
}
