//! Enters: an accepted TCP connection. Leaves: its requests, one after another, each handed to Pingora only when its
//! head is whole and beyond doubt. It must never wait for a client without a deadline.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use pingora::{
    apps::{HttpServerApp as _, ServerApp as _},
    protocols::http::ServerSession,
    proxy::HttpProxy,
    server::ShutdownWatch,
    tls::TlsAcceptor,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    RequestContext,
    client::canonical,
    filters::Filters,
    head::{self, Refusal},
    page,
    proxy_protocol::{self, Parsed},
    sites::{Live, Shared},
    stream::{ClientStream, Conn, Transport},
};
use crate::{
    clock,
    flow::{ConnectionObservation, Observation, RequestObservation},
};

/// The bytes that every HTTP/2 client sends first (RFC 9113, section 3.4).
const HTTP2_PREFACE_BYTES: usize = 24;

/// What one thread serves connections with.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) proxy: Arc<HttpProxy<Filters>>,
    pub(super) shutdown: ShutdownWatch,
}

/// How a listener's connections begin.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) proxy_protocol: bool,
}

/// Serves one connection to its end.
pub(super) async fn serve(worker: Worker, tcp: TcpStream, peer: SocketAddr, opening: Opening) {
    let live = worker.shared.live.load_full();
    let Some(stream) = open(&worker.shared, &live, tcp, peer, opening).await else { return };
    drop(live);
    if stream.is_http2() {
        serve_http2(worker, stream).await;
    } else {
        serve_http1(worker, stream).await;
    }
}

/// PROXY header, TLS handshake, the observation of the connection.
async fn open(
    shared: &Shared,
    live: &Live,
    mut tcp: TcpStream,
    from: SocketAddr,
    opening: Opening,
) -> Option<Box<ClientStream>> {
    let peer = canonical(from.ip());
    // A small answer must not wait for an acknowledgement; that it cannot be set is no reason to refuse anybody.
    let _ = tcp.set_nodelay(true);
    shared.counters.connections.increment();
    let trusted = live.trusted.contains(peer);
    let mut nearest = Some(peer);
    if trusted {
        nearest = None;
        if opening.proxy_protocol {
            let header = pingora::time::timeout(live.client_header_timeout, read_proxy_header(&mut tcp)).await;
            nearest = header.ok()?.ok()?;
        }
    }
    // A trusted proxy's own connections say nothing of its clients.
    if let Some(source) = nearest {
        let at_ms = clock::boot_ns() / 1_000_000;
        shared.judge.observe(Observation::Connection(ConnectionObservation { at_ms, source }));
    }
    let over_tls = opening.tls.is_some();
    let local = tcp.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let transport = match opening.tls {
        None => Transport::Plain(tcp),
        Some(acceptor) => match pingora::time::timeout(live.client_header_timeout, acceptor.accept(tcp)).await {
            Ok(Ok(tls)) => Transport::Tls(Box::new(tls)),
            Ok(Err(_)) | Err(_) => {
                shared.counters.tls_failures.increment();
                return None;
            }
        },
    };
    let conn = Conn::new(peer, nearest.unwrap_or(peer), trusted, over_tls).between(from.port(), local);
    ClientStream::new(transport, conn).ok().map(Box::new)
}

/// Reads a PROXY header and not a byte more. `None` where the peer speaks for itself.
async fn read_proxy_header(tcp: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    const SIZE: usize = proxy_protocol::V2_BYTES_MAX;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no PROXY header");
    let mut bytes = vec![0_u8; SIZE];
    let mut length = 0;
    loop {
        match proxy_protocol::parse(&bytes[..length]) {
            Parsed::Header { client, .. } => return Ok(client),
            Parsed::Needs(needed) if needed <= SIZE => {
                tcp.read_exact(&mut bytes[length..needed]).await?;
                length = needed;
            }
            Parsed::Needs(_) | Parsed::Malformed => return Err(malformed()),
        }
    }
}

