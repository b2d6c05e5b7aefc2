//! Enters: sketches of requests, with their scores. Leaves: [`Knowledge`] for the judge, a snapshot in the store. One
//! thread owns the learner. Judges read without a lock; a full queue sheds, and no request waits.

use std::{cell::Cell, net::IpAddr, sync::Arc, thread::JoinHandle, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use prometheus::IntCounter;

use crate::{
    api::{Learned, LearnedPlace},
    clock::{self, Now},
    config::Config,
    detect::{Measurement, ThresholdOrigin},
    inspect::{Field, Fields, RequestView, excerpt},
    learn::{
        BenignText, Endpoint, Knowledge, Label, Learner, LearnerStats, Quorum, RequestSketch, Sample, Sketcher,
        Voucher, id,
    },
    metrics::Metrics,
    model::{FlaggedField, ModelRole, Models, RequestAttack},
    store::{Store, Write},
};

/// Sketches that wait: 150 KiB, a quarter of a second of one busy thread.
const QUEUE_MAX: usize = 256;
/// Requests a second that each thread of the proxy lets learn from. So the cost is the same under load, and a flood does
/// not crowd out what came before.
const SKETCHES_PER_S: u32 = 256;
/// One sketch in so many comes with a value to train on.
const TEXTS_EVERY: u32 = 16;
/// How much of such a value is kept.
const TEXT_BYTES: usize = 256;
/// What this box is hashed from, with its seed.
const BOX: &str = "box";
/// How often what was learnt takes effect.
const PUBLISH_MS: u64 = 5_000;
/// How often it is stored: seldom, for the sake of SD cards.
const SAVE_MS: u64 = 3_600_000;
/// Its name in the store.
const KEPT: &str = "learned";
/// The name of what belongs to no site.
const NO_SITE: &str = "-";

thread_local! {
    /// The second, and how many sketches were made in it.
    static BUDGET: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// One thing to learn from, or a question.
enum Lesson {
    /// A request. `is_high`: above the shipped threshold.
    Request { sketch: Box<RequestSketch>, is_high: bool, texts: Vec<BenignText> },
    /// What people want to see.
    Report(Sender<Learned>),
    /// What there is to train on besides labels.
    Benign(Sender<Vec<Sample>>),
}

/// What judges hold.
pub(super) struct Learning {
    lessons: Sender<Lesson>,
    knowledge: Arc<ArcSwap<Knowledge>>,
    config: Arc<ArcSwap<Config>>,
    metrics: Arc<Metrics>,
    shed: IntCounter,
}

/// What is known where a request went to.
pub(super) struct Locality {
    knowledge: Arc<Knowledge>,
    site: u64,
    endpoint: u64,
}

/// What the site says about an attack that the models are sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LocalVerdict {
    /// It stands.
    Act,
    /// It is written down: the site is not calibrated.
    Monitor,
    /// Too many honest requests of this site score as high.
    Spare,
}

impl Learning {
    /// A sketch of the request that was scored last; `None` when learning is off or this second's are made.
    pub(super) fn sketch(
        &self,
        client: IpAddr,
        site: Option<&str>,
        request: &RequestView<'_>,
        fields: &Fields,
    ) -> Option<Seen> {
        let made = has_budget(clock::boot_ns() / 1_000_000_000)?;
        let knowledge = self.knowledge.load();
        let sketcher = knowledge.sketcher();
        let name = Endpoint::of(request.method.as_str(), request.target);
        let site = sketcher.site(site.unwrap_or(NO_SITE));
        let source = sketcher.source(client);
        let sketch = Box::new(sketcher.request(site, source, name, fields));
        // One field of one request in sixteen may be kept to train on.
        let chosen = if made % TEXTS_EVERY == 0 {
            fields.get((made / TEXTS_EVERY) as usize % fields.len().max(1))
        } else {
            None
        };
        let texts = chosen.map(|field| benign_text(sketcher, site, sketch.endpoint, source, &field));
        Some(Seen { sketch, texts: texts.into_iter().collect() })
    }

    /// Learns of a request, now that its score is known.
    pub(super) fn learn(&self, sketch: Option<Seen>, score: f32, is_high: bool) {
        let Some(Seen { mut sketch, texts }) = sketch else { return };
        sketch.score = score;
        if self.lessons.try_send(Lesson::Request { sketch, is_high, texts }).is_err() {
            self.shed.inc();
        }
    }

    /// What is known where a flagged request goes to. The rare path.
    pub(super) fn locality(&self, site: Option<&str>, request: &RequestView<'_>) -> Locality {
        let knowledge = self.knowledge.load_full();
        let site = knowledge.sketcher().site(site.unwrap_or(NO_SITE));
        let name = Endpoint::of(request.method.as_str(), request.target);
        let endpoint = knowledge.sketcher().endpoint(site, &name);
        Locality { knowledge, site, endpoint }
    }

    /// Lowers the scores of flagged fields that fit what many sources send.
    pub(super) fn lower(&self, locality: &Locality, flagged: &mut [FlaggedField], fields: &Fields) {
        let sketcher = locality.knowledge.sketcher();
        for field in flagged {
            // A value and its decodings have one name: all of them must fit.
            let same = fields.iter().filter(|other| other.name == field.name);
            let lowers = same.map(|other| {
                let (site, endpoint) = (locality.site, locality.endpoint);
                locality.knowledge.lowers(&sketcher.field(site, endpoint, other.kind, other.name, other.value))
            });
            field.lowered_by = lowers.reduce(f32::min).unwrap_or(0.0);
            if field.lowered_by > 0.0 {
                self.metrics.learn.lowered.inc();
            }
        }
    }

    /// Flagged fields are what there is most to learn from, should it turn out that many send them.
    pub(super) fn keep_flagged(&self, lesser: &mut Option<Seen>, flagged: &[FlaggedField], fields: &Fields) {
        let Some(Seen { sketch, texts }) = lesser else { return };
        let knowledge = self.knowledge.load();
        for field in flagged {
            if let Some(field) = fields.iter().find(|other| other.name == field.name) {
                let (site, endpoint) = (sketch.site, sketch.endpoint);
                texts.push(benign_text(knowledge.sketcher(), site, endpoint, sketch.source, &field));
            }
        }
    }

    /// What hashes addresses and names this box.
    pub(super) fn sketcher(&self) -> Sketcher {
        self.knowledge.load().sketcher().clone()
    }

    /// Values that a quorum sends, to train on; blocks for a moment.
    pub(super) fn benign(&self) -> Vec<Sample> {
        self.ask(Lesson::Benign).unwrap_or_default()
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Lesson) -> Option<T> {
        let (answer, answered) = bounded(1);
        let timeout = Duration::from_secs(5);
        self.lessons.send_timeout(question(answer), timeout).ok()?;
        answered.recv_timeout(timeout).ok()
    }

    /// Compares an attack with the site's own threshold, and writes that into its evidence.
    pub(super) fn verdict(&self, locality: &Locality, attack: &mut RequestAttack) -> LocalVerdict {
        let config = self.config.load();
        let threshold = locality.knowledge.threshold(locality.site, locality.endpoint);
        if let Some(local) = threshold {
            let name = if local.of_site { "site_threshold" } else { "endpoint_threshold" };
            attack.evidence.measurements.push(Measurement {
                name: name.into(),
                value: f64::from(attack.confidence),
                threshold: f64::from(local.confidence),
                origin: Some(ThresholdOrigin::Traffic {
                    of_site: local.of_site,
                    requests: local.requests,
                    sources: local.sources,
                    since_unix_ms: local.since_unix_ms,
                    max_false_positive_rate: local.max_false_positive_rate,
                }),
            });
            if attack.confidence < local.confidence {
                self.metrics.learn.spared.inc();
                return LocalVerdict::Spare;
            }
        }
        let waits = config.learn.monitor_until_calibrated && !locality.knowledge.is_calibrated(locality.site);
        if waits { LocalVerdict::Monitor } else { LocalVerdict::Act }
    }

    /// Whether anything is to be learnt or known.
    pub(super) fn is_on(&self) -> bool {
        self.config.load().learn.enabled
    }

    /// What was learnt, for people; blocks for a moment.
    pub(super) fn report(&self) -> Learned {
        let late =
            || Learned { warnings: vec!["the learner does not answer; see the log".into()], ..Learned::default() };
        self.ask(Lesson::Report).unwrap_or_else(late)
    }
}

/// A sketch, and values that may be kept to train on.
pub(super) struct Seen {
    sketch: Box<RequestSketch>,
    texts: Vec<BenignText>,
}

fn benign_text(sketcher: &Sketcher, site: u64, endpoint: u64, source: u64, field: &Field<'_>) -> BenignText {
    BenignText {
        source,
        field: sketcher.field(site, endpoint, field.kind, field.name, field.value),
        kind: field.kind,
        name: field.name.to_owned(),
        text: excerpt(field, 0, TEXT_BYTES),
    }
}

/// How many sketches this thread has made in this second, while it may make another.
fn has_budget(second: u64) -> Option<u32> {
    BUDGET.with(|budget| {
        let (known, made) = budget.get();
        let made = if known == second { made } else { 0 };
        budget.set((second, made + 1));
        (made < SKETCHES_PER_S).then_some(made)
    })
}

/// The learner's thread. It ends, and stores what it knows, when `stop` is dropped.
pub(super) struct LearnerThread {
    pub(super) thread: JoinHandle<()>,
    pub(super) stop: Sender<()>,
}

/// Starts the learner from what the store holds.
pub(super) fn start(
    config: Arc<ArcSwap<Config>>,
    store: Arc<Store>,
    models: Arc<ArcSwapOption<Models>>,
    metrics: Arc<Metrics>,
) -> std::io::Result<(Arc<Learning>, LearnerThread)> {
    let learner = restore(&store);
    let knowledge = Arc::new(ArcSwap::from_pointee(learner.knowledge(&quorum(&config.load()))));
    let (lessons, queue) = bounded(QUEUE_MAX);
    let (stop, stopped) = bounded(0);
    let learning = Learning {
        lessons,
        knowledge: Arc::clone(&knowledge),
        config: Arc::clone(&config),
        metrics: Arc::clone(&metrics),
        shed: metrics.queue_dropped("learn"),
    };
    let worker =
        Worker { learner, knowledge, queue, stopped, config, store, models, metrics, told: LearnerStats::default() };
    let thread = std::thread::Builder::new().name("learner".into()).spawn(move || worker.run())?;
    Ok((Arc::new(learning), LearnerThread { thread, stop }))
}

fn restore(store: &Store) -> Learner {
    let kept = match store.kept(KEPT) {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!(%error, "what was learnt cannot be read; learning begins anew");
            None
        }
    };
    match kept.map(|bytes| Learner::restore(&bytes)) {
        Some(Ok(learner)) => learner,
        Some(Err(error)) => {
            tracing::warn!(%error);
            Learner::new(rand::random())
        }
        None => Learner::new(rand::random()),
    }
}

