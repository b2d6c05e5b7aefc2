//! Enters: that someone watches. Leaves: rates of everything that can be watched, once an interval. Nothing is metered
//! while nobody watches, and no request or packet waits for a watcher.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::{
    api::{TopDecision, TopInterface, TopProgram, TopReason, TopSnapshot, TopSource, Watch},
    clock::Now,
    decide::DecisionId,
    enforce::{DecisionHits, Enforcer},
    flow::{Observation, SourceMeter, SourceRate},
    metrics::Metrics,
    xdp::{Kernel, Verdict},
};

/// Most sources by each measure, most decisions and most reasons in a snapshot.
const ROWS_MAX: usize = 100;
/// How often the analysis thread writes its board while someone watches.
const BOARD_EVERY_MS: u64 = 500;
/// With more bans than that in the kernel, reading them all back each second would be felt.
const BANS_READ_EACH_TIME: usize = 4_096;
/// Then they are read each so many times.
const READ_BACK_EVERY: u64 = 5;

/// Where the analysis thread writes rates for watchers.
#[derive(Debug, Default)]
pub(super) struct SourceBoard {
    watchers: AtomicUsize,
    latest: ArcSwap<(Vec<SourceRate>, usize)>,
}

/// The analysis thread's side of the board.
pub(super) struct BoardWriter {
    board: Arc<SourceBoard>,
    window_ms: u32,
    meter: Option<SourceMeter>,
    written_ms: u64,
}

impl BoardWriter {
    pub(super) const fn new(board: Arc<SourceBoard>, window_ms: u32) -> Self {
        Self { board, window_ms, meter: None, written_ms: 0 }
    }

    /// Meters an observation, if someone watches.
    pub(super) fn observe(&mut self, observation: &Observation) {
        if let (Some(meter), Observation::Packets(seen)) = (&mut self.meter, observation) {
            meter.add(seen);
        }
    }

    /// Writes the board when it is time, and stops metering when nobody watches any more.
    pub(super) fn tick(&mut self, now_ms: u64) {
        if self.board.watchers.load(Ordering::Relaxed) == 0 {
            if self.meter.take().is_some() {
                self.board.latest.store(Arc::default());
            }
            return;
        }
        let meter = self.meter.get_or_insert_with(|| SourceMeter::new(self.window_ms, rand::random()));
        if now_ms.saturating_sub(self.written_ms) >= BOARD_EVERY_MS {
            self.written_ms = now_ms;
            self.board.latest.store(Arc::new(meter.top(now_ms, ROWS_MAX)));
        }
    }
}

/// One watcher, with what it saw last.
pub(super) struct Watcher {
    board: Arc<SourceBoard>,
    kernel: Option<Arc<Mutex<Kernel>>>,
    enforcer: Arc<Enforcer>,
    metrics: Arc<Metrics>,
    looks: u64,
    at_boot_ns: u64,
    requests: u64,
    verdicts: HashMap<(String, Verdict), (u64, u64)>,
    programs: HashMap<&'static str, (u64, u64)>,
    hits: HashMap<DecisionId, DecisionHits>,
    hits_at_boot_ns: u64,
    decisions: Vec<TopDecision>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.board.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The difference of two counts as a rate.
fn per_s(now: u64, before: u64, seconds: f64) -> f64 {
    now.saturating_sub(before) as f64 / seconds
}

impl Watcher {
    pub(super) fn new(
        board: Arc<SourceBoard>,
        kernel: Option<Arc<Mutex<Kernel>>>,
        enforcer: Arc<Enforcer>,
        metrics: Arc<Metrics>,
    ) -> Self {
        board.watchers.fetch_add(1, Ordering::Relaxed);
        Self {
            board,
            kernel,
            enforcer,
            metrics,
            looks: 0,
            at_boot_ns: 0,
            requests: 0,
            verdicts: HashMap::new(),
            programs: HashMap::new(),
            hits: HashMap::new(),
            hits_at_boot_ns: 0,
            decisions: Vec::new(),
        }
    }

