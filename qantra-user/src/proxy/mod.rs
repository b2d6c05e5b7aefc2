//! Enters: connections and requests. Leaves: answers, and an [`Observation`](crate::flow::Observation) for each.
//! The only user of Pingora. Its filters are thin shells; it must never decide by itself whom to refuse: it asks a
//! [`Judge`].

mod judge;

pub use judge::{Judge, Judgement, Opinion, RequestContext, Standing};
