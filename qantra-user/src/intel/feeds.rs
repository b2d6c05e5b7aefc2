//! [`Feeds`]: every feed and what is in force of them. Others ask and change here; the thread in [`super::worker`] works.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use ipnet::IpNet;
use parking_lot::Mutex;

use super::{
    BadFeed, FeedCheck, FeedList, FeedSpec, FeedStatus, FeedSummary, ListHits, Listing, Phase,
    files::FeedFiles,
    hits::AddressHits,
    list::{
        Combined, Complaint, Format, ListError, Reason, Rejected, Report, Tier, count_v4, holds, range_of, read_list,
    },
    worker::{Worker, reading},
};
use crate::{
    clock::Now,
    config::FeedsConfig,
    enforce::{AddressRanges, Enforcer, FeedHit, FeedHits, FeedPlane},
    metrics::Metrics,
};

/// Most feeds: each has labels in metrics.
const FEEDS_MAX: usize = 64;
/// A list that covers more of the IPv4 Internet than this is remarked upon: about a quarter.
const WIDE_V4: u64 = 1 << 30;
/// How long the end of the daemon waits for a fetch to notice.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// Something about feeds was not done.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The definition makes no sense.
    #[error(transparent)]
    Bad(#[from] BadFeed),
    /// The name is taken.
    #[error("there is a feed `{0}` already; `qantra blocklists remove {0}` takes it off")]
    Taken(String),
    /// There are too many.
    #[error("there are {FEEDS_MAX} feeds already; `qantra blocklists remove NAME` takes one off")]
    TooMany,
    /// There is no such feed.
    #[error("there is no feed `{0}`; `qantra blocklists list` shows them")]
    Unknown(String),
    /// Nothing was fetched yet.
    #[error("there is no list of `{0}` yet; `qantra blocklists list` shows why")]
    NoList(String),
    /// The definitions cannot be read or written.
    #[error("{path}: {source}")]
    Keep {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The last good list cannot be read.
    #[error("the list of `{name}` cannot be read: {source}")]
    Read {
        /// The feed.
        name: String,
        /// Why.
        source: ListError,
    },
}

/// One feed and all that is known of it.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) spec: FeedSpec,
    pub(super) phase: Phase,
    pub(super) progress: Arc<AtomicU64>,
    pub(super) attempts: u64,
    pub(super) failures: u32,
    pub(super) due_unix_ms: u64,
    /// The next list is believed however short it is.
    pub(super) believe: bool,
    pub(super) current_unix_ms: Option<u64>,
    pub(super) problem: Option<String>,
    pub(super) loaded: Loaded,
    pub(super) hits: ListHits,
}

/// A list that was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Loaded {
    pub(super) format: Option<Format>,
    pub(super) tiers: Vec<Tier>,
    pub(super) report: Report,
}

impl Loaded {
    pub(super) fn ranges(&self) -> usize {
        self.tiers.iter().map(|tier| tier.ranges.v4.len() + tier.ranges.v6.len()).sum()
    }
}

impl Feed {
    pub(super) fn new(spec: FeedSpec, due_unix_ms: u64) -> Self {
        Self {
            spec,
            phase: Phase::Waiting,
            progress: Arc::default(),
            attempts: 0,
            failures: 0,
            due_unix_ms,
            believe: false,
            current_unix_ms: None,
            problem: None,
            loaded: Loaded::default(),
            hits: ListHits::default(),
        }
    }

    fn status(&self) -> FeedStatus {
        FeedStatus {
            spec: self.spec.clone(),
            phase: self.phase,
            fetched_bytes: self.progress.load(Ordering::Relaxed),
            attempts: self.attempts,
            read_as: self.loaded.format,
            ranges: self.loaded.ranges() as u64,
            addresses_v4: self.loaded.tiers.iter().map(|tier| count_v4(&tier.ranges)).sum(),
            report: self.loaded.report.clone(),
            current_unix_ms: self.current_unix_ms,
            next_unix_ms: self.due_unix_ms,
            problem: self.problem.clone(),
            hits: self.hits,
        }
    }

