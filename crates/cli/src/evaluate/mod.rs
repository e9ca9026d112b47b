//! `deepfake evaluate`: labelled clips through the real pipeline; a score per clip, figures and plots.

mod compare;
mod degrade;
pub mod metrics;
mod plots;
mod results;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use deepfake_engine::inference::{DeviceRequest, ModelPackage, SessionOptions, places};
use deepfake_report::alert::{Action, AlertWatch};
use deepfake_report::{FrameReport, Reason, State, meta};
use gst::prelude::*;
use gstdeepfake::elements::frame;
use serde::{Deserialize, Serialize};

use crate::{
    clips,
    decode::Decoder,
    detector::{Detector, Warm},
    files,
    journal::Journal,
    pool,
    progress::Progress,
};
use compare::{Cost, Degraded, Pool, Run};
use degrade::Degradation;
use metrics::{logit, sigmoid};

/// Name of the journal in the folder of results.
const JOURNAL: &str = ".scores.partial";

const AFTER: &str = "\
Each clip goes through filesrc ! decodebin ! deepfakedetect mode=sync, as in any application. A face's score is the mean
of its windows' logits, a clip's score that of its highest face, calibrated as the model package says. A clip without
any judged window is abstained from, counted, and part of no other figure.

What comes out:

  OUT/scores.csv     file,label,method,dataset,group,score,state,faces,windows,reason
                     score: calibrated P(fake), empty if the clip could not be scored; reason then says why
                     faces: faces followed; windows: windows behind the score
  OUT/metrics.json   auc with 95 % interval (bootstrap over groups), balanced_accuracy, accuracy, precision, recall, f1,
                     fpr, tpr, eer, tpr_at_fpr_1, tpr_at_fpr_5, ece, brier, abstained, clips; what needs both classes is
                     null where one is missing. The same under by.dataset.NAME, and under by.method.NAME for the
                     fakes of a method against the reals of the datasets it occurs in (all reals where those have none)
  OUT/roc, det, reliability as .png and .svg
  OUT/comparison.md, .json  ms per new face, megabytes, the AUC of single crops' mean beside that of windows, negative
                     controls; with several models also each beside the others, the first one's AUC less that of each
                     other with a paired 95 % interval, and all ROC curves in comparison-roc.png and .svg
  OUT/robustness.csv, robustness-KIND.png and .svg  with --degrade; its scores are in OUT/degraded/KIND-VALUE

With several models scores, metrics and plots of each are in OUT/MODEL.

The same clips, model and device=cpu give the same scores bit for bit. A run may be stopped with Ctrl-C and goes on
where it was when the same command is given again.

Examples:
  deepfake evaluate --clips clips.csv --split test --out results
  deepfake evaluate --clips clips.csv --model l40 --model cnn-lstm --peer peers/mesonet/model.toml --out comparison
  deepfake evaluate --clips clips.csv --degrade h264=23 --degrade h264=30 --degrade h264=40 --out robustness
  deepfake evaluate --clips folder-with-real-and-fake --model ./my-model --device cuda --jobs 4 --out results";

#[derive(clap::Args)]
#[command(after_long_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    list: clips::ListArgs,
    /// Model package: the name of an installed one, or a folder [default: that of deepfakedetect]. May be given
    /// several times: the first is compared with each of the others
    #[arg(long, value_name = "NAME|DIR")]
    model: Vec<String>,
    /// Somebody else's model, described by a model.toml beside its ONNX file (kind = "frame" takes any classifier of
    /// single faces): measured as the others are, and marked in the comparison. May be given several times
    #[arg(long, value_name = "FILE|DIR")]
    peer: Vec<PathBuf>,
    /// Score all clips once more after making them worse: h264=CRF, jpeg=QUALITY, scale=FACTOR, blur=SIGMA, noise=SIGMA
    /// or fps=N. May be given several times
    #[arg(long, value_name = "KIND=VALUE")]
    degrade: Vec<Degradation>,
    /// Datasets to be measured together as well, such as "unseen swaps=Celeb-DF v2,GHOST". May be given several times
    #[arg(long, value_name = "NAME=DATASET,…")]
    pool: Vec<Pool>,
    /// What to run the model on; one that does not work is an error here
    #[arg(long, value_name = "DEVICE", default_value = "cpu",
          value_parser = ["auto", "cpu", "cuda", "tensorrt", "openvino"])]
    device: String,
    /// Face detector: a file [default: that of deepfakedetect]
    #[arg(long, value_name = "FILE")]
    detector: Option<PathBuf>,
    /// Clips worked on at once, a process each [default: one per core]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Where to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What a worker process is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    #[serde(flatten)]
    detector: Detector,
    degradation: Option<Degradation>,
}

