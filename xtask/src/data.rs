//! `cargo xtask data record`: enters nothing but what Debian, PyPI and npm hold. Leaves, below the target folder, a corpus
//! of requests that real applications got from a browser, from programs and from attack tools, with its manifest. All
//! of it runs in a network namespace without a way out; it must never be committed, only made again.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{
    process,
    setup::{self, Need},
    workspace,
};

/// Options of `data`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Record requests: applications used by people and programs, and a target attacked by tools.
    Record(RecordArgs),
}

/// Options of `data record`.
#[derive(Debug, clap::Args)]
struct RecordArgs {
    /// Applications and tools, such as `dokuwiki` or `sqlmap`; none: all of them, about an hour on two idle cores.
    names: Vec<String>,
    /// Where the corpus goes.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// `cargo xtask data`.
///
/// # Errors
/// Without root, or when an application or tool cannot be installed.
pub fn run(args: &Args) -> Result<()> {
    let Verb::Record(args) = &args.verb;
    if !process::is_root() {
        bail!("recording in a network namespace needs root: sudo -E cargo xtask data record");
    }
    setup::ensure(&[Need::Lab, Need::Data])?;
    let Some(python) = process::which("python3") else { bail!("no Python: apt-get install python3") };
    let output = args.output.clone().unwrap_or_else(recorded_dir);
    let script = workspace::root().join("models/train/request_record.py");
    process::run(Command::new(python).arg(script).arg(&output).args(&args.names))?;
    println!("{}", output.join("recorded.jsonl.gz").display());
    Ok(())
}

/// Where `data record` writes, and `eval --by-origin` looks.
pub(crate) fn recorded_dir() -> PathBuf {
    workspace::target_dir().join("recorded")
}
