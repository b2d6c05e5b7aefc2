//! Enters: a login request's query, body and `Authorization`. Leaves: a seeded hash of the account it names, so that
//! guesses at one account from many sources can be joined. It must never keep, log or pass on the account itself.

use std::borrow::Cow;

use base64::Engine as _;
use http::{HeaderMap, header};

use crate::config::LoginConfig;

/// Hashes of paths and accounts: useless to whoever does not know the process's random seed.
#[derive(Debug, Clone)]
pub(super) struct SeededHash(foldhash::quality::FixedState);

impl SeededHash {
    pub(super) fn new(seed: u64) -> Self {
        Self(foldhash::quality::FixedState::with_seed(seed))
    }

    pub(super) fn of(&self, bytes: &[u8]) -> u64 {
        use std::hash::{BuildHasher as _, Hasher as _};
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

/// Whether a path, without query, is one that takes credentials.
pub(super) fn is_login_path(login: &LoginConfig, path: &[u8]) -> bool {
    login.paths.iter().any(|known| known.as_bytes() == path)
}

/// The hash of the account that a login names, in lower case and trimmed, as most applications compare them.
pub(super) fn account_hash(
    login: &LoginConfig,
    hash: &SeededHash,
    query: &[u8],
    headers: &HeaderMap,
    body: &[u8],
) -> Option<u64> {
    let account =
        from_authorization(headers).or_else(|| from_body(login, headers, body)).or_else(|| from_pairs(login, query))?;
    let account = String::from_utf8_lossy(&account).trim().to_lowercase();
    (!account.is_empty()).then(|| hash.of(account.as_bytes()))
}

fn from_authorization(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, credentials) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut decoded = base64::engine::general_purpose::STANDARD.decode(credentials.trim_ascii()).ok()?;
    let end = memchr::memchr(b':', &decoded)?;
    decoded.truncate(end);
    Some(Cow::Owned(decoded))
}

fn from_body<'a>(login: &LoginConfig, headers: &HeaderMap, body: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    if body.is_empty() {
        return None;
    }
    let kind = headers.get(header::CONTENT_TYPE).map_or(b"".as_slice(), |kind| kind.as_bytes());
    if memchr::memmem::find(kind, b"json").is_some() || body.trim_ascii_start().first() == Some(&b'{') {
        return from_json(login, body);
    }
    if kind.starts_with(b"multipart/form-data") {
        return from_multipart(login, body);
    }
    from_pairs(login, body)
}

/// `a=b&c=d`, percent-encoded.
fn from_pairs<'a>(login: &LoginConfig, pairs: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    pairs.split(|byte| *byte == b'&').find_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        let key = decode(&pair[..at]);
        is_account_field(login, &key).then(|| decode(&pair[at + 1..]))
    })
}

fn from_json(login: &LoginConfig, body: &[u8]) -> Option<Cow<'static, [u8]>> {
    let serde_json::Value::Object(fields) = serde_json::from_slice(body).ok()? else { return None };
    let (_, value) = fields.into_iter().find(|(key, _)| is_account_field(login, key.as_bytes()))?;
    Some(Cow::Owned(value.as_str()?.as_bytes().to_vec()))
}

fn from_multipart<'a>(login: &LoginConfig, body: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    memchr::memmem::find_iter(body, b"name=\"").find_map(|at| {
        let rest = &body[at + 6..];
        let end = memchr::memchr(b'"', rest)?;
        if !is_account_field(login, &rest[..end]) {
            return None;
        }
        let value = &rest[memchr::memmem::find(rest, b"\r\n\r\n")? + 4..];
        Some(Cow::Borrowed(&value[..memchr::memmem::find(value, b"\r\n")?]))
    })
}

fn is_account_field(login: &LoginConfig, key: &[u8]) -> bool {
    login.account_fields.iter().any(|field| field.as_bytes().eq_ignore_ascii_case(key))
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let hex = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let pair = text.get(at + 1).and_then(|high| hex(*high)).zip(text.get(at + 2).and_then(|low| hex(*low)));
        match (byte, pair) {
            (b'%', Some((high, low))) => {
                out.push((high << 4 | low) as u8);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
        at += 1;
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(query: &str, kind: &str, body: &str, authorization: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        }
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        let hash = SeededHash::new(7);
        account_hash(&LoginConfig::default(), &hash, query.as_bytes(), &headers, body.as_bytes())
    }

    #[test]
    fn one_account_has_one_hash_wherever_it_stands() {
        let alice = Some(SeededHash::new(7).of(b"alice@example.org"));
        let form = "application/x-www-form-urlencoded";
        assert_eq!(account("", form, "password=x&username=Alice%40example.org", ""), alice);
        assert_eq!(account("", form, "user%6eame=+alice%40example.org", ""), alice);
        assert_eq!(account("", "application/json", r#"{"password":"x","email":"ALICE@example.org"}"#, ""), alice);
        assert_eq!(account("user=alice@example.org", "", "", ""), alice);
        let multipart = "--b\r\nContent-Disposition: form-data; name=\"login\"\r\n\r\nalice@example.org\r\n--b--\r\n";
        assert_eq!(account("", "multipart/form-data; boundary=b", multipart, ""), alice);
        assert_eq!(account("", "", "", "Basic YWxpY2VAZXhhbXBsZS5vcmc6c2VjcmV0"), alice);
    }

    #[test]
    fn without_an_account_there_is_no_hash() {
        assert_eq!(account("", "", "", ""), None);
        assert_eq!(account("x=y", "", "password=x", ""), None);
        assert_eq!(account("", "application/json", "{\"email\":", ""), None);
        assert_eq!(account("", "", "username=+", ""), None);
        assert_eq!(account("", "", "", "Basic !!!"), None);
    }

    #[test]
    fn the_seed_changes_the_hash() {
        assert_ne!(SeededHash::new(1).of(b"a"), SeededHash::new(2).of(b"a"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let text = String::from_utf8_lossy(&body);
            for kind in ["", "application/json", "multipart/form-data"] {
                account(&text, kind, &text, "");
            }
            decode(&body);
        }
    }
}
