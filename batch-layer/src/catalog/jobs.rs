//! What a job is, as values.
//!
//! Owns the kinds and states of jobs, their shown form and when a failed one is tried again. Does not own the queue
//! ([`super::queue`]) or what a job does (runner).

use schemas::time::{ArrivalTime, TimeRange};
use serde::{Serialize, Serializer};
use sqlx::sqlite::SqliteRow;

use super::rows::{Columns, serialize_optional_time, serialize_time};
use crate::error::{Error, Result};

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
        known.ok_or_else(|| {
            Error::Refused(format!(
                "unknown kind of job {:?}: use one of recompute, fold, audit, compact",
                schemas::time::clip(name)
            ))
        })
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
    pub(super) fn next(self, attempts: i64, now: ArrivalTime) -> Option<ArrivalTime> {
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

/// A job of the columns that every query of jobs selects.
pub(super) fn job_of(row: &SqliteRow) -> Result<JobRow> {
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
