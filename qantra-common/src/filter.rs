//! Enters: an address. Leaves: the bits of [`map::FILTER`](crate::map::FILTER) that stand for it. A bit that is not set
//! means that there is nothing to look up; one that is set may be another's. User space sets bits before it inserts an
//! entry and clears them after it removed the last one that they stand for.
//!
//! Lookups in hash tables and tries cost tens of nanoseconds even when they find nothing; a bit costs three.

use crate::feed::hash_v6;

/// Bits of each large region: 128 KiB.
const LARGE: u32 = 1 << 20;
/// Bits of each small region: 8 KiB.
const SMALL: u32 = 1 << 16;

const EXACT: u32 = 0;
const PREFIX_V4: u32 = EXACT + LARGE;
const PREFIX_V6: u32 = PREFIX_V4 + LARGE;
const PROTECTED_V4: u32 = PREFIX_V6 + SMALL;
const PROTECTED_V6: u32 = PROTECTED_V4 + SMALL;
const END: u32 = PROTECTED_V6 + SMALL;

/// 64-bit words of the whole filter.
pub const WORDS: u32 = END / 64;

/// A first bit and how many follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bits {
    /// The first.
    pub first: u32,
    /// How many, at least one.
    pub count: u32,
}

/// The bit of a banned IPv4 address (as a number).
#[inline(always)]
#[must_use]
pub const fn exact_v4(address: u32) -> u32 {
    EXACT + (hash_v6(address as u64, 0) as u32 & (LARGE - 1))
}

/// The bit of a banned IPv6 address or /64, by its upper half.
#[inline(always)]
#[must_use]
pub const fn exact_v6(upper: u64) -> u32 {
    EXACT + (hash_v6(upper, 1) as u32 & (LARGE - 1))
}

/// The bit that an IPv4 address has among banned prefixes: one for each /20.
#[inline(always)]
#[must_use]
pub const fn prefix_v4(address: u32) -> u32 {
    PREFIX_V4 + (address >> 12)
}

/// The bit that an IPv6 address has among banned prefixes: a hash of its /32.
#[inline(always)]
#[must_use]
pub const fn prefix_v6(upper: u64) -> u32 {
    PREFIX_V6 + (hash_v6(upper >> 32, 2) as u32 & (SMALL - 1))
}

/// The bit that an IPv4 address has in the protected set: one for each /16.
#[inline(always)]
#[must_use]
pub const fn protected_v4(address: u32) -> u32 {
    PROTECTED_V4 + (address >> 16)
}

/// The bit that an IPv6 address has in the protected set: a hash of its /32.
#[inline(always)]
#[must_use]
pub const fn protected_v6(upper: u64) -> u32 {
    PROTECTED_V6 + (hash_v6(upper >> 32, 3) as u32 & (SMALL - 1))
}

/// Every bit of a banned or protected IPv4 prefix.
#[must_use]
pub const fn prefix_bits_v4(address: u32, prefix_len: u8, is_protected: bool) -> Bits {
    let (shift, first) = if is_protected { (16, protected_v4(address)) } else { (12, prefix_v4(address)) };
    let covered = 32 - shift;
    let count = if prefix_len as u32 >= covered { 1 } else { 1 << (covered - prefix_len as u32) };
    Bits { first, count }
}

/// Every bit of a banned or protected IPv6 prefix; one that is shorter than /32 has all of them.
#[must_use]
pub const fn prefix_bits_v6(upper: u64, prefix_len: u8, is_protected: bool) -> Bits {
    if prefix_len < 32 {
        return Bits { first: if is_protected { PROTECTED_V6 } else { PREFIX_V6 }, count: SMALL };
    }
    Bits { first: if is_protected { protected_v6(upper) } else { prefix_v6(upper) }, count: 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(bits: Bits, bit: u32) -> bool {
        (bits.first..bits.first + bits.count).contains(&bit)
    }

    proptest! {
        #[test]
        fn an_address_in_a_prefix_has_one_of_its_bits(address: u32, upper: u64, len in 0_u8..=32, len6 in 0_u8..=64) {
            let net = if len == 0 { 0 } else { address >> (32 - len) << (32 - len) };
            let net6 = if len6 == 0 { 0 } else { upper >> (64 - len6) << (64 - len6) };
            prop_assert!(holds(prefix_bits_v4(net, len, false), prefix_v4(address)));
            prop_assert!(holds(prefix_bits_v4(net, len, true), protected_v4(address)));
            prop_assert!(holds(prefix_bits_v6(net6, len6, false), prefix_v6(upper)));
            prop_assert!(holds(prefix_bits_v6(net6, len6, true), protected_v6(upper)));
        }

        #[test]
        fn every_bit_is_inside(address: u32, upper: u64) {
            let bits = [
                exact_v4(address), exact_v6(upper), prefix_v4(address), prefix_v6(upper), protected_v4(address),
                protected_v6(upper),
            ];
            prop_assert!(bits.iter().all(|bit| bit / 64 < WORDS));
            prop_assert!(bits.windows(2).skip(1).all(|pair| pair[0] < pair[1]), "regions do not overlap");
        }
    }
}
