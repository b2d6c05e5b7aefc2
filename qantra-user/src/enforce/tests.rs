//! The enforcer against a kernel in memory, and its table against the simplest model that is right.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ipnet::IpNet;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::{
    clock::Now,
    config::{Config, parse_net},
    decide::{Action, Decision, DecisionId, Direction, Extension, Origin, Scope, Standing},
    detect::{AttackClass, Evidence, Finding, Severity},
    metrics::Metrics,
};

/// A kernel whose tables are maps; it enforces nothing.
#[derive(Default)]
struct MemoryPlane {
    bans: Mutex<BTreeMap<IpNet, KernelBan>>,
    protected: Mutex<Vec<IpNet>>,
    /// How many bans it takes.
    limit: Option<usize>,
    /// How many bans were asked for.
    asked: AtomicUsize,
}

impl KernelPlane for MemoryPlane {
    fn ban(&self, ban: &KernelBan) -> Result<(), PlaneError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut bans = self.bans.lock();
        if self.limit.is_some_and(|limit| bans.len() >= limit && !bans.contains_key(&ban.net)) {
            return Err(PlaneError::Full { what: "banned addresses", limit: bans.len() as u32, key: "bans_max" });
        }
        let hits = bans.get(&ban.net).map_or_else(BanHits::default, |old| old.hits);
        bans.insert(ban.net, KernelBan { hits, ..*ban });
        Ok(())
    }

    fn unban(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError> {
        Ok(self.bans.lock().remove(&net).map(|ban| ban.hits))
    }

    fn hits(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError> {
        Ok(self.bans.lock().get(&net).map(|ban| ban.hits))
    }

    fn bans(&self) -> Result<Vec<KernelBan>, PlaneError> {
        Ok(self.bans.lock().values().copied().collect())
    }

    fn protect(&self, networks: &[IpNet]) -> Result<(), PlaneError> {
        *self.protected.lock() = networks.to_vec();
        Ok(())
    }
}

impl MemoryPlane {
    fn drop_packets(&self, net: &str, packets: u64, at_boot_ns: u64) {
        if let Some(ban) = self.bans.lock().get_mut(&net_of(net)) {
            let first = if ban.hits.packets == 0 { at_boot_ns } else { ban.hits.first_boot_ns };
            let packets = ban.hits.packets + packets;
            ban.hits = BanHits { packets, bytes: packets * 60, first_boot_ns: first, last_boot_ns: at_boot_ns };
        }
    }

    fn banned(&self) -> Vec<String> {
        self.bans.lock().keys().map(ToString::to_string).collect()
    }
}

const SECOND_NS: u64 = 1_000_000_000;

fn at(second: u64) -> Now {
    Now { boot_ns: (1_000 + second) * SECOND_NS, unix_ms: (1_700_000_000 + second) * 1_000 }
}

fn net_of(text: &str) -> IpNet {
    parse_net(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn decision(id: u64, scope: &str, action: Action, seconds: Option<u64>) -> Decision {
    Decision {
        id: DecisionId(id),
        scope: Scope(net_of(scope)),
        direction: Direction::Source,
        action,
        class: None,
        origin: Origin::Cli,
        reason: "test".into(),
        created_unix_ms: at(0).unix_ms,
        expires_unix_ms: seconds.map(|s| at(s).unix_ms),
        simulated: false,
        previous_offences: 0,
        findings: Vec::new(),
    }
}

fn found(id: u64, scope: &str, source: &str) -> Decision {
    let finding = Finding {
        at: at(0),
        source: ip(source),
        class: AttackClass::PortScan,
        confidence: 1.0,
        severity: Severity::High,
        detector: "port_scan".into(),
        detector_version: "1".into(),
        site: None,
        evidence: Evidence::default(),
    };
    Decision {
        origin: Origin::Detector,
        class: Some(AttackClass::PortScan),
        findings: vec![finding],
        ..decision(id, scope, Action::Block, Some(60))
    }
}

fn with_plane(plane: &Arc<MemoryPlane>) -> Enforcer {
    Enforcer::new(Some(Arc::clone(plane) as Arc<dyn KernelPlane>), Arc::new(Metrics::new().unwrap()), false)
}

fn enforcer() -> (Arc<MemoryPlane>, Enforcer) {
    let plane = Arc::new(MemoryPlane::default());
    let enforcer = with_plane(&plane);
    (plane, enforcer)
}

fn standing(enforcer: &Enforcer, address: &str, second: u64) -> Option<(Action, u64)> {
    enforcer
        .standing(ip(address), at(second).boot_ns)
        .map(|Standing { action, decision }| (action, decision.map_or(0, |id| id.0)))
}

#[test]
fn a_block_reaches_both_planes_and_ends_by_itself() {
    let (plane, enforcer) = enforcer();
    let applied = enforcer.apply(decision(1, "203.0.113.7", Action::Block, Some(60)), at(0)).unwrap();
    assert!(matches!(applied.kernel, KernelOutcome::Banned));
    let ban = plane.bans().unwrap()[0];
    assert_eq!((ban.decision, ban.expires_boot_ns), (DecisionId(1), Some(at(60).boot_ns)));
    assert_eq!(standing(&enforcer, "203.0.113.7", 1), Some((Action::Block, 1)));
    assert_eq!(standing(&enforcer, "::ffff:203.0.113.7", 1), Some((Action::Block, 1)));
    assert_eq!(standing(&enforcer, "203.0.113.8", 1), None);
    assert_eq!(standing(&enforcer, "203.0.113.7", 60), None, "before any sweep");

    plane.drop_packets("203.0.113.7", 5, at(2).boot_ns);
    assert!(enforcer.sweep(at(59)).is_empty());
    let ended = enforcer.sweep(at(60));
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].reason, EndReason::Expired);
    assert_eq!((ended[0].hits.kernel.packets, ended[0].hits.requests), (5, 2));
    assert!(plane.banned().is_empty());
    assert_eq!(enforcer.summary(), Summary::default());
}

#[test]
fn other_actions_leave_the_kernel_alone_and_the_strongest_wins() {
    let (plane, enforcer) = enforcer();
    for (id, scope, action, seconds) in [
        (1, "203.0.113.0/24", Action::Throttle, None),
        (2, "203.0.113.7", Action::Observe, None),
        (3, "203.0.113.7", Action::Forward, Some(10)),
    ] {
        enforcer.apply(decision(id, scope, action, seconds), at(0)).unwrap();
    }
    assert!(plane.banned().is_empty());
    assert_eq!(standing(&enforcer, "203.0.113.7", 1), Some((Action::Forward, 3)));
    assert_eq!(standing(&enforcer, "203.0.113.7", 10), Some((Action::Throttle, 1)));
    assert_eq!(standing(&enforcer, "203.0.113.9", 1), Some((Action::Throttle, 1)));
}

#[test]
fn what_is_protected_is_refused_with_the_reason() {
    let (plane, enforcer) = enforcer();
    let mut config = Config::default();
    config.protect.networks = vec![net_of("192.0.2.0/24")];
    enforcer.set_protected(ProtectedSet::from_config(&config), at(0)).unwrap();
    assert!(plane.protected.lock().contains(&net_of("192.0.2.0/24")));
    for (scope, said) in [
        ("192.0.2.9", "192.0.2.9 covers 192.0.2.0/24, which is protected: listed in `protect.networks`"),
        ("0.0.0.0/0", "0.0.0.0/0 covers 127.0.0.0/8, which is protected: an address of this box"),
        ("::1", "::1 covers ::1/128, which is protected: an address of this box"),
    ] {
        let error = enforcer.apply(decision(1, scope, Action::Block, None), at(0)).unwrap_err();
        assert_eq!(error.to_string(), said);
    }
    assert!(plane.banned().is_empty());
    assert_eq!(enforcer.summary().decisions, 0);
}

#[test]
fn a_detectors_range_is_narrowed_to_its_source() {
    let (plane, enforcer) = enforcer();
    let mut config = Config::default();
    config.protect.networks = vec![net_of("2001:db8::1")];
    enforcer.set_protected(ProtectedSet::from_config(&config), at(0)).unwrap();
    let applied = enforcer.apply(found(1, "2001:db8::/64", "2001:db8::bad"), at(0)).unwrap();
    assert_eq!(applied.decision.scope.to_string(), "2001:db8::bad");
    assert_eq!(plane.banned(), ["2001:db8::bad/128"]);
    assert!(enforcer.apply(found(2, "2001:db8::/64", "2001:db8::1"), at(0)).is_err());
}

#[test]
fn the_allowlist_wins_over_a_range_and_ends() {
    let (_, enforcer) = enforcer();
    enforcer.apply(decision(1, "203.0.113.0/24", Action::Block, None), at(0)).unwrap();
    let entry = AllowEntry {
        net: net_of("203.0.113.7"),
        comment: "office".into(),
        created_unix_ms: 0,
        expires_unix_ms: Some(at(30).unix_ms),
    };
    enforcer.set_allowlist(vec![entry], at(0)).unwrap();
    assert_eq!(standing(&enforcer, "203.0.113.7", 1), None);
    assert_eq!(standing(&enforcer, "203.0.113.8", 1), Some((Action::Block, 1)));
    let error = enforcer.apply(decision(2, "203.0.113.7", Action::Block, None), at(1)).unwrap_err();
    assert!(error.to_string().ends_with("on the allowlist (office)"), "{error}");
    enforcer.sweep(at(30));
    assert_eq!(standing(&enforcer, "203.0.113.7", 30), Some((Action::Block, 1)));
}

#[test]
fn two_bans_of_one_prefix_are_one_in_the_kernel() {
    let (plane, enforcer) = enforcer();
    enforcer.apply(decision(1, "203.0.113.7", Action::Block, Some(60)), at(0)).unwrap();
    let outbound =
        Decision { direction: Direction::Destination, ..decision(2, "203.0.113.7", Action::Block, Some(90)) };
    enforcer.apply(outbound, at(0)).unwrap();
    let ban = plane.bans().unwrap()[0];
    assert_eq!((ban.direction, ban.decision), (Direction::Both, DecisionId(2)));
    enforcer.sweep(at(60));
    assert_eq!(plane.bans().unwrap()[0].direction, Direction::Destination);
    assert_eq!(standing(&enforcer, "203.0.113.7", 61), None, "a destination is no client");
    enforcer.end(DecisionId(2), EndReason::Deleted, at(61)).unwrap();
    assert!(plane.banned().is_empty());
}

#[test]
fn a_longer_ban_takes_the_place_of_a_shorter_one_and_keeps_its_count() {
    let (plane, enforcer) = enforcer();
    enforcer.apply(found(1, "203.0.113.7", "203.0.113.7"), at(0)).unwrap();
    plane.drop_packets("203.0.113.7", 3, at(1).boot_ns);
    let mut longer = found(2, "203.0.113.7", "203.0.113.7");
    longer.expires_unix_ms = Some(at(240).unix_ms);
    let applied = enforcer.apply(longer, at(2)).unwrap();
    assert_eq!(applied.ended.iter().map(|over| over.reason).collect::<Vec<_>>(), [EndReason::Replaced]);
    assert_eq!(enforcer.hits(DecisionId(2)).unwrap().kernel.packets, 3);
    assert_eq!(enforcer.active().len(), 1);
}

#[test]
fn an_extension_adds_its_finding_and_moves_the_end_on_both_planes() {
    let (plane, enforcer) = enforcer();
    enforcer.apply(found(1, "198.51.100.7", "198.51.100.7"), at(0)).expect("applied");
    let finding = found(2, "198.51.100.7", "198.51.100.7").findings.remove(0);
    let end = at(9_000).unix_ms;
    let extension =
        Extension { id: DecisionId(1), finding: finding.clone(), expires_unix_ms: Some(end), is_longer: true };
    let extended = enforcer.extend(extension, at(5)).expect("in force");
    assert_eq!((extended.findings.len(), extended.expires_unix_ms), (2, Some(end)));
    let in_kernel = plane.bans.lock()[&net_of("198.51.100.7/32")];
    assert_eq!(in_kernel.expires_boot_ns, Some(at(9_000).boot_ns));
    assert!(enforcer.sweep(at(8_999)).is_empty());
    assert_eq!(enforcer.sweep(at(9_001)).len(), 1);

    let gone = Extension { id: DecisionId(1), finding, expires_unix_ms: None, is_longer: true };
    assert!(enforcer.extend(gone, at(9_002)).is_none(), "no longer in force");
}

#[test]
fn simulation_lifts_everything_and_puts_it_back() {
    let (plane, enforcer) = enforcer();
    enforcer.apply(decision(1, "203.0.113.7", Action::Block, None), at(0)).unwrap();
    plane.drop_packets("203.0.113.7", 4, at(1).boot_ns);
    enforcer.set_simulation(true);
    assert!(plane.banned().is_empty());
    assert_eq!(standing(&enforcer, "203.0.113.7", 1), None);
    let applied = enforcer.apply(decision(2, "203.0.113.8", Action::Block, None), at(1)).unwrap();
    assert!(applied.decision.simulated);
    enforcer.set_simulation(false);
    assert_eq!(plane.banned(), ["203.0.113.7/32"], "what was simulated stays so");
    assert_eq!(standing(&enforcer, "203.0.113.8", 2), None);
    plane.drop_packets("203.0.113.7", 6, at(3).boot_ns);
    let hits = enforcer.hits(DecisionId(1)).unwrap();
    assert_eq!((hits.kernel.packets, hits.kernel.first_boot_ns), (10, at(1).boot_ns));
}

#[test]
fn a_full_kernel_leaves_the_proxy_to_enforce() {
    let plane = Arc::new(MemoryPlane { limit: Some(1), ..MemoryPlane::default() });
    let enforcer = with_plane(&plane);
    enforcer.apply(decision(1, "203.0.113.7", Action::Block, None), at(0)).unwrap();
    let applied = enforcer.apply(decision(2, "203.0.113.8", Action::Block, None), at(0)).unwrap();
    assert!(matches!(applied.kernel, KernelOutcome::Failed(PlaneError::Full { .. })));
    assert_eq!(standing(&enforcer, "203.0.113.8", 1), Some((Action::Block, 2)));
}

#[test]
fn a_refused_ban_is_tried_again_when_there_is_room() {
    let plane = Arc::new(MemoryPlane { limit: Some(1), ..MemoryPlane::default() });
    let enforcer = with_plane(&plane);
    enforcer.apply(decision(1, "203.0.113.7", Action::Block, Some(100)), at(0)).unwrap();
    enforcer.apply(decision(2, "203.0.113.8", Action::Block, None), at(0)).unwrap();
    enforcer.apply(decision(3, "203.0.113.9", Action::Block, Some(50)), at(0)).unwrap();
    assert_eq!((enforcer.summary().kernel_bans, enforcer.summary().kernel_refused), (1, 2));
    let before = plane.asked.load(Ordering::Relaxed);
    (1..100).for_each(|second| drop(enforcer.sweep(at(second))));
    let tries = plane.asked.load(Ordering::Relaxed) - before;
    assert!((4..10).contains(&tries), "{tries} tries in 99 s: once, then after 1, 2, 4, 8, 16, 32 and 64 s");
    assert_eq!(enforcer.summary().kernel_refused, 1, "what ended is no longer wanted");
    assert_eq!(plane.banned(), ["203.0.113.7/32"]);
    // The one in the kernel ends: there is room in the same sweep.
    enforcer.sweep(at(100));
    assert_eq!(plane.banned(), ["203.0.113.8/32"]);
    assert_eq!(enforcer.summary().kernel_refused, 0);
}

#[test]
fn many_at_once_are_as_one_by_one() {
    let (plane, enforcer) = enforcer();
    let mut config = Config::default();
    config.protect.networks = vec![net_of("192.0.2.1")];
    enforcer.set_protected(ProtectedSet::from_config(&config), at(0)).unwrap();
    let mut decisions: Vec<Decision> =
        (0..600_u64).map(|n| decision(n, &format!("203.0.{}.{}", n / 256, n % 256), Action::Block, None)).collect();
    decisions.push(decision(900, "192.0.2.1", Action::Block, None));
    decisions.push(decision(901, "203.0.0.5", Action::Block, Some(60)));
    let outcomes = enforcer.apply_all(decisions, at(0));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 601);
    assert!(matches!(outcomes[600], Err(EnforceError::Protected { .. })));
    assert_eq!(outcomes[601].as_ref().unwrap().ended.len(), 1, "a person's later word replaces the earlier");
    assert_eq!(plane.banned().len(), 600);
    assert_eq!(standing(&enforcer, "203.0.2.87", 1), Some((Action::Block, 599)));
    assert_eq!(standing(&enforcer, "203.0.0.5", 1), Some((Action::Block, 901)));
    assert_eq!(standing(&enforcer, "203.0.0.5", 61), None);
}

