//! ROC, DET and reliability of one model, ROC and robustness of several, each as PNG and SVG.

use std::{ops::Range, path::Path, sync::Once};

use anyhow::{Result, anyhow};
use plotters::{
    chart::MeshStyle,
    coord::{
        ranged1d::{AsRangedCoord, KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::*,
};

use super::metrics::{BINS, Metrics, Roc, Scored, probit, reliability};

/// What the plots are about, for their titles.
pub struct Subject<'a> {
    pub model: &'a str,
    pub clips: &'a str,
    pub scored: &'a [Scored<'a>],
    pub metrics: &'a Metrics,
}

impl Subject<'_> {
    fn about(&self) -> String {
        let metrics = self.metrics;
        let (real, fake, abstained) = (metrics.real, metrics.fake, metrics.abstained);
        format!("{} · {} · {real} real, {fake} fake, {abstained} abstained", self.model, self.clips)
    }
}

const SIZE: (u32, u32) = (1000, 960);
const INK: RGBColor = RGBColor(38, 44, 52);
const FAINT: RGBColor = RGBColor(226, 230, 235);
const GUIDE: RGBColor = RGBColor(150, 158, 168);
/// Blue and orange of Okabe and Ito, which the colour-blind tell apart.
const CURVE: RGBColor = RGBColor(0, 114, 178);
const MARK: RGBColor = RGBColor(213, 94, 0);
/// The further colours of Okabe and Ito's palette that can be seen on white, for curves beside each other.
const CURVES: [RGBColor; 7] =
    [CURVE, MARK, RGBColor(0, 158, 115), RGBColor(204, 121, 167), RGBColor(230, 159, 0), RGBColor(86, 180, 233), INK];
const QUIET: RGBColor = RGBColor(98, 106, 116);
const FONT: &str = "sans-serif";

/// Draws a plot as PNG and as SVG. Plotters' drawing areas are generic over their back end, which a closure cannot be.
macro_rules! both {
    ($files:ident, $folder:expr, $name:expr, $plot:ident($($argument:expr),*)) => {{
        load_font();
        let (png, svg) = (format!("{}.png", $name), format!("{}.svg", $name));
        let (png_path, svg_path) = ($folder.join(&png), $folder.join(&svg));
        $plot(&BitMapBackend::new(&png_path, SIZE).into_drawing_area(), $($argument),*)
            .map_err(|error| failed(&png_path, error))?;
        $plot(&SVGBackend::new(&svg_path, SIZE).into_drawing_area(), $($argument),*)
            .map_err(|error| failed(&svg_path, error))?;
        $files.extend([png, svg]);
    }};
}

/// Draws into `folder` the plots that the clips allow, and returns the names of the files.
///
/// # Errors
/// If a file cannot be written.
pub fn draw(folder: &Path, subject: &Subject) -> Result<Vec<String>> {
    let mut files = Vec::new();
    if let Some(roc) = Roc::new(subject.scored) {
        both!(files, folder, "roc", draw_roc(&roc, subject));
        both!(files, folder, "det", draw_det(&roc, subject));
    }
    if !subject.scored.is_empty() {
        both!(files, folder, "reliability", draw_reliability(subject));
    }
    Ok(files)
}

/// A curve of one of several models.
pub struct Curve {
    pub model: String,
    /// What the legend says behind the model's name.
    pub note: String,
    pub line: Vec<(f64, f64)>,
}

/// Draws the ROC curves of several models into one plot, and returns the names of the files.
///
/// # Errors
/// If a file cannot be written.
pub fn draw_all(folder: &Path, about: &str, curves: &[Curve]) -> Result<Vec<String>> {
    let mut files = Vec::new();
    both!(files, folder, "comparison-roc", draw_rocs(about, curves));
    Ok(files)
}

/// Draws, for each model, its AUC over the degree of one degradation, whose values mean `unit`.
///
/// # Errors
/// If a file cannot be written.
pub fn draw_robustness(folder: &Path, kind: &str, about: &str, unit: &str, curves: &[Curve]) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let name = format!("robustness-{kind}");
    both!(files, folder, name, draw_degrees(about, unit, curves));
    Ok(files)
}

/// Embedded: plots look the same on a machine without fonts.
fn load_font() {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        let font = include_bytes!("../../../../assets/fonts/DejaVuSans.ttf");
        for style in [FontStyle::Normal, FontStyle::Bold] {
            let _ = plotters::style::register_font(FONT, style, font);
        }
    });
}

