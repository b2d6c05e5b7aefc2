//! What can be written, and its SQL. Every write can be repeated without harm.

use std::sync::Arc;

use ipnet::IpNet;
use rusqlite::{Connection, Transaction, params};

use crate::{
    clock::Now,
    config::StoreConfig,
    decide::{Decision, DecisionId},
    enforce::{AllowEntry, DecisionHits, Ended},
    learn::Sample,
};

/// One write.
#[derive(Debug, Clone)]
pub enum Write {
    /// A decision that was made, or one that changed: a further finding, a later end.
    Decision(Arc<Decision>),
    /// A decision that is over.
    Ended {
        /// The decision and what it stopped.
        ended: Ended,
        /// Now: boot times are written as Unix times.
        now: Now,
    },
    /// What decisions stopped so far.
    Hits {
        /// Each decision's counts.
        hits: Vec<(DecisionId, DecisionHits)>,
        /// Now: boot times are written as Unix times.
        now: Now,
    },
    /// An allowlist entry; it replaces one of the same prefix.
    Allow(AllowEntry),
    /// The end of an allowlist entry.
    Disallow(IpNet),
    /// A small state of some stage, in a form of its own; it replaces the one before.
    Keep {
        /// Whose.
        name: &'static str,
        /// The state.
        body: Arc<[u8]>,
    },
    /// Samples that were labelled here; they replace what was said before of the same text.
    Label(Vec<Sample>),
    /// Samples of other boxes: what is there already stays.
    Pool(Vec<Sample>),
    /// Several at once: all of them are written or none is.
    Many(Vec<Write>),
    /// Nothing: to wait for what was recorded before.
    Nothing,
}

impl Write {
    /// Does it; returns how many rows were written.
    pub(super) fn execute(&self, transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
        match self {
            Self::Decision(decision) => insert(transaction, decision).map(|()| 1),
            Self::Ended { ended, now } => {
                insert(transaction, &ended.decision)?;
                hits(transaction, ended.decision.id, &ended.hits, *now)?;
                transaction
                    .prepare_cached("UPDATE decisions SET ended_ms = ?2, end_reason = ?3 WHERE id = ?1")?
                    .execute(params![ended.decision.id.to_string(), signed(ended.at_unix_ms), ended.reason.as_str()])?;
                Ok(1)
            }
            Self::Hits { hits: list, now } => {
                for (id, counts) in list {
                    hits(transaction, *id, counts, *now)?;
                }
                Ok(list.len() as u64)
            }
            Self::Allow(entry) => {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO allowlist (net, comment, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![
                        entry.net.to_string(),
                        entry.comment,
                        signed(entry.created_unix_ms),
                        entry.expires_unix_ms.map(signed)
                    ])?;
                Ok(1)
            }
            Self::Disallow(net) => {
                transaction.prepare_cached("DELETE FROM allowlist WHERE net = ?1")?.execute([net.to_string()])?;
                Ok(1)
            }
            Self::Keep { name, body } => {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO kept (name, body) VALUES (?1, ?2)")?
                    .execute(params![name, &body[..]])?;
                Ok(1)
            }
            Self::Label(samples) => labels(transaction, samples, "REPLACE"),
            Self::Pool(samples) => labels(transaction, samples, "IGNORE"),
            Self::Many(writes) => writes.iter().try_fold(0, |rows, write| Ok(rows + write.execute(transaction)?)),
            Self::Nothing => Ok(0),
        }
    }
}

/// Of an existing row only what an extension changes is written; its counts and its end stay.
fn insert(transaction: &Transaction<'_>, decision: &Decision) -> rusqlite::Result<()> {
    let body =
        serde_json::to_string(decision).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    transaction
        .prepare_cached(
            "INSERT INTO decisions (id, scope, action, class, origin, created_ms, expires_ms, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET expires_ms = excluded.expires_ms, body = excluded.body",
        )?
        .execute(params![
            decision.id.to_string(),
            decision.scope.0.to_string(),
            decision.action.as_str(),
            decision.class.map(|class| class.as_str()),
            decision.origin.as_str(),
            signed(decision.created_unix_ms),
            decision.expires_unix_ms.map(signed),
            body
        ])?;
    Ok(())
}

/// Most labelled samples; the oldest make room.
const LABELS_MAX: i64 = 20_000;

fn labels(transaction: &Transaction<'_>, samples: &[Sample], or: &str) -> rusqlite::Result<u64> {
    let sql = format!("INSERT OR {or} INTO labels (key, labelled_ms, body) VALUES (?1, ?2, ?3)");
    let mut rows = 0;
    for sample in samples {
        let body =
            serde_json::to_string(sample).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let values = params![sample.key(), signed(sample.labelled_unix_ms), body];
        rows += transaction.prepare_cached(&sql)?.execute(values)? as u64;
    }
    transaction.execute(
        "DELETE FROM labels WHERE key IN (SELECT key FROM labels ORDER BY labelled_ms DESC LIMIT -1 OFFSET ?1)",
        [LABELS_MAX],
    )?;
    Ok(rows)
}

/// Counts only grow: after a reboot the kernel begins anew, and the first drop stays the first.
fn hits(transaction: &Transaction<'_>, id: DecisionId, hits: &DecisionHits, now: Now) -> rusqlite::Result<()> {
    let unix = |boot_ns| now.unix_ms_of_boot_ns(boot_ns).map(signed);
    transaction
        .prepare_cached(
            "UPDATE decisions SET packets = max(packets, ?2), bytes = max(bytes, ?3), requests = max(requests, ?4),
             first_drop_ms = coalesce(first_drop_ms, ?5), last_drop_ms = coalesce(?6, last_drop_ms) WHERE id = ?1",
        )?
        .execute(params![
            id.to_string(),
            signed(hits.kernel.packets),
            signed(hits.kernel.bytes),
            signed(hits.requests),
            unix(hits.kernel.first_boot_ns),
            unix(hits.kernel.last_boot_ns)
        ])?;
    Ok(())
}

/// Lets go of what is over for longer than `keep_days`, and of the oldest beyond `decisions_max`.
pub(super) fn retain(connection: &Connection, keep: &StoreConfig, now_unix_ms: u64) -> rusqlite::Result<usize> {
    let oldest = now_unix_ms.saturating_sub(u64::from(keep.keep_days) * 86_400_000);
    let mut removed =
        connection.execute("DELETE FROM decisions WHERE coalesce(ended_ms, expires_ms) < ?1", [signed(oldest)])?;
    let rows: i64 = connection.query_row("SELECT count(*) FROM decisions", [], |row| row.get(0))?;
    let surplus = rows - i64::from(keep.decisions_max);
    if surplus > 0 {
        removed += connection.execute(
            "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions
             WHERE ended_ms IS NOT NULL OR expires_ms < ?1 ORDER BY created_ms LIMIT ?2)",
            [signed(now_unix_ms), surplus],
        )?;
    }
    connection.execute("DELETE FROM allowlist WHERE expires_ms < ?1", [signed(oldest)])?;
    Ok(removed)
}

/// SQLite's integers are signed; no time or count comes near the limit.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
