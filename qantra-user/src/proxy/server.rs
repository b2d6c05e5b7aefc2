//! Enters: the config, a [`Judge`], the word to stop. Leaves: bound sockets and the threads that serve them. It must
//! never bind late: what cannot be bound is an error before anything else is started.

use std::{
    io,
    net::SocketAddr,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use pingora::{
    apps::{HttpServerApp as _, HttpServerOptions},
    protocols::http::v2::server::default_h2_options,
    server::configuration::ServerConf,
    tls::TlsAcceptor,
};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use super::{
    Judge, ProxyCounters, ProxyError,
    connection::{self, Opening, Worker},
    filters::Filters,
    health,
    login::SeededHash,
    request_id::RequestIds,
    sites::{Live, Shared},
    throttle::Throttle,
    tls::{self, Certificates, FileWatch},
};
use crate::config::{Config, ListenConfig};

/// Connections waiting to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;
/// Certificates are often replaced file by file: wait for the last of them.
const SETTLE: Duration = Duration::from_millis(300);
/// File descriptors kept for everything that is no client connection: logs, the store, upstream connections.
const DESCRIPTORS_KEPT: u64 = 256;
const CONNECTIONS_MAX: u64 = 65_536;

/// The reverse proxy, its sockets bound.
pub struct Proxy {
    shared: Arc<Shared>,
    certificates: Arc<ArcSwap<Certificates>>,
    config: Arc<ArcSwap<Config>>,
    sockets: Vec<(std::net::TcpListener, ListenConfig)>,
    addresses: Vec<SocketAddr>,
    threads: usize,
    wake: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

/// Puts a new config in force while the proxy runs.
#[derive(Clone)]
pub struct ReloadHandle {
    shared: Arc<Shared>,
    certificates: Arc<ArcSwap<Certificates>>,
    config: Arc<ArcSwap<Config>>,
    wake: mpsc::Sender<()>,
}

impl ReloadHandle {
    /// What the health checks know of a target; `None` when its site has none.
    #[must_use]
    pub fn target_health(&self, site: &str, address: &str) -> Option<bool> {
        let live = self.shared.live.load();
        let site = live.sites.iter().find(|known| known.name == site && known.health.is_some())?;
        site.targets.all.iter().find(|target| target.name == address).map(|target| target.is_healthy())
    }

    /// Swaps sites, limits and certificates at once; requests under way finish under the old ones.
    ///
    /// # Errors
    /// [`ProxyError`]; then everything stays as it was.
    pub fn reload(&self, config: Arc<Config>) -> Result<(), ProxyError> {
        let old = self.config.load();
        if old.listeners != config.listeners || old.proxy.threads != config.proxy.threads {
            return Err(ProxyError::NeedsRestart);
        }
        let live = Live::new(&config)?;
        let certificates = Certificates::load(&config)?;
        require_certificate(&config, &certificates)?;
        self.certificates.store(Arc::new(certificates));
        self.shared.live.store(Arc::new(live));
        self.config.store(config);
        // A full queue of one: the supervisor is about to look anyway.
        let _ = self.wake.try_send(());
        Ok(())
    }
}

/// Sockets that are bound and everything else that can fail, before there is a judge to ask.
///
/// It stands between the configuration and the kernel half: a port in use must be an error before a program is loaded.
pub struct Bound {
    live: Live,
    certificates: Certificates,
    config: Arc<Config>,
    sockets: Vec<(std::net::TcpListener, ListenConfig)>,
    addresses: Vec<SocketAddr>,
}

impl Bound {
    /// The proxy, which asks this judge about every request.
    #[must_use]
    pub fn with_judge(self, judge: Arc<dyn Judge>, counters: Arc<ProxyCounters>) -> Proxy {
        let cores = || thread::available_parallelism().map_or(1, NonZero::get);
        let shared = Shared {
            live: ArcSwap::from_pointee(self.live),
            judge,
            counters,
            throttle: Throttle::default(),
            ids: RequestIds::new(rand::random()),
            hash: SeededHash::new(rand::random()),
        };
        Proxy {
            shared: Arc::new(shared),
            certificates: Arc::new(ArcSwap::from_pointee(self.certificates)),
            threads: self.config.proxy.threads.unwrap_or_else(cores).max(1),
            config: Arc::new(ArcSwap::new(self.config)),
            sockets: self.sockets,
            addresses: self.addresses,
            wake: mpsc::channel(1),
        }
    }
}

impl Proxy {
    /// Builds everything and binds every socket. Nothing is served before [`Proxy::run`].
    ///
    /// # Errors
    /// [`ProxyError`]: one line that says what to do.
    pub fn bind(config: Arc<Config>) -> Result<Bound, ProxyError> {
        let live = Live::new(&config)?;
        let certificates = Certificates::load(&config)?;
        require_certificate(&config, &certificates)?;
        let bind = |listener: &ListenConfig| Ok((bind(listener.address)?, listener.clone()));
        let sockets: Vec<_> = config.listeners.iter().map(bind).collect::<Result<_, ProxyError>>()?;
        let addresses = sockets.iter().map(|(socket, _)| socket.local_addr()).collect::<Result<_, _>>()?;
        Ok(Bound { live, certificates, config, sockets, addresses })
    }

    /// The bound addresses, in the order of `[[listen]]`; says which port the system gave for port 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// For [`ReloadHandle::reload`] while [`Proxy::run`] has the proxy.
    #[must_use]
    pub fn reload_handle(&self) -> ReloadHandle {
        ReloadHandle {
            shared: Arc::clone(&self.shared),
            certificates: Arc::clone(&self.certificates),
            config: Arc::clone(&self.config),
            wake: self.wake.0.clone(),
        }
    }

    /// Serves until `shutdown` says true (or its sender is gone), then lets running requests finish for at most
    /// `drain_timeout_ms`. Blocks: give it a thread of its own.
    ///
    /// # Errors
    /// [`ProxyError`] when threads cannot be started.
    pub fn run(self, shutdown: watch::Receiver<bool>) -> Result<(), ProxyError> {
        let tls = TlsAcceptor::from(tls::server_config(Arc::clone(&self.certificates))?);
        let open = Arc::new(OpenConnections::new());
        let drain = Duration::from_millis(self.config.load().proxy.drain_timeout_ms);
        let upstream_idle = self.config.load().proxy.upstream_keepalive_max.div_ceil(self.threads);
        let mut workers = Vec::with_capacity(self.threads);
        for number in 0..self.threads {
            let mut listeners = Vec::with_capacity(self.sockets.len());
            for (socket, listen) in &self.sockets {
                let opening = Opening { tls: listen.tls.then(|| tls.clone()), proxy_protocol: listen.proxy_protocol };
                listeners.push((socket.try_clone()?, opening));
            }
            let (shared, shutdown, open) = (Arc::clone(&self.shared), shutdown.clone(), Arc::clone(&open));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let threads = self.threads;
            let work = move || {
                let _in_runtime = runtime.enter();
                let worker = new_worker(shared, shutdown, threads, upstream_idle);
                runtime.block_on(work(worker, listeners, open, drain));
            };
            workers.push(thread::Builder::new().name(format!("proxy-{number}")).spawn(work)?);
        }
        // The last descriptor of each socket must be the workers', so that a stopped proxy refuses connections.
        drop(self.sockets);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(supervise(self.shared, self.certificates, self.config, self.wake, shutdown));
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a proxy thread panicked");
            }
        }
        Ok(())
    }
}

