//! The program, and a feed to point it at.

use std::path::PathBuf;
use std::process::Command;

use gst::prelude::*;

/// How many times slower than usual a busy machine may be.
pub fn patience() -> u64 {
    std::env::var("DEEPFAKE_MONITOR_TEST_PATIENCE").ok().and_then(|times| times.parse().ok()).unwrap_or(6)
}

pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_deepfake-monitor"))
}

/// Some seconds of moving picture, made once for all tests of a process.
pub fn clip() -> PathBuf {
    static CLIP: std::sync::LazyLock<(tempfile::TempDir, PathBuf)> = std::sync::LazyLock::new(|| {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.mp4");
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc num-buffers=100 pattern=ball ! video/x-raw,width=320,height=180,framerate=25/1 \
             ! x264enc speed-preset=ultrafast tune=zerolatency key-int-max=12 ! h264parse ! mp4mux ! filesink location={}",
            path.display()
        ));
        let pipeline = pipeline.unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let end = pipeline
            .bus()
            .unwrap()
            .timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
        assert_eq!(end.map(|end| end.type_()), Some(gst::MessageType::Eos));
        pipeline.set_state(gst::State::Null).unwrap();
        (folder, path)
    });
    CLIP.1.clone()
}
