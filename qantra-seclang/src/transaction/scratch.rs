//! Enters: a rule set's sizes. Leaves: the memory of a transaction, used again for the next, and with it what values of the last
//! transactions were like. It must never carry a value itself from one transaction to another.

use foldhash::HashMap;

use crate::{
    compile::{Constant, RuleSet},
    regex::Budget,
    store::{Span, Store},
    variable::Variable,
};

/// The value of a `TX` variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TxValue {
    #[default]
    Unset,
    Number(i64),
    Text(Span),
}

/// A value that an operator matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matched {
    pub(super) variable: Variable,
    pub(super) key: Span,
    pub(super) value: Span,
}

impl Default for Matched {
    fn default() -> Self {
        Self { variable: Variable::MatchedVar, key: Span::EMPTY, value: Span::EMPTY }
    }
}

/// A rule that matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) rule: u32,
    /// The link that is told of.
    pub(super) link: u32,
    pub(super) matched: Matched,
    pub(super) msg: Span,
    pub(super) data: Span,
}

/// The memory of one transaction at a time. Keep one for every thread or task, and use it again.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) store: Store,
    pub(super) request_body: Vec<u8>,
    pub(super) response_body: Vec<u8>,
    /// By slot.
    pub(super) tx: Vec<TxValue>,
    /// `TX` variables whose names were made at run time: name and value.
    pub(super) more_tx: Vec<(Span, TxValue)>,
    pub(super) more_tx_at: HashMap<u64, u32>,
    /// What the last rule that matched had matched.
    pub(super) matched: Vec<Matched>,
    pub(super) matching: Vec<Matched>,
    pub(super) last: Matched,
    pub(super) records: Vec<Record>,
    /// Rules that `ctl:ruleRemoveBy…` took out.
    pub(super) removed: Vec<u64>,
    pub(super) any_removed: bool,
    /// `ctl:ruleRemoveTargetBy…`: numbers of removals.
    pub(super) exceptions: Vec<u32>,
    /// The keys of open collections.
    pub(super) opened: Vec<(Variable, Span)>,
    pub(super) env: Vec<(Span, Span)>,
    pub(super) values: Vec<(Span, Span)>,
    pub(super) location: Span,
    pub(super) highest_severity: u8,
    pub(super) limits_hit: u32,
    /// What is left of the backtracking that the transaction may do.
    pub(super) budget: Budget,
    pub(super) bodies_cut: (bool, bool),
    /// Bytes of the request's target and headers.
    pub(super) head_bytes: usize,
    pub(super) heads_cut: (bool, bool),
    pub(super) spare: Vec<u8>,
    pub(super) spare_single: Vec<u8>,
}

/// Bodies that needed more memory than this do not keep it.
const KEPT_BYTES_MAX: usize = 4 << 20;

impl Scratch {
    /// Memory for transactions of any rule set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// About how many bytes it holds, so that a host can let go of one that a large request has grown.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.store.held_bytes() + self.request_body.capacity() + self.response_body.capacity()
    }

    /// Forgets what values of former transactions were like, which spares equal ones a second look. For measurements: it changes
    /// no verdict.
    pub fn forget(&mut self) {
        self.store.forget_values();
    }

    pub(super) fn reset(&mut self, rules: &RuleSet) {
        if self.store.arena.capacity() > KEPT_BYTES_MAX {
            self.store = Store::default();
        }
        for body in [&mut self.request_body, &mut self.response_body] {
            body.clear();
            if body.capacity() > KEPT_BYTES_MAX {
                *body = Vec::new();
            }
        }
        self.store.reset(rules);
        self.tx.clear();
        self.tx.resize(rules.names.names.len(), TxValue::Unset);
        for (slot, constant) in &rules.constants {
            self.tx[usize::from(*slot)] = match constant {
                Constant::Number(number) => TxValue::Number(*number),
                Constant::Text(text) => TxValue::Text(self.store.keep_value(text)),
            };
        }
        self.more_tx.clear();
        self.more_tx_at.clear();
        self.matched.clear();
        self.matching.clear();
        self.last = Matched::default();
        self.records.clear();
        self.removed.clear();
        self.removed.resize(rules.rules.len().div_ceil(64), 0);
        self.any_removed = false;
        self.exceptions.clear();
        self.opened.clear();
        self.env.clear();
        self.values.clear();
        self.location = Span::EMPTY;
        self.highest_severity = 255;
        self.limits_hit = 0;
        self.budget = Budget::TRANSACTION;
        self.bodies_cut = (false, false);
        self.head_bytes = 0;
        self.heads_cut = (false, false);
    }
}
