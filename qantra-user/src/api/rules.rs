//! Rules over the control socket: what they said of single requests, and which of them match most. From memory: the daemon
//! keeps a bounded number of either.

use std::net::IpAddr;

use axum::{
    Router,
    extract::{Path, Query, State},
    response::Response,
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::{
    ControlError,
    server::{Shared, run},
};
use crate::{
    decide::DecisionId,
    detect::{AttackClass, RequestRef, RuleEvidence},
};

/// What is listed unless somebody asks for more.
const LISTED: usize = 100;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/rules/requests", get(requests))
        .route("/v1/rules/requests/{id}", get(request))
        .route("/v1/rules/top", get(top))
}

/// What came of a request, or of its response, that rules matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleOutcome {
    /// It was refused.
    Refused,
    /// Its score refuses it; `inspect.confirm` asks the request models to agree, and they did not.
    Unconfirmed,
    /// It would have been refused: the engine is on `detect`, or simulation is on.
    Reported,
    /// It went on: what matched refuses nothing.
    Passed,
}

impl RuleOutcome {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unconfirmed => "unconfirmed",
            Self::Reported => "reported",
            Self::Passed => "passed",
        }
    }
}

/// What rules said of one request, or of its response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuledRequest {
    /// When: Unix ms.
    pub at_unix_ms: u64,
    /// The request; its id stands on the block page and goes to the origin.
    pub request: RequestRef,
    /// Whether it is the response that rules matched.
    pub is_response: bool,
    /// The site.
    pub site: String,
    /// The client.
    pub source: IpAddr,
    /// What came of it.
    pub outcome: RuleOutcome,
    /// The status that rules answer with, when they end it.
    pub status: Option<u16>,
    /// The rule that ends it; 0 is a limit on bodies.
    pub ended_by: Option<u64>,
    /// The anomaly score.
    pub score: u32,
    /// The score from which it is refused; 0: the set keeps none.
    pub threshold: u32,
    /// What it looks like; `None` for a response, and for rules that name no attack.
    pub class: Option<AttackClass>,
    /// How sure that is, 0 to 1.
    pub confidence: f32,
    /// What the rule set calls itself.
    pub ruleset: String,
    /// The rules that matched, with values; the first eight.
    pub rules: Vec<RuleEvidence>,
    /// The ids of all of them; at most 64.
    pub rule_ids: Vec<u64>,
    /// The decision that the request led to.
    pub decision: Option<DecisionId>,
}

/// How often a rule matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCount {
    /// The site.
    pub site: String,
    /// The rule's id.
    pub rule: u64,
    /// Its message, as it was last.
    pub message: String,
    /// Requests and responses that it matched, since the daemon began or the rule came into the table.
    pub requests: u64,
    /// Those of them that were refused.
    pub refused: u64,
    /// The field that it matched last.
    pub field: String,
    /// When: Unix ms.
    pub last_unix_ms: u64,
}

/// Which requests are asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuledQuery {
    /// Of this site.
    pub site: Option<String>,
    /// That this rule matched.
    pub rule: Option<u64>,
    /// From this client.
    pub source: Option<IpAddr>,
    /// With this outcome.
    pub outcome: Option<RuleOutcome>,
    /// The newest so many.
    pub limit: Option<usize>,
}

impl RuledQuery {
    /// Whether it asks for this one.
    #[must_use]
    pub fn asks_for(&self, ruled: &RuledRequest) -> bool {
        self.site.as_ref().is_none_or(|site| *site == ruled.site)
            && self.rule.is_none_or(|rule| ruled.rule_ids.contains(&rule) || ruled.ended_by == Some(rule))
            && self.source.is_none_or(|source| source == ruled.source)
            && self.outcome.is_none_or(|outcome| outcome == ruled.outcome)
    }

    /// How many are listed.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(LISTED)
    }
}

async fn requests(State(shared): State<Shared>, Query(query): Query<RuledQuery>) -> Response {
    run(shared, move |control| Ok(control.ruled_requests(&query))).await
}

async fn request(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    run(shared, move |control| {
        let found = control.ruled_request(&id);
        if found.is_empty() { Err(ControlError::UnknownRequest(id.chars().take(40).collect())) } else { Ok(found) }
    })
    .await
}

#[derive(Deserialize)]
struct TopQuery {
    site: Option<String>,
    limit: Option<usize>,
}

async fn top(State(shared): State<Shared>, Query(query): Query<TopQuery>) -> Response {
    run(shared, move |control| {
        let mut rules = control.top_rules(query.site.as_deref());
        rules.truncate(query.limit.unwrap_or(LISTED));
        Ok(rules)
    })
    .await
}
