//! Enters: block lists that others keep, from files and web servers. Leaves: one set of addresses for each direction, for
//! the kernel half and the proxy, and what each list stopped. It must never ban what is protected, nor let a list that
//! is gone, broken or suddenly short take the last good one's place.
//!
//! [`Feeds`] is what others ask; one thread of its own fetches and reads, so that nobody waits for a server.

mod feeds;
mod fetch;
mod files;
mod hits;
pub mod list; // [pure]
mod spec;
mod status;
#[cfg(test)]
mod tests;
mod worker;

pub use feeds::{FeedError, Feeds, FeedsStart};
pub use fetch::FetchError;
pub use spec::{BadFeed, FeedDirection, FeedSource, FeedSpec};
pub use status::{FeedCheck, FeedList, FeedStatus, FeedSummary, ListHits, Listing, Phase};
