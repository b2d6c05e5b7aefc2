//! Enters: a phase. Leaves: its rules run, in order. Most rules end at one bit: whether any value of the group holds what
//! they need.

use super::{Allowed, Ending, Host, Intervention, Transaction, groups_of, scratch::Matched};
use crate::{
    filter::has_bit,
    operator::Operator,
    parse::AllowScope,
    regex::Captures,
    rule::{Disruption, Rule, Select, Target, Test},
    settings::EngineMode,
    store::Span,
    template::number,
    transaction::{report::Told, scratch::TxValue},
    variable::{Kind, Variable},
};

/// Values that one rule may have matched; more are not remembered.
const MATCHED_MAX: usize = 1000;

/// What comes after a rule.
enum Next {
    Rule,
    Skip(u32),
    Jump(u32),
    End,
}

impl Transaction<'_, '_> {
    pub(super) fn evaluate(&mut self, phase: u8, host: &mut Host<'_>) {
        let rules = self.rules;
        let list = &rules.steps[usize::from(phase)];
        let mut at = 0_usize;
        while let Some(step) = list.get(at) {
            if !self.may_match(step.test) {
                at += 1;
                continue;
            }
            match self.run_rule(step.first, host) {
                Next::Rule => at += 1,
                Next::Skip(count) => at += 1 + count as usize,
                Next::Jump(to) => at = (to as usize).max(at + 1),
                Next::End => return,
            }
            if self.engine == EngineMode::Off {
                return;
            }
        }
    }

    /// Whether any value that a rule looks at has what it needs.
    fn may_match(&mut self, test: Test) -> bool {
        let rules = self.rules;
        match test {
            Test::Nothing => true,
            Test::Slot { bundle, slot } => {
                self.s.store.bundle_has(&rules.filter, &rules.chains, &rules.bundles, bundle, slot)
            }
            Test::Set(at) => {
                rules.sets_of_patterns.get(usize::from(at)).is_none_or(|set| self.s.store.set_matches(rules, set, at))
            }
        }
    }

    /// Runs a rule and what is chained to it.
    fn run_rule(&mut self, first: u32, host: &mut Host<'_>) -> Next {
        if self.s.any_removed && has_bit(&self.s.removed, first) {
            return Next::Rule;
        }
        let rules = &self.rules.rules;
        let mut at = first;
        let mut told: Option<Told> = None;
        loop {
            let Some(rule) = rules.get(at as usize) else { return Next::Rule };
            if !self.match_link(first, at, rule, host) {
                return Next::Rule;
            }
            // A `SecAction` looks at nothing.
            let matched = if rule.targets.is_empty() { Matched::default() } else { self.s.last };
            let link = Told { link: at, matched };
            told = Some(match told {
                // Of links that say as much, the first: those after it only narrow it down.
                Some(known) if known.matched.variable.telling() >= link.matched.variable.telling() => known,
                _ => link,
            });
            match rule.next {
                Some(next) => at = next,
                None => break,
            }
        }
        match (rules.get(first as usize), told) {
            (Some(rule), Some(told)) => self.chain_matched(first, rule, told, host),
            _ => Next::Rule,
        }
    }

    fn chain_matched(&mut self, number: u32, rule: &Rule, told: Told, host: &mut Host<'_>) -> Next {
        if let Some(severity) = rule.meta.severity {
            self.s.highest_severity = self.s.highest_severity.min(severity);
        }
        self.record(number, rule, told, host);
        if self.engine == EngineMode::On && self.phase < 5 {
            let ending = match &rule.disruption {
                Disruption::Pass => None,
                Disruption::Deny => Some(Ending::Deny),
                Disruption::Drop => Some(Ending::Drop),
                Disruption::Redirect(to) => {
                    self.s.location = self.expand(to, host);
                    Some(Ending::Redirect)
                }
                Disruption::Allow(scope) => {
                    match scope {
                        AllowScope::Everything => self.allowed = Allowed::Everything,
                        AllowScope::Request => self.allowed = Allowed::Request,
                        AllowScope::Phase => {}
                    }
                    return Next::End;
                }
            };
            if let Some(ending) = ending {
                let status = match ending {
                    Ending::Redirect if !(300..400).contains(&rule.status) => 302,
                    _ => rule.status,
                };
                self.intervention = Some(Intervention { status, ending, rule_id: rule.id });
                return Next::End;
            }
        }
        match rule.skip_to {
            Some(to) => Next::Jump(to),
            None if rule.skip > 0 => Next::Skip(rule.skip),
            None => Next::Rule,
        }
    }

