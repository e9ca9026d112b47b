//! Alerts and outages of a channel, made into incidents: one open at a time of each kind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::machine::State;

/// What an incident is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = IncidentKind)]
pub enum Kind {
    /// A face looked fake.
    Fake,
    /// The channel could not be watched.
    Down,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fake => "fake",
            Self::Down => "down",
        }
    }
}

/// Something that somebody should look at, from its first sign to its last. Times are milliseconds
/// since 1970 (UTC).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Incident {
    pub id: Uuid,
    /// Counts the events of this incident, so that a receiver can put them in order and drop
    /// repeats.
    pub seq: u64,
    pub channel: String,
    pub kind: Kind,
    pub opened: i64,
    /// The last moment at which there was an alert, or the channel was down.
    pub last_active: i64,
    pub closed: Option<i64>,
    /// Why it was closed, where it did not just end.
    pub reason: Option<String>,
    /// Highest score; `None` for an outage.
    pub peak: Option<f64>,
    /// When the highest score was reached.
    pub peak_at: Option<i64>,
    /// Alerts that belong to it.
    pub alerts: u64,
    /// How often it went quiet and came back within `keep-for`.
    pub flaps: u64,
    /// Model package of the newest alert.
    pub model: Option<String>,
    pub faces: Vec<Face>,
}

/// What an incident knows of one face.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Face {
    /// The opening of the source, and the face's number in it.
    pub run: u64,
    pub track_id: u32,
    pub first: i64,
    pub last: i64,
    pub peak: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Opened,
    Updated,
    Closed,
}

impl Change {
    /// The type of the event, as receivers see it.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Opened => "incident.opened",
            Self::Updated => "incident.updated",
            Self::Closed => "incident.closed",
        }
    }
}

/// What a detector says of a face; see `deepfake-alert`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// `raised`, `updated` or `cleared`.
    pub action: String,
    /// `sustained` or `spike`.
    pub kind: String,
    pub track_id: u32,
    /// The highest score so far, or the score now, where it is known.
    pub score: Option<f64>,
    pub model: Option<String>,
}

/// Rules of one channel, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub keep_for: i64,
    pub down_after: i64,
}

/// A score must rise by so much, so long after the last message, for another message.
const NOTABLE_RISE: f64 = 0.05;
const QUIET: i64 = 5000;
/// A channel must run so long for its outage to be over.
const STEADY: i64 = 3000;

/// The open incidents of one channel.
#[derive(Debug)]
pub struct Incidents {
    channel: String,
    rules: Rules,
    fake: Option<Open>,
    down: Option<Open>,
    /// Alerts that are raised now, by opening, face and kind.
    raised: BTreeMap<(u64, u32, String), f64>,
    unfit_since: Option<i64>,
    fit_since: Option<i64>,
}

#[derive(Debug)]
struct Open {
    incident: Incident,
    told_peak: f64,
    told_at: i64,
    quiet: bool,
}

/// An incident and what became of it.
pub type Changed = (Incident, Change);

