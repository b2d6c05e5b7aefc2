//! Enters: a rule's list of actions. Leaves: what to do, typed. It must never accept an action that would then do nothing.

use super::{
    lexer::{split_list, unquoted},
    target::{TargetAst, targets},
};
use crate::{
    error::{Reason, cut},
    transform::Transform,
    variable::Variable,
};

/// What a match does to the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Disruptive {
    /// What the phase's default says.
    Block,
    Pass,
    Deny,
    Drop,
    Redirect(String),
    /// `true`: only the rest of this phase.
    Allow(AllowScope),
}

/// How far `allow` reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllowScope {
    Everything,
    Request,
    Phase,
}

/// `setvar`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetVar {
    pub(crate) collection: Variable,
    pub(crate) name: String,
    pub(crate) value: SetVarValue,
}

/// What `setvar` writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SetVarValue {
    Set(String),
    Add(String),
    Subtract(String),
    Unset,
}

/// Inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Which rules a `ctl` or a directive speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CtlScope {
    Ids(Vec<IdRange>),
    Tag(String),
    Msg(String),
}

/// `ctl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ctl {
    RuleRemove(CtlScope),
    RuleRemoveTarget(CtlScope, Vec<TargetAst>),
    /// `On`, `Off`, `DetectionOnly`.
    RuleEngine(String),
    RequestBodyAccess(bool),
    ResponseBodyAccess(bool),
    ForceRequestBodyVariable(bool),
    RequestBodyProcessor(String),
    /// Changes nothing here: the audit log is the host's.
    Audit(String),
}

/// `initcol`, `setsid`, `setuid`, `setrsc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InitCollection {
    pub(crate) collection: Variable,
    pub(crate) key: String,
}

/// Everything a rule says after its operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Actions {
    pub(crate) id: Option<u64>,
    pub(crate) phase: Option<u8>,
    pub(crate) disruptive: Option<Disruptive>,
    pub(crate) status: Option<u16>,
    pub(crate) transforms: Vec<Transform>,
    /// `t:none` was said: the defaults' transformations do not count.
    pub(crate) transforms_reset: bool,
    pub(crate) capture: bool,
    pub(crate) multi_match: bool,
    pub(crate) chain: bool,
    pub(crate) log: Option<bool>,
    pub(crate) audit_log: Option<bool>,
    pub(crate) msg: Option<String>,
    pub(crate) logdata: Option<String>,
    pub(crate) severity: Option<u8>,
    pub(crate) rev: Option<String>,
    pub(crate) ver: Option<String>,
    pub(crate) accuracy: Option<u8>,
    pub(crate) maturity: Option<u8>,
    pub(crate) tags: Vec<String>,
    pub(crate) set_vars: Vec<SetVar>,
    pub(crate) expire_vars: Vec<(Variable, String, String)>,
    pub(crate) set_env: Vec<(String, String)>,
    pub(crate) collections: Vec<InitCollection>,
    pub(crate) ctls: Vec<Ctl>,
    pub(crate) skip: Option<u32>,
    pub(crate) skip_after: Option<String>,
    /// `sanitiseMatched`: reports do not show the value.
    pub(crate) sanitise_matched: bool,
}

impl Actions {
    /// Reads a list of actions.
    pub(crate) fn parse(text: &str) -> Result<Self, Reason> {
        let mut actions = Self::default();
        for part in split_list(text, ',').into_iter().filter(|part| !part.is_empty()) {
            let (name, value) = match part.split_once(':') {
                Some((name, value)) => (name.trim(), unquoted(value)),
                None => (part, String::new()),
            };
            actions.add(&name.to_ascii_lowercase(), value)?;
        }
        Ok(actions)
    }

