//! The label of a face: what it says ([`Label`]), how large it is ([`Metrics`]), and its picture.

use std::cell::RefCell;
use std::collections::HashMap;
use std::f64::consts::{FRAC_PI_2, TAU};

use cairo::{Context, LineCap, LineJoin};

use super::canvas::{Canvas, Pixels, Shape};
use super::history::Sample;
use super::layout::{Area, Size, even};
use super::theme::{self, Color, INK, INK_DIM, Mark};
use deepfake_report::FaceReport;
use deepfake_report::State;

/// A line of scores is broken where nothing was said for longer than this.
const BREAK_NS: u64 = 1_500_000_000;
/// A kind of manipulation less likely than this is not named.
const MIN_KIND_SCORE: f64 = 0.5;
/// Widths of texts are remembered up to this many.
const WIDTHS_MAX: usize = 1024;

/// Which parts a label has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    pub text: bool,
    pub window: bool,
    pub history: bool,
}

impl Parts {
    fn head(self) -> bool {
        self.text || self.window
    }
}

/// What a label shows; equal ones look the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    size: Size,
    /// The rows of it to be drawn: all, or one of the parts that [`Label::split`] makes.
    rows: (i32, i32),
    state: Option<State>,
    compact: bool,
    /// The verdict, and beside it the score or what is known instead.
    title: &'static str,
    value: String,
    /// Second line: the track on the left, what the value is on the right.
    track: String,
    caption: &'static str,
    /// What was done to the face, where the model can say.
    kind: Option<&'static str>,
    /// Crops in the window, and how many it takes.
    fill: Option<(u32, u32)>,
    strip: Option<Vec<Point>>,
    axis: Axis,
}

/// A sample in half pixels of the strip, from its lower left corner; no `y` means no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Point {
    x: i32,
    y: Option<i32>,
    state: State,
    /// Nothing was said for long before this sample.
    apart: bool,
}

/// The strip's span in seconds and the distance of its ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Axis {
    span: u32,
    tick: u32,
}

/// Sizes in pixels that follow from the text size and the font.
pub struct Metrics {
    pub em: f64,
    font: String,
    parts: Parts,
    pad: f64,
    /// Small text.
    small: f64,
    /// Diameter of the ring in the full and in the compact form.
    ring: f64,
    ring_compact: f64,
    /// Width of the words and numbers in the full form.
    text_width: f64,
    head_height: f64,
    strip_height: f64,
    /// Height of the line with the time axis' words; zero where they would be too small to read.
    axis_height: f64,
    widths: RefCell<HashMap<String, f64>>,
}

#[derive(Clone, Copy)]
struct Type {
    size: f64,
    bold: bool,
}

impl Metrics {
    /// `em` is the size of the verdict's text in pixels, `font` a Pango font description whose size
    /// is ignored.
    pub fn new(font: &str, em: f64, parts: Parts) -> Self {
        let mut metrics = Self {
            em,
            font: font.to_owned(),
            parts,
            pad: (em * 0.5).round(),
            small: (em * 0.74).max(8.5),
            ring: (em * 2.1).round(),
            ring_compact: (em * 1.3).round(),
            text_width: 0.0,
            head_height: 0.0,
            strip_height: (em * 1.7).round(),
            axis_height: 0.0,
            widths: RefCell::default(),
        };
        if parts.text {
            let value = metrics.width("100\u{202f}%", metrics.heading());
            let title = State::ALL
                .iter()
                .map(|&state| metrics.width(theme::words(state, None), metrics.heading()))
                .fold(metrics.width("Profile view", metrics.heading()), f64::max);
            metrics.text_width = (title + em * 0.9 + value).ceil();
        }
        metrics.head_height = if parts.text {
            metrics.ring.max((em * 1.3 + metrics.small * 1.3).round())
        } else if parts.window {
            metrics.ring
        } else {
            0.0
        };
        if parts.history && metrics.small >= 10.0 {
            metrics.axis_height = (metrics.small * 1.15).round();
        }
        metrics
    }

