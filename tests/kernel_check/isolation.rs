//! Enters: this process, before it has threads. Leaves: it in network and mount namespaces of its own, in which the
//! kernel's BTF may be hidden. It must never be seen from outside.

#![expect(unsafe_code, reason = "unshare(2) and mount(2) have no safe wrapper among our dependencies")]

use std::{ffi::CStr, io, path::Path, ptr};

use anyhow::{Context as _, Result, ensure};

/// Where the kernel's own type information is; Raspberry Pi OS has none.
const BTF: &CStr = c"/sys/kernel/btf";

/// Moves the process out of the machine's namespaces.
pub(crate) fn begin(hide_btf: bool) -> Result<()> {
    // SAFETY: no pointers; only this process moves.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) }).context("unshare(2)")?;
    // Else what is mounted here would be mounted there too.
    mount(c"/", ptr::null(), libc::MS_REC | libc::MS_PRIVATE).context("making mounts private")?;
    if hide_btf {
        mount(BTF, c"tmpfs".as_ptr(), 0).context("hiding the kernel's BTF")?;
        ensure!(!Path::new("/sys/kernel/btf/vmlinux").exists(), "the kernel's BTF is still in sight");
    }
    Ok(())
}

fn mount(target: &CStr, kind: *const libc::c_char, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: NUL-terminated strings that live through the call, or null where none is wanted.
    check(unsafe { libc::mount(c"none".as_ptr(), target.as_ptr(), kind, flags, ptr::null()) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
