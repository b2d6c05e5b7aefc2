//! Enters: a SYN that nothing stopped. Leaves: the frame turned into a SYN-ACK with the network stack's own cookie, when its
//! interface sees too many, a socket of the box listens for it and the stack would send a cookie itself. No buffer, queue
//! or socket is touched for it. It must never answer for another host, nor make a cookie that the stack would not know
//! again: what is not certain is left to the stack.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{bpf_sock_tuple, tcphdr},
    helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_gen_syncookie},
};
use qantra_common::{
    Load,
    cookie::{ALWAYS, Answer, HOLD_NS, OFF, Offer, SynCookies, WINDOW_SHIFT},
    map::{ROLE_WAN, Tunables},
    packet::{PROTOCOL_TCP, Packet, VLAN_TAGS_MAX},
};

use crate::{
    atomic,
    frame::{Frame, opaque},
    interface::Interface,
    map::{COOKIE_COUNTS, COOKIE_SCRATCH, LOCAL_ADDRESSES, SYN_RATES},
};

/// Headers of a SYN and of its answer, outside the stack of 512 bytes.
#[repr(C)]
pub(crate) struct Scratch {
    ip: [u32; 10],
    tcp: [u32; 16],
    tuple: [u32; 9],
    offer: Offer,
    answer: Answer,
}

/// What became of a SYN.
const ANSWERED: u32 = 0;
const NOT_OURS: u32 = 1;
const NOT_NEEDED: u32 = 2;
const FAILED: u32 = 3;

const IPV4_BYTES: u32 = 20;
const IPV6_BYTES: u32 = 40;
const TCP_BYTES: u32 = 20;
/// The shortest frame that Ethernet knows: one that was padded stays so long.
const FRAME_BYTES_MIN: u32 = 60;
/// `BPF_TCP_LISTEN` of `linux/bpf.h`.
const LISTENS: u32 = 10;
/// `BPF_F_CURRENT_NETNS`.
const THIS_NETWORK: u64 = u64::MAX;

/// Whether the frame is now the answer to what it was. Anything but a SYN pays for one comparison.
#[inline(always)]
pub(crate) fn answers<F: Frame + Load>(packet: &Packet, frame: &F, interface: &Interface, tunables: &Tunables) -> bool {
    let settings = &tunables.syn_cookies;
    if !packet.is_tcp_syn() || settings.mode == OFF || interface.role != ROLE_WAN {
        return false;
    }
    (settings.mode == ALWAYS || is_flooded(interface, settings)) && answer(packet, frame, tunables)
}

/// Whether the interface sees more SYNs than it should. While it does, most of them are not even counted.
#[inline(always)]
fn is_flooded(interface: &Interface, settings: &SynCookies) -> bool {
    let Some(rate) = SYN_RATES.get_ptr_mut(interface.place) else { return false };
    // SAFETY: a live map value, changed by atomic instructions; CPUs that begin a window at once lose a few counts. The
    // helper takes nothing, and its tick is fine enough.
    unsafe {
        let now_ns = bpf_ktime_get_coarse_ns();
        let until_ns = atomic::read(&raw const (*rate).until_ns);
        if until_ns > now_ns + HOLD_NS / 2 {
            return true;
        }
        let window = now_ns >> WINDOW_SHIFT;
        if atomic::read(&raw const (*rate).window) != window
            && atomic::exchange(&raw mut (*rate).window, window) != window
        {
            atomic::write(&raw mut (*rate).syns, 0);
        }
        atomic::add(&raw mut (*rate).syns, 1);
        if atomic::read(&raw const (*rate).syns) > u64::from(settings.window_syns) {
            atomic::write(&raw mut (*rate).until_ns, now_ns + HOLD_NS);
            return true;
        }
        until_ns > now_ns
    }
}

/// Tries, and counts what came of it.
#[inline(never)]
fn answer<F: Frame + Load>(packet: &Packet, frame: &F, tunables: &Tunables) -> bool {
    // A listener without an address would answer for hosts behind this box: the kernel does not look whose address it is.
    if LOCAL_ADDRESSES.get_ptr(packet.destination).is_none() {
        return false;
    }
    let Some(scratch) = COOKIE_SCRATCH.get_ptr_mut(0) else { return false };
    // SAFETY: a live value of this CPU; programs do not interrupt each other on it.
    let scratch = unsafe { &mut *scratch };
    let outcome = attempt(packet, frame, tunables, scratch);
    let Some(counts) = COOKIE_COUNTS.get_ptr_mut(0) else { return false };
    // SAFETY: as above.
    unsafe {
        match outcome {
            NOT_NEEDED => (*counts).not_needed += 1,
            FAILED => (*counts).failed += 1,
            _ => {}
        }
    }
    outcome == ANSWERED
}

