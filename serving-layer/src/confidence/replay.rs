//! Replay: readings in order of arrival with a simulated clock, through the same learner that serves.
//!
//! Owns the order of time: a question at an instant sees what arrived until then, and labels of cells old enough.
//! The truth is worked out beforehand and handed to the caller's score only, never to the learner.
//! Does not own file formats nor scores.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use super::age::checkpoints;
use super::evidence::{AGGREGATES, Ask, ClassId, Moment, Prediction, Readings, SourceId, Stratum};
use super::foretell::Observation;
use super::habit::{Arrival, Arrived};
use super::learner::{Learner, Settings};
use super::outlook::Outlook;
use super::sight::Sight;
use schemas::epoch::Tail;
use schemas::partial::{Aggregate, Partial, quantile_of_sorted};
use schemas::{ArrivalTime, EventTime, Resolution, TimeRange};

/// A reading of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Its metric class.
    pub class: ClassId,
    /// Its source.
    pub source: SourceId,
    /// When it happened, nanoseconds.
    pub event: i64,
    /// When it arrived.
    pub arrival: i64,
    /// Its value.
    pub value: f64,
}

/// What to ask of a replay.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Bucket width.
    pub resolution: Resolution,
    /// Ask for every series.
    pub single: bool,
    /// Ask for the value over all series of a metric.
    pub group: bool,
    /// Ages after a bucket's end at which to ask.
    pub ages: Vec<i64>,
    /// Which aggregates to ask for.
    pub wanted: Vec<Aggregate>,
    /// How to ask.
    pub ask: Ask,
    /// The learner's settings.
    pub settings: Settings,
    /// Most cells awaiting their label, per stratum.
    pub watched_max: usize,
}

/// One prediction, with what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The stratum of the cell.
    pub stratum: Stratum,
    /// Its source; `None` of a group.
    pub source: Option<SourceId>,
    /// Its bucket.
    pub bucket: TimeRange,
    /// Nanoseconds since the bucket's end.
    pub age: i64,
    /// The age after which hardly anything arrives, as learned so far.
    pub horizon: i64,
    /// Values shown.
    pub shown: &'a [f64; AGGREGATES],
    /// What was foretold.
    pub prediction: &'a Prediction,
    /// Values at the end of the file.
    pub truth: &'a [f64; AGGREGATES],
}

type Key = (Stratum, Option<SourceId>, i64);

/// Readings of one cell by identity.
#[derive(Debug, Clone, Default)]
struct Cell {
    readings: BTreeMap<(i64, SourceId), f64>,
    summary: Option<Readings>,
    observations: Vec<Observation>,
    watched: bool,
    early: bool,
    truth: usize,
}

/// What a reading did to a cell.
#[derive(PartialEq)]
enum Change {
    New,
    Corrected,
    None,
}

impl Cell {
    fn put(&mut self, row: &Row) -> Change {
        let change = match self.readings.insert((row.event, row.source), row.value) {
            None => Change::New,
            Some(old) if old.to_bits() != row.value.to_bits() => Change::Corrected,
            Some(_) => return Change::None,
        };
        self.summary = None;
        change
    }

    fn summary(&mut self) -> Option<Readings> {
        if self.summary.is_none() {
            self.summary = summarise(&self.readings);
        }
        self.summary
    }
}

/// Summary of readings by identity, by the arithmetic of all layers; `None` of none.
fn summarise(readings: &BTreeMap<(i64, SourceId), f64>) -> Option<Readings> {
    let partial = Partial::of_all(readings.iter().map(|((time, _), value)| (*time, *value)))?;
    let mut sorted: Vec<f64> = readings.values().copied().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let value = |aggregate: Aggregate| match aggregate.quantile() {
        Some(q) => quantile_of_sorted(&sorted, q),
        None => partial.evaluate(aggregate),
    };
    Some(Readings::of(&partial, Aggregate::ALL.map(|aggregate| value(aggregate).unwrap_or(f64::NAN))))
}

/// Ages at which it is looked at whether a cell may be labelled.
fn label_checks(horizon: i64) -> impl Iterator<Item = i64> {
    std::iter::successors(Some(1_000_000_000_i64), |age| age.checked_add(age / 4))
        .take_while(move |age| *age <= horizon)
        .chain([horizon])
}

