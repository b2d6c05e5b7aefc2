//! Enters: names of versions. Leaves: their models, after signature, trial and room for them. Whoever changes models holds
//! this alone; it must never be waited for by a request or a listing, since a trial takes its time.

use std::{os::unix::fs::MetadataExt as _, path::PathBuf};

use super::{
    Bundle, CheckLimits, CheckReport, LifeState, Manifest, ModelError, Models, Side, Trust, VersionId, VersionName,
    VersionStatus, VersionStore, check_apart, listing,
    signature::verify,
    versions::{Passed, SHIPPED},
};
use crate::{config::ModelsConfig, metrics::Metrics};

/// What is kept, and what of it is loaded.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) config: ModelsConfig,
    pub(super) store: VersionStore,
    pub(super) state: LifeState,
    pub(super) problem: Option<String>,
    /// What the models in force take.
    pub(super) in_force: Option<Passed>,
    /// The program that runs trials; none: the running one.
    pub(super) program: Option<PathBuf>,
}

/// Two versions to be compared, loaded a second time: those in force belong to others.
#[derive(Debug)]
pub(super) struct Sides {
    pub(super) ids: [VersionId; 2],
    pub(super) first: Side,
    pub(super) second: Side,
    /// What they take.
    pub(super) bytes: u64,
}

impl Keeper {
    /// The version that a text means.
    pub(super) fn find(&self, text: &str) -> Result<VersionName, ModelError> {
        let missing = |what: &str| refused(format!("there is no {what} version; `qantra model list` shows them"));
        match text {
            "active" => return Ok(self.state.active.clone()),
            "previous" => return self.state.previous.clone().ok_or_else(|| missing("previous")),
            "shadow" => return self.state.shadow.clone().ok_or_else(|| missing("shadow")),
            SHIPPED => return Ok(VersionName::Shipped),
            _ => {}
        }
        let fits: Vec<VersionId> = self.store.list().into_iter().filter(|id| id.as_str().starts_with(text)).collect();
        match fits.as_slice() {
            [one] if !text.is_empty() => Ok(VersionName::Kept(one.clone())),
            [] => Err(missing("such")),
            _ => Err(refused("several versions begin so; write more digits".into())),
        }
    }

    pub(super) fn dir_of(&self, name: &VersionName) -> PathBuf {
        self.store.dir_of(name, &self.config.dir)
    }

    pub(super) fn trust(&self) -> Trust {
        Trust { keys: self.config.trusted_keys.clone(), is_required: self.config.require_signature }
    }

    /// Checks a version and loads it, for a moment beside the one in force and `compared` bytes of others.
    pub(super) fn bring(
        &mut self,
        name: &VersionName,
        compared: u64,
        metrics: &Metrics,
    ) -> Result<(Models, Passed), ModelError> {
        let dir = self.dir_of(name);
        if let VersionName::Kept(_) = name {
            verify(&Bundle::read(&dir)?, &self.trust())?;
        }
        let (id, passed) = self.trial(name)?;
        let own = if self.in_force.is_some() { passed.copy_bytes } else { passed.runtime_bytes + passed.models_bytes };
        self.within_memory(self.in_force_bytes() + own + compared)?;
        let models = Models::load(&ModelsConfig { dir, ..self.config.clone() }, metrics)?;
        if VersionId::of(models.manifest.text.as_bytes()) != id {
            return Err(refused("the files changed while they were checked; try again".into()));
        }
        Ok((models, passed))
    }

