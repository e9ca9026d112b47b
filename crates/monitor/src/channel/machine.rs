//! The states of a channel. The first connection and each later one go the same way; trying never
//! ends.

use serde::{Deserialize, Serialize};

use super::liveness::Signs;

/// What a channel is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ChannelState)]
pub enum State {
    /// The source is being opened; nothing came yet.
    Connecting,
    /// Pictures arrive and change.
    Running,
    /// Pictures arrive and are all the same.
    Frozen,
    /// Pictures arrive and are black.
    Black,
    /// Nothing new arrives although the connection stands; it is opened anew.
    Stalled,
    /// The source cannot be reached; it is tried again.
    Offline,
    /// Nobody wants the channel watched now.
    Paused,
    /// The process that watched the channel ended; another takes over.
    WorkerLost,
}

impl State {
    pub const ALL: [Self; 8] = [
        Self::Connecting,
        Self::Running,
        Self::Frozen,
        Self::Black,
        Self::Stalled,
        Self::Offline,
        Self::Paused,
        Self::WorkerLost,
    ];

    /// The word for it in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Running => "running",
            Self::Frozen => "frozen",
            Self::Black => "black",
            Self::Stalled => "stalled",
            Self::Offline => "offline",
            Self::Paused => "paused",
            Self::WorkerLost => "worker-lost",
        }
    }
}

/// What happened to a channel. `run` numbers the openings of its source: what an earlier one still
/// says is not heard.
#[derive(Clone, Debug)]
pub enum Event {
    /// The channel is to be watched, or not.
    Wanted(bool),
    /// There is a worker to watch with, or there is none any more.
    Worker(bool),
    /// The worker's signs of life of the source.
    Signs { run: u64, signs: Signs },
    /// The source cannot be opened, broke, or ended.
    Failed { run: u64, reason: String },
    /// A file that is played once is at its end.
    Ended { run: u64 },
    /// The worker has closed the source.
    Closed { run: u64 },
    /// Time went on.
    Tick,
}

/// What the worker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Open { run: u64 },
    Close { run: u64 },
}

/// Times in milliseconds after which a channel counts as something else.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub stalled_after: i64,
    pub frozen_after: i64,
    pub black_after: i64,
    /// Longest wait for the first picture.
    pub connect_timeout: i64,
}

/// The shortest and longest wait between two tries.
pub const FIRST_WAIT: i64 = 1000;
pub const LONGEST_WAIT: i64 = 60_000;
/// A wait is so much shorter or longer by chance, so that many feeds of one host do not come back
/// at the same moment.
pub const JITTER: f64 = 0.2;
/// A feed that ran so long starts again from the shortest wait.
const STEADY_AFTER: i64 = 10_000;

/// One channel. Times are milliseconds of a clock that only advances; `chance` is a number from 0
/// to 1 for each event.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    state: State,
    since: i64,
    reason: Option<String>,
    wanted: bool,
    worker: bool,
    ended: bool,
    run: u64,
    source: Source,
    /// Tries since the feed ran steadily.
    tries: u32,
    alive_since: Option<i64>,
}

/// What the worker holds of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Closed { retry_at: i64 },
    Open { since: i64 },
    Closing { retry_at: i64 },
}

