//! Enters: nothing. Leaves: the maps. Sizes here are placeholders: the loader sets each from the configuration. Names
//! are those of `qantra_common::map`; layouts must come from there and nowhere else.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use qantra_common::map::{Ban, EVENTS_BYTES, INTERFACES_MAX, InterfaceState, PROTECTED_MAX, SourceCounters, Tunables};
use qantra_common::packet::{Address, Packet};

// Without preallocation an empty table costs nothing, and a removed ban's memory is not handed to another ban while a
// program on another CPU may still count in it.
#[map]
pub(crate) static BANS_V4: HashMap<u32, Ban> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static BANS_V6: HashMap<[u32; 4], Ban> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PREFIX_BANS_V4: LpmTrie<u32, Ban> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PREFIX_BANS_V6: LpmTrie<[u32; 4], Ban> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PROTECTED_V4: LpmTrie<u32, u32> = LpmTrie::with_max_entries(PROTECTED_MAX, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static PROTECTED_V6: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(PROTECTED_MAX, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static INTERFACES: PerCpuHashMap<u32, InterfaceState> = PerCpuHashMap::with_max_entries(INTERFACES_MAX, 0);
#[map]
pub(crate) static SOURCES: LruHashMap<Address, SourceCounters> = LruHashMap::with_max_entries(1, 0);
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
