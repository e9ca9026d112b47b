//! How far a run is: a bar on a terminal, a line now and then where there is none.

use std::{cell::Cell, fmt::Write, time::Duration};

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

/// Time left, from the mean time of a step: indicatif's own estimate trusts the last step, and clips differ in length.
fn left(state: &ProgressState, out: &mut dyn Write) {
    let (done, all) = (state.pos(), state.len().unwrap_or(0));
    let _ = match state.elapsed().checked_div(done as u32) {
        Some(each) => write!(out, "{:#} left", HumanDuration(each * all.saturating_sub(done) as u32)),
        None => write!(out, "starting"),
    };
}
