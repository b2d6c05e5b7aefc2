//! Enters: observations from proxy and kernel. Leaves: findings, handed to the [`Actor`]. One thread owns the flow
//! table and the detectors, so neither needs a lock. It must never wait for anything but observations.

use std::{net::IpAddr, sync::Arc, thread::JoinHandle, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{
    actor::Actor,
    top::{BoardWriter, SourceBoard},
};
use crate::{
    clock::{self, Now},
    config::Config,
    detect::{BehaviourDetectors, DetectorStats, Finding},
    features::source::{self, LOOK_INTERVAL_MS, SOURCES_PER_LOOK, SourceVector},
    flow::{LocalNetworks, Observation},
    metrics::{Metrics, SiteMetrics},
    model::{ModelRole, Models, Sampler},
};

/// How long observations gather before they are looked at. It saves a wake-up for each of them, and is what it adds to
/// the way from an attack to its ban.
const GATHER: Duration = Duration::from_millis(1);
/// How long the thread sleeps when nothing comes.
const IDLE: Duration = Duration::from_millis(250);
/// Most observations looked at before the clock is read again and other duties are seen to.
const BATCH_MAX: usize = 4_096;

/// The analysis thread and what it owns.
pub(super) struct Analysis {
    pub(super) observations: Receiver<Observation>,
    pub(super) actor: Arc<Actor>,
    pub(super) metrics: Arc<Metrics>,
    /// Thresholds; another value is noticed within a batch.
    pub(super) config: Arc<ArcSwap<Config>>,
    /// The LAN's networks; another value is noticed like that of the configuration.
    pub(super) local: Arc<ArcSwap<LocalNetworks>>,
    pub(super) models: Arc<ArcSwapOption<Models>>,
    pub(super) sampler: Arc<Sampler>,
    /// Rates of sources, for those who watch.
    pub(super) board: Arc<SourceBoard>,
    /// Calls of devices that were told before: a restart does not tell them again.
    pub(super) calls_told: Vec<(IpAddr, String)>,
}

impl Analysis {
    /// Starts the thread. It ends when every sender of observations is gone.
    pub(super) fn start(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("analysis".into()).spawn(move || self.run())
    }

    fn run(mut self) {
        let mut config = self.config.load_full();
        let mut local = self.local.load_full();
        let mut detectors = BehaviourDetectors::new(&config.detect, rand::random())
            .with_sites(site_names(&config))
            .with_local(LocalNetworks::clone(&local))
            .with_calls_told(std::mem::take(&mut self.calls_told));
        let mut sites = SiteCounts::new(&config, &self.metrics);
        let mut board = BoardWriter::new(Arc::clone(&self.board), config.kernel.window_ms);
        let mut found = Vec::new();
        let mut counted = DetectorStats::default();
        let mut looked_ms = 0;
        loop {
            let first = match self.observations.recv_timeout(IDLE) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some(first) = first {
                std::thread::sleep(GATHER);
                let now = Now::read();
                let rest = self.observations.try_iter().take(BATCH_MAX);
                let mut count = 0;
                for observation in std::iter::once(first).chain(rest) {
                    count += 1;
                    sites.count(&observation);
                    board.observe(&observation);
                    detectors.observe(&observation, now, &mut found);
                    if !found.is_empty() {
                        self.act(&mut found);
                    }
                }
                self.metrics.observations.inc_by(count);
            }
            let now = Now::read();
            board.tick(now.boot_ms());
            if now.boot_ms().saturating_sub(looked_ms) >= LOOK_INTERVAL_MS {
                self.look(&mut detectors, looked_ms, now, &mut found);
                looked_ms = now.boot_ms();
            }
            if !Arc::ptr_eq(&config, &self.config.load()) {
                config = self.config.load_full();
                detectors.reconfigure(&config.detect, site_names(&config));
                sites = SiteCounts::new(&config, &self.metrics);
            }
            if !Arc::ptr_eq(&local, &self.local.load()) {
                local = self.local.load_full();
                detectors.set_local(LocalNetworks::clone(&local));
            }
            let stats = detectors.stats();
            self.metrics.sources.set(stats.sources as i64);
            self.metrics.sources_evicted.inc_by(stats.sources_evicted - counted.sources_evicted);
            self.metrics.pairs.set(stats.pairs as i64);
            self.metrics.pairs_evicted.inc_by(stats.pairs_evicted - counted.pairs_evicted);
            counted = stats;
        }
    }

    /// Asks the source models about the sources seen since the last look.
    fn look(&self, detectors: &mut BehaviourDetectors, since_ms: u64, now: Now, found: &mut Vec<Finding>) {
        let Some(models) = self.models.load_full() else { return };
        let at_ms = now.boot_ms();
        let flows = detectors.active_since(since_ms).filter(|flow| source::is_enough(flow, at_ms));
        let vectors: Vec<SourceVector> = flows.take(SOURCES_PER_LOOK).map(|flow| source::vector(flow, at_ms)).collect();
        if vectors.is_empty() {
            return;
        }
        self.sampler.offer_sources(&vectors);
        let scores = match models.source.lock().score_batch(&vectors) {
            Ok(scores) => scores,
            Err(error) => {
                self.metrics.fail_open("model").inc();
                tracing::warn!(%error, "the source models failed");
                return;
            }
        };
        let took_s = (clock::boot_ns() - now.boot_ns) as f64 / 1e9;
        for (role, scored) in [(ModelRole::SourceForest, vectors.len()), (ModelRole::SourceClassifier, scores.flagged)]
        {
            if let Ok(entry) = models.manifest.entry(role) {
                let metrics = self.metrics.model(&entry.name);
                metrics.scored.inc_by(scored as u64);
                metrics.seconds.observe(took_s);
            }
        }
        for claim in &scores.claims {
            detectors.claim(claim, now, found);
        }
        self.act(found);
    }

    fn act(&self, found: &mut Vec<Finding>) {
        for finding in found.drain(..) {
            self.actor.act(finding, Now::read());
        }
    }
}

/// Counts answered requests by site: here, so that the proxy's threads need not.
struct SiteCounts {
    by_index: Vec<SiteMetrics>,
    unclaimed: SiteMetrics,
}

impl SiteCounts {
    fn new(config: &Config, metrics: &Metrics) -> Self {
        let by_index = config.sites.iter().map(|site| metrics.site(&site.name)).collect();
        Self { by_index, unclaimed: metrics.site("-") }
    }

    fn count(&self, observation: &Observation) {
        let Observation::Request(request) = observation else { return };
        let site = request.site.and_then(|site| self.by_index.get(usize::from(site.0)));
        site.unwrap_or(&self.unclaimed).request(request.status, f64::from(request.duration_ms) / 1_000.0);
    }
}

/// The sites' names, in the order of their indices.
pub(super) fn site_names(config: &Config) -> Vec<String> {
    config.sites.iter().map(|site| site.name.clone()).collect()
}
