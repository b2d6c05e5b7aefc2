//! Enters: observations in the order of their time. Leaves: what detectors, models and policy make of them, at the moments
//! at which the daemon would have. It must never enforce anything.

use std::{collections::HashMap, net::IpAddr};

use anyhow::Result;
use serde::Serialize;

use crate::{
    clock::Now,
    config::Config,
    decide::{Decision, DecisionId, Effect, Policy},
    detect::{BehaviourDetectors, Finding},
    features::source::{self, LOOK_INTERVAL_MS, SOURCES_PER_LOOK, SourceVector},
    flow::{DAY_MS, LocalNetworks, MINUTE_MS, Observation, PacketObservation},
    model::SourceModels,
};

/// Most sources whose packets are added up.
const SOURCES_MAX: usize = 65_536;

/// What one source sent in all.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FlowSummary {
    pub(super) source: IpAddr,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) tcp_syn: u64,
    pub(super) udp: u64,
    pub(super) icmp: u64,
}

/// Detectors, models and policy, and what came out of them so far.
pub(super) struct Player<'a> {
    detectors: BehaviourDetectors,
    models: Option<&'a mut SourceModels>,
    policy: Policy,
    pub(super) flows: HashMap<IpAddr, FlowSummary>,
    pub(super) findings: Vec<Finding>,
    pub(super) decisions: Vec<Decision>,
    /// The file's time of the first observation and of the newest one.
    first_ms: Option<u64>,
    last_ms: u64,
    looked_ms: u64,
    /// Without what is longer than a minute of silence.
    watched_ms: u64,
}

impl<'a> Player<'a> {
    pub(super) fn new(config: &Config, local: LocalNetworks, models: Option<&'a mut SourceModels>) -> Self {
        let mut policy = Policy::new(config.policy.clone(), Vec::new(), false, rand::random());
        policy.set_local(local.clone());
        policy.set_protected(config.protect.networks.clone());
        Self {
            detectors: BehaviourDetectors::new(&config.detect, rand::random()).with_local(local),
            models,
            policy,
            flows: HashMap::new(),
            findings: Vec::new(),
            decisions: Vec::new(),
            first_ms: None,
            last_ms: 0,
            looked_ms: DAY_MS,
            watched_ms: 0,
        }
    }

    /// As if the box had been up for a day when it began: windows are full, and the clock is no calendar.
    fn now(&self, at_ms: u64) -> Now {
        let boot_ms = DAY_MS + at_ms.saturating_sub(self.first_ms.unwrap_or(at_ms));
        Now { boot_ns: boot_ms * 1_000_000, unix_ms: at_ms }
    }

    /// Plays one observation, and the looks of the models that are due before it.
    pub(super) fn play(&mut self, seen: &Observation) -> Result<()> {
        // Files are in order but for a few; what comes late counts as now, as on the way from kernel or proxy.
        let at_ms = seen.at_ms().max(self.last_ms);
        self.first_ms.get_or_insert(at_ms);
        if self.last_ms > 0 {
            self.watched_ms += (at_ms - self.last_ms).min(MINUTE_MS);
        }
        self.last_ms = at_ms;
        let now = self.now(at_ms);
        self.looks(now)?;
        if let Observation::Packets(seen) = seen {
            self.add(seen);
        }
        let mut found = Vec::new();
        self.detectors.observe(&seen.at(now.boot_ms()), now, &mut found);
        self.decide(found);
        Ok(())
    }

    /// The last look, after which nothing comes.
    pub(super) fn end(&mut self) -> Result<()> {
        let last = self.now(self.last_ms + LOOK_INTERVAL_MS);
        self.looks(last)
    }

    fn looks(&mut self, now: Now) -> Result<()> {
        while self.looked_ms + LOOK_INTERVAL_MS <= now.boot_ms() {
            let at_ms = self.looked_ms + LOOK_INTERVAL_MS;
            let back_ms = now.boot_ms() - at_ms;
            let unix_ms = now.unix_ms.saturating_sub(back_ms);
            self.look(Now { boot_ns: at_ms * 1_000_000, unix_ms })?;
            // Once nothing is new, the next looks see what this one saw.
            let is_silent = self.detectors.active_since(at_ms).next().is_none();
            self.looked_ms = if is_silent && back_ms > LOOK_INTERVAL_MS {
                now.boot_ms() - now.boot_ms() % LOOK_INTERVAL_MS
            } else {
                at_ms
            };
        }
        Ok(())
    }

    fn look(&mut self, now: Now) -> Result<()> {
        let Some(models) = self.models.as_deref_mut() else { return Ok(()) };
        let at_ms = now.boot_ms();
        let flows = self.detectors.active_since(self.looked_ms).filter(|flow| source::is_enough(flow, at_ms));
        let vectors: Vec<SourceVector> = flows.take(SOURCES_PER_LOOK).map(|flow| source::vector(flow, at_ms)).collect();
        if vectors.is_empty() {
            return Ok(());
        }
        let mut found = Vec::new();
        for claim in &models.score_batch(&vectors)?.claims {
            self.detectors.claim(claim, now, &mut found);
        }
        self.decide(found);
        Ok(())
    }

    fn decide(&mut self, found: Vec<Finding>) {
        for finding in found {
            self.findings.push(finding.clone());
            let now = finding.at;
            let outcome = self.policy.decide(finding, DecisionId(rand::random()), now);
            match outcome.effect {
                Effect::Decided(decision) => self.decisions.push(*decision),
                Effect::Extends(more) => {
                    let extended = self.decisions.iter_mut().find(|decision| decision.id == more.id);
                    if let Some(decision) = extended {
                        decision.expires_unix_ms = more.expires_unix_ms;
                        if decision.findings.len() < Decision::FINDINGS_MAX {
                            decision.findings.push(more.finding);
                        }
                    }
                }
                Effect::Ignored(_) => {}
            }
        }
    }

    fn add(&mut self, seen: &PacketObservation) {
        if self.flows.len() >= SOURCES_MAX && !self.flows.contains_key(&seen.source) {
            return;
        }
        let empty = FlowSummary { source: seen.source, packets: 0, bytes: 0, tcp_syn: 0, udp: 0, icmp: 0 };
        let flow = self.flows.entry(seen.source).or_insert(empty);
        flow.packets += seen.packets;
        flow.bytes += seen.bytes;
        flow.tcp_syn += seen.tcp_syn;
        flow.udp += seen.udp;
        flow.icmp += seen.icmp;
    }

    /// The file's time of the first observation.
    pub(super) fn first_ms(&self) -> u64 {
        self.first_ms.unwrap_or(self.last_ms)
    }

    /// From the first observation to the last one.
    pub(super) fn seconds(&self) -> f64 {
        self.last_ms.saturating_sub(self.first_ms()) as f64 / 1_000.0
    }

    /// The same, of which each silence counts for a minute at most.
    pub(super) const fn watched_ms(&self) -> u64 {
        self.watched_ms
    }
}
