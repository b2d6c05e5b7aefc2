//! The lab's two promises: nothing in it reaches any other network, and nothing of it is left when it ends, however it
//! ends. Attack tools run in there; so both are tested with real labs.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a demo may take to stop everything once it is told to end.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// The tasks' program, of this very checkout.
fn xtask() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--quiet", "--package", "xtask"]).status()?;
    ensure!(built.success(), "xtask does not build");
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("no target folder")?;
    Ok(folder.join("xtask"))
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn namespaces(id: &str) -> Result<Vec<String>> {
    let list = output("ip", &["netns", "list"])?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| name.starts_with(&format!("qlab-{id}-"))).map(str::to_owned).collect())
}

fn assert_gone(id: &str) -> Result<()> {
    ensure!(namespaces(id)?.is_empty(), "namespaces are left: {:?}", namespaces(id)?);
    ensure!(!Path::new("/run/qantra-lab").join(id).exists(), "the lab's folder is left");
    let etc = fs::read_dir("/etc/netns").into_iter().flatten().flatten();
    let left: Vec<_> = etc.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().contains(id)).collect();
    ensure!(left.is_empty(), "files are left in /etc/netns: {left:?}");
    ensure!(!fs::read_to_string("/proc/mounts")?.contains(&format!("/qantra-lab/{id}/")), "a mount is left");
    for entry in fs::read_dir("/proc")?.flatten() {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&words).replace('\0', " ");
        ensure!(!line.contains(&format!("/qantra-lab/{id}/")), "a process is left: {line}");
    }
    Ok(())
}

/// A lab that goes when the test ends, well or not.
struct LabUp {
    id: String,
    xtask: PathBuf,
}

impl LabUp {
    fn new() -> Result<Self> {
        let xtask = xtask()?;
        let text = output(&xtask.to_string_lossy(), &["lab", "up", "--without-qantra"])?;
        let id = text.split_whitespace().nth(1).context("`lab up` did not print the lab's id")?.to_owned();
        Ok(Self { id, xtask })
    }

    fn check(&self) -> Result<String, String> {
        let output =
            Command::new(&self.xtask).args(["lab", "check", &self.id]).output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    fn down(&self) -> Result<()> {
        output(&self.xtask.to_string_lossy(), &["lab", "down", &self.id]).map(drop)
    }
}

impl Drop for LabUp {
    fn drop(&mut self) {
        let _ = self.down();
    }
}

#[test]
fn nothing_in_a_lab_reaches_the_machine_outside() -> Result<()> {
    let lab = LabUp::new()?;
    let listener = TcpListener::bind("0.0.0.0:0")?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let addresses = output("hostname", &["-I"])?;
    let names = namespaces(&lab.id)?;
    ensure!(names.len() > 20, "the lab has {} hosts only", names.len());
    for name in &names {
        for address in addresses.split_whitespace().chain(["127.0.0.1"]) {
            let connect = format!("exec 3<>/dev/tcp/{address}/{port}");
            let mut attempt = Command::new("ip");
            attempt.args(["netns", "exec", name, "timeout", "2", "bash", "-c", &connect]);
            let reached = attempt.stderr(Stdio::null()).status()?.success();
            ensure!(!reached, "{name} reached {address}");
        }
    }
    ensure!(listener.accept().is_err(), "somebody in the lab connected to a socket outside");
    // The same hosts do reach each other: the test above would pass in a lab that is merely broken.
    output("ip", &["netns", "exec", &format!("qlab-{}-curl", lab.id), "curl", "-sf", "http://shop.example/healthz"])?;
    lab.down()?;
    assert_gone(&lab.id)
}

#[test]
fn a_planted_way_out_is_found() -> Result<()> {
    let lab = LabUp::new()?;
    lab.check().map_err(anyhow::Error::msg)?;

    let curl = format!("qlab-{}-curl", lab.id);
    output("ip", &["-n", &curl, "route", "add", "default", "via", "198.51.100.1"])?;
    let error = lab.check().err().context("a default route went unnoticed")?;
    ensure!(error.contains("default") && error.contains(&curl), "{error}");
    output("ip", &["-n", &curl, "route", "del", "default"])?;
    lab.check().map_err(anyhow::Error::msg)?;

    // It stays down and without an address: nothing can pass, and it is a way out all the same.
    let outside = format!("qt{}", lab.id);
    output("ip", &["link", "add", &outside, "type", "veth", "peer", "name", "out0", "netns", &curl])?;
    let found = lab.check();
    output("ip", &["link", "del", &outside])?;
    let error = found.err().context("a cable to the machine's own network went unnoticed")?;
    ensure!(error.contains("cables") || error.contains(&outside), "{error}");
    lab.check().map_err(anyhow::Error::msg).map(drop)
}

#[test]
fn an_interrupted_demo_leaves_nothing() -> Result<()> {
    let mut demo = Command::new(xtask()?)
        .args(["demo", "--without-qantra", "--no-build"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(demo.stderr.take().context("no standard error")?).lines();
    let id = loop {
        let line = lines.next().context("the demo ended before it had a lab")??;
        if let Some(id) = line.trim().strip_prefix("lab ") {
            break id.to_owned();
        }
    };
    // The rest of what it says must not fill the pipe.
    let drain = thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());

    // In the middle of everything: honest clients, and the first attack tool.
    let began = Instant::now();
    while output("ip", &["netns", "pids", &format!("qlab-{id}-gobuster")])?.lines().count() < 2 {
        if began.elapsed() > Duration::from_secs(60) {
            bail!("no attack began");
        }
        thread::sleep(Duration::from_millis(100));
    }
    let pid = Pid::from_raw(i32::try_from(demo.id())?).context("no process id")?;
    kill_process(pid, Signal::INT)?;
    let told = Instant::now();
    let status = loop {
        match demo.try_wait()? {
            Some(status) => break status,
            None if told.elapsed() > STOP_LIMIT => bail!("the demo goes on after SIGINT"),
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    let said = drain.join().map_err(|_| anyhow::anyhow!("the reader of its output ended"))?;
    ensure!(status.code() == Some(1), "{status}");
    ensure!(said.iter().any(|line| line.contains("interrupted")), "{said:?}");
    assert_gone(&id)
}
