//! Enters: bundles, and what people want done with versions. Leaves: the models that score, swapped in one step. What is
//! wrong with a candidate is said and changes nothing; it must never be in force before it passed signature, limits and
//! a trial in a process of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    Bundle, LifeState, LiveComparison, ModelError, ModelList, ModelRole, ModelStatus, Models, Purpose, Sampler,
    VersionName, VersionStatus, VersionStore,
    guard::{Guard, is_over_budget},
    keeper::{Keeper, Sides, refused},
    listing,
    signature::verify,
    versions::{Passed, RolledBack},
    watch::{Board, Figures, Guarded, Pair, Watch},
};
use crate::{
    clock::{self, Now},
    config::ModelsConfig,
    metrics::Metrics,
};

/// Features that a listing shows: those that moved most.
const DRIFT_SHOWN: usize = 8;

/// What is to be done with a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, tag = "verb")]
pub enum LifeVerb {
    /// Put a version in force; none: the shadow.
    Promote {
        /// Its name, `shipped`, `shadow` or `previous`.
        version: Option<String>,
        /// Even if it went back by itself, or its shadow run broke the budget.
        #[serde(default)]
        force: bool,
    },
    /// Run a version beside the active one; none: end that.
    Shadow {
        /// Its name.
        version: Option<String>,
    },
    /// Put the version before in force again.
    Rollback,
}

impl LifeVerb {
    /// As metrics have it.
    const fn name(&self) -> &'static str {
        match self {
            Self::Promote { .. } => "promote",
            Self::Shadow { .. } => "shadow",
            Self::Rollback => "rollback",
        }
    }
}

/// What [`ModelLife::start`] needs.
#[derive(Debug)]
pub struct LifeStart<'a> {
    /// `[models]`.
    pub config: ModelsConfig,
    /// `daemon.state_dir`.
    pub state_dir: &'a Path,
    /// Where figures go.
    pub metrics: Arc<Metrics>,
    /// The program that runs trials; none: the running one.
    pub program: Option<PathBuf>,
}

/// Everything about which models are in force.
#[derive(Debug)]
pub struct ModelLife {
    active: Arc<ArcSwapOption<Models>>,
    sampler: Arc<Sampler>,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    /// One change at a time. Never taken by a request or a listing.
    keeper: Mutex<Keeper>,
    /// What listings show, as of the last change.
    shown: ArcSwap<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    models: Vec<ModelStatus>,
    problem: Option<String>,
    versions: Vec<VersionStatus>,
    rolled_back: Vec<RolledBack>,
    in_force_bytes: u64,
    memory_max: u64,
}

impl ModelLife {
    /// Puts in force what was so before, or the shipped models, or none: then the daemon goes on without.
    ///
    /// # Errors
    /// The folder for versions cannot be made, or no thread started.
    pub fn start(start: LifeStart<'_>) -> Result<Arc<Self>, ModelError> {
        let LifeStart { config, state_dir, metrics, program } = start;
        let (store, state, problem) = VersionStore::open(state_dir)?;
        let (sampler, samples) = Sampler::new(metrics.queue_dropped("model_samples"));
        let (active, board) = (Arc::new(ArcSwapOption::empty()), Arc::new(Board::default()));
        let keeper = Keeper { config, store, state, problem, in_force: None, program };
        let life = Arc::new(Self {
            active: Arc::clone(&active),
            sampler: Arc::new(sampler),
            board: Arc::clone(&board),
            metrics: Arc::clone(&metrics),
            keeper: Mutex::new(keeper),
            shown: ArcSwap::default(),
        });
        let unflagged = ["pass", "attack"].map(|judge| metrics.model_unflagged.with_label_values(&[judge]));
        let watch = Watch { life: Arc::downgrade(&life), active, board, samples, metrics, unflagged };
        watch.start().map_err(|source| ModelError::Read { path: "model-watch".into(), source })?;
        life.change(|keeper| life.begin(keeper));
        Ok(life)
    }

