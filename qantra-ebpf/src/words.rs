//! Enters: memory of a known number of words. Leaves: it zeroed or copied, word by word. Plain assignments of more than some
//! bytes become calls of `memset` and `memcpy`, which on this target go byte by byte, also through the verifier: volatile
//! writes stay what they are.

/// Zeroes `COUNT` words.
///
/// # Safety
/// `to` is aligned and so large.
#[inline(always)]
pub(crate) unsafe fn zero<const COUNT: usize>(to: *mut u64) {
    for index in 0..COUNT {
        // SAFETY: the caller's promise.
        unsafe { to.add(index).write_volatile(0) };
    }
}

/// Copies `COUNT` half words of 32 bits.
///
/// # Safety
/// Both are aligned and so large.
#[inline(always)]
pub(crate) unsafe fn copy<const COUNT: usize>(to: *mut u32, from: *const u32) {
    for index in 0..COUNT {
        // SAFETY: the caller's promise.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
    }
}

/// Copies `COUNT` words that other CPUs may be changing.
///
/// # Safety
/// Both are aligned and so large.
#[inline(always)]
pub(crate) unsafe fn copy_long<const COUNT: usize>(to: *mut u64, from: *const u64) {
    for index in 0..COUNT {
        // SAFETY: the caller's promise.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
    }
}
