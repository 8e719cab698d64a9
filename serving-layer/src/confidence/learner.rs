//! The learner: foretells cells, and learns from what became of them.
//!
//! Owns the tables of all strata, habits, and the order of the steps from evidence to forecast.
//! Does not own clocks, cells to be labelled (`Watched` belongs to the caller), nor storage: it is a serde value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::drift::Drift;
use super::evidence::{AGGREGATES, Ask, ClassId, Forecast, Moment, Prediction, Readings, Stratum, between};
use super::habit::{Arrived, Habits};
use super::ladder::{Note, Step};
use super::mixture::Mixture;
use super::outlook::{Member, Outlook};
use super::pool::Cumulated;
use super::shape::Features;
use super::table::{Outcome, Place, Table, counted};
use schemas::partial::Aggregate;

/// A difference relative to the value that is rounding, not change.
const ROUNDING: f64 = 1e-12;
/// Scores end below one: nothing is certain.
const SCORE_MAX: f64 = 0.9999;
/// What an answer without labels may claim at most, once a whole horizon was heard; one half before anything was.
const SCORE_UNCALIBRATED: f64 = 0.98;
/// The share that may still come at the horizon, by its definition.
const TAIL: f64 = 0.001;

/// How many times as long a cell waits for a source that has fallen silent.
const WAIT: f64 = 5.0;

/// Of a cell that is nearly final, at least so many readings are missing, and no more than this share.
const MANY_MISSING: f64 = 4.0;
const FEW: f64 = 0.03;
/// A class must have been heard for so much longer than its lateness reaches before answers are called calibrated.
const TRUST: f64 = 0.25;
/// Readings that may come later than anything heard, per cell and of those counted, and how soon fewer with age.
const UNHEARD: (f64, f64, f64) = (0.7, 0.05, 4.0);
/// The share of a group's readings that silent sources must withhold to be reckoned with.
const WITHHELD: f64 = 0.1;
const DAY: f64 = 86_400e9;
/// Labels later than this come too late to correct expectations.
const SLOW: f64 = DAY / 4.0;

/// What a person may set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The greatest horizon, nanoseconds.
    pub horizon_max: i64,
    /// Most series, metric classes and strata remembered.
    pub series_max: usize,
    /// Most metric classes.
    pub classes_max: usize,
    /// Most strata (class, width, single or group).
    pub strata_max: usize,
    /// What is promised by default: the level that is adapted, the difference that is recalibrated.
    pub ask: Ask,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            horizon_max: 86_400_000_000_000,
            series_max: 4_096,
            classes_max: 256,
            strata_max: 64,
            ask: Ask::default(),
        }
    }
}

/// What was known of a cell at a checkpoint, kept by the caller until the cell is final.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    features: Features,
}

/// Foretells cells and learns from what became of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Learner {
    settings: Settings,
    habits: Habits,
    #[serde(with = "super::pairs")]
    tables: BTreeMap<Stratum, Table>,
    /// What all classes taught: of single series, of groups.
    parents: [Table; 2],
}

/// What is foretold of one aggregate, and how it came about.
struct Told {
    mixture: Mixture,
    claimed_same: f64,
    claimed_score: f64,
    place: Place,
}

impl Learner {
    /// A learner that knows nothing.
    pub fn new(settings: Settings) -> Self {
        let horizon = settings.horizon_max.max(1) as f64;
        Self {
            habits: Habits::new(settings.series_max.max(4), settings.classes_max.max(1), horizon),
            settings,
            tables: BTreeMap::new(),
            parents: [Table::default(), Table::default()],
        }
    }

    /// Its settings.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Whether a reading of this class was ever heard.
    pub fn knows(&self, class: ClassId) -> bool {
        self.habits.knows(class)
    }

