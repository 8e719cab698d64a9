//! Points are assessed: how settled, how complete, how sure.
//!
//! Owns what of a point, its series and its metric goes into the model, and what is worked out once for many points.
//! Does not own the model ([`crate::confidence`]), nor what it learned ([`crate::calibration`]).

use std::collections::HashMap;
use std::sync::Arc;

use schemas::decimal::floored;
use schemas::epoch::{SeriesState, Snapshot};
use schemas::partial::{Aggregate, RELATIVE_ERROR};
use schemas::{ArrivalTime, EventTime, Resolution, TimeRange};

use super::points::CellPoint;
use crate::answer::{Interval, Value};
use crate::calibration::{Hole, Learned, class_of, source_of};
use crate::confidence::{AGGREGATES, Ask, ClassHabit, ClassId, Foreteller, Moment, Readings, Sight, State, Stratum};
use crate::serving::Serving;

/// Scores are told to four decimals and completeness to six: no estimate knows more, and what neighbours share is written
/// once.
const SCORE_UNITS: f64 = 1e4;
const COMPLETENESS_UNITS: f64 = 1e6;
/// The share of readings that may still come at the horizon, by its definition.
const TAIL: f64 = 0.001;

/// Everything that is said of a point beside its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Assessed {
    /// How settled the bucket is.
    pub state: State,
    /// Readings counted per readings expected finally, `0..=1`.
    pub completeness: f64,
    /// Probability that the least certain of the values is final within epsilon; below 1. `None` over a hole.
    pub confidence_score: Option<f64>,
    /// Whether measured outcomes stand behind it.
    pub calibrated: bool,
    /// The part of the cells behind it that are final.
    pub final_share: f64,
}

/// The series of points that are assessed one after the other.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    sight: Sight<'a>,
    first: Option<Arc<Metric<'a>>>,
    group: bool,
    /// The greatest of their metrics.
    horizon: i64,
    settled_at: i64,
}

/// What all series of a metric share.
#[derive(Debug)]
pub(crate) struct Metric<'a> {
    class: ClassId,
    habit: Arc<ClassHabit<'a>>,
    /// Nanoseconds.
    horizon: i64,
    /// The age from which on its buckets are taken as they are.
    settled_at: i64,
    /// Probability that a final bucket stays as it is, and whether that was measured.
    stays: (f64, bool),
}

/// Assesses points of one snapshot. Copies see the same: what was learned, the present, the holes.
#[derive(Clone)]
pub(crate) struct Assessor<'a> {
    learned: &'a Learned,
    snapshot: &'a Snapshot,
    now: ArrivalTime,
    range: TimeRange,
    step: Resolution,
    ask: Ask,
    horizon_max: i64,
    holes: Vec<Hole>,
    metrics: HashMap<&'a str, Arc<Metric<'a>>>,
    /// The one that was asked for last: series come sorted by metric.
    newest: Option<(&'a str, Arc<Metric<'a>>)>,
    foretellers: Foretellers<'a>,
}

/// One for each stratum that was asked for.
#[derive(Debug, Clone, Default)]
struct Foretellers<'a> {
    all: Vec<Foreteller<'a>>,
    places: HashMap<Stratum, usize>,
    /// The one that was asked for last: points come series by series.
    newest: Option<(Stratum, usize)>,
}

impl<'a> Foretellers<'a> {
    fn of(&mut self, stratum: Stratum, new: impl FnOnce() -> Foreteller<'a>) -> &mut Foreteller<'a> {
        let place = match self.newest {
            Some((of, place)) if of == stratum => place,
            _ => *self.places.entry(stratum).or_insert_with(|| {
                self.all.push(new());
                self.all.len() - 1
            }),
        };
        self.newest = Some((stratum, place));
        &mut self.all[place]
    }
}

/// For whom points are assessed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// The probability that intervals are to hold.
    pub level: f64,
    /// The fraction within which a value is the same; `None`: as the settings say.
    pub epsilon: Option<f64>,
}

