//! Enters: what a rule changes when it matches. Leaves: scores, variables, collections and controls, changed.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use super::{Host, Transaction, scratch::TxValue};
use crate::{
    collections::Instance,
    rule::{Assign, Control, Effects, Name, Value},
    store::Span,
    template::{Part, Template, TxSlot, number},
    variable::Variable,
};

/// `TX` variables with names made at run time, at most.
const MORE_TX_MAX: usize = 4096;
/// Set when a pattern was given up at `SecPcreMatchLimit`.
const PCRE_LIMIT: &[u8] = b"msc_pcre_limits_exceeded";

impl Transaction<'_, '_> {
    pub(super) fn apply(&mut self, effects: &Effects, host: &mut Host<'_>) {
        for (collection, key) in &effects.opens {
            let key = self.expand(key, host);
            self.s.opened.retain(|(known, _)| known != collection);
            self.s.opened.push((*collection, key));
        }
        for assign in &effects.assigns {
            self.assign(assign, host);
        }
        for (collection, name, seconds) in &effects.expires {
            let name = self.expand(name, host);
            let seconds = self.expand(seconds, host);
            let store = &self.s.store;
            let at_s = host.now_s.saturating_add(number(store.get(seconds)).max(0).unsigned_abs());
            if let Some(key) = self.opened(*collection) {
                let of = Instance { collection: *collection, key: store.get(key) };
                host.collections.expire(of, store.get(name), at_s);
            }
        }
        for (name, value) in &effects.env {
            let name = self.s.store.keep(name);
            let value = self.expand(value, host);
            let store = &self.s.store;
            self.s.env.retain(|(known, _)| store.get(*known) != store.get(name));
            self.s.env.push((name, value));
        }
        for control in &effects.controls {
            self.control(control);
        }
    }

    fn control(&mut self, control: &Control) {
        match control {
            Control::Remove(set) => {
                if let Some(set) = self.rules.sets.get(*set as usize) {
                    self.s.any_removed = true;
                    self.s.removed.iter_mut().zip(set).for_each(|(removed, set)| *removed |= set);
                }
            }
            // A rule matches once for each value: a thousand values ask for the same thousand times.
            Control::RemoveTarget(removal) if self.s.exceptions.contains(removal) => {}
            Control::RemoveTarget(removal) => self.s.exceptions.push(*removal),
            Control::Engine(mode) => self.engine = *mode,
            Control::RequestBodyAccess(on) => self.request_body_access = *on,
            Control::ResponseBodyAccess(on) => self.response_body_access = *on,
            Control::ForceRequestBody(on) => self.force_request_body = *on,
            Control::RequestProcessor(processor) => {
                self.processor = Some(*processor);
                self.s.store.set_single(Variable::ReqbodyProcessor, processor.name().as_bytes());
            }
        }
    }

    /// A search was given up. Rules see it as ModSecurity tells it.
    pub(super) fn limit_hit(&mut self) {
        self.s.limits_hit += 1;
        if let Some(slot) = self.rules.names.find(PCRE_LIMIT)
            && let Some(place) = self.s.tx.get_mut(usize::from(slot))
        {
            *place = TxValue::Number(1);
            return;
        }
        let name = self.s.store.keep(PCRE_LIMIT);
        if let Some(at) = self.more_tx(name) {
            self.s.more_tx[at].1 = TxValue::Number(1);
        }
    }

    pub(super) fn opened(&self, collection: Variable) -> Option<Span> {
        self.s.opened.iter().find(|(known, _)| *known == collection).map(|(_, key)| *key)
    }

    fn assign(&mut self, assign: &Assign, host: &mut Host<'_>) {
        if assign.collection != Variable::Tx {
            self.assign_persistent(assign, host);
            return;
        }
        match &assign.name {
            Name::Slot(slot) => {
                let old = self.s.tx.get(usize::from(*slot)).copied().unwrap_or_default();
                let new = self.new_value(&assign.value, old, host);
                if let Some(place) = self.s.tx.get_mut(usize::from(*slot)) {
                    *place = new;
                }
            }
            Name::Text(name) => {
                let name = self.expand(name, host);
                let name = self.s.store.keep_lower(name);
                if let Some(slot) = self.rules.names.find(self.s.store.get(name)) {
                    let old = self.s.tx.get(usize::from(slot)).copied().unwrap_or_default();
                    self.s.tx[usize::from(slot)] = self.new_value(&assign.value, old, host);
                    return;
                }
                let Some(at) = self.more_tx(name) else { return };
                let new = self.new_value(&assign.value, self.s.more_tx[at].1, host);
                self.s.more_tx[at].1 = new;
            }
        }
    }

