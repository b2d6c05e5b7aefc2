//! Enters: names of Debian packages of another architecture. Leaves: their files, unpacked in the target folder, to
//! link against. It uses an apt state of its own: it must never add an architecture or a package to the host.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{process, workspace, workspace::Arch};

/// What `libbpf-sys` links: the oldest Debian that packages are made for, so that newer ones have it too.
const LIBRARIES: [&str; 4] = ["libelf1", "libelf-dev", "zlib1g", "zlib1g-dev"];

const SUITE: &str = "bookworm";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Makes sure that the libraries of another machine are there to link against.
pub(super) fn ensure(arch: Arch) -> Result<bool> {
    let sysroot = workspace::sysroot(arch);
    let stamp = sysroot.join("stamp");
    let wanted = format!("{SUITE} {}", LIBRARIES.join(" "));
    if fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return Ok(false);
    }
    eprintln!("setup: {} for {}, into {}", LIBRARIES.join(" "), arch.debian(), sysroot.display());
    let unpacked = unpack(arch, "libraries", SUITE, &LIBRARIES)?;
    if sysroot.exists() {
        fs::remove_dir_all(&sysroot).context("cannot remove the old libraries")?;
    }
    fs::create_dir_all(sysroot.join("lib")).context("cannot make the folder of libraries")?;
    for folder in ["usr/lib", "lib"] {
        copy_libraries(&unpacked.join(folder).join(arch.gnu()), &sysroot.join("lib"))?;
    }
    // Debian's own link names an absolute path of the machine it is meant for.
    let link = sysroot.join("lib/libz.so");
    symlink("libz.so.1", &link).with_context(|| format!("cannot make {}", link.display()))?;
    fs::rename(unpacked.join("usr/include"), sysroot.join("include")).context("cannot move the headers")?;
    fs::write(&stamp, wanted).context("cannot write the stamp")?;
    Ok(true)
}

/// Downloads packages of another architecture by a private apt state and unpacks them into a folder, which is returned.
pub(super) fn unpack(arch: Arch, name: &str, suite: &str, packages: &[&str]) -> Result<PathBuf> {
    let state = workspace::target_dir().join("apt").join(arch.debian()).join(name);
    let unpacked = state.join("unpacked");
    if state.exists() {
        fs::remove_dir_all(&state).with_context(|| format!("cannot remove {}", state.display()))?;
    }
    for folder in ["lists/partial", "cache/archives/partial", "packages", "unpacked"] {
        fs::create_dir_all(state.join(folder)).with_context(|| format!("cannot make {}", state.display()))?;
    }
    let archive = if suite.ends_with("-security") { "debian-security" } else { "debian" };
    let source =
        format!("deb [signed-by={KEYRING} arch={}] http://deb.debian.org/{archive} {suite} main\n", arch.debian());
    fs::write(state.join("sources.list"), source).context("cannot write the list of sources")?;
    fs::write(state.join("status"), "").context("cannot write an empty package status")?;
    process::quiet("apt-get update, apart from the host's", apt(&state, arch).arg("update"))?;
    let mut download = apt(&state, arch);
    download.current_dir(state.join("packages"));
    process::quiet("apt-get download", download.arg("download").args(packages))?;
    for package in fs::read_dir(state.join("packages")).context("cannot list the packages")? {
        let package = package.context("cannot list the packages")?.path();
        process::stdout(Command::new("dpkg").arg("--extract").arg(&package).arg(&unpacked))?;
    }
    Ok(unpacked)
}

/// An apt-get that knows and changes nothing but its own folder.
fn apt(state: &Path, arch: Arch) -> Command {
    let option = |key: &str, value: &Path| format!("{key}={}", value.display());
    let mut command = Command::new("apt-get");
    for text in [
        option("Dir::Etc::sourcelist", &state.join("sources.list")),
        option("Dir::Etc::sourceparts", Path::new("/dev/null")),
        option("Dir::State::lists", &state.join("lists")),
        option("Dir::State::status", &state.join("status")),
        option("Dir::Cache", &state.join("cache")),
        format!("APT::Architecture={}", arch.debian()),
        format!("APT::Architectures={}", arch.debian()),
        // The target folder need not be readable for apt's own user.
        "APT::Sandbox::User=root".to_owned(),
    ] {
        command.arg("-o").arg(text);
    }
    command.arg("--quiet");
    command
}

/// Copies shared libraries and their relative links.
fn copy_libraries(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let file = entry.context("cannot list libraries")?.path();
        let Some(name) = file.file_name().filter(|name| name.to_string_lossy().contains(".so")) else { continue };
        let target = to.join(name);
        match fs::read_link(&file) {
            Ok(link) if link.is_absolute() => {}
            Ok(link) => symlink(link, target).context("cannot link a library")?,
            Err(_) => drop(fs::copy(&file, target).context("cannot copy a library")?),
        }
    }
    Ok(())
}
