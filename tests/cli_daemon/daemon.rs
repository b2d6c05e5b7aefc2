//! Enters: nothing. Leaves: a daemon's control socket with a real enforcer, store and feeds behind it; what is missing of
//! the daemon answers what is fixed here. It must never reach the network.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use qantra_common::{DropReason, event::DropEvent, packet::Address};
use qantra_tests::binary::{command, transcript};
use qantra_user::{
    api::{Control, ControlError, ControlSocket, Learned, Reloaded, Status, Tap, TopSnapshot, Watch},
    clock::Now,
    config::{Config, FeedsConfig, ModelsConfig, StoreConfig, parse_net},
    decide::{Decision, DecisionId, Standing},
    enforce::{Applied, EndReason, Ended, EnforceError, Enforcer, ProtectedSet},
    intel::{Feeds, FeedsStart},
    learn::{Sample, Sketcher},
    metrics::Metrics,
    model::{LifeStart, ModelLife},
    store::Store,
};
use tokio::sync::mpsc;
use zerocopy::FromZeros as _;

pub(crate) struct Desk {
    pub(crate) enforcer: Arc<Enforcer>,
    pub(crate) store: Store,
    pub(crate) feeds: Feeds,
    pub(crate) models: Arc<ModelLife>,
    /// How many captures run.
    pub(crate) taps: Arc<AtomicUsize>,
}

/// A running capture: counted until it goes.
struct Counted(Arc<AtomicUsize>, #[expect(dead_code, reason = "keeps the queue open")] mpsc::Sender<DropEvent>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A dropped packet of 203.0.113.7, as the kernel half would tell of it.
fn drop_event(ifindex: u32, reason: DropReason) -> DropEvent {
    let mut event = DropEvent::new_zeroed();
    (event.ifindex, event.reason, event.frame_bytes, event.decision) = (ifindex, reason as u32, 1_514, 7);
    event.at_boot_ns = Now::read().boot_ns;
    event.source = Address::v4(u32::from_ne_bytes([203, 0, 113, 7]));
    event.destination = Address::v4(u32::from_ne_bytes([192, 0, 2, 1]));
    (event.source_port, event.destination_port, event.protocol) = (4_711, 80, 6);
    event.captured_bytes = 60;
    event.data[..60].copy_from_slice(&[0xab; 60]);
    event
}

impl Control for Desk {
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
        self.enforcer.apply(decision, now)
    }

    fn apply_all(&self, decisions: Vec<Decision>, now: Now) -> Vec<Result<Applied, EnforceError>> {
        self.enforcer.apply_all(decisions, now)
    }

    fn end(&self, id: DecisionId, now: Now) -> Option<Ended> {
        self.enforcer.end(id, EndReason::Deleted, now)
    }

    fn protection_changed(&self, _now: Now) {}

    fn status(&self) -> Status {
        Status {
            version: "0.0.0".into(),
            pid: 1,
            uptime_s: 3_661,
            config: "/etc/qantra/qantra.toml".into(),
            simulation: self.enforcer.is_simulation(),
            decisions: self.enforcer.summary(),
            feeds: self.feeds.summary(),
            warnings: vec!["eth0 stands on TCX: its driver has no native XDP".into()],
            ..Status::default()
        }
    }

    fn watch(&self) -> Box<dyn Watch> {
        Box::new(Looker(0))
    }

    fn tap(&self, sample: Option<u32>) -> Result<Tap, ControlError> {
        let (queue, drops) = mpsc::channel(16);
        for event in [
            drop_event(1, DropReason::BannedSource),
            drop_event(9, DropReason::BannedSource),
            drop_event(1, DropReason::Truncated),
        ] {
            queue.try_send(event).unwrap();
        }
        self.taps.fetch_add(1, Ordering::SeqCst);
        let lost = Arc::new(AtomicU64::new(u64::from(sample.unwrap_or(0))));
        Ok(Tap { drops, lost, guard: Box::new(Counted(Arc::clone(&self.taps), queue)) })
    }

    fn interface_name(&self, ifindex: u32) -> Option<String> {
        (ifindex == 1).then(|| "eth0".to_owned())
    }

    fn models(&self) -> &ModelLife {
        &self.models
    }

    fn sketcher(&self) -> Sketcher {
        Sketcher::new(1)
    }

    fn benign(&self) -> Vec<Sample> {
        Vec::new()
    }

    fn learned(&self) -> Learned {
        Learned { requests_min: 10_000, sources_min: 16, ..Learned::default() }
    }

    fn ruled_request(&self, _: &str) -> Vec<qantra_user::api::RuledRequest> {
        Vec::new()
    }

    fn ruled_requests(&self, _: &qantra_user::api::RuledQuery) -> Vec<qantra_user::api::RuledRequest> {
        Vec::new()
    }

    fn top_rules(&self, _: Option<&str>) -> Vec<qantra_user::api::RuleCount> {
        Vec::new()
    }

    fn set_simulation(&self, on: bool) {
        self.enforcer.set_simulation(on);
    }

    fn reload(&self) -> Result<Reloaded, ControlError> {
        Ok(Reloaded { needs_restart: vec!["daemon.state_dir".into()] })
    }
}

