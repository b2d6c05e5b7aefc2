//! `qantra run`: the daemon, in the foreground.

use std::{io::IsTerminal as _, path::Path};

use tracing_subscriber::EnvFilter;

use super::error::CliError;
use crate::{app, config};

/// Be the daemon, in the foreground
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra run
  qantra -c ./qantra.toml run

It logs to standard error, reloads its configuration on SIGHUP, and ends on SIGINT and SIGTERM. Bans go on in the kernel
after it has ended.")]
pub(super) struct Args {
    /// Load the kernel program that logs each packet: for finding mistakes, not for daily use
    #[arg(long)]
    bpf_log: bool,
}

pub(super) fn run(args: &Args, path: &Path) -> Result<(), CliError> {
    let config = config::load(path)?;
    let filter = EnvFilter::try_new(&config.daemon.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // The journal stamps each line itself.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init()
    } else {
        log.init()
    }
    Ok(app::run(config, path, args.bpf_log)?)
}
