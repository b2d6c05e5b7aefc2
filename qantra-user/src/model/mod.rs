//! Enters: requests, feature ids and vectors. Leaves: scores with the model's name and version. The only user of ONNX
//! Runtime; it must never block a request: what comes too late is dropped and counted.

mod bar;
mod bundle;
mod cache;
mod canary;
mod check;
mod classifier;
mod compare;
mod core;
mod drift;
mod ensembles;
mod error;
mod gate;
mod guard;
mod keeper;
mod life;
#[cfg(test)]
mod life_tests;
mod listing;
mod manifest;
mod onnx;
mod sampler;
mod session;
mod signature;
mod source;
#[cfg(test)]
mod tests;
mod versions;
mod watch;

pub use bar::Bar;
pub use bundle::{BUNDLE_BYTES_MAX, Bundle, SIGNATURE, VersionId};
pub use canary::{CheckReport, CheckedModel, check_folder};
pub use check::{CheckLimits, check_apart, confine};
pub use classifier::{Classifier, ClassifierLimits, Job, QueueFull};
pub use compare::{Comparison, Side};
pub use core::{Answer, Core, RequestAttack, Verdict};
pub use drift::{FeatureDrift, Reference};
pub use error::ModelError;
pub use gate::{Case, FlaggedField, GateScore, RequestGate, Scratch, for_each_window};
pub use life::{LifeStart, LifeVerb, ModelLife};
pub use listing::{LiveComparison, ModelList, ModelStatus, ThresholdStatus, VersionStatus};
pub use manifest::{Manifest, ManifestEntry, ModelRole};
pub use onnx::{OnnxLimits, OnnxRefusal, OnnxSummary};
pub use sampler::Sampler;
pub use session::{IdSession, MatrixSession, NO_TELEMETRY, Runtime};
pub use signature::{Signed, Trust, is_public_key, verify};
pub use source::{SourceClaim, SourceModels, SourceScores};
pub use versions::{LifeState, Passed, RolledBack, VersionName, VersionStore};
pub use watch::{Drift, Purpose};

use std::path::Path;

use parking_lot::Mutex;
use prometheus::IntCounter;

use crate::{
    config::ModelsConfig,
    detect::AttackClass,
    features::http::http_schema,
    inspect::{RequestView, RuleSigns},
    metrics::Metrics,
};

/// The models of requests, loaded together: what `app` keeps behind an `ArcSwap` and `qantra model load` replaces.
#[derive(Debug)]
pub struct RequestModels {
    /// Scores every field of every request.
    pub gate: RequestGate,
    /// Classifies what the gate flags.
    pub classifier: Classifier,
    /// Requests that the gate scored.
    pub gate_scored: IntCounter,
    /// `models.deadline_ms` when they were loaded, in ns.
    pub deadline_ns: u64,
}

impl RequestModels {
    /// Loads both models from an open manifest.
    ///
    /// # Errors
    /// [`ModelError`]; the caller goes on without the plane and says so.
    pub fn load(
        runtime: &Runtime,
        manifest: &Manifest,
        config: &ModelsConfig,
        metrics: &Metrics,
    ) -> Result<Self, ModelError> {
        let schema = http_schema().hash();
        let entry = manifest.entry(ModelRole::RequestGate)?;
        let gate = RequestGate::load(runtime, entry, &manifest.file(entry, &schema)?)?;
        let gate_scored = metrics.model(&entry.name).scored;
        let name = &manifest.entry(ModelRole::RequestClassifier)?.name;
        let limits = ClassifierLimits {
            batch_max: config.batch_max,
            queue_max: config.queue_max,
            confidence: config.request_confidence,
        };
        let classifier = Classifier::start(runtime, manifest, limits, metrics.model(name))?;
        Ok(Self { gate, classifier, gate_scored, deadline_ns: config.deadline_ms * 1_000_000 })
    }
}

/// Everything that `models.dir` holds, with the manifest it came from. Loaded whole or not at all.
#[derive(Debug)]
pub struct Models {
    /// ONNX Runtime.
    pub runtime: Runtime,
    /// The manifest.
    pub manifest: Manifest,
    /// The request models.
    pub request: RequestModels,
    /// The source models. One thread scores sources; the lock is for the moment of a swap.
    pub source: Mutex<SourceModels>,
}

/// One line of `qantra model list`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ModelDescription {
    /// Its name in the manifest.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub role: ModelRole,
    /// Hash of its feature schema.
    pub schema: String,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Its thresholds, `name=value`.
    pub thresholds: Vec<String>,
}