    fn heading(&self) -> Type {
        Type { size: self.em, bold: true }
    }

    fn minor(&self) -> Type {
        Type { size: self.small, bold: false }
    }

    /// Space between a label and its box.
    pub fn gap(&self) -> i32 {
        even(self.em * 0.35).max(2)
    }

    fn ring_gap(&self) -> f64 {
        (self.em * 0.5).round()
    }

    /// Width of a head's ring, with the space after it. It stands there with the text even when the
    /// window's filling is not wanted, as it holds the mark.
    fn ring_room(&self) -> f64 {
        self.ring + if self.parts.text { self.ring_gap() } else { 0.0 }
    }

    fn accent(&self) -> f64 {
        (self.em * 0.2).round().max(2.0)
    }

    fn inner_width(&self) -> f64 {
        let head = if self.parts.head() { self.ring_room() + self.text_width } else { 0.0 };
        head.max(if self.parts.history { (self.em * 8.0).round() } else { 0.0 })
    }

    /// Size of the full form; `None` if nothing is to be shown.
    fn full(&self) -> Option<Size> {
        let Parts { history, .. } = self.parts;
        if !self.parts.head() && !history {
            return None;
        }
        let width = self.accent() + self.pad + self.inner_width() + self.pad;
        let mut height = self.head_height + 2.0 * self.pad;
        if history {
            height += self.strip_height + self.axis_height;
            height += if self.parts.head() { self.strip_gap() } else { 0.0 };
        }
        Some(Size { width: even(width + 0.5), height: even(height + 0.5) })
    }

    /// Width of the strip's line.
    fn line(&self) -> f64 {
        (self.em * 0.11).max(1.5)
    }

    /// First row of the strip in the full form.
    fn strip_top(&self) -> f64 {
        self.pad + if self.parts.head() { self.head_height + self.strip_gap() } else { 0.0 }
    }

    fn strip_gap(&self) -> f64 {
        (self.em * 0.4).round()
    }

    /// A layout for `text` by the thread's own font map, so that nothing of Pango crosses threads.
    fn shape(&self, context: &pango::Context, text: &str, kind: Type) -> pango::Layout {
        let mut font = pango::FontDescription::from_string(&self.font);
        font.set_absolute_size(kind.size * f64::from(pango::SCALE));
        if kind.bold {
            font.set_weight(pango::Weight::Bold);
        }
        let layout = pango::Layout::new(context);
        layout.set_font_description(Some(&font));
        layout.set_single_paragraph_mode(true);
        layout.set_text(text);
        layout
    }

    fn width(&self, text: &str, kind: Type) -> f64 {
        use pango::prelude::*;
        if kind.bold
            && let Some(&width) = self.widths.borrow().get(text)
        {
            return width;
        }
        let context = pangocairo::FontMap::default().create_context();
        let width = f64::from(self.shape(&context, text, kind).size().0) / f64::from(pango::SCALE);
        if kind.bold {
            let mut widths = self.widths.borrow_mut();
            if widths.len() >= WIDTHS_MAX {
                widths.clear();
            }
            widths.insert(text.to_owned(), width);
        }
        width
    }

