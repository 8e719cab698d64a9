//! The whole of the speed layer's state, between the log and those who ask.
//!
//! - EPO-1: sealed epochs are contiguous ranges of log positions, in order; the open one follows the last.
//! - EPO-2: an epoch's readings leave memory only after history has them; its cells only after views count them (COV-2).

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use schemas::epoch::{Epoch, Quarantined, Sealed, SeriesState, Snapshot, Tail};
use schemas::lateness::LatenessTable;
use schemas::view::HistoryVersion;
use schemas::{ArrivalTime, EventTime, LogPosition, Resolution, SeriesId, SeriesKey};

use super::Shard;
use super::series::{Applied, Incoming, union};
use crate::log::Frame;

/// Bytes that one hot reading takes, about.
const READING_BYTES: u64 = 40;
/// Groups with fewer readings are applied by one thread.
const PARALLEL_READINGS: usize = 16_384;

/// The settings that the state goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateSettings {
    pub(crate) base: Resolution,
    pub(crate) max_future_skew: Duration,
    pub(crate) seal_age: Duration,
    pub(crate) seal_bytes: u64,
    pub(crate) hot_retention: Duration,
    pub(crate) hot_bytes: u64,
    pub(crate) shards: usize,
}

#[derive(Debug)]
struct OpenEpoch {
    first: LogPosition,
    arrivals: Vec<ArrivalTime>,
    quarantine: Vec<Quarantined>,
    /// Series that frames of this epoch define or quarantine: history must know their names though nothing was counted.
    named: HashSet<SeriesId>,
    readings: u64,
    bounds: Option<(i64, i64)>,
    opened_at: Option<ArrivalTime>,
}

impl OpenEpoch {
    fn new(first: LogPosition) -> Self {
        Self {
            first,
            arrivals: Vec::new(),
            quarantine: Vec::new(),
            named: HashSet::new(),
            readings: 0,
            bounds: None,
            opened_at: None,
        }
    }
}

/// What is known of a sealed epoch apart from its content.
#[derive(Debug)]
struct SealedInfo {
    sealed_at: ArrivalTime,
    /// What history needs; until it has it.
    to_flush: Option<Arc<Sealed>>,
}

/// The state.
#[derive(Debug)]
pub(crate) struct SpeedState {
    settings: StateSettings,
    position: LogPosition,
    shards: Vec<Shard>,
    /// Shard of each series, by metric number, then ordinal.
    routes: Vec<Vec<u16>>,
    open: OpenEpoch,
    sealed: VecDeque<Arc<Epoch>>,
    infos: VecDeque<SealedInfo>,
    version: Arc<HistoryVersion>,
    watermark: Option<EventTime>,
}

/// What applying a group added up to.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct GroupApplied {
    pub(crate) applied: Applied,
    pub(crate) quarantined: u64,
}

impl SpeedState {
    /// The state that history alone tells: all of it at `version.flushed`.
    pub(crate) fn new(
        settings: StateSettings,
        version: Arc<HistoryVersion>,
        series: &[SeriesState],
        epochs: Vec<Epoch>,
    ) -> Self {
        let shards = std::iter::repeat_with(Shard::default).take(settings.shards.max(1)).collect();
        let mut state = Self {
            settings,
            position: version.flushed,
            shards,
            routes: Vec::new(),
            open: OpenEpoch::new(version.flushed.next()),
            sealed: VecDeque::new(),
            infos: VecDeque::new(),
            watermark: series.iter().filter_map(|s| s.tail).map(|t| EventTime(t.time)).max(),
            version,
        };
        for SeriesState { id, key, tail } in series {
            state.route(*id, key);
            state.shard_mut(*id).restore(*id, *tail);
        }
        state.insert_restored(epochs);
        state
    }

    /// Takes over what was learned of a metric before a restart.
    pub(crate) fn restore_lateness(&mut self, metric: u32, table: LatenessTable) {
        self.shards[0].restore_lateness(metric, table);
    }

