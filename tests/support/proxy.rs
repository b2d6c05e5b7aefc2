//! Enters: a config. Leaves: a running proxy, with a [`Judge`] whose answers a test sets and that keeps what it is told.
//! It must never answer for the proxy: what a test asserts went over sockets.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use qantra_user::{
    config::{Config, ListenConfig, SiteConfig, TargetConfig},
    decide::{Action, DecisionId},
    flow::{Observation, RequestObservation},
    inspect::{RequestView, RuleSigns},
    proxy::{
        Counter, Judge, Judgement, ModelAnswer, Opinion, Proxy, ProxyCounters, ProxyError, ReloadHandle,
        RequestContext, Standing,
    },
};
use tokio::sync::{oneshot, watch};

use crate::{
    client::{Answer, Client},
    upstream::{PATIENCE, lock},
};

/// What a [`TestJudge`] says of a request.
pub type Verdict = Box<dyn Fn(&RequestView<'_>) -> Judgement + Send + Sync>;

/// A judge whose answers a test sets, and that keeps what it is told.
#[derive(Default)]
pub struct TestJudge {
    standings: Mutex<HashMap<IpAddr, Standing>>,
    verdict: Mutex<Option<Verdict>>,
    late: Mutex<bool>,
    bodies: Mutex<Vec<(Vec<u8>, bool)>>,
    clients: Mutex<Vec<IpAddr>>,
    violations: Mutex<Vec<&'static str>>,
    observations: Mutex<Vec<Observation>>,
}

/// The decision of every action a [`TestJudge`] asks for.
pub const DECISION: DecisionId = DecisionId(0x0123_4567_89ab_cdef);

/// An action with [`DECISION`].
#[must_use]
pub const fn standing(action: Action) -> Standing {
    Standing { action, decision: Some(DECISION) }
}

impl TestJudge {
    /// Puts a decision in force for a client.
    pub fn set_standing(&self, client: IpAddr, action: Action) {
        lock(&self.standings).insert(client, standing(action));
    }

    /// Judges every request so.
    pub fn set_verdict(&self, verdict: impl Fn(&RequestView<'_>) -> Judgement + Send + Sync + 'static) {
        *lock(&self.verdict) = Some(Box::new(verdict));
    }

    /// Answers later, by the channel; `dropped` is a classifier that misses its deadline.
    pub fn answer_late(&self, dropped: bool) {
        *lock(&self.late) = true;
        if dropped {
            *lock(&self.verdict) = None;
        }
    }

    /// Bodies that were judged, each with whether it was whole.
    #[must_use]
    pub fn bodies(&self) -> Vec<(Vec<u8>, bool)> {
        lock(&self.bodies).clone()
    }

    /// The clients of judged requests.
    #[must_use]
    pub fn clients(&self) -> Vec<IpAddr> {
        lock(&self.clients).clone()
    }

    /// Protocol violations so far.
    #[must_use]
    pub fn violations(&self) -> Vec<&'static str> {
        lock(&self.violations).clone()
    }

    /// Observations of requests; waits until there are this many, since they come after the answer.
    #[must_use]
    pub fn requests(&self, at_least: usize) -> Vec<RequestObservation> {
        let until = Instant::now() + PATIENCE;
        loop {
            let requests: Vec<_> = lock(&self.observations)
                .iter()
                .filter_map(|observation| match observation {
                    Observation::Request(request) => Some(*request),
                    _ => None,
                })
                .collect();
            if requests.len() >= at_least || Instant::now() > until {
                return requests;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sources of accepted connections.
    #[must_use]
    pub fn connections(&self) -> Vec<IpAddr> {
        let sources = lock(&self.observations);
        let source = |observation: &Observation| match observation {
            Observation::Connection(connection) => Some(connection.source),
            _ => None,
        };
        sources.iter().filter_map(source).collect()
    }
}

impl Judge for TestJudge {
    fn standing(&self, client: IpAddr) -> Option<Standing> {
        lock(&self.standings).get(&client).copied()
    }

    fn judge(&self, request: &RequestView<'_>, context: &RequestContext<'_>, _signs: Option<RuleSigns>) -> Opinion {
        lock(&self.bodies).push((request.body.to_vec(), request.body_is_whole));
        lock(&self.clients).push(context.client);
        let verdict = lock(&self.verdict).as_ref().map(|verdict| verdict(request));
        if !*lock(&self.late) {
            return Opinion::Now(verdict.unwrap_or(Judgement::Pass));
        }
        let (send, receive) = oneshot::channel();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            if let Some(verdict) = verdict {
                // The client may be gone.
                let _ = send.send(ModelAnswer { is_attack: verdict != Judgement::Pass, judgement: verdict });
            }
        });
        Opinion::Soon { answer: receive, deadline: Duration::from_secs(1) }
    }

    fn protocol_violation(&self, _context: &RequestContext<'_>, violation: &'static str) {
        lock(&self.violations).push(violation);
    }

    fn observe(&self, observation: Observation) {
        lock(&self.observations).push(observation);
    }
}

/// A config with one site for every host, and one plain listener on loopback.
#[must_use]
pub fn one_site(targets: Vec<TargetConfig>) -> Config {
    let mut config = Config { sites: vec![site("main", &["*"], targets)], ..Config::default() };
    config.listeners =
        vec![ListenConfig { address: SocketAddr::from(([127, 0, 0, 1], 0)), tls: false, proxy_protocol: false }];
    config.proxy.threads = Some(1);
    config
}

/// One site with everything else as by default.
#[must_use]
pub fn site(name: &str, hosts: &[&str], targets: Vec<TargetConfig>) -> SiteConfig {
    SiteConfig {
        name: name.into(),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        targets,
        health: None,
        tls: None,
        decoy: None,
        login: qantra_user::config::LoginConfig::default(),
        headers: qantra_user::config::HeadersConfig::default(),
        inspect: qantra_user::config::SiteInspectConfig::default(),
        body_bytes_max: None,
        simulation: false,
    }
}

/// A proxy that runs until dropped.
pub struct Running {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Its judge.
    pub judge: Arc<TestJudge>,
    /// Its counters.
    pub counters: Arc<ProxyCounters>,
    /// Its reload handle.
    pub reload: ReloadHandle,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<Result<(), ProxyError>>>,
}

impl Running {
    /// Binds and runs.
    ///
    /// # Errors
    /// What [`Proxy::bind`] says.
    pub fn start(config: Config) -> Result<Self> {
        let (judge, counters) = (Arc::new(TestJudge::default()), Arc::new(ProxyCounters::default()));
        let bound = Proxy::bind(Arc::new(config))?;
        let proxy = bound.with_judge(Arc::clone(&judge) as Arc<dyn Judge>, Arc::clone(&counters));
        let (addresses, reload) = (proxy.addresses().to_vec(), proxy.reload_handle());
        let (stop, stopped) = watch::channel(false);
        let thread = thread::spawn(move || proxy.run(stopped));
        Ok(Self { addresses, judge, counters, reload, stop, thread: Some(thread) })
    }

    /// The first listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Opens a raw connection to the first listener.
    ///
    /// # Errors
    /// When it refuses.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(self.address())
    }

    /// Sends raw bytes on a connection of their own and returns the answer.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn ask(&self, request: &str) -> Result<Answer> {
        let mut client = self.connect()?;
        client.send(request.as_bytes())?;
        client.answer()
    }

    /// Tells it to stop, and waits until it has; returns how long that took.
    pub fn stop(&mut self) -> Duration {
        let started = Instant::now();
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // A proxy that panicked or did not run has failed the test already.
            let _ = thread.join();
        }
        started.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until a count is what it should become: some are made after the client has seen the end.
///
/// # Panics
/// It is not within five seconds.
#[track_caller]
pub fn assert_becomes(counter: &Counter, expected: u64) {
    let until = Instant::now() + Duration::from_secs(5);
    while counter.get() < expected && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(counter.get(), expected);
}
