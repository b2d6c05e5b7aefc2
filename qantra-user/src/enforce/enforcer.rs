//! The [`Enforcer`]: one decision, both planes.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    AddressRanges,
    guard::{AllowEntry, Guard, Protection},
    kernel::{BanHits, KernelBan, KernelPlane, PlaneError},
    ledger::{Active, DecisionHits, EndReason, Ended, Ledger, RequestHits},
    listed::Listed,
    protected::ProtectedSet,
    table::Table,
};
use crate::{
    clock::Now,
    config::canonical_net,
    decide::{Action, Decision, DecisionId, Extension, Origin, Scope, Standing},
    metrics::Metrics,
};

/// Most decisions in force at once; beyond it the one that ends first makes room.
const DECISIONS_MAX: usize = 200_000;
/// Most decisions about one prefix at once.
const PER_NET_MAX: usize = 16;

/// A decision was not put into effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnforceError {
    /// It would hit what is protected.
    #[error("{scope} covers {}, which is protected: {}", .protection.net, .protection.why)]
    Protected {
        /// Whom the decision would cover.
        scope: Scope,
        /// What it would hit.
        protection: Protection,
    },
    /// It was over before it began.
    #[error("the decision about {scope} is already over")]
    Over {
        /// Whom the decision would cover.
        scope: Scope,
    },
}

/// What the kernel half made of a decision.
#[derive(Debug)]
pub enum KernelOutcome {
    /// It drops the packets.
    Banned,
    /// Nothing to do: the action is not `block`, or nothing is enforced.
    NotAsked,
    /// There is no kernel half: the proxy enforces alone.
    Absent,
    /// It refused: the proxy enforces alone.
    Failed(PlaneError),
}

/// A decision that is in effect.
#[derive(Debug)]
pub struct Applied {
    /// As it is in effect: narrowed, when its range would have hit something protected.
    pub decision: Arc<Decision>,
    /// What the kernel half made of it.
    pub kernel: KernelOutcome,
    /// Decisions that it took the place of.
    pub ended: Vec<Ended>,
}

/// What is in force, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Decisions in force.
    pub decisions: usize,
    /// Of them, those made in simulation.
    pub simulated: usize,
    /// Prefixes that the kernel drops.
    pub kernel_bans: usize,
    /// Prefixes whose ban the kernel did not take; they are tried again.
    #[serde(default)]
    pub kernel_refused: usize,
    /// Prefixes that the proxy acts on.
    pub proxy_entries: usize,
    /// Protected prefixes, allowlist included.
    pub protected: usize,
    /// Entries of the allowlist.
    pub allowlist: usize,
}

/// Puts decisions into effect on both planes and takes them back.
///
/// [`Enforcer::standing`] takes no lock; all else takes one that requests never wait for.
pub struct Enforcer {
    plane: Option<Arc<dyn KernelPlane>>,
    metrics: Arc<Metrics>,
    pub(super) table: Table,
    guard: ArcSwap<Guard>,
    listed: Listed,
    simulation: AtomicBool,
    pub(super) ledger: Mutex<Ledger>,
}

impl Enforcer {
    /// Nothing is in force yet. Tell the kernel what is protected by [`Enforcer::set_protected`] before
    /// [`Enforcer::restore`].
    #[must_use]
    pub fn new(plane: Option<Arc<dyn KernelPlane>>, metrics: Arc<Metrics>, simulation: bool) -> Self {
        metrics.simulation.set(i64::from(simulation));
        let listed = Listed::new(metrics.queue_dropped("listed_requests"));
        Self {
            plane,
            metrics,
            table: Table::default(),
            guard: ArcSwap::from_pointee(Guard::new(ProtectedSet::default(), Vec::new(), 0)),
            listed,
            simulation: AtomicBool::new(simulation),
            ledger: Mutex::default(),
        }
    }

    /// What is in force for a client, a decision or a feed that lists it; counts the request as one that was acted on.
    /// Lock-free.
    #[must_use]
    pub fn standing(&self, client: IpAddr, now_boot_ns: u64) -> Option<Standing> {
        let slot = self.table.strongest(client, now_boot_ns);
        let is_listed = slot.as_ref().is_none_or(|slot| slot.action < Action::Block) && self.listed.has(client);
        if slot.is_none() && !is_listed || self.is_simulation() || self.guard.load().covers(client) {
            return None;
        }
        if is_listed {
            self.listed.count(client);
            return Some(Standing { action: Action::Block, decision: None });
        }
        let slot = slot?;
        slot.hits.add(now_boot_ns);
        Some(Standing { action: slot.action, decision: Some(slot.decision) })
    }

