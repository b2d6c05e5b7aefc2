//! Enters: a `multipart/form-data` body and its content type. Leaves: arguments, files, part headers, and a flag for
//! every way in which another parser might read it differently. It must never read on past a mistake in silence.

use super::{BodyError, TOO_LONG, form::add_argument};
use crate::{
    store::{Span, Store},
    variable::Variable,
};

/// What was odd about a body; each is a variable of its own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) boundary_quoted: bool,
    pub(crate) boundary_whitespace: bool,
    pub(crate) crlf_line: bool,
    pub(crate) data_after: bool,
    pub(crate) data_before: bool,
    pub(crate) file_limit_exceeded: bool,
    pub(crate) header_folding: bool,
    pub(crate) invalid_header_folding: bool,
    pub(crate) invalid_part: bool,
    pub(crate) invalid_quoting: bool,
    pub(crate) lf_line: bool,
    pub(crate) missing_semicolon: bool,
    pub(crate) unmatched_boundary: bool,
}

impl Flags {
    /// Writes every flag, and their sum `MULTIPART_STRICT_ERROR`.
    pub(crate) fn store(&self, failed: bool, store: &mut Store) {
        let strict = failed
            || self.boundary_quoted
            || self.boundary_whitespace
            || self.data_before
            || self.data_after
            || self.header_folding
            || self.invalid_header_folding
            || self.invalid_part
            || self.invalid_quoting
            || self.lf_line
            || self.missing_semicolon
            || self.file_limit_exceeded;
        let flags = [
            (Variable::MultipartStrictError, strict),
            (Variable::MultipartUnmatchedBoundary, self.unmatched_boundary),
            (Variable::MultipartBoundaryQuoted, self.boundary_quoted),
            (Variable::MultipartBoundaryWhitespace, self.boundary_whitespace),
            (Variable::MultipartCrlfLfLines, self.crlf_line && self.lf_line),
            (Variable::MultipartDataAfter, self.data_after),
            (Variable::MultipartDataBefore, self.data_before),
            (Variable::MultipartFileLimitExceeded, self.file_limit_exceeded),
            (Variable::MultipartHeaderFolding, self.header_folding),
            (Variable::MultipartInvalidHeaderFolding, self.invalid_header_folding),
            (Variable::MultipartInvalidPart, self.invalid_part),
            (Variable::MultipartInvalidQuoting, self.invalid_quoting),
            (Variable::MultipartLfLine, self.lf_line),
            (Variable::MultipartMissingSemicolon, self.missing_semicolon),
        ];
        for (variable, set) in flags {
            store.set_single(variable, if set { b"1" } else { b"0" });
        }
    }

    fn line_end(&mut self, line: &[u8]) {
        if line.ends_with(b"\r\n") {
            self.crlf_line = true;
        } else if line.ends_with(b"\n") {
            self.lf_line = true;
        }
    }
}

/// Limits of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) arguments: usize,
    pub(crate) files: usize,
    /// Bytes of all fields and part headers together.
    pub(crate) no_files_bytes: usize,
    /// Files' content is wanted as `FILES_TMP_CONTENT`.
    pub(crate) keep_files: bool,
    /// The end of the body is missing: what was read of the last part is a part.
    pub(crate) cut: bool,
}

/// Reads a body. Flags and what was read are stored in any case.
pub(crate) fn parse(body: &[u8], content_type: &[u8], limits: Limits, store: &mut Store) -> Result<(), BodyError> {
    let mut flags = Flags::default();
    let done = boundary(content_type, &mut flags).and_then(|boundary| {
        let mut parser =
            Parser { boundary, flags: &mut flags, store, limits, files: 0, files_bytes: 0, no_files_bytes: 0 };
        let done = parser.body(body);
        let bytes = parser.files_bytes.to_string();
        store.set_single(Variable::FilesCombinedSize, bytes.as_bytes());
        done
    });
    flags.store(done.is_err(), store);
    done
}

