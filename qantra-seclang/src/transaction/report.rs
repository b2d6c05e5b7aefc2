//! Enters: a chain that matched. Leaves: what people and logs are told of it: rule, variable, value, message, tags. It
//! must never hold more of a value than a log line should.

use super::{
    Host, Transaction,
    scratch::{Matched, Record},
};
use crate::{
    error::Position,
    rule::{Disruption, Rule},
    store::Span,
    template::Part,
    transform::Transform,
    variable::Variable,
};

/// Matches that one transaction reports at most.
const RECORDS_MAX: usize = 500;
/// How much of a value a report shows.
const VALUE_MAX: u32 = 256;

/// A rule that matched.
#[derive(Debug, Clone)]
pub struct Match<'a> {
    /// The rule's id.
    pub rule_id: u64,
    /// Its phase.
    pub phase: u8,
    /// `msg`, expanded.
    pub message: &'a [u8],
    /// `logdata`, expanded and cut.
    pub data: &'a [u8],
    /// From 0 (emergency) to 7 (debug).
    pub severity: Option<u8>,
    /// The variable that matched; of a chain, that of the link which says most: `ARGS` rather than `REQUEST_METHOD` or `TX`.
    pub variable: Variable,
    /// The value's key; empty for variables without keys.
    pub key: &'a [u8],
    /// The value as the operator saw it, cut; stars when the rule says `sanitiseMatched`.
    pub value: &'a [u8],
    /// `log`.
    pub logged: bool,
    /// `auditlog`.
    pub audited: bool,
    /// `ver`.
    pub version: Option<&'a str>,
    /// `rev`.
    pub revision: Option<&'a str>,
    /// Where the rule stands.
    pub position: &'a Position,
    rule: &'a Rule,
    transforms: Vec<Transform>,
}

/// The link of a chain that is told of, and what it matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) link: u32,
    pub(super) matched: Matched,
}

impl<'a> Match<'a> {
    /// The rule's tags.
    pub fn tags(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.rule.meta.tags.iter().filter_map(|tag| match &*tag.parts {
            [Part::Text(text)] => Some(&**text),
            _ => None,
        })
    }

    /// What was done to the value before it matched.
    #[must_use]
    pub fn transforms(&self) -> &[Transform] {
        &self.transforms
    }

    /// The status that the rule ends a transaction with, whether the engine lets it or not; `None` for rules that end nothing.
    #[must_use]
    pub const fn ends_with(&self) -> Option<u16> {
        match self.rule.disruption {
            Disruption::Deny | Disruption::Drop | Disruption::Redirect(_) => Some(self.rule.status),
            Disruption::Pass | Disruption::Allow(_) => None,
        }
    }
}

impl Transaction<'_, '_> {
    pub(super) fn record(&mut self, number: u32, rule: &Rule, told: Told, host: &mut Host<'_>) {
        if !(rule.meta.log || rule.meta.audit) || self.s.records.len() >= RECORDS_MAX {
            return;
        }
        // A value of a hundred kB would be copied for every rule that it matches.
        let msg = self.expand_short(&rule.meta.msg, VALUE_MAX as usize, host);
        let data = self.expand_short(&rule.meta.logdata, VALUE_MAX as usize, host);
        self.s.records.push(Record { rule: number, link: told.link, matched: told.matched, msg, data });
    }

