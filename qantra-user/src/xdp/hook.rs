//! Enters: interfaces and loaded programs. Leaves: each interface attached at the highest rung of the hook ladder that
//! works, by a pinned link, and why not higher. It must never take a lower rung in silence.
//!
//! Ladder: native XDP, then TCX ingress. The next rungs (clsact, generic XDP on request, nftables sets) go here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    PinDirs, XdpError,
    interface::Found,
    link::{Attach, Link, unpin},
    object::{Object, TC, XDP, XDP_FRAGS},
};
use crate::config::{Hook, Role};

/// A rung of the hook ladder, highest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The driver's own XDP hook, frames in several buffers included.
    NativeFrags,
    /// The driver's own XDP hook, for frames in one buffer.
    Native,
    /// TCX ingress: after the driver and GRO, before the network stack.
    Tcx,
}

impl Rung {
    /// As written in metrics and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NativeFrags => "native_frags",
            Self::Native => "native",
            Self::Tcx => "tcx",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::NativeFrags => XDP_FRAGS,
            Self::Native => XDP,
            Self::Tcx => TC,
        }
    }

    const fn attach(self) -> Attach {
        match self {
            Self::NativeFrags | Self::Native => Attach::NativeXdp,
            Self::Tcx => Attach::TcxIngress,
        }
    }

    const fn allowed(hook: Hook) -> &'static [Self] {
        match hook {
            Hook::Auto => &[Self::NativeFrags, Self::Native, Self::Tcx],
            Hook::Native => &[Self::NativeFrags, Self::Native],
            Hook::Tcx => &[Self::Tcx],
        }
    }
}

impl Attach {
    /// Both native rungs share one link: a driver has one XDP hook.
    const fn pin_suffix(self) -> &'static str {
        match self {
            Self::NativeXdp => "xdp",
            Self::TcxIngress => "tcx",
        }
    }
}

/// Where an interface stands on the ladder.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Its driver.
    pub driver: String,
    /// On which side of the box it is.
    pub role: Role,
    /// The rung it got.
    pub rung: Rung,
    /// Why it got no higher one; `None` on the highest, or when the configuration wants this one.
    pub why_not_higher: Option<String>,
    /// Whether the link was there already and only its program was replaced.
    pub adopted: bool,
}

/// Attaches every interface; when one fails, what was newly attached is detached again, and what was adopted stays.
pub(super) fn attach_all(
    object: &Object,
    dirs: &PinDirs,
    interfaces: &[Found],
) -> Result<Vec<InterfaceStatus>, XdpError> {
    let mut statuses = Vec::with_capacity(interfaces.len());
    for interface in interfaces {
        match attach(object, dirs, interface) {
            Ok(status) => statuses.push(status),
            Err(error) => {
                for status in statuses.iter().filter(|status: &&InterfaceStatus| !status.adopted) {
                    let _gone = unpin(&pin_path(dirs, &status.name, status.rung.attach()));
                }
                return Err(error);
            }
        }
    }
    remove_others(dirs, &statuses)?;
    Ok(statuses)
}

fn attach(object: &Object, dirs: &PinDirs, interface: &Found) -> Result<InterfaceStatus, XdpError> {
    let mut reasons: Vec<String> = Vec::new();
    for rung in Rung::allowed(interface.hook) {
        let attached = object.program(rung.program()).map_err(|reason| format!("program refused: {reason}"));
        let attached = attached.and_then(|program| {
            let path = pin_path(dirs, &interface.name, rung.attach());
            climb(program, &path, interface.ifindex, rung.attach()).map_err(|error| explain(&error))
        });
        match attached {
            Ok(adopted) => {
                let why_not_higher = (!reasons.is_empty()).then(|| reasons.join("; "));
                return Ok(InterfaceStatus {
                    name: interface.name.clone(),
                    ifindex: interface.ifindex,
                    driver: interface.driver.clone(),
                    role: interface.role,
                    rung: *rung,
                    why_not_higher,
                    adopted,
                });
            }
            Err(reason) => reasons.push(format!("{}: {reason}", rung.as_str())),
        }
    }
    Err(XdpError::NoHook { name: interface.name.clone(), reasons: reasons.join("; ") })
}

/// Adopts the pinned link of this rung, or makes and pins one. Returns whether it was adopted.
fn climb(program: std::os::fd::BorrowedFd<'_>, path: &Path, ifindex: u32, attach: Attach) -> io::Result<bool> {
    if let Some(link) = Link::open(path)? {
        if link.ifindex()? == ifindex {
            link.replace(program)?;
            return Ok(true);
        }
        // The interface it belonged to is gone; one of the same name came back with another index.
        unpin(path)?;
    }
    let link = Link::create(program, ifindex, attach)?;
    link.pin(path)?;
    Ok(false)
}

fn explain(error: &io::Error) -> String {
    let meaning = match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "the driver has no native XDP",
        Some(libc::EBUSY) | Some(libc::EEXIST) => "another XDP program is attached",
        Some(libc::EINVAL) => "the kernel or the driver does not take it (older than 6.6, or an MTU too large?)",
        Some(libc::ERANGE) => "the MTU is too large for the driver's XDP",
        Some(libc::EPERM) => "not permitted",
        _ => return error.to_string(),
    };
    format!("{meaning} ({error})")
}

/// `%` is a letter that no interface name may need: names hold neither `/` nor white space, but may hold dots and dashes,
/// and bpffs refuses names with dots.
fn pin_path(dirs: &PinDirs, name: &str, attach: Attach) -> PathBuf {
    dirs.links.join(format!("{}%{}", name.replace('.', "%2e"), attach.pin_suffix()))
}

/// Detaches links of interfaces that are no longer configured, and of rungs that were left for another.
fn remove_others(dirs: &PinDirs, statuses: &[InterfaceStatus]) -> Result<(), XdpError> {
    let kept: Vec<PathBuf> = statuses.iter().map(|status| pin_path(dirs, &status.name, status.rung.attach())).collect();
    let failed = |source| XdpError::Pin { path: dirs.links.clone(), source };
    for entry in fs::read_dir(&dirs.links).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !kept.contains(&path) {
            tracing::warn!(link = %path.display(), "detached: not in the configuration any more");
            unpin(&path).map_err(failed)?;
        }
    }
    Ok(())
}
