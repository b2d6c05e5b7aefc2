//! Enters: nothing. Leaves: the shape of compiled rules. Everything that could be resolved when loading is: names are
//! slots, lists of ids are bit sets, texts are templates.

use std::sync::Arc;

use crate::{
    body::Processor,
    chain::ChainId,
    error::Position,
    filter::Slot,
    operator::Operator,
    parse::AllowScope,
    regex::Pattern,
    settings::EngineMode,
    template::{Part, Template, TxSlot},
    variable::{Kind, Variable},
};

/// Which values of a variable.
#[derive(Debug, Clone)]
pub(crate) enum Select {
    All,
    Key(Box<[u8]>),
    Pattern(Arc<Pattern>),
}

impl Select {
    pub(crate) fn takes(&self, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Key(wanted) => wanted.eq_ignore_ascii_case(key),
            Self::Pattern(pattern) => pattern.is_match(key) == Some(true),
        }
    }
}

/// Values that a rule leaves out.
#[derive(Debug, Clone)]
pub(crate) struct Exception {
    pub(crate) variable: Variable,
    pub(crate) select: Select,
}

impl Exception {
    /// Whether a value of a group is left out.
    pub(crate) fn covers(&self, group: Variable, key: &[u8]) -> bool {
        let same = match self.variable.kind() {
            Kind::Union(a, b) => group == a || group == b || group == self.variable,
            _ => group == self.variable,
        };
        same && self.select.takes(key)
    }
}

/// What `ctl:ruleRemoveTargetBy…` asks for: the rules of a set leave values out.
#[derive(Debug)]
pub(crate) struct Removal {
    pub(crate) set: u32,
    pub(crate) exception: Exception,
}

/// One variable that a rule looks at.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) variable: Variable,
    pub(crate) select: Select,
    pub(crate) count: bool,
    /// Of `TX:name`.
    pub(crate) slot: Option<TxSlot>,
    pub(crate) except: Box<[Exception]>,
}

/// A name that `setvar` writes to.
#[derive(Debug)]
pub(crate) enum Name {
    Slot(TxSlot),
    Text(Template),
}

/// What `setvar` writes.
#[derive(Debug)]
pub(crate) enum Value {
    Number(i64),
    Text(Template),
    /// Added, with its sign.
    Add(Template, i64),
    Unset,
}

/// One `setvar`.
#[derive(Debug)]
pub(crate) struct Assign {
    pub(crate) collection: Variable,
    pub(crate) name: Name,
    pub(crate) value: Value,
}

/// One `ctl`.
#[derive(Debug)]
pub(crate) enum Control {
    /// The rules of a set run no more.
    Remove(u32),
    /// The rules of a set leave values out: the number of a [`Removal`].
    RemoveTarget(u32),
    Engine(EngineMode),
    RequestBodyAccess(bool),
    ResponseBodyAccess(bool),
    ForceRequestBody(bool),
    RequestProcessor(Processor),
}

/// What a match changes.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) assigns: Vec<Assign>,
    pub(crate) expires: Vec<(Variable, Template, Template)>,
    pub(crate) opens: Vec<(Variable, Template)>,
    pub(crate) controls: Vec<Control>,
    pub(crate) env: Vec<(Box<[u8]>, Template)>,
}

impl Effects {
    pub(crate) fn is_empty(&self) -> bool {
        self.assigns.is_empty()
            && self.expires.is_empty()
            && self.opens.is_empty()
            && self.controls.is_empty()
            && self.env.is_empty()
    }
}

/// What a matched chain does to the transaction.
#[derive(Debug, Clone)]
pub(crate) enum Disruption {
    Pass,
    Deny,
    Drop,
    Redirect(Template),
    Allow(AllowScope),
}

/// What reports say of a rule.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) msg: Template,
    pub(crate) logdata: Template,
    pub(crate) tags: Vec<Template>,
    pub(crate) severity: Option<u8>,
    pub(crate) rev: Option<String>,
    pub(crate) ver: Option<String>,
    pub(crate) position: Position,
    pub(crate) log: bool,
    pub(crate) audit: bool,
    pub(crate) sanitise: bool,
}

/// Groups that rules look at through one chain: whether any value of them holds what a rule needs is one bit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) groups: Box<[Variable]>,
    pub(crate) chain: ChainId,
}

/// A place in a phase's list. Small, so that rules that cannot match cost one look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) first: u32,
    pub(crate) test: Test,
}

/// What tells that a rule cannot match, before any of its values is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Test {
    /// Nothing: the rule runs.
    Nothing,
    /// No value of a bundle has what a slot stands for.
    Slot { bundle: u16, slot: u16 },
    /// No value matches any pattern of a set.
    Set(u16),
}

/// One link of a chain; most chains have one.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Of the chain.
    pub(crate) id: u64,
    pub(crate) phase: u8,
    pub(crate) next: Option<u32>,
    pub(crate) targets: Box<[Target]>,
    pub(crate) operator: Operator,
    pub(crate) negated: bool,
    pub(crate) chain: ChainId,
    /// With `multiMatch`: every prefix of the chain, the empty one first.
    pub(crate) prefixes: Box<[ChainId]>,
    pub(crate) slot: Slot,
    pub(crate) capture: bool,
    pub(crate) effects: Effects,
    pub(crate) disruption: Disruption,
    pub(crate) status: u16,
    pub(crate) skip: u32,
    /// Where `skipAfter` goes on, in the phase's list.
    pub(crate) skip_to: Option<u32>,
    pub(crate) meta: Meta,
}

impl Rule {
    /// Whether a match of it refuses, logs or changes something, and does not only skip others.
    pub(crate) fn acts(&self) -> bool {
        !matches!(self.disruption, Disruption::Pass) || self.meta.log || self.meta.audit || !self.effects.is_empty()
    }

    /// Whether it cannot match without the body of a response.
    pub(crate) fn needs_response_body(&self) -> bool {
        !self.targets.is_empty() && self.targets.iter().all(|target| target.variable == Variable::ResponseBody)
    }

    /// Whether it looks at the head of the response, or writes of it into a log.
    pub(crate) fn tells_of_response_head(&self) -> bool {
        let in_text = |template: &Template| {
            template
                .parts
                .iter()
                .any(|part| matches!(part, Part::Variable(variable, _) if variable.is_of_response_head()))
        };
        self.targets.iter().any(|target| target.variable.is_of_response_head())
            || in_text(&self.meta.msg)
            || in_text(&self.meta.logdata)
    }
}
