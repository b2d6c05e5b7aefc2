//! The protected set and the allowlist as one question: may this be banned?

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    prefix::PrefixMap,
    protected::{ProtectedSet, Why},
};

/// One entry of the allowlist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowEntry {
    /// Whom it covers.
    pub net: IpNet,
    /// Why, in a person's words.
    pub comment: String,
    /// When it was added: Unix ms.
    pub created_unix_ms: u64,
    /// When it ends: Unix ms; `None` is never.
    pub expires_unix_ms: Option<u64>,
}

impl AllowEntry {
    /// Whether it has ended.
    #[must_use]
    pub fn is_expired(&self, now_unix_ms: u64) -> bool {
        self.expires_unix_ms.is_some_and(|end| end <= now_unix_ms)
    }
}

/// A protected prefix and why it is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// The protected prefix.
    pub net: IpNet,
    /// Why.
    pub why: Why,
}

/// One immutable state of both.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) protected: ProtectedSet,
    pub(super) allow: Vec<AllowEntry>,
    entries: Vec<Protection>,
    covered: PrefixMap<()>,
}

impl Guard {
    /// Leaves out what has ended.
    pub(super) fn new(protected: ProtectedSet, mut allow: Vec<AllowEntry>, now_unix_ms: u64) -> Self {
        allow.retain(|entry| !entry.is_expired(now_unix_ms));
        let own = protected.entries().iter().map(|(net, why)| Protection { net: *net, why: why.clone() });
        let listed = allow.iter().map(|e| Protection { net: e.net, why: Why::Allowlist(e.comment.clone()) });
        let entries: Vec<Protection> = own.chain(listed).collect();
        let covered = entries.iter().map(|entry| (entry.net, ())).collect();
        Self { protected, allow, entries, covered }
    }

    /// Whether no decision may touch this address. No allocation, a few hash lookups.
    pub(super) fn covers(&self, address: IpAddr) -> bool {
        self.covered.covering(address).next().is_some()
    }

    /// What would be hit by a decision about this prefix: a protected prefix inside it, or one around it.
    pub(super) fn conflict(&self, net: &IpNet) -> Option<&Protection> {
        self.entries.iter().find(|entry| entry.net.contains(net) || net.contains(&entry.net))
    }

    /// Everything protected, each with the reason.
    pub(super) fn entries(&self) -> &[Protection] {
        &self.entries
    }

    /// Everything protected, for the kernel's own table.
    pub(super) fn networks(&self) -> Vec<IpNet> {
        let mut nets: Vec<IpNet> = self.entries.iter().map(|entry| entry.net).collect();
        nets.sort();
        nets.dedup();
        nets
    }
}
