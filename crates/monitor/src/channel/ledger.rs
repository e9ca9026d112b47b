//! The coverage ledger: each moment of a channel counts as exactly one thing.
//!
//! What cannot be said yet (is the picture frozen, or does nobody move?) waits until it can, so
//! that what was written stays true: a written span is only ever made longer.

use serde::{Deserialize, Serialize};

use super::liveness::{PAUSE, Signs};
use super::machine::{Limits, State};

/// What a moment counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = CoverageKind)]
pub enum Kind {
    /// A face was there and was judged.
    Analysed,
    /// Looked at; no face was there.
    NoFace,
    /// Faces were there, or may have been, and could not be judged; the reason says why.
    NotJudgeable,
    /// Pictures came faster than they could be analysed.
    Shed,
    Frozen,
    Black,
    Offline,
    WorkerLost,
    Paused,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Analysed,
        Self::NoFace,
        Self::NotJudgeable,
        Self::Shed,
        Self::Frozen,
        Self::Black,
        Self::Offline,
        Self::WorkerLost,
        Self::Paused,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Analysed => "analysed",
            Self::NoFace => "no-face",
            Self::NotJudgeable => "not-judgeable",
            Self::Shed => "shed",
            Self::Frozen => "frozen",
            Self::Black => "black",
            Self::Offline => "offline",
            Self::WorkerLost => "worker-lost",
            Self::Paused => "paused",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A stretch of time, in milliseconds since 1970 (UTC), that counts as one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = CoverageSpan)]
pub struct Span {
    pub start: i64,
    pub end: i64,
    pub kind: Kind,
    pub reason: Option<String>,
}

/// What is seen of a channel at one moment.
#[derive(Clone, Debug)]
struct Seen {
    kind: Kind,
    reason: Option<String>,
    /// It is so since then, although it shows only now.
    since: Option<i64>,
    /// From then on it may still turn out otherwise.
    doubt: Option<i64>,
}

/// The ledger of one channel.
#[derive(Debug)]
pub struct Ledger {
    /// The last span that is settled. It grows while the same goes on.
    last: Option<Span>,
    /// Up to where everything is settled.
    settled: i64,
    /// What is known after that, without gaps.
    pending: Vec<Span>,
    judged: Judged,
}

/// What the newest analyses found, for moments between two of them.
#[derive(Debug)]
struct Judged {
    at: i64,
    kind: Kind,
    reason: Option<String>,
}

/// What the analysis did since the last report of a worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Activity {
    /// Frames that were analysed.
    pub analysed: u64,
    /// Some face had a verdict.
    pub judged: bool,
    /// Most faces in one frame.
    pub faces: u32,
    /// Why faces without a verdict have none.
    pub reason: Option<String>,
    /// The model is being loaded, or could not be.
    pub trouble: Option<String>,
}

impl Ledger {
    /// Starts at `now`; or where it ended when the monitor ran last, with what lies between counted
    /// as lost.
    pub fn new(ended: Option<i64>, now: i64) -> Self {
        let start = ended.unwrap_or(now).min(now);
        let mut ledger = Self {
            last: None,
            settled: start,
            pending: Vec::new(),
            judged: Judged { at: start, kind: Kind::NotJudgeable, reason: Some("no analysis yet".into()) },
        };
        ledger.note(now, Kind::WorkerLost, Some("the monitor was not running"));
        ledger
    }

    /// Up to where the ledger says something.
    pub fn end(&self) -> i64 {
        self.pending.last().map_or(self.settled, |span| span.end)
    }

    /// What counts now.
    pub fn current(&self) -> Option<&Span> {
        self.pending.last().or(self.last.as_ref())
    }

    /// The time since the last call counts as `kind`. Returns the spans that are new or longer now.
    pub fn note(&mut self, now: i64, kind: Kind, reason: Option<&str>) -> Vec<Span> {
        self.see(now, Seen { kind, reason: reason.map(Into::into), since: None, doubt: None })
    }

