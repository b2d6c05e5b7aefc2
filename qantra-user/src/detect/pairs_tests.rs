//! Calls and uploads of devices, and whether they are told.

use std::net::IpAddr;

use super::{AttackClass, BehaviourDetectors, Finding, Severity};
use crate::{
    clock::Now,
    config::DetectConfig,
    flow::{ConversationEvent, ConversationObservation, LocalNetworks, Observation, Transport},
};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

/// Who did what, after how many ms.
type Told = (u64, ConversationObservation);

fn began(device: u8, destination: [u8; 4], port: u16) -> ConversationObservation {
    ConversationObservation {
        at_ms: 0,
        source: IpAddr::from([192, 168, 1, device]),
        destination: IpAddr::from(destination),
        port,
        transport: Transport::Tcp,
        event: ConversationEvent::Began,
    }
}

fn carried(conversation: ConversationObservation, sent_bytes: u64, received_bytes: u64) -> ConversationObservation {
    let event = ConversationEvent::Carried { sent_bytes, received_bytes, sent_packets: sent_bytes.div_ceil(1_400) };
    ConversationObservation { event, ..conversation }
}

/// `count` calls of some bytes, with gaps that are up to 30 % longer or shorter.
fn calls(device: u8, port: u16, gap_ms: u64, count: u64, bytes: u64) -> Vec<Told> {
    let (call, mut at_ms) = (began(device, [203, 0, 113, 9], port), 0);
    let mut told = Vec::new();
    for n in 0..count {
        told.extend([(at_ms, call), (at_ms + 200, carried(call, bytes, bytes))]);
        // Multiplied by the golden ratio, counting gives numbers that are spread evenly and look like none.
        let even = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        at_ms += gap_ms * 7 / 10 + gap_ms * 6 / 10 * even / 65_536;
    }
    told
}

fn upload(device: u8, after_ms: u64, mib: u64) -> Vec<Told> {
    let call = began(device, [203, 0, 113, 77], 443);
    let parts = (1..=mib).map(|n| (after_ms + n * SECOND, carried(call, 1 << 20, 20_000)));
    std::iter::once((after_ms, call)).chain(parts).collect()
}

fn later(by_ms: u64, told: Vec<Told>) -> Vec<Told> {
    told.into_iter().map(|(at_ms, seen)| (at_ms + by_ms, seen)).collect()
}

fn found(parts: Vec<Vec<Told>>) -> Vec<Finding> {
    found_but_for(&[], parts)
}

/// The same by a process that knows what one before it told of the device 192.168.1.7.
fn found_but_for(told_before: &[&str], parts: Vec<Vec<Told>>) -> Vec<Finding> {
    let mut told: Vec<Told> = parts.into_iter().flatten().collect();
    told.sort_by_key(|(at_ms, _)| *at_ms);
    let local = LocalNetworks::new(vec!["192.168.1.0/24".parse().unwrap()]);
    let calls_told = told_before.iter().map(|whom| (IpAddr::from([192, 168, 1, 7]), (*whom).to_owned()));
    let mut detectors =
        BehaviourDetectors::new(&DetectConfig::default(), 42).with_local(local).with_calls_told(calls_told);
    let mut out = Vec::new();
    for (after_ms, seen) in told {
        let at_ms = 10_000_000 + after_ms;
        let now = Now { boot_ns: at_ms * 1_000_000, unix_ms: at_ms };
        detectors.observe(&Observation::Conversation(ConversationObservation { at_ms, ..seen }), now, &mut out);
    }
    out
}

#[test]
fn calls_home_are_told_once_whatever_their_period_and_jitter() {
    for gap_s in [10, 30, 60, 300, 3_600] {
        let found = found(vec![calls(7, 443, gap_s * SECOND, 30, 600)]);
        let [finding] = found.as_slice() else { unreachable!("every {gap_s} s: {found:#?}") };
        assert_eq!((finding.class, finding.severity), (AttackClass::Beaconing, Severity::Low));
        assert_eq!(finding.source, IpAddr::from([192, 168, 1, 7]));
        assert_eq!(finding.evidence.value.as_deref(), Some("203.0.113.9:443/tcp"));
        assert!(finding.confidence < 0.5, "the habit is as old as the device");
        let median = finding.evidence.measurements.iter().find(|m| m.name == "gap_median_s").map(|m| m.value);
        assert!(median.is_some_and(|s| (s / gap_s as f64 - 1.0).abs() < 0.3), "{median:?}");
    }
}

