//! Schedules: what is queued again and again.
//!
//! Owns their rows. Does not own the arithmetic of cron expressions ([`crate::schedule`]) or the loop that asks what is
//! due (runner).

use schemas::time::{ArrivalTime, format_duration};
use serde::{Serialize, Serializer};
use sqlx::sqlite::SqliteRow;

use super::jobs::{JobKind, kind_of};
use super::rows::{Columns, serialize_optional_time};
use super::{Attempt, Catalog};
use crate::error::{Error, Result};
use crate::schedule;

/// Longest name of a schedule, in characters.
const NAME_MAX: usize = 128;
/// Longest cron expression, in characters.
const CRON_MAX: usize = 255;

/// A schedule, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScheduleRow {
    /// Its name.
    pub name: String,
    /// When, in UTC.
    pub cron: String,
    /// What is queued then.
    pub kind: JobKind,
    /// How far back from then the job reaches, nanoseconds; `None`: over all of history.
    #[serde(serialize_with = "serialize_duration")]
    pub lookback: Option<i64>,
    /// Whether it is followed.
    pub enabled: bool,
    /// When it is due next; `None`: never.
    #[serde(serialize_with = "serialize_optional_time")]
    pub next_at: Option<ArrivalTime>,
    /// When it was due last.
    #[serde(serialize_with = "serialize_optional_time")]
    pub last_at: Option<ArrivalTime>,
}

fn serialize_duration<S: Serializer>(nanos: &Option<i64>, to: S) -> std::result::Result<S::Ok, S::Error> {
    nanos.map(format_duration).serialize(to)
}

impl Catalog {
    /// Keeps a schedule, in place of the one of the same name.
    ///
    /// # Errors
    /// Its name is empty or too long, its expression is none, its lookback is not positive; or the catalog can't be written.
    pub async fn put_schedule(&self, row: ScheduleRow) -> Result<()> {
        check(&row)?;
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM schedules WHERE name = $1")
            .bind(&row.name)
            .execute(&mut *tx)
            .await
            .attempt("keep a schedule")?;
        sqlx::query("INSERT INTO schedules (name, cron, kind, lookback, enabled, next_at, last_at) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(&row.name)
            .bind(&row.cron)
            .bind(row.kind.name())
            .bind(row.lookback)
            .bind(i64::from(row.enabled))
            .bind(row.next_at.map(|t| t.0))
            .bind(row.last_at.map(|t| t.0))
            .execute(&mut *tx)
            .await
            .attempt("keep a schedule")?;
        tx.commit().await.attempt("keep a schedule")
    }

    /// All schedules, by name.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn schedules(&self) -> Result<Vec<ScheduleRow>> {
        let mut tx = self.snapshot().await?;
        let rows =
            sqlx::query("SELECT name, cron, kind, lookback, enabled, next_at, last_at FROM schedules ORDER BY name")
                .fetch_all(&mut *tx)
                .await
                .attempt("list schedules")?;
        rows.iter().map(schedule_of).collect()
    }

    /// Removes a schedule.
    ///
    /// # Errors
    /// There is none of this name; or the catalog can't be written.
    pub async fn delete_schedule(&self, name: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query("DELETE FROM schedules WHERE name = $1")
            .bind(name)
            .execute(&mut *tx)
            .await
            .attempt("delete a schedule")?;
        if deleted.rows_affected() == 0 {
            return Err(not_found(name));
        }
        tx.commit().await.attempt("delete a schedule")
    }

    /// The schedules that are followed and due, the longest due first.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn due(&self, now: ArrivalTime) -> Result<Vec<ScheduleRow>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT name, cron, kind, lookback, enabled, next_at, last_at FROM schedules WHERE enabled = 1 AND next_at <= $1 ORDER BY next_at, name",
        )
        .bind(now.0)
        .fetch_all(&mut *tx)
        .await
        .attempt("look for due schedules")?;
        rows.iter().map(schedule_of).collect()
    }

    /// Notes when a schedule was due last and will be next.
    ///
    /// # Errors
    /// There is none of this name; or the catalog can't be written.
    pub async fn advance(&self, name: &str, next_at: Option<ArrivalTime>, last_at: ArrivalTime) -> Result<()> {
        let mut tx = self.begin().await?;
        let changed = sqlx::query("UPDATE schedules SET next_at = $1, last_at = $2 WHERE name = $3")
            .bind(next_at.map(|t| t.0))
            .bind(last_at.0)
            .bind(name)
            .execute(&mut *tx)
            .await
            .attempt("advance a schedule")?;
        if changed.rows_affected() == 0 {
            return Err(not_found(name));
        }
        tx.commit().await.attempt("advance a schedule")
    }
}

fn check(row: &ScheduleRow) -> Result<()> {
    if row.name.is_empty() || row.name.chars().count() > NAME_MAX || row.name.chars().any(char::is_control) {
        return Err(Error::Refused(format!("the name of a schedule has 1 to {NAME_MAX} printable characters")));
    }
    if row.cron.chars().count() > CRON_MAX {
        return Err(Error::Refused(format!("a cron expression has {CRON_MAX} characters at most")));
    }
    if row.lookback.is_some_and(|nanos| nanos <= 0) {
        return Err(Error::Refused("a lookback is a positive duration".into()));
    }
    schedule::validate(&row.cron)
}

fn not_found(name: &str) -> Error {
    Error::NotFound(format!("schedule {:?}", schemas::time::clip(name)))
}

fn schedule_of(row: &SqliteRow) -> Result<ScheduleRow> {
    let mut columns = Columns::of(row);
    Ok(ScheduleRow {
        name: columns.get()?,
        cron: columns.get()?,
        kind: kind_of(&columns.get::<String>()?)?,
        lookback: columns.get()?,
        enabled: columns.get::<i64>()? != 0,
        next_at: columns.optional_time()?,
        last_at: columns.optional_time()?,
    })
}
