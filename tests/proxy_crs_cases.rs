//! Enters: a sample of CRS's own regression cases, of every file the first and every eighth after it, byte by byte as they
//! are written. Leaves: whether the real daemon says of each what the engine says in this process: which rules match, and with
//! which status it answers. It must never count a request that was not answered as one that is the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use qantra_tests::daemon::Daemon;
use rustix::net::{AddressFamily, SocketType};
use xtask::crs::sample::{self, Expected, Sample};

/// Of every file the first case, and each so many after it.
const EVERY: usize = 8;
/// Requests after which the daemon is asked what it remembers: less than it does.
const BATCH: usize = 200;

/// What differs on purpose: cases, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("920181-1", "two framings of one body: the proxy refuses it with 400 before any rule runs"),
    ("920290-1", "an empty host, which the harness takes for malformed and the proxy leaves to the rule"),
    ("920400-1", "the body is shorter than its Content-Length says: the proxy waits for the rest"),
    ("920410-1", "the size of all files together is beyond the 64 KiB of a body that the proxy hands to the rules"),
];

/// Bytes that no target may have (RFC 3986, section 2): the proxy refuses it with 400 before any rule runs.
fn has_forbidden_bytes(request: &[u8]) -> bool {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.iter().any(|byte| b"<>\"".contains(byte))
}

/// An origin that answers what it is told to.
struct Told {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Told {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let answer = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&answer);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let told = Arc::clone(&told);
                // A proxy that closes the connection ends it.
                thread::spawn(move || drop(answer_once(stream, &told)));
            }
        });
        Ok(Self { address, answer })
    }

    fn tell(&self, answer: &[u8]) {
        if let Ok(mut told) = self.answer.lock() {
            told.clear();
            told.extend_from_slice(answer);
        }
    }
}

/// Reads a head, answers, and goes on reading until the proxy closes: what follows is a body.
fn answer_once(mut stream: TcpStream, told: &Mutex<Vec<u8>>) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut head, mut chunk) = (Vec::new(), [0; 65_536]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "closed");
        head.extend_from_slice(&chunk[..read]);
    }
    let answer = told.lock().map(|told| told.clone()).unwrap_or_default();
    stream.write_all(&answer)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    while stream.read(&mut chunk)? > 0 {}
    Ok(())
}

/// What the daemon made of a request.
#[derive(Debug, Default)]
struct Outcome {
    /// 0: the connection ended without an answer.
    status: u16,
    ids: BTreeSet<u64>,
}

/// A release with the setup that its cases are written for.
fn release(folder: &Path, crs: &Path) -> Result<()> {
    symlink(crs.join("rules"), folder.join("rules"))?;
    let setup = fs::read_to_string(crs.join("crs-setup.conf.example"))?;
    Ok(fs::write(folder.join("crs-setup.conf"), format!("{setup}\n{}", sample::LEVELS))?)
}

fn source(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, (n / 250) as u8, (n % 250) as u8 + 1)
}

/// Sends bytes from an address of its own, so that what is said of them is found by it.
fn send(daemon: SocketAddr, from: Ipv4Addr, bytes: &[u8]) -> Result<u16> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
    rustix::net::connect(&socket, &daemon)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(8)))?;
    // It may answer, and close, before all is sent.
    let _ = stream.write_all(bytes);
    let (mut answer, mut chunk) = (Vec::new(), [0; 4_096]);
    while !answer.contains(&b'\n') {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
        }
    }
    let line = String::from_utf8_lossy(&answer);
    Ok(line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
}