#[test]
fn a_restart_adopts_adds_and_removes() {
    let (plane, before) = enforcer();
    let first = decision(1, "203.0.113.1", Action::Block, Some(600));
    let throttled = decision(2, "203.0.113.2", Action::Throttle, Some(600));
    for kept in [
        &first,
        &throttled,
        &decision(3, "203.0.113.3", Action::Block, Some(600)),
        &decision(9, "203.0.113.9", Action::Block, Some(20)),
    ] {
        before.apply(kept.clone(), at(0)).unwrap();
    }
    plane.drop_packets("203.0.113.1", 7, at(5).boot_ns);
    drop(before);

    let after = with_plane(&plane);
    let missing = decision(4, "203.0.113.4", Action::Block, Some(600));
    let over = decision(5, "203.0.113.5", Action::Block, Some(10));
    let stored = [first, throttled, missing, over].map(|d| (d, DecisionHits::default())).to_vec();
    let done = after.restore(stored, at(30)).unwrap();
    assert_eq!((done.adopted, done.added, done.removed), (1, 1, 1));
    assert_eq!(done.orphans.iter().map(|d| d.id).collect::<Vec<_>>(), [DecisionId(3)]);
    assert_eq!(plane.banned(), ["203.0.113.1/32", "203.0.113.3/32", "203.0.113.4/32"]);
    assert_eq!(standing(&after, "203.0.113.2", 31), Some((Action::Throttle, 2)));
    assert_eq!(standing(&after, "203.0.113.3", 31), Some((Action::Block, 3)));
    assert_eq!(after.hits(DecisionId(1)).unwrap().kernel.packets, 7);
}

