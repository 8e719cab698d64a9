//! What flush and compaction write: epochs, partitions and files of readings.
//!
//! Owns the two commits that change which raw readings history consists of, and the look-up of flushed epochs. Does not
//! own views (generations) or what was learned of series and metrics (state).

use schemas::ledger::Tally;
use schemas::paths::ObjectKind;
use schemas::reading::LogPosition;
use schemas::time::{ArrivalTime, EventTime, TimeRange};
use schemas::view::{FileRef, ObjectRef};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::rows::{Columns, stored};
use super::{Attempt, Catalog, ledger, objects, state, version};
use crate::error::{Error, Result};

/// One flushed epoch: everything that must become part of history together.
#[derive(Debug, Clone, Default)]
pub struct FlushCommit {
    /// Position of its first frame: the one after the last flushed.
    pub first: LogPosition,
    /// Position of its last frame.
    pub last: LogPosition,
    /// How many arrivals, quarantined ones apart.
    pub readings: u64,
    /// Least and greatest event time; `None` where nothing was counted.
    pub event_bounds: Option<(i64, i64)>,
    /// Its partials; `None` where nothing was counted.
    pub partials: Option<ObjectRef>,
    /// Its files of readings, each with the partition it lies in; `None`: readings of several.
    pub files: Vec<(Option<TimeRange>, FileRef)>,
    /// Partitions that did not exist before.
    pub new_partitions: Vec<TimeRange>,
    /// The start of each partition that it touches, and how many of its readings lie there.
    pub touched: Vec<(EventTime, u64)>,
    /// States of series, if some changed.
    pub series: Option<SeriesCommit>,
    /// Readings from the future.
    pub quarantine: Option<(ObjectRef, Tally)>,
    /// What its frames held, quarantined readings too: all files together hold the same.
    pub tally: Tally,
    /// Weights of the lateness tables by metric.
    pub lateness: Vec<(String, Vec<f64>)>,
    /// When.
    pub now: ArrivalTime,
}

impl FlushCommit {
    /// What its files hold.
    pub fn stored(&self) -> Tally {
        let files = self.files.iter().filter_map(|(_, file)| file.tally());
        files.chain(self.quarantine.iter().map(|(_, tally)| *tally)).sum()
    }
}

/// A new file of states of series.
#[derive(Debug, Clone)]
pub struct SeriesCommit {
    /// The file.
    pub object: ObjectRef,
    /// Paths of the files that say nothing any more that this one does not say.
    pub replaces: Vec<String>,
}

/// A flushed epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochRow {
    /// Position of its first frame.
    pub first: LogPosition,
    /// Position of its last frame.
    pub last: LogPosition,
    /// How many arrivals, quarantined ones apart.
    pub readings: u64,
    /// Least and greatest event time; `None` where nothing was counted.
    pub event_bounds: Option<(i64, i64)>,
    /// Its partials; `None` where nothing was counted, or where they were dropped.
    pub partials: Option<ObjectRef>,
    /// Whether its partials were dropped because views count all of it.
    pub dropped: bool,
}

impl Catalog {
    /// Makes a flushed epoch part of history.
    ///
    /// # Errors
    /// The epoch does not follow the last flushed one, a new partition overlaps another, a touched partition does not
    /// exist; or the catalog can't be written. Nothing of it is kept then.
    pub async fn commit_flush(&self, flush: FlushCommit) -> Result<()> {
        let mut tx = self.begin_sealed().await?;
        check_follows(&mut tx, &flush).await?;
        for span in &flush.new_partitions {
            add_partition(&mut tx, *span).await?;
        }
        add_epoch(&mut tx, &flush).await?;
        for (start, readings) in &flush.touched {
            touch(&mut tx, *start, flush.last, *readings).await?;
        }
        for (partition, file) in &flush.files {
            add_file(&mut tx, *partition, file, flush.now).await?;
        }
        if let Some(series) = &flush.series {
            state::replace_series_files(&mut tx, series, flush.now).await?;
        }
        if let Some((object, tally)) = &flush.quarantine {
            state::add_quarantine_file(&mut tx, object, *tally, flush.now).await?;
        }
        ledger::flush(&mut tx, flush.tally, flush.stored()).await?;
        for (metric, weights) in &flush.lateness {
            state::put_lateness(&mut tx, metric, weights).await?;
        }
        self.commit_sealed(tx, "commit a flush").await
    }