    /// Takes over other settings.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
        self.habits.limit(settings.series_max.max(4), settings.classes_max.max(1), settings.horizon_max.max(1) as f64);
    }

    /// Takes a reading into account that was new or corrected another. O(1).
    pub fn arrived(&mut self, reading: &Arrived) {
        self.habits.observe(reading);
    }

    /// The age after which less than 0.1 % of what changes a value still arrives, nanoseconds; at most the setting.
    pub fn horizon(&self, class: ClassId) -> i64 {
        self.habits.age_of(class, TAIL) as i64
    }

    /// The age at which cells of a class should be labelled: at least the horizon.
    pub fn label_age(&self, class: ClassId) -> i64 {
        self.habits.label_age(class).0 as i64
    }

    /// Whether a cell may be labelled: old enough, and no source of it is silent so that it may still hold readings
    /// back; but for that no cell waits longer than five times as long.
    pub fn ready(&self, class: ClassId, moment: &Moment, outlook: &Outlook) -> bool {
        let age = between(moment.bucket.end, moment.now);
        let due = self.habits.label_age(class).0;
        let waited = WAIT * (due + between(moment.bucket.start, moment.bucket.end));
        age >= due && (outlook.unresolved < 0.5 || age >= waited.min(self.settings.horizon_max as f64))
    }

    /// The outlook of one series of a cell; of a group, merge those of its members.
    pub fn outlook(&self, stratum: &Stratum, moment: &Moment, member: &Member) -> Outlook {
        let curve = self.habits.curve(member.class, Some(member.source));
        let single = Stratum { group: false, ..*stratum };
        let silence = &self.table(&single).unwrap_or(&self.parents[0]).silence;
        Outlook::of(moment, member, &self.habits, &curve, silence)
    }

    /// The table of a stratum, or of the same class at the nearest width.
    fn table(&self, stratum: &Stratum) -> Option<&Table> {
        self.tables.get(stratum).filter(|t| t.cells > 0 || t.slow).or_else(|| {
            let apart = |s: &Stratum| (s.width.max(1) as f64 / stratum.width.max(1) as f64).ln().abs();
            let of_class = Stratum { class: stratum.class, width: i64::MIN, group: false };
            self.tables
                .range(of_class..)
                .take_while(|(s, _)| s.class == stratum.class)
                .filter(|(s, t)| s.group == stratum.group && t.cells > 0)
                .min_by(|a, b| apart(a.0).total_cmp(&apart(b.0)))
                .map(|(_, t)| t)
        })
    }

    /// Keeps what is known of a cell now, to learn from it when it is final.
    pub fn observe(&self, moment: &Moment, readings: &Readings, outlook: &Outlook) -> Observation {
        let age = between(moment.bucket.end, moment.now);
        Observation {
            features: Features::of((age, moment.now as f64), weekday(moment.bucket.start), readings, outlook),
        }
    }

    /// Foretells a cell.
    pub fn predict(
        &self,
        stratum: &Stratum,
        moment: &Moment,
        readings: &Readings,
        outlook: &Outlook,
        ask: Ask,
    ) -> Prediction {
        self.foretell(stratum, &self.observe(moment, readings, outlook), &Aggregate::ALL, ask)
    }

    /// Foretells some aggregates of a cell from an observation; others are `None`.
    pub fn foretell(&self, stratum: &Stratum, observation: &Observation, wanted: &[Aggregate], ask: Ask) -> Prediction {
        let ask = ask.checked();
        let parent = &self.parents[usize::from(stratum.group)];
        let table = self.table(stratum).unwrap_or(parent);
        let features = &observation.features;
        let (place, missing, _) = situation(table, features);
        let (trust, o) = (features.trust(), &features.outlook);
        let calibrated = table.calibrated(place) && trust >= TRUST;
        // Until then readings later than anything heard are to be reckoned with.
        let doubt = if calibrated { 0.0 } else { 1.0 - trust };
        let waited = features.age.max(0.0) / self.habits.label_age(stratum.class).0.max(1.0);
        let unheard = doubt * (UNHEARD.0 + UNHEARD.1 * features.n) / (1.0 + UNHEARD.2 * waited);
        let by_steps = Drift::of(table, features, missing, ask.level);
        // One series is known well enough by its silence; several fall silent together behind one gateway.
        let many = stratum.group && o.withheld > WITHHELD * features.n;
        let withheld = if many { o.withheld } else { 0.0 };
        let held_back = if many { Drift::withheld(features, missing) } else { None };
        let extra = unheard + withheld.min(1e12);
        let mut forecasts = [None; AGGREGATES];
        for &aggregate in wanted {
            let value = features.values[aggregate.index()];
            if !value.is_finite() {
                continue;
            }
            let mut told = tell(table, parent, features, aggregate, place, missing, ask);
            let mut doubted = 1.0;
            if extra > 0.0 {
                let shape = features.shape(aggregate, missing + extra, table.lesson(place));
                told.mixture.same = told.mixture.same.min(shape.same);
                told.mixture.shape.scale =
                    told.mixture.shape.scale.max(shape.scale) * (1.0 + (withheld / features.n.max(1.0)).min(1.0));
                doubted = told.mixture.within(ask.eps * value.abs().max(ask.floor));
            }
            let (low, high) = told.interval(value, aggregate, ask.level, table.tails(place, aggregate.index()));
            let other = by_steps.iter().chain(&held_back);
            let (low, high) = other.fold((low, high), |known, other| other.widen(aggregate, features, known));
            let score = table.score(parent, place, aggregate.index(), told.claimed_score);
            let most = if calibrated { SCORE_MAX } else { 0.5 + (SCORE_UNCALIBRATED - 0.5) * features.heard() };
            let score = score + doubt * (score.min(doubted) - score);
            let score = if score.is_finite() { score.clamp(0.0, most) } else { 0.0 };
            forecasts[aggregate.index()] = Some(Forecast { low, high, score });
        }
        let whole = features.n + missing;
        // Expected of a quotient: `E[n / N] = n / E[N] (1 + Var N / E[N]^2)`, to the second order (the delta method),
        // less where that is no small term.
        // What a silent source holds back is left out: it comes together or not at all, and the doubt is to be seen.
        let drift = table.drift(features.age).filter(|_| table.by_steps(features.age));
        let varying = match drift {
            Some(drift) => 0.5 * drift + missing / (whole * whole).max(1.0),
            None if o.held > 0.5 => 0.0,
            None => (table.lesson(place).phi * missing + 1.0) * missing / (whole * whole).max(1.0),
        };
        let varying = varying.clamp(0.0, 1.0);
        let completeness = if whole > 0.0 {
            (features.n / whole * (1.0 + varying / (1.0 + 4.0 * varying))).clamp(0.0, 1.0)
        } else {
            0.0
        };
        Prediction { completeness, missing, forecasts, calibrated }
    }

    /// Takes note of an observation as it is made, and of the one made before it of the same cell: what changed from
    /// checkpoint to checkpoint teaches long before the cell is final.
    pub fn step(&mut self, stratum: &Stratum, before: Option<&Observation>, observation: &Observation) {
        self.make_room(stratum);
        let label_age = self.habits.label_age(stratum.class).0;
        let table = self.tables.entry(*stratum).or_default();
        table.slow = label_age > SLOW;
        if !table.slow {
            return;
        }
        let features = &observation.features;
        let source = features.outlook.source.filter(|_| !stratum.group);
        let (o, ratio) = (&features.outlook, features.rate_ratio(table.worth()));
        let Features { now, weekday, age, n, .. } = *features;
        let step = before.map(|b| &b.features).map(|before| {
            let o = &before.outlook;
            // One outage must not teach that every bucket misses as much.
            let most = 1.2 * before.n + 3.0 * before.rate_ratio(table.worth()) * (o.behind + o.ahead + o.future) + 2.0;
            let (then, missing) = (situation(table, before).1, situation(table, features).1);
            let (foretold, whole) = (before.n + then, n + missing);
            let change = ((whole + 1.0) / (foretold + 1.0)).ln().clamp(-1.0, 1.0);
            let poisson = (then - missing).max(0.0) / ((foretold + 1.0) * (foretold + 1.0));
            let drift = (change * change - poisson, foretold / (foretold + 20.0));
            Step { now, weekday, from: (before.age, before.n), to: (age, n.min(most)), drift }
        });
        let missing = ratio * (table.behind(age) * o.behind + o.future + table.least() * o.seen);
        table.ladder.observe(source, &Note { now, weekday, age, n, missing, ahead: ratio * o.ahead }, label_age);
        if let Some(step) = step {
            table.ladder.step(source, &step, label_age);
        }
    }

    /// Final values of a cell that is so nearly final that it can teach already; NaN of aggregates that can not.
    ///
    /// So many readings are missing that none of them missing is out of the question, and yet few of all: then count
    /// and sum are taken with what is expected. (That *nothing* is missing can not be taken for granted by
    /// expectation alone: scores would confirm themselves.)
    pub fn nearly_final(&self, stratum: &Stratum, observation: &Observation) -> Option<[f64; AGGREGATES]> {
        let features = &observation.features;
        let table = self.table(stratum)?;
        if features.outlook.unresolved >= 0.5 || features.age * 1.3 > self.habits.label_age(stratum.class).0 {
            return None;
        }
        let (place, missing, _) = situation(table, features);
        if !table.calibrated(place) && features.age < DAY {
            return None;
        }
        if missing < MANY_MISSING || missing > FEW * features.n {
            return None;
        }
        let mut finals = [f64::NAN; AGGREGATES];
        finals[Aggregate::Count.index()] = (features.n + missing).round();
        finals[Aggregate::Sum.index()] = features.values[Aggregate::Sum.index()] + missing * features.mean;
        Some(finals)
    }

    fn make_room(&mut self, stratum: &Stratum) {
        if !self.tables.contains_key(stratum) && self.tables.len() >= self.settings.strata_max.max(1) {
            let oldest = self.tables.iter().min_by_key(|(_, t)| t.latest).map(|(s, _)| *s);
            oldest.map(|s| self.tables.remove(&s));
        }
    }

    /// Learns from an observation of a cell whose final values are known; NaN where there is none.
    pub fn learn(&mut self, stratum: &Stratum, observation: &Observation, finals: &[f64; AGGREGATES], now: i64) {
        self.make_room(stratum);
        let ask = self.settings.ask.checked();
        let parent_index = usize::from(stratum.group);
        let mut table = self.tables.remove(stratum).unwrap_or_default();
        let parent = &mut self.parents[parent_index];
        table.cells += 1;
        table.latest = now;
        parent.cells += 1;
        let features = &observation.features;
        let (place, missing, raw) = situation(&table, features);
        for aggregate in Aggregate::ALL {
            let (value, truth) = (features.values[aggregate.index()], finals[aggregate.index()]);
            if !value.is_finite() || !truth.is_finite() {
                continue;
            }
            let told = tell(&table, parent, features, aggregate, place, missing, ask);
            let outcome = told.outcome(&table, aggregate, value, truth, ask);
            table.learn(Some(parent), place, aggregate.index(), &outcome);
            parent.learn(None, place, aggregate.index(), &outcome);
        }
        if features.heard() >= 1.0 {
            count(&mut table, parent, features, finals, (place, missing, raw), stratum.group);
        } else {
            table.heard(place);
        }
        self.tables.insert(*stratum, table);
    }
}

