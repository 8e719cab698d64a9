//! One shard: the series of some devices, their open partials and what decides whether a reading is new.

use std::collections::VecDeque;
use std::sync::Arc;

use schemas::epoch::{Arrival, Epoch, HotReading, SeriesEpoch, Tail};
use schemas::lateness::LatenessTable;
use schemas::{ArrivalTime, Resolution, SeriesId, TimeRange};

use super::heard::Heard;

/// A series as its shard knows it.
#[derive(Debug)]
struct LiveSeries {
    id: SeriesId,
    tail: Option<Tail>,
    /// Its readings in the open epoch. A snapshot may share it: the next reading then copies it.
    open: Option<Arc<SeriesEpoch>>,
    /// Least and greatest event time of readings that are no longer in memory.
    released: Option<(i64, i64)>,
    /// The greatest event time outside of the open epoch.
    sealed_until: Option<i64>,
    /// Whether its readings are told as they are counted.
    watched: bool,
}

/// One reading on its way into a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) slot: u32,
    /// Frame, counted from the open epoch's first.
    pub(crate) frame: u32,
    pub(crate) time: i64,
    pub(crate) value: f64,
}

/// What counting readings added up to.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    pub(crate) readings: u64,
    /// Cells that there were not before.
    pub(crate) cells: u64,
    pub(crate) out_of_order: u64,
    pub(crate) repeated: u64,
    pub(crate) corrected: u64,
    /// Those of which memory can't tell whether they are new.
    pub(crate) doubts: Vec<(SeriesId, i64)>,
    /// Least and greatest event time.
    pub(crate) bounds: Option<(i64, i64)>,
    /// Readings of watched series.
    pub(crate) heard: Vec<Heard>,
}

impl Folded {
    fn count(&mut self, kind: Arrival, series: SeriesId, time: i64) {
        self.readings += 1;
        self.out_of_order += u64::from(kind != Arrival::Newest);
        self.repeated += u64::from(kind == Arrival::Repeated);
        self.corrected += u64::from(kind == Arrival::Corrected);
        if kind == Arrival::Doubtful {
            self.doubts.push((series, time));
        }
        self.bounds = Some(self.bounds.map_or((time, time), |(min, max)| (min.min(time), max.max(time))));
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.readings += other.readings;
        self.cells += other.cells;
        self.out_of_order += other.out_of_order;
        self.repeated += other.repeated;
        self.corrected += other.corrected;
        self.doubts.extend(other.doubts);
        self.bounds = union(self.bounds, other.bounds);
        self.heard.extend(other.heard);
    }
}

/// What all readings of one fold have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folding<'a> {
    pub(crate) base: Resolution,
    /// Arrival of each frame of the open epoch.
    pub(crate) arrivals: &'a [ArrivalTime],
    /// The sealed epochs, of which an unbroken run up to the newest has its readings in memory.
    pub(crate) hot: &'a VecDeque<Arc<Epoch>>,
}

/// The bounds of both.
pub(crate) fn union(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

/// The series of some devices, each in a slot of its own.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    series: Vec<LiveSeries>,
    /// By metric number.
    lateness: Vec<LatenessTable>,
    sorter: Sorter,
}

/// Puts readings in the order of their slots; of one slot the order of arrival stays. Its memory is used again.
#[derive(Debug, Default)]
struct Sorter {
    sorted: Vec<Incoming>,
    /// Where the next reading of each slot goes.
    places: Vec<u32>,
}

impl Sorter {
    /// Slots per reading from which on counting all of them would take longer than sorting.
    const SLOTS_PER_READING: usize = 8;

    fn sort(&mut self, readings: &[Incoming], slots: usize) {
        self.sorted.clear();
        self.sorted.extend_from_slice(readings);
        if slots > readings.len() * Self::SLOTS_PER_READING {
            self.sorted.sort_by_key(|reading| reading.slot);
            return;
        }
        self.places.clear();
        self.places.resize(slots, 0);
        readings.iter().for_each(|reading| self.places[reading.slot as usize] += 1);
        let mut start = 0;
        for place in &mut self.places {
            start += std::mem::replace(place, start);
        }
        for reading in readings {
            let place = &mut self.places[reading.slot as usize];
            self.sorted[*place as usize] = *reading;
            *place += 1;
        }
    }
}

