//! Enters: nothing. Leaves: names, sizes and layouts of every map. No type here may hold padding or a type with
//! invalid bit patterns: the derives refuse to compile it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Verdict, cookie::SynCookies, limit::Limits, packet::Address};

/// Exact bans of IPv4 addresses: `[u8; 4]` → [`Ban`].
pub const BANS_V4: &str = "BANS_V4";
/// Exact bans of IPv6 addresses: `[u8; 16]` → [`Ban`].
pub const BANS_V6: &str = "BANS_V6";
/// Bans of IPv6 /64s: the first `[u8; 8]` → [`Ban`].
pub const BANS_V6_64: &str = "BANS_V6_64";
/// Bans of IPv4 prefixes: longest-prefix trie → [`Ban`].
pub const PREFIX_BANS_V4: &str = "PREFIX_BANS_V4";
/// Bans of IPv6 prefixes: longest-prefix trie → [`Ban`].
pub const PREFIX_BANS_V6: &str = "PREFIX_BANS_V6";
/// IPv4 prefixes that no ban may touch: longest-prefix trie → `u32`.
pub const PROTECTED_V4: &str = "PROTECTED_V4";
/// IPv6 prefixes that no ban may touch: longest-prefix trie → `u32`.
pub const PROTECTED_V6: &str = "PROTECTED_V6";
/// Bits that say where nothing is to be looked up: see [`filter`](crate::filter). `u32` → `u64`.
pub const FILTER: &str = "FILTER";
/// Watched interfaces, from the place of their index on: `u32` → [`Interface`].
pub const INTERFACES: &str = "INTERFACES";
/// Verdict counters by [`Interface::counters`], per CPU: `u32` → [`InterfaceCounters`].
pub const COUNTERS: &str = "COUNTERS";
/// One [`LanNetworks`].
pub const LAN_NETWORKS: &str = "LAN_NETWORKS";
/// One [`FeedState`](crate::feed::FeedState).
pub const FEED_STATE: &str = "FEED_STATE";
/// By [`feed::table_slot`](crate::feed::table_slot), an array of [`Block`](crate::feed::Block)s.
pub const FEED_BLOCKS: &str = "FEED_BLOCKS";
/// Likewise, an array of `u64`: the leaves, two words each.
pub const FEED_LEAVES: &str = "FEED_LEAVES";
/// Likewise, an array of `u64`: the IPv6 filter.
pub const FEED_FILTER_V6: &str = "FEED_FILTER_V6";
/// Likewise, an array of [`Cell`](crate::feed::Cell)s.
pub const FEED_CELLS: &str = "FEED_CELLS";
/// What feeds stopped, per CPU, in two turns: [`feed_hit_place`] → [`FeedHits`].
pub const FEED_HITS: &str = "FEED_HITS";
/// Whose turn it is, 0 or 1: the kernel counts in that half of [`FEED_HITS`], user space reads the other. One `u32`.
pub const FEED_HIT_TURN: &str = "FEED_HIT_TURN";
/// Exact counters of sources in the running window: mapped address → [`SourceCounters`].
pub const SOURCES: &str = "SOURCES";
/// Sources that CPUs count exactly, one CPU's after another's: `u32` → [`SourceSlot`](crate::source::SourceSlot).
pub const SOURCE_SLOTS: &str = "SOURCE_SLOTS";
/// What each CPU knows of itself: `u32` → [`CpuState`](crate::source::CpuState).
pub const CPU_STATE: &str = "CPU_STATE";
/// What is left of budgets: source or prefix → [`Bucket`](crate::limit::Bucket).
pub const BUCKETS: &str = "BUCKETS";
/// How many SYNs came in, by [`Interface::counters`]: `u32` → [`SynRate`](crate::cookie::SynRate).
pub const SYN_RATES: &str = "SYN_RATES";
/// What became of SYNs, per CPU: `u32` → [`CookieCounts`](crate::cookie::CookieCounts).
pub const COOKIE_COUNTS: &str = "COOKIE_COUNTS";
/// The box's own addresses: mapped address → `u32`.
pub const LOCAL_ADDRESSES: &str = "LOCAL_ADDRESSES";
/// One [`Tunables`].
pub const TUNABLES: &str = "TUNABLES";
/// The ring buffer of [`event`](crate::event)s.
pub const EVENTS: &str = "EVENTS";

/// Most interfaces that can be watched.
pub const INTERFACES_MAX: u32 = 64;
/// Places for interfaces: one is entered at its index modulo this, or in one of the places behind it.
pub const INTERFACE_PLACES: u32 = 1_024;
/// How many places are looked at.
pub const INTERFACE_PROBES: u32 = 4;
/// Most networks of the LAN side, per family.
pub const LAN_NETWORKS_MAX: usize = 16;
/// Places for an address each in one turn of [`FEED_HITS`] on each CPU: a power of two. One more is for what finds its
/// place taken.
pub const FEED_HIT_PLACES: u32 = 1_024;

