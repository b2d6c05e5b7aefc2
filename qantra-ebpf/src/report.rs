//! Enters: what user space should look at. Leaves: ring buffer records. A full buffer loses the event, and that is
//! counted: it must never wait.

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_boot_ns};
use qantra_common::{
    DropReason,
    event::{DropEvent, KIND_DROP, KIND_SOURCE, SourceReport},
    map::{SourceCounters, Tunables},
    packet::Address,
};

use crate::{Outcome, ban::BanHit, frame::Frame, interface::Interface, map::EVENTS};

/// Reports a source's counters.
///
/// # Safety
/// `counters` is a live map value.
#[inline(always)]
pub(crate) unsafe fn source(source: &Address, counters: *const SourceCounters, interface: &Interface) {
    let Some(mut entry) = EVENTS.reserve::<SourceReport>(0) else { return interface.count_lost_event() };
    let report = entry.as_mut_ptr();
    // SAFETY: reserved memory of that size, and the caller's promise; the helper takes nothing. Counters may move while
    // they are copied: user space takes differences, so nothing is counted twice.
    unsafe {
        (*report).kind = KIND_SOURCE;
        (*report).reserved = 0;
        (*report).at_boot_ns = bpf_ktime_get_boot_ns();
        (*report).source = *source;
        (*report).counters = *counters;
    }
    entry.submit(0);
}

/// Reports one in `drop_sample` dropped packets.
#[inline(always)]
pub(crate) fn dropped<F: Frame>(
    reason: DropReason,
    outcome: &Outcome,
    frame: &F,
    interface: &Interface,
    tunables: &Tunables,
) {
    let sample = tunables.drop_sample;
    // SAFETY: the helper takes nothing.
    if sample == 0 || unsafe { bpf_get_prandom_u32() } % sample != 0 {
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<DropEvent>(0) else { return interface.count_lost_event() };
    let event = entry.as_mut_ptr();
    // SAFETY: reserved memory of that size, every field of which is written. The helper takes nothing.
    unsafe {
        (*event).kind = KIND_DROP;
        (*event).reason = reason as u32;
        (*event).ifindex = frame.ifindex();
        (*event).frame_bytes = frame.wire_bytes() as u32;
        (*event).at_boot_ns = outcome.hit.as_ref().map_or_else(|| bpf_ktime_get_boot_ns(), |hit| hit.now_boot_ns);
        (*event).decision = outcome.hit.as_ref().map_or(0, BanHit::decision);
        (*event).reserved = 0;
        match &outcome.packet {
            Some(packet) => {
                (*event).source = packet.source;
                (*event).destination = packet.destination;
                (*event).source_port = packet.source_port;
                (*event).destination_port = packet.destination_port;
                (*event).protocol = packet.protocol;
                (*event).vlan = if packet.vlan != 0 { packet.vlan } else { frame.stripped_vlan() };
            }
            None => {
                (*event).source = Address::NONE;
                (*event).destination = Address::NONE;
                (*event).source_port = 0;
                (*event).destination_port = 0;
                (*event).protocol = 0;
                (*event).vlan = frame.stripped_vlan();
            }
        }
    }
    entry.submit(0);
}
