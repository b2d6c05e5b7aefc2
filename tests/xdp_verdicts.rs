//! What the kernel's programs do with single frames, by `BPF_PROG_TEST_RUN`: a table of every parse path and every
//! reason to drop, and random bans against a plain model of what a ban means.

#![expect(clippy::expect_used, reason = "tests may stop at what must not happen")]

use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;
use proptest::{prelude::*, test_runner::TestRunner};
use qantra_tests::{
    kernel::{Pins, ban},
    packet::{
        AUTHENTICATION, DESTINATION_OPTIONS, HOP_BY_HOP, PacketBuilder, ROUTING,
        Transport::{Icmp, Raw, Tcp, Udp},
    },
};
use qantra_user::{
    clock::boot_ns,
    config::{KernelConfig, LimitsConfig, Role},
    decide::Direction::{Both, Destination, Source},
    enforce::{AddressRanges, FeedHits, FeedPlane, KernelBan, KernelPlane},
    xdp::{DropReason, Entry, Kernel, KernelEvent, SourceCounters, Verdict, ip_of},
};

const SYN: u8 = 0x02;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// From 192.0.2.10 to 198.51.100.1, or from 2001:db8::10 to 2001:db8:1::1.
fn v4() -> PacketBuilder {
    PacketBuilder::new(address("192.0.2.10"), address("198.51.100.1"))
}

fn v6() -> PacketBuilder {
    PacketBuilder::new(address("2001:db8::10"), address("2001:db8:1::1"))
}

fn between(source: &str, destination: &str) -> Vec<u8> {
    PacketBuilder::new(address(source), address(destination)).build()
}

/// A frame with one byte changed.
fn with(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    frame
}

fn cut(mut frame: Vec<u8>, bytes: usize) -> Vec<u8> {
    frame.truncate(bytes);
    frame
}

/// Where IP begins in a frame without tags.
const IP: usize = 14;
/// Where TCP or UDP begins in an IPv4 frame without options.
const L4: usize = IP + 20;

fn well_formed() -> Vec<(&'static str, Vec<u8>)> {
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x08, 0x06], &[0; 46]].concat();
    vec![
        ("TCP SYN", v4().build()),
        ("TCP with data", v4().transport(Tcp(1, 2, 0x18)).payload(&[1; 900]).build()),
        ("UDP", v4().transport(Udp(5000, 53)).payload(b"x").build()),
        ("empty UDP", v4().transport(Udp(5000, 53)).build()),
        ("ICMP", v4().transport(Icmp).build()),
        ("GRE, not looked into", v4().transport(Raw(47)).payload(&[0; 4]).build()),
        ("Ethernet padding after IP", [v4().build(), vec![0; 6]].concat()),
        ("IPv4 options", v4().ipv4_options(&[7, 3, 4]).build()),
        ("most IPv4 options", v4().ipv4_options(&[1; 40]).build()),
        ("802.1Q", v4().vlan(0x8100, 7).build()),
        ("QinQ", v6().vlan(0x88a8, 7).vlan(0x8100, 8).build()),
        ("three tags are not IP", v4().vlan(0x8100, 1).vlan(0x8100, 2).vlan(0x8100, 3).build()),
        ("ARP", arp),
        ("first fragment", v4().fragment(0, true).payload(&[0; 24]).build()),
        ("later fragment", v4().fragment(100, false).payload(&[0; 24]).build()),
        ("IPv6", v6().build()),
        ("IPv6 UDP", v6().transport(Udp(5000, 53)).build()),
        ("ICMPv6", v6().transport(Icmp).build()),
        ("hop by hop", v6().extension(HOP_BY_HOP, &[0; 6]).build()),
        ("long routing header", v6().extension(ROUTING, &[0; 70]).build()),
        ("authentication header", v6().extension(AUTHENTICATION, &[0; 22]).build()),
        ("most extension headers", (0..8).fold(v6(), |b, _| b.extension(DESTINATION_OPTIONS, &[0; 6])).build()),
        ("IPv6 first fragment", v6().fragment(0, true).payload(&[0; 24]).build()),
        ("IPv6 later fragment", v6().fragment(100, true).payload(&[0; 24]).build()),
        ("no next header", v6().transport(Raw(59)).build()),
    ]
}

