//! Enters: capture files (pcap and pcapng), and logs of what a proxy observed. Leaves: the observations that the kernel half would have made of their
//! packets, for replay and for training; and frames as such files. It must never touch a network interface or read a clock: time is the file's.

mod counters;
mod file;
mod observed;
mod write;

pub use counters::SourceCounter;
pub use file::{CaptureError, Frame, Frames};
pub use observed::observed;
pub use write::{CaptureFormat, CaptureWriter, WrittenFrame};

use qantra_common::packet;

use crate::flow::PacketObservation;

/// Every observation of a capture file's packets, in their order; also how many frames were not IP or malformed.
///
/// # Errors
/// The bytes are no capture file, or one with a link layer that is not supported.
pub fn observations(
    bytes: &[u8],
    counter: &mut SourceCounter,
    mut emit: impl FnMut(PacketObservation),
) -> Result<u64, CaptureError> {
    let mut skipped = 0;
    for frame in Frames::new(bytes)? {
        let frame = frame?;
        match packet::parse(&frame) {
            Ok(Some(packet)) => counter.packet(frame.at_ms, frame.wire_bytes, &packet, &mut emit),
            Ok(None) | Err(_) => skipped += 1,
        }
    }
    counter.flush(&mut emit);
    Ok(skipped)
}
