//! Generations: which views are current, now and before.
//!
//! Owns publish and revert, and the guards that keep a publish from hiding readings. Does not own the making of views
//! or the end of generations (garbage).
//!
//! A view is current in the generations `from <= g && g < until`. Publishing closes the views that it replaces and adds
//! its own, in one transaction, so that every generation is whole. A revert publishes the old views anew under the next
//! number: numbers only rise, and what was current in between stays in the record.

use std::collections::{BTreeMap, BTreeSet};

use schemas::paths::ObjectKind;
use schemas::reading::LogPosition;
use schemas::time::{ArrivalTime, TimeRange};
use schemas::view::{ObjectRef, ViewRef};
use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::rows::{Columns, next_number, serialize_optional_time, serialize_time, stored};
use super::{Attempt, Catalog, history, objects, version};
use crate::error::{Error, Result};

/// How many generations a listing tells of.
const LISTED: i64 = 1_000;

/// How a view was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewOrigin {
    /// The view before and the partials of later epochs.
    Fold,
    /// Raw readings.
    Recompute,
}

impl ViewOrigin {
    fn name(self) -> &'static str {
        match self {
            Self::Fold => "fold",
            Self::Recompute => "recompute",
        }
    }
}

/// A view that is to become current.
#[derive(Debug, Clone)]
pub struct NewView {
    /// The partition that it counts.
    pub partition: TimeRange,
    /// Its file of cells; `None` where it counts nothing.
    pub object: Option<ObjectRef>,
    /// The log position up to which it counted.
    pub cut: LogPosition,
    /// How many cells.
    pub cells: u64,
    /// How many readings the cells count.
    pub readings: u64,
    /// By how many readings it may count less than the view before, because that counted them twice.
    pub duplicates_found: u64,
    /// How it was made.
    pub kind: ViewOrigin,
}

/// Views that become current together.
#[derive(Debug, Clone)]
pub struct PublishCommit {
    /// One view at most for a partition.
    pub views: Vec<NewView>,
    /// Why, for the record.
    pub reason: String,
    /// The job that made them.
    pub job: Option<i64>,
    /// When.
    pub now: ArrivalTime,
}

/// A generation, for the record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GenerationRow {
    /// Its number.
    pub number: u64,
    /// When it became current.
    #[serde(serialize_with = "serialize_time")]
    pub published_at: ArrivalTime,
    /// Why.
    pub reason: String,
    /// The job that made it.
    pub job: Option<i64>,
    /// The generation whose views it made current again.
    pub reverted_to: Option<u64>,
    /// How many partitions got another view, or lost theirs, with it.
    pub partitions: u64,
    /// Whether it is the current one.
    pub current: bool,
    /// Since when its views may be gone.
    #[serde(serialize_with = "serialize_optional_time")]
    pub pruned_at: Option<ArrivalTime>,
}

impl Catalog {
    /// Makes views current, all at once, as the next generation; returns its number.
    ///
    /// # Errors
    /// A view's cut moves back (COV-1) or lies beyond what is flushed; a view counts fewer readings than the one before
    /// and its duplicates don't explain it; a span is no partition or given twice; or the catalog can't be written.
    /// Nothing of it is kept then.
    pub async fn commit_publish(&self, publish: PublishCommit) -> Result<u64> {
        check_distinct(&publish.views)?;
        let mut tx = self.begin_sealed().await?;
        let flushed = version::flushed(&mut tx).await?;
        let record = Record {
            reason: &publish.reason,
            job: publish.job,
            reverted_to: None,
            changed: publish.views.len(),
            now: publish.now,
        };
        let generation = add_generation(&mut tx, record).await?;
        for view in &publish.views {
            history::check_partition(&mut tx, view.partition).await?;
            let start = view.partition.start.0;
            check_view(view, current(&mut tx, start).await?, flushed)?;
            if let Some(object) = &view.object {
                objects::add(&mut tx, ObjectKind::View, object, publish.now).await?;
            }
            close_view(&mut tx, start, generation).await?;
            let stored = StoredView {
                cut: stored(view.cut.0)?,
                path: view.object.as_ref().map(|o| o.path.clone()),
                cells: stored(view.cells)?,
                readings: stored(view.readings)?,
            };
            add_view(&mut tx, start, &stored, view.kind.name(), generation).await?;
        }
        self.commit_sealed(tx, "publish a generation").await?;
        Ok(generation.unsigned_abs())
    }

