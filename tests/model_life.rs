//! The real daemon while its models are loaded, shadowed, promoted and taken back: no request is lost, what is broken is
//! refused with its reason, and what breaks its budget goes back by itself. They need ONNX Runtime where
//! `cargo xtask setup` puts it, and say so when they skip.
//!
//! `QANTRA_MODEL_CYCLES` says how often the first test goes round; 1,000 take about an hour of a small machine.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use http::Method;
use qantra_tests::{binary, client::Client, onnx::library, upstream::Origin};
use qantra_user::{
    api::{self, Installed, ModelList},
    model::{Bundle, LifeVerb},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// How long a start may take, and how long the daemon may take to notice what it must.
const PATIENCE: Duration = Duration::from_secs(60);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `models.deadline_ms`, as it is when nobody says otherwise.
const DEADLINE_MS: f64 = 20.0;

/// Two addresses that were free a moment ago; held at once, so that they differ.
fn free_ports() -> Result<(SocketAddr, SocketAddr)> {
    let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((first.local_addr()?, second.local_addr()?))
}

/// A daemon with one site, and the models of the project.
struct Daemon {
    folder: TempDir,
    proxy: SocketAddr,
    metrics: SocketAddr,
    child: Child,
    _origin: Origin,
}

impl Daemon {
    fn start(library: &Path, models: &str) -> Result<Self> {
        let (folder, origin) = (tempfile::tempdir()?, Origin::start("origin")?);
        let (proxy, metrics) = free_ports()?;
        let config = format!(
            r#"
            [daemon]
            state_dir = "{folder}/state"
            control_socket = "{folder}/control.sock"
            [proxy]
            trusted_proxies = ["127.0.0.1"]
            [metrics]
            listen = "{metrics}"
            [models]
            dir = "{shipped}"
            runtime = "{library}"
            {models}
            [[listen]]
            address = "{proxy}"
            [[site]]
            name = "shop"
            hosts = ["*"]
            [[site.target]]
            address = "{origin}"
            "#,
            folder = folder.path().display(),
            shipped = workspace().join("models").canonicalize()?.display(),
            library = library.display(),
            origin = origin.address,
        );
        fs::write(folder.path().join("qantra.toml"), config)?;
        let child = Self::spawn(folder.path())?;
        let mut daemon = Self { folder, proxy, metrics, child, _origin: origin };
        daemon.wait()?;
        Ok(daemon)
    }

    fn spawn(folder: &Path) -> Result<Child> {
        Ok(Command::new(binary::qantra()).arg("-c").arg(folder.join("qantra.toml")).arg("run").spawn()?)
    }

    fn wait(&mut self) -> Result<()> {
        let begun = Instant::now();
        while !self.ask(&["status"])?.status.success() {
            ensure!(begun.elapsed() < PATIENCE, "the daemon does not answer");
            ensure!(self.child.try_wait()?.is_none(), "the daemon does not start");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// SIGKILL, and another one on the same files.
    fn restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = Self::spawn(self.folder.path())?;
        self.wait()
    }

    fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary::qantra());
        command.arg("-c").arg(self.folder.path().join("qantra.toml")).args(arguments).output().context("qantra")
    }

    /// A verb of `qantra model` that must go well; what it prints as JSON.
    fn model(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.ask(&[&["model"], arguments, &["-o", "json"]].concat())?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// One that must be refused; the reason.
    fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ask(&[&["model"], arguments].concat())?;
        ensure!(output.status.code() == Some(1), "{arguments:?} ended with {}", output.status);
        Ok(String::from_utf8(output.stderr)?)
    }

    /// Name of the version in a state such as `active`.
    fn version(&self, state: &str) -> Result<Option<String>> {
        let list = self.model(&["list"])?;
        let versions = list["versions"].as_array().context("versions")?;
        let found = versions.iter().find(|version| version["state"] == state);
        Ok(found.and_then(|version| version["version"].as_str()).map(ToOwned::to_owned))
    }

    fn resident_bytes(&self) -> Result<u64> {
        let status: Value = self.client().ask(Method::GET, "/v1/status", None::<&()>)?;
        status["resident_bytes"].as_u64().context("resident_bytes")
    }

    fn client(&self) -> api::Client {
        api::Client::new(self.folder.path().join("control.sock"))
    }

    /// The sum of a metric over its labels.
    fn metric(&self, name: &str) -> Result<f64> {
        let mut client = Client::connect(self.metrics)?;
        client.send(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\n\r\n")?;
        let text = client.answer()?.text();
        let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
        Ok(values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum())
    }

    fn list(&self) -> Result<ModelList> {
        Ok(self.client().ask(Method::GET, "/v1/models", None::<&()>)?)
    }

    /// As the verb of `qantra model` does, without starting a program.
    fn act(&self, verb: &LifeVerb) -> Result<ModelList> {
        Ok(self.client().ask(Method::POST, "/v1/models", Some(verb))?)
    }

    fn install(&self, folder: &TempDir) -> Result<String> {
        let tar = Bundle::read(folder.path())?.to_tar()?;
        let installed: Installed = self.client().send_bytes("/v1/models/versions", tar)?;
        Ok(installed.version.to_string())
    }

    fn get(&self, target: &str, client: &str) -> Result<u16> {
        let mut connection = Client::connect(self.proxy)?;
        connection.send(request(target, client).as_bytes())?;
        Ok(connection.answer()?.status)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn request(target: &str, client: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: {client}\r\nAccept: text/html\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\r\n"
    )
}

/// Name of the version in a state such as `active`.
fn state(list: &ModelList, state: &str) -> Result<String> {
    let found = list.versions.iter().find(|version| version.state == state);
    Ok(found.with_context(|| format!("no version is {state}"))?.version.to_string())
}

/// A copy of the project's models with changes to its manifest.
fn models(edit: impl Fn(String) -> String) -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    let shipped = workspace().join("models");
    for entry in fs::read_dir(&shipped)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "onnx") {
            fs::copy(&path, dir.path().join(path.file_name().context("a name")?))?;
        }
    }
    fs::write(dir.path().join("manifest.toml"), edit(fs::read_to_string(shipped.join("manifest.toml"))?))?;
    Ok(dir)
}

