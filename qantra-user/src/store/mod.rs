//! Enters: decisions, what they stopped, allowlist entries. Leaves: the same after a restart, a crash or a power cut.
//! One SQLite file. It must never make a request or a detector wait, and never delete a file it cannot read.
//!
//! Detectors' decisions go through a bounded queue and are counted when lost; what a person asked for is acknowledged
//! only when it is on disk.

mod file;
mod read;
mod write;
mod writer;

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Sender, TrySendError, bounded};
use parking_lot::Mutex;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::{config::StoreConfig, metrics::Metrics};
use writer::{Command, Writer};

pub use read::StoredDecision;
pub use write::Write;

/// Writes that wait for the writer; each is a decision with its findings, a few KiB.
const QUEUE_MAX: usize = 4_096;
/// How long an acknowledged write waits for its commit: a slow SD card syncs in well under a second.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// The file's name in `daemon.state_dir`.
const FILE_NAME: &str = "qantra.db";

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made.
    #[error("daemon.state_dir: cannot make {path}: {source}; name a folder that Qantra may write to")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be opened.
    #[error("the store {path} cannot be opened: {source}; check the folder's owner and the disk")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A broken file cannot be moved out of the way.
    #[error("the store {path} is corrupt and cannot be set aside: {source}; move it away by hand")]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file was written by a later version.
    #[error(
        "the store {path} has schema {found}, this version knows {known}; install the newer Qantra or move the file away"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one this version knows.
        known: i64,
    },
    /// The writer thread cannot be started.
    #[error("the store's writer cannot be started: {0}")]
    Thread(std::io::Error),
    /// Reading or writing failed.
    #[error("the store: {0}")]
    Sql(#[from] rusqlite::Error),
    /// A write did not reach the disk.
    #[error("not written to the store: {0}; see `qantra status`")]
    NotWritten(String),
}

/// How the store is doing, for `qantra status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreHealth {
    /// The file.
    pub path: PathBuf,
    /// Its size, with the write-ahead log.
    pub bytes: u64,
    /// Rows committed since start.
    pub writes: u64,
    /// Rows that could not be written since start.
    pub lost: u64,
    /// What the last write failed with; `None` when it went well.
    pub failing: Option<String>,
    /// Where a corrupt file was moved since start.
    pub set_aside: Option<PathBuf>,
}

/// What the writer thread tells the rest.
#[derive(Debug, Default)]
struct Shared {
    writes: AtomicU64,
    lost: AtomicU64,
    failing: Mutex<Option<String>>,
    set_aside: Mutex<Option<PathBuf>>,
}

/// The embedded store. Dropping it writes what still waits.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    queue: Option<Sender<Command>>,
    reader: Arc<Mutex<Connection>>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the store in a folder, making both when they are not there. A corrupt file is renamed and a fresh one
    /// begun.
    ///
    /// # Errors
    /// The folder or file cannot be made, opened or, when corrupt, moved; or it is of a later version.
    pub fn open(state_dir: &Path, config: &StoreConfig, metrics: Arc<Metrics>) -> Result<Self, StoreError> {
        if !state_dir.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(state_dir)
                .map_err(|source| StoreError::Folder { path: state_dir.into(), source })?;
        }
        let path = state_dir.join(FILE_NAME);
        let shared = Arc::new(Shared::default());
        let opened = file::open(&path)?;
        (*shared.set_aside.lock()).clone_from(&opened.set_aside);
        let reader = Arc::new(Mutex::new(file::open_reader(&path)?));
        let (queue, commands) = bounded(QUEUE_MAX);
        let writer = Writer {
            connection: opened.connection,
            path: path.clone(),
            reader: Arc::clone(&reader),
            shared: Arc::clone(&shared),
            metrics: Arc::clone(&metrics),
            keep: config.clone(),
        };
        let writer = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(&commands))
            .map_err(StoreError::Thread)?;
        Ok(Self { path, queue: Some(queue), reader, shared, metrics, writer: Some(writer) })
    }

    /// Hands a write over and returns at once. When the queue is full it is lost, and counted as lost.
    pub fn record(&self, write: Write) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(Command::Record(write)) {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            self.metrics.store_lost.inc();
            self.metrics.queue_dropped("store").inc();
        }
    }

    /// Writes and waits until it is on disk. Blocks: not for the event loop.
    ///
    /// # Errors
    /// It did not reach the disk: the disk is full or broken, or ten seconds went by.
    pub fn commit(&self, write: Write) -> Result<(), StoreError> {
        let gone = || StoreError::NotWritten("the writer is gone".into());
        let late = || StoreError::NotWritten(format!("no answer within {} s", ACK_TIMEOUT.as_secs()));
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        let (done, acknowledged) = bounded(1);
        queue.send_timeout(Command::Commit(write, done), ACK_TIMEOUT).map_err(|_| late())?;
        acknowledged.recv_timeout(ACK_TIMEOUT).map_err(|_| late())?.map_err(StoreError::NotWritten)
    }

    /// Waits until everything recorded before is written or lost.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn flush(&self) -> Result<(), StoreError> {
        self.commit(Write::Nothing)
    }

    /// How it is doing.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        StoreHealth {
            path: self.path.clone(),
            bytes: size(&self.path) + size(&file::beside(&self.path, "-wal")),
            writes: self.shared.writes.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
            failing: self.shared.failing.lock().clone(),
            set_aside: self.shared.set_aside.lock().clone(),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Closing the queue lets the writer finish what is in it and end.
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer ended badly");
        }
    }
}