fn malformed() -> Vec<(&'static str, Vec<u8>, DropReason)> {
    use DropReason as D;
    let nine = (0..9).fold(v6(), |builder, _| builder.extension(DESTINATION_OPTIONS, &[0; 6]));
    vec![
        ("cut in the IPv4 header", cut(v4().build(), IP + 12), D::Truncated),
        ("cut in the IPv6 header", cut(v6().build(), IP + 30), D::Truncated),
        ("cut in the VLAN tag", cut(v4().vlan(0x8100, 7).build(), IP + 2), D::Truncated),
        ("IPv4 says more than there is", with(v4().build(), IP + 3, 200), D::Truncated),
        ("IPv6 says more than there is", with(v6().build(), IP + 5, 200), D::Truncated),
        ("IPv4 of version 5", with(v4().build(), IP, 0x55), D::Ipv4Header),
        ("IPv4 header of 16 bytes", with(v4().build(), IP, 0x44), D::Ipv4Header),
        ("IPv4 total below its header", with(v4().build(), IP + 3, 19), D::Ipv4Header),
        ("IPv6 of version 4", with(v6().build(), IP, 0x40), D::Ipv6Header),
        ("nine extension headers", nine.build(), D::Ipv6Extensions),
        ("extension past the end", with(v6().extension(ROUTING, &[0; 6]).build(), IP + 41, 200), D::Ipv6Extensions),
        ("TCP offset of 4 words", with(v4().build(), L4 + 12, 0x40), D::TcpHeader),
        ("TCP of 10 bytes", v4().transport(Raw(6)).payload(&[0; 10]).build(), D::TcpHeader),
        ("UDP of 4 bytes", v4().transport(Raw(17)).payload(&[0; 4]).build(), D::UdpHeader),
        ("IPv6 UDP of 4 bytes", v6().transport(Raw(17)).payload(&[0; 4]).build(), D::UdpHeader),
        (
            "8 bytes of TCP in a fragment",
            v4().transport(Raw(6)).fragment(0, true).payload(&[0; 8]).build(),
            D::TinyFragment,
        ),
        ("fragment over the TCP flags", v4().fragment(1, false).payload(&[0; 16]).build(), D::TinyFragment),
        ("IPv6 fragment over the flags", v6().fragment(1, false).payload(&[0; 16]).build(), D::TinyFragment),
        (
            "fragment over the end of the TCP header",
            v4().fragment(2, false).payload(&[0; 16]).build(),
            D::FragmentOverlap,
        ),
        ("TCP offset past the end", with(v4().build(), L4 + 12, 0xf0), D::TcpHeader),
        ("UDP that says 7 bytes", with(v4().transport(Udp(1, 2)).build(), L4 + 5, 7), D::UdpHeader),
        ("UDP that says more than there is", with(v4().transport(Udp(1, 2)).build(), L4 + 5, 80), D::UdpHeader),
        ("land", between("192.0.2.7", "192.0.2.7"), D::Land),
        ("IPv6 land", between("2001:db8::7", "2001:db8::7"), D::Land),
        ("null scan", v4().transport(Tcp(1, 2, 0)).build(), D::TcpNull),
        ("Xmas scan", v6().transport(Tcp(1, 2, 0x29)).build(), D::TcpXmas),
        ("SYN and FIN", v4().transport(Tcp(1, 2, 0x03)).build(), D::TcpFlags),
        ("SYN and RST", v4().transport(Tcp(1, 2, 0x06)).build(), D::TcpFlags),
        ("FIN and RST", v4().transport(Tcp(1, 2, 0x15)).build(), D::TcpFlags),
        ("ping of death", v4().transport(Icmp).fragment(8_191, false).payload(&[0; 64]).build(), D::FragmentOverrun),
        ("from multicast", between("224.0.0.5", "198.51.100.1"), D::MartianSource),
        ("from broadcast", between("255.255.255.255", "198.51.100.1"), D::MartianSource),
        ("from IPv6 multicast", between("ff02::1", "2001:db8::1"), D::MartianSource),
        ("from mapped IPv4", between("::ffff:192.0.2.1", "2001:db8::1"), D::MartianSource),
    ]
}

