//! Results of files as they come, so that a stopped run need not do them again.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

/// One JSON line a file, after a line that says what all results depend on.
pub struct Journal<T> {
    path: PathBuf,
    file: File,
    known: BTreeMap<String, (u64, T)>,
}

impl<T: Serialize + DeserializeOwned + Clone> Journal<T> {
    /// Takes up the journal of a run with the same fingerprint, or starts a new one.
    pub fn open(path: PathBuf, fingerprint: &str) -> Result<Self> {
        let mut known = BTreeMap::new();
        if let Ok(old) = File::open(&path) {
            let mut lines = BufReader::new(old).lines().map_while(Result::ok);
            if lines.next().as_deref() == Some(fingerprint) {
                // The last line may be cut off.
                known.extend(lines.map_while(|line| serde_json::from_str::<(String, (u64, T))>(&line).ok()));
            }
        }
        let mut text = format!("{fingerprint}\n");
        for entry in &known {
            text += &(serde_json::to_string(&entry)? + "\n");
        }
        crate::files::write(&path, text.as_bytes())?;
        let file = File::options().append(true).open(&path);
        Ok(Self { file: file.with_context(|| format!("cannot write {}", path.display()))?, path, known })
    }

    /// What is known of the file `clip` under this name, if it is still as long.
    pub fn known(&self, name: &str, clip: &Path) -> Option<T> {
        let (bytes, result) = self.known.get(name)?;
        (size(clip) == *bytes).then(|| result.clone())
    }

    /// Everything that is known, by name.
    pub fn all(&self) -> impl Iterator<Item = (&String, &T)> {
        self.known.iter().map(|(name, (_, result))| (name, result))
    }

    pub fn add(&mut self, name: &str, clip: &Path, result: &T) -> Result<()> {
        let line = serde_json::to_string(&(name, (size(clip), result)))? + "\n";
        self.file.write_all(line.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.known.insert(name.to_owned(), (size(clip), result.clone()));
        Ok(())
    }

    pub fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_taken_up_only_by_the_same_run_and_the_same_clip() {
        let folder = tempfile::tempdir().unwrap();
        let (clip, path) = (folder.path().join("a.mp4"), folder.path().join("journal"));
        fs::write(&clip, "12345").unwrap();
        let result = 0.1 + 0.2;
        let open = |fingerprint| Journal::<f64>::open(path.clone(), fingerprint).unwrap();
        let mut journal = open("one");
        journal.add("a", &clip, &result).unwrap();
        journal.file.write_all(b"[\"b\",[5,0.").unwrap();

        let mut journal = open("one");
        assert_eq!(journal.known("a", &clip), Some(result));
        assert_eq!(journal.known("b", &clip), None);
        journal.add("b", &clip, &result).unwrap();
        let journal = open("one");
        assert_eq!(journal.known("b", &clip), Some(result));
        fs::write(&clip, "123456").unwrap();
        assert_eq!(journal.known("a", &clip), None, "another file under the same name");
        let journal = open("two");
        assert_eq!(journal.known("b", &clip), None);
        journal.remove().unwrap();
        assert!(!path.exists());
    }
}
