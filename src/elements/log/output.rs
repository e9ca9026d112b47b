//! Where the lines go: a file that is rotated, a FIFO, a device, or a stream of the process.
//!
//! Only the writer's thread opens and writes. Nothing here waits longer than [`POLL`] for a reader.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for a reader of a pipe before looking whether the element wants to stop.
const POLL: Duration = Duration::from_millis(50);
/// A pipe that can be written to takes this much without blocking (`PIPE_BUF`).
const PIPE_BYTES: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Stdout,
    Stderr,
    Path(PathBuf),
}

/// Why a location is refused.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    #[error("no location is set; set it to a file, a FIFO, or - for the standard output")]
    Missing,
    #[error("{0} is a folder; set the location to a file in it")]
    Folder(PathBuf),
    #[error("{0} is neither a file, nor a FIFO, nor a character device; lines cannot be written to it")]
    Kind(PathBuf),
}

impl Location {
    /// Takes the words `-`, `stdout` and `stderr`; anything else is a path, used verbatim.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let path = match text {
            "" => return Err(LocationError::Missing),
            "-" | "stdout" => return Ok(Self::Stdout),
            "stderr" => return Ok(Self::Stderr),
            path => PathBuf::from(path),
        };
        // `x/` can only ever be a folder. What does not exist yet, or cannot be looked at now, is
        // left to the writer.
        if text.ends_with('/') {
            return Err(LocationError::Folder(path));
        }
        match fs::metadata(&path).map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_dir() => Err(LocationError::Folder(path)),
            Ok(kind) if kind.is_file() || kind.is_fifo() || kind.is_char_device() => Ok(Self::Path(path)),
            Ok(_) => Err(LocationError::Kind(path)),
            Err(_) => Ok(Self::Path(path)),
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("the standard output"),
            Self::Stderr => f.write_str("the standard error output"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

pub struct Output {
    location: Location,
    /// Keep what the file holds. True from the first opening on: opening again after trouble must
    /// lose nothing.
    append: bool,
    /// Length in bytes at which a file is rotated; 0 for never.
    max_size: u64,
    /// Old files to keep.
    max_files: u32,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// `None` for what has no length: pipes, devices.
    size: Option<u64>,
    /// The file ends within a line, that of a process which died.
    torn: bool,
    /// Length at which to rotate next. Beyond `max_size` after a rotation failed.
    limit: u64,
}

/// What happened on the way to a written line.
#[derive(Debug, Default)]
pub struct Written {
    /// The line is the first one of a new file; the error if it should have been.
    pub rotated: Option<io::Result<()>>,
}

impl Output {
    pub fn new(location: Location, append: bool, max_size: u64, max_files: u32) -> Self {
        Self { location, append, max_size, max_files, open: None }
    }

    /// Opens a file before its first line, so that one that cannot be opened is known at once. A
    /// FIFO is left to its first line: its reader may come later.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn try_open(&mut self) -> io::Result<()> {
        let is_fifo = match &self.location {
            Location::Path(path) => fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()),
            _ => false,
        };
        if !is_fifo && self.open.is_none() {
            self.open = Some(self.open()?);
        }
        Ok(())
    }

    /// Writes a line, which ends with its line break, opening and rotating as needed.
    ///
    /// # Errors
    /// If it cannot be written; then nothing of it is in the file. `TimedOut` if the reader of a
    /// pipe slept until `give_up` said so.
    pub fn write(&mut self, line: &str, give_up: impl Fn() -> bool) -> io::Result<Written> {
        let mut written = Written::default();
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let length = line.len() as u64;
        if open.size.is_some_and(|size| size > 0 && open.limit > 0 && size + length > open.limit) {
            let rotated = self.rotate(&open.file);
            if rotated.is_ok() {
                open = self.open()?;
            } else {
                // A log that is too long is better than none. Tried again after as much again.
                open.limit = open.size.unwrap_or(0) + self.max_size;
            }
            written.rotated = Some(rotated);
        }
        // On an error the file stays closed and is opened anew for the next try.
        match open.size {
            Some(_) => open.append(line)?,
            None => open.stream(line.as_bytes(), give_up)?,
        }
        self.open = Some(open);
        Ok(written)
    }

    /// Brings what was written to the disk.
    pub fn sync(&self) -> io::Result<()> {
        match &self.open {
            Some(Open { file, size: Some(_), .. }) => file.sync_data(),
            _ => Ok(()),
        }
    }

    fn open(&mut self) -> io::Result<Open> {
        let file = match &self.location {
            // Copies, which may be closed without closing the process' own.
            Location::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
            Location::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
            Location::Path(path) => open_path(path, self.append)?,
        };
        let metadata = file.metadata()?;
        let size = metadata.is_file().then_some(metadata.len());
        let torn = match (&self.location, size) {
            (Location::Path(path), Some(1..)) => ends_within_line(path),
            _ => false,
        };
        self.append = true;
        Ok(Open { file, size, torn, limit: self.max_size })
    }

    /// `log.1` becomes `log.2` and so on, `log` becomes `log.1`.
    fn rotate(&self, current: &File) -> io::Result<()> {
        let Location::Path(path) = &self.location else { return Ok(()) };
        if self.max_files == 0 {
            return current.set_len(0);
        }
        current.sync_data()?;
        for number in (1..self.max_files).rev() {
            match fs::rename(numbered(path, number), numbered(path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(path, numbered(path, 1))
    }
}

impl Open {
    /// Writes to a file; what an error leaves behind of the line is taken back.
    fn append(&mut self, line: &str) -> io::Result<()> {
        let torn;
        let text = if self.torn {
            torn = format!("\n{line}");
            &torn
        } else {
            line
        };
        let size = self.size.unwrap_or(0);
        let mut done = 0;
        while done < text.len() {
            match self.file.write(&text.as_bytes()[done..]) {
                Ok(0) => return Err(self.take_back(size, done, io::ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.take_back(size, done, error)),
            }
        }
        self.torn = false;
        self.size = Some(size + text.len() as u64);
        Ok(())
    }

    fn take_back(&self, size: u64, done: usize, error: io::Error) -> io::Error {
        // Unless somebody else writes to the file too; then the half line is ended when it is
        // opened again.
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == size + done as u64) {
            let _ = self.file.set_len(size);
        }
        error
    }

    /// Writes to a pipe or device, waiting while its reader does not read.
    fn stream(&mut self, line: &[u8], give_up: impl Fn() -> bool) -> io::Result<()> {
        let mut done = 0;
        while done < line.len() {
            // Standard streams are shared with other processes and so cannot be made non-blocking:
            // ask first.
            if !can_write(&self.file, POLL)? {
                if give_up() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                continue;
            }
            let end = line.len().min(done + PIPE_BYTES);
            match self.file.write(&line[done..end]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted) => {}
                // Another process was faster.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {
                    if give_up() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn open_path(path: &Path, append: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    // A FIFO without a reader gives an error (ENXIO) instead of waiting for one.
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path)?;
    if !append && file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

/// False also where the file may be written but not read.
fn ends_within_line(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    last().is_ok_and(|byte| byte != b'\n')
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

fn can_write(file: &File, timeout: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd, which lives through the call, and the number one.
    match unsafe { libc::poll(&raw mut poll, 1, timeout.as_millis() as libc::c_int) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
        // POLLERR (no reader left) counts too: the write then says what is wrong.
        count => Ok(count > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(output: &mut Output, line: &str) {
        output.write(line, || false).unwrap();
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn files_are_rotated_before_they_grow_too_long_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut output = Output::new(Location::Path(path.clone()), true, 10, 2);
        for line in ["one1\n", "two2\n", "three\n", "a line longer than ten\n", "five\n"] {
            write(&mut output, line);
        }
        assert_eq!(text(&path), "five\n");
        assert_eq!(text(&numbered(&path, 1)), "a line longer than ten\n");
        assert_eq!(text(&numbered(&path, 2)), "three\n");
        assert!(!numbered(&path, 3).exists());
    }

    #[test]
    fn keeping_no_old_file_starts_the_file_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut output = Output::new(Location::Path(path.clone()), true, 6, 0);
        for line in ["one\n", "two\n", "six\n"] {
            write(&mut output, line);
        }
        assert_eq!(text(&path), "six\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_rotation_that_fails_leaves_the_file_growing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::create_dir_all(numbered(&path, 1).join("in the way")).unwrap();
        let mut output = Output::new(Location::Path(path.clone()), true, 6, 1);
        write(&mut output, "one\n");
        let written = output.write("two\n", || false).unwrap();
        assert!(written.rotated.is_some_and(|rotated| rotated.is_err()));
        assert!(output.write("3\n", || false).unwrap().rotated.is_none(), "not tried again at once");
        assert_eq!(text(&path), "one\ntwo\n3\n");
    }

    #[test]
    fn a_torn_last_line_is_ended_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "whole\nto").unwrap();
        write(&mut Output::new(Location::Path(path.clone()), true, 0, 0), "next\n");
        assert_eq!(text(&path), "whole\nto\nnext\n");
    }

    #[test]
    fn only_the_first_opening_empties_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old\n").unwrap();
        let mut output = Output::new(Location::Path(path.clone()), false, 0, 0);
        write(&mut output, "one\n");
        output.open = None;
        write(&mut output, "two\n");
        assert_eq!(text(&path), "one\ntwo\n");
    }

    #[test]
    fn a_sleeping_reader_is_given_up_on_and_a_long_line_comes_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut output = Output::new(Location::Path(path.clone()), true, 0, 0);
        let error = output.write("nobody reads\n", || true).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO));

        let long = format!("{}\n", "x".repeat(300_000));
        let reader = {
            // Opened for both, so that opening does not wait and the FIFO has a reader that sleeps.
            let both = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let error = output.write(&long, || true).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(both);
            std::thread::spawn(move || fs::read_to_string(path).unwrap())
        };
        // The reader's thread opens the FIFO when it comes to it.
        while output.write(&long, || false).is_err() {
            std::thread::yield_now();
        }
        drop(output);
        assert_eq!(reader.join().unwrap(), long);
    }

    #[test]
    fn locations_are_used_verbatim_and_folders_refused() {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        assert_eq!(Location::parse("-").unwrap(), Location::Stdout);
        assert_eq!(Location::parse("./stdout").unwrap(), Location::Path("./stdout".into()));
        let odd = name("$HOME %05d ~ `id`.jsonl");
        assert_eq!(Location::parse(&odd).unwrap(), Location::Path(odd.into()));
        assert!(matches!(Location::parse(""), Err(LocationError::Missing)));
        assert!(matches!(Location::parse(&name("")), Err(LocationError::Folder(_))));
        assert!(matches!(Location::parse(folder.path().to_str().unwrap()), Err(LocationError::Folder(_))));
        let socket = name("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(Location::parse(&socket), Err(LocationError::Kind(_))));
    }
}
