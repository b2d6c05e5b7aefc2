//! Frames as a capture file: pcapng (draft-ietf-opsawg-pcapng), which has room for a comment on each frame, or the classic
//! pcap. Each frame is written whole, so a file that is cut off between two of them is a whole file.

use std::io::{self, Write};

/// Which file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureFormat {
    /// With interfaces' names and comments.
    Pcapng,
    /// Frames and times only, for old programs.
    Pcap,
}

/// One frame to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenFrame<'a> {
    /// When: ns since the Unix epoch.
    pub at_unix_ns: u64,
    /// The interface it came in by.
    pub interface: &'a str,
    /// How long it was on the wire.
    pub wire_bytes: u32,
    /// Its beginning, from the Ethernet header on.
    pub bytes: &'a [u8],
    /// What is to be known of it.
    pub comment: &'a str,
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const OPTION_COMMENT: u16 = 1;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_RESOLUTION: u16 = 9;
const LINK_ETHERNET: u16 = 1;
/// Nanoseconds, as a power of ten.
const RESOLUTION_NS: u8 = 9;
/// Longest text of an option.
const TEXT_BYTES_MAX: usize = 1_024;
/// Most interfaces that are told apart; more share the last one's number.
const INTERFACES_MAX: usize = 1_024;

/// Writes a capture file.
#[derive(Debug)]
pub struct CaptureWriter<W> {
    out: W,
    format: CaptureFormat,
    snap_bytes: u32,
    interfaces: Vec<String>,
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a file with its header; `snap_bytes` is the most that is kept of a frame.
    ///
    /// # Errors
    /// The output fails.
    pub fn new(mut out: W, format: CaptureFormat, snap_bytes: u32) -> io::Result<Self> {
        match format {
            CaptureFormat::Pcap => {
                // Nanosecond magic, version 2.4, time zone and accuracy 0.
                out.write_all(&0xa1b2_3c4d_u32.to_le_bytes())?;
                out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
                out.write_all(&snap_bytes.to_le_bytes())?;
                out.write_all(&u32::from(LINK_ETHERNET).to_le_bytes())?;
            }
            CaptureFormat::Pcapng => {
                let mut body = [0x1a2b_3c4d_u32.to_le_bytes(), [1, 0, 0, 0]].concat();
                // The section's length is not known beforehand.
                body.extend(u64::MAX.to_le_bytes());
                option(&mut body, SECTION_APPLICATION, concat!("qantra ", env!("CARGO_PKG_VERSION")).as_bytes());
                end_options(&mut body);
                block(&mut out, SECTION, &body)?;
            }
        }
        Ok(Self { out, format, snap_bytes, interfaces: Vec::new() })
    }

    /// Writes one frame and hands it on.
    ///
    /// # Errors
    /// The output fails.
    pub fn frame(&mut self, frame: &WrittenFrame<'_>) -> io::Result<()> {
        let bytes = &frame.bytes[..frame.bytes.len().min(self.snap_bytes as usize)];
        let kept = bytes.len() as u32;
        let wire = frame.wire_bytes.max(kept);
        match self.format {
            CaptureFormat::Pcap => {
                let (seconds, ns) = (frame.at_unix_ns / 1_000_000_000, frame.at_unix_ns % 1_000_000_000);
                for word in [seconds as u32, ns as u32, kept, wire] {
                    self.out.write_all(&word.to_le_bytes())?;
                }
                self.out.write_all(bytes)?;
            }
            CaptureFormat::Pcapng => {
                let interface = self.interface(frame.interface)?;
                let (high, low) = ((frame.at_unix_ns >> 32) as u32, frame.at_unix_ns as u32);
                let mut body: Vec<u8> =
                    [interface, high, low, kept, wire].iter().flat_map(|w| w.to_le_bytes()).collect();
                body.extend_from_slice(bytes);
                pad(&mut body);
                if !frame.comment.is_empty() {
                    option(&mut body, OPTION_COMMENT, frame.comment.as_bytes());
                    end_options(&mut body);
                }
                block(&mut self.out, ENHANCED_PACKET, &body)?;
            }
        }
        self.out.flush()
    }

    /// The number of an interface, described in the file when it is new.
    fn interface(&mut self, name: &str) -> io::Result<u32> {
        if let Some(known) = self.interfaces.iter().position(|known| known == name) {
            return Ok(known as u32);
        }
        if self.interfaces.len() == INTERFACES_MAX {
            return Ok(INTERFACES_MAX as u32 - 1);
        }
        let mut body = [LINK_ETHERNET.to_le_bytes(), [0; 2]].concat();
        body.extend(self.snap_bytes.to_le_bytes());
        option(&mut body, INTERFACE_NAME, name.as_bytes());
        option(&mut body, INTERFACE_RESOLUTION, &[RESOLUTION_NS]);
        end_options(&mut body);
        block(&mut self.out, INTERFACE, &body)?;
        self.interfaces.push(name.to_owned());
        Ok(self.interfaces.len() as u32 - 1)
    }
}

/// A block: type, length, body, length again.
fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length)?;
    out.write_all(body)?;
    out.write_all(&length)
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(TEXT_BYTES_MAX)];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn end_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::{Frame, Frames};

    proptest! {
        #[test]
        fn what_is_written_is_read(
            frames in prop::collection::vec(
                // Classic files hold 32 bits of seconds.
                (0_u64..4_000_000_000_000_000_000, 0_usize..3, 0_u32..2_000, prop::collection::vec(any::<u8>(), 0..200), ".{0,40}"),
                0..20,
            ),
            is_ng in any::<bool>(),
        ) {
            let format = if is_ng { CaptureFormat::Pcapng } else { CaptureFormat::Pcap };
            let mut file = Vec::new();
            let mut writer = CaptureWriter::new(&mut file, format, 192).unwrap();
            let mut expected = Vec::new();
            for (at_unix_ns, interface, wire_bytes, bytes, comment) in &frames {
                let interface = ["eth0", "wlan0", "e"][*interface];
                writer.frame(&WrittenFrame { at_unix_ns: *at_unix_ns, interface, wire_bytes: *wire_bytes, bytes, comment }).unwrap();
                let bytes = bytes[..bytes.len().min(192)].to_vec();
                expected.push(Frame { at_ms: at_unix_ns / 1_000_000, wire_bytes: (*wire_bytes).max(bytes.len() as u32), bytes });
            }
            let read: Vec<Frame> = Frames::new(&file).unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
