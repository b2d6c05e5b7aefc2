//! Enters: what the parser found. Leaves: the same in memory of this CPU, outside the stack of 512 bytes. It must never be
//! read by another program run: each writes before it reads, and softirqs do not interrupt each other on one CPU.
//!
//! It also makes loading quick: of a map's memory the verifier knows nothing, so that all the parser's paths join here
//! and what follows is verified once. Without it, the programs came close to the limit of a million instructions.

use core::arch::asm;

use qantra_common::packet::Packet;

use crate::map::PACKET;

/// Puts a packet where it can be read until the program ends.
#[inline(always)]
pub(crate) fn keep(packet: Packet) -> Option<&'static Packet> {
    let mut kept = PACKET.get_ptr_mut(0)?;
    // SAFETY: a live value of this CPU. The instruction copies a register to itself, but to the compiler it may have
    // changed the packet: it has to read it back.
    unsafe {
        kept.write(packet);
        asm!("{0} = {0}", inout(reg) kept);
        Some(&*kept)
    }
}
