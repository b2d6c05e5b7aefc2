//! Enters: one frame. Leaves: what a loaded program does with it, by `BPF_PROG_TEST_RUN`. For tests and measurements:
//! it must never be on the path of a real packet.

use std::os::fd::BorrowedFd;

use aya::{
    TestRunOptions,
    programs::{ProgramError, TestRun},
};

use super::{
    XdpError,
    object::{Object, TC, XDP, XDP_FRAGS, one_line},
};

/// One of the object's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Native XDP, one buffer.
    Xdp,
    /// Native XDP, several buffers.
    XdpFrags,
    /// TCX ingress.
    Tc,
}

const XDP_DROP: u32 = 1;
const XDP_TX: u32 = 3;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;

/// What a program does with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Passed,
    /// It is dropped.
    Dropped,
    /// This goes back to who sent it.
    Answered(Vec<u8>),
}

impl Entry {
    const fn name(self) -> &'static str {
        match self {
            Self::Xdp => XDP,
            Self::XdpFrags => XDP_FRAGS,
            Self::Tc => TC,
        }
    }
}

impl Object {
    /// The program's descriptor.
    pub(super) fn entry(&self, entry: Entry) -> Result<BorrowedFd<'_>, XdpError> {
        let name = entry.name();
        self.program(name).map_err(|reason| XdpError::Program { program: name, reason })
    }

    /// What the program does with the frame.
    pub(super) fn try_frame(&self, entry: Entry, frame: &[u8]) -> Result<Fate, XdpError> {
        let name = entry.name();
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = match entry {
            Entry::Tc => self.tc().ok_or(ProgramError::NotLoaded).and_then(|program| program.test_run(options)),
            _ => self.xdp(name).ok_or(ProgramError::NotLoaded).and_then(|program| program.test_run(options)),
        };
        let result = result.map_err(|error| XdpError::Program { program: name, reason: one_line(&error) })?;
        let (dropped, answered) = if entry == Entry::Tc { (TC_ACT_SHOT, TC_ACT_REDIRECT) } else { (XDP_DROP, XDP_TX) };
        Ok(match result.return_value {
            code if code == dropped => Fate::Dropped,
            code if code == answered => {
                out.truncate(result.data_size_out as usize);
                Fate::Answered(out)
            }
            _ => Fate::Passed,
        })
    }
}
