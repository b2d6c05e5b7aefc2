//! Enters: connections and requests. Leaves: answers, and an [`Observation`](crate::flow::Observation) for each.
//! The only user of Pingora. Its filters are thin shells; it must never decide by itself whom to refuse: it asks a
//! [`Judge`].
//!
//! One request's way: `server` accepts, `connection` reads the head whole and has `head` check it, Pingora parses it and
//! calls `filters`, which find the client (`client`) and the site (`hosts`, `sites`), ask the judge, pick a target
//! (`target`) and harden the answer (`harden`).

mod body;
mod client;
mod connection;
mod counters;
mod error;
mod failure;
mod filters;
mod harden;
mod head;
mod health;
mod hosts;
mod judge;
mod login;
mod page;
mod proxy_protocol;
mod request_id;
mod response;
mod rules;
mod server;
mod sites;
mod stream;
mod target;
mod throttle;
mod tls;
mod upstream;

pub use crate::decide::Standing;
pub use counters::{Counter, ProxyCounters};
pub use error::ProxyError;
pub use judge::{
    Held, Judge, Judgement, ModelAnswer, Opinion, RequestContext, RuleOpinion, RuleRefusal, Ruled, Suspicion,
};
pub use server::{Bound, Proxy, ReloadHandle};
