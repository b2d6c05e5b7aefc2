//! Enters: one end of a packet. Leaves: whether a feed lists it, and what feeds stopped, by address. The protected set
//! wins over every feed. It must never read one generation's head and another's table.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use qantra_common::{
    feed::{Block, Cell, FeedHead, FeedV4, FeedV6, lists_v4, lists_v6, table_slot},
    map::{Counter, FEED_HIT_PLACES, FeedHits},
    packet::Address,
    source,
};

use crate::{
    atomic,
    ban::{Weight, is_protected},
    map::{FEED_BLOCKS, FEED_CELLS, FEED_FILTER_V6, FEED_HITS, FEED_HITS_OLD, FEED_LEAVES, FEED_STATE},
};

/// The tables of one generation and direction.
struct Tables {
    slot: u32,
}

impl FeedV4 for Tables {
    #[inline(always)]
    fn block(&self, index: u32) -> Option<Block> {
        FEED_BLOCKS.get_value(self.slot, &index).copied()
    }

    #[inline(always)]
    fn leaf(&self, word: u32) -> Option<u32> {
        let pair = *FEED_LEAVES.get_value(self.slot, &(word >> 1))?;
        Some((pair >> (32 * (word & 1))) as u32)
    }
}

impl FeedV6 for Tables {
    #[inline(always)]
    fn filter(&self, word: u32) -> Option<u64> {
        FEED_FILTER_V6.get_value(self.slot, &word).copied()
    }

    #[inline(always)]
    fn cell(&self, index: u32) -> Option<Cell> {
        FEED_CELLS.get_value(self.slot, &index).copied()
    }
}

/// Whether a feed lists an address: as a source, or as a destination of what comes from the LAN.
#[inline(always)]
pub(crate) fn lists(address: &Address, is_v6: bool, is_destination: bool) -> bool {
    let Some(state) = FEED_STATE.get_ptr(0) else { return false };
    // SAFETY: a live map value; read once, because user space may change it between two reads. The heads of the
    // generation in force do not change.
    let (slot, head) = unsafe {
        let slot = table_slot((&raw const (*state).generation).read_volatile(), is_destination);
        (slot, &*(&raw const (*state).heads).cast::<FeedHead>().add(slot as usize & 3))
    };
    let tables = Tables { slot };
    let is_listed = if is_v6 {
        head.v6_ranges != 0 && lists_v6(&tables, head, address.upper_number(), address.lower_number())
    } else {
        head.v4_ranges != 0 && lists_v4(&tables, u32::from_be(address.low()))
    };
    is_listed && !is_protected(address, is_v6)
}

/// Counts what a feed stopped. An address that takes another's place sends the other's counts to a table that CPUs share.
#[inline(always)]
pub(crate) fn count_hit(address: &Address, weight: Weight) {
    let place = (source::hash(address, 0) >> 32) as u32 & (FEED_HIT_PLACES - 1);
    let Some(hits) = FEED_HITS.get_ptr_mut(place) else { return };
    // SAFETY: a live value of this CPU.
    let hits = unsafe { &mut *hits };
    if hits.address != *address {
        if hits.dropped.packets != 0 {
            retire(hits);
        }
        hits.address = *address;
        hits.dropped = Counter { packets: 0, bytes: 0 };
    }
    hits.dropped.packets += weight.packets;
    hits.dropped.bytes += weight.bytes;
}

#[inline(always)]
fn retire(hits: &FeedHits) {
    if FEED_HITS_OLD.insert(hits.address, hits.dropped, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    match FEED_HITS_OLD.get_ptr_mut(hits.address) {
        // SAFETY: a live map value, changed by atomic instructions.
        Some(old) => unsafe {
            atomic::add(&raw mut (*old).packets, hits.dropped.packets);
            atomic::add(&raw mut (*old).bytes, hits.dropped.bytes);
        },
        None => {
            let _lost = FEED_HITS_OLD.insert(hits.address, hits.dropped, u64::from(BPF_ANY));
        }
    }
}
