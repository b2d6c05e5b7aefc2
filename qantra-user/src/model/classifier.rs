//! Enters: flagged fields. Leaves: attack class and confidence, by a callback. It runs on a thread of its own over a
//! bounded queue; a request must never wait for it past its deadline: what is late is dropped and counted.

use std::{sync::Arc, thread};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::{
    error::ModelError,
    gate::FlaggedField,
    manifest::ManifestEntry,
    session::{IdSession, Runtime},
};
use crate::{
    clock,
    detect::{AttackClass, Evidence, Measurement},
    features::http::{CLASSIFIER_POSITIONS_MAX, GRAMS_PER_POSITION, PADDING_ID},
    metrics::ModelMetrics,
};

/// Longest input: the grams of as many positions as are shown, and the field's kind.
const WIDTH_MAX: usize = CLASSIFIER_POSITIONS_MAX * GRAMS_PER_POSITION + 1;

/// One request that the gate flagged.
pub struct Job {
    /// Its flagged fields, worst first.
    pub fields: Vec<FlaggedField>,
    /// When the answer is of no use any more: ns since boot.
    pub deadline_boot_ns: u64,
    /// Called with the answer on the classifier's thread; dropped uncalled when the job is late or fails.
    pub answer: Box<dyn FnOnce(Answer) + Send>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("fields", &self.fields).finish_non_exhaustive()
    }
}

/// What the classifier says of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Confidence is below the threshold.
    Pass,
    /// Confidence reaches the threshold.
    Attack(Box<RequestAttack>),
}

/// A request that the classifier is sure about: all of a finding that is known here.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestAttack {
    /// The most likely attack class.
    pub class: AttackClass,
    /// 1 minus the probability of `benign`.
    pub confidence: f32,
    /// The model's name in the manifest.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Field, masked excerpt, n-grams that weighed most, scores beside their thresholds.
    pub evidence: Evidence,
}

/// The queue is full: the request goes on unclassified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the classifier's queue is full")]
pub struct QueueFull;

/// How the classifier is run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassifierLimits {
    /// Most fields in one batch.
    pub batch_max: usize,
    /// Most jobs that wait.
    pub queue_max: usize,
    /// Confidence from which a request is an attack; none: the manifest's.
    pub confidence: Option<f32>,
}

/// The classifier's handle. Its thread ends when the last handle is gone and the queue is empty.
#[derive(Debug, Clone)]
pub struct Classifier {
    queue: Sender<Job>,
    confidence: f32,
}

impl Classifier {
    /// Loads the model and starts its thread.
    ///
    /// # Errors
    /// [`ModelError`] when the file does not load, or its classes or thresholds are not as they must be.
    pub fn start(
        runtime: &Runtime,
        entry: &ManifestEntry,
        bytes: &[u8],
        limits: ClassifierLimits,
        metrics: ModelMetrics,
    ) -> Result<Self, ModelError> {
        let core = Core::load(runtime, entry, bytes, limits.confidence)?;
        let confidence = core.threshold;
        let (queue, jobs) = crossbeam_channel::bounded(limits.queue_max.max(1));
        let worker = Worker { core, jobs, batch_max: limits.batch_max.max(1), metrics };
        thread::Builder::new().name("classifier".into()).spawn(move || worker.run()).map_err(|error| {
            ModelError::Onnx { model: entry.name.clone(), reason: format!("no thread for it: {error}") }
        })?;
        Ok(Self { queue, confidence })
    }

    /// Queues a job. Never waits.
    ///
    /// # Errors
    /// [`QueueFull`]; the job, and with it its callback, is dropped.
    pub fn submit(&self, job: Job) -> Result<(), QueueFull> {
        match self.queue.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(QueueFull),
        }
    }

    /// The confidence from which a request is an attack.
    #[must_use]
    pub const fn confidence(&self) -> f32 {
        self.confidence
    }
}

/// The loaded model without a thread: what the worker runs, and `qantra eval` and the bench directly.
#[derive(Debug)]
pub struct Core {
    session: IdSession,
    name: Arc<str>,
    version: Arc<str>,
    classes: Vec<Option<AttackClass>>,
    threshold: f32,
    ids: Vec<i32>,
}

impl Core {
    /// Loads the model.
    ///
    /// # Errors
    /// As [`Classifier::start`].
    pub fn load(
        runtime: &Runtime,
        entry: &ManifestEntry,
        bytes: &[u8],
        confidence: Option<f32>,
    ) -> Result<Self, ModelError> {
        let shape = |reason: String| ModelError::Shape { model: entry.name.clone(), reason };
        let mut classes = Vec::with_capacity(entry.classes.len());
        for name in &entry.classes {
            let class = AttackClass::ALL.into_iter().find(|class| class.as_str() == name);
            if class.is_none() && name != "benign" {
                return Err(shape(format!("class `{name}` in the manifest is unknown")));
            }
            classes.push(class);
        }
        if classes.iter().filter(|class| class.is_none()).count() != 1 {
            return Err(shape("needs exactly one class `benign` in the manifest".into()));
        }
        let threshold = match confidence {
            Some(confidence) => confidence,
            None => entry.threshold("confidence")?,
        };
        let session = IdSession::new(runtime, &entry.name, bytes, classes.len())?;
        let (name, version) = (entry.name.as_str().into(), entry.version.as_str().into());
        Ok(Self { session, name, version, classes, threshold, ids: Vec::new() })
    }