const fn quorum(config: &Config) -> Quorum {
    Quorum {
        requests_min: config.learn.requests_min,
        sources_min: config.learn.sources_min,
        max_false_positive_rate: config.models.max_false_positive_rate,
    }
}

struct Worker {
    learner: Learner,
    knowledge: Arc<ArcSwap<Knowledge>>,
    queue: Receiver<Lesson>,
    stopped: Receiver<()>,
    config: Arc<ArcSwap<Config>>,
    store: Arc<Store>,
    models: Arc<ArcSwapOption<Models>>,
    metrics: Arc<Metrics>,
    told: LearnerStats,
}

impl Worker {
    fn run(mut self) {
        let (mut published_ms, mut saved_ms) = (0, Now::read().boot_ms());
        loop {
            select! {
                recv(self.queue) -> lesson => match lesson {
                    Ok(lesson) => self.take(lesson),
                    Err(_) => break,
                },
                recv(self.stopped) -> _ => break,
                default(Duration::from_secs(1)) => {}
            }
            let now = Now::read();
            if now.boot_ms().saturating_sub(published_ms) >= PUBLISH_MS {
                published_ms = now.boot_ms();
                self.publish(now);
            }
            if now.boot_ms().saturating_sub(saved_ms) >= SAVE_MS {
                saved_ms = now.boot_ms();
                self.save();
            }
        }
        for lesson in self.queue.try_iter().collect::<Vec<_>>() {
            self.take(lesson);
        }
        self.save();
    }