/// Sees one more packet a second at each look.
struct Looker(u32);

impl Watch for Looker {
    fn look(&mut self) -> TopSnapshot {
        self.0 += 1;
        TopSnapshot {
            at_unix_ms: 1_700_000_000_000,
            packets_per_s: f64::from(self.0),
            warnings: vec!["there is no kernel half".into()],
            ..TopSnapshot::default()
        }
    }
}

/// Keeps decisions of a fixed day long ago as well.
pub(crate) fn keep_all() -> StoreConfig {
    StoreConfig { keep_days: 36_500, ..StoreConfig::default() }
}

/// A daemon's control socket, served until this value goes.
pub(crate) struct Daemon {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) desk: Arc<Desk>,
    pub(crate) runtime: Option<tokio::runtime::Runtime>,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// As the daemon does: what the store knows is put back in force.
    pub(crate) fn start_in(dir: tempfile::TempDir) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let store = Store::open(dir.path(), &keep_all(), Arc::clone(&metrics)).unwrap();
        let enforcer = Arc::new(Enforcer::new(None, Arc::clone(&metrics), false));
        let now = Now::read();
        let mut config = Config::default();
        config.protect.networks = vec![parse_net("192.0.2.1").unwrap()];
        enforcer.set_protected(ProtectedSet::from_config(&config), now).unwrap();
        enforcer.set_allowlist(store.allowlist(now.unix_ms).unwrap(), now).unwrap();
        let running = store.running(now.unix_ms).unwrap();
        enforcer.restore(running.into_iter().map(|kept| (kept.decision.clone(), kept.hits())).collect(), now).unwrap();
        let feeds = Feeds::start(FeedsStart {
            state_dir: dir.path(),
            config: FeedsConfig { timeout_s: 2, kernel_memory_max_mb: Some(60), ..FeedsConfig::default() },
            enforcer: Arc::clone(&enforcer),
            plane: None,
            metrics: Arc::clone(&metrics),
        });
        let models = ModelLife::start(LifeStart {
            config: ModelsConfig { enabled: false, ..ModelsConfig::default() },
            state_dir: dir.path(),
            metrics,
            program: None,
        });
        let desk =
            Arc::new(Desk { enforcer, store, feeds: feeds.unwrap(), models: models.unwrap(), taps: Arc::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = ControlSocket::bind(&socket_in(dir.path()), None).unwrap();
        runtime.spawn(qantra_user::api::serve(socket, desk.clone(), std::future::pending()));
        Self { dir, desk, runtime: Some(runtime) }
    }

    pub(crate) fn restart(mut self) -> Self {
        self.runtime.take().unwrap().shutdown_timeout(std::time::Duration::from_secs(10));
        let Self { dir, desk, .. } = self;
        drop(Arc::into_inner(desk));
        Self::start_in(dir)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let socket = socket_in(self.dir.path());
        transcript(&command(arguments).env("QANTRA_CONTROL_SOCKET", socket).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> String {
        use std::{io::Write as _, process::Stdio};
        let socket = socket_in(self.dir.path());
        let mut command = command(arguments);
        command
            .env("QANTRA_CONTROL_SOCKET", socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Whoever reads nothing of it (a mistake in the arguments) closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(input);
        transcript(&child.wait_with_output().unwrap())
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let socket = socket_in(self.dir.path());
        let output = command(arguments).args(["-o", "json"]).env("QANTRA_CONTROL_SOCKET", socket).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| unreadable(&transcript(&output)))
    }

    pub(crate) fn standing(&self, address: &str) -> Option<Standing> {
        self.desk.enforcer.standing(address.parse().unwrap(), Now::read().boot_ns)
    }
}

#[expect(clippy::panic, reason = "says what was printed in place of JSON")]
pub(crate) fn unreadable(text: &str) -> serde_json::Value {
    panic!("not JSON: {text}")
}

pub(crate) fn socket_in(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}
