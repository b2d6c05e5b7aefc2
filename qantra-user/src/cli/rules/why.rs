//! `qantra rules why`: one request through a site's rules, here and now. No daemon is asked, no origin sees it; but for a
//! request's id, of which only the daemon knows.

use std::{
    fmt::Write as _,
    io::Read as _,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::Context as _;
use qantra_seclang::{Connection, EngineMode, Host, Match, MemoryCollections, NoLookups, Transaction};
use serde::Serialize;

use super::{list::short, name_of, severity, site_named};
use crate::{
    cli::{
        error::CliError,
        explain::is_request_id,
        output::{Format, Output, Tone, clean},
    },
    clock::Now,
    config::{Config, SiteIndex},
    inspect::{Field, FieldKind, RawRequest, RuleRun, RuleSite, excerpt},
    rules::RuleSets,
};

/// Largest request that is read.
const REQUEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How much of a value is shown.
const VALUE_BYTES_MAX: usize = 100;

/// Run a request through a site's rules and say which matched, on what, and what comes of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra rules why \"/search?q=1' or 1=1--\"
  qantra rules why https://shop.example/item?id=1 -H 'Cookie: a=b'
  qantra rules why /login --data 'user=admin&password=x' --site shop
  qantra rules why request.txt             a file with one whole HTTP/1.1 request; - is standard input
  qantra rules why 1gkq8ahz9y3000000000002m   what the daemon's rules said of this request; the same as `qantra explain`")]
pub(in crate::cli) struct Args {
    /// A path or URL, the name of a file with a whole request, - for standard input, or the id of a request
    request: String,
    /// Whose rules [default: the site that claims the request's host]
    #[arg(long)]
    site: Option<String>,
    /// A header field for a path or URL; can be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The body for a path or URL; makes it a POST of a form unless a header says otherwise
    #[arg(short, long, value_name = "BODY")]
    data: Option<String>,
    /// The method for a path or URL
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,
    /// The address that the request comes from
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))]
    from: IpAddr,
}

impl Args {
    /// The id of a request, when that is what was given, and no file has the name.
    pub(super) fn remembered(&self) -> Option<&str> {
        let id = self.request.as_str();
        (is_request_id(id) && !Path::new(id).exists()).then_some(id)
    }
}

#[derive(Serialize)]
struct Why {
    site: String,
    /// What the site's rules may do.
    engine: &'static str,
    /// Whether rules refuse the request, were the engine on.
    refused: bool,
    status: Option<u16>,
    /// The rule that ends the request; 0 is a limit on bodies.
    ended_by: Option<u64>,
    score: i64,
    threshold: Option<i64>,
    matches: Vec<Matched>,
    body_error: String,
}

#[derive(Serialize)]
struct Matched {
    id: u64,
    phase: u8,
    file: String,
    line: u32,
    severity: &'static str,
    /// What the Core Rule Set adds for the severity; 0 for rules that add nothing.
    score: i64,
    message: String,
    variable: String,
    /// An excerpt; what looks like a secret is masked.
    value: String,
    transformations: Vec<&'static str>,
    tags: Vec<String>,
}

pub(super) fn run(args: &Args, config: &Config, output: Output) -> Result<(), CliError> {
    let raw = RawRequest::parse(&request(args, config)?);
    let view = raw.view();
    let site = match &args.site {
        Some(name) => site_named(config, name)?,
        None => claimed(config, view.host),
    };
    let sets = RuleSets::load(config)?;
    let Some(rules) = sets.site(site) else {
        let name = name_of(config, site);
        return Err(CliError::Failed(anyhow::anyhow!(
            "site `{name}` runs no rules: see `inspect.ruleset` and `inspect.engine`"
        )));
    };
    let now_s = Now::read().unix_ms / 1_000;
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let connection =
        Connection { client: args.from, client_port: 40_000, server: local, server_port: 80, unique_id: "why" };
    let mut collections = MemoryCollections::new(100);
    let mut host = Host { now_s, elapsed_ms: 0, collections: &mut collections, lookups: &NoLookups };
    // Always on: what would be refused is the question.
    let on = RuleSite { rules: rules.rules.clone(), engine: EngineMode::On, name: &rules.name };
    let mut run = RuleRun::begin(on, Box::default(), &view, &connection);
    if !run.head(&view, &mut host) {
        run.body(&mut host);
    }
    let why = run.look(|transaction| told(transaction, rules.name.to_string(), rules.engine));
    if output.format == Format::Json {
        return output.json(&why);
    }
    let rows: Vec<Vec<String>> = why.matches.iter().map(cells).collect();
    let heading = ["ID", "SCORE", "VARIABLE", "VALUE", "DECODED", "MESSAGE", "WHERE"];
    if output.format == Format::Raw {
        return output.rows(&why, &heading, &rows, "");
    }
    let table = if rows.is_empty() { String::new() } else { output.table(&heading, &rows) };
    output.text(&format!("{table}{}", verdict(&why, output)))
}

