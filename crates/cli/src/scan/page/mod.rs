//! Pages to look at: one per file, and an index. Each is one file that needs no network.

mod chart;
mod index;

use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    compare::Pair,
    finding::{Face, Finding, ReferenceNote, Verdict, clock, kinds_in_words, why_in_words},
    pictures::{Album, Picture, Pictures, Scene},
    table,
};
pub use index::index;

/// Rows of gaps that are listed.
const MAX_GAPS: usize = 100;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("file.js");

/// The whole page: head, styles, and a policy under which a browser opens nothing from elsewhere.
fn page(title: &str, body: Markup, script: &str) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                script { (PreEscaped(script)) }
            }
        }
    }
    .into_string()
}

/// The page about one file; `album` is missing where it could not be read.
pub fn file(finding: &Finding, album: Option<&Album>, pairs: &[Pair]) -> String {
    let body = html! {
        header.top {
            p.kind { "Deepfake scan" }
            h1 { (finding.file) }
            p { (badge(finding.verdict)) @if !summary(finding).is_empty() { ": " (summary(finding)) } }
            @if finding.verdict != Verdict::NotJudged {
                p.worth { (table::follows(&finding.model, finding.verdict)) }
            } @else {
                p.worth { "Of a video that was not judged nothing is known: it is neither called fake nor cleared." }
            }
            nav { a href="index.html" { "All files of this report" } }
        }
        main {
            @for (index, face) in finding.faces.iter().enumerate() {
                (face_section(index + 1, face, finding, album.and_then(|album| album.of(face.track_id))))
            }
            @if finding.further_faces > 0 {
                p { (table::count_of(finding.further_faces, "further face")) " flitted by, too shortly to be judged." }
            }
            @if let Some(note) = &finding.reference { (beside(note, pairs)) }
            (not_judged(finding))
            (limits(finding))
            (made_by(finding))
        }
    };
    page(&format!("{}: {}", finding.verdict.words(), finding.file), body, SCRIPT)
}

/// A verdict as a word with a sign: never by its colour alone.
fn badge(verdict: Verdict) -> Markup {
    let sign = match verdict {
        Verdict::Fake => "▲",
        Verdict::FakeInPart => "△",
        Verdict::Uncertain => "?",
        Verdict::NothingFound => "○",
        Verdict::NotJudged => "–",
    };
    html! { strong.badge.(verdict.as_str()) { span aria-hidden="true" { (sign) " " } (verdict.words()) } }
}

fn summary(finding: &Finding) -> String {
    let mut parts = Vec::new();
    if let Some(score) = finding.score {
        let of = match finding.faces.len() {
            1 => String::new(),
            faces => format!(", the highest of {faces} faces"),
        };
        parts.push(format!("score {score:.2}{of}"));
        parts.push(format!("judged {:.0} % of the time", finding.judged_share * 100.0));
    }
    parts.extend(finding.message.clone());
    parts.extend(finding.notes.iter().cloned());
    parts.join("; ")
}

fn score_words(face: &Face) -> String {
    match (face.score, face.interval) {
        (Some(score), Some([low, high])) => format!("score {score:.2}, 95 % interval {low:.2} to {high:.2}"),
        (Some(score), None) => format!("score {score:.2}; seen too shortly for an interval"),
        (None, _) => "no score".into(),
    }
}

fn face_section(number: usize, face: &Face, finding: &Finding, pictures: Option<&Pictures>) -> Markup {
    let seconds = finding.media.as_ref().map_or(face.last, |media| media.seconds).max(face.last);
    html! {
        section.face aria-labelledby=(format!("face-{number}")) {
            h2 id=(format!("face-{number}")) { "Face " (number) ": " (badge(face.verdict)) }
            p { (capital(&score_words(face))) "; seen " (clock(face.first)) " to " (clock(face.last)) "." }
            @if let Some(pictures) = pictures {
                div.pictures {
                    @if let Some(scene) = &pictures.scene { (scene_figure(number, scene)) }
                    @if let Some(picture) = &pictures.suspicious { (figure(picture, "Most suspicious")) }
                    @if let Some(picture) = &pictures.ordinary { (figure(picture, "Most ordinary")) }
                }
            }
            @if !face.timeline.is_empty() {
                (chart::chart(number, face, finding, seconds))
            }
            @for stretch in &face.stretches {
                p.stretch { "▲ Looks fake from " (clock(stretch.start)) " to " (clock(stretch.end))
                    ", up to " (format!("{:.2}", stretch.peak)) "." }
            }
            @if let Some(pictures) = pictures.filter(|pictures| !pictures.between.is_empty()) {
                (moments(number, pictures))
            }
            dl {
                dt { "Judged" }
                dd { (format!("{:.1} s of the {:.1} s for which it was seen ({:.0} %), {} windows",
                    face.judged, face.seen, face.judged_share() * 100.0, face.windows)) }
                @for (why, seconds) in &face.not_judged {
                    dt { "Not judged" }
                    dd { (format!("{seconds:.1} s: ")) (why_in_words(why)) }
                }
                @if let Some(kinds) = kinds_in_words(face) {
                    dt { "Should it be a fake" }
                    dd { (kinds) }
                }
            }
        }
    }
}

fn data(jpeg: &[u8]) -> String {
    format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg))
}

fn figure(picture: &Picture, what: &str) -> Markup {
    let caption = format!("{what}: {}", moment(picture));
    html! {
        figure {
            img src=(data(&picture.jpeg)) alt=(format!("The face at {}", clock(picture.time))) width="176" height="176";
            figcaption { (caption) }
        }
    }
}

