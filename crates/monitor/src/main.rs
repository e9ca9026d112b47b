//! The command `deepfake-monitor`.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use deepfake_monitor::store::Role;

/// Watches many feeds round the clock for deepfakes, and says when it was not watching.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Config {
    /// The configuration; files in conf.d beside it are read too.
    #[arg(long, global = true, default_value = "monitor.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Watch, and serve the web page. SIGHUP loads the configuration anew.
    Run {
        #[command(flatten)]
        config: Config,
        /// Print a link that logs in once.
        #[arg(long)]
        login_link: bool,
        /// Log as JSON, a line for each entry.
        #[arg(long)]
        log_json: bool,
    },
    /// Check the configuration and try each source.
    Check {
        #[command(flatten)]
        config: Config,
        /// Check the files only.
        #[arg(long)]
        no_sources: bool,
        /// How many seconds to wait for the first picture.
        #[arg(long, default_value_t = 20)]
        wait: u64,
    },
    /// Ask the running program whether it does its work: exit 0 if so.
    Health {
        #[command(flatten)]
        config: Config,
    },
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Add, list and remove those who may log in.
    User {
        #[command(flatten)]
        config: Config,
        #[command(subcommand)]
        what: User,
    },
    /// Add, list and remove tokens of programs that use the API.
    Token {
        #[command(flatten)]
        config: Config,
        #[command(subcommand)]
        what: Token,
    },
    /// Compare the evidence on the disk with the database: exit 1 if they differ.
    Fsck {
        #[command(flatten)]
        config: Config,
        /// Delete what belongs to no incident, unless that is more than half of all.
        #[arg(long)]
        repair: bool,
    },
    /// Send an event to a sink, to see whether it arrives.
    Sink {
        #[command(flatten)]
        config: Config,
        #[command(subcommand)]
        what: Sink,
    },
    /// Delete what is older than the configuration says.
    Retention {
        #[command(flatten)]
        config: Config,
        /// Only say what would be deleted.
        #[arg(long)]
        dry_run: bool,
    },
    /// The process that decodes and analyses; `run` starts it.
    #[cfg(feature = "worker")]
    #[command(hide = true)]
    Worker,
    /// Serve video files in a loop on loopback, each at the next port, as feeds to try the monitor
    /// on.
    #[cfg(feature = "worker")]
    #[command(hide = true)]
    SampleFeeds {
        #[arg(long, default_value_t = 7001)]
        port: u16,
        files: Vec<PathBuf>,
    },
}

#[derive(Subcommand)]
enum User {
    /// Add a user, or change password and role. The password is read from standard input.
    Add {
        name: String,
        #[arg(long, value_enum, default_value = "viewer")]
        role: Role,
    },
    /// Remove a user and end the user's sessions.
    Remove {
        name: String,
    },
    List,
}

#[derive(Subcommand)]
enum Token {
    /// Make a token, or another one in place of it; it is printed this once.
    Add {
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value = "viewer")]
        role: Role,
    },
    Remove {
        name: String,
    },
    List,
}

#[derive(Subcommand)]
enum Sink {
    /// Send a made-up event.
    Test { name: String },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run { config, login_link, log_json } => commands::run(&config.config, login_link, log_json),
        Command::Check { config, no_sources, wait } => commands::check(&config.config, !no_sources, wait),
        Command::Health { config } => commands::health(&config.config),
        Command::Schema => commands::schema(),
        Command::User { config, what } => match what {
            User::Add { name, role } => commands::add_user(&config.config, &name, role),
            User::Remove { name } => commands::remove_user(&config.config, &name),
            User::List => commands::list_users(&config.config),
        },
        Command::Token { config, what } => match what {
            Token::Add { name, role } => commands::add_token(&config.config, &name, role),
            Token::Remove { name } => commands::remove_token(&config.config, &name),
            Token::List => commands::list_tokens(&config.config),
        },
        Command::Fsck { config, repair } => commands::fsck(&config.config, repair),
        Command::Sink { config, what: Sink::Test { name } } => commands::test_sink(&config.config, &name),
        Command::Retention { config, dry_run } => commands::retain(&config.config, dry_run),
        #[cfg(feature = "worker")]
        Command::Worker => deepfake_monitor::worker::run().map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "worker")]
        Command::SampleFeeds { port, files } => {
            deepfake_monitor::worker::samples::serve(port, &files).map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("deepfake-monitor: {error:#}");
        ExitCode::FAILURE
    })
}