    /// Runs one link over all its targets.
    fn match_link(&mut self, first: u32, link: u32, rule: &Rule, host: &mut Host<'_>) -> bool {
        if rule.targets.is_empty() {
            self.apply(&rule.effects, host);
            return true;
        }
        let argument = match rule.operator.template() {
            Some(template) if template.constant().is_none() => Some(self.expand(template, host)),
            _ => None,
        };
        self.s.matching.clear();
        for target in &rule.targets {
            let run = Run { first, link, rule, target, argument };
            if target.count {
                let count = self.count(&run, host);
                let text = self.s.store.keep_shown(count);
                let key = self.target_key(target);
                self.test(&run, target.variable, key, text, host);
                continue;
            }
            match target.variable.kind() {
                Kind::Group => self.match_group(&run, target.variable, host),
                Kind::Union(a, b) => {
                    self.match_group(&run, a, host);
                    self.match_group(&run, b, host);
                }
                Kind::Dynamic => self.match_dynamic(&run, host),
            }
        }
        if self.s.matching.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.s.matching, &mut self.s.matched);
        true
    }

    fn target_key(&mut self, target: &Target) -> Span {
        match &target.select {
            Select::Key(key) => self.s.store.keep(key),
            _ => Span::EMPTY,
        }
    }

    fn match_group(&mut self, run: &Run<'_>, group: Variable, host: &mut Host<'_>) {
        let count = self.s.store.items(group).len();
        if count == 0 {
            return;
        }
        let (rules, rule) = (self.rules, run.rule);
        let slot = rule.slot.filter(|_| rule.prefixes.is_empty());
        if let Some(slot) = slot
            && matches!(run.target.select, Select::All)
            && !has_bit(self.s.store.group_bits(&rules.filter, &rules.chains, group, rule.chain), slot)
        {
            return;
        }
        // For one value of many the whole group is not worth a look.
        let chain = match run.target.select {
            Select::All => self.s.store.shortest(&rules.chains, group, rule.chain),
            _ => rule.chain,
        };
        for at in 0..count {
            let Some(item) = self.s.store.items(group).get(at).copied() else { return };
            if !run.target.select.takes(self.s.store.get(item.key)) || self.is_excepted(run, group, item.key) {
                continue;
            }
            if rule.prefixes.is_empty() {
                let node = self.s.store.transformed(&rules.chains, item.node, chain);
                if slot.is_some_and(|slot| !has_bit(self.s.store.bits_of(&rules.filter, node), slot)) {
                    continue;
                }
                let span = self.s.store.node(node).span;
                self.test_transformed(run, item.key, span, Some(node), host);
                continue;
            }
            let mut before = u32::MAX;
            for chain in &rule.prefixes {
                let node = self.s.store.transformed(&rules.chains, item.node, *chain);
                if node == before {
                    continue;
                }
                before = node;
                if rule.slot.is_some_and(|slot| !has_bit(self.s.store.bits_of(&rules.filter, node), slot)) {
                    continue;
                }
                let span = self.s.store.node(node).span;
                self.test_transformed(run, item.key, span, Some(node), host);
            }
        }
    }

    /// Whether the rule, or a `ctl` before it, leaves a value out.
    pub(super) fn is_excepted(&self, run: &Run<'_>, group: Variable, key: Span) -> bool {
        let key = self.s.store.get(key);
        if run.target.except.iter().any(|exception| exception.covers(group, key)) {
            return true;
        }
        let removals = self.s.exceptions.iter().filter_map(|number| self.rules.removals.get(*number as usize));
        removals.into_iter().any(|removal| {
            let in_set = self.rules.sets.get(removal.set as usize).is_some_and(|set| has_bit(set, run.first));
            in_set && removal.exception.covers(group, key)
        })
    }

    fn match_dynamic(&mut self, run: &Run<'_>, host: &mut Host<'_>) {
        if let Some(slot) = run.target.slot {
            let value = self.s.tx.get(usize::from(slot)).copied().unwrap_or_default();
            // Scores and levels are compared as numbers, without a text between.
            if let (TxValue::Number(left), Operator::Number(comparison, template)) = (value, &run.rule.operator)
                && run.rule.chain.is_none()
            {
                let right = match run.argument {
                    Some(span) => number(self.s.store.get(span)),
                    None => number(template.constant().unwrap_or_default()),
                };
                if comparison.holds(left, right) == run.rule.negated {
                    return;
                }
            } else if value == TxValue::Unset {
                return;
            }
            let key = self.s.store.keep(&self.rules.names.names[usize::from(slot)]);
            let span = self.tx_span(value);
            if !self.is_excepted(run, Variable::Tx, key) {
                self.test(run, Variable::Tx, key, span, host);
            }
            return;
        }
        let mut values = std::mem::take(&mut self.s.values);
        values.clear();
        self.dynamic(run.target.variable, &run.target.select, host, &mut values);
        for (key, span) in &values {
            if !self.is_excepted(run, run.target.variable, *key) {
                self.test(run, run.target.variable, *key, *span, host);
            }
        }
        self.s.values = values;
    }

    fn count(&mut self, run: &Run<'_>, host: &mut Host<'_>) -> usize {
        if run.target.variable.kind() == Kind::Dynamic {
            if let Some(slot) = run.target.slot {
                return usize::from(self.s.tx.get(usize::from(slot)).is_some_and(|value| *value != TxValue::Unset));
            }
            let mut values = std::mem::take(&mut self.s.values);
            values.clear();
            self.dynamic(run.target.variable, &run.target.select, host, &mut values);
            let count = values.len();
            self.s.values = values;
            return count;
        }
        let takes = |group: &Variable| {
            let items = self.s.store.items(*group).iter();
            items
                .filter(|item| {
                    run.target.select.takes(self.s.store.get(item.key)) && !self.is_excepted(run, *group, item.key)
                })
                .count()
        };
        groups_of(run.target.variable).iter().flatten().map(takes).sum()
    }

    /// Transforms a value that is in no group, and tests it.
    fn test(&mut self, run: &Run<'_>, variable: Variable, key: Span, value: Span, host: &mut Host<'_>) {
        debug_assert_eq!(variable, run.target.variable);
        if run.rule.prefixes.is_empty() {
            let span = self.s.store.transform_once(&self.rules.chains, value, run.rule.chain);
            self.test_transformed(run, key, span, None, host);
        } else {
            for chain in &run.rule.prefixes {
                let span = self.s.store.transform_once(&self.rules.chains, value, *chain);
                self.test_transformed(run, key, span, None, host);
            }
        }
    }

    /// Tests a value. What a search says of one with a node is remembered.
    fn test_transformed(&mut self, run: &Run<'_>, key: Span, value: Span, node: Option<u32>, host: &mut Host<'_>) {
        let (rule, test) = (run.rule, run.link as usize);
        let node = node.filter(|_| rule.operator.is_search());
        let known = node.and_then(|node| self.s.store.verdict(node, test));
        let found = match known {
            Some(false) => None,
            // What was captured is not remembered.
            Some(true) if !rule.capture => Some(Captures::whole(0, value.len())),
            _ => match self.find(run, value, host) {
                Some(found) => found,
                None => return self.limit_hit(),
            },
        };
        if let Some(node) = node.filter(|_| known.is_none()) {
            self.s.store.remember(node, test, found.is_some());
        }
        let captures = match (found, rule.negated) {
            (Some(captures), false) => captures,
            (None, true) => Captures::NONE,
            _ => return,
        };
        let matched = Matched { variable: run.target.variable, key, value };
        self.s.last = matched;
        if self.s.matching.len() < MATCHED_MAX {
            self.s.matching.push(matched);
        }
        if rule.capture {
            for (slot, span) in captures.spans.iter().enumerate() {
                self.s.tx[slot] = match span {
                    Some((begin, end)) => TxValue::Text(value.part(*begin, *end)),
                    None => TxValue::Unset,
                };
            }
        }
        if !rule.effects.is_empty() {
            self.apply(&rule.effects, host);
        }
    }

    /// Runs the operator; `None` when a limit ended the search.
    fn find(&mut self, run: &Run<'_>, value: Span, host: &mut Host<'_>) -> Option<Option<Captures>> {
        let rule = run.rule;
        let argument = match (run.argument, rule.operator.template()) {
            (Some(span), _) => self.s.store.get(span),
            (None, Some(template)) => template.constant().unwrap_or_default(),
            (None, None) => &[],
        };
        let bytes = self.s.store.get(value);
        match &rule.operator {
            Operator::Geo => Some(self.geo(value, host).then(|| Captures::whole(0, value.len()))),
            Operator::BlockList(list) => {
                Some(host.lookups.is_listed(list, bytes).then(|| Captures::whole(0, bytes.len())))
            }
            operator => operator.test(bytes, argument, rule.capture, &mut self.s.budget),
        }
    }

    fn geo(&mut self, value: Span, host: &mut Host<'_>) -> bool {
        let address = self.s.store.get(value).to_vec();
        let store = &mut self.s.store;
        store.forget(Variable::Geo);
        host.lookups.geo(&address, &mut |name, value| store.add(Variable::Geo, name.as_bytes(), value.as_bytes()))
    }
}

/// One rule over one of its targets.
pub(super) struct Run<'a> {
    pub(super) first: u32,
    pub(super) link: u32,
    pub(super) rule: &'a Rule,
    pub(super) target: &'a Target,
    /// The operator's argument, when it has macros.
    pub(super) argument: Option<Span>,
}
