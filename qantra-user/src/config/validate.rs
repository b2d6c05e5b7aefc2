//! Rules between keys, and ranges: what the types alone cannot say. Reads certificate files, binds nothing.

mod inspect;
mod sites;

use std::{collections::HashMap, fmt::Display, net::SocketAddr, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ipnet::IpNet;

use super::{Config, DetectConfig, LearnConfig, PolicyConfig, Problem, ProxyConfig, Role, position::Positions};
use crate::decide::Action;

/// Longest interface name that Linux takes (`IFNAMSIZ` less the NUL).
const INTERFACE_NAME_BYTES_MAX: usize = 15;
/// Longest path of a Unix socket (`sun_path` less the NUL), unix(7).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Everything that is wrong with a configuration that has the right form.
pub(super) fn validate(config: &Config, positions: &Positions<'_>, path: &Path) -> Vec<Problem> {
    let mut report = Report { positions, path, problems: Vec::new() };
    daemon(config, &mut report);
    kernel(config, &mut report);
    interfaces(config, &mut report);
    proxy(&config.proxy, &mut report);
    listeners(config, &mut report);
    sites::sites(config, &mut report);
    inspect::inspect(config, &mut report);
    detect(&config.detect, &mut report);
    models(config, &mut report);
    learn(&config.learn, &mut report);
    policy(config, &mut report);
    store(config, &mut report);
    feeds(config, &mut report);
    report.problems.sort_by_key(|problem| problem.line);
    report.problems
}

struct Report<'a> {
    positions: &'a Positions<'a>,
    path: &'a Path,
    problems: Vec<Problem>,
}

impl Report<'_> {
    fn bad(&mut self, key: impl Into<String>, reason: impl Into<String>, hint: impl Into<String>) {
        let key = key.into();
        let line = self.positions.line_of_key(&key);
        self.problems.push(Problem { file: self.path.into(), line, key, reason: reason.into(), hint: hint.into() });
    }

    fn range<T: PartialOrd + Display>(&mut self, key: &str, value: T, low: T, high: T) {
        // Written so that a NaN fails as well.
        if !(value >= low && value <= high) {
            self.bad(key, format!("{value} is out of range"), format!("write a number from {low} to {high}"));
        }
    }

    fn share(&mut self, key: &str, value: f32) {
        self.range(key, value, 0.0, 1.0);
    }
}

fn daemon(config: &Config, report: &mut Report<'_>) {
    let daemon = &config.daemon;
    let socket = daemon.control_socket.as_os_str();
    if socket.is_empty() || socket.len() > SOCKET_PATH_BYTES_MAX {
        report.bad(
            "daemon.control_socket",
            format!("a socket's path has 1 to {SOCKET_PATH_BYTES_MAX} bytes, this one has {}", socket.len()),
            "use a path such as /run/qantra/control.sock",
        );
    }
    if daemon.state_dir.as_os_str().is_empty() {
        report.bad("daemon.state_dir", "is empty", "name a folder such as /var/lib/qantra");
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&daemon.log) {
        report.bad(
            "daemon.log",
            format!("is not a log filter: {error}"),
            "write a level such as `info`, or `info,qantra_user::proxy=debug`",
        );
    }
}

fn kernel(config: &Config, report: &mut Report<'_>) {
    let kernel = &config.kernel;
    report.range("kernel.sources_max", kernel.sources_max, 1_024, 4_194_304);
    report.range("kernel.bans_max", kernel.bans_max, 16, 4_194_304);
    report.range("kernel.prefix_bans_max", kernel.prefix_bans_max, 16, 1_048_576);
    report.range("kernel.window_ms", kernel.window_ms, 100, 60_000);
    report.range("kernel.report_packets", kernel.report_packets, 1, u32::MAX);
    let limits = &kernel.limits;
    let rates = [
        ("packets_pps", limits.packets_pps),
        ("syn_pps", limits.syn_pps),
        ("udp_pps", limits.udp_pps),
        ("icmp_pps", limits.icmp_pps),
        ("flows_pps", limits.flows_pps),
        ("reflection_pps", limits.reflection_pps),
    ];
    for (name, rate_pps) in rates {
        report.range(&format!("kernel.limits.{name}"), rate_pps, 0, qantra_common::limit::RATE_PPS_MAX);
    }
    report.range("kernel.limits.burst_ms", limits.burst_ms, 10, 60_000);
    let above_syn_pps = kernel.syn_cookies.above_syn_pps;
    report.range("kernel.syn_cookies.above_syn_pps", above_syn_pps, 0, qantra_common::limit::RATE_PPS_MAX);
}

