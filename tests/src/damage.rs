//! A small but complete data directory, made by the real engine, and ways to damage its files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use batch_layer::catalog::{JobKind, NewJob};
use schemas::query::QueryText;
use schemas::time::{DAY, HOUR, MINUTE, SECOND, parse_rfc3339};
use schemas::{Clock as _, EventTime, SeriesKey, TimeRange};
use speed_layer::{Rows, SeriesRef};
use weir::Engine;

use crate::parts::{ArmedGap, TestClock, open, scratch};

/// Metrics of the directory; the last has so many readings that its file has several blocks.
const METRICS: [&str; 3] = ["temperature", "load", "vibration"];
/// The first days of the months that hold readings, each a partition of its own.
const MONTHS: [&str; 3] = ["2024-01-10T00:00:00Z", "2024-02-10T00:00:00Z", "2024-03-10T00:00:00Z"];

/// A directory as a crash left it: history in several files of every kind, views, epochs that they have not counted,
/// readings that are in the log alone.
#[derive(Debug)]
pub struct Data {
    dir: tempfile::TempDir,
    /// Questions, and what is true of them.
    pub truth: Vec<(QueryText, String)>,
}

/// A time that all directories are asked at.
///
/// # Panics
/// Never.
pub fn clock() -> Arc<TestClock> {
    TestClock::at(parse_rfc3339("2024-04-01T00:00:00Z").expect("a time"))
}

impl Data {
    /// Makes it.
    ///
    /// # Panics
    /// The engine fails.
    pub async fn make() -> Self {
        let (dir, clock) = (scratch(), clock());
        let engine = open(dir.path(), Arc::clone(&clock), Arc::default()).await.expect("opens");
        let mut random = fastrand::Rng::with_seed(5);
        let start = |month: usize| parse_rfc3339(MONTHS[month]).expect("a time");
        for month in 0..MONTHS.len() {
            let of = |metric| (0..300).map(move |i| (metric, start(month) + i * 5 * MINUTE, i as f64 / 8.0));
            append(&engine, of(0).chain(of(1)).collect()).await;
            if month == 1 {
                let many = (0..60_000).map(|i| (2, start(1) + i * SECOND, random.f64()));
                for some in many.collect::<Vec<_>>().chunks(2_000) {
                    append(&engine, some.to_vec()).await;
                }
            }
            engine.serving.flush().await.expect("flushes");
        }
        let now = clock.now();
        let (kind, range, reason) = (JobKind::Recompute, TimeRange::ALL, "test".to_owned());
        let job = NewJob { kind, range, selector: None, reason, priority: 0, not_before: now, now };
        engine.serving.batch.catalog().enqueue(job).await.expect("queued");
        while engine.serving.batch.run_next().await.expect("runs").is_some() {}
        // Late ones, corrections and one from the future: a file for several partitions, and partials that count.
        let late = (0..MONTHS.len()).flat_map(|month| {
            [(0, start(month) + SECOND, 99.0), (0, start(month) + 10 * MINUTE, -1.0), (1, start(month) + DAY, 7.0)]
        });
        append(&engine, late.chain([(0, now.0 + 30 * DAY, 1.0)]).collect()).await;
        engine.serving.flush().await.expect("flushes");
        clock.advance(HOUR);
        engine.serving.speed.release();
        // In the log alone, in several segments.
        for part in 0..60 {
            let fresh = (0..400).map(|i| (1, start(2) + 2 * DAY + (part * 400 + i) * SECOND, (i % 7) as f64 * 0.1));
            append(&engine, fresh.collect()).await;
        }
        let mut truth = Vec::new();
        for question in questions() {
            let answer = ask(&engine, &question).await.expect("answers");
            truth.push((question, answer));
        }
        engine.abandon().await;
        Self { dir, truth }
    }

    /// Where it lies; it must not change.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A copy that may be damaged.
    ///
    /// # Panics
    /// It can't be copied.
    pub fn copy(&self) -> tempfile::TempDir {
        let copy = scratch();
        copy_dir(self.dir.path(), copy.path());
        copy
    }
}

