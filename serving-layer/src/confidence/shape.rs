//! From missing readings to values: what shape the change of each aggregate has, before experience corrects it.
//!
//! Owns, per aggregate, the probability of no change, and centre and scale of a change if there is one. Missing
//! readings are taken as exchangeable with those counted, but for a learned shift of their mean.
//! Does not own what past changes looked like (`pool`), nor whether these probabilities hold (`recal`).

use serde::{Deserialize, Serialize};

use super::evidence::{AGGREGATES, Readings};
use super::outlook::Outlook;
use schemas::partial::{Aggregate, Quantile};

/// What is needed to foretell a cell, and to learn from it later: an observation without its stratum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Features {
    /// Nanoseconds since the bucket's end.
    pub(crate) age: f64,
    /// When it was made, nanoseconds.
    pub(crate) now: f64,
    /// The weekday on which its bucket began.
    pub(crate) weekday: usize,
    pub(crate) n: f64,
    pub(crate) mean: f64,
    /// Deviation of one reading.
    pub(crate) deviation: f64,
    /// Deviation of the step from one reading to the next.
    pub(crate) step: f64,
    /// Probability that a reading equals the one before.
    pub(crate) equal: f64,
    /// By how many deviations the mean of the missing readings differs, as series that miss some have other levels.
    pub(crate) lead: f64,
    /// Whether all readings counted are equal.
    pub(crate) constant: bool,
    pub(crate) outlook: Outlook,
    #[serde(with = "super::pairs::values")]
    pub(crate) values: [f64; AGGREGATES],
}

/// What a stratum learned that changes shapes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lesson {
    /// Overdispersion of the number missing: variance `m + phi m^2`.
    pub(crate) phi: f64,
    /// By how many deviations the mean of late readings differs.
    pub(crate) shift: f64,
}

/// How an aggregate may change, in units of [`Features::unit`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    /// Probability of no change.
    pub(crate) same: f64,
    /// Centre and scale of `v_final - v_now`, if there is a change.
    pub(crate) centre: f64,
    pub(crate) scale: f64,
    /// Which way it can go, before experience says otherwise: -1, 0 (both), 1.
    pub(crate) sign: i8,
}

/// Variance of a sample quantile times `n` in variances of a normal reading, `q (1 - q) / phi(z_q)^2` (Bahadur 1966).
const RANK_VARIANCE: [f64; 4] = [1.571, 2.922, 4.466, 13.94];

/// A number of missing readings from which on a count is centred instead of counted off one by one.
pub(crate) const MANY: f64 = 6.0;

impl Features {
    pub(crate) fn of((age, now): (f64, f64), weekday: usize, readings: &Readings, outlook: &Outlook) -> Self {
        let n = readings.count as f64;
        let finite = |x: f64, other: f64| if x.is_finite() { x.clamp(-1e150, 1e150) } else { other };
        let mean = finite(readings.sum / n.max(1.0), 0.0);
        let step = (outlook.stepped > 0.0).then(|| (outlook.step_sq / outlook.stepped).sqrt());
        // A few readings tell little of their spread: shrunk to what is usual, worth two degrees of freedom.
        let usual = step.filter(|u| u.is_finite());
        let sample = finite(readings.variance, 0.0).max(0.0);
        let freedom = (n - 1.0).max(0.0);
        let variance = match usual {
            Some(u) => (sample * freedom + 2.0 * u * u) / (freedom + 2.0),
            None if freedom > 0.0 => sample * (freedom + 4.0) / freedom,
            None => 0.0,
        };
        let deviation = finite(variance, 1e300).sqrt();
        let lead = if outlook.members > 1.0 { lead(outlook, deviation) } else { 0.0 };
        Self {
            lead,
            age,
            now,
            weekday,
            n,
            mean,
            deviation,
            step: step.map_or(deviation, |s| finite(s, deviation)),
            equal: if outlook.stepped > 0.0 { (outlook.equal / outlook.stepped).clamp(0.0, 1.0) } else { 0.0 },
            constant: readings.count > 0 && readings.min == readings.max,
            outlook: *outlook,
            values: readings.values,
        }
    }

