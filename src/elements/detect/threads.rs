//! Threads for what takes long and concerns no frame: loading models.
//!
//! OpenCV (4.6 at least) keeps 800 bytes of every thread that has called it until the process ends (`TLSDataAccumulator` in its
//! `system.cpp`). Where channels come and go for weeks that adds up, so a thread that is done waits for other work, and there are
//! never more of them than have been at work at the same time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, mpsc};

use deepfake_engine::executor::trim_memory;
use deepfake_engine::inference::runtime::Busy;

type Work = Box<dyn FnOnce() + Send>;

/// Threads without work. The one that worked last is taken first.
static IDLE: Mutex<Vec<mpsc::Sender<Work>>> = Mutex::new(Vec::new());

fn idle() -> MutexGuard<'static, Vec<mpsc::Sender<Work>>> {
    IDLE.lock().expect("nothing panics while it holds the idle threads")
}

/// Has `work` done by another thread. Nobody waits for it but the end of the process.
///
/// # Errors
/// If the system gives no thread.
pub fn spawn(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let work: Work = Box::new(work);
    let idle = idle().pop();
    match idle {
        Some(thread) => thread.send(work).expect("a thread without work waits for some"),
        None => start(work)?,
    }
    Ok(())
}

/// A new thread, which starts with `first`.
fn start(first: Work) -> std::io::Result<()> {
    std::thread::Builder::new().name("deepfake-load".into()).spawn(move || {
        let (works, next) = mpsc::channel();
        let mut work = first;
        loop {
            let busy = Busy::begin();
            // Whoever panicked has said so already.
            let _ = catch_unwind(AssertUnwindSafe(work));
            trim_memory();
            drop(busy);
            idle().push(works.clone());
            work = next.recv().expect("it holds a sender itself");
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The thread that does a piece of work, once it is done.
    fn id() -> std::thread::ThreadId {
        let (tell, told) = mpsc::channel();
        spawn(move || tell.send(std::thread::current().id()).unwrap()).unwrap();
        told.recv().unwrap()
    }

    #[test]
    fn a_thread_that_is_done_is_used_again() {
        let ids: HashSet<_> = (0..200).map(|_| id()).collect();
        // Other tests take some of them meanwhile, and the last one may not be back yet.
        assert!(ids.len() < 50, "{} threads for one piece of work at a time", ids.len());
    }

    #[test]
    fn nobody_waits_for_the_work_of_others() {
        let (go, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        spawn(move || tell.send((wait.recv().is_err(), std::thread::current().id())).unwrap()).unwrap();
        let other = id();
        assert!(told.try_recv().is_err());
        drop(go);
        let (held, thread) = told.recv().unwrap();
        assert!(held && thread != other);
    }

    #[test]
    fn a_thread_survives_a_panic() {
        for _ in 0..3 {
            spawn(|| panic!("of a test")).unwrap();
            id();
        }
    }
}
