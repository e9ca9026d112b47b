//! Models beside each other on the same clips: `comparison.md` and `.json`, and what degradations do to each.

use std::{collections::BTreeSet, fmt::Write, path::Path, str::FromStr};

use anyhow::{Result, bail, ensure};
use deepfake_engine::inference::{Model, ModelPackage, SessionOptions, package::Graphs};
use ndarray::{Array2, Array4};
use serde::Serialize;

use super::{
    Outcome, Subject,
    degrade::Degradation,
    metrics::{Difference, Metrics, Roc, Scored, auc_difference, auc_of_shuffled_labels},
    plots::{self, Curve},
    results::{Row, number},
};
use crate::{
    clips::{Clip, Label},
    files,
};

/// What a new face costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Encoder once and head once, in milliseconds: of processor time on the CPU with one thread, else of real time.
    pub ms_per_face: f64,
    /// All graphs together, in 10⁶ bytes.
    pub megabytes: f64,
}

impl Cost {
    /// Runs the model's graphs on a blank face a few times and takes the median.
    ///
    /// # Errors
    /// If the model cannot be loaded or run: better now than after hours of decoding.
    pub fn measure(package: &ModelPackage, options: &SessionOptions) -> Result<Self> {
        const WARM: usize = 3;
        const RUNS: usize = 15;
        let bytes: u64 =
            package.graphs.all().iter().map(|graph| graph.file.path.metadata().map_or(0, |about| about.len())).sum();
        let model = Model::load(package.clone(), options)?;
        let on_cpu = model.device() == deepfake_engine::inference::Device::Cpu;
        let input = &package.input;
        let mut times = Vec::with_capacity(RUNS);
        for run in 0..WARM + RUNS {
            let begin = now(on_cpu);
            let feature =
                model.encode(Array4::from_elem((1, 3, input.height, input.width), 127.5).view_mut())?.remove(0).feature;
            let window = Array2::from_shape_fn((package.window.frames, feature.len()), |(_, index)| feature[index]);
            model.head(&[window.view()])?;
            if run >= WARM {
                times.push((now(on_cpu) - begin) * 1e3);
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(Self { ms_per_face: times[RUNS / 2], megabytes: bytes as f64 / 1e6 })
    }
}

/// Seconds that this process has computed (all its threads), or that have passed. The first does not count what other
/// programs do meanwhile.
fn now(of_this_process: bool) -> f64 {
    let clock = if of_this_process { libc::CLOCK_PROCESS_CPUTIME_ID } else { libc::CLOCK_MONOTONIC };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both clocks exist on every Linux, and `time` is ours to write.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(result, 0, "the clock can be read");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// One model and what it said of each clip, in the order of the list.
pub struct Run<'a> {
    pub subject: &'a Subject,
    pub rows: Vec<Row<'a>>,
}

/// The same for clips made worse.
pub struct Degraded<'a> {
    pub run: Run<'a>,
    pub degradation: Degradation,
}

/// `comparison.json`.
#[derive(Serialize)]
struct Comparison<'a> {
    parts: Vec<Part<'a>>,
    models: Vec<Told<'a>>,
    controls: Controls,
    notes: &'static str,
}

#[derive(Serialize)]
struct Told<'a> {
    model: &'a str,
    /// Given by --peer.
    peer: bool,
    #[serde(flatten)]
    cost: Cost,
    /// The mean of single crops' scores in the place of windows' scores; where the model says both.
    frame_mean: Option<FrameMean>,
    timing: Timing,
}

/// Seconds of the stream from the first sight of a face to what is said of it. Medians, and nine clips of ten.
#[derive(Serialize)]
struct Timing {
    first_score: Option<[f64; 2]>,
    /// Of the clips with a verdict, fake or authentic, at any time.
    verdict: Option<[f64; 2]>,
    /// Part of the scored clips that have one.
    decided: Option<f64>,
}

