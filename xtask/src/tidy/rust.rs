//! Enters: Rust source text. Leaves: the same text, line by line, with comments, literals and test modules blanked,
//! and the paths it names. It must never fail on text that does not parse: rustc tells that better.

/// Blanks comments, string and character literals and `#[cfg(test)]` modules; line breaks stay where they are.
pub(super) fn code_of(text: &str) -> String {
    without_tests(&without_literals(text))
}

/// The line, from 1, of a place in a text.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Places where a whole word stands.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Every path in the code with where it begins, groups taken apart: `use a::{b, c::{d, e}};` gives `a::b`, `a::c::d`
/// and `a::c::e`. A single word is a path only in a `use`.
pub(super) fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = code[at..].find(is_word).map(|offset| at + offset) {
        let before = code[..start].trim_end();
        let imported = ends_with_word(before.trim_end_matches("::"), "use");
        let leaves = &mut Vec::new();
        at = start + path(&code[start..], "", leaves);
        found.extend(leaves.drain(..).filter(|leaf| imported || leaf.contains("::")).map(|leaf| (start, leaf)));
    }
    found
}

/// Reads one path from the start of a text, adds its leaves behind `prefix`, and returns how long it is.
fn path(text: &str, prefix: &str, leaves: &mut Vec<String>) -> usize {
    let word = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let here = format!("{prefix}{}", &text[..word]);
    let Some(rest) = text[word..].strip_prefix("::") else {
        leaves.push(here);
        return word;
    };
    let (prefix, at) = (format!("{here}::"), word + 2);
    if rest.starts_with('{') {
        return at + group(rest, &prefix, leaves);
    }
    if rest.starts_with(is_word) {
        return at + path(rest, &prefix, leaves);
    }
    // A glob, or generic arguments.
    leaves.push(here);
    at
}

/// Reads a `{…}` group of paths and returns how long it is.
fn group(text: &str, prefix: &str, leaves: &mut Vec<String>) -> usize {
    let mut at = 1;
    while at < text.len() {
        let rest = &text[at..];
        match rest.chars().next() {
            Some('}') => return at + 1,
            Some(c) if is_word(c) => {
                at += path(rest, prefix, leaves);
                // `as name` is no path.
                at += text[at..].find([',', '}']).unwrap_or(0);
            }
            Some(c) => at += c.len_utf8(),
            None => break,
        }
    }
    text.len()
}

fn ends_with_word(text: &str, word: &str) -> bool {
    text.trim_end().strip_suffix(word).is_some_and(|before| !before.ends_with(is_word))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn without_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let before = code.chars().next_back();
        let length = literal_length(rest, before).unwrap_or(0);
        if length == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            let (literal, tail) = rest.split_at(length);
            // Something stays, so that what stood around it does not grow together.
            code.extend(literal.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = tail;
        }
    }
    code
}

/// How long the comment or literal is that a text begins with; `None` when it begins with neither.
fn literal_length(text: &str, before: Option<char>) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment_length(text));
    }
    if text.starts_with('"') {
        return Some(string_length(text));
    }
    if text.starts_with('\'') {
        return character_length(text);
    }
    if before.is_some_and(is_word) {
        return None;
    }
    let raw = text.strip_prefix("br").or_else(|| text.strip_prefix("cr")).or_else(|| text.strip_prefix('r'))?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let body = raw[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let body_length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + body_length)
}

fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal, as opposed to a lifetime.
fn character_length(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next();
        return chars.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1);
    }
    chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
}

/// Blanks `#[cfg(test)] mod … { … }`: tests may do what the code they test may not.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, tail) = rest.split_at(at);
        kept.push_str(before);
        let item_end = item_length(tail);
        let (item, after) = tail.split_at(item_end);
        kept.extend(item.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// How long the item is that a text begins with, up to its `;` or its closing brace.
fn item_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}
