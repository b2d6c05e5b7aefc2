//! Enters: `a=1&b=2`. Leaves: arguments. It must never lose a parameter in silence: what is beyond the limit is said.

use super::BodyError;
use crate::{
    store::{Span, Store},
    transform::{hex_pair, url_decode},
    variable::Variable,
};

/// Reads parameters into a pair of groups; whether an escape was broken.
pub(crate) fn parse(
    text: &[u8],
    separator: u8,
    groups: (Variable, Variable),
    limit: usize,
    store: &mut Store,
) -> Result<bool, BodyError> {
    let mut broken = false;
    for pair in text.split(|byte| *byte == separator).filter(|pair| !pair.is_empty()) {
        if store.items(groups.0).len() >= limit {
            return Err(BodyError("more arguments than SecArgumentsLimit allows"));
        }
        let (key, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        let key = decoded(key, &mut broken, store);
        let value = decoded(value, &mut broken, store);
        add_argument(store, groups, key, value);
    }
    Ok(broken)
}

/// Adds an argument and its name.
pub(crate) fn add_argument(store: &mut Store, groups: (Variable, Variable), key: Span, value: Span) {
    store.add_span(groups.0, key, value);
    store.add_span(groups.1, key, key);
}

fn decoded(text: &[u8], broken: &mut bool, store: &mut Store) -> Span {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return store.keep_value(text);
    }
    *broken |= memchr::memchr_iter(b'%', text).any(|at| hex_pair(text, at + 1).is_none());
    let start = store.arena.len();
    url_decode(text, &mut store.arena);
    store.since(start)
}
