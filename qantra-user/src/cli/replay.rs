//! `qantra replay --pcap FILE`: what the detectors and the policy would have made of a capture, without a kernel.

use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use serde::Serialize;

use super::{
    error::CliError,
    output::{Format, Output},
};
use crate::{
    capture::{self, SourceCounter},
    clock::Now,
    config::{self, Config},
    decide::{Decision, DecisionId, Effect, Policy},
    detect::{BehaviourDetectors, Finding},
    flow::{DAY_MS, LocalNetworks, Observation, PacketObservation},
};

/// Play a capture through the detectors and the policy; nothing is enforced
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra replay --pcap scan.pcap
  qantra replay --pcap office.pcapng --lan 192.168.1.0/24 --json

Thresholds and policy are those of --config, or the defaults where that file is missing.")]
pub(super) struct Args {
    /// The capture: pcap or pcapng
    #[arg(long, value_name = "FILE")]
    pcap: PathBuf,
    /// A network on the LAN's side; everything else is the Internet
    #[arg(long, value_name = "NETWORK")]
    lan: Vec<IpNet>,
    /// Print JSON; the same as `-o json`
    #[arg(long)]
    json: bool,
}

/// Largest capture that is read: it is held in memory.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// Most sources that are listed.
const FLOWS_MAX: usize = 20;
/// Most sources whose packets are added up.
const SOURCES_MAX: usize = 65_536;

/// What one source sent in all.
#[derive(Debug, Clone, Serialize)]
struct FlowSummary {
    source: IpAddr,
    packets: u64,
    bytes: u64,
    tcp_syn: u64,
    udp: u64,
    icmp: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    packets: u64,
    /// Frames that are not IP, or malformed.
    frames_skipped: u64,
    seconds: f64,
    sources: usize,
    /// The sources that sent most packets.
    flows: Vec<FlowSummary>,
    findings: Vec<Finding>,
    decisions: Vec<Decision>,
}

pub(super) fn run(args: &Args, config_path: &Path, output: &Output) -> Result<(), CliError> {
    let config = if config_path.exists() { config::load(config_path)? } else { Config::default() };
    let report = replay(args, &config)?;
    if args.json || output.format == Format::Json {
        return output.json(&report);
    }
    output.text(&human(&report, *output))
}

fn replay(args: &Args, config: &Config) -> anyhow::Result<Report> {
    let path = args.pcap.display();
    let length = fs::metadata(&args.pcap).with_context(|| path.to_string())?.len();
    if length > FILE_BYTES_MAX {
        bail!("{path}: {length} bytes is more than {FILE_BYTES_MAX}; cut it with `editcap -i 60`");
    }
    let bytes = fs::read(&args.pcap).with_context(|| path.to_string())?;
    let mut counter = SourceCounter::new(config.kernel.window_ms, config.kernel.report_packets, args.lan.clone());
    let mut player = Player::new(config, LocalNetworks::new(args.lan.clone()));
    let skipped =
        capture::observations(&bytes, &mut counter, |seen| player.play(seen)).with_context(|| path.to_string())?;
    Ok(player.report(skipped))
}

/// Detectors and policy, and what came out of them so far.
struct Player {
    detectors: BehaviourDetectors,
    policy: Policy,
    flows: HashMap<IpAddr, FlowSummary>,
    findings: Vec<Finding>,
    decisions: Vec<Decision>,
    first_ms: Option<u64>,
    last_ms: u64,
}

impl Player {
    fn new(config: &Config, local: LocalNetworks) -> Self {
        let mut policy = Policy::new(config.policy.clone(), Vec::new(), false, rand::random());
        policy.set_local(local.clone());
        policy.set_protected(config.protect.networks.clone());
        Self {
            detectors: BehaviourDetectors::new(&config.detect, rand::random()).with_local(local),
            policy,
            flows: HashMap::new(),
            findings: Vec::new(),
            decisions: Vec::new(),
            first_ms: None,
            last_ms: 0,
        }
    }