    /// Has a version's models run in a process of their own, unless these very models did already.
    pub(super) fn trial(&mut self, name: &VersionName) -> Result<(VersionId, Passed), ModelError> {
        let dir = self.dir_of(name);
        let manifest = Manifest::read(&dir)?;
        let id = VersionId::of(manifest.text.as_bytes());
        let conditions = self.conditions();
        if let Some(passed) = self.state.passed.get(&id).filter(|passed| passed.conditions == conditions) {
            return Ok((id, passed.clone()));
        }
        let mut limits = CheckLimits::daemon(&self.config.runtime, self.config.deadline_ms);
        if let Some(program) = &self.program {
            limits.program.clone_from(program);
        }
        let report = check_apart(&dir, &limits)?;
        // What was checked is what will be loaded: the same files, by their hashes.
        let said = manifest.models.iter().map(|entry| &entry.sha256);
        if !said.eq(report.models.iter().map(|model| &model.sha256)) {
            return Err(refused("the files changed while they were checked; try again".into()));
        }
        let CheckReport { models_bytes, copy_bytes, runtime_bytes, .. } = report;
        let passed = Passed { models_bytes, copy_bytes, runtime_bytes, conditions };
        self.state.passed.insert(id.clone(), passed.clone());
        Ok((id, passed))
    }

    /// What a trial depends on besides the models. Another one of these, and it is run again.
    fn conditions(&self) -> String {
        let library =
            std::fs::metadata(&self.config.runtime).map(|data| (data.len(), data.mtime())).unwrap_or_default();
        let (version, runtime) = (env!("CARGO_PKG_VERSION"), self.config.runtime.display());
        format!("qantra {version}, {} ms, {runtime} {} {}", self.config.deadline_ms, library.0, library.1)
    }

    /// Whether two versions may be loaded beside the one in force, and what they take.
    pub(super) fn room_for(&mut self, names: [&VersionName; 2]) -> Result<([VersionId; 2], u64), ModelError> {
        let ((first_id, first), (second_id, second)) = (self.trial(names[0])?, self.trial(names[1])?);
        let bytes = first.copy_bytes + second.copy_bytes;
        self.within_memory(self.in_force_bytes() + bytes)?;
        Ok(([first_id, second_id], bytes))
    }

    /// Loads two versions for which there is room.
    pub(super) fn sides(&self, names: [&VersionName; 2], ids: [VersionId; 2], bytes: u64) -> Result<Sides, ModelError> {
        let load = |name| {
            let config = &self.config;
            Side::load(&self.dir_of(name), &config.runtime, config.request_confidence, config.source_confidence)
        };
        Ok(Sides { ids, first: load(names[0])?, second: load(names[1])?, bytes })
    }

    /// What ONNX Runtime and the version in force take.
    pub(super) fn in_force_bytes(&self) -> u64 {
        self.in_force.as_ref().map_or(0, |passed| passed.runtime_bytes + passed.models_bytes)
    }

    fn within_memory(&self, bytes: u64) -> Result<(), ModelError> {
        let limit = self.memory_max();
        if bytes <= limit {
            return Ok(());
        }
        let used = bytes as f64 / f64::from(1 << 20);
        Err(refused(format!("would take {used:.1} MiB of memory, `models.max_resident_mb` is {}", limit >> 20)))
    }

    pub(super) fn memory_max(&self) -> u64 {
        u64::from(self.config.max_resident_mb) << 20
    }

    /// Every version, with its manifest and signature read again. The files of models are not: that is for those who load.
    pub(super) fn versions(&self) -> Vec<VersionStatus> {
        let kept = self.store.list().into_iter().map(VersionName::Kept);
        std::iter::once(VersionName::Shipped).chain(kept).map(|name| self.version(name)).collect()
    }

    fn version(&self, version: VersionName) -> VersionStatus {
        let state = listing::state_of(&version, &self.state).to_owned();
        let dir = self.dir_of(&version);
        let known = Manifest::read(&dir).and_then(|manifest| {
            let is_required = self.config.require_signature && version != VersionName::Shipped;
            let bundle = Bundle::head(&dir, &manifest)?;
            Ok((manifest, verify(&bundle, &Trust { is_required, ..self.trust() })))
        });
        let (models, signed, problem) = match known {
            Ok((manifest, signed)) => {
                let models = manifest.models.iter().map(|entry| format!("{} {}", entry.name, entry.version)).collect();
                (models, signed.as_ref().ok().copied(), signed.err())
            }
            Err(error) => (Vec::new(), None, Some(error)),
        };
        VersionStatus { version, state, models, signed, problem: problem.map(|error| error.to_string()) }
    }
}

pub(super) fn refused(reason: String) -> ModelError {
    ModelError::Life { reason }
}
