//! Analysis beside streams: one executor for the process, with as many threads as there are cores.
//!
//! Each [`Channel`] has a mailbox that holds its newest frame; a newer one takes the place of one that nobody has begun with. Threads
//! serve the channel that has used the least time so far. Where there is more to do than there is time, each channel may use an
//! equal share of it, and what one leaves over goes to the others: an expensive channel slows itself first.
//!
//! # Who waits for whom
//! The threads of the [background](Executor::background) have a lower priority than those of the pipelines (nice +10 on Linux), so a
//! pipeline's thread must not wait for a lock that one of them may hold. [`Channel::submit`] takes none: the mailbox is an atomic
//! pointer, and sleeping threads are woken by their handle. Waiting for a frame's analysis ([`Waiter::wait`]) is the one exception,
//! since it waits for such a thread anyway.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_utils::atomic::AtomicCell;

use crate::inference::cores;
use crate::inference::runtime::Busy;

/// By how much, in the units of nice(2): a thread that is 10 nicer gets a tenth of a contended core.
#[cfg(target_os = "linux")]
const NICER: libc::c_int = 10;
/// The part of the threads' time that is handed out where there is too much to do: with all of it, frames would be late.
const SHARE: f64 = 0.9;
/// A channel that had nothing to do may catch up on so much of the time that others used meanwhile.
const MAX_CREDIT: Duration = Duration::from_millis(200);
/// How often the rate at which frames come due is measured.
const RATE_INTERVAL: Duration = Duration::from_secs(1);
/// The weight of the newest analysis in what one costs.
const COST_WEIGHT: f64 = 0.2;

/// What a channel's frames are given to, one after the other. It lives in the executor and is dropped there.
pub trait Work: Send + 'static {
    type Job: Send + 'static;

    /// Analyses a frame. `is_stale` says whether the channel was reset or closed meanwhile.
    fn run(&mut self, job: Self::Job, is_stale: &dyn Fn() -> bool);

    /// The next frame has nothing to do with those before.
    fn reset(&mut self);

    /// It panicked, and is in no known state.
    fn panicked(&mut self) {
        self.reset();
    }
}

/// Holds the newest of something, which takes the place of what nobody has taken out. No thread ever waits for another one here.
pub struct Mailbox<T>(AtomicCell<Option<Box<T>>>);

impl<T> Mailbox<T> {
    /// Returns what it takes the place of.
    pub fn put(&self, newest: T) -> Option<T> {
        self.0.swap(Some(Box::new(newest))).map(|before| *before)
    }

    pub fn take(&self) -> Option<T> {
        self.0.take().map(|newest| *newest)
    }
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self(AtomicCell::new(None))
    }
}

/// A change of the work, made before its next frame.
type Change<W> = Box<dyn FnOnce(&mut W) + Send>;

/// A stream's way into the executor. Dropping it waits for nothing: what is being analysed becomes stale.
pub struct Channel<W: Work> {
    shared: Arc<Shared<W>>,
    executor: Arc<Executor>,
}

struct Shared<W: Work> {
    /// The mailbox, with the frame's number.
    newest: Mailbox<(u64, W::Job)>,
    /// Frames that were handed over; only one thread does so at a time.
    submitted: AtomicU64,
    /// The number of the newest frame that was taken out, or let go.
    taken: AtomicU64,
    /// Raised by each reset.
    epoch: AtomicU64,
    closed: AtomicBool,
    /// There is work that takes frames.
    attached: AtomicBool,
    bench: Mutex<Bench<W>>,
    progress: Mutex<Progress>,
    moved: Condvar,
}

/// Of the thread that serves the channel, and of whoever changes the work.
struct Bench<W> {
    work: Option<W>,
    changes: Vec<Change<W>>,
    /// The epoch that the work knows.
    epoch: u64,
}

#[derive(Default)]
struct Progress {
    /// The number of the newest frame that is done with.
    finished: u64,
    interrupted: bool,
}

/// What the executor knows of a channel.
trait Served: Send + Sync {
    fn is_ready(&self) -> bool;
    fn is_closed(&self) -> bool;
    fn submitted(&self) -> u64;
    fn serve(&self);
    /// Drops what is left.
    fn clear(&self);
}

