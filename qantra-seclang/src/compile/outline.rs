//! Enters: parsed rules. Leaves: what a person wants to know of each: place, text, and what takes it out. It must never
//! compile anything, so that a listing costs milliseconds.

use super::{
    Options, Overlay, RuleSet,
    change::{self, is_in},
};
use crate::{
    error::{LoadError, Position},
    parse::{Change, Ctl, CtlScope, Entry, Link, RuleAst, Selector, TargetAst},
    source::FileProvider,
    transform::Transform,
};

/// A rule as it stands in its file.
#[derive(Debug, Clone)]
pub struct Outline {
    /// Its id.
    pub id: u64,
    /// Its phase.
    pub phase: u8,
    /// Where it stands.
    pub position: Position,
    /// `msg`, macros unexpanded.
    pub message: Option<String>,
    /// From 0 (emergency) to 7 (debug).
    pub severity: Option<u8>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The rule and those chained to it.
    pub links: Vec<OutlineLink>,
    /// The directive that takes it out of the set.
    pub removed_by: Option<Position>,
    /// Directives that change its variables or actions.
    pub changed_by: Vec<Position>,
    /// Rules whose `ctl` takes it, or some of its variables, out of a request.
    pub excepted_by: Vec<u64>,
}

/// One link of a chain.
#[derive(Debug, Clone)]
pub struct OutlineLink {
    /// Where it stands.
    pub position: Position,
    /// What it looks at, as rules write it.
    pub targets: Vec<String>,
    /// Operator and argument; empty for `SecAction`.
    pub operator: String,
    /// What is done to values before.
    pub transforms: Vec<Transform>,
}

impl RuleSet {
    /// What stands in rule files, without compiling them: rules that are removed or never run included.
    ///
    /// # Errors
    /// As [`RuleSet::load`], for what can be seen without compiling.
    pub fn outline(files: &dyn FileProvider, names: &[&str], options: &Options) -> Result<Vec<Outline>, LoadError> {
        let mut parsed = super::read(&Overlay { files, options }, names, options)?;
        let changes = std::mem::take(&mut parsed.changes);
        let rules =
            || parsed.entries.iter().filter_map(|entry| if let Entry::Rule(rule) = entry { Some(rule) } else { None });
        let exceptions: Vec<(u64, &CtlScope)> = rules()
            .flat_map(|rule| rule.links.iter().flat_map(|link| &link.actions.ctls).map(|ctl| (rule.id(), ctl)))
            .filter_map(|(id, ctl)| match ctl {
                Ctl::RuleRemove(scope) | Ctl::RuleRemoveTarget(scope, _) => Some((id, scope)),
                _ => None,
            })
            .collect();
        Ok(rules().filter_map(|rule| outline(rule, &changes, &exceptions)).collect())
    }
}

fn outline(rule: &RuleAst, changes: &[(Position, Change)], exceptions: &[(u64, &CtlScope)]) -> Option<Outline> {
    let first = rule.first()?;
    let mut removed_by = None;
    let mut changed_by = Vec::new();
    for (position, change) in changes {
        match change {
            Change::Remove(scope) if removed_by.is_none() && is_in(rule, scope) => removed_by = Some(position.clone()),
            Change::Targets(scope, _) if is_in(rule, scope) => changed_by.push(position.clone()),
            Change::Actions(ids, _) if change::in_ranges(rule.id(), ids) => changed_by.push(position.clone()),
            _ => {}
        }
    }
    let mut excepted_by: Vec<u64> =
        exceptions.iter().filter(|(_, scope)| is_in(rule, scope)).map(|(id, _)| *id).collect();
    excepted_by.dedup();
    Some(Outline {
        id: rule.id(),
        phase: rule.phase(),
        position: first.position.clone(),
        message: first.actions.msg.clone(),
        severity: first.actions.severity,
        tags: first.actions.tags.clone(),
        links: rule.links.iter().map(link).collect(),
        removed_by,
        changed_by,
        excepted_by,
    })
}

fn link(link: &Link) -> OutlineLink {
    let operator = link.operator.as_ref().map_or_else(String::new, |operator| {
        let not = if operator.negated { "!" } else { "" };
        format!("{not}@{} {}", operator.name, operator.argument).trim_end().to_owned()
    });
    OutlineLink {
        position: link.position.clone(),
        targets: link.targets.iter().map(target).collect(),
        operator,
        transforms: link.actions.transforms.clone(),
    }
}

fn target(target: &TargetAst) -> String {
    let sign = match (target.excluded, target.count) {
        (true, _) => "!",
        (_, true) => "&",
        _ => "",
    };
    let key = match &target.selector {
        Selector::All => String::new(),
        Selector::Key(key) => format!(":{key}"),
        Selector::Pattern(pattern) => format!(":/{pattern}/"),
    };
    format!("{sign}{}{key}", target.variable.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryFiles;

    #[test]
    fn rules_are_told_with_what_takes_them_out() {
        let text = "SecAction \"id:1,phase:1,pass,ctl:ruleRemoveTargetById=3;ARGS:a\"\n\
             SecRule ARGS|!ARGS:/^x/|&FILES \"!@rx a b\" \"id:2,msg:'m',severity:2,tag:'t',t:lowercase,chain\"\n\
             SecRule TX:a \"@eq 1\"\n\
             SecRule ARGS \"@rx c\" \"id:3\"\n\
             SecRuleRemoveByTag t\n\
             SecRuleUpdateTargetById 3 \"!ARGS:b\"\n";
        let files = MemoryFiles::new().with("r", text);
        let all = RuleSet::outline(&files, &["r"], &Options::default()).unwrap();
        assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [1, 2, 3]);
        let (two, three) = (&all[1], &all[2]);
        assert_eq!((two.phase, two.severity, two.message.as_deref()), (2, Some(2), Some("m")));
        assert_eq!(two.links[0].targets, ["ARGS", "!ARGS:/^x/", "&FILES"]);
        assert_eq!((two.links[0].operator.as_str(), two.links[0].transforms[0].name()), ("!@rx a b", "lowercase"));
        assert_eq!((two.links.len(), two.links[1].position.line), (2, 3));
        assert_eq!(two.removed_by.as_ref().map(|position| position.line), Some(5));
        assert_eq!((three.changed_by[0].line, three.excepted_by.as_slice()), (6, &[1][..]));
        assert!(three.removed_by.is_none() && two.excepted_by.is_empty());
    }
}
