//! Enters: sorted ranges of addresses. Leaves: the tables that `qantra_common::feed` looks them up in. Pure: it must never
//! touch the kernel.

use qantra_common::feed::{
    BLOCK_NETS, BLOCKS, Block, Cell, FEW_MAX, FILTER_WORDS, FeedHead, PROBES_MAX, SHORT_BIT, WHOLE, cell_of, filter_of,
    hash_v6,
};

use crate::enforce::AddressRanges;

/// Most /32s that the filter marks one by one for prefixes shorter than /64; beyond, it marks all.
const MARKED_MAX: u64 = 1 << 22;

/// The tables of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FeedTables {
    pub(super) head: FeedHead,
    /// Empty without IPv4.
    pub(super) blocks: Vec<Block>,
    pub(super) leaves: Vec<u64>,
    /// Empty without IPv6.
    pub(super) filter: Vec<u64>,
    pub(super) cells: Vec<Cell>,
}

impl FeedTables {
    pub(super) fn build(ranges: &AddressRanges, seed: u64) -> Self {
        let (blocks, leaves) = if ranges.v4.is_empty() { Default::default() } else { V4Builder::build(&ranges.v4) };
        let mut head = FeedHead {
            v4_ranges: ranges.v4.len() as u32,
            v6_ranges: ranges.v6.len() as u32,
            v6_seed: seed,
            ..FeedHead::default()
        };
        let (filter, cells) =
            if ranges.v6.is_empty() { Default::default() } else { V6Parts::split(&ranges.v6).lay_out(&mut head) };
        Self { head, blocks, leaves, filter, cells }
    }

    /// Bytes of kernel memory.
    pub(super) fn bytes(&self) -> u64 {
        let v4 = size_of_val(&self.blocks[..]) + size_of_val(&self.leaves[..]);
        let bytes = v4 + size_of_val(&self.filter[..]) + size_of_val(&self.cells[..]);
        bytes as u64
    }
}

/// Blocks and leaves as they grow: ranges come in order, so leaves do.
struct V4Builder {
    blocks: Vec<Block>,
    words: Vec<u32>,
    net: u32,
    bits: [u32; 8],
}

impl V4Builder {
    fn build(ranges: &[(u32, u32)]) -> (Vec<Block>, Vec<u64>) {
        let blocks = vec![Block::default(); BLOCKS as usize];
        let mut builder = Self { blocks, words: Vec::with_capacity(ranges.len()), net: 0, bits: [0; 8] };
        for (first, last) in ranges {
            let (first_net, last_net) = (first >> 8, last >> 8);
            for net in first_net..=last_net {
                let from = if net == first_net { first & 0xff } else { 0 };
                let to = if net == last_net { last & 0xff } else { 0xff };
                if from == 0 && to == 0xff {
                    builder.mark(net, true, true);
                } else {
                    builder.add(net, from, to);
                }
            }
        }
        builder.close();
        let pairs = builder
            .words
            .chunks(2)
            .map(|pair| u64::from(pair[0]) | pair.get(1).map_or(0, |word| u64::from(*word) << 32));
        let leaves = pairs.collect();
        (builder.blocks, leaves)
    }

    /// Lists some addresses of a /24.
    fn add(&mut self, net: u32, from: u32, to: u32) {
        if net != self.net {
            self.close();
            self.net = net;
        }
        for byte in from..=to {
            self.bits[(byte >> 5) as usize] |= 1 << (byte & 31);
        }
    }

    /// Writes the leaf of the /24 that is being filled.
    fn close(&mut self) {
        let listed: u32 = self.bits.iter().map(|word| word.count_ones()).sum();
        if listed == 0 {
            return;
        }
        let at = self.words.len() as u32;
        let block = &mut self.blocks[(self.net / BLOCK_NETS) as usize];
        if block.few ^ block.many == 0 {
            // The first leaf of its block: whole /24s have none.
            block.leaves = at;
        }
        if listed as usize <= FEW_MAX {
            let mut leaf = [0; FEW_MAX];
            let mut filled = 0;
            for (index, word) in self.bits.iter().enumerate() {
                let mut left = *word;
                while left != 0 {
                    leaf[filled] = (index as u32 * 32 + left.trailing_zeros()) as u8;
                    filled += 1;
                    left &= left - 1;
                }
            }
            // Places that are left over say the first one again.
            let first = leaf[0];
            leaf[filled..].fill(first);
            self.words.push(u32::from_le_bytes(leaf));
            self.mark(self.net, true, false);
        } else {
            self.words.extend(self.bits);
            self.mark(self.net, false, true);
        }
        self.bits = [0; 8];
    }

