//! Enters: a packet that passes. Leaves: its source's counters, and a report when they cross a threshold. The table is
//! bounded: the least recently seen source makes room. It must never take a lock.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_boot_ns};
use qantra_common::{
    map::{REPORT_PORT_STEP, SourceCounters, Tunables, port_bit},
    packet::{Address, PROTOCOL_UDP, Packet},
};

use crate::{
    atomic,
    frame::Frame,
    interface::Interface,
    map::{FRESH, SOURCES},
    report,
};

/// Counts one packet for its source.
#[inline(always)]
pub(crate) fn count<F: Frame>(packet: &Packet, frame: &F, interface: &Interface, tunables: &Tunables) {
    let key = &packet.source;
    let counters = match SOURCES.get_ptr_mut(key) {
        Some(counters) => counters,
        None => {
            insert(key, interface.role, tunables);
            match SOURCES.get_ptr_mut(key) {
                Some(counters) => counters,
                None => return interface.count_lost_source(),
            }
        }
    };
    let packets = frame.packets();
    // SAFETY: a live map value, 8-byte aligned, changed by atomic instructions alone but for the report marks: when two
    // CPUs race for those, a report is sent twice, and user space takes differences.
    unsafe {
        atomic::add(&raw mut (*counters).packets, packets);
        atomic::add(&raw mut (*counters).bytes, frame.wire_bytes());
        if packet.is_tcp_syn() {
            atomic::add(&raw mut (*counters).tcp_syn, packets);
        }
        if packet.is_tcp_rst() {
            atomic::add(&raw mut (*counters).tcp_rst, packets);
        }
        if packet.protocol == PROTOCOL_UDP {
            atomic::add(&raw mut (*counters).udp, packets);
        }
        if packet.is_icmp() {
            atomic::add(&raw mut (*counters).icmp, packets);
        }
        let knocked = match packet.knocks_at() {
            Some(port) => mark_port(counters, port),
            None => false,
        };
        let total = atomic::read(&raw const (*counters).packets);
        let much = total >= (*counters).report_packets;
        if much {
            (*counters).report_packets = total * 2;
        }
        if much || knocked {
            report::source(key, counters, interface);
        }
    }
}

/// Sets a port's bit; says whether a report is due for it.
///
/// # Safety
/// `counters` is a live map value.
#[inline(always)]
unsafe fn mark_port(counters: *mut SourceCounters, port: u16) -> bool {
    let (word, mask) = port_bit(port);
    // SAFETY: the caller's promise; the word is below 4.
    unsafe {
        let word = (&raw mut (*counters).ports).cast::<u64>().add(word & 3);
        if atomic::read(word) & mask != 0 {
            return false;
        }
        atomic::or(word, mask);
        let bits = (*counters).port_bits + 1;
        (*counters).port_bits = bits;
        if bits < (*counters).report_port_bits {
            return false;
        }
        (*counters).report_port_bits = bits + REPORT_PORT_STEP;
    }
    true
}

/// Begins a source's window. 0 as a threshold means never.
#[inline(always)]
fn insert(key: &Address, role: u32, tunables: &Tunables) {
    let Some(fresh) = FRESH.get_ptr_mut(0) else { return };
    // SAFETY: a live value of this CPU; all but these fields stay as the kernel made them: zero. The helper takes nothing.
    let fresh = unsafe {
        (*fresh).since_boot_ns = bpf_ktime_get_boot_ns();
        (*fresh).report_packets =
            if tunables.report_packets == 0 { u64::MAX } else { u64::from(tunables.report_packets) };
        (*fresh).report_port_bits = if tunables.report_port_bits == 0 { u32::MAX } else { tunables.report_port_bits };
        (*fresh).role = role;
        &*fresh
    };
    // Another CPU may have inserted it just now: then this fails, and that entry is used.
    let _exists = SOURCES.insert(key, fresh, u64::from(BPF_NOEXIST));
}
