//! What there is to scan: files, folders, lists and addresses, each given on the command line.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::clips;

/// One thing to scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// As the user names it; what tables and pages say.
    pub name: String,
    pub source: Source,
}

/// Where an input's frames come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    File(PathBuf),
    Address(String),
}

impl Source {
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Address(_) => None,
        }
    }

    /// Whether it is a live feed by its kind, which only a limit ends.
    pub fn is_endless(&self) -> bool {
        const SCHEMES: [&str; 7] = ["rtsp", "rtsps", "rtmp", "srt", "udp", "rtp", "ristp"];
        matches!(self, Self::Address(address) if SCHEMES.contains(&address.split("://").next().unwrap_or_default()))
    }
}

/// Endings of files that name what is to be scanned, one a line.
const LISTS: &[&str] = &["txt", "m3u", "list"];

/// Everything that `given` names, in that order and without repetition. Standard input (`-`) is copied into `spool`, since
/// most containers can only be read with seeking.
///
/// # Errors
/// If all that is given is a folder or list that cannot be read, or names nothing. A file that cannot be read, or one of several
/// folders, is no error here: it gets its own row.
pub fn expand(given: &[String], spool: &Path) -> Result<Vec<Input>> {
    let mut inputs: Vec<Input> = Vec::new();
    for word in given {
        let before = inputs.len();
        let added = add(word, Path::new(""), spool, &mut inputs);
        if added.is_ok() && inputs.len() > before {
            continue;
        }
        if given.len() == 1 || word == "-" {
            added?;
            bail!("{word} holds no video; these endings are taken for one: {}", clips::VIDEO.join(", "));
        }
        // Its own row says what is wrong with it, and the others are judged.
        inputs.push(Input { name: word.clone(), source: Source::File(PathBuf::from(word)) });
    }
    let mut unique: Vec<Input> = Vec::with_capacity(inputs.len());
    let mut seen = std::collections::HashSet::new();
    for input in inputs {
        if seen.insert(format!("{:?}", input.source)) {
            unique.push(input);
        }
    }
    Ok(unique)
}

fn add(word: &str, from: &Path, spool: &Path, inputs: &mut Vec<Input>) -> Result<()> {
    if word == "-" {
        let path = spool.join("standard-input");
        let mut file = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        io::copy(&mut io::stdin().lock(), &mut file).context("standard input cannot be copied to the disk")?;
        inputs.push(Input { name: "standard input".into(), source: Source::File(path) });
        return Ok(());
    }
    if let Some((scheme, rest)) = word.split_once("://")
        && !scheme.is_empty()
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
    {
        let source = match scheme {
            "file" => Source::File(local_path(word, rest)),
            _ => Source::Address(word.to_owned()),
        };
        inputs.push(Input { name: without_password(word), source });
        return Ok(());
    }
    let path = from.join(word);
    if path.is_dir() {
        clips::collect(&path, &mut |file| {
            let name = file.strip_prefix(".").unwrap_or(file).display().to_string();
            inputs.push(Input { name, source: Source::File(file.to_owned()) });
        })?;
    } else if is_list(&path) {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read the list {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            add(line, folder, spool, inputs)?;
        }
    } else {
        inputs.push(Input { name: path.display().to_string(), source: Source::File(path) });
    }
    Ok(())
}

fn is_list(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    path.is_file() && ending.is_some_and(|ending| LISTS.contains(&ending.as_str()))
}

fn local_path(address: &str, rest: &str) -> PathBuf {
    gst::glib::filename_from_uri(address).map_or_else(|_| PathBuf::from(rest), |(path, _)| path)
}

/// Addresses of cameras often hold one, and reports are passed on.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let host_end = rest.find('/').unwrap_or(rest.len());
    match rest[..host_end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(given: &[&str]) -> Result<Vec<String>> {
        let spool = tempfile::tempdir().unwrap();
        let given: Vec<String> = given.iter().map(|word| (*word).to_owned()).collect();
        Ok(expand(&given, spool.path())?.into_iter().map(|input| input.name).collect())
    }

    #[test]
    fn folders_and_lists_are_opened_and_nothing_is_scanned_twice() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir_all(folder.path().join("inner")).unwrap();
        for name in ["b.mp4", "inner/a.MKV", "notes.pdf"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::write(folder.path().join("list.txt"), "# mine\n\nb.mp4\nabsent.mp4\nhttps://example.org/c.m3u8\n").unwrap();
        let all = names(&[&at(""), &at("list.txt"), &at("notes.pdf")]).unwrap();
        let b = format!("{}b.mp4", at(""));
        assert_eq!(all[0], b);
        assert!(all[1].ends_with("inner/a.MKV"), "{all:?}");
        // A file that is named is scanned whatever its ending; one that is absent gets a row of its own.
        assert_eq!(all[2..], [at("absent.mp4"), "https://example.org/c.m3u8".into(), at("notes.pdf")]);
    }

    #[test]
    fn a_folder_without_video_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let error = names(&[path]).unwrap_err();
        assert!(error.to_string().contains("holds no video"), "{error}");
        assert_eq!(names(&["a.mp4", path, "b.mp4"]).unwrap(), ["a.mp4", path, "b.mp4"], "the others are judged");
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(names(&["rtsp://user:secret@cam.local/live@2"]).unwrap(), ["rtsp://cam.local/live@2"]);
        assert_eq!(names(&["http://example.org/@someone/clip.mp4"]).unwrap(), ["http://example.org/@someone/clip.mp4"]);
    }
}
