//! Enters: failed logins with the account's hash and the source's. Leaves: from how many sources an account fails.

use super::{BoundedTable, Distinct, HOUR_MS, Worth};

/// Failed logins on one account. 64 bytes.
#[derive(Debug, Clone, Default)]
pub struct AccountFlow {
    sources: Distinct<HOUR_MS, 2>,
    last_ms: u64,
    failures: u32,
}

impl AccountFlow {
    /// Distinct sources that failed on it in 1 h; saturates near 600.
    #[must_use]
    pub fn sources_hour(&self, at_ms: u64) -> u32 {
        self.sources.estimate(at_ms)
    }
}

impl Worth for AccountFlow {
    /// One more doubling of failures outweighs ten idle minutes.
    fn worth(&self, now_ms: u64) -> i64 {
        let idle_min = now_ms.saturating_sub(self.last_ms) / 60_000;
        10 * i64::from(self.failures.ilog2()) - idle_min as i64
    }
}

/// Accounts by their hash; a spread-out brute force shows here and nowhere else.
#[derive(Debug)]
pub struct AccountTable {
    accounts: BoundedTable<u64, AccountFlow>,
}

impl AccountTable {
    /// How many accounts are watched: with 8,192 at most 0.8 MB.
    pub const LIMIT: usize = 8_192;

    /// An empty table.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { accounts: BoundedTable::new(Self::LIMIT, seed) }
    }

    /// Counts a failed login.
    pub fn failure(&mut self, at_ms: u64, account_hash: u64, source_hash: u64) -> &AccountFlow {
        let account = self
            .accounts
            .get_or_insert_with(account_hash, at_ms, || AccountFlow { failures: 1, ..AccountFlow::default() });
        account.sources.insert(at_ms, source_hash);
        account.last_ms = account.last_ms.max(at_ms);
        account.failures = account.failures.saturating_add(1);
        account
    }

    /// How many accounts are in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// How many accounts had to make room.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.accounts.evicted()
    }
}
