//! Enters: the workspace's sources. Leaves: the daemon and the eBPF object, for this machine or another. It must
//! never change the sources or anything outside the target folder.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    ebpf, process, setup,
    setup::Need,
    workspace::{self, Arch},
};

/// Options of `build`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Optimised.
    #[arg(long)]
    pub release: bool,
    /// The machine to build for; none: this one.
    #[arg(long, value_enum, value_name = "TRIPLE")]
    pub target: Option<Arch>,
}

/// What `build` made.
pub struct Built {
    /// The daemon.
    pub daemon: PathBuf,
    /// The eBPF object; one serves x86-64 and arm64.
    pub object: PathBuf,
}

/// `cargo xtask build`.
///
/// # Errors
/// When something is missing that setup cannot install, or a build fails.
pub fn run(args: &Args) -> Result<()> {
    let built = build(args)?;
    println!("{}\n{}", built.daemon.display(), built.object.display());
    Ok(())
}

/// Builds the daemon and the eBPF object, after `setup` for what that needs.
///
/// # Errors
/// When something is missing that setup cannot install, or a build fails.
pub fn build(args: &Args) -> Result<Built> {
    let cross = args.target.is_some_and(|arch| arch != Arch::host());
    setup::ensure(if cross { &[Need::Build, Need::Cross] } else { &[Need::Build] })?;
    let object = ebpf::build_object(false)?;
    let mut command = cargo_build(args.target)?;
    command.args(["--package", "qantra-user", "--bin", "qantra"]);
    if args.release {
        command.arg("--release");
    }
    process::run(&mut command)?;
    Ok(Built { daemon: workspace::daemon(args.release, args.target), object })
}

/// `cargo build` for a machine, none being this one; the caller says what, after `setup` for it.
///
/// # Errors
/// When no toolchain can build for that machine.
pub fn cargo_build(target: Option<Arch>) -> Result<Command> {
    let cross = target.filter(|arch| *arch != Arch::host());
    let mut command = match cross {
        Some(arch) => setup::cross_cargo(arch)?,
        None => process::cargo(),
    };
    command.arg("build");
    if let Some(arch) = target {
        command.args(["--target", arch.triple()]);
    }
    if let Some(arch) = cross {
        cross_environment(&mut command, arch);
    }
    Ok(command)
}

/// Points cargo, `cc` and `libbpf-sys` to Debian's cross compiler and to the libraries that `setup` has fetched.
fn cross_environment(command: &mut Command, arch: Arch) {
    let triple = arch.triple().replace('-', "_");
    let sysroot = workspace::sysroot(arch);
    let tool = |name: &str| format!("{}-{name}", arch.gnu());
    command
        .env(format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase()), tool("gcc"))
        .env(format!("CC_{triple}"), tool("gcc"))
        .env(format!("CXX_{triple}"), tool("g++"))
        .env(format!("AR_{triple}"), tool("ar"))
        .env(format!("CFLAGS_{triple}"), format!("-I{}", sysroot.join("include").display()))
        .env(format!("LIBBPF_SYS_LIBRARY_PATH_{triple}"), sysroot.join("lib"))
        // libbpf-sys only asks whether pkg-config is there; what it finds is the sysroot above.
        .env("PKG_CONFIG_ALLOW_CROSS", "1");
}
