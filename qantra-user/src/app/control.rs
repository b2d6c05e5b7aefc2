//! Enters: what people ask of the daemon. Leaves: its state, and changes to it. Called on threads that may block; it
//! must never hold a lock that the proxy's threads wait for.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{
    Stages,
    actor::Actor,
    conversations,
    drops::DropHub,
    learning::Learning,
    planes::Planes,
    rules::RuleKeeper,
    simulated_sites,
    top::{SourceBoard, Watcher},
    upkeep,
};
use crate::{
    api::{
        Control, ControlError, InterfaceStatus, Learned, ListenerStatus, Reloaded, RuleCount, RuledQuery, RuledRequest,
        SiteStatus, Status, SynCookieCounts, Tap, TargetStatus, Watch,
    },
    clock::Now,
    config::{self, Config},
    conntrack,
    decide::{Decision, DecisionId},
    enforce::{Applied, Ended, EnforceError, Enforcer},
    intel::Feeds,
    learn::{Sample, Sketcher},
    metrics::{self, Metrics},
    model::ModelLife,
    proxy::ReloadHandle,
    store::Store,
    xdp::{Kernel, Verdict},
};

/// The running daemon, as the control socket and signals see it.
pub(super) struct Daemon {
    started: Now,
    path: PathBuf,
    config: Arc<ArcSwap<Config>>,
    metrics: Arc<Metrics>,
    kernel: Option<Arc<Mutex<Kernel>>>,
    planes: Option<Arc<Planes>>,
    store: Arc<Store>,
    enforcer: Arc<Enforcer>,
    actor: Arc<Actor>,
    feeds: Arc<Feeds>,
    models: Arc<ModelLife>,
    proxy: ReloadHandle,
    board: Arc<SourceBoard>,
    drops: Arc<DropHub>,
    rules: Arc<RuleKeeper>,
    learning: Arc<Learning>,
    /// Why connection tracking is not followed.
    untracked: conntrack::Failure,
    /// One change of configuration or models at a time.
    changing: Mutex<()>,
}

impl Daemon {
    pub(super) fn new(stages: &Stages, proxy: ReloadHandle, untracked: conntrack::Failure) -> Self {
        Self {
            started: Now::read(),
            path: stages.path.clone(),
            config: Arc::clone(&stages.config),
            metrics: Arc::clone(&stages.metrics),
            kernel: stages.kernel.clone(),
            planes: stages.planes.clone(),
            store: Arc::clone(&stages.store),
            enforcer: Arc::clone(&stages.enforcer),
            actor: Arc::clone(&stages.actor),
            feeds: Arc::clone(&stages.feeds),
            models: Arc::clone(&stages.models),
            proxy,
            untracked,
            board: Arc::clone(&stages.board),
            drops: Arc::clone(&stages.drops),
            rules: Arc::clone(&stages.rules),
            learning: Arc::clone(&stages.learning),
            changing: Mutex::new(()),
        }
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        let Some(kernel) = &self.kernel else { return Vec::new() };
        let kernel = kernel.lock();
        let status = |interface: &crate::xdp::InterfaceStatus| InterfaceStatus {
            name: interface.name.clone(),
            role: interface.role,
            hook: Some(interface.rung.as_str().to_owned()),
            note: interface.why_not_higher.clone(),
        };
        let unattached = |interface: &crate::xdp::Unattached| InterfaceStatus {
            name: interface.name.clone(),
            role: interface.role,
            hook: None,
            note: Some(interface.reason.clone()),
        };
        kernel.status().iter().map(status).chain(kernel.unattached().iter().map(unattached)).collect()
    }

    fn syn_cookies(&self, config: &Config) -> Option<SynCookieCounts> {
        let kernel = self.kernel.as_ref()?.lock();
        let status = kernel.syn_cookies().ok()?;
        let answered = kernel.verdicts().ok()?.into_iter().filter(|count| count.verdict == Verdict::SynCookie);
        Some(SynCookieCounts {
            mode: config.kernel.syn_cookies.mode,
            is_on: status.is_on,
            answered: answered.map(|count| count.packets).sum(),
            not_needed: status.not_needed,
            failed: status.failed,
        })
    }