    fn listing(&self, address: IpAddr) -> Option<Listing> {
        let mut tiers = self.loaded.tiers.iter();
        let (tier, (first, last)) = tiers.find_map(|tier| Some((tier, range_of(&tier.ranges, address)?)))?;
        Some(Listing {
            feed: self.spec.name.clone(),
            confidence: tier.confidence,
            first,
            last,
            inbound: self.spec.direction.is_inbound(),
            outbound: self.spec.direction.is_outbound(),
        })
    }
}

/// What is in force, and what became of it in the kernel.
#[derive(Debug, Clone, Default)]
pub(super) struct InForce {
    pub(super) inbound: Arc<AddressRanges>,
    pub(super) outbound: Arc<AddressRanges>,
    pub(super) is_shed: bool,
    pub(super) kernel_bytes: u64,
    pub(super) kernel_problem: Option<String>,
}

impl InForce {
    pub(super) fn of(combined: Combined) -> Self {
        let Combined { inbound, outbound, is_shed, .. } = combined;
        let inbound = Arc::new(inbound);
        let outbound = if outbound == *inbound { Arc::clone(&inbound) } else { Arc::new(outbound) };
        Self { inbound, outbound, is_shed, ..Self::default() }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) feeds: Vec<Feed>,
    pub(super) in_force: InForce,
    pub(super) addresses: AddressHits,
    /// What is protected changed: lists are read again.
    pub(super) reread: bool,
    /// Only what is put in force changed.
    pub(super) republish: bool,
}

impl State {
    pub(super) fn feed(&mut self, name: &str) -> Option<&mut Feed> {
        self.feeds.iter_mut().find(|feed| feed.spec.name == name)
    }
}

/// What [`Feeds`] and their thread share.
pub(super) struct Shared {
    pub(super) files: FeedFiles,
    pub(super) config: Mutex<FeedsConfig>,
    pub(super) enforcer: Arc<Enforcer>,
    pub(super) plane: Option<Arc<dyn FeedPlane>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) state: Mutex<State>,
    pub(super) stop: AtomicBool,
    wake: Sender<()>,
}

impl Shared {
    pub(super) fn wake(&self) {
        // Full means that it will wake up anyway.
        let _ = self.wake.try_send(());
    }

    pub(super) fn limits(&self) -> FeedsConfig {
        self.config.lock().clone()
    }

    /// Most bytes of kernel memory.
    pub(super) fn kernel_bytes_max(&self) -> u64 {
        const MB: u64 = 1_000_000;
        let own = self.limits().kernel_memory_max_mb.map(|most| u64::from(most) * MB);
        own.unwrap_or_else(|| (memory_bytes().unwrap_or(1_000 * MB) / 16).min(64 * MB))
    }
}

/// The box's memory.
fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}

/// What feeds stand on.
pub struct FeedsStart<'a> {
    /// Where definitions and last good lists are kept.
    pub state_dir: &'a Path,
    /// Limits.
    pub config: FeedsConfig,
    /// Whose protected set counts, and where the proxy finds what is listed.
    pub enforcer: Arc<Enforcer>,
    /// The kernel half, if there is one.
    pub plane: Option<Arc<dyn FeedPlane>>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

