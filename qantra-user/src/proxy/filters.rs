//! Enters: a request that Pingora parsed. Leaves: the same request on its way to a target, or an answer of ours. Each
//! filter only carries what pure code decides; it must never hold more of a body than `inspect_body_bytes`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Version, header};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::{HttpPeer, Peer as _},
};

use super::{
    Judgement, ModelAnswer, Opinion, RequestContext, RuleRefusal, Standing, Suspicion, body,
    client::client_address,
    failure::{status_of, violation_of},
    head::{self, Refusal},
    hosts::without_port,
    login,
    page::Message,
    request_id::RequestId,
    response::Held,
    sites::{Live, Shared, Site},
    stream::{Conn, conn_of},
    target::Tried,
    throttle::Throttled,
    upstream::{Told, tell_origin},
};
use crate::{
    clock,
    config::SiteIndex,
    decide::Action,
    flow::{Observation, RequestObservation},
    inspect::{RequestView, RuleRun},
};

/// An upgraded connection may be silent for this long.
const UPGRADED_SILENCE: Duration = Duration::from_secs(3_600);

/// Pingora's view of the proxy; one for each worker.
pub(super) struct Filters {
    pub(super) shared: Arc<Shared>,
}

/// What is known of one request.
pub(super) struct RequestState {
    live: Arc<Live>,
    conn: Option<Arc<Conn>>,
    pub(super) id: RequestId,
    client: IpAddr,
    site: Option<SiteIndex>,
    host: Option<HeaderValue>,
    started_ns: u64,
    head_bytes: usize,
    underscored: bool,
    is_login: bool,
    account_hash: Option<u64>,
    answered_by_us: bool,
    to_decoy: bool,
    body_read: bool,
    tried: Tried,
    tries: usize,
    /// The request's run through the site's rules, while they want to see the response.
    pub(super) rules: Option<RuleRun>,
    /// The response, while they have not seen its body.
    pub(super) held: Option<Held>,
    /// What is answered in the place of a response that they withhold.
    pub(super) withheld: Option<RuleRefusal>,
}

impl RequestState {
    pub(super) fn site(&self) -> Option<&Site> {
        self.live.site(self.site)
    }

    pub(super) fn context(&self) -> RequestContext<'_> {
        let (peer_port, server) = match &self.conn {
            Some(conn) => (conn.peer_port, conn.local),
            None => (0, SocketAddr::from(([0, 0, 0, 0], 0))),
        };
        RequestContext { client: self.client, site: self.site, request_id: self.id.as_str(), peer_port, server }
    }
}

