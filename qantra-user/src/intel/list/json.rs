//! JSON as it comes: one document or one object a line (Spamhaus DROP, LAPI, `cscli -o json`). A scanner instead of a
//! tree: a document of a million decisions takes a few kB, and each value knows its line.
//!
//! Addresses are looked for in objects of lists, and as strings of lists; where a list stands says whether it is one of
//! bans: at the top or under a key such as `decisions`. What an alert says of its source (`source`, `events`) is not.

use super::{
    Reason,
    reason::TEXT_BYTES_MAX,
    record::{self, Record},
};

/// Deepest nesting.
const DEPTH_MAX: usize = 32;
/// Longest string that is kept; addresses and scopes are shorter.
const TEXT_MAX: usize = 64;

/// Keys whose lists hold entries.
const CONTAINERS: [&[u8]; 14] = [
    b"decisions",
    b"new",
    b"data",
    b"results",
    b"items",
    b"entries",
    b"list",
    b"ips",
    b"addresses",
    b"prefixes",
    b"networks",
    b"blocklist",
    b"ranges",
    b"ipv6_prefixes",
];

/// Keys whose value is an address, the surest first.
const ADDRESS_KEYS: [&[u8]; 12] = [
    b"value",
    b"cidr",
    b"ip",
    b"address",
    b"ip_address",
    b"ip_prefix",
    b"ipv6_prefix",
    b"ipv4Prefix",
    b"ipv6Prefix",
    b"prefix",
    b"network",
    b"range",
];

/// A short text, cut.
#[derive(Debug, Clone, Copy)]
struct Text {
    bytes: [u8; TEXT_MAX],
    len: u8,
    is_cut: bool,
}

impl Text {
    const EMPTY: Self = Self { bytes: [0; TEXT_MAX], len: 0, is_cut: false };

    fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(usize::from(self.len)) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.is_cut = true,
        }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// One object or list that is open.
#[derive(Debug, Clone, Copy)]
struct Level {
    is_object: bool,
    /// Whether what it holds are entries.
    holds_entries: bool,
    /// The key whose value comes, of an object.
    key: Text,
    /// The address found in it, how sure its key is, and its line.
    address: Option<(Text, usize, u64)>,
    scope: Option<Text>,
    action: Option<Text>,
    simulated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Text {
        is_key: bool,
        escape: Escape,
    },
    /// A number, `true`, `false` or `null`.
    Word,
    /// What follows a mistake, until a line that begins with `{` or `[`.
    Debris,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// So many digits of `\uXXXX` are still to come.
    Digits(u8),
}

/// What the scanner found.
pub(super) struct Found<'a> {
    pub(super) line: u64,
    pub(super) text: &'a [u8],
    pub(super) record: Record,
}

/// Reads JSON in pieces of any size.
pub(super) struct Json {
    levels: Vec<Level>,
    expect: Expect,
    within: Within,
    text: Text,
    /// The line that is read, from 1, and its beginning.
    line: u64,
    beginning: Vec<u8>,
    /// The last line before it that was not blank: its number, whether it was skipped, and its beginning.
    before: (u64, bool, Vec<u8>),
    line_bytes: usize,
    /// Whether the line gave an entry or a complaint.
    line_counts: bool,
    /// Lines that gave neither.
    pub(super) skipped: u64,
    /// Lines that have begun.
    pub(super) lines: u64,
}

impl Json {
    pub(super) fn new() -> Self {
        Self {
            levels: Vec::new(),
            expect: Expect::Value,
            within: Within::Nothing,
            text: Text::EMPTY,
            line: 1,
            beginning: Vec::new(),
            before: (0, false, Vec::new()),
            line_bytes: 0,
            line_counts: false,
            skipped: 0,
            lines: 0,
        }
    }

