//! Enters: the variables of a rule, as written. Leaves: targets: variable, choice of keys, counted or excluded. It must
//! never take a selector for something it is not: `/…/` is a pattern, except in XML, where it is a path.

use crate::{
    error::{Reason, cut},
    variable::{self, Variable},
};

/// Which values of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// Every one.
    All,
    /// Those of one key, in any case.
    Key(String),
    /// Those whose key fits a pattern.
    Pattern(String),
}

/// One variable of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetAst {
    pub(crate) variable: Variable,
    pub(crate) selector: Selector,
    /// `&`: how many there are.
    pub(crate) count: bool,
    /// `!`: all but these.
    pub(crate) excluded: bool,
}

/// Reads a list such as `ARGS|!ARGS:a|&REQUEST_HEADERS:/^x-/`.
pub(crate) fn targets(text: &str) -> Result<Vec<TargetAst>, Reason> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = end_of_target(rest);
        let (one, tail) = rest.split_at(end);
        found.push(target(one.trim())?);
        rest = tail.strip_prefix(['|', ',']).unwrap_or(tail).trim_start();
    }
    if found.is_empty() {
        return Err(Reason::Syntax("a rule without variables looks at nothing"));
    }
    Ok(found)
}

/// A `|` inside `/…/` or quotes belongs to the selector.
fn end_of_target(text: &str) -> usize {
    let separator = text.find(['|', ',']).unwrap_or(text.len());
    let Some(colon) = text.find(':').filter(|colon| *colon < separator) else { return separator };
    let selector = &text[colon + 1..];
    let begin = colon + 1;
    let is_xml = text[..colon].trim_start_matches(['!', '&']).eq_ignore_ascii_case("XML");
    let close = match selector.chars().next() {
        Some('\'') => '\'',
        Some('/') if !is_xml => '/',
        _ => return separator,
    };
    let mut escaped = false;
    for (at, c) in selector.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == close && selector[at + 1..].trim_start().starts_with(['|', ',']) => return begin + at + 1,
            _ => {}
        }
    }
    text.len()
}

fn target(text: &str) -> Result<TargetAst, Reason> {
    let (mut excluded, mut count) = (false, false);
    let mut name = text;
    loop {
        if let Some(rest) = name.strip_prefix('!') {
            excluded = true;
            name = rest;
        } else if let Some(rest) = name.strip_prefix('&') {
            count = true;
            name = rest;
        } else {
            break;
        }
    }
    let (name, key) = match name.split_once([':', '.']) {
        Some((name, key)) => (name.trim(), Some(key.trim())),
        None => (name.trim(), None),
    };
    if name.eq_ignore_ascii_case("XML") {
        return Ok(TargetAst { variable: xml(key)?, selector: Selector::All, count, excluded });
    }
    if let Some(why) = variable::refused(name) {
        return Err(Reason::Unsupported { kind: "variable", name: name.to_owned(), why });
    }
    let variable = Variable::parse(name).ok_or_else(|| Reason::Unknown { kind: "variable", name: cut(name) })?;
    let selector = match key {
        None | Some("") => Selector::All,
        Some(_) if !variable.has_keys() => {
            return Err(Reason::Invalid { what: "selector of", value: cut(text), expected: "variable with keys" });
        }
        Some(key) => selector(key),
    };
    Ok(TargetAst { variable, selector, count, excluded })
}

fn selector(key: &str) -> Selector {
    let inner = key.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(key);
    match inner.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
        Some(pattern) => Selector::Pattern(pattern.to_owned()),
        None => Selector::Key(inner.to_owned()),
    }
}

fn xml(path: Option<&str>) -> Result<Variable, Reason> {
    match path {
        None | Some("/*" | "//*" | "/*/text()" | "//text()") => Ok(Variable::XmlText),
        Some("//@*" | "/*/@*") => Ok(Variable::XmlAttributes),
        Some(other) => Err(Reason::Unsupported {
            kind: "XPath",
            name: cut(other),
            why: "the engine evaluates /* (all text) and //@* (all attributes)",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(variable: Variable, selector: Selector) -> TargetAst {
        TargetAst { variable, selector, count: false, excluded: false }
    }

    #[test]
    fn reads_lists_with_patterns() {
        let read = targets("ARGS|!ARGS:/^a|b$/|&REQUEST_HEADERS:Host|XML:/*|TX:'/^x_/'").expect("reads");
        let expected = vec![
            one(Variable::Args, Selector::All),
            TargetAst { excluded: true, ..one(Variable::Args, Selector::Pattern("^a|b$".into())) },
            TargetAst { count: true, ..one(Variable::RequestHeaders, Selector::Key("Host".into())) },
            one(Variable::XmlText, Selector::All),
            one(Variable::Tx, Selector::Pattern("^x_".into())),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn names_what_it_does_not_know() {
        for (text, said) in [
            ("ARGZ", "unknown variable `ARGZ`"),
            ("PERF_ALL", "variable `PERF_ALL` is not supported"),
            ("XML://book/title", "XPath `//book/title` is not supported"),
            ("REQUEST_URI:x", "selector of `REQUEST_URI:x`"),
            ("", "looks at nothing"),
        ] {
            let error = targets(text).expect_err("refused").to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
