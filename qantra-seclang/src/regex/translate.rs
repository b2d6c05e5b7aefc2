//! Enters: a PCRE pattern. Leaves: the same language in the syntax of the linear engine or of the backtracking one. It
//! must never pass on what the target reads in another way: every odd character is written as `\xHH`.

/// For which engine a pattern is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The linear engine, on bytes. Look-around, backreferences and atomic groups are loosened: every text that the
    /// pattern matches is matched by the loose form too.
    Linear,
    /// The backtracking engine, on text in which each byte is one character.
    Backtracking,
}

/// A pattern in a target's syntax.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) text: String,
    /// Something was met that the linear engine has not.
    pub(super) needs_backtracking: bool,
}

/// Rewrites a pattern.
pub(super) fn translate(pattern: &str, target: Target) -> Result<Translation, String> {
    let mut writer = Writer {
        input: pattern.as_bytes(),
        at: 0,
        out: String::with_capacity(pattern.len() * 2),
        target,
        needs_backtracking: false,
        groups: Vec::new(),
        after_quantifier: false,
        class_depth_error: false,
    };
    while writer.at < writer.input.len() {
        writer.step()?;
    }
    if writer.class_depth_error {
        return Err("a character class is not closed".to_owned());
    }
    Ok(Translation { text: writer.out, needs_backtracking: writer.needs_backtracking })
}

/// What closes a group.
#[derive(Clone, Copy)]
enum Group {
    Plain,
    /// Written as a group that matches nothing.
    Loosened,
}

struct Writer<'a> {
    input: &'a [u8],
    at: usize,
    out: String,
    target: Target,
    needs_backtracking: bool,
    groups: Vec<Group>,
    after_quantifier: bool,
    class_depth_error: bool,
}

const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\x0B\x0C\r\x20";
const VERTICAL: &str = r"\n\x0B\x0C\r\x85";
const BLANK: &str = r"\x20\t\xA0";