    /// Reads a piece.
    pub(super) fn feed(&mut self, piece: &[u8], found: &mut dyn FnMut(Found<'_>)) {
        for byte in piece {
            if self.line_bytes == 0 {
                self.lines += 1;
                self.begin_line(*byte, found);
            }
            if *byte == b'\n' {
                self.byte(b'\n', found);
                self.end_line(found);
                continue;
            }
            self.line_bytes += 1;
            if self.beginning.len() <= TEXT_BYTES_MAX {
                self.beginning.push(*byte);
            }
            self.byte(*byte, found);
        }
    }

    /// There is no more.
    pub(super) fn finish(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        if self.within == Within::Word {
            self.word(found);
        }
        let is_open = !self.levels.is_empty() || matches!(self.within, Within::Text { .. });
        if is_open && self.within != Within::Debris {
            self.unfinished(found);
        }
        if self.line_bytes > 0 {
            self.end_line(found);
        }
    }

    /// A record that a line leaves open is given up when the next line begins another.
    fn begin_line(&mut self, byte: u8, found: &mut dyn FnMut(Found<'_>)) {
        if !matches!(byte, b'{' | b'[') {
            return;
        }
        let is_text = matches!(self.within, Within::Text { .. });
        let fits = matches!(self.expect, Expect::Value | Expect::ValueOrEnd) && !is_text;
        if self.within == Within::Debris {
            self.reset();
        } else if !fits {
            self.unfinished(found);
            self.reset();
        }
    }

    fn end_line(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        if self.within == Within::Debris && !self.line_counts && !self.beginning.trim_ascii().is_empty() {
            self.complain(found);
        }
        self.skipped += u64::from(!self.line_counts);
        if !self.beginning.trim_ascii().is_empty() {
            (self.before.0, self.before.1) = (self.line, !self.line_counts);
            std::mem::swap(&mut self.before.2, &mut self.beginning);
        }
        self.beginning.clear();
        (self.line_bytes, self.line_counts) = (0, false);
        self.line += 1;
    }

    fn reset(&mut self) {
        self.levels.clear();
        (self.expect, self.within) = (Expect::Value, Within::Nothing);
    }

    /// Complains of the line that is read.
    fn complain(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        self.line_counts = true;
        found(Found { line: self.line, text: &self.beginning, record: Record::Bad(Reason::BadJson) });
    }

    /// Complains of the line where a record was left open.
    fn unfinished(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        if self.beginning.trim_ascii().is_empty() || self.line_bytes == 0 {
            let (line, was_skipped, text) = (self.before.0, self.before.1, &self.before.2);
            self.skipped -= u64::from(was_skipped);
            found(Found { line, text, record: Record::Bad(Reason::BadJson) });
        } else {
            self.complain(found);
        }
    }

    fn mistake(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        self.within = Within::Debris;
        if !self.line_counts {
            // At the end of the line, so that its text is whole.
            return;
        }
        self.complain(found);
    }

    fn byte(&mut self, byte: u8, found: &mut dyn FnMut(Found<'_>)) {
        match self.within {
            Within::Debris => {}
            Within::Text { is_key, escape } => self.text_byte(byte, is_key, escape, found),
            Within::Word if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.') => self.text.push(byte),
            Within::Word => {
                self.word(found);
                if self.within == Within::Nothing {
                    self.structure(byte, found);
                }
            }
            Within::Nothing => self.structure(byte, found),
        }
    }

    fn structure(&mut self, byte: u8, found: &mut dyn FnMut(Found<'_>)) {
        let wants_value = matches!(self.expect, Expect::Value | Expect::ValueOrEnd);
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' | b'[' if wants_value && self.levels.len() < DEPTH_MAX => self.open(byte == b'{'),
            b'}' if matches!(self.expect, Expect::KeyOrEnd | Expect::CommaOrEnd) && self.is_in(true) => {
                self.close(found)
            }
            b']' if matches!(self.expect, Expect::ValueOrEnd | Expect::CommaOrEnd) && self.is_in(false) => {
                self.close(found);
            }
            b',' if self.expect == Expect::CommaOrEnd => {
                self.expect = if self.is_in(true) { Expect::Key } else { Expect::Value };
            }
            b':' if self.expect == Expect::Colon => self.expect = Expect::Value,
            b'"' if matches!(self.expect, Expect::Key | Expect::KeyOrEnd) => self.begin_text(true),
            b'"' if wants_value => self.begin_text(false),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' if wants_value => {
                self.text = Text::EMPTY;
                self.text.push(byte);
                self.within = Within::Word;
            }
            _ => self.mistake(found),
        }
    }

    fn is_in(&self, object: bool) -> bool {
        self.levels.last().is_some_and(|level| level.is_object == object)
    }

    fn begin_text(&mut self, is_key: bool) {
        self.text = Text::EMPTY;
        self.within = Within::Text { is_key, escape: Escape::None };
    }

    fn open(&mut self, is_object: bool) {
        let holds_entries = match self.levels.last() {
            None => true,
            // A list hands on to its objects what it is; an object asks for the key.
            Some(list) if !list.is_object => list.holds_entries && is_object,
            Some(object) => {
                !is_object && CONTAINERS.iter().any(|name| *name == object.key.get()) && self.is_near_the_top()
            }
        };
        let level = Level {
            is_object,
            holds_entries,
            key: Text::EMPTY,
            address: None,
            scope: None,
            action: None,
            simulated: false,
        };
        self.levels.push(level);
        self.expect = if is_object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
    }

    /// Whether each object around is an entry, or the document itself.
    fn is_near_the_top(&self) -> bool {
        self.levels.iter().all(|level| level.holds_entries)
    }

    fn close(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        if let Some(level) = self.levels.pop()
            && level.holds_entries
            && let Some((text, _, line)) = level.address
        {
            let bytes = |text: &Option<Text>| text.map(|text| text.get().to_vec());
            let (scope, action) = (bytes(&level.scope), bytes(&level.action));
            let simulated = level.simulated.then_some(b"true".as_slice());
            let record = match text.is_cut {
                true => Record::Bad(Reason::NotAnAddress),
                false => record::decision(text.get(), scope.as_deref(), action.as_deref(), simulated)
                    .unwrap_or_else(Record::Bad),
            };
            self.line_counts = true;
            found(Found { line, text: text.get(), record });
        }
        self.after_value();
    }

    fn after_value(&mut self) {
        self.expect = if self.levels.is_empty() { Expect::Value } else { Expect::CommaOrEnd };
    }

    fn text_byte(&mut self, byte: u8, is_key: bool, escape: Escape, found: &mut dyn FnMut(Found<'_>)) {
        let next = match (escape, byte) {
            (_, b'\n') => return self.mistake(found),
            (Escape::None, b'"') => return self.end_text(is_key, found),
            (Escape::None, b'\\') => Escape::Begun,
            (Escape::None, _) => {
                self.text.push(byte);
                Escape::None
            }
            (Escape::Begun, b'u') => Escape::Digits(4),
            (Escape::Begun, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                // `\/` is the one that addresses are written with.
                self.text.push(if byte == b'/' { b'/' } else { b'?' });
                Escape::None
            }
            (Escape::Digits(left), _) if byte.is_ascii_hexdigit() => {
                if left == 1 {
                    self.text.push(b'?');
                    Escape::None
                } else {
                    Escape::Digits(left - 1)
                }
            }
            _ => return self.mistake(found),
        };
        self.within = Within::Text { is_key, escape: next };
    }

    fn end_text(&mut self, is_key: bool, found: &mut dyn FnMut(Found<'_>)) {
        self.within = Within::Nothing;
        let (text, line) = (self.text, self.line);
        if is_key {
            if let Some(level) = self.levels.last_mut() {
                level.key = text;
            }
            self.expect = Expect::Colon;
            return;
        }
        match self.levels.last_mut() {
            Some(level) if level.is_object => level.note(text, line),
            Some(list) if list.holds_entries => {
                let record = match text.is_cut {
                    true => Record::Bad(Reason::NotAnAddress),
                    false => record::decision(text.get(), None, None, None).unwrap_or_else(Record::Bad),
                };
                self.line_counts = true;
                found(Found { line, text: text.get(), record });
            }
            _ => {}
        }
        self.after_value();
    }

    fn word(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        self.within = Within::Nothing;
        let word = self.text;
        let is_number = word.get().first().is_some_and(|byte| matches!(byte, b'-' | b'0'..=b'9'));
        if !is_number && !matches!(word.get(), b"true" | b"false" | b"null") {
            return self.mistake(found);
        }
        if let Some(level) = self.levels.last_mut()
            && level.key.get() == b"simulated"
            && word.get() == b"true"
        {
            level.simulated = true;
        }
        self.after_value();
    }
}

impl Level {
    /// Keeps what the object says of its entry.
    fn note(&mut self, text: Text, line: u64) {
        let key = self.key;
        if let Some(rank) = ADDRESS_KEYS.iter().position(|name| *name == key.get()) {
            if self.address.as_ref().is_none_or(|(_, known, _)| rank < *known) {
                self.address = Some((text, rank, line));
            }
        } else {
            match key.get() {
                b"scope" => self.scope = Some(text),
                b"type" | b"action" => self.action = Some(text),
                _ => {}
            }
        }
    }
}
