//! The queue of work on history.
//!
//! Owns what a job is and its life: queued, running, then succeeded, failed or cancelled. Does not own what a job does
//! or when the queue is looked at (runner).
//!
//! ```text
//! enqueue ─► queued ─claim─► running ─finish─► succeeded
//!              ▲ │              │ ├──────────► failed
//!              │ └─cancel─► cancelled ◄────────┘ cancel was requested
//!              └──── retry, restart ────┘
//! ```

use schemas::time::{ArrivalTime, TimeRange};
use serde::{Serialize, Serializer};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::rows::{Columns, next_number, serialize_optional_time, serialize_time, stored};
use super::{Attempt, Catalog, Tx};
use crate::error::{Error, Result};

/// How many jobs are remembered. The oldest finished ones make room.
const KEPT: i64 = 10_000;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Makes views anew from raw history.
    Recompute,
    /// Adds flushed epochs to views.
    Fold,
    /// Recomputes and compares, publishes nothing.
    Audit,
    /// Makes few large files of many small ones.
    Compact,
}

impl JobKind {
    const ALL: [Self; 4] = [Self::Recompute, Self::Fold, Self::Audit, Self::Compact];

    /// Its name, in the catalog and outside.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recompute => "recompute",
            Self::Fold => "fold",
            Self::Audit => "audit",
            Self::Compact => "compact",
        }
    }
}

impl std::str::FromStr for JobKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| Error::Refused(format!("unknown kind of job {:?}: use one of recompute, fold, audit, compact", schemas::time::clip(name))))
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for its turn.
    Queued,
    /// Somebody works on it.
    Running,
    /// Done.
    Succeeded,
    /// Given up; `error` says why.
    Failed,
    /// Stopped because somebody asked for it.
    Cancelled,
}

impl JobState {
    const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Its name, in the catalog and outside.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen.
    pub fn finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// A job, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobRow {
    /// Its number.
    pub id: i64,
    /// What it does.
    pub kind: JobKind,
    /// The event times that it is about.
    #[serde(flatten, serialize_with = "serialize_range")]
    pub range: TimeRange,
    /// Which series; `None` for all.
    #[serde(rename = "match")]
    pub selector: Option<String>,
    /// Why.
    pub reason: String,
    /// Higher goes first.
    pub priority: i64,
    /// How far it is.
    pub state: JobState,
    /// The part that is done, 0 to 1.
    pub progress: f64,
    /// Readings read so far.
    pub rows_read: u64,
    /// Cells written so far.
    pub cells_written: u64,
    /// Why it failed last.
    pub error: Option<String>,
    /// How many times it was started.
    pub attempts: i64,
    /// It does not start before.
    #[serde(serialize_with = "serialize_time")]
    pub not_before: ArrivalTime,
    /// When it was queued.
    #[serde(serialize_with = "serialize_time")]
    pub created_at: ArrivalTime,
    /// When it was started last.
    #[serde(serialize_with = "serialize_optional_time")]
    pub started_at: Option<ArrivalTime>,
    /// When it succeeded, failed or was cancelled.
    #[serde(serialize_with = "serialize_optional_time")]
    pub finished_at: Option<ArrivalTime>,
}

fn serialize_range<S: Serializer>(range: &TimeRange, to: S) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Range {
        from: String,
        to: String,
    }
    Range { from: range.start.to_string(), to: range.end.to_string() }.serialize(to)
}

/// A job to be queued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// The event times that it is about.
    pub range: TimeRange,
    /// Which series; `None` for all.
    pub selector: Option<String>,
    /// Why.
    pub reason: String,
    /// Higher goes first.
    pub priority: i64,
    /// It does not start before.
    pub not_before: ArrivalTime,
    /// When it is queued.
    pub now: ArrivalTime,
}

/// How often and after how long a failed job is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times it is started in all.
    pub attempts_max: i64,
    /// Nanoseconds to wait after the first failure; twice as long after each further one.
    pub delay_ns: i64,
    /// Never longer than this.
    pub delay_max_ns: i64,
}