    /// Replaces what feeds list as sources.
    pub fn set_listed(&self, ranges: Arc<AddressRanges>) {
        self.listed.replace(ranges);
    }

    /// The clients whose requests were stopped because a feed lists them, one for each request since the last call.
    #[must_use]
    pub fn take_listed_requests(&self) -> Vec<IpAddr> {
        self.listed.take()
    }

    /// What is in force for an address, a decision or a feed that lists it, for people who look: counts nothing.
    #[must_use]
    pub fn look_up(&self, address: IpAddr, now_boot_ns: u64) -> Option<Standing> {
        let slot = self.table.strongest(address, now_boot_ns);
        let decided = slot.map(|slot| Standing { action: slot.action, decision: Some(slot.decision) });
        let is_listed = decided.is_none_or(|standing| standing.action < Action::Block) && self.listed.has(address);
        if is_listed { Some(Standing { action: Action::Block, decision: None }) } else { decided }
    }

    /// Counts a request that was refused on its own account, before its decision stood in the table.
    pub fn count_request(&self, id: DecisionId, now_boot_ns: u64) {
        if let Some(active) = self.ledger.lock().decisions.get(&id) {
            active.requests.add(now_boot_ns);
        }
    }

    /// Puts a decision into effect: the kernel first, then the proxy's table. In simulation it is only entered in the
    /// book, as simulated.
    ///
    /// A detector's range that would hit something protected is narrowed to the source it was made for.
    ///
    /// # Errors
    /// It would cover something protected, or is over. A kernel that refuses is no error: see [`KernelOutcome`].
    pub fn apply(&self, mut decision: Decision, now: Now) -> Result<Applied, EnforceError> {
        self.prepare(&mut decision, now)?;
        let net = decision.scope.0;
        let mut ledger = self.ledger.lock();
        let applied = self.enter(&mut ledger, decision, now);
        self.table.publish([(net, ledger.slots(&net))]);
        self.count_active(&ledger);
        Ok(applied)
    }

    /// What must be so before a decision is entered in the book.
    pub(super) fn prepare(&self, decision: &mut Decision, now: Now) -> Result<(), EnforceError> {
        decision.scope = Scope(canonical_net(decision.scope.0));
        if decision.is_expired(now.unix_ms) {
            return Err(EnforceError::Over { scope: decision.scope });
        }
        if decision.action != Action::Observe {
            self.keep_off_protected(decision)?;
        }
        decision.simulated |= self.is_simulation();
        Ok(())
    }

    /// Enters a decision in the book and tells the kernel. The proxy's table is the caller's.
    pub(super) fn enter(&self, ledger: &mut Ledger, decision: Decision, now: Now) -> Applied {
        let expires_boot_ns = decision.expires_unix_ms.map_or(u64::MAX, |end| now.boot_ns_of_unix_ms(end));
        let net = decision.scope.0;
        let ended = self.make_room(ledger, &decision, expires_boot_ns, now);
        let decision = Arc::new(decision);
        ledger.insert(Active {
            decision: Arc::clone(&decision),
            expires_boot_ns,
            restored: false,
            requests: Arc::default(),
        });
        let kernel = self.sync_kernel(ledger, &net);
        self.metrics.decisions(decision.action, decision.class, decision.origin).inc();
        let kernel =
            if decision.action == Action::Block && !decision.simulated { kernel } else { KernelOutcome::NotAsked };
        Applied { decision, kernel, ended }
    }

    /// Adds to a decision in force: one more finding while there is room, and a later end. Returns it as it is then;
    /// `None` when nothing changed or it is not in force.
    pub fn extend(&self, extension: Extension, now: Now) -> Option<Arc<Decision>> {
        let mut ledger = self.ledger.lock();
        let active = ledger.decisions.get(&extension.id)?;
        let has_room = active.decision.findings.len() < Decision::FINDINGS_MAX;
        if !has_room && !extension.is_longer {
            return None;
        }
        let mut decision = Decision::clone(&active.decision);
        let mut expires_boot_ns = active.expires_boot_ns;
        if has_room {
            decision.findings.push(extension.finding);
        }
        if extension.is_longer {
            decision.expires_unix_ms = extension.expires_unix_ms;
            expires_boot_ns = extension.expires_unix_ms.map_or(u64::MAX, |end| now.boot_ns_of_unix_ms(end));
        }
        let net = decision.scope.0;
        ledger.amend(extension.id, decision, expires_boot_ns);
        if extension.is_longer {
            self.sync_kernel(&mut ledger, &net);
            self.table.publish([(net, ledger.slots(&net))]);
        }
        ledger.decisions.get(&extension.id).map(|active| Arc::clone(&active.decision))
    }

