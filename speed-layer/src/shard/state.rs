//! The whole of the speed layer's state, between the log and those who ask.
//!
//! Durable readings wait, frame by frame, until somebody asks or there are many; then all are folded into the open epoch.
//! Whoever looks at the state folds first: waiting is never seen from outside.
//!
//! - EPO-1: sealed epochs are contiguous ranges of log positions, in order; the open one follows the last.
//! - EPO-2: an epoch's readings leave memory only after history has them; its cells only after views count them (COV-2).

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use schemas::cells::Cell;
use schemas::epoch::{Epoch, HotReading, Quarantined, Sealed, SeriesState, Snapshot, Tail};
use schemas::lateness::LatenessTable;
use schemas::ledger::Tally;
use schemas::view::HistoryVersion;
use schemas::{ArrivalTime, Batch, EventTime, LogPosition, Resolution, SeriesId, SeriesKey};

use super::Shard;
use super::heard::{Heard, Hearing};
use super::series::{Folded, Folding, Incoming, union};
use super::window::{SetAside, Window};
use crate::ledger::Ledger;
use crate::log::Frame;

/// Bytes that a hot reading and a cell take, about: half of a list that grows is empty at worst.
const READING_BYTES: u64 = size_of::<HotReading>() as u64 * 5 / 4;
const CELL_BYTES: u64 = size_of::<Cell>() as u64 * 5 / 4;
/// So many readings are folded at once, however long nobody asks: some milliseconds of work.
const FOLD_READINGS: usize = 65_536;
/// Room for so many readings is kept from fold to fold.
pub(super) const QUEUE_READINGS: usize = 4 * FOLD_READINGS;
/// Fewer readings are folded by one thread.
const PARALLEL_READINGS: usize = 16_384;

/// The settings that the state goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateSettings {
    pub(crate) base: Resolution,
    pub(crate) max_future_skew: Duration,
    /// Zero: no reading is too old.
    pub(crate) max_past_skew: Duration,
    pub(crate) seal_age: Duration,
    pub(crate) seal_bytes: u64,
    pub(crate) hot_retention: Duration,
    pub(crate) hot_bytes: u64,
    pub(crate) shards: usize,
}

/// Where a series is kept.
#[derive(Debug, Clone, Copy)]
struct Route {
    shard: u16,
    /// Its place in the shard.
    slot: u32,
}

/// The route of each series, by metric number, then ordinal.
#[derive(Debug, Default)]
struct Routes(Vec<Vec<Option<Route>>>);

impl Routes {
    fn find(&self, id: SeriesId) -> Option<Route> {
        *self.0.get(id.metric() as usize)?.get(id.ordinal() as usize)?
    }

    fn set(&mut self, id: SeriesId, route: Route) {
        let (metric, ordinal) = (id.metric() as usize, id.ordinal() as usize);
        if self.0.len() <= metric {
            self.0.resize_with(metric + 1, Vec::new);
        }
        if self.0[metric].len() <= ordinal {
            self.0[metric].resize(ordinal + 1, None);
        }
        self.0[metric][ordinal] = Some(route);
    }
}

#[derive(Debug)]
struct OpenEpoch {
    first: LogPosition,
    arrivals: Vec<ArrivalTime>,
    quarantine: Vec<Quarantined>,
    /// Series that frames of this epoch define or quarantine: history must know their names though nothing was counted.
    named: HashSet<SeriesId>,
    readings: u64,
    cells: u64,
    bounds: Option<(i64, i64)>,
    /// Readings of which memory can't tell whether they are new, and about which history was not yet asked.
    doubts: Vec<(SeriesId, i64)>,
    opened_at: Option<ArrivalTime>,
    /// What its frames hold.
    tally: Tally,
}

impl OpenEpoch {
    fn new(first: LogPosition) -> Self {
        Self {
            first,
            arrivals: Vec::new(),
            quarantine: Vec::new(),
            named: HashSet::new(),
            readings: 0,
            cells: 0,
            bounds: None,
            doubts: Vec::new(),
            opened_at: None,
            tally: Tally::NONE,
        }
    }

