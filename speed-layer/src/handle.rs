//! The door to the speed layer: open, append, snapshot, adopt, flush, close.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use schemas::epoch::{Epoch, SeriesState, Snapshot};
use schemas::gap::{Gap, GapHook};
use schemas::lateness::LatenessTable;
use schemas::ledger::Tally;
use schemas::selector::Selector;
use schemas::time::{HOUR, MILLISECOND};
use schemas::view::HistoryVersion;
use schemas::{ArrivalTime, Batch, Clock, LogPosition, SeriesId, SeriesKey};
use tokio::sync::{Mutex, Semaphore, oneshot};

use crate::decode::{Decoded, Format, Options, decode_known};
use crate::error::{Error, Result};
use crate::flush::HistorySink;
use crate::ledger::Ledger;
use crate::log::{Append, Frame, LogHandle, LogSettings, Replayed, Sink, replay, spawn};
use crate::metrics::{Metrics, Reason};
use crate::registry::Registry;
use crate::room::Room;
use crate::settings::Settings;
use crate::shard::{Folded, Heard, SpeedState, StateSettings};
use crate::spellings::{SeriesRef, Spelled, Spellings};

/// Bytes of readings that may wait for the log at once.
const WAITING_BYTES: usize = 256 << 20;
/// Ingest waits where so many times the readings that are to stay in memory are there: history can't keep up.
const BACKLOG: u64 = 8;
/// So many late readings are settled while the state is locked: some milliseconds of work.
const SETTLED_AT_ONCE: usize = 16_384;
/// Most readings of one frame; a larger batch becomes several frames.
const FRAME_READINGS: usize = 1 << 19;

/// The working parts that the layer is given.
#[derive(Debug, Clone)]
pub struct Components {
    /// Tells arrival times.
    pub clock: Arc<dyn Clock>,
    /// Where counters go.
    pub metrics: Metrics,
    /// Is told of gaps in the commit order.
    pub gaps: Arc<dyn GapHook>,
    /// The disks that data lies on.
    pub room: Arc<Room>,
}

/// What history knows at the start.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The batch side.
    pub version: Arc<HistoryVersion>,
    /// Every series in history.
    pub series: Vec<SeriesState>,
    /// Flushed epochs that views do not count, without readings.
    pub epochs: Vec<Epoch>,
    /// What was learned of lateness, by metric name.
    pub lateness: Vec<(String, LatenessTable)>,
}

/// Rows on their way in: row `i` is the value of `series[i]` at `times[i]`.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Distinct series.
    pub keys: Vec<SeriesKey>,
    /// Spellings of these keys, remembered once the keys are durable.
    pub spelled: Vec<Spelled>,
    /// Per row a series: known, or one of `keys`.
    pub series: Vec<SeriesRef>,
    /// Per row the event time, nanoseconds.
    pub times: Vec<i64>,
    /// Per row the value, finite.
    pub values: Vec<f64>,
}

/// What was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// How many readings.
    pub readings: u64,
    /// Log position of the last of them; the current position where there were none.
    pub position: LogPosition,
}

/// How the layer stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// Every reading up to here is counted.
    pub position: LogPosition,
    /// Readings in memory.
    pub hot_readings: u64,
    /// Readings in the open epoch.
    pub open_readings: u64,
    /// Series known.
    pub series: usize,
    /// First and last position, arrivals, and whether readings are hot, of each sealed epoch in memory.
    pub epochs: Vec<(LogPosition, LogPosition, u64, bool)>,
    /// The batch side as last adopted.
    pub version: Arc<HistoryVersion>,
    /// The greatest event time counted.
    pub watermark: Option<schemas::EventTime>,
}

/// What is said where a panic, which is a bug, happened amid a change.
const HALF_CHANGED: &str = "no panic has left the readings in memory half changed; a restart reads them from the log";

#[derive(Debug)]
struct Shared {
    // One lock guards the whole state: a snapshot must see epochs, version and position of one moment (SNAP-1).
    state: RwLock<SpeedState>,
    registry: Registry,
    spellings: Spellings,
    metrics: Metrics,
}

