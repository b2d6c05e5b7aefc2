//! Enters: what the daemon's code logs, verifier's words included. Leaves: its last lines, for a check that failed. It must
//! never grow without bound: a verifier writes megabytes.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// How much is kept.
const BYTES_MAX: usize = 32 * 1024;
/// How many lines a check shows.
const LINES: usize = 40;

/// The end of the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logbook(Arc<Mutex<VecDeque<u8>>>);

impl Logbook {
    /// Takes everything that is logged from now on. The loader logs the verifier's words at the debug level.
    pub(crate) fn begin() -> Self {
        let book = Self::default();
        let writer = book.clone();
        let set = tracing_subscriber::fmt()
            .with_env_filter("warn,qantra_user::xdp=debug")
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .try_init();
        debug_assert!(set.is_ok(), "there is one log");
        book
    }

    /// The last lines since the last call.
    pub(crate) fn take(&self) -> String {
        let bytes: Vec<u8> = self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Write for Logbook {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let surplus = kept.len().saturating_sub(BYTES_MAX);
        kept.drain(..surplus);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
