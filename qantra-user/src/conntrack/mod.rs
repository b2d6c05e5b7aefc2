//! Enters: what the kernel's connection tracking says of conversations that pass the box. Leaves: [`Observation::Conversation`]s
//! of those that LAN devices begin. It costs nothing for each packet and sees addresses as they are before translation. It
//! must never block on whoever listens: a full channel loses the observation, and that is counted.
//!
//! New conversations and ended ones come by themselves. What long ones carry is asked for once a minute.

mod wire;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::BytesMut;
use crossbeam_channel::Sender;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt,
};

use crate::{
    clock::boot_ns,
    flow::{ConversationEvent, ConversationObservation, Observation},
    metrics::Metrics,
};
use wire::{Counters, Entry, Word};

/// Multicast groups of `nfnetlink`.
const GROUP_NEW: u32 = 1;
const GROUP_DESTROY: u32 = 3;
/// What waits in the kernel while this thread does not run: some 4,000 events.
const BUFFER_BYTES: usize = 2 << 20;
const DATAGRAM_BYTES: usize = 64 << 10;
/// Datagrams looked at before the clock and the word to stop are.
const DATAGRAMS_PER_WAKE: usize = 1_024;
/// The rest after so many at once: in a flood of connections 20,000 a second are looked at, and what the buffer does not hold is
/// lost, not this processor.
const FLOOD_PAUSE: Duration = Duration::from_millis(50);
const STOP_INTERVAL: Duration = Duration::from_millis(250);
/// After a failure it is tried again: the socket cannot be opened anew once privileges are dropped.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const LIST_EVERY_NS: u64 = 60_000_000_000;
const LIST_TIMEOUT: Duration = Duration::from_secs(2);
/// A conversation that carried less since it was told of is told of at its end.
const TOLD_BYTES_MIN: u64 = 64 << 10;
/// Long conversations of which is known what was told; of others all is told at their end.
const TOLD_MAX: usize = 8_192;

/// What is wrong with the kernel's settings; `None`: nothing.
#[must_use]
pub fn problem() -> Option<String> {
    let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok();
    let Some(counts) = setting("nf_conntrack_acct") else {
        return Some(
            "connection tracking is not there: calls home and uploads of LAN devices are not looked for; load \
             `nf_conntrack`, or set `detect.conversations = false`"
                .to_owned(),
        );
    };
    if setting("nf_conntrack_events").is_some_and(|value| value.trim() == "0") {
        return Some(
            "connection tracking does not tell what it sees: calls home of LAN devices are not looked for; \
             `sysctl net.netfilter.nf_conntrack_events=1`"
                .to_owned(),
        );
    }
    (counts.trim() == "0").then(|| {
        "connection tracking does not count bytes: uploads of LAN devices are not looked for; \
         `sysctl net.netfilter.nf_conntrack_acct=1`"
            .to_owned()
    })
}

/// Why conversations are not followed; `None`: they are.
pub type Failure = Arc<ArcSwapOption<String>>;

/// The sockets: opened while the process may.
pub struct Tracking {
    events: Socket,
    lists: Socket,
}

impl Tracking {
    /// Listens to this network namespace's connection tracking.
    ///
    /// # Errors
    /// The kernel has none, or the process may not.
    pub fn listen() -> io::Result<Self> {
        let mut events = Socket::new(NETLINK_NETFILTER)?;
        let _address = events.bind_auto()?;
        sockopt::set_socket_recv_buffer_size_force(&events, BUFFER_BYTES)?;
        events.add_membership(GROUP_NEW)?;
        events.add_membership(GROUP_DESTROY)?;
        events.set_non_blocking(true)?;
        let mut lists = Socket::new(NETLINK_NETFILTER)?;
        let _address = lists.bind_auto()?;
        lists.connect(&SocketAddr::new(0, 0))?;
        sockopt::set_socket_timeout(&lists, sockopt::Timeout::Recv, Some(LIST_TIMEOUT))?;
        Ok(Self { events, lists })
    }