impl Filters {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Finds out who asks for what; nothing is decided yet.
    fn recognise(&self, session: &Session, ctx: &mut RequestState) -> Result<(), Refusal> {
        let request = session.req_header();
        let Some(conn) = conn_of(session.digest()) else { return Err(Refusal::Violation("no connection")) };
        let forwarded = request.headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
        ctx.client = client_address(conn.nearest, forwarded, &ctx.live.trusted);
        ctx.host = match request.uri.authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => request.headers.get(header::HOST).cloned(),
        };
        let host = ctx.host.as_ref().and_then(|host| host.to_str().ok()).map_or("", without_port);
        ctx.site = ctx.live.hosts.find(host);
        if request.version == Version::HTTP_2 {
            ctx.started_ns = clock::boot_ns();
            ctx.head_bytes = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
            ctx.conn = Some(Arc::clone(conn));
            let authority = request.uri.authority().map(|authority| authority.as_str());
            let facts = head::check_http2(&request.method, authority, &request.headers, ctx.live.head)?;
            ctx.underscored = facts.underscored;
        } else {
            let (started_ns, bytes, facts) = conn.noted_head();
            (ctx.started_ns, ctx.head_bytes, ctx.underscored) = (started_ns, bytes, facts.underscored);
            ctx.conn = Some(Arc::clone(conn));
        }
        Ok(())
    }

    /// Answers by ourselves. Returns what `request_filter` returns then.
    pub(super) async fn answer(
        &self,
        session: &mut Session,
        ctx: &mut RequestState,
        message: Message<'_>,
    ) -> Result<bool> {
        ctx.answered_by_us = true;
        let page = message.page(&session.req_header().headers)?;
        let is_head = session.req_header().method == Method::HEAD;
        // Whoever is refused begins anew: nothing of an unread body can be taken for a next request.
        session.set_keepalive(None);
        session.write_response_header(Box::new(page.head), is_head).await?;
        if !is_head {
            session.write_response_body(Some(page.body), true).await?;
        }
        Ok(true)
    }

    async fn answer_status(&self, session: &mut Session, ctx: &mut RequestState, status: u16) -> Result<bool> {
        let id = ctx.id;
        self.answer(session, ctx, Message::new(status, id.as_str())).await
    }

    async fn refuse(&self, session: &mut Session, ctx: &mut RequestState, refusal: Refusal) -> Result<bool> {
        let status = match refusal {
            Refusal::Violation(violation) => {
                self.shared.counters.violations.increment();
                self.shared.judge.protocol_violation(&ctx.context(), violation);
                400
            }
            Refusal::Method => 405,
            Refusal::TooLarge => {
                self.shared.counters.heads_too_large.increment();
                431
            }
        };
        self.answer_status(session, ctx, status).await
    }

    /// Does what a decision says. Returns whether the request was answered by that.
    async fn act(&self, session: &mut Session, ctx: &mut RequestState, standing: Standing) -> Result<bool> {
        let counters = &self.shared.counters;
        if standing.action == Action::Observe {
            return Ok(false);
        }
        if ctx.site().is_some_and(|site| site.simulation) {
            counters.simulated.increment();
            return Ok(false);
        }
        let id = ctx.id;
        let message = Message { decision: standing.decision, ..Message::new(403, id.as_str()) };
        match standing.action {
            Action::Observe => Ok(false),
            Action::Forward if ctx.site().is_some_and(|site| site.decoy.is_some()) => {
                counters.forwarded.increment();
                ctx.to_decoy = true;
                Ok(false)
            }
            Action::Forward | Action::Block => {
                counters.blocked.increment();
                self.answer(session, ctx, message).await
            }
            Action::Throttle => {
                let now_ms = clock::boot_ns() / 1_000_000;
                match self.shared.throttle.take(ctx.client, ctx.live.throttle_rps, now_ms) {
                    Throttled::Delay => {
                        counters.throttle_delays.increment();
                        tokio::time::sleep(ctx.live.throttle_delay).await;
                        Ok(false)
                    }
                    Throttled::Refuse { retry_after_s } => {
                        counters.throttle_refusals.increment();
                        let message = Message { status: 429, retry_after_s: Some(retry_after_s), ..message };
                        self.answer(session, ctx, message).await
                    }
                }
            }
        }
    }

    /// Asks the judge; what comes too late passes.
    async fn ask(&self, session: &mut Session, ctx: &mut RequestState, body: &Bytes) -> Judgement {
        let body_is_whole = session.is_body_done();
        let request = session.req_header();
        let target = request.raw_path();
        let (path, query) = split_query(target);
        if let Some(site) = ctx.live.site(ctx.site)
            && login::is_login_path(&site.login, path)
        {
            let account = login::account_hash(&site.login, &self.shared.hash, query, &request.headers, body);
            (ctx.is_login, ctx.account_hash) = (true, account);
        }
        let view = RequestView {
            method: &request.method,
            target,
            host: ctx.host.as_ref().and_then(|host| host.to_str().ok()).map_or("", without_port),
            version: request.version,
            headers: &request.headers,
            body,
            body_is_whole,
        };
        let context = ctx.context();
        // Both look: what rules refuse without being sure of its source, the models may be sure of. Rules come first: what
        // matched is evidence for the models, even where it refuses nothing by itself.
        let rules = self.shared.judge.rules(&view, &context);
        let models = self.shared.judge.judge(&view, &context, rules.signs());
        let mut ruled = self.await_rules(rules).await;
        if let Some(held) = ruled.held.take() {
            let (judgement, suspicion) = self.await_models(models).await;
            ruled = held.resolve(suspicion);
            ctx.rules = ruled.run;
            return if ruled.judgement == Judgement::Pass { judgement } else { ruled.judgement };
        }
        ctx.rules = ruled.run;
        if ruled.judgement != Judgement::Pass {
            return ruled.judgement;
        }
        self.await_models(models).await.0
    }

    /// Waits for the models as long as they may take.
    async fn await_models(&self, opinion: Opinion) -> (Judgement, Suspicion) {
        match opinion {
            Opinion::Now(judgement) => (judgement, Suspicion::None),
            Opinion::Absent | Opinion::Shed => (Judgement::Pass, Suspicion::Unknown),
            Opinion::Soon { answer, deadline } => match tokio::time::timeout(deadline, answer).await {
                Ok(Ok(ModelAnswer { judgement, is_attack: true })) => (judgement, Suspicion::Some),
                Ok(Ok(ModelAnswer { judgement, is_attack: false })) => (judgement, Suspicion::None),
                _ => {
                    self.shared.counters.judge_late.increment();
                    (Judgement::Pass, Suspicion::Unknown)
                }
            },
        }
    }

    fn body_bytes_max(ctx: &RequestState) -> u64 {
        ctx.site().map_or(ctx.live.body_bytes_max, |site| site.body_bytes_max)
    }
}

