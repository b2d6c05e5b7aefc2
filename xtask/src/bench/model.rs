//! `bench model`: µs per request for fields, gate and classifier. Enters: the shipped models and a corpus. Leaves: rows
//! measured by `request_cost`, which runs the daemon's own code; this file must never time anything itself.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Report;
use crate::{
    model, process,
    workspace::{self, Arch},
};

#[derive(Deserialize)]
struct Measured {
    unit: String,
    runs: Vec<f64>,
}

/// Measures.
///
/// # Errors
/// When ONNX Runtime or the models are missing, or the measuring program fails.
pub(super) fn run() -> Result<Report> {
    let mut command = process::cargo();
    command
        .args(["run", "--quiet", "--release", "--package", "qantra-user", "--example", "request_cost", "--"])
        .arg(workspace::root().join("models"))
        .arg(workspace::onnxruntime(Arch::host()))
        .arg(corpus());
    let output = process::stdout(&mut command)?;
    let rows: BTreeMap<String, Measured> =
        serde_json::from_str(&output).with_context(|| format!("request_cost printed: {output}"))?;
    let mut report = Report::new("model");
    for (name, row) in &rows {
        report.row(name, &row.unit, &row.runs);
    }
    report.ratio("cached_vs_uncached", "request_fields_cached_us", "request_fields_us");
    Ok(report)
}

/// Recorded traffic where there is any, else the sample that the recipes made.
fn corpus() -> PathBuf {
    model::data_dir()
        .map_or_else(|_| workspace::root().join("models/train/sample.jsonl"), |dir| dir.join("http/train.jsonl.gz"))
}
