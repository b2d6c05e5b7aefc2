//! Enters: the interfaces that there are now. Leaves: programs on those that came, nothing on those that went or were
//! renamed, and word of each change. It must never touch an interface that stayed what it was.

use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::{
    InterfaceStatus, Kernel, XdpError, hook,
    interface::{self, Found, Unattached},
};
use crate::{config::InterfaceConfig, netlink::Changes};

/// The configured interfaces, as they were found last.
pub(super) struct Interfaces {
    configured: Vec<InterfaceConfig>,
    found: Vec<Found>,
    unattached: Vec<Unattached>,
}

/// What became of an interface while the daemon runs.
#[derive(Debug, Clone)]
pub enum InterfaceChange {
    /// It came, and a program is attached to it.
    Attached(InterfaceStatus),
    /// It went, or has another name now.
    Detached(InterfaceStatus),
    /// It came, and nothing could be attached to it.
    Failed(Unattached),
}

impl Interfaces {
    /// Looks the configured interfaces up. One that is not there is waited for, but not all of them: then the names are
    /// wrong, or this is not the box that was meant.
    pub(super) fn find(configured: &[InterfaceConfig]) -> Result<Self, XdpError> {
        let (found, unattached) = interface::find_all(configured)?;
        if found.is_empty() && !unattached.is_empty() {
            let names: Vec<&str> = unattached.iter().map(|missing| missing.name.as_str()).collect();
            return Err(XdpError::NoInterface { name: names.join("`, `") });
        }
        Ok(Self { configured: configured.to_owned(), found, unattached })
    }

    /// Those that are there.
    pub(super) fn found(&self) -> &[Found] {
        &self.found
    }
}

impl Kernel {
    /// Configured interfaces that nothing is attached to, and why.
    #[must_use]
    pub fn unattached(&self) -> &[Unattached] {
        &self.interfaces.unattached
    }

    /// Looks every configured interface up by its name again: attaches to those that came, detaches from those that went
    /// or go by another name now. Without any such change it does nothing.
    ///
    /// # Errors
    /// The kernel's interface table cannot be changed; then nothing was.
    pub fn refresh_interfaces(&mut self) -> Result<Vec<InterfaceChange>, XdpError> {
        let (mut found, mut unattached) = (Vec::new(), Vec::new());
        for config in &self.interfaces.configured {
            match interface::find(config) {
                Ok(interface) => found.push(interface),
                Err(XdpError::NoInterface { .. }) => {
                    unattached.push(interface::unattached(config, interface::NOT_THERE));
                }
                // A bridge, a tunnel, … of the same name: said in the status, since nobody waits for this answer.
                Err(error) => unattached.push(interface::unattached(config, error.to_string())),
            }
        }
        let is_in = |list: &[Found], one: &Found| list.iter().any(|f| (&f.name, f.ifindex) == (&one.name, one.ifindex));
        let before = std::mem::take(&mut self.interfaces.found);
        // The kernel half looks an interface up by its index at each packet: it must know it before it is attached.
        if let Err(error) = self.counters.watch(&found) {
            self.interfaces.found = before;
            return Err(error);
        }
        let mut changes = Vec::new();
        for gone in before.iter().filter(|was| !is_in(&found, was)) {
            if let Err(error) = hook::leave(&self.dirs, &gone.name, gone.ifindex) {
                // What is attached there no longer knows the interface, and lets everything pass.
                tracing::warn!(iface = %gone.name, %error, "could not be detached; the next start tries again");
            }
            if let Some(at) = self.statuses.iter().position(|status| status.name == gone.name) {
                changes.push(InterfaceChange::Detached(self.statuses.remove(at)));
            }
        }
        for interface in found {
            if is_in(&before, &interface) {
                unattached.extend(self.interfaces.unattached.iter().find(|old| old.name == interface.name).cloned());
            } else {
                match hook::attach(&self.object, &self.dirs, &interface) {
                    Ok(status) => {
                        self.statuses.push(status.clone());
                        changes.push(InterfaceChange::Attached(status));
                    }
                    Err(error) => {
                        let (name, role) = (interface.name.clone(), interface.role);
                        let failed = Unattached { name, role, reason: error.to_string() };
                        unattached.push(failed.clone());
                        changes.push(InterfaceChange::Failed(failed));
                    }
                }
            }
            self.interfaces.found.push(interface);
        }
        self.interfaces.unattached = unattached;
        Ok(changes)
    }
}

/// The kernel's word that interfaces came, went or changed.
pub struct LinkChanges(Changes);

impl LinkChanges {
    /// Listens in the network namespace of this thread.
    ///
    /// # Errors
    /// The kernel has no room for another socket.
    pub fn listen() -> Result<Self, XdpError> {
        let listening = Changes::listen(NETLINK_ROUTE, libc::RTNLGRP_LINK);
        listening.map(Self).map_err(|source| XdpError::Call { call: "listening to changes of interfaces", source })
    }

    /// Whether there may have been a change within this time; [`Kernel::refresh_interfaces`] finds out which.
    ///
    /// # Errors
    /// The socket fails.
    pub fn wait(&self, time: Duration) -> Result<bool, XdpError> {
        self.0.wait(time).map_err(|source| XdpError::Call { call: "waiting for changes of interfaces", source })
    }
}
