//! Small services of the operating system.

use std::{ffi::CString, fs, io::Write, mem::MaybeUninit, os::unix::ffi::OsStrExt, path::Path};

use anyhow::{Context, Result, bail};

/// The program that runs, also after another build has taken its place on the disk: hours of work must not end by that.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// Writes a file whole or not at all: under another name first, then renamed.
///
/// # Errors
/// If the folder cannot be written to.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_file_name(format!(".{}.partial", path.file_name().unwrap_or_default().to_string_lossy()));
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // On a full disk half a file would keep room from others.
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Keeps a second `deepfake COMMAND` out of a folder for as long as the file lives.
///
/// # Errors
/// If one is at work in there, or the folder cannot be written to; `option` is what chooses the folder.
pub fn lock(folder: &Path, command: &str, option: &str) -> Result<fs::File> {
    let path = folder.join(".lock");
    let file = fs::File::create(&path).with_context(|| format!("cannot write into {}", folder.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!(
            "another `deepfake {command}` is writing into {}; wait for it, or choose another {option}",
            folder.display()
        ),
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Prints to stdout. A reader that has gone (`deepfake … | head`) is no fault.
pub fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Bytes that may be written to the file system that `folder` is on.
///
/// # Errors
/// If the folder does not exist.
pub fn free_space(folder: &Path) -> Result<u64> {
    let path = CString::new(folder.as_os_str().as_bytes()).context("a path holds a zero byte")?;
    let mut facts = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a C string and `facts` is large enough; it is read only after success.
    let facts = unsafe {
        if libc::statvfs(path.as_ptr(), facts.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("cannot ask how much room {} has", folder.display()));
        }
        facts.assume_init()
    };
    // Both are u32 on some systems.
    #[allow(clippy::useless_conversion)]
    Ok(u64::from(facts.f_bavail) * u64::from(facts.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write(&folder.path().join("no/such.csv"), b"").unwrap_err();
        assert!(error.to_string().contains("no/such.csv"));
    }

    #[test]
    fn a_disk_has_some_room_and_a_missing_folder_is_an_error() {
        assert!(free_space(Path::new("/")).unwrap() > 0);
        assert!(free_space(Path::new("/no/such/folder")).is_err());
    }
}
