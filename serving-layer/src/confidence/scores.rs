//! How right forecasts were: what was foretold of cells is set beside what became of them.
//!
//! Owns coverage, width, Brier score and calibration error, by metric class, aggregate and age, with forgetting. Does not own
//! what is learned from the errors (`table`).

use std::collections::BTreeMap;

use schemas::partial::Aggregate;
use serde::{Deserialize, Serialize};

use super::evidence::{ClassId, Forecast};

/// Bins of equal width for the calibration error.
pub const BINS: usize = 10;
/// When so many outcomes are in a tally, their weights are halved.
const FORGET_AT: f64 = 20_000.0;
/// A difference relative to the value that is rounding, not change.
const ROUNDING: f64 = 1e-9;
/// Coverage may lie so far below what was asked for ...
const BAND: f64 = 0.02;
/// ... and by chance so many deviations of a share further.
const DEVIATIONS: f64 = 3.0;
/// Fewer intervals tell nothing of coverage.
const OUTCOMES_MIN: f64 = 100.0;

/// Which forecasts belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    class: ClassId,
    group: bool,
    /// Width of the bucket, nanoseconds.
    resolution: i64,
    /// Its place among [`Aggregate::ALL`].
    aggregate: usize,
    /// Nanoseconds since the end of the bucket.
    age: i64,
}

/// One forecast, and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The metric class.
    pub class: ClassId,
    /// Whether it is of a group.
    pub group: bool,
    /// Width of the bucket, nanoseconds.
    pub resolution: i64,
    /// Of which aggregate.
    pub aggregate: Aggregate,
    /// Nanoseconds since the end of the bucket when it was foretold.
    pub age: i64,
    /// The value shown.
    pub shown: f64,
    /// What was foretold.
    pub forecast: Forecast,
    /// The final value.
    pub truth: f64,
    /// The difference within which a value was the same, in its unit.
    pub tolerance: f64,
    /// What completeness was told less what it was; NaN where nobody knows.
    pub completeness_bias: f64,
}

/// What forecasts of one kind came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Tally {
    n: f64,
    covered: f64,
    /// Of intervals that are more than a point: how many, and how many held.
    open: f64,
    open_covered: f64,
    width: f64,
    brier: f64,
    happened: f64,
    /// Forecasts, their probabilities and how many came true, by probability.
    bins: [(f64, f64, f64); BINS],
    bias: f64,
    biased: f64,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        let Forecast { low, high, score } = outcome.forecast;
        let truth = outcome.truth;
        let slack = ROUNDING * truth.abs();
        let covered = f64::from(low - slack <= truth && truth <= high + slack);
        let happened = f64::from((truth - outcome.shown).abs() <= outcome.tolerance + slack);
        self.n += 1.0;
        self.covered += covered;
        if high - low > 2.0 * slack {
            self.open += 1.0;
            self.open_covered += covered;
        }
        let width = high - low;
        self.width += if width.is_finite() { width } else { 0.0 };
        self.brier += (score - happened) * (score - happened);
        self.happened += happened;
        let bin = &mut self.bins[((score * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + 1.0, bin.1 + score, bin.2 + happened);
        if outcome.completeness_bias.is_finite() {
            self.bias += outcome.completeness_bias;
            self.biased += 1.0;
        }
        if self.n >= FORGET_AT {
            self.scale(0.5);
        }
    }

    fn scale(&mut self, factor: f64) {
        let Self { n, covered, open, open_covered, width, brier, happened, bins, bias, biased } = self;
        for sum in [n, covered, open, open_covered, width, brier, happened, bias, biased] {
            *sum *= factor;
        }
        for (n, p, y) in bins {
            (*n, *p, *y) = (*n * factor, *p * factor, *y * factor);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.covered += other.covered;
        self.open += other.open;
        self.open_covered += other.open_covered;
        self.width += other.width;
        self.brier += other.brier;
        self.happened += other.happened;
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            *mine = (mine.0 + theirs.0, mine.1 + theirs.1, mine.2 + theirs.2);
        }
        self.bias += other.bias;
        self.biased += other.biased;
    }

    fn score(&self) -> Score {
        let share = |part: f64, all: f64| if all > 0.0 { part / all } else { f64::NAN };
        let rate = share(self.happened, self.n);
        let error = |(_, p, y): &(f64, f64, f64)| (p - y).abs();
        Score {
            n: self.n,
            coverage: share(self.covered, self.n),
            undecided: self.open,
            undecided_coverage: share(self.open_covered, self.open),
            width: share(self.width, self.n),
            brier: share(self.brier, self.n),
            base_rate: rate,
            climatology: rate * (1.0 - rate),
            ece: share(self.bins.iter().map(error).sum(), self.n),
            completeness_bias: share(self.bias, self.biased),
        }
    }
}

