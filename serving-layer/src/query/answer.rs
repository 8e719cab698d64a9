//! The answer to a metric query: groups, values, confidence, and what to do below the asked minimum.

use std::collections::HashMap;

use schemas::epoch::{SeriesState, Snapshot};
use schemas::partial::Aggregate;
use schemas::query::{OnViolation, Query, QueryText};
use schemas::{ArrivalTime, EventTime, TimeRange};

use super::cells::{CellQuery, cells};
use super::groups::{Group, group};
use super::points::{CellPoint, SeriesCells};
use crate::answer::{Answer, AsOf, Point, SeriesAnswer, Source, Value};
use crate::confidence::{Arrivals, Assessment, Evidence, Model, Outlook, State};
use crate::error::{Error, Result};
use crate::serving::Serving;

impl Serving {
    /// Answers a metric query from one snapshot.
    ///
    /// # Errors
    /// The query is malformed, too large, or history can't be read.
    pub async fn query(&self, text: &QueryText) -> Result<Answer> {
        let query = text.check(self.clock.now(), self.speed.settings().base)?;
        let deadline = self.settings.query_timeout;
        let answer = tokio::time::timeout(deadline, self.answer(&query)).await;
        answer.map_err(|_| Error::Timeout(deadline.as_secs()))?
    }

    async fn answer(&self, query: &Query) -> Result<Answer> {
        let snapshot = self.speed.snapshot(&query.selector);
        let cells = self.query_cells(&snapshot, query).await?;
        let mut assessor = Assessor::new(self, &snapshot, query.range, query.step, query.level);
        let mut series = Vec::new();
        for group in group(cells, query.by.as_deref()) {
            let points = points(&group, query, &mut assessor)?;
            if !points.is_empty() {
                series.push(SeriesAnswer { metric: group.metric, tags: group.tags, points });
            }
        }
        Ok(Answer { series, as_of: as_of(&snapshot, query), missing: Vec::new() })
    }

    pub(super) async fn query_cells(&self, snapshot: &Snapshot, query: &Query) -> Result<Vec<SeriesCells>> {
        let as_of = match query.as_of {
            Some(generation) => Some(self.batch.views_at(generation).await?),
            None => None,
        };
        let quantiles = query.aggregates.iter().any(|a| a.quantile().is_some());
        let (series, range, step, view) = (snapshot.series.clone(), query.range, query.step, query.view);
        cells(self, snapshot, CellQuery { series, range, step, view, as_of, quantiles }).await
    }
}

fn as_of(snapshot: &Snapshot, query: &Query) -> AsOf {
    AsOf {
        position: snapshot.position.0,
        generation: query.as_of.unwrap_or(snapshot.version.generation),
        watermark: snapshot.watermark,
    }
}

fn points(group: &Group, query: &Query, assessor: &mut Assessor<'_>) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for (all, members) in group.points() {
        let point = assessor.point(&all, &members, &query.aggregates);
        match violation(&point, query) {
            Some(_) if query.on_violation == OnViolation::Omit => {}
            Some(reason) if query.on_violation == OnViolation::Fail => return Err(Error::BelowConfidence(reason)),
            _ => points.push(point),
        }
    }
    Ok(points)
}

fn violation(point: &Point, query: &Query) -> Option<String> {
    let least = query.min_confidence?;
    let score = point.confidence_score.unwrap_or(0.0);
    (score < least).then(|| format!("the value at {} has confidence {score:.2}, below {least:.2}", point.time))
}

/// Everything that is said of a point beside its values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assessed {
    /// How settled the bucket is.
    pub state: State,
    /// Completeness, score and intervals.
    pub assessment: Assessment,
}

/// Assesses points of one snapshot, remembering what series of one metric share in one bucket.
pub(crate) struct Assessor<'a> {
    model: Model,
    snapshot: &'a Snapshot,
    now: ArrivalTime,
    range: TimeRange,
    step: schemas::Resolution,
    arrivals: HashMap<(&'a str, i64), Arrivals>,
    horizons: HashMap<&'a str, i64>,
}