/// Models of another version; they say the same.
fn release(version: &str) -> Result<TempDir> {
    let renamed = |line: &str| match line.starts_with("version = ") {
        true => format!("version = \"{version}\"\n"),
        false => format!("{line}\n"),
    };
    models(|manifest| manifest.lines().map(renamed).collect())
}

/// Puts other bytes in a model's place, and their hash into the manifest.
fn with_file(file: &str, bytes: &[u8]) -> Result<TempDir> {
    let hex = |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect() };
    let old = hex(&fs::read(workspace().join("models").join(file))?);
    let dir = models(|manifest| manifest.replace(&old, &hex(bytes)))?;
    fs::write(dir.path().join(file), bytes)?;
    Ok(dir)
}

fn path(dir: &TempDir) -> &str {
    dir.path().to_str().unwrap_or_default()
}

/// One field of a protobuf message: bytes shorter than 128.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap_or(127)], bytes].concat()
}

/// Two nodes that read each other's output.
fn cyclic() -> Vec<u8> {
    let node = |input: &[u8], output: &[u8]| field(1, &[field(1, input), field(2, output), field(4, b"Relu")].concat());
    let graph = [node(b"b", b"a"), node(b"a", b"b"), field(11, &field(1, b"x")), field(12, &field(1, b"b"))].concat();
    [vec![8, 8], field(7, &graph)].concat()
}

/// After so many rounds nothing changes for so long.
const PAUSE_EVERY: usize = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// One request in so many is an attack: those reach classifier and judge.
const ATTACK_EVERY: u64 = 10;

/// What clients saw.
#[derive(Default)]
struct Seen {
    ms: Vec<f64>,
    refused: usize,
    wrong: Vec<String>,
}

impl Seen {
    fn add(&mut self, mut other: Self) {
        self.ms.append(&mut other.ms);
        self.wrong.append(&mut other.wrong);
        self.refused += other.refused;
    }
}

/// What clients saw since the last time.
fn take(seen: &Mutex<Seen>) -> Result<Seen> {
    Ok(std::mem::take(&mut *seen.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?))
}

