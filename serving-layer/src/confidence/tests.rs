//! What must hold whatever is fed: soundness, honesty without data, memory over a restart, and the traps.

use super::replay::{Plan, Row, replay};
use fastrand::Rng;

use super::*;
use schemas::ArrivalTime;
use schemas::TimeRange;
use schemas::epoch::Tail;
use schemas::partial::Aggregate;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;

/// `-ln U`.
fn exponential(random: &mut Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

/// What is foretold of all aggregates of a cell.
fn foretell(
    learner: &Learner,
    stratum: &Stratum,
    moment: &Moment,
    readings: &Readings,
    outlook: &Outlook,
    ask: Ask,
) -> Prediction {
    learner.foretell(stratum, &Observation::new(moment, readings, outlook), &Aggregate::ALL, ask)
}

/// Ten devices for two hours: every eight seconds or at random, late by some seconds.
fn devices(seed: u64) -> Vec<Row> {
    let mut random = Rng::with_seed(seed);
    let mut rows = Vec::new();
    for source in 0..10 {
        let mut time = 1_000_000.0 * SECOND as f64;
        while time < (1_000_000 + 7_200) as f64 * SECOND as f64 {
            time += 8e9 * if source % 2 == 0 { 1.0 } else { exponential(&mut random) };
            let event = time as i64;
            let arrival = event + (5e9 * exponential(&mut random)) as i64;
            rows.push(Row { class: 1, source, event, arrival, value: 20.0 + random.f64() });
        }
    }
    rows.sort_by_key(|r| r.arrival);
    rows
}

fn plan(group: bool) -> Plan {
    Plan {
        resolution: schemas::Resolution::from_nanos(MINUTE).expect("positive"),
        single: !group,
        group,
        ages: vec![0, 5 * SECOND, 15 * SECOND, MINUTE],
        wanted: Aggregate::ALL.to_vec(),
        ask: Ask::default(),
        settings: Settings::default(),
        watched_max: 1_000,
    }
}

/// Coverage of intervals of those calibrated, mean score and mean outcome; every prediction is checked.
fn measure(rows: &[Row], plan: &Plan, skip: Option<u64>) -> (f64, f64, f64, f64) {
    let (mut n, mut held, mut scores, mut outcomes) = (0.0, 0.0, 0.0, 0.0);
    replay(rows, plan, &mut |s| {
        check(s.prediction);
        if !s.prediction.calibrated || s.source == skip && skip.is_some() {
            return;
        }
        for aggregate in Aggregate::ALL {
            let i = aggregate.index();
            let (Some(f), v, t) = (s.prediction.forecasts[i], s.shown[i], s.truth[i]) else { continue };
            n += 1.0;
            let slack = 1e-12 * t.abs();
            held += f64::from(u8::from(f.low - slack <= t && t <= f.high + slack));
            scores += f.score;
            outcomes += f64::from(u8::from((t - v).abs() <= 0.01 * v.abs()));
        }
    });
    (n, held / n, scores / n, outcomes / n)
}

fn check(p: &Prediction) {
    assert!((0.0..=1.0).contains(&p.completeness) && p.missing >= 0.0 && p.missing.is_finite(), "{p:?}");
    for f in p.forecasts.iter().flatten() {
        assert!(f.low.is_finite() && f.high.is_finite() && f.low <= f.high, "{f:?}");
        assert!((0.0..1.0).contains(&f.score), "{f:?}");
    }
}

#[test]
fn intervals_hold_and_scores_are_met() {
    for group in [false, true] {
        let (n, held, score, outcome) = measure(&devices(1), &plan(group), None);
        assert!(n > 1_000.0 && held > 0.93, "{group}: {held} of {n}");
        assert!((score - outcome).abs() < 0.03, "{group}: {score} {outcome}");
    }
}

/// How many intervals held of those asked for between two instants, calibrated or not, and how many there were.
fn held_between(rows: &[Row], plan: &Plan, (from, to): (i64, i64)) -> (f64, f64) {
    let (mut n, mut held) = (0.0, 0.0);
    replay(rows, plan, &mut |s| {
        let asked = s.bucket.end.0 + s.age;
        for i in Aggregate::ALL.map(Aggregate::index) {
            let (Some(f), t) = (s.prediction.forecasts[i], s.truth[i]) else { continue };
            if from <= asked && asked < to {
                let slack = 1e-12 * t.abs();
                n += 1.0;
                held += f64::from(u8::from(f.low - slack <= t && t <= f.high + slack));
            }
        }
    });
    (n, held / n)
}

/// When the devices' circumstances change.
const CHANGE: i64 = 1_005_400 * SECOND;

#[test]
fn intervals_go_on_holding_while_lateness_doubles() {
    for (seed, group) in [(11, false), (11, true), (12, false), (12, true)] {
        let mut rows = devices(seed);
        for row in rows.iter_mut().filter(|row| row.event >= CHANGE) {
            row.arrival += row.arrival - row.event;
        }
        rows.sort_by_key(|r| r.arrival);
        let (n, held) = held_between(&rows, &plan(group), (CHANGE, CHANGE + 10 * MINUTE));
        println!("lateness doubles, group {group}: {held:.3} of {n}");
        assert!(n > 300.0 && held >= 0.88, "{seed} {group}: {held} of {n}");
    }
}

#[test]
fn intervals_go_on_holding_over_an_outage_of_the_gateway() {
    const BACK: i64 = CHANGE + 5 * MINUTE;
    for (seed, group) in [(13, false), (13, true), (14, false), (14, true)] {
        let mut rows = devices(seed);
        // Stored, and forwarded within some seconds.
        for (i, row) in rows.iter_mut().enumerate().filter(|(_, row)| (CHANGE..BACK).contains(&row.arrival)) {
            row.arrival = BACK + (i as i64 % 50) * SECOND / 10;
        }
        rows.sort_by_key(|r| r.arrival);
        let (n, held) = held_between(&rows, &plan(group), (CHANGE, BACK + 10 * MINUTE));
        println!("outage, group {group}: {held:.3} of {n}");
        assert!(n > 300.0 && held >= 0.88, "{seed} {group}: {held} of {n}");
    }
}

/// Twelve devices of three gateways for eight hours, each reading every ten seconds; the gateways' rooms differ in
/// temperature. `forwarded` tells when a gateway sends what it got at an instant.
fn gateways(seed: u64, forwarded: impl Fn(u64, i64) -> i64) -> Vec<Row> {
    let mut random = Rng::with_seed(seed);
    let mut rows = Vec::new();
    for source in 0..12 {
        let room = source / 4;
        for i in 0..8 * 360 {
            let event = 1_000_000 * SECOND + i * 10 * SECOND + source as i64 * SECOND / 2;
            // Sent within three seconds, in any order.
            let arrival = forwarded(room, event) + (3e9 * random.f64()) as i64;
            rows.push(Row { class: 1, source, event, arrival, value: 20.0 + 10.0 * room as f64 + random.f64() });
        }
    }
    rows.sort_by_key(|r| r.arrival);
    rows
}

#[test]
fn what_is_sent_every_five_minutes_is_expected_in_the_meantime() {
    const PERIOD: i64 = 5 * MINUTE;
    let rows = gateways(21, |room, at| {
        let phase = room as i64 * 100 * SECOND;
        at + PERIOD - (at - phase).rem_euclid(PERIOD)
    });
    let (mut n, mut told, mut was, mut width) = (0.0, 0.0, 0.0, 0.0);
    let count = Aggregate::Count.index();
    replay(&rows, &plan(true), &mut |s| {
        let Some(interval) = s.prediction.forecasts[count].filter(|_| s.prediction.calibrated) else { return };
        n += 1.0;
        told += s.prediction.completeness;
        was += s.shown[count] / s.truth[count];
        width += interval.high - interval.low;
    });
    let (told, was, width) = (told / n, was / n, width / n);
    println!("sent every five minutes: told {told:.3}, was {was:.3}, width {width:.1} of 72, {n} answers");
    assert!(n > 300.0 && (told - was).abs() < 0.02, "{told} {was} of {n}");
    assert!(width < 12.0, "{width}");
}

#[test]
fn a_silent_room_is_missed_by_its_own_temperature() {
    // Every twenty minutes another gateway is out for four, and sends what it kept.
    const ROUND: i64 = 20 * MINUTE;
    const OUT: i64 = 4 * MINUTE;
    let rows = gateways(22, |room, at| {
        let (round, inside) = (at.div_euclid(ROUND), at.rem_euclid(ROUND));
        if round.rem_euclid(3) == room as i64 && inside < OUT { round * ROUND + OUT } else { at }
    });
    let (mut n, mut held, mut width) = (0.0, 0.0, 0.0);
    let (count, avg) = (Aggregate::Count.index(), Aggregate::Avg.index());
    replay(&rows, &plan(true), &mut |s| {
        let Some(f) = s.prediction.forecasts[avg].filter(|_| s.prediction.calibrated) else { return };
        if s.shown[count] < 0.8 * s.truth[count] {
            n += 1.0;
            held += f64::from(u8::from(f.low <= s.truth[avg] && s.truth[avg] <= f.high));
            width += f.high - f.low;
        }
    });
    let (held, width) = (held / n, width / n);
    println!("a room is out: {held:.3} of {n} hold, {width:.2} degrees wide");
    assert!(n > 100.0 && held > 0.88 && width < 3.0, "{held} {width} of {n}");
}

#[test]
fn what_was_learned_from_as_final_stays_a_point() {
    let mut rows = devices(23);
    let mut random = Rng::with_seed(24);
    let corrected = |row: &Row, random: &mut Rng| {
        let later = (10e9 + 190e9 * random.f64()) as i64;
        Row { arrival: row.arrival + later, value: row.value + 1.0, ..*row }
    };
    let corrections: Vec<Row> = rows.iter().step_by(5).map(|row| corrected(row, &mut random)).collect();
    rows.extend(corrections);
    rows.sort_by_key(|r| r.arrival);
    let plan = Plan { ages: vec![30 * MINUTE], ..plan(true) };
    let (mut n, mut open) = (0.0, 0.0);
    replay(&rows, &plan, &mut |s| {
        if let Some(f) = s.prediction.forecasts[Aggregate::Avg.index()].filter(|_| s.prediction.calibrated) {
            n += 1.0;
            open += f64::from(u8::from(f.low < f.high));
        }
    });
    println!("half an hour old: {open} of {n} are open");
    assert!(n >= 30.0 && open < 0.1 * n, "{open} of {n}");
}

#[test]
fn a_fast_clock_changes_nobody_else() {
    let right = devices(2);
    let mut wrong = right.clone();
    for row in wrong.iter_mut().filter(|r| r.source == 3) {
        row.event += 3 * 3600 * SECOND;
    }
    let (_, held, score, outcome) = measure(&wrong, &plan(false), Some(3));
    let (_, _, usual, _) = measure(&right, &plan(false), Some(3));
    assert!(held > 0.93 && (score - outcome).abs() < 0.03, "{held} {score} {outcome}");
    assert!((score - usual).abs() < 0.02, "{score} {usual}");
}

#[test]
fn a_backfill_of_a_month_does_not_lengthen_the_horizon() {
    let mut rows = devices(3);
    let before = replay(&rows, &plan(false), &mut |_| {}).horizon(1);
    let middle = rows[rows.len() / 2].arrival;
    for i in 0..20_000 {
        let event = middle - 30 * 86_400 * SECOND + i * 120 * SECOND;
        rows.push(Row { class: 1, source: 1, event, arrival: middle + i * 1_000_000, value: 1.0 });
    }
    rows.sort_by_key(|r| r.arrival);
    let after = replay(&rows, &plan(false), &mut |_| {}).horizon(1);
    assert!(after <= 2 * before, "{before} {after}");
}

#[test]
fn a_source_that_stops_is_doubted_and_then_let_go() {
    stop(|at| at + SECOND);
    // As well where sources are known to keep for a quarter of an hour what they can't send.
    stop(
        |at| if at.rem_euclid(60 * MINUTE) < 15 * MINUTE { at - at.rem_euclid(60 * MINUTE) + 15 * MINUTE } else { at },
    );
}

/// A source that speaks every eight seconds and stops; when it is heard follows from when it spoke.
fn stop(heard: impl Fn(i64) -> i64) {
    let mut learner = Learner::new(Settings::default());
    let (mut tail, mut readings) = (None::<Tail>, None);
    for i in 0..8_000 {
        let (event, arrival) = (i * 8 * SECOND, heard(i * 8 * SECOND));
        learner.arrived(&Arrived { class: 1, source: 1, event, arrival, value: 1.0, kind: Arrival::New });
        tail.get_or_insert_with(|| Tail::of(event, 1.0, ArrivalTime(arrival))).update(event, 1.0, ArrivalTime(arrival));
        readings = Some(event);
    }
    let (tail, last) = (tail.expect("as it was"), readings.expect("as it was"));
    let stratum = Stratum { class: 1, width: MINUTE, group: false };
    let start = last - last.rem_euclid(MINUTE);
    let bucket = TimeRange::new(start, start + MINUTE);
    let values = [1.0; AGGREGATES];
    let readings = Readings { count: 2, sum: 2.0, variance: 0.0, min: 1.0, max: 1.0, first: start, last, values };
    let completeness = |age: i64| {
        let moment = Moment { bucket, now: bucket.end.0 + age, first: start, last };
        let habit = learner.series(&learner.class(1), 1);
        let outlook = learner.foreteller(&stratum, Ask::default()).outlook(&moment, &habit, Some(&tail));
        foretell(&learner, &stratum, &moment, &readings, &outlook, Ask::default()).completeness
    };
    assert!(completeness(MINUTE) < 0.7, "{}", completeness(MINUTE));
    assert!(completeness(600 * MINUTE) > 0.98, "{}", completeness(600 * MINUTE));
}

#[test]
fn without_data_nothing_is_claimed() {
    let learner = Learner::new(Settings::default());
    let stratum = Stratum { class: 1, width: MINUTE, group: false };
    let moment = Moment { bucket: TimeRange::new(0, MINUTE), now: 2 * MINUTE, first: 1, last: 2 };
    let values = [5.0; AGGREGATES];
    let readings = Readings { count: 2, sum: 10.0, variance: 0.0, min: 5.0, max: 5.0, first: 1, last: 2, values };
    let unheard = learner.series(&learner.class(1), 1);
    let nothing = learner.foreteller(&stratum, Ask::default()).outlook(&moment, &unheard, None);
    for outlook in [Outlook::default(), nothing] {
        let p = foretell(&learner, &stratum, &moment, &readings, &outlook, Ask::default());
        check(&p);
        assert!(!p.calibrated && p.forecasts.iter().flatten().all(|f| f.score <= 0.5), "{p:?}");
    }
}

#[test]
fn what_neighbours_share_changes_nothing() {
    let rows = devices(6);
    let learned = replay(&rows, &plan(false), &mut |_| {});
    let now = rows.iter().map(|r| r.arrival).max().expect("some") + 30 * SECOND;
    let stratum = Stratum { class: 1, width: MINUTE, group: false };
    let (new, wanted) = (Learner::new(Settings::default()), vec![Aggregate::Count, Aggregate::Avg, Aggregate::Sum]);
    let ends = vec![Aggregate::Last, Aggregate::Min];
    for (learner, source, wanted) in
        [(&learned, 0, &wanted), (&learned, 1, &wanted), (&new, 1, &wanted), (&learned, 1, &ends)]
    {
        let of_one: Vec<&Row> = rows.iter().filter(|r| r.source == source).collect();
        let mut tail = Tail::of(of_one[0].event, of_one[0].value, ArrivalTime(of_one[0].arrival));
        of_one[1..].iter().for_each(|r| tail.update(r.event, r.value, ArrivalTime(r.arrival)));
        let class = learner.class(1);
        let member = || (learner.series(&class, source), Some(&tail));
        let mut sight = Sight::new(vec![member()], wanted.clone());
        let mut foreteller = learner.foreteller(&stratum, Ask::default());
        let mut starts: Vec<i64> = of_one.iter().map(|r| r.event - r.event.rem_euclid(MINUTE)).collect();
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            let bucket = TimeRange::new(start, start + MINUTE);
            let inside = of_one.iter().filter(|r| bucket.contains(schemas::EventTime(r.event)));
            let partial = schemas::partial::Partial::of_all(inside.map(|r| (r.event, r.value))).expect("not empty");
            let values = Aggregate::ALL.map(|a| partial.evaluate(a).unwrap_or(f64::NAN));
            let readings = Readings::of(&partial, values);
            let moment = Moment { bucket, now, first: readings.first, last: readings.last };
            let alone = learner.foreteller(&stratum, Ask::default()).outlook(&moment, &member().0, Some(&tail));
            let observation = Observation::new(&moment, &readings, &alone);
            let expected = learner.foretell(&stratum, &observation, wanted, Ask::default());
            assert_eq!(sight.foretell(&mut foreteller, &moment, &readings), expected, "{source} {start}");
        }
    }
}

