//! From missing readings to values: how far each aggregate may still move.
//!
//! Owns, per aggregate, the distribution of `V_final - V_now` as one of three shapes ([`Change`]). Missing readings are
//! taken as exchangeable with those counted, except for a stated shift of their mean.
//! Does not own how many are missing.

use schemas::Partial;
use schemas::partial::{Aggregate, RELATIVE_ERROR};

use super::missing::Missing;
use super::normal;
use super::outlook::Outlook;
use crate::answer::{Interval, Value};

/// Spread of a single reading, relative to its value, where nothing better is known.
const SPREAD_OF_ONE: f64 = 0.1;
/// Late readings differ in value from those in time, and later ones from earlier: the mean of the missing ones is off
/// by about this many deviations. Stated, until their moments are kept apart.
const SHIFT: f64 = 0.5;
/// Kurtosis of readings, of which the deviation's own error depends: between the normal's 3 and what telemetry shows.
const KURTOSIS: f64 = 5.0;
/// "The same" is never asked closer than epsilon times this part of the readings' spread: zero has no per cent.
const FLOOR: f64 = 0.1;

/// Part of the way to a cut score or a degenerate interval that must be left, so that rounding plays no role.
const STILL: f64 = 0.5;

/// What a cell knows about its own readings, and how many are missing.
pub(super) struct Cell<'a> {
    partial: &'a Partial,
    outlook: &'a Outlook,
    missing: Missing,
    n: f64,
    mean: f64,
    /// Deviation that one more reading is believed to have.
    deviation: f64,
    /// Probability that all missing readings equal those counted: where all counted ones are equal, Laplace's
    /// rule of succession, `(n + 1) / (n + R + 1)`.
    same: f64,
    /// Mean and variance of the missing, if any.
    some: (f64, f64),
    none: f64,
    /// Whether it is so sure that nothing is missing that score and intervals can't tell how sure.
    still: bool,
}

/// How `V_final - V_now` is distributed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// Next to never: a [`Self::Blend`] whose score is cut and whose interval is the value, without working them out.
    Still,
    /// The number of missing readings itself.
    Count(Missing),
    /// Nothing with probability `none`, else normal.
    Blend { none: f64, mean: f64, deviation: f64 },
    /// A record is passed in the direction of `sign` with probability `passed`, by an exponential excess; `passing`
    /// readings are expected to do so.
    Record { passed: f64, passing: f64, scale: f64, sign: f64 },
}

impl<'a> Cell<'a> {
    /// What moves `values`. Scores are cut at `score_max`, intervals miss with probability `miss`.
    pub(super) fn of(
        partial: &'a Partial,
        outlook: &'a Outlook,
        values: &[Value],
        (score_max, miss): (f64, f64),
    ) -> Self {
        let missing = outlook.missing();
        let n = partial.count.max(1) as f64;
        let records = values.iter().any(|v| is_record(v.aggregate));
        let least = STILL * (1.0 - score_max).min(miss);
        // That any is missing is no likelier than the number expected (Markov): mostly that alone tells enough.
        let surely_still = missing.mean <= least && !records;
        let (none, some) = if surely_still { (1.0, (0.0, 0.0)) } else { missing.none_and_some() };
        let still = 1.0 - none <= least;
        let wide = if still { records } else { values.iter().any(|v| v.aggregate != Aggregate::Count) };
        let mean = if wide { partial.sum.divided_by(partial.count.max(1)) } else { 0.0 };
        let constant = partial.count > 1 && partial.min == partial.max;
        let same = if constant { (n + 1.0) / (n + 1.0 + some.0) } else { 0.0 };
        let deviation = if wide { deviation(partial, mean, outlook.step()) } else { 0.0 };
        Self { partial, outlook, missing, n, mean, deviation, same, some, none, still }
    }

