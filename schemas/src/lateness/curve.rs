//! A lateness table for who asks it often: the same answers, each in constant time.

use std::sync::LazyLock;

use super::{BINS, LatenessTable, bin_of, edge};

/// The edges of all bins.
static EDGES: LazyLock<[f64; BINS + 1]> = LazyLock::new(|| std::array::from_fn(edge));

/// What a table says, cumulated.
#[derive(Debug, Clone)]
pub struct Curve {
    weights: [f64; BINS],
    /// The sum of the weights before each bin, added up in their order, so that it is the table's to the last bit.
    below: [f64; BINS],
    total: f64,
}

impl Curve {
    /// The curve of a table.
    pub fn of(table: &LatenessTable) -> Self {
        let mut sum = 0.0;
        let below = table.weights.map(|weight| {
            let below = sum;
            sum += weight;
            below
        });
        Self { weights: table.weights, below, total: table.total }
    }

    /// As [`LatenessTable::observed`].
    pub fn observed(&self) -> f64 {
        self.total
    }

    /// As [`LatenessTable::arrived_within`].
    pub fn arrived_within(&self, lateness: i64) -> f64 {
        if lateness < 0 {
            return 0.0;
        }
        let bin = bin_of(lateness);
        let (low, high) = (EDGES[bin], EDGES[bin + 1]);
        let inside = ((lateness as f64 - low) / (high - low)).clamp(0.0, 1.0);
        (self.below[bin] + self.weights[bin] * inside + 0.5) / (self.total + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MILLISECOND;

    #[test]
    fn it_is_the_table_to_the_last_bit() {
        let mut table = LatenessTable::default();
        for i in 0..100_000_i64 {
            table.observe(i * i * 977 % (90 * 3_600_000) * MILLISECOND / 7);
        }
        let curve = Curve::of(&table);
        assert_eq!(curve.observed(), table.observed());
        let mut lateness = 1;
        while lateness < i64::MAX / 3 {
            for asked in [-lateness, lateness - 1, lateness, lateness * 2 + 1] {
                assert_eq!(curve.arrived_within(asked).to_bits(), table.arrived_within(asked).to_bits(), "{asked}");
            }
            lateness += 1 + lateness / 9;
        }
    }
}