    fn add(&mut self, name: &str, value: String) -> Result<(), Reason> {
        match name {
            "id" => self.id = Some(number("id", &value)?),
            "phase" => self.phase = Some(phase(&value)?),
            "status" => self.status = Some(status(&value)?),
            "t" => self.transform(&value)?,
            "block" => self.disruptive = Some(Disruptive::Block),
            "pass" => self.disruptive = Some(Disruptive::Pass),
            "deny" => self.disruptive = Some(Disruptive::Deny),
            "drop" => self.disruptive = Some(Disruptive::Drop),
            "redirect" => self.disruptive = Some(Disruptive::Redirect(value)),
            "allow" => self.disruptive = Some(Disruptive::Allow(allow(&value)?)),
            "capture" => self.capture = true,
            "multimatch" => self.multi_match = true,
            "chain" => self.chain = true,
            "log" => self.log = Some(true),
            "nolog" => {
                self.log = Some(false);
                self.audit_log = Some(false);
            }
            "auditlog" => self.audit_log = Some(true),
            "noauditlog" => self.audit_log = Some(false),
            "msg" => self.msg = Some(value),
            "logdata" => self.logdata = Some(value),
            "severity" => self.severity = Some(severity(&value)?),
            "rev" => self.rev = Some(value),
            "ver" => self.ver = Some(value),
            "accuracy" => self.accuracy = Some(narrow("accuracy", &value)?),
            "maturity" => self.maturity = Some(narrow("maturity", &value)?),
            "tag" => self.tags.push(value),
            "setvar" => self.set_vars.push(set_var(&value)?),
            "expirevar" => self.expire_vars.push(expire_var(&value)?),
            "setenv" => {
                let (name, value) = value.split_once('=').unwrap_or((&value, "1"));
                self.set_env.push((name.to_owned(), value.to_owned()));
            }
            "initcol" => self.collections.push(init_collection(&value)?),
            "setsid" => self.collections.push(InitCollection { collection: Variable::Session, key: value }),
            "setuid" => self.collections.push(InitCollection { collection: Variable::User, key: value }),
            "setrsc" => self.collections.push(InitCollection { collection: Variable::Resource, key: value }),
            "ctl" => self.ctls.push(ctl(&value)?),
            "skip" => self.skip = Some(u32::try_from(number("skip", &value)?).unwrap_or(u32::MAX)),
            "skipafter" => self.skip_after = Some(value),
            "sanitisematched" | "sanitizematched" => self.sanitise_matched = true,
            other => return Err(refused(other)),
        }
        Ok(())
    }

    fn transform(&mut self, name: &str) -> Result<(), Reason> {
        if name.eq_ignore_ascii_case("none") {
            self.transforms.clear();
            self.transforms_reset = true;
            return Ok(());
        }
        let found =
            Transform::parse(name).ok_or_else(|| Reason::Unknown { kind: "transformation", name: cut(name) })?;
        self.transforms.push(found);
        Ok(())
    }
}

fn refused(name: &str) -> Reason {
    let why = match name {
        "exec" => "the engine starts no programs",
        "proxy" => "forwarding is configured in the proxy",
        "pause" => "the engine never waits; use a rate limit",
        "append" | "prepend" => "the engine does not change responses",
        "deprecatevar" => "use expirevar",
        "sanitisearg" | "sanitiserequestheader" | "sanitiseresponseheader" | "sanitisematchedbytes" => {
            "use sanitiseMatched"
        }
        "xmlns" => "the supported XPath expressions need no namespaces",
        _ => return Reason::Unknown { kind: "action", name: cut(name) },
    };
    Reason::Unsupported { kind: "action", name: name.to_owned(), why }
}

fn number(what: &'static str, value: &str) -> Result<u64, Reason> {
    value.trim().parse().map_err(|_| Reason::Invalid { what, value: cut(value), expected: "whole number" })
}

fn narrow(what: &'static str, value: &str) -> Result<u8, Reason> {
    value.trim().parse().map_err(|_| Reason::Invalid { what, value: cut(value), expected: "number from 0 to 255" })
}

fn status(value: &str) -> Result<u16, Reason> {
    let invalid = || Reason::Invalid { what: "status", value: cut(value), expected: "status from 100 to 599" };
    value.parse().ok().filter(|status| (100..600).contains(status)).ok_or_else(invalid)
}

fn phase(value: &str) -> Result<u8, Reason> {
    match value.to_ascii_lowercase().as_str() {
        "1" => Ok(1),
        "2" | "request" => Ok(2),
        "3" => Ok(3),
        "4" | "response" => Ok(4),
        "5" | "logging" => Ok(5),
        _ => Err(Reason::Invalid { what: "phase", value: cut(value), expected: "phase from 1 to 5" }),
    }
}

