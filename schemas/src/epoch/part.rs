//! The part of one series in one epoch: its readings in memory and the cells made from them.
//!
//! Owns which readings a cell counts, the order of cells, and which buckets are disordered. Does not own the decision
//! whether an older reading is new ([`Arrival`] tells it).

use std::collections::{BTreeMap, BTreeSet};

use crate::bucket::Resolution;
use crate::cells::Cell;
use crate::partial::Partial;
use crate::time::{EventTime, TimeRange};

/// What the shard found out about a reading before it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Later in event time than every reading of its series: it can't be a duplicate.
    Newest,
    /// Older, and certainly not counted outside this epoch.
    OutOfOrder,
    /// Counted by an earlier epoch, with the same value: no cell of this epoch counts it.
    Repeated,
    /// Counted by an earlier epoch, with another value: its bucket becomes disordered.
    Corrected,
    /// Older, and nobody knows whether it was counted before: its bucket is disordered until a flush has looked it up.
    Doubtful,
}

/// One reading as it stands in an epoch: packed, as memory holds most of them in this form.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, packed(4))]
pub struct HotReading {
    /// Event time in nanoseconds.
    pub time: i64,
    /// The value.
    pub value: f64,
    /// Its frame: log position is the epoch's first plus this.
    pub frame: u32,
}

/// A reading that so many others have overtaken is still put among those that came in order: cheaper than a tree.
const NEARLY: usize = 256;

/// The readings and cells of one series in one epoch.
#[derive(Debug, Clone, Default)]
pub struct SeriesEpoch {
    /// Readings that arrived in order or nearly so: strictly rising times.
    run: Vec<HotReading>,
    /// The others, by (time, order of arrival); of one event time all are later arrivals than that in the run.
    late: BTreeMap<(i64, u32), (f64, u32)>,
    /// Partials of the readings of this epoch that are not repeated, each identity once, sorted by bucket.
    cells: Vec<Cell>,
    /// What [`Self::put`] leaves to [`Self::tidy`]; `None` otherwise. Boxed: there are parts of a million series.
    aside: Option<Box<Aside>>,
    /// `None` where nothing was counted before: mostly.
    overlaps: Option<Box<Overlaps>>,
}

/// Changes of cells that are made all at once, as each alone would take long.
#[derive(Debug, Clone, Default)]
struct Aside {
    /// Cells that belong far before the end of `SeriesEpoch::cells`, which hold none of these buckets: one by one that would
    /// move all behind them each time.
    cells: BTreeMap<i64, Partial>,
    /// Starts of buckets whose cells are made anew: each takes all readings of its bucket.
    anew: BTreeSet<i64>,
}

/// What of a part of a series was, or may have been, counted before.
#[derive(Debug, Clone, Default)]
struct Overlaps {
    /// Starts of buckets that must be resolved from raw readings, sorted: those of corrections and of doubtful readings.
    disordered: Vec<i64>,
    /// Those that were not yet put there, unsorted.
    aside: Vec<i64>,
    /// Starts of the buckets of corrections.
    corrected: BTreeSet<i64>,
    /// Event times of doubtful readings.
    doubts: BTreeSet<i64>,
    /// Event times of repeated readings.
    repeated: BTreeSet<i64>,
}

impl Overlaps {
    fn correct(&mut self, bucket: i64) {
        self.corrected.insert(bucket);
        self.aside.push(bucket);
    }

    fn doubt(&mut self, time: i64, bucket: i64) {
        self.doubts.insert(time);
        self.aside.push(bucket);
    }

    fn tidy(&mut self) {
        if !self.aside.is_empty() {
            self.disordered.append(&mut self.aside);
            self.disordered.sort_unstable();
            self.disordered.dedup();
        }
    }
}

impl SeriesEpoch {
    /// No readings yet, but room for as many readings and cells as another part has.
    pub fn like(other: &Self) -> Self {
        let (run, cells) = (Vec::with_capacity(other.run.len()), Vec::with_capacity(other.cells.len()));
        Self { run, cells, ..Self::default() }
    }

