//! What everybody else sees of the supervisor: a picture of the whole, made anew twice a second.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

use crate::channel::ledger::Kind;
use crate::channel::machine::State;

#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct View {
    /// Milliseconds since 1970, as all times.
    pub at: i64,
    pub started: i64,
    pub channels: Vec<ChannelView>,
    pub workers: Vec<WorkerView>,
    /// Why nothing can be recorded now.
    pub recording_trouble: Option<String>,
    /// Why no clips are written now.
    pub clip_trouble: Option<String>,
    /// Bytes that are free where everything is recorded.
    pub free_bytes: Option<u64>,
    /// Seconds of scores that were lost because nothing could be recorded.
    pub scores_lost: u64,
    /// What is wrong with the configuration that was to be loaded; the one before holds.
    pub config_trouble: Option<String>,
    /// How often the system's clock was set.
    pub clock_steps: u64,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ChannelView {
    pub id: String,
    pub title: String,
    /// The address without anything secret.
    pub source: String,
    pub labels: BTreeMap<String, String>,
    pub state: State,
    pub since: i64,
    pub reason: Option<String>,
    /// Tries to connect since it ran steadily.
    pub tries: u32,
    pub retry_at: Option<i64>,
    /// Openings of the source since the program started.
    pub openings: u64,
    /// What this moment counts as.
    pub coverage: Kind,
    pub coverage_reason: Option<String>,
    /// Highest score of the newest second with one.
    pub score: Option<f64>,
    /// Highest score of each of the last seconds; none where no face was judged.
    pub recent: Vec<Option<f64>>,
    pub faces: u32,
    pub model: Option<String>,
    pub device: Option<String>,
    pub size: Option<(u32, u32)>,
    /// Analyses per second.
    pub rate: f64,
    pub worker: Option<usize>,
    /// Whether a clip is being written.
    pub recording: bool,
    /// Identifiers of the open incidents, by kind.
    pub incidents: BTreeMap<String, String>,
    /// Milliseconds of each kind of coverage since the program started.
    #[serde(skip)]
    pub covered: [i64; Kind::ALL.len()],
    #[serde(skip)]
    pub analysed: u64,
    /// When the last picture arrived.
    pub last_picture: Option<i64>,
    /// Somebody paused it.
    pub paused: bool,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct WorkerView {
    pub number: usize,
    pub ready: bool,
    pub process: Option<u32>,
    pub memory_bytes: u64,
    /// How often it was replaced.
    pub restarts: u64,
    pub last_end: Option<String>,
    pub channels: usize,
}

impl ChannelView {
    /// Trouble first: what somebody must look at, then what is broken, then the rest.
    pub fn rank(&self) -> u8 {
        match self.state {
            _ if self.incidents.contains_key("fake") => 0,
            State::Running => 3,
            State::Paused => 4,
            State::Connecting => 2,
            _ => 1,
        }
    }
}

/// The newest [`View`] and the newest picture of each channel.
#[derive(Clone, Default)]
pub struct Shared {
    view: Arc<RwLock<Arc<View>>>,
    stills: Arc<RwLock<BTreeMap<String, Arc<Still>>>>,
}

#[derive(Debug)]
pub struct Still {
    pub at: i64,
    pub jpeg: Vec<u8>,
}

impl Shared {
    pub fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn still(&self, channel: &str) -> Option<Arc<Still>> {
        self.stills.read().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    pub fn set_view(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    pub fn set_still(&self, channel: &str, still: Option<Still>) {
        let mut stills = self.stills.write().unwrap_or_else(PoisonError::into_inner);
        match still {
            Some(still) => stills.insert(channel.into(), Arc::new(still)),
            None => stills.remove(channel),
        };
    }
}
