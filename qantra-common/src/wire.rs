//! Enters: nothing. Leaves: the headers as they are on the wire. Numbers are in network byte order, addresses in words as
//! they lie in memory: with single bytes, the compiler for BPF would keep each byte in a register of its own. It must
//! never interpret a field: that is [`packet`](crate::packet)'s.

use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Ethernet II (IEEE 802.3).
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Ethernet {
    pub(crate) _addresses: [u8; 12],
    pub(crate) ethertype: u16,
}

/// What follows an 802.1Q or 802.1ad tag's own EtherType.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct VlanTag {
    pub(crate) control: u16,
    pub(crate) ethertype: u16,
}

/// IPv4 without options (RFC 791).
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Ipv4 {
    pub(crate) version_ihl: u8,
    pub(crate) _service: u8,
    pub(crate) total_length: u16,
    pub(crate) _identification: u16,
    pub(crate) fragment: u16,
    pub(crate) _ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) _checksum: u16,
    pub(crate) source: u32,
    pub(crate) destination: u32,
}

/// The fixed IPv6 header (RFC 8200).
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Ipv6 {
    pub(crate) version_class_flow: u32,
    pub(crate) payload_length: u16,
    pub(crate) next_header: u8,
    pub(crate) _hop_limit: u8,
    pub(crate) source: [u32; 4],
    pub(crate) destination: [u32; 4],
}

/// The first four bytes of every IPv6 extension header; for the fragment header `data` is offset and flags.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Ipv6Extension {
    pub(crate) next_header: u8,
    pub(crate) length: u8,
    pub(crate) data: u16,
}

/// TCP up to the window (RFC 9293); the rest is not looked at.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Tcp {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) _sequence: [u32; 2],
    pub(crate) data_offset: u8,
    pub(crate) flags: u8,
    pub(crate) _window: u16,
}

/// UDP without its checksum (RFC 768).
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Udp {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) length: u16,
}

const _: () = assert!(size_of::<Ethernet>() == 14 && size_of::<VlanTag>() == 4 && size_of::<Ipv6Extension>() == 4);
const _: () = assert!(size_of::<Ipv4>() == 20 && size_of::<Ipv6>() == 40);
const _: () = assert!(size_of::<Tcp>() == 16 && size_of::<Udp>() == 6);
