//! Enters: a name's prefix. Leaves: network namespaces that have no way out, and are gone when their guard is dropped,
//! also when a test fails. It must never touch the namespace the tests were started in.

use std::{
    fs::File,
    os::fd::AsRawFd,
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A network namespace of its own.
#[derive(Debug)]
pub struct NetNs {
    name: String,
}

impl NetNs {
    /// Makes one, with loopback up.
    pub fn new(prefix: &str) -> Result<Self> {
        let name = format!("{prefix}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let netns = Self { name };
        netns.ip(&["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Its name, as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip -n NAME …`.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// A command in it. Unlike `ip netns exec` it keeps the mounts, and so the BPF file system.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program);
        command
    }

    /// Runs a command in it to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        self.command(program).args(arguments).output().with_context(|| format!("starting {program}"))
    }

    /// Whether `address` answers one ping within a second.
    pub fn pings(&self, address: &str) -> Result<bool> {
        Ok(self.run("ping", &["-n", "-c", "1", "-W", "1", address])?.status.success())
    }

    /// Moves the calling thread into it until the guard is dropped.
    pub fn enter(&self) -> Result<Entered> {
        let before = File::open("/proc/thread-self/ns/net")?;
        let inside = File::open(self.path())?;
        set_netns(&inside)?;
        Ok(Entered { before })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let _gone = ip(&["netns", "delete", &self.name]);
    }
}

/// A thread inside a namespace.
#[derive(Debug)]
pub struct Entered {
    before: File,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let _back = set_netns(&self.before);
    }
}

/// Joins two namespaces by a veth pair: `left` and `right` are (namespace, interface, addresses with prefix length).
pub fn join(left: (&NetNs, &str, &[&str]), right: (&NetNs, &str, &[&str])) -> Result<()> {
    let (left_ns, left_name, _) = left;
    let (right_ns, right_name, _) = right;
    left_ns.ip(&["link", "add", left_name, "type", "veth", "peer", "name", right_name, "netns", right_ns.name()])?;
    for (netns, name, addresses) in [left, right] {
        for address in addresses {
            // Duplicate address detection would keep IPv6 addresses unusable for seconds.
            let flags: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            netns.ip(&[&["addr", "add", address, "dev", name], flags].concat())?;
        }
        netns.ip(&["link", "set", name, "up"])?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("starting ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[expect(unsafe_code, reason = "setns(2) has no safe wrapper among our dependencies")]
fn set_netns(namespace: &File) -> Result<()> {
    // SAFETY: an open descriptor of a namespace; only the calling thread moves.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(std::io::Error::last_os_error()).context("setns(2)");
    }
    Ok(())
}
