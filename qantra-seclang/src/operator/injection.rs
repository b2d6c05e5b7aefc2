//! Enters: a value. Leaves: what libinjection says of it.

use libinjectionrs::detect_xss;

use crate::{bytes::ByteSet, libinjection, regex::Captures};

/// Longer values are cut: what libinjection decides on stands in the first tokens.
const LONGEST: usize = 64 * 1024;

/// The bytes beyond letters and `_`: words alone are a single token, and no single token is an injection.
pub(super) fn beyond_words() -> ByteSet {
    ByteSet::range(b'a', b'z').union(&ByteSet::range(b'A', b'Z')).with(b"_").inverted()
}

pub(super) fn sqli(value: &[u8]) -> Option<Captures> {
    // A name or a number alone is one token too.
    let is_name = value.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && value.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if is_name || value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = &value[..value.len().min(LONGEST)];
    libinjection::sqli(value).map(|_| Captures::whole(0, value.len()))
}

pub(super) fn xss(value: &[u8]) -> bool {
    detect_xss(&value[..value.len().min(LONGEST)]).is_injection()
}
