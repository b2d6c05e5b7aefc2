//! An origin whose answers have what rules about responses look for. It keeps the targets that it was asked for.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::Result;

/// What must not get out.
pub const LEAK: &str = "You have an error in your SQL syntax; check the manual";

/// The origin; `/leak` and the like leak.
pub struct Leaky {
    /// Where it listens.
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Leaky {
    /// Starts one.
    ///
    /// # Errors
    /// Loopback cannot be bound.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let heads = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                // A proxy that closes the connection ends it.
                thread::spawn(move || drop(serve(stream, &log)));
            }
        });
        Ok(Self { address, heads })
    }

    /// The heads of the requests so far.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().map(|heads| heads.clone()).unwrap_or_default()
    }

    /// `[[site]]` tables for hosts, each with what differs from `[inspect]`.
    #[must_use]
    pub fn sites(&self, sites: &[(&str, &str)]) -> String {
        let address = self.address;
        let site = |(name, more): &(&str, &str)| {
            format!(
                "[[site]]\nname = \"{name}\"\nhosts = [\"{name}\"]\n{more}\n[[site.target]]\naddress = \"{address}\"\n"
            )
        };
        sites.iter().map(site).collect()
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<String>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 65_536];
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(&chunk[..read]);
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let length: usize = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while buffer.len() < end + length {
            let read = stream.read(&mut chunk)?;
            buffer.extend_from_slice(&chunk[..read]);
        }
        buffer.drain(..end + length);
        let target = head.split(' ').nth(1).unwrap_or("/").to_owned();
        let is_head = head.starts_with("HEAD ");
        if let Ok(mut heads) = log.lock() {
            heads.push(head);
        }
        stream.write_all(&answer(&target, is_head))?;
    }
}

fn answer(target: &str, is_head: bool) -> Vec<u8> {
    let html = |body: &str| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", body.len());
        if is_head { head.into_bytes() } else { [head.as_bytes(), body.as_bytes()].concat() }
    };
    match target.split('?').next().unwrap_or("/") {
        "/leak" => html(&format!("<html>{LEAK}</html>")),
        "/leak-late" => html(&format!("{}{LEAK}", "x".repeat(20_000))),
        "/leak-chunked" => {
            let half = LEAK.len() / 2;
            let (first, rest) = LEAK.split_at(half);
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n{half:x}\r\n{first}\r\n\
                 {:x}\r\n{rest}\r\n0\r\n\r\n",
                rest.len()
            )
            .into_bytes()
        }
        "/leak-gzip" => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n{LEAK}",
            LEAK.len()
        )
        .into_bytes(),
        "/leak-picture" => {
            format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n{LEAK}", LEAK.len())
                .into_bytes()
        }
        "/unchanged" => b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".to_vec(),
        "/nothing" => html(""),
        "/long" => html(&"honest ".repeat(100_000)),
        "/internal" => {
            b"HTTP/1.1 500 Internal Server Error\r\nX-Stack: trace\r\nContent-Length: 4\r\n\r\noops".to_vec()
        }
        _ => html("<html>hello</html>"),
    }
}
