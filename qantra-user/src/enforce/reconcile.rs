//! At start: what the store knows against what the kernel still enforces.

use hashbrown::HashMap;
use ipnet::IpNet;

use super::{
    enforcer::{Enforcer, active},
    kernel::{BanHits, KernelBan, PlaneError},
    ledger::DecisionHits,
};
use crate::{
    clock::Now,
    config::canonical_net,
    decide::{Action, Decision, Origin, Scope},
};

/// What reconciling did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reconciled {
    /// Bans the kernel held already, as the store has them.
    pub adopted: usize,
    /// Bans the kernel lacked, or held otherwise.
    pub added: usize,
    /// Bans the kernel held and that are over.
    pub removed: usize,
    /// Bans the kernel held and the store knows nothing of: the daemon died, or the store was lost, before they were
    /// written. They stay in force until their own end; write them to the store.
    pub orphans: Vec<Decision>,
}

impl Enforcer {
    /// Puts the store's decisions back in force, with what they had stopped before, and brings the kernel in line.
    /// A ban that the kernel already holds is not touched, so that no packet slips through.
    ///
    /// # Errors
    /// The kernel's bans cannot be read, and then nothing was changed, or one that is over cannot be lifted.
    pub fn restore(&self, decisions: Vec<(Decision, DecisionHits)>, now: Now) -> Result<Reconciled, PlaneError> {
        let bans = self.plane().map(|plane| plane.bans()).transpose()?.unwrap_or_default();
        let mut pinned: HashMap<IpNet, KernelBan> = bans.into_iter().map(|ban| (ban.net, ban)).collect();
        let mut done = Reconciled::default();
        let mut ledger = self.ledger.lock();

        for (mut decision, hits) in decisions {
            if decision.is_expired(now.unix_ms) {
                continue;
            }
            decision.scope = Scope(canonical_net(decision.scope.0));
            let net = decision.scope.0;
            let held = pinned.get(&net).filter(|ban| ban.decision == decision.id);
            // The boot clock never jumps: what the kernel holds is truer than what is reckoned from the wall clock.
            let expires_boot_ns = held.map_or_else(
                || decision.expires_unix_ms.map_or(u64::MAX, |end| now.boot_ns_of_unix_ms(end)),
                |ban| ban.expires_boot_ns.unwrap_or(u64::MAX),
            );
            let is_held = held.is_some();
            let is_ban = decision.action == Action::Block && !decision.simulated;
            ledger.insert(active(decision, expires_boot_ns, hits.requests));
            if is_ban
                && !is_held
                && let Some(state) = ledger.nets.get_mut(&net)
            {
                // Boot times of an earlier boot mean nothing in this one.
                state.carried = BanHits { first_boot_ns: 0, last_boot_ns: 0, ..hits.kernel };
            }
        }

        let mut nets: Vec<IpNet> = ledger.nets.keys().copied().collect();
        nets.sort();
        for net in &nets {
            let held = pinned.remove(net);
            let wanted = ledger.wanted_ban(net);
            if let (Some(ban), Some(state)) = (held, ledger.nets.get_mut(net)) {
                state.in_kernel = true;
                state.live = ban.hits;
            }
            let same = held.zip(wanted).is_some_and(|(ban, wanted)| {
                ban.decision == wanted.decision
                    && ban.direction == wanted.direction
                    && ban.expires_boot_ns.unwrap_or(u64::MAX) == wanted.expires_boot_ns
            });
            if same && !self.is_simulation() {
                done.adopted += 1;
                continue;
            }
            self.sync_kernel(&mut ledger, net);
            match (held, wanted) {
                (_, Some(_)) if !self.is_simulation() => done.added += 1,
                (Some(_), _) => done.removed += 1,
                _ => {}
            }
        }

        for (net, ban) in pinned {
            let over = ban.expires_boot_ns.is_some_and(|end| end <= now.boot_ns);
            // An id stands for one prefix; a second one under it was not written by this program.
            if over || ledger.decisions.contains_key(&ban.decision) {
                if let Some(plane) = self.plane() {
                    plane.unban(net)?;
                }
                done.removed += 1;
                continue;
            }
            let orphan = orphan(&ban, now);
            ledger.insert(active(orphan.clone(), ban.expires_boot_ns.unwrap_or(u64::MAX), 0));
            if let Some(state) = ledger.nets.get_mut(&net) {
                state.in_kernel = true;
                state.live = ban.hits;
            }
            if self.is_simulation() {
                self.sync_kernel(&mut ledger, &net);
            }
            nets.push(net);
            done.orphans.push(orphan);
        }
        self.table.publish(nets.iter().map(|net| (*net, ledger.slots(net))));
        self.count_active(&ledger);
        Ok(done)
    }
}

fn orphan(ban: &KernelBan, now: Now) -> Decision {
    let left_ms = ban.expires_boot_ns.map(|end| end.saturating_sub(now.boot_ns) / 1_000_000);
    Decision {
        id: ban.decision,
        scope: Scope(ban.net),
        direction: ban.direction,
        action: Action::Block,
        class: None,
        origin: Origin::Detector,
        reason: "found in the kernel at start; the store has no record of why".into(),
        created_unix_ms: now.unix_ms,
        expires_unix_ms: left_ms.map(|left| now.unix_ms.saturating_add(left)),
        simulated: false,
        previous_offences: 0,
        findings: Vec::new(),
    }
}
