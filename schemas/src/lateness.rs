//! Lateness: how long after it happened a reading arrives, learned per metric.
//!
//! A histogram over log-spaced bins with exponential forgetting: O(1) per reading, a few hundred bytes per metric.
//! Does not own what confidence makes of it (serving layer).

mod curve;

pub use curve::Curve;

use crate::time::{DAY, MILLISECOND};

/// Half-octave bins from one millisecond; the last holds all above 2^32 ms, about 50 days.
pub const BINS: usize = 66;
/// A reading later than this is backfill: it says nothing about how live readings arrive.
pub const LATENESS_MAX: i64 = 7 * DAY;
/// When the weights reach this sum they are halved.
const FORGET_AT: f64 = 65_536.0;

/// Weights of readings by lateness.
#[derive(Debug, Clone, PartialEq)]
pub struct LatenessTable {
    weights: [f64; BINS],
    total: f64,
}

impl Default for LatenessTable {
    fn default() -> Self {
        Self { weights: [0.0; BINS], total: 0.0 }
    }
}

impl LatenessTable {
    /// Counts a reading that arrived this many nanoseconds after it happened. Backfill is not counted.
    pub fn observe(&mut self, lateness: i64) {
        if lateness > LATENESS_MAX {
            return;
        }
        self.weights[bin_of(lateness)] += 1.0;
        self.total += 1.0;
        if self.total >= FORGET_AT {
            self.weights.iter_mut().for_each(|w| *w /= 2.0);
            self.total /= 2.0;
        }
    }

    /// How many readings stand behind it, after forgetting.
    pub fn observed(&self) -> f64 {
        self.total
    }

    /// The fraction of readings that arrive within `lateness` nanoseconds, never quite 0 or 1: half a reading is
    /// added to either side (Jeffreys' prior). 0.5 where nothing was seen.
    pub fn arrived_within(&self, lateness: i64) -> f64 {
        if lateness < 0 {
            return 0.0;
        }
        let bin = bin_of(lateness);
        let below: f64 = self.weights[..bin].iter().sum();
        let (low, high) = (edge(bin), edge(bin + 1));
        let inside = ((lateness as f64 - low) / (high - low)).clamp(0.0, 1.0);
        (below + self.weights[bin] * inside + 0.5) / (self.total + 1.0)
    }

    /// The age after which less than `tail` of the readings still arrive: the upper edge of the bin where that is first so.
    pub fn horizon(&self, tail: f64) -> i64 {
        let mut above = self.total;
        for (bin, weight) in self.weights.iter().enumerate() {
            above -= weight;
            if above <= tail * self.total {
                return edge(bin + 1) as i64;
            }
        }
        LATENESS_MAX
    }

    /// The weights, for storing.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The table of stored weights; unknown or broken ones count as nothing seen.
    pub fn from_weights(stored: &[f64]) -> Self {
        let mut table = Self::default();
        for (mine, theirs) in table.weights.iter_mut().zip(stored) {
            *mine = if theirs.is_finite() && *theirs > 0.0 { *theirs } else { 0.0 };
        }
        table.total = table.weights.iter().sum();
        table
    }
}

fn bin_of(lateness: i64) -> usize {
    let millis = lateness.max(0) / MILLISECOND;
    if millis == 0 {
        return 0;
    }
    // Of its square, the octaves are the half-octaves.
    let half_octaves = u128::from(millis.unsigned_abs()).pow(2).ilog2() as usize;
    (1 + half_octaves).min(BINS - 1)
}

/// The lower edge of a bin in nanoseconds.
fn edge(bin: usize) -> f64 {
    if bin == 0 { 0.0 } else { 2f64.powf((bin - 1) as f64 / 2.0) * MILLISECOND as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{HOUR, SECOND};

    #[test]
    fn it_learns_a_distribution() {
        let mut table = LatenessTable::default();
        assert_eq!(table.arrived_within(SECOND), 0.5);
        for i in 0..1000 {
            table.observe(if i % 100 == 0 { 30 * SECOND } else { 200 * MILLISECOND });
        }
        table.observe(400 * DAY);
        assert_eq!(table.observed(), 1000.0);
        assert!((table.arrived_within(SECOND) - 0.99).abs() < 0.002);
        assert!(table.arrived_within(HOUR) > 0.999);
        assert!(table.arrived_within(0) < 0.001);
        assert!(table.horizon(0.001) > 30 * SECOND && table.horizon(0.02) < SECOND);
        assert_eq!(LatenessTable::from_weights(table.weights()), table);
    }
}
