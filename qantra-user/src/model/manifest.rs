//! Enters: the text of `models/manifest.toml`. Leaves: checked entries and the bytes of their files. It must never
//! hand out a file whose hash or feature schema is not the expected one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    bundle::read_bounded,
    drift::Reference,
    error::{ModelError, one_line},
};

/// The manifest's file name.
pub(super) const MANIFEST: &str = "manifest.toml";
/// Files larger than this are no models of ours; a limit keeps a wrong path from filling the memory.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;
/// Largest manifest.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Most models, and most classes, thresholds or reference features of one.
const MODELS_MAX: usize = 8;
const PARTS_MAX: usize = 128;
/// Longest name or version: they become labels of metrics.
const NAME_BYTES_MAX: usize = 64;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelRole {
    /// The linear model that scores every field of every request.
    RequestGate,
    /// The classifier of the worst fields of flagged requests.
    RequestClassifier,
    /// The trees with the last word about a flagged request, from its fields alone.
    RequestJudge,
    /// The same, from what its site's rules matched as well.
    RequestJudgeRules,
    /// The isolation forest over behaviour vectors of sources.
    SourceForest,
    /// The classifier of flagged sources.
    SourceClassifier,
}

impl ModelRole {
    /// The role as the manifest writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestGate => "request_gate",
            Self::RequestClassifier => "request_classifier",
            Self::RequestJudge => "request_judge",
            Self::RequestJudgeRules => "request_judge_rules",
            Self::SourceForest => "source_forest",
            Self::SourceClassifier => "source_classifier",
        }
    }
}

/// One `[[model]]` of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestEntry {
    /// Its name, as findings and metrics show it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub role: ModelRole,
    /// The file's name; it lies beside the manifest.
    pub file: PathBuf,
    /// The file's SHA-256, in lower-case hexadecimal.
    pub sha256: String,
    /// Hash of the feature schema it was trained on.
    pub schema: String,
    /// Output classes in order, for classifiers.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Thresholds by name.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f32>,
    /// What was measured, by origin of the test data. For people; nothing depends on it.
    #[serde(default)]
    pub measured: BTreeMap<String, toml::Value>,
    /// How each feature was spread in training: what drift is measured against. Without it the first live requests or
    /// sources stand in.
    #[serde(default)]
    pub reference: BTreeMap<String, Reference>,
    /// Where the training data came from.
    #[serde(default)]
    pub data: Vec<String>,
}

impl ManifestEntry {
    /// Names that can be printed and used as labels, plain file names, lists of bounded length.
    fn check(&self) -> Result<(), String> {
        let is_name = |text: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+');
            (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
        };
        if !is_name(&self.name) || !is_name(&self.version) {
            let shown: String = self.name.chars().filter(|letter| !letter.is_control()).take(40).collect();
            let limit = format!("1 to {NAME_BYTES_MAX} letters, digits and `._-+`");
            return Err(format!("model `{shown}`: its name and version must be {limit}"));
        }
        let file = self.file.to_string_lossy();
        if self.file.file_name() != Some(self.file.as_os_str()) || !is_name(&file) {
            return Err(format!("model `{}`: `{}` must be a plain file name", self.name, one_line(&file)));
        }
        for (what, count) in [
            ("classes", self.classes.len()),
            ("thresholds", self.thresholds.len()),
            ("references", self.reference.len()),
        ] {
            if count > PARTS_MAX {
                return Err(format!("model `{}`: {count} {what}, the limit is {PARTS_MAX}", self.name));
            }
        }
        match self.reference.iter().find(|(_, reference)| !reference.is_sound()) {
            Some((feature, _)) => {
                let feature = one_line(feature);
                Err(format!("model `{}`: the reference of `{feature}` is no histogram", self.name))
            }
            None => Ok(()),
        }
    }

    /// A threshold that must be there.
    ///
    /// # Errors
    /// [`ModelError::Shape`] when it is missing or not finite.
    pub fn threshold(&self, name: &str) -> Result<f32, ModelError> {
        let reason = match self.thresholds.get(name) {
            Some(value) if value.is_finite() => return Ok(*value),
            Some(value) => format!("threshold `{name}` is {value}"),
            None => format!("threshold `{name}` is missing in the manifest"),
        };
        Err(ModelError::Shape { model: self.name.clone(), reason })
    }
}

/// The whole manifest and where it lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The file it was read from.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its models.
    pub models: Vec<ManifestEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    format: u32,
    #[serde(default, rename = "model")]
    models: Vec<ManifestEntry>,
}

impl Manifest {
    /// Reads `manifest.toml` in a folder.
    ///
    /// # Errors
    /// [`ModelError::Read`] or [`ModelError::Manifest`].
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join(MANIFEST);
        let bytes = read_bounded(&path, MANIFEST_BYTES_MAX)?;
        Self::parse(&bytes, &path)
    }

    /// Reads a manifest's text. `path` is for errors, and where the files lie.
    ///
    /// # Errors
    /// [`ModelError::Manifest`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, ModelError> {
        let manifest = |reason: String| ModelError::Manifest { path: path.to_owned(), reason };
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(manifest(format!("{} bytes, the limit for a manifest is {MANIFEST_BYTES_MAX}", bytes.len())));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| manifest("is not UTF-8".into()))?;
        let raw: RawManifest = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            manifest(format!("line {line}: {}", one_line(&error.message())))
        })?;
        if raw.format != 1 {
            return Err(manifest(format!("format is {}, this qantra reads format 1", raw.format)));
        }
        if raw.models.len() > MODELS_MAX {
            return Err(manifest(format!("{} models, the limit is {MODELS_MAX}", raw.models.len())));
        }
        for entry in &raw.models {
            entry.check().map_err(manifest)?;
        }
        Ok(Self { path: path.to_owned(), text: text.to_owned(), models: raw.models })
    }

    /// The entry for a role.
    ///
    /// # Errors
    /// [`ModelError::NoSuchRole`].
    pub fn entry(&self, role: ModelRole) -> Result<&ManifestEntry, ModelError> {
        self.models
            .iter()
            .find(|entry| entry.role == role)
            .ok_or_else(|| ModelError::NoSuchRole { path: self.path.clone(), role: role.as_str() })
    }

    /// The checked bytes of an entry's file: its hash and feature schema are the expected ones.
    ///
    /// # Errors
    /// [`ModelError::Schema`], [`ModelError::Manifest`], [`ModelError::Read`] or [`ModelError::Checksum`].
    pub fn file(&self, entry: &ManifestEntry, schema_hash: &str) -> Result<Vec<u8>, ModelError> {
        if entry.schema != schema_hash {
            return Err(ModelError::Schema {
                model: entry.name.clone(),
                found: entry.schema.clone(),
                expected: schema_hash.to_owned(),
            });
        }
        self.bytes(entry)
    }

    /// The bytes of an entry's file, whatever its features are.
    pub(super) fn bytes(&self, entry: &ManifestEntry) -> Result<Vec<u8>, ModelError> {
        let path = self.path.with_file_name(&entry.file);
        let bytes = read_bounded(&path, FILE_BYTES_MAX)?;
        let found = sha256(&bytes);
        if found != entry.sha256 {
            return Err(ModelError::Checksum { path, found, expected: entry.sha256.clone() });
        }
        Ok(bytes)
    }
}

/// SHA-256 in lower-case hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
