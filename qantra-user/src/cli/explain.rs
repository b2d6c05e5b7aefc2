//! `qantra explain ID`: why a decision was made and what came of it, or what rules said of one request.

use std::fmt::Write as _;

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, clean},
    time,
};
use crate::{
    api::{Explanation, RuleOutcome, RuledRequest},
    clock::Now,
    decide::{DecisionId, Origin},
    detect::{Finding, RuleEvidence, ThresholdOrigin},
};

/// Tell all about a decision: why it was made and what it stopped; or what rules said of one request
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra explain 7q2n4c8h1v9ka             the id stands on the block page and in `decisions list`
  qantra explain 1gkq8ahz9y3000000000002m  a request's: on the page of a refusal by rules, in X-Request-Id, in `rules recent`
  qantra explain 7q2n4c8h1v9ka -o json")]
pub(super) struct Args {
    /// The decision's id, or the request's
    #[arg(value_parser = id)]
    id: Id,
}

/// What is to be explained.
#[derive(Debug, Clone)]
enum Id {
    Decision(DecisionId),
    Request(String),
}

/// Ids of requests have 24 characters, those of decisions 13.
pub(super) fn is_request_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn id(text: &str) -> Result<Id, String> {
    if is_request_id(text) {
        return Ok(Id::Request(text.to_owned()));
    }
    text.parse()
        .map(Id::Decision)
        .map_err(|problem: crate::decide::BadDecisionId| format!("{problem}; the id of a request has 24"))
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let decision = match &args.id {
        Id::Decision(id) => id,
        Id::Request(id) => return request(id, daemon, output),
    };
    let explanation: Explanation = daemon.get(&format!("/v1/decisions/{decision}"))?;
    match output.format {
        Format::Json => output.json(&explanation),
        Format::Human | Format::Raw => output.text(&human(&explanation, Now::read().unix_ms)),
    }
}

/// What rules said of a request, and of its response.
pub(super) fn request(id: &str, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let found: Vec<RuledRequest> = daemon.get(&format!("/v1/rules/requests/{id}"))?;
    match output.format {
        Format::Json => output.json(&found),
        Format::Human | Format::Raw => {
            let now_ms = Now::read().unix_ms;
            let texts: Vec<String> = found.iter().map(|ruled| lines(of_request(ruled, now_ms))).collect();
            output.text(&texts.join("\n"))
        }
    }
}

fn of_request(ruled: &RuledRequest, now_ms: u64) -> Vec<(&'static str, String)> {
    let what = if ruled.is_response { "response" } else { "request" };
    let mut facts = vec![
        (what, format!("{} {} (id {})", ruled.request.method, ruled.request.path, ruled.request.id)),
        (
            "at",
            format!("{} ({} ago) from {}", time::moment(ruled.at_unix_ms), ago(ruled.at_unix_ms, now_ms), ruled.source),
        ),
        ("site", ruled.site.clone()),
    ];
    let status = ruled.status.map_or_else(String::new, |status| format!(" with {status}"));
    let by = match ruled.ended_by {
        Some(0) => " by a limit on bodies".to_owned(),
        Some(id) => format!(" by rule {id}"),
        None => String::new(),
    };
    let outcome = match ruled.outcome {
        RuleOutcome::Refused => format!("refused{status}{by}"),
        RuleOutcome::Unconfirmed => format!("passed: the score refuses it{by}, the request models do not agree"),
        RuleOutcome::Reported => format!("passed: it would have been refused{status}{by}, and is only reported"),
        RuleOutcome::Passed => "passed".to_owned(),
    };
    facts.push(("outcome", outcome));
    if ruled.threshold > 0 {
        facts.push(("score", format!("{} of {}", ruled.score, ruled.threshold)));
    }
    facts.extend(ruled.class.map(|class| ("looks like", format!("{class}, {:.0}% sure", ruled.confidence * 100.0))));
    facts.push(("rule set", ruled.ruleset.clone()));
    facts.extend(ruled.rules.iter().map(|rule| ("  rule", told(rule))));
    let more = ruled.rule_ids.iter().filter(|id| !ruled.rules.iter().any(|rule| rule.id == **id));
    let more: Vec<String> = more.map(u64::to_string).collect();
    if !more.is_empty() {
        facts.push(("  also", more.join(", ")));
    }
    facts.extend(ruled.decision.map(|id| ("decision", format!("{id}; `qantra explain {id}` tells all of it"))));
    facts
}

fn told(rule: &RuleEvidence) -> String {
    format!("{} {}: {} = {}", rule.id, rule.message, rule.field, rule.value)
}

/// Every line is cleaned: most of this was chosen by an attacker.
fn lines(facts: Vec<(&str, String)>) -> String {
    let mut text = String::new();
    for (name, value) in facts {
        let _ = writeln!(text, "{}", format!("{name:<12} {}", clean(&value)).trim_end());
    }
    text
}

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
    lines(facts)
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
        facts.push(("  rule", told(rule)));
    }
    let weights: Vec<String> =
        evidence.weights.iter().map(|weight| format!("{} {:+.2}", weight.feature, weight.weight)).collect();
    if !weights.is_empty() {
        facts.push(("  weighed", weights.join(", ")));
    }
    for measured in &evidence.measurements {
        let value = format!("{} {}", measured.name, Plain(measured.value));
        // Nothing is compared with zero: it stands for no threshold.
        let is_compared = measured.threshold != 0.0;
        let origin = measured.origin.as_ref().map(|origin| format!(", {}", origin_of(origin))).unwrap_or_default();
        let threshold = is_compared.then(|| format!(" (threshold {}{origin})", Plain(measured.threshold)));
        facts.push(("  measured", value + &threshold.unwrap_or_default()));
    }
}

/// Where a threshold came from, in words.
fn origin_of(origin: &ThresholdOrigin) -> String {
    match origin {
        ThresholdOrigin::Model { name, version } => format!("of model {name} {version}"),
        ThresholdOrigin::Config { key } => format!("of the configuration's `{key}`"),
        ThresholdOrigin::Rules => "of the site's rules".into(),
        ThresholdOrigin::Traffic { of_site, requests, sources, since_unix_ms, max_false_positive_rate } => {
            let whose = if *of_site { "site" } else { "endpoint" };
            let since = since_unix_ms.map(|at| format!(" since {}", time::moment(at))).unwrap_or_default();
            let share = Plain(max_false_positive_rate * 100.0);
            format!(
                "learnt from {requests} requests of {sources} networks to this {whose}{since}: {share} % may reach it"
            )
        }
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