/// How right forecasts of one kind were; NaN where there are none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Forecasts, after forgetting.
    pub n: f64,
    /// The share of intervals that held the final value.
    pub coverage: f64,
    /// Forecasts whose interval is more than a point ...
    pub undecided: f64,
    /// ... and the share of them that held.
    pub undecided_coverage: f64,
    /// Mean width of the intervals, in the unit of the value.
    pub width: f64,
    /// Brier score of the probabilities (Brier 1950): mean squared difference from what happened.
    pub brier: f64,
    /// How often the final value was the one shown, nearly.
    pub base_rate: f64,
    /// The Brier score of whoever always tells the base rate.
    pub climatology: f64,
    /// Expected calibration error over ten bins of equal width (Naeini, Cooper and Hauskrecht 2015).
    pub ece: f64,
    /// Mean of completeness told less completeness as it was.
    pub completeness_bias: f64,
}

/// The score of one kind of forecasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The metric class.
    pub class: ClassId,
    /// Whether they are of groups.
    pub group: bool,
    /// Width of their buckets, nanoseconds.
    pub resolution: i64,
    /// Of which aggregate.
    pub aggregate: Aggregate,
    /// Nanoseconds since the end of the bucket.
    pub age: i64,
    /// How right they were.
    pub score: Score,
}

impl Row {
    /// Whether intervals of this level that are more than a point held too seldom: by more than the band, and than chance.
    pub fn breaches(&self, level: f64) -> bool {
        let least = level - BAND;
        let deviation = (least * (1.0 - least) / self.score.undecided.max(1.0)).max(0.0).sqrt();
        let Score { undecided, undecided_coverage, .. } = self.score;
        undecided >= OUTCOMES_MIN && undecided_coverage < least - DEVIATIONS * deviation
    }
}

/// A bin of a reliability diagram: forecasts, their mean probability, how often they came true.
pub type Bin = (f64, f64, f64);

/// Keeps the score.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    #[serde(with = "super::pairs")]
    tallies: BTreeMap<Key, Tally>,
}

impl Scores {
    /// Sets a forecast beside what became of it.
    pub fn add(&mut self, outcome: &Outcome) {
        if !(outcome.truth.is_finite() && outcome.shown.is_finite()) {
            return;
        }
        let aggregate = outcome.aggregate.index();
        let Outcome { class, group, resolution, age, .. } = *outcome;
        let key = Key { class, group, resolution, aggregate, age };
        self.tallies.entry(key).or_default().add(outcome);
    }

