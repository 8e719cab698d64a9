//! The queue of work on history.
//!
//! Owns the life of a job: queued, running, then succeeded, failed or cancelled. Does not own what a job does or when the
//! queue is looked at (runner).
//!
//! ```text
//! enqueue ─► queued ─claim─► running ─finish─► succeeded
//!              ▲ │              │ ├──────────► failed
//!              │ └─cancel─► cancelled ◄────────┘ cancel was requested
//!              └──── retry, restart ────┘
//! ```

use schemas::time::{ArrivalTime, TimeRange};
use sqlx::sqlite::SqliteConnection;

use super::jobs::{CancelOutcome, JobRow, JobState, NewJob, RetryPolicy, job_of};
use super::rows::{Columns, next_number, stored};
use super::{Attempt, Catalog, Tx};
use crate::error::{Error, Result};

/// How many jobs are remembered. The oldest finished ones make room.
const KEPT: i64 = 10_000;

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

    /// Queues a job unless one of the same kind, series and reason is waiting whose range overlaps or adjoins: that one
    /// is made to reach over both ranges instead (`None`). Work that is due again and again does not pile up behind a
    /// slow job, and none of it is lost.
    ///
    /// # Errors
    /// Its range is empty; or the catalog can't be written.
    pub async fn enqueue_unless_queued(&self, job: NewJob) -> Result<Option<i64>> {
        check_range(&job)?;
        let mut tx = self.begin().await?;
        let id = match waiting(&mut tx, &job).await? {
            Some((waiting, range)) => {
                widen(&mut tx, waiting, range, job.range).await?;
                None
            }
            None => Some(add_job(&mut tx, &job).await?),
        };
        tx.commit().await.attempt("queue a job")?;
        Ok(id)
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
        sqlx::query(
            "UPDATE jobs SET progress = $1, rows_read = $2, cells_written = $3 WHERE id = $4 AND state = 'running'",
        )
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
    pub async fn finish(
        &self,
        id: i64,
        now: ArrivalTime,
        outcome: Result<(), String>,
        retry: Option<RetryPolicy>,
    ) -> Result<JobState> {
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

    /// Ends the attempt at a running job that could not begin yet: it waits until then, and the attempt does not count.
    /// Where somebody asked for it, it is cancelled instead.
    ///
    /// # Errors
    /// There is no such job; or the catalog can't be written or is corrupt.
    pub async fn postpone(&self, id: i64, now: ArrivalTime, until: ArrivalTime, reason: String) -> Result<()> {
        let mut tx = self.begin().await?;
        if cancel_requested_in(&mut tx, id).await? {
            end(&mut tx, id, JobState::Cancelled, now, Some(reason)).await?;
        } else {
            requeue(&mut tx, id, until, Some(reason)).await?;
            sqlx::query("UPDATE jobs SET attempts = attempts - 1 WHERE id = $1")
                .bind(id)
                .execute(&mut *tx)
                .await
                .attempt("postpone a job")?;
        }
        tx.commit().await.attempt("postpone a job")
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
                sqlx::query("UPDATE jobs SET cancel_requested = 1 WHERE id = $1")
                    .bind(id)
                    .execute(&mut *tx)
                    .await
                    .attempt("cancel a job")?;
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

    /// At a start, or when the runner could not note the end of a job: jobs that are said to run although none does are
    /// queued again, or cancelled if that was requested.
    /// Returns how many wait now.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn requeue_running(&self, now: ArrivalTime) -> Result<u64> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE jobs SET state = 'cancelled', finished_at = $1 WHERE state = 'running' AND cancel_requested = 1",
        )
        .bind(now.0)
        .execute(&mut *tx)
        .await
        .attempt("cancel jobs")?;
        let requeued =
            sqlx::query("UPDATE jobs SET state = 'queued', progress = 0, not_before = $1 WHERE state = 'running'")
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

/// The oldest waiting job that does the same on a range that overlaps or adjoins.
async fn waiting(conn: &mut SqliteConnection, job: &NewJob) -> Result<Option<(i64, TimeRange)>> {
    let row = sqlx::query(
        "SELECT id, range_start, range_end FROM jobs WHERE state = 'queued' AND kind = $1 AND COALESCE(selector, '') = $2 \
         AND reason = $3 AND range_start <= $4 AND range_end >= $5 ORDER BY id LIMIT 1",
    )
    .bind(job.kind.name())
    .bind(job.selector.as_deref().unwrap_or(""))
    .bind(&job.reason)
    .bind(job.range.end.0)
    .bind(job.range.start.0)
    .fetch_optional(conn)
    .await
    .attempt("look a job up")?;
    row.map(|row| {
        let mut columns = Columns::of(&row);
        Ok((columns.get()?, columns.range()?))
    })
    .transpose()
}

async fn widen(conn: &mut SqliteConnection, id: i64, range: TimeRange, by: TimeRange) -> Result<()> {
    let (start, end) = (range.start.min(by.start), range.end.max(by.end));
    if (start, end) == (range.start, range.end) {
        return Ok(());
    }
    sqlx::query("UPDATE jobs SET range_start = $1, range_end = $2 WHERE id = $3")
        .bind(start.0)
        .bind(end.0)
        .bind(id)
        .execute(conn)
        .await
        .attempt("widen a job")?;
    Ok(())
}

async fn next_job(conn: &mut SqliteConnection, now: ArrivalTime) -> Result<Option<i64>> {
    sqlx::query_scalar(
        "SELECT id FROM jobs WHERE state = 'queued' AND not_before <= $1 ORDER BY priority DESC, id LIMIT 1",
    )
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

async fn end(
    conn: &mut SqliteConnection,
    id: i64,
    state: JobState,
    now: ArrivalTime,
    error: Option<String>,
) -> Result<()> {
    let query = match state {
        JobState::Succeeded => {
            sqlx::query("UPDATE jobs SET state = 'succeeded', progress = 1, finished_at = $1, error = $2 WHERE id = $3")
        }
        JobState::Cancelled => {
            sqlx::query("UPDATE jobs SET state = 'cancelled', finished_at = $1, error = $2 WHERE id = $3")
        }
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
