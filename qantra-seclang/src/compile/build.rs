//! Enters: rules after all changes. Leaves: the compiled set. Patterns that stand in several rules are compiled once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use foldhash::{HashMap, HashMapExt as _};

use super::{
    Options, RuleBits, RuleSet,
    change::is_in,
    fold::{Folded, fold},
};
use crate::{
    body::Processor,
    chain::Chains,
    error::{LoadError, Position, Reason},
    filter::FilterBuilder,
    operator::{Operator, OperatorContext},
    parse::{
        Actions, Ctl, CtlScope, Disruptive, Entry, Link, Parsed, RuleAst, Selector, SetVar, SetVarValue, TargetAst,
    },
    patterns::{PatternSet, takes_plain_values},
    regex::{Pattern, Requirement},
    rule::{
        Assign, Bundle, Control, Disruption, Effects, Exception, Meta, Name, Removal, Rule, Select, Step, Target, Test,
        Value,
    },
    settings::EngineMode,
    source::FileProvider,
    template::{Template, TxNames},
    variable::{Kind, Variable},
};

/// How many sets were built.
static BUILT: AtomicU64 = AtomicU64::new(0);

pub(super) fn build(parsed: Parsed, files: &dyn FileProvider, options: &Options) -> Result<RuleSet, LoadError> {
    let chains = Chains::new(parsed.unicode_map.clone());
    let mut builder = Builder {
        files,
        backtrack_limit: parsed.settings.backtrack_limit,
        names: TxNames::default(),
        chains,
        filter: FilterBuilder::default(),
        pattern_bytes: 0,
        rules: Vec::new(),
        firsts: Vec::new(),
        scopes: Vec::new(),
        removals: Vec::new(),
    };
    check_ids(&parsed.entries)?;
    let mut phases = builder.entries(&parsed.entries)?;
    let sets = builder.sets(&parsed.entries);
    let mut folded = fold(&mut builder.rules, &mut phases, &sets, &builder.names, options.keep_constant_rules);
    if options.keep_constant_rules {
        folded.gone.clear();
        folded.constants.clear();
    }
    builder.drop_rules(&folded.gone);
    builder.compile_patterns(&folded)?;
    builder.assign_slots();
    let filter = builder.filter.build().map_err(|why| LoadError {
        position: Position { file: "all rules".into(), line: 0 },
        reason: Reason::Pattern { pattern: "the literals of all rules".to_owned(), why },
    })?;
    let mut tests = Tests::default();
    let mut steps = phases.each_ref().map(|list| tests.steps(list, &builder.rules));
    tests.sets(&mut steps);
    let pattern_bytes = builder.pattern_bytes
        + builder
            .rules
            .iter()
            .map(|rule| if let Operator::Pm(set) = &rule.operator { set.bytes() } else { 0 })
            .sum::<usize>();
    let count = parsed.entries.iter().filter(|entry| matches!(entry, Entry::Rule(_))).count();
    let warnings = warnings(&builder.rules);
    let mut set = RuleSet {
        number: BUILT.fetch_add(1, Ordering::Relaxed) + 1,
        settings: parsed.settings,
        rules: builder.rules,
        phases,
        steps,
        bundles: tests.bundles,
        sets_of_patterns: tests.sets,
        chains: builder.chains,
        filter,
        names: builder.names,
        sets,
        removals: builder.removals,
        constants: folded.constants,
        looks_at_files: false,
        signatures: parsed.signatures,
        warnings,
        count,
        folded: folded.gone.len(),
        pattern_bytes,
    };
    set.looks_at_files = set.looks_at(Variable::FilesTmpContent);
    Ok(set)
}

/// What rules that run need of the host, once for each place.
fn warnings(rules: &[Rule]) -> Vec<(Position, String)> {
    let of_rule = |rule: &Rule| {
        let name = match rule.operator {
            Operator::Geo => "geoLookup",
            Operator::BlockList(_) => "rbl",
            _ => return None,
        };
        Some((rule.meta.position.clone(), format!("@{name} matches only when the host looks it up")))
    };
    rules.iter().filter_map(of_rule).collect()
}

/// The lists of phases with the tests that spare most rules.
#[derive(Default)]
struct Tests {
    bundles: Vec<Bundle>,
    /// For each bundle: the patterns that no literal spares.
    patterns: Vec<Vec<String>>,
    sets: Vec<PatternSet>,
}

