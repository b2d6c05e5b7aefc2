//! Enters: nothing. Leaves: the headers as they are on the wire, big-endian and without alignment. It must never
//! interpret a field: that is [`packet`](crate::packet)'s.

use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    network_endian::{U16, U32},
};

/// Ethernet II (IEEE 802.3).
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ethernet {
    pub(crate) _addresses: [u8; 12],
    pub(crate) ethertype: U16,
}

/// What follows an 802.1Q or 802.1ad tag's own EtherType.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct VlanTag {
    pub(crate) control: U16,
    pub(crate) ethertype: U16,
}

/// IPv4 without options (RFC 791).
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ipv4 {
    pub(crate) version_ihl: u8,
    pub(crate) _service: u8,
    pub(crate) total_length: U16,
    pub(crate) _identification: U16,
    pub(crate) fragment: U16,
    pub(crate) _ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) _checksum: U16,
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

/// The fixed IPv6 header (RFC 8200).
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ipv6 {
    pub(crate) version_class_flow: U32,
    pub(crate) payload_length: U16,
    pub(crate) next_header: u8,
    pub(crate) _hop_limit: u8,
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
}

/// The first four bytes of every IPv6 extension header; for the fragment header `data` is offset and flags.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ipv6Extension {
    pub(crate) next_header: u8,
    pub(crate) length: u8,
    pub(crate) data: U16,
}

/// TCP up to the flags (RFC 9293); the rest is not looked at.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Tcp {
    pub(crate) source_port: U16,
    pub(crate) destination_port: U16,
    pub(crate) _sequence: [u8; 8],
    pub(crate) data_offset: u8,
    pub(crate) flags: u8,
}

/// UDP's ports (RFC 768).
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Udp {
    pub(crate) source_port: U16,
    pub(crate) destination_port: U16,
}
