//! Enters: interfaces and loaded programs. Leaves: each interface attached at the highest rung of the hook ladder that
//! works, by a pinned link, and why not higher. It must never take a lower rung in silence.
//!
//! Ladder: native XDP, TCX ingress, clsact, nftables (which `nft/` is in charge of); generic XDP only on request.

use std::{
    fs, io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    PinDirs, XdpError, clsact,
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
    /// A filter at clsact ingress: the same place, for kernels before 6.6.
    Clsact,
    /// XDP on socket buffers: copies what GRO has merged, so that nobody gets it without asking.
    Generic,
    /// No program: bans and feeds are left to `nft/`.
    Nftables,
}

impl Rung {
    /// As written in metrics and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NativeFrags => "native_frags",
            Self::Native => "native",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Generic => "generic",
            Self::Nftables => "nftables",
        }
    }

    /// The program, and where it hangs; `None` where there is none.
    const fn program(self) -> Option<(&'static str, Place)> {
        match self {
            // A driver has one XDP hook, so that both share one link.
            Self::NativeFrags => Some((XDP_FRAGS, Place::Native)),
            Self::Native => Some((XDP, Place::Native)),
            Self::Tcx => Some((TC, Place::Tcx)),
            Self::Clsact => Some((TC, Place::Clsact)),
            Self::Generic => Some((XDP, Place::Generic)),
            Self::Nftables => None,
        }
    }

    const fn allowed(hook: Hook) -> &'static [Self] {
        match hook {
            Hook::Auto => &[Self::NativeFrags, Self::Native, Self::Tcx, Self::Clsact, Self::Nftables],
            Hook::Native => &[Self::NativeFrags, Self::Native],
            Hook::Tcx => &[Self::Tcx],
            Hook::Clsact => &[Self::Clsact],
            Hook::Generic => &[Self::Generic],
            Hook::Nftables => &[Self::Nftables],
        }
    }
}

/// Where a program hangs on an interface, one pin each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Native,
    Generic,
    Tcx,
    Clsact,
}

impl Place {
    /// XDP's two places exclude each other on an interface.
    const fn excludes(self) -> Option<Self> {
        match self {
            Self::Native => Some(Self::Generic),
            Self::Generic => Some(Self::Native),
            Self::Tcx | Self::Clsact => None,
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

impl InterfaceStatus {
    fn pin(&self, dirs: &PinDirs) -> Option<PathBuf> {
        self.rung.program().map(|(_, place)| pin_path(dirs, &self.name, self.ifindex, place))
    }
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
                    let _gone = status.pin(dirs).map(|pin| release(&pin));
                }
                return Err(error);
            }
        }
    }
    // nftables does not hold the bans yet: programs that are left for it go by `Kernel::settle`.
    let waits = |status: &&InterfaceStatus| status.rung == Rung::Nftables;
    let for_now = statuses.iter().filter(waits).flat_map(|status| pins(dirs, &status.name, status.ifindex));
    remove_others(dirs, &statuses, for_now.collect())?;
    Ok(statuses)
}

/// Detaches whatever is pinned and none of these needs.
pub(super) fn settle(dirs: &PinDirs, statuses: &[InterfaceStatus]) -> Result<(), XdpError> {
    remove_others(dirs, statuses, Vec::new())
}

