//! The conservation ledger of the real engine: every reading that was sent is in it, wherever it has got to.

use std::path::Path;
use std::sync::Arc;

use batch_layer::catalog::{JobKind, NewJob};
use schemas::epoch::{Arrival, Epoch, Sealed, SeriesEpoch, SeriesState};
use schemas::time::{DAY, HOUR, MILLISECOND, SECOND, parse_rfc3339};
use schemas::{ArrivalTime, Batch, Clock as _, LogPosition, Resolution, SeriesId, SeriesKey, Tally, TimeRange};
use speed_layer::{Rows, SeriesRef};
use tests::parts::{ArmedGap, TestClock, open, scratch};
use weir::Engine;

fn key() -> SeriesKey {
    SeriesKey::new("temperature", &[("device_id", "press-1")]).expect("valid")
}

struct Account {
    clock: Arc<TestClock>,
    sent: Tally,
}

impl Account {
    async fn open(&self, dir: &Path) -> Engine {
        open(dir, Arc::clone(&self.clock), Arc::new(ArmedGap::default())).await.expect("opens")
    }

    /// Sends readings and enters them, made up of nothing but what was sent.
    async fn send(&mut self, engine: &Engine, readings: &[(i64, f64)]) {
        let (times, values): (Vec<i64>, Vec<f64>) = readings.iter().copied().unzip();
        let rows = Rows {
            keys: vec![key()],
            series: vec![SeriesRef::new(0); readings.len()],
            times: times.clone(),
            values: values.clone(),
            ..Rows::default()
        };
        engine.serving.speed.append(rows).await.expect("appends");
        let now = self.clock.now().0;
        let arrival = ArrivalTime(now - now.rem_euclid(MILLISECOND));
        // The only series there is.
        let batch = Batch { definitions: vec![], series: vec![SeriesId::new(0, 0); times.len()], times, values };
        self.sent = self.sent.plus(Tally::of_batch(&batch, arrival));
    }

    #[track_caller]
    fn check(&self, engine: &Engine, flushed: bool) {
        let ledger = engine.serving.speed.ledger();
        assert!(ledger.equations().iter().all(|(_, holds)| *holds), "{ledger:?}");
        assert_eq!(ledger.logged, self.sent);
        if flushed {
            assert_eq!((ledger.unflushed, ledger.totals.history), (Tally::NONE, self.sent));
        }
    }
}

#[tokio::test]
async fn what_was_sent_is_in_the_ledger_through_everything() {
    let start = parse_rfc3339("2024-01-31T12:00:00Z").expect("a time");
    let (dir, mut account) = (scratch(), Account { clock: TestClock::at(start), sent: Tally::NONE });
    let engine = account.open(dir.path()).await;
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..6 {
        account.clock.advance(HOUR + 12_345);
        let now = account.clock.now().0;
        // In order, late, of another month, doubled, corrected, from the future; some not a short decimal.
        let mut readings: Vec<(i64, f64)> = (0..400).map(|i| (now - i * SECOND, random.f64())).collect();
        readings.extend((0..50).map(|i| (start - DAY + i * SECOND, i as f64 / 10.0)));
        readings.extend([(start + 2 * DAY, 1.0), (start - 40 * DAY, -0.0), (start - 40 * DAY, -0.0)]);
        account.send(&engine, &readings).await;
        account.check(&engine, false);
        account.send(&engine, &readings[..100]).await;
        engine.serving.speed.seal();
        account.send(&engine, &[(now - SECOND, f64::from(round))]).await;
        account.check(&engine, false);
        engine.serving.flush().await.expect("flushes");
        account.check(&engine, true);
    }
    let now = account.clock.now();
    for kind in [JobKind::Compact, JobKind::Fold, JobKind::Recompute, JobKind::Audit] {
        let (range, reason) = (TimeRange::ALL, "test".to_owned());
        let job = NewJob { kind, range, selector: None, reason, priority: 0, not_before: now, now };
        let batch = &engine.serving.batch;
        let id = batch.catalog().enqueue(job).await.expect("queued");
        while batch.run_next().await.expect("runs").is_some() {}
        assert_eq!(batch.catalog().job(id).await.expect("known").error, None);
        account.check(&engine, true);
    }
    let files: usize = engine.serving.batch.version().partitions.iter().map(|p| p.files.len()).sum();
    assert!(files + engine.serving.batch.version().mixed.len() < 6, "files were compacted");
    assert_eq!(engine.serving.batch.check(|_, _| {}).await.expect("checks").findings, []);
    account.send(&engine, &[(account.clock.now().0, 5.0)]).await;
    engine.abandon().await;
    let engine = account.open(dir.path()).await;
    account.check(&engine, false);
    engine.close().await.expect("closes");
    let engine = account.open(dir.path()).await;
    account.check(&engine, true);
    engine.abandon().await;
}

/// An epoch that is not what its frames held, as a mistake on the way would make it.
fn sealed(frames: Tally) -> Arc<Sealed> {
    let (id, base, mut series) = (SeriesId::new(0, 0), Resolution::DEFAULT_BASE, SeriesEpoch::default());
    series.insert(5 * SECOND, 1.5, 0, base, Arrival::Newest);
    let epoch = Epoch {
        first: LogPosition(1),
        last: LogPosition(1),
        arrivals: Arc::new(vec![ArrivalTime(6 * SECOND)]),
        readings: 1,
        event_bounds: series.event_bounds(),
        series: vec![(id, Arc::new(series))],
        quarantine: vec![],
        hot: true,
    };
    let series = vec![SeriesState { id, key: key(), tail: None }];
    Arc::new(Sealed { epoch: Arc::new(epoch), series, lateness: vec![], tally: frames })
}

#[tokio::test]
async fn an_epoch_that_is_not_what_its_frames_held_is_not_flushed() {
    let (dir, account) = (scratch(), Account { clock: TestClock::at(DAY), sent: Tally::NONE });
    let engine = account.open(dir.path()).await;
    let batch = |value: f64| Batch {
        definitions: vec![],
        series: vec![SeriesId::new(0, 0)],
        times: vec![5 * SECOND],
        values: vec![value],
    };
    let frames = |value, arrival| Tally::of_batch(&batch(value), ArrivalTime(arrival));
    let right = frames(1.5, 6 * SECOND);
    for wrong in [
        Tally::NONE,
        right.plus(right),
        frames(-1.5, 6 * SECOND),
        frames(1.5000000000000002, 6 * SECOND),
        frames(1.5, 6 * SECOND + MILLISECOND),
    ] {
        let error = engine.serving.batch.flush(sealed(wrong)).await.expect_err("refused");
        let cause = std::error::Error::source(&error).expect("it has a cause").to_string();
        assert!(cause.contains("LED-2"), "{error}: {cause}");
        assert_eq!(engine.serving.batch.version().flushed, LogPosition::START);
    }
    engine.serving.batch.flush(sealed(right)).await.expect("flushes");
    assert_eq!(engine.serving.batch.version().totals.history, right);
    engine.abandon().await;
}
