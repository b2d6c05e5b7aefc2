//! Enters: one datagram of the kernel's connection tracking. Leaves: which conversations began, ended or are going on.
//! Pure, and hostile bytes are no more than an end: it must never panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NlaBuffer, NlasIterator};

use crate::flow::Transport;

/// `nfnetlink`'s subsystem of connection tracking, in the upper byte of a message's type.
const SUBSYSTEM: u16 = 1 << 8;
const MESSAGE_NEW: u16 = SUBSYSTEM;
const MESSAGE_GET: u16 = SUBSYSTEM | 1;
const MESSAGE_DELETE: u16 = SUBSYSTEM | 2;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Header of a netlink message, and of an `nfnetlink` one behind it.
const HEADER_BYTES: usize = 16;
const FAMILY_BYTES: usize = 4;

/// Attributes, as `linux/netfilter/nfnetlink_conntrack.h` numbers them.
const TUPLE_ORIGINAL: u16 = 1;
const COUNTERS_ORIGINAL: u16 = 9;
const COUNTERS_REPLY: u16 = 10;
const ID: u16 = 12;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_V4_SOURCE: u16 = 1;
const IP_V4_DESTINATION: u16 = 2;
const IP_V6_SOURCE: u16 = 3;
const IP_V6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION_PORT: u16 = 3;
const COUNTER_PACKETS: u16 = 1;
const COUNTER_BYTES: u16 = 2;

/// Packets and bytes of one direction so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// One tracked conversation, before any translation of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) port: u16,
    pub(super) transport: Transport,
    /// `None` where the kernel does not count.
    pub(super) counters: Option<(Counters, Counters)>,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// An event of the group of new ones, or a row of a list: which of both, who asked knows.
    Is(Entry),
    /// It is over.
    Over(Entry),
    /// The list is at its end.
    Done,
    /// The kernel refuses what was asked.
    Refused,
}

/// Asks for the list of all.
pub(super) fn list_request(sequence: u32) -> [u8; HEADER_BYTES + FAMILY_BYTES] {
    let mut bytes = [0; HEADER_BYTES + FAMILY_BYTES];
    let mut message = NetlinkBuffer::new(&mut bytes[..]);
    message.set_length((HEADER_BYTES + FAMILY_BYTES) as u32);
    message.set_message_type(MESSAGE_GET);
    message.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    message.set_sequence_number(sequence);
    bytes
}

/// The words of one datagram, in their order. What is neither TCP nor UDP, or does not decode, is passed over.
pub(super) fn words(datagram: &[u8], mut each: impl FnMut(Word)) {
    let mut rest = datagram;
    while let Ok(message) = NetlinkBuffer::new_checked(rest) {
        let attributes = message.payload().get(FAMILY_BYTES..).unwrap_or_default();
        match message.message_type() {
            MESSAGE_NEW => entry(attributes).map(Word::Is).into_iter().for_each(&mut each),
            MESSAGE_DELETE => entry(attributes).map(Word::Over).into_iter().for_each(&mut each),
            NLMSG_DONE => each(Word::Done),
            NLMSG_ERROR => each(Word::Refused),
            _ => {}
        }
        // Messages are aligned to four bytes.
        let length = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(length.max(HEADER_BYTES)..).unwrap_or_default();
    }
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let (mut id, mut tuple, mut sent, mut received) = (0, None, None, None);
    for attribute in attributes(bytes) {
        match attribute.kind() {
            TUPLE_ORIGINAL => tuple = original(attribute.value()),
            COUNTERS_ORIGINAL => sent = Some(counters(attribute.value())),
            COUNTERS_REPLY => received = Some(counters(attribute.value())),
            ID => id = u32::from_be_bytes(attribute.value().try_into().ok()?),
            _ => {}
        }
    }
    let (source, destination, port, transport) = tuple?;
    Some(Entry { id, source, destination, port, transport, counters: sent.zip(received) })
}

