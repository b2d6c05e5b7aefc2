//! `cargo xtask test`. Comes with its stage.

use anyhow::{Result, bail};

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `cargo xtask test`.
///
/// # Errors
/// Always, until it is there.
pub fn run(_args: &Args) -> Result<()> {
    bail!("`cargo xtask test` is not in this tree yet")
}