impl Machine {
    /// `run` is the number after which openings are counted.
    pub fn new(limits: Limits, now: i64, run: u64) -> Self {
        Self {
            limits,
            state: State::Paused,
            since: now,
            reason: None,
            wanted: false,
            worker: false,
            ended: false,
            run,
            source: Source::Closed { retry_at: now },
            tries: 0,
            alive_since: None,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// When the state began.
    pub fn since(&self) -> i64 {
        self.since
    }

    /// Why the channel is not running, as far as it is known.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The number of the opening that counts now.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// When the source is tried again, while it is closed.
    pub fn retry_at(&self) -> Option<i64> {
        match self.source {
            Source::Closed { retry_at } | Source::Closing { retry_at } if self.wanted && !self.ended => Some(retry_at),
            _ => None,
        }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Closes the source and opens it anew at once, because its settings changed.
    pub fn reopen(&mut self, now: i64) -> Option<Action> {
        self.tries = 0;
        self.ended = false;
        match self.source {
            Source::Open { .. } => {
                self.enter(State::Connecting, now, None);
                self.close(now)
            }
            Source::Closing { .. } => {
                self.source = Source::Closing { retry_at: now };
                None
            }
            Source::Closed { .. } => {
                self.source = Source::Closed { retry_at: now };
                None
            }
        }
    }

    /// Takes in what happened; says what the worker is to do.
    pub fn handle(&mut self, now: i64, event: Event, chance: f64) -> Option<Action> {
        let action = match event {
            Event::Wanted(wanted) => self.want(now, wanted),
            Event::Worker(worker) => self.worker(now, worker),
            Event::Signs { run, signs } if self.is_open(run) => self.signs(now, signs, chance),
            Event::Failed { run, reason } if self.is_open(run) => {
                self.enter(State::Offline, now, Some(reason));
                let retry_at = now + self.wait(chance);
                self.close(retry_at)
            }
            Event::Ended { run } if self.is_open(run) => {
                self.ended = true;
                self.enter(State::Paused, now, Some("the file is at its end".into()));
                self.close(now)
            }
            Event::Closed { run } => {
                if let (Source::Closing { retry_at }, true) = (self.source, run == self.run) {
                    self.source = Source::Closed { retry_at };
                }
                None
            }
            Event::Signs { .. } | Event::Failed { .. } | Event::Ended { .. } | Event::Tick => None,
        };
        action.or_else(|| self.time_passed(now, chance))
    }

    fn is_open(&self, run: u64) -> bool {
        run == self.run && matches!(self.source, Source::Open { .. })
    }

    fn want(&mut self, now: i64, wanted: bool) -> Option<Action> {
        if wanted == self.wanted {
            return None;
        }
        self.wanted = wanted;
        self.ended = false;
        self.tries = 0;
        if wanted {
            let state = if self.worker { State::Connecting } else { State::WorkerLost };
            self.enter(state, now, None);
            match &mut self.source {
                Source::Closed { retry_at } | Source::Closing { retry_at } => *retry_at = now,
                Source::Open { .. } => {}
            }
            return None;
        }
        self.enter(State::Paused, now, None);
        if matches!(self.source, Source::Open { .. }) { self.close(now) } else { None }
    }

    fn worker(&mut self, now: i64, worker: bool) -> Option<Action> {
        if worker == self.worker {
            return None;
        }
        self.worker = worker;
        self.source = Source::Closed { retry_at: now };
        if self.wanted && !self.ended {
            let state = if worker { State::Connecting } else { State::WorkerLost };
            self.enter(state, now, None);
        }
        None
    }

    fn signs(&mut self, now: i64, signs: Signs, chance: f64) -> Option<Action> {
        if signs.buffers == 0 {
            return None;
        }
        if signs.since_buffer.max(signs.since_advance) >= self.limits.stalled_after {
            let what = if signs.since_buffer >= self.limits.stalled_after {
                "no pictures arrive although the connection stands"
            } else {
                "pictures arrive, but their time stands still"
            };
            self.enter(State::Stalled, now, Some(what.into()));
            let retry_at = now + self.wait(chance);
            return self.close(retry_at);
        }
        let alive_since = *self.alive_since.get_or_insert(now);
        if now - alive_since >= STEADY_AFTER {
            self.tries = 0;
        }
        let state = if signs.black_for >= self.limits.black_after {
            State::Black
        } else if signs.since_change >= self.limits.frozen_after {
            State::Frozen
        } else {
            State::Running
        };
        self.enter(state, now, None);
        None
    }

    fn time_passed(&mut self, now: i64, chance: f64) -> Option<Action> {
        if !self.wanted || !self.worker || self.ended {
            return None;
        }
        match self.source {
            Source::Closed { retry_at } if now >= retry_at => {
                self.run += 1;
                self.source = Source::Open { since: now };
                self.alive_since = None;
                // Between two tries of a lost feed it stays lost.
                if !matches!(self.state, State::Offline | State::Stalled) {
                    self.enter(State::Connecting, now, None);
                }
                Some(Action::Open { run: self.run })
            }
            Source::Open { since } if self.alive_since.is_none() && now - since >= self.limits.connect_timeout => {
                self.enter(State::Offline, now, Some("connected, but no picture came in time".into()));
                let retry_at = now + self.wait(chance);
                self.close(retry_at)
            }
            _ => None,
        }
    }

    fn close(&mut self, retry_at: i64) -> Option<Action> {
        self.source = Source::Closing { retry_at };
        Some(Action::Close { run: self.run })
    }

    /// How long until the next try: twice as long each time, never the same for all.
    fn wait(&mut self, chance: f64) -> i64 {
        let wait = FIRST_WAIT.saturating_mul(1 << self.tries.min(16)).min(LONGEST_WAIT);
        self.tries = self.tries.saturating_add(1);
        (wait as f64 * (1.0 - JITTER + 2.0 * JITTER * chance)) as i64
    }

    fn enter(&mut self, state: State, now: i64, reason: Option<String>) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
        self.reason = reason;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { stalled_after: 5000, frozen_after: 10_000, black_after: 10_000, connect_timeout: 15_000 };

    fn alive() -> Signs {
        Signs {
            buffers: 10,
            since_buffer: 10,
            since_advance: 10,
            since_change: 10,
            black_for: 0,
            arriving_for: 1000,
            changing_for: 1000,
            lit_for: 1000,
        }
    }

    /// A channel that is wanted and has a worker, at time 0: its source is being opened.
    fn connecting() -> Machine {
        let mut machine = Machine::new(LIMITS, 0, 0);
        assert_eq!(machine.handle(0, Event::Wanted(true), 0.5), None);
        assert_eq!(machine.state(), State::WorkerLost);
        assert_eq!(machine.handle(0, Event::Worker(true), 0.5), Some(Action::Open { run: 1 }));
        assert_eq!(machine.state(), State::Connecting);
        machine
    }

    fn running() -> Machine {
        let mut machine = connecting();
        machine.handle(100, Event::Signs { run: 1, signs: alive() }, 0.5);
        assert_eq!(machine.state(), State::Running);
        machine
    }

    #[test]
    fn a_feed_that_is_cut_is_closed_and_opened_again_for_ever() {
        let mut machine = running();
        let (mut now, mut waits) = (200, Vec::new());
        for run in 1..=10 {
            let failed = Event::Failed { run, reason: "cut".into() };
            assert_eq!(machine.handle(now, failed, 0.5), Some(Action::Close { run }));
            assert_eq!((machine.state(), machine.reason()), (State::Offline, Some("cut")));
            machine.handle(now, Event::Closed { run }, 0.5);
            let retry_at = machine.retry_at().unwrap();
            waits.push(retry_at - now);
            assert_eq!(machine.handle(retry_at - 1, Event::Tick, 0.5), None);
            assert_eq!(machine.handle(retry_at, Event::Tick, 0.5), Some(Action::Open { run: run + 1 }));
            assert_eq!(machine.state(), State::Offline, "it stays lost until a picture comes");
            now = retry_at + 10;
        }
        assert_eq!(waits[..7], [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000]);
        assert_eq!(waits[9], 60_000);
    }

    #[test]
    fn each_way_to_be_not_alive_has_its_state() {
        let mut machine = running();
        let mut see = |now, signs| {
            let action = machine.handle(now, Event::Signs { run: 1, signs }, 0.5);
            (machine.state(), action)
        };
        assert_eq!(see(200, Signs { since_change: 10_000, ..alive() }), (State::Frozen, None));
        assert_eq!(see(300, Signs { black_for: 10_000, since_change: 10_000, ..alive() }), (State::Black, None));
        assert_eq!(see(400, alive()), (State::Running, None));
        let stuck = Signs { since_advance: 5000, ..alive() };
        assert_eq!(see(500, stuck), (State::Stalled, Some(Action::Close { run: 1 })));
    }

    #[test]
    fn a_source_that_connects_and_brings_nothing_is_given_up_in_time() {
        let mut machine = connecting();
        assert_eq!(machine.handle(14_999, Event::Tick, 0.5), None);
        assert_eq!(machine.handle(15_000, Event::Tick, 0.5), Some(Action::Close { run: 1 }));
        assert_eq!(machine.state(), State::Offline);
    }

    #[test]
    fn what_an_earlier_opening_says_is_not_heard() {
        let mut machine = running();
        machine.handle(200, Event::Failed { run: 1, reason: "cut".into() }, 0.5);
        machine.handle(200, Event::Closed { run: 1 }, 0.5);
        assert_eq!(machine.handle(1300, Event::Tick, 0.5), Some(Action::Open { run: 2 }));
        machine.handle(1400, Event::Failed { run: 1, reason: "late".into() }, 0.5);
        assert_eq!(machine.reason(), Some("cut"));
        assert_eq!(machine.run(), 2);
    }

    #[test]
    fn a_feed_that_flaps_does_not_start_over_with_the_shortest_wait() {
        let mut machine = running();
        machine.handle(200, Event::Failed { run: 1, reason: "cut".into() }, 0.5);
        machine.handle(200, Event::Closed { run: 1 }, 0.5);
        machine.handle(1300, Event::Tick, 0.5);
        machine.handle(1400, Event::Signs { run: 2, signs: alive() }, 0.5);
        machine.handle(2000, Event::Failed { run: 2, reason: "cut".into() }, 0.5);
        assert_eq!(machine.retry_at(), Some(4000), "two seconds");
        machine.handle(2000, Event::Closed { run: 2 }, 0.5);
        machine.handle(4000, Event::Tick, 0.5);
        machine.handle(4100, Event::Signs { run: 3, signs: alive() }, 0.5);
        machine.handle(14_100, Event::Signs { run: 3, signs: alive() }, 0.5);
        machine.handle(14_200, Event::Failed { run: 3, reason: "cut".into() }, 0.5);
        assert_eq!(machine.retry_at(), Some(15_200), "it ran steadily before");
    }

    #[test]
    fn a_lost_worker_brings_the_channel_back_with_the_next_one() {
        let mut machine = running();
        assert_eq!(machine.handle(200, Event::Worker(false), 0.5), None);
        assert_eq!(machine.state(), State::WorkerLost);
        assert_eq!(machine.handle(300, Event::Worker(true), 0.5), Some(Action::Open { run: 2 }));
        machine.handle(400, Event::Signs { run: 2, signs: alive() }, 0.5);
        assert_eq!(machine.state(), State::Running);
    }

    #[test]
    fn a_file_that_is_over_stays_over_until_it_is_wanted_anew() {
        let mut machine = running();
        assert_eq!(machine.handle(200, Event::Ended { run: 1 }, 0.5), Some(Action::Close { run: 1 }));
        machine.handle(200, Event::Closed { run: 1 }, 0.5);
        assert_eq!(machine.handle(100_000, Event::Tick, 0.5), None);
        assert_eq!(machine.state(), State::Paused);
        machine.handle(100_000, Event::Wanted(false), 0.5);
        assert_eq!(machine.handle(100_001, Event::Wanted(true), 0.5), Some(Action::Open { run: 2 }));
    }

    fn events() -> impl Strategy<Value = Vec<(i64, u8, u64, f64)>> {
        proptest::collection::vec((0i64..20_000, 0u8..8, 0u64..3, 0.0f64..=1.0), 0..200)
    }

    proptest! {
        /// Whatever happens, no source is opened twice at once, none is opened that nobody wants,
        /// waits keep their bounds, and once the world is well again the channel runs.
        #[test]
        fn a_channel_never_gives_up_and_never_opens_twice(events in events()) {
            let mut machine = Machine::new(LIMITS, 0, 0);
            let (mut now, mut open, mut wanted, mut worker) = (0, None, false, false);
            for (pause, kind, back, chance) in events {
                now += pause;
                let run = machine.run().saturating_sub(back);
                let event = match kind {
                    0 => { wanted = !wanted; Event::Wanted(wanted) }
                    1 => { worker = !worker; open = None; Event::Worker(worker) }
                    2 => Event::Failed { run, reason: "cut".into() },
                    3 => Event::Closed { run },
                    4 => Event::Signs { run, signs: alive() },
                    5 => Event::Signs { run, signs: Signs { since_buffer: 6000, ..alive() } },
                    6 => Event::Ended { run },
                    _ => Event::Tick,
                };
                // A worker says that a source is closed only after it was told to close it.
                if matches!(event, Event::Closed { run } if open == Some(run)) { continue; }
                match machine.handle(now, event, chance) {
                    Some(Action::Open { run }) => {
                        prop_assert!(wanted && worker && open.is_none());
                        open = Some(run);
                    }
                    Some(Action::Close { run }) => {
                        prop_assert_eq!(open.take(), Some(run));
                        let wait = machine.retry_at().map_or(0, |at| at - now);
                        prop_assert!((0..=72_000).contains(&wait), "{}", wait);
                    }
                    None => {}
                }
            }
            if !wanted { machine.handle(now, Event::Wanted(true), 0.0); }
            if !worker { machine.handle(now, Event::Worker(true), 0.0); }
            // A file that had ended is wanted anew.
            machine.reopen(now);
            for _ in 0..200 {
                now += 500;
                machine.handle(now, Event::Closed { run: machine.run() }, 1.0);
                let run = machine.run();
                machine.handle(now, Event::Signs { run, signs: alive() }, 1.0);
            }
            prop_assert_eq!(machine.state(), State::Running);
        }
    }
}
