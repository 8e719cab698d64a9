//! Foretelling: from what is known of a cell to intervals, scores and completeness.
//!
//! Owns the order of the steps, and what the cells of a stratum have in common, which is looked up once. What does not
//! depend on the values of a cell is prepared apart from the rest, so that it can be used again (`sight`). Does not own what
//! was learned (`table`), nor how much is expected (`outlook`).

use serde::{Deserialize, Serialize};

use super::age::told_apart;
use super::drift::Drift;
use super::evidence::{AGGREGATES, Ask, Forecast, Moment, Prediction, Readings, Stratum, between};
use super::habit::SeriesHabit;
use super::mixture::Mixture;
use super::outlook::Outlook;
use super::pool::Cumulated;
use super::shape::{Features, Shape};
use super::silence::Silence;
use super::table::{Known, Outcome, Place, SLOTS, SlotId, Table, counted};
use schemas::decimal::widened;
use schemas::epoch::Tail;
use schemas::partial::Aggregate;

/// A difference relative to the value that is rounding, not change.
const ROUNDING: f64 = 1e-12;
/// Scores end below one: nothing is certain.
const SCORE_MAX: f64 = 0.9999;
/// What an answer without labels may claim at most, once a whole horizon was heard; one half before anything was.
const SCORE_UNCALIBRATED: f64 = 0.98;
/// A class must have been heard for so much longer than its lateness reaches before answers are called calibrated.
const TRUST: f64 = 1.0;
/// Readings that may come later than anything heard, per cell and of those counted, and how soon fewer with age.
const UNHEARD: (f64, f64, f64) = (0.7, 0.05, 4.0);
/// The share of a group's readings that silent sources must withhold to be reckoned with.
const WITHHELD: f64 = 0.02;
const DAY: f64 = 86_400e9;

/// What was known of a cell at a checkpoint, kept by the caller until the cell is final.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    pub(super) features: Features,
}

impl Observation {
    /// What is known of a cell now.
    pub fn new(moment: &Moment, readings: &Readings, outlook: &Outlook) -> Self {
        let age = between(moment.bucket.end.0, moment.now);
        let weekday = weekday(moment.bucket.start.0);
        Self { features: Features::of((told_apart(age), moment.now as f64), weekday, readings, outlook) }
    }
}

/// The weekday on which an instant falls, in universal time.
fn weekday(instant: i64) -> usize {
    (instant.div_euclid(DAY as i64)).rem_euclid(7) as usize
}

/// Whose experience speaks of a stratum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Experience<'a> {
    /// Its own, or that of the same class at the nearest width, or what all classes taught.
    pub(super) table: &'a Table,
    /// What all classes taught.
    pub(super) parent: &'a Table,
    /// Of the silence of single series.
    pub(super) silence: &'a Silence,
}

/// Foretells the cells of one stratum, one after the other.
#[derive(Debug, Clone)]
pub struct Foreteller<'a> {
    experience: Experience<'a>,
    group: bool,
    /// The age at which its cells are labelled, nanoseconds.
    label_age: f64,
    ask: Ask,
    /// What is known at each age and state that was asked for.
    known: Vec<Option<Known<'a>>>,
}

impl<'a> Foreteller<'a> {
    pub(super) fn new(stratum: &Stratum, experience: Experience<'a>, label_age: f64, ask: Ask) -> Self {
        Self { experience, group: stratum.group, label_age, ask: ask.checked(), known: Vec::new() }
    }

    /// The outlook of one series of a cell, and the series' newest end, if it was ever heard; of a group, merge those of
    /// its members.
    pub fn outlook(&self, moment: &Moment, habit: &SeriesHabit<'_>, tail: Option<&Tail>) -> Outlook {
        Outlook::of(moment, habit, tail, self.experience.silence)
    }

    /// Foretells some aggregates of a cell from an observation; others are `None`.
    pub fn foretell(&mut self, observation: &Observation, wanted: &[Aggregate]) -> Prediction {
        let prepared = self.prepare(&observation.features, wanted);
        self.foretell_prepared(&prepared, &observation.features)
    }

