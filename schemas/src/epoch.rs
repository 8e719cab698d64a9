//! Epochs: the readings of one contiguous range of log positions, with their partials.
//!
//! Owns the columns of hot readings, the partials made from them, and which buckets are *disordered* (may count an
//! identity that an earlier epoch or history counted too). Does not own the decision whether an older reading is new:
//! the shard knows what else exists and says so ([`Arrival`]); a flush looks up what nobody knew ([`Epoch::settled`]).

mod part;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bucket::Resolution;
use crate::lateness::LatenessTable;
use crate::ledger::Tally;
use crate::reading::LogPosition;
use crate::series::{SeriesId, SeriesKey};
use crate::time::{ArrivalTime, EventTime, TimeRange};
use crate::view::HistoryVersion;

pub use part::{Arrival, HotReading, SeriesEpoch};

/// A reading too far in the future: kept, counted nowhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quarantined {
    /// Its series.
    pub series: SeriesId,
    /// Its claimed event time, nanoseconds.
    pub time: i64,
    /// Its value.
    pub value: f64,
    /// Its frame: log position is the epoch's first plus this.
    pub frame: u32,
}

/// What is known of the newest end of a series. All of it follows from the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tail {
    /// The latest event time, its value and when that arrived.
    pub time: i64,
    /// Value at `time`.
    pub value: f64,
    /// Arrival of that value.
    pub arrival: ArrivalTime,
    /// The event time before, and its value.
    pub previous: Option<(i64, f64)>,
    /// The earliest event time ever.
    pub earliest: i64,
    /// Usual nanoseconds between readings, an exponentially forgetting mean; 0 until there are two.
    pub cadence: f64,
}

impl Tail {
    /// Forgetting of the usual gap: about the last ten count.
    const CADENCE_WEIGHT: f64 = 0.1;

    /// The tail of one reading.
    pub fn of(time: i64, value: f64, arrival: ArrivalTime) -> Self {
        Self { time, value, arrival, previous: None, earliest: time, cadence: 0.0 }
    }

    /// Takes one reading more into account, in order of arrival.
    pub fn update(&mut self, time: i64, value: f64, arrival: ArrivalTime) {
        self.earliest = self.earliest.min(time);
        match time.cmp(&self.time) {
            std::cmp::Ordering::Greater => {
                let gap = time.saturating_sub(self.time) as f64;
                let weight = if self.cadence == 0.0 { 1.0 } else { Self::CADENCE_WEIGHT };
                self.cadence += weight * (gap - self.cadence);
                self.previous = Some((self.time, self.value));
                (self.time, self.value, self.arrival) = (time, value, arrival);
            }
            std::cmp::Ordering::Equal => (self.value, self.arrival) = (value, arrival),
            std::cmp::Ordering::Less if self.previous.is_none_or(|(t, _)| t <= time) => {
                self.previous = Some((time, value));
            }
            std::cmp::Ordering::Less => {}
        }
    }

    /// Whether the newest value is above, below or equal to the one before.
    pub fn trend(&self) -> Trend {
        match self.previous {
            Some((_, previous)) if self.value > previous => Trend::Up,
            Some((_, previous)) if self.value < previous => Trend::Down,
            _ => Trend::Stable,
        }
    }
}

/// The direction of the newest step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trend {
    /// The newest value is greater than the one before.
    Up,
    /// The newest value is less than the one before.
    Down,
    /// Equal, or there is nothing to compare with.
    Stable,
}

impl Trend {
    /// Its name outside.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Stable => "stable",
        }
    }
}

/// A series, its id and what is known of its newest end (`None`: only quarantined readings so far).
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesState {
    /// Its number.
    pub id: SeriesId,
    /// Its name.
    pub key: SeriesKey,
    /// Its newest end.
    pub tail: Option<Tail>,
}

/// The readings of the log positions `first..=last` and their partials.
#[derive(Debug, Clone)]
pub struct Epoch {
    /// Position of its first frame.
    pub first: LogPosition,
    /// Position of its last frame.
    pub last: LogPosition,
    /// Arrival time of frame `first + i`; empty once the readings are released.
    pub arrivals: Arc<Vec<ArrivalTime>>,
    /// Each series with readings, sorted by id.
    pub series: Vec<(SeriesId, Arc<SeriesEpoch>)>,
    /// Readings that count nowhere.
    pub quarantine: Vec<Quarantined>,
    /// How many arrivals it holds, quarantined ones apart.
    pub readings: u64,
    /// Least and greatest event time; `None` where nothing was counted.
    pub event_bounds: Option<(i64, i64)>,
    /// Whether the readings are still in memory.
    pub hot: bool,
}

impl Epoch {
    /// The part of a series, if it has readings here.
    pub fn of(&self, series: SeriesId) -> Option<&Arc<SeriesEpoch>> {
        self.series.binary_search_by_key(&series, |(id, _)| *id).ok().map(|i| &self.series[i].1)
    }

    /// Whether some reading lies inside.
    pub fn touches(&self, range: TimeRange) -> bool {
        self.event_bounds.is_some_and(|(min, max)| min < range.end.0 && range.start.0 <= max)
    }

    /// The same epoch without its readings: what remains in memory until batch views count it.
    pub fn released(&self) -> Self {
        Self {
            arrivals: Arc::default(),
            series: self.series.iter().map(|(id, s)| (*id, Arc::new(s.released()))).collect(),
            quarantine: Vec::new(),
            hot: false,
            ..*self
        }
    }

