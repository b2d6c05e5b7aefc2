//! Training of the shipped models. Comes with its stage.

use anyhow::{Result, bail};

/// Options of `model`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `cargo xtask model`.
///
/// # Errors
/// Always, until it is there.
pub fn run(_args: &Args) -> Result<()> {
    bail!("`cargo xtask model` is not in this tree yet")
}
