//! Enters: flagged requests. Leaves: attack class and confidence, by a callback. It runs on a thread of its own over a
//! bounded queue; a request must never wait for it past its deadline: what is late is dropped and counted.

use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::{
    Manifest, ModelError, ModelRole, Runtime,
    core::{Answer, Core},
    gate::Case,
};
use crate::{clock, metrics::ModelMetrics};

/// One request that the gate flagged.
pub struct Job {
    /// What is known of it.
    pub case: Case,
    /// When the answer is of no use any more: ns since boot.
    pub deadline_boot_ns: u64,
    /// Called with the answer on the classifier's thread; dropped uncalled when the job is late or fails.
    pub answer: Box<dyn FnOnce(Answer) + Send>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("case", &self.case).finish_non_exhaustive()
    }
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
    /// Loads classifier and judge and starts their thread.
    ///
    /// # Errors
    /// [`ModelError`] when a file does not load, or classes or thresholds are not as they must be.
    pub fn start(
        runtime: &Runtime,
        manifest: &Manifest,
        limits: ClassifierLimits,
        metrics: ModelMetrics,
    ) -> Result<Self, ModelError> {
        let core = Core::load(runtime, manifest, limits.confidence)?;
        let confidence = core.threshold(false);
        let (queue, jobs) = crossbeam_channel::bounded(limits.queue_max.max(1));
        let worker = Worker { core, jobs, batch_max: limits.batch_max.max(1), metrics };
        thread::Builder::new().name("classifier".into()).spawn(move || worker.run()).map_err(|error| {
            let model = ModelRole::RequestClassifier.as_str().to_owned();
            ModelError::Onnx { model, reason: format!("no thread for it: {error}") }
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
            let mut count = first.case.fields.len();
            batch.push(first);
            while count < self.batch_max {
                let Ok(job) = self.jobs.try_recv() else { break };
                count += job.case.fields.len();
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
            in_time
        });
        let cases: Vec<&Case> = batch.iter().map(|job| &job.case).collect();
        let verdicts = match self.core.judge(&cases) {
            Ok(verdicts) => verdicts,
            Err(error) => {
                // Dropping the jobs lets their requests go on; the caller's receiver sees it and counts.
                tracing::warn!(%error, "the request models failed");
                return batch.clear();
            }
        };
        let ended_ns = clock::boot_ns();
        self.metrics.seconds.observe(ended_ns.saturating_sub(started_ns) as f64 / 1e9);
        self.metrics.scored.inc_by(cases.iter().map(|case| case.fields.len() as u64).sum());
        for (job, verdict) in batch.drain(..).zip(verdicts) {
            if ended_ns > job.deadline_boot_ns {
                self.metrics.late.inc();
                continue;
            }
            (job.answer)(self.core.answer(job.case, &verdict));
        }
    }
}