#[async_trait]
impl ProxyHttp for Filters {
    type CTX = RequestState;

    fn new_ctx(&self) -> RequestState {
        RequestState {
            live: self.shared.live.load_full(),
            conn: None,
            id: self.shared.ids.next(),
            client: IpAddr::from([0, 0, 0, 0]),
            site: None,
            host: None,
            started_ns: 0,
            head_bytes: 0,
            underscored: false,
            is_login: false,
            account_hash: None,
            answered_by_us: false,
            to_decoy: false,
            body_read: false,
            tried: Tried::default(),
            tries: 0,
            rules: None,
            held: None,
            withheld: None,
        }
    }

    /// None: we compress nothing, and every module costs each request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestState) -> Result<bool> {
        if let Err(refusal) = self.recognise(session, ctx) {
            return self.refuse(session, ctx, refusal).await;
        }
        if let Some(target) = head::origin_form(session.req_header().raw_path()).map(Bytes::copy_from_slice) {
            session.req_header_mut().set_raw_path(&target)?;
        }
        let patience = if is_tunnel(session) { UPGRADED_SILENCE } else { ctx.live.client_body_timeout };
        session.set_read_timeout(Some(patience));
        session.set_write_timeout(Some(patience));
        if let Some(standing) = self.shared.judge.standing(ctx.client)
            && self.act(session, ctx, standing).await?
        {
            return Ok(true);
        }
        let length = session.req_header().headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > Self::body_bytes_max(ctx)) {
            self.shared.counters.bodies_too_large.increment();
            return self.answer_status(session, ctx, 413).await;
        }
        let body = body::hold(session, ctx.conn.as_deref(), &ctx.live).await?;
        ctx.body_read = session.body_bytes_read() > 0;
        if session.body_bytes_read() as u64 > Self::body_bytes_max(ctx) {
            self.shared.counters.bodies_too_large.increment();
            return self.answer_status(session, ctx, 413).await;
        }
        let is_answered = match self.ask(session, ctx, &body).await {
            Judgement::Pass => false,
            Judgement::Act(standing) => self.act(session, ctx, standing).await?,
            Judgement::Refuse(refusal) => self.refuse_by_rule(session, ctx, &refusal).await?,
        };
        if is_answered {
            return Ok(true);
        }
        if ctx.site.is_none() {
            return self.answer_status(session, ctx, 421).await;
        }
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut RequestState,
    ) -> Result<()> {
        if session.body_bytes_read() as u64 > Self::body_bytes_max(ctx) && !session.was_upgraded() {
            self.shared.counters.bodies_too_large.increment();
            return Err(Error::explain(ErrorType::HTTPStatus(413), "request body beyond its limit").into_down());
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut RequestState) -> Result<Box<HttpPeer>> {
        let gone = || Error::explain(ErrorType::HTTPStatus(502), "no target");
        let site = ctx.live.site(ctx.site).ok_or_else(gone)?;
        let target = match &site.decoy {
            Some(decoy) if ctx.to_decoy => decoy,
            _ => {
                let (index, target) = site.targets.pick(ctx.tried, clock::boot_ns() / 1_000_000).ok_or_else(gone)?;
                ctx.tried.add(index);
                target
            }
        };
        ctx.tries += 1;
        let mut peer = Box::new(target.peer.clone());
        if is_tunnel(session) {
            peer.options.read_timeout = Some(UPGRADED_SILENCE);
        }
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut RequestState,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.shared.counters.connect_failures.increment();
        if let Some(site) = ctx.live.site(ctx.site)
            && let Some(target) =
                site.targets.all.iter().find(|target| Some(&target.address) == peer.address().as_inet())
        {
            target.avoid(clock::boot_ns() / 1_000_000);
        }
        // Nothing was sent yet: another target may be asked whatever the method.
        error.set_retry(ctx.tries <= ctx.live.connect_retries);
        error
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut RequestState,
    ) -> Result<()> {
        if ctx.rules.as_ref().is_some_and(RuleRun::may_want_response_body) {
            // Rules read no compressed bodies.
            request.insert_header(header::ACCEPT_ENCODING, "identity")?;
        }
        if ctx.body_read {
            // The client has had its 100 from us.
            request.remove_header(&header::EXPECT);
        }
        let Some(conn) = &ctx.conn else { return Ok(()) };
        let told = Told { conn, host: ctx.host.as_ref(), request_id: ctx.id, underscored: ctx.underscored };
        tell_origin(request, told)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestState,
    ) -> Result<()> {
        if response.status.is_informational() {
            return Ok(());
        }
        // A proxy speaks for itself (RFC 9110, 6.2): an origin's HTTP/1.0 is not the client's business.
        response.set_version(Version::HTTP_11);
        let over_tls = ctx.conn.as_ref().is_some_and(|conn| conn.tls);
        if let Some(site) = ctx.site() {
            site.hardening.apply(response, over_tls)?;
        }
        self.rule_on_head(session, response, ctx)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut RequestState,
    ) -> Result<Option<Duration>> {
        self.hold_back(session, body, ctx)?;
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut RequestState) -> FailToProxy {
        ctx.held = None;
        if self.answer_withheld(session, ctx).await {
            return FailToProxy { error_code: status_of(error), can_reuse_downstream: true };
        }
        let status = status_of(error);
        match status {
            400 => {
                self.shared.counters.violations.increment();
                self.shared.judge.protocol_violation(&ctx.context(), violation_of(error));
            }
            502 | 504 => self.shared.counters.origin_failures.increment(),
            _ => {}
        }
        let answered = session.response_written().is_some_and(|head| !head.status.is_informational());
        if status > 0 && !answered {
            // The client may be gone; there is nobody to tell then.
            let _ = self.answer_status(session, ctx, status).await;
            if status == 413 {
                session.set_total_drain_timeout(Some(Duration::from_millis(500)));
                let _ = session.drain_request_body().await;
            }
        }
        // Reuse only means that Pingora closes the connection in order, now that keep-alive is off.
        FailToProxy { error_code: status, can_reuse_downstream: status > 0 }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut RequestState) {
        if error.is_none() {
            self.release(session, ctx).await;
        }
        if let Some(run) = ctx.rules.take() {
            self.shared.judge.end_rules(run);
        }
        let request = session.req_header();
        let (path, _) = split_query(request.raw_path());
        let now_ns = clock::boot_ns();
        self.shared.counters.requests.increment();
        self.shared.judge.observe(Observation::Request(RequestObservation {
            at_ms: now_ns / 1_000_000,
            source: ctx.client,
            site: ctx.site,
            is_write: matches!(request.method, Method::POST | Method::PUT | Method::PATCH),
            answered_by_us: ctx.answered_by_us,
            // 499, as nginx has it: the client left before there was an answer.
            status: session.response_written().map_or(499, |head| head.status.as_u16()),
            path_hash: self.shared.hash.of(path),
            account_hash: ctx.account_hash,
            is_login: ctx.is_login,
            request_bytes: (ctx.head_bytes + session.body_bytes_read()) as u64,
            response_bytes: session.body_bytes_sent() as u64,
            duration_ms: u32::try_from(now_ns.saturating_sub(ctx.started_ns) / 1_000_000).unwrap_or(u32::MAX),
        }));
    }

    /// An attacker must not be able to fill the log; the counters tell.
    fn suppress_error_log(&self, _session: &Session, _ctx: &RequestState, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &RequestState,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

fn split_query(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[]),
    }
}

/// A WebSocket about to open. With a body it is an ordinary request, whatever it says it wants to become: the patience
/// that silent sockets are given is no present for slow bodies.
fn is_tunnel(session: &mut Session) -> bool {
    let wants = session.req_header().headers.get(header::UPGRADE);
    wants.is_some_and(|wants| wants.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && session.is_upgrade_req()
        && session.is_body_empty()
}
