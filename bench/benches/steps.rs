//! Single steps of the hot path, inside one process: where a change costs. `cargo bench --workspace --bench steps`.
//!
//! Owns small fixed inputs of the factory's shape. Does not own end-to-end figures: those are weir-bench's, which runs the
//! program as its users do.

use std::fmt::Write as _;
use std::hint::black_box;

use batch_layer::history::encode_readings;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use schemas::cells::Cell;
use schemas::epoch::{Arrival, SeriesEpoch};
use schemas::history::StoredReading;
use schemas::query::QueryText;
use schemas::time::{MINUTE, Precision, SECOND};
use schemas::{Partial, Resolution, SeriesId, SeriesKey};
use speed_layer::Rows;
use speed_layer::decode::{Format, Options, decode};
use tokio::runtime::Runtime;
use weir::{Engine, EngineComponents, EngineSettings};

/// Readings of one request.
const LINES: u64 = 5_000;
const DEVICES: u64 = 200;
const METRICS: u64 = 20;

/// The `i`-th reading's value: three digits that wander.
fn value(i: u64) -> f64 {
    (200 + i * 7919 % 211) as f64 / 10.0
}

fn key(device: u64, metric: u64) -> SeriesKey {
    let (device, metric) = (format!("press-{device:03}"), format!("metric_{metric:02}"));
    SeriesKey::new(&metric, &[("device_id", &device)]).expect("valid")
}

/// The seconds from `start` of all series, as a layer is given them.
fn rows(start: i64, seconds: u64) -> Rows {
    let keys = (0..DEVICES).flat_map(|device| (0..METRICS).map(move |metric| key(device, metric))).collect();
    let of_second = |second: u64| (0..DEVICES * METRICS).map(move |series| (second, series));
    let readings: Vec<(u64, u64)> = (0..seconds).flat_map(of_second).collect();
    Rows {
        keys,
        spelled: Vec::new(),
        series: readings.iter().map(|(_, series)| u32::try_from(*series).expect("few").into()).collect(),
        times: readings.iter().map(|(second, _)| start + *second as i64 * SECOND).collect(),
        values: readings.iter().map(|(second, series)| value(second * 31 + series)).collect(),
    }
}

fn decoding(criterion: &mut Criterion) {
    let (mut lines, mut json) = (String::new(), String::new());
    for i in 0..LINES {
        let (device, metric, value) = (i % DEVICES, i % METRICS, value(i));
        let time = 1_700_000_000_000 + i;
        writeln!(lines, "metric_{metric:02},device_id=press-{device:03} value={value} {time}").expect("into memory");
        writeln!(
            json,
            r#"{{"metric":"metric_{metric:02}","device_id":"press-{device:03}","value":{value},"timestamp":{time}}}"#
        )
        .expect("into memory");
    }
    let options = Options { precision: Precision::Millis, now: 0 };
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(LINES));
    for (name, format, body) in [("line protocol", Format::LineProtocol, &lines), ("ndjson", Format::Ndjson, &json)] {
        let decoded = || decode(format, body.as_bytes(), &options).expect("well formed");
        assert_eq!(decoded().values.len() as u64, LINES);
        group.bench_function(name, |bencher| bencher.iter(decoded));
    }
    group.finish();
}

fn applying(criterion: &mut Criterion) {
    const READINGS: u64 = 1_000;
    let base = Resolution::DEFAULT_BASE;
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(READINGS));
    let inserted = |order: &dyn Fn(u64) -> (u64, Arrival)| {
        let mut part = SeriesEpoch::default();
        for i in 0..READINGS {
            let (second, arrival) = order(i);
            part.insert(second as i64 * SECOND, value(second), 0, base, arrival);
        }
        part
    };
    group.bench_function("in order", |bencher| {
        bencher.iter(|| inserted(&|i| (black_box(i), Arrival::Newest)));
    });
    // Every other one overtakes the one before it.
    group.bench_function("overtaken", |bencher| {
        bencher
            .iter(|| inserted(&|i| (black_box(i ^ 1), if i & 1 == 0 { Arrival::Newest } else { Arrival::OutOfOrder })));
    });
    group.finish();
}

