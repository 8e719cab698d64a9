//! A batch of readings in columns, as it goes into the log, and the log position that orders everything.

use serde::{Deserialize, Serialize};

use crate::series::{SeriesId, SeriesKey};

/// The number of a frame in the log, from 1; 0 stands before the first. The total order everything derives from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct LogPosition(pub u64);

impl LogPosition {
    /// Before the first frame.
    pub const START: Self = Self(0);

    /// The position after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for LogPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One accepted batch in columns: row `i` is `(series[i], times[i], values[i])`, all three of one length.
///
/// Values are finite. Times are event times in nanoseconds. Within one batch a later row is a later arrival.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Definitions of series that the log may not hold yet.
    pub definitions: Vec<(SeriesId, SeriesKey)>,
    /// The series of each row.
    pub series: Vec<SeriesId>,
    /// The event time of each row, in nanoseconds.
    pub times: Vec<i64>,
    /// The value of each row.
    pub values: Vec<f64>,
}

impl Batch {
    /// How many readings it holds.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}
