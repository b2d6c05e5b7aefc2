//! Rules about `[[site]]`.

use std::{collections::HashMap, path::Path};

use super::Report;
use crate::config::{Config, SiteConfig, TlsConfig};

/// Most sites: a site's index is 16 bits in every observation.
const SITES_MAX: usize = 4_096;

pub(super) fn sites(config: &Config, report: &mut Report<'_>) {
    if config.sites.len() > SITES_MAX {
        report.bad("site", format!("{} sites are more than {SITES_MAX}", config.sites.len()), "remove some");
    }
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut hosts: HashMap<String, String> = HashMap::new();
    for (i, site) in config.sites.iter().enumerate() {
        let key = format!("site[{i}]");
        if site.name.is_empty() || !site.name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            report.bad(
                format!("{key}.name"),
                format!("`{}` cannot be a site's name", site.name),
                "use letters, digits, `.`, `_` and `-`",
            );
        } else if let Some(first) = names.insert(&site.name, i) {
            report.bad(
                format!("{key}.name"),
                format!("`{}` is already the name of site[{first}]", site.name),
                "give it another name",
            );
        }
        if site.hosts.is_empty() {
            report.bad(format!("{key}.hosts"), "no host leads to this site", "add a name, or `*` for every other host");
        }
        for (n, host) in site.hosts.iter().enumerate() {
            let host_key = format!("{key}.hosts[{n}]");
            if !is_host_pattern(host) {
                report.bad(
                    &host_key,
                    format!("`{host}` is not a host name"),
                    "write `www.example.org`, `*.example.org` or `*`, without port and scheme",
                );
            } else if let Some(first) = hosts.insert(host.to_ascii_lowercase(), host_key.clone()) {
                report.bad(&host_key, format!("`{host}` already leads to {first}"), "a host belongs to one site");
            }
        }
        targets(site, &key, report);
        details(site, &key, report);
        if let Some(tls) = &site.tls {
            certificate(tls, &key, report);
        }
    }
}

fn targets(site: &SiteConfig, key: &str, report: &mut Report<'_>) {
    if site.targets.is_empty() {
        report.bad(
            format!("{key}.target"),
            format!("site `{}` has no target", site.name),
            "add `[[site.target]]` with an `address`",
        );
    }
    for (n, target) in site.targets.iter().enumerate() {
        if !is_host_port(&target.address) {
            let key = format!("{key}.target[{n}].address");
            report.bad(
                key,
                format!("`{}` is not host:port", target.address),
                "write it as `127.0.0.1:8080` or `app.internal:80`",
            );
        }
        report.range(&format!("{key}.target[{n}].weight"), target.weight, 1, 1_000);
    }
    if let Some(decoy) = &site.decoy
        && !is_host_port(decoy)
    {
        report.bad(format!("{key}.decoy"), format!("`{decoy}` is not host:port"), "write it as `127.0.0.1:8090`");
    }
}

fn details(site: &SiteConfig, key: &str, report: &mut Report<'_>) {
    if let Some(health) = &site.health {
        report.range(&format!("{key}.health.interval_ms"), health.interval_ms, 100, 3_600_000);
        report.range(&format!("{key}.health.timeout_ms"), health.timeout_ms, 10, 60_000);
        report.range(&format!("{key}.health.unhealthy_after"), health.unhealthy_after, 1, 100);
        report.range(&format!("{key}.health.healthy_after"), health.healthy_after, 1, 100);
        if health.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            report.bad(format!("{key}.health.path"), "a path begins with `/`", "write it as `/health`");
        }
    }
    for (n, path) in site.login.paths.iter().enumerate() {
        if !path.starts_with('/') {
            report.bad(
                format!("{key}.login.paths[{n}]"),
                format!("`{path}` does not begin with `/`"),
                "write it as `/login`",
            );
        }
    }
    let headers = &site.headers;
    for (name, value) in [
        ("content_security_policy", &headers.content_security_policy),
        ("frame_options", &headers.frame_options),
        ("referrer_policy", &headers.referrer_policy),
    ] {
        if http::HeaderValue::from_str(value).is_err() {
            report.bad(
                format!("{key}.headers.{name}"),
                "cannot be the value of a header",
                "write it on one line of visible ASCII",
            );
        }
    }
}

/// A missing certificate is better found here than by the first visitor.
fn certificate(tls: &TlsConfig, key: &str, report: &mut Report<'_>) {
    let files: [(&str, &Path, &str); 2] =
        [("certificate", &tls.certificate, "BEGIN CERTIFICATE"), ("key", &tls.key, "PRIVATE KEY-----")];
    for (name, path, mark) in files {
        let key = format!("{key}.tls.{name}");
        match std::fs::read(path) {
            Err(error) => report.bad(
                key,
                format!("{} cannot be read: {error}", path.display()),
                "name a PEM file that Qantra may read",
            ),
            Ok(bytes) if !bytes.windows(mark.len()).any(|window| window == mark.as_bytes()) => {
                report.bad(key, format!("{} holds no `{mark}`", path.display()), "name a PEM file");
            }
            Ok(_) => {}
        }
    }
}

fn is_host_pattern(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    host == "*" || is_host_name(name) || host.parse::<std::net::IpAddr>().is_ok()
}

fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn is_host_port(text: &str) -> bool {
    if text.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return true;
    }
    text.rsplit_once(':')
        .is_some_and(|(host, port)| is_host_name(host) && port.parse::<u16>().is_ok_and(|port| port != 0))
}
