//! `qantra eval`: enters labelled requests as JSON lines, plain or gzipped. Leaves how many of them the models find and
//! how many honest ones they would refuse. It must never judge by anything but the request: labels are only counted.

mod tally;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Error, Result, anyhow, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::{
    error::CliError,
    output::{Format, Output},
};
use crate::{
    clock,
    config::{self, ModelsConfig},
    inspect::RawRequest,
    model::{Answer, InlineRequestModels, Scratch},
};
use tally::{Rates, Tallies};

/// Longest line of a corpus: a request with a body of 16 MiB, in base64.
const LINE_BYTES_MAX: u64 = 24 << 20;

/// Count how many requests of labelled corpora the models find, and how many honest ones they would refuse
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra eval --input corpus.jsonl.gz
  qantra eval --input a.jsonl --input b.jsonl --json
  qantra eval --input corpus.jsonl --models ./models --wrong wrong.jsonl

A corpus is JSON lines, plain or gzipped: {\"id\", \"label\": \"malicious\" or \"benign\", \"class\", \"source\",
\"raw\": base64 of one HTTP/1.1 request}")]
pub(super) struct Args {
    /// A corpus; can be given several times
    #[arg(long = "input", value_name = "FILE", required = true)]
    inputs: Vec<PathBuf>,
    /// Print one JSON object; the same as `-o json`
    #[arg(long)]
    json: bool,
    /// The folder with manifest.toml and the models [default: `models.dir`]
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// ONNX Runtime's shared library [default: `models.runtime`]
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,
    /// The classifier's confidence from which a request counts as found [default: the manifest's]
    #[arg(long)]
    confidence: Option<f32>,
    /// Write each wrong verdict to this file, as JSON lines: what was missed and what was refused
    #[arg(long, value_name = "FILE")]
    wrong: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    label: String,
    #[serde(default)]
    class: Option<String>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    core: bool,
    raw: String,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    modes: Modes,
    by_source: BTreeMap<String, Rates>,
    by_class: BTreeMap<String, Rates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core: Option<Modes>,
    time_us: Times,
    /// The share of requests that the gate sent to the classifier.
    flagged: f64,
    confidence: f32,
    notes: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Modes {
    rules: Option<Rates>,
    models: Rates,
    both: Rates,
}

#[derive(Debug, Serialize)]
struct Times {
    median: f64,
    p99: f64,
}

impl Modes {
    /// With no rule engine, what the daemon does with all it has is what the models say.
    fn of(tallies: &Tallies) -> Self {
        Self { rules: None, models: tallies.all.rates(), both: tallies.all.rates() }
    }
}

const NOTES: [&str; 2] = [
    "rules: null, this qantra has no rule engine; `both` is what it does with all it has, the models",
    "time: one thread, fields, gate, and the classifier where the gate flags; reading the corpus is not counted",
];

pub(super) fn run(args: &Args, config: &Path, output: &Output) -> std::result::Result<(), CliError> {
    let config = if config.exists() { config::load(config)?.models } else { ModelsConfig::default() };
    let dir = args.models.as_ref().unwrap_or(&config.dir);
    let runtime = args.runtime.as_ref().unwrap_or(&config.runtime);
    let mut models =
        InlineRequestModels::load(dir, runtime, args.confidence.or(config.request_confidence)).map_err(Error::from)?;
    let mut evaluation = Evaluation::default();
    let mut wrong = match &args.wrong {
        Some(path) => Some(File::create(path).with_context(|| path.display().to_string())?),
        None => None,
    };
    for path in &args.inputs {
        evaluation.read(path, &mut models, wrong.as_mut())?;
    }
    if evaluation.all.is_empty() {
        return Err(anyhow!("no request in the input").into());
    }
    let report = evaluation.report(models.confidence());
    if args.json || output.format == Format::Json {
        output.json(&report)
    } else {
        output.text(&rendered(&report, *output))
    }
}

#[derive(Default)]
struct Evaluation {
    all: Tallies,
    core: Tallies,
    times_ns: Vec<u64>,
    flagged: u64,
    scratch: Scratch,
}

impl Evaluation {
    fn read(&mut self, path: &Path, models: &mut InlineRequestModels, mut wrong: Option<&mut File>) -> Result<()> {
        let mut reader = open(path)?;
        let mut line = Vec::new();
        for number in 1_usize.. {
            line.clear();
            let length = (&mut reader)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
                .with_context(|| format!("{} line {number}", path.display()))?;
            if length == 0 {
                return Ok(());
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.judge(&line, models, wrong.as_deref_mut())
                .with_context(|| format!("{} line {number}", path.display()))?;
        }
        Ok(())
    }

    fn judge(&mut self, line: &[u8], models: &mut InlineRequestModels, wrong: Option<&mut File>) -> Result<()> {
        let row: Row = serde_json::from_slice(line)?;
        let is_malicious = match row.label.as_str() {
            "malicious" => true,
            "benign" => false,
            other => bail!("label is `{other}`, expected `malicious` or `benign`"),
        };
        let request = RawRequest::parse(&STANDARD.decode(&row.raw).context("raw is not base64")?);
        let started_ns = clock::boot_ns();
        let (score, answer) = models.judge(&request.view(), &mut self.scratch)?;
        self.times_ns.push(clock::boot_ns().saturating_sub(started_ns));
        self.flagged += u64::from(score.flagged);
        let is_found = matches!(answer, Answer::Attack(_));
        let source = row.source.as_deref().unwrap_or("unnamed");
        self.all.add(source, row.class.as_deref(), is_malicious, is_found);
        if row.core {
            self.core.add(source, row.class.as_deref(), is_malicious, is_found);
        }
        if let Some(wrong) = wrong.filter(|_| is_found != is_malicious) {
            let evidence = match answer {
                Answer::Attack(attack) => serde_json::json!({"class": attack.class, "evidence": attack.evidence}),
                Answer::Pass => serde_json::json!({"flagged": score.flagged, "excess": score.excess}),
            };
            let target = String::from_utf8_lossy(&request.target[..request.target.len().min(200)]).into_owned();
            let shown = serde_json::json!({"id": row.id, "label": row.label, "class": row.class, "source": source,
                "target": target, "said": evidence});
            writeln!(wrong, "{shown}")?;
        }
        Ok(())
    }

    fn report(mut self, confidence: f32) -> Report {
        self.times_ns.sort_unstable();
        let quantile = |share: f64| {
            let index = ((self.times_ns.len() as f64 * share) as usize).min(self.times_ns.len() - 1);
            self.times_ns[index] as f64 / 1e3
        };
        Report {
            modes: Modes::of(&self.all),
            by_source: self.all.by_source(),
            by_class: self.all.by_class(),
            core: (!self.core.is_empty()).then(|| Modes::of(&self.core)),
            time_us: Times { median: quantile(0.5), p99: quantile(0.99) },
            flagged: self.flagged as f64 / self.times_ns.len() as f64,
            confidence,
            notes: NOTES.to_vec(),
        }
    }
}

/// Opens a corpus; gzip is told by its first two bytes (RFC 1952).
fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let mut reader = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
    let is_gzip = reader.fill_buf().with_context(|| path.display().to_string())?.starts_with(&[0x1F, 0x8B]);
    Ok(if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(reader))) } else { Box::new(reader) })
}

