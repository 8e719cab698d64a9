//! The number of missing readings, as a distribution. Does not own its mean and variance (`outlook`).

use super::normal;

/// The number of missing readings: a negative binomial, told by its mean and what its variance has beyond it.
/// Poisson where there is nothing beyond.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missing {
    pub(super) mean: f64,
    pub(super) extra: f64,
}

impl Missing {
    /// Numbers up to this are summed one by one; beyond, the distribution is read as a Gamma.
    const SUMMED: usize = 64;

    /// Variance per mean, less one.
    fn ratio(&self) -> f64 {
        if self.mean > 0.0 { self.extra / self.mean } else { 0.0 }
    }

    /// Logarithm of `P(R = 0)` where each missing reading counts only with probability `share`.
    fn log_none(&self, share: f64) -> f64 {
        let (ratio, share) = (self.ratio(), share.clamp(0.0, 1.0));
        if ratio < 1e-9 { -share * self.mean } else { -(self.mean / ratio) * (share * ratio).ln_1p() }
    }

    pub(super) fn none_of(&self, share: f64) -> f64 {
        self.log_none(share).exp()
    }

    /// `P(R = 0)`.
    pub(super) fn none(&self) -> f64 {
        self.none_of(1.0)
    }

    /// `P(R = 0)`, and mean and variance of `R` where it is not 0.
    pub(super) fn none_and_some(&self) -> (f64, (f64, f64)) {
        let log_none = self.log_none(1.0);
        let any = -log_none.exp_m1();
        if any <= 0.0 {
            return (log_none.exp(), (1.0, 0.0));
        }
        let mean = (self.mean / any).max(1.0);
        let square = (self.mean + self.extra + self.mean * self.mean) / any;
        (log_none.exp(), (mean, (square - mean * mean).max(0.0)))
    }

    /// `P(R <= k)`.
    pub(super) fn at_most(&self, k: f64) -> f64 {
        if k < Self::SUMMED as f64 {
            return self.cumulated().take(k.max(0.0) as usize + 1).last().unwrap_or(0.0);
        }
        let markov = 1.0 - self.mean / (k + 1.0);
        self.below(k + 0.5).max(markov).clamp(0.0, 1.0)
    }

    /// The least `k` with `P(R <= k) >= level`.
    pub(super) fn at_most_with(&self, level: f64) -> f64 {
        let summed = Self::SUMMED as f64;
        if self.mean < summed
            && let Some(k) = self.cumulated().take(Self::SUMMED).position(|p| p >= level)
        {
            return k as f64;
        }
        let shape = self.shape();
        let root = 1.0 - 1.0 / (9.0 * shape) + normal::quantile(level) / (3.0 * shape.sqrt());
        let gamma = (self.mean * root.max(0.0).powi(3)).ceil();
        if self.mean < summed { gamma.max(summed) } else { gamma }
    }

    /// `P(R <= 0), P(R <= 1), ...` by the recurrence of Panjer (1981).
    fn cumulated(&self) -> impl Iterator<Item = f64> {
        let (mean, ratio) = (self.mean, self.ratio());
        let mut probability = self.none();
        let mut sum = 0.0;
        (0..).map(move |k| {
            let k = f64::from(k);
            sum += probability;
            probability *= (mean + k * ratio) / ((1.0 + ratio) * (k + 1.0));
            sum
        })
    }

    fn shape(&self) -> f64 {
        let variance = (self.mean + self.extra).max(f64::MIN_POSITIVE);
        (self.mean / variance * self.mean).max(f64::MIN_POSITIVE)
    }

    /// The distribution of the Gamma of the same mean and variance, by the cube root of Wilson and Hilferty (1931).
    fn below(&self, x: f64) -> f64 {
        let shape = self.shape();
        let z = ((x / self.mean).cbrt() - (1.0 - 1.0 / (9.0 * shape))) * 3.0 * shape.sqrt();
        if z.is_nan() { 0.0 } else { normal::below(z) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_poisson_without_and_negative_binomial_with_more_variance() {
        let poisson = Missing { mean: 2.0, extra: 0.0 };
        assert!((poisson.none() - (-2f64).exp()).abs() < 1e-12);
        assert!((poisson.at_most(1.0) - 3.0 * (-2f64).exp()).abs() < 1e-12);
        // Geometric: mean 1, variance 2, P(k) = 2^-(k+1).
        let geometric = Missing { mean: 1.0, extra: 1.0 };
        assert!((geometric.at_most(3.0) - 15.0 / 16.0).abs() < 1e-12);
        assert_eq!(geometric.at_most_with(0.9), 3.0);
        assert!((geometric.none_of(0.5) - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn sums_and_the_gamma_meet() {
        let missing = Missing { mean: 60.0, extra: 120.0 };
        let k = Missing { mean: 70.0, ..missing }.at_most_with(0.5);
        assert!((65.0..72.0).contains(&k), "{k}");
        let (below, above) = (missing.at_most(63.0), missing.at_most(64.0));
        assert!(below <= above && above - below < 0.06, "{below} {above}");
    }

    #[test]
    fn a_rare_reading_is_one_reading() {
        let (_, (mean, variance)) = Missing { mean: 1e-9, extra: 0.0 }.none_and_some();
        assert!((mean - 1.0).abs() < 1e-6 && variance < 1e-6);
    }
}
