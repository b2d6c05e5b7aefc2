//! Enters: capture files (pcap and pcapng), and logs of what a proxy observed. Leaves: the observations that the kernel half would have made of their
//! packets, for replay and for training; and frames as such files. It must never touch a network interface or read a clock: time is the file's.

mod conversations;
mod counters;
mod file;
mod observed;
mod write;

pub use conversations::ConversationTracker;
pub use counters::SourceCounter;
pub use file::{CaptureError, Frame, Frames};
pub use observed::observed;
pub use write::{CaptureFormat, CaptureWriter, WrittenFrame};

use qantra_common::packet;

use crate::flow::Observation;

/// Every observation of a capture file's packets, in their order; also how many frames were not IP or malformed.
///
/// # Errors
/// The bytes are no capture file, or one with a link layer that is not supported.
pub fn observations(
    bytes: &[u8],
    counter: &mut SourceCounter,
    conversations: &mut ConversationTracker,
    mut emit: impl FnMut(Observation),
) -> Result<u64, CaptureError> {
    let (mut skipped, mut last_ms) = (0, 0);
    for frame in Frames::new(bytes)? {
        let frame = frame?;
        last_ms = frame.at_ms.max(last_ms);
        match packet::parse(&frame) {
            Ok(Some(packet)) => {
                counter.packet(last_ms, frame.wire_bytes, &packet, &mut |seen| emit(Observation::Packets(seen)));
                let mut told = |seen| emit(Observation::Conversation(seen));
                conversations.packet(last_ms, frame.wire_bytes, &packet, &mut told);
            }
            Ok(None) | Err(_) => skipped += 1,
        }
    }
    counter.flush(&mut |seen| emit(Observation::Packets(seen)));
    conversations.flush(last_ms, &mut |seen| emit(Observation::Conversation(seen)));
    Ok(skipped)
}
