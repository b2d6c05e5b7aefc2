//! Enters: nothing. Leaves: a gateway with a daemon's configuration, a client on its WAN side, and the real daemon on it.
//! All of it goes with its guards, pins too.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    binary,
    kernel::Pins,
    netns::{NetNs, join},
};

/// The gateway's address.
pub const BOX: &str = "192.0.2.1";
/// The client's address.
pub const CLIENT: &str = "192.0.2.10";
/// How long a start or an orderly end may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A gateway with a daemon's configuration, and a client on its WAN side.
#[derive(Debug)]
pub struct Edge {
    /// The client's namespace, with `eth0`.
    pub client: NetNs,
    /// The gateway's namespace, with `wan0`.
    pub gateway: NetNs,
    /// Where the daemon keeps its files.
    pub folder: TempDir,
    // Last, so that pins go when no daemon holds them any more.
    pins: Pins,
}

impl Edge {
    /// With a daemon that stays root.
    pub fn new() -> Result<Self> {
        Self::run_as("")
    }

    /// With a daemon that becomes this user.
    pub fn run_as(user: &str) -> Result<Self> {
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
        Ok(Self { client, gateway, folder, pins })
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("qantra.toml")
    }

    /// Where its daemon pins programs and maps.
    #[must_use]
    pub fn pin_dir(&self) -> &Path {
        self.pins.path()
    }

    /// Starts the daemon, and waits until it answers.
    pub fn start(&self) -> Result<Daemon> {
        let mut command = self.gateway.command(&binary::qantra().display().to_string());
        let daemon = Daemon(command.arg("-c").arg(self.config()).arg("run").spawn()?);
        let begun = Instant::now();
        while !self.ask(&["status"])?.status.success() {
            ensure!(begun.elapsed() < LIMIT, "the daemon does not answer");
            sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Runs a command of the binary against it.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary::qantra());
        command.arg("-c").arg(self.config()).args(arguments).output().context("starting qantra")
    }

    /// Waits until `qantra status` says that the interface stands on this rung.
    pub fn wait_for_hook(&self, wanted: Option<&str>) -> Result<()> {
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

    /// The rung that the first interface stands on.
    pub fn hook(&self) -> Result<String> {
        let status: serde_json::Value = serde_json::from_slice(&self.ask(&["status", "-o", "json"])?.stdout)?;
        Ok(status["interfaces"][0]["hook"].as_str().unwrap_or("none").to_owned())
    }

    /// `qantra detach`, in the gateway's namespace.
    pub fn detach(&self) -> Result<Output> {
        let mut command = self.gateway.command(&binary::qantra().display().to_string());
        command.arg("-c").arg(self.config()).arg("detach").output().context("starting qantra")
    }

    /// What Prometheus would read.
    pub fn metrics(&self) -> Result<String> {
        let _inside = self.gateway.enter()?;
        let mut stream = TcpStream::connect("127.0.0.1:9464")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// What is in force, as JSON.
    pub fn decisions(&self) -> Result<String> {
        Ok(String::from_utf8(self.ask(&["decisions", "list", "-o", "json"])?.stdout)?)
    }
}

/// A running daemon; SIGKILL ends it when this value goes.
#[derive(Debug)]
pub struct Daemon(Child);

impl Daemon {
    /// SIGKILL: it has no chance to clean up.
    pub fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// SIGTERM, and how it ended.
    pub fn stop(mut self) -> Result<()> {
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
    pub fn capabilities(&self) -> Result<Vec<String>> {
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
