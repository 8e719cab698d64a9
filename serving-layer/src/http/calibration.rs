//! `GET /v1/calibration`: how right confidence was.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use schemas::time::SECOND;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::error::{ProblemBody, Result};
use super::params::Params;
use crate::calibration::{CalibrationRow, LEVEL};

/// How right what was told of answers proved once their buckets were final.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CalibrationBody {
    /// The probability with which intervals are to hold.
    level: f64,
    /// The fraction within which a final value counts as the one shown.
    epsilon: f64,
    /// How long readings of each metric are waited for.
    horizons: Vec<Horizon>,
    /// By metric, aggregate, single series or groups, width and age.
    calibration: Vec<Kind>,
}

/// The age after which less than one reading in a thousand still arrives.
#[derive(Debug, Serialize, ToSchema)]
struct Horizon {
    /// The metric.
    metric: String,
    /// Seconds.
    horizon_s: f64,
}

/// Forecasts of one kind. What nothing is known of is null.
#[derive(Debug, Serialize, ToSchema)]
struct Kind {
    /// The metric.
    metric: String,
    /// The aggregate.
    aggregate: &'static str,
    /// Whether they are of groups of series.
    grouped: bool,
    /// Width of the buckets, seconds.
    resolution_s: f64,
    /// Seconds since the end of the bucket; below zero while it was open.
    age_s: f64,
    /// How many, after forgetting.
    n: f64,
    /// The share of intervals that held the final value.
    coverage: f64,
    /// How many intervals were more than a point ...
    undecided: f64,
    /// ... and the share of them that held.
    undecided_coverage: Option<f64>,
    /// Mean width of the intervals, in the unit of the value.
    width: f64,
    /// Brier score of `confidence_score`.
    brier: f64,
    /// How often the final value was the one shown, within epsilon.
    base_rate: f64,
    /// The Brier score of whoever always tells the base rate.
    climatology: f64,
    /// Expected calibration error of `confidence_score`, over ten bins.
    ece: f64,
    /// Mean of completeness told less completeness as it was.
    completeness_bias: Option<f64>,
    /// Whether coverage left its band.
    breach: bool,
}

impl Kind {
    fn of(CalibrationRow { metric, row, breach }: CalibrationRow) -> Self {
        let score = row.score;
        let known = |value: f64| value.is_finite().then_some(value);
        Self {
            metric,
            aggregate: row.aggregate.name(),
            grouped: row.group,
            resolution_s: row.resolution as f64 / SECOND as f64,
            age_s: row.age as f64 / SECOND as f64,
            n: score.n,
            coverage: score.coverage,
            undecided: score.undecided,
            undecided_coverage: known(score.undecided_coverage),
            width: score.width,
            brier: score.brier,
            base_rate: score.base_rate,
            climatology: score.climatology,
            ece: score.ece,
            completeness_bias: known(score.completeness_bias),
            breach,
        }
    }
}

/// Coverage and width of intervals, Brier score and calibration error of scores, as measured on this server's own answers.
#[utoipa::path(
    get,
    path = "/v1/calibration",
    tag = "answers",
    params(("metric" = Option<String>, Query, description = "Only this metric")),
    responses(
        (status = 200, description = "The score", body = CalibrationBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Json<CalibrationBody>> {
    let params = Params::strict(query.as_deref(), &["metric"])?;
    let asked = params.text("metric");
    let learned = app.serving.calibration.learned();
    let wanted = |metric: &str| asked.as_deref().is_none_or(|asked| asked == metric);
    let horizons = learned.horizons().filter(|(metric, _)| wanted(metric));
    let horizons = horizons.map(|(metric, horizon)| Horizon { metric, horizon_s: horizon as f64 / SECOND as f64 });
    Ok(Json(CalibrationBody {
        level: LEVEL,
        epsilon: app.serving.settings.epsilon,
        horizons: horizons.collect(),
        calibration: learned.calibration().into_iter().filter(|row| wanted(&row.metric)).map(Kind::of).collect(),
    }))
}
