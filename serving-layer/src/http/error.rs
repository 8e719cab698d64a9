//! Errors as HTTP answers.
//!
//! Owns which status an error has and the `application/problem+json` form (RFC 9457). Does not own the wording of
//! errors meant for the asker, nor the error bodies that InfluxDB clients expect (influx). Causes inside the server
//! are logged here and not told.

use axum::extract::rejection::PathRejection;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;

/// When to try again after something inside failed, seconds.
const RETRY_FAILED_S: u64 = 5;

/// When to try again after the disk was full, seconds: somebody or something has to make room.
const RETRY_FULL_S: u64 = 10;

/// An answer that says no.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A result whose error is a [`Problem`].
pub(super) type Result<T, E = Problem> = std::result::Result<T, E>;

/// The body of an error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemBody {
    /// Always `about:blank`: the status says what kind of problem it is.
    r#type: &'static str,
    /// The name of the status.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong, in words.
    detail: String,
}

impl Problem {
    /// A problem of this status; `detail` is meant for the asker.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), headers: Vec::new() }
    }

    /// The request can't be answered as it stands.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Too much is going on.
    pub(super) fn overloaded(detail: impl Into<String>, retry_after_s: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(retry_after_s)
    }

    /// This and when to try again.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// This and a header more.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The same problem with a body of another form.
    pub(super) fn respond_with(self, body: impl Serialize) -> Response {
        let mut response = (self.status, axum::Json(body)).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let status = self.status.as_u16();
        let body = ProblemBody { r#type: "about:blank", title, status, detail: self.detail.clone() };
        let mut response = self.respond_with(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(reason) => Self::bad(reason),
            Error::NotFound(_) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            Error::TooLarge(reason) | Error::BelowConfidence(reason) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason)
            }
            Error::Timeout(_) => Self::new(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
            Error::Overloaded { reason, retry_after_s } => Self::overloaded(reason, retry_after_s),
            Error::Full(reason) => Self::new(StatusCode::INSUFFICIENT_STORAGE, reason).retry_after(RETRY_FULL_S),
            Error::Corrupt(cause) => unreadable(&cause),
            Error::Unavailable(cause) => unavailable(&cause),
        }
    }
}

impl From<batch_layer::Error> for Problem {
    fn from(error: batch_layer::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<speed_layer::Error> for Problem {
    fn from(error: speed_layer::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<schemas::Error> for Problem {
    fn from(error: schemas::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

/// What is damaged is for the log and `weir check`, not for strangers.
fn unreadable(cause: &str) -> Problem {
    tracing::error!(cause, "stored bytes are not what was written");
    let detail = "part of history is unreadable; run `weir check` on the data directory";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

fn unavailable(cause: &str) -> Problem {
    tracing::error!(cause, "a request failed inside");
    Problem::overloaded("the server can't do this now; its log says why", RETRY_FAILED_S)
}

/// Answers for paths that lead nowhere.
pub(super) async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {:?}", schemas::time::clip(uri.path())))
}

/// Answers for methods that a path does not have; the router adds `Allow`.
pub(super) async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method; see header Allow")
}

/// Answers where a handler panicked: never expected, so it is loud.
pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("no text"), "a request handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of this server; its log says more").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, status: u16, retry: bool) {
        let text = error.to_string();
        let response = Problem::from(error).into_response();
        assert_eq!(response.status().as_u16(), status, "{text}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json", "{text}");
        assert_eq!(response.headers().contains_key(RETRY_AFTER), retry, "{text}");
    }

    #[test]
    fn each_error_has_its_status() {
        check(Error::Invalid("x".into()), 400, false);
        check(Error::NotFound("job 1".into()), 404, false);
        check(Error::TooLarge("x".into()), 422, false);
        check(Error::BelowConfidence("x".into()), 422, false);
        check(Error::Timeout(30), 504, false);
        check(Error::Overloaded { reason: "full".into(), retry_after_s: 1 }, 503, true);
        check(Error::Full("the disk is full".into()), 507, true);
        check(Error::Unavailable("disk: /secret/path".into()), 503, true);
        check(Error::Corrupt("views/1 is corrupt: checksum".into()), 503, false);
    }

    #[test]
    fn causes_inside_are_not_told() {
        let problem = Problem::from(Error::Unavailable("disk: /secret/path".into()));
        assert!(!problem.detail().contains("secret"));
        let corrupt = batch_layer::Error::corrupt("views/1.parquet", "checksum");
        assert!(Problem::from(corrupt).detail().contains("weir check"));
    }
}
