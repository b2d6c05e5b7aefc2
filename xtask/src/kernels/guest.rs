//! Enters: nothing. Leaves: the kernels that are tried, and how QEMU is told to boot them. It must never need KVM, which
//! hangs inside many virtual machines.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    setup,
    workspace::{self, Arch},
};

/// A machine in QEMU.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// As given on the command line.
    pub name: &'static str,
    /// Its processor.
    pub arch: Arch,
    /// Debian's suites to take the newest of the package from.
    pub suites: &'static [&'static str],
    /// Debian's metapackage of the kernel.
    pub package: &'static str,
    /// Kernel modules, without what they depend on.
    pub modules: &'static [&'static str],
    /// QEMU's machine and processor.
    machine: [&'static str; 2],
    /// The serial port as the kernel calls it.
    console: &'static str,
}

const BOOKWORM: &[&str] = &["bookworm", "bookworm-security"];
const TRIXIE: &[&str] = &["trixie", "trixie-security"];

/// The cable, and what clsact needs.
const MODULES: &[&str] = &["veth", "sch_ingress", "cls_bpf"];

/// The oldest kernel that Qantra is for, on both kinds of processor, and one with the large pages of a Pi 5.
pub const GUESTS: [Guest; 3] = [
    Guest {
        name: "arm64-6.1",
        arch: Arch::Aarch64,
        suites: BOOKWORM,
        package: "linux-image-arm64",
        modules: MODULES,
        // As in a Pi 4.
        machine: ["virt", "cortex-a72"],
        console: "ttyAMA0",
    },
    Guest {
        name: "arm64-6.12-16k",
        arch: Arch::Aarch64,
        suites: TRIXIE,
        package: "linux-image-arm64-16k",
        modules: MODULES,
        // As in a Pi 5.
        machine: ["virt", "cortex-a76"],
        console: "ttyAMA0",
    },
    Guest {
        name: "x86-64-6.1",
        arch: Arch::X86_64,
        suites: BOOKWORM,
        package: "linux-image-amd64",
        modules: MODULES,
        machine: ["pc", "max"],
        console: "ttyS0",
    },
];

impl Guest {
    /// Where `setup` puts its files.
    pub fn folder(&self) -> PathBuf {
        workspace::kernels().join(self.name)
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.folder().join("vmlinuz")
    }

    /// The one program beside ours: the shell that starts it.
    pub fn busybox(&self) -> PathBuf {
        self.folder().join("busybox")
    }

    /// QEMU with this machine. A kernel that panics ends it, as one that powers off does.
    pub(super) fn command(&self, initramfs: &Path) -> Result<Command> {
        let mut qemu = setup::qemu_command(self.arch)?;
        let [machine, cpu] = self.machine;
        qemu.args(["-M", machine, "-cpu", cpu, "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"]);
        qemu.args(["-nographic", "-nodefaults", "-no-reboot", "-serial", "stdio", "-kernel"]).arg(self.kernel());
        // Level 1 leaves of the kernel's own messages a panic alone.
        let line = format!("console={} loglevel=1 panic=-1", self.console);
        qemu.arg("-initrd").arg(initramfs).arg("-append").arg(line);
        Ok(qemu)
    }
}
