//! `/v1/generations`: which batch views were current when, and going back to earlier ones.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use schemas::time::clip;
use serde::Serialize;
use serde_json::Map;
use utoipa::ToSchema;

use super::App;
use super::error::{Problem, ProblemBody, Result};
use super::openapi::GenerationsBody;
use super::stream;

/// The generation that is current now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reverted {
    /// Its number.
    generation: u64,
    /// The generation whose views it made current again.
    reverted_to: u64,
}

/// The newest generations, newest first.
#[utoipa::path(
    get,
    path = "/v1/generations",
    tag = "batch",
    responses(
        (status = 200, description = "Generations", body = GenerationsBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Response> {
    let generations = app.serving.batch.catalog().generations().await?;
    Ok(stream::list("generations", generations.into_iter(), &Map::new()))
}

/// Makes the views of an earlier generation current again, as a new generation.
#[utoipa::path(
    post,
    path = "/v1/generations/{generation}/revert",
    tag = "batch",
    params(("generation" = u64, Path, description = "The earlier one")),
    responses(
        (status = 200, description = "Its views are current again", body = Reverted),
        (status = "default", description = "Nothing was done", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revert(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Reverted>> {
    let Path(text) = path?;
    let missing = |_| Problem::new(StatusCode::NOT_FOUND, format!("generation {:?} does not exist", clip(&text)));
    let reverted_to = text.parse().map_err(missing)?;
    let generation = app.serving.batch.revert(reverted_to).await?;
    Ok(Json(Reverted { generation, reverted_to }))
}
