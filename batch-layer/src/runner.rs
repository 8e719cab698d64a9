//! The runner: takes jobs off the queue and carries them out, one at a time; queues what schedules ask for.
//!
//! Owns what each kind of job does. Does not own when a job may start (catalog) nor how cells are counted (recompute).
//!
//! ```text
//! recompute  raw history ─► cells ─┐
//! fold       view + epochs ─► cells├─► files ─► one publish for all partitions of the job
//! audit      raw history at the published cut ─► compare ─► reconciliation
//! compact    many files ─► few
//! ```

use std::sync::atomic::Ordering;
use std::time::Duration;

use schemas::history::StoredCell;
use schemas::partial::Aggregate;
use schemas::paths::{ObjectKind, partition_label};
use schemas::selector::Selector;
use schemas::view::{HistoryVersion, Partition, ViewRef};
use schemas::{ArrivalTime, EventTime, SeriesId, SeriesKey, TimeRange};

use crate::catalog::{
    Cause, JobKind, JobRow, JobState, NewJob, NewView, PublishCommit, ReconciliationRow, RetryPolicy, ViewOrigin,
};
use crate::error::{Error, Result};
use crate::history::{CellPieces, encode_cells, read_cells};
use crate::layer::{BatchLayer, load_series};
use crate::mend::is_lost;
use crate::metrics::JobLabels;
use crate::recompute::{Counted, Difference, Recomputed, compare, fold, recompute};
use crate::reserve::is_reserved;
use crate::schedule::next_after;

/// A job that failed is tried this often, after a second, two, four.
const RETRY: RetryPolicy = RetryPolicy { attempts_max: 4, delay_ns: 1_000_000_000, delay_max_ns: 60_000_000_000 };
/// A job that would write into what is kept free on the disk looks again after this.
const WAIT_FOR_ROOM_NS: i64 = 10_000_000_000;
/// Most differences that one partition writes to the reconciliation table.
const DIFFERENCES_MAX: usize = 200;
/// Progress is written to the catalog at most once per this many rows.
const PROGRESS_ROWS: u64 = 500_000;

impl BatchLayer {
    /// Carries out the next job that may start; returns its number, or `None` where there is none.
    ///
    /// # Errors
    /// The catalog fails. A job's own failure is kept with the job.
    pub async fn run_next(&self) -> Result<Option<i64>> {
        let _working = self.inner.working.lock().await;
        let now = self.inner.components.clock.now();
        // Jobs run one at a time: where the catalog was not told how the last one ended, none that it takes for running does.
        if self.inner.untold.swap(true, Ordering::AcqRel) {
            self.inner.catalog.requeue_running(now).await?;
        }
        let Some(job) = self.inner.catalog.claim(now).await? else {
            self.inner.untold.store(false, Ordering::Release);
            return Ok(None);
        };
        let outcome = self.run(&job).await;
        if let Err(error) = &outcome
            && is_reserved(error)
        {
            return self.postpone(&job, error).await.map(Some);
        }
        if let Err(error) = &outcome {
            tracing::warn!(job = job.id, kind = job.kind.name(), %error, "job ended without success");
        }
        let (end, retry) = match &outcome {
            Ok(()) => (Ok(()), None),
            // What was refused or is corrupt will be so again.
            Err(error @ (Error::Refused(_) | Error::Corrupt { .. } | Error::NotFound(_) | Error::Cancelled)) => {
                (Err(error.to_string()), None)
            }
            Err(error) => (Err(describe(error)), Some(RETRY)),
        };
        let now = self.inner.components.clock.now();
        let state = self.inner.catalog.finish(job.id, now, end, retry).await?;
        self.inner.untold.store(false, Ordering::Release);
        self.count_job(&job, state.name());
        Ok(Some(job.id))
    }

    /// Has a job wait for room on the disk; returns its number.
    async fn postpone(&self, job: &JobRow, error: &Error) -> Result<i64> {
        tracing::warn!(job = job.id, kind = job.kind.name(), %error, "a job waits for room on the disk");
        let now = self.inner.components.clock.now();
        let until = ArrivalTime(now.0.saturating_add(WAIT_FOR_ROOM_NS));
        self.inner.catalog.postpone(job.id, now, until, describe(error)).await?;
        self.inner.untold.store(false, Ordering::Release);
        self.count_job(job, "postponed");
        Ok(job.id)
    }

