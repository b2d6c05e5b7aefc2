//! Enters: what a task needs. Leaves: a machine that has it. It must never install twice what is there.

use anyhow::Result;

/// Options of `setup`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What a task needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Need {
    /// To build the daemon and the eBPF object for this machine.
    Build,
    /// To build the daemon for the Raspberry Pi.
    Cross,
    /// To run the daemon, tests and lab: ONNX Runtime, network tools, attack tools, browser.
    Lab,
    /// To check licences and sources of the dependencies.
    Deny,
}

/// `cargo xtask setup`.
///
/// # Errors
/// When something cannot be installed.
pub fn run(_args: &Args) -> Result<()> {
    ensure(&[Need::Build, Need::Cross, Need::Lab, Need::Deny])
}

/// Installs what is missing of some needs.
///
/// # Errors
/// When something cannot be installed.
pub fn ensure(_needs: &[Need]) -> Result<()> {
    Ok(())
}
