//! Enters: tokens. Leaves: the at most five that are left when what SQL would join is joined. The rules and their order are
//! libinjection's: the first that applies is applied, and the search begins again.

use super::{
    Reading,
    token::{Reader, Token, kind},
    words::{WORD_MAX, Words},
};

/// Tokens of a fingerprint.
pub(super) const TOKENS_MAX: usize = 5;

/// Names that are functions before a bracket and columns elsewhere.
const FUNCTION_NAMES: [&[u8]; 11] = [
    b"USER_ID",
    b"USER_NAME",
    b"DATABASE",
    b"PASSWORD",
    b"USER",
    b"CURRENT_USER",
    b"CURRENT_DATE",
    b"CURRENT_TIME",
    b"CURRENT_TIMESTAMP",
    b"LOCALTIME",
    b"LOCALTIMESTAMP",
];

/// What is left of a value.
#[derive(Debug)]
pub(super) struct Folded<'a> {
    tokens: [Token<'a>; TOKENS_MAX + 3],
    len: usize,
    /// How many tokens were read.
    pub(super) read: usize,
    /// It may read otherwise in MySQL.
    pub(super) comments_differ: bool,
}

impl<'a> Folded<'a> {
    pub(super) fn tokens(&self) -> &[Token<'a>] {
        &self.tokens[..self.len]
    }
}

/// What a rule did.
enum Step {
    /// It changed something: begin again.
    Again,
    /// It did not: look at one token more.
    Next,
    /// No harmless value has this.
    Evil,
}

struct Folder<'a> {
    reader: Reader<'a>,
    words: &'static Words,
    tokens: [Token<'a>; TOKENS_MAX + 3],
    /// Where the next token goes.
    pos: usize,
    /// How many tokens are done with.
    left: usize,
    comment: Token<'a>,
    more: bool,
    read: usize,
}

/// Folds a value.
pub(super) fn fold<'a>(input: &'a [u8], reading: Reading, words: &'static Words) -> Folded<'a> {
    let mut folder = Folder {
        reader: Reader::new(input, reading, words),
        words,
        tokens: [Token::default(); TOKENS_MAX + 3],
        pos: 0,
        left: 0,
        comment: Token::default(),
        more: true,
        read: 0,
    };
    if !folder.first() {
        folder.left = 0;
        return folder.done();
    }
    while folder.step() {}
    folder.left = folder.left.min(TOKENS_MAX);
    // PHP's magic: an empty name in a backtick that nothing closes ends a query as a comment does.
    if let Some(last) = folder.left.checked_sub(1).filter(|last| *last > 1) {
        let last = &mut folder.tokens[last];
        if last.kind == kind::BAREWORD && last.open == b'`' && last.text.is_empty() && last.close == 0 {
            last.kind = kind::COMMENT;
        }
    }
    if folder.left < TOKENS_MAX && folder.comment.kind == kind::COMMENT {
        folder.tokens[folder.left] = folder.comment;
        folder.left += 1;
    }
    folder.done()
}