/// What the pipeline said of one clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Calibrated P(fake), 0..1; `None` if no window was judged.
    pub score: Option<f64>,
    /// What is said of the clip, `None` where nothing can be.
    pub state: Option<State>,
    /// Faces followed.
    pub faces: usize,
    /// Windows behind the score.
    pub windows: usize,
    /// Why there is no score; empty if there is one.
    pub reason: String,
    /// As `score`, from the mean logit of single crops in the place of windows; where there is a score and the model tells.
    pub frame_score: Option<f64>,
    /// Mean part of the frame that the highest face covers, 0..1.
    pub face_size: f64,
    /// Seconds of the stream from the first report of the highest face to its first score, and to its first verdict, fake or authentic.
    pub scored_after: Option<f64>,
    pub decided_after: Option<f64>,
    /// Alerts that the clip would raise in a live pipeline, by the rule and the defaults of `deepfakedetect`.
    pub alerts: usize,
    /// Length of the clip.
    pub seconds: f64,
    /// The clip could not be read to its end.
    #[serde(skip)]
    pub failed: bool,
}

impl Outcome {
    fn failed(reason: String) -> Self {
        Self {
            score: None,
            state: None,
            faces: 0,
            windows: 0,
            reason,
            frame_score: None,
            face_size: 0.0,
            scored_after: None,
            decided_after: None,
            alerts: 0,
            seconds: 0.0,
            failed: true,
        }
    }
}

/// One model to be measured.
pub struct Subject {
    /// As tables name it; no two subjects share it.
    pub name: String,
    /// Folder of its results, where there are several subjects.
    folder: String,
    setup: Setup,
    pub package: ModelPackage,
    /// Given by --peer.
    pub peer: bool,
    pub cost: Cost,
}

impl Subject {
    /// Score from which a clip is called fake.
    pub fn threshold(&self) -> f64 {
        self.package.calibration.fake_threshold.into()
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let clips = clips::read(&args.list.clips, args.list.root.as_deref(), args.list.split.as_deref())?;
    for pool in &args.pool {
        pool.check(&clips)?;
    }
    let subjects = subjects(&args)?;
    let workers = args.jobs.map_or_else(deepfake_engine::inference::cores, usize::from);
    let folder =
        |subject: &Subject| if subjects.len() == 1 { args.out.clone() } else { args.out.join(&subject.folder) };

    // Results of each run are written as soon as it is done; journals stay until all are, so that a stopped command
    // does none of them twice.
    let mut journals = Vec::new();
    let mut score =
        |subject: &Subject, degradation: Option<Degradation>, out: &Path| -> Result<(Vec<Outcome>, String)> {
            let (outcomes, journal) = score(&clips, subject, degradation, out, workers)?;
            journals.push(journal);
            let rows: Vec<_> = clips.iter().zip(&outcomes).collect();
            let table = results::write(out, &rows, &subject.package)?;
            Ok((outcomes, table))
        };
    let mut clean = Vec::new();
    for subject in &subjects {
        let (outcomes, table) = score(subject, None, &folder(subject))?;
        files::print(&format!("{table}\n"));
        clean.push(outcomes);
    }
    let runs: Vec<Run> =
        subjects.iter().zip(&clean).map(|(subject, outcomes)| beside(&clips, subject, outcomes)).collect();
    let (comparison, names) = compare::write(&args.out, &runs, &args.pool)?;
    if subjects.len() > 1 {
        files::print(&comparison);
    }
    files::print(&format!("written to {}: {}\n", args.out.display(), names.join(", ")));

    let mut worse = Vec::new();
    for degradation in &args.degrade {
        for subject in &subjects {
            let out = folder(subject).join("degraded").join(degradation.to_string());
            worse.push((subject, *degradation, score(subject, Some(*degradation), &out)?.0));
        }
    }
    if !worse.is_empty() {
        let degraded = worse.iter().map(|(subject, degradation, outcomes)| Degraded {
            run: beside(&clips, subject, outcomes),
            degradation: *degradation,
        });
        let names = compare::write_robustness(&args.out, &runs, &degraded.collect::<Vec<_>>())?;
        files::print(&format!("written to {}: {}\n", args.out.display(), names.join(", ")));
    }
    for journal in journals {
        journal.remove()?;
    }
    for (subject, outcomes) in subjects.iter().zip(&clean) {
        if outcomes.iter().all(|outcome| outcome.failed) {
            bail!("{}: all {} clip(s) failed; the first: {}", subject.name, clips.len(), outcomes[0].reason);
        }
    }
    Ok(())
}

fn beside<'a>(clips: &'a [clips::Clip], subject: &'a Subject, outcomes: &'a [Outcome]) -> Run<'a> {
    Run { subject, rows: clips.iter().zip(outcomes).collect() }
}