impl Shard {
    /// Makes room for a series and tells its slot.
    pub(crate) fn add(&mut self, id: SeriesId) -> u32 {
        let slot = u32::try_from(self.series.len()).expect("bounded by max_series");
        self.series.push(LiveSeries { id, tail: None, open: None, released: None, sealed_until: None, watched: false });
        slot
    }

    /// Counts readings, which stand in order of arrival: series by series, so that each is fetched into the cache once.
    pub(crate) fn fold(&mut self, readings: &[Incoming], folding: Folding<'_>) -> Folded {
        let mut sorter = std::mem::take(&mut self.sorter);
        sorter.sort(readings, self.series.len());
        let mut folded = Folded::default();
        for run in sorter.sorted.chunk_by(|a, b| a.slot == b.slot) {
            let slot = run[0].slot as usize;
            let metric = self.series[slot].id.metric();
            self.lateness_mut(metric);
            let (live, lateness) = (&mut self.series[slot], &mut self.lateness[metric as usize]);
            live.fold(run, folding, lateness, &mut folded);
        }
        sorter.sorted.clear();
        sorter.sorted.shrink_to(super::state::QUEUE_READINGS);
        self.sorter = sorter;
        folded
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
    pub(crate) fn restore(&mut self, slot: u32, tail: Option<Tail>) {
        let live = &mut self.series[slot as usize];
        live.tail = tail;
        live.released = tail.map(|tail| (tail.earliest, tail.time));
        live.sealed_until = tail.map(|tail| tail.time);
    }

    /// From now on tells what is heard of a series, or no more.
    pub(crate) fn watch(&mut self, slot: u32, watched: bool) {
        self.series[slot as usize].watched = watched;
    }

    /// Of doubtful readings of a watched series in the open epoch, whose last values before it history told: those that
    /// don't repeat one.
    pub(crate) fn hear_settled(
        &self,
        slot: u32,
        found: impl IntoIterator<Item = (i64, Option<f64>)>,
        arrivals: &[ArrivalTime],
    ) -> Vec<Heard> {
        let live = &self.series[slot as usize];
        let Some(open) = live.open.as_ref().filter(|_| live.watched) else { return Vec::new() };
        let told = |(time, before): (i64, Option<f64>)| {
            let HotReading { value, frame, .. } = open.arrivals(TimeRange::new(time, time.saturating_add(1))).last()?;
            let told = Heard {
                series: live.id,
                time,
                value,
                arrival: *arrivals.get(frame as usize)?,
                corrects: before.is_some(),
            };
            (before.map(f64::to_bits) != Some(value.to_bits())).then_some(told)
        };
        found.into_iter().filter_map(told).collect()
    }

    /// The newest end of a series.
    pub(crate) fn tail(&self, slot: u32) -> Option<&Tail> {
        self.series[slot as usize].tail.as_ref()
    }

    /// The part of a series in the open epoch.
    pub(crate) fn open(&self, slot: u32) -> Option<&Arc<SeriesEpoch>> {
        self.series[slot as usize].open.as_ref()
    }

    /// Takes over what history says of doubtful readings of a series in the open epoch.
    pub(crate) fn settle(&mut self, slot: u32, found: impl IntoIterator<Item = (i64, Option<f64>)>, base: Resolution) {
        if let Some(open) = &mut self.series[slot as usize].open {
            Arc::make_mut(open).settle(found, base);
        }
    }

    /// Takes all open parts out.
    pub(crate) fn seal(&mut self) -> Vec<(SeriesId, Arc<SeriesEpoch>)> {
        let sealed = |live: &mut LiveSeries| {
            let open = live.open.take()?;
            live.sealed_until = live.tail.map(|tail| tail.time);
            Some((live.id, open))
        };
        self.series.iter_mut().filter_map(sealed).collect()
    }

    /// Readings of these bounds are leaving memory.
    pub(crate) fn release(&mut self, slot: u32, bounds: Option<(i64, i64)>) {
        let live = &mut self.series[slot as usize];
        live.released = union(live.released, bounds);
    }
}

impl LiveSeries {
    /// Counts readings of this series, in order of arrival.
    fn fold(&mut self, run: &[Incoming], folding: Folding<'_>, lateness: &mut LatenessTable, folded: &mut Folded) {
        let mut open = std::mem::take(&mut self.open).unwrap_or_else(|| self.new_part(folding.hot));
        let part = Arc::make_mut(&mut open);
        let cells = part.cells().len();
        for Incoming { time, value, frame, .. } in run.iter().copied() {
            let arrival = folding.arrivals[frame as usize];
            let kind = self.classify(time, value, folding.hot);
            if self.watched {
                folded.heard.extend(self.hear(part, kind, (time, value, arrival)));
            }
            match &mut self.tail {
                Some(tail) => tail.update(time, value, arrival),
                None => self.tail = Some(Tail::of(time, value, arrival)),
            }
            part.put(time, value, frame, folding.base, kind);
            lateness.observe(arrival.0.saturating_sub(time));
            folded.count(kind, self.id, time);
        }
        part.tidy(folding.base);
        folded.cells += (part.cells().len() - cells) as u64;
        self.open = Some(open);
    }