impl RetryPolicy {
    /// When to try again after the `attempts`-th attempt failed; `None`: not at all.
    fn next(self, attempts: i64, now: ArrivalTime) -> Option<ArrivalTime> {
        if attempts >= self.attempts_max {
            return None;
        }
        let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(62);
        let delay = self.delay_ns.saturating_mul(1 << doublings).min(self.delay_max_ns);
        Some(ArrivalTime(now.0.saturating_add(delay)))
    }
}

/// What became of the wish to cancel a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It was queued and will not start.
    Cancelled,
    /// It is running and will stop soon, unless it is done before.
    Requested,
    /// It was finished already.
    Finished(JobState),
}

impl Catalog {
    /// Queues a job and returns its number.
    ///
    /// # Errors
    /// Its range is empty; or the catalog can't be written.
    pub async fn enqueue(&self, job: NewJob) -> Result<i64> {
        check_range(&job)?;
        let mut tx = self.begin().await?;
        let id = add_job(&mut tx, &job).await?;
        tx.commit().await.attempt("queue a job")?;
        Ok(id)
    }

    /// Queues a job unless one of the same kind, series and reason is waiting, whatever its range: work that is due
    /// again and again must not pile up behind a slow job. `None`: one is waiting.
    ///
    /// # Errors
    /// Its range is empty; or the catalog can't be written.
    pub async fn enqueue_unless_queued(&self, job: NewJob) -> Result<Option<i64>> {
        check_range(&job)?;
        let mut tx = self.begin().await?;
        let waiting = sqlx::query("SELECT id FROM jobs WHERE state = 'queued' AND kind = $1 AND COALESCE(selector, '') = $2 AND reason = $3 LIMIT 1")
            .bind(job.kind.name())
            .bind(job.selector.as_deref().unwrap_or(""))
            .bind(&job.reason)
            .fetch_optional(&mut *tx)
            .await
            .attempt("look a job up")?;
        if waiting.is_some() {
            return Ok(None);
        }
        let id = add_job(&mut tx, &job).await?;
        tx.commit().await.attempt("queue a job")?;
        Ok(Some(id))
    }

    /// The job of this number.
    ///
    /// # Errors
    /// There is none; or the catalog can't be read or is corrupt.
    pub async fn job(&self, id: i64) -> Result<JobRow> {
        job_in(&mut *self.snapshot().await?, id).await
    }

