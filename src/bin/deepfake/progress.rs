//! How far a run is: a bar on a terminal, a line now and then where there is none.

use std::{cell::Cell, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    /// Tenths of the run that were told already; only where there is no terminal.
    told: Cell<u64>,
}

impl Progress {
    /// A run of `steps` steps.
    pub fn new(steps: usize, what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} {wide_bar:.cyan/dim} {pos}/{len} clips, {eta} left  {msg}");
        bar.set_style(style.expect("the template is well-formed"));
        bar.set_prefix(what);
        // The clock goes on while a long clip is at work.
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar, what, told: Cell::new(0) }
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
