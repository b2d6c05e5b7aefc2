//! The SQLite file: opening, schema, setting a corrupt one aside.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::StoreError;
use crate::clock::Now;

/// The schema this version writes, kept in `PRAGMA user_version`.
const SCHEMA: i64 = 2;

const SCHEMA_1: &str = "
CREATE TABLE decisions (
    id            TEXT PRIMARY KEY,
    scope         TEXT NOT NULL,
    action        TEXT NOT NULL,
    class         TEXT,
    origin        TEXT NOT NULL,
    created_ms    INTEGER NOT NULL,
    expires_ms    INTEGER,
    ended_ms      INTEGER,
    end_reason    TEXT,
    packets       INTEGER NOT NULL DEFAULT 0,
    bytes         INTEGER NOT NULL DEFAULT 0,
    requests      INTEGER NOT NULL DEFAULT 0,
    first_drop_ms INTEGER,
    last_drop_ms  INTEGER,
    body          TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX decisions_created ON decisions (created_ms);
CREATE INDEX decisions_running ON decisions (expires_ms) WHERE ended_ms IS NULL;
CREATE INDEX decisions_scope ON decisions (scope, created_ms);
CREATE TABLE allowlist (
    net        TEXT PRIMARY KEY,
    comment    TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER
) WITHOUT ROWID;
";

/// What was added later: states of stages, and what people labelled.
const SCHEMA_2: &str = "
CREATE TABLE kept (
    name TEXT PRIMARY KEY,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE labels (
    key         TEXT PRIMARY KEY,
    labelled_ms INTEGER NOT NULL,
    body        TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX labels_age ON labels (labelled_ms);
";

pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) set_aside: Option<PathBuf>,
}

/// Opens the file for writing; a corrupt one is set aside and a fresh one begun.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    match try_open(path) {
        Ok(connection) => Ok(Opened { connection, set_aside: None }),
        Err(StoreError::Open { source, .. }) if is_corrupt(&source) => {
            let aside = set_aside(path).map_err(|source| StoreError::SetAside { path: path.into(), source })?;
            tracing::error!(
                "the store {} is corrupt ({source}); it was set aside as {} and a fresh one begun",
                path.display(),
                aside.display()
            );
            Ok(Opened { connection: try_open(path)?, set_aside: Some(aside) })
        }
        Err(error) => Err(error),
    }
}

/// A second connection, so that reading never waits for a sync.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open(path)?;
        settings(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    open().map_err(|source| StoreError::Open { path: path.into(), source })
}

/// Whether an error says that the file's content is broken, not that the disk is full or busy.
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// `/x/qantra.db` and `-wal` → `/x/qantra.db-wal`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Renames the file and its companions; nothing is deleted.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let stamp = Now::read().unix_ms;
    let aside = (0..100)
        .map(|n| beside(path, &format!(".corrupt-{}", stamp + n)))
        .find(|candidate| !candidate.exists())
        .ok_or_else(|| io::Error::new(io::ErrorKind::AlreadyExists, "no free name beside it"))?;
    fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn try_open(path: &Path) -> Result<Connection, StoreError> {
    let opened = |source| StoreError::Open { path: path.into(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(opened)?;
    settings(&connection).map_err(opened)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(opened)?;
    if found > SCHEMA {
        return Err(StoreError::Newer { path: path.into(), found, known: SCHEMA });
    }
    if found < SCHEMA {
        let transaction = connection.transaction().map_err(opened)?;
        for step in [SCHEMA_1, SCHEMA_2].into_iter().skip(usize::try_from(found).unwrap_or(0)) {
            transaction.execute_batch(step).map_err(opened)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA).map_err(opened)?;
        transaction.commit().map_err(opened)?;
    }
    check(&connection).map_err(opened)?;
    Ok(connection)
}

/// The write-ahead log with a sync at each commit: what was acknowledged survives a power cut (sqlite.org/pragma.html).
fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -2_000)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Checkpoints leave a short log behind, for small disks.
    connection.pragma_update_and_check(None, "journal_size_limit", 4 * 1024 * 1024, |_| Ok(()))
}

/// Pages and records are where they should be; indices are not compared, which would take long.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(corrupt, Some(verdict)))
}