impl<'a> Assessor<'a> {
    /// Assesses points of `range` in steps of `step`, by what was learned.
    pub(crate) fn new(
        serving: &Serving,
        learned: &'a Learned,
        now: ArrivalTime,
        snapshot: &'a Snapshot,
        range: TimeRange,
        step: Resolution,
        asked: Asked,
    ) -> Self {
        let horizon_max = serving.settings.horizon_max_nanos();
        let eps = asked.epsilon.unwrap_or(serving.settings.epsilon);
        let mut assessor = Self {
            learned,
            snapshot,
            now,
            range,
            step,
            ask: Ask { level: asked.level, eps, floor: 0.0 },
            horizon_max,
            holes: Vec::new(),
            metrics: HashMap::new(),
            newest: None,
            foretellers: Foretellers::default(),
        };
        let horizon = snapshot.lateness.keys().map(|name| assessor.metric(name).horizon).max().unwrap_or(horizon_max);
        assessor.holes = serving.calibration.holes.in_range(range, now, horizon);
        assessor
    }

    /// The holes that points may touch, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.holes.iter().map(Hole::told).collect()
    }

    /// Until when the cells of each series are old enough to be final.
    pub(crate) fn final_before(&mut self, series: &[SeriesState]) -> Vec<EventTime> {
        let now = self.now.0;
        series.iter().map(|state| EventTime(now.saturating_sub(self.metric_of(state).horizon))).collect()
    }

    /// What points of these series, together, need to know of them; these aggregates of each will be assessed.
    pub(crate) fn members<'s>(
        &mut self,
        series: impl Iterator<Item = &'s SeriesState>,
        aggregates: &[Aggregate],
    ) -> Members<'s>
    where
        'a: 's,
    {
        let (mut first, mut horizon, mut settled_at) = (None, None, None);
        let mut members = Vec::with_capacity(series.size_hint().0);
        for state in series {
            let metric = self.metric_of(state);
            members.push((self.learned.learner.series(&metric.habit, source_of(&state.key)), state.tail.as_ref()));
            (horizon, settled_at) = (horizon.max(Some(metric.horizon)), settled_at.max(Some(metric.settled_at)));
            first.get_or_insert(metric);
        }
        Members {
            group: members.len() > 1,
            sight: Sight::new(members, aggregates.to_vec()),
            first,
            horizon: horizon.unwrap_or(self.horizon_max),
            settled_at: settled_at.unwrap_or(i64::MAX),
        }
    }

    fn metric_of(&mut self, state: &SeriesState) -> Arc<Metric<'a>> {
        match &self.newest {
            Some((name, metric)) if *name == state.key.metric() => Arc::clone(metric),
            _ => self.metric(state.key.metric()),
        }
    }

    fn metric(&mut self, name: &str) -> Arc<Metric<'a>> {
        // A name that lives as long as the snapshot; of a metric without readings there is none.
        let known = self.snapshot.lateness.get_key_value(name);
        if let Some(metric) = known.and_then(|(name, _)| self.metrics.get(name.as_str())) {
            return Arc::clone(metric);
        }
        let class = class_of(name);
        let horizon = self.learned.learner.horizon(class);
        // Metrics that are not watched are known by the lateness of all their readings.
        let horizon = match known {
            Some((_, table)) if !self.learned.learner.knows(class) && table.observed() > 0.0 => table.horizon(TAIL),
            _ => horizon,
        };
        let horizon = horizon.min(self.horizon_max);
        let settled_at = self.learned.learner.label_age(class).max(horizon);
        let (habit, stays) = (self.learned.learner.class(class), self.learned.stays(class));
        let metric = Arc::new(Metric { class, habit, horizon, settled_at, stays });
        if let Some((name, _)) = known {
            self.metrics.insert(name, Arc::clone(&metric));
            self.newest = Some((name, Arc::clone(&metric)));
        }
        metric
    }

    /// What is to be said of a point of all these series; the intervals of its values are set.
    pub(crate) fn assess<'s>(&mut self, all: &CellPoint, members: &mut Members<'s>, values: &mut [Value]) -> Assessed
    where
        'a: 's,
    {
        let bucket = self.step.bucket(EventTime(all.bucket)).intersect(&self.range);
        let touched = all.batch_points > 0 && all.touched;
        let state = State::of(bucket, self.now, members.horizon, all.covered(), touched);
        let age = self.now.0.saturating_sub(bucket.end.0);
        // What is this old was learned from as it is: it hardly changes, whether a view counts it yet or not.
        let mut assessed = match &members.first {
            Some(first) if age >= members.settled_at && all.pending == 0 && !touched => settled(first, all, values),
            _ => self.unsettled(bucket, all, members, values),
        };
        assessed.state = state;
        assessed.final_share = rounded_down(all.cells.final_share(), COMPLETENESS_UNITS);
        if self.holes.iter().any(|hole| hole.touches(bucket)) {
            (assessed.confidence_score, assessed.calibrated) = (None, false);
        }
        assessed
    }

    fn unsettled<'s>(
        &mut self,
        bucket: TimeRange,
        all: &CellPoint,
        members: &mut Members<'s>,
        values: &mut [Value],
    ) -> Assessed
    where
        'a: 's,
    {
        let class = members.first.as_ref().map_or(0, |metric| metric.class);
        let width = bucket.end.0.saturating_sub(bucket.start.0).max(1);
        let stratum = Stratum { class, width, group: members.group };
        let (learner, ask) = (&self.learned.learner, self.ask);
        let foreteller = self.foretellers.of(stratum, || learner.foreteller(&stratum, ask));
        let partial = &all.partial;
        let moment = Moment { bucket, now: self.now.0, first: partial.first.time, last: partial.last.time };
        let mut shown = [f64::NAN; AGGREGATES];
        for Value { aggregate, value, .. } in values.iter() {
            shown[aggregate.index()] = value.unwrap_or(f64::NAN);
        }
        let told = members.sight.foretell(foreteller, &moment, &Readings::of(partial, shown));
        let mut score: Option<f64> = None;
        for value in values {
            value.interval = None;
            let Some(forecast) = told.forecasts[value.aggregate.index()] else { continue };
            let error = sketch_error(all, value);
            value.interval = finite(forecast.low - error, forecast.high + error);
            score = Some(score.map_or(forecast.score, |least| least.min(forecast.score)));
        }
        let score = score.unwrap_or_else(|| (-told.missing).exp().min(1.0 - 1.0 / SCORE_UNITS));
        let kept = kept(all, told.missing, self.ask.eps);
        Assessed {
            state: State::Settling,
            completeness: rounded_down((told.completeness * kept.completeness).min(kept.share), COMPLETENESS_UNITS),
            confidence_score: Some(rounded_down(score * kept.score, SCORE_UNITS)),
            calibrated: told.calibrated,
            final_share: 0.0,
        }
    }
}

