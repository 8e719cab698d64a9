//! Which buckets are watched, and when each is looked at. Pure.
//!
//! Owns the watched buckets, bounded in number, and what was foretold of each until it is final. Does not own the series to
//! choose from, nor how a bucket is looked at.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use schemas::partial::Aggregate;
use schemas::time::{HOUR, MINUTE, SECOND};
use schemas::{ArrivalTime, EventTime, Resolution, SeriesId, TimeRange};

use super::learned::Learned;
use crate::confidence::{
    AGGREGATES, Ask, ClassId, Forecast, Moment, Observation, Outcome, Outlook, Readings, Stratum, checkpoints,
};

/// Buckets that are watched at once: some ten kilobytes each.
const CELLS: usize = 4_096;
/// Buckets that are looked at in one step: some tens of milliseconds of work, mostly of those that teach.
const AT_ONCE: usize = 128;
/// What could not be looked at is looked at again after so long.
const AGAIN: i64 = 10 * SECOND;
/// A bucket that is looked at later than planned by more than this and a fifth of its age tells nothing of the age planned.
const PUNCTUAL: i64 = 3 * SECOND;

/// A bucket to be looked at now.
#[derive(Debug, Clone)]
pub(super) struct Due {
    cell: u64,
    /// Its step in the order of checkpoints.
    step: usize,
    /// Nanoseconds since its end, as planned.
    age: i64,
    what: What,
    /// Whose experience it is.
    pub(super) stratum: Stratum,
    /// The bucket.
    pub(super) bucket: TimeRange,
    /// Its series: one, or those of the group.
    pub(super) series: Vec<SeriesId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Foretell it.
    Foretell,
    /// It is final: learn.
    Learn,
    /// See whether it changed since.
    Recheck,
}

/// What a bucket shows.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) readings: Readings,
    pub(super) moment: Moment,
    pub(super) outlook: Outlook,
    /// Whether none of its sources may still hold readings back.
    pub(super) is_final: bool,
}

#[derive(Debug, Clone)]
struct Cell {
    stratum: Stratum,
    bucket: TimeRange,
    series: Vec<SeriesId>,
    foretold: Vec<Foretold>,
    /// Whether it taught already, as nearly final.
    early: bool,
    finals: Option<[f64; AGGREGATES]>,
}

/// What was foretold at a checkpoint.
#[derive(Debug, Clone)]
struct Foretold {
    age: i64,
    observation: Observation,
    shown: [f64; AGGREGATES],
    forecasts: [Option<Forecast>; AGGREGATES],
    completeness: f64,
}

/// The watched buckets.
#[derive(Debug)]
pub(super) struct Watch {
    widths: Vec<i64>,
    /// Checkpoints of each width.
    ages: BTreeMap<i64, Vec<i64>>,
    /// The series to watch, by class.
    series: BTreeMap<ClassId, Vec<SeriesId>>,
    /// The bucket of each width that was taken up last.
    opened: BTreeMap<i64, i64>,
    cells: HashMap<u64, Cell>,
    counts: BTreeMap<Stratum, usize>,
    queue: BinaryHeap<Reverse<(i64, u64, usize)>>,
    next: u64,
}

impl Watch {
    /// Nothing is watched yet.
    pub(super) fn new(base: Resolution, horizon_max: i64) -> Self {
        let mut widths: Vec<i64> = [base.nanos(), MINUTE, HOUR].into_iter().filter(|w| w % base.nanos() == 0).collect();
        widths.sort_unstable();
        widths.dedup();
        let ages = |width: &i64| (*width, checkpoints(*width, horizon_max.saturating_mul(3)).collect());
        Self {
            ages: widths.iter().map(ages).collect(),
            widths,
            series: BTreeMap::new(),
            opened: BTreeMap::new(),
            cells: HashMap::new(),
            counts: BTreeMap::new(),
            queue: BinaryHeap::new(),
            next: 0,
        }
    }

