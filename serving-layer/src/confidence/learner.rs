//! The learner: learns from what became of cells that were foretold.
//!
//! Owns the tables of all strata, habits, and the order of learning. Does not own the forecasts (`foretell`), clocks, which
//! cells are observed and labelled (`calibration`), nor storage: it is a serde value.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::drift::Drift;
use super::evidence::{AGGREGATES, Ask, ClassId, Moment, Prediction, SourceId, Stratum, between};
use super::foretell::{Experience, Foreteller, Observation, Situation, Told};
use super::habit::{Arrived, ClassHabit, Habits, SeriesHabit};
use super::ladder::{Note, Step};
use super::outlook::Outlook;
use super::shape::Features;
use super::table::Table;
use schemas::partial::Aggregate;

/// The share that may still come at the horizon, by its definition.
const TAIL: f64 = 0.001;

/// How many times as long a cell waits for a source that has fallen silent.
const WAIT: f64 = 5.0;

/// Of a cell that is nearly final, at least so many readings are missing, and no more than this share.
const MANY_MISSING: f64 = 4.0;
const FEW: f64 = 0.03;
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
        let age = between(moment.bucket.end.0, moment.now);
        let due = self.habits.label_age(class).0;
        let waited = WAIT * (due + between(moment.bucket.start.0, moment.bucket.end.0));
        age >= due && (outlook.unresolved < 0.5 || age >= waited.min(self.settings.horizon_max as f64))
    }

    /// What is usual in a class: to be asked for once for all of its series.
    pub fn class(&self, class: ClassId) -> Arc<ClassHabit<'_>> {
        Arc::new(self.habits.class(class))
    }

    /// How a series of a class usually speaks: to be asked for once for all of its buckets.
    pub fn series<'a>(&'a self, class: &Arc<ClassHabit<'a>>, source: SourceId) -> SeriesHabit<'a> {
        SeriesHabit::of(class, source)
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

    /// Foretells cells of a stratum, one after the other.
    pub fn foreteller(&self, stratum: &Stratum, ask: Ask) -> Foreteller<'_> {
        let parent = &self.parents[usize::from(stratum.group)];
        let single = Stratum { group: false, ..*stratum };
        let experience = Experience {
            table: self.table(stratum).unwrap_or(parent),
            parent,
            silence: &self.table(&single).unwrap_or(&self.parents[0]).silence,
        };
        Foreteller::new(stratum, experience, self.habits.label_age(stratum.class).0, ask)
    }

    /// Foretells some aggregates of a cell from an observation; others are `None`.
    pub fn foretell(&self, stratum: &Stratum, observation: &Observation, wanted: &[Aggregate], ask: Ask) -> Prediction {
        self.foreteller(stratum, ask).foretell(observation, wanted)
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
            let (then, missing) = (Situation::of(table, before).missing, Situation::of(table, features).missing);
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
        let Situation { place, missing, .. } = Situation::of(table, features);
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
        let situation = Situation::of(&table, features);
        let known = table.known(parent, situation.place.slot);
        let mut outcomes = Vec::new();
        for aggregate in Aggregate::ALL {
            let (value, truth) = (features.values[aggregate.index()], finals[aggregate.index()]);
            if !value.is_finite() || !truth.is_finite() {
                continue;
            }
            let told = Told::of(features, situation, &known, aggregate);
            outcomes.push((aggregate.index(), told.outcome(features, &known, truth, ask)));
        }
        for (aggregate, outcome) in &outcomes {
            table.learn(Some(parent), situation.place, *aggregate, outcome);
            parent.learn(None, situation.place, *aggregate, outcome);
        }
        let by_steps = Drift::of(&table, situation.place.slot, features, situation.missing, ask.level);
        let total = finals[Aggregate::Count.index()];
        if let Some(by_steps) = by_steps.filter(|_| total.is_finite()) {
            table.reached(situation.place.slot, by_steps.holds(total), 1.0 - ask.level);
        }
        if features.heard() >= 1.0 {
            count(&mut table, parent, features, finals, situation, stratum.group);
        } else {
            table.heard(situation.place);
        }
        self.tables.insert(*stratum, table);
    }
}

/// Learns how many readings came, and how they differed in value from those before.
fn count(
    table: &mut Table,
    parent: &mut Table,
    features: &Features,
    finals: &[f64; AGGREGATES],
    Situation { place, missing, raw }: Situation,
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
        let off = ((late_mean - features.mean) / features.deviation - features.lead).clamp(-5.0, 5.0);
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