/// Who goes first where there are fewer cores than threads with work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// As any other thread.
    Usual,
    /// Those of the pipelines first. The streaming thread that wakes such a thread keeps its core.
    Lower,
}

/// Threads that serve channels.
pub struct Executor {
    threads: usize,
    priority: Priority,
    schedule: Mutex<Schedule>,
    /// Those that sleep, by their place in `sleepers`.
    sleeping: AtomicU64,
    sleepers: OnceLock<Vec<Thread>>,
}

#[derive(Default)]
struct Schedule {
    entries: Vec<Entry>,
    /// What the channel that was served last had used before: newcomers begin here.
    clock: Duration,
    /// Whether channels pause that use more than their share.
    shares: bool,
    started: bool,
    next_id: u64,
}

struct Entry {
    id: u64,
    channel: Arc<dyn Served>,
    running: bool,
    used: Duration,
    /// Seconds that an analysis takes.
    cost: f64,
    /// Frames a second.
    rate: f64,
    rate_from: (Instant, u64),
    began: Option<Instant>,
}

/// What a thread does next.
enum Next {
    Serve(u64, Arc<dyn Served>),
    Clear(Arc<dyn Served>),
    Sleep(Option<Duration>),
}

impl Executor {
    /// The process's, for analyses beside streams: its threads have a lower priority than those of the pipelines.
    pub fn background() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Executor>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(cores(), Priority::Lower)).clone()
    }

    /// The process's, for analyses that frames wait for.
    pub fn foreground() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Executor>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(cores(), Priority::Usual)).clone()
    }

    /// One with so many threads, at most 64. They are started when the first channel is opened, and never end.
    pub fn new(threads: usize, priority: Priority) -> Arc<Self> {
        Arc::new(Self {
            threads: threads.clamp(1, 64),
            priority,
            // Frames that wait come no faster than they are analysed.
            schedule: Mutex::new(Schedule { shares: priority == Priority::Lower, ..Schedule::default() }),
            sleeping: AtomicU64::new(0),
            sleepers: OnceLock::new(),
        })
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().expect("nothing panics while it holds the schedule")
    }

    /// # Errors
    /// If the system gives no thread.
    fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let mut schedule = self.schedule();
        if schedule.started {
            return Ok(());
        }
        let mut sleepers = Vec::new();
        for place in 0..self.threads {
            let executor = self.clone();
            let thread = std::thread::Builder::new().name("deepfake-work".into()).spawn(move || executor.work(place));
            match thread {
                Ok(thread) => sleepers.push(thread.thread().clone()),
                Err(error) if sleepers.is_empty() => return Err(error),
                // Fewer do as well.
                Err(_) => break,
            }
        }
        // The threads wait for the schedule until here.
        let _ = self.sleepers.set(sleepers);
        schedule.started = true;
        Ok(())
    }

    /// Wakes one thread, if any sleeps.
    fn wake(&self) {
        let Some(sleepers) = self.sleepers.get() else { return };
        loop {
            let sleeping = self.sleeping.load(Ordering::SeqCst);
            if sleeping == 0 {
                return;
            }
            let place = sleeping.trailing_zeros();
            let bit = 1 << place;
            if self.sleeping.fetch_and(!bit, Ordering::SeqCst) & bit != 0 {
                if let Some(thread) = sleepers.get(place as usize) {
                    thread.unpark();
                }
                return;
            }
        }
    }

    /// What each thread does for ever.
    fn work(&self, place: usize) {
        if self.priority == Priority::Lower {
            lower_priority();
        }
        let bit = 1 << place;
        loop {
            // Said before looking, so that whoever has something new after the look sees it.
            self.sleeping.fetch_or(bit, Ordering::SeqCst);
            let next = self.schedule().next(Instant::now(), self.threads);
            match next {
                Next::Sleep(None) => std::thread::park(),
                Next::Sleep(Some(time)) => std::thread::park_timeout(time),
                Next::Serve(id, channel) => {
                    self.sleeping.fetch_and(!bit, Ordering::SeqCst);
                    // There may be something for the others as well.
                    self.wake();
                    let busy = Busy::begin();
                    let began = Instant::now();
                    channel.serve();
                    drop(busy);
                    self.schedule().served(id, began.elapsed());
                }
                Next::Clear(channel) => {
                    self.sleeping.fetch_and(!bit, Ordering::SeqCst);
                    self.wake();
                    let _busy = Busy::begin();
                    channel.clear();
                    trim_memory();
                }
            }
        }
    }
}

