//! Joins what the daemon says of its decisions with what was seen outside. Enters: the course, the control socket, the origin's
//! log, the gateway's packet counters. Leaves: one row for each attack. It must never fill a gap: what was not
//! measured stays empty.

use std::{collections::BTreeMap, fs, net::IpAddr, process::Command};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::course::{Course, Seen};
use crate::lab::{Lab, binary, control_socket, host, output, reached};

/// A request that was already on its way between the kernel and the origin when the ban was made is not the ban's failure.
const IN_FLIGHT_MS: f64 = 100.0;

/// One attack and what became of it. Names of keys are part of the interface.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What the daemon found it to be; none: it went unseen.
    pub(super) class: Option<String>,
    /// From the attacker's first packet to the finding.
    pub(super) detected_seconds: Option<f64>,
    /// From the finding to the first packet that the kernel dropped for it.
    pub(super) drop_ms: Option<f64>,
    pub(super) dropped_in_kernel: u64,
    /// Requests of this source that the origin got.
    pub(super) reached_origin: u64,
    /// The kernel dropped for the decision, the origin got nothing after it, and the attacker's host gets no answer.
    pub(super) stopped: bool,
    /// Whether the class is one that names the attack rightly.
    pub(super) class_fits: bool,
    pub(super) source: IpAddr,
    pub(super) decision: Option<String>,
    /// Packets of this source that got past the hook, as the gateway's netfilter counted them.
    pub(super) passed_packets: u64,
    /// Requests that the origin got although they began after the decision.
    pub(super) reached_after: u64,
    /// Whether the attacker's host got no answer any more at the end.
    pub(super) shut_out: bool,
}

/// A line of the origin's log.
#[derive(Debug, Deserialize)]
struct Reached {
    end: f64,
    took: f64,
    client: String,
}

/// What the daemon says of one decision.
#[derive(Debug)]
struct Told {
    id: String,
    class: Option<String>,
    finding_unix_ms: u64,
    finding_boot_ns: u64,
    packets: u64,
    first_drop_boot_ns: u64,
}

/// Rows of all attacks, in the order of their start.
///
/// # Errors
/// The daemon or a log cannot be read.
pub(super) fn rows(lab: &Lab, course: &Course, without_qantra: bool) -> Result<Vec<Row>> {
    let decisions = if without_qantra { Vec::new() } else { decisions(lab)? };
    let passed = passed_packets(lab)?;
    let log = fs::read_to_string(reached(lab)).context("the origin's log")?;
    let requests =
        log.lines().map(serde_json::from_str).collect::<Result<Vec<Reached>, _>>().context("the origin's log")?;
    course.seen.iter().map(|seen| row(lab, seen, &decisions, &passed, &requests)).collect()
}

fn row(
    lab: &Lab,
    seen: &Seen,
    decisions: &[Value],
    passed: &BTreeMap<IpAddr, u64>,
    requests: &[Reached],
) -> Result<Row> {
    let source = host(seen.attack.host)?.source();
    let of_source = || decisions.iter().filter(|decision| covers(decision, source));
    let earliest = |decision: &&Value| decision["created_unix_ms"].as_u64();
    // Single requests with an attack in them are refused, and the first of them only noted down: the finding that counts
    // for detection may belong to an earlier decision than the one that bans.
    let first = of_source().min_by_key(earliest).map(|decision| explain(lab, decision)).transpose()?;
    let told = of_source().filter(|decision| decision["action"] == "block").min_by_key(earliest);
    let told = told.map(|decision| explain(lab, decision)).transpose()?;
    let from_source: Vec<_> = requests.iter().filter(|request| is_from(request, source)).collect();
    let after = told.as_ref().map_or(0, |told| {
        let end_ms = told.finding_unix_ms as f64 + IN_FLIGHT_MS;
        from_source.iter().filter(|request| (request.end - request.took) * 1_000.0 > end_ms).count()
    });
    let detected = |told: &Told| Some(round(told.finding_unix_ms as f64 / 1_000.0 - seen.first_packet_s?, 3));
    let drop_ms = |told: &Told| {
        let waited_ns = told.first_drop_boot_ns.checked_sub(told.finding_boot_ns)?;
        Some(round(waited_ns as f64 / 1_000_000.0, 3))
    };
    let class = told.as_ref().or(first.as_ref()).and_then(|told| told.class.clone());
    let dropped = told.as_ref().map_or(0, |told| told.packets);
    Ok(Row {
        name: seen.attack.name,
        class: class.clone(),
        detected_seconds: first.as_ref().and_then(detected),
        drop_ms: told.as_ref().and_then(drop_ms),
        dropped_in_kernel: dropped,
        reached_origin: from_source.len() as u64,
        stopped: dropped > 0 && after == 0 && seen.shut_out,
        class_fits: class.is_some_and(|class| seen.attack.classes.contains(&class.as_str())),
        source,
        decision: told.map(|told| told.id),
        passed_packets: passed.get(&source).copied().unwrap_or(0),
        reached_after: after as u64,
        shut_out: seen.shut_out,
    })
}

