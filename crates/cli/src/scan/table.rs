//! What is said in the terminal.

use super::finding::{Face, Finding, ModelNote, ReferenceNote, Verdict, clock, kinds_in_words, why_in_words};

/// Faces of one file that get a row; the rest is counted.
const MAX_ROWS: usize = 12;

/// A block of rows about one file.
pub fn rows(finding: &Finding) -> String {
    let mut text = format!("{}\n", finding.file);
    let mut row = |what: &str, verdict: &str, rest: &str| {
        text += format!("  {what:<8} {verdict:<18} {rest}").trim_end();
        text.push('\n');
    };
    if finding.faces.is_empty() {
        row("", Verdict::NotJudged.words(), finding.message.as_deref().unwrap_or_default());
        return text;
    }
    for (index, face) in finding.faces.iter().take(MAX_ROWS).enumerate() {
        row(&format!("face {}", index + 1), face.verdict.words(), &details(face));
    }
    let hidden = finding.faces.len().saturating_sub(MAX_ROWS);
    if hidden > 0 {
        row("", "", &format!("and {} with lower scores", count_of(hidden, "more face")));
    }
    if finding.further_faces > 0 {
        row("", "", &format!("{} flitted by, too shortly to be judged", count_of(finding.further_faces, "face")));
    }
    let whole =
        format!("{:.0} % of the time at least one face was judged{}", finding.judged_share * 100.0, gaps(finding));
    row("", "", &whole);
    if let Some(message) = finding.message.as_deref().filter(|_| finding.failed) {
        row("", "not complete", message);
    }
    if let Some(reference) = &finding.reference {
        row("", "", &reference_words(reference));
    }
    for note in &finding.notes {
        row("", "", note);
    }
    text
}

fn details(face: &Face) -> String {
    let mut parts = Vec::new();
    if let Some(score) = face.score {
        parts.push(match face.interval {
            Some([low, high]) => format!("{score:.2} ({low:.2}–{high:.2})"),
            None => format!("{score:.2} (too short for an interval)"),
        });
    }
    parts.push(format!("{}–{}", clock(face.first), clock(face.last)));
    parts.push(format!("judged {:.0} % of {:.1} s", face.judged_share() * 100.0, face.seen));
    let mut reasons: Vec<_> = face.not_judged.iter().filter(|(_, seconds)| **seconds >= 0.05).collect();
    reasons.sort_by(|a, b| b.1.total_cmp(a.1));
    if !reasons.is_empty() {
        let reasons = reasons.iter().map(|(why, seconds)| format!("{} {seconds:.1} s", why_in_words(why)));
        parts.push(format!("else {}", reasons.collect::<Vec<_>>().join(", ")));
    }
    if let Some(kinds) = kinds_in_words(face) {
        parts.push(format!("should it be a fake: {kinds}"));
    }
    for stretch in &face.stretches {
        parts.push(format!("looks fake {}–{} (up to {:.2})", clock(stretch.start), clock(stretch.end), stretch.peak));
    }
    parts.join(", ")
}

