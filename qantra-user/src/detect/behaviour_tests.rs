//! Scenarios: what sources do over time, and which classes are found, each once.

use std::{hash::BuildHasher, net::IpAddr};

use proptest::prelude::*;

use super::*;
use crate::{
    clock::Now,
    config::{DetectConfig, Role},
    flow::{ConnectionObservation, Observation, PacketObservation, RequestObservation},
};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

fn hash(value: u64) -> u64 {
    foldhash::quality::FixedState::with_seed(1).hash_one(value)
}

fn get(status: u16, path: u64) -> RequestObservation {
    RequestObservation {
        at_ms: 0,
        source: CLIENT,
        site: None,
        is_write: false,
        answered_by_us: false,
        status,
        path_hash: hash(path),
        account_hash: None,
        is_login: false,
        request_bytes: 400,
        response_bytes: 2_000,
        duration_ms: 3,
    }
}

fn login(status: u16, account: u64) -> RequestObservation {
    RequestObservation { is_write: true, is_login: true, account_hash: Some(hash(account)), ..get(status, 0) }
}

fn packets() -> PacketObservation {
    PacketObservation {
        at_ms: 0,
        window_ms: 1_000,
        source: CLIENT,
        role: Role::Wan,
        packets: 0,
        bytes: 0,
        tcp_syn: 0,
        tcp_rst: 0,
        udp: 0,
        icmp: 0,
        distinct_ports: 0,
        port_map: [0; 4],
        host_map: [0; 4],
    }
}

/// Kernel counters of a scan of `ports` ports, of which some were seen before.
fn scan(first: u64, ports: u64) -> PacketObservation {
    let mut seen = PacketObservation { packets: ports, tcp_syn: ports, bytes: ports * 60, ..packets() };
    for port in first..first + ports {
        let bit = hash(port) >> 56;
        seen.port_map[bit as usize / 64] |= 1 << (bit % 64);
    }
    seen
}

/// Kernel counters of packets to one port of `hosts` hosts, of which some were seen before.
fn sweep(first: u64, hosts: u64, packets_each: u64) -> PacketObservation {
    let (packets, tcp_syn) = (hosts * packets_each, hosts);
    let mut seen = PacketObservation { packets, tcp_syn, bytes: packets * 60, ..scan(445, 1) };
    for host in first..first + hosts {
        let bit = hash(host) >> 56;
        seen.host_map[bit as usize / 64] |= 1 << (bit % 64);
    }
    seen
}

/// Observations with their times in ms.
type Scenario = Vec<(u64, Observation)>;

/// `count` observations, `gap_ms` apart.
fn every(gap_ms: u64, count: u64, what: impl Fn(u64) -> Observation) -> Scenario {
    (0..count).map(|n| (n * gap_ms, what(n))).collect()
}

fn request(request: RequestObservation) -> Observation {
    Observation::Request(request)
}

fn connection() -> Observation {
    Observation::Connection(ConnectionObservation { at_ms: 0, source: CLIENT })
}

fn run(scenario: Scenario) -> Vec<Finding> {
    let mut detectors = BehaviourDetectors::new(&DetectConfig::default(), 42);
    let mut out = Vec::new();
    for (after_ms, mut observation) in scenario {
        let at_ms = 1_000_000 + after_ms;
        match &mut observation {
            Observation::Request(seen) => seen.at_ms = at_ms,
            Observation::Connection(seen) => seen.at_ms = at_ms,
            Observation::Packets(seen) => seen.at_ms = at_ms,
            Observation::Conversation(seen) => seen.at_ms = at_ms,
        }
        detectors.observe(&observation, Now { boot_ns: at_ms * 1_000_000, unix_ms: at_ms }, &mut out);
    }
    out
}

