//! Reading back.

use std::net::IpAddr;

use ipnet::IpNet;
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, write::signed};
use crate::{
    config::parse_net,
    decide::{Decision, DecisionId},
    detect::AttackClass,
    enforce::{AllowEntry, BanHits, DecisionHits},
    learn::Sample,
};

const COLUMNS: &str = "body, ended_ms, end_reason, packets, bytes, requests, first_drop_ms, last_drop_ms";

/// A decision as it is kept, with what it stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredDecision {
    /// The decision.
    pub decision: Decision,
    /// When it was over: Unix ms; `None` while it is in force or when it ended while Qantra was not running.
    pub ended_unix_ms: Option<u64>,
    /// Why it is over.
    pub end_reason: Option<String>,
    /// Packets dropped.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests that the proxy acted on.
    pub requests: u64,
    /// When the first packet was dropped: Unix ms.
    pub first_drop_unix_ms: Option<u64>,
    /// When the last packet was dropped: Unix ms.
    pub last_drop_unix_ms: Option<u64>,
}

impl StoredDecision {
    /// The counts, without boot times: those of an earlier boot mean nothing.
    #[must_use]
    pub fn hits(&self) -> DecisionHits {
        let kernel = BanHits { packets: self.packets, bytes: self.bytes, ..BanHits::default() };
        DecisionHits { kernel, requests: self.requests, ..DecisionHits::default() }
    }
}

impl Store {
    /// Decisions that were in force when the daemon stopped and still are.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn running(&self, now_unix_ms: u64) -> Result<Vec<StoredDecision>, StoreError> {
        self.query(
            "WHERE ended_ms IS NULL AND (expires_ms IS NULL OR expires_ms > ?1) ORDER BY created_ms LIMIT ?2",
            [signed(now_unix_ms), i64::MAX],
        )
    }

    /// The newest decisions, ended ones too, newest first.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn newest(&self, limit: u32) -> Result<Vec<StoredDecision>, StoreError> {
        self.query("WHERE ?1 = 0 ORDER BY created_ms DESC, id LIMIT ?2", [0, i64::from(limit)])
    }

    /// One decision.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn decision(&self, id: DecisionId) -> Result<Option<StoredDecision>, StoreError> {
        let reader = self.reader.lock();
        let sql = format!("SELECT {COLUMNS} FROM decisions WHERE id = ?1");
        Ok(reader.query_row(&sql, [id.to_string()], stored).optional()?)
    }

    /// The allowlist, ended entries left out.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn allowlist(&self, now_unix_ms: u64) -> Result<Vec<AllowEntry>, StoreError> {
        let reader = self.reader.lock();
        let mut statement = reader.prepare_cached(
            "SELECT net, comment, created_ms, expires_ms FROM allowlist
             WHERE expires_ms IS NULL OR expires_ms > ?1 ORDER BY created_ms, net",
        )?;
        let entries = statement.query_map([signed(now_unix_ms)], |row| {
            Ok(AllowEntry {
                net: net(row, 0)?,
                comment: row.get(1)?,
                created_unix_ms: unsigned(row.get(2)?),
                expires_unix_ms: row.get::<_, Option<i64>>(3)?.map(unsigned),
            })
        })?;
        Ok(entries.collect::<rusqlite::Result<_>>()?)
    }

    /// Decisions, newest first, with a finding about a request of this id.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn decisions_about(&self, request_id: &str) -> Result<Vec<StoredDecision>, StoreError> {
        let reader = self.reader.lock();
        let sql =
            format!("SELECT {COLUMNS} FROM decisions WHERE instr(body, ?1) > 0 ORDER BY created_ms DESC LIMIT 16");
        let mut statement = reader.prepare_cached(&sql)?;
        let rows = statement.query_map([request_id], stored)?;
        let is_meant = |decision: &Decision| {
            let requests = decision.findings.iter().filter_map(|finding| finding.evidence.request.as_ref());
            requests.into_iter().any(|request| request.id == request_id)
        };
        Ok(rows.filter_map(Result::ok).filter(|stored| is_meant(&stored.decision)).collect())
    }

    /// Devices whose calls were told, and whom they call, newest first: no more than so many.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn calls_told(&self, limit: u32) -> Result<Vec<(IpAddr, String)>, StoreError> {
        let class = AttackClass::Beaconing;
        let sql =
            format!("SELECT {COLUMNS} FROM decisions WHERE instr(body, ?1) > 0 ORDER BY created_ms DESC LIMIT ?2");
        let reader = self.reader.lock();
        let mut statement = reader.prepare_cached(&sql)?;
        let rows = statement.query_map((format!("\"{class}\""), limit), stored)?;
        let findings = rows.filter_map(Result::ok).flat_map(|stored| stored.decision.findings);
        let calls = findings.filter(|finding| finding.class == class);
        Ok(calls.filter_map(|finding| Some((finding.source, finding.evidence.value?))).collect())
    }

    /// What was labelled, oldest first.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn labels(&self) -> Result<Vec<Sample>, StoreError> {
        let reader = self.reader.lock();
        let mut statement = reader.prepare_cached("SELECT body FROM labels ORDER BY labelled_ms, key")?;
        let bodies = statement.query_map([], |row| row.get::<_, String>(0))?;
        // A row that a later version wrote in another form must not keep all others from being read.
        Ok(bodies.filter_map(|body| serde_json::from_str(&body.ok()?).ok()).collect())
    }

    /// A state that was kept under a name.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let reader = self.reader.lock();
        let sql = "SELECT body FROM kept WHERE name = ?1";
        Ok(reader.query_row(sql, [name], |row| row.get(0)).optional()?)
    }

    fn query(&self, rest: &str, values: [i64; 2]) -> Result<Vec<StoredDecision>, StoreError> {
        let reader = self.reader.lock();
        let mut statement = reader.prepare_cached(&format!("SELECT {COLUMNS} FROM decisions {rest}"))?;
        let rows = statement.query_map(values, stored)?;
        // A row that a later version wrote in another form must not keep all others from being read.
        Ok(rows
            .filter_map(|row| row.inspect_err(|error| tracing::warn!(%error, "a stored decision cannot be read")).ok())
            .collect())
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredDecision> {
    let body: String = row.get(0)?;
    let time = |column| row.get::<_, Option<i64>>(column).map(|value| value.map(unsigned));
    Ok(StoredDecision {
        decision: serde_json::from_str(&body).map_err(|error| bad_text(0, error))?,
        ended_unix_ms: time(1)?,
        end_reason: row.get(2)?,
        packets: unsigned(row.get(3)?),
        bytes: unsigned(row.get(4)?),
        requests: unsigned(row.get(5)?),
        first_drop_unix_ms: time(6)?,
        last_drop_unix_ms: time(7)?,
    })
}

fn net(row: &Row<'_>, column: usize) -> rusqlite::Result<IpNet> {
    parse_net(&row.get::<_, String>(column)?).map_err(|error| bad_text(column, error))
}

fn bad_text(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
