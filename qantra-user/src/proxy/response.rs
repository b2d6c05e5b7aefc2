//! Enters: responses of sites whose rules look at them. Leaves: the same responses, or an answer in their place. Head and
//! body are held back until the rules have seen the body or as much of it as their limit allows; what is longer streams
//! on. Where only heads are looked at, nothing is held back. A site without such rules must pay for none of it.
//!
//! Pingora writes a head before it asks about the body. So a head that is held back passes through it as an informational
//! one, which it is told to leave out, and the true one is written when the origin is done.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, proxy::Session};

use super::{
    Judgement, RuleRefusal,
    filters::{Filters, RequestState},
};

/// Most of a body that is held back, whatever the rules allow.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// A response that is held back.
pub(super) struct Held {
    head: Box<ResponseHeader>,
    body: BytesMut,
    bytes_max: usize,
}

impl Filters {
    /// Phase 3, and whether the body is held back for phase 4.
    ///
    /// # Errors
    /// A rule withholds the response: the answer that stands for it is in the state.
    pub(super) fn rule_on_head(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestState,
    ) -> Result<()> {
        let Some(mut run) = ctx.rules.take() else { return Ok(()) };
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            self.shared.judge.end_rules(run);
            return Ok(());
        }
        let head = (response.status, response.version, &response.headers);
        let judgement = self.shared.judge.response_head(&mut run, head, &ctx.context());
        if let Some(refusal) = self.refusal_of(judgement, ctx) {
            self.shared.judge.end_rules(run);
            return Err(withhold(ctx, refusal));
        }
        if !has_readable_body(&session.req_header().method, response) || !run.wants_response_body() {
            // Scores are added up in phase 4, with a body or without.
            let judgement = self.shared.judge.response_body(&mut run, &[], &ctx.context());
            self.shared.judge.end_rules(run);
            return self.refusal_of(judgement, ctx).map_or(Ok(()), |refusal| Err(withhold(ctx, refusal)));
        }
        let bytes_max = run.response_bytes_max().min(HELD_BYTES_MAX);
        ctx.held = Some(Held { head: Box::new(response.clone()), body: BytesMut::new(), bytes_max });
        ctx.rules = Some(run);
        session.as_downstream_mut().set_ignore_info_resp(true);
        response.set_status(StatusCode::EARLY_HINTS)
    }

    /// Takes a piece of a body that is held back. Beyond the limit, what was held goes out before the piece.
    ///
    /// # Errors
    /// A rule withholds the response, or the client takes nothing.
    pub(super) fn hold_back(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        ctx: &mut RequestState,
    ) -> Result<()> {
        let Some(held) = &mut ctx.held else { return Ok(()) };
        if let Some(piece) = body.take() {
            held.body.extend_from_slice(&piece);
        }
        if held.body.len() <= held.bytes_max {
            return Ok(());
        }
        let Some(held) = ctx.held.take() else { return Ok(()) };
        self.rule_on_body(&held, ctx)?;
        // Nothing of this response is on its way yet, so a head finds room at once, unless the client has stopped reading
        // the answers before: then there is nobody to wait for.
        let written = tokio::task::unconstrained(session.write_response_header(held.head, false));
        match pin!(written).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done?,
            Poll::Pending => {
                return Err(Error::explain(ErrorType::WriteTimedout, "the client takes no answer").into_down());
            }
        }
        *body = Some(held.body.freeze());
        Ok(())
    }

    /// The origin is done: looks at the body, and writes the response or what stands for it.
    pub(super) async fn release(&self, session: &mut Session, ctx: &mut RequestState) {
        let Some(held) = ctx.held.take() else { return };
        if self.rule_on_body(&held, ctx).is_err() {
            self.answer_withheld(session, ctx).await;
            return;
        }
        let is_empty = held.body.is_empty();
        let head = session.write_response_header(held.head, is_empty).await;
        if head.is_ok() && !is_empty {
            // The client may be gone; there is nobody to tell then.
            let _ = session.write_response_body(Some(held.body.freeze()), true).await;
        }
    }

    /// Answers in the place of a response that a rule withholds. Returns whether there was one.
    pub(super) async fn answer_withheld(&self, session: &mut Session, ctx: &mut RequestState) -> bool {
        let Some(refusal) = ctx.withheld.take() else { return false };
        session.set_keepalive(None);
        // The client may be gone; there is nobody to tell then.
        let _ = self.refuse_by_rule(session, ctx, &refusal).await;
        true
    }

    fn rule_on_body(&self, held: &Held, ctx: &mut RequestState) -> Result<()> {
        let Some(mut run) = ctx.rules.take() else { return Ok(()) };
        let seen = &held.body[..held.body.len().min(held.bytes_max)];
        let judgement = self.shared.judge.response_body(&mut run, seen, &ctx.context());
        self.shared.judge.end_rules(run);
        match self.refusal_of(judgement, ctx) {
            Some(refusal) => Err(withhold(ctx, refusal)),
            None => Ok(()),
        }
    }

    fn refusal_of(&self, judgement: Judgement, ctx: &RequestState) -> Option<RuleRefusal> {
        // What a response says is no reason to act on its client.
        let Judgement::Refuse(refusal) = judgement else { return None };
        if ctx.site().is_some_and(|site| site.simulation) {
            self.shared.counters.simulated.increment();
            return None;
        }
        Some(refusal)
    }
}

/// Keeps what is to be answered, and makes the error that ends the proxying.
fn withhold(ctx: &mut RequestState, refusal: RuleRefusal) -> Box<Error> {
    let status = refusal.status;
    ctx.withheld = Some(refusal);
    Error::explain(ErrorType::HTTPStatus(status), "a rule withholds the response").into_down()
}

/// Bodies that are compressed go on unseen: origins are asked not to.
fn has_readable_body(method: &Method, response: &ResponseHeader) -> bool {
    let bodyless = *method == Method::HEAD || matches!(response.status.as_u16(), 204 | 304);
    !bodyless && !is_compressed(&response.headers)
}

fn is_compressed(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}
