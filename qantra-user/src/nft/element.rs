//! Enters: addresses, bans and ranges. Leaves: elements of nftables sets, and the other way round. It must never believe
//! that an element was written by this program.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{
    DecodeError, DefaultNla, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, Nla, NlasIterator, Parseable,
};
use netlink_packet_netfilter::{
    NetfilterMessage,
    nftables::{DataAttribute, Expressions, ListAttribute, SetElementAttribute, SetElementFlags},
};

use crate::{
    decide::{DecisionId, Direction},
    enforce::{BanHits, KernelBan},
};

/// One element as netlink carries it.
pub(super) type Element = ListAttribute<SetElementAttribute>;

const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;

/// nft(8)'s own mark for a comment in what user space stores with an element.
const COMMENT: u8 = 0;

/// What an element counts, beginning with what was counted before. (The kernel could also note when; but nft(8) before
/// 1.0.8 crashes on a set that has that.)
pub(super) fn counter(before: &BanHits) -> Expressions {
    let number = |kind, value: u64| DefaultNla::new(kind, value.to_be_bytes().to_vec());
    Expressions::Other {
        expression_type: COUNTER.into(),
        attributes: vec![number(COUNTER_BYTES, before.bytes), number(COUNTER_PACKETS, before.packets)],
    }
}

const COUNTER: &str = "counter";

/// The key of one address.
pub(super) fn key(address: IpAddr) -> SetElementAttribute {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    SetElementAttribute::Key(DataAttribute::Value(bytes))
}

/// An element that is only a key.
pub(super) fn bare(address: IpAddr) -> Element {
    ListAttribute::Element(vec![key(address)])
}

/// The two elements of a range: its first address, and the one behind its last. A range up to the end has no second.
pub(super) fn range(first: IpAddr, behind: Option<IpAddr>) -> impl Iterator<Item = Element> {
    let end =
        |address| ListAttribute::Element(vec![key(address), SetElementAttribute::Flags(SetElementFlags::IntervalEnd)]);
    std::iter::once(bare(first)).chain(behind.map(end))
}

/// A ban with its timeout, what it stopped so far, and a comment that `nft list` shows and the next start reads.
pub(super) fn ban(ban: &KernelBan, hits: &BanHits, now_boot_ns: u64) -> Element {
    let mut attributes = vec![key(ban.net.addr())];
    if let Some(end) = ban.expires_boot_ns {
        // In ms, and 0 would be never.
        let left_ms = end.saturating_sub(now_boot_ns).div_ceil(1_000_000).max(1);
        attributes.push(SetElementAttribute::Timeout(left_ms));
    }
    attributes.push(SetElementAttribute::ListExpressions(vec![counter(hits).into()]));
    attributes.push(SetElementAttribute::UserData(comment(&Note::of(ban).to_string())));
    ListAttribute::Element(attributes)
}

fn comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[COMMENT, length], text.as_bytes(), &[0]].concat()
}

/// What cannot be told from an element's key and set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    decision: DecisionId,
    direction: Direction,
    expires_boot_ns: Option<u64>,
}

impl Note {
    const fn of(ban: &KernelBan) -> Self {
        Self { decision: ban.decision, direction: ban.direction, expires_boot_ns: ban.expires_boot_ns }
    }

    fn read(user_data: &[u8]) -> Option<Self> {
        let [COMMENT, length, rest @ ..] = user_data else { return None };
        let text = rest.get(..usize::from(*length))?;
        let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0');
        let mut words = text.split(' ');
        let decision = words.next()?.parse().ok()?;
        let direction = match words.next()? {
            "source" => Direction::Source,
            "destination" => Direction::Destination,
            "both" => Direction::Both,
            _ => return None,
        };
        let expires_boot_ns = match words.next()?.strip_prefix("boot_ns=")? {
            "never" => None,
            number => Some(number.parse().ok()?),
        };
        Some(Self { decision, direction, expires_boot_ns })
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let direction = match self.direction {
            Direction::Source => "source",
            Direction::Destination => "destination",
            Direction::Both => "both",
        };
        write!(f, "{} {direction} boot_ns=", self.decision)?;
        match self.expires_boot_ns {
            Some(end) => write!(f, "{end}"),
            None => f.write_str("never"),
        }
    }
}

/// An element as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) address: IpAddr,
    pub(super) hits: BanHits,
    note: Option<Note>,
}

