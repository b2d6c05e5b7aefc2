//! Enters: what a site's rules said of a request or a response. Leaves: the answer that follows from it. It must never
//! wait longer for rules than the judge allows, nor refuse anything of a site in simulation.

use pingora::{Error, ErrorType, Result, proxy::Session};

use super::{
    Judgement, RuleOpinion, RuleRefusal, Ruled,
    filters::{Filters, RequestState},
    page::Message,
};

impl Filters {
    /// Waits for a verdict that takes its time; what is too late is judged by the configuration.
    pub(super) async fn await_rules(&self, opinion: RuleOpinion) -> Ruled {
        match opinion {
            RuleOpinion::Now(ruled) => ruled,
            RuleOpinion::Soon { answer, deadline, late } => match tokio::time::timeout(deadline, answer).await {
                Ok(Ok(ruled)) => ruled,
                _ => {
                    if late == Judgement::Pass {
                        self.shared.counters.rules_late.increment();
                    }
                    Ruled::only(late)
                }
            },
        }
    }

    /// Answers as a rule wants it. Returns whether the request was answered by that.
    pub(super) async fn refuse_by_rule(
        &self,
        session: &mut Session,
        ctx: &mut RequestState,
        refusal: &RuleRefusal,
    ) -> Result<bool> {
        if ctx.site().is_some_and(|site| site.simulation) {
            self.shared.counters.simulated.increment();
            return Ok(false);
        }
        self.shared.counters.rule_refusals.increment();
        if refusal.is_drop {
            return Err(Error::explain(ErrorType::ConnectionClosed, "dropped by a rule").into_down());
        }
        let id = ctx.id;
        let message = Message {
            decision: refusal.decision,
            by_rule: refusal.status != 413,
            location: refusal.location.as_deref(),
            ..Message::new(refusal.status, id.as_str())
        };
        self.answer(session, ctx, message).await
    }
}
