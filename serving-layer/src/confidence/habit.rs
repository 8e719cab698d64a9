//! How a series usually speaks: its gaps, its lateness, the steps of its values.
//!
//! Owns what is remembered per series and per metric class, bounded by forgetting the ones silent for longest.
//! Does not own cells, nor what is concluded from habits (`outlook`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::evidence::{ClassId, SourceId, between, frontier};
use super::lateness::{Curve, Lateness};
use super::level::Level;
use super::outlook::born;
use super::silence::{self, Ended, Returns};
use schemas::TimeRange;
use schemas::epoch::Tail;

/// Readings a series' lateness remembers.
const SERIES_MEMORY: f64 = 300.0;
/// Readings a class' lateness remembers.
const CLASS_MEMORY: f64 = 20_000.0;
/// Readings of the class that a series' own lateness is blended with.
const SHRINK: f64 = 20.0;
/// Advances of its newest event time that a series remembers.
const ADVANCES: usize = 16;
/// Readings after which the age for labels is worked out anew.
const REFRESH: u32 = 64;
/// The share of readings that may still come when a cell is labelled: a fifth of what the horizon leaves.
const LABEL_SHARE: f64 = 0.0002;
/// Forgetting of the slow means.
const SLOW: f64 = 0.02;
/// And of what sets a series apart.
const SLOWER: f64 = 0.005;
/// Readings that the belief is worth that all series are alike.
const ALIKE: f64 = 20.0;

/// What a reading that arrived was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// An identity (series, event time) not seen before.
    New,
    /// Another value for an identity seen before. A copy with an equal value is none: it is not to be reported.
    Correction,
}

/// One reading as it arrived, with the series' tail as it was before it.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    /// Its metric class.
    pub class: ClassId,
    /// Its source.
    pub source: SourceId,
    /// When it happened.
    pub event: i64,
    /// When it arrived.
    pub arrival: i64,
    /// Its value.
    pub value: f64,
    /// What it was.
    pub kind: Arrival,
}

/// What is remembered of one series (metric class and source).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) lateness: Lateness,
    newest: i64,
    value: f64,
    arrival: i64,
    /// Its latest advances, oldest first: event time reached, and when.
    advances: VecDeque<(i64, i64)>,
    /// Slow mean of gaps, nanoseconds, and of their squares; how many were seen.
    gap: f64,
    gap_fast: f64,
    gap_sq: f64,
    gaps: f64,
    /// Slow mean of the readings that come from one advance to the next: 1 of a series in order.
    per_advance: f64,
    /// Readings since the latest advance, with it.
    since_advance: f64,
    readings: f64,
    /// The silence that ended last, until all that was held back must have come.
    ended: Option<Ended>,
    /// Slow mean of squared steps between successive values, of the values' squared deviation, and the share of steps that are none.
    step_sq: f64,
    pub(crate) equal: f64,
    steps: f64,
    /// Slower mean of what sets its values apart from those of other series at the same time, and readings it is of.
    apart: f64,
    compared: f64,
}

impl Series {
    /// The age at which this series had passed an event that arrives only now.
    fn passed(&self, event: i64, arrival: i64) -> f64 {
        let when = self.advances.iter().find(|(reached, _)| *reached > event).map_or(arrival, |(_, when)| *when);
        between(event, when)
    }

    fn observe(&mut self, r: &Arrived) {
        if r.kind == Arrival::New {
            let event = r.event.min(r.arrival);
            self.lateness.observe(between(r.event, r.arrival), self.passed(r.event, r.arrival), SERIES_MEMORY);
            if self.advances.back().is_none_or(|(reached, _)| event > *reached) {
                if self.advances.len() >= ADVANCES {
                    self.advances.pop_front();
                }
                self.advances.push_back((event, r.arrival));
            }
            self.readings += 1.0;
            if self.readings < 2.0 {
                (self.newest, self.value, self.since_advance) = (event, r.value, 1.0);
            } else if event > self.newest {
                self.gap(between(self.newest, event));
                self.step(r.value - self.value);
                (self.newest, self.value, self.since_advance) = (event, r.value, 1.0);
            } else {
                self.since_advance += 1.0;
            }
        }
        self.arrival = self.arrival.max(r.arrival);
    }

