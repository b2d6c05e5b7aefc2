//! Enters: the passing of time. Leaves: ended decisions, counts read back from the kernel, a protected set that follows
//! the box's addresses. Once a second on one thread of its own; it must never be needed for a ban to hold or to end.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use hashbrown::HashMap;
use ipnet::IpNet;
use parking_lot::Mutex;

use super::{actor::Actor, rules::RuleRunner};
use crate::{
    clock::Now,
    config::Config,
    enforce::{Enforcer, ProtectedSet},
    flow::LocalNetworks,
    intel::Feeds,
    metrics::Metrics,
    proxy::ProxyCounters,
    store::{Store, Write},
    xdp::{DropReason, Kernel, KernelLosses, Verdict},
};

const INTERVAL: Duration = Duration::from_secs(1);
/// Every so many rounds the counts of bans are read back and stored.
const READ_BACK_ROUNDS: u64 = 5;
/// Every so many rounds the box's own addresses, gateways and resolvers are looked up again.
const DISCOVER_ROUNDS: u64 = 10;

/// The proxy's count of requests that passed because the classifier was late.
const JUDGE_LATE: &str = "judge_late";
/// Its count of requests that passed because their inspection by rules was late.
const RULES_LATE: &str = "rules_late";

/// What upkeep works on.
pub(super) struct Upkeep {
    pub(super) actor: Arc<Actor>,
    pub(super) enforcer: Arc<Enforcer>,
    pub(super) store: Arc<Store>,
    pub(super) feeds: Arc<Feeds>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) kernel: Option<Arc<Mutex<Kernel>>>,
    /// Kept up to date with the addresses of LAN interfaces.
    pub(super) local: Arc<ArcSwap<LocalNetworks>>,
    pub(super) counters: Arc<ProxyCounters>,
    pub(super) rules: Arc<RuleRunner>,
    /// Ends the thread when its sender is gone.
    pub(super) stop: Receiver<()>,
}

impl Upkeep {
    pub(super) fn start(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("upkeep".into()).spawn(move || self.run())
    }

    fn run(self) {
        let mut seen = HashMap::new();
        let mut lost = KernelLosses::default();
        let mut events = HashMap::new();
        let mut protected = self.enforcer.protected_networks();
        for round in 1_u64.. {
            if self.stop.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                break;
            }
            let now = Now::read();
            self.actor.sweep(now);
            self.count_verdicts(&mut seen);
            self.count_losses(&mut lost);
            self.count_proxy_events(&mut events);
            self.rules.tell_collections();
            if round % READ_BACK_ROUNDS == 0 {
                self.read_back(now);
            }
            if round % DISCOVER_ROUNDS == 0 {
                self.discover(&mut protected, now);
            }
        }
        // The last word on what each ban stopped.
        self.read_back(Now::read());
    }

    fn read_back(&self, now: Now) {
        self.feeds.take_hits(now);
        match self.enforcer.read_back() {
            Ok(hits) if hits.is_empty() => {}
            Ok(hits) => self.store.record(Write::Hits { hits, now }),
            Err(error) => tracing::warn!(%error, "what bans stopped could not be read back"),
        }
    }

    fn discover(&self, known: &mut Vec<IpNet>, now: Now) {
        if let Some(Err(error)) = self.kernel.as_ref().map(|kernel| kernel.lock().refresh_syn_cookies()) {
            tracing::warn!(%error, "the box's addresses are not up to date in the kernel: SYN cookies");
        }
        let config = self.config.load();
        let local = super::local_networks(&config);
        if **self.local.load() != local {
            self.actor.with_policy(|policy| policy.set_local(local.clone()));
            self.local.store(Arc::new(local));
        }
        protect(&config, &self.enforcer, &self.actor, now);
        let protected = self.enforcer.protected_networks();
        if *known != protected {
            *known = protected;
            self.feeds.protection_changed();
        }
    }

    /// Adds what the kernel counted since the last round: its counters only grow while the program is pinned, and begin
    /// anew with an interface that went and came back.
    fn count_verdicts(&self, seen: &mut HashMap<(String, &'static str), (u64, u64)>) {
        let Some(kernel) = &self.kernel else { return };
        let counts = match kernel.lock().verdicts() {
            Ok(counts) => counts,
            Err(error) => {
                tracing::warn!(%error, "the kernel's counters could not be read");
                return;
            }
        };
        for count in counts {
            let (action, reason) = labels_of(count.verdict);
            let labels = [count.interface.as_str(), action, reason];
            if !seen.keys().any(|(interface, _)| *interface == count.interface) {
                declare_verdicts(&self.metrics, &count.interface);
            }
            let before = seen.entry((count.interface.clone(), reason)).or_default();
            self.metrics.kernel_packets.with_label_values(&labels).inc_by(grown(before.0, count.packets));
            self.metrics.kernel_bytes.with_label_values(&labels).inc_by(grown(before.1, count.bytes));
            *before = (count.packets, count.bytes);
        }
    }

    fn count_losses(&self, seen: &mut KernelLosses) {
        let Some(kernel) = &self.kernel else { return };
        // A failure has been said by `count_verdicts`.
        let Ok(losses) = kernel.lock().losses() else { return };
        for (what, before, now) in [
            ("events", seen.events, losses.events),
            ("sources", seen.sources, losses.sources),
            ("sketched", seen.sketched, losses.sketched),
        ] {
            self.metrics.kernel_lost.with_label_values(&[what]).inc_by(grown(before, now));
        }
        *seen = losses;
    }

    fn count_proxy_events(&self, seen: &mut HashMap<&'static str, u64>) {
        for (event, total) in self.counters.totals() {
            let fresh = total.saturating_sub(seen.insert(event, total).unwrap_or(0));
            self.metrics.proxy_events.with_label_values(&[event]).inc_by(fresh);
            if event == JUDGE_LATE {
                self.metrics.fail_open("model").inc_by(fresh);
            }
            if event == RULES_LATE {
                self.metrics.fail_open("rules").inc_by(fresh);
            }
        }
    }
}

