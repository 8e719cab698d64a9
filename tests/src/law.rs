//! One random life of the real engine, checked against the oracle after every step.
//!
//! A case is a seed. Everything that happens in it follows from the seed alone, so a failure replays from it. One life of
//! three is led with faults of the store and of the catalog: there an operation may fail, saying why, but no answer may
//! be wrong, and when the faults end, nothing may be missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use batch_layer::catalog::{JobKind, JobState, NewJob};
use schemas::gap::Gap;
use schemas::query::QueryText;
use schemas::time::{DAY, HOUR, MINUTE, SECOND, parse_rfc3339};
use schemas::{Clock as _, SeriesKey, TimeRange};
use speed_layer::{Rows, SeriesRef};
use weir::{Engine, EngineComponents};

use crate::faults::{Faults, FaultyGaps, FaultyStore, Fired};
use crate::oracle::{Oracle, SCALE};
use crate::parts::{ArmedGap, TestClock, open_with, scratch};

/// Devices and metrics of the cases: six series.
const DEVICES: [&str; 3] = ["press-1", "press-2", "lathe-1"];
const METRICS: [&str; 2] = ["temperature", "load"];
/// Steps of one life.
const STEPS: usize = 24;
/// Readings further ahead than this are quarantined.
const SKEW: i64 = 600 * SECOND;

/// One life of so many has faults.
const FAULTY: u64 = 3;
/// So many of a hundred operations of the store fail while there are faults.
const FAULTS_PERCENT: u64 = 12;

/// Lives one life; returns the faults that happened in it. The error says what went wrong at which step.
///
/// # Errors
/// The engine fails without a fault, or an answer is not the oracle's.
pub async fn live(seed: u64) -> anyhow::Result<Fired> {
    let mut life = Life::begin(seed).await?;
    for step in 0..STEPS {
        let what = life.step().await.with_context(|| format!("step {step}"))?;
        life.compare().await.with_context(|| format!("after step {step}, {what}"))?;
    }
    life.end().await
}

struct Life {
    random: fastrand::Rng,
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    gaps: Arc<ArmedGap>,
    faults: Arc<Faults>,
    /// Whether there are faults at times.
    faulty: bool,
    /// `None` only while it restarts.
    engine: Option<Engine>,
    oracle: Oracle,
    /// A batch whose sender was not told that it was taken.
    unanswered: Option<Batch>,
}

/// What is sent together: series, event time and units of each reading.
type Batch = Vec<(usize, i64, i64)>;

fn key(series: usize) -> SeriesKey {
    let (device, metric) = (DEVICES[series / METRICS.len()], METRICS[series % METRICS.len()]);
    SeriesKey::new(metric, &[("device_id", device), ("line", "A")]).expect("valid names")
}

impl Life {
    async fn begin(seed: u64) -> anyhow::Result<Self> {
        // The end of a month: late readings fall into other partitions.
        let clock = TestClock::at(parse_rfc3339("2024-01-31T23:58:00Z")?);
        let mut life = Self {
            random: fastrand::Rng::with_seed(seed),
            dir: scratch(),
            clock,
            gaps: Arc::default(),
            faults: Faults::new(seed),
            faulty: seed.is_multiple_of(FAULTY),
            engine: None,
            oracle: Oracle::default(),
            unanswered: None,
        };
        life.open().await?;
        Ok(life)
    }

    /// Opens the engine, at last without faults.
    async fn open(&mut self) -> anyhow::Result<()> {
        let inner = batch_layer::store::open(&self.dir.path().join("history").to_string_lossy())?;
        for _ in 0..3 {
            let store = FaultyStore { inner: Arc::clone(&inner), faults: Arc::clone(&self.faults) };
            let gaps = FaultyGaps { inner: Arc::clone(&self.gaps), faults: Arc::clone(&self.faults) };
            let clock = Arc::clone(&self.clock);
            let components = EngineComponents { clock, gaps: Arc::new(gaps), store: Some(Arc::new(store)) };
            match open_with(self.dir.path(), components).await {
                Ok(engine) => {
                    self.engine = Some(engine);
                    return Ok(());
                }
                Err(error) => self.bear(error)?,
            };
            self.faults.set(0);
        }
        anyhow::bail!("it does not open, although there are no faults any more")
    }

