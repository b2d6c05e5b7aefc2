//! Enters: the bundle that training began with, and what was trained. Leaves: a bundle with another gate and a manifest
//! that says where it comes from. The other models are the same bytes.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    cli::error::CliError,
    clock::Now,
    learn::{BeforeAfter, Trained, gate_onnx},
    model::{Bundle, Manifest, ManifestEntry, ModelRole},
};

/// The gate's file; the bundle may have had it under another name.
const FILE: &str = "request_gate.onnx";

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    model: &'a [ManifestEntry],
}

/// The new bundle, unsigned.
pub(super) fn bundle(prior: &Bundle, trained: &Trained, samples: usize) -> Result<Bundle, CliError> {
    let manifest = Manifest::parse(&prior.manifest, Path::new("manifest.toml")).map_err(anyhow::Error::from)?;
    let onnx = gate_onnx(&trained.gate.weights);
    let mut models = manifest.models;
    let mut files = prior.files.clone();
    for entry in models.iter_mut().filter(|entry| entry.role == ModelRole::RequestGate) {
        files.remove(entry.file.to_string_lossy().as_ref());
        entry.file = FILE.into();
        entry.sha256 = Sha256::digest(&onnx).iter().map(|byte| format!("{byte:02x}")).collect();
        entry.version = version(&entry.version, Now::read().unix_ms / 1_000);
        entry.measured = measured(trained);
        entry.data.push(format!("trained on this box: {samples} samples, {:.0} % of the update", trained.step * 100.0));
        // How features were spread in training is not known here.
        entry.reference.clear();
    }
    files.insert(FILE.to_owned(), onnx);
    let manifest = toml::to_string(&Written { format: 1, model: &models }).context("the manifest")?;
    Ok(Bundle { manifest: manifest.into_bytes(), signature: None, files })
}

/// `1` becomes `1+local.1763729000`; a second time only the time changes.
fn version(before: &str, unix_s: u64) -> String {
    let base = before.split("+local.").next().unwrap_or(before);
    format!("{}+local.{unix_s}", &base[..base.len().min(40)])
}

fn measured(trained: &Trained) -> BTreeMap<String, toml::Value> {
    let table = |pair: &BeforeAfter| {
        let (before, after) = (&pair.before, &pair.after);
        let numbers = [
            ("malicious", after.malicious),
            ("flagged_of_malicious", after.found),
            ("flagged_of_malicious_before", before.found),
            ("benign", after.benign),
            ("flagged_of_benign", after.flagged),
            ("flagged_of_benign_before", before.flagged),
        ];
        let number = |(name, value): (&str, u64)| (name.to_owned(), toml::Value::Integer(value as i64));
        toml::Value::Table(numbers.into_iter().map(number).collect())
    };
    let parts = [("golden", &trained.golden), ("held_out", &trained.held_out), ("trained", &trained.trained)];
    parts.into_iter().map(|(name, pair)| (name.to_owned(), table(pair))).collect()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_say_that_they_are_local_once() {
        assert_eq!(version("1", 7), "1+local.7");
        assert_eq!(version("1+local.7", 9), "1+local.9");
        assert!(version(&"x".repeat(64), u64::MAX).len() <= 64 + 4);
    }
}