/// The same but for the last digits, which JSON need not keep.
fn alike(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Object};
    match (a, b) {
        (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Object(a), Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| alike(a, b)))
        }
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs(),
            _ => a == b,
        },
    }
}

#[test]
fn a_restart_forgets_nothing() {
    let learner = replay(&devices(4), &plan(true), &mut |_| {});
    let text = serde_json::to_string(&learner).expect("as it was");
    let again: Learner = serde_json::from_str(&text).expect("as it was");
    let (before, after) =
        (serde_json::to_value(&learner).expect("numbers"), serde_json::to_value(&again).expect("numbers"));
    assert!(alike(&before, &after), "numbers changed");
    assert_eq!(again.horizon(1), learner.horizon(1));
}

#[test]
fn hostile_numbers_break_nothing() {
    let times = [i64::MIN, -1, 0, 1, MINUTE, i64::MAX];
    let values = [0.0, -0.0, 1e308, -1e308, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE];
    let mut random = Rng::with_seed(9);
    let mut learner = Learner::new(Settings { series_max: 8, strata_max: 2, classes_max: 2, ..Settings::default() });
    let mut any = |n: usize| (random.f64() * n as f64) as usize;
    for _ in 0..20_000 {
        let (event, arrival, value) = (times[any(6)], times[any(6)], values[any(7)]);
        let kind = if any(2) == 0 { Arrival::New } else { Arrival::Correction };
        let (class, source) = (any(4) as u64, any(20) as u64);
        learner.arrived(&Arrived { class, source, event, arrival, value, kind });
        let width = [0, 1, MINUTE, i64::MAX][any(4)];
        let stratum = Stratum { class, width, group: any(2) == 0 };
        let (start, end) = (times[any(6)], times[any(6)]);
        let (first, last) = (times[any(6)], times[any(6)]);
        let moment = Moment { bucket: TimeRange::new(start, end), now: times[any(6)], first, last };
        let previous = Some((first, value));
        let arrival = ArrivalTime(arrival);
        let tail = Tail { earliest: first, time: last, arrival, value, previous, cadence: values[any(7)] };
        let habit = learner.series(&learner.class(class), source);
        let mut outlook = learner.foreteller(&stratum, Ask::default()).outlook(&moment, &habit, Some(&tail));
        outlook.merge(&outlook.clone());
        let shown: [f64; AGGREGATES] = std::array::from_fn(|_| values[any(7)]);
        let count = [0, 1, 7, u64::MAX][any(4)];
        let (sum, variance, min, max) = (values[any(7)], values[any(7)], values[any(7)], values[any(7)]);
        let readings = Readings { count, sum, variance, min, max, first, last, values: shown };
        let ask = Ask { level: values[any(7)], eps: values[any(7)], floor: values[any(7)] };
        check(&foretell(&learner, &stratum, &moment, &readings, &outlook, ask));
        let observation = Observation::new(&moment, &readings, &outlook);
        let text = serde_json::to_string(&observation).expect("as it was");
        assert!(serde_json::from_str::<Observation>(&text).is_ok(), "{text}");
        learner.step(&stratum, Some(&observation), &observation);
        learner.learn(&stratum, &observation, &std::array::from_fn(|_| values[any(7)]), moment.now);
    }
    // What is not finite can not be written down and read again.
    let text = serde_json::to_string(&learner).expect("as it was");
    let at = text.find("null").map(|i| &text[i.saturating_sub(300)..i + 4]);
    assert!(serde_json::from_str::<Learner>(&text).is_ok(), "not readable: {at:?}");
}

#[test]
fn a_constant_never_changes_its_mean() {
    let mut rows = devices(5);
    rows.iter_mut().for_each(|r| r.value = 42.0);
    replay(&rows, &plan(false), &mut |s| {
        if s.prediction.calibrated
            && let Some(f) = s.prediction.forecasts[Aggregate::Avg.index()]
        {
            assert!(f.score > 0.9 && f.high - f.low < 1e-6, "{f:?} {} {:?}", s.age, s.source);
        }
    });
}
