//! Enters: observations of every source. Leaves: each source's flow, found by its address in one look.

use std::{
    hash::BuildHasher,
    net::{IpAddr, Ipv6Addr},
};

use foldhash::quality::FixedState;
use ipnet::IpNet;

use super::{BoundedTable, HttpFlow, Observation, PacketFlow, Worth};
use crate::config::Role;

/// What one source did. The two halves are made when first needed: an address that only ever sent one packet has no
/// HTTP half.
#[derive(Debug, Clone)]
pub struct SourceFlow {
    /// The address that was seen last; within a /64, one of many.
    pub address: IpAddr,
    /// On which side of the box it is, once the kernel reported it.
    pub role: Option<Role>,
    /// When it was seen last: ms since boot.
    pub last_ms: u64,
    weight: u32,
    /// What it did by HTTP.
    pub http: Option<Box<HttpFlow>>,
    /// What it did by packets.
    pub packets: Option<Box<PacketFlow>>,
}

/// A source's flow with what a user of the table keeps beside it.
#[derive(Debug, Clone)]
pub struct Tracked<S> {
    /// The flow.
    pub flow: SourceFlow,
    /// What the user of the table keeps.
    pub state: S,
}

/// A weight halves in this time, and a doubling of weight is worth as much idleness.
const HALF_LIFE_MS: u64 = 600_000;

/// How much heavier a request or connection weighs than a packet: who finishes a TCP handshake has no forged address.
const HANDSHAKE_WEIGHT: u32 = 16;

impl<S> Worth for Tracked<S> {
    fn worth(&self, now_ms: u64) -> i64 {
        let idle_ms = now_ms.saturating_sub(self.flow.last_ms);
        i64::from(self.flow.weight.max(1).ilog2()) * HALF_LIFE_MS as i64 - idle_ms as i64
    }
}

impl SourceFlow {
    fn new(address: IpAddr) -> Self {
        Self { address, role: None, last_ms: 0, weight: 0, http: None, packets: None }
    }

    fn touch(&mut self, at_ms: u64, weight: u32) {
        let half_lives = at_ms.saturating_sub(self.last_ms) / HALF_LIFE_MS;
        self.weight = self.weight.checked_shr(half_lives.min(32) as u32).unwrap_or(0).saturating_add(weight);
        self.last_ms = self.last_ms.max(at_ms);
    }
}

/// Networks whose IPv6 addresses are devices of their own; elsewhere in IPv6 a /64 is one source, since whoever has
/// one address there has all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalNetworks(Vec<IpNet>);

impl LocalNetworks {
    /// These networks, besides link-local and unique local addresses.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether an address is in one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let by_nature = match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unique_local(),
        };
        by_nature || self.0.iter().any(|network| network.contains(&address))
    }
}

/// Sources by address, IPv6 by /64 outside of the local networks.
///
/// Worst case, with both halves for every source, 1.8 KB each: 45 MB at the default limit. A source's weight grows with
/// what it does, more by requests than by packets, and halves in ten minutes; of eight drawn at random the lightest
/// makes room.
#[derive(Debug)]
pub struct FlowTable<S> {
    sources: BoundedTable<IpAddr, Tracked<S>>,
    local: LocalNetworks,
    hasher: FixedState,
}

impl<S: Default> FlowTable<S> {
    /// How many sources are watched unless told otherwise.
    pub const LIMIT: usize = 24_576;

