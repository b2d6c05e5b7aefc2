//! Enters: what a model, or the protocol checks, said of one request. Leaves: a [`Finding`].

use std::net::IpAddr;

use super::{AttackClass, Evidence, Finding, RequestRef, Severity};
use crate::{clock::Now, model::RequestAttack};

/// How many features a finding names.
const WEIGHTS_MAX: usize = 8;
/// How much of a path a finding keeps, in bytes.
const PATH_BYTES_MAX: usize = 256;

/// Where a request came from and what it was.
#[derive(Debug, Clone, Copy)]
pub struct RequestOrigin<'a> {
    /// The client.
    pub source: IpAddr,
    /// The site's name.
    pub site: Option<&'a str>,
    /// The request's id.
    pub request_id: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path without query, still percent-encoded.
    pub path: &'a str,
}

/// How bad an attack of a class would be if it worked.
#[must_use]
pub const fn severity_of(class: AttackClass) -> Severity {
    match class {
        AttackClass::Spam
        | AttackClass::Redirect
        | AttackClass::Anomaly
        | AttackClass::Beaconing
        | AttackClass::Exfiltration => Severity::Low,
        AttackClass::Scanner | AttackClass::ContentScan | AttackClass::PortScan | AttackClass::Protocol => {
            Severity::Medium
        }
        _ => Severity::High,
    }
}

/// The finding of what the classifier is sure of.
#[must_use]
pub fn from_attack(attack: RequestAttack, origin: &RequestOrigin<'_>, now: Now) -> Finding {
    let mut evidence = attack.evidence;
    evidence.weights.truncate(WEIGHTS_MAX);
    evidence.request = Some(request_ref(origin));
    finding(attack.class, attack.confidence, &attack.model, &attack.version, evidence, origin, now)
}

/// How sure a breach of the protocol is an attack: such a request is refused in any case, and a broken client may send
/// one, so the source is judged by how many there are.
const VIOLATION_CONFIDENCE: f32 = 0.9;

/// The finding of a request whose form breaks the protocol; `violation` is its name, such as `cl_and_te`.
#[must_use]
pub fn from_violation(violation: &str, origin: &RequestOrigin<'_>, now: Now) -> Finding {
    let evidence =
        Evidence { field: Some(violation.to_owned()), request: Some(request_ref(origin)), ..Evidence::default() };
    let version = env!("CARGO_PKG_VERSION");
    finding(AttackClass::Protocol, VIOLATION_CONFIDENCE, "protocol", version, evidence, origin, now)
}

fn finding(
    class: AttackClass,
    confidence: f32,
    detector: &str,
    version: &str,
    evidence: Evidence,
    origin: &RequestOrigin<'_>,
    now: Now,
) -> Finding {
    Finding {
        at: now,
        source: origin.source,
        class,
        // A broken model may say NaN; that is no confidence at all.
        confidence: if confidence.is_nan() { 0.0 } else { confidence.clamp(0.0, 1.0) },
        severity: severity_of(class),
        detector: detector.to_owned(),
        detector_version: version.to_owned(),
        site: origin.site.map(str::to_owned),
        evidence,
    }
}

pub(super) fn request_ref(origin: &RequestOrigin<'_>) -> RequestRef {
    RequestRef {
        id: excerpt(origin.request_id, 64),
        method: excerpt(origin.method, 16),
        path: excerpt(origin.path, PATH_BYTES_MAX),
    }
}

/// The longest beginning of a text that is no longer than `bytes_max` and ends between characters.
fn excerpt(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin<'a>(path: &'a str) -> RequestOrigin<'a> {
        let source = IpAddr::from([192, 0, 2, 1]);
        RequestOrigin { source, site: Some("shop"), request_id: "r1", method: "GET", path }
    }

    #[test]
    fn keeps_excerpts_whole_at_character_boundaries() {
        let long = "ü".repeat(300);
        let weights = vec![crate::detect::Weight { feature: "a".into(), weight: 1.0 }; 20];
        let attack = RequestAttack {
            class: AttackClass::Sqli,
            confidence: f32::NAN,
            model: "request_classifier".into(),
            version: "1".into(),
            evidence: Evidence { field: Some("query.id".into()), weights, ..Evidence::default() },
        };
        let finding = from_attack(attack, &origin(&long), Now::default());
        assert_eq!(finding.confidence, 0.0, "NaN is no confidence");
        assert_eq!(finding.severity, Severity::High);
        assert_eq!(finding.evidence.field.as_deref(), Some("query.id"));
        assert_eq!(finding.evidence.weights.len(), WEIGHTS_MAX);
        assert_eq!(finding.evidence.request.map(|r| r.path), Some("ü".repeat(128)));
    }

    #[test]
    fn a_violation_names_itself() {
        let finding = from_violation("cl_and_te", &origin("/"), Now::default());
        assert_eq!((finding.class, finding.detector.as_str()), (AttackClass::Protocol, "protocol"));
        assert_eq!(finding.evidence.field.as_deref(), Some("cl_and_te"));
        assert_eq!(finding.site.as_deref(), Some("shop"));
    }
}
