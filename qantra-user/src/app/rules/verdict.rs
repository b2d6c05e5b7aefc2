//! Enters: what rules said of a request or a response. Leaves: what is done with it, a finding for policy, and an entry in the
//! journal. Only requests that some rule matched come here: the rare path, so it may allocate and take policy's lock.

use qantra_seclang::EngineMode;

use super::RuleRunner;
use crate::{
    api::{RuleOutcome, RuledRequest},
    clock::Now,
    config::{RulesConfirm, SiteIndex},
    decide::{Action, Standing},
    detect::{AttackClass, Finding, RequestOrigin, RequestRef, RuleEvidence, from_rules},
    inspect::{RuleEnding, RuleReport},
    proxy::{Judgement, RuleRefusal, Suspicion},
};

/// What a request is besides its run.
pub(super) struct Seen<'a> {
    pub(super) at: SiteIndex,
    pub(super) engine: EngineMode,
    pub(super) confirm: RulesConfirm,
    pub(super) suspicion: Suspicion,
    pub(super) ruleset: &'a str,
    pub(super) is_response: bool,
    pub(super) origin: RequestOrigin<'a>,
}

/// Whether the score alone refuses, and those who were to agree do not. Without models nobody can: then rules refuse by
/// themselves, as they do where nobody has to. Rules that deny by themselves are not asked about.
fn is_unconfirmed(confirm: RulesConfirm, suspicion: Suspicion, report: &RuleReport) -> bool {
    let is_by_score = report.ending.as_ref().is_some_and(RuleEnding::is_by_score);
    confirm == RulesConfirm::Models && suspicion == Suspicion::None && is_by_score
}

impl RuleRunner {
    pub(super) fn judge(&self, report: &RuleReport, seen: &Seen<'_>, now: Now) -> Judgement {
        let is_unconfirmed = seen.engine == EngineMode::On && is_unconfirmed(seen.confirm, seen.suspicion, report);
        let is_on = seen.engine == EngineMode::On && !is_unconfirmed;
        let finding = from_rules(report, seen.ruleset, &seen.origin, now);
        let said = Said::of(finding.as_ref());
        // Most matches are matters of form, and policy's lock is for what it may act on.
        let finding = finding.filter(|finding| finding.confidence >= self.least_confidence());
        // What rules say in `detect`, or what nobody confirms, must harm nobody: it is decided as in simulation.
        let standing = finding.and_then(|finding| self.actor.act_as(finding, now, !is_on));
        let decision = standing.and_then(|standing| standing.decision);
        let judgement = match is_on && !self.enforcer.is_simulation() {
            true => judgement_of(report.ending.as_ref(), standing),
            false => Judgement::Pass,
        };
        let outcome = match (&report.ending, &judgement) {
            _ if is_unconfirmed => RuleOutcome::Unconfirmed,
            (_, Judgement::Refuse(_) | Judgement::Act(_)) if !self.is_simulated(seen.at) => RuleOutcome::Refused,
            (None, Judgement::Pass) if report.would_end.is_none() => RuleOutcome::Passed,
            _ => RuleOutcome::Reported,
        };
        let site = seen.origin.site.unwrap_or("-");
        let class = match said.class {
            _ if seen.is_response => "response",
            Some(class) => class.as_str(),
            None => "none",
        };
        self.metrics.matched.with_label_values(&[site, outcome.as_str(), class]).inc();
        if !report.matches.is_empty() || report.ending.is_some() {
            let mut entry = entry_of(report, seen, said, now);
            (entry.outcome, entry.decision) = (outcome, decision);
            self.journal.note(entry);
        }
        judgement
    }

    /// Whether the site refuses nothing.
    fn is_simulated(&self, site: SiteIndex) -> bool {
        self.config.load().sites.get(usize::from(site.0)).is_some_and(|site| site.simulation)
    }

    /// The confidence below which no policy acts.
    fn least_confidence(&self) -> f32 {
        let policy = &self.config.load().policy;
        policy.rules.iter().filter_map(|rule| rule.confidence).fold(policy.confidence, f32::min)
    }
}

fn judgement_of(ending: Option<&RuleEnding>, standing: Option<Standing>) -> Judgement {
    match (ending, standing) {
        (_, Some(standing)) if standing.action == Action::Forward => Judgement::Act(standing),
        (Some(ending), standing) => Judgement::Refuse(RuleRefusal {
            status: ending.status,
            location: ending.location.clone(),
            is_drop: ending.is_drop,
            decision: standing.and_then(|standing| standing.decision),
        }),
        (None, Some(standing)) => Judgement::Act(standing),
        (None, None) => Judgement::Pass,
    }
}

/// What a finding says in short.
#[derive(Clone, Copy)]
struct Said {
    class: Option<AttackClass>,
    confidence: f32,
}

impl Said {
    fn of(finding: Option<&Finding>) -> Self {
        Self {
            class: finding.map(|finding| finding.class),
            confidence: finding.map_or(0.0, |finding| finding.confidence),
        }
    }
}

fn entry_of(report: &RuleReport, seen: &Seen<'_>, said: Said, now: Now) -> RuledRequest {
    let origin = &seen.origin;
    let end = report.ending.as_ref().map(|ending| (ending.rule_id, ending.status)).or(report.would_end);
    let evidence = |found: &crate::inspect::RuleMatch| RuleEvidence {
        id: found.id,
        message: found.message.clone(),
        field: found.field.clone(),
        value: found.value.clone(),
    };
    RuledRequest {
        at_unix_ms: now.unix_ms,
        request: RequestRef {
            id: origin.request_id.to_owned(),
            method: origin.method.to_owned(),
            path: origin.path.to_owned(),
        },
        is_response: seen.is_response,
        site: origin.site.unwrap_or("-").to_owned(),
        source: origin.source,
        outcome: RuleOutcome::Passed,
        status: end.map(|(_, status)| status),
        ended_by: end.map(|(rule, _)| rule),
        score: report.score,
        threshold: report.threshold,
        class: said.class,
        confidence: said.confidence,
        ruleset: seen.ruleset.to_owned(),
        rules: report.matches.iter().map(evidence).collect(),
        rule_ids: report.ids.clone(),
        decision: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_low_score_that_the_models_looked_at_and_did_not_mind_goes_unconfirmed() {
        let by_score = |score| {
            let ending = Some(RuleEnding { status: 403, rule_id: 949_110, location: None, is_drop: false });
            RuleReport { ending, score, threshold: 5, ..RuleReport::default() }
        };
        let models = RulesConfirm::Models;
        for (confirm, suspicion, score, unconfirmed) in [
            (models, Suspicion::None, 5, true),
            (models, Suspicion::Some, 5, false),
            (models, Suspicion::Unknown, 5, false),
            (models, Suspicion::None, 15, true),
            (RulesConfirm::None, Suspicion::None, 5, false),
        ] {
            assert_eq!(
                is_unconfirmed(confirm, suspicion, &by_score(score)),
                unconfirmed,
                "{confirm:?} {suspicion:?} {score}"
            );
        }
    }
}
