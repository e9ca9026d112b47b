//! A channel as the supervisor holds it: its machine, ledger and incidents, fed with what its
//! worker says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::channel::clip::{self, Clips};
use crate::channel::incident::{Alert, Change, Changed, Incident, Incidents, Kind as IncidentKind, Rules};
use crate::channel::ledger::{self, Activity, Ledger};
use crate::channel::liveness::Signs;
use crate::channel::machine::{Action, Event, Limits, Machine};
use crate::config::{AlertKind, Channel};
use crate::protocol::{Feed, Look};
use crate::store::Record;

use super::view::ChannelView;

/// Longest wait for the first picture of a source; HLS may take some segments until then.
const CONNECT_TIMEOUT: i64 = 20_000;
/// Seconds of score that are shown on the wall.
const RECENT: usize = 60;

/// What time it is, in both ways.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds of a clock that only advances.
    pub elapsed: i64,
    /// Milliseconds since 1970.
    pub utc: i64,
}

/// What follows from something that happened to a channel.
#[derive(Debug, Default)]
pub struct Outcome {
    pub action: Option<Action>,
    pub records: Vec<Record>,
    pub clips: Vec<clip::Order>,
}

pub struct Watched {
    id: String,
    pub settings: Channel,
    pub slot: usize,
    /// Somebody paused it.
    pub paused: bool,
    machine: Machine,
    ledger: Ledger,
    incidents: Incidents,
    pub clips: Clips,
    sinks: Vec<String>,
    /// The newest look of the source that is open.
    look: Option<Look>,
    last_picture: Option<i64>,
    first_run: u64,
    recent: VecDeque<(i64, f64)>,
    rate: VecDeque<(i64, u64)>,
    analysed: u64,
    covered: [i64; ledger::Kind::ALL.len()],
    counted_to: i64,
    /// The incident that waits for a picture.
    pub picture_for: Option<String>,
}

pub fn limits(settings: &Channel) -> Limits {
    Limits {
        stalled_after: settings.stalled_after.milliseconds(),
        frozen_after: settings.frozen_after.milliseconds(),
        black_after: settings.black_after.milliseconds(),
        connect_timeout: CONNECT_TIMEOUT,
    }
}

fn rules(settings: &Channel) -> Rules {
    Rules { keep_for: settings.keep_for.milliseconds(), down_after: settings.down_after.milliseconds() }
}

fn clip_rules(settings: &Channel) -> clip::Rules {
    clip::Rules {
        enabled: settings.clips,
        pre_roll: settings.pre_roll.milliseconds(),
        post_roll: settings.post_roll.milliseconds(),
        longest: settings.longest_clip.milliseconds(),
    }
}

impl Watched {
    pub fn new(
        id: &str,
        settings: Channel,
        slot: usize,
        ledger_end: Option<i64>,
        open: Vec<Incident>,
        now: Now,
    ) -> Self {
        // Openings are numbered on from any earlier start of the program.
        let first_run = u64::try_from(now.utc).unwrap_or(0);
        Self {
            id: id.into(),
            slot,
            paused: false,
            machine: Machine::new(limits(&settings), now.elapsed, first_run),
            ledger: Ledger::new(ledger_end, now.utc),
            incidents: Incidents::new(id, rules(&settings), open),
            clips: Clips::new(clip_rules(&settings)),
            sinks: Vec::new(),
            settings,
            look: None,
            last_picture: None,
            first_run,
            recent: VecDeque::new(),
            rate: VecDeque::new(),
            analysed: 0,
            covered: [0; ledger::Kind::ALL.len()],
            counted_to: now.utc,
            picture_for: None,
        }
    }

    pub fn set_sinks(&mut self, sinks: &BTreeSet<String>) {
        self.sinks = sinks.iter().cloned().collect();
    }

    pub fn run(&self) -> u64 {
        self.machine.run()
    }

    pub fn feed(&self) -> Feed {
        Feed::from(&self.settings)
    }

    /// New settings. The source is opened anew only if it must be.
    pub fn change(&mut self, settings: Channel, now: Now) -> Outcome {
        let same = self.settings.same_pipeline(&settings);
        self.settings = settings;
        self.machine.set_limits(limits(&self.settings));
        self.incidents.set_rules(rules(&self.settings));
        self.clips.set_rules(clip_rules(&self.settings));
        let action = if same { None } else { self.machine.reopen(now.elapsed) };
        self.after(now, action, Vec::new())
    }

