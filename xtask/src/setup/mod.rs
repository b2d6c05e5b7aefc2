//! Enters: what a task needs of the machine. Leaves: a machine that has it: Debian packages, Rust's own sources,
//! bpf-linker, cargo-deny, ONNX Runtime, the Raspberry Pi's libraries. What is not a Debian package or a rustup
//! component goes to the target folder. It must never touch what is there already, nor install without saying so.

mod apt;
mod debian;
mod kernels;
mod onnxruntime;
mod rust;
mod sysroot;

use std::collections::BTreeSet;

use anyhow::Result;
use clap::ValueEnum;

pub use kernels::qemu_command;
pub use rust::{bpf_cargo, bpf_clippy, cargo_deny, cargo_fuzz, cross_cargo};

use crate::workspace::Arch;

/// Options of `setup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For what; none: for everything.
    #[arg(value_enum)]
    needs: Vec<Need>,
}

/// What a task needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Need {
    /// To build the daemon and the eBPF object for this machine.
    Build,
    /// To build the daemon for the Raspberry Pi.
    Cross,
    /// To run the daemon and its tests: ONNX Runtime, and what makes and looks at network namespaces.
    Run,
    /// For the demo and the benches: a web server, real attack tools, a browser.
    Lab,
    /// To record requests of real applications: what runs and what attacks them.
    Data,
    /// To try other kernels: QEMU, and what its guests boot (about 300 MB to fetch).
    Kernels,
    /// To make Debian packages.
    Dist,
    /// To check licences and sources of the dependencies.
    Deny,
}

/// `cargo xtask setup`.
///
/// # Errors
/// When something is missing and cannot be installed.
pub fn run(args: &Args) -> Result<()> {
    let needs = if args.needs.is_empty() { Need::value_variants() } else { &args.needs };
    let installed = ensure(needs)?;
    let names: Vec<String> =
        needs.iter().filter_map(|need| Some(need.to_possible_value()?.get_name().to_owned())).collect();
    let what = if installed { "now here" } else { "here already, nothing to do" };
    println!("what is needed for {} is {what}", names.join(", "));
    Ok(())
}

/// Installs what is missing of some needs, and says so; with nothing missing it is silent and quick. Returns whether
/// anything was installed.
///
/// # Errors
/// When something is missing and cannot be installed.
pub fn ensure(needs: &[Need]) -> Result<bool> {
    let needs = needs.iter().copied().collect::<BTreeSet<_>>();
    let packages = needs.iter().flat_map(|need| debian::packages(*need)).copied().collect::<BTreeSet<_>>();
    let mut installed = debian::ensure(&packages)?;
    for need in needs {
        installed |= match need {
            Need::Build => rust::ensure_bpf_toolchain()? | rust::ensure_bpf_linker()?,
            Need::Cross => rust::ensure_target(Arch::Aarch64)? | sysroot::ensure(Arch::Aarch64)?,
            Need::Run => onnxruntime::ensure(Arch::host())? | debian::ensure_bpffs()?,
            Need::Dist => onnxruntime::ensure(Arch::X86_64)? | onnxruntime::ensure(Arch::Aarch64)?,
            Need::Kernels => kernels::ensure()?,
            Need::Lab | Need::Data => false,
            Need::Deny => rust::ensure_cargo_deny()?,
        };
    }
    Ok(installed)
}
