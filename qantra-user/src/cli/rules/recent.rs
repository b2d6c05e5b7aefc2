//! `qantra rules recent` and `qantra rules top`: what the rules of the running daemon said lately. It remembers a bounded
//! number of requests, and counts a bounded number of rules.

use std::net::IpAddr;

use clap::ValueEnum;

use crate::{
    api::{RuleCount, RuleOutcome, RuledRequest},
    cli::{daemon::Daemon, error::CliError, output::Output, time},
    clock::Now,
};

/// List the newest requests that rules matched, and what came of each
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra rules recent --outcome refused          what was refused lately, and by which rules?
  qantra rules recent --outcome unconfirmed      what would have been, had the models agreed (`inspect.confirm`)?
  qantra rules recent --rule 942100 --site shop
  qantra explain 1gkq8ahz9y3000000000002m        all about one: the id stands on the block page and in this list")]
pub(in crate::cli) struct Recent {
    /// Only of this site
    #[arg(long)]
    site: Option<String>,
    /// Only what this rule matched
    #[arg(long, value_name = "ID")]
    rule: Option<u64>,
    /// Only from this client
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Only what came of it so
    #[arg(long)]
    outcome: Option<Outcome>,
    /// At most so many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Outcome {
    /// It was refused
    Refused,
    /// The score refuses it, and the request models did not agree (`inspect.confirm`)
    Unconfirmed,
    /// It would have been refused: the engine is on `detect`, or simulation is on
    Reported,
    /// It went on: what matched refuses nothing
    Passed,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => RuleOutcome::Refused.as_str(),
            Self::Unconfirmed => RuleOutcome::Unconfirmed.as_str(),
            Self::Reported => RuleOutcome::Reported.as_str(),
            Self::Passed => RuleOutcome::Passed.as_str(),
        }
    }
}

/// List the rules that match most: where exclusions, or a ban, may be worth while
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra rules top
  qantra rules top --site shop -n 5 -o json
  qantra rules recent --rule 920420        the requests behind a count")]
pub(in crate::cli) struct Top {
    /// Only of this site
    #[arg(long)]
    site: Option<String>,
    /// At most so many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

pub(super) fn recent(args: &Recent, daemon: &Daemon, output: Output) -> Result<(), CliError> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.site.clone().map(|site| ("site", site)));
    query.extend(args.rule.map(|rule| ("rule", rule.to_string())));
    query.extend(args.ip.map(|ip| ("source", ip.to_string())));
    query.extend(args.outcome.map(|outcome| ("outcome", outcome.as_str().to_owned())));
    let found: Vec<RuledRequest> = daemon.get(&path("/v1/rules/requests", &query))?;
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let heading = ["AT", "REQUEST", "SITE", "FROM", "WHAT", "OUTCOME", "SCORE", "RULES"];
    output.rows(&found, &heading, &rows, "No rule matched any request that is remembered.")
}

pub(super) fn top(args: &Top, daemon: &Daemon, output: Output) -> Result<(), CliError> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.site.clone().map(|site| ("site", site)));
    let found: Vec<RuleCount> = daemon.get(&path("/v1/rules/top", &query))?;
    let now_ms = Now::read().unix_ms;
    let row = |count: &RuleCount| {
        vec![
            count.rule.to_string(),
            count.site.clone(),
            count.requests.to_string(),
            count.refused.to_string(),
            format!("{} ago", time::short(now_ms.saturating_sub(count.last_unix_ms) / 1_000)),
            count.field.clone(),
            count.message.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let heading = ["RULE", "SITE", "REQUESTS", "REFUSED", "LAST", "LAST FIELD", "MESSAGE"];
    output.rows(&found, &heading, &rows, "No rule matched any request since the daemon began.")
}

fn row(ruled: &RuledRequest) -> Vec<String> {
    const RULES_MAX: usize = 4;
    let mut ids: Vec<String> = ruled.rule_ids.iter().take(RULES_MAX).map(u64::to_string).collect();
    if ruled.rule_ids.len() > RULES_MAX {
        ids.push(format!("and {} more", ruled.rule_ids.len() - RULES_MAX));
    }
    let what = if ruled.is_response { "response to " } else { "" };
    vec![
        time::moment(ruled.at_unix_ms),
        ruled.request.id.clone(),
        ruled.site.clone(),
        ruled.source.to_string(),
        format!("{what}{} {}", ruled.request.method, ruled.request.path),
        ruled.outcome.as_str().to_owned(),
        if ruled.threshold > 0 { format!("{}/{}", ruled.score, ruled.threshold) } else { String::new() },
        ids.join(" "),
    ]
}

/// A path with a query.
fn path(path: &str, query: &[(&str, String)]) -> String {
    let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Percent-encodes what a person wrote (RFC 3986, section 2).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_escaped() {
        let query = [("limit", "3".to_owned()), ("site", "my shop&x=1".to_owned()), ("source", "::1".to_owned())];
        assert_eq!(path("/v1/rules/top", &query), "/v1/rules/top?limit=3&site=my%20shop%26x%3D1&source=%3A%3A1");
    }
}
