//! Enters: the context of either hook. Leaves: one view of a frame: bytes with a bounds check, its interface, how many
//! packets and wire bytes it stands for. It must never look at headers: that is the parser's.

use core::arch::asm;

use aya_ebpf::{
    helpers::{bpf_skb_pull_data, bpf_xdp_get_buff_len},
    programs::{TcContext, XdpContext},
};
use qantra_common::Load;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// How far headers are looked for in a socket buffer whose linear part is short: Ethernet, two tags, IPv6 with some
/// extension headers, TCP.
const HEADERS_BYTES: u32 = 192;
/// The verifier follows packet offsets up to this; nothing we look for lies deeper.
const OFFSET_MAX: usize = 0x7fff;

/// A frame at a hook, besides its bytes.
pub(crate) trait Frame {
    /// The interface it came in by.
    fn ifindex(&self) -> u32;
    /// How many packets it stands for: more than one below GRO.
    fn packets(&self) -> u64;
    /// Bytes on the wire, without the frame check sequence.
    fn wire_bytes(&self) -> u64;
    /// The VLAN that the driver took out of the frame; 0 when there is none.
    fn stripped_vlan(&self) -> u16;
    /// The hook's context, for `aya-log`.
    #[cfg(feature = "bpf-log")]
    fn context(&self) -> &Self::Context;
    /// Its type.
    #[cfg(feature = "bpf-log")]
    type Context: aya_ebpf::EbpfContext;
}

/// Hides where a number came from. From `data_end - data` the compiler would conclude that a later check against
/// `data_end` cannot fail and leave it out, and the verifier, which cannot conclude that, would refuse the program.
#[inline(always)]
fn opaque(mut number: u64) -> u64 {
    // SAFETY: copies a register to itself. (No instruction at all would leave line information that the kernel refuses.)
    unsafe { asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

#[inline(always)]
fn load<T: Copy>(data: usize, data_end: usize, offset: usize) -> Option<T> {
    if offset > OFFSET_MAX {
        return None;
    }
    let start = data + offset;
    if start + size_of::<T>() > data_end {
        return None;
    }
    // SAFETY: the bytes lie inside the packet, as just checked (and as the verifier demands); `T` is any bytes. Headers
    // may lie at any even address: BPF loads need no alignment on x86-64 and arm64
    // (CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS), and reading byte by byte would cost four times the instructions.
    Some(unsafe { *(start as *const T) })
}

/// XDP, one buffer.
pub(crate) struct XdpFrame {
    context: XdpContext,
}

impl XdpFrame {
    #[inline(always)]
    pub(crate) fn new(context: XdpContext) -> Self {
        Self { context }
    }
}

impl Load for XdpFrame {
    #[inline(always)]
    fn load<T: FromBytes + Immutable + KnownLayout + Copy>(&self, offset: usize) -> Option<T> {
        load(self.context.data(), self.context.data_end(), offset)
    }

    #[inline(always)]
    fn frame_bytes(&self) -> Option<usize> {
        Some(self.wire_bytes() as usize)
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn packets(&self) -> u64 {
        1
    }

    #[inline(always)]
    fn wire_bytes(&self) -> u64 {
        opaque((self.context.data_end() - self.context.data()) as u64)
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> u16 {
        0
    }

    #[cfg(feature = "bpf-log")]
    type Context = XdpContext;
    #[cfg(feature = "bpf-log")]
    fn context(&self) -> &XdpContext {
        &self.context
    }
}

/// XDP, maybe several buffers: headers are in the first.
pub(crate) struct XdpFragsFrame {
    linear: XdpFrame,
    bytes: u64,
}

impl XdpFragsFrame {
    #[inline(always)]
    pub(crate) fn new(context: XdpContext) -> Self {
        // SAFETY: the context is the hook's own.
        let bytes = unsafe { bpf_xdp_get_buff_len(context.ctx) };
        Self { linear: XdpFrame::new(context), bytes }
    }
}

impl Load for XdpFragsFrame {
    #[inline(always)]
    fn load<T: FromBytes + Immutable + KnownLayout + Copy>(&self, offset: usize) -> Option<T> {
        self.linear.load(offset)
    }

    #[inline(always)]
    fn frame_bytes(&self) -> Option<usize> {
        Some(self.bytes as usize)
    }
}

impl Frame for XdpFragsFrame {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.linear.ifindex()
    }

    #[inline(always)]
    fn packets(&self) -> u64 {
        1
    }

    #[inline(always)]
    fn wire_bytes(&self) -> u64 {
        self.bytes
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> u16 {
        0
    }

    #[cfg(feature = "bpf-log")]
    type Context = XdpContext;
    #[cfg(feature = "bpf-log")]
    fn context(&self) -> &XdpContext {
        &self.linear.context
    }
}

/// A socket buffer at TCX ingress.
pub(crate) struct TcFrame {
    context: TcContext,
    bytes: u64,
    segments: u64,
    vlan: u16,
}

impl TcFrame {
    #[inline(always)]
    pub(crate) fn new(context: TcContext) -> Self {
        let skb = context.skb.skb;
        // SAFETY: the context is the hook's own; these fields are readable by every classifier.
        let (length, segments, tag) =
            unsafe { ((*skb).len, (*skb).gso_segs, if (*skb).vlan_present != 0 { (*skb).vlan_tci } else { 0 }) };
        let reach = if length < HEADERS_BYTES { length } else { HEADERS_BYTES };
        if context.data() + reach as usize > context.data_end() {
            // SAFETY: the helper gets the hook's own context; packet pointers are read anew after it. When it fails,
            // the parser sees less of the frame.
            unsafe { bpf_skb_pull_data(skb, reach) };
        }
        Self { context, bytes: u64::from(length), segments: u64::from(segments), vlan: tag as u16 & 0x0fff }
    }
}

impl Load for TcFrame {
    #[inline(always)]
    fn load<T: FromBytes + Immutable + KnownLayout + Copy>(&self, offset: usize) -> Option<T> {
        load(self.context.data(), self.context.data_end(), offset)
    }

    #[inline(always)]
    fn frame_bytes(&self) -> Option<usize> {
        // Merged segments may be larger than any length field can say.
        if self.segments > 1 { None } else { Some(self.bytes as usize) }
    }
}

impl Frame for TcFrame {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is the hook's own.
        unsafe { (*self.context.skb.skb).ifindex }
    }

    #[inline(always)]
    fn packets(&self) -> u64 {
        if self.segments > 1 { self.segments } else { 1 }
    }

    /// Merged segments had a header each; 54 bytes is Ethernet, IPv4 and TCP, the least that was merged away.
    #[inline(always)]
    fn wire_bytes(&self) -> u64 {
        let tag = if self.vlan != 0 { 4 } else { 0 };
        self.bytes + tag + (self.packets() - 1) * 54
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> u16 {
        self.vlan
    }

    #[cfg(feature = "bpf-log")]
    type Context = TcContext;
    #[cfg(feature = "bpf-log")]
    fn context(&self) -> &TcContext {
        &self.context
    }
}