    fn gap(&mut self, gap: f64) {
        self.gaps += 1.0;
        let slow = SLOW.max(1.0 / self.gaps);
        let fast = 0.1_f64.max(1.0 / self.gaps);
        // A gap much longer than usual is an absence, not a cadence.
        let told = if self.gaps > 5.0 { gap.min(20.0 * self.gap) } else { gap };
        self.gap += slow * (told - self.gap);
        self.gap_fast += fast * (told - self.gap_fast);
        self.gap_sq += slow * (told * told - self.gap_sq);
        self.per_advance += slow * (self.since_advance - self.per_advance);
    }

    fn step(&mut self, step: f64) {
        if !step.is_finite() {
            return;
        }
        self.steps += 1.0;
        let weight = SLOW.max(1.0 / self.steps);
        let sq = if step.abs() < 1e150 { step * step } else { 1e300 };
        self.step_sq += weight * (sq - self.step_sq);
        self.equal += weight * (f64::from(u8::from(step == 0.0)) - self.equal);
    }

    /// Usual nanoseconds between readings. The slow mean unless the fast one departs by three of its deviations.
    pub(crate) fn cadence(&self) -> Option<f64> {
        if self.gaps < 1.0 || self.gap <= 0.0 {
            return None;
        }
        let cv = self.cv_sq().max(0.01);
        let off = (self.gap_fast / self.gap).ln().abs();
        let advance = if off > 3.0 * (0.05 * cv).sqrt() { self.gap_fast } else { self.gap };
        Some(advance / self.per_advance.max(1.0))
    }

    /// Squared coefficient of variation of its gaps: 0 of a regular series, 1 of a Poisson process.
    pub(crate) fn cv_sq(&self) -> f64 {
        if self.gaps < 5.0 || self.gap <= 0.0 {
            return 1.0;
        }
        (self.gap_sq / (self.gap * self.gap) - 1.0).clamp(0.0, 100.0)
    }

    /// What usually sets its values apart from those of other series of its class at the same time, if that is known.
    pub(crate) fn apart(&self) -> Option<f64> {
        (self.compared > 0.0).then(|| self.apart * self.compared / (self.compared + ALIKE))
    }

    /// Deviation of a step between successive readings, if known.
    pub(crate) fn step_deviation(&self) -> Option<f64> {
        (self.steps >= 1.0).then(|| self.step_sq.sqrt())
    }
}

/// What is remembered of a metric class.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Class {
    pub(crate) lateness: Lateness,
    /// Lateness of whatever changes a value: readings and corrections.
    changes: Lateness,
    /// Of corrections alone.
    corrections: Lateness,
    pub(crate) returns: Returns,
    /// Age for labels, worked out every so many readings.
    label_age: f64,
    fresh: u32,
    /// First and latest arrival.
    since: i64,
    latest: i64,
    level: Level,
}

/// What is remembered of all series and classes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Habits {
    #[serde(with = "super::pairs")]
    series: BTreeMap<(ClassId, SourceId), Series>,
    #[serde(with = "super::pairs")]
    classes: BTreeMap<ClassId, Class>,
    series_max: usize,
    classes_max: usize,
    horizon_max: f64,
    /// Of a class that was never heard.
    unknown: Returns,
}

impl Habits {
    pub(crate) fn new(series_max: usize, classes_max: usize, horizon_max: f64) -> Self {
        Self {
            series: BTreeMap::new(),
            classes: BTreeMap::new(),
            series_max,
            classes_max,
            horizon_max,
            unknown: Returns::default(),
        }
    }

    /// Learns from a reading that ends a long silence, or comes after all that one held back.
    fn learn_return(&mut self, r: &Arrived) {
        let event = r.event.min(r.arrival);
        let Some(series) = self.series.get_mut(&(r.class, r.source)) else { return };
        match &mut series.ended {
            Some(ended) if event <= ended.at => {
                ended.oldest = ended.oldest.min(event);
                return;
            }
            ended => {
                if let (Some(ended), Some(class)) = (ended.take(), self.classes.get_mut(&r.class)) {
                    class.returns.learn(&ended);
                }
            }
        }
        let (newest, regular) = (series.newest, silence::regular(series.cv_sq()));
        let stretch = between(newest, r.arrival);
        let Some(gap) = series.cadence().filter(|g| stretch > 1.5 * g && event > newest) else { return };
        let own = self.series(r.class, r.source).map(|series| &series.lateness);
        let silence = silence::bin(self.lateness(self.classes.get(&r.class), own).heard(stretch) / gap, regular);
        if silence::long(silence)
            && let Some(series) = self.series.get_mut(&(r.class, r.source))
        {
            series.ended = Some(Ended { newest, oldest: event, at: r.arrival, regular, silence });
        }
    }

