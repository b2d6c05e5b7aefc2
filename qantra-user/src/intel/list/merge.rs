//! Sets of addresses as sorted, disjoint ranges: built from millions of overlapping pieces, united, cut, counted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::enforce::AddressRanges;

use super::Span;

/// The unsigned numbers that addresses are.
pub(super) trait Bits: Copy + Ord {
    fn following(self) -> Option<Self>;
    fn preceding(self) -> Option<Self>;
}

impl Bits for u32 {
    fn following(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn preceding(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl Bits for u128 {
    fn following(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn preceding(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

/// Sorts, and joins what overlaps or touches, in place.
fn merge<T: Bits>(ranges: &mut Vec<(T, T)>) {
    ranges.sort_unstable();
    let mut kept = 0;
    for index in 1..ranges.len() {
        let (first, last) = ranges[index];
        let before = &mut ranges[kept];
        // The last number has none after it, and so touches all that follows.
        if before.1.following().is_none_or(|next| first <= next) {
            before.1 = before.1.max(last);
        } else {
            kept += 1;
            ranges[kept] = (first, last);
        }
    }
    ranges.truncate(kept + 1);
}

/// What remains of `[first, last]` without the `holes`, which are sorted and disjoint.
pub(super) fn without<T: Bits>(first: T, last: T, holes: &[(T, T)], mut piece: impl FnMut(T, T)) {
    let from = holes.partition_point(|hole| hole.1 < first);
    let mut rest = Some(first);
    for (begin, end) in holes[from..].iter().take_while(|hole| hole.0 <= last) {
        if let (Some(start), Some(before)) = (rest, begin.preceding())
            && start <= before
        {
            piece(start, before);
        }
        rest = end.following();
    }
    if let Some(start) = rest
        && start <= last
    {
        piece(start, last);
    }
}

/// Pieces of one family on their way to a set. Memory follows the set, not the number of pieces: they are joined
/// whenever twice as many have come as there were ranges.
#[derive(Debug)]
struct Family<T> {
    ranges: Vec<(T, T)>,
    next_merge: usize,
}

/// Pieces that gather before they are joined the first time.
const GATHER_MIN: usize = 65_536;

impl<T: Bits> Default for Family<T> {
    fn default() -> Self {
        Self { ranges: Vec::new(), next_merge: GATHER_MIN }
    }
}

impl<T: Bits> Family<T> {
    fn add(&mut self, first: T, last: T) {
        // Sorted lists, the usual kind, join as they come.
        if let Some(before) = self.ranges.last_mut()
            && first >= before.0
            && before.1.following().is_none_or(|next| first <= next)
        {
            before.1 = before.1.max(last);
            return;
        }
        if self.ranges.len() >= self.next_merge {
            merge(&mut self.ranges);
            self.next_merge = (self.ranges.len() * 2).max(GATHER_MIN);
        }
        self.ranges.push((first, last));
    }
}

/// Builds a set from pieces in any order.
#[derive(Debug, Default)]
pub struct RangeBuilder {
    v4: Family<u32>,
    v6: Family<u128>,
}

impl RangeBuilder {
    /// Adds some consecutive addresses.
    pub fn add(&mut self, span: Span) {
        match span {
            Span::V4(first, last) => self.v4.add(first, last),
            Span::V6(first, last) => self.v6.add(first, last),
        }
    }

    /// Pieces that are held, joined or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.ranges.len() + self.v6.ranges.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set.
    #[must_use]
    pub fn finish(self) -> AddressRanges {
        let mut set = AddressRanges { v4: self.v4.ranges, v6: self.v6.ranges };
        merge(&mut set.v4);
        merge(&mut set.v6);
        set.v4.shrink_to_fit();
        set.v6.shrink_to_fit();
        set
    }
}

/// Everything that is in any of the sets.
pub fn union<'a>(sets: impl IntoIterator<Item = &'a AddressRanges>) -> AddressRanges {
    let mut all = AddressRanges::default();
    for set in sets {
        all.v4.extend_from_slice(&set.v4);
        all.v6.extend_from_slice(&set.v6);
    }
    merge(&mut all.v4);
    merge(&mut all.v6);
    all
}

/// Whether every address of a piece is in a set.
#[must_use]
pub fn holds(set: &AddressRanges, span: Span) -> bool {
    fn within<T: Bits>(ranges: &[(T, T)], first: T, last: T) -> bool {
        let after = ranges.partition_point(|range| range.0 <= first);
        after.checked_sub(1).is_some_and(|index| last <= ranges[index].1)
    }
    match span {
        Span::V4(first, last) => within(&set.v4, first, last),
        Span::V6(first, last) => within(&set.v6, first, last),
    }
}

/// The range of a set that has an address, first and last.
#[must_use]
pub fn range_of(set: &AddressRanges, address: IpAddr) -> Option<(IpAddr, IpAddr)> {
    fn find<T: Bits>(ranges: &[(T, T)], bits: T) -> Option<(T, T)> {
        let after = ranges.partition_point(|range| range.0 <= bits);
        after.checked_sub(1).map(|index| ranges[index]).filter(|range| bits <= range.1)
    }
    match address {
        IpAddr::V4(address) => find(&set.v4, address.to_bits())
            .map(|(first, last)| (Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(last).into())),
        IpAddr::V6(address) => find(&set.v6, address.to_bits())
            .map(|(first, last)| (Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(last).into())),
    }
}

/// How many IPv4 addresses a set has.
#[must_use]
pub fn count_v4(set: &AddressRanges) -> u64 {
    set.v4.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn members(ranges: &[(u32, u32)]) -> BTreeSet<u32> {
        ranges.iter().flat_map(|(first, last)| *first..=*last).collect()
    }

    fn is_canonical<T: Bits>(ranges: &[(T, T)]) -> bool {
        ranges.iter().all(|(first, last)| first <= last)
            && ranges.windows(2).all(|pair| pair[0].1.following().is_some_and(|next| next < pair[1].0))
    }

    /// Ranges at both ends of the numbers as well, where adding one overflows.
    fn pieces() -> impl Strategy<Value = Vec<(u32, u32)>> {
        let near = prop_oneof![0_u32..200, (u32::MAX - 200)..=u32::MAX];
        prop::collection::vec((near, 0_u32..40).prop_map(|(at, more)| (at, at.saturating_add(more))), 0..60)
    }

    proptest! {
        #[test]
        fn a_set_has_what_its_pieces_have(pieces in pieces()) {
            let mut builder = RangeBuilder::default();
            for (first, last) in &pieces {
                builder.add(Span::V4(*first, *last));
                builder.add(Span::V6(u128::from(*first) << 96 | u128::from(*first), u128::from(*last) << 96 | u128::from(*last)));
            }
            let set = builder.finish();
            prop_assert!(is_canonical(&set.v4) && is_canonical(&set.v6));
            prop_assert_eq!(members(&set.v4), members(&pieces));
            prop_assert_eq!(count_v4(&set), members(&pieces).len() as u64);
            for (first, last) in &pieces {
                prop_assert!(holds(&set, Span::V4(*first, *last)));
            }
        }

        #[test]
        fn a_union_has_what_any_has(a in pieces(), b in pieces()) {
            let set = |pieces: &[(u32, u32)]| {
                let mut builder = RangeBuilder::default();
                pieces.iter().for_each(|(first, last)| builder.add(Span::V4(*first, *last)));
                builder.finish()
            };
            let united = union([&set(&a), &set(&b)]);
            prop_assert!(is_canonical(&united.v4));
            let expected: BTreeSet<u32> = members(&a).union(&members(&b)).copied().collect();
            prop_assert_eq!(members(&united.v4), expected);
        }

        #[test]
        fn holes_are_cut_out(piece in pieces(), mut holes in pieces()) {
            merge(&mut holes);
            for (first, last) in piece {
                let mut rest = Vec::new();
                without(first, last, &holes, |a, b| rest.push((a, b)));
                prop_assert!(is_canonical(&rest));
                let expected: BTreeSet<u32> = (first..=last).filter(|n| !members(&holes).contains(n)).collect();
                prop_assert_eq!(members(&rest), expected);
            }
        }
    }

    #[test]
    fn doubles_take_no_memory() {
        let mut builder = RangeBuilder::default();
        for n in 0..3_000_000_u32 {
            // Ever the same thousand, never in order.
            let at = n.wrapping_mul(2_654_435_761) % 1_000 * 10;
            builder.add(Span::V4(at, at));
        }
        assert!(builder.v4.ranges.capacity() <= 4 * GATHER_MIN);
        assert_eq!(builder.finish().v4.len(), 1_000);
    }
}