    /// Decides which shard owns a series: that of its device, or of the series itself where it names none.
    pub(crate) fn route(&mut self, id: SeriesId, key: &SeriesKey) {
        let owner = key.device_id().unwrap_or_else(|| key.text().to_owned());
        let shard = FixedState::default().hash_one(owner) % self.shards.len() as u64;
        let (metric, ordinal) = (id.metric() as usize, id.ordinal() as usize);
        if self.routes.len() <= metric {
            self.routes.resize_with(metric + 1, Vec::new);
        }
        if self.routes[metric].len() <= ordinal {
            self.routes[metric].resize(ordinal + 1, 0);
        }
        self.routes[metric][ordinal] = u16::try_from(shard).expect("at most 64 shards");
    }

    fn shard_of(&self, id: SeriesId) -> usize {
        let route = self.routes.get(id.metric() as usize).and_then(|m| m.get(id.ordinal() as usize));
        route.copied().map_or(0, usize::from)
    }

    fn shard(&self, id: SeriesId) -> &Shard {
        &self.shards[self.shard_of(id)]
    }

    fn shard_mut(&mut self, id: SeriesId) -> &mut Shard {
        let shard = self.shard_of(id);
        &mut self.shards[shard]
    }

    /// Counts the frames `first..`, which follow the last position.
    pub(crate) fn apply(&mut self, first: LogPosition, frames: &[Frame]) -> GroupApplied {
        assert_eq!(first, self.position.next(), "frames are applied in the order of the log");
        for (id, key) in frames.iter().flat_map(|f| &f.batch.definitions) {
            self.route(*id, key);
            self.open.named.insert(*id);
        }
        let mut result = GroupApplied::default();
        let mut queues: Vec<Vec<Incoming>> = vec![Vec::new(); self.shards.len()];
        for frame in frames {
            let number = u32::try_from(self.open.arrivals.len()).expect("an epoch is sealed before 2^32 frames");
            self.open.arrivals.push(frame.arrival);
            self.open.opened_at.get_or_insert(frame.arrival);
            let limit = frame.arrival.0.saturating_add(nanos(self.settings.max_future_skew));
            for (i, series) in frame.batch.series.iter().copied().enumerate() {
                let (time, value) = (frame.batch.times[i], frame.batch.values[i]);
                if time > limit {
                    self.open.quarantine.push(Quarantined { series, time, value, frame: number });
                    self.open.named.insert(series);
                    result.quarantined += 1;
                } else {
                    let incoming = Incoming { series, time, value, frame: number, arrival: frame.arrival };
                    queues[self.shard_of(series)].push(incoming);
                }
            }
        }
        result.applied = self.apply_queues(&queues);
        self.open.readings += result.applied.readings;
        self.open.bounds = union(self.open.bounds, result.applied.bounds);
        self.watermark = self.watermark.max(result.applied.bounds.map(|(_, max)| EventTime(max)));
        self.position = LogPosition(first.0 + frames.len() as u64 - 1);
        result
    }

