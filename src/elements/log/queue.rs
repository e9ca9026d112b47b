//! The lines on their way from the streaming thread to the writer: bounded in bytes, oldest dropped
//! first.
//!
//! The lock is held to move a line in or out, never while anything is written.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Counted since the element was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub written: u64,
    /// Lines that were never written: the queue was full, or the element stopped before they could
    /// be.
    pub dropped: u64,
    pub rotations: u64,
    /// Times that writing stopped working, or fell behind until lines were dropped.
    pub troubles: u64,
}

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Work {
    Line(String),
    /// Everything is written: bring it to the disk and call [`Queue::synced`] with this number.
    Sync(u64),
    Quit,
}

pub struct Queue {
    max_bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    bytes: usize,
    stats: Stats,
    /// Since the first failure, or first lost line, until everything has been written again.
    trouble: bool,
    /// Nobody waited long enough for the writer in this trouble: the next one need not wait again.
    given_up: bool,
    sync_wanted: u64,
    sync_done: u64,
    closing: bool,
    quit: bool,
}

impl Queue {
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Never waits for the writer. True if with this line, trouble started: lines are being lost.
    pub fn push(&self, line: String) -> bool {
        let mut state = self.lock();
        state.bytes += line.len();
        state.lines.push_back(line);
        let mut lost = false;
        // One line is kept however long it is: it may be the only one that the writer could ever
        // get.
        while state.bytes > self.max_bytes && state.lines.len() > 1 {
            state.drop_oldest();
            lost = true;
        }
        self.changed.notify_all();
        lost && state.start_trouble()
    }

    /// Waits until everything pushed before is on the disk. False if that took longer than
    /// `timeout`.
    pub fn drain(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        state.sync_wanted += 1;
        let ticket = state.sync_wanted;
        self.changed.notify_all();
        let timeout = if state.given_up { Duration::ZERO } else { timeout };
        let mut state = self.wait_until(state, timeout, |state| state.sync_done >= ticket || state.quit);
        let done = state.sync_done >= ticket;
        state.given_up = !done;
        done
    }

    /// Tells the writer to quit once it has written what it can. False if it is stuck for longer
    /// than `timeout`.
    pub fn close(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        state.closing = true;
        self.changed.notify_all();
        self.wait_until(state, timeout, |state| state.quit).quit
    }

    pub fn stats(&self) -> Stats {
        self.lock().stats
    }

    /// Waits for work.
    pub fn next(&self) -> Work {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                return Work::Line(line);
            }
            if state.sync_wanted > state.sync_done {
                return Work::Sync(state.sync_wanted);
            }
            if state.closing {
                return Work::Quit;
            }
            state = self.changed.wait(state).unwrap();
        }
    }

    /// A line was written. True if with it, a trouble has ended.
    pub fn written(&self) -> bool {
        let mut state = self.lock();
        state.stats.written += 1;
        let ended = state.trouble && state.lines.is_empty();
        if ended {
            state.trouble = false;
            state.given_up = false;
        }
        ended
    }

    /// A line could not be written and is to be tried again. True if with it, trouble started.
    pub fn put_back(&self, line: String) -> bool {
        let mut state = self.lock();
        state.bytes += line.len();
        state.lines.push_front(line);
        while state.bytes > self.max_bytes && state.lines.len() > 1 {
            state.drop_oldest();
        }
        state.start_trouble()
    }

    /// Writing failed without a line to try again. True if with it, trouble started.
    pub fn failed(&self) -> bool {
        self.lock().start_trouble()
    }

    /// Waits before the next try: `patient`, or only `hurried` while somebody waits for the writer.
    /// False if it is to quit.
    pub fn pause(&self, patient: Duration, hurried: Duration) -> bool {
        let start = Instant::now();
        let hurry = |state: &State| state.sync_wanted > state.sync_done && !state.given_up;
        let state = self.lock();
        let state = self.wait_until(state, patient, |state| state.closing || hurry(state));
        let state = self.wait_until(state, hurried.saturating_sub(start.elapsed()), |state| state.closing);
        !state.closing
    }

    pub fn synced(&self, ticket: u64) {
        self.lock().sync_done = ticket;
        self.changed.notify_all();
    }

    pub fn rotated(&self) {
        self.lock().stats.rotations += 1;
    }

    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// The writer's last act: what is left is lost.
    pub fn quit(&self) {
        let mut state = self.lock();
        while !state.lines.is_empty() {
            state.drop_oldest();
        }
        state.quit = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn wait_until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        timeout: Duration,
        done: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.changed.wait_timeout_while(state, timeout, |state| !done(state)).unwrap().0
    }
}

impl State {
    fn drop_oldest(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.len();
            self.stats.dropped += 1;
        }
    }

    fn start_trouble(&mut self) -> bool {
        let is_new = !std::mem::replace(&mut self.trouble, true);
        self.stats.troubles += u64::from(is_new);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_oldest_and_tells_once() {
        let queue = Queue::new(6);
        assert!(!queue.push("aaa".into()));
        assert!(!queue.push("bbb".into()));
        assert!(queue.push("ccc".into()));
        assert!(!queue.push("ddd".into()));
        assert_eq!(queue.next(), Work::Line("ccc".into()));
        assert!(!queue.written(), "one line is still to come");
        assert_eq!(queue.next(), Work::Line("ddd".into()));
        assert!(queue.written());
        assert_eq!(queue.stats(), Stats { written: 2, dropped: 2, rotations: 0, troubles: 1 });
    }

    #[test]
    fn a_line_longer_than_the_queue_still_gets_through() {
        let queue = Queue::new(2);
        assert!(!queue.push("a long line".into()));
        assert_eq!(queue.next(), Work::Line("a long line".into()));
    }

    #[test]
    fn a_line_put_back_comes_first_again() {
        let queue = Queue::new(100);
        queue.push("one".into());
        queue.push("two".into());
        let Work::Line(one) = queue.next() else { panic!("no line") };
        assert!(queue.put_back(one), "trouble starts");
        let Work::Line(one) = queue.next() else { panic!("no line") };
        assert_eq!(one, "one");
        assert!(!queue.put_back(one), "it is the same trouble");
    }

    #[test]
    fn draining_ends_when_the_writer_has_synced_and_is_bounded_when_it_does_not() {
        let queue = Queue::new(100);
        queue.push("one".into());
        assert!(!queue.drain(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(queue.next(), Work::Line("one".into()));
                queue.written();
                let Work::Sync(ticket) = queue.next() else { panic!("no sync") };
                queue.synced(ticket);
                assert_eq!(queue.next(), Work::Quit);
                queue.quit();
            });
            assert!(queue.close(Duration::from_secs(10)));
        });
        assert!(!queue.drain(Duration::from_secs(10)), "nobody is there any more, and nobody is waited for");
    }

    #[test]
    fn what_is_left_when_the_writer_quits_counts_as_dropped() {
        let queue = Queue::new(100);
        queue.push("one".into());
        queue.push("two".into());
        queue.quit();
        assert_eq!(queue.stats().dropped, 2);
    }
}