/// The boundary that a content type names.
fn boundary<'a>(content_type: &'a [u8], flags: &mut Flags) -> Result<&'a [u8], BodyError> {
    let lower = content_type.to_ascii_lowercase();
    if !lower.starts_with(b"multipart/form-data") {
        return Err(BodyError("Multipart: Invalid MIME type."));
    }
    let Some(found) = memchr::memmem::find(&lower, b"boundary") else {
        return Err(BodyError("Multipart: Boundary not found in C-T."));
    };
    // A boundary may be called so, but only one parameter may.
    let again = |part: &[u8]| part.trim_ascii_start().starts_with(b"boundary");
    if lower[found..].split(|b| *b == b';').skip(1).any(again) {
        return Err(BodyError("Multipart: Multiple boundary parameters in C-T."));
    }
    let before = &lower[b"multipart/form-data".len()..found];
    if before.iter().filter(|b| **b == b';').count() != 1 {
        flags.missing_semicolon = true;
    }
    if before.iter().any(|b| !b.is_ascii_whitespace() && *b != b';') && !before.contains(&b';') {
        return Err(BodyError("Multipart: Invalid boundary in C-T (malformed)."));
    }
    let rest = &content_type[found + 8..];
    let equals =
        rest.iter().position(|b| *b == b'=').ok_or(BodyError("Multipart: Invalid boundary in C-T (malformed)."))?;
    if equals > 0 {
        flags.boundary_whitespace = true;
        if !rest[..equals].iter().all(u8::is_ascii_whitespace) {
            return Err(BodyError("Multipart: Invalid boundary in C-T (parameter name)."));
        }
    }
    let value = rest[equals + 1..].trim_ascii_end();
    if value.first().is_some_and(u8::is_ascii_whitespace) {
        flags.boundary_whitespace = true;
    }
    let value = value.trim_ascii_start();
    let boundary = match value {
        [b'"', inside @ ..] => {
            flags.boundary_quoted = true;
            let end = memchr::memchr(b'"', inside).ok_or(BodyError("Multipart: Invalid boundary in C-T (quote)."))?;
            &inside[..end]
        }
        _ => {
            let end = value.iter().position(|b| *b == b';' || *b == b',').unwrap_or(value.len());
            if value.contains(&b'"') {
                return Err(BodyError("Multipart: Invalid boundary in C-T (quote)."));
            }
            value[..end].trim_ascii_end()
        }
    };
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(b);
    if boundary.is_empty() || boundary.len() > 256 {
        return Err(BodyError("Multipart: Invalid boundary in C-T (empty)."));
    }
    if !boundary.iter().all(allowed) {
        return Err(BodyError("Multipart: Invalid boundary in C-T (characters)."));
    }
    Ok(boundary)
}

struct Parser<'a> {
    boundary: &'a [u8],
    flags: &'a mut Flags,
    store: &'a mut Store,
    limits: Limits,
    files: usize,
    files_bytes: usize,
    no_files_bytes: usize,
}

/// What a part's headers said.
#[derive(Default)]
struct Disposition {
    name: Option<Span>,
    file_name: Option<Span>,
}

enum Boundary {
    Part,
    Final,
}

