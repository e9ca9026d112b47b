//! Alerts: a face has looked fake for long enough to say so, and when it no longer does.
//!
//! An alert is *raised* when the smoothed score of a judged face has stayed over the threshold for
//! [`after_ns`](AlertSettings::after_ns), and *cleared* when it has not been over it for
//! [`hold_ns`](AlertSettings::hold_ns). In between it is *updated* as its peak rises. Each raised
//! alert is cleared exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{FaceReport, FrameReport};
use crate::State;
use crate::words::words;

const NS_PER_MS: u64 = 1_000_000;
/// Time constant of the exponential smoothing of a face's score, which is done on logits.
const SMOOTHING_NS: f64 = 1e9;
/// A face that was not judged for longer starts anew: what it looked like before says nothing about
/// the time between.
const MAX_GAP_NS: u64 = 2_000_000_000;
/// Time that goes back further is another piece of stream.
const JITTER_NS: u64 = 500_000_000;
/// An alert is updated when its peak has risen by this much, and no more often than this.
const UPDATE_STEP: f64 = 0.05;
const UPDATE_INTERVAL_NS: u64 = 1_000_000_000;
/// Scores are smoothed as logits of at most this size, so that one near 1 does not outweigh all
/// others.
const MAX_LOGIT: f64 = 6.0;
/// Single crops in a row that must look fake for a spike.
const SPIKE_CROPS: u32 = 3;

/// A change in what is to be said about a face over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alert {
    /// Counts the alerts of a run from 1; the same from `raised` to `cleared`. With the report's
    /// `run` it is unique for ever.
    pub id: u64,
    pub action: Action,
    pub kind: Kind,
    /// The face; it may have left the picture when the alert is cleared.
    pub track_id: u32,
    /// Running time in nanoseconds (PTS where that is not known) since when the smoothed score has
    /// been over the threshold.
    pub since: u64,
    /// Highest score of the face since then.
    pub peak: f64,
    /// The newest report at that moment.
    pub report: FrameReport,
}

words! {
    /// What happened to an alert.
    Action {
        Raised = "raised",
        /// Its peak has risen.
        Updated = "updated",
        Cleared = "cleared",
    }
}

words! {
    /// What an alert is about.
    Kind {
        /// The score has stayed over the threshold.
        Sustained = "sustained",
    }
}

/// When alerts are raised and cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertSettings {
    /// Nanoseconds that the smoothed score must stay over the threshold.
    pub after_ns: u64,
    /// Nanoseconds without being over the threshold after which an alert is cleared.
    pub hold_ns: u64,
}

impl AlertSettings {
    pub fn new(after_ns: u64, hold_ns: u64) -> Self {
        Self { after_ns, hold_ns }
    }
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self { after_ns: 2000 * NS_PER_MS, hold_ns: 5000 * NS_PER_MS }
    }
}

/// Makes alerts from the reports of one stream.
#[derive(Debug, Default)]
pub struct AlertWatch {
    settings: AlertSettings,
    faces: BTreeMap<u32, Watched>,
    /// The newest report and time.
    last: Option<Arc<FrameReport>>,
    now: u64,
    /// Alerts raised so far.
    count: u64,
}

#[derive(Debug)]
struct Watched {
    /// Logit of the smoothed score, and when it was last fed.
    smoothed: f64,
    fed: u64,
    /// End of the newest window seen: a crop counts once.
    window_end: Option<u64>,
    /// Since when the smoothed score has been over the threshold, and the highest score since then.
    over: Option<Over>,
    raised: Option<Raised>,
}

#[derive(Clone, Copy, Debug)]
struct Over {
    since: u64,
    peak: f64,
}

#[derive(Debug)]
struct Raised {
    id: u64,
    since: u64,
    peak: f64,
    last_over: u64,
    /// Peak and time of the last message.
    posted: (f64, u64),
}

impl Raised {
    fn alert(&self, action: Action, track_id: u32, report: &FrameReport) -> Alert {
        let Self { id, since, peak, .. } = *self;
        Alert { id, action, kind: Kind::Sustained, track_id, since, peak, report: report.clone() }
    }
}

