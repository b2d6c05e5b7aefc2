//! Enters: PCRE patterns as SecLang writes them. Leaves: compiled patterns that search bytes in bounded time: linear where
//! that is possible, and with a limit on steps where look-around or backreferences forbid it.

mod literal;
mod translate;

use std::sync::Arc;

use fancy_regex::{BytesMode, RegexInput};
use regex_automata::{
    Input,
    meta::{self, Regex},
    util::{primitives::NonMaxUsize, syntax},
};
use translate::{Target, translate};

pub(crate) use literal::Requirement;

use crate::error::{Reason, cut};

/// Captures that rules can name: `TX:0` to `TX:9`.
pub(crate) const GROUPS: usize = 10;

/// Begin and end of what was matched and captured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Captures {
    pub(crate) spans: [Option<(u32, u32)>; GROUPS],
}

impl Captures {
    pub(crate) const NONE: Self = Self { spans: [None; GROUPS] };

    pub(crate) fn whole(begin: usize, end: usize) -> Self {
        let mut captures = Self::NONE;
        captures.spans[0] = Some((index(begin), index(end)));
        captures
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// How many bytes of automata a linear pattern may build while it searches.
const LAZY_CACHE_BYTES: usize = 192 * 1024;
/// The largest compiled pattern.
const NFA_BYTES_MAX: usize = 24 * 1024 * 1024;
/// What an attempt to match at one place costs a transaction's [`Budget`], beside an eighth of the bytes behind the place:
/// an attempt's overhead is that of some hundred bytes.
const ATTEMPT_COST: usize = 150;

/// How much backtracking one transaction may do, over all its patterns and values. A unit is about 8 ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget(usize);

impl Budget {
    /// A transaction's: some 30 ms on a fast core.
    pub(crate) const TRANSACTION: Self = Self(4_000_000);

    /// Pays for something; `false` when too little is left.
    fn pays(&mut self, cost: usize) -> bool {
        match self.0.checked_sub(cost) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::TRANSACTION
    }
}

#[derive(Clone)]
enum Engine {
    Linear(Regex),
    Backtracking(Box<Backtracking>),
}

/// A pattern that only backtracking can decide. Its loose form finds in linear time where a match may begin; only there is
/// the pattern itself tried. Tried at every place it would be quadratic on texts that it never matches.
#[derive(Clone)]
struct Backtracking {
    loose: Regex,
    exact: fancy_regex::Regex,
    /// Steps at one place, at most.
    steps_max: usize,
}

impl Backtracking {
    /// Tries the pattern where it may match until it does; `None` when the budget does not pay for all such places, or
    /// there are too many steps at one.
    fn search<'t, T>(
        &self,
        text: &'t [u8],
        budget: &mut Budget,
        attempt: impl Fn(RegexInput<'t, [u8]>) -> AttemptResult<T>,
    ) -> Option<Option<T>> {
        let mut from = 0;
        loop {
            let Some(place) = self.loose.find(Input::new(text).range(from..)) else { return Some(None) };
            if !budget.pays(ATTEMPT_COST + (text.len() - place.start()) / 8) {
                return None;
            }
            let input = RegexInput::new(text).from_pos(place.start()).anchored(true);
            match attempt(input) {
                Ok(Some(found)) => return Some(Some(found)),
                Ok(None) => {}
                Err(_) => {
                    // As many steps as are allowed at one place were made; an empty budget says so to the next pattern.
                    let _ = budget.pays(self.steps_max) || budget.pays(budget.0);
                    return None;
                }
            }
            from = place.start() + 1;
            if from > text.len() {
                return Some(None);
            }
        }
    }
}

type AttemptResult<T> = Result<Option<T>, fancy_regex::Error>;

/// A compiled pattern. A clone shares all but its working memory.
#[derive(Clone)]
pub(crate) struct Pattern {
    engine: Engine,
    text: Arc<str>,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pattern({})", self.text)
    }
}

impl Pattern {
    /// Compiles a pattern with ModSecurity's flags: `.` takes line ends.
    pub(crate) fn compile(pattern: &str, caseless: bool, backtrack_limit: usize) -> Result<Self, Reason> {
        Self::with_requirement(pattern, caseless, backtrack_limit).map(|(pattern, _)| pattern)
    }

