//! Cells from raw readings: one pass over the sorted, deduplicated stream, in slices of the series.
//!
//! Owns the slices and the counting. Raw readings stream; only the resulting cells are in memory.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use schemas::cells::Cell;
use schemas::history::{ReadingColumns, StoredCell, StoredReading};
use schemas::partial::{SKETCH_READINGS_MIN, Sketch};
use schemas::view::FileRef;
use schemas::{EventTime, LogPosition, Partial, Resolution, SeriesId, TimeRange};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::history::merge::DedupExec;
use crate::history::objects::Objects;
use crate::history::pieces::CellPieces;
use crate::history::read::outline;
use crate::history::selection::{Selection, SeriesSet};
use crate::history::{from_datafusion, merged, merged_plan};

/// What a recompute found.
#[derive(Debug, Clone, Default)]
pub struct Recomputed {
    /// Cells, with sketches where they hold many readings, sorted by series and bucket; none is disordered.
    pub cells: CellPieces,
    /// Readings counted, each identity once.
    pub readings: u64,
    /// Rows read.
    pub rows_read: u64,
    /// Arrivals that a later arrival of the same identity replaced.
    pub duplicates: u64,
    /// Rows left out because they say the same as their neighbour.
    pub repeats: u64,
}

impl Recomputed {
    /// LED-6: each row read is told, replaced or said twice, and the cells count what was told.
    pub(crate) fn adds_up(&self) -> bool {
        let counted: u64 = self.cells.iter().map(|stored| stored.cell.partial.count).sum();
        self.rows_read == self.readings + self.duplicates + self.repeats && counted == self.readings
    }

    /// What both found; all series of `next` come after all of these.
    fn followed_by(mut self, next: Self) -> Self {
        self.cells.append(next.cells);
        self.readings += next.readings;
        self.rows_read += next.rows_read;
        self.duplicates += next.duplicates;
        self.repeats += next.repeats;
        self
    }
}

/// Fewer rows than this are not worth a slice of their own.
const SLICE_ROWS: u64 = 256 << 10;
/// How often slices may have told what they read before anybody listens.
const TELLINGS: usize = 16;

/// What is counted, and how.
#[derive(Debug, Clone)]
pub struct Counted {
    /// The files that hold the readings.
    pub files: Vec<Arc<FileRef>>,
    /// Of these event times. A bucket that reaches over an edge counts only what lies inside: spans are unions of buckets.
    pub span: TimeRange,
    /// Arrived up to here.
    pub cut: LogPosition,
    /// Width of the cells.
    pub base: Resolution,
}

/// Counts readings, each identity once: slices of the series side by side, on as many processors as there are.
///
/// `progress` is told the number of rows read so far again and again; an error from it (as [`Error::Cancelled`]) ends the
/// work.
///
/// # Errors
/// A file is missing or corrupt, the store fails, or `progress` says so.
pub async fn recompute(
    objects: &Objects,
    counted: Counted,
    ctx: Arc<TaskContext>,
    mut progress: impl FnMut(u64) -> Result<()> + Send,
) -> Result<Recomputed> {
    let (told, mut tellings) = mpsc::channel(TELLINGS);
    // Dropping the set ends the tasks.
    let mut tasks = JoinSet::new();
    for (number, series) in slices(objects, &counted.files).await?.into_iter().enumerate() {
        let selection = Selection { series, range: counted.span, up_to: Some(counted.cut) };
        let plan = merged_plan(objects, counted.files.clone(), Vec::new(), selection)?;
        let (base, ctx, told) = (counted.base, Arc::clone(&ctx), told.clone());
        tasks.spawn(async move { Ok::<_, Error>((number, count(&plan, base, ctx, told).await?)) });
    }
    drop(told);
    let mut rows = 0;
    while let Some(more) = tellings.recv().await {
        rows += more;
        progress(rows)?;
    }
    let mut slices = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        slices.push(ended.map_err(|e| Error::unavailable("count readings", e))??);
    }
    slices.sort_unstable_by_key(|(number, _)| *number);
    Ok(slices.into_iter().map(|(_, slice)| slice).reduce(Recomputed::followed_by).unwrap_or_default())
}