impl AlertWatch {
    pub fn new(settings: AlertSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Holds from the next report on.
    pub fn set_settings(&mut self, settings: AlertSettings) {
        self.settings = settings;
    }

    /// What `report` changes. `fake_threshold` is the score from which a face is called fake.
    pub fn update(&mut self, report: &Arc<FrameReport>, fake_threshold: f64) -> Vec<Alert> {
        let time = report.time();
        let mut alerts = if time.saturating_add(JITTER_NS) < self.now { self.clear() } else { Vec::new() };
        self.now = self.now.max(time);
        self.last = Some(report.clone());
        for face in &report.faces {
            alerts.extend(self.feed(face, report, fake_threshold));
        }
        alerts.extend(self.expire(report));
        self.faces
            .retain(|id, watched| watched.raised.is_some() || report.faces.iter().any(|face| face.track_id == *id));
        alerts
    }

    /// It is `time` by now, and nothing could be judged: the analysis failed. Alerts are cleared as
    /// if no face were over the threshold.
    pub fn advance(&mut self, time: u64) -> Vec<Alert> {
        self.now = self.now.max(time);
        let Some(last) = self.last.clone() else { return Vec::new() };
        self.expire(&last)
    }

    /// The stream is over, or goes on elsewhere: clears every alert and forgets every face.
    pub fn clear(&mut self) -> Vec<Alert> {
        self.now = 0;
        let faces = std::mem::take(&mut self.faces);
        let Some(last) = self.last.take() else { return Vec::new() };
        let raised = faces.iter().filter_map(|(id, watched)| Some((*id, watched.raised.as_ref()?)));
        raised.map(|(id, raised)| raised.alert(Action::Cleared, id, &last)).collect()
    }

    fn feed(&mut self, face: &FaceReport, report: &FrameReport, threshold: f64) -> Option<Alert> {
        let now = self.now;
        let score = face.score.filter(|score| face.seen && face.state.is_judged() && score.is_finite())?;
        let watched = self.faces.entry(face.track_id).or_insert_with(|| Watched {
            smoothed: logit(score),
            fed: now,
            window_end: None,
            over: None,
            raised: None,
        });
        if face.window_end.is_some() && face.window_end == watched.window_end {
            return None;
        }
        watched.window_end = face.window_end;
        let elapsed = now.saturating_sub(watched.fed);
        watched.fed = now;
        if elapsed > MAX_GAP_NS {
            watched.smoothed = logit(score);
            watched.over = None;
        } else {
            let weight = 1.0 - (-(elapsed as f64) / SMOOTHING_NS).exp();
            watched.smoothed += weight * (logit(score) - watched.smoothed);
        }
        if watched.smoothed < logit(threshold) {
            watched.over = None;
            return None;
        }
        let over = watched.over.get_or_insert(Over { since: now, peak: score });
        over.peak = over.peak.max(score);
        let over = *over;
        match &mut watched.raised {
            Some(raised) => {
                raised.last_over = now;
                raised.peak = raised.peak.max(score);
                let (posted, at) = raised.posted;
                let is_due = raised.peak >= posted + UPDATE_STEP && now.saturating_sub(at) >= UPDATE_INTERVAL_NS;
                is_due.then(|| {
                    raised.posted = (raised.peak, now);
                    raised.alert(Action::Updated, face.track_id, report)
                })
            }
            None if face.state == State::Fake && now - over.since >= self.settings.after_ns => {
                self.count += 1;
                let Over { since, peak } = over;
                let raised = Raised { id: self.count, since, peak, last_over: now, posted: (peak, now) };
                let alert = raised.alert(Action::Raised, face.track_id, report);
                watched.raised = Some(raised);
                Some(alert)
            }
            None => None,
        }
    }

    /// Clears the alerts of faces that have not been over the threshold for long enough.
    fn expire(&mut self, report: &FrameReport) -> Vec<Alert> {
        let (now, hold) = (self.now, self.settings.hold_ns);
        let mut alerts = Vec::new();
        for (id, watched) in &mut self.faces {
            let over = watched.raised.take_if(|raised| now.saturating_sub(raised.last_over) >= hold.max(1));
            if let Some(raised) = over {
                // The next one takes its whole time again.
                watched.over = None;
                alerts.push(raised.alert(Action::Cleared, *id, report));
            }
        }
        alerts
    }
}

fn logit(probability: f64) -> f64 {
    let probability = probability.clamp(0.0, 1.0);
    (probability / (1.0 - probability)).ln().clamp(-MAX_LOGIT, MAX_LOGIT)
}

/// Marks the [spikes](FaceReport::spike) in the reports of one stream.
#[derive(Debug, Default)]
pub struct SpikeWatch {
    /// By track: end of the newest window seen, since a crop counts once, and crops in a row that
    /// looked fake.
    faces: BTreeMap<u32, (Option<u64>, u32)>,
}

impl SpikeWatch {
    /// Marks faces in `report`. `fake_threshold` is the score from which a single crop looks fake.
    pub fn mark(&mut self, report: &mut FrameReport, fake_threshold: f64) {
        self.faces.retain(|id, _| report.faces.iter().any(|face| face.track_id == *id));
        for face in &mut report.faces {
            let (window_end, crops) = self.faces.entry(face.track_id).or_default();
            if face.window_end != *window_end {
                *window_end = face.window_end;
                let looks_fake = face.frame_score.is_some_and(|score| score >= fake_threshold);
                *crops = if looks_fake { *crops + 1 } else { 0 };
            }
            face.spike = *crops >= SPIKE_CROPS && matches!(face.state, State::Authentic | State::Uncertain);
        }
    }

