//! Threads that are used again.
//!
//! A channel takes two threads each time it starts, and OpenCV (4.6 at least) keeps 800 bytes of every thread that has called it
//! until the process ends: its tracing means to tell at the end what each has done (`TLSDataAccumulator` in its `system.cpp`).
//! Where channels come and go for weeks that adds up. So a thread that is done waits for other work, and there are never more of them
//! than have been at work at the same time.
//!
//! Analyses beside a stream stand back behind the pipeline's threads: an analysis that comes a little later harms nobody, a frame does.
//! A thread cannot take that back, so there are two kinds, which do not do each other's work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::thread::ThreadId;

/// By how much, in the units of nice(2): a thread that is 10 nicer gets a tenth of a contended core.
#[cfg(target_os = "linux")]
const NICER: libc::c_int = 10;

/// Does the work; what comes back tells of its end.
type Work = Box<dyn FnOnce() -> Tell + Send>;
type Tell = Box<dyn FnOnce()>;

/// Who goes first where there are fewer cores than threads with work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// As any other thread.
    Usual,
    /// Those of the pipeline first. The streaming thread that wakes such a thread keeps its core.
    Behind,
}

/// A thread without work.
struct Idle {
    priority: Priority,
    id: ThreadId,
    works: mpsc::Sender<Work>,
}

/// The one that worked last is taken first.
static IDLE: Mutex<Vec<Idle>> = Mutex::new(Vec::new());

fn idle() -> MutexGuard<'static, Vec<Idle>> {
    IDLE.lock().expect("nothing panics while it holds the idle threads")
}

/// Work that a thread is at, or was. Dropping it waits for nothing.
pub struct Task<T> {
    thread: ThreadId,
    outcome: Arc<Outcome<T>>,
}

struct Outcome<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

enum State<T> {
    Working,
    /// `None` after a panic.
    Over(Option<T>),
}

impl<T> Outcome<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("nothing panics while it holds an outcome")
    }
}

/// Has `work` done by a thread of its own, of this `priority`.
///
/// # Errors
/// If the system gives no thread.
pub fn run<T: Send + 'static>(
    priority: Priority,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<Task<T>> {
    let outcome = Arc::new(Outcome { state: Mutex::new(State::Working), changed: Condvar::new() });
    let theirs = outcome.clone();
    let work: Work = Box::new(move || {
        // Whoever panicked has said so already.
        let result = catch_unwind(AssertUnwindSafe(work)).ok();
        Box::new(move || {
            *theirs.state() = State::Over(result);
            theirs.changed.notify_all();
        })
    });
    let found = {
        let mut idle = idle();
        let last = idle.iter().rposition(|thread| thread.priority == priority);
        last.map(|place| idle.remove(place))
    };
    let thread = match found {
        Some(Idle { id, works, .. }) => {
            works.send(work).expect("a thread without work waits for some");
            id
        }
        None => start(priority, work)?,
    };
    Ok(Task { thread, outcome })
}

/// A new thread, which begins with `first`.
fn start(priority: Priority, first: Work) -> std::io::Result<ThreadId> {
    let thread = std::thread::Builder::new().name("deepfake-work".into()).spawn(move || {
        if priority == Priority::Behind {
            stand_back();
        }
        let (works, next) = mpsc::channel();
        let mut work: Work = first;
        loop {
            let tell = work();
            // First, so that whoever has waited for the end finds this thread free.
            idle().push(Idle { priority, id: std::thread::current().id(), works: works.clone() });
            tell();
            work = next.recv().expect("it holds a sender itself");
        }
    })?;
    Ok(thread.thread().id())
}

/// See [`Priority::Behind`].
fn stand_back() {
    // On Linux 0 is the calling thread; elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    // SAFETY: numbers go in and out. A refusal changes nothing but who waits for whom.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &libc::sched_param { sched_priority: 0 });
        libc::setpriority(libc::PRIO_PROCESS, 0, libc::getpriority(libc::PRIO_PROCESS, 0) + NICER);
    }
}

impl<T> Task<T> {
    /// Whether [`wait`](Self::wait) would return at once.
    pub fn is_over(&self) -> bool {
        matches!(*self.outcome.state(), State::Over(_))
    }

    /// Waits for the end. `None` after a panic, and where it is the work itself that asks: it cannot wait for its own end.
    pub fn wait(self) -> Option<T> {
        let mut state = self.outcome.state();
        loop {
            match &mut *state {
                State::Over(result) => return result.take(),
                State::Working if self.thread == std::thread::current().id() => return None,
                State::Working => {
                    state = self.outcome.changed.wait(state).expect("nothing panics while it holds an outcome");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn id() -> ThreadId {
        std::thread::current().id()
    }

    #[test]
    fn a_thread_that_is_done_is_used_again() {
        let ids: HashSet<_> = (0..200).map(|_| run(Priority::Usual, id).unwrap().wait().unwrap()).collect();
        // Other tests take some of them meanwhile.
        assert!(ids.len() < 50, "{} threads for one piece of work at a time", ids.len());
    }

    /// As nice(2) has it.
    #[cfg(target_os = "linux")]
    fn niceness() -> libc::c_int {
        // SAFETY: numbers go in and out.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn those_behind_stay_behind_and_others_are_as_usual() {
        let usual = niceness();
        for _ in 0..3 {
            assert_eq!(run(Priority::Usual, niceness).unwrap().wait(), Some(usual));
            let behind = run(Priority::Behind, niceness).unwrap().wait();
            assert_eq!(behind, Some((usual + NICER).min(19)));
        }
    }

    #[test]
    fn nobody_waits_for_the_work_of_others() {
        let (go, wait) = mpsc::channel::<()>();
        let held = run(Priority::Usual, move || (wait.recv().unwrap(), id())).unwrap();
        let other = run(Priority::Usual, id).unwrap().wait().unwrap();
        assert!(!held.is_over());
        go.send(()).unwrap();
        assert_ne!(held.wait().unwrap().1, other);
    }

    #[test]
    fn a_thread_survives_a_panic() {
        for _ in 0..3 {
            assert_eq!(run(Priority::Usual, || -> u8 { panic!("of a test") }).unwrap().wait(), None);
            assert_eq!(run(Priority::Usual, || 1).unwrap().wait(), Some(1));
        }
    }

    #[test]
    fn work_does_not_wait_for_its_own_end() {
        let (give, take) = mpsc::channel::<Task<()>>();
        let (done, told) = mpsc::channel();
        let own = run(Priority::Usual, move || done.send(take.recv().unwrap().wait()).unwrap()).unwrap();
        give.send(own).unwrap();
        assert_eq!(told.recv(), Ok(None));
    }
}