    fn warnings(&self, config: &Config) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.enforcer.is_simulation() {
            warnings.push("simulation is on: nothing is enforced; `qantra simulation off` ends it".to_owned());
        }
        if self.kernel.is_none() {
            warnings.push("no [[interface]] is configured: the proxy enforces alone".to_owned());
        }
        let refused = self.enforcer.summary().kernel_refused;
        if refused > 0 {
            warnings.push(format!(
                "the kernel half refused {refused} bans: the proxy enforces them alone; raise `kernel.bans_max` or \
                 `kernel.prefix_bans_max` and restart, or let some decisions end"
            ));
        }
        if !config.models.enabled {
            warnings.push("models are off by `models.enabled`".to_owned());
        }
        if conversations::is_wanted(config) {
            let failure = self.untracked.load_full().map(|problem| problem.to_string());
            warnings.extend(failure.or_else(conntrack::problem));
        }
        warnings.extend(self.rules.problem().map(|problem| format!("a change of rules is not in force: {problem}")));
        warnings.extend(self.planes.as_ref().and_then(|planes| planes.problem()));
        if let Some(kernel) = &self.kernel {
            let kernel = kernel.lock();
            for missing in kernel.unattached() {
                warnings.push(format!("nothing is enforced on interface `{}`: {}", missing.name, missing.reason));
            }
            warnings.extend(kernel.syn_cookies().ok().and_then(|status| status.problem));
            match kernel.losses() {
                Ok(losses) if losses.events + losses.sources > 0 => warnings.push(format!(
                    "the kernel half lost {} events and could not count {} packets' sources",
                    losses.events, losses.sources
                )),
                Ok(_) => {}
                Err(error) => warnings.push(format!("the kernel half cannot be read: {error}")),
            }
        }
        warnings
    }

    /// Puts changed rule files in force; on a mistake in them the old ones stay.
    pub(super) fn reload_rules(&self) {
        let _alone = self.changing.lock();
        let config = self.config.load_full();
        match self.rules.prepare(&config) {
            Ok(Some(sets)) => self.rules.put(&config, sets),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "rules not reloaded; the old ones stay in force"),
        }
    }
}