    fn count_job(&self, job: &JobRow, outcome: &'static str) {
        let labels = JobLabels { kind: job.kind.name(), outcome };
        self.inner.components.metrics.jobs.get_or_create(&labels).inc();
    }

    async fn run(&self, job: &JobRow) -> Result<()> {
        if job.kind != JobKind::Audit {
            self.check_reserve(0)?;
        }
        let selector = job.selector.as_deref().map(str::parse::<Selector>).transpose()?;
        let version = self.version();
        let partitions = self.selected(&version, job.range, selector.as_ref()).await?;
        match job.kind {
            JobKind::Recompute => self.publish_each(job, &version, &partitions, ViewOrigin::Recompute).await,
            JobKind::Fold => self.publish_each(job, &version, &partitions, ViewOrigin::Fold).await,
            JobKind::Audit => self.audit(job, &partitions).await,
            JobKind::Compact => self.compact(job, &version, job.range).await,
        }
    }

    /// The partitions of a range, those only that can hold a selected series.
    async fn selected(
        &self,
        version: &HistoryVersion,
        range: TimeRange,
        selector: Option<&Selector>,
    ) -> Result<Vec<Partition>> {
        let partitions = version.partitions_in(range);
        let Some(selector) = selector else { return Ok(partitions.to_vec()) };
        let series = load_series(&self.inner.catalog, &self.inner.objects).await?;
        let ids: Vec<SeriesId> = series.iter().filter(|s| selector.matches(&s.key)).map(|s| s.id).collect();
        let held = |first: SeriesId, last: SeriesId| ids.iter().any(|id| first <= *id && *id <= last);
        let matches = |p: &&Partition| {
            let mixed = version.mixed.iter().filter(|f| f.touches(p.span));
            p.files.iter().chain(mixed).any(|f| held(f.series_bounds.0, f.series_bounds.1))
        };
        Ok(partitions.iter().filter(matches).cloned().collect())
    }

    /// Makes a view of each partition and publishes all of them at once.
    async fn publish_each(
        &self,
        job: &JobRow,
        version: &HistoryVersion,
        partitions: &[Partition],
        origin: ViewOrigin,
    ) -> Result<()> {
        let mut progress = Progress::new(self, job, version, partitions);
        let mut views = Vec::with_capacity(partitions.len());
        for partition in partitions {
            progress.check().await?;
            let view = match origin {
                ViewOrigin::Fold => match self.fold_partition(version, partition).await? {
                    Some(view) => view,
                    None => self.recompute_partition(job, version, partition, &mut progress).await?,
                },
                ViewOrigin::Recompute => self.recompute_partition(job, version, partition, &mut progress).await?,
            };
            progress.finished(partition, view.cells).await?;
            views.push(view);
        }
        if views.is_empty() {
            return Ok(());
        }
        let now = self.inner.components.clock.now();
        self.publish(PublishCommit { views, reason: job.reason.clone(), job: Some(job.id), now }).await?;
        Ok(())
    }

    async fn recompute_partition(
        &self,
        job: &JobRow,
        version: &HistoryVersion,
        partition: &Partition,
        progress: &mut Progress<'_>,
    ) -> Result<NewView> {
        let recomputed = self.count(version, partition, version.flushed, progress).await?;
        if let Some(view) = &partition.view {
            match self.cells_of(view).await {
                Ok(old) => {
                    let mut differences = compare(&old, recomputed.cells.iter());
                    // A cell that is new was never answered by a view: nothing to reconcile.
                    differences.retain(|d| d.old.is_some());
                    self.reconcile(job, partition, &differences, recomputed.duplicates).await?;
                }
                Err(error) if is_lost(&error) => tracing::warn!(%error, "the view is lost; it is made anew"),
                Err(error) => return Err(error),
            }
        }
        let Recomputed { cells, readings, duplicates, .. } = recomputed;
        self.store_view(version, partition, cells, readings, duplicates, ViewOrigin::Recompute).await
    }

