//! The parser against the packet builder of the end-to-end tests, and against random bytes.

use std::net::IpAddr;

use builder::{PacketBuilder, Transport};
use proptest::prelude::*;

use super::*;

#[path = "../../tests/support/packet.rs"]
#[expect(unreachable_pub, dead_code, reason = "it is a public module of the end-to-end tests")]
mod builder;

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![
        (any::<u16>(), any::<u16>(), any::<u8>()).prop_map(|(s, d, flags)| Transport::Tcp(s, d, flags)),
        (any::<u16>(), any::<u16>()).prop_map(|(s, d)| Transport::Udp(s, d)),
        Just(Transport::Icmp),
        prop_oneof![Just(2_u8), Just(47), Just(50), Just(89), Just(132)].prop_map(Transport::Raw),
    ]
}

fn vlans() -> impl Strategy<Value = Vec<(u16, u16)>> {
    prop::collection::vec((prop_oneof![Just(0x8100_u16), Just(0x88a8)], 1..4095_u16), 0..=VLAN_TAGS_MAX)
}

fn key(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::from_bytes(address.to_ipv6_mapped().octets()),
        IpAddr::V6(address) => Address::from_bytes(address.octets()),
    }
}

fn expected(source: IpAddr, destination: IpAddr, transport: Transport, vlan: u16) -> Packet {
    let mut packet = Packet::bare(key(source), key(destination), vlan, source.is_ipv6());
    (packet.protocol, packet.source_port, packet.destination_port, packet.tcp_flags) = match transport {
        Transport::Tcp(source, destination, flags) => (PROTOCOL_TCP, source, destination, flags),
        Transport::Udp(source, destination) => (PROTOCOL_UDP, source, destination, 0),
        Transport::Icmp => (if packet.is_v6 { PROTOCOL_ICMPV6 } else { PROTOCOL_ICMP }, 0, 0, 0),
        Transport::Raw(protocol) => (protocol, 0, 0, 0),
    };
    packet
}

fn build(
    source: IpAddr,
    destination: IpAddr,
    transport: Transport,
    vlans: &[(u16, u16)],
    payload: &[u8],
) -> PacketBuilder {
    let builder = PacketBuilder::new(source, destination).transport(transport).payload(payload);
    vlans.iter().fold(builder, |builder, (ethertype, vlan)| builder.vlan(*ethertype, *vlan))
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _verdict = parse(&bytes.as_slice());
    }

    #[test]
    fn damaged_packets_never_panic(
        source in any::<[u8; 16]>(), transport in transport(), vlans in vlans(),
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = build(IpAddr::from(source), IpAddr::from([0x20; 16]), transport, &vlans, &[7; 40])
            .extension(builder::HOP_BY_HOP, &[0; 6]).extension(builder::ROUTING, &[0; 14]).build();
        let at = at.index(frame.len());
        frame[at] = byte;
        frame.truncate(cut.index(frame.len() + 1));
        let _verdict = parse(&frame.as_slice());
    }

    #[test]
    fn ipv4_is_read_as_it_was_built(
        source in any::<[u8; 4]>(), destination in any::<[u8; 4]>(), transport in transport(), vlans in vlans(),
        options in prop::collection::vec(any::<u8>(), 0..=40), payload in prop::collection::vec(any::<u8>(), 8..64),
    ) {
        prop_assume!(source[0] & 0xf0 != 0xe0 && source != [255; 4]);
        let (source, destination) = (IpAddr::from(source), IpAddr::from(destination));
        let frame = build(source, destination, transport, &vlans, &payload).ipv4_options(&options).build();
        let vlan = vlans.first().map_or(0, |(_, vlan)| *vlan);
        prop_assert_eq!(parse(&frame.as_slice()), Ok(Some(expected(source, destination, transport, vlan))));
    }

    #[test]
    fn ipv6_is_read_as_it_was_built(
        source in any::<[u8; 16]>(), destination in any::<[u8; 16]>(), transport in transport(), vlans in vlans(),
        extensions in prop::collection::vec(
            (prop_oneof![Just(0_u8), Just(43), Just(51), Just(60), Just(135)], prop::collection::vec(any::<u8>(), 0..100)),
            0..=EXTENSIONS_MAX,
        ),
        payload in prop::collection::vec(any::<u8>(), 8..64),
    ) {
        prop_assume!(source[0] != 0xff && !Address::from_bytes(source).is_v4());
        let (source, destination) = (IpAddr::from(source), IpAddr::from(destination));
        let mut builder = build(source, destination, transport, &vlans, &payload);
        for (kind, body) in &extensions {
            builder = builder.extension(*kind, body);
        }
        let vlan = vlans.first().map_or(0, |(_, vlan)| *vlan);
        prop_assert_eq!(parse(&builder.build().as_slice()), Ok(Some(expected(source, destination, transport, vlan))));
    }
}

#[test]
fn answers_of_servers_do_not_knock() {
    let packet = |transport| {
        let (source, destination) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([198, 51, 100, 2]));
        expected(source, destination, transport, 0).knocks_at()
    };
    assert_eq!(packet(Transport::Tcp(40_000, 22, TCP_SYN)), Some(22));
    assert_eq!(packet(Transport::Tcp(40_000, 22, 0)), Some(22), "NULL scan");
    assert_eq!(packet(Transport::Tcp(40_000, 22, TCP_FIN | 0x28)), Some(22), "Xmas scan");
    assert_eq!(packet(Transport::Tcp(443, 40_000, TCP_SYN | TCP_ACK)), None);
    assert_eq!(packet(Transport::Tcp(443, 40_000, TCP_RST)), None);
    assert_eq!(packet(Transport::Udp(53, 40_000)), None, "a resolver's answer");
    assert_eq!(packet(Transport::Udp(40_000, 53)), Some(53));
    assert_eq!(packet(Transport::Udp(123, 123)), Some(123));
    assert_eq!(packet(Transport::Icmp), None);
}

#[test]
fn merged_segments_beyond_the_length_field_are_read() {
    for (source, destination) in [("192.0.2.1", "198.51.100.2"), ("2001:db8::1", "2001:db8::2")] {
        let builder = PacketBuilder::new(source.parse().expect("an address"), destination.parse().expect("an address"));
        let mut frame = builder.payload(&vec![0; 100_000]).build();
        let length_at = if source.contains(':') { 18 } else { 16 };
        frame[length_at..length_at + 2].fill(0);
        let packet = parse(&frame.as_slice()).expect("well-formed").expect("IP");
        assert_eq!((packet.protocol, packet.destination_port), (PROTOCOL_TCP, 80), "{source}");
    }
}