/// The request's bytes.
fn request(args: &Args, config: &Config) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    if args.request == "-" {
        std::io::stdin().take(REQUEST_BYTES_MAX).read_to_end(&mut bytes).context("standard input")?;
        return Ok(bytes);
    }
    let is_url = args.request.starts_with(['/', '?']) || args.request.contains("://");
    // A path that is a file's, too, is meant as a file only when it is not written as one on the site could be.
    if !is_url || Path::new(&args.request).is_file() {
        let file = std::fs::File::open(&args.request)
            .with_context(|| format!("{}: is no path or URL, and as a file", args.request))?;
        file.take(REQUEST_BYTES_MAX).read_to_end(&mut bytes).with_context(|| args.request.clone())?;
        return Ok(bytes);
    }
    Ok(composed(args, config).into_bytes())
}

/// A request as a browser would send it: without the usual fields, rules about their absence would match.
fn composed(args: &Args, config: &Config) -> String {
    let (host, target) = match args.request.split_once("://") {
        Some((_, rest)) => {
            let at = rest.find(['/', '?']).unwrap_or(rest.len());
            (rest[..at].to_owned(), rest[at..].to_owned())
        }
        None => {
            let of_site = args.site.as_ref().and_then(|name| config.sites.iter().find(|site| site.name == *name));
            let host = of_site.and_then(|site| site.hosts.iter().find(|host| !host.contains('*')));
            (host.cloned().unwrap_or_else(|| "www.example.org".to_owned()), args.request.clone())
        }
    };
    let target = if target.starts_with('/') { target } else { format!("/{target}") };
    let method = args.method.as_deref().unwrap_or(if args.data.is_some() { "POST" } else { "GET" });
    // What a person types has blanks that a client would have encoded.
    let mut text = format!("{method} {} HTTP/1.1\r\n", target.replace(' ', "%20"));
    let has = |name: &str| {
        args.headers.iter().any(|line| line.split(':').next().is_some_and(|own| own.trim().eq_ignore_ascii_case(name)))
    };
    let mut fields = vec![
        ("Host", host),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".to_owned()),
        ("Accept", "*/*".to_owned()),
    ];
    if let Some(data) = &args.data {
        fields.push(("Content-Type", "application/x-www-form-urlencoded".to_owned()));
        fields.push(("Content-Length", data.len().to_string()));
    }
    for (name, value) in fields.iter().filter(|(name, _)| !has(name)) {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    for line in &args.headers {
        let _ = write!(text, "{line}\r\n");
    }
    text.push_str("\r\n");
    text.push_str(args.data.as_deref().unwrap_or_default());
    text
}

/// The site that claims a host, as the proxy would find it: the name itself, the longest `*.suffix`, `*`.
fn claimed(config: &Config, host: &str) -> SiteIndex {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.parse::<u16>().is_ok() { name } else { host });
    let weight = |pattern: &str| match pattern.strip_prefix("*.") {
        _ if pattern.eq_ignore_ascii_case(name) => Some(usize::MAX),
        _ if pattern == "*" => Some(0),
        Some(suffix) => {
            let at = name.len().checked_sub(suffix.len() + 1)?;
            let fits = name.get(at..).is_some_and(|end| end.starts_with('.') && end[1..].eq_ignore_ascii_case(suffix));
            fits.then_some(suffix.len())
        }
        None => None,
    };
    let best = config.sites.iter().enumerate().filter_map(|(i, site)| {
        let weight = site.hosts.iter().filter_map(|pattern| weight(pattern)).max()?;
        Some((weight, std::cmp::Reverse(i)))
    });
    let at = best.max().map_or(0, |(_, std::cmp::Reverse(i))| i);
    SiteIndex(u16::try_from(at).unwrap_or(0))
}

