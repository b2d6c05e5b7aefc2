//! Many decisions at once, as an import brings them.

use ipnet::IpNet;

use super::enforcer::{Applied, EnforceError, Enforcer};
use crate::{clock::Now, decide::Decision};

/// Decisions entered under one hold of the book's lock: a finding that comes meanwhile waits for some milliseconds.
const PER_HOLD: usize = 256;

impl Enforcer {
    /// Puts many decisions into effect, each as [`Enforcer::apply`] does; the answers are in their order. The proxy's
    /// table is written once for some hundreds of them.
    pub fn apply_all(&self, decisions: Vec<Decision>, now: Now) -> Vec<Result<Applied, EnforceError>> {
        let mut outcomes = Vec::with_capacity(decisions.len());
        let mut waiting = decisions.into_iter().peekable();
        while waiting.peek().is_some() {
            let mut ledger = self.ledger.lock();
            let begun = outcomes.len();
            for mut decision in waiting.by_ref().take(PER_HOLD) {
                let prepared = self.prepare(&mut decision, now);
                outcomes.push(prepared.map(|()| self.enter(&mut ledger, decision, now)));
            }
            let applied = outcomes[begun..].iter().flatten();
            let mut nets: Vec<IpNet> = applied.map(|applied| applied.decision.scope.0).collect();
            nets.sort();
            nets.dedup();
            self.table.publish(nets.iter().map(|net| (*net, ledger.slots(net))));
            self.count_active(&ledger);
        }
        outcomes
    }
}