    /// Something happened that only the machine has to know.
    pub fn event(&mut self, now: Now, event: Event, chance: f64) -> Outcome {
        let lost = matches!(event, Event::Worker(false));
        let before = self.machine.state();
        let action = self.machine.handle(now.elapsed, event, chance);
        if lost {
            self.source_gone(now);
        }
        let mut records = Vec::new();
        if self.machine.state() != before {
            records = self.cover(now, None);
        }
        if lost && let Some(clip) = self.clips.lost(now.utc, "the end: the worker that wrote it ended") {
            records.push(Record::Clip(clip));
        }
        self.after(now, action, records)
    }

    /// The worker looked at the source.
    pub fn looked(&mut self, now: Now, run: u64, look: Look, chance: f64) -> Outcome {
        if run != self.machine.run() {
            return Outcome::default();
        }
        let event = Event::Signs { run, signs: look.signs };
        let action = self.machine.handle(now.elapsed, event, chance);
        let records = self.take(now, run, look);
        self.after(now, action, records)
    }

    /// The source broke or ended; this is what was seen of it last.
    pub fn over(&mut self, now: Now, run: u64, look: Look, why: Option<String>, chance: f64) -> Outcome {
        if run != self.machine.run() {
            return Outcome::default();
        }
        let event = match why {
            Some(reason) => Event::Failed { run, reason },
            None => Event::Ended { run },
        };
        // What was still running up to the last picture is counted before the state changes.
        let mut records = self.take(now, run, look);
        let action = self.machine.handle(now.elapsed, event, chance);
        records.extend(self.cover(now, None));
        self.after(now, action, records)
    }

    pub fn alert(&mut self, now: Now, run: u64, alert: &Alert) -> Outcome {
        let wanted = self.settings.alerts.iter().any(|kind| match kind {
            AlertKind::Sustained => alert.kind == "sustained",
            AlertKind::Spike => alert.kind == "spike",
        });
        if run != self.machine.run() || !wanted {
            return Outcome::default();
        }
        let changed = self.incidents.alert(now.utc, run, alert);
        let records = self.incident_records(now, changed);
        self.after(now, None, records)
    }

    /// Time went on.
    pub fn tick(&mut self, now: Now, wanted: bool, chance: f64) -> Outcome {
        let mut outcome = self.event(now, Event::Wanted(wanted), chance);
        if outcome.action.is_none() {
            let ticked = self.event(now, Event::Tick, chance);
            outcome.action = ticked.action;
            outcome.records.extend(ticked.records);
            outcome.clips.extend(ticked.clips);
        }
        // While a source is open, its worker's looks say what counts.
        if self.look.is_none() {
            let records = self.cover(now, None);
            outcome.records.extend(records);
        }
        let (state, reason) = (self.machine.state(), self.machine.reason().map(str::to_owned));
        let changed = self.incidents.tick(now.utc, state, reason.as_deref());
        let records = self.incident_records(now, changed);
        outcome.records.extend(records);
        outcome.clips.extend(self.clip_order(now));
        outcome
    }

    /// The worker said something of a clip.
    pub fn clip(&mut self, now: Now, incident: uuid::Uuid, part: u32, news: clip::News) -> Outcome {
        let records = self.clips.heard(now.utc, incident, part, news).map(Record::Clip);
        self.after(now, None, records.into_iter().collect())
    }

    fn clip_order(&mut self, now: Now) -> Option<clip::Order> {
        let pictures = self.look.as_ref().is_some_and(|look| look.signs.buffers > 0);
        self.clips.step(now.utc, pictures.then(|| self.machine.run()), self.incidents.fake())
    }

    /// The channel is no longer in the configuration, or the program ends.
    pub fn finish(&mut self, now: Now, reason: Option<&str>) -> Vec<Record> {
        let mut records = self.cover(now, None);
        if let Some(reason) = reason {
            let changed = self.incidents.close(now.utc, reason);
            records.extend(self.incident_records(now, changed));
            records.extend(self.clips.lost(now.utc, &format!("the end: {reason}")).map(Record::Clip));
        }
        records
    }

    /// The system's clock was set: the time in between never was.
    pub fn clock_was_set(&mut self, now: Now) -> Vec<Record> {
        let spans = self.ledger.note(now.utc, ledger::Kind::NotJudgeable, Some("the system's clock was set"));
        self.spans(spans)
    }