    /// The label of `face`, in the full form.
    ///
    /// `samples` are the scores of the `span_s` seconds before `newest`, oldest first.
    pub fn label<'a>(
        &self,
        face: &FaceReport,
        samples: impl Iterator<Item = &'a Sample>,
        newest: u64,
        span_s: u32,
    ) -> Option<Label> {
        let size = self.full()?;
        let score = face.score.filter(|score| score.is_finite());
        let (value, caption) = match (face.state, score) {
            (State::Warming, _) => (format!("{}/{}", face.window_fill.min(9999), face.window_size.min(9999)), "crops"),
            (State::Rejected, _) => (String::new(), "not judged"),
            (_, Some(score)) => (percent(score), "fake score"),
            (_, None) => (String::new(), "no score"),
        };
        // Of a face that looks real, how it might have been changed says nothing.
        let is_suspect = matches!(face.state, State::Fake | State::Uncertain);
        let likeliest = face.kind.filter(|_| is_suspect && score.is_some()).map(|kind| kind.likeliest());
        let kind = likeliest.filter(|(_, score)| *score >= MIN_KIND_SCORE).map(|(word, _)| word);
        let axis = Axis { span: span_s, tick: tick(span_s) };
        Some(Label {
            size,
            rows: (0, size.height),
            state: Some(face.state),
            compact: false,
            title: theme::words(face.state, face.reason),
            value,
            track: format!("#{}", face.track_id),
            caption: kind.unwrap_or(caption),
            kind,
            fill: self.parts.window.then_some((face.window_fill, face.window_size)),
            strip: self.parts.history.then(|| self.points(samples, newest, span_s)),
            axis,
        })
    }

    /// The same label in one line: mark, verdict and score. `None` without text: then there is
    /// nothing to shorten.
    pub fn compact(&self, label: &Label) -> Option<Label> {
        if !self.parts.text {
            return None;
        }
        let value = match label.kind {
            Some(kind) => format!("{} · {kind}", label.value),
            None => label.value.clone(),
        };
        let mut width = self.accent() + self.pad * 0.5 + self.ring_compact + self.pad * 0.7;
        width += self.width(label.title, self.heading());
        if !value.is_empty() {
            width += self.em * 0.4 + self.width(&value, self.heading());
        }
        width += self.pad * 0.8;
        let height = self.ring_compact + (self.em * 0.5).round();
        let size = Size { width: even(width + 0.5), height: even(height + 0.5) };
        Some(Label {
            size,
            rows: (0, size.height),
            compact: true,
            value,
            // The ring is too small to read a count off, but its filling still shows.
            track: String::new(),
            caption: "",
            strip: None,
            ..label.clone()
        })
    }

    /// A label for a face that nobody judged: its number in someone's tracking.
    pub fn plain(&self, track_id: i32) -> Option<Label> {
        let plain = Label {
            size: Size::default(),
            rows: (0, 0),
            state: None,
            compact: true,
            title: "Face",
            value: format!("#{track_id}"),
            track: String::new(),
            caption: "",
            kind: None,
            fill: None,
            strip: None,
            axis: Axis { span: 0, tick: 1 },
        };
        self.compact(&plain)
    }

    fn points<'a>(&self, samples: impl Iterator<Item = &'a Sample>, newest: u64, span_s: u32) -> Vec<Point> {
        let span = f64::from(span_s) * 1e9;
        let (width, height) = (self.inner_width() * 2.0, self.strip_height * 2.0);
        let mut points: Vec<Point> = Vec::new();
        let mut last: Option<u64> = None;
        for sample in samples {
            let y = sample.score.map(|score| (score * (height - 6.0) + 3.0).round() as i32);
            for pts in [sample.pts, sample.until] {
                let age = newest.saturating_sub(pts) as f64;
                // On whole line widths: finer detail would be drawn over, not seen.
                let step = (self.line() * 2.0).round();
                let x = (((1.0 - age / span) * width / step).round().max(-1e6) * step) as i32;
                let apart = last.is_some_and(|last| pts == sample.pts && pts.saturating_sub(last) > BREAK_NS);
                // Of samples at the same place the highest is kept: a spike must not vanish.
                match points.last_mut() {
                    Some(point) if point.x == x && point.state == sample.state && !apart => point.y = point.y.max(y),
                    _ => points.push(Point { x, y, state: sample.state, apart }),
                }
            }
            last = Some(sample.until);
        }
        points
    }
}

