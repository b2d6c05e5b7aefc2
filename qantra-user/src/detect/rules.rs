//! Enters: what rules said of one request. Leaves: a [`Finding`], as sure as their score allows. Rules match honest
//! requests as well: one match alone must never be enough to ban a source, and a matter of form far less.

use super::{
    AttackClass, Evidence, Finding, Measurement, RequestOrigin, RuleEvidence, ThresholdOrigin,
    request::{request_ref, severity_of},
};
use crate::{
    clock::Now,
    inspect::{RuleMatch, RuleReport},
};

/// Rules that a finding names.
const RULES_MAX: usize = 8;

/// From so much of the score on, by rules that name an attack, so sure. Critical rules add 5 each.
const SURE: [(u32, f32); 3] = [(15, 0.95), (10, 0.85), (5, 0.7)];
/// Attacks below the score that refuses, and own rules that name no attack.
const UNSURE: f32 = 0.5;
/// Missing or odd header fields: browsers' extensions, old clients and half of the Internet's programs have them.
const FORM_ALONE: f32 = 0.3;
/// A scanner that says its name.
const SCANNER: f32 = 0.9;

/// What a rule tells of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tells {
    Attack(AttackClass),
    /// The form of the request.
    Form,
    Scanner,
    /// What the origin answered: not the client's doing.
    Response,
    Nothing,
}

/// The finding of what rules matched; `None` where it is none of the client's doing.
#[must_use]
pub fn from_rules(report: &RuleReport, ruleset: &str, origin: &RequestOrigin<'_>, now: Now) -> Option<Finding> {
    let mut by_class: [u32; AttackClass::ALL.len()] = [0; AttackClass::ALL.len()];
    let (mut is_form, mut is_scanner, mut is_own) = (false, false, false);
    for found in &report.matches {
        match tells(found) {
            Tells::Attack(class) => by_class[class as usize] += weight(found),
            Tells::Form => is_form = true,
            Tells::Scanner => is_scanner = true,
            Tells::Nothing => is_own |= report.ending.is_some(),
            Tells::Response => {}
        }
    }
    let total: u32 = by_class.iter().sum();
    let strongest = AttackClass::ALL.into_iter().max_by_key(|class| by_class[*class as usize]);
    let (class, confidence) = match strongest.filter(|_| total > 0) {
        Some(class) => (class, confidence(total, report)),
        None if is_scanner => (AttackClass::Scanner, SCANNER),
        None if is_own => (AttackClass::OtherInjection, UNSURE),
        None if is_form => (AttackClass::Protocol, FORM_ALONE),
        None => return None,
    };
    Some(Finding {
        at: now,
        source: origin.source,
        class,
        confidence,
        severity: severity_of(class),
        detector: "rules".to_owned(),
        detector_version: ruleset.to_owned(),
        site: origin.site.map(str::to_owned),
        evidence: evidence(report, class, origin),
    })
}

fn confidence(total: u32, report: &RuleReport) -> f32 {
    // Rules of a higher paranoia level may report without counting.
    let counted = if report.threshold > 0 { total.min(report.score) } else { total };
    if report.threshold > 0 && report.score < report.threshold {
        return UNSURE;
    }
    SURE.iter().find(|(score, _)| counted >= *score).map_or(UNSURE, |(_, sure)| *sure)
}

fn evidence(report: &RuleReport, class: AttackClass, origin: &RequestOrigin<'_>) -> Evidence {
    let of_class = |found: &&RuleMatch| match tells(found) {
        Tells::Attack(told) => told == class,
        Tells::Form => class == AttackClass::Protocol,
        Tells::Scanner => class == AttackClass::Scanner,
        Tells::Response | Tells::Nothing => class == AttackClass::OtherInjection,
    };
    let told = report.matches.iter().filter(of_class).max_by_key(|found| weight(found));
    let rule = |found: &RuleMatch| RuleEvidence {
        id: found.id,
        message: found.message.clone(),
        field: found.field.clone(),
        value: found.value.clone(),
    };
    let measured = |score: u32| Measurement {
        name: "anomaly_score".to_owned(),
        value: f64::from(score),
        threshold: f64::from(report.threshold),
        origin: Some(ThresholdOrigin::Rules),
    };
    Evidence {
        field: told.map(|found| found.field.clone()),
        value: told.map(|found| found.value.clone()),
        measurements: (report.threshold > 0).then(|| measured(report.score)).into_iter().collect(),
        rules: report.matches.iter().take(RULES_MAX).map(rule).collect(),
        request: Some(request_ref(origin)),
        ..Evidence::default()
    }
}

/// What a match adds to CRS's score, by its severity.
const fn weight(found: &RuleMatch) -> u32 {
    match found.severity {
        Some(0..=2) => 5,
        Some(3) => 4,
        Some(4) => 3,
        Some(5) => 2,
        _ => 0,
    }
}

fn tells(found: &RuleMatch) -> Tells {
    if found.phase == 3 || found.phase == 4 {
        return Tells::Response;
    }
    let tags = found.tags.iter().filter_map(|tag| of_tag(tag));
    // A rule may have a tag for its kind and one for its class: the narrower one counts.
    tags.max_by_key(|tells| match tells {
        Tells::Attack(AttackClass::OtherInjection) => 1,
        Tells::Attack(_) => 3,
        Tells::Scanner => 2,
        _ => 0,
    })
    .unwrap_or(Tells::Nothing)
}

