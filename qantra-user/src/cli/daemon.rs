//! Which daemon is meant, and asking it.

use std::path::Path;

use http::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::{CONFIG_PATH, Cli, error::CliError};
use crate::{
    api::Client,
    config::{self, DaemonConfig},
};

/// A daemon to ask.
#[derive(Clone)]
pub(super) struct Daemon {
    client: Client,
}

impl Daemon {
    /// `--socket` or its variable, else what the configuration says. Without a configuration at the usual place the
    /// usual socket is meant; one that was named must be there and be fine.
    pub(super) fn find(cli: &Cli) -> Result<Self, CliError> {
        if let Some(socket) = &cli.socket {
            return Ok(Self { client: Client::new(socket.clone()) });
        }
        let socket = match config::load(&cli.config) {
            Ok(config) => config.daemon.control_socket,
            // Whoever may use the socket need not be able to read the configuration.
            Err(_) if cli.config == Path::new(CONFIG_PATH) => DaemonConfig::default().control_socket,
            Err(errors) => return Err(errors.into()),
        };
        Ok(Self { client: Client::new(socket) })
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        Ok(self.client.ask(Method::GET, path, None::<&()>)?)
    }

    pub(super) fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        Ok(self.client.ask(method, path, Some(body))?)
    }

    /// Sends bytes that are no JSON.
    pub(super) fn send_bytes<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, CliError> {
        Ok(self.client.send_bytes(path, body)?)
    }

    /// The bytes of an answer, of at most so many.
    pub(super) fn bytes(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, CliError> {
        let mut bytes = Vec::new();
        self.client.stream(Method::GET, path, |piece| {
            bytes.extend_from_slice(piece);
            bytes.len() <= bytes_max
        })?;
        if bytes.len() > bytes_max {
            return Err(anyhow::anyhow!("the daemon's answer has more than {bytes_max} bytes").into());
        }
        Ok(bytes)
    }

    /// Hands out the JSON object on each line of an answer as it comes; `each` says whether to go on.
    pub(super) fn stream_lines<T: DeserializeOwned>(
        &self,
        path: &str,
        line_bytes_max: usize,
        mut each: impl FnMut(T) -> bool,
    ) -> Result<(), CliError> {
        self.stream_beats(path, line_bytes_max, |value: Option<T>| value.is_none_or(&mut each))
    }

    /// The same, and `None` after each piece, be it an empty line: for those who must look at a clock as well.
    pub(super) fn stream_beats<T: DeserializeOwned>(
        &self,
        path: &str,
        line_bytes_max: usize,
        mut each: impl FnMut(Option<T>) -> bool,
    ) -> Result<(), CliError> {
        let mut rest: Vec<u8> = Vec::new();
        let mut wrong = None;
        self.client.stream(Method::GET, path, |piece| {
            rest.extend_from_slice(piece);
            let end = memchr::memrchr(b'\n', &rest).map_or(0, |end| end + 1);
            for line in rest[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                match serde_json::from_slice(line) {
                    Ok(value) => {
                        if !each(Some(value)) {
                            return false;
                        }
                    }
                    Err(error) => {
                        wrong = Some(anyhow::anyhow!("the daemon's answer makes no sense: {error}"));
                        return false;
                    }
                }
            }
            rest.drain(..end);
            if rest.len() > line_bytes_max {
                wrong = Some(anyhow::anyhow!("the daemon's answer has a line of more than {line_bytes_max} bytes"));
            }
            wrong.is_none() && each(None)
        })?;
        wrong.map_or(Ok(()), |wrong| Err(wrong.into()))
    }
}