impl Schedule {
    fn next(&mut self, now: Instant, threads: usize) -> Next {
        if let Some(index) = self.entries.iter().position(|entry| !entry.running && entry.channel.is_closed()) {
            return Next::Clear(self.entries.swap_remove(index).channel);
        }
        self.entries.iter_mut().for_each(|entry| entry.measure(now));
        let share =
            self.shares.then(|| fair_share(self.entries.iter().map(Entry::demand).collect(), threads)).flatten();
        let floor = self.clock.saturating_sub(MAX_CREDIT);
        let mut soonest: Option<Duration> = None;
        let mut chosen: Option<&mut Entry> = None;
        for entry in self.entries.iter_mut().filter(|entry| !entry.running && entry.channel.is_ready()) {
            entry.used = entry.used.max(floor);
            let pause = share.map_or(Duration::ZERO, |share| entry.pause(now, share));
            if !pause.is_zero() {
                soonest = Some(soonest.map_or(pause, |soonest| soonest.min(pause)));
            } else if chosen.as_ref().is_none_or(|chosen| entry.used < chosen.used) {
                chosen = Some(entry);
            }
        }
        let Some(entry) = chosen else { return Next::Sleep(soonest) };
        entry.running = true;
        entry.began = Some(now);
        self.clock = self.clock.max(entry.used);
        Next::Serve(entry.id, entry.channel.clone())
    }

    /// The channel is through with a frame.
    fn served(&mut self, id: u64, took: Duration) {
        let entry = self.entries.iter_mut().find(|entry| entry.id == id).expect("it stays while it is served");
        entry.running = false;
        entry.used += took;
        let seconds = took.as_secs_f64();
        entry.cost = if entry.cost == 0.0 { seconds } else { entry.cost + COST_WEIGHT * (seconds - entry.cost) };
    }
}

/// The most of a thread's time that each channel may use so that all get as much of what they ask for as can be; `None` where
/// there is enough for all.
fn fair_share(mut demands: Vec<f64>, threads: usize) -> Option<f64> {
    // Each has a thread of its own.
    if demands.len() <= threads {
        return None;
    }
    // A channel is served by one thread at a time.
    demands.iter_mut().for_each(|demand| *demand = demand.min(1.0));
    demands.sort_by(f64::total_cmp);
    let mut rest = threads as f64 * SHARE;
    for (served, demand) in demands.iter().enumerate() {
        let share = rest / (demands.len() - served) as f64;
        if *demand > share {
            return Some(share);
        }
        rest -= demand;
    }
    None
}

impl Entry {
    /// Threads that it would keep at work if all its frames were analysed.
    fn demand(&self) -> f64 {
        self.cost * self.rate
    }

    fn measure(&mut self, now: Instant) {
        let (since, before) = self.rate_from;
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= RATE_INTERVAL {
            let submitted = self.channel.submitted();
            self.rate = (submitted - before) as f64 / elapsed.as_secs_f64();
            self.rate_from = (now, submitted);
        }
    }

    /// How long it must wait to use no more than its `share` of a thread's time.
    fn pause(&self, now: Instant, share: f64) -> Duration {
        let Some(began) = self.began.filter(|_| self.demand() > share) else { return Duration::ZERO };
        (began + Duration::from_secs_f64(self.cost / share)).saturating_duration_since(now)
    }
}

impl<W: Work> Channel<W> {
    /// A channel whose frames wait for its [work](Self::attach).
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn open(executor: Arc<Executor>) -> std::io::Result<Self> {
        executor.start()?;
        let shared = Arc::new(Shared {
            newest: Mailbox::default(),
            submitted: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            attached: AtomicBool::new(false),
            bench: Mutex::new(Bench { work: None, changes: Vec::new(), epoch: 0 }),
            progress: Mutex::default(),
            moved: Condvar::new(),
        });
        let mut schedule = executor.schedule();
        schedule.next_id += 1;
        let entry = Entry {
            id: schedule.next_id,
            channel: shared.clone(),
            running: false,
            used: schedule.clock,
            cost: 0.0,
            rate: 0.0,
            rate_from: (Instant::now(), 0),
            began: None,
        };
        schedule.entries.push(entry);
        drop(schedule);
        Ok(Self { shared, executor })
    }