    /// What is told of a reading before it is counted, unless it repeats one or history must tell whether it does.
    fn hear(
        &self,
        part: &SeriesEpoch,
        kind: Arrival,
        (time, value, arrival): (i64, f64, ArrivalTime),
    ) -> Option<Heard> {
        let here = || part.value_at(time).map(f64::to_bits);
        let before = match kind {
            Arrival::Repeated | Arrival::Doubtful => return None,
            Arrival::Newest => None,
            Arrival::OutOfOrder | Arrival::Corrected => here(),
        };
        let corrects = kind == Arrival::Corrected || before.is_some();
        let told = Heard { series: self.id, time, value, arrival, corrects };
        (before != Some(value.to_bits())).then_some(told)
    }

    /// An open part with room for what the last epoch held: growing step by step would copy it all several times.
    fn new_part(&self, hot: &VecDeque<Arc<Epoch>>) -> Arc<SeriesEpoch> {
        let last = hot.back().and_then(|epoch| epoch.of(self.id));
        Arc::new(last.map_or_else(SeriesEpoch::default, |part| SeriesEpoch::like(part)))
    }

    /// Whether a reading was counted before this epoch, as far as anyone can tell without reading history.
    fn classify(&self, time: i64, value: f64, hot: &VecDeque<Arc<Epoch>>) -> Arrival {
        let Some(tail) = &self.tail else { return Arrival::Newest };
        if time > tail.time {
            return Arrival::Newest;
        }
        if time < tail.earliest || self.sealed_until.is_none_or(|until| time > until) {
            return Arrival::OutOfOrder;
        }
        // Newest first, up to the first that has left memory: what is found is the last arrival before this epoch.
        let in_memory = hot.iter().rev().take_while(|epoch| epoch.hot);
        let before = in_memory.filter_map(|epoch| epoch.of(self.id)?.value_at(time)).next();
        let gone = || self.released.is_some_and(|(min, max)| min <= time && time <= max);
        match before {
            Some(before) if before.to_bits() == value.to_bits() => Arrival::Repeated,
            Some(_) => Arrival::Corrected,
            None if gone() => Arrival::Doubtful,
            None => Arrival::OutOfOrder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_gives_what_sorting_gives() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut sorter = Sorter::default();
        for (readings, slots) in [(0, 1), (1, 1), (1, 1000), (50, 7), (500, 300), (3000, 20_000), (3000, 30_000)] {
            let incoming = |i: usize| Incoming { slot: random.u32(..slots), frame: 0, time: i as i64, value: 0.0 };
            let readings: Vec<Incoming> = (0..readings).map(incoming).collect();
            sorter.sort(&readings, slots as usize);
            let mut expected = readings.clone();
            expected.sort_by_key(|reading| reading.slot);
            let order = |readings: &[Incoming]| readings.iter().map(|r| (r.slot, r.time)).collect::<Vec<_>>();
            assert_eq!(order(&sorter.sorted), order(&expected));
        }
    }
}
