//! Enters: an address and the tables of one feed generation, by way of [`FeedV4`] and [`FeedV6`]. Leaves: whether the
//! address is listed. The same code runs in the kernel and in tests; user space builds the tables off-line and they
//! never change afterwards. It must never loop without a bound.
//!
//! IPv4 is a bitmap of /24s with two bits each, counted in blocks of 64: an innocent packet reads one block. A partly
//! listed /24 has a leaf, found by counting the leaves before it in its block (rank, as in a poptrie: Asai and Ohara,
//! SIGCOMM 2015). Up to four listed addresses are their last bytes in one word; more are 256 bits.
//!
//! IPv6 is a hash table of /64s and sorted ranges: of what is listed inside a /64, and of prefixes shorter than /64. A
//! word of bits for each hash of a /32 keeps innocent packets out of both.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// /24s in one [`Block`].
pub const BLOCK_NETS: u32 = 64;
/// Blocks of the whole IPv4 space.
pub const BLOCKS: u32 = 1 << 18;
/// Listed addresses of a /24 that still fit into one word.
pub const FEW_MAX: usize = 4;
/// Words of a leaf with 256 bits.
pub const MANY_WORDS: u32 = 8;
/// Most steps from a /64's place in the hash table to where it is: the builder keeps to it.
pub const PROBES_MAX: u32 = 32;
/// Most steps of a binary search: enough for 2^24 ranges.
pub const SEARCH_MAX: u32 = 25;
/// [`Cell::value`] of a /64 that is listed whole.
pub const WHOLE: u64 = u64::MAX;
/// Words of the IPv6 filter: one for each hash of a /32. All filters have one size: only then does the kernel inline the
/// lookup.
pub const FILTER_WORDS: u32 = 1 << 18;

/// 64 neighbouring /24s: a bit each in `few` and `many`. Neither: nothing is listed; both: all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Block {
    /// /24s with at most [`FEW_MAX`] listed addresses.
    pub few: u64,
    /// /24s with more.
    pub many: u64,
    /// The first word of the block's leaves.
    pub leaves: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Two numbers of the IPv6 table: a /64 and what of it is listed, or a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cell {
    /// The /64, or the first number of a range.
    pub key: u64,
    /// 0: free; [`WHOLE`]; else position and count of ranges inside the /64. Or a range's last number.
    pub value: u64,
}

/// What is to be known before a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FeedHead {
    /// Listed IPv4 ranges; 0: the table need not be looked at.
    pub v4_ranges: u32,
    /// Listed IPv6 ranges; 0: the table need not be looked at.
    pub v6_ranges: u32,
    /// Cells of the hash table, which begins at 0, without the [`PROBES_MAX`] behind it that take what runs over.
    pub v6_hash_cells: u32,
    /// The first cell of ranges of prefixes shorter than /64: ranges of their upper halves.
    pub v6_short_at: u32,
    /// How many there are.
    pub v6_short: u32,
    /// Always 0.
    pub reserved: u32,
    /// Of the hash.
    pub v6_seed: u64,
}

/// Which tables are in force; one element, replaced whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FeedState {
    /// 0 or 1: which pair of `heads`, and of tables, is in force.
    pub generation: u32,
    /// Always 0.
    pub reserved: u32,
    /// By [`table_slot`].
    pub heads: [FeedHead; 4],
}

/// Which of the four tables: of a generation, for sources (0) or destinations (1).
#[inline(always)]
#[must_use]
pub const fn table_slot(generation: u32, is_destination: bool) -> u32 {
    (generation & 1) * 2 + is_destination as u32
}

const _: () = assert!(size_of::<Block>() == 24);
const _: () = assert!(size_of::<Cell>() == 16);
const _: () = assert!(size_of::<FeedState>() == 8 + 4 * 32);

/// An IPv4 table: slices in tests, map values in the kernel.
pub trait FeedV4 {
    /// The block of an index below [`BLOCKS`].
    fn block(&self, index: u32) -> Option<Block>;
    /// One 32-bit word of the leaves.
    fn leaf(&self, word: u32) -> Option<u32>;
}

/// An IPv6 table.
pub trait FeedV6 {
    /// One word of the filter.
    fn filter(&self, word: u32) -> Option<u64>;
    /// One cell.
    fn cell(&self, index: u32) -> Option<Cell>;
}

