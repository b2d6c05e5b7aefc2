//! Enters: templates. Leaves: their text, in the arena.

use std::io::Write as _;

use super::{Host, Transaction, scratch::TxValue};
use crate::{
    rule::Select,
    store::Span,
    template::{Part, Template},
    variable::{Kind, Variable},
};

impl Transaction<'_, '_> {
    /// Writes out a template.
    pub(super) fn expand(&mut self, template: &Template, host: &mut Host<'_>) -> Span {
        self.expand_short(template, usize::MAX, host)
    }

    /// Writes out a template, up to a length.
    pub(super) fn expand_short(&mut self, template: &Template, length: usize, host: &mut Host<'_>) -> Span {
        if let [Part::Tx(slot)] = &*template.parts
            && let Some(TxValue::Text(span)) = self.s.tx.get(usize::from(*slot))
        {
            return *span;
        }
        // What macros stand for may itself be written to the arena, so it is gathered before the text is.
        let mut text = std::mem::take(&mut self.s.spare);
        text.clear();
        for part in &template.parts {
            match part {
                Part::Text(literal) => text.extend_from_slice(literal),
                Part::Tx(slot) => {
                    let value = self.s.tx.get(usize::from(*slot)).copied().unwrap_or_default();
                    match value {
                        TxValue::Unset => {}
                        TxValue::Number(number) => {
                            let _ = write!(text, "{number}");
                        }
                        TxValue::Text(span) => text.extend_from_slice(self.s.store.get(span)),
                    }
                }
                Part::Variable(variable, key) => self.write_variable(*variable, key.as_deref(), host, &mut text),
            }
            if text.len() >= length {
                text.truncate(length);
                break;
            }
        }
        let span = self.s.store.keep(&text);
        self.s.spare = text;
        span
    }

    fn write_variable(&mut self, variable: Variable, key: Option<&[u8]>, host: &mut Host<'_>, text: &mut Vec<u8>) {
        match variable {
            Variable::MatchedVar => text.extend_from_slice(self.s.store.get(self.s.last.value)),
            Variable::MatchedVarName => self.write_name(text),
            _ => match variable.kind() {
                Kind::Dynamic if variable.is_single() => self.single(variable, host, text),
                Kind::Dynamic => {
                    let select = key.map_or(Select::All, |key| Select::Key(key.into()));
                    let mut values = Vec::new();
                    let spare = std::mem::take(text);
                    self.dynamic(variable, &select, host, &mut values);
                    *text = spare;
                    if let Some((_, value)) = values.first() {
                        text.extend_from_slice(self.s.store.get(*value));
                    }
                }
                _ => {
                    for group in super::groups_of(variable).iter().flatten() {
                        let found = match key {
                            Some(key) => self.s.store.by_key(*group, key),
                            None => Some(self.s.store.first(*group)).filter(|value| !value.is_empty()),
                        };
                        if let Some(value) = found {
                            text.extend_from_slice(value);
                            return;
                        }
                    }
                }
            },
        }
    }

    fn write_name(&self, text: &mut Vec<u8>) {
        let last = self.s.last;
        text.extend_from_slice(last.variable.name().as_bytes());
        if last.key.len() > 0 {
            text.push(b':');
            text.extend_from_slice(self.s.store.get(last.key));
        }
    }

    /// The text of a `TX` value.
    pub(super) fn tx_span(&mut self, value: TxValue) -> Span {
        match value {
            TxValue::Unset => Span::EMPTY,
            TxValue::Number(number) => self.s.store.keep_shown(number),
            TxValue::Text(span) => span,
        }
    }
}