    /// An empty table for at most `limit` sources.
    #[must_use]
    pub fn new(limit: usize, local: LocalNetworks, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed.rotate_left(17));
        Self { sources: BoundedTable::new(limit, seed), local, hasher }
    }

    /// Replaces the local networks.
    pub fn set_local(&mut self, local: LocalNetworks) {
        self.local = local;
    }

    fn key(&self, address: IpAddr, role: Option<Role>) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V6(v6) if role != Some(Role::Lan) && !self.local.contains(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))
            }
            other => other,
        }
    }

    /// The source of an address, made when it is missing, with a hash of its key.
    fn source(&mut self, address: IpAddr, role: Option<Role>, at_ms: u64, weight: u32) -> (&mut Tracked<S>, u64) {
        let key = self.key(address, role);
        let make = || Tracked { flow: SourceFlow::new(address), state: S::default() };
        let hash = self.hasher.hash_one(key);
        let tracked = self.sources.get_or_insert_with(key, at_ms, make);
        tracked.flow.touch(at_ms, weight);
        tracked.flow.address = address;
        (tracked, hash)
    }

    /// The source of an observation, its weight already raised, with a hash of its key. Nothing else is counted yet.
    pub fn source_of(&mut self, observation: &Observation, at_ms: u64) -> (&mut Tracked<S>, u64) {
        match observation {
            Observation::Request(request) => self.source(request.source, None, at_ms, HANDSHAKE_WEIGHT),
            Observation::Connection(connection) => self.source(connection.source, None, at_ms, HANDSHAKE_WEIGHT),
            Observation::Packets(packets) => {
                let weight = u32::try_from(packets.packets).unwrap_or(u32::MAX);
                let (tracked, hash) = self.source(packets.source, Some(packets.role), at_ms, weight);
                tracked.flow.role = Some(packets.role);
                (tracked, hash)
            }
            Observation::Conversation(seen) => self.source(seen.source, Some(Role::Lan), at_ms, 0),
        }
    }

    /// The flow of an address, if it is known.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<&Tracked<S>> {
        // A LAN device's IPv6 address stands for itself, any other for its /64.
        self.sources.get(address.to_canonical()).or_else(|| self.sources.get(self.key(address, None)))
    }

    /// What the user of the table keeps of an address, if the address is known.
    pub fn state_mut(&mut self, address: IpAddr) -> Option<&mut S> {
        let alone = address.to_canonical();
        let key = if self.sources.get(alone).is_some() { alone } else { self.key(address, None) };
        self.sources.get_mut(key).map(|tracked| &mut tracked.state)
    }

    /// Every source, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Tracked<S>> {
        self.sources.iter().map(|(_, tracked)| tracked)
    }

    /// How many sources are in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// How many sources had to make room.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.sources.evicted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{ConnectionObservation, PacketObservation};

    fn packets(source: IpAddr, count: u64, role: Role) -> Observation {
        Observation::Packets(PacketObservation {
            at_ms: 0,
            window_ms: 1_000,
            source,
            role,
            packets: count,
            bytes: count * 60,
            tcp_syn: 0,
            tcp_rst: 0,
            udp: 0,
            icmp: 0,
            distinct_ports: 0,
            port_map: [0; 4],
            host_map: [0; 4],
        })
    }

    #[test]
    fn a_source_stays_within_its_stated_memory() {
        use std::mem::size_of;
        // 160 bytes: what detectors keep beside a flow; 24 bytes: the key, index and its spare room.
        let bytes = size_of::<Tracked<()>>() + size_of::<HttpFlow>() + size_of::<PacketFlow>() + 160 + 24;
        let worst = bytes * FlowTable::<()>::LIMIT;
        assert!(worst <= 46_000_000, "{bytes} bytes a source, {worst} in all");
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn forged_one_packet_sources_do_not_push_clients_out() {
        let mut table = FlowTable::<()>::new(2_048, LocalNetworks::default(), 9);
        for n in 0..300 {
            let connection = ConnectionObservation { at_ms: 1_000, source: v4(n) };
            table.source_of(&Observation::Connection(connection), 1_000);
        }
        for n in 0..200_000 {
            table.source_of(&packets(v4(0x0a00_0000 + n), 1, Role::Wan), 2_000 + u64::from(n) / 20);
        }
        assert_eq!(table.len(), 2_048);
        let kept = (0..300).filter(|n| table.get(v4(*n)).is_some()).count();
        assert!(kept >= 295, "{kept} of 300 clients are left");
    }

    #[test]
    fn an_ipv6_network_is_one_source_on_the_internet_and_many_on_the_lan() {
        let local = LocalNetworks::new(vec!["2001:db8:1::/64".parse().unwrap_or_default()]);
        let mut table = FlowTable::<()>::new(16, local, 9);
        let cases: [(&str, Role, usize); 5] = [
            ("2001:db8:f::1", Role::Wan, 1),
            ("2001:db8:f::2", Role::Wan, 1),
            ("2001:db8:1::1", Role::Lan, 2),
            ("2001:db8:1::2", Role::Wan, 3),
            ("fe80::7", Role::Wan, 4),
        ];
        for (address, role, expected) in cases {
            let address: IpAddr = address.parse().unwrap_or(v4(0));
            table.source_of(&packets(address, 1, role), 0);
            assert_eq!(table.len(), expected, "after {address}");
            assert_eq!(table.get(address).map(|t| t.flow.address), Some(address));
        }
    }
}
