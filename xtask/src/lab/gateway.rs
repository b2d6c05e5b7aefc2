//! What runs in the gateway. Enters: a lab and the shipped `deploy/qantra.toml`. Leaves: `qantra run` with that config, only
//! places and addresses changed; or, to see what attacks do without it, nginx as a plain proxy. It must never
//! change a threshold or a policy: the demo shows what is shipped.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use toml::{Table, Value};

use super::{
    Lab, Running,
    origin::{self, ORIGIN_PORT},
    plan::{Family, GATEWAY_LAN_V4, SHOP_HOST, host},
    running::run,
    wait_until,
};
use crate::workspace::{self, Arch};

/// How long the gateway may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The gateway's process.
#[derive(Debug)]
pub(crate) struct Gateway {
    running: Running,
}

impl Gateway {
    /// Starts it, and waits until the shop answers through it.
    ///
    /// # Errors
    /// It is not built, its config cannot be made, or it does not answer.
    pub(crate) fn start(lab: &Lab, without_qantra: bool) -> Result<Self> {
        let log = lab.dir().join("gateway.log");
        let mut command = if without_qantra { plain_proxy(lab)? } else { qantra(lab)? };
        let mut running = Running::start(&mut command, &log)?;
        let url = format!("http://{SHOP_HOST}/healthz");
        let mut ended = false;
        let answer = wait_until("the gateway answers", START_LIMIT, || {
            ended = running.ended().is_some();
            ended || origin::answers(lab, "curl", &url)
        });
        if ended || answer.is_err() {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(15).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            answer?;
            bail!("the gateway ended at once; it wrote:\n{}", tail.join("\n"));
        }
        Ok(Self { running })
    }

    /// It goes on when this value is dropped.
    pub(crate) fn leave_running(&mut self) {
        self.running.leave_running();
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.running.ended().is_none()
    }

    /// Bytes of memory that it holds now; `None` when it has ended.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

/// The daemon, as `cargo xtask build --release` leaves it, unless the environment names another, as it does for tests.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("QANTRA_DAEMON").map_or_else(|| workspace::daemon(true, None), PathBuf::from)
}

/// The eBPF object, in the same way.
fn object() -> PathBuf {
    let built = || workspace::target_dir().join("bpf/qantra.bpf.o");
    std::env::var_os("QANTRA_BPF_OBJECT").map_or_else(built, PathBuf::from)
}

/// The control socket of a lab's daemon.
pub(crate) fn control_socket(lab: &Lab) -> PathBuf {
    lab.dir().join("control.sock")
}

fn qantra(lab: &Lab) -> Result<Command> {
    ensure!(binary().is_file(), "{} is not there: `cargo xtask build --release` makes it", binary().display());
    // bpffs belongs to no network namespace: each lab mounts one of its own, so that pins never meet.
    let pins = lab.dir().join("bpf");
    fs::create_dir_all(&pins)?;
    run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&pins))?;
    let shipped = workspace::root().join("deploy/qantra.toml");
    let text = fs::read_to_string(&shipped).with_context(|| shipped.display().to_string())?;
    let config = lab.dir().join("qantra.toml");
    fs::write(&config, render(lab, &text).with_context(|| shipped.display().to_string())?)?;
    let mut command = lab.command("gateway", binary());
    command.arg("--config").arg(&config).arg("run");
    Ok(command)
}

