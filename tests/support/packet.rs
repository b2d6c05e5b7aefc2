//! Enters: what a packet should say. Leaves: its bytes, with right lengths and checksums unless told otherwise. It must
//! never depend on the parser it is used to test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A frame, built from the outside in; each call adds one layer's detail.
#[derive(Debug, Clone)]
pub struct PacketBuilder {
    source: IpAddr,
    destination: IpAddr,
    vlans: Vec<(u16, u16)>,
    ipv4_options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    fragment: Option<(u16, bool)>,
    transport: Transport,
    tcp_options: Vec<u8>,
    payload: Vec<u8>,
}

/// What IP carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Source port, destination port, flags.
    Tcp(u16, u16, u8),
    /// Source port, destination port.
    Udp(u16, u16),
    /// ICMP or ICMPv6 echo request, by the address family.
    Icmp,
    /// Any other protocol, with the payload right behind IP.
    Raw(u8),
}

/// IPv6 hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// IPv6 routing.
pub const ROUTING: u8 = 43;
/// IPv6 fragment.
pub const FRAGMENT: u8 = 44;
/// IPv6 authentication.
pub const AUTHENTICATION: u8 = 51;
/// IPv6 destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

impl PacketBuilder {
    /// A TCP SYN from port 40000 to port 80.
    ///
    /// # Panics
    /// When the addresses are of different families.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one packet, one family");
        Self {
            source,
            destination,
            vlans: Vec::new(),
            ipv4_options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            transport: Transport::Tcp(40_000, 80, 0x02),
            tcp_options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Adds a VLAN tag inside those that are there: EtherType of the tag and VLAN.
    #[must_use]
    pub fn vlan(mut self, ethertype: u16, vlan: u16) -> Self {
        self.vlans.push((ethertype, vlan));
        self
    }

    /// IPv4 options, padded to four bytes.
    #[must_use]
    pub fn ipv4_options(mut self, options: &[u8]) -> Self {
        self.ipv4_options = options.to_vec();
        self.ipv4_options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an IPv6 extension header with this body, padded to the header's unit.
    #[must_use]
    pub fn extension(mut self, kind: u8, body: &[u8]) -> Self {
        self.extensions.push((kind, body.to_vec()));
        self
    }

    /// Makes it a fragment: offset in units of eight bytes, and whether more follow.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = Some((offset, more));
        self
    }

    /// What IP carries.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// TCP options, padded to four bytes.
    #[must_use]
    pub fn tcp_options(mut self, options: &[u8]) -> Self {
        self.tcp_options = options.to_vec();
        self.tcp_options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// What the transport carries.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut frame = vec![0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01];
        for (ethertype, vlan) in &self.vlans {
            frame.extend(ethertype.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(&mut frame, source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(&mut frame, source, destination),
            _ => {}
        }
        frame
    }

    fn ipv4(&self, frame: &mut Vec<u8>, source: Ipv4Addr, destination: Ipv4Addr) {
        frame.extend(0x0800_u16.to_be_bytes());
        let transport = self.transport_bytes();
        let header_bytes = 20 + self.ipv4_options.len();
        let start = frame.len();
        frame.push(0x40 | (header_bytes / 4) as u8);
        frame.push(0);
        frame.extend(((header_bytes + transport.len()) as u16).to_be_bytes());
        frame.extend([0x12, 0x34]);
        let (offset, more) = self.fragment.unwrap_or_default();
        frame.extend((offset | if more { 0x2000 } else { 0 }).to_be_bytes());
        frame.extend([64, self.protocol(), 0, 0]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        frame.extend(&self.ipv4_options);
        let sum = checksum(&frame[start..]);
        frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(transport);
    }

    fn ipv6(&self, frame: &mut Vec<u8>, source: Ipv6Addr, destination: Ipv6Addr) {
        frame.extend(0x86dd_u16.to_be_bytes());
        let mut kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).collect();
        kinds.extend(self.fragment.map(|_| FRAGMENT));
        kinds.push(self.protocol());
        let mut body = Vec::new();
        for (index, (kind, content)) in self.extensions.iter().enumerate() {
            body.extend(extension_bytes(*kind, kinds[index + 1], content));
        }
        if let Some((offset, more)) = self.fragment {
            body.extend([self.protocol(), 0]);
            body.extend((offset << 3 | u16::from(more)).to_be_bytes());
            body.extend([0, 0, 0, 7]);
        }
        body.extend(self.transport_bytes());
        frame.extend([0x60, 0, 0, 0]);
        frame.extend((body.len() as u16).to_be_bytes());
        frame.extend([kinds[0], 64]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        frame.extend(body);
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp(..) => 6,
            Transport::Udp(..) => 17,
            Transport::Icmp if self.source.is_ipv4() => 1,
            Transport::Icmp => 58,
            Transport::Raw(protocol) => protocol,
        }
    }

    fn transport_bytes(&self) -> Vec<u8> {
        // A later fragment carries the middle of a payload.
        if self.fragment.is_some_and(|(offset, _)| offset > 0) {
            return self.payload.clone();
        }
        let mut bytes = Vec::new();
        let checksum_at = match self.transport {
            Transport::Tcp(source, destination, flags) => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                let offset = (5 + self.tcp_options.len() / 4) << 4;
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, offset as u8, flags, 0x40, 0, 0, 0, 0, 0]);
                bytes.extend(&self.tcp_options);
                16
            }
            Transport::Udp(source, destination) => {
                bytes.extend(source.to_be_bytes());
                bytes.extend(destination.to_be_bytes());
                bytes.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                6
            }
            Transport::Icmp => {
                bytes.extend([if self.source.is_ipv4() { 8 } else { 128 }, 0, 0, 0, 0, 1, 0, 1]);
                2
            }
            Transport::Raw(_) => return self.payload.clone(),
        };
        bytes.extend(&self.payload);
        let sum = match self.transport {
            Transport::Icmp if self.source.is_ipv4() => checksum(&bytes),
            _ => checksum(&[self.pseudo_header(bytes.len()), bytes.clone()].concat()),
        };
        bytes[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// RFC 793 and RFC 8200, 8.1.
    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend([0, self.protocol()]);
                bytes.extend((length as u16).to_be_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend((length as u32).to_be_bytes());
                bytes.extend([0, 0, 0, self.protocol()]);
            }
            _ => {}
        }
        bytes
    }
}

fn extension_bytes(kind: u8, next: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![next, 0];
    bytes.extend(content);
    let unit = if kind == AUTHENTICATION { 4 } else { 8 };
    bytes.resize(bytes.len().max(8).next_multiple_of(unit), 0);
    bytes[1] = if kind == AUTHENTICATION { bytes.len() / 4 - 2 } else { bytes.len() / 8 - 1 } as u8;
    bytes
}

/// Whether the checksums of an IP packet that carries nothing but TCP are right.
#[must_use]
pub fn is_checksum_right(packet: &[u8]) -> bool {
    let is_v6 = packet[0] >> 4 == 6;
    let (addresses, tcp) = if is_v6 { (&packet[8..40], &packet[40..]) } else { (&packet[12..20], &packet[20..]) };
    let pseudo = [addresses, &[0, 6], &(tcp.len() as u16).to_be_bytes()].concat();
    (is_v6 || checksum(&packet[..20]) == 0) && checksum(&[pseudo, tcp.to_vec()].concat()) == 0
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
