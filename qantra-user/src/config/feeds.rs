//! `[feeds]`: limits of block list feeds. The feeds themselves are kept by `qantra blocklists`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[feeds]`: how much block lists may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FeedsConfig {
    /// Most memory that the kernel's tables of feeds take; the least confident entries make room. None: a sixteenth of
    /// the box's memory, at most 64.
    pub kernel_memory_max_mb: Option<u32>,
    /// Most ranges of addresses that all feeds together hold, 8 bytes each for IPv4, 32 for IPv6.
    pub entries_max: u32,
    /// Longest list, as it is fetched.
    pub download_max_mb: u32,
    /// Longest list, unpacked.
    pub unpacked_max_mb: u32,
    /// Longest time that one fetch may take.
    pub timeout_s: u32,
    /// A list that has less than this share of the entries of the last good one is not believed; 0: always believed.
    pub shrink_percent: u8,
}

impl Default for FeedsConfig {
    fn default() -> Self {
        Self {
            kernel_memory_max_mb: None,
            entries_max: 2_000_000,
            download_max_mb: 64,
            unpacked_max_mb: 256,
            timeout_s: 60,
            shrink_percent: 50,
        }
    }
}