    /// Takes an error for what it is where it tells of a fault.
    fn bear(&self, error: anyhow::Error) -> anyhow::Result<String> {
        let text = format!("{error:#}");
        // What a crash left to be deleted is deleted before it is written again: a job is tried again later.
        let deleting = text.contains("is being deleted: write it again");
        if deleting || self.faulty && Faults::told_in(&text) { Ok(format!("failed: {text}")) } else { Err(error) }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine is open")
    }

    async fn step(&mut self) -> anyhow::Result<String> {
        let faults = if self.faulty && self.random.u8(..4) > 0 { FAULTS_PERCENT } else { 0 };
        self.faults.set(faults);
        self.move_clock();
        let done = self.act().await;
        done.or_else(|error| self.bear(error))
    }

    /// Mostly a moment further; rarely it stands, or jumps by up to a day, as clocks do that are set.
    fn move_clock(&mut self) {
        let advance = match self.random.u8(..40) {
            0 => self.random.i64(-DAY..DAY) / SECOND * SECOND,
            1 => 0,
            _ => self.random.i64(0..90) * SECOND,
        };
        self.clock.advance(advance);
    }

    async fn act(&mut self) -> anyhow::Result<String> {
        match self.random.u8(..100) {
            0..46 => self.ingest(false).await,
            46..50 => self.crash_in(Gap::LogSynced).await,
            50..54 => {
                self.engine().serving.speed.seal();
                Ok("seal".to_owned())
            }
            54 => self.settle().await,
            55..64 => self.flush().await,
            64..68 => {
                self.clock.advance(5 * MINUTE);
                self.engine().serving.speed.release();
                Ok("release".to_owned())
            }
            68..74 => self.job(JobKind::Fold).await,
            74..81 => self.job(JobKind::Recompute).await,
            81..83 => self.job(JobKind::Audit).await,
            83..85 => self.job(JobKind::Compact).await,
            85..88 => self.revert().await,
            88..90 => self.collect_garbage().await,
            90..93 => self.restart(false).await,
            93..95 => self.restart(true).await,
            _ => {
                let gap = Gap::ALL[self.random.usize(1..Gap::ALL.len())];
                self.crash_in(gap).await
            }
        }
    }

    /// A batch with fresh, late, doubled and corrected readings in random order. With `lost_reply` the engine crashes
    /// after the sync: nobody is told, but what was synced counts. Its sender sends the batch again, before others or after.
    async fn ingest(&mut self, lost_reply: bool) -> anyhow::Result<String> {
        let batch = match self.unanswered.take_if(|_| self.random.bool()) {
            Some(again) => again,
            None => (0..self.random.usize(1..30)).map(|_| self.reading()).collect(),
        };
        self.send(&batch, lost_reply).await?;
        // An answer may be lost on its way, too.
        if lost_reply || self.random.u8(..16) == 0 {
            self.unanswered = Some(batch.clone());
        }
        Ok(format!("ingest of {}", batch.len()))
    }

    async fn send(&mut self, batch: &Batch, lost_reply: bool) -> anyhow::Result<()> {
        let mut rows = Rows { keys: (0..DEVICES.len() * METRICS.len()).map(key).collect(), ..Rows::default() };
        for (series, time, units) in batch {
            rows.series.push(SeriesRef::new(u32::try_from(*series)?));
            rows.times.push(*time);
            rows.values.push(*units as f64 / SCALE);
        }
        let limit = self.clock.now().0 + SKEW;
        let answer = self.engine().serving.speed.append(rows).await;
        ensure!(answer.is_err() == lost_reply, "append: {answer:?}");
        for (series, time, units) in batch.iter().filter(|(_, time, _)| *time <= limit) {
            self.oracle.arrive(*series, *time, *units);
        }
        Ok(())
    }

