//! `[learn]`: what the box learns from its own traffic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[learn]`: thresholds by site, which rise until `models.max_false_positive_rate` is kept, and parameters that are known.
/// Nothing here makes a request more suspicious.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LearnConfig {
    /// Off: the shipped thresholds everywhere, and nothing is learnt.
    pub enabled: bool,
    /// Until a site has a threshold of its own, what the request models find there is decided and written down as in
    /// simulation. Rules and behaviour detectors act all the same.
    pub monitor_until_calibrated: bool,
    /// Requests that a threshold rests on.
    pub requests_min: u64,
    /// Distinct sources (networks: /24, /48) that must agree before anything is taken for usual.
    pub sources_min: u32,
}

impl Default for LearnConfig {
    fn default() -> Self {
        Self { enabled: true, monitor_until_calibrated: false, requests_min: 10_000, sources_min: 16 }
    }
}