/// Clients that ask one thing after the other until told to stop, each on its own connection.
fn hammer(
    proxy: SocketAddr,
    threads: u8,
    stop: &Arc<AtomicBool>,
    seen: &Arc<Mutex<Seen>>,
) -> Vec<thread::JoinHandle<()>> {
    let work = |thread: u8| {
        let (stop, seen) = (Arc::clone(stop), Arc::clone(seen));
        thread::spawn(move || {
            let mut connection = Client::connect(proxy).ok();
            for number in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // Of many clients: one that asks so often is refused for that.
                let is_attack = number % ATTACK_EVERY == 0;
                let range = if is_attack { 19 } else { 18 };
                let client = format!("198.{range}.{}.{}", 16 * thread + (number / 250 % 16) as u8, number % 250);
                let begun = Instant::now();
                let target = match is_attack {
                    true => format!("/item/{number}?page=-1%27+UNION+SELECT+login,password+FROM+users+--+-"),
                    false => format!("/item/{}?page={}&q=O%27Brien+%26+sons", number % 50, number % 7),
                };
                let answer = connection.as_mut().context("no connection").and_then(|connection| {
                    connection.send(request(&target, &client).as_bytes())?;
                    connection.answer()
                });
                let Ok(mut seen) = seen.lock() else { return };
                match answer {
                    Ok(answer) if answer.status == 200 => seen.ms.push(begun.elapsed().as_secs_f64() * 1e3),
                    Ok(answer) if is_attack && answer.status == 403 => {
                        seen.refused += 1;
                        connection = Client::connect(proxy).ok();
                    }
                    Ok(answer) => seen.wrong.push(format!("{target}: {}", answer.status)),
                    Err(error) => {
                        seen.wrong.push(format!("{target}: {error:#}"));
                        connection = Client::connect(proxy).ok();
                    }
                }
                drop(seen);
                thread::sleep(Duration::from_millis(2));
            }
        })
    };
    (1..=threads).map(work).collect()
}

/// How long requests took, in ms.
#[derive(Debug)]
#[expect(dead_code, reason = "it is printed")]
struct Latency {
    median: f64,
    p99: f64,
    p999: f64,
    largest: f64,
    above_deadline: usize,
}

impl Latency {
    fn of(ms: &[f64]) -> Self {
        let mut ms = ms.to_vec();
        ms.sort_by(f64::total_cmp);
        let at = |share: f64| ms.get((ms.len() as f64 * share) as usize).copied().unwrap_or_default();
        Self {
            median: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            largest: ms.last().copied().unwrap_or_default(),
            above_deadline: ms.iter().filter(|ms| **ms > DEADLINE_MS).count(),
        }
    }
}

#[test]
fn versions_change_under_load_and_no_request_is_lost() -> Result<()> {
    let Some(library) = library() else { return Ok(()) };
    let cycles: u32 = std::env::var("QANTRA_MODEL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let daemon = Daemon::start(&library, "samples_per_s = 100\nkeep_versions = 3")?;
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
    let clients = hammer(daemon.proxy, 4, &stop, &seen);
    // What the machine does while nothing changes: at first, and now and then, since others may be at work on it.
    let (mut quiet, mut busy) = (Seen::default(), Seen::default());
    thread::sleep(Duration::from_secs(if cycles > 5 { 10 } else { 2 }));
    quiet.add(take(&seen)?);
    let candidates = [release("2")?, release("3")?, release("4")?];
    let (mut resident, begun) = (Vec::new(), Instant::now());
    for cycle in 0..cycles as usize {
        let candidate = &candidates[cycle % candidates.len()];
        let first = state(&daemon.list()?, "active")?;
        let fresh = daemon.install(candidate)?;
        daemon.act(&LifeVerb::Shadow { version: Some(fresh.clone()) })?;
        let list = daemon.act(&LifeVerb::Promote { version: None, force: false })?;
        ensure!(state(&list, "active")? == fresh, "the shadow is not in force");
        let list = daemon.act(&LifeVerb::Rollback)?;
        ensure!(state(&list, "active")? == first, "the version before is not in force");
        let list = daemon.act(&LifeVerb::Promote { version: Some(daemon.install(candidate)?), force: false })?;
        ensure!(state(&list, "active")? == fresh, "the loaded version is not in force");
        if cycle % 50 == 49 {
            println!("{} cycles after {:.0} s", cycle + 1, begun.elapsed().as_secs_f64());
        }
        let kept = fs::read_dir(daemon.folder.path().join("state/models"))?.flatten();
        ensure!(kept.filter(|entry| entry.path().is_dir()).count() <= 3, "old versions stay");
        resident.push(daemon.resident_bytes()?);
        if cycle % PAUSE_EVERY == PAUSE_EVERY - 1 {
            busy.add(take(&seen)?);
            thread::sleep(PAUSE);
            quiet.add(take(&seen)?);
        }
    }
    busy.add(take(&seen)?);
    let unflagged = daemon.metric("qantra_model_unflagged_total{")?;
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| drop(client.join()));
    busy.wrong.append(&mut quiet.wrong);
    let (before, during) = (Latency::of(&quiet.ms), Latency::of(&busy.ms));
    let mib: Vec<u64> = resident.iter().map(|bytes| bytes >> 20).collect();
    println!("asked about {unflagged} requests that the gate did not flag");
    println!("between: {} requests; {before:?}", quiet.ms.len());
    let (answered, refused, wrong) = (busy.ms.len(), busy.refused, busy.wrong.len());
    println!("{cycles} cycles: {answered} requests answered, {refused} refused, {wrong} wrong; {during:?}");
    let every = mib.iter().step_by((mib.len() / 20).max(1)).collect::<Vec<_>>();
    println!("resident MiB, over the cycles: {every:?}; models say {}", daemon.model(&["list"])?["resident_bytes"]);
    ensure!(busy.wrong.is_empty(), "{:?}", &busy.wrong[..busy.wrong.len().min(5)]);
    ensure!(answered > 100, "{answered} requests are no load");
    ensure!(refused > 0, "no attack was refused: the judge was not asked");
    ensure!(unflagged > 0.0, "no request that the gate did not flag was asked about");
    // A request waits so long for the classifier at most; the rest is the machine's, as while nothing changes.
    ensure!(during.p99 < before.p99 + DEADLINE_MS, "{during:?} after {before:?}");
    // The first rounds fill caches and allocators; from then on it must not grow. One round's figure goes up and down by some
    // 30 MiB, since versions are loaded and let go all the time: the most of the first half is what counts.
    if let (Some(early), Some(last)) = (mib[..mib.len() / 2].iter().max(), mib.last()) {
        ensure!(*last <= early + 16, "memory grows: {mib:?} MiB");
    }
    Ok(())
}