/// CRS's tags, of 3.3 and 4.
fn of_tag(tag: &str) -> Option<Tells> {
    let attack = tag.strip_prefix("attack-")?;
    let class = match attack {
        "sqli" => AttackClass::Sqli,
        "xss" => AttackClass::Xss,
        "lfi" => AttackClass::Traversal,
        "rfi" => AttackClass::Rfi,
        "ssrf" => AttackClass::Ssrf,
        "ssti" => AttackClass::Ssti,
        "xxe" => AttackClass::Xxe,
        "deserialization" => AttackClass::Deserialisation,
        "reputation-scanner" | "reputation-crawler" | "reputation-scripting" => return Some(Tells::Scanner),
        "protocol" | "multipart-header" | "dos" | "reputation-ip" => return Some(Tells::Form),
        "disclosure" | "leakage" => return Some(Tells::Response),
        _ if attack.starts_with("rce") || attack.starts_with("injection") => AttackClass::Rce,
        _ => AttackClass::OtherInjection,
    };
    Some(Tells::Attack(class))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::inspect::RuleEnding;

    fn found(id: u64, severity: u8, tags: &[&str]) -> RuleMatch {
        RuleMatch {
            id,
            phase: 2,
            message: format!("rule {id}"),
            severity: Some(severity),
            tags: tags.iter().map(ToString::to_string).collect(),
            field: format!("args.f{id}"),
            value: "x".to_owned(),
        }
    }

    fn judged(matches: Vec<RuleMatch>, score: u32) -> Option<Finding> {
        let ending = (score >= 5).then_some(RuleEnding { status: 403, rule_id: 1, location: None, is_drop: false });
        let report = RuleReport { ending, would_end: None, matches, ids: Vec::new(), score, threshold: 5 };
        let source = IpAddr::from([192, 0, 2, 1]);
        let origin = RequestOrigin { source, site: Some("shop"), request_id: "r", method: "GET", path: "/" };
        from_rules(&report, "OWASP_CRS/4.20.0", &origin, Now::default())
    }

    #[test]
    fn one_rule_refuses_and_several_make_sure() {
        let sqli = |id| found(id, 2, &["application-multi", "attack-sqli", "OWASP_CRS"]);
        let policy = crate::config::PolicyConfig::default().confidence;
        for (matches, score, class, sure) in [
            (vec![sqli(1)], 5, AttackClass::Sqli, false),
            (vec![sqli(1), sqli(2)], 10, AttackClass::Sqli, true),
            (vec![sqli(1), found(2, 2, &["attack-xss"]), sqli(3)], 15, AttackClass::Sqli, true),
            // Reported by a paranoia level that does not count.
            (vec![sqli(1), sqli(2), sqli(3)], 0, AttackClass::Sqli, false),
            (vec![sqli(1), sqli(2), sqli(3)], 5, AttackClass::Sqli, false),
            (vec![found(1, 2, &["attack-protocol"]); 8], 40, AttackClass::Protocol, false),
            (vec![found(1, 2, &["attack-protocol"]), sqli(2)], 10, AttackClass::Sqli, false),
            (vec![found(1, 2, &["attack-reputation-scanner"])], 5, AttackClass::Scanner, true),
            (vec![found(1, 2, &["attack-injection-php"]), sqli(2)], 10, AttackClass::Rce, true),
            (vec![found(1, 2, &["mine"])], 5, AttackClass::OtherInjection, false),
        ] {
            let ids: Vec<_> = matches.iter().map(|found| (found.id, found.tags.clone())).collect();
            let finding = judged(matches, score).unwrap();
            assert_eq!(finding.confidence >= policy, sure, "{ids:?} {score}: {finding:?}");
            if !ids.iter().any(|(_, tags)| tags == &["attack-injection-php"]) {
                assert_eq!(finding.class, class, "{ids:?}");
            }
        }
        let form = judged(vec![found(1, 2, &["attack-protocol"]); 8], 40).map(|finding| finding.confidence);
        assert!(form < Some(policy / 2.0), "matters of form are far weaker than attacks: {form:?}");
    }

    #[test]
    fn the_evidence_names_rules_field_and_score() {
        let finding = judged(vec![found(920, 4, &["attack-protocol"]), found(942, 2, &["attack-sqli"])], 8).unwrap();
        let evidence = &finding.evidence;
        assert_eq!((evidence.field.as_deref(), evidence.value.as_deref()), (Some("args.f942"), Some("x")));
        assert_eq!(evidence.rules.iter().map(|rule| rule.id).collect::<Vec<_>>(), [920, 942]);
        assert_eq!((evidence.measurements[0].value, evidence.measurements[0].threshold), (8.0, 5.0));
        assert_eq!(finding.detector_version, "OWASP_CRS/4.20.0");
    }

    #[test]
    fn a_leak_is_no_finding_about_the_client() {
        let leak = RuleMatch { phase: 4, ..found(951, 2, &["attack-disclosure"]) };
        assert_eq!(judged(vec![leak], 5), None);
        assert_eq!(judged(Vec::new(), 0), None);
    }
}
