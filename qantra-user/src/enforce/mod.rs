//! Enters: [`Decision`](crate::decide::Decision)s. Leaves: kernel bans by way of [`KernelPlane`], and the table that
//! the proxy looks each client up in. It must never decide anything by itself, nor block a request on IO.
//!
//! Both planes are written by one [`Enforcer`], kernel first; the table is read without a lock. The protected set and
//! the allowlist win over every decision, here and in the kernel.

mod batch;
mod enforcer;
mod feed;
mod guard;
mod kernel;
mod ledger;
mod listed;
mod prefix;
mod protected;
mod reconcile;
mod refused;
mod table;
#[cfg(test)]
mod tests;

pub use enforcer::{Applied, EnforceError, Enforcer, KernelOutcome, Summary};
pub use feed::{AddressRanges, FeedHit, FeedHits, FeedPlane};
pub use guard::{AllowEntry, Protection};
pub use kernel::{BanHits, KernelBan, KernelPlane, PlaneError};
pub use ledger::{DecisionHits, EndReason, Ended};
pub use protected::{ProtectedSet, Why};
pub use reconcile::Reconciled;