    /// Replaces files by others with the same readings. The old ones stay in the store for those who read them.
    ///
    /// # Errors
    /// A file to remove is no part of history, or the counts of removed and added readings differ; or the catalog can't
    /// be written. Nothing of it is kept then.
    pub async fn commit_compaction(
        &self,
        removed: Vec<String>,
        added: Vec<(Option<TimeRange>, FileRef)>,
        now: ArrivalTime,
    ) -> Result<()> {
        let mut tx = self.begin_sealed().await?;
        let (mut rows_removed, mut tallies) = (0, Vec::with_capacity(removed.len()));
        for path in &removed {
            let (rows, tally) = remove_file(&mut tx, path, now).await?;
            rows_removed += rows;
            tallies.push(tally);
        }
        for (partition, file) in &added {
            add_file(&mut tx, *partition, file, now).await?;
        }
        let rows_added: u64 = added.iter().map(|(_, file)| file.rows).sum();
        if rows_added != rows_removed {
            return Err(Error::Refused(format!("compaction would turn {rows_removed} readings into {rows_added}")));
        }
        ledger::compact(&mut tx, &tallies, added.iter().filter_map(|(_, file)| file.tally()).sum()).await?;
        self.commit_sealed(tx, "commit a compaction").await
    }

    /// The flushed epochs that the current views have not counted everywhere, in order.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn uncovered_epochs(&self) -> Result<Vec<EpochRow>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT e.first_position, e.last_position, e.readings, e.dropped_at, e.event_min, e.event_max, e.partials_path, o.bytes, o.block_sums \
             FROM epochs e LEFT JOIN objects o ON o.path = e.partials_path WHERE e.last_position IN ( \
                 SELECT ep.last_position FROM partitions p \
                 LEFT JOIN views v ON v.partition_start = p.span_start AND v.until_generation IS NULL \
                 JOIN epoch_partitions ep ON ep.partition_start = p.span_start AND ep.last_position > COALESCE(v.cut_position, 0) \
                 WHERE p.touched > COALESCE(v.cut_position, 0)) \
             ORDER BY e.last_position",
        )
        .fetch_all(&mut *tx)
        .await
        .attempt("read uncovered epochs")?;
        rows.iter().map(epoch_of).collect()
    }

    /// The flushed epochs whose last position lies in `(after, up_to]`, in order.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn epochs_between(&self, after: LogPosition, up_to: LogPosition) -> Result<Vec<EpochRow>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT e.first_position, e.last_position, e.readings, e.dropped_at, e.event_min, e.event_max, e.partials_path, o.bytes, o.block_sums \
             FROM epochs e LEFT JOIN objects o ON o.path = e.partials_path \
             WHERE e.last_position > $1 AND e.last_position <= $2 ORDER BY e.last_position",
        )
        .bind(stored(after.0)?)
        .bind(stored(up_to.0)?)
        .fetch_all(&mut *tx)
        .await
        .attempt("read epochs")?;
        rows.iter().map(epoch_of).collect()
    }
}

fn epoch_of(row: &SqliteRow) -> Result<EpochRow> {
    let mut columns = Columns::of(row);
    Ok(EpochRow {
        first: columns.position()?,
        last: columns.position()?,
        readings: columns.unsigned()?,
        dropped: columns.optional_time()?.is_some(),
        event_bounds: columns.optional_bounds()?,
        partials: columns.optional_object()?,
    })
}

async fn check_follows(conn: &mut SqliteConnection, flush: &FlushCommit) -> Result<()> {
    let flushed = version::flushed(conn).await?;
    if flush.first != flushed.next() {
        return Err(Error::Refused(format!(
            "epoch {}..={} does not follow {flushed}, the last flushed position",
            flush.first, flush.last
        )));
    }
    if flush.last < flush.first {
        return Err(Error::Refused(format!("epoch {}..={} is empty", flush.first, flush.last)));
    }
    Ok(())
}