impl Timing {
    fn of(rows: &[Row]) -> Self {
        let seconds = |of: fn(&Outcome) -> Option<f64>| -> Vec<f64> {
            let mut seconds: Vec<_> = rows.iter().filter_map(|(_, outcome)| of(outcome)).collect();
            seconds.sort_by(f64::total_cmp);
            seconds
        };
        let (scored, decided) = (seconds(|outcome| outcome.scored_after), seconds(|outcome| outcome.decided_after));
        let of_parts = |seconds: &[f64]| {
            let at = |part: f64| seconds[((seconds.len() - 1) as f64 * part).round() as usize];
            (!seconds.is_empty()).then(|| [at(0.5), at(0.9)])
        };
        Self {
            first_score: of_parts(&scored),
            verdict: of_parts(&decided),
            decided: (!scored.is_empty()).then(|| decided.len() as f64 / scored.len() as f64),
        }
    }
}

#[derive(Serialize)]
struct FrameMean {
    #[serde(flatten)]
    metrics: Metrics,
    /// AUC of windows less that of frames.
    window_less_frame: Option<Difference>,
}

/// Datasets taken together.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    name: String,
    datasets: Vec<String>,
}

impl FromStr for Pool {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, datasets) = text.split_once('=').unwrap_or_default();
        let datasets: Vec<_> = datasets.split(',').map(|dataset| dataset.trim().to_owned()).collect();
        ensure!(
            !name.trim().is_empty() && datasets.iter().all(|dataset| !dataset.is_empty()),
            "`{text}` is not NAME=DATASET[,DATASET…]"
        );
        Ok(Self { name: name.trim().to_owned(), datasets })
    }
}

impl Pool {
    /// # Errors
    /// If no clip is of one of the datasets.
    pub fn check(&self, clips: &[Clip]) -> Result<()> {
        let known: BTreeSet<&str> = clips.iter().map(|clip| clip.dataset.as_str()).collect();
        match self.datasets.iter().find(|dataset| !known.contains(dataset.as_str())) {
            Some(dataset) => {
                let known = known.into_iter().collect::<Vec<_>>().join(", ");
                bail!("--pool {}: no clip is of the dataset `{dataset}`; there are {known}", self.name)
            }
            None => Ok(()),
        }
    }
}

/// All clips, those of one dataset, or those of a pool.
#[derive(Serialize)]
struct Part<'a> {
    name: &'a str,
    /// In the order of the models.
    metrics: Vec<Metrics>,
    /// The first model's AUC less that of each further one, on the clips that both scored.
    first_less_other: Vec<Option<Difference>>,
}

/// AUCs of what says nothing of a face: far from one half, the clips give their class away by something else.
#[derive(Serialize)]
struct Controls {
    /// Mean size of the first model's highest face, and the length of its windows' series, as if they were scores.
    face_size: Option<f64>,
    windows: Option<f64>,
    /// The first model's scores against labels dealt out anew.
    shuffled_labels: Option<f64>,
}

const NOTES: &str = "Positive is fake. 95 % intervals: percentiles of 2000 bootstrap draws over groups, fixed seed; \
    differences are paired, both scores taken on each draw. balanced_accuracy, fpr and tpr: at each package's own \
    fake_threshold. ms_per_face: encoder and head once each, median, on the CPU processor time of one thread. frame_mean: mean \
    logit of single crops instead of windows. controls: AUC of the size of the face and of the number of windows as if they \
    were scores, and of the first model's scores against shuffled labels; about .5 unless the clips give their class away.";

fn scored<'a>(rows: &[Row<'a>], score: impl Fn(&Outcome) -> Option<f64>) -> Vec<Scored<'a>> {
    rows.iter()
        .filter_map(|(clip, outcome)| {
            Some(Scored { score: score(outcome)?, fake: clip.label == Label::Fake, group: &clip.group })
        })
        .collect()
}

/// The clips of which both scores are there, with each.
fn paired<'a>(rows: impl Iterator<Item = (&'a Clip, Option<f64>, Option<f64>)>) -> (Vec<Scored<'a>>, Vec<Scored<'a>>) {
    rows.filter_map(|(clip, one, other)| {
        let with = |score| Scored { score, fake: clip.label == Label::Fake, group: clip.group.as_str() };
        Some((with(one?), with(other?)))
    })
    .unzip()
}

