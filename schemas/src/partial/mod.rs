//! The partial: the mergeable state of one series in one bucket, and the one place where aggregates are defined.
//!
//! `update`, `merge` and `evaluate` are called by the speed, batch and serving layers alike. `merge` is associative
//! and commutative to the last bit, because sums are kept exactly ([`ExactSum`]) and ties are broken by value.
//! Does not own: deduplication. A partial counts what it is given.

mod exact;
mod sketch;

pub use exact::ExactSum;
pub use sketch::{RELATIVE_ERROR, SKETCH_READINGS_MIN, Sketch};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A value and when it happened (event time, nanoseconds).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stamped {
    /// Event time in nanoseconds.
    pub time: i64,
    /// The value.
    pub value: f64,
}

impl Stamped {
    /// By time, then by value: the order that decides which reading is first and which is last.
    #[inline]
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.time.cmp(&other.time).then(self.value.total_cmp(&other.value))
    }
}

/// What is known of a set of readings that were counted once each.
#[derive(Debug, Clone, PartialEq)]
pub struct Partial {
    /// How many.
    pub count: u64,
    /// The sum of the values, exact.
    pub sum: ExactSum,
    /// The sum of the squares: exact while every square and its rounding error are representable
    /// (magnitudes between 1e-140 and 1e150).
    pub sum_sq: ExactSum,
    /// The smallest value; `-0.0` counts as less than `0.0`.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The earliest reading; of several at one instant (of several series) the least.
    pub first: Stamped,
    /// The latest reading; of several at one instant the greatest.
    pub last: Stamped,
    /// Quantiles within [`RELATIVE_ERROR`], where kept.
    pub sketch: Option<Box<Sketch>>,
}

impl Partial {
    /// The partial of one reading.
    pub fn of(time: i64, value: f64) -> Self {
        let stamped = Stamped { time, value };
        Self {
            count: 1,
            sum: ExactSum::of(value),
            sum_sq: ExactSum::of_square(value),
            min: value,
            max: value,
            first: stamped,
            last: stamped,
            sketch: None,
        }
    }

    /// The partial of these readings; `None` of none.
    pub fn of_all(readings: impl IntoIterator<Item = (i64, f64)>) -> Option<Self> {
        let mut readings = readings.into_iter();
        let (time, value) = readings.next()?;
        let mut partial = Self::of(time, value);
        for (time, value) in readings {
            partial.update(time, value);
        }
        Some(partial)
    }

    /// Counts one reading more.
    pub fn update(&mut self, time: i64, value: f64) {
        let stamped = Stamped { time, value };
        self.count += 1;
        self.sum.add(value);
        self.sum_sq.add_square(value);
        self.widen(value, value);
        self.extend(stamped, stamped);
        if let Some(sketch) = &mut self.sketch {
            sketch.update(value);
        }
    }

    /// Counts all that `other` counted. Keeps a sketch only if both have one: half a sketch would lie.
    #[inline]
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum.merge(&other.sum);
        self.sum_sq.merge(&other.sum_sq);
        self.widen(other.min, other.max);
        self.extend(other.first, other.last);
        match (&mut self.sketch, &other.sketch) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, _) => *mine = None,
        }
    }

    #[inline]
    fn widen(&mut self, min: f64, max: f64) {
        if min.total_cmp(&self.min).is_lt() {
            self.min = min;
        }
        if max.total_cmp(&self.max).is_gt() {
            self.max = max;
        }
    }

    #[inline]
    fn extend(&mut self, first: Stamped, last: Stamped) {
        if first.order(&self.first).is_lt() {
            self.first = first;
        }
        if last.order(&self.last).is_gt() {
            self.last = last;
        }
    }

    /// The value of an aggregate. `None` where it is not defined (deviation of one reading, a quantile without a
    /// sketch) or is too large for a double.
    pub fn evaluate(&self, aggregate: Aggregate) -> Option<f64> {
        let value = match aggregate {
            Aggregate::Count => self.count as f64,
            Aggregate::Sum => self.sum.value(),
            Aggregate::Avg => self.sum.divided_by(self.count),
            Aggregate::Min => self.min,
            Aggregate::Max => self.max,
            Aggregate::First => self.first.value,
            Aggregate::Last => self.last.value,
            Aggregate::Stddev => self.stddev()?,
            Aggregate::Quantile(q) => self.sketch.as_ref()?.quantile(q.fraction())?.clamp(self.min, self.max),
        };
        value.is_finite().then_some(value)
    }

    /// Sample variance `(n sum_sq - sum^2) / (n (n - 1))`, with the numerator computed exactly before it is rounded.
    pub fn variance(&self) -> Option<f64> {
        if self.count < 2 {
            return None;
        }
        let numerator = ExactSum::variance_numerator(self.count, &self.sum, &self.sum_sq)?;
        let n = self.count as f64;
        Some((numerator / n / (n - 1.0)).max(0.0))
    }

    fn stddev(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }
}

/// A quantile that can be asked for, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantile(u16);

impl Quantile {
    /// The fraction of readings at or below it, `0..=1`.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

/// An aggregate of a set of readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aggregate {
    /// How many readings.
    Count,
    /// The sum, correctly rounded.
    Sum,
    /// The arithmetic mean.
    Avg,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The value of the earliest event time.
    First,
    /// The value of the latest event time.
    Last,
    /// Sample standard deviation (divides by n - 1), as SQL's `stddev`; undefined for one reading.
    Stddev,
    /// The value of rank `ceil(q n)` (nearest rank), an actual reading.
    Quantile(Quantile),
}

impl Aggregate {
    /// All names that a query may use.
    pub const ALL: [Self; 12] = [
        Self::Count,
        Self::Sum,
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::First,
        Self::Last,
        Self::Stddev,
        Self::Quantile(Quantile(500)),
        Self::Quantile(Quantile(900)),
        Self::Quantile(Quantile(950)),
        Self::Quantile(Quantile(990)),
    ];

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::Count => 0,
            Self::Sum => 1,
            Self::Avg => 2,
            Self::Min => 3,
            Self::Max => 4,
            Self::First => 5,
            Self::Last => 6,
            Self::Stddev => 7,
            Self::Quantile(Quantile(500)) => 8,
            Self::Quantile(Quantile(900)) => 9,
            Self::Quantile(Quantile(950)) => 10,
            Self::Quantile(_) => 11,
        }
    }

    /// Its name outside.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::First => "first",
            Self::Last => "last",
            Self::Stddev => "stddev",
            Self::Quantile(Quantile(500)) => "p50",
            Self::Quantile(Quantile(900)) => "p90",
            Self::Quantile(Quantile(950)) => "p95",
            Self::Quantile(_) => "p99",
        }
    }

    /// The quantile, if it is one.
    pub fn quantile(self) -> Option<Quantile> {
        match self {
            Self::Quantile(q) => Some(q),
            _ => None,
        }
    }
}

impl std::str::FromStr for Aggregate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|a| a.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::invalid(format!("unknown aggregate {:?}: use {names}", crate::time::clip(text)))
        })
    }
}

impl Serialize for Aggregate {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Aggregate {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The exact quantile of sorted values by nearest rank; `None` of none.
pub fn quantile_of_sorted(sorted: &[f64], q: Quantile) -> Option<f64> {
    let rank = (q.fraction() * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests;
