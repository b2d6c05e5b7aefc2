//! Enters: nothing. Leaves: the layout of ring buffer records. Every record begins with its kind; user space reads it
//! with zerocopy and skips kinds and lengths it does not know, never casts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{map::SourceCounters, packet::Address};

/// [`SourceReport::kind`].
pub const KIND_SOURCE: u32 = 1;
/// [`DropEvent::kind`].
pub const KIND_DROP: u32 = 2;

/// A source that sent much, or knocked at many ports, in the running window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SourceReport {
    /// [`KIND_SOURCE`].
    pub kind: u32,
    /// Always 0.
    pub reserved: u32,
    /// When, in ns since boot.
    pub at_boot_ns: u64,
    /// The address.
    pub source: Address,
    /// What it sent since the window began.
    pub counters: SourceCounters,
}

/// A dropped packet, sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DropEvent {
    /// [`KIND_DROP`].
    pub kind: u32,
    /// The [`DropReason`](crate::DropReason)'s number.
    pub reason: u32,
    /// The interface it came in by.
    pub ifindex: u32,
    /// Length of the frame in bytes.
    pub frame_bytes: u32,
    /// When, in ns since boot.
    pub at_boot_ns: u64,
    /// The decision behind the ban; 0 when it was no ban.
    pub decision: u64,
    /// The source; all zero when the frame was malformed.
    pub source: Address,
    /// The destination, likewise.
    pub destination: Address,
    /// Source port; 0 when unknown.
    pub source_port: u16,
    /// Destination port; 0 when unknown.
    pub destination_port: u16,
    /// VLAN; 0 when there is none.
    pub vlan: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
    /// How much of `data` is the frame's.
    pub captured_bytes: u32,
    /// Always 0.
    pub reserved_2: u32,
    /// The beginning of the frame, from its Ethernet header on.
    pub data: [u8; CAPTURE_BYTES],
}

/// How much of a sampled frame is kept: headers, and a look at what they carry.
pub const CAPTURE_BYTES: usize = 192;

const _: () = assert!(size_of::<SourceReport>() == 176);
const _: () = assert!(size_of::<DropEvent>() == 80 + CAPTURE_BYTES);