#[test]
fn what_is_broken_is_refused_with_its_reason_and_the_old_ones_go_on() -> Result<()> {
    let Some(library) = library() else { return Ok(()) };
    let daemon = Daemon::start(&library, "")?;
    let attack = "/item?id=1%27%20UNION%20SELECT%20username,password%20FROM%20users--%20-";
    let huge = vec![0_u8; (16 << 20) + 1];
    let cases = [
        (with_file("request_classifier.onnx", &[0x5A; 40_000])?, "refused before it was loaded"),
        (
            with_file("request_gate.onnx", &cyclic())?,
            "node 0 (Relu): reads `b`, which nothing before it makes: a cycle",
        ),
        (with_file("request_gate.onnx", &huge)?, "is more than 16777216"),
        (models(|text| text.replacen("schema = \"", "schema = \"0", 1))?, "trained for feature schema"),
        (
            models(|text| text.replace("name = \"request-classifier\"", "name = \"../../x\""))?,
            "its name and version must be",
        ),
        (models(|text| text.replace("confidence = ", "confidenze = "))?, "threshold `confidence` is missing"),
    ];
    for (dir, expected) in &cases {
        for verb in ["load", "shadow"] {
            let said = daemon.refused(&[verb, path(dir)])?;
            ensure!(said.contains(expected) && said.trim().lines().count() == 1, "expected {expected}: {said}");
        }
        ensure!(daemon.version("active")?.as_deref() == Some("shipped"), "a refused version changed something");
        ensure!(daemon.get("/", "198.51.100.1")? == 200 && daemon.get(attack, "198.51.100.2")? == 403);
    }
    ensure!(daemon.refused(&["promote"])?.contains("there is no shadow"));
    ensure!(daemon.refused(&["rollback"])?.contains("no version before"));
    let kept = fs::read_dir(daemon.folder.path().join("state/models"))?.flatten();
    ensure!(kept.filter(|entry| entry.path().is_dir()).count() == 0, "refused versions are kept");
    Ok(())
}

#[test]
fn what_models_take_is_said_and_bounded() -> Result<()> {
    let Some(library) = library() else { return Ok(()) };
    let without = Daemon::start(&library, "enabled = false")?.resident_bytes()?;
    let daemon = Daemon::start(&library, "max_resident_mb = 144")?;
    let said = daemon.model(&["list"])?["resident_bytes"].as_u64().context("resident_bytes")?;
    let took = daemon.resident_bytes()?.saturating_sub(without);
    println!("models take {} KiB, {} KiB are said", took >> 10, said >> 10);
    ensure!(took < said + (16 << 20), "{took} bytes are taken, {said} are said");
    daemon.model(&["shadow", path(&release("2")?)])?;
    let compared = daemon.model(&["list"])?["resident_bytes"].as_u64().context("resident_bytes")?;
    ensure!(compared > said && compared < said + (48 << 20), "{compared} after {said}");
    drop(daemon);
    // Room for the models, and none for a second and third copy.
    let tight = Daemon::start(&library, &format!("max_resident_mb = {}", (said >> 20) + 4))?;
    let said = tight.refused(&["shadow", path(&release("2")?)])?;
    ensure!(said.contains("MiB of memory, `models.max_resident_mb` is"), "{said}");
    ensure!(tight.version("active")?.as_deref() == Some("shipped") && tight.version("shadow")?.is_none());
    drop(tight);
    let none = Daemon::start(&library, "max_resident_mb = 16")?;
    let list = none.model(&["list"])?;
    ensure!(list["problem"].as_str().is_some_and(|said| said.contains("models.max_resident_mb")), "{list}");
    ensure!(none.get("/", "198.51.100.1")? == 200, "without models requests are served");
    Ok(())
}

