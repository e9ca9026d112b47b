//! What an evaluation leaves behind: `scores.csv`, `metrics.json`, the plots, and a table on stdout.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Result;
use deepfake_engine::inference::ModelPackage;
use deepfake_report::State;
use serde::Serialize;

use super::{
    Outcome,
    metrics::{Metrics, Scored},
    plots,
};
use crate::{
    clips::{Clip, Label},
    files,
};

pub type Row<'a> = (&'a Clip, &'a Outcome);

/// `metrics.json`.
#[derive(Serialize)]
struct Figures<'a> {
    model: String,
    #[serde(flatten)]
    all: Metrics,
    /// Clips between the two thresholds.
    uncertain: usize,
    /// What all clips, played one after the other into a live pipeline, would have raised.
    alerts: Alerts,
    by: By<'a>,
    notes: &'static str,
}

#[derive(Serialize)]
struct Alerts {
    real: Raised,
    fake: Raised,
}

/// Alerts of the clips of one class.
#[derive(Serialize)]
struct Raised {
    hours: f64,
    alerts: usize,
    /// `None` without a clip.
    per_hour: Option<f64>,
    /// Share of the clips that raised at least one.
    clips: Option<f64>,
}

impl Raised {
    fn of(rows: &[Row], label: Label) -> Self {
        let outcomes = rows.iter().filter(|(clip, _)| clip.label == label).map(|(_, outcome)| *outcome);
        let (mut count, mut raised, mut alerts, mut hours) = (0, 0usize, 0, 0.0);
        for outcome in outcomes {
            count += 1;
            raised += usize::from(outcome.alerts > 0);
            alerts += outcome.alerts;
            hours += outcome.seconds / 3600.0;
        }
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        Self { hours, alerts, per_hour: share(alerts as f64, hours), clips: share(raised as f64, count as f64) }
    }
}

#[derive(Serialize)]
struct By<'a> {
    dataset: BTreeMap<&'a str, Metrics>,
    method: BTreeMap<&'a str, Metrics>,
}

const NOTES: &str = "Positive is fake. Clips without a score (abstained) are part of no other figure. auc_low and auc_high: \
    95 % interval, percentiles of 2000 bootstrap draws over groups, fixed seed. threshold: the model package's \
    fake_threshold. by.method: fakes of the method against real clips of the datasets it occurs in, or against all \
    real clips where those have none. alerts: by the rule and the defaults of deepfakedetect, each clip a shot of its own. A score is evidence, not proof.";

/// Writes everything into `out`. Returns the table and what was written, in words.
pub fn write(out: &Path, rows: &[Row], package: &ModelPackage) -> Result<String> {
    files::write(&out.join("scores.csv"), &scores(rows)?)?;
    let figures = figures(rows, package);
    files::write(&out.join("metrics.json"), &serde_json::to_vec_pretty(&figures)?)?;
    let scored = scored(rows.iter().copied());
    let split = &rows[0].0.split;
    let one_split = !split.is_empty() && rows.iter().all(|(clip, _)| clip.split == *split);
    let plots = plots::draw(
        out,
        &plots::Subject {
            model: &figures.model,
            clips: if one_split { split } else { "all splits" },
            scored: &scored,
            metrics: &figures.all,
        },
    )?;
    let table = table(&figures, rows);
    Ok(format!("{table}\nwritten to {}: scores.csv, metrics.json, {}\n", out.display(), plots.join(", ")))
}

fn scores(rows: &[Row]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "file", "label", "method", "dataset", "group", "score", "state", "faces", "windows", "reason",
    ])?;
    for (clip, outcome) in rows {
        writer.write_record([
            clip.file.as_str(),
            clip.label.as_str(),
            &clip.method,
            &clip.dataset,
            &clip.group,
            // In full: the shortest digits that read back as the same number.
            &outcome.score.map_or(String::new(), |score| score.to_string()),
            outcome.state.map_or("", State::as_str),
            &outcome.faces.to_string(),
            &outcome.windows.to_string(),
            &outcome.reason,
        ])?;
    }
    Ok(writer.into_inner()?)
}

fn scored<'a>(rows: impl Iterator<Item = Row<'a>>) -> Vec<Scored<'a>> {
    rows.filter_map(|(clip, outcome)| {
        Some(Scored { score: outcome.score?, fake: clip.label == Label::Fake, group: &clip.group })
    })
    .collect()
}