fn failed(path: &Path, error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw {}: {error}", path.display())
}

type Drawn<DB, T = ()> = Result<T, DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;
type Area<DB> = DrawingArea<DB, plotters::coord::Shift>;

fn text(size: i32, color: &RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(color)
}

/// White ground, title, subtitle and notes, each behind a dot of its colour; what is left is for the chart. The notes
/// stand above it because anywhere in it they may hide a part of the curve.
fn page<DB: DrawingBackend>(
    area: &Area<DB>,
    title: &str,
    about: &str,
    notes: &[(String, RGBColor)],
) -> Drawn<DB, Area<DB>> {
    area.fill(&WHITE)?;
    area.draw_text(title, &text(34, &INK), (40, 22))?;
    area.draw_text(about, &text(20, &QUIET), (40, 64))?;
    let (mut x, mut y) = (40, 110);
    for (note, color) in notes {
        // DejaVu's letters are 0.54 of their size wide on average.
        let width = 60 + (note.chars().count() as f64 * 20.0 * 0.54) as i32;
        if x > 40 && x + width > SIZE.0 as i32 - 20 {
            (x, y) = (40, y + 32);
        }
        area.draw(&Circle::new((x + 8, y), 7, color.filled()))?;
        area.draw_text(note, &text(20, &INK), (x + 26, y - 7))?;
        x += width;
    }
    Ok(area.split_vertically(y as u32 + 16).1)
}

fn percent(value: &f64) -> String {
    format!("{:.0} %", value * 100.0)
}

type Unit = RangedCoordf64;
type Chart<'a, DB, X, Y> = ChartContext<'a, DB, Cartesian2d<X, Y>>;

/// The axes of a ROC plot.
fn unit_square<'a, DB: DrawingBackend>(area: &'a Area<DB>) -> Drawn<DB, Chart<'a, DB, Unit, Unit>> {
    let mut chart = chart(area, 0.0..1.0, 0.0..1.0)?;
    mesh(&mut chart)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&percent)
        .y_label_formatter(&percent)
        .x_desc("real clips called fake (false alarms)")
        .y_desc("fake clips called fake (caught)")
        .draw()?;
    chart.draw_series(DashedLineSeries::new([(0.0, 0.0), (1.0, 1.0)], 8, 8, GUIDE.stroke_width(2)))?;
    Ok(chart)
}

/// A chart that fills the area, with room for labels and descriptions of both axes.
fn chart<'a, DB: DrawingBackend, X: AsRangedCoord, Y: AsRangedCoord>(
    area: &'a Area<DB>,
    x: X,
    y: Y,
) -> Drawn<DB, Chart<'a, DB, X::CoordDescType, Y::CoordDescType>> {
    ChartBuilder::on(area)
        .margin(24)
        .margin_right(48)
        .x_label_area_size(70)
        .y_label_area_size(100)
        .build_cartesian_2d(x, y)
}

/// How axes and grid look in every chart.
fn mesh<'a, 'b, DB, X, Y>(chart: &'b mut Chart<'a, DB, X, Y>) -> MeshStyle<'a, 'b, X, Y, DB>
where
    DB: DrawingBackend + 'a,
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(GUIDE)
        .label_style(text(20, &INK))
        .axis_desc_style(text(22, &INK));
    mesh
}

fn draw_rocs<DB: DrawingBackend>(area: &Area<DB>, about: &str, curves: &[Curve]) -> Drawn<DB> {
    let area = page(area, "ROC: fakes caught against false alarms", about, &legend(curves))?;
    let mut chart = unit_square(&area)?;
    for (curve, color) in curves.iter().zip(CURVES.iter().cycle()) {
        chart.draw_series(LineSeries::new(curve.line.iter().copied(), color.stroke_width(3)))?;
    }
    area.present()
}

