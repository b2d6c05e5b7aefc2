//! `cargo xtask eval`: builds the daemon and runs `qantra eval` with the models of this tree. Enters: corpora. Leaves:
//! what `qantra eval` prints; it must never count by itself.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    process,
    workspace::{self, Arch},
};

/// Options of `eval`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A corpus: JSON lines, plain or gzipped. Can be given several times.
    #[arg(long = "input", value_name = "FILE", required = true)]
    inputs: Vec<PathBuf>,
    /// One JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Write each wrong verdict to this file.
    #[arg(long, value_name = "FILE")]
    wrong: Option<PathBuf>,
}

/// `cargo xtask eval`.
///
/// # Errors
/// When the daemon does not build or `qantra eval` fails.
pub fn run(args: &Args) -> Result<()> {
    let mut command = process::cargo();
    command.args(["run", "--quiet", "--release", "--package", "qantra-user", "--bin", "qantra", "--", "eval"]);
    command.arg("--models").arg(workspace::root().join("models"));
    command.arg("--runtime").arg(workspace::onnxruntime(Arch::host()));
    for input in &args.inputs {
        // The daemon runs in the checkout, the caller may stand elsewhere.
        command.arg("--input").arg(std::path::absolute(input)?);
    }
    if args.json {
        command.arg("--json");
    }
    if let Some(wrong) = &args.wrong {
        command.arg("--wrong").arg(std::path::absolute(wrong)?);
    }
    process::run(&mut command)
}