    async fn count(
        &self,
        version: &HistoryVersion,
        partition: &Partition,
        cut: schemas::LogPosition,
        progress: &mut Progress<'_>,
    ) -> Result<Recomputed> {
        let (files, base) = (version.files_in(partition.span), self.inner.settings.base);
        let counted = Counted { files, span: partition.span, cut, base };
        let before = progress.rows;
        let told = |rows| progress.read(before + rows);
        let recomputed = recompute(&self.inner.objects, counted, self.task_context(), told).await?;
        self.inner.components.metrics.rows_read.inc_by(recomputed.rows_read);
        if !recomputed.adds_up() {
            self.inner.components.metrics.ledger("LED-6");
            let Recomputed { readings, rows_read, duplicates, repeats, .. } = recomputed;
            let reason = format!(
                "LED-6: of {rows_read} rows {readings} were told, {duplicates} replaced, {repeats} said twice; or the cells \
                 count something else"
            );
            return Err(Error::unavailable(format!("count partition {}", partition.span), reason));
        }
        Ok(recomputed)
    }

    /// The view with the epochs after its cut; `None` where only raw readings can tell (a cell is disordered, a file lost).
    async fn fold_partition(&self, version: &HistoryVersion, partition: &Partition) -> Result<Option<NewView>> {
        let view = match &partition.view {
            Some(view) => match self.cells_of(view).await {
                Err(error) if is_lost(&error) => return Ok(None),
                cells => cells?,
            },
            None => Vec::new(),
        };
        let mut epochs = Vec::new();
        for epoch in self.inner.catalog.epochs_between(partition.cut(), version.flushed).await? {
            let touches = epoch
                .event_bounds
                .is_some_and(|(min, max)| min < partition.span.end.0 && partition.span.start.0 <= max);
            let Some(object) = epoch.partials.filter(|_| touches) else {
                // A dropped epoch was covered, so some later view counts it: only raw readings can tell.
                if touches { return Ok(None) } else { continue }
            };
            let mut cells = match read_cells(&self.inner.objects, &object, None, true).await {
                Err(error) if is_lost(&error) => return Ok(None),
                cells => cells?,
            };
            cells.retain(|c| partition.span.contains(EventTime(c.cell.bucket)));
            if cells.iter().any(|c| c.disordered) {
                return Ok(None);
            }
            epochs.push(cells);
        }
        let cells = fold(view, &epochs)?;
        let readings = cells.iter().map(|c| c.cell.partial.count).sum();
        self.store_view(version, partition, cells.into(), readings, 0, ViewOrigin::Fold).await.map(Some)
    }

    async fn cells_of(&self, view: &ViewRef) -> Result<Vec<StoredCell>> {
        match &view.object {
            Some(object) => read_cells(&self.inner.objects, object, None, true).await,
            None => Ok(Vec::new()),
        }
    }

    async fn store_view(
        &self,
        version: &HistoryVersion,
        partition: &Partition,
        cells: CellPieces,
        readings: u64,
        duplicates_found: u64,
        kind: ViewOrigin,
    ) -> Result<NewView> {
        let count = cells.len() as u64;
        let object = if cells.is_empty() {
            None
        } else {
            // Whoever asks first should not have to read what was just in memory.
            let keep = self.inner.views.has_room_for(cells.len());
            let encode = move || encode_cells(&cells).map(|bytes| (bytes, keep.then(|| cells.into_tables())));
            let (bytes, tables) =
                tokio::task::spawn_blocking(encode).await.map_err(|e| Error::unavailable("encode a view", e))??;
            self.check_reserve(bytes.len() as u64)?;
            let label = partition_label(partition.span);
            let object = self.inner.objects.put(ObjectKind::View, &label, version.flushed, bytes).await?;
            if let Some(tables) = tables {
                self.inner.views.keep(&object.path, tables);
            }
            Some(object)
        };
        Ok(NewView {
            partition: partition.span,
            object,
            cut: version.flushed,
            cells: count,
            readings,
            duplicates_found,
            kind,
        })
    }

    /// Recomputes what is published at its own cut and notes where they differ.
    async fn audit(&self, job: &JobRow, partitions: &[Partition]) -> Result<()> {
        let version = self.version();
        let mut progress = Progress::new(self, job, &version, partitions);
        for partition in partitions {
            progress.check().await?;
            let Some(view) = &partition.view else { continue };
            let recomputed = self.count(&version, partition, view.cut, &mut progress).await?;
            let differences = compare(&self.cells_of(view).await?, recomputed.cells.iter());
            let rows = self.rows(job, partition, &differences, |_| Cause::Unexplained).await?;
            self.inner.catalog.add_reconciliation(rows).await?;
            progress.finished(partition, 0).await?;
        }
        Ok(())
    }

