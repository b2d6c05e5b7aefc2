//! Enters: an accepted TCP or TLS connection. Leaves: the byte stream that Pingora reads requests from. It gives us
//! three things Pingora has no hook for: a request head can be looked at, whole and raw, before Pingora parses it; a
//! read can be kept short, so that no more of a body is taken than can be held back; small writes leave together.

use std::{
    any::Any,
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use http::HeaderValue;
use pingora::{
    http::ResponseHeader,
    protocols::{
        ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
        UniqueID, raw_connect::ProxyDigest,
    },
    tls::ServerTlsStream,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter, ReadBuf},
    net::TcpStream,
};

use super::head::HeadFacts;

/// A response head and a small body leave in one segment.
const WRITE_BUFFER_BYTES: usize = 4_096;
/// How long a closing connection is listened to, so that its last answer is not lost to a reset.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// What the filters know of the connection that a request came in on.
pub(super) struct Conn {
    /// The TCP peer.
    pub(super) peer: IpAddr,
    /// Whom the peer speaks for, when it is trusted and began with a PROXY header; else the peer.
    pub(super) nearest: IpAddr,
    /// `nearest`, for `X-Forwarded-For`.
    pub(super) nearest_text: HeaderValue,
    /// Whether the peer's word about clients is taken.
    pub(super) trusted: bool,
    pub(super) tls: bool,
    /// The peer's port.
    pub(super) peer_port: u16,
    /// The address that the peer reached.
    pub(super) local: SocketAddr,
    read_bytes_max: AtomicUsize,
    head_bytes: AtomicUsize,
    head_started_ns: AtomicU64,
    underscored: AtomicBool,
}

impl Conn {
    pub(super) fn new(peer: IpAddr, nearest: IpAddr, trusted: bool, tls: bool) -> Self {
        Self {
            peer,
            nearest,
            nearest_text: HeaderValue::from_str(&nearest.to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            trusted,
            tls,
            peer_port: 0,
            local: SocketAddr::from(([0, 0, 0, 0], 0)),
            read_bytes_max: AtomicUsize::new(usize::MAX),
            head_bytes: AtomicUsize::new(0),
            head_started_ns: AtomicU64::new(0),
            underscored: AtomicBool::new(false),
        }
    }

    /// Notes both ends of the connection, for rules that ask for ports and for the server's address.
    pub(super) const fn between(mut self, peer_port: u16, local: SocketAddr) -> Self {
        (self.peer_port, self.local) = (peer_port, local);
        self
    }

    /// Keeps every read at most this long, until told otherwise.
    pub(super) fn keep_reads_short(&self, bytes_max: usize) {
        self.read_bytes_max.store(bytes_max.max(1), Ordering::Relaxed);
    }

    /// Lets reads be as long as they come.
    pub(super) fn let_reads_flow(&self) {
        self.read_bytes_max.store(usize::MAX, Ordering::Relaxed);
    }

    /// Notes a head that is about to be handed to Pingora. HTTP/1.1 only: there, requests come one after another.
    pub(super) fn note_head(&self, started_ns: u64, bytes: usize, facts: HeadFacts) {
        self.head_started_ns.store(started_ns, Ordering::Relaxed);
        self.head_bytes.store(bytes, Ordering::Relaxed);
        self.underscored.store(facts.underscored, Ordering::Relaxed);
    }

    /// When the first byte of the head came, its length, and what is known of it.
    pub(super) fn noted_head(&self) -> (u64, usize, HeadFacts) {
        let facts = HeadFacts { underscored: self.underscored.load(Ordering::Relaxed) };
        (self.head_started_ns.load(Ordering::Relaxed), self.head_bytes.load(Ordering::Relaxed), facts)
    }
}

/// The bytes underneath.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<ServerTlsStream<TcpStream>>),
}

impl Transport {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    fn speaks_http2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2"))
    }
}

/// A client's connection.
pub(super) struct ClientStream {
    io: BufWriter<Transport>,
    /// Read, and not yet given to Pingora.
    pub(super) ahead: BytesMut,
    digest: Arc<ProxyDigest>,
    conn: Arc<Conn>,
    http2: bool,
}

impl ClientStream {
    /// # Errors
    /// When Pingora cannot build the head that its digest wants.
    pub(super) fn new(transport: Transport, conn: Conn) -> pingora::Result<Self> {
        let conn = Arc::new(conn);
        // Pingora hands this digest to every request of the connection, over HTTP/1.1 and HTTP/2 alike: it is how the
        // filters come by `Conn`.
        let user_data: Box<dyn Any + Send + Sync> = Box::new(Arc::clone(&conn));
        let digest = Arc::new(ProxyDigest::new(Box::new(ResponseHeader::build(200, Some(0))?), Some(user_data)));
        let http2 = transport.speaks_http2();
        let io = BufWriter::with_capacity(WRITE_BUFFER_BYTES, transport);
        Ok(Self { io, ahead: BytesMut::new(), digest, conn, http2 })
    }

    pub(super) fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    pub(super) fn is_http2(&self) -> bool {
        self.http2
    }

    /// Reads some more into `ahead`; 0 is the end.
    pub(super) async fn read_ahead(&mut self) -> io::Result<usize> {
        self.ahead.reserve(WRITE_BUFFER_BYTES);
        self.io.read_buf(&mut self.ahead).await
    }

    /// Says it is over and listens for a moment: closing with bytes unread would reset the connection, and the client
    /// might never see our last answer.
    async fn close(&mut self) {
        if self.io.shutdown().await.is_err() {
            return;
        }
        let mut sink = [0_u8; 4_096];
        let mut left = LINGER_BYTES_MAX;
        let listen = async {
            while left > 0 {
                match self.io.read(&mut sink).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => left = left.saturating_sub(read),
                }
            }
        };
        // Over when the client closes, or when it has had its time.
        let _ = pingora::time::timeout(LINGER, listen).await;
    }
}

/// The connection that a Pingora session stands on.
pub(super) fn conn_of(digest: Option<&pingora::protocols::Digest>) -> Option<&Arc<Conn>> {
    digest?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStream").field("peer", &self.conn.peer).field("tls", &self.conn.tls).finish()
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let bytes_max = this.conn.read_bytes_max.load(Ordering::Relaxed);
        if !this.ahead.is_empty() {
            let length = this.ahead.len().min(buf.remaining()).min(bytes_max);
            buf.put_slice(&this.ahead[..length]);
            this.ahead.advance(length);
            return Poll::Ready(Ok(()));
        }
        if bytes_max >= buf.remaining() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let mut short = ReadBuf::new(buf.initialize_unfilled_to(bytes_max));
        ready!(Pin::new(&mut this.io).poll_read(cx, &mut short))?;
        let length = short.filled().len();
        buf.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        self.close().await;
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> i32 {
        self.io.get_ref().tcp().as_raw_fd()
    }
}

impl Ssl for ClientStream {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.http2.then_some(ALPN::H2)
    }
}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for ClientStream {}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}
