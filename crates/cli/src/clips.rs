//! Which clips to work on, and what is known of each: from a CSV, from a folder with `real/` and `fake/` in it, or from a data
//! set as its makers lay it out: Kaggle's Deepfake Detection Challenge, FaceForensics++.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Which clips to work on: what the subcommands that take a list are told.
#[derive(clap::Args)]
pub struct ListArgs {
    /// List of clips: a CSV with columns file,label[,split,method,dataset,group]; or a folder with real/ and fake/ in it, of
    /// Kaggle's DFDC (metadata.json), or of FaceForensics++ (original_sequences/, manipulated_sequences/)
    #[arg(long, value_name = "CSV|DIR")]
    pub clips: PathBuf,
    /// Folder that the paths in the list start from [default: the list's own]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Take only clips whose column `split` says NAME
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
}

/// The truth about a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    Real,
    Fake,
}

impl Label {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Fake => "fake",
        }
    }

    /// As people write it: in any case, as a word or as a number.
    fn parse(word: &str) -> Option<Self> {
        match word.to_lowercase().as_str() {
            "real" | "original" | "genuine" | "authentic" | "0" => Some(Self::Real),
            "fake" | "deepfake" | "manipulated" | "forged" | "1" => Some(Self::Fake),
            _ => None,
        }
    }
}

/// One labelled clip. A column that the CSV lacks is an empty string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clip {
    /// As the CSV says it; what reports name the clip by.
    pub file: String,
    /// Where it lies.
    pub path: PathBuf,
    pub label: Label,
    pub split: String,
    pub method: String,
    pub dataset: String,
    /// Ties clips of one identity or source; the clip's own file where the CSV does not say.
    pub group: String,
}

/// File name endings that are taken for video in a folder.
pub const VIDEO: &[&str] =
    &["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "flv", "wmv", "ogv", "3gp", "y4m"];

const COLUMNS: &str = "the columns are file,label[,split,method,dataset,group], separated by commas, semicolons or \
                       tabs, and a label is `real` or `fake` (or 0 for real and 1 for fake)";

/// Other names that columns have in people's lists.
const FILE_COLUMNS: &[&str] = &["file", "filename", "path", "video"];
const LABEL_COLUMNS: &[&str] = &["label", "class", "target"];

/// Reads all clips of `source`, a CSV file or a folder, and keeps those of `split` if one is given.
///
/// `root` is the folder that the CSV's paths start from: the CSV's own by default.
///
/// # Errors
/// If the source cannot be read, a row is malformed, a clip is named twice, a group lies in two splits (in whichever
/// split: scores would not be honest), or no clip or no file at all is there.
pub fn read(source: &Path, root: Option<&Path>, split: Option<&str>) -> Result<Vec<Clip>> {
    let clips = if source.is_dir() {
        read_folder(source)?
    } else if is_video(source) {
        bail!(
            "{} is a video, and this command takes a list of labelled ones ({COLUMNS}). Whether a video of unknown label \
             is fake says: deepfake scan {}",
            source.display(),
            source.display(),
        );
    } else {
        read_csv(source, root)?
    };
    check(&clips).with_context(|| format!("{} cannot be used", source.display()))?;
    let Some(split) = split else { return present(clips, source) };
    let all: std::collections::BTreeSet<String> = clips.iter().map(|clip| clip.split.clone()).collect();
    let kept: Vec<_> = clips.into_iter().filter(|clip| clip.split == split).collect();
    if kept.is_empty() {
        let all: Vec<_> = all.iter().map(|name| if name.is_empty() { "(none)" } else { name }).collect();
        bail!("{} has no clip of split {split:?}; it has: {}", source.display(), all.join(", "));
    }
    present(kept, source)
}

fn read_csv(file: &Path, root: Option<&Path>) -> Result<Vec<Clip>> {
    let root = root.or(file.parent()).unwrap_or(Path::new(""));
    let bytes = std::fs::read(file).with_context(|| format!("cannot read the list of clips {}", file.display()))?;
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).delimiter(delimiter(&bytes)).from_reader(&bytes[..]);
    let headers = reader.headers().with_context(|| format!("{} is no CSV", file.display()))?.clone();
    // Spreadsheets put a byte-order mark before the first name.
    let headers: Vec<_> = headers.iter().map(|header| header.trim_start_matches('\u{feff}').to_lowercase()).collect();
    let column = |name: &str| headers.iter().position(|header| header == name);
    let first = |names: &[&str]| names.iter().find_map(|name| column(name));
    let (Some(file_column), Some(label_column)) = (first(FILE_COLUMNS), first(LABEL_COLUMNS)) else {
        bail!("{} has no column `file` or no column `label` in its first line; {COLUMNS}", file.display());
    };
    let optional = ["split", "method", "dataset", "group"].map(column);

    let mut clips = Vec::new();
    for row in reader.records() {
        let row = row.with_context(|| format!("{} is malformed", file.display()))?;
        let at = format!("{}, line {}", file.display(), row.position().map_or(0, csv::Position::line));
        let name = row.get(file_column).unwrap_or_default();
        if name.is_empty() {
            bail!("{at}: names no file; {COLUMNS}");
        }
        let word = row.get(label_column).unwrap_or_default();
        let Some(label) = Label::parse(word) else { bail!("{at}: {word:?} is no label; {COLUMNS}") };
        let [split, method, dataset, group] =
            optional.map(|column| column.and_then(|index| row.get(index)).unwrap_or_default().to_owned());
        let group = if group.is_empty() { name.to_owned() } else { group };
        clips.push(Clip { file: name.to_owned(), path: root.join(name), label, split, method, dataset, group });
    }
    if clips.is_empty() {
        bail!("{} lists no clip; {COLUMNS}", file.display());
    }
    Ok(clips)
}

