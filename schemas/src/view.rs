//! The batch side as one immutable value: which files make up history, which views count which of it.
//!
//! Owns the values and the look-ups in them. Does not own how they are stored (the catalog) or read (history).
//!
//! - COV-1: within a generation's lineage a partition's cut moves back only by a revert, never by a publish.
//! - COV-2: an epoch leaves memory only when every partition it touches has a view whose cut is not before its last position.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::epoch::Epoch;
use crate::ledger::{Tally, Totals};
use crate::reading::LogPosition;
use crate::series::SeriesId;
use crate::time::{EventTime, TimeRange};

/// A stored object: where it is and how to tell whether its bytes are what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// Its path below the history's root.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Checksum of each block of [`BLOCK_BYTES`], in order; the last block may be short.
    pub block_sums: Arc<[u64]>,
}

/// Length of the blocks that are checked on their own.
pub const BLOCK_BYTES: u64 = 256 * 1024;

/// A Parquet file of raw readings, sorted by series, event time and position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    /// The stored file.
    pub object: ObjectRef,
    /// Log positions of its first and last reading, inclusive.
    pub positions: (LogPosition, LogPosition),
    /// Least and greatest event time in it, nanoseconds.
    pub event_bounds: (i64, i64),
    /// Least and greatest series in it.
    pub series_bounds: (SeriesId, SeriesId),
    /// How many readings (arrivals).
    pub rows: u64,
    /// Their sum in the ledger; `None` of a file from before there was one.
    pub sum: Option<u128>,
}

impl FileRef {
    /// Its readings in the ledger, if they are told there.
    pub fn tally(&self) -> Option<Tally> {
        self.sum.map(|sum| Tally { readings: self.rows, sum })
    }

    /// Whether it may hold a reading of this range.
    pub fn touches(&self, range: TimeRange) -> bool {
        self.event_bounds.0 < range.end.0 && range.start.0 <= self.event_bounds.1
    }
}

/// The stored partials of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewRef {
    /// Its number in the catalog.
    pub id: i64,
    /// The stored file of cells; `None` where the partition counts nothing.
    pub object: Option<ObjectRef>,
    /// The log position up to which it counted.
    pub cut: LogPosition,
    /// How many cells.
    pub cells: u64,
    /// How many readings the cells count.
    pub readings: u64,
    /// The generation that published it.
    pub generation: u64,
}

/// A stretch of event time of history and its current view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The event times that belong to it.
    pub span: TimeRange,
    /// The current batch view, if one was ever made.
    pub view: Option<Arc<ViewRef>>,
    /// Files that hold readings of this partition only.
    pub files: Vec<Arc<FileRef>>,
    /// The newest flushed position that touches it.
    pub touched: LogPosition,
}

impl Partition {
    /// The log position up to which its view counted; the start where it has none.
    pub fn cut(&self) -> LogPosition {
        self.view.as_ref().map_or(LogPosition::START, |v| v.cut)
    }

    /// Whether flushed readings after its cut touch it.
    pub fn dirty(&self) -> bool {
        self.touched > self.cut()
    }
}

/// History and its views at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryVersion {
    /// All readings up to here are in files.
    pub flushed: LogPosition,
    /// The current generation; 0 before the first publish.
    pub generation: u64,
    /// Partitions by start, without overlap.
    pub partitions: Vec<Partition>,
    /// Files with stray readings of several partitions.
    pub mixed: Vec<Arc<FileRef>>,
    /// Last positions of the flushed epochs that some touched partition's view has not counted.
    pub uncovered: Arc<BTreeSet<LogPosition>>,
    /// What the ledger says of all of it.
    pub totals: Totals,
}

impl HistoryVersion {
    /// The partition that holds `t`.
    pub fn partition_of(&self, t: EventTime) -> Option<&Partition> {
        let after = self.partitions.partition_point(|p| p.span.start <= t);
        self.partitions[..after].last().filter(|p| p.span.contains(t))
    }

    /// The partitions that share an instant with `range`, in order.
    pub fn partitions_in(&self, range: TimeRange) -> &[Partition] {
        let start = self.partitions.partition_point(|p| p.span.end <= range.start);
        let end = self.partitions.partition_point(|p| p.span.start < range.end);
        &self.partitions[start..end.max(start)]
    }

    /// Up to which position the views count readings of event time `t`.
    pub fn cut_at(&self, t: EventTime) -> LogPosition {
        self.partition_of(t).map_or(LogPosition::START, Partition::cut)
    }

    /// Every file that may hold a reading of `range`.
    pub fn files_in(&self, range: TimeRange) -> Vec<Arc<FileRef>> {
        let own = self.partitions_in(range).iter().flat_map(|p| &p.files);
        own.chain(&self.mixed).filter(|f| f.touches(range)).cloned().collect()
    }

    /// Whether views count all of an epoch (COV-2).
    pub fn covers(&self, epoch: &Epoch) -> bool {
        epoch.last <= self.flushed && !self.uncovered.contains(&epoch.last)
    }
}
