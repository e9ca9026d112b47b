//! The configuration: one TOML file and `conf.d/*.toml` beside it.
//!
//! [`file`] is its form, [`load`] reads and checks it and says where something is wrong, [`Config`]
//! is what holds afterwards: every channel complete, nothing left to decide.

mod file;
mod load;
pub mod schedule;
pub mod secret;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub use file::{AlertKind, Mqtt, Retention, Server, SinkTable, Span, Transport, Webhook, Workers};
pub use load::{Errors, load};
pub use secret::{Address, Secret};

/// The configuration as it holds.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    /// Folder of the database.
    pub directory: PathBuf,
    pub workers: Workers,
    pub retention: Retention,
    pub channels: BTreeMap<String, Channel>,
    pub sinks: BTreeMap<String, SinkTable>,
}

/// A feed with all its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    pub source: Address,
    pub title: String,
    pub enabled: bool,
    pub looped: bool,
    pub transport: Transport,
    pub latency: Span,
    pub model: Option<String>,
    pub device: String,
    pub fake_threshold: Option<f64>,
    pub alerts: Vec<AlertKind>,
    pub keep_for: Span,
    pub stalled_after: Span,
    pub frozen_after: Span,
    pub black_after: Span,
    pub down_after: Span,
    pub clips: bool,
    pub pre_roll: Span,
    pub post_roll: Span,
    pub longest_clip: Span,
    pub ring_mib: u64,
    pub schedule: Vec<schedule::Window>,
    pub labels: BTreeMap<String, String>,
}

impl Channel {
    /// Whether `other` can take this one's place without its source being opened anew.
    pub fn same_pipeline(&self, other: &Self) -> bool {
        let pipeline = |channel: &Self| {
            let Self { source, looped, transport, latency, model, device, fake_threshold, .. } = channel.clone();
            let ring = (channel.clips, channel.pre_roll, channel.ring_mib);
            (source, looped, transport, latency, model, device, fake_threshold, ring)
        };
        pipeline(self) == pipeline(other)
    }
}

impl Config {
    pub fn database(&self) -> PathBuf {
        self.directory.join("monitor.db")
    }

    /// Folder of the clips, a folder for each incident.
    pub fn evidence(&self) -> PathBuf {
        self.directory.join("evidence")
    }

    /// The channels that are not the same in `new`: gone, new or changed.
    pub fn touched(&self, new: &Self) -> BTreeSet<String> {
        let ids = self.channels.keys().chain(new.channels.keys());
        ids.filter(|id| self.channels.get(*id) != new.channels.get(*id)).cloned().collect()
    }
}

/// The JSON Schema of a configuration file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(file::File).to_value()
}
