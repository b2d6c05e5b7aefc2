//! The writer thread: takes what waits, commits it as one, acknowledges.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;
use rusqlite::Connection;

use super::{
    Shared, StoreError, file,
    write::{self, Write},
};
use crate::{clock::Now, config::StoreConfig, metrics::Metrics};

/// Most writes in one commit: one sync for all of them, and a bound on how long an acknowledgement waits.
const BATCH_MAX: usize = 256;
/// How often old rows are let go.
const RETAIN_EVERY_MS: u64 = 3_600_000;
/// Or after that many rows, so that a flood of decisions stays within `decisions_max`.
const RETAIN_EVERY_ROWS: u64 = 5_000;

pub(super) enum Command {
    /// Best effort.
    Record(Write),
    /// With an answer: `Ok` when it is on disk.
    Commit(Write, Sender<Result<(), String>>),
}

impl Command {
    const fn write(&self) -> &Write {
        match self {
            Self::Record(write) | Self::Commit(write, _) => write,
        }
    }
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) reader: Arc<Mutex<Connection>>,
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) keep: StoreConfig,
}

impl Writer {
    /// Runs until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let mut retained_ms = 0;
        let mut rows_since = 0;
        loop {
            let first = match commands.recv_timeout(Duration::from_secs(60)) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some(first) = first {
                let batch: Vec<Command> =
                    std::iter::once(first).chain(commands.try_iter().take(BATCH_MAX - 1)).collect();
                rows_since += self.write_batch(batch);
            }
            let now = Now::read();
            if now.boot_ms() >= retained_ms + RETAIN_EVERY_MS || retained_ms == 0 || rows_since >= RETAIN_EVERY_ROWS {
                (retained_ms, rows_since) = (now.boot_ms(), 0);
                if let Err(error) = write::retain(&self.connection, &self.keep, now.unix_ms) {
                    tracing::warn!(%error, "old decisions could not be let go from the store");
                }
            }
        }
    }

    /// Returns how many rows were written.
    fn write_batch(&mut self, batch: Vec<Command>) -> u64 {
        let mut result = transact(&mut self.connection, &batch);
        if let Err(error) = &result
            && file::is_corrupt(error)
        {
            let reason = error.to_string();
            match self.begin_anew(&reason) {
                Ok(()) => result = transact(&mut self.connection, &batch),
                Err(error) => tracing::error!(%error, "the corrupt store stays in place"),
            }
        }
        let said = result.as_ref().map(|_| ()).map_err(ToString::to_string);
        let mut failing = self.shared.failing.lock();
        match &said {
            Ok(()) if failing.is_some() => tracing::info!("the store can be written again"),
            Err(reason) if failing.is_none() => {
                tracing::error!("the store {} cannot be written: {reason}; detection goes on", self.path.display());
            }
            _ => {}
        }
        *failing = said.clone().err();
        drop(failing);

        let rows = result.unwrap_or(0);
        let lost = if said.is_err() {
            batch.iter().filter(|c| !matches!(c.write(), Write::Nothing)).count() as u64
        } else {
            0
        };
        self.shared.writes.fetch_add(rows, Ordering::Relaxed);
        self.shared.lost.fetch_add(lost, Ordering::Relaxed);
        self.metrics.store_writes.inc_by(rows);
        self.metrics.store_lost.inc_by(lost);
        for command in batch {
            if let Command::Commit(_, done) = command {
                // Whoever asked may have given up waiting.
                let _ = done.send(said.clone());
            }
        }
        rows
    }

    /// Sets the file aside and opens a fresh one, for both connections.
    fn begin_anew(&mut self, reason: &str) -> Result<(), StoreError> {
        let mut reader = self.reader.lock();
        // Closed before the file moves: SQLite removes a log by its name when it closes, which then is the new file's.
        drop(std::mem::replace(&mut self.connection, Connection::open_in_memory()?));
        drop(std::mem::replace(&mut *reader, Connection::open_in_memory()?));
        let aside =
            file::set_aside(&self.path).map_err(|source| StoreError::SetAside { path: self.path.clone(), source })?;
        tracing::error!(
            "the store {} is corrupt ({reason}); it was set aside as {} and a fresh one begun",
            self.path.display(),
            aside.display()
        );
        self.connection = file::open(&self.path)?.connection;
        *reader = file::open_reader(&self.path)?;
        *self.shared.set_aside.lock() = Some(aside);
        Ok(())
    }
}

/// All of a batch or nothing of it.
fn transact(connection: &mut Connection, batch: &[Command]) -> rusqlite::Result<u64> {
    let transaction = connection.transaction()?;
    let mut rows = 0;
    for command in batch {
        rows += command.write().execute(&transaction)?;
    }
    transaction.commit()?;
    Ok(rows)
}
