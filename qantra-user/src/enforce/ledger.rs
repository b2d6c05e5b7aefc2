//! The book of decisions in force: by id, by prefix, by end. One lock around it, never on a request's road.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hashbrown::HashMap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{kernel::BanHits, refused::Refused, table::Slot};
use crate::decide::{Action, Decision, DecisionId, Direction};

/// What a decision stopped, on both planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DecisionHits {
    /// Packets, by the kernel half. Counted per prefix: a decision that follows another about the same prefix goes on
    /// from its count.
    pub kernel: BanHits,
    /// Requests that the proxy acted on.
    pub requests: u64,
    /// When the proxy acted on the last one: ns since boot; 0 when it never did, or not since the daemon began.
    #[serde(default)]
    pub last_request_boot_ns: u64,
}

/// Requests that one decision acted on.
#[derive(Debug, Default)]
pub(super) struct RequestHits {
    count: AtomicU64,
    last_boot_ns: AtomicU64,
}

impl RequestHits {
    pub(super) fn add(&self, now_boot_ns: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // Two threads may swap the order of two moments that are microseconds apart: nobody can tell.
        self.last_boot_ns.store(now_boot_ns, Ordering::Relaxed);
    }

    /// Requests of before a restart.
    pub(super) fn of(count: u64) -> Self {
        Self { count: AtomicU64::new(count), ..Self::default() }
    }

    pub(super) fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn last_boot_ns(&self) -> u64 {
        self.last_boot_ns.load(Ordering::Relaxed)
    }
}

/// Why a decision is no longer in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its time was over.
    Expired,
    /// A person ended it.
    Deleted,
    /// A newer one about the same took its place.
    Replaced,
    /// It made room: too many were in force.
    Evicted,
}

impl EndReason {
    /// As written in the store and in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::Replaced => "replaced",
            Self::Evicted => "evicted",
        }
    }
}

/// A decision that is over, for the store.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The decision.
    pub decision: Arc<Decision>,
    /// Why it is over.
    pub reason: EndReason,
    /// What it stopped.
    pub hits: DecisionHits,
    /// When it was over: Unix ms.
    pub at_unix_ms: u64,
}

#[derive(Debug)]
pub(super) struct Active {
    pub(super) decision: Arc<Decision>,
    /// `u64::MAX` is never.
    pub(super) expires_boot_ns: u64,
    /// Came from the store: its end on the boot clock was reckoned with a wall clock that may not have been set yet.
    pub(super) restored: bool,
    pub(super) requests: Arc<RequestHits>,
}

/// What is known of one prefix.
#[derive(Debug, Default)]
pub(super) struct NetState {
    pub(super) ids: Vec<DecisionId>,
    /// What earlier bans of this prefix stopped, before they were lifted.
    pub(super) carried: BanHits,
    /// What the ban in the kernel stopped, when it was last read.
    pub(super) live: BanHits,
    pub(super) in_kernel: bool,
}

impl NetState {
    pub(super) fn hits(&self) -> BanHits {
        add(self.carried, self.live)
    }
}

/// What the kernel should hold for one prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WantedBan {
    pub(super) decision: DecisionId,
    pub(super) direction: Direction,
    pub(super) expires_boot_ns: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) decisions: HashMap<DecisionId, Active>,
    pub(super) nets: HashMap<IpNet, NetState>,
    /// Prefixes whose ban could not be lifted, to be tried again.
    pub(super) stuck: BTreeSet<IpNet>,
    /// Prefixes whose ban the kernel did not take, to be tried again.
    pub(super) refused: Refused,
    ends: BTreeSet<(u64, DecisionId)>,
}

impl Ledger {
    pub(super) fn insert(&mut self, active: Active) {
        let id = active.decision.id;
        let net = active.decision.scope.0;
        self.ends.insert((active.expires_boot_ns, id));
        self.nets.entry(net).or_default().ids.push(id);
        self.decisions.insert(id, active);
    }

