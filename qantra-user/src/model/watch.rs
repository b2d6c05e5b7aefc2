//! Enters: samples of live traffic. Leaves: drift per feature, what the judge says of what the gate does not flag, how a
//! shadow or a promoted version compares with the other, and the word that a promoted version must go. One
//! thread with the lowest priority; it must never have a say about a request.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;
use prometheus::IntCounter;

use super::{
    Answer, Case, Comparison, Job, ModelLife, ModelRole, Models, Scratch, VersionName,
    drift::FeatureDrift,
    guard::{Counted, Guard},
    keeper::Sides,
    sampler::Sample,
};
use crate::{
    clock,
    features::source::{COLUMNS, SourceVector},
    inspect::RequestView,
    metrics::{Metrics, ModelMetrics},
};

/// How often the guard looks and figures are published.
const LOOK: Duration = Duration::from_secs(5);
/// Lowest priority: whatever else wants the processor goes first.
const NICENESS: i32 = 19;
/// Sources whose newly refused requests are counted; of more, none is.
const ACCUSED_MAX: usize = 4_096;
/// What is measured of a request for drift, in this order.
const REQUEST_FEATURES: [&str; 4] = ["gate_excess", "fields", "log_value_bytes", "log_field_bytes"];

/// Why two versions are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The second is a shadow.
    Shadow,
    /// The second was promoted; the first is the one before.
    Guard,
}

/// Two versions and what is known of them.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) purpose: Purpose,
    /// None: lateness alone is guarded, there was no memory for a comparison or nothing to compare with.
    pub(super) sides: Option<Box<Sides>>,
    pub(super) guard: Option<Guarded>,
    /// Sources with a request that the second alone refuses.
    accused: HashSet<IpAddr>,
}

impl Pair {
    pub(super) fn new(purpose: Purpose, sides: Option<Box<Sides>>, guard: Option<Guarded>) -> Self {
        Self { purpose, sides, guard, accused: HashSet::new() }
    }

    /// Whether a source's newly refused request counts.
    fn accuse(&mut self, source: IpAddr) -> bool {
        self.accused.len() < ACCUSED_MAX && self.accused.insert(source)
    }
}

/// A promotion under guard.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) version: VersionName,
    pub(super) policy: Guard,
    /// Ns since boot.
    pub(super) until_boot_ns: u64,
    /// Of the promoted classifier.
    pub(super) metrics: ModelMetrics,
    pub(super) answers_before: u64,
    pub(super) late_before: u64,
}

/// What others may read.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) comparison: Comparison,
    pub(super) newly_refused: u64,
    pub(super) drift: Vec<Drift>,
}

/// Drift of one feature.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Drift {
    /// The model whose input it is.
    pub role: ModelRole,
    /// The feature.
    pub feature: String,
    /// Population stability index: from 0.1 on something changed, from 0.25 on much.
    pub psi: f64,
    /// Whether it is compared with training, or with the first live traffic.
    pub trained: bool,
}

/// What the thread shares with those who set its task and read its figures. No request ever takes these locks.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) pair: Mutex<Option<Pair>>,
    pub(super) figures: Mutex<Figures>,
}

pub(super) struct Watch {
    pub(super) life: Weak<ModelLife>,
    pub(super) active: Arc<ArcSwapOption<Models>>,
    pub(super) board: Arc<Board>,
    pub(super) samples: Receiver<Sample>,
    pub(super) metrics: Arc<Metrics>,
    /// Requests that the gate did not flag and the judge would let pass, and those that it would not.
    pub(super) unflagged: [IntCounter; 2],
}

/// What it keeps between samples.
#[derive(Default)]
struct Memory {
    scratch: Scratch,
    watched: Weak<Models>,
    request: Vec<FeatureDrift>,
    source: Vec<FeatureDrift>,
}

impl Watch {
    /// Starts the thread. It ends when the last [`super::Sampler`] is gone.
    pub(super) fn start(self) -> std::io::Result<()> {
        thread::Builder::new().name("model-watch".into()).spawn(move || self.run()).map(drop)
    }

    fn run(self) {
        // Linux: of this thread alone.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "models are watched with the usual priority");
        }
        let mut memory = Memory::default();
        let mut looked_ns = clock::boot_ns();
        loop {
            let since = Duration::from_nanos(clock::boot_ns().saturating_sub(looked_ns));
            match self.samples.recv_timeout(LOOK.saturating_sub(since)) {
                Ok(sample) => self.see(sample, &mut memory),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if since >= LOOK {
                looked_ns = clock::boot_ns();
                self.publish(&memory);
                self.guard();
            }
        }
    }

    fn see(&self, sample: Sample, memory: &mut Memory) {
        let Some(models) = self.active.load_full() else { return };
        memory.follow(&models);
        match sample {
            Sample::Request { source, request } => {
                let view = request.view();
                let score = models.request.gate.score(&view, &mut memory.scratch);
                let values = request_features(score.excess, &memory.scratch);
                memory.request.iter_mut().zip(values).for_each(|(drift, value)| drift.add(value));
                if !score.flagged {
                    self.ask_all_the_same(&models, models.request.gate.case(&mut memory.scratch, None));
                }
                self.compare_requests(source, &view);
            }
            Sample::Sources(vectors) => {
                for vector in &vectors {
                    memory.source.iter_mut().zip(vector.values).for_each(|(drift, value)| drift.add(value));
                }
                self.compare_sources(&vectors);
            }
        }
    }