#[test]
fn a_restart_in_simulation_lifts_what_is_pinned() {
    let (plane, before) = enforcer();
    before.apply(decision(1, "203.0.113.1", Action::Block, None), at(0)).unwrap();
    before.apply(decision(2, "203.0.113.2", Action::Block, None), at(0)).unwrap();
    let after = Enforcer::new(Some(plane.clone()), Arc::new(Metrics::new().unwrap()), true);
    let stored = vec![(decision(1, "203.0.113.1", Action::Block, None), DecisionHits::default())];
    after.restore(stored, at(1)).unwrap();
    assert!(plane.banned().is_empty());
}

#[test]
fn requests_are_counted_and_read_back() {
    let (plane, enforcer) = enforcer();
    enforcer.apply(decision(1, "203.0.113.7", Action::Block, None), at(0)).unwrap();
    enforcer.apply(decision(2, "203.0.113.8", Action::Throttle, None), at(0)).unwrap();
    assert!(enforcer.read_back().unwrap().is_empty());
    standing(&enforcer, "203.0.113.8", 1);
    enforcer.count_request(DecisionId(2), at(4).boot_ns);
    plane.drop_packets("203.0.113.7", 9, at(1).boot_ns);
    let mut read = enforcer.read_back().unwrap();
    read.sort_by_key(|(id, _)| *id);
    let counts: Vec<_> = read.iter().map(|(id, hits)| (id.0, hits.kernel.packets, hits.requests)).collect();
    assert_eq!(counts, [(1, 9, 0), (2, 0, 2)]);
}