    /// Every rule that matched so far, in order; those that say `nolog,noauditlog` are left out.
    pub fn matches(&self) -> impl Iterator<Item = Match<'_>> {
        self.s.records.iter().filter_map(|record| {
            let rule = self.rules.rules.get(record.rule as usize)?;
            let meta = &rule.meta;
            let link = self.rules.rules.get(record.link as usize)?;
            Some(Match {
                rule_id: rule.id,
                phase: rule.phase,
                message: self.shown(record.msg),
                data: self.shown(record.data),
                severity: meta.severity,
                variable: record.matched.variable,
                key: self.shown(record.matched.key),
                value: if meta.sanitise { b"***" } else { self.shown(record.matched.value) },
                logged: meta.log,
                audited: meta.audit,
                version: meta.ver.as_deref(),
                revision: meta.rev.as_deref(),
                position: &meta.position,
                rule,
                transforms: self.rules.chains.transforms(link.chain),
            })
        })
    }

    fn shown(&self, span: Span) -> &[u8] {
        let end = span.end.min(span.start.saturating_add(VALUE_MAX));
        self.s.store.get(Span { start: span.start, end })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use crate::{Connection, Host, NoCollections, NoLookups, RuleSet, Scratch};

    /// What one GET is told of each rule that matched: id, variable, key, value, how it was decoded.
    fn told(rules: &str) -> Vec<(u64, String)> {
        let rules = RuleSet::from_text(&format!("SecRuleEngine On\n{rules}")).unwrap();
        let mut scratch = Scratch::new();
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let connection = Connection { client, client_port: 1, server: client, server_port: 80, unique_id: "u" };
        let mut host = Host { now_s: 0, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
        let mut transaction = rules.transaction(&mut scratch, &connection);
        transaction.request_line(b"GET", b"/item?id=1%27%20or%20%271%27=%271--", b"HTTP/1.1");
        let _ = transaction.request_headers(&mut host);
        let _ = transaction.finish_request(&mut host);
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let one = |found: super::Match<'_>| {
            let chain: Vec<_> = found.transforms().iter().map(|transform| transform.name()).collect();
            let (name, key, value) = (found.variable.name(), shown(found.key), shown(found.value));
            (found.rule_id, format!("{name}:{key}={value} {}", chain.join(",")))
        };
        transaction.matches().map(one).collect()
    }

    #[test]
    fn a_chain_is_told_by_the_link_that_says_most() {
        let found = told(
            r#"
            SecRule ARGS:id "@detectSQLi" "id:1,phase:2,log,pass,t:lowercase,chain"
                SecRule MATCHED_VAR "@contains or" "t:none,setvar:tx.a=1,chain"
                SecRule TX:a "@eq 1" "t:none"
            SecRule REQUEST_METHOD "@streq GET" "id:2,phase:2,log,pass,chain"
                SecRule REQUEST_FILENAME "@streq /item" "chain"
                SecRule ARGS:id "!@rx ^[0-9]+$" "t:urlDecodeUni"
            SecRule ARGS_NAMES "@rx ^id" "id:3,phase:2,log,pass,chain"
                SecRule ARGS:id "@rx or" ""
            SecRule TX:a "@eq 1" "id:4,phase:2,log,pass"
            SecAction "id:5,phase:2,log,pass"
            "#,
        );
        let value = "1' or '1'='1--";
        assert_eq!(
            found,
            [
                (1, format!("ARGS:id={value} lowercase")),
                (2, format!("ARGS:id={value} urlDecodeUni")),
                (3, "ARGS_NAMES:id=id ".to_owned()),
                (4, "TX:a=1 ".to_owned()),
                (5, "MATCHED_VAR:= ".to_owned()),
            ]
        );
    }

    #[test]
    fn only_rules_that_run_warn_of_lookups_and_each_once() {
        let text = r#"
            SecAction "id:1,phase:1,nolog,pass,setvar:tx.level=1"
            SecRule TX:level "@ge 2" "id:2,phase:1,pass,chain"
                SecRule REMOTE_ADDR "@geoLookup" ""
            SecRule REMOTE_ADDR "@rbl list.example" "id:3,phase:1,pass"
        "#;
        let rules = RuleSet::from_text(text).unwrap();
        let said: Vec<_> =
            rules.warnings().iter().map(|(position, said)| format!("{}: {said}", position.line)).collect();
        assert_eq!(said, ["5: @rbl matches only when the host looks it up"]);
    }

    #[test]
    fn it_is_known_which_rules_have_to_do_with_the_head_of_a_response() {
        for (rule, looks) in [
            (r#"SecRule ARGS "@rx a" "id:1,phase:2,deny""#, false),
            (r#"SecRule RESPONSE_BODY "@rx a" "id:1,phase:4,deny""#, false),
            (
                r#"SecRule RESPONSE_STATUS "!@rx ^404" "id:1,phase:4,deny,chain"
                SecRule RESPONSE_BODY "@rx a" """#,
                false,
            ),
            (r#"SecRule RESPONSE_HEADERS:X "@rx a" "id:1,phase:4,pass,nolog,noauditlog,skip:1""#, false),
            (r#"SecRule REQUEST_METHOD "@rx ." "id:1,phase:3,deny""#, true),
            (r#"SecRule TX:a "@eq 1" "id:1,phase:5,pass""#, false),
            (r#"SecRule RESPONSE_HEADERS:X "@rx a" "id:1,phase:3,deny""#, true),
            (r#"SecRule RESPONSE_STATUS "@rx ^5" "id:1,phase:5,pass""#, true),
            (r#"SecRule REQUEST_METHOD "@rx ." "id:1,phase:5,pass,log,msg:'answered %{RESPONSE_STATUS}'""#, true),
        ] {
            assert_eq!(RuleSet::from_text(rule).unwrap().response_head_ids().any(|id| id == 1), looks, "{rule}");
        }
    }
}