/// The shipped config with the lab's places and addresses.
fn render(lab: &Lab, shipped: &str) -> Result<String> {
    let mut config: Table = toml::from_str(shipped)?;
    let path = |path: &Path| Value::from(path.display().to_string());
    set(&mut config, "daemon", "state_dir", path(&lab.dir().join("state")))?;
    set(&mut config, "daemon", "control_socket", path(&control_socket(lab)))?;
    set(&mut config, "kernel", "object", path(&object()))?;
    set(&mut config, "kernel", "pin_dir", path(&lab.dir().join("bpf/qantra")))?;
    set(&mut config, "models", "dir", path(&workspace::root().join("models")))?;
    set(&mut config, "models", "runtime", path(&workspace::onnxruntime(Arch::host())))?;

    let wan = host("gateway")?;
    let interface = |name: &str, role: &str| {
        Value::Table(Table::from_iter([("name".into(), name.into()), ("role".into(), role.into())]))
    };
    config.insert("interface".into(), vec![interface("wan0", "wan"), interface("lan0", "lan")].into());
    let listen = |address: IpAddr, port: u16, tls: bool| {
        let address = std::net::SocketAddr::new(address, port).to_string();
        Value::Table(Table::from_iter([("address".into(), address.into()), ("tls".into(), tls.into())]))
    };
    let mut listeners = Vec::new();
    for address in [wan.address(Family::V4), wan.address(Family::V6), GATEWAY_LAN_V4.into()] {
        listeners.extend([listen(address, 80, false), listen(address, 443, true)]);
    }
    config.insert("listen".into(), listeners.into());
    config.insert("site".into(), vec![Value::Table(site(lab, &config)?)].into());
    Ok(toml::to_string(&config)?)
}

/// The shop: what the shipped config's first site has, with the lab's host name, target and certificate.
fn site(lab: &Lab, config: &Table) -> Result<Table> {
    let shipped =
        config.get("site").and_then(Value::as_array).and_then(|sites| sites.first()).and_then(Value::as_table);
    let mut site = shipped.cloned().unwrap_or_default();
    site.insert("name".into(), "shop".into());
    site.insert("hosts".into(), vec![Value::from(SHOP_HOST)].into());
    let address = format!("{}:{ORIGIN_PORT}", host("origin")?.address(Family::V4));
    let target = Table::from_iter([("address".into(), address.into())]);
    site.insert("target".into(), vec![Value::Table(target)].into());
    let file = |path: PathBuf| Value::from(path.display().to_string());
    let tls = [("certificate".into(), file(origin::certificate(lab))), ("key".into(), file(origin::key(lab)))];
    site.insert("tls".into(), Value::Table(Table::from_iter(tls)));
    Ok(site)
}

fn set(config: &mut Table, section: &str, key: &str, value: Value) -> Result<()> {
    let entry = config.entry(section).or_insert_with(|| Value::Table(Table::new()));
    let table = entry.as_table_mut().with_context(|| format!("`{section}` is not a table"))?;
    table.insert(key.into(), value);
    Ok(())
}

/// nginx that only passes requests on, with the client's address: what a gateway without Qantra does.
fn plain_proxy(lab: &Lab) -> Result<Command> {
    let dir = lab.dir().join("plain");
    fs::create_dir_all(&dir)?;
    let (gateway, origin) = (host("gateway")?, host("origin")?);
    let mut listen = String::new();
    for address in [
        gateway.address(Family::V4).to_string(),
        format!("[{}]", gateway.address(Family::V6)),
        GATEWAY_LAN_V4.to_string(),
    ] {
        listen += &format!("listen {address}:80; listen {address}:443 ssl; ");
    }
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind}; ", dir.display()))
        .concat();
    let config = format!(
        "daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_max_body_size 8m; {places}\n\
           server {{ {listen} ssl_certificate {crt}; ssl_certificate_key {key};\n\
             location / {{ proxy_pass http://{origin}:{ORIGIN_PORT}; proxy_http_version 1.1; proxy_set_header Host $host;\n\
               proxy_set_header X-Forwarded-For $remote_addr; proxy_request_buffering off; }} }} }}\n",
        dir = dir.display(),
        crt = origin::certificate(lab).display(),
        key = origin::key(lab).display(),
        origin = origin.address(Family::V4),
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = lab.command("gateway", "/usr/sbin/nginx");
    command.arg("-c").arg(&file);
    Ok(command)
}
