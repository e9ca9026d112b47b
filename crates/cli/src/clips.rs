//! Which clips to work on, and what is known of each: from a CSV, or from a folder with `real/` and `fake/` in it.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Which clips to work on: what the subcommands that take a list are told.
#[derive(clap::Args)]
pub struct ListArgs {
    /// List of clips: a CSV with columns file,label[,split,method,dataset,group], or a folder with real/ and fake/ in it
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

    fn parse(word: &str) -> Option<Self> {
        [Self::Real, Self::Fake].into_iter().find(|label| label.as_str() == word)
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
const VIDEO: &[&str] =
    &["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "flv", "wmv", "ogv", "3gp", "y4m"];

const COLUMNS: &str = "the columns are file,label[,split,method,dataset,group], and a label is `real` or `fake`";

/// Reads all clips of `source`, a CSV file or a folder, and keeps those of `split` if one is given.
///
/// `root` is the folder that the CSV's paths start from: the CSV's own by default.
///
/// # Errors
/// If the source cannot be read, a row is malformed, a clip is named twice, a group lies in two splits (in whichever
/// split: scores would not be honest), or no clip or no file at all is there.
pub fn read(source: &Path, root: Option<&Path>, split: Option<&str>) -> Result<Vec<Clip>> {
    let clips = if source.is_dir() { read_folder(source)? } else { read_csv(source, root)? };
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
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(file)
        .with_context(|| format!("cannot read the list of clips {}", file.display()))?;
    let headers = reader.headers().with_context(|| format!("{} is no CSV", file.display()))?.clone();
    // Spreadsheets put a byte-order mark before the first name.
    let column = |name: &str| headers.iter().position(|header| header.trim_start_matches('\u{feff}') == name);
    let (Some(file_column), Some(label_column)) = (column("file"), column("label")) else {
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

fn read_folder(folder: &Path) -> Result<Vec<Clip>> {
    let mut clips = Vec::new();
    for label in [Label::Real, Label::Fake] {
        let inside = folder.join(label.as_str());
        if inside.is_dir() {
            collect(&inside, &mut |path| {
                let file = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
                clips.push(Clip {
                    group: file.clone(),
                    file,
                    path: path.to_owned(),
                    label,
                    split: String::new(),
                    method: String::new(),
                    dataset: String::new(),
                });
            })?;
        }
    }
    if clips.is_empty() {
        bail!(
            "{} holds no video in a folder `real` or `fake`; put clips there ({}), or give a CSV ({COLUMNS})",
            folder.display(),
            VIDEO.join(", "),
        );
    }
    Ok(clips)
}

/// Hands every video below `folder` to `take`, in the order of names.
fn collect(folder: &Path, take: &mut dyn FnMut(&Path)) -> Result<()> {
    let cause = || format!("cannot list {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(cause)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().with_context(cause)?;
    paths.sort();
    for path in paths {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        if path.is_dir() {
            collect(&path, take)?;
        } else if ending.is_some_and(|ending| VIDEO.contains(&ending.as_str())) {
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
        refused("file,label\na.mp4,genuine\n", "line 2: \"genuine\" is no label");
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
