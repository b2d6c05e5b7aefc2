//! From a key to its line and from a byte to its key: what error messages need of a TOML document.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A parsed document beside its text.
pub(super) struct Positions<'a> {
    text: &'a str,
    root: Option<Spanned<DeTable<'a>>>,
}

impl<'a> Positions<'a> {
    /// Reads the document; a text that is not TOML has no keys, its lines can be counted all the same.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, root: DeTable::parse(text).ok() }
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line_of_byte(&self, byte: usize) -> usize {
        let before = self.text.as_bytes().get(..byte).unwrap_or(self.text.as_bytes());
        before.iter().filter(|b| **b == b'\n').count() + 1
    }

    /// The line of a key such as `site[1].hosts[0]`, or of the nearest table around it that is in the file.
    pub(super) fn line_of_key(&self, key: &str) -> Option<usize> {
        let root = self.root.as_ref()?;
        let mut table = root.get_ref();
        let mut best = None;
        for part in key.split('.') {
            let (name, indices) = split_indices(part);
            let Some((found, mut value)) = table.iter().find(|(k, _)| k.get_ref().as_ref() == name) else { break };
            best = Some(found.span().start);
            for index in indices {
                let Some(item) = value.get_ref().as_array().and_then(|array| array.get(index)) else {
                    return best.map(|b| self.line_of_byte(b));
                };
                best = Some(item.span().start);
                value = item;
            }
            let Some(next) = value.get_ref().as_table() else { break };
            table = next;
        }
        best.map(|byte| self.line_of_byte(byte))
    }

    /// The innermost key whose name or value covers a byte; empty when none does.
    pub(super) fn key_at(&self, byte: usize) -> String {
        let mut best = (usize::MAX, String::new());
        if let Some(root) = &self.root {
            search_table(root.get_ref(), "", byte, &mut best);
        }
        best.1
    }
}

/// `hosts[0][1]` → `hosts` and 0, 1.
fn split_indices(part: &str) -> (&str, Vec<usize>) {
    let mut pieces = part.split('[');
    let name = pieces.next().unwrap_or(part);
    (name, pieces.filter_map(|piece| piece.trim_end_matches(']').parse().ok()).collect())
}

/// The narrowest span that covers the byte wins; depth is that of the file, bounded by the parser.
fn search_table(table: &DeTable<'_>, prefix: &str, byte: usize, best: &mut (usize, String)) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        offer(key.span(), &path, byte, best);
        search_value(value, &path, byte, best);
    }
}

fn search_value(value: &Spanned<DeValue<'_>>, path: &str, byte: usize, best: &mut (usize, String)) {
    offer(value.span(), path, byte, best);
    match value.get_ref() {
        DeValue::Table(table) => search_table(table, path, byte, best),
        DeValue::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                search_value(item, &format!("{path}[{i}]"), byte, best);
            }
        }
        _ => {}
    }
}

fn offer(span: std::ops::Range<usize>, path: &str, byte: usize, best: &mut (usize, String)) {
    if span.contains(&byte) && span.len() < best.0 {
        *best = (span.len(), path.to_owned());
    }
}
