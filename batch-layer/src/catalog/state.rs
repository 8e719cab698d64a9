//! Small state beside history: settings, lateness tables, files of series and of quarantined readings.
//!
//! Owns those rows. Does not own what they mean; the values are taken and given as they are.

use schemas::ledger::Tally;
use schemas::paths::ObjectKind;
use schemas::time::ArrivalTime;
use schemas::view::ObjectRef;
use sqlx::sqlite::SqliteConnection;

use super::history::SeriesCommit;
use super::rows::{Columns, bytes_of_weights, next_number, stored, weights_of};
use super::{Attempt, Catalog, ledger, objects};
use crate::error::{Error, Result};

impl Catalog {
    /// The value kept under this name.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn meta(&self, name: &str) -> Result<Option<String>> {
        let mut tx = self.snapshot().await?;
        sqlx::query_scalar("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *tx)
            .await
            .attempt("read meta")
    }

    /// Keeps a value under this name, in place of the one before.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn set_meta(&self, name: &str, value: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        let changed = sqlx::query("UPDATE meta SET value = $1 WHERE name = $2")
            .bind(value)
            .bind(name)
            .execute(&mut *tx)
            .await
            .attempt("set meta")?;
        if changed.rows_affected() == 0 {
            sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2)")
                .bind(name)
                .bind(value)
                .execute(&mut *tx)
                .await
                .attempt("set meta")?;
        }
        tx.commit().await.attempt("set meta")
    }

    /// The weights of the lateness tables by metric, as of the last flush.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn lateness(&self) -> Result<Vec<(String, Vec<f64>)>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query("SELECT metric, weights FROM lateness ORDER BY metric")
            .fetch_all(&mut *tx)
            .await
            .attempt("read lateness")?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                Ok((columns.get()?, weights_of(&columns.get::<Vec<u8>>()?)?))
            })
            .collect()
    }

    /// The files of states of series: what a later one says of a series holds.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn series_files(&self) -> Result<Vec<ObjectRef>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query("SELECT s.path, o.bytes, o.block_sums FROM series_files s LEFT JOIN objects o ON o.path = s.path ORDER BY s.seq")
            .fetch_all(&mut *tx)
            .await
            .attempt("list files of series")?;
        rows.iter().map(|row| Columns::of(row).object()).collect()
    }

    /// The files of quarantined readings, oldest first, and how many each holds.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn quarantine_files(&self) -> Result<Vec<(ObjectRef, u64)>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT q.path, o.bytes, o.block_sums, q.rows_count FROM quarantine_files q LEFT JOIN objects o ON o.path = q.path ORDER BY q.path",
        )
        .fetch_all(&mut *tx)
        .await
        .attempt("list files of quarantined readings")?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                Ok((columns.object()?, columns.unsigned()?))
            })
            .collect()
    }
}

/// Adds a file of states of series after the others and retires those that it replaces.
pub(super) async fn replace_series_files(
    conn: &mut SqliteConnection,
    series: &SeriesCommit,
    now: ArrivalTime,
) -> Result<()> {
    for path in &series.replaces {
        let removed = sqlx::query("DELETE FROM series_files WHERE path = $1")
            .bind(path)
            .execute(&mut *conn)
            .await
            .attempt("replace a file of series")?;
        if removed.rows_affected() == 0 {
            return Err(Error::Refused(format!("{path} is no current file of series")));
        }
        objects::supersede(conn, path, now).await?;
    }
    objects::add(conn, ObjectKind::Series, &series.object, now).await?;
    let seq = next_number(conn, "series_files").await?;
    sqlx::query("INSERT INTO series_files (path, seq) VALUES ($1, $2)")
        .bind(&series.object.path)
        .bind(seq)
        .execute(conn)
        .await
        .attempt("add a file of series")?;
    Ok(())
}

/// Adds a file of quarantined readings.
pub(super) async fn add_quarantine_file(
    conn: &mut SqliteConnection,
    object: &ObjectRef,
    tally: Tally,
    now: ArrivalTime,
) -> Result<()> {
    objects::add(conn, ObjectKind::Quarantine, object, now).await?;
    sqlx::query("INSERT INTO quarantine_files (path, rows_count, readings_sum) VALUES ($1, $2, $3)")
        .bind(&object.path)
        .bind(stored(tally.readings)?)
        .bind(ledger::text_of(tally.sum))
        .execute(conn)
        .await
        .attempt("add a file of quarantined readings")?;
    Ok(())
}

/// Keeps the lateness table of a metric, in place of the one before.
pub(super) async fn put_lateness(conn: &mut SqliteConnection, metric: &str, weights: &[f64]) -> Result<()> {
    let weights = bytes_of_weights(weights);
    let changed = sqlx::query("UPDATE lateness SET weights = $1 WHERE metric = $2")
        .bind(&weights)
        .bind(metric)
        .execute(&mut *conn)
        .await
        .attempt("keep a lateness table")?;
    if changed.rows_affected() == 0 {
        sqlx::query("INSERT INTO lateness (metric, weights) VALUES ($1, $2)")
            .bind(metric)
            .bind(weights)
            .execute(conn)
            .await
            .attempt("keep a lateness table")?;
    }
    Ok(())
}
