//! Enters: parsed packets with their time. Leaves: each source's counters by window, as the kernel half would report
//! them: at the window's end, and before that when a source sends much or knocks at many ports.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use qantra_common::{
    map::{host_bit, port_bit},
    packet::{Address, PROTOCOL_UDP, Packet},
};

use crate::{config::Role, flow::PacketObservation};

/// Most sources in one window; the rest of that window's sources are not counted.
const SOURCES_MAX: usize = 65_536;
/// New port bits at which a source is reported at once.
const PORT_BITS_STEP: u32 = 8;

/// Counts packets by source in windows of the capture's own time.
#[derive(Debug)]
pub struct SourceCounter {
    window_ms: u32,
    report_packets: u64,
    lan: Vec<IpNet>,
    sources: HashMap<Address, Running>,
    window_end_ms: u64,
    last_ms: u64,
}

#[derive(Debug)]
struct Running {
    since_ms: u64,
    ports: [u64; 4],
    hosts: [u64; 4],
    reported_ports: u32,
    counts: PacketObservation,
}

impl SourceCounter {
    /// Windows of `window_ms`; a source that sends `report_packets` within one is reported at once. Addresses in `lan`
    /// are on the LAN's side.
    #[must_use]
    pub fn new(window_ms: u32, report_packets: u32, lan: Vec<IpNet>) -> Self {
        let (sources, report_packets) = (HashMap::new(), u64::from(report_packets.max(1)));
        Self { window_ms: window_ms.max(1), report_packets, lan, sources, window_end_ms: 0, last_ms: 0 }
    }

    /// Counts a packet. A time before the newest one counts as the newest.
    pub fn packet(&mut self, at_ms: u64, bytes: u32, packet: &Packet, emit: &mut impl FnMut(PacketObservation)) {
        self.last_ms = self.last_ms.max(at_ms);
        if self.last_ms >= self.window_end_ms {
            self.flush(emit);
            self.window_end_ms = self.last_ms + u64::from(self.window_ms);
        }
        let now_ms = self.last_ms;
        if !self.sources.contains_key(&packet.source) && self.sources.len() >= SOURCES_MAX {
            return;
        }
        let lan = &self.lan;
        let running = self.sources.entry(packet.source).or_insert_with(|| Running::new(packet.source, lan, now_ms));
        running.count(bytes, packet);
        let port_bits: u32 = running.ports.iter().map(|word| word.count_ones()).sum();
        if running.counts.packets >= self.report_packets || port_bits >= running.reported_ports + PORT_BITS_STEP {
            running.reported_ports = port_bits;
            running.report(now_ms, emit);
        }
    }

    /// Reports what is still being counted.
    pub fn flush(&mut self, emit: &mut impl FnMut(PacketObservation)) {
        let end_ms = self.last_ms;
        // In one order, so that the same capture gives the same observations each time.
        let mut ended: Vec<Running> = self.sources.drain().map(|(_, running)| running).collect();
        ended.sort_by_key(|running| running.counts.source);
        for mut running in ended {
            running.report(end_ms.min(running.since_ms + u64::from(self.window_ms)), emit);
        }
    }
}

impl Running {
    fn new(source: Address, lan: &[IpNet], now_ms: u64) -> Self {
        let source = IpAddr::V6(Ipv6Addr::from(source.bytes())).to_canonical();
        let role = if lan.iter().any(|net| net.contains(&source)) { Role::Lan } else { Role::Wan };
        let counts = PacketObservation {
            at_ms: now_ms,
            window_ms: 1,
            source,
            role,
            packets: 0,
            bytes: 0,
            tcp_syn: 0,
            tcp_rst: 0,
            udp: 0,
            icmp: 0,
            distinct_ports: 0,
            port_map: [0; 4],
            host_map: [0; 4],
        };
        Self { since_ms: now_ms, ports: [0; 4], hosts: [0; 4], reported_ports: 0, counts }
    }