impl Incidents {
    /// With the incidents that were open when the monitor ran last.
    pub fn new(channel: &str, rules: Rules, open: Vec<Incident>) -> Self {
        let mut incidents = Self {
            channel: channel.into(),
            rules,
            fake: None,
            down: None,
            raised: BTreeMap::new(),
            unfit_since: None,
            fit_since: None,
        };
        for incident in open {
            let place = match incident.kind {
                Kind::Fake => &mut incidents.fake,
                Kind::Down => &mut incidents.down,
            };
            let (told_peak, told_at) = (incident.peak.unwrap_or(0.0), incident.last_active);
            *place = Some(Open { incident, told_peak, told_at, quiet: true });
        }
        incidents
    }

    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The incidents that are open now.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        [&self.fake, &self.down].into_iter().flatten().map(|open| &open.incident)
    }

    /// The open incident of a face that looked fake, and whether an alert of it is raised now.
    pub fn fake(&self) -> Option<(&Incident, bool)> {
        self.fake.as_ref().map(|open| (&open.incident, !self.raised.is_empty()))
    }

    /// A detector said something at `now`, in the `run`th opening of the source.
    pub fn alert(&mut self, now: i64, run: u64, alert: &Alert) -> Vec<Changed> {
        let key = (run, alert.track_id, alert.kind.clone());
        let score = alert.score.unwrap_or(0.0);
        if alert.action == "cleared" {
            if self.raised.remove(&key).is_some()
                && let Some(open) = &mut self.fake
            {
                open.seen(now, run, alert.track_id, score);
                open.quiet = self.raised.is_empty();
            }
            return Vec::new();
        }
        let new = self.raised.insert(key, score).is_none();
        let mut changed = Vec::new();
        if self.fake.as_ref().is_some_and(|open| open.is_over(now, self.rules.keep_for)) {
            changed.extend(self.close_fake(None));
        }
        let fresh = self.fake.is_none();
        let open = self.fake.get_or_insert_with(|| Open::new(&self.channel, Kind::Fake, now));
        let incident = &mut open.incident;
        let came_back = !fresh && std::mem::replace(&mut open.quiet, false);
        let new_face = !incident.faces.iter().any(|face| (face.run, face.track_id) == (run, alert.track_id));
        incident.alerts += u64::from(new);
        incident.flaps += u64::from(came_back);
        incident.model = alert.model.clone().or(incident.model.take());
        open.quiet = false;
        open.seen(now, run, alert.track_id, score);
        if fresh {
            changed.push(open.tell(now, Change::Opened));
        } else if came_back || new_face || open.rose(now) {
            changed.push(open.tell(now, Change::Updated));
        }
        changed
    }

    /// The score of a face whose alert is raised.
    pub fn score(&mut self, now: i64, run: u64, track_id: u32, score: f64) -> Vec<Changed> {
        let raised = self.raised.keys().any(|(of, face, _)| (*of, *face) == (run, track_id));
        let Some(open) = self.fake.as_mut().filter(|_| raised) else { return Vec::new() };
        open.seen(now, run, track_id, score);
        if open.rose(now) { vec![open.tell(now, Change::Updated)] } else { Vec::new() }
    }

    /// The source was closed: its faces are gone, and nobody will clear their alerts.
    pub fn run_over(&mut self, now: i64) {
        if !self.raised.is_empty() {
            self.raised.clear();
            if let Some(open) = &mut self.fake {
                open.incident.last_active = now;
                open.quiet = true;
            }
        }
    }

    /// Time went on, with the channel in this state.
    pub fn tick(&mut self, now: i64, state: State, reason: Option<&str>) -> Vec<Changed> {
        let mut changed = Vec::new();
        if !self.raised.is_empty()
            && let Some(open) = &mut self.fake
        {
            open.incident.last_active = now;
        }
        if self.fake.as_ref().is_some_and(|open| open.is_over(now, self.rules.keep_for)) {
            changed.extend(self.close_fake(None));
        }
        let unfit = !matches!(state, State::Running | State::Paused);
        if unfit {
            self.fit_since = None;
            let since = *self.unfit_since.get_or_insert(now);
            if let Some(open) = &mut self.down {
                open.incident.last_active = now;
            } else if now - since >= self.rules.down_after {
                let mut open = Open::new(&self.channel, Kind::Down, since);
                let words = match reason {
                    Some(reason) => format!("{}: {reason}", state.as_str()),
                    None => state.as_str().into(),
                };
                open.incident.reason = Some(words);
                open.incident.last_active = now;
                changed.push(open.tell(now, Change::Opened));
                self.down = Some(open);
            }
        } else {
            let since = *self.fit_since.get_or_insert(now);
            if now - since >= STEADY {
                self.unfit_since = None;
                if let Some(mut open) = self.down.take() {
                    open.incident.last_active = since;
                    open.incident.closed = Some(since);
                    changed.push(open.tell(now, Change::Closed));
                }
            }
        }
        changed
    }

    /// The channel is no longer watched: nothing stays open.
    pub fn close(&mut self, now: i64, reason: &str) -> Vec<Changed> {
        self.raised.clear();
        let mut changed: Vec<_> = self.close_fake(Some(reason)).into_iter().collect();
        if let Some(mut open) = self.down.take() {
            open.incident.closed = Some(now);
            open.incident.reason = Some(reason.into());
            changed.push(open.tell(now, Change::Closed));
        }
        changed
    }

    fn close_fake(&mut self, reason: Option<&str>) -> Option<Changed> {
        let mut open = self.fake.take()?;
        // It ended with its last sign; `keep-for` only waited whether another would come.
        let ended = open.incident.last_active;
        open.incident.closed = Some(ended);
        open.incident.reason = reason.map(Into::into);
        Some(open.tell(ended, Change::Closed))
    }
}

