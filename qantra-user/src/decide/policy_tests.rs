//! Tables: findings one after the other, and what policy makes of each.

use std::net::IpAddr;

use super::*;
use crate::{
    clock::Now,
    config::{PolicyConfig, PolicyRule},
    detect::{AttackClass, Evidence, Finding, RequestRef, Severity},
    flow::LocalNetworks,
};

const HOUR_S: u64 = 3_600;
const START_MS: u64 = 1_800_000_000_000;

fn at(second: u64) -> Now {
    Now { boot_ns: second * 1_000_000_000, unix_ms: START_MS + second * 1_000 }
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap_or_default()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

fn behaviour(class: AttackClass) -> Finding {
    Finding {
        at: at(0),
        source: address("198.51.100.7"),
        class,
        confidence: 0.9,
        severity: Severity::High,
        detector: class.as_str().to_owned(),
        detector_version: "1".to_owned(),
        site: None,
        evidence: Evidence::default(),
    }
}

fn request(class: AttackClass) -> Finding {
    let request = RequestRef { id: "r".to_owned(), method: "GET".to_owned(), path: "/".to_owned() };
    Finding {
        site: Some("shop".to_owned()),
        evidence: Evidence { request: Some(request), field: Some("query.id".to_owned()), ..Evidence::default() },
        ..behaviour(class)
    }
}

/// What is expected of one finding, in short.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expect {
    Unsure,
    Protected,
    /// A new decision: action, seconds, earlier offences.
    New(Action, u64, u32),
    /// The decision that the finding at this place made, until so many seconds after the start.
    More(u64, u64),
}

/// (second, finding, what becomes of the source, what becomes of the request)
type Step = (u64, Finding, Expect, Option<Action>);

fn check(description: &str, policy: &mut Policy, steps: Vec<Step>) {
    for (place, (second, finding, expected, request_action)) in steps.into_iter().enumerate() {
        let outcome = policy.decide(finding, DecisionId(place as u64), at(second));
        let got = match &outcome.effect {
            Effect::Ignored(Ignored::Unsure) => Expect::Unsure,
            Effect::Ignored(Ignored::Protected(_)) => Expect::Protected,
            Effect::Decided(decision) => {
                let lasts_ms = decision.expires_unix_ms.unwrap_or(0) - decision.created_unix_ms;
                Expect::New(decision.action, lasts_ms / 1_000, decision.previous_offences)
            }
            Effect::Extends(more) => Expect::More(more.id.0, (more.expires_unix_ms.unwrap_or(0) - START_MS) / 1_000),
        };
        assert_eq!(got, expected, "{description}: finding {place}");
        assert_eq!(outcome.request_action, request_action, "{description}: the request of finding {place}");
    }
}

fn policy(config: PolicyConfig) -> Policy {
    Policy::new(config, vec!["lab".to_owned()], false, 5)
}

fn rule(action: Action) -> PolicyRule {
    PolicyRule { classes: Vec::new(), severity: None, sites: Vec::new(), action, confidence: None, duration_s: None }
}

