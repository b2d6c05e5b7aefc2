//! `qantra eval`: enters labelled requests as JSON lines, plain or gzipped. Leaves how many of them rules and models find
//! and how many honest ones they would refuse. It must never judge by anything but the request: labels are only counted.

mod calibrate;
mod judges;
pub(super) mod tally;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::{
    corpus,
    error::CliError,
    output::{Format, Output},
};
use crate::{
    config::{self, Config},
    model::Answer,
};
use judges::{Judges, Verdict};
use tally::{Rates, Tallies};

/// Count how many requests of labelled corpora rules and models find, and how many honest ones they would refuse
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra eval --input corpus.jsonl.gz
  qantra eval --input a.jsonl --input b.jsonl --json
  qantra eval --input corpus.jsonl --models ./models --wrong wrong.jsonl
  qantra eval --input corpus.jsonl --crs ./coreruleset
  qantra eval --input attacks.jsonl --input traffic-b.jsonl --calibrate traffic-a.jsonl

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
    /// The rules are the Core Rule Set of this folder, as it comes [default: `[inspect]`, when it names a rule set, else
    /// Debian's modsecurity-crs, where it is installed]
    #[arg(long, value_name = "DIR")]
    crs: Option<PathBuf>,
    /// The classifier's confidence from which a request counts as found [default: the manifest's]
    #[arg(long)]
    confidence: Option<f32>,
    /// Set the classifier's confidence by the benign requests of this corpus, which must not be among the inputs
    #[arg(long, value_name = "FILE", conflicts_with = "confidence")]
    calibrate: Option<PathBuf>,
    /// The share of benign requests that the calibration may refuse
    #[arg(long, value_name = "SHARE", default_value_t = 0.001, value_parser = share_of_one, requires = "calibrate")]
    max_false_positive_rate: f64,
    /// Write each wrong verdict of both together to this file, as JSON lines: what was missed and what was refused
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
    /// Of `both`, as all that follows.
    by_source: BTreeMap<String, Rates>,
    by_class: BTreeMap<String, Rates>,
    /// The modes apart, for each source.
    modes_by_source: BTreeMap<String, Modes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core: Option<Modes>,
    time_us: Times,
    /// The share of requests that the gate sent to the classifier.
    flagged: f64,
    /// From which the models refuse: from the fields alone, and with rules.
    confidence: [f32; 2],
    /// How many benign requests the confidence was calibrated on.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibrated_on: Option<usize>,
    /// What the rules say they are.
    rules: Vec<String>,
    notes: Vec<&'static str>,
}

/// What each way to judge says.
#[derive(Debug, Serialize)]
struct Modes {
    rules: Option<Rates>,
    models: Rates,
    /// What is refused with `inspect.confirm = "models"`: models weigh what rules matched, and have the last word.
    both: Rates,
    /// What is refused with `inspect.confirm = "none"`: rules or models refuse.
    either: Option<Rates>,
}

#[derive(Debug, Serialize)]
struct Times {
    median: f64,
    p99: f64,
    /// Of that, the rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules_median: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules_p99: Option<f64>,
}

const NO_RULES: &str =
    "rules: null, no rule set is configured, installed or given by --crs; `both` is the models alone";
const WITH_RULES: &str = "rules: refused at the set's own thresholds; `models`: from the fields alone; `both`: models weigh the \
                          fields and what rules matched, as with `inspect.confirm = \"models\"`; `either`: rules or models \
                          refuse, as with `inspect.confirm = \"none\"`";
const TIME: &str = "time: one thread; rules, fields, gate, and the classifier where the gate flags; reading the corpus is not \
                    counted";

pub(super) fn run(args: &Args, config: &Path, output: &Output) -> std::result::Result<(), CliError> {
    let config = if config.exists() { config::load(config)? } else { Config::default() };
    let mut judges = Judges::load(args, &config)?;
    let calibrated_on = match &args.calibrate {
        Some(path) => Some(judges.calibrate(path, args.max_false_positive_rate)?),
        None => None,
    };
    let mut evaluation = Evaluation::default();
    let mut wrong = match &args.wrong {
        Some(path) => Some(File::create(path).with_context(|| path.display().to_string())?),
        None => None,
    };
    for path in &args.inputs {
        evaluation.read(path, &mut judges, wrong.as_mut())?;
    }
    if evaluation.all.both.is_empty() {
        return Err(anyhow!("no request in the input").into());
    }
    let mut report = evaluation.report(&judges);
    report.calibrated_on = calibrated_on;
    if args.json || output.format == Format::Json {
        output.json(&report)
    } else {
        output.text(&rendered(&report, *output))
    }
}

/// Tallies of each way to judge.
#[derive(Default)]
struct AllTallies {
    rules: Tallies,
    models: Tallies,
    both: Tallies,
    either: Tallies,
}

impl AllTallies {
    fn add(&mut self, source: &str, class: Option<&str>, is_malicious: bool, verdict: &Verdict) {
        self.rules.add(source, class, is_malicious, verdict.by_rules);
        self.models.add(source, class, is_malicious, verdict.by_models());
        self.both.add(source, class, is_malicious, verdict.by_both());
        self.either.add(source, class, is_malicious, verdict.by_either());
    }

    fn modes(&self, has_rules: bool) -> Modes {
        Modes {
            rules: has_rules.then(|| self.rules.all.rates()),
            models: self.models.all.rates(),
            both: self.both.all.rates(),
            either: has_rules.then(|| self.either.all.rates()),
        }
    }