    /// The newest jobs, newest first.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn jobs(&self, limit: u32) -> Result<Vec<JobRow>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT id, kind, range_start, range_end, selector, reason, priority, state, progress, rows_read, cells_written, error, attempts, \
             not_before, created_at, started_at, finished_at FROM jobs ORDER BY id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
        .attempt("list jobs")?;
        rows.iter().map(job_of).collect()
    }

    /// Starts the job that is next: the highest priority first, then the oldest. No two callers get the same one.
    ///
    /// # Errors
    /// The catalog can't be written or is corrupt.
    pub async fn claim(&self, now: ArrivalTime) -> Result<Option<JobRow>> {
        // Mostly there is none; finding that out must not wait for a commit, nor make others wait.
        if next_job(&mut *self.snapshot().await?, now).await?.is_none() {
            return Ok(None);
        }
        let mut tx = self.begin().await?;
        let Some(id) = next_job(&mut tx, now).await? else { return Ok(None) };
        sqlx::query("UPDATE jobs SET state = 'running', started_at = $1, attempts = attempts + 1, progress = 0, rows_read = 0, cells_written = 0 WHERE id = $2")
            .bind(now.0)
            .bind(id)
            .execute(&mut *tx)
            .await
            .attempt("start a job")?;
        let job = job_in(&mut tx, id).await?;
        tx.commit().await.attempt("start a job")?;
        Ok(Some(job))
    }

    /// Notes how far a running job is. Says nothing of others.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn progress(&self, id: i64, fraction: f64, rows_read: u64, cells_written: u64) -> Result<()> {
        let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE jobs SET progress = $1, rows_read = $2, cells_written = $3 WHERE id = $4 AND state = 'running'")
            .bind(fraction)
            .bind(stored(rows_read)?)
            .bind(stored(cells_written)?)
            .bind(id)
            .execute(&mut *tx)
            .await
            .attempt("note progress")?;
        tx.commit().await.attempt("note progress")
    }

    /// Ends the attempt at a running job and says what became of the job. A failed one is cancelled if that was
    /// requested, else queued again later if the policy has attempts left.
    ///
    /// # Errors
    /// There is no such job or it is not running; or the catalog can't be written or is corrupt.
    pub async fn finish(&self, id: i64, now: ArrivalTime, outcome: Result<(), String>, retry: Option<RetryPolicy>) -> Result<JobState> {
        let mut tx = self.begin().await?;
        let job = job_in(&mut tx, id).await?;
        if job.state != JobState::Running {
            return Err(Error::Refused(format!("job {id} is {}, not running", job.state.name())));
        }
        let cancelled = cancel_requested_in(&mut tx, id).await?;
        let again = retry.and_then(|policy| policy.next(job.attempts, now));
        let state = match (&outcome, cancelled, again) {
            (Ok(()), ..) => JobState::Succeeded,
            (Err(_), true, _) => JobState::Cancelled,
            (Err(_), false, Some(_)) => JobState::Queued,
            (Err(_), false, None) => JobState::Failed,
        };
        match (state, again) {
            (JobState::Queued, Some(at)) => requeue(&mut tx, id, at, outcome.err()).await?,
            _ => end(&mut tx, id, state, now, outcome.err()).await?,
        }
        tx.commit().await.attempt("finish a job")?;
        Ok(state)
    }

    /// Cancels a queued job, or asks a running one to stop.
    ///
    /// # Errors
    /// There is no such job; or the catalog can't be written or is corrupt.
    pub async fn cancel(&self, id: i64, now: ArrivalTime) -> Result<CancelOutcome> {
        let mut tx = self.begin().await?;
        let outcome = match job_in(&mut tx, id).await?.state {
            JobState::Queued => {
                end(&mut tx, id, JobState::Cancelled, now, None).await?;
                CancelOutcome::Cancelled
            }
            JobState::Running => {
                sqlx::query("UPDATE jobs SET cancel_requested = 1 WHERE id = $1").bind(id).execute(&mut *tx).await.attempt("cancel a job")?;
                CancelOutcome::Requested
            }
            finished => return Ok(CancelOutcome::Finished(finished)),
        };
        tx.commit().await.attempt("cancel a job")?;
        Ok(outcome)
    }

    /// Whether somebody asked for this job to stop.
    ///
    /// # Errors
    /// There is no such job; or the catalog can't be read or is corrupt.
    pub async fn cancel_requested(&self, id: i64) -> Result<bool> {
        cancel_requested_in(&mut *self.snapshot().await?, id).await
    }

    /// At a start: jobs that were running when the program ended are queued again, or cancelled if that was requested.
    /// Returns how many wait now.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn requeue_running(&self, now: ArrivalTime) -> Result<u64> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE jobs SET state = 'cancelled', finished_at = $1 WHERE state = 'running' AND cancel_requested = 1")
            .bind(now.0)
            .execute(&mut *tx)
            .await
            .attempt("cancel jobs")?;
        let requeued = sqlx::query("UPDATE jobs SET state = 'queued', progress = 0, not_before = $1 WHERE state = 'running'")
            .bind(now.0)
            .execute(&mut *tx)
            .await
            .attempt("queue jobs again")?;
        tx.commit().await.attempt("queue jobs again")?;
        Ok(requeued.rows_affected())
    }
}

fn check_range(job: &NewJob) -> Result<()> {
    if job.range.is_empty() { Err(Error::Refused(format!("the range {} is empty", job.range))) } else { Ok(()) }
}