    /// Takes in what a channel in `state` shows at `now`. `signs` is `None` where no source is
    /// open.
    pub fn watch(
        &mut self,
        now: i64,
        state: State,
        reason: Option<&str>,
        signs: Option<&Signs>,
        limits: &Limits,
        activity: &Activity,
    ) -> Vec<Span> {
        let seen = |kind, reason: Option<&str>| Seen { kind, reason: reason.map(Into::into), since: None, doubt: None };
        let lost = |since| Seen { since, ..seen(Kind::Offline, reason) };
        let last_buffer = signs.filter(|signs| signs.buffers > 0).map(|signs| now - signs.since_buffer);
        let signs = match (state, signs) {
            (State::Paused, _) => return self.see(now, seen(Kind::Paused, reason)),
            (State::WorkerLost, _) => return self.see(now, seen(Kind::WorkerLost, reason)),
            (State::Connecting | State::Offline | State::Stalled, _) | (_, None) => {
                return self.see(now, lost(last_buffer));
            }
            (State::Running | State::Frozen | State::Black, Some(signs)) => signs,
        };
        if signs.since_buffer >= PAUSE {
            return self.see(now, lost(last_buffer));
        }
        let mut changed = Vec::new();
        // What came to an end since the last look ended when the first new picture came, not just
        // now.
        let ended = match self.current().map(|span| span.kind) {
            Some(Kind::Offline | Kind::WorkerLost | Kind::Paused) => Some(now - signs.arriving_for),
            Some(Kind::Frozen) => Some(now - signs.changing_for),
            Some(Kind::Black) => Some(now - signs.lit_for),
            _ => None,
        };
        if let (Some(ended), Some(current)) = (ended.filter(|ended| *ended > self.end()), self.current().cloned()) {
            changed = self.note(ended.min(now), current.kind, current.reason.as_deref());
        }
        let found = self.found(now, activity);
        let black_since = (signs.black_for > 0).then(|| now - signs.black_for);
        let still_since = now - signs.since_change;
        let seen = if signs.black_for >= limits.black_after {
            Seen { since: black_since, ..seen(Kind::Black, None) }
        } else if signs.since_change >= limits.frozen_after {
            Seen { since: Some(still_since), ..seen(Kind::Frozen, None) }
        } else {
            // Nothing is sure after the last picture, the last change, and the first black.
            let doubt = (now - signs.since_buffer).min(still_since).min(black_since.unwrap_or(now));
            Seen { doubt: Some(doubt), ..found }
        };
        changed.extend(self.see(now, seen));
        changed
    }

    /// What the analysis says of a moment at which pictures arrive.
    fn found(&mut self, now: i64, activity: &Activity) -> Seen {
        let (kind, reason) = if activity.judged {
            (Kind::Analysed, None)
        } else if let Some(trouble) = &activity.trouble {
            (Kind::NotJudgeable, Some(trouble.clone()))
        } else if activity.analysed > 0 && activity.faces == 0 {
            (Kind::NoFace, None)
        } else if activity.analysed > 0 {
            (Kind::NotJudgeable, Some(activity.reason.clone().unwrap_or_else(|| "warming".into())))
        } else if now - self.judged.at < PAUSE {
            // Between two analyses the last one holds.
            (self.judged.kind, self.judged.reason.clone())
        } else {
            (Kind::Shed, None)
        };
        if activity.analysed > 0 || activity.trouble.is_some() {
            self.judged = Judged { at: now, kind, reason: reason.clone() };
        }
        Seen { kind, reason, since: None, doubt: None }
    }

    fn see(&mut self, now: i64, seen: Seen) -> Vec<Span> {
        // A clock that was set back is waited for: no moment counts twice.
        if now <= self.end() {
            return Vec::new();
        }
        let start = match seen.since {
            Some(since) => since.clamp(self.settled, self.end()),
            None => self.end(),
        };
        self.pending.retain(|span| span.start < start);
        if let Some(last) = self.pending.last_mut() {
            last.end = last.end.min(start);
        }
        append(&mut self.pending, Span { start, end: now, kind: seen.kind, reason: seen.reason });
        self.settle(seen.doubt.unwrap_or(now).min(now))
    }

