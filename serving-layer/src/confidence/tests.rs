use schemas::epoch::Tail;
use schemas::lateness::{Curve, LatenessTable};
use schemas::partial::Aggregate;
use schemas::time::{DAY, HOUR, MINUTE, SECOND};
use schemas::{ArrivalTime, Partial, TimeRange};

use super::*;
use crate::answer::{Interval, Value};

const BUCKET: TimeRange = TimeRange::new(0, MINUTE);

fn model() -> Model {
    Model::new(0.01, DAY)
}

/// Seeded, so that a failure repeats.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    fn normal(&mut self) -> f64 {
        normal::quantile(self.unit())
    }
}

fn exponential(mean: i64, readings: usize) -> Curve {
    Curve::of(&exponential_table(mean, readings))
}

fn exponential_table(mean: i64, readings: usize) -> LatenessTable {
    let mut random = Random(7);
    let mut table = LatenessTable::default();
    for _ in 0..readings {
        table.observe(random.exponential(mean as f64) as i64);
    }
    table
}

/// One reading a second from `from`, `n` of them, of values around 100.
fn partial(from: i64, n: i64) -> Partial {
    Partial::of_all((0..n).map(|i| (from + i * SECOND, 100.0 + (i * 7 % 11) as f64))).expect("n is positive")
}

fn tail(time: i64, cadence: f64) -> Tail {
    Tail {
        time,
        value: 100.0,
        arrival: ArrivalTime(time + 1),
        previous: Some((time - 1, 99.0)),
        earliest: -DAY,
        cadence,
    }
}

/// What is known of a cell, its metric and its series.
#[derive(Debug, Clone, Copy)]
struct Known<'a> {
    cell: Evidence<'a>,
    lateness: Option<&'a Curve>,
    tail: Option<&'a Tail>,
}

fn evidence<'a>(partial: &'a Partial, now: i64, lateness: Option<&'a Curve>, tail: Option<&'a Tail>) -> Known<'a> {
    let now = ArrivalTime(now);
    let cell = Evidence { partial, bucket: BUCKET, now, covered: false, pending: 0, revised: false };
    Known { cell, lateness, tail }
}

fn outlook(model: &Model, k: &Known<'_>) -> Outlook {
    let past = model.past(k.tail, k.cell.now, k.lateness);
    model.outlook(&past, &k.cell, &model.arrivals(k.cell.bucket, k.cell.now, k.lateness))
}

/// An assessment and its intervals.
#[derive(Debug)]
struct Judged {
    completeness: f64,
    confidence_score: f64,
    calibrated: bool,
    intervals: Vec<Option<Interval>>,
}

fn judge(
    model: &Model,
    outlook: &Outlook,
    partial: &Partial,
    aggregates: &[Aggregate],
    values: &[Option<f64>],
) -> Judged {
    let value = |(a, v): (&Aggregate, &Option<f64>)| Value { aggregate: *a, value: *v, interval: None };
    let mut values: Vec<Value> = aggregates.iter().zip(values).map(value).collect();
    let Assessment { completeness, confidence_score, calibrated } = model.assess(outlook, partial, &mut values);
    Judged { completeness, confidence_score, calibrated, intervals: values.iter().map(|v| v.interval).collect() }
}

fn assess(model: &Model, k: &Known<'_>) -> Judged {
    let values = Aggregate::ALL.map(|a| k.cell.partial.evaluate(a));
    judge(model, &outlook(model, k), k.cell.partial, &Aggregate::ALL, &values)
}

fn check_sound(a: &Judged, values: &[Option<f64>]) {
    assert!((0.0..=1.0).contains(&a.completeness), "{a:?}");
    assert!((0.0..1.0).contains(&a.confidence_score), "{a:?}");
    for (interval, value) in a.intervals.iter().zip(values) {
        let Some(i) = interval else { continue };
        let value = value.expect("no interval without a value");
        assert!(i.low.is_finite() && i.high.is_finite() && i.low <= value && value <= i.high, "{i:?} {value}");
    }
}

