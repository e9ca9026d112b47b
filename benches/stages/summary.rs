//! What criterion found, as a table (`out/bench.md`) and a picture (`out/bench.png`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use plotters::prelude::*;

use super::common::clip::Form;
use super::common::page;
use super::common::plot::{BLUE as OURS, FAINT, FONT, INK, VERMILLION as BAR, register_font};
use super::{FACES, FORMATS, SIZES, USUAL};

/// What everything but the graphs may cost for the usual frame, in milliseconds of one core.
const BAR_MS: f64 = 0.8;
/// What the graphs take by themselves must be this much of the whole, in per cent.
const BAR_REACHED: f64 = 85.0;

/// How a stage's measurement is found.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// One for each size, format and number of faces.
    Form,
    /// One for each number of faces.
    Faces,
}

struct Stage {
    id: &'static str,
    title: &'static str,
    by: By,
    kind: Kind,
    /// Only in the frames in which new faces are looked for.
    is_discovery: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ours,
    Graph,
}

/// The stages of a frame in the order of its way.
const STAGES: [Stage; 20] = [
    stage("cut", "thumbnail, search for a scene cut", By::Form, Kind::Ours),
    stage("picture", "pictures around the followed faces, RGB", By::Form, Kind::Ours),
    stage("tensor", "pictures to tensors", By::Faces, Kind::Ours),
    stage("graph-detector", "face detector", By::Faces, Kind::Graph),
    stage("around-detector", "calling it: taking turns, views, checking outputs", By::Faces, Kind::Ours),
    stage("decode", "decoding, suppression of doubles", By::Faces, Kind::Ours),
    discovery("discovery-picture", "new faces: picture of the frame, RGB", By::Form, Kind::Ours),
    discovery("graph-discovery", "new faces: face detector", By::Faces, Kind::Graph),
    discovery("discovery", "new faces: tensor, decoding", By::Faces, Kind::Ours),
    stage("tracker", "tracker", By::Faces, Kind::Ours),
    stage("crop", "crops", By::Form, Kind::Ours),
    stage("quality", "quality gate", By::Faces, Kind::Ours),
    stage("pack", "crops to tensor", By::Faces, Kind::Ours),
    stage("graph-encoder", "encoder", By::Faces, Kind::Graph),
    stage("around-encoder", "normalising, calling it, features copied", By::Faces, Kind::Ours),
    stage("window", "window", By::Faces, Kind::Ours),
    stage("graph-head", "head", By::Faces, Kind::Graph),
    stage("around-head", "batch of windows, calling it", By::Faces, Kind::Ours),
    stage("report", "verdict, report", By::Faces, Kind::Ours),
    stage("meta", "report onto the buffer", By::Faces, Kind::Ours),
];

const fn stage(id: &'static str, title: &'static str, by: By, kind: Kind) -> Stage {
    Stage { id, title, by, kind, is_discovery: false }
}

const fn discovery(id: &'static str, title: &'static str, by: By, kind: Kind) -> Stage {
    Stage { is_discovery: true, ..stage(id, title, by, kind) }
}

impl Stage {
    /// Median in milliseconds; of what is done in one of `period` frames, its share.
    fn cost(&self, criterion: &Path, form: Form, period: u64) -> Result<f64, String> {
        let variant = match self.by {
            By::Form => form.name(),
            By::Faces => form.faces.to_string(),
        };
        let share = if self.is_discovery { 1.0 / period as f64 } else { 1.0 };
        Ok(median(criterion, self.id, &variant)? * share)
    }
}

/// What a frame of some form costs.
struct Cost {
    form: Form,
    stages: Vec<f64>,
    ours: f64,
    graphs: f64,
    /// All of [`analyze`](deepfake_engine::analysis::analyzer::Analyzer::analyze), and the same without the graphs.
    whole: f64,
    whole_without_graphs: f64,
}

impl Cost {
    fn read(criterion: &Path, form: Form, period: u64) -> Result<Self, String> {
        let stages = STAGES.iter().map(|stage| stage.cost(criterion, form, period)).collect::<Result<Vec<_>, _>>()?;
        let sum = |kind| STAGES.iter().zip(&stages).filter(|(stage, _)| stage.kind == kind).map(|s| s.1).sum();
        Ok(Self {
            form,
            ours: sum(Kind::Ours),
            graphs: sum(Kind::Graph),
            whole: median(criterion, "analyze", &form.name())?,
            whole_without_graphs: median(criterion, "analyze-without-graphs", &form.name())?,
            stages,
        })
    }