    fn mark(&mut self, net: u32, few: bool, many: bool) {
        let block = &mut self.blocks[(net / BLOCK_NETS) as usize];
        let bit = net % BLOCK_NETS;
        block.few |= u64::from(few) << bit;
        block.many |= u64::from(many) << bit;
    }
}

/// IPv6 ranges, by how they are looked up.
#[derive(Debug, Default)]
struct V6Parts {
    /// /64s, and which ranges inside them are listed; none: all.
    nets: Vec<(u64, Vec<(u64, u64)>)>,
    /// Two or more /64s that follow each other, as first and last.
    short: Vec<(u64, u64)>,
}

impl V6Parts {
    fn split(ranges: &[(u128, u128)]) -> Self {
        let mut parts = Self::default();
        for (first, last) in ranges {
            let (mut upper, end) = ((first >> 64) as u64, (last >> 64) as u64);
            let (from, to) = (*first as u64, *last as u64);
            if upper == end {
                parts.inside(upper, from, to);
                continue;
            }
            if from != 0 {
                parts.inside(upper, from, u64::MAX);
                upper += 1;
            }
            let tail = to != u64::MAX;
            let whole_end = if tail { end.wrapping_sub(1) } else { end };
            if upper <= whole_end && !(tail && end == 0) {
                match whole_end - upper {
                    0 => parts.inside(upper, 0, u64::MAX),
                    _ => parts.short.push((upper, whole_end)),
                }
            }
            if tail {
                parts.inside(end, 0, to);
            }
        }
        parts
    }

    fn inside(&mut self, upper: u64, from: u64, to: u64) {
        let is_whole = from == 0 && to == u64::MAX;
        match self.nets.last_mut() {
            Some((net, ranges)) if *net == upper => ranges.push((from, to)),
            _ => self.nets.push((upper, if is_whole { Vec::new() } else { vec![(from, to)] })),
        }
    }

    /// Lays everything out: hash table, ranges inside /64s, ranges of short prefixes, and the filter before them.
    fn lay_out(mut self, head: &mut FeedHead) -> (Vec<u64>, Vec<Cell>) {
        let mut filter = vec![0; FILTER_WORDS as usize];
        for (net, _) in &self.nets {
            let (word, bit) = filter_of(*net, head.v6_seed);
            filter[word as usize] |= bit;
        }
        let mut cells = Vec::new();
        head.v6_hash_cells = self.push_hash(&mut cells, head.v6_seed);
        let marked: u64 = self.short.iter().map(|(first, last)| (last >> 32) - (first >> 32) + 1).sum();
        if marked > MARKED_MAX {
            filter.iter_mut().for_each(|word| *word |= SHORT_BIT);
        } else {
            for net in self.short.iter().flat_map(|(first, last)| first >> 32..=last >> 32) {
                filter[filter_of(net << 32, head.v6_seed).0 as usize] |= SHORT_BIT;
            }
        }
        head.v6_short_at = cells.len() as u32;
        head.v6_short = self.short.len() as u32;
        cells.extend(self.short.iter().map(|(first, last)| Cell { key: *first, value: *last }));
        (filter, cells)
    }

