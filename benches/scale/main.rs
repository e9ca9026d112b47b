//! What many channels, many faces, large frames and other models cost.
//!
//!     cargo bench --bench scale                        both parts, l40 and cnn-lstm
//!     cargo bench --bench scale -- channels            many channels in one process, as fast as cameras give frames
//!     cargo bench --bench scale -- growth              one frame, by faces, resolution and model
//!
//! Adds its parts to `out/bench.md` and draws `out/bench-growth.svg`. `DEEPFAKE_BENCH_SECONDS` is how long each number of channels
//! is watched (10).

mod channels;
#[path = "../common/mod.rs"]
mod common;
mod growth;

use std::process::ExitCode;

use deepfake_engine::inference::{InferenceError, ModelPackage, runtime};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    let wanted = |part: &str| {
        let mut named = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
        named.peek().is_none() || named.any(|argument| argument == part)
    };
    gst::init().expect("GStreamer starts");
    gstdeepfake::plugin_register_static().expect("the plugin registers");
    opencv::core::set_num_threads(1).expect("OpenCV can do without threads");
    let installed = runtime::get().map(|_| ()).and_then(|()| ModelPackage::find("l40").map(|_| ()));
    if let Err(error) = installed {
        let is_missing = matches!(error, InferenceError::NotInstalled { .. } | InferenceError::RuntimeNotFound { .. });
        eprintln!("{}{error}", if measuring { "" } else { "SKIPPED: " });
        return ExitCode::from(u8::from(measuring || !is_missing));
    }
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        if wanted("channels") {
            channels::run(measuring)?;
        }
        if wanted("growth") {
            growth::run(measuring)?;
        }
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