    /// The stream goes on elsewhere.
    pub fn clear(&mut self) {
        self.faces.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing;

    const MS: u64 = NS_PER_MS;
    const THRESHOLD: f64 = 0.8;

    fn face(id: u32, time: u64, state: State, score: Option<f64>) -> FaceReport {
        FaceReport { state, score, window_end: Some(time), ..testing::face(id) }
    }

    fn report(time: u64, faces: Vec<FaceReport>) -> Arc<FrameReport> {
        Arc::new(FrameReport::new(time, "m@1", "cpu", faces))
    }

    /// What a face with this score is called.
    fn state(score: Option<f64>) -> State {
        match score {
            None => State::Warming,
            Some(score) if score >= THRESHOLD => State::Fake,
            Some(score) if score <= 0.3 => State::Authentic,
            Some(_) => State::Uncertain,
        }
    }

    /// Feeds one face at 10 Hz, from `from` ms on; (ms, action) of each alert.
    fn run(watch: &mut AlertWatch, from: u64, scores: &[Option<f64>]) -> Vec<(u64, Action)> {
        let mut found = Vec::new();
        for (index, score) in scores.iter().enumerate() {
            let ms = from + index as u64 * 100;
            let alerts = watch.update(&report(ms * MS, vec![face(1, ms * MS, state(*score), *score)]), THRESHOLD);
            found.extend(alerts.into_iter().map(|alert| (ms, alert.action)));
        }
        found
    }

    #[test]
    fn an_alert_takes_its_time_and_is_held() {
        let mut watch = AlertWatch::default();
        assert_eq!(run(&mut watch, 0, &[Some(0.95); 50]), [(2000, Action::Raised)]);
        let cleared = run(&mut watch, 5000, &[Some(0.1); 100]);
        let [(at, Action::Cleared)] = cleared[..] else { panic!("{cleared:?}") };
        assert!((9_900..11_000).contains(&at), "{at}");
    }

    #[test]
    fn short_excursions_and_warming_faces_raise_nothing() {
        let mut watch = AlertWatch::default();
        let mut scores = Vec::new();
        for _ in 0..20 {
            scores.extend([Some(0.95); 12]);
            scores.extend([Some(0.2); 12]);
        }
        assert_eq!(run(&mut watch, 0, &scores), []);
        let mut warming = AlertWatch::default();
        for ms in (0..10_000).step_by(100) {
            let faces = vec![face(1, ms * MS, State::Warming, Some(0.99)), face(2, ms * MS, State::Other, Some(0.99))];
            assert_eq!(warming.update(&report(ms * MS, faces), THRESHOLD), []);
        }
    }

    #[test]
    fn one_low_score_does_not_interrupt_a_sustained_one() {
        let mut scores = [Some(0.97); 40];
        scores[8] = Some(0.6);
        assert_eq!(run(&mut AlertWatch::default(), 0, &scores), [(2000, Action::Raised)]);
    }

    #[test]
    fn the_peak_is_told_as_it_rises() {
        let mut watch = AlertWatch::default();
        let mut scores = vec![Some(0.85); 30];
        scores.extend([Some(0.99); 30]);
        assert_eq!(run(&mut watch, 0, &scores), [(2000, Action::Raised), (3000, Action::Updated)]);
        let cleared = watch.clear();
        assert_eq!((cleared[0].id, cleared[0].peak, cleared[0].since), (1, 0.99, 0));
    }

    #[test]
    fn a_face_that_leaves_is_cleared_after_the_hold_and_the_end_clears_at_once() {
        let mut watch = AlertWatch::default();
        run(&mut watch, 0, &[Some(0.95); 30]);
        assert_eq!(watch.update(&report(3000 * MS, vec![]), THRESHOLD), []);
        assert_eq!(watch.update(&report(7800 * MS, vec![]), THRESHOLD), []);
        let cleared = watch.update(&report(7900 * MS, vec![]), THRESHOLD);
        assert_eq!((cleared.len(), cleared[0].action), (1, Action::Cleared));
        assert_eq!(watch.clear(), []);

        run(&mut watch, 10_000, &[Some(0.95); 30]);
        let cleared = watch.clear();
        assert_eq!((cleared.len(), cleared[0].action, cleared[0].id), (1, Action::Cleared, 2));
        assert_eq!(watch.clear(), []);
    }

    #[test]
    fn while_the_analysis_fails_alerts_run_out() {
        let mut watch = AlertWatch::default();
        run(&mut watch, 0, &[Some(0.95); 30]);
        assert_eq!(watch.advance(7000 * MS), []);
        assert_eq!(watch.advance(8000 * MS).len(), 1);
        assert_eq!(watch.advance(9000 * MS), []);
    }

    #[test]
    fn a_spike_needs_several_new_crops_in_a_row() {
        let mut watch = SpikeWatch::default();
        let mut step = |end, score, state| {
            let face = FaceReport { frame_score: Some(score), ..face(1, end, state, None) };
            let mut report = FrameReport::new(end, "m@1", "cpu", vec![face]);
            watch.mark(&mut report, THRESHOLD);
            report.faces[0].spike
        };
        assert!(!step(1, 0.9, State::Authentic));
        assert!(!step(2, 0.9, State::Authentic));
        assert!(!step(2, 0.9, State::Authentic), "the same crop again");
        assert!(step(3, 0.9, State::Authentic));
        assert!(!step(4, 0.9, State::Fake));
        assert!(step(5, 0.9, State::Uncertain));
        assert!(!step(6, 0.1, State::Uncertain));
    }

    /// Anything that may happen to a stream with a few faces.
    #[derive(Clone, Debug)]
    enum Event {
        /// Milliseconds since the last event, and each face's score (`None`: warming), rejection or
        /// absence.
        Report(u64, Vec<Option<(bool, bool, Option<f64>)>>),
        Back(u64),
        Failure(u64),
        Flush,
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let score = prop_oneof![
            6 => (0.7..1.0f64).prop_map(Some),
            2 => (0.0..1.0f64).prop_map(Some),
            1 => Just(None),
            1 => Just(Some(f64::NAN)),
        ];
        let seen = proptest::bool::weighted(0.9);
        let face = proptest::option::weighted(0.95, (seen, seen, score));
        let faces = proptest::collection::vec(face, 1..4);
        prop_oneof![
            90 => (prop_oneof![9 => 20..200u64, 1 => 200..8000u64], faces).prop_map(|(ms, faces)| Event::Report(ms, faces)),
            1 => (0..20_000u64).prop_map(Event::Back),
            2 => (20..3000u64).prop_map(Event::Failure),
            1 => Just(Event::Flush),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn alerts_come_in_pairs_in_order_and_last(
            events in proptest::collection::vec(any_event(), 1..400),
            (after, hold) in (0..3000u64, 0..6000u64),
        ) {
            let settings = AlertSettings { after_ns: after * MS, hold_ns: hold * MS };
            let mut watch = AlertWatch::new(settings);
            let mut open: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
            let (mut last_id, mut now) = (0, 0u64);
            for event in events.into_iter().chain([Event::Flush]) {
                let is_end = matches!(event, Event::Flush | Event::Back(_));
                let (alerts, frame) = match event {
                    Event::Report(ms, faces) => {
                        now += ms * MS;
                        let faces = faces.iter().enumerate().filter_map(|(id, face)| {
                            let (seen, good, score) = (*face)?;
                            let state = if good { state(score) } else { State::Rejected };
                            Some(FaceReport { seen, ..self::face(id as u32, now, state, score) })
                        });
                        let frame = report(now, faces.collect());
                        (watch.update(&frame, THRESHOLD), Some(frame))
                    }
                    Event::Back(ms) => {
                        // Less is jitter, during which the watch's own time stands still.
                        let back = now.saturating_sub(ms * MS);
                        now = if now - back > JITTER_NS { back } else { now };
                        (watch.update(&report(now, vec![]), THRESHOLD), None)
                    }
                    Event::Failure(ms) => {
                        now += ms * MS;
                        (watch.advance(now), None)
                    }
                    Event::Flush => (watch.clear(), None),
                };
                for alert in alerts {
                    match alert.action {
                        Action::Raised => {
                            prop_assert_eq!(alert.id, last_id + 1);
                            last_id = alert.id;
                            let frame = frame.as_ref().expect("only a report raises");
                            let face = frame.faces.iter().find(|face| face.track_id == alert.track_id).unwrap();
                            prop_assert!(face.state == State::Fake && face.seen);
                            prop_assert!(now - alert.since >= settings.after_ns);
                            prop_assert!(open.insert(alert.track_id, (alert.id, now)).is_none());
                        }
                        Action::Updated => prop_assert_eq!(open[&alert.track_id].0, alert.id),
                        _ => {
                            let (id, since) = open.remove(&alert.track_id).expect("it was raised");
                            prop_assert_eq!(id, alert.id);
                            prop_assert!(is_end || now - since >= settings.hold_ns);
                        }
                    }
                    prop_assert!(alert.peak.is_finite());
                }
            }
            prop_assert!(open.is_empty(), "raised and never cleared: {:?}", open);
        }
    }
}