/// What separates the columns of a list: spreadsheets of half the world write semicolons.
fn delimiter(text: &[u8]) -> u8 {
    let head = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| head.iter().filter(|byte| **byte == delimiter).count();
    [b';', b'\t'].into_iter().find(|delimiter| count(*delimiter) > count(b',')).unwrap_or(b',')
}

fn read_folder(folder: &Path) -> Result<Vec<Clip>> {
    let mut clips = read_face_forensics(folder)?;
    if clips.is_empty() {
        clips = read_kaggle(folder)?;
    }
    if clips.is_empty() {
        clips = read_labelled_folders(folder)?;
    }
    if !clips.is_empty() {
        return Ok(clips);
    }
    let mut videos = 0;
    collect(folder, &mut |_| videos += 1)?;
    if videos > 0 {
        bail!(
            "{} holds {videos} video(s), but nothing says which are real: put them into folders `real` and `fake`, or give \
             a CSV ({COLUMNS}). Whether videos of unknown label are fake says: deepfake scan {}",
            folder.display(),
            folder.display(),
        );
    }
    bail!(
        "{} holds no video in a folder `real` or `fake`; put clips there ({}), or give a CSV ({COLUMNS})",
        folder.display(),
        VIDEO.join(", "),
    )
}

/// A clip of a folder of which nothing but the label is known.
fn plain(folder: &Path, path: &Path, label: Label) -> Clip {
    let file = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
    Clip {
        group: file.clone(),
        file,
        path: path.to_owned(),
        label,
        split: String::new(),
        method: String::new(),
        dataset: String::new(),
    }
}

/// Folders `real` and `fake`, in whatever case.
fn read_labelled_folders(folder: &Path) -> Result<Vec<Clip>> {
    let mut inside: Vec<(Label, PathBuf)> = Vec::new();
    for path in entries(folder)? {
        let label = path.file_name().and_then(|name| name.to_str()).and_then(Label::parse);
        if let (Some(label), true) = (label, path.is_dir()) {
            inside.push((label, path));
        }
    }
    // Real ones first, as ever.
    inside.sort_by_key(|(label, _)| *label == Label::Fake);
    let mut clips = Vec::new();
    for (label, path) in inside {
        collect(&path, &mut |path| clips.push(plain(folder, path, label)))?;
    }
    Ok(clips)
}

/// One entry of Kaggle's metadata.json.
#[derive(Deserialize)]
struct KaggleEntry {
    label: String,
    #[serde(default)]
    split: String,
    original: Option<String>,
}

/// The Deepfake Detection Challenge: a metadata.json beside the clips, in the folder or in those right below it. A fake and its
/// original are one group.
fn read_kaggle(folder: &Path) -> Result<Vec<Clip>> {
    let mut clips = Vec::new();
    for part in std::iter::once(folder.to_owned()).chain(entries(folder)?) {
        let list = part.join("metadata.json");
        let Ok(text) = std::fs::read(&list) else { continue };
        let entries: BTreeMap<String, KaggleEntry> = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not laid out as Kaggle's metadata.json", list.display()))?;
        for (name, entry) in entries {
            let Some(label) = Label::parse(&entry.label) else {
                bail!("{}: {name}: {:?} is no label; it is REAL or FAKE", list.display(), entry.label);
            };
            let path = part.join(&name);
            let group = entry.original.filter(|original| !original.is_empty()).unwrap_or(name);
            clips.push(Clip { dataset: "DFDC".into(), split: entry.split, group, ..plain(folder, &path, label) });
        }
    }
    Ok(clips)
}