/// A bucket that is so old stays as it is, nearly always: the interval is the value.
fn settled(metric: &Metric<'_>, all: &CellPoint, values: &mut [Value]) -> Assessed {
    for value in values {
        let error = sketch_error(all, value);
        value.interval = value.value.and_then(|shown| finite(shown - error, shown + error));
    }
    let (stays, calibrated) = metric.stays;
    Assessed {
        state: State::Final,
        completeness: 1.0,
        confidence_score: Some(rounded_down(stays.min(1.0 - 1.0 / SCORE_UNITS), SCORE_UNITS)),
        calibrated,
        final_share: 0.0,
    }
}

/// What remains of completeness and score where readings are known that the asked view has not counted.
struct Kept {
    /// What is counted of what is known.
    share: f64,
    completeness: f64,
    score: f64,
}

/// Of readings in any order, so large a share of the extremes is among the first so many; other values change as surely.
fn kept(all: &CellPoint, missing: f64, epsilon: f64) -> Kept {
    let (counted, pending) = (all.partial.count as f64, all.pending as f64);
    let expected = counted + missing;
    let share = counted / (counted + pending);
    Kept {
        share,
        completeness: expected / (expected + pending),
        score: if 1.0 - share <= epsilon { 1.0 } else { share },
    }
}

fn finite(low: f64, high: f64) -> Option<Interval> {
    (low.is_finite() && high.is_finite()).then_some(Interval { low, high })
}

/// By how much a quantile may be off because it comes from a sketch.
fn sketch_error(all: &CellPoint, value: &Value) -> f64 {
    let sketched = value.aggregate.quantile().is_some() && all.values.is_none();
    match value.value {
        Some(shown) if sketched => RELATIVE_ERROR * shown.abs(),
        _ => 0.0,
    }
}

/// The readings of a point and all of its aggregates, as the model wants them.
pub(crate) fn readings_of(point: &CellPoint) -> Readings {
    let mut values = [f64::NAN; AGGREGATES];
    for aggregate in Aggregate::ALL {
        values[aggregate.index()] = point.evaluate(aggregate).unwrap_or(f64::NAN);
    }
    Readings::of(&point.partial, values)
}

/// What is not complete is not told as complete, nor more trust than there is. A number of so many decimals stays as it is.
fn rounded_down(value: f64, units: f64) -> f64 {
    const ERROR: f64 = 1e-9;
    floored(value * units + ERROR) / units
}