impl Tests {
    /// The number of a bundle.
    fn bundle(&mut self, bundle: Bundle) -> Option<u16> {
        let at = self.bundles.iter().position(|known| *known == bundle).unwrap_or_else(|| {
            self.bundles.push(bundle);
            self.patterns.push(Vec::new());
            self.bundles.len() - 1
        });
        u16::try_from(at).ok()
    }

    /// A phase's list, with the bundle of rules whose pattern may go into a set.
    fn steps(&mut self, list: &[u32], rules: &[Rule]) -> Vec<Step> {
        let step = |first: &u32| {
            let test = rules.get(*first as usize).and_then(|rule| {
                let bundle = self.bundle(bundle(rule)?)?;
                match (rule.slot, &rule.operator) {
                    (Some(slot), _) => Some(Test::Slot { bundle, slot }),
                    (None, Operator::Rx(pattern)) if !takes_plain_values(pattern) => {
                        let known = self.patterns.get_mut(usize::from(bundle))?;
                        if !known.iter().any(|known| known == pattern.text()) {
                            known.push(pattern.text().to_owned());
                        }
                        Some(Test::Set(bundle))
                    }
                    _ => None,
                }
            });
            Step { first: *first, test: test.unwrap_or(Test::Nothing) }
        };
        list.iter().map(step).collect()
    }

    /// Builds the sets, and gives each rule the number of its own.
    fn sets(&mut self, steps: &mut [Vec<Step>; 6]) {
        let mut numbers = vec![None; self.bundles.len()];
        for (bundle, patterns) in (0_u16..).zip(&self.patterns) {
            // A pattern alone is tried by its rule.
            if patterns.len() > 1
                && let Some(set) = PatternSet::new(bundle, &patterns.iter().map(String::as_str).collect::<Vec<_>>())
            {
                numbers[usize::from(bundle)] = u16::try_from(self.sets.len()).ok();
                self.sets.push(set);
            }
        }
        for step in steps.iter_mut().flatten() {
            if let Test::Set(bundle) = step.test {
                step.test = numbers[usize::from(bundle)].map_or(Test::Nothing, Test::Set);
            }
        }
    }
}

/// The groups of a rule, when one test can speak for all of them.
fn bundle(rule: &Rule) -> Option<Bundle> {
    if rule.negated || !rule.prefixes.is_empty() || rule.targets.is_empty() {
        return None;
    }
    let mut groups = Vec::new();
    for target in &rule.targets {
        if target.count || target.variable.kind() == Kind::Dynamic {
            return None;
        }
        groups.extend(crate::transaction::groups_of(target.variable).into_iter().flatten());
    }
    groups.sort_unstable();
    groups.dedup();
    Some(Bundle { groups: groups.into(), chain: rule.chain })
}