async fn add_job(tx: &mut Tx, job: &NewJob) -> Result<i64> {
    let id = next_number(tx, "jobs").await?;
    sqlx::query("DELETE FROM jobs WHERE id <= $1 AND state IN ('succeeded', 'failed', 'cancelled')")
        .bind(id - KEPT)
        .execute(&mut **tx)
        .await
        .attempt("forget old jobs")?;
    sqlx::query(
        "INSERT INTO jobs (id, kind, range_start, range_end, selector, reason, priority, not_before, created_at, state, progress, rows_read, \
         cells_written, attempts, cancel_requested) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'queued', 0, 0, 0, 0, 0)",
    )
    .bind(id)
    .bind(job.kind.name())
    .bind(job.range.start.0)
    .bind(job.range.end.0)
    .bind(job.selector.as_deref())
    .bind(&job.reason)
    .bind(job.priority)
    .bind(job.not_before.0)
    .bind(job.now.0)
    .execute(&mut **tx)
    .await
    .attempt("queue a job")?;
    Ok(id)
}

async fn next_job(conn: &mut SqliteConnection, now: ArrivalTime) -> Result<Option<i64>> {
    sqlx::query_scalar("SELECT id FROM jobs WHERE state = 'queued' AND not_before <= $1 ORDER BY priority DESC, id LIMIT 1")
        .bind(now.0)
        .fetch_optional(conn)
        .await
        .attempt("look for a job")
}

async fn requeue(conn: &mut SqliteConnection, id: i64, at: ArrivalTime, error: Option<String>) -> Result<()> {
    sqlx::query("UPDATE jobs SET state = 'queued', progress = 0, not_before = $1, error = $2 WHERE id = $3")
        .bind(at.0)
        .bind(error)
        .bind(id)
        .execute(conn)
        .await
        .attempt("queue a job again")?;
    Ok(())
}

async fn end(conn: &mut SqliteConnection, id: i64, state: JobState, now: ArrivalTime, error: Option<String>) -> Result<()> {
    let query = match state {
        JobState::Succeeded => sqlx::query("UPDATE jobs SET state = 'succeeded', progress = 1, finished_at = $1, error = $2 WHERE id = $3"),
        JobState::Cancelled => sqlx::query("UPDATE jobs SET state = 'cancelled', finished_at = $1, error = $2 WHERE id = $3"),
        _ => sqlx::query("UPDATE jobs SET state = 'failed', finished_at = $1, error = $2 WHERE id = $3"),
    };
    query.bind(now.0).bind(error).bind(id).execute(conn).await.attempt("finish a job")?;
    Ok(())
}

async fn cancel_requested_in(conn: &mut SqliteConnection, id: i64) -> Result<bool> {
    let flag: Option<i64> = sqlx::query_scalar("SELECT cancel_requested FROM jobs WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await
        .attempt("look a job up")?;
    flag.map(|flag| flag != 0).ok_or_else(|| not_found(id))
}

async fn job_in(conn: &mut SqliteConnection, id: i64) -> Result<JobRow> {
    let row = sqlx::query(
        "SELECT id, kind, range_start, range_end, selector, reason, priority, state, progress, rows_read, cells_written, error, attempts, \
         not_before, created_at, started_at, finished_at FROM jobs WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await
    .attempt("look a job up")?;
    job_of(&row.ok_or_else(|| not_found(id))?)
}

fn not_found(id: i64) -> Error {
    Error::NotFound(format!("job {id}"))
}

fn job_of(row: &SqliteRow) -> Result<JobRow> {
    let mut columns = Columns::of(row);
    Ok(JobRow {
        id: columns.get()?,
        kind: kind_of(&columns.get::<String>()?)?,
        range: columns.range()?,
        selector: columns.get()?,
        reason: columns.get()?,
        priority: columns.get()?,
        state: state_of(&columns.get::<String>()?)?,
        progress: columns.get()?,
        rows_read: columns.unsigned()?,
        cells_written: columns.unsigned()?,
        error: columns.get()?,
        attempts: columns.get()?,
        not_before: columns.time()?,
        created_at: columns.time()?,
        started_at: columns.optional_time()?,
        finished_at: columns.optional_time()?,
    })
}

/// The kind of this stored name.
pub(super) fn kind_of(name: &str) -> Result<JobKind> {
    name.parse().map_err(|_| Error::corrupt("catalog", format!("unknown kind of job {name:?}")))
}

fn state_of(name: &str) -> Result<JobState> {
    let known = JobState::ALL.into_iter().find(|state| state.name() == name);
    known.ok_or_else(|| Error::corrupt("catalog", format!("unknown state of a job {name:?}")))
}
