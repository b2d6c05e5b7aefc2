//! Enters: nothing. Leaves: real origin servers on loopback that keep every byte they were sent. They must never be more
//! forgiving than the servers that stand behind proxies.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use qantra_user::config::TargetConfig;

/// How long anything in these tests may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

pub(crate) fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<usize> {
    let mut chunk = [0; 16_384];
    let read = stream.read(&mut chunk)?;
    buffer.extend_from_slice(&chunk[..read]);
    Ok(read)
}

/// Reads a body as it was framed; `seen` is told of every byte as it comes.
pub(crate) fn read_body(
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