    /// What scores requests and sources: swapped in one step, so that whoever loads it has one whole version.
    #[must_use]
    pub fn active(&self) -> Arc<ArcSwapOption<Models>> {
        Arc::clone(&self.active)
    }

    /// Where requests are offered for drift and comparisons.
    #[must_use]
    pub fn sampler(&self) -> Arc<Sampler> {
        Arc::clone(&self.sampler)
    }

    /// Changes something alone, and shows what came of it.
    fn change<T>(&self, step: impl FnOnce(&mut Keeper) -> T) -> T {
        let keeper = &mut *self.keeper.lock();
        let came = step(keeper);
        let active = self.active.load();
        self.shown.store(Arc::new(Shown {
            models: active.as_ref().map(|models| listing::models(&models.manifest, &keeper.config)).unwrap_or_default(),
            problem: keeper.problem.clone(),
            versions: if keeper.config.enabled { keeper.versions() } else { Vec::new() },
            rolled_back: keeper.state.rolled_back.clone(),
            in_force_bytes: keeper.in_force_bytes(),
            memory_max: keeper.memory_max(),
        }));
        let bytes = keeper.in_force_bytes() + self.compared_bytes();
        self.metrics.model_resident.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        came
    }

    fn begin(&self, keeper: &mut Keeper) {
        self.sampler.set_rate(if keeper.config.enabled { keeper.config.samples_per_s } else { 0 });
        if !keeper.config.enabled {
            keeper.problem = None;
            return self.put(keeper, None);
        }
        let wanted = keeper.state.active.clone();
        let brought = self.bring(keeper, &wanted).or_else(|error| {
            if wanted == VersionName::Shipped {
                return Err(error);
            }
            let note = format!("version {wanted} cannot be used, the shipped models are in force: {error}");
            tracing::error!("{note}");
            keeper.problem = Some(note);
            keeper.state.active = VersionName::Shipped;
            self.bring(keeper, &VersionName::Shipped)
        });
        match brought {
            Ok(models) => self.put(keeper, Some(models)),
            Err(error) => {
                tracing::error!(%error, "going on without models");
                self.metrics.fail_open("model").inc();
                keeper.problem = Some(error.to_string());
                self.put(keeper, None);
            }
        }
        // The trial's result is worth keeping, not worth failing for.
        if let Err(error) = keeper.store.save(&keeper.state) {
            tracing::warn!(%error, "the state of models is not kept");
        }
        self.watch_again(keeper);
    }

    /// Goes on with the shadow, or with the guard of what was promoted not long ago.
    fn watch_again(&self, keeper: &mut Keeper) {
        if let Some(shadow) = keeper.state.shadow.clone() {
            if let Err(error) = self.shadow(keeper, &shadow) {
                keeper.state.shadow = None;
                keeper.problem = Some(format!("the shadow {shadow} ended: {error}"));
            }
            return;
        }
        let promoted_s = keeper.state.promoted_unix_ms.map_or(0, |ms| ms / 1_000);
        let left_s = (promoted_s + keeper.config.guard_s).saturating_sub(Now::read().unix_ms / 1_000);
        if promoted_s > 0 && left_s > 0 {
            self.guard(keeper, left_s.min(keeper.config.guard_s));
        }
    }

    /// Another configuration. Models are loaded again only where it says something about them.
    ///
    /// # Errors
    /// The models cannot be used as the new configuration says; the old ones stay.
    pub fn reconfigure(&self, fresh: &ModelsConfig) -> Result<(), ModelError> {
        self.change(|keeper| {
            let before = std::mem::replace(&mut keeper.config, fresh.clone());
            self.sampler.set_rate(if fresh.enabled { fresh.samples_per_s } else { 0 });
            if !fresh.enabled {
                keeper.problem = None;
                self.stop_comparing();
                self.put(keeper, None);
                return Ok(());
            }
            let is_same = ModelsConfig {
                keep_versions: fresh.keep_versions,
                samples_per_s: fresh.samples_per_s,
                max_false_positive_rate: fresh.max_false_positive_rate,
                guard_s: fresh.guard_s,
                ..before.clone()
            } == *fresh;
            if is_same {
                return Ok(());
            }
            let wanted = keeper.state.active.clone();
            self.stop_comparing();
            match self.bring(keeper, &wanted) {
                Ok(models) => self.put(keeper, Some(models)),
                Err(error) => {
                    self.sampler.set_rate(if before.enabled { before.samples_per_s } else { 0 });
                    keeper.config = before;
                    self.watch_again(keeper);
                    return Err(error);
                }
            }
            keeper.problem = None;
            self.watch_again(keeper);
            Ok(())
        })
    }