    fn take(&mut self, lesson: Lesson) {
        let config = self.config.load();
        match lesson {
            Lesson::Request { sketch, is_high, texts } => {
                self.learner.observe(&sketch, is_high, config.learn.sources_min, Now::read().unix_ms);
                for text in texts {
                    self.learner.offer(text, config.learn.sources_min);
                }
            }
            Lesson::Benign(answer) => drop(answer.try_send(self.benign())),
            // Whoever asked may have given up.
            Lesson::Report(answer) => drop(answer.try_send(self.report(&config))),
        }
    }

    /// Scores of another model mean something else.
    fn follow_model(&mut self) {
        let models = self.models.load();
        let Some(models) = models.as_ref() else { return };
        if let Ok(entry) = models.manifest.entry(ModelRole::RequestJudge) {
            self.learner.set_model(&entry.sha256);
        }
    }

    fn publish(&mut self, now: Now) {
        self.follow_model();
        let config = self.config.load();
        self.learner.tick(config.learn.sources_min, now.unix_ms);
        let stats = self.learner.stats();
        if stats != self.told || self.told == LearnerStats::default() {
            let knowledge = self.learner.knowledge(&quorum(&config));
            self.metrics.learn.calibrated.set(knowledge.thresholds() as i64);
            self.metrics.learn.parameters.set(knowledge.parameters() as i64);
            self.knowledge.store(Arc::new(knowledge));
        }
        let counted = |result: &str, by: u64| self.metrics.learn.requests.with_label_values(&[result]).inc_by(by);
        counted("learnt", stats.learnt - self.told.learnt);
        counted("not_vouched", stats.not_vouched - self.told.not_vouched);
        self.metrics.learn.evicted.inc_by(stats.evicted.saturating_sub(self.told.evicted));
        self.told = stats;
    }

