//! Enters: what all feeds list, each part with how sure it is. Leaves: what fits into the memory that the kernel may take
//! for it. What is least sure goes first; of what is equally sure the narrowest, since wide blocks cost least.

use crate::enforce::AddressRanges;

use super::merge::union;

/// What the kernel's tables of one direction take for IPv4 before anything is listed.
const V4_FIXED_BYTES: u64 = 6_300_000;
/// Most listed addresses of a /24 that are kept one by one.
const SPARSE_ADDRESSES_MAX: u64 = 4;
const V4_ADDRESS_BYTES: u64 = 4;
/// One bit for each address of a /24.
const V4_LEAF_BYTES: u64 = 32;
const V6_LONG_BYTES: u64 = 26;
const V6_SHORT_BYTES: u64 = 16;
/// Halvings when the place of a cut is looked for: to 1/4096 of a part.
const HALVINGS: u32 = 12;

/// About how many bytes the kernel's tables take for a set. A little more than they do: what is in force must fit.
#[must_use]
pub fn kernel_bytes(set: &AddressRanges) -> u64 {
    let v4 = if set.v4.is_empty() { 0 } else { V4_FIXED_BYTES + v4_bytes(&set.v4) };
    v4 + set.v6.iter().map(|(first, last)| v6_bytes(*first, *last)).sum::<u64>()
}

fn v4_bytes(ranges: &[(u32, u32)]) -> u64 {
    let leaf = |listed: u64| match listed {
        0 | 256 => 0,
        1..=SPARSE_ADDRESSES_MAX => listed * V4_ADDRESS_BYTES,
        _ => V4_LEAF_BYTES,
    };
    let (mut bytes, mut block, mut listed) = (0, 0, 0_u64);
    let mut add = |at: u32, count: u64| {
        if at != block {
            bytes += leaf(listed);
            (block, listed) = (at, 0);
        }
        listed += count;
    };
    for (first, last) in ranges {
        let (from, to) = (first >> 8, last >> 8);
        if from == to {
            add(from, u64::from(last - first) + 1);
        } else {
            // The blocks between are listed whole and cost nothing.
            add(from, 256 - u64::from(first & 0xff));
            add(to, u64::from(last & 0xff) + 1);
        }
    }
    bytes + leaf(listed)
}

/// The prefixes that a range is made of, each with its cost.
fn v6_bytes(mut first: u128, last: u128) -> u64 {
    let mut bytes = 0;
    loop {
        let aligned = first.trailing_zeros().min(128);
        let room = last - first;
        let fits = if room == u128::MAX { 128 } else { (room + 1).ilog2() };
        let host_bits = aligned.min(fits);
        bytes += if host_bits <= 64 { V6_LONG_BYTES } else { V6_SHORT_BYTES };
        let size_less_one = if host_bits == 128 { u128::MAX } else { (1 << host_bits) - 1 };
        match first.checked_add(size_less_one).and_then(|end| end.checked_add(1)) {
            Some(next) if next <= last => first = next,
            _ => return bytes,
        }
    }
}

/// A part of what feeds list: all that is equally sure.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// How sure, from 0 to 100.
    pub confidence: u8,
    /// Whether it is compared with sources.
    pub inbound: bool,
    /// Whether it is compared with destinations.
    pub outbound: bool,
    /// What is listed.
    pub ranges: &'a AddressRanges,
}

/// What is put in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Combined {
    /// Compared with sources.
    pub inbound: AddressRanges,
    /// Compared with destinations.
    pub outbound: AddressRanges,
    /// What the kernel's tables take for both, as estimated.
    pub bytes: u64,
    /// Whether something did not fit.
    pub is_shed: bool,
}