    pub(crate) fn knows(&self, class: ClassId) -> bool {
        self.classes.contains_key(&class)
    }

    /// Takes over other limits.
    pub(crate) fn limit(&mut self, series_max: usize, classes_max: usize, horizon_max: f64) {
        (self.series_max, self.classes_max, self.horizon_max) = (series_max, classes_max, horizon_max);
    }

    /// Learns from one reading: O(1), except that every so often the silent quarter is forgotten.
    pub(crate) fn observe(&mut self, r: &Arrived) {
        if !r.value.is_finite() {
            return;
        }
        if !self.classes.contains_key(&r.class) && self.classes.len() >= self.classes_max {
            let oldest = self.classes.iter().min_by_key(|(_, c)| c.latest).map(|(k, _)| *k);
            oldest.map(|k| self.classes.remove(&k));
        }
        let class = self.classes.entry(r.class).or_default();
        if class.latest == 0 {
            (class.since, class.latest) = (r.arrival, r.arrival);
        }
        let passed = between(class.latest, class.latest.max(r.arrival));
        class.latest = class.latest.max(r.arrival);
        let lateness = between(r.event, r.arrival);
        // Older than any horizon, or from before we listened: a backfill, which says nothing of how late news comes.
        if lateness > self.horizon_max || (r.event < class.since && lateness > 0.0 && class.since != r.arrival) {
            return;
        }
        if r.kind == Arrival::New {
            self.learn_return(r);
        }
        let Some(class) = self.classes.get_mut(&r.class) else { return };
        let apart = class.level.compare(r.value, lateness, passed).filter(|_| r.kind == Arrival::New);
        let passed = self.series.get(&(r.class, r.source)).map_or(lateness, |s| s.passed(r.event, r.arrival));
        class.changes.observe(lateness, passed, CLASS_MEMORY);
        if r.kind == Arrival::New {
            class.lateness.observe(lateness, passed, CLASS_MEMORY);
        } else {
            class.corrections.observe(lateness, lateness, CLASS_MEMORY);
        }
        class.fresh += 1;
        if class.fresh >= REFRESH || class.label_age <= 0.0 {
            let age = self.age_of(r.class, LABEL_SHARE);
            if let Some(class) = self.classes.get_mut(&r.class) {
                (class.label_age, class.fresh) = (age, 0);
            }
        }
        if !self.series.contains_key(&(r.class, r.source)) && self.series.len() >= self.series_max {
            self.forget();
        }
        let series = self.series.entry((r.class, r.source)).or_default();
        series.observe(r);
        if let Some(apart) = apart {
            series.compared += 1.0;
            series.apart += SLOWER.max(1.0 / series.compared) * (apart - series.apart);
        }
    }

    /// Forgets the quarter of the series that were silent for longest.
    fn forget(&mut self) {
        let mut arrivals: Vec<i64> = self.series.values().map(|s| s.arrival).collect();
        arrivals.sort_unstable();
        let limit = arrivals.get(arrivals.len() / 4).copied().unwrap_or(i64::MAX);
        self.series.retain(|_, s| s.arrival > limit);
    }

    fn series(&self, class: ClassId, source: SourceId) -> Option<&Series> {
        self.series.get(&(class, source))
    }

