//! Enters: texts that people read, and all others. Leaves: paths that ARCHITECTURE.md names and nobody finds, and paths
//! of one person's machine, which mean nothing on another.

use std::path::Path;

use super::{Breach, Source};

/// Where a path in ARCHITECTURE.md may begin.
const BEGINNINGS: [&str; 3] = ["", "qantra-user/src", "qantra-user"];

/// Kinds of file in which paths of a machine are looked for.
const KINDS: [&str; 10] = ["rs", "toml", "md", "sh", "py", "service", "html", "yml", "yaml", "conf"];

pub(super) fn check(root: &Path, sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    match sources.iter().find(|source| source.path == "ARCHITECTURE.md") {
        Some(architecture) => breaches.extend(dead_paths(root, architecture)),
        None => breaches.push(Breach {
            file: "ARCHITECTURE.md".into(),
            line: 0,
            rule: "map",
            message: "there is no ARCHITECTURE.md: write the map of the code".to_owned(),
        }),
    }
    breaches.extend(sources.iter().filter(|source| KINDS.iter().any(|kind| source.is(kind))).flat_map(machine_paths));
    breaches
}

fn dead_paths(root: &Path, architecture: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (number, line) in architecture.text.lines().enumerate() {
        // Every second piece between backticks is code.
        for code in line.split('`').skip(1).step_by(2).filter(|code| is_path(code)) {
            if !BEGINNINGS.iter().any(|beginning| root.join(beginning).join(code).exists()) {
                let message = format!("`{code}` does not exist: mend the map or the tree");
                breaches.push(architecture.breach(number + 1, "map", message));
            }
        }
    }
    breaches
}

/// Whether a piece of code is meant as a path of the checkout: relative, and with a slash or a telling ending.
fn is_path(code: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let ending = [".rs", ".toml", ".md", ".sh", ".py", ".service"].iter().any(|ending| code.ends_with(ending));
    !code.starts_with(['/', '.', '-']) && code.chars().all(plain) && (code.contains('/') || ending)
}

fn machine_paths(source: &Source) -> Vec<Breach> {
    // Put together here, so that this file does not find itself.
    let homes = ["home", "root", "Users", "tmp", "work"].map(|folder| format!("/{folder}/"));
    let mut breaches = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        for home in &homes {
            if let Some(at) = line.find(home.as_str()) {
                let before = line[..at].chars().next_back();
                // Inside a longer path, such as /var/tmp/, or a URL it is somebody else's.
                let begins = !before.is_some_and(|c| c.is_alphanumeric() || "._-/}*".contains(c));
                if begins && !line.contains("tidy: not of a machine") {
                    let message =
                        format!("`{home}…` is a path of one machine; if it is data, say `tidy: not of a machine`");
                    breaches.push(source.breach(number + 1, "machine", message));
                }
            }
        }
    }
    breaches
}