fn figures<'a>(rows: &[Row<'a>], package: &ModelPackage) -> Figures<'a> {
    let threshold = f64::from(package.calibration.fake_threshold);
    let of = |keep: &dyn Fn(&Clip) -> bool| {
        let kept: Vec<Row> = rows.iter().copied().filter(|(clip, _)| keep(clip)).collect();
        let scored = scored(kept.iter().copied());
        Metrics::new(&scored, kept.len() - scored.len(), threshold)
    };
    let named = |name: fn(&Clip) -> &str, fakes_only: bool| -> BTreeSet<&'a str> {
        let clips = rows.iter().map(|(clip, _)| *clip);
        clips
            .filter(|clip| !fakes_only || clip.label == Label::Fake)
            .map(name)
            .filter(|name| !name.is_empty())
            .collect()
    };
    let dataset =
        named(|clip| &clip.dataset, false).into_iter().map(|name| (name, of(&|clip| clip.dataset == name))).collect();
    let method = named(|clip| &clip.method, true)
        .into_iter()
        .map(|name| {
            let is_ours = |clip: &Clip| clip.label == Label::Fake && clip.method == name;
            let homes: BTreeSet<&str> =
                rows.iter().filter(|(clip, _)| is_ours(clip)).map(|(clip, _)| clip.dataset.as_str()).collect();
            let is_home = |clip: &Clip| clip.label == Label::Real && homes.contains(clip.dataset.as_str());
            let has_home = rows.iter().any(|(clip, _)| is_home(clip));
            let against = |clip: &Clip| if has_home { is_home(clip) } else { clip.label == Label::Real };
            (name, of(&|clip| is_ours(clip) || against(clip)))
        })
        .collect();
    Figures {
        model: package.full_name(),
        all: of(&|_| true),
        uncertain: rows.iter().filter(|(_, outcome)| outcome.state == Some(State::Uncertain)).count(),
        alerts: Alerts { real: Raised::of(rows, Label::Real), fake: Raised::of(rows, Label::Fake) },
        by: By { dataset, method },
        notes: NOTES,
    }
}

/// A figure in words.
pub fn number(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}

/// The table, and what is to be said of clips without a score.
fn table(figures: &Figures, rows: &[Row]) -> String {
    let line = |name: &str, metrics: &Metrics| {
        let interval = match (metrics.auc_low, metrics.auc_high) {
            (Some(low), Some(high)) => format!("{low:.3}–{high:.3}"),
            _ => "–".into(),
        };
        format!(
            "{name:<36} {:>5} {:>5} {:>5}  {:>6} {interval:>12}  {:>6} {:>6} {:>6} {:>6}\n",
            metrics.real,
            metrics.fake,
            metrics.abstained,
            number(metrics.auc),
            number(metrics.balanced_accuracy),
            number(metrics.tpr),
            number(metrics.fpr),
            number(metrics.eer),
        )
    };
    let all = &figures.all;
    let mut text = format!("model {}, fake from score {:.3} on\n\n", figures.model, all.threshold);
    text += &format!(
        "{:<36} {:>5} {:>5} {:>5}  {:>6} {:>12}  {:>6} {:>6} {:>6} {:>6}\n",
        "", "real", "fake", "abst.", "AUC", "95 %", "bal.", "caught", "alarms", "EER"
    );
    text += &line("all clips", all);
    for (title, part) in [("dataset", &figures.by.dataset), ("method", &figures.by.method)] {
        for (name, metrics) in part {
            let name: String = format!("{title} {name}").chars().take(36).collect();
            text += &line(&name, metrics);
        }
    }
    text += &format!("\n{} clip(s) between the thresholds (\"uncertain\")\n", figures.uncertain);
    let Alerts { real, fake } = &figures.alerts;
    let share = |clips: Option<f64>| clips.map_or("–".into(), |clips| format!("{:.0} %", 100.0 * clips));
    text += &format!(
        "alerts in a live pipeline: {} in {:.2} h of real clips ({} an hour); {} of the fake clips raise one\n",
        real.alerts,
        real.hours,
        real.per_hour.map_or("–".into(), |alerts| format!("{alerts:.1}")),
        share(fake.clips)
    );
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, outcome) in rows.iter().filter(|(_, outcome)| outcome.score.is_none()) {
        *reasons.entry(&outcome.reason).or_default() += 1;
    }
    if !reasons.is_empty() {
        text += &format!("{} clip(s) without a score:\n", all.abstained);
        text.extend(reasons.iter().map(|(reason, count)| format!("  {count} x {reason}\n")));
    }
    if all.auc.is_none() && all.real + all.fake > 0 {
        let missing = if all.real == 0 { "real" } else { "fake" };
        text +=
            &format!("no {missing} clip has a score: AUC and all that compares the two classes cannot be computed\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(file: &str, label: Label, method: &str, dataset: &str) -> Clip {
        Clip {
            file: file.into(),
            path: file.into(),
            label,
            split: String::new(),
            method: method.into(),
            dataset: dataset.into(),
            group: file.into(),
        }
    }

    fn outcome(score: Option<f64>) -> Outcome {
        let reason = if score.is_some() { String::new() } else { "no face, \"none\" at all".into() };
        Outcome {
            score,
            state: score.map(|_| State::Uncertain),
            faces: 1,
            windows: 3,
            reason,
            ..Outcome::failed(String::new())
        }
    }

    #[test]
    fn every_clip_has_a_row_and_scores_read_back_exactly() {
        let clips = [clip("a,b.mp4", Label::Real, "-", "D"), clip("c.mp4", Label::Fake, "M", "D")];
        let outcomes = [outcome(Some(0.1 + 0.2)), outcome(None)];
        let rows: Vec<Row> = clips.iter().zip(&outcomes).collect();
        let bytes = scores(&rows).unwrap();
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        assert_eq!(
            reader.headers().unwrap().iter().collect::<Vec<_>>().join(","),
            "file,label,method,dataset,group,score,state,faces,windows,reason"
        );
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!((&rows[0][0], rows[0][5].parse::<f64>().unwrap(), &rows[0][6]), ("a,b.mp4", 0.1 + 0.2, "uncertain"));
        assert_eq!((&rows[1][5], &rows[1][6], &rows[1][9]), ("", "", "no face, \"none\" at all"));
    }
}
