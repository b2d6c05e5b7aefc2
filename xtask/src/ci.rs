//! `cargo xtask ci`. Comes with its stage.

use anyhow::{Result, bail};

/// Options of `ci`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `cargo xtask ci`.
///
/// # Errors
/// Always, until it is there.
pub fn run(_args: &Args) -> Result<()> {
    bail!("`cargo xtask ci` is not in this tree yet")
}
