//! What the proxy asks of the rest of Qantra. `app` joins the stages behind it; tests put their own in.

use std::{net::IpAddr, time::Duration};

use tokio::sync::oneshot;

use crate::{config::SiteIndex, decide::Standing, flow::Observation, inspect::RequestView};

/// What a request comes with besides itself.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext<'a> {
    /// The client, after trusted proxies were peeled off.
    pub client: IpAddr,
    /// Which site; `None` where no site claims the host.
    pub site: Option<SiteIndex>,
    /// The request's id, sent to the origin as `X-Request-Id` and shown on block pages.
    pub request_id: &'a str,
}

/// What is to be done with one request after a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It goes on.
    Pass,
    /// It is refused, throttled or forwarded for this decision.
    Act(Standing),
}

/// The first answer of a [`Judge`].
#[derive(Debug)]
pub enum Opinion {
    /// Known at once: the usual case.
    Now(Judgement),
    /// The classifier was asked. When it does not answer in time, or its sender is dropped, the request passes.
    Soon {
        /// The answer.
        answer: oneshot::Receiver<Judgement>,
        /// How long the request waits for it.
        deadline: Duration,
    },
}

/// The rest of Qantra, as the proxy sees it. Nothing here may block or wait.
pub trait Judge: Send + Sync + 'static {
    /// The decision in force for a client, if any. Asked once for each request, before its body is read.
    fn standing(&self, client: IpAddr) -> Option<Standing>;

    /// Looks at a request: head and the inspected part of its body.
    fn judge(&self, request: &RequestView<'_>, context: &RequestContext<'_>) -> Opinion;

    /// A request was refused because its form breaks the protocol (smuggling shapes and the like).
    fn protocol_violation(&self, context: &RequestContext<'_>, violation: &'static str);

    /// Something happened that behaviour detectors want to know. Dropped, and counted, when they cannot keep up.
    fn observe(&self, observation: Observation);
}
