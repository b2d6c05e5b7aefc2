//! Enters: one end of a packet. Leaves: the ban that is in force for it, if any. The protected set wins over every ban;
//! it is looked up only when a ban was found, and so is the clock. It must never remove a ban: user space does.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, maps::lpm_trie::Key};
use qantra_common::{
    map::{Ban, PREFIX_NESTING_MAX, Tunables},
    packet::Address,
};

use crate::{
    atomic,
    map::{BANS_V4, BANS_V6, PREFIX_BANS_V4, PREFIX_BANS_V6, PROTECTED_V4, PROTECTED_V6},
};

/// A ban in force.
pub(crate) struct BanHit {
    ban: *mut Ban,
    /// Whether a prefix is banned, not the address alone.
    pub(crate) by_prefix: bool,
    /// When it was looked up, in ns since boot.
    pub(crate) now_boot_ns: u64,
}

impl BanHit {
    /// The decision behind it.
    #[inline(always)]
    pub(crate) fn decision(&self) -> u64 {
        // SAFETY: a live map value.
        unsafe { (*self.ban).decision }
    }

    /// Counts what it stopped. Two CPUs that hit a fresh ban at once may both set the first time: they differ by less
    /// than a microsecond.
    #[inline(always)]
    pub(crate) fn count(&self, packets: u64, bytes: u64) {
        // SAFETY: a live map value; its counters are 8-byte aligned and changed by atomic instructions.
        unsafe {
            if atomic::read(&raw const (*self.ban).first_boot_ns) == 0 {
                atomic::write(&raw mut (*self.ban).first_boot_ns, self.now_boot_ns);
            }
            atomic::write(&raw mut (*self.ban).last_boot_ns, self.now_boot_ns);
            atomic::add(&raw mut (*self.ban).packets, packets);
            atomic::add(&raw mut (*self.ban).bytes, bytes);
        }
    }
}

/// The ban in force for an address at one end of a packet.
#[inline(always)]
pub(crate) fn find(address: &Address, is_v6: bool, direction: u32, tunables: &Tunables) -> Option<BanHit> {
    if is_v6 { find_v6(address.0, direction, tunables) } else { find_v4(address.low(), direction, tunables) }
}

/// Writes the same search for both families: map types differ, and no trait reaches across aya's maps.
macro_rules! define_find {
    ($find:ident, $key:ty, $exact:ident, $prefixes:ident, $protected:ident, $exact_count:ident, $prefix_count:ident) => {
        #[inline(always)]
        fn $find(address: $key, direction: u32, tunables: &Tunables) -> Option<BanHit> {
            const BITS: u32 = 8 * size_of::<$key>() as u32;
            let mut now_boot_ns = 0;
            let mut found = None;
            if tunables.$exact_count != 0
                && let Some(ban) = $exact.get_ptr_mut(address)
            {
                now_boot_ns = boot_ns();
                // SAFETY: a live map value.
                if unsafe { (*ban).applies(direction, now_boot_ns) } {
                    found = Some((ban, false));
                }
            }
            if found.is_none() && tunables.$prefix_count != 0 {
                let mut key = Key::new(BITS, address);
                for _ in 0..PREFIX_NESTING_MAX {
                    let Some(ban) = $prefixes.get(&key) else { break };
                    if now_boot_ns == 0 {
                        now_boot_ns = boot_ns();
                    }
                    if ban.applies(direction, now_boot_ns) {
                        found = Some(((ban as *const Ban).cast_mut(), true));
                        break;
                    }
                    // It ended, or is for the other direction: a wider prefix may still apply.
                    if ban.prefix_len == 0 || ban.prefix_len > key.prefix_len {
                        break;
                    }
                    key.prefix_len = ban.prefix_len - 1;
                }
            }
            let (ban, by_prefix) = found?;
            match $protected.get(&Key::new(BITS, address)) {
                Some(_) => None,
                None => Some(BanHit { ban, by_prefix, now_boot_ns }),
            }
        }
    };
}

define_find!(find_v4, u32, BANS_V4, PREFIX_BANS_V4, PROTECTED_V4, bans_v4, prefix_bans_v4);
define_find!(find_v6, [u32; 4], BANS_V6, PREFIX_BANS_V6, PROTECTED_V6, bans_v6, prefix_bans_v6);

#[inline(always)]
fn boot_ns() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}
