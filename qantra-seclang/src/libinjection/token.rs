//! Enters: a value. Leaves: its tokens, one after the other, as libinjection reads SQL. It must never look back further
//! than the token it reads, so that a value costs time in proportion to its length.

use libinjectionrs::sqli::sqli_data::{CHAR_MAP, CharType};

use super::{
    Reading,
    words::{WORD_MAX, Words},
};

/// Kinds of tokens, by the letters of fingerprints.
pub(super) mod kind {
    pub(in super::super) const NONE: u8 = 0;
    pub(in super::super) const KEYWORD: u8 = b'k';
    pub(in super::super) const UNION: u8 = b'U';
    pub(in super::super) const GROUP: u8 = b'B';
    pub(in super::super) const EXPRESSION: u8 = b'E';
    pub(in super::super) const SQL_TYPE: u8 = b't';
    pub(in super::super) const FUNCTION: u8 = b'f';
    pub(in super::super) const BAREWORD: u8 = b'n';
    pub(in super::super) const NUMBER: u8 = b'1';
    pub(in super::super) const VARIABLE: u8 = b'v';
    pub(in super::super) const STRING: u8 = b's';
    pub(in super::super) const OPERATOR: u8 = b'o';
    pub(in super::super) const LOGIC: u8 = b'&';
    pub(in super::super) const COMMENT: u8 = b'c';
    pub(in super::super) const COLLATE: u8 = b'A';
    pub(in super::super) const LEFT: u8 = b'(';
    pub(in super::super) const RIGHT: u8 = b')';
    pub(in super::super) const LEFT_BRACE: u8 = b'{';
    pub(in super::super) const RIGHT_BRACE: u8 = b'}';
    pub(in super::super) const DOT: u8 = b'.';
    pub(in super::super) const COMMA: u8 = b',';
    pub(in super::super) const COLON: u8 = b':';
    pub(in super::super) const SEMICOLON: u8 = b';';
    pub(in super::super) const TSQL: u8 = b'T';
    pub(in super::super) const UNKNOWN: u8 = b'?';
    pub(in super::super) const EVIL: u8 = b'X';
    pub(in super::super) const BACKSLASH: u8 = b'\\';
}

/// One token: its kind, its text, shortened, and the quotes around it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Token<'a> {
    pub(super) kind: u8,
    pub(super) open: u8,
    pub(super) close: u8,
    pub(super) text: &'a [u8],
}

impl<'a> Token<'a> {
    fn new(kind: u8, text: &'a [u8]) -> Self {
        Self { kind, open: 0, close: 0, text: &text[..text.len().min(WORD_MAX - 1)] }
    }

    fn quoted(text: &'a [u8], open: u8, close: u8) -> Self {
        Self { open, close, ..Self::new(kind::STRING, text) }
    }

    pub(super) fn starts_with(&self, byte: u8) -> bool {
        self.text.first() == Some(&byte)
    }

    pub(super) fn is(&self, word: &[u8]) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    pub(super) fn is_unary(&self) -> bool {
        self.kind == kind::OPERATOR && (matches!(self.text, [b'+' | b'-' | b'!' | b'~'] | b"!!") || self.is(b"NOT"))
    }

    pub(super) fn is_arithmetic(&self) -> bool {
        self.kind == kind::OPERATOR && matches!(self.text, [b'*' | b'/' | b'-' | b'+' | b'%'])
    }
}

static KINDS: [CharType; 256] = CHAR_MAP;
/// Bytes that end a word, and those that end a variable's name.
static ENDS_WORD: [bool; 256] = flags(b" []{}<>:\\?=@!#~+-*/&|^%(),';\t\n\x0b\x0c\r\"\xa0\0");
static ENDS_VARIABLE: [bool; 256] = flags(b" <>:\\?=@!#~+-*/&|^%(),';\t\n\x0b\x0c\r`\"");

const fn flags(bytes: &[u8]) -> [bool; 256] {
    let mut flags = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        flags[bytes[at] as usize] = true;
        at += 1;
    }
    flags
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0xa0 | 0)
}

/// How many bytes of a text belong to a set.
fn run(text: &[u8], is_in: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| !is_in(*byte)).unwrap_or(text.len())
}

