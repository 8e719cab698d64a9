//! How much of a bucket's readings has arrived: the lateness distribution laid over the stretch of a bucket.
//!
//! Owns the distribution before anything is known of it (the prior tail) and the integral of lateness over a bucket.
//! Does not own the lateness table (`schemas`), nor what became of a particular series.

use schemas::lateness::Curve;
use schemas::{ArrivalTime, TimeRange};

/// Cells of the quadrature. They narrow towards the newest end with the fourth power: of an hour the first is 3 ms.
const NODES: usize = 32;
/// A bucket this many times older than it is long has one age, nearly: its two ends tell all.
const OLD: f64 = 16.0;
/// The share of readings that may still arrive when a bucket is as old as the horizon, by its definition.
pub(super) const TAIL: f64 = 0.001;
/// What may still come the moment it happened, before any lateness was observed.
const UNKNOWN: f64 = 0.5;

/// What is believed of lateness before any is observed: half of the readings come at once, and the rest with the tail
/// `0.5 / (1 + age / scale)`, scaled so that [`TAIL`] remain at the greatest horizon. A heavy (Pareto) tail, because
/// reporting delays have one (Lawless 1994, "Adjustments for reporting delays and the prediction of occurred but not
/// reported events"), and because it is to err towards "more may come".
#[derive(Debug, Clone, Copy)]
pub(super) struct Prior {
    scale: f64,
}

impl Prior {
    pub(super) fn of(horizon_max: i64) -> Self {
        Self { scale: (horizon_max as f64 / (UNKNOWN / TAIL - 1.0)).max(1.0) }
    }

    /// The share of readings that come later than `age` nanoseconds after they happened.
    pub(super) fn after(self, age: f64) -> f64 {
        UNKNOWN / (1.0 + age.max(0.0) / self.scale)
    }

    /// The age from which on no more than `share` are still to come.
    pub(super) fn age_of(self, share: f64) -> f64 {
        self.scale * (UNKNOWN / share - 1.0).max(0.0)
    }
}

/// The share of readings that come later than `age` nanoseconds after they happened: what the table saw, and the
/// prior with the weight of one reading (in the place of the table's own half reading to either side).
pub(super) fn after(table: Option<&Curve>, prior: Prior, age: f64) -> f64 {
    if age < 0.0 {
        return 1.0;
    }
    let Some(table) = table else { return prior.after(age) };
    let (weight, believed) = (1.0 / (table.observed() + 1.0), prior.after(age));
    let seen = 1.0 - table.arrived_within(age as i64) - UNKNOWN * weight;
    seen.clamp(0.0, 1.0 - weight) + believed * weight
}

/// How a bucket's readings have arrived by now: the same for all series of a metric, so that it can be
/// computed once per metric and bucket and cached by the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    /// Start of the bucket, end of its elapsed part, end of the bucket.
    pub(super) start: i64,
    pub(super) elapsed: i64,
    pub(super) end: i64,
    late: Late,
    /// Whether any lateness was observed.
    pub(super) learned: bool,
}

/// Nanoseconds of the elapsed part whose readings are still on their way, cumulated from its newest end.
#[derive(Debug, Clone, PartialEq)]
enum Late {
    /// At each node.
    Nodes(Box<[f64; NODES + 1]>),
    /// Of an old bucket, where what is late changes evenly from the newest to the oldest instant.
    Even { newest: f64, oldest: f64 },
}

impl Arrivals {
    /// Integrates `1 - F(now - u)` over the elapsed part of the bucket, by trapezes: O(1).
    pub(super) fn of(bucket: TimeRange, now: ArrivalTime, table: Option<&Curve>, prior: Prior) -> Self {
        let (start, end) = (bucket.start.0, bucket.end.0.max(bucket.start.0));
        let elapsed = now.0.clamp(start, end);
        let (age, length) = (between(elapsed, now.0), between(start, elapsed));
        let after_share = |share: f64| after(table, prior, age + length * share);
        let late = if length <= 0.0 {
            Late::Even { newest: 0.0, oldest: 0.0 }
        } else if age < OLD * length {
            Late::Nodes(Box::new(trapezes(length, |i| after_share(NODE[i]))))
        } else {
            Late::Even { newest: after_share(0.0), oldest: after_share(1.0) }
        };
        Self { start, elapsed, end, late, learned: table.is_some_and(|t| t.observed() > 0.0) }
    }

    /// Whether working them out takes long: where a bucket is young, lateness must be looked up at every node.
    pub(super) fn dear(bucket: TimeRange, now: ArrivalTime) -> bool {
        let (start, end) = (bucket.start.0, bucket.end.0.max(bucket.start.0));
        let elapsed = now.0.clamp(start, end);
        between(elapsed, now.0) < OLD * between(start, elapsed)
    }

    /// The share of the whole bucket's readings that is expected to have arrived; of what has not elapsed, none has.
    pub fn fraction(&self) -> f64 {
        let width = between(self.start, self.end);
        let arrived = between(self.start, self.elapsed) - self.late_since(self.start);
        if width > 0.0 { (arrived / width).clamp(0.0, 1.0) } else { 1.0 }
    }

