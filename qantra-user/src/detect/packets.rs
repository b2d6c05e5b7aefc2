//! Enters: one source's packet flow after a kernel window. Leaves: the lines it crossed.

use super::episode::{Line, furthest};
use crate::{
    config::{FloodConfig, PortScanConfig, Role},
    flow::{DAY_MS, PacketFlow, SECOND_MS, TEN_MINUTES_MS, TEN_SECONDS_MS},
};

/// LAN devices talk to many ports honestly (file sharing, games, calls), so there a scan must be this much wider
/// unless most packets are SYN: what connects gets answers and sends data.
const LAN_FACTOR: u32 = 4;
const LAN_SYN_SHARE: f64 = 0.4;

fn share(part: u32, whole: u32) -> f64 {
    f64::from(part) / f64::from(whole.max(1))
}

pub(super) fn port_scan(flow: &PacketFlow, role: Role, at_ms: u64, config: &PortScanConfig) -> Option<Line> {
    let mostly_syn = share(flow.syn_10min(at_ms), flow.packets_10min(at_ms)) >= LAN_SYN_SHARE;
    let factor = if role == Role::Lan && !mostly_syn { LAN_FACTOR } else { 1 };
    let line =
        |name, value, threshold: u32, window_ms| Line::new(name, value, threshold.saturating_mul(factor), window_ms);
    let lines = [
        line("ports_per_10s", flow.ports_10s(at_ms), config.ports_per_10s, TEN_SECONDS_MS),
        line("ports_per_10min", flow.ports_10min(at_ms), config.ports_per_10min, TEN_MINUTES_MS),
        line("ports_per_day", flow.ports_day(at_ms), config.ports_per_day, DAY_MS),
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
