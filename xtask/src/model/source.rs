//! Enters: captures, attack tools and the training scripts of the source models. Leaves: their ONNX files and entries
//! of the manifest. It must never record outside of network namespaces of its own; the script sees to that.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{process, workspace};

/// Trains the isolation forest and the classifier over behaviour vectors. Runs of tools and clients are recorded once,
/// as root, below `work`, and used again.
///
/// # Errors
/// When captures, tools or rights are missing, or a step fails.
pub(super) fn train(python: &Path, data: &Path, work: &Path, output: &Path) -> Result<()> {
    let scripts = workspace::root().join("models/train");
    let runs = work.join("source-runs");
    if !data.join("pcap").is_dir() {
        bail!("no captures in {}: the source models need pcap/ndpi and pcap/zeek there", data.display());
    }
    if !process::is_root() && !runs.join("runs.json").is_file() {
        bail!("recording in network namespaces needs root, once: sudo -E cargo xtask model train");
    }
    if process::is_root() {
        // What was recorded before is not recorded again.
        process::run(Command::new(python).arg(scripts.join("source_record.py")).arg(&runs))?;
    }
    process::run(process::cargo().args(["build", "--package", "qantra-user", "--example", "source_vectors"]))?;
    let vectors = workspace::target_dir().join("debug/examples/source_vectors");
    let paths = [("--vectors", vectors.as_path()), ("--runs", &runs), ("--data", data), ("--out", output)];
    let mut command = Command::new(python);
    command.arg(scripts.join("source_train.py"));
    for (name, path) in paths {
        command.arg(name).arg(path);
    }
    process::run(&mut command).context("training the source models")
}
