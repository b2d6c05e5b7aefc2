//! The main job on real traffic. Comes with its stage.

use anyhow::{Result, bail};

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// `cargo xtask demo`.
///
/// # Errors
/// Always, until it is there.
pub fn run(_args: &Args) -> Result<()> {
    bail!("`cargo xtask demo` is not in this tree yet")
}
