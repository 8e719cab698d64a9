//! The current state of history as one value.
//!
//! Owns the queries behind [`HistoryVersion`]; all see one state of the catalog. Does not own what changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::reading::LogPosition;
use schemas::series::SeriesId;
use schemas::view::{FileRef, HistoryVersion, Partition, ViewRef};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::rows::Columns;
use super::{Attempt, Catalog, ledger};
use crate::error::{Error, Result};

impl Catalog {
    /// What history consists of now and which views count which of it.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn load_version(&self) -> Result<HistoryVersion> {
        let mut tx = self.snapshot().await?;
        let mut version = HistoryVersion {
            flushed: flushed(&mut tx).await?,
            generation: current_generation(&mut tx).await?,
            partitions: partitions(&mut tx).await?,
            mixed: Vec::new(),
            uncovered: Arc::new(uncovered(&mut tx).await?),
            totals: ledger::totals(&mut tx).await?,
        };
        attach_views(&mut version, &mut tx).await?;
        attach_files(&mut version, &mut tx).await?;
        Ok(version)
    }
}

/// The last position of the newest flushed epoch.
pub(super) async fn flushed(conn: &mut SqliteConnection) -> Result<LogPosition> {
    let row = sqlx::query("SELECT MAX(last_position) FROM epochs")
        .fetch_one(conn)
        .await
        .attempt("read the flushed position")?;
    Ok(LogPosition(Columns::of(&row).optional_unsigned()?.unwrap_or(0)))
}

/// The newest generation, 0 before the first.
pub(super) async fn current_generation(conn: &mut SqliteConnection) -> Result<u64> {
    let row =
        sqlx::query("SELECT MAX(number) FROM generations").fetch_one(conn).await.attempt("read the generation")?;
    Ok(Columns::of(&row).optional_unsigned()?.unwrap_or(0))
}

async fn partitions(conn: &mut SqliteConnection) -> Result<Vec<Partition>> {
    let rows = sqlx::query("SELECT span_start, span_end, touched FROM partitions ORDER BY span_start")
        .fetch_all(conn)
        .await
        .attempt("read partitions")?;
    let partitions: Vec<Partition> = rows
        .iter()
        .map(|row| {
            let mut columns = Columns::of(row);
            Ok(Partition { span: columns.range()?, view: None, files: Vec::new(), touched: columns.position()? })
        })
        .collect::<Result<_>>()?;
    match partitions.windows(2).find(|pair| pair[0].span.overlaps(&pair[1].span)) {
        Some(pair) => {
            Err(Error::corrupt("catalog", format!("partitions {} and {} overlap", pair[0].span, pair[1].span)))
        }
        None => Ok(partitions),
    }
}

async fn uncovered(conn: &mut SqliteConnection) -> Result<BTreeSet<LogPosition>> {
    let rows = sqlx::query(
        "SELECT DISTINCT ep.last_position FROM partitions p \
         LEFT JOIN views v ON v.partition_start = p.span_start AND v.until_generation IS NULL \
         JOIN epoch_partitions ep ON ep.partition_start = p.span_start AND ep.last_position > COALESCE(v.cut_position, 0) \
         WHERE p.touched > COALESCE(v.cut_position, 0)",
    )
    .fetch_all(conn)
    .await
    .attempt("read uncovered epochs")?;
    rows.iter().map(|row| Columns::of(row).position()).collect()
}

async fn attach_views(version: &mut HistoryVersion, conn: &mut SqliteConnection) -> Result<()> {
    let rows = sqlx::query(
        "SELECT v.partition_start, v.id, v.cut_position, v.cells, v.readings, v.from_generation, v.path, o.bytes, o.block_sums \
         FROM views v LEFT JOIN objects o ON o.path = v.path WHERE v.until_generation IS NULL",
    )
    .fetch_all(conn)
    .await
    .attempt("read current views")?;
    let at = index(&version.partitions);
    for row in &rows {
        let mut columns = Columns::of(row);
        let slot = slot(&at, columns.get()?)?;
        if version.partitions[slot].view.replace(Arc::new(view_of(&mut columns)?)).is_some() {
            return Err(Error::corrupt(
                "catalog",
                format!("two current views of partition {}", version.partitions[slot].span),
            ));
        }
    }
    Ok(())
}

/// A view of the columns id, cut, cells, readings, generation, object.
pub(super) fn view_of(columns: &mut Columns<'_>) -> Result<ViewRef> {
    Ok(ViewRef {
        id: columns.get()?,
        cut: columns.position()?,
        cells: columns.unsigned()?,
        readings: columns.unsigned()?,
        generation: columns.unsigned()?,
        object: columns.optional_object()?,
    })
}

async fn attach_files(version: &mut HistoryVersion, conn: &mut SqliteConnection) -> Result<()> {
    let rows = sqlx::query(
        "SELECT f.partition_start, f.first_position, f.last_position, f.event_min, f.event_max, f.series_min, f.series_max, \
         f.rows_count, f.readings_sum, f.path, o.bytes, o.block_sums \
         FROM files f LEFT JOIN objects o ON o.path = f.path ORDER BY f.first_position, f.path",
    )
    .fetch_all(conn)
    .await
    .attempt("read files")?;
    let at = index(&version.partitions);
    for row in &rows {
        let (partition, file) = file_of(row)?;
        match partition {
            Some(start) => version.partitions[slot(&at, start)?].files.push(Arc::new(file)),
            None => version.mixed.push(Arc::new(file)),
        }
    }
    Ok(())
}

fn file_of(row: &SqliteRow) -> Result<(Option<i64>, FileRef)> {
    let mut columns = Columns::of(row);
    let partition = columns.get()?;
    let file = FileRef {
        positions: (columns.position()?, columns.position()?),
        event_bounds: (columns.get()?, columns.get()?),
        series_bounds: (SeriesId(columns.unsigned()?), SeriesId(columns.unsigned()?)),
        rows: columns.unsigned()?,
        sum: columns.optional_sum()?,
        object: columns.object()?,
    };
    Ok((partition, file))
}

fn index(partitions: &[Partition]) -> BTreeMap<i64, usize> {
    partitions.iter().enumerate().map(|(i, p)| (p.span.start.0, i)).collect()
}

fn slot(at: &BTreeMap<i64, usize>, start: i64) -> Result<usize> {
    at.get(&start).copied().ok_or_else(|| Error::corrupt("catalog", format!("no partition starts at {start}")))
}
