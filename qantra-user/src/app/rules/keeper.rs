//! Enters: changed rule files, and orders to reload. Leaves: a new set in force at once, or the old one and why. Rules are
//! compiled on a thread that nobody waits for; it must never leave a site without the rules that it had.

use std::{
    collections::BTreeSet,
    fs,
    hash::{BuildHasher as _, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use notify::Watcher as _;
use parking_lot::Mutex;

use super::{journal::RuleJournal, name_of, tell};
use crate::{
    api::{RuleSetStatus, RulesStatus},
    clock::Now,
    config::Config,
    metrics::Metrics,
    rules::{RuleSets, RulesError},
};

/// Editors and packages write file by file: wait for the last of them.
const SETTLE: Duration = Duration::from_millis(300);
/// Files beyond this are no rule files; they are told apart by their length and time alone.
const READ_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What is in force, and how it came to be.
#[derive(Debug, Default)]
struct State {
    /// Of the files and settings that the set in force was made of.
    fingerprint: u64,
    loaded_unix_ms: u64,
    problem: Option<String>,
}

/// Keeps the rule sets, and what they said lately.
pub(in crate::app) struct RuleKeeper {
    sets: Arc<ArcSwap<RuleSets>>,
    journal: Arc<RuleJournal>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

impl RuleKeeper {
    /// Loads what the configuration asks for.
    ///
    /// # Errors
    /// As [`RuleSets::load`]: a site that asks for rules is never served without.
    pub(in crate::app) fn load(config: &Config, metrics: Arc<Metrics>) -> Result<Self, RulesError> {
        let sets = RuleSets::load(config)?;
        tell(&sets, &metrics);
        let fingerprint = fingerprint(config, &sets);
        let state = State { fingerprint, loaded_unix_ms: Now::read().unix_ms, problem: None };
        let journal = Arc::new(RuleJournal::new(&metrics));
        Ok(Self { sets: Arc::new(ArcSwap::from_pointee(sets)), journal, metrics, state: Mutex::new(state) })
    }

    /// The sets in force.
    pub(in crate::app) fn sets(&self) -> Arc<ArcSwap<RuleSets>> {
        Arc::clone(&self.sets)
    }

    /// What rules said of requests.
    pub(in crate::app) const fn journal(&self) -> &Arc<RuleJournal> {
        &self.journal
    }

    /// Reads the files again, and compiles them when they or the settings are others than before. `None`: they are not.
    ///
    /// # Errors
    /// As [`RuleSets::load`]; the sets in force stay.
    pub(in crate::app) fn prepare(&self, config: &Config) -> Result<Option<RuleSets>, RulesError> {
        let counted = |result: &str| self.metrics.rules.reloads.with_label_values(&[result]).inc();
        let before = self.state.lock().fingerprint;
        if before == fingerprint(config, &self.sets.load()) {
            self.state.lock().problem = None;
            counted("unchanged");
            return Ok(None);
        }
        match RuleSets::load(config) {
            Ok(sets) => Ok(Some(sets)),
            Err(error) => {
                self.state.lock().problem = Some(error.to_string());
                counted("failed");
                Err(error)
            }
        }
    }

    /// Puts sets in force; requests under way finish with those that they began with.
    pub(in crate::app) fn put(&self, config: &Config, sets: RuleSets) {
        tell(&sets, &self.metrics);
        let fingerprint = fingerprint(config, &sets);
        self.sets.store(Arc::new(sets));
        *self.state.lock() = State { fingerprint, loaded_unix_ms: Now::read().unix_ms, problem: None };
        self.metrics.rules.reloads.with_label_values(&["done"]).inc();
    }

    /// Why the last change is not in force.
    pub(in crate::app) fn problem(&self) -> Option<String> {
        self.state.lock().problem.clone()
    }

    /// For `qantra status`.
    pub(in crate::app) fn status(&self, config: &Config) -> RulesStatus {
        let sets = self.sets.load();
        let name = |index: &crate::config::SiteIndex| {
            config.sites.get(usize::from(index.0)).map(|site| site.name.clone()).unwrap_or_default()
        };
        let status = |set: &crate::rules::LoadedSet| RuleSetStatus {
            name: name_of(&set.rules).to_owned(),
            rules: set.summary().rules,
            bytes: set.summary().bytes,
            load_ms: set.load_ms,
            sites: set.sites.iter().map(name).collect(),
        };
        let state = self.state.lock();
        RulesStatus {
            sets: sets.sets().iter().map(status).collect(),
            loaded_unix_ms: state.loaded_unix_ms,
            problem: state.problem.clone(),
        }
    }

    /// Follows the files until what it returns is dropped. `reload` is called on a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(in crate::app) fn follow(
        self: &Arc<Self>,
        config: Arc<ArcSwap<Config>>,
        reload: impl Fn() + Send + 'static,
    ) -> std::io::Result<Following> {
        let (stop, stopped) = bounded::<()>(0);
        let keeper = Arc::clone(self);
        let work = move || keeper.watch(&config, &stopped, &reload);
        let thread = thread::Builder::new().name("rule-files".into()).spawn(work)?;
        Ok(Following { stop: Some(stop), thread: Some(thread) })
    }

    fn watch(&self, config: &ArcSwap<Config>, stopped: &Receiver<()>, reload: &dyn Fn()) {
        let (changed, changes) = bounded(1);
        let mut watched = BTreeSet::new();
        let mut watcher = None;
        loop {
            let folders = folders(&config.load(), &self.sets.load());
            if folders != watched {
                watcher = watch_folders(&folders, changed.clone());
                watched = folders;
            }
            crossbeam_channel::select! {
                recv(stopped) -> _ => break,
                recv(changes) -> _ => {}
                // The configuration may have named other folders meanwhile.
                default(Duration::from_secs(5)) => continue,
            }
            thread::sleep(SETTLE);
            while changes.try_recv().is_ok() {}
            reload();
        }
        drop(watcher);
    }
}

/// The thread that follows rule files; dropping it waits for its end.
pub(in crate::app) struct Following {
    stop: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows rule files ended badly");
        }
    }
}