fn draw_degrees<DB: DrawingBackend>(area: &Area<DB>, about: &str, unit: &str, curves: &[Curve]) -> Drawn<DB> {
    let area = page(area, "Robustness: AUC of clips made worse", about, &legend(curves))?;
    let degrees = || curves.iter().flat_map(|curve| curve.line.iter().map(|point| point.0));
    let (least, most) = (degrees().fold(f64::INFINITY, f64::min), degrees().fold(f64::NEG_INFINITY, f64::max));
    // A single degree is a point, and an axis needs a length.
    let room = ((most - least) * 0.04).max(1e-3);
    let lowest = curves.iter().flat_map(|curve| curve.line.iter().map(|point| point.1)).fold(0.5, f64::min);
    let mut chart = chart(&area, least - room..most + room, (lowest * 10.0).floor() / 10.0..1.0)?;
    mesh(&mut chart).x_desc(unit).y_desc("AUC").draw()?;
    for (curve, color) in curves.iter().zip(CURVES.iter().cycle()) {
        chart.draw_series(LineSeries::new(curve.line.iter().copied(), color.stroke_width(3)))?;
        chart.draw_series(curve.line.iter().map(|point| Circle::new(*point, 7, color.filled())))?;
    }
    area.present()
}

fn legend(curves: &[Curve]) -> Vec<(String, RGBColor)> {
    let notes = curves.iter().map(|curve| format!("{} {}", curve.model, curve.note));
    notes.zip(CURVES.into_iter().cycle()).collect()
}

fn draw_roc<DB: DrawingBackend>(area: &Area<DB>, roc: &Roc, subject: &Subject) -> Drawn<DB> {
    let metrics = subject.metrics;
    let mut notes = vec![(format!("AUC {}", with_interval(metrics)), CURVE)];
    notes.extend(metrics.eer.map(|eer| (format!("equal error rate {:.1} %", eer * 100.0), CURVE)));
    if let (Some(fpr), Some(tpr)) = (metrics.fpr, metrics.tpr) {
        let at = metrics.threshold;
        notes.push((format!("at score {at:.2}: {} caught, {} false alarms", percent(&tpr), percent(&fpr)), MARK));
    }
    let area = page(area, "ROC: fakes caught against false alarms", &subject.about(), &notes)?;
    let mut chart = unit_square(&area)?;
    let line: Vec<_> = roc.corners.iter().map(|corner| (corner.fpr, corner.tpr)).collect();
    chart.draw_series(AreaSeries::new(line.iter().copied(), 0.0, CURVE.mix(0.10)))?;
    chart.draw_series(LineSeries::new(line, CURVE.stroke_width(4)))?;
    if let (Some(fpr), Some(tpr)) = (metrics.fpr, metrics.tpr) {
        chart.draw_series([Circle::new((fpr, tpr), 9, MARK.filled())])?;
    }
    area.present()
}

fn with_interval(metrics: &Metrics) -> String {
    let auc = metrics.auc.map_or("–".into(), |auc| format!("{auc:.3}"));
    match (metrics.auc_low, metrics.auc_high) {
        (Some(low), Some(high)) => format!("{auc} (95 %: {low:.3} to {high:.3})"),
        _ => auc,
    }
}

/// An axis of normal deviates whose labels are the probabilities they stand for.
#[derive(Clone)]
struct Deviates(Range<f64>);

const TICKS: [f64; 9] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8];
/// Rates below and above cannot be drawn, nor measured with a few hundred clips.
const DRAWABLE: Range<f64> = 0.004..0.9;

impl Ranged for Deviates {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.0.start) / (self.0.end - self.0.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        TICKS.iter().map(|p| probit(*p)).filter(|z| self.0.contains(z)).collect()
    }

    fn range(&self) -> Range<f64> {
        self.0.clone()
    }
}

impl ValueFormatter<f64> for Deviates {
    fn format_ext(&self, value: &f64) -> String {
        let nearest = |a: &&f64, b: &&f64| (probit(**a) - value).abs().total_cmp(&(probit(**b) - value).abs());
        let p = TICKS.iter().min_by(nearest).expect("there are ticks");
        format!("{} %", p * 100.0)
    }
}

