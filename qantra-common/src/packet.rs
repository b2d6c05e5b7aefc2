//! Enters: a frame, through [`Load`]. Leaves: the addresses, ports and flags the kernel half decides by, or the reason
//! why the frame is malformed. It must never panic, loop without a bound or read past what [`Load`] grants.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    DropReason,
    wire::{Ethernet, Ipv4, Ipv6, Ipv6Extension, Tcp, Udp, VlanTag},
};

/// Most VLAN tags that are looked through: one 802.1Q tag, or two for QinQ. A frame with more is not IP to us, nor
/// to any VLAN device of the box.
pub const VLAN_TAGS_MAX: usize = 2;
/// Most IPv6 extension headers; more is [`DropReason::Ipv6Extensions`].
pub const EXTENSIONS_MAX: usize = 8;

/// TCP's FIN flag.
pub const TCP_FIN: u8 = 0x01;
/// TCP's SYN flag.
pub const TCP_SYN: u8 = 0x02;
/// TCP's RST flag.
pub const TCP_RST: u8 = 0x04;
/// TCP's PSH flag.
pub const TCP_PSH: u8 = 0x08;
/// TCP's ACK flag.
pub const TCP_ACK: u8 = 0x10;
/// TCP's URG flag.
pub const TCP_URG: u8 = 0x20;

/// IP protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// IP protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;

const TCP_HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
const IP_PACKET_BYTES_MAX: usize = 65_535;

/// A frame whose bytes can be read with a bounds check: a slice in tests, packet memory in the kernel.
pub trait Load {
    /// Copies a header from `offset` bytes into the frame; `None` when it does not lie wholly in what can be read.
    fn load<T: FromBytes + Immutable + KnownLayout + Copy>(&self, offset: usize) -> Option<T>;

    /// How long the frame is, for checking the lengths that headers claim. It may be more than what
    /// [`load`](Self::load) can reach.
    fn frame_bytes(&self) -> usize;

    /// The same offset. In the kernel it comes back as one of which the verifier knows nothing but its limit: so that it
    /// sees equal states after each header, not one for each way to get there, and verifies what follows once.
    #[inline(always)]
    fn forget(&self, offset: usize) -> usize {
        offset
    }
}

impl Load for &[u8] {
    fn load<T: FromBytes + Immutable + KnownLayout + Copy>(&self, offset: usize) -> Option<T> {
        T::read_from_bytes(self.get(offset..)?.get(..size_of::<T>())?).ok()
    }

    fn frame_bytes(&self) -> usize {
        self.len()
    }
}

/// An address of either family in one 16-byte key, in words as they lie in memory: IPv4 is `::ffff:a.b.c.d`. That is
/// unambiguous, because such sources are martians on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// Of no packet.
    pub const NONE: Self = Self([0; 4]);
    const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

    /// An IPv4 address, as the word it is in memory.
    #[inline(always)]
    #[must_use]
    pub const fn v4(word: u32) -> Self {
        Self([0, 0, Self::MAPPED, word])
    }

    /// An address of 16 bytes, IPv4 as `::ffff:a.b.c.d`.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let value = u128::from_ne_bytes(bytes);
        Self([value as u32, (value >> 32) as u32, (value >> 64) as u32, (value >> 96) as u32])
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        let [a, b, c, d] = self.0;
        (a as u128 | (b as u128) << 32 | (c as u128) << 64 | (d as u128) << 96).to_ne_bytes()
    }

    /// The last word: the address itself when it is IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn low(&self) -> u32 {
        self.0[3]
    }

    /// The first eight bytes, as they lie in memory.
    #[inline(always)]
    #[must_use]
    pub const fn upper(&self) -> u64 {
        self.0[0] as u64 | (self.0[1] as u64) << 32
    }

    /// The first eight bytes as a number: neighbouring networks are neighbouring numbers.
    #[inline(always)]
    #[must_use]
    pub const fn upper_number(&self) -> u64 {
        u64::from_be(self.upper())
    }

    /// The last eight bytes as a number.
    #[inline(always)]
    #[must_use]
    pub const fn lower_number(&self) -> u64 {
        u64::from_be(self.0[2] as u64 | (self.0[3] as u64) << 32)
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.0[0] | self.0[1] == 0 && self.0[2] == Self::MAPPED
    }
}

