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
    let body = html! {
        header.top {
            p.kind { "Deepfake scan" }
            h1 { (findings.len()) " file(s)" }
            @for sentence in table::conclusion(&owned).lines() { p.worth { (sentence) } }
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
    let seconds = finding.media.as_ref().map_or(0.0, |media| media.seconds);
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
            td.number data-value=(finding.judged_share) { (format!("{:.0} %", finding.judged_share * 100.0)) }
            td.number data-value=(finding.faces.len()) { (finding.faces.len()) }
            td.number data-value=(seconds) { (clock(seconds)) }
            td { (finding.message.as_deref().unwrap_or_default()) }
        }
    }
}
