//! Enters: packet observations. Leaves: how fast each source sends right now, for people who watch. The flow table cannot
//! say that: its windows slide by quarters, and a count that comes once a second is in them or not by chance.

use std::net::IpAddr;

use super::{BoundedTable, PacketObservation, Worth};

/// Most sources that are metered: about 2 MB.
const LIMIT: usize = 16_384;

/// What a source sent, and in how much time.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    packets: u64,
    bytes: u64,
    tcp_syn: u64,
    udp: u64,
    icmp: u64,
    covered_ms: u64,
}

impl Counts {
    fn add(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(other.packets),
            bytes: self.bytes.saturating_add(other.bytes),
            tcp_syn: self.tcp_syn.saturating_add(other.tcp_syn),
            udp: self.udp.saturating_add(other.udp),
            icmp: self.icmp.saturating_add(other.icmp),
            covered_ms: self.covered_ms.saturating_add(other.covered_ms),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Metered {
    slot: u64,
    running: Counts,
    before: Counts,
}

impl Worth for Metered {
    fn worth(&self, now_slot: u64) -> i64 {
        let packets = self.running.packets.saturating_add(self.before.packets);
        if now_slot > self.slot + 1 { -1 } else { i64::try_from(packets).unwrap_or(i64::MAX) }
    }
}

/// How fast one source sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceRate {
    /// Its address.
    pub address: IpAddr,
    /// Packets.
    pub packets_per_s: f64,
    /// Bytes.
    pub bytes_per_s: f64,
    /// TCP segments with SYN and without ACK.
    pub tcp_syn_per_s: f64,
    /// UDP datagrams.
    pub udp_per_s: f64,
    /// ICMP messages.
    pub icmp_per_s: f64,
}

/// Rates of sources over the kernel's last two windows. A source that was not seen for two of them is not shown; when
/// there are too many, the slowest of eight drawn at random makes room.
#[derive(Debug)]
pub struct SourceMeter {
    sources: BoundedTable<IpAddr, Metered>,
    slot_ms: u64,
}

impl SourceMeter {
    /// Meters sources that the kernel reports once in `window_ms`.
    #[must_use]
    pub fn new(window_ms: u32, seed: u64) -> Self {
        Self { sources: BoundedTable::new(LIMIT, seed), slot_ms: u64::from(window_ms).max(1_000) }
    }

    /// Counts one observation. What it covers is part of it, so that it does not matter when it comes.
    pub fn add(&mut self, seen: &PacketObservation) {
        let slot = seen.at_ms / self.slot_ms;
        let counts = Counts {
            packets: seen.packets,
            bytes: seen.bytes,
            tcp_syn: seen.tcp_syn,
            udp: seen.udp,
            icmp: seen.icmp,
            covered_ms: u64::from(seen.window_ms.max(1)),
        };
        let fresh = || Metered { slot, running: Counts::default(), before: Counts::default() };
        let metered = self.sources.get_or_insert_with(seen.source, slot, fresh);
        if slot > metered.slot {
            let before = if slot == metered.slot + 1 { metered.running } else { Counts::default() };
            *metered = Metered { slot, running: Counts::default(), before };
        }
        metered.running = metered.running.add(counts);
    }

    /// The `count` fastest sources by packets, the `count` fastest by bytes and those by SYN, the fastest first; and how
    /// many sources are sending at all.
    #[must_use]
    pub fn top(&self, at_ms: u64, count: usize) -> (Vec<SourceRate>, usize) {
        let now = at_ms / self.slot_ms;
        let sending = self.sources.iter().filter(|(_, metered)| now <= metered.slot + 2);
        let mut rates: Vec<SourceRate> = sending.map(|(address, metered)| rate(*address, metered)).collect();
        let total = rates.len();
        let mut kept: Vec<SourceRate> = Vec::new();
        for by in [SourceRate::by_packets, SourceRate::by_bytes, SourceRate::by_syn] {
            if count < rates.len() {
                rates.select_nth_unstable_by(count, |a, b| by(b).total_cmp(&by(a)));
            }
            let fastest = rates.iter().take(count).filter(|rate| by(rate) > 0.0);
            let new: Vec<SourceRate> =
                fastest.filter(|rate| kept.iter().all(|known| known.address != rate.address)).copied().collect();
            kept.extend(new);
        }
        kept.sort_by(|a, b| b.packets_per_s.total_cmp(&a.packets_per_s).then(a.address.cmp(&b.address)));
        (kept, total)
    }
}

impl SourceRate {
    fn by_packets(&self) -> f64 {
        self.packets_per_s
    }

