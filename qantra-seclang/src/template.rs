//! Enters: text with macros (`%{tx.score}`). Leaves: its parts, names resolved once. It must never treat what a request
//! brought as a macro: only rule texts are read here.

use foldhash::{HashMap, HashMapExt as _};

use crate::{
    error::{Reason, cut},
    variable::Variable,
};

/// The place of a `TX` variable that rules name.
pub(crate) type TxSlot = u16;

/// Names of `TX` variables, small letters. The first ten are the captures.
#[derive(Debug)]
pub(crate) struct TxNames {
    known: HashMap<Box<[u8]>, TxSlot>,
    pub(crate) names: Vec<Box<[u8]>>,
}

impl Default for TxNames {
    fn default() -> Self {
        let mut names = Self { known: HashMap::new(), names: Vec::new() };
        for digit in 0..10 {
            names.slot(&digit.to_string());
        }
        names
    }
}

impl TxNames {
    pub(crate) fn slot(&mut self, name: &str) -> TxSlot {
        let name: Box<[u8]> = name.to_ascii_lowercase().into_bytes().into();
        if let Some(slot) = self.known.get(&name) {
            return *slot;
        }
        let slot = TxSlot::try_from(self.names.len()).unwrap_or(TxSlot::MAX);
        self.known.insert(name.clone(), slot);
        self.names.push(name);
        slot
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<TxSlot> {
        self.known.get(name).copied()
    }
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(Box<[u8]>),
    Tx(TxSlot),
    Variable(Variable, Option<Box<[u8]>>),
}

/// Text with macros.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) parts: Box<[Part]>,
}

impl Template {
    pub(crate) fn parse(text: &str, names: &mut TxNames) -> Result<Self, Reason> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find("%{") {
            let Some(end) = rest[begin..].find('}').map(|end| begin + end) else { break };
            if begin > 0 {
                parts.push(Part::Text(rest.as_bytes()[..begin].into()));
            }
            parts.push(part(&rest[begin + 2..end], names)?);
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// Text that is taken as it is.
    pub(crate) fn text(text: &str) -> Self {
        Self { parts: [Part::Text(text.as_bytes().into())].into() }
    }

    /// Text without macros.
    pub(crate) fn constant(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(&[]),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

fn part(name: &str, names: &mut TxNames) -> Result<Part, Reason> {
    let (variable, key) = match name.split_once(['.', ':']) {
        Some((variable, key)) => (variable.trim(), Some(key.trim())),
        None => (name.trim(), None),
    };
    let variable = Variable::parse(variable).ok_or_else(|| Reason::Unknown { kind: "macro", name: cut(name) })?;
    Ok(match (variable, key) {
        (Variable::Tx, Some(key)) => Part::Tx(names.slot(key)),
        (variable, key) => Part::Variable(variable, key.map(|key| key.as_bytes().into())),
    })
}

/// The number a text begins with, as C's `atoi` reads it.
pub(crate) fn number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let value = digits
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_are_resolved() {
        let mut names = TxNames::default();
        let template = Template::parse("a %{TX.Score}: %{REQUEST_HEADERS.User-Agent}%", &mut names).expect("parses");
        let score = names.find(b"score").expect("known");
        let expected = [
            Part::Text(b"a ".as_slice().into()),
            Part::Tx(score),
            Part::Text(b": ".as_slice().into()),
            Part::Variable(Variable::RequestHeaders, Some(b"User-Agent".as_slice().into())),
            Part::Text(b"%".as_slice().into()),
        ];
        assert_eq!(*template.parts, expected);
        assert!(Template::parse("%{nothing.x}", &mut names).is_err());
    }

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, value) in [("12", 12), (" -3x", -3), ("", 0), ("x", 0), ("99999999999999999999", i64::MAX)] {
            assert_eq!(number(text.as_bytes()), value, "{text}");
        }
    }
}
