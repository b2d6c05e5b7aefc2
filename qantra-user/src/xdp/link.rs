//! Enters: program file descriptors and interface indices. Leaves: bpf links, created, replaced, pinned and opened by
//! their own system calls. aya would fall back to netlink when the kernel says EINVAL: such an attachment can neither be
//! pinned nor replaced in one step, so it must never be made here.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use libbpf_sys as bpf;

/// Where a link attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attach {
    /// The driver's own XDP hook.
    NativeXdp,
    /// XDP on socket buffers, after the driver.
    GenericXdp,
    /// TCX ingress, behind what is there already.
    TcxIngress,
}

/// A bpf link. Closing the last descriptor detaches, unless it is pinned.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    /// Attaches a program.
    pub(super) fn create(program: BorrowedFd<'_>, ifindex: u32, attach: Attach) -> io::Result<Self> {
        let (attach_type, flags) = match attach {
            Attach::NativeXdp => (bpf::BPF_XDP, bpf::XDP_FLAGS_DRV_MODE),
            Attach::GenericXdp => (bpf::BPF_XDP, bpf::XDP_FLAGS_SKB_MODE),
            Attach::TcxIngress => (bpf::BPF_TCX_INGRESS, 0),
        };
        let options =
            bpf::bpf_link_create_opts { sz: size_of::<bpf::bpf_link_create_opts>() as _, flags, ..Default::default() };
        // SAFETY: the descriptor is open, the options live through the call and say their own size.
        let fd = unsafe { bpf::bpf_link_create(program.as_raw_fd(), ifindex.cast_signed(), attach_type, &options) };
        owned(fd).map(Self)
    }

    /// Opens a pinned link; `None` when nothing is pinned there.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let text = c_path(path)?;
        // SAFETY: a NUL-terminated string that lives through the call.
        match owned(unsafe { bpf::bpf_obj_get(text.as_ptr()) }) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts another program in the place of the one that runs, between two packets.
    pub(super) fn replace(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: both descriptors are open; no options.
        check(unsafe { bpf::bpf_link_update(self.0.as_raw_fd(), program.as_raw_fd(), std::ptr::null()) })
    }

    /// Keeps it attached beyond this process.
    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.0.as_fd(), path)
    }

    /// Detaches now. Without it the kernel would do so a moment after the last descriptor and pin are gone.
    pub(super) fn detach(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open.
        check(unsafe { bpf::bpf_link_detach(self.0.as_raw_fd()) })
    }

    /// The interface it is attached to; 0 when that is gone.
    pub(super) fn ifindex(&self) -> io::Result<u32> {
        // SAFETY: a plain structure of integers and pointers, for which zero is valid.
        let mut info: bpf::bpf_link_info = unsafe { std::mem::zeroed() };
        let mut length = size_of::<bpf::bpf_link_info>() as u32;
        // SAFETY: the descriptor is open, and the length is the structure's.
        check(unsafe { bpf::bpf_link_get_info_by_fd(self.0.as_raw_fd(), &mut info, &mut length) })?;
        match info.type_ {
            // SAFETY: the type says which arm of the union the kernel wrote.
            bpf::BPF_LINK_TYPE_XDP => Ok(unsafe { info.__bindgen_anon_1.xdp.ifindex }),
            // SAFETY: as above.
            bpf::BPF_LINK_TYPE_TCX => Ok(unsafe { info.__bindgen_anon_1.tcx.ifindex }),
            _ => Ok(0),
        }
    }
}

/// Pins any bpf object.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let text = c_path(path)?;
    // SAFETY: the descriptor is open; a NUL-terminated string that lives through the call.
    check(unsafe { bpf::bpf_obj_pin(object.as_raw_fd(), text.as_ptr()) })
}

/// The kernel's number of the program that is pinned there; `None` when nothing is.
pub(super) fn pinned_program_id(path: &Path) -> io::Result<Option<u32>> {
    // The same call opens programs and links.
    let Some(Link(pinned)) = Link::open(path)? else { return Ok(None) };
    // SAFETY: a plain structure of integers and pointers, for which zero is valid.
    let mut info: bpf::bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<bpf::bpf_prog_info>() as u32;
    // SAFETY: the descriptor is open; the kernel writes no more than the length, and plain integers.
    check(unsafe { bpf::bpf_prog_get_info_by_fd(pinned.as_raw_fd(), &mut info, &mut length) })?;
    Ok(Some(info.id))
}

/// Detaches a pinned link and removes the pin.
pub(super) fn unpin(path: &Path) -> io::Result<()> {
    if let Some(link) = Link::open(path)? {
        // It fails when the interface is gone, and the link with it.
        let _detached = link.detach();
    }
    fs::remove_file(path)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// libbpf returns `-errno`.
pub(super) fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

fn owned(result: i32) -> io::Result<OwnedFd> {
    check(result)?;
    // SAFETY: the call just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}