    fn modes_by_source(&self, has_rules: bool) -> BTreeMap<String, Modes> {
        let (mut rules, mut either) = (self.rules.by_source(), self.either.by_source());
        let mut models = self.models.by_source();
        let modes = |(source, both): (String, Rates)| {
            let modes = Modes {
                rules: rules.remove(&source).filter(|_| has_rules),
                models: models.remove(&source)?,
                both,
                either: either.remove(&source).filter(|_| has_rules),
            };
            Some((source, modes))
        };
        self.both.by_source().into_iter().filter_map(modes).collect()
    }
}

#[derive(Default)]
struct Evaluation {
    all: AllTallies,
    core: AllTallies,
    times_ns: Vec<u64>,
    rules_ns: Vec<u64>,
    flagged: u64,
}

impl Evaluation {
    fn read(&mut self, path: &Path, judges: &mut Judges, mut wrong: Option<&mut File>) -> Result<()> {
        corpus::each_line(path, |line| self.judge(line, judges, wrong.as_deref_mut()))
    }

    fn judge(&mut self, line: &[u8], judges: &mut Judges, wrong: Option<&mut File>) -> Result<()> {
        let row: Row = serde_json::from_slice(line)?;
        let is_malicious = corpus::is_malicious(&row.label)?;
        let request = corpus::request(&row.raw)?;
        let verdict = judges.judge(&request.view())?;
        self.times_ns.push(verdict.rules_ns + verdict.models_ns);
        self.rules_ns.push(verdict.rules_ns);
        self.flagged += u64::from(verdict.flagged);
        let is_found = verdict.by_both();
        let source = row.source.as_deref().unwrap_or("unnamed");
        self.all.add(source, row.class.as_deref(), is_malicious, &verdict);
        if row.core {
            self.core.add(source, row.class.as_deref(), is_malicious, &verdict);
        }
        if let Some(wrong) = wrong.filter(|_| is_found != is_malicious) {
            let models = match &verdict.by_all {
                Answer::Attack(attack) => serde_json::json!({"class": attack.class, "evidence": attack.evidence}),
                Answer::Pass => serde_json::json!({"flagged": verdict.flagged, "excess": verdict.excess}),
            };
            let evidence = serde_json::json!({"models": models, "rules": verdict.rule_ids});
            let target = String::from_utf8_lossy(&request.target[..request.target.len().min(200)]).into_owned();
            let shown = serde_json::json!({"id": row.id, "label": row.label, "class": row.class, "source": source,
                "target": target, "said": evidence});
            writeln!(wrong, "{shown}")?;
        }
        Ok(())
    }

    fn report(mut self, judges: &Judges) -> Report {
        let has_rules = judges.has_rules();
        let times = |times_ns: &mut Vec<u64>| {
            times_ns.sort_unstable();
            let quantile = |share: f64| {
                let index = ((times_ns.len() as f64 * share) as usize).min(times_ns.len().saturating_sub(1));
                times_ns.get(index).map_or(0.0, |ns| *ns as f64 / 1e3)
            };
            (quantile(0.5), quantile(0.99))
        };
        let (median, p99) = times(&mut self.times_ns);
        let rules = has_rules.then(|| times(&mut self.rules_ns));
        Report {
            modes: self.all.modes(has_rules),
            by_source: self.all.both.by_source(),
            by_class: self.all.both.by_class(),
            modes_by_source: self.all.modes_by_source(has_rules),
            core: (!self.core.both.is_empty()).then(|| self.core.modes(has_rules)),
            time_us: Times {
                median,
                p99,
                rules_median: rules.map(|times| times.0),
                rules_p99: rules.map(|times| times.1),
            },
            flagged: self.flagged as f64 / self.times_ns.len().max(1) as f64,
            confidence: judges.confidence(),
            calibrated_on: None,
            rules: judges.components(),
            notes: vec![if has_rules { WITH_RULES } else { NO_RULES }, TIME],
        }
    }
}

/// A share above 0 and below 1.
fn share_of_one(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("expected a number between 0 and 1, such as 0.001".into()),
    }
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
    let named = |suffix: &str, modes: &Modes| {
        let all = [("rules", modes.rules.as_ref()), ("models", Some(&modes.models)), ("both", Some(&modes.both))];
        let all = all.into_iter().chain([("either", modes.either.as_ref())]);
        all.filter_map(|(name, rates)| Some(row(format!("{name}{suffix}"), rates?))).collect::<Vec<_>>()
    };
    let mut rows = named("", &report.modes);
    rows.extend(report.core.iter().flat_map(|core| named(", core", core)));
    rows.extend(report.by_source.iter().map(|(source, rates)| row(format!("from {source}"), rates)));
    rows.extend(report.by_class.iter().map(|(class, rates)| row(format!("class {class}"), rates)));
    let mut text = output.table(&["", "MALICIOUS", "FOUND", "95 %", "BENIGN", "REFUSED", "95 %"], &rows);
    let accuracy = share(report.modes.both.balanced_accuracy);
    let [fields, all] = report.confidence;
    text += &format!("balanced accuracy of both {accuracy}, confidence from {fields:.4}, with rules {all:.4}\n");
    if let Some(count) = report.calibrated_on {
        text += &format!("the confidence is calibrated on {count} benign requests\n");
    }
    text += &format!("asked the classifier about {:.2} % of the requests\n", report.flagged * 100.0);
    text += &format!("time per request: median {:.1} µs, p99 {:.1} µs\n", report.time_us.median, report.time_us.p99);
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    text
}