async fn add_epoch(conn: &mut SqliteConnection, flush: &FlushCommit) -> Result<()> {
    if let Some(partials) = &flush.partials {
        objects::add(conn, ObjectKind::Partials, partials, flush.now).await?;
    }
    sqlx::query(
        "INSERT INTO epochs (last_position, first_position, readings, event_min, event_max, partials_path, flushed_at, \
         arrivals, readings_sum) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(stored(flush.last.0)?)
    .bind(stored(flush.first.0)?)
    .bind(stored(flush.readings)?)
    .bind(flush.event_bounds.map(|b| b.0))
    .bind(flush.event_bounds.map(|b| b.1))
    .bind(flush.partials.as_ref().map(|p| p.path.as_str()))
    .bind(flush.now.0)
    .bind(stored(flush.tally.readings)?)
    .bind(ledger::text_of(flush.tally.sum))
    .execute(conn)
    .await
    .attempt("add an epoch")?;
    Ok(())
}

async fn add_partition(conn: &mut SqliteConnection, span: TimeRange) -> Result<()> {
    if span.is_empty() {
        return Err(Error::Refused(format!("partition {span} is empty")));
    }
    // Partitions do not overlap, so the last one that starts before the end is the only one that can be in the way.
    let before = sqlx::query(
        "SELECT span_start, span_end FROM partitions WHERE span_start < $1 ORDER BY span_start DESC LIMIT 1",
    )
    .bind(span.end.0)
    .fetch_optional(&mut *conn)
    .await
    .attempt("look a partition up")?;
    if let Some(row) = before {
        let other = Columns::of(&row).range()?;
        if other.overlaps(&span) {
            return Err(Error::Refused(format!("partition {span} overlaps {other}")));
        }
    }
    sqlx::query("INSERT INTO partitions (span_start, span_end, touched) VALUES ($1, $2, 0)")
        .bind(span.start.0)
        .bind(span.end.0)
        .execute(conn)
        .await
        .attempt("add a partition")?;
    Ok(())
}

async fn touch(conn: &mut SqliteConnection, start: EventTime, last: LogPosition, readings: u64) -> Result<()> {
    let touched = sqlx::query("UPDATE partitions SET touched = $1 WHERE span_start = $2")
        .bind(stored(last.0)?)
        .bind(start.0)
        .execute(&mut *conn)
        .await
        .attempt("touch a partition")?;
    if touched.rows_affected() == 0 {
        return Err(Error::Refused(format!("no partition starts at {start}")));
    }
    sqlx::query("INSERT INTO epoch_partitions (partition_start, last_position, readings) VALUES ($1, $2, $3)")
        .bind(start.0)
        .bind(stored(last.0)?)
        .bind(stored(readings)?)
        .execute(conn)
        .await
        .attempt("note what an epoch touches")?;
    Ok(())
}

/// Refuses a span that is not exactly that of a partition.
pub(super) async fn check_partition(conn: &mut SqliteConnection, span: TimeRange) -> Result<()> {
    let row = sqlx::query("SELECT span_start, span_end FROM partitions WHERE span_start = $1")
        .bind(span.start.0)
        .fetch_optional(conn)
        .await
        .attempt("look a partition up")?;
    match row.map(|row| Columns::of(&row).range()).transpose()? {
        Some(known) if known == span => Ok(()),
        _ => Err(Error::Refused(format!("{span} is no partition"))),
    }
}

async fn add_file(
    conn: &mut SqliteConnection,
    partition: Option<TimeRange>,
    file: &FileRef,
    now: ArrivalTime,
) -> Result<()> {
    if let Some(span) = partition {
        check_partition(conn, span).await?;
        if !span.contains(EventTime(file.event_bounds.0)) || !span.contains(EventTime(file.event_bounds.1)) {
            return Err(Error::Refused(format!("{} has readings outside of partition {span}", file.object.path)));
        }
    }
    objects::add(conn, ObjectKind::Readings, &file.object, now).await?;
    sqlx::query(
        "INSERT INTO files (path, partition_start, first_position, last_position, event_min, event_max, series_min, series_max, rows_count, \
         readings_sum) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(&file.object.path)
    .bind(partition.map(|span| span.start.0))
    .bind(stored(file.positions.0.0)?)
    .bind(stored(file.positions.1.0)?)
    .bind(file.event_bounds.0)
    .bind(file.event_bounds.1)
    .bind(stored(file.series_bounds.0.0)?)
    .bind(stored(file.series_bounds.1.0)?)
    .bind(stored(file.rows)?)
    .bind(file.sum.map(ledger::text_of))
    .execute(conn)
    .await
    .attempt("add a file of readings")?;
    Ok(())
}

/// Takes a file out of history and says how many readings it holds, and which, if the ledger tells.
async fn remove_file(conn: &mut SqliteConnection, path: &str, now: ArrivalTime) -> Result<(u64, Option<Tally>)> {
    let row = sqlx::query("SELECT rows_count, readings_sum FROM files WHERE path = $1")
        .bind(path)
        .fetch_optional(&mut *conn)
        .await
        .attempt("look a file up")?;
    let row = row.ok_or_else(|| Error::Refused(format!("{path} is no part of history")))?;
    sqlx::query("DELETE FROM files WHERE path = $1")
        .bind(path)
        .execute(&mut *conn)
        .await
        .attempt("remove a file of readings")?;
    objects::supersede(conn, path, now).await?;
    let mut columns = Columns::of(&row);
    let (readings, sum) = (columns.unsigned()?, columns.optional_sum()?);
    Ok((readings, sum.map(|sum| Tally { readings, sum })))
}