    fn look_at_kernel(&mut self, seconds: f64, snapshot: &mut TopSnapshot) {
        let Some(kernel) = self.kernel.clone() else { return };
        let kernel = kernel.lock();
        for status in kernel.status() {
            snapshot.interfaces.push(TopInterface {
                name: status.name.clone(),
                role: status.role,
                hook: status.rung.as_str().to_owned(),
                ..TopInterface::default()
            });
        }
        match kernel.verdicts() {
            Ok(counts) => counts.into_iter().for_each(|count| self.add_verdict(count, seconds, snapshot)),
            Err(error) => snapshot.warnings.push(format!("the kernel's counters could not be read: {error}")),
        }
        for cost in kernel.program_costs() {
            let before = self.programs.insert(cost.name, (cost.run_time_ns, cost.runs)).unwrap_or_default();
            let (time_ns, runs) = (cost.run_time_ns.saturating_sub(before.0), cost.runs.saturating_sub(before.1));
            if runs > 0 {
                snapshot.programs.push(TopProgram {
                    name: cost.name.to_owned(),
                    runs_per_s: runs as f64 / seconds,
                    ns_per_run: time_ns as f64 / runs as f64,
                    cpu_share: time_ns as f64 / (seconds * 1e9),
                });
            }
        }
    }

    fn add_verdict(&mut self, count: crate::xdp::VerdictCount, seconds: f64, snapshot: &mut TopSnapshot) {
        let key = (count.interface.clone(), count.verdict);
        let before = self.verdicts.insert(key, (count.packets, count.bytes)).unwrap_or_default();
        let packets_per_s = per_s(count.packets, before.0, seconds);
        let bytes_per_s = per_s(count.bytes, before.1, seconds);
        if let Some(interface) = snapshot.interfaces.iter_mut().find(|known| known.name == count.interface) {
            interface.packets_per_s += packets_per_s;
            interface.bytes_per_s += bytes_per_s;
            if matches!(count.verdict, Verdict::Drop(_)) {
                interface.drops_per_s += packets_per_s;
            }
        }
        snapshot.packets_per_s += packets_per_s;
        match count.verdict {
            Verdict::Pass => return,
            Verdict::Drop(_) => snapshot.drops_per_s += packets_per_s,
            Verdict::SynCookie => {}
        }
        let reason = count.verdict.as_str();
        let place = snapshot.reasons.iter().position(|known| known.reason == reason);
        let place = place.unwrap_or_else(|| {
            snapshot.reasons.push(TopReason { reason: reason.to_owned(), ..TopReason::default() });
            snapshot.reasons.len() - 1
        });
        let row = &mut snapshot.reasons[place];
        row.packets_per_s += packets_per_s;
        row.bytes_per_s += bytes_per_s;
        row.packets += count.packets;
    }

    /// What each decision stopped since the last reading. Reading all bans back is dear when they are many.
    fn look_at_decisions(&mut self, now: Now) {
        let summary = self.enforcer.summary();
        if summary.kernel_bans > BANS_READ_EACH_TIME && !self.looks.is_multiple_of(READ_BACK_EVERY) {
            return;
        }
        let Ok(hits) = self.enforcer.read_back() else { return };
        let seconds = now.boot_ns.saturating_sub(self.hits_at_boot_ns).max(1) as f64 / 1e9;
        let before = std::mem::take(&mut self.hits);
        let is_first = std::mem::replace(&mut self.hits_at_boot_ns, now.boot_ns) == 0;
        self.decisions.clear();
        for (id, hits) in &hits {
            let old = before.get(id).copied().unwrap_or_default();
            let (packets, requests) = (hits.kernel.packets, hits.requests);
            if is_first || (packets, requests) == (old.kernel.packets, old.requests) {
                continue;
            }
            self.decisions.push(TopDecision {
                id: *id,
                scope: crate::decide::Scope(ipnet::IpNet::default()),
                action: crate::decide::Action::Block,
                reason: String::new(),
                packets_per_s: per_s(packets, old.kernel.packets, seconds),
                bytes_per_s: per_s(hits.kernel.bytes, old.kernel.bytes, seconds),
                requests_per_s: per_s(requests, old.requests, seconds),
                packets,
                requests,
            });
        }
        self.hits = hits.into_iter().collect();
        let rate = |decision: &TopDecision| decision.packets_per_s + decision.requests_per_s;
        self.decisions.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
        self.decisions.truncate(ROWS_MAX);
        self.decisions.retain_mut(|row| match self.enforcer.get(row.id) {
            Some(decision) => {
                (row.scope, row.action) = (decision.scope, decision.action);
                row.reason.clone_from(&decision.reason);
                true
            }
            None => false,
        });
    }