    /// Takes a decision out; its prefix's state stays until [`Ledger::forget_net`].
    pub(super) fn remove(&mut self, id: DecisionId) -> Option<Active> {
        let active = self.decisions.remove(&id)?;
        self.ends.remove(&(active.expires_boot_ns, id));
        if let Some(state) = self.nets.get_mut(&active.decision.scope.0) {
            state.ids.retain(|other| *other != id);
        }
        Some(active)
    }

    /// Adds to a decision in force; its end is moved in the order of ends as well.
    pub(super) fn amend(&mut self, id: DecisionId, decision: Decision, expires_boot_ns: u64) {
        let Some(active) = self.decisions.get_mut(&id) else { return };
        self.ends.remove(&(active.expires_boot_ns, id));
        self.ends.insert((expires_boot_ns, id));
        active.expires_boot_ns = expires_boot_ns;
        active.decision = Arc::new(decision);
    }

    /// Drops a prefix's state when no decision is about it any more.
    pub(super) fn forget_net(&mut self, net: &IpNet) {
        if self.nets.get(net).is_some_and(|state| state.ids.is_empty() && !state.in_kernel) {
            self.nets.remove(net);
        }
    }

    /// Decisions that are over at this moment.
    pub(super) fn over(&self, now_boot_ns: u64, now_unix_ms: u64) -> Vec<DecisionId> {
        let mut ids: Vec<DecisionId> =
            self.ends.iter().take_while(|(end, _)| *end <= now_boot_ns).map(|(_, id)| *id).collect();
        let late = self.decisions.values().filter(|active| {
            active.restored && active.expires_boot_ns > now_boot_ns && active.decision.is_expired(now_unix_ms)
        });
        ids.extend(late.map(|active| active.decision.id));
        ids
    }

    /// The one that ends first.
    pub(super) fn first_to_end(&self) -> Option<DecisionId> {
        self.ends.first().map(|(_, id)| *id)
    }

    pub(super) fn of_net<'a>(&'a self, net: &IpNet) -> impl Iterator<Item = &'a Active> {
        let ids = self.nets.get(net).map_or(&[][..], |state| &state.ids);
        ids.iter().filter_map(|id| self.decisions.get(id))
    }

    /// What the proxy's table should hold for a prefix. Destinations are about what the LAN talks to, not about clients.
    pub(super) fn slots(&self, net: &IpNet) -> Vec<Slot> {
        self.of_net(net)
            .filter(|active| !active.decision.simulated && active.decision.direction != Direction::Destination)
            .map(|active| Slot {
                action: active.decision.action,
                decision: active.decision.id,
                expires_boot_ns: active.expires_boot_ns,
                hits: Arc::clone(&active.requests),
            })
            .collect()
    }

    /// What the kernel should hold for a prefix: all its bans as one, named after the one that ends last.
    pub(super) fn wanted_ban(&self, net: &IpNet) -> Option<WantedBan> {
        let bans = self.of_net(net).filter(|a| a.decision.action == Action::Block && !a.decision.simulated);
        bans.fold(None, |wanted: Option<WantedBan>, active| {
            let this = WantedBan {
                decision: active.decision.id,
                direction: active.decision.direction,
                expires_boot_ns: active.expires_boot_ns,
            };
            Some(wanted.map_or(this, |other| {
                let longest = if this.expires_boot_ns > other.expires_boot_ns { this } else { other };
                let direction = if this.direction == other.direction { this.direction } else { Direction::Both };
                WantedBan { direction, ..longest }
            }))
        })
    }
}

/// Sums what two bans of one prefix stopped.
pub(super) fn add(a: BanHits, b: BanHits) -> BanHits {
    let first = match (a.first_boot_ns, b.first_boot_ns) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    };
    BanHits {
        packets: a.packets.saturating_add(b.packets),
        bytes: a.bytes.saturating_add(b.bytes),
        first_boot_ns: first,
        last_boot_ns: a.last_boot_ns.max(b.last_boot_ns),
    }
}
