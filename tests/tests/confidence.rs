//! The engine watches its own answers: what it tells of them comes true as often as it says, survives a restart, and is
//! nothing where something is missing that no lateness explains.

use std::collections::BTreeMap;
use std::sync::Arc;

use batch_layer::catalog::{JobKind, NewJob};
use schemas::query::QueryText;
use schemas::time::SECOND;
use schemas::{Clock as _, SeriesKey, TimeRange};
use serving_layer::answer::Point;
use serving_layer::confidence::State;
use serving_layer::{Answer, Serving};
use speed_layer::{Rows, SeriesRef};
use tests::parts::{TestClock, open, scratch};
use weir::Engine;

/// Ten o'clock of some day.
const START: i64 = 1_700_042_400 * SECOND;
const DEVICES: usize = 6;

/// A plant that sends a reading a second from each device, late by some seconds, some by half a minute.
struct Plant {
    random: fastrand::Rng,
    clock: Arc<TestClock>,
    /// Event time, device, by the second of arrival.
    on_the_way: BTreeMap<i64, Vec<(i64, usize)>>,
    stopped: Option<usize>,
}

impl Plant {
    fn new(clock: Arc<TestClock>) -> Self {
        Self { random: fastrand::Rng::with_seed(7), clock, on_the_way: BTreeMap::new(), stopped: None }
    }

    /// Lets seconds pass; the engine learns each second.
    async fn run(&mut self, serving: &Serving, seconds: i64) {
        for _ in 0..seconds {
            let now = self.clock.now().0;
            self.happen(now);
            let rest = self.on_the_way.split_off(&(now + 1));
            let arrived: Vec<(i64, usize)> =
                std::mem::replace(&mut self.on_the_way, rest).into_values().flatten().collect();
            send(serving, &arrived).await;
            serving.calibrate().await.expect("learns");
            self.clock.advance(SECOND);
        }
    }

    fn happen(&mut self, now: i64) {
        for device in (0..DEVICES).filter(|device| self.stopped != Some(*device)) {
            let late = -2.0 * self.random.f64().max(1e-9).ln() + if self.random.u32(..100) == 0 { 30.0 } else { 0.0 };
            let event = now - self.random.i64(0..SECOND);
            self.on_the_way.entry(now + (late * SECOND as f64) as i64).or_default().push((event, device));
        }
    }
}

async fn send(serving: &Serving, readings: &[(i64, usize)]) {
    let key = |device: usize| SeriesKey::new("load", &[("device_id", &format!("d{device}"))]).expect("valid");
    let rows = Rows {
        keys: (0..DEVICES).map(key).collect(),
        series: readings.iter().map(|(_, device)| SeriesRef::new(*device as u32)).collect(),
        times: readings.iter().map(|(time, _)| *time).collect(),
        values: readings.iter().map(|(time, device)| (time / SECOND % 17 + *device as i64) as f64).collect(),
        ..Rows::default()
    };
    serving.speed.append(rows).await.expect("taken");
}

async fn ask(serving: &Serving, parts: &[(&str, &str)]) -> Answer {
    let map: serde_json::Map<String, serde_json::Value> =
        parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let text: QueryText = serde_json::from_value(map.into()).expect("known parts");
    serving.query(&text).await.expect("answers")
}

fn score(point: &Point) -> Option<f64> {
    point.confidence.expect("asked for").score
}

async fn opened(dir: &std::path::Path, clock: &Arc<TestClock>) -> Engine {
    open(dir, Arc::clone(clock), Arc::default()).await.expect("opens")
}