/// Counts the readings of one slice. Readers of all slices share the processors, so it tells what it read only as fast as
/// somebody listens.
async fn count(
    plan: &DedupExec,
    base: Resolution,
    ctx: Arc<TaskContext>,
    told: mpsc::Sender<u64>,
) -> Result<Recomputed> {
    let counts = plan.counts();
    let mut batches = plan.execute(0, ctx).map_err(from_datafusion)?;
    let (mut counting, mut rows) = (Counting::new(base), 0);
    while let Some(batch) = batches.try_next().await.map_err(from_datafusion)? {
        counting.count(&ReadingColumns::of(&batch)?);
        let more = counts.rows() - rows;
        rows += more;
        // Nobody listens any more when the work has failed elsewhere.
        told.send(more).await.map_err(|_| Error::Cancelled)?;
    }
    let (cells, rows_read) = (counting.finish(), counts.rows());
    let (duplicates, repeats) = (counts.duplicates(), counts.repeats());
    Ok(Recomputed { cells, readings: counts.told(), rows_read, duplicates, repeats })
}

/// The series of these files in about equal slices of their rows: one for each processor, if there is enough to do.
async fn slices(objects: &Objects, files: &[Arc<FileRef>]) -> Result<Vec<SeriesSet>> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let wanted = processors.min(rows / SLICE_ROWS);
    if wanted < 2 {
        return Ok(vec![SeriesSet::All]);
    }
    let mut groups = Vec::new();
    for file in files {
        groups.extend(outline(objects, file).await?);
    }
    Ok(cut(groups, wanted))
}

/// Cuts stretches of series, each with its rows, into this many slices of about as many rows.
fn cut(mut stretches: Vec<((SeriesId, SeriesId), u64)>, wanted: u64) -> Vec<SeriesSet> {
    stretches.sort_unstable();
    let rows: u64 = stretches.iter().map(|(_, rows)| *rows).sum();
    let (mut slices, mut from, mut before) = (Vec::new(), SeriesId(0), 0);
    for ((first, _), rows_here) in stretches {
        let full = before >= rows * (slices.len() as u64 + 1) / wanted;
        if full && from < first {
            slices.push(SeriesSet::Between(from, SeriesId(first.0 - 1)));
            from = first;
        }
        before += rows_here;
    }
    slices.push(SeriesSet::Between(from, SeriesId(u64::MAX)));
    slices
}

/// The selected readings of files and hot batches, each identity once, sorted by series and event time.
///
/// # Errors
/// There are more than `limit`, a file is missing or corrupt, or the store fails.
pub async fn resolved(
    objects: &Objects,
    files: Vec<Arc<FileRef>>,
    extra: Vec<RecordBatch>,
    selection: Selection,
    ctx: Arc<TaskContext>,
    limit: usize,
) -> Result<Vec<StoredReading>> {
    let mut batches = merged(objects, files, extra, selection, ctx)?;
    let mut readings = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(from_datafusion)? {
        if readings.len() + batch.num_rows() > limit {
            return Err(Error::Refused(format!(
                "more than {limit} readings are needed to answer exactly: ask for less at a time"
            )));
        }
        let columns = ReadingColumns::of(&batch)?;
        readings.extend((0..columns.len()).map(|i| columns.get(i)));
    }
    Ok(readings)
}

/// Cells being made from readings sorted by series and event time.
struct Counting {
    base: Resolution,
    cells: CellPieces,
    open: Option<OpenCell>,
    /// Values of the open cell.
    values: Vec<f64>,
}

/// The cell that the next reading may still belong to.
struct OpenCell {
    series: u64,
    bucket: TimeRange,
    partial: Partial,
}

impl Counting {
    fn new(base: Resolution) -> Self {
        Self { base, cells: CellPieces::default(), open: None, values: Vec::new() }
    }

    fn count(&mut self, readings: &ReadingColumns) {
        for ((series, time), value) in readings.series.iter().zip(readings.times).zip(readings.values) {
            match &mut self.open {
                // Sorted: a time not before the bucket's end is all that can lie outside.
                Some(cell) if cell.series == *series && *time < cell.bucket.end.0 => cell.partial.update(*time, *value),
                _ => {
                    self.close();
                    let bucket = self.base.bucket(self.base.floor(EventTime(*time)));
                    self.open = Some(OpenCell { series: *series, bucket, partial: Partial::of(*time, *value) });
                }
            }
            self.values.push(*value);
        }
    }

    fn close(&mut self) {
        let Some(OpenCell { series, bucket, mut partial }) = self.open.take() else { return };
        if partial.count >= SKETCH_READINGS_MIN {
            partial.sketch = Some(Box::new(Sketch::of(self.values.iter().copied())));
        }
        self.values.clear();
        let cell = Cell { bucket: bucket.start.0, partial };
        self.cells.push(StoredCell { series: SeriesId(series), cell, disordered: false });
    }

    fn finish(mut self) -> CellPieces {
        self.close();
        self.cells
    }
}

#[cfg(test)]
mod tests;