#[test]
fn what_is_only_told_is_observed_unless_a_rule_names_it() {
    let rule = |classes: &[AttackClass]| PolicyRule {
        classes: classes.to_vec(),
        severity: None,
        sites: Vec::new(),
        action: Action::Block,
        confidence: Some(0.1),
        duration_s: None,
    };
    let unsure = Finding { confidence: 0.4, ..behaviour(AttackClass::Beaconing) };
    for (rules, expected) in [
        (vec![], Action::Observe),
        (vec![rule(&[])], Action::Observe),
        (vec![rule(&[AttackClass::Exfiltration])], Action::Observe),
        (vec![rule(&[AttackClass::Beaconing])], Action::Block),
    ] {
        let mut policy = policy(PolicyConfig { rules, ..PolicyConfig::default() });
        let outcome = policy.decide(unsure.clone(), DecisionId(7), at(1));
        let Effect::Decided(decision) = outcome.effect else { unreachable!("{outcome:?}") };
        assert_eq!(decision.action, expected);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn findings_and_decisions() {
    use Action::{Block, Forward, Observe, Throttle};
    use AttackClass::{BruteForce, ContentScan, Sqli};
    use Expect::{More, New, Protected, Unsure};
    let unsure = || Finding { confidence: 0.79, ..behaviour(ContentScan) };
    let low = || Finding { severity: Severity::Medium, ..behaviour(ContentScan) };
    let on_lab = || Finding { site: Some("lab".to_owned()), ..request(Sqli) };
    let rules = PolicyConfig {
        rules: vec![
            PolicyRule { classes: vec![BruteForce], duration_s: Some(60), ..rule(Throttle) },
            PolicyRule { sites: vec!["shop".to_owned()], confidence: Some(0.5), ..rule(Forward) },
            PolicyRule { severity: Some(Severity::High), ..rule(Block) },
            rule(Observe),
        ],
        ..PolicyConfig::default()
    };
    let table: Vec<(&str, PolicyConfig, Vec<Step>)> = vec![
        (
            "behaviour blocks at once",
            PolicyConfig::default(),
            vec![(0, behaviour(ContentScan), New(Block, HOUR_S, 0), None)],
        ),
        ("an unsure finding changes nothing", PolicyConfig::default(), vec![(0, unsure(), Unsure, None)]),
        (
            "two requests are refused and watched, the third bans",
            PolicyConfig::default(),
            vec![
                (0, request(Sqli), New(Observe, 600, 0), Some(Block)),
                (5, request(Sqli), More(0, 600), Some(Block)),
                (9, request(Sqli), New(Block, HOUR_S, 0), Some(Block)),
                (10, request(Sqli), More(2, 9 + HOUR_S), Some(Block)),
                (100, request(Sqli), More(2, 100 + HOUR_S), Some(Block)),
            ],
        ),
        (
            "strikes are forgotten after the window",
            PolicyConfig::default(),
            vec![
                (0, request(Sqli), New(Observe, 600, 0), Some(Block)),
                (5, request(Sqli), More(0, 600), Some(Block)),
                (606, request(Sqli), New(Observe, 600, 0), Some(Block)),
            ],
        ),
        (
            "zero strikes ban at the first request",
            PolicyConfig { request_strikes: 0, ..PolicyConfig::default() },
            vec![(0, request(Sqli), New(Block, HOUR_S, 0), Some(Block))],
        ),
        (
            "a repeat offender's bans grow up to the longest",
            PolicyConfig::default(),
            vec![
                (0, behaviour(ContentScan), New(Block, HOUR_S, 0), None),
                (4_000, behaviour(ContentScan), New(Block, 4 * HOUR_S, 1), None),
                (40_000, behaviour(BruteForce), New(Block, 16 * HOUR_S, 2), None),
                (140_000, behaviour(ContentScan), New(Block, 64 * HOUR_S, 3), None),
                (500_000, behaviour(ContentScan), New(Block, 168 * HOUR_S, 4), None),
                (500_000 + 31 * 86_400, behaviour(ContentScan), New(Block, HOUR_S, 0), None),
            ],
        ),
        (
            "the first rule that fits wins",
            rules.clone(),
            vec![
                (0, low(), New(Observe, HOUR_S, 0), None),
                (1, behaviour(BruteForce), New(Throttle, 60, 0), None),
                (2, behaviour(ContentScan), New(Block, 4 * HOUR_S, 1), None),
                (3, behaviour(BruteForce), More(2, 2 + 4 * HOUR_S), None),
            ],
        ),
        (
            "a site's rule has its own confidence and its decoy",
            rules,
            vec![(0, Finding { confidence: 0.5, ..request(Sqli) }, New(Observe, 600, 0), Some(Forward))],
        ),
        (
            "a site in simulation refuses nothing",
            PolicyConfig::default(),
            vec![(0, on_lab(), New(Observe, 600, 0), None), (1, request(Sqli), New(Observe, 600, 0), Some(Block))],
        ),
        (
            "a factor or confidence out of a broken file does no harm",
            PolicyConfig { escalation_factor: f64::NAN, ..PolicyConfig::default() },
            vec![
                (0, behaviour(ContentScan), New(Block, HOUR_S, 0), None),
                (4_000, Finding { confidence: f32::NAN, ..behaviour(ContentScan) }, Unsure, None),
                (4_000, behaviour(ContentScan), New(Block, HOUR_S, 1), None),
            ],
        ),
    ];
    for (description, config, steps) in table {
        check(description, &mut policy(config), steps);
    }
    let mut guarded = policy(PolicyConfig::default());
    guarded.set_protected(vec![net("198.51.100.0/28")]);
    check("the protected set wins", &mut guarded, vec![(0, request(Sqli), Protected, None)]);
}

#[test]
fn simulation_is_said_and_does_not_shield_later_decisions() {
    let mut policy = policy(PolicyConfig::default());
    policy.set_simulation(true);
    let first = policy.decide(behaviour(AttackClass::SynFlood), DecisionId(1), at(0));
    assert!(matches!(&first.effect, Effect::Decided(d) if d.simulated && d.action == Action::Block), "{first:?}");
    policy.set_simulation(false);
    let second = policy.decide(behaviour(AttackClass::SynFlood), DecisionId(2), at(1));
    let is_real = |d: &Decision| !d.simulated && d.previous_offences == 0 && d.id == DecisionId(2);
    assert!(matches!(&second.effect, Effect::Decided(d) if is_real(d)), "{second:?}");
}

#[test]
fn scopes() {
    // (source, protected, expected scope)
    let table = [
        ("198.51.100.7", "192.0.2.0/24", "198.51.100.7/32"),
        ("::ffff:198.51.100.7", "192.0.2.0/24", "198.51.100.7/32"),
        ("2001:db8:9:9:1::5", "192.0.2.0/24", "2001:db8:9:9::/64"),
        ("2001:db8:9:9:1::5", "2001:db8:9:9::1/128", "2001:db8:9:9:1::5/128"),
        ("2001:db8:1::5", "192.0.2.0/24", "2001:db8:1::5/128"),
        ("fd00::5", "192.0.2.0/24", "fd00::5/128"),
    ];
    for (source, protected, expected) in table {
        let mut policy = policy(PolicyConfig::default());
        policy.set_protected(vec![net(protected)]);
        policy.set_local(LocalNetworks::new(vec![net("2001:db8:1::/64")]));
        let finding = Finding { source: address(source), ..behaviour(AttackClass::PortScan) };
        let outcome = policy.decide(finding, DecisionId(1), at(0));
        let Effect::Decided(decision) = &outcome.effect else { unreachable!("{source}: {outcome:?}") };
        assert_eq!(decision.scope.0, net(expected), "{source} beside {protected}");
    }
}

#[test]
fn memory_comes_back_from_stored_decisions_and_goes_with_deleted_ones() {
    let mut before = policy(PolicyConfig::default());
    let outcome = before.decide(behaviour(AttackClass::PortScan), DecisionId(7), at(0));
    let Effect::Decided(stored) = outcome.effect else { unreachable!("{outcome:?}") };

    let mut after = policy(PolicyConfig::default());
    after.remember(&stored, at(10));
    let more = after.decide(behaviour(AttackClass::PortScan), DecisionId(8), at(11));
    assert_eq!(more.decision_id(), Some(DecisionId(7)), "in force: extended");
    let again = after.decide(behaviour(AttackClass::PortScan), DecisionId(9), at(5_000));
    assert!(matches!(&again.effect, Effect::Decided(d) if d.previous_offences == 1), "{again:?}");
    after.forget(DecisionId(9));
    let fresh = after.decide(behaviour(AttackClass::PortScan), DecisionId(10), at(5_001));
    assert!(matches!(&fresh.effect, Effect::Decided(d) if d.previous_offences == 1), "deleted: {fresh:?}");
}

#[test]
fn a_scope_covers_what_it_overlaps() {
    let networks = [net("10.0.0.0/8"), net("192.0.2.9/32")];
    let cases = [("10.1.0.0/16", true), ("0.0.0.0/0", true), ("192.0.2.0/24", true), ("192.0.2.8/32", false)];
    for (scope, expected) in cases {
        assert_eq!(covered(&Scope(net(scope)), &networks).is_some(), expected, "{scope}");
    }
}
