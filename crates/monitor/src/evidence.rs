//! The files of clips: a folder for each incident, with a manifest and checksums that anybody can
//! verify with `sha256sum --check SHA256SUMS`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::channel::clip::{self, Clip, ClipState};
use crate::channel::incident::Incident;
use crate::channel::ledger::{Kind, Span, totals};
use crate::store::Store;
use crate::store::sqlite::timestamp;

const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";

/// What a manifest says of the channel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    pub id: String,
    pub title: String,
    /// The address without anything secret.
    pub source: String,
    pub labels: BTreeMap<String, String>,
}

/// What a folder of evidence holds, and what it lacks.
#[derive(Serialize)]
struct Manifest<'a> {
    schema: u32,
    generator: &'static str,
    /// When the newest of it was sealed.
    sealed: String,
    /// How the other times are written.
    times: &'static str,
    channel: &'a About,
    incident: Option<Incident>,
    clips: Vec<Clip>,
    /// What each moment from the first picture to the last counts as.
    coverage: Vec<Span>,
    /// Milliseconds of each kind.
    coverage_totals: BTreeMap<&'static str, i64>,
}

/// Folder of an incident.
pub fn folder(evidence: &Path, incident: &str) -> PathBuf {
    evidence.join(incident)
}

/// Whether a file of this name may lie in such a folder.
pub fn is_name(name: &str) -> bool {
    let plain = |char: char| char.is_ascii_digit() || char.is_ascii_lowercase() || "-.".contains(char);
    name == SUMS || ((1..=64).contains(&name.len()) && !name.starts_with(['.', '-']) && name.chars().all(plain))
}

/// Bytes that are free for us on the disk of this folder, or of the nearest one above it.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    folder.ancestors().find_map(|folder| {
        let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
        // SAFETY: `path` ends in NUL and `found` is as large as statvfs writes.
        let found = unsafe {
            let mut found = std::mem::zeroed::<libc::statvfs>();
            (libc::statvfs(path.as_ptr(), &raw mut found) == 0).then_some(found)
        }?;
        #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
        Some((found.f_bavail as u64).saturating_mul(found.f_frsize as u64))
    })
}

/// Makes the checksums of a clip that is over, and writes the manifest of its incident anew.
pub fn seal(store: &dyn Store, evidence: &Path, about: &About, mut clip: Clip, now: i64) -> Clip {
    let folder = folder(evidence, &clip.incident.to_string());
    // A writer that was killed early has not said what it writes.
    clip.container = clip.container.or_else(|| container(&folder, clip.part));
    match files_of(&folder, clip.part) {
        Ok(files) => clip.files = files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => clip.missing.push(format!("checksums: {error}")),
    }
    let pictures = clip.video().is_some_and(|video| video.bytes > 0);
    clip.state = if pictures { ClipState::Ready } else { ClipState::Failed };
    if !pictures && clip.missing.is_empty() {
        clip.missing.push("everything: nothing was written".into());
    }
    if let Err(error) = write_manifest(store, &folder, about, &clip, now) {
        tracing::error!(incident = %clip.incident, %error, "the manifest of a clip cannot be written");
        clip.missing.push(format!("the manifest: {error}"));
    }
    clip
}

fn files_of(folder: &Path, part: u32) -> io::Result<Vec<clip::File>> {
    let (dot, dash) = (format!("{part}."), format!("{part}-"));
    let mut names: Vec<String> =
        std::fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.retain(|name| name.starts_with(&dot) || name.starts_with(&dash));
    names.sort();
    names.into_iter().map(|name| summed(folder, name)).collect()
}

fn summed(folder: &Path, name: String) -> io::Result<clip::File> {
    let mut file = File::open(folder.join(&name))?;
    let (mut sum, mut bytes) = (Sha256::new(), 0);
    let mut block = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            break;
        }
        sum.update(&block[..read]);
        bytes += read as u64;
    }
    let sha256 = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(clip::File { name, bytes, sha256 })
}