fn interfaces(config: &Config, report: &mut Report<'_>) {
    let mut seen = HashMap::new();
    for (i, interface) in config.interfaces.iter().enumerate() {
        let key = format!("interface[{i}].name");
        let name = interface.name.as_str();
        let bad_form = name.is_empty()
            || name.len() > INTERFACE_NAME_BYTES_MAX
            || name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
        if bad_form {
            report.bad(&key, format!("`{name}` cannot be an interface's name"), "use a name that `ip link` shows");
        } else if let Some(first) = seen.insert(name, i) {
            report.bad(&key, format!("`{name}` is already interface[{first}]"), "keep one of the two");
        }
        if interface.role == Role::Wan && !interface.networks.is_empty() {
            let key = format!("interface[{i}].networks");
            report.bad(
                &key,
                "a WAN interface has no networks of its own".to_owned(),
                "write them to the LAN interface",
            );
        }
    }
}

fn proxy(proxy: &ProxyConfig, report: &mut Report<'_>) {
    if let Some(threads) = proxy.threads {
        report.range("proxy.threads", threads, 1, 256);
    }
    for (i, net) in proxy.trusted_proxies.iter().enumerate() {
        if net.prefix_len() == 0 {
            let key = format!("proxy.trusted_proxies[{i}]");
            report.bad(
                key,
                format!("{net} would believe every client's X-Forwarded-For"),
                "name the load balancers alone",
            );
        }
    }
    report.range("proxy.header_bytes_max", proxy.header_bytes_max, 1_024, 1_048_576);
    report.range("proxy.headers_max", proxy.headers_max, 1, 4_096);
    report.range("proxy.inspect_body_bytes", proxy.inspect_body_bytes, 0, ProxyConfig::INSPECT_BODY_BYTES_MAX);
    report.range("proxy.upstream_keepalive_max", proxy.upstream_keepalive_max, 0, 65_536);
    report.range("proxy.connect_retries", proxy.connect_retries, 0, 16);
    const HOUR_MS: u64 = 3_600_000;
    for (key, value) in [
        ("proxy.client_header_timeout_ms", proxy.client_header_timeout_ms),
        ("proxy.client_body_timeout_ms", proxy.client_body_timeout_ms),
        ("proxy.keepalive_timeout_ms", proxy.keepalive_timeout_ms),
        ("proxy.connect_timeout_ms", proxy.connect_timeout_ms),
        ("proxy.upstream_read_timeout_ms", proxy.upstream_read_timeout_ms),
    ] {
        report.range(key, value, 1, HOUR_MS);
    }
    report.range("proxy.drain_timeout_ms", proxy.drain_timeout_ms, 0, HOUR_MS);
    report.range("proxy.throttle_delay_ms", proxy.throttle_delay_ms, 0, 60_000);
    report.range("proxy.throttle_rps", proxy.throttle_rps, 0.01, 1_000_000.0);
}

fn listeners(config: &Config, report: &mut Report<'_>) {
    let mut seen: HashMap<SocketAddr, String> = HashMap::new();
    for (i, listen) in config.listeners.iter().enumerate() {
        let key = format!("listen[{i}].address");
        if let Some(first) = seen.insert(listen.address, key.clone()) {
            report.bad(
                &key,
                format!("{} is already listened on by {first}", listen.address),
                "use another address or port",
            );
        }
        if listen.tls && !config.sites.iter().any(|site| site.tls.is_some()) {
            report.bad(
                format!("listen[{i}].tls"),
                "speaks TLS, but no site has a certificate",
                "add `[site.tls]` with `certificate` and `key` to a site, or write `tls = false`",
            );
        }
        if listen.proxy_protocol && config.proxy.trusted_proxies.is_empty() {
            report.bad(
                format!("listen[{i}].proxy_protocol"),
                "is on, but no peer is trusted to send it",
                "add the load balancers to `proxy.trusted_proxies`",
            );
        }
    }
    if let Some(address) = config.metrics.listen
        && let Some(first) = seen.get(&address)
    {
        report.bad("metrics.listen", format!("{address} is already listened on by {first}"), "use another port");
    }
    if !config.listeners.is_empty() && config.sites.is_empty() {
        report.bad(
            "listen[0]",
            "the proxy listens, but there is no site behind it",
            "add a `[[site]]`, or remove `[[listen]]`",
        );
    }
    if config.listeners.is_empty() && !config.sites.is_empty() {
        report.bad("site[0]", "there are sites, but nothing listens", "add a `[[listen]]` with an `address`");
    }
}