#[test]
fn completeness_and_score_rise_with_age() {
    let (table, newest, cells) = (exponential(5 * SECOND, 5000), tail(2 * MINUTE, 1e9), partial(0, 55));
    let mut last = (0.0, 0.0);
    for age in [0, SECOND, 3 * SECOND, 10 * SECOND, 30 * SECOND, 2 * MINUTE, HOUR, DAY, 1000 * DAY] {
        // A source that goes on speaking.
        let newest = Tail { time: newest.time + age, arrival: ArrivalTime(newest.time + age), ..newest };
        let a = assess(&model(), &evidence(&cells, MINUTE + age, Some(&table), Some(&newest)));
        assert!(a.completeness >= last.0 && a.confidence_score >= last.1, "{age}: {a:?} after {last:?}");
        assert!(a.completeness < 1.0 && !a.calibrated);
        last = (a.completeness, a.confidence_score);
    }
    assert!(last.0 > 0.9999 && last.1 > 0.99, "{last:?}");
}

/// An extreme is always worked out, and the last value beside it with it.
#[test]
fn what_is_surely_still_is_as_if_it_were_worked_out() {
    let (table, newest, cells) = (exponential(5 * SECOND, 5000), tail(2 * MINUTE, 1e9), partial(0, 50));
    let (mut surely, mut age) = (Vec::new(), SECOND);
    while age < 1000 * DAY {
        let newest = Tail { time: newest.time + age, arrival: ArrivalTime(newest.time + age), ..newest };
        let outlook = outlook(&model(), &evidence(&cells, MINUTE + age, Some(&table), Some(&newest)));
        let [alone, beside] = [&[Aggregate::Last][..], &[Aggregate::Last, Aggregate::Max]].map(|aggregates| {
            let values: Vec<_> = aggregates.iter().map(|a| cells.evaluate(*a)).collect();
            judge(&model(), &outlook, &cells, aggregates, &values)
        });
        assert_eq!(alone.intervals[0], beside.intervals[0], "{age}");
        assert!(alone.confidence_score >= beside.confidence_score, "{age}: {alone:?} {beside:?}");
        let (expected, certain) = (outlook.expected(), alone.confidence_score == 0.9999);
        assert!(if expected < 5e-5 { certain } else { expected < 2e-3 || !certain }, "{age}: {expected} {alone:?}");
        surely.push(expected < 5e-5);
        age += age / 3;
    }
    assert!(surely.is_sorted() && surely.contains(&false) && surely.contains(&true), "{surely:?}");
}

#[test]
fn later_data_is_less_complete() {
    let cells = partial(0, 50);
    let of = |mean: i64| {
        let table = exponential(mean, 5000);
        outlook(&model(), &evidence(&cells, MINUTE + SECOND, Some(&table), None)).completeness()
    };
    assert!(of(SECOND) > of(10 * SECOND) && of(10 * SECOND) > of(MINUTE));
}

#[test]
fn an_open_bucket_expects_its_rest() {
    let (table, newest, cells) = (exponential(SECOND / 10, 5000), tail(30 * SECOND, 1e9), partial(0, 30));
    let outlook = outlook(&model(), &evidence(&cells, 30 * SECOND, Some(&table), Some(&newest)));
    assert!((outlook.expected() - 30.0).abs() < 1.0, "{outlook:?}");
    assert!((outlook.completeness() - 0.5).abs() < 0.02);
}

#[test]
fn nothing_observed_is_never_certain() {
    let cells = partial(0, 60);
    let labelled = Model { labels: LABELS_MIN, ..model() };
    for table in [None, Some(Curve::of(&LatenessTable::default()))] {
        let fresh = assess(&labelled, &evidence(&cells, MINUTE, table.as_ref(), None));
        assert!(fresh.completeness < 0.7 && !fresh.calibrated, "{fresh:?}");
        let old = assess(&labelled, &evidence(&cells, 1000 * DAY, table.as_ref(), None));
        assert!(old.completeness > 0.9999 && old.confidence_score > 0.99 && !old.calibrated, "{old:?}");
    }
    let table = exponential(SECOND, 5000);
    assert!(assess(&labelled, &evidence(&cells, MINUTE, Some(&table), None)).calibrated);
    assert!(!assess(&model(), &evidence(&cells, MINUTE, Some(&table), None)).calibrated);
}