/// Every feed. Its thread ends with it.
pub struct Feeds {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Feeds {
    /// Reads the definitions and starts the thread, which loads the last good lists before it fetches anything.
    ///
    /// # Errors
    /// The definitions cannot be read, or the thread cannot be started.
    pub fn start(start: FeedsStart<'_>) -> Result<Self, FeedError> {
        let folder = start.state_dir.join("feeds");
        let keep = |path: PathBuf| move |source| FeedError::Keep { path, source };
        let files = FeedFiles::open(start.state_dir).map_err(keep(folder.clone()))?;
        let specs = files.specs().map_err(keep(files.specs_path()))?;
        let now_ms = Now::read().unix_ms;
        let is_fine = |spec: &FeedSpec| match spec.check() {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(feed = %spec.name, %error, "a feed is left out");
                false
            }
        };
        let feeds = specs.into_iter().filter(is_fine).take(FEEDS_MAX).map(|spec| Feed::new(spec, now_ms)).collect();
        let (wake, woken): (Sender<()>, Receiver<()>) = bounded(1);
        let shared = Arc::new(Shared {
            files,
            config: Mutex::new(start.config),
            enforcer: start.enforcer,
            plane: start.plane,
            metrics: start.metrics,
            state: Mutex::new(State { feeds, ..State::default() }),
            stop: AtomicBool::new(false),
            wake,
        });
        let worker = Worker::new(Arc::clone(&shared), woken);
        let thread =
            std::thread::Builder::new().name("feeds".into()).spawn(move || worker.run()).map_err(keep(folder))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Adds a feed and has it fetched at once; follow its status.
    ///
    /// # Errors
    /// It makes no sense, its name is taken, there are too many, or it cannot be written down.
    pub fn add(&self, spec: FeedSpec) -> Result<(), FeedError> {
        spec.check()?;
        let mut state = self.shared.state.lock();
        if state.feed(&spec.name).is_some() {
            return Err(FeedError::Taken(spec.name));
        }
        if state.feeds.len() >= FEEDS_MAX {
            return Err(FeedError::TooMany);
        }
        // What an earlier feed of that name left says nothing about this one.
        self.forget(&spec.name);
        state.feeds.push(Feed::new(spec, 0));
        if let Err(error) = self.save(&state) {
            state.feeds.pop();
            return Err(error);
        }
        drop(state);
        self.shared.wake();
        Ok(())
    }

    /// Takes a feed off; what it listed is lifted at once.
    ///
    /// # Errors
    /// There is none by that name, or it cannot be written down.
    pub fn remove(&self, name: &str) -> Result<(), FeedError> {
        let mut state = self.shared.state.lock();
        let place = state.feeds.iter().position(|feed| feed.spec.name == name);
        let place = place.ok_or_else(|| FeedError::Unknown(name.into()))?;
        let feed = state.feeds.remove(place);
        if let Err(error) = self.save(&state) {
            state.feeds.insert(place, feed);
            return Err(error);
        }
        state.republish = true;
        drop(state);
        self.forget(name);
        self.shared.metrics.feeds.forget(name);
        self.shared.wake();
        Ok(())
    }

    /// Has one feed fetched now, or all; `believe` takes a list however short it has become. Returns their names: follow
    /// their status.
    ///
    /// # Errors
    /// There is none by that name.
    pub fn refresh(&self, name: Option<&str>, believe: bool) -> Result<Vec<String>, FeedError> {
        let mut state = self.shared.state.lock();
        if let Some(name) = name
            && state.feed(name).is_none()
        {
            return Err(FeedError::Unknown(name.into()));
        }
        let meant = state.feeds.iter_mut().filter(|feed| name.is_none_or(|name| feed.spec.name == name));
        let names = meant.map(|feed| {
            feed.due_unix_ms = 0;
            feed.believe |= believe;
            feed.spec.name.clone()
        });
        let names = names.collect();
        drop(state);
        self.shared.wake();
        Ok(names)
    }

