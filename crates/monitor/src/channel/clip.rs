//! Which parts of a feed are kept as evidence of an incident. Pure: a worker writes the clips.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::incident::Incident;

/// A part of the feed as it arrived, kept as evidence. Times are milliseconds since 1970 (UTC).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Clip {
    pub incident: Uuid,
    /// Counts the clips of an incident from 1: another one begins where the feed broke or changed.
    pub part: u32,
    pub channel: String,
    pub state: ClipState,
    /// Time of its first picture, or when it was asked for if there is none.
    pub began: i64,
    pub ended: Option<i64>,
    /// Milliseconds before the alert that it was to hold, and that it holds.
    pub pre_roll_wanted: i64,
    pub pre_roll: i64,
    /// `mp4`, `ts` or `webm`.
    pub container: Option<String>,
    /// The stream as it was received, such as `video/x-h264`.
    pub codec: Option<String>,
    /// What could not be had, and why.
    pub missing: Vec<String>,
    pub files: Vec<File>,
}

impl Clip {
    /// The file with the pictures, where there is one.
    pub fn video(&self) -> Option<&File> {
        let name = format!("{}.{}", self.part, self.container.as_deref()?);
        self.files.iter().find(|file| file.name == name)
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A file of a clip, sealed by its checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ClipFile)]
pub struct File {
    pub name: String,
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClipState {
    Recording,
    /// It is over, and its files have their checksums.
    Ready,
    /// There are no pictures: `missing` says why.
    Failed,
}

impl ClipState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// What a worker tells of a clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "kebab-case")]
pub enum News {
    /// The first picture is written.
    Started {
        /// Milliseconds since the first picture was shown.
        ago: i64,
        container: String,
        codec: String,
        missing: Vec<String>,
    },
    /// Nothing more will be written.
    Ended {
        /// Milliseconds from the first picture to the last.
        length: i64,
        missing: Vec<String>,
    },
}

/// Rules of one channel, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub enabled: bool,
    pub pre_roll: i64,
    pub post_roll: i64,
    /// The clips of one incident are together not longer than this.
    pub longest: i64,
}

/// What the worker is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Start { incident: Uuid, part: u32 },
    Stop { incident: Uuid, part: u32 },
}

/// The clips of one channel.
#[derive(Debug)]
pub struct Clips {
    rules: Rules,
    current: Option<Current>,
    /// What there is of the newest incident so far.
    incident: Option<Progress>,
}

#[derive(Debug)]
struct Current {
    clip: Clip,
    run: u64,
    asked_at: i64,
    stopping: bool,
}

#[derive(Debug)]
struct Progress {
    incident: Uuid,
    parts: u32,
    recorded: i64,
    /// The opening of the source that gave no clip: it will give none later.
    refused: Option<u64>,
}

impl Clips {
    pub fn new(rules: Rules) -> Self {
        Self { rules, current: None, incident: None }
    }

    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The clip that is being recorded.
    pub fn current(&self) -> Option<&Clip> {
        self.current.as_ref().map(|current| &current.clip)
    }

    /// Clips of this incident that an earlier start of the program made.
    pub fn known(&mut self, incident: Uuid, parts: u32) {
        self.incident = Some(Progress { incident, parts, recorded: 0, refused: None });
    }

    /// Time went on. `run` is the opening of the source if pictures come from it; `fake` the open
    /// incident, and whether an alert of it is raised now.
    pub fn step(&mut self, now: i64, run: Option<u64>, fake: Option<(&Incident, bool)>) -> Option<Order> {
        if let Some(current) = &mut self.current {
            let (incident, part) = (current.clip.incident, current.clip.part);
            let recorded = self.incident.as_ref().map_or(0, |progress| progress.recorded);
            let over = match fake {
                Some((open, _)) if open.id != incident => true,
                Some((open, raised)) => !raised && now - open.last_active >= self.rules.post_roll,
                None => true,
            };
            let long = now - current.asked_at + recorded >= self.rules.longest;
            if current.stopping || !(over || long) {
                return None;
            }
            if long {
                current.clip.missing.push("the end: the clips of this incident are longest-clip long".into());
            }
            current.stopping = true;
            return Some(Order::Stop { incident, part });
        }
        let (incident, run) = match (fake, run) {
            (Some((incident, true)), Some(run)) if self.rules.enabled => (incident, run),
            _ => return None,
        };
        let progress = match &mut self.incident {
            Some(progress) if progress.incident == incident.id => progress,
            other => other.insert(Progress { incident: incident.id, parts: 0, recorded: 0, refused: None }),
        };
        if progress.refused == Some(run) || progress.recorded >= self.rules.longest {
            return None;
        }
        progress.parts += 1;
        let clip = Clip {
            incident: incident.id,
            part: progress.parts,
            channel: incident.channel.clone(),
            state: ClipState::Recording,
            began: now,
            ended: None,
            pre_roll_wanted: self.rules.pre_roll,
            pre_roll: 0,
            container: None,
            codec: None,
            missing: Vec::new(),
            files: Vec::new(),
        };
        let order = Order::Start { incident: clip.incident, part: clip.part };
        self.current = Some(Current { clip, run, asked_at: now, stopping: false });
        Some(order)
    }