    /// Ends a decision before its time; `None` when it is not in force.
    pub fn end(&self, id: DecisionId, reason: EndReason, now: Now) -> Option<Ended> {
        self.end_all(&[id], reason, now).pop()
    }

    /// Ends those that are over, and lets allowlist entries go that are. Call it about once a second.
    pub fn sweep(&self, now: Now) -> Vec<Ended> {
        let mut ledger = self.ledger.lock();
        for net in std::mem::take(&mut ledger.stuck) {
            self.sync_kernel(&mut ledger, &net);
            ledger.forget_net(&net);
        }
        let over = ledger.over(now.boot_ns, now.unix_ms);
        drop(ledger);
        let ended = if over.is_empty() { Vec::new() } else { self.end_all(&over, EndReason::Expired, now) };
        self.retry_refused(now);
        if self.guard.load().allow.iter().any(|entry| entry.is_expired(now.unix_ms)) {
            let guard = self.guard.load_full();
            if let Err(error) = self.set_guard(guard.protected.clone(), guard.allow.clone(), now) {
                tracing::warn!(%error, "the kernel's protected set could not be renewed");
            }
        }
        ended
    }

    /// Reads back what the kernel stopped; returns the decisions whose counts are not zero, for the store.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn read_back(&self) -> Result<Vec<(DecisionId, DecisionHits)>, PlaneError> {
        let bans = self.plane.as_ref().map(|plane| plane.bans()).transpose()?.unwrap_or_default();
        let mut ledger = self.ledger.lock();
        for ban in bans {
            if let Some(state) = ledger.nets.get_mut(&ban.net) {
                state.live = ban.hits;
            }
        }
        let hits = ledger.decisions.iter().map(|(id, active)| (*id, hits_of(&ledger, active)));
        Ok(hits.filter(|(_, hits)| hits.kernel.packets > 0 || hits.requests > 0).collect())
    }

    /// What a decision in force stopped so far, read from the kernel now; `None` when it is not in force.
    #[must_use]
    pub fn hits(&self, id: DecisionId) -> Option<DecisionHits> {
        let mut ledger = self.ledger.lock();
        let net = ledger.decisions.get(&id)?.decision.scope.0;
        if let (Some(plane), Some(state)) = (&self.plane, ledger.nets.get_mut(&net))
            && state.in_kernel
            && let Ok(Some(live)) = plane.hits(net)
        {
            state.live = live;
        }
        ledger.decisions.get(&id).map(|active| hits_of(&ledger, active))
    }

    /// A decision in force.
    #[must_use]
    pub fn get(&self, id: DecisionId) -> Option<Arc<Decision>> {
        self.ledger.lock().decisions.get(&id).map(|active| Arc::clone(&active.decision))
    }

    /// Every decision in force with what it stopped as last read, newest first.
    #[must_use]
    pub fn active(&self) -> Vec<(Arc<Decision>, DecisionHits)> {
        let ledger = self.ledger.lock();
        let mut list: Vec<_> =
            ledger.decisions.values().map(|active| (Arc::clone(&active.decision), hits_of(&ledger, active))).collect();
        drop(ledger);
        list.sort_by_key(|(decision, _)| (std::cmp::Reverse(decision.created_unix_ms), decision.id));
        list
    }

    /// What protects a prefix, wholly or in part; `None` when it may be banned.
    #[must_use]
    pub fn protection(&self, net: &IpNet) -> Option<Protection> {
        self.guard.load().conflict(&canonical_net(*net)).cloned()
    }

    /// Everything protected with its reason, the allowlist included.
    #[must_use]
    pub fn protections(&self) -> Vec<Protection> {
        self.guard.load().entries().to_vec()
    }

    /// Everything that no decision may touch, the allowlist included: for the policy, which need not decide in vain.
    #[must_use]
    pub fn protected_networks(&self) -> Vec<IpNet> {
        self.guard.load().networks()
    }

    /// Replaces the protected set; the allowlist stays. The kernel learns it first. Does nothing when it is the same.
    ///
    /// # Errors
    /// The kernel's table is full or bpf(2) fails; the proxy's side holds all the same.
    pub fn set_protected(&self, protected: ProtectedSet, now: Now) -> Result<(), PlaneError> {
        let guard = self.guard.load_full();
        if guard.protected == protected {
            return Ok(());
        }
        self.set_guard(protected, guard.allow.clone(), now)
    }

    /// Replaces the allowlist; the protected set stays.
    ///
    /// # Errors
    /// As [`Enforcer::set_protected`].
    pub fn set_allowlist(&self, allow: Vec<AllowEntry>, now: Now) -> Result<(), PlaneError> {
        self.set_guard(self.guard.load_full().protected.clone(), allow, now)
    }

    /// The allowlist.
    #[must_use]
    pub fn allowlist(&self) -> Vec<AllowEntry> {
        self.guard.load().allow.clone()
    }

    /// Whether nothing is enforced.
    #[must_use]
    pub fn is_simulation(&self) -> bool {
        self.simulation.load(Ordering::Relaxed)
    }

    /// Turns simulation on, which lifts what is enforced, or off, which puts it back; decisions made in between stay
    /// simulated.
    pub fn set_simulation(&self, on: bool) {
        let mut ledger = self.ledger.lock();
        if self.simulation.swap(on, Ordering::SeqCst) == on {
            return;
        }
        self.metrics.simulation.set(i64::from(on));
        let nets: Vec<IpNet> = ledger.nets.keys().copied().collect();
        for net in nets {
            self.sync_kernel(&mut ledger, &net);
        }
    }

    /// What is in force, in numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let ledger = self.ledger.lock();
        let guard = self.guard.load();
        Summary {
            decisions: ledger.decisions.len(),
            simulated: ledger.decisions.values().filter(|active| active.decision.simulated).count(),
            kernel_bans: ledger.nets.values().filter(|state| state.in_kernel).count(),
            kernel_refused: ledger.refused.len(),
            proxy_entries: self.table.len(),
            protected: guard.networks().len(),
            allowlist: guard.allow.len(),
        }
    }

    pub(super) fn plane(&self) -> Option<&dyn KernelPlane> {
        self.plane.as_deref()
    }

    pub(super) fn count_active(&self, ledger: &Ledger) {
        self.metrics.decisions_active.set(ledger.decisions.len() as i64);
    }

    /// Makes the kernel's ban of one prefix what the book says, and nothing while in simulation.
    pub(super) fn sync_kernel(&self, ledger: &mut Ledger, net: &IpNet) -> KernelOutcome {
        let wanted = if self.is_simulation() { None } else { ledger.wanted_ban(net) };
        let Some(plane) = &self.plane else {
            return if wanted.is_some() { KernelOutcome::Absent } else { KernelOutcome::NotAsked };
        };
        let Some(state) = ledger.nets.get_mut(net) else { return KernelOutcome::NotAsked };
        let Some(wanted) = wanted else {
            ledger.refused.settle(net);
            if state.in_kernel {
                match plane.unban(*net) {
                    Ok(stopped) => {
                        state.carried = super::ledger::add(state.carried, stopped.unwrap_or(state.live));
                        state.live = BanHits::default();
                        state.in_kernel = false;
                        ledger.refused.make_room();
                    }
                    Err(error) => {
                        tracing::error!(%net, %error, "a ban could not be lifted; tried again at the next sweep");
                        ledger.stuck.insert(*net);
                        return KernelOutcome::Failed(error);
                    }
                }
            }
            return KernelOutcome::NotAsked;
        };
        let ban = KernelBan {
            net: *net,
            direction: wanted.direction,
            decision: wanted.decision,
            expires_boot_ns: (wanted.expires_boot_ns != u64::MAX).then_some(wanted.expires_boot_ns),
            hits: state.live,
        };
        match plane.ban(&ban) {
            Ok(()) => {
                state.in_kernel = true;
                ledger.refused.settle(net);
                KernelOutcome::Banned
            }
            Err(error) => {
                let is_first = ledger.refused.len() == 0;
                if ledger.refused.add(*net) {
                    self.metrics.fail_open("kernel").inc();
                }
                if is_first {
                    tracing::error!(%net, %error, "the kernel refuses bans: the proxy enforces them alone; tried again");
                }
                KernelOutcome::Failed(error)
            }
        }
    }

    fn set_guard(&self, protected: ProtectedSet, allow: Vec<AllowEntry>, now: Now) -> Result<(), PlaneError> {
        // Under the lock, so that of two changes at once the later one wins on both planes.
        let _ledger = self.ledger.lock();
        let guard = Guard::new(protected, allow, now.unix_ms);
        let told = self.plane.as_ref().map_or(Ok(()), |plane| plane.protect(&guard.networks()));
        self.guard.store(Arc::new(guard));
        told
    }

    fn keep_off_protected(&self, decision: &mut Decision) -> Result<(), EnforceError> {
        let guard = self.guard.load();
        let Some(protection) = guard.conflict(&decision.scope.0) else { return Ok(()) };
        let narrower = decision.findings.first().map(|finding| Scope::ip(finding.source.to_canonical()));
        if decision.origin == Origin::Detector
            && let Some(narrower) = narrower
            && narrower != decision.scope
            && decision.scope.0.contains(&narrower.0)
            && guard.conflict(&narrower.0).is_none()
        {
            decision.reason.push_str(&format!(" (narrowed from {}: {} is protected)", decision.scope, protection.net));
            decision.scope = narrower;
            return Ok(());
        }
        self.metrics.decisions_refused.with_label_values(&["protected"]).inc();
        Err(EnforceError::Protected { scope: decision.scope, protection: protection.clone() })
    }

    /// Takes out what the new decision replaces, and what must go for the limits' sake.
    fn make_room(&self, ledger: &mut Ledger, new: &Decision, expires_boot_ns: u64, now: Now) -> Vec<Ended> {
        let net = new.scope.0;
        let replaced: Vec<DecisionId> = ledger
            .of_net(&net)
            .filter(|old| {
                let same = old.decision.action == new.action
                    && old.decision.direction == new.direction
                    && old.decision.simulated == new.simulated;
                old.decision.id == new.id
                    || same && (new.origin == Origin::Cli || old.expires_boot_ns <= expires_boot_ns)
            })
            .map(|old| old.decision.id)
            .collect();
        let mut ended: Vec<Ended> =
            replaced.iter().filter_map(|id| take_out(ledger, *id, EndReason::Replaced, now)).collect();
        let crowded = (ledger.of_net(&net).count() >= PER_NET_MAX)
            .then(|| ledger.of_net(&net).min_by_key(|old| old.expires_boot_ns).map(|old| old.decision.id))
            .flatten();
        let full = (ledger.decisions.len() >= DECISIONS_MAX).then(|| ledger.first_to_end()).flatten();
        for id in [crowded, full].into_iter().flatten() {
            if let Some(over) = take_out(ledger, id, EndReason::Evicted, now) {
                self.metrics.decisions_refused.with_label_values(&["evicted"]).inc();
                let other = over.decision.scope.0;
                if other != net {
                    self.sync_kernel(ledger, &other);
                    self.table.publish([(other, ledger.slots(&other))]);
                    ledger.forget_net(&other);
                }
                ended.push(over);
            }
        }
        ended
    }

    fn end_all(&self, ids: &[DecisionId], reason: EndReason, now: Now) -> Vec<Ended> {
        let mut ledger = self.ledger.lock();
        let mut ended: Vec<Ended> = Vec::with_capacity(ids.len());
        for id in ids {
            ended.extend(take_out(&mut ledger, *id, reason, now));
        }
        let mut nets: Vec<IpNet> = ended.iter().map(|over| over.decision.scope.0).collect();
        nets.sort();
        nets.dedup();
        for net in &nets {
            self.sync_kernel(&mut ledger, net);
            // Lifting the ban told the last count.
            let stopped = ledger.nets.get(net).map(super::ledger::NetState::hits);
            for over in
                ended.iter_mut().filter(|over| over.decision.scope.0 == *net && over.decision.action == Action::Block)
            {
                over.hits.kernel = stopped.unwrap_or(over.hits.kernel);
            }
        }
        self.table.publish(nets.iter().map(|net| (*net, ledger.slots(net))));
        for net in &nets {
            ledger.forget_net(net);
        }
        self.count_active(&ledger);
        ended
    }
}