impl Control for Daemon {
    fn enforcer(&self) -> &Enforcer {
        &self.enforcer
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    fn apply(&self, decision: Decision, now: Now) -> Result<Applied, EnforceError> {
        self.actor.apply_manual(decision, now)
    }

    fn apply_all(&self, decisions: Vec<Decision>, now: Now) -> Vec<Result<Applied, EnforceError>> {
        self.actor.apply_manual_all(decisions, now)
    }

    fn end(&self, id: DecisionId, now: Now) -> Option<Ended> {
        self.actor.delete(id, now)
    }

    fn protection_changed(&self, now: Now) {
        upkeep::protect(&self.config.load(), &self.enforcer, &self.actor, now);
        self.feeds.protection_changed();
    }

    fn status(&self) -> Status {
        let config = self.config.load();
        let target = |site: &str, address: &str| TargetStatus {
            address: address.to_owned(),
            healthy: self.proxy.target_health(site, address),
        };
        let sites = config.sites.iter().map(|site| SiteStatus {
            name: site.name.clone(),
            hosts: site.hosts.clone(),
            targets: site.targets.iter().map(|t| target(&site.name, &t.address)).collect(),
            simulation: site.simulation,
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: (Now::read().boot_ns - self.started.boot_ns) / 1_000_000_000,
            config: self.path.clone(),
            simulation: self.enforcer.is_simulation(),
            interfaces: self.interfaces(),
            syn_cookies: self.syn_cookies(&config),
            listeners: config.listeners.iter().map(|l| ListenerStatus { address: l.address, tls: l.tls }).collect(),
            sites: sites.collect(),
            decisions: self.enforcer.summary(),
            feeds: self.feeds.summary(),
            models: self.models.list(),
            rules: self.rules.status(&config),
            store: self.store.health(),
            resident_bytes: metrics::resident_bytes(),
            warnings: self.warnings(&config),
        }
    }

    fn watch(&self) -> Box<dyn Watch> {
        Box::new(Watcher::new(
            Arc::clone(&self.board),
            self.kernel.clone(),
            Arc::clone(&self.enforcer),
            Arc::clone(&self.metrics),
        ))
    }

    fn tap(&self, sample: Option<u32>) -> Result<Tap, ControlError> {
        self.drops.tap(sample)
    }

    fn interface_name(&self, ifindex: u32) -> Option<String> {
        let kernel = self.kernel.as_ref()?.lock();
        kernel.status().iter().find(|status| status.ifindex == ifindex).map(|status| status.name.clone())
    }

    fn models(&self) -> &ModelLife {
        &self.models
    }

    fn sketcher(&self) -> Sketcher {
        self.learning.sketcher()
    }

    fn benign(&self) -> Vec<Sample> {
        self.learning.benign()
    }

    fn learned(&self) -> Learned {
        self.learning.report()
    }

    fn ruled_request(&self, id: &str) -> Vec<RuledRequest> {
        self.rules.journal().find(id)
    }

    fn ruled_requests(&self, query: &RuledQuery) -> Vec<RuledRequest> {
        self.rules.journal().recent(query)
    }

    fn top_rules(&self, site: Option<&str>) -> Vec<RuleCount> {
        self.rules.journal().top(site)
    }

    fn set_simulation(&self, on: bool) {
        self.actor.with_policy(|policy| policy.set_simulation(on));
        self.enforcer.set_simulation(on);
        self.feeds.simulation_changed();
    }

    fn reload(&self) -> Result<Reloaded, ControlError> {
        let _alone = self.changing.lock();
        let counted = |result: &str| self.metrics.reloads.with_label_values(&[result]).inc();
        let fresh = config::load(&self.path).inspect_err(|_| counted("failed"))?;
        let old = self.config.load_full();
        let fresh = Arc::new(fresh);
        if fresh.models != old.models {
            self.models.reconfigure(&fresh.models).map_err(|error| {
                counted("failed");
                ControlError::Model(Box::new(error))
            })?;
        }
        let rules = self.rules.prepare(&fresh).map_err(|error| {
            counted("failed");
            ControlError::Reload(Box::new(error))
        })?;
        self.proxy.reload(Arc::clone(&fresh)).map_err(|error| {
            counted("failed");
            ControlError::Reload(Box::new(error))
        })?;
        self.actor.with_policy(|policy| policy.reconfigure(fresh.policy.clone(), simulated_sites(&fresh)));
        if fresh.daemon.simulation != old.daemon.simulation {
            self.set_simulation(fresh.daemon.simulation);
        }
        if fresh.feeds != old.feeds {
            self.feeds.reconfigure(fresh.feeds.clone());
        }
        self.config.store(Arc::clone(&fresh));
        if let Some(rules) = rules {
            self.rules.put(&fresh, rules);
        }
        upkeep::protect(&fresh, &self.enforcer, &self.actor, Now::read());
        counted("done");
        Ok(Reloaded { needs_restart: needs_restart(&old, &fresh) })
    }
}

/// What was changed in the file and only a restart puts into effect.
fn needs_restart(old: &Config, fresh: &Config) -> Vec<String> {
    let same_but_simulation = Config {
        daemon: config::DaemonConfig { simulation: old.daemon.simulation, ..fresh.daemon.clone() },
        ..Config::default()
    };
    [
        (old.daemon != same_but_simulation.daemon, "[daemon]"),
        (old.kernel != fresh.kernel, "[kernel]"),
        (old.interfaces != fresh.interfaces, "[[interface]]"),
        (old.store != fresh.store, "[store]"),
        (old.metrics != fresh.metrics, "[metrics]"),
    ]
    .into_iter()
    .filter(|(changed, _)| *changed)
    .map(|(_, section)| format!("{section} changed: restart the daemon for that"))
    .collect()
}
