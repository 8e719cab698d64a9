//! `/openapi.json`: the description of the API, made from the routes.
//!
//! Owns the description as a whole and the forms of values that other crates write, repeated here for the description;
//! a test compares them with what is written.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use utoipa::{OpenApi, ToSchema};

use crate::answer::{Interval, Source};
use crate::confidence::State;

/// The description without its routes; they add themselves.
#[derive(OpenApi)]
#[openapi(
    info(title = "Weir", description = "Telemetry in, one answer from the speed path and the batch path out"),
    tags(
        (name = "readings", description = "Readings in"),
        (name = "influxdb", description = "Line protocol, as InfluxDB's clients send it"),
        (name = "answers", description = "Answers out"),
        (name = "batch", description = "Work on history"),
        (name = "operations", description = "How the server is"),
    )
)]
pub(super) struct Description;

/// This description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"))
)]
pub(super) async fn show() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let (_, api) = super::routes().split_for_parts();
        api.to_json().expect("a description of routes is plain data")
    });
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// An answer to a metric query.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
pub(super) struct AnswerBody {
    /// Series or groups with points, sorted by `metric_key`.
    series: Vec<SeriesPoints>,
    /// Of which moment.
    as_of: Moment,
    /// What could not be read; empty where nothing is missing.
    missing: Vec<String>,
}

/// The points of one series or group.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
struct SeriesPoints {
    /// The metric; empty for a group over several metrics.
    metric: String,
    /// The tags of the series, or those that make the group.
    tags: BTreeMap<String, String>,
    /// Buckets with readings, sorted by time.
    points: Vec<PointBody>,
}

/// One bucket; beside these fields it has one for each aggregate asked for, by its name.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
struct PointBody {
    /// Start of the bucket.
    time: String,
    /// An aggregate, if asked for.
    avg: Option<f64>,
    /// Readings counted, each identity once.
    data_points: u64,
    /// Those that batch views counted.
    batch_points: u64,
    /// Those that only the speed layer counted.
    speed_points: u64,
    /// Where the numbers came from.
    source: Source,
    /// How settled the bucket is; this and the fields below are absent with `confidence=false`.
    state: Option<State>,
    /// Readings counted per readings expected finally.
    completeness: Option<f64>,
    /// Probability that the final values are close to these.
    confidence_score: Option<f64>,
    /// The part of the cells behind the values (each a series in a bucket of the base resolution) that are final.
    final_share: Option<f64>,
    /// Whether measured outcomes stand behind the score.
    calibrated: Option<bool>,
    /// By aggregate; null where there is nothing to say.
    interval: Option<BTreeMap<String, Interval>>,
}

/// Of which moment an answer is.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
struct Moment {
    /// Every reading up to this log position is counted.
    position: u64,
    /// The generation of batch views.
    generation: u64,
    /// The greatest event time counted.
    watermark: Option<String>,
}

/// Jobs.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
pub(super) struct JobsBody {
    /// Newest first.
    jobs: Vec<Job>,
}

/// A job.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
pub(super) struct Job {
    /// Its number.
    id: i64,
    /// recompute, fold, audit or compact.
    kind: String,
    /// First event time that it is about.
    from: String,
    /// First event time after.
    to: String,
    /// Which series; null for all.
    r#match: Option<String>,
    /// Why.
    reason: String,
    /// Higher goes first.
    priority: i64,
    /// queued, running, succeeded, failed or cancelled.
    state: String,
    /// The part that is done, 0 to 1.
    progress: f64,
    /// Readings read so far.
    rows_read: u64,
    /// Cells written so far.
    cells_written: u64,
    /// Why it failed last.
    error: Option<String>,
    /// How many times it was started.
    attempts: i64,
    /// It does not start before.
    not_before: String,
    /// When it was queued.
    created_at: String,
    /// When it was started last.
    started_at: Option<String>,
    /// When it ended.
    finished_at: Option<String>,
}

/// Schedules.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
pub(super) struct SchedulesBody {
    /// By name.
    schedules: Vec<Schedule>,
}

/// A schedule.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
pub(super) struct Schedule {
    /// Its name.
    name: String,
    /// When, in UTC.
    cron: String,
    /// What is queued then.
    kind: String,
    /// How far back from then a job reaches; null: over all of history.
    lookback: Option<String>,
    /// Whether it is followed.
    enabled: bool,
    /// When it is due next.
    next_at: Option<String>,
    /// When it was due last.
    last_at: Option<String>,
}

/// The audit log.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
pub(super) struct AuditBody {
    /// Newest first.
    audit: Vec<AuditEntry>,
}

/// Something that was changed, or asked to be.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
struct AuditEntry {
    /// Its number, from 1 on without a gap.
    seq: u64,
    /// When.
    at: String,
    /// Who: a token, `command line`, or `anyone` where there is no token.
    actor: String,
    /// What: a method, or like `create token`.
    action: String,
    /// To what: a path, or a token.
    subject: String,
    /// SHA-256 of the entry and the hash of the one before.
    hash: String,
}

/// Generations.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
pub(super) struct GenerationsBody {
    /// Newest first.
    generations: Vec<Generation>,
}

/// A generation.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
struct Generation {
    /// Its number.
    number: u64,
    /// When it became current.
    published_at: String,
    /// Why.
    reason: String,
    /// The job that made it.
    job: Option<i64>,
    /// The generation whose views it made current again.
    reverted_to: Option<u64>,
    /// How many partitions got another view with it.
    partitions: u64,
    /// Whether it is the current one.
    current: bool,
    /// Since when its views may be gone.
    pruned_at: Option<String>,
}

/// Differences.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
pub(super) struct ReconciliationBody {
    /// Newest first.
    reconciliation: Vec<Difference>,
}

/// A value that history says differently.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made")]
struct Difference {
    /// When it was found.
    at: String,
    /// The job that found it.
    job: Option<i64>,
    /// Start of the partition.
    partition_start: String,
    /// The series, a number.
    series_id: u64,
    /// The series, where it is known.
    metric_key: Option<String>,
    /// Start of the bucket.
    bucket: String,
    /// The aggregate.
    field: String,
    /// What had been answered.
    speed_value: Option<f64>,
    /// What was found.
    batch_value: Option<f64>,
    /// The second less the first.
    difference: Option<f64>,
    /// late, duplicate, correction or unexplained.
    cause: String,
}

#[cfg(test)]
mod tests;