/// The pixel columns that a line through `points` crosses, from `left` on: each column's x, and the
/// line's highest and lowest y in it.
fn columns(points: impl Iterator<Item = (f64, f64)>, left: f64) -> Vec<(f64, f64, f64)> {
    let mut columns: Vec<(f64, f64, f64)> = Vec::new();
    let mut add = |column: f64, a: f64, b: f64| match columns.last_mut() {
        Some(last) if last.0 == column => (last.1, last.2) = (last.1.min(a).min(b), last.2.max(a).max(b)),
        _ => columns.push((column, a.min(b), a.max(b))),
    };
    let mut before: Option<(f64, f64)> = None;
    for (x, y) in points {
        let (from_x, from_y) = before.replace((x, y)).unwrap_or((x, y));
        if x < left {
            continue;
        }
        let slope = if x > from_x { (y - from_y) / (x - from_x) } else { 0.0 };
        let mut column = from_x.max(left).floor();
        loop {
            let start = column.max(from_x);
            let end = (column + 1.0).min(x);
            add(column, from_y + slope * (start - from_x), if end >= x { y } else { from_y + slope * (end - from_x) });
            column += 1.0;
            if column >= x {
                break;
            }
        }
    }
    columns
}

/// P(fake) in words. Never 0 % or 100 %: nothing is that sure.
fn percent(score: f64) -> String {
    match score * 100.0 {
        p if p < 1.0 => "<1\u{202f}%".into(),
        p if p > 99.0 => ">99\u{202f}%".into(),
        p => format!("{p:.0}\u{202f}%"),
    }
}

/// Seconds between ticks, so that there are not more than six.
fn tick(span_s: u32) -> u32 {
    [1, 2, 5, 10, 20, 30, 60].into_iter().find(|tick| span_s <= tick * 6).unwrap_or(120)
}

impl Label {
    pub fn size(&self) -> Size {
        self.size
    }

    /// The label in parts, each with its place in the label placed at `area`: the strip changes
    /// with every score, the head above and the axis below it do not, and text is expensive to draw.
    pub fn split(self, metrics: &Metrics, area: Area) -> Vec<(Label, Area)> {
        if self.strip.is_none() {
            return vec![(self, area)];
        }
        let foot = even(metrics.strip_top() + metrics.strip_height + 1.0).min(self.size.height);
        let head = if metrics.parts.head() { even(metrics.strip_top() - metrics.strip_gap() / 2.0) } else { 0 };
        let part = |label: Label| {
            let (top, bottom) = label.rows;
            (bottom > top).then(|| (label, Area { y: area.y + top, height: bottom - top, ..area }))
        };
        let blank =
            Label { title: "", value: String::new(), track: String::new(), caption: "", fill: None, ..self.clone() };
        let parts = [
            Label { rows: (0, head), strip: None, ..self.clone() },
            Label { rows: (foot, self.size.height), strip: None, ..blank.clone() },
            Label { rows: (head, foot), ..blank },
        ];
        parts.into_iter().filter_map(part).collect()
    }

    pub fn paint(&self, metrics: &Metrics, shape: Shape) -> Result<Pixels, cairo::Error> {
        let (top, bottom) = self.rows;
        let canvas = Canvas::new(Size { width: self.size.width, height: bottom - top }, shape)?;
        canvas.cr.translate(0.0, -f64::from(top));
        Painter { cr: &canvas.cr, metrics, color: theme::look(self.state).color, label: self }.paint()?;
        canvas.finish()
    }
}

struct Painter<'a> {
    cr: &'a Context,
    metrics: &'a Metrics,
    label: &'a Label,
    color: Color,
}

