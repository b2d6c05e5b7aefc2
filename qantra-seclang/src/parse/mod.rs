//! Enters: SecLang text. Leaves: rules and settings as they were written, each with its place. It must never drop what it
//! does not know: that is an error with file, line and name.

mod action;
mod directive;
mod lexer;
mod target;

pub(crate) use action::{Actions, AllowScope, Ctl, CtlScope, Disruptive, IdRange, SetVar, SetVarValue};
pub(crate) use directive::{Change, Parsed, parse};
pub(crate) use target::{Selector, TargetAst};

use crate::error::Position;

/// How an operator was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperatorAst {
    pub(crate) negated: bool,
    pub(crate) name: String,
    pub(crate) argument: String,
}

impl OperatorAst {
    /// Reads `!@name argument`; without a name it is `@rx`.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim();
        let (negated, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        let Some(named) = rest.strip_prefix('@') else {
            return Self { negated, name: "rx".to_owned(), argument: rest.to_owned() };
        };
        let (name, argument) = named.split_once(char::is_whitespace).unwrap_or((named, ""));
        Self { negated, name: name.to_owned(), argument: argument.trim_start().to_owned() }
    }
}

/// One rule of a chain.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) position: Position,
    pub(crate) targets: Vec<TargetAst>,
    /// `None` is `SecAction`.
    pub(crate) operator: Option<OperatorAst>,
    pub(crate) actions: Actions,
    /// The folder of data files.
    pub(crate) file: std::sync::Arc<str>,
}

/// A rule with all that is chained to it.
#[derive(Debug, Clone)]
pub(crate) struct RuleAst {
    pub(crate) links: Vec<Link>,
}

impl RuleAst {
    pub(crate) fn first(&self) -> Option<&Link> {
        self.links.first()
    }

    pub(crate) fn id(&self) -> u64 {
        self.first().and_then(|link| link.actions.id).unwrap_or(0)
    }

    pub(crate) fn phase(&self) -> u8 {
        self.first().and_then(|link| link.actions.phase).unwrap_or(2)
    }
}

/// What stands in a rule file, in order.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Rule(Box<RuleAst>),
    Marker(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_have_a_default_and_a_negation() {
        let operator = |text| OperatorAst::parse(text);
        assert_eq!(operator("a b"), OperatorAst { negated: false, name: "rx".into(), argument: "a b".into() });
        assert_eq!(operator("!@pm  a b"), OperatorAst { negated: true, name: "pm".into(), argument: "a b".into() });
        assert_eq!(operator("!^x"), OperatorAst { negated: true, name: "rx".into(), argument: "^x".into() });
    }
}