    /// Starts the thread. `is_device` says whose conversations are told of; `failure` holds why they are not followed, for as
    /// long as that is so.
    ///
    /// # Errors
    /// No thread.
    pub fn start(
        self,
        is_device: impl Fn(IpAddr) -> bool + Send + 'static,
        observations: Sender<Observation>,
        metrics: Arc<Metrics>,
        failure: Failure,
    ) -> io::Result<Tracker> {
        let stop = Arc::new(AtomicBool::new(false));
        let outlet = Outlet { is_device: Box::new(is_device), observations, metrics, told: HashMap::new() };
        let worker = Worker { sockets: self, outlet, sequence: 0, failure, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("conntrack".to_owned()).spawn(move || worker.run())?;
        Ok(Tracker { stop, thread: Some(thread) })
    }
}

/// The running thread; it ends with this.
pub struct Tracker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows connection tracking ended badly");
        }
    }
}

struct Worker {
    sockets: Tracking,
    outlet: Outlet,
    sequence: u32,
    failure: Failure,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) {
        let mut buffer = BytesMut::with_capacity(DATAGRAM_BYTES);
        // What was carried before this began is not of these ten minutes.
        let mut next_list_ns = boot_ns();
        let mut is_first = true;
        while !self.stop.load(Relaxed) {
            let read = wait(&self.sockets.events).and_then(|ready| if ready { self.read(&mut buffer) } else { Ok(()) });
            if note(&self.failure, &self.outlet.metrics, read.err().as_ref()) {
                std::thread::sleep(RETRY_PAUSE);
            }
            if boot_ns() >= next_list_ns {
                if let Err(error) = self.list(&mut buffer, is_first) {
                    self.outlet.metrics.fail_open("conntrack").inc();
                    tracing::warn!(%error, "what long conversations carry could not be read");
                }
                is_first = false;
                next_list_ns = boot_ns() + LIST_EVERY_NS;
            }
        }
    }

    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<()> {
        for _ in 0..DATAGRAMS_PER_WAKE {
            buffer.clear();
            match self.sockets.events.recv(buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // More came than the buffer holds: how many events were lost, nobody says.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.outlet.metrics.conversations_lost.inc();
                    continue;
                }
                Err(error) => return Err(error),
            }
            let at_ms = boot_ns() / 1_000_000;
            wire::words(buffer, |word| match word {
                Word::Is(entry) => self.outlet.began(&entry, at_ms),
                Word::Over(entry) => self.outlet.over(&entry, at_ms),
                Word::Done | Word::Refused => {}
            });
        }
        std::thread::sleep(FLOOD_PAUSE);
        Ok(())
    }

    /// Goes through all conversations, one datagram in memory at a time.
    fn list(&mut self, buffer: &mut BytesMut, is_first: bool) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.sockets.lists.send(&wire::list_request(self.sequence), 0)?;
        let mut seen = HashMap::new();
        loop {
            buffer.clear();
            self.sockets.lists.recv(buffer, 0)?;
            let at_ms = boot_ns() / 1_000_000;
            let (mut is_done, mut is_refused) = (false, false);
            wire::words(buffer, |word| match word {
                Word::Is(entry) => {
                    let told = if is_first { self.outlet.known(&entry) } else { self.outlet.goes_on(&entry, at_ms) };
                    if let Some(told) = told.filter(|_| seen.len() < TOLD_MAX) {
                        seen.insert(entry.id, told);
                    }
                }
                Word::Over(_) => {}
                Word::Done => is_done = true,
                Word::Refused => is_refused = true,
            });
            if is_refused {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            if is_done {
                // Whose end was lost is forgotten here.
                self.outlet.told = seen;
                return Ok(());
            }
        }
    }
}