    /// Makes the views of an earlier generation current again, as the next generation; returns its number.
    ///
    /// # Errors
    /// The generation does not exist, is current or was pruned; or the catalog can't be written.
    pub async fn commit_revert(&self, generation: u64, now: ArrivalTime) -> Result<u64> {
        let mut tx = self.begin_sealed().await?;
        check_reachable(&mut tx, generation).await?;
        let newest = version::current_generation(&mut tx).await?;
        if generation == newest {
            return Err(Error::Refused(format!("generation {generation} is current")));
        }
        let (target, present) = (stored_views(&mut tx, generation).await?, stored_views(&mut tx, newest).await?);
        let starts: BTreeSet<i64> =
            target.keys().chain(present.keys()).copied().filter(|s| target.get(s) != present.get(s)).collect();
        let reason = format!("revert to generation {generation}");
        let record =
            Record { reason: &reason, job: None, reverted_to: Some(stored(generation)?), changed: starts.len(), now };
        let number = add_generation(&mut tx, record).await?;
        for start in starts {
            close_view(&mut tx, start, number).await?;
            if let Some(view) = target.get(&start) {
                add_view(&mut tx, start, view, "revert", number).await?;
            }
        }
        self.commit_sealed(tx, "revert to a generation").await?;
        Ok(number.unsigned_abs())
    }

    /// The views that were current in a generation, by partition.
    ///
    /// # Errors
    /// The generation does not exist or was pruned; or the catalog can't be read or is corrupt.
    pub async fn views_at(&self, generation: u64) -> Result<Vec<(TimeRange, ViewRef)>> {
        let mut tx = self.snapshot().await?;
        check_reachable(&mut tx, generation).await?;
        let rows = sqlx::query(
            "SELECT p.span_start, p.span_end, v.id, v.cut_position, v.cells, v.readings, v.from_generation, v.path, o.bytes, o.block_sums \
             FROM views v JOIN partitions p ON p.span_start = v.partition_start LEFT JOIN objects o ON o.path = v.path \
             WHERE v.from_generation <= $1 AND (v.until_generation IS NULL OR v.until_generation > $2) ORDER BY p.span_start",
        )
        .bind(stored(generation)?)
        .bind(stored(generation)?)
        .fetch_all(&mut *tx)
        .await
        .attempt("read the views of a generation")?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                Ok((columns.range()?, version::view_of(&mut columns)?))
            })
            .collect()
    }

    /// The newest generations, newest first, a thousand at most.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn generations(&self) -> Result<Vec<GenerationRow>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT number, published_at, reason, job_id, reverted_to, partitions_changed, pruned_at FROM generations ORDER BY number DESC LIMIT $1",
        )
        .bind(LISTED)
        .fetch_all(&mut *tx)
        .await
        .attempt("list generations")?;
        rows.iter().enumerate().map(|(i, row)| generation_of(row, i == 0)).collect()
    }
}

fn generation_of(row: &SqliteRow, current: bool) -> Result<GenerationRow> {
    let mut columns = Columns::of(row);
    Ok(GenerationRow {
        number: columns.unsigned()?,
        published_at: columns.time()?,
        reason: columns.get()?,
        job: columns.get()?,
        reverted_to: columns.optional_unsigned()?,
        partitions: columns.unsigned()?,
        current,
        pruned_at: columns.optional_time()?,
    })
}

fn check_distinct(views: &[NewView]) -> Result<()> {
    if views.is_empty() {
        return Err(Error::Refused("there is no view to publish".into()));
    }
    let mut seen = BTreeSet::new();
    match views.iter().find(|view| !seen.insert(view.partition)) {
        Some(twice) => Err(Error::Refused(format!("two views of partition {}", twice.partition))),
        None => Ok(()),
    }
}

/// What the guards need to know of the current view.
#[derive(Debug, Clone, Copy)]
struct Current {
    cut: LogPosition,
    readings: u64,
}

