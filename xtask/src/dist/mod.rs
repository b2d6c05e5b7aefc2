//! Enters: a built daemon, the eBPF object, models, ONNX Runtime. Leaves: a Debian package for each machine, in
//! `target/dist/`. It must never put a file in that was built for another machine, or a library whose package is
//! unknown.
//!
//! The tree is staged here and packed by `dpkg-deb`: cargo-deb would have to be told about the object, the models, the
//! runtime of each architecture and the pages that the daemon itself writes, so that little would be left for it.

pub(crate) mod elf;
mod licences;
mod package;
mod stage;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    build, process, setup,
    setup::Need,
    workspace::{self, Arch},
};

/// Options of `dist`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine to package for; none: both.
    #[arg(long, value_enum, value_name = "TRIPLE")]
    pub target: Vec<Arch>,
}

/// `cargo xtask dist`.
///
/// # Errors
/// When a build fails, or a part of the package is missing.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure(&[Need::Dist])?;
    let both = [Arch::X86_64, Arch::Aarch64];
    let targets = if args.target.is_empty() { &both[..] } else { &args.target };
    // This machine's daemon writes the completions and manual pages of every package; how fast does not matter.
    let release = targets.contains(&Arch::host());
    let host = build::build(&build::Args { release, target: None })?;
    let mut packages = Vec::new();
    for &arch in targets {
        let built = if arch == Arch::host() {
            build::Built { daemon: host.daemon.clone(), object: host.object.clone() }
        } else {
            build::build(&build::Args { release: true, target: Some(arch) })?
        };
        packages.push(pack(arch, &built, &host.daemon)?);
    }
    for package in packages {
        println!("{}", package.display());
    }
    Ok(())
}

/// Stages one package's tree and packs it.
fn pack(arch: Arch, built: &build::Built, host_daemon: &Path) -> Result<PathBuf> {
    let folder = workspace::target_dir().join("dist");
    let root = folder.join(arch.debian());
    let runtime = workspace::onnxruntime(arch);
    for file in [&built.daemon, &runtime] {
        elf::check_machine(file, arch)?;
    }
    stage::tree(&root, &stage::Parts { daemon: &built.daemon, object: &built.object, runtime: &runtime, host_daemon })?;
    let depends = elf::depends(&[&built.daemon, &runtime])?;
    let version = package::version()?;
    package::control(&root, arch, &version, &depends)?;
    let file = folder.join(format!("qantra_{version}_{}.deb", arch.debian()));
    package::build(&root, &file)?;
    process::stdout(std::process::Command::new("dpkg-deb").arg("--contents").arg(&file))
        .with_context(|| format!("{} cannot be read back", file.display()))?;
    Ok(file)
}