fn difference<'a>(rows: impl Iterator<Item = (&'a Clip, Option<f64>, Option<f64>)>) -> Option<Difference> {
    let (one, other) = paired(rows);
    auc_difference(&one, &other)
}

fn compare<'a>(runs: &'a [Run<'a>], pools: &'a [Pool]) -> Comparison<'a> {
    let first = &runs[0];
    let datasets: BTreeSet<&str> = first.rows.iter().map(|(clip, _)| clip.dataset.as_str()).collect();
    let named = datasets.into_iter().filter(|name| !name.is_empty()).map(|name| (name, vec![name]));
    let pooled = pools.iter().map(|pool| (pool.name.as_str(), pool.datasets.iter().map(String::as_str).collect()));
    let part = |(name, datasets): (&'a str, Vec<&str>)| {
        let belongs = |clip: &Clip| datasets.is_empty() || datasets.contains(&clip.dataset.as_str());
        let metrics = runs.iter().map(|run| {
            let rows: Vec<Row> = run.rows.iter().copied().filter(|(clip, _)| belongs(clip)).collect();
            let scored = scored(&rows, |outcome| outcome.score);
            Metrics::new(&scored, rows.len() - scored.len(), run.subject.threshold())
        });
        let first_less_other = runs[1..].iter().map(|other| {
            let rows = first.rows.iter().zip(&other.rows).filter(|((clip, _), _)| belongs(clip));
            difference(rows.map(|((clip, one), (_, other))| (*clip, one.score, other.score)))
        });
        Part { name, metrics: metrics.collect(), first_less_other: first_less_other.collect() }
    };
    let told = |run: &'a Run<'a>| Told {
        model: &run.subject.name,
        peer: run.subject.peer,
        cost: run.subject.cost,
        frame_mean: frame_mean(run),
        timing: Timing::of(&run.rows),
    };
    let auc = |score: &dyn Fn(&Outcome) -> Option<f64>| Roc::new(&scored(&first.rows, score)).map(|roc| roc.auc());
    Comparison {
        parts: std::iter::once(("all clips", vec![])).chain(named).chain(pooled).map(part).collect(),
        models: runs.iter().map(told).collect(),
        controls: Controls {
            face_size: auc(&|outcome| outcome.score.map(|_| outcome.face_size)),
            windows: auc(&|outcome| outcome.score.map(|_| outcome.windows as f64)),
            shuffled_labels: auc_of_shuffled_labels(&scored(&first.rows, |outcome| outcome.score)),
        },
        notes: NOTES,
    }
}

/// `None` for models that say nothing of single crops, or nothing else.
fn frame_mean(run: &Run) -> Option<FrameMean> {
    let Graphs::Split { encoder, .. } = &run.subject.package.graphs else { return None };
    encoder.frame_output.as_ref()?;
    let frames = scored(&run.rows, |outcome| outcome.frame_score);
    let both = run.rows.iter().map(|(clip, outcome)| (*clip, outcome.score, outcome.frame_score));
    Some(FrameMean {
        metrics: Metrics::new(&frames, run.rows.len() - frames.len(), run.subject.threshold()),
        window_less_frame: difference(both),
    })
}

/// Writes `comparison.md`, `comparison.json` and, for several models, their ROC curves into `out`. Returns the text of the
/// first, and the names of all files.
pub fn write(out: &Path, runs: &[Run], pools: &[Pool]) -> Result<(String, Vec<String>)> {
    let comparison = compare(runs, pools);
    let text = markdown(&comparison);
    files::write(&out.join("comparison.md"), text.as_bytes())?;
    files::write(&out.join("comparison.json"), &serde_json::to_vec_pretty(&comparison)?)?;
    let mut names = vec!["comparison.md".to_owned(), "comparison.json".to_owned()];
    if runs.len() > 1 {
        let curve = |(run, metrics): (&Run, &Metrics)| {
            let roc = Roc::new(&scored(&run.rows, |outcome| outcome.score))?;
            Some(Curve {
                model: run.subject.name.clone(),
                note: interval(metrics.auc, metrics.auc_low, metrics.auc_high),
                line: roc.corners.iter().map(|corner| (corner.fpr, corner.tpr)).collect(),
            })
        };
        let curves: Vec<_> = runs.iter().zip(&comparison.parts[0].metrics).filter_map(curve).collect();
        if !curves.is_empty() {
            names.extend(plots::draw_all(out, &format!("{} clips", runs[0].rows.len()), &curves)?);
        }
    }
    Ok((text, names))
}

