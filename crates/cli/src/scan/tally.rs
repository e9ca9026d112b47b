//! What the reports of one file add up to.

use std::collections::BTreeMap;

use deepfake_report::{FaceReport, FrameReport, Reason, State};

use super::finding::{Face, Gap, MIN_STRETCH, Moment, Step, Stretch, Verdict};
use crate::evaluate::metrics::{logit, sigmoid};

/// Seconds between two reports beyond which nothing is known of the time between them.
const MAX_INTERVAL: f64 = 1.5;
/// Seconds that a face must be seen to be listed.
const MIN_SEEN: f64 = 0.5;
/// Gaps shorter than this are not worth a row.
const MIN_GAP: f64 = 0.3;
/// A face that is not called fake for so short a time is still in the same stretch.
const MAX_BREAK: f64 = 0.3;
/// Seconds between two notes of where a face is.
const PLACES: f64 = 0.5;
/// Boxes of two passes that overlap less are of two faces.
const MIN_OVERLAP: f64 = 0.4;
/// Steps of a timeline are at least so long, and at most so many.
const MIN_STEP: f64 = 0.2;
const MAX_STEPS: f64 = 600.0;

/// Adds up reports, in the order of their times.
pub struct Tally {
    fake: f64,
    authentic: f64,
    window_seconds: f64,
    faces: BTreeMap<u32, Track>,
    /// The newest report: how long it holds is known when the next one comes.
    newest: Option<FrameReport>,
    /// Time of the first report, in nanoseconds as all times of reports.
    first: Option<u64>,
    gaps: Vec<Gap>,
    cuts: Vec<f64>,
    judged: f64,
    covered: f64,
}

#[derive(Default)]
struct Track {
    first: f64,
    last: f64,
    seen: f64,
    judged: f64,
    not_judged: BTreeMap<String, f64>,
    /// Sum of the box's area over all reports, and how many there were.
    area: f64,
    reports: usize,
    /// Logits by the time of the window's newest crop, and by pass: see [`Tally::merge`].
    windows: BTreeMap<(u64, u8), f64>,
    /// Where it was, twice a second: x, y, width, height, each 0..1.
    places: Vec<(f64, [f64; 4])>,
    /// When it was called fake, one report after the other.
    fake: Vec<Stretch>,
    /// Sums of the scores of kinds, and how many there were.
    kinds: (BTreeMap<&'static str, f64>, usize),
}

/// What a report says of a face, for the time until the next one.
fn why_not(face: &FaceReport) -> Option<&'static str> {
    match face.state {
        State::Rejected => Some(face.reason.map_or("rejected", Reason::as_str)),
        _ if face.score.is_some() => None,
        State::Warming => Some(face.reason.map_or("too-short", Reason::as_str)),
        _ => Some("not-seen"),
    }
}

impl Tally {
    /// `fake` and `authentic` are the model's thresholds; a full window spans `window_seconds`.
    pub fn new(fake: f64, authentic: f64, window_seconds: f64) -> Self {
        Self {
            fake,
            authentic,
            window_seconds,
            faces: BTreeMap::new(),
            newest: None,
            first: None,
            gaps: Vec::new(),
            cuts: Vec::new(),
            judged: 0.0,
            covered: 0.0,
        }
    }