    /// From now on frames are given to `work`.
    pub fn attach(&self, work: W) {
        let before = self.shared.bench().work.replace(work);
        drop(before);
        self.shared.attached.store(true, Ordering::SeqCst);
        self.executor.wake();
    }

    /// Takes the work back, if there is some and it is not at a frame.
    pub fn detach(&self) -> Option<W> {
        let work = self.shared.bench().work.take();
        if work.is_some() {
            self.shared.attached.store(false, Ordering::SeqCst);
        }
        work
    }

    /// Whether there is work that takes frames.
    pub fn is_attached(&self) -> bool {
        self.shared.attached.load(Ordering::SeqCst)
    }

    /// Hands over the next frame without waiting for anything. Returns its number, and whether it took the place of another one.
    pub fn submit(&self, job: W::Job) -> (u64, bool) {
        let number = self.shared.submitted.load(Ordering::SeqCst) + 1;
        let replaced = self.shared.newest.put((number, job));
        self.shared.submitted.store(number, Ordering::SeqCst);
        self.executor.wake();
        (number, replaced.is_some())
    }

    /// Changes the work before its next frame.
    pub fn change(&self, change: impl FnOnce(&mut W) + Send + 'static) {
        self.shared.bench().changes.push(Box::new(change));
    }

    /// Lets go of the frame that waits. What is being analysed becomes stale, and the work is [reset](Work::reset) before the next.
    pub fn reset(&self) {
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        drop(self.shared.newest.take());
        let submitted = self.shared.submitted.load(Ordering::SeqCst);
        self.shared.taken.fetch_max(submitted, Ordering::SeqCst);
        self.shared.finish(submitted);
    }

    /// Raised by each [reset](Self::reset).
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::SeqCst)
    }

    /// Frames that wait or are being analysed.
    pub fn depth(&self) -> usize {
        let (submitted, taken) =
            (self.shared.submitted.load(Ordering::SeqCst), self.shared.taken.load(Ordering::SeqCst));
        usize::from(submitted > taken) + usize::from(self.shared.progress().finished < taken.min(submitted))
    }

    /// Whoever [waits](Waiter::wait) waits no longer; while it is `true`, nobody waits at all.
    pub fn interrupt(&self, interrupted: bool) {
        self.shared.progress().interrupted = interrupted;
        self.shared.moved.notify_all();
    }

    /// To wait by without holding on to the channel.
    pub fn waiter(&self) -> Waiter<W> {
        Waiter(self.shared.clone())
    }

    /// The number of the newest frame that was handed over.
    pub fn newest(&self) -> u64 {
        self.shared.submitted.load(Ordering::SeqCst)
    }
}

impl<W: Work> Drop for Channel<W> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.moved.notify_all();
        self.shared.interrupt_for_good();
        // The executor clears up.
        self.executor.wake();
    }
}

/// See [`Channel::waiter`].
pub struct Waiter<W: Work>(Arc<Shared<W>>);

impl<W: Work> Waiter<W> {
    /// Waits until frame `number`, or one after it, is done with, for at most `patience`. `false` if it is not, be it because the
    /// channel was [interrupted](Channel::interrupt) or closed.
    pub fn wait(&self, number: u64, patience: Option<Duration>) -> bool {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut progress = self.0.progress();
        while progress.finished < number {
            if progress.interrupted || self.0.closed.load(Ordering::SeqCst) {
                return false;
            }
            progress = match until {
                None => self.0.moved.wait(progress).expect("nothing panics while it holds the progress"),
                Some(until) => {
                    let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
                    self.0.moved.wait_timeout(progress, left).expect("nothing panics while it holds the progress").0
                }
            };
        }
        true
    }
}