    /// All of it that hangs on the number of readings and what is expected, but not on values.
    pub(super) fn prepare(&mut self, features: &Features, wanted: &[Aggregate]) -> Prepared<'a> {
        let Experience { table, parent, .. } = self.experience;
        self.known.resize_with(SLOTS, || None);
        let slot = Situation::slot(table, features);
        let mut known = *self.known[usize::from(slot)].get_or_insert_with(|| table.known(parent, slot));
        known.labelled = features.age >= self.label_age;
        let situation = Situation::at(table, features, known.correction);
        let doubt = Doubt::of(features, situation, known.calibrated, (self.group, self.label_age));
        let told = |aggregate: &Aggregate| match aggregate {
            // The shape of its change hangs on how values lie to their deviation.
            Aggregate::Sum => None,
            _ => Some(Foretold::of(features, situation, &known, &doubt, *aggregate, self.ask.level)),
        };
        Prepared {
            by_steps: Drift::of(table, slot, features, situation.missing, self.ask.level),
            completeness: completeness(features, situation, &known, table),
            wanted: wanted.iter().map(|aggregate| (*aggregate, told(aggregate))).collect(),
            situation,
            known,
            doubt,
        }
    }

    /// The rest.
    pub(super) fn foretell_prepared(&self, prepared: &Prepared<'_>, features: &Features) -> Prediction {
        let Prepared { situation, known, doubt, by_steps, .. } = prepared;
        let mut forecasts = [None; AGGREGATES];
        for (aggregate, told) in &prepared.wanted {
            let anew;
            let told = match told {
                Some(told) => told,
                None => {
                    anew = Foretold::of(features, *situation, known, doubt, *aggregate, self.ask.level);
                    &anew
                }
            };
            forecasts[aggregate.index()] = told.forecast(features, known, doubt, by_steps.as_ref(), self.ask);
        }
        let (completeness, missing) = (prepared.completeness, situation.missing);
        Prediction { completeness, missing, forecasts, calibrated: doubt.calibrated }
    }
}

/// What is foretold of a cell before its values are looked at.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    situation: Situation,
    known: Known<'a>,
    doubt: Doubt,
    by_steps: Option<Drift>,
    completeness: f64,
    wanted: Vec<(Aggregate, Option<Foretold>)>,
}

/// Where a cell stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    pub(super) place: Place,
    /// Readings that it misses, in expectation.
    pub(super) missing: f64,
    /// Those of them that are not ahead of the frontier, by expectation alone. Only those are corrected by experience:
    /// what is ahead follows what was learned of silence.
    pub(super) raw: f64,
}

impl Situation {
    /// Of a cell, as the labelled cells of this table have it.
    pub(super) fn of(table: &Table, features: &Features) -> Self {
        Self::at(table, features, table.by_labels(Self::slot(table, features)))
    }

    fn slot(table: &Table, features: &Features) -> SlotId {
        Place::slot(features.age, features.outlook.ahead > Self::raw(table, features))
    }

    fn raw(table: &Table, features: &Features) -> f64 {
        let o = &features.outlook;
        table.behind(features.age) * o.behind + o.future + table.least() * o.seen
    }

    /// `by_labels` is the factor by which labelled cells correct what is expected.
    fn at(table: &Table, features: &Features, by_labels: f64) -> Self {
        let o = &features.outlook;
        let ratio = features.rate_ratio(table.worth());
        let (ahead, raw) = (o.ahead, Self::raw(table, features));
        let source = o.source.filter(|_| o.members == 1.0);
        let correction = table.by_ladder(source, features.weekday, features.age).unwrap_or(by_labels);
        let missing = (ratio * (ahead + raw * correction)).clamp(0.0, 1e15);
        Self { place: Place::of(features.age, missing, ahead > raw), missing, raw: ratio * raw }
    }
}