/// What is told of many cells together is what is told of each.
async fn count_finals(engine: &Engine) {
    engine.serving.flush().await.expect("flushes");
    let (kind, range, now) = (JobKind::Recompute, TimeRange::ALL, engine.serving.clock.now());
    let job = NewJob { kind, range, selector: None, reason: "test".to_owned(), priority: 0, not_before: now, now };
    engine.serving.batch.catalog().enqueue(job).await.expect("queued");
    while engine.serving.batch.run_next().await.expect("runs").is_some() {}
    let of_cells = [("match", "load"), ("from", "now-20m"), ("step", "10s"), ("agg", "count")];
    let (mut all, mut finals) = (BTreeMap::<i64, f64>::new(), BTreeMap::<i64, f64>::new());
    for point in ask(&engine.serving, &of_cells).await.series.iter().flat_map(|series| &series.points) {
        let is_final = point.confidence.expect("asked for").state == State::Final;
        let step = point.time.0.div_euclid(300 * SECOND);
        *all.entry(step).or_default() += 1.0;
        *finals.entry(step).or_default() += f64::from(u8::from(is_final));
    }
    for agg in ["count", "count,p99"] {
        let together = [("match", "load"), ("from", "now-20m"), ("step", "5m"), ("by", ""), ("agg", agg)];
        let mut shares = Vec::new();
        for point in &ask(&engine.serving, &together).await.series[0].points {
            let step = point.time.0.div_euclid(300 * SECOND);
            let share = point.confidence.expect("asked for").final_share;
            assert!(
                (share - finals[&step] / all[&step]).abs() < 1e-6,
                "{point:?}: {} of {}",
                finals[&step],
                all[&step]
            );
            shares.push(share);
        }
        assert!(shares.contains(&1.0) && shares.iter().any(|share| *share < 1.0), "{shares:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_learns_remembers_and_knows_what_it_can_not_know() {
    let dir = scratch();
    let clock = TestClock::at(START);
    let engine = opened(dir.path(), &clock).await;
    let mut plant = Plant::new(Arc::clone(&clock));
    let asked = [("match", "load"), ("from", "now-2m"), ("step", "10s"), ("agg", "count")];
    plant.run(&engine.serving, 5).await;
    for point in ask(&engine.serving, &asked).await.series.iter().flat_map(|series| &series.points) {
        let confidence = point.confidence.expect("asked for");
        assert!(
            !confidence.calibrated && confidence.score.is_some_and(|score| score < 1.0),
            "nothing is known yet: {point:?}"
        );
    }

    plant.run(&engine.serving, 1_500).await;
    let learned = engine.serving.calibration.learned();
    let all = learned.scores.sum(|_, _, _, _| true);
    println!("{all:?}");
    for row in learned.calibration().iter().filter(|row| row.row.score.n >= 200.0) {
        println!("{} {} {} {:?}", row.row.aggregate.name(), row.row.group, row.row.age / SECOND, row.row.score);
    }
    assert!(all.n > 2_000.0, "what became of its answers was seen: {all:?}");
    assert!(all.coverage > 0.93 && all.ece < 0.1, "{all:?}");
    let answer = ask(&engine.serving, &asked).await;
    assert_eq!((answer.series.len(), answer.missing.len()), (DEVICES, 0));
    for series in &answer.series {
        let (first, last) = (&series.points[0], series.points.last().expect("some"));
        assert!(score(first) > score(last), "{first:?} {last:?}");
        let interval = last.values[0].interval.expect("a count has one");
        assert!(interval.high >= last.values[0].value.expect("defined"), "none is taken back: {last:?}");
    }
    // One honest interval for all of them together.
    let together = ask(&engine.serving, &[asked.as_slice(), &[("by", "")]].concat()).await;
    let newest = together.series[0].points.last().expect("some");
    assert!(newest.values[0].interval.is_some() && score(newest).is_some_and(|score| score < 0.9), "{newest:?}");
    // A narrower level is a narrower interval; a wider difference is a surer one.
    let width = async |level: &str| {
        let answer = ask(&engine.serving, &[asked.as_slice(), &[("by", ""), ("level", level)]].concat()).await;
        let interval = answer.series[0].points.last().expect("some").values[0].interval.expect("an interval");
        interval.high - interval.low
    };
    assert!(width("0.5").await < width("0.99").await);
    let lax = ask(&engine.serving, &[asked.as_slice(), &[("by", ""), ("max_rel_err", "0.9")]].concat()).await;
    assert!(score(lax.series[0].points.last().expect("some")) >= score(newest));

    count_finals(&engine).await;

    // A source that stops: its last bucket is settled before long.
    plant.stopped = Some(0);
    plant.run(&engine.serving, 240).await;
    let stopped = [("match", "load{device_id=\"d0\"}"), ("from", "now-5m"), ("step", "10s"), ("agg", "count")];
    let answer = ask(&engine.serving, &stopped).await;
    let last = answer.series[0].points.last().expect("it was there");
    assert!(last.confidence.expect("asked for").completeness > 0.85, "{last:?}");

    let before = engine.serving.calibration.learned().calibration().len();
    engine.close().await.expect("closes");
    clock.advance(45 * SECOND);
    let engine = opened(dir.path(), &clock).await;
    assert_eq!(engine.serving.calibration.learned().calibration().len(), before, "nothing is forgotten");
    plant.run(&engine.serving, 30).await;
    let answer = ask(&engine.serving, &asked).await;
    assert!(answer.missing.iter().any(|text| text.contains("did not run")), "{:?}", answer.missing);
    let points: Vec<&Point> = answer.series.iter().flat_map(|series| &series.points).collect();
    assert!(points.iter().any(|point| score(point).is_none()), "nobody knows what was sent meanwhile");
    assert!(points.iter().any(|point| score(point).is_some()), "the other buckets are as they were");
    engine.close().await.expect("closes");
}
