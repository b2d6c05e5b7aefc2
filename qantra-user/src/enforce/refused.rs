//! Bans that the kernel refused, most often for want of room: the proxy enforces them alone until there is room again.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::enforcer::{Enforcer, KernelOutcome};
use crate::clock::Now;

/// Most bans tried in one sweep: some system calls each, under the book's lock.
const TRIES_MAX: usize = 256;
/// The first pause after a try that failed; it doubles up to the longest.
const PAUSE_NS: u64 = 1_000_000_000;
const PAUSE_NS_MAX: u64 = 64_000_000_000;

/// What waits for room, and until when.
#[derive(Debug, Default)]
pub(super) struct Refused {
    waiting: BTreeSet<IpNet>,
    not_before_boot_ns: u64,
    pause_ns: u64,
}

impl Refused {
    /// Notes a ban; whether it was not waiting before.
    pub(super) fn add(&mut self, net: IpNet) -> bool {
        self.waiting.insert(net)
    }

    /// It is in the kernel, or no longer wanted there.
    pub(super) fn settle(&mut self, net: &IpNet) {
        self.waiting.remove(net);
    }

    /// Another ban was lifted: no more pause.
    pub(super) fn make_room(&mut self) {
        (self.not_before_boot_ns, self.pause_ns) = (0, 0);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn due(&self, now_boot_ns: u64) -> Vec<IpNet> {
        let is_due = now_boot_ns >= self.not_before_boot_ns;
        self.waiting.iter().take(if is_due { TRIES_MAX } else { 0 }).copied().collect()
    }

    fn back_off(&mut self, now_boot_ns: u64) {
        self.pause_ns = (self.pause_ns * 2).clamp(PAUSE_NS, PAUSE_NS_MAX);
        self.not_before_boot_ns = now_boot_ns.saturating_add(self.pause_ns);
    }
}

impl Enforcer {
    /// Tries again what the kernel refused, until it refuses once more.
    pub(super) fn retry_refused(&self, now: Now) {
        let mut ledger = self.ledger.lock();
        let due = ledger.refused.due(now.boot_ns);
        for net in &due {
            if matches!(self.sync_kernel(&mut ledger, net), KernelOutcome::Failed(_)) {
                ledger.refused.back_off(now.boot_ns);
                return;
            }
        }
        if !due.is_empty() {
            tracing::info!(bans = due.len(), left = ledger.refused.len(), "the kernel took bans that it had refused");
        }
    }
}
