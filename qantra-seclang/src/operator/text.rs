//! Enters: texts and word lists. Leaves: whether they are found.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use memchr::memmem;

use super::TextTest;
use crate::{
    error::{Reason, cut},
    regex::Captures,
    transform::hex_pair,
};

impl TextTest {
    pub(super) fn holds(self, value: &[u8], argument: &[u8]) -> bool {
        match self {
            Self::BeginsWith => value.starts_with(argument),
            Self::EndsWith => value.ends_with(argument),
            Self::Equal => value == argument,
            Self::Contains | Self::StrMatch => memmem::find(value, argument).is_some(),
            Self::Within => memmem::find(argument, value).is_some(),
            Self::ContainsWord => contains_word(value, argument),
        }
    }
}

fn contains_word(value: &[u8], word: &[u8]) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    memmem::find_iter(value, word).any(|at| {
        let before = at.checked_sub(1).and_then(|at| value.get(at));
        !is_word(before) && !is_word(value.get(at + word.len()))
    })
}

/// Words that are looked for all at once, in any case.
#[derive(Debug)]
pub(crate) struct PmSet {
    automaton: AhoCorasick,
    pub(crate) literals: Vec<Vec<u8>>,
}

impl PmSet {
    /// `@pm`: words between spaces; `|41 42|` stands for bytes.
    pub(super) fn words(text: &str) -> Result<Self, Reason> {
        let mut words = Vec::new();
        let mut word = Vec::new();
        let mut rest = text.as_bytes();
        while let [byte, tail @ ..] = rest {
            rest = tail;
            match byte {
                b'|' => match bytes_between_bars(tail) {
                    Some((bytes, after)) => {
                        word.extend(bytes);
                        rest = after;
                    }
                    None => word.push(b'|'),
                },
                b' ' | b'\t' => words.push(std::mem::take(&mut word)),
                other => word.push(*other),
            }
        }
        words.push(word);
        Self::build(words)
    }

    /// `@pmFromFile`: one phrase a line, `#` begins a comment.
    pub(super) fn lines(bytes: &[u8]) -> Result<Self, Reason> {
        let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        Self::build(lines.filter(|line| !line.starts_with(b"#")).map(<[u8]>::to_vec).collect())
    }

    fn build(mut literals: Vec<Vec<u8>>) -> Result<Self, Reason> {
        literals.retain(|word| !word.is_empty());
        literals.iter_mut().for_each(|word| word.make_ascii_lowercase());
        literals.sort();
        literals.dedup();
        if literals.is_empty() {
            return Err(Reason::Syntax("a list without words matches nothing"));
        }
        let built = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&literals);
        let automaton = built.map_err(|error| Reason::Pattern { pattern: cut("@pm"), why: error.to_string() })?;
        Ok(Self { automaton, literals })
    }

    pub(super) fn find(&self, value: &[u8]) -> Option<Captures> {
        let found = self.automaton.find(value)?;
        Some(Captures::whole(found.start(), found.end()))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.automaton.memory_usage() + self.literals.iter().map(|word| word.len() + 24).sum::<usize>()
    }
}

fn bytes_between_bars(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let end = memchr::memchr(b'|', text)?;
    let digits: Vec<u8> = text[..end].iter().copied().filter(|b| *b != b' ').collect();
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let bytes = (0..digits.len()).step_by(2).map(|at| hex_pair(&digits, at)).collect::<Option<Vec<u8>>>()?;
    Some((bytes, &text[end + 1..]))
}