    fn look_at_sources(&self, now: Now, snapshot: &mut TopSnapshot) {
        let board = self.board.latest.load();
        snapshot.sources_sending = board.1;
        let passed = board.0.iter().map(|rate| TopSource {
            address: rate.address,
            packets_per_s: rate.packets_per_s,
            bytes_per_s: rate.bytes_per_s,
            tcp_syn_per_s: rate.tcp_syn_per_s,
            udp_per_s: rate.udp_per_s,
            icmp_per_s: rate.icmp_per_s,
            dropped_per_s: 0.0,
            decision: None,
            action: None,
        });
        snapshot.sources = passed.collect();
        // The kernel does not count a banned source's packets by source, but by its ban.
        for decision in self.decisions.iter().filter(|decision| decision.packets_per_s > 0.0) {
            let Some(address) = decision.scope.single() else { continue };
            match snapshot.sources.iter_mut().find(|source| source.address == address) {
                Some(source) => {
                    source.dropped_per_s = decision.packets_per_s;
                    source.bytes_per_s += decision.bytes_per_s;
                }
                None => snapshot.sources.push(TopSource {
                    address,
                    packets_per_s: 0.0,
                    bytes_per_s: decision.bytes_per_s,
                    tcp_syn_per_s: 0.0,
                    udp_per_s: 0.0,
                    icmp_per_s: 0.0,
                    dropped_per_s: decision.packets_per_s,
                    decision: None,
                    action: None,
                }),
            }
        }
        for source in &mut snapshot.sources {
            let standing = self.enforcer.look_up(source.address, now.boot_ns);
            source.decision = standing.and_then(|standing| standing.decision);
            source.action = standing.map(|standing| standing.action);
        }
        snapshot.sources.sort_by(|a, b| b.all_per_s().total_cmp(&a.all_per_s()).then(a.address.cmp(&b.address)));
    }
}

impl Watch for Watcher {
    fn look(&mut self) -> TopSnapshot {
        let now = Now::read();
        let seconds = now.boot_ns.saturating_sub(self.at_boot_ns).max(1) as f64 / 1e9;
        let requests = self.metrics.requests_total();
        let mut snapshot = TopSnapshot {
            at_unix_ms: now.unix_ms,
            interval_ms: (seconds * 1_000.0) as u64,
            requests_per_s: per_s(requests, self.requests, seconds),
            in_force: self.enforcer.summary(),
            ..TopSnapshot::default()
        };
        self.requests = requests;
        self.look_at_kernel(seconds, &mut snapshot);
        self.look_at_decisions(now);
        self.look_at_sources(now, &mut snapshot);
        snapshot.decisions.clone_from(&self.decisions);
        snapshot.reasons.sort_by(|a, b| b.packets_per_s.total_cmp(&a.packets_per_s).then(b.packets.cmp(&a.packets)));
        let cpu: f64 = snapshot.programs.iter().map(|program| program.cpu_share).sum();
        snapshot.cpu_share = (!snapshot.programs.is_empty()).then_some(cpu);
        snapshot.ns_per_packet = (snapshot.packets_per_s > 0.0)
            .then(|| snapshot.cpu_share.map(|share| share * 1e9 / snapshot.packets_per_s))
            .flatten();
        if self.kernel.is_none() {
            snapshot.warnings.push("there is no kernel half: packets are not seen".into());
        }
        self.at_boot_ns = now.boot_ns;
        self.looks += 1;
        snapshot
    }
}
