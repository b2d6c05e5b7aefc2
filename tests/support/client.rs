//! Enters: raw bytes. Leaves: what a server made of them. It must never mend what it sends or what it gets.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::upstream::{PATIENCE, Received, read_body, read_more};

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
