//! The kernel half under real traffic: floods by hping3, scans by nmap, captures by tcpreplay, garbage, tags, large frames and
//! merged ones. Whatever comes in is counted once, under one verdict, and the box goes on answering.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use qantra_common::source::FLUSH_PACKETS;
use qantra_tests::{
    cable::{BOX, BOX_V6, CLIENT, CLIENT_PORT, CLIENT_V6, Cable, PORT, verdicts},
    kernel::{Pins, ban},
    packet::{
        PacketBuilder,
        Transport::{Icmp, Raw, Tcp, Udp},
    },
    pcap::replay,
    random::Random,
};
use qantra_user::{
    config::{Hook, KernelConfig, LimitsConfig, Role},
    decide::Direction,
    enforce::KernelPlane,
    xdp::{Kernel, KernelEvent},
};

const HOOKS: [Hook; 2] = [Hook::Native, Hook::Tcx];

type Verdicts = BTreeMap<&'static str, u64>;

/// What verdicts happened between two looks.
fn since(before: &Verdicts, kernel: &Kernel) -> Result<Verdicts> {
    let mut now = verdicts(kernel)?;
    for (name, count) in &mut now {
        *count -= before.get(name).unwrap_or(&0);
    }
    now.retain(|_, count| *count > 0);
    Ok(now)
}

fn hping(cable: &Cable, arguments: &[&str]) -> Result<()> {
    let all = [&["--quiet", "--count", "2000", "--interval", "u100"], arguments].concat();
    let output = cable.client.run("hping3", &all)?;
    // It ends with 1 when nobody answers, which is what is wanted here; and it says so.
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("packets transmitted") || said.contains("packets tramitted"), "hping3 {all:?}: {said}");
    Ok(())
}

#[test]
fn floods_by_hping3_are_told_apart() -> Result<()> {
    let floods: [(&str, &[&str]); 3] = [
        ("land", &["--spoof", BOX, "--syn", "--destport", "80", BOX]),
        ("tcp_null", &["--destport", "80", BOX]),
        ("tcp_xmas", &["--fin", "--push", "--urg", "--destport", "80", BOX]),
    ];
    for hook in HOOKS {
        let (cable, pins) = (Cable::new("qx-hp")?, Pins::new());
        let kernel = cable.start(&pins, &pins.config(), Role::Wan, hook)?;
        for (reason, arguments) in floods {
            let before = verdicts(&kernel)?;
            hping(&cable, arguments)?;
            let counts = since(&before, &kernel)?;
            assert_eq!(counts.get(reason), Some(&2_000), "{hook:?} {reason}: {counts:?}");
            assert_eq!(cable.pings()?, [true, true], "{hook:?}: after {reason}");
        }
    }
    Ok(())
}

#[test]
fn floods_by_hping3_get_a_budget_and_others_all_they_send() -> Result<()> {
    const RATE_PPS: u32 = 100;
    let none = LimitsConfig {
        packets_pps: 0,
        syn_pps: 0,
        udp_pps: 0,
        icmp_pps: 0,
        flows_pps: 0,
        burst_ms: 1_000,
        neighbours: 0,
        reflection_pps: 0,
    };
    let floods: [(&str, LimitsConfig, &[&str]); 3] = [
        ("limit_syn", LimitsConfig { syn_pps: RATE_PPS, ..none }, &["--syn", "--destport", "9"]),
        ("limit_udp", LimitsConfig { udp_pps: RATE_PPS, ..none }, &["--udp", "--destport", "9"]),
        ("limit_icmp", LimitsConfig { icmp_pps: RATE_PPS, ..none }, &["--icmp"]),
    ];
    let cpus = thread::available_parallelism()?.get() as f64;
    for hook in HOOKS {
        for (reason, limits, arguments) in &floods {
            let (cable, pins) = (Cable::new("qx-budget")?, Pins::new());
            let kernel =
                cable.start(&pins, &KernelConfig { limits: limits.clone(), ..pins.config() }, Role::Wan, hook)?;
            let begun = Instant::now();
            // One source floods while another, the client's own address, is answered.
            let spoofed = [&["--spoof", "203.0.113.9"], *arguments, &[BOX]].concat();
            thread::scope(|scope| -> Result<()> {
                let flood = scope.spawn(|| hping(&cable, &spoofed));
                while !flood.is_finished() {
                    assert_eq!(cable.pings()?, [true, true], "{hook:?}: during {reason}");
                }
                flood.join().map_err(|_| anyhow!("the flood failed"))?
            })?;
            let dropped = verdicts(&kernel)?.get(*reason).copied().unwrap_or(0);
            // Its budget, what it had saved up, and what waits in each processor's slot before it is charged.
            let budget = f64::from(RATE_PPS) * (1.0 + begun.elapsed().as_secs_f64()) + f64::from(FLUSH_PACKETS) * cpus;
            assert!(dropped < 2_000 && dropped as f64 >= 2_000.0 - budget, "{hook:?} {reason}: {dropped} of 2,000");
        }
    }
    Ok(())
}