#[cfg(target_endian = "big")]
compile_error!("words of an address are put together for little-endian machines: x86-64 and arm64");

/// What is known of one IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// The VLAN in the frame, outermost tag; 0 when there is none.
    pub vlan: u16,
    /// Whether it is IPv6.
    pub is_v6: bool,
    /// What IP carries: after extension headers, for IPv6.
    pub protocol: u8,
    /// TCP flags; 0 when it is not TCP or the header is not in reach.
    pub tcp_flags: u8,
    /// Source port of TCP and UDP; 0 when unknown.
    pub source_port: u16,
    /// Destination port of TCP and UDP; 0 when unknown.
    pub destination_port: u16,
    /// Whether it is a fragment that carries no transport header.
    pub is_later_fragment: bool,
}

impl Packet {
    /// Whether it opens a TCP connection: SYN without ACK.
    #[inline(always)]
    #[must_use]
    pub const fn is_tcp_syn(&self) -> bool {
        self.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN
    }

    /// Whether it resets a TCP connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_tcp_rst(&self) -> bool {
        self.tcp_flags & TCP_RST != 0
    }

    /// The reason to drop a TCP segment with flags that no stack sends; its source is a scanner's and is counted all the
    /// same. A segment of unknown flags has none.
    #[inline(always)]
    #[must_use]
    pub const fn tcp_anomaly(&self) -> Option<DropReason> {
        if self.protocol != PROTOCOL_TCP || self.is_later_fragment || self.destination_port == 0 {
            return None;
        }
        match self.tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK | TCP_URG) {
            0 => Some(DropReason::TcpNull),
            flags if flags == TCP_FIN | TCP_PSH | TCP_URG => Some(DropReason::TcpXmas),
            flags if flags & TCP_SYN != 0 && flags & (TCP_FIN | TCP_RST) != 0 => Some(DropReason::TcpFlags),
            flags if flags & (TCP_FIN | TCP_RST) == TCP_FIN | TCP_RST => Some(DropReason::TcpFlags),
            _ => None,
        }
    }

    /// Whether it counts as ICMP of its family.
    #[inline(always)]
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        self.protocol == if self.is_v6 { PROTOCOL_ICMPV6 } else { PROTOCOL_ICMP }
    }

    /// The destination port, when the packet knocks at it rather than answers: TCP without ACK and RST (SYN, and the
    /// FIN, NULL and Xmas scans), UDP unless it comes from a well-known port to a high one, as DNS, NTP and QUIC
    /// answers do. Without this, every busy server would look like a port scanner to its clients.
    #[inline(always)]
    #[must_use]
    pub const fn knocks_at(&self) -> Option<u16> {
        let knocks = match self.protocol {
            _ if self.is_later_fragment || self.destination_port == 0 => false,
            PROTOCOL_TCP => self.tcp_flags & (TCP_ACK | TCP_RST) == 0,
            PROTOCOL_UDP => self.source_port >= 1024 || self.destination_port < 1024,
            _ => false,
        };
        if knocks { Some(self.destination_port) } else { None }
    }
}

