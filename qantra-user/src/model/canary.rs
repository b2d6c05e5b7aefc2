//! Enters: a folder of models. Leaves: what each is and costs, once it has run on inputs of full size with answers that
//! make sense, soon. It runs in a process of its own (see [`super::check`]): a model is a program of a stranger, and ONNX
//! Runtime can be stopped only by ending its process.

use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{
    Manifest, ModelError, ModelRole, Runtime, SourceModels, Verdict,
    core::Core,
    error::one_line,
    gate::{Case, FlaggedField, RequestGate},
};
use crate::{
    features::{
        http::{CLASSIFIER_POSITIONS_MAX, GRAM_BUCKETS, GRAMS_PER_POSITION, http_schema, shape},
        request::{ASKED_MAX, FIELD_CLASSES},
        source::{SOURCE_COLUMNS, SourceVector},
    },
    inspect::RuleSigns,
    metrics::resident_bytes,
};

/// How often a batch is run; the median counts.
const RUNS: usize = 9;
/// How many more copies are loaded to see what one takes.
const COPIES: u64 = 2;
/// Sources of one look.
const SOURCES: usize = 1_024;
/// Longest run of the source models over a full look.
const SOURCES_MS_MAX: f64 = 500.0;

/// What the check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Every model, in the manifest's order.
    pub models: Vec<CheckedModel>,
    /// Resident memory that the models took, with what of ONNX Runtime they were the first to use.
    pub models_bytes: u64,
    /// Resident memory that one more copy of them takes, as for a shadow.
    pub copy_bytes: u64,
    /// Resident memory that ONNX Runtime took.
    pub runtime_bytes: u64,
}

/// One model that was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckedModel {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: ModelRole,
    /// SHA-256 of the file that was checked.
    pub sha256: String,
    /// Median time of the canary, ms: one request's fields, or a look at 1,024 sources. None for the gate, which is a table.
    pub canary_ms: Option<f64>,
}

/// Loads every model of a folder and runs it on canaries.
///
/// # Errors
/// The first [`ModelError`]; `deadline_ms` is what a request's classification may take.
pub fn check_folder(dir: &Path, runtime: &Path, deadline_ms: u64) -> Result<CheckReport, ModelError> {
    let manifest = Manifest::read(dir)?;
    let resident = || resident_bytes().unwrap_or(0);
    let empty = resident();
    let runtime = Runtime::load(runtime)?;
    let with_runtime = resident();
    let (first, request_ms, sources_ms) = load_and_run(&manifest, &runtime, RUNS)?;
    let model = &manifest.entry(ModelRole::RequestClassifier)?.name;
    in_time(model, "one request's fields", request_ms, deadline_ms as f64 / 2.0)?;
    in_time("source models", "a look at 1,024 sources", sources_ms, SOURCES_MS_MAX)?;
    let full = resident();
    let copies = (0..COPIES).map(|_| load_and_run(&manifest, &runtime, 1));
    let copies = copies.collect::<Result<Vec<_>, ModelError>>()?;
    // Memory that was free again after loading may have been used; the files' content at least is there once more.
    let mut files_bytes = 0;
    for entry in &manifest.models {
        files_bytes += manifest.bytes(entry)?.len() as u64;
    }
    let copy_bytes = (resident().saturating_sub(full) / COPIES).max(files_bytes);
    drop((first, copies));
    let models = manifest.models.iter().map(|entry| CheckedModel {
        name: entry.name.clone(),
        role: entry.role,
        sha256: entry.sha256.clone(),
        canary_ms: match entry.role {
            ModelRole::RequestGate => None,
            ModelRole::RequestClassifier | ModelRole::RequestJudge | ModelRole::RequestJudgeRules => Some(request_ms),
            ModelRole::SourceForest | ModelRole::SourceClassifier => Some(sources_ms),
        },
    });
    Ok(CheckReport {
        models: models.collect(),
        models_bytes: full.saturating_sub(with_runtime),
        copy_bytes,
        runtime_bytes: with_runtime.saturating_sub(empty),
    })
}

type Loaded = (RequestGate, Core, SourceModels);

/// Loads one copy of every model and runs it; returns what the request models and the source models took, in ms.
fn load_and_run(manifest: &Manifest, runtime: &Runtime, runs: usize) -> Result<(Loaded, f64, f64), ModelError> {
    let schema = http_schema().hash();
    let entry = manifest.entry(ModelRole::RequestGate)?;
    let gate = RequestGate::load(runtime, entry, &manifest.file(entry, &schema)?)?;
    let mut core = Core::load(runtime, manifest, None)?;
    let request_ms = request(&mut core, &manifest.entry(ModelRole::RequestClassifier)?.name, runs)?;
    let mut source = SourceModels::load(runtime, manifest, None)?;
    let sources_ms = sources(&mut source, runs)?;
    Ok(((gate, core, source), request_ms, sources_ms))
}