fn told(transaction: &Transaction<'_, '_>, site: String, engine: EngineMode) -> Why {
    let ended = transaction.intervention();
    let first = |names: &[&str]| names.iter().find_map(|name| transaction.score(name));
    Why {
        site,
        engine: match engine {
            EngineMode::On => "on",
            EngineMode::DetectionOnly => "detect",
            EngineMode::Off => "off",
        },
        refused: ended.is_some(),
        status: ended.map(|ended| ended.status),
        ended_by: ended.map(|ended| ended.rule_id),
        score: first(&["blocking_inbound_anomaly_score", "anomaly_score"]).unwrap_or(0),
        threshold: first(&["inbound_anomaly_score_threshold"]),
        matches: transaction.matches().map(|found| matched(&found, transaction)).collect(),
        body_error: printable(transaction.body_error()),
    }
}

fn matched(found: &Match<'_>, transaction: &Transaction<'_, '_>) -> Matched {
    let tags: Vec<String> = found.tags().map(printable).collect();
    let key = printable(found.key);
    let variable =
        if key.is_empty() { found.variable.name().to_owned() } else { format!("{}:{key}", found.variable.name()) };
    let value = Field { kind: FieldKind::Value, name: &variable, value: found.value };
    // What a severity counts for is said by the rules themselves; those of other makers add what they like.
    let points = match found.severity {
        _ if !tags.iter().any(|tag| tag.starts_with("OWASP_CRS") || tag.starts_with("paranoia-level/")) => None,
        Some(2) => transaction.score("critical_anomaly_score"),
        Some(3) => transaction.score("error_anomaly_score"),
        Some(4) => transaction.score("warning_anomaly_score"),
        Some(5) => transaction.score("notice_anomaly_score"),
        _ => None,
    };
    Matched {
        id: found.rule_id,
        phase: found.phase,
        file: found.position.file.to_string(),
        line: found.position.line,
        severity: severity(found.severity),
        score: points.unwrap_or(0),
        message: printable(found.message),
        value: excerpt(&value, 0, VALUE_BYTES_MAX),
        variable,
        transformations: found.transforms().iter().map(|transform| transform.name()).collect(),
        tags,
    }
}

fn cells(found: &Matched) -> Vec<String> {
    vec![
        found.id.to_string(),
        if found.score == 0 { String::new() } else { format!("+{}", found.score) },
        found.variable.clone(),
        found.value.clone(),
        found.transformations.join(","),
        found.message.clone(),
        format!("{}:{}", short(&found.file), found.line),
    ]
}

fn verdict(why: &Why, output: Output) -> String {
    let mut text = String::new();
    if !why.body_error.is_empty() {
        let _ = writeln!(text, "the body could not be read: {}", clean(&why.body_error));
    }
    let score = why.threshold.map_or_else(String::new, |threshold| format!(", score {} of {threshold}", why.score));
    let by = match why.ended_by {
        Some(0) => " by a limit on bodies".to_owned(),
        Some(id) => format!(" by rule {id}"),
        None => String::new(),
    };
    let status = why.status.unwrap_or(403);
    let (word, but) = match (why.refused, why.engine) {
        (false, _) => (output.tone("passed", Tone::Good), String::new()),
        (true, "on") => (output.tone(&format!("refused with {status}"), Tone::Bad), String::new()),
        (true, engine) => (
            output.tone(&format!("would be refused with {status}"), Tone::Bad),
            format!(", but only reported: the engine is on `{engine}`"),
        ),
    };
    let _ = write!(text, "site {}: {word}{by}{score}{but}", why.site);
    text
}

/// Bytes of an attacker's choice as a line of text.
fn printable(bytes: &[u8]) -> String {
    clean(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn the_site_is_found_as_the_proxy_would() {
        let site = |name: &str, host: &str| {
            format!("[[site]]\nname = \"{name}\"\nhosts = [\"{host}\"]\n[[site.target]]\naddress = \"127.0.0.1:1\"\n")
        };
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:80\"\n{}{}{}",
            site("any", "*"),
            site("sub", "*.example.org"),
            site("www", "www.example.org")
        );
        let config = parse(&text, Path::new("qantra.toml")).unwrap();
        let found = |host| claimed(&config, host).0;
        assert_eq!(
            [found("www.example.org"), found("a.example.org:8080"), found("example.org"), found("")],
            [2, 1, 0, 0]
        );
        assert_eq!([found("xexample.org"), found("WWW.Example.org"), found("[::1]:80")], [0, 2, 0]);
    }
}
