//! Detection quality on labelled corpora. Comes with its stage.

use anyhow::{Result, bail};

/// Options of `eval`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `cargo xtask eval`.
///
/// # Errors
/// Always, until it is there.
pub fn run(_args: &Args) -> Result<()> {
    bail!("`cargo xtask eval` is not in this tree yet")
}
