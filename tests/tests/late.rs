//! Late readings whose epochs have left memory: looked up in history once, when they are flushed.

use std::path::Path;
use std::sync::Arc;

use schemas::query::QueryText;
use schemas::time::{MINUTE, SECOND, parse_rfc3339};
use schemas::{Clock as _, SeriesKey};
use serde_json::Value;
use speed_layer::{Rows, SeriesRef};
use tests::parts::{ArmedGap, TestClock, open, scratch};
use weir::Engine;

/// A bucket's width.
const BUCKET: i64 = 10 * SECOND;

struct Fleet {
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    engine: Engine,
    start: i64,
}

impl Fleet {
    /// Five buckets with a reading in the middle of each, flushed and out of memory.
    async fn with_cold_readings() -> Self {
        let start = parse_rfc3339("2024-03-01T12:00:00Z").expect("a time");
        let (dir, clock) = (scratch(), TestClock::at(start + MINUTE));
        let engine = open(dir.path(), Arc::clone(&clock), Arc::default()).await.expect("opens");
        let fleet = Self { dir, clock, engine, start };
        let readings: Vec<(i64, f64)> = (0..5).map(|i| (i * BUCKET + BUCKET / 2, i as f64)).collect();
        fleet.append(&readings).await;
        fleet.engine.serving.flush().await.expect("flushes");
        fleet.clock.advance(5 * MINUTE);
        fleet.engine.serving.speed.release();
        fleet
    }

    async fn append(&self, readings: &[(i64, f64)]) {
        let rows = Rows {
            keys: vec![SeriesKey::new("temperature", &[("device_id", "press-1")]).expect("valid")],
            series: vec![SeriesRef::new(0); readings.len()],
            times: readings.iter().map(|(time, _)| self.start + time).collect(),
            values: readings.iter().map(|(_, value)| *value).collect(),
            ..Rows::default()
        };
        self.engine.serving.speed.append(rows).await.expect("appends");
    }

    fn question(&self) -> QueryText {
        QueryText {
            r#match: Some("temperature".to_owned()),
            from: Some(schemas::EventTime(self.start).to_string()),
            to: Some(self.clock.now().to_string()),
            step: Some("10s".to_owned()),
            agg: Some("count,sum".to_owned()),
            ..QueryText::default()
        }
    }

    /// Count and sum of each bucket.
    async fn points(&self) -> Vec<(f64, f64)> {
        let answer = self.engine.serving.query(&self.question()).await.expect("answers");
        let value = |value: &serving_layer::answer::Value| value.value.expect("not empty");
        answer.series[0].points.iter().map(|p| (value(&p.values[0]), value(&p.values[1]))).collect()
    }

    /// How many cells only raw readings can tell.
    async fn disordered(&self) -> u64 {
        let told = self.engine.serving.explain(&self.question()).await.expect("explains");
        let points = told["series"][0]["points"].as_array().expect("points").iter();
        let epochs = points.flat_map(|point| point["epochs"].as_array().expect("epochs").iter());
        epochs.map(|epoch: &Value| epoch["cells_resolved_from_raw_readings"].as_u64().expect("a number")).sum()
    }

    async fn reopen(self) -> Self {
        let Self { dir, clock, engine, start } = self;
        engine.close().await.expect("closes");
        let engine = open(dir.path(), Arc::clone(&clock), Arc::new(ArmedGap::default())).await.expect("opens");
        Self { dir, clock, engine, start }
    }
}

#[tokio::test]
async fn history_settles_what_is_new_and_what_is_repeated() {
    for before_the_flush in [false, true] {
        check_settling(before_the_flush).await;
    }
}