/// The models to be measured, each loaded once: a broken one is told before hours of decoding.
fn subjects(args: &Args) -> Result<Vec<Subject>> {
    let detector = match &args.detector {
        Some(file) => Some(file.canonicalize().with_context(|| format!("no file {}", file.display()))?),
        None => None,
    };
    let device: DeviceRequest = args.device.parse().map_err(|error| anyhow!("--device: {error}"))?;
    let options = SessionOptions { device, require_device: args.device != "auto", threads: 1 };
    let mut given: Vec<(String, bool)> = Vec::new();
    for name in &args.model {
        given.push((model(Some(name))?, false));
    }
    if given.is_empty() {
        given.push((model(None)?, false));
    }
    for peer in &args.peer {
        let file = peer.canonicalize().with_context(|| format!("no peer {}", peer.display()))?;
        let folder = if file.is_dir() { &file } else { file.parent().expect("a file lies in a folder") };
        given.push((folder.to_string_lossy().into_owned(), true));
    }

    let mut subjects: Vec<Subject> = Vec::new();
    for (model, peer) in given {
        let package = ModelPackage::find(&model)?;
        if subjects.iter().any(|other| other.package.dir == package.dir) {
            bail!("the model {} is given twice", package.dir.display());
        }
        let unique = |wanted: &str, of: fn(&Subject) -> &str| {
            let taken = |name: &str| subjects.iter().any(|other| of(other) == name);
            let numbered = (2..).map(|number| format!("{wanted}-{number}"));
            std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !taken(name)).expect("numbers do not end")
        };
        let subject = Subject {
            name: unique(&package.full_name(), |other| &other.name),
            folder: unique(&package.name.replace('/', "-"), |other| &other.folder),
            setup: Setup {
                detector: Detector { model, device: args.device.clone(), detector: detector.clone() },
                degradation: None,
            },
            cost: Cost::measure(&package, &options)?,
            package,
            peer,
        };
        subjects.push(subject);
    }
    Ok(subjects)
}

/// What the model says of each clip, in the order of `clips`; and the journal in `out`, from which a stopped run goes on.
fn score(
    clips: &[clips::Clip],
    subject: &Subject,
    degradation: Option<Degradation>,
    out: &Path,
    workers: usize,
) -> Result<(Vec<Outcome>, Journal<Outcome>)> {
    fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let setup = Setup { degradation, ..subject.setup.clone() };
    let mut journal = Journal::open(out.join(JOURNAL), &fingerprint(&setup, &subject.package)?)?;
    let mut outcomes: Vec<Option<Outcome>> = clips.iter().map(|clip| journal.known(&clip.file, &clip.path)).collect();
    let todo: Vec<usize> = (0..clips.len()).filter(|index| outcomes[*index].is_none()).collect();
    let name = degradation.map_or(subject.name.clone(), |degradation| format!("{}, {degradation}", subject.name));
    if todo.len() < clips.len() {
        eprintln!(
            "{name}: {} of {} clips were scored by a run that was stopped",
            clips.len() - todo.len(),
            clips.len()
        );
    }
    let jobs: Vec<&PathBuf> = todo.iter().map(|index| &clips[*index].path).collect();
    let progress = Progress::new(jobs.len(), &format!("scoring with {name}"));
    let mut failed = 0;
    let done = pool::run(&pool::Setup::Evaluate(setup), &jobs, workers, |index, result: Result<Outcome, String>| {
        let clip = &clips[todo[index]];
        let outcome = match result {
            Ok(outcome) => {
                journal.add(&clip.file, &clip.path, &outcome)?;
                outcome
            }
            Err(reason) => {
                failed += 1;
                Outcome::failed(reason)
            }
        };
        outcomes[todo[index]] = Some(outcome);
        progress.step(&format!("{failed} failed"));
        Ok(())
    });
    progress.finish();
    done?;
    let outcomes = outcomes.into_iter().map(|outcome| outcome.expect("every clip has an answer or the run an error"));
    Ok((outcomes.collect(), journal))
}

