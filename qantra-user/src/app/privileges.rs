//! Enters: a process that has bound its ports and loaded its programs. Leaves: one that may do little more than keep
//! them. It must run before any other thread: capabilities belong to threads.

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{User, setgid, setgroups, setuid};

/// What the daemon needs once it runs: to change maps, and to attach to interfaces that come.
const KEPT: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN];

/// Privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The user does not exist.
    #[error("daemon.user: there is no user `{0}`; create it or leave the key empty")]
    NoSuchUser(String),
    /// A system call failed.
    #[error("daemon.user: cannot become `{user}`: {source}")]
    Become {
        /// The user.
        user: String,
        /// Why.
        source: nix::Error,
    },
    /// Capabilities cannot be changed.
    #[error("capabilities cannot be dropped: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
}

/// Becomes the user, when one is named, and drops every capability but [`KEPT`] for good.
///
/// # Errors
/// No such user, or the kernel refuses.
pub(super) fn drop_to(user: &str) -> Result<(), PrivilegeError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = KEPT.into_iter().filter(|cap| held.contains(cap)).collect();
    if held.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::runtime::procfs_all_supported(None)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    if !user.is_empty() {
        become_user(user)?;
    }
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::clear(None, CapSet::Inheritable)?;
    Ok(())
}

/// Who is to be become, as numbers; `None`: nobody.
///
/// # Errors
/// No such user.
pub(super) fn ids(user: &str) -> Result<Option<(u32, u32)>, PrivilegeError> {
    (!user.is_empty()).then(|| find(user).map(|user| (user.uid.as_raw(), user.gid.as_raw()))).transpose()
}

fn find(name: &str) -> Result<User, PrivilegeError> {
    let failed = |source| PrivilegeError::Become { user: name.to_owned(), source };
    User::from_name(name).map_err(failed)?.ok_or_else(|| PrivilegeError::NoSuchUser(name.to_owned()))
}

fn become_user(name: &str) -> Result<(), PrivilegeError> {
    let failed = |source| PrivilegeError::Become { user: name.to_owned(), source };
    let user = find(name)?;
    // Without it, leaving uid 0 would clear what is to be kept.
    nix::sys::prctl::set_keepcaps(true).map_err(failed)?;
    setgroups(&[user.gid]).map_err(failed)?;
    setgid(user.gid).map_err(failed)?;
    setuid(user.uid).map_err(failed)
}
