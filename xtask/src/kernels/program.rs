//! Enters: a machine. Leaves: the check program built for it, and the shared libraries that it is started with. It is
//! linked like the daemon, so that the same build serves both. It must never take a library of another machine.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    dist::elf,
    process,
    workspace::{self, Arch},
};

/// The check program.
pub(super) struct Program {
    /// As built.
    pub(super) file: PathBuf,
    arch: Arch,
}

impl Program {
    /// Builds what is not built yet.
    pub(super) fn build(arch: Arch) -> Result<Self> {
        let target = Some(arch).filter(|arch| *arch != Arch::host());
        if target == Some(Arch::X86_64) {
            bail!("setup knows no cross compiler for x86-64: name the other kernels");
        }
        let mut command = build::cargo_build(target)?;
        command.args(["--package", "qantra-tests", "--bin", "kernel-check", "--features", "privileged"]);
        process::quiet(&format!("building kernel-check for {}", arch.name()), &mut command)?;
        Ok(Self { file: workspace::daemon(false, target).with_file_name("kernel-check"), arch })
    }

    /// It without what only a debugger reads: a tenth to copy into a guest's memory.
    pub(super) fn stripped(&self) -> Result<Vec<u8>> {
        let copy = tempfile::NamedTempFile::new().context("cannot make a file")?;
        let mut strip = Command::new(format!("{}-strip", self.arch.gnu()));
        process::stdout(strip.arg("--strip-debug").arg("-o").arg(copy.path()).arg(&self.file))?;
        fs::read(copy.path()).context("cannot read the stripped program")
    }

    /// Every shared library that it needs, by name.
    pub(super) fn libraries(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut found = BTreeMap::new();
        let mut open = elf::libraries(&self.file)?;
        while let Some(name) = open.pop() {
            if found.contains_key(&name) {
                continue;
            }
            let file = self.find(&name).with_context(|| format!("there is no {name} for {}", self.arch.name()))?;
            open.extend(elf::libraries(&file)?);
            found.insert(name, file);
        }
        Ok(found)
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let gnu = self.arch.gnu();
        let folders = if self.arch == Arch::host() {
            vec![PathBuf::from("/lib").join(gnu), PathBuf::from("/usr/lib").join(gnu), "/lib64".into(), "/lib".into()]
        } else {
            // What the cross compiler links against is what fits.
            vec![Path::new("/usr").join(gnu).join("lib"), workspace::sysroot(self.arch).join("lib")]
        };
        folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
    }

    /// Where the kernel looks for the program's loader.
    pub(super) const fn loader(&self) -> &'static str {
        match self.arch {
            Arch::X86_64 => "lib64/ld-linux-x86-64.so.2",
            Arch::Aarch64 => "lib/ld-linux-aarch64.so.1",
        }
    }
}
