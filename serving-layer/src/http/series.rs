//! `GET /v1/metrics` and `GET /v1/series`: what there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use schemas::SeriesKey;
use serde::Serialize;
use serde_json::Map;
use utoipa::ToSchema;

use super::App;
use super::access::Within;
use super::error::{ProblemBody, Result};
use super::params::Params;
use super::stream;

/// All metrics.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MetricsBody {
    /// By name.
    metrics: Vec<MetricCount>,
}

/// A metric and how many series it has.
#[derive(Debug, Serialize, ToSchema)]
struct MetricCount {
    /// Its name.
    metric: String,
    /// How many series.
    series: u64,
}

/// Series.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SeriesBody {
    /// Sorted by `metric_key`.
    series: Vec<SeriesRow>,
}

/// A series.
#[derive(Debug, Serialize, ToSchema)]
struct SeriesRow {
    /// The whole name.
    metric_key: String,
    /// Its metric.
    metric: String,
    /// Its tags.
    tags: BTreeMap<String, String>,
}

impl From<SeriesKey> for SeriesRow {
    fn from(key: SeriesKey) -> Self {
        let tags = key.tags().map(|(name, value)| (name.to_owned(), value.into())).collect();
        Self { metric_key: key.text().to_owned(), metric: key.metric().to_owned(), tags }
    }
}

/// The names of all metrics and how many series each has.
#[utoipa::path(
    get,
    path = "/v1/metrics",
    tag = "answers",
    responses(
        (status = 200, description = "All metrics", body = MetricsBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    within: Within,
    RawQuery(query): RawQuery,
) -> Result<Json<MetricsBody>> {
    let selector = Params::strict(query.as_deref(), &[])?.selector(&within)?;
    let _permit = app.admit_query().await?;
    let speed = app.serving.speed.clone();
    let metrics = App::apart(move || {
        let mut counts = BTreeMap::<String, u64>::new();
        for (_, key) in speed.select(&selector) {
            match counts.get_mut(key.metric()) {
                Some(count) => *count += 1,
                None => drop(counts.insert(key.metric().to_owned(), 1)),
            }
        }
        counts.into_iter().map(|(metric, series)| MetricCount { metric, series }).collect()
    });
    Ok(Json(MetricsBody { metrics: metrics.await? }))
}

/// The selected series.
#[utoipa::path(
    get,
    path = "/v1/series",
    tag = "answers",
    params(("match" = Option<String>, Query, description = "A Prometheus selector; absent: every series")),
    responses(
        (status = 200, description = "The series", body = SeriesBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn series(State(app): State<Arc<App>>, within: Within, RawQuery(query): RawQuery) -> Result<Response> {
    let selector = Params::strict(query.as_deref(), &["match"])?.selector(&within)?;
    let _permit = app.admit_query().await?;
    let speed = app.serving.speed.clone();
    let keys = App::apart(move || {
        let mut keys: Vec<SeriesKey> = speed.select(&selector).into_iter().map(|(_, key)| key).collect();
        keys.sort_unstable_by(|a, b| a.text().cmp(b.text()));
        keys
    });
    Ok(stream::list("series", keys.await?.into_iter().map(SeriesRow::from), &Map::new()))
}