    fn reading(&mut self) -> (usize, i64, i64) {
        let now = self.clock.now().0;
        let series = self.random.usize(..DEVICES.len() * METRICS.len());
        let units = self.units();
        let jitter = self.random.i64(0..SECOND);
        match self.random.u8(..20) {
            0..9 => (series, now - self.random.i64(0..30) * SECOND, units),
            9..13 => (series, now - self.random.i64(0..HOUR) + jitter, units),
            13..15 => (series, now - self.random.i64(0..4 * DAY) + jitter, units),
            15 => (series, now + self.random.i64(0..3) * SKEW, units),
            _ => match self.oracle.pick(&mut self.random) {
                Some((series, time, same)) => (series, time, if self.random.bool() { same } else { units }),
                None => (series, now, units),
            },
        }
    }

    /// Small, large and cancelling values, all exact in a double.
    fn units(&mut self) -> i64 {
        match self.random.u8(..8) {
            0 => self.random.i64(-(1 << 50)..1 << 50),
            1 => 0,
            2 => (1 << 49) * if self.random.bool() { 1 } else { -1 },
            _ => self.random.i64(-100_000..100_000),
        }
    }

    /// Late readings that arrive while history is asked about those before them count as they should.
    async fn settle(&mut self) -> anyhow::Result<String> {
        for _ in 0..self.random.usize(1..4) {
            self.ingest(false).await?;
            self.engine().serving.speed.settle(self.engine().serving.sink.as_ref()).await;
        }
        Ok("settle".to_owned())
    }

    async fn flush(&mut self) -> anyhow::Result<String> {
        self.engine().serving.flush().await?;
        Ok("flush".to_owned())
    }

    async fn job(&mut self, kind: JobKind) -> anyhow::Result<String> {
        if self.random.bool() {
            self.engine().serving.flush().await?;
        }
        let now = self.clock.now().0;
        let some = TimeRange::new(now - self.random.i64(1..4 * DAY), now);
        let range = if self.random.bool() { TimeRange::ALL } else { some };
        self.job_over(kind, range).await
    }

    async fn job_over(&mut self, kind: JobKind, range: TimeRange) -> anyhow::Result<String> {
        let now = self.clock.now();
        let job = NewJob { kind, range, selector: None, reason: "law".to_owned(), priority: 0, not_before: now, now };
        let batch = &self.engine().serving.batch;
        let id = batch.catalog().enqueue(job).await?;
        while batch.run_next().await?.is_some() {}
        let job = batch.catalog().job(id).await?;
        if let Some(error) = job.error {
            anyhow::bail!("job failed: {error}");
        }
        if kind == JobKind::Audit {
            let unexplained = batch.catalog().reconciliation(10).await?;
            let unexplained = unexplained.iter().filter(|r| r.job == Some(id)).collect::<Vec<_>>();
            ensure!(unexplained.is_empty(), "the audit found {unexplained:?}");
        }
        Ok(format!("{kind:?} of {range}"))
    }

    async fn revert(&mut self) -> anyhow::Result<String> {
        let batch = self.engine().serving.batch.clone();
        let generations = batch.catalog().generations().await?;
        let alive: Vec<u64> =
            generations.iter().filter(|g| g.pruned_at.is_none() && !g.current).map(|g| g.number).collect();
        if alive.is_empty() {
            return Ok("nothing to revert".to_owned());
        }
        let to = alive[self.random.usize(..alive.len())];
        batch.revert(to).await?;
        Ok(format!("revert to {to}"))
    }

    async fn collect_garbage(&mut self) -> anyhow::Result<String> {
        self.clock.advance(2 * HOUR);
        let deleted = self.engine().serving.batch.collect_garbage().await?;
        Ok(format!("garbage: {deleted}"))
    }

