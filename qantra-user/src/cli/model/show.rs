//! Models, versions and comparisons in words. It must never leave out what is wrong.

use crate::{
    api::{ModelList, ModelStatus},
    cli::{
        error::CliError,
        output::{Format, Output, warn},
    },
    model::{Comparison, LiveComparison, Purpose, VersionStatus},
};

/// What `qantra model list` prints, and every verb that changes something. `full`: with what was measured.
pub(super) fn list(list: &ModelList, full: bool, output: &Output) -> Result<(), CliError> {
    warn(list.problem.as_slice());
    let is_human = output.format == Format::Human;
    let row = |model: &ModelStatus| {
        let sum = if is_human { model.sha256.chars().take(12).collect() } else { model.sha256.clone() };
        vec![
            model.role.clone(),
            model.name.clone(),
            model.version.clone(),
            model.scored.to_string(),
            model.schema.clone(),
            sum,
            model.file.display().to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = list.models.iter().map(row).collect();
    let header = ["ROLE", "NAME", "VERSION", "SCORED", "SCHEMA", "SHA-256", "FILE"];
    output.rows(list, &header, &rows, "No model is loaded.")?;
    if !is_human || list.versions.is_empty() {
        return Ok(());
    }
    let mut text = versions(list, output);
    text += &thresholds(list, output);
    if full {
        text += &measured(list, output);
    }
    for gone in &list.rolled_back {
        text += &format!("\n{} went back by itself: {}\n", gone.version, gone.reason);
    }
    if let Some(live) = &list.comparison {
        text += &format!("\n{}: {}", purpose(live), compared(&live.figures));
    }
    text += &drift(list, output);
    let [used, most] = [list.resident_bytes, list.resident_bytes_max].map(mib);
    text += &format!("\nMemory because of models: {used} of {most} (`models.max_resident_mb`)\n");
    output.text(&text)
}

fn versions(list: &ModelList, output: &Output) -> String {
    let row = |one: &VersionStatus| {
        let signed = one.signed.map_or("-", |signed| signed.as_str());
        let note = one.problem.clone().unwrap_or_else(|| one.models.join(", "));
        vec![one.version.to_string(), one.state.clone(), signed.to_owned(), note]
    };
    let rows: Vec<Vec<String>> = list.versions.iter().map(row).collect();
    format!("\n{}", output.table(&["VERSION", "STATE", "SIGNED", "MODELS"], &rows))
}

fn thresholds(list: &ModelList, output: &Output) -> String {
    let of = |model: &ModelStatus| {
        let row = |one: &crate::model::ThresholdStatus| {
            vec![model.name.clone(), one.name.clone(), format!("{:.4}", one.value), one.origin.clone()]
        };
        model.thresholds.iter().map(row).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = list.models.iter().flat_map(of).collect();
    let table = output.table(&["MODEL", "THRESHOLD", "VALUE", "FROM"], &rows);
    format!("\n{table}What sites have learnt goes before: `qantra model thresholds`\n")
}

fn measured(list: &ModelList, output: &Output) -> String {
    let row = |model: &ModelStatus| {
        let name = model.name.clone();
        let rows = model.measured.iter().map(move |(origin, figures)| {
            let text = match figures {
                serde_json::Value::Object(parts) => {
                    parts.iter().map(|(what, value)| format!("{what} {value}")).collect::<Vec<_>>().join(", ")
                }
                other => other.to_string(),
            };
            vec![name.clone(), origin.clone(), text]
        });
        rows.collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = list.models.iter().flat_map(row).collect();
    format!("\n{}", output.table(&["MODEL", "MEASURED ON", "FIGURES"], &rows))
}

fn drift(list: &ModelList, output: &Output) -> String {
    if list.drift.is_empty() {
        return String::new();
    }
    let row = |one: &crate::model::Drift| {
        let of = if one.trained { "training" } else { "first traffic" };
        vec![one.role.as_str().to_owned(), one.feature.clone(), format!("{:.3}", one.psi), of.to_owned()]
    };
    let rows: Vec<Vec<String>> = list.drift.iter().map(row).collect();
    format!("\n{}", output.table(&["DRIFT", "FEATURE", "PSI", "AGAINST"], &rows))
}

fn purpose(live: &LiveComparison) -> &'static str {
    match live.purpose {
        Purpose::Shadow => "Shadow (second) beside the active version (first)",
        Purpose::Guard => "Promoted version (second) beside the one before (first)",
    }
}

/// A comparison in words.
pub(super) fn compared(comparison: &Comparison) -> String {
    let Comparison { requests, both, only_first, only_second, same_class, sources, sources_differ, failed, .. } =
        comparison;
    let (Some(agreement), Some((shift, size))) = (comparison.agreement(), comparison.mean_shift()) else {
        return "no request compared yet\n".to_owned();
    };
    format!(
        "{requests} requests, the same verdict for {:.3} %\nrefused by both {both} (same class {same_class}), by the first \
         alone {only_first}, by the second alone {only_second}\nconfidence moved by {shift:+.5}, its size by {size:.5}\n\
         {sources} sources, {sources_differ} judged differently; {failed} failed\n",
        agreement * 100.0
    )
}

/// What `qantra status` says on one line; none while there are no models.
pub(in crate::cli) fn line(list: &ModelList) -> Option<String> {
    let active = list.versions.iter().find(|version| version.state == "active")?;
    let signed = active.signed.map_or("-", |signed| signed.as_str());
    let [used, most] = [list.resident_bytes, list.resident_bytes_max].map(mib);
    let mut text = format!("version {} ({signed}), {used} of {most} of memory", active.version);
    if let Some(live) = &list.comparison {
        let what = match live.purpose {
            Purpose::Shadow => "a shadow",
            Purpose::Guard => "the version before",
        };
        let figures = match (live.figures.agreement(), live.figures.mean_shift()) {
            (Some(agreement), Some((shift, _))) => format!(
                "the same verdict for {:.3} % of {}, confidence moved by {shift:+.5}",
                agreement * 100.0,
                live.figures.requests
            ),
            _ => "no request yet".into(),
        };
        text += &format!("; compared with {what}: {figures}");
    }
    Some(text)
}

pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