impl Open {
    fn new(channel: &str, kind: Kind, now: i64) -> Self {
        let incident = Incident {
            id: Uuid::now_v7(),
            seq: 0,
            channel: channel.into(),
            kind,
            opened: now,
            last_active: now,
            closed: None,
            reason: None,
            peak: None,
            peak_at: None,
            alerts: 0,
            flaps: 0,
            model: None,
            faces: Vec::new(),
        };
        Self { incident, told_peak: 0.0, told_at: now, quiet: false }
    }

    fn seen(&mut self, now: i64, run: u64, track_id: u32, score: f64) {
        let incident = &mut self.incident;
        incident.last_active = incident.last_active.max(now);
        if incident.peak.is_none_or(|peak| score > peak) {
            (incident.peak, incident.peak_at) = (Some(score), Some(now));
        }
        match incident.faces.iter_mut().find(|face| (face.run, face.track_id) == (run, track_id)) {
            Some(face) => {
                face.last = now;
                face.peak = face.peak.max(score);
            }
            None => incident.faces.push(Face { run, track_id, first: now, last: now, peak: score }),
        }
    }

    fn rose(&self, now: i64) -> bool {
        self.incident.peak.is_some_and(|peak| peak >= self.told_peak + NOTABLE_RISE) && now - self.told_at >= QUIET
    }

    fn is_over(&self, now: i64, keep_for: i64) -> bool {
        self.quiet && now - self.incident.last_active >= keep_for
    }

