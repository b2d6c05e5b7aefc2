//! The whole daemon on a real interface, killed and started again under traffic without a pause: bans go on, the next
//! start adopts them, and not one packet of a banned source passes.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use qantra_tests::{
    binary,
    flood::Flood,
    kernel::Pins,
    netns::{NetNs, join},
};
use tempfile::TempDir;

const BOX: &str = "192.0.2.1";
const CLIENT: &str = "192.0.2.10";
/// How long a start or an orderly end may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A gateway with a daemon's configuration, and a client on its WAN side.
struct Edge {
    client: NetNs,
    gateway: NetNs,
    folder: TempDir,
    // Last, so that pins go when no daemon holds them any more.
    _pins: Pins,
}

impl Edge {
    fn new() -> Result<Self> {
        Self::run_as("")
    }

    /// With a daemon that becomes this user.
    fn run_as(user: &str) -> Result<Self> {
        let (client, gateway) = (NetNs::new("qs-client")?, NetNs::new("qs-box")?);
        join((&client, "eth0", &["192.0.2.10/24"]), (&gateway, "wan0", &["192.0.2.1/24"]))?;
        let (folder, pins) = (tempfile::tempdir()?, Pins::new());
        if !user.is_empty() {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        }
        let config = format!(
            r#"
            [daemon]
            user = "{user}"
            state_dir = "{folder}/state"
            control_socket = "{folder}/control.sock"
            [kernel]
            object = "{object}"
            pin_dir = "{pins}"
            [[interface]]
            name = "wan0"
            role = "wan"
            [models]
            enabled = false
            [[listen]]
            address = "{BOX}:8080"
            [[site]]
            name = "shop"
            hosts = ["*"]
            [[site.target]]
            address = "{BOX}:9000"
            "#,
            folder = folder.path().display(),
            object = pins.config().object.display(),
            pins = pins.path().display(),
        );
        fs::write(folder.path().join("qantra.toml"), config)?;
        Ok(Self { client, gateway, folder, _pins: pins })
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("qantra.toml")
    }

    /// Starts the daemon, and waits until it answers.
    fn start(&self) -> Result<Daemon> {
        let mut command = self.gateway.command(&binary::qantra().display().to_string());
        let daemon = Daemon(command.arg("-c").arg(self.config()).arg("run").spawn()?);
        let begun = Instant::now();
        while !self.ask(&["status"])?.status.success() {
            ensure!(begun.elapsed() < LIMIT, "the daemon does not answer");
            sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary::qantra());
        command.arg("-c").arg(self.config()).args(arguments).output().context("starting qantra")
    }

    /// Waits until `qantra status` says that the interface stands on this rung.
    fn wait_for_hook(&self, wanted: Option<&str>) -> Result<()> {
        let begun = Instant::now();
        loop {
            let status: serde_json::Value = serde_json::from_slice(&self.ask(&["status", "-o", "json"])?.stdout)?;
            let interface = &status["interfaces"][0];
            if interface["hook"].as_str() == wanted {
                let waits = interface["note"].as_str().is_some_and(|note| note.starts_with("not there"));
                ensure!(waits == wanted.is_none(), "{interface}");
                return Ok(());
            }
            ensure!(begun.elapsed() < LIMIT, "{wanted:?} is not what came: {interface}");
            sleep(Duration::from_millis(20));
        }
    }