/// The model as the element takes it: a folder by its full path, so that it does not depend on where one stands.
pub fn model(given: Option<&str>) -> Result<String> {
    let Some(given) = given else {
        let element = gst::ElementFactory::make("deepfakedetect").build().context("the plugin is not registered")?;
        return Ok(element.property("model"));
    };
    match Path::new(given).canonicalize() {
        Ok(folder) if folder.is_dir() && places::find_model(given).is_err() => {
            Ok(folder.to_string_lossy().into_owned())
        }
        _ => Ok(given.to_owned()),
    }
}

/// Scores depend on all of this: results of a stopped run are taken over only if it is the same.
pub fn fingerprint(setup: &impl Serialize, package: &ModelPackage) -> Result<String> {
    // The description holds the checksums of the weights.
    let description = fs::read_to_string(package.dir.join("model.toml"))?;
    let program = fs::metadata(files::THIS_PROGRAM)?;
    Ok(serde_json::to_string(&(setup, description, program.len(), program.modified()?))?)
}

/// Scores clips, one after the other, in a worker process.
pub struct Scorer {
    setup: Setup,
    fake: f64,
    authentic: f64,
    _warm: Warm,
}

impl Scorer {
    /// Starts an element with the model once, so that what makes every clip fail is told at once.
    pub fn new(setup: Setup) -> Result<Self> {
        let calibration = ModelPackage::find(&setup.detector.model)?.calibration;
        Ok(Self {
            _warm: setup.detector.warm()?,
            setup,
            fake: calibration.fake_threshold.into(),
            authentic: calibration.authentic_threshold.into(),
        })
    }

    /// Scores one clip.
    pub fn clip(&mut self, path: &Path) -> Result<Outcome> {
        let worse = self.setup.degradation.as_ref().map(Degradation::element).transpose()?;
        let middle: Vec<_> = worse.into_iter().chain([self.setup.detector.element()?]).collect();
        let mut decoder = Decoder::open(path, &frame::caps(), &middle)?;
        let mut tally = Tally::default();
        while let Some(sample) = decoder.next()? {
            if let Some(report) = sample.buffer().and_then(meta::read) {
                tally.add(report, self.fake);
            }
        }
        Ok(tally.outcome(self.fake, self.authentic))
    }
}

/// What the reports of one clip add up to.
#[derive(Debug, Default)]
struct Tally {
    tracks: BTreeMap<u32, Track>,
    rejected: BTreeMap<&'static str, usize>,
    frames: usize,
    watch: AlertWatch,
    alerts: usize,
    /// Times of the first and the newest report, ns.
    span: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Track {
    /// Logits by the time of the window's newest crop: a report is repeated on each buffer until there is a new one.
    logits: BTreeMap<u64, f64>,
    /// The same of single crops.
    frame_logits: BTreeMap<u64, f64>,
    /// Sum of the box's area over all reports, and how many there were.
    area: f64,
    reports: usize,
    /// PTS in nanoseconds of the first report, of the first with a score, and of the first with a verdict.
    first: Option<u64>,
    scored: Option<u64>,
    decided: Option<u64>,
    fullest: u32,
    window_size: u32,
}

impl Track {
    fn seconds_to(&self, pts: Option<u64>) -> Option<f64> {
        Some(pts?.saturating_sub(self.first?) as f64 / 1e9)
    }
}

impl Tally {
    fn add(&mut self, report: FrameReport, fake: f64) {
        self.frames += 1;
        let (first, _) = self.span.unwrap_or((report.time(), 0));
        self.span = Some((first, report.time()));
        let report = Arc::new(report);
        let alerts = self.watch.update(&report, fake);
        self.alerts += alerts.iter().filter(|alert| alert.action == Action::Raised).count();
        for face in &report.faces {
            let track = self.tracks.entry(face.track_id).or_default();
            track.fullest = track.fullest.max(face.window_fill);
            track.window_size = face.window_size;
            track.area += face.width * face.height;
            track.reports += 1;
            track.first.get_or_insert(report.pts);
            if matches!(face.state, State::Fake | State::Authentic) {
                track.decided.get_or_insert(report.pts);
            }
            if face.state == State::Rejected {
                *self.rejected.entry(face.reason.map_or("rejected", Reason::as_str)).or_default() += 1;
            } else if let (Some(score), Some(end)) = (face.score, face.window_end) {
                track.scored.get_or_insert(report.pts);
                track.logits.insert(end, logit(score));
                track.frame_logits.extend(face.frame_score.map(|score| (end, logit(score))));
            }
        }
    }