fn interval(value: Option<f64>, low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!("{} ({low:.3} to {high:.3})", number(value)),
        _ => number(value),
    }
}

fn signed(difference: Option<&Difference>) -> String {
    let Some(Difference { auc_difference, low, high, clips }) = difference else { return "–".into() };
    match (low, high) {
        (Some(low), Some(high)) => format!("{auc_difference:+.3} ({low:+.3} to {high:+.3}), {clips} clips"),
        _ => format!("{auc_difference:+.3}, {clips} clips"),
    }
}

fn markdown(comparison: &Comparison) -> String {
    let mut text = "# Comparison\n\nAUC with 95 % interval (bootstrap over groups).\n\n| model |".to_owned();
    for part in &comparison.parts {
        let _ = write!(text, " {} |", part.name);
    }
    text += " ms per face | MB |\n|---|";
    text += &"---|".repeat(comparison.parts.len() + 2);
    text += "\n";
    for (index, told) in comparison.models.iter().enumerate() {
        let _ = write!(text, "| {}{} |", told.model, if told.peer { " (peer)" } else { "" });
        for Metrics { auc, auc_low, auc_high, .. } in comparison.parts.iter().map(|part| &part.metrics[index]) {
            let _ = write!(text, " {} |", interval(*auc, *auc_low, *auc_high));
        }
        let _ = writeln!(text, " {:.2} | {:.1} |", told.cost.ms_per_face, told.cost.megabytes);
    }
    text += "\nEach at its own threshold:\n\n| model | clips | real | fake | abstained | balanced accuracy | caught | false alarms | ECE |\n";
    text += "|---|---|---|---|---|---|---|---|---|\n";
    for part in &comparison.parts {
        for (told, metrics) in comparison.models.iter().zip(&part.metrics) {
            let Metrics { real, fake, abstained, balanced_accuracy, tpr, fpr, ece, .. } = metrics;
            let figures = [balanced_accuracy, tpr, fpr, ece].map(|figure| number(*figure)).join(" | ");
            let _ = writeln!(text, "| {} | {} | {real} | {fake} | {abstained} | {figures} |", told.model, part.name);
        }
    }
    if let [first, others @ ..] = &comparison.models[..]
        && !others.is_empty()
    {
        let _ = write!(text, "\nAUC of {} less that of the others, paired:\n\n| other |", first.model);
        for part in &comparison.parts {
            let _ = write!(text, " {} |", part.name);
        }
        let _ = write!(text, "\n|---|{}\n", "---|".repeat(comparison.parts.len()));
        for (index, other) in others.iter().enumerate() {
            let _ = write!(text, "| {} |", other.model);
            for part in &comparison.parts {
                let _ = write!(text, " {} |", signed(part.first_less_other[index].as_ref()));
            }
            text += "\n";
        }
    }
    let with_frames: Vec<_> =
        comparison.models.iter().filter_map(|told| Some((told.model, told.frame_mean.as_ref()?))).collect();
    if !with_frames.is_empty() {
        text += "\nMean of single crops instead of windows:\n\n| model | AUC of frames | windows less frames |\n|---|---|---|\n";
        for (model, FrameMean { metrics, window_less_frame }) in with_frames {
            let auc = interval(metrics.auc, metrics.auc_low, metrics.auc_high);
            let _ = writeln!(text, "| {model} | {auc} | {} |", signed(window_less_frame.as_ref()));
        }
    }
    text += "\nTime to decision, in seconds of the stream from the first sight of a face; half of the clips, and nine of ten, take no longer:\n\n\
             | model | first score | verdict, fake or authentic | clips with a verdict |\n|---|---|---|---|\n";
    for Told { model, timing, .. } in &comparison.models {
        let two =
            |seconds: Option<[f64; 2]>| seconds.map_or("–".into(), |[half, most]| format!("{half:.1}, {most:.1}"));
        let (score, verdict) = (two(timing.first_score), two(timing.verdict));
        let _ = writeln!(text, "| {model} | {score} | {verdict} | {} |", number(timing.decided));
    }
    let Controls { face_size, windows, shuffled_labels } = &comparison.controls;
    let _ = writeln!(
        text,
        "\nNegative controls (AUC, about .5 unless the clips give their class away): size of the face {}, number of windows {}, \
         shuffled labels {}.",
        number(*face_size),
        number(*windows),
        number(*shuffled_labels)
    );
    text
}