    /// Sets the readings of frame `number` aside that lie outside of `window`; returns how many.
    fn quarantine(&mut self, number: u32, window: Window, batch: &Batch) -> SetAside {
        let mut aside = SetAside::default();
        if batch.times.iter().all(|time| window.contains(*time)) {
            return aside;
        }
        for (i, time) in batch.times.iter().copied().enumerate().filter(|(_, time)| !window.contains(*time)) {
            let (series, value) = (batch.series[i], batch.values[i]);
            self.quarantine.push(Quarantined { series, time, value, frame: number });
            self.named.insert(series);
            aside.count(window, time);
        }
        aside
    }
}

/// A frame whose readings are durable and not counted yet.
#[derive(Debug)]
struct Waiting {
    /// Counted from the open epoch's first.
    number: u32,
    window: Window,
    batch: Batch,
}

/// All that waits to be counted.
#[derive(Debug, Default)]
struct WaitingFrames {
    frames: Vec<Waiting>,
    readings: usize,
}

impl WaitingFrames {
    /// Puts the readings into the empty queues of their shards, in order of arrival.
    fn queue(&self, routes: &Routes, queues: &mut [Vec<Incoming>]) {
        for Waiting { number, window, batch } in &self.frames {
            for (i, id) in batch.series.iter().enumerate() {
                let (time, value) = (batch.times[i], batch.values[i]);
                if window.contains(time) {
                    let Route { shard, slot } = routes.find(*id).expect("REG-1: frames define their series");
                    queues[usize::from(shard)].push(Incoming { slot, frame: *number, time, value });
                }
            }
        }
    }
}

/// What is known of a sealed epoch apart from its content.
#[derive(Debug)]
struct SealedInfo {
    sealed_at: ArrivalTime,
    /// What it takes in memory, about, while it is hot.
    bytes: u64,
    /// What history needs; until it has it.
    to_flush: Option<Arc<Sealed>>,
}

/// The state.
#[derive(Debug)]
pub(crate) struct SpeedState {
    settings: StateSettings,
    position: LogPosition,
    shards: Vec<Shard>,
    routes: Routes,
    open: OpenEpoch,
    waiting: WaitingFrames,
    /// For each shard what it is to count; empty between folds, their memory is used again.
    queues: Vec<Vec<Incoming>>,
    sealed: VecDeque<Arc<Epoch>>,
    infos: VecDeque<SealedInfo>,
    version: Arc<HistoryVersion>,
    watermark: Option<EventTime>,
    /// All that history held at the start and every frame since (LED-1).
    logged: Tally,
    /// When a frame arrived last.
    last_arrival: Option<ArrivalTime>,
    watched: Vec<SeriesId>,
    hearing: Hearing,
}

impl SpeedState {
    /// The state that history alone tells: all of it at `version.flushed`.
    pub(crate) fn new(
        settings: StateSettings,
        version: Arc<HistoryVersion>,
        series: &[SeriesState],
        epochs: Vec<Epoch>,
    ) -> Self {
        let shards: Vec<Shard> = std::iter::repeat_with(Shard::default).take(settings.shards.max(1)).collect();
        let mut state = Self {
            settings,
            position: version.flushed,
            queues: vec![Vec::new(); shards.len()],
            shards,
            routes: Routes::default(),
            open: OpenEpoch::new(version.flushed.next()),
            waiting: WaitingFrames::default(),
            sealed: VecDeque::new(),
            infos: VecDeque::new(),
            watermark: series.iter().filter_map(|s| s.tail).map(|t| EventTime(t.time)).max(),
            logged: version.totals.flushed,
            last_arrival: series.iter().filter_map(|s| s.tail).map(|t| t.arrival).max(),
            watched: Vec::new(),
            hearing: Hearing::default(),
            version,
        };
        for SeriesState { id, key, tail } in series {
            let Route { shard, slot } = state.route(*id, key);
            state.shards[usize::from(shard)].restore(slot, *tail);
        }
        state.insert(epochs.into_iter().map(Arc::new).collect());
        state
    }

    /// Takes over what was learned of a metric before a restart.
    pub(crate) fn restore_lateness(&mut self, metric: u32, table: LatenessTable) {
        self.shards[0].restore_lateness(metric, table);
    }