    /// Checks a bundle and keeps it. Nothing else changes.
    ///
    /// # Errors
    /// Signature, limits, schema or the trial refuse it.
    pub fn install(&self, bundle: &Bundle) -> Result<VersionName, ModelError> {
        let installed = self.change(|keeper| {
            verify(bundle, &keeper.trust())?;
            let id = keeper.store.install(bundle)?;
            let name = VersionName::Kept(id.clone());
            if let Err(error) = keeper.trial(&name) {
                if listing::state_of(&name, &keeper.state).is_empty() {
                    let _gone = std::fs::remove_dir_all(keeper.dir_of(&name));
                }
                return Err(error);
            }
            let keep = keeper.config.keep_versions as usize;
            keeper.store.prune(&mut keeper.state, keep, &id);
            keeper.store.save(&keeper.state)?;
            Ok(name)
        });
        self.count("install", installed.is_ok());
        installed
    }

    fn count(&self, verb: &str, is_done: bool) {
        let result = if is_done { "done" } else { "refused" };
        self.metrics.model_changes.with_label_values(&[verb, result]).inc();
    }

    /// Does what people want.
    ///
    /// # Errors
    /// [`ModelError`]; then everything is as before.
    pub fn act(&self, verb: &LifeVerb) -> Result<(), ModelError> {
        let done = self.change(|keeper| self.act_on(keeper, verb));
        self.count(verb.name(), done.is_ok());
        done
    }

    fn act_on(&self, keeper: &mut Keeper, verb: &LifeVerb) -> Result<(), ModelError> {
        if !keeper.config.enabled {
            return Err(refused("models are off; set `models.enabled` and reload".into()));
        }
        match verb {
            LifeVerb::Promote { version, force } => {
                let wanted = match version {
                    Some(text) => keeper.find(text)?,
                    None => keeper.state.shadow.clone().ok_or_else(|| {
                        let hint = "name a version, `qantra model list` shows them";
                        refused(format!("there is no shadow to promote; {hint}"))
                    })?,
                };
                if !force {
                    self.may_promote(keeper, &wanted)?;
                }
                self.promote(keeper, &wanted)
            }
            LifeVerb::Shadow { version: Some(text) } => {
                let wanted = keeper.find(text)?;
                if wanted == keeper.state.active {
                    return Err(refused(format!("version {wanted} is in force; a shadow must be another one")));
                }
                self.shadow(keeper, &wanted)?;
                keeper.state.shadow = Some(wanted);
                keeper.store.save(&keeper.state)
            }
            LifeVerb::Shadow { version: None } => {
                keeper.state.shadow = None;
                self.stop_comparing();
                keeper.store.save(&keeper.state)
            }
            LifeVerb::Rollback => self.go_back(keeper),
        }
    }

    fn may_promote(&self, keeper: &Keeper, wanted: &VersionName) -> Result<(), ModelError> {
        if let Some(known) = keeper.state.rolled_back.iter().find(|known| known.version == *wanted) {
            return Err(refused(format!("version {wanted} went back by itself: {}; --force overrides", known.reason)));
        }
        let figures = self.board.figures.lock();
        let (refusals, requests) = (figures.newly_refused, figures.comparison.requests);
        let is_its_shadow_run = keeper.state.shadow.as_ref() == Some(wanted);
        let budget = keeper.config.max_false_positive_rate;
        if is_its_shadow_run && is_over_budget(refusals, requests, budget) {
            return Err(refused(format!(
                "of {requests} requests it refused as a shadow some from {refusals} sources that the active version let \
                 pass; the budget (`models.max_false_positive_rate`) is {budget}; --force overrides"
            )));
        }
        Ok(())
    }

