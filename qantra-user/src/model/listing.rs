//! Enters: what is in force and on the disk. Leaves: what `qantra model list` and `qantra status` show of it. It must never
//! read a model's file: listings are asked for all the time.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Comparison, Drift, LifeState, Manifest, ManifestEntry, ModelRole, Purpose, RolledBack, Signed, VersionName,
};
use crate::config::ModelsConfig;

/// A threshold in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdStatus {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f32,
    /// Where it came from: `manifest`, or the key of the configuration that replaces it.
    pub origin: String,
}

/// One model of the active version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// What it is for, such as `request_classifier`.
    pub role: String,
    /// Its name in the manifest.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its file.
    pub file: PathBuf,
    /// The file's SHA-256.
    pub sha256: String,
    /// Hash of the feature schema it was trained on.
    pub schema: String,
    /// What it decides by.
    pub thresholds: Vec<ThresholdStatus>,
    /// What was measured when it was made, by origin of the test data, as the manifest says.
    pub measured: BTreeMap<String, serde_json::Value>,
    /// How many vectors it scored since the daemon started.
    pub scored: u64,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionStatus {
    /// Its name.
    pub version: VersionName,
    /// `active`, `shadow`, `previous`, or nothing.
    pub state: String,
    /// Its models, `name version`.
    pub models: Vec<String>,
    /// What is known of its signature.
    pub signed: Option<Signed>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// How two versions compare on live traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveComparison {
    /// Why.
    pub purpose: Purpose,
    /// The figures.
    pub figures: Comparison,
    /// Sources with a request that the second alone refuses.
    pub newly_refused: u64,
}

/// What `qantra model list` shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelList {
    /// The models in force.
    pub models: Vec<ModelStatus>,
    /// Why some or all are not; `None` when all is well.
    pub problem: Option<String>,
    /// Every version.
    pub versions: Vec<VersionStatus>,
    /// Memory of ONNX Runtime and of every version that is loaded, as their trials measured it.
    pub resident_bytes: u64,
    /// The most that may be (`models.max_resident_mb`).
    pub resident_bytes_max: u64,
    /// The shadow's figures, or those of a promoted version under guard.
    pub comparison: Option<LiveComparison>,
    /// The features that moved most since training.
    pub drift: Vec<Drift>,
    /// Versions that went back by themselves.
    pub rolled_back: Vec<RolledBack>,
}

/// The models of a manifest; what they scored is filled in when asked.
pub(super) fn models(manifest: &Manifest, config: &ModelsConfig) -> Vec<ModelStatus> {
    manifest.models.iter().map(|entry| model(entry, config)).collect()
}

fn model(entry: &ManifestEntry, config: &ModelsConfig) -> ModelStatus {
    let replaced = match entry.role {
        ModelRole::RequestJudge | ModelRole::RequestJudgeRules => {
            config.request_confidence.map(|value| ("models.request_confidence", value))
        }
        ModelRole::SourceClassifier => config.source_confidence.map(|value| ("models.source_confidence", value)),
        ModelRole::RequestGate | ModelRole::RequestClassifier | ModelRole::SourceForest => None,
    };
    let threshold = |(name, value): (&String, &f32)| match replaced {
        Some((origin, value)) if name == "confidence" => {
            ThresholdStatus { name: name.clone(), value, origin: origin.into() }
        }
        _ => ThresholdStatus { name: name.clone(), value: *value, origin: "manifest".into() },
    };
    let measured = |(origin, figures): (&String, &toml::Value)| {
        (origin.clone(), serde_json::to_value(figures).unwrap_or(serde_json::Value::Null))
    };
    ModelStatus {
        role: entry.role.as_str().to_owned(),
        name: entry.name.clone(),
        version: entry.version.clone(),
        file: entry.file.clone(),
        sha256: entry.sha256.clone(),
        schema: entry.schema.clone(),
        thresholds: entry.thresholds.iter().map(threshold).collect(),
        measured: entry.measured.iter().map(measured).collect(),
        scored: 0,
    }
}

/// What a version is to the daemon.
pub(super) fn state_of(version: &VersionName, state: &LifeState) -> &'static str {
    match version {
        name if *name == state.active => "active",
        name if state.shadow.as_ref() == Some(name) => "shadow",
        name if state.previous.as_ref() == Some(name) => "previous",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_threshold_says_where_it_came_from() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let manifest = Manifest::read(&shipped).unwrap();
        let config = ModelsConfig { request_confidence: Some(0.5), ..ModelsConfig::default() };
        let models = models(&manifest, &config);
        let threshold = |role: ModelRole, name: &str| {
            let model = models.iter().find(|model| model.role == role.as_str()).unwrap();
            let found = model.thresholds.iter().find(|threshold| threshold.name == name).unwrap();
            (found.value, found.origin.clone())
        };
        let entry = manifest.entry(ModelRole::SourceClassifier).unwrap();
        assert_eq!(threshold(ModelRole::RequestJudge, "confidence"), (0.5, "models.request_confidence".into()));
        let own = entry.thresholds["confidence"];
        assert_eq!(threshold(ModelRole::SourceClassifier, "confidence"), (own, "manifest".into()));
        assert!(models.iter().all(|model| model.schema.len() == 16));
    }
}
