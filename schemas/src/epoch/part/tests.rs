use std::time::{Duration, Instant};

use super::*;
use crate::partial::Aggregate;

fn base() -> Resolution {
    Resolution::from_nanos(10).expect("positive")
}

#[test]
fn duplicates_inside_an_epoch_count_once_and_the_last_arrival_wins() {
    let mut series = SeriesEpoch::default();
    series.insert(1, 5.0, 0, base(), Arrival::Newest);
    series.insert(15, 7.0, 0, base(), Arrival::Newest);
    series.insert(1, 2.0, 1, base(), Arrival::OutOfOrder);
    series.insert(4, 9.0, 1, base(), Arrival::OutOfOrder);
    series.insert(4, 1.0, 2, base(), Arrival::Doubtful);
    assert_eq!(series.cells().len(), 2);
    let first = &series.cells()[0].partial;
    assert_eq!((first.count, first.evaluate(Aggregate::Sum), first.min, first.max), (2, Some(3.0), 1.0, 2.0));
    assert!(series.disordered().is_empty(), "the doubt was settled by this epoch");
    series.insert(3, 1.0, 3, base(), Arrival::Doubtful);
    assert_eq!((series.disordered(), series.doubts().collect::<Vec<_>>()), ([0].as_slice(), vec![3]));
    assert_eq!(series.hot_len(), 6);
    let values: Vec<f64> = series.resolved(TimeRange::ALL).iter().map(|r| r.value).collect();
    assert_eq!(values, [2.0, 1.0, 1.0, 7.0]);
    assert_eq!(series.event_bounds(), Some((1, 15)));
}

/// Bucket and sum of each cell.
fn sums(part: &SeriesEpoch) -> Vec<(i64, f64)> {
    part.cells().iter().map(|cell| (cell.bucket, cell.partial.sum.value())).collect()
}

#[test]
fn what_is_repeated_is_not_counted() {
    let mut part = SeriesEpoch::default();
    part.insert(25, 8.0, 0, base(), Arrival::Newest);
    part.insert(1, 1.0, 0, base(), Arrival::Repeated);
    part.insert(12, 2.0, 0, base(), Arrival::OutOfOrder);
    part.insert(13, 4.0, 0, base(), Arrival::Repeated);
    part.insert(13, 4.0, 1, base(), Arrival::Repeated);
    assert_eq!((sums(&part), part.hot_len()), (vec![(10, 2.0), (20, 8.0)], 5));
    // A correction inside the epoch counts anew, without what is repeated beside it.
    part.insert(12, 3.0, 2, base(), Arrival::OutOfOrder);
    assert_eq!((sums(&part), part.disordered()), (vec![(10, 3.0), (20, 8.0)], [].as_slice()));
    let counted: Vec<i64> = part.counted(TimeRange::ALL).iter().map(|r| r.time).collect();
    assert_eq!(counted, [12, 25]);
    // What was repeated and is corrected then, is counted twice: raw readings must tell.
    part.insert(1, 5.0, 3, base(), Arrival::Corrected);
    part.insert(13, 4.0, 3, base(), Arrival::Doubtful);
    assert_eq!(sums(&part), [(0, 5.0), (10, 7.0), (20, 8.0)]);
    assert_eq!((part.disordered(), part.doubts().count()), ([0, 10].as_slice(), 0));
}

#[test]
fn cells_that_come_backwards_are_put_in_order() {
    let (mut at_once, mut one_by_one) = (SeriesEpoch::default(), SeriesEpoch::default());
    let times: Vec<i64> = (0..2_000).rev().chain([5, 15_000, 7]).map(|i| i * 7).collect();
    for (frame, time) in (0..).zip(times.iter().copied()) {
        let (value, doubtful) = (f64::from(frame), time % 70 == 0);
        let arrival = if doubtful { Arrival::Doubtful } else { Arrival::OutOfOrder };
        at_once.put(time, value, frame, base(), arrival);
        one_by_one.insert(time, value, frame, base(), arrival);
    }
    at_once.tidy(base());
    assert_eq!(sums(&at_once), sums(&one_by_one));
    assert_eq!(at_once.disordered(), one_by_one.disordered());
    assert!(at_once.cells().is_sorted_by(|a, b| a.bucket < b.bucket) && at_once.disordered().is_sorted());
    let expected = Partial::of_all(at_once.resolved(TimeRange::new(30, 40)).iter().map(|r| (r.time, r.value)));
    assert_eq!(at_once.cells()[3].partial, expected.expect("readings at 35"));
}