    /// Watches these series from now on; buckets of others are followed to their end.
    pub(super) fn choose(&mut self, series: Vec<(ClassId, SeriesId)>) {
        self.series.clear();
        for (class, id) in series {
            self.series.entry(class).or_default().push(id);
        }
    }

    /// The series that are watched.
    pub(super) fn chosen(&self) -> impl Iterator<Item = SeriesId> {
        self.series.values().flatten().copied()
    }

    /// The series of all buckets that are watched.
    pub(super) fn needed(&self) -> HashSet<SeriesId> {
        self.cells.values().flat_map(|cell| cell.series.iter().copied()).collect()
    }

    /// Takes up new buckets, and tells those that are to be looked at now. `label_age`: the age at which buckets of a class
    /// are final, nanoseconds.
    pub(super) fn due(&mut self, now: ArrivalTime, label_age: impl Fn(ClassId) -> i64) -> Vec<Due> {
        self.take_up(now);
        let mut due = Vec::new();
        while let Some(Reverse((at, id, step))) = self.queue.peek().copied() {
            if at > now.0 || due.len() >= AT_ONCE {
                break;
            }
            self.queue.pop();
            let Some(cell) = self.cells.get(&id) else { continue };
            let age = self.ages[&cell.stratum.width][step];
            let is_final = age >= label_age(cell.stratum.class);
            let what = match (is_final, cell.finals) {
                (true, Some(_)) => What::Recheck,
                (true, None) => What::Learn,
                (false, _) => What::Foretell,
            };
            let late = now.0.saturating_sub(at) > PUNCTUAL.saturating_add(age.max(0) / 5);
            if late && what == What::Foretell {
                self.plan(id, step + 1);
                continue;
            }
            let Cell { stratum, bucket, series, .. } = cell;
            due.push(Due { cell: id, step, age, what, stratum: *stratum, bucket: *bucket, series: series.clone() });
        }
        due
    }

    /// Buckets that could not be looked at now come again.
    pub(super) fn put_off(&mut self, due: Vec<Due>, now: ArrivalTime) {
        self.queue.extend(due.into_iter().map(|due| Reverse((now.0.saturating_add(AGAIN), due.cell, due.step))));
    }

    /// Takes up the present bucket of each width at its middle.
    fn take_up(&mut self, now: ArrivalTime) {
        let strata = (2 * self.series.len() * self.widths.len()).max(1);
        let most = (CELLS / strata).max(1);
        for width in self.widths.clone() {
            let Ok(step) = Resolution::from_nanos(width) else { continue };
            let start = step.floor(EventTime(now.0)).0;
            if now.0.saturating_sub(start) < width / 2 || self.opened.insert(width, start) == Some(start) {
                continue;
            }
            let bucket = TimeRange::new(start, start.saturating_add(width));
            for (class, ids) in self.series.clone() {
                // Where not all have room, it is now this one's turn, now that one's.
                let turn = usize::try_from(start / width).unwrap_or(0) % ids.len().max(1);
                let single = Stratum { class, width, group: false };
                for id in ids[turn..].iter().chain(&ids[..turn]) {
                    self.open(single, bucket, vec![*id], most);
                }
                if ids.len() > 1 {
                    self.open(Stratum { group: true, ..single }, bucket, ids, most);
                }
            }
        }
    }

    fn open(&mut self, stratum: Stratum, bucket: TimeRange, series: Vec<SeriesId>, most: usize) {
        let count = self.counts.entry(stratum).or_default();
        if *count >= most || self.cells.len() >= CELLS {
            return;
        }
        *count += 1;
        let id = self.next;
        self.next += 1;
        self.cells.insert(id, Cell { stratum, bucket, series, foretold: Vec::new(), early: false, finals: None });
        self.plan(id, 0);
    }

