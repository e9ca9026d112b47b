//! The process that decodes and analyses: the only one with GStreamer in it.
//!
//! One thread does everything but decoding: it obeys the supervisor, watches the pipelines and says
//! that it lives. What may hang (opening and closing a source) runs on threads of its own; a close
//! that hangs ends the process, which the supervisor replaces.

mod clip;
mod pipeline;
mod ring;
pub mod samples;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context;

use uuid::Uuid;

use crate::channel::clip::News;
use crate::protocol::{self, Base64, FromWorker, ToWorker};
use pipeline::Pipeline;

/// How often each channel is looked at.
const LOOK: Duration = Duration::from_millis(250);
const BEAT: Duration = Duration::from_secs(1);
/// A source that is not closed by then never will be.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// How the process ends when a source cannot be closed.
const STUCK: i32 = 70;

/// What happens in the process, for the one thread that acts on it.
enum Event {
    Told(ToWorker),
    /// The supervisor is gone.
    Alone,
    Pipeline {
        channel: String,
        run: u64,
        what: pipeline::Happening,
    },
    Closed {
        channel: String,
        run: u64,
    },
    Still {
        channel: String,
        run: u64,
        jpeg: Vec<u8>,
    },
    Clip {
        channel: String,
        incident: Uuid,
        part: u32,
        news: News,
    },
}

struct Worker {
    out: File,
    events: Sender<Event>,
    open: BTreeMap<String, (u64, Pipeline)>,
    closing: Vec<(String, u64, Instant)>,
    /// Clips that are being written.
    clips: Vec<(Uuid, u32)>,
}

/// Obeys the supervisor at the other end of standard input and output until that one is gone.
///
/// # Errors
/// If GStreamer or the plugin cannot be used.
pub fn run() -> anyhow::Result<()> {
    let out = take_standard_output().context("cannot take standard output")?;
    gst::init().context("cannot start GStreamer")?;
    gstdeepfake::plugin_register_static().context("cannot register the plugin")?;
    let (events, happened) = channel();
    let told = events.clone();
    std::thread::Builder::new().name("told".into()).spawn(move || {
        let mut input = io::stdin().lock();
        while let Ok(Some(message)) = protocol::read(&mut input) {
            if told.send(Event::Told(message)).is_err() {
                return;
            }
        }
        told.send(Event::Alone).ok();
    })?;
    let mut worker = Worker { out, events, open: BTreeMap::new(), closing: Vec::new(), clips: Vec::new() };
    worker.say(&FromWorker::Ready { gstreamer: gst::version_string().into() })?;
    worker.work(&happened)
}

