//! From files to a [`Config`], or to all that is wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::file::{AlertKind, ChannelTable, File, SinkTable, Span, Transport};
use super::{Channel, Config};

/// Schemes of feeds. No other is opened: `exec:` and the like would run programs.
const SCHEMES: [&str; 11] = ["rtsp", "rtspt", "rtsps", "srt", "http", "https", "udp", "rtmp", "rtmps", "file", "v4l2"];
const DEVICES: [&str; 5] = ["auto", "cpu", "cuda", "tensorrt", "openvino"];

/// Everything that is wrong, each with its place.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Errors(pub Vec<Error>);

#[derive(Debug)]
pub struct Error {
    pub file: PathBuf,
    /// Counted from 1; `None` where the whole file is meant.
    pub line: Option<usize>,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(out, "{}:{line}: {}", self.file.display(), self.message),
            None => write!(out, "{}: {}", self.file.display(), self.message),
        }
    }
}

/// Reads `main` and the files of `conf.d` beside it, in the order of their names.
///
/// # Errors
/// All that is wrong, not only the first: a person corrects a file once.
pub fn load(main: &Path) -> Result<Config, Errors> {
    let mut loader = Loader::default();
    let Some(first) = loader.read(main) else { return Err(Errors(loader.errors)) };
    let folder = main.parent().unwrap_or(Path::new(""));
    let mut files = vec![first];
    for path in loader.more_files(&folder.join("conf.d")) {
        if let Some(source) = loader.read(&path) {
            let only_main = [
                ("server", source.file.server.is_some()),
                ("store", source.file.store.is_some()),
                ("workers", source.file.workers.is_some()),
                ("retention", source.file.retention.is_some()),
            ];
            for (name, _) in only_main.into_iter().filter(|(_, there)| *there) {
                loader.error(&source, None, format!("[{name}] belongs into {}", main.display()));
            }
            files.push(source);
        }
    }
    let config = loader.merge(files, folder);
    if loader.errors.is_empty() { Ok(config) } else { Err(Errors(loader.errors)) }
}

/// A file that was read.
struct Source {
    path: PathBuf,
    text: String,
    file: File,
}

#[derive(Default)]
struct Loader {
    errors: Vec<Error>,
}

impl Loader {
    fn error(&mut self, source: &Source, at: Option<usize>, message: String) {
        let line = at.map(|at| line_of(&source.text, at));
        self.errors.push(Error { file: source.path.clone(), line, message });
    }

