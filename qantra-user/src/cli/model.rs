//! `qantra model list|load`.

use std::path::PathBuf;

use clap::Subcommand;
use http::Method;

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, warn},
};
use crate::api::{LoadModels, ModelList, ModelStatus};

/// See which models are loaded, and load others
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra model list
  qantra model load                        read the configured folder again
  qantra model load ./models               try another folder")]
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
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let list: ModelList = match &args.verb {
        Verb::List => daemon.get("/v1/models")?,
        Verb::Load { dir } => {
            // The daemon's working folder is another.
            let dir = dir.as_ref().map(std::path::absolute).transpose().map_err(anyhow::Error::from)?;
            daemon.send(Method::POST, "/v1/models", &LoadModels { dir })?
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