/// Runs a frame and says by which counter it was counted.
fn verdict(kernel: &Kernel, entry: Entry, frame: &[u8]) -> Result<Verdict> {
    let count = |kernel: &Kernel| -> Result<Vec<_>> {
        Ok(kernel.verdicts()?.into_iter().map(|count| (count.verdict, count.packets)).collect())
    };
    let before = count(kernel)?;
    let is_dropped = kernel.drops_frame(entry, frame)?;
    let changed: Vec<_> = count(kernel)?.into_iter().filter(|now| !before.contains(now)).collect();
    let [(verdict, _)] = changed[..] else { anyhow::bail!("one frame changed these counters: {changed:?}") };
    assert_eq!(is_dropped, verdict != Verdict::Pass, "the return code and the counter agree on {verdict:?}");
    Ok(verdict)
}

/// Longer than the kernel's tick: bans may end that much late.
const TICK_NS: u64 = 20_000_000;
const ENTRIES: [Entry; 3] = [Entry::Xdp, Entry::XdpFrags, Entry::Tc];

/// The programs see test frames on the interface with index 1: the loopback of a namespace of its own.
fn loopback(pins: &Pins) -> Result<Kernel> {
    pins.start(&[])
}

#[test]
fn well_formed_frames_pass() -> Result<()> {
    let pins = Pins::new();
    let mut kernel = loopback(&pins)?;
    kernel.watch_index(1, Role::Wan)?;
    for entry in ENTRIES {
        for (description, frame) in well_formed() {
            assert_eq!(verdict(&kernel, entry, &frame)?, Verdict::Pass, "{entry:?}: {description}");
        }
    }
    Ok(())
}

#[test]
fn malformed_frames_are_dropped_for_what_is_wrong_with_them() -> Result<()> {
    let pins = Pins::new();
    let mut kernel = loopback(&pins)?;
    kernel.watch_index(1, Role::Wan)?;
    for entry in ENTRIES {
        for (description, frame, reason) in malformed() {
            // The kernel makes no socket buffer, not even for a test, of a frame that ends in the IP header.
            if entry == Entry::Tc && reason == DropReason::Truncated && frame.len() < IP + 40 {
                continue;
            }
            assert_eq!(verdict(&kernel, entry, &frame)?, Verdict::Drop(reason), "{entry:?}: {description}");
        }
    }
    Ok(())
}

#[test]
fn a_sampled_drop_tells_what_was_dropped() -> Result<()> {
    let pins = Pins::new();
    let mut kernel = loopback(&pins)?;
    kernel.watch_index(1, Role::Wan)?;
    let (mut events, _sources) = kernel.take_events().context("the first to ask")?;
    let stopped = ban("2001:db8::10", Source, None);
    kernel.plane().ban(&stopped)?;
    let frame = v6().vlan(0x8100, 7).transport(Udp(5_000, 53)).build();
    assert!(kernel.drops_frame(Entry::Xdp, &frame)?);
    let Some(KernelEvent::Drop(event)) = events.next_event() else { anyhow::bail!("one in one drop is sampled") };
    assert_eq!(DropReason::from_u32(event.reason), Some(DropReason::BannedSource));
    assert_eq!((ip_of(event.source), ip_of(event.destination)), (address("2001:db8::10"), address("2001:db8:1::1")));
    assert_eq!((event.source_port, event.destination_port, event.protocol, event.vlan), (5_000, 53, 17, 7));
    assert_eq!((event.decision, event.ifindex), (stopped.decision.0, 1));
    assert_eq!((event.frame_bytes as usize, event.captured_bytes as usize), (frame.len(), frame.len()));
    assert_eq!(event.data[..frame.len()], frame[..]);
    Ok(())
}

