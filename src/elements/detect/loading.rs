//! Something that is being loaded by a thread of its own, while the stream goes on.

use super::threads::{self, Priority, Task};

/// A `T` that is there, or will be. Dropping it waits for the thread: a process must not end while ONNX Runtime is at work.
pub struct Loading<T>(State<T>);

enum State<T> {
    Ready(T),
    Thread(Task<Option<T>>),
    Taken,
}

impl<T: Send + 'static> Loading<T> {
    pub fn ready(it: T) -> Self {
        Self(State::Ready(it))
    }

    /// Runs `load` in a thread of its own. It says itself what went wrong, and returns `None`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(load: impl FnOnce() -> Option<T> + Send + 'static) -> std::io::Result<Self> {
        threads::run(Priority::Usual, load).map(|task| Self(State::Thread(task)))
    }
}

impl<T> Loading<T> {
    /// Whether [`wait`](Self::wait) would return at once.
    pub fn is_over(&self) -> bool {
        match &self.0 {
            State::Ready(_) | State::Taken => true,
            State::Thread(task) => task.is_over(),
        }
    }

    /// Waits until it is loaded. `None` if that failed.
    pub fn wait(mut self) -> Option<T> {
        match std::mem::replace(&mut self.0, State::Taken) {
            State::Ready(it) => Some(it),
            State::Thread(task) => task.wait().flatten(),
            State::Taken => None,
        }
    }
}

impl<T> Drop for Loading<T> {
    fn drop(&mut self) {
        // Whoever hears of the loading in its own thread may drop it there, which waits for nothing.
        if let State::Thread(task) = std::mem::replace(&mut self.0, State::Taken) {
            let _ = task.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn it_is_over_when_it_is_there() {
        assert_eq!(Loading::ready(1).wait(), Some(1));
        let (go, wait) = channel();
        let loading = Loading::start(move || wait.recv().ok()).unwrap();
        assert!(!loading.is_over());
        go.send(2).unwrap();
        while !loading.is_over() {
            std::thread::yield_now();
        }
        assert_eq!(loading.wait(), Some(2));
    }

    #[test]
    fn a_failure_or_a_panic_is_nothing() {
        assert_eq!(Loading::<u8>::start(|| None).unwrap().wait(), None);
        assert_eq!(Loading::<u8>::start(|| panic!("of a test")).unwrap().wait(), None);
    }

    #[test]
    fn dropping_it_waits() {
        let (done, told) = channel();
        drop(Loading::start(move || done.send(()).ok()).unwrap());
        assert_eq!(told.try_recv(), Ok(()));
    }
}
