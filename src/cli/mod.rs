//! The commands.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

mod archive;
mod check;
mod demo;
mod own_files;
mod pid_file;
mod progress;
mod reload;
mod run;
mod stop;
mod store;
mod upgrade;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use rustix::fs::Mode;

/// A gateway for OpenAI-compatible image APIs: image URLs in requests become inline base64 on the way up, base64
/// pictures in answers become short, stable URLs on the way down, and every picture is kept.
#[derive(Debug, Parser)]
#[command(name = "picgate", version, about, long_about = None)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    ///
    /// Signals: HUP reads the configuration file again (or keeps the old one and says why), TERM stops gracefully (requests in flight are answered, within grace_period_seconds plus
    /// graceful_shutdown_timeout_seconds), INT stops at once, QUIT hands the listening sockets over to a process started
    /// with --upgrade, and stops once that one serves (without one, or if it fails, nothing changes).
    ///
    /// Exit code: 0 stopped by a signal, 1 it could not start or a part of it died, 2 the configuration is wrong.
    Run {
        /// The configuration file (YAML).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Take the listening sockets over from a running process, which must be sent QUIT within a minute. `picgate
        /// upgrade` does both.
        #[arg(short, long)]
        upgrade: bool,
        /// For `picgate upgrade`: tell it on stdout how far this is.
        #[arg(long, hide = true, requires = "upgrade")]
        report: bool,
    },
    /// Put another process in the place of the running one, without a closed port: for a new binary or configuration.
    ///
    /// Checks the configuration, starts a process of this binary, waits until it is ready, lets the running one hand its
    /// sockets over, and reports once the new one serves. If anything fails, the running one goes on as before. The running
    /// one is found by `pid_file`; run this as its user, and in its working directory. The new process logs to where the old
    /// one logs.
    ///
    /// Exit code: 0 the new process serves, 1 it does not, 2 the configuration is wrong.
    Upgrade {
        /// The configuration file (YAML).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration file: every mistake at once, exit code 2 if there is one.
    ///
    /// Certificates, keys and other files that it names are read, too. Nothing is changed, and a gateway may be running.
    Check {
        /// The configuration file (YAML).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// The archive: an S3-compatible bucket.
    #[command(subcommand)]
    Archive(archive::Archive),
    /// The pictures under data_dir: check and mend them, build their index anew.
    #[command(subcommand)]
    Store(store::Store),
    /// Try it out: the gateway and a demo upstream that draws pictures, with nothing to configure.
    Demo(demo::Options),
    /// Run only the demo upstream: an OpenAI-shaped API that draws pictures from prompts.
    #[command(hide = true)]
    DemoUpstream {
        /// Port on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// Do not look into requests, so that measurements are not of this server.
        #[arg(long)]
        no_inspect: bool,
    },
}

impl Cli {
    /// Carries the command out.
    pub fn run(self) -> ExitCode {
        // Files that libraries make, too, are for our own user only: the index, a database.
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let result = match self.command {
            Command::Run { config, upgrade: false, .. } => run::run(&config, run::Start::Fresh { metrics: None }),
            Command::Run { config, upgrade: true, report } => run::run(&config, run::Start::Upgrade { report }),
            Command::Upgrade { config } => upgrade::upgrade(&config),
            Command::Check { config } => check::check(&config),
            Command::Archive(archive) => archive.run(),
            Command::Store(store) => store.run(),
            Command::Demo(options) => demo::demo(&options),
            Command::DemoUpstream { port, no_inspect } => demo::upstream(port, no_inspect),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("{}", failure.message);
                ExitCode::from(failure.code)
            }
        }
    }
}

/// Why a command ends without success.
#[derive(Debug)]
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Something does not work: exit code 1.
    fn broken(message: impl std::fmt::Display) -> Self {
        Self { message: format!("picgate: {message}"), code: 1 }
    }

    /// It could not be tried: exit code 2.
    fn not_run(message: impl std::fmt::Display) -> Self {
        Self { message: format!("picgate: {message}"), code: 2 }
    }

    /// The configuration is wrong: exit code 2.
    fn config(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), code: 2 }
    }
}