    /// Compiles a pattern, and tells what its matches contain.
    pub(crate) fn with_requirement(
        pattern: &str,
        caseless: bool,
        backtrack_limit: usize,
    ) -> Result<(Self, Requirement), Reason> {
        let failed = |why: String| Reason::Pattern { pattern: cut(pattern), why };
        let (hir, needs_backtracking) = parse(pattern, caseless)?;
        let requirement = literal::requirement(&hir);
        let config = meta::Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(NFA_BYTES_MAX))
            .hybrid_cache_capacity(LAZY_CACHE_BYTES)
            .onepass_size_limit(Some(64 * 1024));
        let built = meta::Builder::new().configure(config).build_from_hir(&hir);
        let linear = built.map_err(|error| failed(one_line(&error.to_string())))?;
        let engine = if needs_backtracking {
            let text = translate(pattern, Target::Backtracking).map_err(failed)?.text;
            let flags = if caseless { "(?si)" } else { "(?s)" };
            let exact = fancy_regex::RegexBuilder::new(&format!("{flags}{text}"))
                .bytes_mode(BytesMode::Ascii)
                .backtrack_limit(backtrack_limit)
                .build()
                .map_err(|error| failed(one_line(&error.to_string())))?;
            Engine::Backtracking(Box::new(Backtracking { loose: linear, exact, steps_max: backtrack_limit }))
        } else {
            Engine::Linear(linear)
        };
        Ok((Self { engine, text: pattern.into() }, requirement))
    }

    /// Whether a pattern can be compiled, without doing it.
    pub(crate) fn check(pattern: &str) -> Result<(), Reason> {
        parse(pattern, false).map(|_| ())
    }

    /// Whether the pattern is found; `None` when a limit ended the search. For names and tests, with a budget of its own.
    pub(crate) fn is_match(&self, text: &[u8]) -> Option<bool> {
        self.is_match_within(text, &mut Budget::default())
    }

    /// Whether the pattern is found; `None` when a limit ended the search.
    pub(crate) fn is_match_within(&self, text: &[u8], budget: &mut Budget) -> Option<bool> {
        match &self.engine {
            Engine::Linear(regex) => Some(regex.is_match(text)),
            Engine::Backtracking(regex) => {
                let found = regex.search(text, budget, |input| Ok(regex.exact.is_match_input(input)?.then_some(())))?;
                Some(found.is_some())
            }
        }
    }

    /// Finds the pattern and what its groups hold; the outer `None` when a limit ended the search.
    pub(crate) fn captures(&self, text: &[u8], budget: &mut Budget) -> Option<Option<Captures>> {
        match &self.engine {
            Engine::Linear(regex) => {
                let mut slots: [Option<NonMaxUsize>; 2 * GROUPS] = [None; 2 * GROUPS];
                // The engine must not be given more slots than the pattern has groups.
                let needed = (2 * regex.captures_len()).min(slots.len());
                if regex.search_slots(&Input::new(text), &mut slots[..needed]).is_none() {
                    return Some(None);
                }
                let mut captures = Captures::NONE;
                for (span, pair) in captures.spans.iter_mut().zip(slots.chunks_exact(2)) {
                    *span = pair[0].zip(pair[1]).map(|(begin, end)| (index(begin.get()), index(end.get())));
                }
                Some(Some(captures))
            }
            Engine::Backtracking(regex) => {
                let Some(found) = regex.search(text, budget, |input| regex.exact.captures_input(input))? else {
                    return Some(None);
                };
                let mut captures = Captures::NONE;
                for (span, group) in captures.spans.iter_mut().zip(found.iter()) {
                    *span = group.map(|group| (index(group.start()), index(group.end())));
                }
                Some(Some(captures))
            }
        }
    }

    /// As the rule has it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// About how many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        match &self.engine {
            Engine::Linear(regex) => regex.memory_usage(),
            Engine::Backtracking(regex) => regex.loose.memory_usage() + self.text.len() * 64,
        }
    }
}

/// The syntax tree of a pattern, loosened where the linear engine cannot follow: it matches wherever the pattern does.
pub(crate) fn loose(pattern: &str) -> Option<regex_syntax::hir::Hir> {
    parse(pattern, false).ok().map(|(hir, _)| hir)
}

