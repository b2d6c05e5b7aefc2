//! Enters: `qantra-ebpf`'s sources. Leaves: the eBPF object that the daemon loads, the same for x86-64 and arm64. It must
//! never need root, nor leave an older object in place of one that does not build.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{process, setup, workspace};

/// Builds the eBPF object; with `log` the one that logs each packet (`qantra run --bpf-log`).
///
/// # Errors
/// When the eBPF toolchain is missing or the build fails.
pub fn build_object(log: bool) -> Result<PathBuf> {
    let target_dir = workspace::target_dir().join("bpf-build");
    let name = if log { "qantra-log.bpf.o" } else { "qantra.bpf.o" };
    let mut cargo = setup::bpf_cargo()?;
    cargo
        .current_dir(workspace::root())
        .args(["build", "--package", "qantra-ebpf", "--bin", "qantra-ebpf", "--release"])
        .args(["-Z", "build-std=core", "--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&target_dir)
        // BTF is made from debug information, which the workspace's release profile strips.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
        // aya-ebpf wants a machine for `pt_regs`, which no program of ours reads: one object serves both.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "--cfg=bpf_target_arch=\"x86_64\"\u{1f}-Cdebuginfo=2\u{1f}-Clinker=bpf-linker\u{1f}-Clink-arg=--btf",
        );
    if log {
        cargo.args(["--features", "bpf-log"]);
    }
    process::quiet(&format!("building {name}"), &mut cargo)?;
    let built = target_dir.join("bpfel-unknown-none/release/qantra-ebpf");
    let folder = workspace::target_dir().join("bpf");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // Renamed into place, so that a daemon that starts meanwhile reads the old one or the new one.
    let partial = folder.join(format!("{name}.new"));
    fs::copy(&built, &partial).with_context(|| format!("copying {}", built.display()))?;
    let object = folder.join(name);
    fs::rename(&partial, &object).with_context(|| format!("renaming {}", partial.display()))?;
    Ok(object)
}