fn of_model<'a>(degraded: &'a [Degraded<'a>], run: &'a Run) -> impl Iterator<Item = &'a Degraded<'a>> {
    degraded.iter().filter(|one| one.run.subject.name == run.subject.name)
}

/// Writes `robustness.csv`, a row for each model and degradation (the first of a model without any), and the curves of each
/// kind. Returns the names of the files.
pub fn write_robustness(out: &Path, runs: &[Run], degraded: &[Degraded]) -> Result<Vec<String>> {
    let metrics = |run: &Run| {
        let scored = scored(&run.rows, |outcome| outcome.score);
        Metrics::new(&scored, run.rows.len() - scored.len(), run.subject.threshold())
    };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "model",
        "kind",
        "value",
        "auc",
        "auc_low",
        "auc_high",
        "balanced_accuracy",
        "tpr",
        "fpr",
        "clips",
        "abstained",
    ])?;
    for run in runs {
        let clean = std::iter::once((None, metrics(run)));
        let worse = of_model(degraded, run).map(|one| (Some(one.degradation), metrics(&one.run)));
        for (degradation, figures) in clean.chain(worse) {
            let cell = |figure: Option<f64>| figure.map_or(String::new(), |figure| figure.to_string());
            writer.write_record([
                run.subject.name.clone(),
                degradation.map_or("none", |one| one.kind.as_str()).to_owned(),
                cell(degradation.map(|one| one.value)),
                cell(figures.auc),
                cell(figures.auc_low),
                cell(figures.auc_high),
                cell(figures.balanced_accuracy),
                cell(figures.tpr),
                cell(figures.fpr),
                figures.clips.to_string(),
                figures.abstained.to_string(),
            ])?;
        }
    }
    files::write(&out.join("robustness.csv"), &writer.into_inner()?)?;
    let mut names = vec!["robustness.csv".to_owned()];
    let kinds: BTreeSet<_> = degraded.iter().map(|one| one.degradation.kind).collect();
    for kind in kinds {
        let curve = |run: &Run| {
            let of_kind = of_model(degraded, run).filter(|one| one.degradation.kind == kind);
            let mut line: Vec<_> =
                of_kind.filter_map(|one| Some((one.degradation.value, metrics(&one.run).auc?))).collect();
            line.sort_by(|a, b| a.0.total_cmp(&b.0));
            let note = format!("(as they are: {})", number(metrics(run).auc));
            (!line.is_empty()).then(|| Curve { model: run.subject.name.clone(), note, line })
        };
        let curves: Vec<_> = runs.iter().filter_map(curve).collect();
        if !curves.is_empty() {
            let about = format!("{} clips", runs[0].rows.len());
            names.extend(plots::draw_robustness(out, kind.as_str(), &about, kind.unit(), &curves)?);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_a_name_and_its_datasets() {
        let pool: Pool = "unseen swaps = Celeb-DF v2, GHOST".parse().unwrap();
        assert_eq!(pool, Pool { name: "unseen swaps".into(), datasets: vec!["Celeb-DF v2".into(), "GHOST".into()] });
        for wrong in ["", "name", "=A", "name=", "name=A,,B"] {
            let said = wrong.parse::<Pool>().unwrap_err().to_string();
            assert!(said.contains("is not NAME=DATASET"), "{said}");
        }
    }
}
