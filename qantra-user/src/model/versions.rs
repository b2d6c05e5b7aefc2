//! Enters: bundles and what became of them. Leaves: versions of models on the disk, and which of them is in force, in
//! shadow and before. A power cut leaves the state before or the state after; it must never grow past its limit.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Bundle, ModelError, VersionId, bundle::read_bounded};

/// The folder below `daemon.state_dir`.
const FOLDER: &str = "models";
const STATE: &str = "state.json";
/// How a version that is being written is called, so that half of one is known as such.
const DRAFT: &str = ".new-";
const STATE_BYTES_MAX: u64 = 64 << 10;
/// Most versions that went back by themselves and are remembered.
const ROLLED_BACK_MAX: usize = 8;
/// Most trials that are remembered of models in other folders.
const PASSED_STRANGERS_MAX: usize = 4;
/// What people call the models of `models.dir`.
pub(super) const SHIPPED: &str = "shipped";

/// A version that can be in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum VersionName {
    /// What lies in `models.dir`, from the package or the administrator.
    #[default]
    Shipped,
    /// One that was loaded and is kept.
    Kept(VersionId),
}

impl std::fmt::Display for VersionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shipped => f.write_str(SHIPPED),
            Self::Kept(id) => id.fmt(f),
        }
    }
}

impl TryFrom<String> for VersionName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == SHIPPED { Ok(Self::Shipped) } else { VersionId::try_from(text).map(Self::Kept) }
    }
}

impl From<VersionName> for String {
    fn from(name: VersionName) -> Self {
        name.to_string()
    }
}

/// A version that went back by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolledBack {
    /// Which.
    pub version: VersionName,
    /// When, Unix time in ms.
    pub at_unix_ms: u64,
    /// Why.
    pub reason: String,
}

/// What a version's trial measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Resident memory of its models, when they are the only ones.
    pub models_bytes: u64,
    /// Resident memory of one more copy.
    pub copy_bytes: u64,
    /// Resident memory of ONNX Runtime.
    pub runtime_bytes: u64,
    /// What else the trial depends on; under others it is run again.
    pub conditions: String,
}

/// What survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LifeState {
    /// In force.
    pub active: VersionName,
    /// In force before: where a rollback goes.
    pub previous: Option<VersionName>,
    /// Runs beside the active one without a say.
    pub shadow: Option<VersionName>,
    /// When the active one was promoted, Unix time in ms.
    pub promoted_unix_ms: Option<u64>,
    /// Versions that went back by themselves, newest last.
    pub rolled_back: Vec<RolledBack>,
    /// Manifests that passed their trial: it is not repeated at each start.
    pub passed: BTreeMap<VersionId, Passed>,
}

impl LifeState {
    /// Remembers a version that went back by itself.
    pub fn remember(&mut self, rolled_back: RolledBack) {
        self.rolled_back.retain(|known| known.version != rolled_back.version);
        self.rolled_back.push(rolled_back);
        let excess = self.rolled_back.len().saturating_sub(ROLLED_BACK_MAX);
        self.rolled_back.drain(..excess);
    }

    /// Versions that must stay on the disk.
    fn in_use(&self) -> BTreeSet<&VersionId> {
        let named = [Some(&self.active), self.previous.as_ref(), self.shadow.as_ref()];
        named
            .into_iter()
            .flatten()
            .filter_map(|name| match name {
                VersionName::Kept(id) => Some(id),
                VersionName::Shipped => None,
            })
            .collect()
    }
}

/// The versions on the disk.
#[derive(Debug)]
pub struct VersionStore {
    dir: PathBuf,
}

