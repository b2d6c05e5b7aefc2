//! Enters: a packet that no ban stopped. Leaves: its source's counters, a report when they cross a threshold, and the
//! budget it goes over, if any. It must never take a lock, and on the usual path it makes no call at all.
//!
//! See `qantra_common::source` for where a source is counted.

use core::mem::offset_of;

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_get_smp_processor_id};
use qantra_common::{
    DropReason,
    feed::ones,
    limit::{FLOWS, ICMP, KINDS, PACKETS, PREFIX_BIT, SYN, UDP},
    map::{CHECK_LIMITS, REPORT_PORT_STEP, SourceCounters, Tunables, host_bit, port_bit},
    packet::{Address, PROTOCOL_TCP, PROTOCOL_UDP, Packet},
    source::{
        self, CPU_SLOTS, CpuState, EPOCH_SHIFT, FLUSH_PACKETS, KNOCK_WEIGHT, PROMOTED_PACKETS, SKETCH_COLUMNS,
        SKETCH_ROWS, SPARE_SLOT, SourceSlot, column_of, slot_of,
    },
};

use crate::{
    atomic,
    clock::{boot_ns, coarse_boot_ns},
    frame::Frame,
    interface::Interface,
    limit,
    map::{CPU_STATE, FRESH, SKETCH, SOURCE_SLOTS, SOURCES},
    report, words,
};

/// Sources below this many packets in an epoch have no budget to go over.
const CHARGED_PACKETS: u32 = 16;

/// One packet on its way to its source's slot. The ways that few packets take are functions of their own: the verifier
/// forgets where they were called from when they return.
struct Visit<'a> {
    key: Address,
    hash: u64,
    packets: u32,
    /// As a mask.
    kinds: u32,
    interface: &'a Interface,
    tunables: &'a Tunables,
}

/// Counts one packet for its source. Returns the budget it is dropped for.
#[inline(always)]
pub(crate) fn count<F: Frame>(
    packet: &Packet,
    frame: &F,
    interface: &Interface,
    tunables: &Tunables,
) -> Option<DropReason> {
    let key = source::source_key(&packet.source, packet.is_v6, interface.role);
    let hash = source::hash(&key, tunables.hash_seed);
    let mut visit = Visit { key, hash, packets: frame.packets() as u32, kinds: 0, interface, tunables };
    // SAFETY: live values of this CPU; programs do not interrupt each other on it.
    let mut slot = unsafe { &mut *slot_at(slot_of(hash))? };
    if !is_same(&slot.key, &visit.key) {
        // SAFETY: as above.
        let other = unsafe { &mut *slot_at(slot_of(hash) + 1)? };
        slot = if is_same(&other.key, &visit.key) { other } else { settle(slot, other, &visit)? };
    }
    let weight = add(slot, packet, &mut visit, frame.wire_bytes());
    if weight < slot.due {
        slot.due -= weight;
    } else {
        flush(slot, &visit);
    }
    if slot.over == 0 { None } else { over_budget(slot, packet, &visit) }
}

/// One of this CPU's slots.
#[inline(always)]
fn slot_at(index: u32) -> Option<*mut SourceSlot> {
    // SAFETY: the helper takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    SOURCE_SLOTS.get_ptr_mut(cpu * CPU_SLOTS + index)
}

#[inline(always)]
fn is_same(a: &Address, b: &Address) -> bool {
    (a.0[0] ^ b.0[0]) | (a.0[1] ^ b.0[1]) | (a.0[2] ^ b.0[2]) | (a.0[3] ^ b.0[3]) == 0
}