    /// Decides which shard owns a series: that of its device, or of the series itself where it names none.
    fn route(&mut self, id: SeriesId, key: &SeriesKey) -> Route {
        if let Some(route) = self.routes.find(id) {
            return route;
        }
        let owner = key.device_id().unwrap_or_else(|| key.text().into());
        let shard = FixedState::default().hash_one(owner) % self.shards.len() as u64;
        let shard = u16::try_from(shard).expect("at most 64 shards");
        let route = Route { shard, slot: self.shards[usize::from(shard)].add(id) };
        self.routes.set(id, route);
        route
    }

    fn tail(&self, id: SeriesId) -> Option<&Tail> {
        let route = self.routes.find(id)?;
        self.shards[usize::from(route.shard)].tail(route.slot)
    }

    /// Takes the frames `first..`, which follow the last position and hold so many readings; returns how many of these
    /// were quarantined. The others wait until somebody asks or there are many: folding many at once touches each series
    /// once.
    pub(crate) fn take(&mut self, first: LogPosition, frames: Vec<Frame>, tally: Tally) -> (SetAside, Folded) {
        assert_eq!(first, self.position.next(), "frames are applied in the order of the log");
        self.position = LogPosition(first.0 + frames.len() as u64 - 1);
        self.logged = self.logged.plus(tally);
        self.open.tally = self.open.tally.plus(tally);
        let quarantined = frames.into_iter().map(|frame| self.take_one(frame)).sum();
        let full = self.waiting.readings >= FOLD_READINGS;
        (quarantined, if full { self.fold() } else { Folded::default() })
    }

    fn take_one(&mut self, frame: Frame) -> SetAside {
        for (id, key) in &frame.batch.definitions {
            self.route(*id, key);
            self.open.named.insert(*id);
        }
        let number = u32::try_from(self.open.arrivals.len()).expect("an epoch is sealed before 2^32 frames");
        self.open.arrivals.push(frame.arrival);
        self.last_arrival = self.last_arrival.max(Some(frame.arrival));
        self.open.opened_at.get_or_insert(frame.arrival);
        let window = Window::around(frame.arrival, self.settings.max_past_skew, self.settings.max_future_skew);
        let quarantined = self.open.quarantine(number, window, &frame.batch);
        self.waiting.readings += frame.batch.len();
        self.waiting.frames.push(Waiting { number, window, batch: frame.batch });
        quarantined
    }

    /// Whether nothing waits to be counted.
    pub(crate) fn is_folded(&self) -> bool {
        self.waiting.frames.is_empty()
    }

