//! The process that stays: it assigns channels to workers, replaces workers that crash or hang,
//! records, and shows everybody else what is going on. No GStreamer runs in it.

mod clock;
mod process;
mod recorder;
pub mod view;
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use clock::system_time;

use crate::channel::clip::{Clip, Order};
use crate::channel::incident::Kind as IncidentKind;
use crate::channel::machine::{Action, Event};
use crate::config::{self, Config};
use crate::evidence;
use crate::protocol::{FromWorker, ToWorker};
use crate::store::{Filter, Record, Store, retention};
use clock::Clock;
use process::{Heard, Process, What};
use recorder::{Pending, Recorder};
use view::{Shared, Still, View, WorkerView};
use watched::{Now, Outcome, Watched};

const TICK: Duration = Duration::from_millis(250);
/// The wall is drawn anew so often, in ticks.
const VIEW_TICKS: u64 = 2;
/// Pictures for the wall are made so often, in ticks, while somebody looks.
const STILL_TICKS: u64 = 8;
/// Somebody who asked for nothing within so many milliseconds does not look any more.
const LOOKING: i64 = 15_000;
/// A worker that has not said that it is ready by then never will.
const START_LIMIT: i64 = 60_000;
/// Time for workers to end by themselves.
const END_LIMIT: Duration = Duration::from_secs(7);
/// A worker that lived so long is replaced at once; one that did not waits longer each time.
const STEADY_WORKER: i64 = 60_000;
const LONGEST_RESTART: i64 = 30_000;
const RETENTION_EVERY: i64 = 3_600_000;
/// A disk that is nearly full is tidied so often.
const TIDY_EVERY: i64 = 30_000;
/// A clip that is over is sealed so much later: what its time counts as is recorded by then.
const SEAL_AFTER: i64 = 3000;

/// What others ask the supervisor for.
#[derive(Debug)]
pub enum Command {
    /// Watch a channel, or not, until it is said otherwise. The answer is `false` if there is no
    /// such channel.
    Pause { channel: String, paused: bool, done: oneshot::Sender<bool> },
    /// Load the configuration anew. The answer is what is wrong with it.
    Reload { done: oneshot::Sender<Result<(), String>> },
}

/// What the rest of the program holds of the supervisor.
#[derive(Clone)]
pub struct Handle {
    pub shared: Shared,
    pub commands: mpsc::Sender<Command>,
    /// Number of the newest event that is recorded.
    pub newest_event: watch::Receiver<i64>,
    /// The configuration as it holds.
    pub config: watch::Receiver<Arc<Config>>,
    /// When somebody looked last, in milliseconds since 1970.
    pub looked_at: Arc<AtomicI64>,
}

impl Handle {
    /// Somebody looks at pictures now: they are kept fresh.
    pub fn somebody_looks(&self) {
        self.looked_at.store(system_time(), Ordering::Relaxed);
    }
}

/// Where the supervisor finds things.
pub struct Places {
    pub config_file: PathBuf,
    /// The program that `worker` is a command of.
    pub program: PathBuf,
}

struct Slot {
    process: Option<Process>,
    ready: bool,
    generation: u64,
    started_at: i64,
    heard_at: i64,
    memory_bytes: u64,
    restarts: u64,
    failures: u32,
    restart_at: i64,
    last_end: Option<String>,
}

pub struct Supervisor {
    places: Places,
    store: Arc<dyn Store>,
    clock: Clock,
    started: i64,
    config: watch::Sender<Arc<Config>>,
    channels: BTreeMap<String, Watched>,
    slots: Vec<Slot>,
    pending: Pending,
    recorder: Recorder,
    shared: Shared,
    looked_at: Arc<AtomicI64>,
    heard: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
    commands: mpsc::Receiver<Command>,
    config_trouble: Option<String>,
    ticks: u64,
    next_retention: i64,
    next_tidying: i64,
    free_bytes: Option<u64>,
    /// Clips that are over, and when to seal them.
    to_seal: Vec<(i64, Clip)>,
    sealed: (mpsc::UnboundedSender<Clip>, mpsc::UnboundedReceiver<Clip>),
}

