//! Recalibration of probabilities: what was claimed against what happened.
//!
//! Owns a logistic regression on the claimed log odds (Platt 1999), fitted online with forgetting, and bins of what
//! it says, for what a straight line can not mend. Does not own which event is meant.

use serde::{Deserialize, Serialize};

/// Bins of the log odds, two units each.
const BINS: usize = 8;
/// Labels that the line's opinion is worth in a bin.
const SHRINK: f64 = 80.0;
/// Information that the parent's line is worth: labels at even odds are a quarter each.
const PRIOR: [f64; 2] = [6.0, 25.0];
/// Odds are told apart up to one in e^9; the line is fitted on less, since the far ends would turn it.
const ODDS_MAX: f64 = 9.0;

/// `ln(p / (1 - p))`, bounded.
pub(crate) fn logit(p: f64) -> f64 {
    let odds = (p / (1.0 - p)).ln();
    if odds.is_nan() { 0.0 } else { odds.clamp(-ODDS_MAX, ODDS_MAX) }
}

/// A probability as [`logit`] tells it.
pub(crate) fn bounded(p: f64) -> f64 {
    // `1 / (1 + e^9)`
    const LEAST: f64 = 1.233_945_759_862_317_5e-4;
    if p.is_nan() { 0.5 } else { p.clamp(LEAST, 1.0 - LEAST) }
}

/// The inverse of [`logit`].
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Bin {
    labels: f32,
    happened: f32,
    claimed: f32,
}

/// Log odds as `a + (1 + b) x` of the claimed ones; `a` and `b` are what was learned beyond the parent's.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Recal {
    line: [f64; 2],
    /// Information gathered: the symmetric matrix of 1, x, x^2, weighted by `p (1 - p)`.
    information: [f64; 3],
    bins: Vec<Bin>,
}

fn place(odds: f64) -> usize {
    ((odds * 0.5 + BINS as f64 / 2.0).clamp(0.0, BINS as f64 - 1.0)) as usize
}

impl Recal {
    /// Takes into account that an event with log odds `x`, by the parent's opinion `lent`, happened or not.
    ///
    /// One step of Newton's method per label (online logistic regression, as in Spokoiny and West-Harrison filters:
    /// information is forgotten with the given memory, the prior's never).
    pub(crate) fn observe(&mut self, x: f64, lent: f64, happened: bool, memory: f64) {
        let line = self.line_at(x, lent);
        let p = sigmoid(line).clamp(1e-4, 1.0 - 1e-4);
        let keep = 1.0 - 1.0 / memory;
        let w = p * (1.0 - p);
        let y = f64::from(u8::from(happened));
        let [a, b, c] = &mut self.information;
        (*a, *b, *c) = (*a * keep + w, *b * keep + w * x, *c * keep + w * x * x);
        let (a, b, c) = (*a + PRIOR[0], *b, *c + PRIOR[1]);
        let determinant = a * c - b * b;
        if determinant > 1e-9 {
            let (g0, g1) = (y - p, (y - p) * x);
            self.line[0] += (c * g0 - b * g1) / determinant;
            self.line[1] += (a * g1 - b * g0) / determinant;
            self.line[0] = self.line[0].clamp(-8.0, 8.0);
            self.line[1] = self.line[1].clamp(-1.0, 2.0);
        }
        if self.bins.len() != BINS {
            self.bins = vec![Bin::default(); BINS];
        }
        let bin = &mut self.bins[place(line)];
        let keep = keep as f32;
        bin.labels = bin.labels * keep + 1.0;
        bin.happened = bin.happened * keep + y as f32;
        bin.claimed = bin.claimed * keep + sigmoid(line) as f32;
    }

    fn line_at(&self, x: f64, lent: f64) -> f64 {
        (lent + self.line[0] + self.line[1] * x).clamp(-ODDS_MAX, ODDS_MAX)
    }

    /// The log odds in place of `x`; `lent` is the parent's opinion of them.
    pub(crate) fn odds(&self, x: f64, lent: f64) -> f64 {
        let line = self.line_at(x, lent);
        let Some(bin) = self.bins.get(place(line)).filter(|b| b.labels > 0.0) else { return line };
        let (labels, happened) = (f64::from(bin.labels), f64::from(bin.happened));
        let claimed = f64::from(bin.claimed) / labels;
        line + logit((happened + SHRINK * claimed) / (labels + SHRINK)) - logit(claimed)
    }
}