fn detect(detect: &DetectConfig, report: &mut Report<'_>) {
    report.share("detect.content_scan.error_share", detect.content_scan.error_share);
    let (requests, scan, brute) = (&detect.request_flood, &detect.content_scan, &detect.brute_force);
    let (slow, ports, flood) = (&detect.slow_http, &detect.port_scan, &detect.flood);
    for (key, value) in [
        ("detect.request_flood.requests_per_10s", requests.requests_per_10s),
        ("detect.request_flood.requests_per_10min", requests.requests_per_10min),
        ("detect.content_scan.paths_per_10s", scan.paths_per_10s),
        ("detect.content_scan.paths_per_10min", scan.paths_per_10min),
        ("detect.content_scan.paths_per_day", scan.paths_per_day),
        ("detect.brute_force.failures_per_min", brute.failures_per_min),
        ("detect.brute_force.failures_per_hour", brute.failures_per_hour),
        ("detect.brute_force.failures_per_day", brute.failures_per_day),
        ("detect.brute_force.posts_per_min", brute.posts_per_min),
        ("detect.brute_force.accounts_per_hour", brute.accounts_per_hour),
        ("detect.brute_force.sources_per_account_per_hour", brute.sources_per_account_per_hour),
        ("detect.slow_http.unanswered_per_10s", slow.unanswered_per_10s),
        ("detect.slow_http.unanswered_per_10min", slow.unanswered_per_10min),
        ("detect.port_scan.ports_per_10s", ports.ports_per_10s),
        ("detect.port_scan.ports_per_10min", ports.ports_per_10min),
        ("detect.port_scan.ports_per_day", ports.ports_per_day),
        ("detect.host_sweep.hosts_per_10s", detect.host_sweep.hosts_per_10s),
        ("detect.host_sweep.hosts_per_10min", detect.host_sweep.hosts_per_10min),
        ("detect.crawl.paths_per_10min", detect.crawl.paths_per_10min),
        ("detect.flood.syn_pps", flood.syn_pps),
        ("detect.flood.udp_pps", flood.udp_pps),
        ("detect.flood.icmp_pps", flood.icmp_pps),
        ("detect.beaconing.bytes_per_call_max", detect.beaconing.bytes_per_call_max),
        ("detect.beaconing.devices_max", detect.beaconing.devices_max),
        ("detect.exfiltration.mib_per_10min", detect.exfiltration.mib_per_10min),
        ("detect.exfiltration.factor", detect.exfiltration.factor),
        ("detect.exfiltration.dns_kib_per_10min", detect.exfiltration.dns_kib_per_10min),
        ("detect.exfiltration.devices_max", detect.exfiltration.devices_max),
    ] {
        report.range(key, value, 1, u32::MAX);
    }
    // More gaps than these are not kept.
    report.range("detect.beaconing.intervals_min", detect.beaconing.intervals_min, 4, 32);
    report.share("detect.beaconing.spread_max", detect.beaconing.spread_max);
}

fn learn(learn: &LearnConfig, report: &mut Report<'_>) {
    report.range("learn.requests_min", learn.requests_min, 1_000, 1_000_000);
    // Sources are told apart by 64 bits: a quorum of more would hardly ever be reached.
    report.range("learn.sources_min", learn.sources_min, 2, 40);
}

