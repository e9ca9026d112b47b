//! The command `deepfake`: checks a machine, makes training crops, measures models.
//!
//! | module | what lives there |
//! |---|---|
//! | [`doctor`], [`scan`], [`extract`], [`evaluate`] | one subcommand each |
//! | [`clips`] | which labelled clips to work on |
//! | [`decode`], [`frames`], [`detector`] | a clip's frames, what the analysis sees of them, the element |
//! | [`pool`], [`journal`] | worker processes, and what they have done already |
//! | [`stop`], [`progress`], [`files`] | Ctrl-C, the progress bar, the disk |

mod clips;
mod decode;
mod detector;
mod doctor;
mod evaluate;
mod extract;
mod files;
mod frames;
mod journal;
mod pool;
mod progress;
mod scan;
mod stop;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

const AFTER: &str = "\
Examples:
  deepfake doctor
      Say what works on this machine, and how to fix what does not.
  deepfake scan --report report clip.mp4
      Say of each face in a video whether it looks fake; pages to look at go to report/.
  deepfake evaluate --clips clips.csv --split test --out results
      Score labelled clips through the real pipeline; figures and plots go to results/.
  deepfake extract --clips clips.csv --split train --size 192 --margin 1.6 --out crops
      Cut the faces out of clips, for training.

`deepfake COMMAND --help` tells all about one command. RUST_LOG=debug shows what libraries log, GST_DEBUG=3 what
GStreamer logs.";

/// Tells, live, whether a face on a video feed is real: the tools around the GStreamer element deepfakedetect
#[derive(Parser)]
#[command(name = "deepfake", version, after_long_help = AFTER, after_help = AFTER, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check this machine: GStreamer, plugin, ONNX Runtime, devices, models; says what to do about each fault
    Doctor(doctor::Args),
    /// Say of each face in videos, of which nothing is known, whether it looks fake: a table, JSON or pages
    Scan(scan::Args),
    /// Cut face crops out of labelled clips, by the code that runs live, for training
    Extract(extract::Args),
    /// Score labelled clips through the real pipeline: figures, plots and a score per clip
    Evaluate(evaluate::Args),
    /// Work for another `deepfake` process
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) if error.is::<stop::Stopped>() => {
            eprintln!("deepfake: {error}");
            ExitCode::from(stop::EXIT_CODE)
        }
        Err(error) => {
            eprintln!("deepfake: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    stop::install()?;
    gst::init().context("GStreamer does not start; install libgstreamer1.0-0 and gstreamer1.0-plugins-base")?;
    if let Command::Doctor(args) = &command {
        // It looks first whether GStreamer finds the plugin by itself.
        return doctor::run(args);
    }
    gstdeepfake::plugin_register_static().context("the plugin cannot be registered")?;
    match command {
        Command::Doctor(_) => unreachable!("dealt with above"),
        Command::Scan(args) => return scan::run(args),
        Command::Extract(args) => extract::run(args)?,
        Command::Evaluate(args) => evaluate::run(args)?,
        Command::Worker => pool::worker()?,
    }
    Ok(ExitCode::SUCCESS)
}