    /// How near the frame's cost comes to the least that is possible, the graphs' own, in per cent.
    fn reached(&self) -> f64 {
        100.0 * self.graphs / (self.graphs + self.ours)
    }
}

/// Reads criterion's estimates and writes the summary; prints the table.
///
/// # Errors
/// If a measurement is missing, or a file cannot be written.
pub fn write(model: &str, period: u64) -> Result<(), String> {
    let criterion = criterion_folder();
    let mut costs = Vec::new();
    for (width, height) in SIZES {
        for format in FORMATS {
            for faces in FACES {
                costs.push(Cost::read(&criterion, Form { width, height, format, faces }, period)?);
            }
        }
    }
    let failed = |error: &dyn std::fmt::Display| format!("the summary cannot be written: {error}");
    page::put(&page(model, period, &costs)).map_err(|error| failed(&error))?;
    let file = page::file("bench.png").map_err(|error| failed(&error))?;
    plot(&file, &costs).map_err(|error| failed(&error))?;
    println!("\nout/bench.md, out/bench.png");
    Ok(())
}

/// Where criterion keeps what it measured.
fn criterion_folder() -> PathBuf {
    std::env::var_os("CRITERION_HOME").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).join("criterion")
        },
        PathBuf::from,
    )
}

fn median(criterion: &Path, stage: &str, variant: &str) -> Result<f64, String> {
    let file = criterion.join(stage).join(variant).join("new/estimates.json");
    let missing = |error: &dyn std::fmt::Display| {
        format!("{} has no median ({error}); measure everything with: make bench", file.display())
    };
    let text = std::fs::read_to_string(&file).map_err(|error| missing(&error))?;
    let estimates: serde_json::Value = serde_json::from_str(&text).map_err(|error| missing(&error))?;
    let median = estimates["median"]["point_estimate"].as_f64().ok_or_else(|| missing(&"another form"))?;
    Ok(median / 1e6)
}

fn usual(costs: &[Cost], faces: usize) -> &Cost {
    let is = |form: Form| (form.width, form.format, form.faces) == (USUAL.width, USUAL.format, faces);
    costs.iter().find(|cost| is(cost.form)).expect("the usual frame is one of all")
}

fn page(model: &str, period: u64, costs: &[Cost]) -> String {
    let (one, four) = (usual(costs, 1), usual(costs, 4));
    let kept = |is_kept| if is_kept { "kept" } else { "missed" };
    let (verdict, reached) = (kept(one.ours <= BAR_MS), kept(one.reached() >= BAR_REACHED));
    let mut page = format!(
        "# What an analysed frame costs\n\n\
         All of ours but the graphs, for a 1280×720 I420 frame with one face: **{:.3} ms** of one core \
         (bar {BAR_MS} ms: {verdict}).\n\n\
         The physical limit is the graphs' own time, {:.2} ms: {:.1} % of it is reached (bar {BAR_REACHED} %: {reached}).\n\n\
         ## How to read it\n\n\
         - Milliseconds of processor time, all threads of the process together, medians. OpenCV and ONNX Runtime run on one \
         thread. Waiting is not counted; other load on the machine still shows, since it takes the caches and the clock.\n\
         - Frames are real and come from memory, not from the cache. Model {model}, detector CenterFace, {}.\n\
         - A frame is analysed at the model's rate (15 a second), whatever the stream's: multiply by 15 for milliseconds a \
         second. Frames in between cost only the last row.\n\
         - In one of {period} frames the whole of it is looked through for new faces; the rows *new faces* are that part of what \
         it costs then.\n\
         - **graph** rows are ONNX Runtime's own time, measured by itself. *Calling it* is what comes on top where several \
         streams share its session: a small difference of two large times, so good to some hundredths.\n\
         - The lower table checks the upper: *analyze* is the whole of it in one piece (without the report's way onto the \
         buffer), and *without graphs* is that less the graphs' time, measured in pairs.\n\n\
         ## 1280×720 I420, by stage\n\n\
         | stage | | 1 face | 4 faces |\n|---|---|---:|---:|\n",
        one.ours,
        one.graphs,
        one.reached(),
        processor()
    );
    for ((stage, one), four) in STAGES.iter().zip(&one.stages).zip(&four.stages) {
        let kind = if stage.kind == Kind::Graph { "graph" } else { "" };
        let _ = writeln!(page, "| {} | {kind} | {one:.3} | {four:.3} |", stage.title);
    }
    let _ = writeln!(page, "| **ours** | | **{:.3}** | **{:.3}** |", one.ours, four.ours);
    let _ = writeln!(page, "| **graphs** | graph | **{:.3}** | **{:.3}** |", one.graphs, four.graphs);
    page.push_str(
        "\n## By size, format and number of faces\n\n\
         | frame | faces | pictures | crops | ours | graphs | of the limit | analyze | without graphs |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let index = |id: &str| STAGES.iter().position(|stage| stage.id == id).expect("a stage of that name");
    let (picture, crop) = (index("picture"), index("crop"));
    for cost in costs {
        let Form { width, height, format, faces } = cost.form;
        let _ = writeln!(
            page,
            "| {width}×{height} {format} | {faces} | {:.3} | {:.3} | {:.3} | {:.2} | {:.1} % | {:.2} | {:.3} |",
            cost.stages[picture],
            cost.stages[crop],
            cost.ours,
            cost.graphs,
            cost.reached(),
            cost.whole,
            cost.whole_without_graphs
        );
    }
    page
}

/// The processor's name, as the system knows it.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("an unknown processor".into(), |(_, name)| name.trim().to_owned())
}

