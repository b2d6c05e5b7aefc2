//! `qantra config check|schema`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::{
    error::CliError,
    output::{Format, Output},
};
use crate::{
    config::{self, Config, ConfigErrors, KernelConfig, Problem},
    rules::RuleSets,
    xdp,
};

/// Check the configuration, or print its JSON schema
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra config check
  qantra config check ./qantra.toml --json
  qantra config schema > qantra.schema.json")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what is wrong with the configuration: file, line, key, reason, what to do; exit code 2 when it is bad
    Check {
        /// The file [default: that of --config]
        file: Option<PathBuf>,
        /// Print the problems as JSON; the same as `-o json`
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON schema of the configuration, for editors
    Schema,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    problems: &'a [Problem],
    /// What of it cannot work on this box as it is set up.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

pub(super) fn run(args: &Args, path: &Path, output: &Output) -> Result<(), CliError> {
    match &args.verb {
        Verb::Schema => output.json(&config::json_schema()),
        Verb::Check { file, json } => {
            let path = file.as_deref().unwrap_or(path);
            let is_json = *json || output.format == Format::Json;
            match config::load(path).and_then(|config| rules(&config).map(|()| config)) {
                Ok(config) => {
                    // What this box lacks is no fault of the file's.
                    let warnings = if config.interfaces.is_empty() { Vec::new() } else { kernel(&config.kernel) };
                    if is_json {
                        return output.json(&Report { ok: true, problems: &[], warnings: &warnings });
                    }
                    let said: String = warnings.iter().map(|text| format!("\nwarning: {text}")).collect();
                    output.text(&format!("{} is fine{said}", path.display()))
                }
                Err(errors) if is_json => {
                    output.json(&Report { ok: false, problems: &errors.0, warnings: &[] })?;
                    Err(CliError::ConfigSaid)
                }
                Err(errors) => Err(errors.into()),
            }
        }
    }
}

/// What the kernel half lacks on this box.
fn kernel(config: &KernelConfig) -> Vec<String> {
    xdp::object_problem(config).into_iter().chain(xdp::syn_cookie_problem(&config.syn_cookies)).collect()
}

/// Rules are read as the daemon reads them at its start, which fails with them.
fn rules(config: &Config) -> Result<(), ConfigErrors> {
    let Err(error) = RuleSets::load(config) else { return Ok(()) };
    let (file, line) = error.position();
    Err(ConfigErrors(vec![Problem {
        line: line.map(|line| line as usize),
        key: String::new(),
        reason: error.reason(),
        file,
        hint: "`qantra rules test` tries them".into(),
    }]))
}
