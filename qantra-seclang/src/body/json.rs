//! Enters: a JSON document. Leaves: its leaves as arguments, named by their path (`json.a.b`, `json.list.array_0`). It must
//! never recurse: depth is a number with a limit, so that nesting costs no stack.

use std::io::Write as _;

use super::{BodyError, form::add_argument};
use crate::{store::Store, variable::Variable};

const GROUPS: (Variable, Variable) = (Variable::ArgsPost, Variable::ArgsPostNames);
const MALFORMED: BodyError = BodyError("JSON parsing error: the document is malformed");

/// An open object or array.
#[derive(Debug)]
struct Level {
    array: bool,
    count: u32,
    /// How long the path is without what this level adds.
    path: usize,
}

/// Memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    path: Vec<u8>,
    levels: Vec<Level>,
    spare: Vec<u8>,
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    path: Vec<u8>,
    levels: Vec<Level>,
    spare: Vec<u8>,
}

/// Reads a document of at most `depth` levels and `limit` leaves.
pub(crate) fn parse(text: &[u8], depth: usize, limit: usize, store: &mut Store) -> Result<(), BodyError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let Memory { mut path, mut levels, spare } = std::mem::take(&mut store.json);
    path.clear();
    path.extend_from_slice(b"json");
    levels.clear();
    let mut parser = Parser { text, at: 0, path, levels, spare };
    let done = parser.document(depth, limit, store);
    let Parser { path, levels, spare, .. } = parser;
    store.json = Memory { path, levels, spare };
    done
}

impl Parser<'_> {
    fn document(&mut self, depth: usize, limit: usize, store: &mut Store) -> Result<(), BodyError> {
        self.value(depth, limit, store)?;
        while !self.levels.is_empty() {
            self.member(depth, limit, store)?;
        }
        if self.peek().is_some() { Err(MALFORMED) } else { Ok(()) }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Result<(), BodyError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(MALFORMED)
        }
    }

    /// The next member of the innermost object or array, or its end.
    fn member(&mut self, depth: usize, limit: usize, store: &mut Store) -> Result<(), BodyError> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let (array, count, path) = (level.array, level.count, level.path);
        level.count += 1;
        self.path.truncate(path);
        let close = if array { b']' } else { b'}' };
        if self.peek() == Some(close) {
            self.at += 1;
            self.levels.pop();
            return Ok(());
        }
        if count > 0 {
            self.take(b',')?;
        }
        if array {
            self.path.extend_from_slice(b".array_");
            let _ = write!(self.path, "{count}");
        } else {
            self.take(b'"')?;
            self.string()?;
            self.path.push(b'.');
            self.path.extend_from_slice(&self.spare);
            self.take(b':')?;
        }
        self.value(depth, limit, store)
    }

    fn value(&mut self, depth: usize, limit: usize, store: &mut Store) -> Result<(), BodyError> {
        match self.peek().ok_or(MALFORMED)? {
            open @ (b'{' | b'[') => {
                if self.levels.len() >= depth {
                    return Err(BodyError("JSON parsing error: nested deeper than SecRequestBodyJsonDepthLimit"));
                }
                self.at += 1;
                self.levels.push(Level { array: open == b'[', count: 0, path: self.path.len() });
                return Ok(());
            }
            b'"' => {
                self.at += 1;
                if let Err(error) = self.string() {
                    // What was read before a mistake is looked at as well, as far as there is room.
                    if self.at == self.text.len() && store.items(GROUPS.0).len() < limit {
                        self.keep(store);
                    }
                    return Err(error);
                }
            }
            b't' => self.word(b"true", b"true")?,
            b'f' => self.word(b"false", b"false")?,
            b'n' => self.word(b"null", b"")?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return Err(MALFORMED),
        }
        if store.items(GROUPS.0).len() >= limit {
            return Err(BodyError("more arguments than SecArgumentsLimit allows"));
        }
        self.keep(store);
        Ok(())
    }

    fn keep(&self, store: &mut Store) {
        let key = store.keep_value(&self.path);
        let value = store.keep_value(&self.spare);
        add_argument(store, GROUPS, key, value);
    }

    fn word(&mut self, word: &[u8], value: &[u8]) -> Result<(), BodyError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(MALFORMED);
        }
        self.at += word.len();
        self.spare.clear();
        self.spare.extend_from_slice(value);
        Ok(())
    }

    fn number(&mut self) -> Result<(), BodyError> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|b| b.is_ascii_digit() || b"+-.eE".contains(b)).count();
        let number = &rest[..length];
        if !number.last().is_some_and(u8::is_ascii_digit) {
            return Err(MALFORMED);
        }
        self.spare.clear();
        self.spare.extend_from_slice(number);
        self.at += length;
        Ok(())
    }

    /// Reads a string behind its opening quote into the spare buffer.
    fn string(&mut self) -> Result<(), BodyError> {
        self.spare.clear();
        loop {
            let rest = &self.text[self.at..];
            let Some(plain) = memchr::memchr2(b'"', b'\\', rest) else {
                self.spare.extend_from_slice(rest);
                self.at = self.text.len();
                return Err(MALFORMED);
            };
            if rest[..plain].iter().any(|b| *b < 0x20) {
                return Err(MALFORMED);
            }
            self.spare.extend_from_slice(&rest[..plain]);
            self.at += plain + 1;
            if rest[plain] == b'"' {
                return Ok(());
            }
            self.escape()?;
        }
    }

    fn escape(&mut self) -> Result<(), BodyError> {
        let letter = *self.text.get(self.at).ok_or(MALFORMED)?;
        self.at += 1;
        let byte = match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode(),
            _ => return Err(MALFORMED),
        };
        self.spare.push(byte);
        Ok(())
    }

    fn unicode(&mut self) -> Result<(), BodyError> {
        let mut code = self.four_digits()?;
        if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.four_digits()?;
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            } else {
                self.at = back;
            }
        }
        let mut buffer = [0; 4];
        let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.spare.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
        Ok(())
    }

    fn four_digits(&mut self) -> Result<u32, BodyError> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(MALFORMED)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or(MALFORMED)?;
            Ok(code << 4 | digit)
        })
    }
}
