//! Enters: programs and libraries. Leaves: the Debian packages that they need, read from the files themselves. It must
//! never guess: a library that is not in the table stops the build.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{process, workspace::Arch};

/// Which Debian package brings a shared library.
const PACKAGES: [(&str, &str); 11] = [
    ("ld-linux-aarch64.so.1", "libc6"),
    ("ld-linux-x86-64.so.2", "libc6"),
    ("libc.so.6", "libc6"),
    ("libdl.so.2", "libc6"),
    ("libelf.so.1", "libelf1"),
    ("libgcc_s.so.1", "libgcc-s1"),
    ("libm.so.6", "libc6"),
    ("libpthread.so.0", "libc6"),
    ("librt.so.1", "libc6"),
    ("libstdc++.so.6", "libstdc++6"),
    ("libz.so.1", "zlib1g"),
];

/// The newest symbol version of libstdc++ in Debian 12, where the packages are to run.
const LIBSTDCXX: Version = (3, 4, 30);

/// A symbol version such as 2.34 or 3.4.30.
type Version = (u32, u32, u32);

/// Refuses a file that is for another machine.
pub(super) fn check_machine(file: &Path, arch: Arch) -> Result<()> {
    let header = readelf(file, "--file-header")?;
    let machine = match arch {
        Arch::X86_64 => "X86-64",
        Arch::Aarch64 => "AArch64",
    };
    if !header.lines().any(|line| line.trim_start().starts_with("Machine:") && line.contains(machine)) {
        bail!("{} is not for {}", file.display(), arch.name());
    }
    Ok(())
}

/// The `Depends` of some files: the packages of their libraries, and how new the C library must be.
pub(super) fn depends(files: &[&Path]) -> Result<String> {
    let mut packages = BTreeSet::new();
    let mut libc = (2, 0, 0);
    for file in files {
        for library in needed(&readelf(file, "--dynamic")?) {
            let known = PACKAGES.iter().find(|(name, _)| *name == library);
            let (_, package) =
                known.with_context(|| format!("{} needs {library}, and its package is unknown", file.display()))?;
            packages.insert(*package);
        }
        let versions = readelf(file, "--version-info")?;
        libc = libc.max(newest(&versions, "GLIBC_"));
        let newest_cxx = newest(&versions, "GLIBCXX_");
        if newest_cxx > LIBSTDCXX {
            bail!("{} needs libstdc++ {newest_cxx:?}, and Debian 12 has {LIBSTDCXX:?}", file.display());
        }
    }
    let with_version = |package: &str| match package {
        "libc6" => format!("libc6 (>= {}.{})", libc.0, libc.1),
        other => other.to_owned(),
    };
    Ok(packages.into_iter().map(with_version).collect::<Vec<_>>().join(", "))
}

/// The shared libraries that a file names itself.
pub(crate) fn libraries(file: &Path) -> Result<Vec<String>> {
    Ok(needed(&readelf(file, "--dynamic")?))
}

fn readelf(file: &Path, what: &str) -> Result<String> {
    process::stdout(Command::new("readelf").arg("--wide").arg(what).arg(file).env("LC_ALL", "C"))
}

/// The libraries in `readelf --dynamic`.
fn needed(dynamic: &str) -> Vec<String> {
    let libraries = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    libraries.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect()
}

/// The newest version with a prefix in `readelf --version-info`.
fn newest(versions: &str, prefix: &str) -> Version {
    let parts = |text: &str| {
        let mut numbers = text.split('.').map_while(|part| part.parse().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    };
    let named = versions.split_whitespace().filter_map(|word| word.strip_prefix(prefix));
    named.map(parts).max().unwrap_or((0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_the_dynamic_section() {
        let dynamic = " 0x1 (NEEDED)  Shared library: [libelf.so.1]\n 0x1 (NEEDED)  Shared library: [libc.so.6]\n 0xe (SONAME) [x]";
        assert_eq!(needed(dynamic), ["libelf.so.1", "libc.so.6"]);
    }

    #[test]
    fn the_newest_version_is_by_number_not_by_letter() {
        let text = "Name: GLIBC_2.9  Flags: none\nName: GLIBC_2.34\nName: GLIBC_2.4\nName: GLIBCXX_3.4.21";
        assert_eq!(newest(text, "GLIBC_"), (2, 34, 0));
        assert_eq!(newest(text, "GLIBCXX_"), (3, 4, 21));
        assert_eq!(newest(text, "CXXABI_"), (0, 0, 0));
    }

    #[test]
    fn this_program_has_known_dependencies() {
        let this = std::env::current_exe().unwrap();
        check_machine(&this, Arch::host()).unwrap();
        assert!(depends(&[&this]).unwrap().contains("libc6 (>= 2."));
    }
}
