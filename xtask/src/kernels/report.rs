//! Enters: rows. Leaves: a table of checks by kernels for people, with what went wrong below it, or one JSON object. It must
//! never leave a failure's words out.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};

use super::rows::Row;

/// The whole result.
#[derive(Default)]
pub(super) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    /// How many checks failed; a run in trouble is one more.
    pub(super) fn failures(&self) -> usize {
        let of = |row: &Row| {
            let checks = row.checks.iter().filter(|check| !check.ok).count();
            if checks == 0 && !row.is_ok() { 1 } else { checks }
        };
        self.rows.iter().map(of).sum()
    }

    /// For machines; the names of keys stay.
    pub(super) fn json(&self) -> Value {
        json!({"test": "kernels", "ok": self.failures() == 0, "rows": self.rows})
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        let head = |row: &Row| {
            let btf = if row.btf { "BTF" } else { "no BTF" };
            format!("{}\n{}\n{} KiB pages\n{btf}", row.name, row.kernel, row.page_bytes / 1024)
        };
        table.set_header(std::iter::once("check".to_owned()).chain(self.rows.iter().map(head)));
        let mut names: Vec<&str> = Vec::new();
        for check in self.rows.iter().flat_map(|row| &row.checks) {
            if names.contains(&check.check.as_str()) {
                continue;
            }
            // Kernels differ in their checks; those of one rung stand together.
            let rung = |name: &str| name.split(':').next().map(str::to_owned);
            let last = names.iter().rposition(|name| rung(name) == rung(&check.check));
            names.insert(last.map_or(names.len(), |last| last + 1), &check.check);
        }
        for name in names {
            let mark = |row: &Row| match row.checks.iter().find(|check| check.check == name) {
                Some(check) if check.ok => "ok",
                Some(_) => "FAILED",
                None => "–",
            };
            table.add_row(line(name, self.rows.iter().map(|row| mark(row).to_owned())));
        }
        let seconds = |value: f64| format!("{value:.1} s");
        table.add_row(line("boot", self.rows.iter().map(|row| seconds(row.boot_seconds))));
        table.add_row(line("checks", self.rows.iter().map(|row| seconds(row.seconds))));
        format!("{table}\n{}", failures(&self.rows))
    }
}

/// What went wrong, a paragraph each.
pub(super) fn failures(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let name = format!("{}, {}", row.name, if row.btf { "BTF" } else { "no BTF" });
        for check in row.checks.iter().filter(|check| !check.ok) {
            let _ = writeln!(text, "FAILED  {name}: {}: {}", check.check, check.detail);
        }
        if let Some(trouble) = &row.trouble {
            let _ = writeln!(text, "FAILED  {name}: {trouble}");
        }
    }
    text
}

fn line(name: &str, cells: impl Iterator<Item = String>) -> Vec<Cell> {
    let right = |text| Cell::new(text).set_alignment(CellAlignment::Right);
    std::iter::once(Cell::new(name)).chain(cells.map(right)).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::rows::Check, *};

    fn row(ok: bool, trouble: Option<&str>) -> Row {
        let checks = vec![Check { check: "auto: rung".to_owned(), ok, detail: "why".to_owned() }];
        Row { name: "arm64-6.1", checks, trouble: trouble.map(str::to_owned), ..Row::default() }
    }

    fn report(rows: Vec<Row>) -> Report {
        Report { rows }
    }

    #[test]
    fn every_kind_of_failure_counts_and_is_told() {
        let good = report(vec![row(true, None)]);
        assert_eq!((good.failures(), good.json()["ok"].as_bool()), (0, Some(true)));
        let bad = report(vec![row(true, None), row(false, None), row(true, Some("killed"))]);
        assert_eq!((bad.failures(), bad.json()["ok"].as_bool()), (2, Some(false)));
        let text = bad.table();
        assert!(text.contains("FAILED  arm64-6.1, no BTF: auto: rung: why"), "{text}");
        assert!(text.contains("FAILED  arm64-6.1, no BTF: killed"), "{text}");
    }

    #[test]
    fn machines_get_the_names_that_stay() {
        let json = report(vec![row(true, None)]).json();
        for key in ["name", "kernel", "page_bytes", "btf", "boot_seconds", "seconds", "checks", "trouble"] {
            assert!(json["rows"][0].get(key).is_some(), "{key}");
        }
        assert!(json["rows"][0]["checks"][0].get("check").is_some());
    }
}
