//! How far a run is: a bar on a terminal, a line now and then where there is none.

use std::{
    cell::{Cell, RefCell},
    fmt::Write,
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

pub struct Progress {
    bar: ProgressBar,
    what: String,
    /// Tenths of the run that were told already; only where there is no terminal.
    told: Cell<u64>,
}

impl Progress {
    /// A run of `steps` steps.
    pub fn new(steps: usize, what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} {wide_bar:.cyan/dim} {pos}/{len} clips, {left}  {msg}");
        bar.set_style(style.expect("the template is well-formed").with_key("left", left));
        bar.set_prefix(what.to_owned());
        // The clock goes on while a long clip is at work.
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar, what: what.to_owned(), told: Cell::new(0) }
    }

    /// One step is done; `message` says how it goes.
    pub fn step(&self, message: &str) {
        self.bar.set_message(message.to_owned());
        self.bar.inc(1);
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0).max(1));
        let tenths = done * 10 / all;
        if self.bar.is_hidden() && tenths > self.told.replace(tenths) {
            eprintln!("{}: {done}/{all} clips, {message}", self.what);
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A run over files that are far apart in length: the bar moves within a file too, and says how fast it goes.
pub struct Watch {
    bar: ProgressBar,
    what: String,
    began: Instant,
    /// Of each file: parts in a thousand that are done, and seconds of video.
    files: RefCell<Vec<(u64, f64)>>,
    done: Cell<usize>,
}

impl Watch {
    const STEPS: u64 = 1000;

    /// A run over `count` files.
    pub fn new(count: usize, what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(count as u64 * Self::STEPS), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} {wide_bar:.cyan/dim} {percent} %, {left}  {msg}");
        bar.set_style(style.expect("the template is well-formed").with_key("left", left_of_parts));
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(500));
        let files = RefCell::new(vec![(0, 0.0); count]);
        Self { bar, what: what.to_owned(), began: Instant::now(), files, done: Cell::new(0) }
    }

    /// The bar, which must be told before anything else is printed.
    pub fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    pub fn at(&self, index: usize, at: crate::pool::At) {
        self.set(index, (at.part * Self::STEPS as f64) as u64, Some(at.seconds));
    }

    pub fn finished(&self, index: usize) {
        self.done.set(self.done.get() + 1);
        self.set(index, Self::STEPS, None);
        let (done, all) = (self.done.get(), self.files.borrow().len());
        let tenth = |count: usize| count * 10 / all.max(1);
        if self.bar.is_hidden() && all > 1 && tenth(done) > tenth(done - 1) {
            eprintln!("{}: {done}/{all} files, {}", self.what, self.rate());
        }
    }

    fn set(&self, index: usize, steps: u64, seconds: Option<f64>) {
        {
            let file = &mut self.files.borrow_mut()[index];
            file.0 = file.0.max(steps);
            file.1 = seconds.unwrap_or(file.1);
        }
        self.bar.set_position(self.files.borrow().iter().map(|(steps, _)| steps).sum());
        self.bar.set_message(format!("{}/{} files, {}", self.done.get(), self.files.borrow().len(), self.rate()));
    }

    /// Seconds of video a second.
    fn rate(&self) -> String {
        let seconds: f64 = self.files.borrow().iter().map(|(_, seconds)| seconds).sum();
        format!("{:.1}× real time", seconds / self.began.elapsed().as_secs_f64().max(1e-3))
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Time left, from the mean time of a step: indicatif's own estimate trusts the last step, and clips differ in length.
fn left(state: &ProgressState, out: &mut dyn Write) {
    let (done, all) = (state.pos(), state.len().unwrap_or(0));
    let _ = match state.elapsed().checked_div(done as u32) {
        Some(each) => write!(out, "{:#} left", HumanDuration(each * all.saturating_sub(done) as u32)),
        None => write!(out, "starting"),
    };
}

/// Time left, from the mean time of a part in a thousand.
fn left_of_parts(state: &ProgressState, out: &mut dyn Write) {
    let (done, all) = (state.pos(), state.len().unwrap_or(0));
    let _ = match done {
        0 => write!(out, "starting"),
        _ => {
            let left = state.elapsed().mul_f64(all.saturating_sub(done) as f64 / done as f64);
            write!(out, "{:#} left", HumanDuration(left))
        }
    };
}
