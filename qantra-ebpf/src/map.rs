//! Enters: nothing. Leaves: the maps. Sizes here are placeholders where the loader sets them from the configuration.
//! Names are those of `qantra_common::map`; layouts must come from there and nowhere else.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps,
    macros::{btf_map, map},
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use qantra_common::{
    cookie::{CookieCounts, LOCAL_ADDRESSES_MAX, SynRate},
    feed::{BLOCKS, FILTER_WORDS, FeedState},
    filter,
    limit::Bucket,
    map::{
        BUCKETS_MAX, Ban, EVENTS_BYTES, FEED_HIT_PLACES, FeedHits, INTERFACE_PLACES, INTERFACES_MAX, Interface,
        InterfaceCounters, LanNetworks, PROTECTED_MAX, SourceCounters, Tunables,
    },
    packet::{Address, Packet},
    source::{CPU_SLOTS, CpuState, SKETCH_ROWS, SketchRow, SourceSlot},
};

use crate::cookie::Scratch;

// Without preallocation an empty table costs nothing, and a removed ban's memory is not handed to another ban while a
// program on another CPU may still count in it.
#[map]
pub(crate) static BANS_V4: HashMap<u32, Ban> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static BANS_V6: HashMap<[u32; 4], Ban> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static BANS_V6_64: HashMap<[u32; 2], Ban> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
// A trie's value stands right behind its key. Were that four bytes, counters would lie at odd multiples of four, and an
// atomic addition to one of those is an oops on arm64.
#[map]
pub(crate) static PREFIX_BANS_V4: LpmTrie<[u32; 2], Ban> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PREFIX_BANS_V6: LpmTrie<[u32; 4], Ban> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);
const _: () = assert!(size_of::<[u32; 2]>().is_multiple_of(align_of::<Ban>()));
const _: () = assert!(size_of::<[u32; 4]>().is_multiple_of(align_of::<Ban>()));
#[map]
pub(crate) static PROTECTED_V4: LpmTrie<u32, u32> = LpmTrie::with_max_entries(PROTECTED_MAX, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PROTECTED_V6: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(PROTECTED_MAX, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static FILTER: Array<u64> = Array::with_max_entries(filter::WORDS, 0);
#[map]
pub(crate) static INTERFACES: Array<Interface> = Array::with_max_entries(INTERFACE_PLACES, 0);
#[map]
pub(crate) static COUNTERS: PerCpuArray<InterfaceCounters> = PerCpuArray::with_max_entries(INTERFACES_MAX, 0);
#[map]
pub(crate) static LAN_NETWORKS: Array<LanNetworks> = Array::with_max_entries(1, 0);

/// Inner maps may have any size (kernel 5.10), and user space fills them through its own address space.
const ANY_SIZE: usize = (1 << 12) | MMAPABLE;
const MMAPABLE: usize = 1 << 10;
#[map]
pub(crate) static FEED_STATE: Array<FeedState> = Array::with_max_entries(1, 0);
// Blocks, and filters, have one size: only then does the kernel inline the lookup. Values are arrays of numbers, which are
// blocks and cells: kernels up to 6.1 take a struct for something that may hold a timer when type information names it, and
// for something else when it does not, as in the maps that user space makes.
#[btf_map]
pub(crate) static FEED_BLOCKS: btf_maps::ArrayOfMaps<btf_maps::Array<[u64; 3], { BLOCKS as usize }, MMAPABLE>, 4> =
    btf_maps::ArrayOfMaps::new();
#[btf_map]
pub(crate) static FEED_LEAVES: btf_maps::ArrayOfMaps<btf_maps::Array<u64, 1, ANY_SIZE>, 4> =
    btf_maps::ArrayOfMaps::new();
#[btf_map]
pub(crate) static FEED_FILTER_V6: btf_maps::ArrayOfMaps<btf_maps::Array<u64, { FILTER_WORDS as usize }, MMAPABLE>, 4> =
    btf_maps::ArrayOfMaps::new();
#[btf_map]
pub(crate) static FEED_CELLS: btf_maps::ArrayOfMaps<btf_maps::Array<[u64; 2], 1, ANY_SIZE>, 4> =
    btf_maps::ArrayOfMaps::new();
#[map]
pub(crate) static FEED_HITS: PerCpuArray<FeedHits> = PerCpuArray::with_max_entries(2 * (FEED_HIT_PLACES + 1), 0);
#[map]
pub(crate) static FEED_HIT_TURN: Array<u32> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static SOURCES: LruHashMap<Address, SourceCounters> = LruHashMap::with_max_entries(1, 0);
// Each CPU has a part of its own. A per-CPU array would find each slot by one pointer more, and lay it across cache lines; one
// that could be mapped begins at a page.
#[map]
pub(crate) static SOURCE_SLOTS: Array<SourceSlot> = Array::with_max_entries(CPU_SLOTS, MMAPABLE as u32);
#[map]
pub(crate) static SKETCH: PerCpuArray<SketchRow> = PerCpuArray::with_max_entries(SKETCH_ROWS, 0);
#[map]
pub(crate) static CPU_STATE: PerCpuArray<CpuState> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static BUCKETS: LruHashMap<Address, Bucket> = LruHashMap::with_max_entries(BUCKETS_MAX, 0);

#[map]
pub(crate) static SYN_RATES: Array<SynRate> = Array::with_max_entries(INTERFACES_MAX, 0);
#[map]
pub(crate) static COOKIE_COUNTS: PerCpuArray<CookieCounts> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static COOKIE_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static LOCAL_ADDRESSES: HashMap<Address, u32> =
    HashMap::with_max_entries(LOCAL_ADDRESSES_MAX, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static TUNABLES: Array<Tunables> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);
/// Where a new source's counters are made: they are too large for the 512 bytes of a program's stack.
#[map]
pub(crate) static FRESH: PerCpuArray<SourceCounters> = PerCpuArray::with_max_entries(1, 0);
/// Where a parsed packet is kept: see `scratch`.
#[map]
pub(crate) static PACKET: PerCpuArray<Packet> = PerCpuArray::with_max_entries(1, 0);
