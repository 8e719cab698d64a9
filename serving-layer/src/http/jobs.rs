//! `/v1/jobs`: work on history, queued, shown and cancelled.
//!
//! Owns the request for a job. Does not own what jobs do or when (batch layer).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use batch_layer::catalog::{CancelOutcome, JobRow, JobState, NewJob};
use schemas::query::parse_instant;
use schemas::selector::Selector;
use schemas::time::{ArrivalTime, EventTime, TimeRange, clip};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::App;
use super::body::read_json;
use super::error::{Problem, ProblemBody, Result};
use super::openapi::{Job, JobsBody};
use super::params::Params;
use super::stream;

const FIELDS: &[&str] = &["kind", "from", "to", "match", "reason", "priority"];
/// Longest reason, characters.
const REASON_MAX: usize = 1000;
/// How many jobs a listing shows unless asked for more.
const LISTED: u32 = 100;
const LISTED_MAX: u32 = 10_000;

/// A job to be queued.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct JobRequest {
    /// recompute, fold, audit or compact.
    kind: String,
    /// First event time: RFC 3339, epoch ms, or like `now-1d`; absent: from the beginning.
    from: Option<Value>,
    /// First event time after; absent: to the end.
    to: Option<Value>,
    /// A Prometheus selector; absent: every series.
    r#match: Option<String>,
    /// Why, for the record.
    reason: Option<String>,
    /// Higher goes first; 0 if absent.
    priority: Option<i64>,
}

/// The number of a job.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobId {
    /// Its number.
    id: i64,
}

impl JobRequest {
    fn check(self, now: ArrivalTime) -> Result<NewJob> {
        let range = TimeRange {
            start: instant("from", self.from, now)?.unwrap_or(TimeRange::ALL.start),
            end: instant("to", self.to, now)?.unwrap_or(TimeRange::ALL.end),
        };
        if range.start >= range.end {
            return Err(Problem::bad("from: must be before to"));
        }
        let selector = self.r#match.filter(|text| !text.trim().is_empty());
        if let Some(text) = &selector {
            text.parse::<Selector>().map_err(|error| Problem::bad(format!("match: {error}")))?;
        }
        let reason = self.reason.unwrap_or_else(|| "on demand".to_owned());
        if reason.chars().count() > REASON_MAX {
            return Err(Problem::bad(format!("reason: has more than {REASON_MAX} characters")));
        }
        let kind = self.kind.parse()?;
        Ok(NewJob { kind, range, selector, reason, priority: self.priority.unwrap_or(0), not_before: now, now })
    }
}

fn instant(name: &str, value: Option<Value>, now: ArrivalTime) -> Result<Option<EventTime>> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(Problem::bad(format!("{name}: must be RFC 3339, epoch milliseconds, or like now-1h"))),
    };
    parse_instant(&text, now).map(Some).map_err(|error| Problem::bad(format!("{name}: {error}")))
}

/// The number in a path; what is none names no job.
pub(super) fn job_id(path: Result<Path<String>, PathRejection>) -> Result<i64> {
    let Path(text) = path?;
    text.parse().map_err(|_| Problem::new(StatusCode::NOT_FOUND, format!("job {:?} does not exist", clip(&text))))
}

/// Queues a job. It counts everything that was acknowledged before.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    tag = "batch",
    request_body(content = JobRequest, content_type = "application/json"),
    responses(
        (status = 202, description = "Queued", body = JobId),
        (status = "default", description = "Not queued", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response> {
    let request: JobRequest = read_json(&app, &headers, body, FIELDS).await?;
    let job = request.check(app.serving.clock.now())?;
    app.serving.flush().await?;
    let id = app.serving.batch.catalog().enqueue(job).await?;
    app.serving.batch.wake_runner();
    Ok((StatusCode::ACCEPTED, Json(JobId { id })).into_response())
}

/// The newest jobs, newest first.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "batch",
    params(("limit" = Option<u32>, Query, description = "How many; 100 if absent")),
    responses(
        (status = 200, description = "Jobs", body = JobsBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response> {
    let limit = Params::strict(query.as_deref(), &["limit"])?.limit(LISTED, LISTED_MAX)?;
    let jobs = app.serving.batch.catalog().jobs(limit).await?;
    Ok(stream::list("jobs", jobs.into_iter(), &Map::new()))
}

/// A job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    tag = "batch",
    params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 200, description = "The job", body = Job),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<JobRow>> {
    Ok(Json(app.serving.batch.catalog().job(job_id(path)?).await?))
}

/// Cancels a queued job, or asks a running one to stop.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{id}",
    tag = "batch",
    params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 200, description = "It is cancelled", body = Job),
        (status = 202, description = "It is running and will stop soon", body = Job),
        (status = 409, description = "It has ended already", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Nothing was done", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(State(app): State<Arc<App>>, path: Result<Path<String>, PathRejection>) -> Result<Response> {
    let id = job_id(path)?;
    let catalog = app.serving.batch.catalog();
    let status = match catalog.cancel(id, app.serving.clock.now()).await? {
        CancelOutcome::Cancelled | CancelOutcome::Finished(JobState::Cancelled) => StatusCode::OK,
        CancelOutcome::Requested => StatusCode::ACCEPTED,
        CancelOutcome::Finished(state) => {
            return Err(Problem::new(StatusCode::CONFLICT, format!("job {id} is {} already", state.name())));
        }
    };
    Ok((status, Json(catalog.job(id).await?)).into_response())
}

#[cfg(test)]
mod tests {
    use batch_layer::catalog::JobKind;

    use super::*;

    fn check(text: &str) -> Result<NewJob> {
        let request: JobRequest = serde_json::from_str(text).expect(text);
        request.check(ArrivalTime(1_700_000_000_000_000_000))
    }

    #[test]
    fn absent_parts_have_defaults() {
        let job = check(r#"{"kind":"recompute"}"#).expect("valid");
        assert_eq!((job.kind, job.range, job.selector, job.priority), (JobKind::Recompute, TimeRange::ALL, None, 0));
        let job = check(r#"{"kind":"audit","from":"now-1h","to":1700000000000,"match":"a{b=\"c\"}","priority":5}"#);
        let job = job.expect("valid");
        assert_eq!(job.range.end.0 - job.range.start.0, schemas::time::HOUR);
        assert_eq!((job.selector.as_deref(), job.priority), (Some("a{b=\"c\"}"), 5));
    }

    #[test]
    fn bad_parts_are_named() {
        for (text, needle) in [
            (r#"{"kind":"fly"}"#, "kind of job"),
            (r#"{"kind":"fold","from":"soon"}"#, "from"),
            (r#"{"kind":"fold","to":[1]}"#, "to"),
            (r#"{"kind":"fold","from":2,"to":1}"#, "before"),
            (r#"{"kind":"fold","match":"a{"}"#, "match"),
            (r#"{"kind":"fold","from":1.5}"#, "from"),
        ] {
            let problem = check(text).expect_err(text);
            assert!(problem.detail().contains(needle), "{text}: {}", problem.detail());
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_no_job() {
        assert_eq!(job_id(Ok(Path("7".to_owned()))).expect("a number"), 7);
        assert_eq!(job_id(Ok(Path("x".to_owned()))).expect_err("none").status(), StatusCode::NOT_FOUND);
    }
}
