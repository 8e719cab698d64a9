//! Line protocol as clients of InfluxDB 1 and 2 send it.
//!
//! Owns the parameters, statuses and error bodies of `/write` and `/api/v2/write`, and their pings. Both are all or
//! nothing. Names of databases, buckets and organizations are taken and not looked at. Version 3 is in influx_v3.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
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

/// How many bad lines an error tells of.
const TOLD: usize = 20;

/// Whose rules hold.
#[derive(Debug, Clone, Copy)]
enum Version {
    One,
    Two,
}

/// An error as version 1 words it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorV1 {
    /// What is wrong.
    error: String,
}

/// An error as version 2 words it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorV2 {
    /// What kind of error, a word.
    code: &'static str,
    /// What is wrong.
    message: String,
}

/// Writes line protocol as InfluxDB 1 takes it: all lines or none.
#[utoipa::path(
    post,
    path = "/write",
    tag = "influxdb",
    params(
        ("precision" = Option<String>, Query, description = "n (default), u, ms, s, m or h"),
        ("db" = Option<String>, Query, description = "Taken and not looked at"),
    ),
    request_body(content = String, content_type = "text/plain"),
    responses(
        (status = 204, description = "All lines were kept"),
        (status = "default", description = "Nothing was kept", body = ErrorV1),
    )
)]
pub(super) async fn write_v1(
    State(app): State<Arc<App>>,
    within: Within,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut response = match write_all(&app, &within, query.as_deref(), &headers, body, Version::One).await {
        Ok(response) => response,
        Err(problem) => {
            let body = ErrorV1 { error: problem.detail().to_owned() };
            problem.respond_with(body)
        }
    };
    name_version(&mut response);
    response
}

/// Writes line protocol as InfluxDB 2 takes it: all lines or none.
#[utoipa::path(
    post,
    path = "/api/v2/write",
    tag = "influxdb",
    params(
        ("precision" = Option<String>, Query, description = "ns (default), us, ms or s"),
        ("org" = Option<String>, Query, description = "Taken and not looked at"),
        ("bucket" = Option<String>, Query, description = "Taken and not looked at"),
    ),
    request_body(content = String, content_type = "text/plain"),
    responses(
        (status = 204, description = "All lines were kept"),
        (status = "default", description = "Nothing was kept", body = ErrorV2),
    )
)]
pub(super) async fn write_v2(
    State(app): State<Arc<App>>,
    within: Within,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match write_all(&app, &within, query.as_deref(), &headers, body, Version::Two).await {
        Ok(response) => response,
        Err(problem) => {
            let body = ErrorV2 { code: code_v2(problem.status()), message: problem.detail().to_owned() };
            problem.respond_with(body)
        }
    }
}

/// Says that the server is there, as InfluxDB 1 does.
#[utoipa::path(get, path = "/ping", tag = "influxdb", responses((status = 204, description = "It is there")))]
pub(super) async fn ping_v1() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    name_version(&mut response);
    response
}

/// Says that the server is there, as InfluxDB 2 does.
#[utoipa::path(get, path = "/api/v2/ping", tag = "influxdb", responses((status = 204, description = "It is there")))]
pub(super) async fn ping_v2() -> Response {
    ping_v1().await
}

/// Clients of version 1 look for these headers.
fn name_version(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert("x-influxdb-build", HeaderValue::from_static("Weir"));
    headers.insert("x-influxdb-version", HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
}

async fn write_all(
    app: &App,
    within: &Within,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Body,
    version: Version,
) -> Result<Response> {
    let body = receive(app, headers, body).await?;
    let params = Params::lenient(query);
    let precision = version.precision(params.get("precision").unwrap_or_default())?;
    match version {
        Version::One if body.bytes.is_empty() => return Ok(StatusCode::NO_CONTENT.into_response()),
        Version::Two if body.bytes.is_empty() => return Err(Problem::bad("writing requires points")),
        _ => {}
    }
    let decoded = decoded(app, within, body, Some(Format::LineProtocol), precision).await?;
    let outcome = keep(app, decoded, Policy::AllOrNothing).await?;
    if outcome.rejected > 0 {
        return Err(Problem::bad(refusal(&outcome)));
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    mark(app, outcome.skipped, &mut response);
    Ok(response)
}

fn refusal(outcome: &Outcome) -> String {
    let mut lines: Vec<String> = outcome.errors.iter().take(TOLD).map(line_refusal).collect();
    let told = lines.len() as u64;
    if outcome.rejected > told {
        lines.push(format!("and {} more lines", outcome.rejected - told));
    }
    lines.join("\n")
}

fn line_refusal(error: &RowError) -> String {
    let text = error.text.as_deref().unwrap_or_default();
    match error.line {
        Some(line) => format!("unable to parse '{text}': {} (line {line})", error.reason),
        None => format!("unable to parse '{text}': {}", error.reason),
    }
}

impl Version {
    fn precision(self, text: &str) -> Result<Precision> {
        match (self, text) {
            (Self::One, "" | "n" | "ns") | (Self::Two, "" | "ns") => Ok(Precision::Nanos),
            (Self::One, "u" | "us" | "µ") | (Self::Two, "us") => Ok(Precision::Micros),
            (_, "ms") => Ok(Precision::Millis),
            (_, "s") => Ok(Precision::Seconds),
            (Self::One, "m") => Ok(Precision::Minutes),
            (Self::One, "h") => Ok(Precision::Hours),
            (Self::One, other) => {
                Err(Problem::bad(format!("invalid precision {:?} (use n, u, ms, s, m or h)", clip(other))))
            }
            (Self::Two, _) => Err(Problem::bad("invalid precision; valid precision units are ns, us, ms, and s")),
        }
    }
}

/// The words that clients of version 2 know.
fn code_v2(status: StatusCode) -> &'static str {
    match status.as_u16() {
        413 => "request too large",
        429 => "too many requests",
        503 | 507 => "unavailable",
        500 => "internal error",
        _ => "invalid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_are_those_of_each_version() {
        for (text, v1, v2) in [
            ("", Some(Precision::Nanos), Some(Precision::Nanos)),
            ("n", Some(Precision::Nanos), None),
            ("ns", Some(Precision::Nanos), Some(Precision::Nanos)),
            ("u", Some(Precision::Micros), None),
            ("us", Some(Precision::Micros), Some(Precision::Micros)),
            ("s", Some(Precision::Seconds), Some(Precision::Seconds)),
            ("h", Some(Precision::Hours), None),
            ("x", None, None),
        ] {
            assert_eq!(Version::One.precision(text).ok(), v1, "{text}");
            assert_eq!(Version::Two.precision(text).ok(), v2, "{text}");
        }
    }

    #[test]
    fn bad_lines_are_told_with_their_numbers() {
        let error = RowError { index: 1, line: Some(2), reason: "no fields".into(), text: Some("cpu,host=a".into()) };
        let position = schemas::LogPosition(1);
        let outcome = Outcome { accepted: 0, rejected: 3, position, errors: vec![error], skipped: 0 };
        assert_eq!(refusal(&outcome), "unable to parse 'cpu,host=a': no fields (line 2)\nand 2 more lines");
    }
}