/// Compiles patterns in the order they are given, shared out between threads.
fn compile_all(texts: &[&str], backtrack_limit: usize) -> Vec<Result<(Arc<Pattern>, Requirement), Reason>> {
    const THREADS_MAX: usize = 8;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(texts.len()).max(1);
    let compile = |text: &str| {
        let (pattern, requirement) = Pattern::with_requirement(text, false, backtrack_limit)?;
        Ok((Arc::new(pattern), requirement))
    };
    std::thread::scope(|scope| {
        // Each thread takes every nth, since neighbours are alike in size.
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn(move || {
                    texts.iter().skip(first).step_by(threads).map(|text| compile(text)).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut shares: Vec<_> =
            workers.into_iter().map(|worker| worker.join().unwrap_or_default().into_iter()).collect();
        let lost = || Err(Reason::Syntax("a thread that compiled patterns ended early"));
        (0..texts.len()).map(|at| shares[at % threads].next().unwrap_or_else(lost)).collect()
    })
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn check_ids(entries: &[Entry]) -> Result<(), LoadError> {
    let mut seen: HashMap<u64, &Position> = HashMap::new();
    for entry in entries {
        let Entry::Rule(rule) = entry else { continue };
        let Some(link) = rule.first() else { continue };
        if let Some(first) = seen.insert(rule.id(), &link.position) {
            let reason = Reason::DuplicateId { id: rule.id(), first: first.clone() };
            return Err(LoadError { position: link.position.clone(), reason });
        }
    }
    Ok(())
}

struct Builder<'a> {
    files: &'a dyn FileProvider,
    backtrack_limit: usize,
    names: TxNames,
    chains: Chains,
    filter: FilterBuilder,
    pattern_bytes: usize,
    rules: Vec<Rule>,
    /// The number of the first link of every rule, in order of entries.
    firsts: Vec<u32>,
    /// What `ctl` actions speak of; their sets are made when all rules are known.
    scopes: Vec<CtlScope>,
    removals: Vec<Removal>,
}

impl Builder<'_> {
    /// Compiles all rules; the list of each phase, with jumps resolved.
    fn entries(&mut self, entries: &[Entry]) -> Result<[Vec<u32>; 6], LoadError> {
        let mut phases: [Vec<u32>; 6] = std::array::from_fn(|_| Vec::new());
        // For each label: how many rules of each phase stand before it.
        let mut labels: HashMap<String, [usize; 6]> = HashMap::new();
        let mut jumps = Vec::new();
        for entry in entries {
            match entry {
                Entry::Marker(label) => {
                    labels.insert(label.clone(), std::array::from_fn(|phase| phases[phase].len()));
                }
                Entry::Rule(rule) => {
                    let first = self.rule(rule)?;
                    phases[usize::from(rule.phase())].push(first);
                    labels.insert(rule.id().to_string(), std::array::from_fn(|phase| phases[phase].len()));
                    if let Some(link) = rule.first()
                        && let Some(label) = &link.actions.skip_after
                    {
                        jumps.push((first, label.clone(), link.position.clone()));
                    }
                }
            }
        }
        for (rule, label, position) in jumps {
            let Some(places) = labels.get(&label) else {
                return Err(LoadError { position, reason: Reason::Unknown { kind: "skipAfter label", name: label } });
            };
            let rule = &mut self.rules[rule as usize];
            rule.skip_to = Some(index(places[usize::from(rule.phase)]));
        }
        Ok(phases)
    }

    fn rule(&mut self, rule: &RuleAst) -> Result<u32, LoadError> {
        let first = index(self.rules.len());
        self.firsts.push(first);
        let last = rule.links.len() - 1;
        for (at, link) in rule.links.iter().enumerate() {
            let compiled =
                self.link(rule, link).map_err(|reason| LoadError { position: link.position.clone(), reason })?;
            let next = (at < last).then(|| index(self.rules.len() + 1));
            self.rules.push(Rule { next, ..compiled });
        }
        Ok(first)
    }

    /// Frees what rules that never run hold.
    fn drop_rules(&mut self, gone: &[u32]) {
        for first in gone {
            let mut next = Some(*first);
            while let Some(rule) = next.and_then(|at| self.rules.get_mut(at as usize)) {
                rule.operator = Operator::Never;
                rule.targets = Box::default();
                rule.effects = Effects::default();
                next = rule.next;
            }
        }
    }

    /// Compiles the patterns of the rules that are left, each once, on every core.
    fn compile_patterns(&mut self, folded: &Folded) -> Result<(), LoadError> {
        let known: HashMap<u32, &[u8]> =
            folded.patterns.iter().map(|(number, text)| (*number, text.as_slice())).collect();
        let mut wanted: Vec<(usize, String)> = Vec::new();
        for (number, rule) in self.rules.iter().enumerate() {
            let Operator::RxTemplate(template) = &rule.operator else { continue };
            let Some(text) = template.constant().or_else(|| known.get(&index(number)).copied()) else {
                let why = "what it stands for depends on the request; use @streq, @contains or @within";
                let reason = Reason::Unsupported { kind: "operator", name: "@rx with a macro".to_owned(), why };
                return Err(LoadError { position: rule.meta.position.clone(), reason });
            };
            wanted.push((number, String::from_utf8_lossy(text).into_owned()));
        }
        let mut texts: Vec<&str> = wanted.iter().map(|(_, text)| text.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        let compiled = compile_all(&texts, self.backtrack_limit);
        for (number, text) in &wanted {
            let Ok(at) = texts.binary_search(&text.as_str()) else { continue };
            let rule = &mut self.rules[*number];
            match &compiled[at] {
                Ok((pattern, requirement)) => {
                    rule.operator = Operator::Rx(pattern.clone());
                    if !rule.negated {
                        rule.slot = self.filter.slot(requirement);
                    }
                }
                Err(reason) => {
                    return Err(LoadError { position: rule.meta.position.clone(), reason: reason.clone() });
                }
            }
        }
        self.pattern_bytes = compiled.iter().flatten().map(|(pattern, _)| pattern.bytes()).sum();
        Ok(())
    }

    /// Gives every operator that is left the number of what it needs.
    fn assign_slots(&mut self) {
        for rule in self.rules.iter_mut().filter(|rule| !rule.negated && rule.slot.is_none()) {
            if let requirement @ (Requirement::Literals(_) | Requirement::Bytes(_)) = rule.operator.requirement() {
                rule.slot = self.filter.slot(&requirement);
            }
        }
    }

    fn link(&mut self, rule: &RuleAst, link: &Link) -> Result<Rule, Reason> {
        let actions = &link.actions;
        let operator = self.operator(link)?;
        let negated = link.operator.as_ref().is_some_and(|operator| operator.negated);
        let too_many = || Reason::TooMany { what: "transformation chains", limit: usize::from(u16::MAX) };
        let chain = self.chains.intern(&actions.transforms).ok_or_else(too_many)?;
        let mut prefixes = Vec::new();
        if actions.multi_match {
            for length in 0..=actions.transforms.len() {
                prefixes.push(self.chains.intern(&actions.transforms[..length]).ok_or_else(too_many)?);
            }
        }
        Ok(Rule {
            id: rule.id(),
            phase: rule.phase(),
            next: None,
            targets: self.targets(&link.targets)?,
            operator,
            negated,
            chain,
            prefixes: prefixes.into(),
            slot: None,
            capture: actions.capture,
            effects: self.effects(actions)?,
            disruption: self.disruption(actions)?,
            status: actions.status.unwrap_or(403),
            skip: actions.skip.unwrap_or(0),
            skip_to: None,
            meta: self.meta(link)?,
        })
    }

    fn operator(&mut self, link: &Link) -> Result<Operator, Reason> {
        let Some(ast) = &link.operator else { return Ok(Operator::Always) };
        let limit = self.backtrack_limit;
        let mut context =
            OperatorContext { files: self.files, file: &link.file, names: &mut self.names, backtrack_limit: limit };
        Operator::compile(ast, &mut context)
    }

    fn select(&mut self, selector: &Selector) -> Result<Select, Reason> {
        Ok(match selector {
            Selector::All => Select::All,
            Selector::Key(key) => Select::Key(key.as_bytes().into()),
            Selector::Pattern(text) => Select::Pattern(Arc::new(Pattern::compile(text, true, self.backtrack_limit)?)),
        })
    }

    fn targets(&mut self, list: &[TargetAst]) -> Result<Box<[Target]>, Reason> {
        let mut exceptions = Vec::new();
        for target in list.iter().filter(|target| target.excluded) {
            exceptions.push(Exception { variable: target.variable, select: self.select(&target.selector)? });
        }
        let mut targets = Vec::new();
        for target in list.iter().filter(|target| !target.excluded) {
            let slot = match &target.selector {
                Selector::Key(key) if target.variable == Variable::Tx => Some(self.names.slot(key)),
                _ => None,
            };
            let related = |exception: &&Exception| {
                let groups = crate::transaction::groups_of(target.variable);
                groups
                    .iter()
                    .flatten()
                    .any(|group| crate::transaction::groups_of(exception.variable).contains(&Some(*group)))
            };
            let except: Vec<Exception> = exceptions.iter().filter(related).cloned().collect();
            targets.push(Target {
                variable: target.variable,
                select: self.select(&target.selector)?,
                count: target.count,
                slot,
                except: except.into(),
            });
        }
        Ok(targets.into())
    }

    fn template(&mut self, text: &str) -> Result<Template, Reason> {
        Template::parse(text, &mut self.names)
    }

    fn optional(&mut self, text: Option<&String>) -> Result<Template, Reason> {
        text.map_or_else(|| Ok(Template::default()), |text| self.template(text))
    }

    fn assign(&mut self, set: &SetVar) -> Result<Assign, Reason> {
        let name = if set.collection == Variable::Tx && !set.name.contains("%{") {
            Name::Slot(self.names.slot(&set.name))
        } else {
            Name::Text(self.template(&set.name)?)
        };
        let value = match &set.value {
            SetVarValue::Unset => Value::Unset,
            SetVarValue::Add(text) => Value::Add(self.template(text)?, 1),
            SetVarValue::Subtract(text) => Value::Add(self.template(text)?, -1),
            SetVarValue::Set(text) => match text.parse::<i64>() {
                Ok(number) if number.to_string() == *text => Value::Number(number),
                _ => Value::Text(self.template(text)?),
            },
        };
        Ok(Assign { collection: set.collection, name, value })
    }

    fn effects(&mut self, actions: &Actions) -> Result<Effects, Reason> {
        let mut effects = Effects::default();
        for set in &actions.set_vars {
            effects.assigns.push(self.assign(set)?);
        }
        for (collection, name, seconds) in &actions.expire_vars {
            effects.expires.push((*collection, self.template(name)?, self.template(seconds)?));
        }
        for opened in &actions.collections {
            effects.opens.push((opened.collection, self.template(&opened.key)?));
        }
        for (name, value) in &actions.set_env {
            effects.env.push((name.as_bytes().into(), self.template(value)?));
        }
        for ctl in &actions.ctls {
            self.control(ctl, &mut effects.controls)?;
        }
        Ok(effects)
    }

    fn scope(&mut self, scope: &CtlScope) -> u32 {
        let at = self.scopes.iter().position(|known| known == scope).unwrap_or_else(|| {
            self.scopes.push(scope.clone());
            self.scopes.len() - 1
        });
        index(at)
    }

    fn control(&mut self, ctl: &Ctl, controls: &mut Vec<Control>) -> Result<(), Reason> {
        match ctl {
            Ctl::RuleRemove(scope) => controls.push(Control::Remove(self.scope(scope))),
            Ctl::RuleRemoveTarget(scope, targets) => {
                let set = self.scope(scope);
                for target in targets {
                    let exception = Exception { variable: target.variable, select: self.select(&target.selector)? };
                    controls.push(Control::RemoveTarget(index(self.removals.len())));
                    self.removals.push(Removal { set, exception });
                }
            }
            Ctl::RuleEngine(word) => controls.extend(EngineMode::from_word(word).map(Control::Engine)),
            Ctl::RequestBodyAccess(on) => controls.push(Control::RequestBodyAccess(*on)),
            Ctl::ResponseBodyAccess(on) => controls.push(Control::ResponseBodyAccess(*on)),
            Ctl::ForceRequestBodyVariable(on) => controls.push(Control::ForceRequestBody(*on)),
            Ctl::RequestBodyProcessor(name) => {
                controls.extend(Processor::from_name(name).map(Control::RequestProcessor))
            }
            // The audit log is written by the host, from the matches; see `Settings`.
            Ctl::Audit(_) => {}
        }
        Ok(())
    }

    fn disruption(&mut self, actions: &Actions) -> Result<Disruption, Reason> {
        Ok(match &actions.disruptive {
            None | Some(Disruptive::Pass | Disruptive::Block) => Disruption::Pass,
            Some(Disruptive::Deny) => Disruption::Deny,
            Some(Disruptive::Drop) => Disruption::Drop,
            Some(Disruptive::Redirect(to)) => Disruption::Redirect(self.template(to)?),
            Some(Disruptive::Allow(scope)) => Disruption::Allow(*scope),
        })
    }

    fn meta(&mut self, link: &Link) -> Result<Meta, Reason> {
        let actions = &link.actions;
        let tags = actions.tags.iter().map(|tag| self.template(tag)).collect::<Result<Vec<_>, _>>()?;
        Ok(Meta {
            msg: self.optional(actions.msg.as_ref())?,
            logdata: self.optional(actions.logdata.as_ref())?,
            tags,
            severity: actions.severity,
            rev: actions.rev.clone(),
            ver: actions.ver.clone(),
            position: link.position.clone(),
            log: actions.log.unwrap_or(true),
            audit: actions.audit_log.unwrap_or(true),
            sanitise: actions.sanitise_matched,
        })
    }

    /// The rules that each scope of a `ctl` speaks of, by the number of their first link.
    fn sets(&self, entries: &[Entry]) -> Vec<RuleBits> {
        let words = self.rules.len().div_ceil(64);
        let rules = || {
            entries.iter().filter_map(|entry| match entry {
                Entry::Rule(rule) => Some(rule),
                Entry::Marker(_) => None,
            })
        };
        self.scopes
            .iter()
            .map(|scope| {
                let mut bits = vec![0_u64; words];
                for (rule, first) in rules().zip(&self.firsts) {
                    if is_in(rule, scope) {
                        bits[(first >> 6) as usize] |= 1 << (first & 63);
                    }
                }
                bits.into()
            })
            .collect()
    }
}
