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
    /// Requests refused by a rule, and responses withheld.
    pub rule_refusals: Counter,
    /// Requests that went on because their inspection by rules came too late.
    pub rules_late: Counter,
    /// Failed connects to origins.
    pub connect_failures: Counter,
    /// Requests that no target answered: 502 and 504.
    pub origin_failures: Counter,
    /// Reloads of certificates that failed; the old ones stay.
    pub certificate_failures: Counter,
}

impl ProxyCounters {
    /// Every count by its name.
    #[must_use]
    pub fn totals(&self) -> [(&'static str, u64); 19] {
        [
            ("connections", self.connections.get()),
            ("connections_shed", self.connections_shed.get()),
            ("slow_heads", self.slow_heads.get()),
            ("tls_failures", self.tls_failures.get()),
            ("requests", self.requests.get()),
            ("violations", self.violations.get()),
            ("heads_too_large", self.heads_too_large.get()),
            ("bodies_too_large", self.bodies_too_large.get()),
            ("blocked", self.blocked.get()),
            ("throttle_delays", self.throttle_delays.get()),
            ("throttle_refusals", self.throttle_refusals.get()),
            ("forwarded", self.forwarded.get()),
            ("simulated", self.simulated.get()),
            ("judge_late", self.judge_late.get()),
            ("rule_refusals", self.rule_refusals.get()),
            ("rules_late", self.rules_late.get()),
            ("connect_failures", self.connect_failures.get()),
            ("origin_failures", self.origin_failures.get()),
            ("certificate_failures", self.certificate_failures.get()),
        ]
    }
}
