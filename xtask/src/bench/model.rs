//! `bench model`: µs per request for fields, gate and classifier, and per source for the isolation forest and what stands
//! behind it. Enters: the shipped models and a corpus. Leaves: rows measured by examples that run the daemon's own code;
//! this file must never time anything itself.

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
    let models = [workspace::root().join("models"), workspace::onnxruntime(Arch::host())];
    let requests = [models.as_slice(), &[corpus()]].concat();
    let mut rows = measured("request_cost", &requests)?;
    rows.extend(measured("behaviour_cost", &models)?);
    let mut report = Report::new("model");
    for (name, row) in &rows {
        report.row(name, &row.unit, &row.runs);
    }
    report.ratio("cached_vs_uncached", "request_fields_cached_us", "request_fields_us");
    Ok(report)
}

/// The rows that one of the daemon's examples prints.
fn measured(example: &str, arguments: &[PathBuf]) -> Result<BTreeMap<String, Measured>> {
    let mut command = process::cargo();
    command.args(["run", "--quiet", "--release", "--package", "qantra-user", "--example", example, "--"]);
    let output = process::stdout(command.args(arguments))?;
    serde_json::from_str(&output).with_context(|| format!("{example} printed: {output}"))
}

/// Recorded traffic where there is any, else the sample that the recipes made.
fn corpus() -> PathBuf {
    model::data_dir()
        .map_or_else(|_| workspace::root().join("models/train/sample.jsonl"), |dir| dir.join("http/train.jsonl.gz"))
}