#[test]
fn sources_are_counted_until_they_are_drained() -> Result<()> {
    let pins = Pins::new();
    let mut kernel = loopback(&pins)?;
    kernel.watch_index(1, Role::Lan)?;
    let (_events, mut sources) = kernel.take_events().context("the first to ask")?;
    for port in 1..=50 {
        kernel.drops_frame(Entry::Xdp, &v4().transport(Tcp(40_000, port, SYN)).build())?;
    }
    kernel.drops_frame(Entry::Tc, &v4().transport(Tcp(40_000, 22, 0x04)).build())?;
    kernel.drops_frame(Entry::Tc, &v4().transport(Udp(53, 40_000)).build())?;
    kernel.drops_frame(Entry::XdpFrags, &v4().transport(Icmp).build())?;
    // Counts of a source go on after some of its packets, here at the latest after 128.
    let filler = v4().transport(Tcp(40_000, 80, 0x10)).build();
    for _ in 0..128 {
        kernel.drops_frame(Entry::Xdp, &filler)?;
    }
    let mut seen = Vec::new();
    assert_eq!(sources.drain(|source, counters| seen.push((ip_of(source), *counters)))?, 1);
    let (source, counters) = seen[0];
    assert_eq!(source, address("192.0.2.10"));
    let SourceCounters { packets, tcp_syn, tcp_rst, udp, icmp, role, .. } = counters;
    assert_eq!((tcp_syn, tcp_rst, udp, icmp, role), (50, 1, 1, 1, 1));
    assert!((54..=181).contains(&packets), "{packets}");
    let bits = counters.ports.iter().map(|word| word.count_ones()).sum::<u32>();
    assert!((40..=50).contains(&bits) && bits == counters.port_bits, "{bits} bits, counted as {}", counters.port_bits);
    let hosts = |counters: &SourceCounters| counters.hosts.iter().map(|word| word.count_ones()).sum::<u32>();
    assert_eq!(hosts(&counters), 1, "all of it went to one host");
    assert_eq!(sources.drain(|_, _| ())?, 0, "their window has ended");
    for host in 1..=40 {
        let to = IpAddr::from([198, 51, 100, host]);
        kernel.drops_frame(
            Entry::Xdp,
            &PacketBuilder::new(address("192.0.2.10"), to).transport(Tcp(40_000, 445, SYN)).build(),
        )?;
    }
    for _ in 0..128 {
        kernel.drops_frame(Entry::Xdp, &filler)?;
    }
    let mut swept = 0;
    sources.drain(|_, counters| swept = hosts(counters))?;
    assert!((28..=40).contains(&swept), "{swept} bits for 40 hosts");
    Ok(())
}

/// Runs a frame so many times; returns how often each verdict came.
fn verdicts(kernel: &Kernel, frame: &[u8], times: u32) -> Result<Vec<(Verdict, u64)>> {
    let count = || -> Result<Vec<_>> { Ok(kernel.verdicts()?.into_iter().map(|c| (c.verdict, c.packets)).collect()) };
    let before = count()?;
    for _ in 0..times {
        kernel.drops_frame(Entry::Xdp, frame)?;
    }
    let was = |verdict| before.iter().find(|(v, _)| *v == verdict).map_or(0, |(_, packets)| *packets);
    let changed = count()?.into_iter().map(|(verdict, packets)| (verdict, packets - was(verdict)));
    Ok(changed.filter(|(_, packets)| *packets > 0).collect())
}

fn limited(limits: LimitsConfig) -> Result<(Pins, Kernel)> {
    let pins = Pins::new();
    let config = KernelConfig { limits, ..pins.config() };
    let mut kernel = Kernel::start(&config, &[], false)?;
    kernel.watch_index(1, Role::Wan)?;
    Ok((pins, kernel))
}

