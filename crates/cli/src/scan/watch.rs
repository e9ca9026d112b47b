//! A folder into which others put videos.

use std::{
    ffi::OsString,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use inotify::{Inotify, WatchMask};

use super::inputs::{Input, Source};
use crate::{clips, stop};

/// How often a waiting command looks whether it was told to stop, in milliseconds.
const POLL: i32 = 200;

/// Hands what is in `folder`, and then whatever is put there, to `scan`, until the user asks to stop.
///
/// # Errors
/// [`stop::Stopped`]; an error of `scan`; or if the folder cannot be watched, or goes.
pub fn folder(folder: &Path, scan: &mut dyn FnMut(Vec<Input>) -> Result<()>) -> Result<()> {
    let cause = || format!("cannot watch the folder {}", folder.display());
    let mut inotify = Inotify::init().with_context(cause)?;
    // Before the first look, so that nothing is missed between.
    let mask = WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::DELETE_SELF | WatchMask::ONLYDIR;
    inotify.watches().add(folder, mask).with_context(cause)?;
    let mut files = Vec::new();
    clips::collect(folder, &mut |path| files.push(input(path)))?;
    if !files.is_empty() {
        scan(files)?;
    }
    eprintln!("watching {}; Ctrl-C ends", folder.display());
    let mut buffer = [0; 4096];
    loop {
        stop::check()?;
        if !readable(inotify.as_fd().as_raw_fd()) {
            continue;
        }
        let mut files: Vec<Input> = Vec::new();
        for event in inotify.read_events(&mut buffer).with_context(cause)? {
            if event.mask.contains(inotify::EventMask::IGNORED) {
                bail!("the folder {} is gone", folder.display());
            }
            let path = event.name.map(|name: &std::ffi::OsStr| folder.join(OsString::from(name)));
            if let Some(path) = path.filter(|path| clips::is_video(path))
                && !files.iter().any(|known| known.source.file() == Some(&path))
            {
                files.push(input(&path));
            }
        }
        if !files.is_empty() {
            scan(files)?;
        }
    }
}

fn input(path: &Path) -> Input {
    Input { name: path.display().to_string(), source: Source::File(PathBuf::from(path)) }
}

fn readable(file: i32) -> bool {
    let mut wanted = libc::pollfd { fd: file, events: libc::POLLIN, revents: 0 };
    // SAFETY: one descriptor that is open for as long as the call lasts.
    unsafe { libc::poll(&mut wanted, 1, POLL) > 0 }
}