    /// Every feed.
    #[must_use]
    pub fn list(&self) -> FeedList {
        let state = self.shared.state.lock();
        let feeds: Vec<FeedStatus> = state.feeds.iter().map(Feed::status).collect();
        let kernel_problem = state.in_force.kernel_problem.clone();
        drop(state);
        let summary = self.summary();
        let mut warnings = Vec::new();
        for feed in &feeds {
            let name = &feed.spec.name;
            warnings.extend(feed.problem.iter().map(|problem| format!("{name}: {problem}")));
            if feed.addresses_v4 > WIDE_V4 {
                let share = (feed.addresses_v4 * 100) >> 32;
                warnings.push(format!("{name} lists {share} % of all IPv4 addresses: is that meant?"));
            }
            if feed.spec.source.starts_with("http://") {
                warnings.push(format!("{name} is fetched without TLS: anyone on the way can change it"));
            }
        }
        if summary.is_shed {
            let most = summary.kernel_bytes_max / 1_000_000;
            warnings.push(format!(
                "the least confident entries are not in force: they do not fit into {most} MB of kernel memory; `qantra blocklists rejected NAME` lists them, `feeds.kernel_memory_max_mb` sets the limit"
            ));
        }
        warnings.extend(kernel_problem.map(|problem| format!("the kernel half holds older lists: {problem}")));
        FeedList { feeds, summary, warnings }
    }

    /// All feeds, in numbers.
    #[must_use]
    pub fn summary(&self) -> FeedSummary {
        let kernel_bytes_max = self.shared.kernel_bytes_max();
        let state = self.shared.state.lock();
        let count = |set: &AddressRanges| set.v4.len() + set.v6.len();
        FeedSummary {
            feeds: state.feeds.len(),
            failing: state.feeds.iter().filter(|feed| feed.problem.is_some()).count(),
            inbound_ranges: count(&state.in_force.inbound),
            outbound_ranges: count(&state.in_force.outbound),
            kernel_bytes: state.in_force.kernel_bytes,
            kernel_bytes_max,
            is_shed: state.in_force.is_shed,
        }
    }

    /// Which feeds list an address, and what it was stopped of.
    #[must_use]
    pub fn check(&self, address: IpAddr) -> FeedCheck {
        let address = address.to_canonical();
        let protection = self.shared.enforcer.protection(&IpNet::from(address));
        let enforced = protection.is_none() && !self.shared.enforcer.is_simulation();
        let state = self.shared.state.lock();
        FeedCheck {
            address,
            listings: state.feeds.iter().filter_map(|feed| feed.listing(address)).collect(),
            blocked_inbound: enforced && state.in_force.inbound.contains(address),
            blocked_outbound: enforced && state.in_force.outbound.contains(address),
            protection,
            hits: state.addresses.get(address),
        }
    }

    /// Reads a feed's last good list again and hands on all that is not in force of it, in the order of its lines, until
    /// `each` returns false. Nothing is held in memory.
    ///
    /// # Errors
    /// There is no such feed, no list of it, or it cannot be read.
    pub fn rejected(&self, name: &str, each: &mut dyn FnMut(&Complaint) -> bool) -> Result<Report, FeedError> {
        let (spec, in_force) = {
            let mut state = self.shared.state.lock();
            let in_force = state.in_force.clone();
            let feed = state.feed(name).ok_or_else(|| FeedError::Unknown(name.into()))?;
            (feed.spec.clone(), in_force)
        };
        let file = std::fs::File::open(self.shared.files.copy(name)).map_err(|_| FeedError::NoList(name.into()))?;
        let wanted = std::cell::Cell::new(true);
        let each = std::cell::RefCell::new(each);
        let tell = |rejected: &Rejected<'_>| {
            if wanted.get() {
                wanted.set((each.borrow_mut())(&rejected.to_complaint()));
            }
        };
        let read = reading(&self.shared, &spec, |options| {
            read_list(file, options, &mut |rejected| tell(rejected), &mut |line, text, span| {
                let held = !spec.direction.is_inbound() || holds(&in_force.inbound, span);
                let held = held && (!spec.direction.is_outbound() || holds(&in_force.outbound, span));
                if in_force.is_shed && !held {
                    tell(&Rejected { line, text, reason: Reason::Shed, protection: None });
                }
            })
        });
        read.map(|list| list.report).map_err(|source| FeedError::Read { name: name.into(), source })
    }

