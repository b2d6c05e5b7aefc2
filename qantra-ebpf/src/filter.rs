//! Enters: a bit of the filter. Leaves: whether a lookup may find something.

use crate::map::FILTER;

/// Whether a bit is set.
#[inline(always)]
pub(crate) fn may_hold(bit: u32) -> bool {
    match FILTER.get(bit >> 6) {
        Some(word) => *word >> (bit & 63) & 1 == 1,
        None => false,
    }
}
