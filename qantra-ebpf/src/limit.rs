//! Enters: what a source sent since it was charged last. Leaves: which of its budgets, or of its neighbourhood's, are used
//! up, and until when. CPUs share the buckets: the clock is exchanged and tokens are added atomically, so no refill
//! is counted twice; only the cap of a full bucket may be overrun, by one charge.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::BPF_NOEXIST;
use qantra_common::{
    DropReason,
    limit::{Bucket, Budget, ESCALATION_NS, FLOWS, ICMP, KINDS, Limits, PACKETS, PREFIX_BIT, SYN, TOKEN, UDP},
    packet::Address,
    source::{SourceSlot, is_reflection, prefix_key},
};

use crate::{atomic, clock::boot_ns, map::BUCKETS, words};

/// Charges a source, and its prefix when that is limited.
#[inline(always)]
pub(crate) fn charge_source(slot: &mut SourceSlot, limits: &Limits, now_boot_ns: u64) {
    let was_over = slot.over != 0;
    slot.over = 0;
    slot.over_until_boot_ns = now_boot_ns;
    if let Some(bucket) = bucket_of(&slot.key, limits) {
        charge(slot, bucket, limits, now_boot_ns, false);
    }
    if limits.neighbours == 0 {
        return;
    }
    let prefix = prefix_key(&slot.key);
    let is_new = slot.over != 0 && !was_over;
    let bucket = if is_new { bucket_of(&prefix, limits) } else { BUCKETS.get_ptr_mut(prefix) };
    let Some(bucket) = bucket else { return };
    // SAFETY: a live map value; two CPUs that escalate at once write nearly the same times.
    let is_limited = unsafe {
        if is_new {
            escalate(bucket, limits, now_boot_ns);
        }
        atomic::read(&raw const (*bucket).until_boot_ns) > now_boot_ns
    };
    if is_limited {
        charge(slot, bucket, limits, now_boot_ns, true);
    }
}

/// A neighbour more went over its budgets.
///
/// # Safety
/// `bucket` is a live map value.
#[inline(always)]
unsafe fn escalate(bucket: *mut Bucket, limits: &Limits, now_boot_ns: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        if now_boot_ns.wrapping_sub((*bucket).since_boot_ns) > ESCALATION_NS {
            (*bucket).since_boot_ns = now_boot_ns;
            (*bucket).neighbours = 0;
        }
        (*bucket).neighbours += 1;
        if (*bucket).neighbours >= u64::from(limits.neighbours) {
            atomic::write(&raw mut (*bucket).until_boot_ns, now_boot_ns + ESCALATION_NS);
        }
    }
}

/// Takes a slot's packets out of a bucket, kind by kind, and marks the kinds that are used up.
#[inline(never)]
fn charge(slot: &mut SourceSlot, bucket: *mut Bucket, limits: &Limits, now_boot_ns: u64, is_prefix: bool) {
    // SAFETY: a live map value.
    let elapsed_ns = unsafe { elapsed(bucket, now_boot_ns) };
    for kind in 0..KINDS {
        let budget = &limits.source[kind];
        if budget.gain == 0 {
            continue;
        }
        let charged = slot.counts[kind].saturating_sub(u32::from(slot.waived[kind]));
        // SAFETY: a live map value, and the kind is inside.
        let tokens = unsafe { take((&raw mut (*bucket).tokens).cast::<u64>().add(kind), budget, elapsed_ns, charged) };
        if tokens < TOKEN {
            slot.over |= if is_prefix { PREFIX_BIT } else { 1 << kind };
            let until = now_boot_ns + budget.wait_ns(tokens);
            if until > slot.over_until_boot_ns {
                slot.over_until_boot_ns = until;
            }
        }
    }
}

/// Whether answers from a reflecting port are beyond their budget; each packet is charged at once.
#[inline(always)]
pub(crate) fn is_reflection_over(key: &Address, packets: u32, limits: &Limits) -> bool {
    let Some(bucket) = bucket_of(key, limits) else { return false };
    // SAFETY: a live map value.
    unsafe {
        let elapsed_ns = elapsed(bucket, boot_ns());
        let tokens = (&raw mut (*bucket).tokens).cast::<u64>();
        if (atomic::read(tokens) as i64) < TOKEN {
            // What is dropped is not charged, or nothing would pass while it lasts.
            return take(tokens, &limits.reflection, elapsed_ns, 0) < TOKEN;
        }
        take(tokens, &limits.reflection, elapsed_ns, packets);
    }
    false
}

/// The time since the last refill, which is now.
///
/// # Safety
/// `bucket` is a live map value.
#[inline(always)]
unsafe fn elapsed(bucket: *mut Bucket, now_boot_ns: u64) -> u64 {
    // SAFETY: the caller's promise.
    let before = unsafe { atomic::exchange(&raw mut (*bucket).refilled_boot_ns, now_boot_ns) };
    if before == 0 || before > now_boot_ns { 0 } else { now_boot_ns - before }
}

/// Refills and takes; returns what is left.
///
/// # Safety
/// `tokens` points into a live map value.
#[inline(always)]
unsafe fn take(tokens: *mut u64, budget: &Budget, elapsed_ns: u64, charged: u32) -> i64 {
    let change = budget.refill(elapsed_ns) - i64::from(charged) * TOKEN;
    // SAFETY: the caller's promise.
    unsafe {
        atomic::add(tokens, change as u64);
        let left = atomic::read(tokens) as i64;
        if left > budget.full() {
            atomic::write(tokens, budget.full() as u64);
        }
        left
    }
}

/// The bucket of a source, a prefix or a port; a new one is full.
#[inline(always)]
fn bucket_of(key: &Address, limits: &Limits) -> Option<*mut Bucket> {
    if let Some(bucket) = BUCKETS.get_ptr_mut(key) {
        return Some(bucket);
    }
    let mut full = MaybeUninit::<Bucket>::uninit();
    // SAFETY: every field is written.
    let full = unsafe {
        let bucket = full.as_mut_ptr();
        words::zero::<{ size_of::<Bucket>() / 8 }>(bucket.cast());
        let tokens = (&raw mut (*bucket).tokens).cast::<u64>();
        for kind in 0..KINDS {
            tokens.add(kind).write_volatile(limits.source[kind].full() as u64);
        }
        if is_reflection(key) {
            tokens.write_volatile(limits.reflection.full() as u64);
        }
        &*bucket
    };
    // Another CPU may have made it just now: then this fails, and that one is used.
    let _exists = BUCKETS.insert(key, full, u64::from(BPF_NOEXIST));
    BUCKETS.get_ptr_mut(key)
}

/// The reason for a packet that belongs to these used-up kinds: the narrowest.
#[inline(always)]
pub(crate) fn reason_of(over: u32) -> DropReason {
    if over & (1 << SYN) != 0 {
        DropReason::LimitSyn
    } else if over & (1 << UDP) != 0 {
        DropReason::LimitUdp
    } else if over & (1 << ICMP) != 0 {
        DropReason::LimitIcmp
    } else if over & (1 << FLOWS) != 0 {
        DropReason::LimitFlows
    } else if over & (1 << PACKETS) != 0 {
        DropReason::LimitPackets
    } else {
        DropReason::LimitPrefix
    }
}