    /// Takes one report; buffers between two analyses carry the same one again. Returns whether it was new.
    pub fn add(&mut self, report: &FrameReport) -> bool {
        if self.newest.as_ref().is_some_and(|newest| newest.time() == report.time()) {
            return false;
        }
        self.first.get_or_insert(report.time());
        let now = self.seconds(report.time());
        self.settle(now);
        for face in &report.faces {
            let track = self.faces.entry(face.track_id).or_insert_with(|| Track { first: now, ..Track::default() });
            track.last = now;
            track.area += face.width * face.height;
            track.reports += 1;
            if why_not(face).is_none()
                && let (Some(score), Some(end)) = (face.score, face.window_end)
            {
                track.windows.insert((end, 0), logit(score));
            }
            if let Some(kind) = &face.kind {
                for (name, score) in [("swap", kind.swap), ("lips", kind.lips), ("generated", kind.generated)] {
                    *track.kinds.0.entry(name).or_default() += score;
                }
                track.kinds.1 += 1;
            }
            if track.places.last().is_none_or(|(time, _)| now - time >= PLACES) {
                track.places.push((now, [face.x, face.y, face.width, face.height]));
            }
        }
        if let Some(before) = &self.newest {
            // Faces that are merely out of sight are followed for a while: those that were seen a moment ago and are all gone
            // belonged to another shot.
            let seen = |face: &&FaceReport| face.seen && face.window_end == Some(before.time());
            let gone = |face: &FaceReport| !report.faces.iter().any(|now| now.track_id == face.track_id);
            if before.faces.iter().any(|face| seen(&face)) && before.faces.iter().all(gone) {
                self.cuts.push(now);
            }
        }
        self.newest = Some(report.clone());
        true
    }

    /// Adds the windows of another pass over the same file to the faces that it saw in the same places; `mirrored` is the
    /// axis, 0 across and 1 down, along which its frames were. Returns how many of its faces were found again.
    pub fn merge(&mut self, other: &Self, pass: u8, mirrored: Option<usize>) -> usize {
        let mut found = 0;
        for track in other.faces.values().filter(|track| !track.windows.is_empty()) {
            let overlap = |own: &Track| {
                let places = track.places.iter().filter_map(|(time, place)| {
                    let mut place = *place;
                    if let Some(axis) = mirrored {
                        place[axis] = 1.0 - place[axis] - place[axis + 2];
                    }
                    let near = own.places.iter().min_by(|a, b| (a.0 - time).abs().total_cmp(&(b.0 - time).abs()))?;
                    ((near.0 - time).abs() < PLACES).then(|| shared(&near.1, &place))
                });
                places.sum::<f64>() / track.places.len().max(1) as f64
            };
            let best = self.faces.values_mut().map(|own| (overlap(own), own)).max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((overlap, own)) = best
                && overlap >= MIN_OVERLAP
            {
                own.windows.extend(track.windows.iter().map(|((end, _), logit)| ((*end, pass), *logit)));
                found += 1;
            }
        }
        found
    }

    /// Running time of the first report, from which seconds count.
    pub fn start(&self) -> Option<u64> {
        self.first
    }

    /// Seconds since the first report of one with this time.
    pub fn seconds(&self, time: u64) -> f64 {
        time.saturating_sub(self.first.unwrap_or(time)) as f64 / 1e9
    }

    /// What the newest report said held until `now`.
    fn settle(&mut self, now: f64) {
        let Some(report) = self.newest.take() else { return };
        let from = self.seconds(report.time());
        let until = now.min(from + MAX_INTERVAL).max(from);
        let span = until - from;
        self.covered += span;
        for face in &report.faces {
            let track = self.faces.get_mut(&face.track_id).expect("added with its report");
            track.seen += span;
            track.last = track.last.max(until);
            match why_not(face) {
                Some(why) => *track.not_judged.entry(why.to_owned()).or_default() += span,
                None => {
                    track.judged += span;
                    let score = face.score.expect("a judged face has a score");
                    if face.state == State::Fake {
                        extend(&mut track.fake, from, until, score);
                    }
                }
            }
        }
        if report.faces.iter().any(|face| why_not(face).is_none()) {
            self.judged += span;
        } else {
            let area = |face: &&FaceReport| face.width * face.height;
            let largest = report.faces.iter().max_by(|a, b| area(a).total_cmp(&area(b)));
            let why = largest.map_or("no-face", |face| why_not(face).expect("no face was judged"));
            match self.gaps.last_mut() {
                Some(gap) if gap.why == why && from - gap.end < 0.05 => gap.end = until,
                _ => self.gaps.push(Gap { start: from, end: until, why: why.to_owned() }),
            }
        }
        self.newest = Some(report);
    }

