//! Enters: one end of a packet. Leaves: the ban that is in force for it, if any. The protected set wins over every ban; it
//! is looked up only where a ban may be found, and so is the clock. It must never remove a ban: user space does.

use aya_ebpf::maps::lpm_trie::Key;
use qantra_common::{
    filter,
    map::{Ban, PREFIX_NESTING_MAX},
    packet::Address,
};

use crate::{
    atomic,
    clock::{boot_ns, coarse_boot_ns},
    filter::may_hold,
    map::{BANS_V4, BANS_V6, BANS_V6_64, PREFIX_BANS_V4, PREFIX_BANS_V6, PROTECTED_V4, PROTECTED_V6},
};

/// A ban in force, already counted: numbers alone, because the verifier would follow each of five tables' pointers to the
/// end of the program.
#[derive(Clone, Copy)]
pub(crate) struct BanHit {
    /// The decision behind it.
    pub(crate) decision: u64,
    /// Whether a prefix is banned, not the address alone.
    pub(crate) by_prefix: bool,
}

/// What a packet counts for.
#[derive(Clone, Copy)]
pub(crate) struct Weight {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// Counts what a ban stopped. Two CPUs that hit a fresh ban at once may both set the first time: they differ by less than
/// a microsecond.
///
/// # Safety
/// `ban` is a live map value.
#[inline(always)]
unsafe fn count(ban: *mut Ban, weight: &Weight, now_boot_ns: u64) -> u64 {
    // SAFETY: the caller's promise; counters are 8-byte aligned and changed by atomic instructions.
    unsafe {
        if atomic::read(&raw const (*ban).first_boot_ns) == 0 {
            // How soon a decision reached the kernel is told by this.
            atomic::write(&raw mut (*ban).first_boot_ns, boot_ns());
        }
        if atomic::read(&raw const (*ban).last_boot_ns) < now_boot_ns {
            atomic::write(&raw mut (*ban).last_boot_ns, now_boot_ns);
        }
        atomic::add(&raw mut (*ban).packets, weight.packets);
        atomic::add(&raw mut (*ban).bytes, weight.bytes);
        (*ban).decision
    }
}

/// The ban in force for an address at one end of a packet; the packet is counted for it.
#[inline(always)]
pub(crate) fn find(address: &Address, is_v6: bool, direction: u32, weight: &Weight) -> Option<BanHit> {
    if is_v6 { find_v6(address, direction, weight) } else { find_v4(address, direction, weight) }
}

/// Whether no ban, feed or budget may touch an address.
#[inline(never)]
pub(crate) fn is_protected(address: &Address, is_v6: bool) -> bool {
    if is_v6 {
        may_hold(filter::protected_v6(address.upper_number())) && PROTECTED_V6.get(Key::new(128, address.0)).is_some()
    } else {
        may_hold(filter::protected_v4(u32::from_be(address.low())))
            && PROTECTED_V4.get(Key::new(32, address.low())).is_some()
    }
}

#[inline(always)]
fn find_v4(address: &Address, direction: u32, weight: &Weight) -> Option<BanHit> {
    let number = u32::from_be(address.low());
    let may_be_exact = may_hold(filter::exact_v4(number));
    let may_be_prefix = may_hold(filter::prefix_v4(number));
    if !(may_be_exact || may_be_prefix) || is_protected(address, false) {
        return None;
    }
    if may_be_exact && let Some(decision) = in_force(BANS_V4.get_ptr_mut(address.low()), direction, weight) {
        return Some(BanHit { decision, by_prefix: false });
    }
    let mut hit = BanHit { decision: 0, by_prefix: true };
    (may_be_prefix && prefix_v4(&[address.low(), 0], direction, weight, &mut hit)).then_some(hit)
}

#[inline(always)]
fn find_v6(address: &Address, direction: u32, weight: &Weight) -> Option<BanHit> {
    let upper = address.upper_number();
    let may_be_exact = may_hold(filter::exact_v6(upper));
    let may_be_prefix = may_hold(filter::prefix_v6(upper));
    if !(may_be_exact || may_be_prefix) || is_protected(address, true) {
        return None;
    }
    if may_be_exact {
        if let Some(decision) = in_force(BANS_V6.get_ptr_mut(address.0), direction, weight) {
            return Some(BanHit { decision, by_prefix: false });
        }
        let net = [address.0[0], address.0[1]];
        if let Some(decision) = in_force(BANS_V6_64.get_ptr_mut(net), direction, weight) {
            return Some(BanHit { decision, by_prefix: true });
        }
    }
    let mut hit = BanHit { decision: 0, by_prefix: true };
    (may_be_prefix && prefix_v6(&address.0, direction, weight, &mut hit)).then_some(hit)
}

/// The decision of a ban that is in force.
#[inline(always)]
fn in_force(ban: Option<*mut Ban>, direction: u32, weight: &Weight) -> Option<u64> {
    let ban = ban?;
    let now_boot_ns = coarse_boot_ns();
    // SAFETY: a live map value.
    unsafe { if (*ban).applies(direction, now_boot_ns) { Some(count(ban, weight, now_boot_ns)) } else { None } }
}

/// Writes the same search for both families: map types differ, and no trait reaches across aya's maps. No `Option` stands in
/// the signature: the kernel refuses the type information of Rust's enums with data.
macro_rules! define_prefix_search {
    ($search:ident, $key:ty, $bits:literal, $prefixes:ident) => {
        #[inline(never)]
        fn $search(address: &$key, direction: u32, weight: &Weight, hit: &mut BanHit) -> bool {
            let mut key = Key::new($bits, *address);
            let now_boot_ns = coarse_boot_ns();
            for _ in 0..PREFIX_NESTING_MAX {
                let Some(ban) = $prefixes.get(&key) else { return false };
                if ban.applies(direction, now_boot_ns) {
                    // SAFETY: a live map value.
                    hit.decision = unsafe { count((ban as *const Ban).cast_mut(), weight, now_boot_ns) };
                    return true;
                }
                // It ended, or is for the other direction: a wider prefix may still apply.
                if ban.prefix_len == 0 || ban.prefix_len > key.prefix_len {
                    return false;
                }
                key.prefix_len = ban.prefix_len - 1;
            }
            false
        }
    };
}

define_prefix_search!(prefix_v4, [u32; 2], 32, PREFIX_BANS_V4);
define_prefix_search!(prefix_v6, [u32; 4], 128, PREFIX_BANS_V6);
