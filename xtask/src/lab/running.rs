//! Processes of the lab. Enters: commands. Leaves: their output, or a handle that ends the process and its children when
//! dropped. Each runs in a process group of its own: Ctrl-C reaches us alone, and we stop them in order.

use std::{
    fs::File,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::process;

/// How long a process may take to end by itself after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(3);

/// Runs a command to its end and returns what it wrote, trimmed.
///
/// # Errors
/// It could not be started, or failed: then with what it wrote.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    process::stdout(command.process_group(0))
}

/// Runs a command to its end; says whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    process::succeeds(command.process_group(0))
}

/// Feeds text to a command's standard input and waits for its end.
///
/// # Errors
/// As [`run`].
pub(crate) fn feed(command: &mut Command, text: &str) -> Result<()> {
    let mut child = command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::line(command)))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}: {}", process::line(command), output.status, errors.trim());
    }
    Ok(())
}

/// A process that runs beside us, and its children.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    group: Pid,
    left: bool,
}

impl Running {
    /// Starts a command with its output in a log file.
    ///
    /// # Errors
    /// The log cannot be written, or the command not started.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start `{}`", process::line(command)))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id beyond i32")?;
        Ok(Self { child, group, left: false })
    }

    /// The process's id; that of its group, too.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, when it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// It goes on when this value is dropped.
    pub(crate) fn leave_running(&mut self) {
        self.left = true;
    }

    /// Asks it and its children to end, and goes on.
    pub(crate) fn ask_to_end(&self) {
        let _ = kill_process_group(self.group, Signal::TERM);
    }

    /// Waits until it ends by itself, and ends it when it does not; and whatever children it leaves.
    pub(crate) fn stop_within(&mut self, grace: Duration) {
        let began = Instant::now();
        while self.ended().is_none() && began.elapsed() < grace {
            thread::sleep(Duration::from_millis(20));
        }
        // Children may outlive the first process; its group keeps its number while any of them is there.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.left {
            if self.ended().is_none() {
                self.ask_to_end();
            }
            self.stop_within(TERM_GRACE);
        }
    }
}