    fn read(&mut self, path: &Path) -> Option<Source> {
        let failed = |message| Error { file: path.to_owned(), line: None, message };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.errors.push(failed(format!("cannot be read: {error}")));
                return None;
            }
        };
        match toml::from_str::<File>(&text) {
            Ok(file) => Some(Source { path: path.to_owned(), text, file }),
            Err(error) => {
                let line = error.span().map(|span| line_of(&text, span.start));
                let message = explain(error.message());
                self.errors.push(Error { line, ..failed(message) });
                None
            }
        }
    }

    fn more_files(&mut self, folder: &Path) -> Vec<PathBuf> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                let message = format!("cannot be read: {error}");
                self.errors.push(Error { file: folder.to_owned(), line: None, message });
                return Vec::new();
            }
        };
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
        paths.sort();
        paths
    }

    fn merge(&mut self, files: Vec<Source>, folder: &Path) -> Config {
        let main = &files[0].file;
        let server = main.server.clone().unwrap_or_default();
        if server.base_path.contains(|char: char| !(char.is_ascii_alphanumeric() || "/-_.~".contains(char)))
            || !(server.base_path.is_empty() || server.base_path.starts_with('/'))
        {
            let message = format!("server.base-path \"{}\" must start with / and be plain", server.base_path);
            self.error(&files[0], None, message);
        }
        for header in [&server.proxy_user_header, &server.proxy_role_header].into_iter().flatten() {
            if axum::http::HeaderName::try_from(header).is_err() {
                let message = format!("server: \"{header}\" is no name of a header");
                self.error(&files[0], None, message);
            }
        }
        if server.proxy_user_header.is_some() && server.trusted_proxies.is_empty() {
            let message = "server.proxy-user-header needs server.trusted-proxies: nobody else is believed";
            self.error(&files[0], None, message.into());
        }
        if let Err(error) = jiff::tz::TimeZone::get(&server.time_zone) {
            let message = format!("server.time-zone \"{}\" is no IANA time zone: {error}", server.time_zone);
            self.error(&files[0], None, message);
        }
        let directory = folder.join(main.store.clone().unwrap_or_default().directory);
        let mut channels = BTreeMap::new();
        let mut sinks = BTreeMap::new();
        let mut places: BTreeMap<String, String> = BTreeMap::new();
        for source in &files {
            for (id, table) in &source.file.channel {
                let at = Some(table.span().start);
                let place = format!("{}:{}", source.path.display(), line_of(&source.text, table.span().start));
                if let Some(other) = places.insert(format!("channel.{id}"), place) {
                    self.error(source, at, format!("[channel.{id}] is already in {other}"));
                    continue;
                }
                let layers = [table.get_ref(), &source.file.defaults, &main.defaults];
                if let Some(channel) = self.channel(source, id, table, layers, folder) {
                    channels.insert(id.clone(), channel);
                }
            }
            for (name, table) in &source.file.sink {
                let place = format!("{}:{}", source.path.display(), line_of(&source.text, table.span().start));
                if let Some(other) = places.insert(format!("sink.{name}"), place) {
                    self.error(source, Some(table.span().start), format!("[sink.{name}] is already in {other}"));
                    continue;
                }
                self.check_sink(source, name, table);
                sinks.insert(name.clone(), table.get_ref().clone());
            }
            for (name, set) in
                [("source", source.file.defaults.source.is_some()), ("title", source.file.defaults.title.is_some())]
            {
                if set {
                    self.error(source, None, format!("{name} is each channel's own and cannot stand in [defaults]"));
                }
            }
        }
        Config {
            directory,
            workers: main.workers.clone().unwrap_or_default(),
            retention: main.retention.clone().unwrap_or_default(),
            server,
            channels,
            sinks,
        }
    }

    fn check_sink(&mut self, source: &Source, name: &str, table: &Spanned<SinkTable>) {
        let (address, schemes) = match table.get_ref() {
            SinkTable::Webhook(webhook) => (&webhook.url, ["https", "http"]),
            SinkTable::Mqtt(mqtt) => (&mqtt.url, ["mqtts", "mqtt"]),
        };
        if !address.scheme().is_some_and(|scheme| schemes.contains(&scheme.as_str())) {
            let message = format!("sink.{name}.url must start with {}:// or {}://", schemes[0], schemes[1]);
            self.error(source, Some(table.span().start), message);
        }
        if let SinkTable::Mqtt(mqtt) = table.get_ref()
            && (mqtt.topic.is_empty() || mqtt.topic.contains(['#', '+', '\0']) || mqtt.topic.ends_with('/'))
        {
            let message = format!("sink.{name}.topic must be a topic without # and +, and not end in /");
            self.error(source, Some(table.span().start), message);
        }
    }

    fn channel(
        &mut self,
        source: &Source,
        id: &str,
        table: &Spanned<ChannelTable>,
        layers: [&ChannelTable; 3],
        folder: &Path,
    ) -> Option<Channel> {
        let before = self.errors.len();
        let mut wrong = |message: String| {
            self.errors.push(Error {
                file: source.path.clone(),
                line: Some(line_of(&source.text, table.span().start)),
                message: format!("channel.{id}: {message}"),
            });
        };
        let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-_".contains(char);
        if id.is_empty() || id.len() > 64 || !id.chars().all(plain) {
            wrong("an id is made of small letters, digits, - and _, at most 64".into());
        }
        let first = |get: fn(&ChannelTable) -> Option<Span>, default: Span| {
            layers.iter().find_map(|layer| get(layer)).unwrap_or(default)
        };
        let address = table.get_ref().source.clone().map(|address| with_folder(address, folder));
        match &address {
            None => wrong("source is missing: the address of the feed".into()),
            Some(address) => {
                let scheme = address.scheme().unwrap_or_default();
                if !SCHEMES.contains(&scheme.as_str()) {
                    let known =
                        nearest(&scheme, SCHEMES).map_or(String::new(), |near| format!("; did you mean {near}://?"));
                    wrong(format!("source: {scheme}:// is not taken ({}){known}", SCHEMES.join(", ")));
                }
            }
        }
        let device = layers.iter().find_map(|layer| layer.device.clone()).unwrap_or_else(|| "auto".into());
        if !DEVICES.contains(&device.as_str()) {
            wrong(format!("device: \"{device}\" is none of {}", DEVICES.join(", ")));
        }
        let fake_threshold = layers.iter().find_map(|layer| layer.fake_threshold);
        if fake_threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
            wrong("fake-threshold must lie from 0 to 1".into());
        }
        let waits = [
            ("stalled-after", first(|layer| layer.stalled_after, Span::seconds(5))),
            ("frozen-after", first(|layer| layer.frozen_after, Span::seconds(10))),
            ("black-after", first(|layer| layer.black_after, Span::seconds(10))),
        ];
        for (name, _) in waits.iter().filter(|(_, wait)| *wait < Span::seconds(1)) {
            wrong(format!("{name} must be at least 1s: less, and slow feeds are called broken"));
        }
        let alerts = layers.iter().find_map(|layer| layer.alerts.clone());
        // The labels of the most general layer first, so that nearer ones take their place.
        let labels = layers.iter().rev().flat_map(|layer| layer.labels.clone()).collect();
        let address = address.filter(|_| self.errors.len() == before)?;
        Some(Channel {
            source: address,
            title: table.get_ref().title.clone().unwrap_or_else(|| id.to_owned()),
            enabled: layers.iter().find_map(|layer| layer.enabled).unwrap_or(true),
            looped: layers.iter().find_map(|layer| layer.looped).unwrap_or(false),
            transport: layers.iter().find_map(|layer| layer.transport).unwrap_or(Transport::Tcp),
            latency: first(|layer| layer.latency, Span(std::time::Duration::from_millis(200))),
            model: layers.iter().find_map(|layer| layer.model.clone()),
            device,
            fake_threshold,
            alerts: alerts.unwrap_or_else(|| vec![AlertKind::Sustained]),
            keep_for: first(|layer| layer.keep_for, Span::seconds(30)),
            stalled_after: waits[0].1,
            frozen_after: waits[1].1,
            black_after: waits[2].1,
            down_after: first(|layer| layer.down_after, Span::seconds(15)),
            clips: layers.iter().find_map(|layer| layer.clips).unwrap_or(true),
            pre_roll: first(|layer| layer.pre_roll, Span::seconds(15)),
            post_roll: first(|layer| layer.post_roll, Span::seconds(10)),
            longest_clip: first(|layer| layer.longest_clip, Span::seconds(600)),
            ring_mib: layers.iter().find_map(|layer| layer.ring_mib).unwrap_or(48),
            schedule: layers.iter().find_map(|layer| layer.schedule.clone()).unwrap_or_default(),
            labels,
        })
    }
}

