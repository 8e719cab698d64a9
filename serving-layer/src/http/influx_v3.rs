//! Line protocol as clients of InfluxDB 3 send it.
//!
//! Owns the parameters, statuses and error bodies of `/api/v3/write_lp`: good lines are kept beside bad ones unless
//! `accept_partial=false`. The name of the database is taken and not looked at.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use schemas::time::{Precision, clip};
use serde::Serialize;
use speed_layer::decode::{Format, RowError};
use utoipa::ToSchema;

use super::App;
use super::access::Within;
use super::body::receive;
use super::error::{Problem, Result};
use super::ingest::{Outcome, Policy, decoded, keep, mark};
use super::params::Params;

/// An error as version 3 words it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorV3 {
    /// What is wrong.
    error: String,
    /// The lines that are bad.
    data: ErrorData,
}

/// Which lines are bad.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum ErrorData {
    /// It is not about lines.
    None,
    /// The first of them.
    First(BadLine),
    /// The first hundred of them.
    Some(Vec<BadLine>),
}

/// A line that was refused.
#[derive(Debug, Serialize, ToSchema)]
struct BadLine {
    /// The start of it.
    original_line: String,
    /// Its number from 1.
    line_number: u64,
    /// What is wrong with it.
    error_message: String,
}

impl From<RowError> for BadLine {
    fn from(error: RowError) -> Self {
        let line_number = error.line.unwrap_or(error.index + 1);
        Self { original_line: error.text.unwrap_or_default(), line_number, error_message: error.reason }
    }
}

/// Writes line protocol as InfluxDB 3 takes it.
#[utoipa::path(
    post,
    path = "/api/v3/write_lp",
    tag = "influxdb",
    params(
        ("db" = Option<String>, Query, description = "Taken and not looked at"),
        ("precision" = Option<String>, Query, description = "auto (default), second, millisecond, microsecond or nanosecond"),
        ("accept_partial" = Option<bool>, Query, description = "false: keep nothing unless all lines are good"),
    ),
    request_body(content = String, content_type = "text/plain"),
    responses(
        (status = 204, description = "All lines were kept"),
        (status = 400, description = "Some lines were bad; the good ones were kept unless accept_partial=false", body = ErrorV3),
        (status = "default", description = "Nothing was kept", body = ErrorV3),
    )
)]
pub(super) async fn write_v3(
    State(app): State<Arc<App>>,
    within: Within,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match write(&app, &within, query.as_deref(), &headers, body).await {
        Ok(response) => response,
        Err(problem) => {
            let body = ErrorV3 { error: problem.detail().to_owned(), data: ErrorData::None };
            problem.respond_with(body)
        }
    }
}

async fn write(app: &App, within: &Within, query: Option<&str>, headers: &HeaderMap, body: Body) -> Result<Response> {
    let body = receive(app, headers, body).await?;
    let params = Params::lenient(query);
    let policy = if params.flag("accept_partial", true)? { Policy::Partial } else { Policy::AllOrNothing };
    let precision = precision(params.get("precision").unwrap_or_default())?;
    if body.bytes.is_empty() {
        return Err(Problem::bad("incoming write was empty"));
    }
    let decoded = decoded(app, within, body, Some(Format::LineProtocol), precision).await?;
    let outcome = keep(app, decoded, policy).await?;
    let skipped = outcome.skipped;
    let mut response = match refusal(outcome, policy) {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(error) => (StatusCode::BAD_REQUEST, axum::Json(error)).into_response(),
    };
    mark(app, skipped, &mut response);
    Ok(response)
}

fn refusal(outcome: Outcome, policy: Policy) -> Option<ErrorV3> {
    let mut lines = outcome.errors.into_iter().map(BadLine::from);
    match policy {
        _ if outcome.rejected == 0 => None,
        Policy::Partial => Some(ErrorV3 {
            error: "partial write of line protocol occurred".to_owned(),
            data: ErrorData::Some(lines.collect()),
        }),
        Policy::AllOrNothing => Some(ErrorV3 {
            error: "parsing failed for write_lp endpoint".to_owned(),
            data: lines.next().map_or(ErrorData::None, ErrorData::First),
        }),
    }
}

fn precision(text: &str) -> Result<Precision> {
    match text {
        "" | "auto" => Ok(Precision::Auto),
        "second" | "s" => Ok(Precision::Seconds),
        "millisecond" | "ms" => Ok(Precision::Millis),
        "microsecond" | "us" | "u" => Ok(Precision::Micros),
        "nanosecond" | "ns" | "n" => Ok(Precision::Nanos),
        other => Err(Problem::bad(format!(
            "invalid precision {:?}: use auto, second, millisecond, microsecond or nanosecond",
            clip(other)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: Policy, expected: &str) {
        let error = RowError { index: 0, line: Some(2), reason: "no fields".into(), text: Some("cpu val= 1".into()) };
        let position = schemas::LogPosition(1);
        let outcome = Outcome { accepted: 2, rejected: 1, position, errors: vec![error], skipped: 0 };
        assert_eq!(serde_json::to_string(&refusal(outcome, policy)).expect("plain"), expected);
    }

    #[test]
    fn errors_have_the_form_of_version_3() {
        check(
            Policy::Partial,
            r#"{"error":"partial write of line protocol occurred","data":[{"original_line":"cpu val= 1","line_number":2,"error_message":"no fields"}]}"#,
        );
        check(
            Policy::AllOrNothing,
            r#"{"error":"parsing failed for write_lp endpoint","data":{"original_line":"cpu val= 1","line_number":2,"error_message":"no fields"}}"#,
        );
        let other = ErrorV3 { error: "x".into(), data: ErrorData::None };
        assert_eq!(serde_json::to_string(&other).expect("plain"), r#"{"error":"x","data":null}"#);
    }

    #[test]
    fn precisions_are_those_of_version_3() {
        assert_eq!(precision("").ok(), Some(Precision::Auto));
        assert_eq!(precision("nanosecond").ok(), Some(Precision::Nanos));
        assert!(precision("h").is_err());
    }
}
