//! Enters: nothing. Leaves: real origin servers on loopback that keep every byte they were sent, a [`Judge`] whose
//! answers a test sets, a running proxy between them, and a client that writes raw bytes. It must never answer for the
//! proxy: what a test asserts went over sockets.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use qantra_user::{
    config::{Config, ListenConfig, SiteConfig, TargetConfig},
    decide::{Action, DecisionId},
    flow::{Observation, RequestObservation},
    inspect::RequestView,
    proxy::{Judge, Judgement, Opinion, Proxy, ProxyCounters, ProxyError, ReloadHandle, RequestContext, Standing},
};
use tokio::sync::{oneshot, watch};

/// How long anything in these tests may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request as an origin got it.
#[derive(Debug, Clone)]
pub struct Received {
    /// The head, raw, without its empty line.
    pub head: String,
    /// The body, raw: chunks are not joined.
    pub body: Vec<u8>,
}

impl Received {
    /// A field's value, by its name in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let line = self
            .head
            .lines()
            .skip(1)
            .find(|line| line.split_once(':').is_some_and(|(field, _)| field.eq_ignore_ascii_case(name)))?;
        line.split_once(':').map(|(_, value)| value.trim())
    }

    /// The body with chunks joined, where it came in chunks.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        if self.field("transfer-encoding").is_none() {
            return self.body.clone();
        }
        let mut content = Vec::new();
        let mut rest = self.body.as_slice();
        while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let size = std::str::from_utf8(&rest[..at]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            let Some(size @ 1..) = size else { break };
            content.extend_from_slice(&rest[at + 2..at + 2 + size]);
            rest = &rest[at + 4 + size..];
        }
        content
    }
}

/// A real HTTP/1.1 server on loopback.
///
/// It answers 200 with its name, but for `/status/NNN`, `/ws` (echoes what comes after the upgrade), `/stream` (sends a
/// part, waits for [`Origin::release`], sends the rest) and `/echo` (sends the body back).
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<Mutex<usize>>,
    release: mpsc::SyncSender<()>,
}

impl Origin {
    /// Starts one.
    ///
    /// # Errors
    /// When loopback cannot be bound.
    pub fn start(name: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let (release, released) = mpsc::sync_channel(8);
        let released = Arc::new(Mutex::new(released));
        let (log, count) = (Arc::clone(&received), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                *lock(&count) += 1;
                let (log, released) = (Arc::clone(&log), Arc::clone(&released));
                thread::spawn(move || {
                    // A proxy that closes the connection ends it.
                    let _ = serve(stream, name, &log, &released);
                });
            }
        });
        Ok(Self { address, received, connections, release })
    }

    /// Every request so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.received).clone()
    }

    /// How many connections were opened to it.
    #[must_use]
    pub fn connections(&self) -> usize {
        *lock(&self.connections)
    }

    /// Lets one `/stream` go on.
    pub fn release(&self) {
        // A full queue lets it go on as well.
        let _ = self.release.try_send(());
    }

    /// A `[[site.target]]` for it.
    #[must_use]
    pub fn target(&self, weight: usize) -> TargetConfig {
        TargetConfig { address: self.address.to_string(), weight, tls: false, server_name: None }
    }
}

fn serve(
    mut stream: TcpStream,
    name: &str,
    log: &Mutex<Vec<Received>>,
    released: &Mutex<mpsc::Receiver<()>>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if read_more(&mut stream, &mut buffer)? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 4);
        let index = {
            let mut log = lock(log);
            log.push(Received { head: head.clone(), body: Vec::new() });
            log.len() - 1
        };
        let request = Received { head, body: Vec::new() };
        let body = read_body(&mut stream, &mut buffer, &request, &mut |part| {
            if let Some(received) = lock(log).get_mut(index) {
                received.body = part.to_vec();
            }
        })?;
        let target = request.head.split(' ').nth(1).unwrap_or("/").to_owned();
        match target.split('?').next().unwrap_or("/") {
            "/ws" => return echo_upgraded(stream, &buffer),
            "/stream" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst \r\n")?;
                // The test says when; without it the stream ends by itself.
                let _ = lock(released).recv_timeout(PATIENCE);
                stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n")?;
            }
            "/echo" => {
                let content = Received { body, ..request }.content();
                stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()).as_bytes())?;
                stream.write_all(&content)?;
            }
            path => {
                let status = path.strip_prefix("/status/").unwrap_or("200 OK");
                let answer = format!(
                    "HTTP/1.1 {status}\r\nServer: Origin/1.0\r\nX-Powered-By: Test\r\nContent-Type: text/plain\r\n\
                     Set-Cookie: session=1; Path=/\r\nContent-Length: {}\r\n\r\n{name}",
                    name.len()
                );
                stream.write_all(answer.as_bytes())?;
            }
        }
    }
}

fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<usize> {
    let mut chunk = [0; 16_384];
    let read = stream.read(&mut chunk)?;
    buffer.extend_from_slice(&chunk[..read]);
    Ok(read)
}

/// Reads a body as it was framed; `seen` is told of every byte as it comes.
fn read_body(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    request: &Received,
    seen: &mut dyn FnMut(&[u8]),
) -> Result<Vec<u8>> {
    let length = match request.field("content-length") {
        Some(length) => Some(length.parse::<usize>()?),
        None if request.field("transfer-encoding").is_some() => None,
        None => Some(0),
    };
    loop {
        let end = match length {
            Some(length) => (buffer.len() >= length).then_some(length),
            None if buffer.starts_with(b"0\r\n\r\n") => Some(5),
            None => buffer.windows(7).position(|seven| seven == b"\r\n0\r\n\r\n").map(|at| at + 7),
        };
        if let Some(end) = end {
            seen(&buffer[..end]);
            return Ok(buffer.drain(..end).collect());
        }
        seen(buffer);
        ensure!(read_more(stream, buffer)? > 0, "the body was cut off");
    }
}

fn echo_upgraded(mut stream: TcpStream, early: &[u8]) -> Result<()> {
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
    stream.write_all(early)?;
    let mut chunk = [0; 4_096];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&chunk[..read])?;
    }
}

/// What a [`TestJudge`] says of a request.
pub type Verdict = Box<dyn Fn(&RequestView<'_>) -> Judgement + Send + Sync>;

/// A judge whose answers a test sets, and that keeps what it is told.
#[derive(Default)]
pub struct TestJudge {
    standings: Mutex<HashMap<IpAddr, Standing>>,
    verdict: Mutex<Option<Verdict>>,
    late: Mutex<bool>,
    bodies: Mutex<Vec<(Vec<u8>, bool)>>,
    clients: Mutex<Vec<IpAddr>>,
    violations: Mutex<Vec<&'static str>>,
    observations: Mutex<Vec<Observation>>,
}

/// The decision of every action a [`TestJudge`] asks for.
pub const DECISION: DecisionId = DecisionId(0x0123_4567_89ab_cdef);

/// An action with [`DECISION`].
#[must_use]
pub const fn standing(action: Action) -> Standing {
    Standing { action, decision: DECISION }
}

impl TestJudge {
    /// Puts a decision in force for a client.
    pub fn set_standing(&self, client: IpAddr, action: Action) {
        lock(&self.standings).insert(client, standing(action));
    }

    /// Judges every request so.
    pub fn set_verdict(&self, verdict: impl Fn(&RequestView<'_>) -> Judgement + Send + Sync + 'static) {
        *lock(&self.verdict) = Some(Box::new(verdict));
    }

    /// Answers later, by the channel; `dropped` is a classifier that misses its deadline.
    pub fn answer_late(&self, dropped: bool) {
        *lock(&self.late) = true;
        if dropped {
            *lock(&self.verdict) = None;
        }
    }

    /// Bodies that were judged, each with whether it was whole.
    #[must_use]
    pub fn bodies(&self) -> Vec<(Vec<u8>, bool)> {
        lock(&self.bodies).clone()
    }

    /// The clients of judged requests.
    #[must_use]
    pub fn clients(&self) -> Vec<IpAddr> {
        lock(&self.clients).clone()
    }

    /// Protocol violations so far.
    #[must_use]
    pub fn violations(&self) -> Vec<&'static str> {
        lock(&self.violations).clone()
    }

    /// Observations of requests; waits until there are this many, since they come after the answer.
    #[must_use]
    pub fn requests(&self, at_least: usize) -> Vec<RequestObservation> {
        let until = Instant::now() + PATIENCE;
        loop {
            let requests: Vec<_> = lock(&self.observations)
                .iter()
                .filter_map(|observation| match observation {
                    Observation::Request(request) => Some(*request),
                    _ => None,
                })
                .collect();
            if requests.len() >= at_least || Instant::now() > until {
                return requests;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sources of accepted connections.
    #[must_use]
    pub fn connections(&self) -> Vec<IpAddr> {
        let sources = lock(&self.observations);
        let source = |observation: &Observation| match observation {
            Observation::Connection(connection) => Some(connection.source),
            _ => None,
        };
        sources.iter().filter_map(source).collect()
    }
}

impl Judge for TestJudge {
    fn standing(&self, client: IpAddr) -> Option<Standing> {
        lock(&self.standings).get(&client).copied()
    }

    fn judge(&self, request: &RequestView<'_>, context: &RequestContext<'_>) -> Opinion {
        lock(&self.bodies).push((request.body.to_vec(), request.body_is_whole));
        lock(&self.clients).push(context.client);
        let verdict = lock(&self.verdict).as_ref().map(|verdict| verdict(request));
        if !*lock(&self.late) {
            return Opinion::Now(verdict.unwrap_or(Judgement::Pass));
        }
        let (send, receive) = oneshot::channel();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            if let Some(verdict) = verdict {
                // The client may be gone.
                let _ = send.send(verdict);
            }
        });
        Opinion::Soon { answer: receive, deadline: Duration::from_secs(1) }
    }

    fn protocol_violation(&self, _context: &RequestContext<'_>, violation: &'static str) {
        lock(&self.violations).push(violation);
    }

    fn observe(&self, observation: Observation) {
        lock(&self.observations).push(observation);
    }
}

/// A config with one site for every host, and one plain listener on loopback.
#[must_use]
pub fn one_site(targets: Vec<TargetConfig>) -> Config {
    let mut config = Config { sites: vec![site("main", &["*"], targets)], ..Config::default() };
    config.listeners =
        vec![ListenConfig { address: SocketAddr::from(([127, 0, 0, 1], 0)), tls: false, proxy_protocol: false }];
    config.proxy.threads = Some(1);
    config
}

/// One site with everything else as by default.
#[must_use]
pub fn site(name: &str, hosts: &[&str], targets: Vec<TargetConfig>) -> SiteConfig {
    SiteConfig {
        name: name.into(),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        targets,
        health: None,
        tls: None,
        decoy: None,
        login: qantra_user::config::LoginConfig::default(),
        headers: qantra_user::config::HeadersConfig::default(),
        body_bytes_max: None,
        simulation: false,
    }
}

/// A proxy that runs until dropped.
pub struct Running {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Its judge.
    pub judge: Arc<TestJudge>,
    /// Its counters.
    pub counters: Arc<ProxyCounters>,
    /// Its reload handle.
    pub reload: ReloadHandle,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<Result<(), ProxyError>>>,
}

impl Running {
    /// Binds and runs.
    ///
    /// # Errors
    /// What [`Proxy::bind`] says.
    pub fn start(config: Config) -> Result<Self> {
        let (judge, counters) = (Arc::new(TestJudge::default()), Arc::new(ProxyCounters::default()));
        let bound = Proxy::bind(Arc::new(config))?;
        let proxy = bound.with_judge(Arc::clone(&judge) as Arc<dyn Judge>, Arc::clone(&counters));
        let (addresses, reload) = (proxy.addresses().to_vec(), proxy.reload_handle());
        let (stop, stopped) = watch::channel(false);
        let thread = thread::spawn(move || proxy.run(stopped));
        Ok(Self { addresses, judge, counters, reload, stop, thread: Some(thread) })
    }

    /// The first listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Opens a raw connection to the first listener.
    ///
    /// # Errors
    /// When it refuses.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(self.address())
    }

    /// Sends raw bytes on a connection of their own and returns the answer.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn ask(&self, request: &str) -> Result<Answer> {
        let mut client = self.connect()?;
        client.send(request.as_bytes())?;
        client.answer()
    }

    /// Tells it to stop, and waits until it has; returns how long that took.
    pub fn stop(&mut self) -> Duration {
        let started = Instant::now();
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // A proxy that panicked or did not run has failed the test already.
            let _ = thread.join();
        }
        started.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, status line included.
    pub head: String,
    /// Its body, chunks joined.
    pub body: Vec<u8>,
}

