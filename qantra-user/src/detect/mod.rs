//! Enters: flows, scores and protocol complaints. Leaves: [`Finding`]s. Pure: it must never act on a finding,
//! read a clock or run a model.

mod behaviour;
mod episode;
mod finding;
mod http;
mod packets;
mod pairs;
mod request;
mod rules;
mod source;

pub use behaviour::{BehaviourDetectors, DetectorStats};
pub use episode::{Detector, Episodes};
pub use finding::{
    AttackClass, Evidence, Finding, Measurement, RequestRef, RuleEvidence, Severity, ThresholdOrigin, Weight,
};
pub use request::{RequestOrigin, from_attack, from_violation, severity_of};
pub use rules::from_rules;

#[cfg(test)]
mod behaviour_tests;
#[cfg(test)]
mod pairs_tests;