    /// The part of a horizon that its class was heard for when it was made: of an unheard one nothing is known.
    pub(crate) fn heard(&self) -> f64 {
        if self.outlook.members > 0.0 { (self.outlook.heard / self.outlook.members).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// How far its class was heard for longer than lateness reaches: what comes later than all that was heard is unknown,
    /// and as long as lateness seems to reach as far as was listened, it may reach further.
    pub(crate) fn trust(&self) -> f64 {
        if self.outlook.members > 0.0 { (self.outlook.heard / self.outlook.members - 1.0).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The rate of this bucket over the usual one.
    ///
    /// Gamma-Poisson: the rate is known by `worth` readings and by the `n` counted where `seen` were expected
    /// (posterior mean `(a + n) / (a + seen)` of the prior's rate). A cell exists only with its first reading, so that
    /// what was expected is taken on that condition.
    pub(crate) fn rate_ratio(&self, worth_max: f64) -> f64 {
        let o = &self.outlook;
        if o.members <= 0.0 {
            return 1.0;
        }
        let worth = o.worth.min(worth_max).max(0.5);
        ((worth + self.n) / (worth + if self.n > 0.0 { at_least_one(o.seen) } else { o.seen })).clamp(1e-3, 1e3)
    }

    /// What changes of an aggregate are measured in: readings, steps or deviations of a reading, in the unit of the value.
    ///
    /// So measured, the shape of a change does not depend on the values, but for that of a sum.
    pub(crate) fn unit(&self, aggregate: Aggregate) -> f64 {
        let least = (self.mean.abs() * 1e-9).max(1e-12);
        match aggregate {
            Aggregate::Count => 1.0,
            Aggregate::First | Aggregate::Last => self.step.max(least),
            _ => self.deviation.max(least),
        }
    }

    /// The shape of each aggregate's change, given how many readings are missing in expectation.
    pub(crate) fn shape(&self, aggregate: Aggregate, missing: f64, lesson: Lesson) -> Shape {
        let o = &self.outlook;
        let parts = o.missing().max(1e-12);
        // What is missing behind the frontier and in the future comes one by one, ahead of it together.
        let alone = missing * ((o.behind + o.future) / parts).clamp(0.0, 1.0);
        let together = if o.ahead > 0.0 { missing * (o.ahead / parts).clamp(0.0, 1.0) / o.ahead } else { 0.0 };
        let none = (-alone + o.none_ahead * together).exp().max((-missing).exp()).clamp(0.0, 1.0);
        let some = 1.0 - none;
        let held = o.held * together.min(3.0);
        // Readings missing if any are.
        let r = if missing > 1e-6 { (missing / some.max(1e-12)).max(1.0) } else { 1.0 };
        let n = self.n.max(1.0);
        let shift = self.lead + lesson.shift;
        let weight = (r + held) / (n + r + held);
        // Probability that the missing ones all equal those counted (Laplace's rule of succession).
        let alike = if self.constant { ((n + 1.0) / (n + 1.0 + r)).max(self.equal.powf(r.min(50.0))) } else { 0.0 };
        let same_or = |p: f64| none + some * p.clamp(0.0, 1.0);
        let share = |x: f64| (missing * (x / parts).clamp(0.0, 1.0)).max(1e-9);
        let (same, centre, scale, sign) = match aggregate {
            Aggregate::Count => (none, r, (r + lesson.phi * r * r + held * held).sqrt(), 1),
            Aggregate::Sum => {
                let zero = self.constant && self.mean == 0.0;
                let mean = self.mean / self.unit(aggregate);
                let variance = r + (r + lesson.phi * r * r + held * held) * mean * mean;
                let sign = if self.mean == 0.0 { 0 } else { self.mean.signum() as i8 };
                let one_way = self.deviation < 0.7 * self.mean.abs();
                (
                    same_or(if zero { alike } else { 0.0 }),
                    r * (mean + shift),
                    variance.sqrt(),
                    if one_way { sign } else { 0 },
                )
            }
            Aggregate::Avg => (same_or(alike), r / (n + r) * shift, (weight / n).sqrt(), 0),
            Aggregate::Min | Aggregate::Max => {
                let kept = if self.constant { alike } else { n / (n + r) };
                (same_or(kept), 0.0, 1.0, if aggregate == Aggregate::Min { -1 } else { 1 })
            }
            Aggregate::First => ((-share(self.outlook.before)).exp(), 0.0, 1.0, 0),
            Aggregate::Last => {
                let none_newer = (-share(self.outlook.after)).exp();
                (none_newer + (1.0 - none_newer) * self.equal.powf(r.min(50.0)), 0.0, 1.0, 0)
            }
            Aggregate::Stddev => {
                let scale = if self.n < 2.0 { 1.0 } else { (weight / n).sqrt() };
                (same_or(alike), 0.0, scale, 0)
            }
            Aggregate::Quantile(_) => {
                let q = aggregate.quantile().map_or(0.5, Quantile::fraction);
                let variance = RANK_VARIANCE[aggregate.index() - Aggregate::Stddev.index() - 1];
                let top = (n - (q * n).ceil()) + 1.0;
                // As the k-th greatest stays while few exceed it; ties keep it longer.
                let kept = (n / (n + r)).powf(top.min(n)).max(alike).max(self.equal * n / (n + r));
                let scale = (variance.min(n) * weight / n).sqrt();
                (same_or(kept), 0.0, scale, 0)
            }
        };
        // Corrections change values without adding readings; of an extreme or a single reading, only its own does.
        let own = match aggregate {
            Aggregate::Count => 0.0,
            Aggregate::Sum | Aggregate::Avg | Aggregate::Stddev => self.n,
            Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => 1.0,
            _ => self.n.min(2.0),
        };
        let same = same * (-own * o.corrections / o.members.max(1.0)).exp();
        let scale = if scale.is_finite() { scale.max(1e-12) } else { 1e150 };
        Shape { same: same.clamp(0.0, 1.0), centre: if centre.is_finite() { centre } else { 0.0 }, scale, sign }
    }
}

/// By how many deviations the missing readings of a group differ in the mean from those counted, as they are of series with
/// other usual levels.
fn lead(outlook: &Outlook, deviation: f64) -> f64 {
    let ((missing, of_missing), (seen, of_seen)) = (outlook.missing_level, outlook.seen_level);
    let off = (of_missing / missing - of_seen / seen) / deviation;
    if off.is_finite() { off.clamp(-5.0, 5.0) } else { 0.0 }
}

/// The mean of a Poisson number with mean `m`, given that it is not zero: `m / (1 - e^-m)`.
pub(crate) fn at_least_one(m: f64) -> f64 {
    if m < 1e-6 { 1.0 } else { m / -(-m).exp_m1() }
}
