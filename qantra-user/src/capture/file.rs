//! Enters: the bytes of a pcap or pcapng file. Leaves: Ethernet frames with their time. Lengths in the file are not
//! believed: a broken record is an error or the end, never a panic.

use qantra_common::Load;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// The file cannot be read as a capture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// Neither pcap nor pcapng.
    #[error("neither a pcap nor a pcapng file: it begins with {0:02x?}")]
    Magic([u8; 4]),
    /// A link layer that is not supported.
    #[error("link type {0} is not supported: Ethernet (1), raw IP (101, 228, 229) and Linux cooked (113) are")]
    Link(u32),
    /// A header or a record contradicts itself.
    #[error("damaged at byte {offset}: {what}")]
    Damaged {
        /// Where.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When it was captured: ms since the Unix epoch.
    pub at_ms: u64,
    /// How long it was on the wire; the file may hold less of it.
    pub wire_bytes: u32,
    /// The frame from its Ethernet header on; one is made up where the file holds none.
    pub bytes: Vec<u8>,
}

/// What the file cut off is out of reach but counts for the lengths that headers claim.
impl Load for Frame {
    fn load<T: FromBytes + Immutable + KnownLayout + Copy>(&self, offset: usize) -> Option<T> {
        self.bytes.as_slice().load(offset)
    }

    fn frame_bytes(&self) -> usize {
        (self.wire_bytes as usize).max(self.bytes.len())
    }
}

const LINK_ETHERNET: u32 = 1;
const LINK_SLL: u32 = 113;
/// Longest record that is read: longer ones do not exist on any link.
const RECORD_BYTES_MAX: usize = 1 << 18;

/// How time stamps and frames of one interface are to be read.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: u32,
    /// Time stamp units in a second.
    units: u64,
}

/// Walks over the frames of a capture file.
#[derive(Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    offset: usize,
    big_endian: bool,
    is_ng: bool,
    interfaces: Vec<Interface>,
    is_over: bool,
}

