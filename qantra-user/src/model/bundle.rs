//! Enters: a folder or a tar file with a manifest, its ONNX files and perhaps a signature. Leaves: a [`Bundle`] in memory,
//! whose files are those of the manifest. It must never follow a path out of the folder or keep more than the limits.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Cursor, Read, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    ModelError,
    error::one_line,
    manifest::{FILE_BYTES_MAX, MANIFEST, Manifest},
};

/// The signature's file: minisign's name for one of the manifest.
pub const SIGNATURE: &str = "manifest.toml.minisig";
/// Largest bundle.
pub const BUNDLE_BYTES_MAX: usize = 32 << 20;
/// Most files in a tar file.
const ENTRIES_MAX: usize = 32;
/// Largest signature: four lines.
const SIGNATURE_BYTES_MAX: u64 = 4 << 10;

/// A set of models as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// `manifest.toml` as it was written.
    pub manifest: Vec<u8>,
    /// minisign's signature of the manifest.
    pub signature: Option<Vec<u8>>,
    /// The files that the manifest names.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// The first 12 hexadecimal digits of a manifest's SHA-256. Since the manifest holds the hash of each file, this names
/// one set of models and no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionId(String);

impl VersionId {
    /// The name of a manifest's set.
    #[must_use]
    pub fn of(manifest: &[u8]) -> Self {
        Self(Sha256::digest(manifest).iter().take(6).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for VersionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for VersionId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 12 && text.bytes().all(is_digit) {
            Ok(Self(text))
        } else {
            Err("a version is 12 hexadecimal digits".to_owned())
        }
    }
}

impl From<VersionId> for String {
    fn from(id: VersionId) -> Self {
        id.0
    }
}

impl Bundle {
    /// Reads a folder, or a tar file as [`Self::to_tar`] writes it.
    ///
    /// # Errors
    /// [`ModelError`], when something is missing, too large or not what the manifest says.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let failed = |source| ModelError::Read { path: path.to_owned(), source };
        if path.is_dir() {
            return Self::read_folder(path);
        }
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(BUNDLE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
        Self::from_tar(&bytes, path)
    }

    fn read_folder(dir: &Path) -> Result<Self, ModelError> {
        let manifest = Manifest::read(dir)?;
        let mut bundle = Self::head(dir, &manifest)?;
        for entry in &manifest.models {
            bundle.files.insert(entry.file.to_string_lossy().into_owned(), manifest.bytes(entry)?);
        }
        bundle.checked(dir)
    }

    /// A folder's manifest and signature, without the files.
    pub(super) fn head(dir: &Path, manifest: &Manifest) -> Result<Self, ModelError> {
        let signature = dir.join(SIGNATURE);
        let signature = match signature.is_file() {
            true => Some(read_bounded(&signature, SIGNATURE_BYTES_MAX)?),
            false => None,
        };
        Ok(Self { manifest: manifest.text.clone().into_bytes(), signature, files: BTreeMap::new() })
    }

    /// Reads a tar file. `path` is for errors.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_tar(bytes: &[u8], path: &Path) -> Result<Self, ModelError> {
        let bad = |reason: String| ModelError::Manifest { path: path.to_owned(), reason };
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(bad(format!("more than {BUNDLE_BYTES_MAX} bytes, the limit for a bundle")));
        }
        let io = |error: std::io::Error| bad(format!("is no tar file of models: {}", one_line(&error)));
        let mut found = BTreeMap::new();
        for (count, entry) in tar::Archive::new(Cursor::new(bytes)).entries().map_err(io)?.enumerate() {
            let mut entry = entry.map_err(io)?;
            if count == ENTRIES_MAX {
                return Err(bad(format!("more than {ENTRIES_MAX} files, the limit for a bundle")));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            if entry.header().entry_type().is_dir() {
                continue;
            }
            let is_plain =
                entry.header().entry_type().is_file() && !name.is_empty() && !name.contains(['/', '\\', '\0']);
            if !is_plain {
                return Err(bad("holds something else than plain files without folders".into()));
            }
            let mut content = Vec::new();
            (&mut entry).take(FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(io)?;
            if content.len() as u64 > FILE_BYTES_MAX {
                return Err(bad(format!("a file of more than {FILE_BYTES_MAX} bytes, the limit")));
            }
            if found.insert(name, content).is_some() {
                return Err(bad("holds a file twice".into()));
            }
        }
        let manifest = found.remove(MANIFEST).ok_or_else(|| bad(format!("holds no {MANIFEST}")))?;
        let signature = found.remove(SIGNATURE);
        let named = Manifest::parse(&manifest, path)?;
        found.retain(|name, _| named.models.iter().any(|entry| entry.file.as_os_str() == name.as_str()));
        Self { manifest, signature, files: found }.checked(path)
    }

    /// Every file of the manifest is here, with the hash it says.
    fn checked(self, path: &Path) -> Result<Self, ModelError> {
        let manifest = Manifest::parse(&self.manifest, path)?;
        for entry in &manifest.models {
            let name = entry.file.to_string_lossy();
            let Some(bytes) = self.files.get(name.as_ref()) else {
                let reason = format!("model `{}`: its file `{name}` is missing", entry.name);
                return Err(ModelError::Manifest { path: path.to_owned(), reason });
            };
            let found = super::manifest::sha256(bytes);
            if found != entry.sha256 {
                let path = path.join(&entry.file);
                return Err(ModelError::Checksum { path, found, expected: entry.sha256.clone() });
            }
        }
        Ok(self)
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> VersionId {
        VersionId::of(&self.manifest)
    }

    /// All of it as one tar file, the same bytes for the same models.
    ///
    /// # Errors
    /// [`ModelError::Read`], which memory does not give.
    pub fn to_tar(&self) -> Result<Vec<u8>, ModelError> {
        let failed = |source| ModelError::Read { path: "bundle".into(), source };
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in self.named() {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, bytes).map_err(failed)?;
        }
        archive.into_inner().map_err(failed)
    }

    /// Writes all of it into a folder that is there, and to the disk.
    ///
    /// # Errors
    /// [`ModelError::Read`], when a file cannot be written.
    pub fn write_folder(&self, dir: &Path) -> Result<(), ModelError> {
        for (name, bytes) in self.named() {
            let path = dir.join(name);
            let written = File::create(&path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
            written.map_err(|source| ModelError::Read { path, source })?;
        }
        Ok(())
    }

    fn named(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let signature = self.signature.as_ref().map(|signature| (SIGNATURE, signature.as_slice()));
        let files = self.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        std::iter::once((MANIFEST, self.manifest.as_slice())).chain(signature).chain(files)
    }
}

/// Reads a file of a bounded size.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::Read { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > bytes_max {
        return Err(failed(std::io::Error::other(format!("{length} bytes is more than {bytes_max}"))));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(bytes_max).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}