/// Reads one Ethernet frame. `Ok(None)` is a frame that is not IP.
///
/// # Errors
/// The reason why it is malformed.
#[inline(always)]
pub fn parse<L: Load>(frame: &L) -> Result<Option<Packet>, DropReason> {
    let ethernet: Ethernet = frame.load(0).ok_or(DropReason::Truncated)?;
    let mut ethertype = u16::from_be(ethernet.ethertype);
    let mut offset = size_of::<Ethernet>();
    let mut vlan = 0;
    for depth in 0..VLAN_TAGS_MAX {
        if !matches!(ethertype, 0x8100 | 0x88a8) {
            break;
        }
        let tag: VlanTag = frame.load(offset).ok_or(DropReason::Truncated)?;
        if depth == 0 {
            vlan = u16::from_be(tag.control) & 0x0fff;
        }
        ethertype = u16::from_be(tag.ethertype);
        offset += size_of::<VlanTag>();
    }
    let offset = frame.forget(offset);
    match ethertype {
        0x0800 => ipv4(frame, offset, vlan).map(Some),
        0x86dd => ipv6(frame, offset, vlan).map(Some),
        _ => Ok(None),
    }
}

#[inline(always)]
fn ipv4<L: Load>(frame: &L, offset: usize, vlan: u16) -> Result<Packet, DropReason> {
    let header: Ipv4 = frame.load(offset).ok_or(DropReason::Truncated)?;
    let header_bytes = usize::from(header.version_ihl & 0x0f) * 4;
    if header.version_ihl >> 4 != 4 || header_bytes < size_of::<Ipv4>() {
        return Err(DropReason::Ipv4Header);
    }
    let packet_bytes = claimed(u16::from_be(header.total_length), frame, offset);
    if packet_bytes < header_bytes {
        return Err(DropReason::Ipv4Header);
    }
    if offset + packet_bytes > frame.frame_bytes() {
        return Err(DropReason::Truncated);
    }
    if u32::from_be(header.source) >> 28 == 0xe || header.source == u32::MAX {
        return Err(DropReason::MartianSource);
    }
    let fragment = u16::from_be(header.fragment);
    let payload = Payload {
        offset: frame.forget(offset + header_bytes),
        bytes: packet_bytes - header_bytes,
        fragment_offset: usize::from(fragment & 0x1fff) * 8,
        is_fragment: fragment & 0x3fff != 0,
    };
    let (source, destination) = (Address::v4(header.source), Address::v4(header.destination));
    payload.transport(frame, header.protocol, Packet::bare(source, destination, vlan, false))
}

#[inline(always)]
fn ipv6<L: Load>(frame: &L, offset: usize, vlan: u16) -> Result<Packet, DropReason> {
    let header: Ipv6 = frame.load(offset).ok_or(DropReason::Truncated)?;
    if u32::from_be(header.version_class_flow) >> 28 != 6 {
        return Err(DropReason::Ipv6Header);
    }
    if u32::from_be(header.source[0]) >> 24 == 0xff || Address(header.source).is_v4() {
        return Err(DropReason::MartianSource);
    }
    let first = offset + size_of::<Ipv6>();
    let end = first + claimed(u16::from_be(header.payload_length), frame, first);
    if end > frame.frame_bytes() {
        return Err(DropReason::Truncated);
    }
    let packet = Packet::bare(Address(header.source), Address(header.destination), vlan, true);
    let mut payload = Payload { offset: first, bytes: 0, fragment_offset: 0, is_fragment: false };
    let mut protocol = header.next_header;
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(protocol) || payload.fragment_offset > 0 {
            break;
        }
        let Some(extension) = frame.load::<Ipv6Extension>(payload.offset) else {
            // In the frame, but not in the part that can be read: the addresses are known, the ports stay unknown.
            let is_in_frame = payload.offset + size_of::<Ipv6Extension>() <= end;
            return if is_in_frame { Ok(Packet { protocol, ..packet }) } else { Err(DropReason::Ipv6Extensions) };
        };
        let length = usize::from(extension.length);
        payload.offset += match protocol {
            EXTENSION_FRAGMENT => {
                payload.fragment_offset = usize::from(u16::from_be(extension.data) & 0xfff8);
                payload.is_fragment = u16::from_be(extension.data) & 0xfff9 != 0;
                8
            }
            EXTENSION_AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        payload.offset = frame.forget(payload.offset);
        protocol = extension.next_header;
    }
    if is_extension(protocol) && payload.fragment_offset == 0 {
        return Err(DropReason::Ipv6Extensions);
    }
    if payload.offset > end {
        return Err(DropReason::Ipv6Extensions);
    }
    payload.bytes = end - payload.offset;
    payload.transport(frame, protocol, packet)
}