#[test]
fn scans_by_nmap_are_seen() -> Result<()> {
    let scans = [("tcp_null", "-sN"), ("tcp_xmas", "-sX"), ("pass", "-sS")];
    for hook in HOOKS {
        let (cable, pins) = (Cable::new("qx-nm")?, Pins::new());
        let kernel = cable.start(&pins, &pins.config(), Role::Wan, hook)?;
        for (reason, scan) in scans {
            let before = verdicts(&kernel)?;
            let arguments = ["-n", "-Pn", "--max-retries", "0", "--host-timeout", "20s", "-p", "1-200", scan, BOX];
            let output = cable.client.run("nmap", &arguments)?;
            ensure!(output.status.success(), "nmap: {}", String::from_utf8_lossy(&output.stderr));
            let counts = since(&before, &kernel)?;
            assert!(counts.get(reason).is_some_and(|count| *count >= 200), "{hook:?} {scan}: {counts:?}");
        }
    }
    Ok(())
}

fn between(source: &str, destination: &str) -> Result<PacketBuilder> {
    Ok(PacketBuilder::new(source.parse::<IpAddr>()?, destination.parse::<IpAddr>()?))
}

/// A capture with known verdicts: what each frame is, and what becomes of it.
fn capture() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let v4 = || between("203.0.113.7", BOX);
    let v6 = || between("2001:db8:77::7", "2001:db8::1");
    let mut short = v4()?.payload(&[0; 100]).build();
    short.truncate(60);
    let mut version = v4()?.payload(&[0; 40]).build();
    version[14] = 0x55;
    let mut frames = vec![
        ("pass", v4()?.transport(Tcp(40_000, 80, 0x02)).payload(&[0; 20]).build()),
        ("pass", v4()?.transport(Udp(40_000, 9_999)).payload(&[0; 40]).build()),
        ("pass", v4()?.transport(Icmp).payload(&[0; 40]).build()),
        ("pass", v6()?.transport(Udp(40_000, 9_999)).payload(&[0; 40]).build()),
        ("pass", v4()?.transport(Raw(47)).payload(&[0; 60]).build()),
        ("truncated", short),
        ("ipv4_header", version),
        ("martian_source", between("224.0.0.1", BOX)?.payload(&[0; 20]).build()),
        ("tiny_fragment", v4()?.fragment(1, false).payload(&[0; 32]).build()),
        ("banned_source", between("198.51.100.9", BOX)?.payload(&[0; 20]).build()),
        ("banned_source_prefix", between("2001:db8:bad::9", "2001:db8::1")?.payload(&[0; 20]).build()),
        ("land", between(BOX, BOX)?.transport(Tcp(80, 80, 0x02)).payload(&[0; 20]).build()),
        ("tcp_null", v4()?.transport(Tcp(40_000, 80, 0)).payload(&[0; 20]).build()),
        ("tcp_xmas", v4()?.transport(Tcp(40_000, 80, 0x29)).payload(&[0; 20]).build()),
        ("tcp_flags", v4()?.transport(Tcp(40_000, 80, 0x03)).payload(&[0; 20]).build()),
    ];
    for tags in [vec![(0x8100, 7)], vec![(0x88a8, 7), (0x8100, 8)]] {
        let tagged = |builder: PacketBuilder| tags.iter().fold(builder, |b, (kind, vlan)| b.vlan(*kind, *vlan));
        frames.push(("banned_source", tagged(between("198.51.100.9", BOX)?).payload(&[0; 20]).build()));
        frames.push(("pass", tagged(v4()?).transport(Udp(1, 2)).payload(&[0; 40]).build()));
    }
    Ok(frames)
}

