//! `GET /v1/realtime`: the newest end of series.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use schemas::EventTime;
use schemas::epoch::SeriesState;
use serde::Serialize;
use serde_json::Map;
use utoipa::ToSchema;

use super::App;
use super::access::Within;
use super::error::{ProblemBody, Result};
use super::params::Params;
use super::stream;

/// The newest end of every selected series.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RealtimeBody {
    /// Sorted by `metric_key`.
    series: Vec<Newest>,
}

/// The newest end of a series.
#[derive(Debug, Serialize, ToSchema)]
struct Newest {
    /// The series.
    metric_key: String,
    /// Its metric.
    metric: String,
    /// Its tags.
    tags: BTreeMap<String, String>,
    /// The value of the latest event time.
    value: f64,
    /// The value before; null where there is none.
    previous_value: Option<f64>,
    /// `up`, `down` or `stable`.
    trend: &'static str,
    /// When it happened.
    event_time: String,
    /// When it arrived.
    arrival_time: String,
}

impl Newest {
    /// `None` where there is no reading yet (only quarantined ones).
    fn of(state: SeriesState) -> Option<Self> {
        let tail = state.tail?;
        Some(Self {
            metric_key: state.key.text().to_owned(),
            metric: state.key.metric().to_owned(),
            tags: state.key.tags().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            value: tail.value,
            previous_value: tail.previous.map(|(_, value)| value),
            trend: tail.trend().name(),
            event_time: EventTime(tail.time).to_string(),
            arrival_time: tail.arrival.to_string(),
        })
    }
}

/// Newest value, previous value, trend and times of every selected series.
#[utoipa::path(
    get,
    path = "/v1/realtime",
    tag = "answers",
    params(("match" = Option<String>, Query, description = "A Prometheus selector; absent: every series")),
    responses(
        (status = 200, description = "The newest end of each series", body = RealtimeBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn realtime(
    State(app): State<Arc<App>>,
    within: Within,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let selector = Params::strict(query.as_deref(), &["match"])?.selector(&within)?;
    let _permit = app.admit_query().await?;
    let speed = app.serving.speed.clone();
    let states = App::apart(move || speed.realtime(&selector)).await?;
    Ok(stream::list("series", states.into_iter().filter_map(Newest::of), &Map::new()))
}

#[cfg(test)]
mod tests {
    use schemas::epoch::Tail;
    use schemas::{ArrivalTime, SeriesId, SeriesKey};

    use super::*;

    #[test]
    fn a_tail_becomes_a_row() {
        let mut tail = Tail::of(1_000_000_000, 2.0, ArrivalTime(1_500_000_000));
        tail.update(2_000_000_000, 1.0, ArrivalTime(2_500_000_000));
        let key = SeriesKey::new("temperature", &[("device_id", "press \"7\"")]).expect("valid");
        let state = SeriesState { id: SeriesId(0), key, tail: Some(tail) };
        let row = serde_json::to_value(Newest::of(state.clone())).expect("plain");
        let expected = serde_json::json!({
            "metric_key": r#"temperature{device_id="press \"7\""}"#, "metric": "temperature",
            "tags": {"device_id": "press \"7\""}, "value": 1.0, "previous_value": 2.0, "trend": "down",
            "event_time": "1970-01-01T00:00:02Z", "arrival_time": "1970-01-01T00:00:02.500Z",
        });
        assert_eq!(row, expected);
        assert!(Newest::of(SeriesState { tail: None, ..state }).is_none());
    }
}