    /// What Prometheus would read.
    fn metrics(&self) -> Result<String> {
        let _inside = self.gateway.enter()?;
        let mut stream = TcpStream::connect("127.0.0.1:9464")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    fn decisions(&self) -> Result<String> {
        Ok(String::from_utf8(self.ask(&["decisions", "list", "-o", "json"])?.stdout)?)
    }
}

struct Daemon(Child);

impl Daemon {
    /// SIGKILL: it has no chance to clean up.
    fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// SIGTERM, and how it ended.
    fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.0.id())?;
        let pid = rustix::process::Pid::from_raw(pid).context("a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let begun = Instant::now();
        loop {
            match self.0.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the daemon ended with {status}"),
                None if begun.elapsed() > LIMIT => bail!("the daemon does not end"),
                None => sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Which capabilities its threads hold, as `/proc` writes them.
    fn capabilities(&self) -> Result<Vec<String>> {
        let mut held = Vec::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("CapEff")?;
            held.push(line.trim().to_owned());
        }
        Ok(held)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_killed_daemon_lets_no_banned_packet_through_and_the_next_adopts() -> Result<()> {
    let edge = Edge::new()?;
    let mut daemon = edge.start()?;
    let flood = Flood::start(&edge.client, &edge.gateway, BOX)?;
    let (_, received) = flood.during(Duration::from_millis(300));
    assert!(received > 100, "only {received} came through before any ban");

    let banned = edge.ask(&["decisions", "add", "--ip", CLIENT, "--duration", "1h", "--reason", "test"])?;
    assert!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
    let _settled = flood.during(Duration::from_millis(50));
    let passed = flood.received();
    for round in 0..3 {
        daemon.kill()?;
        let (sent, received) = flood.during(Duration::from_millis(300));
        assert!(sent > 100, "the flood has stopped");
        assert_eq!(received, 0, "round {round}: while no daemon runs");
        daemon = edge.start()?;
        assert_eq!(flood.received(), passed, "round {round}: while the next daemon started");
        let decisions = edge.decisions()?;
        assert!(decisions.contains(CLIENT), "round {round}: not adopted: {decisions}");
    }

    let lifted = edge.ask(&["decisions", "delete", "--ip", CLIENT])?;
    assert!(lifted.status.success(), "{}", String::from_utf8_lossy(&lifted.stderr));
    let (_, received) = flood.during(Duration::from_millis(300));
    assert!(received > 100, "only {received} came through after the ban");
    daemon.stop()
}

#[test]
fn interfaces_that_come_go_or_are_renamed_are_followed() -> Result<()> {
    let edge = Edge::new()?;
    let daemon = edge.start()?;
    let banned = edge.ask(&["decisions", "add", "--ip", CLIENT, "--duration", "1h", "--reason", "test"])?;
    assert!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
    let passes = || -> Result<(u64, u64)> {
        let flood = Flood::start(&edge.client, &edge.gateway, BOX)?;
        Ok(flood.during(Duration::from_millis(300)))
    };
    let (sent, came) = passes()?;
    assert!(sent > 100 && came == 0, "{came} of {sent} came through");

    edge.gateway.ip(&["link", "delete", "wan0"])?;
    edge.wait_for_hook(None)?;
    join((&edge.client, "eth0", &["192.0.2.10/24"]), (&edge.gateway, "wan0", &["192.0.2.1/24"]))?;
    edge.wait_for_hook(Some("native_frags"))?;
    let (sent, came) = passes()?;
    assert!(sent > 100 && came == 0, "made anew: {came} of {sent} came through");

    // Under another name it is none of ours; its addresses stay.
    let rename = |from: &str, to: &str| -> Result<()> {
        edge.gateway.ip(&["link", "set", from, "down"])?;
        edge.gateway.ip(&["link", "set", from, "name", to])?;
        edge.gateway.ip(&["link", "set", to, "up"])
    };
    rename("wan0", "spare0")?;
    edge.wait_for_hook(None)?;
    let (_, came) = passes()?;
    assert!(came > 100, "renamed away: only {came} came through");
    rename("spare0", "wan0")?;
    edge.wait_for_hook(Some("native_frags"))?;
    let (sent, came) = passes()?;
    assert!(sent > 100 && came == 0, "renamed back: {came} of {sent} came through");

    let metrics = edge.metrics()?;
    for line in [
        r#"qantra_interface_changes_total{change="attached",iface="wan0"} 2"#,
        r#"qantra_interface_changes_total{change="detached",iface="wan0"} 2"#,
        r#"qantra_kernel_hook{hook="native_frags",iface="wan0"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(!metrics.contains(r#"hook="none""#), "{metrics}");
    daemon.stop()
}

#[test]
fn a_daemon_that_is_no_longer_root_attaches_to_interfaces_that_come() -> Result<()> {
    let edge = Edge::run_as("nobody")?;
    let daemon = edge.start()?;
    edge.gateway.ip(&["link", "delete", "wan0"])?;
    edge.wait_for_hook(None)?;
    join((&edge.client, "eth0", &["192.0.2.10/24"]), (&edge.gateway, "wan0", &["192.0.2.1/24"]))?;
    edge.wait_for_hook(Some("native_frags"))?;
    daemon.stop()?;
    // The next start is root again, and adopts what that user pinned.
    edge.start()?.stop()
}

#[test]
fn no_thread_keeps_more_than_two_capabilities() -> Result<()> {
    let edge = Edge::new()?;
    let daemon = edge.start()?;
    // CAP_NET_ADMIN is bit 12, CAP_BPF is bit 39.
    let expected = format!("{:016x}", 1_u64 << 12 | 1_u64 << 39);
    for held in daemon.capabilities()? {
        assert_eq!(held, expected);
    }
    daemon.stop()
}
