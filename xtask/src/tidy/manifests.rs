//! Enters: the Cargo manifests. Leaves: crates that do not inherit the workspace's lints, or are no members: a strict
//! `[workspace.lints]` that nobody inherits does nothing.

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use super::{Breach, Source};

pub(super) fn check(sources: &[Source]) -> Result<Vec<Breach>> {
    let mut breaches = Vec::new();
    let manifests = sources.iter().filter(|source| source.path.split('/').next_back() == Some("Cargo.toml"));
    let mut listed = Vec::new();
    let mut crates = Vec::new();
    for source in manifests {
        let manifest: Table = source.text.parse().with_context(|| format!("{} is no TOML", source.path))?;
        if let Some(Value::Table(workspace)) = manifest.get("workspace") {
            let lists = ["members", "exclude"].iter().filter_map(|key| workspace.get(*key)?.as_array());
            listed.extend(lists.flatten().filter_map(|member| member.as_str().map(str::to_owned)));
            if !workspace.contains_key("lints") {
                breaches.push(source.breach(0, "lints", "the workspace has no [workspace.lints]"));
            }
        }
        if manifest.contains_key("package") {
            crates.push((source, manifest));
        }
    }
    for (source, manifest) in crates {
        let folder = source.path.trim_end_matches("Cargo.toml").trim_end_matches('/');
        if !listed.iter().any(|member| member == folder) {
            breaches.push(source.breach(0, "lints", "this crate is neither a member nor excluded in the workspace"));
        }
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool);
        if inherits != Some(true) {
            breaches.push(source.breach(0, "lints", "add `[lints]` with `workspace = true`"));
        }
    }
    Ok(breaches)
}
