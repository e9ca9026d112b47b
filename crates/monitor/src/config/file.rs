//! The form of the configuration file: what the JSON Schema describes. Nothing here is checked
//! beyond its form.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::secret::{Address, Secret};

/// One configuration file of deepfake-monitor. Files in `conf.d` may hold `defaults`, `channel` and
/// `sink`; defaults of such a file are for its own channels, those of the main file for all.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct File {
    pub server: Option<Server>,
    pub store: Option<StoreTable>,
    pub workers: Option<Workers>,
    pub retention: Option<Retention>,
    /// What holds for every channel that does not say otherwise.
    pub defaults: ChannelTable,
    /// The feeds, by a short id of small letters, digits, `-` and `_`.
    #[schemars(with = "BTreeMap<String, ChannelTable>")]
    pub channel: BTreeMap<String, Spanned<ChannelTable>>,
    /// Where events are sent, by name.
    #[schemars(with = "BTreeMap<String, SinkTable>")]
    pub sink: BTreeMap<String, Spanned<SinkTable>>,
}

/// The web page and the API.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Server {
    /// Address and port to listen on. Other than a loopback address needs a user to be set up
    /// first.
    pub listen: std::net::SocketAddr,
    /// Path under which a proxy shows the page, such as `/monitor`.
    pub base_path: String,
    /// Time zone of the page, by its IANA name. Everything is stored in UTC.
    pub time_zone: String,
    /// Whether the session's cookie is sent over TLS only. Set it when a proxy in front speaks
    /// HTTPS.
    pub secure_cookies: bool,
    /// How long a login lasts.
    pub session: Span,
    /// Header in which a proxy says who is logged in, such as `x-remote-user`. It is believed only
    /// from `trusted-proxies`; the proxy must not pass on what a browser sends in it.
    pub proxy_user_header: Option<String>,
    /// Header in which it says what they may do: `viewer`, `reviewer` or `admin`. Without it, or
    /// with another word, they may look.
    pub proxy_role_header: Option<String>,
    /// Addresses of those proxies.
    pub trusted_proxies: Vec<std::net::IpAddr>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8480).into(),
            base_path: String::new(),
            time_zone: "UTC".into(),
            secure_cookies: false,
            session: Span::hours(12),
            proxy_user_header: None,
            proxy_role_header: None,
            trusted_proxies: Vec::new(),
        }
    }
}

/// Where everything is recorded.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct StoreTable {
    /// Folder of the database. A relative path starts from the configuration file's folder.
    pub directory: PathBuf,
}

impl Default for StoreTable {
    fn default() -> Self {
        Self { directory: "data".into() }
    }
}

/// The processes that decode and analyse.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Workers {
    /// Channels that share one process, and so one model in memory; 0 = two per processor core.
    pub channels_per_worker: usize,
    /// A worker that uses more memory than this many MiB is replaced; 0 = no limit.
    pub memory_limit_mib: u64,
    /// A worker that says nothing for so long is killed and replaced.
    pub heartbeat_timeout: Span,
}

impl Default for Workers {
    fn default() -> Self {
        Self { channels_per_worker: 0, memory_limit_mib: 8192, heartbeat_timeout: Span::seconds(10) }
    }
}

/// How long what was recorded is kept. What is held is never deleted.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Retention {
    /// Score of each second.
    pub scores: Span,
    /// Coverage of each channel.
    pub coverage: Span,
    /// Closed incidents with their reviews and thumbnails.
    pub incidents: Span,
    /// Most bytes that thumbnails may take, in MiB; the oldest go first.
    pub thumbnails_mib: u64,
    /// Clips of closed incidents.
    pub clips: Span,
    /// Most bytes that clips may take, in MiB; the oldest go first.
    pub clips_mib: u64,
    /// Room that must be left on the disk, in MiB. With less, the oldest clips that nobody holds
    /// are deleted and no clip is written; watching goes on.
    pub min_free_mib: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            scores: Span::days(30),
            coverage: Span::days(400),
            incidents: Span::days(400),
            thumbnails_mib: 1024,
            clips: Span::days(90),
            clips_mib: 20_480,
            min_free_mib: 1024,
        }
    }
}