impl Read {
    /// As a ban of this prefix length. One without our note was put in by somebody else, and is none.
    pub(super) fn ban(&self, prefix_len: u8) -> Option<KernelBan> {
        let note = self.note?;
        Some(KernelBan {
            net: IpNet::new(self.address, prefix_len).ok()?,
            direction: note.direction,
            decision: note.decision,
            expires_boot_ns: note.expires_boot_ns,
            hits: self.hits,
        })
    }
}

/// A question about elements, or an answer as bare attributes: netlink-packet-netfilter loses what an element with one
/// expression counted.
pub(super) enum Exchange {
    Question(NetfilterMessage),
    Answer(Vec<DefaultNla>),
}

impl NetlinkSerializable for Exchange {
    fn message_type(&self) -> u16 {
        if let Self::Question(message) = self { message.message_type() } else { 0 }
    }

    fn buffer_len(&self) -> usize {
        if let Self::Question(message) = self { NetlinkSerializable::buffer_len(message) } else { 0 }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let Self::Question(message) = self {
            message.serialize(buffer);
        }
    }
}

impl NetlinkDeserializable for Exchange {
    type Error = DecodeError;

    fn deserialize(_header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        attributes(payload.get(NETFILTER_HEADER_BYTES..).unwrap_or_default()).map(Self::Answer)
    }
}

const NETFILTER_HEADER_BYTES: usize = 4;

fn attributes(bytes: &[u8]) -> Result<Vec<DefaultNla>, DecodeError> {
    NlasIterator::new(bytes).map(|attribute| DefaultNla::parse(&attribute?)).collect()
}

fn value(attribute: &DefaultNla) -> Vec<u8> {
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    value
}

/// The elements of an answer; what does not read as one is none.
pub(super) fn read(answer: Exchange) -> Vec<Read> {
    const LIST_ELEMENTS: u16 = 3;
    let Exchange::Answer(parts) = answer else { return Vec::new() };
    let inside = |part: DefaultNla| attributes(&value(&part)).unwrap_or_default();
    let lists = parts.into_iter().filter(|part| part.kind() == LIST_ELEMENTS);
    lists.flat_map(inside).filter_map(|element| read_one(&attributes(&value(&element)).ok()?)).collect()
}

fn read_one(parts: &[DefaultNla]) -> Option<Read> {
    const KEY: u16 = 1;
    const USER_DATA: u16 = 6;
    const EXPRESSION: u16 = 7;
    const DATA_VALUE: u16 = 1;
    let part = |kind| parts.iter().find(|part| part.kind() == kind).map(value);
    let key = attributes(&part(KEY)?).ok()?;
    let address = address_of(&value(key.iter().find(|data| data.kind() == DATA_VALUE)?))?;
    let hits = part(EXPRESSION).and_then(|expression| read_counter(&expression)).unwrap_or_default();
    Some(Read { address, hits, note: part(USER_DATA).and_then(|data| Note::read(&data)) })
}

fn read_counter(expression: &[u8]) -> Option<BanHits> {
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    let parts = attributes(expression).ok()?;
    let part = |kind| parts.iter().find(|part| part.kind() == kind).map(value);
    if part(NAME)?.strip_suffix(b"\0")? != COUNTER.as_bytes() {
        return None;
    }
    let counts = attributes(&part(DATA)?).ok()?;
    let count = |kind| {
        let bytes = counts.iter().find(|count| count.kind() == kind).map(value)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    };
    Some(BanHits { packets: count(COUNTER_PACKETS)?, bytes: count(COUNTER_BYTES)?, ..BanHits::default() })
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_nothing_else_is() {
        for (direction, expires_boot_ns) in
            [(Direction::Source, Some(7)), (Direction::Both, None), (Direction::Destination, Some(u64::MAX))]
        {
            let note = Note { decision: DecisionId(0xffff_ffff_ffff_ffff), direction, expires_boot_ns };
            let text = note.to_string();
            // nft(8) shows no comment longer than this.
            assert!(text.len() <= 128, "{text}");
            assert_eq!(Note::read(&comment(&text)), Some(note));
        }
        for bytes in [&b""[..], b"\0", b"\0\x05by\0", b"\x01\x05abcd\0", b"\0\xffshort\0", b"\0\x03\xff\xfe\0"] {
            assert_eq!(Note::read(bytes), None, "{bytes:?}");
        }
    }
}
