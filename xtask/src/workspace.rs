//! Enters: nothing. Leaves: where things are in the checkout and in its target folder. It must never create or
//! change anything.

use std::{env, path::PathBuf};

use clap::ValueEnum;

/// A machine that Qantra is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Arch {
    /// Servers and PCs.
    #[value(name = "x86_64-unknown-linux-gnu")]
    X86_64,
    /// The Raspberry Pi 4 and 5 with a 64-bit system, and arm64 servers.
    #[value(name = "aarch64-unknown-linux-gnu")]
    Aarch64,
}

impl Arch {
    /// The machine this program runs on.
    pub const fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// Rust's name of it, `uname -m` style.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Rust's target triple.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// Debian's name of it.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The prefix of Debian's compilers for it, such as `aarch64-linux-gnu`.
    pub const fn gnu(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux-gnu",
            Self::Aarch64 => "aarch64-linux-gnu",
        }
    }
}

/// The checkout's top folder.
pub fn root() -> PathBuf {
    // At run time first: the checkout may have been moved since xtask was compiled.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

/// Cargo's target folder, where everything that is built or fetched goes.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The built daemon. `arch` is `None` for a plain `cargo build` on this machine.
pub fn daemon(release: bool, arch: Option<Arch>) -> PathBuf {
    let folder = arch.map_or_else(target_dir, |arch| target_dir().join(arch.triple()));
    folder.join(if release { "release" } else { "debug" }).join("qantra")
}

/// ONNX Runtime's shared library for a machine, as `setup` fetches it.
pub fn onnxruntime(arch: Arch) -> PathBuf {
    target_dir().join("onnxruntime").join(arch.name()).join("libonnxruntime.so")
}

/// Libraries of another machine to link against, as `setup` fetches them.
pub fn sysroot(arch: Arch) -> PathBuf {
    target_dir().join("sysroot").join(arch.triple())
}

/// QEMU, and what its guests boot, as `setup` fetches them.
pub fn kernels() -> PathBuf {
    target_dir().join("kernels")
}

/// Tools that `setup` builds by cargo: `bin/` is in here.
pub fn tools() -> PathBuf {
    target_dir().join("tools")
}