impl<'a> Writer<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.input[self.at..]
    }

    fn push_byte(&mut self, byte: u8) {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            self.out.push(char::from(byte));
        } else {
            self.out.push_str(&format!("\\x{byte:02X}"));
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let byte = self.input[self.at];
        self.at += 1;
        let was_quantifier = std::mem::take(&mut self.after_quantifier);
        match byte {
            b'\\' => self.escape()?,
            b'[' => self.class()?,
            b'(' => self.open()?,
            b')' => {
                self.out.push(')');
                if matches!(self.groups.pop(), Some(Group::Loosened)) {
                    self.out.push_str("{0}");
                }
            }
            b'*' | b'+' | b'?' => self.quantifier(byte, was_quantifier),
            b'{' => match counted(self.rest()) {
                Some(length) => {
                    let inside = &self.input[self.at..self.at + length];
                    self.out.push('{');
                    self.out.push_str(&String::from_utf8_lossy(inside));
                    self.at += length;
                    self.after_quantifier = true;
                }
                None => self.push_byte(b'{'),
            },
            b'^' | b'$' | b'.' | b'|' => self.out.push(char::from(byte)),
            other => self.push_byte(other),
        }
        Ok(())
    }

    fn quantifier(&mut self, byte: u8, was_quantifier: bool) {
        if was_quantifier && byte == b'+' {
            // Possessive: never gives back.
            self.needs_backtracking = true;
            if self.target == Target::Backtracking {
                self.out.push('+');
            }
            return;
        }
        self.out.push(char::from(byte));
        self.after_quantifier = !was_quantifier;
    }

    fn open(&mut self) -> Result<(), String> {
        let rest = self.rest();
        if rest.starts_with(b"*") {
            return Err("verbs such as (*SKIP) are not supported".to_owned());
        }
        if rest.starts_with(b"?#") {
            let length = rest.iter().position(|b| *b == b')').ok_or("a comment is not closed")?;
            self.at += length + 1;
            return Ok(());
        }
        for (sign, loose) in [("?=", true), ("?!", true), ("?<=", true), ("?<!", true), ("?>", false)] {
            if rest.starts_with(sign.as_bytes()) {
                self.at += sign.len();
                self.needs_backtracking = true;
                match self.target {
                    Target::Backtracking => {
                        self.out.push('(');
                        self.out.push_str(sign);
                        self.groups.push(Group::Plain);
                    }
                    Target::Linear => {
                        self.out.push_str("(?:");
                        self.groups.push(if loose { Group::Loosened } else { Group::Plain });
                    }
                }
                return Ok(());
            }
        }
        self.out.push('(');
        if rest.starts_with(b"?") {
            // Flags, names and groups that do not capture are written alike, but for `(?'name'…)`.
            let length = rest.iter().position(|b| matches!(b, b':' | b')' | b'>')).ok_or("a group is not closed")?;
            let head = String::from_utf8_lossy(&rest[..=length]).into_owned();
            if head.contains('\'') || head.contains('&') || head.contains('R') || head.contains('|') {
                return Err(format!("the group `({head}` is not supported"));
            }
            self.at += length + 1;
            if let Some(flags) = head.strip_suffix(')') {
                self.out.push_str(flags);
                self.out.push(')');
                return Ok(());
            }
            self.out.push_str(&head);
        }
        self.groups.push(Group::Plain);
        Ok(())
    }

    /// A backslash outside of classes.
    fn escape(&mut self) -> Result<(), String> {
        let Some(byte) = self.input.get(self.at).copied() else {
            return Err("it ends with a backslash".to_owned());
        };
        self.at += 1;
        let backtracking = self.target == Target::Backtracking;
        match byte {
            b'1'..=b'9' => {
                self.needs_backtracking = true;
                if backtracking {
                    self.out.push('\\');
                    self.out.push(char::from(byte));
                } else {
                    self.out.push_str("(?s:.*?)");
                }
            }
            b'g' | b'k' => {
                let name = self.reference()?;
                self.needs_backtracking = true;
                if backtracking {
                    self.out.push_str(&name);
                } else {
                    self.out.push_str("(?s:.*?)");
                }
            }
            b'b' | b'B' if backtracking => {
                let (word, no_word) = (format!("[{WORD}]"), format!("[{WORD}]"));
                let text = if byte == b'b' {
                    format!("(?:(?<={word})(?!{no_word})|(?<!{word})(?={no_word}))")
                } else {
                    format!("(?:(?<={word})(?={no_word})|(?<!{word})(?!{no_word}))")
                };
                self.out.push_str(&text);
            }
            b'b' | b'B' | b'A' | b'z' => {
                self.out.push('\\');
                self.out.push(char::from(byte));
            }
            b'Z' => self.out.push_str(r"\n?\z"),
            b'K' | b'G' => return Err(format!("`\\{}` is not supported", char::from(byte))),
            b'R' => self.out.push_str(&format!(r"(?:\r\n|[{VERTICAL}])")),
            b'N' => self.out.push_str(r"[^\n]"),
            b'Q' => {
                let end = memchr::memmem::find(self.rest(), b"\\E").unwrap_or(self.rest().len());
                for at in self.at..self.at + end {
                    self.push_byte(self.input[at]);
                }
                self.at = (self.at + end + 2).min(self.input.len());
            }
            b'E' => {}
            _ => match shorthand(byte) {
                Some((set, negated)) => self.out.push_str(&format!("[{}{set}]", if negated { "^" } else { "" })),
                None => {
                    let value = self.character(byte)?;
                    self.push_byte(value);
                }
            },
        }
        Ok(())
    }

    /// A group that `\g` or `\k` names, by number or name, as the backtracking engine writes it.
    fn reference(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let (length, inside) = match rest.first() {
            Some(open @ (b'{' | b'<' | b'\'')) => {
                let close = if *open == b'{' {
                    b'}'
                } else if *open == b'<' {
                    b'>'
                } else {
                    b'\''
                };
                let end = rest.iter().skip(1).position(|b| *b == close).ok_or("the name of a group is not closed")?;
                (end + 2, &rest[1..=end])
            }
            Some(b'1'..=b'9') => (1, &rest[..1]),
            _ => return Err("a group is named by its number or name".to_owned()),
        };
        let name = String::from_utf8_lossy(inside).into_owned();
        self.at += length;
        let is_number = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        if is_number {
            // A digit that follows must not be read as part of the number.
            return Ok(format!("(?:\\{name})"));
        }
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty();
        if is_name { Ok(format!("\\k<{name}>")) } else { Err(format!("the group `{name}` is not supported")) }
    }

    /// The byte that an escape stands for.
    fn character(&mut self, byte: u8) -> Result<u8, String> {
        Ok(match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'f' => 0x0c,
            b'a' => 0x07,
            b'e' => 0x1b,
            b'0' => {
                let digits = self.rest().iter().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let value = self.rest()[..digits].iter().fold(0, |value, digit| value << 3 | (digit - b'0'));
                self.at += digits;
                value
            }
            b'x' if self.rest().first() == Some(&b'{') => {
                let end = self.rest().iter().position(|b| *b == b'}').ok_or("`\\x{` is not closed")?;
                let digits = String::from_utf8_lossy(&self.rest()[1..end]).into_owned();
                self.at += end + 1;
                u8::from_str_radix(&digits, 16).map_err(|_| format!("`\\x{{{digits}}}` is no byte"))?
            }
            b'x' => {
                let digits = self.rest().iter().take(2).take_while(|b| b.is_ascii_hexdigit()).count();
                let text = String::from_utf8_lossy(&self.rest()[..digits]).into_owned();
                self.at += digits;
                u8::from_str_radix(&text, 16).unwrap_or(0)
            }
            b'c' => {
                let letter = self.rest().first().copied().ok_or("`\\c` needs a letter")?;
                self.at += 1;
                letter.to_ascii_uppercase() ^ 0x40
            }
            b'p' | b'P' | b'X' | b'C' => {
                return Err(format!("`\\{}` is not supported", char::from(byte)));
            }
            other => other,
        })
    }

    /// A character class; `[` was read.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest().first() == Some(&b'^') {
            self.out.push('^');
            self.at += 1;
        }
        let begin = self.at;
        // Whether the last item was one byte, which a range may begin with.
        let mut single = false;
        loop {
            let Some(byte) = self.input.get(self.at).copied() else {
                self.class_depth_error = true;
                return Ok(());
            };
            let first = self.at == begin;
            self.at += 1;
            match byte {
                b']' if !first => break,
                b'[' if self.rest().first() == Some(&b':') => {
                    let end = memchr::memmem::find(self.rest(), b":]");
                    match end.filter(|end| *end < 12) {
                        Some(end) => {
                            let name = String::from_utf8_lossy(&self.rest()[..end + 2]).into_owned();
                            self.out.push('[');
                            self.out.push_str(&name);
                            self.at += end + 2;
                            single = false;
                        }
                        None => {
                            self.push_byte(b'[');
                            single = true;
                        }
                    }
                }
                b'-' if single && self.range_follows() => {
                    self.out.push('-');
                    let end = self.class_byte()?;
                    self.push_byte(end);
                    single = false;
                }
                b'\\' => single = self.class_escape()?,
                other => {
                    self.push_byte(other);
                    single = true;
                }
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// Whether a single byte comes next, so that `-` makes a range.
    fn range_follows(&self) -> bool {
        match self.rest() {
            [] | [b']', ..] => false,
            [b'\\', letter, ..] => shorthand(*letter).is_none(),
            _ => true,
        }
    }

    fn class_byte(&mut self) -> Result<u8, String> {
        let byte = self.input[self.at];
        self.at += 1;
        if byte != b'\\' {
            return Ok(byte);
        }
        let Some(letter) = self.input.get(self.at).copied() else { return Err("it ends with a backslash".to_owned()) };
        self.at += 1;
        if letter == b'b' { Ok(0x08) } else { self.character(letter) }
    }

    /// An escape inside a class; whether it was one byte.
    fn class_escape(&mut self) -> Result<bool, String> {
        let letter = self.input.get(self.at).copied();
        if let Some((set, negated)) = letter.and_then(shorthand) {
            self.at += 1;
            if negated {
                self.out.push_str(&format!("[^{set}]"));
            } else {
                self.out.push_str(set);
            }
            return Ok(false);
        }
        self.at -= 1;
        let byte = self.class_byte()?;
        self.push_byte(byte);
        Ok(true)
    }
}

/// The classes that a letter stands for, without Unicode.
const fn shorthand(letter: u8) -> Option<(&'static str, bool)> {
    match letter {
        b'd' => Some(("0-9", false)),
        b'D' => Some(("0-9", true)),
        b'w' => Some((WORD, false)),
        b'W' => Some((WORD, true)),
        b's' => Some((SPACE, false)),
        b'S' => Some((SPACE, true)),
        b'h' => Some((BLANK, false)),
        b'H' => Some((BLANK, true)),
        b'v' => Some((VERTICAL, false)),
        b'V' => Some((VERTICAL, true)),
        _ => None,
    }
}

/// The length of `n}`, `n,}` or `n,m}`, when that is what follows.
fn counted(rest: &[u8]) -> Option<usize> {
    let end = rest.iter().take(12).position(|b| *b == b'}')?;
    let inside = &rest[..end];
    let numbers = inside.iter().all(|b| b.is_ascii_digit() || *b == b',');
    let commas = inside.iter().filter(|b| **b == b',').count();
    (numbers && commas <= 1 && inside.first().is_some_and(u8::is_ascii_digit)).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, expected: &str) {
        assert_eq!(translate(pattern, Target::Linear).expect("translates").text, expected);
    }

    #[test]
    fn rewrites_what_the_linear_engine_reads_otherwise() {
        check(r"\<a\>", r"\x3Ca\x3E");
        check("[a[b]", r"[a\x5Bb]");
        check("[!--]", r"[\x21-\x2D]");
        check(r"[\w-.]", r"[0-9A-Za-z_\x2D\x2E]");
        check("[a&&b~~]", r"[a\x26\x26b\x7E\x7E]");
        check("a{b", r"a\x7Bb");
        check("a{1,2}b{3}", "a{1,2}b{3}");
        check(r"\x0b\x{41}\e\cA", r"\x0BA\x1B\x01");
        check("é", r"\xC3\xA9");
        check(r"[[:alpha:]\]]", r"[[:alpha:]\x5D]");
        check("(?i)a|(?P<n>b)", "(?i)a|(?P<n>b)");
    }

    #[test]
    fn loosens_what_needs_backtracking() {
        let loose = translate(r"(?<!a)b\s*+(?=c(d))\1", Target::Linear).expect("translates");
        assert!(loose.needs_backtracking);
        assert_eq!(loose.text, r"(?:a){0}b[\t\n\x0B\x0C\r\x20]*(?:c(d)){0}(?s:.*?)");
        assert!(!translate("a+?b", Target::Linear).expect("translates").needs_backtracking);
    }

    #[test]
    fn refuses_what_no_engine_has() {
        for pattern in ["(*SKIP)a", r"\p{L}", "[a", r"a\"] {
            assert!(translate(pattern, Target::Linear).is_err(), "{pattern}");
        }
    }
}
