//! Enters: parsed rules. Leaves: a [`RuleSet`]: compiled, immutable, shared by all threads. It must never depend on the
//! order of anything but the rules themselves, so that the same files always give the same set.

mod build;
mod change;
mod fold;
mod outline;

use std::sync::Arc;

pub use outline::{Outline, OutlineLink};

use crate::{
    chain::Chains,
    error::{LoadError, Position},
    filter::Filter,
    parse,
    patterns::PatternSet,
    rule::{Bundle, Removal, Rule, Step},
    settings::Settings,
    source::FileProvider,
    template::TxNames,
    variable::Variable,
};

/// A set of rules by number.
pub(crate) type RuleBits = Box<[u64]>;

/// Compiled rules. Cheap to share: put it into an `Arc` and swap that to reload.
#[derive(Debug)]
pub struct RuleSet {
    /// Which set this is, of all that were built: what a scratch remembers is of one set.
    pub(crate) number: u64,
    pub(crate) settings: Settings,
    pub(crate) rules: Vec<Rule>,
    /// For phases 1 to 5: the first links, in order. Nothing is at 0.
    pub(crate) phases: [Vec<u32>; 6],
    /// The same lists, with the test that spares most rules.
    pub(crate) steps: [Vec<Step>; 6],
    pub(crate) bundles: Vec<Bundle>,
    /// Patterns that no literal spares, those over the same values together.
    pub(crate) sets_of_patterns: Vec<PatternSet>,
    pub(crate) chains: Chains,
    pub(crate) filter: Filter,
    pub(crate) names: TxNames,
    pub(crate) sets: Vec<RuleBits>,
    pub(crate) removals: Vec<Removal>,
    /// What is set before the first rule runs, found out when loading.
    pub(crate) constants: Vec<(u16, Constant)>,
    pub(crate) looks_at_files: bool,
    signatures: Vec<String>,
    warnings: Vec<(Position, String)>,
    count: usize,
    folded: usize,
    pattern_bytes: usize,
}

/// A `TX` variable whose value is known when rules are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Constant {
    Number(i64),
    Text(Box<[u8]>),
}

/// What is in a rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Rules that were read, chains counted once.
    pub rules: usize,
    /// Rules that need not run, because their outcome was known when loading.
    pub folded: usize,
    /// About how many bytes the set holds.
    pub bytes: usize,
}

/// How to load rules, beyond what their files say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// SecLang text that is read before the files, as if it were a file named `options`.
    pub before: String,
    /// SecLang text that is read after the files.
    pub after: String,
    /// Keeps rules whose outcome is known when loading, to measure what folding is worth.
    pub keep_constant_rules: bool,
}

impl RuleSet {
    /// Loads rule files, in order, and what they include.
    ///
    /// # Errors
    /// The first directive that cannot be read or is not supported, by file and line.
    pub fn load(files: &dyn FileProvider, names: &[&str], options: &Options) -> Result<Self, LoadError> {
        let overlay = Overlay { files, options };
        let mut parsed = read(&overlay, names, options)?;
        change::apply(&mut parsed)?;
        build::build(parsed, &overlay, options)
    }

    /// Loads one text.
    ///
    /// # Errors
    /// As [`RuleSet::load`].
    pub fn from_text(text: &str) -> Result<Self, LoadError> {
        let files = crate::source::MemoryFiles::new().with("rules", text);
        Self::load(&files, &["rules"], &Options::default())
    }

    /// The settings that the files made.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is in the set.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let rules: usize = self.rules.capacity() * size_of::<Rule>();
        let sets: usize = self.sets_of_patterns.iter().map(PatternSet::bytes).sum();
        let bytes = rules + self.filter.memory() + self.pattern_bytes + sets;
        Summary { rules: self.count, folded: self.folded, bytes }
    }

    /// What loads but needs something of the host to match, by place.
    #[must_use]
    pub fn warnings(&self) -> &[(Position, String)] {
        &self.warnings
    }

    /// `SecComponentSignature` of every component.
    #[must_use]
    pub fn signatures(&self) -> &[String] {
        &self.signatures
    }

    /// The ids of all rules that can run, in order of their phases.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.phases.iter().flatten().filter_map(|at| self.rules.get(*at as usize)).map(|rule| rule.id)
    }

    /// The ids of rules whose operator runs on every value: no test of bytes or literals spares it.
    pub fn untested_ids(&self) -> impl Iterator<Item = u64> + '_ {
        let first = self.steps.iter().flatten().filter_map(|step| self.rules.get(step.first as usize));
        first.filter(|rule| rule.slot.is_none() && !rule.targets.is_empty()).map(|rule| rule.id)
    }

    /// Rules that have something to do once the head of a response is in, with its body or without: those of phases 3 and 4
    /// that refuse, log or change something, and those of phase 5 that tell of the head.
    pub fn response_head_ids(&self) -> impl Iterator<Item = u64> + '_ {
        let chain = |step: &Step| {
            std::iter::successors(self.rules.get(step.first as usize), |rule| {
                rule.next.and_then(|next| self.rules.get(next as usize))
            })
        };
        let during = self.steps[3].iter().chain(&self.steps[4]);
        let during =
            during.filter(move |step| chain(step).any(Rule::acts) && !chain(step).any(Rule::needs_response_body));
        let after = self.steps[5].iter().filter(move |step| chain(step).any(Rule::tells_of_response_head));
        during.chain(after).filter_map(|step| self.rules.get(step.first as usize)).map(|rule| rule.id)
    }

    /// Whether any rule looks at a variable.
    pub(crate) fn looks_at(&self, variable: Variable) -> bool {
        self.rules.iter().any(|rule| rule.targets.iter().any(|target| target.variable == variable))
    }
}

/// Parses the files between the texts of the options.
fn read(files: &Overlay<'_>, names: &[&str], options: &Options) -> Result<parse::Parsed, LoadError> {
    let mut all = Vec::with_capacity(names.len() + 2);
    if !options.before.is_empty() {
        all.push(BEFORE);
    }
    all.extend_from_slice(names);
    if !options.after.is_empty() {
        all.push(AFTER);
    }
    parse::parse(files, &all)
}

const BEFORE: &str = "options:before";
const AFTER: &str = "options:after";

/// The files, and the texts of the options beside them.
struct Overlay<'a> {
    files: &'a dyn FileProvider,
    options: &'a Options,
}

impl FileProvider for Overlay<'_> {
    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        match name {
            BEFORE => Ok(self.options.before.clone().into_bytes()),
            AFTER => Ok(self.options.after.clone().into_bytes()),
            _ => self.files.read(name),
        }
    }

    fn expand(&self, pattern: &str) -> Result<Vec<String>, String> {
        match pattern {
            BEFORE | AFTER => Ok(vec![pattern.to_owned()]),
            _ => self.files.expand(pattern),
        }
    }
}

/// A rule set that threads share.
pub type SharedRules = Arc<RuleSet>;