#[test]
fn a_source_that_stopped_is_doubted_and_then_let_go() {
    let table = exponential(SECOND / 10, 50_000);
    let (cells, newest) = (partial(0, 30), tail(29 * SECOND, 1e9));
    let score = |now: i64| assess(&model(), &evidence(&cells, now, Some(&table), Some(&newest))).confidence_score;
    let speaks = tail(MINUTE, 1e9);
    let going_on = assess(&model(), &evidence(&cells, MINUTE + 10 * SECOND, Some(&table), Some(&speaks)));
    assert!(score(MINUTE + 10 * SECOND) < 0.7 && going_on.confidence_score > 0.9, "{going_on:?}");
    assert!(score(2 * DAY) > 0.98);
    let mut open = evidence(&cells, HOUR, Some(&table), Some(&newest));
    open.cell.bucket = TimeRange::new(0, DAY);
    assert!(outlook(&model(), &open).completeness() < 0.1);
}

#[test]
fn a_group_adds_up_and_varies_together() {
    let (table, newest, cells) = (exponential(10 * SECOND, 5000), tail(MINUTE, 1e9), partial(0, 50));
    let one = outlook(&model(), &evidence(&cells, MINUTE, Some(&table), Some(&newest)));
    let mut group = Outlook::default();
    for _ in 0..10 {
        group.merge(&one);
    }
    assert_eq!(group.counted(), 500.0);
    assert!((group.expected() - 10.0 * one.expected()).abs() < 1e-9);
    assert!((group.completeness() - one.completeness()).abs() < 1e-9);
    assert!(group.variance() > 10.0 * one.variance() && group.variance() < 100.0 * one.variance());
    let mut same = one;
    same.merge(&Outlook::default());
    assert_eq!(same, one);
}

#[test]
fn intervals_widen_with_their_level() {
    let (table, cells) = (exponential(10 * SECOND, 5000), partial(0, 50));
    let e = evidence(&cells, MINUTE, Some(&table), None);
    let (half, most) = (assess(&Model { level: 0.5, ..model() }, &e), assess(&model(), &e));
    for (half, most) in half.intervals.iter().zip(&most.intervals) {
        if let (Some(half), Some(most)) = (half, most) {
            let point = most.high == most.low && half.high == half.low;
            assert!(point || most.high - most.low > half.high - half.low, "{half:?} {most:?}");
        }
    }
    assert_eq!(most.intervals[0].expect("a count").low, 50.0);
}

#[test]
fn constant_readings_are_likely_to_stay() {
    let table = exponential(10 * SECOND, 5000);
    for value in [0.0, 7.0] {
        let cells = Partial::of_all((0..50).map(|i| (i * SECOND, value))).expect("some");
        let e = evidence(&cells, MINUTE, Some(&table), None);
        let values = [Some(value)];
        for aggregate in [Aggregate::Avg, Aggregate::Min, Aggregate::Max, Aggregate::Last] {
            let a = judge(&model(), &outlook(&model(), &e), &cells, &[aggregate], &values);
            assert!(a.confidence_score > 0.7, "{aggregate:?} {a:?}");
        }
    }
}

#[test]
fn states() {
    let (m, at) = (model(), |seconds: i64| ArrivalTime(seconds * SECOND));
    let state = |now, covered, revised| m.state(BUCKET, now, 10 * SECOND, covered, revised);
    assert_eq!(state(at(59), true, true), State::Open);
    assert_eq!(state(at(60), true, false), State::Settling);
    assert_eq!(state(at(70), true, false), State::Final);
    assert_eq!(state(at(70), false, false), State::Settling);
    assert_eq!(state(at(70), true, true), State::Revised);
    let cells = partial(0, 3);
    let e = Evidence { covered: true, ..evidence(&cells, 70 * SECOND, None, None).cell };
    assert_eq!(m.state_of(&e, 10 * SECOND), State::Final);
}