/// Bars of our stages for the usual frame, then their sum beside the bar that it must keep.
fn plot(file: &Path, costs: &[Cost]) -> Result<(), Box<dyn std::error::Error>> {
    register_font();
    let cost = usual(costs, 1);
    let mut rows: Vec<(String, f64)> = STAGES
        .iter()
        .zip(&cost.stages)
        .filter(|(stage, _)| stage.kind == Kind::Ours)
        .map(|(stage, ms)| (stage.title.to_owned(), *ms))
        .collect();
    rows.push(("all of ours".into(), cost.ours));

    let (width, row_height, left, top) = (1100, 34, 400, 90);
    let height = top + row_height * rows.len() as u32 + 40;
    let root = BitMapBackend::new(file, (width, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let text = |size: i32| (FONT, size).into_font().color(&INK);
    root.draw(&Text::new(
        format!(
            "One 1280×720 I420 frame with one face: {:.3} ms of ours, {:.2} ms in the graphs",
            cost.ours, cost.graphs
        ),
        (20, 18),
        text(22),
    ))?;
    root.draw(&Text::new("milliseconds of one core, median", (20, 50), text(16)))?;

    let longest = rows.iter().map(|row| row.1).fold(BAR_MS, f64::max) * 1.1;
    let scale = f64::from(width - left - 60) / longest;
    let at = |ms: f64| left as i32 + (ms * scale) as i32;
    let bottom = (top + row_height * rows.len() as u32) as i32;
    for tenth in 0..=(longest * 10.0) as i32 {
        let x = at(f64::from(tenth) / 10.0);
        root.draw(&PathElement::new([(x, top as i32), (x, bottom)], FAINT))?;
        if tenth % 2 == 0 {
            root.draw(&Text::new(format!("{:.1}", f64::from(tenth) / 10.0), (x - 10, bottom + 8), text(15)))?;
        }
    }
    for (index, (title, ms)) in rows.iter().enumerate() {
        let y = (top + row_height * index as u32) as i32;
        root.draw(&Text::new(title.clone(), (20, y + 9), text(16)))?;
        root.draw(&Rectangle::new([(at(0.0), y + 6), (at(*ms).max(at(0.0) + 1), y + 28)], OURS.filled()))?;
        root.draw(&Text::new(format!("{ms:.3}"), (at(*ms) + 6, y + 9), text(15)))?;
    }
    root.draw(&PathElement::new([(at(BAR_MS), top as i32), (at(BAR_MS), bottom)], BAR.stroke_width(3)))?;
    root.draw(&Text::new(
        format!("bar {BAR_MS} ms"),
        (at(BAR_MS) - 78, top as i32 - 22),
        (FONT, 16).into_font().color(&BAR),
    ))?;
    root.present()?;
    Ok(())
}