#[inline(always)]
fn attempt<F: Frame + Load>(packet: &Packet, frame: &F, tunables: &Tunables, scratch: &mut Scratch) -> u32 {
    let Some(ethernet) = frame.load::<[u32; 3]>(0) else { return NOT_OURS };
    let Some(ip_at) = ip_offset(frame) else { return NOT_OURS };
    // The stack takes TCP from no frame that was sent to many.
    if ethernet[0] & 1 != 0 || !read_ip(packet, frame, ip_at, scratch) {
        return NOT_OURS;
    }
    let ip_bytes = if packet.is_v6 { IPV6_BYTES } else { IPV4_BYTES };
    let tcp_at = ip_at + ip_bytes;
    let Some(tcp_bytes) = read_tcp(frame, tcp_at, scratch, tunables.zero) else { return NOT_OURS };
    let (cookie, mss) = match cookie(packet, frame, ip_bytes, tcp_bytes, scratch) {
        Ok(both) => (both as u32, (both >> 32) as u32),
        Err(outcome) => return outcome,
    };
    // SAFETY: the helper takes nothing. It is the clock that the stack's timestamps are made of.
    let now_ms = (unsafe { bpf_ktime_get_ns() } / 1_000_000) as u32;
    let Scratch { ip, tcp, offer, answer, .. } = scratch;
    answer.write(ip, packet.is_v6, tcp, offer, cookie, mss, now_ms, &tunables.syn_cookies);
    let whole = tcp_at + answer.tcp_bytes;
    let before = frame.frame_bytes() as u32;
    let padded = if before < FRAME_BYTES_MIN { before } else { FRAME_BYTES_MIN };
    let is_written = frame.resize(if whole < padded { padded } else { whole })
        && frame.write(0, turned(ethernet).as_ptr().cast(), 12)
        && frame.write(ip_at, answer.ip.as_ptr().cast(), ip_bytes)
        && frame.write(tcp_at, answer.tcp.as_ptr().cast(), if answer.tcp_bytes == 40 { 40 } else { 24 })
        && frame.write_checksum(tcp_at + 16, answer);
    if is_written { ANSWERED } else { FAILED }
}

/// Where IP begins; the parser has been here before and found it well formed.
#[inline(always)]
fn ip_offset<F: Frame + Load>(frame: &F) -> Option<u32> {
    let mut at = 12;
    for _ in 0..=VLAN_TAGS_MAX {
        match u16::from_be(frame.load::<u16>(at)?) {
            0x8100 | 0x88a8 => at += 4,
            _ => return Some((frame.forget(at) + 2) as u32),
        }
    }
    None
}

/// The addresses of Ethernet, exchanged: six bytes each.
#[inline(always)]
const fn turned(from: [u32; 3]) -> [u32; 3] {
    [from[1] >> 16 | from[2] << 16, from[2] >> 16 | from[0] << 16, from[0] >> 16 | from[1] << 16]
}

/// Reads an IP header that TCP follows at once: no options, no extension headers, no fragments.
#[inline(always)]
fn read_ip<F: Frame>(packet: &Packet, frame: &F, at: u32, scratch: &mut Scratch) -> bool {
    let to = scratch.ip.as_mut_ptr().cast();
    if packet.is_v6 {
        return frame.read(at, to, IPV6_BYTES) && scratch.ip[1].to_ne_bytes()[2] == PROTOCOL_TCP;
    }
    let is_plain = |ip: &[u32; 10]| ip[0] & 0xff == 0x45 && u32::from_be(ip[1]) & 0x3fff == 0;
    frame.read(at, to, IPV4_BYTES) && is_plain(&scratch.ip)
}

/// Reads a TCP header and what it offers; its length, when both can be answered.
#[inline(always)]
fn read_tcp<F: Frame>(frame: &F, at: u32, scratch: &mut Scratch, zero: u32) -> Option<u32> {
    let to: *mut u8 = scratch.tcp.as_mut_ptr().cast();
    if !frame.read(at, to, TCP_BYTES) {
        return None;
    }
    // What is added after the check is what the verifier knows to be there: see `capture_bytes`.
    let option_bytes = opaque((u64::from(scratch.tcp[3] & 0xf0) >> 2).wrapping_sub(u64::from(TCP_BYTES)));
    if option_bytes > 40 {
        return None;
    }
    let bytes = option_bytes as u32 + TCP_BYTES;
    if !frame.read(at, to, bytes) {
        return None;
    }
    // SAFETY: sixteen words are 64 bytes.
    let header = unsafe { &*to.cast::<[u8; 64]>() };
    scratch.offer.read(header, bytes, |number| number + zero);
    (scratch.offer.is_answerable != 0).then_some(bytes)
}

/// The cookie and, above its 32 bits, the segment size in it; or what becomes of the SYN without one.
#[inline(always)]
fn cookie<F: Frame>(
    packet: &Packet,
    frame: &F,
    ip_bytes: u32,
    tcp_bytes: u32,
    scratch: &mut Scratch,
) -> Result<u64, u32> {
    let (ip, ports) = (&scratch.ip, scratch.tcp[0]);
    let tuple = &mut scratch.tuple;
    let tuple_bytes = if packet.is_v6 {
        *tuple = [ip[2], ip[3], ip[4], ip[5], ip[6], ip[7], ip[8], ip[9], ports];
        36
    } else {
        (tuple[0], tuple[1], tuple[2]) = (ip[3], ip[4], ports);
        12
    };
    let tuple = tuple.as_mut_ptr().cast::<bpf_sock_tuple>();
    // SAFETY: the hook's own context, and a tuple of the size that its family has.
    let socket = unsafe { bpf_skc_lookup_tcp(frame.pointer(), tuple, tuple_bytes, THIS_NETWORK, 0) };
    if socket.is_null() {
        return Err(NOT_OURS);
    }
    // SAFETY: the socket is held until it is released, on every way; the headers are whole, and as long as is said. The
    // helper wants what `tcp_syncookies` and the queue of this socket want, and notes in it that cookies are about.
    unsafe {
        if (*socket).state != LISTENS {
            bpf_sk_release(socket.cast());
            return Err(NOT_OURS);
        }
        let ip: *mut c_void = scratch.ip.as_mut_ptr().cast();
        let tcp: *mut tcphdr = scratch.tcp.as_mut_ptr().cast();
        let cookie = bpf_tcp_gen_syncookie(socket.cast(), ip, ip_bytes, tcp, tcp_bytes);
        bpf_sk_release(socket.cast());
        if cookie < 0 { Err(NOT_NEEDED) } else { Ok(cookie as u64) }
    }
}
