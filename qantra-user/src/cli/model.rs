//! `qantra model list|load|check`.

use std::path::PathBuf;

use anyhow::Error;
use clap::Subcommand;
use http::Method;

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, warn},
    thresholds,
};
use crate::{
    api::{LoadModels, ModelList, ModelStatus},
    config::ModelsConfig,
    model::{CheckedModel, check_folder},
};

/// See which models are loaded, and load others
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra model list
  qantra model load                        read the configured folder again
  qantra model load ./models               try another folder
  qantra model check ./models              would it be taken? Asks no daemon")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the models that are loaded
    List,
    /// Load models; their checksums and feature schema are checked, and the old ones stay when anything is wrong
    Load {
        /// A folder with manifest.toml and the ONNX files [default: `models.dir`]
        dir: Option<PathBuf>,
    },
    Thresholds(thresholds::Args),
    /// Say whether a folder's models would be taken, and what they cost; asks no daemon
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// A folder with manifest.toml and the ONNX files
    dir: PathBuf,
    /// ONNX Runtime's shared library
    #[arg(long, value_name = "FILE", default_value_os_t = ModelsConfig::default().runtime)]
    runtime: PathBuf,
    /// What a request's classification may take, in ms
    #[arg(long, value_name = "MS", default_value_t = ModelsConfig::default().deadline_ms)]
    deadline_ms: u64,
}

pub(super) fn run(args: &Args, daemon: &dyn Fn() -> Result<Daemon, CliError>, output: &Output) -> Result<(), CliError> {
    let list: ModelList = match &args.verb {
        Verb::Check(args) => return check(args, output),
        Verb::Thresholds(args) => return thresholds::run(args, &daemon()?, output),
        Verb::List => daemon()?.get("/v1/models")?,
        Verb::Load { dir } => {
            // The daemon's working folder is another.
            let dir = dir.as_ref().map(std::path::absolute).transpose().map_err(anyhow::Error::from)?;
            daemon()?.send(Method::POST, "/v1/models", &LoadModels { dir })?
        }
    };
    warn(list.problem.as_slice());
    let is_human = output.format == Format::Human;
    let row = |model: &ModelStatus| {
        let sum = if is_human { model.sha256.chars().take(12).collect() } else { model.sha256.clone() };
        vec![
            model.role.clone(),
            model.name.clone(),
            model.version.clone(),
            model.scored.to_string(),
            sum,
            model.file.display().to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = list.models.iter().map(row).collect();
    output.rows(&list, &["ROLE", "NAME", "VERSION", "SCORED", "SHA-256", "FILE"], &rows, "No model is loaded.")
}

fn check(args: &CheckArgs, output: &Output) -> Result<(), CliError> {
    let report = check_folder(&args.dir, &args.runtime, args.deadline_ms).map_err(Error::from)?;
    let row = |model: &CheckedModel| {
        let time = model.canary_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.2} ms"));
        vec![model.role.as_str().to_owned(), model.name.clone(), time, model.sha256.chars().take(12).collect()]
    };
    let rows: Vec<Vec<String>> = report.models.iter().map(row).collect();
    output.rows(&report, &["ROLE", "NAME", "CANARY", "SHA-256"], &rows, "No model.")?;
    if output.format == Format::Human {
        let [models, runtime] =
            [report.models_bytes, report.runtime_bytes].map(|bytes| bytes as f64 / f64::from(1 << 20));
        output.text(&format!("resident: models {models:.1} MiB, ONNX Runtime {runtime:.1} MiB\n"))?;
    }
    Ok(())
}
