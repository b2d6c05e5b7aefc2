//! Enters: the check program, its libraries, the eBPF object, a guest's modules. Leaves: an archive that the guest's kernel
//! unpacks as its root, in the `newc` format (Documentation/driver-api/early-userspace/buffer-format.rst). It is not
//! packed: an emulated machine unpacks slower than QEMU reads. It must never hold anything that differs between runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{Guest, program::Program};

const INIT: &str = include_str!("init.sh");

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Writes a guest's archive and says where.
pub(super) fn write(guest: &Guest, program: &Program, object: &Path) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "lib", "lib64", "modules", "proc", "sys", "tmp"] {
        archive.entry(folder, FOLDER, (0, 0), &[]);
    }
    // The first program's output goes there before anything is mounted.
    archive.entry("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    archive.file("init", INIT.as_bytes());
    archive.copy("bin/busybox", &guest.busybox())?;
    archive.file("kernel-check", &program.stripped()?);
    archive.copy("qantra.bpf.o", object)?;
    for (name, file) in program.libraries()? {
        let is_loader = program.loader().ends_with(&name);
        archive.copy(&if is_loader { program.loader().to_owned() } else { format!("lib/{name}") }, &file)?;
    }
    let modules = guest.folder().join("modules");
    for entry in fs::read_dir(&modules).with_context(|| format!("cannot list {}", modules.display()))? {
        let file = entry.context("cannot list modules")?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        archive.copy(&format!("modules/{name}"), &file)?;
    }
    let target = guest.folder().join("initramfs.cpio");
    fs::write(&target, archive.finish()).with_context(|| format!("cannot write {}", target.display()))?;
    Ok(target)
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn copy(&mut self, name: &str, file: &Path) -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        self.file(name, &bytes);
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8]) {
        self.entry(name, FILE, (0, 0), bytes);
    }

    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), bytes: &[u8]) {
        self.entries += 1;
        let size = bytes.len() as u32;
        // Inode, mode, owner, group, links, time, size, the device it is on, the device it is, length of the name, no
        // checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name.len() as u32 + 1, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_to_four_bytes() {
        let mut archive = Archive::default();
        archive.file("init", b"#!/x\n");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        // The header and the name with its end, 110 + 5, then the file.
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[110..116], b"init\0\0");
        assert_eq!(&bytes[116..121], b"#!/x\n");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0") || bytes.ends_with(b"TRAILER!!!\0"));
    }
}
