//! The decision table of the proxy: read for every request without a lock, written in small pieces.
//!
//! It is cut into shards, each an immutable map behind one `ArcSwap`. A reader sees each prefix whole, before or after
//! a change; a writer copies one shard only, so that a change costs microseconds with 100,000 entries as well.

use std::{
    hash::BuildHasher,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use ipnet::IpNet;

use super::{ledger::RequestHits, prefix::Lengths};
use crate::decide::{Action, DecisionId};

const SHARDS: usize = 256;

/// One decision as the table holds it.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) action: Action,
    pub(super) decision: DecisionId,
    /// `u64::MAX` is never.
    pub(super) expires_boot_ns: u64,
    pub(super) hits: Arc<RequestHits>,
}

type Shard = HashMap<IpNet, Arc<[Slot]>, foldhash::fast::RandomState>;

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[ArcSwap<Shard>]>,
    /// Seeded at start, so that nobody outside can aim at one shard.
    hasher: foldhash::fast::RandomState,
    lengths_v4: AtomicU64,
    lengths_v6: [AtomicU64; 2],
    lengths_v6_single: AtomicU64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::from_pointee(Shard::default())).collect(),
            hasher: foldhash::fast::RandomState::default(),
            lengths_v4: AtomicU64::new(0),
            lengths_v6: [AtomicU64::new(0), AtomicU64::new(0)],
            lengths_v6_single: AtomicU64::new(0),
        }
    }
}

impl Table {
    /// The strongest decision in force for an address; of equally strong ones that of the longest prefix.
    pub(super) fn strongest(&self, address: IpAddr, now_boot_ns: u64) -> Option<Slot> {
        let mut best: Option<Slot> = None;
        for net in self.lengths().covering(address) {
            let shard = self.shard(&net).load();
            let Some(slots) = shard.get(&net) else { continue };
            // Sorted by strength: the first that has not ended is the strongest of this prefix.
            let Some(slot) = slots.iter().find(|slot| slot.expires_boot_ns > now_boot_ns) else { continue };
            if best.as_ref().is_none_or(|best| slot.action > best.action) {
                best = Some(slot.clone());
            }
        }
        best
    }

    /// Makes these the decisions of each prefix; none removes it. Callers must not call it at the same time.
    pub(super) fn publish(&self, changes: impl IntoIterator<Item = (IpNet, Vec<Slot>)>) {
        let mut by_shard: HashMap<usize, Vec<(IpNet, Vec<Slot>)>> = HashMap::new();
        for (net, slots) in changes {
            by_shard.entry(self.shard_index(&net)).or_default().push((net, slots));
        }
        for (index, changes) in by_shard {
            let mut shard = Shard::clone(&self.shards[index].load());
            for (net, mut slots) in changes {
                if slots.is_empty() {
                    shard.remove(&net);
                } else {
                    slots.sort_by_key(|slot| std::cmp::Reverse((slot.action, slot.expires_boot_ns)));
                    self.add_length(&net);
                    shard.insert(net, slots.into());
                }
            }
            self.shards[index].store(Arc::new(shard));
        }
    }

    /// Prefixes in the table.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().len()).sum()
    }

    fn shard_index(&self, net: &IpNet) -> usize {
        // The map inside uses the hash's upper and lower bits by another seed; any eight bits do here.
        (self.hasher.hash_one(net) >> 20) as usize % SHARDS
    }

    fn shard(&self, net: &IpNet) -> &ArcSwap<Shard> {
        &self.shards[self.shard_index(net)]
    }

    /// Lengths are only ever added: a length that no longer occurs costs one vain lookup, not a wrong answer.
    fn add_length(&self, net: &IpNet) {
        let mut lengths = Lengths::default();
        lengths.insert(net);
        self.lengths_v4.fetch_or(lengths.v4, Ordering::Release);
        self.lengths_v6[0].fetch_or(lengths.v6 as u64, Ordering::Release);
        self.lengths_v6[1].fetch_or((lengths.v6 >> 64) as u64, Ordering::Release);
        self.lengths_v6_single.fetch_or(u64::from(lengths.v6_single), Ordering::Release);
    }

    fn lengths(&self) -> Lengths {
        let high = u128::from(self.lengths_v6[1].load(Ordering::Acquire)) << 64;
        Lengths {
            v4: self.lengths_v4.load(Ordering::Acquire),
            v6: high | u128::from(self.lengths_v6[0].load(Ordering::Acquire)),
            v6_single: self.lengths_v6_single.load(Ordering::Acquire) != 0,
        }
    }
}
