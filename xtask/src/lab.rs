//! Namespaces of the lab. Comes with its stage.

use anyhow::{Result, bail};

/// Options of `lab`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `cargo xtask lab`.
///
/// # Errors
/// Always, until it is there.
pub fn run(_args: &Args) -> Result<()> {
    bail!("`cargo xtask lab` is not in this tree yet")
}