/// Adds a packet to its slot, and says of which kinds it is. Returns how much nearer it brings the next flush.
#[inline(always)]
fn add(slot: &mut SourceSlot, packet: &Packet, visit: &mut Visit<'_>, bytes: u64) -> u32 {
    let packets = visit.packets;
    slot.counts[PACKETS] += packets;
    slot.bytes += bytes;
    let mut kinds = 1 << PACKETS | PREFIX_BIT;
    if packet.protocol == PROTOCOL_TCP {
        if packet.is_tcp_syn() {
            slot.counts[SYN] += packets;
            slot.counts[FLOWS] += packets;
            kinds |= 1 << SYN | 1 << FLOWS;
            mark_host(slot, packet);
        }
        if packet.is_tcp_rst() {
            slot.tcp_rst += packets;
        }
    } else if packet.protocol == PROTOCOL_UDP {
        slot.counts[UDP] += packets;
        kinds |= 1 << UDP;
        let pair = u32::from(packet.source_port) << 16 | u32::from(packet.destination_port);
        let flow = 1_u64 << (pair.wrapping_mul(0x9e37_79b1) >> 26);
        if slot.flow_bits & flow == 0 {
            slot.flow_bits |= flow;
            slot.counts[FLOWS] += 1;
            kinds |= 1 << FLOWS;
        }
    } else if packet.is_icmp() {
        slot.counts[ICMP] += packets;
        mark_host(slot, packet);
        kinds |= 1 << ICMP;
    }
    let mut weight = packets;
    if let Some(port) = packet.knocks_at() {
        let (word, mask) = port_bit(port);
        if slot.ports[word & 3] & mask == 0 {
            slot.ports[word & 3] |= mask;
            mark_host(slot, packet);
            weight *= KNOCK_WEIGHT;
        }
    }
    visit.kinds = kinds;
    weight
}

/// Marks the host that a packet tries to reach.
#[inline(always)]
fn mark_host(slot: &mut SourceSlot, packet: &Packet) {
    let (word, mask) = host_bit(&packet.destination);
    slot.hosts[word & 3] |= mask;
}

/// Finds a place for a source that has no slot: the slot of one that sends less, or the spare one, to be counted exactly
/// all the same. `None` when it is one of so many that each must be counted by the sketch alone.
#[inline(never)]
fn settle<'a>(one: &'a mut SourceSlot, other: &'a mut SourceSlot, visit: &Visit<'_>) -> Option<&'a mut SourceSlot> {
    let epoch = epoch_now();
    // SAFETY: live values of this CPU.
    let (cpu, spare) = unsafe { (&mut *CPU_STATE.get_ptr_mut(0)?, &mut *slot_at(SPARE_SLOT)?) };
    begin_epoch(cpu, epoch);
    cpu.sketched += visit.packets;
    let above_noise = sketch(visit.hash, visit.packets, epoch).saturating_sub(cpu.sketched / SKETCH_COLUMNS as u32);
    let (weight, other_weight) = (standing(one, epoch), standing(other, epoch));
    let (resident, weight) = if other_weight < weight { (other, other_weight) } else { (one, weight) };
    let mut seen_before = 0;
    let slot = if above_noise > weight {
        if resident.counts[PACKETS] != 0 {
            hand_on(resident, visit);
        }
        resident
    } else if cpu.inserts < visit.tunables.inserts_max {
        spare
    } else if above_noise > PROMOTED_PACKETS {
        // From here on it is counted exactly. What the sketch alone has seen of it is added; not more, because user
        // space may have taken it out of the table a moment ago.
        if SOURCES.get_ptr(visit.key).is_none() {
            seen_before = PROMOTED_PACKETS;
        }
        spare
    } else {
        cpu.uncounted += u64::from(visit.packets);
        return None;
    };
    clear(slot);
    slot.key = visit.key;
    slot.epoch = epoch;
    slot.total = 0;
    slot.due = 0;
    slot.over = 0;
    slot.flow_bits = 0;
    slot.counts[PACKETS] = seen_before;
    Some(slot)
}

/// How much a slot's source sends: packets of this epoch and a part of those before.
#[inline(always)]
fn standing(slot: &SourceSlot, epoch: u32) -> u32 {
    let packets = slot.total + slot.counts[PACKETS];
    match epoch.wrapping_sub(slot.epoch) {
        0 => packets,
        1 => packets >> 2,
        _ => 0,
    }
}

/// By one clock for all of a CPU's slots: one that is flushed in the next epoch already would seem to be long out of use.
#[inline(always)]
fn epoch_now() -> u32 {
    (coarse_boot_ns() >> EPOCH_SHIFT) as u32
}

#[inline(always)]
fn begin_epoch(cpu: &mut CpuState, epoch: u32) {
    if cpu.epoch != epoch {
        cpu.epoch = epoch;
        cpu.inserts = 0;
        cpu.sketched = 0;
    }
}

