//! Enters: rules after all changes. Leaves: the compiled set. Patterns that stand in several rules are compiled once.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::{Options, RuleBits, RuleSet, change::is_in};
use crate::{
    body::Processor,
    chain::Chains,
    error::{LoadError, Position, Reason},
    filter::FilterBuilder,
    operator::{Operator, OperatorContext},
    parse::{
        Actions, Ctl, CtlScope, Disruptive, Entry, Link, Parsed, RuleAst, Selector, SetVar, SetVarValue, TargetAst,
    },
    regex::Pattern,
    rule::{Assign, Control, Disruption, Effects, Exception, Meta, Name, Rule, Select, Target, Value},
    settings::EngineMode,
    source::FileProvider,
    template::{Template, TxNames},
    variable::Variable,
};

pub(super) fn build(parsed: Parsed, files: &dyn FileProvider, options: &Options) -> Result<RuleSet, LoadError> {
    let _ = options;
    let chains = Chains::new(parsed.unicode_map.clone());
    let mut builder = Builder {
        files,
        backtrack_limit: parsed.settings.backtrack_limit,
        names: TxNames::default(),
        chains,
        filter: FilterBuilder::default(),
        patterns: HashMap::new(),
        rules: Vec::new(),
        firsts: Vec::new(),
        scopes: Vec::new(),
        warnings: Vec::new(),
    };
    check_ids(&parsed.entries)?;
    let mut phases: [Vec<u32>; 6] = std::array::from_fn(|_| Vec::new());
    // For each label: how many rules of each phase stand before it.
    let mut labels: HashMap<String, [usize; 6]> = HashMap::new();
    let mut jumps = Vec::new();
    for entry in &parsed.entries {
        match entry {
            Entry::Marker(label) => {
                labels.insert(label.clone(), std::array::from_fn(|phase| phases[phase].len()));
            }
            Entry::Rule(rule) => {
                let first = builder.rule(rule)?;
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
        let rule = &mut builder.rules[rule as usize];
        rule.skip_to = Some(index(places[usize::from(rule.phase)]));
    }
    let sets = builder.sets(&parsed.entries);
    let filter = builder.filter.build().map_err(|why| LoadError {
        position: Position { file: "all rules".into(), line: 0 },
        reason: Reason::Pattern { pattern: "the literals of all rules".to_owned(), why },
    })?;
    let pattern_bytes = builder.patterns.values().map(|pattern| pattern.bytes()).sum::<usize>()
        + builder
            .rules
            .iter()
            .map(|rule| if let Operator::Pm(set) = &rule.operator { set.bytes() } else { 0 })
            .sum::<usize>();
    let count = parsed.entries.iter().filter(|entry| matches!(entry, Entry::Rule(_))).count();
    let mut set = RuleSet {
        settings: parsed.settings,
        rules: builder.rules,
        phases,
        chains: builder.chains,
        filter,
        names: builder.names,
        sets,
        constants: Vec::new(),
        looks_at_files: false,
        signatures: parsed.signatures,
        warnings: builder.warnings,
        count,
        folded: 0,
        pattern_bytes,
    };
    set.looks_at_files = set.looks_at(Variable::FilesTmpContent);
    Ok(set)
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
    patterns: HashMap<String, Arc<Pattern>>,
    rules: Vec<Rule>,
    /// The number of the first link of every rule, in order of entries.
    firsts: Vec<u32>,
    /// What `ctl` actions speak of; their sets are made when all rules are known.
    scopes: Vec<CtlScope>,
    warnings: Vec<(Position, String)>,
}

impl Builder<'_> {
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
        let slot = if negated { None } else { self.filter.slot(operator.requirement()) };
        Ok(Rule {
            id: rule.id(),
            phase: rule.phase(),
            next: None,
            targets: self.targets(&link.targets)?,
            operator,
            negated,
            chain,
            prefixes: prefixes.into(),
            slot,
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
        let patterns = &mut self.patterns;
        let mut pattern = |text: &str| {
            if let Some(known) = patterns.get(text) {
                return Ok(known.clone());
            }
            let compiled = Arc::new(Pattern::compile(text, false, limit)?);
            patterns.insert(text.to_owned(), compiled.clone());
            Ok(compiled)
        };
        let mut context = OperatorContext {
            files: self.files,
            file: &link.file,
            names: &mut self.names,
            backtrack_limit: limit,
            pattern: &mut pattern,
        };
        let operator = Operator::compile(ast, &mut context)?;
        if matches!(operator, Operator::Geo | Operator::BlockList(_)) {
            let said = format!("@{} matches only when the host looks it up", ast.name);
            self.warnings.push((link.position.clone(), said));
        }
        Ok(operator)
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
                    controls.push(Control::RemoveTarget(set, exception));
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