/// What there is to doubt in a forecast.
#[derive(Debug)]
struct Doubt {
    calibrated: bool,
    /// How far readings that come later than anything heard are to be reckoned with.
    share: f64,
    /// How many they may be, with those that silent sources withhold.
    extra: f64,
    withheld: f64,
    /// What the readings that are withheld make possible.
    held_back: Option<Drift>,
    /// The greatest score that may be claimed.
    most: f64,
}

impl Doubt {
    fn of(features: &Features, situation: Situation, by_labels: bool, (group, label_age): (bool, f64)) -> Self {
        let trust = features.trust();
        let calibrated = by_labels && trust >= TRUST;
        let share = if calibrated { 0.0 } else { 1.0 - trust };
        let waited = features.age.max(0.0) / label_age.max(1.0);
        let unheard = share * (UNHEARD.0 + UNHEARD.1 * features.n) / (1.0 + UNHEARD.2 * waited);
        // One series is known well enough by its silence; several fall silent together behind one gateway.
        let many = group && features.outlook.withheld > WITHHELD * features.n;
        let withheld = if many { features.outlook.withheld } else { 0.0 };
        let held_back = if many { Drift::withheld(features, situation.missing) } else { None };
        let most = if calibrated { SCORE_MAX } else { 0.5 + (SCORE_UNCALIBRATED - 0.5) * features.heard() };
        Self { calibrated, share, extra: unheard + withheld.min(1e12), withheld, held_back, most }
    }
}

/// Expected of a quotient: `E[n / N] = n / E[N] (1 + Var N / E[N]^2)`, to the second order (the delta method), less where
/// that is no small term.
///
/// What a silent source holds back is left out: it comes together or not at all, and the doubt is to be seen.
fn completeness(features: &Features, situation: Situation, known: &Known<'_>, table: &Table) -> f64 {
    let (Features { n, age, outlook, .. }, missing) = (features, situation.missing);
    let whole = n + missing;
    let drift = table.drift(*age).filter(|_| table.by_steps(*age));
    let varying = match drift {
        Some(drift) => 0.5 * drift + missing / (whole * whole).max(1.0),
        None if outlook.held > 0.5 => 0.0,
        None => (known.lesson.phi * missing + 1.0) * missing / (whole * whole).max(1.0),
    };
    let varying = varying.clamp(0.0, 1.0);
    if whole > 0.0 { (n / whole * (1.0 + varying / (1.0 + 4.0 * varying))).clamp(0.0, 1.0) } else { 0.0 }
}

/// What experience says of one aggregate, in units of its change.
#[derive(Debug)]
pub(super) struct Told {
    aggregate: Aggregate,
    /// Probability of no change, by experience; that of the shape is the one by structure.
    same: f64,
    shape: Shape,
    errors: Cumulated,
    counted: bool,
}

impl Told {
    pub(super) fn of(features: &Features, situation: Situation, known: &Known<'_>, aggregate: Aggregate) -> Self {
        let Situation { place, missing, .. } = situation;
        let shape = features.shape(aggregate, missing, known.lesson);
        let counted = counted(aggregate, missing);
        let errors = Cumulated::of(&known.errors(place, aggregate.index(), shape, counted));
        Self { aggregate, same: known.same(aggregate.index(), shape.same), shape, errors, counted }
    }

    fn mixture(&self) -> Mixture<'_> {
        Mixture { same: self.same, errors: &self.errors, shape: self.shape, counted: self.counted }
    }

    /// By how much the value changes at least and at most, with this probability.
    fn change(&self, mixture: Mixture<'_>, known: &Known<'_>, level: f64) -> (f64, f64) {
        let (down, up) = mixture.interval(1.0 - level, known.tails(self.aggregate.index()));
        match self.aggregate {
            // Whole readings: what lies between two counts is neither. None is ever taken back.
            Aggregate::Count => ((down - 1e-9).ceil().max(0.0), (up + 0.499).floor().max(0.0)),
            _ => (down, up),
        }
    }

    /// What became of it, once the final value is known.
    pub(super) fn outcome(&self, features: &Features, known: &Known<'_>, truth: f64, ask: Ask) -> Outcome {
        let (value, unit) = (features.values[self.aggregate.index()], features.unit(self.aggregate));
        let change = truth - value;
        let (low, high) = around(value, unit, self.change(self.mixture(), known, ask.level));
        let slack = ROUNDING * value.abs();
        let z = if self.counted { change } else { (change / unit - self.shape.centre) / self.shape.scale };
        Outcome {
            claimed_same: self.shape.same,
            same: change.abs() <= slack,
            claimed_score: self.mixture().within(tolerance(value, ask) / unit),
            within: change.abs() <= tolerance(value, ask),
            z,
            missed: (truth < low - slack, truth > high + slack),
            miss: 1.0 - ask.level,
            undecided: low < high,
        }
    }
}