/// The weekday on which an instant falls, in universal time.
fn weekday(instant: i64) -> usize {
    (instant.div_euclid(DAY as i64)).rem_euclid(7) as usize
}

/// Where a cell stands, how many readings it misses, and how many of them are not ahead, by expectation alone.
///
/// Only those are corrected by the table: what is ahead follows what was learned of silence.
fn situation(table: &Table, features: &Features) -> (Place, f64, f64) {
    let behind = table.behind(features.age);
    let o = &features.outlook;
    let ratio = features.rate_ratio(table.worth());
    let (ahead, raw) = (o.ahead, behind * o.behind + o.future + table.least() * o.seen);
    let leads = ahead > raw;
    let correction = table.correction(
        Place::of(features.age, 1.0, leads),
        o.source.filter(|_| o.members == 1.0),
        features.weekday,
        features.age,
    );
    let missing = (ratio * (ahead + raw * correction)).clamp(0.0, 1e15);
    (Place::of(features.age, missing, leads), missing, ratio * raw)
}

fn tell(
    table: &Table,
    parent: &Table,
    features: &Features,
    aggregate: Aggregate,
    place: Place,
    missing: f64,
    ask: Ask,
) -> Told {
    let index = aggregate.index();
    let shape = features.shape(aggregate, missing, table.lesson(place));
    let same = table.same(parent, place, index, shape.same);
    let counted = counted(aggregate, missing);
    let errors = Cumulated::of(&table.errors(parent, place, index, shape, counted));
    let mixture = Mixture { same, errors, shape, counted };
    let tolerance = ask.eps * features.values[index].abs().max(ask.floor);
    let claimed_score = mixture.within(tolerance).clamp(0.0, 1.0);
    Told { mixture, claimed_same: shape.same, claimed_score, place }
}

