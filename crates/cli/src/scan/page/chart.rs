//! A face's score over time, as SVG.

use maud::{Markup, html};

use crate::scan::finding::{Face, Finding, Step, clock, why_in_words};

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 200.0;
/// Room for the labels of the axes.
const LEFT: f64 = 40.0;
const BOTTOM: f64 = 24.0;
const TOP: f64 = 8.0;

/// Steps further apart than this many of their lengths are not joined by a line.
const MAX_GAP_STEPS: f64 = 2.5;

fn x(time: f64, seconds: f64) -> f64 {
    LEFT + time / seconds.max(1e-3) * (WIDTH - LEFT)
}

fn y(score: f64) -> f64 {
    TOP + (1.0 - score) * (HEIGHT - TOP - BOTTOM)
}

pub fn chart(number: usize, face: &Face, finding: &Finding, seconds: f64) -> Markup {
    let model = &finding.model;
    let span = |from: f64, to: f64| (x(from, seconds), (x(to, seconds) - x(from, seconds)).max(1.0));
    let plot = y(0.0) - y(1.0);
    let label = format!(
        "Score of face {number} over time: from {} to {}, highest {:.2}, threshold {}",
        clock(face.first),
        clock(face.last),
        face.timeline.iter().map(|step| step.high).fold(0.0, f64::max),
        model.fake_threshold
    );
    html! {
        svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) data-face=(number)
            data-left=(LEFT) data-width=(WIDTH) data-seconds=(format!("{seconds:.3}")) {
            @for gap in &finding.not_judged {
                @let (start, width) = span(gap.start, gap.end);
                rect.gap x=(num(start)) y=(num(y(1.0))) width=(num(width)) height=(num(plot)) {
                    title { (clock(gap.start)) " to " (clock(gap.end)) " not judged: " (why_in_words(&gap.why)) }
                }
            }
            @for stretch in &face.stretches {
                @let (start, width) = span(stretch.start, stretch.end);
                rect.fake x=(num(start)) y=(num(y(1.0))) width=(num(width)) height=(num(plot)) {
                    title { "Looks fake from " (clock(stretch.start)) " to " (clock(stretch.end)) }
                }
            }
            @for score in [0.0, 0.25, 0.5, 0.75, 1.0] {
                line.grid x1=(LEFT) x2=(WIDTH) y1=(num(y(score))) y2=(num(y(score))) {}
                text.axis x=(LEFT - 6.0) y=(num(y(score) + 4.0)) text-anchor="end" { (score) }
            }
            line.threshold x1=(LEFT) x2=(WIDTH) y1=(num(y(model.fake_threshold))) y2=(num(y(model.fake_threshold))) {
                title { "Fake from " (model.fake_threshold) " on" }
            }
            line.threshold.low x1=(LEFT) x2=(WIDTH) y1=(num(y(model.nothing_found_threshold)))
                y2=(num(y(model.nothing_found_threshold))) {
                title { "Nothing found up to " (model.nothing_found_threshold) }
            }
            @for cut in &finding.cuts {
                line.cut x1=(num(x(*cut, seconds))) x2=(num(x(*cut, seconds))) y1=(num(y(1.0))) y2=(num(y(0.0))) {
                    title { "Cut at " (clock(*cut)) }
                }
            }
            path.high d=(path(&face.timeline, seconds, |step| step.high)) {}
            path.score d=(path(&face.timeline, seconds, |step| step.score)) {}
            @for time in ticks(seconds) {
                text.axis x=(num(x(time, seconds))) y=(HEIGHT - 6.0) text-anchor=(anchor(time, seconds)) { (short(time)) }
            }
            line.cursor x1="0" x2="0" y1=(num(y(1.0))) y2=(num(y(0.0))) hidden {}
        }
        p.legend {
            span.key.score { "score" } " " span.key.high { "highest" } " "
            span.key.threshold { "fake from " (format!("{:.2}", model.fake_threshold)) " on" } " "
            span.key.threshold.low { "nothing found up to " (format!("{:.2}", model.nothing_found_threshold)) } " "
            @if !face.stretches.is_empty() { span.key.fake { "looks fake" } " " }
            @if !finding.cuts.is_empty() { span.key.cut { "cut" } " " }
            @if !finding.not_judged.is_empty() { span.key.gap { "nothing judged" } }
        }
    }
}

/// Two decimals are less than a pixel.
fn num(value: f64) -> String {
    format!("{value:.2}")
}

fn anchor(time: f64, seconds: f64) -> &'static str {
    if time + seconds / 20.0 > seconds {
        "end"
    } else if time == 0.0 {
        "start"
    } else {
        "middle"
    }
}

fn short(time: f64) -> String {
    clock(time).trim_end_matches(".0").to_owned()
}

/// Times of labels: round numbers, at most ten.
fn ticks(seconds: f64) -> Vec<f64> {
    const STEPS: [f64; 12] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
    let step = STEPS.into_iter().find(|step| seconds / step <= 10.0).unwrap_or(seconds / 10.0);
    (0..=10).map(|index| f64::from(index) * step).take_while(|time| *time <= seconds).collect()
}

fn path(steps: &[Step], seconds: f64, of: impl Fn(&Step) -> f64) -> String {
    let shortest = steps.windows(2).map(|pair| pair[1].time - pair[0].time).fold(f64::INFINITY, f64::min);
    let (mut text, mut last) = (String::new(), f64::NEG_INFINITY);
    for step in steps {
        let joined = step.time - last <= shortest * MAX_GAP_STEPS;
        let middle = step.time + if shortest.is_finite() { shortest / 2.0 } else { 0.0 };
        text += &format!("{}{} {}", if joined { 'L' } else { 'M' }, num(x(middle, seconds)), num(y(of(step))));
        if !joined {
            // A step of its own is a dot, which a line of no length with round ends is.
            text += "h0";
        }
        last = step.time;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_where_nothing_was_judged() {
        let step = |time| Step { time, score: 0.5, high: 0.5 };
        let steps: Vec<_> = [0.0, 0.2, 0.4, 4.0, 4.2].map(step).into();
        let text = path(&steps, 5.0, |step| step.score);
        assert_eq!(text.matches('M').count(), 2, "{text}");
        assert_eq!(text.matches('L').count(), 3, "{text}");
    }

    #[test]
    fn labels_are_few_and_round() {
        assert_eq!(ticks(19.7).len(), 10);
        assert_eq!(ticks(3.0), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        assert!(ticks(86_400.0).len() <= 11);
        assert_eq!(short(60.0), "1:00");
    }
}
