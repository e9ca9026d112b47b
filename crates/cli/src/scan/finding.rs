//! What is found out about one file: the object that `--json` prints, tables and pages show, and the journal keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of this form. A new field is no new version; a changed meaning is.
pub const SCHEMA: u32 = 1;

/// What is said of a file or of a face, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The score of all that was judged passes the model's threshold.
    Fake,
    /// It does not, but that of a stretch of [`MIN_STRETCH`] seconds or longer does.
    FakeInPart,
    /// Neither threshold is passed.
    Uncertain,
    /// Nothing was found. That is not the same as "authentic", and is not said in that word.
    NothingFound,
    NotJudged,
}

/// Seconds for which a face must be called fake without a break to be called fake in part: as long as it takes to raise an
/// alert in a live pipeline.
pub const MIN_STRETCH: f64 = 2.0;

impl Verdict {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Fake => "looks fake",
            Self::FakeInPart => "looks fake in part",
            Self::Uncertain => "cannot say",
            Self::NothingFound => "nothing found",
            Self::NotJudged => "not judged",
        }
    }

    /// As JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fake => "fake",
            Self::FakeInPart => "fake-in-part",
            Self::Uncertain => "uncertain",
            Self::NothingFound => "nothing-found",
            Self::NotJudged => "not-judged",
        }
    }

    pub fn is_fake(self) -> bool {
        matches!(self, Self::Fake | Self::FakeInPart)
    }
}

/// Everything about one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub schema: u32,
    /// As the user named it.
    pub file: String,
    /// The worst of its faces' verdicts.
    pub verdict: Verdict,
    /// Why it was not judged, in words; or what went wrong after a part of it was.
    pub message: Option<String>,
    /// Whether it could not be read, or not to its end.
    pub failed: bool,
    /// The highest score of a face, 0..1.
    pub score: Option<f64>,
    pub media: Option<Media>,
    /// Part of the time in which at least one face was judged, 0..1.
    pub judged_share: f64,
    /// Faces followed for long enough to be told apart, the highest score first.
    pub faces: Vec<Face>,
    /// Faces seen too shortly to be listed.
    pub further_faces: usize,
    /// When nothing was judged, and why.
    pub not_judged: Vec<Gap>,
    /// Seconds at which a new shot begins that ended followed faces.
    pub cuts: Vec<f64>,
    pub model: ModelNote,
    pub program: Program,
    /// The reference of --compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ReferenceNote>,
    /// When, as ISO 8601 in UTC.
    pub scanned: String,
    /// The page, from the folder of the report.
    pub page: Option<String>,
    /// What was done beyond a plain scan, in words.
    pub notes: Vec<String>,
}

/// The file itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// Lower-case hexadecimal; none of an address.
    pub sha256: Option<String>,
    pub bytes: Option<u64>,
    /// Of the frames as they are decoded.
    pub width: u32,
    pub height: u32,
    /// 0 where the container does not say.
    pub fps: f64,
    /// Seconds that were looked at.
    pub seconds: f64,
    pub frames: u64,
}

/// One followed face.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// The element's track id.
    pub track_id: u32,
    pub verdict: Verdict,
    /// Calibrated P(fake) from the mean logit of its windows, 0..1.
    pub score: Option<f64>,
    /// 95 % interval of that mean, from windows that share no crop; none where there are fewer than two of them.
    pub interval: Option<[f64; 2]>,
    /// Windows behind the score.
    pub windows: usize,
    /// Seconds of first and last sight.
    pub first: f64,
    pub last: f64,
    /// Seconds for which it was seen, and for which it was judged.
    pub seen: f64,
    pub judged: f64,
    /// Seconds not judged, by reason: `too-short`, or a word of the element such as `too-small`.
    pub not_judged: BTreeMap<String, f64>,
    /// Part of the picture that its box covers on average, 0..1.
    pub area: f64,
    /// The window with the highest score, and that with the lowest.
    pub highest: Option<Moment>,
    pub lowest: Option<Moment>,
    /// When it was called fake for [`MIN_STRETCH`] seconds or longer.
    pub stretches: Vec<Stretch>,
    /// Its score over time, in steps of equal length; steps without a score are left out.
    pub timeline: Vec<Step>,
    /// P(fake) by each kind of forgery that the model tells apart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, f64>,
}

