//! Enters: models, ONNX Runtime and a corpus (`request_cost MODELS RUNTIME CORPUS`). Leaves: what requests cost, as one
//! JSON object of rows with their runs. The measuring half of `cargo xtask bench model`.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::read::MultiGzDecoder;
use qantra_user::{
    clock::boot_ns,
    inspect::RawRequest,
    model::{Case, InlineRequestModels, Manifest, Runtime, Scratch, SourceModels},
};

const RUNS: usize = 9;
const REQUESTS_MAX: usize = 4_000;
const BATCH: usize = 32;

#[derive(serde::Deserialize)]
struct Row {
    label: String,
    kind: Option<String>,
    raw: String,
}

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [models, runtime, corpus] = paths.as_slice() else { bail!("usage: request_cost MODELS RUNTIME CORPUS") };
    let (benign, malicious) = read(corpus)?;
    let before = resident_bytes()?;
    let all = Runtime::load(runtime)?;
    let sources = SourceModels::load(&all, &Manifest::read(models)?, None)?;
    let mut models = InlineRequestModels::load(models, runtime, None)?;
    let mut scratch = Scratch::new();
    let after = after_a_batch(&mut models, &mut scratch, &malicious)?;
    drop(sources);
    let mut flagged: Vec<Case> = Vec::new();
    for request in benign.iter().chain(&malicious) {
        if models.gate().score(&request.view(), &mut scratch).flagged {
            flagged.push(models.gate().case(&mut scratch, None));
        }
    }
    if flagged.len() < BATCH {
        bail!("{} of the corpus are flagged, too few to time the classifier", flagged.len());
    }
    let mut rows = serde_json::Map::new();
    let mut add = |name: &str, unit: &str, runs: Vec<f64>| {
        rows.insert(name.into(), serde_json::json!({"unit": unit, "runs": runs}));
    };
    let mut samples: [Vec<f64>; 5] = Default::default();
    // Interleaved, so that a noisy neighbour hits all of them alike.
    for _ in 0..RUNS {
        samples[0].push(mean_us(&benign, |request| {
            scratch.forget();
            let start_ns = boot_ns();
            std::hint::black_box(models.gate().score(&request.view(), &mut scratch));
            Ok(boot_ns() - start_ns)
        })?);
        samples[1].push(mean_us(&benign, |request| {
            let start_ns = boot_ns();
            std::hint::black_box(models.gate().score(&request.view(), &mut scratch));
            Ok(boot_ns() - start_ns)
        })?);
        samples[2].push(mean_us(&benign, |request| {
            let start_ns = boot_ns();
            std::hint::black_box(models.judge(&request.view(), &mut scratch, None)?);
            Ok(boot_ns() - start_ns)
        })?);
        let singles: Vec<&Case> = flagged.iter().take(400).collect();
        samples[3].push(mean_us(&singles, |case| {
            let start_ns = boot_ns();
            std::hint::black_box(models.core().judge(&[case])?);
            Ok(boot_ns() - start_ns)
        })?);
        let cases: Vec<&Case> = flagged.iter().collect();
        let batches: Vec<&[&Case]> = cases.chunks_exact(BATCH).take(20).collect();
        let batch_us = mean_us(&batches, |batch| {
            let start_ns = boot_ns();
            std::hint::black_box(models.core().judge(batch)?);
            Ok(boot_ns() - start_ns)
        })?;
        samples[4].push(batch_us / BATCH as f64);
    }
    let names = [
        "request_fields_us",
        "request_fields_cached_us",
        "mean_real_traffic_us",
        "classifier_us",
        "classifier_batch32_us",
    ];
    for (name, runs) in names.into_iter().zip(samples) {
        add(name, "us", runs);
    }
    add("resident_bytes", "bytes", vec![after as f64]);
    add("resident_models_bytes", "bytes", vec![after.saturating_sub(before) as f64]);
    println!("{}", serde_json::Value::Object(rows));
    Ok(())
}

/// What is resident once the models have judged a batch, which grows their working memory; what is measured later is kept in lists
/// that no daemon has.
fn after_a_batch(models: &mut InlineRequestModels, scratch: &mut Scratch, requests: &[RawRequest]) -> Result<u64> {
    let mut batch = Vec::with_capacity(BATCH);
    for request in requests {
        if batch.len() < BATCH && models.gate().score(&request.view(), scratch).flagged {
            batch.push(models.gate().case(scratch, None));
        }
    }
    models.core().judge(&batch.iter().collect::<Vec<_>>())?;
    resident_bytes()
}

fn mean_us<T>(items: &[T], mut time_ns: impl FnMut(&T) -> Result<u64>) -> Result<f64> {
    let mut total_ns = 0;
    for item in items {
        total_ns += time_ns(item)?;
    }
    Ok(total_ns as f64 / 1e3 / items.len().max(1) as f64)
}

/// Benign whole requests, and malicious ones of any kind.
fn read(path: &Path) -> Result<(Vec<RawRequest>, Vec<RawRequest>)> {
    let mut file = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
    let is_gzip = file.fill_buf()?.starts_with(&[0x1F, 0x8B]);
    let reader: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let (mut benign, mut malicious) = (Vec::new(), Vec::new());
    for line in BufReader::new(reader).lines() {
        let row: Row = serde_json::from_str(&line?)?;
        let list = match (row.label.as_str(), row.kind.as_deref()) {
            ("benign", Some("request")) => &mut benign,
            ("malicious", _) => &mut malicious,
            _ => continue,
        };
        if list.len() < REQUESTS_MAX {
            list.push(RawRequest::parse(&STANDARD.decode(row.raw)?));
        }
    }
    Ok((benign, malicious))
}

fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("/proc/self/status has no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