fn rendered(report: &Report, output: Output) -> String {
    let share = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{:.2} %", value * 100.0));
    let interval = |value: Option<[f64; 2]>| {
        value.map_or_else(|| "-".into(), |[low, high]| format!("{:.2}–{:.2}", low * 100.0, high * 100.0))
    };
    let row = |name: String, rates: &Rates| {
        vec![
            name,
            rates.n_malicious.to_string(),
            share(rates.tpr),
            interval(rates.tpr_ci),
            rates.n_benign.to_string(),
            share(rates.fpr),
            interval(rates.fpr_ci),
        ]
    };
    let mut rows = vec![row("models".into(), &report.modes.models)];
    rows.extend(report.core.iter().map(|core| row("models, core".into(), &core.models)));
    rows.extend(report.by_source.iter().map(|(source, rates)| row(format!("from {source}"), rates)));
    rows.extend(report.by_class.iter().map(|(class, rates)| row(format!("class {class}"), rates)));
    let mut text = output.table(&["", "MALICIOUS", "FOUND", "95 %", "BENIGN", "REFUSED", "95 %"], &rows);
    let accuracy = share(report.modes.models.balanced_accuracy);
    text += &format!("balanced accuracy {accuracy}, confidence from {:.4}\n", report.confidence);
    text += &format!("asked the classifier about {:.2} % of the requests\n", report.flagged * 100.0);
    text += &format!("time per request: median {:.1} µs, p99 {:.1} µs\n", report.time_us.median, report.time_us.p99);
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    text
}
