//! What the demo prints. Enters: rows and the honest outcome. Leaves: a table for people or one JSON object for machines.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use super::{honest::Outcome, measure::Row};

/// The whole result; names of keys are part of the interface.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    pub(super) attacks: Vec<Row>,
    pub(super) honest: HonestPart,
    pub(super) resident_bytes: u64,
    /// Median of the attacks' `drop_ms`.
    pub(super) median_drop_ms: Option<f64>,
    /// Why it is not ok, one line each.
    pub(super) failures: Vec<String>,
}

/// The honest clients' part.
#[derive(Debug, Serialize)]
pub(super) struct HonestPart {
    pub(super) requests: u64,
    pub(super) refused: u64,
}

impl Report {
    /// Judges: every attack seen for what it is and stopped, no honest request refused.
    pub(super) fn new(attacks: Vec<Row>, honest: Outcome, resident_bytes: u64) -> Self {
        let mut failures = Vec::new();
        for row in &attacks {
            match &row.class {
                None => failures.push(format!("{}: not seen", row.name)),
                Some(class) if !row.class_fits => failures.push(format!("{}: taken for {class}", row.name)),
                Some(_) => {}
            }
            if row.class.is_some() && !row.stopped {
                failures.push(format!(
                    "{}: not stopped ({} packets dropped, {} requests reached the origin afterwards, {})",
                    row.name,
                    row.dropped_in_kernel,
                    row.reached_after,
                    if row.shut_out { "shut out at the end" } else { "still answered at the end" }
                ));
            }
        }
        failures.extend(honest.examples.iter().map(|example| format!("honest request refused: {example}")));
        failures.extend(honest.silent.iter().map(|name| format!("honest client made no request: {name}")));
        let mut times: Vec<f64> = attacks.iter().filter_map(|row| row.drop_ms).collect();
        times.sort_by(f64::total_cmp);
        Self {
            ok: failures.is_empty() && honest.refused == 0,
            honest: HonestPart { requests: honest.requests, refused: honest.refused },
            median_drop_ms: median(&times),
            attacks,
            resident_bytes,
            failures,
        }
    }

    /// The table for people.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([
            "attack",
            "class found",
            "detected (s)",
            "drop (ms)",
            "dropped in kernel",
            "reached origin",
            "stopped",
        ]);
        let number =
            |value: Option<f64>, digits: usize| value.map_or("–".into(), |value| format!("{value:.digits$}"));
        for row in &self.attacks {
            let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
            table.add_row([
                Cell::new(row.name),
                Cell::new(row.class.as_deref().unwrap_or("not seen")),
                right(number(row.detected_seconds, 2)),
                right(number(row.drop_ms, 1)),
                right(row.dropped_in_kernel.to_string()),
                right(row.reached_origin.to_string()),
                Cell::new(if row.stopped { "yes" } else { "NO" }),
            ]);
        }
        let mut text = format!("{table}\n");
        let _ = writeln!(text, "finding → first kernel drop, median: {} ms", number(self.median_drop_ms, 1));
        let _ = writeln!(text, "honest clients: {} requests, {} refused", self.honest.requests, self.honest.refused);
        let _ = writeln!(text, "memory of the daemon, at most: {:.1} MB", self.resident_bytes as f64 / 1e6);
        for failure in &self.failures {
            let _ = writeln!(text, "FAILED  {failure}");
        }
        text
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
    } else {
        sorted.get(middle).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(class: Option<&str>, stopped: bool) -> Row {
        Row {
            name: "nmap",
            class: class.map(str::to_owned),
            detected_seconds: None,
            drop_ms: Some(2.0),
            dropped_in_kernel: 1,
            reached_origin: 0,
            stopped,
            class_fits: class == Some("port_scan"),
            source: std::net::Ipv4Addr::new(198, 51, 100, 11).into(),
            decision: None,
            passed_packets: 1,
            reached_after: 0,
            shut_out: stopped,
        }
    }

    #[test]
    fn only_a_clean_run_is_ok() {
        let judge = |row: Row, refused: u64| {
            Report::new(vec![row], Outcome { requests: 9, refused, ..Outcome::default() }, 0).ok
        };
        assert!(judge(row(Some("port_scan"), true), 0));
        assert!(!judge(row(None, false), 0), "an unseen attack");
        assert!(!judge(row(Some("port_scan"), false), 0), "an attack that went on");
        assert!(!judge(row(Some("xss"), true), 0), "an attack taken for another");
        assert!(!judge(row(Some("port_scan"), true), 1), "a refused honest request");
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
        assert_eq!(median(&[1.0, 3.0]), Some(2.0));
    }

    #[test]
    fn machines_get_the_names_that_stay() {
        let report = Report::new(vec![row(Some("port_scan"), true)], Outcome::default(), 7);
        let json = serde_json::to_value(&report).unwrap();
        for key in ["name", "class", "detected_seconds", "drop_ms", "dropped_in_kernel", "reached_origin", "stopped"] {
            assert!(json["attacks"][0].get(key).is_some(), "{key}");
        }
        for key in ["ok", "attacks", "honest", "resident_bytes"] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert!(json["honest"].get("requests").is_some() && json["honest"].get("refused").is_some());
    }
}