fn write_manifest(store: &dyn Store, folder: &Path, about: &About, clip: &Clip, now: i64) -> io::Result<()> {
    let failed = |error: crate::store::Error| io::Error::other(error.to_string());
    let id = clip.incident.to_string();
    let mut clips = store.clips(&id).map_err(failed)?;
    clips.retain(|known| known.part != clip.part);
    clips.push(clip.clone());
    clips.sort_by_key(|clip| clip.part);
    let from = clips.iter().map(|clip| clip.began).min().unwrap_or(clip.began);
    let to = clips.iter().filter_map(|clip| clip.ended).max().unwrap_or(from);
    let coverage = store.coverage(&clip.channel, from, to).map_err(failed)?;
    let sums = totals(&coverage, from, to);
    let manifest = Manifest {
        schema: 1,
        generator: concat!("deepfake-monitor ", env!("CARGO_PKG_VERSION")),
        sealed: timestamp(now),
        times: "milliseconds since 1970-01-01T00:00:00Z",
        channel: about,
        incident: store.incident(&id).map_err(failed)?,
        coverage_totals: Kind::ALL.into_iter().map(|kind| (kind.as_str(), sums[kind as usize])).collect(),
        coverage,
        clips,
    };
    std::fs::create_dir_all(folder)?;
    write_whole(folder, MANIFEST, &serde_json::to_vec_pretty(&manifest)?)?;
    let files = manifest.clips.iter().flat_map(|clip| clip.files.clone());
    let lines = files.chain([summed(folder, MANIFEST.into())?]);
    let lines: String = lines.map(|file| format!("{}  {}\n", file.sha256, file.name)).collect();
    write_whole(folder, SUMS, lines.as_bytes())
}

/// Never leaves half a file under its name.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let part = folder.join(format!(".{name}"));
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(part, folder.join(name))
}

/// When the newest file of a clip was written, in milliseconds since 1970.
pub fn last_written(evidence: &Path, clip: &Clip) -> Option<i64> {
    let folder = folder(evidence, &clip.incident.to_string());
    let prefix = format!("{}.", clip.part);
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let ours = files.filter(|entry| entry.file_name().as_bytes().starts_with(prefix.as_bytes()));
    let times = ours.filter_map(|entry| {
        let since = entry.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    });
    times.max()
}

fn container(folder: &Path, part: u32) -> Option<String> {
    let found = ["mp4", "ts", "webm"].into_iter().find(|end| folder.join(format!("{part}.{end}")).exists());
    found.map(Into::into)
}

/// Deletes the folders of these incidents.
pub fn remove(evidence: &Path, incidents: &[String]) {
    for incident in incidents {
        match std::fs::remove_dir_all(folder(evidence, incident)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(incident, %error, "evidence cannot be deleted");
            }
            _ => {}
        }
    }
}

/// How disk and database differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    pub folders: usize,
    pub clips: usize,
    /// Folders that belong to no incident.
    pub strays: Vec<String>,
    /// Files that are not as they were sealed.
    pub damaged: Vec<String>,
}

