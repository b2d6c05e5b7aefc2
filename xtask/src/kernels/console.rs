//! Enters: a command that prints lines. Leaves: each line with its time, and how it ended; one that falls silent is killed.
//! It must never keep more of the output than its end.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::process;

const TAIL_LINES: usize = 60;

/// How it ended.
pub(super) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// Killed, as it said nothing for so long.
    Silent(Duration),
    /// Killed, as it went on for so long.
    Late(Duration),
}

/// How long a command may take: it may be slow on a busy machine, but not silent.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) silence: Duration,
    pub(super) total: Duration,
}

/// What a command did.
pub(super) struct Outcome {
    pub(super) ended: Ended,
    tail: VecDeque<String>,
}

impl Outcome {
    /// Its last lines, as one text.
    pub(super) fn tail(&self) -> String {
        Vec::from_iter(self.tail.iter().map(String::as_str)).join("\n")
    }
}

/// Kills the child if we end first.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Runs a command and hands out its lines, standard error's too, with the time since it began.
pub(super) fn follow(
    command: &mut Command,
    limits: Limits,
    mut on_line: impl FnMut(&str, Duration),
) -> Result<Outcome> {
    let begun = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("cannot start `{}`", process::line(command)))?;
    let mut child = Guard(child);
    let (sender, lines) = mpsc::channel();
    if let Some(output) = child.0.stdout.take() {
        read(output, sender.clone());
    }
    if let Some(output) = child.0.stderr.take() {
        read(output, sender);
    }
    let mut tail = VecDeque::new();
    loop {
        let Some(left) = limits.total.checked_sub(begun.elapsed()) else {
            return Ok(Outcome { ended: Ended::Late(limits.total), tail });
        };
        match lines.recv_timeout(left.min(limits.silence)) {
            Ok(line) => {
                on_line(&line, begun.elapsed());
                tail.push_back(line);
                if tail.len() > TAIL_LINES {
                    tail.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) if left <= limits.silence => {}
            Err(RecvTimeoutError::Timeout) => return Ok(Outcome { ended: Ended::Silent(limits.silence), tail }),
            // Both ends are closed: it has ended, or is about to.
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.0.wait().context("cannot wait for it")?;
    Ok(Outcome { ended: Ended::Exited(status), tail })
}

fn read(output: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while output.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            // A console is no text file.
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if lines.send(line).is_err() {
                break;
            }
            bytes.clear();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, silence_ms: u64, total_ms: u64) -> (Vec<String>, Outcome) {
        let [silence, total] = [silence_ms, total_ms].map(Duration::from_millis);
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let outcome = follow(&mut command, Limits { silence, total }, |line, _| lines.push(line.to_owned()));
        (lines, outcome.unwrap())
    }

    #[test]
    fn lines_of_both_outputs_are_seen() {
        let (mut lines, outcome) = shell("echo out; echo err >&2; exit 3", 10_000, 10_000);
        lines.sort();
        assert_eq!(lines, ["err", "out"]);
        assert!(matches!(outcome.ended, Ended::Exited(status) if status.code() == Some(3)));
    }

    #[test]
    fn one_that_never_ends_is_killed() {
        let (lines, outcome) = shell("while sleep 0.02; do echo on; done", 10_000, 500);
        assert!(matches!(outcome.ended, Ended::Late(_)) && lines.len() > 1, "{lines:?}");
    }

    #[test]
    fn one_that_hangs_is_killed_and_its_last_lines_stay() {
        let begun = Instant::now();
        let (_, outcome) = shell("seq 100; exec sleep 60", 300, 60_000);
        assert!(matches!(outcome.ended, Ended::Silent(_)));
        assert!(outcome.tail().starts_with("41\n") && outcome.tail().ends_with("\n100"), "{}", outcome.tail());
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
