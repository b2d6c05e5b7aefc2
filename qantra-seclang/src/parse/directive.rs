//! Enters: a first file and a way to read others. Leaves: all entries and settings in order, includes followed. It must
//! never follow includes without end.

use std::sync::Arc;

use super::{
    Actions, CtlScope, Disruptive, Entry, IdRange, Link, OperatorAst, RuleAst,
    action::id_ranges,
    lexer::{Directive, directives},
    target::{TargetAst, targets},
};
use crate::{
    error::{LoadError, Position, Reason, cut},
    settings::{EngineMode, Settings},
    source::{FileProvider, relative_to},
    transform::UnicodeMap,
};

/// Includes nest this deep at most.
const INCLUDE_DEPTH: usize = 16;
/// More rules than any real set has.
const RULES_MAX: usize = 50_000;

/// A change to rules that stand elsewhere.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Remove(CtlScope),
    Targets(CtlScope, Vec<TargetAst>),
    Actions(Vec<IdRange>, Box<Actions>),
}

/// All that was read.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) entries: Vec<Entry>,
    pub(crate) settings: Settings,
    /// Each with the place of its directive.
    pub(crate) changes: Vec<(Position, Change)>,
    pub(crate) signatures: Vec<String>,
    pub(crate) unicode_map: Option<UnicodeMap>,
}

/// Reads one file and what it includes.
pub(crate) fn parse(files: &dyn FileProvider, names: &[&str]) -> Result<Parsed, LoadError> {
    let mut reader = Reader { files, parsed: Parsed::default(), defaults: Vec::new(), open_chain: false };
    for name in names {
        let position = Position { file: (*name).into(), line: 0 };
        reader.include(name, &position, false, 0)?;
    }
    if reader.open_chain {
        let position = Position { file: names.last().copied().unwrap_or_default().into(), line: 0 };
        return Err(LoadError { position, reason: Reason::Syntax("the last rule says `chain` and nothing follows") });
    }
    Ok(reader.parsed)
}

struct Reader<'a> {
    files: &'a dyn FileProvider,
    parsed: Parsed,
    /// Of each phase.
    defaults: Vec<Actions>,
    /// The last rule waits for its next link.
    open_chain: bool,
}

