//! `qantra model …`: which models are in force, and what becomes of others.

mod corpus;
pub(super) mod show;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, anyhow};
use clap::Subcommand;
use http::Method;
use serde::Serialize;

use super::{
    daemon::Daemon,
    error::CliError,
    label,
    output::{Format, Output},
    thresholds,
};
use crate::{
    api::{Installed, ModelList},
    config::{self, ModelsConfig},
    model::{
        BUNDLE_BYTES_MAX, Bundle, CheckedModel, Comparison, LifeVerb, ModelError, Side, VersionId, check_folder,
        confine,
    },
};
use corpus::Counts;

/// See which models are loaded, and change between versions
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra model list
  qantra model check ./models              would it be taken? Asks no daemon
  qantra model shadow ./models             try it on live traffic, without a say
  qantra model diff                        what would it change?
  qantra model promote                     put the shadow in force
  qantra model rollback
  qantra model load ./models               check and put in force at once
  qantra model load                        read the configured folder again
  qantra model test ./models --input corpus.jsonl.gz
  qantra model diff active ./models --input corpus.jsonl.gz
  qantra model export active --to models.tar
  qantra model thresholds                  from which confidence on is it an attack, where?
  qantra model label 7q2n4c8h1v9ka fp      that was no attack

A version is `active`, `shadow`, `previous`, `shipped` (the folder `models.dir`) or the first digits of its name; a path
is a folder with manifest.toml or a file of `export`. Sign with `minisign -Sm manifest.toml`.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

