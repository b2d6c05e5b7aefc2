//! Enters: a finding, a fresh id and the time. Leaves: what policy makes of it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Action, Decision, DecisionId, Direction, Origin, Scope};
use crate::{
    clock::Now,
    config::PolicyConfig,
    detect::Finding,
    flow::{BoundedTable, LocalNetworks, Worth},
};

/// How many scopes are remembered: those with a decision in force, strikes or offences. 65,536 take up to 9 MB.
const RECORDS_MAX: usize = 65_536;

/// What policy makes of a finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What becomes of the source.
    pub effect: Effect,
    /// What is to be done with the request that the finding is about, at once: a single attack is refused although
    /// its source is not banned yet. `None`: it goes on, or the finding is about no request.
    pub request_action: Option<Action>,
}

/// What becomes of the source of a finding.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Nothing.
    Ignored(Ignored),
    /// A new decision: to be stored and enforced.
    Decided(Box<Decision>),
    /// A decision of the same or a stronger action is in force: the finding goes to it, and it may last longer.
    Extends(Box<Extension>),
}

/// Why a finding changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Its confidence is below the policy's.
    Unsure,
    /// Its source is in this protected network.
    Protected(IpNet),
}

/// More for a decision in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Extension {
    /// Which decision.
    pub id: DecisionId,
    /// The finding to append, while there are fewer than [`Decision::FINDINGS_MAX`].
    pub finding: Finding,
    /// The decision's end from now on, never before its end so far: Unix ms; `None` is never.
    pub expires_unix_ms: Option<u64>,
    /// Whether that end is another than before, so that stores and maps need to know.
    pub is_longer: bool,
}

impl Outcome {
    const fn ignored(why: Ignored) -> Self {
        Self { effect: Effect::Ignored(why), request_action: None }
    }

    /// The decision that the finding led to or belongs to.
    #[must_use]
    pub fn decision_id(&self) -> Option<DecisionId> {
        match &self.effect {
            Effect::Ignored(_) => None,
            Effect::Decided(decision) => Some(decision.id),
            Effect::Extends(extension) => Some(extension.id),
        }
    }
}

/// The first of some networks that a scope covers a part of.
#[must_use]
pub fn covered(scope: &Scope, networks: &[IpNet]) -> Option<IpNet> {
    networks.iter().copied().find(|network| network.contains(&scope.0) || scope.0.contains(network))
}

/// A decision in force.
#[derive(Debug, Clone, Copy)]
struct Active {
    id: DecisionId,
    action: Action,
    expires_unix_ms: Option<u64>,
    simulated: bool,
}

/// What is remembered of one scope.
#[derive(Debug, Clone, Default)]
struct Record {
    active: Option<Active>,
    strikes: u32,
    strikes_since_unix_ms: u64,
    offences: u32,
    touched_unix_ms: u64,
}

impl Worth for Record {
    /// A decision in force keeps its place for a week more than a mere memory, an offence for a day.
    fn worth(&self, now_unix_ms: u64) -> i64 {
        const DAY_MS: i64 = 86_400_000;
        let in_force = i64::from(self.in_force(now_unix_ms).is_some());
        self.touched_unix_ms as i64 + 7 * DAY_MS * in_force + DAY_MS * i64::from(self.offences.min(30))
    }
}

impl Record {
    fn in_force(&self, now_unix_ms: u64) -> Option<Active> {
        self.active.filter(|active| active.expires_unix_ms.is_none_or(|end| end > now_unix_ms))
    }

    /// Counts a malicious request; a window without any begins anew.
    fn strike(&mut self, now_unix_ms: u64, window_ms: u64) -> u32 {
        if now_unix_ms.saturating_sub(self.strikes_since_unix_ms) > window_ms {
            self.strikes = 0;
            self.strikes_since_unix_ms = now_unix_ms;
        }
        self.strikes = self.strikes.saturating_add(1);
        self.strikes
    }
}

/// What the configuration says about one finding.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ruling {
    action: Action,
    confidence: f32,
    duration_s: u64,
}

/// From findings to decisions, with a bounded memory of offences.
#[derive(Debug)]
pub struct Policy {
    config: PolicyConfig,
    simulated_sites: Vec<String>,
    simulation: bool,
    protected: Vec<IpNet>,
    local: LocalNetworks,
    records: BoundedTable<IpNet, Record>,
}

impl Policy {
    /// A policy without memory.
    ///
    /// `simulated_sites` are the names of sites in simulation; `simulation` is that of everything. The seed keeps
    /// strangers from choosing table collisions.
    #[must_use]
    pub fn new(config: PolicyConfig, simulated_sites: Vec<String>, simulation: bool, seed: u64) -> Self {
        Self {
            config,
            simulated_sites,
            simulation,
            protected: Vec::new(),
            local: LocalNetworks::default(),
            records: BoundedTable::new(RECORDS_MAX, seed),
        }
    }