impl Told {
    fn interval(&self, value: f64, aggregate: Aggregate, level: f64, tails: (f64, f64)) -> (f64, f64) {
        let (mut down, mut up) = self.mixture.interval(1.0 - level, tails);
        if aggregate == Aggregate::Count {
            // Whole readings: what lies between two counts is neither. None is ever taken back.
            (down, up) = ((down - 1e-9).ceil().max(0.0), (up + 0.499).floor().max(0.0));
        }
        let bounded = |x: f64| {
            if x.is_finite() {
                x
            } else if x < 0.0 {
                f64::MIN
            } else {
                f64::MAX
            }
        };
        let (low, high) = (bounded(value + down), bounded(value + up));
        if low <= high { (low, high) } else { (value, value) }
    }

    fn outcome(&self, table: &Table, aggregate: Aggregate, value: f64, truth: f64, ask: Ask) -> Outcome {
        let change = truth - value;
        let same = change.abs() <= ROUNDING * value.abs();
        let (low, high) = self.interval(value, aggregate, ask.level, table.tails(self.place, aggregate.index()));
        let slack = ROUNDING * value.abs();
        let shape = &self.mixture.shape;
        let z = if self.mixture.counted { change } else { (change - shape.centre) / shape.scale };
        Outcome {
            claimed_same: self.claimed_same,
            same,
            claimed_score: self.claimed_score,
            within: change.abs() <= ask.eps * value.abs().max(ask.floor),
            z,
            missed: (truth < low - slack, truth > high + slack),
            miss: 1.0 - ask.level,
            undecided: low < high,
        }
    }
}

