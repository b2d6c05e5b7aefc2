//! Enters: a chain that matched. Leaves: what people and logs are told of it: rule, variable, value, message, tags. It
//! must never hold more of a value than a log line should.

use super::{Host, Transaction, scratch::Record};
use crate::{error::Position, rule::Rule, store::Span, template::Part, transform::Transform, variable::Variable};

/// Matches that one transaction reports at most.
const RECORDS_MAX: usize = 500;
/// How much of a value a report shows.
const VALUE_MAX: u32 = 256;

/// A rule that matched.
#[derive(Debug, Clone)]
pub struct Match<'a> {
    /// The rule's id.
    pub rule_id: u64,
    /// Its phase.
    pub phase: u8,
    /// `msg`, expanded.
    pub message: &'a [u8],
    /// `logdata`, expanded and cut.
    pub data: &'a [u8],
    /// From 0 (emergency) to 7 (debug).
    pub severity: Option<u8>,
    /// The variable whose value matched last.
    pub variable: Variable,
    /// The value's key; empty for variables without keys.
    pub key: &'a [u8],
    /// The value as the operator saw it, cut; stars when the rule says `sanitiseMatched`.
    pub value: &'a [u8],
    /// `log`.
    pub logged: bool,
    /// `auditlog`.
    pub audited: bool,
    /// `ver`.
    pub version: Option<&'a str>,
    /// `rev`.
    pub revision: Option<&'a str>,
    /// Where the rule stands.
    pub position: &'a Position,
    rule: &'a Rule,
    transforms: Vec<Transform>,
}

impl<'a> Match<'a> {
    /// The rule's tags.
    pub fn tags(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.rule.meta.tags.iter().filter_map(|tag| match &*tag.parts {
            [Part::Text(text)] => Some(&**text),
            _ => None,
        })
    }

    /// What was done to the value before it matched.
    #[must_use]
    pub fn transforms(&self) -> &[Transform] {
        &self.transforms
    }
}

impl Transaction<'_, '_> {
    pub(super) fn record(&mut self, number: u32, rule: &Rule, host: &mut Host<'_>) {
        if !(rule.meta.log || rule.meta.audit) || self.s.records.len() >= RECORDS_MAX {
            return;
        }
        // A value of a hundred kB would be copied for every rule that it matches.
        let msg = self.expand_short(&rule.meta.msg, VALUE_MAX as usize, host);
        let data = self.expand_short(&rule.meta.logdata, VALUE_MAX as usize, host);
        self.s.records.push(Record { rule: number, matched: self.s.last, msg, data });
    }

    /// Every rule that matched so far, in order; those that say `nolog,noauditlog` are left out.
    pub fn matches(&self) -> impl Iterator<Item = Match<'_>> {
        self.s.records.iter().filter_map(|record| {
            let rule = self.rules.rules.get(record.rule as usize)?;
            let meta = &rule.meta;
            let mut last = rule;
            while let Some(next) = last.next.and_then(|next| self.rules.rules.get(next as usize)) {
                last = next;
            }
            Some(Match {
                rule_id: rule.id,
                phase: rule.phase,
                message: self.shown(record.msg),
                data: self.shown(record.data),
                severity: meta.severity,
                variable: record.matched.variable,
                key: self.shown(record.matched.key),
                value: if meta.sanitise { b"***" } else { self.shown(record.matched.value) },
                logged: meta.log,
                audited: meta.audit,
                version: meta.ver.as_deref(),
                revision: meta.rev.as_deref(),
                position: &meta.position,
                rule,
                transforms: self.rules.chains.transforms(last.chain),
            })
        })
    }

    fn shown(&self, span: Span) -> &[u8] {
        let end = span.end.min(span.start.saturating_add(VALUE_MAX));
        self.s.store.get(Span { start: span.start, end })
    }
}
