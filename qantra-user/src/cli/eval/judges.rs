//! Who judges: the rules of a site and the request models, by the code that the daemon runs. Enters: a request. Leaves: what
//! each said of it, and how long that took.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::{Error, Result};
use qantra_seclang::{Connection, EngineMode, Host, NoCollections, NoLookups, Scratch};

use super::{Args, calibrate};
use crate::{
    cli::{error::CliError, rules},
    clock::{self, Now},
    config::{Config, Ruleset, SiteIndex},
    detect::stands_alone,
    inspect::{RequestView, RuleRun, RuleSite},
    model::{self, Answer, InlineRequestModels},
    rules::{RuleSets, SiteRules},
};

/// Rules, when there are some, and models.
pub(super) struct Judges {
    models: InlineRequestModels,
    model_scratch: model::Scratch,
    rules: Option<SiteRules>,
    /// Memory of the last transaction, for the next.
    rule_scratch: Option<Box<Scratch>>,
    now_s: u64,
}

/// What was said of one request.
pub(super) struct Verdict {
    /// Rules refuse it.
    pub(super) by_rules: bool,
    /// They would with nobody's word: where `inspect.confirm` asks the models to agree.
    pub(super) rules_stand_alone: bool,
    /// The rules that say so.
    pub(super) rule_ids: Vec<u64>,
    /// The gate sends it to the classifier.
    pub(super) flagged: bool,
    /// By how much its worst field is above the gate's threshold.
    pub(super) excess: f32,
    pub(super) answer: Answer,
    pub(super) rules_ns: u64,
    pub(super) models_ns: u64,
}

impl Verdict {
    /// Rules refuse it where `inspect.confirm` is `models`.
    pub(super) const fn by_confirmed_rules(&self) -> bool {
        self.by_rules && (self.flagged || self.rules_stand_alone)
    }

    /// The models refuse it.
    pub(super) const fn by_models(&self) -> bool {
        matches!(self.answer, Answer::Attack(_))
    }
}

impl Judges {
    pub(super) fn load(args: &Args, config: &Config) -> Result<Self, CliError> {
        let dir = args.models.as_ref().unwrap_or(&config.models.dir);
        let runtime = args.runtime.as_ref().unwrap_or(&config.models.runtime);
        let confidence = args.confidence.or(config.models.request_confidence);
        let models = InlineRequestModels::load(dir, runtime, confidence).map_err(Error::from)?;
        let rules = match (&args.crs, config.inspect.ruleset) {
            (Some(crs), _) => Some(rules::with_crs(crs)?),
            // As a site without settings of its own has them.
            (None, Ruleset::Crs) => Some(Config { inspect: config.inspect.clone(), ..Config::default() }),
            (None, Ruleset::None) => None,
        };
        let rules = match rules {
            Some(config) => RuleSets::load(&rules::with_a_site(config))?.site(SiteIndex(0)).cloned(),
            None => None,
        };
        let now_s = Now::read().unix_ms / 1_000;
        Ok(Self { models, model_scratch: model::Scratch::default(), rules, rule_scratch: None, now_s })
    }

    /// Sets the models' confidence by the benign requests of a file, and gives how many there were.
    pub(super) fn calibrate(&mut self, path: &Path, max_false_positive_rate: f64) -> Result<usize> {
        calibrate::run(path, max_false_positive_rate, &mut self.models)
    }

    pub(super) const fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    pub(super) const fn confidence(&self) -> f32 {
        self.models.confidence()
    }

    /// `SecComponentSignature`s of the rules.
    pub(super) fn components(&self) -> Vec<String> {
        self.rules.as_ref().map_or_else(Vec::new, |rules| rules.rules.signatures().to_vec())
    }

    pub(super) fn judge(&mut self, request: &RequestView<'_>) -> Result<Verdict> {
        let began_ns = clock::boot_ns();
        let (by_rules, rules_stand_alone, rule_ids) = self.ask_rules(request);
        let ruled_ns = clock::boot_ns();
        let (score, answer) = self.models.judge(request, &mut self.model_scratch)?;
        let ended_ns = clock::boot_ns();
        Ok(Verdict {
            by_rules,
            rules_stand_alone,
            rule_ids,
            flagged: score.flagged,
            excess: score.excess,
            answer,
            rules_ns: ruled_ns.saturating_sub(began_ns),
            models_ns: ended_ns.saturating_sub(ruled_ns),
        })
    }

    /// Whether rules refuse a request, with the engine on; whether they do so by their word alone; and those that matched.
    fn ask_rules(&mut self, request: &RequestView<'_>) -> (bool, bool, Vec<u64>) {
        let Some(rules) = &self.rules else { return (false, false, Vec::new()) };
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let connection = Connection { client, client_port: 40_000, server: local, server_port: 80, unique_id: "eval" };
        let mut host = Host { now_s: self.now_s, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
        let site = RuleSite { rules: rules.rules.clone(), engine: EngineMode::On, name: &rules.name };
        let mut run = RuleRun::begin(site, self.rule_scratch.take().unwrap_or_default(), request, &connection);
        if !run.head(request, &mut host) {
            run.body(&mut host);
        }
        let report = run.report();
        self.rule_scratch = Some(run.end(&mut host));
        report.map_or_else(
            || (false, false, Vec::new()),
            |report| (report.ending.is_some(), stands_alone(&report), report.ids),
        )
    }
}