impl Worker {
    fn work(&mut self, happened: &Receiver<Event>) -> anyhow::Result<()> {
        let (mut next_look, mut next_beat) = (Instant::now(), Instant::now());
        let mut ending = false;
        loop {
            match happened.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
                Ok(Event::Alone) | Ok(Event::Told(ToWorker::Exit)) => {
                    ending = true;
                    let open: Vec<_> = self.open.iter().map(|(channel, (run, _))| (channel.clone(), *run)).collect();
                    open.into_iter().for_each(|(channel, run)| self.close(&channel, run));
                }
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the worker itself holds a sender"),
            }
            let now = Instant::now();
            if let Some((channel, ..)) = self.closing.iter().find(|(.., since)| now - *since > CLOSE_LIMIT) {
                eprintln!("the source of {channel} does not close; the worker ends, so that others can go on");
                // Not `std::process::exit`: what runs at exit might wait for the very thread that
                // hangs. SAFETY: ends the process at once.
                unsafe { libc::_exit(STUCK) };
            }
            if ending && self.closing.is_empty() && self.clips.is_empty() {
                return Ok(());
            }
            if now >= next_look {
                next_look = now + LOOK;
                for (channel, (run, pipeline)) in &self.open {
                    let look = FromWorker::Look { channel: channel.clone(), run: *run, look: pipeline.look() };
                    protocol::write(&mut self.out, &look)?;
                }
            }
            if now >= next_beat {
                next_beat = now + BEAT;
                self.say(&FromWorker::Beat { memory_bytes: memory_bytes() })?;
            }
        }
    }

    fn say(&mut self, message: &FromWorker) -> io::Result<()> {
        protocol::write(&mut self.out, message)
    }

    fn take(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Told(ToWorker::Open { channel, run, feed }) => {
                // The supervisor waits for the answer to its close; this is for a supervisor that
                // is wrong.
                if let Some((old, _)) = self.open.get(&channel) {
                    let old = *old;
                    self.close(&channel, old);
                }
                let events = self.events.clone();
                let name = channel.clone();
                let tell = move |what| drop(events.send(Event::Pipeline { channel: name.clone(), run, what }));
                match Pipeline::open(&feed, tell) {
                    Ok(pipeline) => drop(self.open.insert(channel, (run, pipeline))),
                    Err(error) => {
                        let reason = feed.source.scrub(&error.to_string());
                        let look = pipeline::nothing_seen();
                        self.say(&FromWorker::Failed { channel, run, reason, look })?;
                    }
                }
            }
            Event::Told(ToWorker::Close { channel, run }) => {
                if self.open.get(&channel).is_some_and(|(open, _)| *open == run) {
                    self.close(&channel, run);
                } else if !self.closing.iter().any(|(closing, of, _)| *closing == channel && *of == run) {
                    self.say(&FromWorker::Closed { channel, run })?;
                }
            }
            Event::Told(ToWorker::Still { channel }) => {
                if let Some((run, pipeline)) = self.open.get(&channel) {
                    let (events, run) = (self.events.clone(), *run);
                    pipeline.still(move |jpeg| drop(events.send(Event::Still { channel, run, jpeg })));
                }
            }
            Event::Told(ToWorker::Record { channel, run, incident, part, folder }) => {
                let events = self.events.clone();
                let name = channel.clone();
                let tell = move |news| {
                    drop(events.send(Event::Clip { channel: name.clone(), incident, part, news }));
                };
                self.clips.push((incident, part));
                match self.open.get(&channel).filter(|(open, _)| *open == run) {
                    Some((_, pipeline)) => pipeline.record(clip::Order { part, folder }, tell),
                    None => tell(News::Ended { length: 0, missing: vec!["everything: the feed is closed".into()] }),
                }
            }
            Event::Told(ToWorker::StopRecording { channel, incident, part }) => {
                if self.clips.contains(&(incident, part))
                    && let Some((_, pipeline)) = self.open.get(&channel)
                {
                    pipeline.stop_recording();
                }
            }
            Event::Clip { channel, incident, part, news } => {
                if matches!(news, News::Ended { .. }) {
                    self.clips.retain(|clip| *clip != (incident, part));
                }
                self.say(&FromWorker::Clip { channel, incident, part, news })?;
            }
            Event::Told(ToWorker::Exit) | Event::Alone => {}
            Event::Pipeline { channel, run, what } => {
                let Some((_, pipeline)) = self.open.get(&channel).filter(|(open, _)| *open == run) else {
                    return Ok(());
                };
                let message = match what {
                    pipeline::Happening::Alert(alert) => FromWorker::Alert { channel, run, alert },
                    pipeline::Happening::Failed(reason) => {
                        FromWorker::Failed { channel, run, reason, look: pipeline.look() }
                    }
                    pipeline::Happening::Ended => FromWorker::Ended { channel, run, look: pipeline.look() },
                };
                self.say(&message)?;
            }
            Event::Closed { channel, run } => {
                self.closing.retain(|(closing, of, _)| *closing != channel || *of != run);
                self.say(&FromWorker::Closed { channel, run })?;
            }
            Event::Still { channel, run, jpeg } => {
                self.say(&FromWorker::Still { channel, run, jpeg: Base64(jpeg) })?;
            }
        }
        Ok(())
    }

    fn close(&mut self, channel: &str, run: u64) {
        let Some((_, pipeline)) = self.open.remove(channel) else { return };
        self.closing.push((channel.to_owned(), run, Instant::now()));
        let (events, channel) = (self.events.clone(), channel.to_owned());
        let closing = move || {
            pipeline.close();
            events.send(Event::Closed { channel, run }).ok();
        };
        // Without a thread the source stays as it is, and the limit ends the process.
        if let Err(error) = std::thread::Builder::new().name("close".into()).spawn(closing) {
            eprintln!("no thread to close a source with: {error}");
        }
    }
}

/// The pipe to the supervisor. What libraries print goes to standard error from now on, and
/// disturbs no message.
fn take_standard_output() -> io::Result<File> {
    // SAFETY: plain system calls on descriptors that are open in every process; `dup` makes one
    // that only we hold.
    unsafe {
        let kept = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        if kept < 0 || libc::dup2(2, 1) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(kept))
    }
}

/// Memory that the process holds, as the system counts it.
fn memory_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.as_deref().and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    // SAFETY: asks for a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.unwrap_or(0) * u64::try_from(page).unwrap_or(4096)
}
