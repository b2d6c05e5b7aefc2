//! The rule sets of all sites. Sites with equal settings share one; the engine's mode and who confirms are no part of it, so
//! that a site can be switched to `detect` without another set.

use std::sync::Arc;

use qantra_seclang::{EngineMode, Options, RuleSet, SharedRules, Summary};

use super::{
    Draft, RulesError,
    files::{Files, RuleFile},
    ids,
    layout::Layout,
    secl,
};
use crate::{
    clock::boot_ns,
    config::{Config, InspectConfig, RulesConfirm, RulesEngine, Ruleset, SiteIndex},
};

/// Most rule sets: each of the Core Rule Set takes tens of megabytes.
const SETS_MAX: usize = 64;

/// Names of texts that stand among the files.
const ENGINE: &str = "qantra.toml:[inspect]";
const SETTINGS: &str = "qantra.toml:[inspect] settings";
const EXCLUDE_BEFORE: &str = "qantra.toml:[[inspect.exclude]] with path";
const EXCLUDE_AFTER: &str = "qantra.toml:[[inspect.exclude]]";

/// A compiled rule set, and the sites that it is for.
#[derive(Debug, Clone)]
pub struct LoadedSet {
    /// The rules.
    pub rules: SharedRules,
    /// The settings that it was made from.
    pub inspect: InspectConfig,
    /// The sites that share it.
    pub sites: Vec<SiteIndex>,
    /// How long it took to read and compile.
    pub load_ms: u64,
}

impl LoadedSet {
    /// What is in it.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.rules.summary()
    }

    /// What loads but needs something to have an effect, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.rules.warnings().iter().map(|(position, said)| format!("{position}: {said}")).collect()
    }
}

/// What a site runs.
#[derive(Debug, Clone)]
pub struct SiteRules {
    /// Its rules.
    pub rules: SharedRules,
    /// What they may do: the stricter of the configuration's `engine` and the files' `SecRuleEngine`. To be handed to each
    /// transaction by `set_engine`.
    pub engine: EngineMode,
    /// Who has to agree before its anomaly score refuses.
    pub confirm: RulesConfirm,
    /// The site's name: `WEBAPPID` of each transaction, by `set_web_application`. Virtual patches ask for it.
    pub name: Arc<str>,
    /// What the set calls itself: `OWASP_CRS/4.20.0`.
    pub ruleset: Arc<str>,
    /// Whether its rules look at responses: at their heads, or at their bodies, too.
    pub wants_response: bool,
    /// The set's place in [`RuleSets::sets`].
    pub set: usize,
}

/// Every site's rules. Immutable: a reload makes a new one, and drops this when its last request is done.
#[derive(Debug, Clone, Default)]
pub struct RuleSets {
    sets: Vec<LoadedSet>,
    sites: Vec<Option<SiteRules>>,
    files: Vec<RuleFile>,
}

impl RuleSets {
    /// Reads and compiles what the configuration asks for. Takes up to a second for each set: never on a proxy's thread.
    ///
    /// # Errors
    /// A folder, file or plugin that is not there, or a rule that cannot be read.
    pub fn load(config: &Config) -> Result<Self, RulesError> {
        Self::load_with(config, &[])
    }

    /// The same with files that are not where rules are looked for yet: to try them.
    ///
    /// # Errors
    /// As [`RuleSets::load`].
    pub fn load_with(config: &Config, drafts: &[Draft]) -> Result<Self, RulesError> {
        Self::load_from(config, &mut Files::with_drafts(drafts))
    }

