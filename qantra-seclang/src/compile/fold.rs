//! Enters: compiled rules. Leaves: the same rules without those whose outcome is known when loading: defaults that are set
//! because nobody set them, paranoia gates, and everything that those gates always skip. What folded rules write becomes
//! the state that every transaction begins with.
//!
//! It walks each phase in order with what it knows of every `TX` variable. A rule folds when it looks at known variables
//! only. It must never fold a write that a rule before could see, or one that might have been skipped.

use super::{Constant, RuleBits};
use crate::{
    filter::has_bit,
    operator::Operator,
    regex::Budget,
    rule::{Assign, Control, Disruption, Name, Rule, Select, Target, Value},
    template::{Part, Template, TxNames, TxSlot, number},
    variable::Variable,
};

/// What is known of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Unset,
    Is(Constant),
    Unknown,
}

/// What became of a rule.
enum Outcome {
    /// It cannot match.
    Never,
    /// It always matches, and does no more than write these.
    Always(Vec<(TxSlot, Known)>),
    /// It depends on the request.
    Depends,
}

/// What folding found.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// The state that transactions begin with.
    pub(super) constants: Vec<(TxSlot, Constant)>,
    /// First links that never need to run.
    pub(super) gone: Vec<u32>,
    /// Patterns with macros whose text is known: the link and the text.
    pub(super) patterns: Vec<(u32, Vec<u8>)>,
}

struct Folder<'a> {
    rules: &'a [Rule],
    sets: &'a [RuleBits],
    names: &'a TxNames,
    state: Vec<Known>,
    /// Variables that a rule which stays has read or written.
    touched: Vec<bool>,
    /// Sets of rules that a rule which stays may take out.
    removals: Vec<u32>,
    initial: Vec<Known>,
    patterns: Vec<(u32, Vec<u8>)>,
}

/// Folds all phases; their lists are shortened and jumps in them set anew.
pub(super) fn fold(
    rules: &mut [Rule],
    phases: &mut [Vec<u32>; 6],
    sets: &[RuleBits],
    names: &TxNames,
    keep: bool,
) -> Folded {
    let slots = names.names.len();
    let mut folder = Folder {
        rules,
        sets,
        names,
        state: vec![Known::Unset; slots],
        touched: vec![false; slots],
        removals: Vec::new(),
        initial: vec![Known::Unset; slots],
        patterns: Vec::new(),
    };
    // Limits are told by these, whenever they are met.
    for (slot, name) in names.names.iter().enumerate() {
        if name.starts_with(b"msc_") {
            folder.state[slot] = Known::Unknown;
            folder.touched[slot] = true;
        }
    }
    let mut folded = Folded::default();
    let mut kept_lists = Vec::new();
    for list in phases.iter() {
        let kept = folder.phase(list);
        folded.gone.extend(list.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(rule, _)| *rule));
        kept_lists.push(kept);
    }
    let initial = std::mem::take(&mut folder.initial);
    folded.patterns = std::mem::take(&mut folder.patterns);
    for (list, kept) in phases.iter_mut().zip(kept_lists).filter(|_| !keep) {
        // Where each place of the old list lies in the new one.
        let mut places = Vec::with_capacity(kept.len() + 1);
        let mut place = 0_u32;
        for kept in &kept {
            places.push(place);
            place += u32::from(*kept);
        }
        places.push(place);
        for rule in list.iter() {
            if let Some(to) = &mut rules[*rule as usize].skip_to {
                *to = places.get(*to as usize).copied().unwrap_or(place);
            }
        }
        let mut kept = kept.into_iter();
        list.retain(|_| kept.next().unwrap_or(true));
    }
    for (slot, known) in (0..).zip(initial) {
        if let Known::Is(constant) = known {
            folded.constants.push((slot, constant));
        }
    }
    folded
}