    fn play(&mut self, seen: PacketObservation) {
        let first_ms = *self.first_ms.get_or_insert(seen.at_ms);
        self.last_ms = self.last_ms.max(seen.at_ms);
        // As if the box had been up for a day: windows are full, and the clock is no calendar.
        let boot_ms = DAY_MS + seen.at_ms.saturating_sub(first_ms);
        let now = Now { boot_ns: boot_ms * 1_000_000, unix_ms: seen.at_ms };
        self.add(&seen);
        let mut found = Vec::new();
        self.detectors.observe(&Observation::Packets(PacketObservation { at_ms: boot_ms, ..seen }), now, &mut found);
        for finding in found {
            self.findings.push(finding.clone());
            let outcome = self.policy.decide(finding, DecisionId(rand::random()), now);
            match outcome.effect {
                Effect::Decided(decision) => self.decisions.push(*decision),
                Effect::Extends(more) => {
                    let extended = self.decisions.iter_mut().find(|decision| decision.id == more.id);
                    if let Some(decision) = extended {
                        decision.expires_unix_ms = more.expires_unix_ms;
                        if decision.findings.len() < Decision::FINDINGS_MAX {
                            decision.findings.push(more.finding);
                        }
                    }
                }
                Effect::Ignored(_) => {}
            }
        }
    }

    fn add(&mut self, seen: &PacketObservation) {
        if self.flows.len() >= SOURCES_MAX && !self.flows.contains_key(&seen.source) {
            return;
        }
        let empty = FlowSummary { source: seen.source, packets: 0, bytes: 0, tcp_syn: 0, udp: 0, icmp: 0 };
        let flow = self.flows.entry(seen.source).or_insert(empty);
        flow.packets += seen.packets;
        flow.bytes += seen.bytes;
        flow.tcp_syn += seen.tcp_syn;
        flow.udp += seen.udp;
        flow.icmp += seen.icmp;
    }

    fn report(self, frames_skipped: u64) -> Report {
        let sources = self.flows.len();
        let mut flows: Vec<FlowSummary> = self.flows.into_values().collect();
        let packets = flows.iter().map(|flow| flow.packets).sum();
        flows.sort_by_key(|flow| (std::cmp::Reverse(flow.packets), flow.source));
        flows.truncate(FLOWS_MAX);
        let seconds = self.last_ms.saturating_sub(self.first_ms.unwrap_or(self.last_ms)) as f64 / 1_000.0;
        let Self { findings, decisions, .. } = self;
        Report { packets, frames_skipped, seconds, sources, flows, findings, decisions }
    }
}

fn human(report: &Report, output: Output) -> String {
    let flows: Vec<Vec<String>> = report
        .flows
        .iter()
        .map(|flow| {
            let counts = [flow.packets, flow.bytes, flow.tcp_syn, flow.udp, flow.icmp];
            std::iter::once(flow.source.to_string()).chain(counts.iter().map(u64::to_string)).collect()
        })
        .collect();
    let decisions: Vec<Vec<String>> = report
        .decisions
        .iter()
        .map(|decision| {
            let lasts_ms = decision.expires_unix_ms.map(|end| end.saturating_sub(decision.created_unix_ms));
            let lasts = lasts_ms.map_or("for ever".to_owned(), |ms| format!("{} s", ms / 1_000));
            let action = decision.action.to_string();
            vec![decision.scope.to_string(), action, lasts, decision.reason.clone()]
        })
        .collect();
    let Report { packets, frames_skipped, seconds, sources, findings, .. } = report;
    let mut text = format!(
        "{packets} packets of {sources} sources in {seconds:.1} s, {frames_skipped} frames without a look: \
         {} findings, {} decisions\n\n",
        findings.len(),
        decisions.len()
    );
    text += &output.table(&["source", "packets", "bytes", "SYN", "UDP", "ICMP"], &flows);
    if !decisions.is_empty() {
        text += "\n";
        text += &output.table(&["whom", "action", "lasts", "why"], &decisions);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Role, decide::Action, detect::AttackClass};

    #[test]
    fn a_scan_becomes_one_decision_with_its_findings() {
        let mut player = Player::new(&Config::default(), LocalNetworks::default());
        for n in 0..20_u64 {
            player.play(PacketObservation {
                at_ms: 1_700_000_000_000 + n * 1_000,
                window_ms: 1_000,
                source: IpAddr::from([198, 51, 100, 7]),
                role: Role::Wan,
                packets: 60,
                bytes: 3_600,
                tcp_syn: 60,
                tcp_rst: 0,
                udp: 0,
                icmp: 0,
                distinct_ports: 60,
                port_map: [(1 << (n + 10)) - 1, 0, u64::MAX >> 20, 0],
            });
        }
        let report = player.report(0);
        assert_eq!((report.packets, report.sources, report.seconds), (1_200, 1, 19.0));
        let [decision] = report.decisions.as_slice() else { unreachable!("{report:#?}") };
        assert_eq!((decision.action, decision.class), (Action::Block, Some(AttackClass::PortScan)));
    }
}