const NO_LIMIT: LimitsConfig = LimitsConfig {
    packets_pps: 0,
    syn_pps: 0,
    udp_pps: 0,
    icmp_pps: 0,
    flows_pps: 0,
    burst_ms: 1_000,
    neighbours: 0,
    reflection_pps: 0,
};

/// What passes is the burst, the debt of one flush, and what trickles in while the test runs.
fn about(passed: u64, burst: u64, elapsed: std::time::Duration) -> bool {
    let refilled = (elapsed.as_secs_f64() * burst as f64) as u64;
    (burst..=burst + 140 + refilled).contains(&passed)
}

#[test]
fn each_kind_of_packet_has_its_budget_and_others_pass() -> Result<()> {
    use DropReason as D;
    let kinds = [
        (LimitsConfig { packets_pps: 200, ..NO_LIMIT }, v4().transport(Tcp(1, 2, 0x10)), D::LimitPackets),
        (LimitsConfig { syn_pps: 200, ..NO_LIMIT }, v4(), D::LimitSyn),
        (LimitsConfig { udp_pps: 200, ..NO_LIMIT }, v6().transport(Udp(5_000, 53)), D::LimitUdp),
        (LimitsConfig { icmp_pps: 200, ..NO_LIMIT }, v6().transport(Icmp), D::LimitIcmp),
        (LimitsConfig { flows_pps: 200, ..NO_LIMIT }, v4(), D::LimitFlows),
    ];
    for (limits, frame, reason) in kinds {
        let (_pins, kernel) = limited(limits)?;
        let start = std::time::Instant::now();
        let counts = verdicts(&kernel, &frame.build(), 2_000)?;
        let elapsed = start.elapsed();
        let [(Verdict::Pass, passed), (Verdict::Drop(found), dropped)] = counts[..] else {
            anyhow::bail!("{reason:?}: {counts:?}")
        };
        assert_eq!((found, passed + dropped), (reason, 2_000));
        assert!(about(passed, 200, elapsed), "{reason:?}: {passed} of 2,000 passed in {elapsed:?}");
        // Another source, and another kind of the same source.
        let stranger = PacketBuilder::new(address("192.0.2.99"), address("198.51.100.1")).build();
        assert_eq!(verdicts(&kernel, &stranger, 20)?, [(Verdict::Pass, 20)], "{reason:?}: a stranger");
        if reason != D::LimitPackets {
            let other = frame.transport(Tcp(1, 2, 0x10)).build();
            assert_eq!(verdicts(&kernel, &other, 50)?, [(Verdict::Pass, 50)], "{reason:?}: another kind");
        }
    }
    Ok(())
}

#[test]
fn what_is_protected_has_no_budget() -> Result<()> {
    let (_pins, kernel) = limited(LimitsConfig { syn_pps: 50, ..NO_LIMIT })?;
    kernel.plane().protect(&["192.0.2.0/28".parse()?])?;
    assert_eq!(verdicts(&kernel, &v4().build(), 1_000)?, [(Verdict::Pass, 1_000)]);
    Ok(())
}

#[test]
fn when_many_neighbours_go_over_their_prefix_has_the_budget_of_one() -> Result<()> {
    let (_pins, kernel) = limited(LimitsConfig { packets_pps: 100, neighbours: 4, ..NO_LIMIT })?;
    let from = |last: u8| {
        PacketBuilder::new(IpAddr::from([203, 0, 113, last]), address("198.51.100.1"))
            .transport(Tcp(1, 2, 0x10))
            .build()
    };
    for neighbour in 1..=5 {
        verdicts(&kernel, &from(neighbour), 600)?;
    }
    let dropped = |counts: &[(Verdict, u64)]| {
        counts.iter().find(|(v, _)| *v == Verdict::Drop(DropReason::LimitPrefix)).map_or(0, |(_, packets)| *packets)
    };
    let mut by_prefix = 0;
    for neighbour in 6..=9 {
        // Below its own budget.
        by_prefix += dropped(&verdicts(&kernel, &from(neighbour), 90)?);
    }
    assert!(by_prefix > 100, "{by_prefix} of 360 packets of neighbours that did nothing were dropped");
    let elsewhere = PacketBuilder::new(address("203.0.114.1"), address("198.51.100.1")).build();
    assert_eq!(verdicts(&kernel, &elsewhere, 90)?, [(Verdict::Pass, 90)]);
    Ok(())
}