/// Whether the shop's proxy named this client as the one who asked.
fn is_from(request: &Reached, source: IpAddr) -> bool {
    request.client.rsplit(',').next().and_then(|last| last.trim().parse().ok()) == Some(source)
}

fn qantra(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(binary());
    command.args(arguments).args(["-o", "json"]).env("QANTRA_CONTROL_SOCKET", control_socket(lab));
    let text = output(&mut command)?;
    serde_json::from_str(&text).with_context(|| format!("qantra {}: {text}", arguments.join(" ")))
}

fn decisions(lab: &Lab) -> Result<Vec<Value>> {
    let list = qantra(lab, &["decisions", "list", "--all"])?;
    let list = list.get("decisions").cloned().unwrap_or(list);
    list.as_array().cloned().context("`qantra decisions list -o json` is no list")
}

/// Whether a decision is about this source, and no person's. An IPv6 decision covers the attacker's whole network.
fn covers(decision: &Value, source: IpAddr) -> bool {
    let Some(scope) = decision["scope"].as_str() else { return false };
    let (address, prefix) = scope.split_once('/').unwrap_or((scope, ""));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let full = if address.is_ipv4() { 32_u32 } else { 128 };
    let prefix = prefix.parse::<u32>().unwrap_or(full).min(full);
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let differing = bits(address) ^ bits(source);
    let is_same = address.is_ipv4() == source.is_ipv4() && differing.checked_shr(full - prefix).unwrap_or(0) == 0;
    is_same && decision["origin"] == "detector"
}

fn explain(lab: &Lab, decision: &Value) -> Result<Told> {
    let id = decision["id"].as_str().context("a decision without an id")?;
    let whole = qantra(lab, &["explain", id])?;
    let inner = whole.get("decision").unwrap_or(&whole);
    let finding = &inner["findings"][0];
    let number = |value: &Value, what: &str| value.as_u64().with_context(|| format!("explain {id} has no {what}"));
    let hits = &whole["hits"];
    Ok(Told {
        id: id.to_owned(),
        class: finding["class"].as_str().map(str::to_owned),
        finding_unix_ms: number(&finding["at"]["unix_ms"], "findings[0].at.unix_ms")?,
        finding_boot_ns: number(&finding["at"]["boot_ns"], "findings[0].at.boot_ns")?,
        packets: number(&hits["packets"], "hits.packets")?,
        first_drop_boot_ns: number(&hits["first_boot_ns"], "hits.first_boot_ns")?,
    })
}

/// What the gateway's netfilter counted, by source.
fn passed_packets(lab: &Lab) -> Result<BTreeMap<IpAddr, u64>> {
    let mut passed = BTreeMap::new();
    for set in ["seen4", "seen6"] {
        let text = output(lab.command("gateway", "nft").args(["-j", "list", "set", "inet", "lab", set]))?;
        let whole: Value = serde_json::from_str(&text).context("nft -j")?;
        for item in whole["nftables"].as_array().into_iter().flatten() {
            for element in item["set"]["elem"].as_array().into_iter().flatten() {
                let address = element["elem"]["val"].as_str().and_then(|text| text.parse().ok());
                if let (Some(address), Some(count)) = (address, element["elem"]["counter"]["packets"].as_u64()) {
                    passed.insert(address, count);
                }
            }
        }
    }
    Ok(passed)
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_matched_by_scope_and_origin() {
        let decision = |scope: &str, origin: &str| serde_json::json!({"scope": scope, "origin": origin});
        let source: IpAddr = "198.51.100.11".parse().unwrap();
        assert!(covers(&decision("198.51.100.11", "detector"), source));
        assert!(covers(&decision("198.51.100.0/24", "detector"), source));
        assert!(!covers(&decision("198.51.100.12", "detector"), source));
        assert!(!covers(&decision("198.51.100.11", "cli"), source));
        let v6: IpAddr = "2001:db8:a:10::1".parse().unwrap();
        assert!(covers(&decision("2001:db8:a:10::/64", "detector"), v6));
        assert!(!covers(&decision("2001:db8:a:11::/64", "detector"), v6));
        assert!(!covers(&decision("198.51.100.11", "detector"), v6));
        assert!(covers(&decision("0.0.0.0/0", "detector"), source));
    }
}
