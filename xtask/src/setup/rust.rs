//! Enters: the Rust toolchains of this machine. Leaves: one that can build for the kernel, bpf-linker, cargo-deny, and
//! the standard library for other machines. It must never change the default toolchain.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{apt::Apt, debian};
use crate::{
    process,
    workspace::{self, Arch},
};

/// The version of bpf-linker that is known to work.
const BPF_LINKER: &str = "0.13.0";

/// The LLVM that bpf-linker is built with: rustc must not be newer, or its bitcode is not understood.
const LLVM: &str = "22";

/// The version of cargo-deny that is known to work with our `deny.toml`.
const CARGO_DENY: &str = "0.20.2";

/// The version of cargo-fuzz that is known to work.
const CARGO_FUZZ: &str = "0.13.2";

/// Debian's stand-in for a toolchain with Rust's own sources.
const DEBIAN_RUST: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A toolchain that can build Rust's core library for the kernel.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
}

/// A cargo that can build for the kernel with `-Z build-std=core` and bpf-linker; the caller adds the arguments.
///
/// # Errors
/// When there is none; [`ensure`](super::ensure) with [`Need::Build`](super::Need::Build) installs it.
pub fn bpf_cargo() -> Result<Command> {
    let toolchain = wanted_bpf_toolchain()?;
    bpf_command(&toolchain.cargo, &toolchain)
}

/// `cargo clippy` of the toolchain that builds for the kernel; `None` when it has no clippy.
///
/// # Errors
/// When there is no such toolchain.
pub fn bpf_clippy() -> Result<Option<Command>> {
    let toolchain = wanted_bpf_toolchain()?;
    let clippy = toolchain.cargo.with_file_name("cargo-clippy");
    if !clippy.is_file() {
        return Ok(None);
    }
    let mut command = bpf_command(&clippy, &toolchain)?;
    command.env("CARGO", &toolchain.cargo).arg("clippy");
    Ok(Some(command))
}

fn wanted_bpf_toolchain() -> Result<Toolchain> {
    bpf_toolchain().with_context(|| {
        format!("no Rust toolchain with rust-src and LLVM {LLVM} or older; `cargo xtask setup build` installs one")
    })
}

fn bpf_command(program: &Path, toolchain: &Toolchain) -> Result<Command> {
    let mut command = Command::new(program);
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([workspace::tools().join("bin")].into_iter().chain(env::split_paths(&path)))?;
    // What the cargo that runs us has set would point to its own toolchain and to the host's flags.
    for inherited in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"] {
        command.env_remove(inherited);
    }
    command.current_dir(workspace::root()).env("PATH", path).env("RUSTC", &toolchain.rustc).env("RUSTC_BOOTSTRAP", "1");
    Ok(command)
}

/// Makes sure that [`bpf_cargo`] finds a toolchain: what is there, then rustup, then Debian.
pub(super) fn ensure_bpf_toolchain() -> Result<bool> {
    if bpf_toolchain().is_some() {
        return Ok(false);
    }
    for toolchain in ["nightly", "stable"] {
        let here = process::succeeds(Command::new("rustc").arg(format!("+{toolchain}")).arg("-V"));
        if !here {
            continue;
        }
        eprintln!("setup: rust-src for rustup's {toolchain}");
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", "rust-src", "--toolchain", toolchain]);
        match process::quiet("rustup component add rust-src", &mut rustup) {
            Ok(()) if bpf_toolchain().is_some() => return Ok(true),
            Ok(()) => {
                eprintln!("setup: {toolchain} has a newer LLVM than {LLVM}, which bpf-linker does not understand")
            }
            Err(_) => eprintln!("setup: rustup cannot, so Debian's"),
        }
    }
    debian::install(&DEBIAN_RUST)?;
    if bpf_toolchain().is_none() {
        bail!("Debian's {} do not make a toolchain with rust-src and LLVM {LLVM}", DEBIAN_RUST.join(", "));
    }
    Ok(true)
}

/// Installs bpf-linker into the target folder when there is none of the right version.
pub(super) fn ensure_bpf_linker() -> Result<bool> {
    let tools = workspace::tools().join("bin/bpf-linker");
    let candidates = [Some(tools), process::which("bpf-linker")];
    let fits = |program: &PathBuf| is_version(program, "bpf-linker", BPF_LINKER);
    if candidates.iter().flatten().any(fits) {
        return Ok(false);
    }
    eprintln!("setup: bpf-linker {BPF_LINKER} (about a minute)");
    let llvm = format!("/usr/lib/llvm-{LLVM}");
    let mut install = cargo_install("bpf-linker", BPF_LINKER);
    install.args(["--no-default-features", "--features", &format!("llvm-{LLVM}")]);
    install.env(format!("LLVM_SYS_{LLVM}1_PREFIX"), &llvm).env("LLVM_PREFIX", &llvm);
    process::quiet("cargo install bpf-linker", &mut install)?;
    Ok(true)
}

/// Installs cargo-deny into the target folder when there is none.
pub(super) fn ensure_cargo_deny() -> Result<bool> {
    if cargo_deny().is_some() {
        return Ok(false);
    }
    eprintln!("setup: cargo-deny {CARGO_DENY} (some minutes)");
    process::quiet("cargo install cargo-deny", &mut cargo_install("cargo-deny", CARGO_DENY))?;
    Ok(true)
}

/// Where cargo-deny is.
#[must_use]
pub fn cargo_deny() -> Option<PathBuf> {
    let candidates = [Some(workspace::tools().join("bin/cargo-deny")), process::which("cargo-deny")];
    candidates.into_iter().flatten().find(|program| is_version(program, "cargo-deny", CARGO_DENY))
}