    pub(super) fn load_from(config: &Config, files: &mut Files) -> Result<Self, RulesError> {
        let mut loaded = Self::default();
        for (i, site) in config.sites.iter().enumerate() {
            let inspect = config.inspect.of_site(&site.inspect);
            let at = SiteIndex(i as u16);
            let set = match inspect.engine {
                RulesEngine::Off => None,
                _ => loaded.set_for(&inspect, files)?,
            };
            let Some(set) = set else {
                loaded.sites.push(None);
                continue;
            };
            let Some(shared) = loaded.sets.get_mut(set) else { continue };
            shared.sites.push(at);
            let rules = Arc::clone(&shared.rules);
            let engine = effective(inspect.engine, rules.settings().engine);
            let (confirm, name) = (inspect.confirm, site.name.as_str().into());
            let ruleset = rules.signatures().first().map_or("own", String::as_str).into();
            let has_more = rules.response_head_ids().any(|id| !ids::is_of_scores(id));
            let wants_response = rules.settings().response_body_access || has_more;
            loaded.sites.push(Some(SiteRules { rules, engine, confirm, name, ruleset, wants_response, set }));
        }
        loaded.files = files.known();
        Ok(loaded)
    }

    /// What a site runs; `None`: no rules.
    #[must_use]
    pub fn site(&self, site: SiteIndex) -> Option<&SiteRules> {
        self.sites.get(usize::from(site.0))?.as_ref()
    }

    /// The distinct sets.
    #[must_use]
    pub fn sets(&self) -> &[LoadedSet] {
        &self.sets
    }

    /// Every file that was read, data files of rules included, with its state at that moment.
    #[must_use]
    pub fn files(&self) -> &[RuleFile] {
        &self.files
    }

    /// About how many bytes all sets hold.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sets.iter().map(|set| set.summary().bytes).sum()
    }

    /// The set of settings that some site had before, or a new one; `None` when there is nothing to run.
    fn set_for(&mut self, inspect: &InspectConfig, files: &mut Files) -> Result<Option<usize>, RulesError> {
        // Two modes of the engine share a set.
        let key = InspectConfig { engine: RulesEngine::On, confirm: RulesConfirm::None, ..inspect.clone() };
        if let Some(known) = self.sets.iter().position(|set| set.inspect == key) {
            return Ok(Some(known));
        }
        if self.sets.len() >= SETS_MAX {
            return Err(RulesError::TooMany { count: self.sets.len() + 1, limit: SETS_MAX });
        }
        let began_ns = boot_ns();
        let Some(names) = sources(&key, files)? else { return Ok(None) };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rules = RuleSet::load(files, &names, &Options::default())?;
        let load_ms = (boot_ns() - began_ns) / 1_000_000;
        self.sets.push(LoadedSet { rules: Arc::new(rules), inspect: key, sites: Vec::new(), load_ms });
        Ok(Some(self.sets.len() - 1))
    }
}

/// The names to load, in order, with texts of the configuration put among them; `None` when there are no rules.
pub(super) fn sources(inspect: &InspectConfig, files: &mut Files) -> Result<Option<Vec<String>>, RulesError> {
    let mut layout = Layout::default();
    if inspect.ruleset == Ruleset::Crs {
        layout.add_crs(&inspect.crs_dir, &inspect.plugins)?;
    }
    layout.add_own(&inspect.rules_dir)?;
    layout.add_drafts(files.drafts(), &inspect.rules_dir);
    if layout == Layout::default() {
        return Ok(None);
    }
    let engine = files.put_text(ENGINE, secl::engine(inspect));
    let settings = files.put_text(SETTINGS, secl::settings(inspect, &layout.packages));
    let before = files.put_text(EXCLUDE_BEFORE, secl::exclusions_before(&inspect.exclusions));
    let after = files.put_text(EXCLUDE_AFTER, secl::exclusions_after(&inspect.exclusions));
    let text = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
    let mut names = vec![engine];
    names.extend(layout.setup.iter().map(text));
    names.extend([settings, before]);
    names.extend(layout.before.iter().chain(&layout.rules).chain(&layout.after).map(text));
    names.push(after);
    Ok(Some(names))
}

const fn effective(asked: RulesEngine, written: EngineMode) -> EngineMode {
    match (asked, written) {
        (RulesEngine::Off, _) | (_, EngineMode::Off) => EngineMode::Off,
        (RulesEngine::Detect, _) | (_, EngineMode::DetectionOnly) => EngineMode::DetectionOnly,
        (RulesEngine::On, EngineMode::On) => EngineMode::On,
    }
}
