//! `cargo xtask eval`: builds the daemon and runs `qantra eval` with the models of this tree and the rules beside it.
//! Enters: corpora. Leaves: what `qantra eval` prints; it must never count by itself. With `--by-origin` it trains anew,
//! without each origin in turn, and leaves the table of that; with `--flows`, likewise for each tool of the recorded flows.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    crs, model, process,
    workspace::{self, Arch},
};

/// Options of `eval`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A corpus: JSON lines, plain or gzipped. Can be given several times.
    #[arg(long = "input", value_name = "FILE", required_unless_present_any = ["by_origin", "flows"])]
    inputs: Vec<PathBuf>,
    /// Leave out each origin of all the data in turn, train on the others, and say what is found of it: tens of minutes.
    #[arg(long, conflicts_with_all = ["inputs", "wrong"])]
    by_origin: bool,
    /// Replay recorded attacks and honest networks (`cargo xtask data flows`) through detectors and source models, where
    /// models have not seen the tool: recall by tool, and false findings per hour. Some ten minutes.
    #[arg(long, conflicts_with_all = ["inputs", "wrong", "by_origin"])]
    flows: bool,
    /// One JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// The Core Rule Set whose rules are counted as well [default: shared/crs beside the checkout, when it is there].
    #[arg(long, value_name = "DIR")]
    crs: Option<PathBuf>,
    /// Set the confidence by the benign requests of this corpus.
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Write each wrong verdict to this file.
    #[arg(long, value_name = "FILE")]
    wrong: Option<PathBuf>,
}

/// `cargo xtask eval`.
///
/// # Errors
/// When the daemon does not build or `qantra eval` fails.
pub fn run(args: &Args) -> Result<()> {
    if args.by_origin {
        return model::by_origin(args.json);
    }
    if args.flows {
        let runs = model::flows_by_tool()?;
        // Nothing is timed: the build that is there will do.
        let mut command = process::cargo();
        command
            .args(["run", "--quiet", "--package", "qantra-user", "--bin", "qantra", "--", "replay", "--runs"])
            .arg(runs);
        command.arg("--models").arg(workspace::root().join("models"));
        command.arg("--runtime").arg(workspace::onnxruntime(Arch::host()));
        command.args(args.json.then_some("--json"));
        return process::run(&mut command);
    }
    let mut command = process::cargo();
    command.args(["run", "--quiet", "--release", "--package", "qantra-user", "--bin", "qantra", "--", "eval"]);
    command.arg("--models").arg(workspace::root().join("models"));
    command.arg("--runtime").arg(workspace::onnxruntime(Arch::host()));
    for input in &args.inputs {
        // The daemon runs in the checkout, the caller may stand elsewhere.
        command.arg("--input").arg(std::path::absolute(input)?);
    }
    if let Some(crs) = args.crs.clone().or_else(|| crs::find(None).ok()) {
        command.arg("--crs").arg(std::path::absolute(crs)?);
    }
    if args.json {
        command.arg("--json");
    }
    if let Some(calibrate) = &args.calibrate {
        command.arg("--calibrate").arg(std::path::absolute(calibrate)?);
    }
    if let Some(wrong) = &args.wrong {
        command.arg("--wrong").arg(std::path::absolute(wrong)?);
    }
    process::run(&mut command)
}