    fn count(&mut self, bytes: u32, packet: &Packet) {
        let counts = &mut self.counts;
        counts.packets += 1;
        counts.bytes += u64::from(bytes);
        counts.tcp_syn += u64::from(packet.is_tcp_syn());
        counts.tcp_rst += u64::from(packet.is_tcp_rst());
        counts.udp += u64::from(packet.protocol == PROTOCOL_UDP);
        counts.icmp += u64::from(packet.is_icmp());
        if packet.is_tcp_syn() || packet.is_icmp() {
            self.mark_host(packet);
        }
        if let Some(port) = packet.knocks_at() {
            let (word, mask) = port_bit(port);
            if self.ports[word] & mask == 0 {
                self.ports[word] |= mask;
                self.mark_host(packet);
            }
        }
    }

    fn mark_host(&mut self, packet: &Packet) {
        let (word, mask) = host_bit(&packet.destination);
        self.hosts[word] |= mask;
    }

    /// Reports the counts since the last report and the ports of the whole window.
    fn report(&mut self, now_ms: u64, emit: &mut impl FnMut(PacketObservation)) {
        if self.counts.packets == 0 {
            return;
        }
        let set: u32 = self.ports.iter().map(|word| word.count_ones()).sum();
        let free = f64::from(256 - set).max(0.5);
        emit(PacketObservation {
            at_ms: now_ms,
            window_ms: u32::try_from(now_ms.saturating_sub(self.since_ms)).unwrap_or(u32::MAX).max(1),
            distinct_ports: (-256.0 * (free / 256.0).ln()).round() as u32,
            port_map: self.ports,
            host_map: self.hosts,
            ..self.counts
        });
        self.since_ms = now_ms;
        let PacketObservation { packets, bytes, tcp_syn, tcp_rst, udp, icmp, .. } = &mut self.counts;
        for count in [packets, bytes, tcp_syn, tcp_rst, udp, icmp] {
            *count = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knock(source: [u8; 4], port: u16) -> Packet {
        Packet {
            source: Address::v4(u32::from_ne_bytes(source)),
            destination: Address::v4(u32::from_ne_bytes([192, 0, 2, 1])),
            vlan: 0,
            is_v6: false,
            protocol: 6,
            tcp_flags: 2,
            source_port: 40_000,
            destination_port: port,
            is_later_fragment: false,
        }
    }

    #[test]
    fn nothing_is_counted_twice_or_lost() {
        let mut counter = SourceCounter::new(1_000, 100, vec!["10.0.0.0/8".parse().unwrap_or_default()]);
        let mut seen: Vec<PacketObservation> = Vec::new();
        for n in 0..1_234_u64 {
            let source = if n % 4 == 0 { [10, 0, 0, 9] } else { [198, 51, 100, 7] };
            counter.packet(5_000 + n * 7, 60, &knock(source, 443), &mut |o| seen.push(o));
        }
        counter.flush(&mut |o| seen.push(o));
        assert_eq!(seen.iter().map(|o| o.packets).sum::<u64>(), 1_234);
        assert_eq!(seen.iter().map(|o| o.bytes).sum::<u64>(), 1_234 * 60);
        assert!(seen.iter().all(|o| o.distinct_ports == 1 && o.tcp_syn == o.packets));
        let lan: u64 = seen.iter().filter(|o| o.role == Role::Lan).map(|o| o.packets).sum();
        assert_eq!(lan, 309);
    }

    #[test]
    fn a_scan_is_reported_before_its_window_ends() {
        let mut counter = SourceCounter::new(1_000, 200, Vec::new());
        let mut seen: Vec<PacketObservation> = Vec::new();
        for port in 1..=40 {
            counter.packet(u64::from(port), 60, &knock([198, 51, 100, 7], port), &mut |o| seen.push(o));
        }
        assert!(seen.len() >= 4, "{} reports", seen.len());
        assert!(seen.last().is_some_and(|o| o.distinct_ports >= 30 && o.at_ms <= 40), "{seen:?}");
    }
}
