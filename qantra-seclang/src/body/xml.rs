//! Enters: an XML document. Leaves: all its text as one value, and every attribute as one. It must never expand an entity
//! that the document declares, nor fetch anything: declarations are passed over.

use memchr::memmem;

use super::BodyError;
use crate::{store::Store, variable::Variable};

const MALFORMED: BodyError = BodyError("XML parsing error: XML: Failed to parse document.");
/// Elements nest this deep at most.
const DEPTH_MAX: usize = 256;

/// Reads a document.
pub(crate) fn parse(text: &[u8], limit: usize, store: &mut Store) -> Result<(), BodyError> {
    let mut content = Vec::with_capacity(text.len() / 2);
    let done = document(text, limit, &mut content, store);
    // What was read before a mistake is looked at as well.
    if !content.is_empty() || done.is_ok() {
        store.set_single(Variable::XmlText, &content);
    }
    done
}

fn document(text: &[u8], limit: usize, content: &mut Vec<u8>, store: &mut Store) -> Result<(), BodyError> {
    let mut rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut open: Vec<&[u8]> = Vec::new();
    let mut seen_root = false;
    loop {
        let next = memchr::memchr(b'<', rest).unwrap_or(rest.len());
        let (between, tail) = rest.split_at(next);
        if open.is_empty() {
            if !between.iter().all(u8::is_ascii_whitespace) {
                return Err(MALFORMED);
            }
        } else {
            unescape(between, content);
        }
        if tail.is_empty() {
            break;
        }
        rest = if let Some(inside) = tail.strip_prefix(b"<!--") {
            &inside[memmem::find(inside, b"-->").ok_or(MALFORMED)? + 3..]
        } else if let Some(inside) = tail.strip_prefix(b"<![CDATA[") {
            let end = memmem::find(inside, b"]]>").ok_or(MALFORMED)?;
            content.extend_from_slice(&inside[..end]);
            &inside[end + 3..]
        } else if let Some(inside) = tail.strip_prefix(b"<?") {
            &inside[memmem::find(inside, b"?>").ok_or(MALFORMED)? + 2..]
        } else if let Some(inside) = tail.strip_prefix(b"<!") {
            after_declaration(inside)?
        } else if let Some(inside) = tail.strip_prefix(b"</") {
            let end = memchr::memchr(b'>', inside).ok_or(MALFORMED)?;
            if open.pop() != Some(inside[..end].trim_ascii_end()) {
                return Err(MALFORMED);
            }
            &inside[end + 1..]
        } else {
            if open.is_empty() && seen_root {
                return Err(MALFORMED);
            }
            seen_root = true;
            let (name, closed, after) = element(&tail[1..], limit, store)?;
            if !closed {
                open.push(name);
            }
            if open.len() > DEPTH_MAX {
                return Err(BodyError("XML parsing error: elements nest too deep"));
            }
            after
        };
    }
    if open.is_empty() && seen_root { Ok(()) } else { Err(MALFORMED) }
}

/// What follows `<!DOCTYPE …>`, with or without its subset.
fn after_declaration(inside: &[u8]) -> Result<&[u8], BodyError> {
    let mut brackets = 0_u32;
    let mut quote = None;
    for (at, byte) in inside.iter().enumerate() {
        match byte {
            _ if quote == Some(*byte) => quote = None,
            _ if quote.is_some() => {}
            b'"' | b'\'' => quote = Some(*byte),
            b'[' => brackets += 1,
            b']' => brackets = brackets.saturating_sub(1),
            b'>' if brackets == 0 => return Ok(&inside[at + 1..]),
            _ => {}
        }
    }
    Err(MALFORMED)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_:-.".contains(&byte) || byte >= 0x80
}

/// Reads an opening tag behind its `<`: its name, whether it closes itself, and what follows.
fn element<'a>(text: &'a [u8], limit: usize, store: &mut Store) -> Result<(&'a [u8], bool, &'a [u8]), BodyError> {
    let length = text.iter().take_while(|b| is_name(**b)).count();
    let name = &text[..length];
    if name.first().is_none_or(|b| b.is_ascii_digit() || *b == b'-' || *b == b'.') {
        return Err(MALFORMED);
    }
    let mut rest = text[length..].trim_ascii_start();
    loop {
        match rest {
            [b'>', after @ ..] => return Ok((name, false, after)),
            [b'/', b'>', after @ ..] => return Ok((name, true, after)),
            _ => rest = attribute(rest, limit, store)?,
        }
    }
}

fn attribute<'a>(text: &'a [u8], limit: usize, store: &mut Store) -> Result<&'a [u8], BodyError> {
    let length = text.iter().take_while(|b| is_name(**b)).count();
    let after = text[length..].trim_ascii_start().strip_prefix(b"=").ok_or(MALFORMED)?.trim_ascii_start();
    let quote = *after.first().filter(|b| **b == b'"' || **b == b'\'').ok_or(MALFORMED)?;
    let end = memchr::memchr(quote, &after[1..]).ok_or(MALFORMED)?;
    if length == 0 {
        return Err(MALFORMED);
    }
    if store.items(Variable::XmlAttributes).len() >= limit {
        return Err(BodyError("XML parsing error: more attributes than SecArgumentsLimit allows"));
    }
    let mut value = Vec::with_capacity(end);
    unescape(&after[1..=end], &mut value);
    store.add_single(Variable::XmlAttributes, &value);
    Ok(after[end + 2..].trim_ascii_start())
}

/// Replaces numbers and the five entities of the standard; others stay as they are written.
fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest) {
        out.extend_from_slice(&rest[..at]);
        let inside = &rest[at + 1..];
        let end = inside.iter().take(12).position(|b| *b == b';');
        match end.and_then(|end| entity(&inside[..end]).map(|c| (c, end))) {
            Some((c, end)) => {
                let mut buffer = [0; 4];
                out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
                rest = &inside[end + 1..];
            }
            None => {
                out.push(b'&');
                rest = inside;
            }
        }
    }
    out.extend_from_slice(rest);
}

fn entity(name: &[u8]) -> Option<char> {
    let number = |digits: &[u8], radix| u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok();
    match name {
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"amp" => Some('&'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        [b'#', b'x', digits @ ..] => char::from_u32(number(digits, 16)?),
        [b'#', digits @ ..] => char::from_u32(number(digits, 10)?),
        _ => None,
    }
}
