//! Enters: pieces of a request. Leaves: decoded fields in one reusable arena. It must never grow past its limits:
//! what does not fit is left out and reported.

use std::ops::Range;

use super::decode;

/// What kind of place a field was found in. The request models have a threshold for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FieldKind {
    /// The path.
    Path,
    /// A name that the client chose: of a parameter, a JSON key, a form part.
    Name,
    /// A value of the query, a form, a JSON document or a form part.
    Value,
    /// The `User-Agent` header.
    UserAgent,
    /// The `Referer` header.
    Referer,
    /// Any other header.
    Header,
    /// The value of one cookie.
    Cookie,
    /// The file name of an upload.
    Filename,
    /// Free text: XML and plain bodies, contents of text files, readable strings of binary files.
    Text,
}

impl FieldKind {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::Path,
        Self::Name,
        Self::Value,
        Self::UserAgent,
        Self::Referer,
        Self::Header,
        Self::Cookie,
        Self::Filename,
        Self::Text,
    ];

    /// The kind as manifests and reports write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Name => "name",
            Self::Value => "value",
            Self::UserAgent => "user_agent",
            Self::Referer => "referer",
            Self::Header => "header",
            Self::Cookie => "cookie",
            Self::Filename => "filename",
            Self::Text => "text",
        }
    }
}

/// One decoded field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Where it was found.
    pub kind: FieldKind,
    /// Its name, such as `query.id`, `header.referer` or `json.a.b`: printable ASCII.
    pub name: &'a str,
    /// Its bytes after decoding.
    pub value: &'a [u8],
}

/// What was left out because a limit was reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Truncated {
    /// More fields than [`FIELDS_MAX`]: the rest of that part stands undivided in its last field.
    pub fields: bool,
    /// More bytes than [`BYTES_MAX`]: decoded variants, or the end of a field, are missing.
    pub bytes: bool,
    /// Nested deeper than is followed: the inner part was looked at as text.
    pub depth: bool,
    /// The body is longer than what was handed over.
    pub body: bool,
}

/// Most fields of one request.
pub const FIELDS_MAX: usize = 384;
/// Most decoded bytes of one request, all fields together.
pub const BYTES_MAX: usize = 256 * 1024;
/// Further decodings of what is there already may only fill this much, so that they cannot crowd out the fields.
const VARIANT_BYTES_MAX: usize = 128 * 1024;
/// Longest name of a field, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// All names together; JSON keys without text in their values take room here, too.
const NAMES_BYTES_MAX: usize = 64 * 1024;
/// How often an inner format (base64, JSON in a field) is followed.
pub(super) const DEPTH_MAX: u8 = 2;

#[derive(Debug, Clone)]
struct Span {
    kind: FieldKind,
    name: Range<u32>,
    value: Range<u32>,
}

/// The decoded fields of one request. Made once for a thread and filled again for each request, so that in the
/// steady state nothing is allocated.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    names: Vec<u8>,
    spans: Vec<Span>,
    truncated: Truncated,
    pub(super) json_stack: Vec<(u8, u32)>,
    inflated: Vec<u8>,
}

/// How a raw piece is decoded before it becomes a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Percent-decoding, with `+` for a space.
    Form,
    /// Percent-decoding.
    Percent,
    /// As it is.
    Plain,
}

