//! Enters: a checked configuration. Leaves: a running daemon, and nothing half-started when something is missing. The
//! only place that joins stages: they meet here, and know each other by traits and nouns alone.
//!
//! Start order: what can fail for a reason that a person must mend comes first (ports, kernel half, store), threads
//! come last. At the end it is the other way round: no new requests, running ones finish, then the store closes.

mod actor;
mod analysis;
mod control;
mod conversations;
mod drops;
mod interfaces;
mod judge;
mod learning;
mod planes;
mod privileges;
mod rules;
mod signals;
mod top;
mod upkeep;

use std::{
    net::{IpAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::watch;

use actor::Actor;
use analysis::Analysis;
use control::Daemon;
use conversations::Conversations;
use drops::DropHub;
use interfaces::Follower;
use judge::RequestJudge;
use learning::{LearnerThread, Learning};
use planes::Planes;
use rules::{RuleKeeper, RuleRunner};

use top::SourceBoard;
use upkeep::Upkeep;

pub use planes::CoverError;
pub use privileges::PrivilegeError;

use crate::{
    api::{self, ApiError, ControlSocket},
    clock::Now,
    collect::Collector,
    config::{Config, Role},
    decide::Policy,
    enforce::{Enforcer, FeedPlane, KernelPlane, PlaneError},
    flow::{LocalNetworks, Observation},
    intel::{FeedError, Feeds, FeedsStart},
    metrics::{self, Metrics, ServeError},
    model::{LifeStart, ModelError, ModelLife},
    proxy::{Bound, Proxy, ProxyCounters, ProxyError},
    rules::RulesError,
    store::{Store, StoreError, Write},
    xdp::{Kernel, XdpError, check_capabilities},
};

/// Observations that wait for the analysis thread: about a second of a busy proxy, 6 MiB.
const OBSERVATIONS_MAX: usize = 32_768;
/// The name in the store of what rules said of the last requests.
const RULE_JOURNAL: &str = "rule_journal";
/// Decisions that the policy learns of at start, the newest ones.
const REMEMBERED_MAX: u32 = 20_000;
/// Calls of LAN devices that a restart does not tell again.
const CALLS_TOLD_MAX: u32 = 4_096;

/// The daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each wraps the error of one stage, which says it all")]
pub enum AppError {
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Kernel(#[from] XdpError),
    #[error(transparent)]
    Cover(#[from] CoverError),
    #[error(transparent)]
    Metrics(#[from] ServeError),
    #[error("metrics cannot be declared: {0}")]
    Declare(#[from] prometheus::Error),
    #[error(transparent)]
    Control(#[from] ApiError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("rules: {0}")]
    Rules(#[from] RulesError),
    #[error("versions of models: {0}")]
    Models(#[from] ModelError),
    #[error("block lists: {0}")]
    Feeds(#[from] FeedError),
    #[error("the kernel's bans cannot be reconciled with the store: {0}")]
    Reconcile(#[from] PlaneError),
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    #[error("cannot start a thread or its runtime: {0}")]
    Thread(#[from] std::io::Error),
}

/// Runs the daemon until SIGTERM or SIGINT; SIGHUP reloads the configuration from `path`.
///
/// # Errors
/// One line that says what is missing and what to do; then nothing of it runs, and bans that were pinned before go on.
pub fn run(config: Config, path: &Path, bpf_log: bool) -> Result<(), AppError> {
    let config = Arc::new(config);
    let metrics = Arc::new(Metrics::new()?);
    if !config.interfaces.is_empty() {
        // Before any socket is made: without it everything else fails for a reason that only looks like another.
        check_capabilities()?;
    }
    let doors = Doors::open(&config)?;
    let mut kernel = match config.interfaces.is_empty() {
        true => None,
        false => Some(interfaces::start(&config, bpf_log)?),
    };
    if let (Some(kernel), Some((uid, gid))) = (&kernel, privileges::ids(&config.daemon.user)?) {
        kernel.hand_over(uid, gid)?;
    }
    // Capabilities belong to threads: until here there must be no other one.
    privileges::drop_to(&config.daemon.user)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .thread_name("control")
        .enable_all()
        .build()?;
    let events = kernel.as_mut().and_then(Kernel::take_events);
    let stages = Stages::join(&config, path, kernel, Arc::clone(&metrics))?;
    stages.serve(doors, events, runtime)
}

/// What is bound before anything else: each port and socket that another process may hold.
struct Doors {
    proxy: Bound,
    control: ControlSocket,
    metrics: Option<TcpListener>,
    conversations: Conversations,
}

impl Doors {
    fn open(config: &Arc<Config>) -> Result<Self, AppError> {
        let proxy = Proxy::bind(Arc::clone(config))?;
        let control = ControlSocket::bind(&config.daemon.control_socket, config.daemon.control_group.as_deref())?;
        let metrics = config.metrics.listen.map(metrics::bind).transpose()?;
        Ok(Self { proxy, control, metrics, conversations: Conversations::open(config) })
    }
}

/// Every stage, joined; nothing runs yet.
struct Stages {
    config: Arc<ArcSwap<Config>>,
    path: PathBuf,
    metrics: Arc<Metrics>,
    kernel: Option<Arc<Mutex<Kernel>>>,
    planes: Option<Arc<Planes>>,
    store: Arc<Store>,
    enforcer: Arc<Enforcer>,
    actor: Arc<Actor>,
    feeds: Arc<Feeds>,
    models: Arc<ModelLife>,
    observations: (Sender<Observation>, Receiver<Observation>),
    /// The LAN's networks as they are now.
    local: Arc<ArcSwap<LocalNetworks>>,
    board: Arc<SourceBoard>,
    drops: Arc<DropHub>,
    rules: Arc<RuleKeeper>,
    learning: Arc<Learning>,
    learner: LearnerThread,
}

impl Stages {
    fn join(
        config: &Arc<Config>,
        path: &Path,
        kernel: Option<Kernel>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AppError> {
        let now = Now::read();
        let store = Arc::new(Store::open(&config.daemon.state_dir, &config.store, Arc::clone(&metrics))?);
        let planes = kernel.as_ref().map(|kernel| Planes::join(kernel, &config.kernel)).transpose()?.map(Arc::new);
        let plane = planes.clone().map(|planes| planes as Arc<dyn KernelPlane>);
        let enforcer = Arc::new(Enforcer::new(plane, Arc::clone(&metrics), config.daemon.simulation));
        let mut policy =
            Policy::new(config.policy.clone(), simulated_sites(config), config.daemon.simulation, rand::random());
        policy.set_local(local_networks(config));
        let actor = Actor::new(policy, Arc::clone(&enforcer), Arc::clone(&store), Arc::clone(&metrics));
        enforcer.set_allowlist(store.allowlist(now.unix_ms)?, now)?;
        upkeep::protect(config, &enforcer, &actor, now);
        restore(&store, &enforcer, &actor, now)?;
        if let (Some(kernel), Some(planes)) = (&kernel, &planes) {
            planes.cover(kernel)?;
            interfaces::tell(kernel, &metrics);
        }
        let feeds = start_feeds(config, planes.clone(), &enforcer, &metrics)?;
        let drops = Arc::new(DropHub::new(kernel.as_ref().map(Kernel::plane), config.kernel.drop_sample));
        let models = start_models(config, &metrics)?;
        let rules = RuleKeeper::load(config, Arc::clone(&metrics))?;
        restore_journal(&store, &rules);
        let shared = Arc::new(ArcSwap::new(Arc::clone(config)));
        let (learning, learner) =
            learning::start(Arc::clone(&shared), Arc::clone(&store), models.active(), Arc::clone(&metrics))?;
        Ok(Self {
            config: shared,
            path: path.to_owned(),
            metrics,
            kernel: kernel.map(|kernel| Arc::new(Mutex::new(kernel))),
            planes,
            store,
            enforcer,
            actor: Arc::new(actor),
            feeds: Arc::new(feeds),
            models,
            observations: bounded(OBSERVATIONS_MAX),
            local: Arc::new(ArcSwap::from_pointee(local_networks(config))),
            board: Arc::default(),
            drops,
            rules: Arc::new(rules),
            learning,
            learner,
        })
    }

    /// Starts every thread, waits for the word to stop, and ends them in order.
    fn serve(
        self,
        doors: Doors,
        events: Option<(crate::xdp::EventStream, crate::xdp::SourceTable)>,
        runtime: tokio::runtime::Runtime,
    ) -> Result<(), AppError> {
        let (stop, stopped) = watch::channel(false);
        let (observations, observed) = self.observations.clone();
        let rules = Arc::new(RuleRunner::start(
            &self.rules,
            Arc::clone(&self.config),
            Arc::clone(&self.enforcer),
            Arc::clone(&self.actor),
            &self.metrics,
        )?);
        let judge = RequestJudge::new(
            Arc::clone(&self.enforcer),
            Arc::clone(&self.actor),
            Arc::clone(&self.config),
            &self.models,
            observations.clone(),
            Arc::clone(&self.metrics),
            (Arc::clone(&rules), Arc::clone(&self.learning)),
        );
        let counters = Arc::new(ProxyCounters::default());
        let proxy = doors.proxy.with_judge(Arc::new(judge), Arc::clone(&counters));
        let reload = proxy.reload_handle();
        let window_ms = self.config.load().kernel.window_ms;
        let drops = Arc::clone(&self.drops);
        let collector = events
            .map(|(events, sources)| {
                Collector::spawn(events, sources, window_ms, observations, move |drop| drops.offer(drop))
            })
            .transpose()?;
        let untracked = doors.conversations.failure();
        let tracker = doors.conversations.start(Arc::clone(&self.local), self.observations.0.clone(), &self.metrics)?;
        let (upkeep_stop, upkeep) = self.start_upkeep(counters, rules)?;
        let followed = self.kernel.clone().zip(self.planes.clone());
        let follower = followed.map(|(kernel, planes)| {
            Follower::start(kernel, planes, Arc::clone(&self.feeds), Arc::clone(&self.metrics))
        });
        let follower = follower.transpose()?;
        let analysis = self.start_analysis(observed)?;
        let proxy_thread = std::thread::Builder::new().name("proxy".into()).spawn({
            let stopped = stopped.clone();
            move || proxy.run(stopped)
        })?;
        let daemon = Arc::new(Daemon::new(&self, reload, untracked));
        let followed = Arc::clone(&daemon);
        let rule_files = self.rules.follow(Arc::clone(&self.config), move || followed.reload_rules())?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "running");
        signals::notify_ready();
        let metrics = Arc::clone(&self.metrics);
        let served = runtime.block_on(control_plane(doors.control, doors.metrics, Arc::clone(&daemon), metrics, stop));
        signals::notify_stopping();
        let proxied =
            proxy_thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the proxy's thread panicked").into()));
        drop(rule_files);
        drop(daemon);
        drop(follower);
        drop((collector, tracker));
        drop(upkeep_stop);
        let Self { actor, store, feeds, observations, learner, rules, .. } = self;
        drop((observations, learner.stop));
        for thread in [analysis, upkeep, learner.thread] {
            if thread.join().is_err() {
                tracing::error!("a thread ended badly");
            }
        }
        match rules.journal().save() {
            Ok(bytes) => store.record(Write::Keep { name: RULE_JOURNAL, body: bytes.into() }),
            Err(error) => tracing::warn!(%error, "what rules said of the last requests is not stored"),
        }
        drop((feeds, actor, store));
        proxied?;
        served
    }
}

impl Stages {
    fn start_upkeep(
        &self,
        counters: Arc<ProxyCounters>,
        rules: Arc<RuleRunner>,
    ) -> Result<(Sender<()>, JoinHandle<()>), AppError> {
        let (stop, stopped) = bounded(0);
        let upkeep = Upkeep {
            actor: Arc::clone(&self.actor),
            enforcer: Arc::clone(&self.enforcer),
            store: Arc::clone(&self.store),
            feeds: Arc::clone(&self.feeds),
            metrics: Arc::clone(&self.metrics),
            config: Arc::clone(&self.config),
            kernel: self.kernel.clone(),
            local: Arc::clone(&self.local),
            counters,
            rules,
            stop: stopped,
        };
        Ok((stop, upkeep.start()?))
    }

    fn start_analysis(&self, observations: Receiver<Observation>) -> Result<JoinHandle<()>, AppError> {
        let analysis = Analysis {
            observations,
            actor: Arc::clone(&self.actor),
            metrics: Arc::clone(&self.metrics),
            config: Arc::clone(&self.config),
            local: Arc::clone(&self.local),
            models: self.models.active(),
            sampler: self.models.sampler(),
            board: Arc::clone(&self.board),
            calls_told: self.store.calls_told(CALLS_TOLD_MAX).unwrap_or_else(|error| {
                tracing::warn!(%error, "which calls home were told is not known: they may be told again");
                Vec::new()
            }),
        };
        Ok(analysis.start()?)
    }
}

/// The control socket, the metrics listener and signals, until one of them says to stop.
async fn control_plane(
    control: ControlSocket,
    metrics_listener: Option<TcpListener>,
    daemon: Arc<Daemon>,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
) -> Result<(), AppError> {
    let mut listeners = tokio::task::JoinSet::new();
    let over = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the sender is gone, which is the end as well.
        let _ = stopped.wait_for(|over| *over).await;
    };
    if let Some(listener) = metrics_listener {
        listeners.spawn(metrics::serve(listener, metrics, over(stop.subscribe())));
    }
    listeners.spawn(api::serve(control, Arc::clone(&daemon) as Arc<dyn api::Control>, over(stop.subscribe())));
    let ended = tokio::select! {
        ended = signals::until_told_to_stop(&daemon) => ended,
        Some(ended) = listeners.join_next() => ended.map_err(std::io::Error::other).flatten(),
    };
    let _ = stop.send(true);
    listeners.shutdown().await;
    Ok(ended?)
}

/// Brings back what was in force before: from the store, and from what the kernel still holds.
fn restore(store: &Store, enforcer: &Enforcer, actor: &Actor, now: Now) -> Result<(), AppError> {
    let running = store.running(now.unix_ms)?;
    let running = running.into_iter().map(|stored| (stored.hits(), stored.decision));
    let restored = enforcer.restore(running.map(|(hits, decision)| (decision, hits)).collect(), now)?;
    for orphan in &restored.orphans {
        store.record(Write::Decision(Arc::new(orphan.clone())));
    }
    let remembered = store.newest(REMEMBERED_MAX)?;
    actor.with_policy(|policy| {
        for stored in remembered.iter().rev() {
            policy.remember(&stored.decision, now);
        }
    });
    tracing::info!(
        adopted = restored.adopted,
        added = restored.added,
        removed = restored.removed,
        orphans = restored.orphans.len(),
        "decisions restored"
    );
    Ok(())
}

/// Before the proxy, so that what was listed is listed again when requests come; nobody waits for a fetch.
fn start_feeds(
    config: &Config,
    planes: Option<Arc<Planes>>,
    enforcer: &Arc<Enforcer>,
    metrics: &Arc<Metrics>,
) -> Result<Feeds, FeedError> {
    Feeds::start(FeedsStart {
        state_dir: &config.daemon.state_dir,
        config: config.feeds.clone(),
        enforcer: Arc::clone(enforcer),
        plane: planes.map(|planes| planes as Arc<dyn FeedPlane>),
        metrics: Arc::clone(metrics),
    })
}

/// What rules said of requests before the daemon began again, so that a refusal can still be asked about.
fn restore_journal(store: &Store, rules: &RuleKeeper) {
    let restored = store.kept(RULE_JOURNAL).map(|kept| kept.map(|bytes| rules.journal().restore(&bytes)));
    match restored {
        Ok(None | Some(Ok(()))) => {}
        Ok(Some(Err(error))) => tracing::warn!(%error, "what rules said of the last requests is forgotten"),
        Err(error) => tracing::warn!(%error, "what rules said of the last requests cannot be read"),
    }
}

/// Models that cannot be loaded are no reason not to start: rules and behaviour detectors go on.
fn start_models(config: &Config, metrics: &Arc<Metrics>) -> Result<Arc<ModelLife>, ModelError> {
    ModelLife::start(LifeStart {
        config: config.models.clone(),
        state_dir: &config.daemon.state_dir,
        metrics: Arc::clone(metrics),
        program: None,
    })
}

fn simulated_sites(config: &Config) -> Vec<String> {
    config.sites.iter().filter(|site| site.simulation).map(|site| site.name.clone()).collect()
}

/// The networks of LAN interfaces: whose addresses are devices, and there an IPv6 address is one of its own.
fn local_networks(config: &Config) -> LocalNetworks {
    let is_lan = |name: &str| config.interfaces.iter().any(|i| i.role == Role::Lan && i.name == name);
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let network = |address: nix::ifaddrs::InterfaceAddress| {
        let (own, mask) = (address.address?, address.netmask?);
        let v4 = || Some((own.as_sockaddr_in()?.ip().into(), mask.as_sockaddr_in()?.ip().into()));
        let v6 = || Some((own.as_sockaddr_in6()?.ip().into(), mask.as_sockaddr_in6()?.ip().into()));
        let (own, mask): (IpAddr, IpAddr) = v4().or_else(v6)?;
        IpNet::with_netmask(own, mask).ok().map(|net| net.trunc())
    };
    LocalNetworks::new(addresses.filter(|address| is_lan(&address.interface_name)).filter_map(network).collect())
}
