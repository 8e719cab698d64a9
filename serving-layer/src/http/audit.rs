//! `GET /v1/audit`: who changed what.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::Map;

use super::App;
use super::error::{Problem, ProblemBody, Result};
use super::openapi::AuditBody;
use super::params::Params;
use super::stream;

/// How many entries are shown unless asked for more.
const LISTED: u32 = 100;
const LISTED_MAX: u32 = 10_000;

/// The newest entries of the audit log, newest first.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "operations",
    params(
        ("limit" = Option<u32>, Query, description = "How many; 100 if absent"),
        ("before" = Option<u64>, Query, description = "Only entries before this one"),
    ),
    responses(
        (status = 200, description = "Entries", body = AuditBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response> {
    let params = Params::strict(query.as_deref(), &["limit", "before"])?;
    let before = params.get("before").filter(|text| !text.is_empty());
    let before = before.map(|text| text.parse().map_err(|_| Problem::bad("before: is not the number of an entry")));
    let limit = params.limit(LISTED, LISTED_MAX)?;
    let rows = app.serving.batch.catalog().audit(before.transpose()?, limit).await?;
    Ok(stream::list("audit", rows.into_iter(), &Map::new()))
}