/// Says once that connection tracking is not followed, and once that it is again. Whether it is not.
fn note(failure: &Failure, metrics: &Metrics, error: Option<&io::Error>) -> bool {
    let had_failed = failure.load().is_some();
    match error {
        Some(error) if !had_failed => {
            metrics.fail_open("conntrack").inc();
            let what = format!(
                "connection tracking cannot be followed: {error}; calls home and uploads of LAN devices are not looked \
                 for until it can"
            );
            tracing::error!("{what}");
            failure.store(Some(Arc::new(what)));
        }
        None if had_failed => {
            tracing::info!("connection tracking is followed again");
            failure.store(None);
        }
        _ => {}
    }
    error.is_some()
}

fn wait(socket: &Socket) -> io::Result<bool> {
    let timeout = Timespec::try_from(STOP_INTERVAL).map_err(io::Error::other)?;
    let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
    match poll(&mut polled, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Where observations go, and what was told of long conversations.
struct Outlet {
    is_device: Box<dyn Fn(IpAddr) -> bool + Send>,
    observations: Sender<Observation>,
    metrics: Arc<Metrics>,
    told: HashMap<u32, (Counters, Counters)>,
}

impl Outlet {
    fn began(&self, entry: &Entry, at_ms: u64) {
        if (self.is_device)(entry.source) {
            self.send(entry, at_ms, ConversationEvent::Began);
        }
    }

    fn over(&mut self, entry: &Entry, at_ms: u64) {
        if !(self.is_device)(entry.source) {
            return;
        }
        let told = self.told.remove(&entry.id).unwrap_or_default();
        if let Some(now) = entry.counters {
            self.carried(entry, at_ms, told, now);
        }
    }

    /// What a conversation carried so far, when it is much and a device's; told to nobody.
    fn known(&self, entry: &Entry) -> Option<(Counters, Counters)> {
        let counters = entry.counters.filter(|(sent, received)| sent.bytes + received.bytes >= TOLD_BYTES_MIN)?;
        (self.is_device)(entry.source).then_some(counters)
    }

    /// Tells what a long conversation carried, when it is much, and returns what is told of it now.
    fn goes_on(&self, entry: &Entry, at_ms: u64) -> Option<(Counters, Counters)> {
        if !(self.is_device)(entry.source) {
            return None;
        }
        let (told, now) = (self.told.get(&entry.id).copied(), entry.counters?);
        let before = told.unwrap_or_default();
        let fresh = now.0.bytes.saturating_sub(before.0.bytes) + now.1.bytes.saturating_sub(before.1.bytes);
        if fresh < TOLD_BYTES_MIN || (told.is_none() && self.told.len() >= TOLD_MAX) {
            return told;
        }
        self.carried(entry, at_ms, before, now);
        Some(now)
    }

    fn carried(&self, entry: &Entry, at_ms: u64, before: (Counters, Counters), now: (Counters, Counters)) {
        let event = ConversationEvent::Carried {
            sent_bytes: now.0.bytes.saturating_sub(before.0.bytes),
            received_bytes: now.1.bytes.saturating_sub(before.1.bytes),
            sent_packets: now.0.packets.saturating_sub(before.0.packets),
        };
        self.send(entry, at_ms, event);
    }

    fn send(&self, entry: &Entry, at_ms: u64, event: ConversationEvent) {
        let Entry { source, destination, port, transport, .. } = *entry;
        let seen = ConversationObservation { at_ms, source, destination, port, transport, event };
        match self.observations.try_send(Observation::Conversation(seen)) {
            Ok(()) => self.metrics.conversations.inc(),
            Err(_) => self.metrics.conversations_lost.inc(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_for_as_long_as_it_lasts() {
        let (failure, metrics) = (Failure::default(), Metrics::new().expect("metrics"));
        let error = io::Error::from(io::ErrorKind::NotConnected);
        let fail_open = metrics.fail_open("conntrack");
        for _ in 0..3 {
            assert!(note(&failure, &metrics, Some(&error)));
        }
        assert!(failure.load_full().expect("a failure").contains("cannot be followed"));
        assert_eq!(fail_open.get(), 1, "told once");
        assert!(!note(&failure, &metrics, None));
        assert!(failure.load().is_none());
    }
}
