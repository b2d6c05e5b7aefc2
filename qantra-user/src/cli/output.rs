//! Printing: tables for people, JSON and tab-separated lines for programs.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::error::CliError;

/// How listings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// Tables and sentences
    #[default]
    Human,
    /// One JSON document
    Json,
    /// Tab-separated lines without a heading, for cut and awk
    Raw,
}

/// How something stands, shown by colour on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
}

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) format: Format,
    is_terminal: bool,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self { format, is_terminal: io::stdout().is_terminal() }
    }

    /// Prints a text as it is; a missing end of line is added.
    pub(super) fn text(self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }

    /// Prints a text as it is, with nothing behind it.
    pub(super) fn piece(self, text: &str) -> Result<(), CliError> {
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }

    pub(super) fn json(self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
        self.text(&text)
    }

    /// Prints rows in the chosen format: a table, the JSON of `value`, or tab-separated lines.
    pub(super) fn rows(
        self,
        value: &impl Serialize,
        heading: &[&str],
        rows: &[Vec<String>],
        empty: &str,
    ) -> Result<(), CliError> {
        match self.format {
            Format::Json => self.json(value),
            Format::Raw => {
                let lines: String = rows
                    .iter()
                    .map(|row| row.iter().map(|cell| clean(cell)).collect::<Vec<_>>().join("\t") + "\n")
                    .collect();
                if lines.is_empty() { Ok(()) } else { self.text(&lines) }
            }
            Format::Human if rows.is_empty() => self.text(empty),
            Format::Human => self.text(&self.table(heading, rows)),
        }
    }

    /// A table without lines, as wide as the terminal.
    pub(super) fn table(self, heading: &[&str], rows: &[Vec<String>]) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        if self.is_terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        if !heading.is_empty() {
            table.set_header(heading);
        }
        for row in rows {
            table.add_row(row.iter().map(|cell| clean(cell)));
        }
        if let Some(first) = table.column_mut(0) {
            first.set_padding((0, 1));
        }
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// Colours a word, on a terminal only and never with `NO_COLOR` (no-color.org).
    pub(super) fn tone(self, text: &str, tone: Tone) -> String {
        if !self.is_terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => 32,
            Tone::Bad => 31,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Warnings go to standard error, so that standard output stays parseable.
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        // With standard error gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "warning: {}", clean(warning));
    }
}

/// Makes what an attacker wrote harmless on a terminal: no control character, and no character that turns the
/// direction of writing.
pub(super) fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .flat_map(|c| {
            let escaped = (c.is_control() || turns(c)).then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_an_attacker_wrote_reaches_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\r\nc\u{202e}ü"), "a\\u{1b}[2Jb\\r\\nc\\u{202e}ü");
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let output = Output { format: Format::Human, is_terminal: false };
        let rows = [vec!["1".to_owned(), "long".to_owned()], vec!["22".to_owned(), String::new()]];
        assert_eq!(output.table(&["A", "B"], &rows), "A   B\n1   long\n22\n");
    }
}