/// The bytes that a length field claims. Merged TCP segments of more than 65,535 bytes ("BIG TCP") say 0: they reach to
/// the end of the frame.
#[inline(always)]
fn claimed<L: Load>(length: u16, frame: &L, offset: usize) -> usize {
    if length == 0 && frame.frame_bytes() > IP_PACKET_BYTES_MAX + offset {
        return frame.frame_bytes() - offset;
    }
    usize::from(length)
}

const EXTENSION_FRAGMENT: u8 = 44;
const EXTENSION_AUTHENTICATION: u8 = 51;

/// Hop-by-hop, routing, fragment, authentication, destination options, mobility, HIP, shim6: the IANA registry of IPv6
/// extension headers without ESP, which hides what follows.
#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | EXTENSION_FRAGMENT | EXTENSION_AUTHENTICATION | 60 | 135 | 139 | 140)
}

/// What IP carries.
struct Payload {
    /// Where it begins in the frame.
    offset: usize,
    /// How long it is.
    bytes: usize,
    /// Where it belongs in the whole datagram.
    fragment_offset: usize,
    is_fragment: bool,
}

impl Payload {
    #[inline(always)]
    fn transport<L: Load>(&self, frame: &L, protocol: u8, packet: Packet) -> Result<Packet, DropReason> {
        let mut packet = Packet { protocol, ..packet };
        if self.fragment_offset > 0 {
            packet.is_later_fragment = true;
            if self.fragment_offset + self.bytes > IP_PACKET_BYTES_MAX {
                return Err(DropReason::FragmentOverrun);
            }
            if protocol == PROTOCOL_TCP && self.fragment_offset < TCP_HEADER_BYTES {
                return Err(match self.fragment_offset {
                    8 => DropReason::TinyFragment,
                    _ => DropReason::FragmentOverlap,
                });
            }
            return Ok(packet);
        }
        match protocol {
            PROTOCOL_TCP => {
                if self.bytes < TCP_HEADER_BYTES {
                    return Err(if self.is_fragment { DropReason::TinyFragment } else { DropReason::TcpHeader });
                }
                if let Some(tcp) = frame.load::<Tcp>(self.offset) {
                    let header_bytes = usize::from(tcp.data_offset >> 4) * 4;
                    // A first fragment may end amid the options.
                    if header_bytes < TCP_HEADER_BYTES || (header_bytes > self.bytes && !self.is_fragment) {
                        return Err(DropReason::TcpHeader);
                    }
                    packet.tcp_flags = tcp.flags;
                    packet.source_port = u16::from_be(tcp.source_port);
                    packet.destination_port = u16::from_be(tcp.destination_port);
                }
            }
            PROTOCOL_UDP => {
                if self.bytes < UDP_HEADER_BYTES {
                    return Err(DropReason::UdpHeader);
                }
                if let Some(udp) = frame.load::<Udp>(self.offset) {
                    let length = usize::from(u16::from_be(udp.length));
                    if length < UDP_HEADER_BYTES || (length > self.bytes && !self.is_fragment) {
                        return Err(DropReason::UdpHeader);
                    }
                    packet.source_port = u16::from_be(udp.source_port);
                    packet.destination_port = u16::from_be(udp.destination_port);
                }
            }
            _ => {}
        }
        Ok(packet)
    }
}

impl Packet {
    #[inline(always)]
    const fn bare(source: Address, destination: Address, vlan: u16, is_v6: bool) -> Self {
        Self {
            source,
            destination,
            vlan,
            is_v6,
            protocol: 0,
            tcp_flags: 0,
            source_port: 0,
            destination_port: 0,
            is_later_fragment: false,
        }
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