/// A step of a cell's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Observe,
    Label,
    Ask,
}

/// A replay under way.
struct Replay<'a> {
    plan: &'a Plan,
    learner: Learner,
    cells: Vec<(Key, Cell)>,
    index: HashMap<Key, usize>,
    /// When which cell does what: instant, cell, step of the schedule.
    queue: BinaryHeap<Reverse<(i64, usize, usize)>>,
    schedule: Vec<(i64, Step)>,
    tails: BTreeMap<(ClassId, SourceId), Tail>,
    watched: BTreeMap<Stratum, usize>,
    truths: Vec<[f64; AGGREGATES]>,
}

/// Replays rows sorted by arrival; `score` sees every prediction. Returns the learner as it is at the end.
pub fn replay(rows: &[Row], plan: &Plan, score: &mut dyn FnMut(&Sample)) -> Learner {
    let mut schedule: Vec<(i64, Step)> =
        checkpoints(plan.resolution.nanos(), plan.settings.horizon_max).map(|age| (age, Step::Observe)).collect();
    schedule.extend(plan.ages.iter().map(|age| (*age, Step::Ask)));
    schedule.extend(label_checks(plan.settings.horizon_max).map(|age| (age, Step::Label)));
    schedule.sort_unstable();
    let mut replay = Replay {
        plan,
        learner: Learner::new(plan.settings),
        cells: Vec::new(),
        index: HashMap::new(),
        queue: BinaryHeap::new(),
        schedule,
        tails: BTreeMap::new(),
        watched: BTreeMap::new(),
        truths: Vec::new(),
    };
    let truths = replay.truths_of(rows);
    for row in rows {
        replay.advance(row.arrival, score);
        replay.take(row, &truths);
    }
    if let Some(last) = rows.last() {
        replay.advance(last.arrival.saturating_add(1), score);
    }
    replay.learner
}

