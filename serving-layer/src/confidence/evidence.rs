//! What a caller knows of a cell at one moment, and what it may ask.
//!
//! Owns the words in which evidence is given: times are nanoseconds, values are the metric's own unit.
//! Does not own how evidence is gathered (the speed layer), nor what follows from it.

use schemas::TimeRange;
use schemas::epoch::Tail;
use schemas::partial::Partial;
use serde::{Deserialize, Serialize};

/// How many aggregates there are.
pub const AGGREGATES: usize = 12;

/// A metric class, by a number that stays the same over restarts (for example a hash of its name).
pub type ClassId = u64;
/// A source (device), by a number that stays the same over restarts.
pub type SourceId = u64;

/// Which table of experience a cell belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stratum {
    /// Its metric class.
    pub class: ClassId,
    /// Bucket width, nanoseconds.
    pub width: i64,
    /// Whether it is the value over several series.
    pub group: bool,
}

/// Summary of the readings of a cell counted now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readings {
    /// How many (identities, not arrivals).
    pub count: u64,
    /// Sum of values.
    pub sum: f64,
    /// Sample variance of values (divides by n - 1); NaN or 0 where there are fewer than two.
    pub variance: f64,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Event time of the earliest.
    pub first: i64,
    /// Event time of the latest.
    pub last: i64,
    /// The shown value of each aggregate in the order of [`schemas::partial::Aggregate::ALL`]; NaN where it is not defined or not asked.
    pub values: [f64; AGGREGATES],
}

impl Readings {
    /// Of these readings, and the values that are shown of them.
    pub fn of(partial: &Partial, values: [f64; AGGREGATES]) -> Self {
        Self {
            count: partial.count,
            sum: partial.sum.value(),
            variance: variance(partial).unwrap_or(f64::NAN),
            min: partial.min,
            max: partial.max,
            first: partial.first.time,
            last: partial.last.time,
            values,
        }
    }
}

/// The sample variance to a few digits: from rounded sums, far faster than the exact one, unless too much cancels.
fn variance(partial: &Partial) -> Option<f64> {
    let (n, sum, squares) = (partial.count as f64, partial.sum.value(), partial.sum_sq.value());
    let about = squares - sum * sum / n;
    // Of sixteen digits at most nine cancel.
    if n >= 2.0 && about > 1e-9 * squares && about.is_finite() { Some(about / (n - 1.0)) } else { partial.variance() }
}

/// The newest event time of a series, unless the clock of its source runs ahead: nothing is heard before it happened.
pub(super) fn frontier(tail: &Tail) -> i64 {
    tail.time.min(tail.arrival.0)
}

/// The moment of a question: which bucket, when, and between which event times its readings lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The bucket.
    pub bucket: TimeRange,
    /// The present.
    pub now: i64,
    /// Event time of the earliest reading of the cell counted now.
    pub first: i64,
    /// Event time of the latest.
    pub last: i64,
}

/// What may be asked of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Probability with which intervals hold the final value.
    pub level: f64,
    /// Relative difference below which the final value counts as the value shown.
    pub eps: f64,
    /// Least magnitude that `eps` is applied to, in the unit of the value.
    pub floor: f64,
}

impl Default for Ask {
    fn default() -> Self {
        Self { level: 0.95, eps: 0.01, floor: 0.0 }
    }
}

impl Ask {
    /// With its numbers forced into what makes sense.
    pub(crate) fn checked(self) -> Self {
        let or = |x: f64, other: f64| if x.is_finite() { x } else { other };
        Self {
            level: or(self.level, 0.95).clamp(0.01, 0.9999),
            eps: or(self.eps, 0.01).max(0.0),
            floor: or(self.floor, 0.0).max(0.0),
        }
    }
}

/// What is foretold of one aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Lower end of the interval for the final value.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// `P(|v_final - v_now| <= eps * max(|v_now|, floor))`, within `0..1`, never 1.
    pub score: f64,
}

/// What is foretold of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Counted now / expected finally, `0..=1`.
    pub completeness: f64,
    /// Readings expected to be missing.
    pub missing: f64,
    /// Per aggregate in the order of [`schemas::partial::Aggregate::ALL`]; `None` where the value shown is not a finite number.
    pub forecasts: [Option<Forecast>; AGGREGATES],
    /// Whether labelled cells of this stratum and age stand behind it.
    pub calibrated: bool,
}

/// Nanoseconds from one instant to another, without overflow.
pub(crate) fn between(from: i64, to: i64) -> f64 {
    match to.checked_sub(from) {
        Some(nanos) => nanos as f64,
        None => to as f64 - from as f64,
    }
}
