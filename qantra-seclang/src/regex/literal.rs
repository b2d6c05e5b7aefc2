//! Enters: a pattern's syntax tree. Leaves: strings of which one must occur in every match, or bytes of which one must,
//! so that most values never reach the regex engine. It must never ask for more than a match needs: what is left out by
//! mistake is an attack not seen.

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

use crate::bytes::ByteSet;

/// What every match of a pattern contains.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Requirement {
    /// One of these strings, in any case; written small.
    Literals(Vec<Vec<u8>>),
    /// One of these bytes.
    Bytes(ByteSet),
    /// Nothing is known: the pattern always runs.
    Nothing,
}

/// Sets of whole strings grow to this size while they are joined.
const EXACT_MAX: usize = 200;
/// Sets of needed strings are kept up to this size, shortened first if need be.
const NEEDED_MAX: usize = 1500;
/// Longer strings say no more.
const LENGTH_MAX: usize = 24;

/// Reads the requirement off a syntax tree.
pub(crate) fn requirement(hir: &Hir) -> Requirement {
    let found = analyse(hir);
    let literals = better(found.needed, found.exact.and_then(usable));
    if let Some(literals) = literals.filter(|set| weight(set) >= 1.2) {
        return Requirement::Literals(literals);
    }
    match found.bytes {
        // A set that most texts meet saves nothing.
        Some(set) if set.len() <= 80 && !set.has(b'e') && !set.has(b'a') => Requirement::Bytes(set),
        _ => Requirement::Nothing,
    }
}

#[derive(Default)]
struct Found {
    /// All texts that the part matches, when they are few.
    exact: Option<Vec<Vec<u8>>>,
    /// One of these occurs in every match.
    needed: Option<Vec<Vec<u8>>>,
    /// One of these bytes occurs in every match.
    bytes: Option<ByteSet>,
}

fn analyse(hir: &Hir) -> Found {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Found { exact: Some(vec![Vec::new()]), ..Found::default() },
        HirKind::Literal(literal) => {
            let text = literal.0.to_ascii_lowercase();
            let bytes = text.iter().map(|b| both_cases(*b)).min_by_key(|set| u32::from(set.has(b'e')) + set.len());
            if text.len() > LENGTH_MAX {
                return Found { exact: None, needed: Some(vec![text[..LENGTH_MAX].to_vec()]), bytes };
            }
            Found { exact: Some(vec![text]), needed: None, bytes }
        }
        HirKind::Class(class) => class_of(class),
        HirKind::Repetition(repetition) => repeated(repetition),
        HirKind::Capture(capture) => analyse(&capture.sub),
        HirKind::Concat(parts) => joined(parts),
        HirKind::Alternation(parts) => either(parts),
    }
}

fn both_cases(byte: u8) -> ByteSet {
    ByteSet::of(&[byte.to_ascii_lowercase(), byte.to_ascii_uppercase()])
}

fn class_of(class: &Class) -> Found {
    let mut set = ByteSet::EMPTY;
    match class {
        Class::Bytes(class) => {
            for range in class.ranges() {
                set = set.union(&ByteSet::range(range.start(), range.end()));
            }
        }
        Class::Unicode(class) => {
            for range in class.ranges() {
                let (Ok(start), Ok(end)) = (u8::try_from(range.start()), u8::try_from(range.end())) else {
                    return Found::default();
                };
                if !end.is_ascii() {
                    return Found::default();
                }
                set = set.union(&ByteSet::range(start, end));
            }
        }
    }
    let mut members: Vec<Vec<u8>> =
        (0..=255).filter(|byte| set.has(*byte)).map(|byte| vec![byte.to_ascii_lowercase()]).collect();
    members.sort();
    members.dedup();
    let exact = (1..=12).contains(&members.len()).then_some(members);
    Found { exact, needed: None, bytes: (set.len() > 0).then_some(set) }
}

fn repeated(repetition: &Repetition) -> Found {
    let sub = analyse(&repetition.sub);
    if repetition.min == 0 {
        let mut exact = sub.exact.filter(|_| repetition.max == Some(1));
        if let Some(exact) = &mut exact
            && !exact.iter().any(Vec::is_empty)
        {
            exact.push(Vec::new());
        }
        return Found { exact, ..Found::default() };
    }
    let mut power = sub.exact.clone();
    for _ in 1..repetition.min.min(8) {
        power = match (&power, &sub.exact) {
            (Some(left), Some(right)) => cross(left, right),
            _ => None,
        };
    }
    let whole = repetition.max == Some(repetition.min) && repetition.min <= 8;
    let needed = better(sub.needed, better(power.clone().and_then(usable), sub.exact.and_then(usable)));
    Found { exact: power.filter(|_| whole), needed, bytes: sub.bytes }
}

