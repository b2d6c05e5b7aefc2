//! Enters: a checked configuration, and the rule files that it names. Leaves: [`RuleSets`], an immutable value: which
//! compiled rules and which engine each site has. It must never run a rule, nor hand out half of what was asked for: a
//! rule file that cannot be read or understood is an error that names file, line and reason.

mod book;
mod error;
mod files;
mod layout;
mod patch;
mod secl;
mod sets;
#[cfg(test)]
mod tests;

pub use book::{BookRule, RuleBook, RuleState, SiteState};
pub use error::RulesError;
pub use files::{Draft, RuleFile};
pub use patch::{Patch, PatchAllows, PatchError, PatchFile};
pub use sets::{LoadedSet, RuleSets, SiteRules};

/// Ids of rules that Qantra writes: far from those of the Core Rule Set, of its plugins and of people's own (1 to 99,999).
pub mod ids {
    /// Rules that hand the configuration's settings to the Core Rule Set.
    pub const SETTINGS: u64 = 70_000_000;
    /// Rules made of `[[inspect.exclude]]`.
    pub const EXCLUSIONS: u64 = 70_100_000;
    /// Virtual patches.
    pub const PATCHES: std::ops::RangeInclusive<u64> = 70_200_000..=70_299_999;

    /// Whether a rule of the Core Rule Set only adds up scores and refuses for them: without others it has nothing to say.
    #[must_use]
    pub const fn is_of_scores(id: u64) -> bool {
        matches!(id, 949_000..=949_999 | 959_000..=959_999 | 980_000..=980_999)
    }
}
