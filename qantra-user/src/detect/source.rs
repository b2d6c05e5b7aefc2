//! Enters: what the source models claim. Leaves: a [`Finding`].

use super::{AttackClass, Evidence, Finding, Measurement, Weight, request::severity_of};
use crate::{
    clock::Now,
    model::{Bar, SourceClaim},
};

/// The finding of a claim. A class that this program does not know is an anomaly.
pub(super) fn from_claim(claim: &SourceClaim, now: Now) -> Finding {
    let known = AttackClass::ALL.into_iter().find(|class| class.as_str() == claim.class);
    let class = known.unwrap_or(AttackClass::Anomaly);
    let weights =
        claim.weights.iter().map(|(feature, weight)| Weight { feature: (*feature).to_owned(), weight: *weight });
    let measured = |name: &str, value: f32, threshold: &Bar| Measurement {
        name: name.to_owned(),
        value: f64::from(value),
        threshold: f64::from(threshold.value),
        origin: Some(threshold.origin.clone()),
    };
    let measurements = vec![
        measured("anomaly_score", claim.anomaly, &claim.anomaly_threshold),
        measured("source_confidence", claim.confidence, &claim.confidence_threshold),
    ];
    Finding {
        at: now,
        source: claim.address,
        class,
        confidence: claim.confidence.clamp(0.0, 1.0),
        severity: severity_of(class),
        detector: claim.model.clone(),
        detector_version: claim.version.clone(),
        site: None,
        evidence: Evidence { weights: weights.collect(), measurements, ..Evidence::default() },
    }
}
