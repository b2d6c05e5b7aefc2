//! The real binary without a daemon: help, usage errors, configuration errors, exit codes.

use std::{fs, process::Stdio};

use qantra_tests::binary::{command, run, transcript};

#[test]
fn help() {
    insta::assert_snapshot!("help", run(&["--help"]));
    insta::assert_snapshot!("help_decisions_add", run(&["decisions", "add", "-h"]));
    insta::assert_snapshot!("help_rules", run(&["rules", "-h"]));
    insta::assert_snapshot!("help_rules_patch_add", run(&["rules", "patch", "add", "-h"]));
    insta::assert_snapshot!("help_allowlists", run(&["allowlists", "-h"]));
}

#[test]
fn mistakes_are_one_line_each() {
    let cases: &[&[&str]] = &[
        &["statsu"],
        &["decisions", "add"],
        &["decisions", "add", "--ip", "1.2.3"],
        &["decisions", "add", "--ip", "192.0.2.1", "--range", "192.0.2.0/24"],
        &["decisions", "add", "--ip", "192.0.2.1", "--duration", "4y"],
        &["decisions", "add", "--ip", "192.0.2.1", "--type", "ban"],
        &["decisions", "delete"],
        &["decisions", "delete", "--id", "nonsense"],
        &["allowlists", "add", "everyone"],
        &["rules", "patch", "add", "--path", "/x", "--param", "p"],
        &["rules", "test", "--crs", "/nonexistent/crs"],
        &["explain", "\u{1b}[31m"],
        &["simulation", "maybe"],
        &["status", "-o", "xml"],
        &["--config", "/nonexistent/qantra.toml", "status"],
        &["--config", "/nonexistent/qantra.toml", "run"],
        &["--socket", "/nonexistent/control.sock", "status"],
        &["--socket", "/nonexistent/control.sock", "decisions", "list"],
    ];
    let said: Vec<String> =
        cases.iter().map(|case| format!("$ qantra {}\n{}", case.join(" ").escape_debug(), run(case))).collect();
    for one in &said {
        let stderr = one.split("--- stderr\n").nth(1).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{one}");
        assert!(!stderr.contains('\u{1b}'), "{one:?}");
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_bad_configuration_is_told_with_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qantra.toml");
    fs::write(
        &path,
        "[[listen]]\naddress = \"127.0.0.1:8080\"\ntls = true\n\n[[site]]\nname = \"shop\"\nhosts = [\"shop.example\"]\ntarget = []\n",
    )
    .unwrap();
    let name = path.to_str().unwrap();
    let masked = |text: String| text.replace(name, "qantra.toml");
    insta::assert_snapshot!("config_check", masked(run(&["config", "check", name])));
    insta::assert_snapshot!("config_check_json", masked(run(&["config", "check", name, "--json"])));
    insta::assert_snapshot!("config_run", masked(run(&["-c", name, "run"])));
    fs::write(&path, "[daemon]\nsimulaton = true\n").unwrap();
    insta::assert_snapshot!("config_typo", masked(run(&["-c", name, "config", "check"])));
    fs::write(&path, "").unwrap();
    insta::assert_snapshot!("config_fine", masked(run(&["-c", name, "config", "check", "-o", "json"])));
}

#[test]
fn the_schema_is_json_and_knows_the_sections() {
    let output = command(&["config", "schema"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["properties"]["policy"].is_object());
}

#[test]
fn completions_and_manual_pages_are_written() {
    for shell in ["bash", "zsh", "fish"] {
        let output = command(&["completions", shell]).output().unwrap();
        assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("allowlists"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(command(&["man"]).arg(dir.path()).status().unwrap().success());
    let page = fs::read_to_string(dir.path().join("qantra-decisions-add.1")).unwrap();
    assert!(page.contains("scans our ports"), "{page}");
    assert!(run(&["man", "/nonexistent/man"]).starts_with("exit code 1\n"));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child = command(&["config", "schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(transcript(&output), "exit code 0\n--- stdout\n--- stderr\n");
}