fn original(bytes: &[u8]) -> Option<(IpAddr, IpAddr, u16, Transport)> {
    let (mut source, mut destination, mut port, mut transport) = (None, None, None, None);
    for part in attributes(bytes) {
        for attribute in attributes(part.value()) {
            match (part.kind(), attribute.kind()) {
                (TUPLE_IP, IP_V4_SOURCE | IP_V6_SOURCE) => source = address(attribute.value()),
                (TUPLE_IP, IP_V4_DESTINATION | IP_V6_DESTINATION) => destination = address(attribute.value()),
                (TUPLE_PROTOCOL, PROTOCOL_NUMBER) => transport = transport_of(attribute.value()),
                (TUPLE_PROTOCOL, PROTOCOL_DESTINATION_PORT) => {
                    port = attribute.value().try_into().ok().map(u16::from_be_bytes);
                }
                _ => {}
            }
        }
    }
    Some((source?, destination?, port?, transport?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4().or_else(v6).map(|address| address.to_canonical())
}

fn transport_of(bytes: &[u8]) -> Option<Transport> {
    match bytes {
        [6] => Some(Transport::Tcp),
        [17] => Some(Transport::Udp),
        _ => None,
    }
}

fn counters(bytes: &[u8]) -> Counters {
    let mut counters = Counters::default();
    for attribute in attributes(bytes) {
        let Some(value) = attribute.value().try_into().ok().map(u64::from_be_bytes) else { continue };
        match attribute.kind() {
            COUNTER_PACKETS => counters.packets = value,
            COUNTER_BYTES => counters.bytes = value,
            _ => {}
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An attribute, padded as they are.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from(((4 + value.len()) as u16).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
        attribute(kind | 0x8000, &parts.concat())
    }

    fn message(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = [vec![2, 0, 0, 0], attributes.concat()].concat();
        let mut bytes = vec![0; HEADER_BYTES];
        let mut header = NetlinkBuffer::new(&mut bytes[..]);
        header.set_length((HEADER_BYTES + body.len()) as u32);
        header.set_message_type(kind);
        [bytes, body].concat()
    }

    fn tuple(protocol: u8) -> Vec<u8> {
        let ip = nested(
            TUPLE_IP,
            &[attribute(IP_V4_SOURCE, &[10, 0, 0, 7]), attribute(IP_V4_DESTINATION, &[203, 0, 113, 9])],
        );
        let protocol = nested(
            TUPLE_PROTOCOL,
            &[
                attribute(PROTOCOL_NUMBER, &[protocol]),
                attribute(2, &40_000_u16.to_be_bytes()),
                attribute(PROTOCOL_DESTINATION_PORT, &443_u16.to_be_bytes()),
            ],
        );
        nested(TUPLE_ORIGINAL, &[ip, protocol])
    }

    fn counted(kind: u16, packets: u64, bytes: u64) -> Vec<u8> {
        nested(
            kind,
            &[attribute(COUNTER_PACKETS, &packets.to_be_bytes()), attribute(COUNTER_BYTES, &bytes.to_be_bytes())],
        )
    }

    #[test]
    fn a_conversation_that_begins_and_ends_is_read_with_what_it_carried() {
        let id = attribute(ID, &77_u32.to_be_bytes());
        let datagram = [
            message(MESSAGE_NEW, &[tuple(6), id.clone()]),
            message(MESSAGE_NEW, &[tuple(1), id.clone()]),
            message(
                MESSAGE_DELETE,
                &[tuple(6), counted(COUNTERS_ORIGINAL, 9, 4_000), counted(COUNTERS_REPLY, 7, 900), id],
            ),
            message(NLMSG_DONE, &[]),
        ];
        let mut seen = Vec::new();
        words(&datagram.concat(), |word| seen.push(word));
        let entry = Entry {
            id: 77,
            source: IpAddr::from([10, 0, 0, 7]),
            destination: IpAddr::from([203, 0, 113, 9]),
            port: 443,
            transport: Transport::Tcp,
            counters: None,
        };
        let counters = Some((Counters { packets: 9, bytes: 4_000 }, Counters { packets: 7, bytes: 900 }));
        assert_eq!(seen, [Word::Is(entry), Word::Over(Entry { counters, ..entry }), Word::Done]);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            words(&bytes, |_| {});
            let framed = message(MESSAGE_NEW, &[bytes]);
            words(&framed, |_| {});
        }

        #[test]
        fn a_flipped_bit_never_panics(at in 0_usize..200, bit in 0_u8..8) {
            let mut bytes = message(MESSAGE_DELETE, &[tuple(17), counted(COUNTERS_ORIGINAL, 1, 2)]);
            let length = bytes.len();
            bytes[at % length] ^= 1 << bit;
            words(&bytes, |_| {});
        }
    }
}