fn require_certificate(config: &Config, certificates: &Certificates) -> Result<(), ProxyError> {
    match config.listeners.iter().find(|listener| listener.tls) {
        Some(listener) if certificates.is_empty() => Err(ProxyError::NoCertificate(listener.address)),
        _ => Ok(()),
    }
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener, ProxyError> {
    let listen = || -> rustix::io::Result<std::net::TcpListener> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        // A restart must not wait for the old connections' TIME_WAIT; a port that is listened on is refused still.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &address)?;
        net::listen(&socket, BACKLOG)?;
        Ok(socket.into())
    };
    listen().map_err(|error| match error {
        rustix::io::Errno::ADDRINUSE => ProxyError::PortInUse(address),
        rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => ProxyError::PermissionDenied(address),
        rustix::io::Errno::ADDRNOTAVAIL => ProxyError::NoSuchAddress(address),
        other => ProxyError::Listen { address, source: io::Error::from(other) },
    })
}

/// How many client connections are open, and how many may be.
struct OpenConnections {
    now: AtomicUsize,
    limit: usize,
}

impl OpenConnections {
    /// A connection takes two descriptors: the client's and one to an origin.
    fn new() -> Self {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limit = descriptors.unwrap_or(u64::MAX).saturating_sub(DESCRIPTORS_KEPT) / 2;
        Self { now: AtomicUsize::new(0), limit: limit.clamp(64, CONNECTIONS_MAX) as usize }
    }

