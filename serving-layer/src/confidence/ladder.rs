//! The chain ladder: how much of what is counted at one checkpoint is counted at the next.
//!
//! Owns the ratios per step and the correction of the expectation that follows from them. Corrects what a histogram of
//! lateness can not know: cohorts that grow or shrink, and changes of lateness, before any cell is final.
//! Does not own labels.

use serde::{Deserialize, Serialize};

use super::age;

/// Observations remembered per step.
const MEMORY: f64 = 150.0;
/// Readings per cell below which cells that are still empty, and not observed, would distort the steps.
const MANY: f64 = 12.0;
/// Observations of a weekday that the ladder of all days is worth.
const WEEKDAY_PRIOR: f64 = 15.0;
/// Observations before the ladder is believed at an age.
const ENOUGH: f64 = 20.0;

/// Sums over observations at one age.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Rung {
    /// Observations, readings counted, and readings expected to be missing: behind the frontier, ahead of it.
    seen: f64,
    counted: f64,
    missing: f64,
    ahead: f64,
    /// Of cells observed here and at the next age: readings counted here, and there.
    from: f64,
    to: f64,
}

/// The ladder of a stratum.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ladder {
    rungs: Vec<Rung>,
}

impl Default for Ladder {
    fn default() -> Self {
        Self { rungs: vec![Rung::default(); age::BINS] }
    }
}

impl Ladder {
    /// Takes an observation into account: `n` counted, `missing` expected behind the frontier, and ahead.
    pub(crate) fn observe(&mut self, age: f64, n: f64, missing: f64, ahead: f64) {
        if let Some(rung) = self.rungs.get_mut(age::bin(age)) {
            let keep = 1.0 - 1.0 / MEMORY;
            rung.seen = rung.seen * keep + 1.0;
            rung.counted = rung.counted * keep + n;
            rung.missing = rung.missing * keep + missing;
            rung.ahead = rung.ahead * keep + ahead;
        }
    }

    /// Takes a step of a cell from one checkpoint to the next into account.
    pub(crate) fn step(&mut self, from: (f64, f64), to: (f64, f64)) {
        let k = age::bin(from.0);
        if age::bin(to.0) != k + 1 || k == 0 {
            return;
        }
        if let Some(rung) = self.rungs.get_mut(k) {
            let keep = 1.0 - 1.0 / MEMORY;
            rung.from = rung.from * keep + from.1;
            rung.to = rung.to * keep + to.1.max(from.1);
        }
    }

    /// By which factor the expectation behind the frontier is off at an age: `n (1 / p - 1)` over what was expected, where
    /// `p = prod from / to` over the steps seen (Mack 1993), and by the expectation itself beyond the last of them.
    /// `None` where too little was seen.
    pub(crate) fn correction(&self, age: f64) -> Option<f64> {
        let k = age::bin(age);
        let here =
            self.rungs.get(k).filter(|r| k > 0 && r.seen >= ENOUGH && r.from > 0.0 && r.counted >= MANY * r.seen)?;
        let (mut whole, mut last) = (1.0, k);
        for (i, rung) in self.rungs.iter().enumerate().skip(k) {
            if rung.from <= 0.0 {
                break;
            }
            whole *= rung.to / rung.from;
            last = i + 1;
        }
        if let Some(rest) = self.rungs.get(last).filter(|r| r.counted > 0.0) {
            whole *= 1.0 + (rest.missing + rest.ahead) / rest.counted;
        }
        let missing = (here.counted * (whole - 1.0) - here.ahead).max(0.0);
        Some(((missing + 1.0) / (here.missing + 1.0)).clamp(0.05, 20.0)).filter(|c| c.is_finite())
    }
}

/// Ladders of all days together, and of each weekday: what is reported by people or by batch follows the week.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ladders {
    all: Ladder,
    weekdays: [Ladder; 7],
}

impl Ladders {
    /// Takes an observation of a bucket that began on `weekday` into account.
    pub(crate) fn observe(&mut self, weekday: usize, age: f64, n: f64, missing: f64, ahead: f64) {
        self.all.observe(age, n, missing, ahead);
        self.weekdays[weekday % 7].observe(age, n, missing, ahead);
    }

    /// Takes a step into account.
    pub(crate) fn step(&mut self, weekday: usize, from: (f64, f64), to: (f64, f64)) {
        self.all.step(from, to);
        self.weekdays[weekday % 7].step(from, to);
    }

    /// The correction at an age, of the weekday as far as it is known.
    pub(crate) fn correction(&self, weekday: usize, age: f64) -> Option<f64> {
        let all = self.all.correction(age)?;
        let day = &self.weekdays[weekday % 7];
        let Some(own) = day.correction(age) else { return Some(all) };
        let seen = day.rungs.get(age::bin(age)).map_or(0.0, |r| r.seen);
        let weight = seen / (seen + WEEKDAY_PRIOR);
        Some((all.ln() + weight * (own / all).ln()).exp())
    }
}
