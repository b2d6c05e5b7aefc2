//! `qantra train`: from labels and local traffic to a new gate that runs as a shadow. It works in this process with the lowest
//! priority, never in the daemon; nothing it makes is in force until somebody promotes it.

mod schedule;
mod write;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use http::Method;
use serde::{Deserialize, Serialize};

use super::{
    corpus,
    daemon::Daemon,
    dataset,
    error::CliError,
    output::{Format, Output},
};
use crate::{
    api::{Installed, ModelList},
    config::{self, Config},
    features::http::http_schema,
    inspect::Fields,
    learn::{BeforeAfter, Corpus, Dataset, Figures, GateWeights, NotTrained, Sample, TrainOptions, train},
    model::{BUNDLE_BYTES_MAX, Bundle, LifeVerb, Manifest, ModelRole, RequestGate, Runtime},
};
use schedule::Schedule;

/// Attacks and honest values that every trained gate has to judge as well as the one before.
const GOLDEN: &str = include_str!("../../../models/golden.jsonl");
/// How often progress is said while a corpus is read.
const SAID_EVERY: usize = 20_000;

/// Learn from labels and from what many visitors send, and run the new gate as a shadow
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra train --now
  qantra train --now --data corpus.jsonl.gz          and from whole requests, as `qantra eval` reads them
  qantra train --now --dataset all.jsonl             and from what other boxes labelled
  qantra train --now --offline --models ./models --data corpus.jsonl.gz --to ./trained
  qantra train --schedule weekly                     by a systemd timer; `off` ends it

The weights in force are where it begins, and what it is pulled back to. What is worse on the golden set or on data that
was held out is not taken. `qantra model diff` shows what the shadow would change, `qantra model promote` puts it in force.")]
#[command(group = clap::ArgGroup::new("when").required(true).args(["now", "schedule"]))]
pub(super) struct Args {
    /// Train now, with the lowest priority
    #[arg(long)]
    now: bool,
    /// Train regularly, by a systemd timer
    #[arg(long, value_enum, value_name = "WHEN")]
    schedule: Option<Schedule>,
    /// Labelled requests, as `qantra eval` reads them; can be given several times
    #[arg(long, value_name = "FILE", requires = "now")]
    data: Vec<PathBuf>,
    /// A data set of `qantra dataset`; can be given several times
    #[arg(long, value_name = "FILE", requires = "now")]
    dataset: Vec<PathBuf>,
    /// Begin with the models of this folder or file [default: those in force]
    #[arg(long, value_name = "PATH", requires = "now")]
    models: Option<PathBuf>,
    /// ONNX Runtime's shared library [default: `models.runtime`]
    #[arg(long, value_name = "FILE", requires = "now")]
    runtime: Option<PathBuf>,
    /// Write the new models to this folder, which must not be there, instead of handing them to the daemon
    #[arg(long, value_name = "DIR", requires = "now")]
    to: Option<PathBuf>,
    /// Ask no daemon: only --data and --dataset count, --models and --to are needed
    #[arg(long, requires = "now", requires = "models", requires = "to")]
    offline: bool,
}

/// What is printed with `-o json`.
#[derive(Debug, Serialize)]
struct Report {
    /// Labelled things that were trained on or held out.
    samples: usize,
    /// Fields that had no room.
    left_out: u64,
    /// Which part of the update was taken.
    step: f32,
    golden: BeforeAfter,
    held_out: BeforeAfter,
    trained: BeforeAfter,
    /// The new version at the daemon, or the folder.
    version: String,
}

#[derive(Deserialize)]
struct Row {
    label: String,
    #[serde(default)]
    source: Option<String>,
    raw: String,
}

pub(super) fn run(
    args: &Args,
    daemon: &dyn Fn() -> Result<Daemon, CliError>,
    config: &Path,
    output: &Output,
) -> Result<(), CliError> {
    if let Some(schedule) = args.schedule {
        return schedule.put(output);
    }
    be_quiet();
    let config = if config.exists() { config::load(config)? } else { Config::default() };
    let daemon = if args.offline { None } else { Some(daemon()?) };
    let prior = match (&args.models, &daemon) {
        (Some(path), _) => Bundle::read(path).map_err(anyhow::Error::from)?,
        (None, Some(daemon)) => {
            let tar = daemon.bytes("/v1/models/bundle?version=active", BUNDLE_BYTES_MAX + (64 << 10))?;
            Bundle::from_tar(&tar, Path::new("the models in force")).map_err(anyhow::Error::from)?
        }
        (None, None) => return Err(CliError::Usage("--offline needs --models".into())),
    };
    let gate = weights(&prior, args.runtime.as_deref().unwrap_or(&config.models.runtime))?;
    let corpus = gather(args, daemon.as_ref(), output)?;
    let golden = golden()?;
    let options = TrainOptions::default();
    let rounds = options.epochs;
    let tell = |round| say(output, &format!("round {round} of {rounds}"));
    let trained = match train(&gate, &corpus, &golden, &options, tell) {
        Ok(trained) => trained,
        // No failure: a timer tries again next week.
        Err(nothing @ (NotTrained::NoData | NotTrained::NothingToGain)) => return output.text(&format!("{nothing}\n")),
        Err(error) => return Err(anyhow::Error::from(error).into()),
    };
    let bundle = write::bundle(&prior, &trained, corpus.len())?;
    let version = hand_over(args, daemon.as_ref(), &bundle)?;
    let report = Report {
        samples: corpus.len(),
        left_out: corpus.left_out(),
        step: trained.step,
        golden: trained.golden,
        held_out: trained.held_out,
        trained: trained.trained,
        version,
    };
    show(&report, args.to.is_none(), output)
}

