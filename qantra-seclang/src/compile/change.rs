//! Enters: parsed rules and directives that change them. Leaves: the rules, changed. It must never leave a change undone
//! that was asked for.

use crate::{
    error::LoadError,
    parse::{Actions, Change, CtlScope, Entry, IdRange, Parsed, RuleAst, Selector},
};

/// Applies `SecRuleRemoveBy…`, `SecRuleUpdateTargetBy…` and `SecRuleUpdateActionById`.
pub(super) fn apply(parsed: &mut Parsed) -> Result<(), LoadError> {
    for (_, change) in std::mem::take(&mut parsed.changes) {
        match change {
            Change::Remove(scope) => {
                parsed.entries.retain(|entry| !matches!(entry, Entry::Rule(rule) if is_in(rule, &scope)));
            }
            Change::Targets(scope, targets) => {
                for link in rules(parsed, &scope).filter_map(|rule| rule.links.first_mut()) {
                    for target in &targets {
                        // A whole variable that is excluded goes, so that nothing of it is looked at.
                        if target.excluded && target.selector == Selector::All {
                            link.targets.retain(|own| own.excluded || own.variable != target.variable);
                        }
                        link.targets.push(target.clone());
                    }
                }
            }
            Change::Actions(ids, actions) => {
                for rule in rules(parsed, &CtlScope::Ids(ids)) {
                    update(rule, &actions);
                }
            }
        }
    }
    Ok(())
}

fn rules<'a>(parsed: &'a mut Parsed, scope: &'a CtlScope) -> impl Iterator<Item = &'a mut RuleAst> {
    parsed.entries.iter_mut().filter_map(move |entry| match entry {
        Entry::Rule(rule) if is_in(rule, scope) => Some(&mut **rule),
        _ => None,
    })
}

/// Whether a scope speaks of a rule. Tags and messages are taken whole.
pub(super) fn is_in(rule: &RuleAst, scope: &CtlScope) -> bool {
    let Some(first) = rule.first() else { return false };
    match scope {
        CtlScope::Ids(ranges) => in_ranges(rule.id(), ranges),
        CtlScope::Tag(tag) => first.actions.tags.iter().any(|own| own == tag),
        CtlScope::Msg(msg) => first.actions.msg.as_ref() == Some(msg),
    }
}

pub(super) fn in_ranges(id: u64, ranges: &[IdRange]) -> bool {
    ranges.iter().any(|range| (range.first..=range.last).contains(&id))
}

/// What the change says replaces what the rule says; lists grow. Id, phase and chain stay.
fn update(rule: &mut RuleAst, change: &Actions) {
    let Some(link) = rule.links.first_mut() else { return };
    let own = &mut link.actions;
    macro_rules! replace {
        ($($field:ident),*) => { $(if change.$field.is_some() { own.$field.clone_from(&change.$field); })* };
    }
    replace!(disruptive, status, log, audit_log, msg, logdata, severity, rev, ver, skip, skip_after);
    if change.transforms_reset {
        own.transforms.clear();
    }
    own.transforms.extend_from_slice(&change.transforms);
    own.capture |= change.capture;
    own.multi_match |= change.multi_match;
    own.tags.extend_from_slice(&change.tags);
    own.set_vars.extend_from_slice(&change.set_vars);
    own.expire_vars.extend_from_slice(&change.expire_vars);
    own.ctls.extend_from_slice(&change.ctls);
}
