//! Where a recompute found another value than had been answered, and why.
//!
//! Owns those rows and how many are kept. Does not own the comparison (recompute).

use schemas::series::SeriesId;
use schemas::time::{ArrivalTime, EventTime};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;

use super::rows::{Columns, next_number, serialize_time, stored};
use super::{Attempt, Catalog, Tx};
use crate::error::{Error, Result};

/// How many rows are kept; the oldest make room.
const KEPT: i64 = 100_000;
/// How many rows one transaction adds: a flush must not wait for all of a large audit.
const BATCH: usize = 500;

/// Why two values differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Readings arrived after the first value was given.
    Late,
    /// A reading had been counted twice.
    Duplicate,
    /// A reading was replaced by a later one of the same identity.
    Correction,
    /// Nothing known explains it.
    Unexplained,
}

impl Cause {
    const ALL: [Self; 4] = [Self::Late, Self::Duplicate, Self::Correction, Self::Unexplained];

    /// Its name, in the catalog and outside.
    pub fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Duplicate => "duplicate",
            Self::Correction => "correction",
            Self::Unexplained => "unexplained",
        }
    }
}

/// One value that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReconciliationRow {
    /// When it was found.
    #[serde(serialize_with = "serialize_time")]
    pub at: ArrivalTime,
    /// The job that found it.
    pub job: Option<i64>,
    /// Start of the partition.
    #[serde(serialize_with = "serialize_event_time")]
    pub partition_start: EventTime,
    /// The series.
    pub series_id: SeriesId,
    /// Its name, where that was known.
    pub metric_key: Option<String>,
    /// Start of the bucket.
    #[serde(serialize_with = "serialize_event_time")]
    pub bucket: EventTime,
    /// The aggregate, such as `count`.
    pub field: String,
    /// What had been answered; `None` for nothing.
    pub speed_value: Option<f64>,
    /// What was found; `None` for nothing.
    pub batch_value: Option<f64>,
    /// The second less the first.
    pub difference: Option<f64>,
    /// Why.
    pub cause: Cause,
}

fn serialize_event_time<S: serde::Serializer>(time: &EventTime, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_str(time)
}

impl Catalog {
    /// Adds rows, some hundred in a transaction. After an error the first ones may be there.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn add_reconciliation(&self, rows: Vec<ReconciliationRow>) -> Result<()> {
        for batch in rows.chunks(BATCH) {
            let mut tx = self.begin().await?;
            let mut newest = 0;
            for row in batch {
                newest = next_number(&mut tx, "reconciliation").await?;
                add(&mut tx, newest, row).await?;
            }
            sqlx::query("DELETE FROM reconciliation WHERE id <= $1")
                .bind(newest - KEPT)
                .execute(&mut *tx)
                .await
                .attempt("forget old differences")?;
            tx.commit().await.attempt("note differences")?;
        }
        Ok(())
    }

    /// The newest rows, newest first.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn reconciliation(&self, limit: u32) -> Result<Vec<ReconciliationRow>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT found_at, job_id, partition_start, series_id, metric_key, bucket, field, speed_value, batch_value, difference, cause \
             FROM reconciliation ORDER BY id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
        .attempt("list differences")?;
        rows.iter().map(row_of).collect()
    }
}

async fn add(tx: &mut Tx, id: i64, row: &ReconciliationRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO reconciliation (id, found_at, job_id, partition_start, series_id, metric_key, bucket, field, speed_value, batch_value, \
         difference, cause) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(id)
    .bind(row.at.0)
    .bind(row.job)
    .bind(row.partition_start.0)
    .bind(stored(row.series_id.0)?)
    .bind(row.metric_key.as_deref())
    .bind(row.bucket.0)
    .bind(&row.field)
    .bind(row.speed_value)
    .bind(row.batch_value)
    .bind(row.difference)
    .bind(row.cause.name())
    .execute(&mut **tx)
    .await
    .attempt("note a difference")?;
    Ok(())
}

fn row_of(row: &SqliteRow) -> Result<ReconciliationRow> {
    let mut columns = Columns::of(row);
    Ok(ReconciliationRow {
        at: columns.time()?,
        job: columns.get()?,
        partition_start: EventTime(columns.get()?),
        series_id: SeriesId(columns.unsigned()?),
        metric_key: columns.get()?,
        bucket: EventTime(columns.get()?),
        field: columns.get()?,
        speed_value: columns.get()?,
        batch_value: columns.get()?,
        difference: columns.get()?,
        cause: cause_of(&columns.get::<String>()?)?,
    })
}

fn cause_of(name: &str) -> Result<Cause> {
    let known = Cause::ALL.into_iter().find(|cause| cause.name() == name);
    known.ok_or_else(|| Error::corrupt("catalog", format!("unknown cause {name:?}")))
}
