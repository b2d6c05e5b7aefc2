//! Enters: a CRS checkout with its regression cases. Leaves: how many pass, run in this process as go-ftw would send them
//! and as CRS's own test setup configures the engine; exceptions are listed in a file, each with its reason. It must never
//! count a case that did not run as one that passed.

mod backend;
mod case;
mod differential;
pub mod sample;
mod wire;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use qantra_seclang::{
    Connection, EngineMode, Host, MemoryCollections, NoLookups, Options, RuleSet, Scratch, StdFiles, Transaction,
};
use serde::Deserialize;

use crate::workspace;
use case::{Case, Output, Stage};
use wire::Request;

/// Options of `test crs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The checkout: rules/, crs-setup.conf.example and tests/regression/tests/.
    #[arg(long, value_name = "DIR")]
    pub crs: Option<PathBuf>,
    /// One JSON object instead of a summary.
    #[arg(long)]
    pub json: bool,
    /// Give the cases' requests, and changed copies of them, to Debian's libmodsecurity 3 as well, and compare which rules
    /// match.
    #[arg(long, conflicts_with = "case")]
    pub differential: bool,
    /// Only cases whose id begins so, with what the log said of each.
    #[arg(long, value_name = "PREFIX")]
    pub case: Option<String>,
}

/// What CRS's test setup says before the rules: see its tests/docker-compose.yml and the settings of its images.
const TEST_SETUP: &str = r#"
SecRuleEngine DetectionOnly
SecRequestBodyAccess On
SecRequestBodyLimit 13107200
SecRequestBodyNoFilesLimit 131072
SecRequestBodyLimitAction Reject
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecResponseBodyLimit 1048576
SecResponseBodyLimitAction ProcessPartial
"#;

/// What it says in crs-setup.conf.
const TEST_LEVELS: &str = r#"
SecAction "id:900005,phase:1,nolog,pass,\
    setvar:tx.blocking_paranoia_level=4,\
    setvar:tx.crs_validate_utf8_encoding=1,\
    setvar:tx.arg_name_length=100,\
    setvar:tx.arg_length=400,\
    setvar:tx.total_arg_length=64000,\
    setvar:tx.max_num_args=255,\
    setvar:tx.max_file_size=64100,\
    setvar:tx.combined_file_sizes=65535,\
    setvar:tx.reporting_level=4"
"#;