#[test]
fn answers_that_attackers_reflect_share_one_budget() -> Result<()> {
    let (_pins, kernel) = limited(LimitsConfig { reflection_pps: 300, ..NO_LIMIT })?;
    let answer = |last: u8, port| {
        PacketBuilder::new(IpAddr::from([203, 0, 113, last]), address("198.51.100.1"))
            .transport(Udp(port, 40_000))
            .build()
    };
    let start = std::time::Instant::now();
    let (mut passed, mut dropped) = (0, 0);
    for server in 1..=200 {
        for (verdict, packets) in verdicts(&kernel, &answer(server, 123), 10)? {
            match verdict {
                Verdict::Pass => passed += packets,
                Verdict::Drop(reason) => {
                    assert_eq!(reason, DropReason::UdpReflection);
                    dropped += packets;
                }
                Verdict::SynCookie => unreachable!("no SYN was sent"),
            }
        }
    }
    assert!(about(passed, 300, start.elapsed()) && passed + dropped == 2_000, "{passed} of 2,000 NTP answers passed");
    assert_eq!(verdicts(&kernel, &answer(1, 443), 50)?, [(Verdict::Pass, 50)], "QUIC is not reflected");
    Ok(())
}

#[test]
fn a_source_must_be_on_its_side_of_the_box() -> Result<()> {
    let pins = Pins::new();
    let mut kernel = loopback(&pins)?;
    let lan = ["192.168.1.0/24".parse()?, "2001:db8:1::/48".parse()?];
    let spoofed = Verdict::Drop(DropReason::SpoofedSource);
    let cases = [
        (Role::Lan, "192.168.1.7", "8.8.8.8", Verdict::Pass),
        (Role::Lan, "192.168.2.7", "8.8.8.8", spoofed),
        (Role::Lan, "0.0.0.0", "255.255.255.255", Verdict::Pass),
        (Role::Lan, "169.254.3.4", "224.0.0.251", Verdict::Pass),
        (Role::Lan, "2001:db8:1:5::1", "2001:db8::1", Verdict::Pass),
        (Role::Lan, "2001:db8:2::1", "2001:db8::1", spoofed),
        (Role::Lan, "fe80::1", "ff02::1", Verdict::Pass),
        (Role::Wan, "8.8.8.8", "198.51.100.1", Verdict::Pass),
        (Role::Wan, "192.168.1.7", "198.51.100.1", spoofed),
        (Role::Wan, "2001:db8:1::9", "2001:db8::1", spoofed),
    ];
    for (role, source, destination, wanted) in cases {
        kernel.watch_index_strictly(1, role, &lan)?;
        for entry in ENTRIES {
            let got = verdict(&kernel, entry, &between(source, destination))?;
            assert_eq!(got, wanted, "{role:?}, {entry:?}: {source} to {destination}");
        }
    }
    Ok(())
}