    /// The place of a variable whose name was made at run time.
    fn more_tx(&mut self, key: Span) -> Option<usize> {
        let name = self.s.store.get(key);
        let mut hash = FixedState::default().hash_one(name);
        loop {
            match self.s.more_tx_at.get(&hash).map(|at| *at as usize) {
                Some(at) if self.s.store.get(self.s.more_tx[at].0) == name => return Some(at),
                // Another name has this hash: the next number is tried.
                Some(_) => hash = hash.wrapping_add(1),
                None => break,
            }
        }
        if self.s.more_tx.len() >= MORE_TX_MAX {
            return None;
        }
        self.s.more_tx_at.insert(hash, u32::try_from(self.s.more_tx.len()).ok()?);
        self.s.more_tx.push((key, TxValue::Unset));
        Some(self.s.more_tx.len() - 1)
    }

    fn new_value(&mut self, value: &Value, old: TxValue, host: &mut Host<'_>) -> TxValue {
        match value {
            Value::Unset => TxValue::Unset,
            Value::Number(number) => TxValue::Number(*number),
            Value::Text(template) => match &*template.parts {
                [Part::Tx(slot)] => self.s.tx.get(usize::from(*slot)).copied().unwrap_or_default(),
                _ => TxValue::Text(self.expand(template, host)),
            },
            Value::Add(template, sign) => {
                let by = self.number_of(template, host);
                let old = self.number_in(old);
                TxValue::Number(old.saturating_add(by.saturating_mul(*sign)))
            }
        }
    }

    fn number_of(&mut self, template: &Template, host: &mut Host<'_>) -> i64 {
        match &*template.parts {
            [Part::Text(text)] => number(text),
            [Part::Tx(slot)] => self.tx_number(*slot).unwrap_or(0),
            _ => {
                let span = self.expand(template, host);
                number(self.s.store.get(span))
            }
        }
    }

    fn number_in(&self, value: TxValue) -> i64 {
        match value {
            TxValue::Unset => 0,
            TxValue::Number(number) => number,
            TxValue::Text(span) => number(self.s.store.get(span)),
        }
    }

    pub(super) fn tx_number(&self, slot: TxSlot) -> Option<i64> {
        match self.s.tx.get(usize::from(slot))? {
            TxValue::Unset => None,
            value => Some(self.number_in(*value)),
        }
    }

    fn assign_persistent(&mut self, assign: &Assign, host: &mut Host<'_>) {
        let Some(key) = self.opened(assign.collection) else { return };
        let Name::Text(name) = &assign.name else { return };
        let name = self.expand(name, host);
        let new = match &assign.value {
            Value::Unset => {
                let store = &self.s.store;
                let of = Instance { collection: assign.collection, key: store.get(key) };
                host.collections.remove(of, store.get(name));
                return;
            }
            Value::Number(number) => self.s.store.keep_shown(*number),
            Value::Text(template) => self.expand(template, host),
            Value::Add(template, sign) => {
                let by = self.number_of(template, host).saturating_mul(*sign);
                let mut old = std::mem::take(&mut self.s.spare);
                old.clear();
                let of = Instance { collection: assign.collection, key: self.s.store.get(key) };
                host.collections.get(of, self.s.store.get(name), host.now_s, &mut old);
                let sum = number(&old).saturating_add(by);
                self.s.spare = old;
                self.s.store.keep_shown(sum)
            }
        };
        let store = &self.s.store;
        let of = Instance { collection: assign.collection, key: store.get(key) };
        let timeout_s = self.rules.settings.collection_timeout_s;
        host.collections.set(of, store.get(name), store.get(new), host.now_s, timeout_s);
    }
}