    /// How the aggregate may still move.
    pub(super) fn change(&self, aggregate: Aggregate) -> Change {
        match aggregate {
            Aggregate::Count => Change::Count(self.missing),
            _ if self.still && !is_record(aggregate) => Change::Still,
            Aggregate::Sum => self.sum(),
            Aggregate::Avg => self.nested(1.0, 1.0 / self.n),
            Aggregate::Min => self.record(-1.0),
            Aggregate::Max => self.record(1.0),
            Aggregate::First => self.replaced(self.outlook.none_older()),
            Aggregate::Last => self.replaced(self.outlook.none_newer()),
            Aggregate::Stddev => self.nested((KURTOSIS - 1.0) / 4.0, 1.0 / (self.n - 1.0).max(1.0)),
            Aggregate::Quantile(q) => self.nested(rank_variance(q.fraction()), 1.0 / self.n),
        }
    }

    /// The difference below which a value counts as the same.
    pub(super) fn tolerance(&self, value: f64, epsilon: f64) -> f64 {
        epsilon * value.abs().max(FLOOR * self.deviation)
    }

    /// How far the shown value itself may be off its definition: the sketch's error.
    pub(super) fn sketch_error(&self, aggregate: Aggregate, value: f64) -> f64 {
        let sketched = aggregate.quantile().is_some() && self.partial.sketch.is_some();
        if sketched { RELATIVE_ERROR * value.abs() } else { 0.0 }
    }

    /// A sum over a random number of readings (Wald): mean `R mu`, variance `Var R mu^2 + R s^2`, and the errors of
    /// `mu`.
    fn sum(&self) -> Change {
        let (r, variance) = self.some;
        let (mu, s) = (self.mean, self.deviation);
        let unsure = s * s * (1.0 / self.n + SHIFT * SHIFT);
        let deviation = (variance * mu * mu + r * s * s + (r * r + variance) * unsure).sqrt();
        let none = if mu == 0.0 { self.unchanged(self.none) } else { self.none };
        Change::Blend { none, mean: r * mu, deviation }
    }

    /// An estimate from `n` of `n + R` exchangeable readings: `Var(V_final - V_now) = Var V_now - Var V_final`, that is
    /// `c s^2 (1/n - 1/(n + R))` for a variance of `c s^2 / n` (for the mean, Cochran's sampling from a finite
    /// population), and the shift of the missing ones by their weight `R / (n + R)`.
    fn nested(&self, c: f64, one_of_n: f64) -> Change {
        let weight = self.some.0 / (self.n + self.some.0);
        let variance = c * one_of_n * weight + (SHIFT * weight) * (SHIFT * weight);
        Change::Blend { none: self.unchanged(self.none), mean: 0.0, deviation: self.deviation * variance.sqrt() }
    }

    /// Another reading takes the place: it differs as two independent readings do.
    fn replaced(&self, none: f64) -> Change {
        let deviation = self.deviation * std::f64::consts::SQRT_2;
        Change::Blend { none: self.unchanged(none), mean: 0.0, deviation }
    }

    /// The least of `n + R` exchangeable readings is among the `n` with probability `n / (n + R)` (Renyi's records).
    /// The excess beyond it is exponential, of a normal's tail `s / sqrt(2 ln n)` long (Embrechts et al. 1997, 3.4).
    fn record(&self, sign: f64) -> Change {
        let (n, r) = (self.n, self.some.0);
        let any = 1.0 - self.none;
        let (passed, passing) = if self.same > 0.0 {
            (any * (1.0 - self.same), any * (1.0 - self.same))
        } else {
            (any * r / (n + r), any * r / (n + 1.0))
        };
        Change::Record { passed, passing, scale: self.deviation / (2.0 * n.ln()).max(1.0).sqrt(), sign }
    }

    fn unchanged(&self, none: f64) -> f64 {
        none + (1.0 - none) * self.same
    }
}

fn is_record(aggregate: Aggregate) -> bool {
    matches!(aggregate, Aggregate::Min | Aggregate::Max)
}