fn allow(value: &str) -> Result<AllowScope, Reason> {
    match value.to_ascii_lowercase().as_str() {
        "" => Ok(AllowScope::Everything),
        "request" => Ok(AllowScope::Request),
        "phase" => Ok(AllowScope::Phase),
        _ => Err(Reason::Invalid { what: "allow", value: cut(value), expected: "`phase` or `request`" }),
    }
}

fn severity(value: &str) -> Result<u8, Reason> {
    const NAMES: [&str; 8] = ["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"];
    if let Ok(number @ 0..=7) = value.parse::<u8>() {
        return Ok(number);
    }
    let found = (0_u8..).zip(NAMES).find(|(_, name)| name.eq_ignore_ascii_case(value));
    found.map(|(number, _)| number).ok_or_else(|| Reason::Invalid {
        what: "severity",
        value: cut(value),
        expected: "severity from 0 to 7",
    })
}

fn collection(name: &str) -> Result<Variable, Reason> {
    Variable::parse(name.trim())
        .filter(|variable| *variable == Variable::Tx || variable.is_persistent())
        .ok_or_else(|| Reason::Invalid { what: "collection", value: cut(name), expected: "collection to write to" })
}

fn dotted(text: &str) -> Result<(Variable, &str), Reason> {
    let Some((name, rest)) = text.split_once(['.', ':']) else {
        return Err(Reason::Invalid { what: "variable", value: cut(text), expected: "`collection.name`" });
    };
    Ok((collection(name)?, rest.trim()))
}

/// `tx.a=1`, `tx.a=+1`, `tx.a=-1`, `!tx.a`, `tx.a`.
fn set_var(text: &str) -> Result<SetVar, Reason> {
    let text = text.trim();
    if let Some(gone) = text.strip_prefix('!') {
        let (collection, name) = dotted(gone)?;
        return Ok(SetVar { collection, name: name.to_owned(), value: SetVarValue::Unset });
    }
    let (left, right) = text.split_once('=').unwrap_or((text, "1"));
    let (collection, name) = dotted(left)?;
    let value = match right.chars().next() {
        Some('+') => SetVarValue::Add(right[1..].trim().to_owned()),
        Some('-') => SetVarValue::Subtract(right[1..].trim().to_owned()),
        _ => SetVarValue::Set(right.to_owned()),
    };
    Ok(SetVar { collection, name: name.to_owned(), value })
}

fn expire_var(text: &str) -> Result<(Variable, String, String), Reason> {
    let (left, seconds) = text.split_once('=').unwrap_or((text, "3600"));
    let (collection, name) = dotted(left)?;
    if collection == Variable::Tx {
        return Err(Reason::Invalid { what: "expirevar", value: cut(text), expected: "persistent collection" });
    }
    Ok((collection, name.to_owned(), seconds.to_owned()))
}

fn init_collection(text: &str) -> Result<InitCollection, Reason> {
    let expected = "`ip=…`, `global=…`, `session=…`, `user=…` or `resource=…`";
    let invalid = || Reason::Invalid { what: "initcol", value: cut(text), expected };
    let (name, key) = text.split_once('=').ok_or_else(invalid)?;
    let collection = Variable::parse(name.trim()).filter(|found| found.is_persistent()).ok_or_else(invalid)?;
    Ok(InitCollection { collection, key: key.trim().to_owned() })
}

/// Ids and ranges such as `1,5-9` or `1 5-9`.
pub(super) fn id_ranges(text: &str) -> Result<Vec<IdRange>, Reason> {
    let parts = text.split([' ', ',', '\t', '"']).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Ok(IdRange { first: number("rule id", first)?, last: number("rule id", last)? })
        })
        .collect()
}

fn on_off(value: &str) -> Result<bool, Reason> {
    match value.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Reason::Invalid { what: "ctl", value: cut(value), expected: "`On` or `Off`" }),
    }
}

