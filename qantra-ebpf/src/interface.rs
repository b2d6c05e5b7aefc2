//! Enters: an interface's index. Leaves: its role, what is checked there, and its counters on this CPU. It must never be
//! held beyond one frame.

use qantra_common::{
    Verdict,
    map::{Counter, INTERFACE_PLACES, INTERFACE_PROBES, InterfaceCounters},
};

use crate::map::{COUNTERS, INTERFACES};

/// The interface of one frame. Counters are per CPU, so plain additions are safe.
pub(crate) struct Interface {
    counters: *mut InterfaceCounters,
    /// `ROLE_WAN` or `ROLE_LAN`.
    pub(crate) role: u32,
    /// What is checked.
    pub(crate) flags: u32,
    /// Its place in tables of interfaces.
    pub(crate) place: u32,
}

impl Interface {
    /// `None` for one that user space does not watch: the loader enters an interface before it attaches.
    #[inline(always)]
    pub(crate) fn of(ifindex: u32) -> Option<Self> {
        for probe in 0..INTERFACE_PROBES {
            let place = INTERFACES.get((ifindex + probe) & (INTERFACE_PLACES - 1))?;
            if place.ifindex == ifindex {
                let counters = COUNTERS.get_ptr_mut(place.counters)?;
                return Some(Self { counters, role: place.role, flags: place.flags, place: place.counters });
            }
        }
        None
    }

    /// Counts a verdict; returns how many packets had it before on this CPU.
    #[inline(always)]
    pub(crate) fn count(&self, verdict: Verdict, packets: u64, bytes: u64) -> u64 {
        let slot = verdict.slot();
        if slot >= Verdict::SLOTS {
            return 0;
        }
        // SAFETY: a live value of this CPU, and the slot is inside.
        unsafe {
            let counter = (&raw mut (*self.counters).verdicts).cast::<Counter>().add(slot);
            let before = (*counter).packets;
            (*counter).packets = before + packets;
            (*counter).bytes += bytes;
            before
        }
    }

    #[inline(always)]
    pub(crate) fn count_lost_event(&self) {
        // SAFETY: a live value of this CPU.
        unsafe { (*self.counters).events_lost += 1 };
    }

    #[inline(always)]
    pub(crate) fn count_lost_source(&self) {
        // SAFETY: a live value of this CPU.
        unsafe { (*self.counters).sources_lost += 1 };
    }
}
