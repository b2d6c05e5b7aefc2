//! Enters: rules and sites. Leaves: `qantra run` with them in front of an origin. It must never need root: there is no
//! kernel half, and there are no models unless they are asked for.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    binary::command,
    client::{Answer, Client},
};
use anyhow::{Result, ensure};

/// A daemon that runs until dropped.
pub struct Daemon {
    /// Where its proxy listens.
    pub address: SocketAddr,
    metrics: SocketAddr,
    folder: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    /// `inspect` follows `[inspect]`; `sites` are whole tables.
    ///
    /// # Errors
    /// It cannot be started, or does not serve.
    pub fn start(rules: &str, inspect: &str, sites: &str) -> Result<Self> {
        Self::with_models("enabled = false", rules, inspect, sites)
    }

    /// The same; `models` follows `[models]`.
    ///
    /// # Errors
    /// It cannot be started, or does not serve.
    pub fn with_models(models: &str, rules: &str, inspect: &str, sites: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("rules"))?;
        std::fs::write(folder.path().join("rules/test.conf"), rules)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let here = folder.path().display();
        let config = format!(
            "[daemon]\nstate_dir = \"{here}/state\"\ncontrol_socket = \"{here}/control.sock\"\n[models]\n{models}\n\
             [protect]\nauto = false\n[proxy]\nthreads = 1\ntrusted_proxies = [\"127.0.0.1\"]\n\
             [[listen]]\naddress = \"{address}\"\n[inspect]\nrules_dir = \"{here}/rules\"\n{inspect}\n{sites}\n"
        );
        // A port of its own: two tests may run at once.
        let metrics = free()?;
        let config = config.replace("[models]", &format!("[metrics]\nlisten = \"{metrics}\"\n[models]"));
        std::fs::write(folder.path().join("qantra.toml"), config)?;
        let mut daemon = Self { address, metrics, child: spawn(&folder)?, folder };
        daemon.wait()?;
        Ok(daemon)
    }

    fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(self.address).is_err() {
            let runs = self.child.try_wait()?.is_none();
            ensure!(runs && Instant::now() < until, "it does not serve: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it as a service manager does, and starts it anew with the same files.
    ///
    /// # Errors
    /// It does not end, cannot be started, or does not serve.
    pub fn restart(&mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}: {}", self.log());
        self.child = spawn(&self.folder)?;
        self.wait()
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The file of its own rules.
    #[must_use]
    pub fn rule_file(&self) -> PathBuf {
        self.folder.path().join("rules/test.conf")
    }

    /// Its resident memory.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// One raw request on a connection of its own.
    ///
    /// # Errors
    /// There is no whole answer.
    pub fn ask(&self, request: &[u8]) -> Result<Answer> {
        let mut client = Client::connect(self.address)?;
        client.send(request)?;
        client.answer()
    }

    /// A plain GET.
    ///
    /// # Errors
    /// There is no whole answer.
    pub fn get(&self, host: &str, target: &str) -> Result<Answer> {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
    }

    /// A POST with a body of a content type.
    ///
    /// # Errors
    /// There is no whole answer.
    pub fn post(&self, host: &str, kind: &str, body: &[u8]) -> Result<Answer> {
        let length = body.len();
        let head =
            format!("POST /post HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        self.ask(&[head.as_bytes(), body].concat())
    }

    /// Its metrics.
    ///
    /// # Errors
    /// There is no whole answer.
    pub fn metrics(&self) -> Result<String> {
        let mut client = Client::connect(self.metrics)?;
        client.send(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\n\r\n")?;
        Ok(client.answer()?.text())
    }

    /// A command of the running daemon, as JSON.
    ///
    /// # Errors
    /// It fails, or is no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let said = self.say(&[arguments, &["-o", "json"]].concat())?;
        Ok(serde_json::from_str(&said)?)
    }

    /// A command of the running daemon.
    ///
    /// # Errors
    /// It fails.
    pub fn say(&self, arguments: &[&str]) -> Result<String> {
        let socket = self.folder.path().join("control.sock").display().to_string();
        let output = command(&[&["--socket", &socket], arguments].concat()).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn spawn(folder: &tempfile::TempDir) -> Result<Child> {
    let path = folder.path().join("qantra.toml").display().to_string();
    let log = std::fs::File::create(folder.path().join("log"))?;
    Ok(command(&["run", "--config", &path]).stdout(Stdio::null()).stderr(log).spawn()?)
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
