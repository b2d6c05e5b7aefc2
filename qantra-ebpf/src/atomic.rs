//! Enters: a pointer into a map value. Leaves: the value, changed by one BPF atomic instruction. It must never be
//! handed anything but a map value: CPUs share those, and a plain `+=` would lose counts.
//!
//! Rust's own atomics need compare-and-swap on this target, which BPF before v3 lacks; these instructions exist
//! since Linux 3.18 (add) and 5.12 (or, exchange).

use core::arch::asm;

/// `*value += amount`.
#[inline(always)]
pub(crate) unsafe fn add(value: *mut u64, amount: u64) {
    // SAFETY: the caller hands a live, 8-byte aligned map value; the verifier checks it again.
    unsafe { asm!("lock *(u64 *)({value} + 0) += {amount}", value = in(reg) value, amount = in(reg) amount) }
}

/// `*value |= bits`.
#[inline(always)]
pub(crate) unsafe fn or(value: *mut u64, bits: u64) {
    // SAFETY: as above.
    unsafe { asm!("lock *(u64 *)({value} + 0) |= {bits}", value = in(reg) value, bits = in(reg) bits) }
}

/// `*value = new`; returns what it was.
#[inline(always)]
pub(crate) unsafe fn exchange(value: *mut u64, mut new: u64) -> u64 {
    // SAFETY: as above.
    unsafe { asm!("{new} = xchg_64({value} + 0, {new})", value = in(reg) value, new = inout(reg) new) }
    new
}

/// Reads a value that other CPUs change.
#[inline(always)]
pub(crate) unsafe fn read(value: *const u64) -> u64 {
    // SAFETY: as above; volatile, so that it is read once and now.
    unsafe { value.read_volatile() }
}

/// Overwrites a value that other CPUs read; the last writer wins.
#[inline(always)]
pub(crate) unsafe fn write(value: *mut u64, new: u64) {
    // SAFETY: as above.
    unsafe { value.write_volatile(new) }
}