    /// Plans a step of a bucket; where there is none, it is watched no more.
    fn plan(&mut self, id: u64, step: usize) {
        let Some(cell) = self.cells.get(&id) else { return };
        match self.ages[&cell.stratum.width].get(step) {
            Some(age) => self.queue.push(Reverse((cell.bucket.end.0.saturating_add(*age), id, step))),
            None => self.forget(id),
        }
    }

    fn forget(&mut self, id: u64) {
        if let Some(cell) = self.cells.remove(&id)
            && let Some(count) = self.counts.get_mut(&cell.stratum)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&cell.stratum);
            }
        }
    }

    /// Learns from what buckets showed; `None`: nothing.
    pub(super) fn learn(&mut self, seen: Vec<(Due, Option<Seen>)>, learned: &mut Learned, now: ArrivalTime) {
        for (due, seen) in seen {
            let Some(cell) = self.cells.get_mut(&due.cell) else { continue };
            match (due.what, seen) {
                (What::Foretell, None) => {}
                (What::Foretell, Some(seen)) => {
                    let foretold = foretell(&due, &seen, learned);
                    cell.take_note(&due.stratum, foretold, learned, now);
                }
                // A source of it may still hold readings back.
                (What::Learn, Some(seen)) if !seen.is_final => {}
                (What::Learn, Some(seen)) => {
                    let finals = seen.readings.values;
                    for foretold in std::mem::take(&mut cell.foretold) {
                        score(&due.stratum, &foretold, &finals, learned);
                        learned.learner.learn(&due.stratum, &foretold.observation, &finals, now.0);
                    }
                    cell.finals = Some(finals);
                }
                // It lies over a hole now.
                (What::Recheck, None) => {
                    self.forget(due.cell);
                    continue;
                }
                (What::Recheck, Some(seen)) => {
                    let finals = cell.finals.unwrap_or([f64::NAN; AGGREGATES]);
                    let stays = same(&seen.readings.values, &finals);
                    learned.revised(due.stratum.class, !stays);
                    self.forget(due.cell);
                    continue;
                }
                // It never had a reading.
                (What::Learn, None) => {
                    self.forget(due.cell);
                    continue;
                }
            }
            self.plan(due.cell, due.step + 1);
        }
    }
}

impl Cell {
    /// Keeps what was foretold; its steps teach before it is final, and once when it nearly is.
    fn take_note(&mut self, stratum: &Stratum, foretold: Foretold, learned: &mut Learned, now: ArrivalTime) {
        let (learner, observation) = (&mut learned.learner, &foretold.observation);
        learner.step(stratum, self.foretold.last().map(|before| &before.observation), observation);
        if !self.early
            && !self.foretold.is_empty()
            && let Some(finals) = learner.nearly_final(stratum, observation)
        {
            self.early = true;
            self.foretold.iter().for_each(|earlier| learner.learn(stratum, &earlier.observation, &finals, now.0));
        }
        self.foretold.push(foretold);
    }
}

fn foretell(due: &Due, seen: &Seen, learned: &Learned) -> Foretold {
    let observation = Observation::new(&seen.moment, &seen.readings, &seen.outlook);
    let ask = learned.learner.settings().ask;
    let prediction = learned.learner.foretell(&due.stratum, &observation, &Aggregate::ALL, ask);
    Foretold {
        age: due.age,
        observation,
        shown: seen.readings.values,
        forecasts: prediction.forecasts,
        completeness: prediction.completeness,
    }
}

/// Sets what was foretold beside what became of it.
fn score(stratum: &Stratum, foretold: &Foretold, finals: &[f64; AGGREGATES], learned: &mut Learned) {
    let Ask { eps, floor, .. } = learned.learner.settings().ask;
    for aggregate in Aggregate::ALL {
        let i = aggregate.index();
        let Some(forecast) = foretold.forecasts[i] else { continue };
        let (shown, truth) = (foretold.shown[i], finals[i]);
        let bias = foretold.completeness - (shown / truth).min(1.0);
        learned.scores.add(&Outcome {
            class: stratum.class,
            group: stratum.group,
            resolution: stratum.width,
            aggregate,
            age: foretold.age,
            shown,
            forecast,
            truth,
            tolerance: eps * shown.abs().max(floor),
            completeness_bias: if aggregate == Aggregate::Count { bias } else { f64::NAN },
        });
    }
}