#[test]
fn the_horizon_is_the_greatest_until_lateness_is_known() {
    assert_eq!(model().horizon(None), DAY);
    assert_eq!(model().horizon(Some(&LatenessTable::default())), DAY);
    let horizon = |n| model().horizon(Some(&exponential_table(SECOND, n)));
    assert!(horizon(10) > HOUR && horizon(100) < HOUR && horizon(5000) < MINUTE, "{} {}", horizon(10), horizon(100));
    assert_eq!(Model::new(0.01, SECOND).horizon(Some(&exponential_table(MINUTE, 5000))), SECOND);
}

#[test]
fn a_revised_bucket_is_less_sure() {
    let (table, cells) = (exponential(SECOND, 50_000), partial(0, 60));
    let e = evidence(&cells, HOUR, Some(&table), None);
    let revised = outlook(&model(), &Known { cell: Evidence { revised: true, ..e.cell }, ..e });
    assert!(revised.completeness() < outlook(&model(), &e).completeness());
}

#[test]
fn readings_known_to_be_missing_are_expected() {
    let (table, cells) = (exponential(SECOND, 50_000), partial(0, 60));
    let e = evidence(&cells, HOUR, Some(&table), None);
    let pending = Known { cell: Evidence { pending: 2, ..e.cell }, ..e };
    assert!(outlook(&model(), &pending).expected() >= 2.0 && outlook(&model(), &e).expected() < 0.1);
    assert!(assess(&model(), &pending).confidence_score < assess(&model(), &e).confidence_score);
}

#[test]
fn what_can_not_be_told_apart_is_not_worked_out() {
    // From next to certain to doubtful: the score must not jump where the short way ends.
    let (cells, newest) = (partial(0, 60), tail(DAY, 1e9));
    let (mut last, table) = (1.0, exponential(SECOND, 50_000));
    for age in (1..200).rev().map(|i| i * 3 * SECOND / 10) {
        let a = assess(&model(), &evidence(&cells, MINUTE + age, Some(&table), Some(&newest)));
        assert!(a.confidence_score <= last, "{age}: {a:?}");
        last = a.confidence_score;
    }
    assert!(last < 0.9, "{last}");
}

#[test]
fn a_sketch_widens_the_interval_not_the_score() {
    let (table, exact) = (exponential(SECOND, 5000), partial(0, 60));
    let mut sketched = exact.clone();
    sketched.sketch = Some(Box::default());
    let p50 = [Aggregate::ALL[8]];
    let of = |cells: &Partial| {
        let e = evidence(cells, MINUTE + SECOND, Some(&table), None);
        judge(&model(), &outlook(&model(), &e), cells, &p50, &[Some(104.0)])
    };
    let (narrow, wide) = (of(&exact), of(&sketched));
    assert_eq!(narrow.confidence_score, wide.confidence_score);
    let width = |a: &Judged| a.intervals[0].map_or(0.0, |i| i.high - i.low);
    assert!((width(&wide) - width(&narrow) - 2.08).abs() < 1e-9);
}

#[test]
fn extremes_make_no_nonsense() {
    let values = [0.0, -0.0, 1.0, -5.0, 1e-320, 1e308, -1e308, f64::MAX, f64::MIN];
    let tables =
        [None, Some(Curve::of(&LatenessTable::default())), Some(exponential(SECOND, 3)), Some(exponential(DAY, 9000))];
    let cadences = [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1e9, 1e18];
    let times = [i64::MIN, -DAY, 0, 30 * SECOND, MINUTE, DAY, i64::MAX];
    let buckets = [BUCKET, TimeRange::ALL, TimeRange::new(5, 5), TimeRange::new(0, 1)];
    let models = [
        model(),
        Model { epsilon: f64::NAN, level: f64::NAN, horizon_max: 0, labels: 0 },
        Model { epsilon: -1.0, level: 7.0, horizon_max: i64::MAX, labels: u64::MAX },
    ];
    let mut random = Random(11);
    let mut pick = |n: usize| (random.unit() * n as f64) as usize;
    for round in 0..20_000 {
        let readings = (0..1 + pick(4)).map(|_| (times[pick(7)], values[pick(9)])).collect::<Vec<_>>();
        let mut cells = Partial::of_all(readings).expect("at least one");
        if round % 10 == 0 {
            cells.count = 1 << 60;
        }
        let newest = Tail { earliest: times[pick(7)], value: values[pick(9)], ..tail(0, cadences[pick(7)]) };
        let newest = Tail { time: times[pick(7)], arrival: ArrivalTime(times[pick(7)]), ..newest };
        let (bucket, now) = (buckets[pick(4)], ArrivalTime(times[pick(7)]));
        let (lateness, tail) = (tables[pick(4)].as_ref(), (pick(2) == 0).then_some(&newest));
        let (covered, revised) = (pick(2) == 0, pick(2) == 0);
        let cell = Evidence { partial: &cells, bucket, now, covered, pending: pick(2) as u64, revised };
        let e = Known { cell, lateness, tail };
        let m = &models[pick(3)];
        let outlook = outlook(m, &e);
        let mut group = outlook;
        group.merge(&outlook);
        let values = Aggregate::ALL.map(|a| cells.evaluate(a));
        for outlook in [outlook, group, Outlook::default()] {
            assert!(outlook.expected().is_finite() && outlook.variance().is_finite(), "{outlook:?} {e:?}");
            check_sound(&judge(m, &outlook, &cells, &Aggregate::ALL, &values), &values);
        }
    }
}