impl Parser<'_> {
    fn body(&mut self, body: &[u8]) -> Result<(), BodyError> {
        let mut rest = body;
        // Everything before the first boundary.
        loop {
            let Some((line, tail)) = next_line(rest) else {
                return Err(BodyError("Multipart: No boundaries found in payload."));
            };
            match self.boundary_line(line)? {
                Some(Boundary::Part) => {
                    rest = tail;
                    break;
                }
                Some(Boundary::Final) => return Err(BodyError("Multipart: Invalid boundary (final duplicate).")),
                None if !line.trim_ascii().is_empty() => self.flags.data_before = true,
                None => {}
            }
            rest = tail;
        }
        loop {
            let (after_headers, disposition) = self.headers(rest)?;
            let (content, boundary, tail) = self.content(after_headers)?;
            self.part(content, &disposition)?;
            rest = tail;
            if matches!(boundary, Boundary::Final) {
                break;
            }
        }
        while let Some((line, tail)) = next_line(rest) {
            if self.boundary_line(line).ok().flatten().is_some() {
                return Err(BodyError("Multipart: Invalid boundary (final duplicate)."));
            }
            if !line.trim_ascii().is_empty() {
                self.flags.data_after = true;
            }
            rest = tail;
        }
        Ok(())
    }

    /// Whether a line is a boundary.
    fn boundary_line(&mut self, line: &[u8]) -> Result<Option<Boundary>, BodyError> {
        let Some(after_dashes) = line.strip_prefix(b"--") else { return Ok(None) };
        if let Some(after) = after_dashes.strip_prefix(self.boundary) {
            let found = match after {
                b"\r\n" | b"\n" => Boundary::Part,
                b"--" | b"--\r\n" | b"--\n" => Boundary::Final,
                _ => return Err(BodyError("Multipart: Invalid boundary.")),
            };
            self.flags.line_end(line);
            return Ok(Some(found));
        }
        let quoted = after_dashes.strip_prefix(b"\"").is_some_and(|rest| rest.starts_with(self.boundary));
        if quoted {
            return Err(BodyError("Multipart: Invalid boundary (quotes)."));
        }
        if after_dashes.trim_ascii_start().starts_with(self.boundary) {
            return Err(BodyError("Multipart: Invalid boundary (whitespace)."));
        }
        self.flags.unmatched_boundary = true;
        Ok(None)
    }

    /// Counts what is no file.
    fn take(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.no_files_bytes += bytes;
        if self.no_files_bytes > self.limits.no_files_bytes { Err(TOO_LONG) } else { Ok(()) }
    }

    /// Reads a part's headers up to the empty line.
    fn headers<'b>(&mut self, body: &'b [u8]) -> Result<(&'b [u8], Disposition), BodyError> {
        let mut rest = body;
        let mut lines: Vec<Vec<u8>> = Vec::new();
        loop {
            let Some((line, tail)) = next_line(rest) else {
                return Err(BodyError("Multipart: Final boundary missing."));
            };
            self.flags.line_end(line);
            self.take(line.len())?;
            rest = tail;
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.is_empty() {
                break;
            }
            if text.starts_with(b" ") || text.starts_with(b"\t") {
                let Some(last) = lines.last_mut() else {
                    self.flags.invalid_header_folding = true;
                    return Err(BodyError("Multipart: Invalid part header (folding error)."));
                };
                self.flags.header_folding = true;
                if text.contains(&0) || text.trim_ascii().is_empty() {
                    self.flags.invalid_header_folding = true;
                }
                last.push(b' ');
                last.extend_from_slice(text.trim_ascii_start());
                continue;
            }
            if lines.len() >= 64 {
                return Err(BodyError("Multipart: Too many part headers."));
            }
            lines.push(text.to_vec());
        }
        let mut disposition = Disposition::default();
        for line in &lines {
            let Some(colon) = memchr::memchr(b':', line) else {
                return Err(BodyError("Multipart: Invalid part header (colon missing)."));
            };
            if colon == 0 {
                return Err(BodyError("Multipart: Invalid part header (header name missing)."));
            }
            if line[..colon].trim_ascii().eq_ignore_ascii_case(b"content-disposition") {
                disposition = self.disposition(line[colon + 1..].trim_ascii())?;
            }
        }
        let key = disposition.name.unwrap_or(Span::EMPTY);
        for line in &lines {
            let value = self.store.keep(line);
            self.store.add_span(Variable::MultipartPartHeaders, key, value);
        }
        let invalid = |line: &Vec<u8>| {
            let name = line.split(|b| *b == b':').next().unwrap_or_default();
            name.iter().any(|b| !(0x21..=0x7e).contains(b))
        };
        if lines.iter().any(invalid) {
            return Err(BodyError("Multipart: Invalid part header (contains invalid character)."));
        }
        Ok((rest, disposition))
    }

    fn disposition(&mut self, value: &[u8]) -> Result<Disposition, BodyError> {
        const INVALID: BodyError = BodyError("Multipart: Invalid Content-Disposition header.");
        let mut found = Disposition::default();
        if !value.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"form-data")) {
            return Err(INVALID);
        }
        let mut rest = value[9..].trim_ascii_start();
        while let Some(after) = rest.strip_prefix(b";") {
            rest = after.trim_ascii_start();
            if rest.is_empty() {
                break;
            }
            let equals = memchr::memchr(b'=', rest).ok_or(INVALID)?;
            let name = rest[..equals].trim_ascii_end();
            // A quote or a semicolon here is the rest of a value that other parsers end elsewhere.
            if name.is_empty() || name.iter().any(|b| b"\"\\;,= \t".contains(b)) {
                return Err(INVALID);
            }
            let (text, tail) = self.parameter(rest[equals + 1..].trim_ascii_start())?;
            rest = tail.trim_ascii_start();
            let place = if name.eq_ignore_ascii_case(b"name") {
                &mut found.name
            } else if name.eq_ignore_ascii_case(b"filename") {
                &mut found.file_name
            } else {
                if name.eq_ignore_ascii_case(b"filename*") {
                    found.file_name = found.file_name.or(Some(text));
                }
                continue;
            };
            if place.replace(text).is_some() {
                return Err(BodyError("Multipart: Duplicate Content-Disposition parameter."));
            }
        }
        if rest.is_empty() { Ok(found) } else { Err(INVALID) }
    }

    /// A parameter's value, in quotes or without.
    fn parameter<'b>(&mut self, text: &'b [u8]) -> Result<(Span, &'b [u8]), BodyError> {
        let Some(inside) = text.strip_prefix(b"\"") else {
            if text.starts_with(b"'") {
                self.flags.invalid_quoting = true;
            }
            let end = text.iter().position(|b| *b == b';' || b.is_ascii_whitespace()).unwrap_or(text.len());
            if text[..end].contains(&b'"') {
                return Err(BodyError("Multipart: Invalid Content-Disposition header (quote)."));
            }
            return Ok((self.store.keep(&text[..end]), &text[end..]));
        };
        let start = self.store.arena.len();
        let mut at = 0;
        while let Some(byte) = inside.get(at) {
            at += 1;
            match byte {
                b'"' => return Ok((self.store.since(start), &inside[at..])),
                b'\\' if inside.get(at) == Some(&b'"') => {
                    self.store.arena.push(b'"');
                    at += 1;
                }
                other => self.store.arena.push(*other),
            }
        }
        Err(BodyError("Multipart: Invalid Content-Disposition header (quote)."))
    }

    /// A part's content up to the next boundary.
    fn content<'b>(&mut self, body: &'b [u8]) -> Result<(&'b [u8], Boundary, &'b [u8]), BodyError> {
        for at in std::iter::once(0).chain(memchr::memchr_iter(b'\n', body).map(|end| end + 1)) {
            // Only lines that begin with two dashes can be boundaries.
            let Some(after) = body[at..].strip_prefix(b"--") else { continue };
            let first = after.first().copied().unwrap_or_default();
            let resembles = first == self.boundary[0] || matches!(first, b'"' | b' ' | b'\t' | b'\r' | b'\x0c');
            if self.flags.unmatched_boundary && !resembles {
                continue;
            }
            let (line, tail) = next_line(&body[at..]).unwrap_or((&body[at..], &[]));
            if let Some(found) = self.boundary_line(line)? {
                let content = body[..at].strip_suffix(b"\n").unwrap_or(&body[..at]);
                return Ok((content.strip_suffix(b"\r").unwrap_or(content), found, tail));
            }
        }
        if self.limits.cut {
            return Ok((body, Boundary::Final, &[]));
        }
        Err(BodyError("Multipart: Final boundary missing."))
    }

    fn part(&mut self, content: &[u8], disposition: &Disposition) -> Result<(), BodyError> {
        let Some(name) = disposition.name else {
            self.flags.invalid_part = true;
            return Err(BodyError("Multipart: Part without a name."));
        };
        self.store.add_span(Variable::MultipartName, name, name);
        let Some(file_name) = disposition.file_name else {
            if self.store.items(Variable::ArgsPost).len() >= self.limits.arguments {
                return Err(BodyError("more arguments than SecArgumentsLimit allows"));
            }
            self.take(content.len())?;
            let value = self.store.keep(content);
            add_argument(self.store, (Variable::ArgsPost, Variable::ArgsPostNames), name, value);
            return Ok(());
        };
        self.files += 1;
        if self.files > self.limits.files {
            self.flags.file_limit_exceeded = true;
            return Err(BodyError("Multipart: Upload file limit exceeded."));
        }
        self.files_bytes += content.len();
        self.store.add_span(Variable::Files, name, file_name);
        self.store.add_span(Variable::FilesNames, name, name);
        self.store.add_span(Variable::MultipartFilename, name, file_name);
        let size = self.store.keep(content.len().to_string().as_bytes());
        self.store.add_span(Variable::FilesSizes, name, size);
        if self.limits.keep_files {
            let value = self.store.keep(content);
            self.store.add_span(Variable::FilesTmpContent, name, value);
        }
        Ok(())
    }
}

/// The next line with its end, and what follows.
fn next_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    let end = memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1);
    Some(text.split_at(end))
}
