//! Enters: the parts of a package. Leaves: the tree of files as it will stand on the machine. It must never leave a
//! part out silently.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{licences, package};
use crate::{process, workspace};

/// Where the parts are.
pub(super) struct Parts<'a> {
    pub(super) daemon: &'a Path,
    pub(super) object: &'a Path,
    pub(super) runtime: &'a Path,
    /// A daemon that runs on this machine, to write completions and manual pages.
    pub(super) host_daemon: &'a Path,
}

/// Makes the tree anew.
pub(super) fn tree(root: &Path, parts: &Parts<'_>) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    let checkout = workspace::root();
    put(parts.daemon, &root.join("usr/bin/qantra"), 0o755)?;
    put(parts.object, &root.join("usr/lib/qantra/qantra.bpf.o"), 0o644)?;
    put(parts.runtime, &root.join("usr/lib/qantra/libonnxruntime.so"), 0o644)?;
    put(&checkout.join("deploy/qantra.toml"), &root.join("etc/qantra/qantra.toml"), 0o644)?;
    for unit in ["qantra.service", "qantra-train.service", "qantra-train.timer"] {
        put(&checkout.join("deploy/systemd").join(unit), &root.join("usr/lib/systemd/system").join(unit), 0o644)?;
    }
    models(&checkout.join("models"), &root.join("usr/share/qantra/models"))?;
    completions(parts.host_daemon, &root.join("usr/share"))?;
    manual(parts.host_daemon, &root.join("usr/share/man/man1"))?;
    documents(&checkout, parts.runtime, &root.join("usr/share/doc/qantra"))?;
    folders_readable(root)
}

/// The shipped models with their manifest and cards, not the scripts that train them.
fn models(from: &Path, to: &Path) -> Result<()> {
    if !from.join("manifest.toml").is_file() {
        bail!("{} has no manifest.toml; `cargo xtask model train` writes it", from.display());
    }
    for (from, to) in [(from, to), (&from.join("cards"), &to.join("cards"))] {
        for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
            let file = entry.context("cannot list the models")?.path();
            if file.is_file() {
                put(&file, &to.join(file.file_name().context("a model without a name")?), 0o644)?;
            }
        }
    }
    Ok(())
}

fn completions(daemon: &Path, share: &Path) -> Result<()> {
    for (shell, place) in [
        ("bash", "bash-completion/completions/qantra"),
        ("zsh", "zsh/vendor-completions/_qantra"),
        ("fish", "fish/vendor_completions.d/qantra.fish"),
    ] {
        let text = process::stdout(Command::new(daemon).args(["completions", shell]))?;
        write(&share.join(place), &(text + "\n"))?;
    }
    Ok(())
}

/// The manual pages, one for each command, packed.
fn manual(daemon: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    process::stdout(Command::new(daemon).arg("man").arg(to))?;
    let mut pages = 0;
    for entry in fs::read_dir(to).with_context(|| format!("cannot list {}", to.display()))? {
        gzip(&entry.context("cannot list the manual pages")?.path())?;
        pages += 1;
    }
    if pages == 0 {
        bail!("`qantra man` wrote no page to {}", to.display());
    }
    Ok(())
}

fn documents(checkout: &Path, runtime: &Path, to: &Path) -> Result<()> {
    write(&to.join("copyright"), &copyright(checkout)?)?;
    write(&to.join("third-party-licences"), &licences::third_party()?)?;
    let beside = runtime.parent().context("ONNX Runtime has no folder")?;
    put(&beside.join("ThirdPartyNotices.txt"), &to.join("onnxruntime-third-party-notices"), 0o644)?;
    put(&checkout.join("CHANGELOG.md"), &to.join("changelog"), 0o644)?;
    for file in ["third-party-licences", "onnxruntime-third-party-notices", "changelog"] {
        gzip(&to.join(file))?;
    }
    Ok(())
}

/// The copyright file: our licences, and ONNX Runtime's.
fn copyright(checkout: &Path) -> Result<String> {
    let read = |path: PathBuf| fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()));
    // In this format a text's lines begin with a space, and an empty one is a dot.
    let indent = |text: &str| {
        let line = |line: &str| if line.trim().is_empty() { " .".to_owned() } else { format!(" {}", line.trim_end()) };
        text.trim().lines().map(line).collect::<Vec<_>>().join("\n")
    };
    let mit = read(checkout.join("LICENSE-MIT"))?;
    let holder = mit.lines().find(|line| line.starts_with("Copyright")).unwrap_or("Copyright Qantra contributors");
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: qantra\n\
         Source: https://github.com/qantra/qantra\n\
         Comment: Crates in the program are listed in third-party-licences.gz, libraries in ONNX Runtime in\n \
         onnxruntime-third-party-notices.gz.\n\n\
         Files: *\n{holder}\nLicense: Apache-2.0 or Expat\n\n\
         Files: usr/lib/qantra/libonnxruntime.so\n\
         Copyright: Microsoft Corporation\n\
         License: Expat\n\n\
         License: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n\n\
         License: Expat\n{}\n",
        indent(&mit),
        holder = holder.replacen("Copyright (c)", "Copyright:", 1),
    ))
}

/// Copies one file and makes the folders on the way.
fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    make_parent(to)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).with_context(|| format!("cannot chmod {}", to.display()))
}

fn write(to: &Path, text: &str) -> Result<()> {
    make_parent(to)?;
    package::write_mode(to, text, 0o644)
}

fn make_parent(file: &Path) -> Result<()> {
    let parent = file.parent().context("a file without a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}

/// Packs a file without its name and time, so that the same text gives the same bytes.
fn gzip(file: &Path) -> Result<()> {
    process::stdout(Command::new("gzip").args(["-9", "--no-name", "--force"]).arg(file))?;
    let packed = PathBuf::from(format!("{}.gz", file.display()));
    fs::set_permissions(&packed, fs::Permissions::from_mode(0o644)).with_context(|| packed.display().to_string())
}

/// Folders that anybody may read, whatever the umask.
fn folders_readable(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot chmod {}", folder.display()))?;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.context("cannot list the tree")?.path();
        if path.is_dir() {
            folders_readable(&path)?;
        }
    }
    Ok(())
}
