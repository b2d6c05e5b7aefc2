//! `qantra train` as a person runs it: labels in, a folder of models out that the daemon would take and that ONNX's own checker
//! finds sound. Needs ONNX Runtime where `cargo xtask setup` puts it, and says so when it skips.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use qantra_tests::{
    binary::{command, transcript},
    onnx,
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Labels of a site about databases: honest, and flagged by the shipped gate.
fn labels(path: &Path) -> Result<()> {
    let schema = qantra_user::features::http::http_schema().hash();
    let row = |number: usize| {
        let table = ["orders", "users", "items", "prices", "stock"][number % 5];
        let text = format!("x' union all select name, concat(id, {number}), null from {table} -- -");
        let source = format!("{:016x}", number % 40 * 7_919);
        serde_json::json!({"label": "benign", "kind": "value", "name": "query.q", "text": text, "source": source,
            "origin": "00000000000000aa", "labelled_unix_ms": 1, "by": "person"})
    };
    let header = serde_json::json!({"format": "qantra-dataset", "version": 1, "schema": schema, "samples": 160,
        "malicious": 0, "benign": 160, "origins": {"00000000000000aa": 160}});
    let lines: Vec<String> = std::iter::once(header).chain((0..160).map(row)).map(|line| line.to_string()).collect();
    Ok(std::fs::write(path, lines.join("\n"))?)
}

fn run(arguments: &[&str]) -> Result<String> {
    Ok(transcript(&command(arguments).output()?))
}

#[test]
fn what_is_trained_is_taken_by_qantra_and_by_onnx() -> Result<()> {
    let Some(library) = onnx::library() else { return Ok(()) };
    let library = library.to_str().context("path")?;
    let dir = tempfile::tempdir()?;
    let (set, trained) = (dir.path().join("labels.jsonl"), dir.path().join("trained"));
    labels(&set)?;
    let (set, trained) = (set.to_str().context("path")?, trained.to_str().context("path")?);
    let models = workspace().join("models");
    let from = ["--models", models.to_str().context("path")?, "--runtime", library];
    let train = ["train", "--now", "--offline", "--dataset", set, "--to", trained, "-o", "json"];
    let said = run(&[&train[..], &from[..]].concat())?;
    assert!(said.starts_with("exit code 0"), "{said}");
    let json =
        said.split("--- stdout\n").nth(1).and_then(|rest| rest.split("--- stderr").next()).context("no output")?;
    let report: serde_json::Value = serde_json::from_str(json)?;
    let flagged = |part: &str, when: &str| report[part][when]["flagged"].as_u64().unwrap_or(u64::MAX);
    assert!(flagged("trained", "after") < flagged("trained", "before"), "{report}");
    assert!(flagged("golden", "after") <= flagged("golden", "before"), "{report}");

    let said = run(&["model", "check", trained, "--runtime", library])?;
    assert!(said.starts_with("exit code 0") && said.contains("request_gate"), "{said}");
    let manifest = std::fs::read_to_string(Path::new(trained).join("manifest.toml"))?;
    assert!(manifest.contains("+local.") && manifest.contains("trained on this box: 160 samples"), "{manifest}");
    onnx_checks(&Path::new(trained).join("request_gate.onnx"))?;

    // What is there is not overwritten.
    assert!(run(&[&train[..], &from[..]].concat())?.starts_with("exit code 1"));
    Ok(())
}

/// By ONNX's checker, shapes and types included, where the training scripts' Python is.
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn onnx_checks(file: &Path) -> Result<()> {
    let python = target().join("train-venv/bin/python");
    if !python.is_file() {
        eprintln!("skipped: no Python with `onnx` at {}; `cargo xtask model train` makes it", python.display());
        return Ok(());
    }
    let check = "import onnx, sys; onnx.checker.check_model(onnx.load(sys.argv[1]), full_check=True)";
    let done = Command::new(python).args(["-c", check]).arg(file).output()?;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

#[test]
fn without_anything_to_learn_from_nothing_is_written() -> Result<()> {
    let Some(library) = onnx::library() else { return Ok(()) };
    let library = library.to_str().context("path")?;
    let dir = tempfile::tempdir()?;
    let (set, trained) = (dir.path().join("none.jsonl"), dir.path().join("trained"));
    std::fs::write(&set, "")?;
    let models = workspace().join("models");
    let (set, to) = (set.to_str().context("path")?, trained.to_str().context("path")?);
    let from = ["--models", models.to_str().context("path")?, "--runtime", library];
    let said = run(&[&["train", "--now", "--offline", "--dataset", set, "--to", to][..], &from[..]].concat())?;
    assert!(said.contains("exit code 1") && said.contains("line 1: the file is empty"), "{said}");
    let said = run(&[&["train", "--now", "--offline", "--to", to][..], &from[..]].concat())?;
    assert!(said.starts_with("exit code 0") && said.contains("nothing to learn from"), "{said}");
    assert!(!trained.exists());
    assert!(run(&["train"])?.starts_with("exit code 2"), "neither now nor a schedule");
    assert!(run(&["train", "--now", "--offline"])?.starts_with("exit code 2"));
    Ok(())
}