fn draw_det<DB: DrawingBackend>(area: &Area<DB>, roc: &Roc, subject: &Subject) -> Drawn<DB> {
    let metrics = subject.metrics;
    let mut notes: Vec<_> =
        metrics.eer.map(|eer| (format!("equal error rate {:.1} %", eer * 100.0), CURVE)).into_iter().collect();
    if let (Some(fpr), Some(tpr)) = (metrics.fpr, metrics.tpr) {
        let (at, missed) = (metrics.threshold, 1.0 - tpr);
        notes.push((format!("at score {at:.2}: {} missed, {} false alarms", percent(&missed), percent(&fpr)), MARK));
    }
    let area = page(area, "DET: fakes missed against false alarms", &subject.about(), &notes)?;
    let axis = || Deviates(probit(DRAWABLE.start)..probit(DRAWABLE.end));
    let mut chart = chart(&area, axis(), axis())?;
    mesh(&mut chart)
        .x_desc("real clips called fake (false alarms), normal deviate scale")
        .y_desc("fake clips called real (missed), normal deviate scale")
        .draw()?;
    let place = |p: f64| probit(p.clamp(DRAWABLE.start, DRAWABLE.end));
    chart.draw_series(DashedLineSeries::new(
        [(place(0.0), place(0.0)), (place(1.0), place(1.0))],
        8,
        8,
        GUIDE.stroke_width(2),
    ))?;
    let line = roc.corners.iter().map(|corner| (place(corner.fpr), place(1.0 - corner.tpr)));
    chart.draw_series(LineSeries::new(line, CURVE.stroke_width(4)))?;
    if let Some(eer) = metrics.eer {
        chart.draw_series([Circle::new((place(eer), place(eer)), 9, CURVE.filled())])?;
    }
    if let (Some(fpr), Some(tpr)) = (metrics.fpr, metrics.tpr) {
        chart.draw_series([Circle::new((place(fpr), place(1.0 - tpr)), 9, MARK.filled())])?;
    }
    area.present()
}

fn draw_reliability<DB: DrawingBackend>(area: &Area<DB>, subject: &Subject) -> Drawn<DB> {
    let (ece, brier) = (subject.metrics.ece.unwrap_or_default(), subject.metrics.brier.unwrap_or_default());
    let notes = [
        ("real".to_owned(), CURVE),
        ("fake".to_owned(), MARK),
        (format!("expected calibration error {ece:.3}"), QUIET),
        (format!("Brier score {brier:.3}"), QUIET),
    ];
    let area = page(area, "Reliability: what a score is worth", &subject.about(), &notes)?;
    let (upper, lower) = area.split_vertically(590);
    let bins = reliability(subject.scored);
    let mut chart = ChartBuilder::on(&upper)
        .margin(24)
        .margin_right(48)
        .x_label_area_size(36)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..1.0f64, 0.0..1.0f64)?;
    mesh(&mut chart)
        .x_labels(11)
        .y_labels(6)
        .y_label_formatter(&percent)
        .y_desc("share that is fake, at even odds")
        .draw()?;
    chart.draw_series(DashedLineSeries::new([(0.0, 0.0), (1.0, 1.0)], 8, 8, GUIDE.stroke_width(2)))?;
    let filled: Vec<_> = bins.iter().filter(|bin| bin.weight > 0.0).collect();
    // The gap that the calibration error sums up.
    chart.draw_series(filled.iter().map(|bin| {
        PathElement::new([(bin.score, bin.score), (bin.score, bin.fake_share)], GUIDE.mix(0.7).stroke_width(5))
    }))?;
    chart.draw_series(LineSeries::new(filled.iter().map(|bin| (bin.score, bin.fake_share)), QUIET.stroke_width(3)))?;
    chart.draw_series(filled.iter().map(|bin| Circle::new((bin.score, bin.fake_share), 8, QUIET.filled())))?;

    let highest = bins.iter().map(|bin| bin.real + bin.fake).max().unwrap_or(0).max(1) as f64;
    let mut chart = ChartBuilder::on(&lower)
        .margin(0)
        .margin_left(24)
        .margin_right(48)
        .x_label_area_size(70)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..1.0f64, 0.0..highest * 1.15)?;
    mesh(&mut chart)
        .disable_x_mesh()
        .x_labels(11)
        .y_labels(3)
        .y_label_formatter(&|count| format!("{count:.0}"))
        .x_desc("score: calibrated probability that the clip is fake")
        .y_desc("clips")
        .draw()?;
    let width = 1.0 / BINS as f64;
    for (index, bin) in bins.iter().enumerate() {
        let (real, fake) = (bin.real as f64, bin.fake as f64);
        let (from, to) = ((index as f64 + 0.06) * width, (index as f64 + 0.94) * width);
        chart.draw_series([
            Rectangle::new([(from, 0.0), (to, real)], CURVE.mix(0.75).filled()),
            Rectangle::new([(from, real), (to, real + fake)], MARK.mix(0.75).filled()),
        ])?;
    }
    area.present()
}
