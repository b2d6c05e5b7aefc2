//! Enters: what a test wants of the kernel half. Leaves: it, loaded from the built object with pins of its own, which are
//! removed when the guard is dropped. It must never use the pins of a daemon that runs on this machine.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use qantra_user::{
    clock::boot_ns,
    config::{Hook, InterfaceConfig, KernelConfig, Role},
    decide::{DecisionId, Direction},
    enforce::{BanHits, KernelBan},
    xdp::{self, Kernel},
};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A pin folder that no one else uses; everything in it ends with the guard.
#[derive(Debug)]
pub struct Pins(PathBuf);

impl Pins {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(PathBuf::from(format!("/sys/fs/bpf/qantra-test-{}-{number}", std::process::id())))
    }

    /// The configuration for it.
    #[must_use]
    pub fn config(&self) -> KernelConfig {
        config(&self.0)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Starts the kernel half.
    pub fn start(&self, interfaces: &[InterfaceConfig]) -> Result<Kernel> {
        Kernel::start(&self.config(), interfaces, false).context("starting the kernel half")
    }
}

impl Default for Pins {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _gone = xdp::detach(&self.0);
    }
}

/// A small configuration with the built object: `cargo xtask test` says where it is.
#[must_use]
pub fn config(pin_dir: &Path) -> KernelConfig {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/qantra.bpf.o");
    KernelConfig {
        object: std::env::var_os("QANTRA_BPF_OBJECT").map_or_else(|| built.into(), PathBuf::from),
        pin_dir: pin_dir.to_owned(),
        sources_max: 4_096,
        bans_max: 4_096,
        prefix_bans_max: 1_024,
        drop_sample: 1,
        ..KernelConfig::default()
    }
}

/// One interface.
#[must_use]
pub fn interface(name: &str, role: Role, hook: Hook) -> InterfaceConfig {
    InterfaceConfig { name: name.to_owned(), role, hook, check_sources: false, networks: Vec::new() }
}

/// A ban of a prefix as text, or of one address.
///
/// # Panics
/// When the text is neither.
#[must_use]
#[expect(clippy::expect_used, reason = "tests write the text themselves")]
pub fn ban(net: &str, direction: Direction, ends_in_ms: Option<u64>) -> KernelBan {
    let net = net.parse().or_else(|_| net.parse::<IpAddr>().map(Into::into));
    KernelBan {
        net: net.expect("an address or a prefix"),
        direction,
        decision: DecisionId(0x00c0_ffee),
        expires_boot_ns: ends_in_ms.map(|ms| boot_ns() + ms * 1_000_000),
        hits: BanHits::default(),
    }
}