    /// Class and confidence of each field, in one batch.
    ///
    /// # Errors
    /// [`ModelError`] when ONNX Runtime fails.
    pub fn classify<'a>(
        &mut self,
        fields: impl Iterator<Item = &'a FlaggedField> + Clone,
    ) -> Result<Vec<(AttackClass, f32)>, ModelError> {
        let probabilities = self.probabilities(fields)?;
        Ok(probabilities.chunks_exact(self.classes.len()).map(|row| self.read(row)).collect())
    }

    /// What the model says of each field: one row of as many numbers as there are classes.
    pub(super) fn probabilities<'a>(
        &mut self,
        fields: impl Iterator<Item = &'a FlaggedField> + Clone,
    ) -> Result<Vec<f32>, ModelError> {
        let width = fields.clone().map(|field| field.ids.len().min(WIDTH_MAX)).max().unwrap_or(0);
        self.ids.clear();
        for field in fields {
            let ids = &field.ids[field.ids.len().saturating_sub(WIDTH_MAX)..];
            self.ids.extend(ids.iter().map(|id| i32::from(*id)));
            self.ids.extend(std::iter::repeat_n(i32::from(PADDING_ID), width - ids.len()));
        }
        self.session.run(&self.ids, width)
    }

    /// How many classes it tells apart.
    pub(super) const fn class_count(&self) -> usize {
        self.classes.len()
    }

    fn read(&self, probabilities: &[f32]) -> (AttackClass, f32) {
        let mut best = (AttackClass::OtherInjection, 0.0);
        let mut benign = 1.0;
        for (class, probability) in self.classes.iter().zip(probabilities) {
            match class {
                Some(class) if *probability > best.1 => best = (*class, *probability),
                Some(_) => {}
                None => benign = *probability,
            }
        }
        (best.0, (1.0 - benign).clamp(0.0, 1.0))
    }

    /// Confidence from which a request is an attack.
    #[must_use]
    pub const fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Sets it: what a site's own traffic says is better than what was shipped.
    pub const fn set_threshold(&mut self, threshold: f32) {
        self.threshold = threshold;
    }

    /// The answer for one request: its field with the highest confidence decides.
    #[must_use]
    pub fn answer(&self, fields: Vec<FlaggedField>, verdicts: &[(AttackClass, f32)]) -> Answer {
        // Lowered before they are compared: a known value must not hide another field's attack.
        let lowered = fields.into_iter().zip(verdicts).map(|(field, (class, confidence))| {
            let confidence = crate::learn::lowered(*confidence, field.lowered_by);
            (field, *class, confidence)
        });
        let worst = lowered.max_by(|a, b| a.2.total_cmp(&b.2));
        let Some((field, class, confidence)) = worst.filter(|(_, _, confidence)| *confidence >= self.threshold) else {
            return Answer::Pass;
        };
        let measurement = |name: &str, value: f32, threshold: f32| Measurement {
            name: name.into(),
            value: f64::from(value),
            threshold: f64::from(threshold),
        };
        let mut measurements = vec![
            measurement("gate_score", field.score, field.threshold),
            measurement("classifier_confidence", confidence, self.threshold),
        ];
        if field.lowered_by > 0.0 {
            measurements.push(measurement("lowered_by_known_parameter_log_odds", field.lowered_by, 0.0));
        }
        Answer::Attack(Box::new(RequestAttack {
            class,
            confidence,
            model: self.name.to_string(),
            version: self.version.to_string(),
            evidence: Evidence {
                field: Some(field.name),
                value: Some(field.excerpt),
                weights: field.weights,
                measurements,
                ..Evidence::default()
            },
        }))
    }
}

struct Worker {
    core: Core,
    jobs: Receiver<Job>,
    batch_max: usize,
    metrics: ModelMetrics,
}

impl Worker {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(self.batch_max);
        while let Ok(first) = self.jobs.recv() {
            let mut count = first.fields.len();
            batch.push(first);
            while count < self.batch_max {
                let Ok(job) = self.jobs.try_recv() else { break };
                count += job.fields.len();
                batch.push(job);
            }
            self.answer(&mut batch);
        }
    }

    fn answer(&mut self, batch: &mut Vec<Job>) {
        let started_ns = clock::boot_ns();
        batch.retain(|job| {
            let in_time = started_ns <= job.deadline_boot_ns;
            if !in_time {
                self.metrics.late.inc();
            }
            in_time && !job.fields.is_empty()
        });
        let fields = batch.iter().flat_map(|job| &job.fields);
        let verdicts = match self.core.classify(fields) {
            Ok(verdicts) => verdicts,
            Err(error) => {
                // Dropping the jobs lets their requests go on; the caller's receiver sees it and counts.
                tracing::warn!(%error, "the request classifier failed");
                return batch.clear();
            }
        };
        let ended_ns = clock::boot_ns();
        self.metrics.seconds.observe(ended_ns.saturating_sub(started_ns) as f64 / 1e9);
        self.metrics.scored.inc_by(verdicts.len() as u64);
        let mut rest = verdicts.as_slice();
        for job in batch.drain(..) {
            let (own, others) = rest.split_at(job.fields.len().min(rest.len()));
            rest = others;
            if ended_ns > job.deadline_boot_ns {
                self.metrics.late.inc();
                continue;
            }
            (job.answer)(self.core.answer(job.fields, own));
        }
    }
}
