//! Enters: one source's packet flow after a kernel window. Leaves: the lines it crossed.

use super::episode::{Line, furthest};
use crate::{
    config::{FloodConfig, HostSweepConfig, PortScanConfig, Role},
    flow::{DAY_MS, PacketFlow, SECOND_MS, TEN_MINUTES_MS, TEN_SECONDS_MS},
};

/// LAN devices talk to many ports honestly (file sharing, games, calls), so there a scan must be this much wider
/// unless most packets are SYN: what connects gets answers and sends data.
const LAN_FACTOR: u32 = 4;
const LAN_SYN_SHARE: f64 = 0.4;

fn share(part: u32, whole: u32) -> f64 {
    f64::from(part) / f64::from(whole.max(1))
}

/// A scan knocks at many ports of few hosts. Peers of a file-sharing network have a port each: their users' devices knock
/// at as many hosts as ports.
const PORTS_PER_HOST: u32 = 2;

pub(super) fn port_scan(flow: &PacketFlow, role: Role, at_ms: u64, config: &PortScanConfig) -> Option<Line> {
    let mostly_syn = share(flow.syn_10min(at_ms), flow.packets_10min(at_ms)) >= LAN_SYN_SHARE;
    let factor = if role == Role::Lan && !mostly_syn { LAN_FACTOR } else { 1 };
    let is_peer_of_many =
        |ports: u32, hosts: u32| role == Role::Lan && !mostly_syn && ports < hosts.saturating_mul(PORTS_PER_HOST);
    if is_peer_of_many(flow.ports_10min(at_ms), flow.hosts_10min(at_ms)) {
        return None;
    }
    let line =
        |name, value, threshold: u32, window_ms| Line::new(name, value, threshold.saturating_mul(factor), window_ms);
    let lines = [
        line("ports_per_10s", flow.ports_10s(at_ms), config.ports_per_10s, TEN_SECONDS_MS),
        line("ports_per_10min", flow.ports_10min(at_ms), config.ports_per_10min, TEN_MINUTES_MS),
        line("ports_per_day", flow.ports_day(at_ms), config.ports_per_day, DAY_MS),
    ];
    furthest(&lines).copied()
}

/// Who gets answers sends more than attempts: from this share of attempts among a source's packets on, UDP aside, hardly
/// any came to something.
const ATTEMPT_SHARE: f64 = 0.3;
/// From so many times the threshold on it does not matter what came of it: nobody has so many new acquaintances at once.
const HOSTS_SURE_FACTOR: u32 = 5;
/// A sweep asks many hosts for few services; peers of a file-sharing network have a port each.
const HOSTS_PER_PORT: u32 = 3;

pub(super) fn host_sweep(flow: &PacketFlow, at_ms: u64, config: &HostSweepConfig) -> Option<Line> {
    let (fast, medium) = (flow.hosts_10s(at_ms), flow.hosts_10min(at_ms));
    let vain = |syn: u32, icmp: u32, udp: u32, packets: u32| {
        share(syn.saturating_add(icmp), packets.saturating_sub(udp)) >= ATTEMPT_SHARE
    };
    let fast_vain = vain(flow.syn_10s(at_ms), flow.icmp_10s(at_ms), flow.udp_10s(at_ms), flow.packets_10s(at_ms));
    let medium_vain =
        vain(flow.syn_10min(at_ms), flow.icmp_10min(at_ms), flow.udp_10min(at_ms), flow.packets_10min(at_ms));
    let few_services = |hosts: u32, ports: u32| hosts >= ports.saturating_mul(HOSTS_PER_PORT);
    let fast_vain = fast_vain || fast >= config.hosts_per_10s.saturating_mul(HOSTS_SURE_FACTOR);
    let is_fast = fast_vain && few_services(fast, flow.ports_10s(at_ms));
    let is_medium = medium_vain && few_services(medium, flow.ports_10min(at_ms));
    let lines = [
        Line::new("hosts_per_10s", fast, if is_fast { config.hosts_per_10s } else { 0 }, TEN_SECONDS_MS),
        Line::new("hosts_per_10min", medium, if is_medium { config.hosts_per_10min } else { 0 }, TEN_MINUTES_MS),
    ];
    furthest(&lines).copied()
}

/// Below this share of SYN among a source's packets its connections come to something.
const SYN_SHARE: f64 = 0.3;

pub(super) fn syn_flood(flow: &PacketFlow, at_ms: u64, config: &FloodConfig) -> Option<Line> {
    let line = Line::new("syn_per_s", flow.syn_1s(at_ms), config.syn_pps, SECOND_MS);
    (line.is_crossed() && share(line.value, flow.packets_1s(at_ms)) >= SYN_SHARE).then_some(line)
}

/// A scan sends each port a few SYN, counting what it sends again; a flood sends one port very many.
const SYN_PER_PORT_MAX: u32 = 10;
/// From here on the estimate of ports says no more than "very many".
const PORTS_SATURATED: u32 = 1_000;

/// Whether a source's SYN go to so many ports that they are a scan's.
pub(super) fn is_spread_over_ports(flow: &PacketFlow, at_ms: u64) -> bool {
    let ports = flow.ports_10s(at_ms);
    ports >= PORTS_SATURATED || flow.syn_10s(at_ms) <= ports.saturating_mul(SYN_PER_PORT_MAX)
}

/// Large datagrams at a high rate are most often a download by QUIC or a tunnel, so of those nobody can be sure.
const LARGE_PACKET_BYTES: f64 = 600.0;

/// The line, and whether it is sure.
pub(super) fn udp_flood(flow: &PacketFlow, at_ms: u64, config: &FloodConfig) -> Option<(Line, bool)> {
    let line = Line::new("udp_per_s", flow.udp_1s(at_ms), config.udp_pps, SECOND_MS);
    let packet_bytes = share(flow.bytes_1s(at_ms), flow.packets_1s(at_ms));
    line.is_crossed().then_some((line, packet_bytes < LARGE_PACKET_BYTES))
}

pub(super) fn icmp_flood(flow: &PacketFlow, at_ms: u64, config: &FloodConfig) -> Option<Line> {
    let line = Line::new("icmp_per_s", flow.icmp_1s(at_ms), config.icmp_pps, SECOND_MS);
    line.is_crossed().then_some(line)
}
