//! What enforcement needs of the kernel half. `xdp/` implements it; tests use a map in memory.

use ipnet::IpNet;

use crate::decide::{DecisionId, Direction};

/// One ban as the kernel holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelBan {
    /// Whom it covers.
    pub net: IpNet,
    /// Which end of a packet is compared.
    pub direction: Direction,
    /// The decision that caused it.
    pub decision: DecisionId,
    /// When it stops by itself, in ns since boot; `None` is never.
    pub expires_boot_ns: Option<u64>,
    /// What it stopped so far.
    pub hits: BanHits,
}

/// What a ban stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct BanHits {
    /// Packets dropped.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first packet was dropped: ns since boot; 0 when none was.
    pub first_boot_ns: u64,
    /// When the last packet was dropped: ns since boot.
    pub last_boot_ns: u64,
}

/// The kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// The table is full.
    #[error("the kernel's table of {what} is full ({limit} entries): raise `kernel.{key}` or let some decisions end")]
    Full {
        /// Which table.
        what: &'static str,
        /// Its size.
        limit: u32,
        /// The config key that sets the size.
        key: &'static str,
    },
    /// nftables refused.
    #[error("nftables, {what}: {source}")]
    Nftables {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Any other failure of bpf(2).
    #[error("bpf(2) on the map of {what}: {source}")]
    Map {
        /// Which table.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// The kernel half, as enforcement sees it. Every call is one short system call; none waits.
pub trait KernelPlane: Send + Sync {
    /// Bans, or replaces the ban of exactly the same prefix; hits so far are kept.
    ///
    /// # Errors
    /// The table is full, or bpf(2) fails.
    fn ban(&self, ban: &KernelBan) -> Result<(), PlaneError>;

    /// Ends the ban of exactly this prefix; what it stopped is returned, `None` when there was none.
    ///
    /// # Errors
    /// bpf(2) fails.
    fn unban(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError>;

    /// What the ban of exactly this prefix stopped; `None` when there is none.
    ///
    /// # Errors
    /// bpf(2) fails.
    fn hits(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError>;

    /// Every ban that the kernel holds, for reconciling at start.
    ///
    /// # Errors
    /// bpf(2) fails.
    fn bans(&self) -> Result<Vec<KernelBan>, PlaneError>;

    /// Makes the protected set exactly this: what is missing is added before what is no longer wanted is removed.
    ///
    /// # Errors
    /// The table is full, or bpf(2) fails.
    fn protect(&self, networks: &[IpNet]) -> Result<(), PlaneError>;
}
