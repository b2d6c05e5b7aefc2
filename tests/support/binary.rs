//! The real `qantra` binary, built when it is not, and what came of running it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// Builds the binary in the profile of this test, once for each test program, and says where it is.
///
/// # Panics
/// It cannot be built.
#[expect(clippy::panic, reason = "no test of the binary can go on without it")]
pub fn qantra() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // …/target/PROFILE/deps/cli_offline-1a2b3c
        let here = std::env::current_exe().unwrap_or_default();
        let Some(profile) = here.ancestors().nth(2) else { panic!("{} is in no target folder", here.display()) };
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "qantra-user", "--bin", "qantra"]);
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).arg("--target-dir").args(profile.parent());
        // Cargo tells a test which package it belongs to; build scripts that watch those variables (ring's does) would run
        // again, and everything above them be built again, each time.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        if profile.ends_with("release") {
            build.arg("--release");
        }
        match build.status() {
            Ok(status) if status.success() => profile.join("qantra"),
            other => panic!("the binary cannot be built: {other:?}"),
        }
    })
}

/// A command of the binary, with nothing of this process's environment that would change its output.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(qantra());
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

/// Runs the binary and gives exit code, standard output and standard error as one text, for snapshots.
///
/// # Panics
/// It cannot be run.
#[expect(clippy::panic, reason = "no test of the binary can go on without it")]
pub fn run(arguments: &[&str]) -> String {
    match command(arguments).output() {
        Ok(output) => transcript(&output),
        Err(error) => panic!("{}: {error}", qantra().display()),
    }
}

/// Exit code, standard output and standard error as one text.
#[must_use]
pub fn transcript(output: &Output) -> String {
    let code = output.status.code().map_or("killed".into(), |code| code.to_string());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit code {code}\n--- stdout\n{out}--- stderr\n{err}")
}
