//! Small drawings, as SVG without any style of its own: colours and strokes are the style sheet's.

use maud::{Markup, html};

use crate::channel::ledger::{Kind, Span};

/// Scores from the left (old) to the right (new); a gap where there is none.
pub fn strip(scores: &[Option<f64>], threshold: Option<f64>) -> Markup {
    let width = scores.len().max(1);
    html! {
        svg.strip viewBox={ "0 0 " (width) " 20" } preserveAspectRatio="none" role="img" aria-label=(spoken(scores)) {
            @if let Some(threshold) = threshold {
                line.threshold x1="0" x2=(width) y1=(height(threshold)) y2=(height(threshold)) {}
            }
            @for line in lines(scores) {
                polyline points=(line) {}
            }
        }
    }
}

fn height(score: f64) -> String {
    format!("{:.1}", 20.0 * (1.0 - score.clamp(0.0, 1.0)))
}

fn spoken(scores: &[Option<f64>]) -> String {
    match scores.iter().flatten().copied().reduce(f64::max) {
        Some(highest) => format!("score over time, at most {highest:.2}"),
        None => "no score".into(),
    }
}

fn lines(scores: &[Option<f64>]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for (index, score) in scores.iter().enumerate() {
        match score {
            // Each second is drawn as wide as it is, so that a single one is seen.
            Some(score) => line += &format!("{index},{h} {},{h} ", index + 1, h = height(*score)),
            None if !line.is_empty() => lines.push(std::mem::take(&mut line)),
            None => {}
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The spans of `from..to`, each in the class of its kind.
pub fn coverage(spans: &[Span], from: i64, to: i64) -> Markup {
    let whole = (to - from).max(1) as f64;
    let place = |at: i64| 1000.0 * (at.clamp(from, to) - from) as f64 / whole;
    html! {
        svg.coverage viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label="coverage over time" {
            @for span in spans {
                rect class=(span.kind.as_str()) x=(format!("{:.2}", place(span.start))) y="0" height="20"
                    width=(format!("{:.2}", (place(span.end) - place(span.start)).max(0.5))) {}
            }
        }
    }
}

/// What a kind of coverage is called.
pub fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Analysed => "analysed",
        Kind::NoFace => "no face",
        Kind::NotJudgeable => "not judgeable",
        Kind::Shed => "shed",
        Kind::Frozen => "frozen",
        Kind::Black => "black",
        Kind::Offline => "offline",
        Kind::WorkerLost => "worker lost",
        Kind::Paused => "paused",
    }
}

pub fn legend() -> Markup {
    html! {
        ul.legend {
            @for kind in Kind::ALL {
                li { svg.swatch viewBox="0 0 10 10" aria-hidden="true" { rect class=(kind.as_str()) width="10" height="10" {} } (words(kind)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_the_scores_is_a_gap_in_the_line() {
        let lines = lines(&[Some(0.5), Some(1.0), None, Some(0.0)]);
        assert_eq!(lines, ["0,10.0 1,10.0 1,0.0 2,0.0 ", "3,20.0 4,20.0 "]);
    }
}
