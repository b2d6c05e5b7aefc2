//! How feeds are, for people and programs. `-o json` prints the same, so names stay as they are.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    FeedSpec,
    list::{Format, Report},
};

/// What a feed is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// The list is on its way.
    Fetching,
    /// The list is read.
    Reading,
}

impl Phase {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Fetching => "fetching",
            Self::Reading => "reading",
        }
    }
}

/// What addresses of a list, or one address, were stopped of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListHits {
    /// Packets dropped in the kernel.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests that the proxy refused.
    pub requests: u64,
    /// When something was stopped last, as far as it is read back: Unix ms.
    pub last_unix_ms: Option<u64>,
}

impl ListHits {
    pub(super) fn add(&mut self, more: &Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
        self.requests += more.requests;
        self.last_unix_ms = self.last_unix_ms.max(more.last_unix_ms);
    }
}

/// One feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// As a person defined it.
    #[serde(flatten)]
    pub spec: FeedSpec,
    /// What it is doing.
    pub phase: Phase,
    /// Bytes fetched so far, or of the last fetch.
    pub fetched_bytes: u64,
    /// How often it was tried since the daemon began: it grows when an attempt is over.
    pub attempts: u64,
    /// The format of the last good list, found out where it was not given.
    pub read_as: Option<Format>,
    /// Ranges of addresses that it lists, overlaps joined.
    pub ranges: u64,
    /// IPv4 addresses that it lists.
    pub addresses_v4: u64,
    /// How the last good list was read.
    pub report: Report,
    /// When the last good list was last known to be current: Unix ms.
    pub current_unix_ms: Option<u64>,
    /// When it is tried next: Unix ms.
    pub next_unix_ms: u64,
    /// Why the last attempt failed; `None` when it did not.
    pub problem: Option<String>,
    /// What it stopped since the daemon began.
    pub hits: ListHits,
}

/// All feeds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FeedList {
    /// In the order they were added.
    pub feeds: Vec<FeedStatus>,
    /// All of them in numbers.
    pub summary: FeedSummary,
    /// What is not as it should be, one line each.
    pub warnings: Vec<String>,
}

/// All feeds, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeedSummary {
    /// Feeds.
    pub feeds: usize,
    /// Of them, those whose last attempt failed.
    pub failing: usize,
    /// Ranges in force that sources are compared with.
    pub inbound_ranges: usize,
    /// Ranges in force that destinations are compared with.
    pub outbound_ranges: usize,
    /// Memory of the kernel's tables; without a kernel half none.
    pub kernel_bytes: u64,
    /// Most memory that they may take.
    pub kernel_bytes_max: u64,
    /// Whether some entries have no room.
    pub is_shed: bool,
}

/// One feed's word on an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The feed.
    pub feed: String,
    /// How sure it is, from 0 to 100.
    pub confidence: u8,
    /// The range that covers the address, first and last.
    pub first: IpAddr,
    /// Its last address.
    pub last: IpAddr,
    /// Whether sources are compared with it.
    pub inbound: bool,
    /// Whether destinations are compared with it.
    pub outbound: bool,
}

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedCheck {
    /// The address.
    pub address: IpAddr,
    /// Feeds that list it.
    pub listings: Vec<Listing>,
    /// Whether it is stopped as a source.
    pub blocked_inbound: bool,
    /// Whether it is stopped as a destination.
    pub blocked_outbound: bool,
    /// What protects it: then it is never stopped.
    pub protection: Option<crate::enforce::Protection>,
    /// What it was stopped of since the daemon began, as far as that is remembered.
    pub hits: ListHits,
}
