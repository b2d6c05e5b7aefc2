//! Enters: one end of a cable. Leaves: its receive side on a thread and a processor of its own, whose time can be read:
//! what a network card's interrupt does, made measurable. It must never share its processor with who sends.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;

use crate::netns::NetNs;

/// The kernel thread that polls an interface (threaded NAPI, Linux 5.12).
#[derive(Debug)]
pub struct Receiver {
    pid: Pid,
}

impl Receiver {
    /// Gives an interface such a thread, on one processor, with the real-time priority 2.
    ///
    /// # Errors
    /// The kernel has no threaded NAPI for it.
    pub fn of(netns: &NetNs, interface: &str, cpu: usize) -> Result<Self> {
        // With GRO a veth polls as a network card does, whether or not it has an XDP program.
        let gro = netns.run("ethtool", &["-K", interface, "gro", "on"])?;
        ensure!(gro.status.success(), "ethtool -K {interface} gro on: {}", String::from_utf8_lossy(&gro.stderr));
        let before = napi_threads(interface)?;
        // `ip netns exec` shows the namespace's own /sys.
        let switch = format!("echo 1 > /sys/class/net/{interface}/threaded");
        let mut command = Command::new("ip");
        let on = command.args(["netns", "exec", netns.name(), "sh", "-c", &switch]).output().context("starting ip")?;
        ensure!(on.status.success(), "no threaded NAPI on {interface}: {}", String::from_utf8_lossy(&on.stderr));
        let until = Instant::now() + Duration::from_secs(2);
        loop {
            let now = napi_threads(interface)?;
            let new: Vec<i32> = now.into_iter().filter(|pid| !before.contains(pid)).collect();
            if let [pid] = new.as_slice() {
                let pid = Pid::from_raw(*pid).context("a process")?;
                pin(Some(pid), cpu)?;
                let on =
                    Command::new("chrt").args(["--fifo", "--pid", "2", &pid.as_raw_nonzero().to_string()]).output()?;
                ensure!(on.status.success(), "chrt: {}", String::from_utf8_lossy(&on.stderr));
                return Ok(Self { pid });
            }
            ensure!(Instant::now() < until, "{} NAPI threads of {interface} instead of one", new.len());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// How long it ran, in ns.
    ///
    /// # Errors
    /// It ended.
    pub fn busy_ns(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.pid.as_raw_nonzero()))?;
        text.split_whitespace().next().and_then(|ns| ns.parse().ok()).context("the thread's schedstat")
    }
}

fn napi_threads(interface: &str) -> Result<Vec<i32>> {
    let prefix = format!("napi/{interface}-");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with(&prefix)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Keeps a thread (`None`: the calling one) on one processor.
///
/// # Errors
/// There is no such processor.
pub fn pin(pid: Option<Pid>, cpu: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(pid, &set).with_context(|| format!("sched_setaffinity(2) to processor {cpu}"))
}
