//! Metrics of what is learnt on the box.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::{counter, counters, gauge};

/// What is counted of learning.
#[derive(Debug)]
pub struct LearnMetrics {
    /// `qantra_learn_requests_total{result}`: requests that were learnt from, or were `not_vouched`: their source is too
    /// new, or sends too much that looks like an attack.
    pub requests: IntCounterVec,
    /// `qantra_learn_lowered_total`: fields whose score was lowered, because they fit what many sources send.
    pub lowered: IntCounter,
    /// `qantra_learn_spared_total`: requests above the shipped threshold and below that of their site.
    pub spared: IntCounter,
    /// `qantra_learn_evicted_total`: endpoints, parameters and shapes that made room or found none.
    pub evicted: IntCounter,
    /// `qantra_learn_calibrated`: sites and endpoints with a threshold of their own.
    pub calibrated: IntGauge,
    /// `qantra_learn_parameters`: parameters of which something is known.
    pub parameters: IntGauge,
}

impl LearnMetrics {
    pub(super) fn declare(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: counters(
                r,
                "qantra_learn_requests_total",
                "Requests by what was learnt from them.",
                &["result"],
            )?,
            lowered: counter(r, "qantra_learn_lowered_total", "Fields whose score was lowered by what is known.")?,
            spared: counter(r, "qantra_learn_spared_total", "Requests below the threshold of their site alone.")?,
            evicted: counter(r, "qantra_learn_evicted_total", "What was learnt and made room or found none.")?,
            calibrated: gauge(r, "qantra_learn_calibrated", "Sites and endpoints with a threshold of their own.")?,
            parameters: gauge(r, "qantra_learn_parameters", "Parameters of which something is known.")?,
        })
    }
}
