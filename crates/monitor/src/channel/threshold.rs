//! What another threshold would have done, from recorded scores. Pure.
//!
//! Scores are recorded as the highest of each second, so this is an estimate: alarms of one second's
//! length and the detector's own smoothing are not in it.

/// A score must stay over the threshold for so many seconds to be an alarm.
const ALERT_SECONDS: i64 = 2;
/// Seconds without a score that do not end an alarm: a face turned away.
const GAP: i64 = 1;
const DAY: f64 = 86_400_000.0;

/// A closed time, in milliseconds since 1970.
pub type Span = (i64, i64);

/// What a threshold would have raised.
#[derive(Clone, Debug, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Outcome {
    pub threshold: f64,
    /// Alarms outside of what people confirmed.
    pub false_alarms: usize,
    pub per_day: f64,
    /// Confirmed incidents that would not have been raised.
    pub missed: usize,
}

/// Where alarms would have been: seconds over the threshold, joined where they are less than
/// `keep_for` milliseconds apart.
fn alarms(scores: &[(i64, f64)], threshold: f64, keep_for: i64) -> Vec<Span> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for (second, _) in scores.iter().filter(|(_, score)| *score >= threshold) {
        match runs.last_mut() {
            Some((_, last)) if second - *last <= 1 + GAP => *last = *second,
            _ => runs.push((*second, *second)),
        }
    }
    let mut alarms: Vec<Span> = Vec::new();
    for (first, last) in runs.into_iter().filter(|(first, last)| last - first + 1 >= ALERT_SECONDS) {
        let (start, end) = (first * 1000, (last + 1) * 1000);
        match alarms.last_mut() {
            Some((_, ended)) if start - *ended < keep_for => *ended = end,
            _ => alarms.push((start, end)),
        }
    }
    alarms
}

fn overlap(one: Span, other: Span) -> bool {
    one.0 < other.1 && other.0 < one.1
}

/// What this threshold would have done. `scores` are seconds since 1970 in order; `confirmed` the
/// times of incidents that people called true; `analysed` the milliseconds of judged faces.
pub fn outcome(scores: &[(i64, f64)], confirmed: &[Span], analysed: i64, keep_for: i64, threshold: f64) -> Outcome {
    let alarms = alarms(scores, threshold, keep_for);
    let is_true = |alarm: &Span| confirmed.iter().any(|span| overlap(*alarm, *span));
    let false_alarms = alarms.iter().filter(|alarm| !is_true(alarm)).count();
    let missed = confirmed.iter().filter(|span| !alarms.iter().any(|alarm| overlap(*alarm, **span))).count();
    let days = analysed as f64 / DAY;
    let per_day = if days > 0.0 { false_alarms as f64 / days } else { 0.0 };
    Outcome { threshold, false_alarms, per_day, missed }
}

/// Thresholds worth a look, from low to high.
pub fn candidates() -> impl Iterator<Item = f64> {
    (50..100).map(|percent| f64::from(percent) / 100.0)
}

/// The lowest threshold with at most so many false alarms a day; `None` if even the highest has
/// more, or too little was analysed to say (less than the time in which one alarm is allowed).
pub fn propose(
    scores: &[(i64, f64)],
    confirmed: &[Span],
    analysed: i64,
    keep_for: i64,
    per_day: f64,
) -> Option<Outcome> {
    if analysed as f64 / DAY * per_day < 1.0 {
        return None;
    }
    candidates()
        .map(|threshold| outcome(scores, confirmed, analysed, keep_for, threshold))
        .find(|outcome| outcome.per_day <= per_day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEEK: i64 = 7 * 86_400_000;

    fn peaks(peaks: &[(i64, i64, f64)]) -> Vec<(i64, f64)> {
        peaks.iter().flat_map(|(from, length, score)| (*from..from + length).map(|at| (at, *score))).collect()
    }

    #[test]
    fn what_is_short_is_no_alarm_and_what_is_close_is_one() {
        let scores = peaks(&[(0, 1, 0.9), (100, 5, 0.9), (110, 5, 0.9), (500, 5, 0.7)]);
        assert_eq!(alarms(&scores, 0.8, 30_000), [(100_000, 115_000)]);
        assert_eq!(alarms(&scores, 0.8, 1000).len(), 2);
        assert_eq!(alarms(&scores, 0.6, 30_000).len(), 2);
    }

    #[test]
    fn the_lowest_threshold_within_the_budget_is_proposed_and_what_it_misses_is_said() {
        // Four false alarms, and a true one at 0.72.
        let scores = peaks(&[(0, 5, 0.6), (1000, 5, 0.7), (2000, 5, 0.75), (3000, 5, 0.8), (4000, 9, 0.72)]);
        let confirmed = [(4_000_000, 4_009_000)];
        let week = |alarms: f64| alarms / 7.0;
        let proposed = propose(&scores, &confirmed, WEEK, 30_000, week(2.0)).unwrap();
        assert_eq!((proposed.threshold, proposed.false_alarms, proposed.missed), (0.71, 2, 0));
        let strict = propose(&scores, &confirmed, WEEK, 30_000, week(1.0)).unwrap();
        assert_eq!((strict.threshold, strict.false_alarms, strict.missed), (0.76, 1, 1));
        assert_eq!(propose(&scores, &confirmed, WEEK / 2, 30_000, week(1.0)), None, "half a week says nothing of that");
    }

    proptest! {
        #[test]
        fn a_higher_threshold_never_raises_what_a_lower_one_does_not(
            scores in proptest::collection::vec((1i64..40, 0.0f64..1.0), 0..300), low in 0.0f64..1.0, more in 0.0f64..0.5,
        ) {
            let mut second = 0;
            let scores: Vec<_> = scores.into_iter().map(|(step, score)| { second += step / 8 + 1; (second, score) }).collect();
            let (low, high) = (alarms(&scores, low, 5000), alarms(&scores, low + more, 5000));
            for alarm in &high {
                prop_assert!(low.iter().any(|wider| wider.0 <= alarm.0 && alarm.1 <= wider.1), "{:?}", alarm);
            }
        }
    }
}