/// A feed, or the defaults of feeds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ChannelTable {
    /// rtsp, rtsps, srt, http(s) (HLS, DASH), udp, rtmp(s), v4l2 or file address, or the path of a
    /// file.
    pub source: Option<Address>,
    /// Title shown to people.
    pub title: Option<String>,
    /// Whether the feed is watched.
    pub enabled: Option<bool>,
    /// Whether a file starts again at its end.
    #[serde(rename = "loop")]
    pub looped: Option<bool>,
    /// How RTSP brings its packets: `tcp` or `udp`.
    pub transport: Option<Transport>,
    /// How long to wait for late packets of RTSP and SRT.
    pub latency: Option<Span>,
    /// Model package: name or folder.
    pub model: Option<String>,
    /// `auto`, `cpu`, `cuda`, `tensorrt` or `openvino`.
    pub device: Option<String>,
    /// Score from which a face is called fake; unset = the model's own.
    pub fake_threshold: Option<f64>,
    /// Kinds of alert that open an incident: `sustained`, `spike`.
    pub alerts: Option<Vec<AlertKind>>,
    /// An incident stays open so long after its last alert; an alert within that time belongs to
    /// it.
    pub keep_for: Option<Span>,
    /// No new picture for so long: stalled, and the source is opened anew.
    pub stalled_after: Option<Span>,
    /// The same picture for so long: frozen.
    pub frozen_after: Option<Span>,
    /// A black picture for so long: black.
    pub black_after: Option<Span>,
    /// A channel that is not fit to be watched for so long opens an incident of its own.
    pub down_after: Option<Span>,
    /// Whether an incident keeps the feed as it arrived: clips of the original bytes.
    pub clips: Option<bool>,
    /// How much of the feed before an alert its clip holds; that much is kept in memory.
    pub pre_roll: Option<Span>,
    /// How much of the feed after the last alert a clip holds.
    pub post_roll: Option<Span>,
    /// The clips of one incident are together not longer than this.
    pub longest_clip: Option<Span>,
    /// Most memory for the feed before an alert, in MiB.
    pub ring_mib: Option<u64>,
    /// When to watch, in the server's time zone, such as `mon-fri 06:00-23:30`; empty = always.
    pub schedule: Option<Vec<super::schedule::Window>>,
    /// What the channel belongs to, such as `site = "Berlin"`; defaults are added to.
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    Sustained,
    Spike,
}

/// Where events are sent.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum SinkTable {
    Webhook(Webhook),
    Mqtt(Mqtt),
}

/// An address that gets each event as a POST, signed as Standard Webhooks says.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Webhook {
    pub url: Address,
    /// The signing key: `whsec_` and base64, kept elsewhere (`env:NAME`, `file:PATH`,
    /// `credential:NAME`).
    pub secret: Secret,
    /// Link-local addresses, where clouds keep their machines' credentials, are refused unless this
    /// is set.
    #[serde(default)]
    pub allow_link_local: bool,
    #[serde(default = "Webhook::default_timeout")]
    pub timeout: Span,
}

/// A broker that speaks MQTT 5. Each event goes to `TOPIC/incidents/CHANNEL` with QoS 1;
/// `TOPIC/available` is retained, and `offline` when the monitor is gone.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mqtt {
    /// `mqtt://HOST:PORT`, or `mqtts://HOST:PORT` for TLS.
    pub url: Address,
    #[serde(default = "Mqtt::default_topic")]
    pub topic: String,
    /// Two programs at one broker need different ones.
    #[serde(default = "Mqtt::default_client_id")]
    pub client_id: String,
    pub user: Option<String>,
    /// The password, kept elsewhere (`env:NAME`, `file:PATH`, `credential:NAME`).
    pub password: Option<Secret>,
    #[serde(default = "Webhook::default_timeout")]
    pub timeout: Span,
}

impl Mqtt {
    fn default_topic() -> String {
        "deepfake".into()
    }

    fn default_client_id() -> String {
        "deepfake-monitor".into()
    }
}

impl Webhook {
    fn default_timeout() -> Span {
        Span::seconds(10)
    }
}

/// A length of time: `250ms`, `5s`, `2m`, `12h`, `30d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(transparent)]
pub struct Span(#[schemars(with = "String")] pub Duration);

impl Span {
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub const fn hours(hours: u64) -> Self {
        Self::seconds(hours * 3600)
    }

    pub const fn days(days: u64) -> Self {
        Self::hours(days * 24)
    }

    pub fn milliseconds(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    fn parse(text: &str) -> Option<Self> {
        let unit_at = text.find(|char: char| !char.is_ascii_digit())?;
        let (number, unit) = text.split_at(unit_at);
        let number: u64 = number.parse().ok()?;
        let milliseconds = match unit.trim() {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(milliseconds).map(|length| Self(Duration::from_millis(length)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.as_millis();
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let fits = units.into_iter().find(|(_, unit)| length > 0 && length.is_multiple_of(*unit));
        match fits {
            Some((name, unit)) => write!(out, "{}{name}", length / unit),
            None => write!(out, "{length}ms"),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            || serde::de::Error::custom(format!("\"{text}\" is no length of time; write 250ms, 5s, 2m, 12h or 30d"));
        Self::parse(&text).ok_or_else(wrong)
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_length_of_time_is_read_as_it_is_printed(length in 0u64..10_000_000_000) {
            let span = Span(Duration::from_millis(length));
            prop_assert_eq!(Span::parse(&span.to_string()), Some(span));
        }
    }

    #[test]
    fn a_length_without_a_unit_is_refused() {
        for text in ["5", "s", "-1s", "5 weeks", "1.5s", ""] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