#[test]
fn a_habit_that_is_new_to_a_known_device_is_surer() {
    let known = vec![(0, began(7, [198, 51, 100, 4], 443))];
    let found = found(vec![known, later(20 * MINUTE, calls(7, 443, 30 * SECOND, 30, 600))]);
    assert!(found.len() == 1 && found[0].confidence > 0.5, "{found:#?}");
}

#[test]
fn of_habits_as_old_as_the_device_one_is_told_a_day() {
    let second = later(SECOND, calls(7, 8_443, 40 * SECOND, 40, 600));
    let found = found(vec![calls(7, 443, 30 * SECOND, 50, 600), second]);
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn regular_but_honest_is_left_alone() {
    let table: Vec<(&str, Vec<Vec<Told>>)> = vec![
        ("a time server", vec![calls(7, 123, 64 * SECOND, 60, 90)]),
        ("a broker that is reached anew", vec![calls(7, 8_883, 60 * SECOND, 60, 400)]),
        ("a service that everybody uses", (1..=6).map(|device| calls(device, 443, 60 * SECOND, 40, 600)).collect()),
        ("a video's segments", vec![calls(7, 443, 5 * SECOND, 200, 800_000)]),
        ("a page that is read for two minutes", vec![calls(7, 443, 5 * SECOND, 24, 600)]),
        ("a monitor of eight services", {
            let each = |port: u16| calls(7, 8_000 + port, 30 * SECOND, 60, 300);
            vec![(0..8).flat_map(each).collect()]
        }),
        ("another device of the LAN", {
            let call = began(7, [192, 168, 1, 3], 443);
            vec![(0..60).map(|n| (n * 30 * SECOND, call)).collect()]
        }),
        ("somebody on the Internet who calls in", {
            let call =
                ConversationObservation { source: IpAddr::from([203, 0, 113, 5]), ..began(7, [192, 168, 1, 7], 443) };
            vec![(0..60).map(|n| (n * 30 * SECOND, call)).collect()]
        }),
        ("a maker who is gone", {
            let calls = calls(7, 443, 30 * SECOND, 60, 300).into_iter();
            let unanswered = |seen: ConversationObservation| match seen.event {
                ConversationEvent::Carried { .. } => carried(seen, 180, 0),
                ConversationEvent::Began => seen,
            };
            vec![calls.map(|(at_ms, seen)| (at_ms, unanswered(seen))).collect()]
        }),
        ("errands by chance", {
            let gaps = (0..200_u64).map(|n| 4 * SECOND + (n * 7_919 % 97).pow(2) * 12);
            let at = gaps.scan(0, |at_ms, gap_ms| {
                *at_ms += gap_ms;
                Some((*at_ms, began(7, [203, 0, 113, 9], 443)))
            });
            vec![at.collect()]
        }),
    ];
    for (what, told) in table {
        let found = found(told);
        assert!(found.is_empty(), "{what}: {found:#?}");
    }
}

#[test]
fn an_upload_beyond_what_a_device_used_to_send_is_told_once() {
    let known = || vec![(0, began(7, [198, 51, 100, 4], 443))];
    let backup = || upload(7, MINUTE, 40);
    let cases: Vec<(&str, Vec<Vec<Told>>, usize)> = vec![
        ("by a known device that never did", vec![known(), upload(7, 15 * MINUTE, 50)], 1),
        ("by one of which nothing is known", vec![upload(7, 0, 50)], 0),
        ("much by one of which nothing is known", vec![upload(7, 0, 400)], 1),
        ("by one that backs up as much", vec![backup(), upload(7, 25 * MINUTE, 60)], 0),
        ("far more than its backups", vec![backup(), upload(7, 25 * MINUTE, 250)], 1),
        (
            "to where five devices send",
            {
                let others = (1..=5).map(|device| vec![(0, began(device, [203, 0, 113, 77], 443))]);
                others.chain([known(), upload(7, 15 * MINUTE, 100)]).collect()
            },
            0,
        ),
    ];
    for (what, told, expected) in cases {
        let found = found(told);
        assert_eq!(found.len(), expected, "{what}: {found:#?}");
        assert!(found.iter().all(|finding| finding.class == AttackClass::Exfiltration), "{what}: {found:#?}");
    }
}

#[test]
fn questions_too_long_for_names_are_a_tunnel() {
    let resolver = ConversationObservation { transport: Transport::Udp, ..began(7, [192, 168, 1, 1], 53) };
    let asked = |bytes: u64, count: u64| {
        let event =
            ConversationEvent::Carried { sent_bytes: bytes * count, received_bytes: 200 * count, sent_packets: count };
        (0..30).map(|n| (n * SECOND, ConversationObservation { event, ..resolver })).collect::<Vec<Told>>()
    };
    let tunnel = found(vec![asked(230, 120)]);
    assert_eq!(tunnel.iter().map(|finding| finding.class).collect::<Vec<_>>(), [AttackClass::Exfiltration]);
    assert!(found(vec![asked(72, 900)]).is_empty(), "a mail server asks for many names");
}

#[test]
fn a_service_that_many_hosts_are_asked_for_by_udp_is_a_sweep() {
    let asked = |port: u16, hosts: u8, every_ms: u64| {
        let ask =
            move |n: u8| ConversationObservation { transport: Transport::Udp, ..began(7, [203, 0, 113, n], port) };
        (0..hosts).map(|n| (u64::from(n) * every_ms, ask(n))).collect::<Vec<Told>>()
    };
    for every_ms in [20, 4_000] {
        let found = found(vec![asked(161, 200, every_ms)]);
        assert!(!found.is_empty() && found.iter().all(|finding| finding.class == AttackClass::HostSweep), "{found:#?}");
    }
    for (what, told) in [
        ("a page over QUIC", asked(443, 200, 20)),
        ("a resolver of one's own", asked(53, 200, 20)),
        ("a game's list of servers", asked(27_015, 200, 20)),
        ("a monitor of thirty hosts", asked(161, 30, 20)),
    ] {
        assert!(found(vec![told]).is_empty(), "{what}");
    }
}

/// The calls of `calls`, to another address.
fn moved(last: u8, told: Vec<Told>) -> Vec<Told> {
    let destination = IpAddr::from([203, 0, 113, last]);
    told.into_iter().map(|(at_ms, seen)| (at_ms, ConversationObservation { destination, ..seen })).collect()
}

#[test]
fn a_caller_whose_name_leads_elsewhere_is_not_told_again() {
    let first = calls(7, 443, 30 * SECOND, 40, 600);
    let then = |gap_ms, after_ms| moved(10, later(after_ms, calls(7, 443, gap_ms, 40, 600)));
    let after = 40 * 30 * SECOND;
    assert_eq!(found(vec![first.clone(), then(30 * SECOND, after)]).len(), 1, "as the calls before end");
    let whom = |found: Vec<Finding>| found.into_iter().filter_map(|one| one.evidence.value).collect::<Vec<_>>();
    let both = ["203.0.113.9:443/tcp", "203.0.113.10:443/tcp"];
    assert_eq!(whom(found(vec![first.clone(), then(30 * SECOND, after / 2)])), both, "beside the calls before");
    assert_eq!(whom(found(vec![first, then(60 * SECOND, after)])), both, "with another period");
}

#[test]
fn a_restart_tells_nothing_again() {
    let again = || calls(7, 443, 30 * SECOND, 40, 600);
    assert!(found_but_for(&["203.0.113.9:443/tcp"], vec![again()]).is_empty());
    assert_eq!(found_but_for(&["203.0.113.9:8443/tcp"], vec![again()]).len(), 1, "at another port");
    let elsewhere = moved(10, later(40 * 30 * SECOND, again()));
    assert!(found_but_for(&["203.0.113.9:443/tcp"], vec![again(), elsewhere]).is_empty(), "and then elsewhere");
}
