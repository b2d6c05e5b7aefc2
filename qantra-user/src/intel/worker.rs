//! The thread of feeds: last good lists first, then fetches when they are due, one after the other and with the lowest
//! claim on the processor. Failures are tried again with growing pauses; the last good list stays meanwhile.

use std::{
    fs::File,
    io::{self, Seek as _},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{
    FeedDirection, FeedSpec, FetchError, Phase,
    feeds::{Feed, InForce, Loaded, Shared},
    fetch::{FetchLimits, Fetched, fetch},
    files::CopyFacts,
    list::{EntryPolicy, List, ListError, ListOptions, Part, Tier, combine, read_list},
};
use crate::{clock::Now, enforce::AddressRanges};

const TICK: Duration = Duration::from_secs(1);
/// The pause after a first failure.
const RETRY_S: u64 = 60;
/// The pause after the kernel refused lists.
const KERNEL_RETRY_MS: u64 = 30_000;
/// How far a refresh may be off its time, in percent: boxes of one kind shall not ask all at once.
const JITTER_PERCENT: u64 = 10;
const NICENESS: i32 = 19;

/// A list was not taken.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error("not fetched: {0}")]
    Fetch(#[from] FetchError),
    #[error("not taken: {0}")]
    List(#[from] ListError),
    #[error("not taken: none of its {lines} lines is an entry{}", first(.why))]
    Empty { lines: u64, why: Option<String> },
    #[error(
        "not taken: it has {now} entries, the last good list {before}; `qantra blocklists refresh {name} --believe` takes it"
    )]
    Shrunk { name: String, now: u64, before: u64 },
    #[error("not kept: {0}")]
    Keep(#[from] io::Error),
}

fn first(why: &Option<String>) -> String {
    why.as_ref().map(|why| format!("; the first complaint is: {why}")).unwrap_or_default()
}

/// See the module.
pub(super) struct Worker {
    shared: Arc<Shared>,
    woken: Receiver<()>,
    kernel_retry_unix_ms: Option<u64>,
}

impl Worker {
    pub(super) const fn new(shared: Arc<Shared>, woken: Receiver<()>) -> Self {
        Self { shared, woken, kernel_retry_unix_ms: None }
    }

    pub(super) fn run(mut self) {
        // The whole process would be meant anywhere but on Linux, where it is this thread.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "feeds are not read with low priority");
        }
        self.load_all(true);
        self.publish();
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.see_to_changes();
            if let Some(spec) = self.next_due() {
                self.refresh(&spec);
                continue;
            }
            if self.woken.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn see_to_changes(&mut self) {
        let mut state = self.shared.state.lock();
        let reread = std::mem::take(&mut state.reread);
        let republish = std::mem::take(&mut state.republish);
        drop(state);
        if reread {
            self.load_all(false);
        }
        let retry = self.kernel_retry_unix_ms.is_some_and(|at| at <= Now::read().unix_ms);
        if reread || republish || retry {
            self.publish();
        }
    }

    fn next_due(&self) -> Option<FeedSpec> {
        let now_ms = Now::read().unix_ms;
        let mut state = self.shared.state.lock();
        let feed =
            state.feeds.iter_mut().filter(|feed| feed.due_unix_ms <= now_ms).min_by_key(|feed| feed.due_unix_ms)?;
        feed.phase = Phase::Fetching;
        feed.progress.store(0, Ordering::Relaxed);
        Some(feed.spec.clone())
    }

    /// Reads the last good lists; at the start they say as well when each feed is due.
    fn load_all(&self, is_start: bool) {
        let specs: Vec<FeedSpec> = self.shared.state.lock().feeds.iter().map(|feed| feed.spec.clone()).collect();
        for spec in specs {
            let facts = self.shared.files.facts(&spec.name).filter(|facts| facts.source == spec.source);
            let Some(facts) = facts else { continue };
            let read = File::open(self.shared.files.copy(&spec.name))
                .map_err(ListError::Io)
                .and_then(|file| self.read(&spec, file));
            match read {
                Ok(list) => self.take(&spec, list, Some(&facts), is_start),
                Err(error) => {
                    tracing::error!(feed = %spec.name, %error, "the last good list cannot be read; it is fetched again");
                    // Without it a server would say that nothing changed.
                    let _ = self.shared.files.forget(&spec.name);
                }
            }
        }
    }

    fn read(&self, spec: &FeedSpec, file: File) -> Result<List, ListError> {
        reading(&self.shared, spec, |options| read_list(file, options, &mut |_| {}, &mut |_, _, _| {}))
    }

    fn take(&self, spec: &FeedSpec, list: List, facts: Option<&CopyFacts>, is_start: bool) {
        let name = [spec.name.as_str()];
        let metrics = &self.shared.metrics.feeds;
        let mut state = self.shared.state.lock();
        let Some(feed) = state.feed(&spec.name).filter(|feed| feed.spec == *spec) else { return };
        metrics.entries.with_label_values(&name).set(list.report.entries as i64);
        metrics.rejected.with_label_values(&name).set(list.report.rejected as i64);
        feed.loaded = Loaded { format: Some(list.format), tiers: list.tiers, report: list.report };
        if let Some(facts) = facts {
            feed.current_unix_ms = Some(facts.current_unix_ms);
            metrics.last_success.with_label_values(&name).set((facts.current_unix_ms / 1_000) as i64);
            if is_start {
                feed.due_unix_ms = facts.current_unix_ms + jittered_ms(spec.refresh_s);
            }
        }
    }

    /// Fetches and reads one list, and puts it in force when it is good.
    fn refresh(&mut self, spec: &FeedSpec) {
        let outcome = self.attempt(spec);
        let result = match &outcome {
            Ok(true) => "fresh",
            Ok(false) => "unchanged",
            Err(RefreshError::Fetch(FetchError::Stopped)) => return,
            Err(_) => "failed",
        };
        let is_fresh = matches!(outcome, Ok(true));
        if is_fresh {
            // Before the attempt counts as over: whoever follows it finds the list in force.
            self.publish();
        }
        let now_ms = Now::read().unix_ms;
        let mut state = self.shared.state.lock();
        let Some(feed) = state.feed(&spec.name).filter(|feed| feed.spec == *spec) else { return };
        self.shared.metrics.feeds.fetches.with_label_values(&[&spec.name, result]).inc();
        feed.phase = Phase::Waiting;
        feed.attempts += 1;
        feed.believe = false;
        match outcome {
            Ok(_) => {
                (feed.failures, feed.problem) = (0, None);
                feed.current_unix_ms = Some(now_ms);
                feed.due_unix_ms = now_ms + jittered_ms(spec.refresh_s);
                self.shared.metrics.feeds.last_success.with_label_values(&[&spec.name]).set((now_ms / 1_000) as i64);
                let report = &feed.loaded.report;
                tracing::info!(feed = %spec.name, result, entries = report.entries, rejected = report.rejected, "list is current");
            }
            Err(error) => {
                feed.failures = feed.failures.saturating_add(1);
                let pause_s = RETRY_S.saturating_mul(1 << (feed.failures - 1).min(16)).min(spec.refresh_s);
                feed.due_unix_ms = now_ms + jittered_ms(pause_s);
                let kept = if feed.loaded.format.is_some() { "; the last good list stays" } else { "" };
                feed.problem = Some(format!("{error}{kept}"));
                tracing::warn!(feed = %spec.name, %error, "list{kept}");
            }
        }
    }

    /// Returns whether there is another list.
    fn attempt(&self, spec: &FeedSpec) -> Result<bool, RefreshError> {
        let config = self.shared.limits();
        let Ok(source) = spec.check() else { return Ok(false) };
        let (progress, believe) = {
            let mut state = self.shared.state.lock();
            let Some(feed) = state.feed(&spec.name) else { return Ok(false) };
            (Arc::clone(&feed.progress), feed.believe)
        };
        let known = self.shared.files.facts(&spec.name).filter(|known| known.source == spec.source);
        let limits = FetchLimits {
            bytes_max: u64::from(config.download_max_mb) * 1_000_000,
            timeout: Duration::from_secs(config.timeout_s.into()),
            progress: &progress,
            stop: &self.shared.stop,
        };
        let mut draft = self.shared.files.begin(&spec.name)?;
        let now_ms = Now::read().unix_ms;
        let mut facts = match fetch(&source, known.as_ref(), &mut draft, &limits)? {
            Fetched::Fresh(facts) => facts,
            Fetched::Unchanged => {
                let known = known.unwrap_or_default();
                self.shared.files.save_facts(&spec.name, &CopyFacts { current_unix_ms: now_ms, ..known })?;
                return Ok(false);
            }
        };
        if let Some(feed) = self.shared.state.lock().feed(&spec.name) {
            feed.phase = Phase::Reading;
        }
        draft.file.rewind()?;
        let list = self.read(spec, draft.file.try_clone()?)?;
        let report = &list.report;
        if report.entries == 0 {
            let why = report.kept.first().map(ToString::to_string);
            return Err(RefreshError::Empty { lines: report.lines, why });
        }
        let before = known.map_or(0, |known| known.entries);
        if !believe && report.entries * 100 < before * u64::from(config.shrink_percent) {
            return Err(RefreshError::Shrunk { name: spec.name.clone(), now: report.entries, before });
        }
        facts.source.clone_from(&spec.source);
        (facts.entries, facts.current_unix_ms) = (report.entries, now_ms);
        // A feed that was taken off meanwhile leaves nothing behind.
        let mut state = self.shared.state.lock();
        if state.feed(&spec.name).is_none_or(|feed| feed.spec != *spec) {
            return Ok(false);
        }
        self.shared.files.commit(&spec.name, draft, &facts)?;
        drop(state);
        self.take(spec, list, None, false);
        Ok(true)
    }

    /// Puts everything together, and into the kernel and the proxy's table.
    fn publish(&mut self) {
        let bytes_max = self.shared.kernel_bytes_max();
        // Cheap copies: what they list is shared.
        let tiers: Vec<(FeedDirection, Tier)> = {
            let state = self.shared.state.lock();
            let of = |feed: &Feed| {
                feed.loaded.tiers.iter().map(|tier| (feed.spec.direction, tier.clone())).collect::<Vec<_>>()
            };
            state.feeds.iter().flat_map(of).collect()
        };
        let parts = tiers.iter().map(|(direction, tier)| Part {
            confidence: tier.confidence,
            inbound: direction.is_inbound(),
            outbound: direction.is_outbound(),
            ranges: &tier.ranges,
        });
        let mut in_force = InForce::of(combine(&parts.collect::<Vec<_>>(), bytes_max));
        // One feed, the usual case on a small box: one copy is enough.
        if let Some((_, tier)) = tiers.iter().find(|(_, tier)| tier.ranges == in_force.inbound) {
            in_force.inbound = Arc::clone(&tier.ranges);
        }
        self.shared.enforcer.set_listed(Arc::clone(&in_force.inbound));
        self.tell_kernel(&mut in_force);
        let metrics = &self.shared.metrics.feeds;
        metrics.kernel_bytes.set(in_force.kernel_bytes as i64);
        metrics.shed.set(i64::from(in_force.is_shed));
        if in_force.is_shed {
            tracing::warn!(
                bytes_max,
                "feeds do not fit into the kernel's memory for them: the least confident entries are left out"
            );
        }
        self.shared.state.lock().in_force = in_force;
    }

    fn tell_kernel(&mut self, in_force: &mut InForce) {
        let Some(plane) = &self.shared.plane else { return };
        let nothing = AddressRanges::default();
        let told = if self.shared.enforcer.is_simulation() {
            plane.replace_feeds(&nothing, &nothing)
        } else {
            plane.replace_feeds(&in_force.inbound, &in_force.outbound)
        };
        self.kernel_retry_unix_ms = None;
        match told {
            Ok(bytes) => in_force.kernel_bytes = bytes,
            Err(error) => {
                self.shared.metrics.fail_open("kernel").inc();
                tracing::error!(%error, "the kernel refused the feeds: those before stay, the proxy enforces these");
                in_force.kernel_problem = Some(error.to_string());
                in_force.kernel_bytes = self.shared.state.lock().in_force.kernel_bytes;
                self.kernel_retry_unix_ms = Some(Now::read().unix_ms + KERNEL_RETRY_MS);
            }
        }
    }
}

/// Hands the options of one feed's reading to `read`.
pub(super) fn reading<T>(shared: &Shared, spec: &FeedSpec, read: impl FnOnce(&ListOptions<'_>) -> T) -> T {
    let config = shared.limits();
    let policy = EntryPolicy::new(shared.enforcer.protections(), spec.allow_private);
    let others: usize = shared
        .state
        .lock()
        .feeds
        .iter()
        .filter(|feed| feed.spec.name != spec.name)
        .map(|feed| feed.loaded.ranges())
        .sum();
    read(&ListOptions {
        format: spec.format,
        policy: &policy,
        confidence: spec.confidence,
        bytes_max: u64::from(config.unpacked_max_mb) * 1_000_000,
        ranges_max: (config.entries_max as usize).saturating_sub(others),
    })
}

fn jittered_ms(seconds: u64) -> u64 {
    let ms = seconds * 1_000;
    let spread = ms * JITTER_PERCENT / 100;
    ms - spread + rand::random_range(0..=2 * spread)
}
