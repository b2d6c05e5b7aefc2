//! Enters: a folder of models of unknown origin. Leaves: the report of `qantra model check`, run on it in a process of its
//! own with little memory, no files to write and an end. It must never let a model into the daemon that was not run
//! there first: what crashes, hangs or eats memory does so where it harms nobody.

use std::{
    io::Read,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, Signal, setpriority_process, setrlimit};

use super::{ModelError, canary::CheckReport, error::one_line, session::NO_TELEMETRY};
use crate::clock;

/// Longest report that is read.
const REPORT_BYTES_MAX: u64 = 64 * 1024;
/// How often the child's memory is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Address space of the child: far above what is resident, since allocators and libraries reserve much.
const ADDRESS_SPACE_BYTES: u64 = 8 << 30;
/// CPU time of the child: some twenty times what the shipped models need on a Raspberry Pi.
const CPU_S: u64 = 20;
/// The child's priority: below what serves, and not so low that a busy box never ends a trial.
const NICENESS: i32 = 5;

/// What the child may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckLimits {
    /// The program: `qantra` itself.
    pub program: PathBuf,
    /// ONNX Runtime's shared library.
    pub runtime: PathBuf,
    /// What a request's classification may take.
    pub deadline_ms: u64,
    /// Longest time for everything.
    pub whole_ms: u64,
    /// Resident memory of the child, its own program included.
    pub child_resident_bytes: u64,
}

impl CheckLimits {
    /// The daemon's limits: 45 s, 20 s of them on a processor, and 256 MiB.
    #[must_use]
    pub fn daemon(runtime: &Path, deadline_ms: u64) -> Self {
        Self {
            // The running program even when its file was replaced by an upgrade.
            program: "/proc/self/exe".into(),
            runtime: runtime.to_owned(),
            deadline_ms,
            whole_ms: 45_000,
            child_resident_bytes: 256 << 20,
        }
    }
}

/// Checks a folder in a process of its own.
///
/// # Errors
/// [`ModelError::Check`] with what the child said, or why it was ended.
pub fn check_apart(dir: &Path, limits: &CheckLimits) -> Result<CheckReport, ModelError> {
    let refused = |reason: String| ModelError::Check { dir: dir.to_owned(), reason };
    let begun_ns = clock::boot_ns();
    let child = Command::new(&limits.program)
        .args(["model", "check", "--confined", "--output", "json", "--deadline-ms", &limits.deadline_ms.to_string()])
        .arg("--runtime")
        .arg(&limits.runtime)
        .arg(dir)
        .env_clear()
        .env(NO_TELEMETRY, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| refused(format!("cannot start {}: {error}", limits.program.display())))?;
    let mut child = Guarded(child);
    let ended = loop {
        match child.0.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Err(refused(format!("cannot wait for its process: {error}"))),
        }
        if clock::boot_ns().saturating_sub(begun_ns) > limits.whole_ms * 1_000_000 {
            return Err(refused(format!("loading and canary took more than {} s", limits.whole_ms as f64 / 1e3)));
        }
        let resident = resident_of(child.0.id());
        if resident > limits.child_resident_bytes {
            let (used, limit) = (resident >> 20, limits.child_resident_bytes >> 20);
            return Err(refused(format!("loading and canary took {used} MiB of memory, the limit is {limit} MiB")));
        }
        thread::sleep(LOOK);
    };
    if ended.success() {
        let text = child.0.stdout.take().map(bounded).unwrap_or_default();
        return serde_json::from_str(&text).map_err(|error| refused(format!("its report makes no sense: {error}")));
    }
    if ended.signal() == Some(Signal::XCPU.as_raw()) {
        return Err(refused(format!("loading and canary took more than {CPU_S} s of processor time")));
    }
    let said = child.0.stderr.take().map(bounded).unwrap_or_default();
    let said = one_line(&said.lines().last().unwrap_or_default().trim_start_matches("error: "));
    Err(refused(if ended.code().is_some() && !said.is_empty() {
        said
    } else {
        format!("its process ended by itself ({ended}): it crashes ONNX Runtime, or needs more than it may have")
    }))
}

/// Ended and reaped when it goes.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn bounded(stream: impl Read) -> String {
    let mut text = Vec::new();
    let _cut = stream.take(REPORT_BYTES_MAX).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Resident memory of another process; 0 when it is gone.
fn resident_of(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// What the child does before it looks at a model: gives up what it does not need.
///
/// # Errors
/// The kernel refuses a limit.
pub fn confine() -> std::io::Result<()> {
    let limits = [
        (Resource::As, ADDRESS_SPACE_BYTES),
        (Resource::Cpu, CPU_S),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Nofile, 64),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    // When memory runs out it is to be this process. Both are courtesies: without them the check still ends.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = setpriority_process(None, NICENESS);
    Ok(())
}
