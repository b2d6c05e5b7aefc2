//! Enters: the dependencies of the daemon, as cargo knows them. Leaves: their names, licences and licence texts, which
//! a binary package must carry. It must never leave a crate out because it has no text: its name is listed then.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::process;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: String,
}

/// The text of `third-party-licences`.
pub(super) fn third_party() -> Result<String> {
    let shipped = shipped()?;
    let metadata = process::stdout(process::cargo().args(["metadata", "--format-version", "1", "--offline"]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata is not what it was")?;
    let mut list = String::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in &metadata.packages {
        let name = format!("{} {}", package.name, package.version);
        if !shipped.contains(&name) {
            continue;
        }
        let licence = package.license.as_deref().unwrap_or("see its text");
        writeln!(list, "{name}: {licence} ({})", package.repository.as_deref().unwrap_or("no repository"))?;
        for text in licence_texts(Path::new(&package.manifest_path)) {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    let mut out = format!("The qantra program contains these crates:\n\n{list}");
    for (text, names) in texts {
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        write!(out, "\n{}\n{names}\n\n{}\n", "=".repeat(80), text.trim())?;
    }
    Ok(out)
}

/// `name version` of every crate in the daemon, other than our own.
fn shipped() -> Result<BTreeSet<String>> {
    let mut tree = process::cargo();
    tree.args(["tree", "--package", "qantra-user", "--edges", "normal", "--prefix", "none", "--offline"]);
    let tree = process::stdout(tree.args(["--format", "{p}"]))?;
    Ok(crates_of(&tree))
}

/// `name v1.2.3 (*)` lines to `name 1.2.3`; lines with a path are ours.
fn crates_of(tree: &str) -> BTreeSet<String> {
    let lines = tree.lines().filter(|line| !line.contains("(/"));
    lines
        .filter_map(|line| line.split_once(" v").map(|(name, rest)| (name, rest.split(' ').next().unwrap_or(rest))))
        .map(|(name, version)| format!("{name} {version}"))
        .collect()
}

fn licence_texts(manifest: &Path) -> Vec<String> {
    let Some(entries) = manifest.parent().and_then(|folder| fs::read_dir(folder).ok()) else { return Vec::new() };
    let is_licence = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        path.is_file() && ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"].iter().any(|n| name.starts_with(n))
    };
    let files = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_licence(path));
    files.filter_map(|file| fs::read_to_string(file).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_crates_are_not_third_parties() {
        let tree =
            "qantra-user v0.1.0 (/x/qantra-user)\naya v0.14.0\naya v0.14.0 (*)\nserde_derive v1.0.2 (proc-macro)\n";
        assert_eq!(crates_of(tree).into_iter().collect::<Vec<_>>(), ["aya 0.14.0", "serde_derive 1.0.2"]);
    }
}
