//! What goes over the control socket. `-o json` prints the same, so names stay as they are.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Now,
    config::{Role, SynCookieMode},
    decide::{Action, Decision, DecisionId, Direction, Origin, Scope},
    detect::AttackClass,
    enforce::{AllowEntry, DecisionHits, Protection, Summary},
    intel::FeedSummary,
    model::ModelList,
    store::{StoreHealth, StoredDecision},
};

/// How the daemon is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Status {
    /// The version that runs.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it began.
    pub uptime_s: u64,
    /// The configuration file.
    pub config: PathBuf,
    /// Whether nothing is enforced.
    pub simulation: bool,
    /// Network interfaces and the rung of the hook ladder each stands on.
    pub interfaces: Vec<InterfaceStatus>,
    /// SYN cookies; `None` without a kernel half.
    #[serde(default)]
    pub syn_cookies: Option<SynCookieCounts>,
    /// Sockets of the proxy.
    pub listeners: Vec<ListenerStatus>,
    /// Sites and their targets.
    pub sites: Vec<SiteStatus>,
    /// What is in force.
    pub decisions: Summary,
    /// Block list feeds.
    #[serde(default)]
    pub feeds: FeedSummary,
    /// Models.
    pub models: ModelList,
    /// Rules.
    #[serde(default)]
    pub rules: RulesStatus,
    /// The store.
    pub store: StoreHealth,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// What is missing, degraded or failing open, one line each.
    pub warnings: Vec<String>,
}

/// The rules in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesStatus {
    /// The compiled sets; none: no site has rules.
    pub sets: Vec<RuleSetStatus>,
    /// When they were put in force: Unix ms.
    pub loaded_unix_ms: u64,
    /// Why the last reload failed; the sets are those before it.
    pub problem: Option<String>,
}

/// One compiled rule set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSetStatus {
    /// What it calls itself, such as `OWASP_CRS/4.20.0`.
    pub name: String,
    /// How many rules were read.
    pub rules: usize,
    /// About how many bytes it holds.
    pub bytes: usize,
    /// How long it took to read and compile.
    pub load_ms: u64,
    /// The sites that run it.
    pub sites: Vec<String>,
}

/// What became of connection requests that might have been answered with a SYN cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynCookieCounts {
    /// When they are answered.
    pub mode: SynCookieMode,
    /// Whether the kernel half answers at all; `warnings` says why not.
    pub is_on: bool,
    /// Those that were.
    pub answered: u64,
    /// Those that the network stack wanted to have itself: its queue had room.
    pub not_needed: u64,
    /// Those whose answer could not be written.
    pub failed: u64,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// On which side of the box it is.
    pub role: Role,
    /// The rung of the hook ladder; `None`: not watched.
    pub hook: Option<String>,
    /// Why not a higher rung.
    pub note: Option<String>,
}

/// One socket of the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Where.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// One site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its name.
    pub name: String,
    /// Its hosts.
    pub hosts: Vec<String>,
    /// Its origin servers.
    pub targets: Vec<TargetStatus>,
    /// Whether its requests are never refused.
    pub simulation: bool,
}

/// One origin server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// `host:port`.
    pub address: String,
    /// Whether it answers health checks; `None`: not known.
    pub healthy: Option<bool>,
}

/// A person's decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDecision {
    /// Whom it covers.
    pub net: IpNet,
    /// What is done.
    pub action: Action,
    /// Which end of a packet is compared.
    #[serde(default)]
    pub direction: Direction,
    /// How long; `None` is for ever.
    pub duration_s: Option<u64>,
    /// Why.
    pub reason: String,
}

/// Many of them at once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDecisions {
    /// At most [`NewDecisions::MAX`].
    pub decisions: Vec<NewDecision>,
    /// Only say what would be refused.
    #[serde(default)]
    pub dry_run: bool,
}

impl NewDecisions {
    /// Most decisions in one request: what the store writes in well under a second on an SD card.
    pub const MAX: usize = 2_000;
}

/// One of them that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotTaken {
    /// Its place in the request, from 0.
    pub index: usize,
    /// Whom it would have covered.
    pub net: IpNet,
    /// Why not.
    pub why: String,
}

/// What became of many.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Imported {
    /// How many are in force, or would be.
    pub taken: usize,
    /// How many took the place of one that was in force.
    pub replaced: usize,
    /// Those that were refused.
    pub refused: Vec<NotTaken>,
    /// What did not go as it should, one line each.
    pub warnings: Vec<String>,
}

/// Which decisions are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// This one.
    Id(DecisionId),
    /// Those about exactly this address or prefix.
    Net(IpNet),
    /// All that are in force.
    All,
}

/// How a decision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionState {
    /// In force.
    Active,
    /// Made in simulation: not enforced.
    Simulated,
    /// Over.
    Ended,
}

impl DecisionState {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Simulated => "simulated",
            Self::Ended => "ended",
        }
    }
}

