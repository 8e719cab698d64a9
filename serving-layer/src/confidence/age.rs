//! Ages at which cells are observed and experience is kept.
//!
//! Owns the checkpoints, nanoseconds since the end of a bucket. Does not own the horizon (`habit`).

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

/// The age as the model has it: ages are told apart by an octave's sixteenth.
///
/// So neighbouring buckets often share their age, and what follows from it is worked out once for all of them.
pub(crate) fn told_apart(age: f64) -> f64 {
    const FINER: u32 = f64::MANTISSA_DIGITS - 1 - 4;
    if age > 0.0 { f64::from_bits(age.to_bits() >> FINER << FINER) } else { age }
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
    fn neighbouring_ages_are_one() {
        for age in [1.0, 1e9, 3.7e12, 8.64e13] {
            let coarse = told_apart(age);
            assert!(coarse <= age && age - coarse < age / 16.0, "{age} {coarse}");
            assert_eq!(told_apart(coarse), coarse);
        }
        assert_eq!((told_apart(0.0), told_apart(-5.0)), (0.0, -5.0));
    }

    #[test]
    fn the_last_bin_has_no_end() {
        assert_eq!(bin(f64::MAX), BINS - 1);
    }
}
