//! Raw readings: the exact answer for cells that partials can't tell.
//!
//! Readings come from the hot epochs of the snapshot and from files of history; each identity counts once.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray, UInt64Array};
use batch_layer::history::{Selection, SeriesSet};
use batch_layer::recompute::resolved;
use schemas::epoch::{Epoch, Snapshot};
use schemas::history::{SCAN, StoredReading};
use schemas::query::ViewKind;
use schemas::view::FileRef;
use schemas::{EventTime, LogPosition, Resolution, SeriesId, TimeRange};

use crate::error::{Error, Result};
use crate::serving::Serving;

/// Most raw readings that one query may resolve.
pub(super) const READINGS_MAX: usize = 20_000_000;

/// Cells to be resolved, all in one segment.
#[derive(Debug)]
pub(super) struct Wanted {
    base: Resolution,
    /// Adjacent buckets of a series as one stretch; sorted by series and time once they are all known.
    stretches: Vec<(SeriesId, TimeRange)>,
}

impl Wanted {
    pub(super) fn new(base: Resolution) -> Self {
        Self { base, stretches: Vec::new() }
    }

    /// Wants a bucket. Those of one series come together and in order.
    pub(super) fn push(&mut self, series: SeriesId, bucket: i64) {
        let bucket = self.base.bucket(EventTime(bucket));
        match self.stretches.last_mut() {
            Some((last, stretch)) if *last == series && stretch.end == bucket.start => stretch.end = bucket.end,
            _ => self.stretches.push((series, bucket)),
        }
    }

    /// Wants what others want, too.
    pub(super) fn extend(&mut self, others: Self) {
        self.stretches.extend(others.stretches);
    }

    pub(super) fn sorted(mut self) -> Self {
        self.stretches.sort();
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// The stretch of event time that holds all cells, inside `range`.
    fn hull(&self, range: TimeRange) -> TimeRange {
        let stretches = || self.stretches.iter().map(|(_, stretch)| stretch);
        let start = stretches().map(|s| s.start).min().unwrap_or(range.start);
        let end = stretches().map(|s| s.end).max().unwrap_or(range.start);
        TimeRange { start, end }.intersect(&range)
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
    let hull = wanted.hull(range);
    let up_to = (view == ViewKind::Batch).then_some(cut);
    let selection = Selection { series: SeriesSet::Stretches(wanted.stretches.as_slice().into()), range: hull, up_to };
    let hot = hot_epochs(snapshot, &selection);
    let files = files(snapshot, hull, view);
    let mut readings = if files.is_empty() {
        dedup(hot.iter().flat_map(|epoch| hot_readings(epoch, wanted, &selection)).collect())
    } else {
        let extra = hot.iter().map(|epoch| to_batch(&hot_readings(epoch, wanted, &selection))).collect();
        let (objects, tasks) = (serving.batch.objects(), serving.batch.task_context());
        resolved(objects, files, extra, selection, tasks, READINGS_MAX).await?
    };
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
fn files(snapshot: &Snapshot, hull: TimeRange, view: ViewKind) -> Vec<Arc<FileRef>> {
    let hot_from = snapshot.epochs.iter().rev().take_while(|e| e.hot).last().map(|e| e.first);
    let mut files = snapshot.version.files_in(hull);
    if view != ViewKind::Batch {
        files.retain(|f| hot_from.is_none_or(|first| f.positions.0 < first));
    }
    files
}

/// The selected arrivals of one epoch in the wanted cells, sorted by series, event time and position.
fn hot_readings(epoch: &Epoch, wanted: &Wanted, selection: &Selection) -> Vec<StoredReading> {
    let parts = wanted.stretches.iter().filter_map(|(id, stretch)| Some((*id, stretch, epoch.of(*id)?)));
    let readings = parts.flat_map(|(series, stretch, part)| {
        part.arrivals(stretch.intersect(&selection.range)).map(move |r| StoredReading {
            series,
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
fn to_batch(readings: &[StoredReading]) -> RecordBatch {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_buckets_are_one_stretch() {
        let mut wanted = Wanted::new(Resolution::from_nanos(10).expect("positive"));
        [(2, 0), (2, 10), (2, 40), (1, 20)].iter().for_each(|(id, bucket)| wanted.push(SeriesId(*id), *bucket));
        let wanted = wanted.sorted();
        let stretch = |id, start, end| (SeriesId(id), TimeRange::new(start, end));
        assert_eq!(wanted.stretches, [stretch(1, 20, 30), stretch(2, 0, 20), stretch(2, 40, 50)]);
        assert_eq!(wanted.hull(TimeRange::new(5, 45)), TimeRange::new(5, 45));
        assert_eq!(wanted.hull(TimeRange::new(-5, 450)), TimeRange::new(0, 50));
    }
}