fn models(config: &Config, report: &mut Report<'_>) {
    let models = &config.models;
    report.range("models.deadline_ms", models.deadline_ms, 1, 10_000);
    report.range("models.batch_max", models.batch_max, 1, 1_024);
    report.range("models.queue_max", models.queue_max, 1, 65_536);
    if models.queue_max < models.batch_max {
        report.bad("models.queue_max", "is less than `models.batch_max`: no batch could fill", "raise it");
    }
    report.range("models.keep_versions", models.keep_versions, 2, 64);
    report.range("models.samples_per_s", models.samples_per_s, 0, 1_000);
    report.range("models.max_false_positive_rate", models.max_false_positive_rate, 0.000_001, 0.1);
    report.range("models.guard_s", models.guard_s, 0, 30 * 86_400);
    report.range("models.max_resident_mb", models.max_resident_mb, 16, 65_536);
    if models.require_signature && models.trusted_keys.is_empty() {
        let what = "is on without `models.trusted_keys`: no models could be loaded";
        report.bad("models.require_signature", what, "name the public key that `minisign -G` wrote");
    }
    if models.trusted_keys.iter().any(|key| !is_minisign_key(key)) {
        let hint = "write the second line of minisign.pub";
        report.bad("models.trusted_keys", "holds something that is no minisign public key", hint);
    }
    for (key, value) in [
        ("models.request_confidence", models.request_confidence),
        ("models.source_confidence", models.source_confidence),
    ] {
        if let Some(value) = value {
            report.share(key, value);
        }
    }
}

/// minisign's public keys are base64 of `Ed`, eight bytes of name and thirty-two of key.
fn is_minisign_key(text: &str) -> bool {
    STANDARD.decode(text.trim()).is_ok_and(|key| key.len() == 42 && key.starts_with(b"Ed"))
}

fn policy(config: &Config, report: &mut Report<'_>) {
    let policy: &PolicyConfig = &config.policy;
    report.share("policy.confidence", policy.confidence);
    report.range("policy.duration_s", policy.duration_s, 1, policy.duration_max_s.max(1));
    report.range("policy.duration_max_s", policy.duration_max_s, 1, 10 * 365 * 86_400);
    report.range("policy.escalation_factor", policy.escalation_factor, 1.0, 1_000.0);
    report.range("policy.memory_s", policy.memory_s, 1, 10 * 365 * 86_400);
    report.range("policy.request_strikes", policy.request_strikes, 1, 10_000);
    report.range("policy.request_window_s", policy.request_window_s, 1, 86_400);
    report.range("policy.ipv6_prefix", policy.ipv6_prefix, 32, 128);
    for (i, rule) in policy.rules.iter().enumerate() {
        let key = format!("policy.rule[{i}]");
        for (n, site) in rule.sites.iter().enumerate() {
            if !config.sites.iter().any(|known| known.name == *site) {
                let names: Vec<_> = config.sites.iter().map(|known| known.name.as_str()).collect();
                let hint = if names.is_empty() {
                    "there is no site".into()
                } else {
                    format!("sites are: {}", names.join(", "))
                };
                report.bad(format!("{key}.sites[{n}]"), format!("no site is named `{site}`"), hint);
            }
        }
        if let Some(confidence) = rule.confidence {
            report.share(&format!("{key}.confidence"), confidence);
        }
        if let Some(duration_s) = rule.duration_s {
            report.range(&format!("{key}.duration_s"), duration_s, 1, policy.duration_max_s.max(1));
        }
        if rule.action == Action::Forward && !config.sites.iter().any(|site| site.decoy.is_some()) {
            report.bad(
                format!("{key}.action"),
                "no site has a decoy to forward to",
                "add `decoy = \"host:port\"` to a site",
            );
        }
    }
}

fn feeds(config: &Config, report: &mut Report<'_>) {
    let feeds = &config.feeds;
    if let Some(most_mb) = feeds.kernel_memory_max_mb {
        report.range("feeds.kernel_memory_max_mb", most_mb, 1, 4_096);
    }
    report.range("feeds.entries_max", feeds.entries_max, 1_000, 50_000_000);
    report.range("feeds.download_max_mb", feeds.download_max_mb, 1, 1_024);
    report.range("feeds.unpacked_max_mb", feeds.unpacked_max_mb, 1, 4_096);
    report.range("feeds.timeout_s", feeds.timeout_s, 1, 3_600);
    report.range("feeds.shrink_percent", feeds.shrink_percent, 0, 100);
}

fn store(config: &Config, report: &mut Report<'_>) {
    report.range("store.keep_days", config.store.keep_days, 1, 3_650);
    report.range("store.decisions_max", config.store.decisions_max, 100, 10_000_000);
    for (i, net) in config.protect.networks.iter().enumerate() {
        let everything: IpNet = *net;
        if everything.prefix_len() == 0 {
            report.bad(
                format!("protect.networks[{i}]"),
                format!("{net} would protect every address"),
                "name narrower networks",
            );
        }
    }
}