/// Of one simulated minute at one age, how often each aggregate's interval held the final value, over many minutes.
fn coverage(seed: u64, rate: f64, delay: f64, age: i64) -> [f64; 12] {
    const MINUTES: usize = 600;
    let table = exponential(delay as i64, 20_000);
    let mut random = Random(seed);
    let (mut held, mut asked) = ([0.0; 12], [0.0; 12]);
    for _ in 0..MINUTES {
        let end = 2 * MINUTE;
        let now = MINUTE + age;
        let mut time = -10.0 * MINUTE as f64;
        let mut readings: Vec<(i64, i64, f64)> = Vec::new();
        while time < end as f64 {
            time += random.exponential(SECOND as f64 / rate);
            readings.push(((time + random.exponential(delay)) as i64, time as i64, 50.0 + 5.0 * random.normal()));
        }
        readings.sort_by_key(|r| r.0);
        let inside = |r: &&(i64, i64, f64)| (0..MINUTE).contains(&r.1);
        let of = |until: i64| {
            let mut cells =
                Partial::of_all(readings.iter().filter(inside).filter(|r| r.0 <= until).map(|r| (r.1, r.2)))?;
            cells.sketch = Some(Box::new(schemas::partial::Sketch::of(
                readings.iter().filter(inside).filter(|r| r.0 <= until).map(|r| r.2),
            )));
            Some(cells)
        };
        let (Some(shown), Some(truth)) = (of(now), of(i64::MAX)) else { continue };
        let mut newest: Option<Tail> = None;
        for r in readings.iter().filter(|r| r.0 <= now) {
            match &mut newest {
                Some(tail) => tail.update(r.1, r.2, ArrivalTime(r.0)),
                None => newest = Some(Tail::of(r.1, r.2, ArrivalTime(r.0))),
            }
        }
        let a = assess(&model(), &evidence(&shown, now, Some(&table), newest.as_ref()));
        for (k, aggregate) in Aggregate::ALL.into_iter().enumerate() {
            if let (Some(i), Some(v)) = (a.intervals[k], truth.evaluate(aggregate)) {
                asked[k] += 1.0;
                held[k] += f64::from(u8::from(i.low <= v && v <= i.high));
            }
        }
    }
    std::array::from_fn(|k| held[k] / asked[k])
}

#[test]
fn intervals_cover_what_a_simulation_ends_with() {
    for (rate, delay) in [(1.0, 5.0), (0.2, 20.0), (5.0, 1.0)] {
        for age in [-30 * SECOND, -5 * SECOND, 0, 2 * SECOND, 10 * SECOND, 30 * SECOND] {
            let held = coverage(42, rate, delay * SECOND as f64, age);
            for (aggregate, held) in Aggregate::ALL.into_iter().zip(held) {
                let least = if aggregate == Aggregate::Count { 0.88 } else { 0.86 };
                assert!(held >= least, "{} at {age}, rate {rate}, delay {delay}: {held}", aggregate.name());
            }
        }
    }
}