    /// What remains of a series after its readings were released.
    pub fn from_cells(cells: Vec<Cell>, disordered: Vec<i64>) -> Self {
        let overlaps = (!disordered.is_empty()).then(|| {
            let corrected = disordered.iter().copied().collect();
            Box::new(Overlaps { disordered, corrected, ..Overlaps::default() })
        });
        Self { run: Vec::new(), late: BTreeMap::new(), cells, aside: None, overlaps }
    }

    /// Counts a reading of frame `frame`.
    pub fn insert(&mut self, time: i64, value: f64, frame: u32, base: Resolution, arrival: Arrival) {
        self.put(time, value, frame, base, arrival);
        self.tidy(base);
    }

    /// The same, where others follow: cells and disordered buckets are told after [`Self::tidy`].
    pub fn put(&mut self, time: i64, value: f64, frame: u32, base: Resolution, arrival: Arrival) {
        let bucket = self.bucket(time, base);
        let reading = HotReading { time, value, frame };
        if arrival == Arrival::Newest {
            self.run.push(reading);
            return self.count(bucket, time, value);
        }
        if let Some(before) = self.insert_old(reading) {
            return self.count_again(reading, before, bucket, arrival);
        }
        match arrival {
            Arrival::Repeated => {
                self.overlaps_mut().repeated.insert(time);
                return;
            }
            Arrival::Corrected => self.overlaps_mut().correct(bucket),
            Arrival::Doubtful => self.overlaps_mut().doubt(time, bucket),
            Arrival::Newest | Arrival::OutOfOrder => {}
        }
        self.count(bucket, time, value);
    }

    /// Puts cells and disordered buckets in order.
    pub fn tidy(&mut self, base: Resolution) {
        if let Some(aside) = self.aside.take() {
            let Aside { mut cells, anew } = *aside;
            anew.into_iter().for_each(|bucket| self.recount(bucket, base, &mut cells));
            self.cells.extend(cells.into_iter().map(|(bucket, partial)| Cell { bucket, partial }));
            // Two sorted runs, which this merges.
            self.cells.sort_by_key(|cell| cell.bucket);
        }
        if let Some(overlaps) = &mut self.overlaps {
            overlaps.tidy();
        }
    }

    /// Counts an identity that this epoch holds already, last with the value `before`.
    fn count_again(&mut self, reading: HotReading, before: f64, bucket: i64, arrival: Arrival) {
        let HotReading { time, value, .. } = reading;
        if let Some(overlaps) = &mut self.overlaps
            && overlaps.repeated.contains(&time)
        {
            if arrival == Arrival::Repeated {
                return;
            }
            // It no longer says what was counted before, as far as anyone knows.
            overlaps.repeated.remove(&time);
            overlaps.correct(bucket);
        } else if before.to_bits() == value.to_bits() {
            // The cell counts just that.
            return;
        }
        // A correction can't be subtracted from extremes.
        self.aside.get_or_insert_default().anew.insert(bucket);
    }

    fn overlaps_mut(&mut self) -> &mut Overlaps {
        self.overlaps.get_or_insert_default()
    }

    /// The start of the bucket that holds `time`: mostly the last one, which needs no division.
    fn bucket(&self, time: i64, base: Resolution) -> i64 {
        match self.cells.last() {
            Some(cell) if cell.bucket <= time && time.abs_diff(cell.bucket) < base.nanos().unsigned_abs() => {
                cell.bucket
            }
            _ => base.floor(EventTime(time)).0,
        }
    }

    /// Keeps a reading that is not the newest; tells its last value where its identity was here before.
    fn insert_old(&mut self, reading: HotReading) -> Option<f64> {
        let at = self.place_in_run(reading.time);
        let in_run = self.run.get(at).filter(|r| r.time == reading.time).map(|r| r.value);
        let before = self.late_value(reading.time).or(in_run);
        if before.is_none() && self.run.len() - at <= NEARLY {
            self.run.insert(at, reading);
            return None;
        }
        let order = u32::try_from(self.late.len()).expect("an epoch is sealed long before 2^32 readings");
        self.late.insert((reading.time, order), (reading.value, reading.frame));
        before
    }

