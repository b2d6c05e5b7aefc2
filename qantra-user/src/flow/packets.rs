//! Enters: kernel counters of one source. Leaves: counts over windows and distinct ports.

use super::{DAY_MS, Distinct, PacketObservation, SECOND_MS, TEN_MINUTES_MS, TEN_SECONDS_MS, Window};

/// What is counted of packets.
#[derive(Debug, Clone, Copy)]
enum Count {
    Packets,
    Bytes,
    Syn,
    Rst,
    Udp,
    Icmp,
}
const COUNTS: usize = 6;

/// What one source did by packets. About 680 bytes.
#[derive(Debug, Clone, Default)]
pub struct PacketFlow {
    second: Window<SECOND_MS, COUNTS>,
    fast: Window<TEN_SECONDS_MS, COUNTS>,
    medium: Window<TEN_MINUTES_MS, COUNTS>,
    ports_fast: Distinct<TEN_SECONDS_MS, 4>,
    ports_medium: Distinct<TEN_MINUTES_MS, 4>,
    ports_day: Distinct<DAY_MS, 4>,
    hosts_fast: Distinct<TEN_SECONDS_MS, 4>,
    hosts_medium: Distinct<TEN_MINUTES_MS, 4>,
}

impl PacketFlow {
    /// Counts one window of the kernel's.
    pub fn packets(&mut self, at_ms: u64, seen: &PacketObservation) {
        let counts = [seen.packets, seen.bytes, seen.tcp_syn, seen.tcp_rst, seen.udp, seen.icmp];
        let span_ms = u64::from(seen.window_ms.max(1));
        // Counters that were read late cover more than a short window: only its share goes in.
        let within = |window_ms: u64| {
            let share_ms = window_ms.min(span_ms);
            let mut amounts = [(0, 0); COUNTS];
            for (i, count) in counts.iter().enumerate() {
                let part = u128::from(*count) * u128::from(share_ms) / u128::from(span_ms);
                amounts[i] = (i, u32::try_from(part).unwrap_or(u32::MAX));
            }
            amounts
        };
        self.second.add(at_ms, &within(SECOND_MS));
        self.fast.add(at_ms, &within(TEN_SECONDS_MS));
        self.medium.add(at_ms, &within(TEN_MINUTES_MS));
        self.ports_fast.merge(at_ms, &seen.port_map);
        self.ports_medium.merge(at_ms, &seen.port_map);
        self.ports_day.merge(at_ms, &seen.port_map);
        self.hosts_fast.merge(at_ms, &seen.host_map);
        self.hosts_medium.merge(at_ms, &seen.host_map);
    }
}

/// Readers: the argument is the time, and names say the window.
macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident = $window:ident[$counter:expr];)*) => {
        impl PacketFlow {
            $($(#[$doc])* #[must_use] pub fn $name(&self, at_ms: u64) -> u32 { self.$window.sum(at_ms, $counter as usize) })*
        }
    };
}

readers! {
    /// Packets in 1 s.
    packets_1s = second[Count::Packets];
    /// Bytes in 1 s.
    bytes_1s = second[Count::Bytes];
    /// TCP SYN in 1 s.
    syn_1s = second[Count::Syn];
    /// UDP datagrams in 1 s.
    udp_1s = second[Count::Udp];
    /// ICMP messages in 1 s.
    icmp_1s = second[Count::Icmp];
    /// Packets in 10 s.
    packets_10s = fast[Count::Packets];
    /// Bytes in 10 s.
    bytes_10s = fast[Count::Bytes];
    /// TCP SYN in 10 s.
    syn_10s = fast[Count::Syn];
    /// TCP RST in 10 s.
    rst_10s = fast[Count::Rst];
    /// UDP datagrams in 10 s.
    udp_10s = fast[Count::Udp];
    /// ICMP messages in 10 s.
    icmp_10s = fast[Count::Icmp];
    /// Packets in 10 min.
    packets_10min = medium[Count::Packets];
    /// Bytes in 10 min.
    bytes_10min = medium[Count::Bytes];
    /// TCP SYN in 10 min.
    syn_10min = medium[Count::Syn];
    /// TCP RST in 10 min.
    rst_10min = medium[Count::Rst];
    /// UDP datagrams in 10 min.
    udp_10min = medium[Count::Udp];
    /// ICMP messages in 10 min.
    icmp_10min = medium[Count::Icmp];
}

impl PacketFlow {
    /// Distinct destination ports probed in 10 s.
    #[must_use]
    pub fn ports_10s(&self, at_ms: u64) -> u32 {
        self.ports_fast.estimate(at_ms)
    }

    /// The same in 10 min.
    #[must_use]
    pub fn ports_10min(&self, at_ms: u64) -> u32 {
        self.ports_medium.estimate(at_ms)
    }

    /// Distinct hosts that it tried to reach, by TCP SYN, ICMP or at a new port, in 10 s.
    #[must_use]
    pub fn hosts_10s(&self, at_ms: u64) -> u32 {
        self.hosts_fast.estimate(at_ms)
    }

    /// The same in 10 min.
    #[must_use]
    pub fn hosts_10min(&self, at_ms: u64) -> u32 {
        self.hosts_medium.estimate(at_ms)
    }

    /// Distinct destination ports probed in a day.
    #[must_use]
    pub fn ports_day(&self, at_ms: u64) -> u32 {
        self.ports_day.estimate(at_ms)
    }
}
