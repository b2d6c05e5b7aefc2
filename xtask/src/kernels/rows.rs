//! Enters: the lines of `kernel-check`, between whatever else a console says. Leaves: one row for each run of it: with
//! BTF, and without. It must never take a run for good that did not reach its end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One kernel, with or without BTF in sight.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Row {
    /// As given on the command line.
    pub(super) name: &'static str,
    /// `uname -r`; empty when it did not come so far.
    pub(super) kernel: String,
    pub(super) page_bytes: u64,
    pub(super) btf: bool,
    /// From switching the machine on to the first line; for the second run, from the end of the first.
    pub(super) boot_seconds: f64,
    /// What the checks took.
    pub(super) seconds: f64,
    pub(super) checks: Vec<Check>,
    /// What went wrong outside of any check.
    pub(super) trouble: Option<String>,
}

/// One line of `kernel-check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Check {
    pub(super) check: String,
    pub(super) ok: bool,
    pub(super) detail: String,
}

impl Row {
    pub(super) fn is_ok(&self) -> bool {
        self.trouble.is_none() && !self.checks.is_empty() && self.checks.iter().all(|check| check.ok)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Machine { kernel: String, page_bytes: u64, btf: bool },
    Check(Check),
    End { failed: usize },
}

/// The rows of one machine.
pub(super) struct Rows {
    name: &'static str,
    rows: Vec<Row>,
    /// How many runs reached their end.
    ended: usize,
    /// When the last run ended, and then when the next began.
    since: Duration,
}

impl Rows {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, rows: Vec::new(), ended: 0, since: Duration::ZERO }
    }

    /// Takes one line of the console, and returns the name of the check if it was one's.
    pub(super) fn read(&mut self, line: &str, at: Duration) -> Option<&str> {
        let seconds = at.saturating_sub(self.since).as_secs_f64();
        match serde_json::from_str(line) {
            Ok(Line::Machine { kernel, page_bytes, btf }) => {
                let (name, boot_seconds) = (self.name, seconds);
                self.rows.push(Row { name, kernel, page_bytes, btf, boot_seconds, ..Row::default() });
                self.since = at;
            }
            Ok(Line::Check(check)) => {
                if let Some(row) = self.rows.last_mut() {
                    row.checks.push(check);
                    row.seconds = seconds;
                }
            }
            Ok(Line::End { failed }) => {
                // Another number means that the console swallowed a line.
                let seen = self.rows.last().map(|row| row.checks.iter().filter(|check| !check.ok).count());
                self.ended += usize::from(seen == Some(failed));
                self.since = at;
            }
            Err(_) => return None,
        }
        self.rows.last().and_then(|row| row.checks.last()).map(|check| check.check.as_str())
    }

    /// The rows, when the machine is gone. `trouble` says how it went; it stands in the last row unless as many runs as
    /// were wanted reached their end.
    pub(super) fn finish(mut self, wanted: usize, trouble: impl FnOnce() -> String) -> Vec<Row> {
        if self.ended == wanted && self.rows.len() == wanted {
            return self.rows;
        }
        if self.rows.len() <= self.ended {
            self.rows.push(Row { name: self.name, ..Row::default() });
        }
        if let Some(row) = self.rows.last_mut() {
            row.trouble = Some(trouble());
        }
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = r#"{"btf":true,"kernel":"6.1.0-56-arm64","page_bytes":4096}"#;
    const GOOD: &str = r#"{"check":"auto: rung","detail":"native_frags","ok":true}"#;
    const BAD: &str = r#"{"check":"auto: adoption","detail":"2 bans, not 3","ok":false}"#;
    const END: &str = r#"{"failed":0}"#;

    fn rows(lines: &[&str], wanted: usize) -> Vec<Row> {
        let mut rows = Rows::new("x");
        for (number, line) in lines.iter().enumerate() {
            rows.read(line, Duration::from_secs(number as u64));
        }
        rows.finish(wanted, || "it died".to_owned())
    }

    #[test]
    fn a_whole_run_is_a_row() {
        let rows = rows(&["Linux version 6.1", MACHINE, GOOD, "[ 3.1] noise {", GOOD, END, "reboot: Power down"], 1);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert!(row.is_ok());
        assert_eq!((row.kernel.as_str(), row.page_bytes, row.btf), ("6.1.0-56-arm64", 4096, true));
        assert_eq!((row.boot_seconds, row.seconds, row.checks.len()), (1.0, 3.0, 2));
    }

    #[test]
    fn a_failed_check_fails_its_row() {
        assert!(!rows(&[MACHINE, GOOD, BAD, END], 1)[0].is_ok());
        assert!(!rows(&[MACHINE, END], 1)[0].is_ok(), "no check at all");
    }

    #[test]
    fn a_run_without_its_end_is_in_trouble() {
        for (lines, wanted, count) in [
            (&["Kernel panic"][..], 1, 1),
            (&[MACHINE, GOOD], 1, 1),
            (&[MACHINE, BAD, END], 1, 1),
            (&[MACHINE, GOOD, END], 2, 2),
            (&[MACHINE, GOOD, END, MACHINE, GOOD], 2, 2),
        ] {
            let rows = rows(lines, wanted);
            assert_eq!(rows.len(), count, "{lines:?}");
            assert_eq!(rows[count - 1].trouble.as_deref(), Some("it died"), "{lines:?}");
            assert!(!rows[count - 1].is_ok());
        }
    }
}