/// Whether an address (as a number) is listed.
#[inline(always)]
pub fn lists_v4<T: FeedV4>(table: &T, address: u32) -> bool {
    let Some(block) = table.block(address >> 14) else { return false };
    let bit = (address >> 8) & 63;
    let (few, many) = (block.few >> bit & 1, block.many >> bit & 1);
    if few | many == 0 {
        return false;
    }
    if few & many == 1 {
        return true;
    }
    let before = (1_u64 << bit) - 1;
    let leaf =
        block.leaves + ones(block.few & !block.many & before) + MANY_WORDS * ones(block.many & !block.few & before);
    if few == 1 {
        // A byte of `unlike` is 0 where the last byte of a listed address is the same (Hacker's Delight, 6-1).
        let Some(bytes) = table.leaf(leaf) else { return false };
        let unlike = bytes ^ ((address & 0xff) * 0x0101_0101);
        return unlike.wrapping_sub(0x0101_0101) & !unlike & 0x8080_8080 != 0;
    }
    match table.leaf(leaf + ((address >> 5) & 7)) {
        Some(bits) => bits >> (address & 31) & 1 == 1,
        None => false,
    }
}

/// How many bits are set; BPF has no instruction for it, and LLVM's own expansion loads 64-bit constants for each.
#[inline(always)]
#[must_use]
pub const fn ones(bits: u64) -> u32 {
    let pairs = bits - (bits >> 1 & 0x5555_5555_5555_5555);
    let nibbles = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
    let bytes = (nibbles + (nibbles >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    (bytes.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32
}

/// The hash of a /64, or of a /32 for the filter of short prefixes: the finaliser of MurmurHash3 (Appleby).
#[inline(always)]
#[must_use]
pub const fn hash_v6(upper: u64, seed: u64) -> u64 {
    let mixed = (upper ^ seed).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// Where a hash begins to look in a table of so many cells.
#[inline(always)]
#[must_use]
pub const fn cell_of(hash: u64, cells: u32) -> u32 {
    (((hash & 0xffff_ffff) * cells as u64) >> 32) as u32
}

/// The filter's word and bit for a /64. All of a /32 share a word, whose first bit says that a prefix shorter than /64 lies
/// in it; the others are for hashes of /64s. So one read answers for both.
#[inline(always)]
#[must_use]
pub const fn filter_of(upper: u64, seed: u64) -> (u32, u64) {
    let group = hash_v6(upper >> 32, seed);
    let bit = (upper as u32 ^ group as u32).wrapping_mul(0x9e37_79b1) >> 26;
    ((group >> 46) as u32, if bit == 0 { 1 << 63 } else { 1 << bit })
}

/// The bit of [`filter_of`]'s word for prefixes shorter than /64.
pub const SHORT_BIT: u64 = 1;

/// Whether an address, as its upper and lower half, is listed.
#[inline(always)]
pub fn lists_v6<T: FeedV6>(table: &T, head: &FeedHead, upper: u64, lower: u64) -> bool {
    let (word, bit) = filter_of(upper, head.v6_seed);
    let Some(word) = table.filter(word) else { return false };
    if word & (bit | SHORT_BIT) == 0 {
        return false;
    }
    (word & bit != 0 && in_hash(table, head, upper, lower))
        || (word & SHORT_BIT != 0 && in_ranges(table, head.v6_short_at, head.v6_short, upper))
}

/// A function of its own in the kernel: few packets get here, and the verifier follows it once.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn in_hash<T: FeedV6>(table: &T, head: &FeedHead, upper: u64, lower: u64) -> bool {
    let first = cell_of(hash_v6(upper, head.v6_seed), head.v6_hash_cells);
    let mut listed = 0;
    for step in 0..PROBES_MAX {
        let Some(cell) = table.cell(first + step) else { return false };
        if cell.value == 0 {
            return false;
        }
        if cell.key == upper {
            listed = cell.value;
            break;
        }
    }
    // Outside the loop, so that the verifier follows the search once and not at each step.
    listed == WHOLE || (listed != 0 && in_ranges(table, (listed >> 32) as u32, listed as u32, lower))
}

/// Whether a number lies in one of the sorted ranges of `count` cells from `at` on.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn in_ranges<T: FeedV6>(table: &T, at: u32, count: u32, number: u64) -> bool {
    let (mut low, mut high) = (0_u32, count);
    for _ in 0..SEARCH_MAX {
        if low >= high {
            return false;
        }
        let middle = low + (high - low) / 2;
        let Some(range) = table.cell(at + middle) else { return false };
        if number < range.key {
            high = middle;
        } else if number > range.value {
            low = middle + 1;
        } else {
            return true;
        }
    }
    false
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya's `Pod` is an unsafe trait")]

    // SAFETY: `repr(C)`, `Copy`, `'static`, and zerocopy's derives prove that there is no padding and that every bit
    // pattern is valid.
    unsafe impl aya::Pod for super::FeedState {}
}