    fn tell(&mut self, now: i64, change: Change) -> Changed {
        self.incident.seq += 1;
        self.told_peak = self.incident.peak.unwrap_or(0.0);
        self.told_at = now;
        (self.incident.clone(), change)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { keep_for: 30_000, down_after: 15_000 };

    fn incidents() -> Incidents {
        Incidents::new("studio", RULES, Vec::new())
    }

    fn alert(action: &str, track_id: u32, score: f64) -> Alert {
        Alert { action: action.into(), kind: "sustained".into(), track_id, score: Some(score), model: None }
    }

    fn changes(changed: &[Changed]) -> Vec<(Change, u64)> {
        changed.iter().map(|(incident, change)| (*change, incident.seq)).collect()
    }

    #[test]
    fn alerts_close_to_each_other_are_one_incident() {
        let mut book = incidents();
        assert_eq!(changes(&book.alert(1000, 1, &alert("raised", 1, 0.9))), [(Change::Opened, 1)]);
        assert_eq!(book.alert(4000, 1, &alert("cleared", 1, 0.9)), []);
        assert_eq!(book.tick(20_000, State::Running, None), []);
        let again = book.alert(25_000, 1, &alert("raised", 1, 0.91));
        assert_eq!((changes(&again), again[0].0.flaps), (vec![(Change::Updated, 2)], 1));
        let face = book.alert(26_000, 1, &alert("raised", 2, 0.95));
        assert_eq!((changes(&face), face[0].0.faces.len()), (vec![(Change::Updated, 3)], 2));
        book.alert(30_000, 1, &alert("cleared", 1, 0.9));
        assert_eq!(book.tick(100_000, State::Running, None), [], "the other face still looks fake");
        book.alert(101_000, 1, &alert("cleared", 2, 0.9));
        assert_eq!(book.tick(130_999, State::Running, None), []);
        let closed = book.tick(131_000, State::Running, None);
        assert_eq!(
            (changes(&closed), closed[0].0.closed, closed[0].0.peak),
            (vec![(Change::Closed, 4)], Some(101_000), Some(0.95))
        );
    }

    #[test]
    fn a_source_that_breaks_leaves_no_incident_open_for_ever() {
        let mut book = incidents();
        book.alert(1000, 1, &alert("raised", 1, 0.9));
        book.run_over(2000);
        let closed = book.tick(32_000, State::Running, None);
        assert_eq!((changes(&closed), closed[0].0.closed), (vec![(Change::Closed, 2)], Some(2000)));
    }

    #[test]
    fn an_outage_is_one_incident_from_its_first_moment() {
        let mut book = incidents();
        for at in 0..15 {
            assert_eq!(book.tick(at * 1000, State::Offline, Some("refused")), []);
        }
        let opened = book.tick(15_000, State::Connecting, Some("refused"));
        assert_eq!(
            (changes(&opened), opened[0].0.opened, opened[0].0.kind),
            (vec![(Change::Opened, 1)], 0, Kind::Down)
        );
        assert_eq!(book.tick(60_000, State::Running, None), []);
        assert_eq!(book.tick(61_000, State::Stalled, None), [], "it flaps: still the same outage");
        assert_eq!(book.tick(70_000, State::Running, None), []);
        let closed = book.tick(73_000, State::Running, None);
        assert_eq!((changes(&closed), closed[0].0.closed), (vec![(Change::Closed, 2)], Some(70_000)));
    }

    #[test]
    fn what_was_open_goes_on_after_a_restart() {
        let mut book = incidents();
        let (incident, _) = book.alert(1000, 1, &alert("raised", 1, 0.9)).remove(0);
        let mut book = Incidents::new("studio", RULES, vec![incident.clone()]);
        let again = book.alert(20_000, 1, &alert("raised", 1, 0.9)).remove(0);
        assert_eq!((again.0.id, again.1), (incident.id, Change::Updated));
        let mut book = Incidents::new("studio", RULES, vec![incident]);
        assert_eq!(
            changes(&book.alert(90_000, 1, &alert("raised", 1, 0.9))),
            [(Change::Closed, 2), (Change::Opened, 1)]
        );
    }

    proptest! {
        /// Whatever comes: at most one incident of a kind is open, each is opened once and closed
        /// once, its events are numbered without a gap, and in the end nothing stays open.
        #[test]
        fn every_incident_is_opened_once_and_closed_once(
            events in proptest::collection::vec((0i64..20_000, 0u8..6, 1u32..4, 0.0f64..1.0, 0usize..8), 0..200),
        ) {
            let (mut book, mut now, mut run) = (incidents(), 0, 1);
            let mut open: BTreeMap<Kind, Incident> = BTreeMap::new();
            let mut check = |changed: Vec<Changed>| {
                for (incident, change) in changed {
                    let before = open.remove(&incident.kind);
                    match change {
                        Change::Opened => assert!(before.is_none() && incident.seq == 1),
                        _ => {
                            let before = before.expect("nothing is updated that is not open");
                            assert_eq!((before.id, before.seq + 1), (incident.id, incident.seq));
                            assert!(incident.peak >= before.peak && incident.opened == before.opened);
                        }
                    }
                    assert_eq!(incident.closed.is_some(), change == Change::Closed);
                    if change != Change::Closed { open.insert(incident.kind, incident); }
                }
            };
            for (pause, kind, track, score, state) in events {
                now += pause;
                match kind {
                    0 => check(book.alert(now, run, &alert("raised", track, score))),
                    1 => check(book.alert(now, run, &alert("updated", track, score))),
                    2 => check(book.alert(now, run, &alert("cleared", track, score))),
                    3 => check(book.score(now, run, track, score)),
                    4 => { book.run_over(now); run += 1; }
                    _ => check(book.tick(now, State::ALL[state], None)),
                }
            }
            check(book.close(now, "removed"));
            prop_assert!(open.is_empty());
        }
    }
}
