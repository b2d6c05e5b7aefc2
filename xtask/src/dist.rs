//! `cargo xtask dist`. Comes with its stage.

use anyhow::{Result, bail};

/// Options of `dist`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `cargo xtask dist`.
///
/// # Errors
/// Always, until it is there.
pub fn run(_args: &Args) -> Result<()> {
    bail!("`cargo xtask dist` is not in this tree yet")
}