#[test]
fn attacks_by_requests_are_found_once() {
    let table: Vec<(&str, Scenario, AttackClass)> = vec![
        ("2,000 requests/s", every(1, 4_000, |n| request(get(200, n % 9))), AttackClass::RequestFlood),
        ("200 requests/s for 8 minutes", every(5, 96_000, |n| request(get(200, n % 9))), AttackClass::RequestFlood),
        ("gobuster: 404 on path after path", every(5, 300, |n| request(get(404, n))), AttackClass::ContentScan),
        (
            "a directory brute force with some hits",
            every(20, 300, |n| request(get(if n % 9 == 0 { 200 } else { 403 }, n))),
            AttackClass::ContentScan,
        ),
        ("one missing path every 5 s", every(5_000, 150, |n| request(get(404, n))), AttackClass::ContentScan),
        ("one missing path every 2 min", every(120_000, 600, |n| request(get(404, n))), AttackClass::ContentScan),
        ("hydra on one account, 401", every(100, 60, |_| request(login(401, 1))), AttackClass::BruteForce),
        ("hydra, the form again with 200", every(200, 60, |_| request(login(200, 1))), AttackClass::BruteForce),
        ("a failed login every 80 s", every(80_000, 45, |_| request(login(401, 1))), AttackClass::BruteForce),
        ("a failed login every 9 min", every(540_000, 170, |_| request(login(403, 1))), AttackClass::BruteForce),
        (
            "HTTP authentication guessed at, no login path",
            every(50, 100, |_| request(get(401, 3))),
            AttackClass::BruteForce,
        ),
        (
            "one password each on many accounts, slower than a brute force",
            every(100_000, 25, |n| request(login(401, n))),
            AttackClass::CredentialStuffing,
        ),
        ("connections that never ask", every(50, 200, |_| connection()), AttackClass::SlowHttp),
        ("a slow trickle of them", every(1_500, 395, |_| connection()), AttackClass::SlowHttp),
        (
            "bodies that never come: each ends in our 408",
            every(20, 400, |n| match n % 2 {
                0 => connection(),
                _ => request(RequestObservation { answered_by_us: true, ..get(408, 1) }),
            }),
            AttackClass::SlowHttp,
        ),
    ];
    assert_found_once(table);
}

#[test]
fn attacks_by_packets_are_found_once() {
    let table: Vec<(&str, Scenario, AttackClass)> = vec![
        ("nmap: 1,000 ports in a second", vec![(0, Observation::Packets(scan(0, 1_000)))], AttackClass::PortScan),
        ("one port every 5 s", every(5_000, 140, |n| Observation::Packets(scan(n, 1))), AttackClass::PortScan),
        ("one port every 4 min", every(240_000, 400, |n| Observation::Packets(scan(n, 1))), AttackClass::PortScan),
        (
            "a LAN device scans",
            every(1_000, 5, |n| Observation::Packets(PacketObservation { role: Role::Lan, ..scan(n * 50, 50) })),
            AttackClass::PortScan,
        ),
        (
            "a worm: 20 hosts a second",
            every(1_000, 8, |n| Observation::Packets(sweep(n * 20, 20, 1))),
            AttackClass::HostSweep,
        ),
        ("a host every 5 s", every(5_000, 115, |n| Observation::Packets(sweep(n, 1, 2))), AttackClass::HostSweep),
        (
            "a banner from each of 300 hosts",
            every(1_000, 8, |n| Observation::Packets(sweep(n * 60, 60, 9))),
            AttackClass::HostSweep,
        ),
        (
            "hping3 -S --flood",
            every(50, 40, |_| {
                Observation::Packets(PacketObservation { window_ms: 50, packets: 400, tcp_syn: 400, ..packets() })
            }),
            AttackClass::SynFlood,
        ),
        (
            "small datagrams",
            every(1_000, 5, |_| {
                Observation::Packets(PacketObservation { packets: 15_000, bytes: 900_000, udp: 15_000, ..packets() })
            }),
            AttackClass::UdpFlood,
        ),
        (
            "hping3 --icmp --flood",
            every(1_000, 5, |_| Observation::Packets(PacketObservation { packets: 9_000, icmp: 9_000, ..packets() })),
            AttackClass::IcmpFlood,
        ),
    ];
    assert_found_once(table);
}

fn assert_found_once(table: Vec<(&str, Scenario, AttackClass)>) {
    for (description, scenario, expected) in table {
        let findings = run(scenario);
        let classes: Vec<_> = findings.iter().map(|f| f.class).collect();
        let slow = classes.len() > 1 && findings.windows(2).all(|p| p[1].at.unix_ms - p[0].at.unix_ms >= 299_000);
        assert!(classes.len() == 1 || slow, "{description}: once, or again after 5 min at the least: {classes:?}");
        assert!(classes.iter().all(|class| *class == expected), "{description}: {classes:?}");
        let first = &findings[0];
        assert!(first.confidence >= 0.8, "{description}: {}", first.confidence);
        let line = &first.evidence.measurements[0];
        assert!(line.value >= line.threshold && line.threshold > 0.0, "{description}: {line:?}");
    }
}