/// Where a hash of an address is counted.
#[inline(always)]
#[must_use]
pub const fn feed_hit_place(turn: u32, hash: u64) -> u32 {
    (turn & 1) * (FEED_HIT_PLACES + 1) + ((hash >> 32) as u32 & (FEED_HIT_PLACES - 1))
}

/// Where everything is counted that finds its place taken.
#[inline(always)]
#[must_use]
pub const fn feed_hit_spare(turn: u32) -> u32 {
    (turn & 1) * (FEED_HIT_PLACES + 1) + FEED_HIT_PLACES
}
/// Entries of [`BUCKETS`]. Only sources that send much have one.
pub const BUCKETS_MAX: u32 = 16_384;
/// Most protected prefixes, per family.
pub const PROTECTED_MAX: u32 = 4_096;
/// Size of the ring buffer: some 2,800 source reports, a power of two and a multiple of 64 KiB pages.
pub const EVENTS_BYTES: u32 = 512 * 1024;
/// How many bans of one address may lie inside each other and not apply (ended, or for the other direction) before the
/// kernel stops looking for a wider one. 32 is every IPv4 prefix length.
pub const PREFIX_NESTING_MAX: u32 = 32;

/// [`Ban::direction`]: packets from the address.
pub const DIRECTION_SOURCE: u32 = 1;
/// [`Ban::direction`]: packets from the LAN to the address.
pub const DIRECTION_DESTINATION: u32 = 2;

/// [`Interface::role`]: towards the Internet.
pub const ROLE_WAN: u32 = 0;
/// [`Interface::role`]: towards the devices that the box serves.
pub const ROLE_LAN: u32 = 1;

/// [`Interface::flags`]: sources must be of the LAN (role LAN) or not of it (role WAN).
pub const CHECK_SOURCE: u32 = 1;
/// [`Interface::flags`]: budgets hold here.
pub const CHECK_LIMITS: u32 = 2;
/// [`Interface::flags`]: it is the loopback, where a packet's ends may be the same.
pub const IS_LOOPBACK: u32 = 4;

/// One ban, and what it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ban {
    /// The decision's id.
    pub decision: u64,
    /// When it stops by itself, in ns since boot; 0 is never.
    pub expires_boot_ns: u64,
    /// Packets dropped.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first packet was dropped, in ns since boot; 0 when none was.
    pub first_boot_ns: u64,
    /// When the last packet was dropped, in ns since boot.
    pub last_boot_ns: u64,
    /// [`DIRECTION_SOURCE`], [`DIRECTION_DESTINATION`] or both.
    pub direction: u32,
    /// The prefix's length, so that the kernel can look for a wider one; the whole address for an exact ban.
    pub prefix_len: u32,
}

impl Ban {
    /// Whether it is in force for one end of a packet at a time.
    #[inline(always)]
    #[must_use]
    pub const fn applies(&self, direction: u32, now_boot_ns: u64) -> bool {
        self.direction & direction != 0 && (self.expires_boot_ns == 0 || now_boot_ns < self.expires_boot_ns)
    }
}

/// Packets and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counter {
    /// Packets; below GRO, the segments that were merged.
    pub packets: u64,
    /// Bytes from the Ethernet header on, without the frame check sequence.
    pub bytes: u64,
}

/// One watched interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Interface {
    /// Its index; 0: the place is free.
    pub ifindex: u32,
    /// [`ROLE_WAN`] or [`ROLE_LAN`].
    pub role: u32,
    /// [`CHECK_SOURCE`], [`CHECK_LIMITS`], [`IS_LOOPBACK`].
    pub flags: u32,
    /// Its place in [`COUNTERS`].
    pub counters: u32,
}

/// What happened on one interface, on one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InterfaceCounters {
    /// By [`Verdict::slot`].
    pub verdicts: [Counter; Verdict::SLOTS],
    /// Events that found the ring buffer full.
    pub events_lost: u64,
    /// Sources that could not be counted because the table refused them.
    pub sources_lost: u64,
}

impl InterfaceCounters {
    /// Nothing counted yet.
    pub const NONE: Self =
        Self { verdicts: [Counter { packets: 0, bytes: 0 }; Verdict::SLOTS], events_lost: 0, sources_lost: 0 };
}

/// The networks of the LAN side, for telling a spoofed source. IPv6 by the upper half: LANs are /64 or wider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LanNetworks {
    /// How many of `v4` count.
    pub v4_count: u32,
    /// How many of `v6` count.
    pub v6_count: u32,
    /// Network and mask, as they lie in memory.
    pub v4: [[u32; 2]; LAN_NETWORKS_MAX],
    /// Upper half of network and mask, as they lie in memory.
    pub v6: [[u64; 2]; LAN_NETWORKS_MAX],
}

/// What feeds stopped of one address, on one CPU, in one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FeedHits {
    /// The listed address, IPv4 mapped.
    pub address: Address,
    /// What was dropped.
    pub dropped: Counter,
}