impl Supervisor {
    /// # Errors
    /// If the store cannot be read.
    pub fn new(config: Config, places: Places, store: Arc<dyn Store>) -> anyhow::Result<(Self, Handle)> {
        let (commands, asked) = mpsc::channel(64);
        let (recorded, newest_event) = watch::channel(store.last_event()?);
        let channels = config.channels.clone();
        let (config, config_seen) = watch::channel(Arc::new(config));
        let shared = Shared::default();
        let looked_at = Arc::new(AtomicI64::new(0));
        let clock = Clock::new();
        let mut supervisor = Self {
            recorder: Recorder::start(store.clone(), recorded)?,
            started: clock.utc(),
            next_retention: clock.elapsed() + 60_000,
            places,
            store,
            clock,
            config,
            channels: BTreeMap::new(),
            slots: Vec::new(),
            pending: Pending::default(),
            shared: shared.clone(),
            looked_at: looked_at.clone(),
            heard: mpsc::channel(1024),
            commands: asked,
            config_trouble: None,
            ticks: 0,
            next_tidying: 0,
            free_bytes: None,
            to_seal: Vec::new(),
            sealed: mpsc::unbounded_channel(),
        };
        for (id, settings) in channels {
            supervisor.add(&id, settings)?;
        }
        supervisor.close_forgotten()?;
        supervisor.finish_clips()?;
        supervisor.show();
        Ok((supervisor, Handle { shared, commands, newest_event, config: config_seen, looked_at }))
    }