/// What is foretold of one aggregate, doubts included, in units of its change.
#[derive(Debug)]
struct Foretold {
    told: Told,
    /// Probability of no change and scale of a change, if more readings are missing than experience says.
    doubted: Option<(f64, f64)>,
    change: (f64, f64),
}

impl Foretold {
    fn of(
        features: &Features,
        situation: Situation,
        known: &Known<'_>,
        doubt: &Doubt,
        aggregate: Aggregate,
        level: f64,
    ) -> Self {
        let told = Told::of(features, situation, known, aggregate);
        let doubted = (doubt.extra > 0.0).then(|| {
            let shape = features.shape(aggregate, situation.missing + doubt.extra, known.lesson);
            let wider = 1.0 + (doubt.withheld / features.n.max(1.0)).min(1.0);
            (told.same.min(shape.same), told.shape.scale.max(shape.scale) * wider)
        });
        let mut foretold = Self { told, doubted, change: (0.0, 0.0) };
        foretold.change = foretold.told.change(foretold.mixture(), known, level);
        foretold
    }

    fn mixture(&self) -> Mixture<'_> {
        let told = self.told.mixture();
        match self.doubted {
            Some((same, scale)) => Mixture { same, shape: Shape { scale, ..told.shape }, ..told },
            None => told,
        }
    }

    /// Of a cell with these values; `None` where the value shown is not a finite number.
    fn forecast(
        &self,
        features: &Features,
        known: &Known<'_>,
        doubt: &Doubt,
        by_steps: Option<&Drift>,
        ask: Ask,
    ) -> Option<Forecast> {
        let aggregate = self.told.aggregate;
        let (value, unit) = (features.values[aggregate.index()], features.unit(aggregate));
        if !value.is_finite() {
            return None;
        }
        let others = by_steps.into_iter().chain(&doubt.held_back);
        let interval = around(value, unit, self.change);
        let interval = others.fold(interval, |known, other| other.widen(aggregate, features, known));
        let (low, high) = shortened(value, interval);
        let tolerance = tolerance(value, ask) / unit;
        let score = known.score(aggregate.index(), self.told.mixture().within(tolerance));
        let doubted = if self.doubted.is_some() { self.mixture().within(tolerance) } else { 1.0 };
        let score = score + doubt.share * (score.min(doubted) - score);
        let score = if score.is_finite() { score.clamp(0.0, doubt.most) } else { 0.0 };
        Some(Forecast { low, high, score })
    }
}

/// By how much a value may change and still be the same to whoever asks.
fn tolerance(value: f64, ask: Ask) -> f64 {
    ask.eps * value.abs().max(ask.floor)
}

/// The interval of values that change by so many units at least and at most.
fn around(value: f64, unit: f64, (down, up): (f64, f64)) -> (f64, f64) {
    let bounded = |x: f64| match x.is_finite() {
        true => x,
        false if x < 0.0 => f64::MIN,
        false => f64::MAX,
    };
    let (low, high) = (bounded(value + unit * down), bounded(value + unit * up));
    if low <= high { (low, high) } else { (value, value) }
}

/// With short numbers as ends, but for one that is the value itself.
fn shortened(value: f64, (low, high): (f64, f64)) -> (f64, f64) {
    let (down, up) = widened(low, high);
    (if low == value { low } else { down }, if high == value { high } else { up })
}
