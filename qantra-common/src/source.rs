//! Enters: an address. Leaves: under which key its source is counted, and where. The layout of what the kernel keeps of
//! a source between two reports.
//!
//! Each CPU has a table of slots, two for each hash, with exact counts: the usual packet finds its source there and
//! touches one or two cache lines. Counts go on to [`map::SOURCES`](crate::map::SOURCES), which CPUs share, after 1, 2, 4,
//! … and then after each [`FLUSH_PACKETS`]. A source that finds both taken is counted in a count-min sketch (Cormode
//! and Muthukrishnan, 2005; updated conservatively, Estan and Varghese, SIGCOMM 2002), and takes one when the sketch
//! says that it sends more. So sources that send one packet each, however many, neither displace those that send much nor
//! fill the shared table.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{limit::KINDS, map::ROLE_LAN, packet::Address};

/// Slots on each CPU: a power of two.
pub const SLOTS: u32 = 8_192;
/// The slot behind them all: for a source that is counted exactly without a slot of its own.
pub const SPARE_SLOT: u32 = SLOTS;
/// Slots of one CPU, the spare one included: they lie one CPU's after another's.
pub const CPU_SLOTS: u32 = SLOTS + 1;
/// Rows of the sketch: independent guesses, of which the least counts.
pub const SKETCH_ROWS: u32 = 4;
/// Counters in one row: a power of two.
pub const SKETCH_COLUMNS: usize = 4_096;
/// Packets after which a busy source's counts go on.
pub const FLUSH_PACKETS: u32 = 128;
/// How many packets one that knocks at a port weighs: scans are seen sooner.
pub const KNOCK_WEIGHT: u32 = 8;
/// An epoch in ns, as a power of two: 1.07 s. Counts of the sketch last one epoch.
pub const EPOCH_SHIFT: u32 = 30;
/// Packets above the sketch's noise from which a source without a slot is counted exactly.
pub const PROMOTED_PACKETS: u32 = 32;

/// A source of which this CPU counts every packet: three cache lines, of which most packets touch the first
/// alone, and only connection attempts the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SourceSlot {
    /// Who; [`Address::NONE`]: free.
    pub key: Address,
    /// Packets in this epoch, and a quarter of those before.
    pub total: u32,
    /// Packets until the next flush.
    pub due: u32,
    /// A bit for each hash of a pair of ports in this epoch: a datagram whose bit is set belongs to a flow that is known.
    pub flow_bits: u64,
    /// Which budgets are used up: [`limit`](crate::limit)'s bits.
    pub over: u32,
    /// Packets since the last flush, by kind.
    pub counts: [u32; KINDS],
    /// Bytes since the last flush.
    pub bytes: u64,
    /// Until when budgets are used up.
    pub over_until_boot_ns: u64,
    /// When it was flushed last: boot time shifted by [`EPOCH_SHIFT`].
    pub epoch: u32,
    /// TCP segments with RST since the last flush; what follows is since then as well.
    pub tcp_rst: u32,
    /// Ports knocked at: see [`port_bit`](crate::map::port_bit).
    pub ports: [u64; 4],
    /// Of `counts`, what was dropped because of a budget, and is not charged to it.
    pub waived: [u16; KINDS],
    /// Always 0.
    pub reserved: [u16; 3],
    /// Hosts that it tried to reach: see [`host_bit`](crate::map::host_bit).
    pub hosts: [u64; 4],
    /// Never touched: slots begin with cache lines.
    pub spare: [u64; 4],
}

/// One row of the sketch: the epoch in the upper 8 bits of each counter, packets in the others.
pub type SketchRow = [u32; SKETCH_COLUMNS];

/// What one CPU knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuState {
    /// The epoch of the next two.
    pub epoch: u32,
    /// Sources that were put into the shared table in this epoch.
    pub inserts: u32,
    /// Packets that went into the sketch in this epoch.
    pub sketched: u32,
    /// Always 0.
    pub reserved: u32,
    /// Packets of sources that were not counted exactly.
    pub uncounted: u64,
    /// The kernel's tick in which the clock was read last.
    pub tick: u64,
    /// What it said, in ns since boot.
    pub tick_boot_ns: u64,
}

/// Under which key a source is counted: an IPv4 address; an IPv6 address of the LAN; else its /64, which is what one
/// household or server has.
#[inline(always)]
#[must_use]
pub const fn source_key(source: &Address, is_v6: bool, role: u32) -> Address {
    if is_v6 && role != ROLE_LAN { Address([source.0[0], source.0[1], 0, 0]) } else { *source }
}