    /// Watches until `stop` says so, then ends the workers in order.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut stop => break,
                _ = ticker.tick() => self.tick(),
                Some(heard) = self.heard.1.recv() => self.hear(heard),
                Some(command) = self.commands.recv() => self.command(command),
                Some(clip) = self.sealed.1.recv() => self.pending.add(Record::Clip(clip)),
            }
            if self.pending.is_urgent() {
                self.recorder.flush(&mut self.pending);
            }
        }
        self.end().await;
    }

    fn now(&self) -> Now {
        Now { elapsed: self.clock.elapsed(), utc: self.clock.utc() }
    }

    fn settings(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    fn sinks(&self) -> BTreeSet<String> {
        self.settings().sinks.keys().cloned().collect()
    }

    fn add(&mut self, id: &str, settings: config::Channel) -> anyhow::Result<()> {
        let ledger_end = self.store.coverage_end(id)?;
        let filter = Filter { channel: Some(id.into()), open: true, limit: 16, ..Filter::default() };
        let open = self.store.incidents(&filter)?;
        let now = self.now();
        let slot = self.free_slot();
        let mut watched = Watched::new(id, settings, slot, ledger_end, open.clone(), now);
        watched.set_sinks(&self.sinks());
        for incident in open.iter().filter(|incident| incident.kind == IncidentKind::Fake) {
            let clips = self.store.clips(&incident.id.to_string())?;
            watched.clips.known(incident.id, clips.last().map_or(0, |clip| clip.part));
        }
        self.channels.insert(id.into(), watched);
        if self.slots[slot].ready {
            self.event(id, Event::Worker(true));
        }
        Ok(())
    }

    /// Incidents of channels that are no longer in the configuration do not stay open.
    fn close_forgotten(&mut self) -> anyhow::Result<()> {
        let open = self.store.incidents(&Filter { open: true, limit: 10_000, ..Filter::default() })?;
        let sinks: Vec<_> = self.sinks().into_iter().collect();
        for mut incident in open.into_iter().filter(|incident| !self.channels.contains_key(&incident.channel)) {
            incident.closed = Some(incident.last_active);
            incident.reason = Some("the channel was removed".into());
            incident.seq += 1;
            let change = crate::channel::incident::Change::Closed;
            self.pending.add(Record::Incident { incident, change, at: self.clock.utc(), sinks: sinks.clone() });
        }
        Ok(())
    }

    /// Clips that an earlier start of the program did not finish.
    fn finish_clips(&mut self) -> anyhow::Result<()> {
        let (due, folder) = (self.clock.elapsed(), self.settings().evidence());
        for mut clip in self.store.unfinished_clips()? {
            clip.ended = evidence::last_written(&folder, &clip).or(Some(clip.began));
            clip.missing.push("the end: the monitor ended while it was recorded".into());
            self.to_seal.push((due, clip));
        }
        Ok(())
    }

    /// The worker with the fewest channels, or a new one if all are full.
    fn free_slot(&mut self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let most = match self.settings().workers.channels_per_worker {
            0 => 2 * cores,
            most => most,
        };
        let count = |slot| self.channels.values().filter(|channel| channel.slot == slot).count();
        let emptiest =
            (0..self.slots.len()).map(|slot| (count(slot), slot)).min().filter(|(channels, _)| *channels < most);
        if let Some((_, slot)) = emptiest {
            return slot;
        }
        let now = self.clock.elapsed();
        self.slots.push(Slot {
            process: None,
            ready: false,
            generation: 0,
            started_at: now,
            heard_at: now,
            memory_bytes: 0,
            restarts: 0,
            failures: 0,
            restart_at: now,
            last_end: None,
        });
        self.slots.len() - 1
    }

    fn event(&mut self, id: &str, event: Event) {
        let now = self.now();
        if let Some(channel) = self.channels.get_mut(id) {
            let outcome = channel.event(now, event, chance());
            self.follow(id, outcome);
        }
    }

    /// Does what follows from something that happened to a channel.
    fn follow(&mut self, id: &str, outcome: Outcome) {
        outcome.records.into_iter().for_each(|record| self.log_and_add(record));
        let Some(channel) = self.channels.get_mut(id) else { return };
        let message = outcome.action.map(|action| match action {
            Action::Open { run } => ToWorker::Open { channel: id.into(), run, feed: channel.feed() },
            Action::Close { run } => ToWorker::Close { channel: id.into(), run },
        });
        let slot = channel.slot;
        for order in outcome.clips {
            self.order_clip(id, slot, order);
        }
        let Some(channel) = self.channels.get_mut(id) else { return };
        if channel.picture_for.is_some() {
            self.tell(slot, ToWorker::Still { channel: id.into() });
        }
        if let Some(message) = message {
            self.tell(slot, message);
        }
    }

    fn order_clip(&mut self, id: &str, slot: usize, order: Order) {
        let message = match order {
            Order::Start { incident, part } => {
                if let Some(why) = self.no_room() {
                    let (now, why) = (self.now(), format!("everything: {why}"));
                    let refused = self.channels.get_mut(id).and_then(|channel| channel.clips.lost(now.utc, &why));
                    refused.into_iter().for_each(|clip| self.log_and_add(Record::Clip(clip)));
                    return;
                }
                let Some(run) = self.channels.get(id).map(Watched::run) else { return };
                let folder = evidence::folder(&self.settings().evidence(), &incident.to_string());
                // Workers run elsewhere only by accident, but a path must lead to the same place.
                let folder = std::path::absolute(&folder).unwrap_or(folder);
                ToWorker::Record { channel: id.into(), run, incident, part, folder }
            }
            Order::Stop { incident, part } => ToWorker::StopRecording { channel: id.into(), incident, part },
        };
        self.tell(slot, message);
    }

    /// Why no clip can be written now, for want of room.
    fn no_room(&self) -> Option<String> {
        let needed = self.settings().retention.min_free_mib;
        let free = self.free_bytes? >> 20;
        (free < needed).then(|| format!("the disk has {free} MiB left, less than min-free-mib = {needed}"))
    }

    /// Watches the room on the disk, and seals clips that are over.
    fn tend_clips(&mut self) {
        let (now, config) = (self.now(), self.settings());
        self.free_bytes = evidence::free_bytes(&config.directory);
        if let Some(why) = self.no_room() {
            let ids: Vec<_> = self.channels.iter().map(|(id, channel)| (id.clone(), channel.slot)).collect();
            for (id, slot) in ids {
                let why = format!("the end: {why}");
                let stop = self.channels.get_mut(&id).and_then(|channel| channel.clips.stop(&why));
                stop.into_iter().for_each(|order| self.order_clip(&id, slot, order));
            }
            if now.elapsed >= self.next_tidying {
                self.next_tidying = now.elapsed + TIDY_EVERY;
                tracing::warn!("{why}: the oldest clips that nobody holds are deleted");
                let needed = (config.retention.min_free_mib << 20).saturating_sub(self.free_bytes.unwrap_or(0));
                self.retain(&config, now.utc, needed);
            }
        }
        let (due, later) = std::mem::take(&mut self.to_seal).into_iter().partition(|(at, _)| now.elapsed >= *at);
        self.to_seal = later;
        let due: Vec<(i64, Clip)> = due;
        for (_, clip) in due {
            let (about, store, sealed) = (self.about(&clip.channel), self.store.clone(), self.sealed.0.clone());
            let folder = config.evidence();
            tokio::task::spawn_blocking(move || {
                sealed.send(evidence::seal(&*store, &folder, &about, clip, now.utc)).ok();
            });
        }
    }

    fn about(&self, id: &str) -> evidence::About {
        let settings = self.channels.get(id).map(|channel| &channel.settings);
        settings.map_or_else(
            || evidence::About { id: id.into(), ..Default::default() },
            |settings| evidence::About {
                id: id.into(),
                title: settings.title.clone(),
                source: settings.source.to_string(),
                labels: settings.labels.clone(),
            },
        )
    }

    fn log_and_add(&mut self, record: Record) {
        if let Record::Clip(clip) = &record
            && clip.ended.is_some()
        {
            // It is recorded once it is sealed.
            self.to_seal.push((self.clock.elapsed() + SEAL_AFTER, clip.clone()));
            return;
        }

        if let Record::Incident { incident, change, .. } = &record {
            let (channel, kind) = (&incident.channel, incident.kind.as_str());
            tracing::info!(%channel, incident = %incident.id, kind, peak = incident.peak, "{}", change.event_type());
        }
        self.pending.add(record);
    }

    fn tell(&mut self, slot: usize, message: ToWorker) {
        let process = self.slots.get_mut(slot).and_then(|slot| slot.process.as_mut());
        if let Some(process) = process
            && !process.tell(message)
        {
            tracing::warn!(worker = slot, "the worker takes no messages; it is killed");
            process.kill();
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if let Some(by) = self.clock.check() {
            tracing::warn!(milliseconds = by, "the system's clock was set");
            let now = self.now();
            let records: Vec<_> = self.channels.values_mut().flat_map(|channel| channel.clock_was_set(now)).collect();
            records.into_iter().for_each(|record| self.pending.add(record));
        }
        self.tend_workers();
        let config = self.settings();
        let zone = jiff::tz::TimeZone::get(&config.server.time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
        let now = self.now();
        let local = jiff::Timestamp::from_millisecond(now.utc).map(|time| time.to_zoned_datetime(zone).datetime());
        let ids: Vec<_> = self.channels.keys().cloned().collect();
        for id in ids {
            let Some(channel) = self.channels.get_mut(&id) else { continue };
            let scheduled =
                local.as_ref().map_or(true, |at| config::schedule::watches(&channel.settings.schedule, *at));
            let wanted = channel.settings.enabled && !channel.paused && scheduled;
            let outcome = channel.tick(now, wanted, chance());
            self.follow(&id, outcome);
        }
        if self.ticks.is_multiple_of(STILL_TICKS) && now.utc - self.looked_at.load(Ordering::Relaxed) < LOOKING {
            let running: Vec<_> = self.channels.iter().map(|(id, channel)| (id.clone(), channel.slot)).collect();
            running.into_iter().for_each(|(channel, slot)| self.tell(slot, ToWorker::Still { channel }));
        }
        if self.ticks.is_multiple_of(VIEW_TICKS) {
            self.show();
        }
        if self.ticks.is_multiple_of(4) {
            self.recorder.flush(&mut self.pending);
            self.tend_clips();
            self.tell_systemd();
        }
        if now.elapsed >= self.next_retention {
            self.next_retention = now.elapsed + RETENTION_EVERY;
            self.retain(&config, now.utc, 0);
        }
    }

    /// Starts, watches and replaces workers.
    fn tend_workers(&mut self) {
        let now = self.clock.elapsed();
        let config = self.settings();
        let silence = config.workers.heartbeat_timeout.milliseconds();
        let memory_limit = config.workers.memory_limit_mib << 20;
        for number in 0..self.slots.len() {
            let needed = self.channels.values().any(|channel| channel.slot == number);
            let slot = &mut self.slots[number];
            match &mut slot.process {
                None if needed && now >= slot.restart_at => {
                    slot.generation += 1;
                    (slot.started_at, slot.heard_at, slot.memory_bytes) = (now, now, 0);
                    match Process::start(&self.places.program, number, slot.generation, &self.heard.0) {
                        Ok(process) => slot.process = Some(process),
                        Err(error) => {
                            tracing::error!(worker = number, %error, "cannot start a worker");
                            slot.last_end = Some(format!("cannot be started: {error}"));
                            slot.restart_at = now + 1000;
                        }
                    }
                }
                Some(process) if !needed => {
                    process.tell(ToWorker::Exit);
                }
                Some(process) => {
                    let limit = if slot.ready { silence } else { START_LIMIT };
                    if now - slot.heard_at > limit {
                        tracing::error!(worker = number, "the worker says nothing; it is killed");
                        slot.heard_at = now;
                        process.kill();
                    } else if memory_limit > 0 && slot.memory_bytes > memory_limit {
                        tracing::warn!(
                            worker = number,
                            bytes = slot.memory_bytes,
                            "the worker uses too much memory; it is replaced"
                        );
                        slot.memory_bytes = 0;
                        process.tell(ToWorker::Exit);
                    }
                }
                None => {}
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        let now = self.now();
        let Some(slot) = self.slots.get_mut(heard.slot).filter(|slot| slot.generation == heard.generation) else {
            return;
        };
        match heard.what {
            What::Printed(line) => {
                let line = self.channels.values().fold(line, |line, channel| channel.settings.source.scrub(&line));
                tracing::warn!(worker = heard.slot, "{line}");
            }
            What::Gone(why) => {
                let lived = now.elapsed - slot.started_at;
                slot.failures = if lived >= STEADY_WORKER { 0 } else { slot.failures + 1 };
                let wait = if slot.failures <= 1 { 0 } else { (500 << slot.failures.min(10)).min(LONGEST_RESTART) };
                slot.restart_at = now.elapsed + wait;
                (slot.process, slot.ready) = (None, false);
                slot.restarts += 1;
                slot.last_end = Some(why.clone());
                tracing::error!(worker = heard.slot, why, "a worker ended");
                self.worker_is(heard.slot, false);
            }
            What::Said(message) => {
                slot.heard_at = now.elapsed;
                self.said(heard.slot, message, now);
            }
        }
    }

    fn worker_is(&mut self, slot: usize, there: bool) {
        let ids: Vec<_> =
            self.channels.iter().filter(|(_, channel)| channel.slot == slot).map(|(id, _)| id.clone()).collect();
        ids.iter().for_each(|id| self.event(id, Event::Worker(there)));
    }

    fn said(&mut self, slot: usize, message: FromWorker, now: Now) {
        match message {
            FromWorker::Ready { gstreamer } => {
                tracing::info!(worker = slot, gstreamer, "a worker is ready");
                self.slots[slot].ready = true;
                self.worker_is(slot, true);
            }
            FromWorker::Beat { memory_bytes } => self.slots[slot].memory_bytes = memory_bytes,
            FromWorker::Look { channel, run, look } => {
                self.with(&channel, |watched| watched.looked(now, run, look, chance()));
            }
            FromWorker::Alert { channel, run, alert } => self.with(&channel, |watched| watched.alert(now, run, &alert)),
            FromWorker::Failed { channel, run, reason, look } => {
                tracing::warn!(%channel, reason, "the source broke");
                self.with(&channel, |watched| watched.over(now, run, look, Some(reason), chance()));
            }
            FromWorker::Ended { channel, run, look } => {
                self.with(&channel, |watched| watched.over(now, run, look, None, chance()));
            }
            FromWorker::Clip { channel, incident, part, news } => {
                self.with(&channel, |watched| watched.clip(now, incident, part, news));
            }
            FromWorker::Closed { channel, run } => self.event(&channel, Event::Closed { run }),
            FromWorker::Still { channel, run, jpeg } => {
                let Some(watched) = self.channels.get_mut(&channel).filter(|watched| watched.run() == run) else {
                    return;
                };
                if let Some(incident) = watched.picture_for.take() {
                    self.pending.add(Record::Thumbnail { incident, at: now.utc, jpeg: jpeg.0.clone() });
                }
                self.shared.set_still(&channel, Some(Still { at: now.utc, jpeg: jpeg.0 }));
            }
        }
    }

    fn with(&mut self, id: &str, act: impl FnOnce(&mut Watched) -> Outcome) {
        if let Some(channel) = self.channels.get_mut(id) {
            let outcome = act(channel);
            self.follow(id, outcome);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Pause { channel, paused, done } => {
                let found = self.channels.get_mut(&channel).map(|watched| watched.paused = paused).is_some();
                done.send(found).ok();
            }
            Command::Reload { done } => {
                let loaded = self.reload();
                if let Err(error) = &loaded {
                    tracing::error!("the configuration is wrong; the one before holds\n{error}");
                }
                self.config_trouble = loaded.as_ref().err().cloned();
                self.show();
                done.send(loaded).ok();
            }
        }
    }

    /// Takes over what changed in the configuration, and nothing if anything is wrong with it.
    fn reload(&mut self) -> Result<(), String> {
        let new = config::load(&self.places.config_file).map_err(|errors| errors.to_string())?;
        let old = self.settings();
        if (&old.server, &old.directory) != (&new.server, &new.directory) {
            tracing::warn!("[server] and [store] changed; that holds after the next start");
        }
        let touched = old.touched(&new);
        self.config.send_replace(Arc::new(new));
        let new = self.settings();
        let sinks = self.sinks();
        self.channels.values_mut().for_each(|channel| channel.set_sinks(&sinks));
        for id in &touched {
            let now = self.now();
            match (self.channels.contains_key(id), new.channels.get(id)) {
                (true, None) => self.remove(id, now),
                (true, Some(settings)) => {
                    let settings = settings.clone();
                    self.with(id, |channel| channel.change(settings, now));
                }
                (false, Some(settings)) => self.add(id, settings.clone()).map_err(|error| error.to_string())?,
                (false, None) => {}
            }
        }
        tracing::info!(touched = touched.len(), channels = new.channels.len(), "the configuration was loaded");
        Ok(())
    }

    fn remove(&mut self, id: &str, now: Now) {
        let Some(mut channel) = self.channels.remove(id) else { return };
        let records = channel.finish(now, Some("the channel was removed"));
        records.into_iter().for_each(|record| self.log_and_add(record));
        self.tell(channel.slot, ToWorker::Close { channel: id.into(), run: channel.run() });
        self.shared.set_still(id, None);
    }

    fn show(&mut self) {
        let now = self.now();
        let channels: Vec<_> = self.channels.values().map(|channel| channel.view(now)).collect();
        let count = |number| self.channels.values().filter(|channel| channel.slot == number).count();
        let workers = self.slots.iter().enumerate().map(|(number, slot)| WorkerView {
            number,
            ready: slot.ready,
            process: slot.process.as_ref().and_then(|process| process.id),
            memory_bytes: slot.memory_bytes,
            restarts: slot.restarts,
            last_end: slot.last_end.clone(),
            channels: count(number),
        });
        let view = View {
            at: now.utc,
            started: self.started,
            channels,
            workers: workers.collect(),
            recording_trouble: self.recorder.trouble(),
            clip_trouble: self.no_room(),
            free_bytes: self.free_bytes,
            scores_lost: self.pending.scores_lost,
            config_trouble: self.config_trouble.clone(),
            clock_steps: self.clock.steps(),
        };
        self.shared.set_view(view);
    }

    fn tell_systemd(&self) {
        let view = self.shared.view();
        let running =
            view.channels.iter().filter(|channel| channel.state == crate::channel::machine::State::Running).count();
        let status = format!("{running} of {} channels are watched", view.channels.len());
        let mut news = vec![sd_notify::NotifyState::Watchdog, sd_notify::NotifyState::Status(&status)];
        if self.ticks == 4 {
            news.push(sd_notify::NotifyState::Ready);
        }
        // Without systemd there is nobody to tell.
        sd_notify::notify(&news).ok();
    }

    fn retain(&self, config: &Config, now: i64, need: u64) {
        let (store, policy, folder) = (self.store.clone(), config.retention.clone(), config.evidence());
        tokio::task::spawn_blocking(move || {
            let inventory = store.inventory();
            let deleted = inventory
                .and_then(|inventory| store.delete(&retention::plan(&policy, &inventory, now, need), now))
                .map(|incidents| evidence::remove(&folder, &incidents));
            if let Err(error) = deleted {
                tracing::error!(%error, "retention failed");
            }
        });
    }

    async fn end(mut self) {
        let now = self.now();
        let records: Vec<_> = self.channels.values_mut().flat_map(|channel| channel.finish(now, None)).collect();
        records.into_iter().for_each(|record| self.pending.add(record));
        for process in self.slots.iter().filter_map(|slot| slot.process.as_ref()) {
            process.tell(ToWorker::Exit);
        }
        let ended = async {
            while self.slots.iter().any(|slot| slot.process.is_some()) {
                let Some(heard) = self.heard.1.recv().await else { return };
                match heard.what {
                    What::Gone(_) => {
                        if let Some(slot) = self.slots.get_mut(heard.slot) {
                            slot.process = None;
                        }
                    }
                    What::Said(message @ FromWorker::Clip { .. }) => {
                        let now = self.now();
                        self.said(heard.slot, message, now);
                    }
                    _ => {}
                }
            }
        };
        if tokio::time::timeout(END_LIMIT, ended).await.is_err() {
            tracing::warn!("a worker does not end; it is killed");
        }
        // What is over by now is sealed now; anything else when the program starts again.
        let config = self.settings();
        for (_, clip) in std::mem::take(&mut self.to_seal) {
            let (about, store, folder) = (self.about(&clip.channel), self.store.clone(), config.evidence());
            let seal = move || evidence::seal(&*store, &folder, &about, clip, now.utc);
            if let Ok(clip) = tokio::task::spawn_blocking(seal).await {
                self.pending.add(Record::Clip(clip));
            }
        }
        let Self { recorder, mut pending, .. } = self;
        tokio::task::spawn_blocking(move || recorder.finish(&mut pending)).await.ok();
    }
}

/// A number from 0 to 1, another each time.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}
