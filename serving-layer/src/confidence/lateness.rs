//! How late readings come: a forgetting histogram of `arrival - event`, and integrals over it.
//!
//! Owns the histogram, its correction for youth and its prior. Does not own who speaks or how often (`habit`).

use serde::{Deserialize, Serialize};

/// Nanoseconds per millisecond, the finest lateness told apart.
const MILLI: f64 = 1e6;
/// Bins per octave of lateness.
const FINE: usize = 4;
/// Bins: up to 2^34 ms, half a year.
pub(crate) const BINS: usize = 136;
/// What may still come the moment it happened, before any lateness was observed.
const UNKNOWN: f64 = 0.5;
/// Weight of the prior, readings.
const PRIOR: f64 = 1.0;
/// The greatest correction for youth: beyond it the prior speaks.
const YOUTH_MAX: f64 = 5.0;

/// Where the bins of an octave begin: powers of two to the quarters.
const ROOTS: [f64; FINE] = [1.0, 1.189_207_115_002_721, std::f64::consts::SQRT_2, 1.681_792_830_507_429];

/// Upper ends of the bins, nanoseconds: bin `i` holds `edge(i) <= lateness < edge(i + 1)`.
const EDGES: [f64; BINS + 1] = {
    let mut edges = [0.0; BINS + 1];
    let (mut i, mut octave) = (0, 1.0);
    while i <= BINS {
        edges[i] = (octave * ROOTS[i % FINE] - 1.0) * MILLI;
        i += 1;
        if i % FINE == 0 {
            octave *= 2.0;
        }
    }
    edges
};

fn bin(lateness: f64) -> usize {
    const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
    // At least one: the exponent is the octave, the mantissa tells which quarter of it.
    let bits = (1.0 + (lateness / MILLI).max(0.0)).to_bits();
    let octave = (bits >> MANTISSA) as usize - 1023;
    let within = f64::from_bits(bits & ((1 << MANTISSA) - 1) | 1.0_f64.to_bits());
    let quarter = ROOTS[1..].iter().filter(|root| within >= **root).count();
    (FINE * octave + quarter).min(BINS - 1)
}

/// A histogram of lateness that forgets: the newest readings weigh most.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Lateness {
    bins: Vec<f32>,
    /// The age at which the frontier of its source passed each reading: at most its lateness.
    passed: Vec<f32>,
    total: f64,
    /// Weight of the next reading; grows, so that older ones need not be touched.
    next: f64,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { bins: vec![0.0; BINS], passed: vec![0.0; BINS], total: 0.0, next: 1.0 }
    }
}

impl Lateness {
    /// Counts a reading that came `lateness` nanoseconds after it happened, and that its source had passed `passed`
    /// nanoseconds after it happened, with a memory of about `memory` readings.
    pub(crate) fn observe(&mut self, lateness: f64, passed: f64, memory: f64) {
        if !lateness.is_finite() || self.bins.len() != BINS || self.passed.len() != BINS {
            return;
        }
        self.next *= 1.0 + 1.0 / memory;
        if self.next > 1e6 {
            let scale = 1.0 / self.next;
            self.bins.iter_mut().chain(&mut self.passed).for_each(|b| *b *= scale as f32);
            self.total *= scale;
            self.next = 1.0;
        }
        self.bins[bin(lateness)] += self.next as f32;
        self.passed[bin(passed.min(lateness))] += self.next as f32;
        self.total += self.next;
    }

    /// Readings it speaks for.
    pub(crate) fn weight(&self) -> f64 {
        self.total / self.next
    }
}

/// The share of readings that come later than an age, and its integral.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    late: [f64; BINS + 1],
    integral: [f64; BINS + 1],
    /// Of readings that the frontier has passed, the share still missing, and its integral.
    behind: [f64; BINS + 1],
    behind_integral: [f64; BINS + 1],
}