    fn benign(&self) -> Vec<Sample> {
        let origin = id(self.learner.sketcher().text(BOX));
        let now = Now::read().unix_ms;
        let sample = |text: &BenignText| Sample {
            label: Label::Benign,
            class: None,
            kind: text.kind,
            name: text.name.clone(),
            text: text.text.clone(),
            source: id(text.source),
            origin: origin.clone(),
            labelled_unix_ms: now,
            by: Voucher::Quorum,
        };
        self.learner
            .benign()
            .iter()
            .map(sample)
            .filter(|sample| sample.check().is_ok() && !sample.is_masked())
            .collect()
    }

    fn save(&self) {
        match self.learner.save() {
            Ok(bytes) => self.store.record(Write::Keep { name: KEPT, body: bytes.into() }),
            Err(error) => tracing::warn!(%error, "what was learnt is not stored"),
        }
    }

    fn report(&self, config: &Config) -> Learned {
        let quorum = quorum(config);
        let sketcher: Sketcher = self.learner.sketcher();
        let named = config.sites.iter().map(|site| site.name.as_str()).chain([NO_SITE]);
        let names: Vec<(u64, &str)> = named.map(|name| (sketcher.site(name), name)).collect();
        let shipped = self.models.load().as_ref().map_or(0.0, |models| models.request.classifier.confidence());
        let places = self.learner.report(&quorum).into_iter().filter_map(|place| {
            // A site that is no longer configured.
            let (_, site) = names.iter().find(|(key, _)| *key == place.site)?;
            Some(LearnedPlace {
                site: (*site).to_owned(),
                endpoint: place.endpoint,
                requests: place.requests,
                left_out: place.left_out,
                sources: place.sources,
                since_unix_ms: place.since_unix_ms,
                threshold: place.threshold.map(|local| local.max(shipped)),
            })
        });
        let off = (!config.learn.enabled).then(|| "learning is off by `learn.enabled`".to_owned());
        Learned {
            places: places.collect(),
            known_parameters: self.knowledge.load().parameters() as u64,
            requests_min: quorum.requests_min,
            sources_min: quorum.sources_min,
            warnings: off.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::LearnConfig,
        detect::{AttackClass, Evidence},
        inspect::RawRequest,
        model::RequestAttack,
    };

    fn learning(config: Config, learner: &Learner) -> (Learning, Receiver<Lesson>) {
        let metrics = Arc::new(Metrics::new().unwrap());
        let knowledge = learner.knowledge(&quorum(&config));
        let (lessons, queue) = bounded(1);
        let learning = Learning {
            lessons,
            knowledge: Arc::new(ArcSwap::from_pointee(knowledge)),
            config: Arc::new(ArcSwap::from_pointee(config)),
            shed: metrics.queue_dropped("learn"),
            metrics,
        };
        (learning, queue)
    }

    fn config() -> Config {
        let learn = LearnConfig { requests_min: 1_000, sources_min: 8, ..LearnConfig::default() };
        Config { learn, ..Config::default() }
    }

    fn request(target: &str) -> (RawRequest, Fields) {
        let request = RawRequest::parse(format!("GET {target} HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes());
        let mut fields = Fields::new();
        fields.read(&request.view());
        (request, fields)
    }

    fn flagged(name: &str) -> FlaggedField {
        FlaggedField {
            name: name.into(),
            excerpt: String::new(),
            ids: Vec::new(),
            shape: [0; 5],
            score: 1.0,
            threshold: 0.0,
            weights: Vec::new(),
            lowered_by: 0.0,
        }
    }

    fn attack(confidence: f32) -> RequestAttack {
        let (model, version) = ("request-classifier".into(), "1".into());
        RequestAttack { class: AttackClass::Sqli, confidence, model, version, evidence: Evidence::default() }
    }

    /// Forty networks look for O'Brien, which the model takes for an attack one time in twenty.
    fn visited() -> Learner {
        let mut learner = Learner::new(3);
        let sketcher = learner.sketcher();
        for round in 0..60_u32 {
            for network in 0..40_u32 {
                let (request, fields) = request("/search?q=O%27Brien");
                let name = Endpoint::of("GET", &request.target);
                let from = std::net::Ipv4Addr::from(0x0800_0000 + (network << 8));
                let mut sketch = sketcher.request(sketcher.site("shop"), sketcher.source(from.into()), name, &fields);
                let is_high = (round + network) % 20 == 0;
                sketch.score = if is_high { 0.95 } else { 0.0 };
                learner.observe(&sketch, is_high, 8, 1);
            }
        }
        learner
    }

    #[test]
    fn what_is_usual_on_a_site_is_spared_and_an_attack_there_is_not() {
        let (learning, _queue) = learning(config(), &visited());
        let (usual, fields) = request("/search?q=O%27Brien");
        let locality = learning.locality(Some("shop"), &usual.view());
        let mut flagged_fields = [flagged("query.q")];
        learning.lower(&locality, &mut flagged_fields, &fields);
        assert!(flagged_fields[0].lowered_by > 0.0);
        let (injection, fields) = request("/search?q=x%27%20or%201=1--");
        learning.lower(&locality, &mut flagged_fields, &fields);
        assert_eq!(flagged_fields[0].lowered_by, 0.0);
        assert_eq!(learning.verdict(&locality, &mut attack(0.93)), LocalVerdict::Spare);
        let mut sure = attack(0.999);
        assert_eq!(learning.verdict(&locality, &mut sure), LocalVerdict::Act);
        let said = &sure.evidence.measurements[0];
        assert!(said.name == "endpoint_threshold" && said.threshold > 0.95, "{said:?}");
        let Some(ThresholdOrigin::Traffic { of_site, requests, sources, since_unix_ms, .. }) = said.origin else {
            panic!("{said:?}")
        };
        assert!(!of_site && requests >= 1_000 && sources >= 8 && since_unix_ms == Some(1), "{said:?}");
        let elsewhere = learning.locality(Some("blog"), &injection.view());
        assert_eq!(learning.verdict(&elsewhere, &mut attack(0.93)), LocalVerdict::Act, "another site knows nothing");
    }

    #[test]
    fn a_value_beside_its_decodings_is_known_only_when_all_of_them_are() {
        let (learning, _queue) = learning(config(), &visited());
        // The second value has the same name: one known value must not vouch for it.
        let (both, fields) = request("/search?q=O%27Brien&q=x%27%20or%201=1--");
        let locality = learning.locality(Some("shop"), &both.view());
        let mut flagged_fields = [flagged("query.q")];
        learning.lower(&locality, &mut flagged_fields, &fields);
        assert_eq!(flagged_fields[0].lowered_by, 0.0);
    }

    #[test]
    fn until_a_site_is_calibrated_it_can_be_monitored() {
        let mut waiting = config();
        waiting.learn.monitor_until_calibrated = true;
        let (learning, _queue) = learning(waiting, &visited());
        let (usual, _) = request("/search?q=x");
        let known = learning.locality(Some("shop"), &usual.view());
        assert_eq!(learning.verdict(&known, &mut attack(0.9999)), LocalVerdict::Act);
        let fresh = learning.locality(Some("blog"), &usual.view());
        assert_eq!(learning.verdict(&fresh, &mut attack(0.9999)), LocalVerdict::Monitor);
    }

    #[test]
    fn a_full_queue_sheds_and_counts() {
        let (learning, _queue) = learning(config(), &Learner::new(3));
        let (usual, fields) = request("/search?q=x");
        let client = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..3 {
            learning.learn(learning.sketch(client, Some("shop"), &usual.view(), &fields), 0.0, false);
        }
        assert_eq!(learning.shed.get(), 2);
    }
}
