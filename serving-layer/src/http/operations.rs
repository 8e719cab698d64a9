//! `/`, `/health`, `/ready` and `/metrics`: for those who run the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::error::{Problem, ProblemBody, Result};
use super::prometheus;

/// That the server lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `weir`.
    name: &'static str,
    /// `pass`.
    status: &'static str,
    /// The same in words.
    message: &'static str,
    /// The version of the program.
    version: &'static str,
}

/// That the server takes requests.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ready`.
    status: &'static str,
}

/// A page that tells a person where to go.
#[utoipa::path(
    get,
    path = "/",
    tag = "operations",
    responses((status = 200, description = "A page for people", body = String, content_type = "text/html"))
)]
pub(super) async fn index() -> Html<&'static str> {
    Html(include_str!("index.html"))
}

/// Says that the server lives.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, description = "It lives", body = Health)))]
pub(super) async fn health() -> Json<Health> {
    let version = env!("CARGO_PKG_VERSION");
    Json(Health { name: "weir", status: "pass", message: "alive", version })
}

/// Says whether the log is replayed.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "operations",
    responses(
        (status = 200, description = "It is", body = Ready),
        (status = 503, description = "Not yet, or not any more", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Ready>> {
    if app.ready.load(Ordering::Acquire) {
        Ok(Json(Ready { status: "ready" }))
    } else {
        Err(Problem::overloaded("the log is not replayed yet, or the server is stopping", 1))
    }
}

/// All counters, as Prometheus reads them.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "All counters", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &app.registry).map_err(|error| {
        tracing::error!(%error, "can't write the counters");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the counters can't be written")
    })?;
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("application/openmetrics-text") {
        return Ok(
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        );
    }
    let text = prometheus::from_open_metrics(&text);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