/// FaceForensics++: original_sequences/SOURCE/COMPRESSION/videos and manipulated_sequences/METHOD/COMPRESSION/videos. Clips made
/// of one another's people are one group: 003.mp4, 000_003.mp4 and 003_000.mp4.
fn read_face_forensics(folder: &Path) -> Result<Vec<Clip>> {
    let mut clips = Vec::new();
    for (sequences, label) in [("original_sequences", Label::Real), ("manipulated_sequences", Label::Fake)] {
        let inside = folder.join(sequences);
        if !inside.is_dir() {
            continue;
        }
        collect(&inside, &mut |path| {
            let mut parts = path.strip_prefix(&inside).unwrap_or(path).iter().map(|part| part.to_string_lossy());
            let (source, compression) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let is_fake = label == Label::Fake;
            clips.push(Clip {
                method: if is_fake { source.to_string() } else { String::new() },
                dataset: format!("FF++ {compression}").trim_end().to_owned(),
                ..plain(folder, path, label)
            });
        })?;
    }
    // People's numbers, joined wherever a clip names two.
    let mut first_of: BTreeMap<String, String> = BTreeMap::new();
    fn root(first_of: &BTreeMap<String, String>, id: &str) -> String {
        let mut id = id;
        while let Some(first) = first_of.get(id) {
            id = first;
        }
        id.to_owned()
    }
    let numbers: Vec<Vec<String>> = clips.iter().map(people).collect();
    for numbers in &numbers {
        if let [one, other] = &numbers[..] {
            let (one, other) = (root(&first_of, one), root(&first_of, other));
            if one != other {
                first_of.insert(one.clone().max(other.clone()), one.min(other));
            }
        }
    }
    for (clip, numbers) in clips.iter_mut().zip(&numbers) {
        if let Some(number) = numbers.first() {
            clip.group = root(&first_of, number);
        }
    }
    Ok(clips)
}

/// Whom a clip of FaceForensics++ shows, and whose face was put there: `000_003.mp4`. Of the paid actors, who all play with one
/// another, only the one who is seen: `01_02__talking.mp4`.
fn people(clip: &Clip) -> Vec<String> {
    let stem = clip.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (numbers, is_actor) = match stem.split_once("__") {
        Some((numbers, _)) => (numbers, true),
        None => (stem.as_str(), false),
    };
    let set = if is_actor { "actor" } else { "youtube" };
    let numbers = numbers.split('_').filter(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    numbers.take(if is_actor { 1 } else { 2 }).map(|number| format!("{set} {number}")).collect()
}

/// What lies in a folder, in the order of names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let cause = || format!("cannot list {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(cause)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().with_context(cause)?;
    paths.sort();
    Ok(paths)
}

pub fn is_video(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| VIDEO.contains(&ending.as_str()))
}

/// Hands every video below `folder` to `take`, in the order of names.
pub fn collect(folder: &Path, take: &mut dyn FnMut(&Path)) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            collect(&path, take)?;
        } else if is_video(&path) {
            take(&path);
        }
    }
    Ok(())
}

/// What would make figures wrong: a clip counted twice, a group that is in two splits.
fn check(clips: &[Clip]) -> Result<()> {
    let mut seen: HashMap<&str, Label> = HashMap::new();
    for clip in clips {
        match seen.insert(&clip.file, clip.label) {
            Some(before) if before != clip.label => bail!("clip {} is labelled both real and fake", clip.file),
            Some(_) => bail!("clip {} is listed twice: it would count twice; remove one row", clip.file),
            None => {}
        }
    }
    let mut splits: BTreeMap<&str, &Clip> = BTreeMap::new();
    for clip in clips {
        let first = splits.entry(&clip.group).or_insert(clip);
        if first.split != clip.split {
            bail!(
                "group {} is in split {:?} ({}) and in split {:?} ({}): whatever learns from one knows the other; \
                 put the whole group into one split",
                clip.group,
                first.split,
                first.file,
                clip.split,
                clip.file,
            );
        }
    }
    Ok(())
}