impl<'a> Frames<'a> {
    /// Begins with the file's header.
    ///
    /// # Errors
    /// It is no capture file, or one with an unknown link layer.
    pub fn new(bytes: &'a [u8]) -> Result<Self, CaptureError> {
        let magic: [u8; 4] = bytes.first_chunk().copied().unwrap_or_default();
        let mut frames =
            Frames { bytes, offset: 0, big_endian: false, is_ng: false, interfaces: Vec::new(), is_over: false };
        let units = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => 1_000_000,
            [0x4d, 0x3c, 0xb2, 0xa1] => 1_000_000_000,
            [0xa1, 0xb2, 0xc3, 0xd4] => 1_000_000,
            [0xa1, 0xb2, 0x3c, 0x4d] => 1_000_000_000,
            [0x0a, 0x0d, 0x0d, 0x0a] => {
                frames.is_ng = true;
                return Ok(frames);
            }
            _ => return Err(CaptureError::Magic(magic)),
        };
        frames.big_endian = magic[0] == 0xa1;
        // The upper half of the link type says how long the frame check sequence is.
        let link = frames.u32_at(20).ok_or(CaptureError::Damaged { offset: 20, what: "no link type" })? & 0xffff;
        frames.interfaces.push(interface(link, units)?);
        frames.offset = 24;
        Ok(frames)
    }

    fn u32_at(&self, offset: usize) -> Option<u32> {
        let bytes = *self.bytes.get(offset..)?.first_chunk::<4>()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn u16_at(&self, offset: usize) -> Option<u16> {
        let bytes = *self.bytes.get(offset..)?.first_chunk::<2>()?;
        Some(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    const fn damaged(&self, what: &'static str) -> CaptureError {
        CaptureError::Damaged { offset: self.offset, what }
    }

    fn frame(&self, link: Interface, time: u64, start: usize, kept: usize, wire: u32) -> Option<Frame> {
        let data = self.bytes.get(start..start.checked_add(kept)?)?;
        let at_ms = (u128::from(time) * 1_000 / u128::from(link.units)) as u64;
        let (bytes, added) = ethernet(link.link, data)?;
        Some(Frame { at_ms, wire_bytes: wire.saturating_add_signed(added), bytes })
    }

    fn next_pcap(&mut self) -> Result<Option<Frame>, CaptureError> {
        loop {
            let at = self.offset;
            let header = (self.u32_at(at), self.u32_at(at + 4), self.u32_at(at + 8), self.u32_at(at + 12));
            // A capture that was cut off ends in the middle of a record: that is its end.
            let (Some(seconds), Some(part), Some(kept), Some(wire)) = header else { return Ok(None) };
            let kept = kept as usize;
            if kept > RECORD_BYTES_MAX {
                return Err(self.damaged("a record is longer than any frame"));
            }
            self.offset = at + 16 + kept;
            if self.offset > self.bytes.len() {
                return Ok(None);
            }
            let link = self.interfaces[0];
            let time = u64::from(seconds) * link.units + u64::from(part);
            if let Some(frame) = self.frame(link, time, at + 16, kept, wire) {
                return Ok(Some(frame));
            }
        }
    }

    fn next_ng(&mut self) -> Result<Option<Frame>, CaptureError> {
        const SECTION: u32 = 0x0a0d_0d0a;
        const INTERFACE: u32 = 1;
        const SIMPLE_PACKET: u32 = 3;
        const ENHANCED_PACKET: u32 = 6;
        loop {
            let at = self.offset;
            let Some(kind) = self.u32_at(at) else { return Ok(None) };
            if kind == SECTION {
                self.big_endian = self.bytes.get(at + 8) == Some(&0x1a);
                self.interfaces.clear();
            }
            let Some(length) = self.u32_at(at + 4) else { return Ok(None) };
            let length = length as usize;
            if !(12..=RECORD_BYTES_MAX + 4_096).contains(&length) {
                return Err(self.damaged("a block's length cannot be"));
            }
            if at + length > self.bytes.len() {
                return Ok(None);
            }
            self.offset = at + length;
            match kind {
                INTERFACE => {
                    let link = self.u16_at(at + 8).ok_or(self.damaged("an interface without link type"))?;
                    let units = self.time_units(at + 16, at + length - 4);
                    self.interfaces.push(interface(u32::from(link), units)?);
                }
                ENHANCED_PACKET => {
                    let words = (self.u32_at(at + 8), self.u32_at(at + 12), self.u32_at(at + 16));
                    let sizes = (self.u32_at(at + 20), self.u32_at(at + 24));
                    let ((Some(place), Some(high), Some(low)), (Some(kept), Some(wire))) = (words, sizes) else {
                        return Ok(None);
                    };
                    let Some(link) = self.interfaces.get(place as usize).copied() else {
                        return Err(self.damaged("a packet of an interface that was not described"));
                    };
                    let kept = (kept as usize).min(length.saturating_sub(32));
                    let time = u64::from(high) << 32 | u64::from(low);
                    if let Some(frame) = self.frame(link, time, at + 28, kept, wire) {
                        return Ok(Some(frame));
                    }
                }
                // No time stamp, so it is of no use to rates.
                SIMPLE_PACKET => {}
                _ => {}
            }
        }
    }

    /// The `if_tsresol` option of an interface block; microseconds when there is none.
    fn time_units(&self, mut option: usize, end: usize) -> u64 {
        const RESOLUTION: u16 = 9;
        while option + 4 <= end {
            let (Some(code), Some(length)) = (self.u16_at(option), self.u16_at(option + 2)) else { break };
            if code == 0 {
                break;
            }
            if code == RESOLUTION {
                let power = self.bytes.get(option + 4).copied().unwrap_or(6);
                let (base, exponent) = if power & 0x80 == 0 { (10_u64, power) } else { (2, power & 0x7f) };
                return base.checked_pow(u32::from(exponent)).unwrap_or(1_000_000);
            }
            option += 4 + usize::from(length).next_multiple_of(4);
        }
        1_000_000
    }
}

fn interface(link: u32, units: u64) -> Result<Interface, CaptureError> {
    match link {
        LINK_ETHERNET | LINK_SLL | 101 | 228 | 229 => Ok(Interface { link, units }),
        other => Err(CaptureError::Link(other)),
    }
}

/// A record as an Ethernet frame, and by how many bytes it grew.
fn ethernet(link: u32, data: &[u8]) -> Option<(Vec<u8>, i32)> {
    let (ethertype, payload, added) = match link {
        LINK_ETHERNET => return Some((data.to_vec(), 0)),
        // The cooked header ends in the EtherType.
        LINK_SLL => ([*data.get(14)?, *data.get(15)?], data.get(16..)?, -2),
        _ => (if data.first()? >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] }, data, 14),
    };
    let mut frame = vec![0; 12];
    frame.extend_from_slice(&ethertype);
    frame.extend_from_slice(payload);
    Some((frame, added))
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = if self.is_ng { self.next_ng() } else { self.next_pcap() };
        self.is_over = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pcap(link: u32, records: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1];
        file.extend([2, 0, 4, 0].into_iter().chain([0; 8]).chain(65_535_u32.to_le_bytes()));
        file.extend(link.to_le_bytes());
        for (seconds, micros, data) in records {
            for word in [*seconds, *micros, data.len() as u32, data.len() as u32 + 10] {
                file.extend(word.to_le_bytes());
            }
            file.extend_from_slice(data);
        }
        file
    }

    #[test]
    fn reads_frames_with_their_time_and_stops_at_a_cut_record() {
        let mut file = pcap(1, &[(1, 2_000, &[1; 60]), (3, 0, &[2; 60])]);
        file.truncate(file.len() - 1);
        let frames: Vec<_> = Frames::new(&file).into_iter().flatten().collect();
        assert_eq!(frames, [Ok(Frame { at_ms: 1_002, wire_bytes: 70, bytes: vec![1; 60] })]);
    }

    #[test]
    fn gives_raw_ip_an_ethernet_header() {
        let file = pcap(101, &[(0, 0, &[0x60, 0, 0, 0])]);
        let frame = Frames::new(&file).ok().and_then(|mut frames| frames.next());
        let expected = [[0; 12].as_slice(), &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
        assert_eq!(frame, Some(Ok(Frame { at_ms: 0, wire_bytes: 28, bytes: expected })));
    }

    #[test]
    fn says_what_it_cannot_read() {
        let cases = [
            (b"GIF89a".to_vec(), CaptureError::Magic(*b"GIF8")),
            (pcap(9, &[]), CaptureError::Link(9)),
            (pcap(1, &[])[..22].to_vec(), CaptureError::Damaged { offset: 20, what: "no link type" }),
        ];
        for (file, expected) in cases {
            assert_eq!(Frames::new(&file).err(), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn hostile_files_never_panic(ng in any::<bool>(), mut bytes in prop::collection::vec(any::<u8>(), 8..400)) {
            let magic = if ng { [0x0a, 0x0d, 0x0d, 0x0a] } else { [0xd4, 0xc3, 0xb2, 0xa1] };
            bytes[..4].copy_from_slice(&magic);
            if let Ok(frames) = Frames::new(&bytes) {
                prop_assert!(frames.count() <= bytes.len());
            }
        }

        #[test]
        fn hostile_blocks_never_panic(blocks in prop::collection::vec((0_u32..8, 0_u32..64, any::<[u32; 8]>()), 0..20)) {
            let mut file = vec![0x0a, 0x0d, 0x0d, 0x0a, 12, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a];
            for (kind, length, words) in blocks {
                file.extend(kind.to_le_bytes().into_iter().chain(length.to_le_bytes()));
                file.extend(words.iter().flat_map(|word| (word % 300).to_le_bytes()));
            }
            if let Ok(frames) = Frames::new(&file) {
                prop_assert!(frames.count() <= file.len());
            }
        }
    }
}
