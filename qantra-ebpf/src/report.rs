//! Enters: what user space should look at. Leaves: ring buffer records. A full buffer loses the event, and that is
//! counted: it must never wait.

use qantra_common::{
    DropReason,
    event::{CAPTURE_BYTES, DropEvent, KIND_DROP, KIND_SOURCE, SourceReport},
    map::SourceCounters,
    packet::{Address, Packet},
};

use crate::{clock::boot_ns, frame::Frame, interface::Interface, map::EVENTS, words};

/// Reports a source's counters.
///
/// # Safety
/// `counters` is a live map value.
#[inline(always)]
pub(crate) unsafe fn source(source: &Address, counters: *const SourceCounters, interface: &Interface) {
    let Some(mut entry) = EVENTS.reserve::<SourceReport>(0) else { return interface.count_lost_event() };
    let report = entry.as_mut_ptr();
    // SAFETY: reserved memory of that size, and the caller's promise. Counters may move while
    // they are copied: user space takes differences, so nothing is counted twice.
    unsafe {
        (*report).kind = KIND_SOURCE;
        (*report).reserved = 0;
        (*report).at_boot_ns = boot_ns();
        words::copy::<4>((&raw mut (*report).source).cast(), source.0.as_ptr());
        words::copy_long::<{ size_of::<SourceCounters>() / 8 }>((&raw mut (*report).counters).cast(), counters.cast());
    }
    entry.submit(0);
}

/// Reports a dropped packet with the beginning of its frame.
#[inline(never)]
pub(crate) fn dropped<F: Frame>(
    reason: DropReason,
    decision: u64,
    packet: Option<&Packet>,
    frame: &F,
    interface: &Interface,
) {
    let Some(mut entry) = EVENTS.reserve::<DropEvent>(0) else { return interface.count_lost_event() };
    let event = entry.as_mut_ptr();
    // SAFETY: reserved memory of that size, every field of which is written.
    unsafe {
        (*event).kind = KIND_DROP;
        (*event).reason = reason as u32;
        (*event).ifindex = frame.ifindex();
        (*event).frame_bytes = frame.wire_bytes() as u32;
        (*event).at_boot_ns = boot_ns();
        (*event).decision = decision;
        (*event).reserved = 0;
        (*event).reserved_2 = 0;
        // What is not the frame's would be what the buffer held before.
        words::zero::<{ CAPTURE_BYTES / 8 }>((&raw mut (*event).data).cast());
        (*event).captured_bytes = frame.capture(&mut (*event).data);
        match packet {
            Some(packet) => {
                words::copy::<4>((&raw mut (*event).source).cast(), packet.source.0.as_ptr());
                words::copy::<4>((&raw mut (*event).destination).cast(), packet.destination.0.as_ptr());
                (*event).source_port = packet.source_port;
                (*event).destination_port = packet.destination_port;
                (*event).protocol = packet.protocol;
                (*event).vlan = if packet.vlan != 0 { packet.vlan } else { frame.stripped_vlan() };
            }
            None => {
                words::zero::<2>((&raw mut (*event).source).cast());
                words::zero::<2>((&raw mut (*event).destination).cast());
                (*event).source_port = 0;
                (*event).destination_port = 0;
                (*event).protocol = 0;
                (*event).vlan = frame.stripped_vlan();
            }
        }
    }
    entry.submit(0);
}
