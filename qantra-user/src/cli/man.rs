//! `qantra man`: the manual pages.

use std::path::PathBuf;

use anyhow::Context as _;
use clap_mangen::Man;

use super::{error::CliError, output::Output};

/// Print the manual page, or write one for each command into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra man | man -l -
  qantra man /usr/local/share/man/man1")]
pub(super) struct Args {
    /// The folder; it must be there
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args, command: clap::Command, output: &Output) -> Result<(), CliError> {
    if let Some(dir) = &args.dir {
        return Ok(clap_mangen::generate_to(command, dir)
            .with_context(|| format!("cannot write manual pages to {}", dir.display()))?);
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    output.text(&String::from_utf8_lossy(&page))
}