impl Face {
    pub fn judged_share(&self) -> f64 {
        if self.seen > 0.0 { (self.judged / self.seen).min(1.0) } else { 0.0 }
    }
}

/// A moment of a face: the end of a window, and its score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    pub time: f64,
    pub score: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    pub start: f64,
    pub end: f64,
    /// Highest score in it.
    pub peak: f64,
}

/// A step of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub time: f64,
    /// Mean and highest score of the step's windows.
    pub score: f64,
    pub high: f64,
}

/// Time in which no face was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    pub start: f64,
    pub end: f64,
    /// `no-face`, `too-short`, or a word of the element such as `too-small`.
    pub why: String,
}

/// What a reference says beside the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceNote {
    pub file: String,
    pub verdict: Verdict,
    pub score: Option<f64>,
    /// Seconds to add to a time of the file for that of the reference; none where no part of it shows the same.
    pub offset: Option<f64>,
    /// Part of the file's moments that have their like in the reference, 0..1.
    pub matched: f64,
}

/// What judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelNote {
    pub name: String,
    pub version: String,
    pub licence: String,
    /// Checksums of its graphs, by file name.
    pub sha256: BTreeMap<String, String>,
    pub fake_threshold: f64,
    pub nothing_found_threshold: f64,
    /// Seconds that a full window spans.
    pub window_seconds: f64,
    /// What its makers measured: share of real clips that it calls fake, share of fakes that it finds; and on what.
    pub false_alarms: Option<f64>,
    pub hits: Option<f64>,
    pub measured_on: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub version: String,
    /// Of the program's own file.
    pub sha256: String,
}

/// A word for why something was not judged, as people say it.
pub fn why_in_words(why: &str) -> &str {
    match why {
        "no-face" => "no face",
        "too-short" => "not watched long enough",
        "too-small" => "face too small",
        "blurred" => "face blurred",
        "too-dark" => "too dark",
        "profile" => "face turned away",
        "too-few-frames" => "too few frames a second",
        "not-seen" => "face hidden",
        other => other,
    }
}

/// A word for a kind of forgery, as people say it.
fn kind_in_words(kind: &str) -> &str {
    match kind {
        "swap" => "another person's face",
        "lips" => "other lip movements",
        "generated" => "a generated head",
        other => other,
    }
}

/// What a face would be, should it be a fake: the likeliest first. `None` where the model does not say.
pub fn kinds_in_words(face: &Face) -> Option<String> {
    let mut kinds: Vec<_> = face.kinds.iter().collect();
    kinds.sort_by(|a, b| b.1.total_cmp(a.1));
    let kinds: Vec<_> = kinds.iter().map(|(kind, score)| format!("{} {score:.2}", kind_in_words(kind))).collect();
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

/// The time of day, in UTC.
pub fn now() -> String {
    gst::glib::DateTime::now_utc()
        .and_then(|now| now.format("%Y-%m-%dT%H:%M:%SZ"))
        .map_or_else(|_| String::new(), Into::into)
}

/// `1:02.3`
pub fn clock(seconds: f64) -> String {
    let tenths = (seconds.max(0.0) * 10.0).round() as u64;
    let (minutes, rest) = (tenths / 600, tenths % 600);
    match minutes / 60 {
        0 => format!("{minutes}:{:02}.{}", rest / 10, rest % 10),
        hours => format!("{hours}:{:02}:{:02}.{}", minutes % 60, rest / 10, rest % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_json_are_those_that_people_are_told_to_look_for() {
        for verdict in
            [Verdict::Fake, Verdict::FakeInPart, Verdict::Uncertain, Verdict::NothingFound, Verdict::NotJudged]
        {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
            assert!(!verdict.words().contains("authentic"), "a scan cannot say so");
        }
    }

    #[test]
    fn a_clock_counts_hours_only_when_there_are_any() {
        assert_eq!((clock(0.04), clock(62.34), clock(59.96)), ("0:00.0".into(), "1:02.3".into(), "1:00.0".into()));
        assert_eq!(clock(3_723.5), "1:02:03.5");
    }
}