    /// A new configuration; what is remembered stays.
    pub fn reconfigure(&mut self, config: PolicyConfig, simulated_sites: Vec<String>) {
        self.config = config;
        self.simulated_sites = simulated_sites;
    }

    /// Turns simulation of everything on or off, for decisions from now on.
    pub const fn set_simulation(&mut self, on: bool) {
        self.simulation = on;
    }

    /// What is never decided against. Enforcement checks this again, and so does the kernel.
    pub fn set_protected(&mut self, networks: Vec<IpNet>) {
        self.protected = networks;
    }

    /// The LAN's networks: a decision about an IPv6 address there covers that device alone.
    pub fn set_local(&mut self, local: LocalNetworks) {
        self.local = local;
    }

    /// How many scopes are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.records.len()
    }

    /// How many scopes were forgotten to make room.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.records.evicted()
    }

    /// Learns of a stored decision or of a person's, so that it is extended while in force and counts as an offence
    /// within the policy's memory. At start: every stored decision, the oldest first.
    pub fn remember(&mut self, decision: &Decision, now: Now) {
        let age_ms = now.unix_ms.saturating_sub(decision.created_unix_ms);
        let is_offence = is_offence(decision.action, decision.origin, decision.simulated)
            && age_ms <= self.config.memory_s.saturating_mul(1_000);
        let is_over = decision.is_expired(now.unix_ms);
        if is_over && !is_offence {
            return;
        }
        let record = self.records.get_or_insert_with(decision.scope.0, now.unix_ms, Record::default);
        record.touched_unix_ms = record.touched_unix_ms.max(decision.created_unix_ms);
        if is_offence {
            record.offences = record.offences.max(decision.previous_offences).saturating_add(1);
        }
        let stronger = record.in_force(now.unix_ms).is_none_or(|active| active.action <= decision.action);
        if !is_over && stronger {
            record.active = Some(Active {
                id: decision.id,
                action: decision.action,
                expires_unix_ms: decision.expires_unix_ms,
                simulated: decision.simulated,
            });
        }
    }

    /// Learns that a decision was deleted or could not be enforced: the next finding makes a new one. Walks the whole
    /// table, so it is for what people do.
    pub fn forget(&mut self, id: DecisionId) {
        for record in self.records.values_mut() {
            if record.active.is_some_and(|active| active.id == id) {
                record.active = None;
                record.strikes = 0;
                record.offences = record.offences.saturating_sub(1);
            }
        }
    }

    /// Decides about a finding. `id` is used when there is a new decision.
    pub fn decide(&mut self, finding: Finding, id: DecisionId, now: Now) -> Outcome {
        self.decide_as(finding, id, now, false)
    }

    /// Decides about a finding; what is `simulated` is decided and never enforced, as in a site that is in simulation.
    pub fn decide_as(&mut self, finding: Finding, id: DecisionId, now: Now, simulated: bool) -> Outcome {
        let source = finding.source.to_canonical();
        if let Some(network) = covered(&Scope::ip(source), &self.protected) {
            return Outcome::ignored(Ignored::Protected(network));
        }
        let ruling = self.ruling(&finding);
        if finding.confidence < ruling.confidence || finding.confidence.is_nan() {
            return Outcome::ignored(Ignored::Unsure);
        }
        let simulated = simulated
            || self.simulation
            || finding.site.as_ref().is_some_and(|site| self.simulated_sites.contains(site));
        let scope = self.scope_of(source);
        let record = self.records.get_or_insert_with(scope.0, now.unix_ms, Record::default);
        if now.unix_ms.saturating_sub(record.touched_unix_ms) > self.config.memory_s.saturating_mul(1_000) {
            record.offences = 0;
        }
        record.touched_unix_ms = now.unix_ms;

        let (mut action, mut duration_s, mut request_action) = (ruling.action, ruling.duration_s, None);
        if finding.evidence.request.is_some() {
            let strikes = record.strike(now.unix_ms, self.config.request_window_s.saturating_mul(1_000));
            if strikes <= self.config.request_strikes {
                (action, duration_s) = (Action::Observe, self.config.request_window_s);
            }
            request_action = Some(ruling.action).filter(|action| *action != Action::Observe && !simulated);
        }
        let in_force = record.in_force(now.unix_ms).filter(|active| active.simulated == simulated);
        let effect = match in_force {
            Some(active) if active.action >= action => extend(record, active, action, duration_s, finding, now),
            _ => {
                let previous_offences = record.offences;
                let duration_s = match action {
                    Action::Observe => duration_s,
                    _ => escalated(&self.config, duration_s, previous_offences),
                };
                let draft = Draft { id, scope, action, duration_s, simulated, previous_offences };
                Effect::Decided(Box::new(make(record, draft, finding, now)))
            }
        };
        Outcome { effect, request_action }
    }

    /// What the first rule that fits says, or the defaults.
    fn ruling(&self, finding: &Finding) -> Ruling {
        let only_told = finding.class.is_only_told();
        let fits = |rule: &&crate::config::PolicyRule| {
            ((rule.classes.is_empty() && !only_told) || rule.classes.contains(&finding.class))
                && rule.severity.is_none_or(|least| finding.severity >= least)
                && (rule.sites.is_empty() || finding.site.as_ref().is_some_and(|site| rule.sites.contains(site)))
        };
        let rule = self.config.rules.iter().find(fits);
        if only_told && rule.is_none() {
            // Written down however unsure it is: nobody would hear of it otherwise.
            return Ruling { action: Action::Observe, confidence: 0.0, duration_s: self.config.duration_s };
        }
        Ruling {
            action: rule.map_or(Action::Block, |rule| rule.action),
            confidence: rule.and_then(|rule| rule.confidence).unwrap_or(self.config.confidence),
            duration_s: rule.and_then(|rule| rule.duration_s).unwrap_or(self.config.duration_s),
        }
    }

    /// Whom a decision about an address covers: on the Internet an IPv6 address stands for its prefix, unless that
    /// would hit something protected.
    fn scope_of(&self, source: IpAddr) -> Scope {
        let alone = Scope::ip(source);
        if source.is_ipv4() || self.local.contains(source) {
            return alone;
        }
        let prefix = IpNet::new(source, self.config.ipv6_prefix.min(128)).map(|net| Scope(net.trunc()));
        prefix.ok().filter(|scope| covered(scope, &self.protected).is_none()).unwrap_or(alone)
    }
}