/// The deviation one more reading is believed to have: that of the sample, widened as few readings tell little:
/// `(n + 3) / (n - 1)` is about the square of Student's t over the normal's quantile, at 95 %. One reading
/// alone, or several equal ones, fall back on
/// twice the newest step of the series (one step tells even less), or on a tenth of the value; zeros on the unit.
fn deviation(partial: &Partial, mean: f64, step: f64) -> f64 {
    let n = partial.count as f64;
    if partial.count > 1 && partial.min != partial.max {
        let range = partial.max - partial.min;
        if !range.is_finite() {
            return f64::INFINITY;
        }
        // Rounding can't take more than the range allows: the deviation lies between these bounds.
        let sample = variance(partial, mean).map_or(range, f64::sqrt).clamp(range / (2.0 * n).sqrt(), range);
        return sample * ((n + 3.0) / (n - 1.0)).sqrt();
    }
    match (step, mean.abs()) {
        (step, _) if step > 0.0 => 2.0 * step,
        (_, 0.0) => 1.0,
        (_, mean) => SPREAD_OF_ONE * mean,
    }
}

/// The sample variance to a few digits: from rounded sums, far faster than the exact one, unless too much cancels.
fn variance(partial: &Partial, mean: f64) -> Option<f64> {
    let squares = partial.sum_sq.value();
    let about = squares - partial.sum.value() * mean;
    // Of sixteen digits at most nine cancel.
    if about > 1e-9 * squares && about.is_finite() {
        Some(about / (partial.count as f64 - 1.0))
    } else {
        partial.variance()
    }
}

/// Variance of a sample quantile times `n`, in variances of normal readings: `q (1 - q) / phi(z_q)^2` (Bahadur 1966).
fn rank_variance(q: f64) -> f64 {
    let q = q.clamp(0.001, 0.999);
    let density = normal::density(normal::quantile(q));
    q * (1.0 - q) / (density * density)
}

impl Change {
    /// `P(|V_final - V_now| <= tolerance)`.
    pub(super) fn within(&self, tolerance: f64) -> f64 {
        match *self {
            Self::Still => 1.0,
            Self::Count(missing) => missing.at_most(tolerance.floor()),
            Self::Blend { none, mean, deviation } => {
                let inside = inside(tolerance, mean, deviation);
                none + (1.0 - none) * if inside.is_nan() { 0.0 } else { inside.clamp(0.0, 1.0) }
            }
            Self::Record { passed, scale, .. } => {
                let beyond = (-tolerance / scale).exp();
                1.0 - passed * if beyond.is_nan() { 1.0 } else { beyond }
            }
        }
    }

    /// Bounds around `value` that hold the final value with probability `level`, and `value` itself: a count and a
    /// record can only move one way, and their bound on the other side is `value`.
    pub(super) fn interval(&self, value: f64, level: f64) -> Option<Interval> {
        let miss = 1.0 - level;
        let (down, up) = match *self {
            Self::Still => (0.0, 0.0),
            Self::Count(missing) => (0.0, missing.at_most_with(level)),
            Self::Blend { none, mean, deviation } => blend_bounds(none, mean, deviation, miss),
            Self::Record { passed, passing, scale, sign } => {
                let excess = if passed <= miss { 0.0 } else { scale * (passed.max(passing) / miss).ln().max(0.0) };
                if sign < 0.0 { (-excess, 0.0) } else { (0.0, excess) }
            }
        };
        if down.is_nan() || up.is_nan() {
            return None;
        }
        let (low, high) = (value + down.min(0.0), value + up.max(0.0));
        (low.is_finite() && high.is_finite()).then_some(Interval { low, high })
    }
}

/// `P(|X| <= tolerance)` of a normal `X`.
fn inside(tolerance: f64, mean: f64, deviation: f64) -> f64 {
    let above = (tolerance - mean) / deviation;
    // Both sides are alike.
    if mean == 0.0 && above > 0.0 {
        let outside = normal::beyond(above);
        return (1.0 - outside) - outside;
    }
    normal::below(above) - normal::below((-tolerance - mean) / deviation)
}

fn blend_bounds(none: f64, mean: f64, deviation: f64, miss: f64) -> (f64, f64) {
    if 1.0 - none <= miss {
        return (0.0, 0.0);
    }
    let z = normal::quantile(0.5 * miss / (1.0 - none));
    (mean + z * deviation, mean - z * deviation)
}
