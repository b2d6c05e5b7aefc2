//! Enters: names of Debian packages, of any architecture and release. Leaves: their files, unpacked in the target folder.
//! It uses an apt state of its own, which thinks that nothing is installed: it must never add a source, an architecture or
//! a package to the host.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{process, workspace, workspace::Arch};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt that knows and changes nothing but its own folder.
pub(super) struct Apt {
    state: PathBuf,
    arch: Arch,
}

impl Apt {
    /// A fresh state that knows the packages of some suites.
    pub(super) fn new(arch: Arch, name: &str, suites: &[&str]) -> Result<Self> {
        let state = workspace::target_dir().join("apt").join(arch.debian()).join(name);
        if state.exists() {
            fs::remove_dir_all(&state).with_context(|| format!("cannot remove {}", state.display()))?;
        }
        for folder in ["lists/partial", "cache/archives/partial", "packages"] {
            fs::create_dir_all(state.join(folder)).with_context(|| format!("cannot make {}", state.display()))?;
        }
        let source = |suite: &&str| {
            let archive = if suite.ends_with("-security") { "debian-security" } else { "debian" };
            format!("deb [signed-by={KEYRING} arch={}] http://deb.debian.org/{archive} {suite} main\n", arch.debian())
        };
        fs::write(state.join("sources.list"), suites.iter().map(source).collect::<String>())
            .context("cannot write the list of sources")?;
        fs::write(state.join("status"), "").context("cannot write an empty package status")?;
        let apt = Self { state, arch };
        process::quiet("apt-get update, apart from the host's", apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    /// Downloads packages without what they depend on, and unpacks them into a folder, which is returned.
    pub(super) fn unpack(&self, packages: &[&str]) -> Result<PathBuf> {
        let folder = self.state.join("packages");
        let mut download = self.command("apt-get");
        download.current_dir(&folder);
        process::quiet("apt-get download", download.arg("download").args(packages))?;
        self.extract(&folder)
    }

    /// Downloads packages with all that they depend on, down to the C library, and unpacks them into a folder, which is
    /// returned.
    pub(super) fn unpack_closure(&self, packages: &[&str]) -> Result<PathBuf> {
        let mut download = self.command("apt-get");
        download.args(["install", "--download-only", "--yes", "--no-install-recommends"]).args(packages);
        process::quiet("apt-get install --download-only", &mut download)?;
        self.extract(&self.state.join("cache/archives"))
    }

    /// The one package that a metapackage stands for.
    pub(super) fn newest(&self, metapackage: &str) -> Result<String> {
        let depends = process::stdout(self.command("apt-cache").args(["depends", metapackage]))?;
        let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        package.map(str::to_owned).with_context(|| format!("{metapackage} depends on nothing:\n{depends}"))
    }

    fn extract(&self, folder: &Path) -> Result<PathBuf> {
        let unpacked = self.state.join("unpacked");
        fs::create_dir_all(&unpacked).with_context(|| format!("cannot make {}", unpacked.display()))?;
        for package in fs::read_dir(folder).context("cannot list the packages")? {
            let package = package.context("cannot list the packages")?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                process::stdout(Command::new("dpkg").arg("--extract").arg(&package).arg(&unpacked))?;
                fs::remove_file(&package).context("cannot remove an unpacked package")?;
            }
        }
        Ok(unpacked)
    }

    fn command(&self, program: &str) -> Command {
        let option = |key: &str, value: &Path| format!("{key}={}", value.display());
        let mut command = Command::new(program);
        for text in [
            option("Dir::Etc::sourcelist", &self.state.join("sources.list")),
            option("Dir::Etc::sourceparts", Path::new("/dev/null")),
            option("Dir::State::lists", &self.state.join("lists")),
            option("Dir::State::status", &self.state.join("status")),
            option("Dir::Cache", &self.state.join("cache")),
            format!("APT::Architecture={}", self.arch.debian()),
            format!("APT::Architectures={}", self.arch.debian()),
            // The target folder need not be readable for apt's own user.
            "APT::Sandbox::User=root".to_owned(),
            "quiet=1".to_owned(),
        ] {
            command.arg("-o").arg(text);
        }
        command
    }
}