    fn outcome(&self, fake: f64, authentic: f64) -> Outcome {
        let seconds = self.span.map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e9);
        Outcome { alerts: self.alerts, seconds, ..self.verdict(fake, authentic) }
    }

    fn verdict(&self, fake: f64, authentic: f64) -> Outcome {
        let mean = |logits: &BTreeMap<u64, f64>| {
            (!logits.is_empty()).then(|| logits.values().sum::<f64>() / logits.len() as f64)
        };
        let scored = self.tracks.values().filter_map(|track| Some((mean(&track.logits)?, track)));
        // Single crops choose their highest face for themselves, among those that have windows.
        let frame_score = self.tracks.values().filter_map(|track| mean(&track.frame_logits)).max_by(f64::total_cmp);
        if let Some((logit, track)) = scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
            let score = sigmoid(logit);
            let state = match score {
                score if score >= fake => State::Fake,
                score if score <= authentic => State::Authentic,
                _ => State::Uncertain,
            };
            return Outcome {
                score: Some(score),
                state: Some(state),
                faces: self.tracks.len(),
                windows: track.logits.len(),
                reason: String::new(),
                frame_score: frame_score.map(sigmoid),
                face_size: track.area / track.reports as f64,
                scored_after: track.seconds_to(track.scored),
                decided_after: track.seconds_to(track.decided),
                failed: false,
                ..Outcome::failed(String::new())
            };
        }
        let (state, reason) = if self.frames == 0 {
            (None, "no frame was analysed".into())
        } else if self.tracks.is_empty() {
            (None, "no face".into())
        } else if let Some((reason, _)) = self.rejected.iter().max_by_key(|(_, count)| **count) {
            (Some(State::Rejected), (*reason).to_owned())
        } else {
            let fullest = self.tracks.values().max_by_key(|track| track.fullest).expect("there is a track");
            let reason = format!("no face was seen long enough: {} of {} crops", fullest.fullest, fullest.window_size);
            (Some(State::Warming), reason)
        };
        Outcome { state, faces: self.tracks.len(), failed: false, ..Outcome::failed(reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deepfake_report::FaceReport;
    use deepfake_report::testing::with;

    fn face(track_id: u32, end: u64, score: Option<f64>) -> FaceReport {
        with(FaceReport::new(track_id), |face| {
            face.x = 0.0;
            face.y = 0.0;
            face.width = 0.5;
            face.height = 0.5;
            face.detection = 0.9;
            face.state = if score.is_some() { State::Uncertain } else { State::Warming };
            face.score = score;
            face.certainty = 0.0;
            face.window_fill = 7;
            face.window_size = 40;
            face.window_start = Some(0);
            face.window_end = Some(end);
        })
    }

    fn tally(frames: Vec<Vec<FaceReport>>) -> Outcome {
        let mut tally = Tally::default();
        for (index, faces) in frames.into_iter().enumerate() {
            tally.add(FrameReport::new(index as u64 * 1_000_000_000, "m@1", "cpu", faces), 0.7);
        }
        tally.outcome(0.7, 0.3)
    }

    #[test]
    fn the_score_is_the_highest_faces_mean_logit_and_repeated_windows_count_once() {
        let high = sigmoid(2.0);
        let outcome = tally(vec![
            vec![face(1, 0, Some(0.5)), face(2, 0, Some(0.1))],
            vec![face(1, 0, Some(0.5)), face(2, 0, Some(0.1))],
            vec![face(1, 1, Some(high)), face(2, 1, Some(0.1))],
        ]);
        assert!((outcome.score.unwrap() - sigmoid(1.0)).abs() < 1e-12);
        assert_eq!((outcome.faces, outcome.windows, outcome.state), (2, 2, Some(State::Fake)));
        assert_eq!(outcome.reason, "");
    }

    #[test]
    fn single_crops_have_a_mean_of_their_own() {
        let crop = |id, end, window: f64, frame: f64| {
            with(face(id, end, Some(sigmoid(window))), |face| face.frame_score = Some(sigmoid(frame)))
        };
        let outcome = tally(vec![
            vec![crop(1, 0, 2.0, -1.0), crop(2, 0, 0.0, 1.0)],
            vec![crop(1, 1, 2.0, -2.0), crop(2, 1, 0.0, 2.0)],
        ]);
        assert!((outcome.score.unwrap() - sigmoid(2.0)).abs() < 1e-9);
        assert!((outcome.frame_score.unwrap() - sigmoid(1.5)).abs() < 1e-9, "{outcome:?}");
        assert!((outcome.face_size - 0.25).abs() < 1e-9);
        assert_eq!(tally(vec![vec![face(1, 0, Some(0.5))]]).frame_score, None);
    }

    #[test]
    fn score_and_verdict_are_timed_from_the_first_sight_of_the_face() {
        let state = |state, score| with(face(1, 0, score), |face| face.state = state);
        let outcome = tally(vec![
            vec![],
            vec![state(State::Warming, None)],
            vec![state(State::Uncertain, Some(0.6))],
            vec![state(State::Uncertain, Some(0.6))],
            vec![state(State::Fake, Some(0.8))],
            vec![state(State::Authentic, Some(0.2))],
        ]);
        // A report a second.
        assert_eq!((outcome.scored_after, outcome.decided_after), (Some(1.0), Some(3.0)));
        assert_eq!(tally(vec![vec![state(State::Uncertain, Some(0.6))]]).decided_after, None);
    }

    #[test]
    fn alerts_are_those_of_a_live_pipeline() {
        // Ten crops a second, of which a face looks fake for so many.
        let alerts = |fake_crops: u64| {
            let mut tally = Tally::default();
            for crop in 0..100 {
                let score = if crop < fake_crops { 0.95 } else { 0.05 };
                let time = crop * 100_000_000;
                let seen = with(face(1, time, Some(score)), |face| {
                    face.window_fill = face.window_size;
                    face.state = if score > 0.7 { State::Fake } else { State::Authentic };
                });
                tally.add(FrameReport::new(time, "m@1", "cpu", vec![seen]), 0.7);
            }
            let outcome = tally.outcome(0.7, 0.3);
            assert!((outcome.seconds - 9.9).abs() < 1e-9);
            outcome.alerts
        };
        assert_eq!([alerts(0), alerts(10), alerts(60)], [0, 0, 1]);
    }

    #[test]
    fn the_state_of_a_clip_follows_the_thresholds() {
        let state = |score| tally(vec![vec![face(1, 0, Some(score))]]).state;
        assert_eq!(state(0.71), Some(State::Fake));
        assert_eq!(state(0.5), Some(State::Uncertain));
        assert_eq!(state(0.29), Some(State::Authentic));
    }

    #[test]
    fn a_clip_that_cannot_be_scored_says_why() {
        let outcome = tally(vec![]);
        assert_eq!((outcome.score, outcome.reason.as_str()), (None, "no frame was analysed"));
        let outcome = tally(vec![vec![]]);
        assert_eq!((outcome.state, outcome.faces, outcome.reason.as_str()), (None, 0, "no face"));
        let outcome = tally(vec![vec![face(1, 0, None)]]);
        assert_eq!(outcome.state, Some(State::Warming));
        assert!(outcome.reason.contains("7 of 40"), "{}", outcome.reason);
        let small = with(face(1, 0, Some(0.9)), |face| {
            face.state = State::Rejected;
            face.reason = Some(Reason::TooSmall);
        });
        let outcome = tally(vec![vec![small]]);
        assert_eq!((outcome.score, outcome.state), (None, Some(State::Rejected)));
        assert_eq!(outcome.reason, "too-small");
    }
}