/// A path becomes a file's address; a relative one starts from the configuration's folder.
fn with_folder(address: super::Address, folder: &Path) -> super::Address {
    if address.scheme().is_some() {
        return address;
    }
    let path = folder.join(address.reveal());
    let path = std::path::absolute(&path).unwrap_or(path);
    let mut uri = "file://".to_owned();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'~' => uri.push(char::from(byte)),
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    super::Address::new(uri)
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// The TOML reader's words, with the nearest right key where a key is unknown.
fn explain(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let known = ["unknown field", "unknown variant"].iter().any(|start| message.starts_with(start));
    match names.as_slice() {
        [wrong, right @ ..] if known => {
            let word = if message.starts_with("unknown field") { "key" } else { "value" };
            match nearest(wrong, right.iter().copied()) {
                Some(near) => format!("unknown {word} `{wrong}`; did you mean `{near}`?"),
                None => format!("unknown {word} `{wrong}`; known: {}", right.join(", ")),
            }
        }
        _ => message.to_owned(),
    }
}

fn nearest<'a>(wrong: &str, right: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |word: &str| strsim::jaro_winkler(wrong, word);
    let nearest = right.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(nearest) > 0.7).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn loaded(files: &[(&str, &str)]) -> Result<Config, String> {
        let folder = folder(files);
        let root = format!("{}/", folder.path().display());
        load(&folder.path().join("monitor.toml")).map_err(|errors| errors.to_string().replace(&root, ""))
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
        let error = loaded(&[("monitor.toml", "[channel.one]\nsource = \"a.mp4\"\nmodle = \"l40\"\n")]).unwrap_err();
        assert_eq!(error, "monitor.toml:3: unknown key `modle`; did you mean `model`?");
    }

    #[test]
    fn a_channel_takes_its_own_settings_then_its_files_then_the_main_files() {
        let config = loaded(&[
            (
                "monitor.toml",
                "[defaults]\nkeep-for = \"1m\"\ndevice = \"cpu\"\nlabels = { site = \"A\", rack = \"1\" }\n",
            ),
            (
                "conf.d/b.toml",
                "[defaults]\nkeep-for = \"2m\"\n[channel.two]\nsource = \"rtsp://h/x\"\nlabels = { rack = \"2\" }\n\
                 [channel.three]\nsource = \"rtsp://h/y\"\nkeep-for = \"3m\"\n",
            ),
        ])
        .unwrap();
        let two = &config.channels["two"];
        assert_eq!((two.keep_for, two.device.as_str()), (Span::seconds(120), "cpu"));
        assert_eq!(two.labels, [("rack".into(), "2".into()), ("site".into(), "A".into())].into());
        assert_eq!(config.channels["three"].keep_for, Span::seconds(180));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_and_no_password() {
        let error = loaded(&[
            (
                "monitor.toml",
                "[channel.one]\nsource = \"exec://admin:hunter2@h\"\n[channel.two]\nfake-threshold = 2.0\n\
                 source = \"rtsp://h\"\ndevice = \"gpu\"\n",
            ),
            ("conf.d/x.toml", "[server]\nlisten = \"127.0.0.1:1\"\n[channel.two]\nsource = \"rtsp://h/x\"\n"),
        ])
        .unwrap_err();
        for part in [
            "monitor.toml:1: channel.one: source: exec://",
            "monitor.toml:3: channel.two: fake-threshold",
            "device: \"gpu\"",
            "conf.d/x.toml: [server] belongs into",
            "conf.d/x.toml:3: [channel.two] is already in monitor.toml:3",
        ] {
            assert!(error.contains(part), "{part} is not in:\n{error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_path_starts_from_the_configurations_folder() {
        let config = loaded(&[("monitor.toml", "[channel.one]\nsource = \"clips/a b.mp4\"\n")]).unwrap();
        let address = config.channels["one"].source.reveal().to_owned();
        assert!(address.starts_with("file:///") && address.ends_with("/clips/a%20b.mp4"), "{address}");
    }

    #[test]
    fn a_key_that_stands_in_the_file_is_refused() {
        let text = "[sink.desk]\nkind = \"webhook\"\nurl = \"https://h/x\"\nsecret = \"whsec_hunter2\"\n";
        let error = loaded(&[("monitor.toml", text)]).unwrap_err();
        assert!(error.contains("env:NAME") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn only_what_changed_is_touched() {
        let one = "[channel.one]\nsource = \"rtsp://h/1\"\n[channel.two]\nsource = \"rtsp://h/2\"\n";
        let old = loaded(&[("monitor.toml", one)]).unwrap();
        let new = one.replace("h/2", "h/3") + "[channel.three]\nsource = \"rtsp://h/4\"\n";
        let new = loaded(&[("monitor.toml", &new)]).unwrap();
        assert_eq!(old.touched(&new), ["three".to_owned(), "two".to_owned()].into());
    }

    #[test]
    fn the_schema_knows_every_key_of_a_channel() {
        let schema = super::super::schema();
        let channel = &schema["$defs"]["ChannelTable"]["properties"];
        for key in ["source", "loop", "fake-threshold", "keep-for", "labels"] {
            assert!(channel[key].is_object(), "{key} is not in {channel}");
        }
    }
}