    /// The worker said something of a clip. What comes back is to be recorded.
    pub fn heard(&mut self, now: i64, incident: Uuid, part: u32, news: News) -> Option<Clip> {
        let current = self.current.as_mut()?;
        if (current.clip.incident, current.clip.part) != (incident, part) {
            return None;
        }
        match news {
            News::Started { ago, container, codec, missing } => {
                current.clip.began = now - ago;
                // What a later part lacks before its start, the part before it has.
                current.clip.pre_roll = (current.asked_at - current.clip.began).max(0);
                (current.clip.container, current.clip.codec) = (Some(container), Some(codec));
                current.clip.missing.extend(missing);
                Some(current.clip.clone())
            }
            News::Ended { length, missing } => {
                let end = current.clip.began + length;
                self.end(end, missing)
            }
        }
    }

    /// Ends the clip that is being recorded, for this reason.
    pub fn stop(&mut self, why: &str) -> Option<Order> {
        let current = self.current.as_mut().filter(|current| !current.stopping)?;
        current.stopping = true;
        current.clip.missing.push(why.into());
        Some(Order::Stop { incident: current.clip.incident, part: current.clip.part })
    }

    /// The clip ended without the worker's word, or could not be begun.
    pub fn lost(&mut self, now: i64, why: &str) -> Option<Clip> {
        self.end(now, vec![why.into()])
    }

    fn end(&mut self, ended: i64, missing: Vec<String>) -> Option<Clip> {
        let Current { mut clip, run, asked_at, .. } = self.current.take()?;
        clip.missing.extend(missing);
        clip.ended = Some(ended);
        clip.state = if clip.container.is_some() { ClipState::Ready } else { ClipState::Failed };
        if let Some(progress) = &mut self.incident {
            progress.recorded += (ended - asked_at).max(0);
            if clip.state == ClipState::Failed {
                progress.refused = Some(run);
            }
        }
        Some(clip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::incident::{Alert, Incidents, Rules as IncidentRules};

    const RULES: Rules = Rules { enabled: true, pre_roll: 15_000, post_roll: 10_000, longest: 60_000 };

    fn incident(at: i64) -> Incident {
        let rules = IncidentRules { keep_for: 30_000, down_after: 15_000 };
        let alert =
            Alert { action: "raised".into(), kind: "sustained".into(), track_id: 1, score: Some(0.9), model: None };
        Incidents::new("studio", rules, Vec::new()).alert(at, 1, &alert).remove(0).0
    }

    fn started(ago: i64) -> News {
        News::Started { ago, container: "mp4".into(), codec: "video/x-h264".into(), missing: Vec::new() }
    }

    fn ended(length: i64) -> News {
        News::Ended { length, missing: Vec::new() }
    }

    #[test]
    fn a_clip_starts_with_the_alert_and_ends_post_roll_after_the_last_one() {
        let mut clips = Clips::new(RULES);
        let mut open = incident(100_000);
        let id = open.id;
        assert_eq!(clips.step(99_000, Some(1), None), None);
        assert_eq!(clips.step(100_000, Some(1), Some((&open, true))), Some(Order::Start { incident: id, part: 1 }));
        let begun = clips.heard(100_100, id, 1, started(15_100)).unwrap();
        assert_eq!((begun.began, begun.pre_roll, begun.state), (85_000, 15_000, ClipState::Recording));
        open.last_active = 105_000;
        assert_eq!(clips.step(110_000, Some(1), Some((&open, true))), None);
        assert_eq!(clips.step(114_999, Some(1), Some((&open, false))), None);
        let stop = Some(Order::Stop { incident: id, part: 1 });
        assert_eq!(clips.step(115_000, Some(1), Some((&open, false))), stop);
        assert_eq!(clips.step(116_000, Some(1), None), None, "it is told once");
        let whole = clips.heard(115_500, id, 1, ended(30_200)).unwrap();
        assert_eq!((whole.ended, whole.state), (Some(115_200), ClipState::Ready));
    }

    #[test]
    fn a_feed_that_breaks_goes_on_in_another_part_and_one_that_gives_nothing_is_asked_once() {
        let mut clips = Clips::new(RULES);
        let open = incident(100_000);
        clips.step(100_000, Some(1), Some((&open, true)));
        clips.heard(100_100, open.id, 1, started(5000));
        assert_eq!(clips.lost(103_000, "the worker ended").unwrap().state, ClipState::Ready);
        assert_eq!(clips.step(103_100, None, Some((&open, true))), None, "no pictures, no clip");
        let second = clips.step(104_000, Some(2), Some((&open, true)));
        assert_eq!(second, Some(Order::Start { incident: open.id, part: 2 }));
        assert_eq!(clips.heard(104_000, open.id, 1, ended(1)), None, "that was the part before");
        assert_eq!(clips.heard(104_000, open.id, 2, ended(0)).unwrap().state, ClipState::Failed);
        assert_eq!(clips.step(105_000, Some(2), Some((&open, true))), None);
        assert!(clips.step(106_000, Some(3), Some((&open, true))).is_some());
    }

    #[test]
    fn a_day_of_alarm_is_not_a_day_of_clip() {
        let mut clips = Clips::new(RULES);
        let open = incident(100_000);
        clips.step(100_000, Some(1), Some((&open, true)));
        clips.heard(100_100, open.id, 1, started(5000));
        assert!(matches!(clips.step(160_000, Some(1), Some((&open, true))), Some(Order::Stop { .. })));
        let whole = clips.heard(160_100, open.id, 1, ended(65_000)).unwrap();
        assert!(whole.missing.iter().any(|what| what.contains("longest-clip")), "{whole:?}");
        assert_eq!(clips.step(161_000, Some(1), Some((&open, true))), None);
        let next = incident(200_000);
        assert!(clips.step(200_000, Some(1), Some((&next, true))).is_some());
    }
}
