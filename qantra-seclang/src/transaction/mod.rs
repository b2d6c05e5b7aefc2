//! Enters: one request and its response, piece by piece. Leaves: matches, and an intervention when a rule ends it. It must
//! never read a clock or touch anything outside: time and state come with the [`Host`].

mod dynamic;
mod effects;
mod evaluate;
mod expand;
mod input;
mod owned;
mod phases;
mod report;
mod scratch;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use owned::OwnedTransaction;
pub use report::Match;
pub use scratch::Scratch;

use crate::{
    body::Processor,
    collections::Collections,
    compile::RuleSet,
    settings::EngineMode,
    variable::{Kind, Variable},
};

/// The groups that hold a variable's values.
pub(crate) const fn groups_of(variable: Variable) -> [Option<Variable>; 2] {
    match variable.kind() {
        Kind::Group => [Some(variable), None],
        Kind::Union(a, b) => [Some(a), Some(b)],
        Kind::Dynamic => [Some(variable), None],
    }
}

/// What a host looks up for rules, when it can.
pub trait Lookups {
    /// Fields of `GEO` for an address, by name (`COUNTRY_CODE`, …); `false` when nothing is known.
    fn geo(&self, _address: &[u8], _take: &mut dyn FnMut(&str, &str)) -> bool {
        false
    }

    /// Whether a block list of the DNS has an address.
    fn is_listed(&self, _list: &str, _address: &[u8]) -> bool {
        false
    }
}

/// Looks nothing up.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoLookups;

impl Lookups for NoLookups {}

/// What the engine needs from outside, handed in with every call that runs rules.
pub struct Host<'a> {
    /// Seconds since 1970, UTC.
    pub now_s: u64,
    /// Milliseconds since the transaction began.
    pub elapsed_ms: u64,
    /// State that outlives the transaction.
    pub collections: &'a mut dyn Collections,
    /// Lookups.
    pub lookups: &'a dyn Lookups,
}

impl std::fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host {{ now_s: {} }}", self.now_s)
    }
}

/// Who talks to whom.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// The client.
    pub client: IpAddr,
    /// Its port.
    pub client_port: u16,
    /// The address that it reached.
    pub server: IpAddr,
    /// That address's port.
    pub server_port: u16,
    /// An identifier of the transaction that no client can choose: sampling draws from it.
    pub unique_id: &'a str,
}

/// How a transaction is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// An error status.
    Deny,
    /// The connection is closed without an answer.
    Drop,
    /// Another place; see [`Transaction::location`].
    Redirect,
}

/// A rule ended the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervention {
    /// The status to answer with.
    pub status: u16,
    /// How.
    pub ending: Ending,
    /// The rule; 0 is a limit.
    pub rule_id: u64,
}

/// How far `allow` reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Allowed {
    #[default]
    Nothing,
    Request,
    Everything,
}

/// One request and its response.
#[derive(Debug)]
pub struct Transaction<'r, 's> {
    rules: &'r RuleSet,
    s: &'s mut Scratch,
    engine: EngineMode,
    request_body_access: bool,
    response_body_access: bool,
    force_request_body: bool,
    processor: Option<Processor>,
    intervention: Option<Intervention>,
    allowed: Allowed,
    /// The last phase that ran.
    phase: u8,
}

impl<'r, 's> Transaction<'r, 's> {
    /// The rules it runs.
    #[must_use]
    pub const fn rules(&self) -> &'r RuleSet {
        self.rules
    }

    /// The intervention, when there was one.
    #[must_use]
    pub const fn intervention(&self) -> Option<Intervention> {
        self.intervention
    }

    /// Where a redirect goes.
    #[must_use]
    pub fn location(&self) -> &[u8] {
        self.s.store.get(self.s.location)
    }

    /// The number that a `TX` variable holds, such as `blocking_inbound_anomaly_score`.
    #[must_use]
    pub fn score(&self, name: &str) -> Option<i64> {
        let slot = self.rules.names.find(name.to_ascii_lowercase().as_bytes())?;
        self.tx_number(slot)
    }

    /// The first value of a variable, as it came; empty for those that are worked out when rules ask for them.
    #[must_use]
    pub fn first(&self, variable: Variable) -> &[u8] {
        self.s.store.first(variable)
    }

    /// Why the request's body could not be read whole; empty when it could.
    #[must_use]
    pub fn body_error(&self) -> &[u8] {
        self.s.store.first(Variable::ReqbodyErrorMsg)
    }

    /// Whether the request has more headers, cookies or bytes of them than are looked at.
    #[must_use]
    pub const fn headers_cut(&self) -> bool {
        self.s.heads_cut.0
    }

    /// How often a pattern was given up at a limit: of steps at one place, or of the backtracking that a transaction may do.
    /// Patterns that are given up after the rule that looks at `TX:MSC_PCRE_LIMITS_EXCEEDED` are told by this alone: a host
    /// that wants to be sure asks when a phase has run.
    #[must_use]
    pub const fn limits_hit(&self) -> u32 {
        self.s.limits_hit
    }

    /// What is in effect, after `ctl:ruleEngine`.
    #[must_use]
    pub const fn engine(&self) -> EngineMode {
        self.engine
    }

    /// What this transaction's rules may do, whatever `SecRuleEngine` says. To be called before the first phase: hosts
    /// that share one set between sites give each site its mode so.
    pub const fn set_engine(&mut self, mode: EngineMode) {
        self.engine = mode;
    }

    /// Whether the host should hand in the request's body.
    #[must_use]
    pub const fn wants_request_body(&self) -> bool {
        self.request_body_access && !matches!(self.engine, EngineMode::Off)
    }

    /// Whether the host should hand in the response's body. Known after [`Transaction::response_headers`].
    #[must_use]
    pub fn wants_response_body(&self) -> bool {
        self.response_body_access && !matches!(self.engine, EngineMode::Off) && self.is_inspected_type()
    }
}

impl RuleSet {
    /// Begins a transaction. The scratch's memory is used again; nothing of the last transaction is left.
    #[must_use]
    pub fn transaction<'r, 's>(&'r self, scratch: &'s mut Scratch, connection: &Connection<'_>) -> Transaction<'r, 's> {
        scratch.reset(self);
        let mut transaction = Transaction {
            rules: self,
            s: scratch,
            engine: self.settings.engine,
            request_body_access: self.settings.request_body_access,
            response_body_access: self.settings.response_body_access,
            force_request_body: false,
            processor: None,
            intervention: None,
            allowed: Allowed::Nothing,
            phase: 0,
        };
        transaction.connection(connection);
        transaction
    }
}
