//! Enters: the configuration. Leaves: every rule that its files hold, with what became of it for each site. For people who
//! ask, not for requests.

use std::collections::{BTreeMap, HashSet};

use qantra_seclang::{FileProvider as _, Options, Outline, Position, RuleSet};

use super::{
    Draft, RulesError,
    files::Files,
    sets::{RuleSets, sources},
};
use crate::config::{Config, SiteIndex};

/// What became of a rule in one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleState {
    /// It runs.
    Runs,
    /// A directive or an exclusion takes it out.
    Removed(Position),
    /// No request can change its outcome: its paranoia level is off, or it only sets what is known.
    Decided,
}

/// A rule for one site.
#[derive(Debug, Clone)]
pub struct SiteState {
    /// The site.
    pub site: SiteIndex,
    /// What became of the rule.
    pub state: RuleState,
    /// Directives that change what it looks at or does.
    pub changed_by: Vec<Position>,
    /// Rules that run and can take it, or some of what it looks at, out of a request.
    pub excepted_by: Vec<u64>,
}

/// A rule of one or more sets.
#[derive(Debug, Clone)]
pub struct BookRule {
    /// The rule as it is written.
    pub outline: Outline,
    /// What became of it for each site whose set has it.
    pub sites: Vec<SiteState>,
}

impl BookRule {
    /// The paranoia level that the Core Rule Set's tag gives it.
    #[must_use]
    pub fn paranoia(&self) -> Option<u8> {
        self.outline.tags.iter().find_map(|tag| tag.strip_prefix("paranoia-level/")?.parse().ok())
    }
}

/// All rules.
#[derive(Debug)]
pub struct RuleBook {
    /// In the order they are loaded.
    pub rules: Vec<BookRule>,
    /// The same, compiled.
    pub sets: RuleSets,
    files: Files,
}

impl RuleBook {
    /// Reads and compiles what the configuration asks for.
    ///
    /// # Errors
    /// As [`RuleSets::load`].
    pub fn read(config: &Config, drafts: &[Draft]) -> Result<Self, RulesError> {
        let mut files = Files::with_drafts(drafts);
        let sets = RuleSets::load_from(config, &mut files)?;
        let mut rules: Vec<BookRule> = Vec::new();
        let mut places: BTreeMap<(u64, String, u32), usize> = BTreeMap::new();
        for set in sets.sets() {
            let Some(names) = sources(&set.inspect, &mut files)? else { continue };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let running: HashSet<u64> = set.rules.ids().collect();
            for outline in RuleSet::outline(&files, &names, &Options::default())? {
                let state = match &outline.removed_by {
                    Some(position) => RuleState::Removed(position.clone()),
                    None if running.contains(&outline.id) => RuleState::Runs,
                    None => RuleState::Decided,
                };
                let place = (outline.id, outline.position.file.to_string(), outline.position.line);
                let excepted_by = outline.excepted_by.iter().copied().filter(|id| running.contains(id)).collect();
                let state =
                    SiteState { site: SiteIndex(0), state, changed_by: outline.changed_by.clone(), excepted_by };
                let at = *places.entry(place).or_insert(rules.len());
                if at == rules.len() {
                    rules.push(BookRule { outline, sites: Vec::new() });
                }
                if let Some(rule) = rules.get_mut(at) {
                    rule.sites.extend(set.sites.iter().map(|site| SiteState { site: *site, ..state.clone() }));
                }
            }
        }
        Ok(Self { rules, sets, files })
    }

    /// The lines of a rule's file that make it up, chained rules included.
    #[must_use]
    pub fn text(&self, outline: &Outline) -> String {
        outline.links.iter().map(|link| self.directive(&link.position)).collect()
    }

    /// The lines of one directive: up to the first that does not go on.
    #[must_use]
    pub fn directive(&self, position: &Position) -> String {
        let bytes = self.files.read(&position.file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = String::new();
        for line in text.lines().skip((position.line as usize).saturating_sub(1)) {
            lines.push_str(line);
            lines.push('\n');
            if !line.ends_with('\\') {
                break;
            }
        }
        lines
    }
}
