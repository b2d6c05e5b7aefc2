//! Enters: the context of either hook. Leaves: one view of a frame: bytes with a bounds check, its interface, how many
//! packets and wire bytes it stands for. It must never look at headers: that is the parser's.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    bindings::{BPF_F_INVALIDATE_HASH, BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::{
        bpf_l4_csum_replace, bpf_redirect, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data,
        bpf_skb_store_bytes, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
    },
    programs::{TcContext, XdpContext},
};
use qantra_common::{Load, cookie::Answer, event::CAPTURE_BYTES, map::Tunables};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// How far headers are looked for in a socket buffer whose linear part is short: Ethernet, two tags, IPv6 with some
/// extension headers, TCP.
const HEADERS_BYTES: u32 = 192;
/// A mask for offsets: no header that the parser looks for lies deeper.
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
    /// Copies the frame's first bytes, [`CAPTURE_BYTES`] at most; returns how many.
    fn capture(&self, to: &mut [u8; CAPTURE_BYTES]) -> u32;
    /// Copies bytes out of the frame, from anywhere in it; says whether they were there. `to` must have room for them.
    fn read(&self, at: u32, to: *mut u8, bytes: u32) -> bool;
    /// Copies bytes into the frame; says whether it reaches so far. `from` must have as many. What was loaded before is
    /// out of date.
    fn write(&self, at: u32, from: *const u8, bytes: u32) -> bool;
    /// Writes the TCP checksum of an answer, whose field must be zero.
    fn write_checksum(&self, at: u32, answer: &Answer) -> bool;
    /// Makes the frame longer or shorter.
    fn resize(&self, bytes: u32) -> bool;
    /// What the hook is to do with the frame: let it pass, drop it, or send it back out of the interface it came in by.
    fn code(&self, action: Action) -> i32;
    /// The hook's context, for helpers.
    fn pointer(&self) -> *mut c_void;
    /// The hook's context, for `aya-log`.
    #[cfg(feature = "bpf-log")]
    fn context(&self) -> &Self::Context;
    /// Its type.
    #[cfg(feature = "bpf-log")]
    type Context: aya_ebpf::EbpfContext;
}

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It goes on to the network stack, or to other programs of the hook.
    Pass,
    /// It is dropped.
    Drop,
    /// It goes back to who sent it.
    SendBack,
}

/// How much of a frame is captured; never 0, which the helpers refuse. Kernels before 6.8 do not learn from "not 0" that a
/// number is at least 1, but from adding 1 they do: so it is the last byte's offset that is cut. Of an empty frame it is
/// huge, and the helper fails.
#[inline(always)]
fn capture_bytes(bytes: u64) -> u32 {
    const LAST: u64 = CAPTURE_BYTES as u64 - 1;
    let last = opaque(bytes.wrapping_sub(1));
    if last > LAST { CAPTURE_BYTES as u32 } else { last as u32 + 1 }
}

