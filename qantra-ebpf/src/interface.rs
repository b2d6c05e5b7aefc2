//! Enters: an interface's index. Leaves: its role, and its verdict counters on this CPU. It must never be held beyond
//! one frame.

use qantra_common::{
    Verdict,
    map::{InterfaceState, ROLE_WAN},
};

use crate::map::INTERFACES;

/// The interface of one frame. The state is per CPU, so plain additions are safe.
pub(crate) struct Interface {
    state: Option<*mut InterfaceState>,
    /// `ROLE_WAN` or `ROLE_LAN`; WAN for an interface that user space has not told us about.
    pub(crate) role: u32,
}

impl Interface {
    #[inline(always)]
    pub(crate) fn of(ifindex: u32) -> Self {
        let state = INTERFACES.get_ptr_mut(ifindex);
        // SAFETY: a live value of this CPU.
        let role = state.map_or(ROLE_WAN, |state| unsafe { (*state).role });
        Self { state, role }
    }

    #[inline(always)]
    pub(crate) fn count(&self, verdict: Verdict, packets: u64, bytes: u64) {
        let slot = verdict.slot();
        if let Some(state) = self.state
            && slot < Verdict::SLOTS
        {
            // SAFETY: a live value of this CPU, and the slot is inside.
            unsafe {
                let counter = (&raw mut (*state).verdicts).cast::<qantra_common::map::Counter>().add(slot);
                (*counter).packets += packets;
                (*counter).bytes += bytes;
            }
        }
    }

    #[inline(always)]
    pub(crate) fn count_lost_event(&self) {
        if let Some(state) = self.state {
            // SAFETY: a live value of this CPU.
            unsafe { (*state).events_lost = (*state).events_lost.wrapping_add(1) };
        }
    }

    #[inline(always)]
    pub(crate) fn count_lost_source(&self) {
        if let Some(state) = self.state {
            // SAFETY: a live value of this CPU.
            unsafe { (*state).sources_lost += 1 };
        }
    }
}