    /// Nanoseconds since `from`, within the elapsed part, whose readings are still on their way.
    pub(super) fn late_since(&self, from: i64) -> f64 {
        let length = between(self.start, self.elapsed);
        let back = between(from, self.elapsed).clamp(0.0, length);
        if back <= 0.0 {
            return 0.0;
        }
        let share = back / length;
        match &self.late {
            Late::Even { newest, oldest } => back * (newest + 0.5 * share * (oldest - newest)),
            Late::Nodes(late) => {
                let i = ((share.sqrt().sqrt() * NODES as f64) as usize).min(NODES - 1);
                let inside = ((share - NODE[i]) / (NODE[i + 1] - NODE[i])).clamp(0.0, 1.0);
                late[i] + inside * (late[i + 1] - late[i])
            }
        }
    }
}

/// The integral up to each node over `length`, given the function at each of them.
fn trapezes(length: f64, at: impl Fn(usize) -> f64) -> [f64; NODES + 1] {
    let (mut sums, mut newer) = ([0.0; NODES + 1], at(0));
    for i in 1..=NODES {
        let older = at(i);
        sums[i] = sums[i - 1] + length * (NODE[i] - NODE[i - 1]) * 0.5 * (newer + older);
        newer = older;
    }
    sums
}

/// Where the quadrature looks: the share of the elapsed part that is newer than its `i`-th point, `(i / NODES)^4`.
const NODE: [f64; NODES + 1] = {
    let mut nodes = [0.0; NODES + 1];
    let mut i = 0;
    while i <= NODES {
        let share = i as f64 / NODES as f64;
        nodes[i] = share * share * share * share;
        i += 1;
    }
    nodes
};

/// Nanoseconds from one instant to another, without overflow.
pub(super) fn between(from: i64, to: i64) -> f64 {
    match to.checked_sub(from) {
        Some(nanos) => nanos as f64,
        None => to as f64 - from as f64,
    }
}

#[cfg(test)]
mod tests {
    use schemas::lateness::LatenessTable;
    use schemas::time::{DAY, HOUR, MILLISECOND, SECOND};

    use super::*;

    /// Uniform delays up to ten seconds.
    fn up_to_ten_seconds() -> Curve {
        let mut table = LatenessTable::default();
        for i in 0..30_000 {
            table.observe((i % 1000) * 10 * MILLISECOND);
        }
        Curve::of(&table)
    }

    #[test]
    fn the_prior_leaves_its_tail_at_the_horizon() {
        let prior = Prior::of(DAY);
        assert_eq!(prior.after(0.0), 0.5);
        assert!((prior.after(DAY as f64) - TAIL).abs() < 1e-9);
        assert!((prior.age_of(TAIL) - DAY as f64).abs() < 1e3);
    }

    #[test]
    fn the_integral_is_that_of_the_distribution() {
        let table = up_to_ten_seconds();
        // Of a bucket that just ended, ten seconds hold half of their readings back.
        for (width, late) in [(10 * SECOND, 5.0), (60 * SECOND, 5.0), (HOUR, 5.0)] {
            let now = ArrivalTime(width);
            let arrivals = Arrivals::of(TimeRange::new(0, width), now, Some(&table), Prior::of(DAY));
            let between = |from: i64, to: i64| arrivals.late_since(from) - arrivals.late_since(to);
            let found = between(0, width) / SECOND as f64;
            // The table's own bins are half an octave wide.
            assert!((found - late).abs() < 0.4, "{width}: {found}");
            let parts = between(0, width / 3) + between(width / 3, width);
            assert!((parts / SECOND as f64 - found).abs() < 1e-6);
        }
    }

    /// Where an old bucket begins to be taken as even, the two ways agree.
    #[test]
    fn old_buckets_are_nearly_even() {
        let table = up_to_ten_seconds();
        let (prior, width) = (Prior::of(DAY), 60 * SECOND);
        let of = |now| Arrivals::of(TimeRange::new(0, width), ArrivalTime(now), Some(&table), prior);
        let (young, old) = (of(17 * width - SECOND), of(17 * width + SECOND));
        assert!(matches!((&young.late, &old.late), (Late::Nodes(_), Late::Even { .. })));
        for from in [0, width / 3, width - SECOND, width] {
            let (a, b) = (young.late_since(from), old.late_since(from));
            assert!((a - b).abs() <= 0.02 * a, "{from}: {a} {b}");
        }
    }

    #[test]
    fn no_stretch_of_time_breaks_it() {
        for bucket in
            [TimeRange::ALL, TimeRange::new(5, 5), TimeRange::new(9, 3), TimeRange::new(i64::MAX - 1, i64::MAX)]
        {
            for now in [i64::MIN, -1, 0, 7, i64::MAX] {
                let arrivals = Arrivals::of(bucket, ArrivalTime(now), None, Prior::of(i64::MAX));
                assert!((0.0..=1.0).contains(&arrivals.fraction()), "{bucket:?} {now}");
            }
        }
    }
}
