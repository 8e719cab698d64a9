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

/// Which bin an age belongs to: the one whose middle is nearest by ratio.
pub(crate) fn bin(age: f64) -> usize {
    if age < 0.0 {
        return 0;
    }
    let seconds = age / SECOND;
    let mut i = 1;
    while i < AGES.len() && seconds > if i == 1 { 0.1 } else { (AGES[i - 1] * AGES[i]).sqrt() } {
        i += 1;
    }
    i
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
        assert_eq!(bin(f64::MAX), BINS - 1);
    }
}
