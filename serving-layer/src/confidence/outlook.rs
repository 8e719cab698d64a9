//! The outlook: how many readings a cell still expects, of one series or of a group.
//!
//! Owns the Gamma-Poisson estimate of one series' cell and its sum over a group. Does not own which parts of a bucket
//! are missing (`exposure`), nor what missing readings do to a value (`values`).

use super::Evidence;
use super::arrivals::{Arrivals, Prior};
use super::exposure::{Past, Stretches};
use super::missing::Missing;

/// Over-dispersion of late readings: the late share is itself off by about half of its size, as gateways come and go.
/// Stated, until past errors replace it.
const DISPERSION_LATE: f64 = 0.25;
/// Over-dispersion of readings that have yet to happen: a rate is off by about a tenth.
const DISPERSION_AHEAD: f64 = 0.01;
/// Correlation of what readings of two series of a group have beyond chance: those of one gateway are late together.
/// Stated, until past errors replace it.
const CORRELATION: f64 = 0.3;
/// More readings than this are not told apart.
const READINGS_MAX: f64 = 1e15;

/// What is still expected in a cell, of one series or of a group. The default is that of no series: merge into it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    counted: f64,
    expected: f64,
    /// Sum of the variances beyond Poisson's, and of their roots.
    extra: f64,
    extra_root: f64,
    /// Of the expected: those newer than the last reading, and those older than the first.
    newer: f64,
    older: f64,
    /// The greatest step between a series' two newest readings.
    step: f64,
    learned: bool,
}

impl Default for Outlook {
    fn default() -> Self {
        Self {
            counted: 0.0,
            expected: 0.0,
            extra: 0.0,
            extra_root: 0.0,
            newer: 0.0,
            older: 0.0,
            step: 0.0,
            learned: true,
        }
    }
}

impl Outlook {
    /// Adds a series to a group. Means add. Of the variances the part of chance (Poisson's) adds too; what is beyond
    /// is correlated between series, `sum x_i + rho sum_{i != j} sqrt(x_i x_j)` with the stated correlation 0.3. The
    /// expectations of newer and older readings are those of each series' own last and first reading: for a group
    /// they err towards doubt.
    pub fn merge(&mut self, other: &Self) {
        self.counted += other.counted;
        self.expected = (self.expected + other.expected).min(READINGS_MAX);
        self.extra += other.extra;
        self.extra_root += other.extra_root;
        self.newer += other.newer;
        self.older += other.older;
        self.step = self.step.max(other.step);
        self.learned &= other.learned;
    }

    /// Readings counted.
    pub fn counted(&self) -> f64 {
        self.counted
    }

    /// `E[R]`: readings expected beyond those.
    pub fn expected(&self) -> f64 {
        self.expected
    }

    /// `Var R`.
    pub fn variance(&self) -> f64 {
        let missing = self.missing();
        missing.mean + missing.extra
    }

    /// Readings counted per readings expected finally, `0..=1`.
    pub fn completeness(&self) -> f64 {
        let finally = self.counted + self.expected;
        if finally > 0.0 { (self.counted / finally).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Whether observed lateness stands behind every series.
    pub fn learned(&self) -> bool {
        self.learned
    }

    pub(super) fn step(&self) -> f64 {
        self.step
    }

    pub(super) fn missing(&self) -> Missing {
        let extra = (1.0 - CORRELATION) * self.extra + CORRELATION * self.extra_root * self.extra_root;
        Missing { mean: self.expected, extra }
    }

    /// Probability that no reading newer than the last is on its way.
    pub(super) fn none_newer(&self) -> f64 {
        self.missing().none_of(self.newer / self.expected.max(f64::MIN_POSITIVE))
    }

    /// Probability that no reading older than the first is on its way.
    pub(super) fn none_older(&self) -> f64 {
        self.missing().none_of(self.older / self.expected.max(f64::MIN_POSITIVE))
    }

    /// The readings of one cell still to come. The rate of readings has a Gamma prior from the usual gap of the
    /// series; counting `n` of them in the exposure `p` leaves a Gamma of shape `a + n` and rate `b + p`, so that over
    /// the exposure `q` of what is missing (Gamma-Poisson conjugacy: Gelman et al., Bayesian Data Analysis, 2.6)
    ///
    /// ```text
    /// E[R | n] = (a + n) q / (b + p)        Var[R | n] = m + m^2 / (a + n) + phi m^2
    /// ```
    ///
    /// With all of a bucket elapsed and `q = 1 - p` this is chain ladder with `p` as its completeness (Mack 1993),
    /// damped by the prior (Bornhuetter and Ferguson 1972). `phi` is the stated over-dispersion.
    ///
    /// Readings that are known to be missing are expected at least.
    pub(super) fn of(
        past: &Past<'_>,
        evidence: &Evidence<'_>,
        arrivals: &Arrivals,
        prior: Prior,
        horizon_max: i64,
    ) -> Self {
        let counted = evidence.partial.count as f64;
        let rate = past.habit(arrivals);
        let silence = past.silence(evidence.bucket);
        let stretch = Stretches::of(past, evidence, arrivals, &silence, prior);

        let shape = rate.readings + counted;
        let per_nano = shape / (rate.exposure + stretch.spoken).max(1.0);
        let returns = silence.returns(horizon_max);
        let (late, held, ahead) = (per_nano * stretch.late, per_nano * stretch.held, per_nano * stretch.ahead);
        let expected = late + held * silence.held + ahead * returns;
        let extra = expected * expected / shape
            + DISPERSION_LATE * late * late
            + held * held * silence.held * (1.0 - silence.held)
            + DISPERSION_AHEAD * ahead * ahead * returns * returns
            + ahead * ahead * returns * (1.0 - returns);
        let extra = extra.min(READINGS_MAX * READINGS_MAX);
        Self {
            counted,
            expected: expected.max(evidence.pending as f64).min(READINGS_MAX),
            extra,
            extra_root: extra.sqrt(),
            newer: per_nano * stretch.newer + held * silence.held + ahead * returns,
            older: per_nano * stretch.older,
            step: past.step(),
            learned: arrivals.learned,
        }
    }
}