    /// Notes what a new view says otherwise than the one before.
    async fn reconcile(
        &self,
        job: &JobRow,
        partition: &Partition,
        differences: &[Difference],
        duplicates: u64,
    ) -> Result<()> {
        let cause =
            |d: &Difference| match (d.old.as_ref().map_or(0, |p| p.count), d.new.as_ref().map_or(0, |p| p.count)) {
                (old, new) if new > old => Cause::Late,
                (old, new) if new == old && duplicates > 0 => Cause::Correction,
                (old, new) if new < old && duplicates > 0 => Cause::Duplicate,
                _ => Cause::Unexplained,
            };
        let rows = self.rows(job, partition, differences, cause).await?;
        self.inner.catalog.add_reconciliation(rows).await
    }

    async fn rows(
        &self,
        job: &JobRow,
        partition: &Partition,
        differences: &[Difference],
        cause: impl Fn(&Difference) -> Cause,
    ) -> Result<Vec<ReconciliationRow>> {
        if differences.is_empty() {
            return Ok(Vec::new());
        }
        let series = load_series(&self.inner.catalog, &self.inner.objects).await?;
        let key = |id: SeriesId| -> Option<&SeriesKey> {
            series.binary_search_by_key(&id, |s| s.id).ok().map(|i| &series[i].key)
        };
        let at = self.inner.components.clock.now();
        let row = |d: &Difference| {
            let (field, speed_value, batch_value) = told_apart(d);
            ReconciliationRow {
                at,
                job: Some(job.id),
                partition_start: partition.span.start,
                series_id: d.series,
                metric_key: key(d.series).map(|key| key.text().to_owned()),
                bucket: EventTime(d.bucket),
                field: field.to_owned(),
                speed_value,
                batch_value,
                difference: speed_value.zip(batch_value).map(|(old, new)| new - old),
                cause: cause(d),
            }
        };
        Ok(differences.iter().take(DIFFERENCES_MAX).map(row).collect())
    }

    /// Queues what is due: for each schedule one job per run of neighbouring partitions that it is about.
    ///
    /// # Errors
    /// The catalog fails.
    pub async fn queue_due(&self) -> Result<usize> {
        let now = self.inner.components.clock.now();
        let mut queued = 0;
        for schedule in self.inner.catalog.due(now).await? {
            let from = schedule.lookback.map_or(i64::MIN, |lookback| now.0.saturating_sub(lookback));
            for range in self.due_ranges(schedule.kind, TimeRange::new(from, i64::MAX)) {
                let reason = format!("schedule {}", schedule.name);
                let job =
                    NewJob { kind: schedule.kind, range, selector: None, reason, priority: 0, not_before: now, now };
                queued += usize::from(self.inner.catalog.enqueue_unless_queued(job).await?.is_some());
            }
            let next = next_after(&schedule.cron, now)?;
            self.inner.catalog.advance(&schedule.name, next, now).await?;
        }
        Ok(queued)
    }

    /// Folds and recomputes are for dirty partitions only; neighbouring ones share a job.
    fn due_ranges(&self, kind: JobKind, range: TimeRange) -> Vec<TimeRange> {
        let version = self.version();
        let partitions = version.partitions_in(range);
        let wanted = |p: &&Partition| match kind {
            JobKind::Fold | JobKind::Recompute => p.dirty(),
            JobKind::Audit | JobKind::Compact => true,
        };
        let mut ranges: Vec<TimeRange> = Vec::new();
        for span in partitions.iter().filter(wanted).map(|p| p.span) {
            match ranges.last_mut() {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => ranges.push(span),
            }
        }
        ranges
    }

    /// Follows schedules and runs jobs until dropped. Wakes on [`Self::wake_runner`] and every `pause`.
    pub async fn run_forever(&self, pause: Duration) {
        let mut stumbled = false;
        loop {
            let worked = async {
                if stumbled {
                    // The end of a job may not have been noted, and only one at a time runs here: none runs now.
                    self.inner.catalog.requeue_running(self.inner.components.clock.now()).await?;
                }
                self.queue_due().await?;
                while self.run_next().await?.is_some() {}
                self.collect_garbage().await?;
                self.collect_orphans().await
            };
            let worked = worked.await;
            stumbled = worked.is_err();
            if let Err(error) = worked {
                tracing::warn!(%error, "the batch runner stumbled; it goes on");
            }
            // Either is a reason to look again.
            let _ = tokio::time::timeout(pause, self.inner.wake.notified()).await;
        }
    }

