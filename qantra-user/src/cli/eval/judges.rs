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
    config::{Config, InspectConfig, Ruleset, SiteIndex},
    inspect::{RequestView, RuleReport, RuleRun, RuleSigns, RuleSite},
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
    /// A rule denies it by itself, whatever the score: nobody has to agree.
    pub(super) by_rule_alone: bool,
    /// The rules that say so.
    pub(super) rule_ids: Vec<u64>,
    /// The gate sends it to the classifier.
    pub(super) flagged: bool,
    /// By how much its worst field is above the gate's threshold.
    pub(super) excess: f32,
    /// The models, from its fields alone.
    pub(super) by_fields: Answer,
    /// The models, from its fields and from what rules matched: the same where there are no rules.
    pub(super) by_all: Answer,
    pub(super) rules_ns: u64,
    pub(super) models_ns: u64,
}

impl Verdict {
    /// The models refuse it, from its fields alone.
    pub(super) const fn by_models(&self) -> bool {
        matches!(self.by_fields, Answer::Attack(_))
    }

    /// It is refused where `inspect.confirm` is `models`: rules are evidence for the models, which have the last word.
    pub(super) const fn by_both(&self) -> bool {
        self.by_rule_alone || matches!(self.by_all, Answer::Attack(_))
    }

    /// It is refused where `inspect.confirm` is `none`.
    pub(super) const fn by_either(&self) -> bool {
        self.by_rules || matches!(self.by_all, Answer::Attack(_))
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
            // As Debian's package has them, where it is installed.
            (None, Ruleset::None) => Some(InspectConfig::default().crs_dir)
                .filter(|dir| dir.is_dir())
                .map(|dir| rules::with_crs(&dir))
                .transpose()?,
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
        calibrate::run(path, max_false_positive_rate, self)
    }

    pub(super) const fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Without rules and with them.
    pub(super) const fn confidence(&self) -> [f32; 2] {
        [self.models.confidence(false), self.models.confidence(true)]
    }

    pub(super) fn set_confidence(&mut self, with_rules: bool, confidence: f32) {
        self.models.set_confidence(with_rules, confidence);
    }

    /// `SecComponentSignature`s of the rules.
    pub(super) fn components(&self) -> Vec<String> {
        self.rules.as_ref().map_or_else(Vec::new, |rules| rules.rules.signatures().to_vec())
    }

    pub(super) fn judge(&mut self, request: &RequestView<'_>) -> Result<Verdict> {
        let began_ns = clock::boot_ns();
        let report = self.ask_rules(request);
        let signs = report.as_ref().map(RuleSigns::of);
        let ruled_ns = clock::boot_ns();
        let (score, by_all) = self.models.judge(request, &mut self.model_scratch, signs)?;
        let ended_ns = clock::boot_ns();
        // Not counted: the daemon asks once.
        let by_fields = match signs {
            Some(_) => self.models.judge(request, &mut self.model_scratch, None)?.1,
            None => by_all.clone(),
        };
        let ending = report.as_ref().and_then(|report| report.ending.as_ref());
        Ok(Verdict {
            by_rules: ending.is_some(),
            by_rule_alone: ending.is_some_and(|ending| !ending.is_by_score()),
            flagged: score.flagged,
            excess: score.excess,
            by_fields,
            by_all,
            rule_ids: report.map(|report| report.ids).unwrap_or_default(),
            rules_ns: ruled_ns.saturating_sub(began_ns),
            models_ns: ended_ns.saturating_sub(ruled_ns),
        })
    }

    /// What rules make of a request, with the engine on; `None` without rules.
    fn ask_rules(&mut self, request: &RequestView<'_>) -> Option<RuleReport> {
        let rules = self.rules.as_ref()?;
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
        Some(report.unwrap_or_default())
    }
}
