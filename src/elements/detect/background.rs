//! Analysis beside the stream: a thread that owns the analyzer, behind a short queue.
//!
//! The streaming thread only ever takes a lock that is held for a few instructions.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst_video::VideoInfo;

use crate::analysis::analyzer::Analyzer;

/// Frames that wait while another is analysed. More would only make reports older.
const QUEUE_LENGTH: usize = 1;

/// A frame to analyse.
pub struct Job {
    pub buffer: gst::Buffer,
    pub info: VideoInfo,
    pub pts: u64,
}

/// What the thread does with a frame. `stale` tells, once the analysis is done, whether the stream has been reset meanwhile.
pub type Work = dyn FnMut(&mut Analyzer, &Job, &dyn Fn() -> bool) + Send;

struct Queue {
    jobs: VecDeque<Job>,
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
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(mut analyzer: Analyzer, mut work: Box<Work>) -> std::io::Result<Self> {
        let queue = Queue { jobs: VecDeque::new(), reset: false, epoch: 0, busy: false, closed: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), changed: Condvar::new() });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("deepfake-analysis".into()).spawn(move || {
            // Also when `work` panics: whoever drains must not wait for a thread that is gone.
            let _closing = CloseOnDrop(&theirs);
            while let Some((job, reset, epoch)) = next(&theirs) {
                if reset {
                    analyzer.reset();
                }
                work(&mut analyzer, &job, &|| theirs.queue().epoch != epoch);
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands over a frame without waiting. Returns how many older ones were dropped to make room.
    pub fn submit(&self, job: Job) -> u64 {
        let mut queue = self.shared.queue();
        if queue.closed {
            return 1;
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

    /// Forgets the frames that wait, and all faces before the next one. What is being analysed now will be [stale](Work).
    pub fn reset(&self) {
        let mut queue = self.shared.queue();
        queue.jobs.clear();
        queue.reset = true;
        queue.epoch += 1;
    }

    /// Waits until every frame handed over has been analysed, for at most `patience`.
    pub fn drain(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut queue = self.shared.queue();
        while !queue.closed && (queue.busy || !queue.jobs.is_empty()) {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            queue = self.shared.changed.wait_timeout(queue, left).expect("nothing panics while it holds the queue").0;
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.changed.notify_all();
        // The thread itself may hold the last reference to the element, and cannot wait for its own end.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closed = true;
        queue.busy = false;
        drop(queue);
        self.0.changed.notify_all();
    }
}

/// Waits for a frame. `None` once the queue is closed.
fn next(shared: &Shared) -> Option<(Job, bool, u64)> {
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
            return Some((job, reset, queue.epoch));
        }
        queue = shared.changed.wait(queue).expect("nothing panics while it holds the queue");
    }
}