/// Hides where a number came from. From `data_end - data` the compiler would conclude that a later check against
/// `data_end` cannot fail and leave it out, and the verifier, which cannot conclude that, would refuse the program.
#[inline(always)]
pub(crate) fn opaque(mut number: u64) -> u64 {
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

/// An XDP frame; headers are in its first buffer.
pub(crate) struct XdpFrame {
    context: XdpContext,
    bytes: u64,
    zero: usize,
}

impl XdpFrame {
    /// Of a program that gets one buffer.
    #[inline(always)]
    pub(crate) fn whole(context: XdpContext, tunables: &Tunables) -> Self {
        // Measured once: packet pointers that stay in use after parsing would keep the verifier from joining its paths.
        let bytes = opaque((context.data_end() - context.data()) as u64);
        Self { context, bytes, zero: tunables.zero as usize }
    }

    /// Of a program that may get several buffers.
    #[inline(always)]
    pub(crate) fn in_buffers(context: XdpContext, tunables: &Tunables) -> Self {
        // SAFETY: the context is the hook's own.
        let bytes = unsafe { bpf_xdp_get_buff_len(context.ctx) };
        Self { context, bytes, zero: tunables.zero as usize }
    }
}

impl Load for XdpFrame {
    #[inline(always)]
    fn load<T: FromBytes + Immutable + KnownLayout + Copy>(&self, offset: usize) -> Option<T> {
        load(self.context.data(), self.context.data_end(), offset)
    }

    #[inline(always)]
    fn frame_bytes(&self) -> usize {
        self.bytes as usize
    }

    #[inline(always)]
    fn forget(&self, offset: usize) -> usize {
        (offset + self.zero) & OFFSET_MAX
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
        self.bytes
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> u16 {
        0
    }

    #[inline(always)]
    fn capture(&self, to: &mut [u8; CAPTURE_BYTES]) -> u32 {
        let bytes = capture_bytes(self.bytes);
        // SAFETY: the context is the hook's own, and there is room for so many bytes.
        let failed = unsafe { bpf_xdp_load_bytes(self.context.ctx, 0, to.as_mut_ptr().cast(), bytes) };
        if failed == 0 { bytes } else { 0 }
    }

    #[inline(always)]
    fn read(&self, at: u32, to: *mut u8, bytes: u32) -> bool {
        // SAFETY: the context is the hook's own, and the caller has room for so many bytes.
        unsafe { bpf_xdp_load_bytes(self.context.ctx, at, to.cast(), bytes) == 0 }
    }

    #[inline(always)]
    fn write(&self, at: u32, from: *const u8, bytes: u32) -> bool {
        // SAFETY: as above; the helper only reads what it writes to the frame.
        unsafe { bpf_xdp_store_bytes(self.context.ctx, at, from.cast_mut().cast(), bytes) == 0 }
    }

    #[inline(always)]
    fn write_checksum(&self, at: u32, answer: &Answer) -> bool {
        let checksum = answer.checksum();
        self.write(at, (&raw const checksum).cast(), 2)
    }

    #[inline(always)]
    fn resize(&self, bytes: u32) -> bool {
        // SAFETY: as above; the helper refuses what there is no room for.
        unsafe { bpf_xdp_adjust_tail(self.context.ctx, bytes.wrapping_sub(self.bytes as u32).cast_signed()) == 0 }
    }

    #[inline(always)]
    fn code(&self, action: Action) -> i32 {
        let code = match action {
            Action::Pass => xdp_action::XDP_PASS,
            Action::Drop => xdp_action::XDP_DROP,
            Action::SendBack => xdp_action::XDP_TX,
        };
        code.cast_signed()
    }

    #[inline(always)]
    fn pointer(&self) -> *mut c_void {
        self.context.ctx.cast()
    }

    #[cfg(feature = "bpf-log")]
    type Context = XdpContext;
    #[cfg(feature = "bpf-log")]
    fn context(&self) -> &XdpContext {
        &self.context
    }
}

/// A socket buffer at TCX ingress.
pub(crate) struct TcFrame {
    context: TcContext,
    bytes: u64,
    zero: usize,
}

impl TcFrame {
    #[inline(always)]
    pub(crate) fn new(context: TcContext, tunables: &Tunables) -> Self {
        let skb = context.skb.skb;
        // SAFETY: the context is the hook's own; every classifier may read this field.
        let length = unsafe { (*skb).len };
        let reach = if length < HEADERS_BYTES { length } else { HEADERS_BYTES };
        if context.data() + reach as usize > context.data_end() {
            // SAFETY: the helper gets the hook's own context; packet pointers are read anew after it. When it fails,
            // the parser sees less of the frame.
            unsafe { bpf_skb_pull_data(skb, reach) };
        }
        Self { context, bytes: u64::from(length), zero: tunables.zero as usize }
    }
}

impl Load for TcFrame {
    #[inline(always)]
    fn load<T: FromBytes + Immutable + KnownLayout + Copy>(&self, offset: usize) -> Option<T> {
        load(self.context.data(), self.context.data_end(), offset)
    }

    #[inline(always)]
    fn frame_bytes(&self) -> usize {
        self.bytes as usize
    }

    #[inline(always)]
    fn forget(&self, offset: usize) -> usize {
        (offset + self.zero) & OFFSET_MAX
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
        // SAFETY: as above.
        let segments = unsafe { (*self.context.skb.skb).gso_segs };
        if segments > 1 { u64::from(segments) } else { 1 }
    }

    /// Merged segments had a header each; 54 bytes is Ethernet, IPv4 and TCP, the least that was merged away.
    #[inline(always)]
    fn wire_bytes(&self) -> u64 {
        // SAFETY: as above. The field is 1 when the driver took a tag out of the frame.
        let tag = 4 * u64::from(unsafe { (*self.context.skb.skb).vlan_present });
        self.bytes + tag + (self.packets() - 1) * 54
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> u16 {
        // SAFETY: as above.
        unsafe { (*self.context.skb.skb).vlan_tci as u16 & 0x0fff }
    }

    #[inline(always)]
    fn capture(&self, to: &mut [u8; CAPTURE_BYTES]) -> u32 {
        let bytes = capture_bytes(self.bytes);
        // SAFETY: as above, and there is room for so many bytes.
        let failed = unsafe { bpf_skb_load_bytes(self.context.skb.skb.cast(), 0, to.as_mut_ptr().cast(), bytes) };
        if failed == 0 { bytes } else { 0 }
    }

    #[inline(always)]
    fn read(&self, at: u32, to: *mut u8, bytes: u32) -> bool {
        // SAFETY: the context is the hook's own, and the caller has room for so many bytes.
        unsafe { bpf_skb_load_bytes(self.context.skb.skb.cast(), at, to.cast(), bytes) == 0 }
    }

    #[inline(always)]
    fn write(&self, at: u32, from: *const u8, bytes: u32) -> bool {
        // The hash was made of the old headers.
        let flags = u64::from(BPF_F_INVALIDATE_HASH);
        // SAFETY: as above; the helper only reads what it writes to the frame.
        unsafe { bpf_skb_store_bytes(self.context.skb.skb, at, from.cast(), bytes, flags) == 0 }
    }

    /// A buffer that was sent on this machine may have a checksum that the network card, or nobody, is to finish: the
    /// helper knows, and then takes the pseudo header's part alone. All ones is zero to it.
    #[inline(always)]
    fn write_checksum(&self, at: u32, answer: &Answer) -> bool {
        let (skb, zero) = (self.context.skb.skb, u16::MAX);
        let (pseudo, tcp) = (u64::from(answer.pseudo_sum), u64::from(answer.tcp_sum));
        // SAFETY: the context is the hook's own.
        self.write(at, (&raw const zero).cast(), 2)
            && unsafe { bpf_l4_csum_replace(skb, at, 0, pseudo, u64::from(BPF_F_PSEUDO_HDR)) == 0 }
            && unsafe { bpf_l4_csum_replace(skb, at, 0, tcp, 0) == 0 }
    }

    #[inline(always)]
    fn resize(&self, bytes: u32) -> bool {
        // SAFETY: as above; the helper refuses what there is no room for.
        unsafe { bpf_skb_change_tail(self.context.skb.skb, bytes, 0) == 0 }
    }

    #[inline(always)]
    fn code(&self, action: Action) -> i32 {
        match action {
            Action::Pass => TC_ACT_UNSPEC,
            Action::Drop => TC_ACT_SHOT,
            // SAFETY: the helper takes numbers; a tag that was taken out of the frame is put back in.
            Action::SendBack => unsafe { bpf_redirect(self.ifindex(), 0) as i32 },
        }
    }

    #[inline(always)]
    fn pointer(&self) -> *mut c_void {
        self.context.skb.skb.cast()
    }

    #[cfg(feature = "bpf-log")]
    type Context = TcContext;
    #[cfg(feature = "bpf-log")]
    fn context(&self) -> &TcContext {
        &self.context
    }
}