/// Adds to the sketch; returns how many packets the source has sent in this epoch at most.
#[inline(always)]
fn sketch(hash: u64, packets: u32, epoch: u32) -> u32 {
    const COUNT: u32 = (1 << 24) - 1;
    let stamp = epoch << 24;
    let mut least = COUNT;
    for row in 0..SKETCH_ROWS {
        let Some(counters) = SKETCH.get_ptr_mut(row) else { return 0 };
        // SAFETY: a live value of this CPU; the column is below the row's length.
        let counter = unsafe { *counters.cast::<u32>().add(column_of(hash, row)) };
        let count = if counter & !COUNT == stamp { counter & COUNT } else { 0 };
        if count < least {
            least = count;
        }
    }
    let estimate = if least + packets > COUNT { COUNT } else { least + packets };
    for row in 0..SKETCH_ROWS {
        let Some(counters) = SKETCH.get_ptr_mut(row) else { return 0 };
        // SAFETY: as above.
        unsafe {
            let counter = counters.cast::<u32>().add(column_of(hash, row));
            let is_less = *counter & !COUNT != stamp || *counter & COUNT < estimate;
            if is_less {
                *counter = stamp | estimate;
            }
        }
    }
    estimate
}

/// Hands a slot's counts on, charges them, and says when to do so again.
#[inline(never)]
fn flush(slot: &mut SourceSlot, visit: &Visit<'_>) {
    let (interface, tunables) = (visit.interface, visit.tunables);
    let epoch = epoch_now();
    if slot.epoch != epoch {
        slot.total = if epoch.wrapping_sub(slot.epoch) == 1 { slot.total >> 2 } else { 0 };
        slot.epoch = epoch;
        slot.flow_bits = 0;
    }
    slot.total += slot.counts[PACKETS];
    slot.due = slot.total.clamp(1, FLUSH_PACKETS);
    if tunables.limits.is_on != 0 && interface.flags & CHECK_LIMITS != 0 && slot.total >= CHARGED_PACKETS {
        limit::charge_source(slot, &tunables.limits, boot_ns());
    }
    hand_on(slot, visit);
}

/// The way of a packet whose source went over a budget of any kind.
#[inline(never)]
fn over_budget(slot: &mut SourceSlot, packet: &Packet, visit: &Visit<'_>) -> Option<DropReason> {
    let kinds = visit.kinds;
    if slot.over & kinds == 0 {
        return None;
    }
    if coarse_boot_ns() >= slot.over_until_boot_ns {
        flush(slot, visit);
    }
    let over = slot.over & kinds;
    if over == 0 || crate::ban::is_protected(&packet.source, packet.is_v6) {
        return None;
    }
    for kind in 0..KINDS {
        if kinds >> kind & 1 == 1 {
            slot.waived[kind] = slot.waived[kind].saturating_add(visit.packets as u16);
        }
    }
    Some(limit::reason_of(over))
}

/// Adds a slot's counts to the table that CPUs share. When that takes no more sources, they stay in the slot.
#[inline(never)]
fn hand_on(slot: &mut SourceSlot, visit: &Visit<'_>) {
    let (interface, tunables) = (visit.interface, visit.tunables);
    let counters = match SOURCES.get_ptr_mut(slot.key) {
        Some(counters) => counters,
        None => {
            if !may_insert(slot, tunables) {
                return;
            }
            insert(&slot.key, interface.role, tunables);
            match SOURCES.get_ptr_mut(slot.key) {
                Some(counters) => counters,
                None => return interface.count_lost_source(),
            }
        }
    };
    // SAFETY: a live map value, 8-byte aligned, changed by atomic instructions alone but for the report marks: when two
    // CPUs race for those, a report is sent twice, and user space takes differences.
    unsafe {
        atomic::add(&raw mut (*counters).packets, u64::from(slot.counts[PACKETS]));
        atomic::add(&raw mut (*counters).bytes, slot.bytes);
        add_if_any(&raw mut (*counters).tcp_syn, slot.counts[SYN]);
        add_if_any(&raw mut (*counters).tcp_rst, slot.tcp_rst);
        add_if_any(&raw mut (*counters).udp, slot.counts[UDP]);
        add_if_any(&raw mut (*counters).icmp, slot.counts[ICMP]);
        let knocked = slot.ports[0] | slot.ports[1] | slot.ports[2] | slot.ports[3] != 0;
        let many_ports = knocked && mark_ports(counters, &slot.ports);
        if slot.counts[SYN] | slot.counts[ICMP] != 0 {
            mark_hosts(counters, &slot.hosts);
        }
        let total = atomic::read(&raw const (*counters).packets);
        let much = total >= (*counters).report_packets;
        if much {
            (*counters).report_packets = total * 2;
        }
        if much || many_ports {
            report::source(&slot.key, counters, interface);
        }
    }
    clear(slot);
}

