//! What must never be printed: passwords in addresses, signing keys.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What stands in a text where something secret was.
const HIDDEN: &str = "***";

/// Parameters of an address that say nothing secret.
const PLAIN_PARAMETERS: [&str; 6] = ["mode", "latency", "transtype", "pbkeylen", "multicast-iface", "localport"];

/// The address of a feed or of a receiver. Whatever prints it leaves out user, password, stream key
/// and the values of parameters; only [`reveal`](Self::reveal) gives all of it.
#[derive(Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Address(String);

impl Address {
    pub fn new(address: impl Into<String>) -> Self {
        Self(address.into())
    }

    /// The address as it was written. For whoever connects, never for whoever reads.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The scheme in lower case; `None` for a path.
    pub fn scheme(&self) -> Option<String> {
        let (scheme, _) = self.0.split_once("://")?;
        Some(scheme.to_ascii_lowercase())
    }

    /// `text` without anything secret of this address, for messages of libraries that quote it.
    pub fn scrub(&self, text: &str) -> String {
        let mut clean = text.replace(&self.0, &self.to_string());
        let mut secrets = self.secrets();
        // A short secret may be part of a longer one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            clean = clean.replace(&secret, HIDDEN);
        }
        clean
    }

    /// Each secret, as it was written and decoded.
    fn secrets(&self) -> Vec<String> {
        let mut secrets = Vec::new();
        let mut add = |text: &str| {
            let decoded = percent_decoded(text);
            for secret in [text.to_owned(), decoded] {
                // A secret of one or two characters would blank out half of every message.
                if secret.len() > 2 && !secrets.contains(&secret) {
                    secrets.push(secret);
                }
            }
        };
        let parts = Parts::of(&self.0);
        if let Some(user) = parts.user {
            add(user);
            // A password may hold colons: all of it, and what a library takes for it.
            if let Some((_, password)) = user.split_once(':') {
                add(password);
            }
            user.split(':').for_each(&mut add);
        }
        if let Some(key) = parts.stream_key() {
            add(key);
        }
        for (name, value) in parts.parameters() {
            if !PLAIN_PARAMETERS.contains(&name) {
                add(value);
            }
        }
        secrets
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = Parts::of(&self.0);
        let Some(scheme) = parts.scheme else { return out.write_str(&self.0) };
        write!(out, "{scheme}://")?;
        if parts.user.is_some() {
            write!(out, "{HIDDEN}@")?;
        }
        out.write_str(parts.host)?;
        match parts.stream_key() {
            Some(key) => write!(out, "{}{HIDDEN}", &parts.path[..parts.path.len() - key.len()])?,
            None => out.write_str(parts.path)?,
        }
        for (index, (name, value)) in parts.parameters().into_iter().enumerate() {
            out.write_str(if index == 0 { "?" } else { "&" })?;
            let shown = if PLAIN_PARAMETERS.contains(&name) { value } else { HIDDEN };
            write!(out, "{name}={shown}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{self}\"")
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An address taken apart without changing it: what a camera takes is often not a URL by the book.
struct Parts<'a> {
    scheme: Option<&'a str>,
    user: Option<&'a str>,
    host: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(address: &'a str) -> Self {
        let Some((scheme, rest)) = address.split_once("://") else {
            return Self { scheme: None, user: None, host: "", path: address, query: "" };
        };
        let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may hold `/` and `@` unescaped, as people write it: the last `@` ends it. A
        // file's path has no user.
        let user_end = if scheme.eq_ignore_ascii_case("file") { None } else { before.rfind('@') };
        let (user, place) = match user_end {
            Some(at) => (Some(&before[..at]), &before[at + 1..]),
            None => (None, before),
        };
        let slash = place.find('/').unwrap_or(place.len());
        Self { scheme: Some(scheme), user, host: &place[..slash], path: &place[slash..], query }
    }

    /// The last part of the path of RTMP, which is the right to publish or to watch.
    fn stream_key(&self) -> Option<&'a str> {
        let rtmp = self.scheme.is_some_and(|scheme| scheme.to_ascii_lowercase().starts_with("rtmp"));
        let (_, key) = self.path.rsplit_once('/').filter(|_| rtmp)?;
        (!key.is_empty()).then_some(key)
    }

    fn parameters(&self) -> Vec<(&'a str, &'a str)> {
        let parameters = self.query.split('&').filter(|parameter| !parameter.is_empty());
        parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, ""))).collect()
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A key, kept outside of the configuration: `env:NAME`, `file:PATH` or `credential:NAME`
/// (systemd).
#[derive(Clone, PartialEq, Eq, schemars::JsonSchema)]
#[schemars(transparent)]
pub struct Secret {
    place: String,
}