/// `1 file`, `2 files`
pub fn count_of(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// What the reference says beside the file.
pub fn reference_words(reference: &ReferenceNote) -> String {
    let score = reference.score.map_or(String::new(), |score| format!(" ({score:.2})"));
    let verdict = reference.verdict.words();
    let place = match reference.offset {
        Some(offset) => {
            let when = match offset {
                -0.02..0.02 => "at the same times".to_owned(),
                0.02.. => format!("{offset:.2} s later there"),
                _ => format!("{:.2} s earlier there", -offset),
            };
            format!("it shows the same at {:.0} % of the moments, {when}", reference.matched * 100.0)
        }
        None => "no part of it shows the same pictures".into(),
    };
    format!("beside the reference {}: {verdict}{score}; {place}", reference.file)
}

fn gaps(finding: &Finding) -> String {
    let mut reasons = std::collections::BTreeMap::<&str, f64>::new();
    for gap in &finding.not_judged {
        *reasons.entry(why_in_words(&gap.why)).or_default() += gap.end - gap.start;
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by(|a, b| b.1.total_cmp(&a.1));
    let reasons: Vec<_> = reasons.iter().map(|(why, seconds)| format!("{why} {seconds:.1} s")).collect();
    if reasons.is_empty() { String::new() } else { format!("; else {}", reasons.join(", ")) }
}

/// What follows from it all, and what does not.
pub fn conclusion(findings: &[Finding]) -> String {
    let count = |test: fn(&Finding) -> bool| findings.iter().filter(|finding| test(finding)).count();
    let all = findings.len();
    let fake = count(|finding| finding.verdict.is_fake());
    let uncertain = count(|finding| finding.verdict == Verdict::Uncertain);
    let nothing = count(|finding| finding.verdict == Verdict::NothingFound);
    let not_judged = count(|finding| finding.verdict == Verdict::NotJudged);
    let failed = count(|finding| finding.failed && finding.verdict != Verdict::NotJudged);
    let mut sums = vec![count_of(all, "file")];
    for (count, words) in [
        (fake, "with a face that looks fake"),
        (uncertain, "undecided"),
        (nothing, "in which nothing was found"),
        (not_judged, "not judged"),
        (failed, "not read to the end"),
    ] {
        if count > 0 {
            sums.push(format!("{count} {words}"));
        }
    }
    let Some(model) = findings.first().map(|finding| &finding.model) else { return String::new() };
    let mut text = format!("{}.\n", sums.join(", "));
    if fake + uncertain + nothing > 0 {
        let verdict = findings.iter().map(|finding| finding.verdict).min().unwrap_or(Verdict::NotJudged);
        text += &format!("{}\n", follows(model, verdict));
    }
    if not_judged > 0 {
        text += "Of what was not judged nothing is known: it is neither called fake nor cleared.\n";
    }
    text
}

/// The sentence on what a score is worth.
pub fn follows(model: &ModelNote, verdict: Verdict) -> String {
    // A number and its sign stay on one line.
    let percent = |share: f64| format!("{:.0}\u{a0}%", share * 100.0);
    let rates = match (model.false_alarms, model.hits) {
        (Some(alarms), Some(hits)) => format!(
            "on its makers' own clips {} called {} of real ones fake and found {} of the fakes",
            model.name,
            percent(alarms),
            percent(hits)
        ),
        _ => format!("nobody has measured how often {} is wrong", model.name),
    };
    let start = match verdict {
        Verdict::Fake | Verdict::FakeInPart => "A score is a reason to look closer, not a proof",
        Verdict::Uncertain => "A score between the thresholds says nothing either way",
        Verdict::NothingFound | Verdict::NotJudged => "That nothing was found does not make a video authentic",
    };
    format!("{start}: {rates}, and forgeries of unknown makes score lower.")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::scan::finding::{Media, Program, SCHEMA};

    /// A finding about `file` without a face.
    pub fn finding(file: &str) -> Finding {
        Finding {
            schema: SCHEMA,
            file: file.into(),
            verdict: Verdict::NotJudged,
            message: Some("no face was seen".into()),
            failed: false,
            score: None,
            media: Some(Media {
                sha256: Some("00ff".into()),
                seconds: 10.0,
                width: 640,
                height: 360,
                ..Media::default()
            }),
            judged_share: 0.0,
            faces: Vec::new(),
            further_faces: 0,
            not_judged: vec![super::super::finding::Gap { start: 0.0, end: 10.0, why: "no-face".into() }],
            cuts: Vec::new(),
            model: ModelNote {
                name: "m".into(),
                version: "1".into(),
                licence: "free".into(),
                sha256: [("encoder.onnx".to_owned(), "aa".to_owned())].into(),
                fake_threshold: 0.8,
                nothing_found_threshold: 0.5,
                window_seconds: 2.7,
                false_alarms: Some(0.08),
                hits: Some(0.3),
                measured_on: None,
            },
            program: Program { name: "deepfake".into(), version: "1".into(), sha256: "bb".into() },
            reference: None,
            scanned: "2026-01-01T00:00:00Z".into(),
            page: None,
            notes: Vec::new(),
        }
    }

    /// The same with one face of this verdict.
    pub fn judged(file: &str, verdict: Verdict, score: f64) -> Finding {
        let face = Face {
            track_id: 3,
            verdict,
            score: Some(score),
            interval: Some([score - 0.1, score + 0.1]),
            windows: 50,
            first: 0.5,
            last: 9.5,
            seen: 9.0,
            judged: 6.0,
            not_judged: [("profile".to_owned(), 2.0), ("too-short".to_owned(), 1.0)].into(),
            area: 0.1,
            highest: None,
            lowest: None,
            stretches: Vec::new(),
            timeline: (0..40)
                .map(|step| super::super::finding::Step {
                    time: f64::from(step) * 0.2,
                    score,
                    high: (score + 0.05).min(1.0),
                })
                .collect(),
            kinds: Default::default(),
        };
        Finding {
            verdict,
            message: None,
            score: Some(score),
            judged_share: 0.6,
            faces: vec![face],
            not_judged: vec![super::super::finding::Gap { start: 4.0, end: 6.0, why: "profile".into() }],
            cuts: vec![4.0],
            ..finding(file)
        }
    }

    #[test]
    fn a_face_has_a_row_with_verdict_score_interval_and_what_was_not_judged() {
        let text = rows(&judged("a.mp4", Verdict::Fake, 0.85));
        for part in
            ["a.mp4", "face 1", "looks fake", "0.85 (0.75–0.95)", "judged 67 % of 9.0 s", "face turned away 2.0 s"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn what_was_not_judged_never_looks_like_nothing_found() {
        let text = rows(&finding("a.mp4"));
        assert!(text.contains("not judged") && text.contains("no face was seen"), "{text}");
        let text = conclusion(&[finding("a.mp4"), judged("b.mp4", Verdict::NothingFound, 0.1)]);
        assert!(text.contains("1 not judged") && text.contains("1 in which nothing was found"), "{text}");
        assert!(text.contains("nothing is known") && text.contains("does not make a video authentic"), "{text}");
        assert!(!conclusion(&[finding("a.mp4")]).contains("8\u{a0}%"), "no score, no word on scores");
    }

    #[test]
    fn a_verdict_comes_with_how_often_the_model_is_wrong() {
        let text = conclusion(&[judged("b.mp4", Verdict::Fake, 0.9)]);
        assert!(text.contains("8\u{a0}% of real ones") && text.contains("30\u{a0}% of the fakes"), "{text}");
    }

    #[test]
    fn a_file_that_was_not_read_to_its_end_says_so() {
        let broken = Finding {
            failed: true,
            message: Some("reading stopped after 3.0 s: bad data".into()),
            ..judged("c.mp4", Verdict::NothingFound, 0.2)
        };
        assert!(rows(&broken).contains("not complete"), "{}", rows(&broken));
        assert!(conclusion(&[broken]).contains("1 not read to the end"));
    }
}