/// Learns how many readings came, and how they differed in value from those before.
fn count(
    table: &mut Table,
    parent: &mut Table,
    features: &Features,
    finals: &[f64; AGGREGATES],
    (place, missing, raw): (Place, f64, f64),
    group: bool,
) {
    let total = finals[Aggregate::Count.index()];
    if !total.is_finite() {
        return;
    }
    let came = (total - features.n).max(0.0);
    let sum = finals[Aggregate::Sum.index()] - features.values[Aggregate::Sum.index()];
    let late_mean = sum / came;
    let shift = (came > 0.0 && late_mean.is_finite() && features.deviation > 0.0 && features.n >= 2.0).then(|| {
        let off = ((late_mean - features.mean) / features.deviation).clamp(-5.0, 5.0);
        (off, came.min(10.0))
    });
    let ahead = features.outlook.ahead * features.rate_ratio(table.worth());
    table.rate(features.outlook.expected(), total);
    table.count(place, (raw, ahead), missing, came, shift);
    parent.count(place, (raw, ahead), missing, came, shift);
    if !group {
        let o = &features.outlook;
        let ratio = features.rate_ratio(table.worth());
        let expected = (o.behind * ratio, o.due * ratio, o.due_late * ratio);
        table.silence.learn(o.silence, features.age, expected, came);
        parent.silence.learn(o.silence, features.age, expected, came);
    }
}
