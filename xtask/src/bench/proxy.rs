//! Enters: nothing. Leaves: requests per second and 99th percentiles of bare nginx, bare Pingora, Qantra's proxy with a
//! judge that lets all pass, `qantra run` with everything on and without models, and both nginx with ModSecurity and Qantra with Debian's Core
//! Rule Set, each in front of the same nginx, asked by the same wrk, turn by turn. It must never count a run in which an answer was not 200, nor give one peer more than another.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::Report;
use crate::{
    process::{self, cargo, which},
    progress::Step,
    workspace::{self, Arch},
};

/// Turns; each peer has one run in each.
const TURNS: usize = 7;
/// One run of wrk, after a short one to warm up.
const RUN: &str = "4s";
const WARM_UP: &str = "1s";
const CONNECTIONS: &str = "64";
/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// What browsers ask for when people search a shop: enough fields for the inspection to have work. A thousand searches of 64
/// people, in turns, so that no peer sees one request all the time.
const SEARCHES: &str = r#"
local requests, at = {}, 0
function init()
  local words = {"blue", "running", "shoes", "winter", "coat", "cotton", "trail", "socks", "wool", "hat"}
  local orders = {"price_asc", "price_desc", "newest", "rating"}
  for n = 0, 999 do
    local target = string.format("/search?q=%s+%s+%s&page=%d&sort=%s", words[n % 10 + 1], words[math.floor(n / 10) % 10 + 1],
      words[math.floor(n / 100) + 1], n % 7 + 1, orders[n % 4 + 1])
    wrk.headers["Cookie"] = string.format("session=%08x%08x%08x; theme=dark", n % 64 * 40503, n % 64 * 9973 + 77, n % 64 * 31337)
    requests[n + 1] = wrk.format("GET", target)
  end
end
function request()
  at = at % 1000 + 1
  return requests[at]
end
"#;
const FIELDS: [&str; 4] = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Referer: http://shop.example/search?q=shoes",
];

const WITHOUT_MODELS: &str = "enabled = false\n";
/// What both run: Debian's modsecurity-crs as it is installed, refusing, bodies of requests and none of responses.
const INSPECT: &str = "[inspect]\nruleset = \"crs\"\n";
const MODSECURITY: &str = "SecRuleEngine On\nSecRequestBodyAccess On\nSecRequestBodyLimit 13107200\n\
    SecRequestBodyNoFilesLimit 1048576\nSecResponseBodyAccess Off\nSecAuditEngine Off\n\
    Include /etc/modsecurity/crs/crs-setup.conf\nInclude /usr/share/modsecurity-crs/rules/*.conf\n";
const MODULE: &str = "/usr/lib/nginx/modules/ngx_http_modsecurity_module.so";

/// Builds the peers, starts them, measures them in turns.
///
/// # Errors
/// When a program is missing, a peer does not start, or an answer is not 200.
pub(super) fn run() -> Result<Report> {
    let [nginx, wrk] = ["nginx", "wrk"].map(|program| {
        which(program).with_context(|| format!("`{program}` is not installed; `cargo xtask setup` installs it"))
    });
    let (nginx, wrk) = (nginx?, wrk?);
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "-p", "qantra-user", "--bin", "qantra"]);
    build.args(["--example", "bare_pingora", "--example", "proxy_alone"]);
    process::quiet("Building Qantra and its peers (release)", &mut build)?;

    let bench = Bench { folder: tempfile::tempdir()?, nginx, wrk };
    let origin = bench.origin()?;
    let peers = [
        ("nginx", bench.nginx_proxy(origin.address)?),
        ("pingora", bench.example("bare_pingora", origin.address)?),
        ("proxy_alone", bench.example("proxy_alone", origin.address)?),
        ("qantra_without_models", bench.qantra(origin.address, "qantra_without_models", WITHOUT_MODELS, "")?),
        ("qantra", bench.qantra(origin.address, "qantra", "", "")?),
        ("nginx_modsecurity", bench.nginx_modsecurity(origin.address)?),
        ("qantra_crs", bench.qantra(origin.address, "qantra_crs", "", INSPECT)?),
    ];
    let mut measured: Vec<(Vec<f64>, Vec<f64>)> = vec![(Vec::new(), Vec::new()); peers.len()];
    for turn in 1..=TURNS {
        let step = Step::begin(format!("Measuring, turn {turn} of {TURNS}"));
        for ((name, server), (rates, tails)) in peers.iter().zip(&mut measured) {
            let (rate, tail_ms) = bench.measure(server.address).with_context(|| format!("measuring {name}"))?;
            rates.push(rate);
            tails.push(tail_ms);
        }
        step.done();
    }
    let mut report = Report::new("proxy");
    for ((name, _), (rates, tails)) in peers.iter().zip(&measured) {
        report.row(&format!("{name}_rps"), "requests/s", rates);
        report.row(&format!("{name}_p99_ms"), "ms", tails);
    }
    report.ratio("qantra_vs_pingora", "qantra_rps", "pingora_rps");
    report.ratio("qantra_vs_nginx", "qantra_rps", "nginx_rps");
    report.ratio("qantra_vs_qantra_without_models", "qantra_rps", "qantra_without_models_rps");
    report.ratio("qantra_crs_vs_nginx_modsecurity", "qantra_crs_rps", "nginx_modsecurity_rps");
    report.ratio("qantra_crs_vs_qantra", "qantra_crs_rps", "qantra_rps");
    report.ratio("proxy_alone_vs_pingora", "proxy_alone_rps", "pingora_rps");
    Ok(report)
}

