//! Enters: the requests of CRS's regression cases, and changed copies of them. Leaves: which rules match in qantra-seclang
//! and not in Debian's libmodsecurity 3, or the reverse. Every class of difference stands in `differences.toml` with its
//! reason; one that does not is an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use qantra_seclang::{Connection, Host, MemoryCollections, NoLookups, Options, RuleSet, Scratch, StdFiles};
use serde::{Deserialize, Serialize};

use super::{case, wire, wire::Request};
use crate::{bench, process, workspace};

/// Changed copies of every request.
const COPIES: u64 = 2;
/// What the C program takes.
const HEADERS_MAX: usize = 60;

/// Differences that are known, by rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    difference: Vec<Class>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    /// Rules that match in one engine only; none: every rule.
    #[serde(default)]
    rules: Vec<u64>,
    /// `seclang` or `libmodsecurity`: where they match, when it is always the same.
    only: Option<String>,
    /// Only in requests whose content type has this in it.
    content_type: Option<String>,
    /// Only in requests in which one of these rules matched in either engine.
    #[serde(default)]
    after: Vec<u64>,
    reason: String,
}

impl Class {
    fn explains(&self, id: u64, only: &str, request: &Request, matched: &BTreeSet<u64>) -> bool {
        let has_type = |wanted: &String| {
            let content_type = request.header("content-type").unwrap_or_default().to_ascii_lowercase();
            String::from_utf8_lossy(&content_type).contains(wanted.as_str())
        };
        (self.rules.is_empty() || self.rules.contains(&id))
            && self.only.as_ref().is_none_or(|engine| engine == only)
            && self.content_type.as_ref().is_none_or(has_type)
            && (self.after.is_empty() || self.after.iter().any(|id| matched.contains(id)))
    }
}

#[derive(Debug, Serialize, Default)]
struct Report {
    requests: usize,
    equal: usize,
    explained: usize,
    unexplained: usize,
    /// Rule and engine, and how many requests.
    differences: BTreeMap<String, usize>,
}

/// Compares.
pub(super) fn run(crs: &Path, json: bool) -> Result<()> {
    let requests = requests(crs)?;
    let folder = workspace::target_dir().join("inspect");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let config = folder.join("differential.conf");
    fs::write(&config, configuration(crs)?)?;
    let theirs = libmodsecurity(&folder, &config, &requests)?;
    let rules = RuleSet::load(&StdFiles, &[&*config.to_string_lossy()], &Options::default())?;
    let mut scratch = Scratch::new();
    let known: Known = toml::from_str(include_str!("differences.toml")).context("differences.toml")?;
    let mut report = Report::default();
    let mut examples: BTreeMap<String, &Request> = BTreeMap::new();
    for (request, theirs) in requests.iter().zip(&theirs) {
        let ours = matched(&rules, &mut scratch, request);
        let mut names = Vec::new();
        names.extend(ours.difference(theirs).map(|id| (*id, "seclang")));
        names.extend(theirs.difference(&ours).map(|id| (*id, "libmodsecurity")));
        let either = ours.union(theirs).copied().collect();
        report.requests += 1;
        let mut new = false;
        for (id, only) in &names {
            let explained = known.difference.iter().any(|class| class.explains(*id, only, request, &either));
            let name = format!("{id} only in {only}");
            if !explained {
                new = true;
                examples.entry(name.clone()).or_insert(request);
            }
            *report.differences.entry(name).or_default() += 1;
        }
        match (names.is_empty(), new) {
            (true, _) => report.equal += 1,
            (false, false) => report.explained += 1,
            (false, true) => report.unexplained += 1,
        }
    }
    print(&report, &known, &examples, json)
}

fn print(report: &Report, known: &Known, examples: &BTreeMap<String, &Request>, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        for class in &known.difference {
            println!("known: {}", class.reason);
        }
        for (name, count) in &report.differences {
            println!("{name}: {count} requests");
        }
        for (name, request) in examples {
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            println!("\n{name}: {} {}", text(&request.method), text(&request.target));
            for (name, value) in &request.headers {
                println!("  {}: {}", text(name), text(value));
            }
            println!("  {}", text(&request.body[..request.body.len().min(400)]));
        }
        let Report { requests, equal, explained, unexplained, .. } = report;
        println!("{requests} requests: {equal} equal, {explained} differ as explained, {unexplained} otherwise");
    }
    if report.unexplained > 0 {
        bail!("{} requests match other rules than in libmodsecurity, for no listed reason", report.unexplained);
    }
    Ok(())
}

/// One file for both engines: paranoia 4, nothing refused.
fn configuration(crs: &Path) -> Result<String> {
    let crs = crs.canonicalize().with_context(|| format!("cannot find {}", crs.display()))?;
    let crs = crs.display();
    Ok(format!(
        "SecRuleEngine DetectionOnly\nSecRequestBodyAccess On\nSecResponseBodyAccess Off\nSecAuditEngine Off\n\
         SecRequestBodyLimit 13107200\nSecRequestBodyNoFilesLimit 131072\nSecPcreMatchLimit 500000\n{}\n{}\n\
         Include {crs}/crs-setup.conf.example\nInclude {crs}/rules/*.conf\n",
        bench::inspect::BODY_RULES,
        super::TEST_LEVELS
    ))
}