/// The syntax tree of a pattern, loosened where the linear engine cannot follow, and whether it was.
fn parse(pattern: &str, caseless: bool) -> Result<(regex_syntax::hir::Hir, bool), Reason> {
    let failed = |why: String| Reason::Pattern { pattern: cut(pattern), why };
    let linear = translate(pattern, Target::Linear).map_err(failed)?;
    let flags = syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .case_insensitive(caseless)
        .nest_limit(250);
    let hir = syntax::parse_with(&linear.text, &flags).map_err(|error| failed(one_line(&error.to_string())))?;
    Ok((hir, linear.needs_backtracking))
}

fn one_line(text: &str) -> String {
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(text);
    last.trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pattern: &str, text: &[u8]) -> Option<Vec<(u32, u32)>> {
        let pattern = Pattern::compile(pattern, false, 100_000).expect("compiles");
        let found = pattern.captures(text, &mut Budget::default()).expect("within limits");
        assert_eq!(pattern.is_match(text), Some(found.is_some()));
        found.map(|found| found.spans.iter().flatten().copied().collect())
    }

    #[test]
    fn searches_bytes_that_are_no_text() {
        assert_eq!(spans(r"a(\xff+).", b"\xfea\xff\xff\n"), Some(vec![(1, 5), (2, 4)]));
        assert_eq!(spans(r"^b$", b"a"), None);
    }

    #[test]
    fn both_engines_know_words_and_look_around() {
        assert_eq!(spans(r"\b(\w+)\s+(?!\1)\w+", b"\xe9 ab ac"), Some(vec![(2, 7), (2, 4)]));
        assert_eq!(spans(r"(?<!x)a\b", b"xa a"), Some(vec![(3, 4)]));
        assert_eq!(spans(r"(?<!x)\xe9+(?!\xff)[^a]", b"x\xe9\xe9\xe9\xff\xe8"), Some(vec![(2, 4)]));
        assert_eq!(spans("(?<!x)\u{e9}(?=.)", "x\u{e9}\u{e9}y".as_bytes()), Some(vec![(3, 5)]));
        assert_eq!(spans(r"(?i)(?<=a)[^\w]{2}B++c(?=\z)", b"A\xfc\xe4bbc"), Some(vec![(1, 6)]));
        assert_eq!(spans(r"(?=^x)x|(?<=y)$", b"zy"), Some(vec![(2, 2)]));
        for pattern in [r"(?<n>a|b)-\k<n>1", r"(a|b)-\g{1}1", r"(a|b)-\g11", r"(?P<n>a|b)-\k{n}1", r"(?<n>a|b)-\k'n'1"]
        {
            assert_eq!(spans(pattern, b"a-b1 b-b1"), Some(vec![(5, 9), (5, 6)]), "{pattern}");
        }
    }

    #[test]
    fn hostile_patterns_are_bounded() {
        let pattern = Pattern::compile(r"(?=(a+)+$)(a|aa)+$", false, 10_000).expect("compiles");
        let text = [b"a".repeat(5000), b"!".to_vec()].concat();
        assert_ne!(pattern.is_match(&text), Some(true));
        // Rule 942130 of CRS 3.3.4: a run of quotes is walked over from each of its places.
        let pattern = r#"(?i:[\s'\"`()]*?\b([\d\w]+)\b[\s'\"`()]*?(?:=[\s'\"`()]*?(?!\b\1\b)[\d\w]+))"#;
        let pattern = Pattern::compile(pattern, false, 100_000).expect("compiles");
        assert_eq!(pattern.is_match(&b"'".repeat(60_000)), Some(false));
        assert_eq!(pattern.is_match(b"' 1'='2"), Some(true));
        // Too many places where it may match.
        let pattern = Pattern::compile("a(?!a|b)", false, 1000).expect("compiles");
        assert_eq!(pattern.is_match(&b"ab".repeat(60_000)), None);
        // Many short values share a budget as one long value has it.
        let mut budget = Budget::default();
        let given_up = (0..100_000).position(|_| pattern.is_match_within(b"abababab", &mut budget).is_none());
        assert!(given_up.is_some_and(|at| at > 1000), "{given_up:?}");
    }
}