/// Tells of changes in folders; folders, not files, since editors rename a new file over the old one.
fn watch_folders(folders: &BTreeSet<PathBuf>, changed: Sender<()>) -> Option<notify::RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        if !event.as_ref().is_ok_and(|event| event.kind.is_access()) {
            // A full queue of one: a reload is due already.
            let _ = changed.try_send(());
        }
    };
    let Ok(mut watcher) = notify::recommended_watcher(tell) else {
        tracing::warn!("rule files cannot be watched: run `qantra reload` after you change them");
        return None;
    };
    for folder in folders {
        if let Err(error) = watcher.watch(folder, notify::RecursiveMode::NonRecursive) {
            tracing::debug!(folder = %folder.display(), %error, "rule folder cannot be watched");
        }
    }
    Some(watcher)
}

/// The folders whose files make the rule sets.
fn folders(config: &Config, sets: &RuleSets) -> BTreeSet<PathBuf> {
    let mut folders: BTreeSet<PathBuf> =
        sets.files().iter().filter_map(|file| file.path.parent()).map(Path::to_path_buf).collect();
    for site in &config.sites {
        let inspect = config.inspect.of_site(&site.inspect);
        folders.insert(inspect.rules_dir);
        if inspect.ruleset == crate::config::Ruleset::Crs {
            folders.extend(["rules", "plugins"].map(|part| inspect.crs_dir.join(part)));
            folders.insert(inspect.crs_dir);
        }
    }
    folders.into_iter().filter(|folder| folder.is_dir()).collect()
}

/// One number for all settings and for every byte of every file.
fn fingerprint(config: &Config, sets: &RuleSets) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    for site in &config.sites {
        (&site.name, config.inspect.of_site(&site.inspect)).hash(&mut hasher);
    }
    for folder in folders(config, sets) {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let Ok(meta) = fs::metadata(&path) else { continue };
            if !meta.is_file() {
                continue;
            }
            path.hash(&mut hasher);
            match meta.len() <= READ_BYTES_MAX {
                true => fs::read(&path).ok().hash(&mut hasher),
                false => (meta.len(), meta.modified().ok()).hash(&mut hasher),
            }
        }
    }
    hasher.finish()
}
