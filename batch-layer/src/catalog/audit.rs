//! The audit log: who changed what, in order.
//!
//! An entry is written in the transaction of the change it tells. Each entry's hash covers the one before, so that none can
//! be altered, taken out or put in between without all later ones being wrong; whoever keeps the newest hash elsewhere
//! knows of entries cut off at the end, too.
//!
//! Owns the rows and the chain. Does not own who an actor is.

use schemas::time::ArrivalTime;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::rows::{Columns, serialize_time, stored};
use super::{Attempt, Catalog, Tx};
use crate::access::hex;
use crate::error::Result;

/// The hash before the first entry.
const BEGINNING: &str = "";

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// Its number, from 1 on without a gap.
    pub seq: u64,
    /// When.
    #[serde(serialize_with = "serialize_time")]
    pub at: ArrivalTime,
    /// Who: a token's id and name, or how else the change came.
    pub actor: String,
    /// What was done, in two or three words of a closed set.
    pub action: String,
    /// To what.
    pub subject: String,
    /// SHA-256 over all of it and the hash of the entry before, as hexadecimal digits.
    pub hash: String,
}

impl AuditRow {
    /// The hash that follows from the entry and the one before. Lengths stand before texts, so that no two entries read
    /// the same.
    fn chained(&self, before: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(before.as_bytes());
        hash.update(self.seq.to_le_bytes());
        hash.update(self.at.0.to_le_bytes());
        for text in [&self.actor, &self.action, &self.subject] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hex(&hash.finalize())
    }
}

impl Catalog {
    /// Notes a change that `tx` makes.
    pub(super) async fn note(tx: &mut Tx, at: ArrivalTime, actor: &str, action: &str, subject: &str) -> Result<()> {
        let last = sqlx::query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut **tx)
            .await
            .attempt("read the audit log")?;
        let (seq, before) = match &last {
            Some(row) => {
                let mut columns = Columns::of(row);
                (columns.unsigned()? + 1, columns.get::<String>()?)
            }
            None => (1, BEGINNING.to_owned()),
        };
        let row = AuditRow {
            seq,
            at,
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            hash: String::new(),
        };
        let hash = row.chained(&before);
        sqlx::query("INSERT INTO audit (seq, at, actor, action, subject, hash) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(stored(seq)?)
            .bind(at.0)
            .bind(&row.actor)
            .bind(&row.action)
            .bind(&row.subject)
            .bind(hash)
            .execute(&mut **tx)
            .await
            .attempt("write the audit log")
            .map(drop)
    }

    /// Notes something that changed nothing in the catalog, such as an attempt to get in.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn add_audit(&self, at: ArrivalTime, actor: &str, action: &str, subject: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        Self::note(&mut tx, at, actor, action, subject).await?;
        tx.commit().await.attempt("write the audit log")
    }

    /// The newest entries, the newest first, `limit` at most, older than `before` where that is given.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn audit(&self, before: Option<u64>, limit: u32) -> Result<Vec<AuditRow>> {
        let mut tx = self.snapshot().await?;
        let before = before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let rows = sqlx::query(
            "SELECT seq, at, actor, action, subject, hash FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2",
        )
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
        .attempt("read the audit log")?;
        rows.iter().map(audit_of).collect()
    }

    /// The first entry that does not follow from the one before; `None` where the chain holds.
    ///
    /// # Errors
    /// The catalog can't be read.
    pub async fn broken_audit(&self) -> Result<Option<u64>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query("SELECT seq, at, actor, action, subject, hash FROM audit ORDER BY seq")
            .fetch_all(&mut *tx)
            .await
            .attempt("read the audit log")?;
        let (mut before, mut next) = (BEGINNING.to_owned(), 1);
        for row in &rows {
            let entry = audit_of(row)?;
            if entry.seq != next || entry.hash != entry.chained(&before) {
                return Ok(Some(next));
            }
            (before, next) = (entry.hash, next + 1);
        }
        Ok(None)
    }
}

fn audit_of(row: &sqlx::sqlite::SqliteRow) -> Result<AuditRow> {
    let mut columns = Columns::of(row);
    Ok(AuditRow {
        seq: columns.unsigned()?,
        at: columns.time()?,
        actor: columns.get()?,
        action: columns.get()?,
        subject: columns.get()?,
        hash: columns.get()?,
    })
}