#[test]
fn honest_clients_are_left_alone() {
    let table: Vec<(&str, Scenario)> = vec![
        (
            "a browser: bursts of 60 requests with a few missing icons",
            every(50, 600, |n| request(get(if n % 12 == 0 { 404 } else { 200 }, n % 70))),
        ),
        (
            "a crawler on an old site, a third of its links dead",
            every(1_000, 2_000, |n| request(get(if n % 3 == 0 { 404 } else { 200 }, n))),
        ),
        ("one missing image, asked for over and over", every(100, 2_000, |_| request(get(404, 5)))),
        ("a person who forgot the password", every(8_000, 6, |_| request(login(401, 1)))),
        ("an office of 40 that logs in within the hour", every(60_000, 40, |n| request(login(200, n)))),
        ("a client with an expired token", every(2_500, 20, |_| request(get(401, 5)))),
        (
            "page after page on a connection each",
            every(100, 600, |n| match n % 2 {
                0 => connection(),
                _ => request(get(200, n)),
            }),
        ),
        ("a browser that opens six connections ahead", every(10, 6, |_| connection())),
        (
            "what we refused ourselves says nothing of the application",
            every(10, 900, |n| request(RequestObservation { answered_by_us: true, ..get(403, n) })),
        ),
        (
            "TCP connects: SYN and what follows",
            every(1_000, 60, |_| {
                let one = scan(443, 1);
                Observation::Packets(PacketObservation { packets: 4_000, tcp_syn: 600, bytes: 2_000_000, ..one })
            }),
        ),
        ("a download by QUIC at 100 Mbit/s is not sure", Vec::new()),
        (
            "a LAN device that shares files: 20 peers' ports a minute",
            every(60_000, 8, |n| {
                let peers = scan(n * 20, 20);
                Observation::Packets(PacketObservation { role: Role::Lan, packets: 5_000, bytes: 5_000_000, ..peers })
            }),
        ),
        (
            "a surfer: 30 new hosts a minute, and what they send",
            every(60_000, 9, |n| Observation::Packets(PacketObservation { role: Role::Lan, ..sweep(n * 30, 30, 12) })),
        ),
        (
            "a peer of a file-sharing network: 40 hosts a minute with a port each",
            every(60_000, 9, |n| {
                let (ports, hosts) = (scan(n * 40, 40), sweep(n * 40, 40, 1));
                Observation::Packets(PacketObservation {
                    role: Role::Lan,
                    packets: 3_000,
                    tcp_syn: 20,
                    udp: 900,
                    bytes: 1_000_000,
                    host_map: hosts.host_map,
                    ..ports
                })
            }),
        ),
        ("a load balancer's look at the port every two seconds", every(2_000, 600, |_| connection())),
        (
            "ping, once a second",
            every(1_000, 600, |_| {
                Observation::Packets(PacketObservation { packets: 1, icmp: 1, bytes: 98, ..packets() })
            }),
        ),
    ];
    for (description, scenario) in table {
        let findings = run(scenario);
        assert!(findings.is_empty(), "{description}: {findings:#?}");
    }
}

#[test]
fn a_fast_download_is_told_but_not_as_sure() {
    let download = PacketObservation { packets: 15_000, bytes: 15_000 * 1_250, udp: 15_000, ..packets() };
    let findings = run(every(1_000, 30, |_| Observation::Packets(download)));
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].confidence < 0.8, "policy must not act on it by default");
}

#[test]
fn who_takes_everything_is_told_but_not_as_sure() {
    let findings = run(every(100, 1_500, |n| request(get(200, n))));
    assert_eq!(findings.iter().map(|f| f.class).collect::<Vec<_>>(), [AttackClass::Crawling], "{findings:#?}");
    assert!(findings[0].confidence < 0.8, "a search engine does the same");
}

