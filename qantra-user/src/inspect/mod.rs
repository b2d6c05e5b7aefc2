//! Enters: a [`RequestView`]. Leaves: its fields, decoded as an application would decode them.
//! Pure: it must never do IO, and no input may make it panic or take more than linear time.
//!
//! The SecLang rule engine will read the same [`RequestView`] from here; it decodes by itself, with the
//! transformations that each rule names, so it shares the request and not these fields.

mod body;
mod decode;
mod field;
mod form;
mod json;
mod mask;
mod raw;
mod request;
mod rules;
mod signs;

use http::{HeaderMap, HeaderName, header};

pub use field::{BYTES_MAX, FIELDS_MAX, Field, FieldKind, Fields, Truncated};
pub use mask::excerpt;
pub use raw::RawRequest;
pub use request::RequestView;
pub use rules::{RuleEnding, RuleMatch, RuleReport, RuleRun, RuleSite};
pub use signs::{ATTACK_TAGS, RuleSigns, SIGN_PLACES};

use field::Encoding;

/// Headers without text of an attacker's choice that an application would use: framing, and tokens the proxy checks.
const SKIPPED_HEADERS: [HeaderName; 12] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::UPGRADE,
    header::DNT,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::ACCEPT_ENCODING,
];

impl Fields {
    /// Takes a request apart. What was in the set before is forgotten.
    pub fn read(&mut self, request: &RequestView<'_>) {
        self.clear();
        self.truncated_mut().body = !request.body_is_whole;
        let (path, query) = match request.target.iter().position(|byte| *byte == b'?') {
            Some(at) => (&request.target[..at], &request.target[at + 1..]),
            None => (request.target, &[][..]),
        };
        let name = self.name("path", b"");
        self.push(FieldKind::Path, name, path, Encoding::Percent, 0);
        self.read_pairs("query", FieldKind::Value, query);
        self.read_headers(request.headers);
        body::read(self, request.headers, request.body);
    }

    /// `name=value` pairs joined by `&`. A piece without `=` is a value: that is how it reaches an application.
    fn read_pairs(&mut self, prefix: &'static str, kind: FieldKind, raw: &[u8]) {
        let mut rest = raw;
        while !rest.is_empty() {
            if !self.has_room() {
                let name = self.name(prefix, b"");
                return self.push(FieldKind::Text, name, rest, Encoding::Form, 0);
            }
            let (pair, after) = split_once(rest, b'&');
            rest = after;
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
                let name = self.name(prefix, b"");
                self.push(kind, name, pair, Encoding::Form, 0);
                continue;
            };
            let (key, value) = (&pair[..equals], &pair[equals + 1..]);
            let name = self.name(prefix, key);
            if !simple_name(key) {
                let of_name = if kind == FieldKind::Value { FieldKind::Name } else { kind };
                self.push(of_name, name.clone(), key, Encoding::Form, 0);
            }
            self.push(kind, name, value, Encoding::Form, 0);
        }
    }

    fn read_headers(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            let raw = value.as_bytes();
            if SKIPPED_HEADERS.contains(name) || form::is_plain(name, raw) || !self.has_room() {
                continue;
            }
            if name == header::COOKIE {
                self.read_cookies(raw);
                continue;
            }
            if name == header::REFERER {
                self.read_referer(raw);
                continue;
            }
            let field_name = self.name("header", name.as_str().as_bytes());
            let (kind, encoding) = match *name {
                header::USER_AGENT => (FieldKind::UserAgent, Encoding::Percent),
                header::AUTHORIZATION => (FieldKind::Header, Encoding::Plain),
                _ => (FieldKind::Header, Encoding::Percent),
            };
            let raw = if *name == header::AUTHORIZATION { credentials(raw) } else { raw };
            self.push(kind, field_name, raw, encoding, 0);
        }
    }

    /// The page that a request comes from: its address, and each of its parameters as that page got it.
    fn read_referer(&mut self, raw: &[u8]) {
        let (address, query) = split_once(raw, b'?');
        let name = self.name("header", b"referer");
        self.push(FieldKind::Referer, name, address, Encoding::Percent, 0);
        self.read_pairs("header.referer", FieldKind::Referer, query);
    }

    fn read_cookies(&mut self, raw: &[u8]) {
        let mut rest = raw;
        while !rest.is_empty() {
            if !self.has_room() {
                let name = self.name("cookie", b"");
                return self.push(FieldKind::Cookie, name, rest, Encoding::Percent, 0);
            }
            let (pair, after) = split_once(rest, b';');
            rest = after;
            let pair = pair.trim_ascii();
            let (key, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(equals) => (&pair[..equals], &pair[equals + 1..]),
                None => (&[][..], pair),
            };
            let name = self.name("cookie", key);
            if !simple_name(key) {
                self.push(FieldKind::Name, name.clone(), key, Encoding::Percent, 0);
            }
            self.push(FieldKind::Cookie, name, value, Encoding::Percent, 0);
        }
    }
}

/// What follows the scheme: base64 of `Basic` is opened like any other base64.
fn credentials(raw: &[u8]) -> &[u8] {
    match raw.iter().position(|byte| *byte == b' ') {
        Some(at) => raw[at + 1..].trim_ascii(),
        None => raw,
    }
}

fn split_once(raw: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match raw.iter().position(|byte| *byte == separator) {
        Some(at) => (&raw[..at], &raw[at + 1..]),
        None => (raw, &[]),
    }
}

/// Whether a parameter's name is plain: then it is not worth scoring.
fn simple_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[' | b']');
    name.len() <= 64 && name.iter().all(plain) && !name.windows(2).any(|pair| pair == b"..")
}

#[cfg(test)]
mod tests;