/// Cases that cannot pass here, each with its reason.
#[derive(Debug, Deserialize)]
struct Exceptions {
    exception: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
struct Exception {
    cases: Vec<String>,
    reason: String,
}

#[derive(Debug, serde::Serialize, Default)]
struct Report {
    passed: usize,
    failed: usize,
    excepted: usize,
    rate: f64,
    failures: Vec<String>,
}

/// `cargo xtask test crs`.
///
/// # Errors
/// When the checkout cannot be read, the rules do not load, or a case fails.
pub fn run(args: &Args) -> Result<()> {
    let crs = find(args.crs.as_deref())?;
    if args.differential {
        return differential::run(&crs, args.json);
    }
    let rules = load(&crs, TEST_SETUP, TEST_LEVELS)?;
    let cases = case::read(&crs.join("tests/regression/tests"))?;
    let exceptions: Exceptions = toml::from_str(include_str!("exceptions.toml")).context("exceptions.toml")?;
    let reasons: BTreeMap<&str, &str> = exceptions
        .exception
        .iter()
        .flat_map(|exception| exception.cases.iter().map(|case| (case.as_str(), exception.reason.as_str())))
        .collect();
    let mut report = Report::default();
    let mut scratch = Scratch::new();
    for case in &cases {
        let id = case.id.clone();
        let shown = args.case.as_ref().is_some_and(|prefix| id.starts_with(prefix.as_str()));
        if args.case.is_some() && !shown {
            continue;
        }
        let failure = check(case, &rules, &mut scratch, shown)?;
        match (failure, reasons.get(id.as_str())) {
            (None, None) => report.passed += 1,
            (None, Some(_)) => {
                eprintln!("{id} is listed as an exception and passes");
                report.passed += 1;
            }
            (Some(_), Some(_)) => report.excepted += 1,
            (Some(why), None) => {
                if !args.json {
                    println!("{id}: {why}");
                }
                report.failed += 1;
                report.failures.push(id);
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand cases")]
    {
        report.rate = report.passed as f64 / ((report.passed + report.failed) as f64).max(1.0);
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        for exception in &exceptions.exception {
            println!("excepted {}: {}", exception.cases.join(", "), exception.reason);
        }
        let Report { passed, failed, excepted, rate, .. } = &report;
        println!("{passed} passed, {failed} failed, {excepted} excepted: {:.2} % of the runnable", rate * 100.0);
    }
    if report.failed > 0 && report.rate < 0.995 {
        bail!("{} of CRS's cases fail", report.failed);
    }
    Ok(())
}

/// A request of a regression case, for fuzzing.
#[derive(Debug)]
pub struct Seed {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// The content type it says.
    pub content_type: String,
    /// Its body; the query when it has none.
    pub text: Vec<u8>,
}

/// The requests of every case of a checkout.
///
/// # Errors
/// When a case cannot be read.
pub fn seeds(crs: &Path) -> Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for case in case::read(&crs.join("tests/regression/tests"))? {
        for stage in case.stages.iter().flatten() {
            let bytes = wire::bytes(&stage.input, None)?;
            let Ok(request) = wire::receive(&bytes) else { continue };
            let content_type = String::from_utf8_lossy(request.header("content-type").unwrap_or_default()).into_owned();
            let query = request.target.splitn(2, |byte| *byte == b'?').nth(1).unwrap_or_default();
            let text = if request.body.is_empty() { query.to_vec() } else { request.body.clone() };
            seeds.push(Seed { bytes, content_type, text });
        }
    }
    Ok(seeds)
}

/// The checkout: as given, or beside this one.
///
/// # Errors
/// When there is none.
pub fn find(given: Option<&Path>) -> Result<PathBuf> {
    let beside = workspace::root().join("../shared/crs");
    let crs = given.map_or(beside, Path::to_path_buf);
    if !crs.join("rules").is_dir() {
        bail!(
            "{} is no CRS checkout: give one with --crs DIR (https://github.com/coreruleset/coreruleset)",
            crs.display()
        );
    }
    Ok(crs)
}

/// Loads a checkout's rules between two texts.
///
/// # Errors
/// When a rule cannot be read or is not supported.
pub fn load(crs: &Path, before: &str, levels: &str) -> Result<RuleSet> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let setup = ["crs-setup.conf", "crs-setup.conf.example"].map(|name| crs.join(name));
    let setup = setup.iter().find(|path| path.is_file()).context("the checkout has no crs-setup.conf.example")?;
    let options =
        Options { before: format!("{}\n{before}\n{levels}", qantra_seclang::RECOMMENDED), ..Options::default() };
    let names = [text(setup.clone()), text(crs.join("rules/*.conf"))];
    Ok(RuleSet::load(&StdFiles, &names.each_ref().map(String::as_str), &options)?)
}

/// Runs a case; says why it failed.
fn check(case: &Case, rules: &RuleSet, scratch: &mut Scratch, shown: bool) -> Result<Option<String>> {
    let mut collections = MemoryCollections::new(1000);
    let stages = match &case.stages {
        Ok(stages) => stages,
        Err(why) => return Ok(Some(format!("this harness cannot read it: {why}"))),
    };
    for stage in stages {
        if stage.input.follow_redirect == Some(true) || stage.input.save_cookie == Some(true) {
            return Ok(Some("follow_redirect and save_cookie are not supported by this harness".to_owned()));
        }
        let mut failure = stage_failure(stage, rules, scratch, &mut collections, shown)?;
        if failure.is_some() && stage.output.retry_once == Some(true) {
            failure = stage_failure(stage, rules, scratch, &mut collections, shown)?;
        }
        if failure.is_some() {
            return Ok(failure);
        }
    }
    Ok(None)
}

/// What came of a request.
#[derive(Default)]
struct Outcome {
    status: u16,
    ids: Vec<u64>,
    log: String,
    /// The body of the response, when it was let through.
    body: Vec<u8>,
}

fn stage_failure(
    stage: &Stage,
    rules: &RuleSet,
    scratch: &mut Scratch,
    collections: &mut MemoryCollections,
    shown: bool,
) -> Result<Option<String>> {
    let targets = &stage.input.uris;
    for target in targets.iter().map(Some).chain(targets.is_empty().then_some(None)) {
        let bytes = wire::bytes(&stage.input, target)?;
        let outcome = match wire::receive(&bytes) {
            Ok(request) => transact(&request, &stage.input, rules, scratch, collections, EngineMode::DetectionOnly)?,
            Err(why) => Outcome { status: 400, log: format!("refused by the server: {why}"), ..Outcome::default() },
        };
        if shown {
            println!("--- {}\n{}", bytes.escape_ascii(), outcome.log);
        }
        let failure = judge(&stage.output, &outcome)?;
        if failure.is_some() {
            return Ok(failure);
        }
    }
    Ok(None)
}

fn judge(expected: &Output, outcome: &Outcome) -> Result<Option<String>> {
    let log = &expected.log;
    let Outcome { status, ids, .. } = outcome;
    if !expected.status.is_empty() && !expected.status.contains(status) {
        return Ok(Some(format!("status {status}, not {:?}; matched {ids:?}", expected.status)));
    }
    if expected.isolated && ids.iter().any(|id| !log.expect_ids.contains(id)) {
        return Ok(Some(format!("more than {:?} matched: {ids:?}", log.expect_ids)));
    }
    if let Some(text) = expected.log_contains.as_ref().filter(|text| !outcome.log.contains(*text)) {
        return Ok(Some(format!("the log has no `{text}`")));
    }
    if let Some(text) = expected.no_log_contains.as_ref().filter(|text| outcome.log.contains(*text)) {
        return Ok(Some(format!("the log has `{text}`")));
    }
    if let Some(text) = &expected.response_contains
        && !String::from_utf8_lossy(&outcome.body).contains(text)
    {
        return Ok(Some(format!("the response has no `{text}`")));
    }
    if let Some(missing) = log.expect_ids.iter().find(|id| !ids.contains(id)) {
        let refused = if ids.is_empty() { outcome.log.as_str() } else { "" };
        return Ok(Some(format!("{missing} did not match; matched {ids:?} {refused}")));
    }
    if let Some(wrong) = log.no_expect_ids.iter().find(|id| ids.contains(id)) {
        return Ok(Some(format!("{wrong} matched; matched {ids:?}")));
    }
    if let Some(pattern) = &log.match_regex
        && !regex::Regex::new(pattern)?.is_match(&outcome.log)
    {
        return Ok(Some(format!("the log has no `{pattern}`")));
    }
    if let Some(pattern) = &log.no_match_regex
        && regex::Regex::new(pattern)?.is_match(&outcome.log)
    {
        return Ok(Some(format!("the log has `{pattern}`")));
    }
    if expected.expect_error == Some(true) && *status != 400 {
        return Ok(Some(format!("status {status}, and the connection should break")));
    }
    Ok(None)
}

fn transact(
    request: &Request,
    input: &case::Input,
    rules: &RuleSet,
    scratch: &mut Scratch,
    collections: &mut MemoryCollections,
    engine: EngineMode,
) -> Result<Outcome> {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let connection = Connection {
        client: local,
        client_port: 4711,
        server: local,
        server_port: input.port.unwrap_or(80),
        unique_id: "Zx5cPb8-test-0001",
    };
    let mut host = Host { now_s: 1_750_000_000, elapsed_ms: 1, collections, lookups: &NoLookups };
    let mut transaction = rules.transaction(scratch, &connection);
    transaction.set_engine(engine);
    transaction.request_line(&request.method, &request.target, &request.version);
    for (name, value) in &request.headers {
        transaction.request_header(name, value);
    }
    let mut status = 0;
    let mut body = Vec::new();
    let mut ended = transaction.request_headers(&mut host);
    if ended.is_none() {
        transaction.request_body(&request.body);
        ended = transaction.finish_request(&mut host);
    }
    if ended.is_none() {
        let response = match &input.response {
            Some(answer) => backend::told(answer)?,
            None => backend::answer(request),
        };
        status = response.status;
        transaction.response_line(response.status, b"HTTP/1.1");
        for (name, value) in &response.headers {
            transaction.response_header(name.as_bytes(), value.as_bytes());
        }
        ended = transaction.response_headers(&mut host);
        if ended.is_none() {
            transaction.response_body(&response.body);
            ended = transaction.finish_response(&mut host);
        }
        body = response.body;
    }
    transaction.logging(&mut host);
    let ids = transaction.matches().filter(|found| found.logged).map(|found| found.rule_id).collect();
    Ok(Outcome { status: ended.map_or(status, |ended| ended.status), ids, log: log(&transaction), body })
}

/// The lines that ModSecurity would log.
fn log(transaction: &Transaction<'_, '_>) -> String {
    let text = |bytes: &[u8]| {
        let escaped = |c: char| if c.is_control() { format!("\\x{:02x}", u32::from(c)) } else { c.to_string() };
        String::from_utf8_lossy(bytes).chars().map(escaped).collect::<String>()
    };
    let mut lines = String::new();
    if !transaction.body_error().is_empty() {
        lines.push_str(&text(transaction.body_error()));
        lines.push('\n');
    }
    for found in transaction.matches().filter(|found| found.logged) {
        lines.push_str(&format!(
            "[id \"{}\"] [msg \"{}\"] [data \"{}\"] [severity \"{}\"] [var \"{}:{}\"]\n",
            found.rule_id,
            text(found.message),
            text(found.data),
            found.severity.unwrap_or(0),
            found.variable.name(),
            text(found.key),
        ));
    }
    lines
}
