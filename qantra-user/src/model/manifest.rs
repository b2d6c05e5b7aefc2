//! Enters: the text of `models/manifest.toml`. Leaves: checked entries and the bytes of their files. It must never
//! hand out a file whose hash or feature schema is not the expected one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{ModelError, one_line};

/// Files larger than this are no models of ours; a limit keeps a wrong path from filling the memory.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelRole {
    /// The linear model that scores every field of every request.
    RequestGate,
    /// The classifier of flagged requests.
    RequestClassifier,
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
    /// Where the training data came from.
    #[serde(default)]
    pub data: Vec<String>,
}

impl ManifestEntry {
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
        let path = dir.join("manifest.toml");
        let bytes = read_bounded(&path)?;
        let manifest = |reason: String| ModelError::Manifest { path: path.clone(), reason };
        let text = std::str::from_utf8(&bytes).map_err(|_| manifest("is not UTF-8".into()))?;
        let raw: RawManifest = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            manifest(format!("line {line}: {}", one_line(&error.message())))
        })?;
        if raw.format != 1 {
            return Err(manifest(format!("format is {}, this qantra reads format 1", raw.format)));
        }
        Ok(Self { path, models: raw.models })
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
        if entry.file.file_name() != Some(entry.file.as_os_str()) {
            let reason = format!("model `{}`: `{}` must be a plain file name", entry.name, entry.file.display());
            return Err(ModelError::Manifest { path: self.path.clone(), reason });
        }
        let path = self.path.with_file_name(&entry.file);
        let bytes = read_bounded(&path)?;
        let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if found != entry.sha256 {
            return Err(ModelError::Checksum { path, found, expected: entry.sha256.clone() });
        }
        Ok(bytes)
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::Read { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES_MAX {
        return Err(failed(std::io::Error::other(format!("{length} bytes is more than {FILE_BYTES_MAX}"))));
    }
    fs::read(path).map_err(failed)
}