impl Shared {
    /// # Panics
    /// A panic has left the state half changed: nothing is answered from it.
    fn read(&self) -> RwLockReadGuard<'_, SpeedState> {
        self.state.read().expect(HALF_CHANGED)
    }

    /// # Panics
    /// As [`Self::read`].
    fn write(&self) -> RwLockWriteGuard<'_, SpeedState> {
        self.state.write().expect(HALF_CHANGED)
    }

    /// The state with every durable reading counted.
    fn folded(&self) -> RwLockReadGuard<'_, SpeedState> {
        let state = self.read();
        if state.is_folded() {
            return state;
        }
        drop(state);
        RwLockWriteGuard::downgrade(self.fold())
    }

    /// The same for those who will change the state.
    fn fold(&self) -> RwLockWriteGuard<'_, SpeedState> {
        let mut state = self.write();
        self.tell(&state.fold());
        state
    }

    fn take(&self, first: LogPosition, frames: Vec<Frame>) {
        // Before anything is made of them, and before others have to wait.
        let tally = frames.iter().map(|frame| Tally::of_batch(&frame.batch, frame.arrival)).sum();
        let (quarantined, folded) = self.write().take(first, frames, tally);
        self.metrics.readings.inc_by(quarantined.total());
        for (reason, readings) in [("future", quarantined.future), ("past", quarantined.past)] {
            self.metrics.quarantined.get_or_create(&Reason { reason }).inc_by(readings);
        }
        self.tell(&folded);
    }

    fn tell(&self, folded: &Folded) {
        self.metrics.readings.inc_by(folded.readings);
        self.metrics.out_of_order.inc_by(folded.out_of_order);
        self.metrics.repeated.inc_by(folded.repeated);
        self.metrics.corrected.inc_by(folded.corrected);
        self.metrics.doubtful.inc_by(folded.doubts.len() as u64);
    }
}

struct Applier(Arc<Shared>);

impl Sink for Applier {
    fn apply(&mut self, first: LogPosition, frames: Vec<Frame>) {
        frames.iter().for_each(|frame| self.0.registry.mark_durable(&frame.batch.definitions));
        self.0.take(first, frames);
    }
}

/// A handle to the speed layer; cheap to clone.
#[derive(Debug, Clone)]
pub struct SpeedLayer {
    shared: Arc<Shared>,
    log: Arc<RwLock<Option<LogHandle>>>,
    thread: Arc<std::sync::Mutex<Option<JoinHandle<()>>>>,
    waiting: Arc<Semaphore>,
    flushing: Arc<Mutex<()>>,
    components: Components,
    settings: Settings,
}

impl SpeedLayer {
    /// Opens the layer: takes over what history knows, then replays the log in `dir`.
    ///
    /// # Errors
    /// A log file can't be read or written, or is corrupt.
    pub fn open(dir: PathBuf, settings: Settings, components: Components, recovered: Recovered) -> Result<Self> {
        create_private_dir(&dir)?;
        let registry = Registry::new(settings.max_series, settings.new_series_per_second);
        recovered.series.iter().for_each(|s| registry.restore(s.id, s.key.clone()));
        let mut state =
            SpeedState::new(state_settings(&settings), recovered.version, &recovered.series, recovered.epochs);
        restore_lateness(&mut state, &recovered.series, recovered.lateness);
        let metrics = components.metrics.clone();
        let shared = Arc::new(Shared { state: RwLock::new(state), registry, spellings: Spellings::default(), metrics });
        let replayed = replay_into(&shared, &dir)?;
        let log_settings =
            LogSettings { dir, segment_bytes: settings.segment_bytes.max(1 << 16), durability: settings.durability };
        let (log, thread) = spawn(log_settings, replayed, Applier(Arc::clone(&shared)), components.clone())?;
        Ok(Self {
            shared,
            log: Arc::new(RwLock::new(Some(log))),
            thread: Arc::new(std::sync::Mutex::new(Some(thread))),
            waiting: Arc::new(Semaphore::new(WAITING_BYTES)),
            flushing: Arc::default(),
            components,
            settings,
        })
    }

