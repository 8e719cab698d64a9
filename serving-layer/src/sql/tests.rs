//! Statements over both layers, opened in a folder of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::json::ArrayWriter;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use batch_layer::catalog::{JobKind, JobState, NewJob};
use batch_layer::{Adopter, BatchLayer};
use futures::TryStreamExt;
use prometheus_client::registry::Registry;
use schemas::epoch::{Epoch, Sealed};
use schemas::gap::NoGaps;
use schemas::query::QueryText;
use schemas::time::{MINUTE, SECOND, parse_rfc3339};
use schemas::view::HistoryVersion;
use schemas::{ArrivalTime, Clock, LogPosition, SeriesId, SeriesKey, TimeRange};
use serde_json::{Value, json};
use speed_layer::{HistorySink, Recovered, Room, Rows, SeriesRef, SpeedLayer};

use crate::answer::Source;
use crate::confidence::State;
use crate::error::{Error, Result};
use crate::serving::{Serving, Settings};

/// Always the same instant.
#[derive(Debug)]
struct Stopped(i64);

impl Clock for Stopped {
    fn now(&self) -> ArrivalTime {
        ArrivalTime(self.0)
    }
}

#[derive(Debug)]
struct Flusher(BatchLayer);

#[async_trait]
impl HistorySink for Flusher {
    async fn flush(&self, epoch: Arc<Sealed>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.flush(epoch).await?)
    }

    async fn look_up(&self, _: &[(SeriesId, i64)], _: LogPosition) -> Option<Vec<(SeriesId, i64, Option<f64>)>> {
        None
    }
}

#[derive(Debug)]
struct Adopting(SpeedLayer);

impl Adopter for Adopting {
    fn adopt(&self, version: Arc<HistoryVersion>, epochs: Vec<Arc<Epoch>>) {
        self.0.adopt(version, epochs);
    }
}

/// When everything arrives.
const NOW: &str = "2024-01-01T12:00:00Z";

fn now() -> i64 {
    parse_rfc3339(NOW).expect(NOW)
}

async fn open(dir: &Path, settings: Settings) -> Serving {
    let clock: Arc<dyn Clock> = Arc::new(Stopped(now()));
    let mut registry = Registry::default();
    let parts = batch_layer::Components {
        clock: Arc::clone(&clock),
        metrics: batch_layer::Metrics::new(&mut registry),
        gaps: Arc::new(NoGaps),
    };
    let opened = BatchLayer::open(batch_layer::Settings::new(dir.to_owned()), parts).await.expect("history opens");
    let parts = speed_layer::Components {
        clock: Arc::clone(&clock),
        metrics: speed_layer::Metrics::new(&mut registry),
        gaps: Arc::new(NoGaps),
        room: Arc::new(Room::new(0, Vec::new())),
    };
    let recovered = Recovered { version: opened.version, ..Recovered::default() };
    let speed =
        SpeedLayer::open(dir.join("log"), speed_layer::Settings::default(), parts, recovered).expect("the log opens");
    opened.layer.connect(Arc::new(Adopting(speed.clone())));
    let sink = Arc::new(Flusher(opened.layer.clone()));
    Serving::new(speed, opened.layer, sink, clock, settings)
}

async fn append(serving: &Serving, metric: &str, device: &str, readings: &[(i64, f64)]) {
    let key = SeriesKey::new(metric, &[("device_id", device), ("line", "A")]).expect("valid");
    let rows = Rows {
        keys: vec![key],
        spelled: Vec::new(),
        series: vec![SeriesRef::new(0); readings.len()],
        times: readings.iter().map(|(time, _)| *time).collect(),
        values: readings.iter().map(|(_, value)| *value).collect(),
    };
    serving.speed.append(rows).await.expect("appends");
}

async fn recompute(serving: &Serving) {
    let job = NewJob {
        kind: JobKind::Recompute,
        range: TimeRange::new(0, i64::MAX),
        selector: None,
        reason: "test".to_owned(),
        priority: 0,
        not_before: ArrivalTime(now()),
        now: ArrivalTime(now()),
    };
    let id = serving.batch.catalog().enqueue(job).await.expect("queues");
    while serving.batch.run_next().await.expect("runs").is_some() {}
    assert_eq!(serving.batch.job_state(id).await.expect("known"), JobState::Succeeded);
}

async fn rows(serving: &Serving, sql: &str) -> Result<Value> {
    let place = Arc::clone(&serving.statements.places).acquire_owned().await.expect("never closed");
    let stream = serving.sql(sql, place).await?;
    let batches: Vec<RecordBatch> = stream.batches.try_collect().await?;
    let mut writer = ArrayWriter::new(Vec::new());
    for batch in &batches {
        assert_eq!(batch.schema(), stream.schema, "{sql}");
        writer.write(batch).expect("JSON");
    }
    writer.finish().expect("JSON");
    let text = writer.into_inner();
    Ok(if text.is_empty() { json!([]) } else { serde_json::from_slice(&text).expect("JSON") })
}

