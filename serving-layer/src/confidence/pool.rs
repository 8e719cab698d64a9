//! Pools of past errors, in units of a structural scale.
//!
//! Owns a forgetting histogram over `asinh`-spaced bins, and its quantiles. Does not own the atom at "no change"
//! (`mixture`), nor the scale.

use serde::{Deserialize, Serialize};

/// Bins of a pool.
pub(crate) const BINS: usize = 56;
/// Width of a bin in `asinh(FINE * z)`.
const STEP: f64 = 0.3;
/// Resolution near zero.
const FINE: f64 = 4.0;

/// The lower edge of bin `i`.
pub(crate) fn edge(i: usize) -> f64 {
    EDGES[i.min(BINS)]
}

/// `sinh(STEP * (i - BINS / 2)) / FINE`, by the recurrence `e^(x + STEP) = e^x e^STEP`.
const EDGES: [f64; BINS + 1] = {
    let mut edges = [0.0; BINS + 1];
    let ratio = 1.349_858_807_576_003; // e^0.3
    let (mut i, mut up) = (0, 1.0);
    while i <= BINS / 2 {
        let sinh = 0.5 * (up - 1.0 / up) / FINE;
        edges[BINS / 2 + i] = sinh;
        edges[BINS / 2 - i] = -sinh;
        up *= ratio;
        i += 1;
    }
    edges
};

/// The bin of `z`.
pub(crate) fn bin(z: f64) -> usize {
    let place = (z * FINE).asinh() / STEP + (BINS / 2) as f64;
    if place.is_nan() { BINS / 2 } else { place.clamp(0.0, (BINS - 1) as f64) as usize }
}

/// A histogram of errors that forgets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pool {
    bins: Vec<f32>,
    pub(crate) weight: f32,
}

impl Pool {
    /// Counts an error, with a memory of about `memory` errors.
    pub(crate) fn observe(&mut self, z: f64, memory: f32) {
        if self.bins.len() != BINS {
            self.bins = vec![0.0; BINS];
        }
        let keep = 1.0 - 1.0 / memory;
        self.weight = self.weight * keep + 1.0;
        self.bins.iter_mut().for_each(|b| *b *= keep);
        self.bins[bin(z)] += 1.0;
    }

    /// Adds its shares, together worth `weight` (or what it holds, if that is less), to `into`; returns what was added.
    pub(crate) fn add_to(&self, into: &mut [f64; BINS], weight: f64) -> f64 {
        if self.bins.len() != BINS || self.weight <= 0.0 {
            return 0.0;
        }
        let given = weight.min(f64::from(self.weight));
        let unit = given / f64::from(self.weight);
        for (sum, b) in into.iter_mut().zip(&self.bins) {
            *sum += unit * f64::from(*b);
        }
        given
    }
}

/// The errors of a change, cumulated: `P(z < edge(i))`.
pub(crate) struct Cumulated(pub(crate) [f64; BINS + 1]);

impl Cumulated {
    pub(crate) fn of(shares: &[f64; BINS]) -> Self {
        let mut sums = [0.0; BINS + 1];
        for i in 0..BINS {
            sums[i + 1] = sums[i] + shares[i].max(0.0);
        }
        let total = sums[BINS];
        if total > 0.0 {
            sums.iter_mut().for_each(|s| *s /= total);
        }
        Self(sums)
    }

    /// `P(Z <= z)`, linear within a bin.
    pub(crate) fn below(&self, z: f64) -> f64 {
        if z <= EDGES[0] {
            return 0.0;
        }
        if z >= EDGES[BINS] {
            return 1.0;
        }
        let i = bin(z);
        let inside = ((z - EDGES[i]) / (EDGES[i + 1] - EDGES[i])).clamp(0.0, 1.0);
        self.0[i] + inside * (self.0[i + 1] - self.0[i])
    }

    /// The least `z` with `P(Z <= z) >= p`.
    pub(crate) fn quantile(&self, p: f64) -> f64 {
        let i = self.0.partition_point(|s| *s < p).clamp(1, BINS);
        let (low, high) = (self.0[i - 1], self.0[i]);
        let inside = if high > low { ((p - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
        EDGES[i - 1] + inside * (EDGES[i] - EDGES[i - 1])
    }
}