/// A server that ends with its guard.
struct Server {
    address: SocketAddr,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Bench {
    folder: tempfile::TempDir,
    nginx: PathBuf,
    wrk: PathBuf,
}

impl Bench {
    fn origin(&self) -> Result<Server> {
        let body = "x".repeat(512);
        self.nginx("origin", |address| {
            format!("server {{ listen {address}; location / {{ default_type text/html; return 200 \"{body}\"; }} }}")
        })
    }

    fn nginx_proxy(&self, origin: SocketAddr) -> Result<Server> {
        self.nginx("proxy", |address| forwarding(address, origin, ""))
    }

    /// nginx with ModSecurity and the files that Qantra reads as well: the same rules, settings and limits.
    fn nginx_modsecurity(&self, origin: SocketAddr) -> Result<Server> {
        let rules = self.folder.path().join("modsecurity.conf");
        fs::write(&rules, MODSECURITY)?;
        for needed in [MODULE, "/usr/share/modsecurity-crs/rules", "/etc/modsecurity/crs/crs-setup.conf"] {
            ensure!(Path::new(needed).exists(), "{needed} is missing: run `cargo xtask setup lab`");
        }
        let with = format!("modsecurity on; modsecurity_rules_file {:?};", rules.display().to_string());
        let server = self.nginx("modsecurity", |address| forwarding(address, origin, &with))?;
        refuses(server.address).context("nginx with ModSecurity")?;
        Ok(server)
    }

    /// Debian's nginx with one worker and no access log.
    fn nginx(&self, name: &str, servers: impl Fn(SocketAddr) -> String) -> Result<Server> {
        let address = free_address()?;
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder)?;
        let shown = folder.display();
        // A module is loaded before anything else is said.
        let modules = if name == "modsecurity" { format!("load_module {MODULE};\n") } else { String::new() };
        let config = format!(
            "{modules}daemon off; master_process off; worker_processes 1; pid {shown}/nginx.pid; error_log stderr error;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s;\n\
             client_body_temp_path {shown}/body; proxy_temp_path {shown}/temp; fastcgi_temp_path {shown}/fastcgi;\n\
             uwsgi_temp_path {shown}/uwsgi; scgi_temp_path {shown}/scgi;\n{}\n}}\n",
            servers(address)
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config)?;
        let on = if name == "origin" { Place::Beside } else { Place::Measured };
        let mut command = pinned(&self.nginx, on);
        command.arg("-p").arg(&folder).arg("-c").arg(&file);
        start(command, address, name)
    }

    fn example(&self, name: &str, origin: SocketAddr) -> Result<Server> {
        let address = free_address()?;
        let program = workspace::target_dir().join("release/examples").join(name);
        let mut command = pinned(&program, Place::Measured);
        command.args([address.to_string(), origin.to_string()]);
        start(command, address, name)
    }