/// `cargo test --release -p qantra-user --lib -- --ignored --nocapture how_long`: prints, asserts nothing about time.
#[test]
#[ignore = "prints timings for people"]
fn how_long_a_decision_and_a_look_take_with_100_000_in_force() {
    let (_, enforcer) = enforcer();
    let net = |n: u64| Ipv4Addr::from(0x0b00_0000 + n as u32).to_string();
    let mut took_ns = Vec::new();
    for n in 0..100_000 {
        let new = decision(n, &net(n), Action::Block, Some(3_600));
        let begin = crate::clock::boot_ns();
        enforcer.apply(new, at(0)).unwrap();
        took_ns.push(crate::clock::boot_ns() - begin);
    }
    let last = &mut took_ns[90_000..];
    last.sort_unstable();
    println!("apply: median {} ns, p99 {} ns", last[5_000], last[9_900]);
    let addresses: Vec<IpAddr> = (0..200_000).map(|n| ip(&net(n * 7_919 % 200_000))).collect();
    let begin = crate::clock::boot_ns();
    let banned = addresses.iter().filter(|address| enforcer.standing(**address, at(1).boot_ns).is_some()).count();
    println!("standing: {} ns each, half of them banned", (crate::clock::boot_ns() - begin) / 200_000);
    assert_eq!(banned, 100_000);
}

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    Apply { id: u64, address: u32, prefix: u8, action: Action, seconds: u64 },
    End { id: u64 },
    Pass { seconds: u64 },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let action = prop_oneof![Just(Action::Observe), Just(Action::Throttle), Just(Action::Forward), Just(Action::Block)];
    prop_oneof![
        4 => (0..40_u64, 0..64_u32, prop_oneof![Just(26_u8), Just(28), Just(31), Just(32)], action, 1..20_u64)
            .prop_map(|(id, address, prefix, action, seconds)| Step::Apply { id, address, prefix, action, seconds }),
        1 => (0..40_u64).prop_map(|id| Step::End { id }),
        1 => (1..5_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Sweep),
    ]
}