/// The key of a source's neighbourhood in [`map::BUCKETS`](crate::map::BUCKETS): the /24 or /48. No source has it: the
/// third word is what only mapped IPv4 addresses, which are martians, have there.
#[inline(always)]
#[must_use]
pub const fn prefix_key(key: &Address) -> Address {
    const MARK_V4: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0x18]);
    const MARK_V6: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0x30]);
    if key.is_v4() {
        return Address([0, 0, MARK_V4, key.0[3] & u32::from_ne_bytes([0xff, 0xff, 0xff, 0])]);
    }
    Address([key.0[0], key.0[1] & u32::from_ne_bytes([0xff, 0xff, 0, 0]), MARK_V6, 1])
}

/// The key under which answers from one port on one interface are counted.
#[inline(always)]
#[must_use]
pub const fn reflection_key(port: u16, ifindex: u32) -> Address {
    Address([0, port as u32, REFLECTION_MARK, ifindex])
}

/// Whether a key is one of [`reflection_key`].
#[inline(always)]
#[must_use]
pub const fn is_reflection(key: &Address) -> bool {
    key.0[0] == 0 && key.0[2] == REFLECTION_MARK
}

const REFLECTION_MARK: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0x11]);

/// The hash of a key. The seed is drawn at each start, so that nobody can choose addresses that meet.
#[inline(always)]
#[must_use]
pub const fn hash(key: &Address, seed: u64) -> u64 {
    let upper = key.0[0] as u64 | (key.0[1] as u64) << 32;
    let lower = key.0[2] as u64 | (key.0[3] as u64) << 32;
    let mixed = (upper.rotate_left(29) ^ lower ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

/// The first of a source's two slots.
#[inline(always)]
#[must_use]
pub const fn slot_of(hash: u64) -> u32 {
    (hash >> 40) as u32 & (SLOTS - 2)
}

/// A source's counter in one row of the sketch.
#[inline(always)]
#[must_use]
pub const fn column_of(hash: u64, row: u32) -> usize {
    (hash >> (row * 12)) as usize & (SKETCH_COLUMNS - 1)
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya's `Pod` is an unsafe trait")]

    // SAFETY: `repr(C)`, `Copy`, `'static`, and zerocopy's derives prove that there is no padding and that every bit
    // pattern is valid.
    unsafe impl aya::Pod for super::CpuState {}
}

const _: () = assert!(
    size_of::<SourceSlot>() == 192
        && core::mem::offset_of!(SourceSlot, over_until_boot_ns) == 64
        && core::mem::offset_of!(SourceSlot, hosts) == 128
);
const _: () = assert!(size_of::<CpuState>() == 40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_sources_prefixes_and_ports_never_meet() {
        let v4 = |a, b, c, d| Address::v4(u32::from_ne_bytes([a, b, c, d]));
        assert_eq!(prefix_key(&v4(192, 0, 2, 1)), prefix_key(&v4(192, 0, 2, 200)));
        assert_ne!(prefix_key(&v4(192, 0, 2, 1)), prefix_key(&v4(192, 0, 3, 1)));
        let v6 = |text: &str| text.parse().map(|a: std::net::Ipv6Addr| Address::from_bytes(a.octets()));
        let near = [v6("2001:db8:0:1::"), v6("2001:db8:0:2::")].map(|address| address.map(|a| prefix_key(&a)));
        assert!(near[0].is_ok() && near[0] == near[1]);
        let keys = [v4(1, 0, 0, 0), prefix_key(&v4(1, 0, 0, 9)), reflection_key(53, 1), prefix_key(&Address([0; 4]))];
        for (index, key) in keys.iter().enumerate() {
            assert!(keys.iter().skip(index + 1).all(|other| other != key), "{key:?}");
        }
    }

    #[test]
    fn a_wan_source_is_its_slash_64_and_a_device_itself() {
        let address = Address([1, 2, 3, 4]);
        assert_eq!(source_key(&address, true, crate::map::ROLE_WAN), Address([1, 2, 0, 0]));
        assert_eq!(source_key(&address, true, ROLE_LAN), address);
        assert_eq!(source_key(&address, false, crate::map::ROLE_WAN), address);
    }

    #[test]
    fn hashes_spread_over_slots_and_columns() {
        let mut slots = std::collections::HashSet::new();
        let mut columns = std::collections::HashSet::new();
        for number in 0..4_096_u32 {
            let hash = hash(&Address::v4(number.to_be()), 7);
            slots.insert(slot_of(hash));
            columns.insert(column_of(hash, 2));
        }
        // 4,096 balls at random hit about 2,589 of 4,096 bins. Neighbours may do better.
        assert!(slots.len() > 2_430, "{}", slots.len());
        assert!(columns.len() > 2_430, "{}", columns.len());
    }
}
