//! Enters: [`Finding`](crate::detect::Finding)s and the policy. Leaves: [`Decision`]s. Pure: it must never touch a
//! map, a socket or the store.

mod decision;

pub use decision::{Action, Decision, DecisionId, Direction, Origin, Scope};
