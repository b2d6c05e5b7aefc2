//! Enters: the text of a rule file. Leaves: its directives, each with its arguments and the line it begins on. It must
//! never guess: an open quote is an error, not the end of the file's other rules.

use std::sync::Arc;

use crate::error::{LoadError, Position, Reason};

/// One directive with what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) position: Position,
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
}

/// Takes a rule file apart. A backslash at a line's end joins it with the next; `#` begins a comment line.
pub(crate) fn directives(file: &Arc<str>, text: &str) -> Result<Vec<Directive>, LoadError> {
    let mut found = Vec::new();
    let mut lines = (1_u32..).zip(text.lines());
    while let Some((line, first)) = lines.next() {
        let trimmed = first.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let position = Position { file: file.clone(), line };
        let mut whole = String::new();
        let mut part = first;
        while let Some(joined) = continued(part) {
            whole.push_str(joined);
            // A file that ends with a backslash ends its last directive.
            part = lines.next().map_or("", |(_, next)| next);
        }
        whole.push_str(part);
        let mut words =
            words(whole.trim()).map_err(|reason| LoadError { position: position.clone(), reason })?.into_iter();
        if let Some(name) = words.next() {
            found.push(Directive { position, name, arguments: words.collect() });
        }
    }
    Ok(found)
}

/// The line without its joining backslash, when it has one.
fn continued(line: &str) -> Option<&str> {
    line.trim_end_matches('\r').strip_suffix('\\')
}

/// Splits at white space. Quotes hold words together; inside them a backslash keeps the quote sign.
fn words(text: &str) -> Result<Vec<String>, Reason> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(first) = chars.next() else { return Ok(words) };
        let mut word = String::new();
        if first == '"' || first == '\'' {
            loop {
                match chars.next() {
                    None => return Err(Reason::Syntax("a quote is not closed: add the missing quote sign")),
                    Some(c) if c == first => break,
                    Some('\\') if chars.peek() == Some(&first) => word.extend(chars.next()),
                    Some('\\') => {
                        word.push('\\');
                        word.extend(chars.next());
                    }
                    Some(c) => word.push(c),
                }
            }
        } else {
            word.push(first);
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                word.push(c);
            }
        }
        words.push(word);
    }
}

/// Splits a list at a sign that stands outside single quotes; a backslash keeps what follows it.
pub(super) fn split_list(text: &str, sign: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => quoted = !quoted,
            _ if c == sign && !quoted => {
                parts.push(text[begin..at].trim());
                begin = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text[begin..].trim());
    parts
}

/// Takes the single quotes off a value; inside them `\'` is the quote sign.
pub(super) fn unquoted(value: &str) -> String {
    let value = value.trim();
    match value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(inside) => inside.replace("\\'", "'"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(text: &str) -> Vec<(u32, String, Vec<String>)> {
        let all = directives(&"f".into(), text).expect("lexes");
        all.into_iter().map(|d| (d.position.line, d.name, d.arguments)).collect()
    }

    #[test]
    fn joins_lines_and_keeps_where_they_begin() {
        let text = "# c\n\nSecRule ARGS \"@rx a\\\"b\\\\d\" \\\n    \"id:1,\\\n    deny\"\nSecMarker END";
        let expected = vec![
            (3, "SecRule".into(), vec!["ARGS".into(), "@rx a\"b\\\\d".into(), "id:1,    deny".into()]),
            (6, "SecMarker".into(), vec!["END".into()]),
        ];
        assert_eq!(lex(text), expected);
    }

    #[test]
    fn an_open_quote_is_an_error_with_its_line() {
        let error = directives(&"f".into(), "\nSecMarker \"x").expect_err("open");
        assert_eq!(error.to_string(), "f:2: a quote is not closed: add the missing quote sign");
    }

    #[test]
    fn lists_split_outside_of_quotes() {
        assert_eq!(split_list("id:1, msg:'a, b\\' c',deny", ','), ["id:1", "msg:'a, b\\' c'", "deny"]);
        assert_eq!(unquoted("'it\\'s'"), "it's");
    }
}
