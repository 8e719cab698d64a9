//! `/v1/schedules`: jobs that are queued again and again.
//!
//! Owns the request for a schedule. Does not own cron expressions or following them (batch layer).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use batch_layer::catalog::ScheduleRow;
use batch_layer::schedule::next_after;
use schemas::ArrivalTime;
use schemas::time::parse_duration;
use serde::Deserialize;
use serde_json::Map;
use utoipa::ToSchema;

use super::App;
use super::body::read_json;
use super::error::{Problem, ProblemBody, Result};
use super::openapi::{Schedule, SchedulesBody};
use super::stream;

const FIELDS: &[&str] = &["cron", "kind", "lookback", "enabled"];

/// A schedule to be kept.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ScheduleRequest {
    /// A cron expression of five fields, or six with the second in front; UTC.
    cron: String,
    /// recompute, fold, audit or compact.
    kind: String,
    /// How far back from then a job reaches, such as `7d`; absent: over all of history.
    lookback: Option<String>,
    /// Whether it is followed; true if absent.
    enabled: Option<bool>,
}

impl ScheduleRequest {
    fn check(self, name: String, now: ArrivalTime, last_at: Option<ArrivalTime>) -> Result<ScheduleRow> {
        let named = |part: &str, error: String| Problem::bad(format!("{part}: {error}"));
        let lookback = self.lookback.as_deref().filter(|text| !text.trim().is_empty()).map(parse_duration);
        Ok(ScheduleRow {
            name,
            kind: self.kind.parse()?,
            lookback: lookback.transpose().map_err(|error| named("lookback", error.to_string()))?,
            enabled: self.enabled.unwrap_or(true),
            next_at: next_after(&self.cron, now).map_err(|error| named("cron", error.to_string()))?,
            cron: self.cron,
            last_at,
        })
    }
}

/// All schedules, by name.
#[utoipa::path(
    get,
    path = "/v1/schedules",
    tag = "batch",
    responses(
        (status = 200, description = "Schedules", body = SchedulesBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Response> {
    let schedules = app.serving.batch.catalog().schedules().await?;
    Ok(stream::list("schedules", schedules.into_iter(), &Map::new()))
}

/// A schedule.
#[utoipa::path(
    get,
    path = "/v1/schedules/{name}",
    tag = "batch",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The schedule", body = Schedule),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<ScheduleRow>> {
    let Path(name) = path?;
    let missing =
        || Problem::new(StatusCode::NOT_FOUND, format!("schedule {:?} does not exist", schemas::time::clip(&name)));
    Ok(Json(find(&app, &name).await?.ok_or_else(missing)?))
}

/// Keeps a schedule, in place of the one of the same name.
#[utoipa::path(
    put,
    path = "/v1/schedules/{name}",
    tag = "batch",
    params(("name" = String, Path, description = "Its name")),
    request_body(content = ScheduleRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "Kept", body = Schedule),
        (status = "default", description = "Not kept", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ScheduleRow>> {
    let Path(name) = path?;
    let request: ScheduleRequest = read_json(&app, &headers, body, FIELDS).await?;
    let last_at = find(&app, &name).await?.and_then(|schedule| schedule.last_at);
    let schedule = request.check(name, app.serving.clock.now(), last_at)?;
    app.serving.batch.catalog().put_schedule(schedule.clone()).await?;
    app.serving.batch.wake_runner();
    Ok(Json(schedule))
}

/// Removes a schedule.
#[utoipa::path(
    delete,
    path = "/v1/schedules/{name}",
    tag = "batch",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "Removed"),
        (status = "default", description = "Not removed", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode> {
    let Path(name) = path?;
    app.serving.batch.catalog().delete_schedule(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(app: &App, name: &str) -> Result<Option<ScheduleRow>> {
    let schedules = app.serving.batch.catalog().schedules().await?;
    Ok(schedules.into_iter().find(|schedule| schedule.name == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<ScheduleRow> {
        let request: ScheduleRequest = serde_json::from_str(text).expect(text);
        request.check("nightly".to_owned(), ArrivalTime(0), None)
    }

    #[test]
    fn a_request_becomes_a_schedule() {
        let schedule = check(r#"{"cron":"0 3 * * *","kind":"recompute","lookback":"7d"}"#).expect("valid");
        assert_eq!(schedule.lookback, Some(7 * schemas::time::DAY));
        assert_eq!(schedule.next_at, Some(ArrivalTime(3 * schemas::time::HOUR)));
        assert!(schedule.enabled);
    }

    #[test]
    fn bad_parts_are_named() {
        for (text, needle) in [
            (r#"{"cron":"daily","kind":"fold"}"#, "cron"),
            (r#"{"cron":"0 3 * * *","kind":"fly"}"#, "kind of job"),
            (r#"{"cron":"0 3 * * *","kind":"fold","lookback":"long"}"#, "lookback"),
        ] {
            let problem = check(text).expect_err(text);
            assert!(problem.detail().contains(needle), "{text}: {}", problem.detail());
        }
    }
}