#[test]
fn one_account_from_many_sources_is_found_at_the_sources_that_persist() {
    let from = |host: u8, status| {
        request(RequestObservation { source: IpAddr::from([203, 0, 113, host]), ..login(status, 77) })
    };
    // 20 sources take turns, a failure every 10 s: no source alone is over any line.
    let mut scenario = every(10_000, 120, |n| from((n % 20) as u8, 401));
    scenario.push((1_200_500, from(200, 401)));
    let findings = run(scenario);
    assert!(findings.iter().all(|f| f.detector == "spread_brute_force"), "{findings:#?}");
    let mut sure: Vec<_> = findings.iter().filter(|f| f.confidence >= 0.8).map(|f| f.source).collect();
    assert!(
        sure.len() <= 60,
        "one finding for a source in five minutes at most, not one for each failure: {}",
        sure.len()
    );
    sure.sort_unstable();
    sure.dedup();
    assert_eq!(sure.len(), 20, "each of the twenty");
    let owner = IpAddr::from([203, 0, 113, 200]);
    assert!(findings.iter().any(|f| f.source == owner && f.confidence < 0.8), "one mistake is not acted on");
}

#[test]
fn the_finding_comes_with_the_observation_that_crosses_the_line() {
    let findings = run(every(100, 15, |n| request(get(404, n))));
    assert_eq!(findings.len(), 1);
    assert!(findings[0].at.unix_ms - 1_000_000 <= 1_600, "{findings:#?}");
}

proptest! {
    #[test]
    fn no_sequence_of_observations_panics(
        steps in prop::collection::vec((any::<u32>(), 0_u8..3, any::<u64>(), any::<u16>(), any::<bool>()), 1..300)
    ) {
        let mut detectors = BehaviourDetectors::new(&DetectConfig::default(), 1);
        let mut out = Vec::new();
        for (time, kind, number, status, flag) in steps {
            let source = IpAddr::from((u128::from(number) << 64).to_be_bytes());
            let at_ms = u64::from(time);
            let observation = match kind {
                0 => Observation::Request(RequestObservation {
                    at_ms: number, source, is_login: flag, is_write: flag, account_hash: flag.then_some(number),
                    request_bytes: number, ..get(status % 600, number)
                }),
                1 => Observation::Connection(ConnectionObservation { at_ms: number, source }),
                _ => Observation::Packets(PacketObservation {
                    at_ms: number, source, packets: number, bytes: u64::MAX, tcp_syn: number, udp: number,
                    window_ms: u32::from(status), port_map: [number; 4], ..packets()
                }),
            };
            detectors.observe(&observation, Now { boot_ns: at_ms * 1_000_000, unix_ms: at_ms }, &mut out);
        }
        prop_assert!(out.iter().all(|finding| (0.0..=1.0).contains(&finding.confidence)));
    }
}

#[test]
fn claims_of_the_source_models_are_told_once() {
    let mut detectors = BehaviourDetectors::new(&DetectConfig::default(), 42);
    let (now, mut out) = (Now { boot_ns: 1_000_000_000_000, unix_ms: 1_000_000 }, Vec::new());
    let origin = ThresholdOrigin::Model { name: "source_classifier".to_owned(), version: "1".to_owned() };
    let bar = |value| crate::model::Bar { value, origin: origin.clone() };
    let claim = |class: &str| crate::model::SourceClaim {
        address: CLIENT,
        class: class.to_owned(),
        confidence: 0.93,
        anomaly: 0.7,
        anomaly_threshold: bar(0.6),
        confidence_threshold: bar(0.9),
        weights: vec![("log_ports_10s", 0.4)],
        model: "source_classifier".to_owned(),
        version: "1".to_owned(),
    };
    detectors.claim(&claim("port_scan"), now, &mut out);
    assert!(out.is_empty(), "of a source that nobody saw there is nothing to tell");
    detectors.observe(&connection(), now, &mut out);
    detectors.claim(&claim("port_scan"), now, &mut out);
    detectors.claim(&claim("port_scan"), now, &mut out);
    assert_eq!(out.len(), 1, "{out:#?}");
    assert_eq!((out[0].class, out[0].detector.as_str()), (AttackClass::PortScan, "source_classifier"));
    assert_eq!(out[0].evidence.weights[0].feature, "log_ports_10s");
    let said: Vec<_> = out[0].evidence.measurements.iter().map(|one| (one.threshold > 0.5, &one.origin)).collect();
    assert_eq!(said, [(true, &Some(origin.clone())), (true, &Some(origin.clone()))]);
    let later = Now { boot_ns: now.boot_ns + 600_000_000_000, ..now };
    detectors.claim(&claim("a class of tomorrow"), later, &mut out);
    assert_eq!(out[1].class, AttackClass::Anomaly);
}
