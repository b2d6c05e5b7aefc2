//! Enters: nothing. Leaves: the two times every stage is handed. The only place that reads a clock for
//! detection and decisions; it must never be called from a `[pure]` module.

use std::time::{SystemTime, UNIX_EPOCH};

/// One instant on both clocks, taken together.
///
/// `boot_ns` is `CLOCK_BOOTTIME`, the clock of the kernel half (`bpf_ktime_get_boot_ns`): it never jumps,
/// so windows and expiries in maps use it. `unix_ms` is for people and for what must survive a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Now {
    /// Nanoseconds since boot, suspend included.
    pub boot_ns: u64,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
    pub fn read() -> Self {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        Self { boot_ns: boot_ns(), unix_ms }
    }

    /// Milliseconds since boot.
    #[must_use]
    pub const fn boot_ms(self) -> u64 {
        self.boot_ns / 1_000_000
    }

    /// The boot time, in ns, of a moment given in Unix ms; a moment before boot is 1 (0 means "never").
    #[must_use]
    pub fn boot_ns_of_unix_ms(self, unix_ms: u64) -> u64 {
        let delta_ns = (i128::from(unix_ms) - i128::from(self.unix_ms)) * 1_000_000;
        (i128::from(self.boot_ns) + delta_ns).clamp(1, i128::from(u64::MAX)) as u64
    }

    /// The Unix time, in ms, of a moment given in ns since boot; `None` for 0, which means "never".
    #[must_use]
    pub fn unix_ms_of_boot_ns(self, boot_ns: u64) -> Option<u64> {
        let ago_ms = (i128::from(self.boot_ns) - i128::from(boot_ns)) / 1_000_000;
        (boot_ns != 0).then(|| (i128::from(self.unix_ms) - ago_ms).clamp(0, i128::from(u64::MAX)) as u64)
    }
}

/// `CLOCK_BOOTTIME` in nanoseconds.
#[must_use]
pub fn boot_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