    /// What lies before `limit` stays as it is.
    fn settle(&mut self, limit: i64) -> Vec<Span> {
        let mut changed = Vec::new();
        while let Some(first) = self.pending.first_mut().filter(|span| span.start < limit) {
            let span = Span { end: first.end.min(limit), ..first.clone() };
            if first.end <= limit {
                self.pending.remove(0);
            } else {
                first.start = limit;
            }
            self.settled = span.end;
            match &mut self.last {
                Some(last) if last.end == span.start && last.kind == span.kind && last.reason == span.reason => {
                    last.end = span.end;
                }
                last => *last = Some(span),
            }
            changed.extend(self.last.clone());
        }
        changed
    }
}

fn append(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.end == span.start && last.kind == span.kind && last.reason == span.reason => {
            last.end = span.end
        }
        _ => spans.push(span),
    }
}

/// Milliseconds of each kind within `from..to`, in the order of [`Kind::ALL`].
pub fn totals(spans: &[Span], from: i64, to: i64) -> [i64; Kind::ALL.len()] {
    let mut totals = [0; Kind::ALL.len()];
    for span in spans {
        totals[span.kind as usize] += (span.end.min(to) - span.start.max(from)).max(0);
    }
    totals
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::channel::liveness::{Liveness, Thumb};

    const LIMITS: Limits =
        Limits { stalled_after: 5000, frozen_after: 10_000, black_after: 10_000, connect_timeout: 15_000 };

    /// What is written, as the store keeps it: by start.
    type Written = BTreeMap<i64, Span>;

    fn write(written: &mut Written, spans: Vec<Span>) {
        for span in spans {
            if let Some(old) = written.get(&span.start) {
                assert!(old.end <= span.end && old.kind == span.kind, "{old:?} became {span:?}");
            }
            written.insert(span.start, span);
        }
    }

    #[test]
    fn time_without_the_monitor_is_on_record() {
        let mut ledger = Ledger::new(Some(1000), 5000);
        let spans = ledger.note(6000, Kind::Paused, None);
        assert_eq!((spans[0].start, spans[0].kind), (5000, Kind::Paused));
        assert_eq!(ledger.end(), 6000);
    }

    #[test]
    fn a_clock_that_is_set_back_counts_nothing_twice() {
        let mut ledger = Ledger::new(None, 1000);
        ledger.note(5000, Kind::NoFace, None);
        assert_eq!(ledger.note(3000, Kind::NoFace, None), []);
        let spans = ledger.note(6000, Kind::NoFace, None);
        assert_eq!((spans[0].start, spans[0].end), (1000, 6000));
    }

    #[test]
    fn totals_are_cut_at_the_edges() {
        let span = |start, end, kind| Span { start, end, kind, reason: None };
        let spans = [span(0, 100, Kind::Analysed), span(100, 300, Kind::Offline)];
        let totals = totals(&spans, 50, 200);
        assert_eq!(totals[Kind::Analysed as usize], 50);
        assert_eq!(totals[Kind::Offline as usize], 100);
        assert_eq!(totals.iter().sum::<i64>(), 150);
    }

    /// What a feed really does.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Truth {
        Face,
        Empty,
        Still,
        Black,
        Cut,
    }

    /// A second-by-second script of an hour, seen through a worker that looks each 250 ms.
    #[test]
    fn against_a_scripted_hour_the_ledger_errs_by_less_than_half_a_second() {
        let script = [
            (Truth::Face, 600_030),
            (Truth::Cut, 47_110),
            (Truth::Face, 400_250),
            (Truth::Still, 90_030),
            (Truth::Face, 300_020),
            (Truth::Empty, 500_000),
            (Truth::Black, 65_040),
            (Truth::Empty, 300_130),
            (Truth::Cut, 3_050),
            (Truth::Face, 700_000),
            (Truth::Cut, 120_000),
            (Truth::Empty, 474_340),
        ];
        assert_eq!(script.iter().map(|(_, length)| length).sum::<i64>(), 3_600_000);
        let truth = |at: i64| {
            let mut end = 0;
            script
                .iter()
                .find(|(_, length)| {
                    end += length;
                    at < end
                })
                .map_or(Truth::Empty, |(truth, _)| *truth)
        };
        let expected = |at| match truth(at) {
            Truth::Face => Kind::Analysed,
            Truth::Empty => Kind::NoFace,
            Truth::Still => Kind::Frozen,
            Truth::Black => Kind::Black,
            Truth::Cut => Kind::Offline,
        };

        let (mut ledger, mut written) = (Ledger::new(None, 0), Written::new());
        let mut liveness = Liveness::new(0);
        let (mut state, mut picture, mut activity) = (State::Running, 60u8, Activity::default());
        for at in 1..=3_601_000 {
            let now = truth(at - 1);
            if at % 40 == 0 && now != Truth::Cut {
                picture = match now {
                    Truth::Black => 16,
                    Truth::Still => picture,
                    _ => 60 + ((at / 40) % 2 * 20) as u8,
                };
                liveness.buffer(at, Some(at as u64), Some(Thumb([picture; Thumb::COLUMNS * Thumb::ROWS])));
                activity.analysed += 1;
                activity.judged |= now == Truth::Face;
            }
            if at % 250 == 0 {
                let signs = liveness.signs(at);
                state = if signs.since_buffer >= LIMITS.stalled_after {
                    State::Stalled
                } else if signs.black_for >= LIMITS.black_after {
                    State::Black
                } else if signs.since_change >= LIMITS.frozen_after {
                    State::Frozen
                } else {
                    State::Running
                };
                write(&mut written, ledger.watch(at, state, None, Some(&signs), &LIMITS, &activity));
                activity = Activity::default();
            }
        }
        assert_eq!(state, State::Running);
        let mut error = 0;
        for span in written.values() {
            error +=
                (span.start.min(3_600_000)..span.end.min(3_600_000)).filter(|at| expected(*at) != span.kind).count();
        }
        assert!(error < 500, "{error} ms");
        let spans: Vec<_> = written.into_values().collect();
        assert_eq!(totals(&spans, 0, 3_600_000).iter().sum::<i64>(), 3_600_000);
    }

    fn sign() -> impl Strategy<Value = Signs> {
        (0i64..30_000, 0i64..30_000, 0i64..30_000, 0i64..3000, 0u64..3).prop_map(
            |(buffer, change, black, resumed, buffers)| Signs {
                buffers,
                since_buffer: buffer % 7000,
                since_advance: buffer % 7000,
                since_change: change,
                black_for: black.saturating_sub(15_000).max(0),
                arriving_for: resumed,
                changing_for: resumed,
                lit_for: resumed,
            },
        )
    }

    proptest! {
        /// Whatever is seen: no gap, no overlap, written spans only grow, and all adds up to the
        /// time that passed.
        #[test]
        fn every_moment_counts_once(
            steps in proptest::collection::vec((-500i64..3000, 0usize..8, proptest::option::of(sign()), 0u64..3, any::<bool>()), 1..200),
        ) {
            let (mut ledger, mut written, mut now) = (Ledger::new(None, 1000), Written::new(), 1000);
            for (pause, state, signs, analysed, judged) in steps {
                now += pause;
                let activity = Activity { analysed, judged: judged && analysed > 0, faces: u32::from(judged), ..Activity::default() };
                let end = ledger.end();
                let spans = ledger.watch(now, State::ALL[state], None, signs.as_ref(), &LIMITS, &activity);
                write(&mut written, spans);
                prop_assert_eq!(ledger.end(), end.max(now));
            }
            write(&mut written, ledger.settle(i64::MAX));
            let end = ledger.end();
            let mut at = 1000;
            for span in written.values() {
                prop_assert_eq!(span.start, at);
                prop_assert!(span.end > span.start);
                at = span.end;
            }
            prop_assert_eq!(at, end);
            let spans: Vec<_> = written.into_values().collect();
            prop_assert_eq!(totals(&spans, i64::MIN / 2, i64::MAX / 2).iter().sum::<i64>(), end - 1000);
        }
    }
}
