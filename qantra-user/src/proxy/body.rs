//! Enters: a request whose body is still with the client. Leaves: the beginning of that body, for the judge. Pingora's own
//! buffer for second tries keeps the same bytes and sends them first, once there is a target: it must never be given more
//! than it keeps, or the origin would miss them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::{Error, ErrorType, Result, http::RequestHeader, proxy::Session};

use super::{sites::Live, stream::Conn};
use crate::{clock, config::ProxyConfig};

/// What Pingora keeps of a body for a second try.
const HELD_BYTES_MAX: usize = ProxyConfig::INSPECT_BODY_BYTES_MAX;
/// HTTP/2 hands bodies over in frames of up to this size (RFC 9113, section 4.2).
const HTTP2_FRAME_BYTES: usize = 16 * 1024;
/// The whole inspected part of a body may take this many times the pause that is allowed inside it.
const HELD_PATIENCE: u32 = 4;

/// Reads the part of the body that is looked at before anything goes to the origin.
///
/// # Errors
/// When the client is too slow, leaves, or breaks its framing.
pub(super) async fn hold(session: &mut Session, conn: Option<&Conn>, live: &Live) -> Result<Bytes> {
    let is_http2 = session.is_http2();
    let frame = if is_http2 { HTTP2_FRAME_BYTES } else { 0 };
    let bytes_max = live.inspect_body_bytes.min(HELD_BYTES_MAX - frame);
    if bytes_max == 0 || session.is_body_empty() || is_grpc(session.req_header()) {
        return Ok(Bytes::new());
    }
    if !is_http2 && session.req_header().headers.contains_key(header::EXPECT) {
        session.write_continue_response().await?;
    }
    session.enable_retry_buffering();
    let pause = live.client_body_timeout;
    let started_ns = clock::boot_ns();
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    let mut held = 0;
    while held < bytes_max && !session.is_body_done() {
        if let Some(conn) = conn {
            conn.keep_reads_short(bytes_max - held);
        }
        let waited = Duration::from_nanos(clock::boot_ns().saturating_sub(started_ns));
        let patience = pause.min((pause * HELD_PATIENCE).saturating_sub(waited));
        let read = pingora::time::timeout(patience, session.read_request_body()).await;
        let read = read.map_err(|_| Error::explain(ErrorType::ReadTimedout, "request body").into_down())?;
        let Some(bytes) = read.map_err(|error| error.into_down())? else { break };
        held += bytes.len();
        // Most bodies come in one piece and need no copy.
        if first.is_empty() && all.is_empty() {
            first = bytes;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&bytes);
        }
    }
    if let Some(conn) = conn {
        conn.let_reads_flow();
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Two-way streams: waiting for the body's end would wait for an answer that waits for us.
fn is_grpc(request: &RequestHeader) -> bool {
    request.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
