//! Qantra's kernel half.
//!
//! Enters: each frame that an interface receives, at native XDP or at TCX ingress. Leaves: a verdict, counters, and
//! events for what user space should look at. It must never decide by itself: it compares with what is in the maps.
//! It needs no BTF of the running kernel, so no kfunc, no CO-RE.

#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![expect(unsafe_code, reason = "packet memory and map values are raw pointers in eBPF; each use says why it is sound")]
#![cfg(target_arch = "bpf")]

mod atomic;
mod ban;
mod clock;
mod cookie;
mod feed;
mod filter;
mod frame;
mod interface;
mod lan;
mod limit;
mod map;
mod report;
mod scratch;
mod source;
mod words;

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use qantra_common::{
    ABI_VERSION, DropReason, Load, Verdict,
    limit::is_reflector,
    map::{DIRECTION_DESTINATION, DIRECTION_SOURCE, ROLE_LAN, ROLE_WAN, Tunables},
    packet::{PROTOCOL_UDP, Packet},
    parse,
    source::reflection_key,
};

use crate::{
    ban::Weight,
    frame::{Action, Frame, TcFrame, XdpFrame},
    interface::Interface,
    map::TUNABLES,
};

/// What one look at a frame came to.
pub(crate) struct Outcome {
    verdict: Verdict,
    packet: Option<&'static Packet>,
    /// Behind the ban; 0 when it was no ban.
    decision: u64,
}

/// The order of checks: form, banned or listed source, banned or listed destination (from the LAN), impossible source,
/// impossible flags, budgets, and at last whether a connection request is answered here. What passes or goes over a budget
/// is counted for its source.
#[inline(always)]
fn judge<F: Frame + Load>(frame: &F, interface: &Interface, tunables: &Tunables) -> Outcome {
    let packet = match parse(frame) {
        Ok(Some(packet)) => scratch::keep(packet),
        Ok(None) => return Outcome { verdict: Verdict::Pass, packet: None, decision: 0 },
        Err(reason) => return Outcome { verdict: Verdict::Drop(reason), packet: None, decision: 0 },
    };
    // Never `None`: an array map has its only element.
    let Some(packet) = packet else { return Outcome { verdict: Verdict::Pass, packet: None, decision: 0 } };
    let weight = Weight { packets: frame.packets(), bytes: frame.wire_bytes() };
    let drop = |reason, decision| Outcome { verdict: Verdict::Drop(reason), packet: Some(packet), decision };
    if let Some(hit) = ban::find(&packet.source, packet.is_v6, DIRECTION_SOURCE, &weight) {
        let reason = if hit.by_prefix { DropReason::BannedSourcePrefix } else { DropReason::BannedSource };
        return drop(reason, hit.decision);
    }
    if feed::lists(&packet.source, packet.is_v6, false) {
        feed::count_hit(&packet.source, weight);
        return drop(DropReason::FeedSource, 0);
    }
    if interface.role == ROLE_LAN {
        if let Some(hit) = ban::find(&packet.destination, packet.is_v6, DIRECTION_DESTINATION, &weight) {
            let reason =
                if hit.by_prefix { DropReason::BannedDestinationPrefix } else { DropReason::BannedDestination };
            return drop(reason, hit.decision);
        }
        if feed::lists(&packet.destination, packet.is_v6, true) {
            feed::count_hit(&packet.destination, weight);
            return drop(DropReason::FeedDestination, 0);
        }
    }
    if let Some(reason) = lan::impossible_source(packet, interface) {
        return drop(reason, 0);
    }
    // Whatever its flags, it is counted: scanners are found by what they send.
    let over_budget = source::count(packet, frame, interface, tunables);
    match packet.tcp_anomaly().or(over_budget).or_else(|| reflection(packet, frame, interface, tunables)) {
        Some(reason) => drop(reason, 0),
        None if cookie::answers(packet, frame, interface, tunables) => {
            Outcome { verdict: Verdict::SynCookie, packet: None, decision: 0 }
        }
        None => Outcome { verdict: Verdict::Pass, packet: Some(packet), decision: 0 },
    }
}

/// Whether it is one answer too many from a port that is abused for reflection.
#[inline(always)]
fn reflection<F: Frame>(packet: &Packet, frame: &F, interface: &Interface, tunables: &Tunables) -> Option<DropReason> {
    if packet.protocol != PROTOCOL_UDP
        || tunables.limits.reflection.gain == 0
        || interface.role != ROLE_WAN
        || !is_reflector(packet.source_port)
        || ban::is_protected(&packet.source, packet.is_v6)
    {
        return None;
    }
    let key = reflection_key(packet.source_port, frame.ifindex());
    limit::is_reflection_over(&key, frame.packets() as u32, &tunables.limits).then_some(DropReason::UdpReflection)
}

/// Judges, then counts and reports the verdict; returns what the hook is to do.
#[inline(always)]
fn run<F: Frame + Load>(frame: &F, tunables: &Tunables) -> i32 {
    let Some(interface) = Interface::of(frame.ifindex()) else { return frame.code(Action::Pass) };
    let outcome = judge(frame, &interface, tunables);
    let before = interface.count(outcome.verdict, frame.packets(), frame.wire_bytes());
    let reason = match outcome.verdict {
        Verdict::Pass => return frame.code(Action::Pass),
        Verdict::SynCookie => return frame.code(Action::SendBack),
        Verdict::Drop(reason) => reason,
    };
    if tunables.drop_sample_is_on != 0 && before as u32 & tunables.drop_sample_mask == 0 {
        report::dropped(reason, outcome.decision, outcome.packet, frame, &interface);
    }
    #[cfg(feature = "bpf-log")]
    aya_log_ebpf::info!(frame.context(), "drop {} on ifindex {}", reason.as_str(), frame.ifindex());
    frame.code(Action::Drop)
}

/// Native XDP, for frames in one buffer.
#[xdp]
fn qantra_xdp(context: XdpContext) -> u32 {
    let Some(tunables) = TUNABLES.get(0) else { return xdp_action::XDP_PASS };
    run(&XdpFrame::whole(context, tunables), tunables).cast_unsigned()
}

/// Native XDP for drivers that hand over frames in several buffers (jumbo frames, receive offloads); kernel 5.18.
#[xdp(frags)]
fn qantra_xdp_frags(context: XdpContext) -> u32 {
    let Some(tunables) = TUNABLES.get(0) else { return xdp_action::XDP_PASS };
    run(&XdpFrame::in_buffers(context, tunables), tunables).cast_unsigned()
}

/// TCX ingress; other programs of the hook still see what passes.
#[classifier]
fn qantra_tc(context: TcContext) -> i32 {
    let Some(tunables) = TUNABLES.get(0) else { return TC_ACT_UNSPEC };
    run(&TcFrame::new(context, tunables), tunables)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `qantra_common::ABI_SECTION`, which the loader reads before it loads anything.
#[unsafe(link_section = "qantra_abi")]
#[unsafe(no_mangle)]
static ABI: [u8; 4] = ABI_VERSION.to_le_bytes();

/// The helpers that are used are GPL-only in part (`bpf_ktime_get_boot_ns` is not, the ring buffer's are not, but
/// `aya-log` prints): the object says both, as the kernel's list of licences has it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
