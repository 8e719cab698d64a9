//! Intervals from how forecasts moved from checkpoint to checkpoint, where final labels come late.
//!
//! Owns the interval that follows from the drift of successive forecasts: known after one step, it is the fast one of
//! the two whose envelope is shown. Does not own the drift (`ladder`), nor the pools of final errors (`pool`).

use super::shape::Features;
use super::table::{SlotId, Table};
use schemas::partial::Aggregate;

/// How many readings a cell may end with, by its forecasts' drift.
#[derive(Debug)]
pub(crate) struct Drift {
    low: f64,
    high: f64,
}

/// The deviations that hold a normal number with probability `level` (Abramowitz and Stegun 1964, 26.2.23).
fn deviations(level: f64) -> f64 {
    let t = (-2.0 * ((1.0 - level) * 0.5).max(1e-9).ln()).sqrt();
    t - (2.515_517 + t * (0.802_853 + t * 0.010_328)) / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
}

impl Drift {
    /// Of a cell that misses `missing` readings in expectation; `None` where labels are fast or steps are few.
    ///
    /// The number ends lognormal around the forecast, with the variance of a Poisson number on top, as far as that has
    /// held at this age.
    pub(crate) fn of(table: &Table, slot: SlotId, features: &Features, missing: f64, level: f64) -> Option<Self> {
        let drift = table.drift(features.age)?;
        let whole = features.n + missing;
        let deviation = table.reach(slot) * (drift + missing / (whole * whole).max(1.0)).sqrt().min(2.0);
        let reach = (deviations(level) * deviation).exp();
        let (low, high) = (whole / reach, whole * reach);
        (low.is_finite() && high.is_finite()).then_some(Self { low, high })
    }

    /// Whether it holds the number that a cell ended with.
    pub(crate) fn holds(&self, whole: f64) -> bool {
        self.low.ceil() <= whole && whole <= self.high.floor()
    }

    /// Of a cell whose silent sources may hold back all that is due or nothing, with two deviations of a Poisson number.
    pub(crate) fn withheld(features: &Features, missing: f64) -> Option<Self> {
        let most = missing + features.outlook.withheld;
        let high = features.n + most + 2.0 * most.max(0.0).sqrt();
        (features.outlook.withheld > 0.5 && high.is_finite()).then_some(Self { low: features.n, high })
    }

    /// The envelope of this interval and another.
    pub(crate) fn widen(&self, aggregate: Aggregate, features: &Features, (low, high): (f64, f64)) -> (f64, f64) {
        // Whole readings: what lies between two numbers is neither.
        let (down, up) = ((self.low - features.n).max(0.0).ceil(), (self.high - features.n).floor());
        let value = features.values[aggregate.index()];
        let (least, most) = match aggregate {
            Aggregate::Count => (value + down, value + up),
            // Of values that hardly differ, the sum follows the number.
            Aggregate::Sum if features.deviation < 0.7 * features.mean.abs() => {
                let (a, b) = (value + down * features.mean, value + up * features.mean);
                (a.min(b), a.max(b))
            }
            _ => return (low, high),
        };
        if least.is_finite() && most.is_finite() && least <= most {
            (low.min(least), high.max(most))
        } else {
            (low, high)
        }
    }
}