/// The lowest priority: the proxy goes first. The timer's unit has limits of its own as well.
fn be_quiet() {
    // Whoever may not do even that trains all the same.
    let _ = rustix::process::nice(19);
}

/// The weights that a bundle's gate has.
fn weights(prior: &Bundle, runtime: &Path) -> Result<GateWeights, CliError> {
    let load = || {
        let manifest = Manifest::parse(&prior.manifest, Path::new("manifest.toml"))?;
        let entry = manifest.entry(ModelRole::RequestGate)?.clone();
        let bytes = prior.files.get(entry.file.to_string_lossy().as_ref()).cloned().unwrap_or_default();
        RequestGate::load(&Runtime::load(runtime)?, &entry, &bytes).map(|gate| (gate, entry.schema))
    };
    let (gate, schema) = load().map_err(anyhow::Error::from)?;
    if schema != http_schema().hash() {
        return Err(
            anyhow!("the gate is of feature schema {schema}, this version makes {}", http_schema().hash()).into()
        );
    }
    Ok(GateWeights { weights: gate.table_weights(), thresholds: *gate.thresholds() })
}

/// Everything there is to learn from.
fn gather(args: &Args, daemon: Option<&Daemon>, output: &Output) -> Result<Corpus, CliError> {
    let mut corpus = Corpus::new();
    let mut sets = args.dataset.iter().map(|file| dataset::read(file)).collect::<Result<Vec<_>, _>>()?;
    if let Some(daemon) = daemon {
        sets.push(dataset::fetch(daemon, true)?);
    }
    let (pooled, _) = Dataset::merge(sets);
    pooled.samples().iter().for_each(|sample| corpus.add_sample(sample));
    for path in &args.data {
        read_requests(path, &mut corpus, output)?;
    }
    Ok(corpus)
}

fn read_requests(path: &Path, corpus: &mut Corpus, output: &Output) -> anyhow::Result<()> {
    let (mut fields, mut number) = (Fields::new(), 0);
    corpus::each_line(path, |line| {
        let row: Row = serde_json::from_slice(line)?;
        let (request, source) = (corpus::request(&row.raw)?, row.source.as_deref().unwrap_or("unnamed"));
        corpus.add_request(&request.view(), source, corpus::is_malicious(&row.label)?, &mut fields);
        number += 1;
        if number % SAID_EVERY == 0 {
            say(output, &format!("{number} requests read"));
        }
        Ok(())
    })
}

fn golden() -> Result<Vec<Sample>, CliError> {
    let (_, set) = Dataset::read(GOLDEN.as_bytes()).context("the golden set")?;
    Ok(set.samples().to_vec())
}

/// To a folder, or to the daemon as a shadow: it has no say until it is promoted.
fn hand_over(args: &Args, daemon: Option<&Daemon>, bundle: &Bundle) -> Result<String, CliError> {
    match (&args.to, daemon) {
        (Some(dir), _) => {
            std::fs::create_dir(dir).with_context(|| dir.display().to_string())?;
            bundle.write_folder(dir).map_err(anyhow::Error::from)?;
            Ok(dir.display().to_string())
        }
        (None, Some(daemon)) => {
            let tar = bundle.to_tar().map_err(anyhow::Error::from)?;
            let installed: Installed = daemon.send_bytes("/v1/models/versions", tar)?;
            let version = installed.version.to_string();
            let shadow = LifeVerb::Shadow { version: Some(version.clone()) };
            daemon.send::<ModelList>(Method::POST, "/v1/models", &shadow)?;
            Ok(version)
        }
        (None, None) => Err(CliError::Usage("--offline needs --to".into())),
    }
}

/// Progress goes to standard error, and only where a person looks.
fn say(output: &Output, text: &str) {
    if output.format == Format::Human && std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        // With standard error gone there is nobody left to tell.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
    }
}

fn show(report: &Report, is_shadow: bool, output: &Output) -> Result<(), CliError> {
    if output.format == Format::Json {
        return output.json(report);
    }
    let of = |figures: &Figures| {
        let Figures { malicious, found, benign, flagged } = figures;
        format!("finds {found} of {malicious}, flags {flagged} of {benign}")
    };
    let row = |name: &str, pair: &BeforeAfter| vec![name.to_owned(), of(&pair.before), of(&pair.after)];
    let rows =
        [row("golden set", &report.golden), row("held out", &report.held_out), row("trained on", &report.trained)];
    let mut text = output.table(&["GATE", "BEFORE", "AFTER"], &rows);
    let Report { samples, left_out, step, version, .. } = report;
    text += &format!("{samples} samples, {left_out} fields without room; {:.0} % of the update taken\n", step * 100.0);
    text += &match is_shadow {
        true => format!("version {version} runs as a shadow: `qantra model diff`, then `qantra model promote`\n"),
        false => format!("written to {version}\n"),
    };
    output.text(&text)
}
