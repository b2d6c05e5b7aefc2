//! Enters: CRS's cases. Leaves: a sample of their requests as bytes, with what the rules make of each in this process, for
//! those who send them through a server and compare. It must never leave out a file of cases.

use std::path::Path;

use anyhow::Result;
use qantra_seclang::{EngineMode, MemoryCollections, RuleSet, Scratch};

use super::{Outcome, TEST_LEVELS, TEST_SETUP, backend, case, load, transact, wire};

/// Rules that add scores up and refuse: they tell of the matches before them.
const SCORING: [std::ops::RangeInclusive<u64>; 3] = [949_000..=949_999, 959_000..=959_999, 980_000..=980_999];

/// One request of a case.
#[derive(Debug)]
pub struct Sample {
    /// `RULE-NUMBER`, as go-ftw names it; of a later request with its place behind a dot.
    pub id: String,
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// What the origin answers, all its bytes.
    pub answer: Vec<u8>,
    /// Why a strict server refuses it before any rule runs, when it does.
    pub malformed: Option<String>,
    /// What comes of it when the engine only detects.
    pub detected: Expected,
    /// What comes of it when the engine refuses.
    pub refusing: Expected,
}

/// What comes of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The status of the answer.
    pub status: u16,
    /// The rules that match, sorted, without those that only add scores up.
    pub ids: Vec<u64>,
}

/// What a release's setup has to say beside its example, for the sample to come out so.
pub const LEVELS: &str = TEST_LEVELS;

/// Of every file of cases the first, and every `every`th after it.
///
/// # Errors
/// When the rules do not load or a case cannot be read.
pub fn samples(crs: &Path, every: usize) -> Result<Vec<Sample>> {
    let rules = load(crs, TEST_SETUP, TEST_LEVELS)?;
    let mut scratch = Scratch::new();
    let mut samples = Vec::new();
    let mut of_file = (String::new(), 0);
    for case in case::read(&crs.join("tests/regression/tests"))? {
        let file = case.id.split('-').next().unwrap_or_default().to_owned();
        of_file = if of_file.0 == file { (file, of_file.1 + 1) } else { (file, 0) };
        let Ok(stages) = &case.stages else { continue };
        if of_file.1 % every != 0 {
            continue;
        }
        for (place, stage) in stages.iter().enumerate() {
            let bytes = wire::bytes(&stage.input, stage.input.uris.first())?;
            let id = if place == 0 { case.id.clone() } else { format!("{}.{place}", case.id) };
            let mut sample = Sample {
                id,
                bytes,
                answer: Vec::new(),
                malformed: None,
                detected: Expected::default(),
                refusing: Expected::default(),
            };
            match wire::receive(&sample.bytes) {
                Ok(request) => {
                    let response = match &stage.input.response {
                        Some(told) => backend::told(told)?,
                        None => backend::answer(&request),
                    };
                    sample.answer = written(&response, &request.method);
                    let mut run = |engine| expected(&rules, &mut scratch, &request, &stage.input, engine);
                    sample.detected = run(EngineMode::DetectionOnly)?;
                    sample.refusing = run(EngineMode::On)?;
                }
                Err(why) => sample.malformed = Some(why.to_string()),
            }
            samples.push(sample);
        }
    }
    Ok(samples)
}

fn expected(
    rules: &RuleSet,
    scratch: &mut Scratch,
    request: &wire::Request,
    input: &case::Input,
    engine: EngineMode,
) -> Result<Expected> {
    let mut collections = MemoryCollections::new(1000);
    let Outcome { status, mut ids, .. } = transact(request, input, rules, scratch, &mut collections, engine)?;
    ids.retain(|id| !SCORING.iter().any(|range| range.contains(id)));
    ids.sort_unstable();
    ids.dedup();
    Ok(Expected { status, ids })
}

/// A response as bytes; its length is said, whatever the case says of it.
fn written(response: &backend::Response, method: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Sampled\r\n", response.status);
    for (name, value) in &response.headers {
        if !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("transfer-encoding") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", response.body.len()));
    let body: &[u8] = if method == b"HEAD" { &[] } else { &response.body };
    [head.as_bytes(), body].concat()
}
