//! The distribution of a change: an atom at "no change", and a pool of scaled errors for the rest.
//!
//! Owns quantiles, interval and score of this mixture. Does not own where its parts come from (`learner`).

use super::pool::Cumulated;
use super::shape::Shape;

/// `v_final - v_now`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mixture<'a> {
    /// Probability of no change.
    pub(crate) same: f64,
    pub(crate) errors: &'a Cumulated,
    pub(crate) shape: Shape,
    /// Errors in pool bins are whole readings, not scaled.
    pub(crate) counted: bool,
}

/// Ways to split what an interval may miss between below and above: the shortest interval is taken.
const SPLITS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

impl Mixture<'_> {
    fn change(&self, z: f64) -> f64 {
        if self.counted { z } else { self.shape.centre + self.shape.scale * z }
    }

    fn z(&self, change: f64) -> f64 {
        if self.counted { change } else { (change - self.shape.centre) / self.shape.scale }
    }

    /// `P(change <= t)` of a change that happens, times its probability.
    fn below(&self, t: f64) -> f64 {
        (1.0 - self.same) * self.errors.below(self.z(t))
    }

    /// The change that is not exceeded with probability `p`; `negative` is `below(0)`.
    fn quantile(&self, p: f64, negative: f64) -> f64 {
        let some = 1.0 - self.same;
        if p >= negative && p <= negative + self.same || some <= 0.0 {
            0.0
        } else if p < negative {
            self.change(self.errors.quantile(p / some)).min(0.0)
        } else {
            self.change(self.errors.quantile((p - self.same) / some)).max(0.0)
        }
    }

    /// The shortest interval of changes missing at most `miss`, its two tails stretched by `tails`.
    pub(crate) fn interval(&self, miss: f64, tails: (f64, f64)) -> (f64, f64) {
        if 1.0 - self.same <= miss {
            return (0.0, 0.0);
        }
        let negative = self.below(0.0);
        let mut best = (f64::NEG_INFINITY, f64::INFINITY);
        for split in SPLITS {
            let low = self.quantile((miss * split * tails.0).min(0.5), negative);
            let high = self.quantile((1.0 - miss * (1.0 - split) * tails.1).max(0.5), negative);
            if high - low < best.1 - best.0 {
                best = (low, high);
            }
        }
        // Where quantiles of what was seen have not sufficed, reach beyond them.
        let reach = |tail: f64| 1.0 + 0.5 * (-tail.ln() - 1.0).max(0.0);
        let (low, high) = best;
        (
            low - low.abs().min(high - low) * (reach(tails.0) - 1.0),
            high + high.abs().min(high - low) * (reach(tails.1) - 1.0),
        )
    }

    /// `P(|change| <= tolerance)`.
    pub(crate) fn within(&self, tolerance: f64) -> f64 {
        // A pool of counts is of whole numbers: bins are asked half way between them.
        let t = if self.counted { tolerance.floor() + 0.5 } else { tolerance };
        let inside = if self.counted { self.below(t) } else { self.below(t) - self.below(-t) };
        (self.same + inside.max(0.0)).clamp(0.0, 1.0)
    }
}
