//! The ledger's rows: running totals, and the tallies of epochs and files that they are the sums of.
//!
//! Owns LED-3 and LED-4 at commits (`schemas::ledger` tells the equations). Does not own the making of tallies.

use schemas::ledger::{Tally, Totals};
use sqlx::sqlite::SqliteConnection;

use super::rows::{Columns, stored};
use super::{Attempt, Catalog};
use crate::error::{Error, Result};

/// Who keeps account.
const FLUSHED: &str = "flushed";
const HISTORY: &str = "history";

/// The running totals, and the same added up anew from the rows they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audited {
    /// As kept.
    pub kept: Totals,
    /// As added up; readings from before the ledger are in neither.
    pub added_up: Totals,
    /// Whether some epochs or files are from before the ledger, whose readings may since have come to it.
    pub older: bool,
}

impl Catalog {
    /// Adds the ledger up anew.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn audit_ledger(&self) -> Result<Audited> {
        let mut tx = self.snapshot().await?;
        let kept = totals(&mut tx).await?;
        let epochs = tallies(&mut tx, "SELECT arrivals, readings_sum FROM epochs").await?;
        let files = tallies(
            &mut tx,
            "SELECT rows_count, readings_sum FROM files UNION ALL SELECT rows_count, readings_sum FROM quarantine_files",
        )
        .await?;
        let older = epochs.iter().chain(&files).any(Option::is_none);
        let flushed = epochs.into_iter().flatten().sum();
        Ok(Audited { kept, added_up: Totals { flushed, history: files.into_iter().flatten().sum() }, older })
    }
}

async fn tallies(conn: &mut SqliteConnection, query: &'static str) -> Result<Vec<Option<Tally>>> {
    let rows = sqlx::query(query).fetch_all(conn).await.attempt("read the ledger")?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row);
            let (readings, sum) = (columns.optional_unsigned()?, columns.optional_sum()?);
            Ok(readings.zip(sum).map(|(readings, sum)| Tally { readings, sum }))
        })
        .collect()
}

/// What the ledger says now.
pub(super) async fn totals(conn: &mut SqliteConnection) -> Result<Totals> {
    Ok(Totals { flushed: total(conn, FLUSHED).await?, history: total(conn, HISTORY).await? })
}

async fn total(conn: &mut SqliteConnection, stage: &'static str) -> Result<Tally> {
    let row = sqlx::query("SELECT readings, readings_sum FROM ledger WHERE stage = $1")
        .bind(stage)
        .fetch_one(conn)
        .await
        .attempt("read the ledger")?;
    let mut columns = Columns::of(&row);
    let (readings, sum) = (columns.unsigned()?, columns.optional_sum()?);
    Ok(Tally { readings, sum: sum.ok_or_else(|| Error::corrupt("catalog", "the ledger has no sum"))? })
}

/// Enters a flush: its epoch on one side, its files on the other.
pub(super) async fn flush(conn: &mut SqliteConnection, epoch: Tally, files: Tally) -> Result<()> {
    let before = totals(conn).await?;
    set(conn, FLUSHED, before.flushed.plus(epoch)).await?;
    set(conn, HISTORY, before.history.plus(files)).await
}

/// Enters a compaction. Files from before the ledger (`None`) come to it, on both sides, by being read.
pub(super) async fn compact(conn: &mut SqliteConnection, removed: &[Option<Tally>], added: Tally) -> Result<()> {
    let known: Tally = removed.iter().flatten().copied().sum();
    let new = added.minus(known);
    if removed.iter().all(Option::is_some) && new != Tally::NONE {
        return Err(Error::Refused(format!("LED-3: compaction would turn {known} into {added}")));
    }
    flush(conn, new, new).await
}

async fn set(conn: &mut SqliteConnection, stage: &'static str, tally: Tally) -> Result<()> {
    sqlx::query("UPDATE ledger SET readings = $1, readings_sum = $2 WHERE stage = $3")
        .bind(stored(tally.readings)?)
        .bind(text_of(tally.sum))
        .bind(stage)
        .execute(conn)
        .await
        .attempt("keep the ledger")?;
    Ok(())
}

/// A sum as it is stored.
pub(super) fn text_of(sum: u128) -> String {
    format!("{sum:032x}")
}
