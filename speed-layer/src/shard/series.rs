//! One shard: the series of some devices, their open partials and what decides whether a reading is new.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use schemas::epoch::{Arrival, Epoch, SeriesEpoch, Tail};
use schemas::lateness::LatenessTable;
use schemas::{ArrivalTime, Resolution, SeriesId};

/// A series as its shard knows it.
#[derive(Debug, Default)]
struct LiveSeries {
    tail: Option<Tail>,
    /// Its readings in the open epoch. A snapshot may share it: the next reading then copies it.
    open: Option<Arc<SeriesEpoch>>,
    /// Least and greatest event time of readings that are no longer in memory.
    released: Option<(i64, i64)>,
}

/// One reading on its way into a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) series: SeriesId,
    pub(crate) time: i64,
    pub(crate) value: f64,
    /// Frame, counted from the open epoch's first.
    pub(crate) frame: u32,
    pub(crate) arrival: ArrivalTime,
}

/// What applying readings added up to.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Applied {
    pub(crate) readings: u64,
    pub(crate) out_of_order: u64,
    pub(crate) doubtful: u64,
    /// Least and greatest event time.
    pub(crate) bounds: Option<(i64, i64)>,
}

impl Applied {
    pub(crate) fn add(&mut self, other: Self) {
        self.readings += other.readings;
        self.out_of_order += other.out_of_order;
        self.doubtful += other.doubtful;
        self.bounds = union(self.bounds, other.bounds);
    }
}

/// The bounds of both.
pub(crate) fn union(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

/// The series of some devices.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    series: HashMap<SeriesId, LiveSeries, RandomState>,
    /// By metric number.
    lateness: Vec<LatenessTable>,
}

impl Shard {
    /// Counts one reading. `hot` are the sealed epochs whose readings are in memory.
    pub(crate) fn apply(&mut self, reading: Incoming, base: Resolution, hot: &VecDeque<Arc<Epoch>>) -> Applied {
        let Incoming { series: id, time, value, frame, arrival } = reading;
        let live = self.series.entry(id).or_default();
        let kind = live.classify(id, time, hot);
        match &mut live.tail {
            Some(tail) => tail.update(time, value, arrival),
            None => live.tail = Some(Tail::of(time, value, arrival)),
        }
        Arc::make_mut(live.open.get_or_insert_default()).insert(time, value, frame, base, kind);
        self.lateness_mut(id.metric()).observe(arrival.0.saturating_sub(time));
        Applied {
            readings: 1,
            out_of_order: u64::from(kind != Arrival::Newest),
            doubtful: u64::from(kind == Arrival::Doubtful),
            bounds: Some((time, time)),
        }
    }

    fn lateness_mut(&mut self, metric: u32) -> &mut LatenessTable {
        let metric = metric as usize;
        if self.lateness.len() <= metric {
            self.lateness.resize_with(metric + 1, LatenessTable::default);
        }
        &mut self.lateness[metric]
    }

    /// What was learned of a metric's lateness here.
    pub(crate) fn lateness(&self, metric: u32) -> Option<&LatenessTable> {
        self.lateness.get(metric as usize).filter(|table| table.observed() > 0.0)
    }

    /// How many metric numbers it has met.
    pub(crate) fn metrics(&self) -> u32 {
        u32::try_from(self.lateness.len()).expect("metric numbers are u32")
    }

    /// Takes over what was learned before a restart.
    pub(crate) fn restore_lateness(&mut self, metric: u32, table: LatenessTable) {
        *self.lateness_mut(metric) = table;
    }

    /// Takes over a series from history.
    pub(crate) fn restore(&mut self, id: SeriesId, tail: Option<Tail>) {
        let released = tail.map(|tail| (tail.earliest, tail.time));
        self.series.insert(id, LiveSeries { tail, open: None, released });
    }

    /// The newest end of a series.
    pub(crate) fn tail(&self, id: SeriesId) -> Option<&Tail> {
        self.series.get(&id)?.tail.as_ref()
    }

    /// The part of a series in the open epoch.
    pub(crate) fn open(&self, id: SeriesId) -> Option<&Arc<SeriesEpoch>> {
        self.series.get(&id)?.open.as_ref()
    }

    /// Takes all open parts out.
    pub(crate) fn seal(&mut self) -> Vec<(SeriesId, Arc<SeriesEpoch>)> {
        self.series.iter_mut().filter_map(|(id, live)| live.open.take().map(|open| (*id, open))).collect()
    }

    /// Readings of these bounds are leaving memory.
    pub(crate) fn release(&mut self, id: SeriesId, bounds: Option<(i64, i64)>) {
        let live = self.series.entry(id).or_default();
        live.released = union(live.released, bounds);
    }
}

impl LiveSeries {
    /// Whether a reading can have been counted before, as far as anyone can tell without reading history.
    fn classify(&self, id: SeriesId, time: i64, hot: &VecDeque<Arc<Epoch>>) -> Arrival {
        let Some(tail) = &self.tail else { return Arrival::Newest };
        if time > tail.time {
            return Arrival::Newest;
        }
        if time < tail.earliest {
            return Arrival::OutOfOrder;
        }
        let gone = self.released.is_some_and(|(min, max)| min <= time && time <= max);
        let counted = |epoch: &Arc<Epoch>| epoch.of(id).is_some_and(|series| series.contains(time));
        if gone || hot.iter().any(counted) { Arrival::Doubtful } else { Arrival::OutOfOrder }
    }
}
