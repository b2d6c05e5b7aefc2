//! Enters: one end of a packet. Leaves: whether a feed lists it, and what feeds stopped, by address. The protected set
//! wins over every feed. It must never read one generation's head and another's table.

use qantra_common::{
    feed::{Block, Cell, FeedHead, FeedV4, FeedV6, lists_v4, lists_v6, table_slot},
    map::{feed_hit_place, feed_hit_spare},
    packet::Address,
    source,
};

use crate::{
    ban::{Weight, is_protected},
    map::{FEED_BLOCKS, FEED_CELLS, FEED_FILTER_V6, FEED_HIT_TURN, FEED_HITS, FEED_LEAVES, FEED_STATE},
};

/// The tables of one generation and direction.
struct Tables {
    slot: u32,
}

impl FeedV4 for Tables {
    #[inline(always)]
    fn block(&self, index: u32) -> Option<Block> {
        let [few, many, leaves] = *FEED_BLOCKS.get_value(self.slot, &index)?;
        Some(Block { few, many, leaves: leaves as u32, reserved: 0 })
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
        let [key, value] = *FEED_CELLS.get_value(self.slot, &index)?;
        Some(Cell { key, value })
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

/// Counts what a feed stopped. The first address at a place has it until user space reads this turn's counts; what else
/// comes there is counted together. A flood from more sources than there are places must cost no more than one from few.
#[inline(always)]
pub(crate) fn count_hit(address: &Address, weight: Weight) {
    let Some(turn) = FEED_HIT_TURN.get(0).copied() else { return };
    let Some(own) = FEED_HITS.get_ptr_mut(feed_hit_place(turn, source::hash(address, 0))) else { return };
    // SAFETY: a live value of this CPU.
    let mut hits = unsafe { &mut *own };
    if hits.address != *address {
        if hits.dropped.packets == 0 {
            hits.address = *address;
        } else {
            let Some(spare) = FEED_HITS.get_ptr_mut(feed_hit_spare(turn)) else { return };
            // SAFETY: as above.
            hits = unsafe { &mut *spare };
        }
    }
    hits.dropped.packets += weight.packets;
    hits.dropped.bytes += weight.bytes;
}