async fn append(engine: &Engine, readings: Vec<(usize, i64, f64)>) {
    let key = |metric| SeriesKey::new(metric, &[("device_id", "press-1")]).expect("valid");
    let rows = Rows {
        keys: METRICS.map(key).to_vec(),
        series: readings.iter().map(|(m, ..)| SeriesRef::new(u32::try_from(*m).expect("small"))).collect(),
        times: readings.iter().map(|(_, time, _)| *time).collect(),
        values: readings.iter().map(|(.., value)| *value).collect(),
        ..Rows::default()
    };
    engine.serving.speed.append(rows).await.expect("appends");
}

/// Each metric in each month: from cells, and an hour of it from raw readings.
fn questions() -> Vec<QueryText> {
    let mut questions = Vec::new();
    for metric in METRICS {
        for month in MONTHS {
            let start = parse_rfc3339(month).expect("a time");
            for (length, step) in [(20 * DAY, "1d"), (HOUR, "7s")] {
                questions.push(QueryText {
                    r#match: Some(metric.to_owned()),
                    from: Some(EventTime(start).to_string()),
                    to: Some(EventTime(start + length).to_string()),
                    step: Some(step.to_owned()),
                    agg: Some("count,sum,min,max,last".to_owned()),
                    ..QueryText::default()
                });
            }
        }
    }
    questions
}

/// The answer to a question, without what depends on the moment.
///
/// # Errors
/// It is not answered.
pub async fn ask(engine: &Engine, question: &QueryText) -> anyhow::Result<String> {
    let answer = engine.serving.query(question).await?;
    let point = |point: &serving_layer::answer::Point| {
        let values: Vec<_> = point.values.iter().map(|v| v.value.map(f64::to_bits)).collect();
        format!("{} {} {values:?}", point.time, point.data_points)
    };
    let series = answer.series.iter().map(|s| (&s.metric, &s.tags, s.points.iter().map(point).collect::<Vec<_>>()));
    Ok(format!("{:?}", series.collect::<Vec<_>>()))
}

/// The engine over such a directory.
///
/// # Errors
/// It does not open; the text tells all causes.
pub async fn open_copy(dir: &Path) -> Result<Engine, String> {
    open_at(dir, clock()).await
}

/// The same with a clock that can be moved on.
///
/// # Errors
/// It does not open; the text tells all causes.
pub async fn open_at(dir: &Path, clock: Arc<TestClock>) -> Result<Engine, String> {
    open(dir, clock, Arc::new(ArmedGap::default())).await.map_err(|error| format!("{error:#}"))
}

/// Copies all files below `from`.
///
/// # Panics
/// One can't be copied.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for path in entries(from) {
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

/// What lies in a folder, in order.
///
/// # Panics
/// It can't be listed.
pub fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Flips a bit of a file.
///
/// # Panics
/// It can't be written.
pub fn flip(path: &Path, bit: usize) {
    let mut bytes = std::fs::read(path).expect("readable");
    bytes[bit / 8] ^= 1 << (bit % 8);
    std::fs::write(path, bytes).expect("writable");
}

/// Every way in which a block of a file goes wrong, with a word for it: blank, doubled, swapped, of an older file.
pub fn blocks(whole: &[u8], older: &[u8], block: usize) -> Vec<(String, Vec<u8>)> {
    let mut damaged = Vec::new();
    for at in (0..whole.len()).step_by(block) {
        let end = (at + block).min(whole.len());
        let mut add = |kind: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = whole.to_vec();
            change(&mut bytes);
            if bytes != whole {
                damaged.push((format!("{kind} at {at}"), bytes));
            }
        };
        add("blank", &|bytes| bytes[at..end].fill(0));
        if end + block <= whole.len() {
            add("doubled", &|bytes| bytes.copy_within(at..end, end));
            add("swapped", &|bytes| {
                let (left, right) = bytes[at..end + block].split_at_mut(block);
                left.swap_with_slice(right);
            });
        }
        if end <= older.len() {
            add("older", &|bytes| bytes[at..end].copy_from_slice(&older[at..end]));
        }
    }
    damaged
}

/// How many bits a sweep flips: `WEIR_FLIPS`, or so many.
pub fn flips(usual: usize) -> usize {
    std::env::var("WEIR_FLIPS").ok().and_then(|v| v.parse().ok()).unwrap_or(usual)
}