    /// The sum of it all; the stream was `seconds` long.
    pub fn finish(mut self, seconds: f64) -> Sum {
        self.settle(seconds);
        let step = (seconds / MAX_STEPS).max(MIN_STEP);
        let (first, total) = (self.first.unwrap_or(0), self.faces.len());
        let listed = |track: &Track| !track.windows.is_empty() || track.seen >= MIN_SEEN;
        let mut faces: Vec<Face> = std::mem::take(&mut self.faces)
            .into_iter()
            .filter(|(_, track)| listed(track))
            .map(|(id, track)| self.face(id, track, first, step))
            .collect();
        // Highest score first, those without a score last.
        faces.sort_by(|a, b| b.score.unwrap_or(-1.0).total_cmp(&a.score.unwrap_or(-1.0)));
        self.gaps.retain(|gap| gap.end - gap.start >= MIN_GAP);
        Sum {
            verdict: faces.iter().map(|face| face.verdict).min().unwrap_or(Verdict::NotJudged),
            score: faces.first().and_then(|face| face.score),
            judged_share: if seconds > 0.0 { (self.judged / seconds).min(1.0) } else { 0.0 },
            further_faces: total - faces.len(),
            no_report: self.newest.is_none(),
            faces,
            gaps: self.gaps,
            cuts: self.cuts,
        }
    }

    fn face(&self, track_id: u32, track: Track, first: u64, step: f64) -> Face {
        let time = |time: u64| time.saturating_sub(first) as f64 / 1e9;
        let logits: Vec<(f64, f64)> = track.windows.iter().map(|((end, _), logit)| (time(*end), *logit)).collect();
        let mean =
            (!logits.is_empty()).then(|| logits.iter().map(|(_, logit)| logit).sum::<f64>() / logits.len() as f64);
        let score = mean.map(sigmoid);
        let moment = |(time, logit): &(f64, f64)| Moment { time: *time, score: sigmoid(*logit) };
        let stretches: Vec<_> =
            track.fake.into_iter().filter(|stretch| stretch.end - stretch.start >= MIN_STRETCH).collect();
        let verdict = match score {
            None => Verdict::NotJudged,
            Some(score) if score >= self.fake => Verdict::Fake,
            Some(_) if !stretches.is_empty() => Verdict::FakeInPart,
            Some(score) if score <= self.authentic => Verdict::NothingFound,
            Some(_) => Verdict::Uncertain,
        };
        Face {
            track_id,
            verdict,
            score,
            interval: interval(&logits, self.window_seconds),
            windows: logits.len(),
            first: track.first,
            last: track.last,
            seen: track.seen,
            judged: track.judged,
            not_judged: track.not_judged,
            area: track.area / track.reports.max(1) as f64,
            highest: logits.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(moment),
            lowest: logits.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(moment),
            stretches,
            timeline: timeline(&logits, step),
            kinds: match verdict {
                // Of what is no fake there is no kind.
                Verdict::NothingFound | Verdict::NotJudged => BTreeMap::new(),
                _ => {
                    let (sums, count) = track.kinds;
                    sums.into_iter().map(|(name, sum)| (name.to_owned(), sum / count as f64)).collect()
                }
            },
        }
    }
}

/// What [`Tally`] comes to.
pub struct Sum {
    pub verdict: Verdict,
    pub score: Option<f64>,
    pub judged_share: f64,
    pub faces: Vec<Face>,
    pub further_faces: usize,
    pub gaps: Vec<Gap>,
    pub cuts: Vec<f64>,
    /// No frame was analysed.
    pub no_report: bool,
}

impl Sum {
    /// Why no face was judged, in words; `None` if one was.
    pub fn why_not(&self) -> Option<String> {
        if self.verdict != Verdict::NotJudged {
            return None;
        }
        if self.no_report {
            return Some("no frame was analysed".into());
        }
        if self.faces.is_empty() && self.further_faces == 0 {
            return Some("no face was seen".into());
        }
        let mut reasons: BTreeMap<&str, f64> = BTreeMap::new();
        for (why, seconds) in self.faces.iter().flat_map(|face| &face.not_judged) {
            *reasons.entry(super::finding::why_in_words(why)).or_default() += seconds;
        }
        let main = reasons.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        Some(main.map_or("not watched long enough".into(), |(why, _)| why.to_owned()))
    }
}