/// Attaches one interface at the highest rung that works.
pub(super) fn attach(object: &Object, dirs: &PinDirs, interface: &Found) -> Result<InterfaceStatus, XdpError> {
    let mut reasons: Vec<String> = Vec::new();
    for rung in Rung::allowed(interface.hook) {
        match climb(object, dirs, interface, *rung) {
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

/// Gets one rung of the ladder, or why not. Returns whether something of ours was there already and was adopted.
fn climb(object: &Object, dirs: &PinDirs, interface: &Found, rung: Rung) -> Result<bool, String> {
    let Some((name, place)) = rung.program() else { return Ok(false) };
    let program = object.program(name).map_err(|reason| format!("program refused: {reason}"))?;
    let attached = attach_at(program, dirs, interface, place);
    let in_the_way = place
        .excludes()
        .map(|other| pin_path(dirs, &interface.name, interface.ifindex, other))
        .filter(|pin| pin.exists());
    let attached = match (attached, in_the_way) {
        (Err(error), Some(pin)) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::EBUSY)) => {
            hold_meanwhile(object, dirs, interface)?;
            release(&pin).and_then(|()| attach_at(program, dirs, interface, place))
        }
        (attached, _) => attached,
    };
    attached.map_err(|error| explain(&error, place))
}

/// Puts the TC program on the interface, so that bans hold while XDP goes from one of its two modes to the other: the
/// kernel does not let both run at once. [`remove_others`] takes it away again.
fn hold_meanwhile(object: &Object, dirs: &PinDirs, interface: &Found) -> Result<(), String> {
    let program = object.program(TC).map_err(|reason| format!("program refused: {reason}"))?;
    attach_at(program, dirs, interface, Place::Tcx)
        .or_else(|_| attach_at(program, dirs, interface, Place::Clsact))
        .map_err(|error| {
            format!("nothing can take over while the other XDP mode is left: {}", explain(&error, Place::Clsact))
        })?;
    Ok(())
}

/// Adopts what is pinned for this place, or attaches and pins. Returns whether it was adopted.
fn attach_at(program: BorrowedFd<'_>, dirs: &PinDirs, interface: &Found, place: Place) -> io::Result<bool> {
    let path = pin_path(dirs, &interface.name, interface.ifindex, place);
    let attach = match place {
        Place::Native => Attach::NativeXdp,
        Place::Generic => Attach::GenericXdp,
        Place::Tcx => Attach::TcxIngress,
        Place::Clsact => return clsact::attach(program, interface.ifindex, &path),
    };
    if let Some(link) = Link::open(&path)? {
        if link.ifindex()? == interface.ifindex {
            link.replace(program)?;
            return Ok(true);
        }
        // The interface it belonged to is gone or has another name now.
        unpin(&path)?;
    }
    let link = Link::create(program, interface.ifindex, attach)?;
    link.pin(&path)?;
    Ok(false)
}

/// Detaches what is pinned there, and removes the pin.
pub(super) fn release(pin: &Path) -> io::Result<()> {
    let name = pin.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.split_once(CLSACT_PIN).and_then(|(_, ifindex)| ifindex.parse().ok()) {
        Some(ifindex) => clsact::remove(pin, ifindex),
        None => unpin(pin),
    }
}

/// Detaches everything from the interface that had this name and index, whatever it is called now.
pub(super) fn leave(dirs: &PinDirs, name: &str, ifindex: u32) -> Result<(), XdpError> {
    for path in pins(dirs, name, ifindex) {
        match release(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(XdpError::Pin { path, source }),
            _ => {}
        }
    }
    Ok(())
}

fn explain(error: &io::Error, place: Place) -> String {
    let meaning = match (error.raw_os_error(), place) {
        (Some(libc::EOPNOTSUPP), Place::Native) => "the driver has no native XDP",
        (Some(libc::EINVAL), Place::Native) => "the kernel or the driver does not take it (an MTU too large?)",
        (Some(libc::EINVAL), Place::Tcx) => "the kernel does not have it, as all before 6.6",
        (Some(libc::ENOENT), Place::Clsact) => "the kernel has no clsact or no BPF filters (sch_ingress, cls_bpf)",
        (Some(libc::EBUSY | libc::EEXIST), _) => "another program is attached",
        (Some(libc::ERANGE), _) => "the MTU is too large for the driver's XDP",
        (Some(libc::EPERM | libc::EACCES), _) => "not permitted",
        _ => return error.to_string(),
    };
    format!("{meaning} ({error})")
}

/// What stands between the interface's name and its index in the pin of a clsact filter's program. A link knows its
/// interface; a filter is known by its interface only.
const CLSACT_PIN: &str = "%clsact%";

/// `%` is a letter that no interface name may need: names hold neither `/` nor white space, but may hold dots and dashes,
/// and bpffs refuses names with dots.
fn pin_path(dirs: &PinDirs, name: &str, ifindex: u32, place: Place) -> PathBuf {
    let name = name.replace('.', "%2e");
    dirs.links.join(match place {
        Place::Native => format!("{name}%xdp"),
        Place::Generic => format!("{name}%generic"),
        Place::Tcx => format!("{name}%tcx"),
        Place::Clsact => format!("{name}{CLSACT_PIN}{ifindex}"),
    })
}

/// Whatever may be pinned for an interface.
fn pins(dirs: &PinDirs, name: &str, ifindex: u32) -> [PathBuf; 4] {
    [Place::Native, Place::Generic, Place::Tcx, Place::Clsact].map(|place| pin_path(dirs, name, ifindex, place))
}

/// Detaches links of interfaces that are no longer configured, and of rungs that were left for another.
fn remove_others(dirs: &PinDirs, statuses: &[InterfaceStatus], mut kept: Vec<PathBuf>) -> Result<(), XdpError> {
    kept.extend(statuses.iter().filter_map(|status| status.pin(dirs)));
    let failed = |source| XdpError::Pin { path: dirs.links.clone(), source };
    for entry in fs::read_dir(&dirs.links).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !kept.contains(&path) {
            tracing::warn!(link = %path.display(), "detached: not in the configuration any more");
            release(&path).map_err(failed)?;
        }
    }
    Ok(())
}