impl std::fmt::Debug for Enforcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enforcer").field("summary", &self.summary()).finish_non_exhaustive()
    }
}

fn take_out(ledger: &mut Ledger, id: DecisionId, reason: EndReason, now: Now) -> Option<Ended> {
    let hits = ledger.decisions.get(&id).map(|active| hits_of(ledger, active))?;
    let active = ledger.remove(id)?;
    Some(Ended { decision: active.decision, reason, hits, at_unix_ms: now.unix_ms })
}

fn hits_of(ledger: &Ledger, active: &Active) -> DecisionHits {
    let banned = active.decision.action == Action::Block && !active.decision.simulated;
    let kernel = ledger.nets.get(&active.decision.scope.0).filter(|_| banned).map(super::ledger::NetState::hits);
    DecisionHits {
        kernel: kernel.unwrap_or_default(),
        requests: active.requests.get(),
        last_request_boot_ns: active.requests.last_boot_ns(),
    }
}

/// Kept here so that [`super::reconcile`] builds the same thing.
pub(super) fn active(decision: Decision, expires_boot_ns: u64, requests: u64) -> Active {
    Active {
        decision: Arc::new(decision),
        expires_boot_ns,
        restored: true,
        requests: Arc::new(RequestHits::of(requests)),
    }
}
