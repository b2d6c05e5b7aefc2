//! Enters: a body and the headers that describe it. Leaves: its fields. It must never trust the content type: what
//! looks like JSON is taken for JSON, and what fits nothing is looked at as text.

use std::{io::Read, ops::Range};

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};

use super::{
    decode,
    field::{BYTES_MAX, Encoding, FieldKind, Fields},
    json, simple_name,
};

/// Shortest run of printable characters in a binary file that is looked at. By chance, 64 KiB of noise hold one in
/// about a hundred files.
const RUN_BYTES_MIN: usize = 16;

pub(super) fn read(fields: &mut Fields, headers: &HeaderMap, body: &[u8]) {
    if body.is_empty() {
        return;
    }
    let Some(inflated) = inflate(fields, headers, body) else { return read_plain(fields, headers, body) };
    read_plain(fields, headers, &inflated);
    fields.keep_inflated(inflated);
}

/// A gzipped or deflated body, as far as it can be read and fits; `None` for any other. By its first bytes, since
/// applications differ in which header they believe.
fn inflate(fields: &mut Fields, headers: &HeaderMap, body: &[u8]) -> Option<Vec<u8>> {
    let is_gzip = body.starts_with(&[0x1F, 0x8B, 8]);
    let says = headers.get(header::CONTENT_ENCODING).is_some_and(|value| is_kind(value.as_bytes(), b"deflate"));
    let mut inflated = (is_gzip || says).then(|| fields.take_inflated())?;
    let limit = BYTES_MAX as u64;
    // A broken end, or one that was not handed over, leaves what was read before it.
    let _ = if is_gzip {
        MultiGzDecoder::new(body).take(limit).read_to_end(&mut inflated)
    } else {
        ZlibDecoder::new(body).take(limit).read_to_end(&mut inflated)
    };
    if inflated.is_empty() {
        fields.keep_inflated(inflated);
        return None;
    }
    fields.truncated_mut().bytes |= inflated.len() == BYTES_MAX;
    Some(inflated)
}

fn read_plain(fields: &mut Fields, headers: &HeaderMap, body: &[u8]) {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
    if is_kind(content_type, b"multipart/")
        && let Some(boundary) = parameter(content_type, b"boundary")
    {
        return multipart(fields, body, boundary);
    }
    if matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')) {
        let name = fields.name("json", b"");
        let start = fields.stage(body).start;
        let end = start + fields.staged(start).len();
        if json::push_staged(fields, name, start..end, 0) {
            return;
        }
        fields.unstage(start);
    }
    let is_form = is_kind(content_type, b"application/x-www-form-urlencoded");
    if is_form || (content_type.is_empty() && looks_like_form(body)) {
        return fields.read_pairs("form", FieldKind::Value, body);
    }
    let name = fields.name("body", b"");
    if content_type.is_empty() && decode::is_mostly_text(body) {
        // Without a type, many frameworks take a body for a form.
        return fields.push(FieldKind::Text, name, body, Encoding::Form, 0);
    }
    content(fields, FieldKind::Text, name, body);
}

/// Text as it is, and of a binary file what can be read in it.
fn content(fields: &mut Fields, kind: FieldKind, name: Range<u32>, raw: &[u8]) {
    if decode::is_mostly_text(raw) {
        return fields.push(kind, name, raw, Encoding::Plain, 0);
    }
    let start = fields.stage(raw).start;
    fields.decode_last(start, keep_runs);
    fields.push_staged(FieldKind::Text, name, start, Encoding::Plain, 1);
}

/// Keeps the runs of printable ASCII, with a line feed after each.
fn keep_runs(bytes: &mut [u8]) -> usize {
    let (mut write, mut run_start) = (0, 0);
    for read in 0..=bytes.len() {
        let is_printable = bytes.get(read).is_some_and(|byte| matches!(byte, b' '..=b'~' | b'\t'));
        if is_printable {
            continue;
        }
        if read - run_start >= RUN_BYTES_MIN {
            bytes.copy_within(run_start..read, write);
            write += read - run_start;
            if read < bytes.len() {
                bytes[write] = b'\n';
                write += 1;
            }
        }
        run_start = read + 1;
    }
    write
}

/// RFC 7578: parts between boundaries, each with its own headers.
fn multipart(fields: &mut Fields, body: &[u8], boundary: &[u8]) {
    let mut rest = body;
    let mut is_first = true;
    while let Some(at) = find_boundary(rest, boundary) {
        let part = &rest[..at];
        let next = &rest[at + 2 + boundary.len()..];
        if !is_first {
            part_fields(fields, part);
        }
        is_first = false;
        rest = next;
        if !fields.has_room() {
            let name = fields.name("multipart", b"");
            return content(fields, FieldKind::Text, name, rest);
        }
    }
    // A part that is cut off, because the body is long, or one without any boundary.
    if is_first || rest.trim_ascii() != b"--" {
        part_fields(fields, rest);
    }
}

fn find_boundary(haystack: &[u8], boundary: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = haystack[from..].windows(2).position(|pair| pair == b"--") {
        let at = from + at;
        if haystack[at + 2..].starts_with(boundary) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

fn part_fields(fields: &mut Fields, part: &[u8]) {
    let part = part.trim_ascii_start();
    let (head, value) = match part.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(at) => (&part[..at], &part[at + 4..]),
        None => match part.windows(2).position(|two| two == b"\n\n") {
            Some(at) => (&part[..at], &part[at + 2..]),
            None => (&[][..], part),
        },
    };
    let value = value.strip_suffix(b"\r\n").unwrap_or(value);
    let key = parameter(head, b"name").unwrap_or_default();
    let name = fields.name("multipart", key);
    if !simple_name(key) {
        fields.push(FieldKind::Name, name.clone(), key, Encoding::Percent, 0);
    }
    if let Some(filename) = parameter(head, b"filename").or_else(|| parameter(head, b"filename*")) {
        let below = fields.name_below(name.clone(), b"filename");
        fields.push(FieldKind::Filename, below, filename, Encoding::Percent, 0);
        content(fields, FieldKind::Text, name, value);
    } else {
        content(fields, FieldKind::Value, name, value);
    }
}

fn is_kind(content_type: &[u8], prefix: &[u8]) -> bool {
    content_type.len() >= prefix.len() && content_type[..prefix.len()].eq_ignore_ascii_case(prefix)
}

/// A parameter of a header value, without its quotes: `form-data; name="a"`.
fn parameter<'a>(value: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut from = 0;
    while from + name.len() < value.len() {
        let at = from + value[from..].windows(name.len()).position(|window| window.eq_ignore_ascii_case(name))?;
        let end = at + name.len();
        let starts = at == 0 || matches!(value[at - 1], b';' | b' ' | b'\t');
        if starts && value.get(end) == Some(&b'=') {
            let rest = &value[end + 1..];
            let quoted = rest.strip_prefix(b"\"");
            let (rest, is_end): (_, fn(&u8) -> bool) = match quoted {
                Some(rest) => (rest, |byte| matches!(byte, b'"' | b'\r' | b'\n')),
                None => (rest, |byte| matches!(byte, b';' | b' ' | b'\r' | b'\n')),
            };
            let length = rest.iter().position(is_end).unwrap_or(rest.len());
            return (length > 0).then(|| &rest[..length]);
        }
        from = at + 1;
    }
    None
}

/// A body without a type that begins with a plain name and `=`.
fn looks_like_form(body: &[u8]) -> bool {
    body.iter().take(64).position(|byte| *byte == b'=').is_some_and(|at| at > 0 && simple_name(&body[..at]))
}