/// One decision in a listing: without its findings, with what it stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of Decision")]
pub struct DecisionView {
    pub id: DecisionId,
    pub scope: Scope,
    pub direction: Direction,
    pub action: Action,
    pub class: Option<AttackClass>,
    pub origin: Origin,
    pub reason: String,
    pub created_unix_ms: u64,
    pub expires_unix_ms: Option<u64>,
    pub state: DecisionState,
    pub packets: u64,
    pub requests: u64,
}

impl DecisionView {
    pub(super) fn new(decision: &Decision, state: DecisionState, hits: &DecisionHits) -> Self {
        Self {
            id: decision.id,
            scope: decision.scope,
            direction: decision.direction,
            action: decision.action,
            class: decision.class,
            origin: decision.origin,
            reason: decision.reason.clone(),
            created_unix_ms: decision.created_unix_ms,
            expires_unix_ms: decision.expires_unix_ms,
            state,
            packets: hits.kernel.packets,
            requests: hits.requests,
        }
    }
}

/// A listing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DecisionList {
    /// Newest first.
    pub decisions: Vec<DecisionView>,
    /// What did not go as it should, one line each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deleted {
    /// How many.
    pub deleted: usize,
    /// What did not go as it should, one line each.
    pub warnings: Vec<String>,
}

/// What a decision stopped.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Hits {
    /// Packets dropped in the kernel.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests that the proxy acted on.
    pub requests: u64,
    /// When the first packet was dropped, ns since boot; 0: never, or before this boot.
    pub first_boot_ns: u64,
    /// When the last packet was dropped, ns since boot.
    pub last_boot_ns: u64,
    /// When the first packet was dropped, Unix ms.
    pub first_unix_ms: Option<u64>,
    /// When the last packet was dropped, Unix ms.
    pub last_unix_ms: Option<u64>,
    /// When the proxy acted on the last request, Unix ms; `None`: never, or not since the daemon began.
    #[serde(default)]
    pub last_request_unix_ms: Option<u64>,
    /// Packets dropped a second, on average from the first to the last one.
    #[serde(default)]
    pub packets_per_s: Option<f64>,
}

impl Hits {
    pub(super) fn live(hits: &DecisionHits, now: Now) -> Self {
        Self {
            packets: hits.kernel.packets,
            bytes: hits.kernel.bytes,
            requests: hits.requests,
            first_boot_ns: hits.kernel.first_boot_ns,
            last_boot_ns: hits.kernel.last_boot_ns,
            first_unix_ms: now.unix_ms_of_boot_ns(hits.kernel.first_boot_ns),
            last_unix_ms: now.unix_ms_of_boot_ns(hits.kernel.last_boot_ns),
            last_request_unix_ms: now.unix_ms_of_boot_ns(hits.last_request_boot_ns),
            packets_per_s: None,
        }
    }

    pub(super) const fn stored(stored: &StoredDecision) -> Self {
        Self {
            packets: stored.packets,
            bytes: stored.bytes,
            requests: stored.requests,
            first_boot_ns: 0,
            last_boot_ns: 0,
            first_unix_ms: stored.first_drop_unix_ms,
            last_unix_ms: stored.last_drop_unix_ms,
            last_request_unix_ms: None,
            packets_per_s: None,
        }
    }

    /// Says how fast packets came: more than one of them, over at least a second.
    pub(super) fn with_rate(mut self) -> Self {
        let span_ms = self.first_unix_ms.zip(self.last_unix_ms).map(|(first, last)| last.saturating_sub(first));
        self.packets_per_s = span_ms
            .filter(|span_ms| *span_ms >= 1_000 && self.packets > 1)
            .map(|span_ms| (self.packets - 1) as f64 * 1_000.0 / span_ms as f64);
        self
    }
}

/// All of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The decision with its findings.
    pub decision: Decision,
    /// How it stands.
    pub state: DecisionState,
    /// What it stopped.
    pub hits: Hits,
    /// When it was over: Unix ms.
    pub ended_unix_ms: Option<u64>,
    /// Why it is over.
    pub end_reason: Option<String>,
}

/// A new allowlist entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Whom it covers.
    pub net: IpNet,
    /// Why.
    pub comment: String,
    /// How long; `None` is for ever.
    pub duration_s: Option<u64>,
}

/// The allowlist.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Allowed {
    /// Its entries, oldest first.
    pub entries: Vec<AllowEntry>,
    /// What did not go as it should, one line each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// What protects it; `None`: it may be banned.
    pub protection: Option<Protection>,
    /// Decisions in force that cover it.
    pub decisions: Vec<DecisionView>,
}

/// Whether nothing is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulation {
    /// On: decide, log and count, but enforce nothing.
    pub on: bool,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// Changes that need a restart to take effect, one line each.
    pub needs_restart: Vec<String>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// One line for people.
    pub error: String,
}