    fn promote(&self, keeper: &mut Keeper, wanted: &VersionName) -> Result<(), ModelError> {
        let models = self.bring(keeper, wanted)?;
        let before = keeper.state.clone();
        if keeper.state.active != *wanted {
            keeper.state.previous = Some(std::mem::replace(&mut keeper.state.active, wanted.clone()));
        }
        keeper.state.promoted_unix_ms = Some(Now::read().unix_ms);
        keeper.state.rolled_back.retain(|known| known.version != *wanted);
        // A shadow is compared with what was in force; that has gone.
        keeper.state.shadow = None;
        self.save_and_put(keeper, before, models)?;
        tracing::info!(version = %wanted, "models promoted");
        self.guard(keeper, keeper.config.guard_s);
        Ok(())
    }

    fn go_back(&self, keeper: &mut Keeper) -> Result<(), ModelError> {
        let Some(previous) = keeper.state.previous.clone() else {
            return Err(refused("there is no version before this one".into()));
        };
        let models = self.bring(keeper, &previous)?;
        let before = keeper.state.clone();
        keeper.state.previous = Some(std::mem::replace(&mut keeper.state.active, previous.clone()));
        keeper.state.promoted_unix_ms = None;
        keeper.state.shadow = None;
        self.save_and_put(keeper, before, models)?;
        self.stop_comparing();
        tracing::info!(version = %previous, "models rolled back");
        Ok(())
    }

    /// First the disk, then the models: after a power cut a start finds what was in force, or what was about to be.
    fn save_and_put(&self, keeper: &mut Keeper, before: LifeState, models: (Models, Passed)) -> Result<(), ModelError> {
        if let Err(error) = keeper.store.save(&keeper.state) {
            keeper.state = before;
            return Err(error);
        }
        keeper.problem = None;
        self.put(keeper, Some(models));
        Ok(())
    }

    /// Guards what was promoted, for a while.
    fn guard(&self, keeper: &mut Keeper, for_s: u64) {
        let Some(models) = self.active.load_full() else { return };
        let Ok(classifier) = models.manifest.entry(ModelRole::RequestClassifier) else { return };
        let metrics = self.metrics.model(&classifier.name);
        let late = metrics.late.get();
        let guard = Guarded {
            version: keeper.state.active.clone(),
            policy: Guard::new(keeper.config.max_false_positive_rate),
            until_boot_ns: clock::boot_ns() + for_s * 1_000_000_000,
            answers_before: metrics.scored.get() + late,
            late_before: late,
            metrics,
        };
        let active = keeper.state.active.clone();
        let before = keeper.state.previous.clone().filter(|before| *before != active);
        let sides = before.and_then(|before| match self.sides(keeper, [&before, &active]) {
            Ok(sides) => Some(sides),
            Err(error) => {
                tracing::warn!(%error, "the promoted models are guarded by their latency alone");
                None
            }
        });
        *self.board.pair.lock() = Some(Pair::new(Purpose::Guard, sides, Some(guard)));
        self.forget_figures();
    }

    /// A promoted version broke its budget or its deadline.
    pub(super) fn go_back_because(&self, version: &VersionName, reason: &str) {
        self.change(|keeper| {
            if keeper.state.active != *version {
                return;
            }
            let gone = RolledBack {
                version: keeper.state.active.clone(),
                at_unix_ms: Now::read().unix_ms,
                reason: reason.to_owned(),
            };
            tracing::warn!(version = %gone.version, reason, "models go back by themselves");
            keeper.state.remember(gone);
            match self.go_back(keeper) {
                Ok(()) => self.metrics.model_rollbacks.inc(),
                Err(error) => {
                    tracing::error!(%error, "the models before cannot be put in force");
                    keeper.problem = Some(format!("should have gone back ({reason}), and could not: {error}"));
                }
            }
        });
    }

