//! Enters: names of Debian packages of another architecture. Leaves: their files, unpacked in the target folder, to
//! link against. It must never touch the host's own.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result};

use super::apt::Apt;
use crate::{workspace, workspace::Arch};

/// What `libbpf-sys` links: the oldest Debian that packages are made for, so that newer ones have it too.
const LIBRARIES: [&str; 4] = ["libelf1", "libelf-dev", "zlib1g", "zlib1g-dev"];

const SUITE: &str = "bookworm";

/// Makes sure that the libraries of another machine are there to link against.
pub(super) fn ensure(arch: Arch) -> Result<bool> {
    let sysroot = workspace::sysroot(arch);
    let stamp = sysroot.join("stamp");
    let wanted = format!("{SUITE} {}", LIBRARIES.join(" "));
    if fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return Ok(false);
    }
    eprintln!("setup: {} for {}, into {}", LIBRARIES.join(" "), arch.debian(), sysroot.display());
    let unpacked = Apt::new(arch, "libraries", &[SUITE])?.unpack(&LIBRARIES)?;
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
