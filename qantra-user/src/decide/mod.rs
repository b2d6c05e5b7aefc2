//! Enters: [`Finding`](crate::detect::Finding)s and the policy. Leaves: [`Decision`]s. Pure: it must never touch a
//! map, a socket or the store.

mod decision;
mod policy;

pub use decision::{Action, BadDecisionId, Decision, DecisionId, Direction, Origin, Scope, Standing};
pub use policy::{Effect, Extension, Ignored, Outcome, Policy, covered};

#[cfg(test)]
mod policy_tests;