    fn take(&mut self, now: Now, run: u64, look: Look) -> Vec<Record> {
        let mut records = self.cover(now, Some(&look));
        if look.signs.buffers > 0 {
            self.last_picture = Some(now.utc - look.signs.since_buffer);
        }
        self.analysed += look.activity.analysed;
        self.rate.push_back((now.elapsed, look.activity.analysed));
        while self.rate.front().is_some_and(|(at, _)| now.elapsed - at > 5000) {
            self.rate.pop_front();
        }
        let second = now.utc.div_euclid(1000);
        if let Some(score) = look.scores.iter().map(|(_, score)| *score).reduce(f64::max) {
            records.push(Record::Score { channel: self.id.clone(), second, score });
            match self.recent.back_mut() {
                Some((of, highest)) if *of == second => *highest = highest.max(score),
                _ => self.recent.push_back((second, score)),
            }
        }
        while self.recent.front().is_some_and(|(of, _)| second - of >= RECENT as i64) {
            self.recent.pop_front();
        }
        for (track_id, score) in &look.scores {
            let changed = self.incidents.score(now.utc, run, *track_id, *score);
            records.extend(self.incident_records(now, changed));
        }
        self.look = Some(look);
        records
    }

    /// Writes the time since the last call into the ledger.
    fn cover(&mut self, now: Now, look: Option<&Look>) -> Vec<Record> {
        let (signs, activity): (Option<Signs>, Activity) = match look {
            Some(look) => (Some(look.signs), look.activity.clone()),
            None => (None, Activity::default()),
        };
        let (state, reason) = (self.machine.state(), self.machine.reason().map(str::to_owned));
        let limits = limits(&self.settings);
        let spans = self.ledger.watch(now.utc, state, reason.as_deref(), signs.as_ref(), &limits, &activity);
        self.spans(spans)
    }

    fn spans(&mut self, spans: Vec<ledger::Span>) -> Vec<Record> {
        for span in &spans {
            self.covered[span.kind as usize] += (span.end - span.start.max(self.counted_to)).max(0);
            self.counted_to = self.counted_to.max(span.end);
        }
        spans.into_iter().map(|span| Record::Coverage { channel: self.id.clone(), span }).collect()
    }

    fn incident_records(&mut self, now: Now, changed: Vec<Changed>) -> Vec<Record> {
        let records = changed.into_iter().map(|(incident, change)| {
            if incident.kind == IncidentKind::Fake && change != Change::Closed {
                self.picture_for = Some(incident.id.to_string());
            }
            Record::Incident { incident, change, at: now.utc, sinks: self.sinks.clone() }
        });
        records.collect()
    }

    fn after(&mut self, now: Now, action: Option<Action>, records: Vec<Record>) -> Outcome {
        if matches!(action, Some(Action::Close { .. })) {
            self.source_gone(now);
        }
        Outcome { action, records, clips: self.clip_order(now).into_iter().collect() }
    }

    fn source_gone(&mut self, now: Now) {
        self.look = None;
        self.rate.clear();
        self.incidents.run_over(now.utc);
    }

    pub fn view(&self, now: Now) -> ChannelView {
        let at = |elapsed: i64| now.utc - now.elapsed + elapsed;
        let current = self.ledger.current();
        let second = now.utc.div_euclid(1000);
        let mut recent = vec![None; RECENT];
        for (of, score) in &self.recent {
            if let Some(place) = usize::try_from(second - of).ok().and_then(|age| (RECENT - 1).checked_sub(age)) {
                recent[place] = Some(*score);
            }
        }
        let look = self.look.as_ref();
        let span = self.rate.front().map_or(0, |(first, _)| now.elapsed - first);
        let analyses: u64 = self.rate.iter().map(|(_, analyses)| analyses).sum();
        let incidents = self.incidents.open();
        ChannelView {
            id: self.id.clone(),
            title: self.settings.title.clone(),
            source: self.settings.source.to_string(),
            labels: self.settings.labels.clone(),
            state: self.machine.state(),
            since: at(self.machine.since()),
            reason: self.machine.reason().map(str::to_owned),
            tries: self.machine.tries(),
            retry_at: self.machine.retry_at().map(at),
            openings: self.machine.run() - self.first_run,
            coverage: current.map_or(ledger::Kind::Paused, |span| span.kind),
            coverage_reason: current.and_then(|span| span.reason.clone()),
            score: self.recent.back().filter(|(of, _)| second - of <= 3).map(|(_, score)| *score),
            recent,
            faces: look.map_or(0, |look| look.scores.len() as u32),
            model: look.and_then(|look| look.model.clone()),
            device: look.and_then(|look| look.device.clone()),
            size: look.and_then(|look| look.size),
            rate: if span >= 1000 { analyses as f64 * 1000.0 / span as f64 } else { 0.0 },
            worker: Some(self.slot),
            recording: self.clips.current().is_some(),
            incidents: incidents
                .map(|open| (open.kind.as_str().to_owned(), open.id.to_string()))
                .collect::<BTreeMap<_, _>>(),
            covered: self.covered,
            analysed: self.analysed,
            last_picture: self.last_picture,
            paused: self.paused,
        }
    }
}