impl<W: Work> Shared<W> {
    fn bench(&self) -> MutexGuard<'_, Bench<W>> {
        self.bench.lock().expect("nothing panics while it holds the bench")
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("nothing panics while it holds the progress")
    }

    fn finish(&self, number: u64) {
        let mut progress = self.progress();
        progress.finished = progress.finished.max(number);
        drop(progress);
        self.moved.notify_all();
    }

    fn interrupt_for_good(&self) {
        self.progress().interrupted = true;
        self.moved.notify_all();
    }
}

impl<W: Work> Served for Shared<W> {
    fn is_ready(&self) -> bool {
        self.attached.load(Ordering::SeqCst)
            && self.submitted.load(Ordering::SeqCst) > self.taken.load(Ordering::SeqCst)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::SeqCst)
    }

    fn serve(&self) {
        let (work, changes, known) = {
            let mut bench = self.bench();
            (bench.work.take(), std::mem::take(&mut bench.changes), bench.epoch)
        };
        let Some(mut work) = work else { return };
        // Before the frame is taken: one of an earlier epoch must not pass for one of this.
        let epoch = self.epoch.load(Ordering::SeqCst);
        let submitted = self.submitted.load(Ordering::SeqCst);
        let job = self.newest.take();
        // None where somebody let it go meanwhile.
        let number = job.as_ref().map_or(submitted, |job| job.0);
        self.taken.fetch_max(number, Ordering::SeqCst);
        let is_stale = || self.closed.load(Ordering::SeqCst) || self.epoch.load(Ordering::SeqCst) != epoch;
        let result = catch_unwind(AssertUnwindSafe(|| {
            changes.into_iter().for_each(|change| change(&mut work));
            if epoch != known {
                work.reset();
            }
            if let Some(job) = job {
                work.run(job.1, &is_stale);
            }
        }));
        if result.is_err() {
            // Whoever panicked has said so already.
            let _ = catch_unwind(AssertUnwindSafe(|| work.panicked()));
        }
        {
            let mut bench = self.bench();
            bench.epoch = epoch;
            // Another one may have been attached meanwhile.
            let _before = match bench.work {
                None => bench.work.replace(work),
                Some(_) => Some(work),
            };
        }
        self.finish(number);
    }

    fn clear(&self) {
        drop(self.newest.take());
        let (work, changes) = {
            let mut bench = self.bench();
            (bench.work.take(), std::mem::take(&mut bench.changes))
        };
        drop((work, changes));
    }
}

/// The pipelines' threads go first, also those of other programs: an analysis that comes a little later harms nobody, a frame does.
fn lower_priority() {
    // On Linux 0 is the calling thread; elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    // SAFETY: numbers go in and out. A refusal changes nothing but who waits for whom.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &libc::sched_param { sched_priority: 0 });
        libc::setpriority(libc::PRIO_PROCESS, 0, libc::getpriority(libc::PRIO_PROCESS, 0) + NICER);
    }
}