/// Reads the tokens of a value.
pub(super) struct Reader<'a> {
    input: &'a [u8],
    reading: Reading,
    words: &'static Words,
    at: usize,
    /// Comments that only MySQL, or all but MySQL, take for comments.
    pub(super) comments_differ: bool,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(input: &'a [u8], reading: Reading, words: &'static Words) -> Self {
        Self { input, reading, words, at: 0, comments_differ: false }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        if let Some(quote) = self.reading.quote.filter(|_| self.at == 0 && !self.input.is_empty()) {
            let (mut token, after) = self.string(0, quote);
            token.open = 0;
            self.at = after;
            return Some(token);
        }
        while let Some(byte) = self.input.get(self.at) {
            let (token, after) = self.read(self.at, *byte);
            self.at = after;
            if token.kind != kind::NONE {
                return Some(token);
            }
        }
        None
    }

    fn from(&self, at: usize) -> &'a [u8] {
        self.input.get(at..).unwrap_or_default()
    }

    fn part(&self, begin: usize, end: usize) -> &'a [u8] {
        self.input.get(begin..end).unwrap_or_default()
    }

    fn one(&self, kind: u8, at: usize) -> (Token<'a>, usize) {
        (Token::new(kind, self.part(at, at + 1)), at + 1)
    }

    fn read(&mut self, at: usize, byte: u8) -> (Token<'a>, usize) {
        match KINDS[usize::from(byte)] {
            CharType::White => (Token::default(), at + 1),
            CharType::Bang | CharType::Op2 => self.operator(at),
            CharType::Op1 | CharType::Unary => self.one(kind::OPERATOR, at),
            CharType::String => self.string(at + 1, byte),
            CharType::Hash => {
                self.comments_differ = true;
                if self.reading.mysql { self.line_comment(at) } else { self.one(kind::OPERATOR, at) }
            }
            CharType::Money => self.money(at),
            CharType::Dash => self.dash(at),
            CharType::Number => self.number(at),
            CharType::Slash => self.slash(at),
            CharType::Variable => self.variable(at),
            CharType::BString => self.digits_in_quotes(at, |byte| matches!(byte, b'0' | b'1')),
            CharType::XString => self.digits_in_quotes(at, |byte| byte.is_ascii_hexdigit()),
            CharType::EString => self.e_string(at),
            CharType::NQString => match self.part(at + 1, at + 3) {
                [b'\'', _] => self.e_string(at),
                _ => self.q_string(at, at + 1),
            },
            CharType::QString => self.q_string(at, at),
            CharType::UString => self.u_string(at),
            CharType::BWord => {
                let end = memchr::memchr(b']', self.from(at)).map_or(self.input.len(), |end| at + end + 1);
                (Token::new(kind::BAREWORD, self.part(at, end)), end)
            }
            CharType::Backslash => match self.from(at + 1) {
                // MySQL's NULL.
                [b'N', ..] => (Token::new(kind::NUMBER, self.part(at, at + 2)), at + 2),
                _ => self.one(kind::BACKSLASH, at),
            },
            CharType::Tick => self.tick(at),
            CharType::Other => self.one(kind::UNKNOWN, at),
            // A bracket, a comma or a semicolon is its own kind.
            CharType::LeftParens
            | CharType::RightParens
            | CharType::Comma
            | CharType::Semicolon
            | CharType::LeftBrace
            | CharType::RightBrace => self.one(byte, at),
            CharType::Word => self.word(at),
        }
    }

    fn operator(&self, at: usize) -> (Token<'a>, usize) {
        match self.from(at) {
            [b'<', b'=', b'>', ..] => (Token::new(kind::OPERATOR, self.part(at, at + 3)), at + 3),
            [first, second, ..] => match self.words.kind(&[*first, *second]) {
                kind::BAREWORD if *first == b':' => self.one(kind::COLON, at),
                kind::BAREWORD => self.one(kind::OPERATOR, at),
                found => {
                    let kind = if found == kind::LOGIC { kind::LOGIC } else { kind::OPERATOR };
                    (Token::new(kind, self.part(at, at + 2)), at + 2)
                }
            },
            _ => self.one(kind::OPERATOR, at),
        }
    }

    fn line_comment(&self, at: usize) -> (Token<'a>, usize) {
        match memchr::memchr(b'\n', self.from(at)) {
            Some(end) => (Token::new(kind::COMMENT, self.part(at, at + end)), at + end + 1),
            None => (Token::new(kind::COMMENT, self.from(at)), self.input.len()),
        }
    }

    fn dash(&mut self, at: usize) -> (Token<'a>, usize) {
        match self.from(at + 1) {
            [b'-'] => self.line_comment(at),
            [b'-', after, ..] if is_white(*after) => self.line_comment(at),
            [b'-', ..] => {
                self.comments_differ = true;
                // To MySQL these are two signs.
                if self.reading.mysql { self.one(kind::OPERATOR, at) } else { self.line_comment(at) }
            }
            _ => self.one(kind::OPERATOR, at),
        }
    }

    fn slash(&self, at: usize) -> (Token<'a>, usize) {
        if self.from(at + 1).first() != Some(&b'*') {
            return self.one(kind::OPERATOR, at);
        }
        let inside = self.from(at + 2);
        let close = memchr::memmem::find(inside, b"*/");
        let end = close.map_or(self.input.len(), |close| at + 2 + close + 2);
        // A comment in a comment, and MySQL's comments that are run, are never harmless. As in C, the search goes one byte
        // too far.
        let nested = close.is_some_and(|close| memchr::memmem::find(&inside[..close + 1], b"/*").is_some());
        let kind = if nested || inside.first() == Some(&b'!') { kind::EVIL } else { kind::COMMENT };
        (Token::new(kind, self.part(at, end)), end)
    }

    /// Reads a string from its first byte to the quote that ends it.
    fn string(&self, begin: usize, quote: u8) -> (Token<'a>, usize) {
        let mut from = begin;
        while let Some(found) = memchr::memchr(quote, self.from(from)) {
            let end = from + found;
            let backslashes = self.part(begin, end).iter().rev().take_while(|byte| **byte == b'\\').count();
            if backslashes % 2 == 1 {
                from = end + 1;
            } else if self.input.get(end + 1) == Some(&quote) {
                from = end + 2;
            } else {
                return (Token::quoted(self.part(begin, end), quote, quote), end + 1);
            }
        }
        (Token::quoted(self.from(begin), quote, 0), self.input.len())
    }

    fn e_string(&self, at: usize) -> (Token<'a>, usize) {
        match self.from(at + 1) {
            [b'\'', _, ..] => self.string(at + 2, b'\''),
            _ => self.word(at),
        }
    }

    /// `U&'…'`.
    fn u_string(&self, at: usize) -> (Token<'a>, usize) {
        if !self.from(at + 1).starts_with(b"&'") {
            return self.word(at);
        }
        let (mut token, after) = self.string(at + 3, b'\'');
        token.open = b'u';
        if token.close == b'\'' {
            token.close = b'u';
        }
        (token, after)
    }

    /// Oracle's `q'(…)'`; `word` is where a word begins if it is none.
    fn q_string(&self, word: usize, at: usize) -> (Token<'a>, usize) {
        let [b'q' | b'Q', b'\'', open @ 33..=127, ..] = self.from(at) else { return self.word(word) };
        let close = match open {
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            b'<' => b'>',
            other => *other,
        };
        let inside = self.from(at + 3);
        match memchr::memmem::find(inside, &[close, b'\'']) {
            Some(end) => (Token::quoted(&inside[..end], b'q', b'q'), at + 3 + end + 2),
            None => (Token::quoted(inside, b'q', 0), self.input.len()),
        }
    }

    /// `B'01'` and `X'1F'`.
    fn digits_in_quotes(&self, at: usize, is_digit: impl Fn(u8) -> bool) -> (Token<'a>, usize) {
        let [_, b'\'', inside @ ..] = self.from(at) else { return self.word(at) };
        let digits = run(inside, is_digit);
        if inside.get(digits) != Some(&b'\'') {
            return self.word(at);
        }
        let end = at + 2 + digits + 1;
        (Token::new(kind::NUMBER, self.part(at, end)), end)
    }

    fn word(&self, at: usize) -> (Token<'a>, usize) {
        let length = run(self.from(at), |byte| !ENDS_WORD[usize::from(byte)]);
        let word = self.part(at, at + length);
        // `SELECT.1`: what stands before a point may be a word of its own.
        for (end, _) in word.iter().enumerate().take(WORD_MAX).filter(|(_, byte)| matches!(byte, b'.' | b'`')) {
            let kind = self.words.kind(&word[..end]);
            if kind != kind::BAREWORD {
                return (Token::new(kind, &word[..end]), at + end);
            }
        }
        (Token::new(self.words.kind(word), word), at + length)
    }

    fn tick(&self, at: usize) -> (Token<'a>, usize) {
        let (token, after) = self.string(at + 1, b'`');
        let is_function = self.words.kind(token.text) == kind::FUNCTION;
        (Token { kind: if is_function { kind::FUNCTION } else { kind::BAREWORD }, ..token }, after)
    }

    fn variable(&self, at: usize) -> (Token<'a>, usize) {
        let name = if self.from(at + 1).first() == Some(&b'@') { at + 2 } else { at + 1 };
        let quoted = match self.from(name) {
            [b'`', ..] => Some(self.tick(name)),
            [quote @ (b'\'' | b'"'), ..] => Some(self.string(name + 1, *quote)),
            _ => None,
        };
        if let Some((token, after)) = quoted {
            return (Token { kind: kind::VARIABLE, ..token }, after);
        }
        let end = name + run(self.from(name), |byte| !ENDS_VARIABLE[usize::from(byte)]);
        (Token::new(kind::VARIABLE, self.part(at, end)), end)
    }

    /// `$1,000.00`, and PostgreSQL's strings between `$$` or `$tag$`.
    fn money(&self, at: usize) -> (Token<'a>, usize) {
        let rest = self.from(at + 1);
        let digits = run(rest, |byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','));
        if digits == 1 && rest.starts_with(b".") {
            return self.word(at);
        }
        if digits > 0 {
            return (Token::new(kind::NUMBER, self.part(at, at + 1 + digits)), at + 1 + digits);
        }
        let letters = run(rest, |byte| byte.is_ascii_alphabetic());
        if rest.get(letters) != Some(&b'$') {
            return self.one(kind::BAREWORD, at);
        }
        let tag = self.part(at, at + letters + 2);
        let begin = at + tag.len();
        match memchr::memmem::find(self.from(begin), tag) {
            Some(end) => (Token::quoted(self.part(begin, begin + end), b'$', b'$'), begin + end + tag.len()),
            None => (Token::quoted(self.from(begin), b'$', 0), self.input.len()),
        }
    }

    fn number(&self, at: usize) -> (Token<'a>, usize) {
        let prefixed = |is_digit: fn(u8) -> bool| {
            let end = at + 2 + run(self.from(at + 2), is_digit);
            let kind = if end == at + 2 { kind::BAREWORD } else { kind::NUMBER };
            (Token::new(kind, self.part(at, end)), end)
        };
        match self.from(at) {
            [b'0', b'x' | b'X', ..] => return prefixed(|byte| byte.is_ascii_hexdigit()),
            [b'0', b'b' | b'B', ..] => return prefixed(|byte| matches!(byte, b'0' | b'1')),
            _ => {}
        }
        let digits = |from: usize| from + run(self.from(from), |byte| byte.is_ascii_digit());
        let mut end = digits(at);
        if self.from(end).first() == Some(&b'.') {
            end = digits(end + 1);
            if end == at + 1 {
                return self.one(kind::DOT, at);
            }
        }
        let mut kind = kind::NUMBER;
        if let [b'e' | b'E', rest @ ..] = self.from(end) {
            let sign = usize::from(matches!(rest, [b'+' | b'-', ..]));
            let power = end + 1 + sign;
            end = digits(power);
            if end == power {
                kind = kind::BAREWORD;
            }
        }
        // Oracle's suffixes; `1fUNION` is a number and a word.
        if let [b'd' | b'D' | b'f' | b'F', rest @ ..] = self.from(end)
            && rest.first().is_none_or(|byte| is_white(*byte) || matches!(byte, b';' | b'u' | b'U'))
        {
            end += 1;
        }
        (Token::new(kind, self.part(at, end)), end)
    }
}