    /// The score of each kind, by class, aggregate and age.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(key, tally): (&Key, &Tally)| Row {
            class: key.class,
            group: key.group,
            resolution: key.resolution,
            aggregate: Aggregate::ALL[key.aggregate.min(Aggregate::ALL.len() - 1)],
            age: key.age,
            score: tally.score(),
        };
        self.tallies.iter().map(row).collect()
    }

    /// The score of the forecasts of all classes that `keep` wants, by aggregate, group and age.
    ///
    /// The climatology is that of whoever knows the base rate of each kind.
    pub fn sum(&self, keep: impl Fn(ClassId, bool, Aggregate, i64) -> bool) -> Score {
        let kinds = || self.kept(&keep).filter(|tally| tally.n > 0.0);
        let n: f64 = kinds().map(|tally| tally.n).sum();
        let climatology: f64 = kinds().map(|tally| tally.happened * (1.0 - tally.happened / tally.n)).sum();
        Score { climatology: if n > 0.0 { climatology / n } else { f64::NAN }, ..self.tally(&keep).score() }
    }

    /// The reliability diagram of the forecasts that `keep` wants.
    pub fn reliability(&self, keep: impl Fn(ClassId, bool, Aggregate, i64) -> bool) -> [Bin; BINS] {
        let part = |sum: f64, n: f64| if n > 0.0 { sum / n } else { f64::NAN };
        self.tally(keep).bins.map(|(n, p, y)| (n, part(p, n), part(y, n)))
    }

    fn tally(&self, keep: impl Fn(ClassId, bool, Aggregate, i64) -> bool) -> Tally {
        let mut sum = Tally::default();
        self.kept(&keep).for_each(|tally| sum.merge(tally));
        sum
    }

    fn kept(&self, keep: &impl Fn(ClassId, bool, Aggregate, i64) -> bool) -> impl Iterator<Item = &Tally> {
        let aggregate = |key: &Key| Aggregate::ALL[key.aggregate.min(Aggregate::ALL.len() - 1)];
        let kept = self.tallies.iter().filter(move |(key, _)| keep(key.class, key.group, aggregate(key), key.age));
        kept.map(|(_, tally)| tally)
    }

    /// Forgets classes that are not among these.
    pub fn retain(&mut self, keep: impl Fn(ClassId) -> bool) {
        self.tallies.retain(|key, _| keep(key.class));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(shown: f64, (low, high, score): (f64, f64, f64), truth: f64) -> Outcome {
        let forecast = Forecast { low, high, score };
        let (aggregate, tolerance) = (Aggregate::Sum, 0.01 * shown.abs());
        Outcome {
            class: 1,
            group: false,
            resolution: 60,
            aggregate,
            age: 0,
            shown,
            forecast,
            truth,
            tolerance,
            completeness_bias: f64::NAN,
        }
    }

    #[test]
    fn forecasts_are_scored() {
        let mut scores = Scores::default();
        for (told, truth) in [((9.0, 12.0, 0.9), 10.05), ((9.0, 12.0, 0.9), 13.0), ((10.0, 10.0, 0.3), 10.0)] {
            scores.add(&outcome(10.0, told, truth));
        }
        scores.add(&outcome(f64::NAN, (0.0, 0.0, 0.5), 1.0));
        let score = scores.sum(|_, group, aggregate, age| !group && aggregate == Aggregate::Sum && age == 0);
        assert_eq!((score.n, score.undecided), (3.0, 2.0));
        assert!((score.coverage - 2.0 / 3.0).abs() < 1e-12 && (score.undecided_coverage - 0.5).abs() < 1e-12);
        assert!((score.width - 2.0).abs() < 1e-12);
        assert!((score.brier - (0.01 + 0.81 + 0.49) / 3.0).abs() < 1e-12, "{score:?}");
        assert!((score.climatology - 2.0 / 9.0).abs() < 1e-12);
        // In the bin of 0.9 one of two came true, in that of 0.3 the only one.
        assert!((score.ece - (0.8 + 0.7) / 3.0).abs() < 1e-12, "{score:?}");
        assert!(scores.sum(|class, _, _, _| class == 2).coverage.is_nan());
    }

    #[test]
    fn what_was_long_ago_weighs_less() {
        let mut scores = Scores::default();
        for i in 0..100_000 {
            scores.add(&outcome(10.0, (9.0, 12.0, 0.9), if i < 50_000 { 20.0 } else { 10.0 }));
        }
        let row = scores.rows()[0];
        assert!(row.score.n < FORGET_AT && row.score.coverage > 0.9, "{row:?}");
        assert!(!row.breaches(0.9), "{row:?}");
    }

    #[test]
    fn intervals_that_hold_too_seldom_are_told_however_many_points_hold() {
        let mut scores = Scores::default();
        for i in 0..10_000 {
            scores.add(&outcome(10.0, (10.0, 10.0, 0.99), 10.0));
            if i % 20 == 0 {
                scores.add(&outcome(10.0, (9.0, 12.0, 0.5), if i % 80 == 0 { 20.0 } else { 10.0 }));
            }
        }
        let row = scores.rows()[0];
        assert!(row.score.coverage > 0.95 && row.breaches(0.95) && !row.breaches(0.75), "{row:?}");
    }
}
