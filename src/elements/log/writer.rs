//! The thread that writes: takes lines from the queue, tries again what fails, and reports when
//! trouble starts and ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::output::Output;
use super::queue::{Queue, Work};

/// Time between two tries while writing fails.
const RETRY: Duration = Duration::from_millis(500);
/// The same while the stream's end waits for the writer.
const HURRIED_RETRY: Duration = Duration::from_millis(50);

pub enum Event {
    /// Writing started to fail. Reported once, until [`Event::Recovered`].
    Failed(io::Error),
    /// Everything that waited is written.
    Recovered,
    /// The file could not be renamed and grows on. Reported once, until it could.
    NotRotated(io::Error),
}

/// Starts the thread, which ends after [`Queue::close`].
pub fn spawn(queue: Arc<Queue>, output: Output, report: impl Fn(Event) + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("deepfakelog".into()).spawn(move || {
        block_signals();
        // Lets go of those who wait even if something in here panics.
        let _guard = Quit(&queue);
        run(&queue, output, report);
    })?;
    Ok(())
}

struct Quit<'a>(&'a Queue);

impl Drop for Quit<'_> {
    fn drop(&mut self) {
        self.0.quit();
    }
}

fn run(queue: &Queue, mut output: Output, report: impl Fn(Event)) {
    let mut rotation_fails = false;
    loop {
        match queue.next() {
            Work::Quit => return,
            Work::Sync(ticket) => {
                if let Err(error) = output.sync()
                    && queue.failed()
                {
                    report(Event::Failed(error));
                }
                queue.synced(ticket);
            }
            Work::Line(line) => match output.write(&line, || queue.is_closing()) {
                Ok(written) => {
                    match written.rotated {
                        Some(Ok(())) => {
                            rotation_fails = false;
                            queue.rotated();
                        }
                        Some(Err(error)) if !std::mem::replace(&mut rotation_fails, true) => {
                            report(Event::NotRotated(error));
                        }
                        _ => {}
                    }
                    if queue.written() {
                        report(Event::Recovered);
                    }
                }
                Err(error) => {
                    if queue.put_back(line) {
                        report(Event::Failed(error));
                    }
                    if !queue.pause(RETRY, HURRIED_RETRY) {
                        return;
                    }
                }
            },
        }
    }
}

/// A pipe without reader (SIGPIPE) and a file as long as `ulimit -f` allows (SIGXFSZ) then give
/// errors. Both signals end the process otherwise: applications in C, gst-launch-1.0 among them,
/// leave them as they are.
fn block_signals() {
    // SAFETY: the set is initialised before it is used, and the old mask is not asked for.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGPIPE);
        libc::sigaddset(&raw mut set, libc::SIGXFSZ);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}