    /// The same epoch after history was asked about all doubtful readings, its readings being in memory. `found`, sorted
    /// by series and event time, are the doubtful readings, each with the last value that was counted before, if any.
    pub fn settled(&self, found: &[(SeriesId, i64, Option<f64>)], base: Resolution) -> Self {
        let mut settled = self.clone();
        for of_one in found.chunk_by(|a, b| a.0 == b.0) {
            if let Ok(at) = settled.series.binary_search_by_key(&of_one[0].0, |(id, _)| *id) {
                let part = Arc::make_mut(&mut settled.series[at].1);
                part.settle(of_one.iter().map(|(_, time, before)| (*time, *before)), base);
            }
        }
        settled
    }

    /// The log position of a hot reading.
    pub fn position(&self, frame: u32) -> LogPosition {
        LogPosition(self.first.0 + u64::from(frame))
    }

    /// When a hot reading arrived.
    pub fn arrival(&self, frame: u32) -> ArrivalTime {
        self.arrivals[frame as usize]
    }
}

/// A sealed epoch together with what a restart needs to know of the series it touched.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The epoch.
    pub epoch: Arc<Epoch>,
    /// The series with readings in it, as they stood when it was sealed.
    pub series: Vec<SeriesState>,
    /// The lateness tables, as they stood when it was sealed.
    pub lateness: Vec<(String, LatenessTable)>,
    /// What its frames held, quarantined readings too, told before anything was made of them (LED-2).
    pub tally: Tally,
}

/// One immutable value: a version of history and all that it has not counted, at one log position.
///
/// SNAP-1: `version`, `epochs` and `position` are taken under one lock; no reading is in neither, none counts twice.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Every reading up to here is in the snapshot, none after.
    pub position: LogPosition,
    /// The batch side.
    pub version: Arc<HistoryVersion>,
    /// Epochs in order of position, restricted to the selected series; some may be counted by some views already.
    pub epochs: Vec<Arc<Epoch>>,
    /// The selected series, sorted by `metric_key`.
    pub series: Vec<SeriesState>,
    /// Lateness tables of the metrics of the selected series.
    pub lateness: Arc<BTreeMap<String, LatenessTable>>,
    /// The greatest event time that was counted, by any series; nanoseconds.
    pub watermark: Option<EventTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settling_drops_what_is_repeated_and_keeps_what_is_new() {
        let base = Resolution::from_nanos(10).expect("positive");
        let mut part = SeriesEpoch::default();
        for (time, value) in [(1, 1.0), (2, 2.0), (12, 4.0), (25, 8.0), (31, 16.0), (32, 32.0)] {
            part.insert(time, value, 0, base, Arrival::Doubtful);
        }
        part.insert(41, 64.0, 1, base, Arrival::Corrected);
        part.insert(1, 9.0, 2, base, Arrival::Doubtful);
        assert_eq!(part.disordered(), [0, 10, 20, 30, 40]);
        let id = SeriesId::new(0, 1);
        let epoch = Epoch {
            first: LogPosition(1),
            last: LogPosition(2),
            arrivals: Arc::default(),
            series: vec![(SeriesId::new(0, 0), Arc::default()), (id, Arc::new(part))],
            quarantine: Vec::new(),
            readings: 8,
            event_bounds: Some((1, 41)),
            hot: true,
        };
        let found = [
            (SeriesId::new(0, 0), 1, Some(9.0)),
            // The last arrival counts, and this is what it was before.
            (id, 1, Some(9.0)),
            (id, 2, None),
            (id, 12, Some(4.0)),
            (id, 31, Some(17.0)),
            (id, 32, None),
            // It was no doubt.
            (id, 41, Some(64.0)),
            (SeriesId::new(0, 2), 2, Some(2.0)),
        ];
        let settled = epoch.settled(&found, base);
        let part = settled.of(id).expect("still there");
        let sums: Vec<_> = part.cells().iter().map(|cell| (cell.bucket, cell.partial.sum.value())).collect();
        assert_eq!(sums, [(0, 2.0), (20, 8.0), (30, 48.0), (40, 64.0)]);
        assert_eq!((part.disordered(), part.doubts().collect::<Vec<_>>()), ([20, 30, 40].as_slice(), vec![25]));
        assert_eq!((part.hot_len(), epoch.of(id).map(|part| part.disordered().len())), (8, Some(5)));
        let rest = settled.settled(&[(id, 25, None)], base).released();
        assert_eq!(rest.of(id).map(|part| part.disordered()), Some([30, 40].as_slice()));
    }

    #[test]
    fn the_tail_follows_the_two_newest() {
        let mut tail = Tail::of(10, 1.0, ArrivalTime(0));
        tail.update(30, 3.0, ArrivalTime(1));
        assert_eq!((tail.trend(), tail.previous), (Trend::Up, Some((10, 1.0))));
        tail.update(20, 9.0, ArrivalTime(2));
        assert_eq!((tail.trend(), tail.previous), (Trend::Down, Some((20, 9.0))));
        tail.update(30, 9.0, ArrivalTime(3));
        assert_eq!((tail.trend(), tail.value), (Trend::Stable, 9.0));
        tail.update(5, 0.0, ArrivalTime(4));
        assert_eq!((tail.previous, tail.earliest), (Some((20, 9.0)), 5));
    }
}