/// Requests whose fields are as long as they get.
fn request(core: &mut Core, model: &str, runs: usize) -> Result<f64, ModelError> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut times = Vec::with_capacity(2 * RUNS);
    for run in 0..2 * runs {
        let case = Case {
            fields: (0..ASKED_MAX).map(|_| field(&mut random)).collect(),
            kinds: std::array::from_fn(|_| random.share() * 20.0 - 6.0),
            signs: (run % 2 == 1).then(|| signs(&mut random)),
        };
        let begun_ms = thread_ms();
        let verdicts = core.judge(&[&case])?;
        times.push(thread_ms() - begun_ms);
        let is_share = |verdict: &Verdict| (0.0..=1.0).contains(&verdict.confidence);
        sensible(model, verdicts.len() == 1 && verdicts.iter().all(is_share))?;
        probabilities(model, core.probabilities(case.fields.iter())?.as_slice(), FIELD_CLASSES)?;
    }
    Ok(median(times))
}

fn signs(random: &mut Random) -> RuleSigns {
    RuleSigns {
        attacks: std::array::from_fn(|_| (random.next() % 4) as u8),
        places: std::array::from_fn(|_| (random.next() % 4) as u8),
        score: (random.next() % 60) as u16,
        field_score: (random.next() % 40) as u16,
        field_kinds: (random.next() % 4) as u8,
    }
}

fn field(random: &mut Random) -> FlaggedField {
    let length = CLASSIFIER_POSITIONS_MAX * GRAMS_PER_POSITION;
    FlaggedField {
        name: String::new(),
        excerpt: String::new(),
        ids: (0..length).map(|_| (random.next() % GRAM_BUCKETS as u64) as u16).collect(),
        shape: shape(b"a'b<c"),
        score: random.share() * 10.0,
        threshold: 0.0,
        weights: Vec::new(),
        lowered_by: 0.0,
    }
}

/// Sources that do nothing, everything, and anything between.
fn sources(models: &mut SourceModels, runs: usize) -> Result<f64, ModelError> {
    let mut random = Random(0xD1B5_4A32_D192_ED03);
    let mut times = Vec::with_capacity(RUNS);
    for scale in [1.0, 0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 20.0, 30.0].into_iter().take(runs) {
        let vector = |random: &mut Random| SourceVector {
            address: std::net::Ipv4Addr::UNSPECIFIED.into(),
            values: std::array::from_fn::<f32, SOURCE_COLUMNS, _>(|_| random.share() * scale),
        };
        let vectors: Vec<SourceVector> = (0..SOURCES).map(|_| vector(&mut random)).collect();
        let begun_ms = thread_ms();
        let anomalies = models.anomaly_scores(&vectors)?;
        let classes = models.class_probabilities(&vectors)?;
        times.push(thread_ms() - begun_ms);
        sensible(ModelRole::SourceForest.as_str(), anomalies.iter().all(|score| (0.0..=1.0).contains(score)))?;
        probabilities(ModelRole::SourceClassifier.as_str(), &classes, models.class_count())?;
    }
    Ok(median(times))
}

/// Rows of numbers from 0 to 1 that add up to 1.
fn probabilities(model: &str, numbers: &[f32], classes: usize) -> Result<(), ModelError> {
    let is_share = |number: &f32| (-1e-3..=1.001).contains(number);
    let adds_up = |row: &[f32]| (row.iter().sum::<f32>() - 1.0).abs() < 0.01;
    sensible(model, numbers.iter().all(is_share) && numbers.chunks_exact(classes.max(1)).all(adds_up))
}

fn sensible(model: &str, is_sensible: bool) -> Result<(), ModelError> {
    let reason = "its answers to the canary are not finite numbers from 0 to 1 that add up".into();
    if is_sensible { Ok(()) } else { Err(ModelError::Shape { model: model.to_owned(), reason }) }
}

fn in_time(model: &str, what: &str, ms: f64, ms_max: f64) -> Result<(), ModelError> {
    if ms <= ms_max {
        return Ok(());
    }
    let reason = format!("is too slow: {what} took {ms:.1} ms, the limit is {ms_max} ms");
    Err(ModelError::Shape { model: model.to_owned(), reason: one_line(&reason) })
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// Time of this thread on a processor: what else runs on the box is no fault of the model.
fn thread_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// The same canaries every time, so that a model is not refused today and taken tomorrow.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn share(&mut self) -> f32 {
        (self.next() % 10_001) as f32 / 10_000.0
    }
}
