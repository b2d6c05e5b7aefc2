//! Enters: commands to run. Leaves: their output, or an error that holds the command line and what it printed. It
//! must never run anything through a shell.

use std::{
    env,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::progress::Step;

/// How many lines of a failed command's output are shown.
const TAIL_LINES: usize = 60;

/// A command line as a person would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a command in the foreground: its output goes where ours goes.
///
/// # Errors
/// When it cannot start or does not end with 0.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", line(command));
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs a command behind a spinner; its output is kept back and shown only when it fails.
///
/// # Errors
/// When it cannot start or does not end with 0; the error holds the last lines of its output.
pub fn quiet(what: &str, command: &mut Command) -> Result<()> {
    let step = Step::begin(what);
    match capture(command).and_then(|output| check(command, &output)) {
        Ok(()) => {
            step.done();
            Ok(())
        }
        Err(error) => {
            step.failed();
            Err(error.context(what.to_owned()))
        }
    }
}

/// Standard output of a command, trimmed.
///
/// # Errors
/// When it cannot start or does not end with 0.
pub fn stdout(command: &mut Command) -> Result<String> {
    let output = capture(command)?;
    check(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a command starts and ends with 0; its output is thrown away.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Where a program is in `PATH`, or in the folders of administration that a user's `PATH` may leave out.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(administration).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether this process is root.
pub fn is_root() -> bool {
    process_owner() == Some(0)
}

/// The cargo that started us.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace::root());
    // Cargo tells this process which package it belongs to. Build scripts that watch those variables (ring's does) would
    // run again, and everything above them be built again, whenever `cargo` is called by hand in between.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

fn process_owner() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").ok().map(|metadata| metadata.uid())
}

fn capture(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| cannot_start(command))
}

fn check(command: &Command, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    bail!("`{}` ended with {}\n{tail}", line(command), output.status)
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`; is it installed? `cargo xtask setup` installs what tasks need", line(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_tells_its_line_and_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo seen on stdout; echo seen on stderr >&2; exit 3"]);
        let error = format!("{:#}", quiet("failing", &mut command).unwrap_err());
        for part in ["failing", "sh -c", "exit status: 3", "seen on stdout", "seen on stderr"] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn a_missing_program_points_to_setup() {
        let error = format!("{:#}", stdout(&mut Command::new("no-such-program-here")).unwrap_err());
        assert!(error.contains("cargo xtask setup"), "{error}");
    }

    #[test]
    fn which_finds_programs_of_administration() {
        assert!(which("sh").is_some());
        assert!(which("no-such-program-here").is_none());
    }
}