impl Painter<'_> {
    fn paint(&self) -> Result<(), cairo::Error> {
        let Metrics { pad, em, .. } = *self.metrics;
        self.plate()?;
        if self.label.compact {
            let ring = self.metrics.ring_compact;
            let middle = f64::from(self.label.size.height) / 2.0;
            let x = self.metrics.accent() + pad * 0.5;
            self.ring(x + ring / 2.0, middle, ring)?;
            let x = x + ring + pad * 0.7;
            let baseline = (middle + em * 0.36).round();
            let heading = self.metrics.heading();
            self.text(self.label.title, heading, INK, x, baseline, 0.0);
            if !self.label.value.is_empty() {
                let x = x + self.metrics.width(self.label.title, heading) + em * 0.4;
                self.text(&self.label.value, heading, INK, x, baseline, 0.0);
            }
            return Ok(());
        }
        let left = self.metrics.accent() + pad;
        let (first, last) = self.label.rows;
        if self.metrics.parts.head() && first == 0 {
            self.head(left, pad)?;
        }
        let top = self.metrics.strip_top();
        if let Some(points) = &self.label.strip {
            self.strip(left, top, points)?;
        }
        if self.metrics.axis_height > 0.0 && last == self.label.size.height {
            self.axis(left, top + self.metrics.strip_height);
        }
        Ok(())
    }

    fn source(&self, color: Color, alpha: f64) {
        self.cr.set_source_rgba(color.0, color.1, color.2, alpha);
    }

    /// Text whose left end is at `x` if `align` is 0, whose right end is if it is 1.
    fn text(&self, text: &str, kind: Type, color: Color, x: f64, baseline: f64, align: f64) {
        let context = pangocairo::functions::create_context(self.cr);
        let layout = self.metrics.shape(&context, text, kind);
        let scale = f64::from(pango::SCALE);
        let width = if align > 0.0 { f64::from(layout.size().0) / scale } else { 0.0 };
        self.source(color, 1.0);
        self.cr.move_to(x - width * align, baseline - f64::from(layout.baseline()) / scale);
        pangocairo::functions::show_layout(self.cr, &layout);
    }

    fn plate(&self) -> Result<(), cairo::Error> {
        let (width, height) = (f64::from(self.label.size.width), f64::from(self.label.size.height));
        let radius = (self.metrics.em * 0.28).round();
        let cr = self.cr;
        cr.new_path();
        for (i, (x, y)) in
            [(width - radius, radius), (width - radius, height - radius), (radius, height - radius), (radius, radius)]
                .into_iter()
                .enumerate()
        {
            let start = (i as f64 - 1.0) * FRAC_PI_2;
            cr.arc(x, y, radius, start, start + FRAC_PI_2);
        }
        cr.close_path();
        cr.save()?;
        cr.clip();
        self.source(theme::PLATE, theme::PLATE_ALPHA);
        cr.paint()?;
        self.source(self.color, 1.0);
        cr.rectangle(0.0, 0.0, self.metrics.accent(), height);
        cr.fill()?;
        cr.restore()
    }

    fn head(&self, left: f64, top: f64) -> Result<(), cairo::Error> {
        let Metrics { em, small, ring, head_height, .. } = *self.metrics;
        self.ring(left + ring / 2.0, top + head_height / 2.0, ring)?;
        if !self.metrics.parts.text {
            return Ok(());
        }
        let x = left + self.metrics.ring_room();
        let right = left + self.metrics.inner_width();
        // Two lines, together in the middle of the head: cap height and x-height, not line boxes,
        // are what the eye centres.
        let block = em * 0.73 + em * 0.42 + small * 0.73;
        let first = (top + (head_height - block) / 2.0 + em * 0.73).round();
        let second = (top + (head_height + block) / 2.0).round();
        let (heading, minor) = (self.metrics.heading(), self.metrics.minor());
        self.text(self.label.title, heading, INK, x, first, 0.0);
        self.text(&self.label.value, heading, INK, right, first, 1.0);
        self.text(&self.label.track, minor, INK_DIM, x, second, 0.0);
        self.text(self.label.caption, minor, INK_DIM, right, second, 1.0);
        Ok(())
    }

    /// How full the window is, around the state's mark.
    fn ring(&self, x: f64, y: f64, diameter: f64) -> Result<(), cairo::Error> {
        let cr = self.cr;
        let stroke = (diameter * 0.085).max(1.5);
        let radius = (diameter - stroke) / 2.0;
        let full = match self.label.fill {
            Some((fill, size)) if size > 0 => (f64::from(fill) / f64::from(size)).min(1.0),
            Some(_) => 0.0,
            None => 1.0,
        };
        cr.set_line_width(stroke);
        cr.set_line_cap(LineCap::Butt);
        cr.new_path();
        cr.arc(x, y, radius, 0.0, TAU);
        self.source(INK, 0.2);
        cr.stroke()?;
        if full > 0.0 {
            cr.arc(x, y, radius, -FRAC_PI_2, -FRAC_PI_2 + full * TAU);
            self.source(self.color, 1.0);
            cr.stroke()?;
        }
        let heavy = self.label.state == Some(State::Fake);
        if heavy {
            cr.arc(x, y, radius - stroke * 1.4, 0.0, TAU);
            self.source(self.color, 1.0);
            cr.fill()?;
        }
        self.mark(x, y, diameter / 2.0, if heavy { INK } else { self.color })
    }

    fn mark(&self, x: f64, y: f64, radius: f64, color: Color) -> Result<(), cairo::Error> {
        let cr = self.cr;
        // In units of the ring's radius, y downwards.
        let at = |dx: f64, dy: f64| (x + dx * radius, y + dy * radius);
        let to = |dx: f64, dy: f64| {
            let (x, y) = at(dx, dy);
            cr.line_to(x, y);
        };
        let dot = |dx: f64, dy: f64, size: f64| {
            let (x, y) = at(dx, dy);
            cr.new_sub_path();
            cr.arc(x, y, size * radius, 0.0, TAU);
            cr.fill()
        };
        self.source(color, 1.0);
        cr.set_line_width((radius * 0.2).max(1.4));
        cr.set_line_cap(LineCap::Round);
        cr.set_line_join(LineJoin::Round);
        cr.new_path();
        match theme::look(self.label.state).mark {
            Mark::Tick => {
                to(-0.36, 0.04);
                to(-0.1, 0.3);
                to(0.38, -0.28);
                cr.stroke()
            }
            Mark::Exclamation => {
                to(0.0, -0.42);
                to(0.0, 0.1);
                cr.stroke()?;
                dot(0.0, 0.42, 0.13)
            }
            Mark::Question => {
                let (cx, cy) = at(0.0, -0.2);
                cr.arc(cx, cy, radius * 0.24, -TAU / 2.0, TAU / 8.0);
                to(0.0, 0.13);
                cr.stroke()?;
                dot(0.0, 0.42, 0.12)
            }
            Mark::Dots => {
                dot(-0.36, 0.0, 0.12)?;
                dot(0.0, 0.0, 0.12)?;
                dot(0.36, 0.0, 0.12)
            }
            Mark::Bar => {
                to(-0.32, 0.0);
                to(0.32, 0.0);
                cr.stroke()
            }
        }
    }

    /// The score over time: now at the right edge, 0 at the foot, 1 at the top.
    fn strip(&self, left: f64, top: f64, points: &[Point]) -> Result<(), cairo::Error> {
        let cr = self.cr;
        let metrics = self.metrics;
        let (width, height) = (metrics.inner_width(), metrics.strip_height);
        let bottom = top + height;
        let Axis { span, tick } = self.label.axis;

        cr.save()?;
        cr.rectangle(left, top, width, height);
        cr.clip();
        self.source(INK, 0.07);
        cr.paint()?;
        // Hairlines on whole pixels: one per tick and one at a half.
        self.source(INK, 0.16);
        for second in (tick..span).step_by(tick as usize) {
            let x = (left + width * (1.0 - f64::from(second) / f64::from(span))).round();
            cr.rectangle(x, top, 1.0, height);
        }
        cr.rectangle(left, (top + height / 2.0).round(), width, 1.0);
        cr.fill()?;

        let stroke = metrics.line();
        let x = |point: &Point| left + f64::from(point.x) / 2.0;
        let y = |height: i32| bottom - f64::from(height) / 2.0;
        // Runs of one state, each in its colour; a run begins at the end of the run before, so that
        // the line has no holes.
        let mut start = 0;
        while start < points.len() {
            let state = points[start].state;
            let scored = points[start].y.is_some();
            let same = |point: &Point| point.state == state && point.y.is_some() == scored && !point.apart;
            let end = start + 1 + points[start + 1..].iter().take_while(|point| same(point)).count();
            let joins = start > 0 && !points[start].apart && points[start - 1].y.is_some() && scored;
            let run = &points[start - usize::from(joins)..end];
            let color = theme::look(Some(state)).color;
            if scored {
                // In columns of a pixel: upright boxes are many times cheaper to fill than a
                // stroked path.
                let columns = columns(run.iter().map(|point| (x(point), y(point.y.unwrap_or(0)))), left);
                self.source(color, 0.3);
                for &(column, high, low) in &columns {
                    let middle = (high + low) / 2.0;
                    cr.rectangle(column, middle, 1.0, bottom - middle);
                }
                cr.fill()?;
                self.source(color, 1.0);
                for &(column, high, low) in &columns {
                    cr.rectangle(column, high - stroke / 2.0, 1.0, low - high + stroke);
                }
                cr.fill()?;
            } else {
                // No score: a thread along the foot, up to where the next run begins.
                let until = points.get(end).filter(|next| !next.apart).map_or(x(&run[run.len() - 1]), x);
                self.source(color, 0.85);
                cr.rectangle(x(&run[0]), bottom - stroke.round(), (until - x(&run[0])).max(1.0), stroke.round());
                cr.fill()?;
            }
            start = end;
        }
        if let Some(Point { x: _, y: Some(height), state, .. }) = points.last() {
            let last = &points[points.len() - 1];
            let radius = stroke * 1.25;
            cr.new_path();
            cr.arc((x(last)).min(left + width - radius), y(*height), radius, 0.0, TAU);
            self.source(theme::look(Some(*state)).color, 1.0);
            cr.fill()?;
        }
        cr.restore()
    }

    /// What the strip's ends stand for.
    fn axis(&self, left: f64, top: f64) {
        let kind = Type { size: self.metrics.small * 0.86, bold: false };
        let baseline = (top + self.metrics.axis_height).round();
        let span = self.label.axis.span;
        self.text(&format!("\u{2212}{span}\u{202f}s"), kind, INK_DIM, left, baseline, 0.0);
        self.text("now", kind, INK_DIM, left + self.metrics.inner_width(), baseline, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deepfake_report::KindScores;
    use deepfake_report::testing::{self, with};

    const ALL: Parts = Parts { text: true, window: true, history: true };

    fn label(face: &FaceReport) -> Label {
        Metrics::new("Sans", 18.0, ALL).label(face, [].iter(), 0, 10).unwrap()
    }

    #[test]
    fn labels_say_what_is_known_and_no_more() {
        let face = |state, score| {
            with(testing::face(3), |face| {
                face.state = state;
                face.score = score;
            })
        };
        let said = |face: &FaceReport| {
            let label = label(face);
            (label.title, label.value, label.caption)
        };
        assert_eq!(said(&face(State::Fake, Some(0.93))), ("Fake", "93\u{202f}%".into(), "fake score"));
        assert_eq!(said(&face(State::Authentic, Some(0.0))), ("Authentic", "<1\u{202f}%".into(), "fake score"));
        assert_eq!(said(&face(State::Fake, Some(1.0))).1, ">99\u{202f}%");
        assert_eq!(said(&face(State::Uncertain, Some(f64::NAN))), ("Uncertain", String::new(), "no score"));
        let warming = with(face(State::Warming, None), |face| face.window_fill = 12);
        assert_eq!(said(&warming), ("Warming up", "12/40".into(), "crops"));
        let small = with(face(State::Rejected, None), |face| face.reason = Some(deepfake_report::Reason::TooSmall));
        assert_eq!(said(&small), ("Too small", String::new(), "not judged"));
    }

    #[test]
    fn what_was_done_to_a_face_is_named_where_it_looks_fake_and_the_model_is_sure() {
        let metrics = Metrics::new("Sans", 18.0, ALL);
        let said = |state, kind| {
            let face = with(testing::face(3), |face| {
                face.state = state;
                face.score = Some(0.93);
                face.kind = Some(kind);
            });
            let label = label(&face);
            (label.caption, metrics.compact(&label).unwrap().value)
        };
        let lips = KindScores::new(0.2, 0.7, 0.1);
        assert_eq!(said(State::Fake, lips), ("lips", "93\u{202f}% · lips".into()));
        assert_eq!(said(State::Uncertain, lips).0, "lips");
        assert_eq!(said(State::Authentic, lips), ("fake score", "93\u{202f}%".into()));
        assert_eq!(said(State::Fake, KindScores::new(0.4, 0.3, 0.3)).0, "fake score");
    }

    #[test]
    fn every_verdict_fits_its_label_in_any_font() {
        for font in ["Sans", "Serif Italic", "Monospace"] {
            let metrics = Metrics::new(font, 18.0, ALL);
            for state in State::ALL {
                let words = theme::words(state, None);
                let line = metrics.width(words, metrics.heading()) + metrics.width("100\u{202f}%", metrics.heading());
                assert!(line < metrics.text_width, "{font}: {words}");
            }
            let minor = metrics.width("#1234", metrics.minor()) + metrics.width("fake score", metrics.minor());
            assert!(minor < metrics.text_width, "{font}: second line");
        }
    }

    #[test]
    fn without_parts_there_is_no_label() {
        let parts = Parts { text: false, window: false, history: false };
        assert_eq!(Metrics::new("Sans", 18.0, parts).label(&testing::face(1), [].iter(), 0, 10), None);
    }

    #[test]
    fn a_line_becomes_columns_without_gaps() {
        let line = |points: &[(f64, f64)], left| columns(points.iter().copied(), left);
        assert_eq!(
            line(&[(0.0, 0.0), (4.0, 8.0)], 0.0),
            [(0.0, 0.0, 2.0), (1.0, 2.0, 4.0), (2.0, 4.0, 6.0), (3.0, 6.0, 8.0)]
        );
        // What lies left of the strip is cut; the line goes on as if it were there.
        assert_eq!(line(&[(-2.0, 0.0), (2.0, 4.0)], 0.0), [(0.0, 2.0, 3.0), (1.0, 3.0, 4.0)]);
        // A lone point is a dot; a step up is one tall column.
        assert_eq!(line(&[(3.5, 1.0)], 0.0), [(3.0, 1.0, 1.0)]);
        assert_eq!(line(&[(1.0, 0.0), (1.5, 6.0), (2.0, 0.0)], 0.0), [(1.0, 0.0, 6.0)]);
        assert!(line(&[(-1e6, 0.0), (-5e5, 1.0)], 0.0).is_empty());
    }

    #[test]
    fn ticks_are_few() {
        for span in 1..=600 {
            assert!(span / tick(span) <= 6, "{span}");
        }
    }

    #[test]
    fn a_spike_between_two_pixels_is_kept() {
        let metrics = Metrics::new("Sans", 18.0, ALL);
        let sample = |pts, score| Sample { pts, until: pts, score: Some(score), state: State::Authentic };
        let samples = [sample(5_000_000_000, 0.1), sample(5_000_001_000, 0.9), sample(5_000_002_000, 0.1)];
        let points = metrics.points(samples.iter(), 10_000_000_000, 10);
        assert_eq!(points.len(), 1);
        assert_eq!(points[0].y, Some(((metrics.strip_height * 2.0 - 6.0) * 0.9 + 3.0).round() as i32));
    }
}
