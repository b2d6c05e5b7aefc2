//! Removes a lab. Enters: its id. Leaves: nothing of it: no process, namespace, mount or file. It goes by what is there
//! rather than by what was planned, so that it also removes a lab that was made by half, and may be run twice.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    LABS_DIR,
    network::ETC_NETNS,
    plan::namespace,
    running::{run, succeeds},
};

/// How long processes may take to end by themselves: the daemon drains its requests.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// Stops and removes one lab.
///
/// # Errors
/// Something could not be removed; the rest is, all the same.
pub(super) fn remove(id: &str) -> Result<()> {
    let namespaces = namespaces(id)?;
    end_processes(&namespaces)?;
    let mut left = Vec::new();
    for name in &namespaces {
        if !succeeds(Command::new("ip").args(["netns", "delete", name])) {
            left.push(name.clone());
        }
        // Only there when the lab came so far.
        let _ = fs::remove_dir_all(Path::new(ETC_NETNS).join(name));
    }
    // The folder was not there before the first lab; others may have files in it.
    let _ = fs::remove_dir(ETC_NETNS);
    let folder = Path::new(LABS_DIR).join(id);
    let pins = folder.join("bpf");
    if fs::read_to_string("/proc/mounts")?.contains(&format!(" {} ", pins.display())) {
        run(Command::new("umount").arg(&pins))?;
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let _ = fs::remove_dir(LABS_DIR);
    ensure!(left.is_empty(), "these namespaces could not be removed: {}", left.join(", "));
    Ok(())
}

/// The namespaces of a lab that are there.
fn namespaces(id: &str) -> Result<Vec<String>> {
    let prefix = namespace(id, "");
    let list = run(Command::new("ip").args(["netns", "list"]))?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| name.starts_with(&prefix)).map(str::to_owned).collect())
}

/// Ends every process in some namespaces, at first by asking.
fn end_processes(namespaces: &[String]) -> Result<()> {
    let began = std::time::Instant::now();
    let mut signal = Signal::TERM;
    loop {
        let mut found = false;
        for name in namespaces {
            for pid in run(Command::new("ip").args(["netns", "pids", name]))?.lines() {
                if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) {
                    found = true;
                    // It may have ended meanwhile.
                    let _ = kill_process(pid, signal);
                }
            }
        }
        if !found {
            return Ok(());
        }
        ensure!(began.elapsed() < 5 * TERM_GRACE, "processes in {} do not end", namespaces.join(", "));
        if began.elapsed() > TERM_GRACE {
            signal = Signal::KILL;
        }
        thread::sleep(Duration::from_millis(100));
    }
}