/// Puts together as much as fits, most confident parts first.
#[must_use]
pub fn combine(parts: &[Part<'_>], bytes_max: u64) -> Combined {
    let all = join(parts, &[]);
    if all.bytes <= bytes_max {
        return all;
    }
    let mut sorted = parts.to_vec();
    sorted.sort_by_key(|part| std::cmp::Reverse(part.confidence));
    // Whole levels of confidence that fit; of the first that does not, as much as does.
    let (mut taken, mut best) = (0, Combined::default());
    for level in sorted.chunk_by(|a, b| a.confidence == b.confidence) {
        let next = join(&sorted[..taken + level.len()], &[]);
        if next.bytes > bytes_max {
            best = fill(&sorted[..taken], level, bytes_max, best);
            break;
        }
        (taken, best) = (taken + level.len(), next);
    }
    best.is_shed = true;
    best
}

/// Adds the widest ranges of one level, as many as fit.
fn fill(taken: &[Part<'_>], level: &[Part<'_>], bytes_max: u64, mut best: Combined) -> Combined {
    let widest: Vec<AddressRanges> = level.iter().map(|part| by_width(part.ranges)).collect();
    let (mut low, mut high) = (0, 1_u64 << HALVINGS);
    while high - low > 1 {
        let share = u64::midpoint(low, high);
        let cut: Vec<AddressRanges> = widest.iter().map(|ranges| beginning(ranges, share)).collect();
        let extra: Vec<Part<'_>> = level.iter().zip(&cut).map(|(part, ranges)| Part { ranges, ..*part }).collect();
        let tried = join(taken, &extra);
        if tried.bytes <= bytes_max {
            (low, best) = (share, tried);
        } else {
            high = share;
        }
    }
    best
}

fn by_width(ranges: &AddressRanges) -> AddressRanges {
    let mut sorted = ranges.clone();
    // Stable: of equally wide ones the lower come first, every time.
    sorted.v4.sort_by_key(|(first, last)| std::cmp::Reverse(last - first));
    sorted.v6.sort_by_key(|(first, last)| std::cmp::Reverse(last - first));
    sorted
}

fn beginning(ranges: &AddressRanges, share: u64) -> AddressRanges {
    let count = |all: usize| ((all as u64 * share) >> HALVINGS) as usize;
    AddressRanges { v4: ranges.v4[..count(ranges.v4.len())].to_vec(), v6: ranges.v6[..count(ranges.v6.len())].to_vec() }
}

fn join(parts: &[Part<'_>], more: &[Part<'_>]) -> Combined {
    let all = || parts.iter().chain(more);
    let inbound = union(all().filter(|part| part.inbound).map(|part| part.ranges));
    let outbound = union(all().filter(|part| part.outbound).map(|part| part.ranges));
    // The kernel holds the same list once.
    let bytes = kernel_bytes(&inbound) + if outbound == inbound { 0 } else { kernel_bytes(&outbound) };
    Combined { inbound, outbound, bytes, is_shed: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(ranges: &[(u32, u32)]) -> AddressRanges {
        AddressRanges { v4: ranges.to_vec(), v6: Vec::new() }
    }

    #[test]
    fn whole_blocks_cost_nothing_and_dense_ones_a_leaf() {
        let bytes = |ranges: &[(u32, u32)]| kernel_bytes(&v4(ranges)) - V4_FIXED_BYTES;
        assert_eq!(bytes(&[(0x0100_0000, 0x01ff_ffff)]), 0, "a /8");
        assert_eq!(bytes(&[(0x0101_0107, 0x0101_0107)]), 4);
        assert_eq!(bytes(&[(0x0101_0100, 0x0101_0103), (0x0101_0107, 0x0101_0107)]), 32, "five of one block");
        assert_eq!(bytes(&[(0x0101_01ff, 0x0101_0300)]), 8, "the ends of two blocks and one between");
        assert_eq!(kernel_bytes(&AddressRanges::default()), 0);
    }

    #[test]
    fn ipv6_costs_by_prefix() {
        let one = |first: u128, last: u128| kernel_bytes(&AddressRanges { v4: Vec::new(), v6: vec![(first, last)] });
        let base = 0x2400_u128 << 112;
        assert_eq!(one(base, base), 26, "/128");
        assert_eq!(one(base, base | ((1 << 64) - 1)), 26, "/64");
        assert_eq!(one(base, base | ((1 << 80) - 1)), 16, "/48");
        assert_eq!(one(base, base + 2), 52, "/127 and /128");
        assert_eq!(one(0, u128::MAX), 16);
        assert_eq!(one(1, u128::MAX), 26 * 65 + 16 * 63);
    }

    #[test]
    fn the_least_confident_go_first() {
        let sure = v4(&[(0x0100_0000, 0x0100_0000)]);
        let wide = (0x0300_0000, 0x0300_ffff);
        let unsure = v4(&[(0x0200_0001, 0x0200_0001), (0x0200_0101, 0x0200_0101), wide]);
        let part = |confidence, ranges| Part { confidence, inbound: true, outbound: false, ranges };
        let parts = [part(10, &unsure), part(90, &sure)];
        let all = combine(&parts, u64::MAX);
        assert_eq!((all.bytes, all.is_shed, all.inbound.v4.len()), (V4_FIXED_BYTES + 12, false, 4));
        let some = combine(&parts, V4_FIXED_BYTES + 8);
        assert!(some.is_shed && some.bytes <= V4_FIXED_BYTES + 8);
        assert_eq!(some.inbound.v4, [(0x0100_0000, 0x0100_0000), (0x0200_0001, 0x0200_0001), wide]);
        let few = combine(&parts, V4_FIXED_BYTES + 4);
        assert_eq!(few.inbound.v4, [(0x0100_0000, 0x0100_0000), wide]);
        assert!(combine(&parts, V4_FIXED_BYTES - 1).inbound.is_empty());
        assert!(combine(&[], 0).inbound.is_empty() && !combine(&[], 0).is_shed);
    }

    #[test]
    fn each_direction_is_its_own() {
        let (a, b) = (v4(&[(1, 1)]), v4(&[(9, 9)]));
        let parts = [
            Part { confidence: 1, inbound: true, outbound: true, ranges: &a },
            Part { confidence: 1, inbound: false, outbound: true, ranges: &b },
        ];
        let combined = combine(&parts, u64::MAX);
        assert_eq!(combined.bytes, 2 * V4_FIXED_BYTES + 3 * V4_ADDRESS_BYTES);
        assert_eq!((combined.inbound.v4, combined.outbound.v4), (vec![(1, 1)], vec![(1, 1), (9, 9)]));
        assert_eq!(combine(&parts[..1], u64::MAX).bytes, V4_FIXED_BYTES + V4_ADDRESS_BYTES, "the same list for both");
    }
}