    /// Asks the judge about a request that nobody would have asked about, to know what the gate misses. It has no say.
    fn ask_all_the_same(&self, models: &Models, case: Case) {
        let [pass, attack] = self.unflagged.clone();
        let answer = move |answer| match answer {
            Answer::Pass => pass.inc(),
            Answer::Attack(_) => attack.inc(),
        };
        // As late as a request's answer may be: lateness is guarded over all answers.
        let deadline_boot_ns = clock::boot_ns() + models.request.deadline_ns;
        // A queue that is full has better to do.
        let _ = models.request.classifier.submit(Job { case, deadline_boot_ns, answer: Box::new(answer) });
    }

    fn compare_requests(&self, source: IpAddr, request: &RequestView<'_>) {
        let mut pair = self.board.pair.lock();
        let Some(pair) = pair.as_mut() else { return };
        let Some(sides) = pair.sides.as_mut() else { return };
        let opinions = (sides.first.request(request), sides.second.request(request));
        let is_newly_refused = {
            let mut figures = self.board.figures.lock();
            figures.comparison.opinions(opinions)
        };
        if is_newly_refused && pair.accuse(source) {
            self.board.figures.lock().newly_refused += 1;
        }
    }

    fn compare_sources(&self, vectors: &[SourceVector]) {
        let mut pair = self.board.pair.lock();
        if let Some(sides) = pair.as_mut().and_then(|pair| pair.sides.as_mut()) {
            let mut compared = Comparison::default();
            compared.judge_sources(&mut sides.first, &mut sides.second, vectors);
            self.board.figures.lock().comparison.add_sources(&compared);
        }
    }

    fn publish(&self, memory: &Memory) {
        let request = REQUEST_FEATURES.iter().zip(&memory.request).map(|(name, d)| (ModelRole::RequestGate, *name, d));
        let source = COLUMNS.iter().zip(&memory.source).map(|(name, d)| (ModelRole::SourceForest, *name, d));
        let drift: Vec<Drift> = request
            .chain(source)
            .filter_map(|(role, name, drift)| {
                let psi = drift.psi()?;
                Some(Drift { role, feature: name.to_owned(), psi, trained: drift.is_trained() })
            })
            .collect();
        for one in &drift {
            self.metrics.model_drift.with_label_values(&[one.role.as_str(), one.feature.as_str()]).set(one.psi);
        }
        let mut figures = self.board.figures.lock();
        figures.drift = drift;
        let Comparison { requests, only_first, only_second, .. } = figures.comparison;
        self.metrics.model_shift.set(figures.comparison.mean_shift().map_or(0.0, |(shift, _)| shift));
        drop(figures);
        let same = requests.saturating_sub(only_first + only_second);
        for (result, count) in [("same", same), ("only_first", only_first), ("only_second", only_second)] {
            self.metrics.model_compared.with_label_values(&[result]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Looks at a promoted version, and has it taken back when it must go.
    fn guard(&self) {
        let mut pair = self.board.pair.lock();
        let Some(guarded) = pair.as_mut().and_then(|pair| pair.guard.as_mut()) else { return };
        let (answers, late) = (guarded.metrics.scored.get() + guarded.metrics.late.get(), guarded.metrics.late.get());
        let figures = self.board.figures.lock();
        let counted = Counted {
            requests: figures.comparison.requests,
            newly_refused: figures.newly_refused,
            answers: answers.saturating_sub(guarded.answers_before),
            late: late.saturating_sub(guarded.late_before),
        };
        drop(figures);
        (guarded.answers_before, guarded.late_before) = (answers, late);
        let breach = guarded.policy.look(counted);
        if breach.is_none() && clock::boot_ns() < guarded.until_boot_ns {
            return;
        }
        let version = guarded.version.clone();
        *pair = None;
        // Those who promote hold their own lock and then this one.
        drop(pair);
        if let (Some(reason), Some(life)) = (breach, self.life.upgrade()) {
            life.go_back_because(&version, &reason);
        }
    }
}

impl Memory {
    /// Begins anew when other models are in force.
    fn follow(&mut self, models: &Arc<Models>) {
        if std::ptr::eq(self.watched.as_ptr(), Arc::as_ptr(models)) {
            return;
        }
        self.watched = Arc::downgrade(models);
        let reference = |role, feature: &str| {
            let entry = models.manifest.entry(role).ok();
            FeatureDrift::new(entry.and_then(|entry| entry.reference.get(feature)))
        };
        self.request = REQUEST_FEATURES.iter().map(|name| reference(ModelRole::RequestGate, name)).collect();
        self.source = COLUMNS.iter().map(|name| reference(ModelRole::SourceForest, name)).collect();
    }
}

fn request_features(excess: f32, scratch: &Scratch) -> [f32; REQUEST_FEATURES.len()] {
    let (mut fields, mut longest, mut all) = (0_u32, 0, 0);
    for field in scratch.fields().iter() {
        fields += 1;
        longest = longest.max(field.value.len());
        all += field.value.len();
    }
    [excess, fields as f32, (longest as f32).ln_1p(), (all as f32).ln_1p()]
}