async fn check(serving: &Serving, sql: &str, expected: Value) {
    assert_eq!(rows(serving, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")), expected, "{sql}");
}

/// Two series: flushed and counted readings, flushed ones that no view counts, and hot ones; a correction and a duplicate
/// across each border, and a reading from the future.
async fn filled(dir: &Path) -> Serving {
    let serving = open(dir, Settings::default()).await;
    let start = now() - 60 * MINUTE;
    let at = |minutes: i64, seconds: i64| start + minutes * MINUTE + seconds * SECOND;
    append(&serving, "temperature", "press-1", &[(at(0, 0), 1.0), (at(0, 5), 2.0), (at(1, 0), 3.0)]).await;
    append(&serving, "pressure", "press-2", &[(at(0, 0), 10.0), (at(59, 50), 20.0)]).await;
    serving.flush().await.expect("flushes");
    recompute(&serving).await;
    append(&serving, "temperature", "press-1", &[(at(0, 5), 4.0), (at(2, 0), 5.0)]).await;
    append(&serving, "temperature", "press-1", &[(now() + 3600 * SECOND, 99.0)]).await;
    serving.flush().await.expect("flushes");
    append(&serving, "temperature", "press-1", &[(at(1, 0), 6.0), (at(59, 58), 8.0)]).await;
    append(&serving, "temperature", "press-1", &[(now() + 7200 * SECOND, 98.0)]).await;
    serving
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_are_told_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = filled(dir.path()).await;
    check(&serving, "SELECT count(*) AS n, sum(value) AS s FROM readings", json!([{"n": 7, "s": 54.0}])).await;
    let sql = "SELECT event_time, value, tag(tags, 'line') AS line FROM readings WHERE metric = 'temperature' AND device_id IN ('press-1') \
               AND event_time >= '2024-01-01T11:00:00Z' AND event_time < '2024-01-01T11:02:00Z' ORDER BY event_time";
    check(
        &serving,
        sql,
        json!([
            {"event_time": "2024-01-01T11:00:00Z", "value": 1.0, "line": "A"},
            {"event_time": "2024-01-01T11:00:05Z", "value": 4.0, "line": "A"},
            {"event_time": "2024-01-01T11:01:00Z", "value": 6.0, "line": "A"},
        ]),
    )
    .await;
    check(
        &serving,
        "SELECT metric, metric_key FROM readings WHERE device_id = 'press-2' LIMIT 1",
        json!([
            {"metric": "pressure", "metric_key": "pressure{device_id=\"press-2\",line=\"A\"}"},
        ]),
    )
    .await;
    check(
        &serving,
        "SELECT min(lateness_s) AS least, count(*) AS n FROM late_readings",
        json!([{"least": 3480.0, "n": 5}]),
    )
    .await;
    let sql = "SELECT date_trunc('hour', event_time) AS h, count(*) AS n FROM readings GROUP BY 1 ORDER BY 1";
    check(&serving, sql, json!([{"h": "2024-01-01T11:00:00Z", "n": 7}])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_alone_is_not_sure_of_what_it_has_not_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = Settings { horizon_max: Duration::from_secs(600), ..Settings::default() };
    let serving = open(dir.path(), settings).await;
    let at = |minutes: i64| now() - 60 * MINUTE + minutes * MINUTE;
    append(&serving, "temperature", "press-1", &[(at(0), 1.0), (at(1), 2.0), (at(2), 3.0)]).await;
    serving.flush().await.expect("flushes");
    recompute(&serving).await;
    // In a cell of its own, and where no view counts anything.
    append(&serving, "temperature", "press-1", &[(at(1) + 30 * SECOND, 9.0), (at(5), 9.0)]).await;

    let part = |text: &str| Some(text.to_owned());
    let (r#match, from, step, view) = (part("temperature"), part("now-1h"), part("1m"), part("batch"));
    let text = QueryText { r#match, from, step, view, ..QueryText::default() };
    let answer = serving.query(&text).await.expect("answers");
    let points = &answer.series[0].points;
    let told: Vec<_> = points.iter().map(|p| (p.values[0].value, p.source, p.confidence.map(|c| c.state))).collect();
    let (batch, last) = (Source::Batch, Some(State::Final));
    let expected = [(Some(1.0), batch, last), (Some(2.0), batch, Some(State::Settling)), (Some(3.0), batch, last)];
    assert_eq!(told, expected);
    let scores: Vec<_> = points.iter().filter_map(|p| p.confidence?.score).collect();
    assert!(scores[1] < 0.5 && scores[0] > 0.5 && scores[2] > 0.5, "{scores:?}");
    assert!(points[1].confidence.is_some_and(|c| c.completeness <= 0.5), "{points:?}");
    let sql = "SELECT count(*) AS n FROM batch_metrics WHERE resolution = '1m' AND confidence_score < 0.5";
    check(&serving, sql, json!([{"n": 1}])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quarantined_readings_are_told_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = filled(dir.path()).await;
    let sql = "SELECT value, reason, event_time FROM quarantine ORDER BY value";
    check(
        &serving,
        sql,
        json!([
            {"value": 98.0, "reason": "future", "event_time": "2024-01-01T14:00:00Z"},
            {"value": 99.0, "reason": "future", "event_time": "2024-01-01T13:00:00Z"},
        ]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_those_of_the_query_engine() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = filled(dir.path()).await;
    let sql = "SELECT metric_value, previous_value, trend, event_time FROM realtime_metrics WHERE metric LIKE 'temp%'";
    check(
        &serving,
        sql,
        json!([
            {"metric_value": 8.0, "previous_value": 5.0, "trend": "up", "event_time": "2024-01-01T11:59:58Z"},
        ]),
    )
    .await;
    let sql = "SELECT time_bucket, metric_value, count, first, last, batch_points, speed_points, source, current_value, resolution \
               FROM unified_metrics WHERE metric = 'temperature' AND resolution = '1m' ORDER BY time_bucket LIMIT 2";
    check(&serving, sql, json!([
        {"time_bucket": "2024-01-01T11:00:00Z", "metric_value": 2.5, "count": 2, "first": 1.0, "last": 4.0, "batch_points": 1,
         "speed_points": 1, "source": "merged", "current_value": 8.0, "resolution": "1m"},
        {"time_bucket": "2024-01-01T11:01:00Z", "metric_value": 6.0, "count": 1, "first": 6.0, "last": 6.0, "batch_points": 0,
         "speed_points": 1, "source": "speed", "current_value": 8.0, "resolution": "1m"},
    ])).await;
    let sql = "SELECT metric, sum(count) AS n, count(*) AS buckets, max(generation) AS g FROM batch_metrics GROUP BY metric ORDER BY metric";
    check(
        &serving,
        sql,
        json!([
            {"metric": "pressure", "n": 2, "buckets": 2, "g": 1},
            {"metric": "temperature", "n": 3, "buckets": 2, "g": 1},
        ]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_choose_resolutions_and_buckets() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = filled(dir.path()).await;
    let sql = "SELECT resolution, sum(data_points) AS n FROM unified_metrics WHERE resolution IN ('10s', '1h', '1d') GROUP BY 1 ORDER BY 1";
    check(
        &serving,
        sql,
        json!([{"resolution": "10s", "n": 7}, {"resolution": "1d", "n": 7}, {"resolution": "1h", "n": 7}]),
    )
    .await;
    let sql = "SELECT count(*) AS n FROM unified_metrics WHERE time_bucket >= '2024-01-01T11:59:50Z'";
    check(&serving, sql, json!([{"n": 2}])).await;
    let sql = "SELECT count(*) AS n FROM unified_metrics WHERE confidence_score BETWEEN 0 AND 1 AND completeness > 0 AND low <= metric_value \
               AND high >= metric_value AND state IN ('open', 'settling', 'final', 'revised') AND last_updated = '2024-01-01T12:00:00Z'";
    check(&serving, sql, json!([{"n": 6}])).await;
    let sql = "SELECT a.count - b.count AS late FROM unified_metrics a JOIN batch_metrics b USING (metric_key, time_bucket, resolution) \
               WHERE a.resolution = '1h' AND a.metric = 'temperature'";
    check(&serving, sql, json!([{"late": 2}])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_can_be_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = filled(dir.path()).await;
    check(
        &serving,
        "SELECT kind, state, progress FROM jobs",
        json!([{"kind": "recompute", "state": "succeeded", "progress": 1.0}]),
    )
    .await;
    check(&serving, "SELECT generation, current FROM generations", json!([{"generation": 1, "current": true}])).await;
    for table in super::tables::NAMES {
        let found = rows(&serving, &format!("SELECT * FROM {table}")).await.unwrap_or_else(|e| panic!("{table}: {e}"));
        assert!(found.is_array(), "{table}");
        rows(&serving, &format!("SELECT count(*) FROM {table}")).await.unwrap_or_else(|e| panic!("{table}: {e}"));
        rows(&serving, &format!("DESCRIBE {table}")).await.unwrap_or_else(|e| panic!("{table}: {e}"));
        rows(&serving, &format!("EXPLAIN SELECT * FROM {table}")).await.unwrap_or_else(|e| panic!("{table}: {e}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_name_the_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = filled(dir.path()).await;
    for (sql, needle) in [
        ("SELECT nothing FROM readings", "nothing"),
        ("SELECT * FROM reading", "readings"),
        ("SELECT * FROM unified_metrics WHERE resolution = 'often'", "\"often\""),
        ("SELECT * FROM unified_metrics WHERE resolution <> '1m'", "resolution"),
        (
            "SELECT * FROM (SELECT resolution, lag(sum) OVER (ORDER BY time_bucket) FROM unified_metrics) WHERE resolution = '1m'",
            "inside the subquery",
        ),
        ("SELECT 1/0", "zero"),
        ("SELECT CAST(metric AS BIGINT) FROM readings", "temperature"),
        ("SELECT repeat('a', 1000000000)", "repeat"),
        ("SELECT length(lpad(metric, 2000000000)) FROM readings", "lpad"),
        ("SELECT repat('a', 1)", "repat"),
        ("SELECT sum(metric) FROM readings", "sum"),
    ] {
        match rows(&serving, sql).await {
            Err(Error::Invalid(reason)) => assert!(reason.contains(needle), "{sql}: {reason}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
    let doubled =
        (0..40).fold("SELECT 'aaaaaaaa' AS s".to_owned(), |inner, _| format!("SELECT s || s AS s FROM ({inner})"));
    assert!(matches!(rows(&serving, &doubled).await, Err(Error::Invalid(_))), "a text that doubles forty times");
}

/// Five thousand readings of one series, and limits that are soon reached.
async fn narrow(dir: &Path) -> Serving {
    let settings =
        Settings { query_timeout: Duration::from_millis(1500), sql_memory_bytes: 64 << 20, ..Settings::default() };
    let serving = open(dir, settings).await;
    let readings: Vec<(i64, f64)> = (0..5_000).map(|i| (now() - 7200 * SECOND + i * SECOND, i as f64)).collect();
    append(&serving, "a", "x", &readings).await;
    serving
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_and_memory_are_bounded() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = narrow(dir.path()).await;
    let sorted = "SELECT a.metric_key, b.tags FROM readings a CROSS JOIN readings b ORDER BY a.value * b.value";
    assert!(matches!(rows(&serving, sorted).await, Err(Error::TooLarge(_))));
    let started = std::time::Instant::now();
    let endless = "WITH r AS (SELECT value FROM readings LIMIT 1500) \
                   SELECT count(*) FROM r a, r b, r c WHERE a.value * b.value * c.value = -1";
    let ended = rows(&serving, endless).await;
    assert!(matches!(ended, Err(Error::Timeout(1))), "{ended:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

/// The largest that the gate lets through is planned and run in time, on stacks of usual size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_statements_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = Serving { settings: Settings::default(), ..narrow(dir.path()).await };
    let many = |n: usize, part: &str, between: &str| {
        (0..n).map(|i| part.replace('@', &i.to_string())).collect::<Vec<_>>().join(between)
    };
    for sql in [
        format!("SELECT count(*) FROM readings WHERE {}", many(230, "value = @", " OR ")),
        format!("SELECT max({}) FROM readings", many(480, "value", " + ")),
        format!("SELECT max({}) FROM readings", many(240, "value * @", " - ")),
        format!("SELECT {}", many(480, "1", " + ")),
        many(64, "SELECT metric, value FROM readings WHERE value > @", " UNION ALL "),
        many(64, "SELECT metric, value FROM readings WHERE value > @", " UNION "),
        format!(
            "SELECT {} FROM unified_metrics",
            many(60, "lag(sum, @) OVER (PARTITION BY metric ORDER BY time_bucket) AS c@", ", ")
        ),
        format!("SELECT {} FROM readings", many(110, "sum(CASE WHEN value = @ THEN 1 END) AS c@", ", ")),
        format!("SELECT count(*) FROM readings WHERE value IN ({})", many(900, "@", ", ")),
        format!(
            "SELECT count(*) FROM readings r0 {}",
            many(8, "JOIN readings j@ ON j@.event_time = r0.event_time", " ")
        ),
        (0..20).fold("SELECT value AS v FROM readings".to_owned(), |q, i| {
            format!("SELECT v + {i} AS v FROM ({q}) WHERE v <> {i}")
        }),
        format!("SELECT CASE {} END FROM readings", many(180, "WHEN value = @ THEN '@'", " ")),
    ] {
        let started = std::time::Instant::now();
        let start: String = sql.chars().take(100).collect();
        rows(&serving, &sql).await.unwrap_or_else(|e| panic!("{start}: {e}"));
        assert!(started.elapsed() < Duration::from_secs(20), "{start}: {:?}", started.elapsed());
    }
}
