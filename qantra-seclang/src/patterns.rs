//! Enters: patterns of which nothing is known that their matches contain. Leaves: one automaton for those that look at the
//! same values, so that a value that matches none of them is read once. It must never say that a text matches none when one
//! of them would: the rules of a set that matched run each for itself.

use regex_automata::{Input, meta};

use crate::regex;

/// How many bytes of automata a set may build while it searches.
const LAZY_CACHE_BYTES: usize = 2 << 20;
/// The largest compiled set.
const NFA_BYTES_MAX: usize = 24 << 20;

/// Values as honest requests have them. A pattern that takes one of them would make its set match nearly always.
const PLAIN: [&[u8]; 8] = [
    b"",
    b"1",
    b"a",
    b"49.95",
    b"index.html",
    b"red shoes",
    b"SKU-00012",
    b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0)",
];

/// Patterns that look at the same values.
#[derive(Debug)]
pub(crate) struct PatternSet {
    /// The bundle whose values they look at.
    pub(crate) bundle: u16,
    any: meta::Regex,
}

impl PatternSet {
    /// Puts patterns together; `None` when they do not fit together.
    pub(crate) fn new(bundle: u16, patterns: &[&str]) -> Option<Self> {
        let trees = patterns.iter().map(|text| regex::loose(text)).collect::<Option<Vec<_>>>()?;
        let config = meta::Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(NFA_BYTES_MAX))
            .hybrid_cache_capacity(LAZY_CACHE_BYTES)
            .onepass(false);
        let any = meta::Builder::new().configure(config).build_many_from_hir(&trees).ok()?;
        Some(Self { bundle, any })
    }

    /// Whether any of the patterns is found.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        self.any.is_match(Input::new(text))
    }

    /// About how many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.any.memory_usage()
    }
}

/// Whether a pattern takes what honest requests have. A copy of it is asked: the thread that searches first is the one that gets a
/// pattern's working memory without a lock ever after, and that shall not be the one that loads rules.
pub(crate) fn takes_plain_values(pattern: &regex::Pattern) -> bool {
    let pattern = pattern.clone();
    PLAIN.iter().any(|text| pattern.is_match(text) != Some(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_matches_what_any_of_its_patterns_does() {
        let set = PatternSet::new(0, &["^a.c$", r"(?i)\bls\b", "x(?!y)"]).expect("fits");
        for (text, matches) in [("abc", true), ("abcd", false), ("; LS", true), ("lsz", false), ("xy", true)] {
            assert_eq!(set.matches(text.as_bytes()), matches, "{text}");
        }
        let takes = |text| takes_plain_values(&regex::Pattern::compile(text, false, 1000).expect("compiles"));
        assert!(takes("^.*$") && !takes(r"\bls\b"));
    }
}
