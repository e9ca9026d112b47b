//! Ctrl-C, SIGTERM and SIGHUP: asked once, work is put down cleanly; asked twice, the command ends at once.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};

/// Exit code of a command that was told to stop: what shells expect after SIGINT.
pub const EXIT_CODE: u8 = 130;

/// The error of work that was put down because the user asked.
#[derive(Debug, thiserror::Error)]
#[error("stopped as asked; the same command goes on from here")]
pub struct Stopped;

static ASKED: AtomicBool = AtomicBool::new(false);
static WAKE: Mutex<Option<Box<dyn Fn() + Send>>> = Mutex::new(None);

/// Catches the signals. To be called once, by `main`.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if ASKED.load(Ordering::SeqCst) {
            std::process::exit(i32::from(EXIT_CODE));
        }
        ask();
    })
    .context("cannot catch Ctrl-C")
}

/// Asks for a stop, as Ctrl-C does.
pub fn ask() {
    ASKED.store(true, Ordering::SeqCst);
    if let Some(wake) = &*WAKE.lock().unwrap() {
        wake();
    }
}

/// An error once a stop was asked for: long loops call it in each round.
pub fn check() -> Result<(), Stopped> {
    if ASKED.load(Ordering::SeqCst) { Err(Stopped) } else { Ok(()) }
}

/// Has `wake` called when a stop is asked for, and at once if it was asked for already; replaces the one before.
pub fn on_ask(wake: impl Fn() + Send + 'static) {
    let mut slot = WAKE.lock().unwrap();
    if ASKED.load(Ordering::SeqCst) {
        wake();
    }
    *slot = Some(Box::new(wake));
}
