//! Enters: nothing. Leaves: the time since boot, `CLOCK_BOOTTIME`. It must never be a clock that stands still while the
//! machine sleeps: bans end by it.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns};

use crate::map::CPU_STATE;

/// Now, in ns since boot.
#[inline(always)]
pub(crate) fn boot_ns() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Now, or up to one tick of the kernel (1 to 10 ms) ago: reading the clock is a third of what a drop for a decision costs, and
/// the tick's number is one read that the kernel inlines. Only for what may be that much late, on this CPU alone.
#[inline(always)]
pub(crate) fn coarse_boot_ns() -> u64 {
    let Some(cpu) = CPU_STATE.get_ptr_mut(0) else { return boot_ns() };
    // SAFETY: a live value of this CPU; the helper takes nothing.
    unsafe {
        let tick = bpf_jiffies64();
        if (*cpu).tick != tick {
            (*cpu).tick = tick;
            (*cpu).tick_boot_ns = boot_ns();
        }
        (*cpu).tick_boot_ns
    }
}