fn ctl(text: &str) -> Result<Ctl, Reason> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(Reason::Invalid { what: "ctl", value: cut(text), expected: "`name=value`" });
    };
    let value = value.trim();
    let name = name.trim().to_ascii_lowercase();
    let target = |scope: fn(&str) -> Result<CtlScope, Reason>| -> Result<Ctl, Reason> {
        let Some((rules, list)) = value.split_once(';') else {
            return Err(Reason::Invalid { what: "ctl", value: cut(value), expected: "`rules;target`" });
        };
        Ok(Ctl::RuleRemoveTarget(scope(rules)?, targets(list)?))
    };
    let ids = |text: &str| id_ranges(text).map(CtlScope::Ids);
    let tag = |text: &str| Ok(CtlScope::Tag(text.to_owned()));
    let msg = |text: &str| Ok(CtlScope::Msg(text.to_owned()));
    match name.as_str() {
        "ruleremovebyid" => Ok(Ctl::RuleRemove(ids(value)?)),
        "ruleremovebytag" => Ok(Ctl::RuleRemove(tag(value)?)),
        "ruleremovebymsg" => Ok(Ctl::RuleRemove(msg(value)?)),
        "ruleremovetargetbyid" => target(ids),
        "ruleremovetargetbytag" => target(tag),
        "ruleremovetargetbymsg" => target(msg),
        "ruleengine" if ["on", "off", "detectiononly"].contains(&value.to_ascii_lowercase().as_str()) => {
            Ok(Ctl::RuleEngine(value.to_ascii_lowercase()))
        }
        "ruleengine" => {
            Err(Reason::Invalid { what: "ruleEngine", value: cut(value), expected: "On, Off or DetectionOnly" })
        }
        "requestbodyaccess" => Ok(Ctl::RequestBodyAccess(on_off(value)?)),
        "responsebodyaccess" => Ok(Ctl::ResponseBodyAccess(on_off(value)?)),
        "forcerequestbodyvariable" => Ok(Ctl::ForceRequestBodyVariable(on_off(value)?)),
        "requestbodyprocessor"
            if ["URLENCODED", "MULTIPART", "XML", "JSON"].contains(&value.to_ascii_uppercase().as_str()) =>
        {
            Ok(Ctl::RequestBodyProcessor(value.to_ascii_uppercase()))
        }
        "requestbodyprocessor" => Err(Reason::Invalid {
            what: "requestBodyProcessor",
            value: cut(value),
            expected: "URLENCODED, MULTIPART, XML or JSON",
        }),
        "auditengine" | "auditlogparts" => Ok(Ctl::Audit(value.to_owned())),
        "parsexmlintoargs" if value.eq_ignore_ascii_case("off") => Ok(Ctl::Audit(value.to_owned())),
        "parsexmlintoargs" => {
            let name = cut(text);
            Err(Reason::Unsupported { kind: "ctl", name, why: "use XML:/* and XML://@*" })
        }
        _ => Err(Reason::Unknown { kind: "ctl", name: cut(&name) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_crs_writes() {
        let text = "id:942100,phase:2,block,capture,t:none,t:utf8toUnicode,msg:'a, b',severity:'CRITICAL',\
                    ctl:ruleRemoveTargetById=920272;ARGS:foo,setvar:'tx.score=+%{tx.critical}',skipAfter:END";
        let actions = Actions::parse(text).expect("reads");
        assert_eq!(actions.id, Some(942_100));
        assert_eq!(actions.severity, Some(2));
        assert_eq!(actions.msg.as_deref(), Some("a, b"));
        assert_eq!(actions.set_vars[0].value, SetVarValue::Add("%{tx.critical}".into()));
        assert_eq!(actions.skip_after.as_deref(), Some("END"));
        assert!(matches!(&actions.ctls[0], Ctl::RuleRemoveTarget(CtlScope::Ids(_), targets) if targets.len() == 1));
    }

    #[test]
    fn refuses_by_name() {
        for (text, said) in [
            ("exec:/bin/x", "action `exec` is not supported"),
            ("denny", "unknown action `denny`"),
            ("t:rot13", "unknown transformation `rot13`"),
            ("phase:9", "phase `9`"),
            ("ctl:ruleRemoveTargetById=1", "`rules;target`"),
            ("setvar:args.a=1", "collection `args`"),
        ] {
            let error = Actions::parse(text).expect_err("refused").to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
