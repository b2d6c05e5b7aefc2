//! `cargo xtask tidy`. Comes with its stage.

use anyhow::{Result, bail};

/// Options of `tidy`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `cargo xtask tidy`.
///
/// # Errors
/// Always, until it is there.
pub fn run(_args: &Args) -> Result<()> {
    bail!("`cargo xtask tidy` is not in this tree yet")
}