fn run(samples: &[Sample], crs: &Path, engine: &str) -> Result<Vec<Outcome>> {
    let (origin, folder) = (Told::start()?, tempfile::tempdir()?);
    release(folder.path(), crs)?;
    let inspect = format!(
        "ruleset = \"crs\"\ncrs_dir = {:?}\nengine = \"{engine}\"\nparanoia = 4\ndetection_paranoia = 4\n\
         request_body_no_files_bytes_max = 131072\nresponse_bodies = true\nresponse_body_bytes_max = 1048576\n\
         deadline_ms = 20000",
        folder.path()
    );
    let site = format!(
        "[[site]]\nname = \"all\"\nhosts = [\"*\"]\n[[site.target]]\naddress = \"{}\"\n[policy]\nconfidence = 1.0\n",
        origin.address
    );
    let daemon = Daemon::start("", &inspect, &site)?;
    let mut outcomes = Vec::new();
    for (batch, chunk) in samples.chunks(BATCH).enumerate() {
        for (place, one) in chunk.iter().enumerate() {
            origin.tell(&one.answer);
            let status = send(daemon.address, source(batch * BATCH + place), &one.bytes)?;
            outcomes.push(Outcome { status, ids: BTreeSet::new() });
        }
        let said = daemon.json(&["rules", "recent", "-n", "10000"])?;
        let mut by_source: BTreeMap<IpAddr, BTreeSet<u64>> = BTreeMap::new();
        for one in said.as_array().context("a list")? {
            let from = one["source"].as_str().context("a source")?.parse()?;
            let ids = one["rule_ids"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64);
            by_source.entry(from).or_default().extend(ids);
        }
        for place in 0..chunk.len() {
            let at = batch * BATCH + place;
            outcomes[at].ids = by_source.remove(&IpAddr::V4(source(at))).unwrap_or_default();
        }
    }
    Ok(outcomes)
}

/// What is not as expected.
fn difference(one: &Sample, wanted: &Expected, got: &Outcome) -> Option<String> {
    if let Some(why) = &one.malformed {
        return (got.status != 400 || !got.ids.is_empty()).then(|| format!("malformed ({why}), and got {got:?}"));
    }
    if has_forbidden_bytes(&one.bytes) {
        return (got.status != 400 || !got.ids.is_empty()).then(|| format!("a forbidden byte, and got {got:?}"));
    }
    let ids: Vec<u64> = got.ids.iter().copied().collect();
    (got.status != wanted.status || ids != wanted.ids).then(|| {
        let more: Vec<_> = ids.iter().filter(|id| !wanted.ids.contains(id)).collect();
        let less: Vec<_> = wanted.ids.iter().filter(|id| !ids.contains(id)).collect();
        format!("status {} not {}, more {more:?}, less {less:?}", got.status, wanted.status)
    })
}

#[test]
fn the_proxy_says_of_crs_cases_what_the_engine_says() -> Result<()> {
    let crs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/crs"));
    if !crs.join("tests/regression").is_dir() {
        eprintln!("skipped: {} holds no regression cases of CRS", crs.display());
        return Ok(());
    }
    let samples = sample::samples(crs, EVERY)?;
    ensure!(samples.len() > 300, "a sample of several hundred: {}", samples.len());
    let mut excepted = BTreeSet::new();
    let mut wrong = Vec::new();
    let (mut same, mut refused) = (0, 0);
    for engine in ["detect", "on"] {
        for (one, got) in samples.iter().zip(run(&samples, crs, engine)?) {
            let wanted = if engine == "on" { &one.refusing } else { &one.detected };
            let exception = EXCEPTIONS.iter().find(|(cases, _)| one.id == *cases);
            match (difference(one, wanted, &got), exception) {
                (None, _) => same += 1,
                (Some(_), Some((cases, _))) => {
                    excepted.insert(*cases);
                }
                (Some(said), None) => {
                    wrong.push(format!("{} {engine}: {said}\n    {}", one.id, one.bytes.escape_ascii()))
                }
            }
            refused += usize::from(engine == "on" && got.status == 403);
        }
    }
    println!("{} requests, each twice: {same} the same, {refused} refused with 403", samples.len());
    for (cases, why) in EXCEPTIONS {
        ensure!(excepted.contains(cases), "{cases} is listed as an exception, and nothing differs");
        println!("excepted {cases}: {why}");
    }
    ensure!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