const fn grown(before: u64, now: u64) -> u64 {
    if now >= before { now - before } else { now }
}

/// The labels `action` and `reason` of a verdict.
const fn labels_of(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Pass => ("pass", "none"),
        Verdict::Drop(reason) => ("drop", reason.as_str()),
        Verdict::SynCookie => ("answer", verdict.as_str()),
    }
}

/// Every verdict's counters at 0: an alert on a rate sees the first drop only when there was a 0 before it.
fn declare_verdicts(metrics: &Metrics, interface: &str) {
    let drops = DropReason::ALL.iter().map(|reason| Verdict::Drop(*reason));
    for (action, reason) in drops.chain([Verdict::Pass, Verdict::SynCookie]).map(labels_of) {
        let labels = [interface, action, reason];
        metrics.kernel_packets.with_label_values(&labels).inc_by(0);
        metrics.kernel_bytes.with_label_values(&labels).inc_by(0);
    }
}

/// Brings the protected set up to date on every plane.
pub(super) fn protect(config: &Config, enforcer: &Enforcer, actor: &Actor, now: Now) {
    if let Err(error) = enforcer.set_protected(ProtectedSet::discover(config), now) {
        tracing::error!(%error, "the kernel's protected set is not up to date");
    }
    actor.with_policy(|policy| policy.set_protected(enforcer.protected_networks()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_to_drop_has_a_row_of_its_own_from_the_start() {
        let metrics = Metrics::new().unwrap();
        declare_verdicts(&metrics, "eth0");
        let text = metrics.text().unwrap();
        for name in ["qantra_kernel_packets_total", "qantra_kernel_bytes_total"] {
            for reason in DropReason::ALL {
                let row = format!("{name}{{action=\"drop\",iface=\"eth0\",reason=\"{}\"}} 0\n", reason.as_str());
                assert!(text.contains(&row), "{row} is not in\n{text}");
                let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                assert!(reason.as_str().chars().all(fits), "{}", reason.as_str());
            }
            let rows = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
            assert_eq!(rows.count(), DropReason::ALL.len() + 2, "each reason, what passes, what is answered");
        }
    }
}
