//! `qantra explain ID`: why, and what came of it.

use std::fmt::Write as _;

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, clean},
    time,
};
use crate::{
    api::Explanation,
    clock::Now,
    decide::{DecisionId, Origin},
    detect::Finding,
};

/// Tell all about a decision: why it was made and what it stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra explain 7q2n4c8h1v9ka             the id stands on the block page and in `decisions list`
  qantra explain 7q2n4c8h1v9ka -o json")]
pub(super) struct Args {
    /// The decision's id
    id: DecisionId,
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let explanation: Explanation = daemon.get(&format!("/v1/decisions/{}", args.id))?;
    match output.format {
        Format::Json => output.json(&explanation),
        Format::Human | Format::Raw => output.text(&human(&explanation, Now::read().unix_ms)),
    }
}

/// Every line is cleaned at the end: most of this was chosen by an attacker.
fn human(explanation: &Explanation, now_ms: u64) -> String {
    let decision = &explanation.decision;
    let mut facts: Vec<(&str, String)> = vec![
        ("decision", format!("{} ({})", decision.id, explanation.state.as_str())),
        ("whom", format!("{} as {}", decision.scope, format!("{:?}", decision.direction).to_lowercase())),
        ("action", decision.action.to_string()),
        ("reason", decision.reason.clone()),
        (
            "made by",
            match decision.origin {
                Origin::Detector => "detectors and policy".into(),
                Origin::Cli => "a person, by the command line".into(),
            },
        ),
        (
            "made at",
            format!("{} ({} ago)", time::moment(decision.created_unix_ms), ago(decision.created_unix_ms, now_ms)),
        ),
    ];
    facts.push((
        "ends",
        match (explanation.ended_unix_ms, decision.expires_unix_ms) {
            (Some(end), _) => {
                let why = explanation.end_reason.as_deref().unwrap_or("expired while Qantra was not running");
                format!("{} ({why})", time::moment(end))
            }
            (None, Some(end)) => format!("{} (in {})", time::moment(end), ago(now_ms, end)),
            (None, None) => "never".into(),
        },
    ));
    if decision.previous_offences > 0 {
        facts.push(("offences", format!("{} before this one", decision.previous_offences)));
    }
    let hits = &explanation.hits;
    facts.push((
        "stopped",
        format!("{} packets ({}), {} requests", hits.packets, time::bytes(hits.bytes), hits.requests),
    ));
    if let Some(first) = hits.first_unix_ms {
        let found_boot_ns = decision.findings.first().map_or(0, |finding| finding.at.boot_ns);
        let delay =
            hits.first_boot_ns.checked_sub(found_boot_ns).filter(|_| found_boot_ns > 0 && hits.first_boot_ns > 0);
        let after = delay.map(|ns| format!(", {:.1} ms after the finding", ns as f64 / 1e6)).unwrap_or_default();
        facts.push(("first drop", format!("{}{after}", time::moment(first))));
    }
    let moment = |at_ms: u64| format!("{} ({} ago)", time::moment(at_ms), ago(at_ms, now_ms));
    facts.extend(hits.last_unix_ms.map(|last| ("last drop", moment(last))));
    facts.extend(
        hits.packets_per_s.map(|rate| ("rate", format!("{rate:.1} packets/s from the first to the last drop"))),
    );
    facts.extend(hits.last_request_unix_ms.map(|last| ("last request", moment(last))));
    for (i, finding) in decision.findings.iter().enumerate() {
        facts.push(("", String::new()));
        of_finding(i + 1, finding, &mut facts);
    }
    let mut text = String::new();
    for (name, value) in facts {
        let _ = writeln!(text, "{}", format!("{name:<12} {}", clean(&value)).trim_end());
    }
    text
}

fn of_finding(number: usize, finding: &Finding, facts: &mut Vec<(&str, String)>) {
    let severity = format!("{:?}", finding.severity).to_lowercase();
    facts.push((
        "finding",
        format!("{number}: {}, {:.0}% sure, severity {severity}", finding.class, finding.confidence * 100.0),
    ));
    facts.push(("  detector", format!("{} {}", finding.detector, finding.detector_version)));
    facts.push(("  at", format!("{} from {}", time::moment(finding.at.unix_ms), finding.source)));
    facts.extend(finding.site.iter().map(|site| ("  site", site.clone())));
    let evidence = &finding.evidence;
    facts.extend(evidence.request.iter().map(|r| ("  request", format!("{} {} (id {})", r.method, r.path, r.id))));
    facts.extend(evidence.field.iter().map(|field| ("  field", field.clone())));
    facts.extend(evidence.value.iter().map(|value| ("  value", value.clone())));
    for rule in &evidence.rules {
        let (id, message, field, value) = (rule.id, &rule.message, &rule.field, &rule.value);
        facts.push(("  rule", format!("{id} {message}: {field} = {value}")));
    }
    let weights: Vec<String> =
        evidence.weights.iter().map(|weight| format!("{} {:+.2}", weight.feature, weight.weight)).collect();
    if !weights.is_empty() {
        facts.push(("  weighed", weights.join(", ")));
    }
    for measured in &evidence.measurements {
        facts.push((
            "  measured",
            format!("{} {} (threshold {})", measured.name, Plain(measured.value), Plain(measured.threshold)),
        ));
    }
}

/// A number without needless zeros.
struct Plain(f64);

impl std::fmt::Display for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:.3}", self.0);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn ago(from_ms: u64, to_ms: u64) -> String {
    time::short(to_ms.saturating_sub(from_ms) / 1_000)
}