    /// Tells the runner that a job was queued.
    pub fn wake_runner(&self) {
        self.inner.wake.notify_one();
    }

    /// Whether a job has ended, one way or another.
    ///
    /// # Errors
    /// The job does not exist or the catalog fails.
    pub async fn job_state(&self, id: i64) -> Result<JobState> {
        Ok(self.inner.catalog.job(id).await?.state)
    }
}

/// Tells the catalog how far a job is, and learns whether it shall stop.
struct Progress<'a> {
    layer: &'a BatchLayer,
    job: i64,
    rows_expected: u64,
    rows: u64,
    cells: u64,
    reported: u64,
}

impl<'a> Progress<'a> {
    fn new(layer: &'a BatchLayer, job: &JobRow, version: &HistoryVersion, partitions: &[Partition]) -> Self {
        let own: u64 = partitions.iter().flat_map(|p| &p.files).map(|f| f.rows).sum();
        let mixed: u64 = version.mixed.iter().map(|f| f.rows).sum();
        Self { layer, job: job.id, rows_expected: own + mixed, rows: 0, cells: 0, reported: 0 }
    }

    fn read(&mut self, rows: u64) -> Result<()> {
        self.rows = rows;
        if rows.saturating_sub(self.reported) >= PROGRESS_ROWS {
            self.reported = rows;
            let (catalog, job, cells) = (self.layer.inner.catalog.clone(), self.job, self.cells);
            let fraction = self.fraction();
            // Progress is a courtesy: a failure to write it must not fail the job.
            tokio::spawn(async move { drop(catalog.progress(job, fraction, rows, cells).await) });
        }
        Ok(())
    }

    fn fraction(&self) -> f64 {
        (self.rows as f64 / self.rows_expected.max(1) as f64).min(0.99)
    }

    async fn finished(&mut self, _: &Partition, cells: u64) -> Result<()> {
        self.cells += cells;
        self.layer.inner.catalog.progress(self.job, self.fraction(), self.rows, self.cells).await
    }

    async fn check(&self) -> Result<()> {
        if self.layer.inner.catalog.cancel_requested(self.job).await? { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// The aggregate that tells two cells apart best, with its old and its new value.
fn told_apart(d: &Difference) -> (&'static str, Option<f64>, Option<f64>) {
    let value = |aggregate: Aggregate, p: &Option<schemas::Partial>| p.as_ref().and_then(|p| p.evaluate(aggregate));
    let candidates = [Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max, Aggregate::Last];
    let differs = |a: &Aggregate| value(*a, &d.old) != value(*a, &d.new);
    let aggregate = candidates.into_iter().find(differs).unwrap_or(Aggregate::First);
    (aggregate.name(), value(aggregate, &d.old), value(aggregate, &d.new))
}

/// The error with its causes: a job's owner should not need the log.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The schedules of a new data directory, so that views follow without anyone asking.
pub(crate) async fn install_default_schedules(layer: &BatchLayer, now: ArrivalTime) -> Result<()> {
    const DEFAULTS: [(&str, &str, JobKind); 4] = [
        ("fold", "*/5 * * * *", JobKind::Fold),
        ("recompute", "17 * * * *", JobKind::Recompute),
        ("compact", "37 * * * *", JobKind::Compact),
        ("audit", "47 3 * * *", JobKind::Audit),
    ];
    if layer.inner.catalog.meta("default_schedules").await?.is_some() {
        return Ok(());
    }
    for (name, cron, kind) in DEFAULTS {
        let next_at = next_after(cron, now)?;
        let (name, cron) = (name.to_owned(), cron.to_owned());
        let row =
            crate::catalog::ScheduleRow { name, cron, kind, lookback: None, enabled: true, next_at, last_at: None };
        layer.inner.catalog.put_schedule(row).await?;
    }
    layer.inner.catalog.set_meta("default_schedules", "installed").await
}
