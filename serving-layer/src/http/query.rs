//! `GET /v1/query` and `GET /v1/explain`.
//!
//! Owns the names of the parameters. Does not own their meaning (`schemas::query`), the answer itself (`crate::query`) nor
//! its form (`answer_text`).

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use schemas::query::QueryText;
use serde_json::Value;
use utoipa::IntoParams;

use super::App;
use super::access::Within;
use super::answer_text::AnswerText;
use super::error::{ProblemBody, Result};
use super::openapi::AnswerBody;
use super::params::Params;
use super::stream;

const KNOWN: &[&str] = &[
    "match",
    "from",
    "to",
    "step",
    "agg",
    "by",
    "view",
    "as_of",
    "min_confidence",
    "on_violation",
    "level",
    "max_rel_err",
    "confidence",
];

/// The parameters of a metric query, for the description of the API.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "described, never made")]
struct QueryParams {
    /// A Prometheus selector, such as `temperature{device_id=~"press-.*",line!="B"}`
    r#match: String,
    /// First event time: RFC 3339, epoch ms, or like `now-1h`; default one hour before `to`
    from: Option<String>,
    /// First event time after; default now
    to: Option<String>,
    /// Bucket width such as `10s`, `1m`, `1h`; default chosen
    step: Option<String>,
    /// Comma list of count, sum, avg, min, max, first, last, stddev, p50, p90, p95, p99; default avg
    agg: Option<String>,
    /// Comma list of tags to keep; absent: every series on its own; empty: all together
    by: Option<String>,
    /// unified (default), batch or speed
    view: Option<String>,
    /// A generation
    as_of: Option<u64>,
    /// The least confidence that is accepted, 0 to 1
    min_confidence: Option<f64>,
    /// What becomes of points below it: as_is (default), omit or fail
    on_violation: Option<String>,
    /// The probability that an interval holds the final value; default 0.95
    level: Option<f64>,
    /// The fraction within which the final value counts as the one shown, 0 to 1; default the setting epsilon
    max_rel_err: Option<f64>,
    /// Whether state, completeness, confidence_score, calibrated and interval are told of each point; default true
    confidence: Option<bool>,
}

/// Aggregates of series over time, from batch views and what they have not counted.
#[utoipa::path(
    get,
    path = "/v1/query",
    tag = "answers",
    params(QueryParams),
    responses(
        (status = 200, description = "The answer", body = AnswerBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn query(State(app): State<Arc<App>>, within: Within, RawQuery(query): RawQuery) -> Result<Response> {
    let text = query_text(query.as_deref())?;
    let _permit = app.admit_query().await?;
    let answer = app.within_timeout(app.serving.query_within(&text, within.limits())).await?;
    Ok(stream::json(AnswerText::new(answer)))
}

/// Which batch views, epochs and pending readings make the numbers of a query.
#[utoipa::path(
    get,
    path = "/v1/explain",
    tag = "answers",
    params(QueryParams),
    responses(
        (status = 200, description = "The explanation", body = Value),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn explain(
    State(app): State<Arc<App>>,
    within: Within,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let text = query_text(query.as_deref())?;
    let _permit = app.admit_query().await?;
    Ok(Json(app.within_timeout(app.serving.explain_within(&text, within.limits())).await?))
}

fn query_text(query: Option<&str>) -> Result<QueryText> {
    let params = Params::strict(query, KNOWN)?;
    let text = |name| params.text(name);
    Ok(QueryText {
        r#match: text("match"),
        from: text("from"),
        to: text("to"),
        step: text("step"),
        agg: text("agg"),
        by: text("by"),
        view: text("view"),
        as_of: text("as_of"),
        min_confidence: text("min_confidence"),
        on_violation: text("on_violation"),
        level: text("level"),
        max_rel_err: text("max_rel_err"),
        confidence: text("confidence"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    #[test]
    fn every_known_parameter_is_passed_on_and_described() {
        let query: Vec<String> = KNOWN.iter().map(|name| format!("{name}=of-{name}")).collect();
        let text = query_text(Some(&query.join("&"))).expect("known");
        let passed = serde_json::to_value(text).expect("plain");
        let described = QueryParams::into_params(|| None);
        for name in KNOWN {
            assert_eq!(passed[name], format!("of-{name}"), "{name}");
            assert!(described.iter().any(|p| p.name == *name), "{name}");
        }
        assert_eq!(described.len(), KNOWN.len());
        assert_eq!(passed.as_object().map(Map::len), Some(KNOWN.len()));
    }
}
