//! The model: its settings, what goes in and what comes out.

use schemas::epoch::Tail;
use schemas::lateness::{Curve, LatenessTable};
use schemas::{ArrivalTime, Partial, TimeRange};

use super::State;
use super::arrivals::{Arrivals, Prior, TAIL, between};
use super::exposure::Past;
use super::outlook::Outlook;
use super::values::Cell;
use crate::answer::{Interval, Value};

/// Labelled buckets from which on a score is called calibrated: enough that its error is measured to about 0.03
/// (`sqrt(0.25 / 300)`), the expected calibration error that is promised.
pub const LABELS_MIN: u64 = 300;
/// No score says "certain".
const SCORE_MAX: f64 = 0.9999;
/// Scores are told to four decimals and completeness to six: no estimate knows more, and what neighbours share is written
/// once.
const SCORE_UNITS: f64 = 1e4;
const COMPLETENESS_UNITS: f64 = 1e6;
/// The level of an interval, and the fraction within which a value is the same, where a setting is no number.
const LEVEL: f64 = 0.95;
const EPSILON: f64 = 0.01;

/// What is known about one cell of one series at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What is counted now.
    pub partial: &'a Partial,
    /// The asked bucket, clipped to the asked range.
    pub bucket: TimeRange,
    /// The moment of asking.
    pub now: ArrivalTime,
    /// Whether batch views counted all that is known.
    pub covered: bool,
    /// Readings that are known and not counted here, as only a view was asked.
    pub pending: u64,
    /// Whether some of it was counted after it was final.
    pub revised: bool,
}

/// How evidence is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// A value is "the same" within this fraction.
    pub epsilon: f64,
    /// Probability that an interval is to hold.
    pub level: f64,
    /// The greatest horizon, nanoseconds.
    pub horizon_max: i64,
    /// Labelled buckets that stand behind the score, as calibration knows; 0 where nothing was measured.
    pub labels: u64,
}

/// How far a cell can be trusted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assessment {
    /// Readings counted per readings expected finally, `0..=1`, to six decimals.
    pub completeness: f64,
    /// Probability that the least certain of the values is final within epsilon; below 1, to four decimals.
    pub confidence_score: f64,
    /// Whether measured outcomes and observed lateness stand behind it.
    pub calibrated: bool,
}

impl Model {
    /// The model without labels, with intervals at 95 %.
    pub fn new(epsilon: f64, horizon_max: i64) -> Self {
        Self { epsilon, level: LEVEL, horizon_max, labels: 0 }
    }

    /// How a metric's readings of a bucket have arrived: the same for all series of the metric, so compute it once for
    /// them and pass it to [`Self::outlook`].
    pub fn arrivals(&self, bucket: TimeRange, now: ArrivalTime, lateness: Option<&Curve>) -> Arrivals {
        Arrivals::of(bucket, now, known(lateness), self.prior())
    }

    /// What is known of a series, the same for all of its buckets.
    pub fn past<'a>(&self, tail: Option<&'a Tail>, now: ArrivalTime, lateness: Option<&Curve>) -> Past<'a> {
        Past::of(tail, known(lateness), now, self.prior())
    }

    /// What is still expected in a cell, given the past of its series and the arrivals of its metric and bucket.
    pub fn outlook(&self, past: &Past<'_>, evidence: &Evidence<'_>, arrivals: &Arrivals) -> Outlook {
        Outlook::of(past, evidence, arrivals, self.prior(), self.horizon_max)
    }

    /// The horizon: the age after which less than 0.1 % of readings still arrive, as observed and, where few were, as
    /// believed. With fewer than 500 observed it exceeds what they show; with none it is the greatest.
    pub fn horizon(&self, lateness: Option<&LatenessTable>) -> i64 {
        let Some(table) = lateness.filter(|t| t.observed() > 0.0) else { return self.horizon_max };
        let believed = self.prior().age_of(TAIL * (table.observed() + 1.0)) as i64;
        table.horizon(TAIL).max(believed).min(self.horizon_max)
    }

    /// How settled a bucket is. One that changed after it was final stays revised.
    pub fn state(&self, bucket: TimeRange, now: ArrivalTime, horizon: i64, covered: bool, revised: bool) -> State {
        if now.0 < bucket.end.0 {
            State::Open
        } else if revised {
            State::Revised
        } else if covered && between(bucket.end.0, now.0) >= horizon.min(self.horizon_max) as f64 {
            State::Final
        } else {
            State::Settling
        }
    }

    /// How settled the bucket of a cell is.
    pub fn state_of(&self, evidence: &Evidence<'_>, horizon: i64) -> State {
        self.state(evidence.bucket, evidence.now, horizon, evidence.covered, evidence.revised)
    }

    /// How far the values of a cell can be trusted, whose intervals are set; where none is defined the score is the
    /// probability that no reading is missing.
    pub fn assess(&self, outlook: &Outlook, partial: &Partial, values: &mut [Value]) -> Assessment {
        let (epsilon, level) = (self.epsilon(), self.level());
        let cell = Cell::of(partial, outlook, values, (SCORE_MAX, 1.0 - level));
        let mut score: Option<f64> = None;
        for Value { aggregate, value, interval } in values {
            *interval = None;
            let Some(value) = value.filter(|v| v.is_finite()) else { continue };
            let change = cell.change(*aggregate);
            let within = change.within(cell.tolerance(value, epsilon));
            score = Some(score.map_or(within, |least| least.min(within)));
            *interval = widen(change.interval(value, level), cell.sketch_error(*aggregate, value));
        }
        let score = score.unwrap_or_else(|| outlook.missing().none());
        Assessment {
            completeness: rounded_down(outlook.completeness(), COMPLETENESS_UNITS),
            confidence_score: rounded_down(score.clamp(0.0, SCORE_MAX), SCORE_UNITS),
            calibrated: self.labels >= LABELS_MIN && outlook.learned(),
        }
    }

    fn prior(&self) -> Prior {
        Prior::of(self.horizon_max)
    }

    fn epsilon(&self) -> f64 {
        if self.epsilon.is_finite() { self.epsilon.max(0.0) } else { EPSILON }
    }

    fn level(&self) -> f64 {
        if self.level.is_finite() { self.level.clamp(0.001, SCORE_MAX) } else { LEVEL }
    }
}

/// What is not complete is not told as complete, nor more trust than there is. A number of so many decimals stays as it is.
fn rounded_down(value: f64, units: f64) -> f64 {
    const ERROR: f64 = 1e-9;
    (value * units + ERROR).floor() / units
}

fn widen(interval: Option<Interval>, error: f64) -> Option<Interval> {
    interval
        .map(|i| Interval { low: i.low - error, high: i.high + error })
        .filter(|i| i.low.is_finite() && i.high.is_finite())
}

/// The lateness curve, where it has anything to say.
fn known(curve: Option<&Curve>) -> Option<&Curve> {
    curve.filter(|c| c.observed() > 0.0)
}
