//! Enters: an engine's name, a configuration, a file of requests; then lines of `CASE COUNT` on standard input. Leaves: for
//! each line the nanoseconds of every request. One thread, one engine, so that a driver can run several in turns.

use std::{
    error::Error,
    hint::black_box,
    io::{BufRead as _, Write as _},
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use qantra_seclang::{Connection, Host, NoCollections, NoLookups, Options, RuleSet, Scratch, StdFiles};
use zentinel_modsec::ModSecurity;

/// The daemon's allocator, for both engines.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One request.
struct Request {
    method: String,
    uri: String,
    version: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

enum Engine {
    /// With what it remembers of values: forgotten before each request, or not.
    Seclang(Box<RuleSet>, Box<Scratch>, bool),
    Zentinel(Box<ModSecurity>),
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, config, requests] = arguments.as_slice() else { return Err("ENGINE CONFIG REQUESTS".into()) };
    let requests = read_requests(requests)?;
    let before = resident_bytes();
    let begin = Instant::now();
    let mut engine = match name.as_str() {
        "seclang" | "seclang_again" => {
            let rules = RuleSet::load(&StdFiles, &[config], &Options::default())?;
            Engine::Seclang(Box::new(rules), Box::new(Scratch::new()), name == "seclang")
        }
        _ => Engine::Zentinel(Box::new(ModSecurity::from_file(config)?)),
    };
    let seconds = begin.elapsed().as_secs_f64();
    println!("{seconds} {}", resident_bytes().saturating_sub(before));
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Some((case, count)) = line.split_once(' ') else { return Err("CASE COUNT".into()) };
        let request = requests.get(case.parse::<usize>()?).ok_or("no such case")?;
        let mut text = String::new();
        let mut ended = 0;
        for _ in 0..count.parse::<usize>()? {
            let begin = Instant::now();
            ended = black_box(engine.inspect(black_box(request))?);
            text.push_str(&format!("{} ", begin.elapsed().as_nanos()));
        }
        writeln!(out, "{ended} {}", text.trim_end())?;
        out.flush()?;
    }
    Ok(())
}

impl Engine {
    /// Runs every phase; the status of an intervention, or 0.
    fn inspect(&mut self, request: &Request) -> Result<u16, Box<dyn Error>> {
        match self {
            Self::Seclang(rules, scratch, forgets) => {
                if *forgets {
                    scratch.forget();
                }
                Ok(seclang(rules, scratch, request))
            }
            Self::Zentinel(engine) => zentinel(engine, request),
        }
    }
}

fn seclang(rules: &RuleSet, scratch: &mut Scratch, request: &Request) -> u16 {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let connection = Connection { client: local, client_port: 4711, server: local, server_port: 80, unique_id: "a1b2c3d4" };
    let mut host = Host { now_s: 1_750_000_000, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
    let mut transaction = rules.transaction(scratch, &connection);
    transaction.request_line(request.method.as_bytes(), request.uri.as_bytes(), request.version.as_bytes());
    for (name, value) in &request.headers {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    let mut ended = transaction.request_headers(&mut host);
    if ended.is_none() {
        transaction.request_body(&request.body);
        ended = transaction.finish_request(&mut host);
    }
    if ended.is_none() {
        transaction.response_line(200, b"HTTP/1.1");
        transaction.response_header(b"Content-Type", b"text/html");
        ended = transaction.response_headers(&mut host);
    }
    if ended.is_none() {
        ended = transaction.finish_response(&mut host);
    }
    transaction.logging(&mut host);
    ended.map_or(0, |ended| ended.status)
}

fn zentinel(engine: &ModSecurity, request: &Request) -> Result<u16, Box<dyn Error>> {
    let mut transaction = engine.new_transaction();
    transaction.process_uri(&request.uri, &request.method, &request.version)?;
    for (name, value) in &request.headers {
        transaction.add_request_header(name, value)?;
    }
    transaction.process_request_headers()?;
    if transaction.intervention().is_none() {
        transaction.append_request_body(&request.body)?;
        transaction.process_request_body()?;
    }
    if transaction.intervention().is_none() {
        transaction.add_response_header("Content-Type", "text/html")?;
        transaction.process_response_headers()?;
    }
    if transaction.intervention().is_none() {
        transaction.process_response_body()?;
    }
    transaction.process_logging()?;
    Ok(transaction.intervention().map_or(0, |found| found.status))
}

/// Requests as the driver writes them: lines, and a body of a told length.
fn read_requests(path: &str) -> Result<Vec<Request>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let mut rest = bytes.as_slice();
    let mut requests = Vec::new();
    while !rest.is_empty() {
        let mut line = || -> Result<String, Box<dyn Error>> {
            let end = rest.iter().position(|b| *b == b'\n').ok_or("a line is cut")?;
            let line = String::from_utf8(rest[..end].to_vec())?;
            rest = &rest[end + 1..];
            Ok(line)
        };
        let (method, uri, version) = (line()?, line()?, line()?);
        let count: usize = line()?.parse()?;
        let headers = (0..count).map(|_| Ok((line()?, line()?))).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let length: usize = line()?.parse()?;
        let body = rest.get(..length).ok_or("a body is cut")?.to_vec();
        rest = &rest[length..];
        requests.push(Request { method, uri, version, headers, body });
    }
    Ok(requests)
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