    /// Entries in the order of their hashes, each as near to its place as those before it allow; then the ranges inside
    /// them. Returns the cells of the table.
    fn push_hash(&mut self, cells: &mut Vec<Cell>, seed: u64) -> u32 {
        let at = cells.len();
        let mut size = self.nets.len() as u32 + self.nets.len() as u32 / 2 + 1;
        let places = loop {
            let mut order: Vec<(u32, u32)> =
                (0..).zip(&self.nets).map(|(i, (net, _))| (cell_of(hash_v6(*net, seed), size), i)).collect();
            order.sort_unstable();
            let mut next = 0;
            let mut farthest = 0;
            for (place, _) in &mut order {
                let home = *place;
                *place = home.max(next);
                next = *place + 1;
                farthest = farthest.max(*place - home);
            }
            if farthest < PROBES_MAX {
                break order;
            }
            // More room, and other places.
            size += size / 4;
        };
        cells.resize(at + (size + PROBES_MAX) as usize, Cell::default());
        for (place, index) in places {
            let (net, ranges) = &self.nets[index as usize];
            let value = match ranges.len() {
                0 => WHOLE,
                count => (cells.len() as u64) << 32 | count as u64,
            };
            cells[at + place as usize] = Cell { key: *net, value };
            cells.extend(ranges.iter().map(|(first, last)| Cell { key: *first, value: *last }));
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use qantra_common::feed::{FeedV4, FeedV6, lists_v4, lists_v6};

    use super::*;

    impl FeedV4 for FeedTables {
        fn block(&self, index: u32) -> Option<Block> {
            self.blocks.get(index as usize).copied()
        }

        fn leaf(&self, word: u32) -> Option<u32> {
            self.leaves.get(word as usize / 2).map(|pair| (pair >> (32 * (word & 1))) as u32)
        }
    }

    impl FeedV6 for FeedTables {
        fn filter(&self, word: u32) -> Option<u64> {
            self.filter.get(word as usize).copied()
        }

        fn cell(&self, index: u32) -> Option<Cell> {
            self.cells.get(index as usize).copied()
        }
    }

    fn lists(tables: &FeedTables, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => lists_v4(tables, v4.into()),
            IpAddr::V6(v6) => {
                let bits = u128::from(v6);
                lists_v6(tables, &tables.head, (bits >> 64) as u64, bits as u64)
            }
        }
    }

    /// Sorted, disjoint and not adjacent, as the trait wants them.
    fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>, after: impl Fn(T) -> Option<T>) -> Vec<(T, T)> {
        ranges.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if after(*end).is_none_or(|next| first <= next) => *end = (*end).max(last),
                _ => merged.push((first, last)),
            }
        }
        merged
    }

    /// Few networks, so that ranges meet in one /24 or /64.
    fn v4() -> impl Strategy<Value = (u32, u32)> {
        (0_u32..4, any::<u16>(), prop_oneof![Just(0_u32), 0..4_u32, 0..600_u32, Just(70_000_u32)])
            .prop_map(|(top, low, length)| (top << 30 | u32::from(low), length))
            .prop_map(|(first, length)| (first, first.saturating_add(length)))
    }

    fn v6() -> impl Strategy<Value = (u128, u128)> {
        let lengths = prop_oneof![Just(0_u128), 0..9_u128, Just(u128::from(u64::MAX)), 0..1_u128 << 100];
        (0_u128..3, 0_u128..6, 0_u128..40, lengths)
            .prop_map(|(top, net, low, length)| ((top << 125 | net << 64 | low), length))
            .prop_map(|(first, length)| (first, first.saturating_add(length)))
    }

    proptest! {
        #[test]
        fn the_tables_list_what_the_ranges_hold(
            v4 in prop::collection::vec(v4(), 0..60),
            v6 in prop::collection::vec(v6(), 0..40),
            seed: u64,
            others in prop::collection::vec(any::<(u32, u128)>(), 50),
        ) {
            let ranges = AddressRanges {
                v4: merged(v4, |last| last.checked_add(1)),
                v6: merged(v6, |last| last.checked_add(1)),
            };
            let tables = FeedTables::build(&ranges, seed);
            let near4 = ranges.v4.iter().flat_map(|(first, last)| [*first, *last, first.wrapping_sub(1), last.wrapping_add(1)]);
            let near6 = ranges.v6.iter().flat_map(|(first, last)| [*first, *last, first.wrapping_sub(1), last.wrapping_add(1)]);
            let asked = near4.map(|a| IpAddr::V4(a.into())).chain(near6.map(|a| IpAddr::V6(a.into())));
            let asked = asked.chain(others.iter().flat_map(|(a, b)| [IpAddr::V4((*a).into()), IpAddr::V6((*b).into())]));
            for address in asked {
                prop_assert_eq!(lists(&tables, address), ranges.contains(address), "{}", address);
            }
        }
    }

    #[test]
    fn a_hundred_thousand_scattered_entries_are_found_within_the_probes() {
        let number = |index: u64| hash_v6(index, 99);
        let mut v6: Vec<_> =
            (0..100_000).map(|i| u128::from(number(i)) << 64).map(|net| (net, net | u128::from(u64::MAX))).collect();
        v6.sort_unstable();
        let ranges = AddressRanges { v4: Vec::new(), v6 };
        let tables = FeedTables::build(&ranges, 5);
        for (first, last) in &ranges.v6 {
            assert!(lists(&tables, IpAddr::V6((*last).into())) && lists(&tables, IpAddr::V6((*first).into())));
        }
        let strangers =
            (200_000..300_000).filter(|i| lists(&tables, IpAddr::V6((u128::from(number(*i)) << 64).into())));
        assert_eq!(strangers.count(), 0);
    }
}