/// Never publish less over more.
fn check_view(new: &NewView, current: Option<Current>, flushed: LogPosition) -> Result<()> {
    let refuse = |reason: String| Err(Error::Refused(format!("view of {}: {reason}", new.partition)));
    if new.cut > flushed {
        return refuse(format!("its cut {} lies beyond {flushed}, the last flushed position", new.cut));
    }
    if new.object.is_none() && (new.cells > 0 || new.readings > 0) {
        return refuse(format!("it claims {} readings in {} cells but has no file", new.readings, new.cells));
    }
    let Some(current) = current else { return Ok(()) };
    if new.cut < current.cut {
        return refuse(format!("its cut would move back from {} to {}", current.cut, new.cut));
    }
    let missing = current.readings.saturating_sub(new.readings);
    if missing > new.duplicates_found {
        return refuse(format!(
            "it counts {} readings, {missing} fewer than the current one, and {} duplicates don't explain that",
            new.readings, new.duplicates_found
        ));
    }
    Ok(())
}

async fn current(conn: &mut SqliteConnection, start: i64) -> Result<Option<Current>> {
    let row =
        sqlx::query("SELECT cut_position, readings FROM views WHERE partition_start = $1 AND until_generation IS NULL")
            .bind(start)
            .fetch_optional(conn)
            .await
            .attempt("read a current view")?;
    row.map(|row| {
        let mut columns = Columns::of(&row);
        Ok(Current { cut: columns.position()?, readings: columns.unsigned()? })
    })
    .transpose()
}

/// What a generation's row says.
struct Record<'a> {
    reason: &'a str,
    job: Option<i64>,
    reverted_to: Option<i64>,
    changed: usize,
    now: ArrivalTime,
}

async fn add_generation(conn: &mut SqliteConnection, record: Record<'_>) -> Result<i64> {
    let number = stored(version::current_generation(conn).await? + 1)?;
    sqlx::query("INSERT INTO generations (number, published_at, reason, job_id, reverted_to, partitions_changed) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(number)
        .bind(record.now.0)
        .bind(record.reason)
        .bind(record.job)
        .bind(record.reverted_to)
        .bind(stored(record.changed as u64)?)
        .execute(conn)
        .await
        .attempt("add a generation")?;
    Ok(number)
}

/// The columns of a view that a revert copies.
#[derive(Debug, PartialEq, Eq)]
struct StoredView {
    cut: i64,
    path: Option<String>,
    cells: i64,
    readings: i64,
}

async fn stored_views(conn: &mut SqliteConnection, generation: u64) -> Result<BTreeMap<i64, StoredView>> {
    let rows = sqlx::query(
        "SELECT partition_start, cut_position, path, cells, readings FROM views \
         WHERE from_generation <= $1 AND (until_generation IS NULL OR until_generation > $2)",
    )
    .bind(stored(generation)?)
    .bind(stored(generation)?)
    .fetch_all(conn)
    .await
    .attempt("read the views of a generation")?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row);
            let start = columns.get()?;
            Ok((
                start,
                StoredView {
                    cut: columns.get()?,
                    path: columns.get()?,
                    cells: columns.get()?,
                    readings: columns.get()?,
                },
            ))
        })
        .collect()
}

async fn close_view(conn: &mut SqliteConnection, start: i64, generation: i64) -> Result<()> {
    sqlx::query("UPDATE views SET until_generation = $1 WHERE partition_start = $2 AND until_generation IS NULL")
        .bind(generation)
        .bind(start)
        .execute(conn)
        .await
        .attempt("replace a view")?;
    Ok(())
}

async fn add_view(
    conn: &mut SqliteConnection,
    start: i64,
    view: &StoredView,
    kind: &str,
    generation: i64,
) -> Result<()> {
    let id = next_number(conn, "views").await?;
    sqlx::query(
        "INSERT INTO views (id, partition_start, cut_position, path, cells, readings, kind, from_generation) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id)
    .bind(start)
    .bind(view.cut)
    .bind(&view.path)
    .bind(view.cells)
    .bind(view.readings)
    .bind(kind)
    .bind(generation)
    .execute(conn)
    .await
    .attempt("add a view")?;
    Ok(())
}

async fn check_reachable(conn: &mut SqliteConnection, generation: u64) -> Result<()> {
    let row = sqlx::query("SELECT pruned_at FROM generations WHERE number = $1")
        .bind(stored(generation)?)
        .fetch_optional(conn)
        .await
        .attempt("look a generation up")?;
    let row = row.ok_or_else(|| Error::NotFound(format!("generation {generation}")))?;
    match Columns::of(&row).optional_time()? {
        Some(at) => Err(Error::Refused(format!("generation {generation} was pruned at {at}, its views may be gone"))),
        None => Ok(()),
    }
}
