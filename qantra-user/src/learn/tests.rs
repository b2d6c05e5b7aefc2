//! Whole stories: a site is learnt, attackers try to teach it, a restart forgets nothing.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::inspect::{Fields, RawRequest};

const QUORUM: Quorum = Quorum { requests_min: 2_000, sources_min: 8, max_false_positive_rate: 0.001 };
const SHIPPED: f32 = 0.9;

/// A visitor of network `number`.
fn visitor(number: u32) -> IpAddr {
    Ipv4Addr::from(0x5000_0000 + (number << 8)).into()
}

fn sketch(sketcher: &Sketcher, from: IpAddr, target: &str, score: f32) -> RequestSketch {
    let request = RawRequest::parse(format!("GET {target} HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes());
    let mut fields = Fields::new();
    fields.read(&request.view());
    let name = Endpoint::of("GET", &request.target);
    let mut sketch = sketcher.request(sketcher.site("shop"), sketcher.source(from), name, &fields);
    sketch.score = score;
    sketch
}

fn observe(learner: &mut Learner, from: IpAddr, target: &str, score: f32) {
    let sketch = sketch(&learner.sketcher(), from, target, score);
    learner.observe(&sketch, score >= SHIPPED, QUORUM.sources_min, 1);
}

/// Sixty visitors browse; now and then one looks for O'Brien, which the model takes for an attack.
fn a_day(learner: &mut Learner) {
    for round in 0..100_u32 {
        for number in 0..60 {
            let is_odd = (round + number) % 30 == 29;
            match is_odd {
                true => observe(learner, visitor(number), "/search?q=O%27Brien", 0.95),
                false => observe(learner, visitor(number), &format!("/item/{round}?color=blue"), 0.0),
            }
        }
    }
}

fn lowers(knowledge: &Knowledge, target: &str) -> f32 {
    let sketch = sketch(knowledge.sketcher(), visitor(1), target, 0.0);
    let own = sketch.fields().filter(|field| knowledge.lowers(field) < f32::MAX);
    // The last field is the parameter: the path comes first.
    own.last().map_or(0.0, |field| knowledge.lowers(field))
}

#[test]
fn a_site_that_looks_like_attacks_gets_its_own_threshold_and_knows_its_parameters() {
    let mut learner = Learner::new(7);
    a_day(&mut learner);
    let knowledge = learner.knowledge(&QUORUM);
    let site = knowledge.sketcher().site("shop");
    let threshold = knowledge.threshold(site, 0).unwrap();
    assert!(threshold.confidence > 0.95 && threshold.of_site, "{threshold:?}");
    assert!(lowers(&knowledge, "/search?q=O%27Brien") > 0.0);
    assert_eq!(lowers(&knowledge, "/search?q=x%27%20or%201=1--"), 0.0);
    assert!(!knowledge.is_calibrated(knowledge.sketcher().site("another")));
}

#[test]
fn attackers_of_few_networks_teach_nothing() {
    let mut learner = Learner::new(7);
    for round in 0..200_u32 {
        for number in 0..60 {
            observe(&mut learner, visitor(number), &format!("/item/{round}"), 0.0);
        }
        // Seven networks behave nine times in ten, and then attack: as much as still passes for honest.
        for number in 1_000..1_007 {
            for _ in 0..15 {
                observe(&mut learner, visitor(number), "/search?q=hello", 0.0);
            }
            observe(&mut learner, visitor(number), "/search?q=x%27%20or%201=1--", 0.99);
        }
    }
    let knowledge = learner.knowledge(&QUORUM);
    let site = knowledge.sketcher().site("shop");
    assert_eq!(knowledge.threshold(site, 0).unwrap().confidence, 0.0, "nothing is above the shipped threshold");
    assert_eq!(lowers(&knowledge, "/search?q=x%27%20or%201=1--"), 0.0);
    // The same by many networks would: that is what the quorum is for, and where its protection ends.
    for round in 0..200_u32 {
        for number in 2_000..2_020 {
            let target = if round % 16 == 0 { "/search?q=x%27%20or%201=1--" } else { "/search?q=hello" };
            observe(&mut learner, visitor(number), target, if round % 16 == 0 { 0.99 } else { 0.0 });
        }
    }
    assert!(lowers(&learner.knowledge(&QUORUM), "/search?q=x%27%20or%201=1--") > 0.0);
}

#[test]
fn who_mostly_attacks_is_not_learnt_from() {
    let mut learner = Learner::new(7);
    for round in 0..100 {
        for number in 0..60 {
            let score = if round % 2 == 0 { 0.99 } else { 0.0 };
            observe(&mut learner, visitor(number), "/search?q=x%27%20or%201=1--", score);
        }
    }
    assert_eq!(learner.stats().learnt, 0);
    assert_eq!(lowers(&learner.knowledge(&QUORUM), "/search?q=x%27%20or%201=1--"), 0.0);
}

#[test]
fn one_source_cannot_fill_the_tables() {
    let mut learner = Learner::new(7);
    a_day(&mut learner);
    let before = learner.parameters();
    for number in 0..20_000 {
        observe(&mut learner, visitor(5_000), &format!("/p/a{number}x?n{number}=1"), 0.0);
    }
    assert!(learner.parameters() <= before + 64, "{} after {before}", learner.parameters());
    assert_eq!(learner.stats().evicted, 0);
}

#[test]
fn a_restart_forgets_nothing_and_another_model_begins_anew() {
    let mut learner = Learner::new(7);
    learner.set_model("classifier 1");
    a_day(&mut learner);
    let saved = learner.save().unwrap();
    let mut back = Learner::restore(&saved).unwrap();
    back.set_model("classifier 1");
    assert_eq!(back.report(&QUORUM), learner.report(&QUORUM));
    assert!(lowers(&back.knowledge(&QUORUM), "/search?q=O%27Brien") > 0.0);
    back.set_model("classifier 2");
    assert!(!back.knowledge(&QUORUM).is_calibrated(back.sketcher().site("shop")), "other scores mean other things");
    assert!(lowers(&back.knowledge(&QUORUM), "/search?q=O%27Brien") > 0.0, "parameters stay as they are");
}

#[test]
fn damaged_bytes_are_refused() {
    let mut learner = Learner::new(7);
    a_day(&mut learner);
    let saved = learner.save().unwrap();
    assert!(matches!(Learner::restore(b"hello"), Err(SnapshotError::Damaged(_))));
    assert!(Learner::restore(&saved[..saved.len() / 2]).is_err());
}

#[test]
fn values_to_train_on_come_from_many_and_no_source_fills_them() {
    let mut learner = Learner::new(7);
    a_day(&mut learner);
    let sketcher = learner.sketcher();
    let site = sketcher.site("shop");
    let endpoint = sketcher.endpoint(site, &Endpoint::of("GET", b"/search"));
    let text = |value: &str, from: u32| BenignText {
        source: sketcher.source(visitor(from)),
        field: sketcher.field(site, endpoint, crate::inspect::FieldKind::Value, "query.q", value.as_bytes()),
        kind: crate::inspect::FieldKind::Value,
        name: "query.q".into(),
        text: value.into(),
    };
    learner.offer(text("O'Brien", 1), QUORUM.sources_min);
    learner.offer(text("O'Brien", 2), QUORUM.sources_min);
    learner.offer(text("x' or 1=1--", 1), QUORUM.sources_min);
    learner.offer(text("D'Arcy", 9_999), QUORUM.sources_min);
    let kept: Vec<&str> = learner.benign().iter().map(|kept| kept.text.as_str()).collect();
    assert_eq!(kept, ["O'Brien"], "once; nothing that nobody else sends; nothing of a stranger");
    for number in 0..10_000_u32 {
        let letters: String = number.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
        learner.offer(text(&format!("{letters}'"), 1), QUORUM.sources_min);
    }
    assert!(learner.benign().len() <= 4_096 / 8, "{}", learner.benign().len());
}
