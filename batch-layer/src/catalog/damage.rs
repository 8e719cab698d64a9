//! Rows of `damage`: stored objects that the scrubber found other than they were written.
//!
//! Owns the rows. Does not own what is damage, nor what to do about it (scrub).

use schemas::time::ArrivalTime;
use serde::Serialize;

use super::rows::{Columns, serialize_time};
use super::{Attempt, Catalog};
use crate::error::Result;

/// A damaged object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamageRow {
    /// Its path below history's root.
    pub path: String,
    /// What it is.
    pub kind: String,
    /// What is wrong with it.
    pub reason: String,
    /// When that was found.
    #[serde(serialize_with = "serialize_time")]
    pub found_at: ArrivalTime,
    /// What is done about it, or what a person should do.
    pub remedy: String,
}

impl Catalog {
    /// Objects that are damaged now, as far as is known, by path.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn damage(&self) -> Result<Vec<DamageRow>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT path, kind, reason, found_at, remedy FROM damage WHERE repaired_at IS NULL ORDER BY path",
        )
        .fetch_all(&mut *tx)
        .await
        .attempt("list damage")?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                Ok(DamageRow {
                    path: columns.get()?,
                    kind: columns.get()?,
                    reason: columns.get()?,
                    found_at: columns.time()?,
                    remedy: columns.get()?,
                })
            })
            .collect()
    }

    /// Notes a damaged object, in place of what was known of it.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn add_damage(&self, row: &DamageRow) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM damage WHERE path = $1")
            .bind(&row.path)
            .execute(&mut *tx)
            .await
            .attempt("note damage")?;
        sqlx::query("INSERT INTO damage (path, kind, reason, found_at, remedy) VALUES ($1, $2, $3, $4, $5)")
            .bind(&row.path)
            .bind(&row.kind)
            .bind(&row.reason)
            .bind(row.found_at.0)
            .bind(&row.remedy)
            .execute(&mut *tx)
            .await
            .attempt("note damage")?;
        tx.commit().await.attempt("note damage")
    }

    /// Notes that an object is whole again, or not needed any more.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn repaired(&self, path: &str, now: ArrivalTime) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE damage SET repaired_at = $1 WHERE path = $2")
            .bind(now.0)
            .bind(path)
            .execute(&mut *tx)
            .await
            .attempt("note a repair")?;
        tx.commit().await.attempt("note a repair")
    }

    /// Whether an object is needed, and not being deleted.
    ///
    /// # Errors
    /// The catalog can't be read.
    pub async fn is_live(&self, path: &str) -> Result<bool> {
        let mut tx = self.snapshot().await?;
        let row = sqlx::query("SELECT path FROM objects WHERE path = $1 AND condemned_at IS NULL")
            .bind(path)
            .fetch_optional(&mut *tx)
            .await
            .attempt("look an object up")?;
        Ok(row.is_some())
    }
}
