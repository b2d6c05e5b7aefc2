//! What the proxy asks of the rest of Qantra. `app` joins the stages behind it; tests put their own in.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{HeaderMap, StatusCode, Version};
use tokio::sync::oneshot;

use crate::{
    config::SiteIndex,
    decide::{DecisionId, Standing},
    flow::Observation,
    inspect::{RequestView, RuleRun, RuleSigns},
};

/// What a request comes with besides itself.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext<'a> {
    /// The client, after trusted proxies were peeled off.
    pub client: IpAddr,
    /// Which site; `None` where no site claims the host.
    pub site: Option<SiteIndex>,
    /// The request's id, sent to the origin as `X-Request-Id` and shown on block pages.
    pub request_id: &'a str,
    /// The port of the peer.
    pub peer_port: u16,
    /// The address that the peer reached.
    pub server: SocketAddr,
}

/// What is to be done with one request after a look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It goes on.
    Pass,
    /// It is refused, throttled or forwarded for this decision.
    Act(Standing),
    /// A rule refuses it, whatever becomes of its source.
    Refuse(RuleRefusal),
}

/// How a rule refuses a request or withholds a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRefusal {
    /// The status of the answer.
    pub status: u16,
    /// Where a redirect goes.
    pub location: Option<String>,
    /// The connection is closed without an answer.
    pub is_drop: bool,
    /// The decision that the same request led to, if any.
    pub decision: Option<DecisionId>,
}

impl RuleRefusal {
    /// A refusal with a status alone.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self { status, location: None, is_drop: false, decision: None }
    }
}

/// What the rules of a site made of a request.
#[derive(Debug)]
pub struct Ruled {
    /// What is to be done with it.
    pub judgement: Judgement,
    /// Its run, when the site's rules look at the response as well.
    pub run: Option<RuleRun>,
    /// What matched, for the request models; `None` for a site without rules.
    pub signs: Option<RuleSigns>,
    /// The models have to agree first; until then `judgement` says nothing.
    pub held: Option<Held>,
}

impl Ruled {
    /// Nothing more is asked of rules, and they tell the models nothing.
    #[must_use]
    pub const fn only(judgement: Judgement) -> Self {
        Self { judgement, run: None, signs: None, held: None }
    }
}

/// A refusal that waits for the models' word.
pub struct Held(Box<dyn FnOnce(Suspicion) -> Ruled + Send>);

impl Held {
    /// `resolve` is called with the models' word.
    #[must_use]
    pub fn new(resolve: impl FnOnce(Suspicion) -> Ruled + Send + 'static) -> Self {
        Self(Box::new(resolve))
    }

    /// What becomes of the request.
    #[must_use]
    pub fn resolve(self, suspicion: Suspicion) -> Ruled {
        (self.0)(suspicion)
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// The first answer of a site's rules.
#[derive(Debug)]
pub enum RuleOpinion {
    /// Known at once: the usual case, and that of a site without rules.
    Now(Ruled),
    /// The body is large: a thread of its own looks at it.
    Soon {
        /// The answer.
        answer: oneshot::Receiver<Ruled>,
        /// How long the request waits for it.
        deadline: Duration,
        /// What is done when it does not come in time.
        late: Judgement,
    },
}

impl RuleOpinion {
    /// What matched, where it is known already.
    #[must_use]
    pub const fn signs(&self) -> Option<RuleSigns> {
        match self {
            Self::Now(ruled) => ruled.signs,
            Self::Soon { .. } => None,
        }
    }
}

/// What the request models tell the rules of a site that want to be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// They take the request for an honest one.
    None,
    /// They take it for an attack.
    Some,
    /// There are no models, or they were too late.
    Unknown,
}

/// What the request models made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAnswer {
    /// What is to be done with it.
    pub judgement: Judgement,
    /// Whether they take it for an attack, whatever policy makes of that.
    pub is_attack: bool,
}

/// The first answer of a [`Judge`].
#[derive(Debug)]
pub enum Opinion {
    /// Known at once: the usual case.
    Now(Judgement),
    /// There are no models: the request passes them.
    Absent,
    /// The classifier should have been asked and had no room: the request passes the models.
    Shed,
    /// The classifier was asked. When it does not answer in time, or its sender is dropped, the request passes.
    Soon {
        /// The answer.
        answer: oneshot::Receiver<ModelAnswer>,
        /// How long the request waits for it.
        deadline: Duration,
    },
}

/// The rest of Qantra, as the proxy sees it. Nothing here may block or wait.
pub trait Judge: Send + Sync + 'static {
    /// The decision in force for a client, if any. Asked once for each request, before its body is read.
    fn standing(&self, client: IpAddr) -> Option<Standing>;

    /// Looks at a request: head and the inspected part of its body, and what its site's rules matched, as far as that is
    /// known.
    fn judge(&self, request: &RequestView<'_>, context: &RequestContext<'_>, signs: Option<RuleSigns>) -> Opinion;

    /// Runs the site's rules over a request. Asked before [`Judge::judge`].
    fn rules(&self, _request: &RequestView<'_>, _context: &RequestContext<'_>) -> RuleOpinion {
        RuleOpinion::Now(Ruled::only(Judgement::Pass))
    }

    /// Runs the rules over the head of the response.
    fn response_head(
        &self,
        _run: &mut RuleRun,
        _head: (StatusCode, Version, &HeaderMap),
        _context: &RequestContext<'_>,
    ) -> Judgement {
        Judgement::Pass
    }

    /// Runs the rules over the body of the response, or the beginning of it.
    fn response_body(&self, _run: &mut RuleRun, _body: &[u8], _context: &RequestContext<'_>) -> Judgement {
        Judgement::Pass
    }

    /// Nothing more comes for this run.
    fn end_rules(&self, _run: RuleRun) {}

    /// A request was refused because its form breaks the protocol (smuggling shapes and the like).
    fn protocol_violation(&self, context: &RequestContext<'_>, violation: &'static str);

    /// Something happened that behaviour detectors want to know. Dropped, and counted, when they cannot keep up.
    fn observe(&self, observation: Observation);
}
