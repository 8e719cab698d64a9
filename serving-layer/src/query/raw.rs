//! Raw readings: the exact answer for cells that partials can't tell.
//!
//! Readings come from the hot epochs of the snapshot and from files of history; each identity counts once.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray, UInt64Array};
use batch_layer::history::{SCAN, Selection};
use batch_layer::recompute::resolved;
use schemas::epoch::{Epoch, Snapshot};
use schemas::history::StoredReading;
use schemas::query::ViewKind;
use schemas::view::FileRef;
use schemas::{LogPosition, Resolution, SeriesId, TimeRange};

use crate::error::{Error, Result};
use crate::serving::Serving;

/// Most raw readings that one query may resolve.
pub(super) const READINGS_MAX: usize = 20_000_000;

/// Cells to be resolved, all in one segment.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Series and start of bucket.
    pub(super) cells: HashSet<(SeriesId, i64), foldhash::fast::RandomState>,
}

impl Wanted {
    fn series(&self) -> Arc<[SeriesId]> {
        let mut series: Vec<SeriesId> = self.cells.iter().map(|(id, _)| *id).collect();
        series.sort_unstable();
        series.dedup();
        series.into()
    }

    /// The stretch of event time that holds all cells, inside `range`.
    fn hull(&self, range: TimeRange, base: Resolution) -> TimeRange {
        let start = self.cells.iter().map(|(_, bucket)| *bucket).min().unwrap_or(0);
        let end = self.cells.iter().map(|(_, bucket)| *bucket).max().unwrap_or(0);
        TimeRange::new(start, end.saturating_add(base.nanos())).intersect(&range)
    }
}

/// The readings of the wanted cells inside `range`, each identity once, sorted by series and event time. Of the batch
/// view: as they stood at `cut`; of the speed view: those that the cut does not count.
pub(super) async fn resolve(
    serving: &Serving,
    snapshot: &Snapshot,
    wanted: &Wanted,
    range: TimeRange,
    cut: LogPosition,
    view: ViewKind,
) -> Result<Vec<StoredReading>> {
    let base = serving.speed.settings().base;
    let hull = wanted.hull(range, base);
    let selection =
        Selection { series: Some(wanted.series()), range: hull, up_to: (view == ViewKind::Batch).then_some(cut) };
    let hot = hot_epochs(snapshot, &selection);
    let files = files(snapshot, &hot, hull, view);
    let mut readings = if files.is_empty() {
        dedup(hot.iter().flat_map(|epoch| hot_readings(epoch, &selection)).collect())
    } else {
        let extra = hot.iter().map(|epoch| to_batch(&hot_readings(epoch, &selection))).collect();
        let (objects, tasks) = (serving.batch.objects(), serving.batch.task_context());
        resolved(objects, files, extra, selection, tasks, READINGS_MAX).await?
    };
    readings.retain(|r| wanted.cells.contains(&(r.series, base.floor(schemas::EventTime(r.time)).0)));
    if view == ViewKind::Speed {
        readings.retain(|r| r.position > cut.0);
    }
    if readings.len() > READINGS_MAX {
        return Err(Error::TooLarge(format!("more than {READINGS_MAX} readings would have to be read one by one")));
    }
    Ok(readings)
}

/// Epochs whose readings are in memory and of interest.
fn hot_epochs<'a>(snapshot: &'a Snapshot, selection: &Selection) -> Vec<&'a Epoch> {
    let asked = |e: &&Epoch| e.hot && e.touches(selection.range) && selection.up_to.is_none_or(|cut| e.first <= cut);
    snapshot.epochs.iter().map(AsRef::as_ref).filter(asked).collect()
}

/// Files that may hold what memory does not. Readings after the first of an unbroken run of hot epochs are all hot.
fn files(snapshot: &Snapshot, _: &[&Epoch], hull: TimeRange, view: ViewKind) -> Vec<Arc<FileRef>> {
    let hot_from = snapshot.epochs.iter().rev().take_while(|e| e.hot).last().map(|e| e.first);
    let mut files = snapshot.version.files_in(hull);
    if view != ViewKind::Batch {
        files.retain(|f| hot_from.is_none_or(|first| f.positions.0 < first));
    }
    files
}

/// The selected arrivals of one epoch, sorted by series, event time and position.
pub(super) fn hot_readings(epoch: &Epoch, selection: &Selection) -> Vec<StoredReading> {
    let series = epoch.series.iter();
    let asked = series.filter(|(id, _)| selection.series.as_ref().is_none_or(|ids| ids.binary_search(id).is_ok()));
    let readings = asked.flat_map(|(id, part)| {
        part.arrivals(selection.range).map(|r| StoredReading {
            series: *id,
            time: r.time,
            arrival: epoch.arrival(r.frame).0,
            value: r.value,
            position: epoch.position(r.frame).0,
        })
    });
    readings.filter(|r| selection.up_to.is_none_or(|cut| r.position <= cut.0)).collect()
}

/// The last arrival of each identity.
fn dedup(mut readings: Vec<StoredReading>) -> Vec<StoredReading> {
    // Stable: arrivals of one frame keep their order.
    readings.sort_by_key(|r| (r.series, r.time, r.position));
    let mut last: Vec<StoredReading> = Vec::with_capacity(readings.len());
    for reading in readings {
        match last.last_mut() {
            Some(before) if (before.series, before.time) == (reading.series, reading.time) => *before = reading,
            _ => last.push(reading),
        }
    }
    last
}

/// Readings as the columns of a scan.
pub(crate) fn to_batch(readings: &[StoredReading]) -> RecordBatch {
    let instants = |of: fn(&StoredReading) -> i64| -> ArrayRef {
        Arc::new(TimestampNanosecondArray::from_iter_values(readings.iter().map(of)).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(readings.iter().map(|r| r.series.0))),
        instants(|r| r.time),
        instants(|r| r.arrival),
        Arc::new(Float64Array::from_iter_values(readings.iter().map(|r| r.value))),
        Arc::new(UInt64Array::from_iter_values(readings.iter().map(|r| r.position))),
    ];
    RecordBatch::try_new(Arc::clone(&SCAN), columns).expect("columns match the schema")
}