/// Whether a decision makes the next one of its source last longer: what was only watched or simulated does not.
fn is_offence(action: Action, origin: Origin, simulated: bool) -> bool {
    action > Action::Observe && origin == Origin::Detector && !simulated
}

/// How long a decision lasts after some offences, in seconds.
fn escalated(config: &PolicyConfig, duration_s: u64, offences: u32) -> u64 {
    let factor = if config.escalation_factor.is_finite() { config.escalation_factor.max(1.0) } else { 1.0 };
    let grown = duration_s as f64 * factor.powi(offences.min(64) as i32);
    // Saturates: a float that is too large becomes the largest integer.
    (grown as u64).min(config.duration_max_s)
}

fn end_of(now: Now, duration_s: u64) -> u64 {
    now.unix_ms.saturating_add(duration_s.saturating_mul(1_000))
}

/// What a new decision is made of.
struct Draft {
    id: DecisionId,
    scope: Scope,
    action: Action,
    duration_s: u64,
    simulated: bool,
    previous_offences: u32,
}

fn make(record: &mut Record, draft: Draft, finding: Finding, now: Now) -> Decision {
    let Draft { id, scope, action, duration_s, simulated, previous_offences } = draft;
    if is_offence(action, Origin::Detector, simulated) {
        record.offences = record.offences.saturating_add(1);
    }
    let expires_unix_ms = Some(end_of(now, duration_s));
    record.active = Some(Active { id, action, expires_unix_ms, simulated });
    Decision {
        id,
        scope,
        direction: Direction::Source,
        action,
        class: Some(finding.class),
        origin: Origin::Detector,
        reason: reason_of(&finding),
        created_unix_ms: now.unix_ms,
        expires_unix_ms,
        simulated,
        previous_offences,
        findings: vec![finding],
    }
}

/// A finding lengthens a decision of its own strength; a weaker one only adds its evidence.
fn extend(record: &mut Record, active: Active, action: Action, duration_s: u64, finding: Finding, now: Now) -> Effect {
    let longer = active.expires_unix_ms.map(|end| match action == active.action {
        true => end.max(end_of(now, duration_s)),
        false => end,
    });
    // Less than a minute more is not worth a write to store and kernel for each of a thousand requests.
    let is_longer = match (active.expires_unix_ms, longer) {
        (Some(before), Some(after)) => after >= before.saturating_add(60_000),
        _ => false,
    };
    let expires_unix_ms = if is_longer { longer } else { active.expires_unix_ms };
    record.active = Some(Active { expires_unix_ms, ..active });
    Effect::Extends(Box::new(Extension { id: active.id, finding, expires_unix_ms, is_longer }))
}

/// One line for people.
fn reason_of(finding: &Finding) -> String {
    let (class, detector) = (finding.class, &finding.detector);
    let by = if detector == class.as_str() { String::new() } else { format!(" by {detector}") };
    let evidence = &finding.evidence;
    // Of a request it is the field that tells, of behaviour the rate.
    if evidence.field.is_none()
        && let Some(line) = evidence.measurements.first()
    {
        let digits = if line.value.fract() == 0.0 { 0 } else { 2 };
        return format!("{class}{by}: {:.digits$} {} (threshold {})", line.value, line.name, line.threshold);
    }
    match &evidence.field {
        Some(field) => format!("{class}{by} in {field}, confidence {:.2}", finding.confidence),
        None => format!("{class}{by}, confidence {:.2}", finding.confidence),
    }
}
