//! The answer to a metric query: groups, values, confidence, and what to do below the asked minimum.

use schemas::EventTime;
use schemas::epoch::Snapshot;
use schemas::partial::Aggregate;
use schemas::query::{OnViolation, Query, QueryText};

use super::assess::{Assessed, Assessor, Member};
use super::cells::{CellQuery, cells};
use super::groups::{Group, group};
use super::points::{CellPoint, SeriesCells};
use crate::answer::{Answer, AsOf, Point, SeriesAnswer, Value};
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
    let members: Vec<Member<'_>> = group.members.iter().map(|cells| assessor.member(&cells.series)).collect();
    let mut points = Vec::with_capacity(group.members.first().map_or(0, |cells| cells.points.len()));
    group.each_point(|all, parts| {
        let parts = parts.iter().map(|(i, part)| (&members[*i], *part));
        let point = point(all, parts, &query.aggregates, assessor);
        match violation(&point, query) {
            Some(_) if query.on_violation == OnViolation::Omit => {}
            Some(reason) if query.on_violation == OnViolation::Fail => return Err(Error::BelowConfidence(reason)),
            _ => points.push(point),
        }
        Ok(())
    })?;
    Ok(points)
}

fn point<'m>(
    all: &CellPoint,
    parts: impl Iterator<Item = (&'m Member<'m>, &'m CellPoint)>,
    aggregates: &[Aggregate],
    assessor: &mut Assessor<'_>,
) -> Point {
    let value = |a: &Aggregate| Value { aggregate: *a, value: all.evaluate(*a), interval: None };
    let mut values: Vec<Value> = aggregates.iter().map(value).collect();
    let Assessed { state, assessment } = assessor.assess(all, parts, &mut values);
    Point {
        time: EventTime(all.bucket),
        values,
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

fn violation(point: &Point, query: &Query) -> Option<String> {
    let least = query.min_confidence?;
    let score = point.confidence_score.unwrap_or(0.0);
    (score < least).then(|| format!("the value at {} has confidence {score:.2}, below {least:.2}", point.time))
}