    /// Decodes a body, looking up series by their spelling first.
    ///
    /// # Errors
    /// As [`crate::decode::decode`].
    pub fn decode(&self, format: Format, body: &[u8], options: &Options) -> Result<Decoded, schemas::Error> {
        decode_known(format, body, options, &self.shared.spellings)
    }

    /// Makes readings durable and visible. Quarantined ones are durable, too.
    ///
    /// # Errors
    /// Overload, too many series, a full disk, a failed log. Rows of a batch with more than 2^19 may then be kept in part.
    pub async fn append(&self, rows: Rows) -> Result<Appended> {
        let readings = rows.series.len() as u64;
        if rows.series.is_empty() {
            return Ok(Appended { readings: 0, position: self.shared.read().position() });
        }
        self.components.room.check()?;
        self.check_memory()?;
        let bytes = u32::try_from((rows.series.len() * 24).min(WAITING_BYTES)).expect("bounded");
        let overloaded = Error::Overloaded { reason: "too many readings wait for the log", retry_after_s: 1 };
        let _permit = self.waiting.try_acquire_many(bytes).map_err(|_| overloaded)?;
        let now = self.components.clock.now();
        let (ids, definitions) = self.shared.registry.resolve(&rows.keys, now)?;
        // Whole milliseconds, as history keeps them: live and flushed readings tell the same.
        let arrival = ArrivalTime(now.0 - now.0.rem_euclid(MILLISECOND));
        let mut answers = Vec::new();
        let spelled = rows.spelled;
        let batches = split((rows.series, rows.times, rows.values), &ids, definitions);
        for (i, batch) in batches.into_iter().enumerate() {
            let (answer, wait) = oneshot::channel();
            self.log()?.append(Append { frame: Frame { arrival, batch }, answer }).map_err(|e| match e {
                // Frames that are queued already will count; saying "nothing was kept" would be a lie.
                Error::Overloaded { .. } if i > 0 => Error::Log("the queue filled up within one batch".to_owned()),
                other => other,
            })?;
            answers.push(wait);
        }
        let mut position = LogPosition::START;
        for wait in answers {
            position = wait.await.map_err(|_| Error::Closed)??;
        }
        self.shared.spellings.learn(spelled, &ids);
        Ok(Appended { readings, position })
    }

    /// Ingest waits while history can't keep up and memory is full.
    fn check_memory(&self) -> Result<()> {
        if self.shared.read().hot_bytes() > BACKLOG * self.settings.hot_bytes {
            return Err(Error::Overloaded { reason: "readings in memory wait for history", retry_after_s: 5 });
        }
        Ok(())
    }

    fn log(&self) -> Result<LogHandle> {
        self.log.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
    }

    /// All about the selected series, as one immutable value.
    pub fn snapshot(&self, selector: &Selector) -> Snapshot {
        // The lock first: a series that is defined after the selection must not count at the snapshot's position.
        let state = self.shared.folded();
        state.snapshot(self.shared.registry.select(selector))
    }

    /// All about these series, as one immutable value.
    pub fn snapshot_of(&self, series: &[SeriesId]) -> Snapshot {
        let known = series.iter().filter_map(|id| Some((*id, self.shared.registry.key(*id)?)));
        let known = known.collect();
        self.shared.folded().snapshot(known)
    }

    /// The newest end of some series of some metrics, at most `series` of each of at most `metrics`; of others with another
    /// `seed`. Of what has many, those heard within the last hour of arrivals come first.
    pub fn sample(&self, metrics: usize, series: usize, seed: u64) -> Vec<SeriesState> {
        /// So many are looked at for each that is taken.
        const LOOKED_AT: usize = 4;
        let candidates = self.shared.registry.sample(metrics, series * LOOKED_AT, seed);
        let mut found = self.shared.folded().tails(candidates);
        let newest = found.iter().filter_map(|state| state.tail).map(|tail| tail.arrival.0).max().unwrap_or(0);
        let silent = |state: &SeriesState| state.tail.is_none_or(|tail| newest.saturating_sub(tail.arrival.0) > HOUR);
        found.sort_by_key(|state| (state.id.metric(), silent(state)));
        let of_one = found.chunk_by(|a, b| a.id.metric() == b.id.metric());
        of_one.flat_map(|states| states.iter().take(series).cloned()).collect()
    }

