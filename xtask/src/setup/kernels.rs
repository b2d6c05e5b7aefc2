//! Enters: the guests of `cargo xtask test kernels`. Leaves: QEMU, and each guest's kernel, modules and busybox, in the
//! target folder. QEMU comes with its own C library and is no package of the host: installing it could remove a newer
//! qemu-utils. It must never fetch what is there already.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::apt::Apt;
use crate::{
    kernels::{GUESTS, Guest},
    workspace::{self, Arch},
};

const QEMU_SUITE: &str = "trixie";
const QEMU: [&str; 2] = ["qemu-system-arm", "qemu-system-x86"];

/// Fetches what is missing.
pub(super) fn ensure() -> Result<bool> {
    let mut fetched = once(&workspace::kernels().join("qemu"), &QEMU.join(" "), "QEMU", qemu)?;
    for guest in GUESTS {
        let wanted = format!("{} {} {}", guest.suites.join(" "), guest.package, guest.modules.join(" "));
        fetched |= once(&guest.folder(), &wanted, guest.package, |folder| kernel(&guest, folder))?;
    }
    Ok(fetched)
}

/// Fills a folder unless its stamp says that it holds what is wanted.
fn once(folder: &Path, wanted: &str, what: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<bool> {
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return Ok(false);
    }
    eprintln!("setup: {what}, into {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let parent = folder.parent().context("a folder without a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    fill(folder)?;
    fs::write(&stamp, wanted).context("cannot write the stamp")?;
    Ok(true)
}

fn qemu(folder: &Path) -> Result<()> {
    let unpacked = Apt::new(Arch::host(), "qemu", &[QEMU_SUITE])?.unpack_closure(&QEMU)?;
    fs::rename(&unpacked, folder).with_context(|| format!("cannot move QEMU to {}", folder.display()))
}

/// A kernel's package is hundreds of megabytes; what a guest needs of it is a tenth.
fn kernel(guest: &Guest, folder: &Path) -> Result<()> {
    let apt = Apt::new(guest.arch, guest.name, guest.suites)?;
    let image = apt.newest(guest.package)?;
    let unpacked = apt.unpack(&[image.as_str(), "busybox-static"])?;
    fs::create_dir_all(folder.join("modules")).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut files = BTreeMap::new();
    list(&unpacked, &mut files)?;
    let version = image.trim_start_matches("linux-image-");
    let file = |name: &str| files.get(name).with_context(|| format!("{image} has no {name}"));
    fs::copy(file(&format!("vmlinuz-{version}"))?, guest.kernel()).context("cannot copy the kernel")?;
    fs::copy(file("busybox")?, guest.busybox()).context("cannot copy busybox")?;
    let builtin = fs::read_to_string(file("modules.builtin")?).context("cannot read modules.builtin")?;
    let mut modules = Vec::new();
    for name in guest.modules {
        collect(name, &files, &builtin, &mut modules)?;
    }
    for (number, (name, bytes)) in modules.iter().enumerate() {
        // The shell's order is the order of loading.
        let target = folder.join("modules").join(format!("{number:02}-{name}.ko"));
        fs::write(&target, bytes).with_context(|| format!("cannot write {}", target.display()))?;
    }
    fs::remove_dir_all(&unpacked).with_context(|| format!("cannot remove {}", unpacked.display()))
}

/// Every file below a folder by its name, `.xz` left out.
fn list(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() && !path.is_symlink() {
            list(&path, files)?;
        } else if let Some(name) = path.file_name() {
            let name = name.to_string_lossy();
            files.insert(name.trim_end_matches(".xz").to_owned(), path);
        }
    }
    Ok(())
}

/// Adds a module behind those it depends on.
fn collect(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    builtin: &str,
    modules: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    if modules.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    // Names of modules and of their files differ in dashes.
    let file_names = [format!("{name}.ko"), format!("{}.ko", name.replace('_', "-"))];
    let Some(path) = file_names.iter().find_map(|file| files.get(file)) else {
        if file_names.iter().any(|file| builtin.lines().any(|line| line.ends_with(&format!("/{file}")))) {
            return Ok(());
        }
        bail!("the kernel has no module {name}");
    };
    let bytes = if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz").arg("--decompress").arg("--stdout").arg(path).output();
        let output = output.context("cannot start xz")?;
        if !output.status.success() {
            bail!("xz cannot unpack {}", path.display());
        }
        output.stdout
    } else {
        fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
    };
    for dependency in depends(&bytes) {
        collect(&dependency, files, builtin, modules)?;
    }
    modules.push((name.to_owned(), bytes));
    Ok(())
}

/// What a module says it depends on: `depends=a,b`, between NULs.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The QEMU of a machine, as fetched: run by its own loader, with its own libraries and firmware.
///
/// # Errors
/// When it was not fetched.
pub fn qemu_command(arch: Arch) -> Result<Command> {
    let usr = workspace::kernels().join("qemu/usr");
    let loader = match Arch::host() {
        Arch::X86_64 => "lib64/ld-linux-x86-64.so.2",
        Arch::Aarch64 => "lib/ld-linux-aarch64.so.1",
    };
    let loader = usr.join(loader);
    if !loader.exists() {
        bail!("there is no {}; `cargo xtask setup kernels` fetches QEMU", loader.display());
    }
    let libraries = usr.join("lib").join(Arch::host().gnu());
    let mut command = Command::new(&loader);
    command.env("QEMU_MODULE_DIR", libraries.join("qemu")).arg("--library-path").arg(&libraries);
    command.arg(usr.join("bin").join(format!("qemu-system-{}", arch.name())));
    for firmware in ["qemu", "seabios"] {
        command.arg("-L").arg(usr.join("share").join(firmware));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_tells_what_it_depends_on() {
        assert_eq!(
            depends(b"\x7fELF\0license=GPL\0depends=nfnetlink,libcrc32c\0name=nf_tables\0"),
            ["nfnetlink", "libcrc32c"]
        );
        assert!(depends(b"\0depends=\0name=veth\0").is_empty());
        assert!(depends(b"\x7fELF").is_empty());
    }

    #[test]
    fn modules_come_behind_those_they_depend_on() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("a.ko", "\0depends=b-c,builtin_one\0"), ("b-c.ko", "\0depends=\0")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut files = BTreeMap::new();
        list(folder.path(), &mut files).unwrap();
        let mut modules = Vec::new();
        collect("a", &files, "kernel/lib/builtin_one.ko\n", &mut modules).unwrap();
        assert_eq!(modules.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b-c", "a"]);
        assert!(collect("missing", &files, "", &mut modules).is_err());
    }
}