    fn enter(self: &Arc<Self>) -> Option<Entered> {
        let entered = Entered(Arc::clone(self));
        (self.now.fetch_add(1, Ordering::Relaxed) < self.limit).then_some(entered)
    }
}

/// One open connection; dropping it leaves.
struct Entered(Arc<OpenConnections>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Each worker has a Pingora of its own, pool of idle upstream connections included: threads share no lock.
fn new_worker(shared: Arc<Shared>, shutdown: watch::Receiver<bool>, threads: usize, upstream_idle: usize) -> Worker {
    let live = shared.live.load_full();
    let conf = ServerConf {
        threads,
        upstream_keepalive_pool_size: upstream_idle,
        // Tries are bounded per request by `connect_retries`; this is Pingora's own stop, with room for stale
        // connections out of the pool.
        max_retries: 16,
        ..ServerConf::default()
    };
    let mut proxy = pingora::proxy::http_proxy(&Arc::new(conf), Filters::new(Arc::clone(&shared)));
    let mut options = default_h2_options();
    options.max_header_list_size(u32::try_from(live.head.bytes_max).unwrap_or(u32::MAX));
    proxy.h2_options = Some(options);
    let mut server_options = HttpServerOptions::default();
    server_options.h2_idle_timeout = Some(live.keepalive_timeout);
    proxy.server_options = Some(server_options);
    Worker { shared, proxy: Arc::new(proxy), shutdown }
}

/// One thread's work: accept until told to stop, then wait for what is open.
async fn work(
    worker: Worker,
    listeners: Vec<(std::net::TcpListener, Opening)>,
    open: Arc<OpenConnections>,
    drain: Duration,
) {
    let mut accepting = tokio::task::JoinSet::new();
    for (socket, opening) in listeners {
        match TcpListener::from_std(socket) {
            Ok(listener) => drop(accepting.spawn(accept(listener, opening, worker.clone(), Arc::clone(&open)))),
            Err(error) => tracing::error!(%error, "a listening socket cannot be used"),
        }
    }
    let mut shutdown = worker.shutdown.clone();
    // A sender that is gone is a stop as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
    accepting.shutdown().await;
    worker.proxy.http_cleanup().await;
    let drained = async {
        while open.now.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(drain, drained).await.is_err() {
        tracing::warn!(open = open.now.load(Ordering::Relaxed), "connections cut at the end of the drain time");
    }
}

async fn accept(listener: TcpListener, opening: Opening, worker: Worker, open: Arc<OpenConnections>) {
    loop {
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors or memory: give connections time to end. The client's own failures are no error.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                continue;
            }
        };
        let Some(entered) = open.enter() else {
            worker.shared.counters.connections_shed.increment();
            continue;
        };
        let (worker, opening) = (worker.clone(), opening.clone());
        tokio::spawn(async move {
            connection::serve(worker, tcp, peer, opening).await;
            drop(entered);
        });
    }
}

/// Runs health checks and follows certificate files until it is time to stop.
async fn supervise(
    shared: Arc<Shared>,
    certificates: Arc<ArcSwap<Certificates>>,
    config: Arc<ArcSwap<Config>>,
    wake: (mpsc::Sender<()>, mpsc::Receiver<()>),
    mut shutdown: watch::Receiver<bool>,
) {
    let (changed, mut woken) = wake;
    let mut files = FileWatch::new(changed);
    loop {
        files.follow(&config.load());
        let live = shared.live.load_full();
        let mut checks = tokio::task::JoinSet::new();
        checks.spawn(health::watch(Arc::clone(&live)));
        loop {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                Some(()) = woken.recv() => {}
            }
            tokio::time::sleep(SETTLE).await;
            while woken.try_recv().is_ok() {}
            match Certificates::load(&config.load()) {
                Ok(new) => certificates.store(Arc::new(new)),
                Err(error) => {
                    shared.counters.certificate_failures.increment();
                    tracing::error!(%error, "certificates not reloaded; the old ones stay in force");
                }
            }
            if !Arc::ptr_eq(&live, &shared.live.load_full()) {
                break;
            }
        }
    }
}