    /// Takes in what the kernel half and the proxy stopped for feeds since the last call.
    pub fn take_hits(&self, now: Now) {
        let packets = match self.shared.plane.as_ref().map(|plane| plane.take_feed_hits()) {
            Some(Ok(hits)) => hits,
            Some(Err(error)) => {
                tracing::warn!(%error, "what feeds stopped could not be read back");
                FeedHits::default()
            }
            None => FeedHits::default(),
        };
        let last_unix_ms = Some(now.unix_ms);
        let hits = packets.by_address.iter().map(|FeedHit { address, packets, bytes }| {
            (*address, ListHits { packets: *packets, bytes: *bytes, requests: 0, last_unix_ms })
        });
        let requests = self.shared.enforcer.take_listed_requests().into_iter();
        let one = ListHits { requests: 1, last_unix_ms, ..ListHits::default() };
        let mut state = self.shared.state.lock();
        let mut fresh = vec![ListHits::default(); state.feeds.len()];
        for (address, hit) in hits.chain(requests.map(|address| (address, one))) {
            let forgotten = state.addresses.add(address, &hit);
            self.shared.metrics.queue_dropped("feed_hit_addresses").inc_by(forgotten as u64);
            let listing = state.feeds.iter().zip(&mut fresh).filter(|(feed, _)| feed.listing(address).is_some());
            for (_, fresh) in listing {
                fresh.add(&hit);
            }
        }
        let by_address = packets.by_address.iter().map(|hit| hit.packets).sum();
        for (feed, mut hit) in state.feeds.iter_mut().zip(fresh) {
            // The others are as those of known addresses are: these were the first to come, so a sample.
            let part = hit.packets;
            hit.packets += share(packets.other_packets, part, by_address);
            hit.bytes += share(packets.other_bytes, part, by_address);
            feed.hits.add(&hit);
            let name = [feed.spec.name.as_str()];
            self.shared.metrics.feeds.packets.with_label_values(&name).inc_by(hit.packets);
            self.shared.metrics.feeds.requests.with_label_values(&name).inc_by(hit.requests);
        }
    }

    /// What is protected changed: lists are read again soon. The kernel half and the proxy know it already.
    pub fn protection_changed(&self) {
        self.shared.state.lock().reread = true;
        self.shared.wake();
    }

    /// Simulation was turned on or off: what is in force follows soon.
    pub fn simulation_changed(&self) {
        self.shared.state.lock().republish = true;
        self.shared.wake();
    }

    /// The plane has another part that holds nothing yet: what is in force is put there soon.
    pub fn plane_changed(&self) {
        self.shared.state.lock().republish = true;
        self.shared.wake();
    }

    /// Other limits: they count from the next reading on, memory at once.
    pub fn reconfigure(&self, config: FeedsConfig) {
        *self.shared.config.lock() = config;
        self.shared.state.lock().republish = true;
        self.shared.wake();
    }

    fn save(&self, state: &State) -> Result<(), FeedError> {
        let specs: Vec<&FeedSpec> = state.feeds.iter().map(|feed| &feed.spec).collect();
        let path = self.shared.files.specs_path();
        self.shared.files.save_specs(&specs).map_err(|source| FeedError::Keep { path, source })
    }

    fn forget(&self, name: &str) {
        if let Err(error) = self.shared.files.forget(name) {
            tracing::warn!(feed = name, %error, "an old list stays behind");
        }
    }
}

/// `amount` times `part` of `whole`.
fn share(amount: u64, part: u64, whole: u64) -> u64 {
    (u128::from(amount) * u128::from(part)).checked_div(u128::from(whole)).unwrap_or(0) as u64
}

impl Drop for Feeds {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.wake();
        let Some(thread) = self.thread.take() else { return };
        let mut waited = Duration::ZERO;
        while !thread.is_finished() && waited < STOP_PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
            waited += Duration::from_millis(10);
        }
        // A server that keeps it waiting must not keep the daemon: what it would write is never half a file.
        if thread.is_finished() && thread.join().is_err() {
            tracing::error!("the thread of feeds ended badly");
        }
    }
}
