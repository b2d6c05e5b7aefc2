//! Enters: loaded programs. Leaves: what they cost the CPU, as the kernel measures it while someone asks it to. Measuring
//! costs each run two clock reads, so it must never be left on.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use libbpf_sys as bpf;
use serde::Serialize;

use super::{
    Kernel,
    object::{TC, XDP, XDP_FRAGS},
};

/// What one program cost since it was loaded; counts grow only while measuring is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProgramCost {
    /// Its name.
    pub name: &'static str,
    /// Time spent in it, over all CPUs.
    pub run_time_ns: u64,
    /// How often it ran.
    pub runs: u64,
}

/// While it lives the kernel measures every program on this machine. Needs CAP_SYS_ADMIN, which the daemon has dropped:
/// whoever looks turns it on.
#[derive(Debug)]
pub struct RunTimeStats {
    _on: OwnedFd,
}

impl RunTimeStats {
    /// Turns measuring on.
    ///
    /// # Errors
    /// Not root, or a kernel before 5.8.
    pub fn enable() -> io::Result<Self> {
        // SAFETY: takes a number and returns a new descriptor or an error.
        let fd = unsafe { bpf::bpf_enable_stats(bpf::BPF_STATS_RUN_TIME) };
        if fd < 0 {
            return Err(io::Error::from_raw_os_error(-fd));
        }
        // SAFETY: the call just returned this descriptor, and nobody else has it.
        Ok(Self { _on: unsafe { OwnedFd::from_raw_fd(fd) } })
    }
}

impl Kernel {
    /// What each loaded program cost so far; one that the kernel did not take is left out.
    #[must_use]
    pub fn program_costs(&self) -> Vec<ProgramCost> {
        let cost = |name: &'static str| cost(name, self.object.program(name).ok()?).ok();
        [XDP, XDP_FRAGS, TC].into_iter().filter_map(cost).collect()
    }
}

fn cost(name: &'static str, program: BorrowedFd<'_>) -> io::Result<ProgramCost> {
    let mut info = bpf::bpf_prog_info::default();
    let mut length = size_of::<bpf::bpf_prog_info>() as u32;
    // SAFETY: the kernel writes at most `length` bytes into `info`, whose array pointers are null and counts 0.
    let result = unsafe { bpf::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut length) };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(ProgramCost { name, run_time_ns: info.run_time_ns, runs: info.run_cnt })
}