impl Secret {
    /// Reads the key from where it is kept.
    ///
    /// # Errors
    /// If nothing is there. The message names the place, never what is in it.
    pub fn read(&self) -> Result<String, String> {
        let (kind, name) = self.place.split_once(':').unwrap_or(("", ""));
        let read_file = |path: &std::path::Path| {
            std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let text = match kind {
            "env" => std::env::var(name).map_err(|_| format!("the environment has no variable {name}"))?,
            "file" => read_file(std::path::Path::new(name))?,
            _ => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) => read_file(&std::path::Path::new(&directory).join(name))?,
                None => {
                    return Err(format!(
                        "credential:{name} needs LoadCredential={name}:… in the systemd unit (CREDENTIALS_DIRECTORY is not set)"
                    ));
                }
            },
        };
        let text = text.trim();
        if text.is_empty() { Err(format!("{} is empty", self.place)) } else { Ok(text.to_owned()) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.place)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = String::deserialize(deserializer)?;
        let kept = place
            .split_once(':')
            .is_some_and(|(kind, name)| ["env", "file", "credential"].contains(&kind) && !name.is_empty());
        if kept {
            Ok(Self { place })
        } else {
            // The text is not quoted: it may be the very key.
            Err(serde::de::Error::custom(
                "a key does not stand in the configuration; write env:NAME, file:PATH or credential:NAME",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_is_not_secret_is_printed() {
        for (address, printed) in [
            ("rtsp://admin:hunter2@cam.example:554/live?auth=abc", "rtsp://***@cam.example:554/live?auth=***"),
            ("rtsp://admin:p@ss/w@cam.example/live", "rtsp://***@cam.example/live"),
            (
                "srt://10.0.0.1:7001?mode=caller&passphrase=secretsecret",
                "srt://10.0.0.1:7001?mode=caller&passphrase=***",
            ),
            ("rtmp://host/app/streamkey-1234", "rtmp://host/app/***"),
            ("https://cdn.example/live/index.m3u8?token=t0k", "https://cdn.example/live/index.m3u8?token=***"),
            ("file:///clips/a@b.mp4", "file:///clips/a@b.mp4"),
            ("/clips/a.mp4", "/clips/a.mp4"),
        ] {
            let address = Address::new(address);
            assert_eq!(address.to_string(), printed);
            assert_eq!(format!("{address:?}"), format!("\"{printed}\""));
            assert_eq!(serde_json::to_string(&address).unwrap(), format!("\"{printed}\""));
        }
    }

    #[test]
    fn messages_that_quote_an_address_or_a_part_are_scrubbed() {
        let address = Address::new("rtsp://admin:hun%24ter2@cam.example/live");
        let message = "Could not open rtsp://admin:hun%24ter2@cam.example/live: user admin, password hun$ter2";
        let clean = address.scrub(message);
        assert_eq!(clean, "Could not open rtsp://***@cam.example/live: user ***, password ***");
        let colons = Address::new("rtsp://admin:0%:!%:%A@cam.example/live");
        assert_eq!(colons.scrub("wrong: 0%:!%:%A"), "wrong: ***");
    }

    #[test]
    fn a_key_in_the_configuration_is_refused_without_quoting_it() {
        let error = serde_json::from_str::<Secret>("\"whsec_hunter2\"").unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("env:NAME"), "{error}");
    }

    proptest! {
        #[test]
        fn no_password_is_ever_printed(
            user in "[a-z]{3,9}", password in "[A-Z0-9%:/@!]{8,20}", path in "[a-z/]{0,9}", token in "[A-Z0-9]{8,12}",
        ) {
            let address = Address::new(format!("rtsp://{user}:{password}@host/{path}?key={token}"));
            let quoted = address.scrub(&format!("error at {} ({password}) {token}", address.reveal()));
            for text in [address.to_string(), format!("{address:?}"), quoted] {
                prop_assert!(!text.contains(&password) && !text.contains(&token), "{}", text);
            }
        }
    }
}
