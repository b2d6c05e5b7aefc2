//! Enters: measured values. Leaves: medians with their spread, for people and machines. It must never drop a slow run.

use std::{collections::BTreeMap, fmt, fs};

use serde::Serialize;

/// One bench's result.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The bench's name.
    pub bench: String,
    /// The machine it ran on.
    pub machine: Machine,
    /// What was measured.
    pub rows: Vec<Row>,
    /// Ratios between rows: what can be compared between machines.
    pub ratios: BTreeMap<String, f64>,
}

/// One measured quantity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name; stays the same over time.
    pub name: String,
    /// Its unit, such as `requests/s` or `us`.
    pub unit: String,
    /// The median of the runs.
    pub value: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// How many runs there were.
    pub runs: usize,
}

/// The machine a bench ran on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many processors this process may use.
    pub cpus: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The running kernel.
    pub kernel: String,
    /// The architecture.
    pub arch: String,
}

impl Report {
    /// A report without rows yet.
    pub fn new(bench: &str) -> Self {
        Self { bench: bench.to_owned(), machine: Machine::this(), rows: Vec::new(), ratios: BTreeMap::new() }
    }

    /// Adds a quantity from its runs; with no run there is no row.
    pub fn row(&mut self, name: &str, unit: &str, runs: &[f64]) {
        self.rows.extend(Row::from_runs(name, unit, runs));
    }

    /// Adds the ratio of two rows' medians; when one of them is missing or zero there is no ratio.
    pub fn ratio(&mut self, name: &str, of: &str, to: &str) {
        let value = |wanted: &str| self.rows.iter().find(|row| row.name == wanted).map(|row| row.value);
        if let (Some(of), Some(to)) = (value(of), value(to))
            && to != 0.0
        {
            self.ratios.insert(name.to_owned(), of / to);
        }
    }
}

impl Row {
    /// Median and spread of some runs.
    pub fn from_runs(name: &str, unit: &str, runs: &[f64]) -> Option<Self> {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        let value = f64::midpoint(lower, upper);
        Some(Self { name: name.to_owned(), unit: unit.to_owned(), value, min, max, runs: runs.len() })
    }
}

impl Machine {
    /// This machine, as far as `/proc` tells.
    fn this() -> Self {
        let field = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kib = memory.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        Self {
            cpu: field("/proc/cpuinfo", "model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib * 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(f, "{}: {} × {}, Linux {}", self.bench, machine.cpus, machine.cpu, machine.kernel)?;
        let names = self.rows.iter().map(|row| &row.name).chain(self.ratios.keys());
        let width = names.map(String::len).max().unwrap_or(0);
        for row in &self.rows {
            writeln!(
                f,
                "  {:width$}  {:>12} {:<11} ({} … {}, {} runs)",
                row.name,
                short(row.value),
                row.unit,
                short(row.min),
                short(row.max),
                row.runs
            )?;
        }
        for (name, ratio) in &self.ratios {
            writeln!(f, "  {name:width$}  {:>12} ×", short(*ratio))?;
        }
        Ok(())
    }
}

/// A number with as many digits as mean something.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 1_000.0 => 0,
        v if v >= 10.0 => 1,
        _ => 3,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_median_and_spread() {
        let row = Row::from_runs("nginx_rps", "requests/s", &[30.0, 10.0, 20.0]).unwrap();
        assert_eq!((row.value, row.min, row.max, row.runs), (20.0, 10.0, 30.0, 3));
        let even = Row::from_runs("x", "us", &[1.0, 2.0, 4.0, 8.0]).unwrap();
        assert_eq!(even.value, 3.0);
        assert_eq!(Row::from_runs("x", "us", &[]), None);
    }

    #[test]
    fn a_ratio_needs_both_rows() {
        let mut report = Report::new("proxy");
        report.row("qantra_rps", "requests/s", &[70.0]);
        report.ratio("qantra_vs_pingora", "qantra_rps", "pingora_rps");
        assert!(report.ratios.is_empty());
        report.row("pingora_rps", "requests/s", &[100.0]);
        report.ratio("qantra_vs_pingora", "qantra_rps", "pingora_rps");
        assert_eq!(report.ratios["qantra_vs_pingora"], 0.7);
    }

    #[test]
    fn json_has_the_agreed_keys() {
        let mut report = Report::new("model");
        report.row("request_fields_us", "us", &[4.0]);
        let json = serde_json::to_value(&report).unwrap();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["bench", "machine", "ratios", "rows"]);
        for key in ["name", "unit", "value", "min", "max", "runs"] {
            assert!(json["rows"][0].get(key).is_some(), "{key}");
        }
    }
}