impl Curve {
    /// Blends a source's own lateness with that of its class, worth `shrink` readings, and the prior.
    ///
    /// A reading late by `d` could be seen only if it happened before `now - d`: of a stretch of `lived` nanoseconds
    /// that is the share `(lived - d) / lived`, by whose inverse it is weighed (Lawless 1994, right truncation).
    /// The prior is a Pareto tail `0.5 / (1 + age / scale)` that leaves 0.1 % at the greatest horizon.
    pub(crate) fn of(own: Option<&Lateness>, class: Option<&Lateness>, shrink: f64, lived: f64, horizon: f64) -> Self {
        let own = own.filter(|l| l.total > 0.0 && l.bins.len() == BINS);
        let class = class.filter(|l| l.total > 0.0 && l.bins.len() == BINS);
        let own_unit = own.map_or(0.0, |l| 1.0 / l.next);
        let own_weight = own.map_or(0.0, Lateness::weight);
        let class_share = if own_weight > 0.0 { shrink } else { f64::MAX };
        let class_unit = class.map_or(0.0, |l| class_share.min(l.weight()) / l.total);
        let scale = (horizon / (UNKNOWN / 0.001 - 1.0)).max(1.0);
        let prior = |age: f64| PRIOR * UNKNOWN / (1.0 + age / scale);
        let mut late = [0.0; BINS + 1];
        // Summed from the latest, so that small shares keep their digits.
        let mut sum = prior(EDGES[BINS]);
        late[BINS] = sum;
        for i in (0..BINS).rev() {
            let middle = EDGES[i];
            let youth = if middle < lived { (lived / (lived - middle)).min(YOUTH_MAX) } else { YOUTH_MAX };
            let seen = own.map_or(0.0, |l| f64::from(l.bins[i]) * own_unit)
                + class.map_or(0.0, |l| f64::from(l.bins[i]) * class_unit);
            sum += seen * youth + prior(EDGES[i]) - prior(EDGES[i + 1]);
            late[i] = sum;
        }
        let total = sum + PRIOR * (1.0 - UNKNOWN);
        let mut integral = [0.0; BINS + 1];
        let mut behind_integral = [0.0; BINS + 1];
        for l in &mut late {
            *l /= total;
        }
        // What was passed by an age less what arrived by it, of what was passed.
        let mut behind = [0.0; BINS + 1];
        let (mut passed, mut arrived) = (0.0, 0.0);
        behind[0] = late[0];
        for i in 0..BINS {
            passed += own.map_or(0.0, |l| f64::from(l.passed[i]) * own_unit)
                + class.map_or(0.0, |l| f64::from(l.passed[i]) * class_unit);
            arrived += own.map_or(0.0, |l| f64::from(l.bins[i]) * own_unit)
                + class.map_or(0.0, |l| f64::from(l.bins[i]) * class_unit);
            let doubt = prior(EDGES[i + 1]);
            behind[i + 1] = ((passed - arrived + doubt).max(0.0) / (passed + PRIOR)).min(late[i + 1]);
        }
        for i in 1..=BINS {
            let half = (EDGES[i] - EDGES[i - 1]) * 0.5;
            integral[i] = integral[i - 1] + half * (late[i] + late[i - 1]);
            behind_integral[i] = behind_integral[i - 1] + half * (behind[i] + behind[i - 1]);
        }
        Self { late, integral, behind, behind_integral }
    }

    /// `integral of late(a) da` from 0 to `age`.
    pub(crate) fn integral(&self, age: f64) -> f64 {
        integral(&self.late, &self.integral, age)
    }

    /// The share that comes later than `age`.
    pub(crate) fn later(&self, age: f64) -> f64 {
        if age < 0.0 { 1.0 } else { self.late[bin(age)] }
    }

    /// Of a stretch that ends now, the part of which news should have been heard.
    pub(crate) fn heard(&self, stretch: f64) -> f64 {
        (stretch - self.integral(stretch).min(stretch)).max(0.0)
    }

    /// The same of what the frontier has passed.
    pub(crate) fn behind(&self, age: f64) -> f64 {
        integral(&self.behind, &self.behind_integral, age)
    }

    /// The age after which less than `share` still come, at most `max`.
    pub(crate) fn age_of(&self, share: f64, max: f64) -> f64 {
        let i = self.late.iter().position(|l| *l < share).unwrap_or(BINS);
        EDGES[i].min(max)
    }
}

/// The integral from 0 to `age` of a function known at the edges, linear between them.
fn integral(at: &[f64; BINS + 1], sums: &[f64; BINS + 1], age: f64) -> f64 {
    if age <= 0.0 {
        return age.min(0.0);
    }
    let i = bin(age);
    let x = (age - EDGES[i]).max(0.0);
    let inside = (x / (EDGES[i + 1] - EDGES[i])).min(1.0);
    let here = at[i] + inside * (at[i + 1] - at[i]);
    sums[i] + x * 0.5 * (at[i] + here)
}