/// Whether a bucket shows what it did; a quantile may come from a sketch now.
fn same(values: &[f64; AGGREGATES], finals: &[f64; AGGREGATES]) -> bool {
    let plain = Aggregate::ALL.into_iter().filter(|a| a.quantile().is_none()).map(Aggregate::index);
    plain.map(|i| (values[i], finals[i])).all(|(a, b)| (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: i64 = 10 * SECOND;

    fn watch(series: u32) -> Watch {
        let mut watch = Watch::new(Resolution::from_nanos(BASE).expect("positive"), HOUR);
        watch.choose((0..series).map(|i| (7, SeriesId::new(0, i))).collect());
        watch
    }

    fn seen(due: &Due, now: i64, count: u64) -> Seen {
        let values = [count as f64; AGGREGATES];
        let (start, sum) = (due.bucket.start.0, count as f64);
        let readings =
            Readings { count, sum, variance: 0.0, min: 1.0, max: 1.0, first: start, last: start + 1, values };
        let moment = Moment { bucket: due.bucket, now, first: start, last: start + 1 };
        Seen { readings, moment, outlook: Outlook::default(), is_final: true }
    }

    /// Runs a watch second by second; buckets show `count` by the age of the bucket.
    fn run(watch: &mut Watch, seconds: i64, count: impl Fn(i64) -> Option<u64>) -> Learned {
        let mut learned = Learned::new(HOUR, 0.01);
        for now in (0..seconds).map(|s| s * SECOND) {
            let due = watch.due(ArrivalTime(now), |_| MINUTE);
            let look = |due: Due| {
                let found = count(now - due.bucket.end.0).map(|count| seen(&due, now, count));
                (due, found)
            };
            let seen = due.into_iter().map(look).collect();
            watch.learn(seen, &mut learned, ArrivalTime(now));
        }
        learned
    }

    #[test]
    fn buckets_are_foretold_until_they_are_final_and_then_seen_once_more() {
        let learned = run(&mut watch(2), 600, |age| Some(if age < 5 * SECOND { 1 } else { 2 }));
        let rows = learned.scores.rows();
        let of = |age: i64| rows.iter().find(|r| r.age == age && r.aggregate == Aggregate::Count && !r.group);
        let first = of(0).expect("foretold at the end").score;
        assert!(first.n > 50.0 && first.base_rate < 0.01, "{first:?}");
        assert!(of(10 * SECOND).expect("foretold later").score.base_rate > 0.99);
        assert!(of(MINUTE).is_none(), "final by then");
        assert!(rows.iter().any(|r| r.group), "the group of both is watched, too");
        let (stays, measured) = learned.stays(7);
        assert!(stays > 0.999 && !measured, "{stays}");
    }

    #[test]
    fn what_changes_after_it_was_final_is_a_revision() {
        let learned = run(&mut watch(16), 3_000, |age| Some(if age < 90 * SECOND { 1 } else { 2 }));
        let (stays, measured) = learned.stays(7);
        assert!(stays < 0.9 && measured, "{stays}");
    }

    #[test]
    fn watched_buckets_are_bounded_and_those_without_readings_forgotten() {
        let mut many = watch(10_000);
        run(&mut many, 600, |_| Some(1));
        assert!(many.cells.len() <= CELLS && many.cells.len() > CELLS / 10, "{}", many.cells.len());
        assert_eq!(many.counts.values().sum::<usize>(), many.cells.len());
        let mut empty = watch(3);
        run(&mut empty, 600, |_| None);
        let minute = empty.cells.values().filter(|cell| cell.stratum.width == BASE).count();
        assert!(minute < 3 * 10, "{minute}");
    }
}
