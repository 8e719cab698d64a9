//! `POST /v1/readings`.
//!
//! Owns which media types mean which format, and the receipt.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use schemas::time::{Precision, clip};
use serde::Serialize;
use speed_layer::decode::{Format, RowError};
use utoipa::ToSchema;

use super::App;
use super::access::Within;
use super::body::{media_type, receive};
use super::error::{Problem, ProblemBody, Result};
use super::ingest::{Outcome, Policy, decoded, keep, mark};
use super::params::Params;

const ACCEPTED: &str = "application/json, application/x-ndjson, text/csv, application/vnd.apache.arrow.stream";

/// What became of the readings of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Receipt {
    /// Readings kept: durable and visible to the next query.
    accepted: u64,
    /// Rows refused.
    rejected: u64,
    /// Log position of the last reading kept.
    position: u64,
    /// Why rows were refused, the first 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Refusal>,
}

/// Why a row was refused.
#[derive(Debug, Serialize, ToSchema)]
struct Refusal {
    /// The row's number from 0.
    index: u64,
    /// What is wrong with it.
    reason: String,
    /// The line of the body from 1, if the format has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

impl From<RowError> for Refusal {
    fn from(error: RowError) -> Self {
        Self { index: error.index, reason: error.reason, line: error.line }
    }
}

impl From<Outcome> for Receipt {
    fn from(outcome: Outcome) -> Self {
        let errors = outcome.errors.into_iter().map(Refusal::from).collect();
        Self { accepted: outcome.accepted, rejected: outcome.rejected, position: outcome.position.0, errors }
    }
}

/// Writes readings.
///
/// An answer means that the readings are durable and visible to the next query. Bodies may be compressed with gzip or
/// zstd.
#[utoipa::path(
    post,
    path = "/v1/readings",
    tag = "readings",
    params(
        ("precision" = Option<String>, Query, description = "Unit of numeric timestamps: s, ms (default), us or ns"),
        ("partial" = Option<bool>, Query, description = "false: keep nothing unless all rows are good"),
    ),
    request_body(
        content(
            (String = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        ),
        description = "Fields: metric (or sensor_type), value, timestamp, device_id, unit, tags",
    ),
    responses(
        (status = 200, description = "All were kept", body = Receipt),
        (status = 400, description = "Some were bad; the good ones were kept", body = Receipt),
        (status = "default", description = "Nothing was kept", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn write(
    State(app): State<Arc<App>>,
    within: Within,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let body = receive(&app, &headers, body).await?;
    let params = Params::strict(query.as_deref(), &["precision", "partial"])?;
    let policy = if params.flag("partial", true)? { Policy::Partial } else { Policy::AllOrNothing };
    let precision = precision(params.get("precision"))?;
    let format = format(media_type(&headers).as_deref())?;
    let outcome = keep(&app, decoded(&app, &within, body, format, precision).await?, policy).await?;
    let status = if outcome.rejected == 0 { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let skipped = outcome.skipped;
    let mut response = (status, Json(Receipt::from(outcome))).into_response();
    mark(&app, skipped, &mut response);
    Ok(response)
}

fn precision(text: Option<&str>) -> Result<Precision> {
    match text {
        None | Some("" | "ms") => Ok(Precision::Millis),
        Some("s") => Ok(Precision::Seconds),
        Some("us") => Ok(Precision::Micros),
        Some("ns") => Ok(Precision::Nanos),
        Some(other) => Err(Problem::bad(format!("precision: {:?} is none of s, ms, us, ns", clip(other)))),
    }
}

/// The format that a media type means; `None`: none was said.
fn format(media_type: Option<&str>) -> Result<Option<Format>> {
    Ok(Some(match media_type {
        None => return Ok(None),
        Some("application/json" | "text/json") => Format::Json,
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines") => {
            Format::Ndjson
        }
        Some("text/csv" | "application/csv") => Format::Csv,
        Some("application/vnd.apache.arrow.stream") => Format::ArrowStream,
        Some(other) => {
            let detail = format!("content type {:?} is not taken: send one of {ACCEPTED}", clip(other));
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
                .with(HeaderName::from_static("accept-post"), HeaderValue::from_static(ACCEPTED)));
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_have_the_agreed_form() {
        let error = |index, line| RowError { index, line, reason: "bad".into(), text: Some("x".into()) };
        let mut outcome =
            Outcome { accepted: 2, rejected: 0, position: schemas::LogPosition(7), errors: vec![], skipped: 0 };
        let text = |outcome: Outcome| serde_json::to_string(&Receipt::from(outcome)).expect("plain");
        let good = Outcome { errors: vec![], ..outcome };
        assert_eq!(text(good), r#"{"accepted":2,"rejected":0,"position":7}"#);
        outcome = Outcome {
            accepted: 2,
            rejected: 2,
            position: schemas::LogPosition(7),
            errors: vec![error(0, None), error(4, Some(5))],
            skipped: 0,
        };
        assert_eq!(
            text(outcome),
            r#"{"accepted":2,"rejected":2,"position":7,"errors":[{"index":0,"reason":"bad"},{"index":4,"reason":"bad","line":5}]}"#
        );
    }

    #[test]
    fn media_types_mean_formats() {
        assert_eq!(format(Some("application/json")).expect("known"), Some(Format::Json));
        assert_eq!(format(Some("text/csv")).expect("known"), Some(Format::Csv));
        assert_eq!(format(None).expect("none"), None);
        let refused = format(Some("application/xml")).expect_err("unknown");
        assert_eq!(refused.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(refused.detail().contains("application/x-ndjson"));
        assert!(precision(Some("m")).is_err());
    }
}