#[test]
fn what_feeds_stop_is_told_by_address_and_once() -> Result<()> {
    let pins = Pins::new();
    let mut kernel = loopback(&pins)?;
    kernel.watch_index(1, Role::Lan)?;
    let plane = kernel.plane();
    let nets: Vec<IpNet> = vec!["203.0.113.0/24".parse()?, "2001:db8:bad::/48".parse()?];
    plane.replace_feeds(&ranges(&nets), &ranges(&nets))?;
    for round in 0..3 {
        // More addresses than there are places: what finds none is counted together.
        for number in 0..3_000_u32 {
            let source = IpAddr::from((0x2001_0db8_0bad_u128 << 80 | u128::from(number % 1_500)).to_be_bytes());
            assert!(kernel.drops_frame(Entry::Xdp, &PacketBuilder::new(source, address("2001:db8::1")).build())?);
        }
        let hits = plane.take_feed_hits()?;
        let told: u64 = hits.by_address.iter().map(|hit| hit.packets).sum();
        assert_eq!(told + hits.other_packets, 3_000, "round {round}");
        let addresses: std::collections::HashSet<_> = hits.by_address.iter().map(|hit| hit.address).collect();
        assert!((600..=1_024).contains(&addresses.len()), "round {round}: {} addresses", addresses.len());
        assert!(hits.by_address.iter().all(|hit| hit.packets <= 2), "round {round}");

        assert!(kernel.drops_frame(Entry::Xdp, &between("192.0.2.1", "203.0.113.9"))?);
        let hits = plane.take_feed_hits()?;
        assert_eq!(
            hits.by_address.iter().map(|hit| (hit.address, hit.packets)).collect::<Vec<_>>(),
            [(address("203.0.113.9"), 1)]
        );
        assert_eq!((hits.other_packets, plane.take_feed_hits()?), (0, FeedHits::default()));
    }
    Ok(())
}

#[test]
fn a_full_table_says_which_key_to_raise() -> Result<()> {
    let pins = Pins::new();
    let kernel = loopback(&pins)?;
    let mut refused = None;
    for number in 0..2_000_u32 {
        let net = IpNet::new(std::net::Ipv4Addr::from(number << 12).into(), 20)?;
        refused = kernel.plane().ban(&KernelBan { net, ..ban("192.0.2.1", Source, None) }).err();
        if refused.is_some() {
            break;
        }
    }
    let text = refused.context("1,024 prefixes fit")?.to_string();
    assert!(text.contains("1024 entries") && text.contains("kernel.prefix_bans_max"), "{text}");
    Ok(())
}

/// What a ban means, said plainly: compare with `qantra-ebpf/src/ban.rs`.
fn expected(
    bans: &[KernelBan],
    listed: &[Vec<IpNet>; 2],
    protected: &[IpNet],
    role: Role,
    source: IpAddr,
    destination: IpAddr,
) -> Verdict {
    let ends = [
        (source, Source, DropReason::BannedSource, DropReason::BannedSourcePrefix, DropReason::FeedSource),
        (
            destination,
            Destination,
            DropReason::BannedDestination,
            DropReason::BannedDestinationPrefix,
            DropReason::FeedDestination,
        ),
    ];
    for ((end, direction, exact, prefix, feed), listed) in ends.into_iter().zip(listed) {
        if direction == Destination && role == Role::Wan || protected.iter().any(|net| net.contains(&end)) {
            continue;
        }
        let in_force = |ban: &&KernelBan| {
            let is_over = ban.expires_boot_ns.is_some_and(|end| end <= boot_ns());
            ban.net.contains(&end) && (ban.direction == direction || ban.direction == Both) && !is_over
        };
        let mut in_force = bans.iter().filter(in_force).peekable();
        if in_force.peek().is_some() {
            let is_exact = in_force.any(|ban| ban.net.prefix_len() == ban.net.max_prefix_len());
            return Verdict::Drop(if is_exact { exact } else { prefix });
        }
        if listed.iter().any(|net| net.contains(&end)) {
            return Verdict::Drop(feed);
        }
    }
    if source == destination { Verdict::Drop(DropReason::Land) } else { Verdict::Pass }
}

/// Addresses that share long prefixes, so that random bans hit them and lie inside each other.
fn an_address(is_v6: bool) -> impl Strategy<Value = IpAddr> {
    (0..8_u8, 0..8_u8).prop_map(move |(high, low)| match is_v6 {
        false => IpAddr::from([10, 0, high << 5, low]),
        true => IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, high << 5, 0, 0, 0, 0, 0, 0, 0, low]),
    })
}