#[test]
fn a_replayed_capture_gets_the_verdicts_it_should() -> Result<()> {
    const COPIES: u64 = 20;
    for hook in HOOKS {
        let (cable, pins) = (Cable::new("qx-tr")?, Pins::new());
        let mut kernel = cable.start(&pins, &pins.config(), Role::Wan, hook)?;
        kernel.plane().ban(&ban("198.51.100.9", Direction::Source, None))?;
        kernel.plane().ban(&ban("2001:db8:bad::/48", Direction::Source, None))?;
        let capture = capture()?;
        let mut expected = Verdicts::new();
        for (reason, _) in &capture {
            *expected.entry(reason).or_default() += COPIES;
        }
        let one: Vec<Vec<u8>> = capture.iter().map(|(_, frame)| frame.clone()).collect();
        let frames: Vec<Vec<u8>> = (0..COPIES).flat_map(|_| one.clone()).collect();
        let before = verdicts(&kernel)?;
        replay(&cable.client, CLIENT_PORT, &frames, 5_000)?;
        let mut counts = since(&before, &kernel)?;
        // Neighbours ask for each other now and then.
        let passed = counts.remove("pass").unwrap_or(0);
        let expected_to_pass = expected.remove("pass").unwrap_or(0);
        assert_eq!(counts, expected, "{hook:?}");
        assert!((expected_to_pass..expected_to_pass + 20).contains(&passed), "{hook:?}: {passed} passed");
        let (mut events, _) = kernel.take_events().context("the first to ask")?;
        let mut vlans: Vec<u16> = std::iter::from_fn(|| events.next_event())
            .filter_map(|event| if let KernelEvent::Drop(drop) = event { Some(drop.vlan) } else { None })
            .collect();
        vlans.sort_unstable();
        vlans.dedup();
        assert!(vlans.contains(&7), "{hook:?}: no drop tells its VLAN, which TCX finds in metadata alone: {vlans:?}");
    }
    Ok(())
}

/// Frames of any bytes, and valid ones with some bytes changed: more of those get far into the parser.
fn garbage(count: usize, random: &mut Random) -> Result<Vec<Vec<u8>>> {
    let valid: Vec<Vec<u8>> = capture()?.into_iter().map(|(_, frame)| frame).collect();
    let mut frames = Vec::with_capacity(count);
    for number in 0..count {
        let mut frame = valid[number % valid.len()].clone();
        if number % 4 == 0 {
            frame = (0..14 + random.below(1_400)).map(|_| random.number() as u8).collect();
            // To the box, so that it is looked at, and often of an EtherType that is parsed.
            frame[..6].copy_from_slice(&[0x02, 0, 0, 0, 0, 0x02]);
            let kind: u16 = [0x0800, 0x86dd, 0x8100, 0x0806, random.number() as u16][random.below(5) as usize];
            frame[12..14].copy_from_slice(&kind.to_be_bytes());
        } else {
            for _ in 0..=random.below(6) {
                let at = 12 + random.below(frame.len() as u64 - 12) as usize;
                frame[at] = random.number() as u8;
            }
            if number % 7 == 0 {
                frame.truncate(14 + random.below(frame.len() as u64 - 14) as usize);
            }
        }
        frames.push(frame);
    }
    Ok(frames)
}

fn is_tag(frame: &[u8]) -> bool {
    matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8])
}