    /// Each shard takes its queue; on threads of their own when there is enough to do.
    fn apply_queues(&mut self, queues: &[Vec<Incoming>]) -> Applied {
        let (base, hot) = (self.settings.base, &self.sealed);
        let run = |shard: &mut Shard, queue: &[Incoming]| {
            let mut applied = Applied::default();
            queue.iter().for_each(|reading| applied.add(shard.apply(*reading, base, hot)));
            applied
        };
        let work = self.shards.iter_mut().zip(queues);
        let mut total = Applied::default();
        if queues.iter().map(Vec::len).sum::<usize>() < PARALLEL_READINGS {
            work.for_each(|(shard, queue)| total.add(run(shard, queue)));
            return total;
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = work
                .filter(|(_, q)| !q.is_empty())
                .map(|(shard, queue)| scope.spawn(move || run(shard, queue)))
                .collect();
            for thread in threads {
                total.add(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
        total
    }

    /// Whether the open epoch is due to be sealed.
    pub(crate) fn seal_due(&self, now: ArrivalTime) -> bool {
        let age = self.open.opened_at.map_or(0, |at| now.0.saturating_sub(at.0));
        age >= nanos(self.settings.seal_age) || self.open.readings * READING_BYTES >= self.settings.seal_bytes
    }

    /// Seals the open epoch, if it holds a frame.
    pub(crate) fn seal(&mut self, now: ArrivalTime, names: &dyn Fn(SeriesId) -> Option<SeriesKey>) {
        if self.open.arrivals.is_empty() {
            return;
        }
        let open = std::mem::replace(&mut self.open, OpenEpoch::new(self.position.next()));
        let mut series: Vec<_> = self.shards.iter_mut().flat_map(Shard::seal).collect();
        series.sort_unstable_by_key(|(id, _)| *id);
        let mut touched: Vec<SeriesId> = series.iter().map(|(id, _)| *id).chain(open.named).collect();
        touched.sort_unstable();
        touched.dedup();
        let states = touched
            .into_iter()
            .filter_map(|id| Some(SeriesState { id, key: names(id)?, tail: self.shard(id).tail(id).copied() }));
        let states = states.collect();
        let epoch = Arc::new(Epoch {
            first: open.first,
            last: self.position,
            arrivals: Arc::new(open.arrivals),
            series,
            quarantine: open.quarantine,
            readings: open.readings,
            event_bounds: open.bounds,
            hot: true,
        });
        let lateness = self.all_lateness(names);
        let to_flush = Some(Arc::new(Sealed { epoch: Arc::clone(&epoch), series: states, lateness }));
        self.sealed.push_back(epoch);
        self.infos.push_back(SealedInfo { sealed_at: now, to_flush });
    }

    fn all_lateness(&self, names: &dyn Fn(SeriesId) -> Option<SeriesKey>) -> Vec<(String, LatenessTable)> {
        let metrics = self.shards.iter().map(Shard::metrics).max().unwrap_or(0);
        let named = (0..metrics).filter_map(|metric| Some((metric, names(SeriesId::new(metric, 0))?)));
        named.filter_map(|(metric, key)| Some((key.metric().to_owned(), self.lateness(metric)?))).collect()
    }

    /// What all shards learned of a metric's lateness.
    fn lateness(&self, metric: u32) -> Option<LatenessTable> {
        let mut tables = self.shards.iter().filter_map(|shard| shard.lateness(metric));
        let mut sum = tables.next()?.weights().to_vec();
        for table in tables {
            sum.iter_mut().zip(table.weights()).for_each(|(a, b)| *a += b);
        }
        Some(LatenessTable::from_weights(&sum))
    }

    /// The oldest epoch that history does not have.
    pub(crate) fn next_to_flush(&self) -> Option<Arc<Sealed>> {
        self.infos.iter().find_map(|info| info.to_flush.clone())
    }

    /// Takes over a new version of the batch side: one step for those who ask (SNAP-1). `restored` are epochs that
    /// views do not count any more after a revert.
    pub(crate) fn adopt(&mut self, version: Arc<HistoryVersion>, restored: Vec<Epoch>) {
        for (epoch, info) in self.sealed.iter().zip(&mut self.infos) {
            if epoch.last <= version.flushed {
                info.to_flush = None;
            }
        }
        self.version = version;
        self.insert_restored(restored);
        self.drop_covered();
    }

    fn insert_restored(&mut self, epochs: Vec<Epoch>) {
        for epoch in epochs {
            let at = self.sealed.partition_point(|e| e.first < epoch.first);
            if self.sealed.get(at).is_none_or(|e| e.first != epoch.first) {
                self.sealed.insert(at, Arc::new(epoch));
                self.infos.insert(at, SealedInfo { sealed_at: ArrivalTime(i64::MIN), to_flush: None });
            }
        }
    }

    /// Epochs whose readings are no longer hot and whose cells views count.
    fn drop_covered(&mut self) {
        let mut i = 0;
        while i < self.sealed.len() {
            if !self.sealed[i].hot && self.version.covers(&self.sealed[i]) {
                self.sealed.remove(i);
                self.infos.remove(i);
            } else {
                i += 1;
            }
        }
    }

    /// Releases readings that history has and that are old enough, or too many; then drops what views count.
    pub(crate) fn release(&mut self, now: ArrivalTime) {
        let mut bytes = self.hot_bytes();
        for i in 0..self.sealed.len() {
            let (epoch, info) = (&self.sealed[i], &self.infos[i]);
            let old = now.0.saturating_sub(info.sealed_at.0) >= nanos(self.settings.hot_retention);
            if epoch.hot && info.to_flush.is_none() && (old || bytes > self.settings.hot_bytes) {
                bytes -= epoch.readings * READING_BYTES;
                let epoch = Arc::clone(epoch);
                for (id, series) in &epoch.series {
                    self.shard_mut(*id).release(*id, series.event_bounds());
                }
                self.sealed[i] = Arc::new(epoch.released());
            }
        }
        self.drop_covered();
    }

    /// Bytes that hot readings take, about.
    pub(crate) fn hot_bytes(&self) -> u64 {
        self.hot_readings() * READING_BYTES
    }

    /// How many readings are in memory.
    pub(crate) fn hot_readings(&self) -> u64 {
        self.open.readings + self.sealed.iter().filter(|e| e.hot).map(|e| e.readings).sum::<u64>()
    }

    /// Everything about these series at this position.
    pub(crate) fn snapshot(&self, selected: Vec<(SeriesId, SeriesKey)>) -> Snapshot {
        let mut series: Vec<SeriesState> = Vec::with_capacity(selected.len());
        let mut open = Vec::new();
        let mut lateness = BTreeMap::new();
        for (id, key) in selected {
            let shard = self.shard(id);
            let Some(tail) = shard.tail(id) else { continue };
            if let Some(part) = shard.open(id) {
                open.push((id, Arc::clone(part)));
            }
            if !lateness.contains_key(key.metric())
                && let Some(table) = self.lateness(id.metric())
            {
                lateness.insert(key.metric().to_owned(), table);
            }
            series.push(SeriesState { id, key, tail: Some(*tail) });
        }
        open.sort_unstable_by_key(|(id, _)| *id);
        series.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut epochs: Vec<Arc<Epoch>> = self.sealed.iter().cloned().collect();
        epochs.push(Arc::new(self.open_epoch(open)));
        Snapshot {
            position: self.position,
            version: Arc::clone(&self.version),
            epochs,
            series,
            lateness: Arc::new(lateness),
            watermark: self.watermark,
        }
    }

    fn open_epoch(&self, series: Vec<(SeriesId, Arc<schemas::epoch::SeriesEpoch>)>) -> Epoch {
        let bounds = series.iter().fold(None, |all, (_, s)| union(all, s.event_bounds()));
        Epoch {
            first: self.open.first,
            last: self.position,
            arrivals: Arc::new(self.open.arrivals.clone()),
            readings: series.iter().map(|(_, s)| s.hot_len() as u64).sum(),
            series,
            quarantine: self.open.quarantine.clone(),
            event_bounds: bounds,
            hot: true,
        }
    }

    /// The newest end of these series; those without readings are left out.
    pub(crate) fn tails(&self, selected: Vec<(SeriesId, SeriesKey)>) -> Vec<SeriesState> {
        let state = |(id, key): (SeriesId, SeriesKey)| -> Option<SeriesState> {
            let tail: Tail = *self.shard(id).tail(id)?;
            Some(SeriesState { id, key, tail: Some(tail) })
        };
        let mut states: Vec<SeriesState> = selected.into_iter().filter_map(state).collect();
        states.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        states
    }

    /// Every reading up to here is counted.
    pub(crate) fn position(&self) -> LogPosition {
        self.position
    }

    /// The batch side as last adopted.
    pub(crate) fn version(&self) -> &Arc<HistoryVersion> {
        &self.version
    }

    /// Sealed epochs in memory, in order.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = &Arc<Epoch>> {
        self.sealed.iter()
    }

    /// Arrivals in the open epoch.
    pub(crate) fn open_readings(&self) -> u64 {
        self.open.readings
    }

    /// The greatest event time counted.
    pub(crate) fn watermark(&self) -> Option<EventTime> {
        self.watermark
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
