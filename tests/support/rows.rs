//! Enters: measured values by name. Leaves: one JSON object on standard output, as `cargo xtask bench` reads it from the
//! programs it runs: `{"row": {"unit": …, "runs": […]}}`. It must never drop a slow run.

use std::collections::BTreeMap;

use serde_json::json;

/// The rows of one measuring program.
#[derive(Debug, Default)]
pub struct Rows(BTreeMap<String, (&'static str, Vec<f64>)>);

impl Rows {
    /// Adds one run to a row.
    pub fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        self.0.entry(name.into()).or_insert_with(|| (unit, Vec::new())).1.push(value);
    }

    /// Prints them all.
    #[expect(clippy::print_stdout, reason = "this is the result")]
    pub fn print(&self) {
        let rows: serde_json::Map<String, serde_json::Value> =
            self.0.iter().map(|(name, (unit, runs))| (name.clone(), json!({"unit": unit, "runs": runs}))).collect();
        println!("{}", serde_json::Value::Object(rows));
    }
}
