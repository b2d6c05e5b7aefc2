//! Enters: `qantra-ebpf`'s sources. Leaves: the eBPF object that the daemon loads, the same for x86-64 and arm64. It must
//! never need root, nor leave an older object in place of one that does not build.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{process, setup, workspace};

/// Builds the eBPF object; with `log` the one that logs each packet (`qantra run --bpf-log`).
///
/// # Errors
/// When the eBPF toolchain is missing or the build fails.
pub fn build_object(log: bool) -> Result<PathBuf> {
    let name = if log { "qantra-log.bpf.o" } else { "qantra.bpf.o" };
    let mut cargo = setup::bpf_cargo()?;
    for_kernel(cargo.args(["build", "--bin", "qantra-ebpf"]), log);
    process::quiet(&format!("building {name}"), &mut cargo)?;
    let built = target_dir().join("bpfel-unknown-none/release/qantra-ebpf");
    let folder = workspace::target_dir().join("bpf");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // Renamed into place, so that a daemon that starts meanwhile reads the old one or the new one.
    let partial = folder.join(format!("{name}.new"));
    fs::copy(&built, &partial).with_context(|| format!("copying {}", built.display()))?;
    let object = folder.join(name);
    fs::rename(&partial, &object).with_context(|| format!("renaming {}", partial.display()))?;
    Ok(object)
}

/// `cargo clippy` of the kernel half, with warnings denied, by the toolchain that builds it. Returns whether that
/// toolchain has clippy: Debian's may not.
///
/// # Errors
/// When the eBPF toolchain is missing or a lint fires.
pub fn clippy() -> Result<bool> {
    let Some(mut clippy) = setup::bpf_clippy()? else { return Ok(false) };
    for_kernel(&mut clippy, true);
    process::run(clippy.args(["--quiet", "--", "--deny", "warnings"]))?;
    Ok(true)
}

/// Adds what every cargo command on the kernel half needs.
fn for_kernel(cargo: &mut Command, log: bool) {
    cargo
        .args(["--package", "qantra-ebpf", "--release", "-Z", "build-std=core", "--target", "bpfel-unknown-none"])
        .arg("--target-dir")
        .arg(target_dir())
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
}

fn target_dir() -> PathBuf {
    workspace::target_dir().join("bpf-build")
}
