//! Selections: which readings are asked for, and how stretches of a file lie to what is asked.
//!
//! Owns the tests on bounds and on rows. Does not own where bounds and rows come from (`read`).

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use schemas::history::places;
use schemas::view::FileRef;
use schemas::{EventTime, LogPosition, SeriesId, TimeRange};

use crate::error::{Error, Result};

/// Which series are asked for.
#[derive(Debug, Clone)]
pub enum SeriesSet {
    /// All there are.
    All,
    /// These, sorted by id.
    These(Arc<[SeriesId]>),
    /// Those from the first to the last, inclusive.
    Between(SeriesId, SeriesId),
    /// Stretches of event time of some series, sorted; no two of one series overlap.
    Stretches(Arc<[(SeriesId, TimeRange)]>),
}

impl From<Option<Arc<[SeriesId]>>> for SeriesSet {
    fn from(these: Option<Arc<[SeriesId]>>) -> Self {
        these.map_or(Self::All, Self::These)
    }
}

impl SeriesSet {
    /// Whether a series of these bounds may be among them.
    fn reaches(&self, (first, last): (SeriesId, SeriesId)) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => any_within(these, first, last),
            Self::Between(from, to) => *from <= last && first <= *to,
            Self::Stretches(stretches) => {
                stretches.get(stretches.partition_point(|(s, _)| *s < first)).is_some_and(|(s, _)| *s <= last)
            }
        }
    }

    /// Whether every series of these bounds is among them, where one is.
    fn holds(&self, (first, last): (SeriesId, SeriesId)) -> bool {
        match self {
            Self::All => true,
            Self::These(_) => first == last,
            Self::Stretches(_) => false,
            Self::Between(from, to) => *from <= first && last <= *to,
        }
    }

    /// Which rows, sorted by id and event time, are of one of them; `None`: all.
    fn rows(&self, ids: &[u64], times: &[i64]) -> Option<BooleanBuffer> {
        match self {
            Self::All => None,
            Self::These(these) => Some(asked_rows(ids, these)),
            Self::Between(from, to) => {
                Some(BooleanBuffer::collect_bool(ids.len(), |i| from.0 <= ids[i] && ids[i] <= to.0))
            }
            Self::Stretches(stretches) => Some(rows_within(ids, times, stretches)),
        }
    }
}

/// Which readings are asked for.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Of these series.
    pub series: SeriesSet,
    /// Of these event times.
    pub range: TimeRange,
    /// Arrived up to this log position, inclusive; all where `None`.
    pub up_to: Option<LogPosition>,
}

impl Selection {
    /// All readings.
    pub const ALL: Self = Self { series: SeriesSet::All, range: TimeRange::ALL, up_to: None };

    /// Whether a file may hold readings of this selection.
    pub fn touches(&self, file: &FileRef) -> bool {
        let bounds = Extent { series: file.series_bounds, times: file.event_bounds, positions: file.positions };
        self.fit(&bounds) != Fit::None
    }

    /// How rows within these bounds match.
    pub(super) fn fit(&self, bounds: &Extent) -> Fit {
        let (first, last) = (EventTime(bounds.times.0), EventTime(bounds.times.1));
        let cut = self.up_to.unwrap_or(LogPosition(u64::MAX));
        if last < self.range.start
            || self.range.end <= first
            || cut < bounds.positions.0
            || !self.series.reaches(bounds.series)
        {
            return Fit::None;
        }
        let all = self.series.holds(bounds.series)
            && self.range.contains(first)
            && self.range.contains(last)
            && bounds.positions.1 <= cut;
        if all { Fit::All } else { Fit::Some }
    }

    /// The rows of a sorted batch that match; of its columns only `series_id`, `event_time` and `position` are looked at.
    ///
    /// # Errors
    /// A column is missing or of another type.
    pub fn filter(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let (ids, times, positions) = places(&batch)?;
        let cut = self.up_to.map_or(u64::MAX, |p| p.0);
        let (start, end) = (self.range.start.0, self.range.end.0);
        let mut mask = BooleanBuffer::collect_bool(batch.num_rows(), |i| {
            start <= times[i] && times[i] < end && positions[i] <= cut
        });
        if let Some(asked) = self.series.rows(ids, times) {
            mask = &mask & &asked;
        }
        keep(batch, mask)
    }
}

/// Least and greatest of what rows hold.
pub(super) struct Extent {
    pub(super) series: (SeriesId, SeriesId),
    pub(super) times: (i64, i64),
    pub(super) positions: (LogPosition, LogPosition),
}

/// How rows match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    None,
    Some,
    All,
}

/// Whether one of these sorted series lies between the two, inclusive.
pub(crate) fn any_within(asked: &[SeriesId], first: SeriesId, last: SeriesId) -> bool {
    asked.get(asked.partition_point(|s| *s < first)).is_some_and(|s| *s <= last)
}

/// Which rows of a column of sorted ids are of one of these sorted series.
pub(super) fn asked_rows(ids: &[u64], asked: &[SeriesId]) -> BooleanBuffer {
    let (mut known, mut wanted) = (None, false);
    BooleanBuffer::collect_bool(ids.len(), |i| {
        if known != Some(ids[i]) {
            known = Some(ids[i]);
            wanted = asked.binary_search(&SeriesId(ids[i])).is_ok();
        }
        wanted
    })
}

/// Which rows, sorted by id and event time, lie in one of these sorted stretches.
fn rows_within(ids: &[u64], times: &[i64], stretches: &[(SeriesId, TimeRange)]) -> BooleanBuffer {
    let first = ids.first().map_or(0, |id| stretches.partition_point(|(series, _)| series.0 < *id));
    let mut stretches = stretches[first..].iter().peekable();
    BooleanBuffer::collect_bool(ids.len(), |i| {
        let at = (SeriesId(ids[i]), EventTime(times[i]));
        while stretches.next_if(|(series, stretch)| (*series, stretch.end) <= at).is_some() {}
        stretches.peek().is_some_and(|(series, stretch)| *series == at.0 && stretch.start <= at.1)
    })
}

/// The rows of a batch that are set.
pub(super) fn keep(batch: RecordBatch, mask: BooleanBuffer) -> Result<RecordBatch> {
    match mask.count_set_bits() {
        n if n == batch.num_rows() => Ok(batch),
        0 => Ok(batch.slice(0, 0)),
        _ => filter_record_batch(&batch, &BooleanArray::new(mask, None))
            .map_err(|e| Error::unavailable("filter readings", e)),
    }
}
