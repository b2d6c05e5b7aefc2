//! Enters: the kernel's ring buffer and source table. Leaves: [`Observation::Packets`], each the difference to what was
//! told of that source before, and sampled drops through a callback. It must never block on whoever listens: a full
//! channel loses the observation, and that is counted.
//!
//! One thread sleeps in poll(2) on the ring buffer until something is reported or the window ends; then it takes the
//! whole source table out by batches. An idle box costs one scan of an empty table per window.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use crossbeam_channel::{Sender, TrySendError};
use qantra_common::{
    map::{ROLE_LAN, SourceCounters},
    packet::Address,
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::{
    clock::boot_ns,
    config::Role,
    flow::{Observation, PacketObservation},
    xdp::{DropEvent, EventStream, KernelEvent, SourceTable, ip_of},
};

/// What the collector did so far.
#[derive(Debug, Default)]
pub struct CollectorStats {
    /// Observations sent.
    pub observations: AtomicU64,
    /// Observations lost because the channel was full.
    pub observations_lost: AtomicU64,
    /// Reports that came before their window ended.
    pub reports: AtomicU64,
    /// Scans of the source table.
    pub scans: AtomicU64,
    /// Scans that failed; the next one is tried all the same.
    pub scans_failed: AtomicU64,
}

/// The running collector. Dropping it stops the thread and waits for it.
pub struct Collector {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
    stats: Arc<CollectorStats>,
}

impl Collector {
    /// Starts the thread. `on_drop` gets every sampled drop, on that thread.
    ///
    /// # Errors
    /// No thread or no descriptor.
    pub fn spawn(
        events: EventStream,
        sources: SourceTable,
        window_ms: u32,
        observations: Sender<Observation>,
        on_drop: impl Fn(&DropEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let stats = Arc::new(CollectorStats::default());
        let window_ns = u64::from(window_ms.max(1)) * NS_PER_MS;
        let start_ns = boot_ns();
        let worker = Worker {
            events,
            sources,
            window_ns,
            deltas: Deltas::new(start_ns),
            outlet: Outlet { observations, stats: Arc::clone(&stats) },
            on_drop,
        };
        let stop_seen = stop.try_clone()?;
        let thread = std::thread::Builder::new().name("collect".to_owned()).spawn(move || worker.run(&stop_seen))?;
        Ok(Self { stop, thread: Some(thread), stats })
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> &CollectorStats {
        &self.stats
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _told = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}

const NS_PER_MS: u64 = 1_000_000;

struct Worker<F> {
    events: EventStream,
    sources: SourceTable,
    window_ns: u64,
    deltas: Deltas,
    outlet: Outlet,
    on_drop: F,
}

/// Where observations go.
struct Outlet {
    observations: Sender<Observation>,
    stats: Arc<CollectorStats>,
}

impl Outlet {
    fn send(&self, observation: PacketObservation) {
        let counter = match self.observations.try_send(Observation::Packets(observation)) {
            Ok(()) => &self.stats.observations,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => &self.stats.observations_lost,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl<F: Fn(&DropEvent)> Worker<F> {
    fn run(mut self, stop: &OwnedFd) {
        let mut next_scan_ns = boot_ns() + self.window_ns;
        loop {
            let wait_ns = next_scan_ns.saturating_sub(boot_ns());
            let timeout = rustix::event::Timespec {
                tv_sec: (wait_ns / 1_000_000_000).cast_signed(),
                tv_nsec: (wait_ns % 1_000_000_000).cast_signed() as _,
            };
            let mut fds = [PollFd::new(&self.events, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
            if let Err(error) = poll(&mut fds, Some(&timeout))
                && error != rustix::io::Errno::INTR
            {
                tracing::error!(%error, "the collector cannot wait for the kernel's events and ends");
                return;
            }
            if fds[1].revents().contains(PollFlags::IN) {
                return;
            }
            self.read_events();
            let now_ns = boot_ns();
            if now_ns >= next_scan_ns {
                self.scan(now_ns);
                // Counted from now, not from when it was due: after a suspend there is nothing to catch up with.
                next_scan_ns = now_ns + self.window_ns;
            }
        }
    }

    fn read_events(&mut self) {
        // Bounded: a flood of events must not keep the scan from its time.
        for _ in 0..EVENTS_PER_WAKE {
            match self.events.next_event() {
                Some(KernelEvent::Source(report)) => {
                    self.outlet.stats.reports.fetch_add(1, Ordering::Relaxed);
                    if let Some(seen) = self.deltas.report(report.source, report.counters, report.at_boot_ns) {
                        self.outlet.send(seen);
                    }
                }
                Some(KernelEvent::Drop(event)) => (self.on_drop)(&event),
                None => return,
            }
        }
    }

    fn scan(&mut self, now_ns: u64) {
        let Self { sources, deltas, outlet, .. } = self;
        let drained = sources.drain(|source, counters| {
            if let Some(seen) = deltas.drained(source, *counters, now_ns) {
                outlet.send(seen);
            }
        });
        outlet.stats.scans.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = drained {
            outlet.stats.scans_failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "the source table could not be read");
        }
        deltas.next_window(now_ns);
    }
}

const EVENTS_PER_WAKE: usize = 16_384;

/// What was told of each source in the running window, so that nothing is told twice.
#[derive(Debug)]
struct Deltas {
    window_start_ns: u64,
    /// Only sources that were reported early are in it: at most as many as the ring buffer held in one window.
    told: HashMap<Address, Told>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    counters: SourceCounters,
    at_ns: u64,
}

impl Deltas {
    fn new(window_start_ns: u64) -> Self {
        Self { window_start_ns, told: HashMap::new() }
    }

    /// A report from the ring buffer; `None` when a scan has told all of it already.
    fn report(&mut self, source: Address, counters: SourceCounters, at_ns: u64) -> Option<PacketObservation> {
        // The last scan took out, and told, every entry that was older than itself.
        if counters.since_boot_ns < self.window_start_ns {
            return None;
        }
        let seen = self.difference(source, &counters, at_ns)?;
        self.told.insert(source, Told { counters, at_ns });
        Some(seen)
    }

    /// An entry that a scan took out.
    fn drained(&mut self, source: Address, counters: SourceCounters, now_ns: u64) -> Option<PacketObservation> {
        let seen = self.difference(source, &counters, now_ns);
        self.told.remove(&source);
        seen
    }

    fn next_window(&mut self, start_ns: u64) {
        self.window_start_ns = start_ns;
        self.told.clear();
    }

    /// `None` when nothing came since the source was told of last.
    fn difference(&self, source: Address, now: &SourceCounters, at_ns: u64) -> Option<PacketObservation> {
        // Another start of the entry means that it was evicted and came back: then it counts from zero.
        let told = self.told.get(&source).filter(|told| told.counters.since_boot_ns == now.since_boot_ns);
        let zero = SourceCounters::default();
        let (before, since_ns) = told.map_or((&zero, self.window_start_ns), |told| (&told.counters, told.at_ns));
        let packets = now.packets.saturating_sub(before.packets);
        if packets == 0 {
            return None;
        }
        let ports = estimate_ports(&now.ports).saturating_sub(estimate_ports(&before.ports));
        Some(PacketObservation {
            at_ms: at_ns / NS_PER_MS,
            window_ms: u32::try_from(at_ns.saturating_sub(since_ns) / NS_PER_MS).unwrap_or(u32::MAX).max(1),
            source: ip_of(source),
            role: if now.role == ROLE_LAN { Role::Lan } else { Role::Wan },
            packets,
            bytes: now.bytes.saturating_sub(before.bytes),
            tcp_syn: now.tcp_syn.saturating_sub(before.tcp_syn),
            tcp_rst: now.tcp_rst.saturating_sub(before.tcp_rst),
            udp: now.udp.saturating_sub(before.udp),
            icmp: now.icmp.saturating_sub(before.icmp),
            distinct_ports: ports,
            port_map: now.ports,
            host_map: now.hosts,
        })
    }
}

/// Linear counting (Whang, Vander-Zanden, Taylor 1990) over the 256 bits: `-m ln(zero bits / m)`. A full map says 1,419.
fn estimate_ports(ports: &[u64; 4]) -> u32 {
    const BITS: f64 = 256.0;
    let zeros = ports.iter().map(|word| word.count_zeros()).sum::<u32>().max(1);
    (-BITS * (f64::from(zeros) / BITS).ln()).round() as u32
}

#[cfg(test)]
mod tests {
    use qantra_common::map::port_bit;

    use super::*;

    const SOURCE: Address = Address::v4(u32::from_ne_bytes([192, 0, 2, 7]));

    fn counters(since_boot_ns: u64, packets: u64, ports: std::ops::Range<u16>) -> SourceCounters {
        let mut counters = SourceCounters { since_boot_ns, packets, bytes: packets * 60, ..Default::default() };
        for port in ports {
            let (word, mask) = port_bit(port);
            counters.ports[word] |= mask;
        }
        counters
    }

    #[test]
    fn reports_and_the_scan_add_up_to_what_was_counted() {
        let mut deltas = Deltas::new(1_000);
        let ms = NS_PER_MS;
        let first = deltas.report(SOURCE, counters(2_000, 200, 1..20), 5 * ms).map(|o| (o.packets, o.window_ms));
        assert_eq!(first, Some((200, 4)));
        let second = deltas.report(SOURCE, counters(2_000, 400, 1..40), 7 * ms).map(|o| (o.packets, o.window_ms));
        assert_eq!(second, Some((200, 2)));
        let last = deltas.drained(SOURCE, counters(2_000, 450, 1..40), 1_000 * ms);
        assert_eq!(last.map(|o| (o.packets, o.bytes, o.distinct_ports)), Some((50, 3_000, 0)));
        deltas.next_window(1_000 * ms);
        assert_eq!(deltas.report(SOURCE, counters(2_000, 400, 1..40), 7 * ms), None, "told by the scan already");
    }

    #[test]
    fn a_source_that_was_evicted_and_came_back_counts_from_zero() {
        let mut deltas = Deltas::new(0);
        deltas.report(SOURCE, counters(10, 200, 0..0), 100);
        let back = deltas.drained(SOURCE, counters(5_000, 3, 0..0), 10_000);
        assert_eq!(back.map(|o| o.packets), Some(3));
    }

    #[test]
    fn nothing_new_is_not_an_observation() {
        let mut deltas = Deltas::new(0);
        deltas.report(SOURCE, counters(10, 200, 0..0), 100);
        assert_eq!(deltas.drained(SOURCE, counters(10, 200, 0..0), 10_000), None);
    }

    #[test]
    fn ports_are_estimated_within_a_fifth_up_to_some_hundreds() {
        for ports in [0_u16, 1, 10, 25, 60, 150, 400] {
            let estimate = f64::from(estimate_ports(&counters(0, 1, 1_000..1_000 + ports).ports));
            let error = (estimate - f64::from(ports)).abs();
            assert!(error <= f64::from(ports) * 0.2 + 1.0, "{ports} ports estimated as {estimate}");
        }
        assert_eq!(estimate_ports(&[u64::MAX; 4]), 1_420);
    }
}
