//! The plain baseline: quantiles of recent errors.
//!
//! Whoever knows nothing of lateness may still say: of this metric, aggregate and age, final values lately differed by so much
//! from those shown. Owns that, with the newest errors that were known at the moment. It is what an interval of ours has to
//! beat.

use std::collections::{BTreeMap, VecDeque};

use schemas::EventTime;
use schemas::partial::Aggregate;
use serving_layer::confidence::{ClassId, Outcome};

/// Errors that are remembered.
const REMEMBERED: usize = 500;
/// Fewer tell no quantile.
const LEAST: usize = 50;
/// Levels that are tried: the one whose coverage is ours is compared.
const LEVELS: usize = 6;

/// Errors of one metric, aggregate and age.
#[derive(Debug, Default)]
struct Recent {
    /// Known, oldest first.
    errors: VecDeque<f64>,
    /// Not known yet: when it will be, and the error.
    coming: VecDeque<(i64, f64)>,
    /// At each level: intervals that held, and the sum of their widths.
    told: [(f64, f64); LEVELS],
    /// Intervals told, and the sum of ours beside them, and how many of ours held.
    n: f64,
    ours: (f64, f64),
}

/// The baseline.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    recent: BTreeMap<(ClassId, usize, i64), Recent>,
}

/// The levels that are tried, from the asked one down and up.
fn levels(level: f64) -> [f64; LEVELS] {
    [level, 0.5, 0.8, 0.9, 0.98, 0.995]
}

impl Baseline {
    /// Tells intervals for a value beside ours, and keeps its error for later, once it is known: `horizon` after the age.
    pub(super) fn add(&mut self, outcome: &Outcome, now: EventTime, horizon: i64, level: f64) {
        if !(outcome.truth.is_finite() && outcome.shown.is_finite()) {
            return;
        }
        let recent = self.recent.entry((outcome.class, outcome.aggregate.index(), outcome.age)).or_default();
        while let Some((_, error)) = recent.coming.pop_front_if(|(at, _)| *at <= now.0) {
            recent.errors.push_back(error);
            if recent.errors.len() > REMEMBERED {
                recent.errors.pop_front();
            }
        }
        let error = outcome.truth - outcome.shown;
        if recent.errors.len() >= LEAST {
            recent.tell(error, outcome, level);
        }
        let known = now.0.saturating_sub(outcome.age).saturating_add(horizon);
        recent.coming.push_back((known.max(recent.coming.back().map_or(known, |(at, _)| *at)), error));
    }

    /// The mean width of our intervals in that of the baseline at the same coverage, over all metrics; `None` where nothing
    /// is to be compared.
    pub(super) fn ratio(&self, aggregate: Aggregate, age: Option<i64>) -> Option<f64> {
        let (mut sum, mut n) = (0.0, 0.0);
        for ((_, kind, at), recent) in &self.recent {
            if *kind == aggregate.index()
                && age.is_none_or(|age| age == *at)
                && let Some(ratio) = recent.ratio()
            {
                sum += ratio.ln() * recent.n;
                n += recent.n;
            }
        }
        (n > 0.0).then(|| (sum / n).exp())
    }
}

impl Recent {
    fn tell(&mut self, error: f64, outcome: &Outcome, level: f64) {
        let mut sorted: Vec<f64> = self.errors.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |q: f64| sorted[((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
        let slack = 1e-9 * outcome.truth.abs();
        for (told, level) in self.told.iter_mut().zip(levels(level)) {
            let (low, high) = (at((1.0 - level) / 2.0), at((1.0 + level) / 2.0));
            told.0 += f64::from(low - slack <= error && error <= high + slack);
            told.1 += high - low;
        }
        let forecast = outcome.forecast;
        self.n += 1.0;
        let held = forecast.low - slack <= outcome.truth && outcome.truth <= forecast.high + slack;
        self.ours.0 += f64::from(held);
        self.ours.1 += forecast.high - forecast.low;
    }

    /// Our mean width in that of the narrowest baseline that held as often.
    fn ratio(&self) -> Option<f64> {
        let widths =
            self.told.iter().filter(|(held, _)| *held >= self.ours.0 - 0.005 * self.n).map(|(_, width)| *width);
        let narrowest = widths.min_by(f64::total_cmp)?;
        (narrowest > 0.0 && self.ours.1 > 0.0).then(|| self.ours.1 / narrowest)
    }
}
