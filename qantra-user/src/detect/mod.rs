//! Enters: flows, scores and protocol complaints. Leaves: [`Finding`]s. Pure: it must never act on a finding,
//! read a clock or run a model.

mod finding;

pub use finding::{AttackClass, Evidence, Finding, Measurement, RequestRef, Severity, Weight};