fn a_net(is_v6: bool) -> impl Strategy<Value = IpNet> {
    let length = if is_v6 { prop_oneof![40..=128_u8, Just(128)] } else { prop_oneof![6..=32_u8, Just(32)] };
    (an_address(is_v6), length).prop_map(|(address, length)| IpNet::new(address, length).expect("a length").trunc())
}

fn a_ban(is_v6: bool) -> impl Strategy<Value = KernelBan> {
    let hour_ns = 3_600_000_000_000_u64;
    let just_over = boot_ns() - TICK_NS;
    let ends = prop_oneof![Just(None), Just(Some(1)), Just(Some(boot_ns() + hour_ns)), Just(Some(just_over))];
    let direction = prop_oneof![Just(Source), Just(Destination), Just(Both)];
    (a_net(is_v6), direction, ends).prop_map(|(net, direction, expires_boot_ns)| KernelBan {
        net,
        direction,
        expires_boot_ns,
        ..ban("192.0.2.1", Source, None)
    })
}

/// Bans, listed sources, listed destinations, protected prefixes, whether it is the LAN, packets.
type Case = (Vec<KernelBan>, [Vec<IpNet>; 2], Vec<IpNet>, bool, Vec<(IpAddr, IpAddr)>);

/// Sorted, disjoint ranges of prefixes.
fn ranges(nets: &[IpNet]) -> AddressRanges {
    let mut ranges = AddressRanges::default();
    for net in IpNet::aggregate(&nets.to_vec()) {
        match net {
            IpNet::V4(v4) => ranges.v4.push((v4.network().into(), v4.broadcast().into())),
            IpNet::V6(v6) => ranges.v6.push((v6.network().into(), v6.broadcast().into())),
        }
    }
    ranges.v4.sort_unstable();
    ranges.v6.sort_unstable();
    ranges
}

fn a_case() -> impl Strategy<Value = Case> {
    any::<bool>().prop_flat_map(|is_v6| {
        (
            prop::collection::vec(a_ban(is_v6), 0..10),
            [prop::collection::vec(a_net(is_v6), 0..4), prop::collection::vec(a_net(is_v6), 0..4)],
            prop::collection::vec(a_net(is_v6), 0..2),
            any::<bool>(),
            prop::collection::vec((an_address(is_v6), an_address(is_v6)), 1..8),
        )
    })
}

#[test]
fn verdicts_agree_with_a_plain_model_of_bans() -> Result<()> {
    let pins = Pins::new();
    let kernel = std::cell::RefCell::new(loopback(&pins)?);
    let mut runner = TestRunner::new(ProptestConfig { cases: 150, ..ProptestConfig::default() });
    runner.run(&a_case(), |(bans, listed, protected, is_lan, packets)| {
        let mut kernel = kernel.borrow_mut();
        let role = if is_lan { Role::Lan } else { Role::Wan };
        kernel.watch_index(1, role).expect("the role is set");
        let plane = kernel.plane();
        for old in plane.bans().expect("bans are read") {
            plane.unban(old.net).expect("a ban ends").expect("it was there");
        }
        plane.protect(&protected).expect("the protected set is written");
        plane.replace_feeds(&ranges(&listed[0]), &ranges(&listed[1])).expect("feeds are replaced");
        // A later ban of the same prefix replaces the earlier.
        let mut standing: Vec<KernelBan> = Vec::new();
        for ban in bans {
            plane.ban(&ban).expect("a ban begins");
            standing.retain(|old| old.net != ban.net);
            standing.push(ban);
        }
        for (source, destination) in packets {
            let frame = PacketBuilder::new(source, destination).build();
            let wanted = expected(&standing, &listed, &protected, role, source, destination);
            for entry in ENTRIES {
                let got = verdict(&kernel, entry, &frame).expect("a verdict");
                prop_assert_eq!(got, wanted, "{:?}: {} to {}, {:?}", entry, source, destination, role);
            }
        }
        Ok(())
    })?;
    Ok(())
}