impl Reader<'_> {
    fn include(&mut self, name: &str, from: &Position, optional: bool, depth: usize) -> Result<(), LoadError> {
        let at = |reason| LoadError { position: from.clone(), reason };
        if depth > INCLUDE_DEPTH {
            return Err(at(Reason::TooMany { what: "nested includes", limit: INCLUDE_DEPTH }));
        }
        let failed = |why| at(Reason::File { name: name.to_owned(), why });
        let names = match self.files.expand(name) {
            Ok(names) => names,
            Err(_) if optional => return Ok(()),
            Err(why) => return Err(failed(why)),
        };
        if names.is_empty() && !optional && !name.contains(['*', '?']) {
            return Err(failed("no such file".to_owned()));
        }
        for name in names {
            let bytes = match self.files.read(&name) {
                Ok(bytes) => bytes,
                Err(_) if optional => continue,
                Err(why) => return Err(at(Reason::File { name, why })),
            };
            let text = String::from_utf8(bytes)
                .map_err(|_| at(Reason::File { name: name.clone(), why: "it is no UTF-8 text".to_owned() }))?;
            let file: Arc<str> = name.as_str().into();
            for directive in directives(&file, &text)? {
                let position = directive.position.clone();
                self.directive(directive, &file, depth).map_err(|error| match error {
                    Failure::Here(reason) => LoadError { position, reason },
                    Failure::Elsewhere(error) => error,
                })?;
            }
        }
        Ok(())
    }

    fn directive(&mut self, directive: Directive, file: &Arc<str>, depth: usize) -> Result<(), Failure> {
        let Directive { position, name, arguments } = directive;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let lower = name.to_ascii_lowercase();
        if self.open_chain && lower != "secrule" && lower != "secaction" {
            return Err(Reason::Syntax("the rule before says `chain`: a SecRule must follow").into());
        }
        match (lower.as_str(), arguments.as_slice()) {
            ("secrule", [list, operator]) => self.rule(position, file, list, Some(operator), "")?,
            ("secrule", [list, operator, actions]) => self.rule(position, file, list, Some(operator), actions)?,
            ("secaction", [actions]) => self.rule(position, file, "", None, actions)?,
            ("secmarker", [label]) => self.parsed.entries.push(Entry::Marker((*label).to_owned())),
            ("secdefaultaction", [actions]) => self.default_action(actions)?,
            ("include" | "includeoptional", [pattern]) => {
                let pattern = relative_to(file, pattern);
                self.include(&pattern, &position, lower == "includeoptional", depth + 1).map_err(Failure::Elsewhere)?;
            }
            ("seccomponentsignature", [text]) => self.parsed.signatures.push((*text).to_owned()),
            ("secruleremovebyid", ids) if !ids.is_empty() => {
                self.change(position, Change::Remove(CtlScope::Ids(id_ranges(&ids.join(" "))?)));
            }
            ("secruleremovebytag", [tag]) => self.change(position, Change::Remove(CtlScope::Tag((*tag).into()))),
            ("secruleremovebymsg", [msg]) => self.change(position, Change::Remove(CtlScope::Msg((*msg).into()))),
            ("secruleupdatetargetbyid", [ids, list]) => {
                self.change(position, Change::Targets(CtlScope::Ids(id_ranges(ids)?), targets(list)?));
            }
            ("secruleupdatetargetbytag", [tag, list]) => {
                self.change(position, Change::Targets(CtlScope::Tag((*tag).into()), targets(list)?));
            }
            ("secruleupdatetargetbymsg", [msg, list]) => {
                self.change(position, Change::Targets(CtlScope::Msg((*msg).into()), targets(list)?));
            }
            ("secruleupdateactionbyid", [ids, actions]) => {
                self.change(position, Change::Actions(id_ranges(ids)?, Box::new(Actions::parse(actions)?)));
            }
            ("secunicodemapfile", [name, page]) => self.unicode_map(&relative_to(file, name), page)?,
            (_, arguments) => {
                if !self.parsed.settings.set(&lower, arguments)? {
                    return Err(unknown(&name).into());
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, position: Position, change: Change) {
        self.parsed.changes.push((position, change));
    }

    fn rule(
        &mut self,
        position: Position,
        file: &Arc<str>,
        list: &str,
        operator: Option<&str>,
        actions: &str,
    ) -> Result<(), Reason> {
        let actions = Actions::parse(actions)?;
        let targets = if operator.is_some() { targets(list)? } else { Vec::new() };
        let operator = operator.map(OperatorAst::parse);
        let chained = actions.chain;
        let link = Link { position, targets, operator, actions, file: file.clone() };
        if self.open_chain {
            self.link(link)?;
        } else {
            let link = self.starter(link)?;
            self.parsed.entries.push(Entry::Rule(Box::new(RuleAst { links: vec![link] })));
            if self.parsed.entries.len() > RULES_MAX {
                return Err(Reason::TooMany { what: "rules", limit: RULES_MAX });
            }
        }
        self.open_chain = chained;
        Ok(())
    }

    /// A rule that others may be chained to: defaults of its phase are put in.
    fn starter(&self, mut link: Link) -> Result<Link, Reason> {
        let actions = &mut link.actions;
        if actions.id.is_none() {
            return Err(Reason::Syntax("the rule has no id: add `id:NUMBER`"));
        }
        let phase = *actions.phase.get_or_insert(2);
        let default = self.defaults.iter().find(|default| default.phase == Some(phase));
        let Some(default) = default else {
            if matches!(actions.disruptive, Some(Disruptive::Block)) {
                // ModSecurity's own default is `pass`.
                actions.disruptive = Some(Disruptive::Pass);
            }
            return Ok(link);
        };
        if matches!(actions.disruptive, None | Some(Disruptive::Block)) {
            actions.disruptive.clone_from(&default.disruptive);
            actions.status = actions.status.or(default.status);
        }
        actions.log = actions.log.or(default.log);
        actions.audit_log = actions.audit_log.or(default.audit_log);
        actions.tags.extend(default.tags.iter().cloned());
        inherit_transforms(actions, default);
        Ok(link)
    }

    fn link(&mut self, mut link: Link) -> Result<(), Reason> {
        let Some(Entry::Rule(rule)) = self.parsed.entries.last_mut() else {
            return Err(Reason::Syntax("nothing to chain to"));
        };
        let own = &link.actions;
        if own.id.is_some() || own.skip_after.is_some() || own.phase.is_some_and(|phase| phase != rule.phase()) {
            return Err(Reason::Syntax("only the first rule of a chain may have id, phase and skipAfter"));
        }
        if !matches!(own.disruptive, None | Some(Disruptive::Block | Disruptive::Pass)) {
            return Err(Reason::Syntax("only the first rule of a chain may have a disruptive action"));
        }
        let phase = rule.phase();
        if let Some(default) = self.defaults.iter().find(|default| default.phase == Some(phase)) {
            inherit_transforms(&mut link.actions, default);
        }
        rule.links.push(link);
        Ok(())
    }

    fn unicode_map(&mut self, name: &str, page: &str) -> Result<(), Reason> {
        let bytes = self.files.read(name).map_err(|why| Reason::File { name: name.to_owned(), why })?;
        let page = page.parse().ok();
        let map = page.and_then(|page| UnicodeMap::parse(&String::from_utf8_lossy(&bytes), page));
        let invalid = || Reason::Invalid { what: "code page in", value: cut(name), expected: "code page of the file" };
        self.parsed.unicode_map = Some(map.ok_or_else(invalid)?);
        Ok(())
    }

    fn default_action(&mut self, text: &str) -> Result<(), Reason> {
        let actions = Actions::parse(text)?;
        let Some(phase) = actions.phase else {
            return Err(Reason::Syntax("SecDefaultAction needs a phase"));
        };
        if actions.id.is_some() || actions.chain || actions.skip_after.is_some() {
            return Err(Reason::Syntax("SecDefaultAction may not have id, chain or skipAfter"));
        }
        if matches!(actions.disruptive, None | Some(Disruptive::Block)) {
            return Err(Reason::Syntax("SecDefaultAction needs pass, deny, drop, redirect or allow"));
        }
        self.defaults.retain(|default| default.phase != Some(phase));
        self.defaults.push(actions);
        Ok(())
    }
}

fn inherit_transforms(actions: &mut Actions, default: &Actions) {
    if !actions.transforms_reset && !default.transforms.is_empty() {
        let own = std::mem::take(&mut actions.transforms);
        actions.transforms.clone_from(&default.transforms);
        actions.transforms.extend(own);
    }
}

enum Failure {
    Here(Reason),
    Elsewhere(LoadError),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Here(reason)
    }
}

fn unknown(name: &str) -> Reason {
    let why = match name.to_ascii_lowercase().as_str() {
        "secrulescript" => "the engine runs no Lua",
        "secremoterules" | "secremoterulesfailaction" => "rules come from files; fetch them by a tool of your own",
        "secruleinheritance" => "there are no locations to inherit from",
        "secgeolookupdb" => "give the host's lookup to the transaction",
        "secgsblookupdb" => "Google's database is gone",
        "secchrootdir" | "secserversignature" | "secguardianlog" | "secwebappid" => "it belongs to the web server",
        _ => return Reason::Unknown { kind: "directive", name: cut(name) },
    };
    Reason::Unsupported { kind: "directive", name: name.to_owned(), why }
}

impl EngineMode {
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "on" => Some(Self::On),
            "off" => Some(Self::Off),
            "detectiononly" => Some(Self::DetectionOnly),
            _ => None,
        }
    }
}