impl Answer {
    /// A field's value, by its name in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Its body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client that writes raw bytes.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the server closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads until the bytes so far end with `end`, and returns them.
    ///
    /// # Errors
    /// When the server closes before.
    pub fn read_until(&mut self, end: &str) -> Result<String> {
        while !self.buffer.ends_with(end.as_bytes()) {
            ensure!(self.more()? > 0, "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        }
        Ok(String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned())
    }

    /// Reads one whole answer; 100 (Continue) is an answer of its own.
    ///
    /// # Errors
    /// When the server closes before, or is too slow.
    pub fn answer(&mut self) -> Result<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            ensure!(self.more()? > 0, "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let status = head.split(' ').nth(1).context("a status")?.parse()?;
        let framing = Received { head: head.clone(), body: Vec::new() };
        let has_no_body = status < 200 || status == 204 || status == 304;
        let body = if has_no_body {
            Vec::new()
        } else {
            let raw = read_body(&mut self.stream, &mut self.buffer, &framing, &mut |_| {})?;
            Received { body: raw, ..framing }.content()
        };
        Ok(Answer { status, head, body })
    }

    /// Whether the server closes the connection within this time, and after how long.
    ///
    /// # Errors
    /// When the socket cannot be set up.
    pub fn closed_within(&mut self, limit: Duration) -> Result<Option<Duration>> {
        let started = Instant::now();
        self.stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        let mut chunk = [0; 1_024];
        while started.elapsed() < limit {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Some(started.elapsed())),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(_) => return Ok(Some(started.elapsed())),
            }
        }
        Ok(None)
    }

    fn more(&mut self) -> Result<usize> {
        read_more(&mut self.stream, &mut self.buffer)
    }
}
