//! Pools of past errors, in units of a structural scale.
//!
//! Owns a forgetting histogram over `asinh`-spaced bins, and its quantiles. Does not own the atom at "no change"
//! (`mixture`), nor the scale.

use serde::{Deserialize, Serialize};

/// Bins of a pool.
pub(crate) const BINS: usize = 56;
/// Resolution near zero.
const FINE: f64 = 4.0;

/// The lower edge of bin `i`.
pub(crate) fn edge(i: usize) -> f64 {
    EDGES[i.min(BINS)]
}

/// `sinh(0.3 * (i - BINS / 2)) / FINE`, by the recurrence `e^(x + 0.3) = e^x e^0.3`.
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

/// Stretches of numbers that are looked up at once: quarters of octaves, from the least that differ from zero here to the
/// greatest.
const QUARTERS: usize = 17 * 4;
/// The bits of the first of them, `2^-8`, without those that tell numbers in one stretch apart.
const FIRST: u64 = 0.003_906_25_f64.to_bits() >> SAME;
const SAME: u32 = f64::MANTISSA_DIGITS - 1 - 2;

/// The last edge, counted from the middle, that is not above the beginning of each stretch.
const BEGIN: [u8; QUARTERS] = {
    let mut begin = [0; QUARTERS];
    let mut i = 0;
    while i < QUARTERS {
        let from = f64::from_bits((FIRST + i as u64) << SAME);
        let mut edge = 0;
        while edge < BINS / 2 && EDGES[BINS / 2 + edge + 1] <= from {
            edge += 1;
        }
        begin[i] = edge as u8;
        i += 1;
    }
    begin
};

/// The bin of `z`; what lies outside belongs to the last on that side.
pub(crate) fn bin(z: f64) -> usize {
    let size = z.abs();
    // What is no number is near nothing.
    let stretch = ((size.to_bits() >> SAME).saturating_sub(FIRST) as usize).min(QUARTERS - 1);
    let mut edge = if z.is_nan() { 0 } else { usize::from(BEGIN[stretch]) };
    while edge < BINS / 2 - 1 && EDGES[BINS / 2 + edge + 1] <= size {
        edge += 1;
    }
    let bin = BINS / 2 + edge;
    if z >= 0.0 || z.is_nan() { bin } else { BINS - 1 - bin }
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
#[derive(Debug)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_its_bin() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut some: Vec<f64> = EDGES.to_vec();
        some.extend([0.0, -0.0, f64::MAX, f64::MIN, f64::INFINITY, f64::NEG_INFINITY, 5e-324]);
        some.extend((0..100_000).map(|_| (random.f64() - 0.5) * 10_f64.powf(random.f64() * 8.0 - 4.0)));
        for z in some {
            let i = bin(z);
            assert!(i == 0 || EDGES[i] <= z || z < 0.0 && EDGES[i] == z, "{z} {i}");
            assert!(i == BINS - 1 || z <= EDGES[i + 1], "{z} {i}");
        }
        assert_eq!(bin(f64::NAN), BINS / 2);
    }
}