    /// What is usual in a class.
    pub(crate) fn class(&self, class: ClassId) -> ClassHabit<'_> {
        let known = self.classes.get(&class);
        ClassHabit { habits: self, class, known, curve: OnceLock::new(), corrections: OnceLock::new() }
    }

    /// Of a class: its lateness, for how long it was heard.
    fn lateness(&self, class: Option<&Class>, own: Option<&Lateness>) -> Curve {
        let lived = class.map_or(0.0, |c| between(c.since, c.latest));
        Curve::of(own, class.map(|c| &c.lateness), SHRINK, lived, self.horizon_max)
    }

    /// The age at which cells of a class are labelled, and for how many times as long the class has been heard, up to 3.
    pub(crate) fn label_age(&self, class: ClassId) -> (f64, f64) {
        let Some(known) = self.classes.get(&class).filter(|c| c.label_age > 0.0) else {
            return (self.horizon_max, 0.0);
        };
        (known.label_age, (between(known.since, known.latest) / known.label_age).clamp(0.0, 3.0))
    }

    /// The age after which less than `share` of what changes a value still arrives, nanoseconds.
    pub(crate) fn age_of(&self, class: ClassId, share: f64) -> f64 {
        let known = self.classes.get(&class);
        let lived = known.map_or(0.0, |c| between(c.since, c.latest));
        Curve::of(None, known.map(|c| &c.changes), SHRINK, lived, self.horizon_max).age_of(share, self.horizon_max)
    }
}

/// What is usual in a class: worked out once for all of its series and buckets, and only what is asked for.
#[derive(Debug)]
pub struct ClassHabit<'a> {
    habits: &'a Habits,
    class: ClassId,
    known: Option<&'a Class>,
    curve: OnceLock<Curve>,
    /// How often a reading is corrected, and how late; `None` where none ever was.
    corrections: OnceLock<Option<(f64, Curve)>>,
}

impl ClassHabit<'_> {
    fn curve(&self) -> &Curve {
        self.curve.get_or_init(|| self.habits.lateness(self.known, None))
    }

    /// Corrections of a reading that are still to come at an age, in expectation.
    pub(crate) fn corrections(&self, age: f64) -> f64 {
        let corrections = self.corrections.get_or_init(|| {
            let known = self.known.filter(|c| c.corrections.weight() > 0.0)?;
            let lived = between(known.since, known.latest);
            let curve = Curve::of(None, Some(&known.corrections), SHRINK, lived, self.habits.horizon_max);
            Some((known.corrections.weight() / known.lateness.weight().max(1.0), curve))
        });
        corrections.as_ref().map_or(0.0, |(per_reading, curve)| per_reading * curve.later(age))
    }

    pub(crate) fn returns(&self) -> &Returns {
        self.known.map_or(&self.habits.unknown, |c| &c.returns)
    }

    /// For how many times as long as its cells wait for their labels the class has been heard, up to 3.
    pub(crate) fn heard(&self) -> f64 {
        self.habits.label_age(self.class).1
    }
}

/// How one series usually speaks: worked out once for all of its buckets.
#[derive(Debug)]
pub struct SeriesHabit<'a> {
    pub(crate) class: Arc<ClassHabit<'a>>,
    pub(crate) source: SourceId,
    pub(crate) series: Option<&'a Series>,
    /// Its lateness, where it is not that of its class.
    own: Option<Box<Curve>>,
}

impl<'a> SeriesHabit<'a> {
    /// Of a series of this class.
    pub(crate) fn of(class: &Arc<ClassHabit<'a>>, source: SourceId) -> Self {
        let series = class.habits.series(class.class, source);
        let own = series.filter(|series| series.lateness.weight() > 0.0);
        let own = own.map(|series| Box::new(class.habits.lateness(class.known, Some(&series.lateness))));
        Self { class: Arc::clone(class), source, series, own }
    }

    pub(crate) fn curve(&self) -> &Curve {
        self.own.as_deref().unwrap_or_else(|| self.class.curve())
    }

    /// The usual gap: what was learned here, else what the series' tail says.
    pub(crate) fn cadence(&self, tail: &Tail) -> Option<f64> {
        self.series.and_then(Series::cadence).or(Some(tail.cadence).filter(|c| c.is_finite() && *c > 0.0))
    }

    /// The stretch that the series has passed: of a bucket in it nothing is ahead of the frontier, and what is expected
    /// depends on its age alone.
    pub(crate) fn passed(&self, tail: Option<&Tail>) -> Option<TimeRange> {
        let (tail, cadence) = (tail?, self.cadence(tail?)?);
        Some(TimeRange::new(born(tail.earliest, cadence), frontier(tail)))
    }
}