    /// The number of readings of the run before `time`. Looks near the end first: what was overtaken just now belongs
    /// there, and a search by halves would fetch lines of memory that nobody has used for long.
    fn place_in_run(&self, time: i64) -> usize {
        let near = self.run.len().saturating_sub(NEARLY);
        match self.run.get(near) {
            Some(first) if first.time < time => {
                near + self.run[near..].iter().rposition(|r| r.time < time).map_or(0, |place| place + 1)
            }
            _ => self.run[..near].partition_point(|r| r.time < time),
        }
    }

    /// The value of the last of the late arrivals of this event time.
    fn late_value(&self, time: i64) -> Option<f64> {
        let (_, (value, _)) = self.late.range((time, 0)..=(time, u32::MAX)).next_back()?;
        Some(*value)
    }

    /// The value of the last arrival of this event time among the hot readings.
    pub fn value_at(&self, time: i64) -> Option<f64> {
        let in_run = || self.run.binary_search_by_key(&time, |r| r.time).ok().map(|at| self.run[at].value);
        self.late_value(time).or_else(in_run)
    }

    fn count(&mut self, bucket: i64, time: i64, value: f64) {
        match self.cells.last_mut() {
            Some(cell) if cell.bucket == bucket => return cell.partial.update(time, value),
            Some(cell) if cell.bucket > bucket => {}
            _ => return self.cells.push(Cell { bucket, partial: Partial::of(time, value) }),
        }
        match self.cells.binary_search_by_key(&bucket, |c| c.bucket) {
            Ok(i) => self.cells[i].partial.update(time, value),
            Err(i) => self.count_between(i, bucket, time, value),
        }
    }

    /// Counts a reading whose bucket is not among the cells and belongs before the `i`-th.
    fn count_between(&mut self, i: usize, bucket: i64, time: i64, value: f64) {
        if self.aside.as_ref().is_none_or(|aside| aside.cells.is_empty()) && self.cells.len() - i <= NEARLY {
            return self.cells.insert(i, Cell { bucket, partial: Partial::of(time, value) });
        }
        let aside = &mut self.aside.get_or_insert_default().cells;
        aside.entry(bucket).and_modify(|p| p.update(time, value)).or_insert_with(|| Partial::of(time, value));
    }

    /// Makes a cell anew from this epoch's own readings, where it is: among the cells, or with those that follow.
    fn recount(&mut self, bucket: i64, base: Resolution, aside: &mut BTreeMap<i64, Partial>) {
        let partial = self.partial_of(bucket, base).expect("the bucket holds the correction at least");
        match self.cells.binary_search_by_key(&bucket, |c| c.bucket) {
            Ok(i) => self.cells[i].partial = partial,
            Err(_) => drop(aside.insert(bucket, partial)),
        }
    }

    /// The partial of a bucket, made anew; `None` where no reading counts.
    fn partial_of(&self, bucket: i64, base: Resolution) -> Option<Partial> {
        let readings = self.counted(base.bucket(EventTime(bucket)));
        Partial::of_all(readings.into_iter().map(|r| (r.time, r.value)))
    }

    /// The readings inside `range` that cells of this epoch count, each event time once, sorted by event time.
    pub fn counted(&self, range: TimeRange) -> Vec<HotReading> {
        let mut readings = self.resolved(range);
        if let Some(overlaps) = &self.overlaps {
            readings.retain(|r| !overlaps.repeated.contains(&{ r.time }));
        }
        readings
    }

    /// The readings inside `range`, each event time once (the last arrival), sorted by event time.
    pub fn resolved(&self, range: TimeRange) -> Vec<HotReading> {
        let mut readings: Vec<HotReading> = Vec::new();
        for reading in self.arrivals(range) {
            match readings.last_mut() {
                Some(last) if last.time == reading.time => *last = reading,
                _ => readings.push(reading),
            }
        }
        readings
    }

