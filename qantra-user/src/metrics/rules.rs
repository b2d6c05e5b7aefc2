//! Metrics of rules. A rule's id is no label: there are hundreds, and sites times classes are enough for a graph.

use prometheus::{Histogram, IntCounterVec, IntGauge, Registry};

use super::{INFERENCE_BUCKETS, counters, gauge, histogram};

/// What is counted of rules.
#[derive(Debug)]
pub struct RuleMetrics {
    /// `qantra_rules_matched_total{site,result,class}`: requests and responses that some rule matched. `result` is `refused`,
    /// `unconfirmed`, `reported` or `passed`; `class` that of the attack, `response`, or `none`.
    pub matched: IntCounterVec,
    /// `qantra_rules_forgotten_total{table}`: what made room for newer `requests`, or for more frequent `rules`.
    pub forgotten: IntCounterVec,
    /// `qantra_rules_seconds`: inspection of one request.
    pub seconds: Histogram,
    /// `qantra_rules_response_seconds`: inspection of one response's body.
    pub response_seconds: Histogram,
    /// `qantra_rules_sets`: compiled rule sets.
    pub sets: IntGauge,
    /// `qantra_rules_bytes`: about how many bytes they hold.
    pub bytes: IntGauge,
    /// `qantra_rules_reloads_total{result}`: `done`, `unchanged` or `failed`.
    pub reloads: IntCounterVec,
    /// `qantra_rules_collections`: addresses, sessions and users that rules keep something of.
    pub collections: IntGauge,
    /// `qantra_rules_collections_evicted`: those that made room.
    pub collections_evicted: IntGauge,
}

impl RuleMetrics {
    pub(super) fn declare(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            matched: counters(
                r,
                "qantra_rules_matched_total",
                "Requests and responses that rules matched.",
                &["site", "result", "class"],
            )?,
            forgotten: counters(
                r,
                "qantra_rules_forgotten_total",
                "What made room in the tables of requests and rules that matched.",
                &["table"],
            )?,
            seconds: histogram(r, "qantra_rules_seconds", "Inspection of one request by rules.", INFERENCE_BUCKETS)?,
            response_seconds: histogram(
                r,
                "qantra_rules_response_seconds",
                "Inspection of one response's body by rules.",
                INFERENCE_BUCKETS,
            )?,
            sets: gauge(r, "qantra_rules_sets", "Compiled rule sets.")?,
            bytes: gauge(r, "qantra_rules_bytes", "About how many bytes compiled rule sets hold.")?,
            reloads: counters(r, "qantra_rules_reloads_total", "Reloads of rule files.", &["result"])?,
            collections: gauge(r, "qantra_rules_collections", "Collections of rules (IP, SESSION, USER, GLOBAL).")?,
            collections_evicted: gauge(r, "qantra_rules_collections_evicted", "Collections that made room.")?,
        })
    }
}
