//! Cells from raw readings: one pass over the sorted, deduplicated stream.
//!
//! Owns the counting. Raw readings stream; only the resulting cells are in memory.

use std::sync::Arc;

use datafusion::execution::TaskContext;
use futures::TryStreamExt;
use schemas::cells::Cell;
use schemas::history::{ReadingColumns, StoredCell, StoredReading};
use schemas::partial::{SKETCH_READINGS_MIN, Sketch};
use schemas::view::FileRef;
use schemas::{EventTime, LogPosition, Partial, Resolution, SeriesId, TimeRange};

use crate::error::{Error, Result};
use crate::history::objects::Objects;
use crate::history::read::Selection;
use crate::history::{from_datafusion, merged, merged_plan};
use arrow::record_batch::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;

/// What a recompute found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recomputed {
    /// Cells, with sketches where they hold many readings, sorted by series and bucket; none is disordered.
    pub cells: Vec<StoredCell>,
    /// Readings counted, each identity once.
    pub readings: u64,
    /// Rows read.
    pub rows_read: u64,
    /// Arrivals that a later arrival of the same identity replaced.
    pub duplicates: u64,
}

/// Counts all readings of these files with event times in `span` that arrived up to `cut`.
///
/// `progress` is told the number of rows read so far after each batch; an error from it (as [`Error::Cancelled`]) ends the
/// work. A bucket that reaches over an edge of `span` counts only what lies inside: spans are unions of buckets.
///
/// # Errors
/// A file is missing or corrupt, the store fails, or `progress` says so.
pub async fn recompute(
    objects: &Objects,
    files: Vec<Arc<FileRef>>,
    span: TimeRange,
    cut: LogPosition,
    base: Resolution,
    ctx: Arc<TaskContext>,
    mut progress: impl FnMut(u64) -> Result<()> + Send,
) -> Result<Recomputed> {
    let selection = Selection { series: None, range: span, up_to: Some(cut) };
    let plan = merged_plan(objects, files, Vec::new(), selection)?;
    let counts = plan.counts();
    let mut batches = plan.execute(0, ctx).map_err(from_datafusion)?;
    let mut counting = Counting::new(base);
    while let Some(batch) = batches.try_next().await.map_err(from_datafusion)? {
        counting.count(&ReadingColumns::of(&batch)?);
        progress(counts.rows())?;
    }
    Ok(Recomputed {
        cells: counting.finish(),
        readings: counts.told(),
        rows_read: counts.rows(),
        duplicates: counts.duplicates(),
    })
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
    cells: Vec<StoredCell>,
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
        Self { base, cells: Vec::new(), open: None, values: Vec::new() }
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

    fn finish(mut self) -> Vec<StoredCell> {
        self.close();
        self.cells
    }
}

#[cfg(test)]
mod tests;