async fn serve_http2(worker: Worker, mut stream: Box<ClientStream>) {
    let patience = worker.shared.live.load().client_header_timeout;
    let preface = async {
        while stream.ahead.len() < HTTP2_PREFACE_BYTES {
            if stream.read_ahead().await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    if !matches!(pingora::time::timeout(patience, preface).await, Ok(Ok(()))) {
        worker.shared.counters.slow_heads.increment();
        return;
    }
    worker.proxy.process_new(stream, &worker.shutdown).await;
}

async fn serve_http1(worker: Worker, mut stream: Box<ClientStream>) {
    let mut stop = worker.shutdown.clone();
    let stopped = async move {
        // A sender that is gone is a stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::pin!(stopped);
    let mut first = true;
    loop {
        let live = worker.shared.live.load_full();
        match read_head(&mut stream, &live, first, stopped.as_mut()).await {
            Head::Whole => {}
            Head::Refused(refusal) => return refuse(&worker.shared, stream, refusal).await,
            Head::Slow => return worker.shared.counters.slow_heads.increment(),
            Head::Over => return,
        }
        drop(live);
        first = false;
        let session = ServerSession::new_http1(stream);
        let Some(reused) = worker.proxy.process_new_http(session, &worker.shutdown).await else { return };
        let (reused, _) = reused.consume();
        let Ok(same) = reused.into_any().downcast::<ClientStream>() else { return };
        stream = same;
    }
}

/// How waiting for a head ended.
enum Head {
    /// It is in `ahead`, checked.
    Whole,
    Refused(Refusal),
    /// Begun, and not ended in time or at all.
    Slow,
    /// The client, or the daemon, is done with the connection.
    Over,
}

async fn read_head(stream: &mut ClientStream, live: &Live, first: bool, stopped: Pin<&mut impl Future>) -> Head {
    if stream.ahead.is_empty() {
        let patience = if first { live.client_header_timeout } else { live.keepalive_timeout };
        tokio::select! {
            biased;
            read = pingora::time::timeout(patience, stream.read_ahead()) => match read {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return Head::Over,
                Err(_) => return if first { Head::Slow } else { Head::Over },
            },
            _ = stopped => return Head::Over,
        }
    }
    let started_ns = clock::boot_ns();
    let mut searched = 0;
    loop {
        let empty_lines = head::leading_empty_lines(&stream.ahead);
        if empty_lines > 0 {
            bytes::Buf::advance(&mut stream.ahead, empty_lines);
            searched = 0;
        }
        if let Some(end) = head::end_of_head(&stream.ahead, searched) {
            return match head::check_http1(&stream.ahead[..end], live.head) {
                Ok(facts) => {
                    stream.conn().note_head(started_ns, end, facts);
                    Head::Whole
                }
                Err(refusal) => Head::Refused(refusal),
            };
        }
        searched = stream.ahead.len();
        if searched > live.head.bytes_max {
            return Head::Refused(Refusal::TooLarge);
        }
        let waited = Duration::from_nanos(clock::boot_ns().saturating_sub(started_ns));
        let left = live.client_header_timeout.saturating_sub(waited);
        match pingora::time::timeout(left, stream.read_ahead()).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return Head::Slow,
        }
    }
}

/// Answers a head that Pingora never gets to see, and closes.
async fn refuse(shared: &Shared, mut stream: Box<ClientStream>, refusal: Refusal) {
    let id = shared.ids.next();
    let client = stream.conn().nearest;
    let status = match refusal {
        Refusal::Violation(violation) => {
            shared.counters.violations.increment();
            let conn = stream.conn();
            let (peer_port, server) = (conn.peer_port, conn.local);
            let context = RequestContext { client, site: None, request_id: id.as_str(), peer_port, server };
            shared.judge.protocol_violation(&context, violation);
            400
        }
        Refusal::Method => 405,
        Refusal::TooLarge => {
            shared.counters.heads_too_large.increment();
            431
        }
    };
    let answer = page::bare_answer(status, id.as_str());
    shared.counters.requests.increment();
    shared.judge.observe(Observation::Request(RequestObservation {
        at_ms: clock::boot_ns() / 1_000_000,
        source: client,
        site: None,
        is_write: false,
        answered_by_us: true,
        status,
        path_hash: 0,
        account_hash: None,
        is_login: false,
        request_bytes: stream.ahead.len() as u64,
        response_bytes: answer.len() as u64,
        duration_ms: 0,
    }));
    if stream.write_all(&answer).await.is_ok() {
        pingora::protocols::Shutdown::shutdown(&mut *stream).await;
    }
}
