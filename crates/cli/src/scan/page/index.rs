//! The page that lists all files of a report.

use maud::{Markup, html};

use super::{badge, page};
use crate::scan::{
    finding::{Finding, Verdict, clock},
    table,
};

const SCRIPT: &str = include_str!("index.js");

const VERDICTS: [Verdict; 5] =
    [Verdict::Fake, Verdict::FakeInPart, Verdict::Uncertain, Verdict::NothingFound, Verdict::NotJudged];

/// The index of `findings`.
pub fn index(findings: &[&Finding]) -> String {
    let owned: Vec<Finding> = findings.iter().map(|finding| (*finding).clone()).collect();
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let conclusion = table::conclusion(&owned);
    let mut conclusion = conclusion.lines();
    // What is to be looked at first stands first.
    let mut findings = findings.to_vec();
    findings.sort_by(|a, b| {
        let score = |finding: &Finding| finding.score.unwrap_or(-1.0);
        a.verdict.cmp(&b.verdict).then(score(b).total_cmp(&score(a))).then_with(|| a.file.cmp(&b.file))
    });
    let body = html! {
        header.top {
            p.kind { "Deepfake scan" }
            h1 { (conclusion.next().unwrap_or_default()) }
            @for sentence in conclusion { p.worth { (sentence) } }
        }
        main {
            form.filters {
                label for="search" { "File name " }
                input id="search" type="search" autocomplete="off";
                fieldset {
                    legend { "Show" }
                    @for verdict in VERDICTS {
                        label { input type="checkbox" name="verdict" value=(verdict.as_str()) checked;
                            " " (verdict.words()) " (" (count(verdict)) ")" }
                    }
                }
                output aria-live="polite" {}
            }
            div.wide {
                table.files {
                    thead {
                        tr {
                            @for (name, kind) in [("File", "text"), ("Verdict", "number"), ("Score", "number"),
                                ("Judged", "number"), ("Faces", "number"), ("Length", "number")] {
                                th scope="col" data-kind=(kind) { button type="button" { (name) } }
                            }
                            th scope="col" { "Remark" }
                        }
                    }
                    tbody { @for finding in findings { (row(finding)) } }
                }
            }
        }
    };
    page("Deepfake scan", body, SCRIPT)
}

fn row(finding: &Finding) -> Markup {
    let seconds = finding.media.as_ref().map(|media| media.seconds);
    let rank = VERDICTS.iter().position(|verdict| *verdict == finding.verdict).unwrap_or_default();
    html! {
        tr data-verdict=(finding.verdict.as_str()) {
            td data-value=(finding.file) {
                @match &finding.page {
                    Some(page) => a href=(page) { (finding.file) },
                    None => (finding.file),
                }
            }
            td data-value=(rank) { (badge(finding.verdict)) }
            td.number data-value=(finding.score.unwrap_or(-1.0)) {
                @if let Some(score) = finding.score { (format!("{score:.2}")) } @else { "–" }
            }
            // Nothing is known of what could not be read.
            @if let Some(seconds) = seconds {
                td.number data-value=(finding.judged_share) { (format!("{:.0} %", finding.judged_share * 100.0)) }
                td.number data-value=(finding.faces.len()) { (finding.faces.len()) }
                td.number data-value=(seconds) { (clock(seconds)) }
            } @else {
                @for _ in 0..3 { td.number data-value="-1" { "–" } }
            }
            td { (finding.message.as_deref().unwrap_or_default()) }
        }
    }
}