impl Models {
    /// Loads ONNX Runtime, the manifest and every model.
    ///
    /// # Errors
    /// [`ModelError`], in one line that says what to do.
    pub fn load(config: &ModelsConfig, metrics: &Metrics) -> Result<Self, ModelError> {
        let manifest = Manifest::read(&config.dir)?;
        let runtime = Runtime::load(&config.runtime)?;
        let request = RequestModels::load(&runtime, &manifest, config, metrics)?;
        let source = Mutex::new(SourceModels::load(&runtime, &manifest, config.source_confidence)?);
        Ok(Self { runtime, manifest, request, source })
    }

    /// What `qantra model list` shows: every entry of the manifest that this was loaded from.
    #[must_use]
    pub fn describe(&self) -> Vec<ModelDescription> {
        let describe = |entry: &ManifestEntry| ModelDescription {
            name: entry.name.clone(),
            version: entry.version.clone(),
            role: entry.role,
            schema: entry.schema.clone(),
            sha256: entry.sha256.clone(),
            thresholds: entry.thresholds.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        };
        self.manifest.models.iter().map(describe).collect()
    }
}

/// What one version says of a request, for comparing it with another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestOpinion {
    /// The class, when it would refuse the request.
    pub class: Option<AttackClass>,
    /// The classifier's confidence; 0 where it was not asked.
    pub confidence: f32,
    /// Whether the gate flagged it.
    pub flagged: bool,
}

/// The request models without a thread of their own, for `qantra eval` and the bench.
#[derive(Debug)]
pub struct InlineRequestModels {
    gate: RequestGate,
    core: Core,
}

impl InlineRequestModels {
    /// Loads both models from a folder.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn load(dir: &Path, runtime: &Path, confidence: Option<f32>) -> Result<Self, ModelError> {
        let manifest = Manifest::read(dir)?;
        let runtime = Runtime::load(runtime)?;
        let schema = http_schema().hash();
        let entry = manifest.entry(ModelRole::RequestGate)?;
        let gate = RequestGate::load(&runtime, entry, &manifest.file(entry, &schema)?)?;
        let core = Core::load(&runtime, &manifest, confidence)?;
        Ok(Self { gate, core })
    }

    /// What the daemon would say of a request, had the models all the time they need. `signs` are what its site's rules
    /// matched, where there are rules.
    ///
    /// # Errors
    /// [`ModelError`] when ONNX Runtime fails.
    pub fn judge(
        &mut self,
        request: &RequestView<'_>,
        scratch: &mut Scratch,
        signs: Option<RuleSigns>,
    ) -> Result<(GateScore, Answer), ModelError> {
        let score = self.gate.score(request, scratch);
        if !is_asked(&score, signs.as_ref()) {
            return Ok((score, Answer::Pass));
        }
        let case = self.gate.case(scratch, signs);
        let verdict = self.core.judge(&[&case])?;
        Ok((score, verdict.first().map_or(Answer::Pass, |verdict| self.core.answer(case, verdict))))
    }

    /// What the daemon would do, and the confidence below its threshold as well.
    ///
    /// # Errors
    /// [`ModelError`] when ONNX Runtime fails.
    pub fn opinion(&mut self, request: &RequestView<'_>, scratch: &mut Scratch) -> Result<RequestOpinion, ModelError> {
        if !self.gate.score(request, scratch).flagged {
            return Ok(RequestOpinion { class: None, confidence: 0.0, flagged: false });
        }
        let verdicts = self.core.judge(&[&self.gate.case(scratch, None)])?;
        let (class, confidence) = verdicts.first().map_or((None, 0.0), |one| (Some(one.class), one.confidence));
        let class = class.filter(|_| confidence >= self.core.threshold(false));
        Ok(RequestOpinion { class, confidence, flagged: true })
    }

    /// The gate.
    #[must_use]
    pub const fn gate(&self) -> &RequestGate {
        &self.gate
    }

    /// The classifier.
    pub const fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    /// Confidence from which a request is an attack, where rules were weighed as well or not.
    #[must_use]
    pub const fn confidence(&self, with_rules: bool) -> f32 {
        self.core.threshold(with_rules)
    }

    /// Sets that confidence, for as long as this is loaded.
    pub fn set_confidence(&mut self, with_rules: bool, confidence: f32) {
        self.core.set_threshold(with_rules, confidence);
    }
}

/// Whether classifier and judge are asked about a request: the gate flags it, or rules that name an attack matched.
#[must_use]
pub fn is_asked(score: &GateScore, signs: Option<&RuleSigns>) -> bool {
    score.flagged || signs.is_some_and(|signs| !signs.is_empty())
}