    /// `qantra run` with models, behaviour detectors, store and metrics, as shipped; without interfaces, since its kernel
    /// half has a bench of its own.
    fn qantra(&self, origin: SocketAddr, name: &str, more_of_models: &str, inspect: &str) -> Result<Server> {
        let (address, metrics) = (free_address()?, free_address()?);
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder)?;
        let models = workspace::root().join("models");
        let runtime = workspace::onnxruntime(Arch::host());
        ensure!(
            runtime.is_file() && models.join("manifest.toml").is_file(),
            "`bench proxy` measures Qantra with its models on, and {} or {} is missing: run `cargo xtask setup`",
            runtime.display(),
            models.join("manifest.toml").display()
        );
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let config = format!(
            "[daemon]\nstate_dir = {}\ncontrol_socket = {}\n[metrics]\nlisten = \"{metrics}\"\n\
             [models]\ndir = {}\nruntime = {}\n{more_of_models}[proxy]\nthreads = 1\n[[listen]]\naddress = \"{address}\"\n\
             [[site]]\nname = \"shop\"\nhosts = [\"*\"]\n[[site.target]]\naddress = \"{origin}\"\n\
             {inspect}",
            quoted(&folder.join("state")),
            quoted(&folder.join("control.sock")),
            quoted(&models),
            quoted(&runtime),
        );
        let file = folder.join("qantra.toml");
        fs::write(&file, config)?;
        let mut command = pinned(&workspace::daemon(true, None), Place::Measured);
        command.args(["run", "--config"]).arg(&file);
        let server = start(command, address, "qantra run")?;
        if !inspect.is_empty() {
            refuses(server.address).context("Qantra with the Core Rule Set")?;
        }
        Ok(server)
    }

    /// Requests per second and the 99th percentile in milliseconds.
    fn measure(&self, address: SocketAddr) -> Result<(f64, f64)> {
        self.wrk(address, WARM_UP)?;
        let text = self.wrk(address, RUN)?;
        ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "not every answer was 200:\n{text}");
        let rate = value_after(&text, "Requests/sec:").and_then(|rate| rate.parse().ok());
        let tail = value_after(&text, "99%").and_then(milliseconds);
        rate.zip(tail).with_context(|| format!("wrk said what this task cannot read:\n{text}"))
    }

    fn wrk(&self, address: SocketAddr, duration: &str) -> Result<String> {
        let mut command = pinned(&self.wrk, Place::Beside);
        command.args(["-t1", "-c", CONNECTIONS, "-d", duration, "--latency", "-H", "Host: shop.example"]);
        for field in FIELDS {
            command.args(["-H", field]);
        }
        let script = self.folder.path().join("searches.lua");
        if !script.exists() {
            fs::write(&script, SEARCHES)?;
        }
        process::stdout(command.arg("-s").arg(script).arg(format!("http://{address}")))
    }
}

/// Where a process runs: what is measured has one processor to itself, load and origin have the others.
#[derive(Clone, Copy)]
enum Place {
    Measured,
    Beside,
}

fn pinned(program: &Path, place: Place) -> Command {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let Some(taskset) = which("taskset").filter(|_| cpus > 1) else { return Command::new(program) };
    let list = match place {
        Place::Measured => (cpus - 1).to_string(),
        Place::Beside => format!("0-{}", cpus - 2),
    };
    let mut command = Command::new(taskset);
    command.args(["-c", &list]).arg(program);
    command
}

/// nginx as a reverse proxy; `with` stands in its `location`.
fn forwarding(address: SocketAddr, origin: SocketAddr, with: &str) -> String {
    format!(
        "upstream origin {{ server {origin}; keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen {address}; location / {{ {with} proxy_pass http://origin; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}"
    )
}

/// Makes sure that rules run at all: a peer that inspects nothing would be fast for nothing.
fn refuses(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        b"GET /?id=1%27%20UNION%20SELECT%20a,b%20FROM%20users--%20- HTTP/1.1\r\nHost: shop.example\r\n\
          User-Agent: Mozilla/5.0\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 403 "), "an injection was not refused: {:?}", answer.lines().next());
    Ok(())
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn start(mut command: Command, address: SocketAddr, name: &str) -> Result<Server> {
    let shown = process::line(&command);
    // What a server has to say when it does not start is worth reading; what it logs otherwise is not measured.
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().with_context(|| format!("`{shown}`"))?;
    let mut server = Server { address, child };
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = server.child.try_wait()? {
            bail!("{name} ended with {status} instead of serving: `{shown}`");
        }
        ensure!(Instant::now() < until, "{name} does not listen on {address}: `{shown}`");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(server)
}

fn value_after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let line = text.lines().map(str::trim).find(|line| line.starts_with(label))?;
    line.strip_prefix(label)?.split_whitespace().next()
}

/// wrk writes `850.00us`, `1.23ms`, `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1_000.0)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 1s test @ http://127.0.0.1:1/\n  Latency Distribution\n     50%  850.00us\n     99%    1.25ms\n\
                       Requests/sec:  51700.42\nTransfer/sec:      1.00MB\n";

    #[test]
    fn wrk_is_read() {
        assert_eq!(value_after(WRK, "Requests/sec:"), Some("51700.42"));
        assert_eq!(value_after(WRK, "99%").and_then(milliseconds), Some(1.25));
        assert_eq!(milliseconds("850.00us"), Some(0.85));
        assert_eq!(milliseconds("1.02s"), Some(1_020.0));
        assert_eq!(milliseconds("soon"), None);
    }
}