    async fn restart(&mut self, crash: bool) -> anyhow::Result<String> {
        let engine = self.engine.take().expect("the engine is open");
        if crash {
            engine.abandon().await;
        } else if let Err(error) = engine.close().await {
            // What was not flushed is in the log.
            self.bear(error)?;
        }
        self.open().await?;
        Ok(if crash { "crash" } else { "restart" }.to_owned())
    }

    /// Does what leads through `gap` and dies there.
    async fn crash_in(&mut self, gap: Gap) -> anyhow::Result<String> {
        if gap == Gap::BeforeFilesDeleted {
            self.clock.advance(2 * HOUR);
        }
        self.gaps.arm(gap);
        // What fails, fails because of the crash; what was acknowledged before must be there afterwards.
        match gap {
            Gap::LogSynced => {
                self.ingest(true).await?;
            }
            Gap::EpochWritten | Gap::FlushCommitted | Gap::BeforeLogTruncated => drop(self.flush().await),
            Gap::ViewsWritten | Gap::GenerationCommitted => drop(self.job(JobKind::Recompute).await),
            Gap::BeforeFilesDeleted => drop(self.engine().serving.batch.collect_garbage().await),
            Gap::CatalogAsked | Gap::CatalogChanged | Gap::CatalogCommitted => match self.random.u8(..4) {
                0 => drop(self.flush().await),
                1 => drop(self.job(JobKind::Fold).await),
                2 => drop(self.revert().await),
                _ => drop(self.collect_garbage().await),
            },
        }
        let engine = self.engine.take().expect("the engine is open");
        engine.abandon().await;
        let crashed = self.gaps.disarm();
        self.open().await?;
        Ok(format!("crash in {gap:?} ({crashed})"))
    }

    /// A few random queries, each point of which must be the oracle's: the first with faults, if there are some.
    async fn compare(&mut self) -> anyhow::Result<()> {
        if let Err(error) = self.compare_some().await {
            self.bear(error)?;
        }
        self.faults.set(0);
        let ledger = self.engine().serving.speed.ledger();
        ensure!(ledger.equations().iter().all(|(_, holds)| *holds), "the ledger does not add up: {ledger:?}");
        self.compare_some().await
    }