    /// When readings arrived last, by all that is known.
    pub fn last_arrival(&self) -> Option<ArrivalTime> {
        self.shared.read().last_arrival()
    }

    /// From now on keeps what is heard of these series, and of no others, for [`Self::heard`].
    pub fn watch(&self, series: Vec<SeriesId>) {
        self.shared.write().watch(series);
    }

    /// The readings of watched series since this was asked last, in order of arrival, and how many more there were: only
    /// so many are kept. Those that repeat one are not among them.
    pub fn heard(&self) -> (Vec<Heard>, u64) {
        let (mut heard, lost) = self.shared.fold().take_heard();
        // Not while others wait for the state.
        heard.sort_by_key(|heard| heard.arrival);
        (heard, lost)
    }

    /// The newest end of the selected series, sorted by `metric_key`.
    pub fn realtime(&self, selector: &Selector) -> Vec<SeriesState> {
        let state = self.shared.folded();
        state.tails(self.shared.registry.select(selector))
    }

    /// Takes over a new version of the batch side; `epochs` are told anew: those whose coverage a revert took
    /// back, and those that became history, without their doubts.
    pub fn adopt(&self, version: Arc<HistoryVersion>, epochs: Vec<Arc<Epoch>>) {
        self.shared.write().adopt(version, epochs);
    }

    /// Seals the open epoch, whatever its age.
    pub fn seal(&self) {
        let names = |id: SeriesId| self.shared.registry.key(id);
        self.shared.fold().seal(self.components.clock.now(), &names);
    }

    /// Seals the open epoch if it is due, and releases readings that history has.
    pub fn tick(&self) {
        let now = self.components.clock.now();
        if self.shared.read().seal_due(now) {
            self.seal();
        }
        self.release();
        self.tell_ledger();
        let state = self.shared.folded();
        self.shared.metrics.hot_readings.set(i64::try_from(state.hot_readings()).unwrap_or(i64::MAX));
        self.shared.metrics.epochs.set(i64::try_from(state.sealed().count()).unwrap_or(i64::MAX));
        self.shared.metrics.series.set(i64::try_from(self.shared.registry.len()).unwrap_or(i64::MAX));
    }

    /// Looks how much room there is on the disks; ingest stops where too little is left. It may block.
    pub fn look_at_disks(&self) {
        self.components.room.look();
        self.shared.metrics.disk_free.set(self.components.room.free());
    }

    /// The disks that data lies on.
    pub fn room(&self) -> &Room {
        &self.components.room
    }

    fn tell_ledger(&self) {
        let ledger = self.ledger();
        for equation in self.shared.metrics.tell_ledger(&ledger) {
            tracing::error!(equation, ?ledger, "the ledger does not add up");
        }
    }

    /// Releases readings that history has and that are old enough.
    pub fn release(&self) {
        self.shared.write().release(self.components.clock.now());
    }

    /// Hands all sealed epochs to history, oldest first; returns how many.
    ///
    /// # Errors
    /// History refused one; it and those after it stay.
    pub async fn flush(&self, sink: &dyn HistorySink) -> Result<usize> {
        // Epochs reach history in order, so only one flush runs at a time.
        let _one = self.flushing.lock().await;
        let mut flushed = 0;
        loop {
            let Some(sealed) = self.shared.read().next_to_flush() else { return Ok(flushed) };
            if let Err(error) = sink.flush(Arc::clone(&sealed)).await {
                self.shared.metrics.flush_failures.inc();
                return Err(Error::History(error));
            }
            self.shared.metrics.flushes.inc();
            self.components.gaps.reached(Gap::BeforeLogTruncated).map_err(|e| Error::History(e.into()))?;
            self.log()?.truncate(sealed.epoch.last).await;
            flushed += 1;
        }
    }