fn address(low: u32) -> IpAddr {
    Ipv4Addr::from(0xcb00_7100 + low).into()
}

proptest! {
    /// The model: a list of decisions, searched from end to end.
    #[test]
    fn the_table_is_the_naive_model(steps in proptest::collection::vec(step(), 1..60)) {
        let (plane, enforcer) = enforcer();
        let mut model: Vec<Decision> = Vec::new();
        let mut second = 0;
        for step in steps {
            match step {
                Step::Apply { id, address: low, prefix, action, seconds } => {
                    // An id stands for one decision: a used one is ended first.
                    enforcer.end(DecisionId(id), EndReason::Deleted, at(second));
                    model.retain(|d| d.id.0 != id);
                    let scope = Scope(IpNet::new(address(low), prefix).unwrap().trunc());
                    let new = Decision { scope, expires_unix_ms: Some(at(second + seconds).unix_ms), ..decision(id, "203.0.113.0", action, None) };
                    model.retain(|d| d.scope != scope || d.action != action);
                    model.push(new.clone());
                    enforcer.apply(new, at(second)).unwrap();
                }
                Step::End { id } => {
                    enforcer.end(DecisionId(id), EndReason::Deleted, at(second));
                    model.retain(|d| d.id.0 != id);
                }
                Step::Pass { seconds } => second += seconds,
                Step::Sweep => {
                    enforcer.sweep(at(second));
                    model.retain(|d| !d.is_expired(at(second).unix_ms));
                }
            }
            let in_force = |d: &&Decision| !d.is_expired(at(second).unix_ms);
            for low in 0..64 {
                let client = address(low);
                let expected = model.iter().filter(in_force).filter(|d| d.scope.0.contains(&client)).map(|d| d.action).max();
                let seen = enforcer.standing(client, at(second).boot_ns);
                prop_assert_eq!(seen.map(|s| s.action), expected);
                if let Some(seen) = seen {
                    prop_assert!(model.iter().any(|d| Some(d.id) == seen.decision && d.action == seen.action && d.scope.0.contains(&client)));
                }
            }
            let mut banned: Vec<String> = model.iter().filter(|d| d.action == Action::Block).map(|d| d.scope.0.to_string()).collect();
            banned.sort();
            let mut in_kernel = plane.banned();
            in_kernel.sort();
            prop_assert_eq!(in_kernel, banned);
            prop_assert_eq!(enforcer.summary().decisions, model.len());
        }
    }

    #[test]
    fn prefix_lengths_find_what_contains(entries in proptest::collection::vec((any::<u128>(), 0..=128_u8), 0..20), probe in any::<u128>(), near in 0..20_usize) {
        let nets: Vec<IpNet> = entries.iter().map(|(bits, len)| IpNet::new(IpAddr::V6((*bits).into()), *len).unwrap().trunc()).collect();
        let probe = nets.get(near).map_or(IpAddr::V6(probe.into()), |net| net.addr());
        let map: prefix::PrefixMap<IpNet> = nets.iter().map(|net| (*net, *net)).collect();
        let mut expected: Vec<IpNet> = nets.iter().filter(|net| net.contains(&probe)).copied().collect();
        expected.sort();
        expected.dedup();
        let mut found: Vec<IpNet> = map.covering(probe).copied().collect();
        found.sort();
        // IPv4 in IPv6 clothes is looked up as IPv4, which this map has none of.
        if probe.to_canonical() == probe {
            prop_assert_eq!(found, expected);
        }
    }
}