impl Fields {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The fields, in the order in which they were found.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        self.spans.iter().map(|span| Field {
            kind: span.kind,
            name: std::str::from_utf8(&self.names[as_usize(&span.name)]).unwrap_or_default(),
            value: &self.bytes[as_usize(&span.value)],
        })
    }

    /// The field at a place in [`iter`](Self::iter)'s order.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Field<'_>> {
        self.iter().nth(index)
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All decoded bytes together.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What was left out.
    #[must_use]
    pub const fn truncated(&self) -> Truncated {
        self.truncated
    }

    pub(super) const fn truncated_mut(&mut self) -> &mut Truncated {
        &mut self.truncated
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.names.clear();
        self.spans.clear();
        self.truncated = Truncated::default();
    }

    /// Lends the buffer for a compressed body, empty.
    pub(super) fn take_inflated(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.inflated);
        buffer.clear();
        buffer
    }

    /// Takes it back, for the next request.
    pub(super) fn keep_inflated(&mut self, buffer: Vec<u8>) {
        self.inflated = buffer;
    }

    /// Whether another field can be named apart; when not, the caller hands over the rest in one piece.
    pub(super) fn has_room(&mut self) -> bool {
        // The margin is for the rest of each part (query, cookies, body) and for variants of the last fields.
        let room = self.spans.len() + 32 < FIELDS_MAX && self.names.len() < NAMES_BYTES_MAX;
        if !room {
            self.truncated.fields = true;
        }
        room
    }

    /// A name made of a prefix and what the client chose, cut and made printable.
    pub(super) fn name(&mut self, prefix: &str, chosen: &[u8]) -> Range<u32> {
        let start = self.names.len();
        self.names.extend_from_slice(prefix.as_bytes());
        if !chosen.is_empty() {
            self.names.push(b'.');
        }
        let printable = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'?' };
        self.names.extend(chosen.iter().take(NAME_BYTES_MAX).map(printable));
        start as u32..self.names.len() as u32
    }

    /// A longer name: another one with a part appended.
    pub(super) fn name_below(&mut self, parent: Range<u32>, part: &[u8]) -> Range<u32> {
        let start = self.names.len();
        let parent = as_usize(&parent);
        let parent_end = parent.end.min(parent.start + 2 * NAME_BYTES_MAX);
        self.names.extend_from_within(parent.start..parent_end);
        self.names.push(b'.');
        let printable = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'?' };
        self.names.extend(part.iter().take(NAME_BYTES_MAX).map(printable));
        start as u32..self.names.len() as u32
    }

    /// Appends raw bytes to the arena, as many as fit. They are no field yet.
    pub(super) fn stage(&mut self, raw: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        let room = BYTES_MAX - start;
        if raw.len() > room {
            self.truncated.bytes = true;
        }
        self.bytes.extend_from_slice(&raw[..raw.len().min(room)]);
        start..self.bytes.len()
    }

    /// Changes the last staged piece in place by a decoder that never makes it longer.
    pub(super) fn decode_last(&mut self, start: usize, decoder: impl Fn(&mut [u8]) -> usize) {
        let length = decoder(&mut self.bytes[start..]);
        self.bytes.truncate(start + length);
    }

    /// The staged bytes from `start` on.
    pub(super) fn staged(&self, start: usize) -> &[u8] {
        &self.bytes[start..]
    }

    /// Forgets what was staged from `start` on.
    pub(super) fn unstage(&mut self, start: usize) {
        self.bytes.truncate(start);
    }

    /// Decodes a raw piece and keeps it, with its further decodings, as fields.
    pub(super) fn push(&mut self, kind: FieldKind, name: Range<u32>, raw: &[u8], encoding: Encoding, depth: u8) {
        if raw.is_empty() {
            return;
        }
        let start = self.stage(raw).start;
        self.push_staged(kind, name, start, encoding, depth);
    }

    /// The same for a piece that is staged already, from `start` to the arena's end.
    pub(super) fn push_staged(&mut self, kind: FieldKind, name: Range<u32>, start: usize, how: Encoding, depth: u8) {
        match how {
            Encoding::Form => self.decode_last(start, decode::form),
            Encoding::Percent => self.decode_last(start, decode::percent),
            Encoding::Plain => {}
        }
        if how != Encoding::Plain {
            // What was encoded twice or three times is one trick; an application undoes it when it decodes again.
            for _ in 0..2 {
                let before = self.bytes.len();
                self.decode_last(start, decode::percent);
                if self.bytes.len() == before {
                    break;
                }
            }
        }
        let value = start..self.bytes.len();
        if value.is_empty() || self.push_json(kind, &name, &value, depth) || !self.add(kind, &name, &value) {
            return;
        }
        self.push_variants(kind, &name, value, depth);
    }

    /// Takes a value apart that is JSON. Its parts say all that the whole says, and without the brackets and quotes
    /// around them, which look like an attack.
    fn push_json(&mut self, kind: FieldKind, name: &Range<u32>, value: &Range<usize>, depth: u8) -> bool {
        let bytes = &self.bytes[value.clone()];
        let opens = kind != FieldKind::Path && matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['));
        if opens && depth >= DEPTH_MAX {
            self.truncated.depth = true;
        }
        opens && depth < DEPTH_MAX && super::json::push_staged(self, name.clone(), value.clone(), depth + 1)
    }

    /// Keeps a staged range as a field.
    fn add(&mut self, kind: FieldKind, name: &Range<u32>, value: &Range<usize>) -> bool {
        if self.spans.len() >= FIELDS_MAX {
            self.truncated.fields = true;
            return false;
        }
        self.spans.push(Span { kind, name: name.clone(), value: value.start as u32..value.end as u32 });
        true
    }

    /// What the application's next layer may make of a value: escapes undone, base64 opened.
    fn push_variants(&mut self, kind: FieldKind, name: &Range<u32>, value: Range<usize>, depth: u8) {
        if self.bytes.len() + value.len() > VARIANT_BYTES_MAX {
            self.truncated.bytes |= decode::may_be_escaped(&self.bytes[value]);
            return;
        }
        if decode::may_be_escaped(&self.bytes[value.clone()]) {
            let start = self.bytes.len();
            self.bytes.extend_from_within(value.clone());
            self.decode_last(start, decode::escapes);
            let end = self.bytes.len();
            if end - start == value.len() || !self.add(kind, name, &(start..end)) {
                self.bytes.truncate(start);
            }
        }
        if kind != FieldKind::Path
            && depth < DEPTH_MAX
            && let Some(part) = decode::base64_in(&self.bytes[value.clone()])
        {
            let start = self.bytes.len();
            self.bytes.extend_from_within(value.start + part.start..value.start + part.end);
            self.decode_last(start, decode::base64);
            if self.bytes.len() > start && decode::is_mostly_text(&self.bytes[start..]) {
                self.push_staged(kind, name.clone(), start, Encoding::Percent, depth + 1);
            } else {
                self.bytes.truncate(start);
            }
        }
    }

    /// Where the fields end now, to go back to by [`rewind`](Self::rewind).
    pub(super) const fn mark(&self) -> (usize, usize, usize) {
        (self.spans.len(), self.bytes.len(), self.names.len())
    }

    /// Forgets every field, byte and name since a mark.
    pub(super) fn rewind(&mut self, mark: (usize, usize, usize)) {
        self.spans.truncate(mark.0);
        self.bytes.truncate(mark.1);
        self.names.truncate(mark.2);
    }

    /// A byte of the arena; parsers that read staged text while they stage more go by index.
    pub(super) fn byte(&self, index: usize) -> u8 {
        self.bytes[index]
    }

    /// Stages a copy of a range of the arena, as much as fits.
    pub(super) fn stage_within(&mut self, range: Range<usize>) -> usize {
        let start = self.bytes.len();
        let room = BYTES_MAX - start;
        if range.len() > room {
            self.truncated.bytes = true;
        }
        let end = range.end.min(range.start + room);
        self.bytes.extend_from_within(range.start..end);
        start
    }

    /// A name below another, its part taken from the arena.
    pub(super) fn name_below_staged(&mut self, parent: Range<u32>, start: usize) -> Range<u32> {
        let end = self.bytes.len().min(start + NAME_BYTES_MAX);
        let mut part = [0_u8; NAME_BYTES_MAX];
        let part = &mut part[..end - start];
        part.copy_from_slice(&self.bytes[start..end]);
        self.name_below(parent, part)
    }
}

fn as_usize(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}