impl Args {
    /// Whether this process will load ONNX Runtime.
    pub(super) const fn loads_runtime(&self) -> bool {
        matches!(self.verb, Verb::Check(_) | Verb::Test { .. } | Verb::Diff { .. })
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List versions and models, how a shadow does, and what drifts
    List {
        /// With what was measured when they were made; `-o json` always has it
        #[arg(long)]
        full: bool,
    },
    /// Check models and put them in force; the old ones stay when anything is wrong
    Load {
        /// A folder or file [default: read `models.dir` again]
        path: Option<PathBuf>,
        /// Its signature, when it does not lie beside the manifest
        #[arg(long, value_name = "FILE", requires = "path")]
        signature: Option<PathBuf>,
        /// Even if this version went back by itself before
        #[arg(long)]
        force: bool,
    },
    Thresholds(thresholds::Args),
    Label(label::Args),
    /// Say whether a folder's models would be taken, and what they cost; asks no daemon
    Check(CheckArgs),
    /// Run a version on a sample of live traffic, beside the active one and without a say
    Shadow {
        /// A version or a path
        #[arg(required_unless_present = "off")]
        what: Option<String>,
        /// End the shadow run
        #[arg(long, conflicts_with = "what")]
        off: bool,
        /// Its signature, when it does not lie beside the manifest
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
    },
    /// Put a version in force; it goes back by itself when it breaks its budget or its deadline
    Promote {
        /// A version [default: the shadow]
        version: Option<String>,
        /// Even if it went back by itself, or its shadow run broke the budget
        #[arg(long)]
        force: bool,
    },
    /// Put the version before in force again
    Rollback,
    /// Count what a version finds in a labelled corpus and what it would refuse; scores here, not in the daemon
    Test {
        /// A version or a path
        what: String,
        #[command(flatten)]
        corpus: CorpusArgs,
    },
    /// Compare two versions: on a corpus, or the shadow on live traffic
    Diff {
        /// A version or a path
        #[arg(requires = "second")]
        first: Option<String>,
        /// Another one
        #[arg(requires = "inputs")]
        second: Option<String>,
        #[command(flatten)]
        corpus: OptionalCorpusArgs,
    },
    /// Write a version with its manifest and signature to a file
    Export {
        /// A version
        #[arg(default_value = "active")]
        version: String,
        /// The file; it must not be there
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct CorpusArgs {
    /// A corpus, as `qantra eval` reads it; can be given several times
    #[arg(long = "input", value_name = "FILE", required = true)]
    inputs: Vec<PathBuf>,
    /// ONNX Runtime's shared library [default: `models.runtime`]
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct OptionalCorpusArgs {
    /// A corpus, as `qantra eval` reads it; can be given several times
    #[arg(long = "input", id = "inputs", value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// ONNX Runtime's shared library [default: `models.runtime`]
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,
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
    /// Give up memory, files and time that a check does not need, as the daemon has it done
    #[arg(long, hide = true)]
    confined: bool,
}

type Find<'a> = &'a dyn Fn() -> Result<Daemon, CliError>;

pub(super) fn run(args: &Args, daemon: Find<'_>, config: &Path, output: &Output) -> Result<(), CliError> {
    let act = |verb: &LifeVerb| -> Result<ModelList, CliError> { daemon()?.send(Method::POST, "/v1/models", verb) };
    let list = match &args.verb {
        Verb::Check(args) => return check(args, output),
        Verb::Label(args) => return label::run(args, &daemon()?, output),
        Verb::Thresholds(args) => return thresholds::run(args, &daemon()?, output),
        Verb::Test { what, corpus } => return test(what, corpus, daemon, config, output),
        Verb::Diff { first, second, corpus } => {
            return match (first, second) {
                (Some(first), Some(second)) => diff([first, second], corpus, daemon, config, output),
                _ => live_diff(&daemon()?, output),
            };
        }
        Verb::Export { version, to } => return export(&daemon()?, version, to, output),
        Verb::List { full } => return show::list(&daemon()?.get("/v1/models")?, *full, output),
        Verb::Load { path: None, force, .. } => {
            act(&LifeVerb::Promote { version: Some("shipped".into()), force: *force })?
        }
        Verb::Load { path: Some(path), signature, force } => {
            let version = install(&daemon()?, path, signature.as_deref())?;
            act(&LifeVerb::Promote { version: Some(version), force: *force })?
        }
        Verb::Shadow { what: Some(what), signature, .. } => {
            let version = match is_path(what) {
                true => install(&daemon()?, Path::new(what), signature.as_deref())?,
                false => what.clone(),
            };
            act(&LifeVerb::Shadow { version: Some(version) })?
        }
        Verb::Shadow { what: None, .. } => act(&LifeVerb::Shadow { version: None })?,
        Verb::Promote { version, force } => act(&LifeVerb::Promote { version: version.clone(), force: *force })?,
        Verb::Rollback => act(&LifeVerb::Rollback)?,
    };
    show::list(&list, false, output)
}

/// Paths have a slash, or something lies there.
fn is_path(what: &str) -> bool {
    what.contains('/') || Path::new(what).exists()
}

/// Sends a folder or file to the daemon; returns the version it became.
fn install(daemon: &Daemon, path: &Path, signature: Option<&Path>) -> Result<String, CliError> {
    let mut bundle = Bundle::read(path).map_err(plain)?;
    if let Some(path) = signature {
        bundle.signature = Some(std::fs::read(path).with_context(|| path.display().to_string())?);
    }
    let tar = bundle.to_tar().map_err(plain)?;
    let installed: Installed = daemon.send_bytes("/v1/models/versions", tar)?;
    Ok(installed.version.to_string())
}

fn export(daemon: &Daemon, version: &str, to: &Path, output: &Output) -> Result<(), CliError> {
    let tar = fetch(daemon, version)?;
    let bundle = Bundle::from_tar(&tar, to).map_err(plain)?;
    let write = std::fs::File::create_new(to).and_then(|mut file| std::io::Write::write_all(&mut file, &tar));
    write.with_context(|| to.display().to_string())?;
    let exported = Exported { version: bundle.id(), file: to };
    match output.format {
        Format::Json => output.json(&exported),
        _ => output.text(&format!("{} holds version {}\n", to.display(), exported.version)),
    }
}

#[derive(Serialize)]
struct Exported<'a> {
    version: VersionId,
    file: &'a Path,
}

fn fetch(daemon: &Daemon, version: &str) -> Result<Vec<u8>, CliError> {
    if !version.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(CliError::Usage(format!("`{version}` is no version; `qantra model list` shows them")));
    }
    // A tar file has some KiB around what it holds.
    daemon.bytes(&format!("/v1/models/bundle?version={version}"), BUNDLE_BYTES_MAX + (64 << 10))
}

/// A version or path, loaded in this process. What comes from the daemon was checked there, the rest is checked here.
fn side(what: &str, runtime: Option<&Path>, daemon: Find<'_>, config: &Path) -> Result<Side, CliError> {
    let config = if config.exists() { config::load(config)?.models } else { ModelsConfig::default() };
    let runtime = runtime.unwrap_or(&config.runtime);
    let bundle = match is_path(what) {
        true => Bundle::read(Path::new(what)).map_err(plain)?,
        false => Bundle::from_tar(&fetch(&daemon()?, what)?, Path::new(what)).map_err(plain)?,
    };
    let folder = Unpacked::new(&bundle)?;
    let side = Side::load(&folder.0, runtime, config.request_confidence, config.source_confidence);
    Ok(side.map_err(plain)?)
}

/// A bundle in a folder that goes again.
struct Unpacked(PathBuf);

impl Unpacked {
    fn new(bundle: &Bundle) -> Result<Self, CliError> {
        let folder = std::env::temp_dir().join(format!("qantra-model-{:016x}", rand::random::<u64>()));
        let made = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&folder);
        made.with_context(|| folder.display().to_string())?;
        let unpacked = Self(folder);
        bundle.write_folder(&unpacked.0).map_err(plain)?;
        Ok(unpacked)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // What stays lies in the folder for what may go.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn test(what: &str, args: &CorpusArgs, daemon: Find<'_>, config: &Path, output: &Output) -> Result<(), CliError> {
    let counts = corpus::test(&mut side(what, args.runtime.as_deref(), daemon, config)?, &args.inputs)?;
    output.rows(&counts, &COUNTS, &[row_of(what, &counts)], "")
}

const COUNTS: [&str; 5] = ["VERSION", "MALICIOUS", "FOUND", "BENIGN", "REFUSED"];

fn row_of(what: &str, counts: &Counts) -> Vec<String> {
    let share = |hit: u64, of: u64| match of {
        0 => "-".to_owned(),
        _ => format!("{hit} ({:.3} %)", hit as f64 / of as f64 * 100.0),
    };
    vec![
        what.to_owned(),
        counts.malicious.to_string(),
        share(counts.found, counts.malicious),
        counts.benign.to_string(),
        share(counts.refused, counts.benign),
    ]
}

#[derive(Serialize)]
struct Diff<'a> {
    versions: [&'a String; 2],
    counts: [Counts; 2],
    comparison: Comparison,
}

fn diff(
    versions: [&String; 2],
    args: &OptionalCorpusArgs,
    daemon: Find<'_>,
    config: &Path,
    output: &Output,
) -> Result<(), CliError> {
    let load = |what: &String| side(what, args.runtime.as_deref(), daemon, config);
    let (mut first, mut second) = (load(versions[0])?, load(versions[1])?);
    let (comparison, counts) = corpus::diff(&mut first, &mut second, &args.inputs)?;
    if output.format == Format::Json {
        return output.json(&Diff { versions, counts, comparison });
    }
    let rows: Vec<Vec<String>> = versions.iter().zip(&counts).map(|(what, counts)| row_of(what, counts)).collect();
    output.text(&output.table(&COUNTS, &rows))?;
    output.text(&show::compared(&comparison))
}

fn live_diff(daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let list: ModelList = daemon.get("/v1/models")?;
    let Some(live) = list.comparison else {
        return Err(anyhow!("nothing runs beside the active version; `qantra model shadow VERSION` begins that").into());
    };
    if output.format == Format::Json {
        return output.json(&live);
    }
    output.text(&show::compared(&live.figures))
}

fn check(args: &CheckArgs, output: &Output) -> Result<(), CliError> {
    if args.confined {
        confine().context("cannot limit this process").map_err(CliError::Failed)?;
    }
    let report = check_folder(&args.dir, &args.runtime, args.deadline_ms).map_err(plain)?;
    let row = |model: &CheckedModel| {
        let time = model.canary_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.2} ms"));
        vec![model.role.as_str().to_owned(), model.name.clone(), time, model.sha256.chars().take(12).collect()]
    };
    let rows: Vec<Vec<String>> = report.models.iter().map(row).collect();
    output.rows(&report, &["ROLE", "NAME", "CANARY", "SHA-256"], &rows, "No model.")?;
    if output.format == Format::Human {
        let [models, copy, runtime] = [report.models_bytes, report.copy_bytes, report.runtime_bytes].map(show::mib);
        output.text(&format!("resident: ONNX Runtime {runtime}, models {models}, each further copy {copy}\n"))?;
    }
    Ok(())
}

/// The error in its own words, which name the cause; a chain would name it twice.
fn plain(error: ModelError) -> Error {
    Error::msg(error.to_string())
}
