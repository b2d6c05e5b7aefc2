//! Enters: an interface's index. Leaves: its role, and its verdict counters on this CPU. It must never be held beyond
//! one frame.

use qantra_common::{
    Verdict,
    map::{Counter, InterfaceState},
};

use crate::map::INTERFACES;

/// The interface of one frame. The state is per CPU, so plain additions are safe.
pub(crate) struct Interface {
    state: *mut InterfaceState,
    /// `ROLE_WAN` or `ROLE_LAN`.
    pub(crate) role: u32,
}

impl Interface {
    /// `None` for one that user space does not watch: the loader enters an interface before it attaches.
    #[inline(always)]
    pub(crate) fn of(ifindex: u32) -> Option<Self> {
        let state = INTERFACES.get_ptr_mut(ifindex)?;
        // SAFETY: a live value of this CPU.
        Some(Self { state, role: unsafe { (*state).role } })
    }

    #[inline(always)]
    pub(crate) fn count(&self, verdict: Verdict, packets: u64, bytes: u64) {
        let slot = verdict.slot();
        if slot < Verdict::SLOTS {
            // SAFETY: a live value of this CPU, and the slot is inside.
            unsafe {
                let counter = (&raw mut (*self.state).verdicts).cast::<Counter>().add(slot);
                (*counter).packets += packets;
                (*counter).bytes += bytes;
            }
        }
    }

    #[inline(always)]
    pub(crate) fn count_lost_event(&self) {
        // SAFETY: a live value of this CPU.
        unsafe { (*self.state).events_lost = (*self.state).events_lost.wrapping_add(1) };
    }

    #[inline(always)]
    pub(crate) fn count_lost_source(&self) {
        // SAFETY: a live value of this CPU.
        unsafe { (*self.state).sources_lost += 1 };
    }
}