    fn by_bytes(&self) -> f64 {
        self.bytes_per_s
    }

    fn by_syn(&self) -> f64 {
        self.tcp_syn_per_s
    }
}

fn rate(address: IpAddr, metered: &Metered) -> SourceRate {
    let counts = metered.running.add(metered.before);
    let per_s = |count: u64| count as f64 * 1_000.0 / counts.covered_ms.max(1) as f64;
    SourceRate {
        address,
        packets_per_s: per_s(counts.packets),
        bytes_per_s: per_s(counts.bytes),
        tcp_syn_per_s: per_s(counts.tcp_syn),
        udp_per_s: per_s(counts.udp),
        icmp_per_s: per_s(counts.icmp),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Role;

    fn seen(source: u32, at_ms: u64, window_ms: u32, packets: u64, tcp_syn: u64) -> PacketObservation {
        PacketObservation {
            at_ms,
            window_ms,
            source: IpAddr::V4(source.into()),
            role: Role::Wan,
            packets,
            bytes: packets * 100,
            tcp_syn,
            tcp_rst: 0,
            udp: 0,
            icmp: 0,
            distinct_ports: 0,
            port_map: [0; 4],
            host_map: [0; 4],
        }
    }

    #[test]
    fn a_steady_source_has_one_rate_whenever_one_looks() {
        let mut meter = SourceMeter::new(1_000, 7);
        for second in 10..20_u64 {
            // Told early twice and by the scan once, as the collector tells of a heavy source.
            for (part, packets) in [(3, 3), (500, 497), (1_000, 500)] {
                let window_ms = [3, 497, 500][[3, 500, 1_000].iter().position(|p| *p == part).unwrap()];
                meter.add(&seen(1, second * 1_000 + part - 500, window_ms, packets, 0));
            }
            for look_ms in [1, 250, 499] {
                let (rates, total) = meter.top(second * 1_000 + 500 + look_ms, 5);
                assert_eq!((rates.len(), total), (1, 1));
                assert!((rates[0].packets_per_s - 1_000.0).abs() < 1.0, "{rates:?}");
                assert!((rates[0].bytes_per_s - 100_000.0).abs() < 100.0);
            }
        }
        assert_eq!(meter.top(22_600, 5).1, 0, "it stopped");
    }

    #[test]
    fn the_fastest_by_each_measure_are_kept_and_a_flood_of_slow_ones_pushes_none_out() {
        let mut meter = SourceMeter::new(1_000, 7);
        meter.add(&seen(1, 5_500, 1_000, 9_000, 0));
        meter.add(&seen(2, 5_500, 1_000, 50, 50));
        for source in 100..60_100 {
            meter.add(&seen(source, 5_500, 1_000, 1, 0));
        }
        let (rates, total) = meter.top(5_600, 1);
        assert_eq!(total, LIMIT);
        let addresses: Vec<String> = rates.iter().map(|rate| rate.address.to_string()).collect();
        assert_eq!(addresses, ["0.0.0.1", "0.0.0.2"], "the first by packets and bytes, the second by SYN");
    }

    proptest! {
        #[test]
        fn hostile_counts_never_panic(all in prop::collection::vec((any::<u8>(), any::<u64>(), any::<u32>(), any::<u64>()), 0..60)) {
            let mut meter = SourceMeter::new(0, 1);
            for (source, at_ms, window_ms, packets) in all {
                meter.add(&PacketObservation { bytes: packets, ..seen(source.into(), at_ms, window_ms, 0, packets) });
                let (rates, _) = meter.top(at_ms, 3);
                prop_assert!(rates.len() <= 9 && rates.iter().all(|rate| rate.bytes_per_s.is_finite()));
            }
        }
    }
}