fn scene_figure(number: usize, scene: &Scene) -> Markup {
    let percent = |value: f64| format!("{:.2}%", value * 100.0);
    let [x, y, width, height] = scene.face;
    html! {
        figure.scene {
            div.frame {
                img src=(data(&scene.jpeg)) alt=(format!("The frame in which face {number} is most suspicious"))
                    width=(scene.width) height=(scene.height);
                svg aria-hidden="true" {
                    rect x=(percent(x)) y=(percent(y)) width=(percent(width)) height=(percent(height)) {}
                }
            }
            figcaption { "Where face " (number) " is" }
        }
    }
}

/// As a sentence begins.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// When, and the score there.
fn moment(picture: &Picture) -> String {
    let score = picture.score.map_or(String::new(), |score| format!(", score {score:.2}"));
    clock(picture.time) + &score
}

/// Small pictures in the order of time; one of them is shown large when it is clicked, or its moment in the chart.
fn moments(number: usize, pictures: &Pictures) -> Markup {
    html! {
        div.moments data-face=(number) {
            p.hint { "Click a moment in the chart, or choose one here:" }
            div.strip role="group" aria-label=(format!("Moments of face {number}")) {
                @for picture in pictures.all() {
                    button type="button" aria-pressed="false" data-time=(format!("{:.3}", picture.time))
                        aria-label=(moment(picture)) {
                        img src=(data(&picture.jpeg)) alt="" width="72" height="72";
                        span { (clock(picture.time)) }
                        @if let Some(score) = picture.score { span { (format!("{score:.2}")) } }
                    }
                }
            }
            div.chosen aria-live="polite" {}
        }
    }
}

/// The highest face beside the reference.
fn beside(note: &ReferenceNote, pairs: &[Pair]) -> Markup {
    html! {
        section aria-labelledby="beside" {
            h2 id="beside" { "Beside the reference" }
            p { (capital(&table::reference_words(note))) "." }
            @if pairs.is_empty() {
                p { "There is no moment of which both have a picture." }
            } @else if note.offset.is_none() {
                p { "Left this video, right the reference, at different moments." }
            } @else {
                p { "Left this video, right the same moment of the reference." }
            }
            div.pairs {
                @for (picture, other) in pairs {
                    figure {
                        div { (plain(picture)) (plain(other)) }
                        figcaption { (moment(picture)) br; "reference: " (moment(other)) }
                    }
                }
            }
        }
    }
}

fn plain(picture: &Picture) -> Markup {
    html! { img src=(data(&picture.jpeg)) alt=(format!("At {}", clock(picture.time))) width="112" height="112"; }
}

fn not_judged(finding: &Finding) -> Markup {
    html! {
        section aria-labelledby="not-judged" {
            h2 id="not-judged" { "What was not judged" }
            @if finding.not_judged.is_empty() && finding.message.is_none() {
                p { "At every moment at least one face was judged." }
            }
            @if let Some(message) = &finding.message {
                p { strong { (message) } }
            }
            @if !finding.not_judged.is_empty() {
                table {
                    thead { tr { th scope="col" { "From" } th scope="col" { "To" } th scope="col" { "Why" } } }
                    tbody {
                        @for gap in finding.not_judged.iter().take(MAX_GAPS) {
                            tr {
                                td { (clock(gap.start)) }
                                td { (clock(gap.end)) }
                                td { (why_in_words(&gap.why)) }
                            }
                        }
                    }
                }
                @if finding.not_judged.len() > MAX_GAPS {
                    p { "and " (finding.not_judged.len() - MAX_GAPS) " more, which results.jsonl lists." }
                }
            }
        }
    }
}

fn limits(finding: &Finding) -> Markup {
    let model = &finding.model;
    html! {
        section aria-labelledby="limits" {
            h2 id="limits" { "What a score is worth" }
            ul {
                li { "A score is the model's estimate that a face was forged, from 0 to 1. From "
                    (format!("{:.2}", model.fake_threshold)) " on a face is called fake, up to "
                    (format!("{:.2}", model.nothing_found_threshold)) " nothing was found; between them it cannot say." }
                li { (table::follows(model, finding.verdict)) }
                @if let Some(on) = &model.measured_on { li { "Measured on: " (on) "." } }
                li { "The interval says how far the score moves within this video. It does not say how likely the model is \
                      right about forgeries of other makes." }
                li { "Only faces are judged: not voices, words, backgrounds, or whether a true video is shown out of \
                      context." }
                li { "Strong compression, small or dark faces, filters and black-and-white pictures move scores." }
            }
        }
    }
}

fn made_by(finding: &Finding) -> Markup {
    let model = &finding.model;
    html! {
        section.made aria-labelledby="made" {
            h2 id="made" { "How this was made" }
            dl {
                dt { "File" } dd { (finding.file) }
                @if let Some(media) = &finding.media {
                    dt { "Video" }
                    dd { (media.width) "×" (media.height) (format!(", {:.2} frames a second, ", media.fps))
                        (clock(media.seconds)) " looked at, " (media.frames) " frames" }
                    @if let Some(bytes) = media.bytes { dt { "Size" } dd { (bytes) " bytes" } }
                    @if let Some(sum) = &media.sha256 { dt { "SHA-256 of the file" } dd { code { (sum) } } }
                }
                dt { "Model" } dd { (model.name) " " (model.version) "; licence: " (model.licence) }
                @for (name, sum) in &model.sha256 {
                    dt { "SHA-256 of " (name) } dd { code { (sum) } }
                }
                dt { "Thresholds" } dd { "fake from " (model.fake_threshold) ", nothing found up to "
                    (model.nothing_found_threshold) "; windows of " (format!("{:.1}", model.window_seconds)) " s" }
                dt { "Program" } dd { (finding.program.name) " " (finding.program.version) }
                dt { "SHA-256 of the program" } dd { code { (finding.program.sha256) } }
                dt { "Scanned" } dd { (finding.scanned) }
            }
        }
    }
}