/// The requests of all cases that a server takes, each with changed copies.
fn requests(crs: &Path) -> Result<Vec<Request>> {
    let mut requests = Vec::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for case in case::read(&crs.join("tests/regression/tests"))? {
        for stage in case.stages.iter().flatten() {
            let Ok(request) = wire::receive(&wire::bytes(&stage.input, None)?) else { continue };
            for copy in 0..=COPIES {
                let mut request = request.clone();
                for _ in 0..copy {
                    change(&mut request, &mut random);
                }
                if is_plain(&request) {
                    requests.push(request);
                }
            }
        }
    }
    Ok(requests)
}

/// Whether a request can be told to a C program, line by line.
fn is_plain(request: &Request) -> bool {
    let plain = |bytes: &[u8]| !bytes.iter().any(|byte| matches!(byte, 0 | b'\n' | b'\r'));
    let mut texts = request.headers.iter().flat_map(|(name, value)| [name, value]);
    request.headers.len() <= HEADERS_MAX
        && texts.all(|text| plain(text))
        && [&request.method, &request.target, &request.version].into_iter().all(|text| plain(text))
}

/// Numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or(0)
    }
}

/// Changes a request as attackers do who look for a gap: another case, an escape, an odd sign, a piece left out or twice.
fn change(request: &mut Request, random: &mut Random) {
    const PIECES: [&[u8]; 16] = [
        b"%27", b"%3c", b"%20", b"/**/", b"%00", b"%u0027", b"+", b"\\", b"'", b"\"", b";", b"%2525", b"&amp;",
        b"%c3%a9", b"../", b"=",
    ];
    let header = random.below(request.headers.len() + 1);
    let in_body = !request.body.is_empty() && random.below(3) > 0;
    let text = if in_body {
        &mut request.body
    } else if random.below(2) == 0 && header < request.headers.len() {
        &mut request.headers[header].1
    } else {
        &mut request.target
    };
    // The target stays one.
    let first = usize::from(!in_body);
    if text.len() <= first {
        return;
    }
    let at = first + random.below(text.len() - first);
    match random.below(5) {
        0 => text[at] ^= if text[at].is_ascii_alphabetic() { 0x20 } else { 0 },
        1 => {
            let piece = PIECES[random.below(PIECES.len())];
            text.splice(at..at, piece.iter().copied());
        }
        2 => {
            let escape = format!("%{:02x}", text[at]);
            text.splice(at..=at, escape.into_bytes());
        }
        3 => {
            let end = (at + 1 + random.below(8)).min(text.len());
            text.drain(at..end);
        }
        _ => {
            let end = (at + 1 + random.below(16)).min(text.len());
            let again = text[at..end].to_vec();
            text.splice(at..at, again);
        }
    }
    // What the length says is what there is.
    let length = request.body.len().to_string().into_bytes();
    for (_, value) in request.headers.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length")) {
        value.clone_from(&length);
    }
    request.target.retain(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | 0));
}

/// The ids that libmodsecurity logs for each request.
fn libmodsecurity(folder: &Path, config: &Path, requests: &[Request]) -> Result<Vec<BTreeSet<u64>>> {
    let program = bench::inspect::build_libmodsecurity(folder)?;
    let path = folder.join("differential.requests");
    let mut file = std::io::BufWriter::new(fs::File::create(&path)?);
    for Request { method, target, version, headers, body } in requests {
        for line in [method, target, version] {
            file.write_all(line)?;
            file.write_all(b"\n")?;
        }
        writeln!(file, "{}", headers.len())?;
        for line in headers.iter().flat_map(|(name, value)| [name, value]) {
            file.write_all(line)?;
            file.write_all(b"\n")?;
        }
        writeln!(file, "{}", body.len())?;
        file.write_all(body)?;
    }
    file.flush()?;
    let text = process::stdout(Command::new(program).arg(config).arg(&path).arg("ids"))?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    // The first line tells how long the rules took to load.
    let ids = |line: &str| line.split_whitespace().filter_map(|word| word.parse().ok()).filter(is_compared).collect();
    let mut found: Vec<BTreeSet<u64>> = text.lines().skip(1).map(ids).collect();
    // The output is trimmed: the last requests may have matched nothing.
    found.resize(requests.len().max(found.len()), BTreeSet::new());
    if found.len() != requests.len() {
        bail!("libmodsecurity answered {} of {} requests", found.len(), requests.len());
    }
    Ok(found)
}

/// Rules that add scores up, and follow from the others, say nothing new.
fn is_compared(id: &u64) -> bool {
    !(949_000..950_000).contains(id) && !(959_000..960_000).contains(id) && !(980_000..981_000).contains(id)
}

fn matched(rules: &RuleSet, scratch: &mut Scratch, request: &Request) -> BTreeSet<u64> {
    let local = std::net::Ipv4Addr::LOCALHOST.into();
    let connection = Connection { client: local, client_port: 4711, server: local, server_port: 80, unique_id: "1" };
    let mut collections = MemoryCollections::new(1);
    let mut host = Host { now_s: 1_750_000_000, elapsed_ms: 1, collections: &mut collections, lookups: &NoLookups };
    let mut transaction = rules.transaction(scratch, &connection);
    transaction.request_line(&request.method, &request.target, &request.version);
    for (name, value) in &request.headers {
        transaction.request_header(name, value);
    }
    let _ = transaction.request_headers(&mut host);
    let _ = transaction.request_body(&request.body);
    let _ = transaction.finish_request(&mut host);
    transaction.response_line(200, b"HTTP/1.1");
    transaction.response_header(b"Content-Type", b"text/html");
    let _ = transaction.response_headers(&mut host);
    let _ = transaction.finish_response(&mut host);
    transaction.logging(&mut host);
    let logged = transaction.matches().filter(|found| found.logged);
    logged.map(|found| found.rule_id).filter(is_compared).collect()
}