/// Only sources that send much take room when many new ones come at once.
#[inline(always)]
fn may_insert(slot: &SourceSlot, tunables: &Tunables) -> bool {
    let Some(cpu) = CPU_STATE.get_ptr_mut(0) else { return false };
    // SAFETY: a live value of this CPU.
    let cpu = unsafe { &mut *cpu };
    begin_epoch(cpu, slot.epoch);
    cpu.inserts += 1;
    cpu.inserts <= tunables.inserts_max || slot.total + slot.counts[PACKETS] > PROMOTED_PACKETS
}

#[inline(always)]
unsafe fn add_if_any(counter: *mut u64, amount: u32) {
    if amount != 0 {
        // SAFETY: the caller hands a live, 8-byte aligned map value.
        unsafe { atomic::add(counter, u64::from(amount)) }
    }
}

/// What was handed on begins anew.
#[inline(always)]
fn clear(slot: &mut SourceSlot) {
    const WORDS: usize = (offset_of!(SourceSlot, spare) - offset_of!(SourceSlot, ports)) / 8;
    slot.bytes = 0;
    slot.tcp_rst = 0;
    // SAFETY: fields of a live value; `ports` and all behind it up to `spare` are so many words.
    unsafe {
        for kind in 0..KINDS {
            (&raw mut slot.counts).cast::<u32>().add(kind).write_volatile(0);
        }
        words::zero::<WORDS>((&raw mut slot.ports).cast());
    }
}

/// Sets the bits of ports; says whether a report is due for them.
///
/// # Safety
/// `counters` is a live map value.
#[inline(always)]
unsafe fn mark_ports(counters: *mut SourceCounters, ports: &[u64; 4]) -> bool {
    let mut fresh = 0;
    // SAFETY: the caller's promise; each word is inside.
    unsafe {
        for (index, bits) in ports.iter().enumerate() {
            let word = (&raw mut (*counters).ports).cast::<u64>().add(index);
            let added = *bits & !atomic::read(word);
            if added != 0 {
                atomic::or(word, added);
                fresh += ones(added);
            }
        }
        let total = (*counters).port_bits + fresh;
        (*counters).port_bits = total;
        if fresh == 0 || total < (*counters).report_port_bits {
            return false;
        }
        (*counters).report_port_bits = total + REPORT_PORT_STEP;
    }
    true
}

/// Sets the bits of hosts.
///
/// # Safety
/// `counters` is a live map value.
#[inline(always)]
unsafe fn mark_hosts(counters: *mut SourceCounters, hosts: &[u64; 4]) {
    // SAFETY: the caller's promise; each word is inside.
    unsafe {
        for (index, bits) in hosts.iter().enumerate() {
            let word = (&raw mut (*counters).hosts).cast::<u64>().add(index);
            if *bits & !atomic::read(word) != 0 {
                atomic::or(word, *bits);
            }
        }
    }
}

/// Begins a source's window. 0 as a threshold means never.
#[inline(always)]
fn insert(key: &Address, role: u32, tunables: &Tunables) {
    let Some(fresh) = FRESH.get_ptr_mut(0) else { return };
    // SAFETY: a live value of this CPU; all but these fields stay as the kernel made them: zero.
    let fresh = unsafe {
        (*fresh).since_boot_ns = boot_ns();
        (*fresh).report_packets =
            if tunables.report_packets == 0 { u64::MAX } else { u64::from(tunables.report_packets) };
        (*fresh).report_port_bits = if tunables.report_port_bits == 0 { u32::MAX } else { tunables.report_port_bits };
        (*fresh).role = role;
        &*fresh
    };
    // Another CPU may have inserted it just now: then this fails, and that entry is used.
    let _exists = SOURCES.insert(key, fresh, u64::from(BPF_NOEXIST));
}
