//! Enters: names of Debian packages. Leaves: the machine with them. Services that come along are neither started nor
//! enabled. It must never upgrade or remove a package.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::Need;
use crate::process;

/// While this file says so, Debian's maintainer scripts start no service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Services that come with packages of ours and that nobody asked to have running.
const SERVICES: [(&str, &str); 1] = [("nginx", "nginx.service")];

/// The packages of a need.
pub(super) const fn packages(need: Need) -> &'static [&'static str] {
    match need {
        // cmake, make and a C compiler for Pingora's zlib and zstd, SQLite, mimalloc and libbpf; LLVM for bpf-linker.
        Need::Build => {
            &["gcc", "g++", "make", "cmake", "pkg-config", "libc6-dev", "libelf-dev", "zlib1g-dev", "llvm-22-dev"]
        }
        Need::Cross => &["gcc-aarch64-linux-gnu", "g++-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        Need::Run => &["python3", "python3-pip", "iproute2", "iputils-ping", "bpftool", "libelf1", "zlib1g"],
        Need::Lab => &[
            "nginx",
            "libnginx-mod-http-modsecurity",
            "modsecurity-crs",
            "wrk",
            "curl",
            "chromium",
            "chromium-driver",
            "nmap",
            "hping3",
            "gobuster",
            "dirb",
            "ffuf",
            "sqlmap",
            "hydra",
            "slowhttptest",
            "nftables",
            "xdp-tools",
            "tcpreplay",
            "ethtool",
            "tcpdump",
            "procps",
            "openssl",
        ],
        // The applications and tools themselves go into an overlay of the recording.
        Need::Data => &["python3", "python3-venv", "dpkg", "iproute2", "util-linux"],
        Need::Kernels => &["dpkg", "xz-utils", "binutils"],
        Need::Dist => &["python3", "python3-pip", "binutils", "dpkg", "gzip"],
        Need::Deny => &[],
    }
}

/// Installs the packages that are missing.
pub(super) fn ensure(wanted: &BTreeSet<&str>) -> Result<bool> {
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(false);
    }
    install(&missing)?;
    Ok(true)
}

/// Installs packages, whether they are there or not.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    eprintln!("setup: Debian packages {}", packages.join(" "));
    let quiet_services = QuietServices::begin()?;
    process::quiet("apt-get update", as_root("apt-get")?.args(["update", "--quiet"]))?;
    let mut command = as_root("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends"]);
    process::quiet("apt-get install", command.args(packages))?;
    for (_, service) in SERVICES.iter().filter(|(package, _)| packages.contains(package)) {
        // Without systemd, as in a container, there is nothing to disable.
        process::succeeds(as_root("systemctl")?.args(["disable", service]));
    }
    drop(quiet_services);
    Ok(())
}

/// Mounts the BPF file system, where programs and maps are pinned, if nobody has. Only root can and needs to.
pub(super) fn ensure_bpffs() -> Result<bool> {
    let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    let mounted = mounts.lines().any(|line| line.split(' ').nth(2) == Some("bpf"));
    if mounted || !process::is_root() || !Path::new("/sys/fs/bpf").is_dir() {
        return Ok(false);
    }
    eprintln!("setup: the BPF file system at /sys/fs/bpf");
    process::quiet("mount bpffs", Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]))?;
    Ok(true)
}

/// Which of some packages are not installed.
fn missing<'a>(wanted: &BTreeSet<&'a str>) -> Result<Vec<&'a str>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"]).args(wanted);
    let output = match query.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "this is no Debian system, and setup knows no other; install the equivalents of: {}",
            wanted.iter().copied().collect::<Vec<_>>().join(" ")
        ),
        Err(error) => return Err(error).context("cannot run dpkg-query"),
    };
    // It ends with 1 when it does not know one of them, and lists the others all the same.
    Ok(not_installed(wanted, &String::from_utf8_lossy(&output.stdout)))
}

fn not_installed<'a>(wanted: &BTreeSet<&'a str>, listing: &str) -> Vec<&'a str> {
    let here: BTreeSet<&str> = listing.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    wanted.iter().copied().filter(|package| !here.contains(package)).collect()
}

/// A command that runs as root, by sudo when we are not.
pub(super) fn as_root(program: &str) -> Result<Command> {
    if process::is_root() {
        return Ok(Command::new(program));
    }
    if process::which("sudo").is_none() {
        bail!("root is needed to install packages, and there is no sudo; run `cargo xtask setup` as root once");
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

/// Keeps packages from starting their services while it lives.
struct QuietServices {
    made: Option<PathBuf>,
}

impl QuietServices {
    fn begin() -> Result<Self> {
        // Somebody's own policy is left alone. Without root we would need sudo for the file too: the services of
        // freshly installed packages then start until they are disabled.
        if Path::new(POLICY).exists() || !process::is_root() {
            return Ok(Self { made: None });
        }
        fs::write(POLICY, "#!/bin/sh\n# Made by `cargo xtask setup` while it installs packages.\nexit 101\n")
            .with_context(|| format!("cannot write {POLICY}"))?;
        let made = Some(PathBuf::from(POLICY));
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).context("cannot make it executable")?;
        Ok(Self { made })
    }
}

impl Drop for QuietServices {
    fn drop(&mut self) {
        if let Some(file) = &self.made
            && let Err(error) = fs::remove_file(file)
        {
            eprintln!("setup: cannot remove {}, please do: {error}", file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts_as_here() {
        let wanted = BTreeSet::from(["nmap", "nginx", "wrk", "ffuf"]);
        let listing = "nmap installed\nnginx config-files\nwrk not-installed\n";
        assert_eq!(not_installed(&wanted, listing), ["ffuf", "nginx", "wrk"]);
    }

    #[test]
    fn every_package_has_a_sane_name() {
        use clap::ValueEnum as _;
        for package in Need::value_variants().iter().flat_map(|need| packages(*need)) {
            let sane = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
            assert!(package.chars().all(sane), "{package}");
        }
    }
}