/// Compares each sealed file with its checksum, and each folder with the incidents.
///
/// # Errors
/// If the database or the folder cannot be read.
pub fn compare(store: &dyn Store, evidence: &Path) -> anyhow::Result<Differences> {
    let mut found = Differences::default();
    for clip in store.sealed_clips()? {
        found.clips += 1;
        let folder = folder(evidence, &clip.incident.to_string());
        for sealed in &clip.files {
            let trouble = match summed(&folder, sealed.name.clone()) {
                Ok(now) if now == *sealed => continue,
                Ok(now) if now.bytes != sealed.bytes => format!("{} bytes instead of {}", now.bytes, sealed.bytes),
                Ok(_) => "its contents changed".into(),
                Err(error) => error.to_string(),
            };
            found.damaged.push(format!("evidence/{}/{}: {trouble}", clip.incident, sealed.name));
        }
    }
    let entries = match std::fs::read_dir(evidence) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        // Only what we could have made is ours to judge.
        if uuid::Uuid::parse_str(&name).is_ok() {
            found.folders += 1;
            if store.incident(&name)?.is_none() {
                found.strays.push(name);
            }
        }
    }
    found.strays.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::channel::incident::{Alert, Change, Incidents, Rules};
    use crate::store::Record;
    use crate::store::sqlite::Sqlite;

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        assert!(["1.mp4", "12-0000400.jpg", "manifest.json", "SHA256SUMS"].into_iter().all(is_name));
        assert!(!["..", ".manifest.json", "../1.mp4", "a/b", "-x", "", "1.MP4"].into_iter().any(is_name));
    }

    #[test]
    fn what_is_sealed_is_verified_with_sha256sum_alone_and_says_what_it_lacks() {
        let place = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&place.path().join("monitor.db")).unwrap();
        let rules = Rules { keep_for: 1000, down_after: 1000 };
        let alert =
            Alert { action: "raised".into(), kind: "sustained".into(), track_id: 1, score: Some(0.9), model: None };
        let incident = Incidents::new("studio", rules, Vec::new()).alert(5000, 1, &alert).remove(0).0;
        let span = Span { start: 0, end: 9000, kind: Kind::Analysed, reason: None };
        store
            .record(&[
                Record::Incident { incident: incident.clone(), change: Change::Opened, at: 5000, sinks: Vec::new() },
                Record::Coverage { channel: "studio".into(), span },
            ])
            .unwrap();
        let evidence = place.path().join("evidence");
        let folder = folder(&evidence, &incident.id.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("1.mp4"), b"pictures").unwrap();
        std::fs::write(folder.join("1-0000100.jpg"), b"picture").unwrap();
        std::fs::write(folder.join("11.mp4"), b"of another part").unwrap();
        let clip = Clip {
            incident: incident.id,
            part: 1,
            channel: "studio".into(),
            state: ClipState::Recording,
            began: 1000,
            ended: Some(8000),
            pre_roll_wanted: 15_000,
            pre_roll: 4000,
            container: Some("mp4".into()),
            codec: Some("video/x-h264".into()),
            missing: vec!["11.0 s of the pre-roll".into()],
            files: Vec::new(),
        };
        let about = About { id: "studio".into(), ..About::default() };
        let sealed = seal(&store, &evidence, &about, clip.clone(), 12_000);
        assert_eq!((sealed.state, sealed.files.len(), sealed.bytes()), (ClipState::Ready, 2, 15));
        let check =
            Command::new("sha256sum").args(["--check", "--strict", SUMS]).current_dir(&folder).output().unwrap();
        assert!(check.status.success(), "{check:?}");
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
        assert_eq!(manifest["coverage_totals"]["analysed"], 7000);
        assert_eq!(manifest["clips"][0]["missing"][0], "11.0 s of the pre-roll");
        assert_eq!(manifest["incident"]["channel"], "studio");

        store.record(&[Record::Clip(sealed)]).unwrap();
        let stray = uuid::Uuid::now_v7().to_string();
        std::fs::create_dir(evidence.join(&stray)).unwrap();
        std::fs::create_dir(evidence.join("lost+found")).unwrap();
        let found = compare(&store, &evidence).unwrap();
        assert_eq!((found.folders, found.clips, found.damaged.len(), &found.strays), (2, 1, 0, &vec![stray]));
        std::fs::write(folder.join("1.mp4"), b"PICTURES").unwrap();
        std::fs::remove_file(folder.join("1-0000100.jpg")).unwrap();
        let found = compare(&store, &evidence).unwrap();
        assert!(found.damaged.iter().any(|what| what.ends_with("1.mp4: its contents changed")), "{found:?}");
        assert_eq!(found.damaged.len(), 2);

        let empty = Clip { part: 2, container: None, missing: Vec::new(), ..clip };
        let sealed = seal(&store, &evidence, &about, empty, 12_000);
        assert_eq!((sealed.state, sealed.missing.len()), (ClipState::Failed, 1));
        remove(&evidence, &[incident.id.to_string()]);
        assert!(!folder.exists() && evidence.exists());
    }

    #[test]
    fn free_room_is_known_also_before_the_folder_is() {
        let place = tempfile::tempdir().unwrap();
        assert!(free_bytes(&place.path().join("not/there/yet")).unwrap() > 0);
    }
}
