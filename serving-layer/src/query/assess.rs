//! Points are assessed: how settled, how complete, how sure.
//!
//! Owns what of a point, its series and its metric goes into the model, and what is worked out once for many points.
//! Does not own the model ([`crate::confidence`]), nor what it learned ([`crate::calibration`]).

use std::collections::HashMap;
use std::sync::Arc;

use schemas::epoch::{SeriesState, Snapshot, Tail};
use schemas::partial::{Aggregate, RELATIVE_ERROR};
use schemas::{ArrivalTime, EventTime, Resolution, TimeRange};

use super::points::CellPoint;
use crate::answer::{Interval, Value};
use crate::calibration::{Hole, Learned, class_of, source_of};
use crate::confidence::{
    AGGREGATES, Ask, Bucket, ClassId, Member as Expected, Moment, Outlook, Readings, SourceId, State, Stratum,
};
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
}

/// A series, as the points that it is part of see it.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    metric: Metric,
    source: SourceId,
    tail: Option<&'a Tail>,
}

/// What all series of a metric share.
#[derive(Debug, Clone, Copy)]
struct Metric {
    class: ClassId,
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
    learned: Arc<Learned>,
    snapshot: &'a Snapshot,
    now: ArrivalTime,
    range: TimeRange,
    step: Resolution,
    ask: Ask,
    horizon_max: i64,
    holes: Vec<Hole>,
    metrics: HashMap<&'a str, Metric>,
    /// The one that was asked for last: series come sorted by metric.
    newest: Option<(&'a str, Metric)>,
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
    /// Assesses points of `range` in steps of `step`.
    pub(crate) fn new(
        serving: &Serving,
        now: ArrivalTime,
        snapshot: &'a Snapshot,
        range: TimeRange,
        step: Resolution,
        asked: Asked,
    ) -> Self {
        let horizon_max = serving.settings.horizon_max_nanos();
        let eps = asked.epsilon.unwrap_or(serving.settings.epsilon);
        let mut assessor = Self {
            learned: serving.calibration.learned(),
            snapshot,
            now,
            range,
            step,
            ask: Ask { level: asked.level, eps, floor: 0.0 },
            horizon_max,
            holes: Vec::new(),
            metrics: HashMap::new(),
            newest: None,
        };
        let horizon = snapshot.lateness.keys().map(|name| assessor.metric(name).horizon).max().unwrap_or(horizon_max);
        assessor.holes = serving.calibration.holes.in_range(range, now, horizon);
        assessor
    }

    /// The holes that points may touch, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.holes.iter().map(Hole::told).collect()
    }

    /// What points need to know of a series.
    pub(crate) fn member<'s>(&mut self, state: &'s SeriesState) -> Member<'s> {
        let metric = match self.newest {
            Some((name, metric)) if name == state.key.metric() => metric,
            _ => self.metric(state.key.metric()),
        };
        Member { metric, source: source_of(&state.key), tail: state.tail.as_ref() }
    }

    fn metric(&mut self, name: &str) -> Metric {
        // A name that lives as long as the snapshot; of a metric without readings there is none.
        let known = self.snapshot.lateness.get_key_value(name);
        if let Some(metric) = known.and_then(|(name, _)| self.metrics.get(name.as_str())) {
            return *metric;
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
        let metric = Metric { class, horizon, settled_at, stays: self.learned.stays(class) };
        if let Some((name, _)) = known {
            self.metrics.insert(name, metric);
            self.newest = Some((name, metric));
        }
        metric
    }

    /// What is to be said of a point of all these series; the intervals of its values are set.
    pub(crate) fn assess(&self, all: &CellPoint, members: &[Member<'_>], values: &mut [Value]) -> Assessed {
        let bucket = self.step.bucket(EventTime(all.bucket)).intersect(&self.range);
        let horizon = members.iter().map(|member| member.metric.horizon).max().unwrap_or(self.horizon_max);
        let touched = all.batch_points > 0 && all.touched;
        let state = State::of(bucket, self.now, horizon, all.covered(), touched);
        let age = self.now.0.saturating_sub(bucket.end.0);
        // What is this old was learned from as it is: it hardly changes, whether a view counts it yet or not.
        let settled_at = members.iter().map(|member| member.metric.settled_at).max().unwrap_or(i64::MAX);
        let mut assessed = match members.first() {
            Some(first) if age >= settled_at && all.pending == 0 && !touched => settled(first.metric, all, values),
            _ => self.unsettled(bucket, all, members, values),
        };
        assessed.state = state;
        if self.holes.iter().any(|hole| hole.touches(bucket)) {
            (assessed.confidence_score, assessed.calibrated) = (None, false);
        }
        assessed
    }

    fn unsettled(&self, bucket: TimeRange, all: &CellPoint, members: &[Member<'_>], values: &mut [Value]) -> Assessed {
        let learner = &self.learned.learner;
        let class = members.first().map_or(0, |member| member.metric.class);
        let width = bucket.end.0.saturating_sub(bucket.start.0).max(1);
        let stratum = Stratum { class, width, group: members.len() > 1 };
        let partial = &all.partial;
        let moment = Moment {
            bucket: Bucket { start: bucket.start.0, end: bucket.end.0 },
            now: self.now.0,
            first: partial.first.time,
            last: partial.last.time,
        };
        let mut outlook = Outlook::default();
        for Member { metric, source, tail } in members {
            let expected = Expected { class: metric.class, source: *source, tail: *tail, frontier: None };
            outlook.merge(&learner.outlook(&stratum, &moment, &expected));
        }
        let wanted: Vec<Aggregate> = values.iter().map(|value| value.aggregate).collect();
        let mut shown = [f64::NAN; AGGREGATES];
        for Value { aggregate, value, .. } in values.iter() {
            shown[aggregate.index()] = value.unwrap_or(f64::NAN);
        }
        let observation = learner.observe(&moment, &summary(all, shown), &outlook);
        let told = learner.foretell(&stratum, &observation, &wanted, self.ask);
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
        }
    }
}

/// A bucket that is so old stays as it is, nearly always: the interval is the value.
fn settled(metric: Metric, all: &CellPoint, values: &mut [Value]) -> Assessed {
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
    summary(point, values)
}

fn summary(point: &CellPoint, values: [f64; AGGREGATES]) -> Readings {
    let partial = &point.partial;
    Readings {
        count: partial.count,
        sum: partial.sum.value(),
        variance: variance(point).unwrap_or(f64::NAN),
        min: partial.min,
        max: partial.max,
        first: partial.first.time,
        last: partial.last.time,
        values,
    }
}

/// The sample variance to a few digits: from rounded sums, far faster than the exact one, unless too much cancels.
fn variance(point: &CellPoint) -> Option<f64> {
    let partial = &point.partial;
    let (n, sum, squares) = (partial.count as f64, partial.sum.value(), partial.sum_sq.value());
    let about = squares - sum * sum / n;
    // Of sixteen digits at most nine cancel.
    if n >= 2.0 && about > 1e-9 * squares && about.is_finite() { Some(about / (n - 1.0)) } else { partial.variance() }
}

/// What is not complete is not told as complete, nor more trust than there is. A number of so many decimals stays as it is.
fn rounded_down(value: f64, units: f64) -> f64 {
    const ERROR: f64 = 1e-9;
    (value * units + ERROR).floor() / units
}