/// Gives memory that is free back to the system: where pipelines come and go, each thread's arena would keep its own.
pub fn trim_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes a number, and locks what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Says what it does; each frame is held until it is let go.
    struct Held {
        name: u32,
        told: Sender<(u32, u32, bool)>,
        resets: u32,
        go: Receiver<()>,
    }

    impl Work for Held {
        type Job = u32;

        fn run(&mut self, job: u32, is_stale: &dyn Fn() -> bool) {
            if job == PANICS {
                panic!("of a test");
            }
            let _ = self.go.recv();
            let _ = self.told.send((self.name, job, is_stale()));
        }

        fn reset(&mut self) {
            self.resets += 1;
        }
    }

    const PANICS: u32 = 666;
    const LONG: Duration = Duration::from_secs(60);

    struct Rig {
        channel: Channel<Held>,
        go: Sender<()>,
    }

    fn rig(executor: &Arc<Executor>, name: u32, told: &Sender<(u32, u32, bool)>) -> Rig {
        let (go, wait) = channel();
        let opened = Channel::open(executor.clone()).unwrap();
        opened.attach(Held { name, told: told.clone(), resets: 0, go: wait });
        Rig { channel: opened, go }
    }

    #[test]
    fn the_newest_frame_takes_the_place_of_one_that_waits() {
        let (told, tell) = channel();
        let rig = rig(&Executor::new(1, Priority::Usual), 1, &told);
        assert_eq!(rig.channel.submit(10), (1, false));
        while rig.channel.shared.taken.load(Ordering::SeqCst) < 1 {
            std::thread::yield_now();
        }
        assert_eq!(rig.channel.submit(20), (2, false));
        assert_eq!(rig.channel.submit(30), (3, true));
        assert_eq!(rig.channel.depth(), 2);
        (0..2).for_each(|_| rig.go.send(()).unwrap());
        assert!(rig.channel.waiter().wait(3, Some(LONG)));
        assert_eq!(tell.try_iter().collect::<Vec<_>>(), [(1, 10, false), (1, 30, false)]);
        assert_eq!(rig.channel.depth(), 0);
    }

    #[test]
    fn nobody_waits_at_a_mailbox() {
        assert!(AtomicCell::<Option<Box<[u64; 9]>>>::is_lock_free());
    }

    #[test]
    fn frames_wait_for_the_work_and_nobody_waits_for_it() {
        let (told, tell) = channel();
        let executor = Executor::new(1, Priority::Usual);
        let opened = Channel::open(executor.clone()).unwrap();
        opened.submit(1);
        let waiter = opened.waiter();
        let waiting = std::thread::spawn(move || waiter.wait(1, None));
        opened.interrupt(true);
        assert!(!waiting.join().unwrap());
        opened.interrupt(false);
        let (go, wait) = channel();
        opened.attach(Held { name: 1, told, resets: 0, go: wait });
        go.send(()).unwrap();
        assert!(opened.waiter().wait(1, Some(LONG)));
        assert_eq!(tell.try_recv(), Ok((1, 1, false)));
    }

    #[test]
    fn a_reset_makes_stale_what_is_at_work_and_drops_what_waits() {
        let (told, tell) = channel();
        let rig = rig(&Executor::new(1, Priority::Usual), 1, &told);
        rig.channel.submit(10);
        while rig.channel.shared.taken.load(Ordering::SeqCst) < 1 {
            std::thread::yield_now();
        }
        rig.channel.submit(20);
        rig.channel.reset();
        assert!(rig.channel.waiter().wait(2, Some(Duration::ZERO)), "there is nothing to wait for");
        rig.go.send(()).unwrap();
        rig.go.send(()).unwrap();
        let (number, _) = rig.channel.submit(30);
        assert!(rig.channel.waiter().wait(number, Some(LONG)));
        assert_eq!(tell.try_iter().collect::<Vec<_>>(), [(1, 10, true), (1, 30, false)]);
        let (said, hear) = channel();
        rig.channel.change(move |work| said.send(work.resets).unwrap());
        rig.go.send(()).unwrap();
        rig.channel.submit(40);
        assert_eq!(hear.recv(), Ok(1));
    }

    #[test]
    fn closing_waits_for_nothing_and_the_work_is_dropped() {
        let (told, tell) = channel();
        let rig = rig(&Executor::new(1, Priority::Usual), 1, &told);
        drop(told);
        rig.channel.submit(10);
        while rig.channel.shared.taken.load(Ordering::SeqCst) < 1 {
            std::thread::yield_now();
        }
        // The frame is held: this would wait for ever.
        drop(rig.channel);
        rig.go.send(()).unwrap();
        assert_eq!(tell.recv(), Ok((1, 10, true)));
        assert!(tell.recv().is_err(), "the work is still there");
    }

    #[test]
    fn a_panic_costs_one_frame_of_one_channel() {
        let (told, tell) = channel();
        let executor = Executor::new(1, Priority::Usual);
        let (bad, good) = (rig(&executor, 1, &told), rig(&executor, 2, &told));
        let (number, _) = bad.channel.submit(PANICS);
        assert!(bad.channel.waiter().wait(number, Some(LONG)));
        for rig in [&bad, &good] {
            rig.go.send(()).unwrap();
            let (number, _) = rig.channel.submit(1);
            assert!(rig.channel.waiter().wait(number, Some(LONG)));
        }
        assert_eq!(tell.try_iter().collect::<Vec<_>>(), [(1, 1, false), (2, 1, false)]);
    }

    /// As nice(2) has it.
    #[cfg(target_os = "linux")]
    fn niceness() -> libc::c_int {
        // SAFETY: numbers go in and out.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    struct Niceness(Sender<i32>);

    impl Work for Niceness {
        type Job = ();

        fn run(&mut self, (): (), _: &dyn Fn() -> bool) {
            #[cfg(target_os = "linux")]
            self.0.send(niceness()).unwrap();
        }

        fn reset(&mut self) {}
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn analyses_beside_a_stream_have_a_lower_priority_and_others_have_not() {
        let usual = niceness();
        for (priority, expected) in [(Priority::Usual, usual), (Priority::Lower, (usual + NICER).min(19))] {
            let (tell, told) = channel();
            let opened = Channel::open(Executor::new(1, priority)).unwrap();
            opened.attach(Niceness(tell));
            opened.submit(());
            assert_eq!(told.recv(), Ok(expected));
        }
    }

    /// A channel of a made-up schedule.
    struct Always;

    impl Served for Always {
        fn is_ready(&self) -> bool {
            true
        }
        fn is_closed(&self) -> bool {
            false
        }
        fn submitted(&self) -> u64 {
            0
        }
        fn serve(&self) {}
        fn clear(&self) {}
    }

    /// A schedule of channels that cost so many milliseconds and always have a frame, or one every so many milliseconds.
    fn schedule(now: Instant, costs: &[u64]) -> Schedule {
        let entries = costs.iter().enumerate().map(|(id, _)| Entry {
            id: id as u64,
            channel: Arc::new(Always),
            running: false,
            used: Duration::ZERO,
            cost: 0.0,
            rate: 0.0,
            rate_from: (now + LONG * 60, 0),
            began: None,
        });
        Schedule { entries: entries.collect(), shares: true, ..Schedule::default() }
    }

    #[test]
    fn channels_are_served_by_the_time_that_they_have_used() {
        let mut now = Instant::now();
        let costs = [90, 10, 10, 10];
        let mut schedule = schedule(now, &costs);
        let mut served = [0; 4];
        for _ in 0..1000 {
            let Next::Serve(id, _) = schedule.next(now, 1) else { panic!("all are ready") };
            let took = Duration::from_millis(costs[id as usize]);
            now += took;
            schedule.served(id, took);
            served[id as usize] += 1;
        }
        let time = |id: usize| served[id] * costs[id];
        for id in 1..4 {
            assert!(time(id) * 10 >= time(0) * 9, "{served:?}");
        }
    }

    #[test]
    fn what_cheap_channels_leave_over_goes_to_the_expensive_one() {
        assert_eq!(fair_share(vec![1.0, 1.0], 2), None, "a thread for each");
        assert_eq!(fair_share(vec![0.3, 0.3, 0.3], 2), None);
        let near = |share: Option<f64>, expected: f64| (share.unwrap() - expected).abs() < 1e-9;
        assert!(near(fair_share(vec![4.5, 0.3, 0.3, 0.3], 2), 0.9));
        assert!(near(fair_share(vec![0.5, 4.0, 4.0, 0.1], 1), 0.8 / 3.0));
        assert!(near(fair_share(vec![0.5; 4], 1), 0.225));
    }

    #[test]
    fn who_is_over_its_share_pauses() {
        let now = Instant::now();
        let mut schedule = schedule(now, &[0, 0]);
        for (entry, (cost, rate)) in schedule.entries.iter_mut().zip([(0.3, 15.0), (0.02, 15.0)]) {
            (entry.cost, entry.rate) = (cost, rate);
        }
        let expensive = &mut schedule.entries[0];
        assert_eq!(expensive.pause(now, 0.6), Duration::ZERO, "it has not begun");
        expensive.began = Some(now);
        assert_eq!(expensive.pause(now, 0.6), Duration::from_millis(500));
        assert_eq!(expensive.pause(now + Duration::from_millis(500), 0.6), Duration::ZERO);
        schedule.entries[1].began = Some(now);
        assert_eq!(schedule.entries[1].pause(now, 0.6), Duration::ZERO);
        let Next::Serve(1, _) = schedule.next(now, 1) else { panic!("the cheap one goes first") };
        let Next::Sleep(Some(_)) = schedule.next(now, 1) else { panic!("the other one waits") };
    }
}