    /// Counts all that waits; where there is enough to do, each shard on a thread of its own.
    pub(crate) fn fold(&mut self) -> Folded {
        let waiting = std::mem::take(&mut self.waiting);
        let Self { settings, shards, routes, queues, sealed, open, .. } = self;
        let folding = Folding { base: settings.base, arrivals: &open.arrivals, hot: sealed };
        waiting.queue(routes, queues);
        let work = shards.iter_mut().zip(queues.iter()).filter(|(_, queue)| !queue.is_empty());
        let mut folded = Folded::default();
        if waiting.readings < PARALLEL_READINGS {
            work.for_each(|(shard, queue)| folded.add(shard.fold(queue, folding)));
        } else {
            std::thread::scope(|scope| {
                let threads: Vec<_> =
                    work.map(|(shard, queue)| scope.spawn(move || shard.fold(queue, folding))).collect();
                for thread in threads {
                    folded.add(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                }
            });
        }
        for queue in queues {
            queue.clear();
            queue.shrink_to(QUEUE_READINGS);
        }
        self.open.readings += folded.readings;
        self.open.cells += folded.cells;
        self.open.bounds = union(self.open.bounds, folded.bounds);
        self.open.doubts.extend_from_slice(&folded.doubts);
        self.watermark = self.watermark.max(folded.bounds.map(|(_, max)| EventTime(max)));
        self.hearing.extend(std::mem::take(&mut folded.heard));
        folded
    }

    /// Whether the open epoch is due to be sealed.
    pub(crate) fn seal_due(&self, now: ArrivalTime) -> bool {
        let age = self.open.opened_at.map_or(0, |at| now.0.saturating_sub(at.0));
        age >= nanos(self.settings.seal_age) || self.open_bytes() >= self.settings.seal_bytes
    }

    /// Seals the open epoch, if it holds a frame.
    pub(crate) fn seal(&mut self, now: ArrivalTime, names: &dyn Fn(SeriesId) -> Option<SeriesKey>) {
        assert!(self.is_folded(), "an epoch is sealed whole");
        if self.open.arrivals.is_empty() {
            return;
        }
        let bytes = self.open_bytes();
        let open = std::mem::replace(&mut self.open, OpenEpoch::new(self.position.next()));
        let mut series: Vec<_> = self.shards.iter_mut().flat_map(Shard::seal).collect();
        series.sort_unstable_by_key(|(id, _)| *id);
        let mut touched: Vec<SeriesId> = series.iter().map(|(id, _)| *id).chain(open.named).collect();
        touched.sort_unstable();
        touched.dedup();
        let states = touched
            .into_iter()
            .filter_map(|id| Some(SeriesState { id, key: names(id)?, tail: self.tail(id).copied() }));
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
        let to_flush =
            Some(Arc::new(Sealed { epoch: Arc::clone(&epoch), series: states, lateness, tally: open.tally }));
        self.sealed.push_back(epoch);
        self.infos.push_back(SealedInfo { sealed_at: now, bytes, to_flush });
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

    /// Whether history was not yet asked about some readings of the open epoch.
    pub(crate) fn has_doubts(&self) -> bool {
        !self.open.doubts.is_empty()
    }

    /// These readings, sorted by series and event time, each once, and where the epoch begins. They are taken: what
    /// [`Self::settle`] is not told of, queries will ask, and its flush.
    pub(crate) fn take_doubts(&mut self) -> (LogPosition, Vec<(SeriesId, i64)>) {
        let mut doubts = std::mem::take(&mut self.open.doubts);
        doubts.sort_unstable();
        doubts.dedup();
        (self.open.first, doubts)
    }

    /// Takes over what history says of doubtful readings, if the epoch that begins at `first` is still open. The other
    /// epochs are as they are: what they hold does not depend on it.
    pub(crate) fn settle(&mut self, first: LogPosition, found: &[(SeriesId, i64, Option<f64>)]) {
        if self.open.first != first {
            return;
        }
        for of_one in found.chunk_by(|a, b| a.0 == b.0) {
            if let Some(Route { shard, slot }) = self.routes.find(of_one[0].0) {
                let found = || of_one.iter().map(|(_, time, before)| (*time, *before));
                let shard = &mut self.shards[usize::from(shard)];
                self.hearing.extend(shard.hear_settled(slot, found(), &self.open.arrivals));
                shard.settle(slot, found(), self.settings.base);
            }
        }
    }

    /// When a frame arrived last.
    pub(crate) fn last_arrival(&self) -> Option<ArrivalTime> {
        self.last_arrival
    }

    /// From now on tells what is heard of these series, and of no others.
    pub(crate) fn watch(&mut self, series: Vec<SeriesId>) {
        for (ids, watched) in [(&self.watched, false), (&series, true)] {
            for Route { shard, slot } in ids.iter().filter_map(|id| self.routes.find(*id)) {
                self.shards[usize::from(shard)].watch(slot, watched);
            }
        }
        self.watched = series;
    }

    /// What was heard of watched series since it was asked last, and how many readings more there was no room for.
    pub(crate) fn take_heard(&mut self) -> (Vec<Heard>, u64) {
        self.hearing.take()
    }

    /// The oldest epoch that history does not have.
    pub(crate) fn next_to_flush(&self) -> Option<Arc<Sealed>> {
        self.infos.iter().find_map(|info| info.to_flush.clone())
    }

    /// Takes over a new version of the batch side: one step for those who ask (SNAP-1). `epochs` are told anew: those
    /// that views do not count any more after a revert, and those in memory without their doubts.
    pub(crate) fn adopt(&mut self, version: Arc<HistoryVersion>, epochs: Vec<Arc<Epoch>>) {
        for (epoch, info) in self.sealed.iter().zip(&mut self.infos) {
            if epoch.last <= version.flushed {
                info.to_flush = None;
            }
        }
        if version.flushed == self.version.flushed {
            // No flush: a compaction read files from before the ledger, and their readings came to it.
            let came = version.totals.flushed.minus(self.version.totals.flushed);
            self.logged = self.logged.plus(came);
        }
        self.version = version;
        self.insert(epochs);
        self.drop_covered();
    }

    /// An epoch whose readings left memory takes the place of none that still has them.
    fn insert(&mut self, epochs: Vec<Arc<Epoch>>) {
        for epoch in epochs {
            let at = self.sealed.partition_point(|e| e.first < epoch.first);
            match self.sealed.get_mut(at).filter(|e| e.first == epoch.first) {
                Some(known) if known.hot && epoch.hot => *known = epoch,
                Some(_) => {}
                None => {
                    self.sealed.insert(at, epoch);
                    self.infos.insert(at, SealedInfo { sealed_at: ArrivalTime(i64::MIN), bytes: 0, to_flush: None });
                }
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

    /// Releases readings that history has and that are old enough, or too many; then drops what views count. Oldest first,
    /// up to the first epoch that stays: a clock that was set back makes later ones seem older, but readings are looked
    /// for in history before the first hot epoch, and in memory from there on.
    pub(crate) fn release(&mut self, now: ArrivalTime) {
        let mut bytes = self.hot_bytes();
        for i in 0..self.sealed.len() {
            let (epoch, info) = (&self.sealed[i], &self.infos[i]);
            if !epoch.hot {
                continue;
            }
            let old = now.0.saturating_sub(info.sealed_at.0) >= nanos(self.settings.hot_retention);
            if info.to_flush.is_some() || !(old || bytes > self.settings.hot_bytes) {
                break;
            }
            bytes -= info.bytes;
            let epoch = Arc::clone(epoch);
            for (id, series) in &epoch.series {
                if let Some(Route { shard, slot }) = self.routes.find(*id) {
                    self.shards[usize::from(shard)].release(slot, series.event_bounds());
                }
            }
            self.sealed[i] = Arc::new(epoch.released());
        }
        self.drop_covered();
    }

    /// Bytes that hot readings and their cells take, about.
    pub(crate) fn hot_bytes(&self) -> u64 {
        let hot = self.sealed.iter().zip(&self.infos).filter(|(epoch, _)| epoch.hot);
        self.open_bytes() + hot.map(|(_, info)| info.bytes).sum::<u64>()
    }

    /// Bytes that the open epoch takes, about; of what waits, its readings alone.
    fn open_bytes(&self) -> u64 {
        self.open_readings() * READING_BYTES + self.open.cells * CELL_BYTES
    }

    /// How many readings are in memory.
    pub(crate) fn hot_readings(&self) -> u64 {
        self.open_readings() + self.sealed.iter().filter(|e| e.hot).map(|e| e.readings).sum::<u64>()
    }

    /// Everything about these series at this position.
    pub(crate) fn snapshot(&self, selected: Vec<(SeriesId, SeriesKey)>) -> Snapshot {
        let mut series: Vec<SeriesState> = Vec::with_capacity(selected.len());
        let mut open = Vec::new();
        let mut lateness = BTreeMap::new();
        for (id, key) in selected {
            let Some(route) = self.routes.find(id) else { continue };
            let shard = &self.shards[usize::from(route.shard)];
            let Some(tail) = shard.tail(route.slot) else { continue };
            if let Some(part) = shard.open(route.slot) {
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
            let tail = *self.tail(id)?;
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

    /// Arrivals in the open epoch, counted or waiting.
    pub(crate) fn open_readings(&self) -> u64 {
        self.open.readings + self.waiting.readings as u64
    }

    /// The ledger of this moment.
    pub(crate) fn ledger(&self) -> Ledger {
        let unflushed = self.infos.iter().filter_map(|info| info.to_flush.as_ref()).map(|sealed| sealed.tally);
        Ledger { logged: self.logged, unflushed: unflushed.chain([self.open.tally]).sum(), totals: self.version.totals }
    }

    /// The greatest event time counted.
    pub(crate) fn watermark(&self) -> Option<EventTime> {
        self.watermark
    }
}

pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
