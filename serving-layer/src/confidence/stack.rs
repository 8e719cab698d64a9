//! How much of a score to believe against the plain rate at which its event happens at this age.
//!
//! Owns the running rate, and the weight of the score in a mixture of both, fitted online by least squares: the mixture
//! has about the lesser Brier score of the two (stacking, Wolpert 1992, Breiman 1996). Does not own the score (`recal`).

use serde::{Deserialize, Serialize};

/// Labels remembered.
const MEMORY: f32 = 1_500.0;
/// Labels that the score's own mean is worth in the rate.
const LENT: f32 = 8.0;
/// What is believed before any label: how much of the score, and squared differences that this is worth.
const WEIGHT: f32 = 0.7;
const PRIOR: f32 = 0.3;

/// Sums over labels, forgetting.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Stack {
    labels: f32,
    happened: f32,
    claimed: f32,
    /// Of `score - rate` with `event - rate`, and with itself.
    shared: f32,
    apart: f32,
}

impl Stack {
    fn rate(&self, score: f32) -> f32 {
        let mean = if self.labels > 0.0 { self.claimed / self.labels } else { score };
        (self.happened + LENT * mean) / (self.labels + LENT)
    }

    /// Takes into account what became of an event with this score.
    pub(crate) fn observe(&mut self, score: f64, happened: bool) {
        let (score, y) = (score as f32, f32::from(u8::from(happened)));
        let rate = self.rate(score);
        let keep = 1.0 - 1.0 / MEMORY;
        self.shared = self.shared * keep + (score - rate) * (y - rate);
        self.apart = self.apart * keep + (score - rate) * (score - rate);
        self.labels = self.labels * keep + 1.0;
        self.happened = self.happened * keep + y;
        self.claimed = self.claimed * keep + score;
    }

    /// The mixture of a score and the rate.
    pub(crate) fn mix(&self, score: f64) -> f64 {
        let weight = ((self.shared + PRIOR * WEIGHT) / (self.apart + PRIOR)).clamp(0.0, 1.0);
        let rate = f64::from(self.rate(score as f32));
        rate + f64::from(weight) * (score - rate)
    }
}
