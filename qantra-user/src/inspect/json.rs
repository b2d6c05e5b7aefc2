//! Enters: a piece of the arena that may be JSON. Leaves: its strings as fields named by their path. A scanner with a
//! bounded stack of its own: it must never recurse, and what is not JSON leaves no trace.

use std::ops::Range;

use super::{
    decode,
    field::{Encoding, FieldKind, Fields},
    simple_name,
};

/// Deepest nesting of objects and arrays that is taken apart; what is deeper is looked at as text.
const NESTING_MAX: usize = 32;

/// Takes the JSON document at `value` apart. Gives `false`, and leaves nothing, when it is none.
pub(super) fn push_staged(fields: &mut Fields, name: Range<u32>, value: Range<usize>, depth: u8) -> bool {
    let mark = fields.mark();
    let mut stack = std::mem::take(&mut fields.json_stack);
    stack.clear();
    let whole = Scanner { fields, stack: &mut stack, name, end: value.end, depth }.run(value.start);
    fields.json_stack = stack;
    if !whole {
        fields.rewind(mark);
    }
    whole
}

struct Scanner<'a> {
    fields: &'a mut Fields,
    /// Open brackets, each with the name (as an index into `names` by its end) that its values get.
    stack: &'a mut Vec<(u8, u32)>,
    name: Range<u32>,
    end: usize,
    depth: u8,
}

impl Scanner<'_> {
    /// Walks over the tokens. A cut-off end is fine: the body may be longer than what was handed over.
    fn run(&mut self, start: usize) -> bool {
        let mut at = start;
        let mut current = self.name.clone();
        let mut tokens = 0_usize;
        while at < self.end {
            match self.fields.byte(at) {
                b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' => at += 1,
                bracket @ (b'{' | b'[') => {
                    if self.stack.len() < NESTING_MAX {
                        self.stack.push((bracket, current.start << 8 | (current.end - current.start).min(255)));
                    } else {
                        self.fields.truncated_mut().depth = true;
                        return false;
                    }
                    tokens += 1;
                    at += 1;
                }
                b'}' | b']' => {
                    if self.stack.pop().is_none() {
                        return false;
                    }
                    at += 1;
                }
                b'"' => {
                    let close = self.string_end(at + 1);
                    let parent = self.parent();
                    let after = self.after(close + 1);
                    if after == Some(b':') && self.in_object() {
                        if !self.fields.has_room() {
                            return false;
                        }
                        current = self.key(at + 1..close, parent);
                    } else {
                        let name = if self.in_object() { current.clone() } else { parent };
                        self.string(at + 1..close, name);
                    }
                    tokens += 1;
                    at = close + 1;
                }
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' if !self.stack.is_empty() => {
                    let Some(end) = self.literal_end(at) else { return false };
                    at = end;
                }
                _ => return false,
            }
        }
        tokens > 1
    }

    fn in_object(&self) -> bool {
        matches!(self.stack.last(), Some((b'{', _)))
    }

    fn parent(&self) -> Range<u32> {
        self.stack.last().map_or_else(|| self.name.clone(), |(_, name)| name >> 8..(name >> 8) + (name & 255))
    }

    /// Where the string that begins at `at` ends: its closing quote, or the end of what is there.
    fn string_end(&self, mut at: usize) -> usize {
        while at < self.end {
            match self.fields.byte(at) {
                b'"' => return at,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.end
    }

    /// The next byte that is no blank.
    fn after(&self, mut at: usize) -> Option<u8> {
        // Pretty-printers put a blank or a line feed there, not a page of them.
        let limit = self.end.min(at + 16);
        while at < limit {
            let byte = self.fields.byte(at);
            if !byte.is_ascii_whitespace() {
                return Some(byte);
            }
            at += 1;
        }
        None
    }

    /// Numbers, `true`, `false` and `null`; anything else is no JSON.
    fn literal_end(&self, start: usize) -> Option<usize> {
        let mut end = start;
        while end < self.end && matches!(self.fields.byte(end), b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.') {
            end += 1;
        }
        let is_number = matches!(self.fields.byte(start), b'-' | b'0'..=b'9');
        let mut word = [0_u8; 5];
        let length = end - start;
        if is_number {
            return (length <= 40).then_some(end);
        }
        if length > 5 {
            return None;
        }
        for (index, byte) in word.iter_mut().enumerate().take(length) {
            *byte = self.fields.byte(start + index);
        }
        let word = &word[..length];
        let known: [&[u8]; 3] = [b"true", b"false", b"null"];
        (known.contains(&word) || end == self.end).then_some(end)
    }

    fn key(&mut self, range: Range<usize>, parent: Range<u32>) -> Range<u32> {
        let start = self.fields.stage_within(range);
        self.fields.decode_last(start, decode::json_string);
        let name = self.fields.name_below_staged(parent, start);
        if simple_name(self.fields.staged(start)) {
            self.fields.unstage(start);
        } else {
            self.fields.push_staged(FieldKind::Name, name.clone(), start, Encoding::Plain, super::field::DEPTH_MAX);
        }
        name
    }

    fn string(&mut self, range: Range<usize>, name: Range<u32>) {
        let range = range.start.min(range.end)..range.end;
        let start = self.fields.stage_within(range);
        self.fields.decode_last(start, decode::json_string);
        // An application may decode what a JSON string holds once more, so percent-encoding is undone as well.
        self.fields.push_staged(FieldKind::Value, name, start, Encoding::Percent, self.depth);
    }
}
