//! Enters: recorded flows, captures and the training script of the source models. Leaves: their ONNX files and entries of
//! the manifest, or models without each tool in turn. It must never record by itself: `cargo xtask data flows` does.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::script;
use crate::{data, process, workspace};

/// Trains the isolation forest and the classifier over behaviour vectors.
///
/// # Errors
/// When recordings or captures are missing, or a step fails.
pub(super) fn train(python: &Path, data: &Path, output: &Path) -> Result<()> {
    process::run(command(python, data)?.arg("--out").arg(output)).context("training the source models")
}

/// Trains them without each tool, and without each collection of honest traffic, in turn. Leaves the file that says which
/// run is to be played with which.
///
/// # Errors
/// As [`train`].
pub(super) fn by_tool(python: &Path, data: &Path) -> Result<PathBuf> {
    let work = workspace::target_dir().join("flows-by-tool");
    process::run(command(python, data)?.arg("--out").arg(&work).arg("--by-tool").arg(&work))?;
    Ok(work.join("runs.json"))
}

fn command(python: &Path, data: &Path) -> Result<Command> {
    let runs = data::flows_dir();
    if !data.join("pcap").is_dir() {
        bail!("no captures in {}: the source models need pcap/ndpi and pcap/zeek there", data.display());
    }
    if !runs.join("runs.json").is_file() {
        bail!("nothing recorded: run `cargo xtask data flows` first (as root; models/README.md says what it records)");
    }
    process::run(process::cargo().args(["build", "--package", "qantra-user", "--example", "source_vectors"]))?;
    let vectors = workspace::target_dir().join("debug/examples/source_vectors");
    let mut command = script(python, "flows/train.py");
    for (name, path) in [("--vectors", vectors.as_path()), ("--runs", &runs), ("--data", data)] {
        command.arg(name).arg(path);
    }
    Ok(command)
}