    /// The bundle of a version.
    ///
    /// # Errors
    /// There is none of that name, or its files are damaged.
    pub fn export(&self, text: &str) -> Result<Bundle, ModelError> {
        let keeper = self.keeper.lock();
        Bundle::read(&keeper.dir_of(&keeper.find(text)?))
    }

    /// What there is. Waits for no change.
    #[must_use]
    pub fn list(&self) -> ModelList {
        let shown = self.shown.load();
        let mut models = shown.models.clone();
        for model in &mut models {
            model.scored = self.metrics.model(&model.name).scored.get();
        }
        let (purpose, compared_bytes) = match &*self.board.pair.lock() {
            Some(Pair { purpose, sides: Some(sides), .. }) => (Some(*purpose), sides.bytes),
            _ => (None, 0),
        };
        let figures = self.board.figures.lock();
        let mut drift = figures.drift.clone();
        drift.sort_by(|a, b| b.psi.total_cmp(&a.psi));
        drift.truncate(DRIFT_SHOWN);
        ModelList {
            models,
            problem: shown.problem.clone(),
            versions: shown.versions.clone(),
            resident_bytes: shown.in_force_bytes + compared_bytes,
            resident_bytes_max: shown.memory_max,
            comparison: purpose.map(|purpose| LiveComparison {
                purpose,
                figures: figures.comparison.clone(),
                newly_refused: figures.newly_refused,
            }),
            drift,
            rolled_back: shown.rolled_back.clone(),
        }
    }

    /// Checks a version and loads it beside everything that is loaded.
    fn bring(&self, keeper: &mut Keeper, name: &VersionName) -> Result<(Models, Passed), ModelError> {
        keeper.bring(name, self.compared_bytes(), &self.metrics)
    }

    fn compared_bytes(&self) -> u64 {
        self.board.pair.lock().as_ref().and_then(|pair| pair.sides.as_ref()).map_or(0, |sides| sides.bytes)
    }

    /// Runs the active version and another one side by side.
    fn shadow(&self, keeper: &mut Keeper, second: &VersionName) -> Result<(), ModelError> {
        let active = keeper.state.active.clone();
        let sides = self.sides(keeper, [&active, second])?;
        *self.board.pair.lock() = Some(Pair::new(Purpose::Shadow, Some(sides), None));
        self.forget_figures();
        Ok(())
    }

    /// Two versions side by side: those that are, when they are the same, as after the promotion of a shadow.
    fn sides(&self, keeper: &mut Keeper, names: [&VersionName; 2]) -> Result<Box<Sides>, ModelError> {
        let (ids, bytes) = keeper.room_for(names)?;
        let known = self.board.pair.lock().take().and_then(|pair| pair.sides);
        match known.filter(|sides| sides.ids == ids) {
            Some(sides) => Ok(sides),
            None => keeper.sides(names, ids, bytes).map(Box::new),
        }
    }

    fn stop_comparing(&self) {
        *self.board.pair.lock() = None;
        self.forget_figures();
    }

    fn forget_figures(&self) {
        let mut figures = self.board.figures.lock();
        let drift = std::mem::take(&mut figures.drift);
        *figures = Figures { drift, ..Figures::default() };
    }

    /// The one step in which models change. Who scores with the old ones finishes with them.
    fn put(&self, keeper: &mut Keeper, models: Option<(Models, Passed)>) {
        let info = |models: &Models| -> Vec<(String, String)> {
            models.manifest.models.iter().map(|entry| (entry.name.clone(), entry.version.clone())).collect()
        };
        let (models, passed) = models.unzip();
        let fresh = models.as_ref().map(info).unwrap_or_default();
        keeper.in_force = passed;
        let old = self.active.swap(models.map(Arc::new));
        self.metrics.models_changed(&old.as_deref().map(info).unwrap_or_default(), &fresh);
    }
}
