//! Enters: `qantra-ebpf`'s sources. Leaves: the eBPF object that the daemon loads. It must never need root.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// Builds the eBPF object; with `log` the one that logs each packet (`qantra run --bpf-log`).
///
/// # Errors
/// When the eBPF toolchain is missing or the build fails.
pub fn build_object(_log: bool) -> Result<PathBuf> {
    bail!("the eBPF object's build is not in this tree yet")
}
