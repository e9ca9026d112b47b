//! What is recorded. [`Store`] is what the rest of the program knows of it; [`sqlite`] is the
//! database on one machine.

pub mod retention;
pub mod sqlite;

use serde::{Deserialize, Serialize};

use crate::channel::clip::Clip;
use crate::channel::incident::{Change, Incident};
use crate::channel::ledger::Span;

/// What cannot be recorded or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("{0}")]
    Other(String),
}

pub type Result<T> = std::result::Result<T, Error>;

/// Something to be recorded.
// Few wait at a time.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Record {
    /// A span that is new or longer now.
    Coverage { channel: String, span: Span },
    /// The highest score within a second (since 1970).
    Score { channel: String, second: i64, score: f64 },
    /// An incident that changed: the event goes to each of these sinks.
    Incident { incident: Incident, change: Change, at: i64, sinks: Vec<String> },
    /// A picture of an incident, in place of the one before.
    Thumbnail { incident: String, at: i64, jpeg: Vec<u8> },
    /// A clip of an incident as it is now.
    Clip(Clip),
}

/// An event as receivers get it.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// Version of this form.
    pub schema: u32,
    /// The same whenever this event is sent again.
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// RFC 3339, UTC.
    pub time: String,
    pub incident: Incident,
}

/// An event with its place in the order of all.
#[derive(Clone, Debug)]
pub struct Stored {
    pub number: i64,
    pub id: String,
    pub kind: String,
    pub at: i64,
    /// JSON of an [`Event`].
    pub body: String,
}

/// An event that waits to be sent.
#[derive(Clone, Debug)]
pub struct Due {
    pub event: Stored,
    pub attempts: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub sink: String,
    pub waiting: u64,
    /// When the oldest happened.
    pub oldest: i64,
    pub last_error: Option<String>,
}

/// What somebody decided about an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Review {
    pub at: i64,
    pub user: String,
    pub action: ReviewAction,
    /// The verdict, or whom it was assigned to.
    pub value: Option<String>,
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReviewAction {
    Acknowledge,
    Assign,
    /// `confirmed`, `false-alarm` or `unclear`.
    Verdict,
    Note,
    /// Nothing of the incident is deleted from now on.
    Hold,
    Release,
}

impl ReviewAction {
    pub const ALL: [Self; 6] = [Self::Acknowledge, Self::Assign, Self::Verdict, Self::Note, Self::Hold, Self::Release];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Assign => "assign",
            Self::Verdict => "verdict",
            Self::Note => "note",
            Self::Hold => "hold",
            Self::Release => "release",
        }
    }
}

/// The words of a verdict.
pub const VERDICTS: [&str; 3] = ["confirmed", "false-alarm", "unclear"];

/// Which incidents to list: the newest first.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub channel: Option<String>,
    pub kind: Option<String>,
    /// Only those that are open.
    pub open: bool,
    /// Only those opened before.
    pub before: Option<i64>,
    pub limit: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub hash: String,
    pub role: Role,
}

/// What somebody may do. Each may do what those before may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// See everything, change nothing.
    Viewer,
    /// Decide about incidents.
    Reviewer,
    /// Pause channels, reload the configuration.
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Reviewer, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Reviewer => "reviewer",
            Self::Admin => "admin",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub user: String,
    pub role: Role,
    pub csrf: String,
    pub expires: i64,
    /// A program that showed its token: no other page can make it do so.
    pub by_token: bool,
}

/// What the program records and reads. All calls may block on the disk: they are made off the
/// threads that watch.
pub trait Store: Send + Sync {
    /// Records everything or nothing.
    fn record(&self, records: &[Record]) -> Result<()>;

    fn coverage(&self, channel: &str, from: i64, to: i64) -> Result<Vec<Span>>;
    /// Where the ledger of a channel ended.
    fn coverage_end(&self, channel: &str) -> Result<Option<i64>>;
    /// Highest score of each second of `from..to` (milliseconds) that has one.
    fn scores(&self, channel: &str, from: i64, to: i64) -> Result<Vec<(i64, f64)>>;

    fn incidents(&self, filter: &Filter) -> Result<Vec<Incident>>;
    fn incident(&self, id: &str) -> Result<Option<Incident>>;
    fn thumbnail(&self, incident: &str) -> Result<Option<Vec<u8>>>;
    /// The clips of an incident, in order.
    fn clips(&self, incident: &str) -> Result<Vec<Clip>>;
    /// All clips that are sealed.
    fn sealed_clips(&self) -> Result<Vec<Clip>>;
    /// The clips that were being recorded when the program ended.
    fn unfinished_clips(&self) -> Result<Vec<Clip>>;
    fn reviews(&self, incident: &str) -> Result<Vec<Review>>;
    /// Adds a review; the incident's event goes to the sinks. `false` if there is no such incident.
    fn review(&self, incident: &str, review: &Review, sinks: &[String]) -> Result<bool>;

    /// Events after this one, the oldest first.
    fn events(&self, after: i64, limit: u32) -> Result<Vec<Stored>>;
    fn last_event(&self) -> Result<i64>;
    /// The events to send to `sink` now: the oldest of each incident that waits, so that none
    /// overtakes another.
    fn due(&self, sink: &str, now: i64, limit: u32) -> Result<Vec<Due>>;
    fn delivered(&self, sink: &str, event: i64) -> Result<()>;
    /// Sending failed; the next try is due then.
    fn postpone(&self, sink: &str, event: i64, due: i64, error: &str) -> Result<()>;
    fn backlog(&self) -> Result<Vec<Backlog>>;

    fn users(&self) -> Result<Vec<User>>;
    fn set_user(&self, user: &User, now: i64) -> Result<()>;
    /// Removes the user and ends the user's sessions. `false` if there is none.
    fn remove_user(&self, name: &str) -> Result<bool>;
    fn add_session(&self, token: &[u8], session: &Session) -> Result<()>;
    fn session(&self, token: &[u8], now: i64) -> Result<Option<Session>>;
    /// Adds a token for the API, or changes it.
    fn add_token(&self, name: &str, hash: &[u8], role: Role, now: i64) -> Result<()>;
    fn remove_token(&self, name: &str) -> Result<bool>;
    fn tokens(&self) -> Result<Vec<(String, Role)>>;
    /// Name and role of the token with this hash.
    fn token(&self, hash: &[u8]) -> Result<Option<(String, Role)>>;
    fn end_session(&self, token: &[u8]) -> Result<()>;
    fn add_login_link(&self, token: &[u8], expires: i64) -> Result<()>;
    /// Whether the link was good; it is not afterwards.
    fn take_login_link(&self, token: &[u8], now: i64) -> Result<bool>;
    fn audit(&self, at: i64, who: &str, what: &str) -> Result<()>;
    fn audit_log(&self, limit: u32) -> Result<Vec<(i64, String, String)>>;

    /// What retention looks at.
    fn inventory(&self) -> Result<retention::Inventory>;
    /// Deletes what is planned and not held meanwhile. Returns the incidents whose files are to go.
    fn delete(&self, plan: &retention::Plan, now: i64) -> Result<Vec<String>>;
}
