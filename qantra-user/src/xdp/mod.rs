//! Enters: `[kernel]` and `[[interface]]`. Leaves: the attached kernel half ([`Kernel`]), its ban tables
//! ([`BanPlane`]), counters, events and source table. The only user of aya and libbpf-sys. It must never decide whom
//! to ban, and never detach what it adopted unless told to.
//!
//! Pins: maps that outlive the daemon lie in `<pin_dir>/v<ABI>/`, one link per interface and rung in
//! `<pin_dir>/links/`. A link does not depend on the layout of maps, so a later version can take it over, whatever its
//! ABI, by replacing the program on it.

#![expect(unsafe_code, reason = "libbpf-sys and ioctl(2) are C; each call says why it is sound")]

mod abi;
mod adopt;
mod ban_table;
mod clsact;
mod cookies;
mod counters;
mod error;
mod events;
mod feed;
mod feed_table;
mod filter;
mod follow;
mod hook;
mod interface;
mod link;
mod object;
mod plane;
mod stats;
mod trial;
mod tunables;

use std::{
    fs,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;

pub use abi::{Abi, object_problem};
pub use cookies::{SynCookieStatus, syn_cookie_problem};
pub use counters::{KernelLosses, VerdictCount};
pub use error::XdpError;
pub use events::{EventStream, KernelEvent, SourceTable, ip_of};
pub use follow::{InterfaceChange, LinkChanges};
pub use hook::{InterfaceStatus, Rung};
pub use interface::{Unattached, check_capabilities};
pub use plane::BanPlane;
pub use qantra_common::{DropReason, Verdict, event::DropEvent, map::SourceCounters};
pub use stats::{ProgramCost, RunTimeStats};
pub use trial::{Entry, Fate};

use crate::config::{InterfaceConfig, KernelConfig, Role};
use abi::ObjectFile;
use object::Object;

/// The kernel half, loaded and attached. Dropping it detaches nothing: pins keep it going.
pub struct Kernel {
    object: Object,
    plane: Arc<BanPlane>,
    counters: counters::InterfaceTable,
    cookies: cookies::CookieTable,
    interfaces: follow::Interfaces,
    statuses: Vec<InterfaceStatus>,
    events: Option<(EventStream, SourceTable)>,
    dirs: PinDirs,
}

/// Where pins are.
#[derive(Debug, Clone)]
pub(crate) struct PinDirs {
    root: PathBuf,
    maps: PathBuf,
    links: PathBuf,
}

impl PinDirs {
    fn new(pin_dir: &Path) -> Self {
        Self {
            root: pin_dir.to_owned(),
            maps: pin_dir.join(format!("v{}", qantra_common::ABI_VERSION)),
            links: pin_dir.join("links"),
        }
    }
}

impl Kernel {
    /// Loads the object, adopts what is pinned, and attaches to every interface.
    ///
    /// Bans that are pinned go on being enforced throughout: programs are replaced on their links in one step.
    ///
    /// # Errors
    /// Each says what to do. Nothing that was newly attached stays so.
    pub fn start(config: &KernelConfig, interfaces: &[InterfaceConfig], bpf_log: bool) -> Result<Self, XdpError> {
        interface::check_capabilities()?;
        // Before anything is made, moved or attached.
        let file = ObjectFile::read(config, bpf_log)?;
        let interfaces = follow::Interfaces::find(interfaces)?;
        let dirs = PinDirs::new(&config.pin_dir);
        adopt::prepare(&dirs)?;
        let specs = adopt::specs(config);
        adopt::check(&dirs, &specs)?;
        let mut object = Object::load(file, config, &dirs, &specs)?;
        if bpf_log {
            object.follow_log();
        }
        let plane = Arc::new(object.plane(config)?);
        let mut counters = object.interfaces()?;
        counters.watch(interfaces.found())?;
        let statuses = hook::attach_all(&object, &dirs, interfaces.found())?;
        let events = Some((object.events()?, object.sources()?));
        let cookies = object.cookies(config)?;
        let mut kernel = Self { object, plane, counters, cookies, interfaces, statuses, events, dirs };
        kernel.refresh_syn_cookies()?;
        Ok(kernel)
    }

    /// The ban tables. The handle stays good for as long as anyone holds it.
    #[must_use]
    pub fn plane(&self) -> Arc<BanPlane> {
        Arc::clone(&self.plane)
    }

    /// The ring buffer and the source table, for the one collector; `None` the second time.
    pub fn take_events(&mut self) -> Option<(EventStream, SourceTable)> {
        self.events.take()
    }

    /// What each interface got, and why not more.
    #[must_use]
    pub fn status(&self) -> &[InterfaceStatus] {
        &self.statuses
    }

    /// Detaches the programs that were left for nftables, once that holds the bans.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn settle(&self) -> Result<(), XdpError> {
        hook::settle(&self.dirs, &self.statuses)
    }

    /// Packets and bytes by interface and verdict, summed over CPUs, since the interface was first watched. Verdicts that
    /// never happened are left out.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn verdicts(&self) -> Result<Vec<VerdictCount>, XdpError> {
        self.counters.verdicts()
    }

    /// What the kernel half could not count or report.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn losses(&self) -> Result<KernelLosses, XdpError> {
        self.counters.losses()
    }

    /// Runs one frame through a program by `BPF_PROG_TEST_RUN`, on the interface whose index is 1. It counts, and bans
    /// take hits, as for any frame.
    ///
    /// # Errors
    /// bpf(2) fails, or the program is not loaded on this kernel.
    pub fn try_frame(&self, entry: Entry, frame: &[u8]) -> Result<Fate, XdpError> {
        self.object.try_frame(entry, frame)
    }

    /// Whether a program drops one frame: [`try_frame`](Self::try_frame) for those that ask no more.
    ///
    /// # Errors
    /// As for that.
    pub fn drops_frame(&self, entry: Entry, frame: &[u8]) -> Result<bool, XdpError> {
        Ok(self.try_frame(entry, frame)? == Fate::Dropped)
    }

    /// A program's descriptor, to measure it beside others.
    ///
    /// # Errors
    /// The program is not loaded on this kernel.
    pub fn program(&self, entry: Entry) -> Result<BorrowedFd<'_>, XdpError> {
        self.object.entry(entry)
    }

    /// Counts frames of an interface by its index, under the name `#INDEX`: for [`try_frame`](Self::try_frame).
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn watch_index(&mut self, ifindex: u32, role: Role) -> Result<(), XdpError> {
        self.counters.watch_index(ifindex, role, None)
    }

    /// The same, and checks sources against these networks of the LAN side.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn watch_index_strictly(&mut self, ifindex: u32, role: Role, lan: &[IpNet]) -> Result<(), XdpError> {
        self.counters.watch_index(ifindex, role, Some(lan))
    }

    /// Gives the pins to a user and group, so that a daemon that is no longer root can attach to interfaces that come.
    ///
    /// # Errors
    /// The pins cannot be given away.
    pub fn hand_over(&self, uid: u32, gid: u32) -> Result<(), XdpError> {
        adopt::give(&self.dirs.root, uid, gid)
    }

    /// Detaches from every interface and removes every pin: bans end with it.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn detach(self) -> Result<(), XdpError> {
        let root = self.dirs.root.clone();
        drop(self);
        detach(&root).map(|_removed| ())
    }
}

/// Removes every pin below `pin_dir`: programs are detached and bans end, unless a running daemon still holds them.
/// Returns the names of what was removed; nothing to remove is no error.
///
/// # Errors
/// A pin cannot be removed.
pub fn detach(pin_dir: &Path) -> Result<Vec<String>, XdpError> {
    let mut removed = Vec::new();
    let failed = |path: &Path, source| XdpError::Pin { path: path.to_owned(), source };
    let list = |dir: &Path| match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    // Links first, so that no program runs on maps that are half gone.
    let mut dirs = list(pin_dir).map_err(|e| failed(pin_dir, e))?;
    dirs.sort_by_key(|dir| !dir.ends_with("links"));
    for dir in dirs {
        for pin in list(&dir).map_err(|e| failed(&dir, e))? {
            let unpinned = if dir.ends_with("links") { hook::release(&pin) } else { fs::remove_file(&pin) };
            unpinned.map_err(|e| failed(&pin, e))?;
            removed.push(pin.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        fs::remove_dir(&dir).map_err(|e| failed(&dir, e))?;
    }
    match fs::remove_dir(pin_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(pin_dir, error)),
        _ => Ok(removed),
    }
}