    async fn compare_some(&mut self) -> anyhow::Result<()> {
        let now = self.clock.now().0;
        let step = [10 * SECOND, MINUTE, 7 * SECOND, HOUR, DAY][self.random.usize(..5)];
        let far = [5 * MINUTE, 2 * HOUR, 5 * DAY][self.random.usize(..3)];
        // Aligned ranges half of the time.
        let grain = if self.random.bool() { MINUTE } else { 1 };
        let from = (now - self.random.i64(1..far)) / grain * grain;
        let to = from + self.random.i64(1..=far) + SKEW;
        let by = [None, Some(""), Some("device_id"), Some("line")][self.random.usize(..4)];
        let selector = ["{}", "temperature", r#"load{device_id=~"press-.*"}"#][self.random.usize(..3)];
        self.compare_one(selector, (from, to), step, by).await
    }

    async fn compare_one(&self, selector: &str, range: (i64, i64), step: i64, by: Option<&str>) -> anyhow::Result<()> {
        let aggregates = ["count", "sum", "avg", "min", "max", "first", "last", "stddev", "p50", "p95"];
        let text = QueryText {
            r#match: Some(selector.to_owned()),
            from: Some(schemas::EventTime(range.0).to_string()),
            to: Some(schemas::EventTime(range.1).to_string()),
            step: Some(schemas::time::format_duration(step)),
            agg: Some(aggregates.join(",")),
            by: by.map(str::to_owned),
            ..QueryText::default()
        };
        let answer = self.engine().serving.query(&text).await?;
        let mut truth = self.oracle.buckets(range, step, |series| group_of(series, selector, by));
        for series in &answer.series {
            let group = (by.map_or_else(|| series.metric.clone(), |_| String::new()), series.tags.clone());
            for point in &series.points {
                let expected = truth.remove(&(group.clone(), point.time.0));
                let expected = expected
                    .with_context(|| format!("{text:?}: {group:?} has a point at {} that should not be", point.time))?;
                let exact = point.speed_points == 0;
                for value in &point.values {
                    let name = value.aggregate.name();
                    ensure!(
                        expected.allows(name, value.value, exact),
                        "{text:?}: {group:?} at {}: {name} is {:?}, the oracle says {:?}\n{point:?}",
                        point.time,
                        value.value,
                        expected.value(name)
                    );
                }
                ensure!(point.batch_points + point.speed_points == point.data_points, "{point:?}");
                ensure!(expected.value("count") == Some(point.data_points as f64), "{point:?}");
            }
        }
        ensure!(truth.is_empty(), "{text:?}: points are missing: {:?}", truth.keys());
        Ok(())
    }

    /// In the end history alone must say the same, and the check must find nothing but what a crash left behind.
    async fn end(mut self) -> anyhow::Result<Fired> {
        if self.faulty {
            self.faults.set(FAULTS_PERCENT);
            if let Err(error) = self.collect_garbage().await {
                self.bear(error)?;
            }
            self.check().await?;
            self.faults.set(0);
        }
        // What crashes and faults left to be deleted is in the way of the same files made anew.
        self.collect_garbage().await?;
        self.engine().serving.flush().await?;
        self.clock.advance(DAY);
        self.job_over(JobKind::Recompute, TimeRange::ALL).await?;
        // The clock may have jumped: what counts is when readings happened.
        let range = self.oracle.span();
        for by in [None, Some("")] {
            self.compare_one("{}", range, HOUR, by).await.context("in the end")?;
        }
        let text = QueryText {
            r#match: Some("{}".to_owned()),
            from: Some(schemas::EventTime(range.0).to_string()),
            to: Some(schemas::EventTime(range.1).to_string()),
            step: Some("3650d".to_owned()),
            agg: Some("count".to_owned()),
            by: Some(String::new()),
            view: Some("batch".to_owned()),
            ..QueryText::default()
        };
        let answer = self.engine().serving.query(&text).await?;
        let counted: u64 = answer.series.iter().flat_map(|s| &s.points).map(|p| p.data_points).sum();
        ensure!(counted == self.oracle.len() as u64, "batch views count {counted}, the oracle {}", self.oracle.len());
        self.check().await?;
        let jobs = self.engine().serving.batch.catalog().jobs(1000).await?;
        let stuck: Vec<_> = jobs.iter().filter(|job| job.state == JobState::Running).collect();
        ensure!(stuck.is_empty(), "nobody carries out {stuck:?}");
        self.engine.take().expect("the engine is open").close().await?;
        Ok(self.faults.fired())
    }

    /// The check finds nothing, but what faults keep from it.
    async fn check(&mut self) -> anyhow::Result<()> {
        let findings = match self.engine().serving.batch.check(|_, _| {}).await {
            Ok(checked) => checked.findings,
            Err(error) => return self.bear(error.into()).map(drop),
        };
        for finding in findings {
            self.bear(anyhow::anyhow!("{finding:?}"))?;
        }
        Ok(())
    }
}

type GroupKey = (String, BTreeMap<String, String>);

/// The group of a series as the answer names it; `None` where the selector does not mean it.
fn group_of(series: usize, selector: &str, by: Option<&str>) -> Option<GroupKey> {
    let key = key(series);
    let device = key.device_id()?;
    let selected = match selector {
        "temperature" => key.metric() == "temperature",
        "{}" => true,
        _ => key.metric() == "load" && device.starts_with("press-"),
    };
    let tags: BTreeMap<String, String> = key.tags().map(|(n, v)| (n.to_owned(), v.into())).collect();
    selected.then(|| match by {
        None => (key.metric().to_owned(), tags),
        Some(by) => (String::new(), tags.into_iter().filter(|(name, _)| name == by).collect()),
    })
}