/// cargo-fuzz, installed into the target folder when there is none.
///
/// # Errors
/// When it cannot be installed.
pub fn cargo_fuzz() -> Result<PathBuf> {
    let own = workspace::tools().join("bin/cargo-fuzz");
    let candidates = [Some(own.clone()), process::which("cargo-fuzz")];
    if let Some(found) = candidates.into_iter().flatten().find(|program| is_version(program, "cargo-fuzz", CARGO_FUZZ))
    {
        return Ok(found);
    }
    eprintln!("setup: cargo-fuzz {CARGO_FUZZ} (about a minute)");
    process::quiet("cargo install cargo-fuzz", &mut cargo_install("cargo-fuzz", CARGO_FUZZ))?;
    Ok(own)
}

/// A cargo that can build for another machine: the active toolchain's, or Debian's.
///
/// # Errors
/// When neither has the standard library of that machine; [`ensure`](super::ensure) with
/// [`Need::Cross`](super::Need::Cross) installs it.
pub fn cross_cargo(arch: Arch) -> Result<Command> {
    if sysroot_of(Path::new("rustc")).is_some_and(|rust| has_target(&rust, arch)) {
        return Ok(process::cargo());
    }
    if !has_target(Path::new("/usr"), arch) {
        bail!("no Rust toolchain can build for {}; `cargo xtask setup cross` installs one", arch.triple());
    }
    let mut command = Command::new("/usr/bin/cargo");
    for inherited in ["RUSTUP_TOOLCHAIN", "CARGO"] {
        command.env_remove(inherited);
    }
    command.current_dir(workspace::root()).env("RUSTC", "/usr/bin/rustc");
    Ok(command)
}

/// Makes sure that [`cross_cargo`] finds a toolchain: what is there, then rustup, then Debian.
pub(super) fn ensure_target(arch: Arch) -> Result<bool> {
    let rust = sysroot_of(Path::new("rustc")).context("there is no rustc; install Rust by https://rustup.rs")?;
    if has_target(&rust, arch) || has_target(Path::new("/usr"), arch) {
        return Ok(false);
    }
    eprintln!("setup: Rust's standard library for {}", arch.triple());
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", arch.triple()]);
    if process::quiet("rustup target add", &mut rustup).is_ok() && has_target(&rust, arch) {
        return Ok(true);
    }
    eprintln!("setup: rustup cannot, so Debian's compiler and library");
    debian::install(&DEBIAN_RUST)?;
    let unpacked = Apt::new(arch, "rust", &["bookworm-security"])?.unpack(&["libstd-rust-web-dev"])?;
    // apt would not install a library of another architecture beside the one of this.
    let beside = Path::new("/usr/lib/rustlib");
    let library = unpacked.join("usr/lib/rustlib").join(arch.triple());
    process::quiet("copy it beside this machine's", debian::as_root("cp")?.arg("-r").arg(&library).arg(beside))?;
    if !has_target(Path::new("/usr"), arch) {
        bail!("Debian's libstd-rust-web-dev does not hold {}", arch.triple());
    }
    Ok(true)
}

/// Whether a toolchain has the standard library for a machine.
fn has_target(sysroot: &Path, arch: Arch) -> bool {
    sysroot.join("lib/rustlib").join(arch.triple()).join("lib").is_dir()
}

fn cargo_install(name: &str, version: &str) -> Command {
    let mut command = process::cargo();
    command.args(["install", "--locked", "--version", version, "--root"]).arg(workspace::tools()).arg(name);
    command
}

fn is_version(program: &Path, name: &str, version: &str) -> bool {
    program.is_file()
        && process::stdout(Command::new(program).arg("--version")).is_ok_and(|text| text == format!("{name} {version}"))
}

/// The first toolchain with Rust's own sources and an LLVM that bpf-linker understands.
fn bpf_toolchain() -> Option<Toolchain> {
    let rustup = |toolchain: &str| {
        let output = process::stdout(Command::new("rustc").arg(format!("+{toolchain}")).args(["--print", "sysroot"]));
        output.ok().map(PathBuf::from)
    };
    let active = || sysroot_of(Path::new("rustc"));
    let places: [&dyn Fn() -> Option<PathBuf>; 3] = [&active, &|| rustup("nightly"), &|| Some(PathBuf::from("/usr"))];
    places.into_iter().filter_map(|place| place()).find_map(|sysroot| usable(&sysroot))
}

fn usable(sysroot: &Path) -> Option<Toolchain> {
    let core = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    let toolchain = Toolchain { cargo: sysroot.join("bin/cargo"), rustc: sysroot.join("bin/rustc") };
    if !core.is_file() || !toolchain.cargo.is_file() {
        return None;
    }
    let version = process::stdout(Command::new(&toolchain.rustc).arg("-vV")).ok()?;
    llvm_fits(&version).then_some(toolchain)
}

/// Whether bpf-linker understands the bitcode of a rustc, by its `-vV`.
fn llvm_fits(version: &str) -> bool {
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    let major = |text: &str| text.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match (llvm.and_then(major), major(LLVM)) {
        (Some(has), Some(limit)) => has <= limit,
        _ => false,
    }
}

fn sysroot_of(rustc: &Path) -> Option<PathBuf> {
    let sysroot = process::stdout(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    fs::canonicalize(&sysroot).context("sysroot").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_llvm_is_refused() {
        assert!(llvm_fits("rustc 1.95.0\nhost: x86_64\nLLVM version: 22.1.2\n"));
        assert!(llvm_fits("LLVM version: 21.0.0"));
        assert!(!llvm_fits("LLVM version: 23.1.0"));
        assert!(!llvm_fits("rustc 1.95.0"));
    }

    #[test]
    fn a_folder_without_sources_is_no_toolchain() {
        let folder = tempfile::tempdir().unwrap();
        assert!(usable(folder.path()).is_none());
    }
}
