//! Metrics of block list feeds. A feed's name is a label: people choose few of them.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{counters, gauge, gauges};

/// What is counted of feeds.
#[derive(Debug)]
pub struct FeedMetrics {
    /// `qantra_feed_entries{feed}`: entries taken from the last good list.
    pub entries: IntGaugeVec,
    /// `qantra_feed_rejected{feed}`: lines of it that are no entry, or were refused.
    pub rejected: IntGaugeVec,
    /// `qantra_feed_last_success_timestamp_seconds{feed}`: when the list was last known to be current.
    pub last_success: IntGaugeVec,
    /// `qantra_feed_fetches_total{feed,result}`: `fresh`, `unchanged` or `failed`.
    pub fetches: IntCounterVec,
    /// `qantra_feed_packets_total{feed}`: packets that the kernel dropped for addresses on the list.
    pub packets: IntCounterVec,
    /// `qantra_feed_requests_total{feed}`: requests that the proxy refused for addresses on the list.
    pub requests: IntCounterVec,
    /// `qantra_feed_kernel_bytes`: memory of the kernel's tables of feeds.
    pub kernel_bytes: IntGauge,
    /// `qantra_feed_shed`: 1 while some entries have no room.
    pub shed: IntGauge,
}

impl FeedMetrics {
    pub(super) fn declare(r: &Registry) -> Result<Self, prometheus::Error> {
        const FEED: &[&str] = &["feed"];
        Ok(Self {
            entries: gauges(r, "qantra_feed_entries", "Entries taken from a feed's last good list.", FEED)?,
            rejected: gauges(r, "qantra_feed_rejected", "Lines of it that are no entry, or were refused.", FEED)?,
            last_success: gauges(
                r,
                "qantra_feed_last_success_timestamp_seconds",
                "When a feed's list was last known to be current, Unix time.",
                FEED,
            )?,
            fetches: counters(r, "qantra_feed_fetches_total", "Fetches of a feed's list.", &["feed", "result"])?,
            packets: counters(r, "qantra_feed_packets_total", "Packets dropped for addresses on a list.", FEED)?,
            requests: counters(r, "qantra_feed_requests_total", "Requests refused for addresses on a list.", FEED)?,
            kernel_bytes: gauge(r, "qantra_feed_kernel_bytes", "Memory of the kernel's tables of feeds.")?,
            shed: gauge(r, "qantra_feed_shed", "1 while some entries of feeds have no room in the kernel.")?,
        })
    }

    /// Ends the rows of a feed that is no more.
    pub fn forget(&self, feed: &str) {
        // A row that was never made is no loss.
        for gauges in [&self.entries, &self.rejected, &self.last_success] {
            let _ = gauges.remove_label_values(&[feed]);
        }
        for counters in [&self.packets, &self.requests] {
            let _ = counters.remove_label_values(&[feed]);
        }
        for result in ["fresh", "unchanged", "failed"] {
            let _ = self.fetches.remove_label_values(&[feed, result]);
        }
    }
}
