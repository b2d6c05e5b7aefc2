//! Enters: findings. Leaves: decisions in force on both planes and in the store. It must never wait for the store.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{
    clock::Now,
    decide::{DecisionId, Effect, Policy},
    detect::Finding,
    enforce::{EndReason, Ended, EnforceError, Enforcer},
    metrics::Metrics,
    proxy::Standing,
    store::{Store, Write},
};

/// Makes decisions of findings and puts them into effect, in the thread that found something: from the finding to the
/// kernel's map it is function calls and one system call.
pub(super) struct Actor {
    policy: Mutex<Policy>,
    enforcer: Arc<Enforcer>,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
}

impl Actor {
    pub(super) fn new(policy: Policy, enforcer: Arc<Enforcer>, store: Arc<Store>, metrics: Arc<Metrics>) -> Self {
        Self { policy: Mutex::new(policy), enforcer, store, metrics }
    }

    /// Acts on a finding. Returns what is to be done with the request it is about, if it is about one.
    pub(super) fn act(&self, finding: Finding, now: Now) -> Option<Standing> {
        self.act_as(finding, now, false)
    }

    /// The same; what is `simulated` is written down and never enforced.
    pub(super) fn act_as(&self, finding: Finding, now: Now, simulated: bool) -> Option<Standing> {
        self.metrics.findings(finding.class).inc();
        let found_boot_ns = finding.at.boot_ns;
        let fresh = DecisionId(rand::random());
        // Held until the decision is in force, so that a second finding about the same source finds it there.
        let mut policy = self.policy.lock();
        let outcome = policy.decide_as(finding, fresh, now, simulated);
        let id = outcome.decision_id()?;
        match outcome.effect {
            Effect::Ignored(_) => return None,
            Effect::Decided(decision) => match self.enforcer.apply(*decision, now) {
                Ok(applied) => {
                    let took_ns = crate::clock::boot_ns().saturating_sub(found_boot_ns);
                    self.metrics.decision_seconds.observe(took_ns as f64 / 1e9);
                    tracing::info!(
                        id = %applied.decision.id,
                        scope = %applied.decision.scope,
                        action = %applied.decision.action,
                        simulated = applied.decision.simulated,
                        reason = %applied.decision.reason,
                        "decided"
                    );
                    self.store.record(Write::Decision(Arc::clone(&applied.decision)));
                    self.note_ended(&mut policy, &applied.ended, now);
                }
                Err(error) => {
                    policy.forget(id);
                    drop(policy);
                    tracing::warn!(%error, "a decision was not put into effect");
                    return None;
                }
            },
            Effect::Extends(extension) => {
                if let Some(decision) = self.enforcer.extend(*extension, now) {
                    self.store.record(Write::Decision(decision));
                }
            }
        }
        drop(policy);
        let action = outcome.request_action?;
        self.enforcer.count_request(id, now.boot_ns);
        Some(Standing { action, decision: Some(id) })
    }

    /// Ends what is over.
    pub(super) fn sweep(&self, now: Now) {
        let ended = self.enforcer.sweep(now);
        if !ended.is_empty() {
            self.note_ended(&mut self.policy.lock(), &ended, now);
        }
    }

    /// Ends a decision before its time, for a person.
    pub(super) fn delete(&self, id: DecisionId, now: Now) -> Option<Ended> {
        let mut policy = self.policy.lock();
        let ended = self.enforcer.end(id, EndReason::Deleted, now)?;
        self.note_ended(&mut policy, std::slice::from_ref(&ended), now);
        Some(ended)
    }

    /// Puts a person's decision into effect; storing it is the caller's, who waits for the commit.
    pub(super) fn apply_manual(
        &self,
        decision: crate::decide::Decision,
        now: Now,
    ) -> Result<crate::enforce::Applied, EnforceError> {
        let mut policy = self.policy.lock();
        let applied = self.enforcer.apply(decision, now)?;
        policy.remember(&applied.decision, now);
        self.note_ended(&mut policy, &applied.ended, now);
        Ok(applied)
    }

    /// The same for many at once; storing them, and what they ended, is the caller's.
    pub(super) fn apply_manual_all(
        &self,
        decisions: Vec<crate::decide::Decision>,
        now: Now,
    ) -> Vec<Result<crate::enforce::Applied, EnforceError>> {
        let mut policy = self.policy.lock();
        let outcomes = self.enforcer.apply_all(decisions, now);
        for applied in outcomes.iter().flatten() {
            policy.remember(&applied.decision, now);
            forget_ended(&mut policy, &applied.ended);
        }
        outcomes
    }

    /// Changes the policy under the lock that decisions are made under.
    pub(super) fn with_policy<T>(&self, change: impl FnOnce(&mut Policy) -> T) -> T {
        change(&mut self.policy.lock())
    }

    fn note_ended(&self, policy: &mut Policy, ended: &[Ended], now: Now) {
        for over in ended {
            self.store.record(Write::Ended { ended: over.clone(), now });
        }
        forget_ended(policy, ended);
    }
}

/// A source whose decision was taken back is not known as an offender.
fn forget_ended(policy: &mut Policy, ended: &[Ended]) {
    for over in ended.iter().filter(|over| matches!(over.reason, EndReason::Deleted | EndReason::Evicted)) {
        policy.forget(over.decision.id);
    }
}