    /// Asks history about late readings of the open epoch of which memory can't tell whether they are new.
    pub async fn settle(&self, sink: &dyn HistorySink) {
        if !self.shared.folded().has_doubts() {
            return;
        }
        let (epoch, doubts) = self.shared.write().take_doubts();
        let Some(found) = sink.look_up(&doubts, epoch).await else { return };
        // Others wait for the state: a file that is sent again may be all doubts.
        for some in found.chunks(SETTLED_AT_ONCE) {
            self.shared.write().settle(epoch, some);
        }
    }

    /// The key of a series.
    pub fn key(&self, id: SeriesId) -> Option<SeriesKey> {
        self.shared.registry.key(id)
    }

    /// The selected series, readings or not.
    pub fn select(&self, selector: &Selector) -> Vec<(SeriesId, SeriesKey)> {
        self.shared.registry.select(selector)
    }

    /// How the layer stands.
    pub fn status(&self) -> Status {
        let state = self.shared.folded();
        Status {
            position: state.position(),
            hot_readings: state.hot_readings(),
            open_readings: state.open_readings(),
            series: self.shared.registry.len(),
            epochs: state.sealed().map(|e| (e.first, e.last, e.readings, e.hot)).collect(),
            version: Arc::clone(state.version()),
            watermark: state.watermark(),
        }
    }

    /// Where all readings are, and whether that adds up.
    pub fn ledger(&self) -> Ledger {
        self.shared.read().ledger()
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Takes no more readings; returns when the log's thread has ended.
    pub fn close(&self) {
        drop(self.log.write().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the log's thread panicked");
        }
    }
}

fn state_settings(settings: &Settings) -> StateSettings {
    StateSettings {
        base: settings.base,
        max_future_skew: settings.max_future_skew,
        max_past_skew: settings.max_past_skew,
        seal_age: settings.seal_age,
        seal_bytes: settings.seal_bytes,
        hot_retention: settings.hot_retention,
        hot_bytes: settings.hot_bytes,
        shards: settings.shards,
    }
}

fn restore_lateness(state: &mut SpeedState, series: &[SeriesState], lateness: Vec<(String, LatenessTable)>) {
    for (metric, table) in lateness {
        if let Some(known) = series.iter().find(|s| s.key.metric() == metric) {
            state.restore_lateness(known.id.metric(), table);
        }
    }
}

fn replay_into(shared: &Shared, dir: &std::path::Path) -> Result<Replayed> {
    let start = shared.read().position();
    let replayed = replay(dir, start, |position, frame| {
        for (id, key) in &frame.batch.definitions {
            shared.registry.restore(*id, key.clone());
        }
        shared.take(position, vec![frame]);
        Ok(())
    })?;
    if replayed.torn_bytes > 0 {
        tracing::warn!(bytes = replayed.torn_bytes, "cut a torn tail off the log; nothing in it was acknowledged");
    }
    Ok(replayed)
}

/// The batches of one request: definitions ride with the first.
fn split(
    (series, mut times, mut values): (Vec<SeriesRef>, Vec<i64>, Vec<f64>),
    ids: &[SeriesId],
    definitions: Vec<(SeriesId, SeriesKey)>,
) -> Vec<Batch> {
    let mut series: Vec<SeriesId> = series.into_iter().map(|series| series.id(ids)).collect();
    let mut definitions = Some(definitions);
    let mut batches = Vec::new();
    while !series.is_empty() {
        let rest = FRAME_READINGS.min(series.len());
        let (next_series, next_times, next_values) =
            (series.split_off(rest), times.split_off(rest), values.split_off(rest));
        batches.push(Batch { definitions: definitions.take().unwrap_or_default(), series, times, values });
        (series, times, values) = (next_series, next_times, next_values);
    }
    batches
}

fn create_private_dir(dir: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(|e| Error::io(format!("can't create {}", dir.display()), e))
}

#[cfg(test)]
mod tests;
