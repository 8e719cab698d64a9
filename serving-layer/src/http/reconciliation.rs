//! `GET /v1/reconciliation`: where history said something else than had been answered, and why.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::Map;

use super::App;
use super::error::{ProblemBody, Result};
use super::openapi::ReconciliationBody;
use super::params::Params;
use super::stream;

/// How many rows are shown unless asked for more.
const LISTED: u32 = 1000;
const LISTED_MAX: u32 = 100_000;

/// The newest differences, newest first.
#[utoipa::path(
    get,
    path = "/v1/reconciliation",
    tag = "batch",
    params(("limit" = Option<u32>, Query, description = "How many; 1000 if absent")),
    responses(
        (status = 200, description = "Differences", body = ReconciliationBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response> {
    let limit = Params::strict(query.as_deref(), &["limit"])?.limit(LISTED, LISTED_MAX)?;
    let rows = app.serving.batch.catalog().reconciliation(limit).await?;
    Ok(stream::list("reconciliation", rows.into_iter(), &Map::new()))
}
