//! Enters: a staged tree. Leaves: its control files, and the package. Times in it are the last commit's, so that the
//! same commit gives the same package.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{process, workspace, workspace::Arch};

const CONFFILES: [&str; 1] = ["/etc/qantra/qantra.toml"];

/// The workspace's version.
pub(super) fn version() -> Result<String> {
    let text = fs::read_to_string(workspace::root().join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let manifest: toml::Table = text.parse().context("Cargo.toml is no TOML")?;
    let version = manifest.get("workspace").and_then(|table| table.get("package")?.get("version")?.as_str());
    version.map(str::to_owned).context("Cargo.toml has no workspace.package.version")
}

/// Seconds since 1970 of the last commit; of now outside a repository.
pub(super) fn source_date() -> String {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(workspace::root());
    process::stdout(&mut git).or_else(|_| process::stdout(Command::new("date").arg("+%s"))).unwrap_or_default()
}

/// Writes `DEBIAN/`.
pub(super) fn control(root: &Path, arch: Arch, version: &str, depends: &str) -> Result<()> {
    let debian = root.join("DEBIAN");
    fs::create_dir_all(&debian).context("cannot make DEBIAN/")?;
    let files = files_below(root, root)?;
    let size_kib = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum::<u64>() / 1024;
    let control = format!(
        "Package: qantra\n\
         Version: {version}\n\
         Architecture: {}\n\
         Maintainer: Qantra <qantra@localhost.localdomain>\n\
         Section: net\n\
         Priority: optional\n\
         Installed-Size: {size_kib}\n\
         Depends: {depends}, passwd\n\
         Recommends: ca-certificates\n\
         Suggests: modsecurity-crs\n\
         Homepage: https://github.com/qantra/qantra\n\
         Description: network-edge sensor with an eBPF/XDP packet filter and a proxy\n \
         Qantra watches the traffic of a router or a server in front of web applications.\n \
         A program in the kernel drops banned sources at the network driver; a reverse\n \
         proxy looks at each request with machine learning models. What the proxy decides\n \
         becomes a drop in the kernel within milliseconds.\n",
        arch.debian()
    );
    write_mode(&debian.join("control"), &control, 0o644)?;
    write_mode(&debian.join("conffiles"), &(CONFFILES.join("\n") + "\n"), 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        let from = workspace::root().join("deploy/debian").join(script);
        let text = fs::read_to_string(&from).with_context(|| format!("cannot read {}", from.display()))?;
        write_mode(&debian.join(script), &text, 0o755)?;
    }
    write_mode(&debian.join("md5sums"), &md5sums(root, &files)?, 0o644)
}

/// Packs the tree.
pub(super) fn build(root: &Path, file: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--build", "--root-owner-group", "-Zxz"]).arg(root).arg(file);
    process::quiet(&format!("dpkg-deb {}", file.display()), dpkg.env("SOURCE_DATE_EPOCH", source_date()))
}

/// Writes a file with exactly these permissions, whatever the umask.
pub(super) fn write_mode(file: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    fs::set_permissions(file, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot chmod {}", file.display()))
}

/// Checksums of every file that is no configuration, as dpkg wants them.
fn md5sums(root: &Path, files: &[PathBuf]) -> Result<String> {
    let mut text = String::new();
    for file in files {
        let path = file.strip_prefix(root).context("a file outside its tree")?;
        if CONFFILES.iter().any(|conffile| Path::new(conffile) == Path::new("/").join(path)) {
            continue;
        }
        let sum = process::stdout(Command::new("md5sum").arg(file))?;
        writeln!(text, "{}  {}", sum.split(' ').next().unwrap_or_default(), path.display())?;
    }
    Ok(text)
}

/// Every file below a folder, in order, other than `DEBIAN/`.
fn files_below(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path == root.join("DEBIAN") {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(root, &path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
