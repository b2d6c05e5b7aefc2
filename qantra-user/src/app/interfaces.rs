//! Enters: the kernel's word that interfaces changed. Leaves: programs on those that came, and log, metrics and status
//! that say so. It must never stop because of one interface.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;

use super::planes::Planes;
use crate::{
    config::Config,
    intel::Feeds,
    metrics::Metrics,
    xdp::{InterfaceChange, InterfaceStatus, Kernel, LinkChanges, Unattached, XdpError},
};

/// For how long a start waits for the first interface: at boot, drivers of network cards may be late.
const FIRST_INTERFACE_WAIT: Duration = Duration::from_secs(10);
/// How often the thread looks whether it is to end.
const STOP_INTERVAL: Duration = Duration::from_millis(250);
/// Changes come in bunches: an interface is made, renamed, set up.
const SETTLE: Duration = Duration::from_millis(20);

/// Starts the kernel half. While none of the interfaces is there it waits a little.
///
/// # Errors
/// As [`Kernel::start`].
pub(super) fn start(config: &Config, bpf_log: bool) -> Result<Kernel, XdpError> {
    let changes = LinkChanges::listen()?;
    let started = crate::clock::boot_ns();
    loop {
        let waited = Duration::from_nanos(crate::clock::boot_ns().saturating_sub(started));
        match Kernel::start(&config.kernel, &config.interfaces, bpf_log) {
            Err(XdpError::NoInterface { name }) if waited < FIRST_INTERFACE_WAIT => {
                tracing::warn!(iface = %name, "no such interface yet, waiting");
                let _changed = changes.wait(FIRST_INTERFACE_WAIT - waited)?;
            }
            result => return result,
        }
    }
}

/// Says where each interface stands, at start.
pub(super) fn tell(kernel: &Kernel, metrics: &Metrics) {
    for interface in kernel.status() {
        attached(interface, metrics);
    }
    for interface in kernel.unattached() {
        unattached(interface, metrics);
    }
}

fn attached(interface: &InterfaceStatus, metrics: &Metrics) {
    let _was_none = metrics.kernel_hook.remove_label_values(&[interface.name.as_str(), "none"]);
    metrics.kernel_hook.with_label_values(&[interface.name.as_str(), interface.rung.as_str()]).set(1);
    let why_not_higher = interface.why_not_higher.as_deref().unwrap_or_default();
    tracing::info!(
        iface = %interface.name,
        hook = interface.rung.as_str(),
        adopted = interface.adopted,
        why_not_higher,
        "attached"
    );
}

fn unattached(interface: &Unattached, metrics: &Metrics) {
    metrics.kernel_hook.with_label_values(&[interface.name.as_str(), "none"]).set(1);
    tracing::warn!(iface = %interface.name, reason = %interface.reason, "nothing is attached");
}

/// The thread that follows interfaces; it ends with its guard.
pub(super) struct Follower {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(super) fn start(
        kernel: Arc<Mutex<Kernel>>,
        planes: Arc<Planes>,
        feeds: Arc<Feeds>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, super::AppError> {
        let changes = LinkChanges::listen()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("interfaces".into()).spawn(move || {
            // What changed between the start and now.
            follow(&kernel, &planes, &feeds, &metrics);
            while !stopped.load(Relaxed) {
                match changes.wait(STOP_INTERVAL) {
                    Ok(false) => {}
                    Ok(true) => {
                        std::thread::sleep(SETTLE);
                        follow(&kernel, &planes, &feeds, &metrics);
                    }
                    Err(error) => {
                        tracing::error!(%error, "interfaces are not followed any more");
                        return;
                    }
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows interfaces ended badly");
        }
    }
}

fn follow(kernel: &Mutex<Kernel>, planes: &Planes, feeds: &Feeds, metrics: &Metrics) {
    let mut kernel = kernel.lock();
    let changes = match kernel.refresh_interfaces() {
        Ok(changes) => changes,
        Err(error) => {
            tracing::error!(%error, "interfaces could not be followed; the next change tries again");
            return;
        }
    };
    let covered = if changes.is_empty() { Ok(false) } else { planes.cover(&kernel) };
    drop(kernel);
    match covered {
        // Bans were copied; feeds are too big to be kept twice, and come from their owner.
        Ok(true) => feeds.plane_changed(),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "nftables does not drop on the interfaces that it should"),
    }
    for change in changes {
        let (name, label) = match &change {
            InterfaceChange::Attached(status) => (&status.name, "attached"),
            InterfaceChange::Detached(status) => (&status.name, "detached"),
            InterfaceChange::Failed(interface) => (&interface.name, "failed"),
        };
        metrics.interface_changes.with_label_values(&[name.as_str(), label]).inc();
        match change {
            InterfaceChange::Attached(status) => attached(&status, metrics),
            InterfaceChange::Failed(interface) => unattached(&interface, metrics),
            InterfaceChange::Detached(status) => {
                let _gone = metrics.kernel_hook.remove_label_values(&[status.name.as_str(), status.rung.as_str()]);
                metrics.kernel_hook.with_label_values(&[status.name.as_str(), "none"]).set(1);
                tracing::warn!(iface = %status.name, "the interface is gone, or has another name: waiting for it");
            }
        }
    }
}