/// Refuses a list of which no file exists; a few missing ones are told later, clip by clip.
fn present(clips: Vec<Clip>, source: &Path) -> Result<Vec<Clip>> {
    if clips.iter().any(|clip| clip.path.is_file()) {
        return Ok(clips);
    }
    let (first, count) = (&clips[0], clips.len());
    bail!(
        "none of the {count} clip(s) of {} exists: {} is not there; --root DIR names the folder that the paths of the \
         list start from",
        source.display(),
        first.path.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the CSV `text` in it and empty files of the given names.
    fn list(text: &str, files: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let csv = folder.path().join("clips.csv");
        std::fs::write(&csv, text).unwrap();
        (folder, csv)
    }

    #[track_caller]
    fn refused(text: &str, because: &str) {
        let (_folder, csv) = list(text, &["a.mp4", "b.mp4"]);
        let error = format!("{:#}", read(&csv, None, None).unwrap_err());
        assert!(error.contains(because), "{error:?} does not say {because:?}");
    }

    #[test]
    fn every_column_is_read_in_any_order_and_unknown_ones_are_ignored() {
        let text = "\u{feff}label,fps,file,group,dataset,method,split\n fake ,25,sub/a.mp4,g1,D,M,dev\n";
        let (folder, csv) = list(text, &["sub/a.mp4"]);
        let clips = read(&csv, None, None).unwrap();
        let expected = Clip {
            file: "sub/a.mp4".into(),
            path: folder.path().join("sub/a.mp4"),
            label: Label::Fake,
            split: "dev".into(),
            method: "M".into(),
            dataset: "D".into(),
            group: "g1".into(),
        };
        assert_eq!(clips, [expected]);
    }

    fn labels(clips: &[Clip]) -> Vec<(&str, Label)> {
        clips.iter().map(|clip| (clip.file.as_str(), clip.label)).collect()
    }

    #[test]
    fn labels_are_read_in_any_case_and_as_numbers_and_columns_may_be_separated_by_semicolons() {
        for text in [
            "file;label\na.mp4;REAL\nb.mp4;FAKE\n",
            "Filename,Label\na.mp4,0\nb.mp4,1\n",
            "path\tclass\na.mp4\toriginal\nb.mp4\tDeepfake\n",
        ] {
            let (_folder, csv) = list(text, &["a.mp4", "b.mp4"]);
            let clips = read(&csv, None, None).unwrap();
            assert_eq!(labels(&clips), [("a.mp4", Label::Real), ("b.mp4", Label::Fake)], "{text}");
        }
    }

    #[test]
    fn folders_are_found_in_any_case() {
        let (folder, csv) = list("", &["REAL/a.mp4", "Fake/b.mp4"]);
        std::fs::remove_file(csv).unwrap();
        let clips = read(folder.path(), None, None).unwrap();
        assert_eq!(labels(&clips), [("REAL/a.mp4", Label::Real), ("Fake/b.mp4", Label::Fake)]);
    }

    #[test]
    fn kaggles_layout_needs_no_list() {
        let (folder, _csv) = list("", &["part_0/a.mp4", "part_0/b.mp4"]);
        let text =
            r#"{"a.mp4":{"label":"FAKE","split":"train","original":"b.mp4"},"b.mp4":{"label":"REAL","split":"train"}}"#;
        std::fs::write(folder.path().join("part_0/metadata.json"), text).unwrap();
        let clips = read(folder.path(), None, Some("train")).unwrap();
        assert_eq!(labels(&clips), [("part_0/a.mp4", Label::Fake), ("part_0/b.mp4", Label::Real)]);
        assert!(clips.iter().all(|clip| clip.group == "b.mp4" && clip.dataset == "DFDC"), "{clips:?}");
    }

    #[test]
    fn face_forensics_needs_no_list_and_clips_of_the_same_people_are_one_group() {
        let (folder, _csv) = list(
            "",
            &[
                "original_sequences/youtube/c23/videos/000.mp4",
                "original_sequences/youtube/c23/videos/003.mp4",
                "original_sequences/youtube/c23/videos/007.mp4",
                "original_sequences/actors/c23/videos/01__talking.mp4",
                "manipulated_sequences/Deepfakes/c23/videos/003_000.mp4",
                "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__talking__ABC.mp4",
            ],
        );
        let clips = read(folder.path(), None, None).unwrap();
        let of = |name: &str| clips.iter().find(|clip| clip.file.ends_with(name)).unwrap();
        assert_eq!(of("003_000.mp4").label, Label::Fake);
        assert_eq!((of("003_000.mp4").method.as_str(), of("003_000.mp4").dataset.as_str()), ("Deepfakes", "FF++ c23"));
        assert_eq!(of("/000.mp4").group, of("003_000.mp4").group);
        assert_eq!(of("/003.mp4").group, of("003_000.mp4").group);
        assert_ne!(of("/007.mp4").group, of("003_000.mp4").group);
        assert_eq!(of("01__talking.mp4").group, of("01_02__talking__ABC.mp4").group);
        assert_ne!(of("01__talking.mp4").group, of("/007.mp4").group);
    }

    #[test]
    fn a_video_of_unknown_label_is_sent_to_scan() {
        let (folder, csv) = list("", &["a.mp4", "inner/b.mp4"]);
        std::fs::remove_file(csv).unwrap();
        for source in [folder.path().to_owned(), folder.path().join("a.mp4")] {
            let error = format!("{:#}", read(&source, None, None).unwrap_err());
            assert!(error.contains(&format!("deepfake scan {}", source.display())), "{error}");
        }
    }

    #[test]
    fn two_columns_are_enough_and_each_clip_is_its_own_group() {
        let (_folder, csv) = list("file,label\na.mp4,real\nb.mp4,fake\n", &["a.mp4", "b.mp4"]);
        let groups: Vec<_> = read(&csv, None, None).unwrap().into_iter().map(|clip| clip.group).collect();
        assert_eq!(groups, ["a.mp4", "b.mp4"]);
    }

    #[test]
    fn root_replaces_the_folder_of_the_list() {
        let (folder, csv) = list("file,label\na.mp4,real\n", &["other/a.mp4"]);
        assert!(read(&csv, None, None).is_err());
        let root = folder.path().join("other");
        assert_eq!(read(&csv, Some(&root), None).unwrap()[0].path, root.join("a.mp4"));
    }

    #[test]
    fn a_split_is_kept_and_an_unknown_one_is_told_with_those_there_are() {
        let (_folder, csv) = list("file,label,split\na.mp4,real,dev\nb.mp4,fake,test\n", &["a.mp4", "b.mp4"]);
        let files: Vec<_> = read(&csv, None, Some("dev")).unwrap().into_iter().map(|clip| clip.file).collect();
        assert_eq!(files, ["a.mp4"]);
        let error = read(&csv, None, Some("train")).unwrap_err().to_string();
        assert!(error.contains("dev, test"), "{error}");
    }

    #[test]
    fn bad_lists_are_refused_with_the_reason() {
        refused("", "no column `file`");
        refused("file,label\n", "lists no clip");
        refused("name,label\na.mp4,real\n", "no column `file`");
        refused("file,label\na.mp4,perhaps\n", "line 2: \"perhaps\" is no label");
        refused("file,label\na.mp4,\n", "\"\" is no label");
        refused("file,label\n,real\n", "names no file");
        refused("file,label\na.mp4\n", "malformed");
        refused("file,label\na.mp4,real\na.mp4,real\n", "listed twice");
        refused("file,label\na.mp4,real\na.mp4,fake\n", "both real and fake");
        refused("file,label\nno/where.mp4,real\n", "--root");
        refused("file,label,split,group\na.mp4,real,train,g\nb.mp4,fake,dev,g\n", "group g is in split");
        let error = read(Path::new("no/such/list.csv"), None, None).unwrap_err().to_string();
        assert!(error.contains("no/such/list.csv"), "{error}");
    }

    #[test]
    fn a_group_in_two_splits_is_refused_even_if_one_split_is_asked_for() {
        let text = "file,label,split,group\na.mp4,real,train,g\nb.mp4,fake,dev,g\n";
        let (_folder, csv) = list(text, &["a.mp4", "b.mp4"]);
        assert!(read(&csv, None, Some("dev")).is_err());
    }

    #[test]
    fn a_folder_with_real_and_fake_is_a_list() {
        let (folder, _csv) = list("", &["real/a.mp4", "fake/x/b.MKV", "fake/notes.txt"]);
        let clips = read(folder.path(), None, None).unwrap();
        let found: Vec<_> = clips.iter().map(|clip| (clip.file.as_str(), clip.label)).collect();
        assert_eq!(found, [("real/a.mp4", Label::Real), ("fake/x/b.MKV", Label::Fake)]);
        let empty = tempfile::tempdir().unwrap();
        assert!(read(empty.path(), None, None).unwrap_err().to_string().contains("`real` or `fake`"));
    }
}
