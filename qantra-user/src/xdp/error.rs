//! Enters: what can go wrong with the kernel half. Leaves: one line each, which says what to do. It must never hold an
//! error as text that a caller would have to parse.

use std::{io, path::PathBuf};

use super::abi::Abi;

/// The kernel half cannot be loaded, attached or read.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// Not root, and without the capabilities.
    #[error(
        "loading eBPF programs needs CAP_BPF and CAP_NET_ADMIN, {missing} is missing: run as root, or by the systemd unit"
    )]
    Privileges {
        /// Which.
        missing: &'static str,
    },
    /// The object file is not there.
    #[error("kernel.object {path}: {source}: build it with `cargo xtask build`, or set `kernel.object`")]
    ObjectFile {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The object does not load.
    #[error("kernel.object {path} does not load: {source}")]
    Object {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<aya::EbpfError>,
    },
    /// The object says another ABI version, or none.
    #[error(
        "kernel.object {path} is of {found}, this daemon needs ABI version {wanted}: build both with `cargo xtask build`, or install both from the same package"
    )]
    Abi {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        found: Abi,
        /// This daemon's.
        wanted: u32,
    },
    /// The object misses a program or map.
    #[error("kernel.object {path} has no {what}: it is from another version of Qantra, build both together")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// The kernel's verifier refused a program.
    #[error("the kernel refused program {program}: {reason}")]
    Program {
        /// Which.
        program: &'static str,
        /// Why.
        reason: String,
    },
    /// A configured interface does not exist.
    #[error("interface `{name}` does not exist: see `ip link`, and mend `[[interface]] name`")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// A configured interface carries no Ethernet frames.
    #[error("interface `{name}` carries no Ethernet frames (link type {link_type}): name the physical port below it")]
    NotEthernet {
        /// Its name.
        name: String,
        /// `ARPHRD_*` of the kernel.
        link_type: u16,
    },
    /// The pin folder is not on a BPF file system.
    #[error("kernel.pin_dir {path} is not on a BPF file system: {reason}; `mount -t bpf bpf /sys/fs/bpf`")]
    NoBpffs {
        /// The folder.
        path: PathBuf,
        /// Why it could not be mounted.
        reason: String,
    },
    /// A pin cannot be made, opened or removed.
    #[error("pin {path}: {source}")]
    Pin {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A pinned map is of another shape than this version's.
    #[error(
        "pinned map {path} has {what} {found}, this version needs {wanted}: end the bans with `qantra detach`, then start again"
    )]
    Incompatible {
        /// The file.
        path: PathBuf,
        /// Which property.
        what: &'static str,
        /// As pinned.
        found: u32,
        /// As needed.
        wanted: u32,
    },
    /// A map cannot be read or written.
    #[error("bpf(2) on map {map}: {source}")]
    Map {
        /// Which.
        map: &'static str,
        /// Why.
        source: Box<aya::maps::MapError>,
    },
    /// A bpf(2) call of ours failed.
    #[error("{call}: {source}")]
    Call {
        /// Which.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// There is no place for one more interface.
    #[error("interface `{name}`: no room for it: at most 64 interfaces can be watched")]
    TooManyInterfaces {
        /// Its name.
        name: String,
    },
    /// No rung of the hook ladder that the configuration allows works.
    #[error("interface `{name}`: no hook works: {reasons}")]
    NoHook {
        /// Its name.
        name: String,
        /// Each rung and why.
        reasons: String,
    },
}

impl XdpError {
    pub(super) fn map(map: &'static str) -> impl Fn(aya::maps::MapError) -> Self {
        move |source| Self::Map { map, source: Box::new(source) }
    }
}