#[test]
fn a_cell_is_never_there_twice() {
    let mut part = SeriesEpoch::default();
    part.put(13, 4.0, 0, base(), Arrival::Repeated);
    part.put(13, 5.0, 1, base(), Arrival::Corrected);
    part.put(14, 1.0, 2, base(), Arrival::Newest);
    part.tidy(base());
    assert_eq!((sums(&part), part.disordered()), (vec![(10, 6.0)], [10].as_slice()));
}

/// What a part holds, counted naively.
#[derive(Default)]
struct Model {
    last: BTreeMap<i64, f64>,
    repeated: BTreeSet<i64>,
    disordered: BTreeSet<i64>,
}

impl Model {
    fn put(&mut self, time: i64, value: f64, arrival: Arrival) {
        let known = self.last.insert(time, value).is_some();
        match arrival {
            Arrival::Repeated if !known => drop(self.repeated.insert(time)),
            Arrival::Corrected | Arrival::Doubtful if !known => self.disorder(time),
            _ if arrival != Arrival::Repeated && self.repeated.remove(&time) => self.disorder(time),
            _ => {}
        }
    }

    fn disorder(&mut self, time: i64) {
        self.disordered.insert(base().floor(EventTime(time)).0);
    }

    fn cells(&self) -> Vec<(i64, Partial)> {
        let counted = self.last.iter().map(|(time, value)| (*time, *value));
        let counted: Vec<_> = counted.filter(|(time, _)| !self.repeated.contains(time)).collect();
        let buckets = counted.chunk_by(|a, b| base().floor(EventTime(a.0)) == base().floor(EventTime(b.0)));
        let partial = |of_one: &[(i64, f64)]| Partial::of_all(of_one.iter().copied()).expect("readings");
        buckets.map(|of_one| (base().floor(EventTime(of_one[0].0)).0, partial(of_one))).collect()
    }
}

#[test]
fn whatever_comes_in_whatever_order_is_counted_as_one_counts_it_naively() {
    let mut seed = 7_u64;
    let mut below = |n: i64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as i64 % n
    };
    for case in 0..600 {
        // So many buckets that some are put in their place later; few; and such few that all of a part meets in them.
        let (span, folds, readings) = match case % 20 {
            0 => (9_000, 3, 2_000),
            1..10 => (60, 4, 9),
            _ => (14, 3, 9),
        };
        let (mut part, mut model, mut tail) = (SeriesEpoch::default(), Model::default(), below(span / 2));
        for _ in 0..folds {
            for frame in 0..below(readings) as u32 {
                let (time, value) = (below(span) - span / 4, below(3) as f64);
                let older = [Arrival::OutOfOrder, Arrival::Repeated, Arrival::Corrected, Arrival::Doubtful];
                let arrival = if time > tail { Arrival::Newest } else { older[below(4) as usize] };
                tail = tail.max(time);
                part.put(time, value, frame, base(), arrival);
                model.put(time, value, arrival);
            }
            part.tidy(base());
            let cells: Vec<_> = part.cells().iter().map(|cell| (cell.bucket, cell.partial.clone())).collect();
            assert_eq!(cells, model.cells(), "case {case}");
            assert_eq!(part.disordered(), Vec::from_iter(model.disordered.iter().copied()), "case {case}");
        }
    }
}

#[test]
fn a_bucket_that_is_sent_again_is_counted_again_once() {
    let wide = Resolution::from_nanos(10_000).expect("positive");
    for (again, sum) in [(1.0, 10_000.0), (2.0, 20_000.0)] {
        let (begun, mut part) = (Instant::now(), SeriesEpoch::default());
        (0..10_000).for_each(|time| part.put(time, 1.0, 0, wide, Arrival::Newest));
        part.tidy(wide);
        (0..10_000).for_each(|time| part.put(time, again, 1, wide, Arrival::OutOfOrder));
        part.tidy(wide);
        assert_eq!(sums(&part), [(0, sum)]);
        // A recount for each would be 10^8 steps.
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}