fn merging(criterion: &mut Criterion) {
    let cells: Vec<Cell> = (0..360)
        .map(|bucket| {
            let readings = (0..10_i64).map(|i| (bucket * 10 + i, value(bucket.unsigned_abs() * 10 + i.unsigned_abs())));
            Cell { bucket, partial: Partial::of_all(readings).expect("ten readings") }
        })
        .collect();
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Elements(cells.len() as u64));
    group.bench_function("cells into one", |bencher| {
        bencher.iter(|| {
            let (first, rest) = cells.split_first().expect("360 cells");
            let mut all = first.partial.clone();
            rest.iter().for_each(|cell| all.merge(black_box(&cell.partial)));
            all
        });
    });
    group.finish();
}

fn writing(criterion: &mut Criterion) {
    let keys: Vec<SeriesKey> = (0..20).map(|device| key(device, 0)).collect();
    let reading = |series: u64, second: u64| StoredReading {
        series: SeriesId(series),
        time: second as i64 * SECOND,
        arrival: second as i64 * SECOND,
        value: value(second * 31 + series),
        position: second,
    };
    let readings: Vec<StoredReading> =
        (0..20).flat_map(|series| (0..1_000).map(move |second| reading(series, second))).collect();
    let named = |id: SeriesId| &keys[usize::try_from(id.0).expect("few")];
    let mut group = criterion.benchmark_group("flush");
    group.throughput(Throughput::Elements(readings.len() as u64));
    group.bench_function("readings to Parquet", |bencher| {
        bencher.iter(|| encode_readings(&readings, named).expect("encodes"));
    });
    group.finish();
}

/// The whole engine without its doors: append with its sync, questions, flush.
fn engine(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let engine = runtime
        .block_on(Engine::open(EngineSettings::new(dir.path()), EngineComponents::default()))
        .expect("an engine opens");
    let serving = &engine.serving;
    let start = serving.clock.now().0 / MINUTE * MINUTE - 60 * MINUTE;

    let mut group = criterion.benchmark_group("engine");
    group.sample_size(20);
    let mut seconds = 0;
    group.throughput(Throughput::Elements(DEVICES * METRICS));
    group.bench_function("append and sync", |bencher| {
        let next = || {
            seconds += 1;
            rows(start + (seconds % 3_000) * SECOND, 1)
        };
        bencher.iter_batched(
            next,
            |rows| runtime.block_on(serving.speed.append(rows)).expect("kept"),
            BatchSize::SmallInput,
        );
    });
    runtime.block_on(async {
        serving.speed.append(rows(start, 600)).await.expect("kept");
        serving.flush().await.expect("flushes");
    });
    group.throughput(Throughput::Elements(1));
    for (name, selector, step) in [
        ("one series, an hour by minutes", "metric_00{device_id=\"press-000\"}", "1m"),
        ("one metric, an hour by minutes", "metric_00", "1m"),
        ("all series, an hour", "{device_id=~\".+\"}", "1h"),
    ] {
        let text = QueryText {
            r#match: Some(selector.to_owned()),
            from: Some((start / 1_000_000).to_string()),
            to: Some(((start + 60 * MINUTE) / 1_000_000).to_string()),
            step: Some(step.to_owned()),
            ..QueryText::default()
        };
        let ask = || runtime.block_on(serving.query(&text)).expect("answers");
        assert!(!ask().series.is_empty());
        group.bench_function(name, |bencher| bencher.iter(ask));
    }
    group.finish();
    runtime.block_on(engine.close()).expect("closes");
}

criterion_group!(steps, decoding, applying, merging, writing, engine);
criterion_main!(steps);