/// Intersection of two boxes over their union.
fn shared(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let along = |axis: usize| ((a[axis] + a[axis + 2]).min(b[axis] + b[axis + 2]) - a[axis].max(b[axis])).max(0.0);
    let both = along(0) * along(1);
    let union = a[2] * a[3] + b[2] * b[3] - both;
    if union > 0.0 { both / union } else { 0.0 }
}

fn extend(stretches: &mut Vec<Stretch>, start: f64, end: f64, score: f64) {
    match stretches.last_mut() {
        Some(last) if start - last.end <= MAX_BREAK => {
            last.end = end;
            last.peak = last.peak.max(score);
        }
        _ => stretches.push(Stretch { start, end, peak: score }),
    }
}

/// Mean and highest score of each step that has a window.
fn timeline(logits: &[(f64, f64)], step: f64) -> Vec<Step> {
    let mut steps: Vec<(u64, f64, f64, usize)> = Vec::new();
    for (time, logit) in logits {
        let index = (time / step) as u64;
        match steps.last_mut() {
            Some((last, sum, high, count)) if *last == index => {
                *sum += logit;
                *high = high.max(*logit);
                *count += 1;
            }
            _ => steps.push((index, *logit, *logit, 1)),
        }
    }
    let step = |(index, sum, high, count): (u64, f64, f64, usize)| Step {
        time: index as f64 * step,
        score: sigmoid(sum / count as f64),
        high: sigmoid(high),
    };
    steps.into_iter().map(step).collect()
}

/// 95 % interval of the mean logit, as scores. Windows that overlap say nearly the same, so only means of blocks as long as a
/// window count as independent.
fn interval(logits: &[(f64, f64)], window_seconds: f64) -> Option<[f64; 2]> {
    let first = logits.first()?.0;
    let mut blocks: BTreeMap<u64, (f64, usize)> = BTreeMap::new();
    for (time, logit) in logits {
        let (sum, count) = blocks.entry(((time - first) / window_seconds) as u64).or_default();
        *sum += logit;
        *count += 1;
    }
    let most = blocks.values().map(|(_, count)| *count).max()?;
    // A block of a few windows at the end says little.
    let means: Vec<f64> =
        blocks.values().filter(|(_, count)| count * 2 >= most).map(|(sum, count)| sum / *count as f64).collect();
    let count = means.len() as f64;
    if means.len() < 2 {
        return None;
    }
    let mean = means.iter().sum::<f64>() / count;
    let variance = means.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = student(means.len() - 1) * (variance / count).sqrt();
    let middle = logits.iter().map(|(_, logit)| logit).sum::<f64>() / logits.len() as f64;
    Some([sigmoid(middle - half), sigmoid(middle + half)])
}

