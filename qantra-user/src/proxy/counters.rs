//! Enters: what the proxy counts. Leaves: numbers that `metrics` reads when it is scraped. Counting must never lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads it.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the proxy counts.
#[derive(Debug, Default)]
pub struct ProxyCounters {
    /// TCP connections accepted.
    pub connections: Counter,
    /// Connections closed at once because too many were open.
    pub connections_shed: Counter,
    /// Connections that ended without a whole request head in time.
    pub slow_heads: Counter,
    /// TLS handshakes that failed.
    pub tls_failures: Counter,
    /// Requests that got an answer, whoever gave it.
    pub requests: Counter,
    /// Requests whose form broke the protocol: 400.
    pub violations: Counter,
    /// Heads beyond the limits: 431.
    pub heads_too_large: Counter,
    /// Bodies beyond the limit: 413.
    pub bodies_too_large: Counter,
    /// Requests refused for a decision: 403.
    pub blocked: Counter,
    /// Throttled requests that waited.
    pub throttle_delays: Counter,
    /// Throttled requests that got 429.
    pub throttle_refusals: Counter,
    /// Requests sent to a decoy.
    pub forwarded: Counter,
    /// Actions left undone because the site is in simulation.
    pub simulated: Counter,
    /// Requests that passed because the judge was too late.
    pub judge_late: Counter,
    /// Failed connects to origins.
    pub connect_failures: Counter,
    /// Requests that no target answered: 502 and 504.
    pub origin_failures: Counter,
    /// Reloads of certificates that failed; the old ones stay.
    pub certificate_failures: Counter,
}