impl<'a> Assessor<'a> {
    /// Assesses points of `range` in steps of `step`, with intervals that hold with probability `level`.
    pub(crate) fn new(
        serving: &Serving,
        snapshot: &'a Snapshot,
        range: TimeRange,
        step: schemas::Resolution,
        level: f64,
    ) -> Self {
        let horizon = i64::try_from(serving.settings.horizon_max.as_nanos()).unwrap_or(i64::MAX);
        let model = Model { level, ..Model::new(serving.settings.epsilon, horizon) };
        let (arrivals, horizons) = (HashMap::new(), HashMap::new());
        Self { model, snapshot, now: serving.clock.now(), range, step, arrivals, horizons }
    }

    fn point(&mut self, all: &CellPoint, members: &[(&SeriesState, &CellPoint)], aggregates: &[Aggregate]) -> Point {
        let Assessed { state, assessment } = self.assess(all, members, aggregates);
        let intervals = assessment.intervals.iter();
        let values = aggregates.iter().zip(intervals);
        Point {
            time: EventTime(all.bucket),
            values: values.map(|(a, i)| Value { aggregate: *a, value: all.evaluate(*a), interval: *i }).collect(),
            data_points: all.partial.count,
            batch_points: all.batch_points,
            speed_points: all.speed_points,
            source: all.source(),
            state,
            completeness: assessment.completeness,
            confidence_score: Some(assessment.confidence_score),
            calibrated: assessment.calibrated,
        }
    }

    /// What is to be said of a point made of `members`; the aggregates' values are evaluated from it.
    pub(crate) fn assess(
        &mut self,
        all: &CellPoint,
        members: &[(&SeriesState, &CellPoint)],
        aggregates: &[Aggregate],
    ) -> Assessed {
        let bucket = self.step.bucket(EventTime(all.bucket)).intersect(&self.range);
        let mut outlook: Option<Outlook> = None;
        let mut horizon = 0;
        for (series, point) in members {
            let part = self.outlook(series, point, bucket);
            match &mut outlook {
                Some(sum) => sum.merge(&part),
                None => outlook = Some(part),
            }
            horizon = horizon.max(self.horizon(series));
        }
        let covered = all.covered();
        let revised = self.revised(all, bucket, horizon);
        let state = self.model.state(bucket, self.now, horizon, covered, revised);
        let values: Vec<Option<f64>> = aggregates.iter().map(|a| all.evaluate(*a)).collect();
        let outlook = outlook.expect("a point has a member");
        Assessed { state, assessment: self.model.assess(&outlook, &all.partial, aggregates, &values) }
    }

    /// Readings reached a bucket that a view had counted and that was old enough to be final.
    fn revised(&self, all: &CellPoint, bucket: TimeRange, horizon: i64) -> bool {
        let age = self.now.0.saturating_sub(bucket.end.0);
        all.source() == Source::Merged && age > horizon
    }

    fn outlook(&mut self, series: &SeriesState, point: &CellPoint, bucket: TimeRange) -> Outlook {
        let (metric, lateness) = self.lateness(series);
        let (model, now) = (&self.model, self.now);
        let arrivals =
            self.arrivals.entry((metric, point.bucket)).or_insert_with(|| model.arrivals(bucket, now, lateness));
        let evidence = Evidence {
            partial: &point.partial,
            bucket,
            now,
            lateness,
            tail: series.tail.as_ref(),
            covered: point.covered(),
            revised: false,
        };
        model.outlook_with(&evidence, arrivals)
    }

    fn lateness(&self, series: &SeriesState) -> (&'a str, Option<&'a schemas::lateness::LatenessTable>) {
        match self.snapshot.lateness.get_key_value(series.key.metric()) {
            Some((metric, table)) => (metric.as_str(), Some(table)),
            None => ("", None),
        }
    }

    fn horizon(&mut self, series: &SeriesState) -> i64 {
        let (metric, lateness) = self.lateness(series);
        let model = &self.model;
        *self.horizons.entry(metric).or_insert_with(|| model.horizon(lateness))
    }
}