/// The 97.5 % point of Student's t distribution.
fn student(degrees: usize) -> f64 {
    const TABLE: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    match TABLE.get(degrees.saturating_sub(1)) {
        Some(value) => *value,
        // Cornish-Fisher: off by less than .003 from eleven degrees on.
        None => 1.959_96 + 2.372_27 / degrees as f64 + 2.822_5 / (degrees as f64).powi(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deepfake_report::testing;

    const SECOND: u64 = 1_000_000_000;

    fn face(id: u32, state: State, score: Option<f64>, end: u64) -> FaceReport {
        let mut face = testing::face(id);
        face.state = state;
        face.score = score;
        face.window_end = Some(end);
        face
    }

    fn tally() -> Tally {
        Tally::new(0.8, 0.5, 2.0)
    }

    fn add(tally: &mut Tally, pts: u64, faces: Vec<FaceReport>) {
        let mut report = testing::reports().remove(0);
        report.pts = pts;
        report.running_time = None;
        report.faces = faces;
        tally.add(&report);
    }

    /// A report ten times a second, its face from `each`, which is given the time in tenths.
    fn run(tenths: u64, each: impl Fn(u64) -> Vec<FaceReport>) -> Sum {
        let mut tally = tally();
        for tenth in 0..tenths {
            // Time does not start at nought in every file.
            add(&mut tally, 5 * SECOND + tenth * SECOND / 10, each(tenth));
        }
        tally.finish(tenths as f64 / 10.0)
    }

    fn at(tenth: u64) -> u64 {
        5 * SECOND + tenth * SECOND / 10
    }

    #[test]
    fn a_score_is_the_mean_logit_of_windows_and_repeated_reports_count_once() {
        let mut tally = tally();
        for (pts, logit) in [(0, 0.0), (0, 0.0), (0, 0.0), (SECOND, 2.0)] {
            add(&mut tally, pts, vec![face(1, State::Uncertain, Some(sigmoid(logit)), pts)]);
        }
        let sum = tally.finish(1.5);
        assert!((sum.score.unwrap() - sigmoid(1.0)).abs() < 1e-12);
        assert_eq!((sum.faces[0].windows, sum.verdict), (2, Verdict::Uncertain));
        assert_eq!(sum.faces[0].interval, None, "two windows that share crops are one");
        assert!((sum.faces[0].highest.unwrap().time - 1.0).abs() < 1e-9);
        assert!((sum.faces[0].lowest.unwrap().score - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_face_that_is_fake_for_a_while_is_called_fake_in_part_and_a_spike_is_not() {
        let scored = |from: u64, until: u64| {
            run(200, move |tenth| {
                let fake = (from..until).contains(&tenth);
                let (state, score) = if fake { (State::Fake, 0.9) } else { (State::Authentic, 0.1) };
                vec![face(1, state, Some(score), at(tenth))]
            })
        };
        let sum = scored(50, 90);
        assert_eq!(sum.verdict, Verdict::FakeInPart);
        let stretch = sum.faces[0].stretches[0];
        assert!((stretch.start - 5.0).abs() < 0.01 && (stretch.end - 9.0).abs() < 0.01, "{stretch:?}");
        assert_eq!(scored(50, 60).verdict, Verdict::NothingFound);
        assert_eq!(scored(0, 200).verdict, Verdict::Fake);
    }

    #[test]
    fn time_is_accounted_for_with_its_reasons() {
        let sum = run(100, |tenth| match tenth {
            0..20 => vec![],
            20..40 => vec![face(1, State::Warming, None, at(tenth))],
            40..80 => vec![face(1, State::Authentic, Some(0.2), at(tenth))],
            _ => {
                let mut rejected = face(1, State::Rejected, Some(0.2), at(79));
                rejected.reason = Some(Reason::Profile);
                vec![rejected]
            }
        });
        assert!((sum.judged_share - 0.4).abs() < 0.01, "{}", sum.judged_share);
        let whys: Vec<_> = sum.gaps.iter().map(|gap| gap.why.as_str()).collect();
        assert_eq!(whys, ["no-face", "too-short", "profile"]);
        assert!((sum.gaps[2].start - 8.0).abs() < 0.01 && (sum.gaps[2].end - 10.0).abs() < 0.01);
        let face = &sum.faces[0];
        assert!((face.seen - 8.0).abs() < 0.01 && (face.judged - 4.0).abs() < 0.01);
        assert!((face.not_judged["profile"] - 2.0).abs() < 0.01, "{:?}", face.not_judged);
        assert_eq!(sum.why_not(), None);
    }

    #[test]
    fn what_was_not_judged_says_why_and_is_never_nothing_found() {
        let nobody = run(30, |_| vec![]);
        assert_eq!((nobody.verdict, nobody.why_not().unwrap().as_str()), (Verdict::NotJudged, "no face was seen"));
        let short = run(30, |tenth| vec![face(1, State::Warming, None, at(tenth))]);
        assert_eq!((short.verdict, short.why_not().unwrap().as_str()), (Verdict::NotJudged, "not watched long enough"));
        let small = run(30, |_| {
            let mut face = face(1, State::Rejected, None, 0);
            face.reason = Some(Reason::TooSmall);
            vec![face]
        });
        assert_eq!(small.why_not().unwrap(), "face too small");
        let none = tally().finish(0.0);
        assert_eq!(none.why_not().unwrap(), "no frame was analysed");
        // A face that flits by is counted, not listed.
        let flit = run(30, |tenth| if tenth == 3 { vec![face(9, State::Warming, None, at(3))] } else { vec![] });
        assert_eq!((flit.faces.len(), flit.further_faces), (0, 1));
        assert_eq!(flit.why_not().unwrap(), "not watched long enough");
    }

    #[test]
    fn a_cut_is_where_all_faces_end_at_once_and_leaving_the_picture_is_none() {
        let seen = |id, tenth| face(id, State::Uncertain, Some(0.6), at(tenth));
        let cut = run(40, |tenth| vec![seen(if tenth < 20 { 1 } else { 2 }, tenth)]);
        assert_eq!(cut.cuts.len(), 1);
        assert!((cut.cuts[0] - 2.0).abs() < 1e-6);
        let leaves = run(40, |tenth| match tenth {
            0..20 => vec![seen(1, tenth)],
            20..25 => vec![seen(1, 19)],
            _ => vec![],
        });
        assert!(leaves.cuts.is_empty(), "{:?}", leaves.cuts);
    }

    #[test]
    fn the_interval_is_wide_for_few_windows_and_narrow_for_many_alike() {
        let steady = |tenths| {
            run(tenths, |tenth| {
                vec![face(1, State::Uncertain, Some(sigmoid(if tenth / 20 % 2 == 0 { 0.2 } else { -0.2 })), at(tenth))]
            })
            .faces
            .remove(0)
            .interval
        };
        let width = |interval: Option<[f64; 2]>| interval.map(|[low, high]| high - low);
        assert_eq!(steady(20), None);
        let (few, many) = (width(steady(40)).unwrap(), width(steady(400)).unwrap());
        assert!(few > 0.5 && many < 0.06, "{few} {many}");
        assert!((student(11) - 2.201).abs() < 0.003 && (student(30) - 2.042).abs() < 0.002);
    }

    #[test]
    fn another_pass_adds_its_windows_to_the_face_in_the_same_place() {
        let pass = |x: f64, logit: f64| {
            let mut tally = tally();
            for tenth in 0..30 {
                let mut left = face(1, State::Uncertain, Some(sigmoid(logit)), at(tenth));
                (left.x, left.width) = (x, 0.2);
                add(&mut tally, at(tenth), vec![left]);
            }
            tally
        };
        let mean = |other: &Tally, mirrored: Option<usize>| {
            let mut tally = pass(0.1, 0.0);
            let found = tally.merge(other, 1, mirrored);
            (found, logit(tally.finish(3.0).score.unwrap()))
        };
        let (found, merged) = mean(&pass(0.1, 2.0), None);
        assert_eq!(found, 1);
        assert!((merged - 1.0).abs() < 1e-9, "{merged}");
        // Mirrored, the face is on the other side.
        assert_eq!(mean(&pass(0.7, 2.0), Some(0)).0, 1);
        let (found, merged) = mean(&pass(0.7, 2.0), None);
        assert_eq!(found, 0);
        assert!(merged.abs() < 1e-9, "another face's windows were taken");
    }

    #[test]
    fn a_timeline_has_a_bounded_number_of_steps() {
        let sum = run(20_000, |tenth| vec![face(1, State::Uncertain, Some(0.6), at(tenth))]);
        let steps = &sum.faces[0].timeline;
        assert!((590..=601).contains(&steps.len()), "{}", steps.len());
        assert!(steps.iter().all(|step| (step.score - 0.6).abs() < 1e-9));
    }
}