impl Replay<'_> {
    /// The cells that a reading belongs to.
    fn keys(&self, row: &Row) -> impl Iterator<Item = Key> + use<> {
        let (class, width) = (row.class, self.plan.resolution.nanos());
        let start = self.plan.resolution.floor(EventTime(row.event)).0;
        // Series are always followed, since groups learn of silence from them.
        let single = (Stratum { class, width, group: false }, Some(row.source), start);
        let group = self.plan.group.then_some((Stratum { class, width, group: true }, None, start));
        std::iter::once(single).chain(group)
    }

    /// What every cell ends with.
    fn truths_of(&mut self, rows: &[Row]) -> HashMap<Key, usize> {
        let mut all: HashMap<Key, Cell> = HashMap::new();
        for row in rows {
            for key in self.keys(row) {
                all.entry(key).or_default().put(row);
            }
        }
        let mut places = HashMap::new();
        for (key, mut cell) in all {
            places.insert(key, self.truths.len());
            self.truths.push(cell.summary().map_or([f64::NAN; AGGREGATES], |s| s.values));
        }
        places
    }

    /// Takes a reading into its cells, tails and habits.
    fn take(&mut self, row: &Row, truths: &HashMap<Key, usize>) {
        let mut changed = Change::None;
        for key in self.keys(row) {
            let id = match self.index.get(&key) {
                Some(id) => *id,
                None => self.born(key, row.arrival, truths),
            };
            let change = self.cells[id].1.put(row);
            if change != Change::None {
                changed = change;
            }
        }
        let kind = match changed {
            Change::New => Arrival::New,
            Change::Corrected => Arrival::Correction,
            Change::None => return,
        };
        let (event, arrival, value) = (row.event, row.arrival, row.value);
        self.learner.arrived(&Arrived { class: row.class, source: row.source, event, arrival, value, kind });
        let tail =
            self.tails.entry((row.class, row.source)).or_insert_with(|| Tail::of(event, value, ArrivalTime(arrival)));
        tail.update(event, value, ArrivalTime(arrival));
    }

    /// A cell comes into being with its first reading.
    fn born(&mut self, key: Key, now: i64, truths: &HashMap<Key, usize>) -> usize {
        let id = self.cells.len();
        let watched = self.watched.entry(key.0).or_default();
        let watch = *watched < self.plan.watched_max;
        *watched += usize::from(watch);
        let truth = truths.get(&key).copied().unwrap_or(0);
        self.cells.push((key, Cell { truth, watched: watch, ..Cell::default() }));
        self.index.insert(key, id);
        let end = key.2.saturating_add(key.0.width);
        let next = self.schedule.partition_point(|(age, _)| end.saturating_add(*age) < now);
        self.plan_step(id, end, next);
        id
    }

    fn plan_step(&mut self, id: usize, end: i64, step: usize) {
        if let Some((age, _)) = self.schedule.get(step) {
            self.queue.push(Reverse((end.saturating_add(*age), id, step)));
        }
    }

    /// Does all that is due before `now`.
    fn advance(&mut self, now: i64, score: &mut dyn FnMut(&Sample)) {
        while let Some(Reverse((at, id, step))) = self.queue.peek().copied() {
            if at >= now {
                return;
            }
            self.queue.pop();
            self.act(at, id, step, score);
            let key = self.cells[id].0;
            self.plan_step(id, key.2.saturating_add(key.0.width), step + 1);
        }
    }

    /// One step of one cell.
    fn act(&mut self, now: i64, id: usize, step: usize, score: &mut dyn FnMut(&Sample)) {
        let (age, what) = self.schedule[step];
        let (stratum, source, start) = self.cells[id].0;
        let silent = what == Step::Ask && source.is_some() && !self.plan.single;
        let early = what == Step::Label && age < self.learner.label_age(stratum.class);
        if silent || early || what != Step::Ask && !self.cells[id].1.watched {
            return;
        }
        let Some(readings) = self.cells[id].1.summary() else { return };
        let bucket = TimeRange::new(start, start.saturating_add(stratum.width));
        let moment = Moment { bucket, now, first: readings.first, last: readings.last };
        let outlook = self.outlook(&stratum, source, &moment);
        if what == Step::Label && self.learner.ready(stratum.class, &moment, &outlook) {
            let observations = std::mem::take(&mut self.cells[id].1.observations);
            for observation in &observations {
                self.learner.learn(&stratum, observation, &readings.values, now);
            }
            self.cells[id].1.watched = false;
            if let Some(watched) = self.watched.get_mut(&stratum) {
                *watched = watched.saturating_sub(1);
            }
            return;
        }
        if what == Step::Label {
            return;
        }
        let observation = Observation::new(&moment, &readings, &outlook);
        match what {
            Step::Observe => {
                self.learner.step(&stratum, self.cells[id].1.observations.last(), &observation);
                self.learn_early(id, &stratum, &observation, now);
                self.cells[id].1.observations.push(observation);
            }
            Step::Label => {}
            Step::Ask => {
                let prediction = self.learner.foretell(&stratum, &observation, &self.plan.wanted, self.plan.ask);
                let truth = &self.truths[self.cells[id].1.truth];
                let horizon = self.learner.horizon(stratum.class);
                score(&Sample {
                    stratum,
                    source,
                    bucket,
                    age,
                    horizon,
                    shown: &readings.values,
                    prediction: &prediction,
                    truth,
                });
            }
        }
    }

    /// A cell that is nearly final teaches once before it is.
    fn learn_early(&mut self, id: usize, stratum: &Stratum, observation: &Observation, now: i64) {
        if self.cells[id].1.early || self.cells[id].1.observations.is_empty() {
            return;
        }
        let Some(finals) = self.learner.nearly_final(stratum, observation) else { return };
        self.cells[id].1.early = true;
        for earlier in &self.cells[id].1.observations {
            self.learner.learn(stratum, earlier, &finals, now);
        }
    }

    fn outlook(&self, stratum: &Stratum, source: Option<SourceId>, moment: &Moment) -> Outlook {
        let class = self.learner.class(stratum.class);
        let member = |source: SourceId, tail| (self.learner.series(&class, source), tail);
        let members = match source {
            Some(source) => vec![member(source, self.tails.get(&(stratum.class, source)))],
            None => {
                let all = (stratum.class, SourceId::MIN)..=(stratum.class, SourceId::MAX);
                self.tails.range(all).map(|((_, source), tail)| member(*source, Some(tail))).collect()
            }
        };
        let foreteller = self.learner.foreteller(stratum, self.plan.ask);
        Sight::new(members, Vec::new()).outlook(&foreteller, moment)
    }
}