impl<'a> Folder<'a> {
    fn done(self) -> Folded<'a> {
        Folded { tokens: self.tokens, len: self.left, read: self.read, comments_differ: self.reader.comments_differ }
    }

    /// Skips comments, brackets and signs that a value begins with; whether anything is left.
    fn first(&mut self) -> bool {
        while let Some(token) = self.reader.next() {
            self.read += 1;
            if !(matches!(token.kind, kind::COMMENT | kind::LEFT | kind::SQL_TYPE) || token.is_unary()) {
                self.tokens[0] = token;
                self.pos = 1;
                return true;
            }
        }
        false
    }

    /// Reads until some tokens are not done with; whether there are as many.
    fn fetch(&mut self, wanted: usize) -> bool {
        while self.more && self.pos <= TOKENS_MAX && self.pos - self.left < wanted {
            let Some(token) = self.reader.next() else {
                self.more = false;
                break;
            };
            self.read += 1;
            if token.kind == kind::COMMENT {
                self.comment = token;
            } else {
                self.comment.kind = kind::NONE;
                self.tokens[self.pos] = token;
                self.pos += 1;
            }
        }
        self.pos - self.left >= wanted
    }

    /// One round; `false` ends it.
    fn step(&mut self) -> bool {
        if self.pos >= TOKENS_MAX {
            self.fold_five();
        }
        if !self.more || self.left >= TOKENS_MAX {
            self.left = self.pos;
            return false;
        }
        if !self.fetch(2) {
            self.left = self.pos;
            return true;
        }
        match self.fold_two() {
            Step::Again => return true,
            Step::Evil => {
                self.left = (self.left + 2).min(TOKENS_MAX);
                self.tokens[self.left - 1].kind = kind::EVIL;
                return false;
            }
            Step::Next => {}
        }
        if !self.fetch(3) {
            self.left = self.pos;
            return true;
        }
        if matches!(self.fold_three(), Step::Next) {
            self.left += 1;
        }
        true
    }

    /// `1,(1)` and the like are one value in a list.
    fn fold_five(&mut self) {
        let kinds = [0, 1, 2, 3, 4].map(|at: usize| self.tokens[at].kind);
        let folds = matches!(
            kinds,
            [kind::NUMBER, kind::OPERATOR | kind::COMMA, kind::LEFT, kind::NUMBER, kind::RIGHT]
                | [kind::BAREWORD, kind::OPERATOR, kind::LEFT, kind::BAREWORD | kind::NUMBER, kind::RIGHT]
                | [kind::NUMBER, kind::RIGHT, kind::COMMA, kind::LEFT, kind::NUMBER]
                | [kind::BAREWORD, kind::RIGHT, kind::OPERATOR, kind::LEFT, kind::BAREWORD]
        );
        if !folds {
            return;
        }
        self.left = 0;
        if self.pos > TOKENS_MAX {
            self.tokens[1] = self.tokens[TOKENS_MAX];
            self.pos = 2;
        } else {
            self.pos = 1;
        }
    }

    /// Forgets the last tokens and begins at the first again.
    fn drop_last(&mut self, count: usize) -> Step {
        self.pos -= count;
        self.left = 0;
        Step::Again
    }

    /// Forgets the last token and goes back by one.
    fn drop_and_go_back(&mut self) -> Step {
        self.pos -= 1;
        self.left = self.left.saturating_sub(1);
        Step::Again
    }

    fn fold_two(&mut self) -> Step {
        let (a, b) = (self.tokens[self.left], self.tokens[self.left + 1]);
        match (a.kind, b.kind) {
            (kind::STRING, kind::STRING) | (kind::SEMICOLON, kind::SEMICOLON) => {
                self.pos -= 1;
                Step::Again
            }
            (kind::OPERATOR | kind::LOGIC, _) if b.is_unary() || b.kind == kind::SQL_TYPE => self.drop_last(1),
            (kind::LEFT, _) if b.is_unary() => self.drop_and_go_back(),
            _ if self.merged(&a, &b) => self.drop_and_go_back(),
            // Transact-SQL's IF is no function.
            (kind::SEMICOLON, kind::FUNCTION) if matches!(b.text, [b'I' | b'i', b'F' | b'f', ..]) => {
                self.tokens[self.left + 1].kind = kind::TSQL;
                Step::Again
            }
            (kind::BAREWORD | kind::VARIABLE, kind::LEFT) if FUNCTION_NAMES.iter().any(|name| a.is(name)) => {
                self.tokens[self.left].kind = kind::FUNCTION;
                Step::Again
            }
            (kind::KEYWORD, _) if a.is(b"IN") || a.is(b"NOT IN") => {
                let operates = b.kind == kind::LEFT;
                self.tokens[self.left].kind = if operates { kind::OPERATOR } else { kind::BAREWORD };
                Step::Again
            }
            (kind::OPERATOR, _) if a.is(b"LIKE") || a.is(b"NOT LIKE") => {
                if b.kind == kind::LEFT {
                    self.tokens[self.left].kind = kind::FUNCTION;
                }
                Step::Next
            }
            _ => self.fold_two_more(&a, &b),
        }
    }

    fn fold_two_more(&mut self, a: &Token<'a>, b: &Token<'a>) -> Step {
        match (a.kind, b.kind) {
            (
                kind::SQL_TYPE,
                kind::BAREWORD
                | kind::NUMBER
                | kind::SQL_TYPE
                | kind::LEFT
                | kind::FUNCTION
                | kind::VARIABLE
                | kind::STRING,
            ) => {
                self.tokens[self.left] = *b;
                self.drop_last(1)
            }
            (kind::COLLATE, kind::BAREWORD) => {
                if b.text.contains(&b'_') {
                    self.tokens[self.left + 1].kind = kind::SQL_TYPE;
                    self.left = 0;
                }
                Step::Next
            }
            (kind::BACKSLASH, _) => {
                // Transact-SQL reads `\%1` as `0 % 1`, and `\1` as `1`.
                if b.is_arithmetic() {
                    self.tokens[self.left].kind = kind::NUMBER;
                    return self.drop_last(0);
                }
                self.tokens[self.left] = *b;
                self.drop_last(1)
            }
            (kind::LEFT, kind::LEFT) | (kind::RIGHT, kind::RIGHT) | (_, kind::RIGHT_BRACE) => self.drop_last(1),
            (kind::LEFT_BRACE, kind::BAREWORD) => {
                // ``{``.``.id}`` is MySQL's alone.
                if b.text.is_empty() {
                    self.tokens[self.left + 1].kind = kind::EVIL;
                    return Step::Evil;
                }
                self.drop_last(2)
            }
            _ => Step::Next,
        }
    }

    /// Joins two words that are one together, such as NOT IN.
    fn merged(&mut self, a: &Token<'a>, b: &Token<'a>) -> bool {
        let first = matches!(
            a.kind,
            kind::KEYWORD
                | kind::BAREWORD
                | kind::OPERATOR
                | kind::UNION
                | kind::FUNCTION
                | kind::EXPRESSION
                | kind::TSQL
                | kind::SQL_TYPE
        );
        let second = first
            && matches!(
                b.kind,
                kind::KEYWORD
                    | kind::BAREWORD
                    | kind::OPERATOR
                    | kind::UNION
                    | kind::FUNCTION
                    | kind::EXPRESSION
                    | kind::TSQL
                    | kind::SQL_TYPE
                    | kind::LOGIC
            );
        if !second || a.text.len() + b.text.len() + 1 >= WORD_MAX {
            return false;
        }
        let Some((kind, text)) = self.words.find(&[a.text, b" ", b.text]) else { return false };
        let place = &mut self.tokens[self.left];
        place.kind = kind;
        place.text = text;
        true
    }

    fn fold_three(&mut self) -> Step {
        let at = self.left;
        let (a, b, c) = (self.tokens[at], self.tokens[at + 1], self.tokens[at + 2]);
        match (a.kind, b.kind, c.kind) {
            (kind::NUMBER, kind::OPERATOR, kind::NUMBER) | (kind::LOGIC, _, kind::LOGIC) => self.drop_last(2),
            (kind::OPERATOR, between, kind::OPERATOR) if between != kind::LEFT => self.drop_last(2),
            (kind::VARIABLE, kind::OPERATOR, kind::VARIABLE | kind::NUMBER | kind::BAREWORD)
            | (kind::BAREWORD | kind::NUMBER, kind::OPERATOR, kind::NUMBER | kind::BAREWORD)
            | (
                kind::BAREWORD | kind::NUMBER | kind::STRING | kind::VARIABLE,
                kind::COMMA,
                kind::NUMBER | kind::BAREWORD | kind::STRING | kind::VARIABLE,
            ) => self.drop_last(2),
            (kind::BAREWORD | kind::NUMBER | kind::VARIABLE | kind::STRING, kind::OPERATOR, kind::SQL_TYPE)
                if b.text == b"::" =>
            {
                self.drop_last(2)
            }
            (kind::EXPRESSION | kind::GROUP | kind::COMMA, _, kind::LEFT) if b.is_unary() => self.drop_middle(),
            (
                kind::KEYWORD | kind::EXPRESSION | kind::GROUP,
                _,
                kind::NUMBER | kind::BAREWORD | kind::VARIABLE | kind::STRING | kind::FUNCTION,
            ) if b.is_unary() => self.drop_middle(),
            // `1,-1` is `1`.
            (kind::COMMA, _, kind::NUMBER | kind::BAREWORD | kind::VARIABLE | kind::STRING) if b.is_unary() => {
                self.tokens[at + 1] = c;
                self.drop_last(3)
            }
            (kind::COMMA, _, kind::FUNCTION) if b.is_unary() => self.drop_middle(),
            // `database.table` is one name.
            (kind::BAREWORD, kind::DOT, kind::BAREWORD) => self.drop_last(2),
            (kind::EXPRESSION, kind::DOT, kind::BAREWORD) => self.drop_middle(),
            (kind::FUNCTION, kind::LEFT, last) if last != kind::RIGHT => {
                // USER() is a function, USER(x) is none.
                if a.is(b"USER") {
                    self.tokens[at].kind = kind::BAREWORD;
                }
                Step::Next
            }
            _ => Step::Next,
        }
    }

    fn drop_middle(&mut self) -> Step {
        self.tokens[self.left + 1] = self.tokens[self.left + 2];
        self.drop_last(1)
    }
}