#[test]
fn what_refuses_too_much_goes_back_by_itself_and_the_state_survives_a_restart() -> Result<()> {
    let Some(library) = library() else { return Ok(()) };
    let mut daemon = Daemon::start(&library, "samples_per_s = 1000")?;
    let good = release("2")?;
    daemon.model(&["load", path(&good)])?;
    let before = daemon.version("active")?.context("a version")?;
    daemon.restart()?;
    ensure!(daemon.version("active")?.as_deref() == Some(before.as_str()), "a restart forgot the promoted version");
    // Everything is flagged, and everything flagged is an attack.
    let paranoid = models(|text| {
        let lower = |line: &str| match line.split_once(" = ") {
            Some((name, _)) if name.starts_with("flag_") || name.starts_with("ask_") => format!("{name} = -1000.0"),
            Some(("confidence", _)) => "confidence = 0.0".to_owned(),
            _ => line.to_owned(),
        };
        text.lines().map(lower).collect::<Vec<_>>().join("\n")
    })?;
    daemon.model(&["load", path(&paranoid)])?;
    let bad = daemon.version("active")?.context("a version")?;
    ensure!(bad != before);
    let begun = Instant::now();
    let mut sources = (0_u8..250).cycle().zip((0_u8..4).cycle());
    while daemon.version("active")?.as_deref() == Some(bad.as_str()) {
        ensure!(begun.elapsed() < PATIENCE, "it stays: {}", daemon.model(&["diff"])?);
        for (low, high) in sources.by_ref().take(60) {
            daemon.get("/about?lang=en", &format!("203.0.{}.{low}", 113 + high))?;
        }
    }
    ensure!(daemon.version("active")?.as_deref() == Some(before.as_str()), "it went somewhere else");
    println!("went back after {:.1} s", begun.elapsed().as_secs_f64());
    let list = daemon.model(&["list"])?;
    let reason = list["rolled_back"][0]["reason"].as_str().context("a reason")?;
    ensure!(reason.contains("models.max_false_positive_rate"), "{reason}");
    ensure!(daemon.refused(&["promote", &bad])?.contains("went back by itself"));
    daemon.model(&["promote", &bad, "--force"])?;
    Ok(())
}

#[test]
fn a_version_is_exported_compared_and_must_be_signed_where_that_is_asked() -> Result<()> {
    let Some(library) = library() else { return Ok(()) };
    let daemon = Daemon::start(&library, "")?;
    let out = tempfile::tempdir()?;
    let tar = out.path().join("models.tar");
    let shown = tar.to_str().context("a path")?;
    daemon.ask(&["model", "export", "shipped", "--to", shown])?;
    let sample = workspace().join("models/train/sample.jsonl");
    let sample = sample.to_str().context("a path")?;
    let diff = daemon.model(&["diff", "active", shown, "--input", sample])?;
    let comparison = &diff["comparison"];
    ensure!(comparison["requests"].as_u64() > Some(10), "{diff}");
    ensure!(comparison["only_first"] == 0 && comparison["only_second"] == 0 && comparison["shift"] == 0.0, "{diff}");
    let test = daemon.model(&["test", "active", "--input", sample])?;
    ensure!(test["refused"] == 0 && test["found"].as_u64() > Some(0), "{test}");
    daemon.model(&["shadow", shown, "--off"]).err().context("a version and --off at once")?;
    drop(daemon);
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let strict = Daemon::start(&library, &format!("trusted_keys = [\"{key}\"]\nrequire_signature = true"))?;
    let said = strict.refused(&["load", shown])?;
    ensure!(said.contains("signature: there is none"), "{said}");
    let garbage = out.path().join("x.minisig");
    fs::write(&garbage, "untrusted comment: x\nnonsense\n")?;
    let said = strict.refused(&["load", shown, "--signature", garbage.to_str().context("a path")?])?;
    ensure!(said.contains("no minisign signature"), "{said}");
    if strict.version("active")?.as_deref() != Some("shipped") {
        bail!("an unsigned version is in force");
    }
    Ok(())
}
