//! A device that is lost while the stream goes on: the CPU takes over, and the device is tried again until it is back.
//!
//! A run may fail because of its device (a driver that was reset, memory that another program took, a card that is gone) or
//! because of its graph and its input. So the CPU is given the very same run. If it can do it the device is to blame: whoever
//! asked gets what the CPU made of it, and from then on the CPU does everything. Meanwhile a thread makes new sessions on the
//! device, again and again with pauses that grow, until they have done the run that failed; then they take over between two runs.
//!
//! Where the device is [required](super::SessionOptions::require_device) the CPU only says who is to blame, and runs are refused
//! until the device is back.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::device::{Device, Placement};
use super::error::InferenceError;
use super::graph::{self, GraphInfo};
use super::runner::{Plan, Runner};

/// The first pause before a lost device is tried again, and the longest. Each is twice the one before, also from one loss to the
/// next if the device held out for less than the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What it takes to do without a device, and to get it back.
pub(super) struct Standby {
    plan: Plan,
    /// What runs at first: whatever takes its place must look like it.
    graphs: Arc<[GraphInfo]>,
    /// The device that may be lost.
    pub device: Device,
    /// Whether the CPU may not take over.
    pub required: bool,
    watch: Mutex<Watch>,
    changed: Condvar,
}

/// Whoever holds it is the only one who does anything about the device.
pub(super) struct Watch {
    /// Sessions on the CPU that were needed once, for a run that could not be done on any device.
    spare: Option<Vec<Runner>>,
    pause: Duration,
    regained: Option<Instant>,
    closed: bool,
    thread: Option<JoinHandle<()>>,
}

impl Standby {
    pub fn new(plan: Plan, graphs: Arc<[GraphInfo]>, device: Device, required: bool) -> Self {
        let watch = Watch { spare: None, pause: FIRST_PAUSE, regained: None, closed: false, thread: None };
        Self { plan, graphs, device, required, watch: Mutex::new(watch), changed: Condvar::new() }
    }

    /// A reader that panics leaves nothing half done.
    pub fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the graphs run once the device is lost because of `error`.
    pub fn lost(&self, error: &InferenceError) -> Placement {
        let device = self.device;
        // The graph is not to blame.
        let cause = match error {
            InferenceError::Run { cause, .. } => cause.clone(),
            error => error.to_string(),
        };
        let lost = format!("{device} was lost in mid-stream: {cause}.");
        let (active, fix) = match self.required {
            true => (None, "It is tried again until it is back".to_owned()),
            false => (Some(Device::Cpu), format!("The CPU takes over, and {device} is tried again until it is back")),
        };
        Placement { active, reason: Some(format!("{lost} {fix}")) }
    }

    /// Lets go of the device for good. Waits for the thread that tries to get it back: a process must not end while ONNX
    /// Runtime is at work.
    pub fn close(&self) {
        let thread = {
            let mut watch = self.watch();
            watch.closed = true;
            watch.thread.take()
        };
        self.changed.notify_all();
        if let Some(thread) = thread {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }

    /// Waits for a pause. `false` if nobody wants the device any more.
    fn wait(&self) -> bool {
        let watch = self.watch();
        let pause = watch.pause;
        let waited = self.changed.wait_timeout_while(watch, pause, |watch| !watch.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Sessions of all graphs on this device.
    fn open(&self, device: Device) -> Result<Vec<Runner>, String> {
        let runners = self.plan.open(device).map_err(|(_, cause)| cause)?;
        for ((file, runner), graph) in self.plan.files.iter().zip(&runners).zip(&*self.graphs) {
            let other = graph::describe(&file.on(device).path, &runner.session).map_err(|error| error.to_string())?;
            graph.check_ports(&other)?;
        }
        Ok(runners)
    }

    /// Tries to get the device back until it is there.
    fn regain(&self, try_out: impl Fn(&mut [Runner]) -> Result<(), String>, take_over: impl FnOnce(Vec<Runner>)) {
        while self.wait() {
            let runners = self.open(self.device);
            let runners = runners.and_then(|mut runners| try_out(&mut runners).map(|()| runners));
            let mut watch = self.watch();
            match runners {
                Ok(runners) => {
                    watch.regained = Some(Instant::now());
                    take_over(runners);
                    return;
                }
                Err(_) => watch.lengthen_pause(),
            }
        }
    }
}

impl Watch {
    /// Sessions on the CPU.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn on_cpu(&mut self, standby: &Standby) -> Result<Vec<Runner>, String> {
        match self.spare.take() {
            Some(runners) => Ok(runners),
            None => standby.open(Device::Cpu),
        }
    }

    /// Keeps sessions that did not help, for the next time.
    pub fn keep(&mut self, runners: Vec<Runner>) {
        self.spare = Some(runners);
    }

    /// The device has just been lost: has it tried again by a thread. New sessions that pass `try_out` go to `take_over`.
    pub fn regain(
        &mut self,
        standby: &Arc<Standby>,
        try_out: impl Fn(&mut [Runner]) -> Result<(), String> + Send + 'static,
        take_over: impl FnOnce(Vec<Runner>) + Send + 'static,
    ) {
        match self.regained {
            Some(regained) if regained.elapsed() < LONGEST_PAUSE => self.lengthen_pause(),
            _ => self.pause = FIRST_PAUSE,
        }
        let theirs = standby.clone();
        let thread = std::thread::Builder::new().name("deepfake-regain".into());
        // Without a thread the CPU goes on. A thread from before has given the device back: it is over.
        self.thread = thread.spawn(move || theirs.regain(try_out, take_over)).ok();
    }

    fn lengthen_pause(&mut self) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::super::runner::Installed;
    use super::*;

    /// Of a device without graphs, which is back at the first try.
    fn standby() -> Arc<Standby> {
        let plan = Plan { files: vec![], threads: 1, devices: Box::new(Installed) };
        Arc::new(Standby::new(plan, Arc::new([]), Device::Cuda, false))
    }

    #[test]
    fn a_device_that_is_soon_lost_again_is_tried_less_often() {
        let standby = standby();
        let lose = |regained: Option<Instant>| {
            let (back, told) = std::sync::mpsc::channel();
            let mut watch = standby.watch();
            watch.regained = regained;
            watch.regain(&standby, |_| Ok(()), move |_| back.send(()).unwrap());
            let pause = watch.pause;
            drop(watch);
            told.recv().unwrap();
            pause
        };
        assert_eq!(lose(None), FIRST_PAUSE);
        assert_eq!(lose(Some(Instant::now())), FIRST_PAUSE * 2);
        assert_eq!(lose(Some(Instant::now())), FIRST_PAUSE * 4);
        assert_eq!(lose(Instant::now().checked_sub(LONGEST_PAUSE)), FIRST_PAUSE);
        standby.close();
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let standby = standby();
        let mut watch = standby.watch();
        (0..40).for_each(|_| watch.lengthen_pause());
        assert_eq!(watch.pause, LONGEST_PAUSE);
    }

    #[test]
    fn nobody_waits_for_the_end_of_a_pause_to_let_a_device_go() {
        let standby = standby();
        {
            let mut watch = standby.watch();
            (watch.pause, watch.regained) = (LONGEST_PAUSE, Some(Instant::now()));
            watch.regain(&standby, |_| Ok(()), |_| panic!("it was let go"));
        }
        let began = Instant::now();
        standby.close();
        assert!(began.elapsed() < LONGEST_PAUSE / 2);
        assert_eq!(Arc::strong_count(&standby), 1);
    }
}