#[test]
fn garbage_is_counted_to_the_last_frame() -> Result<()> {
    const FRAMES: usize = 20_000;
    for hook in HOOKS {
        let (cable, pins) = (Cable::new("qx-gb")?, Pins::new());
        let kernel = cable.start(&pins, &pins.config(), Role::Wan, hook)?;
        let (before, received) = (verdicts(&kernel)?, cable.received()?);
        let frames = garbage(FRAMES, &mut Random::new(2_026))?;
        replay(&cable.client, CLIENT_PORT, &frames, 20_000)?;
        thread::sleep(Duration::from_millis(100));
        let (counts, received) = (since(&before, &kernel)?, cable.received()? - received);
        let judged: u64 = counts.values().sum();
        assert!(received >= FRAMES as u64, "{hook:?}: {received} came in");
        // A tag that is cut off is the end of a frame before TCX sees it: the network stack takes tags out first.
        let cut = frames.iter().filter(|frame| hook == Hook::Tcx && is_tag(frame) && frame.len() < 20).count() as u64;
        assert_eq!(judged + cut, received, "{hook:?}: every frame has one verdict: {counts:?}");
        assert!(counts.len() >= 8, "{hook:?}: garbage has little variety: {counts:?}");
        assert_eq!(cable.pings()?, [true, true], "{hook:?}: the box answers as before");
    }
    Ok(())
}

/// Sends so many bytes from the client to the box by TCP.
fn transfer(cable: &Cable, bytes: usize) -> Result<()> {
    let listener = {
        let _inside = cable.gateway.enter()?;
        TcpListener::bind((BOX, 0))?
    };
    let mut outlet = {
        let _inside = cable.client.enter()?;
        TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(5))?
    };
    let (mut inlet, _) = listener.accept()?;
    let sender = thread::spawn(move || outlet.write_all(&vec![7; bytes]));
    let mut buffer = vec![0; 65_536];
    let mut total = 0;
    while total < bytes {
        match inlet.read(&mut buffer)? {
            0 => break,
            read => total += read,
        }
    }
    ensure!(total == bytes && matches!(sender.join(), Ok(Ok(()))), "{total} of {bytes} bytes came through");
    Ok(())
}

#[test]
fn merged_segments_are_counted_one_by_one() -> Result<()> {
    const BYTES: usize = 20_000_000;
    const SEGMENT_BYTES: u64 = 1_448;
    let (cable, pins) = (Cable::new("qx-gso")?, Pins::new());
    let kernel = cable.start(&pins, &pins.config(), Role::Wan, Hook::Tcx)?;
    let buffers = cable.received()?;
    transfer(&cable, BYTES)?;
    let buffers = cable.received()? - buffers;
    let passed = verdicts(&kernel)?.get("pass").copied().unwrap_or(0);
    let segments = BYTES as u64 / SEGMENT_BYTES;
    assert!(buffers < segments / 2, "nothing was merged: {buffers} buffers, {segments} segments");
    assert!((segments..segments * 11 / 10).contains(&passed), "{passed} counted, {segments} segments");
    let bytes: u64 = kernel.verdicts()?.iter().map(|count| count.bytes).sum();
    let on_the_wire = segments * (SEGMENT_BYTES + 66);
    assert!((on_the_wire * 98 / 100..on_the_wire * 110 / 100).contains(&bytes), "{bytes} of {on_the_wire} bytes");
    Ok(())
}

#[test]
fn large_frames_are_judged_like_others() -> Result<()> {
    for hook in HOOKS {
        let (cable, pins) = (Cable::new("qx-mtu")?, Pins::new());
        for (netns, port) in [(&cable.client, CLIENT_PORT), (&cable.gateway, PORT)] {
            netns.ip(&["link", "set", port, "mtu", "9000"])?;
        }
        let kernel = cable.start(&pins, &pins.config(), Role::Wan, hook)?;
        let large = |address: &str| -> Result<bool> {
            let arguments = ["-n", "-c", "1", "-W", "1", "-M", "do", "-s", "8900", address];
            Ok(cable.client.run("ping", &arguments)?.status.success())
        };
        assert_eq!([large(BOX)?, large(BOX_V6)?], [true, true], "{hook:?}: nobody is banned");
        kernel.plane().ban(&ban(CLIENT, Direction::Source, None))?;
        assert_eq!([large(BOX)?, large(BOX_V6)?], [false, true], "{hook:?}: one is banned");
        kernel.plane().ban(&ban(CLIENT_V6, Direction::Source, None))?;
        assert_eq!([large(BOX)?, large(BOX_V6)?], [false, false], "{hook:?}: both are");
        let bytes: u64 = kernel.verdicts()?.iter().map(|count| count.bytes).sum();
        assert!(bytes > 6 * 8_900, "{hook:?}: {bytes} bytes counted");
    }
    Ok(())
}
