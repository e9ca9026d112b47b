//! What supervisor and workers say to each other: JSON, each message behind its length in four
//! bytes.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

use crate::channel::clip::News;
use crate::channel::incident::Alert;
use crate::channel::ledger::Activity;
use crate::channel::liveness::Signs;
use crate::config::{Address, Channel, Transport};

/// Longer messages are a sign that the other side is broken.
const LONGEST: usize = 4 << 20;

/// A feed, as far as a worker needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    /// Goes to the worker whole, through a pipe that nobody else reads.
    #[serde(serialize_with = "whole")]
    pub source: Address,
    pub looped: bool,
    pub transport: Transport,
    pub latency_ms: u32,
    pub model: Option<String>,
    pub device: String,
    pub fake_threshold: Option<f64>,
    /// How much of the feed is kept in case of an alert; `None` = nothing.
    pub ring: Option<Ring>,
}

/// How much of a feed is kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    pub milliseconds: i64,
    pub max_bytes: usize,
}

impl From<&Channel> for Feed {
    fn from(settings: &Channel) -> Self {
        Self {
            source: settings.source.clone(),
            looped: settings.looped,
            transport: settings.transport,
            latency_ms: u32::try_from(settings.latency.milliseconds()).unwrap_or(u32::MAX),
            model: settings.model.clone(),
            device: settings.device.clone(),
            fake_threshold: settings.fake_threshold,
            ring: settings.clips.then(|| Ring {
                milliseconds: settings.pre_roll.milliseconds(),
                max_bytes: usize::try_from(settings.ring_mib).map_or(usize::MAX, |mib| mib.saturating_mul(1 << 20)),
            }),
        }
    }
}

fn whole<S: serde::Serializer>(address: &Address, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(address.reveal())
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum ToWorker {
    Open {
        channel: String,
        run: u64,
        feed: Feed,
    },
    Close {
        channel: String,
        run: u64,
    },
    /// A picture of the channel as it is now.
    Still {
        channel: String,
    },
    /// Write the feed into `folder`, from what is in memory on.
    Record {
        channel: String,
        run: u64,
        incident: Uuid,
        part: u32,
        folder: PathBuf,
    },
    /// The clip is long enough.
    StopRecording {
        channel: String,
        incident: Uuid,
        part: u32,
    },
    /// Close everything and end.
    Exit,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum FromWorker {
    Ready {
        gstreamer: String,
    },
    /// Sent each second by the thread that does everything else: silence means that it hangs.
    Beat {
        memory_bytes: u64,
    },
    /// What a channel showed since the last message of this kind.
    Look {
        channel: String,
        run: u64,
        look: Look,
    },
    Alert {
        channel: String,
        run: u64,
        alert: Alert,
    },
    /// The source broke. The worker still holds what is left of it until it is told to close it.
    Failed {
        channel: String,
        run: u64,
        reason: String,
        look: Look,
    },
    Ended {
        channel: String,
        run: u64,
        look: Look,
    },
    Closed {
        channel: String,
        run: u64,
    },
    Still {
        channel: String,
        run: u64,
        jpeg: Base64,
    },
    Clip {
        channel: String,
        incident: Uuid,
        part: u32,
        news: News,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Look {
    pub signs: Signs,
    pub activity: Activity,
    /// Highest score of each face since the last look.
    pub scores: Vec<(u32, f64)>,
    /// Model package of the newest report.
    pub model: Option<String>,
    pub device: Option<String>,
    /// Width and height of the picture.
    pub size: Option<(u32, u32)>,
}

/// Bytes, written as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl std::fmt::Debug for Base64 {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} bytes", self.0.len())
    }
}

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine;
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine;
        let text = String::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let mut bytes = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    bytes.extend(body);
    Ok(bytes)
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(length) as usize;
    if length <= LONGEST { Ok(length) } else { Err(io::Error::other(format!("a message of {length} bytes"))) }
}

/// Writes one message.
///
/// # Errors
/// If the other side is gone.
pub fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(message)?)?;
    to.flush()
}

/// Reads one message; `None` at the end.
///
/// # Errors
/// If what comes is no message.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    }
    let mut body = vec![0; checked(length)?];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// As [`write`].
///
/// # Errors
/// As there.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(message)?).await?;
    to.flush().await
}

/// As [`read`].
///
/// # Errors
/// As there.
pub async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done.map(drop)?,
    }
    let mut body = vec![0; checked(length)?];
    from.read_exact(&mut body).await?;
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_as_it_was_sent_address_included() {
        let feed = Feed {
            source: Address::new("rtsp://u:hunter2@h/x"),
            looped: true,
            transport: Transport::Udp,
            latency_ms: 200,
            model: None,
            device: "cpu".into(),
            fake_threshold: Some(0.7),
            ring: Some(Ring { milliseconds: 15_000, max_bytes: 1 << 20 }),
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &ToWorker::Open { channel: "one".into(), run: 3, feed: feed.clone() }).unwrap();
        write(&mut bytes, &ToWorker::Exit).unwrap();
        let mut from = bytes.as_slice();
        match read(&mut from).unwrap() {
            Some(ToWorker::Open { channel, run, feed: arrived }) => {
                assert_eq!((channel.as_str(), run, arrived), ("one", 3, feed))
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(read(&mut from).unwrap(), Some(ToWorker::Exit)));
        assert!(read::<ToWorker>(&mut from).unwrap().is_none());
        assert!(!format!("{:?}", read::<ToWorker>(&mut bytes.as_slice())).contains("hunter2"));
    }

    #[test]
    fn what_is_no_message_is_an_error_and_takes_no_memory() {
        assert!(read::<ToWorker>(&mut [0xff, 0xff, 0xff, 0xff, 1].as_slice()).is_err());
        assert!(read::<ToWorker>(&mut [0, 0, 0, 2, b'x', b'y'].as_slice()).is_err());
        assert!(read::<ToWorker>(&mut [0, 0, 0, 9, b'"'].as_slice()).is_err());
    }
}