impl VersionStore {
    /// Opens the store, and throws away what was only half written. A damaged state is set aside, and said.
    ///
    /// # Errors
    /// [`ModelError::Read`], when the folder cannot be made or read.
    pub fn open(state_dir: &Path) -> Result<(Self, LifeState, Option<String>), ModelError> {
        let store = Self { dir: state_dir.join(FOLDER) };
        let failed = |source| ModelError::Read { path: store.dir.clone(), source };
        DirBuilder::new().recursive(true).mode(0o750).create(&store.dir).map_err(failed)?;
        for entry in fs::read_dir(&store.dir).map_err(failed)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                // What stays in the way is replaced when that version comes again.
                let _gone = fs::remove_dir_all(entry.path());
            }
        }
        let path = store.dir.join(STATE);
        if !path.exists() {
            return Ok((store, LifeState::default(), None));
        }
        let read = read_bounded(&path, STATE_BYTES_MAX)
            .map_err(|error| error.to_string())
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        match read {
            Ok(state) => Ok((store, state, None)),
            Err(error) => {
                let aside = path.with_extension("damaged");
                fs::rename(&path, &aside).map_err(failed)?;
                let note = format!("{}: {error}; set aside, the shipped models are in force", path.display());
                Ok((store, LifeState::default(), Some(note)))
            }
        }
    }

    /// Writes the state; afterwards it is the one that a start finds.
    ///
    /// # Errors
    /// [`ModelError::Read`], when the disk does not take it.
    pub fn save(&self, state: &LifeState) -> Result<(), ModelError> {
        let path = self.dir.join(STATE);
        let write = || -> io::Result<()> {
            let draft = path.with_extension("new");
            let mut file = File::create(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(state)?)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|source| ModelError::Read { path: path.clone(), source })
    }

    /// Where a version lies.
    #[must_use]
    pub fn dir_of(&self, name: &VersionName, shipped: &Path) -> PathBuf {
        match name {
            VersionName::Shipped => shipped.to_owned(),
            VersionName::Kept(id) => self.dir.join(id.as_str()),
        }
    }

    /// Keeps a bundle, whole or not at all.
    ///
    /// # Errors
    /// [`ModelError::Read`], when the disk does not take it.
    pub fn install(&self, bundle: &Bundle) -> Result<VersionId, ModelError> {
        let id = bundle.id();
        let (draft, place) = (self.dir.join(format!("{DRAFT}{id}")), self.dir.join(id.as_str()));
        let failed = |source| ModelError::Read { path: draft.clone(), source };
        if Bundle::read(&place).is_ok_and(|known| known == *bundle) {
            return Ok(id);
        }
        for old in [&draft, &place] {
            if old.exists() {
                fs::remove_dir_all(old).map_err(failed)?;
            }
        }
        DirBuilder::new().mode(0o750).create(&draft).map_err(failed)?;
        bundle.write_folder(&draft)?;
        fs::rename(&draft, &place).and_then(|()| File::open(&self.dir)?.sync_all()).map_err(failed)?;
        Ok(id)
    }

    /// The versions that are kept, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<VersionId> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let Ok(id) = VersionId::try_from(entry.file_name().to_string_lossy().into_owned()) else { continue };
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            found.push((modified.unwrap_or(std::time::UNIX_EPOCH), id));
        }
        found.sort();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// Removes the oldest versions until no more than `keep` are left; those in use stay, and so does `fresh`.
    pub fn prune(&self, state: &mut LifeState, keep: usize, fresh: &VersionId) {
        let all = self.list();
        let mut wanted: BTreeSet<VersionId> = state.in_use().into_iter().cloned().collect();
        wanted.insert(fresh.clone());
        let excess = all.len().saturating_sub(keep.max(wanted.len()));
        for id in all.iter().filter(|id| !wanted.contains(*id)).take(excess) {
            if let Err(error) = fs::remove_dir_all(self.dir.join(id.as_str())) {
                tracing::warn!(%error, version = %id, "an old version of models stays");
            }
        }
        // Of models that are in no folder here, the shipped ones' trial is worth keeping.
        let kept: BTreeSet<VersionId> = self.list().into_iter().collect();
        while state.passed.len() > kept.len() + PASSED_STRANGERS_MAX {
            let Some(gone) = state.passed.keys().find(|id| !kept.contains(id)).cloned() else { break };
            state.passed.remove(&gone);
        }
    }
}