/// What one source sent since its window began: a map entry is removed at every scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SourceCounters {
    /// The first packet of the window, in ns since boot.
    pub since_boot_ns: u64,
    /// All packets.
    pub packets: u64,
    /// All bytes.
    pub bytes: u64,
    /// TCP segments with SYN and without ACK.
    pub tcp_syn: u64,
    /// TCP segments with RST.
    pub tcp_rst: u64,
    /// UDP datagrams.
    pub udp: u64,
    /// ICMP and ICMPv6 messages.
    pub icmp: u64,
    /// One bit for each hash of a port that was knocked at: see [`port_bit`].
    pub ports: [u64; 4],
    /// How many bits are set in `ports`, as the kernel counted them.
    pub port_bits: u32,
    /// The bits at which the next report is due.
    pub report_port_bits: u32,
    /// The packets at which the next report is due.
    pub report_packets: u64,
    /// [`ROLE_WAN`] or [`ROLE_LAN`]: where the first packet of the window came in.
    pub role: u32,
    /// Always 0.
    pub reserved: u32,
    /// One bit for each hash of a host that it tried to reach, by TCP SYN, ICMP or at a port that was new: see
    /// [`host_bit`].
    pub hosts: [u64; 4],
}

/// What user space tells the kernel half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tunables {
    /// [`ABI_VERSION`](crate::ABI_VERSION).
    pub abi_version: u32,
    /// Always 0, which the verifier does not know: see [`Load::forget`](crate::Load::forget).
    pub zero: u32,
    /// A source's packets in its window at which it is reported, and again at each doubling; 0: never.
    pub report_packets: u32,
    /// A source's port bits at which it is reported, and again after each [`REPORT_PORT_STEP`]; 0: never.
    pub report_port_bits: u32,
    /// Of dropped packets those are reported whose number, on one CPU and for one reason, has none of these bits: a power
    /// of two less one.
    pub drop_sample_mask: u32,
    /// Whether dropped packets are reported at all.
    pub drop_sample_is_on: u32,
    /// Sources that may be put into the shared table in one epoch on one CPU before only those that send much are.
    pub inserts_max: u32,
    /// Always 0.
    pub reserved: u32,
    /// Of [`source::hash`](crate::source::hash).
    pub hash_seed: u64,
    /// Budgets.
    pub limits: Limits,
    /// How SYNs are answered.
    pub syn_cookies: SynCookies,
}

/// New port bits between two reports of one source in one window.
pub const REPORT_PORT_STEP: u32 = 8;

/// The bit of a port in [`SourceCounters::ports`]: word and mask.
///
/// Linear counting wants bits as if drawn at random. One multiplication spreads neighbouring ports evenly, and a scan of
/// 150 in a row was taken for 220; the second round (a finaliser by Wellons) mixes them.
#[inline(always)]
#[must_use]
pub const fn port_bit(port: u16) -> (usize, u64) {
    let mixed = (port as u32).wrapping_mul(0x7feb_352d);
    let bit = ((mixed ^ (mixed >> 15)).wrapping_mul(0x846c_a68b) >> 24) as usize;
    (bit / 64, 1 << (bit % 64))
}

/// The bit of a host in [`SourceCounters::hosts`], likewise.
#[inline(always)]
#[must_use]
pub const fn host_bit(host: &Address) -> (usize, u64) {
    let folded = host.0[0] ^ host.0[1].rotate_left(11) ^ host.0[2].rotate_left(19) ^ host.0[3];
    let mixed = folded.wrapping_mul(0x7feb_352d);
    let bit = ((mixed ^ (mixed >> 15)).wrapping_mul(0x846c_a68b) >> 24) as usize;
    (bit / 64, 1 << (bit % 64))
}

const _: () = assert!(size_of::<Ban>() == 56);
const _: () = assert!(size_of::<Counter>() == 16);
const _: () = assert!(size_of::<Interface>() == 16);
const _: () = assert!(size_of::<InterfaceCounters>() == 16 + 16 * Verdict::SLOTS);
const _: () = assert!(size_of::<LanNetworks>() == 8 + 24 * LAN_NETWORKS_MAX);
const _: () = assert!(size_of::<FeedHits>() == 32);
const _: () = assert!(size_of::<SourceCounters>() == 144);
const _: () = assert!(size_of::<Tunables>() == 120);

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya's `Pod` is an unsafe trait")]

    use super::{Ban, Counter, FeedHits, Interface, InterfaceCounters, LanNetworks, SourceCounters, Tunables};
    use crate::packet::Address;

    // SAFETY: `repr(C)`, `Copy`, `'static`, and zerocopy's derives prove that there is no padding and that every bit
    // pattern is valid.
    unsafe impl aya::Pod for Ban {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Counter {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Interface {}
    // SAFETY: as above.
    unsafe impl aya::Pod for InterfaceCounters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for LanNetworks {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FeedHits {}
    // SAFETY: as above.
    unsafe impl aya::Pod for SourceCounters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Tunables {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Address {}
}
