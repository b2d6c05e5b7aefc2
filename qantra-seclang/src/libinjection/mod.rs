//! Enters: a value. Leaves: whether libinjection takes it for SQL, and the fingerprint of its tokens that says so. The
//! algorithm is libinjection's (Nick Galbreath, BSD-3-Clause), and so are its word list and its map of bytes, which come
//! with the crate libinjectionrs. Tokens are slices of the value, words are looked up by their hash: nothing is allocated,
//! and no value is read more often than there are ways to quote it.

mod fold;
mod token;
mod words;

#[cfg(test)]
mod tests;

use fold::Folded;
use token::{Token, kind};
use words::Words;

/// How a value is read: as it stands, or as if a quote stood before it.
#[derive(Debug, Clone, Copy)]
struct Reading {
    quote: Option<u8>,
    mysql: bool,
}

/// The kinds of the tokens that are left after folding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fingerprint {
    kinds: [u8; fold::TOKENS_MAX],
    len: usize,
}

impl Fingerprint {
    fn push(&mut self, kind: u8) {
        if let Some(place) = self.kinds.get_mut(self.len) {
            *place = kind;
            self.len += 1;
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.kinds[..self.len]
    }
}

/// Makes the tables, which the first value would wait for otherwise.
pub(crate) fn prepare() {
    let _ = Words::get();
}

/// The fingerprint of a value that is SQL; `None` when it is not.
pub(crate) fn sqli(input: &[u8]) -> Option<Fingerprint> {
    if input.is_empty() {
        return None;
    }
    let words = Words::get();
    for quote in [None, Some(b'\''), Some(b'"')] {
        if quote.is_some_and(|quote| memchr::memchr(quote, input).is_none()) {
            continue;
        }
        // Only MySQL knows strings in double quotes.
        let mysql = quote == Some(b'"');
        let folded = fold::fold(input, Reading { quote, mysql }, words);
        if let Some(found) = judge(input, &folded, words) {
            return Some(found);
        }
        if !mysql && folded.comments_differ {
            let folded = fold::fold(input, Reading { quote, mysql: true }, words);
            if let Some(found) = judge(input, &folded, words) {
                return Some(found);
            }
        }
    }
    None
}

/// Whether a fingerprint is known, and no harmless value has it as well.
fn judge(input: &[u8], folded: &Folded<'_>, words: &Words) -> Option<Fingerprint> {
    let tokens = folded.tokens();
    let mut found = Fingerprint::default();
    for token in tokens {
        found.push(token.kind);
    }
    if found.as_bytes().contains(&kind::EVIL) {
        found = Fingerprint::default();
        found.push(kind::EVIL);
        return Some(found);
    }
    let print = found.as_bytes();
    if !words.is_fingerprint(print) {
        return None;
    }
    // SQL Server does not audit what has this word in a comment.
    if print.len() > 1 && print.ends_with(&[kind::COMMENT]) && names_sp_password(input) {
        return Some(found);
    }
    let is_sql = match tokens {
        [first, second] => judge_two(input, first, second, folded.read),
        [first, second, third] => judge_three(print, first, second, third, folded.read),
        _ => true,
    };
    is_sql.then_some(found)
}

fn names_sp_password(input: &[u8]) -> bool {
    const WORD: &[u8] = b"sp_password";
    let mut from = 0;
    while let Some(at) = input.get(from..).and_then(|rest| memchr::memchr2(b's', b'S', rest)) {
        from += at + 1;
        if input.get(from - 1..from - 1 + WORD.len()).is_some_and(|word| word.eq_ignore_ascii_case(WORD)) {
            return true;
        }
    }
    false
}

/// Two tokens are hard to tell from a harmless text.
fn judge_two(input: &[u8], first: &Token<'_>, second: &Token<'_>, read: usize) -> bool {
    if second.kind == kind::UNION {
        // `1U` alone may be anything; with something folded away it is not.
        return read != 2;
    }
    if second.starts_with(b'#') {
        return false;
    }
    if second.kind == kind::COMMENT {
        let c_style = second.starts_with(b'/');
        if first.kind == kind::BAREWORD && !c_style {
            return false;
        }
        if first.kind == kind::NUMBER {
            return c_style || read > 2 || ends_a_number(input.get(first.text.len()..).unwrap_or_default());
        }
    }
    // `--` at the end is how scanners end theirs; `-- word` may be a text.
    !(second.text.len() > 2 && second.starts_with(b'-'))
}

/// Whether what follows a number parts it from a comment. The C library compares a signed byte with 32, and counts from the
/// value's first byte, not the token's: so do we.
fn ends_a_number(rest: &[u8]) -> bool {
    match rest {
        [0..=32 | 0x80..=0xff, ..] => true,
        _ => rest.starts_with(b"/*") || rest.starts_with(b"--"),
    }
}

fn judge_three(print: &[u8], first: &Token<'_>, second: &Token<'_>, third: &Token<'_>, read: usize) -> bool {
    match print {
        // …foo' + 'bar… is one; "foo" + "bar" is not.
        b"sos" | b"s&s" => first.open == 0 && third.close == 0 && first.close == third.open,
        b"s&n" | b"n&1" | b"1&1" | b"1&v" | b"1&s" if read == 3 => false,
        // A keyword between is harmless, but for INTO OUTFILE.
        _ if second.kind == kind::KEYWORD => {
            second.text.len() >= 5 && second.text.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"INTO"))
        }
        _ => true,
    }
}
