//! Ages at which cells are observed and experience is kept.
//!
//! Owns the checkpoints, nanoseconds since the end of a bucket. Does not own the horizon (`habit`).

use schemas::decimal::floored;

const SECOND: f64 = 1e9;
/// Middles of the bins of age after a bucket's end, seconds.
const AGES: [f64; 25] = [
    0.0,
    0.5,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1_800.0,
    3_600.0,
    7_200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    1_209_600.0,
    1_814_400.0,
    2_592_000.0,
    3_456_000.0,
    5_184_000.0,
];
/// Bins of age: one before the end, the rest after it.
pub(crate) const BINS: usize = AGES.len() + 1;

/// Squares of the upper ends of the bins after the first: where neighbours are equally far by ratio.
const LIMITS: [f64; AGES.len() - 1] = {
    let mut limits = [0.01; AGES.len() - 1];
    let mut i = 1;
    while i < limits.len() {
        limits[i] = AGES[i] * AGES[i + 1];
        i += 1;
    }
    limits
};

/// Which bin an age belongs to: the one whose middle is nearest by ratio.
pub(crate) fn bin(age: f64) -> usize {
    if age < 0.0 {
        return 0;
    }
    let seconds = age / SECOND;
    1 + LIMITS.partition_point(|limit| *limit < seconds * seconds)
}

const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;
/// From which age on ages are told apart in which unit: at least sixteen of it. Every checkpoint is a whole number of them.
const UNITS: [(f64, f64); 9] = [
    (16.0 * DAY, DAY),
    (16.0 * HOUR, HOUR),
    (4.0 * HOUR, 15.0 * MINUTE),
    (80.0 * MINUTE, 5.0 * MINUTE),
    (16.0 * MINUTE, MINUTE),
    (4.0 * MINUTE, 15.0 * SECOND),
    (80.0 * SECOND, 5.0 * SECOND),
    (16.0 * SECOND, SECOND),
    (1.6 * SECOND, 0.1 * SECOND),
];

/// The age as the model has it, younger by a sixteenth at most.
///
/// So neighbouring buckets often share their age, and what follows from it is worked out once for all of them.
pub(crate) fn told_apart(age: f64) -> f64 {
    match UNITS.iter().find(|(from, _)| *from <= age) {
        // Beyond what `floored` can tell nothing is apart.
        Some((_, unit)) => floored((age / unit).min(1e12)) * unit,
        None => age,
    }
}

/// The bins whose middles an age lies between, and how far it is from the one to the other, by ratio.
pub(crate) fn around(age: f64) -> (usize, usize, f64) {
    let seconds = age / SECOND;
    if seconds <= AGES[1] {
        let k = bin(age);
        return (k, k, 0.0);
    }
    let above = AGES.partition_point(|a| *a <= seconds);
    if above >= AGES.len() {
        return (BINS - 1, BINS - 1, 0.0);
    }
    let (low, high) = (AGES[above - 1], AGES[above]);
    (above, above + 1, ((seconds / low).ln() / (high / low).ln()).clamp(0.0, 1.0))
}

/// Ages at which cells of buckets `width` long should be observed, from before their end up to `horizon`, nanoseconds.
///
/// The same for all cells: every checkpoint is an age that experience is kept for.
pub fn checkpoints(width: i64, horizon: i64) -> impl Iterator<Item = i64> {
    let before = [-(width / 2), -(width / 10)];
    let after = AGES.into_iter().map(|s| (s * SECOND) as i64);
    before.into_iter().chain(after).filter(move |age| *age < horizon).chain([horizon])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_checkpoint_has_its_bin() {
        for (i, age) in AGES.iter().enumerate() {
            assert_eq!(bin(age * SECOND), i + 1, "{age}");
        }
        assert_eq!(bin(-1.0), 0);
    }

    #[test]
    fn neighbouring_ages_are_one_and_checkpoints_stay() {
        for age in [0.7, 1.7, 33.3, 100.1, 777.7, 3_700.0, 10_000.0, 50_000.0, 100_001.0, 1e7] {
            let (age, coarse) = (age * SECOND, told_apart(age * SECOND));
            assert!(coarse <= age && age - coarse <= age / 16.0, "{age} {coarse}");
            assert!(age < 2.0 * SECOND || coarse < age, "{age} {coarse}");
        }
        for age in AGES.map(|age| age * SECOND) {
            assert!((told_apart(age) - age).abs() <= 1e-9 * age, "{age}");
            assert_eq!(bin(told_apart(age)), bin(age));
        }
        assert_eq!((told_apart(0.0), told_apart(-5.0)), (0.0, -5.0));
    }

    #[test]
    fn the_last_bin_has_no_end() {
        assert_eq!(bin(f64::MAX), BINS - 1);
    }
}
