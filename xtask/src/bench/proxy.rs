//! `bench proxy`. Comes with its stage.

use anyhow::{Result, bail};

use super::Report;

/// Measures.
///
/// # Errors
/// Always, until it is there.
pub(super) fn run() -> Result<Report> {
    bail!("`cargo xtask bench proxy` is not in this tree yet")
}
