//! The other end of the control socket, for the command line.

use std::{io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::ErrorAnswer;

/// Largest answer: 10,000 decisions of a listing take a few MB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest wait for an answer; the daemon gives up before.
const TIMEOUT: Duration = Duration::from_secs(70);

/// The daemon did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("the daemon is not reachable at {path}: {source}; {hint}", hint = advice(source))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It went away or does not speak this protocol.
    #[error("the daemon at {path} broke off: {reason}; see its log")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It refused.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What it said.
        message: String,
    },
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "run as root, or as a member of `daemon.control_group`",
        _ => "is it running? Start it with `systemctl start qantra` or `qantra run`",
    }
}

/// One daemon.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The daemon behind a socket; nothing is opened yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Asks and waits for the answer. `path` is everything after the host, query included.
    ///
    /// # Errors
    /// The daemon is not there, breaks off or refuses.
    pub fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.broken(&error))?;
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| self.broken(&error))?.unwrap_or_default();
        runtime.block_on(async {
            tokio::time::timeout(TIMEOUT, self.exchange(method, path, body))
                .await
                .map_err(|_| self.broken(&format!("no answer within {} s", TIMEOUT.as_secs())))?
        })
    }

    /// Sends bytes that are no JSON.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn send_bytes<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let exchange = self.exchange(Method::POST, path, body);
        runtime.map_err(|error| self.broken(&error))?.block_on(async {
            tokio::time::timeout(TIMEOUT, exchange)
                .await
                .map_err(|_| self.broken(&format!("no answer within {} s", TIMEOUT.as_secs())))?
        })
    }

    /// Asks, and hands the answer out piece by piece as it comes; `each` says whether to go on.
    ///
    /// # Errors
    /// The daemon is not there, breaks off or refuses.
    pub fn stream(&self, method: Method, path: &str, mut each: impl FnMut(&[u8]) -> bool) -> Result<(), ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| self.broken(&error))?.block_on(async {
            let mut body = self.open(method, path, Vec::new()).await?;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.broken(&error))?;
                if let Some(piece) = frame.data_ref()
                    && !each(piece)
                {
                    break;
                }
            }
            Ok(())
        })
    }

    async fn exchange<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        let body = self.open(method, path, body).await?;
        let bytes = self.whole(body).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.broken(&format!("its answer makes no sense: {error}")))
    }

    /// Sends a request; returns the answer's body when it went well. The connection ends with the runtime.
    async fn open(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Incoming, ClientError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| ClientError::Unreachable { path: self.path.clone(), source })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "qantra")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let bytes = self.whole(response.into_body()).await?;
        let said = serde_json::from_slice::<ErrorAnswer>(&bytes).map(|answer| answer.error);
        let message = said.unwrap_or_else(|_| format!("{status}: {}", String::from_utf8_lossy(&bytes).trim()));
        Err(ClientError::Refused { status, message })
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let limited = Limited::new(body, ANSWER_BYTES_MAX);
        #[expect(clippy::disallowed_methods, reason = "the body is limited the line before")]
        limited.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| self.broken(&error))
    }

    fn broken(&self, reason: &impl ToString) -> ClientError {
        ClientError::Broken { path: self.path.clone(), reason: reason.to_string() }
    }
}