fn joined(parts: &[Hir]) -> Found {
    let mut run = vec![Vec::new()];
    let mut whole = true;
    let mut needed = None;
    let mut bytes: Option<ByteSet> = None;
    for part in parts {
        let found = analyse(part);
        bytes = match (bytes, found.bytes) {
            (Some(a), Some(b)) => Some(if common(&a) <= common(&b) { a } else { b }),
            (a, b) => a.or(b),
        };
        needed = better(needed, found.needed);
        match found.exact {
            Some(exact) => match cross(&run, &exact) {
                Some(longer) => run = longer,
                None => {
                    whole = false;
                    needed = better(needed, usable(std::mem::replace(&mut run, exact)));
                }
            },
            None => {
                whole = false;
                needed = better(needed, usable(std::mem::replace(&mut run, vec![Vec::new()])));
            }
        }
    }
    if whole {
        return Found { exact: Some(run), needed, bytes };
    }
    Found { exact: None, needed: better(needed, usable(run)), bytes }
}

fn either(parts: &[Hir]) -> Found {
    let mut exact = Some(Vec::new());
    let mut needed = Some(Vec::new());
    let mut bytes = Some(ByteSet::EMPTY);
    for part in parts {
        let found = analyse(part);
        bytes = bytes.zip(found.bytes).map(|(all, one)| all.union(&one));
        let one = better(found.needed, found.exact.clone().and_then(usable));
        needed = needed.zip(one).map(|(mut all, one)| {
            all.extend(one);
            all
        });
        exact = exact.zip(found.exact).map(|(mut all, one)| {
            all.extend(one);
            all
        });
    }
    let tidy = |mut set: Vec<Vec<u8>>| {
        set.sort();
        set.dedup();
        set
    };
    let exact = exact.map(tidy).filter(|set| set.len() <= EXACT_MAX * 4);
    Found { exact, needed: needed.map(tidy).and_then(shortened), bytes }
}

/// Cuts strings until few enough are left.
fn shortened(mut set: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    for length in [LENGTH_MAX, 6, 5, 4, 3] {
        if set.len() <= NEEDED_MAX {
            return Some(set);
        }
        set.iter_mut().for_each(|text| text.truncate(length));
        set.sort();
        set.dedup();
    }
    (set.len() <= NEEDED_MAX).then_some(set)
}

fn cross(left: &[Vec<u8>], right: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    if left.len() * right.len() > EXACT_MAX {
        return None;
    }
    let mut all = Vec::with_capacity(left.len() * right.len());
    for begin in left {
        for end in right {
            if begin.len() + end.len() > LENGTH_MAX {
                return None;
            }
            all.push([begin.as_slice(), end.as_slice()].concat());
        }
    }
    all.sort();
    all.dedup();
    Some(all)
}

/// An empty string is in every text, and says nothing.
fn usable(set: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    if set.is_empty() || set.iter().any(Vec::is_empty) {
        return None;
    }
    shortened(set)
}

fn better(a: Option<Vec<Vec<u8>>>, b: Option<Vec<Vec<u8>>>) -> Option<Vec<Vec<u8>>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if weight(&b) > weight(&a) { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// How seldom a set is met: what its commonest string weighs, less a little for every doubling of the set.
fn weight(set: &[Vec<u8>]) -> f32 {
    let lightest = set.iter().map(|text| text.iter().map(|b| rarity(*b)).sum::<f32>()).fold(f32::MAX, f32::min);
    lightest - (set.len().max(1).ilog2() as f32) * 0.12
}

const fn rarity(byte: u8) -> f32 {
    match byte {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 0.7,
        b'a'..=b'z' => 1.0,
        b'0'..=b'9' => 0.8,
        b' ' => 0.6,
        b'/' | b'.' | b'-' | b'_' | b':' | b'=' | b'&' | b'%' => 0.9,
        _ => 1.7,
    }
}

/// How common the members of a set are.
fn common(set: &ByteSet) -> u32 {
    let letters = (b'a'..=b'z').filter(|byte| set.has(*byte)).count();
    set.len() + 4 * u32::try_from(letters).unwrap_or(26)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pattern: &str) -> Requirement {
        let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build();
        requirement(&parser.parse(pattern).expect("parses"))
    }

    fn literals(texts: &[&str]) -> Requirement {
        Requirement::Literals(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
    }

    #[test]
    fn finds_what_must_occur() {
        assert_eq!(of("(?i)union[^a-z]+select"), literals(&["select"]));
        assert_eq!(of("a?(?:foo|bar)x*"), literals(&["bar", "foo"]));
        assert_eq!(of(".*<script.*"), literals(&["<script"]));
        assert_eq!(of("(?:ab){2,}"), literals(&["abab"]));
        assert_eq!(of("[;|]+"), literals(&[";", "|"]));
        assert_eq!(of(r"\w+"), Requirement::Nothing);
        assert_eq!(of("(?:abc)?"), Requirement::Nothing);
        assert!(matches!(of("[!-/:-@]{3}"), Requirement::Bytes(_)));
    }
}