async fn check_settling(before_the_flush: bool) {
    let fleet = Fleet::with_cold_readings().await;
    let middle = |bucket: i64| bucket * BUCKET + BUCKET / 2;
    // New, repeated, repeated beside new, corrected.
    fleet
        .append(&[(middle(0) + 1, 10.0), (middle(1), 1.0), (middle(2), 2.0), (middle(2) + 1, 20.0), (middle(3), 30.0)])
        .await;
    let expected = [(2.0, 10.0), (1.0, 1.0), (2.0, 22.0), (1.0, 30.0), (1.0, 4.0)];
    assert_eq!((fleet.points().await.as_slice(), fleet.disordered().await), (expected.as_slice(), 4));

    if before_the_flush {
        fleet.engine.serving.speed.settle(fleet.engine.serving.sink.as_ref()).await;
        assert_eq!((fleet.points().await.as_slice(), fleet.disordered().await), (expected.as_slice(), 1), "open");
    }
    fleet.engine.serving.flush().await.expect("flushes");
    assert_eq!((fleet.points().await.as_slice(), fleet.disordered().await), (expected.as_slice(), 1), "in memory");
    fleet.clock.advance(5 * MINUTE);
    fleet.engine.serving.speed.release();
    assert_eq!((fleet.points().await.as_slice(), fleet.disordered().await), (expected.as_slice(), 1), "released");
    let fleet = fleet.reopen().await;
    assert_eq!((fleet.points().await.as_slice(), fleet.disordered().await), (expected.as_slice(), 1), "read back");
}

#[tokio::test]
async fn what_is_sent_again_while_it_is_in_memory_disturbs_nothing() {
    let fleet = Fleet::with_cold_readings().await;
    let readings: Vec<(i64, f64)> = (0..50).map(|i| (MINUTE + i * SECOND, i as f64)).collect();
    fleet.append(&readings).await;
    let before = fleet.points().await;
    fleet.engine.serving.speed.seal();
    fleet.append(&readings).await;
    assert_eq!((fleet.points().await, fleet.disordered().await), (before.clone(), 0));
    fleet.engine.serving.flush().await.expect("flushes");
    let fleet = fleet.reopen().await;
    assert_eq!((fleet.points().await, fleet.disordered().await), (before, 0));
}

/// A file that begins with the newest reading, and is sent a second time after it has left memory: each cell would move all
/// behind it, which takes many minutes.
#[tokio::test]
async fn many_readings_backwards_and_again_take_no_longer_than_others() {
    let fleet = Fleet::with_cold_readings().await;
    let begun = std::time::Instant::now();
    let readings: Vec<(i64, f64)> = (1..=200_000).rev().map(|i| (-i * BUCKET, 1.0)).collect();
    let question = QueryText {
        from: Some(schemas::EventTime(fleet.start - 200_000 * BUCKET).to_string()),
        to: Some(schemas::EventTime(fleet.start).to_string()),
        step: Some("30d".to_owned()),
        ..fleet.question()
    };
    for backwards in [true, false] {
        let mut readings = readings.clone();
        if backwards {
            readings.reverse();
        }
        for some in readings.chunks(10_000) {
            fleet.append(some).await;
        }
        fleet.engine.serving.speed.settle(fleet.engine.serving.sink.as_ref()).await;
        let answer = fleet.engine.serving.query(&question).await.expect("answers");
        assert_eq!(answer.series[0].points.iter().map(|p| p.data_points).sum::<u64>(), 200_000);
        fleet.engine.serving.flush().await.expect("flushes");
        fleet.clock.advance(5 * MINUTE);
        fleet.engine.serving.speed.release();
    }
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(60), "{took:?}");
}

/// Doubts are left to queries, which name the file; nothing that was acknowledged waits for it.
#[tokio::test]
async fn a_flush_does_not_need_the_files_that_it_asks() {
    let fleet = Fleet::with_cold_readings().await;
    let readings = fleet.dir.path().join("history/readings");
    assert!(removed(&readings) > 0, "no file of readings below {}", readings.display());
    fleet.append(&[(BUCKET / 2 + 1, 10.0)]).await;
    fleet.engine.serving.flush().await.expect("flushes");
    let error = fleet.engine.serving.query(&fleet.question()).await.expect_err("a file is missing").to_string();
    assert!(error.contains("readings"), "{error}");
}

/// Removes all Parquet files below `dir`; how many.
fn removed(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| match path.is_dir() {
            true => removed(&path),
            false => std::fs::remove_file(&path).map_or(0, |()| 1),
        })
        .sum()
}