impl Folder<'_> {
    /// Walks a phase; tells which of its rules stay.
    fn phase(&mut self, list: &[u32]) -> Vec<bool> {
        let mut kept = vec![true; list.len()];
        // Jumps of rules that stay: what lies before their targets may be skipped.
        let mut targets: Vec<usize> = Vec::new();
        let mut at = 0;
        while at < list.len() {
            targets.retain(|target| *target > at);
            let number = list[at];
            let rule = &self.rules[number as usize];
            let skippable = !targets.is_empty();
            match self.outcome(rule) {
                Outcome::Never => kept[at] = false,
                Outcome::Always(writes) if self.may_fold(list, at, &writes, skippable) => {
                    kept[at] = false;
                    for (slot, value) in writes {
                        self.initial[usize::from(slot)] = value.clone();
                        self.state[usize::from(slot)] = value;
                    }
                    if let Some(to) = rule.skip_to {
                        // Only what another jump reaches is left of what lies between.
                        let to = targets.iter().copied().min().unwrap_or(usize::MAX).min(to as usize).max(at + 1);
                        kept[at + 1..to.min(list.len())].fill(false);
                        at = to;
                        continue;
                    }
                }
                _ => {
                    self.stays(number, skippable);
                    if let Some(to) = rule.skip_to {
                        targets.push(to as usize);
                    }
                    if rule.skip > 0 {
                        // Counted jumps would land elsewhere when rules go: everything up to there stays.
                        let end = (at + 1 + rule.skip as usize).min(list.len());
                        for number in &list[at + 1..end] {
                            self.stays(*number, true);
                        }
                        at = end;
                        continue;
                    }
                }
            }
            at += 1;
        }
        kept
    }

    fn may_fold(&self, list: &[u32], at: usize, writes: &[(TxSlot, Known)], skippable: bool) -> bool {
        let number = list[at];
        let jump = self.rules[number as usize].skip_to.map_or(at + 1, |to| to as usize);
        let skipped = list.get(at + 1..jump.max(at + 1)).unwrap_or_default();
        // A rule that may be taken out folds only when what it skips would go with it, so that nothing can tell.
        let goes_along = |set: &&RuleBits| {
            !has_bit(set, number) || (writes.is_empty() && skipped.iter().all(|rule| has_bit(set, *rule)))
        };
        let unseen = || !skippable && writes.iter().all(|(slot, _)| !self.touched[usize::from(*slot)]);
        self.removals.iter().filter_map(|set| self.sets.get(*set as usize)).all(|set| goes_along(&set))
            && (writes.is_empty() || unseen())
    }

    /// What a rule does, from what is known.
    fn outcome(&self, rule: &Rule) -> Outcome {
        let matches = if rule.targets.is_empty() { Some(true) } else { self.matches(rule) };
        match matches {
            Some(false) => return Outcome::Never,
            Some(true) => {}
            None => return Outcome::Depends,
        }
        let quiet = !rule.meta.log && !rule.meta.audit && rule.meta.severity.is_none();
        let effects = &rule.effects;
        let only_assigns = effects.controls.is_empty()
            && effects.opens.is_empty()
            && effects.expires.is_empty()
            && effects.env.is_empty();
        let passes = matches!(rule.disruption, Disruption::Pass) && rule.skip == 0 && !rule.capture;
        // Every value that matches writes once more: only one value is taken.
        let single = rule.targets.len() <= 1;
        if !(quiet && only_assigns && passes && single && rule.next.is_none()) {
            return Outcome::Depends;
        }
        let mut writes: Vec<(TxSlot, Known)> = Vec::new();
        for assign in &effects.assigns {
            match self.written(assign, &writes) {
                Some((slot, value)) => {
                    writes.retain(|(known, _)| *known != slot);
                    writes.push((slot, value));
                }
                None => return Outcome::Depends,
            }
        }
        Outcome::Always(writes)
    }

    /// Whether a first link matches; `None` when that depends on the request.
    fn matches(&self, rule: &Rule) -> Option<bool> {
        if !rule.chain.is_none() || !rule.prefixes.is_empty() {
            return None;
        }
        let argument = match &rule.operator {
            Operator::Always => Vec::new(),
            Operator::Number(_, template) | Operator::Text(_, template) => self.text(template)?,
            _ => return None,
        };
        let mut any = false;
        for target in &rule.targets {
            any |= self.target_matches(rule, target, &argument)?;
        }
        Some(any)
    }

    fn target_matches(&self, rule: &Rule, target: &Target, argument: &[u8]) -> Option<bool> {
        if target.variable != Variable::Tx || !target.except.is_empty() {
            return None;
        }
        let known = &self.state[usize::from(target.slot?)];
        let value = match (known, target.count) {
            (Known::Unknown, _) => return None,
            (Known::Unset, true) => b"0".to_vec(),
            (Known::Is(_), true) => b"1".to_vec(),
            (Known::Unset, false) => return Some(false),
            (Known::Is(constant), false) => bytes(constant),
        };
        let found = rule.operator.test(&value, argument, false, &mut Budget::default())?.is_some();
        Some(found != rule.negated)
    }

    fn text(&self, template: &Template) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for part in &template.parts {
            match part {
                Part::Text(literal) => text.extend_from_slice(literal),
                Part::Tx(slot) => match &self.state[usize::from(*slot)] {
                    Known::Is(constant) => text.extend_from_slice(&bytes(constant)),
                    Known::Unset => {}
                    Known::Unknown => return None,
                },
                Part::Variable(..) => return None,
            }
        }
        Some(text)
    }

    /// What an assignment writes, when that is known.
    fn written(&self, assign: &Assign, before: &[(TxSlot, Known)]) -> Option<(TxSlot, Known)> {
        let (Variable::Tx, Name::Slot(slot)) = (assign.collection, &assign.name) else { return None };
        // Values that refer to what the same rule wrote are left to the transaction.
        let refers = |template: &Template| {
            template
                .parts
                .iter()
                .any(|part| matches!(part, Part::Tx(slot) if before.iter().any(|(known, _)| known == slot)))
        };
        let value = match &assign.value {
            Value::Unset => Known::Unset,
            Value::Number(number) => Known::Is(Constant::Number(*number)),
            Value::Text(template) if !refers(template) => match &*template.parts {
                [Part::Tx(from)] => match &self.state[usize::from(*from)] {
                    Known::Unknown => return None,
                    known => known.clone(),
                },
                _ => Known::Is(Constant::Text(self.text(template)?.into())),
            },
            Value::Add(template, sign) if !refers(template) && before.iter().all(|(known, _)| known != slot) => {
                let old = match &self.state[usize::from(*slot)] {
                    Known::Unknown => return None,
                    Known::Unset => 0,
                    Known::Is(constant) => number(&bytes(constant)),
                };
                let by = number(&self.text(template)?);
                Known::Is(Constant::Number(old.saturating_add(by.saturating_mul(*sign))))
            }
            _ => return None,
        };
        Some((*slot, value))
    }

    /// Notes what a rule that stays reads and writes, in all its links.
    fn stays(&mut self, first: u32, skippable: bool) {
        let mut unconditional = !skippable;
        let mut next = Some(first);
        while let Some((number, rule)) = next.and_then(|at| Some((at, self.rules.get(at as usize)?))) {
            unconditional &= rule.targets.is_empty() && rule.next.is_none();
            if let Operator::RxTemplate(template) = &rule.operator
                && let Some(text) = self.text(template)
            {
                self.patterns.push((number, text));
            }
            self.link_stays(rule, unconditional);
            next = rule.next;
        }
    }

    fn link_stays(&mut self, rule: &Rule, unconditional: bool) {
        for target in rule.targets.iter().filter(|target| target.variable == Variable::Tx) {
            match (target.slot, &target.select) {
                (Some(slot), _) => self.touched[usize::from(slot)] = true,
                (None, select) => self.touch_all(select),
            }
        }
        let meta = &rule.meta;
        let effects = &rule.effects;
        let mut templates: Vec<&Template> = vec![&meta.msg, &meta.logdata];
        templates.extend(&meta.tags);
        templates.extend(rule.operator.template());
        templates.extend(effects.opens.iter().map(|(_, key)| key));
        templates.extend(effects.expires.iter().flat_map(|(_, name, seconds)| [name, seconds]));
        templates.extend(effects.env.iter().map(|(_, value)| value));
        if let Disruption::Redirect(to) = &rule.disruption {
            templates.push(to);
        }
        for assign in &effects.assigns {
            match &assign.value {
                Value::Text(template) | Value::Add(template, _) => templates.push(template),
                Value::Number(_) | Value::Unset => {}
            }
            if let Name::Text(template) = &assign.name {
                templates.push(template);
            }
        }
        for part in templates.iter().flat_map(|template| &template.parts) {
            match part {
                Part::Tx(slot) => self.touched[usize::from(*slot)] = true,
                Part::Variable(Variable::Tx, _) => self.touch_all(&Select::All),
                _ => {}
            }
        }
        for assign in &effects.assigns {
            self.assign_stays(assign, unconditional);
        }
        for slot in (0..10).filter(|_| rule.capture) {
            self.touched[slot] = true;
            self.state[slot] = Known::Unknown;
        }
        for control in &effects.controls {
            if let Control::Remove(set) = control
                && !self.removals.contains(set)
            {
                self.removals.push(*set);
            }
        }
    }

    fn assign_stays(&mut self, assign: &Assign, unconditional: bool) {
        if assign.collection != Variable::Tx {
            return;
        }
        match &assign.name {
            Name::Slot(slot) => {
                let value = if unconditional { self.written(assign, &[]).map(|(_, value)| value) } else { None };
                self.touched[usize::from(*slot)] = true;
                self.state[usize::from(*slot)] = value.unwrap_or(Known::Unknown);
            }
            Name::Text(template) => {
                // A name made at run time may be any that begins as the template does.
                let prefix = match template.parts.first() {
                    Some(Part::Text(text)) => text.to_ascii_lowercase(),
                    _ => Vec::new(),
                };
                for (slot, name) in self.names.names.iter().enumerate() {
                    if name.starts_with(&prefix) {
                        self.touched[slot] = true;
                        self.state[slot] = Known::Unknown;
                    }
                }
            }
        }
    }

    fn touch_all(&mut self, select: &Select) {
        for (slot, name) in self.names.names.iter().enumerate() {
            if select.takes(name) {
                self.touched[slot] = true;
            }
        }
    }
}

fn bytes(constant: &Constant) -> Vec<u8> {
    match constant {
        Constant::Number(number) => number.to_string().into_bytes(),
        Constant::Text(text) => text.to_vec(),
    }
}