    /// Every arrival inside `range`, sorted by event time, then by arrival.
    pub fn arrivals(&self, range: TimeRange) -> impl Iterator<Item = HotReading> {
        let start = self.run.partition_point(|r| r.time < range.start.0);
        let end = self.run.partition_point(|r| r.time < range.end.0).max(start);
        let mut run = self.run[start..end].iter().copied().peekable();
        let late = if range.is_empty() { (0, 0)..(0, 0) } else { (range.start.0, 0)..(range.end.0, 0) };
        let mut late = self
            .late
            .range(late)
            .map(|((time, _), (value, frame))| HotReading { time: *time, value: *value, frame: *frame })
            .peekable();
        let in_order = late.peek().is_none();
        std::iter::from_fn(move || match (run.peek(), late.peek()) {
            _ if in_order => run.next(),
            // At one event time the reading in the run came first.
            (Some(r), Some(l)) if r.time <= l.time => run.next(),
            (Some(_), None) => run.next(),
            (_, Some(_)) => late.next(),
            (None, None) => None,
        })
    }

    /// How many arrivals are in memory.
    pub fn hot_len(&self) -> usize {
        self.run.len() + self.late.len()
    }

    /// The cells, sorted by bucket.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Starts of the disordered buckets, sorted.
    pub fn disordered(&self) -> &[i64] {
        self.overlaps.as_ref().map_or(&[], |overlaps| &overlaps.disordered)
    }

    /// Event times of readings of which nobody knows whether they were counted before, in order.
    pub fn doubts(&self) -> impl Iterator<Item = i64> {
        self.overlaps.iter().flat_map(|overlaps| overlaps.doubts.iter().copied())
    }

    /// Takes over what history says of doubtful readings: event times, each with the last value that was counted before
    /// this epoch, if any.
    pub fn settle(&mut self, found: impl IntoIterator<Item = (i64, Option<f64>)>, base: Resolution) {
        let bucket = |time: i64| base.floor(EventTime(time)).0;
        let mut recounted = BTreeSet::new();
        for (time, before) in found {
            if !self.overlaps_mut().doubts.remove(&time) {
                continue;
            }
            let now = self.value_at(time).map(f64::to_bits);
            match before.map(f64::to_bits) {
                None => {}
                before if before == now => {
                    self.overlaps_mut().repeated.insert(time);
                    recounted.insert(bucket(time));
                }
                Some(_) => self.overlaps_mut().correct(bucket(time)),
            }
        }
        self.leave_out_repeated(&recounted, base);
        let Overlaps { disordered, aside, corrected, doubts, .. } = self.overlaps_mut();
        disordered.clear();
        aside.clear();
        disordered.extend(corrected.iter().copied().chain(doubts.iter().copied().map(bucket)));
        disordered.sort_unstable();
        disordered.dedup();
    }

    /// Makes the cells of these buckets anew, in one pass: all of a file that is sent again may be among them.
    fn leave_out_repeated(&mut self, buckets: &BTreeSet<i64>, base: Resolution) {
        if buckets.is_empty() {
            return;
        }
        let mut cells = std::mem::take(&mut self.cells);
        cells.retain_mut(|cell| {
            if !buckets.contains(&cell.bucket) {
                return true;
            }
            let partial = self.partial_of(cell.bucket, base);
            partial.map(|partial| cell.partial = partial).is_some()
        });
        self.cells = cells;
    }

    /// The least and greatest event time among the hot readings.
    pub fn event_bounds(&self) -> Option<(i64, i64)> {
        let run = self.run.first().zip(self.run.last()).map(|(a, b)| (a.time, b.time));
        let late = self.late.first_key_value().zip(self.late.last_key_value()).map(|((a, _), (b, _))| (a.0, b.0));
        match (run, late) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        }
    }

    /// The same cells without the readings.
    pub(super) fn released(&self) -> Self {
        Self::from_cells(self.cells.clone(), self.disordered().to_vec())
    }
}

#[cfg(test)]
mod tests;
