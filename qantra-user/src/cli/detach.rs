//! `qantra detach`: take everything out of the kernel that a daemon left there.

use std::path::Path;

use anyhow::Context as _;

use super::{
    CONFIG_PATH,
    daemon::Daemon,
    error::CliError,
    output::{Format, Output},
};
use crate::{
    api::Status,
    config::{self, KernelConfig},
    nft, xdp,
};

/// End every ban: detach the programs, and remove their maps and the nftables table
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  systemctl stop qantra && qantra detach

Bans go on when the daemon has ended; this is what ends them. The daemon must not run. Its decisions stay in the store:
the next start puts those that have not ended into force again.")]
pub(super) struct Args {}

/// What was removed.
#[derive(Debug, serde::Serialize)]
struct Removed {
    /// Names of pins: maps, and links as `INTERFACE%HOOK`.
    pins: Vec<String>,
    /// Whether there was an nftables table.
    nftables: bool,
}

pub(super) fn run(_args: &Args, path: &Path, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    if daemon.get::<Status>("/v1/status").is_ok() {
        return Err(CliError::Failed(anyhow::anyhow!("the daemon runs: stop it first, then detach")));
    }
    let pin_dir = match config::load(path) {
        Ok(config) => config.kernel.pin_dir,
        Err(_) if path == Path::new(CONFIG_PATH) => KernelConfig::default().pin_dir,
        Err(errors) => return Err(errors.into()),
    };
    let pins = xdp::detach(&pin_dir).context("detaching programs")?;
    let nftables = nft::detach().context("removing the nftables table")?;
    let removed = Removed { pins, nftables };
    if output.format == Format::Json {
        return output.json(&removed);
    }
    let table = if removed.nftables { " and the nftables table" } else { "" };
    match (removed.pins.len(), removed.nftables) {
        (0, false) => output.text("there was nothing to detach"),
        (count, _) => output.text(&format!("removed {count} pins{table}")),
    }
}
